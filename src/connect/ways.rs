//! Which way in, or transport, a command line or a ticket means. This is the only file that names all
//! of them: this machine (`pod`), or the tailnet. CONTRIBUTING.md says how to add one.

use std::net::IpAddr;

use super::{Endpoint, Remote, pod, tailnet};
use crate::error::{Error, Result};
use crate::ticket::Host;

/// Where to listen; with `is_pod` on this machine only, without Tailscale.
///
/// # Errors
/// Tailscale is needed, and does not run.
pub fn endpoint(is_pod: bool) -> Result<Endpoint> {
    if is_pod { Ok(pod::endpoint()) } else { tailnet::endpoint() }
}

/// Where to dial. A loopback address can only mean this machine; any other must be a device of the
/// tailnet.
///
/// # Errors
/// The host is not this machine though `is_pod` says so, is no device of the tailnet, or Tailscale
/// does not run.
pub fn remote(host: &Host, port: u16, is_pod: bool) -> Result<Remote> {
    match host.address().filter(IpAddr::is_loopback) {
        Some(ip) => Ok(pod::remote(ip, port)),
        None if is_pod => Err(Error::usage(format!("{host} is not this machine"))
            .hint("leave --pod away to receive from another machine")),
        None => tailnet::remote(host, port),
    }
}
