//! What to send, and how.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::compress::Compression;
use crate::connect::devices::Papers;
use crate::connect::direct::Direct;
use crate::connect::place::Place;
use crate::connect::ways::Way;
use crate::error::Result;
use crate::files::select::Filters;
use crate::net::interfaces::Choice;
use crate::net::pace::Rate;
use crate::protocol::features::Features;
use crate::token::Token;
use crate::trust::certificate::HASH_LEN;

/// What to send, and how; resolved from the command line.
#[derive(Debug, Clone)]
pub struct SendOptions {
    /// What is sent.
    pub what: What,
    /// What to call what comes in on standard input.
    pub name: Option<String>,
    /// What of the paths goes.
    pub filters: Filters,
    /// Only show what would go.
    pub dry_run: bool,
    /// What this side says that it can do.
    pub features: Features,
    /// Who is served: the tailnet, this machine, the local network, or anybody who has the ticket.
    pub way: Way,
    /// What is asked about where there is no tailnet; nothing where the way was named.
    pub otherwise: Option<Direct>,
    /// A device that serves others, to be dialled instead of waiting for a receiver.
    pub to: Option<To>,
    /// TCP port to listen on; 0 lets the system choose. Nothing for the usual one or the next.
    pub port: Option<u16>,
    /// Words in the token.
    pub words: u8,
    /// A token that was agreed beforehand, in place of a new one.
    pub agreed: Option<Agreed>,
    /// Receivers to serve, several at a time.
    pub receivers: u32,
    /// How fast to send at most, all receivers together.
    pub limit: Option<Rate>,
    /// How long to wait for the first receiver.
    pub timeout: Duration,
    /// Leave developer folders out; nothing when it is to be asked.
    pub exclude_developer: Option<bool>,
    /// Send what links point to.
    pub follow_symlinks: bool,
    /// Which compression to try; nothing when it is to be asked.
    pub compression: Option<Compression>,
}

/// Where a device serves others.
#[derive(Debug, Clone)]
pub struct To {
    /// Where, as it was typed; nothing to choose among those that are found.
    pub place: Option<Place>,
    /// The interfaces to look at.
    pub choice: Choice,
    /// SHA-256 of its certificate or key, in the place of whom this device trusts.
    pub fingerprint: Option<[u8; HASH_LEN]>,
    /// How long it may not be there yet.
    pub wait: Option<Duration>,
    /// What this device shows, and whom it trusts beside its list.
    pub papers: Papers,
}

/// A token that both sides have in a file of their own.
#[derive(Debug, Clone)]
pub struct Agreed {
    /// The token.
    pub token: Token,
    /// The file here, as it was typed.
    pub file: PathBuf,
}

impl Agreed {
    /// Reads the file.
    ///
    /// # Errors
    /// As [`Token::read`].
    pub fn read(file: &Path) -> Result<Self> {
        Ok(Self { token: Token::read(file)?, file: file.to_owned() })
    }
}

/// What `transfer send` sends.
#[derive(Debug, Clone)]
pub enum What {
    /// Files and folders, and patterns that no shell has expanded.
    Paths(Vec<PathBuf>),
    /// A text.
    Text(String),
    /// What comes in on standard input.
    Input,
}
