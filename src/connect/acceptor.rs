//! Accepts connections: who connects, whether they know the token, and whether a slot is free.
//!
//! Handshakes run beside the accept loop, so that nobody who dawdles keeps a real receiver
//! waiting. What a stranger can cost is bounded: so many handshakes at once, so long each, and three
//! wrong tokens in all. When another comes one has to leave: the oldest of whoever has the most, so
//! that a crowd from one place crowds out itself, and nobody who came from elsewhere.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::handshake::{Decision, Judge, Outcome};
use super::{Admit, Connection, Peer};
use crate::bounds::{
    MAX_CONNECTIONS, MAX_CONNECTIONS_EACH, MAX_CONNECTIONS_NET, MAX_GUESSES, MAX_HANDSHAKES,
    MAX_INCOMING,
};
use crate::crypto::handshake::{HandshakeError, ReceiverId};
use crate::error::{Error, reason};
use crate::net::crowd::{CUSTOMER, crowded_out, network};
use crate::net::dial::Stream;
use crate::net::listener::Listener;
use crate::net::quic::Caller;

/// A peer that has proved itself.
pub struct Accepted {
    /// Its slot, to be given back with [`Acceptor::leave`].
    pub slot: Slot,
    /// The connection, the handshake done.
    pub connection: Connection,
}

/// The right to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(u64);

/// What came of a connection, or of the way here.
pub enum Incoming {
    /// A receiver that is let in.
    Accepted(Box<Accepted>),
    /// Someone who knew the protocol and not the token.
    WrongToken {
        /// Who.
        peer: Peer,
        /// How many more are forgiven.
        left: u8,
    },
    /// A `transfer doctor` that had a look, or somebody who says so.
    Look {
        /// Who.
        peer: Peer,
    },
    /// No relay has this side any more, or one has it again.
    Relay {
        /// The host of the last one.
        host: String,
        /// Whether nobody new finds this side now.
        is_away: bool,
    },
    /// Someone who may not connect, or who was not understood.
    Refused {
        /// Who, as far as is known.
        peer: Peer,
        /// Why, in words.
        why: String,
    },
}

/// How a peer proves itself over a connection: one of [`handshake`](super::handshake)'s ways to
/// answer. Of what went wrong it tells in words.
pub type Prove = dyn Fn(&Stream, Judge<'_>) -> Result<Outcome, String> + Send + Sync;

/// Accepts the connections of one offer.
pub struct Acceptor {
    listeners: Vec<Listener>,
    shared: Arc<Shared>,
    incoming: Receiver<Incoming>,
    /// Whether it was told that no relay has this side.
    is_away: Cell<bool>,
}

struct Shared {
    admit: Box<Admit>,
    prove: Box<Prove>,
    state: Mutex<State>,
    started: AtomicU64,
    incoming: SyncSender<Incoming>,
}

struct State {
    guesses_left: u8,
    /// How many receivers are served at a time.
    slots: usize,
    /// Those that are.
    served: Vec<Served>,
    /// Connections whose handshake runs, the oldest first.
    running: VecDeque<Running>,
    /// Where the connections come from that have a thread, those that were shut down and have not
    /// noticed among them.
    threads: Vec<Thread>,
}

/// A peer that has a slot.
struct Served {
    slot: Slot,
    id: ReceiverId,
    stream: Stream,
}

/// A connection that has a thread.
struct Thread {
    id: u64,
    origin: Origin,
}

/// A connection whose handshake runs.
struct Running {
    id: u64,
    stream: Stream,
    origin: Origin,
}

/// Where a connection comes from, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Origin {
    Address(IpAddr),
    Device(String),
    /// All that come through a relay: each could call itself another.
    Relay(String),
}

impl Origin {
    fn of(caller: &Caller) -> Self {
        match caller {
            Caller::Address(address) => Self::Address(address.ip().to_canonical()),
            Caller::Relay(host) => Self::Relay(host.clone()),
        }
    }

