//! What to do with each entry of an offer: computed as a value, then asked about, then done.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use super::consent::Policy;
use super::names::Names;
use crate::files::disk::Stamp;
use crate::files::manifest::{Entry, Kind, Manifest};
use crate::files::path::{self, RelPath};
use crate::files::root::{Found, Root};
use crate::protocol::pages::Fault;
use crate::receive::lock::{self, Known, Remembered};
use crate::receive::places::Places;

/// What an entry meets on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meets {
    /// Nothing.
    Nothing,
    /// What it would become: a folder, a link with this target, a file of this size and time.
    Itself,
    /// A file that an interrupted run of this program put there; it is to be replaced.
    Ours,
    /// The same, unless its content turns out to be the sender's.
    Unsure,
    /// What looks like itself, but is to be compared or had anew.
    Doubted,
    /// A file of its size and another time, which may be itself: the content decides.
    Touched,
    /// A file or link that it could replace.
    Replaceable,
    /// Something else.
    Obstacle,
    /// What an entry before it is, on a disk that does not tell the two names apart.
    Twin,
    /// Its own name: this system cannot hold it, or it belongs to this program.
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
    /// It would be made, but this disk cannot have it.
    Impossible,
}

/// What a plan has to know of the disk.
pub trait Eyes {
    /// What is at a place.
    fn look(&mut self, path: &RelPath) -> Found;
    /// Whether a time found is what the disk makes of the one given.
    fn is_time(&self, given: i64, found: i64) -> bool;
    /// Whether a folder lists this very name.
    fn lists(&mut self, path: &RelPath) -> bool;
    /// Whether the disk neither tells names of other capitals apart nor numbers its files.
    fn folds_blindly(&self) -> bool;
    /// Bytes that every file may have, wherever it goes.
    fn fits_everywhere(&self) -> u64;
    /// Bytes that the file of this place may have.
    fn largest_file(&mut self, path: &RelPath) -> u64;
    /// Whether this is the name of an unfinished file of ours.
    fn is_part(&self, path: &RelPath) -> bool;
    /// Bytes that a name may have.
    fn longest_name(&self) -> usize;
}

impl Eyes for Root {
    fn look(&mut self, path: &RelPath) -> Found {
        Root::look(self, path)
    }

    fn is_time(&self, given: i64, found: i64) -> bool {
        Root::is_time(self, given, found)
    }

    fn lists(&mut self, path: &RelPath) -> bool {
        Root::lists(self, path)
    }

    fn folds_blindly(&self) -> bool {
        Root::folds_blindly(self)
    }

    fn fits_everywhere(&self) -> u64 {
        Root::fits_everywhere(self)
    }

    fn largest_file(&mut self, path: &RelPath) -> u64 {
        Root::largest_file(self, path)
    }

    fn is_part(&self, path: &RelPath) -> bool {
        self.own().is_part(path)
    }

    fn longest_name(&self) -> usize {
        self.top().disk().longest_name
    }
}

/// What the entries of a manifest meet, in their order.
#[derive(Debug, Default)]
pub struct Survey {
    meets: Vec<Meets>,
    /// What is at the places of those that meet a file or link which is not simply theirs.
    found: BTreeMap<u32, Found>,
    /// Where an earlier run put entries that could not go to their own place.
    places: Places,
    /// Of those, the ones that are not there, while their own place may have their content.
    own_place: BTreeSet<u32>,
    /// Files that only lack the mode that was offered.
    remode: Vec<u32>,
    /// Folders that have the mode and time that were offered: they stay so, whatever comes into
    /// them.
    as_offered: BTreeSet<u32>,
    /// Whether size and time are not enough for a file to be the one offered.
    doubts: bool,
    claims: Claims,
}

/// What will happen to each entry, in their order, and under which name.
#[derive(Debug, Default)]
pub struct Plan {
    actions: Vec<Action>,
    places: Places,
    remode: Vec<u32>,
    as_offered: BTreeSet<u32>,
    /// What may be replaced, and nothing else.
    found: BTreeMap<u32, Found>,
    /// Files that may have the content of an entry.
    compare: BTreeMap<u32, Vec<RelPath>>,
    /// Why an entry is impossible.
    faults: BTreeMap<u32, Fault>,
    names: Names,
}

