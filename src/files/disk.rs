//! A disk: what its file system can do, what room it has, and how what was written gets there for
//! certain.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use cap_std::fs::Dir;

use super::naming::Naming;
use crate::bounds::MAX_NAME;

/// How content gets to the disk for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// There is no disk, and it is gone with the power in any case; or nobody wants to wait.
    Never,
    /// All at once, and the system tells of every write-back that failed since the folder was
    /// opened.
    Whole,
    /// Each file by itself, before it is closed.
    Each,
    /// Each file by itself as far as the drive, before it is closed; and all at once from the drive's own memory.
    Drive,
}

impl Flush {
    /// Whether something is done for each file by itself.
    pub fn is_each(self) -> bool {
        matches!(self, Self::Each | Self::Drive)
    }
}

/// What a disk has room for; nothing where it does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that an ordinary user can still write.
    pub bytes: Option<u64>,
    /// Files, folders and links that can still be made.
    pub files: Option<u64>,
    /// What each file's bytes are rounded up to.
    pub unit: u64,
}

impl Room {
    /// Bytes that a file of this size takes.
    pub fn taken_by(&self, size: u64) -> u64 {
        size.checked_next_multiple_of(self.unit).unwrap_or(u64::MAX)
    }
}

/// Attributes that a disk turned out not to keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lacks {
    /// Permission bits.
    pub modes: bool,
    /// Times of last change.
    pub times: bool,
}

/// One file system, as it showed itself in one of its folders.
#[derive(Debug)]
pub struct Disk {
    /// Open as long as anything is written, so that no failed write-back goes unnoticed.
    folder: Option<File>,
    /// Which it is, on this machine, for now.
    pub number: u64,
    /// How its content is made certain.
    pub flush: Flush,
    /// Who owns what this program makes here; not always this program's user.
    pub owner: Option<u32>,
    /// Whether the number of a file stays what it is.
    pub has_numbers: bool,
    /// Which names are one.
    pub naming: Naming,
    /// Whether a file can be marked beside its content.
    pub has_marks: bool,
    /// Whether what is left out in the middle of a file takes no room.
    pub has_holes: bool,
    /// Bytes that a name may have.
    pub longest_name: usize,
    /// Bytes that a file may have.
    pub largest_file: u64,
    /// What the system said of a flush that failed: it says so once, and it holds.
    failed: AtomicI32,
    lacks_modes: AtomicBool,
    lacks_times: AtomicBool,
    /// What it made of times that were tried.
    times: Mutex<BTreeMap<i64, i64>>,
    /// Whether it takes names with control characters, and those that are not UTF-8, once that was
    /// tried.
    takes: [OnceLock<bool>; 2],
}

/// Times whose outcome is remembered.
const MAX_TIMES: usize = 1000;

impl Disk {
    /// What must be thought of a disk that cannot be tried out.
    pub fn unknown(dir: &Dir) -> Self {
        let folder = dir.open(".").map(cap_std::fs::File::into_std).ok();
        Self {
            number: folder.as_ref().map_or(0, system::number),
            flush: folder.as_ref().map_or(Flush::Each, system::flush),
            longest_name: folder.as_ref().map_or(MAX_NAME, system::longest_name),
            owner: None,
            has_numbers: false,
            naming: Naming::default(),
            has_marks: false,
            has_holes: false,
            largest_file: u64::MAX,
            failed: AtomicI32::new(0),
            lacks_modes: AtomicBool::new(false),
            lacks_times: AtomicBool::new(false),
            times: Mutex::default(),
            takes: Default::default(),
            folder,
        }
    }

