//! The ways, set up on this machine: who listens, how it is dialled, and what stands in between.

use std::any::Any;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use transfer::connect::acceptor::Acceptor;
use transfer::connect::connector::Connector;
use transfer::connect::handshake::{self, Judge};
use transfer::connect::{Connection, NotConnected, Peer, Remote, Target};
use transfer::crypto::handshake::{Binding, Hello, Start};
use transfer::crypto::keys::Role;
use transfer::net::dial::{Proxy, Route, Stream};
use transfer::net::listener::Listener;
use transfer::token::{self, Token};
#[cfg(feature = "direct")]
use transfer::{
    bounds::DIAL_LIMIT,
    net::{
        plate::Plate,
        quic::{self, Dialler, Meeting},
    },
};

/// What both sides know.
pub const TOKEN: &str = "ocean-tiger";

/// One who listens, and a way to it.
pub struct Stage {
    pub acceptor: Acceptor,
    /// Connects, and says nothing yet.
    pub knock: Box<dyn Fn() -> Stream + Send>,
    /// Dials with this token.
    pub dial: Box<dyn Fn(&str) -> Result<Connection, NotConnected> + Send>,
    /// What somebody says who speaks the protocol and proves nothing.
    pub hello: Hello,
    /// What has to live as long.
    _kept: Option<Box<dyn Any + Send>>,
}

fn stage(route: impl Fn() -> Route + Send + 'static, kept: Option<Box<dyn Any + Send>>) -> Stage {
    let token = Token::parse(TOKEN).unwrap();
    let listener = Listener::bind(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
    let address = listener.address();
    let start =
        Start::new(Role::Receiver, &token, Binding::None, &mut token::system_rng().unwrap());
    let hello = *start.hello();
    let admit = |remote: SocketAddr, _| Ok(Peer::unknown(remote.ip()));
    let prove = move |stream: &Stream, judge: Judge<'_>| handshake::answer(stream, &token, judge);
    let acceptor = Acceptor::open(vec![listener], 1, Box::new(admit), Box::new(prove)).unwrap();
    let dial = move |token: &str| {
        let peer = Peer::unknown(address.ip());
        let remote = Remote { target: Target::Address(address, route()), peer };
        let mut connector = Connector::new(remote, Token::parse(token)?)?;
        connector.authenticate(connector.dial()?)
    };
    let knock = Box::new(move || Stream::tcp(TcpStream::connect(address).unwrap()));
    Stage { acceptor, knock, dial: Box::new(dial), hello, _kept: kept }
}

/// QUIC from address to address.
#[cfg(feature = "direct")]
pub fn direct() -> Stage {
    let listener = Listener::quic(
        quic::Listener::open(&Meeting::without_relay(None), Some(0), 0..=0).unwrap().unwrap(),
    );
    let there =
        Meeting::without_relay(Some((Ipv4Addr::LOCALHOST, listener.address().port()).into()));
    meeting(listener, there, None)
}

/// The same with somebody in between, who can stand in the sender's place, as a relay can that has found
/// the plate, and passes on all that both sides say.
#[cfg(feature = "direct")]
pub fn between() -> Stage {
    let listener = Listener::quic(
        quic::Listener::open(&Meeting::without_relay(None), Some(0), 0..=0).unwrap().unwrap(),
    );
    let middle =
        quic::Listener::open(&Meeting::without_relay(None), Some(0), 0..=0).unwrap().unwrap();
    let at = |port| Meeting::without_relay(Some((Ipv4Addr::LOCALHOST, port).into()));
    let there = at(middle.port());
    let onwards = Dialler::new(at(listener.address().port())).unwrap();
    thread::spawn(move || {
        while let Some((caller, _)) = middle.accept() {
            let ends = [Stream::Quic(caller), Stream::Quic(onwards.dial(DIAL_LIMIT).unwrap())];
            let [here, far] = ends.each_ref().map(|end| end.try_clone().unwrap());
            let [mut near, mut beyond] = ends;
            thread::spawn(move || drop(io::copy(&mut near, &mut &far)));
            drop(io::copy(&mut beyond, &mut &here));
        }
    });
    meeting(listener, there, None)
}

/// The same through a relay of our own, and never from address to address.
#[cfg(feature = "relay")]
pub fn relayed() -> Stage {
    use iroh_relay::server::{RelayConfig, Server, ServerConfig};
    use transfer::net::relay_url::RelayUrl;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    let mut config = ServerConfig::default();
    config.relay = Some(RelayConfig::new((Ipv4Addr::LOCALHOST, 0)));
    let server = runtime.block_on(Server::spawn(config)).unwrap();
    let url = format!("http://{}", server.http_addr().unwrap());
    let there = Meeting {
        plate: Plate::generate().unwrap(),
        relays: vec![RelayUrl::parse(&url).unwrap()],
        address: None,
        relay_only: true,
        relay_token: None,
    };
    let listener = Listener::quic(quic::Listener::open(&there, None, 0..=0).unwrap().unwrap());
    assert_eq!(listener.relay().as_deref(), Some("127.0.0.1"));
    meeting(listener, there, Some(Box::new((runtime, server))))
}

#[cfg(feature = "direct")]
fn meeting(listener: Listener, there: Meeting, kept: Option<Box<dyn Any + Send>>) -> Stage {
    let token = Token::parse(TOKEN).unwrap();
    let start =
        Start::new(Role::Receiver, &token, Binding::None, &mut token::system_rng().unwrap());
    let hello = *start.hello();
    let admit = |remote: SocketAddr, _| Ok(Peer::unknown(remote.ip()));
    let prove = move |stream: &Stream, judge: Judge<'_>| handshake::answer(stream, &token, judge);
    let acceptor = Acceptor::open(vec![listener], 1, Box::new(admit), Box::new(prove)).unwrap();
    let dialled = there.clone();
    let dial = move |token: &str| {
        let peer = Peer { name: dialled.plate.to_string(), address: None, id: None, tailnet: None };
        let remote = Remote { target: Target::Quic(Dialler::new(dialled.clone())?), peer };
        let mut connector = Connector::new(remote, Token::parse(token)?)?;
        let connection = connector.authenticate(connector.dial()?);
        // It has to live as long as its connections.
        Box::leak(Box::new(connector));
        connection
    };
    let dialler = Dialler::new(there).unwrap();
    let knock = move || Stream::Quic(dialler.dial(DIAL_LIMIT).unwrap());
    Stage { acceptor, knock: Box::new(knock), dial: Box::new(dial), hello, _kept: kept }
}

/// Plain TCP.
pub fn pod() -> Stage {
    stage(|| Route::Direct, None)
}

/// A SOCKS5 proxy in between (RFC 1928), as tailscaled offers one.
pub fn proxy() -> Stage {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("socks5://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            // Whatever goes wrong ends that one connection.
            thread::spawn(move || drop(relay(client)));
        }
    });
    stage(move || Route::Proxy(Proxy::parse(&url).unwrap()), None)
}

