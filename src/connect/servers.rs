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
use super::far::{self, Far, Meet};
use super::{Connection, NotConnected};
use crate::bounds::{ANSWER_LIMIT, LOOK_LIMIT, MAX_SERVER_ADDRESSES};
use crate::error::{Cause, Error, Result, reason, shown};
use crate::net::dial::{Stream, dial_first};
use crate::net::interfaces::{Choice, Interfaces, is_tailnet};
use crate::net::mdns::{Server, Service, Silence};
use crate::net::tls::{self, Channel, Failure, Watch};
use crate::ticket::Host;
use crate::trust::certificate::{HASH_LEN, Id};
use crate::trust::is_name;
use crate::trust::refusal::{Refusal, Who};
use crate::trust::store::Trusted;
use crate::trust::verifier::{Expect, Peer, Verifier};

/// How long records alone are waited for, before whatever else is known of a name is tried.
const RECORDS_FIRST: Duration = Duration::from_secs(2);
/// How long a record of the very name is waited for, before another of the same key will do: several servers of
/// one device have a name each. Whoever has answered somebody a moment ago keeps silent for a second (RFC 6762,
/// section 6).
const NAME_FIRST: Duration = Duration::from_millis(1500);

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At a host, and a port if one is named.
    Host(Host, Option<u16>),
    /// Where its record says, or the tailnet, or the system, at this port if one is named.
    Named(String, Option<u16>),
    /// Where its record says: the server that was chosen among those that were found.
    Known(Box<Chosen>),
}

impl Place {
    /// Reads `NAME` or `HOST[:PORT]`. What has no dot, or ends in `.local`, is looked for in the local
    /// network.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::error::Exit::Usage) when it is no place.
    pub fn parse(text: &str) -> Result<Self> {
        let parsed = match Host::parse_place(text) {
            // Names of servers have spaces and letters that no host has.
            Err(_) if is_name(text) && !text.contains(['.', '[']) => {
                return Ok(Self::Named(text.to_owned(), None));
            }
            parsed => parsed?,
        };
        Ok(match parsed {
            (Host::Name(name), port) if Host::Name(name.clone()).address().is_none() => {
                let label = name.strip_suffix(".local").unwrap_or(&name);
                match label.contains('.') {
                    true => Self::Host(Host::Name(name), port),
                    false => Self::Named(label.to_owned(), port),
                }
            }
            (host, port) => Self::Host(host, port),
        })
    }
}

/// A server that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// What its device is called here.
    pub name: String,
    /// The key of that.
    pub id: Id,
    /// What it is announced as.
    pub record: String,
    /// Its port.
    pub port: u16,
}

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Sought {
    /// Where it is.
    pub place: Place,
    /// The interfaces to look at.
    pub choice: Choice,
    /// SHA-256 of its certificate or key, in the place of what is trusted.
    pub fingerprint: Option<[u8; HASH_LEN]>,
    /// How long it may not be there yet.
    pub wait: Option<Duration>,
}

impl Sought {
    /// Who should be there.
    fn name(&self) -> String {
        match &self.place {
            Place::Host(host, _) => host.to_string(),
            Place::Named(name, _) => name.clone(),
            Place::Known(chosen) => chosen.name.clone(),
        }
    }

