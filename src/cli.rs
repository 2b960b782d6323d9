//! What was typed, and what it means.

mod devices;
mod habits;
mod help;
mod kept;
mod pair;
mod parse;
mod serve;

use std::io::{Read, stdin};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use zeroize::Zeroizing;

pub use self::devices::{CaArgs, DeviceArgs, TrustArgs};
use self::habits::Habits;
pub use self::pair::PairArgs;
pub use self::parse::parse;
use self::serve::PapersArgs;
pub use self::serve::ServeArgs;
use crate::bounds::MAX_TEXT;
use crate::completions::CompletionsOptions;
use crate::compress::Compression;
use crate::connect::devices::Papers;
use crate::connect::ways::Way;
use crate::doctor::DoctorOptions;
use crate::error::{Error, Exit, Result, reason, shown, shown_os};
use crate::files::exclude::Pattern;
use crate::files::path::RelPath;
use crate::files::select::Filters;
use crate::net::interfaces::Choice;
use crate::net::pace::Rate;
use crate::protocol::features::{Feature, Features};
use crate::receive::options::{Conflict, ReceiveOptions};
use crate::receive::plan::OnConflict;
use crate::send::options::{Agreed, SendOptions, To, What};
use crate::token::{AGREED_WORDS, DEFAULT_WORDS, MAX_WORDS, MIN_AGREED, MIN_WORDS, Token};
use crate::ui::Ui;

/// Move files and whole trees between two machines: end-to-end encrypted, verified, fast.
///
/// One machine sends and shows a ticket; the other types it and receives. Both are devices of
/// one Tailscale network, or, with --lan, in one local network, or, with --pod, the same machine.
#[derive(Debug, Parser)]
#[command(
    name = "transfer",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Example:\n  \
        laptop$ transfer send photos/ notes.txt\n  \
        transfer receive laptop:ocean-tiger\n\n  \
        desktop$ transfer receive laptop:ocean-tiger",
    after_long_help = help::ALL
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Offer files and folders, and show the ticket for the other machine
    #[command(after_help = "Examples:\n  \
        transfer send photos/ notes.txt      whole folders and single files\n  \
        transfer send --exclude-dev project  without node_modules, virtual environments, caches\n  \
        transfer send -x '*.log' -x tmp/ .   this folder, without what the patterns name\n  \
        transfer send --dry-run project      nothing yet: list what would go\n  \
        transfer send --lan photos           to a machine of the local network, without Tailscale\n  \
        transfer send --pod --port 4000 out  to another process on this machine",
        after_long_help = help::SEND)]
    Send(Box<SendArgs>),
    /// Receive what the ticket's sender offers
    #[command(aliases = ["recv", "get"],
        override_usage = "transfer receive [OPTIONS] [HOST[:PORT]:TOKEN]",
        after_help = "Examples:\n  \
        transfer receive laptop:ocean-tiger                  into this folder\n  \
        transfer receive -o ~/in/ 100.64.1.123:ocean-tiger   into another, the sender by address\n  \
        transfer receive --on-conflict skip laptop:ocean-tiger",
        after_long_help = help::RECEIVE)]
    Receive(ReceiveArgs),
    /// Take what trusted devices send, always on: each into a folder of its own
    #[command(after_help = "Examples:\n  \
        transfer serve ~/incoming                     on the local network\n  \
        transfer serve --allow laptop ~/incoming      one device alone, of those that are trusted\n  \
        transfer serve --cert a.pem --key a.key --ca ca.pem ~/incoming\n\n\
        `transfer pair` and `transfer trust import` say whom it trusts; `transfer send --to HOST PATHS`\n\
        sends to it. Ctrl-C or SIGTERM stops it, and the exit code is 0.")]
    Serve(ServeArgs),
    /// Check whether a transfer would work here, and what to do if not
    #[command(after_help = "Examples:\n  \
        transfer doctor              this machine\n  \
        transfer doctor laptop       and the way to another\n  \
        transfer doctor --pod        this machine, without Tailscale\n\n\
        The exit code is 0 when nothing is in the way, else 1.")]
    Doctor(DoctorArgs),
    /// Let this device and another trust each other: one shows a token, the other types it
    #[command(after_help = "Examples:\n  \
        attic$ transfer pair                     shows a ticket\n  \
        laptop$ transfer pair 192.168.1.9:ocean-tiger\n\n\
        Once for two devices; `transfer trust list` shows them, `transfer trust remove` ends it.")]
    Pair(PairArgs),
    /// See and change whom this device trusts
    #[command(
        subcommand_required = true,
        arg_required_else_help = true,
        after_help = "Examples:\n  \
        transfer trust list              devices, CAs, and who was removed\n  \
        transfer trust import ca.pem     every device that this CA vouches for\n  \
        transfer trust import nas.pem    the one device with this certificate\n  \
        transfer trust remove laptop     it was lost, or sold"
    )]
    Trust(TrustArgs),
    /// Run a CA for a fleet of devices; two machines alone need none
    #[command(
        subcommand_required = true,
        arg_required_else_help = true,
        after_help = "Examples:\n  \
        transfer ca init home                      once, on one device\n  \
        transfer ca issue attic --csr attic.csr    what `transfer device --csr` printed there\n  \
        transfer ca issue nas --san 192.168.1.9    with a key made here, as files\n  \
        transfer ca list                           what was issued, and until when it holds"
    )]
    Ca(CaArgs),
    /// Show who this device is to others: name, words, id, certificates
    #[command(after_help = "Examples:\n  \
        transfer device                      name, words and id, to compare with another screen\n  \
        transfer device --csr >attic.csr     for a CA on another device\n  \
        transfer device --install attic.pem  what that CA has signed")]
    Device(DeviceArgs),
    /// Let the shell complete options: print what it needs, or set it up with the man page
    #[command(after_help = "Examples:\n  \
        transfer completions --install    for the shell this runs in, and `man transfer`\n  \
        transfer completions fish         printed, to be saved elsewhere")]
    Completions(CompletionsArgs),
    /// Print a new token for --token-file
    #[command(after_help = "Example:\n  \
        (umask 077; transfer token >token)     then copy the file to the other machine")]
    Token(TokenArgs),
    /// Print the man page
    #[command(hide = true)]
    Man,
}

