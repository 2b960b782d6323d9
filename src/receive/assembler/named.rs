//! A file whose content is all here: it gets its name, or another one is kept in its place, or it comes once more.

use std::io;

use super::{Assembler, State};
use crate::files::disk;
use crate::files::folder::Found;
use crate::files::manifest::Entry;
use crate::files::path::RelPath;
use crate::protocol::pages::HASH_LEN;
use crate::receive::part::Part;
use crate::receive::writer::{FileWriter, Verified};

/// What became of a file whose content is all here.
pub(super) enum Named {
    /// It is at its place, and has this time of last change.
    At(Option<i64>),
    /// It is not what was sent, or not what it was: it is asked for once more.
    Again,
    /// Some of its blocks are not what was sent: they are.
    Torn,
}

impl Assembler<'_> {
    /// It is known what became of a file that came.
    pub(super) fn settled(
        &mut self,
        index: u32,
        entry: &Entry,
        hash: [u8; HASH_LEN],
        arrived: Option<Named>,
    ) {
        // One of which blocks come again is done with when they are here.
        if !matches!(arrived, Some(Named::Torn)) {
            self.finished.push(index);
        }
        match arrived {
            Some(Named::At(mtime)) => {
                self.arrived(index, hash, mtime);
                // One of another name that could not be gone on with. What is not this user's alone stays.
                let (place, own) = (self.tree.place(index, entry), self.tree.root.own().clone());
                if self.older.contains_key(&index)
                    && let Ok(folder) = self.tree.root.parent_of(&place)
                {
                    Part::sweep_found(folder, &own, &place);
                }
            }
            Some(Named::Again) => self.set(index, State::Again),
            Some(Named::Torn) => self.set(index, State::Torn),
            // What there is of a file that is given up is of no use.
            None => self.sweep_all(index, entry),
        }
    }

    /// The file is at its place, with the time of last change that the disk has made of the
    /// offered one, where that was looked up.
    pub(super) fn arrived(&mut self, index: u32, hash: [u8; HASH_LEN], mtime: Option<i64>) {
        self.set(index, State::Arrived);
        self.summary.files += 1;
        let offered = self.tree.manifest.get(index).map(|entry| entry.mtime);
        if let Some(mtime) = mtime.filter(|_| mtime != offered) {
            self.times.insert(index, mtime);
        }
        if let Some(slot) = usize::try_from(index).ok().and_then(|at| self.hashes.get_mut(at)) {
            *slot = Some(hash);
        }
    }

    /// Names the file if its content is the sender's.
    pub(super) fn name(
        &mut self,
        index: u32,
        entry: &Entry,
        writer: FileWriter,
        hash: [u8; HASH_LEN],
    ) -> io::Result<Named> {
        let folder = self.tree.root.parent_of(&self.tree.plan.place(index, entry))?;
        let Some(verified) = writer.verify(folder, entry, &hash)? else {
            return Ok(Named::Again);
        };
        self.put(index, entry, verified, hash)
    }

    /// Gives a verified file its name.
    pub(super) fn put(
        &mut self,
        index: u32,
        entry: &Entry,
        verified: Verified,
        hash: [u8; HASH_LEN],
    ) -> io::Result<Named> {
        let put = match self.tree.twin(index, entry, &hash) {
            // It is here already under another name.
            Some(place) => {
                self.discard(index, entry, verified);
                let seen = self.tree.root.look(&place);
                return self.keep(index, entry, place, &seen);
            }
            None => self.tree.put(index, entry, &verified),
        };
        match put {
            Ok(mtime) => Ok(Named::At(Some(mtime))),
            // What could go on later is kept.
            Err(error) if disk::is_full(&error) || disk::may_be_gone(&error) => Err(error),
            Err(error) => {
                self.discard(index, entry, verified);
                // Somebody has put another file in its place: once more.
                let swapped = error.kind() == io::ErrorKind::InvalidData;
                if swapped { Ok(Named::Again) } else { Err(error) }
            }
        }
    }

    pub(super) fn discard(&mut self, index: u32, entry: &Entry, verified: Verified) {
        if let Ok(folder) = self.tree.root.parent_of(&self.tree.plan.place(index, entry)) {
            verified.discard(folder);
        }
    }

    /// A file that is here already gets the mode and time that were offered.
    pub(super) fn keep(
        &mut self,
        index: u32,
        entry: &Entry,
        place: RelPath,
        seen: &Found,
    ) -> io::Result<Named> {
        if !self.tree.root.look(&place).is_still(seen) {
            return Ok(Named::Again);
        }
        // First what may be a second name of it.
        self.sweep(index, entry);
        // What a colleague owns is here all the same.
        let _ = self.tree.attribute(&place, entry);
        let mtime = self.tree.root.look(&place).stamp().map(|stamp| stamp.mtime);
        self.tree.plan.move_to(index, entry, place);
        self.summary.already += 1;
        Ok(Named::At(mtime))
    }

    /// Removes what an interrupted run may have left of a file that does not need it.
    pub(super) fn sweep(&mut self, index: u32, entry: &Entry) {
        if self.older.contains_key(&index) {
            self.sweep_all(index, entry);
        }
    }

    /// Removes every unfinished file of an entry.
    pub(super) fn sweep_all(&mut self, index: u32, entry: &Entry) {
        let (place, own) = (self.tree.place(index, entry), self.tree.root.own().clone());
        if let Ok(folder) = self.tree.root.parent_of(&place) {
            Part::sweep(folder, &own, &place);
        }
    }
}
