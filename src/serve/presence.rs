//! That a server is there: it listens at each address that this machine has now, and is announced to
//! the local network until it goes.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::connect::Follow;
use crate::connect::acceptor::Acceptor;
use crate::connect::devices::{Own, PORTS};
use crate::connect::ways::Way;
use crate::crypto::handshake::VERSION;
use crate::error::{Cause, Error, Result, reason, shown};
use crate::net::interfaces::{Choice, Interfaces, is_tailnet};
use crate::net::mdns::{Announcement, Record, Search, Told, Txt};
use crate::net::tailscale::watch::Watch;
use crate::trust::certificate::Certificate;
use crate::trust::{check_name, numbered};
use crate::ui::{InTailnet, Reached, Ui};

/// How often it is looked which addresses there are.
const LOOK: Duration = Duration::from_secs(2);

/// How long it is looked who has the name, before it is announced. Whoever else has it is asked by the
/// announcement too, but a program of this same machine does not hear that.
const NAMES: Duration = Duration::from_secs(1);
/// So much longer for each port that others of this machine have before this one: those that begin at the
/// same moment are announced one after the other.
const STEP: Duration = Duration::from_secs(3);

/// Of one run of the server.
pub struct Presence {
    follow: Option<Box<Follow>>,
    /// What Tailscale says meanwhile, where the tailnet is served.
    watch: Option<Watch>,
    /// Why the tailnet is not served for the moment, as it was told.
    missing: Option<String>,
    announced: State,
    /// Why it cannot be announced for the moment, as it was told.
    trouble: Option<String>,
    reached: Reached,
    /// Whether it is called as was said, whatever its device is called.
    is_called: bool,
    looked: Instant,
    /// Addresses of which it was told that they cannot be listened at.
    told: BTreeSet<IpAddr>,
}

enum State {
    /// Nobody is to see it.
    Silent,
    /// It cannot be announced for the moment, as there is no local network yet or something failed: that is tried again.
    Waits { record: Record, choice: Choice },
    /// It is looked which names are taken.
    Looks { search: Search, until: Instant, record: Record, choice: Choice },
    /// Others see it.
    Announced { announcement: Announcement, record: Record, choice: Choice },
}

impl Presence {
    /// Of a server that listens on a port. Whoever has not said how it is `called` is announced by as
    /// much of its own name as a record takes.
    ///
    /// # Errors
    /// Exit 2 for a name that cannot be announced.
    pub fn new(
        called: Option<&str>,
        own: &Own,
        (port, listens): (u16, &[IpAddr]),
        (follow, watch): (Option<Box<Follow>>, Option<Watch>),
    ) -> Result<(Self, Record)> {
        let record = match called {
            Some(name) => {
                check_name(name)?;
                Record::new(name, port, txt_of(&own.certificate()))?
            }
            None => record_of(&own.certificate(), port)?,
        };
        let (looked, told, is_called) = (Instant::now(), BTreeSet::new(), called.is_some());
        let (announced, missing) = (State::Silent, None);
        let reached = reached(port, listens, watch.as_ref());
        let presence = Self {
            follow,
            watch,
            missing,
            announced,
            trouble: None,
            reached,
            is_called,
            looked,
            told,
        };
        Ok((presence, record))
    }

    /// Where it is reached, as it was when that was last looked at.
    pub fn reached(&self) -> &Reached {
        &self.reached
    }

    /// Has it looked again what Tailscale says, without a wait.
    pub fn look_again(&self) {
        if let Some(watch) = &self.watch {
            watch.look_again();
        }
    }

    /// Says why the tailnet is not served, once for each reason.
    pub fn tell_of_tailnet(&mut self, ui: &Ui) {
        let Some(watch) = &self.watch else { return };
        let missing = watch
            .node()
            .err()
            .map(|error| format!("{error}: the tailnet is served once Tailscale runs"));
        if let Some(why) = missing.as_ref().filter(|_| missing != self.missing) {
            ui.warn(why);
        }
        self.missing = missing;
    }

