//! What to do with each entry of an offer: computed as a value, then asked about, then done.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::bounds::MAX_NAME;
use crate::files::manifest::{Entry, Kind, Manifest};
use crate::files::path::{self, RelPath};
use crate::files::root::{Found, Root};
use crate::receive::lock::{self, Known, Remembered};
use crate::receive::places::Places;

/// What an entry meets on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meets {
    /// Nothing.
    Nothing,
    /// What it would become: a folder, a link with this target, a file of this size and time.
    Itself,
    /// A file that an interrupted run of this program put there, untouched since.
    Ours,
    /// What looks like itself, but is to be compared or had anew.
    Doubted,
    /// A file or link that it could replace.
    Replaceable,
    /// Something else.
    Obstacle,
    /// Its own name: this system cannot hold it, or it belongs to the lock.
    Unholdable,
}

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

/// A file that is where another one would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Old {
    /// Its bytes.
    pub size: u64,
    /// Its time of last change, in nanoseconds since 1970 UTC.
    pub mtime: i64,
    /// Whether what is offered was changed later.
    pub is_outdated: bool,
}

/// What will happen to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is made at its place.
    Create,
    /// It is made, and what is at its place goes.
    Replace,
    /// It is there already.
    Keep,
    /// It is not wanted.
    Skip,
    /// It would be made, but there is no name left for it.
    Impossible,
}

/// What the entries of a manifest meet, in their order.
#[derive(Debug, Default)]
pub struct Survey {
    meets: Vec<Meets>,
    /// Where an earlier run put entries that could not go to their own place.
    places: Places,
    /// Files that only lack the mode that was offered.
    remode: Vec<u32>,
    /// Files where other files would go.
    old: BTreeMap<u32, Old>,
}

/// What will happen to each entry, in their order, and under which name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    actions: Vec<Action>,
    places: Places,
    remode: Vec<u32>,
}

impl Survey {
    /// Looks at every place an entry would go to, though not into folders that do not exist.
    pub fn new(manifest: &Manifest, remembered: &Remembered, root: &mut Root) -> Self {
        let root = RefCell::new(root);
        Self::with(
            manifest,
            remembered,
            |path| root.borrow_mut().look(path),
            || lock::probe_name().map_or(1, |name| root.borrow_mut().time_grain(&name)),
        )
    }

    fn with(
        manifest: &Manifest,
        remembered: &Remembered,
        mut look: impl FnMut(&RelPath) -> Found,
        mut grain: impl FnMut() -> i64,
    ) -> Self {
        let mut meets = Vec::with_capacity(manifest.entries().len());
        let (mut remode, mut old) = (Vec::new(), BTreeMap::new());
        // The last folder that is not there or not a folder: all in it meets nothing.
        let mut absent: Option<&RelPath> = None;
        for (index, entry) in manifest.indexed() {
            let moved = remembered.places.own(index).is_some();
            let inside_absent = absent.is_some_and(|folder| entry.path.is_inside(folder));
            let met = match unholdable(entry).filter(|_| !moved) {
                Some(met) => met,
                None if inside_absent => Meets::Nothing,
                None => {
                    let found = look(&remembered.places.of(index, entry));
                    let met = compare(entry, &found, remembered.files.get(&index), &mut grain);
                    if let Found::File { mode: Some(mode), .. } = found
                        && met == Meets::Itself
                        && mode != entry.mode & 0o777
                    {
                        remode.push(index);
                    }
                    if let (Found::File { size, mtime, .. }, Kind::File(_)) = (found, &entry.kind)
                        && met == Meets::Replaceable
                    {
                        let is_outdated =
                            mtime < entry.mtime && !same_time(entry.mtime, mtime, &mut grain);
                        old.insert(index, Old { size, mtime, is_outdated });
                    }
                    met
                }
            };
            if entry.kind == Kind::Folder && met != Meets::Itself && !inside_absent {
                absent = Some(&entry.path);
            }
            meets.push(met);
        }
        Self { meets, places: remembered.places.clone(), remode, old }
    }

