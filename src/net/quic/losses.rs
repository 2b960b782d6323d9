//! How fast to send where packets get lost. CUBIC (RFC 9438) takes each loss for a line that is full. Over radio
//! and long ways packets get lost that no full queue has dropped, and then it comes down to nearly nothing: 0.8 MB/s
//! at 20 ms and 1 %. So a loss counts here only where a queue has built up, which makes answers late, or where more
//! than 2 % is lost, as BBR has it (draft-ietf-ccwg-bbr, `BBR.LossThresh`). Where answers are late anyway, as over a
//! busy Wi-Fi, it stays what CUBIC is. The other way round much that waits in a queue counts even if none of it is
//! lost: a relay loses nothing, and would let seconds of a transfer wait.
//!
//! The engine's own BBR is faster where packets get lost, and half as fast where none do and the way is short.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use iroh::endpoint::RttEstimator;
use noq::congestion::{Controller, ControllerFactory, ControllerMetrics, Cubic, CubicConfig};

/// Of a hundred bytes this many may be lost before that is taken for a full line.
const PERCENT: u64 = 2;
/// Bytes over which that is counted: of some 1,000 packets 1 % is hardly ever 2.
const COUNTED: u64 = 1_200_000;
/// A queue makes answers later than the quickest one by a quarter, and by this much.
const QUEUE: Duration = Duration::from_millis(4);
/// A queue that is too long in any case, while so many bytes of this side are under way.
const LONG_QUEUE: (Duration, u64) = (Duration::from_millis(500), 2 << 20);

/// Makes a controller for each way.
#[derive(Debug, Default)]
pub struct Patient(Arc<CubicConfig>);

impl ControllerFactory for Patient {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        let cubic = Cubic::new(Arc::clone(&self.0), now, mtu);
        Box::new(Control { cubic, losses: Losses::default(), has_counted: false })
    }
}

/// CUBIC, which is told of a loss only if it counts.
#[derive(Debug, Clone)]
struct Control {
    cubic: Cubic,
    losses: Losses,
    /// Whether the last loss did, so that it can be taken back.
    has_counted: bool,
}

/// What came and what was lost of late, in bytes, and how late answers are.
#[derive(Debug, Clone, Copy, Default)]
struct Losses {
    came: u64,
    lost: u64,
    /// Later than the quickest answer.
    late: Duration,
    is_late: bool,
    /// When what was answered last had been sent.
    newest: Option<Instant>,
    /// When CUBIC was last told. What had been sent before says nothing new.
    told: Option<Instant>,
}

impl Losses {
    fn is_news(&self, sent: Instant) -> bool {
        self.told.is_none_or(|told| sent > told)
    }

    fn came(&mut self, sent: Instant, bytes: u64, now: Duration, quickest: Duration) {
        self.late = now.saturating_sub(quickest);
        self.is_late = self.late > (quickest / 4).max(QUEUE);
        self.newest = self.newest.max(Some(sent));
        if self.is_news(sent) {
            self.add(bytes, 0);
        }
    }

    fn add(&mut self, came: u64, lost: u64) {
        self.came = self.came.saturating_add(came).saturating_add(lost);
        self.lost = self.lost.saturating_add(lost);
        if self.came >= 2 * COUNTED {
            // The older half counts half.
            self.came /= 2;
            self.lost /= 2;
        }
    }

    /// Whether too much of this side's own waits somewhere, with so many bytes under way.
    fn wait(&mut self, now: Instant, in_flight: u64) -> bool {
        let (longest, most) = LONG_QUEUE;
        let is_news = self.newest.is_some_and(|sent| self.is_news(sent));
        let wait = is_news && self.late > longest && in_flight > most;
        if wait {
            self.tell(now);
        }
        wait
    }

    /// Whether bytes that are lost tell of a full line.
    fn count(&mut self, now: Instant, bytes: u64) -> bool {
        self.add(0, bytes);
        let is_much = self.lost.saturating_mul(100) > self.came.max(COUNTED / 2) * PERCENT;
        let counts = self.is_late || is_much;
        if counts {
            self.tell(now);
        }
        counts
    }

    fn tell(&mut self, now: Instant) {
        (self.came, self.lost, self.told) = (0, 0, Some(now));
    }
}

impl Controller for Control {
    fn on_sent(&mut self, now: Instant, bytes: u64, largest: u64) {
        self.cubic.on_sent(now, bytes, largest);
    }

    fn on_packet_sent(&mut self, now: Instant, bytes: u16, number: u64) {
        self.cubic.on_packet_sent(now, bytes, number);
    }