    /// Where several of them may be one: whoever has an IPv6 address has 2^64 of them.
    fn network(&self) -> Self {
        match self {
            Self::Address(address) => Self::Address(network(*address, CUSTOMER)),
            Self::Device(_) | Self::Relay(_) => self.clone(),
        }
    }
}

impl State {
    /// Takes a connection on the list, and another from it if it is full; not one that comes from
    /// where too many threads are busy already.
    fn list(&mut self, id: u64, stream: Stream, origin: Origin) -> bool {
        let here = self.threads.iter().filter(|it| it.origin.network() == origin.network());
        let own = here.clone().filter(|thread| thread.origin == origin).count();
        let (here, all) = (here.count(), self.threads.len());
        let is_ipv6 = matches!(origin, Origin::Address(IpAddr::V6(_)));
        if own >= MAX_CONNECTIONS_EACH
            || is_ipv6 && here >= MAX_CONNECTIONS_NET
            || all >= MAX_CONNECTIONS
        {
            return false;
        }
        self.threads.push(Thread { id, origin: origin.clone() });
        self.running.push_back(Running { id, stream, origin });
        if self.running.len() > MAX_HANDSHAKES
            && let Some(at) =
                crowded_out(self.running.iter().map(|it| (it.origin.network(), &it.origin)))
            && let Some(leaving) = self.running.remove(at)
        {
            leaving.stream.shutdown();
        }
        true
    }
}

impl State {
    /// Gives a slot to a peer that has proved itself, if one is free.
    fn take(&mut self, slot: Slot, id: ReceiverId, stream: Option<Stream>) -> Decision {
        // A peer that comes back has lost its connection, though this side may not have noticed
        // yet: the new one takes the slot of the old.
        self.served.retain(|served| {
            let back = served.id == id;
            if back {
                served.stream.shutdown();
            }
            !back
        });
        match stream {
            Some(stream) if self.served.len() < self.slots => {
                self.served.push(Served { slot, id, stream });
                Decision::Welcome
            }
            _ => Decision::Busy,
        }
    }

    /// Gives a slot to the next one.
    fn free(&mut self, slot: Slot) {
        self.served.retain(|served| served.slot != slot);
    }
}

impl Acceptor {
    /// Begins to accept at all of `listeners`, for `slots` receivers at a time.
    pub fn open(
        listeners: Vec<Listener>,
        slots: usize,
        admit: Box<Admit>,
        prove: Box<Prove>,
    ) -> io::Result<Self> {
        let (sender, incoming) = mpsc::sync_channel(MAX_INCOMING);
        let state = State {
            guesses_left: MAX_GUESSES,
            slots,
            served: Vec::new(),
            running: VecDeque::new(),
            threads: Vec::new(),
        };
        let shared = Arc::new(Shared {
            admit,
            prove,
            state: Mutex::new(state),
            started: AtomicU64::new(0),
            incoming: sender,
        });
        let is_away = Cell::new(false);
        let mut acceptor = Self { listeners: Vec::new(), shared, incoming, is_away };
        for listener in listeners {
            acceptor.listen(listener)?;
        }
        Ok(acceptor)
    }

    fn listen(&mut self, listener: Listener) -> io::Result<()> {
        let (accepting, at) = (Arc::clone(&self.shared), listener.clone());
        self.listeners.push(listener);
        thread::Builder::new().name("accept".into()).spawn(move || accept(&accepting, &at))?;
        Ok(())
    }

