//! `--manifest`: the SHA-256 of every file that is in its place, as `sha256sum -c` reads it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result, reason, shown_os};
use crate::protocol::pages::HASH_LEN;

/// The list, until it is written.
#[derive(Debug)]
pub(super) struct Sums {
    path: PathBuf,
    hashes: Mutex<BTreeMap<Vec<u8>, [u8; HASH_LEN]>>,
}

impl Sums {
    /// A list that is to be written there.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::error::Exit::Usage) when that cannot be, as far as is known now.
    pub(super) fn new(path: &Path) -> Result<Self> {
        if path.is_dir() || path.file_name().is_none() {
            return Err(Error::usage(format!("\"{}\" is a folder", shown_os(path)))
                .hint("--manifest names a file, which is written at the end"));
        }
        let list = Self { path: path.into(), hashes: Mutex::default() };
        list.try_out().map_err(|error| {
            let why = reason(&error);
            Error::usage(format!("cannot write the manifest \"{}\": {why}", shown_os(path)))
                .hint("--manifest names a file for the hashes, which is written at the end")
        })?;
        Ok(list)
    }

    /// Whether it can be written, where a file is there or its folder is: what is received may bring that.
    fn try_out(&self) -> io::Result<()> {
        self.spare_others()?;
        let mut options = File::options();
        match fs::metadata(&self.path) {
            Ok(found) if found.is_file() => options.append(true).open(&self.path).map(drop),
            // A pipe waits for its reader.
            Ok(_) => Ok(()),
            Err(_) => match options.append(true).create_new(true).open(&self.path) {
                Ok(_) => fs::remove_file(&self.path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            },
        }
    }

    /// A file that is no manifest is somebody's own, or what was just received.
    fn spare_others(&self) -> io::Result<()> {
        if !fs::metadata(&self.path).is_ok_and(|found| found.is_file()) {
            return Ok(());
        }
        let mut start = Vec::new();
        File::open(&self.path)?.take(START_LEN).read_to_end(&mut start)?;
        match is_manifest(&start) {
            true => Ok(()),
            false => Err(io::Error::other("a file of that name is there, and is no manifest")),
        }
    }

    /// Notes a file.
    pub(super) fn note(&self, path: &[u8], hash: [u8; HASH_LEN]) {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner).insert(path.into(), hash);
    }

    /// Writes the list.
    pub(super) fn save(&self) -> Result<()> {
        let text = text(&self.hashes.lock().unwrap_or_else(PoisonError::into_inner));
        self.spare_others().and_then(|()| fs::write(&self.path, text)).map_err(|error| {
            let path = shown_os(&self.path);
            let why = reason(&error);
            Error::failure(format!("cannot write the manifest \"{}\": {why}", path))
                .hint("everything else is done; run both sides again with another --manifest")
        })
    }
}

/// As much of a file as tells whether it is a manifest: a backslash, a hash, two spaces.
const START_LEN: u64 = 1 + 2 * HASH_LEN as u64 + 2;

/// Whether a file that begins so is a manifest, or empty.
fn is_manifest(start: &[u8]) -> bool {
    let line = start.strip_prefix(b"\\").unwrap_or(start);
    let Some((hash, rest)) = line.split_at_checked(2 * HASH_LEN) else { return start.is_empty() };
    hash.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) && rest.starts_with(b"  ")
}

/// A line for each file, in the order of their names.
fn text(hashes: &BTreeMap<Vec<u8>, [u8; HASH_LEN]>) -> Vec<u8> {
    let mut text = Vec::new();
    for (path, hash) in hashes {
        // What would break a line is escaped, and a backslash in front tells so.
        if path.iter().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r')) {
            text.push(b'\\');
        }
        text.extend_from_slice(hex(hash).as_bytes());
        text.extend_from_slice(b"  ");
        for byte in path {
            match byte {
                b'\\' => text.extend_from_slice(b"\\\\"),
                b'\n' => text.extend_from_slice(b"\\n"),
                b'\r' => text.extend_from_slice(b"\\r"),
                _ => text.push(*byte),
            }
        }
        text.push(b'\n');
    }
    text
}

/// Bytes as people write a hash.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_manifests_are_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sums");
        let list = Sums::new(&path).unwrap();
        assert!(!path.exists(), "it was tried out, and left behind");
        list.note(b"a\nb", [0xab; HASH_LEN]);
        list.save().unwrap();
        Sums::new(&path).unwrap().save().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"", "nothing was noted");
        Sums::new(&path).unwrap();
        // What came meanwhile stays, as what was there does.
        for content in ["notes", &format!("{}\n", "ab".repeat(HASH_LEN)), "\u{1}"] {
            let list = Sums::new(&folder.path().join("new")).unwrap();
            fs::write(folder.path().join("new"), content).unwrap();
            assert!(list.save().unwrap_err().message.contains("is no manifest"), "{content}");
            assert!(Sums::new(&folder.path().join("new")).is_err());
            assert_eq!(fs::read_to_string(folder.path().join("new")).unwrap(), content);
            fs::remove_file(folder.path().join("new")).unwrap();
        }
        // Its folder may come with what is received.
        assert!(Sums::new(&folder.path().join("to come/sums")).is_ok());
    }

    #[test]
    fn lines_are_as_sha256sum_writes_them() {
        let hash = [0xab; HASH_LEN];
        let cases: [(&[u8], &[u8], &[u8]); 5] = [
            (b"b", b"", b"b"),
            (b"a b/c\\d", b"\\", b"a b/c\\\\d"),
            (b"line\nbreak", b"\\", b"line\\nbreak"),
            (b"Icon\r", b"\\", b"Icon\\r"),
            (b"tab\t latin-\xe9", b"", b"tab\t latin-\xe9"),
        ];
        for (path, mark, name) in cases {
            let hashes = [(path.to_vec(), hash)].into();
            let line = [mark, "ab".repeat(HASH_LEN).as_bytes(), b"  ", name, b"\n"].concat();
            assert_eq!(text(&hashes), line, "{}", path.escape_ascii());
        }
    }
}
