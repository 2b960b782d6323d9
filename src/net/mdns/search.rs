//! Looking for servers, for as long as somebody wants to.

use std::time::{Duration, Instant};

use mdns_sd::{DaemonEvent, Receiver, RecvTimeoutError, ServiceDaemon, ServiceEvent};

use super::{COUNTING, List, Service, cannot_speak, deaf, kept, speaker};
use crate::bounds::{GOODBYE_LIMIT, MAX_HEARD, MAX_KEPT};
use crate::control;
use crate::error::{Error, Result, shown};
use crate::net::interfaces::{Choice, Interfaces};

/// A search that runs until it is dropped.
pub struct Search {
    daemon: ServiceDaemon,
    found: Receiver<ServiceEvent>,
    troubles: Receiver<DaemonEvent>,
    list: List,
    heard: u32,
    counted: Instant,
    trouble: Option<String>,
}

impl Search {
    /// Asks which servers are here, on the interfaces that are used.
    ///
    /// # Errors
    /// Exit 5 where there is no socket or thread for it.
    pub fn begin(interfaces: &Interfaces, choice: &Choice) -> Result<Self> {
        Self::of(Service::Server, interfaces, choice)
    }

    /// The same for any service.
    ///
    /// # Errors
    /// The same.
    pub fn of(service: Service, interfaces: &Interfaces, choice: &Choice) -> Result<Self> {
        let daemon = speaker(interfaces, choice)?;
        let troubles = daemon.monitor().map_err(|error| cannot_speak(&error))?;
        let found = daemon.browse(service.name()).map_err(|error| cannot_speak(&error))?;
        let (list, counted) = (List::of(service), Instant::now());
        Ok(Self { daemon, found, troubles, list, heard: 0, counted, trouble: deaf() })
    }

    /// Waits until the list changes; tells whether it did before `deadline`.
    ///
    /// # Errors
    /// Exit 5 when so much is announced that somebody must be flooding the network: whatever is on
    /// the list stays there. Exit 130 when the user wants to stop.
    pub fn wait(&mut self, deadline: Instant) -> Result<bool> {
        loop {
            control::check()?;
            if let Ok(DaemonEvent::Error(error)) = self.troubles.try_recv() {
                self.trouble = Some(shown(&error.to_string()).into_owned());
            }
            if self.heard > MAX_HEARD || self.kept() > MAX_KEPT {
                return Err(flooded());
            }
            match self.found.recv_deadline(deadline.min(Instant::now() + control::SLICE)) {
                Ok(event) => {
                    self.heard += 1;
                    if self.list.take(event) {
                        return Ok(true);
                    }
                }
                // 1000 events wait; who cannot keep up is listened to no more.
                Err(RecvTimeoutError::Disconnected) => return Err(flooded()),
                Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => return Ok(false),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Records that are kept of what was heard, those of no server among them.
    fn kept(&mut self) -> i64 {
        if self.counted.elapsed() < COUNTING {
            return 0;
        }
        self.counted = Instant::now();
        kept(&self.daemon)
    }

    /// Waits until `deadline` for all that come.
    ///
    /// # Errors
    /// As [`Search::wait`].
    pub fn wait_for_all(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while self.wait(deadline)? {}
        Ok(())
    }

    /// Who is here now.
    pub fn list(&self) -> &List {
        &self.list
    }

    /// What kept this machine from asking, if something did.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}

fn flooded() -> Error {
    Error::network("so much is announced here that somebody floods the network")
        .hint("name the server by its address")
}

impl Drop for Search {
    fn drop(&mut self) {
        if let Ok(ended) = self.daemon.shutdown() {
            let _ = ended.recv_timeout(GOODBYE_LIMIT);
        }
    }
}