    /// Where it listens.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().map(Listener::address)
    }

    /// Listens at these addresses from now on and at no others, whatever port they say. Returns those
    /// that cannot be listened at, with what the system says: some can a second later.
    pub fn move_to(&mut self, addresses: &[SocketAddr], port: u16) -> Vec<(IpAddr, io::Error)> {
        let at: Vec<SocketAddr> = addresses.iter().map(|it| with_port(*it, port)).collect();
        self.listeners.retain(|listener| {
            let stays = at.contains(&listener.address());
            if !stays {
                listener.close();
            }
            stays
        });
        let new: Vec<SocketAddr> =
            at.into_iter().filter(|it| self.addresses().all(|known| known != *it)).collect();
        let mut failed = Vec::new();
        for address in new {
            if let Err(error) = Listener::bind_at(address).and_then(|it| self.listen(it)) {
                failed.push((address.ip(), error));
            }
        }
        failed
    }

    /// Whether somebody can still come.
    ///
    /// # Errors
    /// Why nobody can.
    pub fn check(&self) -> Result<(), Error> {
        self.listeners.iter().find_map(Listener::failure).map_or(Ok(()), Err)
    }

    /// The next thing that there is to tell, if there is one within `patience`.
    pub fn next(&self, patience: Duration) -> Option<Incoming> {
        let is_away = self.listeners.iter().any(Listener::is_away);
        if self.is_away.replace(is_away) != is_away {
            let host = self.listeners.iter().find_map(Listener::relay).unwrap_or_default();
            return Some(Incoming::Relay { host, is_away });
        }
        self.incoming.recv_timeout(patience).ok()
    }

    /// Gives the slot of a receiver whose session ended early to the next one.
    pub fn leave(&self, slot: Slot) {
        self.shared.state().free(slot);
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        // A handshake under way ends without a slot.
        self.shared.state().slots = 0;
        self.listeners.iter().for_each(Listener::close);
    }
}

fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

