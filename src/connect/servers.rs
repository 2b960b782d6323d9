//! The way to a server: by its address, by a name that the system knows, or by the record that it
//! announces. It is found anew each time, as it may have another address by then.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use super::around::{Answer, Around, Knock, Look, Rank};
use super::devices::{Own, PORT};
use super::far::{self, Far};
use super::place::{Place, Sought};
use super::secured::{connect, explain, meet};
use super::{Connection, NotConnected};
use crate::bounds::{ANSWER_LIMIT, LOOK_LIMIT};
use crate::error::{Cause, Error, Result, reason, shown};
use crate::net::interfaces::{Choice, Interfaces, is_tailnet};
use crate::net::mdns::{Server, Service, Silence};
use crate::net::tls::{Channel, Watch};
use crate::ticket::Host;
use crate::trust::certificate::Id;
use crate::trust::refusal::{Refusal, Who};
use crate::trust::verifier::{Expect, Peer};

/// How long records alone are waited for, before whatever else is known of a name is tried.
const RECORDS_FIRST: Duration = Duration::from_secs(2);
/// How long a record of the very name is waited for, before another of the same key will do: several servers of
/// one device have a name each. Whoever has answered somebody a moment ago keeps silent for a second (RFC 6762,
/// section 6).
const NAME_FIRST: Duration = Duration::from_millis(1500);

/// The way to a server.
#[derive(Debug)]
pub struct Dialler {
    own: Arc<Own>,
    sought: Sought,
    /// Where it was.
    last: Cell<Option<SocketAddr>>,
    /// Who it was. Whatever address or name leads to another by then: this upload is not for that one.
    met: Cell<Option<Id>>,
    /// What it was announced as: a device may have several servers, and this upload is for that one.
    record: RefCell<Option<String>>,
    /// The tailnet, where there is one.
    far: OnceCell<Option<Far>>,
    /// Whether the list notes who was there.
    notes: bool,
}

/// Which records of a device are meant.
struct Meant {
    name: String,
    id: Option<Id>,
    port: Option<u16>,
    /// When a record of another name and port will do, if one ever does.
    others: Option<Instant>,
}

impl Meant {
    fn is_of_key(&self, server: &Server) -> bool {
        self.id.is_some_and(|id| id.0.starts_with(&server.txt.id))
    }

    fn rank(&self, server: &Server, now: Instant) -> Option<Rank> {
        let is_port = self.port.is_some_and(|it| server.addresses.iter().any(|at| at.port() == it));
        match self.is_of_key(server) {
            _ if server.name.eq_ignore_ascii_case(&self.name) => Some(Rank::Exact),
            true if is_port => Some(Rank::Likely),
            true if self.others.is_some_and(|from| now >= from) => Some(Rank::Other),
            _ => None,
        }
    }
}

impl Dialler {
    /// To what was asked for.
    pub fn new(own: Arc<Own>, sought: Sought) -> Self {
        let (last, met, record) = (Cell::new(None), Cell::new(None), RefCell::new(None));
        Self { own, sought, last, met, record, far: OnceCell::new(), notes: true }
    }

    /// The same for who only looks: nobody is bound to a name by it.
    pub fn to_look(own: Arc<Own>, sought: Sought) -> Self {
        Self { notes: false, ..Self::new(own, sought) }
    }

    /// Who should be there.
    pub fn name(&self) -> String {
        self.sought.name()
    }

    /// Where it was, once it has been.
    pub fn at(&self) -> Option<SocketAddr> {
        self.last.get()
    }

    /// What to say of certificates that end soon: this device's, and the server's.
    pub fn ends(&self, peer: Option<&Peer>) -> Vec<String> {
        self.own.ends(peer)
    }

    /// Connects, and is let in or not: that only the first word of the server tells, or what the
    /// [`Watch`] knows once there is none.
    ///
    /// # Errors
    /// Nobody answers, or somebody who is not trusted.
    pub fn dial(&self) -> Result<(Connection, Watch), NotConnected> {
        let rules = self.own.rules()?;
        let expect = match self.met.get().filter(|_| self.sought.fingerprint.is_none()) {
            // By the rules as they are then: the list, or its CA, may have changed.
            Some(id) => {
                let known = rules.trusted().pinned(&id).map(|known| known.name.clone());
                Expect::Known(known.unwrap_or_else(|| self.name()), id)
            }
            None => self.sought.expect(rules.trusted()),
        };
        let reached = match &self.sought.place {
            Place::Host(host, port) => self.at_host(host, *port, expect),
            Place::Named(name, port) => self.look_up(name, *port, expect),
            Place::Known(chosen) => self.look_up(&chosen.name, None, expect),
        };
        let (channel, at) = reached.map_err(|end| match end {
            // Somebody else answers there for the moment, or says that he is the one: the server was met, and
            // may be back.
            NotConnected::Over(error)
                if self.met.get().is_some() && error.cause == Cause::Refused =>
            {
                NotConnected::Lost(error)
            }
            end => end,
        })?;
        if self.notes && self.sought.fingerprint.is_none() {
            self.own.remember(&channel.peer)?;
        }
        self.last.set(Some(at));
        self.met.set(Some(channel.peer.id));
        let watch = channel.watch.clone();
        Ok((Connection::carried(channel, super::Peer::unknown(at.ip())), watch))
    }

