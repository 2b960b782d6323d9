//! What systems and disks make of names: which they take for one, which are devices, and how a path is
//! called that has no name. Knows Windows, macOS and disks that fold.

use std::borrow::Cow;
use std::ffi::OsStr;

use unicode_normalization::UnicodeNormalization;

use super::mapping::windows_name;

/// What names mean where something is received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Naming {
    /// Whether names of other capitals are the same name.
    pub folds: bool,
    /// Whether letters are the same composed (NFC) and decomposed (NFD), as on macOS.
    pub composes: bool,
}

impl Naming {
    /// Whether different names can be one.
    pub fn has_twins(self) -> bool {
        self.folds || self.composes
    }

    /// What a path is there: paths of the same key are one.
    pub fn key(self, path: &[u8]) -> Cow<'_, [u8]> {
        let mut key = Cow::Borrowed(path);
        if self.composes {
            key = Cow::Owned(decomposed(&key));
        }
        if self.folds {
            key = Cow::Owned(folded(&key));
        }
        if self.composes && self.folds {
            // Of some letters the capital is composed otherwise.
            key = Cow::Owned(decomposed(&key));
        }
        key
    }

    /// Of the names that a folder lists, that of what was called `name`; the very name first.
    pub fn listed_as<'a>(
        self,
        name: &str,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Option<&'a str> {
        let key = self.key(name.as_bytes());
        let mut alike = None;
        for listed in names {
            if listed == name {
                return Some(listed);
            }
            if alike.is_none() && self.key(listed.as_bytes()) == key {
                alike = Some(listed);
            }
        }
        alike
    }
}

/// What names mean to this system itself, as far as no disk is asked: what was typed.
pub const TYPED: Naming = Naming {
    folds: cfg!(any(windows, target_vendor = "apple")),
    composes: cfg!(target_vendor = "apple"),
};

/// A path with each letter taken apart (NFD), where it is text.
fn decomposed(path: &[u8]) -> Vec<u8> {
    mapped(path, |text| text.nfd().collect())
}

/// A path with each letter in one piece (NFC), where it is text.
pub fn composed(path: &[u8]) -> Vec<u8> {
    mapped(path, |text| text.nfc().collect())
}

/// A path without the difference between capitals, letter by letter as disks compare: `ß` is not `ss`.
fn folded(path: &[u8]) -> Vec<u8> {
    mapped(path, |text| text.chars().map(|letter| lower(upper(letter))).collect())
}

fn upper(letter: char) -> char {
    one(letter.to_uppercase()).unwrap_or(letter)
}

fn lower(letter: char) -> char {
    one(letter.to_lowercase()).unwrap_or(letter)
}

/// What is one letter and not several.
fn one(mut letters: impl Iterator<Item = char>) -> Option<char> {
    letters.next().filter(|_| letters.next().is_none())
}

/// The text in a path, changed; what is no text stays.
fn mapped(path: &[u8], change: impl Fn(&str) -> String) -> Vec<u8> {
    let mut mapped = Vec::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        mapped.extend_from_slice(change(chunk.valid()).as_bytes());
        mapped.extend_from_slice(chunk.invalid());
    }
    mapped
}

/// Whether Windows takes a name for a device: opening it may wait for ever.
pub fn is_device(name: &str) -> bool {
    windows_name(name.as_bytes()).is_some_and(|held| held.strip_prefix('_') == Some(name))
}

/// Whether a system keeps what has this name at the top of a disk for itself: what it mended or indexed there, what it
/// swapped out, and what was thrown away. Some of it nobody may read.
pub fn is_of_the_disk(name: &OsStr) -> bool {
    const EXACT: [&str; 7] = [
        "lost+found",
        ".Trash",
        ".Trashes",
        ".Spotlight-V100",
        ".fseventsd",
        ".DocumentRevisions-V100",
        ".TemporaryItems",
    ];
    const OF_WINDOWS: [&str; 6] = [
        "$RECYCLE.BIN",
        "RECYCLER",
        "System Volume Information",
        "pagefile.sys",
        "swapfile.sys",
        "hiberfil.sys",
    ];
    // `.Trash-1000` has what the user of that number has thrown away.
    let is_bin = |name: &str| {
        let user = name.strip_prefix(".Trash-");
        user.is_some_and(|user| !user.is_empty() && user.bytes().all(|byte| byte.is_ascii_digit()))
    };
    name.to_str().is_some_and(|name| {
        EXACT.contains(&name)
            || OF_WINDOWS.iter().any(|held| held.eq_ignore_ascii_case(name))
            || is_bin(name)
    })
}