    /// Announces it, where the way is one of a local network. A server that cannot be announced is one
    /// all the same.
    pub fn announce(&mut self, record: Record, way: &Way, ui: &Ui) {
        match way {
            Way::Lan(choice) => self.look_for_names(record, choice.clone(), ui),
            Way::LanAndTailnet(choice) => {
                self.announced = State::Waits { record, choice: choice.clone() };
                self.announce_once_it_can(ui);
            }
            Way::Tailnet | Way::Pod | Way::Direct(_) => {}
        }
    }

    /// Begins to announce it, if a local network has come.
    fn announce_once_it_can(&mut self, ui: &Ui) {
        let State::Waits { record, choice } = &self.announced else { return };
        if Interfaces::look(choice).is_ok_and(|it| it.nothing().is_none()) {
            self.look_for_names(record.clone(), choice.clone(), ui);
        }
    }

    fn look_for_names(&mut self, record: Record, choice: Choice, ui: &Ui) {
        let begun = Interfaces::look(&choice).and_then(|it| Search::begin(&it, &choice));
        self.announced = match begun {
            Ok(search) => {
                let port = self.reached.port;
                let before = if PORTS.contains(&port) { port - PORTS.start() } else { 0 };
                let until = Instant::now() + NAMES + STEP * before.into();
                State::Looks { search, until, record, choice }
            }
            Err(error) => self.try_later(record, choice, &error, ui),
        };
    }

    /// Where it cannot be announced, that is tried again: an adapter may be away for a second.
    fn try_later(&mut self, record: Record, choice: Choice, error: &Error, ui: &Ui) -> State {
        let trouble = Some(error.to_string());
        if self.trouble != trouble {
            cannot_announce(ui, error);
            self.trouble = trouble;
        }
        State::Waits { record, choice }
    }

    /// Under a name that nobody has.
    fn announce_as_free(
        search: &Search,
        record: &Record,
        choice: &Choice,
        ui: &Ui,
    ) -> Result<Announcement> {
        let is_free = |name: &str| search.list().named(name).next().is_none();
        let name = record.name().to_owned();
        let mut names = numbered(&name, |number| format!(" ({number})")).take(99);
        let free = names.find(|name| is_free(name)).unwrap_or_else(|| name.clone());
        if free != name {
            renamed(ui, &free);
        }
        Announcement::begin(&record.called(free), &Interfaces::look(choice)?, choice)
    }

    /// Announces it anew, under the name that it has, where strangers have made it keep too much: that goes
    /// with the old announcement.
    fn forget_floods(&mut self, ui: &Ui) {
        let State::Announced { announcement, record, choice } = &mut self.announced else { return };
        if let Err(error) = announcement.forget_floods() {
            let (record, choice) = (record.clone(), choice.clone());
            self.announced = self.try_later(record, choice, &error, ui);
        }
    }

    /// Announces another certificate, once there is one, and another name, if its device has got one.
    fn renew(&mut self, own: &Own, ui: &Ui) {
        let (State::Waits { record, choice }
        | State::Looks { record, choice, .. }
        | State::Announced { record, choice, .. }) = &mut self.announced
        else {
            return;
        };
        let certificate = own.certificate();
        let txt = txt_of(&certificate);
        if *record.txt() == txt {
            return;
        }
        if let (false, Ok(other)) = (self.is_called, record_of(&certificate, self.reached.port))
            && other.name() != record.name()
        {
            let choice = choice.clone();
            // The goodbye of the old name comes first.
            self.announced = State::Silent;
            return self.look_for_names(other, choice, ui);
        }
        *record = record.telling(txt);
        if let State::Announced { announcement, record, choice } = &mut self.announced
            && let Err(error) =
                announcement.begin_anew(record.called(announcement.name().to_owned()))
        {
            let (record, choice) = (record.clone(), choice.clone());
            self.announced = self.try_later(record, choice, &error, ui);
        }
    }

