//! One file on its way to the disk: `.part`, hashed as it is written, named only when verified.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use super::part::Part;
use crate::bounds::HOLE_BLOCK;
use crate::files::disk::{self, Lacks};
use crate::files::folder::{Folder, Replace};
use crate::files::manifest::Entry;
use crate::files::own::Own;
use crate::files::path::RelPath;
use crate::files::sparse::{ContentHash, is_zero, zeros_of};
use crate::files::stamp::Stamp;
use crate::files::states::State;
use crate::protocol::pages::HASH_LEN;

/// Writes a file under a name that says it is not finished.
pub struct FileWriter {
    file: File,
    part: Part,
    hash: ContentHash,
    /// Bytes so far, holes included.
    written: u64,
    /// Zeros at the end of those that the file does not have yet.
    hole: u64,
    /// Bytes that were really written, and take room: no holes.
    put: u64,
    /// Whether the disk has holes; else they are written.
    has_holes: bool,
}

/// Content cut where the blocks of a disk begin: zeros that fill one are left out too.
fn blocks(begin: u64, content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let first = usize::try_from(HOLE_BLOCK - begin % HOLE_BLOCK).unwrap_or(content.len());
    let (first, rest) = content.split_at(first.min(content.len()));
    std::iter::once(first).chain(rest.chunks(HOLE_BLOCK as usize))
}

impl FileWriter {
    /// Starts a new file with the content of `entry` that will be called `place`; `free` tells whether
    /// nothing else needs the usual name of an unfinished one.
    pub fn create(
        folder: Folder<'_>,
        own: &Own,
        (entry, place): (&Entry, &RelPath),
        free: bool,
    ) -> io::Result<Self> {
        let made = Part::create(folder, own, place, free);
        made.map(|made| Self::begin(made, folder, entry))
    }

    /// Starts a new file that is finished in a moment.
    pub fn create_briefly(
        folder: Folder<'_>,
        own: &Own,
        (entry, place): (&Entry, &RelPath),
    ) -> io::Result<Self> {
        let made = Part::create_briefly(folder, own, place);
        made.map(|made| Self::begin(made, folder, entry))
    }

    fn begin((file, part): (File, Part), folder: Folder<'_>, entry: &Entry) -> Self {
        let (hash, has_holes) = (ContentHash::of(entry), folder.disk().has_holes);
        Self { file, part, hash, written: 0, hole: 0, put: 0, has_holes }
    }

    /// Goes on with an unfinished file behind its first `offset` bytes, whose hash is known; the
    /// rest is cut off, all of it when `offset` is 0.
    pub fn resume(
        (file, part): (File, Part),
        folder: Folder<'_>,
        (offset, hash): (u64, ContentHash),
    ) -> io::Result<Self> {
        file.set_len(offset)?;
        Self::at((file, part), folder, (offset, hash))
    }

    /// Writes an unfinished file from `offset` on, and leaves what is behind.
    pub fn at(
        (mut file, part): (File, Part),
        folder: Folder<'_>,
        (offset, hash): (u64, ContentHash),
    ) -> io::Result<Self> {
        file.seek(SeekFrom::Start(offset))?;
        let has_holes = folder.disk().has_holes;
        Ok(Self { file, part, hash, written: offset, hole: 0, put: 0, has_holes })
    }

    /// Hashes from now on with this, if nothing has been written yet.
    #[must_use]
    pub fn hashed(mut self, hash: ContentHash) -> Self {
        if self.written == 0 {
            self.hash = hash;
        }
        self
    }

