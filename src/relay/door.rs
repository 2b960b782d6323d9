//! Who may come in: how often from one address, how many of it, how many in all. Values and a lock; it
//! knows no socket.
//!
//! A connection is a [`Visit`] from its first byte to its last. Until it has proved its key it is on its way
//! in, with a bound of its own; then it is a client. Whatever ends it drops the last handle of its visit,
//! and that counts it out.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::options::Limits;
use crate::bounds::{
    MAX_RELAY_ADDRESSES, MAX_RELAY_HANDSHAKES, RELAY_ARRIVALS, RELAY_ARRIVALS_BURST, RELAY_SITE,
};
use crate::net::crowd::{CUSTOMER, crowded_out, network};

/// Bits of the network of IPv6 that is given to whoever asks for it.
const SITE: u8 = 48;
/// How often it is looked for places that can be forgotten, where there is no room for others.
const PRUNE: Duration = Duration::from_secs(1);

/// Why somebody does not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// Its address connects too often.
    Often,
    /// Its address has as many connections as one may have.
    Address,
    /// There are as many clients as there may be.
    Full,
    /// It was on its way in for too long, or left to somebody who came later.
    Slow,
    /// No token, or none of those that are let in.
    Token,
    /// What may be relayed in a day has been.
    Daily,
}

impl Refusal {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Often, Self::Address, Self::Full, Self::Slow, Self::Token, Self::Daily];

    /// A word for programs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Often => "often",
            Self::Address => "address",
            Self::Full => "full",
            Self::Slow => "slow",
            Self::Token => "token",
            Self::Daily => "daily",
        }
    }
}

/// As whoever is refused reads it.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Often => "too many connections from one address, try again in a few seconds",
            Self::Address => "as many connections from one address as there may be",
            Self::Full => "as many clients as there may be",
            Self::Slow => "it took too long to connect",
            Self::Token => "the relay wants a token, and this is none of its",
            Self::Daily => "what may be relayed in a day has been; it goes on at 00:00 UTC",
        })
    }
}

/// Counts everybody who is here.
#[derive(Debug)]
pub struct Door {
    limits: Limits,
    state: Mutex<State>,
    refused: [AtomicU64; Refusal::ALL.len()],
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    addresses: HashMap<Place, Address>,
    /// When it was last looked for those that can be forgotten.
    pruned: Option<Instant>,
    /// Those on their way in, the oldest first.
    arriving: BTreeMap<u64, (Option<IpAddr>, Weak<Visit>)>,
    clients: HashMap<u64, Option<IpAddr>>,
}

/// What is known of a place.
#[derive(Debug)]
struct Address {
    arriving: usize,
    clients: usize,
    /// Connections that it may open now…
    tokens: f64,
    /// …as it was then.
    at: Instant,
}

/// One connection. Whoever has it counts among those who are here.
#[derive(Debug)]
pub struct Visit {
    door: Arc<Door>,
    id: u64,
    /// It is to go, as others came later and there is no room.
    pub leave: Notify,
}

impl Visit {
    /// Its number, which no other of the process has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether it has become a client.
    pub fn is_client(&self) -> bool {
        self.door.state().clients.contains_key(&self.id)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.door.state().remove(self.id);
    }
}

