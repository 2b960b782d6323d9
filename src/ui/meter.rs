//! What has crossed so far, how fast, and when it is time to say so. Knows no output.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Between two reports: five a second is more than anybody draws.
const PACE: Duration = Duration::from_millis(200);

/// The rate is that of the last few seconds: long enough to be calm, short enough to be true.
const WINDOW: Duration = Duration::from_secs(5);

/// Counts bytes and files over all sessions of a run.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// When the first plan was made.
    begun: Option<Instant>,
    /// Bytes and files that have crossed, and that will have in the end.
    done: (u64, u64),
    total: (u64, u64),
    /// When it was reported last, and whether there is news since.
    reported: Option<Instant>,
    news: bool,
    /// Where the count was in the last seconds, the oldest first, [`PACE`] apart.
    marks: VecDeque<(Instant, u64)>,
}

/// Where a transfer stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reading {
    /// Bytes of content that have crossed.
    pub bytes: u64,
    /// Files that are done with.
    pub files: u64,
    /// The same at the end, as far as can be told.
    pub total_bytes: u64,
    /// Files at the end.
    pub total_files: u64,
    /// Bytes a second, of the last few seconds.
    pub rate: u64,
    /// Time left at that rate; nothing when nothing moves.
    pub left: Option<Duration>,
    /// Since the first plan.
    pub elapsed: Duration,
}

impl Meter {
    /// A plan is made: so much will cross, besides what has in earlier sessions.
    pub(super) fn plan(&mut self, bytes: u64, files: u64, now: Instant) {
        self.begun.get_or_insert(now);
        self.total = (self.done.0.saturating_add(bytes), self.done.1.saturating_add(files));
        // The plan itself is the first report.
        (self.reported, self.news) = (Some(now), true);
        self.marks = VecDeque::from([(now, self.done.0)]);
    }

    /// Another session runs beside those that were planned.
    pub(super) fn join(&mut self, bytes: u64, files: u64, now: Instant) {
        let first = self.begun.is_none();
        self.begun.get_or_insert(now);
        self.again(bytes, files);
        if first {
            self.marks = VecDeque::from([(now, self.done.0)]);
        }
    }

    /// A session has ended: so much of what it had planned will not cross.
    pub(super) fn leave(&mut self, bytes: u64, files: u64) {
        self.total = (self.total.0.saturating_sub(bytes), self.total.1.saturating_sub(files));
    }

    /// Some of it will cross once more.
    pub(super) fn again(&mut self, bytes: u64, files: u64) {
        self.total = (self.total.0.saturating_add(bytes), self.total.1.saturating_add(files));
    }

    /// So much has crossed. Returns whether a report is due.
    pub(super) fn moved(&mut self, bytes: u64, files: u64, now: Instant) -> bool {
        self.done = (self.done.0.saturating_add(bytes), self.done.1.saturating_add(files));
        self.news = true;
        self.reported.is_none_or(|last| now.duration_since(last) >= PACE)
    }

    /// Whether something has happened since the last report.
    pub(super) fn has_news(&self) -> bool {
        self.news
    }

    /// Where it stands, which counts as reported.
    pub(super) fn report(&mut self, now: Instant) -> Reading {
        (self.reported, self.news) = (Some(now), false);
        let reading = self.read(now);
        while self.marks.len() > 1
            && self.marks.front().is_some_and(|(then, _)| now.duration_since(*then) > WINDOW)
        {
            self.marks.pop_front();
        }
        if self.marks.back().is_none_or(|(then, _)| now.duration_since(*then) >= PACE) {
            self.marks.push_back((now, self.done.0));
        }
        reading
    }

