//! What Tailscale says of this machine, asked again and again: whoever stays may be there before it, and it
//! may be stopped, started and given another address meanwhile.

use std::net::IpAddr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use super::TailscaleDetector;
use crate::bounds::STATUS_FRESH;
use crate::error::{Error, Result};

/// How long the first answer is waited for; it may come later as well.
const FIRST_LIMIT: Duration = Duration::from_secs(3);
/// How often a Tailscale is asked that does not run, or is not even there.
const UNTIL_IT_RUNS: Duration = Duration::from_secs(5);
/// So many answers in a row that were none make one that ran count as stopped: one alone may be late.
const DOUBTS: u32 = 2;

/// This machine in its tailnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The name by which others of the tailnet reach it, where that leads to no other. Not escaped.
    pub name: Option<String>,
    /// Its addresses there, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// It has no network device: whoever comes is delivered to 127.0.0.1.
    pub is_userspace: bool,
}

/// Asks for as long as there is a clone of it. May be shared by threads.
#[derive(Debug, Clone)]
pub struct Watch {
    shared: Arc<Shared>,
    /// Makes the thread ask at once; it ends when this goes.
    ask: Arc<Sender<()>>,
}

#[derive(Debug)]
struct Shared {
    /// The program, once it is found.
    program: Mutex<Option<Arc<TailscaleDetector>>>,
    said: Mutex<Said>,
}

/// What the last answers come to.
#[derive(Debug)]
struct Said {
    node: Result<Node>,
    /// Answers in a row that were none.
    doubts: u32,
}

impl Watch {
    /// Asks once, and from then on beside whatever else is done.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn begin() -> Result<Self> {
        let first = TailscaleDetector::find().map(|it| Arc::new(it.with_limit(FIRST_LIMIT)));
        let said = Mutex::new(Said { node: look(first), doubts: DOUBTS });
        let shared = Arc::new(Shared { program: Mutex::default(), said });
        let (ask, asked) = mpsc::channel();
        let watched = Arc::downgrade(&shared);
        let asking = thread::Builder::new().name("tailscale".into());
        asking.spawn(move || go_on(&watched, &asked)).map_err(|error| Error::no_thread(&error))?;
        Ok(Self { shared, ask: Arc::new(ask) })
    }

    /// This machine, as it was when it was last asked.
    ///
    /// # Errors
    /// Tailscale does not run.
    pub fn node(&self) -> Result<Node> {
        lock(&self.shared.said).node.clone()
    }

    /// Has it asked at once.
    pub fn look_again(&self) {
        // The thread ends with this alone.
        let _ = self.ask.send(());
    }

    /// The program, to be asked who somebody is.
    ///
    /// # Errors
    /// It is not there.
    pub fn program(&self) -> Result<Arc<TailscaleDetector>> {
        self.shared.program()
    }
}

impl Shared {
    fn program(&self) -> Result<Arc<TailscaleDetector>> {
        let mut program = lock(&self.program);
        if let Some(program) = &*program {
            return Ok(Arc::clone(program));
        }
        // It may be installed by now.
        let found = Arc::new(TailscaleDetector::find()?);
        *program = Some(Arc::clone(&found));
        Ok(found)
    }
}

impl Said {
    fn hear(&mut self, answer: Result<Node>) {
        self.doubts = if answer.is_ok() { 0 } else { self.doubts.saturating_add(1) };
        if answer.is_ok() || self.doubts >= DOUBTS {
            self.node = answer;
        }
    }

    /// How long until it is asked again.
    fn pause(&self) -> Duration {
        if self.doubts == 0 { STATUS_FRESH } else { UNTIL_IT_RUNS }
    }
}

fn go_on(shared: &Weak<Shared>, asked: &Receiver<()>) {
    let mut pause = UNTIL_IT_RUNS;
    while asked.recv_timeout(pause) != Err(RecvTimeoutError::Disconnected) {
        let Some(shared) = shared.upgrade() else { return };
        let answer = look(shared.program());
        let mut said = lock(&shared.said);
        said.hear(answer);
        pause = said.pause();
    }
}

/// What a program that is found says now.
fn look(program: Result<Arc<TailscaleDetector>>) -> Result<Node> {
    let status = program?.status_now()?;
    Ok(Node {
        name: status.own_name().map(str::to_owned),
        addresses: status.own_addresses()?.to_vec(),
        is_userspace: status.is_userspace(),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each is replaced as a whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One answer that is late says nothing yet; two do, and it is asked more often until it runs again.
    #[test]
    fn when_it_counts_as_stopped() {
        let node = |last: u8| Node {
            name: None,
            addresses: vec![[100, 64, 0, last].into()],
            is_userspace: false,
        };
        let stopped = || Err(Error::network("tailscale is stopped"));
        let mut said = Said { node: stopped(), doubts: DOUBTS };
        let rows = [
            (stopped(), None, UNTIL_IT_RUNS),
            (Ok(node(1)), Some(1), STATUS_FRESH),
            (stopped(), Some(1), UNTIL_IT_RUNS),
            (Ok(node(2)), Some(2), STATUS_FRESH),
            (stopped(), Some(2), UNTIL_IT_RUNS),
            (stopped(), None, UNTIL_IT_RUNS),
            (stopped(), None, UNTIL_IT_RUNS),
            (Ok(node(1)), Some(1), STATUS_FRESH),
        ];
        for (row, (answer, known, pause)) in rows.into_iter().enumerate() {
            said.hear(answer);
            assert_eq!(said.node.as_ref().ok(), known.map(node).as_ref(), "{row}");
            assert_eq!(said.pause(), pause, "{row}");
        }
    }
}