    /// Takes no file that is there already for granted; those that an interrupted run put there
    /// are as good as not there.
    pub fn doubt_files(&mut self, manifest: &Manifest, remembered: &Remembered) {
        for (meets, (index, entry)) in self.meets.iter_mut().zip(manifest.indexed()) {
            if *meets == Meets::Itself && entry.is_file() {
                let ours = remembered.files.contains_key(&index);
                *meets = if ours { Meets::Ours } else { Meets::Doubted };
            }
        }
    }

    /// Where the entry of this index is looked for.
    pub fn place<'a>(&'a self, index: u32, entry: &'a Entry) -> Cow<'a, RelPath> {
        self.places.of(index, entry)
    }

    /// How many files are there already.
    pub fn files_here(&self, manifest: &Manifest) -> u64 {
        let entries = manifest.entries().iter().zip(&self.meets);
        entries.filter(|(entry, meets)| entry.is_file() && **meets == Meets::Itself).count() as u64
    }

    /// The entries that would need a decision, each with the file that is there, if it is two
    /// files that meet.
    pub fn conflicts<'a>(
        &'a self,
        manifest: &'a Manifest,
    ) -> impl Iterator<Item = (&'a Entry, Option<&'a Old>)> {
        manifest.indexed().zip(&self.meets).filter_map(|((index, entry), meets)| {
            let is_conflict = matches!(meets, Meets::Replaceable | Meets::Obstacle);
            is_conflict.then(|| (entry, self.old.get(&index)))
        })
    }
}

fn unholdable(entry: &Entry) -> Option<Meets> {
    let unholdable = cfg!(windows) && path::windows_name(entry.path.name()).is_some();
    (unholdable || lock::is_reserved(&entry.path)).then_some(Meets::Unholdable)
}

/// Whether a file on the disk has the time that it was given. `grain` tells what the file system
/// rounds times down to, in nanoseconds; it is asked only when that can matter.
fn same_time(given: i64, found: i64, grain: &mut impl FnMut() -> i64) -> bool {
    const COARSEST: i64 = 2_000_000_000;
    let near = |lost| (0..COARSEST).contains(&lost);
    given == found
        || given.checked_sub(found).is_some_and(near)
            && given.checked_sub(given.rem_euclid(grain().max(1))) == Some(found)
}

fn compare(
    entry: &Entry,
    found: &Found,
    known: Option<&Known>,
    grain: &mut impl FnMut() -> i64,
) -> Meets {
    match (&entry.kind, found) {
        (_, Found::Nothing) => Meets::Nothing,
        (Kind::Folder, Found::Folder) => Meets::Itself,
        (Kind::File(size), Found::File { size: old, mtime, .. })
            if size == old && same_time(entry.mtime, *mtime, grain) =>
        {
            Meets::Itself
        }
        (Kind::File(_), Found::File { size, mtime, .. })
            if known.is_some_and(|known| {
                let same = |given| same_time(given, *mtime, grain);
                known.size == *size && known.mtime.is_some_and(same)
            }) =>
        {
            Meets::Ours
        }
        (Kind::Link(target), Found::Link(old)) if Path::new(&**target) == old => Meets::Itself,
        (Kind::File(_) | Kind::Link(_), Found::File { .. } | Found::Link(_)) => Meets::Replaceable,
        _ => Meets::Obstacle,
    }
}

