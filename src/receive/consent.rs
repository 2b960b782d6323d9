//! What was agreed to about names that are taken: an answer holds for what was shown, and for
//! nothing that conflicts only later.

use std::collections::BTreeMap;

use super::plan::OnConflict;
use crate::files::path::RelPath;
use crate::files::root::Found;

/// What happens to existing files.
#[derive(Debug, Clone)]
pub struct Policy {
    /// To all that nobody was asked about.
    otherwise: OnConflict,
    answers: BTreeMap<RelPath, (Option<Found>, OnConflict)>,
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
        let (shown, answer) = self.answers.get(path)?;
        let same = match (shown, found) {
            (Some(shown), Some(found)) => found.is_still(shown),
            (None, None) => true,
            _ => false,
        };
        same.then_some(*answer)
    }

    /// Notes an answer about what was shown.
    pub fn agree(&mut self, path: &RelPath, found: Option<&Found>, answer: OnConflict) {
        self.answers.insert(path.clone(), (found.cloned(), answer));
    }

    /// Whether anything may be overwritten.
    pub fn overwrites(&self) -> bool {
        let answers = self.answers.values().map(|(_, answer)| *answer);
        answers.chain([self.otherwise]).any(|answer| answer == OnConflict::Overwrite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::disk::Stamp;

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
