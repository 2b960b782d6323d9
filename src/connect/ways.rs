//! Which way in, or transport, a command line or a ticket means. This is the only file that names all
//! of them: this machine (`pod`), the local network (`lan`), or the tailnet. CONTRIBUTING.md says how to
//! add one.

use super::{Endpoint, Remote, lan, pod, tailnet};
use crate::error::{Error, Result};
use crate::net::interfaces::Choice;
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
}

/// Where to listen.
///
/// # Errors
/// Tailscale is needed and does not run, or this machine is in no local network.
pub fn endpoint(way: &Way) -> Result<Endpoint> {
    match way {
        Way::Tailnet => tailnet::endpoint(),
        Way::Pod => Ok(pod::endpoint()),
        Way::Lan(choice) => lan::endpoint(choice),
    }
}

/// Where to dial. A loopback address can only mean this machine, and [`lan::is_meant`] tells the
/// addresses of a local network; any other host must be a device of the tailnet.
///
/// # Errors
/// The host is not this machine though `is_pod` says so, is no device of the tailnet, or Tailscale
/// does not run.
pub fn remote(host: &Host, port: u16, is_pod: bool) -> Result<Remote> {
    match host.address() {
        Some(ip) if ip.is_loopback() => Ok(pod::remote(ip, port)),
        _ if is_pod => Err(Error::usage(format!("{host} is not this machine"))
            .hint("leave --pod away to receive from another machine")),
        Some(ip) if lan::is_meant(ip) => Ok(lan::remote(ip, port)),
        _ => tailnet::remote(host, port),
    }
}
