//! Retries: how often, after what backoff, and when to give up. Over any way to connect, and
//! whatever is done over the connection.

use std::time::{Duration, Instant};

use super::NotConnected;
use crate::bounds::{BUSY_LIMIT, GONE_LIMIT, LOST_LIMIT, MAX_CUTS, MAX_TRIES, STALL_LIMIT};
use crate::control;
use crate::error::{Cause, Error, Result};

/// The backoff before the first retry…
pub const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// …which doubles with each until it is this.
pub const LAST_BACKOFF: Duration = Duration::from_secs(16);
/// The last where a new receiver finds its sender busy, perhaps with one that is gone.
const BUSY_BACKOFF: Duration = Duration::from_secs(2);
/// It is varied by so much of itself, so that no two who retry are in step.
pub const JITTER: f64 = 0.25;

/// What is told of a retry.
#[derive(Debug)]
pub enum Retry<'a> {
    /// The connection was lost, and is dialled again after `pause`; for the `attempt`th time
    /// without any progress.
    Again {
        /// Why there is none.
        why: &'a Error,
        /// From 1.
        attempt: u32,
        /// The backoff.
        pause: Duration,
    },
    /// The peer is not there yet, and is waited for.
    Awaits {
        /// Why there is no connection.
        why: &'a Error,
        /// How long in all.
        patience: Duration,
    },
}

/// Where retries are told.
pub type Tell<'a> = &'a mut dyn FnMut(Retry<'_>);

/// Why there are no more retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Another attempt would end in the same way.
    Over,
    /// What was taken cannot be had again.
    Once,
    /// Nothing listens at the peer any more.
    Gone,
    /// There was no progress for too long, or too often.
    NoProgress,
}

/// The end of all attempts.
#[derive(Debug)]
pub struct GaveUp {
    /// How the last one ended, or the one that matters.
    pub error: Error,
    /// Why there is not another.
    pub why: Why,
}

/// How long a peer may not be there yet.
#[derive(Debug, Clone, Copy)]
struct Wait {
    until: Instant,
    /// From the beginning.
    in_all: Duration,
}

/// What is done about an attempt that failed.
#[derive(Debug)]
enum Next {
    /// Another, after this pause; told with this number, or as waiting where there is none.
    Retry { why: Error, pause: Duration, attempt: Option<u32> },
    /// Nothing.
    GiveUp(GaveUp),
}

/// The attempts of one run. Whoever makes them tells how far they come.
#[derive(Debug)]
pub struct Redial {
    /// How long a peer may not be there yet.
    wait: Option<Wait>,
    met: bool,
    is_once: bool,
    /// Whether the last attempt became a session.
    had_session: bool,
    /// How long a peer may serve somebody else before there was a session.
    busy_limit: Duration,
    last_progress: Instant,
    /// The same when the attempt began.
    progress_before: Instant,
    /// Attempts without progress, those that were cut, and those before the peer was there.
    tries: u32,
    cuts: u32,
    waits: u32,
    unconfirmed: Option<Error>,
}

impl Redial {
    /// For a run that begins now; a peer that is not there yet is waited for as long as `wait`.
    pub fn new(wait: Option<Duration>) -> Self {
        let now = Instant::now();
        Self {
            wait: wait.map(|wait| Wait { until: now + wait, in_all: wait }),
            met: false,
            is_once: false,
            had_session: false,
            busy_limit: BUSY_LIMIT,
            last_progress: now,
            progress_before: now,
            tries: 0,
            cuts: 0,
            waits: 0,
            unconfirmed: None,
        }
    }

    /// The peer has been met: a session began.
    pub fn session(&mut self) {
        (self.met, self.had_session) = (true, true);
    }

    /// The peer notices late that a connection is gone: no system tells it of a process that was killed. Where it
    /// looks for another way meanwhile, that takes longer than silence alone.
    pub fn is_noticed_late(&mut self) {
        self.busy_limit = 2 * LOST_LIMIT + BUSY_LIMIT;
    }