/// Options that both sides have.
#[derive(Debug, Args)]
pub struct Common {
    /// Ask nothing
    #[arg(short, long)]
    yes: bool,
    /// Say only what went wrong
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// Say more; twice lists every file
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Tell programs on stdout: one JSON object a line; ask nothing; =files tells of each file too
    #[arg(long, value_name = "WHAT", num_args = 0..=1, require_equals = true,
          default_missing_value = "run")]
    json: Option<JsonArg>,
    /// Write the SHA-256 of every file that is in its place to FILE, for `sha256sum -c`
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Append everything that -vv would say to this file, with the time
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Do without what newer versions can do; for tests.
    #[arg(long, value_name = "FEATURE", hide = true, value_delimiter = ',',
          value_parser = Feature::parse)]
    without: Vec<Feature>,
    /// Habits of other programs.
    #[command(flatten)]
    habits: Habits,
}

/// `--json`, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum JsonArg {
    /// How the run goes
    Run,
    /// The same, and what becomes of each file
    Files,
}

impl Common {
    /// What this side says that it can do.
    fn features(&self) -> Features {
        Features::ours().without(&self.without)
    }

    /// The terminal as these options want it.
    fn ui(&self, reads_input: bool) -> (Ui, Result<()>) {
        let mut ui = Ui::new(self.quiet, self.verbose, self.yes, self.json.is_some());
        if self.json == Some(JsonArg::Files) {
            ui.tell_files();
        }
        if reads_input {
            ui.leave_keyboard();
        }
        let log = self.log_file.as_deref().map_or(Ok(()), |file| ui.log_to(file));
        let sums = self.manifest.as_deref().map_or(Ok(()), |file| ui.sums_to(file));
        (ui, log.and(sums))
    }
}

