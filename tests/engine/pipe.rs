//! A connection in memory that can be cut and damaged at chosen bytes, slowed down, and lost without
//! a word.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// What goes wrong in one direction, counted in bytes written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// After so many bytes both directions end.
    pub cut_at: Option<u64>,
    /// One bit of this byte is flipped.
    pub flip_at: Option<u64>,
}

#[derive(Default)]
struct State {
    bytes: VecDeque<u8>,
    written: u64,
    closed: bool,
    /// Nothing arrives any more, and nobody says so.
    stalled: bool,
}

#[derive(Default)]
struct Direction {
    state: Mutex<State>,
    changed: Condvar,
}

impl Direction {
    fn close(&self) {
        self.state.lock().unwrap().closed = true;
        self.changed.notify_all();
    }
}

/// A read or write that gets nowhere for so long fails, as a socket's does.
const LIMIT: Duration = Duration::from_millis(100);

/// Bytes that may be on their way: little, so that both sides feel each other.
const CAPACITY: usize = 4096;

pub struct PipeReader {
    direction: Arc<Direction>,
    /// So many bytes arrive at once at most, and so long after those before.
    pub trickle: Option<(usize, Duration)>,
}

pub struct PipeWriter {
    direction: Arc<Direction>,
    back: Arc<Direction>,
    faults: Faults,
}

/// Ends both directions, as closing a socket does.
#[derive(Clone)]
pub struct Closer([Arc<Direction>; 2]);

impl Closer {
    pub fn close(&self) {
        self.0.iter().for_each(|direction| direction.close());
    }

    /// From now on nothing arrives anywhere.
    pub fn stall(&self) {
        self.0.iter().for_each(|direction| direction.state.lock().unwrap().stalled = true);
    }

    /// Bytes written so far, in both directions.
    pub fn written(&self) -> [u64; 2] {
        [0, 1].map(|at| self.0[at].state.lock().unwrap().written)
    }
}

/// The two ends of a connection; `there` befalls what the first end writes, `back` the second.
pub fn pipe(
    there: Faults,
    back: Faults,
) -> ((PipeReader, PipeWriter), (PipeReader, PipeWriter), Closer) {
    let (a, b) = (Arc::new(Direction::default()), Arc::new(Direction::default()));
    let writer = |direction: &Arc<Direction>, back: &Arc<Direction>, faults| PipeWriter {
        direction: Arc::clone(direction),
        back: Arc::clone(back),
        faults,
    };
    let reader =
        |direction: &Arc<Direction>| PipeReader { direction: Arc::clone(direction), trickle: None };
    let first = (reader(&b), writer(&a, &b, there));
    let second = (reader(&a), writer(&b, &a, back));
    (first, second, Closer([a, b]))
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut room = buffer.len();
        if let Some((most, pause)) = self.trickle {
            thread::sleep(pause);
            room = room.min(most);
        }
        let mut state = self.direction.state.lock().unwrap();
        while (state.bytes.is_empty() || state.stalled) && !state.closed {
            state = match self.direction.changed.wait_timeout(state, LIMIT).unwrap() {
                (_, waited) if waited.timed_out() => return Err(io::ErrorKind::TimedOut.into()),
                (state, _) => state,
            };
        }
        let read = state.bytes.read(&mut buffer[..room])?;
        self.direction.changed.notify_all();
        Ok(read)
    }
}

impl Write for PipeWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let mut state = self.direction.state.lock().unwrap();
        while state.bytes.len() >= CAPACITY && !state.closed {
            state = match self.direction.changed.wait_timeout(state, LIMIT).unwrap() {
                (_, waited) if waited.timed_out() => return Err(io::ErrorKind::TimedOut.into()),
                (state, _) => state,
            };
        }
        if state.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut len = buffer.len().min(CAPACITY - state.bytes.len());
        if let Some(cut) = self.faults.cut_at {
            let left = cut - state.written;
            len = len.min(usize::try_from(left).unwrap_or(usize::MAX));
            if len == 0 {
                drop(state);
                self.direction.close();
                self.back.close();
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
        let mut sent = buffer[..len].to_vec();
        if let Some(flip) = self.faults.flip_at.and_then(|flip| flip.checked_sub(state.written))
            && let Some(byte) = usize::try_from(flip).ok().and_then(|at| sent.get_mut(at))
        {
            *byte ^= 0x10;
        }
        state.bytes.extend(sent);
        state.written += len as u64;
        self.direction.changed.notify_all();
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
