//! One file on its way to the disk: `.part`, hashed as it is written, named only when verified.

use std::fs::{File, FileTimes};
use std::io::{self, Write};

use sha2::{Digest, Sha256};

use crate::files::manifest::Entry;
use crate::files::path::MAX_NAME;
use crate::files::root::{self, Folder, Replace};
use crate::files::walk::system_time;
use crate::protocol::pages::HASH_LEN;

/// Writes a file under a name that says it is not finished.
pub struct FileWriter {
    file: File,
    part: String,
    hash: Sha256,
    written: u64,
}

impl FileWriter {
    /// Starts a new file for `name` in `folder`. `taken` tells names that other entries of the
    /// transfer will have.
    pub fn create(
        folder: Folder<'_>,
        name: &str,
        taken: impl Fn(&str) -> bool,
    ) -> io::Result<Self> {
        for part in part_names(name) {
            if taken(&part) {
                continue;
            }
            match folder.create_file(&part) {
                Ok(file) => return Ok(Self { file, part, hash: Sha256::new(), written: 0 }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Appends content.
    pub fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.hash.update(content);
        self.file.write_all(content)?;
        self.written += content.len() as u64;
        Ok(())
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Compares with what the sender read. A file that differs is removed.
    pub fn verify(self, folder: Folder<'_>, size: u64, hash: &[u8; HASH_LEN]) -> Option<Verified> {
        let Self { file, part, hash: own, written } = self;
        if written == size && own.finalize()[..] == hash[..] {
            return Some(Verified { file, part });
        }
        // What cannot be removed is a `.part` file that is never named: harmless.
        let _ = folder.remove(&part);
        None
    }

    /// Gives the file up.
    pub fn discard(self, folder: Folder<'_>) {
        let _ = folder.remove(&self.part);
    }
}

/// A whole file whose hash matches: the only thing that can get its final name.
pub struct Verified {
    file: File,
    part: String,
}

impl Verified {
    /// Sets mode and time, then the name.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken and may not be replaced; the file is then still
    /// there and can be placed under another.
    pub fn place(
        &self,
        folder: Folder<'_>,
        name: &str,
        entry: &Entry,
        replace: Replace,
    ) -> io::Result<()> {
        root::set_mode(&self.file, entry.mode)?;
        self.file.set_times(FileTimes::new().set_modified(system_time(entry.mtime)))?;
        folder.put(&self.part, name, replace)
    }

    /// Gives the file up.
    pub fn discard(self, folder: Folder<'_>) {
        let _ = folder.remove(&self.part);
    }
}

/// Names for an unfinished file: the plain one, then numbered ones, shortened where the name
/// leaves no room.
fn part_names(name: &str) -> impl Iterator<Item = String> {
    (0..1000u32).map(move |number| {
        let suffix = if number == 0 { ".part".into() } else { format!(".{number}.part") };
        let mut end = name.len().min(MAX_NAME - suffix.len());
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}{suffix}", &name[..end])
    })
}
