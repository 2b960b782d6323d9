//! Other names for entries whose own is taken: `name (1).ext`, or the first number that is free.

use std::collections::HashMap;

use crate::files::path::{self, RelPath};

/// Numbers that are tried.
const MAX_NUMBER: u32 = 10_000;
/// Bytes of the longest mark, ` (9999)`. Every number leaves as much of a long name.
const MARK: usize = 7;

/// Finds names, with work that does not grow with how many were found before.
#[derive(Debug, Default)]
pub struct Names {
    /// Of a name without its mark, the number to try next.
    next: HashMap<String, u32>,
}

impl Names {
    /// The first name for `path`, of at most `longest` bytes, that `serves`.
    pub fn find(
        &mut self,
        path: &RelPath,
        longest: usize,
        mut serves: impl FnMut(&RelPath) -> bool,
    ) -> Option<RelPath> {
        let mapped = if cfg!(windows) { path::windows_name(path.name()) } else { None };
        if let Some(name) = &mapped
            && let Ok(candidate) = path.with_name(name)
            && serves(&candidate)
        {
            return Some(candidate);
        }
        let name = mapped.as_deref().unwrap_or(path.name());
        // A leading dot begins the name of a hidden file, not an extension.
        let dot = name.char_indices().skip(1).filter(|(_, c)| *c == '.').last();
        let (stem, extension) = dot.map_or((name, ""), |(at, _)| name.split_at(at));
        let mut end = stem.len().min(longest.saturating_sub(MARK + extension.len()));
        while !stem.is_char_boundary(end) {
            end -= 1;
        }
        let stem = stem.get(..end)?;
        let parent = path.parent().unwrap_or_default();
        let next = self.next.entry(format!("{parent}/{stem}/{extension}")).or_insert(1);
        for number in *next..MAX_NUMBER {
            let candidate = path.with_name(&format!("{stem} ({number}){extension}")).ok()?;
            *next = number + 1;
            if serves(&candidate) {
                return Some(candidate);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(names: &mut Names, path: &str, longest: usize) -> String {
        let found = names.find(&RelPath::parse(path).unwrap(), longest, |_| true);
        found.unwrap().as_str().to_owned()
    }

    #[test]
    fn free_names_keep_the_extension_and_fit() {
        let long = format!("{}.txt", "é".repeat(125));
        let cases = [
            ("a", 255, "a (1)"),
            ("a.txt", 255, "a (1).txt"),
            ("d/a.tar.gz", 255, "d/a.tar (1).gz"),
            (".hidden", 255, ".hidden (1)"),
            (".hidden.txt", 255, ".hidden (1).txt"),
            (&long, 255, &format!("{} (1).txt", "é".repeat(122))),
            (&long, 143, &format!("{} (1).txt", "é".repeat(66))),
        ];
        for (path, longest, expected) in cases {
            assert_eq!(find(&mut Names::default(), path, longest), expected);
        }
    }

    #[test]
    fn names_that_are_cut_alike_do_not_try_each_others_numbers() {
        let mut names = Names::default();
        let mut tried = 0;
        for end in 0..2000 {
            let path = RelPath::parse(&format!("{}{end:04}", "x".repeat(250))).unwrap();
            let found = names.find(&path, 255, |_| {
                tried += 1;
                true
            });
            assert!(found.unwrap().name().len() <= 255);
        }
        assert_eq!(tried, 2000);
        // Others are not concerned.
        assert_eq!(find(&mut names, "a", 255), "a (1)");
        assert_eq!(find(&mut names, "a", 255), "a (2)");
        assert_eq!(find(&mut names, "d/a", 255), "d/a (1)");
    }
}
