//! The address a sender listens on, and what to say when it cannot.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;

use super::dial::Stream;
use super::interfaces::is_tailnet;
use super::quic::{self, Caller};
use crate::bounds::MAX_BACKLOG;
use crate::error::{Cause, Error, Result, reason};

/// A bound port. Clones share it; [`Listener::close`] ends them all.
#[derive(Debug, Clone)]
pub struct Listener {
    socket: Socket,
    address: SocketAddr,
    closed: Arc<AtomicBool>,
}

/// Between two looks of whoever waits whether the listener was closed, where nothing can wake him.
const LOOK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// What is bound.
#[derive(Debug, Clone)]
enum Socket {
    Tcp(Arc<TcpListener>),
    Quic(quic::Listener),
}

impl Listener {
    /// Takes over what listens to QUIC, at all addresses of this machine.
    pub fn quic(listener: quic::Listener) -> Self {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, listener.port()));
        Self { socket: Socket::Quic(listener), address, closed: Arc::default() }
    }

    /// Binds exactly this address, never all of them.
    pub fn bind(ip: IpAddr, port: u16) -> Result<Self> {
        Self::bind_at(SocketAddr::new(ip, port)).map_err(|error| cannot_bind(ip, port, &error))
    }

    /// The same, with the link of an address that needs one.
    ///
    /// # Errors
    /// What the system says: a new IPv6 address is none for a second.
    pub fn bind_at(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address)?;
        // Who comes is waited for with an end, and may have gone again before he is accepted.
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        // Where it cannot be changed later, it stays at the 128 of the standard library.
        let _ = SockRef::from(&socket).listen(MAX_BACKLOG);
        Ok(Self { socket: Socket::Tcp(Arc::new(socket)), address, closed: Arc::default() })
    }

    /// Binds one port at all of `addresses`, whatever theirs is: the one that was asked for, or else
    /// the first of `usual` that is free at all of them.
    ///
    /// # Errors
    /// Those of the first, where none is.
    pub fn bind_each(
        addresses: &[SocketAddr],
        port: Option<u16>,
        mut usual: RangeInclusive<u16>,
    ) -> Result<Vec<Self>> {
        use io::ErrorKind::AddrNotAvailable;
        let bind = |port: u16| {
            let mut bound: Vec<Self> = Vec::new();
            for address in addresses {
                // Where the system chose one, all others have the same.
                let port = bound.first().map_or(port, |first| first.address.port());
                let mut address = *address;
                address.set_port(port);
                match Self::bind_at(address) {
                    Ok(listener) => bound.push(listener),
                    // A new IPv6 address is none for a second, and one may go at any moment.
                    Err(error) if !bound.is_empty() && error.kind() == AddrNotAvailable => {}
                    Err(error) => return Err(cannot_bind(address.ip(), port, &error)),
                }
            }
            Ok(bound)
        };
        if let Some(port) = port {
            return bind(port);
        }
        let first = bind(usual.next().unwrap_or_default());
        let taken = |error: &Error| error.cause == Cause::PortTaken;
        if !first.as_ref().is_err_and(taken) {
            return first;
        }
        usual.find_map(|port| bind(port).ok()).map_or(first, Ok)
    }

    /// The same at one address.
    pub fn bind_some(ip: IpAddr, port: Option<u16>, usual: RangeInclusive<u16>) -> Result<Self> {
        let bound = Self::bind_each(&[SocketAddr::new(ip, 0)], port, usual)?;
        bound.into_iter().next().ok_or_else(|| Error::network("there is no address to listen at"))
    }

    /// The host of the relay at which it is found, where there is one.
    pub fn relay(&self) -> Option<String> {
        match &self.socket {
            Socket::Tcp(_) => None,
            Socket::Quic(listener) => listener.relay(),
        }
    }

    /// Whether nobody new finds it at the moment, as no relay has it.
    pub fn is_away(&self) -> bool {
        match &self.socket {
            Socket::Tcp(_) => false,
            Socket::Quic(listener) => listener.is_away(),
        }
    }

    /// Why nobody comes any more, where it has not been closed.
    pub fn failure(&self) -> Option<Error> {
        match &self.socket {
            Socket::Tcp(_) => None,
            Socket::Quic(listener) => listener.failure(),
        }
    }

    /// The address it is bound to; the port is the system's choice when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection, or nothing once the listener is closed.
    pub fn accept(&self) -> Option<(Stream, Caller)> {
        let socket = match &self.socket {
            Socket::Tcp(socket) => socket,
            Socket::Quic(listener) => {
                return listener.accept().map(|(quic, caller)| (Stream::Quic(quic), caller));
            }
        };
        loop {
            let waited = poll(&mut [PollFd::new(&**socket, PollFlags::IN)], Some(&LOOK));
            if self.closed.load(Ordering::Acquire) {
                return None;
            }
            if waited == Ok(0) {
                continue;
            }
            // On other systems than Linux a connection begins as what it was accepted from.
            let accepted = socket.accept();
            match accepted.and_then(|it| it.0.set_nonblocking(false).map(|()| it)) {
                Ok((stream, remote)) => {
                    return Some((Stream::tcp(stream), Caller::Address(remote)));
                }
                // A connection that was reset before it was taken, or no descriptors left: it
                // passes, but must not become a busy loop.
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Wakes whoever waits in [`Listener::accept`], at once or within a second; the port is free after that.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        match &self.socket {
            Socket::Tcp(socket) => {
                // Where the system ends a port so, whoever waits wakes up, be the address still ours or not.
                if SockRef::from(&**socket).shutdown(Shutdown::Both).is_err() {
                    // Else the connection itself is the wake-up; nobody talks over it. It may lead elsewhere
                    // by now, where the address has gone.
                    drop(TcpStream::connect_timeout(&self.address, Duration::from_millis(100)));
                }
            }
            Socket::Quic(listener) => listener.close(),
        }
    }
}

/// What to say when an address cannot be listened at.
pub fn cannot_bind(ip: IpAddr, port: u16, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let owner = port_owner(port).map_or_else(String::new, |owner| format!(" by {owner}"));
            Error::new(Cause::PortTaken, format!("port {port} is in use{owner}"))
                .hint(format!("choose another with --port, such as --port {}", other_port(port)))
        }
        io::ErrorKind::AddrNotAvailable => Error::network(format!(
            "{ip} is not an address of this machine"
        ))
        .hint(match is_tailnet(ip) {
            true => "is Tailscale up? in a container or for this machine alone use --pod",
            false => "a new address takes a second to work: try again",
        }),
        // Ports that Windows keeps for virtual machines, or that a policy keeps from this program.
        io::ErrorKind::PermissionDenied if port >= 1024 || cfg!(windows) => {
            let look = match cfg!(windows) {
                true => "`netsh int ipv4 show excludedportrange tcp` lists what Windows keeps; ",
                false => "",
            };
            Error::new(Cause::PortTaken, format!("port {port} is not free for programs here")).hint(
                format!("{look}choose another with --port, such as --port {}", other_port(port)),
            )
        }
        io::ErrorKind::PermissionDenied => {
            Error::network(format!("not allowed to listen on port {port}"))
                .hint("ports below 1024 need root; choose another with --port")
        }
        _ => Error::network(format!("cannot listen on {ip} port {port}: {}", reason(error)))
            .hint("choose another port with --port"),
    }
}

