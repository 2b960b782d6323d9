//! What the file system of a folder can do, found out by trying: nothing here goes by a name in
//! a table where the disk itself can be asked.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use cap_std::fs::Dir;

use super::disk::{self, Disk, Flush};
use super::folder::{Folder, Replace};
use super::naming::Naming;
use super::stamp::Stamp;

/// Tries a folder out with a file of this name, which is gone afterwards; the folder keeps its
/// time.
///
/// # Errors
/// Nothing can be written there.
pub fn try_out(dir: &Dir, scratch: &str) -> io::Result<Disk> {
    let mut disk = Disk::unknown(dir);
    let folder = Folder::new(dir, &disk);
    let before = folder.raw_stamp(".");
    let other = format!("{scratch}.1");
    // What a killed run left.
    for name in [scratch, &other] {
        let _ = folder.remove(name);
    }
    let file = folder.create_file(scratch)?;
    let own = Stamp::of(&file);
    let has_marks = can_mark(&file);
    let largest_file = system::largest_file(&file, dir);
    let has_holes = system::has_holes(&file);
    let closed = disk::close(file);
    let number = |name: &str| folder.raw_stamp(name).map_or(0, |stamp| stamp.number);
    let folds = folder.raw_stamp(scratch.to_uppercase()).is_ok();
    let mut numbers = vec![number(scratch), number(scratch)];
    let mut name = scratch;
    if folder.put(scratch, &other, Replace::Never).is_ok() {
        name = &other;
        numbers.push(number(name));
    }
    let removed = folder.remove(name);
    let composes = (folds || cfg!(target_vendor = "apple")) && composes(folder, &other);
    if let Ok(before) = before {
        folder.restore_time(before.mtime);
    }
    let own = closed.and(removed).and(own)?;
    disk.has_numbers = own.number != 0 && numbers.iter().all(|number| *number == own.number);
    (disk.owner, disk.naming) = (own.owner, Naming { folds, composes });
    (disk.has_marks, disk.largest_file) = (has_marks, largest_file);
    disk.has_holes = has_holes;
    // What the system says is not always what the disk takes: eCryptfs takes 143.
    let said = disk.longest_name;
    let takes = |len: &usize| {
        let asked = dir.symlink_metadata("x".repeat(*len));
        !asked.is_err_and(|error| error.kind() == io::ErrorKind::InvalidFilename)
    };
    let lengths = [said, 143, 100, 60].into_iter().filter(|len| *len <= said);
    disk.longest_name = lengths.into_iter().find(takes).unwrap_or(said);
    Ok(disk)
}

/// Whether a disk finds a file under a name whose letters are composed otherwise.
fn composes(folder: Folder<'_>, scratch: &str) -> bool {
    let (composed, decomposed) = (format!("{scratch}\u{e9}"), format!("{scratch}e\u{301}"));
    if folder.create_file(&composed).is_err() {
        return false;
    }
    let is_one = folder.raw_stamp(&decomposed).is_ok();
    let _ = folder.remove(&composed);
    is_one
}

/// Whether a file can be marked beside its content.
fn can_mark(file: &File) -> bool {
    let marked = disk::mark(file, b"trial");
    marked.is_ok() && disk::is_marked(file, b"trial") && disk::unmark(file).is_ok()
}

/// The disks that a tree lies on: one, unless others are mounted inside it.
#[derive(Debug)]
pub struct Disks {
    scratch: String,
    /// Whether what is written is to be on the disk at the end.
    flushes: bool,
    all: Mutex<Vec<Arc<Disk>>>,
}

impl Disks {
    /// The disk of a folder, and the place of those that are found later.
    pub fn new(mut first: Disk, scratch: &str, flushes: bool) -> (Arc<Self>, Arc<Disk>) {
        if !flushes {
            first.flush = Flush::Never;
        }
        let first = Arc::new(first);
        let all = Mutex::new(vec![Arc::clone(&first)]);
        (Arc::new(Self { scratch: scratch.into(), flushes, all }), first)
    }

    /// The disk of a folder; `around` is that of the folder it is in.
    pub fn of(&self, dir: &Dir, around: &Arc<Disk>) -> Arc<Disk> {
        let number = system::number_of(dir);
        if number == around.number {
            return Arc::clone(around);
        }
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.iter().find(|disk| disk.number == number) {
            return Arc::clone(known);
        }
        let mut disk = try_out(dir, &self.scratch).unwrap_or_else(|_| Disk::unknown(dir));
        if !self.flushes {
            disk.flush = Flush::Never;
        }
        let disk = Arc::new(disk);
        all.push(Arc::clone(&disk));
        disk
    }

