//! One file on its way to the disk: `.part`, hashed as it is written, named only when verified.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use sha2::{Digest, Sha256};

use super::part::Part;
use crate::files::disk::{self, Lacks, Stamp};
use crate::files::manifest::Entry;
use crate::files::own::Own;
use crate::files::path::RelPath;
use crate::files::root::{Folder, Replace};
use crate::protocol::pages::HASH_LEN;

/// Writes a file under a name that says it is not finished.
pub struct FileWriter {
    file: File,
    part: Part,
    hash: Sha256,
    written: u64,
}

impl FileWriter {
    /// Starts a new file that will be called `place`; `free` tells whether nothing else needs the
    /// usual name of an unfinished one.
    pub fn create(folder: Folder<'_>, own: &Own, place: &RelPath, free: bool) -> io::Result<Self> {
        Part::create(folder, own, place, free).map(Self::begin)
    }

    /// Starts a new file that is finished in a moment.
    pub fn create_briefly(folder: Folder<'_>, own: &Own, place: &RelPath) -> io::Result<Self> {
        Part::create_briefly(folder, own, place).map(Self::begin)
    }

    fn begin((file, part): (File, Part)) -> Self {
        Self { file, part, hash: Sha256::new(), written: 0 }
    }

    /// Goes on with an unfinished file behind its first `offset` bytes, whose hash is known; the
    /// rest is cut off, all of it when `offset` is 0.
    pub fn resume(mut file: File, part: Part, offset: u64, hash: Sha256) -> io::Result<Self> {
        file.set_len(offset)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Self { file, part, hash, written: offset })
    }

    /// Appends content.
    pub fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.hash.update(content);
        self.file.write_all(content)?;
        self.written += content.len() as u64;
        Ok(())
    }

    /// Bytes that are on the disk for certain, and their SHA-256.
    pub fn sync(&self) -> io::Result<(u64, [u8; HASH_LEN])> {
        disk::sync(&self.file)?;
        Ok(self.state())
    }

    /// Bytes that were written, and their SHA-256.
    pub fn state(&self) -> (u64, [u8; HASH_LEN]) {
        (self.written, self.hash.clone().finalize().into())
    }

    /// The same file, for another thread to flush.
    pub fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Compares with what the sender read, and closes the file; one that differs is removed.
    ///
    /// # Errors
    /// The content did not get to the disk.
    pub fn verify(
        self,
        folder: Folder<'_>,
        entry: &Entry,
        hash: &[u8; HASH_LEN],
    ) -> io::Result<Option<Verified>> {
        let Self { file, part, hash: own, written } = self;
        if written != entry.size() || own.finalize()[..] != hash[..] {
            drop(file);
            // What cannot be removed is a `.part` file that is never named: harmless.
            let _ = folder.remove(&part.name);
            return Ok(None);
        }
        Verified::close(file, part, folder, entry).map(Some)
    }

    /// Gives the file up.
    pub fn discard(self, folder: Folder<'_>) {
        drop(self.file);
        let _ = folder.remove(&self.part.name);
    }
}

/// A whole file whose hash matches, and that is closed: the only thing that can get its final name.
#[derive(Debug)]
pub struct Verified {
    part: Part,
    stamp: Stamp,
}

impl Verified {
    /// Closes a file whose content is known to be whole, with the mode and time of `entry`.
    ///
    /// # Errors
    /// The content did not get to the disk.
    pub(super) fn close(
        file: File,
        part: Part,
        folder: Folder<'_>,
        entry: &Entry,
    ) -> io::Result<Self> {
        disk::flush_file(&file, folder.disk())?;
        if !part.is_marked() {
            folder.set_mode(&file, entry.mode)?;
        }
        folder.set_time_of(&file, entry.mtime)?;
        let stamp = folder.stamp_of(&file)?;
        // Before it gets its name: some file systems say only now that the content is lost, and
        // some rename no open file.
        disk::close(file)?;
        Ok(Self { part, stamp })
    }

    /// Gives the file its name; returns the time of last change that the disk made of the offered
    /// one.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken and may not be replaced; the file is then still
    /// there and can be placed under another. `InvalidData` when somebody has put another file in
    /// its place.
    pub fn place(
        &self,
        folder: Folder<'_>,
        name: &[u8],
        entry: &Entry,
        replace: Replace<'_>,
    ) -> io::Result<i64> {
        folder.put(&self.part.name, name, replace)?;
        let mut found = folder.stamp(name)?;
        if !found.is(&self.stamp) || found.size != self.stamp.size {
            let _ = folder.put(name, &self.part.name, Replace::Never);
            return Err(io::ErrorKind::InvalidData.into());
        }
        if self.part.is_marked() {
            self.part.unmark(folder, name, entry.mode)?;
            found = folder.stamp(name)?;
        }
        if found.mtime != entry.mtime {
            // Closing may have changed it, as on SMB.
            folder.set_time(name, entry.mtime)?;
            found = folder.stamp(name)?;
        }
        let lost = entry.mtime.abs_diff(found.mtime) > COARSE;
        let bent = found.mode.is_some_and(|mode| mode & 0o777 != entry.mode & 0o777);
        if lost || bent {
            folder.disk().lacks(Lacks { modes: bent, times: lost });
        }
        Ok(found.mtime)
    }

    /// Gives the file up.
    pub fn discard(self, folder: Folder<'_>) {
        let _ = folder.remove(&self.part.name);
    }
}

/// That a disk rounds times to this many nanoseconds is not worth a word.
const COARSE: u64 = 2_000_000_000;
