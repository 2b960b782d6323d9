//! The one folder beneath which everything is written.
//!
//! All access goes through directory handles and single names. No symbolic link is ever
//! followed below the root, whether it was there before or came with the transfer: a link where
//! a folder should be is an error. What is put in place never replaces anything unless asked.

use std::fs::{File, FileTimes};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};

use super::disk::{self, Disk, Disks, Lacks, Odd, Room, Stamp};
use super::guard::Guard;
use super::mapping::{as_text, windows_name};
use super::naming::{self, Naming};
use super::own::Own;
use super::path::{RelPath, at, is_text, names, native};
use super::target::{Target, windows_link_is_safe};
use super::times;

/// What is at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A regular file.
    File(Stamp),
    /// A folder.
    Folder(Stamp),
    /// A symbolic link with this target.
    Link(PathBuf, Stamp),
    /// A device, a pipe, a socket; or something that may not be looked at.
    Other,
}

impl Found {
    /// Whether this is what was found before, untouched.
    pub fn is_still(&self, before: &Self) -> bool {
        match (self, before) {
            (Self::File(now), Self::File(then)) => now.is_untouched(then),
            (Self::Link(now, it), Self::Link(then, was)) => now == then && it.is(was),
            _ => false,
        }
    }

    /// What tells it from others, if it is a file or a link.
    pub fn stamp(&self) -> Option<&Stamp> {
        match self {
            Self::File(stamp) | Self::Link(_, stamp) => Some(stamp),
            Self::Nothing | Self::Folder(_) | Self::Other => None,
        }
    }
}

/// Whether putting something in place may replace what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace<'a> {
    /// Never: a name that is taken is an error of kind `AlreadyExists`.
    Never,
    /// Only what was found there before, if nobody has touched it since; else as `Never`.
    Only(&'a Found),
    /// A file or a link is replaced in one step; a folder never is.
    Allowed,
}

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
            Disks::new(Disk::try_out(&self.dir, &scratch)?, &scratch, self.flushes);
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
        self.disk.room()
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
            file.sync_all()?;
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
        let largest = self.parent_of(path).ok().map(|folder| folder.disk.largest_file);
        // One that is still to be made.
        largest.unwrap_or(self.disk.largest_file)
    }

    /// Bytes that a file may have on any of the disks that are known.
    pub fn fits_everywhere(&self) -> u64 {
        self.disks.all().iter().map(|disk| disk.largest_file).min().unwrap_or(u64::MAX)
    }

    /// Whether a folder lists this very name, and not another that its disk takes for the same.
    pub fn lists(&mut self, path: &RelPath) -> bool {
        let names = self.parent_of(path).and_then(|folder| folder.dir.entries());
        names.is_ok_and(|mut names| {
            names.any(|entry| {
                entry.is_ok_and(|entry| {
                    native(path.name()).is_some_and(|name| entry.file_name() == name)
                })
            })
        })
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
        Folder { dir: &self.dir, disk: &self.disk }
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
        Ok(Folder { dir, disk })
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
        let Folder { dir, disk } = self.enter(Some(path.as_bytes()))?;
        // The mode last: it may close the folder to its owner.
        let timed = set_mtime_at(dir, ".", mtime);
        let moded = dir.dir_metadata().and_then(|found| set_folder_mode(dir, &found, mode));
        bear(disk, moded, timed)
    }

    /// What proves whose files are.
    pub fn own(&self) -> &Own {
        &self.own
    }
}

fn flush(disks: &Disks) -> io::Result<()> {
    disks.all().iter().try_for_each(|disk| disk.flush())
}

/// An attribute that a disk refuses costs nothing but the attribute; that it is full or gone is
/// another matter.
fn bear(disk: &Disk, moded: io::Result<()>, timed: io::Result<()>) -> io::Result<()> {
    let refused = |result: io::Result<()>| match result {
        Ok(()) => Ok(false),
        Err(error) if disk::is_full(&error) || disk::may_be_gone(&error) => Err(error),
        Err(_) => Ok(true),
    };
    disk.lacks(Lacks { modes: refused(moded)?, times: refused(timed)? });
    Ok(())
}

