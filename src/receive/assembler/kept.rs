//! What is kept for the next run, and what the disk may do to this one.

use std::io;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Instant;

use super::current::{Current, Target};
use super::{Assembler, State, Take, state};
use crate::bounds::{FLUSH_PACE, MAX_TOLD};
use crate::error::{self, Error, reason};
use crate::files::disk::{self, Flush};
use crate::protocol::fault::Fault;
use crate::protocol::pages::HASH_LEN;
use crate::protocol::reason::Reason;
use crate::protocol::session::Stop;
use crate::receive::lock::Snapshot;

/// A part of a file: which, so many bytes, their SHA-256.
type AtHand = (u32, u64, [u8; HASH_LEN]);

/// What is on its way to the disk, without anybody waiting for it.
pub(super) struct Flushing {
    /// The file at hand, as far as it was there at the beginning.
    at_hand: Option<AtHand>,
    done: Receiver<io::Result<()>>,
}

impl Assembler<'_> {
    /// Both sides know that it is over: nothing is left to go on with.
    pub fn forget_state(&mut self) {
        // A lock that cannot be removed is a hint that nobody needs.
        let _ = self.lock.remove(self.tree.root);
    }

    /// Keeps what there is for the next run.
    pub fn keep_state(&mut self) {
        let _ = self.await_pool();
        if let Some(flushing) = self.flushing.take()
            && let Ok(Err(error)) = flushing.done.recv()
        {
            // Whatever comes of this session, the next one must not call it a success.
            self.tree.root.top().disk().note_failed(&error);
        }
        // Without a newer lock the older one serves, and the unfinished file says how far it is.
        let _ = self.save();
    }

    /// A file that cannot be written is given up; a disk that is full or gone ends the session.
    pub(super) fn survive<T>(&mut self, index: u32, result: io::Result<T>) -> Take<Option<T>> {
        let error = match result {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error,
        };
        self.check_disk(&error)?;
        let is_link = self.tree.manifest.get(index).is_some_and(|entry| entry.is_link());
        self.set(index, State::Failed(fault_of(&error, is_link)));
        if self.reasons.len() < MAX_TOLD {
            self.reasons.insert(index, reason(&error));
        }
        Ok(None)
    }

    /// Whether an error is about more than one file.
    fn check_disk(&self, error: &io::Error) -> Take {
        if disk::is_full(error) {
            return Err(self.disk_is_full(error));
        }
        // One file may be at fault, or one folder: then the rest goes on.
        let gone = disk::may_be_gone(error).then(|| self.tree.root.is_gone()).flatten();
        gone.map_or(Ok(()), |gone| Err(self.disk_is_gone(&gone)))
    }

    fn disk_is_full(&self, error: &io::Error) -> Stop {
        let room = self.tree.root.room();
        let path = self.shown_root();
        let again = "and run the same command again: it goes on where it stopped";
        if room.files == Some(0) && room.bytes != Some(0) {
            let error = Error::failure(format!("the disk of \"{path}\" takes no more files"))
                .hint(format!("it has no inodes left: remove some files there {again}"));
            return Stop::Own(Reason::NoFiles, error);
        }
        let quota = error.kind() == io::ErrorKind::QuotaExceeded;
        let why = if quota { format!(": {}", reason(error)) } else { String::new() };
        let error = Error::failure(format!("the disk of \"{path}\" is full{why}"))
            .hint(format!("make room there {again}"));
        Stop::Own(Reason::NoSpace { needed: 0, free: room.bytes.unwrap_or(0) }, error)
    }

    fn disk_is_gone(&self, error: &io::Error) -> Stop {
        let path = self.shown_root();
        let error =
            Error::failure(format!("\"{path}\" cannot be written to any more: {}", reason(error)))
                .hint("once it can, run the same command again: it goes on where it stopped");
        Stop::Own(Reason::DiskGone, error)
    }

    fn shown_root(&self) -> String {
        error::shown_os(self.tree.root.path()).into_owned()
    }

    /// Waits until everything is on the disk for certain.
    pub(super) fn flush(&mut self) -> Take {
        let begun = match self.flushing.take() {
            Some(flushing) => flushing.done.recv().unwrap_or(Ok(())),
            None => Ok(()),
        };
        begun.and_then(|()| self.tree.root.flush()).map_err(|error| self.not_written(&error))
    }

    fn not_written(&self, error: &io::Error) -> Stop {
        let path = self.shown_root();
        let error = Error::failure(format!(
            "what came in could not be written to the disk of \"{path}\": {}",
            reason(error)
        ))
        .hint("look after that disk; the same send and receive then mend what is missing");
        Stop::Own(Reason::NotWritten, error)
    }

    /// Without a lock nothing could be resumed, but everything can be received.
    pub(super) fn saved(&self, saved: io::Result<()>) -> Take {
        match saved {
            Err(error) => self.check_disk(&error),
            Ok(()) => Ok(()),
        }
    }

    /// Lets what was written go to the disk, while more of it comes, and saves the lock when it is
    /// time; it tells of the file at hand what was there last.
    pub(super) fn save_when_due(&mut self) -> Take {
        if let Some(flushing) = &self.flushing {
            match flushing.done.try_recv() {
                Err(TryRecvError::Empty) => {}
                ended => {
                    self.synced = self.flushing.take().and_then(|flushing| flushing.at_hand);
                    ended.unwrap_or(Ok(())).map_err(|error| self.not_written(&error))?;
                }
            }
        } else if self.last_flush.elapsed() >= FLUSH_PACE {
            let begun = self.begin_flush();
            self.saved(begun)?;
        }
        if !self.lock.is_due() {
            return Ok(());
        }
        let at_hand = self.current.as_ref().map(|current| current.index);
        let saved = self.save_with(self.synced.filter(|(index, ..)| Some(*index) == at_hand));
        self.saved(saved)
    }

    /// Lets everything that is written go to the disk, without waiting for one that may take a
    /// second or more.
    fn begin_flush(&mut self) -> io::Result<()> {
        self.last_flush = Instant::now();
        let (mut at_hand, mut file) = (None, None);
        if let Some(Current { index, target: Target::Writer(writer), .. }) = &self.current {
            let (written, hash) = writer.state()?;
            at_hand = Some((*index, written, hash));
            if self.tree.root.top().disk().flush.is_each() {
                file = Some(writer.handle()?);
            }
        }
        let flush = self.tree.root.flusher();
        let (tell, done) = mpsc::channel();
        // What is wrong with a file may be told once: whoever closes it listens. The session may
        // have ended meanwhile.
        let work = move || {
            let flushed = flush();
            let file = file.map_or(Ok(()), |file| disk::sync(&file).and(disk::close(file)));
            drop(tell.send(flushed.and(file)));
        };
        thread::Builder::new().name("flush".into()).spawn(work)?;
        self.flushing = Some(Flushing { at_hand, done });
        Ok(())
    }

    /// Waits until nobody else holds the file of this index: some disks rename none that is open.
    pub(super) fn let_go(&mut self, index: u32) -> Take {
        let held = |flushing: &Flushing| flushing.at_hand.is_some_and(|(at, ..)| at == index);
        if self.tree.root.top().disk().flush.is_each() && self.flushing.as_ref().is_some_and(held) {
            return self.await_flush();
        }
        Ok(())
    }

    /// Waits until what is on its way to the disk is there.
    pub(super) fn await_flush(&mut self) -> Take {
        let flushed = self.flushing.take().and_then(|flushing| flushing.done.recv().ok());
        flushed.unwrap_or(Ok(())).map_err(|error| self.not_written(&error))
    }

    /// Saves the lock now.
    pub(super) fn save(&mut self) -> io::Result<()> {
        let current = match &self.current {
            Some(Current { index, target: Target::Writer(writer), .. }) => {
                let flushes = self.tree.root.top().disk().flush != Flush::Never;
                let (bytes, hash) = if flushes { writer.sync()? } else { writer.state()? };
                Some((*index, bytes, hash))
            }
            _ => None,
        };
        for (_, ended) in &self.ended {
            // What the states of these say is compared with what is there in any case.
            ended.writer.sync()?;
        }
        self.save_with(current)
    }

    /// The lock never promises more than the disk holds: `current` tells how much that is of the
    /// file at hand.
    fn save_with(&mut self, current: Option<AtHand>) -> io::Result<()> {
        let states = &self.states;
        let kept = self.resume.iter().map(|(index, resume)| (*index, resume.kept()));
        let torn = self.repairs.iter().map(|(index, repair)| (*index, &*repair.states));
        let at_hand = self.current.iter().filter_map(|current| match &current.target {
            Target::Writer(writer) => Some((current.index, writer.states())),
            _ => None,
        });
        let ended = self.ended.iter().map(|(_, ended)| (ended.index, ended.writer.states()));
        let going = self.going.iter().map(|(index, states)| (*index, &**states));
        let begun = kept.chain(torn).chain(ended).chain(going).chain(at_hand);
        let blocks = begun.filter(|(_, states)| !states.is_empty());
        let snapshot = Snapshot {
            head: &self.head,
            manifest: self.tree.manifest,
            done: &self.hashes,
            wanted: &|index| {
                matches!(
                    state(states, index),
                    Some(
                        State::Wanted
                            | State::InHand
                            | State::Again
                            | State::Torn
                            | State::Mending
                            | State::Arrived
                    )
                )
            },
            current,
            block: self.block(),
            states: &blocks.collect(),
            times: &self.times,
            places: self.tree.plan.places(),
            made: &self.made,
            older: &self.older,
        };
        self.lock.save(self.tree.root, &snapshot)
    }
}

/// What kind of failure the sender is told of.
fn fault_of(error: &io::Error, is_link: bool) -> Fault {
    use io::ErrorKind::{
        AlreadyExists, FileTooLarge, InvalidFilename, PermissionDenied, ReadOnlyFilesystem,
        Unsupported,
    };
    match error.kind() {
        Unsupported | PermissionDenied if is_link => Fault::NoLinks,
        PermissionDenied | ReadOnlyFilesystem => Fault::Forbidden,
        InvalidFilename => Fault::NameRefused,
        FileTooLarge => Fault::TooLarge,
        AlreadyExists => Fault::NameTaken,
        _ => Fault::Unwritable,
    }
}
