//! The only form in which a name from the other side exists here.
//!
//! A [`RelPath`] stays inside the folder it is joined to, or there is none: [`RelPath::parse`] takes
//! text, [`RelPath::from_bytes`] whatever Unix takes for a name. Everything that writes takes a
//! `RelPath`, so that forgetting the check does not compile. Names are refused, never repaired; and
//! nothing but its `Display`, which escapes, makes a text of one for people.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ffi::OsStr;
use std::path::Path;
use std::{fmt, io};

use crate::bounds::{MAX_NAME, MAX_PATH};
use crate::error::shown_bytes;
use crate::files::mapping::{folded, windows_holds};

/// A relative path of one or more plain names joined by `/`.
///
/// Its names are bytes, not always text: see [`is_text`]. Its order is that of a tree walked with
/// each folder sorted by name: a folder, then all that is in it, then its next sibling.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RelPath(Box<[u8]>);

/// Why a name or a link's target is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No bytes, or nothing between two slashes.
    #[error("it has an empty part")]
    Empty,
    /// Starts with `/` or with a Windows drive.
    #[error("it is absolute")]
    Absolute,
    /// Has a part `.` or `..`.
    #[error("it has a part \".\" or \"..\"")]
    Dots,
    /// Holds a control character where only text may be; NUL anywhere.
    #[error("it has a control character")]
    Control,
    /// Longer than [`MAX_PATH`] or with a part longer than [`MAX_NAME`].
    #[error("it is too long")]
    Long,
    /// Not valid UTF-8 where only text may be.
    #[error("it is not valid UTF-8")]
    NotUtf8,
    /// A link whose target is not inside the tree that is sent.
    #[error("it points out of the tree")]
    Outside,
}

impl RelPath {
    /// Checks a path that is to be text without control characters.
    pub fn parse(path: &str) -> Result<Self, PathError> {
        let checked = Self::from_bytes(path.as_bytes())?;
        if is_text(path.as_bytes()) { Ok(checked) } else { Err(PathError::Control) }
    }

    /// Checks a path of any bytes.
    pub fn from_bytes(path: &[u8]) -> Result<Self, PathError> {
        check(path)?;
        Ok(Self(path.into()))
    }

    /// The path of `name` inside this folder.
    pub fn join(&self, name: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let name = name.as_ref();
        names(name).try_for_each(check_name)?;
        Self::of(&self.0, name)
    }

    /// The same folder, another last name.
    pub fn with_name(&self, name: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let name = name.as_ref();
        let Some(parent) = self.parent() else { return Self::from_bytes(name) };
        names(name).try_for_each(check_name)?;
        Self::of(parent, name)
    }

    /// A path inside a folder, both checked, in one piece of memory.
    fn of(folder: &[u8], name: &[u8]) -> Result<Self, PathError> {
        let len = folder.len() + 1 + name.len();
        if len > MAX_PATH {
            return Err(PathError::Long);
        }
        let mut joined = Vec::with_capacity(len);
        joined.extend_from_slice(folder);
        joined.push(b'/');
        joined.extend_from_slice(name);
        Ok(Self(joined.into()))
    }

    /// The path as it travels.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it travels as text.
    pub fn is_text(&self) -> bool {
        is_text(&self.0)
    }

    /// The path as a text that is not escaped, with U+FFFD for what is not UTF-8: for programs,
    /// never for a screen.
    pub fn to_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The names from the top down.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> + Clone {
        names(&self.0)
    }

    /// What it is on a disk that takes names of other capitals for the same, as far as Unicode's
    /// own capitals tell.
    pub fn folded(&self) -> Vec<u8> {
        folded(&self.0)
    }

    /// The path of the folder it is in, or nothing at the top.
    pub fn parent(&self) -> Option<&[u8]> {
        split_last(&self.0).0
    }

    /// The paths of the folders around it, the nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::successors(self.parent(), |path| split_last(path).0)
    }

    /// The last name.
    pub fn name(&self) -> &[u8] {
        split_last(&self.0).1
    }

    /// The first name: what the sender named on its command line.
    pub fn top(&self) -> &[u8] {
        self.names().next().unwrap_or_default()
    }

    /// Whether this path lies somewhere inside `folder`.
    pub fn is_inside(&self, folder: &RelPath) -> bool {
        self.0.strip_prefix(&*folder.0).is_some_and(|rest| rest.starts_with(b"/"))
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> Ordering {
        // As no name holds a NUL, that for the slash sorts a folder's content right behind the
        // folder.
        let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
        self.0.iter().map(key).cmp(other.0.iter().map(key))
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// Safe to show on a terminal.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown_bytes(&self.0))
    }
}

/// Whether a path or a link's target travels as text: it is UTF-8 and has no control character.
pub fn is_text(bytes: &[u8]) -> bool {
    // Most are ASCII.
    bytes.iter().all(|byte| matches!(byte, b' '..=b'~'))
        || str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(char::is_control))
}

