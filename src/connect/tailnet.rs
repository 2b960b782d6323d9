//! Two devices of a tailnet: where to listen there and whom to let in, and how to dial one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::{Endpoint, Listen, Peer, Reach, Remote, Target};
use crate::error::Result;
use crate::net::dial::Route;
use crate::net::tailscale::{self, TailscaleDetector};
use crate::ticket::Host;

/// This machine's own address there, and whoever is a device of it.
///
/// # Errors
/// Tailscale does not run.
pub fn endpoint() -> Result<Endpoint> {
    let tailscale = Arc::new(TailscaleDetector::find()?);
    let own = tailscale.own_addresses()?;
    let own = own.first().copied().unwrap_or(Ipv4Addr::LOCALHOST.into());
    let name = tailscale.own_name()?;
    let ticket = name.as_deref().and_then(Host::parse_name).map_or(Host::Ip(own), Host::Name);
    let (elsewhere, follow) = (None, None);
    if tailscale.is_userspace()? {
        let admit = move |remote: SocketAddr| match tailscale.whois(remote) {
            Ok(Some(device)) => Ok(peer(&device, remote.ip())),
            Ok(None) => Err("it does not come from the tailnet".into()),
            Err(error) => Err(error.message),
        };
        let listen = Listen::Tcp(vec![(Ipv4Addr::LOCALHOST, 0).into()]);
        let admit = Box::new(admit);
        let reach = Reach::Userspace;
        return Ok(Endpoint { listen, address: own, ticket, elsewhere, follow, admit, reach });
    }
    let admit = move |remote: SocketAddr| match tailscale.verify_peer_ip_cached(remote.ip()) {
        Ok(device) => Ok(peer(&device, remote.ip())),
        Err(error) => Err(error.message),
    };
    let (admit, reach) = (Box::new(admit), Reach::Tailnet);
    let listen = Listen::Tcp(vec![SocketAddr::new(own, 0)]);
    Ok(Endpoint { listen, address: own, ticket, elsewhere, follow, admit, reach })
}

/// The device that a host names, and the way there.
///
/// # Errors
/// No device has that name or address, or Tailscale does not run.
pub fn remote(host: &Host, port: u16) -> Result<Remote> {
    let tailscale = TailscaleDetector::find()?;
    let (ip, device) = find(host, &tailscale)?;
    let route = Route::from_env(&tailscale)?;
    let target = Target::Address(SocketAddr::new(ip, port), route);
    Ok(Remote { target, peer: peer(&device, ip) })
}

/// The device that a host names, and its address.
///
/// # Errors
/// There is none, or Tailscale does not answer.
pub fn find(host: &Host, tailscale: &TailscaleDetector) -> Result<(IpAddr, tailscale::Peer)> {
    let ip = match host.address() {
        Some(ip) => ip,
        None => tailscale.address_of(&host.to_string())?,
    };
    Ok((ip, tailscale.verify_peer_ip_cached(ip)?))
}

/// A device as a peer, at this address.
pub fn peer(device: &tailscale::Peer, address: IpAddr) -> Peer {
    Peer { name: device.to_string(), address: Some(address), id: Some(device.id.clone()) }
}
