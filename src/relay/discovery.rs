//! Address discovery: over QUIC a client learns as which address and port the internet sees it, so that the
//! other side knows where to send to (draft-ietf-quic-address-discovery). Nothing else is said here.

use std::collections::HashMap;
use std::net::{IpAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use iroh_relay::quic::ALPN_QUIC_ADDR_DISC;
use noq::crypto::rustls::QuicServerConfig;
use noq::{Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime};
use tokio::time::timeout;

use super::door::{Place, places};
use super::options::Limits;
use crate::bounds::{HANDSHAKE_LIMIT, MAX_RELAY_HANDSHAKES};
use crate::error::{Error, Result, reason};

/// Connections that each client may have here: one over IPv4, one over IPv6, one that it has left behind.
const EACH: usize = 3;

/// Opens the endpoint on a socket.
///
/// # Errors
/// The certificate cannot be used for it, or the socket.
pub fn open(socket: UdpSocket, mut tls: rustls::ServerConfig) -> Result<Endpoint> {
    tls.alpn_protocols = vec![ALPN_QUIC_ADDR_DISC.to_vec()];
    let crypto = QuicServerConfig::try_from(tls)
        .map_err(|error| Error::failure(format!("no cryptography for QUIC: {error}")))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = noq::TransportConfig::default();
    transport
        .max_concurrent_uni_streams(0_u8.into())
        .max_concurrent_bidi_streams(0_u8.into())
        // Nobody would read them, and each connection would keep a megabyte.
        .datagram_receive_buffer_size(None)
        .send_observed_address_reports(true);
    config.transport_config(Arc::new(transport));
    let runtime = Arc::new(TokioRuntime);
    Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime).map_err(|error| {
        Error::network(format!("cannot use the port of address discovery: {}", reason(&error)))
    })
}

/// Answers for ever.
pub async fn serve(endpoint: Endpoint, limits: Limits) {
    let guests = Arc::new(Guests { limits, counts: Mutex::default() });
    while let Some(incoming) = endpoint.accept().await {
        // Under load whoever connects proves its address first, which costs it a round trip.
        let is_busy = guests.arriving() >= MAX_RELAY_HANDSHAKES / 4;
        if is_busy && incoming.may_retry() && !incoming.remote_address_validated() {
            let _ = incoming.retry();
            continue;
        }
        match Guest::enter(&guests, incoming.remote_address().ip()) {
            Some(guest) => {
                tokio::spawn(attend(incoming, guest));
            }
            None => incoming.refuse(),
        }
    }
}

async fn attend(incoming: Incoming, mut guest: Guest) {
    if let Ok(Ok(connection)) = timeout(HANDSHAKE_LIMIT, incoming).await {
        guest.arrive();
        // It leaves by itself, or falls silent, which QUIC ends.
        connection.closed().await;
    }
}

/// Who is here.
struct Guests {
    limits: Limits,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    all: usize,
    arriving: usize,
    each: HashMap<Place, usize>,
}

impl Guests {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arriving(&self) -> usize {
        self.counts().arriving
    }
}

/// One of them; counted out when dropped.
struct Guest {
    guests: Arc<Guests>,
    from: IpAddr,
    is_arriving: bool,
}

impl Guest {
    /// Nothing where there is no room.
    fn enter(guests: &Arc<Guests>, from: IpAddr) -> Option<Self> {
        let mut counts = guests.counts();
        let most = guests.limits.per_address.saturating_mul(EACH);
        let has_room =
            |place: Place| counts.each.get(&place).copied().unwrap_or_default() < place.most(most);
        let room = counts.all < guests.limits.clients.saturating_mul(EACH)
            && counts.arriving < MAX_RELAY_HANDSHAKES
            && places(from).all(has_room);
        if !room {
            return None;
        }
        counts.all += 1;
        counts.arriving += 1;
        for place in places(from) {
            *counts.each.entry(place).or_default() += 1;
        }
        Some(Self { guests: Arc::clone(guests), from, is_arriving: true })
    }

    /// Its handshake is done.
    fn arrive(&mut self) {
        self.guests.counts().arriving -= 1;
        self.is_arriving = false;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut counts = self.guests.counts();
        counts.all -= 1;
        counts.arriving -= usize::from(self.is_arriving);
        for place in places(self.from) {
            let left = counts.each.get(&place).copied().unwrap_or_default().saturating_sub(1);
            match left {
                0 => counts.each.remove(&place),
                left => counts.each.insert(place, left),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn guests_are_counted_in_and_out() {
        let any = NonZeroU32::MIN;
        let limits = Limits { clients: 2, per_address: 1, rate: any, burst: any, daily: None };
        let guests = Arc::new(Guests { limits, counts: Mutex::default() });
        let enter = |text: &str| Guest::enter(&guests, text.parse().unwrap());
        let mut of_one: Vec<_> = (0..EACH).filter_map(|_| enter("2001:db8::1")).collect();
        assert_eq!(of_one.len(), EACH);
        assert!(enter("2001:db8::2").is_none(), "the same /64");
        let of_two: Vec<_> = (0..EACH).filter_map(|_| enter("192.0.2.2")).collect();
        assert_eq!(of_two.len(), EACH);
        assert!(enter("192.0.2.3").is_none(), "all together");
        of_one[0].arrive();
        assert_eq!(guests.arriving(), 2 * EACH - 1);
        drop((of_one, of_two));
        let counts = guests.counts();
        assert_eq!((counts.all, counts.arriving, counts.each.len()), (0, 0, 0));
        drop(counts);
    }

    #[test]
    fn a_large_network_is_no_crowd() {
        let any = NonZeroU32::MIN;
        let limits = Limits { clients: 1000, per_address: 1, rate: any, burst: any, daily: None };
        let guests = Arc::new(Guests { limits, counts: Mutex::default() });
        let enter =
            |at: usize| Guest::enter(&guests, format!("2001:db8:1:{at:x}::1").parse().unwrap());
        let came: Vec<_> = (0..100).filter_map(enter).collect();
        assert_eq!(came.len(), EACH * usize::from(crate::bounds::RELAY_SITE));
        assert!(Guest::enter(&guests, "2001:db8:2::1".parse().unwrap()).is_some());
    }
}
