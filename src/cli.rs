//! What was typed, and what it means.

mod devices;
mod find;
mod habits;
mod help;
mod kept;
mod pair;
mod parse;
mod receive;
#[cfg(feature = "relay")]
mod relay;
mod send;
mod serve;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use zeroize::Zeroizing;

pub use self::devices::{CaArgs, DeviceArgs, TrustArgs};
pub use self::find::FindArgs;
use self::habits::Habits;
pub use self::pair::PairArgs;
pub use self::parse::parse;
pub use self::receive::ReceiveArgs;
#[cfg(feature = "relay")]
pub use self::relay::RelayArgs;
pub use self::send::SendArgs;
pub use self::serve::ServeArgs;
use crate::completions::CompletionsOptions;
use crate::connect::direct::Direct;
use crate::doctor::DoctorOptions;
use crate::error::{Error, Exit, Result};
use crate::protocol::features::{Feature, Features};
use crate::token::{AGREED_WORDS, MAX_WORDS, MIN_AGREED, Token};
use crate::ui::Ui;

/// Move files and whole trees between two machines: end-to-end encrypted, verified, fast.
///
/// One machine sends and shows a ticket; the other types it and receives. Both are devices of
/// one Tailscale network, or, with --lan, in one local network, or, with --direct, in any two
/// networks, or, with --pod, the same machine. A machine that runs `transfer serve` takes what
/// trusted devices send to it with --to, without a ticket.
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
        transfer send --direct photos        to a machine of any other network\n  \
        transfer send --to attic photos      to a server that trusts this device, without a ticket\n  \
        transfer send --pod --port 4000 out  to another process on this machine",
        after_long_help = help::SEND)]
    Send(Box<SendArgs>),
    /// Receive what the ticket's sender offers
    #[command(aliases = ["recv", "get"],
        override_usage = "transfer receive [OPTIONS] [TICKET]",
        after_help = "Examples:\n  \
        transfer receive laptop:ocean-tiger                  into this folder\n  \
        transfer receive -o ~/in/ 100.64.1.123:ocean-tiger   into another, the sender by address\n  \
        transfer receive maple-river-ocean-tiger             from `send --direct`\n  \
        transfer receive --on-conflict skip laptop:ocean-tiger",
        after_long_help = help::RECEIVE)]
    Receive(ReceiveArgs),
    /// Take what trusted devices send, always on: each into a folder of its own
    #[command(after_help = "Examples:\n  \
        transfer serve ~/incoming                     on the local network, announced there\n  \
        transfer serve --name attic ~/incoming        under another name than this machine's\n  \
        transfer serve --allow laptop ~/incoming      one device alone, of those that are trusted\n  \
        transfer serve --tailnet ~/incoming           devices of the tailnet as well, that are trusted\n  \
        transfer serve --cert a.pem --key a.key --ca ca.pem ~/incoming\n\n\
        `transfer pair` and `transfer trust import` say whom it trusts; `transfer send --to NAME PATHS`\n\
        sends to it. Ctrl-C or SIGTERM stops it, and the exit code is 0.")]
    Serve(ServeArgs),
    /// Find the servers of the local network that are trusted (`transfer serve`)
    #[command(after_help = "Examples:\n  \
        transfer find              names to send to, addresses, free space\n  \
        transfer find --all        also those that are not trusted, and why\n  \
        transfer find --json       for programs\n\n\
        The exit code is 0 when one is there, else 5.")]
    Find(FindArgs),
    /// Run a relay, at which machines meet that cannot reach each other
    #[cfg(feature = "relay")]
    #[command(after_help = "Examples:\n  \
        transfer relay --cert relay.pem --key relay.key   HTTPS on port 443\n  \
        transfer relay --http 3340                        behind a proxy that has the certificate\n  \
        transfer relay --http 3340 --token-file tokens    for those who have a token\n\n\
        It sees addresses and amounts, never names or content. Ctrl-C or SIGTERM stops it, and the\n\
        exit code is 0.")]
    Relay(Box<RelayArgs>),
    /// Check whether a transfer would work here, and what to do if not
    #[command(after_help = "Examples:\n  \
        transfer doctor              this machine\n  \
        transfer doctor laptop       and the way to another\n  \
        transfer doctor --direct     the way to any other network\n  \
        transfer doctor --pod        this machine, without Tailscale\n\n\
        The exit code is 0 when nothing is in the way, else 1.")]
    Doctor(DoctorArgs),
    /// Let this device and another trust each other: one shows a token, the other types it
    #[command(after_help = "Examples:\n  \
        attic$ transfer pair                     shows a ticket\n  \
        laptop$ transfer pair 192.168.1.9:ocean-tiger\n  \
        laptop$ transfer pair ocean-tiger        looks for attic in the local network\n  \
        attic$ transfer pair --tailnet           the same between machines of a tailnet\n  \
        attic$ transfer pair --join              the other device may join the CA here\n\n\
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
    #[arg(long, value_name = "FILE", value_parser = parse::new_path())]
    manifest: Option<PathBuf>,
    /// Append everything that -vv would say to this file, with the time
    #[arg(long, value_name = "FILE", value_parser = parse::new_path())]
    log_file: Option<PathBuf>,
    /// Do without what newer versions can do; for tests.
    #[arg(long, value_name = "FEATURE", hide = true, value_delimiter = ',',
          value_parser = Feature::parse)]
    without: Vec<Feature>,
    /// Habits of other programs.
    #[command(flatten)]
    habits: Habits,
}

