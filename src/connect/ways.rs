//! Which way in, or transport, a command line or a ticket means. This is the only file that names all
//! of them: this machine (`pod`), the local network (`lan`), the tailnet, or any two networks (`direct`).
//! CONTRIBUTING.md says how to add one.

use std::net::SocketAddr;

use super::direct::{self, Direct};
use super::{Endpoint, Remote, lan, pod, served, tailnet};
use crate::error::{Error, Result};
use crate::net::interfaces::Choice;
use crate::net::tailscale::watch::Watch;
use crate::ticket::Host;

/// A way that a command line names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Way {
    /// The tailnet.
    #[default]
    Tailnet,
    /// This machine only, without Tailscale.
    Pod,
    /// The local network, without Tailscale, on these interfaces.
    Lan(Choice),
    /// The local network on these interfaces, and the tailnet beside it.
    LanAndTailnet(Choice),
    /// Any two networks, directly or through a relay.
    Direct(Direct),
}

/// Where to listen.
///
/// # Errors
/// Tailscale is needed and does not run, this machine is in no local network, or a relay is named that
/// is none.
pub fn endpoint(way: &Way) -> Result<Endpoint> {
    match way {
        Way::Tailnet => tailnet::endpoint(),
        Way::Pod => Ok(pod::endpoint()),
        Way::Lan(choice) => lan::endpoint(choice),
        Way::LanAndTailnet(choice) => served::endpoint(Some(choice)).map(|(endpoint, _)| endpoint),
        Way::Direct(direct) => direct::endpoint(direct),
    }
}

/// Where to listen for whoever stays: a tailnet is waited for, and followed.
///
/// # Errors
/// As those of [`endpoint`], but for a Tailscale that does not run.
pub fn served(way: &Way) -> Result<(Endpoint, Option<Watch>)> {
    let both = |lan| served::endpoint(lan).map(|(endpoint, watch)| (endpoint, Some(watch)));
    match way {
        Way::Tailnet => both(None),
        Way::LanAndTailnet(choice) => both(Some(choice)),
        Way::Pod | Way::Lan(_) | Way::Direct(_) => Ok((endpoint(way)?, None)),
    }
}

/// What the command line says about dialling.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dial {
    /// Nobody but this machine is meant.
    pub is_pod: bool,
    /// Nobody but a device of the tailnet is meant.
    pub is_tailnet: bool,
    /// Which relays, where the ticket needs one.
    pub direct: Direct,
}

/// Where to dial. A loopback address can only mean this machine, and [`lan::is_meant`] tells the
/// addresses of a local network; a plate, or an address for QUIC, is dialled as the ticket says; any other
/// host must be a device of the tailnet.
///
/// # Errors
/// The host is not this machine though `is_pod` says so, is no device of the tailnet, or Tailscale
/// does not run; or the command line speaks of a relay, and the ticket needs none.
pub fn remote(host: &Host, port: u16, dial: &Dial) -> Result<Remote> {
    let is_here = host.address().is_some_and(|ip| ip.is_loopback());
    match host {
        Host::Relay { .. } => {}
        Host::Udp(_) => direct::without_relay(&dial.direct, false)?,
        Host::Ip(_) | Host::Name(_) => direct::without_relay(&dial.direct, is_here)?,
    }
    match (host, host.address()) {
        (Host::Ip(_) | Host::Name(_), _) if dial.is_tailnet => tailnet::remote(host, port),
        (Host::Ip(_) | Host::Name(_), Some(ip)) if ip.is_loopback() => Ok(pod::remote(ip, port)),
        _ if dial.is_pod => Err(Error::usage(format!("{host} is not this machine"))
            .hint("leave --pod away to receive from another machine")),
        (Host::Relay { plate, relays }, _) => direct::remote(plate, relays, &dial.direct),
        (Host::Udp(ip), _) => direct::remote_at(SocketAddr::new(*ip, port)),
        (_, Some(ip)) if lan::is_meant(ip) => Ok(lan::remote(ip, port)),
        _ => tailnet::remote(host, port),
    }
}