    /// All of them, as far as they are known.
    pub fn all(&self) -> Vec<Arc<Disk>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The name that is used to try a disk out.
    pub fn scratch(&self) -> &str {
        &self.scratch
    }
}

#[cfg(unix)]
mod system {
    use std::os::unix::fs::MetadataExt;

    use rustix::fs::{SeekFrom, seek};
    use rustix::process::{Resource, getrlimit};

    use super::*;

    #[allow(clippy::useless_conversion, reason = "it has 32 bits on other systems")]
    pub fn number_of(dir: &Dir) -> u64 {
        rustix::fs::fstat(dir).map_or(0, |stat| u64::try_from(stat.st_dev).unwrap_or(0))
    }

    /// The system refuses to go where no file can reach, without writing anything.
    pub fn largest_file(file: &File, _: &Dir) -> u64 {
        let reaches = |size: u64| seek(file, SeekFrom::Start(size)).is_ok();
        let (mut fits, mut over) = (0, i64::MAX as u64);
        if reaches(over) {
            fits = u64::MAX;
        }
        while fits < over && over - fits > 1 {
            let middle = fits + (over - fits) / 2;
            *(if reaches(middle) { &mut fits } else { &mut over }) = middle;
        }
        let fits = fits.min(getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX));
        // macOS goes wherever it is told, and refuses what is written there.
        #[cfg(target_vendor = "apple")]
        let fits = fits.min(
            rustix::fs::fstatfs(file).map_or(u64::MAX, |stat| largest_on(&disk::name_of(&stat))),
        );
        fits
    }

    /// A file that is only made long takes nothing where there are holes.
    pub fn has_holes(file: &File) -> bool {
        const LEN: u64 = 256 * 1024;
        let taken = file.set_len(LEN).and_then(|()| file.metadata());
        let has = taken.is_ok_and(|found| found.len() == LEN && found.blocks() * 512 <= LEN / 4);
        file.set_len(0).is_ok() && has
    }
}

/// Bytes that a file on FAT32 may have no more of.
#[cfg(any(windows, target_vendor = "apple", test))]
const FAT_END: u64 = 1 << 32;

/// What a file may have on a disk with so much room, by whether one could be made as long as none on FAT32.
#[cfg(any(windows, test))]
fn largest_of(reaches: bool, free: Option<u64>) -> u64 {
    let has_room = free.is_some_and(|free| free > FAT_END);
    if has_room && !reaches { FAT_END - 1 } else { u64::MAX }
}

/// What a file may have on a disk of this name on macOS, which calls FAT of every size so.
#[cfg(any(target_vendor = "apple", all(test, unix)))]
fn largest_on(name: &str) -> u64 {
    if name == "msdos" { FAT_END - 1 } else { u64::MAX }
}

#[cfg(windows)]
mod system {
    use super::*;
    use crate::files::by_name;

    pub fn number_of(_: &Dir) -> u64 {
        0
    }

    /// Windows says nothing of it, and of FAT32 that it is full: a file is made as long, and cut again.
    pub fn largest_file(file: &File, dir: &Dir) -> u64 {
        let reaches = file.set_len(FAT_END).is_ok();
        let _ = file.set_len(0);
        let free = by_name::free(dir);
        largest_of(reaches, free)
    }

    pub fn has_holes(_: &File) -> bool {
        false
    }
}

#[cfg(all(test, unix))]
mod tests {
    use cap_std::ambient_authority;

    use super::*;

    #[test]
    fn fat_is_known_by_what_it_refuses() {
        for (reaches, free, largest) in [
            (true, Some(50 << 30), u64::MAX),
            (false, Some(50 << 30), (1 << 32) - 1),
            (false, Some(1 << 20), u64::MAX),
            (false, None, u64::MAX),
        ] {
            assert_eq!(largest_of(reaches, free), largest, "{reaches} {free:?}");
        }
        assert_eq!(largest_on("msdos"), (1 << 32) - 1);
        assert_eq!(largest_on("exfat"), u64::MAX);
    }

    #[test]
    fn a_disk_is_tried_out_and_nothing_stays() {
        let dir = tempfile::tempdir().unwrap();
        let handle = Dir::open_ambient_dir(dir.path(), ambient_authority()).unwrap();
        std::fs::write(dir.path().join("scratch"), "left by a killed run").unwrap();
        let disk = try_out(&handle, "scratch").unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(disk.has_numbers && disk.number != 0);
        assert_eq!(disk.owner, Some(rustix::process::geteuid().as_raw()));
        assert!(disk.largest_file > 1 << 32 && disk.longest_name >= 143);
        let room = disk.room(dir.path());
        assert!(room.bytes.is_some_and(|bytes| bytes > 0));
        assert_eq!(room.taken_by(0), 0);
        disk.flush().unwrap();
    }
}
