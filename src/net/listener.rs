//! The address a sender listens on, and what to say when it cannot.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::SockRef;

use super::dial::Stream;
use crate::bounds::MAX_BACKLOG;
use crate::error::{Cause, Error, Result, reason};

/// Ports that are tried one after the other where none was asked for.
const PORTS: u16 = 100;

/// A bound port. Clones share it; [`Listener::close`] ends them all.
#[derive(Debug, Clone)]
pub struct Listener {
    socket: Arc<TcpListener>,
    address: SocketAddr,
    closed: Arc<AtomicBool>,
}

impl Listener {
    /// Binds exactly this address, never all of them.
    pub fn bind(ip: IpAddr, port: u16) -> Result<Self> {
        let socket =
            TcpListener::bind((ip, port)).map_err(|error| cannot_bind(ip, port, &error))?;
        let address = socket.local_addr().map_err(|error| cannot_bind(ip, port, &error))?;
        // Where it cannot be changed later, it stays at the 128 of the standard library.
        let _ = SockRef::from(&socket).listen(MAX_BACKLOG);
        Ok(Self { socket: Arc::new(socket), address, closed: Arc::new(AtomicBool::new(false)) })
    }

    /// Binds the port that was asked for, or else `usual` or the next one that is free.
    ///
    /// # Errors
    /// Those of `usual`, where none is.
    pub fn bind_some(ip: IpAddr, port: Option<u16>, usual: u16) -> Result<Self> {
        if let Some(port) = port {
            return Self::bind(ip, port);
        }
        let first = Self::bind(ip, usual);
        let taken = |error: &Error| error.cause == Cause::PortTaken;
        if !first.as_ref().is_err_and(taken) {
            return first;
        }
        let mut others = (1..PORTS).filter_map(|step| usual.checked_add(step));
        others.find_map(|port| Self::bind(ip, port).ok()).map_or(first, Ok)
    }

    /// The address it is bound to; the port is the system's choice when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection, or nothing once the listener is closed.
    pub fn accept(&self) -> Option<(Stream, SocketAddr)> {
        loop {
            let accepted = self.socket.accept();
            if self.closed.load(Ordering::Acquire) {
                return None;
            }
            match accepted {
                Ok((stream, remote)) => return Some((Stream::tcp(stream), remote)),
                // A connection that was reset before it was taken, or no descriptors left: it
                // passes, but must not become a busy loop.
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Wakes whoever waits in [`Listener::accept`].
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // The connection itself is the wake-up; nobody talks over it.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

fn cannot_bind(ip: IpAddr, port: u16, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let owner = port_owner(port).map_or_else(String::new, |owner| format!(" by {owner}"));
            Error::new(Cause::PortTaken, format!("port {port} is in use{owner}"))
                .hint(format!("choose another with --port, such as --port {}", other_port(port)))
        }
        io::ErrorKind::AddrNotAvailable => {
            Error::network(format!("{ip} is not an address of this machine"))
                .hint("is Tailscale up? in a container or for this machine alone use --pod")
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
    use std::net::Ipv4Addr;

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
        let next = Listener::bind_some(here, None, usual).unwrap().address().port();
        assert!((usual + 1..usual + PORTS).contains(&next), "{usual} {next}");
        let asked = Listener::bind_some(here, Some(usual), usual).unwrap_err();
        assert_eq!(asked.cause, Cause::PortTaken);
        drop(first);
        let free = Listener::bind_some(here, None, usual).unwrap();
        assert_eq!(free.address().port(), usual);
        let elsewhere = Ipv4Addr::new(192, 0, 2, 1).into();
        assert!(Listener::bind_some(elsewhere, None, usual).is_err());
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
}
