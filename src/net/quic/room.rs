//! How much the other side may send before it is read. Whatever may be under way counts as sent there: with more than
//! the way needs its bar runs ahead of what is here, and a relay is filled for nobody when this side dies.

use std::time::{Duration, Instant};

use super::{Path, Via};
use crate::bounds::{QUIC_START_WINDOW, QUIC_WINDOW};

/// How often it is looked what comes; on long ways once in a round trip.
const LOOK: Duration = Duration::from_millis(100);
/// The least that a round trip counts for: on a busy machine nothing happens at once.
const LEAST: Duration = Duration::from_millis(20);
/// So many round trips of bytes. What was lost takes two to come again, and meanwhile nothing behind it is read.
const ROUND_TRIPS: f64 = 4.0;

/// What a way needs, by what has come. It only grows.
#[derive(Debug)]
pub struct Room {
    size: u32,
    since: Instant,
    bytes: u64,
    /// The way, and its quickest answer: a queue makes others late. Another way may be longer.
    via: Option<Via>,
    quickest: Duration,
}

impl Room {
    pub fn new(now: Instant) -> Self {
        let quickest = Duration::MAX;
        Self { size: QUIC_START_WINDOW, since: now, bytes: 0, via: None, quickest }
    }

    /// So many bytes were read. Returns the window if it is to be larger from now on; the way is asked for now and
    /// then.
    pub fn read(
        &mut self,
        bytes: usize,
        now: Instant,
        way: impl FnOnce() -> Option<Path>,
    ) -> Option<u32> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        let looked = now.saturating_duration_since(self.since);
        if looked < LOOK || self.quickest < Duration::MAX && looked < self.quickest {
            return None;
        }
        let Path { via, round_trip } = way()?;
        let is_same = self.via.as_ref() == Some(&via);
        self.quickest = if is_same { self.quickest.min(round_trip) } else { round_trip };
        self.via = Some(via);
        let rate = self.bytes as f64 / looked.as_secs_f64();
        (self.since, self.bytes) = (now, 0);
        let needed = rate * self.quickest.max(LEAST).as_secs_f64() * ROUND_TRIPS;
        // A number that is too large for the type becomes its largest.
        let size = (needed as u32).min(QUIC_WINDOW);
        (size > self.size).then(|| {
            self.size = size;
            size
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To somebody at the last of an address's numbers, so many milliseconds away.
    fn path(number: u8, round_trip: u64) -> Option<Path> {
        let via = Via::Direct([192, 0, 2, number].into());
        Some(Path { via, round_trip: Duration::from_millis(round_trip) })
    }

    /// The window after a second at a rate, in MB/s, over ways of so many milliseconds.
    #[test]
    fn the_window_is_what_the_way_needs() {
        for (rate, round_trip, expected) in [
            (1, 20, QUIC_START_WINDOW),
            (2, 300, QUIC_START_WINDOW),
            (40, 1, QUIC_START_WINDOW),
            (400, 1, 32_000_000),
            (100, 20, 8_000_000),
            (20, 200, 16_000_000),
            (80, 200, QUIC_WINDOW),
        ] {
            let begun = Instant::now();
            let mut room = Room::new(begun);
            for ms in 1..=1000 {
                let now = begun + Duration::from_millis(ms);
                let _ = room.read(rate * 1000, now, || path(1, round_trip));
            }
            let size = f64::from(room.size);
            assert!((size / f64::from(expected) - 1.0).abs() < 0.05, "{rate} {round_trip}: {size}");
        }
    }

    /// A queue makes answers late, and is not filled for that; what was needed once stays.
    #[test]
    fn it_grows_by_the_quickest_answer_and_never_shrinks() {
        let begun = Instant::now();
        let mut room = Room::new(begun);
        let at = |ms: u64| begun + Duration::from_millis(ms);
        assert_eq!(room.read(300_000, at(100), || path(1, 20)), None);
        assert_eq!(room.read(300_000, at(200), || path(1, 3000)), None);
        assert_eq!(room.read(40_000_000, at(300), || path(1, 20)), Some(32_000_000));
        assert_eq!(room.read(10, at(900), || path(1, 20)), None);
        // Where nobody knows how long it takes, it is asked again.
        assert_eq!(room.read(900_000_000, at(1100), || None), None);
        assert_eq!(room.read(1, at(1200), || path(1, 20)), Some(QUIC_WINDOW));
    }

    /// What was quick over another way says nothing of this one.
    #[test]
    fn a_longer_way_gets_what_it_needs() {
        let begun = Instant::now();
        let mut room = Room::new(begun);
        let at = |ms: u64| begun + Duration::from_millis(ms);
        assert_eq!(room.read(2_000_000, at(100), || path(1, 1)), None);
        assert_eq!(room.read(4_000_000, at(300), || path(2, 200)), Some(16_000_000));
    }
}
