//! Whether the line to the other side still carries anything. A line that has died says nothing: no
//! packet comes that tells so. So each side says something every few seconds whatever it does, and
//! each takes the line for dead once it has listened for a while and not a byte has come.
//!
//! Bytes count, not records, for over a slow line a record may take minutes; and only time in which
//! this side listens counts, for what it has not read yet may lie in the system's buffers. The
//! kernel's own means would not do. `TCP_USER_TIMEOUT` cuts a peer that is paused and reads nothing,
//! keepalive is silent while data is under way, and both end at a proxy.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::bounds::{RECORD_BYTES, RECORD_PATIENCE};

/// When something last came from the other side, and how long nothing may come; known to both
/// directions.
#[derive(Debug, Clone)]
pub struct Line(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    heard: Instant,
    patience: Duration,
    /// Since the last whole record, or since enough came of the one under way: time spent listening,
    /// and bytes.
    listened: Duration,
    came: usize,
}

impl Line {
    /// A line on which something was just heard.
    pub fn new(patience: Duration) -> Self {
        let (listened, came) = (Duration::ZERO, 0);
        Self(Arc::new(Mutex::new(State { heard: Instant::now(), patience, listened, came })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Two words that belong to no moment in between.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing may come for so long.
    pub fn wait_for(&self, patience: Duration) {
        self.state().patience = patience;
    }

    /// A whole record has come.
    pub fn record(&self) {
        let mut state = self.state();
        (state.listened, state.came) = (Duration::ZERO, 0);
    }

    /// Bytes have come after so much listening. False when they are too few to be a record on its
    /// way: then its length was damaged, and what comes are the signs of life of the other side, which
    /// waits as well.
    fn note(&self, bytes: usize, listened: Duration) -> bool {
        let mut state = self.state();
        state.heard = Instant::now();
        state.listened += listened;
        state.came = state.came.saturating_add(bytes);
        let is_time = state.listened >= state.patience * RECORD_PATIENCE;
        let is_enough = state.came >= RECORD_BYTES;
        if is_enough {
            (state.listened, state.came) = (Duration::ZERO, 0);
        }
        is_enough || !is_time
    }

    /// Whether there is no hope for who listens, or tries to write, since then.
    fn is_dead(&self, since: Instant) -> bool {
        let state = self.state();
        since.elapsed().min(state.heard.elapsed()) >= state.patience
    }
}

/// A reader that tries again what timed out, until the line is dead: then it fails with
/// [`io::ErrorKind::TimedOut`] for good.
pub struct Listening<R> {
    reader: R,
    line: Line,
}

impl<R> Listening<R> {
    /// Listens to a reader whose own patience is shorter than the line's.
    pub fn new(reader: R, line: Line) -> Self {
        Self { reader, line }
    }
}

impl<R: Read> Read for Listening<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let began = Instant::now();
        loop {
            match self.reader.read(bytes) {
                Err(error)
                    if error.kind() == io::ErrorKind::TimedOut && !self.line.is_dead(began) => {}
                Ok(read) if !self.line.note(read, began.elapsed()) => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                read => return read,
            }
        }
    }
}

/// A writer that does the same. A peer that reads nothing is slow or paused and not lost, as long
/// as it is heard.
pub struct Patient<W> {
    writer: W,
    line: Line,
}

impl<W> Patient<W> {
    /// Writes through a writer whose own patience is shorter than the line's.
    pub fn new(writer: W, line: Line) -> Self {
        Self { writer, line }
    }
}

impl<W: Write> Patient<W> {
    fn patiently<T>(&mut self, mut attempt: impl FnMut(&mut W) -> io::Result<T>) -> io::Result<T> {
        let began = Instant::now();
        loop {
            match attempt(&mut self.writer) {
                Err(error)
                    if error.kind() == io::ErrorKind::TimedOut && !self.line.is_dead(began) => {}
                done => return done,
            }
        }
    }
}

impl<W: Write> Write for Patient<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.patiently(|writer| writer.write(bytes))
    }

    /// A channel that encrypts keeps what it could not get away until the next call.
    fn flush(&mut self) -> io::Result<()> {
        self.patiently(W::flush)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Times out so many times, and then takes and gives everything.
    struct Slow(u32);

    impl Slow {
        fn pass(&mut self, len: usize) -> io::Result<usize> {
            if self.0 == 0 {
                return Ok(len);
            }
            self.0 -= 1;
            thread::sleep(Duration::from_millis(1));
            Err(io::ErrorKind::TimedOut.into())
        }
    }

    impl Read for Slow {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.pass(bytes.len())
        }
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.pass(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.pass(0).map(drop)
        }
    }

    #[test]
    fn what_times_out_is_tried_again_until_patience_ends() {
        let cases = [
            ("a side that says nothing for a moment", Duration::from_secs(60), 3, None),
            (
                "one that says nothing at all",
                Duration::from_millis(5),
                u32::MAX,
                Some(io::ErrorKind::TimedOut),
            ),
        ];
        for (name, patience, times, expected) in cases {
            let line = Line::new(patience);
            let written = Patient::new(Slow(times), line.clone()).write(b"x");
            assert_eq!(written.err().map(|error| error.kind()), expected, "{name}");
            let flushed = Patient::new(Slow(times), line.clone()).flush();
            assert_eq!(flushed.err().map(|error| error.kind()), expected, "{name}");
            let read = Listening::new(Slow(times), line).read(&mut [0]);
            assert_eq!(read.err().map(|error| error.kind()), expected, "{name}");
        }
    }

    /// A byte now and then keeps a line alive, but not a record that never becomes whole.
    #[test]
    fn a_record_has_to_come_on() {
        struct Trickle;
        impl Read for Trickle {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                thread::sleep(Duration::from_millis(1));
                Ok(1)
            }
        }
        let mut listening = Listening::new(Trickle, Line::new(Duration::from_millis(10)));
        assert!((0..200).any(|_| listening.read(&mut [0; 8192]).is_err()), "it does not come on");
        // By a clock that no other program can slow down.
        let comes = |bytes: usize, is_whole: bool| {
            let line = Line::new(Duration::from_millis(10));
            (0..200).all(|_| {
                if is_whole {
                    line.record();
                }
                line.note(bytes, Duration::from_millis(1))
            })
        };
        assert!(!comes(1, false), "a record that does not come on");
        assert!(comes(1, true), "whole records, each of a byte");
        assert!(comes(RECORD_BYTES, false), "a long one that comes");
    }

    /// Time in which nobody listened does not count.
    #[test]
    fn who_was_busy_listens_before_it_gives_up() {
        let patience = Duration::from_secs(2);
        let line = Line::new(patience);
        thread::sleep(patience);
        assert_eq!(Listening::new(Slow(1), line).read(&mut [0]).unwrap(), 1);
    }
}
