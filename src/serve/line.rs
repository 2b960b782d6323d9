//! The line of uploads: a few at the same time, one of a device, the others one after the other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bounds::{MAX_SESSIONS, MAX_SESSIONS_EACH, MAX_UPLOADS};
use crate::connect::Closer;
use crate::trust::verifier::{Peer, Rules};

/// A place in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u64);

/// A connection of a device.
#[derive(Debug)]
struct Guest {
    place: Place,
    device: String,
    /// What it was let in by.
    shown: Option<Box<Peer>>,
    closer: Arc<Closer>,
    /// Its run, once it has offered something; before that nobody waits for it.
    run: Option<String>,
    /// Whether it has its turn.
    runs: bool,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// The oldest first.
    guests: Vec<Guest>,
}

/// Who is served, and who waits.
#[derive(Debug, Default)]
pub struct Line(Mutex<State>);

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole at every point where a panic could happen.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection in; nothing if there are as many as may be.
    pub fn enter(
        &self,
        device: &str,
        shown: Option<Box<Peer>>,
        closer: &Arc<Closer>,
    ) -> Option<Place> {
        let mut state = self.state();
        let own = state.guests.iter().filter(|guest| guest.device == device).count();
        if own >= MAX_SESSIONS_EACH || state.guests.len() >= MAX_SESSIONS {
            return None;
        }
        let place = Place(state.next);
        state.next += 1;
        let (device, closer) = (device.to_owned(), Arc::clone(closer));
        state.guests.push(Guest { place, device, shown, closer, run: None, runs: false });
        Some(place)
    }

    /// How many are before one that comes now.
    pub fn before(&self, place: Place) -> u64 {
        self.state().guests.iter().filter(|guest| guest.place != place).count() as u64
    }

    /// It has offered something. An older connection of the same run is one that was lost, though this
    /// side may not have noticed yet: it is ended.
    pub fn offers(&self, place: Place, run: &str) {
        let mut state = self.state();
        let Some(at) = state.guests.iter().position(|guest| guest.place == place) else { return };
        let (older, rest) = state.guests.split_at_mut(at);
        if let Some(guest) = rest.first_mut() {
            let lost = older.iter().filter(|old| {
                old.device == guest.device && old.run.as_deref() == Some(run) && !run.is_empty()
            });
            lost.for_each(|old| old.closer.close());
            guest.run = Some(run.to_owned());
        }
    }

    /// Whether it is its turn; from then on it is.
    pub fn is_turn(&self, place: Place) -> bool {
        let mut state = self.state();
        let running = state.guests.iter().filter(|guest| guest.runs).count();
        let Some(at) = state.guests.iter().position(|guest| guest.place == place) else {
            return false;
        };
        let (older, rest) = state.guests.split_at_mut(at);
        let Some((guest, younger)) = rest.split_first_mut() else { return false };
        let of_same = |other: &&Guest| other.device == guest.device;
        let waits = older.iter().filter(of_same).any(|other| other.run.is_some())
            || younger.iter().filter(of_same).any(|other| other.runs);
        guest.runs = guest.runs || (running < MAX_UPLOADS && !waits);
        guest.runs
    }

    /// It has gone.
    pub fn leave(&self, place: Place) {
        self.state().guests.retain(|guest| guest.place != place);
    }

    /// Ends the connections of devices that these rules let in no more.
    pub fn judge(&self, rules: &Arc<Rules>) {
        let state = self.state();
        let is_welcome =
            |guest: &Guest| guest.shown.as_ref().is_none_or(|shown| shown.is_welcome(rules));
        let unwelcome = state.guests.iter().filter(|guest| !is_welcome(guest));
        unwelcome.for_each(|guest| guest.closer.close());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn closer() -> Arc<Closer> {
        Arc::new(Closer::new(|| {}))
    }

    #[test]
    fn one_of_a_device_at_a_time_and_four_in_all() {
        let line = Line::default();
        let come = |device: &str| {
            let place = line.enter(device, None, &closer()).unwrap();
            line.offers(place, "");
            place
        };
        let first = come("a");
        assert!(line.is_turn(first) && line.is_turn(first));
        let second = come("a");
        let third = come("a");
        assert!(!line.is_turn(second) && !line.is_turn(third));
        let others: Vec<_> = ["b", "c", "d", "e"].map(come).into();
        assert!(others[..3].iter().all(|place| line.is_turn(*place)));
        assert!(!line.is_turn(others[3]));
        line.leave(first);
        assert!(!line.is_turn(third), "it is behind the second");
        assert!(line.is_turn(others[3]));
        assert!(!line.is_turn(second), "there are four");
        line.leave(others[0]);
        assert!(line.is_turn(second));
    }

    #[test]
    fn who_has_not_offered_keeps_nobody_waiting() {
        let line = Line::default();
        let silent = line.enter("a", None, &closer()).unwrap();
        let place = line.enter("a", None, &closer()).unwrap();
        line.offers(place, "1");
        assert!(line.is_turn(place));
        line.offers(silent, "2");
        assert!(!line.is_turn(silent), "the younger one runs already");
        line.leave(place);
        assert!(line.is_turn(silent));
    }

    #[test]
    fn there_is_an_end_to_the_line() {
        let line = Line::default();
        let here: Vec<_> = (0..MAX_SESSIONS_EACH).map(|_| line.enter("a", None, &closer())).collect();
        assert!(here.iter().all(Option::is_some));
        assert_eq!(line.enter("a", None, &closer()), None);
        for device in 0..MAX_SESSIONS {
            line.enter(&device.to_string(), None, &closer());
        }
        assert_eq!(line.enter("another", None, &closer()), None);
        line.leave(here[0].unwrap());
        assert!(line.enter("another", None, &closer()).is_some());
    }

    #[test]
    fn the_same_run_takes_its_own_place() {
        let closed = Arc::new(AtomicU32::new(0));
        let counted = || {
            let closed = Arc::clone(&closed);
            Arc::new(Closer::new(move || {
                closed.fetch_add(1, Ordering::Relaxed);
            }))
        };
        let line = Line::default();
        let old = counted();
        let place = line.enter("a", None, &old).unwrap();
        line.offers(place, "1");
        let other = counted();
        let place = line.enter("a", None, &other).unwrap();
        line.offers(place, "2");
        assert_eq!(closed.load(Ordering::Relaxed), 0);
        let new = counted();
        let place = line.enter("a", None, &new).unwrap();
        line.offers(place, "1");
        assert_eq!(closed.load(Ordering::Relaxed), 1);
    }
}
