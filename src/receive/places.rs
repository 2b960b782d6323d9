//! Where entries go that cannot go where they were offered.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::files::manifest::{Entry, Kind};
use crate::files::path::RelPath;

/// Entries that have another place of their own. What is inside a folder that moved moves with
/// it and is not listed: a million files in a folder of another name cost no memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    own: BTreeMap<u32, RelPath>,
    /// The folders among them: path offered, place.
    folders: BTreeMap<Box<[u8]>, RelPath>,
}

impl Places {
    /// Gives an entry a place of its own.
    pub fn insert(&mut self, index: u32, entry: &Entry, place: RelPath) {
        if entry.kind == Kind::Folder {
            self.folders.insert(entry.path.as_bytes().into(), place.clone());
        }
        self.own.insert(index, place);
    }

    /// The place of an entry, its own one or the one inside a folder that moved.
    pub fn of<'a>(&'a self, index: u32, entry: &'a Entry) -> Cow<'a, RelPath> {
        match self.own.get(&index) {
            Some(place) => Cow::Borrowed(place),
            None if self.folders.is_empty() => Cow::Borrowed(&entry.path),
            None => self.inside(&entry.path).map_or(Cow::Borrowed(&entry.path), Cow::Owned),
        }
    }

    /// The place an entry has of its own.
    pub fn own(&self, index: u32) -> Option<&RelPath> {
        self.own.get(&index)
    }

    /// All that have one of their own.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u32, &RelPath)> {
        self.own.iter().map(|(index, place)| (*index, place))
    }

    /// Whether everything goes where it was offered.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    /// A path inside the nearest folder around it that moved.
    fn inside(&self, path: &RelPath) -> Option<RelPath> {
        let mut around = path.ancestors();
        let (folder, place) =
            around.find_map(|folder| Some((folder, self.folders.get(folder)?)))?;
        let behind = path.as_bytes().strip_prefix(folder)?.strip_prefix(b"/")?;
        place.join(behind).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inside_moves_with_its_folder() {
        let entry = |path: &str, kind| {
            let path = RelPath::parse(path).unwrap();
            Entry { path, kind, mode: 0o644, mtime: 0 }
        };
        let moved = [
            (0, "a", Kind::Folder, "a (1)"),
            (2, "a/c", Kind::Folder, "a (1)/c (1)"),
            (5, "b", Kind::File(1), "b (1)"),
        ];
        let mut places = Places::default();
        for (index, path, kind, place) in moved.iter().cloned() {
            places.insert(index, &entry(path, kind), RelPath::parse(place).unwrap());
        }
        let cases = [
            (0, "a", "a (1)"),
            (1, "a/b", "a (1)/b"),
            (2, "a/c", "a (1)/c (1)"),
            (3, "a/c/d/e", "a (1)/c (1)/d/e"),
            (4, "a b", "a b"),
            (5, "b", "b (1)"),
            (6, "b/x", "b/x"),
            (7, "ab/x", "ab/x"),
        ];
        for (index, path, place) in cases {
            let entry = entry(path, Kind::File(1));
            assert_eq!(places.of(index, &entry).to_string(), place, "{path}");
        }
        assert_eq!(places.iter().count(), moved.len());
    }
}
