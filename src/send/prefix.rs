//! What was sent of a file, block by block, and what this side's own blocks are of a part that the
//! receiver says it has: hashed in a thread while the rest is sent already.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::control;
use crate::error::Error;
use crate::files::reader::{SourceFault, SourceFile};
use crate::files::states::{Blocks, State};
use crate::files::walk::Source;
use crate::protocol::pages::HASH_LEN;
use crate::protocol::reason::Reason;
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
        follow_symlinks: bool,
        (blocks, block): (u32, u64),
    ) -> Result<Self, Stop> {
        let (tell, done) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let (source, stopped) = (Arc::clone(source), Arc::clone(&stop));
        let work = move || {
            let file = source.files(follow_symlinks).open(index);
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
