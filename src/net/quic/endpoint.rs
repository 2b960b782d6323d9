//! The endpoint of this process in the network: its key, its relays, its sockets.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use iroh::dns::DnsResolver;
use iroh::endpoint::{
    BindOpts, Builder, IdleTimeout, PortmapperConfig, QuicTransportConfig, VarInt, presets,
};
use iroh::tls::CaTlsConfig;
use iroh::{
    Endpoint, EndpointAddr, RelayConfig, RelayMap, RelayMode, SecretKey, TransportAddr, Watcher,
};
use rustls::pki_types::CertificateDer;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::losses::Patient;
use super::tried::{Obstacle, obstacle};
use super::{Meeting, RelayToken, path, warnings};
use crate::bounds::{
    MAX_PEM, MAX_QUIC_STRIPES, QUIC_STREAM_WINDOW, QUIC_WINDOW, REGISTER_LIMIT, STRANGER_WINDOW,
};
use crate::control;
use crate::error::{Cause, Error, Result, reason, shown_claim};
use crate::net::plate::Plate;
use crate::net::relay_url::RelayUrl;

/// What is spoken inside (RFC 7301): the protocol, and its version.
pub const ALPN: &[u8] = b"transfer/2";

/// A connection without a packet for so long is lost.
const IDLE: Duration = Duration::from_secs(30);
/// A way without one is left for another…
const PATH_IDLE: Duration = Duration::from_secs(6);
/// …and one that works has one so often.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// A place at a relay that takes longer is worth a look at what is in the way…
const SLOW: Duration = Duration::from_secs(3);
/// …which may take so long: a name server, and then the relay.
const TRY_LIMIT: Duration = Duration::from_secs(5);

/// Where extra certificates are that this user trusts, as for OpenSSL.
const CERTIFICATES: &str = "SSL_CERT_FILE";

/// The runtime of this process.
pub fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let made = builder.worker_threads(1).thread_name("quic").enable_all().build();
    let made = made.map_err(|error| Error::no_thread(&error))?;
    warnings::listen();
    Ok(RUNTIME.get_or_init(|| made))
}

/// When relays are asked as which address they see this side, over UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discovery {
    /// Before a place is taken at one of them. Where UDP gets no answer that waits for 3 s.
    First,
    /// Never: nobody is to find a way here.
    Never,
}

/// What an endpoint needs to know before it is bound.
pub fn builder(meeting: &Meeting, discovery: Discovery) -> Result<Builder> {
    let window = VarInt::from_u32(QUIC_STREAM_WINDOW);
    let idle = IdleTimeout::try_from(IDLE).ok();
    let transport = QuicTransportConfig::builder()
        .stream_receive_window(window)
        .receive_window(VarInt::from_u32(STRANGER_WINDOW))
        .send_window(u64::from(QUIC_WINDOW))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(u32::from(MAX_QUIC_STRIPES) - 1))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(idle)
        .default_path_max_idle_timeout(PATH_IDLE)
        .default_path_keep_alive_interval(KEEP_ALIVE)
        .congestion_controller_factory(Arc::new(Patient::default()))
        .build();
    let relays: RelayMap = relay_configs(meeting)
        .map(|mut config| {
            if discovery == Discovery::Never {
                config.quic = None;
            }
            config
        })
        .collect();
    let is_local = meeting.relays.iter().all(RelayUrl::is_here);
    // A name server of others, which the engine would ask where this machine's own do not answer,
    // would learn where this user goes.
    let names = DnsResolver::builder().with_system_defaults().disable_fallback().build();
    let mut builder = Endpoint::builder(presets::Minimal)
        .transport_config(transport)
        .dns_resolver(names)
        .ca_tls_config(CaTlsConfig::embedded().with_extra_roots(extra_roots()?))
        .proxy_from_env()
        .relay_mode(match relays.is_empty() {
            true => RelayMode::Disabled,
            false => RelayMode::Custom(relays),
        });
    if is_local || meeting.relay_only {
        // No router is asked to open a port that nobody needs.
        builder = builder.portmapper_config(PortmapperConfig::Disabled);
    }
    if meeting.relay_only {
        builder = builder.clear_ip_transports();
    }
    Ok(builder)
}