/// The names between the slashes of a path.
pub fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    path.split(is_slash as fn(&u8) -> bool)
}

/// A name or a path as this system's calls take it; nothing where that system's names are no bytes
/// and these are no text.
#[cfg(unix)]
pub fn native(bytes: &[u8]) -> Option<&OsStr> {
    Some(std::os::unix::ffi::OsStrExt::from_bytes(bytes))
}

/// The same where names are text.
#[cfg(not(unix))]
pub fn native(bytes: &[u8]) -> Option<&OsStr> {
    str::from_utf8(bytes).ok().map(OsStr::new)
}

/// The same for a call. Every name that a call gets goes through here, so that Windows is never asked
/// for `con`, which is a device, nor for `x.`, which it takes for `x`.
///
/// # Errors
/// `InvalidFilename` where there is none, or where Windows would take it for something else.
pub fn at(bytes: &[u8]) -> io::Result<&Path> {
    let held = native(bytes).filter(|_| !cfg!(windows) || windows_holds(bytes));
    held.map(Path::new).ok_or(io::ErrorKind::InvalidFilename.into())
}

/// The bytes of a name of this system.
///
/// # Errors
/// Its names are no bytes, and this one is no text.
#[cfg(unix)]
pub fn of_native(name: &OsStr) -> Result<&[u8], PathError> {
    Ok(std::os::unix::ffi::OsStrExt::as_bytes(name))
}

/// The same where names are text, or nearly.
#[cfg(not(unix))]
pub fn of_native(name: &OsStr) -> Result<&[u8], PathError> {
    name.to_str().map(str::as_bytes).ok_or(PathError::NotUtf8)
}

/// The same to be told of: of what has no bytes, those of the text that is nearest.
pub fn told(path: &Path) -> Cow<'_, [u8]> {
    match of_native(path.as_os_str()) {
        Ok(bytes) => Cow::Borrowed(bytes),
        Err(_) => Cow::Owned(path.to_string_lossy().into_owned().into()),
    }
}

fn is_slash(byte: &u8) -> bool {
    *byte == b'/'
}

/// The folder around what a path names, if there is one, and the last name.
fn split_last(path: &[u8]) -> (Option<&[u8]>, &[u8]) {
    match path.iter().rposition(is_slash).and_then(|at| path.split_at_checked(at)) {
        Some((parent, name)) => (Some(parent), name.get(1..).unwrap_or_default()),
        None => (None, path),
    }
}

fn check(path: &[u8]) -> Result<(), PathError> {
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    if path.len() > MAX_PATH {
        return Err(PathError::Long);
    }
    if is_absolute(path) {
        return Err(PathError::Absolute);
    }
    names(path).try_for_each(check_name)
}

/// One component: what every Unix can tell apart from a path.
fn check_name(name: &[u8]) -> Result<(), PathError> {
    match name {
        b"" => Err(PathError::Empty),
        b"." | b".." => Err(PathError::Dots),
        _ if name.len() > MAX_NAME => Err(PathError::Long),
        _ if name.contains(&0) => Err(PathError::Control),
        _ => Ok(()),
    }
}

/// Begins at the top of a disk: with a slash, a backslash or a drive.
pub(super) fn is_absolute(path: &[u8]) -> bool {
    matches!(path, [b'/' | b'\\', ..]) || has_drive(path)
}

