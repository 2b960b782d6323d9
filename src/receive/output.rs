//! Where what comes goes: the folder, and the right to write into it.

use std::path::Path;

use super::lock::TransferLockManager;
use crate::error::{Error, Result, reason, shown_os};
use crate::files::root::Root;

/// The output folder, and the right to write into it.
pub struct Output {
    /// The folder.
    pub root: Root,
    /// Keeps other receivers out of it.
    pub lock: TransferLockManager,
}

impl Output {
    /// Opens the folder, making it if it is missing, finds out whether it can be written to, and
    /// keeps other receivers out of it.
    pub fn open(path: &Path, flushes: bool) -> Result<Self> {
        let mut root = Root::open(path).map_err(|error| {
            let path = shown_os(path);
            Error::failure(format!("cannot use \"{}\": {}", path, reason(&error)))
                .hint("name another folder with -o")
        })?;
        if !flushes {
            root.flush_never();
        }
        let lock = TransferLockManager::acquire(&mut root)?;
        Ok(Self { root, lock })
    }
}

/// Whether a place may be the name of a single file: no folder is there, and none is meant.
pub fn may_be_name(output: &Path) -> bool {
    let text = output.as_os_str().as_encoded_bytes();
    let is_folder = text.last().is_some_and(|last| std::path::is_separator(char::from(*last)));
    !is_folder && output.file_name().is_some() && !output.is_dir()
}

/// A folder, or nothing yet. Of one that is not there the next one above it counts; returns that.
pub fn check_output(output: &Path) -> Result<&Path> {
    // Without a separator at its end: a file with one is not found at all.
    let found = output.components().as_path().ancestors().find_map(|folder| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        Some((folder, std::fs::metadata(folder).ok()?))
    });
    match found {
        Some((at, found)) if !found.is_dir() => {
            let at = shown_os(at);
            Err(Error::failure(format!("\"{}\" is not a folder", at))
                .hint("name a folder with -o; it is made if it does not exist"))
        }
        Some((at, _)) => Ok(at),
        None => Ok(output),
    }
}
