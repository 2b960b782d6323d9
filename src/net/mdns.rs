//! Who is here: servers announce themselves on the local network, and are looked for, with
//! multicast DNS (RFC 6762) and service discovery (RFC 6763). `mdns-sd` speaks it, without a daemon
//! of the system's and beside one.
//!
//! **What is found decides nothing.** Anybody on the network can announce any name, key and address.
//! A found server is a place to try, and who it is shows in its handshake alone.

mod announcement;
mod echo;
mod list;
mod record;
mod search;
mod silence;

pub use self::announcement::{Announcement, Told};
pub use self::echo::echo;
pub use self::list::{List, Server};
pub use self::record::{Record, Txt};
pub use self::search::Search;
pub use self::silence::Silence;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use mdns_sd::{IfKind, IfPredicate, MDNS_PORT, ServiceDaemon};
use socket2::{Domain, Socket, Type};

use super::interfaces::{Choice, Interfaces};
use crate::error::{Error, Result, reason, shown};

/// What is announced, and looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Service {
    /// A server that devices send to.
    #[default]
    Server,
    /// A machine that shows a token, and waits for another to be paired with.
    Pairing,
}

impl Service {
    /// What it is called in a record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "_transfer-tls._tcp.local.",
            Self::Pairing => "_transfer-pair._tcp.local.",
        }
    }
}

/// A speaker of multicast DNS on the interfaces that were chosen. Those that come later are used
/// too, by the same rules.
fn speaker(interfaces: &Interfaces, choice: &Choice) -> Result<ServiceDaemon> {
    let daemon = ServiceDaemon::new().map_err(|error| cannot_speak(&error))?;
    daemon.disable_interface(IfKind::All).map_err(|error| cannot_speak(&error))?;
    daemon.enable_interface(chosen(interfaces, choice)).map_err(|error| cannot_speak(&error))?;
    Ok(daemon)
}

/// The longest wait for how much is kept, and the time between two looks of a search at it.
const COUNTING: Duration = Duration::from_millis(500);

/// How many records and times a speaker keeps, whoever they came from.
fn kept(daemon: &ServiceDaemon) -> i64 {
    let counted = daemon.get_metrics().ok();
    let counted = counted.and_then(|counts| counts.recv_timeout(COUNTING).ok());
    let is_kept = |name: &str| name.starts_with("cached-") || name == "timer";
    let kept = counted.into_iter().flatten().filter(|(name, _)| is_kept(name));
    kept.map(|(_, count)| count).sum()
}

/// The interfaces that were chosen, as `mdns-sd` takes it.
fn chosen(interfaces: &Interfaces, choice: &Choice) -> IfKind {
    let named = match choice {
        Choice::Local => None,
        Choice::Named(_) => {
            Some(interfaces.used().map(|found| found.name.clone()).collect::<Vec<_>>())
        }
    };
    IfKind::Predicate(IfPredicate::new(move |found| match &named {
        Some(named) => named.contains(&found.name),
        None => choice_by_rule(found),
    }))
}

fn choice_by_rule(found: &if_addrs::Interface) -> bool {
    !found.is_loopback() && !found.is_p2p() && super::interfaces::by_name(&found.name).is_none()
}

/// Why nothing can be heard here, if that is so: `mdns-sd` tells of no port that it does not get.
fn deaf() -> Option<String> {
    let bind = |domain, ip: IpAddr| {
        let socket = Socket::new(domain, Type::DGRAM, None)?;
        socket.set_reuse_address(true)?;
        #[cfg(unix)]
        socket.set_reuse_port(true)?;
        socket.bind(&SocketAddr::new(ip, MDNS_PORT).into())
    };
    let v4 = bind(Domain::IPV4, Ipv4Addr::UNSPECIFIED.into()).err()?;
    bind(Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()).err()?;
    Some(match v4.kind() {
        // The second is how Windows says it.
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => {
            format!("another program has UDP port {MDNS_PORT}, and does not share it")
        }
        _ => format!("UDP port {MDNS_PORT} cannot be used: {}", reason(&v4)),
    })
}

fn cannot_speak(error: &mdns_sd::Error) -> Error {
    let message = format!("cannot use multicast DNS: {}", shown(&error.to_string()));
    Error::network(message).hint("servers can be reached by their address all the same")
}