/// Which files on the disk an entry has been found to be: no two entries are one file.
#[derive(Debug, Default, Clone)]
struct Claims {
    numbers: HashSet<(u64, u64)>,
    /// Where files have no numbers and names fold.
    names: HashSet<String>,
}

impl Claims {
    /// Claims a file; false when another entry has it.
    fn claim(&mut self, path: &RelPath, stamp: &Stamp, eyes: &mut impl Eyes) -> bool {
        if stamp.number == 0 {
            return !eyes.folds_blindly() || self.names.insert(path.folded());
        }
        // Hard links are two files that have one number, and both are listed.
        self.numbers.insert((stamp.disk, stamp.number)) || (stamp.names > 1 && eyes.lists(path))
    }
}

impl Survey {
    /// Looks at every place an entry would go to, though not into folders that do not exist.
    pub fn new(manifest: &Manifest, remembered: &Remembered, eyes: &mut impl Eyes) -> Self {
        let mut survey = Self { places: remembered.places.clone(), ..Self::default() };
        survey.meets.reserve(manifest.entries().len());
        // The last folder that is not there or not a folder: all in it meets nothing.
        let mut absent: Option<&RelPath> = None;
        for (index, entry) in manifest.indexed() {
            let moved = remembered.places.own(index).is_some();
            let inside_absent = absent.is_some_and(|folder| entry.path.is_inside(folder));
            let met = match unholdable(entry, eyes).filter(|_| !moved) {
                Some(met) => met,
                None if inside_absent => Meets::Nothing,
                None => survey.meet(index, entry, remembered, eyes),
            };
            if entry.kind == Kind::Folder && met != Meets::Itself && !inside_absent {
                absent = Some(&entry.path);
            }
            survey.meets.push(met);
        }
        survey
    }

    fn meet(
        &mut self,
        index: u32,
        entry: &Entry,
        remembered: &Remembered,
        eyes: &mut impl Eyes,
    ) -> Meets {
        let place = remembered.places.of(index, entry);
        let found = eyes.look(&place);
        if let Some(stamp) = found.stamp()
            && !self.claims.claim(&place, stamp, eyes)
        {
            return Meets::Twin;
        }
        let known = remembered.files.get(&index);
        let left = known.map(|known| Left {
            known,
            is_intact: remembered.intact.as_ref().map(|intact| intact.contains(&index)),
        });
        let met = compare(entry, &found, left, eyes);
        if met == Meets::Nothing && *place != entry.path {
            // An interrupted run has given it another place before it knew what its own holds.
            let same_size = |stamp: &Stamp| entry.is_file() && stamp.size == entry.size();
            if eyes.look(&entry.path).stamp().is_some_and(same_size) {
                self.own_place.insert(index);
            }
        }
        match (&found, met) {
            (Found::File(stamp), Meets::Itself) => {
                let other = stamp.mode.is_some_and(|mode| mode & 0o777 != entry.mode & 0o777);
                if other && stamp.names <= 1 {
                    self.remode.push(index);
                }
            }
            (Found::Folder(stamp), Meets::Itself) => {
                let same_mode = stamp.mode.is_none_or(|mode| mode & 0o777 == entry.mode & 0o777);
                if same_mode && eyes.is_time(entry.mtime, stamp.mtime) {
                    self.as_offered.insert(index);
                }
            }
            (Found::File(_) | Found::Link(..), _) if met != Meets::Itself => {
                self.found.insert(index, found);
            }
            _ => {}
        }
        met
    }

