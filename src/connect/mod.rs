//! From an address to an authenticated connection. Who sends and who receives over it, nothing
//! here knows; nor messages, nor `Ui`: what happens is told by values and callbacks.
//!
//! This file has the nouns. [`ways`] is the only one that names all ways by which two machines
//! meet; each way has a file of its own.

pub mod acceptor;
pub mod around;
pub mod connector;
pub mod devices;
pub mod direct;
pub mod far;
pub mod handshake;
pub mod lan;
pub mod place;
mod pod;
pub mod redial;
pub mod secured;
mod served;
pub mod servers;
pub mod tailnet;
pub mod ways;

use std::fmt;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use crate::bounds::DRAWS;
use crate::crypto::keys::SessionKeys;
use crate::crypto::record::Protection;
use crate::error::{Cause, Error, Result, shown};
use crate::net::dial::{Route, Stream, dial};
use crate::net::listener::Listener;
use crate::net::plate::Plate;
use crate::net::quic::{self, Dialler, Meeting, Paths};
use crate::net::relay_url::RelayUrl;
use crate::net::tls::Channel;
use crate::ticket::Host;
use crate::trust::verifier;

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// To be shown: escaped already.
    pub name: String,
    /// Where it connects from, or is dialled; behind a proxy that is the proxy's. Nothing where a way has
    /// no addresses.
    pub address: Option<IpAddr>,
    /// What tells it from all others, where more is known of it than an address: in a tailnet the
    /// stable id of the device.
    pub id: Option<String>,
    /// The device of the tailnet that it comes from, as the tailnet calls it, escaped already.
    pub tailnet: Option<String>,
}

impl Peer {
    /// Somebody of whom only the address is known.
    pub fn unknown(address: IpAddr) -> Self {
        Self { name: address.to_string(), address: Some(address), id: None, tailnet: None }
    }

    /// Somebody whose address a relay keeps.
    pub fn relayed(host: &str) -> Self {
        let name = format!("somebody through the relay {}", shown(host));
        Self { name, address: None, id: None, tailnet: None }
    }

    /// Where it is: its address, or its name where it has none.
    pub fn place(&self) -> String {
        self.address.map_or_else(|| self.name.clone(), |address| address.to_string())
    }

    /// The same, with the device of the tailnet that it comes from.
    pub fn origin(&self) -> String {
        let tailnet = self.tailnet.as_deref().map_or_else(String::new, |it| format!(", {it}"));
        self.place() + &tailnet
    }
}

/// A peer that has proved itself, and a way to talk to it.
pub struct Connection {
    /// The way in. A read that gets nothing for a while fails with
    /// [`TimedOut`](std::io::ErrorKind::TimedOut) and is
    /// to be tried again for as long as there is hope.
    pub reader: Box<dyn Read + Send>,
    /// The way out; the same holds for a write that gets nothing away.
    pub writer: Box<dyn Write + Send>,
    /// Ends both.
    pub closer: Arc<Closer>,
    /// What protects the records of this connection.
    pub protection: Protection,
    /// Names it in logs and lock files: the same on both sides where a token's handshake made it.
    pub session: [u8; 16],
    /// Who it is.
    pub peer: Peer,
    /// What a device that is trusted has shown, to be judged again when the list changes.
    pub device: Option<Box<verifier::Peer>>,
    /// By which ways it goes, where there may be several.
    pub paths: Option<Paths>,
}

impl Connection {
    /// Over a byte stream whose handshake is done.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn new(stream: Stream, keys: SessionKeys, peer: Peer) -> Result<Self> {
        let (reader, writer) = stream.halves()?;
        let paths = stream.paths();
        let closer = Arc::new(Closer::new(move || stream.shutdown()));
        let (session, protection) = (keys.session_id, Protection::Sealed(keys));
        let (reader, writer) = (Box::new(reader), Box::new(writer));
        Ok(Self { reader, writer, closer, protection, session, peer, device: None, paths })
    }

    /// Inside a channel whose two ends know each other, to somebody of whom this was known before.
    pub fn carried(channel: Channel, before: Peer) -> Self {
        let Channel { reader, writer, closer, peer: device, watch: _ } = channel;
        let name = shown(&device.name).into_owned();
        let peer = Peer { name, id: Some(device.id.to_string()), ..before };
        Self {
            reader: Box::new(reader),
            writer: Box::new(writer),
            closer: Arc::new(Closer::new(move || closer.shutdown())),
            protection: Protection::Carried,
            session: rand::random(),
            peer,
            device: Some(Box::new(device)),
            paths: None,
        }
    }
}

/// Ends a connection when it goes, whoever else is reading or writing.
pub struct Closer(Box<dyn Fn() + Send + Sync>);

impl Closer {
    /// By these means, which may be called more than once.
    pub fn new(close: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Box::new(close))
    }

    /// Ends it now.
    pub fn close(&self) {
        (self.0)();
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Closer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closer")
    }
}

/// Why there is no connection, or none any more: what [`redial`] decides by.
#[derive(Debug)]
pub enum NotConnected {
    /// The other side serves somebody else, perhaps the connection of a moment ago.
    Busy(Error),
    /// It was closed before the other side said anything: it may not be wanted, or crowded out by
    /// others. No token can have been tested on it.
    Cut(Error),
    /// The machine refuses it: nothing listens there.
    Refused(Error),
    /// It cannot be had, or broke off, and that may pass.
    Lost(Error),
    /// Everything crossed, but the other side has not said that it knows.
    Unconfirmed(Error),
    /// Another would end in the same way.
    Over(Error),
}