    /// What a connection came to that had a channel and ended early.
    pub fn ended(&self, watch: &Watch, error: Error) -> NotConnected {
        match watch.failure() {
            Some(failure) if !failure.may_pass() => explain(&self.own, &self.name(), &failure),
            _ => error.into(),
        }
    }

    fn at_host(
        &self,
        host: &Host,
        port: Option<u16>,
        expect: Expect,
    ) -> Result<(Channel, SocketAddr), NotConnected> {
        if let Some(ip) = self.of_tailnet(host)? {
            return self.connect_far(ip, port, expect);
        }
        let to = self.addresses(host, port.unwrap_or(PORT))?;
        let (far, near): (Vec<_>, Vec<_>) = to.into_iter().partition(|at| is_tailnet(at.ip()));
        let Some(far) = far.first() else {
            return connect(&self.own, &self.name(), expect, &near, ANSWER_LIMIT);
        };
        // A name server may know addresses of both networks.
        let nearby = match near.is_empty() {
            true => None,
            false => match connect(&self.own, &self.name(), expect.clone(), &near, ANSWER_LIMIT) {
                Err(gone @ (NotConnected::Lost(_) | NotConnected::Refused(_))) => Some(gone),
                ended => return ended,
            },
        };
        match (self.tailnet().and_then(|it| it.address(&Host::Ip(far.ip()))), nearby) {
            (Ok(ip), _) => self.connect_far(ip, port, expect),
            // Where the tailnet does not lead there, it is the near one that is missing.
            (Err(_), Some(gone)) => Err(gone),
            (Err(error), None) => Err(error.into()),
        }
    }

    /// The device of the tailnet that a host means, if it means one.
    fn of_tailnet(&self, host: &Host) -> Result<Option<IpAddr>> {
        match (host, host.address()) {
            (_, Some(ip)) if is_tailnet(ip) => self.tailnet()?.address(host).map(Some),
            // Nobody else has such names.
            (Host::Name(name), None) if name.ends_with(".ts.net") => {
                self.tailnet()?.address(host).map(Some)
            }
            (Host::Name(_), None) => match self.far().map(|far| far.address(host)) {
                Some(Err(error)) if matches!(error.cause, Cause::Usage | Cause::Refused) => {
                    Err(error)
                }
                // The system may know it.
                found => Ok(found.and_then(Result::ok)),
            },
            _ => Ok(None),
        }
    }

    /// The tailnet, where there is a program that tells of it.
    fn far(&self) -> Option<&Far> {
        self.far.get_or_init(|| Far::find().ok()).as_ref()
    }

    /// The same for who needs it, and otherwise is told why there is none; it may have come meanwhile.
    fn tailnet(&self) -> Result<Far> {
        self.far().map_or_else(Far::find, |far| Ok(far.clone()))
    }

    /// At a device of the tailnet: at the port that was named, or where it was, or at all that it may have.
    fn connect_far(
        &self,
        ip: IpAddr,
        port: Option<u16>,
        expect: Expect,
    ) -> Result<(Channel, SocketAddr), NotConnected> {
        let far = self.tailnet()?;
        let port = port.or_else(|| self.last.get().map(|at| at.port()));
        let (own, who) = (Arc::clone(&self.own), self.name());
        far.connect(ip, &far::ports(port), &meet(own, who, expect))
    }

    fn addresses(&self, host: &Host, port: u16) -> Result<Vec<SocketAddr>> {
        if let Some(ip) = host.address() {
            return Ok(match ip.is_loopback() {
                true => vec![(ip, port).into()],
                false => Interfaces::look(&self.sought.choice)?.to_dial(ip, port),
            });
        }
        // Anew each time: it may have got another address meanwhile.
        let name = self.name();
        let found = (name.as_str(), port).to_socket_addrs().map_err(|error| {
            Error::network(format!("no address of {name} is known: {}", reason(&error)))
                .hint("name its address instead, such as --to 192.168.1.9")
        })?;
        Ok(found.collect())
    }

