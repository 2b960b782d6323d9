//! The door: who connects, whether they know the token, and whether there is still a seat.
//!
//! Handshakes run beside the accept loop, so that nobody who dawdles keeps a real receiver
//! waiting. What a stranger can cost is bounded: so many handshakes at once, so long each, and three
//! wrong tokens in all. When another comes one has to leave: the oldest of whoever has the most, so
//! that a crowd from one place crowds out itself, and nobody who came from elsewhere.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::bounds::{
    HANDSHAKE_LIMIT, MAX_CONNECTIONS, MAX_CONNECTIONS_EACH, MAX_GUESSES, MAX_HANDSHAKES, MAX_VISITS,
};
use crate::crypto::handshake::{
    self, Binding, CONFIRM_LEN, HELLO_LEN, HandshakeError, LOOK, ReceiverId, Start, Verdict,
};
use crate::crypto::keys::{Role, SessionKeys};
use crate::net::dial::Stream;
use crate::net::listener::Listener;
use crate::token::{self, Token};

/// A receiver that has proved that it knows the token.
pub struct Guest {
    /// Its seat, to be given back with [`Gate::leave`].
    pub seat: Seat,
    /// The connection, the handshake done.
    pub stream: Stream,
    /// Its keys.
    pub keys: SessionKeys,
    /// Who it is, to be shown: escaped already.
    pub name: String,
}

/// A place among the receivers that are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat(u64);

/// What happens at the door.
pub enum Visit {
    /// A receiver that is let in.
    Guest(Box<Guest>),
    /// Someone who knew the protocol and not the token.
    WrongToken {
        /// Who, to be shown.
        name: String,
        /// How many more are forgiven.
        left: u8,
    },
    /// A `transfer doctor` that had a look, or somebody who says so.
    Look {
        /// From where.
        address: SocketAddr,
        /// Who, to be shown.
        name: String,
    },
    /// Someone who may not connect, or who was not understood.
    Refused {
        /// From where.
        address: SocketAddr,
        /// Why, in words.
        why: String,
    },
}

/// Tells who is at an address, or why it may not connect. Runs before a byte is written.
pub type Admit = dyn Fn(SocketAddr) -> Result<Visitor, String> + Send + Sync;

/// Who is at an address.
pub struct Visitor {
    /// To be shown: escaped already.
    pub name: String,
    /// What tells its device from others, where more is known of it than the address.
    pub device: Option<String>,
}

/// The open door of one offer.
pub struct Gate {
    listener: Listener,
    shared: Arc<Shared>,
    visits: Receiver<Visit>,
}

struct Shared {
    token: Token,
    admit: Box<Admit>,
    state: Mutex<State>,
    started: AtomicU64,
    visits: SyncSender<Visit>,
}

struct State {
    guesses_left: u8,
    /// How many receivers are served at a time.
    seats: usize,
    /// Those that are.
    seated: Vec<(Seat, ReceiverId, Stream)>,
    /// Connections whose handshake runs, the oldest first.
    running: VecDeque<Running>,
    /// The addresses of connections that have a thread, those that were shut down and have not
    /// noticed among them.
    threads: Vec<(u64, IpAddr)>,
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
}

/// Which of the connections has to leave, if one has to: the oldest of an origin that has the most.
fn crowded_out<'a>(origins: impl Iterator<Item = &'a Origin> + Clone) -> Option<usize> {
    let mut counts = HashMap::<&Origin, usize>::new();
    for origin in origins.clone() {
        *counts.entry(origin).or_default() += 1;
    }
    let most = counts.values().max()?;
    origins.enumerate().find(|(_, origin)| counts.get(origin) == Some(most)).map(|(at, _)| at)
}

impl State {
    /// Takes a connection on the list, and another from it if it is full; not one that comes from
    /// where too many threads are busy already.
    fn list(&mut self, id: u64, stream: Stream, address: IpAddr) -> bool {
        let busy = self.threads.iter().filter(|(_, at)| *at == address).count();
        if busy >= MAX_CONNECTIONS_EACH || self.threads.len() >= MAX_CONNECTIONS {
            return false;
        }
        self.threads.push((id, address));
        self.running.push_back(Running { id, stream, origin: Origin::Address(address) });
        if self.running.len() > MAX_HANDSHAKES
            && let Some(at) = crowded_out(self.running.iter().map(|running| &running.origin))
            && let Some(leaving) = self.running.remove(at)
        {
            leaving.stream.shutdown();
        }
        true
    }
}