fn relay(mut client: TcpStream) -> io::Result<()> {
    let (mut greeting, mut request) = ([0; 2], [0; 10]);
    client.read_exact(&mut greeting)?;
    io::copy(&mut (&client).take(greeting[1].into()), &mut io::sink())?;
    client.write_all(&[5, 0])?;
    client.read_exact(&mut request)?;
    assert_eq!(request[..4], [5, 1, 0, 1], "a connection to an IPv4 address");
    let ip = <[u8; 4]>::try_from(&request[4..8]).unwrap();
    let target =
        TcpStream::connect((Ipv4Addr::from(ip), u16::from_be_bytes([request[8], request[9]])))?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (from, to) = (client.try_clone()?, target.try_clone()?);
    thread::spawn(move || pour(&from, &to));
    pour(&target, &client);
    Ok(())
}

/// Until one end is closed; then both are, in this direction.
fn pour(mut from: &TcpStream, mut to: &TcpStream) {
    drop(io::copy(&mut from, &mut to));
    drop(to.shutdown(Shutdown::Write));
    drop(from.shutdown(Shutdown::Read));
}

/// A child in between that does what `tailscale nc HOST PORT` does.
#[cfg(unix)]
pub fn nc() -> Stage {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use transfer::net::tailscale::TailscaleDetector;
    const SCRIPT: &str = "#!/usr/bin/env bash\n\
                          exec 3<>\"/dev/tcp/$2/$3\" || exit 1\n\
                          cat <&0 >&3 &\n\
                          exec cat <&3\n";
    let scratch = tempfile::tempdir().unwrap();
    let program = scratch.path().join("tailscale");
    fs::write(&program, SCRIPT).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let route = move || Route::Nc(TailscaleDetector::with_command(program.clone()).cli().clone());
    stage(route, Some(Box::new(scratch)))
}
