//! What the network here lets through, for who wonders why there is no direct way: each relay is entered
//! and asked as what it sees this machine, and the router whether it opens ports. Nothing is opened.
//!
//! The engine knows most of that too. It stops asking as soon as it knows enough for itself, though, and
//! the doctor is asked about every relay.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use n0_future::StreamExt;
use noq::crypto::rustls::QuicClientConfig;
use noq::{ClientConfig, EndpointConfig, PathId, TokioRuntime, TransportConfig};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::endpoint::Discovery;
use super::tried::{Obstacle, plainly};
use super::{AtRelay, Network, RelayToken, Seen, endpoint};
use crate::error::Result;
use crate::net::relay_url::RelayUrl;

/// How long a relay may take to let this side in: less than where a transfer depends on it.
const ENTER: Duration = Duration::from_secs(4);
/// How long an answer over UDP may take.
const ANSWER: Duration = Duration::from_secs(3);

/// What is spoken with who tells an address (draft-ietf-quic-address-discovery).
const DISCOVERY: &[u8] = b"/iroh-qad/0";

/// Looks at all of these relays at once, and at the router unless all of them are on this machine.
///
/// # Errors
/// The system starts no threads.
pub fn look(relays: &[RelayUrl], token: Option<&RelayToken>) -> Result<Network> {
    endpoint::runtime()?.block_on(async {
        let sockets = Sockets::open();
        let mut looks = JoinSet::new();
        for (at, relay) in relays.iter().enumerate() {
            let (relay, token, sockets) = (relay.clone(), token.cloned(), sockets.clone());
            looks.spawn(async move { (at, enter(relay, token, sockets).await) });
        }
        let openers = openers(relays);
        let (mut found, openers) = tokio::join!(looks.join_all(), openers);
        found.sort_by_key(|(at, _)| *at);
        let relays = found.into_iter().map(|(_, found)| found).collect::<Result<_>>()?;
        Ok(Network { relays, openers })
    })
}

/// From which all relays are asked: only so their answers can be compared.
#[derive(Clone)]
struct Sockets {
    ipv4: Option<noq::Endpoint>,
    ipv6: Option<noq::Endpoint>,
}

impl Sockets {
    /// A system may have no IPv6, or no IPv4. Called inside the runtime.
    fn open() -> Self {
        let open = |address: IpAddr| {
            let socket = UdpSocket::bind((address, 0)).ok()?;
            let config = EndpointConfig::default();
            noq::Endpoint::new(config, None, socket, Arc::new(TokioRuntime)).ok()
        };
        Self { ipv4: open(Ipv4Addr::UNSPECIFIED.into()), ipv6: open(Ipv6Addr::UNSPECIFIED.into()) }
    }
}

/// Enters a relay as a sender does, and asks it for this machine's address beside that.
async fn enter(
    relay: RelayUrl,
    relay_token: Option<RelayToken>,
    sockets: Sockets,
) -> Result<AtRelay> {
    let relays = vec![relay.clone()];
    let meeting = endpoint::visitor(&relays, relay_token);
    let endpoint =
        endpoint::bind(endpoint::builder(&meeting, Discovery::Never)?, None, true).await?;
    let tls = endpoint.tls_config().clone();
    let config = discovery(&tls);
    let port = endpoint::relay_config(&relay, None).and_then(|it| Some(it.quic?.port));
    let plain = spawn_blocking({
        let relay = relay.clone();
        move || plainly(&relay, &tls)
    });
    let seen = async {
        let (Some(config), Some(port)) = (config, port) else { return vec![] };
        observe(&sockets, config, &relay, port).await
    };
    let registered = timeout(ENTER, endpoint::register(&endpoint, &relays));
    let (registered, plain, seen) = tokio::join!(registered, plain, seen);
    let plain: Option<Result<Duration, Obstacle>> = plain.unwrap_or_default();
    let (by_tcp, obstacle) = match plain {
        Some(Ok(took)) => (Some(took), None),
        Some(Err(obstacle)) => (None, Some(obstacle)),
        None => (None, None),
    };
    let entered = match registered {
        Ok(registered) => registered.map(drop),
        Err(_) => Err(endpoint::not_let_in(&endpoint, &relays, obstacle.map(|it| (&relay, it)))),
    };
    endpoint.close().await;
    let round_trip = seen.iter().map(|(_, took)| *took).min().or(by_tcp);
    let seen = seen.into_iter().map(|(seen, _)| seen).collect();
    Ok(AtRelay { relay, entered, round_trip, is_asked: port.is_some(), seen })
}

/// What a relay is asked with; nothing where the cryptography does not fit, which is a fault of this program.
fn discovery(tls: &rustls::ClientConfig) -> Option<ClientConfig> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![DISCOVERY.to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).ok()?));
    let mut transport = TransportConfig::default();
    transport.receive_observed_address_reports(true);
    config.transport_config(Arc::new(transport));
    Some(config)
}

/// As what a relay sees the sockets, and how far away it is.
async fn observe(
    sockets: &Sockets,
    config: ClientConfig,
    relay: &RelayUrl,
    port: u16,
) -> Vec<(Seen, Duration)> {
    let found = timeout(ANSWER, tokio::net::lookup_host((relay.host(), port))).await;
    let addresses: Vec<SocketAddr> =
        found.ok().and_then(Result::ok).into_iter().flatten().collect();
    let one = |is_ipv4: bool| {
        let to = addresses.iter().copied().find(|it| it.is_ipv4() == is_ipv4);
        let from = if is_ipv4 { &sockets.ipv4 } else { &sockets.ipv6 };
        let config = config.clone();
        async move {
            let (from, to) = (from.as_ref()?, to?);
            timeout(ANSWER, ask(from, config, relay.host(), to)).await.ok()?
        }
    };
    let (ipv4, ipv6) = tokio::join!(one(true), one(false));
    ipv4.into_iter().chain(ipv6).collect()
}

async fn ask(
    from: &noq::Endpoint,
    config: ClientConfig,
    host: &str,
    to: SocketAddr,
) -> Option<(Seen, Duration)> {
    let connection = from.connect_with(config, to, host).ok()?.await.ok()?;
    let seen = connection.observed_external_addr().next().await?;
    let took = connection.rtt(PathId::ZERO)?;
    connection.close(0_u8.into(), b"");
    let address = SocketAddr::new(seen.ip().to_canonical(), seen.port());
    let own = SocketAddr::new(own_address(to)?, from.local_addr().ok()?.port());
    Some((Seen { by: to, address, is_own: own == address }, took))
}

/// From which address this machine sends there. No packet leaves.
fn own_address(to: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Asks the router what it can do.
async fn openers(relays: &[RelayUrl]) -> Option<Vec<&'static str>> {
    if relays.iter().all(RelayUrl::is_here) {
        return None;
    }
    let router = portmapper::Client::default();
    let Ok(Ok(answer)) = timeout(ANSWER, router.probe()).await.ok()? else { return Some(vec![]) };
    let all = [(answer.upnp, "UPnP"), (answer.pcp, "PCP"), (answer.nat_pmp, "NAT-PMP")];
    Some(all.into_iter().filter(|(is_there, _)| *is_there).map(|(_, name)| name).collect())
}
