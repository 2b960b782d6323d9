//! The relay's port: what comes in goes by the door, then through TLS, then to iroh's relay. That serves
//! what is a client; the few other questions that may be asked are answered here.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr, TcpStream as Socket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use iroh_relay::http::{RELAY_PATH, RELAY_PROBE_PATH};
use iroh_relay::server::RelayService;
use iroh_relay::server::http_server::{BytesBody, HyperError, RelayServiceWithNotify};
use iroh_relay::server::streams::MaybeTlsStream;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::access::VISIT;
use super::acme;
use super::door::{Door, Refusal, Visit};
use crate::bounds::{HANDSHAKE_LIMIT, MAX_RELAY_HEAD};
use crate::ui::RelayEvent;

/// What iroh asks for to find out whether something on the way answers in the place of others.
const CHALLENGE: &str = "x-iroh-challenge";

/// What serves a port.
pub struct Port {
    /// Serves clients.
    pub service: RelayService,
    /// Who may come in.
    pub door: Arc<Door>,
    /// Without it nothing is encrypted, and a proxy is in front.
    pub tls: Option<Tls>,
    /// Proxies that say for whom they ask.
    pub proxies: Vec<IpAddr>,
    /// What is told.
    pub events: SyncSender<RelayEvent>,
}

/// TLS for those who come.
pub struct Tls {
    /// For clients.
    pub own: Arc<ServerConfig>,
    /// For the CA, where the relay asks one.
    pub challenge: Option<Arc<ServerConfig>>,
}

impl Tls {
    /// Nothing where there is no client, or none any more.
    async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let asked = LazyConfigAcceptor::new(Acceptor::default(), stream).await.ok()?;
        let is_challenge = acme::is_challenge(asked.client_hello().alpn().into_iter().flatten());
        if let (Some(challenge), true) = (&self.challenge, is_challenge) {
            // All that the CA wants to see is in the handshake.
            let _ = asked.into_stream(Arc::clone(challenge)).await;
            return None;
        }
        asked.into_stream(Arc::clone(&self.own)).await.ok()
    }
}

impl Port {
    /// Takes connections for ever.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    let proxied = self.proxies.contains(&from.ip().to_canonical());
                    let known = (!proxied).then(|| from.ip());
                    match self.door.enter(known, Instant::now()) {
                        Ok(visit) => {
                            tokio::spawn(Arc::clone(&self).attend(stream, from, visit));
                        }
                        Err(why) => self.refuse(known, why),
                    }
                }
                // A connection that was reset before it was taken, or no descriptors left: it passes, but
                // must not become a busy loop.
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// One connection, until it is a client or gone.
    async fn attend(self: Arc<Self>, stream: TcpStream, from: SocketAddr, visit: Arc<Visit>) {
        let deadline = tokio::time::Instant::now() + HANDSHAKE_LIMIT;
        let Ok((stream, spare)) = with_spare(stream) else { return };
        let passage = Arc::new(Passage { visit: Arc::clone(&visit), over: Arc::default() });
        let over = Arc::clone(&passage.over);
        let arriving = async {
            let front = Front { port: Arc::clone(&self), from: from.ip(), passage };
            self.converse(stream, front).await;
            // A client's key is looked at by a task of iroh's, which has the passage till then.
            over.notified().await;
        };
        let came = tokio::select! {
            came = timeout_at(deadline, arriving) => came.is_ok(),
            () = visit.leave.notified() => false,
        };
        if came && visit.is_client() {
            return;
        }
        // That task waits for a silent client for ever, and for one that does not read that it was let in;
        // it has the socket.
        let _ = spare.shutdown(std::net::Shutdown::Both);
        if !came {
            self.refuse(self.door.address_of(visit.id()).or(Some(from.ip())), Refusal::Slow);
        }
    }

    /// TLS if there is any, and HTTP, as far as iroh's relay does not take over.
    async fn converse(&self, stream: TcpStream, front: Front) {
        let stream = match &self.tls {
            None => MaybeTlsStream::Plain(stream),
            Some(tls) => match tls.accept(stream).await {
                Some(stream) => MaybeTlsStream::Tls(stream),
                None => return,
            },
        };
        let mut server = http1::Builder::new();
        server.max_buf_size(MAX_RELAY_HEAD);
        // However it ends: who is a client by then has been taken over.
        let _ = server.serve_connection(TokioIo::new(stream), front).with_upgrades().await;
    }

    fn refuse(&self, address: Option<IpAddr>, why: Refusal) {
        self.door.refuse(why);
        let _ = self.events.try_send(RelayEvent::Refused { address, why: why.to_string() });
    }
}

/// The socket, and a second handle of it by which it can be shut whoever has the first.
fn with_spare(stream: TcpStream) -> std::io::Result<(TcpStream, Socket)> {
    let stream = stream.into_std()?;
    let spare = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, spare))
}

/// Whatever has to do with the handshake of a connection has it; when nothing does any more it is over.
#[derive(Debug)]
struct Passage {
    visit: Arc<Visit>,
    over: Arc<Notify>,
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.over.notify_one();
    }
}

