use std::collections::HashSet;

use super::*;
use crate::files::mapping::as_text;
use crate::files::naming::Naming;
use crate::files::path::is_text;
use crate::receive::lock::{self, Known};

fn manifest(entries: &[(impl AsRef<[u8]>, Kind)]) -> Manifest {
    let mut manifest = Manifest::default();
    for (path, kind) in entries {
        let path = RelPath::from_bytes(path.as_ref()).unwrap();
        manifest.push(Entry { path, kind: kind.clone(), mode: 0o644, mtime: 5 }).unwrap();
    }
    manifest
}

fn file(size: u64, mtime: i64) -> Found {
    Found::File(Stamp { size, mtime, names: 1, ..Stamp::default() })
}

fn numbered(number: u64, size: u64, mtime: i64, names: u64) -> Found {
    Found::File(Stamp { number, size, mtime, names, ..Stamp::default() })
}

fn same_file(size: u64) -> Found {
    file(size, 5)
}

fn link(target: &str) -> Found {
    Found::Link(target.into(), Stamp::default())
}

/// A disk that is a list.
#[derive(Default)]
struct Fake {
    disk: Vec<(&'static str, Found)>,
    looked: Vec<String>,
    /// Whether names of other capitals are the same name.
    folds: bool,
    composes: bool,
    /// What it rounds times down to.
    grain: i64,
    largest: Option<u64>,
    takes_text_alone: bool,
}

impl Eyes for Fake {
    fn look(&mut self, path: &RelPath) -> Found {
        self.looked.push(path.to_string());
        let naming = self.naming();
        let key = naming.key(path.as_bytes());
        let found = self.disk.iter().find(|(at, _)| naming.key(at.as_bytes()) == key);
        found.map_or(Found::Nothing, |(_, found)| found.clone())
    }

    fn is_time(&self, given: i64, found: i64) -> bool {
        given.div_euclid(self.grain.max(1)) == found.div_euclid(self.grain.max(1))
    }

    fn lists(&mut self, path: &RelPath) -> bool {
        self.disk.iter().any(|(at, _)| at.as_bytes() == path.as_bytes())
    }

    fn folds_blindly(&self) -> bool {
        let blind = |(_, found): &(_, Found)| found.stamp().is_some_and(|it| it.number == 0);
        self.folds && self.disk.iter().any(blind)
    }

    fn naming(&self) -> Naming {
        Naming { folds: self.folds, composes: self.composes }
    }

    fn fits_everywhere(&self) -> u64 {
        self.largest.unwrap_or(u64::MAX)
    }

    fn largest_file(&mut self, _: &RelPath) -> u64 {
        self.largest.unwrap_or(u64::MAX)
    }

    fn is_part(&self, path: &RelPath) -> bool {
        path.name() == b"x.ours.part"
    }

    fn longest_name(&self) -> usize {
        255
    }

