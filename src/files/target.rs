//! Where a symbolic link leads, as it stands in the link.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use super::mapping::windows_holds;
use super::path::{PathError, RelPath, is_absolute, is_text, names, native};
use crate::bounds::MAX_PATH;
use crate::error::shown_bytes;

/// A link's target: any bytes, which [`link_top`] has still to agree to.
#[derive(Clone, PartialEq, Eq)]
pub struct Target(Box<[u8]>);

impl Target {
    /// The target as it travels.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it travels as text.
    pub fn is_text(&self) -> bool {
        is_text(&self.0)
    }

    /// The target as this system's calls take it; nothing where they cannot.
    pub fn native(&self) -> Option<&OsStr> {
        native(&self.0)
    }

    /// Whether a link on the disk has this target.
    pub fn is(&self, found: &Path) -> bool {
        self.native().is_some_and(|target| Path::new(target) == found)
    }
}

impl From<&[u8]> for Target {
    fn from(target: &[u8]) -> Self {
        Self(target.into())
    }
}

impl From<&str> for Target {
    fn from(target: &str) -> Self {
        target.as_bytes().into()
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// Safe to show on a terminal.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown_bytes(&self.0))
    }
}

/// Checks a link's target: relative, and inside the tree whatever else the tree holds.
///
/// `..` may stand only at the front, where it climbs real folders: behind a name it would climb
/// out of wherever that name, perhaps a link itself, leads. Returns the name of the top-level
/// entry in which the link leads, `None` for the folder that holds them all.
pub fn link_top<'a>(link: &'a RelPath, target: &'a Target) -> Result<Option<&'a [u8]>, PathError> {
    let target = target.as_bytes();
    if target.is_empty() {
        return Err(PathError::Empty);
    }
    if target.len() > MAX_PATH {
        return Err(PathError::Long);
    }
    if is_absolute(target) {
        return Err(PathError::Outside);
    }
    if target.contains(&0) {
        return Err(PathError::Control);
    }
    let mut depth = link.names().count() - 1;
    let mut first = None;
    for name in names(target) {
        match name {
            b"" | b"." => {}
            b".." if first.is_some() || depth == 0 => return Err(PathError::Outside),
            b".." => depth -= 1,
            name => first = first.or(Some(name)),
        }
    }
    Ok(if depth == 0 { first } else { Some(link.top()) })
}

/// Whether Windows takes every name of a link's target for one name, and for that one: a `\` climbs
/// there, `C:x` is on another drive, and the space of `.. ` falls away.
pub fn windows_link_is_safe(target: &Target) -> bool {
    windows_holds(target.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside() {
        let cases: &[(&str, &[u8], Result<Option<&str>, PathError>)] = &[
            ("t/link", b"file", Ok(Some("t"))),
            ("t/d/link", b"../file", Ok(Some("t"))),
            ("t/d/link", b"./x/y", Ok(Some("t"))),
            ("t/link", b"..", Ok(None)),
            ("t/link", b"../u/file", Ok(Some("u"))),
            ("link", b"u/file", Ok(Some("u"))),
            ("link", b".", Ok(None)),
            ("t/link", b"../../etc", Err(PathError::Outside)),
            ("link", b"..", Err(PathError::Outside)),
            ("t/link", b"/etc/passwd", Err(PathError::Outside)),
            ("t/link", b"x/../../..", Err(PathError::Outside)),
            ("t/link", b"x/..", Err(PathError::Outside)),
            ("t/link", b"C:\\x", Err(PathError::Outside)),
            ("t/link", b"C:", Err(PathError::Outside)),
            ("t/link", b"\\x", Err(PathError::Outside)),
            // Names like any other, whatever the system: what Windows makes of them is its affair.
            ("t/link", b"C:x", Ok(Some("t"))),
            ("t/link", b"back\\slash", Ok(Some("t"))),
            ("t/link", b"x\\..\\..\\..\\etc", Ok(Some("t"))),
            ("link", b"..\\x", Ok(Some("..\\x"))),
            ("t/link", b"a\nb/\xff", Ok(Some("t"))),
            ("t/link", b"../\xff\0", Err(PathError::Control)),
            ("t/link", b"\xff/..", Err(PathError::Outside)),
            ("t/link", b"/\xff", Err(PathError::Outside)),
            ("t/link", &[0xff; 4097], Err(PathError::Long)),
            ("t/link", b"", Err(PathError::Empty)),
        ];
        for (link, target, expected) in cases {
            let (link, target) = (RelPath::parse(link).unwrap(), Target::from(*target));
            let expected = expected.map(|top| top.map(str::as_bytes));
            assert_eq!(link_top(&link, &target), expected, "{link} -> {target}");
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
            "line\nbreak",
        ];
        for target in safe {
            assert!(windows_link_is_safe(&target.into()), "{target:?}");
        }
        assert!(!windows_link_is_safe(&b"d/\xff"[..].into()));
        for target in unsafe_ones {
            assert!(!windows_link_is_safe(&target.into()), "{target:?}");
        }
    }
}
