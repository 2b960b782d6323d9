//! `transfer send`, as typed.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{FalseyValueParser, OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::serve::PapersArgs;
use super::{Common, duration, parse};
use crate::bounds::MAX_TEXT;
use crate::compress::Compression;
use crate::connect::devices::Papers;
use crate::connect::direct::Direct;
use crate::connect::place::Place;
use crate::connect::ways::Way;
use crate::error::{Error, Result, reason, shown, shown_os};
use crate::files::exclude::Pattern;
use crate::files::path::RelPath;
use crate::files::select::Filters;
use crate::net::interfaces::Choice;
use crate::net::pace::Rate;
use crate::send::options::{Agreed, SendOptions, To, What};
use crate::standard;
use crate::token::{DEFAULT_WORDS, MAX_WORDS, MIN_WORDS};
use crate::trust::certificate::{HASH_LEN, Id};

/// `transfer send`, as typed.
#[derive(Debug, Args)]
#[command(mut_arg("yes", |yes| yes.help("Ask nothing: send everything, uncompressed")))]
pub struct SendArgs {
    /// Files and folders to send; patterns that the shell left alone work too; - sends what comes
    /// in on standard input
    #[arg(required_unless_present = "text", value_name = "PATHS", value_parser = parse::path())]
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
    /// With --lan or --to: use these network interfaces alone, by name or address; else all that lead
    /// to a local network, and none of a VPN or of containers
    #[arg(long, value_name = "IF", value_delimiter = ',')]
    interface: Vec<String>,
    /// Serve the tailnet or nobody, and do not ask about the internet
    #[arg(long, conflicts_with_all = ["pod", "lan"])]
    tailnet: bool,
    /// Serve a machine of any other network: directly where that works, else through a relay
    #[arg(long, conflicts_with_all = ["pod", "lan", "tailnet", "token_file"])]
    direct: bool,
    /// Over the internet: meet at this relay, in place of those that anybody may use; may be repeated; none
    /// does without, and the ticket has an address of this machine [env: TRANSFER_RELAY]
    #[arg(long, value_name = "URL", conflicts_with_all = ["pod", "lan", "tailnet", "token_file"])]
    relay: Vec<String>,
    /// Over the internet: show the relays of --relay (or $TRANSFER_RELAY) the token of this file, which nobody
    /// else may read [env: TRANSFER_RELAY_TOKEN holds the token]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pod", "lan", "tailnet", "token_file"])]
    relay_token_file: Option<PathBuf>,
    /// Over the internet: never let the other side learn this machine's address
    #[arg(long, env = "TRANSFER_RELAY_ONLY", value_parser = FalseyValueParser::new())]
    relay_only: bool,
    /// Send to the server of that name (`transfer serve`), or at HOST, if it is trusted; without a
    /// ticket. --to alone, behind the paths: look around and choose
    #[arg(long, value_name = "NAME|HOST[:PORT]", num_args = 0..=1, default_missing_value = "",
          conflicts_with_all = ["pod", "lan", "tailnet", "direct", "relay", "relay_token_file", "port", "words", "token_file", "receivers", "timeout",
                                "text"])]
    to: Option<String>,
    /// With --to: take the server whose certificate or key has this SHA-256 (64 hex digits), and no
    /// other, whether it is trusted here or not
    #[arg(long, value_name = "HEX", requires = "to", value_parser = fingerprint)]
    fingerprint: Option<[u8; HASH_LEN]>,
    /// With --to: wait so long for the server to be there: 90s, 5m, 2h; without this a name is looked
    /// for 10 seconds
    #[arg(long, value_name = "DURATION", requires = "to", value_parser = duration)]
    wait: Option<Duration>,
    /// What this device shows, and whom it trusts.
    #[command(flatten)]
    papers: PapersArgs,
    /// Listen on this port, UDP with --direct; 0 takes any that is free; without this 15820, or the next
    /// free one (with --token-file 15820 alone, with a relay any)
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
    pub(super) exclude_dev: bool,
    /// Send developer folders too, without asking
    #[arg(long)]
    pub(super) include_dev: bool,
    /// Send what symbolic links point to instead of the links
    #[arg(long)]
    follow_symlinks: bool,
    /// List what would go on stdout, and send nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Compress on the way; auto decides for each file
    #[arg(short = 'z', long, value_name = "HOW", num_args = 0..=1, require_equals = true,
          default_missing_value = "auto")]
    pub(super) compress: Option<CompressArg>,
    /// Options that both sides have.
    #[command(flatten)]
    pub(super) common: Common,
}

/// Which way is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WayArg {
    Direct,
    Tailnet,
    Lan,
    Pod,
    /// The tailnet; where there is none, it is asked.
    Ask,
}

