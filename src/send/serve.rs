//! Receivers, one after the other or several at a time, until all of them have been served.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use super::offer::Offer;
use super::options::SendOptions;
use super::session::{converse, lock};
use crate::bounds::MAX_GUESSES;
use crate::connect::acceptor::{Accepted, Acceptor, Incoming, Slot};
use crate::control;
use crate::error::{Cause, Error, Exit, Result};
use crate::event::Summary;
use crate::net::pace::Pace;
use crate::protocol::session::Limits;
use crate::ui::{Crowd, Ui};

/// How long a receiver that comes while questions are asked waits for the answers.
const MOMENT: Duration = Duration::from_secs(5);

/// Serves the receivers that the acceptor lets in. Returns the worst exit code of their sessions.
pub fn serve(
    acceptor: &Acceptor,
    mut offer: Offer,
    options: &SendOptions,
    ui: &Ui,
) -> Result<Exit> {
    let mut waiting = Waiting::new(options.timeout, For::First);
    let mut first: Option<(Box<Accepted>, Instant)> = None;
    offer.ask(options, ui, &mut || {
        control::check()?;
        if first.is_none()
            && let Some(accepted) = waiting.next_incoming(acceptor, ui, false)?
        {
            ui.comes_before_answers(&accepted.connection.peer.name, MOMENT);
            first = Some((accepted, Instant::now()));
        }
        Ok(first.as_ref().is_some_and(|(_, came)| came.elapsed() >= MOMENT))
    })?;
    let mut first = first.map(|(accepted, _)| accepted);
    let offer = Mutex::new(offer);
    thread::scope(|scope| {
        let (tell, ends) = mpsc::channel();
        let many = options.receivers > 1;
        let total = Summary::default();
        let (left, pace) = (options.receivers, options.limit.map(Pace::new));
        let mut limits = Limits { features: options.features, ..Limits::default() };
        // Several receivers are work enough for all processors.
        limits.lanes = (limits.lanes / options.receivers as usize).max(1);
        if let Some(pace) = &pace {
            limits.content = limits.content.min(pace.rate().content());
        }
        let crowd = many.then(|| ui.crowd("Sending", left));
        let (timeout, served, met) = (options.timeout, 0, false);
        let offer = &offer;
        let serving = Serving {
            acceptor,
            offer,
            ui,
            crowd,
            left,
            limits,
            pace,
            timeout,
            served,
            waiting,
            met,
        };
        serving.run(scope, (&tell, &ends), &mut first, total)
    })
}

/// To whoever stops a sender that has had a receiver.
const AGAIN: &str = "this ticket is void; `transfer send` makes another, and the receiver goes on \
                     from what it has";

/// How a session ended.
struct End {
    slot: Slot,
    /// Who the receiver was.
    name: String,
    result: Result<Summary>,
}

struct Serving<'a> {
    acceptor: &'a Acceptor,
    offer: &'a Mutex<Offer>,
    ui: &'a Ui,
    /// The bar of all, where there may be several.
    crowd: Option<Crowd>,
    /// Receivers that have not been served yet.
    left: u32,
    limits: Limits,
    pace: Option<Arc<Pace>>,
    /// How long a receiver is waited for, be it the first or one that was lost.
    timeout: Duration,
    served: u32,
    waiting: Waiting,
    /// Whether there has been a receiver.
    met: bool,
}