    fn on_cwnd_limited(&mut self) {
        self.cubic.on_cwnd_limited();
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        number: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.losses.came(sent, bytes, rtt.get(), rtt.min());
        self.cubic.on_ack(now, sent, bytes, number, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest: Option<u64>,
    ) {
        self.cubic.on_end_acks(now, in_flight, app_limited, largest);
        if let Some(sent) = self.losses.newest.filter(|_| self.losses.wait(now, in_flight)) {
            // As a router says it, before it drops anything. That is never taken back.
            self.has_counted = false;
            self.cubic.on_congestion_event(now, sent, false, true, 0, largest.unwrap_or_default());
        }
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent: bool,
        is_ecn: bool,
        bytes: u64,
        largest: u64,
    ) {
        // Whatever else is true, nothing has come through for a while then, or a router says so.
        let is_said = is_persistent || is_ecn;
        if is_said {
            self.losses.tell(now);
        } else if !self.losses.is_news(sent) {
            // More of what CUBIC was told of.
            return;
        }
        self.has_counted = is_said || self.losses.count(now, bytes);
        if self.has_counted {
            self.cubic.on_congestion_event(now, sent, is_persistent, is_ecn, bytes, largest);
        }
    }

    fn on_packet_lost(&mut self, bytes: u16, number: u64, now: Instant) {
        self.cubic.on_packet_lost(bytes, number, now);
    }

    fn on_spurious_congestion_event(&mut self) {
        if self.has_counted {
            self.cubic.on_spurious_congestion_event();
        }
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.cubic.on_mtu_update(mtu);
    }

    fn on_ack_frequency_update(&mut self, threshold: u64, delay: Duration) {
        self.cubic.on_ack_frequency_update(threshold, delay);
    }

    fn window(&self) -> u64 {
        self.cubic.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.cubic.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: u64 = 1200;

    fn at(ms: u64) -> Instant {
        static BEGUN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        *BEGUN + Duration::from_millis(ms)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// How many of the losses count, of `packets` sent one a millisecond and answered after 20, of which every
    /// `nth` is lost.
    fn counted(packets: u64, nth: u64, now: Duration, quickest: Duration) -> usize {
        let mut losses = Losses::default();
        let lost = (1..=packets).filter(|number| {
            let (sent, heard) = (at(*number), at(*number + 20));
            if number % nth != 0 {
                losses.came(sent, PACKET, now, quickest);
                return false;
            }
            losses.is_news(sent) && losses.count(heard, PACKET)
        });
        lost.count()
    }

    #[test]
    fn losses_count_where_a_line_is_full() {
        for (nth, now, quickest, some, expected) in [
            // 1 % and less, and nothing waits.
            (100, 20, 20, "none", 0..=0),
            (100, 24, 20, "a little later", 0..=0),
            (100, 240, 200, "the same far away", 0..=0),
            (1000, 20, 20, "hardly any", 0..=0),
            // A queue: each counts, but for those that were under way when one did.
            (100, 26, 20, "late", 100..=100),
            (100, 260, 200, "late and far away", 100..=100),
            (10, 50, 20, "much at a time", 330..=340),
            // Too much, by and by.
            (20, 20, 20, "5 %", 20..=60),
            (2, 20, 20, "half of it", 100..=500),
        ] {
            let found = counted(10_000, nth, ms(now), ms(quickest));
            assert!(expected.contains(&found), "{some}: {found}");
        }
    }

    #[test]
    fn a_long_queue_of_its_own_counts() {
        for (late, in_flight, expected) in [
            (100, 30 << 20, false),
            (500, 30 << 20, false),
            (600, 30 << 20, true),
            // That of others.
            (3000, 1 << 20, false),
        ] {
            let mut losses = Losses::default();
            assert!(!losses.wait(at(4), in_flight), "nothing was answered");
            losses.came(at(5), PACKET, ms(20 + late), ms(20));
            assert_eq!(losses.wait(at(9), in_flight), expected, "{late} {in_flight}");
            // Once for all that is under way.
            losses.came(at(8), PACKET, ms(20 + late), ms(20));
            assert!(!losses.wait(at(12), in_flight));
            losses.came(at(10), PACKET, ms(20 + late), ms(20));
            assert_eq!(losses.wait(at(13), in_flight), expected, "{late} {in_flight}");
        }
    }

    fn control(is_late: bool) -> Control {
        Control {
            cubic: Cubic::new(Arc::default(), at(0), 1200),
            losses: Losses { is_late, ..Losses::default() },
            has_counted: false,
        }
    }

    /// The controller as the engine has it: 1 % of the packets costs nothing, what is late costs what CUBIC takes.
    #[test]
    fn the_window_stays_where_nothing_waits() {
        for (is_late, is_persistent, expected) in
            [(false, false, 1.0), (true, false, 0.7), (false, true, 0.2)]
        {
            let mut control = control(is_late);
            let before = control.window();
            control.on_packet_sent(at(1), 1200, 1);
            control.on_congestion_event(at(30), at(1), is_persistent, false, PACKET, 1);
            let after = control.window() as f64 / before as f64;
            assert!((after - expected).abs() < 0.05, "{is_late} {is_persistent}: {after}");
            // What was not lost after all is taken back, told at once or in parts.
            control.on_congestion_event(at(31), at(2), false, false, PACKET, 2);
            control.on_spurious_congestion_event();
            assert_eq!(control.window(), before, "{is_late} {is_persistent}");
        }
    }

    /// What a queue has cost is not taken back with a loss of before.
    #[test]
    fn a_queue_is_no_mistake() {
        let mut control = control(true);
        control.on_congestion_event(at(30), at(1), false, false, PACKET, 1);
        let lossy = control.window();
        control.losses.came(at(40), PACKET, ms(900), ms(20));
        control.on_end_acks(at(940), 8 << 20, false, Some(9));
        let queued = control.window();
        assert!(queued < lossy, "{queued} {lossy}");
        control.on_spurious_congestion_event();
        assert_eq!(control.window(), queued);
    }
}
