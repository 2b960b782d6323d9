//! The right to receive into a folder: one process at a time has it.

use std::fs::{File, TryLockError};
use std::io;

use cap_std::fs::Dir;

/// The right itself; it ends with this value or with the process, however that ends.
#[derive(Debug)]
pub struct Guard(#[expect(dead_code, reason = "open files are all that it is")] Vec<File>);

impl Guard {
    /// Takes it.
    ///
    /// # Errors
    /// `WouldBlock` when another process, or another handle of this one, has it.
    pub fn take(dir: &Dir) -> io::Result<Self> {
        system::take(dir).map(Self)
    }
}

fn lock(file: File) -> io::Result<File> {
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The folder itself can be locked where it can be opened as a file.
#[cfg(unix)]
mod system {
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// How often somebody else's is looked at, and the pause in between: who has let it go may have begun a child,
    /// which has it until it has become another program.
    const TRIES: u32 = 20;
    const PAUSE: Duration = Duration::from_millis(10);

    pub fn take(dir: &Dir) -> io::Result<Vec<File>> {
        let mut tries = 1;
        loop {
            match lock(dir.open(".")?.into_std()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < TRIES => {
                    thread::sleep(PAUSE);
                    tries += 1;
                }
                taken => return taken.map(|file| vec![file]),
            }
        }
    }
}

/// Elsewhere a file in it is, which goes when it is closed.
#[cfg(not(unix))]
mod system {
    use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
    use cap_std::fs::OpenOptions;

    use super::*;

    const NAME: &str = ".transfer_lock.guard";
    /// How often somebody else's is seen going.
    const TRIES: u32 = 20;

    pub fn take(dir: &Dir) -> io::Result<Vec<File>> {
        let mut tries = 0;
        loop {
            let mut options = OpenOptions::new();
            options.write(true).create(true).follow(FollowSymlinks::No);
            let taken = dir.open_with(NAME, &options).and_then(|file| {
                let file = lock(file.into_std())?;
                // Only who has the lock may have it removed: a second one that asks for that would
                // take the name from the first. It fails if the file is going.
                #[cfg(windows)]
                {
                    use cap_std::fs::OpenOptionsExt;
                    options.custom_flags(FILE_FLAG_DELETE_ON_CLOSE);
                }
                Ok(vec![dir.open_with(NAME, options.create(false))?.into_std(), file])
            });
            tries += 1;
            match taken {
                Err(error) if is_going(&error) && tries < TRIES => {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                taken => return taken,
            }
        }
    }

    #[cfg(windows)]
    const FILE_FLAG_DELETE_ON_CLOSE: u32 = 0x0400_0000;

    /// As Windows calls a file that is there until the last who has it open closes it.
    fn is_going(error: &io::Error) -> bool {
        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
    }
}

#[cfg(test)]
mod tests {
    use cap_std::ambient_authority;

    use super::*;

    #[test]
    fn one_at_a_time_and_nothing_stays() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(folder.path(), ambient_authority()).unwrap();
        for _ in 0..3 {
            let guard = Guard::take(&dir).unwrap();
            for _ in 0..2 {
                assert_eq!(Guard::take(&dir).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            }
            drop(guard);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }
}
