//! The list of what is sent, in one order that both sides check.
//!
//! Entries come in the strict order of [`RelPath`], each folder before what is in it and each
//! parent listed. That one rule excludes duplicates, and a file that is also a folder, without
//! keeping a set of names.

use std::borrow::Cow;

use super::path::{PathError, RelPath};
use super::target::{Target, link_top};

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file of so many bytes.
    File(u64),
    /// A regular file with holes: places where it holds zeros, and its disk nothing.
    Sparse {
        /// Its bytes, holes included.
        size: u64,
        /// Bytes of those that its disk holds, as far as could be told; at most `size`.
        stored: u64,
    },
    /// A folder.
    Folder,
    /// A symbolic link and its target, as it stands in the link.
    Link(Target),
}

/// One file, folder or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it goes.
    pub path: RelPath,
    /// What it is.
    pub kind: Kind,
    /// Permission bits as in `chmod` (0 to 0o7777).
    pub mode: u16,
    /// Time of the last change, in nanoseconds since 1970 UTC.
    pub mtime: i64,
}

impl Entry {
    /// Bytes of content; 0 for what is not a file.
    pub fn size(&self) -> u64 {
        match self.kind {
            Kind::File(size) | Kind::Sparse { size, .. } => size,
            Kind::Folder | Kind::Link(_) => 0,
        }
    }

    /// Whether it is a symbolic link.
    pub fn is_link(&self) -> bool {
        matches!(self.kind, Kind::Link(_))
    }

    /// Whether its path, and where it leads, travel as text.
    pub fn is_text(&self) -> bool {
        let target = if let Kind::Link(target) = &self.kind { target.is_text() } else { true };
        target && self.path.is_text()
    }

    /// Whether it has content to send.
    pub fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File(_) | Kind::Sparse { .. })
    }

    /// Whether it is a file with holes.
    pub fn is_sparse(&self) -> bool {
        matches!(self.kind, Kind::Sparse { .. })
    }

    /// The same for those who know no files with holes.
    pub fn without_holes(&self) -> Cow<'_, Self> {
        match self.kind {
            Kind::Sparse { size, .. } => {
                Cow::Owned(Self { kind: Kind::File(size), ..self.clone() })
            }
            _ => Cow::Borrowed(self),
        }
    }

    /// Bytes that its content takes on a disk that has holes.
    pub fn stored(&self) -> u64 {
        match self.kind {
            Kind::Sparse { stored, .. } => stored,
            _ => self.size(),
        }
    }
}

/// How many of what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Regular files.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links.
    pub links: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

/// Why an entry does not belong where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not behind the entry before it: a duplicate, or out of order.
    #[error("the entries are not in order")]
    Order,
    /// Its parent is missing or is not a folder.
    #[error("an entry is in a folder that is not listed")]
    Orphan,
    /// A link with a target that no honest sender offers.
    #[error("a link is not acceptable: {0}")]
    Link(PathError),
    /// More bytes than a 64-bit count holds.
    #[error("the sizes add up to more than can be counted")]
    Sizes,
}

/// Entries in order, and their totals.
#[derive(Debug, Default)]
pub struct Manifest {
    entries: Vec<Entry>,
    totals: Totals,
    /// The folders that lead to the last entry, by index.
    open: Vec<usize>,
}

