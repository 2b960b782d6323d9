//! A bound on how fast bytes leave, for all connections together.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::size;

/// Bytes a second, as `--limit` takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(u64);

/// The slowest: less would leave a record under way for longer than a session may stand still.
const SLOWEST: u64 = 1000;

impl Rate {
    /// `500k`, `10M`, `1.5MB`, `2MiB/s`: bytes a second, decimal unless there is an `i`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rate = size::parse(text.trim().trim_end_matches("/s"));
        let rate = rate.filter(|rate| *rate >= SLOWEST);
        let wrong = "a rate is like 500k, 10M or 1.5MiB, bytes a second, at least 1k";
        Ok(Self(rate.ok_or(wrong)?))
    }

    /// Bytes a second.
    pub fn per_second(self) -> u64 {
        self.0
    }

    /// Bytes for one record, so that it is under way for about a second at most.
    pub fn content(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX).max(1 << 14)
    }
}

/// When the next byte may leave.
#[derive(Debug)]
pub struct Pace {
    rate: Rate,
    next: Mutex<Instant>,
}

impl Pace {
    /// From now on.
    pub fn new(rate: Rate) -> Arc<Self> {
        Arc::new(Self { rate, next: Mutex::new(Instant::now()) })
    }

    /// Its rate.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Waits until so many bytes may leave.
    fn wait(&self, bytes: usize) {
        let now = Instant::now();
        let start = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let start = (*next).max(now);
            *next = start + self.time(bytes);
            start
        };
        thread::sleep(start.saturating_duration_since(now));
    }

    /// Gives the time of bytes back that did not leave after all.
    fn give_back(&self, bytes: usize) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = next.checked_sub(self.time(bytes)).unwrap_or(*next);
    }

    fn time(&self, bytes: usize) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.rate.0 as f64)
    }
}

/// A writer that keeps a pace, if there is one.
pub struct Paced<W> {
    writer: W,
    pace: Option<Arc<Pace>>,
}

impl<W> Paced<W> {
    /// Writes at this pace, or as fast as can be.
    pub fn new(writer: W, pace: Option<Arc<Pace>>) -> Self {
        Self { writer, pace }
    }
}

impl<W: Write> Write for Paced<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(pace) = &self.pace else { return self.writer.write(bytes) };
        // Some twenty pieces a second: smooth, and not many calls.
        let piece = (pace.rate.0 / 20).clamp(256, 1 << 18);
        let len = bytes.len().min(usize::try_from(piece).unwrap_or(usize::MAX));
        pace.wait(len);
        let written = self.writer.write(bytes.get(..len).unwrap_or_default());
        // A write that finds no room is tried again and again: a receiver that reads nothing must
        // not use up the time of the others.
        pace.give_back(len - written.as_ref().map_or(0, |written| len.min(*written)));
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        let cases = [
            ("1000", Some(1000)),
            ("500k", Some(500_000)),
            ("500 kB/s", Some(500_000)),
            ("10M", Some(10_000_000)),
            ("1.5MB", Some(1_500_000)),
            ("2MiB/s", Some(2 << 20)),
            ("1Gi", Some(1 << 30)),
            ("1K", Some(1000)),
            ("999", None),
            ("0", None),
            ("-5M", None),
            ("", None),
            ("M", None),
            ("fast", None),
            ("NaN", None),
            ("inf", None),
            ("1e99", None),
            ("10T", Some(10_000_000_000_000)),
        ];
        for (text, expected) in cases {
            assert_eq!(Rate::parse(text).ok(), expected.map(Rate), "{text:?}");
        }
    }

    /// Only what leaves takes time.
    #[test]
    fn what_finds_no_room_costs_nothing() {
        struct Room(usize);
        impl Write for Room {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                if self.0 == 0 { Err(io::ErrorKind::TimedOut.into()) } else { Ok(self.0) }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (room, written) in [(0, None), (1, Some(1)), (100, Some(100))] {
            let pace = Pace::new(Rate(1000));
            let result = Paced::new(Room(room), Some(Arc::clone(&pace))).write(&[0; 256]);
            assert_eq!(result.ok(), written);
            let next = *pace.next.lock().unwrap();
            assert!(next <= Instant::now() + pace.time(room), "{room}");
        }
    }

    /// Every byte is written, and the next may leave only when those before had their time.
    #[test]
    fn what_is_paced_is_whole_and_has_its_time() {
        let pace = Pace::new(Rate(1_000_000));
        let bytes: Vec<u8> = (0..200_000u32).map(|at| at as u8).collect();
        let mut written = Vec::new();
        let began = Instant::now();
        Paced::new(&mut written, Some(Arc::clone(&pace))).write_all(&bytes).unwrap();
        assert!(*pace.next.lock().unwrap() >= began + Duration::from_millis(199));
        assert_eq!(written, bytes);
    }
}
