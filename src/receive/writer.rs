//! One file on its way to the disk: `.part`, hashed as it is written, named only when verified.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

use sha2::{Digest, Sha256};

use crate::bounds::MAX_NAME;
use crate::files::manifest::Entry;
use crate::files::root::{self, Folder, Replace};
use crate::protocol::pages::HASH_LEN;

/// Writes a file under a name that says it is not finished.
pub struct FileWriter {
    file: File,
    part: String,
    hash: Sha256,
    written: u64,
}

impl FileWriter {
    /// Starts a new file under this name, which nothing has.
    pub fn create(folder: Folder<'_>, part: &str) -> io::Result<Self> {
        let file = folder.create_file(part)?;
        Ok(Self { file, part: part.into(), hash: Sha256::new(), written: 0 })
    }

    /// Goes on with an unfinished file behind its first `offset` bytes, whose hash is known; the
    /// rest is cut off, all of it when `offset` is 0.
    pub fn resume(mut file: File, part: &str, offset: u64, hash: Sha256) -> io::Result<Self> {
        file.set_len(offset)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Self { file, part: part.into(), hash, written: offset })
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
        self.file.sync_data()?;
        Ok((self.written, self.hash.clone().finalize().into()))
    }

    /// The same, but without waiting for a disk that may take a second or more.
    pub fn sync_beside(&self) -> io::Result<Syncing> {
        let (file, hash) = (self.file.try_clone()?, self.hash.clone().finalize().into());
        let (tell, done) = mpsc::channel();
        // The session may have ended meanwhile.
        let sync = move || drop(tell.send(file.sync_data()));
        thread::Builder::new().name("sync".into()).spawn(sync)?;
        Ok(Syncing { bytes: self.written, hash, done })
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

/// What is on its way to the disk.
pub struct Syncing {
    bytes: u64,
    hash: [u8; HASH_LEN],
    done: Receiver<io::Result<()>>,
}

impl Syncing {
    /// Bytes that are on the disk now, and their SHA-256; nothing while they are not all there.
    pub fn done(&self) -> Option<io::Result<(u64, [u8; HASH_LEN])>> {
        let synced = match self.done.try_recv() {
            Ok(synced) => synced,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err(io::ErrorKind::Other.into()),
        };
        Some(synced.map(|()| (self.bytes, self.hash)))
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
        root::set_mtime(&self.file, entry.mtime)?;
        folder.put(&self.part, name, replace)
    }

    /// Gives the file up.
    pub fn discard(self, folder: Folder<'_>) {
        let _ = folder.remove(&self.part);
    }
}

/// Names for an unfinished file: the plain one, then numbered ones, shortened where the name
/// leaves no room.
pub fn part_names(name: &str) -> impl Iterator<Item = String> {
    (0..1000u32).map(move |number| {
        let suffix = if number == 0 { ".part".into() } else { format!(".{number}.part") };
        let mut end = name.len().min(MAX_NAME - suffix.len());
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}{suffix}", &name[..end])
    })
}