impl Manifest {
    /// Appends an entry that belongs behind all others.
    pub fn push(&mut self, entry: Entry) -> Result<(), ManifestError> {
        if self.entries.last().is_some_and(|last| last.path >= entry.path) {
            return Err(ManifestError::Order);
        }
        while let Some(folder) = self.open.last().and_then(|index| self.entries.get(*index)) {
            if entry.path.is_inside(&folder.path) {
                break;
            }
            self.open.pop();
        }
        let parent = self.open.last().and_then(|index| self.entries.get(*index));
        if entry.path.parent() != parent.map(|folder| folder.path.as_bytes()) {
            return Err(ManifestError::Orphan);
        }
        match &entry.kind {
            Kind::File(size) | Kind::Sparse { size, .. } => {
                let bytes = self.totals.bytes.checked_add(*size);
                self.totals.bytes = bytes.ok_or(ManifestError::Sizes)?;
                self.totals.files += 1;
            }
            Kind::Folder => {
                self.totals.folders += 1;
                self.open.push(self.entries.len());
            }
            Kind::Link(target) => {
                link_top(&entry.path, target).map_err(ManifestError::Link)?;
                self.totals.links += 1;
            }
        }
        self.entries.push(entry);
        Ok(())
    }

    /// The entries in order; their position is their index on the wire.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of this index.
    pub fn get(&self, index: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(index).ok()?)
    }

    /// The entries with their indices.
    pub fn indexed(&self) -> impl DoubleEndedIterator<Item = (u32, &Entry)> {
        let index = |at| u32::try_from(at).unwrap_or(u32::MAX);
        self.entries.iter().enumerate().map(move |(at, entry)| (index(at), entry))
    }

    /// The index of the entry with this path.
    pub fn find(&self, path: &RelPath) -> Option<usize> {
        self.entries.binary_search_by(|entry| entry.path.cmp(path)).ok()
    }

    /// The entries alone.
    pub fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// How many of what.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The entries named on the sender's command line.
    pub fn tops(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.path.parent().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { path: RelPath::parse(path).unwrap(), kind, mode: 0o644, mtime: 0 }
    }

    #[test]
    fn order_parents_and_links_are_checked() {
        use Kind::{File, Folder, Link};
        let link = |target: &str| Link(target.into());
        let cases: Vec<(&str, Vec<(&str, Kind)>, Result<(), ManifestError>)> = vec![
            (
                "a tree",
                vec![("d", Folder), ("d/e", Folder), ("d/e/f", File(1)), ("g", File(2))],
                Ok(()),
            ),
            (
                "a sibling that sorts between",
                vec![("d", Folder), ("d/x", File(1)), ("d-x", File(2))],
                Ok(()),
            ),
            ("twice", vec![("a", File(1)), ("a", File(1))], Err(ManifestError::Order)),
            ("backwards", vec![("b", File(1)), ("a", File(1))], Err(ManifestError::Order)),
            ("orphan", vec![("a/b", File(1))], Err(ManifestError::Orphan)),
            ("in a file", vec![("a", File(1)), ("a/b", File(1))], Err(ManifestError::Orphan)),
            ("in a link", vec![("a", link("b")), ("a/b", File(1))], Err(ManifestError::Orphan)),
            (
                "a level left out",
                vec![("a", Folder), ("a/b/c", File(1))],
                Err(ManifestError::Orphan),
            ),
            ("link out", vec![("a", link("../b"))], Err(ManifestError::Link(PathError::Outside))),
            ("sizes", vec![("a", File(u64::MAX)), ("b", File(1))], Err(ManifestError::Sizes)),
        ];
        for (name, entries, expected) in cases {
            let mut manifest = Manifest::default();
            let result =
                entries.into_iter().try_for_each(|(path, kind)| manifest.push(entry(path, kind)));
            assert_eq!(result, expected, "{name}");
        }
    }

    #[test]
    fn totals_count() {
        let mut manifest = Manifest::default();
        for (path, kind) in [
            ("d", Kind::Folder),
            ("d/f", Kind::File(3)),
            ("d/g", Kind::File(4)),
            ("l", Kind::Link("d".into())),
        ] {
            manifest.push(entry(path, kind)).unwrap();
        }
        assert_eq!(manifest.totals(), Totals { files: 2, folders: 1, links: 1, bytes: 7 });
        let tops: Vec<_> = manifest.tops().map(|entry| entry.path.to_string()).collect();
        assert_eq!(tops, ["d", "l"]);
    }
}
