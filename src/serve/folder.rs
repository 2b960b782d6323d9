//! The folder of a device: it belongs to a key, and its name is only a label. A mark in it says whose it
//! is, under a name that nothing that is sent can have.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::control;
use crate::error::{Error, Result, reason, shown_os};
use crate::files::disk;
use crate::files::mapping::held_here;
use crate::held::patiently;

/// Holds the id of the device. Names that begin so are the program's own
/// ([`RESERVED`](crate::files::own::RESERVED)).
const MARK: &str = ".transfer_lock.device";
/// Begins the name of a folder that has no mark yet.
const NEW: &str = ".transfer_lock.new-";
/// Hex digits of an id behind a name that is taken.
const SHORT: usize = 16;

/// The folder of the device with this id: by its name, or, where something is there that is not its own, with
/// the beginning of the id behind it. One that is made is for this user alone.
pub fn take(parent: &Path, name: &str, id: &str) -> Result<PathBuf> {
    control::check()?;
    let [first, second] = candidates(parent, name, id);
    for own in [&first, &second] {
        if is_own(own, (parent, id))? {
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
    let name = held_here(name);
    [parent.join(&*name), parent.join(format!("{name}-{short}"))]
}

/// Whether it says that it is this device's.
fn has_mark(folder: &Path, id: &str) -> bool {
    let mut found = String::new();
    let file = fs::File::open(folder.join(MARK));
    let read = file.and_then(|it| it.take(id.len() as u64 + 1).read_to_string(&mut found));
    read.is_ok() && found == id
}

/// Makes the folder, or finds out whose it is.
fn is_own(folder: &Path, (parent, id): (&Path, &str)) -> Result<bool> {
    let is_there = |error: &io::Error| {
        matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty)
    };
    let made = match folder.symlink_metadata() {
        Ok(_) => return Ok(has_mark(folder, id)),
        Err(error) if error.kind() == ErrorKind::NotFound => make(folder, (parent, id)),
        Err(error) => Err(error),
    };
    match made {
        Ok(()) => Ok(true),
        // Somebody was faster.
        Err(error) if is_there(&error) => Ok(has_mark(folder, id)),
        Err(error) => {
            let folder = shown_os(folder);
            Err(Error::failure(format!("cannot make \"{folder}\": {}", reason(&error))))
        }
    }
}

/// Makes a folder that has its mark from the beginning, whatever ends this program or the machine meanwhile:
/// without one it would be nobody's for ever.
fn make(folder: &Path, (parent, id): (&Path, &str)) -> io::Result<()> {
    let short: String = id.chars().take(SHORT).collect();
    let new = parent.join(format!("{NEW}{short}"));
    let begin = || {
        // Left by a run that was killed.
        let _ = patiently(|| fs::remove_file(new.join(MARK)));
        let _ = fs::remove_dir(&new);
    };
    begin();
    #[cfg_attr(not(unix), allow(unused_mut, reason = "only Unix gives a new folder a mode"))]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&new)?;
    let write = || {
        let mut mark = fs::File::create_new(new.join(MARK))?;
        mark.write_all(id.as_bytes())?;
        disk::sync(&mark)
    };
    write().and_then(|()| patiently(|| fs::rename(&new, folder))).inspect_err(|_| begin())?;
    // The rename itself, where a folder can be synced at all.
    if let Ok(parent) = fs::File::open(parent) {
        let _ = parent.sync_all();
    }
    Ok(())
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
        // A run was killed before the mark was written: it has no folder yet, and gets it the next time.
        let (id, left) = ("d".repeat(64), at(".transfer_lock.new-dddddddddddddddd"));
        fs::create_dir(&left).unwrap();
        fs::write(left.join(MARK), "").unwrap();
        assert_eq!(find(scratch.path(), "desk", &id), None);
        assert_eq!(take(scratch.path(), "desk", &id).unwrap(), at("desk"));
        assert!(has_mark(&at("desk"), &id) && !left.exists());
        fs::create_dir(at("laptop-cccccccccccccccc")).unwrap();
        let error = take(scratch.path(), "laptop", &"c".repeat(64)).unwrap_err();
        assert!(error.message.ends_with("not this device's"), "{error}");
    }
}