impl Plan {
    /// Decides every entry. `taken` tells whether a name is used on the disk.
    pub fn new(
        manifest: &Manifest,
        survey: &Survey,
        policy: OnConflict,
        mut taken: impl FnMut(&RelPath) -> bool,
    ) -> Self {
        let mut plan = Self { remode: survey.remode.clone(), ..Self::default() };
        let mut names = BTreeSet::new();
        // The folders around the entry that were skipped or renamed: path offered, place taken.
        let mut moved: Vec<(&RelPath, Option<RelPath>)> = Vec::new();
        for ((index, entry), meets) in manifest.indexed().zip(&survey.meets) {
            while moved.last().is_some_and(|(folder, _)| !entry.path.is_inside(folder)) {
                moved.pop();
            }
            let mut own = survey.places.own(index).cloned();
            let mut action = match (meets, policy) {
                (Meets::Nothing, _) => Action::Create,
                (Meets::Itself, _) => Action::Keep,
                (Meets::Ours, _) => Action::Replace,
                (Meets::Doubted, OnConflict::Skip | OnConflict::Newer) => Action::Keep,
                (Meets::Replaceable | Meets::Doubted, OnConflict::Overwrite) => Action::Replace,
                (Meets::Replaceable | Meets::Obstacle, OnConflict::Skip) => Action::Skip,
                (Meets::Replaceable, OnConflict::Newer) => match survey.old.get(&index) {
                    Some(old) if old.is_outdated => Action::Replace,
                    Some(_) => Action::Skip,
                    None => Action::Create,
                },
                _ => Action::Create,
            };
            // Where it goes with the folder around it.
            let mut inside = None;
            match moved.last() {
                Some((_, None)) => action = Action::Skip,
                Some((_, Some(folder))) if own.is_none() => match folder.join(entry.path.name()) {
                    Ok(place) => inside = Some(place),
                    Err(_) => action = Action::Impossible,
                },
                _ => {}
            }
            if action == Action::Create && *meets != Meets::Nothing {
                // A place of an earlier run that is taken now is not numbered once more.
                own = free_name(inside.as_ref().unwrap_or(&entry.path), |path| {
                    taken(path) || names.contains(path) || manifest.find(path).is_some()
                });
                if own.is_none() {
                    action = Action::Impossible;
                }
            }
            if entry.kind == Kind::Folder {
                let absent = matches!(action, Action::Skip | Action::Impossible);
                let place = own.clone().or(inside);
                if place.is_some() || absent {
                    moved.push((&entry.path, place.filter(|_| !absent)));
                }
            }
            plan.actions.push(action);
            if let Some(place) = own {
                names.insert(place.clone());
                plan.places.insert(index, entry, place);
            }
        }
        plan
    }

    /// What happens to the entry of this index.
    pub fn action(&self, index: u32) -> Option<Action> {
        self.actions.get(usize::try_from(index).ok()?).copied()
    }

    /// The actions in order.
    pub fn actions(&self) -> impl Iterator<Item = (u32, Action)> {
        (0u32..).zip(self.actions.iter().copied())
    }

    /// Where the entry of this index goes.
    pub fn place<'a>(&'a self, index: u32, entry: &'a Entry) -> Cow<'a, RelPath> {
        self.places.of(index, entry)
    }

    /// Notes that an entry had to go elsewhere after all.
    pub fn move_to(&mut self, index: u32, entry: &Entry, place: RelPath) {
        if *self.place(index, entry) != place {
            self.places.insert(index, entry, place);
        }
    }

    /// Files that are here and only lack the mode that was offered.
    pub fn remode(&self) -> &[u32] {
        &self.remode
    }

    /// The folders that are to be made, and those that an interrupted run has made. All others
    /// were there before.
    pub fn made(&self, manifest: &Manifest, remembered: &Remembered) -> BTreeSet<u32> {
        let folders = self.actions().zip(manifest.entries());
        let folders = folders.filter(|(_, entry)| entry.kind == Kind::Folder);
        let made = folders.filter(|((index, action), _)| match action {
            Action::Create => true,
            Action::Keep => remembered.made.contains(index),
            _ => false,
        });
        made.map(|((index, _), _)| index).collect()
    }

