//! A server that is announced, from the first word to the goodbye.

use std::time::{Duration, Instant};

use mdns_sd::{DaemonEvent, RRType, Receiver, ServiceDaemon, ServiceInfo};

use super::{Record, Service, cannot_speak, chosen, deaf, kept, list, speaker};
use crate::bounds::{GOODBYE_LIMIT, MAX_KEPT};
use crate::error::{Result, shown};
use crate::net::interfaces::{Choice, Interfaces};

/// A record that others can see, until it is dropped.
pub struct Announcement {
    daemon: ServiceDaemon,
    events: Receiver<DaemonEvent>,
    /// What was registered; `mdns-sd` goes on calling it so when it has another name.
    registered: String,
    service: Service,
    name: String,
    /// Why it cannot work, until that is told.
    trouble: Option<String>,
}

/// What happens to an announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Somebody has the name already: this server is now called otherwise.
    Renamed(String),
    /// Others can see it now. Comes again, for each address and after a change.
    Announced,
    /// It cannot be announced here; what the system says, safe to show.
    Trouble(String),
}

impl Announcement {
    /// Announces a server on the interfaces that are used. It takes a second until others see it:
    /// first it is asked whether somebody has the name already.
    ///
    /// # Errors
    /// Exit 5 where there is no socket or thread for it.
    pub fn begin(record: &Record, interfaces: &Interfaces, choice: &Choice) -> Result<Self> {
        let daemon = speaker(interfaces, choice)?;
        let events = daemon.monitor().map_err(|error| cannot_speak(&error))?;
        let (name, port) = (record.name(), record.port());
        let txt = record.txt().pairs();
        let service =
            ServiceInfo::new(record.service().name(), name, &record.host(), (), port, &*txt);
        let mut service = service.map_err(|error| cannot_speak(&error))?.enable_addr_auto();
        service.set_interfaces(vec![chosen(interfaces, choice)]);
        let registered = service.get_fullname().to_owned();
        daemon.register(service).map_err(|error| cannot_speak(&error))?;
        let (service, name) = (record.service(), name.to_owned());
        Ok(Self { daemon, events, registered, service, name, trouble: deaf() })
    }

    /// The name that others see.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether strangers have made `mdns-sd` keep more than it should: it keeps what nobody asked for too,
    /// and some of it for ever. To begin anew forgets all of that.
    pub fn is_flooded(&self) -> bool {
        kept(&self.daemon) > MAX_KEPT
    }

    /// What happens next to it, if it does so within `patience`. Nothing that others do makes this
    /// wait for more, or keeps more than 100 events.
    pub fn next(&mut self, patience: Duration) -> Option<Told> {
        if let Some(trouble) = self.trouble.take() {
            return Some(Told::Trouble(trouble));
        }
        let deadline = Instant::now() + patience;
        while let Ok(event) = self.events.recv_deadline(deadline) {
            match event {
                DaemonEvent::NameChange(change) if change.rr_type == RRType::SRV => {
                    let Some(name) = list::instance(self.service, &change.new_name) else {
                        continue;
                    };
                    self.name = name;
                    return Some(Told::Renamed(self.name.clone()));
                }
                DaemonEvent::Announce(..) => return Some(Told::Announced),
                DaemonEvent::Error(error) => {
                    return Some(Told::Trouble(shown(&error.to_string()).into_owned()));
                }
                _ => {}
            }
        }
        None
    }
}

impl Drop for Announcement {
    /// Says goodbye, so that it leaves the lists of others at once, and not after two minutes.
    fn drop(&mut self) {
        if let Ok(told) = self.daemon.unregister(&self.registered) {
            let _ = told.recv_timeout(GOODBYE_LIMIT);
        }
        if let Ok(ended) = self.daemon.shutdown() {
            let _ = ended.recv_timeout(GOODBYE_LIMIT);
        }
    }
}