impl NotConnected {
    /// As the user reads it.
    pub fn into_error(self) -> Error {
        match self {
            Self::Busy(error)
            | Self::Cut(error)
            | Self::Refused(error)
            | Self::Lost(error)
            | Self::Unconfirmed(error)
            | Self::Over(error) => error,
        }
    }
}

impl From<Error> for NotConnected {
    fn from(error: Error) -> Self {
        match error.cause {
            Cause::Network
            | Cause::NotInstalled
            | Cause::Unreachable
            | Cause::PeerStopped
            | Cause::PortTaken => Self::Lost(error),
            Cause::NothingListens => Self::Refused(error),
            Cause::Unconfirmed => Self::Unconfirmed(error),
            // Nobody has that name; no wait mends a slip.
            Cause::UnknownName
            | Cause::Failure
            | Cause::Usage
            | Cause::Refused
            | Cause::WrongToken
            | Cause::PeerLeft
            | Cause::PeerCannot
            | Cause::Declined
            | Cause::Interrupted => Self::Over(error),
        }
    }
}

/// Where to listen, what the ticket shows, and whom to let in.
pub struct Endpoint {
    /// What to bind.
    pub listen: Listen,
    /// The address by which others know this machine, where that is another.
    pub address: IpAddr,
    /// To show.
    pub ticket: Host,
    /// Tells other addresses under which the same offer is reached, if there are some.
    pub elsewhere: Option<Receiver<Elsewhere>>,
    /// Where to listen from now on, for whoever stays while addresses come and go; nothing where they
    /// do not.
    pub follow: Option<Box<Follow>>,
    /// Who may connect.
    pub admit: Box<Admit>,
    /// Who can reach it.
    pub reach: Reach,
}

/// What an endpoint binds.
#[derive(Debug)]
pub enum Listen {
    /// TCP at these addresses, whatever their port says; never empty.
    Tcp(Vec<SocketAddr>),
    /// QUIC, to be found there.
    Quic(Meeting),
}

impl Endpoint {
    /// Binds the port that was asked for, or else the first of `usual` that is free. Tells which. A plate
    /// that is somebody else's is drawn again, and the ticket has the new one.
    ///
    /// # Errors
    /// It is taken, or no relay answers.
    pub fn bind(
        &mut self,
        port: Option<u16>,
        usual: RangeInclusive<u16>,
    ) -> Result<(Vec<Listener>, u16)> {
        let first = *usual.start();
        let listeners = match &mut self.listen {
            Listen::Tcp(addresses) => Listener::bind_each(addresses, port, usual)?,
            Listen::Quic(meeting) => {
                let mut left = DRAWS;
                let listener = loop {
                    match quic::Listener::open(meeting, port, usual.clone())? {
                        Some(listener) => break listener,
                        // Of 60 million somebody has the one that was drawn, again and again.
                        None if left == 0 => {
                            return Err(Error::network(
                                "the relay answers for whomever it is asked",
                            )
                            .hint("it is none to be trusted: name another with --relay"));
                        }
                        None => left -= 1,
                    }
                    meeting.plate = Plate::generate()?;
                    if let Host::Relay { plate, .. } = &mut self.ticket {
                        plate.clone_from(&meeting.plate);
                    }
                };
                vec![Listener::quic(listener)]
            }
        };
        let port = listeners.first().map_or(first, |listener| listener.address().port());
        Ok((listeners, port))
    }
}

/// Another address of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// To show.
    pub host: Host,
    /// From where it is reached, in words that are safe to show: `another machine of the tailnet`.
    pub from: String,
}

/// Who can reach an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Any program on this machine.
    Machine,
    /// The devices of the tailnet.
    Tailnet,
    /// The same, by way of a Tailscale that has no network device.
    Userspace,
    /// Anybody who finds it.
    Internet {
        /// At which relays; none where an address is all there is.
        relays: Vec<RelayUrl>,
    },
    /// The machines of the local network.
    Local {
        /// The interfaces, with their addresses.
        used: Vec<String>,
        /// The others, and why.
        left_out: Vec<String>,
    },
}

/// Tells who is at an address, or why it may not connect to this one of ours. Runs before a byte is written.
pub type Admit = dyn Fn(SocketAddr, IpAddr) -> Result<Peer, String> + Send + Sync;

/// Tells where to listen now, whatever port it says; nothing while the system does not tell. Who may
/// connect goes by what was told last.
pub type Follow = dyn FnMut() -> Option<Vec<SocketAddr>> + Send;

/// Where to dial.
#[derive(Debug)]
pub struct Remote {
    /// By which way.
    pub target: Target,
    /// Who should be there.
    pub peer: Peer,
}

/// The way to somebody.
#[derive(Debug)]
pub enum Target {
    /// An address and a port, and the route there.
    Address(SocketAddr, Route),
    /// Wherever the other side is found.
    Quic(Dialler),
}

impl Target {
    /// Connects within `limit`.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn dial(&self, limit: Duration) -> Result<Stream> {
        match self {
            Self::Address(address, route) => dial(*address, route, limit),
            Self::Quic(dialler) => dialler.dial(limit).map(Stream::Quic),
        }
    }
}
