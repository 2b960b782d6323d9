//! The only form in which a name from the other side exists here.
//!
//! [`RelPath::parse`] gives a name that stays inside the folder it is joined to, or an error.
//! Everything that writes takes a `RelPath`, so that forgetting the check does not compile.
//! Names are refused, never repaired.

use crate::bounds::{MAX_NAME, MAX_PATH};

use std::cmp::Ordering;
use std::fmt;

/// A relative path of one or more plain names joined by `/`.
///
/// Its order is that of a tree walked with each folder sorted by name: a folder, then all that
/// is in it, then its next sibling.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RelPath(Box<str>);

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
    /// Holds a control character, NUL among them.
    #[error("it has a control character")]
    Control,
    /// Longer than [`MAX_PATH`] or with a part longer than [`MAX_NAME`].
    #[error("it is too long")]
    Long,
    /// Not valid UTF-8.
    #[error("it is not valid UTF-8")]
    NotUtf8,
    /// A link whose target is not inside the tree that is sent.
    #[error("it points out of the tree")]
    Outside,
}

impl RelPath {
    /// Checks a path as the other side wrote it.
    pub fn parse(path: &str) -> Result<Self, PathError> {
        if path.is_empty() {
            return Err(PathError::Empty);
        }
        if path.len() > MAX_PATH {
            return Err(PathError::Long);
        }
        if path.starts_with('/') || path.starts_with('\\') || has_drive(path) {
            return Err(PathError::Absolute);
        }
        for name in path.split('/') {
            check_name(name)?;
        }
        Ok(Self(path.into()))
    }

    /// The path of `name` inside this folder.
    pub fn join(&self, name: &str) -> Result<Self, PathError> {
        check_name(name)?;
        let joined = format!("{}/{name}", self.0);
        if joined.len() > MAX_PATH {
            return Err(PathError::Long);
        }
        Ok(Self(joined.into()))
    }

    /// The same folder, another last name.
    pub fn with_name(&self, name: &str) -> Result<Self, PathError> {
        match self.parent() {
            Some(parent) => Self::parse(&format!("{parent}/{name}")),
            None => Self::parse(name),
        }
    }

    /// The path as it travels.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names from the top down.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// What it is on a disk that takes names of other capitals for the same, as far as Unicode's
    /// own capitals tell.
    pub fn folded(&self) -> String {
        folded(self.as_str())
    }

    /// The path of the folder it is in, or nothing at the top.
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// The paths of the folders around it, the nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(self.parent(), |path| Some(path.rsplit_once('/')?.0))
    }

    /// The last name.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// The first name: what the sender named on its command line.
    pub fn top(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(top, _)| top)
    }

    /// Whether this path lies somewhere inside `folder`.
    pub fn is_inside(&self, folder: &RelPath) -> bool {
        self.0.strip_prefix(&*folder.0).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> Ordering {
        // As no name holds a byte below the space, NUL for the slash sorts a folder's content
        // right behind the folder.
        let key = |byte: u8| if byte == b'/' { 0 } else { byte };
        self.0.bytes().map(key).cmp(other.0.bytes().map(key))
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Safe to show on a terminal.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::error::shown(&self.0))
    }
}

/// Checks a link's target: relative, and inside the tree whatever else the tree holds.
///
/// `..` may stand only at the front, where it climbs real folders: behind a name it would climb
/// out of wherever that name, perhaps a link itself, leads. Returns the name of the top-level
/// entry in which the link leads, `None` for the folder that holds them all.
pub fn link_top<'a>(link: &'a RelPath, target: &'a str) -> Result<Option<&'a str>, PathError> {
    if target.is_empty() {
        return Err(PathError::Empty);
    }
    if target.len() > MAX_PATH {
        return Err(PathError::Long);
    }
    if target.starts_with(['/', '\\']) || has_drive(target) {
        return Err(PathError::Outside);
    }
    if target.chars().any(char::is_control) {
        return Err(PathError::Control);
    }
    let mut depth = link.names().count() - 1;
    let mut first = None;
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." if first.is_some() || depth == 0 => return Err(PathError::Outside),
            ".." => depth -= 1,
            name => first = first.or(Some(name)),
        }
    }
    Ok(if depth == 0 { first } else { Some(link.top()) })
}

/// Whether Windows takes every name of a link's target for one name, and for that one: a `\` climbs
/// there, `C:x` is on another drive, and the space of `.. ` falls away.
pub fn windows_link_is_safe(target: &str) -> bool {
    target.split('/').all(|name| matches!(name, "." | "..") || windows_name(name).is_none())
}

/// One component: what every system can tell apart from a path.
fn check_name(name: &str) -> Result<(), PathError> {
    match name {
        "" => Err(PathError::Empty),
        "." | ".." => Err(PathError::Dots),
        _ if name.len() > MAX_NAME => Err(PathError::Long),
        _ if name.chars().any(char::is_control) => Err(PathError::Control),
        _ => Ok(()),
    }
}