    /// Whoever answers behind a record of that name, or of that key, and is the one that is expected;
    /// then where it was before, in the tailnet, or at the address that the system knows for the name.
    fn look_up(
        &self,
        name: &str,
        port: Option<u16>,
        expect: Expect,
    ) -> Result<(Channel, SocketAddr), NotConnected> {
        let met = self.last.get();
        // Who has been there is dialled again soon, and again.
        let patience = match met {
            Some(_) => RECORDS_FIRST,
            None => self.sought.wait.unwrap_or(LOOK_LIMIT),
        };
        let until = Instant::now() + patience;
        let asked = match self.sought.place {
            Place::Named(..) if met.is_none() => Some(ask_system(name, port.unwrap_or(PORT))),
            _ => None,
        };
        let id = match &expect {
            Expect::Key(_, id) | Expect::Known(_, id) => Some(*id),
            Expect::Fingerprint(hash) => Some(Id(*hash)),
            _ => None,
        };
        let device = self.ask_tailnet(name);
        let begun = Instant::now();
        let meant = Meant { id, ..self.meant(name, begun + NAME_FIRST.min(patience / 2)) };
        let wanted = |server: &Server| meant.rank(server, Instant::now());
        let knock = self.knock(name, port, &expect);
        let (mut found, mut failed, mut refused) = (None, None, None);
        let mut tell = |answer: Option<Answer<(Channel, SocketAddr)>>| {
            let Some(Answer { server, came }) = answer else { return Look::On };
            match came {
                Ok(channel) => {
                    found = Some((channel, server.name));
                    return Look::Done;
                }
                Err(error) if error.cause == Cause::Refused => {
                    let copies = meant.is_of_key(&server);
                    let error = if copies { copied(error, name) } else { error };
                    refused.get_or_insert(error);
                }
                Err(error) => _ = failed.get_or_insert(error),
            }
            Look::On
        };
        let mut around = Around::begin(Service::Server, &self.sought.choice);
        let first = until.min(Instant::now() + RECORDS_FIRST);
        let looked = match &mut around {
            Ok(around) => around.knock(first, &wanted, &knock, &mut tell),
            Err(error) => Err(error.clone()),
        };
        if let Err(error @ Error { cause: Cause::Interrupted, .. }) = looked {
            return Err(error.into());
        }
        if let Some((channel, record)) = found.take() {
            *self.record.borrow_mut() = Some(record);
            return Ok(channel);
        }
        // What is known of it beside its record; whoever announces its name in this network and is another, is
        // nobody in the tailnet.
        let refused = refused.take();
        if let (Some(error), None) = (&refused, &device) {
            return Err(NotConnected::Over(error.clone()));
        }
        if let Some(at) = met.filter(|at| refused.is_none() && !is_tailnet(at.ip())) {
            match connect(&self.own, name, expect.clone(), &[at], ANSWER_LIMIT) {
                Ok(found) => return Ok(found),
                Err(NotConnected::Over(error)) => return Err(NotConnected::Over(error)),
                Err(error) if device.is_none() => return Err(error),
                Err(error) => _ = failed.insert(error.into_error()),
            }
        }
        // One that hangs has been asked for a while by now.
        let asked_far = device.is_some();
        let device = device.and_then(|it| it.recv_timeout(RECORDS_FIRST).ok());
        let is_unknown = matches!(&device, Some(Err(error))
            if matches!(error.cause, Cause::UnknownName | Cause::NotInstalled));
        let may_be_far = asked_far && !is_unknown;
        // Records alone are not waited for then: whoever waits longer comes again, and asks again.
        let until = if may_be_far { until.min(begun + LOOK_LIMIT) } else { until };
        let unknown = match device {
            Some(Ok(ip)) => match self.connect_far(ip, port, expect.clone()) {
                Err(NotConnected::Lost(error) | NotConnected::Refused(error)) => {
                    failed.get_or_insert(error);
                    None
                }
                ended => return ended,
            },
            Some(Err(error)) => Some(error),
            None => None,
        };
        if let Some(error) = refused {
            // Who has the name in this network is not the one; that one may be in the tailnet, and not there yet.
            return Err(if may_be_far {
                NotConnected::Lost(error)
            } else {
                NotConnected::Over(error)
            });
        }
        if met.is_some() {
            return Err(failed.or(unknown).unwrap_or_else(|| not_found(name, &[], None)).into());
        }
        let elsewhere = asked.and_then(|it| it.recv_timeout(RECORDS_FIRST).ok());
        let elsewhere: Vec<_> =
            elsewhere.unwrap_or_default().into_iter().filter(|at| !is_tailnet(at.ip())).collect();
        if !elsewhere.is_empty() {
            match connect(&self.own, name, expect, &elsewhere, ANSWER_LIMIT) {
                Ok(found) => return Ok(found),
                Err(NotConnected::Over(error)) => return Err(NotConnected::Over(error)),
                Err(error) => _ = failed.get_or_insert(error.into_error()),
            }
        }
        let silence = match (&mut around, looked) {
            (Ok(around), Ok(())) => {
                let looked = around.knock(until, &wanted, &knock, &mut |answer| {
                    let Some(Answer { server, came }) = answer else { return Look::On };
                    let refusal = matches!(&came, Err(error) if error.cause == Cause::Refused);
                    match came {
                        Ok(channel) => found = Some((channel, server.name)),
                        Err(error) => failed = Some(error),
                    }
                    if found.is_some() || refusal { Look::Done } else { Look::On }
                });
                if let Err(error) = looked {
                    return Err(error.into());
                }
                around.silence()
            }
            (_, Err(error)) => {
                failed.get_or_insert_with(|| neither(error, unknown.as_ref()));
                vec![]
            }
            (Err(_), Ok(())) => vec![],
        };
        let (channel, record) = found
            .ok_or_else(|| failed.unwrap_or_else(|| not_found(name, &silence, unknown.as_ref())))?;
        *self.record.borrow_mut() = Some(record);
        Ok(channel)
    }

