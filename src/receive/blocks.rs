//! The blocks of an unfinished file: whether they still are what their states say, and which of
//! them have to come again.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::control;
use crate::files::stamp::Stamp;
use crate::files::states::{Blocks, State};
use crate::protocol::pages::{HASH_LEN, Range};

/// Bytes that are read at once.
const PIECE: usize = 256 * 1024;

/// Blocks that differ from what their states say, or are not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Damage(BTreeSet<u32>);

impl Damage {
    /// The block of this number, counted from 0.
    pub fn add(&mut self, block: u32) {
        self.0.insert(block);
    }

    /// The others as well.
    pub fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As ranges, none of which touches the next.
    pub fn ranges(&self) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::new();
        for block in &self.0 {
            match ranges.last_mut() {
                Some(last) if last.end() == u64::from(*block) => last.count += 1,
                _ => ranges.push(Range { first: *block, count: 1 }),
            }
        }
        ranges
    }
}

/// A file of which blocks are to come again: what is known of it.
#[derive(Debug)]
pub struct Repair {
    /// The states behind its whole blocks, as the sender has told them or an earlier run kept them.
    pub states: Vec<State>,
    /// Its SHA-256, as the sender has told it.
    pub hash: [u8; HASH_LEN],
    /// What the unfinished file was when it was last closed.
    pub seen: Stamp,
    /// What differed so far.
    pub damage: Damage,
    /// What was asked for in this round, and how much of it has begun to come.
    pub asked: Vec<Range>,
    /// How many of those have begun.
    pub begun: usize,
    /// What differs still.
    pub still: Damage,
    /// Nothing of it can be relied on: the whole file has to come again.
    pub lost: bool,
}

impl Repair {
    /// Of a file that has been closed.
    pub fn new(states: Vec<State>, hash: [u8; HASH_LEN], seen: Stamp, damage: Damage) -> Self {
        let (asked, begun, still, lost) = (Vec::new(), 0, Damage::default(), false);
        Self { states, hash, seen, damage, asked, begun, still, lost }
    }

    /// The state behind so many blocks.
    pub fn state(&self, blocks: u32) -> Option<&State> {
        self.states.get(usize::try_from(blocks).ok()?.checked_sub(1)?)
    }

    /// Whether some of what was asked for in this round has not come yet.
    pub fn is_awaited(&self) -> bool {
        self.begun < self.asked.len()
    }

    /// What is to be asked for in the next round.
    pub fn ask(&mut self) -> &[Range] {
        (self.asked, self.begun) = (self.damage.ranges(), 0);
        &self.asked
    }
}

/// The blocks of an unfinished file, compared with their states in a thread while more of it comes.
pub struct Check {
    work: Arc<Work>,
    begun: Receiver<Damage>,
    stop: Arc<AtomicBool>,
}

struct Work {
    file: File,
    block: u64,
    states: Vec<State>,
}

impl Check {
    /// Begins to compare what is in `file`, which somebody may write behind those blocks through
    /// another open of it: a thread that is slow to end keeps this one, and no lock with it.
    pub fn start(file: File, block: u64, states: Vec<State>) -> Self {
        Self::start_in(file, block, states, |compare| {
            let _ = thread::Builder::new().name("check".into()).spawn(compare);
        })
    }

