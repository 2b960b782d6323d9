//! The laboratory itself: its gateways are of the kinds that they are said to be, which plain UDP tells.

use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context, Result};
use iroh_relay::quic::QuicClient;
use iroh_relay::tls::{CaTlsConfig, default_provider};
use n0_future::StreamExt;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::relay::Relay;
use super::stage::{Internet, Nat};
use super::util::process::LIMIT;

/// A machine on the internet that tells whoever asks as which address it sees it.
struct Mirror(UdpSocket);

impl Mirror {
    fn new(internet: &Internet, address: &str) -> Result<Self> {
        Ok(Self(internet.udp("net", address)?))
    }

    fn address(&self) -> Result<SocketAddr> {
        Ok(self.0.local_addr()?)
    }

    /// As which address it sees a socket; nothing when nothing comes.
    fn sees(&self, socket: &UdpSocket) -> Result<Option<SocketAddr>> {
        socket.send_to(b"who am I", self.address()?)?;
        let Some((_, seen)) = next(&self.0) else { return Ok(None) };
        self.0.send_to(seen.to_string().as_bytes(), seen)?;
        let (said, from) = next(socket).context("no answer")?;
        assert_eq!((said, from), (seen.to_string(), self.address()?));
        Ok(Some(seen))
    }
}

fn next(socket: &UdpSocket) -> Option<(String, SocketAddr)> {
    let mut buffer = [0; 100];
    let (len, from) = socket.recv_from(&mut buffer).ok()?;
    Some((String::from_utf8_lossy(&buffer[..len]).into_owned(), from))
}

#[test]
fn each_nat_is_of_its_kind() -> Result<()> {
    // Whether it has one port for all, and lets strangers in.
    for (nat, one_port, strangers) in
        [(Nat::Cone, true, false), (Nat::Full, true, true), (Nat::Symmetric, false, false)]
    {
        let Some(internet) = Internet::new(nat, Nat::Blocked)? else { return Ok(()) };
        let one = Mirror::new(&internet, "203.0.113.1:3478")?;
        let other = Mirror::new(&internet, "203.0.113.2:3479")?;
        let host = internet.udp("a", "10.1.0.2:40000")?;
        let seen = one.sees(&host)?.context("nothing comes out")?;
        assert_eq!(seen.ip().to_string(), "203.0.113.11", "{nat:?}");
        let by_other = other.sees(&host)?.context("nothing comes out")?;
        assert_eq!(seen == by_other, one_port, "{nat:?}: {seen} {by_other}");
        let stranger = internet.udp("net", "203.0.113.2:5000")?;
        stranger.send_to(b"hello", seen)?;
        assert_eq!(next(&host).is_some(), strangers, "{nat:?}");
        // What was sent to answers, however strange it was before.
        host.send_to(b"knock", stranger.local_addr()?)?;
        let (_, knock) = next(&stranger).context("no knock")?;
        stranger.send_to(b"hello", knock)?;
        assert_eq!(next(&host).context("no answer")?.0, "hello");
        let blocked = internet.udp("b", "10.2.0.2:40000")?;
        assert_eq!(one.sees(&blocked)?, None);
    }
    Ok(())
}

/// Both sides learn their addresses, and send to each other, twice: the first packets open the gateways.
#[test]
fn holes_are_punched_where_they_can_be() -> Result<()> {
    use Nat::{Blocked, Cone, Full, Symmetric};
    for (a, b, works) in [
        (Cone, Cone, true),
        (Cone, Full, true),
        (Full, Full, true),
        (Full, Symmetric, true),
        (Cone, Symmetric, false),
        (Symmetric, Symmetric, false),
        (Cone, Blocked, false),
    ] {
        let Some(internet) = Internet::new(a, b)? else { return Ok(()) };
        let mirror = Mirror::new(&internet, "203.0.113.1:3478")?;
        let one = internet.udp("a", "10.1.0.2:40000")?;
        let other = internet.udp("b", "10.2.0.2:40000")?;
        let (Some(seen_one), seen_other) = (mirror.sees(&one)?, mirror.sees(&other)?) else {
            panic!("{a:?}: nothing comes out");
        };
        let Some(seen_other) = seen_other else {
            assert!(!works && b == Blocked);
            continue;
        };
        for _ in 0..2 {
            one.send_to(b"from a", seen_other)?;
            other.send_to(b"from b", seen_one)?;
        }
        // Where an answer comes from is where to send to, whatever the mirror said.
        let met = match (next(&one), next(&other)) {
            (Some(_), Some(_)) => true,
            (Some((_, from)), None) => {
                one.send_to(b"answer", from)?;
                next(&other).is_some()
            }
            (None, Some((_, from))) => {
                other.send_to(b"answer", from)?;
                next(&one).is_some()
            }
            (None, None) => false,
        };
        assert_eq!(met, works, "{a:?} and {b:?}");
    }
    Ok(())
}

#[test]
fn ipv6_is_behind_firewalls_and_without_nat() -> Result<()> {
    let Some(internet) = Internet::new(Nat::Symmetric, Nat::Symmetric)? else { return Ok(()) };
    let internet = internet.with_ipv6()?;
    let mirror = Mirror::new(&internet, "[2001:db8::1]:3478")?;
    let one = internet.udp("a", "[2001:db8:1::2]:40000")?;
    let other = internet.udp("b", "[2001:db8:2::2]:40000")?;
    assert_eq!(mirror.sees(&one)?, Some(one.local_addr()?));
    other.send_to(b"unasked", one.local_addr()?)?;
    assert_eq!(next(&one), None);
    one.send_to(b"from a", other.local_addr()?)?;
    assert_eq!(next(&other).context("the way is open")?.0, "from a");
    Ok(())
}

/// Address discovery tells a host what the mirror above does, also after the relay was started anew.
#[test]
fn a_relay_tells_a_host_its_outside_address() -> Result<()> {
    let Some(internet) = Internet::new(Nat::Cone, Nat::Full)? else { return Ok(()) };
    let mut relay = Relay::start(&internet, "203.0.113.1", &[])?;
    relay.kill()?;
    relay.restart(&[])?;
    for (host, address, outside) in
        [("a", "10.1.0.2:40000", "203.0.113.11"), ("b", "10.2.0.2:40000", "203.0.113.12")]
    {
        let socket = internet.udp(host, address)?;
        socket.set_nonblocking(true)?;
        let config = CaTlsConfig::custom_roots([relay.der.clone().into()])
            .client_config(default_provider())?;
        let seen = Runtime::new()?.block_on(async {
            let config_of_it = noq::EndpointConfig::default();
            let runtime = std::sync::Arc::new(noq::TokioRuntime);
            let endpoint = noq::Endpoint::new(config_of_it, None, socket, runtime)?;
            let client = QuicClient::new(endpoint, config);
            let server = SocketAddr::from(([203, 0, 113, 1], 7842));
            let connection = client.create_conn(server, "203.0.113.1").await?;
            let mut seen = connection.observed_external_addr();
            timeout(LIMIT, seen.next()).await?.context("no address")
        })?;
        assert_eq!(seen.to_string(), format!("{outside}:40000"));
    }
    Ok(())
}
