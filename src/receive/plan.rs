//! What to do with each entry of an offer: computed as a value, then asked about, then done.

use std::borrow::Cow;
use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

pub use super::consent::OnConflict;
use super::consent::Policy;
use super::names::Names;
use crate::files::folder::Found;
use crate::files::manifest::{Entry, Kind, Manifest};
use crate::files::naming::Naming;
use crate::files::path::RelPath;
use crate::files::root::Root;
use crate::files::stamp::Stamp;
use crate::protocol::fault::Fault;
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
    /// What another entry is: one before it, on a disk that does not tell the two names apart, or
    /// one that has this place since an earlier run.
    Twin,
    /// Its own name: it belongs to this program, and there is no other.
    Unholdable,
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
    /// Which names the disk takes for one.
    fn naming(&self) -> Naming;
    /// Bytes that every file may have, wherever it goes.
    fn fits_everywhere(&self) -> u64;
    /// Bytes that the file of this place may have.
    fn largest_file(&mut self, path: &RelPath) -> u64;
    /// Whether this is the name of an unfinished file of ours.
    fn is_part(&self, path: &RelPath) -> bool;
    /// Bytes that a name may have.
    fn longest_name(&self) -> usize;
    /// The name for an entry in the place of its own, if its disk cannot hold that.
    fn mapped(&mut self, path: &RelPath) -> Option<String>;
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

    fn naming(&self) -> Naming {
        Root::naming(self)
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

    fn mapped(&mut self, path: &RelPath) -> Option<String> {
        Root::mapped(self, path)
    }
}

/// What the entries of a manifest meet, in their order.
#[derive(Debug, Default)]
pub struct Survey {
    meets: Vec<Meets>,
    /// What is at the places of those that meet a file or link which is not simply theirs.
    found: BTreeMap<u32, Found>,
    /// Where entries go that cannot have their own names here, and where an earlier run put those
    /// that could not go to their own place.
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
    held: Held,
}

/// Who has each place that is not the one offered.
type Held = HashMap<RelPath, u32>;

/// Whether a place is that of another entry.
fn is_held(held: &Held, place: &RelPath, index: u32) -> bool {
    held.get(place).is_some_and(|holder| *holder != index)
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
    held: Held,
}

/// Which files on the disk an entry has been found to be: no two entries are one file.
#[derive(Debug, Default, Clone)]
struct Claims {
    numbers: HashSet<(u64, u64)>,
    /// Where files have no numbers and names fold.
    names: HashSet<Vec<u8>>,
    /// Places that are somebody's on a disk where different names are one, and whether each is a
    /// folder's.
    places: HashMap<Vec<u8>, bool>,
}

impl Claims {
    /// Claims a file; false when another entry has it.
    fn claim(&mut self, path: &RelPath, stamp: &Stamp, eyes: &mut impl Eyes) -> bool {
        if stamp.number == 0 {
            let name = || eyes.naming().key(path.as_bytes()).into_owned();
            return !eyes.folds_blindly() || self.names.insert(name());
        }
        // Hard links are two files that have one number, and both are listed.
        self.numbers.insert((stamp.disk, stamp.number)) || (stamp.names > 1 && eyes.lists(path))
    }

    /// Claims a place; false when the disk takes it for that of another entry. Two folders can be
    /// one.
    fn claim_place(&mut self, path: &RelPath, is_folder: bool, naming: Naming) -> bool {
        if !naming.has_twins() {
            return true;
        }
        match self.places.entry(naming.key(path.as_bytes()).into_owned()) {
            Slot::Vacant(free) => {
                free.insert(is_folder);
                true
            }
            Slot::Occupied(taken) => is_folder && *taken.get(),
        }
    }

    /// Whether the disk takes this place for one that is claimed.
    fn has_place(&self, path: &RelPath, naming: Naming) -> bool {
        naming.has_twins() && self.places.contains_key(&*naming.key(path.as_bytes()))
    }
}