/// `C:`, `C:/x` and `C:\x`; a file called `a:b` has none.
fn has_drive(path: &[u8]) -> bool {
    match path {
        [letter, b':'] | [letter, b':', b'/' | b'\\', ..] => letter.is_ascii_alphabetic(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_is_asked_for_nothing_that_it_takes_for_something_else() {
        for name in ["con", "COM1.txt", "d/nul", "a:b", "x.", "x ", "q?"] {
            let refused = at(name.as_bytes()).map_err(|error| error.kind());
            let expected = if cfg!(windows) {
                Err(io::ErrorKind::InvalidFilename)
            } else {
                Ok(Path::new(name))
            };
            assert_eq!(refused, expected, "{name}");
        }
        for name in ["console", ".", "..", "d/e.txt", ".x"] {
            assert_eq!(at(name.as_bytes()).unwrap(), Path::new(name));
        }
    }

    #[test]
    fn names_are_accepted_or_refused() {
        let long = "n".repeat(255);
        let too_long = "n".repeat(256);
        let deep = "d/".repeat(2048);
        let cases: &[(&str, Result<(), PathError>)] = &[
            ("a", Ok(())),
            ("a/b/c.txt", Ok(())),
            ("a..b", Ok(())),
            ("..a", Ok(())),
            ("...", Ok(())),
            (" leading and trailing ", Ok(())),
            ("a:b", Ok(())),
            ("back\\slash", Ok(())),
            ("grüße/日本.txt", Ok(())),
            (&long, Ok(())),
            ("", Err(PathError::Empty)),
            ("a//b", Err(PathError::Empty)),
            ("a/", Err(PathError::Empty)),
            ("/a", Err(PathError::Absolute)),
            ("\\\\server\\share", Err(PathError::Absolute)),
            ("\\a", Err(PathError::Absolute)),
            ("C:", Err(PathError::Absolute)),
            ("C:\\x", Err(PathError::Absolute)),
            ("c:/x", Err(PathError::Absolute)),
            ("..", Err(PathError::Dots)),
            ("../x", Err(PathError::Dots)),
            ("a/../../x", Err(PathError::Dots)),
            ("a/./b", Err(PathError::Dots)),
            ("a\0b", Err(PathError::Control)),
            ("a\nb", Err(PathError::Control)),
            ("a\u{1b}[2Jb", Err(PathError::Control)),
            ("a\u{85}b", Err(PathError::Control)),
            (&too_long, Err(PathError::Long)),
            (&deep, Err(PathError::Empty)),
        ];
        for (path, expected) in cases {
            assert_eq!(RelPath::parse(path).map(drop), *expected, "{path:?}");
        }
    }

    #[test]
    fn names_of_bytes_are_accepted_or_refused() {
        // A path, whether it is one, and whether it travels as text.
        let cases: &[(&[u8], Result<bool, PathError>)] = &[
            (b"a/b", Ok(true)),
            ("gr\u{fc}\u{df}e".as_bytes(), Ok(true)),
            (b"latin-\xe9", Ok(false)),
            (b"d\xff/e", Ok(false)),
            (b"Icon\r", Ok(false)),
            (b"line\nbreak/\ttab", Ok(false)),
            (b"\x1b[2J", Ok(false)),
            (b"del\x7f", Ok(false)),
            ("c1\u{9b}".as_bytes(), Ok(false)),
            // Overlong forms and surrogates are no text, and no slash or dot either.
            (b"\xc0\xaf\xc0\xae\xc0\xae", Ok(false)),
            (b"\xed\xa0\x80", Ok(false)),
            (b"..\xff", Ok(false)),
            (b"\xff/..", Err(PathError::Dots)),
            (b"\n/./x", Err(PathError::Dots)),
            (b"\xff//x", Err(PathError::Empty)),
            (b"/\xff", Err(PathError::Absolute)),
            (b"\\\xff", Err(PathError::Absolute)),
            (b"C:/\xff", Err(PathError::Absolute)),
            (b"a\0b", Err(PathError::Control)),
            (b"\xff\0", Err(PathError::Control)),
            (&[0xff; 255], Ok(false)),
            (&[0xff; 256], Err(PathError::Long)),
            (&[0xff; 4097], Err(PathError::Long)),
        ];
        for (path, expected) in cases {
            let parsed = RelPath::from_bytes(path);
            assert_eq!(parsed.as_ref().map(RelPath::is_text).map_err(|it| *it), *expected);
            if let Ok(parsed) = parsed {
                assert_eq!(parsed.as_bytes(), *path);
                assert!(!parsed.to_string().contains(char::is_control), "{parsed}");
            }
        }
    }

    #[test]
    fn paths_are_put_together_as_they_are_checked() {
        let folder = RelPath::from_bytes(b"d/\xe9").unwrap();
        let joined = |name: &[u8]| folder.join(name).map(|it| it.as_bytes().to_vec());
        assert_eq!(joined(b"\n"), Ok(b"d/\xe9/\n".to_vec()));
        for name in [&b".."[..], b"../x", b"x/../../..", b"", b"/etc", b"a\0"] {
            assert!(joined(name).is_err() && folder.with_name(name).is_err(), "{name:?}");
        }
        assert_eq!(folder.with_name("x").unwrap().as_bytes(), b"d/x");
        assert_eq!(folder.join("n".repeat(256)), Err(PathError::Long));
        assert_eq!(
            (folder.parent(), folder.name(), folder.top()),
            (Some(&b"d"[..]), &b"\xe9"[..], &b"d"[..])
        );
        assert_eq!(folder.to_string(), "d/\\xe9");
        assert_eq!(folder.to_lossy(), "d/\u{fffd}");
    }

    #[test]
    fn a_folder_sorts_right_before_its_content() {
        let sorted = [
            &b"a"[..],
            b"a/b",
            b"a/b/c",
            b"a/b-c",
            b"a\n",
            b"a\n/b",
            b"a b",
            b"a-b",
            b"a.b",
            b"a\xff",
            b"b",
        ];
        let path = |path: &&[u8]| RelPath::from_bytes(path).unwrap();
        let mut paths: Vec<_> = sorted.iter().map(path).collect();
        paths.reverse();
        paths.sort();
        let paths: Vec<_> = paths.iter().map(RelPath::as_bytes).collect();
        assert_eq!(paths, sorted);
    }
}