    /// What has changed since the last time; takes no time of its own but to forget a flood, every 30 s at most.
    pub fn turn(
        &mut self,
        own: &Own,
        acceptor: &mut Acceptor,
        ui: &Ui,
        tell: impl FnOnce(&Reached),
    ) {
        if let State::Looks { search, until, record, choice } = &mut self.announced {
            let flooded = loop {
                match search.wait(Instant::now()) {
                    Ok(true) => {}
                    Ok(false) => break false,
                    // It is told to stop; or else nobody is kept from being announced by it.
                    Err(error) => break error.cause != Cause::Interrupted,
                }
            };
            let over = flooded || Instant::now() >= *until;
            if over {
                let begun = Self::announce_as_free(search, record, choice, ui);
                let (record, choice) = (record.clone(), choice.clone());
                self.announced = match begun {
                    Ok(announcement) => {
                        self.trouble = None;
                        State::Announced { announcement, record, choice }
                    }
                    Err(error) => self.try_later(record, choice, &error, ui),
                };
            }
        }
        self.forget_floods(ui);
        if let State::Announced { announcement, .. } = &mut self.announced {
            while let Some(told) = announcement.next(Duration::ZERO) {
                match told {
                    Told::Renamed(name) => renamed(ui, &name),
                    Told::Trouble(trouble) => {
                        ui.warn(&format!("it cannot be found by its name: {trouble}"));
                    }
                    Told::Announced => {}
                }
            }
        }
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        self.renew(own, ui);
        self.announce_once_it_can(ui);
        let Some(addresses) = self.follow.as_mut().and_then(|follow| follow()) else { return };
        let port = self.reached.port;
        for (ip, error) in acceptor.move_to(&addresses, port) {
            // A new IPv6 address is none for a second.
            if error.kind() != std::io::ErrorKind::AddrNotAvailable && self.told.insert(ip) {
                ui.warn(&format!("cannot listen at {ip} port {port}: {}", reason(&error)));
            }
        }
        let now = reached(port, &ips(acceptor), self.watch.as_ref());
        if now != self.reached {
            self.told.retain(|ip| addresses.iter().any(|at| at.ip() == *ip));
            tell(&now);
            self.reached = now;
        }
        self.tell_of_tailnet(ui);
    }
}

/// Where whoever listens there is reached: in the tailnet another address may be the way to one of these.
fn reached(port: u16, listens: &[IpAddr], watch: Option<&Watch>) -> Reached {
    let Some(watch) = watch else {
        return Reached { port, addresses: listens.to_vec(), tailnet: None };
    };
    let (far, addresses): (Vec<IpAddr>, Vec<IpAddr>) =
        listens.iter().copied().partition(|ip| is_tailnet(*ip) || ip.is_loopback());
    let tailnet = watch.node().map_or_else(
        |_| InTailnet::default(),
        |node| InTailnet {
            name: node.name.filter(|_| !far.is_empty()),
            addresses: match node.is_userspace && !far.is_empty() {
                true => node.addresses,
                false => far.into_iter().filter(|ip| !ip.is_loopback()).collect(),
            },
        },
    );
    Reached { port, addresses, tailnet: Some(tailnet) }
}

/// The record of a device that shows this certificate, and listens on a port: by as much of its name as a record
/// takes.
fn record_of(certificate: &Certificate, port: u16) -> Result<Record> {
    let (name, txt) = (certificate.device_name(), txt_of(certificate));
    let label = name.split(['.', '\\']).next().unwrap_or_default();
    Record::new(label, port, txt.clone())
        .or_else(|_| Record::new(&format!("device-{}", certificate.id.short()), port, txt))
}

/// What is announced of whoever shows this certificate.
fn txt_of(certificate: &Certificate) -> Txt {
    let id = certificate.id;
    Txt {
        version: VERSION.into(),
        fingerprint: Some(certificate.fingerprint),
        id: id.0.first_chunk().copied().unwrap_or_default(),
        words: Some(id.words()),
    }
}

/// In the order in which they are shown.
fn ips(acceptor: &Acceptor) -> Vec<IpAddr> {
    acceptor.addresses().map(|it: SocketAddr| it.ip()).collect()
}

fn renamed(ui: &Ui, name: &str) {
    ui.warn(&format!(
        "somebody else here has that name: this server is announced as \"{}\"",
        shown(name)
    ));
}

fn cannot_announce(ui: &Ui, error: &Error) {
    ui.warn(&format!("{error}; it is reached by its address alone"));
}