impl Door {
    /// With nobody in.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default(), refused: Default::default() })
    }

    /// Somebody connects: from an address, or from a proxy that has yet to say for whom.
    ///
    /// # Errors
    /// Why it has to go.
    pub fn enter(
        self: &Arc<Self>,
        from: Option<IpAddr>,
        now: Instant,
    ) -> Result<Arc<Visit>, Refusal> {
        let mut state = self.state();
        let from = from.map(|from| network(from, CUSTOMER));
        if let Some(from) = from {
            state.count(from, self.limits.per_address, now)?;
        }
        let crowded = (state.arriving.len() >= MAX_RELAY_HANDSHAKES).then(|| state.crowd_out());
        let id = state.next;
        state.next += 1;
        let visit = Arc::new(Visit { door: Arc::clone(self), id, leave: Notify::new() });
        state.arriving.insert(id, (from, Arc::downgrade(&visit)));
        drop(state);
        // Not under the lock: this may be the last handle.
        if let Some(visit) = crowded.flatten() {
            visit.leave.notify_one();
        }
        Ok(visit)
    }

    /// A proxy says for whom a request is.
    ///
    /// # Errors
    /// As [`Door::enter`].
    pub fn place(&self, visit: &Visit, from: IpAddr, now: Instant) -> Result<(), Refusal> {
        let mut state = self.state();
        let handle = match state.arriving.get(&visit.id) {
            Some((_, handle)) => handle.clone(),
            None => return Err(Refusal::Slow),
        };
        // It may have been there for another before.
        state.remove(visit.id);
        let from = network(from, CUSTOMER);
        let counted = state.count(from, self.limits.per_address, now);
        state.arriving.insert(visit.id, (counted.is_ok().then_some(from), handle));
        counted
    }

    /// One on its way in has proved its key, and is a client from now on.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn join(&self, id: u64) -> Result<(Arc<Visit>, Option<IpAddr>), Refusal> {
        let mut state = self.state();
        let Some((from, handle)) = state.arriving.get(&id) else { return Err(Refusal::Slow) };
        let (from, visit) = (*from, handle.upgrade().ok_or(Refusal::Slow)?);
        let is_full = |place: Place| {
            let most = place.most(self.limits.per_address);
            state.addresses.get(&place).is_some_and(|address| address.clients >= most)
        };
        let joined = if from.into_iter().flat_map(places).any(is_full) {
            Err(Refusal::Address)
        } else if state.clients.len() >= self.limits.clients {
            Err(Refusal::Full)
        } else {
            Ok(())
        };
        if joined.is_ok() {
            state.arriving.remove(&id);
            state.clients.insert(id, from);
            for place in from.into_iter().flat_map(places) {
                if let Some(address) = state.addresses.get_mut(&place) {
                    address.arriving = address.arriving.saturating_sub(1);
                    address.clients += 1;
                }
            }
        }
        drop(state);
        joined.map(|()| (visit, from))
    }

    /// The address that a visit is from.
    pub fn address_of(&self, id: u64) -> Option<IpAddr> {
        let state = self.state();
        let arriving = state.arriving.get(&id).map(|(from, _)| *from);
        arriving.or_else(|| state.clients.get(&id).copied()).flatten()
    }

    /// Clients that are here.
    pub fn clients(&self) -> usize {
        self.state().clients.len()
    }

    /// Counts somebody who was refused.
    pub fn refuse(&self, why: Refusal) {
        if let Some(count) = self.refused.get(why as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were refused so far, and why.
    pub fn refused(&self) -> [(&'static str, u64); Refusal::ALL.len()] {
        let mut counts = self.refused.iter().map(|count| count.load(Ordering::Relaxed));
        Refusal::ALL.map(|why| (why.label(), counts.next().unwrap_or_default()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of it is whole before the lock is given back.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// One more connection from an address, on its way in.
    fn count(&mut self, from: IpAddr, most: usize, now: Instant) -> Result<(), Refusal> {
        let all: Vec<Place> = places(from).collect();
        let mut new = 0;
        // Whoever is refused is not remembered: one network has more places than there is room for.
        for place in &all {
            let Some(address) = self.addresses.get_mut(place) else {
                new += 1;
                continue;
            };
            address.tokens = address.tokens_at(*place, now);
            address.at = now;
            if address.tokens < 1.0 {
                return Err(Refusal::Often);
            }
            if address.arriving >= place.most(most) {
                return Err(Refusal::Address);
            }
        }
        if !self.has_room(new, now) {
            return Err(Refusal::Often);
        }
        for place in &all {
            let address = self.addresses.entry(*place).or_insert_with(|| Address {
                arriving: 0,
                clients: 0,
                tokens: place.burst(),
                at: now,
            });
            address.tokens -= 1.0;
            address.arriving += 1;
        }
        Ok(())
    }

    /// Whether so many more places can be remembered. Looks through all of them at most once in a while:
    /// each connection from another place would ask for it.
    fn has_room(&mut self, new: usize, now: Instant) -> bool {
        let has_room = |state: &Self| {
            new == 0 || state.addresses.len().saturating_add(new) <= MAX_RELAY_ADDRESSES
        };
        let is_due = self.pruned.is_none_or(|then| now.saturating_duration_since(then) >= PRUNE);
        if !has_room(self) && is_due {
            self.addresses.retain(|place, address| !address.is_forgotten(*place, now));
            self.pruned = Some(now);
        }
        has_room(self)
    }

    /// The oldest of the address that has the most on their way in leaves, in the network that has the most;
    /// those whose proxy has not said for whom they are count as one.
    fn crowd_out(&mut self) -> Option<Arc<Visit>> {
        let network = |from: Option<IpAddr>| from.and_then(|from| places(from).last());
        let origins = self.arriving.values().map(|(from, _)| (network(*from), *from));
        let id = *self.arriving.keys().nth(crowded_out(origins)?)?;
        let visit = self.arriving.get(&id).and_then(|(_, handle)| handle.upgrade());
        self.remove(id);
        visit
    }

    /// Counts a connection out, whatever it was.
    fn remove(&mut self, id: u64) {
        let arriving = self.arriving.remove(&id).map(|(from, _)| from);
        let client = self.clients.remove(&id);
        for place in arriving.flatten().into_iter().flat_map(places) {
            if let Some(address) = self.addresses.get_mut(&place) {
                address.arriving = address.arriving.saturating_sub(1);
            }
        }
        for place in client.flatten().into_iter().flat_map(places) {
            if let Some(address) = self.addresses.get_mut(&place) {
                address.clients = address.clients.saturating_sub(1);
            }
        }
    }
}

impl Address {
    fn tokens_at(&self, place: Place, now: Instant) -> f64 {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        let tokens = self.tokens + seconds * RELAY_ARRIVALS * f64::from(place.times());
        tokens.min(place.burst())
    }

    /// Whether nothing would be different without it.
    fn is_forgotten(&self, place: Place, now: Instant) -> bool {
        let idle = self.arriving == 0 && self.clients == 0;
        idle && self.tokens_at(place, now) >= place.burst()
    }
}

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// An IPv4 address, or a /64 of IPv6.
    Customer(IpAddr),
    /// A /48 of IPv6, which is given to whoever asks for it: 65,536 customers, as it were, of which few are
    /// more than one.
    Site(IpAddr),
}

impl Place {
    /// As many times as one customer it may have of everything.
    fn times(self) -> u8 {
        match self {
            Self::Customer(_) => 1,
            Self::Site(_) => RELAY_SITE,
        }
    }

    /// Connections that may come at once from there.
    fn burst(self) -> f64 {
        RELAY_ARRIVALS_BURST * f64::from(self.times())
    }

    /// How many there may be of it, where so many may be of one customer.
    pub fn most(self, one: usize) -> usize {
        one.saturating_mul(self.times().into())
    }
}

/// Where somebody is who comes from there: a customer, who is perhaps in a larger network.
pub fn places(from: IpAddr) -> impl Iterator<Item = Place> {
    let is_ipv6 = from.to_canonical().is_ipv6();
    let site = is_ipv6.then(|| Place::Site(network(from, SITE)));
    [Place::Customer(network(from, CUSTOMER))].into_iter().chain(site)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn door(clients: usize, per_address: usize) -> Arc<Door> {
        let any = NonZeroU32::MIN;
        Door::new(Limits { clients, per_address, rate: any, burst: any, daily: None })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_connects_in_bursts_and_then_now_and_then() {
        let (door, begin) = (door(1000, 1000), Instant::now());
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let enter = |from: &str, now| door.enter(Some(ip(from)), now).map(drop);
        for _ in 0..16 {
            enter("2001:db8::1", at(0)).unwrap();
        }
        assert_eq!(enter("2001:db8::1", at(0)), Err(Refusal::Often));
        assert_eq!(enter("2001:db8::2", at(0)), Err(Refusal::Often), "the same /64");
        enter("2001:db8:0:1::1", at(0)).unwrap();
        for _ in 0..4 {
            enter("2001:db8::1", at(1)).unwrap();
        }
        assert_eq!(enter("2001:db8::1", at(1)), Err(Refusal::Often));
        for _ in 0..16 {
            enter("2001:db8::1", at(1000)).unwrap();
        }
        assert_eq!(enter("2001:db8::1", at(1000)), Err(Refusal::Often));
    }

    #[test]
    fn an_address_has_so_many_clients_and_all_have_so_many() {
        let (door, now) = (door(3, 2), Instant::now());
        let enter = |from: &str| door.enter(Some(ip(from)), now).unwrap();
        let join = |visit: &Visit| door.join(visit.id()).map(|(_, from)| from);
        let (one, two, three) = (enter("192.0.2.1"), enter("192.0.2.1"), "192.0.2.1");
        assert_eq!(door.enter(Some(ip(three)), now).map(drop), Err(Refusal::Address));
        assert_eq!(join(&one), Ok(Some(ip("192.0.2.1"))));
        assert_eq!(join(&two), Ok(Some(ip("192.0.2.1"))));
        let three = enter("192.0.2.1");
        assert_eq!(join(&three), Err(Refusal::Address));
        let four = enter("192.0.2.4");
        join(&four).unwrap();
        let five = enter("192.0.2.5");
        assert_eq!((join(&five), door.clients()), (Err(Refusal::Full), 3));
        drop(one);
        assert_eq!(door.clients(), 2);
        // As somebody left, whoever had to wait gets in.
        assert_eq!(join(&three), Ok(Some(ip("192.0.2.1"))));
        assert!(three.is_client() && !five.is_client());
    }

    /// Whoever has a /48 of IPv6 has 65,536 addresses, as they are counted.
    #[test]
    fn a_large_network_has_four_times_as_much_as_an_address() {
        let (door, now) = (door(1000, 2), Instant::now());
        let enter = |at: u32| door.enter(Some(ip(&format!("2001:db8:1:{at:x}::1"))), now);
        let mut clients: Vec<_> = (0..8).map(|at| enter(at).unwrap()).collect();
        assert_eq!(enter(8).map(drop), Err(Refusal::Address));
        clients.iter().for_each(|visit| drop(door.join(visit.id()).unwrap()));
        let ninth = enter(8).unwrap();
        assert_eq!(door.join(ninth.id()).map(drop), Err(Refusal::Address));
        let other = door.enter(Some(ip("2001:db8:2::1")), now).unwrap();
        door.join(other.id()).unwrap();
        clients.pop();
        door.join(ninth.id()).unwrap();
        let quick: Vec<_> = (9..100).map_while(|at| enter(at).ok()).collect();
        drop(quick);
        let mut came = 0;
        while enter(100 + came).is_ok() {
            came += 1;
        }
        assert_eq!(enter(1000).map(drop), Err(Refusal::Often));
        drop((clients, ninth, other));
        assert!(door.state().addresses.values().all(|it| it.arriving == 0 && it.clients == 0));
    }

    /// Its 65,536 places would fill the memory, and nobody else were let in.
    #[test]
    fn who_is_refused_is_not_remembered() {
        let (door, now) = (door(1000, 1000), Instant::now());
        let enter = |at: u16| {
            let from = IpAddr::from([0x2001, 0xdb8, 1, at, 0, 0, 0, 1]);
            door.enter(Some(from), now).map(drop)
        };
        let came = (0..u16::MAX).filter(|at| enter(*at).is_ok()).count();
        assert_eq!(came, 64);
        assert_eq!(door.state().addresses.len(), came + 1);
        door.enter(Some(ip("2001:db8:2::1")), now).unwrap();
    }

    /// Each connection from somewhere new would look through all that are remembered.
    #[test]
    fn a_full_memory_is_looked_through_now_and_then() {
        let (door, begin) = (door(1000, 1000), Instant::now());
        let at = |millis| begin + Duration::from_millis(millis);
        let enter = |address: u32, now| {
            let from = IpAddr::from(address.to_be_bytes());
            door.enter(Some(from), now).map(drop)
        };
        let most = u32::try_from(MAX_RELAY_ADDRESSES).unwrap();
        (0..most).for_each(|address| enter(address, begin).unwrap());
        assert_eq!(enter(most, begin), Err(Refusal::Often));
        // They could be forgotten by now, but nobody looks.
        assert_eq!(enter(most, at(900)), Err(Refusal::Often));
        enter(most, at(1100)).unwrap();
        assert_eq!(door.state().addresses.len(), 1);
    }

    #[test]
    fn the_oldest_of_the_busiest_address_gives_way() {
        let (door, now) = (door(1000, 1000), Instant::now());
        let lone = door.enter(Some(ip("192.0.2.1")), now).unwrap();
        let crowd: Vec<_> = (1..MAX_RELAY_HANDSHAKES)
            .map(|at| {
                let last = u8::try_from(at % 50).unwrap();
                door.enter(Some(IpAddr::from([198, 51, 100, last])), now).unwrap()
            })
            .collect();
        let new = door.enter(Some(ip("192.0.2.2")), now).unwrap();
        assert_eq!(door.join(crowd[0].id()).map(drop), Err(Refusal::Slow));
        assert_eq!(door.address_of(crowd[0].id()), None);
        door.join(crowd[1].id()).unwrap();
        door.join(lone.id()).unwrap();
        door.join(new.id()).unwrap();
    }

    #[test]
    fn a_proxy_speaks_for_others() {
        let (door, now) = (door(1000, 1), Instant::now());
        let visit = door.enter(None, now).unwrap();
        assert_eq!(door.address_of(visit.id()), None);
        door.place(&visit, ip("192.0.2.1"), now).unwrap();
        assert_eq!(door.address_of(visit.id()), Some(ip("192.0.2.1")));
        let other = door.enter(None, now).unwrap();
        assert_eq!(door.place(&other, ip("192.0.2.1"), now), Err(Refusal::Address));
        // The same connection of the proxy, for another.
        door.place(&visit, ip("192.0.2.2"), now).unwrap();
        door.place(&other, ip("192.0.2.1"), now).unwrap();
        drop((visit, other));
        assert!(door.state().addresses.values().all(|it| it.arriving == 0 && it.clients == 0));
        assert!(door.state().arriving.is_empty());
    }

    #[test]
    fn refusals_are_counted_by_their_kind() {
        let door = door(1, 1);
        Refusal::ALL.iter().for_each(|why| door.refuse(*why));
        door.refuse(Refusal::Daily);
        let counts = door.refused();
        assert_eq!(counts[5], ("daily", 2));
        assert!(counts[..5].iter().all(|(_, count)| *count == 1), "{counts:?}");
    }
}