/// `C:`, `C:/x` and `C:\x`; a file called `a:b` has none.
fn has_drive(path: &str) -> bool {
    let mut bytes = path.bytes();
    bytes.next().is_some_and(|letter| letter.is_ascii_alphabetic())
        && bytes.next() == Some(b':')
        && matches!(bytes.next(), None | Some(b'/' | b'\\'))
}

/// A name that Windows can hold in the place of one that it cannot; nothing when it can.
///
/// Forbidden characters become `_`, as do dots and spaces at the end; a device's name gets a `_`
/// in front.
pub fn windows_name(name: &str) -> Option<String> {
    const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];
    let kept = name.trim_end_matches(['.', ' ']).len();
    let mut mapped: String = name
        .char_indices()
        .map(|(at, c)| match c {
            '<' | '>' | ':' | '"' | '|' | '?' | '*' | '\\' => '_',
            _ if at >= kept => '_',
            c => c,
        })
        .collect();
    let stem = mapped.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let numbered = stem.strip_prefix("com").or(stem.strip_prefix("lpt"));
    let numbered = numbered.is_some_and(|number| {
        matches!(
            number,
            "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³"
        )
    });
    if numbered || DEVICES.contains(&&*stem) {
        mapped.insert(0, '_');
    }
    (mapped != name).then_some(mapped)
}

/// A text without the difference between capitals: up and down again, for `ſ` is an `s`.
pub fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_folder_sorts_right_before_its_content() {
        let sorted = ["a", "a/b", "a/b/c", "a/b-c", "a b", "a-b", "a.b", "b"];
        let mut paths: Vec<_> = sorted.iter().map(|path| RelPath::parse(path).unwrap()).collect();
        paths.reverse();
        paths.sort();
        let paths: Vec<_> = paths.iter().map(RelPath::as_str).collect();
        assert_eq!(paths, sorted);
    }

    #[test]
    fn links_stay_inside() {
        let cases: &[(&str, &str, Result<Option<&str>, PathError>)] = &[
            ("t/link", "file", Ok(Some("t"))),
            ("t/d/link", "../file", Ok(Some("t"))),
            ("t/d/link", "./x/y", Ok(Some("t"))),
            ("t/link", "..", Ok(None)),
            ("t/link", "../u/file", Ok(Some("u"))),
            ("link", "u/file", Ok(Some("u"))),
            ("link", ".", Ok(None)),
            ("t/link", "../../etc", Err(PathError::Outside)),
            ("link", "..", Err(PathError::Outside)),
            ("t/link", "/etc/passwd", Err(PathError::Outside)),
            ("t/link", "x/../../..", Err(PathError::Outside)),
            ("t/link", "x/..", Err(PathError::Outside)),
            ("t/link", "C:\\x", Err(PathError::Outside)),
            ("t/link", "C:", Err(PathError::Outside)),
            ("t/link", "\\x", Err(PathError::Outside)),
            // Names like any other, whatever the system: what Windows makes of them is its affair.
            ("t/link", "C:x", Ok(Some("t"))),
            ("t/link", "back\\slash", Ok(Some("t"))),
            ("t/link", "x\\..\\..\\..\\etc", Ok(Some("t"))),
            ("link", "..\\x", Ok(Some("..\\x"))),
            ("t/link", "a\nb", Err(PathError::Control)),
            ("t/link", "", Err(PathError::Empty)),
        ];
        for (link, target, expected) in cases {
            let link = RelPath::parse(link).unwrap();
            assert_eq!(link_top(&link, target), *expected, "{link} -> {target}");
        }
    }

    #[test]
    fn link_targets_that_windows_reads_otherwise_are_known() {
        let safe = ["file", "../file", "./d//x", "..", ".", "d/", "..a/b", "grüße/日本.txt"];
        let unsafe_ones = [
            "..\\x",
            "d/x\\..\\..\\..\\y",
            "C:x",
            "d/C:x",
            "a:stream",
            "../.. /x",
            "d/.../x",
            "d/NUL",
            "com1",
            "x.",
            "what?",
        ];
        for target in safe {
            assert!(windows_link_is_safe(target), "{target:?}");
        }
        for target in unsafe_ones {
            assert!(!windows_link_is_safe(target), "{target:?}");
        }
    }

    #[test]
    fn names_that_windows_cannot_hold_are_mapped() {
        let cases = [
            ("plain.txt", None),
            ("a:b", Some("a_b")),
            ("back\\slash", Some("back_slash")),
            ("what?*", Some("what__")),
            ("dots..", Some("dots__")),
            ("space ", Some("space_")),
            ("NUL", Some("_NUL")),
            ("nul.txt", Some("_nul.txt")),
            ("com1", Some("_com1")),
            ("command", None),
            ("com10", None),
            ("null", None),
        ];
        for (name, expected) in cases {
            assert_eq!(windows_name(name).as_deref(), expected, "{name}");
        }
    }
}
