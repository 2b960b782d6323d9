//! The line of uploads: a few at the same time, one of a device, the others one after the other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bounds::{MAX_LISTS_EACH, MAX_SESSIONS, MAX_SESSIONS_EACH};
use crate::connect::Closer;
use crate::trust::verifier::{Peer, Rules};

/// A place in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    number: u64,
    /// Whether it is served; else it is there to be told that it is not.
    pub is_served: bool,
}

/// A place, given back when this goes.
#[derive(Debug)]
pub struct Seat<'a> {
    line: &'a Line,
    /// Which.
    pub place: Place,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.line.leave(self.place);
    }
}

/// A connection of a device.
#[derive(Debug)]
struct Guest {
    place: Place,
    device: String,
    /// What it was let in by.
    shown: Option<Box<Peer>>,
    closer: Arc<Closer>,
    /// Whether its list is taken, or has been.
    lists: bool,
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
#[derive(Debug)]
pub struct Line {
    state: Mutex<State>,
    /// Uploads that run at the same time.
    uploads: usize,
}

impl Line {
    /// In which so many uploads run at the same time.
    pub fn new(uploads: usize) -> Self {
        Self { state: Mutex::default(), uploads }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole at every point where a panic could happen.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection in. Where as many are as may be it is told so, and not even that where as many are
    /// told already.
    pub fn enter(
        &self,
        device: &str,
        shown: Option<Box<Peer>>,
        closer: &Arc<Closer>,
    ) -> Option<Seat<'_>> {
        let mut state = self.state();
        let is_room = |is_served: bool| {
            let all = state.guests.iter().filter(|guest| guest.place.is_served == is_served);
            let own = all.clone().filter(|guest| guest.device == device);
            own.count() < MAX_SESSIONS_EACH && all.count() < MAX_SESSIONS
        };
        let is_served = is_room(true);
        if !is_served && !is_room(false) {
            return None;
        }
        let place = Place { number: state.next, is_served };
        state.next += 1;
        let (device, closer) = (device.to_owned(), Arc::clone(closer));
        state.guests.push(Guest {
            place,
            device,
            shown,
            closer,
            lists: false,
            run: None,
            runs: false,
        });
        Some(Seat { line: self, place })
    }

    /// How many are before one that comes now.
    pub fn before(&self, place: Place) -> u64 {
        let state = self.state();
        let others = state.guests.iter().filter(|guest| guest.place != place);
        others.filter(|guest| guest.place.is_served).count() as u64
    }

    /// Whether its list may come; from then on it may. Lists are large, and a device may have few of them here.
    pub fn may_list(&self, place: Place) -> bool {
        let mut state = self.state();
        let Some(at) = state.guests.iter().position(|guest| guest.place == place) else {
            return false;
        };
        let device = state.guests.get(at).map(|guest| guest.device.clone()).unwrap_or_default();
        let own = state.guests.iter().filter(|guest| guest.device == device && guest.lists);
        let is_room = own.count() < MAX_LISTS_EACH;
        state.guests.get_mut(at).is_some_and(|guest| {
            guest.lists = guest.lists || is_room;
            guest.lists
        })
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
        let Some(at) = state.guests.iter().position(|guest| guest.place == place) else {
            return false;
        };
        if !state.guests.get(at).is_some_and(|guest| guest.runs) {
            // Who runs, and who is before it and could: one of each device, the oldest of its own.
            let mut before: Vec<&str> = Vec::new();
            before.extend(state.guests.iter().filter(|it| it.runs).map(|it| &*it.device));
            for older in state.guests.iter().take(at).filter(|it| it.run.is_some()) {
                if !before.contains(&&*older.device) {
                    before.push(&older.device);
                }
            }
            let own = state.guests.get(at).map(|guest| &*guest.device);
            if before.len() >= self.uploads || own.is_none_or(|own| before.contains(&own)) {
                return false;
            }
        }
        if let Some(guest) = state.guests.get_mut(at) {
            guest.runs = true;
        }
        true
    }