/// Binds a port at all addresses; any that is free where none is named.
pub async fn bind(builder: Builder, port: Option<u16>, is_relay_only: bool) -> Result<Endpoint> {
    let port = port.filter(|_| !is_relay_only);
    let at = |builder: Builder, address: SocketAddr| {
        // A system may have no IPv6.
        let options = BindOpts::default().set_is_required(address.is_ipv4());
        let bound = builder.bind_addr_with_opts(address, options);
        bound.map_err(|error| io::Error::other(error.to_string()))
    };
    let bound = match port {
        None => Ok(builder),
        Some(port) => at(builder.clear_ip_transports(), (Ipv4Addr::UNSPECIFIED, port).into())
            .and_then(|builder| at(builder, (Ipv6Addr::UNSPECIFIED, port).into())),
    };
    let bound = match bound {
        Ok(builder) => builder.bind().await.map_err(io::Error::other),
        Err(error) => Err(error),
    };
    bound.map_err(|error| {
        let port = port.map_or_else(String::new, |port| format!(" {port}"));
        let why = plain(&error);
        Error::new(Cause::PortTaken, format!("cannot listen on UDP port{port}: {why}"))
            .hint("choose another port with --port")
    })
}

/// What went wrong, without the engine's own way to tell it.
pub fn plain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    // What the system says is told in our words.
    let words = last.downcast_ref().map_or_else(|| last.to_string(), |it| reason(innermost(it)));
    reason(&io::Error::other(shown_claim(&words)))
}

/// The error of the system in one that others have wrapped; [`std::error::Error::source`] leaves it out.
fn innermost(error: &io::Error) -> &io::Error {
    let inner = error.get_ref().and_then(|it| it.downcast_ref());
    inner.map_or(error, innermost)
}

fn relay_configs(meeting: &Meeting) -> impl Iterator<Item = RelayConfig> {
    let token = |relay| meeting.relay_token.as_ref()?.of(relay);
    meeting.relays.iter().filter_map(move |relay| relay_config(relay, token(relay)))
}

/// A relay as the engine knows it.
pub fn relay_config(relay: &RelayUrl, token: Option<&str>) -> Option<RelayConfig> {
    let mut config = RelayConfig::from(relay.url().parse::<iroh::RelayUrl>().ok()?);
    if !relay.is_https() {
        // Address discovery needs a certificate.
        config.quic = None;
    }
    Some(match token {
        Some(token) => config.with_auth_token(token),
        None => config,
    })
}

/// Fails once this side is to stop.
pub async fn is_to_stop() -> Error {
    loop {
        if let Err(error) = control::check() {
            return error;
        }
        tokio::time::sleep(control::SLICE).await;
    }
}

/// Certificates that are trusted beside those of browsers, for a relay whose own no public authority made.
fn extra_roots() -> Result<Vec<CertificateDer<'static>>> {
    let Some(file) = std::env::var_os(CERTIFICATES) else { return Ok(vec![]) };
    let name = crate::error::shown_os(&file).into_owned();
    let wrong = |why: String| {
        Error::usage(format!("cannot read \"{name}\": {why}"))
            .hint(format!("${CERTIFICATES} names a file with certificates in PEM"))
    };
    let size = fs::metadata(&file).map_err(|error| wrong(reason(&error)))?.len();
    if size > MAX_PEM {
        return Err(wrong("it is too large".into()));
    }
    let text = fs::read(&file).map_err(|error| wrong(reason(&error)))?;
    let parts = pem::parse_many(text).map_err(|_| wrong("it is not PEM".into()))?;
    let certificates = parts.into_iter().filter(|part| part.tag() == "CERTIFICATE");
    Ok(certificates.map(|part| CertificateDer::from(part.into_contents())).collect())
}

/// Waits until the endpoint is at one of its relays; tells which.
///
/// # Errors
/// Exit 5, if none lets it in within 10 s, or as soon as it shows that none will.
pub async fn register(endpoint: &Endpoint, relays: &[RelayUrl]) -> Result<String> {
    let mut status = endpoint.home_relay_status();
    let registered = async {
        let mut now = status.get();
        loop {
            if let Some(relay) = now.iter().find(|relay| relay.is_connected()) {
                return Some(path::host(relay.url()));
            }
            if relays.len() == 1 && now.iter().any(|relay| relay.auth_denied_reason().is_some()) {
                return None;
            }
            now = status.updated().await.ok()?;
        }
    };
    let looked = async {
        tokio::time::sleep(SLOW).await;
        obstacles(endpoint, relays).await
    };
    let late = tokio::time::sleep(REGISTER_LIMIT);
    let registered = async {
        tokio::pin!(registered, looked, late);
        let mut found = None;
        loop {
            tokio::select! {
                host = &mut registered => match host {
                    Some(host) => return Ok(host),
                    None => break,
                },
                obstacles = &mut looked, if found.is_none() => {
                    let is_hopeless = obstacles.len() == relays.len()
                        && obstacles.values().all(|it| !it.is_silence());
                    found = Some(obstacles);
                    if is_hopeless {
                        break;
                    }
                }
                () = &mut late => break,
            }
        }
        // The first in their order counts.
        let first = found.as_mut().and_then(BTreeMap::pop_first);
        let tried = first.and_then(|(at, obstacle)| Some((relays.get(at)?, obstacle)));
        Err(not_let_in(endpoint, relays, tried))
    };
    tokio::select! {
        registered = registered => registered,
        stopped = is_to_stop() => Err(stopped),
    }
}

