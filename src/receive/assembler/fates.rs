//! What became of each file, for whoever wants to know of each.

use super::{Assembler, State, state};
use crate::control;
use crate::event::{Event, Fate, Sink};
use crate::files::manifest::Entry;
use crate::receive::resume::hash_file;

impl Assembler<'_> {
    /// Tells of a file whose fate is certain; one that will come once more is told of later.
    pub(super) fn tell_fate(&mut self, index: u32, entry: &Entry, sink: Sink<'_>) {
        let Some(untold) = &mut self.untold else { return };
        let fate = match state(&self.states, index) {
            Some(State::Arrived) => Fate::Arrived,
            Some(State::Failed(fault)) => Fate::Missing(fault),
            _ => return,
        };
        if untold.remove(&index) {
            let at = usize::try_from(index).ok();
            let hash = at.and_then(|at| self.hashes.get(at).copied()).flatten();
            let place = (fate == Fate::Arrived).then(|| self.tree.place(index, entry));
            let (path, place) = (&entry.path, place.as_ref());
            sink(Event::File { path, place, size: entry.size(), hash, fate });
        }
    }

    /// Tells of all other files, once both sides know that it is over. Those that were here before
    /// are read for it.
    pub fn tell_others(&mut self, sink: Sink<'_>) {
        for index in self.untold.clone().unwrap_or_default() {
            let Some(entry) = self.tree.manifest.get(index).filter(|entry| entry.is_file()) else {
                continue;
            };
            if state(&self.states, index) != Some(State::Idle) {
                self.tell_fate(index, entry, sink);
                continue;
            }
            if control::check().is_err() {
                return;
            }
            let place = self.tree.place(index, entry);
            let file = self.tree.root.open_file(&place).ok();
            let hash = file.and_then(|file| hash_file(file, entry.size()).ok());
            let hash = hash.map(|hash| sha2::Digest::finalize(hash).into());
            let (path, place, fate) = (&entry.path, Some(&place), Fate::Already);
            sink(Event::File { path, place, size: entry.size(), hash, fate });
        }
    }
}
