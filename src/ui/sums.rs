//! `--manifest`: the SHA-256 of every file that is in its place, as `sha256sum -c` reads it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
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
        Ok(Self { path: path.into(), hashes: Mutex::default() })
    }

    /// Notes a file.
    pub(super) fn note(&self, path: &[u8], hash: [u8; HASH_LEN]) {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner).insert(path.into(), hash);
    }

    /// Writes the list.
    pub(super) fn save(&self) -> Result<()> {
        let text = text(&self.hashes.lock().unwrap_or_else(PoisonError::into_inner));
        fs::write(&self.path, text).map_err(|error| {
            let path = shown_os(&self.path);
            let why = reason(&error);
            Error::failure(format!("cannot write the manifest \"{}\": {why}", path))
                .hint("everything else is done; run both sides again with another --manifest")
        })
    }
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
