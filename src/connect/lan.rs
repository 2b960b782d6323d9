//! Two machines of a local network, without Tailscale: where to listen there and whom to let in,
//! and which addresses are dialled so.
//!
//! A ticket does not say which way it means: its address does. One that is private (RFC 1918, RFC
//! 4193), of one link (RFC 3927, `fe80::`) or of a network that this machine is in is dialled as it
//! is, whether Tailscale runs or not. The two ranges of Tailscale are the tailnet's, always.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use super::{Elsewhere, Endpoint, Listen, Peer, Reach, Remote, Target};
use crate::error::Result;
use crate::net::dial::Route;
use crate::net::interfaces::{Choice, Interface, Interfaces, Scope, is_tailnet};
use crate::ticket::Host;

/// All addresses of the interfaces that are used, and whoever is in their networks or has a private
/// address.
///
/// # Errors
/// Exit 5, with each interface and the reason, where none is used.
pub fn endpoint(choice: &Choice) -> Result<Endpoint> {
    let here = Here::look(choice)?;
    let interfaces = here.interfaces();
    if let Some(error) = interfaces.nothing() {
        return Err(error);
    }
    let addresses = interfaces.addresses();
    let listen = sockets(&interfaces);
    // Not empty, as an interface without an address is not used.
    let (address, first) = addresses
        .first()
        .map_or((IpAddr::V4(0.into()), ""), |(ip, interface)| (*ip, &*interface.name));
    let (tell, elsewhere) = mpsc::channel();
    for interface in interfaces.used().filter(|interface| interface.name != first) {
        if let Some(address) = interface.addresses().next() {
            let from = format!("the network of {}", crate::error::shown(&interface.name));
            // It is kept until it is asked for.
            let _ = tell.send(Elsewhere { host: Host::Ip(address), from });
        }
    }
    let reach = Reach::Local {
        used: interfaces.used().map(ToString::to_string).collect(),
        left_out: interfaces
            .left_out()
            .map(|(interface, why)| format!("{} {why}", crate::error::shown(&interface.name)))
            .collect(),
    };
    let followed = here.clone();
    Ok(Endpoint {
        listen: Listen::Tcp(listen),
        address,
        ticket: Host::Ip(address),
        elsewhere: Some(elsewhere),
        follow: Some(Box::new(move || followed.follow())),
        admit: Box::new(move |remote, _| here.admit(remote)),
        reach,
    })
}

/// The local network as it was when it was last looked at. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Here {
    choice: Choice,
    known: Arc<Mutex<Interfaces>>,
}

impl Here {
    /// Looks at the interfaces.
    ///
    /// # Errors
    /// The system does not tell, or has no interface of a name that was asked for.
    pub fn look(choice: &Choice) -> Result<Self> {
        let known = Arc::new(Mutex::new(Interfaces::look(choice)?));
        Ok(Self { choice: choice.clone(), known })
    }

    fn interfaces(&self) -> Interfaces {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All addresses to bind; none where no interface leads to a local network.
    pub fn sockets(&self) -> Vec<SocketAddr> {
        sockets(&self.interfaces())
    }

    /// Looks again, and tells the addresses to bind; nothing while the system does not tell.
    pub fn follow(&self) -> Option<Vec<SocketAddr>> {
        let interfaces = Interfaces::look(&self.choice).ok()?;
        let listen = sockets(&interfaces);
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = interfaces;
        Some(listen)
    }

    /// Whether an address is one of this machine's there.
    pub fn has(&self, ip: IpAddr) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.used().any(|interface| interface.addresses().any(|own| own == ip))
    }

    /// Whoever is in one of its networks, or has a private address.
    pub fn admit(&self, remote: SocketAddr) -> Result<Peer, String> {
        let ip = remote.ip().to_canonical();
        match self.known.lock().unwrap_or_else(PoisonError::into_inner).is_local(ip) {
            true => Ok(Peer::unknown(ip)),
            false if is_tailnet(ip) => {
                Err("it comes from a tailnet, to an address of the local network".into())
            }
            false => Err("it is neither in this local network nor at a private address".into()),
        }
    }
}

/// All addresses to bind.
fn sockets(interfaces: &Interfaces) -> Vec<SocketAddr> {
    interfaces.addresses().iter().map(|(ip, interface)| socket(*ip, interface)).collect()
}

/// An address to bind: one of a link needs its interface beside it.
fn socket(ip: IpAddr, interface: &Interface) -> SocketAddr {
    match ip {
        IpAddr::V6(v6) if Scope::of(ip) == Scope::Link => {
            SocketAddrV6::new(v6, 0, 0, interface.index).into()
        }
        _ => SocketAddr::new(ip, 0),
    }
}

/// Whether an address is dialled without Tailscale.
pub fn is_meant(ip: IpAddr) -> bool {
    is_meant_among(ip, || Interfaces::look(&Choice::Local).ok())
}

/// The same; only for an address of the internet the interfaces have to be asked for.
fn is_meant_among(ip: IpAddr, interfaces: impl FnOnce() -> Option<Interfaces>) -> bool {
    if is_tailnet(ip) || ip.to_canonical().is_loopback() {
        return false;
    }
    Scope::of(ip) != Scope::Global || interfaces().is_some_and(|known| known.is_local(ip))
}

/// A machine at an address of a local network.
pub fn remote(ip: IpAddr, port: u16) -> Remote {
    Remote {
        target: Target::Address(SocketAddr::new(ip, port), Route::Local),
        peer: Peer::unknown(ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::interfaces::Network;

    #[test]
    fn the_address_tells_the_way() {
        for (address, expected) in [
            ("192.168.1.9", true),
            ("10.1.2.3", true),
            ("172.20.1.1", true),
            ("169.254.7.7", true),
            ("fd12::9", true),
            ("fe80::9", true),
            ("100.64.1.9", false),
            ("100.101.7.12", false),
            ("fd7a:115c:a1e0::9", false),
            ("127.0.0.1", false),
            ("::1", false),
            ("203.0.113.6", true), // a campus with public addresses
            ("203.0.113.70", false),
            ("2001:db8::1", false),
        ] {
            let campus = Network { address: [203, 0, 113, 5].into(), prefix: 28 };
            let interfaces = || Some(Interfaces::of("eth0", 2, &[campus]));
            let found = is_meant_among(address.parse().unwrap(), interfaces);
            assert_eq!(found, expected, "{address}");
        }
    }
}
