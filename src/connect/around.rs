//! Looking around in the local network: servers' records as they come, and who answers behind each. A
//! record decides nothing; whoever knocks there does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use std::net::{IpAddr, SocketAddr};

use crate::bounds::{ANSWER_LIMIT, MAX_KNOCKS, MAX_KNOCKS_EACH};
use crate::control;
use crate::error::{Error, Exit, Result};
use crate::net::interfaces::{Choice, Interfaces};
use crate::net::mdns::{Search, Server, Service, Silence};

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
    /// It is enough, once all that have been seen have answered or failed.
    Settle,
    /// It is found.
    Done,
}

/// How near a record comes to what is looked for: the nearest are knocked at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// It has the very name, which no other record has.
    Exact,
    /// It says that it is the one, as anybody's can.
    Likely,
    /// It may be the one.
    Other,
}

/// A look around that goes on until it is dropped.
pub struct Around<T> {
    interfaces: Interfaces,
    search: Search,
    knocks: Knocks,
    sender: Sender<Answer<T>>,
    answers: Receiver<Answer<T>>,
}

/// Each server that was knocked at.
#[derive(Debug, Default)]
struct Knocks(BTreeMap<String, Tried>);

#[derive(Debug)]
struct Tried {
    at: Vec<SocketAddr>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Runs,
    Failed,
    Answered,
}

impl Knocks {
    /// How many run, and how many of those at one machine: the one that is dialled first, as a record can name
    /// anybody's addresses behind its own.
    fn running(&self, machine: Option<IpAddr>) -> usize {
        let runs = self.0.values().filter(|tried| tried.state == State::Runs);
        runs.filter(|tried| {
            machine.is_none_or(|machine| tried.at.first().is_some_and(|at| at.ip() == machine))
        })
        .count()
    }

    /// Whether a server that is found at these addresses has still to be knocked at.
    fn is_due(&self, key: &str, at: &[SocketAddr]) -> bool {
        let known = self.0.get(key);
        !at.is_empty() && known.is_none_or(|it| it.state == State::Failed && it.at != at)
    }

    /// Whether nobody is left of those who were seen: no knock runs, and none is due.
    fn is_settled(&self, seen: &[(String, Vec<SocketAddr>)]) -> bool {
        self.running(None) == 0 && !seen.iter().any(|(key, at)| self.is_due(key, at))
    }

    /// Whether a server is to be knocked at now. Whoever lets all knocks wait, is one machine mostly, and has not
    /// the name that is looked for.
    fn may_begin(&self, rank: Rank, key: &str, at: &[SocketAddr]) -> bool {
        let has_slot = match rank {
            Rank::Exact => self.running(None) < MAX_KNOCKS,
            Rank::Likely | Rank::Other => {
                let at_one = at.first().map(|at| self.running(Some(at.ip())));
                self.running(None) < MAX_KNOCKS - MAX_KNOCKS_EACH
                    && at_one.is_none_or(|count| count < MAX_KNOCKS_EACH)
            }
        };
        has_slot && self.is_due(key, at)
    }
}

