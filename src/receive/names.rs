//! Other names for entries whose own is taken: `name (1).ext`, or the first number that is free.
//! None of them is one of the program's own.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::lock;
use crate::files::mapping::cut;
use crate::files::path::RelPath;

/// Numbers that are tried.
const MAX_NUMBER: u32 = 10_000;
/// Bytes of the longest mark, ` (9999)`. Every number leaves as much of a long name.
const MARK: usize = 7;

/// Finds names, with work that does not grow with how many were found before.
#[derive(Debug, Default)]
pub struct Names {
    /// Of a name without its mark, the number to try next.
    next: HashMap<Vec<u8>, u32>,
    /// Names that were found in the place of those that the disk cannot hold: what differs only in
    /// what is lost is still two. Capitals count for nothing, as there are disks where they do.
    mapped: HashSet<Vec<u8>>,
}

impl Names {
    /// The first name for `path`, of at most `longest` bytes, that `serves`. `mapped` is what the
    /// disk takes in the place of its own, if it cannot hold that.
    pub fn find(
        &mut self,
        path: &RelPath,
        (longest, mapped): (usize, Option<String>),
        mut serves: impl FnMut(&RelPath) -> bool,
    ) -> Option<RelPath> {
        let mapped = mapped.as_ref().map(|name| not_ours(name.as_bytes()));
        if let Some(name) = &mapped
            && let Ok(candidate) = path.with_name(name)
            && self.mapped.insert(candidate.folded())
            && serves(&candidate)
        {
            return Some(candidate);
        }
        let name = mapped.as_deref().unwrap_or(path.name());
        // A leading dot begins the name of a hidden file, not an extension.
        let dot = name.iter().rposition(|byte| *byte == b'.').filter(|at| *at > 0);
        let (stem, extension) = dot.map_or((name, &b""[..]), |at| name.split_at(at));
        let stem = not_ours(stem);
        let stem = cut(&stem, longest.saturating_sub(MARK + extension.len()));
        let parent = path.parent().unwrap_or_default();
        let key = [parent, stem, extension].join(&b'/');
        let next = self.next.entry(key).or_insert(1);
        for number in *next..MAX_NUMBER {
            let mark = format!(" ({number})");
            let candidate = path.with_name([stem, mark.as_bytes(), extension].concat()).ok()?;
            *next = number + 1;
            if serves(&candidate) {
                return Some(candidate);
            }
        }
        None
    }
}

/// A name, with a `_` in front where it would be one of the program's own, whatever comes behind.
fn not_ours(name: &[u8]) -> Cow<'_, [u8]> {
    match lock::is_reserved_name(name) {
        true => Cow::Owned([b"_", name].concat()),
        false => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(names: &mut Names, path: &str, longest: usize) -> String {
        let found = names.find(&RelPath::parse(path).unwrap(), (longest, None), |_| true);
        found.unwrap().to_string()
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
            let found = names.find(&path, (255, None), |_| {
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

    #[test]
    fn what_is_no_text_is_numbered_as_it_is() {
        let long = [0xff; 255];
        let cases: [(&[u8], &[u8]); 4] = [
            (b"caf\xe9", b"caf\xe9 (1)"),
            (b"\xe9.\xff", b"\xe9 (1).\xff"),
            (b"d\xe9/Icon\r", b"d\xe9/Icon\r (1)"),
            (&long, &[&[0xff; 248][..], b" (1)"].concat()),
        ];
        for (path, expected) in cases {
            let path = RelPath::from_bytes(path).unwrap();
            let found = Names::default().find(&path, (255, None), |_| true);
            assert_eq!(found.unwrap().as_bytes(), expected);
        }
    }

    /// In one folder, whatever their capitals.
    #[test]
    fn two_names_are_not_mapped_to_one() {
        let mut names = Names::default();
        let mut find = |path: &[u8], mapped: &str| {
            let path = RelPath::from_bytes(path).unwrap();
            names.find(&path, (255, Some(mapped.into())), |_| true).unwrap().to_string()
        };
        assert_eq!(find(b"\xe8", "_"), "_");
        assert_eq!(find(b"\xe9", "_"), "_ (1)");
        assert_eq!(find(b"d/\xe9", "_"), "d/_");
        assert_eq!(find(b"A\xe9.txt", "A_.txt"), "A_.txt");
        assert_eq!(find(b"a\xe9.txt", "a_.txt"), "a_ (1).txt");
    }

    /// A name, what the disk takes instead of it, and two names that are found one after the other.
    #[test]
    fn none_is_one_of_ours() {
        let cases: [(&[u8], Option<&str>, [&str; 2]); 7] = [
            (b".transfer_lock.json", None, [".transfer_lock (1).json", ".transfer_lock (2).json"]),
            (b".transfer_lock.a.b", None, ["_.transfer_lock.a (1).b", "_.transfer_lock.a (2).b"]),
            (b".Transfer_Lock.a.b", None, ["_.Transfer_Lock.a (1).b", "_.Transfer_Lock.a (2).b"]),
            (
                b".transfer\x01lock.1.json",
                Some(".transfer_lock.1.json"),
                ["_.transfer_lock.1.json", "_.transfer_lock.1 (1).json"],
            ),
            (
                b".transfer_lock.96.\xff",
                Some(".transfer_lock.96._"),
                ["_.transfer_lock.96._", "_.transfer_lock.96 (1)._"],
            ),
            (
                b".transfer_lock.\xff",
                Some(".transfer_lock._"),
                ["_.transfer_lock._", "_.transfer_lock (1)._"],
            ),
            (
                b"d/.transfer_lock.a.b",
                None,
                ["d/_.transfer_lock.a (1).b", "d/_.transfer_lock.a (2).b"],
            ),
        ];
        for (path, mapped, expected) in cases {
            let path = RelPath::from_bytes(path).unwrap();
            let mut names = Names::default();
            for expected in expected {
                let mut tried = 0;
                let found = names.find(&path, (255, mapped.map(Into::into)), |_| {
                    tried += 1;
                    true
                });
                assert_eq!(found.unwrap().to_string(), expected, "{path}");
                assert_eq!(tried, 1, "{path}");
            }
        }
    }
}
