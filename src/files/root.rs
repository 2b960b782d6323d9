//! The one folder beneath which everything is written.
//!
//! All access goes through directory handles and single names. No symbolic link is ever
//! followed below the root, whether it was there before or came with the transfer: a link where
//! a folder should be is an error. What is put in place never replaces anything unless asked.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_fs_ext::DirExt;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};

use super::attributes::set_mtime;
use super::disk::{self, Disk, Lacks, Room};
use super::folder::{Folder, Found};
use super::guard::Guard;
use super::mapping::{as_text, windows_name};
use super::naming::{self, Naming};
use super::own::Own;
use super::path::{RelPath, at, is_text, names};
use super::trial::{self, Disks};

/// The output folder, open.
pub struct Root {
    dir: Dir,
    disk: Arc<Disk>,
    disks: Arc<Disks>,
    own: Own,
    /// Whether what is written is to be on the disk at the end.
    flushes: bool,
    path: PathBuf,
    /// The folders that were entered last, from the top down; of a deep path only the innermost
    /// [`MAX_OPEN`] are open.
    entered: Vec<Entered>,
}

struct Entered {
    name: Box<[u8]>,
    dir: Option<Dir>,
    disk: Arc<Disk>,
}

/// Folders that are open at the same time, by each thread: far fewer than any system allows.
const MAX_OPEN: usize = 16;

/// No disk is coarser than this about times, in nanoseconds.
const COARSEST: u64 = 2_000_000_000;

/// Times between these two, in nanoseconds since 1970 UTC, every disk can hold: from FAT's first
/// to the last of a signed number of 32 bits.
const HELD_BY_ALL: std::ops::Range<i64> = 315_532_800_000_000_000..2_147_483_647_000_000_000;

