//! Where to receive from, where to, and how. None of it changes in a run: what is decided there
//! is in `receive::decisions`.

use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use super::consent::OnConflict;
use crate::connect::ways::Dial;
use crate::protocol::features::Features;
use crate::token::Token;

/// Where to receive from, and where to; resolved from the command line.
#[derive(Debug, Clone)]
pub struct ReceiveOptions {
    /// What this side says that it can do.
    pub features: Features,
    /// The ticket as it was typed; nothing when it is to be asked.
    pub ticket: Option<Zeroizing<String>>,
    /// The token that was agreed beforehand; then the ticket names the sender alone.
    pub token: Option<Token>,
    /// How long a sender may not be there yet; nothing when it must be there.
    pub wait: Option<Duration>,
    /// What was said about the way there.
    pub dial: Dial,
    /// The folder that everything goes into; without a separator at its end it may name a single
    /// file or a stream.
    pub output: PathBuf,
    /// So many entries are taken; nothing when the usual bound holds.
    pub max_entries: Option<u32>,
    /// What to do about existing files; nothing when it is to be asked.
    pub on_conflict: Option<Conflict>,
    /// Wait until what came is on the disk before it counts.
    pub sync: bool,
    /// Compare files that are here by content, not by size and time.
    pub checksum: bool,
    /// Begin anew, whatever an interrupted run left.
    pub fresh: bool,
}

impl ReceiveOptions {
    /// Whether what comes is written to standard output.
    pub fn to_stdout(&self) -> bool {
        self.output.as_os_str() == "-"
    }
}

/// What to do when something of the same name is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// One of the ways to go on.
    Go(OnConflict),
    /// Stop before anything is changed.
    Fail,
}