    /// A name that is known here stands for its key and no other.
    fn expect(&self, trusted: &Trusted) -> Expect {
        if let Some(fingerprint) = self.fingerprint {
            return Expect::Fingerprint(fingerprint);
        }
        let name = self.name();
        match &self.place {
            Place::Known(chosen) => Expect::Known(chosen.name.clone(), chosen.id),
            // As certificates have it, without the brackets of one that is typed with a port.
            Place::Host(Host::Ip(ip) | Host::Udp(ip), _) => Expect::Host(vec![ip.to_string()]),
            Place::Host(Host::Relay { .. }, _) => Expect::Host(vec![name]),
            Place::Host(Host::Name(_), _) | Place::Named(..) => match trusted.named(&name) {
                Some(known) => Expect::Key(known.name.clone(), known.id),
                None if name.contains('.') => Expect::Host(vec![name]),
                // What it is called where names are looked up.
                None => Expect::Host(vec![name.clone(), format!("{name}.local")]),
            },
        }
    }
}

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
        Self { own, sought, last, met, record, far: OnceCell::new() }
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
        if self.sought.fingerprint.is_none() {
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
        match to.iter().find(|at| is_tailnet(at.ip())) {
            // A name server may know it as well.
            Some(at) => {
                let ip = Far::find()?.address(&Host::Ip(at.ip()))?;
                self.connect_far(ip, port, expect)
            }
            None => connect(&self.own, &self.name(), expect, &to, ANSWER_LIMIT),
        }
    }

    /// The device of the tailnet that a host means, if it means one.
    fn of_tailnet(&self, host: &Host) -> Result<Option<IpAddr>> {
        let far = || self.far().map_or_else(Far::find, |far| Ok(far.clone()));
        match (host, host.address()) {
            (_, Some(ip)) if is_tailnet(ip) => far()?.address(host).map(Some),
            // Nobody else has such names.
            (Host::Name(name), None) if name.ends_with(".ts.net") => far()?.address(host).map(Some),
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

    /// At a device of the tailnet: at the port that was named, or where it was, or at all that it may have.
    fn connect_far(
        &self,
        ip: IpAddr,
        port: Option<u16>,
        expect: Expect,
    ) -> Result<(Channel, SocketAddr), NotConnected> {
        let far = self.far().map_or_else(Far::find, |far| Ok(far.clone()))?;
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
        let device = device.and_then(|it| it.recv_timeout(RECORDS_FIRST).ok());
        let mut until = until;
        let unknown = match device {
            Some(Ok(ip)) => {
                // Records alone are not waited for: whoever waits longer comes again.
                until = until.min(begun + LOOK_LIMIT);
                match self.connect_far(ip, port, expect.clone()) {
                    Err(NotConnected::Lost(error) | NotConnected::Refused(error)) => {
                        failed.get_or_insert(error);
                        None
                    }
                    ended => return ended,
                }
            }
            Some(Err(error)) => {
                // It may not have come up yet.
                if error.cause == Cause::Network {
                    until = until.min(begun + LOOK_LIMIT);
                }
                Some(error)
            }
            None => None,
        };
        if let Some(error) = refused {
            return Err(NotConnected::Over(error));
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

/// Looks whether it is the one who is behind a connection through the tailnet.
fn meet(own: Arc<Own>, who: String, expect: Expect) -> Arc<Meet<Channel>> {
    Arc::new(move |stream: Stream, deadline| {
        let verifier = Verifier::new(own.rules()?, expect.clone());
        tls::connect(stream, &own.credentials, &verifier, deadline).map_err(|failure| match failure
        {
            Failure::Cut => {
                let error = format!("{} closed the connection before a word", shown(&who));
                NotConnected::Cut(Error::network(error).hint(
                    "is this machine a device of its tailnet? `transfer serve` there tells whom it \
                     turns away, and why",
                ))
            }
            failure => explain(&own, &who, &failure),
        })
    })
}

/// Connects to the first of a server's addresses at which the one answers that is expected, all within `limit`.
/// Whoever answers faster at another of them may be anybody, and keeps nobody from the next.
///
/// # Errors
/// Nobody, or somebody who is not the one that is expected.
pub fn connect(
    own: &Own,
    who: &str,
    expect: Expect,
    at: &[SocketAddr],
    limit: Duration,
) -> Result<(Channel, SocketAddr), NotConnected> {
    let deadline = Instant::now() + limit;
    let mut left: Vec<SocketAddr> = at.iter().copied().take(MAX_SERVER_ADDRESSES).collect();
    let mut first: Option<NotConnected> = None;
    loop {
        let patience = deadline.saturating_duration_since(Instant::now());
        let (stream, address) = match (dial_first(&left, patience), first) {
            (Ok(answered), told) => {
                first = told;
                answered
            }
            // Whoever was there says more than an address where nobody is.
            (Err(_), Some(told)) => return Err(told),
            (Err(error), None) => return Err(not_there(error).into()),
        };
        left.retain(|it| *it != address);
        // Somebody who says nothing has a part of the time, if there are others.
        let patience = deadline.saturating_duration_since(Instant::now());
        let patience = if left.is_empty() { patience } else { patience / 2 };
        let verifier = Verifier::new(own.rules()?, expect.clone());
        let connected =
            tls::connect(stream, &own.credentials, &verifier, Instant::now() + patience);
        match connected {
            Ok(channel) => return Ok((channel, address)),
            Err(failure) => {
                let told = explain(own, who, &failure);
                let told =
                    first.take().filter(|it| matches!(it, NotConnected::Over(_))).unwrap_or(told);
                if left.is_empty() || Instant::now() >= deadline {
                    return Err(told);
                }
                first = Some(told);
            }
        }
    }
}

fn not_there(error: Error) -> Error {
    match error.cause {
        Cause::NothingListens => {
            error.hint("is `transfer serve` running there? the line it begins with names its port")
        }
        _ => error,
    }
}

/// Why a server is not the one, or does not let this device in.
pub fn explain(own: &Own, who: &str, failure: &Failure) -> NotConnected {
    let error = failure.error(&Who::Server(who.to_owned()), &own.called());
    match failure {
        Failure::Cut => NotConnected::Cut(error),
        failure if failure.may_pass() => NotConnected::Lost(error),
        _ => NotConnected::Over(error),
    }
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;
    use crate::error::Exit;
    use crate::net::dial::Stream;
    use crate::trust::credentials::Credentials;
    use crate::trust::device::Device;
    use crate::trust::folder::Folder;
    use crate::trust::samples::{alone, wish};
    use crate::trust::store::Via;
    use crate::trust::verifier::Rules;

    /// Whoever answers at one of a record's addresses and is another, or says nothing, keeps nobody from the server
    /// that is at the next.
    #[test]
    fn all_addresses_are_tried_for_the_one_that_is_expected() {
        let (attic, evil, laptop) =
            (alone(&wish("attic", &[])), alone(&wish("evil", &[])), alone(&wish("laptop", &[])));
        let id = attic.certificate().id;
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::new(scratch.path().join("own"));
        let own = Own::of(&folder, Device::load_or_make(&folder).unwrap().shows().clone());
        Trusted::change(&folder, |it| it.pin("attic", attic.certificate(), Via::Pair)).unwrap();
        let mut trusts = Trusted::empty();
        trusts.pin("laptop", own.credentials.certificate(), Via::Pair).unwrap();
        trusts.pin("other", laptop.certificate(), Via::Pair).unwrap();
        let rules = Rules::new(trusts, vec![], vec![], tls::provider()).unwrap();
        let (limit, long) = (Duration::from_secs(8), Duration::from_secs(30));
        let serve = |shows: Option<Credentials>| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let (at, rules) = (listener.local_addr().unwrap(), Arc::clone(&rules));
            thread::spawn(move || {
                let mut kept = vec![];
                for stream in listener.incoming().flatten() {
                    let Some(shows) = &shows else {
                        kept.push(stream);
                        continue;
                    };
                    let verifier = Verifier::new(Arc::clone(&rules), Expect::Anybody);
                    let _ =
                        tls::accept(Stream::tcp(stream), shows, &verifier, Instant::now() + long);
                }
            });
            at
        };
        let [real, impostor, silent] = [Some(attic), Some(evil), None].map(serve);
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        for (row, at) in [
            ("alone", vec![real]),
            ("behind another", vec![impostor, real]),
            ("behind one that is silent", vec![silent, real]),
            ("behind all of them", vec![closed, impostor, silent, real]),
            ("before another", vec![real, impostor]),
        ] {
            for expect in [Expect::Key("attic".into(), id), Expect::Server] {
                let (channel, found) = connect(&own, "attic", expect, &at, limit).unwrap();
                assert_eq!((channel.peer.id, found), (id, real), "{row}");
            }
        }
        // Who was there is told, and not where nobody is.
        for at in [vec![impostor], vec![impostor, closed], vec![impostor, silent]] {
            let expect = Expect::Key("attic".into(), id);
            let ended = connect(&own, "attic", expect, &at, Duration::from_secs(2));
            let Err(NotConnected::Over(error)) = ended else { panic!("{at:?}") };
            assert_eq!(error.cause, Cause::Refused, "{error}");
        }
    }

    /// What a certificate of a CA has to be for, by what was typed.
    #[test]
    fn whom_a_place_stands_for() {
        let device = alone(&wish("attic", &[]));
        let id = device.certificate().id;
        let mut trusted = Trusted::default();
        trusted.pin("attic", device.certificate(), Via::Pair).unwrap();
        let hosts = |hosts: &[&str]| Expect::Host(hosts.iter().map(ToString::to_string).collect());
        for (place, expected) in [
            ("192.168.1.9", hosts(&["192.168.1.9"])),
            ("192.168.1.9:15830", hosts(&["192.168.1.9"])),
            ("fd12::9", hosts(&["fd12::9"])),
            ("[FD12:0::9]:15830", hosts(&["fd12::9"])),
            ("nas", hosts(&["nas", "nas.local"])),
            ("nas.example.org", hosts(&["nas.example.org"])),
            ("attic", Expect::Key("attic".into(), id)),
            ("attic.local:15830", Expect::Key("attic".into(), id)),
        ] {
            let place = Place::parse(place).unwrap();
            let sought = Sought { place, choice: Choice::Local, fingerprint: None, wait: None };
            assert_eq!(sought.expect(&trusted), expected, "{sought:?}");
        }
    }

    #[test]
    fn what_a_place_is() {
        let named = |name: &str, port| Some(Place::Named(name.into(), port));
        let host = |host: &str, port| Some(Place::Host(Host::Name(host.into()), port));
        let ip = |ip: &str, port| Some(Place::Host(Host::Ip(ip.parse().unwrap()), port));
        for (text, expected) in [
            ("attic", named("attic", None)),
            ("Attic:9001", named("attic", Some(9001))),
            ("attic.local", named("attic", None)),
            ("attic (2)", named("attic (2)", None)),
            ("Béatrice's laptop", named("Béatrice's laptop", None)),
            ("attic.example.org", host("attic.example.org", None)),
            ("attic.example.org:9", host("attic.example.org", Some(9))),
            ("localhost", host("localhost", None)),
            ("192.168.1.9", ip("192.168.1.9", None)),
            ("192.168.1.9:15822", ip("192.168.1.9", Some(15822))),
            ("fd12::9", ip("fd12::9", None)),
            ("[fd12::9]:7", ip("fd12::9", Some(7))),
            ("192.168.1.300", None),
            ("a/b", None),
            ("a b:9", None),
            ("-x", None),
            ("", None),
        ] {
            let parsed = Place::parse(text);
            if let Err(error) = &parsed {
                assert_eq!(error.exit(), Exit::Usage, "{text:?}");
            }
            assert_eq!(parsed.ok(), expected, "{text:?}");
        }
    }
}
