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
    let is_userspace = tailscale.is_userspace()?;
    let admit = Box::new(move |remote: SocketAddr, _: IpAddr| admit(&tailscale, remote));
    let (listen, reach) = match is_userspace {
        true => (Ipv4Addr::LOCALHOST.into(), Reach::Userspace),
        false => (own, Reach::Tailnet),
    };
    let listen = Listen::Tcp(vec![SocketAddr::new(listen, 0)]);
    Ok(Endpoint { listen, address: own, ticket, elsewhere, follow, admit, reach })
}

/// Who comes from an address, if that is a device of the tailnet whose key has not expired.
pub(super) fn admit(tailscale: &TailscaleDetector, remote: SocketAddr) -> Result<Peer, String> {
    let is_userspace = tailscale.is_userspace().map_err(|error| error.message)?;
    if !is_userspace {
        let device = tailscale.verify_peer_ip_cached(remote.ip());
        return device.map(|it| peer(&it, remote.ip())).map_err(|error| error.message);
    }
    match tailscale.whois(remote) {
        // What is seen of it is the address of whoever forwards it.
        Ok(Some(device)) => {
            Ok(peer(&device, device.addresses.first().copied().unwrap_or(remote.ip())))
        }
        Ok(None) => Err("it does not come from the tailnet".into()),
        Err(error) => Err(error.message),
    }
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
    let (name, address) = (device.to_string(), Some(address.to_canonical()));
    Peer { tailnet: Some(name.clone()), name, address, id: Some(device.id.clone()) }
}
