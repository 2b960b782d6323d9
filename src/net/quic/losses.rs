//! How fast to send where packets get lost. CUBIC (RFC 9438) takes each loss for a line that is full. Over radio
//! and long ways packets get lost that no full queue has dropped, and then it comes down to nearly nothing: 0.8 MB/s
//! at 20 ms and 1 %. So a loss counts here only where a queue has built up, which makes answers late, or where more
//! than 2 % is lost, as BBR has it (draft-ietf-ccwg-bbr, `BBR.LossThresh`). The other way round much that waits in a
//! queue counts even if none of it is lost: a relay loses nothing, and would let seconds of a transfer wait.
//!
//! The engine's own BBR is a little faster where packets get lost, and takes twice the time where none do.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use iroh::endpoint::RttEstimator;
use noq::congestion::{Controller, ControllerFactory, ControllerMetrics, Cubic, CubicConfig};

/// Packets of which this many percent may be lost before that is taken for a full line.
const PERCENT: u64 = 2;
/// Bytes over which that is counted: of some 1,000 packets 1 % is hardly ever 2.
const COUNTED: u64 = 1_200_000;
/// A queue makes answers later than the quickest one by a quarter, and by this much.
const QUEUE: Duration = Duration::from_millis(4);
/// A queue that is too long in any case, if this side has filled it with so many bytes.
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

/// What was lost of late, and how late answers are.
#[derive(Debug, Clone, Copy, Default)]
struct Losses {
    sent: u64,
    lost: u64,
    is_late: bool,
    /// When CUBIC was last told. What had been sent before says nothing new.
    told: Option<Instant>,
}

impl Losses {
    fn sent(&mut self, bytes: u64) {
        self.sent = self.sent.saturating_add(bytes);
        if self.sent >= 2 * COUNTED {
            // The older half counts half.
            self.sent /= 2;
            self.lost /= 2;
        }
    }

    fn answered(&mut self, now: Duration, quickest: Duration) {
        self.is_late = now > quickest + (quickest / 4).max(QUEUE);
    }

    /// Whether what was `sent` then and is answered only `now` has waited for too much of this side's own.
    fn waits(&mut self, now: Instant, sent: Instant, late: Duration, window: u64) -> bool {
        let (longest, most) = LONG_QUEUE;
        let is_news = self.told.is_none_or(|told| sent > told);
        let waits = is_news && late > longest && window > most;
        if waits {
            self.told = Some(now);
        }
        waits
    }

    /// Whether what was `sent` then and is lost tells of a full line.
    fn count(&mut self, now: Instant, sent: Instant, bytes: u64) -> bool {
        if self.told.is_some_and(|told| sent <= told) {
            return false;
        }
        self.lost = self.lost.saturating_add(bytes);
        let is_much = self.lost.saturating_mul(100) > self.sent.max(COUNTED / 2) * PERCENT;
        if self.is_late || is_much {
            *self = Self { is_late: self.is_late, told: Some(now), ..Self::default() };
            return true;
        }
        false
    }
}

impl Controller for Control {
    fn on_sent(&mut self, now: Instant, bytes: u64, largest: u64) {
        self.cubic.on_sent(now, bytes, largest);
    }

    fn on_packet_sent(&mut self, now: Instant, bytes: u16, number: u64) {
        self.losses.sent(bytes.into());
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
        self.losses.answered(rtt.get(), rtt.min());
        self.cubic.on_ack(now, sent, bytes, number, app_limited, rtt);
        let late = rtt.get().saturating_sub(rtt.min());
        if self.losses.waits(now, sent, late, self.cubic.window()) {
            // As a router says it, before it drops anything.
            self.cubic.on_congestion_event(now, sent, false, true, 0, number);
        }
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest: Option<u64>,
    ) {
        self.cubic.on_end_acks(now, in_flight, app_limited, largest);
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
        self.has_counted = self.losses.count(now, sent, bytes) || is_said;
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

    /// How many of the losses count, of `packets` sent at the rate of one a millisecond, of which every `nth` is lost.
    fn counted(packets: u64, nth: u64, now: Duration, quickest: Duration) -> usize {
        let mut losses = Losses::default();
        losses.answered(now, quickest);
        let lost = (1..=packets).filter(|number| {
            losses.sent(PACKET);
            number % nth == 0 && losses.count(at(*number + 20), at(*number), PACKET)
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
    fn what_was_sent_before_says_nothing_new() {
        let mut losses = Losses::default();
        losses.answered(ms(100), ms(20));
        assert!(losses.count(at(50), at(10), PACKET));
        assert!(!losses.count(at(51), at(49), PACKET));
        assert!(!losses.waits(at(52), at(50), ms(900), 8 << 20));
        assert!(losses.count(at(90), at(51), PACKET));
    }

    #[test]
    fn a_long_queue_of_its_own_counts() {
        for (late, window, expected) in [
            (100, 30 << 20, false),
            (500, 30 << 20, false),
            (600, 30 << 20, true),
            // That of others.
            (3000, 1 << 20, false),
        ] {
            let mut losses = Losses::default();
            assert_eq!(losses.waits(at(9), at(5), ms(late), window), expected, "{late} {window}");
            // Once for all that is under way.
            assert!(!losses.waits(at(12), at(8), ms(late), window));
        }
    }

    /// The controller as the engine has it: 1 % of the packets costs nothing, what is late costs what CUBIC takes.
    #[test]
    fn the_window_stays_where_nothing_waits() {
        let factory: Arc<dyn ControllerFactory> = Arc::new(Patient::default());
        for (is_late, is_persistent, expected) in
            [(false, false, 1.0), (true, false, 0.7), (false, true, 0.2)]
        {
            let mut control = Control {
                cubic: Cubic::new(Arc::default(), at(0), 1200),
                losses: Losses { is_late, ..Losses::default() },
                has_counted: false,
            };
            let before = control.window();
            control.on_packet_sent(at(1), 1200, 1);
            control.on_congestion_event(at(30), at(1), is_persistent, false, PACKET, 1);
            let after = control.window() as f64 / before as f64;
            assert!((after - expected).abs() < 0.05, "{is_late} {is_persistent}: {after}");
            // What was not lost after all is taken back.
            control.on_spurious_congestion_event();
            assert_eq!(control.window(), before, "{is_late} {is_persistent}");
        }
        assert_eq!(
            Arc::clone(&factory).build(at(0), 1200).window(),
            Cubic::new(Arc::default(), at(0), 1200).window()
        );
    }
}
