//! Reading a file that someone may change at the same moment.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::path::Path;

use super::manifest::Entry;
use super::walk;

/// Why the content of an offered file could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceFault {
    /// It is gone.
    Vanished,
    /// It may not be read.
    Denied,
    /// It is not what was offered: other size, other time, no longer a file.
    Changed,
    /// The disk failed.
    Unreadable,
}

impl From<&io::Error> for SourceFault {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Vanished,
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::IsADirectory => Self::Changed,
            // A link or a socket in the file's place.
            _ if error.raw_os_error().is_some_and(is_no_file) => Self::Changed,
            _ => Self::Unreadable,
        }
    }
}

/// An offered file, open.
#[derive(Debug)]
pub struct SourceFile {
    file: File,
}

impl SourceFile {
    /// Opens without waiting (a pipe in the file's place) and, unless links are sent as what
    /// they point to, without following.
    pub fn open(path: &Path, follow_symlinks: bool) -> Result<Self, SourceFault> {
        let mut options = OpenOptions::new();
        options.read(true);
        careful(&mut options, follow_symlinks);
        let file = options.open(path).map_err(|error| SourceFault::from(&error))?;
        Ok(Self { file })
    }

    /// Reads until `buffer` is full; an earlier end means that the file shrank.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<(), SourceFault> {
        self.file.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => SourceFault::Changed,
            _ => SourceFault::from(&error),
        })
    }

    /// Starts again from the first byte.
    pub fn rewind(&mut self) -> Result<(), SourceFault> {
        self.file.rewind().map_err(|error| SourceFault::from(&error))
    }

    /// Whether the file, now that it has been read, still is what `entry` says.
    pub fn check(&self, entry: &Entry) -> Result<(), SourceFault> {
        let now = self.file.metadata().map_err(|error| SourceFault::from(&error))?;
        let same = now.is_file() && now.len() == entry.size() && walk::mtime(&now) == entry.mtime;
        if same { Ok(()) } else { Err(SourceFault::Changed) }
    }
}

#[cfg(unix)]
fn careful(options: &mut OpenOptions, follow_symlinks: bool) {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    if !follow_symlinks {
        flags |= OFlags::NOFOLLOW;
    }
    if let Ok(flags) = i32::try_from(flags.bits()) {
        options.custom_flags(flags);
    }
}

#[cfg(not(unix))]
fn careful(_: &mut OpenOptions, _: bool) {}

#[cfg(unix)]
fn is_no_file(error: i32) -> bool {
    use rustix::io::Errno;
    [Errno::LOOP, Errno::NXIO].iter().any(|errno| errno.raw_os_error() == error)
}

#[cfg(not(unix))]
fn is_no_file(_: i32) -> bool {
    false
}