impl Command {
    /// The terminal as the options want it, and whether the log could be opened.
    pub fn ui(&self) -> (Ui, Result<()>) {
        match self {
            Self::Send(args) => args.common.ui(args.reads_input()),
            Self::Receive(args) => args.common.ui(false),
            Self::Serve(args) => args.ui(),
            Self::Doctor(args) => (Ui::new(false, 0, true, args.json), Ok(())),
            Self::Pair(args) => (args.ui(), Ok(())),
            Self::Trust(args) => (args.ui(), Ok(())),
            Self::Ca(args) => (args.ui(), Ok(())),
            Self::Device(args) => (args.ui(), Ok(())),
            Self::Completions(_) | Self::Man | Self::Token(_) => {
                (Ui::new(false, 0, true, false), Ok(()))
            }
        }
    }

    /// What may be said about what was typed, before anything begins.
    pub fn remark(&self) -> Option<String> {
        match self {
            Self::Send(args) => args.common.habits.told(),
            Self::Receive(args) => args.common.habits.told(),
            _ => None,
        }
    }

    /// Whether it moves something: its interruption is told to the other side.
    pub fn is_transfer(&self) -> bool {
        matches!(self, Self::Send(_) | Self::Receive(_) | Self::Serve(_) | Self::Pair(_))
    }
}

/// `transfer send`, as typed.
#[derive(Debug, Args)]
#[command(mut_arg("yes", |yes| yes.help("Ask nothing: send everything, uncompressed")))]
pub struct SendArgs {
    /// Files and folders to send; patterns that the shell left alone work too; - sends what comes
    /// in on standard input
    #[arg(required_unless_present = "text", value_name = "PATHS")]
    paths: Vec<PathBuf>,
    /// Send this text, to be shown on the other side; - takes it from standard input
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true,
          conflicts_with_all = ["paths", "exclude", "exclude_from", "gitignore", "one_file_system",
                                "dry_run"])]
    text: Option<String>,
    /// Call what comes in on standard input by this name on the other side
    #[arg(long, value_name = "NAME", conflicts_with = "text")]
    name: Option<String>,
    /// Serve this machine only, on 127.0.0.1, without Tailscale (containers, trying it out)
    #[arg(long)]
    pod: bool,
    /// Serve the local network, without Tailscale: the ticket has this machine's address there
    #[arg(long, conflicts_with = "pod")]
    lan: bool,
    /// With --lan: use these network interfaces alone, by name or address; else all that lead to a
    /// local network, and none of a VPN or of containers
    #[arg(long, value_name = "IF", requires = "lan", value_delimiter = ',')]
    interface: Vec<String>,
    /// Send to the device that serves at HOST (`transfer serve`), and is trusted; without a ticket
    #[arg(long, value_name = "HOST[:PORT]",
          conflicts_with_all = ["pod", "lan", "port", "words", "token_file", "receivers", "timeout",
                                "text"])]
    to: Option<String>,
    /// What this device shows, and whom it trusts.
    #[command(flatten)]
    papers: PapersArgs,
    /// Listen on this port; 0 takes any that is free; without this 15820, or the next free one (with
    /// --token-file 15820 alone)
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Words in the token: each more makes guessing 7,776 times as hard
    #[arg(long, value_name = "N", default_value_t = DEFAULT_WORDS,
          value_parser = clap::value_parser!(u8).range(i64::from(MIN_WORDS)..=i64::from(MAX_WORDS)))]
    words: u8,
    /// Use the token that this file holds, agreed beforehand: at least four words; nobody else may
    /// read it
    ///
    /// `transfer token` makes one. The ticket then names the machine alone, and the other side
    /// gives the same token in a file of its own. A token that is used again and again is worth
    /// more to a guesser: three guesses a run.
    #[arg(long, value_name = "FILE", conflicts_with = "words")]
    token_file: Option<PathBuf>,
    /// Serve N receivers, all with the same ticket; it is dead afterwards
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=64))]
    receivers: u32,
    /// Send no faster than this, all receivers together: 500k, 10M, 1.5MiB a second
    #[arg(long, value_name = "RATE", value_parser = Rate::parse)]
    limit: Option<Rate>,
    /// The same as --limit; as with rsync, a number without a unit means KiB a second
    #[arg(long, value_name = "RATE", value_parser = rate_of_rsync, conflicts_with = "limit",
          hide_short_help = true)]
    bwlimit: Option<Rate>,
    /// Wait so long for the receiver: 90s, 5m, 2h
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    timeout: Duration,
    /// Leave out what this names: '*.log' anywhere, photos/raw/ one folder; may be repeated
    #[arg(short = 'x', long, value_name = "GLOB",
          value_parser = OsStringValueParser::new().try_map(|it| Pattern::of_bytes(it.as_encoded_bytes())))]
    exclude: Vec<Pattern>,
    /// Leave out what the lines of this file name; empty ones and those that begin with # do not
    /// count
    #[arg(long, value_name = "FILE")]
    exclude_from: Vec<PathBuf>,
    /// Of git repositories send what git tracks or would add, as `git ls-files` tells
    #[arg(long)]
    gitignore: bool,
    /// Stay on the file system of each path: folders where another begins arrive empty
    #[arg(long)]
    one_file_system: bool,
    /// Leave out what tools can make again: node_modules, virtual environments, caches
    #[arg(long, conflicts_with = "include_dev")]
    exclude_dev: bool,
    /// Send developer folders too, without asking
    #[arg(long)]
    include_dev: bool,
    /// Send what symbolic links point to instead of the links
    #[arg(long)]
    follow_symlinks: bool,
    /// List what would go on stdout, and send nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Compress on the way; auto decides for each file
    #[arg(short = 'z', long, value_name = "HOW", num_args = 0..=1, require_equals = true,
          default_missing_value = "auto")]
    compress: Option<CompressArg>,
    /// Options that both sides have.
    #[command(flatten)]
    common: Common,
}

