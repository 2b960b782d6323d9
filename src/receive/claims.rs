//! Which entry has which file and which place: no two have one, also on a disk that takes two names for one.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};

use super::eyes::Eyes;
use crate::files::naming::Naming;
use crate::files::path::RelPath;
use crate::files::stamp::Stamp;

/// Who has each place that is not the one offered.
pub type Held = HashMap<RelPath, u32>;

/// Whether a place is that of another entry.
pub fn is_held(held: &Held, place: &RelPath, index: u32) -> bool {
    held.get(place).is_some_and(|holder| *holder != index)
}

/// Which files on the disk an entry has been found to be: no two entries are one file.
#[derive(Debug, Default, Clone)]
pub struct Claims {
    numbers: HashSet<(u64, u64)>,
    /// Where files have no numbers and names fold.
    names: HashSet<Vec<u8>>,
    /// Places that are somebody's on a disk where different names are one, and whether each is a
    /// folder's.
    places: HashMap<Vec<u8>, bool>,
}

impl Claims {
    /// Claims a file; false when another entry has it.
    pub fn claim(&mut self, path: &RelPath, stamp: &Stamp, eyes: &mut impl Eyes) -> bool {
        if stamp.number == 0 {
            let name = || eyes.naming().key(path.as_bytes()).into_owned();
            return !eyes.folds_blindly() || self.names.insert(name());
        }
        // Hard links are two files that have one number, and both are listed.
        self.numbers.insert((stamp.disk, stamp.number)) || (stamp.names > 1 && eyes.lists(path))
    }

    /// Claims a place; false when the disk takes it for that of another entry. Two folders can be
    /// one.
    pub fn claim_place(&mut self, path: &RelPath, is_folder: bool, naming: Naming) -> bool {
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
    pub fn has_place(&self, path: &RelPath, naming: Naming) -> bool {
        naming.has_twins() && self.places.contains_key(&*naming.key(path.as_bytes()))
    }
}
