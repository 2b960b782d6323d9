//! The one folder beneath which everything is written.
//!
//! All access goes through directory handles and single names. No symbolic link is ever
//! followed below the root, whether it was there before or came with the transfer: a link where
//! a folder should be is an error. What is put in place never replaces anything unless asked.

use std::fs::{File, FileTimes, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};

use super::path::{RelPath, windows_link_is_safe};
use super::walk;

/// What is at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A regular file.
    File {
        /// Its bytes.
        size: u64,
        /// Its time of last change, in nanoseconds since 1970 UTC.
        mtime: i64,
        /// Its permission bits, where the system has them.
        mode: Option<u16>,
    },
    /// A folder.
    Folder,
    /// A symbolic link with this target.
    Link(PathBuf),
    /// A device, a pipe, a socket; or something that may not be looked at.
    Other,
}

/// Whether putting something in place may replace what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Never: a name that is taken is an error of kind `AlreadyExists`.
    Never,
    /// A file or a link is replaced in one step; a folder never is.
    Allowed,
}

/// The output folder, open.
pub struct Root {
    dir: Dir,
    path: PathBuf,
    /// The folders that were entered last, from the top down; of a deep path only the innermost
    /// [`MAX_OPEN`] are open.
    entered: Vec<(Box<str>, Option<Dir>)>,
    /// See [`Root::time_grain`].
    grain: Option<i64>,
}

/// Folders that are open at the same time, by each thread: far fewer than any system allows.
const MAX_OPEN: usize = 16;

/// What times of last change are rounded down to, in nanoseconds: not at all, NTFS, some network
/// file systems, exFAT, HFS+, FAT.
const GRAINS: [i64; 6] = [1, 100, 1000, 10_000_000, 1_000_000_000, 2_000_000_000];

impl Root {
    /// Opens the folder, making it and its parents if they are missing.
    pub fn open(path: &Path) -> io::Result<Self> {
        Dir::create_ambient_dir_all(path, ambient_authority())?;
        let dir = Dir::open_ambient_dir(path, ambient_authority())?;
        Ok(Self { dir, path: path.into(), entered: Vec::new(), grain: None })
    }

    /// The same folder for another thread.
    pub fn again(&self) -> io::Result<Self> {
        let (dir, path) = (self.dir.try_clone()?, self.path.clone());
        Ok(Self { dir, path, entered: Vec::new(), grain: None })
    }

    /// Bytes that an ordinary user can still write to its file system.
    pub fn free_space(&self) -> io::Result<u64> {
        fs4::available_space(&self.path)
    }

    /// Locks the folder for this process; the lock ends with the file or the process.
    ///
    /// # Errors
    /// `WouldBlock` when another process, or another handle of this one, has it.
    pub fn guard(&self) -> io::Result<File> {
        let guard = open_guard(&self.dir)?;
        guard.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
            TryLockError::Error(error) => error,
        })?;
        Ok(guard)
    }

    /// Opens a regular file for reading.
    pub fn open_file(&mut self, path: &RelPath) -> io::Result<File> {
        self.parent_of(path)?.open(path.name(), OpenOptions::new().read(true))
    }

    /// Opens a regular file that is this user's and has no other name: nobody else put it here,
    /// and nobody can read along.
    pub fn open_own(&mut self, path: &RelPath) -> io::Result<File> {
        own(self.open_file(path)?)
    }

    /// What its file system rounds times of last change down to, in nanoseconds; found out by
    /// trying, once.
    pub fn time_grain(&mut self, probe: &RelPath) -> i64 {
        if let Some(grain) = self.grain {
            return grain;
        }
        let grain = self.parent_of(probe).and_then(|folder| {
            const TRIED: i64 = 1_000_000_001_123_456_789;
            let file = folder.create_file(probe.name())?;
            let set = set_mtime(&file, TRIED).and_then(|()| file.metadata()?.modified());
            folder.remove(probe.name())?;
            let kept = walk::nanoseconds(set?);
            Ok(GRAINS.into_iter().find(|grain| TRIED - TRIED % grain == kept).unwrap_or(1))
        });
        // Where nothing can be tried nothing is forgiven.
        *self.grain.insert(grain.unwrap_or(1))
    }

    /// Where it is, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder itself.
    pub fn top(&self) -> Folder<'_> {
        Folder(&self.dir)
    }

    /// The folder that holds `path`, each step checked not to be a link.
    pub fn parent_of(&mut self, path: &RelPath) -> io::Result<Folder<'_>> {
        self.enter(path.parent())
    }

    fn enter(&mut self, folder: Option<&str>) -> io::Result<Folder<'_>> {
        let names = || folder.into_iter().flat_map(|folder| folder.split('/'));
        let depth = names().count();
        let entered = self.entered.iter().map(|(entered, _)| &**entered);
        let mut common = entered.zip(names()).take_while(|(entered, name)| entered == name).count();
        if common > 0 && !matches!(self.entered.get(common - 1), Some((_, Some(_)))) {
            // Closed meanwhile: once more from the top.
            common = 0;
        }
        // What lies deeper may be of use again, but not once another way is taken.
        if common < depth {
            self.entered.truncate(common);
        }
        for name in names().skip(common) {
            let parent = self.entered.last().and_then(|(_, dir)| dir.as_ref());
            let dir = parent.unwrap_or(&self.dir).open_dir_nofollow(name)?;
            self.entered.push((name.into(), Some(dir)));
            let closed = self.entered.len().checked_sub(MAX_OPEN + 1);
            if let Some((_, dir)) = closed.and_then(|at| self.entered.get_mut(at)) {
                *dir = None;
            }
        }
        let innermost = depth.checked_sub(1).and_then(|last| self.entered.get(last));
        Ok(Folder(innermost.and_then(|(_, dir)| dir.as_ref()).unwrap_or(&self.dir)))
    }

    /// What is at `path`. A parent that is missing or no folder means nothing.
    pub fn look(&mut self, path: &RelPath) -> Found {
        match self.parent_of(path) {
            Ok(folder) => folder.look(path.name()),
            Err(_) => Found::Nothing,
        }
    }

    /// Gives a folder its mode and time, once nothing more is written into it.
    pub fn finish_folder(&mut self, path: &RelPath, mode: u16, mtime: i64) -> io::Result<()> {
        let dir = self.enter(Some(path.as_str()))?.0;
        // The mode last: it may close the folder to its owner.
        set_mtime_at(dir, ".", mtime)?;
        let mut permissions = dir.dir_metadata()?.permissions();
        set_folder_mode(&mut permissions, mode);
        dir.set_permissions(".", permissions)
    }
}

