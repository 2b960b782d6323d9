//! What tells one file from another.

use std::fs::File;
use std::io;

use super::times;

/// What tells one file from another, and whether it was touched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The disk it is on; 0 like its number.
    pub disk: u64,
    /// Its number in the file system; 0 where there is none, or it does not stay.
    pub number: u64,
    /// When it was made, in nanoseconds since 1970 UTC, where the file system keeps that.
    pub born: Option<i64>,
    /// Its bytes.
    pub size: u64,
    /// Its time of last change, in nanoseconds since 1970 UTC.
    pub mtime: i64,
    /// Its permission bits, where the system has them.
    pub mode: Option<u16>,
    /// Who owns it, where the system tells.
    pub owner: Option<u32>,
    /// How many names it has.
    pub names: u64,
}

/// Nanoseconds since 1970 up to which cap-std may have taken a time for another.
#[cfg(unix)]
const FIRST_SECONDS: i64 = 5_000_000_000;

impl Stamp {
    /// Of an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        let stamp = Self::of_handle(&cap_std::fs::Metadata::from_file(file)?);
        Ok(Self { born: stamp.born.or_else(|| born(file)), ..stamp })
    }

    /// The same, of what a directory handle has told: of one file both are equal.
    pub fn of_handle(metadata: &cap_std::fs::Metadata) -> Self {
        let time = |time: io::Result<cap_std::time::SystemTime>| {
            time.ok().map(|time| times::nanoseconds(time.into_std()))
        };
        let stamp = Self {
            size: metadata.len(),
            mtime: time(metadata.modified()).unwrap_or(0),
            born: time(metadata.created()),
            names: 1,
            ..Self::default()
        };
        #[cfg(unix)]
        {
            use cap_std::fs::MetadataExt;
            // Not as cap-std puts them together: macOS counts a part of a second before 1970 backwards.
            let mtime = metadata.mtime().checked_mul(1_000_000_000);
            let mtime = mtime.and_then(|it| it.checked_add(metadata.mtime_nsec()));
            // And a time of birth goes back there with an older one of last change.
            let is_told = |born: &i64| !cfg!(target_vendor = "apple") || *born > FIRST_SECONDS;
            Self {
                mtime: mtime.unwrap_or(stamp.mtime),
                born: stamp.born.filter(is_told),
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

    /// Whether this is the same file, whatever happened to its content.
    pub fn is(&self, other: &Self) -> bool {
        (self.disk, self.number, self.born) == (other.disk, other.number, other.born)
    }

    /// Whether it is the same file, and nobody has written to it.
    pub fn is_untouched(&self, other: &Self) -> bool {
        self.is(other) && (self.size, self.mtime) == (other.size, other.mtime)
    }
}

/// When an open file was made, where the kernel knows it and the standard library does not. A directory
/// handle tells it.
#[cfg(any(all(target_os = "linux", not(target_env = "gnu")), target_os = "android"))]
fn born(file: &File) -> Option<i64> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    let told = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BTIME).ok()?;
    let is_told = told.stx_mask & StatxFlags::BTIME.bits() != 0;
    let nanoseconds = told.stx_btime.tv_sec.checked_mul(1_000_000_000)?;
    nanoseconds.checked_add(told.stx_btime.tv_nsec.into()).filter(|_| is_told)
}

#[cfg(not(any(all(target_os = "linux", not(target_env = "gnu")), target_os = "android")))]
fn born(_: &File) -> Option<i64> {
    None
}

#[cfg(test)]
mod tests {
    use cap_std::ambient_authority;
    use cap_std::fs::Dir;

    use super::*;

    /// Else every file that was written would look like another's once it has its name.
    #[test]
    fn an_open_file_and_its_name_have_one_stamp() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "content").unwrap();
        let dir = Dir::open_ambient_dir(folder.path(), ambient_authority()).unwrap();
        let named = Stamp::of_handle(&dir.symlink_metadata("file").unwrap());
        let open = Stamp::of(&File::open(folder.path().join("file")).unwrap()).unwrap();
        assert_eq!(open, named);
        assert_eq!(open.size, 7);

        // A part of a second before 1970, and more.
        for (seconds, nanoseconds) in [(-1, 500_000_000), (-2_000_000_000, 123_456_700), (0, 100)] {
            let time = filetime::FileTime::from_unix_time(seconds, nanoseconds);
            filetime::set_file_mtime(folder.path().join("file"), time).unwrap();
            let named = Stamp::of_handle(&dir.symlink_metadata("file").unwrap());
            let open = Stamp::of(&File::open(folder.path().join("file")).unwrap()).unwrap();
            assert_eq!(open, named);
            assert_eq!(open.mtime, seconds * 1_000_000_000 + i64::from(nanoseconds));
        }
    }
}