/// `--compress`, as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum CompressArg {
    /// What suits each file, or nothing
    Auto,
    /// LZ4: text and the like
    Lz4,
    /// Blosc2 with LZ4: arrays of numbers
    Blosc,
    /// Nothing
    None,
}

impl SendArgs {
    /// Everything decided that can be decided without looking at the files.
    pub fn resolve(&self) -> Result<SendOptions> {
        let papers = self.papers.resolve();
        if self.to.is_none() && papers != Papers::default() {
            return Err(Error::usage("--cert, --key and --ca are for a transfer to a server")
                .hint("name it with --to HOST; a token needs no certificate"));
        }
        Ok(SendOptions {
            what: self.what()?,
            name: self.name.clone(),
            filters: Filters {
                exclude: self.patterns()?,
                gitignore: self.gitignore,
                one_file_system: self.one_file_system,
            },
            dry_run: self.dry_run,
            features: self.common.features(),
            way: match (self.pod, self.lan) {
                (true, _) => Way::Pod,
                (_, true) => Way::Lan(Choice::new(&self.interface)),
                _ => Way::Tailnet,
            },
            to: self.to.clone().map(|place| To { place, papers }),
            port: self.port,
            words: self.words,
            agreed: self.token_file.as_deref().map(Agreed::read).transpose()?,
            receivers: self.receivers,
            limit: self.limit.or(self.bwlimit),
            timeout: self.timeout,
            exclude_developer: (self.exclude_dev || self.include_dev).then_some(self.exclude_dev),
            follow_symlinks: self.follow_symlinks,
            compression: self.compress.map(|compress| match compress {
                CompressArg::Auto => Compression::Auto,
                CompressArg::Lz4 => Compression::Lz4,
                CompressArg::Blosc => Compression::Blosc,
                CompressArg::None => Compression::Off,
            }),
        })
    }