impl<'a> Serving<'a> {
    fn run<'scope>(
        mut self,
        scope: &'scope Scope<'scope, 'a>,
        (tell, ends): (&Sender<End>, &Receiver<End>),
        first: &mut Option<Box<Accepted>>,
        mut total: Summary,
    ) -> Result<Exit> {
        let (mut running, mut worst) = (0, Exit::Done);
        // Why nobody else can come, while others are still served.
        let mut closed = None;
        while self.left > 0 {
            // Where all that are to come are here, nobody else is waited for.
            let end = if running == self.left { ends.recv().ok() } else { ends.try_recv().ok() };
            if let Some(End { slot, name, result }) = end {
                running -= 1;
                if let Some(summary) = self.ended(slot, &name, result)? {
                    worst = worse(worst, summary.exit());
                    total.add(summary);
                    self.left -= 1;
                }
                continue;
            }
            let others = running > 0;
            let next = match first.take() {
                Some(accepted) => Ok(Some(accepted)),
                None => self.waiting.next_accepted(self.acceptor, self.offer, self.ui, others),
            };
            let accepted = match next {
                Ok(Some(accepted)) => accepted,
                Ok(None) => continue,
                Err(error) if others => {
                    (self.left, closed) = (running, Some(error));
                    continue;
                }
                Err(error) if self.met && error.cause == Cause::Interrupted => {
                    return Err(error.or_hint(AGAIN));
                }
                Err(error) => return Err(error),
            };
            (running, self.met) = (running + 1, true);
            let (tell, offer, pace) = (tell.clone(), self.offer, self.pace.clone());
            let limits = self.limits;
            let (ui, progress) = match &self.crowd {
                Some(crowd) => {
                    let ui = self.ui.beside_others();
                    let progress = crowd.join(&ui);
                    (ui, progress)
                }
                None => (self.ui.clone(), self.ui.progress("Sending")),
            };
            let Accepted { slot, connection } = *accepted;
            let id = uuid::Uuid::from_bytes(connection.session);
            self.ui.receiver_connected(&connection.peer, id);
            let name = connection.peer.name.clone();
            let started =
                thread::Builder::new().name("serve".into()).spawn_scoped(scope, move || {
                    let result =
                        contained(|| converse(connection, offer, limits, pace, (&ui, progress)));
                    // The story may have ended meanwhile, by Ctrl-C or a third wrong token.
                    let _ = tell.send(End { slot, name, result });
                });
            if let Err(error) = started {
                return Err(Error::no_thread(&error));
            }
        }
        if self.crowd.take().is_some() {
            self.ui.sent_to_all(&total);
        }
        closed.map_or(Ok(worst), Err)
    }

    /// What a receiver is told to have got, unless it may come back.
    fn ended(
        &mut self,
        slot: Slot,
        name: &str,
        result: Result<Summary>,
    ) -> Result<Option<Summary>> {
        match result {
            Ok(summary) if let Some(crowd) = &self.crowd => {
                crowd.served();
                self.ui.sent_to(name, &summary);
                self.served += 1;
                let next = For::Another { served: self.served };
                self.waiting = Waiting::new(self.timeout, next);
                Ok(Some(summary))
            }
            Ok(summary) => {
                self.ui.sent(&summary);
                Ok(Some(summary))
            }
            // The receiver may come back, or be typed again, once it has room.
            Err(error) if may_come_back(&error) && lock(self.offer).is_whole() => {
                self.acceptor.leave(slot);
                self.ui.waits_again(name, &error, self.timeout);
                self.waiting = Waiting::new(self.timeout, For::Lost(error));
                Ok(None)
            }
            Err(error) if error.cause == Cause::Interrupted => {
                let hint = match lock(self.offer).is_whole() {
                    true => AGAIN,
                    false => "what was read of the input is gone: run both sides again",
                };
                Err(error.or_hint(hint))
            }
            Err(error) if may_come_back(&error) => {
                Err(error.hint("what was read of the input is gone: run both sides again"))
            }
            // Of several receivers the others go on, and somebody else may have this one's place.
            Err(error) if self.crowd.is_some() && error.cause != Cause::Interrupted => {
                self.acceptor.leave(slot);
                self.ui.warn(&format!("{name}: {error}; somebody else may come instead"));
                self.waiting = Waiting::new(self.timeout, For::Lost(error));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// A session of which the others and the wait for its end are told even where it panics. What is
/// shared with it is whole at every point where that could happen.
fn contained(session: impl FnOnce() -> Result<Summary>) -> Result<Summary> {
    catch_unwind(AssertUnwindSafe(session)).unwrap_or_else(|_| {
        let hint = "please report what it says above; run both sides again: it goes on from there";
        Err(Error::failure("the session ended by a fault of this program").hint(hint))
    })
}

/// The one that says more of what went wrong.
fn worse(one: Exit, other: Exit) -> Exit {
    match (one, other) {
        (Exit::Done, other) | (Exit::Partial, other @ Exit::Integrity) => other,
        (one, _) => one,
    }
}

/// Whether the same ticket can still be of use after this end of a session.
fn may_come_back(error: &Error) -> bool {
    matches!(error.cause, Cause::Network | Cause::PeerStopped | Cause::PeerCannot)
}

/// Whom the wait is for.
enum For {
    /// Whoever knows the token.
    First,
    /// The next of several.
    Another { served: u32 },
    /// One whose session ended early, and how.
    Lost(Error),
}

/// The wait for a receiver, with an end.
struct Waiting {
    limit: Duration,
    deadline: Instant,
    what: For,
    refusals: u32,
}

impl Waiting {
    fn new(limit: Duration, what: For) -> Self {
        Self { limit, deadline: Instant::now() + limit, what, refusals: 0 }
    }

    /// Nobody came: what really happened.
    fn in_vain(&self) -> Error {
        let limit = self.limit.as_secs();
        let (message, hint) = match &self.what {
            For::First => (
                format!("no receiver came within {limit} s"),
                "run the same command again; --timeout 30m waits longer".to_owned(),
            ),
            For::Another { served } => (
                format!("no other receiver came within {limit} s, after {served}"),
                "run the same command again for the others; --timeout 30m waits longer".to_owned(),
            ),
            For::Lost(error) => (
                format!("{error}; the receiver did not come back within {limit} s"),
                "run both sides again: it goes on where it stopped; --timeout 30m waits longer"
                    .to_owned(),
            ),
        };
        Error::network(message).hint(hint)
    }

    /// The next receiver, if one comes in a moment. While others are served it may take as long
    /// as it likes.
    fn next_accepted(
        &mut self,
        acceptor: &Acceptor,
        offer: &Mutex<Offer>,
        ui: &Ui,
        others: bool,
    ) -> Result<Option<Box<Accepted>>> {
        control::check()?;
        if let Ok(mut offer) = offer.try_lock() {
            offer.look(ui);
        }
        self.next_incoming(acceptor, ui, others)
    }

    /// What came of the next connection, if one comes in a moment: a receiver, or somebody who is told of.
    fn next_incoming(
        &mut self,
        acceptor: &Acceptor,
        ui: &Ui,
        others: bool,
    ) -> Result<Option<Box<Accepted>>> {
        acceptor.check()?;
        let left = self.deadline.saturating_duration_since(Instant::now());
        match acceptor.next(left.min(control::SLICE)) {
            None if others || !left.is_zero() => {}
            Some(Incoming::Accepted(accepted)) => return Ok(Some(accepted)),
            Some(Incoming::WrongToken { peer, left: 0 }) => {
                ui.wrong_token(&peer, 0);
                return Err(Error::refused(format!(
                    "the offer has ended after {} wrong tokens, the last from {}",
                    MAX_GUESSES, peer.name
                ))
                .hint("run the same command again for a new token"));
            }
            Some(Incoming::WrongToken { peer, left }) => ui.wrong_token(&peer, left),
            Some(Incoming::Look { peer }) => {
                self.refusals += 1;
                ui.looked(&peer, self.refusals);
            }
            Some(Incoming::Relay { host, is_away }) => ui.relay_is_away(&host, is_away),
            Some(Incoming::Refused { peer, why }) => {
                self.refusals += 1;
                ui.turned_away(&peer, &why, self.refusals);
            }
            None => return Err(self.in_vain()),
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_panics_ends_with_an_error() {
        let error = contained(|| panic!("a fault")).unwrap_err();
        assert_eq!(error.cause, Cause::Failure);
        assert!(!may_come_back(&error));
        assert_eq!(contained(|| Ok(Summary::default())).unwrap().files, 0);
    }
}
