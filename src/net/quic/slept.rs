//! Whether this machine has slept, and what is done about it: the clock by which the engine counts stands
//! still then (CLOCK_MONOTONIC of Linux does), so it goes on with relays and ways that are long gone.

use std::time::{Duration, Instant, SystemTime};

/// The two clocks run apart by more than this only when one of them stood still, or was set.
const APART: Duration = Duration::from_secs(5);

/// An endpoint without its relay for so long is replaced, while nobody is served.
const LOST_RELAY: Duration = Duration::from_secs(15);

/// One moment, by the clock that stands still while the machine sleeps, and by that of the wall.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    awake: Instant,
    wall: SystemTime,
}

impl Moment {
    /// As the system tells it.
    pub fn now() -> Self {
        Self { awake: Instant::now(), wall: SystemTime::now() }
    }

    /// Whether the machine has slept since then. A clock that is set forward looks the same; one that is
    /// set back tells nothing.
    pub fn has_slept_since(self, then: Self) -> bool {
        let awake = self.awake.saturating_duration_since(then.awake);
        self.wall.duration_since(then.wall).is_ok_and(|wall| wall > awake + APART)
    }
}

/// What an endpoint needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// To look at its network again.
    Look,
    /// To be replaced.
    Another,
}

/// One who looks at an endpoint again and again.
#[derive(Debug)]
pub struct Watch {
    /// When the last look was…
    looked: Moment,
    /// …and when all was well.
    well: Moment,
}

impl Watch {
    /// At one that is new.
    pub fn new(now: Moment) -> Self {
        Self { looked: now, well: now }
    }

    /// At one that has a relay, or needs none, and by which somebody is served.
    pub fn look(&mut self, now: Moment, has_relay: bool, is_served: bool) -> Need {
        let has_slept = now.has_slept_since(self.looked);
        self.looked = now;
        if has_relay || is_served {
            self.well = now;
        }
        match (has_slept, is_served) {
            (true, true) => Need::Look,
            // What it believes of its relay and of its sockets is from before.
            (true, false) => Need::Another,
            _ if self.has_missed_it_for(now) >= LOST_RELAY => Need::Another,
            _ => Need::Nothing,
        }
    }

    /// How long it has had no relay, while nobody was served.
    pub fn has_missed_it_for(&self, now: Moment) -> Duration {
        now.awake.saturating_duration_since(self.well.awake)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many seconds later by each clock.
    fn later(then: Moment, awake: u64, wall: i64) -> Moment {
        let by = Duration::from_secs(wall.unsigned_abs());
        Moment {
            awake: then.awake + Duration::from_secs(awake),
            wall: if wall < 0 { then.wall - by } else { then.wall + by },
        }
    }

    #[test]
    fn sleep_is_what_one_clock_does_not_count() {
        let then = Moment::now();
        for (awake, wall, expected) in [
            (0, 0, false),
            (1, 1, false),
            (3600, 3600, false),
            // A clock is set right.
            (1, 5, false),
            (1, -3600, false),
            (1, 7, true),
            (0, 3600, true),
            (3600, 3600 + 6, true),
        ] {
            let now = later(then, awake, wall);
            assert_eq!(now.has_slept_since(then), expected, "{awake} {wall}");
        }
    }

    #[test]
    fn what_an_endpoint_needs() {
        use Need::{Another, Look, Nothing};
        // Seconds since the last look by each clock, whether it has a relay, whether somebody is served.
        for (looks, expected) in [
            (&[(1, 1, true, false); 30][..], Nothing),
            (&[(1, 1, true, false), (1, 600, true, false)], Another),
            (&[(1, 1, true, true), (1, 600, true, true)], Look),
            // It sleeps once, and not at each look thereafter.
            (&[(1, 600, true, true), (1, 1, true, true)], Nothing),
            (&[(14, 14, false, false)], Nothing),
            (&[(14, 14, false, false), (1, 1, false, false)], Another),
            (&[(14, 14, false, false), (1, 1, true, false), (14, 14, false, false)], Nothing),
            (&[(600, 600, false, true)], Nothing),
        ] {
            let mut now = Moment::now();
            let mut watch = Watch::new(now);
            let mut need = Nothing;
            for (awake, wall, has_relay, is_served) in looks {
                now = later(now, *awake, *wall);
                need = watch.look(now, *has_relay, *is_served);
            }
            assert_eq!(need, expected, "{looks:?}");
        }
    }
}
