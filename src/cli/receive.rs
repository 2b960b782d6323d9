//! `transfer receive`, as typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use zeroize::Zeroizing;

use super::{Common, duration, parse};
use crate::connect::direct::Direct;
use crate::connect::ways::Dial;
use crate::error::{Error, Result, reason, shown_os};
use crate::receive::options::{Conflict, ReceiveOptions};
use crate::receive::plan::OnConflict;
use crate::token::Token;

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
    /// Meet a sender of the internet at this relay, in place of the ticket's; may be repeated
    /// [env: TRANSFER_RELAY, where the ticket names none]
    #[arg(long, value_name = "URL", conflicts_with = "pod")]
    relay: Vec<String>,
    /// Show the relays of --relay (or $TRANSFER_RELAY) the token of this file, which nobody else may read
    /// [env: TRANSFER_RELAY_TOKEN holds the token]
    #[arg(long, value_name = "FILE", conflicts_with = "pod")]
    relay_token_file: Option<PathBuf>,
    /// Never let the other side learn this machine's address: everything goes through the relay
    #[arg(long, env = "TRANSFER_RELAY_ONLY", value_parser = FalseyValueParser::new())]
    relay_only: bool,
    /// Put everything into this folder, which is made if it does not exist; a name without / at its
    /// end is that of a single file or stream; - writes it to standard output
    #[arg(short, long, value_name = "PLACE", default_value = ".", value_parser = parse::new_path())]
    output_dir: PathBuf,
    /// What to do when a name is taken by something else; ask unless this says otherwise
    #[arg(long, value_name = "HOW")]
    pub(super) on_conflict: Option<ConflictArg>,
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
    pub(super) common: Common,
}

/// `--on-conflict`, as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ConflictArg {
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
            dial: Dial {
                is_pod: self.pod,
                direct: Direct::new(
                    &self.relay,
                    self.relay_only,
                    self.relay_token_file.as_deref(),
                )?,
                ..Dial::default()
            },
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
