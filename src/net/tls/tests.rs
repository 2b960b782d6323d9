use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::trust::certificate::Certificate;
use crate::trust::refusal::Who;
use crate::trust::samples::{Ca, Wish, alone, wish};
use crate::trust::store::{Trusted, Via};
use crate::trust::verifier::{Expect, Rules};

const LIMIT: Duration = Duration::from_secs(20);

fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dialled = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (dialled, listener.accept().unwrap().0)
}

fn verifier(trusted: &Trusted, expect: Expect) -> Arc<Verifier> {
    Verifier::new(Rules::new(trusted.clone(), vec![], vec![], provider()).unwrap(), expect)
}

fn pinning(certificate: &Certificate) -> Trusted {
    let mut trusted = Trusted::empty();
    trusted.pin(&certificate.subject, certificate, Via::Pair).unwrap();
    trusted
}

/// A client and a server that know each other.
fn channels() -> (Channel, Channel) {
    let (laptop, attic) = (alone(&wish("laptop", &[])), alone(&wish("attic", &[])));
    let (dialled, accepted) = sockets();
    let (by_laptop, by_attic) = (pinning(attic.certificate()), pinning(laptop.certificate()));
    let deadline = Instant::now() + LIMIT;
    let server = thread::spawn(move || {
        let verifier = verifier(&by_attic, Expect::Anybody);
        accept(Stream::tcp(accepted), &attic, &verifier, deadline).unwrap()
    });
    let verifier = verifier(&by_laptop, Expect::Host(vec!["attic".into()]));
    let client = connect(Stream::tcp(dialled), &laptop, &verifier, deadline).unwrap();
    (client, server.join().unwrap())
}

/// Tries again what timed out, as the engines do.
fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            done => return done,
        }
    }
}

fn read_exactly(reader: &mut Reader, mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match patiently(|| reader.read(bytes))? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => bytes = &mut bytes[read..],
        }
    }
    Ok(())
}

fn write_all(writer: &mut Writer, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = patiently(|| writer.write(bytes))?;
        bytes = &bytes[written..];
    }
    patiently(|| writer.flush())
}

#[test]
fn both_know_who_is_there() {
    let (client, server) = channels();
    assert_eq!((&*client.peer.name, &*server.peer.name), ("attic", "laptop"));
    assert!(client.peer.is_pinned && client.watch.failure().is_none());
}

/// Neither end ever waits for the other to read: full sockets in both directions, and writes that
/// time out after 10 ms.
#[test]
fn both_directions_at_once() {
    const BLOCK: usize = 1 << 20;
    const BLOCKS: usize = 24;
    let (client, server) = channels();
    let pattern: Arc<Vec<u8>> = Arc::new(
        (0..BLOCK as u32).map(|it| (it.wrapping_mul(2_654_435_761) >> 13) as u8).collect(),
    );
    thread::scope(|scope| {
        for Channel { mut reader, mut writer, .. } in [client, server] {
            let (reads, writes) = (Arc::clone(&pattern), Arc::clone(&pattern));
            scope.spawn(move || {
                for _ in 0..BLOCKS {
                    write_all(&mut writer, &writes).unwrap();
                }
            });
            scope.spawn(move || {
                let mut bytes = vec![0; BLOCK];
                for _ in 0..BLOCKS {
                    // A side that reads now and then fills the sockets.
                    thread::sleep(Duration::from_millis(1));
                    read_exactly(&mut reader, &mut bytes).unwrap();
                    assert!(bytes == *reads);
                }
            });
        }
    });
}

/// A third thread ends a read that waits and a write that nobody takes.
#[test]
fn a_shutdown_wakes_both_directions() {
    let (client, server) = channels();
    let Channel { mut reader, mut writer, closer, .. } = client;
    let ended: Vec<ErrorKind> = thread::scope(|scope| {
        let reads = scope.spawn(move || patiently(|| reader.read(&mut [0; 16])).map(drop));
        let writes = scope.spawn(move || {
            loop {
                write_all(&mut writer, &[0; 1 << 16])?;
            }
        });
        thread::sleep(Duration::from_millis(100));
        closer.shutdown();
        let ended: [io::Result<()>; 2] = [reads.join().unwrap(), writes.join().unwrap()];
        ended.into_iter().map(|ended| ended.unwrap_err().kind()).collect()
    });
    assert_eq!(ended[0], ErrorKind::UnexpectedEof);
    assert_ne!(ended[1], ErrorKind::TimedOut);
    drop(server);
}

