//! Content block by block: the part of a file that the receiver says it has, hashed while the rest
//! is sent already; and blocks that are sent once more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::content::{Content, StreamOptions};
use super::pack::Packer;
use crate::control;
use crate::error::Error;
use crate::event::Event;
use crate::files::manifest::Entry;
use crate::files::reader::{SourceFault, SourceFile};
use crate::files::states::{Blocks, State};
use crate::files::walk::Source;
use crate::protocol::data;
use crate::protocol::message::Reason;
use crate::protocol::pages::{HASH_LEN, Range};
use crate::protocol::session::{Session, Stop};

/// Bytes that are read at once.
const PIECE: usize = 256 * 1024;

/// What was sent of each file that has whole blocks: the states after them, and its SHA-256. 32
/// bytes for each block of files of one's own.
#[derive(Default)]
pub struct Sent(Mutex<BTreeMap<u32, (Arc<[State]>, [u8; HASH_LEN])>>);

impl Sent {
    /// Keeps those of a file that was sent to its end.
    pub fn keep(&self, index: u32, states: Vec<State>, hash: [u8; HASH_LEN]) {
        if !states.is_empty() {
            let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            sent.insert(index, (states.into(), hash));
        }
    }

    /// Those of a file.
    pub fn get(&self, index: u32) -> Option<(Arc<[State]>, [u8; HASH_LEN])> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&index).cloned()
    }
}

/// This side's own states of the blocks that the receiver says it has, found out in a thread.
pub struct Own {
    done: Receiver<Result<Vec<State>, SourceFault>>,
    stop: Arc<AtomicBool>,
}

impl Own {
    /// Begins to hash the first `blocks` blocks of a file.
    pub fn start(
        source: &Arc<Source>,
        index: u32,
        options: StreamOptions,
        (blocks, block): (u32, u64),
    ) -> Result<Self, Stop> {
        let (tell, done) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let (source, stopped) = (Arc::clone(source), Arc::clone(&stop));
        let work = move || {
            let file = source.files(options.follow_symlinks).open(index);
            let states = file.and_then(|mut file| hash(&mut file, blocks, block, &stopped));
            // Whoever began it may have ended.
            let _ = tell.send(states);
        };
        let started = thread::Builder::new().name("prefix".into()).spawn(work);
        started.map_err(|error| Stop::Own(Reason::Failed, Error::no_thread(&error)))?;
        Ok(Self { done, stop })
    }

    /// The states, if they are known by now.
    pub fn known(&self) -> Option<Result<Vec<State>, SourceFault>> {
        match self.done.try_recv() {
            Ok(states) => Some(states),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(SourceFault::Unreadable)),
        }
    }

    /// Waits for the states, as long as the session is to go on.
    pub fn wait(&self, session: &mut Session) -> Result<Result<Vec<State>, SourceFault>, Stop> {
        loop {
            session.check()?;
            match self.done.recv_timeout(control::SLICE) {
                Ok(states) => return Ok(states),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(Err(SourceFault::Unreadable)),
            }
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

fn hash(
    file: &mut SourceFile,
    blocks: u32,
    block: u64,
    stopped: &AtomicBool,
) -> Result<Vec<State>, SourceFault> {
    let mut own = Blocks::new(block);
    let mut left = u64::from(blocks).saturating_mul(block);
    let mut scratch = vec![0; PIECE];
    while left > 0 {
        while control::is_paused() && !stopped.load(Relaxed) {
            thread::sleep(control::SLICE);
        }
        if stopped.load(Relaxed) || control::check().is_err() {
            // Nobody waits for it any more.
            return Err(SourceFault::Unreadable);
        }
        let len = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let piece = scratch.get_mut(..len).unwrap_or_default();
        file.read(piece)?;
        own.update(piece);
        left -= len as u64;
    }
    Ok(own.into_states())
}

impl Content<'_> {
    /// Sends ranges of a file's blocks once more; whatever happens to it, the receiver is told.
    pub fn send_blocks(&mut self, index: u32, ranges: &[Range]) -> Result<(), Stop> {
        let Some(entry) = self.source.manifest.get(index) else { return Ok(()) };
        self.flush()?;
        self.last = Some(&entry.path);
        self.pending.1 += 1;
        let file = self.source.files(self.options.follow_symlinks).open(index);
        let sent = match file {
            Ok(file) => self.send_ranges(index, entry, file, ranges)?,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = sent {
            let tally = self.tally;
            tally.fail(self.begun(), index, fault);
        }
        (self.sink)(Event::Finished { name: &entry.path });
        self.flush()
    }

    /// The outer error ends the session, the inner one only this file: it is not any more what was
    /// sent before.
    fn send_ranges(
        &mut self,
        index: u32,
        entry: &Entry,
        mut file: SourceFile,
        ranges: &[Range],
    ) -> Result<Result<(), SourceFault>, Stop> {
        let (Some(block), Some((states, whole))) =
            (self.session.blocks(), self.tally.blocks.get(index))
        else {
            return Ok(Err(SourceFault::Unreadable));
        };
        let agreed = self.session.agreed();
        let packer = Packer::new(self.options.compression, agreed, &self.tally.saved);
        for range in ranges {
            let offset = u64::from(range.first).saturating_mul(block);
            let end = range.end().saturating_mul(block).min(entry.size());
            if let Err(fault) = file.move_to(offset) {
                return Ok(Err(fault));
            }
            let before = usize::try_from(range.first).ok().and_then(|at| at.checked_sub(1));
            let before = before.and_then(|at| states.get(at)).copied().unwrap_or_default();
            let mut hash = Blocks::behind(block, range.first.into(), &before);
            let same = |hash: &Blocks| {
                let at = usize::try_from(hash.at() / block).ok().and_then(|at| at.checked_sub(1));
                hash.states().last() == at.and_then(|at| states.get(at))
            };
            data::put_start(self.begun(), index, offset);
            let sent = self.send_bytes(&mut file, &mut hash, end, &packer, &mut |hash| {
                let same = !hash.is_whole() || same(hash);
                if same { Ok(true) } else { Err(SourceFault::Changed) }
            })?;
            if let Err(fault) = sent {
                return Ok(Err(fault));
            }
            if end < entry.size() {
                data::put_stop(self.begun());
            } else if hash.digest() == whole {
                data::put_end(self.begun(), end, &whole);
            } else {
                return Ok(Err(SourceFault::Changed));
            }
            self.send(packer.work())?;
        }
        Ok(Ok(()))
    }
}
