//! A server that is announced, from the first word to the goodbye.

use std::time::{Duration, Instant};

use mdns_sd::{DaemonEvent, RRType, Receiver, ServiceDaemon, ServiceInfo};

use super::{Record, cannot_speak, chosen, deaf, kept, list, speaker};
use crate::bounds::{GOODBYE_LIMIT, MAX_KEPT};
use crate::error::{Result, shown};
use crate::net::interfaces::{Choice, Interfaces};

/// How often it is looked how much strangers have made it keep.
const COUNT: Duration = Duration::from_secs(30);

/// A record that others can see, until it is dropped.
pub struct Announcement {
    daemon: ServiceDaemon,
    events: Receiver<DaemonEvent>,
    /// What was registered; `mdns-sd` goes on calling it so when it has another name.
    registered: String,
    /// What others see.
    record: Record,
    choice: Choice,
    /// When it was looked how much it keeps, if it was.
    counted: Option<Instant>,
    /// Whether it has said goodbye.
    is_over: bool,
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
        let (record, choice) = (record.clone(), choice.clone());
        let (counted, is_over) = (None, false);
        Ok(Self { daemon, events, registered, record, choice, counted, is_over, trouble: deaf() })
    }

    /// The name that others see.
    pub fn name(&self) -> &str {
        self.record.name()
    }

    /// Begins anew, under the name that it has, where strangers have made `mdns-sd` keep more than it should: it keeps
    /// what nobody asked for too, and some of it for ever, and all of that goes with the old announcement. It is looked
    /// every 30 s, which takes half a second at most, and a beginning two more. Tells whether it has begun anew.
    ///
    /// # Errors
    /// As [`Announcement::begin`]; then nobody can see it any more.
    pub fn forget_floods(&mut self) -> Result<bool> {
        if self.counted.is_some_and(|counted| counted.elapsed() < COUNT) {
            return Ok(false);
        }
        self.counted = Some(Instant::now());
        if kept(&self.daemon) <= MAX_KEPT {
            return Ok(false);
        }
        self.begin_anew(self.record.clone())?;
        Ok(true)
    }

    /// Ends it, and announces this record in its place.
    ///
    /// # Errors
    /// As [`Announcement::begin`]; then nobody can see it any more.
    pub fn begin_anew(&mut self, record: Record) -> Result<()> {
        // The goodbye comes before the new one's first word, or it would take that away as well.
        self.end();
        let counted = self.counted;
        *self = Self::begin(&record, &Interfaces::look(&self.choice)?, &self.choice)?;
        self.counted = counted;
        Ok(())
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
                    let service = self.record.service();
                    let Some(name) = list::instance(service, &change.new_name) else { continue };
                    self.record = self.record.called(name.clone());
                    return Some(Told::Renamed(name));
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

    /// Says goodbye, so that it leaves the lists of others at once, and not after two minutes.
    fn end(&mut self) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        if let Ok(told) = self.daemon.unregister(&self.registered) {
            let _ = told.recv_timeout(GOODBYE_LIMIT);
        }
        if let Ok(ended) = self.daemon.shutdown() {
            let _ = ended.recv_timeout(GOODBYE_LIMIT);
        }
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        self.end();
    }
}