/// What a command says that asks nothing, and where.
#[derive(Debug, Args)]
struct Output {
    /// Say only what went wrong
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// Say more
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Tell programs on stdout: one JSON object a line
    #[arg(long)]
    json: bool,
    /// Append everything that -vv would say to this file, with the time
    #[arg(long, value_name = "FILE", value_parser = parse::new_path())]
    log_file: Option<PathBuf>,
}

impl Output {
    /// The terminal as these options want it, and whether the log could be opened.
    fn ui(&self) -> (Ui, Result<()>) {
        let mut ui = Ui::new(self.quiet, self.verbose, true, self.json);
        let log = self.log_file.as_deref().map_or(Ok(()), |file| ui.log_to(file));
        (ui, log)
    }
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
            #[cfg(feature = "relay")]
            Self::Relay(args) => args.ui(),
            Self::Doctor(args) => (Ui::new(false, 0, true, args.json), Ok(())),
            Self::Find(args) => args.ui(),
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
        #[cfg(feature = "relay")]
        if matches!(self, Self::Relay(_)) {
            return true;
        }
        matches!(self, Self::Send(_) | Self::Receive(_) | Self::Serve(_) | Self::Pair(_))
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
    /// Look at the way to a machine of any other network: which relays answer, what the router here does
    /// to UDP, and whether a direct way is likely. Asks those relays that anybody may use
    #[arg(long, conflicts_with_all = ["peer", "pod", "port"])]
    direct: bool,
    /// With --direct: ask this relay in their place; may be repeated [env: TRANSFER_RELAY]
    #[arg(long, value_name = "URL", requires = "direct")]
    relay: Vec<String>,
    /// With --relay: show the relay the token of this file, which nobody else may read
    #[arg(long, value_name = "FILE", requires = "relay")]
    relay_token_file: Option<PathBuf>,
    /// Look at this port, here and there; without this at 15820, and there at a server's ports
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// The folder that would be received into
    #[arg(short, long, value_name = "DIR", default_value = ".", value_parser = parse::new_path())]
    output_dir: PathBuf,
    /// Tell programs on stdout: one JSON object a line
    #[arg(long)]
    json: bool,
}

impl DoctorArgs {
    /// Everything decided that can be decided without looking.
    ///
    /// # Errors
    /// A relay is named that is none.
    pub fn resolve(&self) -> Result<DoctorOptions> {
        let direct = Direct::new(&self.relay, false, self.relay_token_file.as_deref())?;
        Ok(DoctorOptions {
            peer: self.peer.clone(),
            pod: self.pod,
            direct: self.direct.then_some(direct),
            port: self.port,
            output: self.output_dir.clone(),
        })
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