    fn start_in(
        file: File,
        block: u64,
        states: Vec<State>,
        spawn: impl FnOnce(Box<dyn FnOnce() + Send>),
    ) -> Self {
        let work = Arc::new(Work { file, block, states });
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, begun) = mpsc::channel();
        let (other, stopped) = (Arc::clone(&work), Arc::clone(&stop));
        spawn(Box::new(move || {
            let damage = other.compare(&stopped);
            // Some disks rename no file that is open.
            drop(other);
            // Whoever began it may have ended.
            let _ = tell.send(damage);
        }));
        Self { work, begun, stop }
    }

    /// What differs, once all are compared. Waits a moment for it.
    pub fn found_within(&self, wait: Duration) -> Option<Damage> {
        match self.begun.recv_timeout(wait) {
            Ok(damage) => Some(damage),
            Err(RecvTimeoutError::Timeout) => None,
            // No thread could be started.
            Err(RecvTimeoutError::Disconnected) => Some(self.work.compare(&self.stop)),
        }
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

impl Work {
    /// A block that cannot be read is as good as one that differs: it is written anew.
    fn compare(&self, stopped: &AtomicBool) -> Damage {
        let mut damage = Damage::default();
        let mut scratch = vec![0; PIECE];
        let mut before = State::default();
        for (number, state) in (0u32..).zip(&self.states) {
            let found = self.state(number, &before, &mut scratch, stopped);
            if !found.is_ok_and(|found| found == *state) {
                damage.add(number);
            }
            if stopped.load(Relaxed) {
                break;
            }
            before = *state;
        }
        damage
    }

    /// The state behind a block, as the disk has it, from that before it.
    fn state(
        &self,
        number: u32,
        before: &State,
        scratch: &mut [u8],
        stopped: &AtomicBool,
    ) -> io::Result<State> {
        let mut hash = Blocks::behind(self.block, number.into(), before);
        let end = hash.at() + self.block;
        while hash.at() < end {
            while control::is_paused() && !stopped.load(Relaxed) {
                thread::sleep(control::SLICE);
            }
            if stopped.load(Relaxed) || control::check().is_err() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let len = usize::try_from(end - hash.at()).unwrap_or(PIECE).min(PIECE);
            let piece = scratch.get_mut(..len).unwrap_or_default();
            read_exact_at(&self.file, piece, hash.at())?;
            hash.update(piece);
        }
        hash.states().last().copied().ok_or(io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(not(unix))]
fn read_exact_at(mut file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(buffer)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    #[test]
    fn damage_is_told_in_ranges() {
        for (blocks, expected) in [
            (&[][..], &[][..]),
            (&[0], &[(0, 1)]),
            (&[5, 3, 4, 4], &[(3, 3)]),
            (&[9, 0, 1, 7], &[(0, 2), (7, 1), (9, 1)]),
            (&[u32::MAX, u32::MAX - 1], &[(u32::MAX - 1, 2)]),
        ] {
            let mut damage = Damage::default();
            blocks.iter().for_each(|block| damage.add(*block));
            let expected: Vec<_> =
                expected.iter().map(|&(first, count)| Range { first, count }).collect();
            assert_eq!(damage.ranges(), expected, "{blocks:?}");
            assert_eq!(damage.is_empty(), blocks.is_empty());
        }
    }

    #[test]
    fn blocks_that_differ_or_are_missing_are_found() {
        let content: Vec<u8> = (0..640u32).map(|at| (at * 7 % 251) as u8).collect();
        let mut hash = Blocks::new(64);
        hash.update(&content);
        let states = hash.into_states();
        let rows: [(&str, &[u64], u64, &[u32]); 6] = [
            ("nothing", &[], 640, &[]),
            ("the first byte", &[0], 640, &[0]),
            ("the last byte", &[639], 640, &[9]),
            ("a byte on both sides of an edge", &[127, 128], 640, &[1, 2]),
            ("the end is cut off", &[70], 500, &[1, 7, 8, 9]),
            ("all of it is gone", &[], 0, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ];
        for (name, flips, len, expected) in rows {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            let mut content = content.clone();
            flips.iter().for_each(|at| content[usize::try_from(*at).unwrap()] ^= 4);
            file.write_all(&content).unwrap();
            file.as_file().set_len(len).unwrap();
            let mut damage = Damage::default();
            expected.iter().for_each(|block| damage.add(*block));
            // In a thread, or where none can be started.
            let spawn: [fn(Box<dyn FnOnce() + Send>); 2] = [|run| drop(thread::spawn(run)), drop];
            for spawn in spawn {
                let again = file.reopen().unwrap();
                let check = Check::start_in(again, 64, states.clone(), spawn);
                // Somebody may write meanwhile.
                file.seek(SeekFrom::Start(len)).unwrap();
                file.write_all(b"").unwrap();
                let found = check.found_within(Duration::from_secs(60));
                assert_eq!(found, Some(damage.clone()), "{name}");
            }
        }
    }
}