/// What a new folder has from the one around it, such as its group, stays.
#[cfg(unix)]
fn set_folder_mode(dir: &Dir, found: &cap_std::fs::Metadata, mode: u16) -> io::Result<()> {
    use cap_std::fs::{MetadataExt, PermissionsExt};
    let inherited = found.mode() & 0o2000;
    let mut mode = u32::from(mode & 0o7777);
    if has_default_acl(dir) {
        // What the folder around it keeps from others it keeps from them here too.
        mode &= found.mode() | 0o7700;
    }
    let mode = inherited | mode;
    dir.set_permissions(".", cap_std::fs::Permissions::from_mode(mode))
}

/// Whether a folder says who else may read what is made in it.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn has_default_acl(dir: &Dir) -> bool {
    // The handle itself is only for names.
    let query = |folder| rustix::fs::fgetxattr_query(folder, "system.posix_acl_default");
    dir.open(".").is_ok_and(|folder| query(folder).is_ok_and(|len| len > 0))
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
fn has_default_acl(_: &Dir) -> bool {
    false
}

/// Other systems have no mode of a folder.
#[cfg(not(unix))]
fn set_folder_mode(_: &Dir, _: &cap_std::fs::Metadata, _: u16) -> io::Result<()> {
    Ok(())
}

/// A folder beneath the root. Names given to it are single names.
#[derive(Clone, Copy)]
pub struct Folder<'a> {
    dir: &'a Dir,
    disk: &'a Disk,
}

impl<'a> Folder<'a> {
    /// A folder of this disk.
    pub(super) fn new(dir: &'a Dir, disk: &'a Disk) -> Self {
        Self { dir, disk }
    }