    fn mapped(&mut self, path: &RelPath) -> Option<String> {
        let refused = self.takes_text_alone && !is_text(path.name());
        refused.then(|| as_text(path.name()).into_owned())
    }
}

/// What is planned: actions and places.
fn planned(
    manifest: &Manifest,
    remembered: &Remembered,
    disk: &[(&'static str, Found)],
    policy: OnConflict,
    folds: bool,
) -> Vec<(Action, String)> {
    let mut fake = Fake { disk: disk.to_vec(), folds, ..Fake::default() };
    let survey = Survey::new(manifest, remembered, &mut fake);
    let plan = Plan::new(manifest, &survey, &policy.into(), &mut fake);
    let entries = plan.actions().zip(manifest.entries());
    entries.map(|((index, action), entry)| (action, plan.place(index, entry).to_string())).collect()
}

fn expect(planned: Vec<(Action, String)>, expected: &[(Action, &str)], name: &str) {
    let planned: Vec<_> = planned.iter().map(|(action, place)| (*action, place.as_str())).collect();
    assert_eq!(planned, expected, "{name}");
}

/// Offered entries, what is on the disk, and for each policy the actions and places.
#[test]
fn every_meeting_has_its_action() {
    use Action::{Create, Keep, Replace, Skip};
    use Kind::{File, Folder, Link};
    let other = file(9, 9);
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
        ("folders merge", vec![("d", Folder), ("d/a", File(1)), ("d/b", File(2))], vec![("d", Found::Folder(Stamp::default())), ("d/a", other.clone()), ("d/b", same_file(2))],
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
        ("a folder where a file goes is never replaced", vec![("a", File(1))], vec![("a", Found::Folder(Stamp::default()))],
            [vec![(Create, "a (1)")], vec![(Skip, "a")], vec![(Create, "a (1)")]]),
        ("a pipe where a file goes", vec![("a", File(1))], vec![("a", Found::Other)],
            [vec![(Create, "a (1)")], vec![(Skip, "a")], vec![(Create, "a (1)")]]),
    ];
    for (name, entries, disk, expected) in cases {
        let manifest = manifest(&entries);
        let policies = [OnConflict::Rename, OnConflict::Skip, OnConflict::Overwrite];
        for (policy, expected) in policies.into_iter().zip(expected) {
            let planned = planned(&manifest, &Remembered::default(), &disk, policy, false);
            expect(planned, &expected, &format!("{name}, {policy:?}"));
        }
    }
}

/// What is there, and what becomes of a file of 1 byte that was changed at 5 s.
#[test]
fn of_two_files_the_newer_is_kept() {
    const S: i64 = 1_000_000_000;
    let mut offered = Manifest::default();
    let path = RelPath::parse("a").unwrap();
    offered.push(Entry { path, kind: Kind::File(1), mode: 0o644, mtime: 5 * S + 7 }).unwrap();
    let folder = Found::Folder(Stamp::default());
    // Only what may have the content is compared with it.
    #[rustfmt::skip]
    let cases = [
        ("older", file(9, 4 * S), 1, Action::Replace, "a", false),
        ("older, of the same size", file(1, 4 * S), 1, Action::Replace, "a", true),
        ("newer", file(9, 6 * S), 1, Action::Skip, "a", false),
        ("newer, of the same size", file(1, 6 * S), 1, Action::Skip, "a", true),
        ("changed at the same time", file(9, 5 * S + 7), 1, Action::Skip, "a", false),
        ("at the same time as the disk keeps it", file(9, 5 * S), S, Action::Skip, "a", false),
        ("the same", file(1, 5 * S + 7), 1, Action::Keep, "a", false),
        ("a link", link("b"), 1, Action::Create, "a (1)", false),
        ("a folder", folder, 1, Action::Create, "a (1)", false),
        ("nothing", Found::Nothing, 1, Action::Create, "a", false),
    ];
    for (name, found, grain, action, place, is_compared) in cases {
        let mut fake = Fake { disk: vec![("a", found)], grain, ..Fake::default() };
        let survey = Survey::new(&offered, &Remembered::default(), &mut fake);
        let plan = Plan::new(&offered, &survey, &OnConflict::Newer.into(), &mut fake);
        let entry = offered.get(0).unwrap();
        let planned = (plan.action(0).unwrap(), plan.place(0, entry).to_string());
        assert_eq!(planned, (action, place.into()), "{name}");
        assert_eq!(!plan.compare(0).is_empty(), is_compared, "{name}");
    }
}

/// What was only doubted, and is not asked about, stays.
#[test]
fn the_newer_policy_keeps_what_is_doubted() {
    let offered = manifest(&[("a", Kind::File(1))]);
    let mut fake = Fake { disk: vec![("a", same_file(1))], ..Fake::default() };
    let remembered = Remembered::default();
    let mut survey = Survey::new(&offered, &remembered, &mut fake);
    survey.doubt_files(&offered, &remembered, false, &mut fake);
    let plan = Plan::new(&offered, &survey, &OnConflict::Newer.into(), &mut fake);
    assert_eq!(plan.action(0), Some(Action::Keep));
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
    let mut fake = Fake::default();
    Survey::new(&manifest, &Remembered::default(), &mut fake);
    assert_eq!(fake.looked, ["d", "h"]);
}

/// A second run after an interruption: what the lock remembers, what is on the disk, and
/// where each entry goes then, whatever the policy.
#[test]
fn an_interrupted_run_is_taken_up_where_it_was() {
    use Action::{Create, Keep, Replace, Skip};
    use Kind::{File, Folder};
    let known = |size, mtime| Known { size, mtime: Some(mtime), completed: true, hash: None };
    let other = file(9, 9);
    let entries = [("a", File(1)), ("d", Folder), ("d/b", File(2))];
    let manifest = manifest(&entries);
    #[rustfmt::skip]
    let cases: Vec<(&str, Vec<(u32, Known)>, Vec<(u32, &str)>, Vec<(&str, Found)>, OnConflict, Vec<(Action, &str)>)> = vec![
        ("finished before", vec![(0, known(1, 5))], vec![], vec![("a", same_file(1))], OnConflict::Rename,
            vec![(Keep, "a"), (Create, "d"), (Create, "d/b")]),
        ("the source has changed since", vec![(0, known(1, 4))], vec![], vec![("a", file(1, 4))], OnConflict::Rename,
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
            vec![("d", other.clone()), ("d (1)", Found::Folder(Stamp::default())), ("d (1)/b", same_file(2))], OnConflict::Rename,
            vec![(Create, "a"), (Keep, "d (1)"), (Keep, "d (1)/b")]),
    ];
    for (name, files, renamed, disk, policy, expected) in cases {
        let mut places = Places::default();
        for (at, to) in renamed {
            places.insert(at, manifest.get(at).unwrap(), RelPath::parse(to).unwrap());
        }
        let remembered =
            Remembered { files: files.into_iter().collect(), places, ..Remembered::default() };
        expect(planned(&manifest, &remembered, &disk, policy, false), &expected, name);
    }
}

/// After a restart: what is on the disk of a file that the lock lists, and what is done.
#[test]
fn after_a_restart_only_what_was_looked_at_is_kept() {
    use Action::{Create, Keep, Replace};
    let manifest = manifest(&[("a", Kind::File(3))]);
    // Whether it was complete, whether its content still is, what is there, what is done, and
    // whether the sender's content is asked for first.
    #[rustfmt::skip]
    let cases = [
        ("whole", true, true, file(3, 5), (Keep, "a"), false),
        ("whole, and touched", true, true, file(3, 6), (Replace, "a"), true),
        ("emptied by a power cut", true, false, file(0, 5), (Replace, "a"), false),
        ("of its size, without its content", true, false, file(3, 5), (Replace, "a"), false),
        ("rewritten by the user", true, false, file(4, 9), (Create, "a (1)"), false),
        ("rewritten by the user to the same size", true, false, file(3, 9), (Create, "a (1)"), true),
        ("never known to be complete", false, false, file(3, 5), (Replace, "a"), true),
        ("named in the last moment, and empty", false, false, file(0, 5), (Replace, "a"), false),
        ("named in the last moment, and cut off", false, false, file(2, 5), (Replace, "a"), false),
        ("somebody else's", false, false, file(2, 9), (Create, "a (1)"), false),
    ];
    for (name, completed, is_intact, found, expected, compared) in cases {
        let hash = completed.then_some(lock::Sum { hash: [1; 32], sparse: false });
        let known = Known { size: 3, mtime: Some(5), completed, hash };
        let intact = Some(BTreeSet::from_iter(is_intact.then_some(0)));
        let files = [(0, known)].into();
        let remembered = Remembered { files, intact, ..Remembered::default() };
        let mut fake = Fake { disk: vec![("a", found)], ..Fake::default() };
        let survey = Survey::new(&manifest, &remembered, &mut fake);
        let plan = Plan::new(&manifest, &survey, &OnConflict::Rename.into(), &mut fake);
        let entry = manifest.get(0).unwrap();
        let place = plan.place(0, entry);
        assert_eq!((plan.action(0).unwrap(), &*place.to_string()), expected, "{name}");
        assert_eq!(!plan.compare(0).is_empty(), compared, "{name}");
    }
}

/// On a disk that does not tell names apart: offered entries, what is there, what is done.
#[test]
fn no_two_entries_are_one_file() {
    use Action::{Create, Keep, Replace};
    use Kind::{File, Link};
    let twins = [("README", File(4)), ("readme", File(4))];
    let one = |number| vec![("README", numbered(number, 4, 5, 1))];
    let old = |number| vec![("README", numbered(number, 4, 9, 1))];
    #[rustfmt::skip]
    let cases = [
        ("nothing there", twins.to_vec(), vec![], OnConflict::Rename, vec![(Create, "README"), (Create, "readme (1)")]),
        ("the first is there", twins.to_vec(), one(7), OnConflict::Rename, vec![(Keep, "README"), (Create, "readme (1)")]),
        ("without numbers", twins.to_vec(), one(0), OnConflict::Rename, vec![(Keep, "README"), (Create, "readme (1)")]),
        ("skipping leaves none out", twins.to_vec(), one(7), OnConflict::Skip, vec![(Keep, "README"), (Create, "readme (1)")]),
        ("one is replaced", twins.to_vec(), old(7), OnConflict::Overwrite, vec![(Replace, "README"), (Create, "readme (1)")]),
        ("both are there", twins.to_vec(), [one(7), vec![("readme (1)", numbered(8, 4, 5, 1))]].concat(), OnConflict::Rename,
            vec![(Keep, "README"), (Keep, "readme (1)")]),
        ("hard links that fold", twins.to_vec(), vec![("README", numbered(7, 4, 5, 2))], OnConflict::Rename,
            vec![(Keep, "README"), (Create, "readme (1)")]),
        ("links", vec![("L", Link("t".into())), ("l", Link("t".into()))], vec![("L", Found::Link("t".into(), Stamp { number: 3, names: 1, ..Stamp::default() }))],
            OnConflict::Rename, vec![(Keep, "L"), (Create, "l (1)")]),
    ];
    for (name, entries, disk, policy, expected) in cases {
        let manifest = manifest(&entries);
        expect(planned(&manifest, &Remembered::default(), &disk, policy, true), &expected, name);
    }
    // Hard links are two files where names are told apart.
    let manifest = manifest(&[("a", File(4)), ("b", File(4))]);
    let disk = [("a", numbered(7, 4, 5, 2)), ("b", numbered(7, 4, 5, 2))];
    let kept = planned(&manifest, &Remembered::default(), &disk, OnConflict::Rename, false);
    expect(kept, &[(Keep, "a"), (Keep, "b")], "hard links");
}

/// What is there under the names that an entry of a taken name would get.
#[test]
fn the_same_is_not_put_there_twice() {
    use Action::{Create, Keep};
    use Kind::{File, Link};
    #[rustfmt::skip]
    let cases = [
        ("the first", vec![("a", File(4))], vec![("a", file(9, 9)), ("a (1)", file(4, 5))], vec![(Keep, "a (1)")], 0),
        ("a later one", vec![("a", File(4))], vec![("a", file(9, 9)), ("a (1)", file(8, 8)), ("a (2)", file(4, 5))], vec![(Keep, "a (2)")], 0),
        ("perhaps the first", vec![("a", File(4))], vec![("a", file(9, 9)), ("a (1)", file(4, 8))], vec![(Create, "a (2)")], 1),
        ("perhaps itself, or the first", vec![("a", File(4))], vec![("a", file(4, 9)), ("a (1)", file(4, 8))], vec![(Create, "a (2)")], 2),
        ("touched", vec![("a", File(4))], vec![("a", file(4, 9))], vec![(Create, "a (1)")], 1),
        ("a link", vec![("l", Link("t".into()))], vec![("l", link("u")), ("l (1)", link("t"))], vec![(Keep, "l (1)")], 0),
        ("another entry of the offer", vec![("a", File(4)), ("a (1)", File(4))], vec![("a", file(9, 9)), ("a (1)", file(4, 5))],
            vec![(Create, "a (2)"), (Keep, "a (1)")], 0),
    ];
    for (name, entries, disk, expected, compared) in cases {
        let manifest = manifest(&entries);
        let mut fake = Fake { disk, ..Fake::default() };
        let survey = Survey::new(&manifest, &Remembered::default(), &mut fake);
        let plan = Plan::new(&manifest, &survey, &OnConflict::Rename.into(), &mut fake);
        assert_eq!(plan.compare(0).len(), compared, "{name}");
        let planned = plan.actions().zip(manifest.entries());
        let planned =
            planned.map(|((index, action), entry)| (action, plan.place(index, entry).to_string()));
        expect(planned.collect(), &expected, name);
    }
}

#[test]
fn what_no_disk_can_have_is_known_beforehand() {
    let manifest = manifest(&[("large", Kind::File(11)), ("x.ours.part", Kind::File(10))]);
    let mut fake = Fake { largest: Some(10), ..Fake::default() };
    let survey = Survey::new(&manifest, &Remembered::default(), &mut fake);
    let plan = Plan::new(&manifest, &survey, &OnConflict::Rename.into(), &mut fake);
    assert_eq!(plan.action(0), Some(Action::Impossible));
    assert_eq!(plan.fault(0), Fault::TooLarge);
    assert_eq!(plan.place(1, manifest.get(1).unwrap()).to_string(), "x.ours (1).part");
}

/// What differs only in what such a disk cannot hold stays apart, folders too; and a second run
/// finds what the first has put there.
#[test]
fn a_disk_that_takes_text_alone_gets_other_names() {
    use Kind::{File, Folder, Link};
    let entries: [(&[u8], Kind); 10] = [
        (b"\xe8", Folder),
        (b"\xe8/a", File(1)),
        (b"\xe9", Folder),
        (b"\xe9/Icon\r", File(2)),
        (b"\xe9/b", File(3)),
        (b"a\nb", File(4)),
        (b"a_b", File(5)),
        (b"link\xff", Link(b"\xe9"[..].into())),
        (b"plain", File(6)),
        (b"x\xff.txt", File(7)),
    ];
    let mut entries = entries.to_vec();
    entries.sort_by_key(|(path, _)| RelPath::from_bytes(path).unwrap());
    let manifest = manifest(&entries);
    let places = [
        "a_b (1)",
        "a_b",
        "link_",
        "plain",
        "x_.txt",
        "_",
        "_/a",
        "_ (1)",
        "_ (1)/Icon_",
        "_ (1)/b",
    ];
    let mut fake = Fake { takes_text_alone: true, ..Fake::default() };
    let survey = Survey::new(&manifest, &Remembered::default(), &mut fake);
    let plan = Plan::new(&manifest, &survey, &OnConflict::Rename.into(), &mut fake);
    let place = |(index, entry)| plan.place(index, entry).to_string();
    let planned: Vec<_> = manifest.indexed().map(place).collect();
    assert_eq!(planned, places);
    assert_eq!(plan.renamed(&manifest).count(), 6);
    assert!(plan.actions().all(|(_, action)| action == Action::Create));

    let at = |place: &str| u32::try_from(places.iter().position(|it| *it == place).unwrap());
    let at = |place: &str| at(place).unwrap();
    let there = |place: &'static str| match place {
        "_" | "_ (1)" => (place, Found::Folder(Stamp::default())),
        "link_" => (place, Found::Link("\u{fffd}".into(), Stamp::default())),
        _ => (place, same_file(manifest.get(at(place)).unwrap().size())),
    };
    let disk = places.map(there).to_vec();
    let mut fake = Fake { disk, takes_text_alone: true, ..Fake::default() };
    let survey = Survey::new(&manifest, &Remembered::default(), &mut fake);
    let plan = Plan::new(&manifest, &survey, &OnConflict::Skip.into(), &mut fake);
    let again: Vec<_> =
        manifest.indexed().map(|(index, it)| plan.place(index, it).to_string()).collect();
    assert_eq!(again, places);
    // Names that others may be given as well prove nothing: the content decides about files.
    let kept: Vec<_> = plan.actions().filter(|(_, action)| *action == Action::Keep).collect();
    let sure = ["a_b", "plain", "_", "_ (1)"].map(|place| (at(place), Action::Keep));
    assert_eq!(kept, sure);
    // Its target is another.
    assert_eq!(plan.compare(at("link_")).len(), 0);
    for place in ["a_b (1)", "x_.txt", "_/a", "_ (1)/Icon_", "_ (1)/b"] {
        assert_eq!(plan.compare(at(place)), [RelPath::parse(place).unwrap()]);
    }

    // Where the disk takes them they stay as they are.
    let mut fake = Fake::default();
    let survey = Survey::new(&manifest, &Remembered::default(), &mut fake);
    let plan = Plan::new(&manifest, &survey, &OnConflict::Rename.into(), &mut fake);
    assert!(plan.places().is_empty());
}

/// What an earlier run has put at another place stays the place of that entry, whatever is offered
/// since. Offered entries; what the lock lists, with another place; what is there; what is done.
#[test]
fn a_place_of_an_earlier_run_is_nobody_elses() {
    use Action::{Create, Keep};
    use Kind::{File, Folder};
    type Row = (
        &'static str,
        Vec<(&'static [u8], Kind)>,
        (u32, &'static str),
        Vec<(&'static str, Found)>,
        Vec<(Action, &'static str)>,
    );
    let folder = || Found::Folder(Stamp::default());
    #[rustfmt::skip]
    let rows: Vec<Row> = vec![
        ("mapped alike, and whole", vec![(b"n\xe7", File(4)), (b"n\xe8", File(4))], (1, "n_"), vec![("n_", numbered(7, 4, 5, 1))],
            vec![(Create, "n_ (1)"), (Keep, "n_")]),
        ("mapped alike, and to come", vec![(b"n\xe7", File(4)), (b"n\xe8", File(4))], (1, "n_"), vec![],
            vec![(Create, "n_ (1)"), (Create, "n_")]),
        ("a folder mapped alike", vec![(b"n\xe7", Folder), (b"n\xe7/a", File(4)), (b"n\xe8", Folder), (b"n\xe8/a", File(4))],
            (2, "n_"), vec![("n_", folder()), ("n_/a", numbered(7, 4, 5, 1))],
            vec![(Create, "n_ (1)"), (Create, "n_ (1)/a"), (Keep, "n_"), (Keep, "n_/a")]),
        ("offered by this name, and whole", vec![(b"a (1).txt", File(4)), (b"a.txt", File(4))], (1, "a (1).txt"),
            vec![("a.txt", numbered(6, 9, 9, 1)), ("a (1).txt", numbered(7, 4, 5, 1))],
            vec![(Create, "a (1) (1).txt"), (Keep, "a (1).txt")]),
        ("offered by this name, and to come", vec![(b"a (1).txt", File(4)), (b"a.txt", File(4))], (1, "a (1).txt"),
            vec![("a.txt", numbered(6, 9, 9, 1))],
            vec![(Create, "a (1) (1).txt"), (Create, "a (1).txt")]),
        ("in a folder that has gone", vec![(b"d", Folder), (b"d/a", File(4)), (b"d/a (1)", File(4))], (1, "d/a (1)"), vec![],
            vec![(Create, "d"), (Create, "d/a (1)"), (Create, "d/a (1) (1)")]),
        ("a folder by this name", vec![(b"d", Folder), (b"d (1)", Folder), (b"d (1)/a", File(4))], (0, "d (1)"),
            vec![("d", file(9, 9)), ("d (1)", folder()), ("d (1)/a", file(4, 5))],
            vec![(Keep, "d (1)"), (Create, "d (1) (1)"), (Create, "d (1) (1)/a")]),
        ("by this name in other capitals", vec![(b"A (1).txt", File(4)), (b"a.txt", File(4))], (1, "a (1).txt"),
            vec![("a.txt", numbered(6, 9, 9, 1)), ("a (1).txt", numbered(7, 4, 5, 1))],
            vec![(Create, "A (1) (1).txt"), (Keep, "a (1).txt")]),
        ("what is its own place now is another's", vec![(b"n_", File(4)), (b"n\xe8", File(4))], (1, "n_"),
            vec![("n_", numbered(7, 4, 5, 1))],
            vec![(Create, "n_ (1)"), (Keep, "n_")]),
        ("a number of another", vec![(b"a", File(4)), (b"b", File(4))], (1, "a (1)"),
            vec![("a", file(9, 9)), ("b", file(9, 9))],
            vec![(Create, "a (2)"), (Create, "a (1)")]),
    ];
    for (name, entries, (moved, place), disk, expected) in rows {
        let manifest = manifest(&entries);
        let entry = manifest.get(moved).unwrap();
        let mut places = Places::default();
        places.insert(moved, entry, RelPath::parse(place).unwrap());
        let known = Known { size: 4, mtime: Some(5), completed: true, hash: None };
        let listed = manifest.indexed().filter(|(index, it)| {
            it.is_file() && (*index == moved || it.path.is_inside(&entry.path))
        });
        let files = listed.map(|(index, _)| (index, known.clone())).collect();
        let remembered = Remembered { files, places, ..Remembered::default() };
        for policy in [OnConflict::Rename, OnConflict::Overwrite] {
            if name == "a number of another" && policy == OnConflict::Overwrite {
                continue;
            }
            let folds = name.contains("capitals");
            let mut fake =
                Fake { disk: disk.clone(), takes_text_alone: true, folds, ..Fake::default() };
            let survey = Survey::new(&manifest, &remembered, &mut fake);
            let plan = Plan::new(&manifest, &survey, &policy.into(), &mut fake);
            let planned = plan.actions().zip(manifest.entries());
            let planned = planned
                .map(|((index, action), entry)| (action, plan.place(index, entry).to_string()));
            expect(planned.collect(), &expected, &format!("{name}, {policy:?}"));
            assert!(plan.actions().all(|(index, _)| plan.compare(index).is_empty()), "{name}");
        }
    }
}

/// Of what is at the place that an entry is mapped to, the content decides, and never what another
/// entry is mapped to.
#[test]
fn a_mapped_name_is_no_proof() {
    use Action::{Create, Replace, Skip};
    let rows = [
        (OnConflict::Rename, Create, "n_ (2)"),
        (OnConflict::Overwrite, Replace, "n_"),
        (OnConflict::Skip, Skip, "n_"),
        (OnConflict::Newer, Skip, "n_"),
    ];
    let offered = manifest(&[(b"n\xe7", Kind::File(4)), (b"n\xe8", Kind::File(4))]);
    for (policy, action, place) in rows {
        let disk = vec![("n_", numbered(7, 4, 5, 1))];
        let mut fake = Fake { disk, takes_text_alone: true, ..Fake::default() };
        let survey = Survey::new(&offered, &Remembered::default(), &mut fake);
        let plan = Plan::new(&offered, &survey, &policy.into(), &mut fake);
        let planned = |index| {
            let entry = offered.get(index).unwrap();
            (plan.action(index).unwrap(), plan.place(index, entry).to_string())
        };
        assert_eq!(planned(0), (action, place.into()), "{policy:?}");
        assert_eq!(plan.compare(0), [RelPath::parse("n_").unwrap()], "{policy:?}");
        assert_eq!(planned(1), (Create, "n_ (1)".into()), "{policy:?}");
    }
    // Nor is a number that an earlier transfer may have given to another.
    let offered = manifest(&[(b"n\xe9", Kind::File(4))]);
    let disk = vec![("n_", numbered(7, 8, 5, 1)), ("n_ (1)", numbered(8, 4, 5, 1))];
    let mut fake = Fake { disk, takes_text_alone: true, ..Fake::default() };
    let survey = Survey::new(&offered, &Remembered::default(), &mut fake);
    let plan = Plan::new(&offered, &survey, &OnConflict::Rename.into(), &mut fake);
    assert_eq!(plan.action(0), Some(Create));
    assert_eq!(plan.compare(0), [RelPath::parse("n_ (1)").unwrap()]);
}

/// A name that comes from a number and the same that comes from a name are still two places.
#[test]
fn no_two_names_are_mapped_to_one_place() {
    for other in [&b"n\xe0 (1)"[..], b"n\xff (1)"] {
        let mut entries =
            vec![(&b"n\xe7"[..], Kind::File(4)), (b"n\xe8", Kind::File(4)), (other, Kind::File(4))];
        entries.sort_by_key(|(path, _)| RelPath::from_bytes(path).unwrap());
        let manifest = manifest(&entries);
        let mut fake = Fake { takes_text_alone: true, ..Fake::default() };
        let survey = Survey::new(&manifest, &Remembered::default(), &mut fake);
        let plan = Plan::new(&manifest, &survey, &OnConflict::Rename.into(), &mut fake);
        let places: HashSet<_> =
            manifest.indexed().map(|(index, it)| plan.place(index, it).to_string()).collect();
        assert_eq!(places.len(), 3, "{places:?}");
    }
}

/// At its own name an entry that was given another place is looked for, though neither where
/// another entry is nor in what is the program's.
#[test]
fn the_own_name_of_a_moved_entry_is_not_always_looked_at() {
    let rows = [("a", 1), (".transfer_lock.json", 0)];
    for (path, compared) in rows {
        let manifest = manifest(&[(path, Kind::File(4))]);
        let mut places = Places::default();
        let place = RelPath::parse("moved").unwrap();
        places.insert(0, manifest.get(0).unwrap(), place);
        let remembered = Remembered { places, ..Remembered::default() };
        let disk = vec![(path, numbered(7, 4, 9, 1))];
        let mut fake = Fake { disk, ..Fake::default() };
        let survey = Survey::new(&manifest, &remembered, &mut fake);
        let plan = Plan::new(&manifest, &survey, &OnConflict::Rename.into(), &mut fake);
        assert_eq!(plan.compare(0).len(), compared, "{path}");
    }
    let manifest = manifest(&[(b"n_", Kind::File(4)), (b"n\xe8", Kind::File(4))]);
    let mut places = Places::default();
    for (index, place) in [(0, "n_ (1)"), (1, "n_")] {
        let entry = manifest.get(index).unwrap();
        places.insert(index, entry, RelPath::parse(place).unwrap());
    }
    let remembered = Remembered { places, ..Remembered::default() };
    let disk = vec![("n_", numbered(7, 4, 5, 1))];
    let mut fake = Fake { disk, takes_text_alone: true, ..Fake::default() };
    let survey = Survey::new(&manifest, &remembered, &mut fake);
    let plan = Plan::new(&manifest, &survey, &OnConflict::Rename.into(), &mut fake);
    assert_eq!(plan.compare(0).len(), 0);
}

/// What has, or would get, one of the program's own names gets another, without many tries; and a
/// second run finds all that the first has put there.
#[test]
fn no_name_is_one_of_ours() {
    use Kind::{File, Folder};
    let mut entries: Vec<(&[u8], Kind)> = vec![
        (b".transfer\x01lock.1.json", File(1)),
        (b".transfer_lock.96.\xff", File(2)),
        (b".transfer_lock.a.b", File(3)),
        (b".transfer_lock.d", Folder),
        (b".transfer_lock.d/x", File(4)),
        (b".transfer_lock.json", File(5)),
        (b".transfer_lock.\xff", File(6)),
        (b"x.ours.part", File(7)),
    ];
    entries.sort_by_key(|(path, _)| RelPath::from_bytes(path).unwrap());
    let manifest = manifest(&entries);
    let rows = [
        (
            true,
            [
                "_.transfer_lock.1.json",
                "_.transfer_lock.96._",
                "_.transfer_lock.a (1).b",
                ".transfer_lock (1).d",
                ".transfer_lock (1).d/x",
                ".transfer_lock (1).json",
                "_.transfer_lock._",
                "x.ours (1).part",
            ],
        ),
        (
            false,
            [
                ".transfer\\u{1}lock.1.json",
                "_.transfer_lock.96 (1).\\xff",
                "_.transfer_lock.a (1).b",
                ".transfer_lock (1).d",
                ".transfer_lock (1).d/x",
                ".transfer_lock (1).json",
                ".transfer_lock (1).\\xff",
                "x.ours (1).part",
            ],
        ),
    ];
    for (takes_text_alone, expected) in rows {
        let mut fake = Fake { takes_text_alone, ..Fake::default() };
        let survey = Survey::new(&manifest, &Remembered::default(), &mut fake);
        let plan = Plan::new(&manifest, &survey, &OnConflict::Rename.into(), &mut fake);
        let places: Vec<_> =
            manifest.indexed().map(|(index, it)| plan.place(index, it).to_string()).collect();
        assert_eq!(places, expected);
        assert!(fake.looked.len() < 30, "{} looks", fake.looked.len());
        let folder = ".transfer_lock (1).d";
        let disk = vec![
            (folder, Found::Folder(Stamp::default())),
            (".transfer_lock (1).d/x", same_file(4)),
        ];
        let mut fake = Fake { disk, takes_text_alone, ..Fake::default() };
        let survey = Survey::new(&manifest, &Remembered::default(), &mut fake);
        let plan = Plan::new(&manifest, &survey, &OnConflict::Rename.into(), &mut fake);
        let at = |path: &str| {
            manifest.indexed().find(|(_, entry)| entry.path.to_string() == path).unwrap()
        };
        let (index, entry) = at(".transfer_lock.d");
        assert_eq!(plan.action(index), Some(Action::Keep));
        assert_eq!(plan.place(index, entry).to_string(), folder);
        let (index, _) = at(".transfer_lock.d/x");
        assert_eq!(plan.compare(index), [RelPath::parse(".transfer_lock (1).d/x").unwrap()]);
    }
}

/// Which of two names is kept is the same in each run, whatever came first, and nothing is doubled.
#[test]
fn twins_are_numbered_once() {
    let (composed, decomposed) = ("d/caf\u{e9}", "d/cafe\u{301}");
    let offered = manifest(&[
        ("D", Kind::Folder),
        ("D/x", Kind::File(7)),
        ("d", Kind::Folder),
        (decomposed, Kind::File(1)),
        (composed, Kind::File(2)),
        ("d/x", Kind::File(8)),
    ]);
    let twins = ["D", "D/x", "d", decomposed, "d/caf\u{e9} (1)", "d/x (1)"];
    let here = [
        ("D", Found::Folder(Stamp::default())),
        ("D/x", same_file(7)),
        (decomposed, same_file(1)),
        ("d/caf\u{e9} (1)", same_file(2)),
        ("d/x (1)", same_file(8)),
    ];
    for (folds, disk) in [(true, &[][..]), (true, &here), (false, &[])] {
        let mut fake = Fake { disk: disk.to_vec(), folds, composes: folds, ..Fake::default() };
        let survey = Survey::new(&offered, &Remembered::default(), &mut fake);
        let plan = Plan::new(&offered, &survey, &OnConflict::Rename.into(), &mut fake);
        for ((index, action), entry) in plan.actions().zip(offered.entries()) {
            let place = plan.place(index, entry);
            let at = usize::try_from(index).unwrap();
            let expected = if folds { twins[at].to_owned() } else { entry.path.to_string() };
            assert_eq!(place.to_string(), expected);
            let is_here = !disk.is_empty();
            assert_eq!(action, if is_here { Action::Keep } else { Action::Create }, "{place}");
        }
    }
}