    /// The patterns of the command line, then those of files.
    fn patterns(&self) -> Result<Vec<Pattern>> {
        let mut patterns = self.exclude.clone();
        for file in &self.exclude_from {
            let name = shown_os(file);
            let text = std::fs::read(file).map_err(|error| {
                Error::usage(format!("cannot read \"{name}\": {}", reason(&error)))
                    .hint("--exclude-from names a file with a pattern in each line")
            })?;
            for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
                let line = line.trim_ascii_end();
                if line.is_empty() || line.starts_with(b"#") {
                    continue;
                }
                patterns.push(Pattern::of_bytes(line).map_err(|why| {
                    Error::usage(format!("line {} of \"{name}\" is no pattern: {why}", number + 1))
                        .hint("a pattern is like *.log, raw/ or photos/**/*.tmp")
                })?);
            }
        }
        Ok(patterns)
    }

    fn what(&self) -> Result<What> {
        let streams = self.paths.iter().any(|path| path.as_os_str() == "-");
        if self.name.is_some() && !streams {
            return Err(Error::usage("--name is for what comes in on standard input")
                .hint("a file goes under its own name; `receive -o NAME` gives it another"));
        }
        if let Some(name) = &self.name
            && (name.contains('/') || RelPath::parse(name).is_err())
        {
            return Err(Error::usage(format!("\"{}\" is no name for a file", shown(name)))
                .hint("a name has no slash and no control characters"));
        }
        let is_input = |path: &PathBuf| path.as_os_str() == "-";
        Ok(match &self.text {
            Some(text) if text == "-" => What::Text(read_text()?),
            Some(text) => What::Text(text.clone()),
            None if self.paths.len() == 1 && self.paths.iter().all(is_input) => {
                if self.dry_run {
                    return Err(Error::usage(
                        "what comes in cannot be looked at before it is sent",
                    )
                    .hint("leave --dry-run away"));
                }
                What::Input
            }
            None if self.paths.iter().any(is_input) => {
                return Err(Error::usage("standard input cannot be sent together with files")
                    .hint("send them one after the other; a file called - is ./-"));
            }
            None => What::Paths(self.paths.clone()),
        })
    }

    /// Whether standard input is what is sent, and no place to answer questions.
    pub fn reads_input(&self) -> bool {
        self.text.as_deref() == Some("-") || self.paths.iter().any(|path| path.as_os_str() == "-")
    }
}

/// A text from standard input.
fn read_text() -> Result<String> {
    let mut text = String::new();
    // One byte more tells that it is too long.
    let read = stdin().take(MAX_TEXT as u64 + 1).read_to_string(&mut text);
    read.map_err(|error| {
        Error::failure(format!("cannot read a text from standard input: {}", reason(&error)))
            .hint("`transfer send -` sends whatever comes in, text or not")
    })?;
    Ok(text)
}