    /// Whether there has been a session.
    pub fn has_met(&self) -> bool {
        self.met
    }

    /// What comes from here on cannot be had again, so that no other attempt could go on.
    pub fn once(&mut self) {
        self.is_once = true;
    }

    /// Whether that was said.
    pub fn is_once(&self) -> bool {
        self.is_once
    }

    /// Something got on.
    pub fn progress(&mut self) {
        self.last_progress = Instant::now();
    }

    /// Looks for a peer, again and again while it may not be there yet.
    ///
    /// # Errors
    /// That of the last attempt, or that of being stopped.
    pub fn find<T>(
        &self,
        mut find: impl FnMut() -> Result<T, NotConnected>,
        tell: Tell<'_>,
    ) -> Result<T> {
        let mut waits = 0;
        loop {
            match (find(), self.wait) {
                (Err(NotConnected::Lost(why)), Some(Wait { until, in_all: patience }))
                    if Instant::now() < until =>
                {
                    if waits == 0 {
                        tell(Retry::Awaits { why: &why, patience });
                    }
                    control::sleep(backoff(waits))?;
                    waits += 1;
                }
                (found, _) => return found.map_err(NotConnected::into_error),
            }
        }
    }

    /// Connects, and does all that is to be done over the connection; again and again, until it
    /// is done or there is no hope.
    ///
    /// # Errors
    /// Being stopped is one for which there is no hope.
    pub fn run<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<T, NotConnected>,
        tell: Tell<'_>,
    ) -> Result<T, GaveUp> {
        self.last_progress = Instant::now();
        loop {
            (self.progress_before, self.had_session) = (self.last_progress, false);
            let end = match attempt(self) {
                Ok(done) => return Ok(done),
                Err(end) => end,
            };
            let pause = match self.next(end, Instant::now()) {
                Next::GiveUp(end) => return Err(end),
                Next::Retry { why, pause, attempt: Some(attempt) } => {
                    tell(Retry::Again { why: &why, attempt, pause });
                    pause
                }
                Next::Retry { why, pause, attempt: None } => {
                    if let (1, Some(Wait { in_all: patience, .. })) = (self.waits, self.wait) {
                        tell(Retry::Awaits { why: &why, patience });
                    }
                    pause
                }
            };
            control::sleep(pause).map_err(|error| GaveUp { error, why: Why::Over })?;
        }
    }

    /// What is done about an attempt that ended like this.
    fn next(&mut self, end: NotConnected, now: Instant) -> Next {
        let give_up = |error, why| Next::GiveUp(GaveUp { error, why });
        let end = match end {
            NotConnected::Cut(why) if !self.met && self.cuts < MAX_CUTS => {
                let pause = backoff(self.cuts) / 2;
                self.cuts += 1;
                return Next::Retry { why, pause, attempt: Some(self.cuts) };
            }
            NotConnected::Cut(error) => NotConnected::Lost(error),
            end => end,
        };
        if let Some(error) = self.unconfirmed.take() {
            return give_up(error, Why::Over);
        }
        if self.is_once {
            return give_up(end.into_error(), Why::Once);
        }
        let may_wait = self.wait.is_some_and(|wait| now < wait.until);
        let is_soon = matches!(end, NotConnected::Busy(_)) && !self.met;
        let (error, limit, why) = match end {
            NotConnected::Busy(error) if self.met => (error, STALL_LIMIT, Why::NoProgress),
            // The peer may not have noticed yet that a connection of a moment ago is gone.
            NotConnected::Busy(error) => (error, self.busy_limit, Why::NoProgress),
            // Everything is here: one more try to tell the peer, which may be done as well.
            NotConnected::Unconfirmed(error) => {
                self.unconfirmed = Some(error.clone());
                (error, STALL_LIMIT, Why::NoProgress)
            }
            // Its port is open as long as the peer runs: it will not come back.
            NotConnected::Refused(error) if self.met => (error, GONE_LIMIT, Why::Gone),
            NotConnected::Lost(error) if self.met => (error, STALL_LIMIT, Why::NoProgress),
            // It is not there yet: however often that is, it costs nobody anything.
            NotConnected::Lost(why) | NotConnected::Refused(why) if may_wait => {
                let pause = backoff(self.waits);
                self.waits += 1;
                return Next::Retry { why, pause, attempt: None };
            }
            NotConnected::Over(error) if self.met && error.cause == Cause::WrongToken => {
                // It was right before: who listens there now has drawn another.
                let hint = "if it was started anew there, type the ticket that it shows now";
                return give_up(Error { hint: Some(hint.into()), ..error }, Why::Over);
            }
            end => return give_up(end.into_error(), Why::Over),
        };
        if self.last_progress > self.progress_before {
            self.tries = 0;
        }
        if self.had_session {
            // However long it stood still, paused or at a question: the time counts anew.
            self.last_progress = now;
        }
        if self.tries >= MAX_TRIES || now.duration_since(self.last_progress) > limit {
            return give_up(error, why);
        }
        // Whoever notices that a connection is gone says so to nobody: it is asked soon again.
        let longest = if is_soon { BUSY_BACKOFF } else { LAST_BACKOFF };
        let pause = backoff(self.tries).min(longest);
        self.tries += 1;
        Next::Retry { why: error, pause, attempt: Some(self.tries) }
    }
}