/// What is in the way of each relay, by its number: all are tried at once, and whoever is slow is not waited
/// for.
async fn obstacles(endpoint: &Endpoint, relays: &[RelayUrl]) -> BTreeMap<usize, Obstacle> {
    let mut tries = JoinSet::new();
    for (at, relay) in relays.iter().enumerate() {
        let (relay, tls) = (relay.clone(), endpoint.tls_config().clone());
        tries.spawn_blocking(move || (at, obstacle(&relay, &tls)));
    }
    let mut found = BTreeMap::new();
    // Of a name server that hangs nobody knows more later.
    let _ = tokio::time::timeout(TRY_LIMIT, async {
        while let Some(tried) = tries.join_next().await {
            if let Ok((at, Some(obstacle))) = tried {
                found.insert(at, obstacle);
            }
        }
    })
    .await;
    found
}

/// Why no relay lets this side in, where one of them was tried plainly, and this was in the way.
pub fn not_let_in(
    endpoint: &Endpoint,
    relays: &[RelayUrl],
    tried: Option<(&RelayUrl, Obstacle)>,
) -> Error {
    let status = endpoint.home_relay_status().get();
    let refusal =
        status.iter().find_map(|it| Some((path::host(it.url()), it.auth_denied_reason()?)));
    if let Some((host, refusal)) = refusal {
        return Error::network(format!("the relay {host} refuses: {}", shown_claim(refusal))).hint(
            "the token of --relay-token-file or $TRANSFER_RELAY_TOKEN is shown to relays that --relay or \
             $TRANSFER_RELAY names",
        );
    }
    if let Some((relay, Obstacle::Certificate(why))) = &tried {
        let name = relay.name();
        return Error::network(format!("the certificate of {name} is not valid: {why}")).hint(
            "is the clock of this machine right? $SSL_CERT_FILE names certificates of your own",
        );
    }
    let why = match tried {
        Some((_, Obstacle::Unreachable(error))) => Some(reason(&error)),
        _ => status.iter().find_map(|relay| Some(plain(relay.last_error()?))),
    };
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    let tried = match relays {
        [only] => format!("the relay {} does not answer", only.name()),
        _ => format!("no relay answers, of {} that were tried", relays.len()),
    };
    Error::network(format!("{tried}{why}"))
        .hint("is this machine on line? behind a proxy set HTTPS_PROXY; another relay: --relay")
}

/// Where whoever waits there is found, as the engine knows it.
pub fn place_of(meeting: &Meeting) -> EndpointAddr {
    let Meeting { plate, relays, address, .. } = meeting;
    let relayed = relays.iter().filter_map(|relay| relay.url().parse().ok());
    let ways = relayed.map(TransportAddr::Relay).chain(address.map(TransportAddr::Ip));
    EndpointAddr::from_parts(key(plate).public(), ways)
}

/// Somebody at these relays who waits under no plate, and tells nobody an address.
pub fn visitor(relays: &[RelayUrl], relay_token: Option<RelayToken>) -> Meeting {
    Meeting {
        plate: Plate::none(),
        relays: relays.to_vec(),
        address: None,
        relay_only: true,
        relay_token,
    }
}

/// The key of a plate.
pub fn key(plate: &Plate) -> SecretKey {
    SecretKey::from_bytes(&plate.seed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_discovery_is_asked_for_where_it_can_be() {
        for (url, is_asked) in [("https://a.b", true), ("a.b", true), ("http://127.0.0.1:1", false)]
        {
            let config = relay_config(&RelayUrl::parse(url).unwrap(), None).unwrap();
            assert_eq!(config.quic.is_some(), is_asked, "{url}");
        }
    }
}
