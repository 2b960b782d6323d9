//! What is kept for the next run, and what the disk may do to this one.

use std::io;

use super::{Current, Intake, State, Take, Target, state};
use crate::error::{self, Error};
use crate::protocol::message::Reason;
use crate::protocol::pages::Fault;
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

    pub(super) fn save(&mut self) -> io::Result<()> {
        // The lock never promises more than the disk holds: the content first.
        let current = match &self.current {
            Some(Current { index, target: Target::Writer(writer), .. }) => {
                let (bytes, hash) = writer.sync()?;
                Some((*index, bytes, hash))
            }
            _ => None,
        };
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