/// `transfer receive`, as typed.
#[derive(Debug, Args)]
#[command(mut_arg("yes", |yes| yes.help("Ask nothing: take it, resume, keep both on a conflict")))]
pub struct ReceiveArgs {
    /// As the sender's screen shows it; asked for when it is not given
    #[arg(value_name = "HOST[:PORT]:TOKEN", env = "TRANSFER_TICKET", hide_env_values = true)]
    ticket: Vec<String>,
    /// Read the ticket from this file, so that it does not show among the running commands
    #[arg(long, value_name = "FILE")]
    ticket_file: Option<PathBuf>,
    /// Use the token that this file holds, agreed beforehand; then the ticket is the sender alone,
    /// such as laptop or laptop:4000
    ///
    /// The file holds at least four words, as `transfer token` makes them, and nobody else may
    /// read it.
    #[arg(long, value_name = "FILE", conflicts_with = "ticket_file")]
    token_file: Option<PathBuf>,
    /// Wait for a sender that is not there yet, an hour or as long as this says: 90s, 5m, 2h
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true,
          default_missing_value = "1h", value_parser = duration)]
    wait: Option<Duration>,
    /// Receive from this machine only, without Tailscale
    #[arg(long)]
    pod: bool,
    /// Put everything into this folder, which is made if it does not exist; a name without / at its
    /// end is that of a single file or stream; - writes it to standard output
    #[arg(short, long, value_name = "PLACE", default_value = ".")]
    output_dir: PathBuf,
    /// What to do when a name is taken by something else; ask unless this says otherwise
    #[arg(long, value_name = "HOW")]
    on_conflict: Option<ConflictArg>,
    /// Take offers of so many files, folders and links (250 bytes of memory each); without
    /// this, up to 1,000,000
    #[arg(long, value_name = "N")]
    max_entries: Option<u32>,
    /// Compare files that are here by content instead of size and time
    #[arg(long)]
    checksum: bool,
    /// Do not wait until what came is on the disk: faster, but a power cut may take it
    #[arg(long)]
    no_sync: bool,
    /// Begin anew, whatever an interrupted run left
    #[arg(long, conflicts_with = "checksum")]
    fresh: bool,
    /// Options that both sides have.
    #[command(flatten)]
    common: Common,
}

/// `--on-conflict`, as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ConflictArg {
    /// Ask, or without a terminal rename
    Ask,
    /// Keep both, the new one under another name
    Rename,
    /// Keep the old one
    Skip,
    /// Keep the new one; folders are never replaced
    Overwrite,
    /// Keep the one that was changed last
    Newer,
    /// Stop before anything is changed
    Fail,
}

impl ReceiveArgs {
    /// Everything decided that can be decided without the sender.
    pub fn resolve(self) -> Result<ReceiveOptions> {
        let ticket = match &self.ticket_file {
            Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
                let file = shown_os(file);
                Error::usage(format!("cannot read \"{}\": {}", file, reason(&error)))
                    .hint("--ticket-file names a file that holds the ticket")
            })?),
            None if self.ticket.is_empty() => None,
            None => Some(parse::one_ticket(self.ticket)?),
        };
        let token = self.token_file.as_deref().map(Token::read).transpose()?;
        if ticket.is_none() && token.is_some() {
            return Err(Error::usage("who the sender is was not said")
                .hint("name it: `transfer receive --token-file FILE laptop`"));
        }
        if self.common.json.is_some() && self.output_dir.as_os_str() == "-" {
            return Err(Error::usage("events and data cannot both go to standard output")
                .hint("leave --json away, or name a folder with -o"));
        }
        Ok(ReceiveOptions {
            features: self.common.features(),
            ticket: ticket.map(Zeroizing::new),
            token,
            wait: self.wait,
            pod: self.pod,
            output: self.output_dir,
            max_entries: self.max_entries,
            on_conflict: match self.on_conflict.unwrap_or(ConflictArg::Ask) {
                ConflictArg::Ask => None,
                ConflictArg::Rename => Some(Conflict::Go(OnConflict::Rename)),
                ConflictArg::Skip => Some(Conflict::Go(OnConflict::Skip)),
                ConflictArg::Overwrite => Some(Conflict::Go(OnConflict::Overwrite)),
                ConflictArg::Newer => Some(Conflict::Go(OnConflict::Newer)),
                ConflictArg::Fail => Some(Conflict::Fail),
            },
            sync: !self.no_sync,
            checksum: self.checksum,
            fresh: self.fresh,
        })
    }
}

/// `transfer doctor`, as typed.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Another machine: its name, its address, or the ticket that it shows
    #[arg(value_name = "PEER")]
    peer: Option<String>,
    /// Leave Tailscale out
    #[arg(long)]
    pod: bool,
    /// Look at this port, here and there; without this at 15820
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// The folder that would be received into
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output_dir: PathBuf,
    /// Tell programs on stdout: one JSON object a line
    #[arg(long)]
    json: bool,
}