    /// The entries that go elsewhere than offered.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The entries that go elsewhere than offered, by themselves and not because of a folder
    /// that they are in.
    pub fn renamed<'a>(
        &'a self,
        manifest: &'a Manifest,
    ) -> impl Iterator<Item = (&'a RelPath, &'a RelPath)> {
        self.places.iter().filter_map(|(index, place)| {
            let entry = manifest.get(index)?;
            (entry.path.name() != place.name()).then_some((&entry.path, place))
        })
    }
}

/// `name (1).ext`, or the first number that is free.
pub fn free_name(path: &RelPath, mut taken: impl FnMut(&RelPath) -> bool) -> Option<RelPath> {
    let mapped = if cfg!(windows) { path::windows_name(path.name()) } else { None };
    if let Some(name) = &mapped
        && let Ok(candidate) = path.with_name(name)
        && !taken(&candidate)
    {
        return Some(candidate);
    }
    let name = mapped.as_deref().unwrap_or(path.name());
    // A leading dot begins the name of a hidden file, not an extension.
    let dot = name.char_indices().skip(1).filter(|(_, c)| *c == '.').last();
    let (stem, extension) = dot.map_or((name, ""), |(at, _)| name.split_at(at));
    (1..10_000u32).find_map(|number| {
        let mark = format!(" ({number})");
        let mut end = stem.len().min(MAX_NAME.saturating_sub(mark.len() + extension.len()));
        while !stem.is_char_boundary(end) {
            end -= 1;
        }
        let candidate = format!("{}{mark}{extension}", stem.get(..end)?);
        path.with_name(&candidate).ok().filter(|candidate| !taken(candidate))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(entries: &[(&str, Kind)]) -> Manifest {
        let mut manifest = Manifest::default();
        for (path, kind) in entries {
            let path = RelPath::parse(path).unwrap();
            manifest.push(Entry { path, kind: kind.clone(), mode: 0o644, mtime: 5 }).unwrap();
        }
        manifest
    }

    fn same_file(size: u64) -> Found {
        Found::File { size, mtime: 5, mode: None }
    }

    /// Offered entries, what is on the disk, and for each policy the actions and places.
    #[test]
    fn every_meeting_has_its_action() {
        use Action::{Create, Keep, Replace, Skip};
        use Kind::{File, Folder, Link};
        let other = Found::File { size: 9, mtime: 9, mode: None };
        let link = |target: &str| Found::Link(target.into());
        #[rustfmt::skip]
        let cases: Vec<(&str, Vec<(&str, Kind)>, Vec<(&str, Found)>, [Vec<(Action, &str)>; 3])> = vec![
            ("fresh", vec![("a", File(1))], vec![],
                [vec![(Create, "a")], vec![(Create, "a")], vec![(Create, "a")]]),
            ("the same file", vec![("a", File(1))], vec![("a", same_file(1))],
                [vec![(Keep, "a")], vec![(Keep, "a")], vec![(Keep, "a")]]),
            ("another file", vec![("a.txt", File(1))], vec![("a.txt", other.clone())],
                [vec![(Create, "a (1).txt")], vec![(Skip, "a.txt")], vec![(Replace, "a.txt")]]),
            ("the next name is taken too", vec![("a", File(1))], vec![("a", other.clone()), ("a (1)", other.clone())],
                [vec![(Create, "a (2)")], vec![(Skip, "a")], vec![(Replace, "a")]]),
            ("the next name is offered too", vec![("a", File(1)), ("a (1)", File(1))], vec![("a", other.clone())],
                [vec![(Create, "a (2)"), (Create, "a (1)")], vec![(Skip, "a"), (Create, "a (1)")], vec![(Replace, "a"), (Create, "a (1)")]]),
            ("same link", vec![("l", Link("t".into()))], vec![("l", link("t"))],
                [vec![(Keep, "l")], vec![(Keep, "l")], vec![(Keep, "l")]]),
            ("another link", vec![("l", Link("t".into()))], vec![("l", link("u"))],
                [vec![(Create, "l (1)")], vec![(Skip, "l")], vec![(Replace, "l")]]),
            ("folders merge", vec![("d", Folder), ("d/a", File(1)), ("d/b", File(2))], vec![("d", Found::Folder), ("d/a", other.clone()), ("d/b", same_file(2))],
                [vec![(Keep, "d"), (Create, "d/a (1)"), (Keep, "d/b")],
                 vec![(Keep, "d"), (Skip, "d/a"), (Keep, "d/b")],
                 vec![(Keep, "d"), (Replace, "d/a"), (Keep, "d/b")]]),
            ("a file where a folder goes", vec![("d", Folder), ("d/a", File(1))], vec![("d", other.clone())],
                [vec![(Create, "d (1)"), (Create, "d (1)/a")],
                 vec![(Skip, "d"), (Skip, "d/a")],
                 vec![(Create, "d (1)"), (Create, "d (1)/a")]]),
            ("a link where a folder goes", vec![("d", Folder), ("d/e", Folder), ("d/e/a", File(1)), ("f", File(1))], vec![("d", link("elsewhere"))],
                [vec![(Create, "d (1)"), (Create, "d (1)/e"), (Create, "d (1)/e/a"), (Create, "f")],
                 vec![(Skip, "d"), (Skip, "d/e"), (Skip, "d/e/a"), (Create, "f")],
                 vec![(Create, "d (1)"), (Create, "d (1)/e"), (Create, "d (1)/e/a"), (Create, "f")]]),
            ("a folder where a file goes is never replaced", vec![("a", File(1))], vec![("a", Found::Folder)],
                [vec![(Create, "a (1)")], vec![(Skip, "a")], vec![(Create, "a (1)")]]),
            ("a pipe where a file goes", vec![("a", File(1))], vec![("a", Found::Other)],
                [vec![(Create, "a (1)")], vec![(Skip, "a")], vec![(Create, "a (1)")]]),
        ];
        for (name, entries, disk, expected) in cases {
            let manifest = manifest(&entries);
            let look = |path: &RelPath| {
                let found = disk.iter().find(|(at, _)| *at == path.as_str());
                found.map_or(Found::Nothing, |(_, found)| found.clone())
            };
            let survey = Survey::with(&manifest, &Remembered::default(), look, || 1);
            let policies = [OnConflict::Rename, OnConflict::Skip, OnConflict::Overwrite];
            for (policy, expected) in policies.into_iter().zip(expected) {
                let plan =
                    Plan::new(&manifest, &survey, policy, |path| look(path) != Found::Nothing);
                let planned: Vec<_> = plan
                    .actions()
                    .zip(manifest.entries())
                    .map(|((index, action), entry)| (action, plan.place(index, entry)))
                    .collect();
                let planned: Vec<_> =
                    planned.iter().map(|(action, place)| (*action, place.as_str())).collect();
                assert_eq!(planned, expected, "{name}, {policy:?}");
            }
        }
    }

    /// What is there, and what becomes of a file of 1 byte that was changed at 5 s.
    #[test]
    fn of_two_files_the_newer_is_kept() {
        const S: i64 = 1_000_000_000;
        let file = |size, mtime| Found::File { size, mtime, mode: None };
        let mut offered = Manifest::default();
        let path = RelPath::parse("a").unwrap();
        offered.push(Entry { path, kind: Kind::File(1), mode: 0o644, mtime: 5 * S + 7 }).unwrap();
        #[rustfmt::skip]
        let cases = [
            ("older", file(9, 4 * S), 1, Action::Replace, "a"),
            ("older, of the same size", file(1, 4 * S), 1, Action::Replace, "a"),
            ("newer", file(9, 6 * S), 1, Action::Skip, "a"),
            ("changed at the same time", file(9, 5 * S + 7), 1, Action::Skip, "a"),
            ("at the same time as the disk keeps it", file(9, 5 * S), S, Action::Skip, "a"),
            ("the same", file(1, 5 * S + 7), 1, Action::Keep, "a"),
            ("a link", Found::Link("b".into()), 1, Action::Create, "a (1)"),
            ("a folder", Found::Folder, 1, Action::Create, "a (1)"),
            ("nothing", Found::Nothing, 1, Action::Create, "a"),
        ];
        for (name, found, grain, action, place) in cases {
            let look = |path: &RelPath| match path.as_str() {
                "a" => found.clone(),
                _ => Found::Nothing,
            };
            let survey = Survey::with(&offered, &Remembered::default(), look, || grain);
            let taken = |path: &RelPath| look(path) != Found::Nothing;
            let plan = Plan::new(&offered, &survey, OnConflict::Newer, taken);
            let entry = offered.get(0).unwrap();
            let planned = (plan.action(0).unwrap(), plan.place(0, entry).as_str().to_owned());
            assert_eq!(planned, (action, place.into()), "{name}");
        }
    }

    #[test]
    fn free_names_keep_the_extension_and_fit() {
        let long = format!("{}.txt", "é".repeat(125));
        let cases = [
            ("a", "a (1)"),
            ("a.txt", "a (1).txt"),
            ("d/a.tar.gz", "d/a.tar (1).gz"),
            (".hidden", ".hidden (1)"),
            (".hidden.txt", ".hidden (1).txt"),
            (&long, &format!("{} (1).txt", "é".repeat(123))),
        ];
        for (path, expected) in cases {
            let free = free_name(&RelPath::parse(path).unwrap(), |_| false);
            assert_eq!(free.unwrap().as_str(), expected);
        }
    }

    #[test]
    fn folders_that_are_absent_are_not_looked_into() {
        let manifest = manifest(&[
            ("d", Kind::Folder),
            ("d/e", Kind::Folder),
            ("d/e/f", Kind::File(1)),
            ("d/g", Kind::File(1)),
            ("h", Kind::File(1)),
        ]);
        let mut looked = Vec::new();
        let look = |path: &RelPath| {
            looked.push(path.as_str().to_owned());
            Found::Nothing
        };
        Survey::with(&manifest, &Remembered::default(), look, || 1);
        assert_eq!(looked, ["d", "h"]);
    }

    /// A time given, the time found, what the disk rounds down to, and whether they are the same.
    #[test]
    fn times_are_compared_as_the_disk_keeps_them() {
        const S: i64 = 1_000_000_000;
        let cases = [
            (5, 5, 1, true),
            (5 * S + 123_456_789, 5 * S + 123_456_789, 2 * S, true),
            (5 * S + 123_456_789, 5 * S + 123_456_700, 100, true),
            (5 * S + 123_456_789, 5 * S + 120_000_000, 10_000_000, true),
            (5 * S + 123_456_789, 4 * S, 2 * S, true),
            (-5 * S - 1, -6 * S, 2 * S, true),
            (5 * S + 123_456_789, 5 * S + 123_456_700, 1, false),
            (5 * S + 123_456_789, 5 * S, 100, false),
            (5 * S, 5 * S + 1, 2 * S, false),
            (9 * S, 5 * S, 2 * S, false),
            (i64::MIN, i64::MAX, 2 * S, false),
            (i64::MAX, i64::MIN, 2 * S, false),
            (i64::MIN, i64::MIN + 1, 2 * S, false),
        ];
        for (given, found, grain, same) in cases {
            assert_eq!(same_time(given, found, &mut || grain), same, "{given} {found} {grain}");
        }
        // Far apart or equal, the disk is not asked.
        for (given, found) in [(5, 5), (5 * S, S), (S, 5 * S)] {
            same_time(given, found, &mut || panic!("asked"));
        }
    }

    /// A second run after an interruption: what the lock remembers, what is on the disk, and
    /// where each entry goes then, whatever the policy.
    #[test]
    fn an_interrupted_run_is_taken_up_where_it_was() {
        use Action::{Create, Keep, Replace, Skip};
        use Kind::{File, Folder};
        let known = |size, mtime| Known { size, mtime: Some(mtime), part: None, completed: true };
        let other = Found::File { size: 9, mtime: 9, mode: None };
        let entries = [("a", File(1)), ("d", Folder), ("d/b", File(2))];
        let manifest = manifest(&entries);
        #[rustfmt::skip]
        let cases: Vec<(&str, Vec<(u32, Known)>, Vec<(u32, &str)>, Vec<(&str, Found)>, OnConflict, Vec<(Action, &str)>)> = vec![
            ("finished before", vec![(0, known(1, 5))], vec![], vec![("a", same_file(1))], OnConflict::Rename,
                vec![(Keep, "a"), (Create, "d"), (Create, "d/b")]),
            ("the source has changed since", vec![(0, known(1, 4))], vec![], vec![("a", Found::File { size: 1, mtime: 4, mode: None })], OnConflict::Rename,
                vec![(Replace, "a"), (Create, "d"), (Create, "d/b")]),
            ("somebody else has changed it since", vec![(0, known(1, 4))], vec![], vec![("a", other.clone())], OnConflict::Rename,
                vec![(Create, "a (1)"), (Create, "d"), (Create, "d/b")]),
            ("kept beside an older file", vec![(0, known(1, 5))], vec![(0, "a (1)")], vec![("a", other.clone()), ("a (1)", same_file(1))], OnConflict::Rename,
                vec![(Keep, "a (1)"), (Create, "d"), (Create, "d/b")]),
            ("meant to go beside an older file", vec![(0, known(1, 5))], vec![(0, "a (1)")], vec![("a", other.clone())], OnConflict::Rename,
                vec![(Create, "a (1)"), (Create, "d"), (Create, "d/b")]),
            ("its other name was taken meanwhile", vec![(0, known(1, 5))], vec![(0, "a (1)")], vec![("a", other.clone()), ("a (1)", other.clone())], OnConflict::Rename,
                vec![(Create, "a (2)"), (Create, "d"), (Create, "d/b")]),
            ("its other name was taken, and both are to be skipped", vec![], vec![(0, "a (1)")], vec![("a (1)", other.clone())], OnConflict::Skip,
                vec![(Skip, "a (1)"), (Create, "d"), (Create, "d/b")]),
            ("a folder beside an older file", vec![(2, known(2, 5))], vec![(1, "d (1)")],
                vec![("d", other.clone()), ("d (1)", Found::Folder), ("d (1)/b", same_file(2))], OnConflict::Rename,
                vec![(Create, "a"), (Keep, "d (1)"), (Keep, "d (1)/b")]),
        ];
        for (name, files, renamed, disk, policy, expected) in cases {
            let mut places = Places::default();
            for (at, to) in renamed {
                places.insert(at, manifest.get(at).unwrap(), RelPath::parse(to).unwrap());
            }
            let remembered =
                Remembered { files: files.into_iter().collect(), places, ..Remembered::default() };
            let look = |path: &RelPath| {
                let found = disk.iter().find(|(at, _)| *at == path.as_str());
                found.map_or(Found::Nothing, |(_, found)| found.clone())
            };
            let survey = Survey::with(&manifest, &remembered, look, || 1);
            let plan = Plan::new(&manifest, &survey, policy, |path| look(path) != Found::Nothing);
            let planned: Vec<_> = plan
                .actions()
                .zip(manifest.entries())
                .map(|((index, action), entry)| (action, plan.place(index, entry)))
                .collect();
            let planned: Vec<_> =
                planned.iter().map(|(action, place)| (*action, place.as_str())).collect();
            assert_eq!(planned, expected, "{name}");
        }
    }
}