/// A socket that ends without a word is a cut, whatever came before.
#[test]
fn a_cut_is_no_end() {
    let (client, server) = channels();
    let Channel { mut writer, closer, .. } = server;
    write_all(&mut writer, b"hello").unwrap();
    closer.shutdown();
    let mut reader = client.reader;
    let mut bytes = [0; 5];
    read_exactly(&mut reader, &mut bytes).unwrap();
    assert_eq!(bytes, *b"hello");
    for _ in 0..2 {
        let error = patiently(|| reader.read(&mut bytes)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }
    assert_eq!(client.watch.failure(), None);
}

/// A changed byte is damage and never content.
#[test]
fn what_is_changed_on_the_way_is_noticed() {
    let (client, server) = channels();
    let Channel { mut writer, closer, .. } = server;
    let Stream::Tcp(mut socket) = closer else { unreachable!("a socket") };
    write_all(&mut writer, b"hello").unwrap();
    // A record of TLS that nobody has sealed.
    socket.write_all(&[0x17, 3, 3, 0, 20]).unwrap();
    socket.write_all(&[7; 20]).unwrap();
    let mut reader = client.reader;
    read_exactly(&mut reader, &mut [0; 5]).unwrap();
    let error = patiently(|| reader.read(&mut [0; 5])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert_eq!(client.watch.failure(), Some(Failure::Damaged));
    assert!(Failure::Damaged.may_pass());
}

/// How a meeting ended for both: nothing, or the sentences.
fn meet(
    (server, by_server): (&Credentials, &Trusted),
    (client, by_client): (&Credentials, &Trusted),
    expect: Expect,
) -> [String; 2] {
    let (dialled, accepted) = sockets();
    let deadline = Instant::now() + LIMIT;
    let (who_client, who_server) = (Who::Client("192.168.1.7".into()), Who::Server("attic".into()));
    let own = "laptop, ocean-tiger";
    thread::scope(|scope| {
        let accepting = scope.spawn(move || {
            let verifier = verifier(by_server, Expect::Anybody);
            match accept(Stream::tcp(accepted), server, &verifier, deadline) {
                Ok(mut channel) => {
                    write_all(&mut channel.writer, b"welcome").unwrap();
                    String::new()
                }
                Err(failure) => failure.error(&who_client, "attic, other-words").message,
            }
        });
        let verifier = verifier(by_client, expect);
        let dialling = match connect(Stream::tcp(dialled), client, &verifier, deadline) {
            // A client is done before its server has looked at its certificate.
            Ok(mut channel) => match read_exactly(&mut channel.reader, &mut [0; 7]) {
                Ok(()) => String::new(),
                Err(error) => {
                    let failure = channel.watch.failure().unwrap_or(Failure::of_stream(&error));
                    failure.error(&who_server, own).message
                }
            },
            Err(failure) => failure.error(&who_server, own).message,
        };
        [dialling, accepting.join().unwrap()]
    })
}

/// What each of the two says: who refuses tells the reason, and whoever is refused that it was.
#[test]
fn both_sides_say_what_happened() {
    let (home, other) = (Ca::new("home"), Ca::new("other"));
    let attic = home.issue(&wish("deviceB", &["attic", "172.20.10.3"]));
    let laptop = home.issue(&wish("laptop", &[]));
    let evil = other.issue(&wish("evil", &["attic"]));
    let bare = home.issue(&wish("deviceB", &[]));
    let old = home.issue(&Wish { from: -48, to: -2, ..wish("deviceB", &["attic"]) });
    let mut fleet = Trusted::empty();
    fleet.add_ca(&home.certificate).unwrap();
    let mut gone = fleet.clone();
    gone.remove(&laptop.certificate().id.to_string()).unwrap();
    gone.removed[0].name = "laptop".into();
    let host = |host: &str| Expect::Host(vec![host.into()]);
    let key = Expect::Key("attic".into(), laptop.certificate().id);
    let words = evil.certificate().id.words();
    let day = crate::trust::store::day(jiff::Timestamp::now());
    let ended = old.certificate().until;
    let rows: Vec<(&str, [String; 2], [String; 2])> = vec![
        (
            "a fleet",
            meet((&attic, &fleet), (&laptop, &fleet), host("attic")),
            ["", ""].map(String::from),
        ),
        (
            "by address",
            meet((&attic, &fleet), (&laptop, &fleet), host("172.20.10.3")),
            ["", ""].map(String::from),
        ),
        (
            "an unknown client",
            meet((&attic, &fleet), (&evil, &fleet), host("attic")),
            [
                "attic does not trust this device (laptop, ocean-tiger)".into(),
                format!("refused 192.168.1.7: unknown device \"evil\" ({words})"),
            ],
        ),
        (
            "an unknown server",
            meet((&evil, &fleet), (&laptop, &fleet), host("attic")),
            [
                "attic's certificate (evil, signed by \"other\") is from no CA that this device knows"
                    .into(),
                "refused 192.168.1.7: it does not trust this device (attic, other-words)".into(),
            ],
        ),
        (
            "a removed client",
            meet((&attic, &gone), (&laptop, &fleet), host("attic")),
            [
                "attic has removed this device".into(),
                format!("refused 192.168.1.7: laptop was removed from this device on {day}"),
            ],
        ),
        (
            "another key than the pinned one",
            meet((&attic, &fleet), (&laptop, &fleet), key),
            [
                "attic has another key than before".into(),
                "refused 192.168.1.7: it does not let this device in (attic, other-words)".into(),
            ],
        ),
        (
            "another host",
            meet((&attic, &fleet), (&laptop, &fleet), host("192.168.1.9")),
            [
                "attic's certificate is for attic, 172.20.10.3, not for 192.168.1.9".into(),
                "refused 192.168.1.7: it does not trust this device (attic, other-words)".into(),
            ],
        ),
        (
            "no host",
            meet((&bare, &fleet), (&laptop, &fleet), host("attic")),
            [
                "attic's certificate has no SAN, so nothing says that it is for attic".into(),
                "refused 192.168.1.7: it does not trust this device (attic, other-words)".into(),
            ],
        ),
        (
            "an old server",
            meet((&old, &fleet), (&laptop, &fleet), host("attic")),
            [
                format!("attic's certificate ended 2 hours ago ({ended})"),
                "refused 192.168.1.7: it finds this certificate out of date: it has ended, or a clock \
                 is wrong"
                    .into(),
            ],
        ),
    ];
    for (row, said, expected) in rows {
        assert_eq!(said, expected, "{row}");
    }
}

/// What is no TLS, no end of a handshake, or speaks something else inside.
#[test]
fn strangers_are_told_apart() {
    let attic = alone(&wish("attic", &[]));
    type Stranger = fn(&TcpStream);
    let strangers: [(&str, Stranger, Failure); 4] = [
        (
            "another protocol",
            |it| drop((&*it).write_all(b"GET / HTTP/1.1\r\n\r\n")),
            Failure::NotTls,
        ),
        ("nothing at all", |it| drop(it.shutdown(Shutdown::Both)), Failure::Cut),
        (
            "a message without an end",
            |it| {
                let mut it = it;
                // Records of a client's hello that claims to be 16 MB.
                drop(it.write_all(&[0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff]));
                drop(it.write_all(&[0; 0x4000 - 4]));
                for _ in 0..8 {
                    drop(it.write_all(&[0x16, 3, 1, 0x40, 0]));
                    drop(it.write_all(&[0; 0x4000]));
                }
            },
            Failure::NotTls,
        ),
        ("an alert", |it| drop((&*it).write_all(&[0x15, 3, 3, 0, 2, 2, 40])), Failure::NotTls),
    ];
    for (name, stranger, expected) in strangers {
        let (mut dialled, accepted) = sockets();
        dialled.set_nodelay(true).unwrap();
        stranger(&dialled);
        let verifier = verifier(&Trusted::empty(), Expect::Anybody);
        let deadline = Instant::now() + LIMIT;
        let failure = accept(Stream::tcp(accepted), &attic, &verifier, deadline).unwrap_err();
        assert_eq!(failure, expected, "{name}");
        let _ = dialled.read(&mut [0; 16]);
    }
    // One that says nothing holds nobody for longer than it may.
    let (dialled, accepted) = sockets();
    let verifier = verifier(&Trusted::empty(), Expect::Anybody);
    let deadline = Instant::now() + Duration::from_millis(50);
    let failure = accept(Stream::tcp(accepted), &attic, &verifier, deadline).unwrap_err();
    assert_eq!(failure, Failure::TimedOut);
    drop(dialled);
}

/// rustls lets a client in that names no protocol; this program does not, and neither end speaks with
/// one that names another.
#[test]
fn the_protocol_is_checked_on_both_sides() {
    for (names, expected) in [
        (vec![], Some(Failure::OtherProtocol)),
        (vec![b"h2".to_vec()], Some(Failure::OtherProtocol)),
        (vec![b"h2".to_vec(), ALPN.to_vec()], None),
    ] {
        let (laptop, attic) = (alone(&wish("laptop", &[])), alone(&wish("attic", &[])));
        let (by_attic, by_laptop) = (pinning(laptop.certificate()), pinning(attic.certificate()));
        let (mut dialled, accepted) = sockets();
        let stranger = thread::spawn(move || {
            let verifier = verifier(&by_laptop, Expect::Host(vec![]));
            let mut config = (*config::client(&laptop, verifier).unwrap()).clone();
            config.alpn_protocols = names;
            let nobody = "127.0.0.1".try_into().unwrap();
            let mut tls = rustls::ClientConnection::new(Arc::new(config), nobody).unwrap();
            let _ = rustls::Stream::new(&mut tls, &mut dialled).read(&mut [0]);
        });
        let verifier = verifier(&by_attic, Expect::Anybody);
        let deadline = Instant::now() + LIMIT;
        let met = accept(Stream::tcp(accepted), &attic, &verifier, deadline);
        assert_eq!(met.err(), expected);
        stranger.join().unwrap();
    }
}

/// A message of TLS itself that has begun and not ended, as nobody honest sends it: whoever writes
/// meanwhile must not stumble over it.
#[test]
fn half_a_message_stops_no_writer() {
    use chacha20poly1305::aead::{Aead, Payload};
    use chacha20poly1305::{ChaCha20Poly1305, KeyInit};

    let (laptop, attic) = (alone(&wish("laptop", &[])), alone(&wish("attic", &[])));
    let (by_attic, by_laptop) = (pinning(laptop.certificate()), pinning(attic.certificate()));
    let (mut dialled, accepted) = sockets();
    let stranger = thread::spawn(move || {
        let config = config::client(&laptop, verifier(&by_laptop, Expect::Anybody)).unwrap();
        // Its choice counts, where the server has AES; else it is the server's as well.
        let mut chacha = rustls::crypto::ring::default_provider();
        chacha.cipher_suites.retain(|it| format!("{:?}", it.suite()).contains("CHACHA20"));
        let mut builder = rustls::ClientConfig::builder_with_provider(Arc::new(chacha))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(verifier(&by_laptop, Expect::Host(vec![])))
            .with_client_cert_resolver(Arc::clone(&config.client_auth_cert_resolver));
        builder.alpn_protocols = vec![ALPN.to_vec()];
        builder.enable_secret_extraction = true;
        let nobody = "127.0.0.1".try_into().unwrap();
        let mut tls = rustls::ClientConnection::new(Arc::new(builder), nobody).unwrap();
        while tls.is_handshaking() || tls.wants_write() {
            tls.complete_io(&mut dialled).unwrap();
        }
        let secrets = tls.dangerous_extract_secrets().unwrap();
        let (number, rustls::ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets.tx
        else {
            unreachable!("one cipher is offered")
        };
        // RFC 8446, 5.2 and 5.3: two bytes of a KeyUpdate's header, and the type of content.
        let (plain, head) = ([24, 0, 22], [23, 3, 3, 0, 3 + 16]);
        let mut nonce: [u8; 12] = iv.as_ref().try_into().unwrap();
        for (byte, of_number) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= of_number;
        }
        let cipher = ChaCha20Poly1305::new_from_slice(key.as_ref()).unwrap();
        let sealed = cipher.encrypt(&nonce.into(), Payload { msg: &plain, aad: &head }).unwrap();
        dialled.write_all(&head).unwrap();
        dialled.write_all(&sealed).unwrap();
        // A record of TLS: its head, the plaintext, the type of content and the tag.
        let mut came = [0; 5 + 200 + 1 + 16];
        dialled.read_exact(&mut came).unwrap();
        dialled
    });
    let verifier = verifier(&by_attic, Expect::Anybody);
    let deadline = Instant::now() + LIMIT;
    let mut channel = accept(Stream::tcp(accepted), &attic, &verifier, deadline).unwrap();
    let error = channel.reader.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    write_all(&mut channel.writer, &[7; 200]).unwrap();
    drop(stranger.join().unwrap());
    let error = patiently(|| channel.reader.read(&mut [0; 8])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(channel.watch.failure(), None);
}