fn accept(shared: &Arc<Shared>, listener: &Listener) {
    while let Some((stream, caller)) = listener.accept() {
        let Ok(watched) = stream.try_clone() else { continue };
        let id = shared.started.fetch_add(1, Ordering::Relaxed);
        if !shared.state().list(id, watched, Origin::of(&caller)) {
            continue;
        }
        let (handling, at) = (Arc::clone(shared), listener.address().ip());
        let started = thread::Builder::new().name("handshake".into()).spawn(move || {
            let slot = Slot(id);
            let receive = AssertUnwindSafe(|| handling.receive(slot, stream, &caller, at));
            let event = catch_unwind(receive);
            handling.leave(id);
            // A fault of this program costs one connection, and neither its place nor its slot.
            let Ok(event) = event else { return handling.state().free(slot) };
            // Either fails when the offer has ended meanwhile.
            match event {
                Incoming::Accepted(_) | Incoming::WrongToken { left: 0, .. } => {
                    drop(handling.incoming.send(event));
                }
                event => drop(handling.incoming.try_send(event)),
            }
        });
        if started.is_err() {
            shared.leave(id);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole at every point where a panic could happen.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread is done with its connection.
    fn leave(&self, id: u64) {
        let mut state = self.state();
        state.threads.retain(|thread| thread.id != id);
        state.running.retain(|running| running.id != id);
    }

    /// The device at the other end has become known. Tells whether it is still on the list.
    fn recognise(&self, id: u64, device: Option<String>) -> bool {
        let mut state = self.state();
        let Some(running) = state.running.iter_mut().find(|running| running.id == id) else {
            return false;
        };
        if let Some(device) = device {
            running.origin = Origin::Device(device);
        }
        true
    }

    /// One connection, to this address of ours, from the first byte to the verdict.
    fn receive(&self, slot: Slot, stream: Stream, caller: &Caller, at: IpAddr) -> Incoming {
        let admitted = match caller {
            Caller::Address(address) => {
                (self.admit)(*address, at).map_err(|why| (Peer::unknown(address.ip()), why))
            }
            // Of whoever comes this way nothing is known that could be judged.
            Caller::Relay(host) => Ok(Peer::relayed(host)),
        };
        let incoming = match admitted {
            Err((peer, why)) => Incoming::Refused { peer, why },
            Ok(peer) => match self.prove(slot, &stream, peer.id.clone()) {
                Ok(Outcome::Welcome(keys)) => {
                    let known = peer.clone();
                    match Connection::new(stream, *keys, peer) {
                        Ok(connection) => {
                            return Incoming::Accepted(Box::new(Accepted { slot, connection }));
                        }
                        Err(error) => {
                            self.state().free(slot);
                            return Incoming::Refused { peer: known, why: error.message };
                        }
                    }
                }
                Ok(Outcome::Carried(channel)) => {
                    let connection = Connection::carried(*channel, peer);
                    return Incoming::Accepted(Box::new(Accepted { slot, connection }));
                }
                Ok(Outcome::WrongToken(left)) => Incoming::WrongToken { peer, left },
                Ok(Outcome::Look) => Incoming::Look { peer },
                Ok(Outcome::Busy) => {
                    Incoming::Refused { peer, why: HandshakeError::Busy.to_string() }
                }
                Err(why) => Incoming::Refused { peer, why },
            },
        };
        stream.shutdown();
        incoming
    }

    fn prove(
        &self,
        slot: Slot,
        stream: &Stream,
        device: Option<String>,
    ) -> Result<Outcome, String> {
        // Keys cost a moment, of which a crowd has many.
        if !self.recognise(slot.0, device) {
            return Err("others came after it".into());
        }
        let mut kept = Some(stream.try_clone().map_err(|error| reason(&error))?);
        let outcome = (self.prove)(stream, &mut |check| {
            // Checked and counted under one lock: parallel connections get no more guesses than one.
            let mut state = self.state();
            if state.guesses_left == 0 {
                return Decision::Ended;
            }
            match check() {
                None => {
                    state.guesses_left -= 1;
                    Decision::Wrong { left: state.guesses_left }
                }
                Some(id) => state.take(slot, id, kept.take()),
            }
        });
        if outcome.is_err() {
            // The answer may not have got away.
            self.state().free(slot);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;
    use crate::bounds::HANDSHAKE_LIMIT;
    use crate::connect::handshake;
    use crate::crypto::handshake::{ANSWER_LEN, Binding, HELLO_LEN, Start};
    use crate::crypto::keys::Role;
    use crate::token::{self, Token};

    /// Addresses come and go while it runs: the new ones are listened at, those that stay are not touched.
    #[cfg(target_os = "linux")]
    #[test]
    fn it_moves_with_the_addresses() {
        let at = |last: u8| SocketAddr::from(([127, 0, 0, last], 0));
        let listener = Listener::bind(at(1).ip(), 0).unwrap();
        let port = listener.address().port();
        let admit = Box::new(|remote: SocketAddr, _| Ok(Peer::unknown(remote.ip())));
        let prove = Box::new(|_: &Stream, _: Judge<'_>| Err("no".to_owned()));
        let mut acceptor = Acceptor::open(vec![listener], 1, admit, prove).unwrap();
        let reached = |last: u8| TcpStream::connect(with_port(at(last), port)).is_ok();
        assert!(acceptor.move_to(&[at(1), at(2)], port).is_empty());
        assert!(reached(1) && reached(2) && !reached(3));
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));
        let failed = acceptor.move_to(&[at(2), at(3), elsewhere], port);
        assert_eq!(failed.len(), 1);
        assert_eq!(
            (failed[0].0, failed[0].1.kind()),
            (elsewhere.ip(), io::ErrorKind::AddrNotAvailable)
        );
        assert!(!reached(1) && reached(2) && reached(3));
        acceptor.move_to(&[], port);
        assert!(!reached(2) && !reached(3));
        assert!(acceptor.move_to(&[at(1)], port).is_empty());
        assert!(reached(1));
    }

    /// Behind a userspace node all have one address, and only the device tells them apart.
    #[test]
    fn a_crowd_from_one_device_keeps_another_in_that_has_its_address() {
        let known_ports = Arc::new(Mutex::new(Vec::<u16>::new()));
        let known = Arc::clone(&known_ports);
        let admit = move |remote: SocketAddr, _| {
            let is_known = known.lock().unwrap().contains(&remote.port());
            let name = if is_known { "known" } else { "crowd" };
            Ok(Peer { name: name.into(), address: None, id: Some(name.into()), tailnet: None })
        };
        let listener = Listener::bind(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
        let address = listener.address();
        let token = Token::parse("ocean-tiger").unwrap();
        let shared = token.clone();
        let prove =
            move |stream: &Stream, judge: Judge<'_>| handshake::answer(stream, &shared, judge);
        let acceptor = Acceptor::open(vec![listener], 1, Box::new(admit), Box::new(prove)).unwrap();
        let connect = |as_known: bool| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
            let socket = socket.unwrap();
            socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
            if as_known {
                let port = socket.local_addr().unwrap().as_socket().unwrap().port();
                known_ports.lock().unwrap().push(port);
            }
            socket.connect(&address.into()).unwrap();
            let mut stream = TcpStream::from(socket);
            let mut hello = [0; HELLO_LEN];
            // It is known by now from which device this comes.
            stream.read_exact(&mut hello).unwrap();
            (stream, hello)
        };
        let (mut receiver, theirs) = connect(true);
        let crowd: Vec<_> = (0..3 * MAX_HANDSHAKES).map(|_| connect(false)).collect();
        let start =
            Start::new(Role::Receiver, &token, Binding::None, &mut token::system_rng().unwrap());
        receiver.write_all(start.hello()).unwrap();
        let (proving, confirm) = start.prove(&theirs, &[7; 16]).unwrap();
        receiver.write_all(&confirm).unwrap();
        let mut answer = [0; ANSWER_LEN];
        receiver.read_exact(&mut answer).unwrap();
        assert!(proving.check(&answer).is_ok());
        let welcomed = (0..3 * MAX_HANDSHAKES).find_map(|_| match acceptor.next(HANDSHAKE_LIMIT) {
            Some(Incoming::Accepted(accepted)) => Some(accepted.connection.peer.name),
            _ => None,
        });
        assert_eq!(welcomed.as_deref(), Some("known"));
        drop(crowd);
    }

    /// A fault of the program in a handshake, be it before the proof or behind it.
    #[test]
    fn what_panics_gives_back_its_place_and_its_slot() {
        let listener = Listener::bind(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
        let address = listener.address();
        let faults = AtomicU64::new(0);
        let admit = |remote: SocketAddr, _| Ok(Peer::unknown(remote.ip()));
        let prove = move |_: &Stream, judge: Judge<'_>| {
            let fault = faults.fetch_add(1, Ordering::Relaxed);
            assert!(fault > MAX_CONNECTIONS_EACH as u64, "a fault before the proof");
            let decision = judge(&mut || Some([fault as u8; 16]));
            assert!(fault > MAX_CONNECTIONS_EACH as u64 + 1, "a fault behind it");
            match decision {
                Decision::Busy => Ok(Outcome::Busy),
                _ => Ok(Outcome::Look),
            }
        };
        let acceptor = Acceptor::open(vec![listener], 1, Box::new(admit), Box::new(prove)).unwrap();
        // All of them from one address, which has only so many places.
        for _ in 0..MAX_CONNECTIONS_EACH + 2 {
            let mut stream = TcpStream::connect(address).unwrap();
            // Closed at the end of its thread, or a moment before.
            assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
        }
        let _last = TcpStream::connect(address).unwrap();
        let next = acceptor.next(HANDSHAKE_LIMIT);
        assert!(matches!(next, Some(Incoming::Look { .. })), "a place or the slot was kept");
    }

    #[test]
    fn whoever_has_the_most_crowds_out_itself() {
        let address = |last: u8| Origin::Address([127, 0, 0, last].into());
        let device = |name: &str| Origin::Device(name.into());
        let rows: [(&str, Vec<Origin>, Option<usize>); 6] = [
            ("nobody", vec![], None),
            ("all from one place", vec![address(1), address(1), address(1)], Some(0)),
            ("an old one from elsewhere", vec![address(9), address(1), address(1)], Some(1)),
            ("a new one from elsewhere", vec![address(1), address(1), address(9)], Some(0)),
            ("each from another", vec![address(1), address(2), device("a")], Some(0)),
            (
                "two crowds",
                vec![device("z"), device("a"), address(1), address(1), device("a")],
                Some(1),
            ),
        ];
        for (name, origins, expected) in rows {
            let origins = origins.iter().map(|it| (it.network(), it));
            assert_eq!(crowded_out(origins), expected, "{name}");
        }
    }
}