    /// Takes no file that is there already for granted. Those that an interrupted run put there are
    /// compared as well, or, `anew`, as good as not there.
    pub fn doubt_files(
        &mut self,
        manifest: &Manifest,
        remembered: &Remembered,
        anew: bool,
        eyes: &mut impl Eyes,
    ) {
        self.doubts = true;
        for (meets, (index, entry)) in self.meets.iter_mut().zip(manifest.indexed()) {
            if matches!(meets, Meets::Itself | Meets::Unsure) && entry.is_file() {
                *meets = match remembered.files.contains_key(&index) {
                    true if anew => Meets::Ours,
                    // This very process has verified it.
                    true if remembered.intact.is_none() && *meets == Meets::Itself => continue,
                    true => Meets::Unsure,
                    false => Meets::Doubted,
                };
                let found = eyes.look(&self.places.of(index, entry));
                self.found.insert(index, found);
            }
        }
    }

    /// Where the entry of this index is looked for.
    pub fn place<'a>(&'a self, index: u32, entry: &'a Entry) -> Cow<'a, RelPath> {
        self.places.of(index, entry)
    }

    /// What is there, of an entry that meets a file or link which is not simply its own.
    pub fn found(&self, index: u32) -> Option<&Found> {
        self.found.get(&index)
    }

    /// The file that is where another one would go.
    pub fn clash(&self, index: u32, entry: &Entry) -> Option<&Stamp> {
        match self.found(index)? {
            Found::File(stamp) if entry.is_file() => Some(stamp),
            _ => None,
        }
    }

    /// Whether an entry's content is compared with that of the file that it meets.
    pub fn is_compared(&self, index: u32) -> bool {
        let meets = usize::try_from(index).ok().and_then(|at| self.meets.get(at));
        meets == Some(&Meets::Touched)
    }

    /// How many files are there already.
    pub fn files_here(&self, manifest: &Manifest) -> u64 {
        let entries = manifest.entries().iter().zip(&self.meets);
        entries.filter(|(entry, meets)| entry.is_file() && **meets == Meets::Itself).count() as u64
    }

    /// The entries that would need a decision, by index.
    pub fn conflicts<'a>(
        &'a self,
        manifest: &'a Manifest,
    ) -> impl Iterator<Item = (u32, &'a Entry)> {
        manifest.indexed().zip(&self.meets).filter_map(|(entry, meets)| {
            let open = matches!(meets, Meets::Replaceable | Meets::Obstacle | Meets::Touched);
            open.then_some(entry)
        })
    }

    /// How many of those are surely not what is there.
    pub fn certain_conflicts(&self) -> u64 {
        let certain = |meets: &&Meets| matches!(meets, Meets::Replaceable | Meets::Obstacle);
        self.meets.iter().filter(certain).count() as u64
    }
}

fn unholdable(entry: &Entry, eyes: &impl Eyes) -> Option<Meets> {
    let unholdable = cfg!(windows) && path::windows_name(entry.path.name()).is_some();
    let reserved = lock::is_reserved(&entry.path) || eyes.is_part(&entry.path);
    (unholdable || reserved).then_some(Meets::Unholdable)
}

/// Whether what is offered was changed later than the file that is there.
fn is_newer(entry: &Entry, old: &Stamp, eyes: &impl Eyes) -> bool {
    old.mtime < entry.mtime && !eyes.is_time(entry.mtime, old.mtime)
}

/// What an interrupted run knew of a file.
#[derive(Clone, Copy)]
struct Left<'a> {
    known: &'a Known,
    /// Whether it still has the content that was verified then; nothing when that run was this
    /// very process, which knows what it wrote.
    is_intact: Option<bool>,
}

