//! Where a server listens that serves the tailnet, alone or beside the local network. Either may come up
//! after it, go and come back, and get other addresses meanwhile.
//!
//! Who may connect goes by the address of ours that somebody came to: at one of the tailnet the tailnet's own
//! check holds and no other, wherever he comes from, and at one of the local network that of the local network.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::lan::Here;
use super::{Endpoint, Listen, Reach, tailnet};
use crate::error::Result;
use crate::net::interfaces::{Choice, Interfaces, is_tailnet};
use crate::net::tailscale::watch::{Node, Watch};
use crate::ticket::Host;

/// All addresses of this machine in the tailnet, while Tailscale runs; and those of the interfaces that are
/// used, if a local network is to be served as well.
///
/// # Errors
/// The system does not tell its interfaces, or has none of a name that was asked for.
pub fn endpoint(lan: Option<&Choice>) -> Result<(Endpoint, Watch)> {
    let lan = lan.map(Here::look).transpose()?;
    let watch = Watch::begin()?;
    let listen = sockets(lan.as_ref().map_or_else(Vec::new, Here::sockets), watch.node());
    let address = listen.first().map_or(Ipv4Addr::LOCALHOST.into(), SocketAddr::ip);
    let (near, asked) = (lan.clone(), watch.clone());
    let admit = move |remote: SocketAddr, at: IpAddr| match &near {
        Some(lan) if lan.has(at) && !is_of_tailnet(at) => lan.admit(remote),
        _ => match asked.program() {
            Ok(tailscale) => tailnet::admit(&tailscale, remote),
            Err(error) => Err(error.message),
        },
    };
    let followed = watch.clone();
    let follow = move || {
        let near = lan.as_ref().map_or_else(|| Some(vec![]), Here::follow)?;
        Some(sockets(near, followed.node()))
    };
    let endpoint = Endpoint {
        listen: Listen::Tcp(listen),
        address,
        ticket: Host::Ip(address),
        elsewhere: None,
        follow: Some(Box::new(follow)),
        admit: Box::new(admit),
        reach: Reach::Tailnet,
    };
    Ok((endpoint, watch))
}

/// Whether whoever comes to this address of ours has to come from the tailnet.
pub fn is_of_tailnet(at: IpAddr) -> bool {
    is_tailnet(at) || at.to_canonical().is_loopback()
}

/// All addresses to bind, and never none: where a node has no network device, and as long as nobody is there
/// to reach, that is 127.0.0.1, where nobody is let in but whom Tailscale delivers.
fn sockets(near: Vec<SocketAddr>, node: Result<Node>) -> Vec<SocketAddr> {
    // Tailscale tells an address a moment before the system has it.
    let here = Interfaces::look(&Choice::Local).ok();
    let is_here = |ip: &IpAddr| here.as_ref().is_none_or(|it| it.has(*ip));
    sockets_among(near, node.ok(), &is_here)
}

fn sockets_among(
    near: Vec<SocketAddr>,
    node: Option<Node>,
    is_here: &dyn Fn(&IpAddr) -> bool,
) -> Vec<SocketAddr> {
    let forwarded = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut sockets: Vec<_> = near.into_iter().filter(|at| !is_of_tailnet(at.ip())).collect();
    match node {
        Some(node) if node.is_userspace => sockets.push(forwarded),
        Some(node) => {
            let own = node.addresses.into_iter().filter(is_here);
            sockets.extend(own.map(|ip| SocketAddr::new(ip, 0)));
        }
        None => {}
    }
    if sockets.is_empty() {
        sockets.push(forwarded);
    }
    sockets
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is listened at, by what there is.
    #[test]
    fn where_it_listens() {
        let node = |addresses: &[&str], is_userspace| Node {
            name: None,
            addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
            is_userspace,
        };
        let both = ["100.64.0.1", "fd7a:115c:a1e0::1"];
        for (row, near, node, expected) in [
            ("nothing yet", &[][..], None, &["127.0.0.1"][..]),
            ("a local network alone", &["10.0.0.1"], None, &["10.0.0.1"]),
            ("both", &["10.0.0.1"], Some(node(&both, false)), &["10.0.0.1", both[0], both[1]]),
            ("the tailnet alone", &[], Some(node(&both, false)), &both),
            ("without a device", &[], Some(node(&both, true)), &["127.0.0.1"]),
            ("beside it", &["10.0.0.1"], Some(node(&both, true)), &["10.0.0.1", "127.0.0.1"]),
            (
                "an address of which the system has not heard",
                &[],
                Some(node(&["100.64.0.9"], false)),
                &["127.0.0.1"],
            ),
            // `--interface tailscale0`: an address of the tailnet is that, whoever names it.
            ("named twice", &["100.64.0.1"], Some(node(&both, false)), &both),
            ("named, and nobody knows it", &["100.64.0.1"], None, &["127.0.0.1"]),
        ] {
            let near = near.iter().map(|it| SocketAddr::new(it.parse().unwrap(), 0)).collect();
            let is_here = |ip: &IpAddr| *ip != IpAddr::from([100, 64, 0, 9]);
            let sockets = sockets_among(near, node, &is_here);
            let found: Vec<String> = sockets.iter().map(|it| it.ip().to_string()).collect();
            assert_eq!(found, expected, "{row}");
        }
    }
}
