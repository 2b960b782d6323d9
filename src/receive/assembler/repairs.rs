//! Files of which blocks differ: they are closed, asked for block by block, and named once all of
//! them are what the sender has.

use std::collections::BTreeSet;
use std::io;

use super::current::{Current, Target};
use super::named::Named;
use super::{Assembler, State, Take, state};
use crate::bounds::BLOCK;
use crate::files::manifest::Entry;
use crate::files::sparse::ContentHash;
use crate::files::stamp::Stamp;
use crate::files::states::{self, Blocks};
use crate::protocol::course::Course;
use crate::protocol::pages::{HASH_LEN, Range};
use crate::protocol::reader::Malformed;
use crate::protocol::session::OUT_OF_TURN;
use crate::receive::blocks::{Damage, Repair};
use crate::receive::writer::{FileWriter, Verified};

impl Assembler<'_> {
    /// Bytes of a block, whether or not states are sent.
    pub(super) fn block(&self) -> u64 {
        self.blocks.unwrap_or(BLOCK)
    }

    /// Bytes of a block of this file, if its sender tells the states behind them.
    pub(super) fn blocks_of(&self, entry: &Entry) -> Option<u64> {
        self.blocks.filter(|_| !entry.is_sparse())
    }

    /// The sender's content differs from what the plan went on with: the file begins anew.
    pub(super) fn start_anew(&mut self) -> Take {
        // Or it would be told later to hold what is cut off now.
        self.await_flush()?;
        let block = self.block();
        let current = self.current.as_mut().ok_or(OUT_OF_TURN)?;
        // Nobody reads any more what is cut off now.
        current.check = None;
        (current.may_begin_anew, current.damage) = (false, Damage::default());
        let index = current.index;
        let entry = self.tree.manifest.get(index).ok_or(OUT_OF_TURN)?;
        self.anew = self.anew.saturating_add(current.course.at());
        self.allowance.again(current.course.at());
        current.course = Course::new(self.blocks, 0, entry.size());
        self.synced = None;
        if let Target::Writer(writer) = &mut current.target
            && let Err(error) = writer.restart(ContentHash::in_blocks(entry, block))
        {
            return self.give_up(index, entry, error);
        }
        Ok(())
    }

    /// A whole block has come, and the sender's state behind it.
    pub(super) fn state(&mut self, theirs: states::State) -> Take {
        let current = self.current.as_mut().ok_or(OUT_OF_TURN)?;
        let blocks = current.course.state()?;
        let number = blocks.saturating_sub(1);
        match &mut current.target {
            Target::Writer(writer) => {
                if writer.agree(theirs) {
                    return Ok(());
                }
                current.damage.add(number);
            }
            Target::Repair(writer) => {
                let Some(repair) = self.repairs.get_mut(&current.index) else { return Ok(()) };
                // A sender that says something else of a block than before has another content.
                repair.lost |= repair.state(blocks) != Some(&theirs);
                if !writer.agree(theirs) {
                    repair.still.add(number);
                }
            }
            Target::Same(..) | Target::Stale | Target::Nowhere => {}
        }
        Ok(())
    }

    /// The blocks of a file that differ, and its end if that does; nothing where it differs as a
    /// whole.
    pub(super) fn damage_of(
        &self,
        mut damage: Damage,
        writer: &FileWriter,
        (entry, hash): (&Entry, [u8; HASH_LEN]),
    ) -> Option<Damage> {
        let size = entry.size();
        if writer.is_whole(size, &hash) || self.blocks_of(entry).is_none() {
            return Some(damage);
        }
        // Behind the last whole block. Where nothing is there, or no block is whole, the file as a
        // whole differs.
        let whole = size / self.block();
        let tail = u32::try_from(whole).ok().filter(|_| whole > 0 && size % self.block() > 0);
        tail.map(|tail| {
            damage.add(tail);
            damage
        })
    }

    /// Keeps a file of which blocks have to come again.
    pub(super) fn put_by(
        &mut self,
        index: u32,
        entry: &Entry,
        writer: FileWriter,
        (hash, damage): ([u8; HASH_LEN], Damage),
    ) -> io::Result<Named> {
        let states = writer.states().to_vec();
        let seen = match self.close(index, entry, writer) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Named::Again),
            closed => closed?,
        };
        self.repairs.insert(index, Repair::new(states, hash, seen, damage));
        Ok(Named::Torn)
    }

    fn close(&mut self, index: u32, entry: &Entry, writer: FileWriter) -> io::Result<Stamp> {
        let place = self.tree.place(index, entry);
        let folder = self.tree.root.parent_of(&place)?;
        writer.put_by(folder)
    }

    /// What is to be asked for block by block in the next round.
    pub(super) fn ask_for_blocks(&mut self) -> Vec<(u32, Range)> {
        let mut asked = Vec::new();
        // What was given up meanwhile is not asked for, whatever its sender has left out.
        let (states, manifest) = (&self.states, self.tree.manifest);
        let is_given_up = |index: &u32| state(states, *index) != Some(State::Torn);
        let given_up: Vec<_> = self.repairs.keys().copied().filter(is_given_up).collect();
        for index in given_up {
            self.repairs.remove(&index);
            if let Some(entry) = manifest.get(index) {
                self.sweep_all(index, entry);
            }
        }
        for (index, repair) in &mut self.repairs {
            asked.extend(repair.ask().iter().map(|range| (*index, *range)));
        }
        for index in asked.iter().map(|(index, _)| *index).collect::<BTreeSet<_>>() {
            self.set(index, State::Mending);
        }
        asked
    }

    /// Bytes that are asked for block by block.
    pub(super) fn bytes_in_blocks(&self) -> u64 {
        let block = self.block();
        let bytes = self.repairs.iter().flat_map(|(index, repair)| {
            let size = self.tree.manifest.get(*index).map_or(0, Entry::size);
            repair.asked.iter().map(move |range| range.bytes(block, size))
        });
        bytes.sum()
    }

    /// A range of blocks that was asked for begins.
    pub(super) fn start_range(&mut self, index: u32, offset: u64) -> Take {
        let block = self.block();
        let entry = self.tree.manifest.get(index).ok_or(OUT_OF_TURN)?;
        let repair = self.repairs.get_mut(&index).ok_or(OUT_OF_TURN)?;
        let range = repair.asked.get(repair.begun).copied();
        let range = range.ok_or(Malformed("a file came that was not asked for"))?;
        if offset != u64::from(range.first).saturating_mul(block) || self.current.is_some() {
            return Err(OUT_OF_TURN.into());
        }
        repair.begun += 1;
        let before = repair.state(range.first).copied().unwrap_or_default();
        let hash = ContentHash::Whole(Blocks::behind(block, range.first.into(), &before));
        let (seen, lost) = (repair.seen, repair.lost);
        let given_up = state(&self.states, index) != Some(State::Mending);
        let target = match given_up || lost {
            true => Target::Nowhere,
            false => {
                let found = self.part(index, entry, &seen);
                let found = found.and_then(|part| {
                    let folder = self.tree.root.parent_of(&self.tree.plan.place(index, entry))?;
                    FileWriter::at(part, folder, (offset, hash))
                });
                match found {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Target::Stale,
                    found => self.survive(index, found)?.map_or(Target::Nowhere, Target::Repair),
                }
            }
        };
        let course =
            Course::new(self.blocks, offset, range.end().saturating_mul(block).min(entry.size()));
        self.current = Some(Current::new(index, entry, target, course));
        self.synced = None;
        self.moved.1 = index;
        Ok(())
    }

    /// A range of blocks has ended; `whole` with the file, of which this are size and hash.
    pub(super) fn end_range(&mut self, whole: Option<(u64, [u8; HASH_LEN])>) -> Take {
        let Current { index, target, course, .. } = self.current.take().ok_or(OUT_OF_TURN)?;
        let block = self.block();
        let entry = self.tree.manifest.get(index).ok_or(OUT_OF_TURN)?;
        let repair = self.repairs.get_mut(&index).ok_or(OUT_OF_TURN)?;
        course.end(course.at())?;
        if whole.map_or(course.at() == entry.size(), |(size, _)| {
            size != entry.size() || size != course.at()
        }) {
            return Err(OUT_OF_TURN.into());
        }
        match target {
            Target::Repair(writer) => {
                if let Some((size, hash)) = whole
                    && (hash != repair.hash || !writer.is_whole(size, &hash))
                {
                    let tail = u32::try_from(size / block).ok().filter(|_| size % block > 0);
                    match tail.filter(|_| hash == repair.hash) {
                        Some(tail) => repair.still.add(tail),
                        None => repair.lost = true,
                    }
                }
                let closed = match self.close(index, entry, writer) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Some(None),
                    closed => self.survive(index, closed)?.map(Some),
                };
                match (closed, self.repairs.get_mut(&index)) {
                    (Some(Some(seen)), Some(repair)) => repair.seen = seen,
                    (Some(None), Some(repair)) => repair.lost = true,
                    _ => {}
                }
            }
            // What is there is not what was put by.
            Target::Stale => repair.lost = true,
            Target::Writer(_) | Target::Same(..) | Target::Nowhere => {}
        }
        if self.repairs.get(&index).is_some_and(|repair| !repair.is_awaited()) {
            self.conclude(index, entry)?;
        }
        Ok(())
    }

    /// All that was asked for of a file in this round has come.
    fn conclude(&mut self, index: u32, entry: &Entry) -> Take {
        let Some(mut repair) = self.repairs.remove(&index) else { return Ok(()) };
        if repair.lost
            || repair.still.is_empty()
            || state(&self.states, index) != Some(State::Mending)
        {
            self.finished.push(index);
        }
        if state(&self.states, index) != Some(State::Mending) {
            // What there is of a file that is given up is of no use.
            self.sweep_all(index, entry);
            return Ok(());
        }
        if repair.lost {
            self.sweep_all(index, entry);
            self.set(index, State::Again);
            return Ok(());
        }
        if !repair.still.is_empty() {
            (repair.damage, repair.asked) = (std::mem::take(&mut repair.still), Vec::new());
            self.repairs.insert(index, repair);
            self.set(index, State::Torn);
            return Ok(());
        }
        self.going.insert(index, repair.states.clone());
        self.let_go(index)?;
        let named = self.name_mended(index, entry, &repair);
        let named = self.survive(index, named)?;
        self.going.remove(&index);
        match named {
            Some(Named::At(mtime)) => {
                self.arrived(index, repair.hash, mtime);
                self.sweep(index, entry);
            }
            Some(Named::Again | Named::Torn) => self.set(index, State::Again),
            None => self.sweep_all(index, entry),
        }
        Ok(())
    }

    fn name_mended(&mut self, index: u32, entry: &Entry, repair: &Repair) -> io::Result<Named> {
        let found = self.part(index, entry, &repair.seen);
        let (file, part) = match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Named::Again),
            found => found?,
        };
        let folder = self.tree.root.parent_of(&self.tree.plan.place(index, entry))?;
        let verified = Verified::close(file, part, folder, entry)?;
        self.put(index, entry, verified, repair.hash)
    }
}