    /// Asks for the device of the tailnet that has this name, or the address where it was. Whoever names
    /// interfaces means no other way.
    fn ask_tailnet(&self, name: &str) -> Option<Receiver<Result<IpAddr>>> {
        let far = self.far().filter(|_| self.sought.choice == Choice::Local)?;
        let was = self.last.get().map(|at| at.ip()).filter(|ip| is_tailnet(*ip));
        let host = was.map(Host::Ip).or_else(|| Host::parse_name(name).map(Host::Name))?;
        Some(far.ask(host))
    }

    /// The records to look for; from `others` on, any of the key will do where nobody was met yet.
    fn meant(&self, name: &str, others: Instant) -> Meant {
        let (name, port, others) = match (&self.sought.place, self.last.get()) {
            (Place::Known(chosen), None) => {
                (chosen.record.clone(), Some(chosen.port), Some(others))
            }
            (_, None) => (name.to_owned(), None, Some(others)),
            (_, Some(at)) => {
                let record = self.record.borrow().clone();
                (record.unwrap_or_else(|| name.to_owned()), Some(at.port()), None)
            }
        };
        Meant { name, id: None, port, others }
    }

    fn knock(
        &self,
        name: &str,
        port: Option<u16>,
        expect: &Expect,
    ) -> Knock<(Channel, SocketAddr)> {
        let (own, name, expect) = (Arc::clone(&self.own), name.to_owned(), expect.clone());
        Arc::new(move |_: &Server, at: &[SocketAddr]| {
            let at: Vec<SocketAddr> = at
                .iter()
                .map(|address| {
                    let mut address = *address;
                    address.set_port(port.unwrap_or(address.port()));
                    address
                })
                .collect();
            connect(&own, &name, expect.clone(), &at, ANSWER_LIMIT)
                .map_err(NotConnected::into_error)
        })
    }
}

/// Asks the system for the addresses of a name, which may take its time: as it is, and in the domain
/// that some systems ask multicast DNS for.
fn ask_system(name: &str, port: u16) -> Receiver<Vec<SocketAddr>> {
    let (sender, answer) = mpsc::channel();
    for name in [name.to_owned(), format!("{name}.local")] {
        let sender = sender.clone();
        let asking = thread::Builder::new().name("resolve".into()).spawn(move || {
            if let Ok(found) = (name.as_str(), port).to_socket_addrs() {
                let _ = sender.send(found.collect());
            }
        });
        drop(asking);
    }
    answer
}

/// Of a record that has the key of the one that is looked for, and leads to another.
fn copied(error: Error, name: &str) -> Error {
    let other = Refusal::OtherKey { name: name.to_owned() }.error(&Who::Server(name.to_owned()));
    if error.message != other.message {
        return error;
    }
    let name = shown(name);
    Error::refused(format!("somebody here announces the key of {name}, and has another"))
        .hint(format!("somebody copies what {name} announces; is {name} switched on?"))
}

fn not_found(name: &str, silence: &[Silence], unknown: Option<&Error>) -> Error {
    let message = format!("{} is not found in the local network", shown(name));
    let reasons: Vec<String> = silence.iter().map(ToString::to_string).collect();
    let error = Error::network(message)
        .hint(format!("`transfer find` shows who is here; {}", reasons.join("; ")));
    neither(error, unknown)
}

/// The same, with why it was not found in the tailnet either.
fn neither(error: Error, unknown: Option<&Error>) -> Error {
    let Some(unknown) = unknown else { return error };
    let message = format!("{}; in the tailnet: {}", error.message, unknown.message);
    let hints: Vec<String> = error.hint.iter().chain(&unknown.hint).cloned().collect();
    Error::new(error.cause, message).hint(hints.join("; "))
}