    /// It has gone.
    fn leave(&self, place: Place) {
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
    use crate::bounds::MAX_UPLOADS;

    fn closer() -> Arc<Closer> {
        Arc::new(Closer::new(|| {}))
    }

    #[test]
    fn one_of_a_device_at_a_time_and_four_in_all() {
        let line = Line::new(MAX_UPLOADS);
        let come = |device: &str| {
            let seat = line.enter(device, None, &closer()).unwrap();
            line.offers(seat.place, "");
            seat
        };
        let first = come("a");
        assert!(line.is_turn(first.place) && line.is_turn(first.place));
        let second = come("a");
        let third = come("a");
        assert!(!line.is_turn(second.place) && !line.is_turn(third.place));
        let mut others: Vec<_> = ["b", "c", "d", "e"].map(come).into();
        assert!(others[..3].iter().all(|seat| line.is_turn(seat.place)));
        assert!(!line.is_turn(others[3].place));
        drop(first);
        assert!(!line.is_turn(third.place), "it is behind the second");
        assert!(!line.is_turn(others[3].place), "so is this one");
        assert!(line.is_turn(second.place));
        others.remove(0);
        assert!(!line.is_turn(third.place), "one of a device");
        assert!(line.is_turn(others[2].place));
    }

    /// Whoever looks first, the oldest has its turn.
    #[test]
    fn nobody_goes_before_an_older_one() {
        let line = Line::new(1);
        let come = |device: &str| {
            let seat = line.enter(device, None, &closer()).unwrap();
            line.offers(seat.place, "");
            seat
        };
        let seats = ["a", "b", "b", "c"].map(come);
        let [first, second, third, last] = seats;
        assert!(!line.is_turn(last.place) && line.is_turn(first.place));
        assert!(!line.is_turn(second.place));
        drop(first);
        assert!(!line.is_turn(last.place) && !line.is_turn(third.place));
        assert!(line.is_turn(second.place));
        drop(second);
        assert!(!line.is_turn(last.place));
        drop(third);
        assert!(line.is_turn(last.place));
    }

    #[test]
    fn who_has_not_offered_keeps_nobody_waiting() {
        let line = Line::new(MAX_UPLOADS);
        let silent = line.enter("a", None, &closer()).unwrap();
        let seat = line.enter("a", None, &closer()).unwrap();
        line.offers(seat.place, "1");
        assert!(line.is_turn(seat.place));
        line.offers(silent.place, "2");
        assert!(!line.is_turn(silent.place), "the younger one runs already");
        drop(seat);
        assert!(line.is_turn(silent.place));
    }

    #[test]
    fn a_device_has_few_lists_here() {
        let line = Line::new(MAX_UPLOADS);
        let mut seats: Vec<_> =
            (0..MAX_SESSIONS_EACH).map(|_| line.enter("a", None, &closer()).unwrap()).collect();
        let may =
            |seats: &[Seat<'_>]| seats.iter().filter(|seat| line.may_list(seat.place)).count();
        assert_eq!(may(&seats), MAX_LISTS_EACH);
        assert_eq!(may(&seats), MAX_LISTS_EACH, "asked once more");
        let other = line.enter("b", None, &closer()).unwrap();
        assert!(line.may_list(other.place));
        seats.remove(0);
        assert_eq!(may(&seats), MAX_LISTS_EACH);
    }

    #[test]
    fn there_is_an_end_to_the_line() {
        let line = Line::new(MAX_UPLOADS);
        let is_served = |device: &str| {
            let seat = line.enter(device, None, &closer())?;
            Some((seat.place.is_served, seat))
        };
        let mut here: Vec<_> =
            (0..2 * MAX_SESSIONS_EACH).map(|_| is_served("a").unwrap()).collect();
        let told: Vec<bool> = here.iter().map(|it| it.0).collect();
        assert_eq!(told, [[true; MAX_SESSIONS_EACH], [false; MAX_SESSIONS_EACH]].concat());
        assert_eq!(line.before(here[0].1.place), MAX_SESSIONS_EACH as u64 - 1);
        assert!(is_served("a").is_none(), "as many are told already");
        let others = (0..MAX_SESSIONS - MAX_SESSIONS_EACH).map(|it| is_served(&it.to_string()));
        let others: Vec<_> = others.map(Option::unwrap).collect();
        assert!(others.iter().all(|it| it.0), "one device leaves the others their places");
        assert!(!is_served("another").unwrap().0);
        here.remove(0);
        assert!(is_served("another").unwrap().0);
    }

    #[test]
    fn what_panics_gives_back_its_place() {
        let line = Line::new(MAX_UPLOADS);
        for _ in 0..2 * MAX_SESSIONS_EACH {
            let upload = std::panic::AssertUnwindSafe(|| {
                let seat = line.enter("a", None, &closer()).unwrap();
                assert!(!seat.place.is_served, "a fault of the program");
            });
            std::panic::catch_unwind(upload).unwrap_err();
        }
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
        let line = Line::new(MAX_UPLOADS);
        let old = counted();
        let first = line.enter("a", None, &old).unwrap();
        line.offers(first.place, "1");
        let other = counted();
        let second = line.enter("a", None, &other).unwrap();
        line.offers(second.place, "2");
        assert_eq!(closed.load(Ordering::Relaxed), 0);
        let new = counted();
        let third = line.enter("a", None, &new).unwrap();
        line.offers(third.place, "1");
        assert_eq!(closed.load(Ordering::Relaxed), 1);
    }
}