/// How long to wait before the next retry, after so many.
fn backoff(retries: u32) -> Duration {
    let doubled = FIRST_BACKOFF.saturating_mul(2u32.saturating_pow(retries));
    doubled.min(LAST_BACKOFF).mul_f64(rand::random_range(1.0 - JITTER..1.0 + JITTER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use NotConnected::{Busy, Cut, Lost, Over, Refused, Unconfirmed};

    /// How many retries there are of attempts that all end like this, each `apart` from the last,
    /// and why there is no other.
    fn retries(
        mut redial: Redial,
        end: fn(Error) -> NotConnected,
        has_session: bool,
        apart: Duration,
    ) -> (u32, Option<Why>) {
        let mut now = redial.last_progress;
        for count in 0..200 {
            now += apart;
            // As an attempt begins.
            (redial.progress_before, redial.had_session) = (redial.last_progress, has_session);
            match redial.next(end(Error::network("gone")), now) {
                Next::Retry { .. } => {}
                Next::GiveUp(GaveUp { why, .. }) => return (count, Some(why)),
            }
        }
        (200, None)
    }

    #[test]
    fn when_to_give_up() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let new = || Redial::new(None);
        let met = || Redial { met: true, ..new() };
        let waits = || Redial::new(Some(Duration::from_secs(100)));
        let once = || Redial { is_once: true, ..met() };
        let over = Some(Why::Over);
        let late = || {
            let mut redial = new();
            redial.is_noticed_late();
            redial
        };
        #[rustfmt::skip]
        let rows: [(&str, Redial, fn(Error) -> NotConnected, bool, Duration, u32, Option<Why>); 19] = [
            ("never there", new(), Lost, false, second, 0, over),
            ("nothing listens", new(), Refused, false, second, 0, over),
            ("a wrong token", new(), Over, false, second, 0, over),
            ("a wrong token, later", met(), Over, false, second, 0, over),
            ("cut at once", new(), Cut, false, second, MAX_CUTS, over),
            ("cut, later", met(), Cut, false, minute, 5, Some(Why::NoProgress)),
            ("busy", new(), Busy, false, second, 5, Some(Why::NoProgress)),
            ("busy, and noticed late", late(), Busy, false, second, MAX_TRIES, Some(Why::NoProgress)),
            ("busy, later", met(), Busy, false, minute, 5, Some(Why::NoProgress)),
            ("lost", met(), Lost, false, minute, 5, Some(Why::NoProgress)),
            ("lost too often", met(), Lost, false, second, MAX_TRIES, Some(Why::NoProgress)),
            ("lost in each session", met(), Lost, true, minute, MAX_TRIES, Some(Why::NoProgress)),
            ("gone", met(), Refused, false, second * 20, 3, Some(Why::Gone)),
            ("not there yet", waits(), Lost, false, second, 99, over),
            ("not listening yet", waits(), Refused, false, second, 99, over),
            ("a wrong token at last", waits(), Over, false, second, 0, over),
            ("unconfirmed", met(), Unconfirmed, true, second, 1, over),
            ("lost, and once only", once(), Lost, true, second, 0, Some(Why::Once)),
            ("busy, and once only", once(), Busy, false, second, 0, Some(Why::Once)),
        ];
        for (name, redial, end, has_session, apart, count, why) in rows {
            assert_eq!(retries(redial, end, has_session, apart), (count, why), "{name}");
        }
    }

    #[test]
    fn who_was_met_and_has_another_token_was_started_anew() {
        for (met, cause, is_told) in [
            (true, Cause::WrongToken, true),
            (false, Cause::WrongToken, false),
            // What is said of somebody in between stays.
            (true, Cause::Refused, false),
        ] {
            let mut redial = Redial { met, ..Redial::new(None) };
            let ended = Over(Error::new(cause, "no").hint("its own"));
            let Next::GiveUp(GaveUp { error, .. }) = redial.next(ended, Instant::now()) else {
                panic!("{met} {cause:?}: it tries again")
            };
            assert_eq!(error.hint.as_deref() != Some("its own"), is_told, "{met} {cause:?}");
        }
    }

    /// A killed receiver that is started again is let in soon after its sender has noticed, and one that was met gives
    /// the others time.
    #[test]
    fn whoever_is_new_asks_a_busy_sender_often() {
        for (met, longest) in [(false, BUSY_BACKOFF), (true, LAST_BACKOFF.mul_f64(1.0 + JITTER))] {
            let mut redial = Redial { met, busy_limit: STALL_LIMIT, ..Redial::new(None) };
            let now = redial.last_progress;
            let pauses: Vec<Duration> =
                std::iter::from_fn(|| match redial.next(Busy(Error::network("busy")), now) {
                    Next::Retry { pause, .. } => Some(pause),
                    Next::GiveUp(_) => None,
                })
                .collect();
            assert_eq!(pauses.len(), MAX_TRIES as usize);
            let most = pauses.iter().max().unwrap();
            assert!(*most <= longest && *most >= longest / 2, "{met} {most:?}");
        }
    }

    /// Progress gives all retries back.
    #[test]
    fn progress_counts_the_retries_anew() {
        let mut redial = Redial { met: true, ..Redial::new(None) };
        for _ in 0..2 * MAX_TRIES {
            redial.progress_before = redial.last_progress;
            redial.last_progress += Duration::from_secs(1);
            let now = redial.last_progress;
            let Next::Retry { attempt, .. } = redial.next(Lost(Error::network("gone")), now) else {
                panic!("given up in spite of progress")
            };
            assert_eq!(attempt, Some(1));
        }
    }

    /// The other end may be done: one more try, and then what was true before is told.
    #[test]
    fn what_was_not_confirmed_is_told_in_the_end() {
        let mut redial = Redial { met: true, ..Redial::new(None) };
        let now = redial.last_progress;
        assert!(matches!(redial.next(Unconfirmed(Error::network("a")), now), Next::Retry { .. }));
        let Next::GiveUp(end) = redial.next(Refused(Error::network("b")), now) else {
            panic!("tried again")
        };
        assert_eq!((&*end.error.message, end.why), ("a", Why::Over));
    }

    #[test]
    fn the_backoff_doubles() {
        for (retries, base) in [(0, 0.5), (1, 1.0), (2, 2.0), (4, 8.0), (5, 16.0), (u32::MAX, 16.0)]
        {
            let pause = backoff(retries).as_secs_f64();
            assert!((base * (1.0 - JITTER)..=base * (1.0 + JITTER)).contains(&pause), "{pause}");
        }
    }
}