fn compare(entry: &Entry, found: &Found, left: Option<Left<'_>>, eyes: &impl Eyes) -> Meets {
    let (size, stamp) = match (&entry.kind, found) {
        (_, Found::Nothing) => return Meets::Nothing,
        (Kind::Folder, Found::Folder(_)) => return Meets::Itself,
        (Kind::Link(target), Found::Link(old, _)) if Path::new(&**target) == old => {
            return Meets::Itself;
        }
        (Kind::File(size), Found::File(stamp)) => (*size, stamp),
        (Kind::File(_) | Kind::Link(_), Found::File(_) | Found::Link(..)) => {
            return Meets::Replaceable;
        }
        _ => return Meets::Obstacle,
    };
    let is_itself = size == stamp.size && eyes.is_time(entry.mtime, stamp.mtime);
    let is_as_left = |known: &Known| {
        known.mtime.is_some_and(|mtime| eyes.is_time(mtime, stamp.mtime))
            // What a power cut has emptied holds nothing that could be lost.
            || stamp.size == 0
    };
    match left {
        None if is_itself => Meets::Itself,
        // It was to come, and nobody knows of it.
        Some(Left { known, .. }) if is_itself && !known.completed => Meets::Unsure,
        Some(Left { is_intact: None, .. }) if is_itself => Meets::Itself,
        Some(Left { known, is_intact: None }) if known.size == stamp.size && is_as_left(known) => {
            Meets::Ours
        }
        Some(Left { is_intact: Some(true), .. }) if is_itself => Meets::Itself,
        // Verified once, and touched since.
        Some(Left { is_intact: Some(true), .. }) if size == stamp.size => Meets::Unsure,
        Some(Left { is_intact: Some(true), .. }) => Meets::Ours,
        Some(Left { known, is_intact: Some(false) }) if is_as_left(known) => Meets::Ours,
        _ if size == stamp.size => Meets::Touched,
        _ => Meets::Replaceable,
    }
}

/// Another place for an entry that cannot go to its own.
enum Elsewhere {
    /// It is there already.
    There(RelPath),
    /// Nothing is there.
    Free(RelPath),
}

