//! Looking around in the local network: servers' records as they come, and who answers behind each. A
//! record decides nothing; whoever knocks there does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use std::net::SocketAddr;

use crate::bounds::{ANSWER_LIMIT, MAX_KNOCKS};
use crate::control;
use crate::error::{Error, Exit, Result};
use crate::net::interfaces::{Choice, Interfaces};
use crate::net::mdns::{Search, Server, Silence};

/// How long to wait for the next record before it is looked who has answered.
const SLICE: Duration = Duration::from_millis(20);

/// What came of a server's record.
#[derive(Debug)]
pub struct Answer<T> {
    /// The record.
    pub server: Server,
    /// Who is there, or why that is not known.
    pub came: Result<T>,
}

/// Tries a server at its addresses, in this order; runs on a thread of its own.
pub type Knock<T> = Arc<dyn Fn(&Server, &[SocketAddr]) -> Result<T> + Send + Sync>;

/// Whether to go on looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// There may be more.
    On,
    /// It is found.
    Done,
}

/// A look around that goes on until it is dropped.
pub struct Around<T> {
    interfaces: Interfaces,
    search: Search,
    /// Each server that was knocked at, and at which addresses.
    tried: BTreeMap<String, Tried>,
    running: usize,
    sender: Sender<Answer<T>>,
    answers: Receiver<Answer<T>>,
}

struct Tried {
    at: Vec<SocketAddr>,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    Runs,
    Failed,
    Answered,
}

impl<T: Send + 'static> Around<T> {
    /// Asks who is here, on the interfaces that were chosen.
    ///
    /// # Errors
    /// Exit 5 where no interface is used, or multicast DNS cannot be spoken.
    pub fn begin(choice: &Choice) -> Result<Self> {
        let interfaces = Interfaces::look(choice)?;
        if let Some(error) = interfaces.nothing() {
            let reasons = Silence::here(&interfaces, None);
            let first = reasons.first().map(ToString::to_string);
            return Err(match first {
                Some(reason) => error.hint(reason),
                None => error,
            });
        }
        let search = Search::begin(&interfaces, choice)?;
        let (sender, answers) = mpsc::channel();
        Ok(Self { interfaces, search, tried: BTreeMap::new(), running: 0, sender, answers })
    }

    /// Knocks at each server that is `wanted`, and tells what came of it, until `deadline` or until that
    /// is enough. Who has been knocked at by then may still answer for a moment. A server that did not
    /// answer is knocked at again once its record has other addresses.
    ///
    /// # Errors
    /// Exit 5 when somebody floods the network, 130 when the user wants to stop.
    pub fn knock(
        &mut self,
        deadline: Instant,
        wanted: &dyn Fn(&Server) -> bool,
        knock: &Knock<T>,
        tell: &mut dyn FnMut(Answer<T>) -> Look,
    ) -> Result<()> {
        loop {
            control::check()?;
            let over = Instant::now() >= deadline;
            if !over {
                self.search.wait(deadline.min(Instant::now() + SLICE))?;
                self.begin_knocks(wanted, knock)?;
            }
            let pause = if over { SLICE } else { Duration::ZERO };
            match self.answers.recv_timeout(pause) {
                Ok(answer) => {
                    self.running -= 1;
                    let is_over =
                        answer.came.as_ref().err().is_none_or(|it| it.exit() != Exit::Network);
                    if let Some(tried) = self.tried.get_mut(&key(&answer.server)) {
                        tried.state = if is_over { State::Answered } else { State::Failed };
                    }
                    if tell(answer) == Look::Done {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) if !over => {}
                Err(_) if self.running == 0 || Instant::now() >= deadline + ANSWER_LIMIT => {
                    return Ok(());
                }
                Err(_) => {}
            }
        }
    }

    fn begin_knocks(&mut self, wanted: &dyn Fn(&Server) -> bool, knock: &Knock<T>) -> Result<()> {
        let servers: Vec<Server> =
            self.search.list().servers().filter(|server| wanted(server)).cloned().collect();
        for server in servers {
            let at = server.to_dial(&self.interfaces);
            let known = self.tried.get(&key(&server));
            let is_new = known.is_none_or(|it| it.state == State::Failed && it.at != at);
            if !is_new || at.is_empty() || self.running >= MAX_KNOCKS {
                continue;
            }
            self.tried.insert(key(&server), Tried { at: at.clone(), state: State::Runs });
            self.running += 1;
            let (knock, sender) = (Arc::clone(knock), self.sender.clone());
            let started = thread::Builder::new().name("knock".into()).spawn(move || {
                let came = knock(&server, &at);
                // Whoever is late finds nobody to tell, and its connection is closed.
                let _ = sender.send(Answer { server, came });
            });
            started.map_err(|error| Error::no_thread(&error))?;
        }
        Ok(())
    }

    /// Why nobody may have been found.
    pub fn silence(&self) -> Vec<Silence> {
        Silence::here(&self.interfaces, self.search.trouble())
    }

    /// All whose records were seen, with nobody asked.
    pub fn servers(&self) -> impl Iterator<Item = &Server> + Clone {
        self.search.list().servers()
    }
}

fn key(server: &Server) -> String {
    server.name.to_ascii_lowercase()
}
