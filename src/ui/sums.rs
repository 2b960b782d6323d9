//! `--manifest`: the SHA-256 of every file that is in its place, as `sha256sum -c` reads it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result, reason, shown};
use crate::protocol::pages::HASH_LEN;

/// The list, until it is written.
#[derive(Debug)]
pub(super) struct Sums {
    path: PathBuf,
    hashes: Mutex<BTreeMap<String, [u8; HASH_LEN]>>,
}

impl Sums {
    /// A list that is to be written there.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::error::Exit::Usage) when that cannot be, as far as is known now.
    pub(super) fn new(path: &Path) -> Result<Self> {
        if path.is_dir() || path.file_name().is_none() {
            return Err(Error::usage(format!(
                "\"{}\" is a folder",
                shown(&path.to_string_lossy())
            ))
            .hint("--manifest names a file, which is written at the end"));
        }
        Ok(Self { path: path.into(), hashes: Mutex::default() })
    }

    /// Notes a file.
    pub(super) fn note(&self, path: &str, hash: [u8; HASH_LEN]) {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner).insert(path.into(), hash);
    }

    /// Writes the list.
    pub(super) fn save(&self) -> Result<()> {
        let text = text(&self.hashes.lock().unwrap_or_else(PoisonError::into_inner));
        fs::write(&self.path, text).map_err(|error| {
            let path = self.path.to_string_lossy();
            let why = reason(&error);
            Error::failure(format!("cannot write the manifest \"{}\": {why}", shown(&path)))
                .hint("everything else is done; run both sides again with another --manifest")
        })
    }
}

/// A line for each file, in the order of their names.
fn text(hashes: &BTreeMap<String, [u8; HASH_LEN]>) -> String {
    let mut text = String::new();
    for (path, hash) in hashes {
        // No path has a line break in it; a backslash is written twice, and tells so in front.
        if path.contains('\\') {
            text.push('\\');
        }
        let _ = writeln!(text, "{}  {}", hex(hash), path.replace('\\', "\\\\"));
    }
    text
}

/// A hash as people write it.
pub(super) fn hex(hash: &[u8; HASH_LEN]) -> String {
    hash.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_sha256sum_writes_them() {
        let hashes = [("b", [0xab; HASH_LEN]), ("a b/c\\d", [1; HASH_LEN])];
        let hashes = hashes.map(|(path, hash)| (path.to_owned(), hash)).into();
        let (one, ab) = ("01".repeat(HASH_LEN), "ab".repeat(HASH_LEN));
        assert_eq!(text(&hashes), format!("\\{one}  a b/c\\\\d\n{ab}  b\n"));
    }
}