#[cfg(unix)]
fn set_folder_mode(permissions: &mut cap_std::fs::Permissions, mode: u16) {
    use cap_std::fs::PermissionsExt;
    permissions.set_mode(mode.into());
}

/// Other systems have no mode of a folder.
#[cfg(not(unix))]
fn set_folder_mode(_: &mut cap_std::fs::Permissions, _: u16) {}

/// The folder itself can be locked where it can be opened as a file.
#[cfg(unix)]
fn open_guard(dir: &Dir) -> io::Result<File> {
    Ok(dir.open(".")?.into_std())
}

/// Elsewhere a file in it is.
#[cfg(not(unix))]
fn open_guard(dir: &Dir) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).follow(FollowSymlinks::No);
    Ok(dir.open_with(".transfer_lock.guard", &options)?.into_std())
}

/// A folder beneath the root. Names given to it are single names.
#[derive(Clone, Copy)]
pub struct Folder<'a>(&'a Dir);

impl Folder<'_> {
    /// What is there under this name.
    pub fn look(&self, name: &str) -> Found {
        let metadata = match self.0.symlink_metadata(name) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
            Err(_) => return Found::Other,
        };
        if metadata.is_file() {
            let mtime = metadata.modified().map_or(0, |time| walk::nanoseconds(time.into_std()));
            Found::File { size: metadata.len(), mtime, mode: mode_of(&metadata) }
        } else if metadata.is_dir() {
            Found::Folder
        } else if metadata.is_symlink() {
            self.0.read_link_contents(name).map_or(Found::Other, Found::Link)
        } else {
            Found::Other
        }
    }

    /// Opens a regular file that is there.
    fn open(&self, name: &str, options: &mut OpenOptions) -> io::Result<File> {
        options.follow(FollowSymlinks::No);
        #[cfg(unix)]
        {
            // A pipe of this name must not keep us waiting.
            use cap_std::fs::OpenOptionsExt;
            options.custom_flags(i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0));
        }
        let file = self.0.open_with(name, options)?.into_std();
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    /// Opens an unfinished file of this user's own to go on with it.
    pub fn reopen_file(&self, name: &str) -> io::Result<File> {
        own(self.open(name, OpenOptions::new().read(true).write(true))?)
    }

    /// Makes a folder with this mode, but one that this user can fill until it is finished.
    #[cfg_attr(not(unix), allow(unused_variables))]
    pub fn create_folder(&self, name: &str, mode: u16) -> io::Result<()> {
        let mut builder = cap_std::fs::DirBuilder::new();
        #[cfg(unix)]
        {
            use cap_std::fs::DirBuilderExt;
            builder.mode(u32::from(mode & 0o777 | 0o700));
        }
        self.0.create_dir_with(name, &builder)
    }

    /// Creates a file that did not exist, readable by this user only until it is finished.
    pub fn create_file(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).follow(FollowSymlinks::No);
        #[cfg(unix)]
        {
            use cap_std::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        Ok(self.0.open_with(name, &options)?.into_std())
    }

    /// Makes a symbolic link with this time, under a name that was free.
    pub fn create_link(&self, name: &str, target: &str, mtime: i64) -> io::Result<()> {
        if cfg!(windows) && !windows_link_is_safe(target) {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        DirExt::symlink(self.0, target, name)?;
        set_mtime_at(self.0, name, mtime)
    }

    /// Gives a link its time of last change, in nanoseconds since 1970 UTC.
    pub fn set_link_time(&self, name: &str, mtime: i64) -> io::Result<()> {
        set_mtime_at(self.0, name, mtime)
    }

    /// Removes a file or link.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove_file_or_symlink(name)
    }

    /// Moves what is at `from` to the name `to`.
    pub fn put(&self, from: &str, to: &str, replace: Replace) -> io::Result<()> {
        match replace {
            Replace::Allowed => self.0.rename(from, self.0, to),
            Replace::Never => self.rename_to_free(from, to),
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    fn rename_to_free(&self, from: &str, to: &str) -> io::Result<()> {
        use rustix::fs::{RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(self.0, from, self.0, to, RenameFlags::NOREPLACE) {
            // File systems without the flag.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => self.link_to_free(from, to),
            other => Ok(other?),
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    fn rename_to_free(&self, from: &str, to: &str) -> io::Result<()> {
        self.link_to_free(from, to)
    }

    /// A second name is refused when it is taken; then the first goes.
    fn link_to_free(&self, from: &str, to: &str) -> io::Result<()> {
        match self.0.hard_link(from, self.0, to) {
            Ok(()) => self.remove(from),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // No hard links either, as on FAT: look, then rename.
            Err(_) => match self.look(to) {
                Found::Nothing => self.0.rename(from, self.0, to),
                _ => Err(io::ErrorKind::AlreadyExists.into()),
            },
        }
    }
}

/// A file that belongs to this user and has one name.
#[cfg(unix)]
fn own(file: File) -> io::Result<File> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata()?;
    let own = metadata.uid() == rustix::process::geteuid().as_raw() && metadata.nlink() == 1;
    if own { Ok(file) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

/// Other systems do not tell; there a folder that others may write to is the user's own care.
#[cfg(not(unix))]
fn own(file: File) -> io::Result<File> {
    Ok(file)
}

/// What no sender can choose of a file: its number in the file system. 0 where there is none.
#[cfg(unix)]
pub fn inode(file: &File) -> u64 {
    use std::os::unix::fs::MetadataExt;
    file.metadata().map_or(0, |metadata| metadata.ino())
}

/// What no sender can choose of a file: its number in the file system. 0 where there is none.
#[cfg(not(unix))]
pub fn inode(_: &File) -> u64 {
    0
}

#[cfg(unix)]
fn mode_of(metadata: &cap_std::fs::Metadata) -> Option<u16> {
    use cap_std::fs::MetadataExt;
    u16::try_from(metadata.mode() & 0o7777).ok()
}

#[cfg(not(unix))]
fn mode_of(_: &cap_std::fs::Metadata) -> Option<u16> {
    None
}

/// Gives what has this name, a link itself and not what it points to, its time of last change.
#[cfg(unix)]
fn set_mtime_at(dir: &Dir, name: &str, mtime: i64) -> io::Result<()> {
    use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_OMIT, utimensat};
    const SECOND: i64 = 1_000_000_000;
    // Not through cap-std, which panics at times before 1970.
    let last_modification =
        Timespec { tv_sec: mtime.div_euclid(SECOND), tv_nsec: mtime.rem_euclid(SECOND) as _ };
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ };
    let times = Timestamps { last_access, last_modification };
    Ok(utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(not(unix))]
fn set_mtime_at(dir: &Dir, name: &str, mtime: i64) -> io::Result<()> {
    // cap-std panics at times before 1970.
    let time = cap_std::time::SystemTime::from_std(walk::system_time(mtime.max(0)));
    dir.set_symlink_times(name, None, Some(cap_fs_ext::SystemTimeSpec::Absolute(time)))
}

/// Gives an open file its time of last change, in nanoseconds since 1970 UTC.
pub fn set_mtime(file: &File, mtime: i64) -> io::Result<()> {
    file.set_times(FileTimes::new().set_modified(walk::system_time(mtime)))
}

/// Gives an open file its permission bits; never set-user-ID and its like, which would lend this
/// user's rights to whoever runs a file that came from elsewhere.
#[cfg(unix)]
pub fn set_mode(file: &File, mode: u16) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode((mode & 0o777).into()))
}

/// Gives an open file its only bit that other systems know: whether it may be written.
#[cfg(not(unix))]
pub fn set_mode(file: &File, mode: u16) -> io::Result<()> {
    let metadata = file.metadata()?;
    let mut permissions = metadata.permissions();
    permissions.set_readonly(!metadata.is_dir() && mode & 0o200 == 0);
    file.set_permissions(permissions)
}