impl Root {
    /// Opens the folder, making it and its parents if they are missing.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_as(path, Own::of_user())
    }

    /// The same, with this key.
    pub fn open_as(path: &Path, own: Own) -> io::Result<Self> {
        let typed = path.to_str().filter(|_| cfg!(windows)).and_then(naming::plain);
        let path = typed.as_ref().map_or(path, Path::new);
        Dir::create_ambient_dir_all(path, ambient_authority())?;
        let dir = Dir::open_ambient_dir(path, ambient_authority())?;
        let (disks, disk) = Disks::new(Disk::unknown(&dir), &own.scratch(), true);
        let (path, entered) = (path.into(), Vec::new());
        Ok(Self { dir, disk, disks, own, flushes: true, path, entered })
    }

    /// Leaves it to the system when what is written gets to the disk. Before it is tried out.
    pub fn flush_never(&mut self) {
        self.flushes = false;
    }

    /// Finds out whether it can be written to, and what its disk can do.
    pub fn try_out(&mut self) -> io::Result<()> {
        let scratch = self.own.scratch();
        (self.disks, self.disk) =
            Disks::new(trial::try_out(&self.dir, &scratch)?, &scratch, self.flushes);
        self.entered.clear();
        Ok(())
    }

    /// The same folder for another thread.
    pub fn again(&self) -> io::Result<Self> {
        let (disk, disks) = (Arc::clone(&self.disk), Arc::clone(&self.disks));
        let (dir, own, path) = (self.dir.try_clone()?, self.own.clone(), self.path.clone());
        Ok(Self { dir, disk, disks, own, flushes: self.flushes, path, entered: Vec::new() })
    }

    /// What its disk has room for.
    pub fn room(&self) -> Room {
        self.disk.room(&self.path)
    }

    /// The folder's own number, where such numbers stay; else 0.
    pub fn number(&self) -> u64 {
        let number = self.dir.dir_metadata().map_or(0, |metadata| number_of(&metadata));
        if self.disk.has_numbers { number } else { 0 }
    }

    /// Waits until all that was written is on the disks, where that is done at once.
    ///
    /// # Errors
    /// Something could not be written: nobody knows what.
    pub fn flush(&self) -> io::Result<()> {
        flush(&self.disks)
    }

    /// The same, for another thread to do.
    pub fn flusher(&self) -> impl FnOnce() -> io::Result<()> + Send + 'static {
        let disks = Arc::clone(&self.disks);
        move || flush(&disks)
    }

    /// Attributes that one of its disks turned out not to keep.
    pub fn lacking(&self) -> Lacks {
        self.disks.all().iter().map(|disk| disk.lacking()).fold(Lacks::default(), |all, disk| {
            Lacks { modes: all.modes || disk.modes, times: all.times || disk.times }
        })
    }

    /// Whether nothing can be written any more; says why.
    pub fn is_gone(&self) -> Option<io::Error> {
        let (scratch, folder) = (self.disks.scratch(), self.top());
        // What failed a moment ago may have left one.
        let _ = folder.remove(scratch);
        let tried = folder.create_file(scratch).and_then(|file| {
            io::Write::write_all(&mut &file, b"?")?;
            disk::sync(&file)?;
            disk::close(file)
        });
        let removed = folder.remove(scratch);
        tried.and(removed).err().filter(disk::may_be_gone)
    }

    /// Locks the folder for this process; the lock ends with the file or the process.
    ///
    /// # Errors
    /// `WouldBlock` when another process, or another handle of this one, has it.
    pub fn guard(&self) -> io::Result<Guard> {
        Guard::take(&self.dir)
    }

    /// Opens a regular file for reading.
    pub fn open_file(&mut self, path: &RelPath) -> io::Result<File> {
        self.parent_of(path)?.open(path.name(), OpenOptions::new().read(true))
    }

    /// Whether a time found on the disk is what it makes of the one that was given.
    pub fn is_time(&self, given: i64, found: i64) -> bool {
        if given == found {
            return true;
        }
        // Where every disk keeps the time itself there is nothing to try out.
        if given.abs_diff(found) >= COARSEST && HELD_BY_ALL.contains(&given) {
            return false;
        }
        let scratch = self.disks.scratch();
        let tried = || {
            let folder = self.top();
            let before = folder.stamp(".");
            let file = folder.create_file(scratch).ok()?;
            let set = set_mtime(&file, given);
            drop(file);
            let stamp = folder.stamp(scratch);
            let _ = folder.remove(scratch);
            if let Ok(before) = before {
                folder.restore_time(before.mtime);
            }
            set.and(stamp).ok().map(|stamp| stamp.mtime)
        };
        self.disk.time_of(given, tried) == found
    }

    /// Bytes that a file in the folder around `path` may have.
    pub fn largest_file(&mut self, path: &RelPath) -> u64 {
        let largest = self.parent_of(path).ok().map(|folder| folder.disk().largest_file);
        // One that is still to be made.
        largest.unwrap_or(self.disk.largest_file)
    }

    /// Bytes that a file may have on any of the disks that are known.
    pub fn fits_everywhere(&self) -> u64 {
        self.disks.all().iter().map(|disk| disk.largest_file).min().unwrap_or(u64::MAX)
    }

    /// Whether a folder lists this very name, and not another that its disk takes for the same.
    pub fn lists(&mut self, path: &RelPath) -> bool {
        self.parent_of(path).is_ok_and(|folder| folder.lists(path.name()))
    }

    /// The name for an entry in the place of its own, if its disk cannot hold that.
    pub fn mapped(&mut self, path: &RelPath) -> Option<String> {
        let name = path.name();
        if cfg!(windows) {
            return windows_name(name);
        }
        if is_text(name) {
            return None;
        }
        let scratch = self.disks.scratch().to_owned();
        let scratch = scratch.as_bytes();
        // Where its folder is still to be made, it will be on the disk of the top.
        let holds = match self.parent_of(path) {
            Ok(folder) => folder.holds(name, scratch),
            Err(_) => self.top().holds(name, scratch),
        };
        if holds { None } else { Some(as_text(name).into_owned()) }
    }

    /// What its disk takes for one name.
    pub fn naming(&self) -> Naming {
        self.disk.naming
    }

    /// Whether its disk takes names of other capitals for the same, and cannot tell files apart.
    pub fn folds_blindly(&self) -> bool {
        self.disk.naming.has_twins() && !self.disk.has_numbers
    }

    /// Where it is, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder itself.
    pub fn top(&self) -> Folder<'_> {
        Folder::new(&self.dir, &self.disk)
    }

    /// The folder that holds `path`, each step checked not to be a link.
    pub fn parent_of(&mut self, path: &RelPath) -> io::Result<Folder<'_>> {
        self.enter(path.parent())
    }

    fn enter(&mut self, folder: Option<&[u8]>) -> io::Result<Folder<'_>> {
        let names = || folder.into_iter().flat_map(names);
        let depth = names().count();
        let entered = self.entered.iter().map(|entered| &*entered.name);
        let mut common = entered.zip(names()).take_while(|(entered, name)| entered == name).count();
        if common > 0 && self.entered.get(common - 1).is_none_or(|last| last.dir.is_none()) {
            // Closed meanwhile: once more from the top.
            common = 0;
        }
        // What lies deeper may be of use again, but not once another way is taken.
        if common < depth {
            self.entered.truncate(common);
        }
        for name in names().skip(common) {
            let (parent, around) = match self.entered.last() {
                Some(last) => (last.dir.as_ref().unwrap_or(&self.dir), &last.disk),
                None => (&self.dir, &self.disk),
            };
            let dir = parent.open_dir_nofollow(at(name)?)?;
            let disk = self.disks.of(&dir, around);
            self.entered.push(Entered { name: name.into(), dir: Some(dir), disk });
            let closed = self.entered.len().checked_sub(MAX_OPEN + 1);
            if let Some(entered) = closed.and_then(|at| self.entered.get_mut(at)) {
                entered.dir = None;
            }
        }
        let innermost = depth.checked_sub(1).and_then(|last| self.entered.get(last));
        let innermost = innermost.and_then(|last| Some((last.dir.as_ref()?, &last.disk)));
        let (dir, disk) = innermost.unwrap_or((&self.dir, &self.disk));
        Ok(Folder::new(dir, disk))
    }

    /// What is at `path`. A parent that is missing or no folder means nothing.
    pub fn look(&mut self, path: &RelPath) -> Found {
        match self.parent_of(path) {
            Ok(folder) => folder.look(path.name()),
            Err(_) => Found::Nothing,
        }
    }

    /// Gives a folder its mode and time, once nothing more is written into it, as far as its disk
    /// keeps them.
    pub fn finish_folder(&mut self, path: &RelPath, mode: u16, mtime: i64) -> io::Result<()> {
        self.enter(Some(path.as_bytes()))?.finish(mode, mtime)
    }

    /// What proves whose files are.
    pub fn own(&self) -> &Own {
        &self.own
    }
}

fn flush(disks: &Disks) -> io::Result<()> {
    disks.all().iter().try_for_each(|disk| disk.flush())
}

#[cfg(unix)]
fn number_of(metadata: &cap_std::fs::Metadata) -> u64 {
    cap_std::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn number_of(_: &cap_std::fs::Metadata) -> u64 {
    0
}
