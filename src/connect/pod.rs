//! Two programs of one machine, or of containers that share its network: no Tailscale is needed,
//! and only the token protects.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;

use super::{Elsewhere, Endpoint, Listen, Peer, Reach, Remote, Target, tailnet};
use crate::control;
use crate::error::Cause;
use crate::net::dial::Route;
use crate::net::tailscale::TailscaleDetector;
use crate::ticket::Host;

/// This machine only; a userspace node's peers arrive here too, and are named.
pub fn endpoint() -> Endpoint {
    let userspace: Arc<OnceLock<Option<TailscaleDetector>>> = Arc::default();
    let (tell, elsewhere) = mpsc::channel();
    let found = Arc::clone(&userspace);
    let looking = thread::Builder::new().name("tailscale".into()).spawn(move || {
        let tailscale = TailscaleDetector::find().ok();
        let tailscale = tailscale.filter(|t| t.is_userspace().unwrap_or(false));
        let own = tailscale.as_ref().and_then(|t| t.own_addresses().ok());
        let _ = found.set(tailscale);
        if let Some(address) = own.as_ref().and_then(|own| own.first()) {
            let from = "another machine of the tailnet".to_owned();
            let _ = tell.send(Elsewhere { host: Host::Ip(*address), from });
        }
    });
    drop(looking);
    let admit = move |remote: SocketAddr, _| {
        if !remote.ip().to_canonical().is_loopback() {
            return Err("only this machine may connect in pod mode".into());
        }
        // A Tailscale that answers does so at once; one that hangs holds nobody up for long.
        for _ in 0..10 {
            if userspace.get().is_some() {
                break;
            }
            thread::sleep(control::SLICE);
        }
        let tailscale = userspace.get().and_then(Option::as_ref);
        match tailscale.map(|tailscale| tailscale.whois(remote)) {
            Some(Ok(Some(device))) => Ok(tailnet::peer(&device, remote.ip())),
            Some(Err(error)) if error.cause == Cause::Refused => Err(error.message),
            _ => Ok(Peer {
                name: "a program on this machine".into(),
                address: Some(remote.ip()),
                id: None,
                tailnet: None,
            }),
        }
    };
    let here = Ipv4Addr::LOCALHOST.into();
    Endpoint {
        listen: Listen::Tcp(vec![SocketAddr::new(here, 0)]),
        address: here,
        ticket: Host::Ip(here),
        elsewhere: Some(elsewhere),
        follow: None,
        admit: Box::new(admit),
        reach: Reach::Machine,
    }
}

/// A loopback address.
pub fn remote(ip: IpAddr, port: u16) -> Remote {
    let peer = Peer { name: "this machine".into(), ..Peer::unknown(ip) };
    Remote { target: Target::Address(SocketAddr::new(ip, port), Route::Direct), peer }
}
