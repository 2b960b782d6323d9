//! What became of each file, for whoever wants to know of each.

use std::fs::File;
use std::io;

use super::{Assembler, State, state};
use crate::control;
use crate::error::Error;
use crate::event::{Event, Fate, Sink};
use crate::files::holes;
use crate::files::manifest::Entry;
use crate::files::path::RelPath;
use crate::files::sparse::ContentHash;
use crate::files::stamp::Stamp;
use crate::protocol::pages::HASH_LEN;

impl Assembler<'_> {
    /// Tells of a file whose fate is certain; one that will come once more is told of later.
    pub(super) fn tell_fate(&mut self, index: u32, entry: &Entry, sink: Sink<'_>) {
        let Some(untold) = &mut self.untold else { return };
        if entry.is_sparse() && state(&self.states, index) == Some(State::Arrived) {
            // Its SHA-256 is not known yet.
            return;
        }
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

    /// Tells of all other files, once both sides know that it is over. Those that were here before, and
    /// those with holes, are read for it.
    pub fn tell_others(&mut self, sink: Sink<'_>) {
        for index in self.untold.clone().unwrap_or_default() {
            let Some(entry) = self.tree.manifest.get(index).filter(|entry| entry.is_file()) else {
                continue;
            };
            let fate = match state(&self.states, index) {
                Some(State::Idle) => Fate::Already,
                Some(State::Arrived) if entry.is_sparse() => Fate::Arrived,
                _ => {
                    self.tell_fate(index, entry, sink);
                    continue;
                }
            };
            let place = self.tree.place(index, entry);
            let Ok(hash) = self.read_sum((index, &place), entry) else { return };
            let (path, place) = (&entry.path, Some(&place));
            sink(Event::File { path, place, size: entry.size(), hash, fate });
        }
    }

    /// The SHA-256 of what is at a place, if it can be read.
    ///
    /// # Errors
    /// Somebody wants to wait no longer.
    fn read_sum(
        &mut self,
        (index, place): (u32, &RelPath),
        entry: &Entry,
    ) -> Result<Option<[u8; HASH_LEN]>, Error> {
        control::check()?;
        let Ok(mut file) = self.tree.root.open_file(place) else { return Ok(None) };
        // Another may be there by now, or somebody has written to it.
        let mtime = self.times.get(&index).copied().unwrap_or(entry.mtime);
        let is_still = |file: &File| {
            Stamp::of(file).is_ok_and(|found| found.size == entry.size() && found.mtime == mtime)
        };
        if !is_still(&file) {
            return Ok(None);
        }
        let mut hash = ContentHash::Whole(Default::default());
        let check = || control::check().map_err(|_| io::Error::from(io::ErrorKind::Interrupted));
        let read = holes::hash(&mut file, entry.size(), &mut hash, check);
        control::check()?;
        Ok(read.ok().filter(|()| is_still(&file)).map(|()| hash.finish()))
    }
}