impl Plan {
    /// Decides every entry.
    pub fn new(
        manifest: &Manifest,
        survey: &Survey,
        policy: &Policy,
        eyes: &mut impl Eyes,
    ) -> Self {
        let (remode, as_offered) = (survey.remode.clone(), survey.as_offered.clone());
        let mut plan = Self { remode, as_offered, ..Self::default() };
        let mut claims = survey.claims.clone();
        let fits_everywhere = eyes.fits_everywhere();
        // The folders around the entry that were skipped or renamed: path offered, place taken.
        let mut moved: Vec<(&RelPath, Option<RelPath>)> = Vec::new();
        for ((index, entry), meets) in manifest.indexed().zip(&survey.meets) {
            while moved.last().is_some_and(|(folder, _)| !entry.path.is_inside(folder)) {
                moved.pop();
            }
            let mut own = survey.places.own(index).cloned();
            let policy = policy.of(&entry.path, survey.found(index));
            let mut action = match (meets, policy) {
                (Meets::Nothing, _) => Action::Create,
                (Meets::Itself, _) => Action::Keep,
                (Meets::Ours | Meets::Unsure, _) => Action::Replace,
                (Meets::Doubted, OnConflict::Skip | OnConflict::Newer) => Action::Keep,
                (Meets::Replaceable | Meets::Doubted | Meets::Touched, OnConflict::Overwrite) => {
                    Action::Replace
                }
                (Meets::Replaceable | Meets::Obstacle | Meets::Touched, OnConflict::Skip) => {
                    Action::Skip
                }
                (Meets::Replaceable | Meets::Touched, OnConflict::Newer) => {
                    match survey.clash(index, entry) {
                        Some(old) if is_newer(entry, old, eyes) => Action::Replace,
                        Some(_) => Action::Skip,
                        None => Action::Create,
                    }
                }
                _ => Action::Create,
            };
            if matches!(meets, Meets::Unsure | Meets::Doubted | Meets::Touched) {
                plan.compare.insert(index, vec![survey.place(index, entry).into_owned()]);
            }
            if survey.own_place.contains(&index) {
                plan.compare.insert(index, vec![entry.path.clone()]);
            }
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
                let place = inside.as_ref().unwrap_or(&entry.path).clone();
                match plan.elsewhere(
                    manifest,
                    (index, entry),
                    &place,
                    (&mut claims, survey.doubts),
                    eyes,
                ) {
                    Some(Elsewhere::There(there)) => {
                        plan.compare.remove(&index);
                        (action, own) = (Action::Keep, Some(there));
                    }
                    Some(Elsewhere::Free(free)) => own = Some(free),
                    None => {
                        plan.faults.insert(index, Fault::NameTaken);
                        action = Action::Impossible;
                    }
                }
            }
            if entry.kind == Kind::Folder {
                let absent = matches!(action, Action::Skip | Action::Impossible);
                let place = own.clone().or(inside);
                if place.is_some() || absent {
                    moved.push((&entry.path, place.filter(|_| !absent)));
                }
            }
            let comes = matches!(action, Action::Create | Action::Replace);
            if comes && entry.size() > fits_everywhere {
                let place = own.as_ref().unwrap_or(&entry.path);
                if entry.size() > eyes.largest_file(place) {
                    plan.faults.insert(index, Fault::TooLarge);
                    action = Action::Impossible;
                }
            }
            if action == Action::Replace
                && let Some(found) = survey.found(index)
            {
                plan.found.insert(index, found.clone());
            }
            plan.actions.push(action);
            if let Some(place) = own {
                plan.places.insert(index, entry, place);
            }
        }
        plan
    }

    /// Another name for an entry: one that nothing has, or the one under which an earlier run of
    /// the same put the same file.
    fn elsewhere(
        &mut self,
        manifest: &Manifest,
        (index, entry): (u32, &Entry),
        place: &RelPath,
        (claims, doubts): (&mut Claims, bool),
        eyes: &mut impl Eyes,
    ) -> Option<Elsewhere> {
        let Self { names, compare, .. } = self;
        let mut there = false;
        let name = names.find(place, eyes.longest_name(), |name| {
            if manifest.find(name).is_some() {
                return false;
            }
            let found = eyes.look(name);
            match (&found, &entry.kind) {
                (Found::Nothing, _) => return true,
                (Found::File(stamp), Kind::File(size)) if stamp.size == *size => {
                    if doubts || !eyes.is_time(entry.mtime, stamp.mtime) {
                        // Its content may be the same all the same.
                        compare.entry(index).or_default().push(name.clone());
                    } else if claims.claim(name, stamp, eyes) {
                        there = true;
                    }
                }
                (Found::Link(old, stamp), Kind::Link(target)) if Path::new(&**target) == old => {
                    there = claims.claim(name, stamp, eyes);
                }
                _ => {}
            }
            there
        })?;
        Some(if there { Elsewhere::There(name) } else { Elsewhere::Free(name) })
    }

    /// What happens to the entry of this index.
    pub fn action(&self, index: u32) -> Option<Action> {
        self.actions.get(usize::try_from(index).ok()?).copied()
    }

    /// The actions in order.
    pub fn actions(&self) -> impl Iterator<Item = (u32, Action)> {
        (0u32..).zip(self.actions.iter().copied())
    }

    /// Why an entry is impossible.
    pub fn fault(&self, index: u32) -> Fault {
        self.faults.get(&index).copied().unwrap_or(Fault::NameRefused)
    }

    /// Where the entry of this index goes.
    pub fn place<'a>(&'a self, index: u32, entry: &'a Entry) -> Cow<'a, RelPath> {
        self.places.of(index, entry)
    }

    /// What the entry of this index may replace, if it is still there as it was found.
    pub fn found(&self, index: u32) -> Option<&Found> {
        self.found.get(&index)
    }

    /// Files that may have the content of the entry of this index.
    pub fn compare(&self, index: u32) -> &[RelPath] {
        self.compare.get(&index).map_or(&[], Vec::as_slice)
    }

    /// Notes that an entry had to go elsewhere after all.
    pub fn move_to(&mut self, index: u32, entry: &Entry, place: RelPath) {
        if *self.place(index, entry) != place {
            self.places.insert(index, entry, place);
        }
    }

    /// Another name beside a place, of at most `longest` bytes, that `is_free` agrees to.
    pub fn other_name(
        &mut self,
        place: &RelPath,
        longest: usize,
        is_free: impl FnMut(&RelPath) -> bool,
    ) -> Option<RelPath> {
        self.names.find(place, longest, is_free)
    }

    /// Files that are here and only lack the mode that was offered.
    pub fn remode(&self) -> &[u32] {
        &self.remode
    }

    /// The folders that are to be made, those that an interrupted run has made, and those that are
    /// as they were offered. All others were there before, and are somebody's.
    pub fn made(&self, manifest: &Manifest, remembered: &Remembered) -> BTreeSet<u32> {
        let folders = self.actions().zip(manifest.entries());
        let folders = folders.filter(|(_, entry)| entry.kind == Kind::Folder);
        let made = folders.filter(|((index, action), _)| match action {
            Action::Create => true,
            Action::Keep => remembered.made.contains(index) || self.as_offered.contains(index),
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
        /// What it rounds times down to.
        grain: i64,
        largest: Option<u64>,
    }

    impl Eyes for Fake {
        fn look(&mut self, path: &RelPath) -> Found {
            self.looked.push(path.as_str().to_owned());
            let found = self.disk.iter().find(|(at, _)| match self.folds {
                true => at.to_lowercase() == path.folded(),
                false => *at == path.as_str(),
            });
            found.map_or(Found::Nothing, |(_, found)| found.clone())
        }

        fn is_time(&self, given: i64, found: i64) -> bool {
            given.div_euclid(self.grain.max(1)) == found.div_euclid(self.grain.max(1))
        }

        fn lists(&mut self, path: &RelPath) -> bool {
            self.disk.iter().any(|(at, _)| *at == path.as_str())
        }

        fn folds_blindly(&self) -> bool {
            let blind = |(_, found): &(_, Found)| found.stamp().is_some_and(|it| it.number == 0);
            self.folds && self.disk.iter().any(blind)
        }

        fn fits_everywhere(&self) -> u64 {
            self.largest.unwrap_or(u64::MAX)
        }

        fn largest_file(&mut self, _: &RelPath) -> u64 {
            self.largest.unwrap_or(u64::MAX)
        }

        fn is_part(&self, path: &RelPath) -> bool {
            path.name() == "x.ours.part"
        }

        fn longest_name(&self) -> usize {
            255
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
        entries
            .map(|((index, action), entry)| (action, plan.place(index, entry).as_str().to_owned()))
            .collect()
    }

    fn expect(planned: Vec<(Action, String)>, expected: &[(Action, &str)], name: &str) {
        let planned: Vec<_> =
            planned.iter().map(|(action, place)| (*action, place.as_str())).collect();
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
            let planned = (plan.action(0).unwrap(), plan.place(0, entry).as_str().to_owned());
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
            let hash = completed.then_some([1; 32]);
            let known = Known { size: 3, mtime: Some(5), completed, hash };
            let intact = Some(BTreeSet::from_iter(is_intact.then_some(0)));
            let files = [(0, known)].into();
            let remembered = Remembered { files, intact, ..Remembered::default() };
            let mut fake = Fake { disk: vec![("a", found)], ..Fake::default() };
            let survey = Survey::new(&manifest, &remembered, &mut fake);
            let plan = Plan::new(&manifest, &survey, &OnConflict::Rename.into(), &mut fake);
            let entry = manifest.get(0).unwrap();
            let place = plan.place(0, entry);
            assert_eq!((plan.action(0).unwrap(), place.as_str()), expected, "{name}");
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
            ("nothing there", twins.to_vec(), vec![], OnConflict::Rename, vec![(Create, "README"), (Create, "readme")]),
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
            expect(
                planned(&manifest, &Remembered::default(), &disk, policy, true),
                &expected,
                name,
            );
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
            let planned = planned.map(|((index, action), entry)| {
                (action, plan.place(index, entry).as_str().to_owned())
            });
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
        assert_eq!(plan.place(1, manifest.get(1).unwrap()).as_str(), "x.ours (1).part");
    }
}