impl Gate {
    /// Opens the door for `seats` receivers at a time.
    pub fn open(
        listener: Listener,
        token: Token,
        seats: usize,
        admit: Box<Admit>,
    ) -> io::Result<Self> {
        let (sender, visits) = mpsc::sync_channel(MAX_VISITS);
        let state = State {
            guesses_left: MAX_GUESSES,
            seats,
            seated: Vec::new(),
            running: VecDeque::new(),
            threads: Vec::new(),
        };
        let shared = Arc::new(Shared {
            token,
            admit,
            state: Mutex::new(state),
            started: AtomicU64::new(0),
            visits: sender,
        });
        let (accepting, at) = (Arc::clone(&shared), listener.clone());
        thread::Builder::new().name("accept".into()).spawn(move || accept(&accepting, &at))?;
        Ok(Self { listener, shared, visits })
    }

    /// What happens next at the door, if it does so within `patience`.
    pub fn next(&self, patience: Duration) -> Option<Visit> {
        self.visits.recv_timeout(patience).ok()
    }

    /// Gives the seat of a guest whose session ended early to the next one.
    pub fn leave(&self, seat: Seat) {
        self.shared.state().seated.retain(|(taken, ..)| *taken != seat);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // A handshake under way ends without a seat.
        self.shared.state().seats = 0;
        self.listener.close();
    }
}