impl<T: Send + 'static> Around<T> {
    /// Asks who is here, on the interfaces that were chosen.
    ///
    /// # Errors
    /// Exit 5 where no interface is used, or multicast DNS cannot be spoken.
    pub fn begin(service: Service, choice: &Choice) -> Result<Self> {
        let interfaces = Interfaces::look(choice)?;
        if let Some(error) = interfaces.nothing() {
            let reasons = Silence::here(&interfaces, None);
            let first = reasons.first().map(ToString::to_string);
            return Err(match first {
                Some(reason) => error.hint(reason),
                None => error,
            });
        }
        let search = Search::of(service, &interfaces, choice)?;
        let (sender, answers) = mpsc::channel();
        Ok(Self { interfaces, search, knocks: Knocks::default(), sender, answers })
    }

    /// Knocks at each server that is `wanted`, and tells what came of it, until `deadline` or until that
    /// is enough; that is asked in between too. Who has been knocked at by then may still answer for a moment. A
    /// server that did not answer is knocked at again once its record has other addresses.
    ///
    /// # Errors
    /// Exit 5 when somebody floods the network, 130 when the user wants to stop.
    pub fn knock(
        &mut self,
        deadline: Instant,
        wanted: &dyn Fn(&Server) -> Option<Rank>,
        knock: &Knock<T>,
        tell: &mut dyn FnMut(Option<Answer<T>>) -> Look,
    ) -> Result<()> {
        loop {
            control::check()?;
            let over = Instant::now() >= deadline;
            if !over {
                self.search.wait(deadline.min(Instant::now() + SLICE))?;
                self.begin_knocks(wanted, knock)?;
            }
            let pause = if over { SLICE } else { Duration::ZERO };
            let answer = self.answers.recv_timeout(pause).ok();
            if let Some(answer) = &answer {
                let is_over =
                    answer.came.as_ref().err().is_none_or(|it| it.exit() != Exit::Network);
                if let Some(tried) = self.knocks.0.get_mut(&key(&answer.server)) {
                    tried.state = if is_over { State::Answered } else { State::Failed };
                }
            }
            let is_last = answer.is_none()
                && over
                && (self.knocks.running(None) == 0 || Instant::now() >= deadline + ANSWER_LIMIT);
            match tell(answer) {
                Look::Done => return Ok(()),
                Look::Settle if self.is_settled(wanted) => return Ok(()),
                Look::On | Look::Settle if is_last => return Ok(()),
                Look::On | Look::Settle => {}
            }
        }
    }

    /// Whether nobody is left who was seen and may still answer.
    pub fn is_settled(&self, wanted: &dyn Fn(&Server) -> Option<Rank>) -> bool {
        self.knocks.is_settled(&self.seen(wanted))
    }

    /// All that are wanted, by their names, and where each would be knocked at.
    fn seen(&self, wanted: &dyn Fn(&Server) -> Option<Rank>) -> Vec<(String, Vec<SocketAddr>)> {
        let wanted = self.servers().filter(|server| wanted(server).is_some());
        wanted.map(|server| (key(server), server.to_dial(&self.interfaces))).collect()
    }

    fn begin_knocks(
        &mut self,
        wanted: &dyn Fn(&Server) -> Option<Rank>,
        knock: &Knock<T>,
    ) -> Result<()> {
        let servers = self.search.list().servers();
        let mut servers: Vec<(Rank, Server)> =
            servers.filter_map(|server| Some((wanted(server)?, server.clone()))).collect();
        servers.sort_by_key(|(rank, _)| *rank);
        for (rank, server) in servers {
            let at = server.to_dial(&self.interfaces);
            if !self.knocks.may_begin(rank, &key(&server), &at) {
                continue;
            }
            self.knocks.0.insert(key(&server), Tried { at: at.clone(), state: State::Runs });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Vec<SocketAddr> {
        text.split(' ').filter(|it| !it.is_empty()).map(|it| it.parse().unwrap()).collect()
    }

    /// One machine that lets everybody wait keeps nobody else from being knocked at, nor does a crowd of
    /// them the one that is named.
    #[test]
    fn who_is_knocked_at_beside_those_who_are_silent() {
        let silent = |machines: &[&str]| {
            let runs = |(number, text): (usize, &&str)| {
                (format!("!{number}"), Tried { at: at(text), state: State::Runs })
            };
            Knocks(machines.iter().enumerate().map(runs).collect())
        };
        let two = ["10.0.0.2:1", "10.0.0.2:2 10.0.0.3:2"];
        let behind = ["10.0.0.2:1 10.0.0.1:9", "10.0.0.2:2 10.0.0.1:9"];
        let crowd: Vec<String> = (0..16).map(|number| format!("10.0.1.{number}:1")).collect();
        let crowd: Vec<&str> = crowd.iter().map(|it| &**it).collect();
        for (row, running, rank, text, expected) in [
            ("nobody else", &[][..], Rank::Other, "10.0.0.1:1", true),
            ("no address", &[], Rank::Exact, "", false),
            ("another machine", &two, Rank::Other, "10.0.0.1:1", true),
            ("one of a machine that is knocked at", &two, Rank::Other, "10.0.0.3:1", true),
            ("a third of one machine", &two, Rank::Other, "10.0.0.2:3", false),
            ("the same, which says that it is the one", &two, Rank::Likely, "10.0.0.2:3", false),
            ("one that names it behind its own", &two, Rank::Other, "10.0.0.1:1 10.0.0.2:3", true),
            ("one that others name behind theirs", &behind, Rank::Other, "10.0.0.1:1", true),
            ("a third that is named", &two, Rank::Exact, "10.0.0.2:3", true),
            ("nearly all", &crowd[..13], Rank::Other, "10.0.0.1:1", true),
            ("all but what is kept for the named", &crowd[..14], Rank::Other, "10.0.0.1:1", false),
            ("a copy of its key", &crowd[..14], Rank::Likely, "10.0.0.1:1", false),
            ("one that is named", &crowd[..14], Rank::Exact, "10.0.0.1:1", true),
            ("more than may run", &crowd, Rank::Exact, "10.0.0.1:1", false),
        ] {
            assert_eq!(silent(running).may_begin(rank, "attic", &at(text)), expected, "{row}");
        }
        for (state, text, expected) in [
            (State::Runs, "10.0.0.1:2", false),
            (State::Answered, "10.0.0.1:2", false),
            (State::Failed, "10.0.0.1:1", false),
            (State::Failed, "10.0.0.1:2", true),
        ] {
            let tried = Tried { at: at("10.0.0.1:1"), state };
            let knocks = Knocks(BTreeMap::from([("attic".into(), tried)]));
            assert_eq!(knocks.may_begin(Rank::Exact, "attic", &at(text)), expected, "{knocks:?}");
        }
    }

    /// Whoever answers first is not the only one there, as long as somebody may still answer.
    #[test]
    fn it_is_settled_once_nobody_is_left() {
        let own = "10.0.0.1:1";
        for (row, tried, seen, expected) in [
            ("nobody", &[][..], &[][..], true),
            ("not knocked at yet", &[], &[("attic", own)], false),
            ("nowhere to knock at", &[], &[("attic", "")], true),
            ("it runs", &[("attic", State::Runs)], &[("attic", own)], false),
            ("it runs, and its record is gone", &[("attic", State::Runs)], &[], false),
            ("it has answered", &[("attic", State::Answered)], &[("attic", own)], true),
            ("it has failed", &[("attic", State::Failed)], &[("attic", own)], true),
            ("it has moved", &[("attic", State::Failed)], &[("attic", "10.0.0.1:2")], false),
            (
                "another is left",
                &[("attic", State::Answered)],
                &[("attic", own), ("cellar", "10.0.0.2:1")],
                false,
            ),
        ] {
            let tried = tried
                .iter()
                .map(|(name, state)| (String::from(*name), Tried { at: at(own), state: *state }));
            let seen: Vec<_> =
                seen.iter().map(|(name, text)| (String::from(*name), at(text))).collect();
            assert_eq!(Knocks(tried.collect()).is_settled(&seen), expected, "{row}");
        }
    }
}
