//! What is done in one folder, by its handle and single names. No link is followed, and what is put
//! in place replaces nothing unless asked.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, OpenOptions};

#[cfg(windows)]
use super::attributes::{FILE_WRITE_ATTRIBUTES, GENERIC_READ};
use super::attributes::{set_folder_mode, set_mode, set_mtime, set_mtime_at};
use super::by_name;
use super::disk::{self, Disk, Lacks, Odd};
use super::path::{at, native};
use super::stamp::Stamp;
use super::target::{Target, windows_link_is_safe};
use crate::held::patiently;

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
    pub(super) fn holds(&self, name: &[u8], scratch: &[u8]) -> bool {
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

    /// Whether it lists this very name, and not another that its disk takes for the same.
    pub(super) fn lists(&self, name: &[u8]) -> bool {
        by_name::names(self.dir).is_ok_and(|mut names| {
            names.any(|found| {
                found.is_ok_and(|found| native(name).is_some_and(|name| found == name))
            })
        })
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
        // Another file's short name on Windows (`PROGRA~1`): that file is not to be touched.
        if cfg!(windows) && name.contains(&b'~') && !self.lists(name) {
            return Found::Other;
        }
        if metadata.is_file() {
            Found::File(self.told(&metadata))
        } else if metadata.is_dir() {
            Found::Folder(self.told(&metadata))
        } else if metadata.is_symlink() {
            let target = at(name).and_then(|name| by_name::read_link(self.dir, name));
            target.map_or(Found::Other, |target| Found::Link(target, self.told(&metadata)))
        } else {
            Found::Other
        }
    }

    /// What tells the file of this name from others, whether or not that stays.
    pub(super) fn raw_stamp(&self, name: impl AsRef<[u8]>) -> io::Result<Stamp> {
        Ok(Stamp::of_handle(&self.dir.symlink_metadata(at(name.as_ref())?)?))
    }

    /// What tells the file of this name from others.
    pub fn stamp(&self, name: impl AsRef<[u8]>) -> io::Result<Stamp> {
        self.raw_stamp(name).map(|stamp| self.as_it_stays(stamp))
    }

    /// What tells an open file from others.
    pub fn stamp_of(&self, file: &File) -> io::Result<Stamp> {
        Stamp::of(file).map(|stamp| self.as_it_stays(stamp))
    }

    fn told(&self, metadata: &cap_std::fs::Metadata) -> Stamp {
        self.as_it_stays(Stamp::of_handle(metadata))
    }

    /// Without what changes from look to look.
    fn as_it_stays(&self, stamp: Stamp) -> Stamp {
        match self.disk.has_numbers {
            true => stamp,
            false => Stamp { disk: 0, number: 0, born: None, ..stamp },
        }
    }

    /// Opens a regular file that is there.
    pub(super) fn open(
        &self,
        name: impl AsRef<[u8]>,
        options: &mut OpenOptions,
    ) -> io::Result<File> {
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
        by_name::create_dir(self.dir, at(name.as_ref())?)
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
        by_name::symlink(self.dir, at(target.as_bytes())?, at(name)?)?;
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

    /// Gives the folder itself its mode and time, once nothing more is written into it, as far as
    /// its disk keeps them.
    pub(super) fn finish(&self, mode: u16, mtime: i64) -> io::Result<()> {
        // The mode last: it may close the folder to its owner.
        let timed = set_mtime_at(self.dir, ".", mtime);
        let found = self.dir.dir_metadata();
        let moded = found.and_then(|found| set_folder_mode(self.dir, &found, mode));
        bear(self.disk, moded, timed)
    }

    /// Removes a file or link.
    pub fn remove(&self, name: impl AsRef<[u8]>) -> io::Result<()> {
        let name = at(name.as_ref())?;
        patiently(|| by_name::remove(self.dir, name))
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
        by_name::rename(self.dir, at(from)?, at(to)?)
    }

    /// Windows replaces no file that may not be written, whoever may write into its folder.
    #[cfg(windows)]
    fn rename_over(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        let (from, to) = (at(from)?, at(to)?);
        let old = self.dir.symlink_metadata(to).ok().filter(|old| old.is_file());
        let rename = || patiently(|| by_name::rename(self.dir, from, to));
        if !old.is_some_and(|old| old.permissions().readonly()) {
            return rename();
        }
        by_name::set_readonly(self.dir, to, false)?;
        rename().inspect_err(|_| {
            let _ = by_name::set_readonly(self.dir, to, true);
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
        let is_lacking = |error: &io::Error| {
            // Some file systems without the flag refuse it as if it were forbidden.
            disk::is_unsupported(error) || error.kind() == io::ErrorKind::PermissionDenied
        };
        match self.put_at_once(from, to) {
            Err(error) if is_lacking(&error) => self.link_to_free(from, to),
            put => put,
        }
    }

    /// A second name is refused when it is taken; then the first goes.
    fn link_to_free(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        match by_name::hard_link(self.dir, at(from)?, at(to)?) {
            // With both names it would be there twice.
            Ok(()) => self.remove(from).inspect_err(|_| drop(self.remove(to))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // No hard links either, as on FAT: look, then rename.
            Err(_) => match self.look(to) {
                Found::Nothing => {
                    let (from, to) = (at(from)?, at(to)?);
                    patiently(|| by_name::rename(self.dir, from, to))
                }
                _ => Err(io::ErrorKind::AlreadyExists.into()),
            },
        }
    }
}

/// An attribute that a disk refuses costs nothing but the attribute; that it is full or gone, or that what
/// was to have it is not there, is another matter.
fn bear(disk: &Disk, moded: io::Result<()>, timed: io::Result<()>) -> io::Result<()> {
    let refused = |result: io::Result<()>| match result {
        Ok(()) => Ok(false),
        Err(error) if disk::is_full(&error) || disk::may_be_gone(&error) => Err(error),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
        Err(_) => Ok(true),
    };
    disk.lacks(Lacks { modes: refused(moded)?, times: refused(timed)? });
    Ok(())
}