/// Answers the requests of one connection.
struct Front {
    port: Arc<Port>,
    from: IpAddr,
    passage: Arc<Passage>,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<BytesBody>, HyperError>> + Send>>;

impl Service<Request<Incoming>> for Front {
    type Response = Response<BytesBody>;
    type Error = HyperError;
    type Future = Answer;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let port = &self.port;
        let visit = &self.passage.visit;
        if port.proxies.contains(&self.from.to_canonical()) {
            let visitor = forwarded_for(request.headers()).unwrap_or(self.from);
            if let Err(why) = port.door.place(visit, visitor, Instant::now()) {
                port.refuse(Some(visitor), why);
                return ready(answer(StatusCode::TOO_MANY_REQUESTS, format!("{why}\n")));
            }
        }
        if request.method() == hyper::Method::GET && request.uri().path() == RELAY_PATH {
            let number = HeaderValue::from(visit.id());
            request.headers_mut().insert(HeaderName::from_static(VISIT), number);
            request.extensions_mut().insert(Arc::clone(&self.passage));
            let relay = RelayServiceWithNotify::new(port.service.clone(), Arc::default());
            return Box::pin(async move { relay.call(request).await });
        }
        ready(other(&request))
    }
}

fn ready(response: Response<BytesBody>) -> Answer {
    Box::pin(std::future::ready(Ok(response)))
}

fn answer(status: StatusCode, text: String) -> Response<BytesBody> {
    let mut response = Response::new(Box::new(text) as BytesBody);
    *response.status_mut() = status;
    // Only clients stay.
    response.headers_mut().insert("connection", HeaderValue::from_static("close"));
    response
}

/// What may be asked that is no client's: whether it is there, and how far away.
fn other(request: &Request<Incoming>) -> Response<BytesBody> {
    let path = request.uri().path();
    let mut response = match (request.method().as_str(), path) {
        ("GET" | "HEAD", RELAY_PROBE_PATH) => answer(StatusCode::OK, String::new()),
        ("GET" | "HEAD", "/generate_204") => {
            let mut response = answer(StatusCode::NO_CONTENT, String::new());
            let asked = request.headers().get(CHALLENGE).and_then(|it| it.to_str().ok());
            let said = asked
                .filter(|text| text.len() < 64 && text.bytes().all(is_of_challenge))
                .and_then(|text| HeaderValue::from_str(&format!("response {text}")).ok());
            if let Some(said) = said {
                response.headers_mut().insert("x-iroh-response", said);
            }
            response
        }
        ("GET" | "HEAD", "/") => answer(
            StatusCode::OK,
            concat!("a relay of transfer ", env!("CARGO_PKG_VERSION"), "\n").into(),
        ),
        ("GET" | "HEAD", "/robots.txt") => {
            answer(StatusCode::OK, "User-agent: *\nDisallow: /\n".into())
        }
        _ => answer(StatusCode::NOT_FOUND, "not found\n".into()),
    };
    // A page of another site may measure how far the relay is.
    response.headers_mut().insert("access-control-allow-origin", HeaderValue::from_static("*"));
    response
}

fn is_of_challenge(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

/// For whom a proxy asks: the last address of the last `X-Forwarded-For`, which is the one that it has added.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    let text = last.rsplit(',').next()?.trim();
    let bare = text.trim_start_matches('[').split(']').next()?;
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    bare.parse().or_else(|_| with_port()).ok()
}

/// Its own few numbers, on a port of their own: one connection after the other, and none for long.
pub async fn serve_metrics<F: Fn() -> String + Clone + Send + 'static>(
    listener: TcpListener,
    text: F,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let text = text.clone();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let answered = match request.uri().path() {
                "/metrics" => {
                    let mut response = answer(StatusCode::OK, text());
                    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                    response.headers_mut().insert("content-type", kind);
                    response
                }
                _ => answer(StatusCode::NOT_FOUND, "not found; try /metrics\n".into()),
            };
            std::future::ready(Ok::<_, Infallible>(answered))
        });
        let mut server = http1::Builder::new();
        server.keep_alive(false).max_buf_size(MAX_RELAY_HEAD);
        let deadline = tokio::time::Instant::now() + HANDSHAKE_LIMIT;
        let _ = timeout_at(deadline, server.serve_connection(TokioIo::new(stream), service)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_says_for_whom_it_asks() {
        for (lines, expected) in [
            (&["203.0.113.9"][..], Some("203.0.113.9")),
            (&["10.0.0.1, 203.0.113.9"], Some("203.0.113.9")),
            (&["203.0.113.9", "198.51.100.1"], Some("198.51.100.1")),
            (&["203.0.113.9:4711"], Some("203.0.113.9")),
            (&["2001:db8::1"], Some("2001:db8::1")),
            (&["[2001:db8::1]"], Some("2001:db8::1")),
            (&["[2001:db8::1]:4711"], Some("2001:db8::1")),
            (&["unknown"], None),
            (&["203.0.113.9,"], None),
            (&[""], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", HeaderValue::from_static(line));
            }
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(forwarded_for(&headers), expected, "{lines:?}");
        }
    }
}