    /// Makes everything certain that was written to it, where that is done at once.
    ///
    /// # Errors
    /// Something could not be written: nobody knows what.
    pub fn flush(&self) -> io::Result<()> {
        let flushed = match (&self.folder, self.flush) {
            (Some(folder), Flush::Whole | Flush::Drive) => system::flush_all(folder),
            (Some(folder), Flush::Each) => {
                // For the names; what the content met with was told file by file.
                let _ = system::flush_all(folder);
                Ok(())
            }
            _ => Ok(()),
        };
        flushed.inspect_err(|error| self.note_failed(error))?;
        match self.failed.load(Ordering::Relaxed) {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }

    /// Remembers that something was not written, for whoever asks later.
    pub fn note_failed(&self, error: &io::Error) {
        const EIO: i32 = 5;
        self.failed.store(error.raw_os_error().unwrap_or(EIO), Ordering::Relaxed);
    }

    /// What it has room for. `at` is where it is: Windows tells by that alone.
    pub fn room(&self, at: &Path) -> Room {
        let unknown = Room { bytes: None, files: None, unit: 1 };
        system::room(self.folder.as_ref(), at).unwrap_or(unknown)
    }

    /// Notes that an attribute could not be given, or is not what was given.
    pub fn lacks(&self, lacks: Lacks) {
        self.lacks_modes.fetch_or(lacks.modes, Ordering::Relaxed);
        self.lacks_times.fetch_or(lacks.times, Ordering::Relaxed);
    }

    /// What it turned out to lack.
    pub fn lacking(&self) -> Lacks {
        Lacks {
            modes: self.lacks_modes.load(Ordering::Relaxed),
            times: self.lacks_times.load(Ordering::Relaxed),
        }
    }

    /// Whether it takes such names; `try_it` makes a file with this in its name, and removes it.
    pub fn takes(&self, odd: Odd, try_it: impl FnOnce(&[u8]) -> bool) -> bool {
        let [control, not_utf8] = &self.takes;
        match odd {
            Odd::Control => control.get_or_init(|| try_it(b"\x01\t\n\r\x1b\x7f\xc2\x9b")),
            Odd::NotUtf8 => not_utf8.get_or_init(|| try_it(b"\xe9\xff\xc0")),
        }
        .to_owned()
    }

    /// What it makes of a time of last change; `try_it` gives it to a file and looks.
    pub fn time_of(&self, given: i64, try_it: impl FnOnce() -> Option<i64>) -> i64 {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = times.get(&given) {
            return *found;
        }
        let found = try_it().unwrap_or(given);
        if times.len() >= MAX_TIMES {
            times.clear();
        }
        times.insert(given, found);
        found
    }
}

/// What a disk may refuse in a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Odd {
    /// Control characters.
    Control,
    /// Bytes that are not UTF-8.
    NotUtf8,
}

impl Odd {
    /// What a name has of it.
    pub fn of(name: &[u8]) -> impl Iterator<Item = Self> {
        let control = name.utf8_chunks().any(|chunk| chunk.valid().contains(char::is_control));
        let not_utf8 = str::from_utf8(name).is_err();
        let odd = [control.then_some(Self::Control), not_utf8.then_some(Self::NotUtf8)];
        odd.into_iter().flatten()
    }
}

#[cfg(unix)]
mod system {
    use std::os::unix::fs::MetadataExt;

    use rustix::fs::fstatvfs;

    use super::*;

    pub fn number(file: &File) -> u64 {
        file.metadata().map_or(0, |metadata| metadata.dev())
    }

    pub fn longest_name(folder: &File) -> usize {
        let told = fstatvfs(folder).map_or(0, |stat| stat.f_namemax);
        usize::try_from(told).ok().filter(|told| *told > 0).unwrap_or(MAX_NAME).min(MAX_NAME)
    }

    /// The numbers that every Unix has are of 32 bits on macOS: 16 TB would be all.
    #[cfg(target_vendor = "apple")]
    pub fn room(folder: Option<&File>, _: &Path) -> Option<Room> {
        let folder = folder?;
        let stat = rustix::fs::fstatfs(folder).ok()?;
        let (known, block) = (stat.f_blocks > 0, u64::from(stat.f_bsize));
        Some(Room {
            bytes: known.then(|| stat.f_bavail.saturating_mul(block)),
            files: (stat.f_files > 0).then_some(stat.f_ffree),
            unit: if whole_blocks(folder) { block.max(1) } else { 1 },
        })
    }

