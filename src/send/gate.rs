//! The door: who connects, whether they know the token, and whether there is still a seat.
//!
//! Handshakes run beside the accept loop, so that nobody who dawdles keeps a real receiver
//! waiting. What a stranger can cost is bounded: so many handshakes at once, so long each, the
//! oldest leaving when another comes, and three wrong tokens in all.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::bounds::{HANDSHAKE_LIMIT, MAX_CONNECTIONS, MAX_GUESSES, MAX_HANDSHAKES, MAX_VISITS};
use crate::crypto::handshake::{
    self, CONFIRM_LEN, HELLO_LEN, HandshakeError, LOOK, ReceiverId, Start, Verdict,
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
pub type Admit = dyn Fn(SocketAddr) -> Result<String, String> + Send + Sync;

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
    running: VecDeque<(u64, Stream)>,
    /// Connections that have a thread, those that were shut down and have not noticed among them.
    connections: usize,
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
            connections: 0,
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
        let mut state = shared.state();
        if state.connections >= MAX_CONNECTIONS {
            continue;
        }
        state.connections += 1;
        while state.running.len() >= MAX_HANDSHAKES
            && let Some((_, oldest)) = state.running.pop_front()
        {
            oldest.shutdown();
        }
        state.running.push_back((id, watched));
        drop(state);
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
        state.connections -= 1;
        state.running.retain(|(running, _)| *running != id);
    }

    /// One visit from the first byte to the verdict.
    fn receive(&self, seat: Seat, stream: Stream, address: SocketAddr) -> Visit {
        let refused = |why| Visit::Refused { address, why };
        let visit = match (self.admit)(address) {
            Err(why) => refused(why),
            Ok(name) => match self.shake(seat, &stream) {
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

    fn shake(&self, seat: Seat, stream: &Stream) -> Result<Outcome, String> {
        let mut timed = stream.until(Instant::now() + HANDSHAKE_LIMIT);
        let lost = |error: io::Error| crate::error::reason(&error);
        let mut rng = token::system_rng().map_err(|error| error.message)?;
        let start = Start::new(Role::Sender, &self.token, &mut rng);
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