    /// Begins again at the first byte.
    pub fn restart(&mut self, hash: ContentHash) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        (self.hash, self.written, self.hole) = (hash, 0, 0);
        Ok(())
    }

    /// Whether what was written since the block before has left this state. If not, it is gone on
    /// from this one.
    pub fn agree(&mut self, state: State) -> bool {
        self.hash.agree(state)
    }

    /// The states behind the whole blocks.
    pub fn states(&self) -> &[State] {
        self.hash.states()
    }

    /// Whether so many bytes were written, of this hash.
    pub fn is_whole(&self, size: u64, hash: &[u8; HASH_LEN]) -> bool {
        self.written == size && self.hash.clone().finish() == *hash
    }

    /// Closes the file, to be gone on with later; returns what it is then. `NotFound` where it is
    /// not any more what was written.
    ///
    /// # Errors
    /// The content did not get to the disk.
    pub fn put_by(self, folder: Folder<'_>) -> io::Result<Stamp> {
        let written = folder.stamp_of(&self.file)?;
        disk::close(self.file)?;
        // Closing may have changed its time, as on SMB.
        let seen = folder.stamp(&self.part.name)?;
        let is_same = seen.is(&written) && seen.size == written.size;
        if is_same { Ok(seen) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Appends content.
    pub fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.hash.update(content);
        if self.hash.is_sparse() && self.has_holes {
            self.write_sparse(content)?;
        } else {
            self.put += content.len() as u64;
            self.file.write_all(content)?;
        }
        self.written += content.len() as u64;
        Ok(())
    }

    /// Writes what of the content is no zeros.
    fn write_sparse(&mut self, content: &[u8]) -> io::Result<()> {
        // What was looked at, and of that what is still to be written.
        let (mut at, mut run) = (0, content);
        for block in blocks(self.written, content) {
            at += block.len();
            if is_zero(block) {
                let (before, _) = run.split_at(run.len() + at - block.len() - content.len());
                self.put(before)?;
                self.hole += block.len() as u64;
                run = content.get(at..).unwrap_or_default();
            }
        }
        self.put(run)
    }

    /// Appends a hole, which takes nothing where the disk has holes.
    pub fn skip(&mut self, zeros: u64) -> io::Result<()> {
        self.hash.skip(zeros);
        if self.has_holes {
            self.hole += zeros;
        } else {
            self.put += zeros;
            zeros_of(zeros).try_for_each(|piece| self.file.write_all(piece))?;
        }
        self.written += zeros;
        Ok(())
    }

    /// How much of a hole can be appended in a moment.
    pub fn at_once(&self, zeros: u64) -> u64 {
        const WRITTEN: u64 = 1 << 24;
        if self.has_holes { zeros } else { zeros.min(WRITTEN) }
    }

    fn put(&mut self, content: &[u8]) -> io::Result<()> {
        if !content.is_empty() && self.hole > 0 {
            let hole = i64::try_from(self.hole).map_err(|_| io::ErrorKind::FileTooLarge)?;
            self.file.seek(SeekFrom::Current(hole))?;
            self.hole = 0;
        }
        self.put += content.len() as u64;
        self.file.write_all(content)
    }

    /// Bytes that were written since it was opened, and take room.
    pub fn put_bytes(&self) -> u64 {
        self.put
    }

    /// Whether zeros can be left out.
    pub fn has_holes(&self) -> bool {
        self.has_holes
    }

    /// Makes the file as long as what came, a hole at its end included.
    fn reach_end(&self) -> io::Result<()> {
        if self.hole > 0 { self.file.set_len(self.written) } else { Ok(()) }
    }

    /// Bytes that are on the disk for certain, and their hash.
    pub fn sync(&self) -> io::Result<(u64, [u8; HASH_LEN])> {
        let state = self.state()?;
        disk::sync(&self.file)?;
        Ok(state)
    }

    /// Bytes that were written, and their hash.
    pub fn state(&self) -> io::Result<(u64, [u8; HASH_LEN])> {
        self.reach_end()?;
        Ok((self.written, self.hash.clone().finish()))
    }

    /// The same file, for another thread to flush.
    pub fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// The same file, opened once more: with a place of its own, and without the lock that keeps
    /// others from going on with it. `NotFound` where another is called so now.
    pub fn open_again(&self, folder: Folder<'_>) -> io::Result<File> {
        let file = folder.reopen_file(&self.part.name)?;
        let is_same = folder.stamp_of(&file)?.is(&folder.stamp_of(&self.file)?);
        if is_same { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
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
        self.reach_end()?;
        let Self { file, part, hash: own, written, .. } = self;
        if written != entry.size() || own.finish() != *hash {
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
        if !part.is_marked() && !MODE_LAST {
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
        if MODE_LAST && entry.mode & 0o200 == 0 {
            folder.set_mode(&folder.open_placed(name)?, entry.mode)?;
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

/// Whether a file gets its mode only with its name: Windows takes no name from a file that may not be
/// written.
const MODE_LAST: bool = cfg!(not(unix));

/// That a disk rounds times to this many nanoseconds is not worth a word.
const COARSE: u64 = 2_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::manifest::Kind;
    use crate::files::root::Root;

    /// A folder, and a file of ten bytes that is to be written there.
    fn stage() -> (tempfile::TempDir, Root, Entry) {
        let dir = tempfile::tempdir().unwrap();
        let mut root = Root::open(dir.path()).unwrap();
        root.try_out().unwrap();
        let path = RelPath::parse("big").unwrap();
        (dir, root, Entry { path, kind: Kind::File(10), mode: 0o644, mtime: 0 })
    }

    /// A thread that is slow to end reads what an interrupted session left while the next one goes
    /// on with it.
    #[test]
    fn whoever_reads_an_unfinished_file_keeps_nobody_from_it() {
        let (dir, mut root, entry) = stage();
        let (own, path) = (root.own().clone(), &entry.path);
        let folder = root.parent_of(path).unwrap();
        let mut writer = FileWriter::create(folder, &own, (&entry, path), true).unwrap();
        writer.write(b"half").unwrap();
        let marked = writer.part.is_marked();
        let again = writer.open_again(folder).unwrap();
        if marked {
            // While it is written nobody else goes on with it.
            assert!(Part::find(folder, &own, path).is_none());
        }
        let name = writer.part.name.clone();
        drop(writer);
        let (_, found) = Part::find(folder, &own, path).expect("the unfinished file");
        assert_eq!(found.name, name);
        drop(again);

        if cfg!(not(unix)) {
            return; // No numbers tell files apart.
        }
        // Somebody has put another in its place.
        let (file, part) = Part::find(folder, &own, path).unwrap();
        let writer = FileWriter::at((file, part), folder, (0, ContentHash::of(&entry))).unwrap();
        let name = dir.path().join(String::from_utf8(name).unwrap());
        std::fs::rename(&name, dir.path().join("aside")).unwrap();
        std::fs::write(&name, b"half").unwrap();
        let other = writer.open_again(folder).unwrap_err();
        assert_eq!(other.kind(), io::ErrorKind::NotFound);
        assert_eq!(writer.put_by(folder).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    /// What is put by is found again as it is after it was closed, unless somebody wrote to it.
    #[test]
    fn what_is_put_by_is_known_as_it_was_closed() {
        let (_dir, mut root, entry) = stage();
        let (own, path) = (root.own().clone(), &entry.path);
        let folder = root.parent_of(path).unwrap();
        let mut writer = FileWriter::create(folder, &own, (&entry, path), true).unwrap();
        writer.write(b"half").unwrap();
        let seen = writer.put_by(folder).unwrap();
        let (file, part) = Part::find(folder, &own, path).unwrap();
        assert!(folder.stamp_of(&file).unwrap().is_untouched(&seen));
        assert!(folder.stamp(&part.name).unwrap().is_untouched(&seen));
    }
}