    /// The disk that it is on.
    pub fn disk(&self) -> &'a Disk {
        self.disk
    }

    /// Whether its disk takes whatever is odd in a name, tried out with files that are called
    /// `scratch` and so on.
    fn holds(&self, name: &[u8], scratch: &[u8]) -> bool {
        Odd::of(name).all(|odd| {
            self.disk.takes(odd, |odd| {
                let before = self.raw_stamp(".");
                // On a full disk neither can be made.
                let takes = self.takes(&[scratch, odd].concat()) || !self.takes(scratch);
                if let Ok(before) = before {
                    self.restore_time(before.mtime);
                }
                takes
            })
        })
    }

    fn takes(&self, name: &[u8]) -> bool {
        // What a killed run left.
        let _ = self.remove(name);
        let made = self.create_file(name).and_then(disk::close);
        made.and_then(|()| self.remove(name)).is_ok()
    }

    /// What is there under this name.
    pub fn look(&self, name: impl AsRef<[u8]>) -> Found {
        use io::ErrorKind::{InvalidFilename, NotFound};
        let name = name.as_ref();
        let metadata = match at(name).and_then(|name| self.dir.symlink_metadata(name)) {
            Ok(metadata) => metadata,
            // What is too long for this disk is not there either.
            Err(error) if matches!(error.kind(), NotFound | InvalidFilename) => {
                return Found::Nothing;
            }
            Err(_) => return Found::Other,
        };
        if metadata.is_file() {
            Found::File(self.told(&metadata))
        } else if metadata.is_dir() {
            Found::Folder(self.told(&metadata))
        } else if metadata.is_symlink() {
            let target = at(name).and_then(|name| self.dir.read_link_contents(name));
            target.map_or(Found::Other, |target| Found::Link(target, self.told(&metadata)))
        } else {
            Found::Other
        }
    }

    /// What tells the file of this name from others, whether or not that stays.
    pub(super) fn raw_stamp(&self, name: impl AsRef<[u8]>) -> io::Result<Stamp> {
        Ok(stamp_of(&self.dir.symlink_metadata(at(name.as_ref())?)?))
    }

    /// What tells the file of this name from others.
    pub fn stamp(&self, name: impl AsRef<[u8]>) -> io::Result<Stamp> {
        self.raw_stamp(name).map(|stamp| self.as_it_stays(stamp))
    }

    /// What tells an open file from others.
    pub fn stamp_of(&self, file: &File) -> io::Result<Stamp> {
        Ok(self.as_it_stays(Stamp::of(&file.metadata()?)))
    }

    fn told(&self, metadata: &cap_std::fs::Metadata) -> Stamp {
        self.as_it_stays(stamp_of(metadata))
    }

    /// Without what changes from look to look.
    fn as_it_stays(&self, stamp: Stamp) -> Stamp {
        match self.disk.has_numbers {
            true => stamp,
            false => Stamp { disk: 0, number: 0, born: None, ..stamp },
        }
    }

    /// Opens a regular file that is there.
    fn open(&self, name: impl AsRef<[u8]>, options: &mut OpenOptions) -> io::Result<File> {
        options.follow(FollowSymlinks::No);
        #[cfg(unix)]
        {
            // A pipe of this name must not keep us waiting.
            use cap_std::fs::OpenOptionsExt;
            options.custom_flags(i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0));
        }
        let file = self.dir.open_with(at(name.as_ref())?, options)?.into_std();
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    /// Opens an unfinished file to go on with it, if it is this user's and has no other name.
    pub fn reopen_file(&self, name: impl AsRef<[u8]>) -> io::Result<File> {
        self.own(self.open(name, OpenOptions::new().read(true).write(true))?)
    }

    /// Opens a file that was looked at a moment ago, to change what is beside its content.
    pub fn open_placed(&self, name: impl AsRef<[u8]>) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true);
        #[cfg(windows)]
        {
            use cap_std::fs::OpenOptionsExt;
            options.access_mode(GENERIC_READ | FILE_WRITE_ATTRIBUTES);
        }
        self.open(name, &mut options)
    }

    /// A file that has the owner of what this program makes here, and one name.
    fn own(&self, file: File) -> io::Result<File> {
        let stamp = self.stamp_of(&file)?;
        let is_own = self.disk.owner.is_none() || stamp.owner == self.disk.owner;
        if is_own && stamp.names <= 1 {
            Ok(file)
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }

    /// Makes a folder with this mode, but one that this user can fill until it is finished.
    #[cfg(unix)]
    pub fn create_folder(&self, name: impl AsRef<[u8]>, mode: u16) -> io::Result<()> {
        use cap_std::fs::DirBuilderExt;
        let mut builder = cap_std::fs::DirBuilder::new();
        builder.mode(u32::from(mode & 0o777 | 0o700));
        self.dir.create_dir_with(at(name.as_ref())?, &builder)
    }

    /// Makes a folder; other systems have no mode of one.
    #[cfg(not(unix))]
    pub fn create_folder(&self, name: impl AsRef<[u8]>, _: u16) -> io::Result<()> {
        self.dir.create_dir(at(name.as_ref())?)
    }

    /// Creates a file that did not exist, readable by this user only until it is finished.
    pub fn create_file(&self, name: impl AsRef<[u8]>) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).follow(FollowSymlinks::No);
        #[cfg(unix)]
        {
            use cap_std::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        Ok(self.dir.open_with(at(name.as_ref())?, &options)?.into_std())
    }

    /// Makes a symbolic link with this time, under a name that was free.
    pub fn create_link(
        &self,
        name: impl AsRef<[u8]>,
        target: &Target,
        mtime: i64,
    ) -> io::Result<()> {
        let name = name.as_ref();
        if cfg!(windows) && !windows_link_is_safe(target) {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        DirExt::symlink(self.dir, at(target.as_bytes())?, at(name)?)?;
        self.set_time(name, mtime)
    }

    /// Gives what has this name, a link and not what it leads to, its time of last change, in
    /// nanoseconds since 1970 UTC, as far as the disk keeps it.
    pub fn set_time(&self, name: impl AsRef<[u8]>, mtime: i64) -> io::Result<()> {
        bear(self.disk, Ok(()), set_mtime_at(self.dir, at(name.as_ref())?, mtime))
    }

    /// Gives the folder back the time that it had before something came and went in it, if it is
    /// this user's.
    pub(super) fn restore_time(&self, mtime: i64) {
        let _ = set_mtime_at(self.dir, ".", mtime);
    }

    /// Gives an open file its mode, as far as the disk keeps it.
    pub fn set_mode(&self, file: &File, mode: u16) -> io::Result<()> {
        bear(self.disk, set_mode(file, mode), Ok(()))
    }

    /// Gives an open file its time of last change, as far as the disk keeps it.
    pub fn set_time_of(&self, file: &File, mtime: i64) -> io::Result<()> {
        bear(self.disk, Ok(()), set_mtime(file, mtime))
    }

    /// Gives a file that was there before the mode and time that were offered. The mode of one
    /// that has other names is theirs.
    pub fn set_attributes_of_kept(&self, file: &File, mode: u16, mtime: i64) -> io::Result<()> {
        let kept = self.stamp_of(file)?;
        let is_alone = kept.names <= 1 && kept.mode.is_some_and(|old| old & 0o777 != mode & 0o777);
        let moded = if is_alone { set_mode(file, mode) } else { Ok(()) };
        let timed = if kept.mtime == mtime { Ok(()) } else { set_mtime(file, mtime) };
        // A colleague's file is theirs to change.
        let (moded, timed) = match kept.owner == self.disk.owner {
            true => (moded, timed),
            false => (Ok(()), Ok(())),
        };
        bear(self.disk, moded, timed)
    }

    /// Removes a file or link.
    pub fn remove(&self, name: impl AsRef<[u8]>) -> io::Result<()> {
        self.dir.remove_file_or_symlink(at(name.as_ref())?)
    }

    /// Moves what is at `from` to the name `to`.
    pub fn put(
        &self,
        from: impl AsRef<[u8]>,
        to: impl AsRef<[u8]>,
        replace: Replace<'_>,
    ) -> io::Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        match replace {
            Replace::Allowed => self.rename_over(from, to),
            Replace::Only(found) if self.look(to).is_still(found) => self.rename_over(from, to),
            Replace::Only(_) | Replace::Never => self.rename_to_free(from, to),
        }
    }

    #[cfg(not(windows))]
    fn rename_over(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        self.dir.rename(at(from)?, self.dir, at(to)?)
    }

    /// Windows replaces no file that may not be written, whoever may write into its folder.
    #[cfg(windows)]
    fn rename_over(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        let (from, to) = (at(from)?, at(to)?);
        let old = self.dir.symlink_metadata(&to).ok().filter(|old| old.is_file());
        let kept = old.map(|old| old.permissions()).filter(|kept| kept.readonly());
        let Some(kept) = kept else { return self.dir.rename(&from, self.dir, &to) };
        let mut writable = kept.clone();
        writable.set_readonly(false);
        self.dir.set_permissions(&to, writable)?;
        self.dir.rename(&from, self.dir, &to).inspect_err(|_| {
            let _ = self.dir.set_permissions(&to, kept);
        })
    }

    /// Moves a file to a name that is free, in one step or not at all: not every file system can.
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    pub fn put_at_once(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> io::Result<()> {
        use rustix::fs::{RenameFlags, renameat_with};
        let (from, to) = (at(from.as_ref())?, at(to.as_ref())?);
        Ok(renameat_with(self.dir, from, self.dir, to, RenameFlags::NOREPLACE)?)
    }

    /// Moves a file to a name that is free, in one step or not at all: not every system can.
    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    pub fn put_at_once(&self, _: impl AsRef<[u8]>, _: impl AsRef<[u8]>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn rename_to_free(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
        match self.put_at_once(from, to) {
            // File systems without the flag; some refuse it as if it were forbidden.
            Err(error) if matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported) => {
                self.link_to_free(from, to)
            }
            put => put,
        }
    }

    /// A second name is refused when it is taken; then the first goes.
    fn link_to_free(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        match self.dir.hard_link(at(from)?, self.dir, at(to)?) {
            // With both names it would be there twice.
            Ok(()) => self.remove(from).inspect_err(|_| drop(self.remove(to))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // No hard links either, as on FAT: look, then rename.
            Err(_) => match self.look(to) {
                Found::Nothing => self.dir.rename(at(from)?, self.dir, at(to)?),
                _ => Err(io::ErrorKind::AlreadyExists.into()),
            },
        }
    }
}

#[cfg(unix)]
fn number_of(metadata: &cap_std::fs::Metadata) -> u64 {
    cap_std::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn number_of(_: &cap_std::fs::Metadata) -> u64 {
    0
}

fn stamp_of(metadata: &cap_std::fs::Metadata) -> Stamp {
    let time = |time: io::Result<cap_std::time::SystemTime>| {
        time.ok().map(|time| times::nanoseconds(time.into_std()))
    };
    let stamp = Stamp {
        size: metadata.len(),
        mtime: time(metadata.modified()).unwrap_or(0),
        born: time(metadata.created()),
        names: 1,
        ..Stamp::default()
    };
    #[cfg(unix)]
    {
        use cap_std::fs::MetadataExt;
        Stamp {
            disk: metadata.dev(),
            number: metadata.ino(),
            mode: u16::try_from(metadata.mode() & 0o7777).ok(),
            owner: Some(metadata.uid()),
            names: metadata.nlink(),
            ..stamp
        }
    }
    #[cfg(not(unix))]
    stamp
}

/// Gives what has this name, a link itself and not what it points to, its time of last change.
#[cfg(unix)]
fn set_mtime_at(dir: &Dir, name: impl AsRef<Path>, mtime: i64) -> io::Result<()> {
    use rustix::fs::{AtFlags, Timespec, Timestamps, utimensat};
    const SECOND: i64 = 1_000_000_000;
    // Not through cap-std, which panics at times before 1970.
    let last_modification =
        Timespec { tv_sec: mtime.div_euclid(SECOND), tv_nsec: mtime.rem_euclid(SECOND) as _ };
    // Both: one alone is ignored by some file systems in user space.
    let now = times::nanoseconds(SystemTime::now());
    let last_access =
        Timespec { tv_sec: now.div_euclid(SECOND), tv_nsec: now.rem_euclid(SECOND) as _ };
    let times = Timestamps { last_access, last_modification };
    Ok(utimensat(dir, name.as_ref(), &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(not(unix))]
fn set_mtime_at(dir: &Dir, name: impl AsRef<Path>, mtime: i64) -> io::Result<()> {
    use cap_fs_ext::OpenOptionsMaybeDirExt;
    // Not through cap-std's own call, which panics at times before 1970.
    let mut options = OpenOptions::new();
    options.read(true).follow(FollowSymlinks::No).maybe_dir(true);
    #[cfg(windows)]
    {
        use cap_std::fs::OpenOptionsExt;
        options.access_mode(FILE_WRITE_ATTRIBUTES);
    }
    set_mtime(&dir.open_with(name, &options)?.into_std(), mtime)
}

/// What of a file Windows is asked for, where the content is not all.
#[cfg(windows)]
const GENERIC_READ: u32 = 0x8000_0000;
#[cfg(windows)]
const FILE_WRITE_ATTRIBUTES: u32 = 0x100;

/// Gives an open file its time of last change, in nanoseconds since 1970 UTC.
fn set_mtime(file: &File, mtime: i64) -> io::Result<()> {
    // Both: one alone is ignored by some file systems in user space.
    let accessed = FileTimes::new().set_accessed(SystemTime::now());
    file.set_times(accessed.set_modified(times::system_time(mtime)))
}

/// Gives an open file its permission bits; never set-user-ID and its like, which would lend this
/// user's rights to whoever runs a file that came from elsewhere.
#[cfg(unix)]
fn set_mode(file: &File, mode: u16) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode((mode & 0o777).into()))
}

/// Gives an open file its only bit that other systems know: whether it may be written.
#[cfg(not(unix))]
fn set_mode(file: &File, mode: u16) -> io::Result<()> {
    let metadata = file.metadata()?;
    let mut permissions = metadata.permissions();
    permissions.set_readonly(!metadata.is_dir() && mode & 0o200 == 0);
    file.set_permissions(permissions)
}

/// Permission bits that this process takes from every file it makes.
#[cfg(unix)]
pub fn creation_mask() -> u16 {
    use std::sync::OnceLock;

    use rustix::fs::Mode;
    static MASK: OnceLock<u16> = OnceLock::new();
    *MASK.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let told = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        let told = told.and_then(|mask| u16::from_str_radix(mask.trim(), 8).ok());
        // Elsewhere it can only be read by changing it, for a moment.
        told.unwrap_or_else(|| {
            let mask = rustix::process::umask(Mode::from_raw_mode(0o077));
            rustix::process::umask(mask);
            u16::try_from(mask.as_raw_mode()).unwrap_or(0o077)
        })
    })
}

/// Other systems have none.
#[cfg(not(unix))]
pub fn creation_mask() -> u16 {
    0
}