    #[cfg(not(target_vendor = "apple"))]
    pub fn room(folder: Option<&File>, _: &Path) -> Option<Room> {
        let folder = folder?;
        let stat = fstatvfs(folder).ok()?;
        let known = stat.f_blocks > 0;
        Some(Room {
            bytes: known.then(|| stat.f_bavail.saturating_mul(stat.f_frsize)),
            files: (stat.f_files > 0).then_some(stat.f_favail),
            unit: if whole_blocks(folder) { stat.f_frsize.max(1) } else { 1 },
        })
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    mod kind {
        use rustix::fs::fstatfs;

        use super::*;

        const EXT: u64 = 0xef53;
        const XFS: u64 = 0x5846_5342;
        const BTRFS: u64 = 0x9123_683e;
        const F2FS: u64 = 0xf2f5_2010;
        const FAT: u64 = 0x4d44;
        const EXFAT: u64 = 0x2011_bab0;
        const NTFS3: u64 = 0x7366_746e;
        const TMPFS: u64 = 0x0102_1994;
        const RAMFS: u64 = 0x8584_58f6;

        fn of(folder: &File) -> u64 {
            // The constants have 32 bits, whatever the type of the field.
            fstatfs(folder).map_or(0, |stat| stat.f_type as u64 & 0xffff_ffff)
        }

        /// `syncfs` tells of write-backs that failed since Linux 5.8, where the file system is the
        /// kernel's own and nothing lies between.
        pub fn flush(folder: &File) -> Flush {
            match of(folder) {
                TMPFS | RAMFS => Flush::Never,
                EXT | XFS | BTRFS | F2FS | FAT | EXFAT | NTFS3 if is_told() => Flush::Whole,
                _ => Flush::Each,
            }
        }

        fn is_told() -> bool {
            let system = rustix::system::uname();
            let release = system.release().to_string_lossy();
            let mut numbers = release.split(|c: char| !c.is_ascii_digit());
            let mut next = || numbers.next().and_then(|number| number.parse::<u32>().ok());
            (next(), next()) >= (Some(5), Some(8))
        }

        pub fn flush_all(folder: &File) -> io::Result<()> {
            Ok(rustix::fs::syncfs(folder)?)
        }

        pub fn whole_blocks(folder: &File) -> bool {
            matches!(of(folder), EXT | XFS | FAT | EXFAT | TMPFS)
        }
    }

    #[cfg(target_vendor = "apple")]
    mod kind {
        use rustix::fs::fstatfs;

        use super::*;

        /// Tried once: what cannot be asked for at the end must not be left for the end.
        pub fn flush(folder: &File) -> Flush {
            match fstatfs(folder).map(|stat| flush_of(&name_of(&stat))) {
                Ok(Flush::Drive) if flush_all(folder).is_ok() => Flush::Drive,
                _ => Flush::Each,
            }
        }

        /// The drive writes down all that it has of anybody (`F_FULLFSYNC`).
        pub fn flush_all(folder: &File) -> io::Result<()> {
            folder.sync_all()
        }

        pub fn whole_blocks(folder: &File) -> bool {
            fstatfs(folder).is_ok_and(|stat| has_whole_blocks(&name_of(&stat)))
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    mod kind {
        use super::*;

        pub fn flush(_: &File) -> Flush {
            Flush::Each
        }

        pub fn flush_all(_: &File) -> io::Result<()> {
            Ok(())
        }

        pub fn whole_blocks(_: &File) -> bool {
            false
        }
    }

    use kind::whole_blocks;
    pub use kind::{flush, flush_all};
}

#[cfg(windows)]
mod system {
    use super::*;

    pub fn number(_: &File) -> u64 {
        0
    }

    pub fn flush(_: &File) -> Flush {
        Flush::Each
    }

    pub fn flush_all(_: &File) -> io::Result<()> {
        Ok(())
    }

    pub fn longest_name(_: &File) -> usize {
        MAX_NAME
    }

    /// Of quotas too. How content is rounded up depends on the kind of disk, which is not known.
    pub fn room(_: Option<&File>, at: &Path) -> Option<Room> {
        Some(Room { bytes: Some(fs4::available_space(at).ok()?), files: None, unit: 1 })
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
mod marks {
    use rustix::fs::{XattrFlags, fgetxattr, fremovexattr, fsetxattr};

    use super::*;

    const NAME: &str = "user.transfer";

    /// Writes a mark beside a file's content.
    pub fn mark(file: &File, mark: &[u8]) -> io::Result<()> {
        Ok(fsetxattr(file, NAME, mark, XattrFlags::empty())?)
    }

    /// Whether a file bears this mark.
    pub fn is_marked(file: &File, mark: &[u8]) -> bool {
        let mut found = [0; 64];
        let len = fgetxattr(file, NAME, &mut found[..]);
        len.is_ok_and(|len| found.get(..len) == Some(mark))
    }

    /// Takes the mark away.
    pub fn unmark(file: &File) -> io::Result<()> {
        Ok(fremovexattr(file, NAME)?)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
mod marks {
    use super::*;

    /// Writes a mark beside a file's content.
    pub fn mark(_: &File, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether a file bears this mark.
    pub fn is_marked(_: &File, _: &[u8]) -> bool {
        false
    }

    /// Takes the mark away.
    pub fn unmark(_: &File) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

pub use marks::{is_marked, mark, unmark};

/// What macOS calls a file system.
#[cfg(target_vendor = "apple")]
pub fn name_of(stat: &rustix::fs::StatFs) -> String {
    let letters = stat.f_fstypename.iter().filter_map(|letter| u8::try_from(*letter).ok());
    letters.take_while(|letter| *letter != 0).map(char::from).collect()
}

/// How content gets to a disk of this name on macOS. Below APFS and HFS+ the drive writes down all that it has, whichever
/// file it is asked for, as git makes use of too (`core.fsyncMethod=batch`); to ask it for each file is slow.
#[cfg(any(target_vendor = "apple", all(test, unix)))]
fn flush_of(name: &str) -> Flush {
    match name {
        "apfs" | "hfs" => Flush::Drive,
        _ => Flush::Each,
    }
}

/// Whether small files take whole blocks on a disk of this name on macOS.
#[cfg(any(target_vendor = "apple", all(test, unix)))]
fn has_whole_blocks(name: &str) -> bool {
    matches!(name, "apfs" | "hfs" | "msdos" | "exfat")
}

/// Bytes that are free in a folder, where the system tells.
pub fn free(folder: &Path) -> Option<u64> {
    system::room(File::open(folder).ok().as_ref(), folder)?.bytes
}

/// Closes a written file. Some file systems tell only now that the content did not get there:
/// a quota on a network, an upload.
///
/// # Errors
/// The content is not there.
#[cfg(unix)]
pub fn close(file: File) -> io::Result<()> {
    Ok(nix::unistd::close(file)?)
}

/// Closes a written file; elsewhere it was flushed before, and closing tells nothing.
#[cfg(not(unix))]
pub fn close(file: File) -> io::Result<()> {
    drop(file);
    Ok(())
}

/// Brings what was written to a file to the disk, before it is closed, where that is done for each
/// file by itself.
pub fn flush_file(file: &File, disk: &Disk) -> io::Result<()> {
    match disk.flush {
        Flush::Each => sync(file),
        Flush::Drive => sync_plainly(file),
        Flush::Whole | Flush::Never => Ok(()),
    }
}

/// Brings what was written to a file to the disk. What a file system has no word for is not an error.
pub fn sync(file: &File) -> io::Result<()> {
    match file.sync_data() {
        Err(error) if is_unsupported(&error) => sync_plainly(file),
        synced => synced,
    }
}

/// The same as far as the drive. On macOS the drive itself was to write it down, which file systems of networks
/// cannot ask of it.
#[cfg(unix)]
fn sync_plainly(file: &File) -> io::Result<()> {
    match rustix::fs::fsync(file).map_err(io::Error::from) {
        Err(error) if is_unsupported(&error) => Ok(()),
        synced => synced,
    }
}

#[cfg(not(unix))]
fn sync_plainly(_: &File) -> io::Result<()> {
    Ok(())
}

/// Whether a file system does not know what was asked of it.
pub fn is_unsupported(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, Unsupported};
    matches!(error.kind(), InvalidInput | Unsupported)
        || cfg!(target_vendor = "apple") && error.raw_os_error().is_some_and(is_apples_unsupported)
}

/// macOS has two more words for it, ENOTTY and ENOTSUP, which Rust takes for something else.
fn is_apples_unsupported(code: i32) -> bool {
    matches!(code, 25 | 45)
}

/// Whether there is no room: of bytes, of files, or of what this user may have.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether the disk itself may be gone: unplugged, gone read-only, its server away.
#[cfg(unix)]
pub fn may_be_gone(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let gone = [
        Errno::IO,
        Errno::ROFS,
        Errno::NODEV,
        Errno::NXIO,
        Errno::NOTCONN,
        Errno::STALE,
        Errno::TIMEDOUT,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::CONNABORTED,
        Errno::CONNRESET,
        Errno::SHUTDOWN,
    ];
    error.raw_os_error().is_some_and(|code| gone.iter().any(|gone| gone.raw_os_error() == code))
}

/// Whether the disk itself may be gone: unplugged, gone read-only, its server away.
#[cfg(not(unix))]
pub fn may_be_gone(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(is_gone_on_windows)
}

/// Whether this is how Windows says that a disk is gone (Win32 error codes, winerror.h).
#[cfg(any(not(unix), test))]
fn is_gone_on_windows(code: i32) -> bool {
    const GONE: [i32; 19] = [
        15,   // ERROR_INVALID_DRIVE
        19,   // ERROR_WRITE_PROTECT
        20,   // ERROR_BAD_UNIT
        21,   // ERROR_NOT_READY
        23,   // ERROR_CRC
        51,   // ERROR_REM_NOT_LIST
        53,   // ERROR_BAD_NETPATH
        55,   // ERROR_DEV_NOT_EXIST
        59,   // ERROR_UNEXP_NET_ERR
        64,   // ERROR_NETNAME_DELETED
        67,   // ERROR_BAD_NET_NAME
        121,  // ERROR_SEM_TIMEOUT
        433,  // ERROR_NO_SUCH_DEVICE
        1006, // ERROR_FILE_INVALID
        1110, // ERROR_MEDIA_CHANGED
        1117, // ERROR_IO_DEVICE
        1167, // ERROR_DEVICE_NOT_CONNECTED
        1231, // ERROR_NETWORK_UNREACHABLE
        1236, // ERROR_CONNECTION_ABORTED
    ];
    GONE.contains(&code)
}

#[cfg(all(test, unix))]
mod tests {
    use cap_std::ambient_authority;

    use super::*;

    #[test]
    fn what_a_disk_of_macos_does_not_know() {
        // ENOTTY, ENOTSUP; ENOENT, EIO.
        for (code, unsupported) in [(25, true), (45, true), (2, false), (5, false)] {
            assert_eq!(is_apples_unsupported(code), unsupported, "{code}");
        }
    }

    #[test]
    fn the_drive_is_asked_once_where_it_is_known_to_be_asked_for_all() {
        for (name, flush) in [
            ("apfs", Flush::Drive),
            ("hfs", Flush::Drive),
            ("msdos", Flush::Each),
            ("smbfs", Flush::Each),
            ("", Flush::Each),
        ] {
            assert_eq!(flush_of(name), flush, "{name}");
        }
        let dir = tempfile::tempdir().unwrap();
        let handle = Dir::open_ambient_dir(dir.path(), ambient_authority()).unwrap();
        let mut disk = Disk::unknown(&handle);
        disk.flush = Flush::Drive;
        flush_file(&File::create(dir.path().join("x")).unwrap(), &disk).unwrap();
        disk.flush().unwrap();
        // What a drive could not write down is no success, also where each file was flushed before.
        disk.note_failed(&io::Error::from_raw_os_error(5));
        assert!(disk.flush().is_err());
    }

    #[test]
    fn a_file_takes_whole_blocks() {
        let known = |name: &&str| has_whole_blocks(name);
        assert!(["apfs", "hfs", "msdos", "exfat"].iter().all(known));
        assert!(!["smbfs", "nfs", ""].iter().any(known));
        let room = |unit| Room { bytes: None, files: None, unit };
        let cases = [(1, 5, 5), (4096, 1, 4096), (4096, 4096, 4096), (512, 0, 0)];
        for (unit, size, taken) in cases {
            assert_eq!(room(unit).taken_by(size), taken);
        }
        assert_eq!(room(4096).taken_by(u64::MAX), u64::MAX);
    }

    #[test]
    fn windows_says_that_a_disk_is_gone() {
        // Not ready, write-protected, no device, no network; not found, denied, shared, full, quota.
        let gone = [21, 19, 1167, 64];
        let others = [2, 5, 32, 112, 1295];
        assert!(gone.into_iter().all(is_gone_on_windows));
        assert!(!others.into_iter().any(is_gone_on_windows));
    }

    #[test]
    fn what_a_disk_makes_of_a_time_is_asked_once() {
        let dir = tempfile::tempdir().unwrap();
        let handle = Dir::open_ambient_dir(dir.path(), ambient_authority()).unwrap();
        let disk = Disk::unknown(&handle);
        assert_eq!(disk.time_of(1_500_000_000, || Some(1_000_000_000)), 1_000_000_000);
        assert_eq!(disk.time_of(1_500_000_000, || panic!("asked again")), 1_000_000_000);
        assert_eq!(disk.time_of(7, || None), 7);
    }
}
