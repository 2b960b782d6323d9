//! What to serve, and how.

use std::path::PathBuf;

use super::room::Limits;
use super::unit::Wish;
use crate::connect::devices::Papers;
use crate::connect::ways::Way;
use crate::protocol::features::Features;
use crate::receive::options::Conflict;

/// What to serve, and how; resolved from the command line.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Each device has a folder in this one, unless it is flat.
    pub folder: PathBuf,
    /// What it is called; nothing for this device's name.
    pub name: Option<String>,
    /// Whether it is not announced.
    pub hidden: bool,
    /// Who can reach it: the local network, the tailnet, both, or this machine.
    pub way: Way,
    /// TCP port to listen on; 0 lets the system choose. Nothing for the usual one or the next.
    pub port: Option<u16>,
    /// What this device shows, and whom it lets in.
    pub papers: Papers,
    /// Only what makes a service of it is printed.
    pub unit: Option<Wish>,
    /// All uploads go into the folder itself, one at a time.
    pub flat: bool,
    /// How much is taken.
    pub limits: Limits,
    /// Uploads that are taken at the same time.
    pub uploads: usize,
    /// Permission bits that are taken from what comes; nothing for those of the process.
    pub umask: Option<u16>,
    /// What to do when a name is taken.
    pub on_conflict: Conflict,
    /// So many entries are taken; nothing when the usual bound holds.
    pub max_entries: Option<u32>,
    /// What this side says that it can do.
    pub features: Features,
}
