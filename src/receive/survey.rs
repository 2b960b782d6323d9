//! What each entry of an offer meets on the disk, before anything is decided.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::claims::{Claims, Held, is_held};
use super::eyes::Eyes;
use super::names::Names;
use crate::files::folder::Found;
use crate::files::manifest::{Entry, Kind, Manifest};
use crate::files::naming::Naming;
use crate::files::path::RelPath;
use crate::files::stamp::Stamp;
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

/// What the entries of a manifest meet, in their order.
#[derive(Debug, Default)]
pub struct Survey {
    pub(super) meets: Vec<Meets>,
    /// What is at the places of those that meet a file or link which is not simply theirs.
    found: BTreeMap<u32, Found>,
    /// Where entries go that cannot have their own names here, and where an earlier run put those
    /// that could not go to their own place.
    pub(super) places: Places,
    /// Of those, the ones that are not there, while their own place may have their content.
    pub(super) own_place: BTreeSet<u32>,
    /// Files that only lack the mode that was offered.
    pub(super) remode: Vec<u32>,
    /// Folders that have the mode and time that were offered: they stay so, whatever comes into
    /// them.
    pub(super) as_offered: BTreeSet<u32>,
    /// Whether size and time are not enough for a file to be the one offered.
    pub(super) doubts: bool,
    pub(super) claims: Claims,
    pub(super) held: Held,
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