/// The way where no option names one: that of `$TRANSFER_WAY`.
fn usual_way() -> Result<WayArg> {
    let Some(said) = std::env::var_os("TRANSFER_WAY").filter(|said| !said.is_empty()) else {
        return Ok(WayArg::Ask);
    };
    Ok(match said.to_str() {
        Some("direct") => WayArg::Direct,
        Some("tailnet") => WayArg::Tailnet,
        Some("lan") => WayArg::Lan,
        Some("pod") => WayArg::Pod,
        Some("ask") => WayArg::Ask,
        _ => {
            return Err(Error::usage(format!("TRANSFER_WAY is \"{}\"", shown_os(&said)))
                .hint("it may be direct, tailnet, lan, pod, or ask"));
        }
    })
}

/// `--compress`, as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum CompressArg {
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
        if !(self.interface.is_empty() || self.lan || self.to.is_some()) {
            return Err(Error::usage("--interface is for the local network")
                .hint("add --lan, or name a server with --to"));
        }
        if let (Some(CompressArg::Auto), Some(first)) = (self.compress, self.paths.first())
            && let Some(name) = first.to_str()
            && <CompressArg as ValueEnum>::from_str(name, false).is_ok()
            && first.symlink_metadata().is_err()
        {
            return Err(Error::usage(format!("there is no file \"{name}\""))
                .hint(format!("how to compress is written --compress={name}, with =")));
        }
        let (way, otherwise) = self.way()?;
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
            way,
            otherwise,
            to: match self.to.as_deref() {
                Some(to) => Some(To {
                    place: Some(to).filter(|to| !to.is_empty()).map(Place::parse).transpose()?,
                    choice: Choice::new(&self.interface),
                    fingerprint: self.fingerprint,
                    wait: self.wait,
                    papers,
                }),
                None => None,
            },
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

    /// Who is served; and what is asked about where that is the tailnet and there is none.
    fn way(&self) -> Result<(Way, Option<Direct>)> {
        let direct = Direct::new(&self.relay, self.relay_only, self.relay_token_file.as_deref())?;
        let said = match (self.pod, self.lan, self.tailnet, self.direct || !self.relay.is_empty()) {
            (true, ..) => WayArg::Pod,
            (_, true, ..) => WayArg::Lan,
            (_, _, true, _) => WayArg::Tailnet,
            (_, _, _, true) => WayArg::Direct,
            _ => usual_way()?,
        };
        // A token that was agreed beforehand has no plate.
        if said == WayArg::Direct && self.token_file.is_some() {
            return Err(Error::usage(
                "a direct ticket has words of its own, and --token-file has none",
            )
            .hint("leave --token-file away, or say --tailnet, --lan or --pod"));
        }
        // On this machine there is no address to be kept from anybody.
        if self.relay_only && !matches!(said, WayArg::Pod | WayArg::Direct) {
            return Err(Error::usage(
                "--relay-only needs a relay, and without --direct there is none",
            )
            .hint("add --direct, or leave --relay-only and $TRANSFER_RELAY_ONLY away"));
        }
        if self.relay_token_file.is_some() && said != WayArg::Direct {
            return Err(Error::usage(
                "--relay-token-file is for a relay, and without --direct there is none",
            )
            .hint("add --direct, or leave --relay-token-file away"));
        }
        Ok(match said {
            WayArg::Pod => (Way::Pod, None),
            WayArg::Lan => (Way::Lan(Choice::new(&self.interface)), None),
            WayArg::Tailnet => (Way::Tailnet, None),
            WayArg::Direct => (Way::Direct(direct), None),
            WayArg::Ask => (Way::Tailnet, self.token_file.is_none().then_some(direct)),
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
    let read = standard::input()?.take(MAX_TEXT as u64 + 1).read_to_string(&mut text);
    read.map_err(|error| {
        Error::failure(format!("cannot read a text from standard input: {}", reason(&error)))
            .hint("`transfer send -` sends whatever comes in, text or not")
    })?;
    Ok(text)
}

/// The SHA-256 of a certificate or a key, with colons or without.
fn fingerprint(text: &str) -> Result<[u8; HASH_LEN], String> {
    let id =
        Id::parse(text).ok_or("a fingerprint has 64 hex digits, as `transfer device` shows it")?;
    Ok(id.0)
}

/// As `--bwlimit` of rsync has it: a number without a unit is KiB.
fn rate_of_rsync(text: &str) -> Result<Rate, String> {
    match text.trim().parse::<f64>() {
        Ok(_) => Rate::parse(&format!("{}KiB", text.trim())),
        Err(_) => Rate::parse(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_rsync_are_in_kib() {
        for (text, same) in
            [("1000", "1000KiB"), ("1.5", "1.5KiB"), ("10M", "10M"), ("2MiB", "2MiB")]
        {
            assert_eq!(rate_of_rsync(text), Rate::parse(same), "{text}");
        }
        rate_of_rsync("fast").unwrap_err();
    }
}