impl DoctorArgs {
    /// Everything decided that can be decided without looking.
    pub fn resolve(&self) -> DoctorOptions {
        DoctorOptions {
            peer: self.peer.clone(),
            pod: self.pod,
            port: self.port,
            output: self.output_dir.clone(),
        }
    }
}

/// `transfer token`, as typed.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// Words in it
    #[arg(long, value_name = "N", default_value_t = AGREED_WORDS,
          value_parser = clap::value_parser!(u8).range(i64::from(MIN_AGREED)..=i64::from(MAX_WORDS)))]
    words: u8,
}

impl TokenArgs {
    /// A new token, in a line.
    pub fn make(&self) -> Result<Zeroizing<String>> {
        Ok(Zeroizing::new(format!("{}\n", Token::generate(self.words)?)))
    }
}

/// `transfer completions`, as typed.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell; the one this runs in when it is not given
    shell: Option<Shell>,
    /// Write completions and man page where they belong, among your own files
    #[arg(long)]
    install: bool,
}

impl CompletionsArgs {
    /// Everything decided that can be decided without looking.
    pub fn resolve(&self) -> CompletionsOptions {
        CompletionsOptions { shell: self.shell, install: self.install }
    }
}

/// As `--bwlimit` of rsync has it: a number without a unit is KiB.
fn rate_of_rsync(text: &str) -> Result<Rate, String> {
    match text.trim().parse::<f64>() {
        Ok(_) => Rate::parse(&format!("{}KiB", text.trim())),
        Err(_) => Rate::parse(text),
    }
}

/// Tells what is wrong with a command line that means nothing, to programs too if it has `--json`,
/// or the help that was asked for.
pub fn explain(error: &clap::Error) -> Exit {
    // Nobody may be reading.
    let _ = error.print();
    if !error.use_stderr() {
        return Exit::Done;
    }
    let args = std::env::args_os().skip(1).take_while(|arg| arg != "--");
    let json = args.filter_map(|arg| arg.into_string().ok());
    let ui = Ui::new(true, 0, true, json.into_iter().any(|arg| arg.starts_with("--json")));
    ui.begin();
    let mut text = error.render().to_string();
    if error.kind() == clap::error::ErrorKind::InvalidSubcommand {
        // What this program says of it itself is two sentences on two lines.
        text = text.replacen("\n  ", "\n\n", 1);
    }
    let mut parts =
        text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let message = parts.next().unwrap_or_default();
    let hint = parts.find(|part| !part.is_empty()).unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let said = Error::usage(message);
    ui.usage(&if hint.is_empty() { said } else { said.hint(hint) });
    ui.end(Exit::Usage)
}

/// `90`, `90s`, `5m`, `1h 30m`: at least a second, at most a year.
fn duration(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map(Duration::from_secs);
    let duration = seconds.or_else(|_| humantime::parse_duration(text)).ok();
    // A year is for ever, and far from where adding to a clock overflows.
    let sane = Duration::from_secs(1)..=Duration::from_secs(31_536_000);
    duration.filter(|it| sane.contains(it)).ok_or_else(|| "a duration is like 90s, 5m or 2h".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn rates_of_rsync_are_in_kib() {
        for (text, same) in
            [("1000", "1000KiB"), ("1.5", "1.5KiB"), ("10M", "10M"), ("2MiB", "2MiB")]
        {
            assert_eq!(rate_of_rsync(text), Rate::parse(same), "{text}");
        }
        rate_of_rsync("fast").unwrap_err();
    }

    #[test]
    fn durations() {
        let cases = [
            ("90", Some(90)),
            ("90s", Some(90)),
            ("5m", Some(300)),
            ("2h", Some(7200)),
            ("0", None),
            ("", None),
            ("m", None),
            ("-5m", None),
            ("1h 30m", Some(5400)),
            ("5x", None),
            ("500ms", None),
            ("99999999999999999999", None),
            ("18446744073709551615h", None),
        ];
        for (text, expected) in cases {
            assert_eq!(duration(text).ok(), expected.map(Duration::from_secs), "{text}");
        }
    }
}
