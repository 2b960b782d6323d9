//! What is kept for the next run, and what the disk may do to this one.

use std::io;
use std::time::Instant;

use super::{Current, Intake, State, Take, Target, state};
use crate::bounds::SYNC_PACE;
use crate::error::{self, Error};
use crate::protocol::message::Reason;
use crate::protocol::pages::{Fault, HASH_LEN};
use crate::protocol::session::Stop;
use crate::receive::lock::Snapshot;

impl Intake<'_> {
    /// Both sides know that it is over: nothing is left to go on with.
    pub fn forget_state(&mut self) {
        // A lock that cannot be removed is a hint that nobody needs.
        let _ = self.lock.remove(self.tree.root);
    }

    /// Keeps what there is for the next run.
    pub fn keep_state(&mut self) {
        let _ = self.await_crew();
        // Without a newer lock the older one serves, and the unfinished file says how far it is.
        let _ = self.save();
    }

    /// A file that cannot be written is given up; a disk that is full ends the session.
    pub(super) fn survive<T>(&mut self, index: u32, result: io::Result<T>) -> Take<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_full(&error) => Err(self.disk_is_full()),
            Err(_) => {
                self.set(index, State::Failed(Fault::Unwritable));
                Ok(None)
            }
        }
    }

    fn disk_is_full(&self) -> Stop {
        let root = &self.tree.root;
        let free = root.free_space().unwrap_or(0);
        let path = root.path().to_string_lossy();
        let error = Error::failure(format!("the disk of \"{}\" is full", error::shown(&path)))
            .hint("make room there and run the same command again: it goes on where it stopped");
        Stop::Own(Reason::NoSpace { needed: 0, free }, error)
    }

    /// Without a lock nothing could be resumed, but everything can be received.
    pub(super) fn saved(&self, saved: io::Result<()>) -> Take {
        match saved {
            Err(error) if is_full(&error) => Err(self.disk_is_full()),
            _ => Ok(()),
        }
    }

    /// Saves the lock when it is time. Now and then the content of the file at hand goes to the disk
    /// first, while more of it comes; in between the lock tells what was there last.
    pub(super) fn save_when_due(&mut self) -> Take {
        let saved = match (&self.syncing, &self.current) {
            (Some((index, syncing)), current) => {
                let Some(synced) = syncing.done() else { return Ok(()) };
                let is_at_hand = current.as_ref().is_some_and(|current| current.index == *index);
                let synced = synced.map(|(bytes, hash)| (*index, bytes, hash));
                self.syncing = None;
                synced.and_then(|synced| {
                    self.synced = Some(synced).filter(|_| is_at_hand);
                    self.save_with(self.synced)
                })
            }
            _ if !self.lock.is_due() => return Ok(()),
            (None, Some(Current { index, target: Target::Writer(writer), .. }))
                if self.last_sync.elapsed() >= SYNC_PACE =>
            {
                self.last_sync = Instant::now();
                writer.sync_beside().map(|syncing| self.syncing = Some((*index, syncing)))
            }
            (None, current) => {
                let at_hand = current.as_ref().map(|current| current.index);
                self.save_with(self.synced.filter(|(index, ..)| Some(*index) == at_hand))
            }
        };
        self.saved(saved)
    }

    /// Saves the lock now.
    pub(super) fn save(&mut self) -> io::Result<()> {
        let current = match &self.current {
            Some(Current { index, target: Target::Writer(writer), .. }) => {
                let (bytes, hash) = writer.sync()?;
                Some((*index, bytes, hash))
            }
            _ => None,
        };
        self.save_with(current)
    }

    /// The lock never promises more than the disk holds: `current` tells how much that is of the
    /// file at hand.
    fn save_with(&mut self, current: Option<(u32, u64, [u8; HASH_LEN])>) -> io::Result<()> {
        let states = &self.states;
        let snapshot = Snapshot {
            head: &self.head,
            manifest: self.tree.manifest,
            done: &self.hashes,
            wanted: &|index| {
                matches!(
                    state(states, index),
                    Some(State::Wanted | State::AtCrew | State::Again | State::Arrived)
                )
            },
            current,
            parts: &self.parts,
            places: self.tree.plan.places(),
            made: &self.made,
            older: &self.older,
        };
        self.lock.save(self.tree.root, &snapshot)
    }
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
