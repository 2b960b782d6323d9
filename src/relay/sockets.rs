//! The ports of a relay, all opened before anything is served, so that a mistake ends it at once.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::options::{Front, Limits, RelayOptions};
use crate::bounds::{MAX_BACKLOG, MAX_RELAY_HANDSHAKES};
use crate::error::{Cause, Error, Result, reason};
use crate::net::listener::cannot_bind;
use crate::open_files;

/// A TCP port.
pub struct Tcp {
    socket: TcpListener,
    /// Its address; the port is the system's choice when 0 was asked for.
    pub local: SocketAddr,
}

impl Tcp {
    /// For the runtime that this is called in.
    pub fn listener(self) -> Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::from_std(self.socket)
            .map_err(|error| Error::network(format!("cannot use the port: {}", reason(&error))))
    }
}

/// All of them.
pub struct Sockets {
    /// What clients connect to.
    pub port: Tcp,
    /// Address discovery.
    pub discovery: Option<UdpSocket>,
    /// The relay's numbers.
    pub metrics: Option<Tcp>,
}

impl Sockets {
    /// Opens what is asked for.
    ///
    /// # Errors
    /// A port is taken, or may not be used.
    pub fn open(options: &RelayOptions) -> Result<Self> {
        let (port, discovery) = match &options.front {
            Front::Plain { listen, .. } => (tcp(*listen, "--http")?, None),
            Front::Tls { bind, port, discovery, .. } => {
                let listening = everywhere(*bind, *port, "--port", tcp)?;
                let socket = everywhere(*bind, *discovery, "--discovery", udp)?;
                (listening, Some(socket))
            }
        };
        let metrics = options.metrics.map(|address| tcp(address, "--metrics")).transpose()?;
        Ok(Self { port, discovery, metrics })
    }

    /// The UDP port of address discovery.
    pub fn discovery_port(&self) -> Option<u16> {
        Some(self.discovery.as_ref()?.local_addr().ok()?.port())
    }

    /// Where the numbers are.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|metrics| metrics.local)
    }
}

/// At an address, or at all of this machine, IPv6 and IPv4.
fn everywhere<T>(
    bind: Option<IpAddr>,
    port: u16,
    option: &str,
    open: impl Fn(SocketAddr, &str) -> Result<T>,
) -> Result<T> {
    if let Some(ip) = bind {
        return open(SocketAddr::new(ip, port), option);
    }
    match open(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), option) {
        Err(error) if error.cause != Cause::PortTaken => {
            // There may be no IPv6 here.
            open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), option)
        }
        opened => opened,
    }
}

fn tcp(address: SocketAddr, option: &str) -> Result<Tcp> {
    let listen = || -> io::Result<Tcp> {
        let socket = open(address, Type::STREAM, Protocol::TCP)?;
        socket.listen(MAX_BACKLOG)?;
        let socket = TcpListener::from(socket);
        let local = socket.local_addr()?;
        Ok(Tcp { socket, local })
    };
    listen().map_err(|error| cannot(address, option, &error))
}

fn udp(address: SocketAddr, option: &str) -> Result<UdpSocket> {
    let opened = open(address, Type::DGRAM, Protocol::UDP).map(UdpSocket::from);
    opened.map_err(|error| cannot(address, option, &error))
}

/// All of IPv6 is all of IPv4 too, on Windows as well.
fn open(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    // A server that is started anew does not wait for connections of the old one to be forgotten.
    #[cfg(unix)]
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn cannot(address: SocketAddr, option: &str, error: &io::Error) -> Error {
    let said = cannot_bind(address.ip(), address.port(), error);
    match error.kind() {
        io::ErrorKind::PermissionDenied if address.port() < 1024 => said.hint(format!(
            "ports below 1024 need a right: docs/relay.md tells how to give it; or choose another with {option}"
        )),
        _ => said.hint(format!("choose another with {option}")),
    }
}

/// Each client is an open file.
pub fn allow(limits: &Limits) {
    /// For the program itself, and second handles of sockets.
    const OTHERS: usize = 3 * MAX_RELAY_HANDSHAKES;
    let wanted = limits.clients.saturating_add(OTHERS);
    // If it cannot be had, connections wait until others have gone.
    open_files::allow(u64::try_from(wanted).unwrap_or(u64::MAX));
}
