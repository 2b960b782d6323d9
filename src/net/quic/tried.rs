//! Why a relay cannot be had: the engine says only that it has none, so it is tried once as plainly as can be.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection};

use super::proxy_variable;
use crate::net::deadline::{left, limited, timed_out};
use crate::net::relay_url::RelayUrl;

/// How long it may take from the name on, however its bytes trickle.
const LIMIT: Duration = Duration::from_secs(3);

/// What is in the way.
#[derive(Debug)]
pub enum Obstacle {
    /// There is no connection.
    Unreachable(io::Error),
    /// Its certificate is not believed, for this reason.
    Certificate(&'static str),
}

impl Obstacle {
    /// Whether nothing answered in time, which a slow line does as well.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Unreachable(error) if error.kind() == io::ErrorKind::TimedOut)
    }
}

/// Connects to a relay, as a browser would, and tells how long it takes a packet to get there and back.
/// Nothing where a proxy stands in between.
pub fn plainly(relay: &RelayUrl, tls: &ClientConfig) -> Option<Result<Duration, Obstacle>> {
    if proxy_variable().is_some() {
        return None;
    }
    Some(connect(relay, tls).map_err(|error| {
        let certificate = error.get_ref().and_then(|it| it.downcast_ref::<rustls::Error>());
        match certificate {
            Some(rustls::Error::InvalidCertificate(why)) => Obstacle::Certificate(words(why)),
            _ => Obstacle::Unreachable(error),
        }
    }))
}

/// What is in the way of a relay, if that shows without a word of the engine's.
pub fn obstacle(relay: &RelayUrl, tls: &ClientConfig) -> Option<Obstacle> {
    plainly(relay, tls)?.err()
}

fn connect(relay: &RelayUrl, tls: &ClientConfig) -> io::Result<Duration> {
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    let mut addresses: Vec<_> = (relay.host(), relay.port()).to_socket_addrs()?.take(2).collect();
    addresses.reverse();
    let deadline = Instant::now() + LIMIT;
    while let Some(address) = addresses.pop() {
        let began = Instant::now();
        // One that swallows everything leaves the other its half.
        let others = u32::try_from(addresses.len()).unwrap_or_default();
        let share = left(deadline)? / (others + 1);
        match TcpStream::connect_timeout(&address, share) {
            Ok(stream) if relay.is_https() => {
                let took = began.elapsed();
                let name =
                    ServerName::try_from(relay.host().to_owned()).map_err(io::Error::other)?;
                let connection = ClientConnection::new(Arc::new(tls.clone()), name);
                let mut connection = connection.map_err(io::Error::other)?;
                let mut stream = Until { stream, deadline };
                while connection.is_handshaking() {
                    connection.complete_io(&mut stream)?;
                }
                return Ok(took);
            }
            Ok(_) => return Ok(began.elapsed()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A connection until then: one step of TLS reads as often as bytes come, and each of them would begin a
/// time limit of the socket's own anew.
struct Until {
    stream: TcpStream,
    deadline: Instant,
}

impl Read for Until {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        limited(self.stream.set_read_timeout(Some(left(self.deadline)?)))?;
        self.stream.read(buf).map_err(timed_out)
    }
}

impl Write for Until {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        limited(self.stream.set_write_timeout(Some(left(self.deadline)?)))?;
        self.stream.write(buf).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn words(why: &CertificateError) -> &'static str {
    use CertificateError as Why;
    match why {
        Why::Expired | Why::ExpiredContext { .. } => "it has expired",
        Why::NotValidYet | Why::NotValidYetContext { .. } => "it is not valid yet",
        Why::UnknownIssuer => "nobody who is trusted here made it",
        Why::NotValidForName | Why::NotValidForNameContext { .. } => "it is for another name",
        Why::Revoked => "it was revoked",
        _ => "it is no good one",
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::error::reason;

    fn tls() -> ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
    }

    #[test]
    fn what_is_in_the_way_is_told() {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let port = socket.local_addr().unwrap().as_socket().unwrap().port();
        let relay = RelayUrl::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        let Some(Obstacle::Unreachable(error)) = obstacle(&relay, &tls()) else {
            panic!("it was let in")
        };
        assert_eq!(reason(&error), "connection refused");
    }

    /// A byte now and then keeps nobody waiting for long: this record takes 25 s.
    #[test]
    fn a_relay_that_drips_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let dripping = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            // The head of a record of the handshake of 500 bytes, and what may stand in it.
            let record = [0x16, 3, 3, 1, 0xf4, 2, 0, 1, 0xf0, 3, 3].into_iter().chain([0; 494]);
            for byte in record {
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        let relay = RelayUrl::parse(&format!("https://127.0.0.1:{port}")).unwrap();
        let Some(Obstacle::Unreachable(error)) = obstacle(&relay, &tls()) else {
            panic!("it was let in")
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        dripping.join().unwrap();
    }

    #[test]
    fn a_certificate_that_nobody_trusts_is_no_silence() {
        let key = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let secret = rustls::pki_types::PrivatePkcs8KeyDer::from(key.signing_key.serialize_der());
        let config = config.with_single_cert(vec![key.cert.der().clone()], secret.into()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
            while connection.is_handshaking() && connection.complete_io(&mut stream).is_ok() {}
        });
        let relay = RelayUrl::parse(&format!("https://127.0.0.1:{port}")).unwrap();
        let found = obstacle(&relay, &tls());
        assert!(
            matches!(found, Some(Obstacle::Certificate("nobody who is trusted here made it"))),
            "{found:?}"
        );
        serving.join().unwrap();
    }
}
