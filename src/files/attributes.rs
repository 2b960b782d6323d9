//! Modes and times, given to what was written.

use std::fs::{File, FileTimes};
use std::io;
use std::path::Path;
use std::time::SystemTime;

#[cfg(not(unix))]
use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::Dir;
#[cfg(not(unix))]
use cap_std::fs::OpenOptions;

use super::times;

/// What a new folder has from the one around it, such as its group, stays.
#[cfg(unix)]
pub(super) fn set_folder_mode(
    dir: &Dir,
    found: &cap_std::fs::Metadata,
    mode: u16,
) -> io::Result<()> {
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
pub(super) fn set_folder_mode(_: &Dir, _: &cap_std::fs::Metadata, _: u16) -> io::Result<()> {
    Ok(())
}

/// Gives what has this name, a link itself and not what it points to, its time of last change.
#[cfg(unix)]
pub(super) fn set_mtime_at(dir: &Dir, name: impl AsRef<Path>, mtime: i64) -> io::Result<()> {
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
pub(super) fn set_mtime_at(dir: &Dir, name: impl AsRef<Path>, mtime: i64) -> io::Result<()> {
    use cap_fs_ext::OpenOptionsMaybeDirExt;
    // Not through cap-std's own call, which panics at times before 1970.
    let mut options = OpenOptions::new();
    options.read(true).follow(FollowSymlinks::No).maybe_dir(true);
    #[cfg(windows)]
    {
        use cap_std::fs::OpenOptionsExt;
        options.access_mode(FILE_WRITE_ATTRIBUTES);
        // Without it a link is an error, which is not to be followed.
        options.custom_flags(FILE_FLAG_OPEN_REPARSE_POINT);
    }
    set_mtime(&dir.open_with(name, &options)?.into_std(), mtime)
}

/// What of a file Windows is asked for, where the content is not all.
#[cfg(windows)]
pub(super) const GENERIC_READ: u32 = 0x8000_0000;
#[cfg(windows)]
pub(super) const FILE_WRITE_ATTRIBUTES: u32 = 0x100;
#[cfg(windows)]
const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;

/// Gives an open file its time of last change, in nanoseconds since 1970 UTC.
pub(super) fn set_mtime(file: &File, mtime: i64) -> io::Result<()> {
    // Both: one alone is ignored by some file systems in user space.
    let accessed = FileTimes::new().set_accessed(SystemTime::now());
    file.set_times(accessed.set_modified(times::system_time(mtime)))
}

/// Gives an open file its permission bits; never set-user-ID and its like, which would lend this
/// user's rights to whoever runs a file that came from elsewhere.
#[cfg(unix)]
pub(super) fn set_mode(file: &File, mode: u16) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode((mode & 0o777).into()))
}

/// Gives an open file its only bit that other systems know: whether it may be written.
#[cfg(not(unix))]
pub(super) fn set_mode(file: &File, mode: u16) -> io::Result<()> {
    let metadata = file.metadata()?;
    let mut permissions = metadata.permissions();
    permissions.set_readonly(!metadata.is_dir() && mode & 0o200 == 0);
    file.set_permissions(permissions)
}

/// Set-user-ID and set-group-ID: they lend rights that nobody granted here.
pub const SET_ID: u16 = 0o6000;

/// Permission bits that this process takes from every file it makes from now on. Before
/// [`creation_mask`] is asked, and while there is but one thread.
#[cfg(unix)]
#[allow(clippy::useless_conversion, reason = "a mode has 16 bits on some systems and 32 on others")]
pub fn set_creation_mask(mask: u16) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode((mask & 0o777).into()));
}

/// Other systems have none.
#[cfg(not(unix))]
pub fn set_creation_mask(_: u16) {}

/// Permission bits that this process takes from every file it makes.
#[cfg(unix)]
#[allow(clippy::useless_conversion, reason = "a mode has 16 bits on some systems and 32 on others")]
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