    /// Where it stands.
    pub(super) fn read(&self, now: Instant) -> Reading {
        let (bytes, files) = self.done;
        // What begins anew behind a false prefix crosses without having been planned.
        let (total_bytes, total_files) = (self.total.0.max(bytes), self.total.1.max(files));
        let rate = self.marks.front().map_or(0, |(then, before)| {
            super::rate(bytes - before, now.duration_since(*then).as_secs_f64())
        });
        let left = match (total_bytes - bytes, rate) {
            (0, _) => Some(Duration::ZERO),
            (_, 0) => None,
            // A liar's sizes can make it longer than there are words for.
            (bytes, rate) => Duration::try_from_secs_f64(bytes as f64 / rate as f64).ok(),
        };
        let elapsed = self.begun.map_or(Duration::ZERO, |begun| now.duration_since(begun));
        Reading { bytes, files, total_bytes, total_files, rate, left, elapsed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A minute of records, each 10 ms and 1 kB: never two reports closer than the pace, the rate
    /// as it was in the last seconds, and the whole in the last report.
    #[test]
    fn reports_keep_their_pace_and_lose_nothing() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut meter = Meter::default();
        meter.plan(6_000_000, 6_000, at(0));
        let mut reports = Vec::new();
        for step in 1..=6_000 {
            if meter.moved(1_000, 1, at(step * 10)) {
                reports.push((step * 10, meter.report(at(step * 10))));
            }
        }
        assert_eq!(reports.len(), 300);
        assert!(reports.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 200));
        assert!(reports.windows(2).all(|pair| pair[1].1.bytes > pair[0].1.bytes));
        // Rounded down, one byte may be lacking.
        assert!(reports.iter().all(|(_, reading)| reading.rate.abs_diff(100_000) <= 1));
        let (_, last) = reports.pop().unwrap();
        let expected = Reading {
            bytes: 6_000_000,
            files: 6_000,
            total_bytes: 6_000_000,
            total_files: 6_000,
            rate: last.rate,
            left: Some(Duration::ZERO),
            elapsed: Duration::from_secs(60),
        };
        assert_eq!(last, expected);
        assert!(!meter.has_news());
    }

    #[test]
    fn what_happens_between_reports_is_news() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut meter = Meter::default();
        assert!(!meter.has_news());
        meter.plan(0, 1, at(0));
        assert!(meter.has_news(), "an empty plan is news too");
        assert!(!meter.moved(0, 1, at(1)), "too soon after the plan");
        assert!(meter.has_news());
        meter.report(at(2));
        assert!(!meter.has_news());
    }

    /// Name, what happens at which millisecond, when it is read, and the rate and milliseconds left.
    #[test]
    fn rate_and_time_left() {
        enum Step {
            Plan(u64),
            Moved(u64),
        }
        use Step::{Moved, Plan};
        let cases: [(&str, &[(u64, Step)], u64, (u64, Option<u64>)); 7] = [
            ("nothing planned", &[], 0, (0, Some(0))),
            ("nothing moves", &[(0, Plan(100))], 1_000, (0, None)),
            ("nothing to move", &[(0, Plan(0))], 0, (0, Some(0))),
            ("half of it", &[(0, Plan(100)), (1_000, Moved(50))], 1_000, (50, Some(1_000))),
            ("more than planned", &[(0, Plan(100)), (1_000, Moved(150))], 1_000, (150, Some(0))),
            ("for ever", &[(0, Plan(u64::MAX)), (1_000, Moved(1))], 1_000, (1, None)),
            (
                "a second session goes on where the first ended",
                &[(0, Plan(100)), (1_000, Moved(50)), (60_000, Plan(50)), (61_000, Moved(10))],
                61_000,
                (10, Some(4_000)),
            ),
        ];
        for (name, steps, end, expected) in cases {
            let start = Instant::now();
            let at = |ms: u64| start + Duration::from_millis(ms);
            let mut meter = Meter::default();
            for (ms, step) in steps {
                match step {
                    Plan(bytes) => meter.plan(*bytes, 1, at(*ms)),
                    Moved(bytes) => _ = meter.moved(*bytes, 0, at(*ms)),
                }
            }
            let read = meter.read(at(end));
            let left = read.left.map(|left| u64::try_from(left.as_millis()).unwrap());
            assert_eq!((read.rate, left), expected, "{name}");
        }
    }

    #[test]
    fn sessions_side_by_side_add_up() {
        let start = Instant::now();
        let mut meter = Meter::default();
        meter.join(10, 1, start);
        meter.join(10, 1, start);
        meter.moved(14, 1, start);
        // One of them is lost, and comes back with the rest.
        meter.leave(6, 1);
        let read = meter.read(start);
        assert_eq!((read.bytes, read.total_bytes, read.total_files), (14, 14, 1));
        meter.join(6, 1, start);
        let read = meter.read(start);
        assert_eq!((read.bytes, read.total_bytes, read.total_files), (14, 20, 2));
    }

    #[test]
    fn bytes_never_exceed_their_total() {
        let start = Instant::now();
        let mut meter = Meter::default();
        meter.plan(10, 1, start);
        meter.moved(7, 0, start);
        meter.plan(3, 1, start);
        meter.again(3, 1);
        meter.moved(9, 3, start);
        let read = meter.read(start);
        assert_eq!((read.bytes, read.total_bytes), (16, 16));
        assert_eq!((read.files, read.total_files), (3, 3));
    }
}
