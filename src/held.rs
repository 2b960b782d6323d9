//! Files that another program has open for a moment: on Windows that forbids to rename and to remove
//! them, and virus scanners, indexers and backups open whatever is new.

use std::io;
use std::thread;
use std::time::Duration;

/// Pauses between tries, in milliseconds: a second in all. Whoever reads a file for longer has it open on purpose.
const PAUSES: [u64; 6] = [10, 30, 60, 100, 300, 500];

/// Does something with a file, again and again for a second while another program has it.
pub fn patiently<T>(act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    again(PAUSES.map(Duration::from_millis), |error| cfg!(windows) && is_held(error), act)
}

fn again<T>(
    pauses: impl IntoIterator<Item = Duration>,
    is_worth_it: impl Fn(&io::Error) -> bool,
    mut act: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    for pause in pauses {
        match act() {
            Err(error) if is_worth_it(&error) => thread::sleep(pause),
            done => return done,
        }
    }
    act()
}

/// Whether this is how Windows says so (Win32 error codes, winerror.h). What is forbidden for good has the first of
/// them as well.
fn is_held(error: &io::Error) -> bool {
    const CODES: [i32; 5] = [
        5,    // ERROR_ACCESS_DENIED
        32,   // ERROR_SHARING_VIOLATION
        33,   // ERROR_LOCK_VIOLATION
        303,  // ERROR_DELETE_PENDING
        1224, // ERROR_USER_MAPPED_FILE
    ];
    error.raw_os_error().is_some_and(|code| CODES.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_tried_again_and_nothing_else() {
        const HELD: i32 = 32;
        const NOT_FOUND: i32 = 2;
        for (failures, tries, ends_well) in [
            (vec![], 1, true),
            (vec![HELD], 2, true),
            (vec![HELD, 5, 33], 4, true),
            (vec![NOT_FOUND], 1, false),
            (vec![HELD, NOT_FOUND], 2, false),
            (vec![HELD; 4], 4, false),
        ] {
            let mut left = failures.iter();
            let mut count = 0;
            let ended = again([Duration::ZERO; 3], is_held, || {
                count += 1;
                left.next().map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(*code)))
            });
            assert_eq!((count, ended.is_ok()), (tries, ends_well), "{failures:?}");
        }
        assert!(!is_held(&io::ErrorKind::PermissionDenied.into()), "no system has said so");
    }

    /// As a virus scanner has it: for a moment, and nobody may rename or remove it meanwhile.
    #[cfg(windows)]
    #[test]
    fn a_scanned_file_is_renamed_and_removed() {
        use std::fs::{self, OpenOptions};
        use std::os::windows::fs::OpenOptionsExt;

        const FILE_SHARE_READ: u32 = 1;
        let folder = tempfile::tempdir().unwrap();
        let (new, file) = (folder.path().join("new"), folder.path().join("file"));
        fs::write(&new, "content").unwrap();
        let scan = |path: &std::path::Path| {
            let scanned =
                OpenOptions::new().read(true).share_mode(FILE_SHARE_READ).open(path).unwrap();
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(150));
                drop(scanned);
            })
        };
        let scanner = scan(&new);
        assert!(fs::rename(&new, &file).is_err(), "nobody holds it");
        patiently(|| fs::rename(&new, &file)).unwrap();
        scanner.join().unwrap();
        let scanner = scan(&file);
        assert!(fs::remove_file(&file).is_err(), "nobody holds it");
        patiently(|| fs::remove_file(&file)).unwrap();
        scanner.join().unwrap();
    }
}