/// A path as Windows' programs write it, of one that the system has made literal: `\\?\C:\x` is
/// `C:\x`, and `\\?\UNC\server\share` is `\\server\share`. Nothing for any other path.
///
/// What opens files here puts the prefix before a long path by itself, and one that is there already
/// is taken for a part of a relative path on network shares.
pub fn plain(path: &str) -> Option<String> {
    let rest = path.strip_prefix(r"\\?\")?;
    if let Some(share) = rest.strip_prefix(r"UNC\") {
        return Some(format!(r"\\{share}"));
    }
    let mut bytes = rest.bytes();
    let is_drive = bytes.next().is_some_and(|letter| letter.is_ascii_alphabetic())
        && bytes.next() == Some(b':')
        && matches!(bytes.next(), None | Some(b'\\'));
    is_drive.then(|| rest.to_owned())
}

/// The name of what has none on Windows: the letter of a drive, `\\server\share` as `share`.
pub fn root_name(path: &str) -> Option<String> {
    let path = plain(path).unwrap_or_else(|| path.to_owned());
    let path = path.replace('/', r"\");
    let trimmed = path.trim_end_matches('\\');
    if let Some(share) = trimmed.strip_prefix(r"\\") {
        let (server, share) = share.split_once('\\')?;
        return (!server.is_empty() && !share.contains('\\')).then(|| share.to_owned());
    }
    let letter = trimmed.strip_suffix(':')?;
    let is_letter = letter.len() == 1 && letter.bytes().all(|byte| byte.is_ascii_alphabetic());
    is_letter.then(|| letter.to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systems_keep_on_disks() {
        for (name, expected) in [
            ("$RECYCLE.BIN", true),
            ("$Recycle.Bin", true),
            ("System Volume Information", true),
            ("lost+found", true),
            (".Trashes", true),
            (".trashes", false),
            (".Trash-1000", true),
            (".Trash-", false),
            (".Trash-old", false),
            ("trash", false),
            ("System Volume", false),
            ("photos", false),
        ] {
            assert_eq!(is_of_the_disk(OsStr::new(name)), expected, "{name}");
        }
    }

    const LINUX: Naming = Naming { folds: false, composes: false };
    const WINDOWS: Naming = Naming { folds: true, composes: false };
    const MACOS: Naming = Naming { folds: true, composes: true };

    #[test]
    fn twins_are_what_a_disk_takes_for_one() {
        // Two names; whether they are one on Windows, and on macOS.
        let cases = [
            ("a", "a", true, true),
            ("a", "A", true, true),
            ("d/ä", "D/Ä", true, true),
            ("caf\u{e9}", "cafe\u{301}", false, true),
            ("CAF\u{c9}", "cafe\u{301}", false, true),
            ("stra\u{df}e", "strasse", false, false),
            ("\u{3c3}", "\u{3c2}", true, true),
            ("a", "b", false, false),
            ("\u{212b}", "\u{c5}", true, true),
        ];
        for (one, other, windows, macos) in cases {
            let same = |naming: Naming| naming.key(one.as_bytes()) == naming.key(other.as_bytes());
            assert_eq!((same(WINDOWS), same(MACOS)), (windows, macos), "{one} {other}");
            assert_eq!(same(LINUX), one == other);
        }
        assert!(WINDOWS.has_twins() && MACOS.has_twins() && !LINUX.has_twins());
    }

    #[test]
    fn letters_are_composed_as_git_does() {
        let cases: [(&[u8], &[u8]); 3] = [
            ("d/cafe\u{301}".as_bytes(), "d/caf\u{e9}".as_bytes()),
            ("caf\u{e9}".as_bytes(), "caf\u{e9}".as_bytes()),
            (b"e\xcc\x81\xff", b"\xc3\xa9\xff"),
        ];
        for (path, expected) in cases {
            assert_eq!(composed(path), expected);
        }
    }

    #[test]
    fn what_was_typed_is_called_as_it_is_listed() {
        let names = || ["SUB", "caf\u{e9}", "x", "X"];
        let cases = [
            ("sub", Some("SUB"), Some("SUB")),
            ("SUB", Some("SUB"), Some("SUB")),
            ("X", Some("X"), Some("X")),
            ("cafe\u{301}", None, Some("caf\u{e9}")),
            ("gone", None, None),
        ];
        for (typed, windows, macos) in cases {
            assert_eq!(WINDOWS.listed_as(typed, names()), windows);
            assert_eq!(MACOS.listed_as(typed, names()), macos);
        }
        assert_eq!(LINUX.listed_as("sub", names()), None);
    }

    #[test]
    fn devices_are_known() {
        for name in ["con", "COM1", "aux.txt", "nul", "LPT\u{b9}.log", "CONOUT$"] {
            assert!(is_device(name), "{name}");
        }
        for name in ["console", "com", "com10", "_con", "a:b", "x.con", "con:x"] {
            assert!(!is_device(name), "{name}");
        }
    }

    #[test]
    fn literal_paths_are_made_plain() {
        let cases = [
            (r"\\?\C:\Users\me", Some(r"C:\Users\me")),
            (r"\\?\C:", Some("C:")),
            (r"\\?\UNC\server\share\x", Some(r"\\server\share\x")),
            (r"\\?\Volume{0-1}\x", None),
            (r"C:\Users", None),
            (r"\\server\share", None),
            ("/home", None),
        ];
        for (path, expected) in cases {
            assert_eq!(plain(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn drives_and_shares_have_names() {
        let cases = [
            (r"D:\", Some("D")),
            ("d:/", Some("D")),
            (r"\\?\D:\", Some("D")),
            (r"\\server\share", Some("share")),
            (r"\\server\share\", Some("share")),
            (r"\\?\UNC\server\share\", Some("share")),
            (r"\\server\share\x", None),
            (r"\\server", None),
            ("/", None),
            (r"C:\x", None),
        ];
        for (path, expected) in cases {
            assert_eq!(root_name(path).as_deref(), expected, "{path}");
        }
    }
}
