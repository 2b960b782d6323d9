//! The folder of a device: it belongs to a key, and its name is only a label. A mark in it says whose it
//! is, under a name that nothing that is sent can have.

use std::fs::{self, DirBuilder};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::control;
use crate::error::{Error, Result, reason, shown_os};

/// Holds the id of the device. Names that begin so are the program's own
/// ([`RESERVED`](crate::files::own::RESERVED)).
const MARK: &str = ".transfer_lock.device";
/// Hex digits of an id behind a name that is taken.
const SHORT: usize = 16;

/// The folder of the device with this id: by its name, or, where something is there that is not its own, with
/// the beginning of the id behind it. One that is made is for this user alone.
pub fn take(parent: &Path, name: &str, id: &str) -> Result<PathBuf> {
    control::check()?;
    let [first, second] = candidates(parent, name, id);
    for own in [&first, &second] {
        if is_own(own, id)? {
            return Ok(own.clone());
        }
    }
    Err(Error::failure(format!("\"{}\" is there, and not this device's", shown_os(&second)))
        .hint("move it away"))
}

/// The folder of the device with this id, if it has one.
pub fn find(parent: &Path, name: &str, id: &str) -> Option<PathBuf> {
    candidates(parent, name, id).into_iter().find(|folder| has_mark(folder, id))
}

/// Where its folder may be, the likelier place first.
fn candidates(parent: &Path, name: &str, id: &str) -> [PathBuf; 2] {
    let short: String = id.chars().take(SHORT).collect();
    [parent.join(name), parent.join(format!("{name}-{short}"))]
}

/// Whether it says that it is this device's.
fn has_mark(folder: &Path, id: &str) -> bool {
    let mut found = String::new();
    let file = fs::File::open(folder.join(MARK));
    let read = file.and_then(|it| it.take(id.len() as u64 + 1).read_to_string(&mut found));
    read.is_ok() && found == id
}

/// Makes the folder, or finds out whose it is.
fn is_own(folder: &Path, id: &str) -> Result<bool> {
    let cannot = |error: std::io::Error| {
        Error::failure(format!("cannot make \"{}\": {}", shown_os(folder), reason(&error)))
    };
    #[cfg_attr(not(unix), allow(unused_mut, reason = "only Unix gives a new folder a mode"))]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let mark = folder.join(MARK);
    match builder.create(folder) {
        Ok(()) => fs::write(&mark, id).map(|()| true).map_err(|error| {
            // Without its mark it would be nobody's for ever.
            let _ = fs::remove_file(&mark);
            let _ = fs::remove_dir(folder);
            cannot(error)
        }),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(has_mark(folder, id)),
        Err(error) => Err(cannot(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_a_key() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        let (one, other) = ("a".repeat(64), "b".repeat(64));
        fs::create_dir(at("photos")).unwrap();
        fs::write(at("note"), "").unwrap();
        assert_eq!(find(scratch.path(), "photos", &one), None);
        let rows = [
            ("photos", &one, "photos-aaaaaaaaaaaaaaaa", "there before"),
            ("photos", &one, "photos-aaaaaaaaaaaaaaaa", "once more"),
            ("photos", &other, "photos-bbbbbbbbbbbbbbbb", "another of that name"),
            ("note", &one, "note-aaaaaaaaaaaaaaaa", "a file is there"),
            ("laptop", &one, "laptop", "new"),
            ("laptop", &one, "laptop", "its own"),
            ("laptop", &other, "laptop-bbbbbbbbbbbbbbbb", "that of one that was removed"),
        ];
        for (name, id, expected, row) in rows {
            assert_eq!(take(scratch.path(), name, id).unwrap(), at(expected), "{row}");
            assert_eq!(find(scratch.path(), name, id), Some(at(expected)), "{row}");
        }
        assert_eq!(fs::read_dir(at("photos")).unwrap().count(), 0);
        fs::create_dir(at("laptop-cccccccccccccccc")).unwrap();
        let error = take(scratch.path(), "laptop", &"c".repeat(64)).unwrap_err();
        assert!(error.message.ends_with("not this device's"), "{error}");
    }
}
