//! What was agreed to about names that are taken: an answer holds for what was shown, and for
//! nothing that conflicts only later.

use std::collections::BTreeMap;

use crate::files::folder::Found;
use crate::files::path::RelPath;

/// What to do about an entry that meets something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// Keep both: the new one becomes `name (1).ext`.
    Rename,
    /// Keep the old one.
    Skip,
    /// Keep the new one. Never at the price of a folder: then both are kept.
    Overwrite,
    /// Of two files keep the one that was changed last, the old one if both were at once. What has
    /// no such time is kept beside the other.
    Newer,
}

/// What happens to existing files.
#[derive(Debug, Clone)]
pub struct Policy {
    /// To all that nobody was asked about.
    otherwise: OnConflict,
    answers: BTreeMap<RelPath, Answer>,
}

/// What was answered about a name.
#[derive(Debug, Clone)]
struct Answer {
    /// What was there when it was asked.
    shown: Option<Found>,
    what: OnConflict,
}

impl From<OnConflict> for Policy {
    fn from(otherwise: OnConflict) -> Self {
        Self { otherwise, answers: BTreeMap::new() }
    }
}

impl Policy {
    /// What happens to what was `found` at this path.
    pub fn of(&self, path: &RelPath, found: Option<&Found>) -> OnConflict {
        self.answer(path, found).unwrap_or(self.otherwise)
    }

    /// What was answered about it, if it was shown as it is now.
    pub fn answer(&self, path: &RelPath, found: Option<&Found>) -> Option<OnConflict> {
        let answer = self.answers.get(path)?;
        let same = match (&answer.shown, found) {
            (Some(shown), Some(found)) => found.is_still(shown),
            (None, None) => true,
            _ => false,
        };
        same.then_some(answer.what)
    }

    /// Notes an answer about what was shown.
    pub fn agree(&mut self, path: &RelPath, found: Option<&Found>, answer: OnConflict) {
        let answer = Answer { shown: found.cloned(), what: answer };
        self.answers.insert(path.clone(), answer);
    }

    /// Whether anything may be overwritten.
    pub fn overwrites(&self) -> bool {
        let answers = self.answers.values().map(|answer| answer.what);
        answers.chain([self.otherwise]).any(|answer| answer == OnConflict::Overwrite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::stamp::Stamp;

    #[test]
    fn an_answer_holds_for_what_was_shown() {
        let path = |path| RelPath::parse(path).unwrap();
        let file = |size, mtime| Found::File(Stamp { number: 7, size, mtime, ..Stamp::default() });
        let mut policy = Policy::from(OnConflict::Rename);
        policy.agree(&path("readme.txt"), Some(&file(1, 2)), OnConflict::Overwrite);
        policy.agree(&path("folder"), None, OnConflict::Skip);
        let cases = [
            ("readme.txt", Some(file(1, 2)), OnConflict::Overwrite),
            ("readme.txt", Some(file(1, 3)), OnConflict::Rename),
            ("readme.txt", Some(file(9, 2)), OnConflict::Rename),
            ("readme.txt", None, OnConflict::Rename),
            ("thesis.tex", Some(file(1, 2)), OnConflict::Rename),
            ("folder", None, OnConflict::Skip),
        ];
        for (name, found, expected) in cases {
            assert_eq!(policy.of(&path(name), found.as_ref()), expected, "{name} {found:?}");
        }
        assert!(policy.overwrites());
        assert!(!Policy::from(OnConflict::Rename).overwrites());
    }
}