fn other_port(port: u16) -> u16 {
    port.checked_add(1).unwrap_or(port - 1)
}

/// Which process listens on a TCP port, as far as this user may see.
#[cfg(target_os = "linux")]
pub fn port_owner(port: u16) -> Option<String> {
    use std::fs;
    const LISTENING: &str = "0A";
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let lines = tables.iter().filter_map(|table| fs::read_to_string(table).ok());
    let sockets: Vec<String> = lines
        .flat_map(|table| {
            let inodes = table.lines().skip(1).filter_map(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let (_, local) = fields.get(1)?.rsplit_once(':')?;
                let here = u16::from_str_radix(local, 16).ok()? == port;
                (here && *fields.get(3)? == LISTENING).then(|| fields.get(9).copied()).flatten()
            });
            inodes.map(|inode| format!("socket:[{inode}]")).collect::<Vec<_>>()
        })
        .collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let id: u32 = process.file_name().to_str()?.parse().ok()?;
        let mut open = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        open.any(|fd| {
            fs::read_link(fd.path())
                .is_ok_and(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()))
        })
        .then(|| {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            format!("{} (process {id})", crate::error::shown(name.trim_end()))
        })
    })
}

/// Which process listens on a TCP port: not known here.
#[cfg(not(target_os = "linux"))]
pub fn port_owner(_: u16) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;
    use std::io::{Read, Write};
    use std::net::Ipv4Addr;

    /// Some ports.
    fn from(first: u16) -> RangeInclusive<u16> {
        first..=first.saturating_add(99)
    }

    #[test]
    fn a_port_that_the_system_keeps_counts_as_taken() {
        let refused = io::ErrorKind::PermissionDenied.into();
        for (port, cause) in [
            (15820, Cause::PortTaken),
            (1023, if cfg!(windows) { Cause::PortTaken } else { Cause::Network }),
        ] {
            assert_eq!(cannot_bind(Ipv4Addr::LOCALHOST.into(), port, &refused).cause, cause);
        }
    }

    #[test]
    fn a_port_in_use_names_its_owner_and_another_port() {
        let first = Listener::bind(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
        let port = first.address().port();
        let error = Listener::bind(Ipv4Addr::LOCALHOST.into(), port).unwrap_err();
        assert_eq!(error.exit(), Exit::Network);
        if cfg!(target_os = "linux") {
            let owner = format!("port {port} is in use by ");
            assert!(error.message.starts_with(&owner), "{error}");
            let process = format!("(process {})", std::process::id());
            assert!(error.message.ends_with(&process), "{error}");
        }
        let hint = format!("choose another with --port, such as --port {}", other_port(port));
        assert_eq!(error.hint.unwrap(), hint);
    }

    #[test]
    fn the_next_port_is_taken_where_none_was_asked_for() {
        let here = Ipv4Addr::LOCALHOST.into();
        let first = Listener::bind(here, 0).unwrap();
        let usual = first.address().port();
        let next = Listener::bind_some(here, None, from(usual)).unwrap().address().port();
        assert!((usual + 1..=*from(usual).end()).contains(&next), "{usual} {next}");
        let asked = Listener::bind_some(here, Some(usual), from(usual)).unwrap_err();
        assert_eq!(asked.cause, Cause::PortTaken);
        drop(first);
        let free = Listener::bind_some(here, None, from(usual)).unwrap();
        assert_eq!(free.address().port(), usual);
        let elsewhere = Ipv4Addr::new(192, 0, 2, 1).into();
        assert!(Listener::bind_some(elsewhere, None, from(usual)).is_err());
    }

    #[test]
    fn a_range_has_an_end() {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let first = Listener::bind(here.ip(), 0).unwrap();
        let port = first.address().port();
        let error = Listener::bind_each(&[here], None, port..=port).unwrap_err();
        assert_eq!(error.cause, Cause::PortTaken);
        drop(first);
        let bound = Listener::bind_each(&[here], None, port..=port).unwrap();
        assert_eq!(bound[0].address().port(), port);
    }

    #[test]
    fn one_port_is_taken_at_all_addresses() {
        let at = |last: u8| SocketAddr::from(([127, 0, 0, last], 0));
        let all: &[SocketAddr] = match cfg!(target_os = "linux") {
            true => &[at(1), at(2), at(3)],
            false => &[at(1)],
        };
        let last = all.last().unwrap().ip();
        let taken = Listener::bind(last, 0).unwrap();
        let usual = taken.address().port();
        let bound = Listener::bind_each(all, None, from(usual)).unwrap();
        let port = bound[0].address().port();
        assert!((usual + 1..=*from(usual).end()).contains(&port), "{usual} {port}");
        let ips: Vec<_> = bound.iter().map(|bound| bound.address().ip()).collect();
        assert_eq!(ips, all.iter().map(SocketAddr::ip).collect::<Vec<_>>());
        assert!(bound.iter().all(|bound| bound.address().port() == port));
        let asked = Listener::bind_each(all, Some(usual), from(usual)).unwrap_err();
        assert_eq!(asked.cause, Cause::PortTaken);
        // An address that is gone is left out, unless it is the one to show.
        let gone = SocketAddr::from(([192, 0, 2, 1], 0));
        assert_eq!(Listener::bind_each(&[at(1), gone], Some(0), from(1)).unwrap().len(), 1);
        assert!(Listener::bind_each(&[gone, at(1)], Some(0), from(1)).is_err());
        let any = Listener::bind_each(all, Some(0), from(usual)).unwrap();
        assert!(any.iter().all(|bound| bound.address().port() == any[0].address().port()));
    }

    #[test]
    fn an_address_of_another_machine_cannot_be_bound() {
        let error = Listener::bind(Ipv4Addr::new(192, 0, 2, 1).into(), 0).unwrap_err();
        assert_eq!(error.message, "192.0.2.1 is not an address of this machine");
    }

    #[test]
    fn closing_wakes_the_one_who_waits() {
        let listener = Listener::bind(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
        let waiting = listener.clone();
        let waiter = std::thread::spawn(move || waiting.accept().is_none());
        listener.close();
        assert!(waiter.join().unwrap());
    }

    #[test]
    fn a_closed_listener_is_left_though_nothing_wakes_the_one_who_waits() {
        let listener = Listener::bind(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
        let address = listener.address();
        let closed = Arc::clone(&listener.closed);
        let waiter = std::thread::spawn(move || listener.accept().is_none());
        // As where the address has gone: no shutdown, and a connection to it would not arrive.
        closed.store(true, Ordering::Release);
        assert!(waiter.join().unwrap());
        assert!(Listener::bind_at(address).is_ok());
    }

    #[test]
    fn what_is_accepted_waits_for_its_bytes() {
        let listener = Listener::bind(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
        let mut near = TcpStream::connect(listener.address()).unwrap();
        let (mut far, caller) = listener.accept().unwrap();
        assert_eq!(caller, Caller::Address(near.local_addr().unwrap()));
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            near.write_all(b"late").map(|()| near)
        });
        let mut came = [0; 4];
        far.read_exact(&mut came).unwrap();
        assert_eq!(&came, b"late");
        writer.join().unwrap().unwrap();
    }
}
