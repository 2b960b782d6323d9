//! Where a sender listens: on its Tailscale address, or on this machine only.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;

use super::acceptor::{Admit, Who};
use crate::control;
use crate::error::{Exit, Result};
use crate::net::tailscale::{Peer, TailscaleDetector};
use crate::ticket::Host;
use crate::ui::Ui;

/// Where to listen, what to show, and whom to let in.
pub struct Endpoint {
    /// To bind.
    pub listen: IpAddr,
    /// To show.
    pub ticket: Host,
    /// Tells another address under which the same socket is reached, if there is one.
    pub elsewhere: Option<mpsc::Receiver<IpAddr>>,
    /// Who may connect.
    pub admit: Box<Admit>,
}

impl Endpoint {
    /// Finds the own address; with `pod` no Tailscale is needed.
    pub fn find(pod: bool, ui: &Ui) -> Result<Self> {
        if pod { Ok(Self::pod(ui)) } else { Self::tailnet(ui) }
    }

    /// This machine only; a userspace node's peers arrive here too, and are named.
    fn pod(ui: &Ui) -> Self {
        ui.note("pod mode: any program on this machine may connect; only the token protects");
        let userspace: Arc<OnceLock<Option<TailscaleDetector>>> = Arc::default();
        let (tell, elsewhere) = mpsc::channel();
        let found = Arc::clone(&userspace);
        let looking = thread::Builder::new().name("tailscale".into()).spawn(move || {
            let tailscale = TailscaleDetector::find().ok();
            let tailscale = tailscale.filter(|t| t.is_userspace().unwrap_or(false));
            let own = tailscale.as_ref().and_then(|t| t.own_addresses().ok());
            let _ = found.set(tailscale);
            if let Some(address) = own.as_ref().and_then(|own| own.first()) {
                let _ = tell.send(*address);
            }
        });
        drop(looking);
        let admit = move |remote: SocketAddr| {
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
                Some(Ok(Some(peer))) => Ok(who(&peer)),
                Some(Err(error)) if error.exit == Exit::Refused => Err(error.message),
                _ => Ok(Who { name: "a program on this machine".into(), device: None }),
            }
        };
        let here = Ipv4Addr::LOCALHOST.into();
        Self {
            listen: here,
            ticket: Host::Ip(here),
            elsewhere: Some(elsewhere),
            admit: Box::new(admit),
        }
    }

    fn tailnet(ui: &Ui) -> Result<Self> {
        let tailscale = Arc::new(TailscaleDetector::find()?);
        let own = tailscale.own_addresses()?;
        let listen = own.first().copied().unwrap_or(Ipv4Addr::LOCALHOST.into());
        let name = tailscale.own_name()?;
        let ticket = match name.as_deref().and_then(Host::parse_name) {
            Some(name) => {
                ui.detail(&format!("{name} is {listen}; a ticket with the address works as well"));
                Host::Name(name)
            }
            None => Host::Ip(listen),
        };
        if tailscale.is_userspace()? {
            ui.note("this node has no network device: tailscaled delivers to 127.0.0.1");
            let admit = move |remote: SocketAddr| match tailscale.whois(remote) {
                Ok(Some(peer)) => Ok(who(&peer)),
                Ok(None) => Err("it does not come from the tailnet".into()),
                Err(error) => Err(error.message),
            };
            let listen = Ipv4Addr::LOCALHOST.into();
            return Ok(Self { listen, ticket, elsewhere: None, admit: Box::new(admit) });
        }
        let admit = move |remote: SocketAddr| match tailscale.verify_peer_ip_cached(remote.ip()) {
            Ok(peer) => Ok(who(&peer)),
            Err(error) => Err(error.message),
        };
        Ok(Self { listen, ticket, elsewhere: None, admit: Box::new(admit) })
    }
}

/// A device of the tailnet.
fn who(peer: &Peer) -> Who {
    Who { name: peer.to_string(), device: Some(peer.id.clone()) }
}