impl Survey {
    /// Looks at every place an entry would go to, though not into folders that do not exist.
    pub fn new(manifest: &Manifest, remembered: &Remembered, eyes: &mut impl Eyes) -> Self {
        let places = mapped_places(manifest, &remembered.places, eyes);
        let held = places.iter().map(|(index, place)| (place.clone(), index)).collect();
        let mut survey = Self { places, held, ..Self::default() };
        survey.meets.reserve(manifest.entries().len());
        let shared = survey.claim_places(manifest, eyes);
        // The last folder that is not there or not a folder: all in it meets nothing.
        let mut absent: Option<&RelPath> = None;
        for (index, entry) in manifest.indexed() {
            let moved = survey.places.own(index).is_some();
            let inside_absent = absent.is_some_and(|folder| entry.path.is_inside(folder));
            let met = match unholdable(entry, eyes).filter(|_| !moved) {
                Some(met) => met,
                None if shared.contains(&index) || survey.is_anothers(index, entry) => Meets::Twin,
                // Which of two names is kept does not depend on which file is there first.
                None if !survey.claim_place(index, entry, eyes.naming()) => Meets::Twin,
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

    fn claim_place(&mut self, index: u32, entry: &Entry, naming: Naming) -> bool {
        if self.places.own(index).is_some() {
            return true;
        }
        let place = self.places.of(index, entry);
        self.claims.claim_place(&place, entry.kind == Kind::Folder, naming)
    }

    /// Claims the places of those that have one of their own, and what is there, before an entry
    /// comes whose name is that place. Returns those whose place is another's as well.
    fn claim_places(&mut self, manifest: &Manifest, eyes: &mut impl Eyes) -> BTreeSet<u32> {
        let mut shared = BTreeSet::new();
        for (index, place) in self.places.iter() {
            let is_folder = manifest.get(index).is_some_and(|it| it.kind == Kind::Folder);
            let mut is_free = self.claims.claim_place(place, is_folder, eyes.naming());
            if let Some(stamp) = eyes.look(place).stamp() {
                is_free &= self.claims.claim(place, stamp, eyes);
            }
            if !is_free {
                shared.insert(index);
            }
        }
        shared
    }

    /// Whether the place of an entry is that of another.
    fn is_anothers(&self, index: u32, entry: &Entry) -> bool {
        !self.held.is_empty() && is_held(&self.held, &self.places.of(index, entry), index)
    }

    fn meet(
        &mut self,
        index: u32,
        entry: &Entry,
        remembered: &Remembered,
        eyes: &mut impl Eyes,
    ) -> Meets {
        let place = self.places.of(index, entry);
        let found = eyes.look(&place);
        if let Some(stamp) = found.stamp().filter(|_| self.places.own(index).is_none())
            && !self.claims.claim(&place, stamp, eyes)
        {
            return Meets::Twin;
        }
        let known = remembered.files.get(&index);
        let left = known.map(|known| Left {
            known,
            is_intact: remembered.intact.as_ref().map(|intact| intact.contains(&index)),
        });
        let mut met = compare(entry, &found, left, eyes);
        let is_moved = *place != entry.path;
        // A name that others may be given as well proves nothing, if no lock says whose it is.
        let is_guess = is_moved && left.is_none() && remembered.places.of(index, entry) != place;
        if met == Meets::Itself && entry.is_file() && is_guess {
            met = Meets::Touched;
        }
        let is_free = || !is_held(&self.held, &entry.path, index) && !is_ours(&entry.path, eyes);
        if met == Meets::Nothing && is_moved && is_free() {
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

/// The places of those whose names the disk cannot hold, or are the program's own: such a place is
/// theirs like any other. No two get one, nor one that is offered.
fn mapped_places(manifest: &Manifest, earlier: &Places, eyes: &mut impl Eyes) -> Places {
    let (mut places, mut names) = (earlier.clone(), Names::default());
    // Capitals count for nothing, as there are disks where they do.
    let mut taken: HashSet<_> = earlier.iter().map(|(_, place)| place.folded()).collect();
    for (index, entry) in manifest.indexed() {
        if places.own(index).is_some() {
            continue;
        }
        let mapped = eyes.mapped(&entry.path);
        if mapped.is_none() && !is_ours(&entry.path, eyes) {
            continue;
        }
        let place = places.of(index, entry).into_owned();
        let found = names.find(&place, (eyes.longest_name(), mapped), |name| {
            // Beside it in the offer there may be one of this name, whatever the folder is called.
            let beside = entry.path.with_name(name.name());
            let is_offered = |path: &RelPath| manifest.find(path).is_some();
            let is_offered = is_offered(name) || beside.is_ok_and(|it| is_offered(&it));
            !is_offered && !is_ours(name, eyes) && !taken.contains(&name.folded())
        });
        if let Some(place) = found {
            taken.insert(place.folded());
            places.insert(index, entry, place);
        }
    }
    places
}

fn unholdable(entry: &Entry, eyes: &impl Eyes) -> Option<Meets> {
    is_ours(&entry.path, eyes).then_some(Meets::Unholdable)
}

/// Whether a name is one of the program's own.
fn is_ours(path: &RelPath, eyes: &impl Eyes) -> bool {
    lock::is_reserved(path) || eyes.is_part(path)
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
        (Kind::Link(target), Found::Link(old, _)) if target.is(old) => return Meets::Itself,
        (Kind::File(size) | Kind::Sparse { size, .. }, Found::File(stamp)) => (*size, stamp),
        (Kind::File(_) | Kind::Sparse { .. } | Kind::Link(_), Found::File(_) | Found::Link(..)) => {
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
        let held = survey.held.clone();
        let mut plan = Self { remode, as_offered, held, ..Self::default() };
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
                    Some(Elsewhere::Free(free)) => {
                        plan.held.insert(free.clone(), index);
                        own = Some(free);
                    }
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
        let Self { names, compare, held, .. } = self;
        let mut there = false;
        let fits = (eyes.longest_name(), eyes.mapped(place));
        // What only looks the same may be what another entry was mapped to.
        let doubts = doubts || fits.1.is_some() || *place != entry.path;
        let name = names.find(place, fits, |name| {
            let is_anothers = is_held(held, name, index) || claims.has_place(name, eyes.naming());
            if manifest.find(name).is_some() || is_anothers {
                return false;
            }
            let found = eyes.look(name);
            match (&found, &entry.kind) {
                (Found::Nothing, _) => return true,
                (Found::File(stamp), _) if entry.is_file() && stamp.size == entry.size() => {
                    if doubts || !eyes.is_time(entry.mtime, stamp.mtime) {
                        // Its content may be the same all the same.
                        let compare = compare.entry(index).or_default();
                        if !compare.contains(name) {
                            compare.push(name.clone());
                        }
                    } else if claims.claim(name, stamp, eyes) {
                        there = true;
                    }
                }
                (Found::Link(old, stamp), Kind::Link(target)) if target.is(old) => {
                    there = claims.claim(name, stamp, eyes);
                }
                _ => {}
            }
            there
        })?;
        claims.claim_place(&name, entry.kind == Kind::Folder, eyes.naming());
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
            self.held.insert(place.clone(), index);
            self.places.insert(index, entry, place);
        }
    }

    /// Another name beside a place that `is_free` agrees to; see [`Names::find`] for what fits.
    pub fn other_name(
        &mut self,
        place: &RelPath,
        fits: (usize, Option<String>),
        mut is_free: impl FnMut(&RelPath) -> bool,
    ) -> Option<RelPath> {
        let Self { names, held, .. } = self;
        names.find(place, fits, |name| !held.contains_key(name) && is_free(name))
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
mod tests;