fn accept(shared: &Arc<Shared>, listener: &Listener) {
    while let Some((stream, address)) = listener.accept() {
        let Ok(watched) = stream.try_clone() else { continue };
        let id = shared.started.fetch_add(1, Ordering::Relaxed);
        if !shared.state().list(id, watched, address.ip().to_canonical()) {
            continue;
        }
        let visited = Arc::clone(shared);
        let started = thread::Builder::new().name("handshake".into()).spawn(move || {
            let visit = visited.receive(Seat(id), stream, address);
            visited.leave(id);
            // Either fails when the offer has ended meanwhile.
            match visit {
                Visit::Guest(_) | Visit::WrongToken { left: 0, .. } => {
                    drop(visited.visits.send(visit));
                }
                visit => drop(visited.visits.try_send(visit)),
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
        state.threads.retain(|(running, _)| *running != id);
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

    /// One visit from the first byte to the verdict.
    fn receive(&self, seat: Seat, stream: Stream, address: SocketAddr) -> Visit {
        let refused = |why| Visit::Refused { address, why };
        let visit = match (self.admit)(address) {
            Err(why) => refused(why),
            Ok(Visitor { name, device }) => match self.shake(seat, &stream, device) {
                Ok(Outcome::Welcome(keys)) => {
                    return Visit::Guest(Box::new(Guest { seat, stream, keys: *keys, name }));
                }
                Ok(Outcome::WrongToken(left)) => Visit::WrongToken { name, left },
                Ok(Outcome::Look) => Visit::Look { address, name },
                Ok(Outcome::Busy) => refused(HandshakeError::Busy.to_string()),
                Err(why) => refused(why),
            },
        };
        stream.shutdown();
        visit
    }

    fn shake(
        &self,
        seat: Seat,
        stream: &Stream,
        device: Option<String>,
    ) -> Result<Outcome, String> {
        // Keys cost a moment, of which a crowd has many.
        if !self.recognise(seat.0, device) {
            return Err("others came after it".into());
        }
        let mut timed = stream.until(Instant::now() + HANDSHAKE_LIMIT);
        let lost = |error: io::Error| crate::error::reason(&error);
        let mut rng = token::system_rng().map_err(|error| error.message)?;
        let start = Start::new(Role::Sender, &self.token, Binding::None, &mut rng);
        timed.write_all(start.hello()).map_err(lost)?;
        let mut hello = [0u8; HELLO_LEN];
        let (head, rest) = hello.split_at_mut(LOOK.len());
        timed.read_exact(head).map_err(lost)?;
        if *head == LOOK {
            return Ok(Outcome::Look);
        }
        timed.read_exact(rest).map_err(lost)?;
        let proof = start.await_proof(&hello).map_err(|error| error.to_string())?;
        let mut confirm = [0u8; CONFIRM_LEN];
        timed.read_exact(&mut confirm).map_err(lost)?;

        // Checked and counted under one lock: parallel visits get no more guesses than one.
        let mut state = self.state();
        if state.guesses_left == 0 {
            drop(state);
            timed.write_all(&handshake::wrong_token(0)).map_err(lost)?;
            return Err("the offer has ended".into());
        }
        let (answer, outcome) = match proof.check(&confirm) {
            Err(_) => {
                state.guesses_left -= 1;
                let left = state.guesses_left;
                (handshake::wrong_token(left), Outcome::WrongToken(left))
            }
            Ok(proven) => {
                let id = proven.receiver();
                // A receiver that comes back has lost its connection, though this side may not
                // have noticed yet: the new one takes the seat of the old.
                state.seated.retain(|(_, seated, stream)| {
                    let back = *seated == id;
                    if back {
                        stream.shutdown();
                    }
                    !back
                });
                if state.seated.len() < state.seats {
                    state.seated.push((seat, id, stream.try_clone().map_err(lost)?));
                    let (answer, keys) = proven.answer(Verdict::Welcome);
                    (answer, Outcome::Welcome(Box::new(keys)))
                } else {
                    (proven.answer(Verdict::Busy).0, Outcome::Busy)
                }
            }
        };
        drop(state);
        if let Err(error) = timed.write_all(&answer) {
            self.state().seated.retain(|(taken, ..)| *taken != seat);
            return Err(lost(error));
        }
        Ok(outcome)
    }
}

/// How a handshake ended.
enum Outcome {
    Welcome(Box<SessionKeys>),
    Busy,
    WrongToken(u8),
    Look,
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    /// Behind a userspace node all have one address, and only the device tells them apart.
    #[test]
    fn a_crowd_from_one_device_keeps_another_in_that_has_its_address() {
        let guests = Arc::new(Mutex::new(Vec::<u16>::new()));
        let known = Arc::clone(&guests);
        let admit = move |remote: SocketAddr| {
            let is_guest = known.lock().unwrap().contains(&remote.port());
            let name = if is_guest { "guest" } else { "crowd" };
            Ok(Visitor { name: name.into(), device: Some(name.into()) })
        };
        let listener = Listener::bind(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
        let address = listener.address();
        let token = Token::parse("ocean-tiger").unwrap();
        let gate = Gate::open(listener, token.clone(), 1, Box::new(admit)).unwrap();
        let connect = |as_guest: bool| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
            let socket = socket.unwrap();
            socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
            if as_guest {
                let port = socket.local_addr().unwrap().as_socket().unwrap().port();
                guests.lock().unwrap().push(port);
            }
            socket.connect(&address.into()).unwrap();
            let mut stream = TcpStream::from(socket);
            let mut hello = [0; HELLO_LEN];
            // It is known by now from which device this comes.
            stream.read_exact(&mut hello).unwrap();
            (stream, hello)
        };
        let (mut guest, theirs) = connect(true);
        let crowd: Vec<_> = (0..3 * MAX_HANDSHAKES).map(|_| connect(false)).collect();
        let start =
            Start::new(Role::Receiver, &token, Binding::None, &mut token::system_rng().unwrap());
        guest.write_all(start.hello()).unwrap();
        let (proving, confirm) = start.prove(&theirs, &[7; 16]).unwrap();
        guest.write_all(&confirm).unwrap();
        let mut answer = [0; handshake::ANSWER_LEN];
        guest.read_exact(&mut answer).unwrap();
        assert!(proving.check(&answer).is_ok());
        let welcomed = (0..3 * MAX_HANDSHAKES).find_map(|_| match gate.next(HANDSHAKE_LIMIT) {
            Some(Visit::Guest(guest)) => Some(guest.name),
            _ => None,
        });
        assert_eq!(welcomed.as_deref(), Some("guest"));
        drop(crowd);
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
            assert_eq!(crowded_out(origins.iter()), expected, "{name}");
        }
    }
}
