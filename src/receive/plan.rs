//! What to do with each entry of an offer: computed as a value, then asked about, then done.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::claims::{Claims, Held, is_held};
pub use super::consent::OnConflict;
use super::consent::Policy;
use super::eyes::Eyes;
use super::names::Names;
use super::survey::{Meets, Survey};
use crate::files::folder::Found;
use crate::files::manifest::{Entry, Kind, Manifest};
use crate::files::path::RelPath;
use crate::files::stamp::Stamp;
use crate::protocol::fault::Fault;
use crate::receive::lock::Remembered;
use crate::receive::places::Places;

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

/// Whether what is offered was changed later than the file that is there.
fn is_newer(entry: &Entry, old: &Stamp, eyes: &impl Eyes) -> bool {
    old.mtime < entry.mtime && !eyes.is_time(entry.mtime, old.mtime)
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
