use std::{
    net::{Ipv4Addr, TcpListener},
    thread,
};

use super::*;
use crate::error::Exit;

const LIMIT: Duration = Duration::from_secs(60);
const TARGET: &str = "100.70.15.9:15820";

fn target() -> SocketAddr {
    TARGET.parse().unwrap()
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A port where nothing listens.
fn closed() -> SocketAddr {
    listener().1
}

/// A server for one connection, which says its lines in turn: what it expects, what it answers.
fn server(script: Vec<(Vec<u8>, Vec<u8>)>) -> SocketAddr {
    let (listener, address) = listener();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for (expected, answer) in script {
            let mut got = vec![0; expected.len()];
            stream.read_exact(&mut got).unwrap();
            assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&expected));
            stream.write_all(&answer).unwrap();
        }
    });
    address
}

fn proxy(url: &str, server: SocketAddr) -> Route {
    Route::Proxy(Proxy::parse(&url.replace("HERE", &server.to_string())).unwrap())
}

fn read_string(stream: &mut impl Read, length: usize) -> String {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn direct() {
    let address = server(vec![(b"hello".to_vec(), b"there".to_vec())]);
    let mapped = format!("[::ffff:127.0.0.1]:{}", address.port()).parse().unwrap();
    let mut stream = dial(mapped, &Route::Direct, LIMIT).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), address);
    let mut other = stream.try_clone().unwrap();
    other.write_all(b"hello").unwrap();
    assert_eq!(read_string(&mut stream, 5), "there");
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    let Stream::Tcp(socket) = &stream else { panic!("not TCP") };
    assert!(socket.nodelay().unwrap());
}

#[test]
fn no_connection_says_why() {
    let nobody = closed();
    let error = dial(nobody, &Route::Direct, LIMIT).unwrap_err();
    assert_eq!(error.exit(), Exit::Network);
    assert_eq!(error.message, format!("nothing listens at {nobody}"));
    assert!(error.hint.unwrap().contains("`transfer send`"));

    use io::ErrorKind::{HostUnreachable, NetworkUnreachable, PermissionDenied, TimedOut};
    for (kind, message, hint) in [
        (TimedOut, "100.70.15.9:15820 did not answer within 30s", "`--shields-up`"),
        (TimedOut, "did not answer", "access rule (ACL)"),
        (TimedOut, "did not answer", "port 15820"),
        (NetworkUnreachable, "there is no way to 100.70.15.9:15820: network", "ALL_PROXY"),
        (HostUnreachable, "there is no way to 100.70.15.9:15820: host", "ALL_PROXY"),
        (PermissionDenied, "cannot connect to 100.70.15.9:15820: permission", "firewall"),
    ] {
        let error = no_connection(target(), &kind.into(), Duration::from_secs(30));
        assert!(error.message.contains(message), "{error}");
        assert_eq!(error.exit(), Exit::Network);
        assert!(error.hint.unwrap().contains(hint));
    }
}

#[test]
fn timeouts_and_deadlines() {
    let (listener, address) = listener();
    let mut stream = dial(address, &Route::Direct, LIMIT).unwrap();
    let far = listener.accept().unwrap().0;
    stream.set_timeout(Some(Duration::from_millis(20))).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
    let piece = vec![0; 1 << 20];
    let stuck = loop {
        if let Err(error) = stream.write(&piece) {
            break error;
        }
    };
    assert_eq!(stuck.kind(), io::ErrorKind::TimedOut);

    // However the bytes trickle, the deadline holds.
    let trickle = trickle(far);
    let mut until = stream.until(Instant::now() + Duration::from_millis(100));
    let error = until.read_exact(&mut [0; 100_000]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(until.write(b"late").unwrap_err().kind(), io::ErrorKind::TimedOut);
    drop(stream);
    trickle.join().unwrap();
}

/// A byte now and then, as long as there is somebody who takes it.
fn trickle(mut far: TcpStream) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        while far.write_all(b".").is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    })
}

/// Not under wine 8, whose `shutdown` does not end what the other side sends: only closing does.
#[test]
#[cfg_attr(windows, ignore = "wine goes on receiving behind a shutdown")]
fn a_shutdown_ends_whoever_reads_or_writes() {
    let (listener, address) = listener();
    let mut stream = dial(address, &Route::Direct, LIMIT).unwrap();
    let trickle = trickle(listener.accept().unwrap().0);
    let other = stream.try_clone().unwrap();
    let reader = thread::spawn(move || io::copy(&mut stream, &mut io::sink()));
    other.shutdown();
    other.shutdown();
    // What arrives after the end may count as an error; what matters is that it ends.
    let _ = reader.join().unwrap();
    trickle.join().unwrap();
}

#[test]
fn proxies_are_read() {
    for (url, shown) in [
        ("socks5://localhost:1055", "socks5://localhost:1055"),
        ("socks5h://127.0.0.1:1055/", "socks5://127.0.0.1:1055"),
        (" SOCKS5://[::1]:1055 ", "socks5://[::1]:1055"),
        ("http://proxy.example:8080/x?y#z", "http://proxy.example:8080"),
        ("localhost:1055", "http://localhost:1055"),
        ("socks5://me:sec%3Aret@host:1", "socks5://host:1"),
        ("http://me@host:65535", "http://host:65535"),
    ] {
        let proxy = Proxy::parse(url).unwrap();
        assert_eq!((proxy.to_string(), format!("{proxy:?}")), (shown.into(), shown.into()));
    }
    let long = format!("socks5://me:{}@host:1", "secret".repeat(50));
    for (url, why) in [
        ("socks4://me:secret@host:1", "scheme"),
        ("https://host:1", "scheme"),
        ("socks5://host", "no port"),
        ("", "no port"),
        ("socks5://host:", "port is no number"),
        ("socks5://host:0", "port is no number"),
        ("socks5://me:secret@host:65536", "port is no number"),
        ("socks5://:1055", "no host"),
        ("socks5://::1:1055", "IPv6"),
        ("http://me:secret%zz@host:1", "login is malformed"),
        ("http://me:secret%f@host:1", "login is malformed"),
        ("http://me:secret%ff@host:1", "login is malformed"),
        ("socks5://me@host:1", "1 to 255"),
        (&long, "1 to 255"),
    ] {
        let error = Proxy::parse(url).unwrap_err();
        assert!(error.message.contains(why) && !error.message.contains("secret"), "{error}");
        assert_eq!(error.exit(), Exit::Usage);
    }
}

#[test]
fn socks5() {
    let v4: &[u8] = &[5, 1, 0, 1, 100, 70, 15, 9, 0x3d, 0xcc];
    let v6: &[u8] =
        &[5, 1, 0, 4, 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0x3d, 0xcc];
    let long_name = [&[5, 0, 0, 3, 255][..], &[b'x'; 257]].concat();
    let ipv6_answer = [&[5, 0, 0, 4][..], &[9; 18]].concat();
    for (url, target, login, request, answer) in [
        ("socks5://HERE", TARGET, false, v4, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0][..]),
        ("socks5h://HERE", TARGET, false, v4, &long_name),
        ("socks5://HERE", "[fd7a:115c:a1e0::7]:15820", false, v6, &ipv6_answer),
        ("socks5://HERE", "[::ffff:100.70.15.9]:15820", false, v4, &ipv6_answer),
        ("socks5://me:p%40ss@HERE", TARGET, true, v4, &[5, 0, 0, 3, 0, 0, 0]),
    ] {
        let mut script = if login {
            vec![(vec![5, 2, 0, 2], vec![5, 2]), (b"\x01\x02me\x04p@ss".to_vec(), vec![1, 0])]
        } else {
            vec![(vec![5, 1, 0], vec![5, 0])]
        };
        // The far side's first bytes come right behind the proxy's answer.
        script.push((request.to_vec(), [answer, b"TRNS"].concat()));
        script.push((b"ping".to_vec(), b"pong".to_vec()));
        let mut stream = dial(target.parse().unwrap(), &proxy(url, server(script)), LIMIT).unwrap();
        assert_eq!(read_string(&mut stream, 4), "TRNS");
        stream.write_all(b"ping").unwrap();
        assert_eq!(read_string(&mut stream, 4), "pong");
    }
}

#[test]
fn socks5_failures() {
    let hello = || vec![5, 1, 0];
    let request = || vec![5, 1, 0, 1, 100, 70, 15, 9, 0x3d, 0xcc];
    let refusal = |answer: &[u8]| vec![(hello(), vec![5, 0]), (request(), answer.to_vec())];
    for (script, message) in [
        (vec![], "hung up"),
        (vec![(hello(), vec![5])], "hung up"),
        (vec![(hello(), vec![4, 0])], "does not speak SOCKS5"),
        (vec![(hello(), b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())], "does not speak SOCKS5"),
        (vec![(hello(), vec![5, 2])], "does not speak SOCKS5"), // not what we offered
        (vec![(hello(), vec![5, 0xff])], "wants another login"),
        (refusal(&[5, 1, 0, 1, 0, 0, 0, 0, 0, 0]), "cannot reach 100.70.15.9:15820: it gave no"),
        (refusal(&[5, 5, 0, 1]), "connection was refused"),
        (refusal(&[5, 77, 0, 1]), "SOCKS5 code 77"),
        (refusal(&[4, 0, 0, 1]), "does not speak SOCKS5"),
        (refusal(&[5, 0, 0, 2, 0, 0]), "without sense"),
        (refusal(&[5, 0, 0, 1, 0, 0, 0]), "hung up"),
        (refusal(&[5, 0]), "hung up"),
    ] {
        fails("socks5://HERE", script, message);
    }
    let login =
        vec![(vec![5, 2, 0, 2], vec![5, 2]), (b"\x01\x02me\x06secret".to_vec(), vec![1, 1])];
    fails("socks5://me:secret@HERE", login, "refuses the login");
}

fn fails(url: &str, script: Vec<(Vec<u8>, Vec<u8>)>, message: &str) {
    let error = dial(target(), &proxy(url, server(script)), LIMIT).unwrap_err();
    assert!(error.message.contains(message), "{message}: {error}");
    assert!(!error.message.contains("secret") && !error.message.contains('\u{1b}'));
    assert!(error.hint.is_some());
    assert_eq!(error.exit(), Exit::Network);
}

#[test]
fn http_connect() {
    let request = |login: &str| {
        format!("CONNECT {TARGET} HTTP/1.1\r\nHost: {TARGET}\r\n{login}\r\n").into_bytes()
    };
    let login = "Proxy-Authorization: Basic bWU6cEBzcw==\r\n";
    let padded = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(8000));
    for (url, login, answer) in [
        ("http://HERE", "", "HTTP/1.1 200 OK\r\n\r\n"),
        ("HERE", "", "HTTP/1.0 200\r\n\r\n"),
        ("http://HERE", "", "HTTP/1.1 204 Fine\nContent-Length: 3\n\n"),
        ("http://HERE", "", &padded),
        ("http://me:p%40ss@HERE", login, "HTTP/1.1 200 OK\r\nA: b\r\n\r\n"),
    ] {
        let script = vec![
            (request(login), [answer.as_bytes(), b"\r\nTRNS"].concat()),
            (b"ping".to_vec(), b"pong".to_vec()),
        ];
        let mut stream = dial(target(), &proxy(url, server(script)), LIMIT).unwrap();
        assert_eq!(read_string(&mut stream, 6), "\r\nTRNS");
        stream.write_all(b"ping").unwrap();
        assert_eq!(read_string(&mut stream, 4), "pong");
    }
    let endless = "HTTP/1.1 200 OK\r\nX: ".to_owned() + &"x".repeat(10_000);
    for (answer, message) in [
        ("", "hung up"),
        ("HTTP/1.1 200 OK\r\n", "hung up"),
        (&endless, "endless"),
        ("SSH-2.0-x\r\n\r\n", "does not speak HTTP"),
        ("\u{5}\u{0}\n\n", "does not speak HTTP"),
        ("HTTP/1.1\r\n\r\n", "does not speak HTTP"),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "cannot reach 100.70.15.9:15820: HTTP/1.1 502 Bad"),
        (
            "HTTP/1.1 502 Bad\r\ntailscale-connect-error: dial\u{1b}: no route\r\n\r\n",
            r"cannot reach 100.70.15.9:15820: dial\u{1b}: no route",
        ),
        ("HTTP/1.1 407 Who?\r\n\r\n", "wants a login"),
    ] {
        fails("http://HERE", vec![(request(""), answer.into())], message);
    }
    let refused = vec![(
        request("Proxy-Authorization: Basic bWU6c2VjcmV0\r\n"),
        b"HTTP/1.1 407 No\r\n\r\n".to_vec(),
    )];
    fails("http://me:secret@HERE", refused, "refuses the login");
}

#[test]
fn a_proxy_that_is_away_or_silent() {
    let away = closed();
    let error = dial(target(), &proxy("socks5://me:secret@HERE", away), LIMIT).unwrap_err();
    assert_eq!(
        error.message,
        format!("cannot reach the proxy socks5://{away}: connection refused")
    );
    let (_silent, address) = listener();
    for url in ["socks5://HERE", "http://HERE"] {
        let error = dial(target(), &proxy(url, address), Duration::from_millis(50)).unwrap_err();
        assert!(error.message.ends_with("did not reach 100.70.15.9:15820 in time"), "{error}");
        assert!(error.hint.unwrap().contains("--shields-up"));
    }
}

/// `tailscale nc` as a shell script.
#[cfg(unix)]
mod nc {
    use tempfile::TempDir;

    use super::*;
    use crate::net::tailscale::tests::stubs::stub;

    fn start(dir: &TempDir, script: &str) -> Stream {
        dial(target(), &Route::Nc(stub(dir, script).cli().clone()), LIMIT).unwrap()
    }

    #[test]
    fn both_ways() {
        let dir = tempfile::tempdir().unwrap();
        let mut stream = start(&dir, "echo \"$*\"; exec cat");
        let args = "nc 100.70.15.9 15820\n";
        assert_eq!(read_string(&mut stream, args.len()), args);
        assert_eq!(stream.peer_addr().unwrap(), target());

        let data: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        let mut writer = stream.try_clone().unwrap();
        let mut back = vec![0; data.len()];
        thread::scope(|scope| {
            scope.spawn(|| writer.write_all(&data).unwrap());
            stream.read_exact(&mut back).unwrap();
        });
        assert!(back == data);

        stream.set_timeout(Some(Duration::from_millis(20))).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut until = stream.until(Instant::now() + Duration::from_millis(20));
        assert_eq!(until.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        stream.set_timeout(None).unwrap();
        let reader = thread::spawn(move || stream.read(&mut [0]).unwrap());
        writer.shutdown();
        assert_eq!(reader.join().unwrap(), 0);
        assert_eq!(writer.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn what_was_written_arrives_though_we_leave() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("got");
        let mut stream = start(&dir, &format!("cat > '{}'", file.display()));
        stream.write_all(&[7; 50_000]).unwrap();
        drop(stream);
        assert_eq!(std::fs::read(&file).unwrap().len(), 50_000);
    }

    /// A child that takes nothing more: the write can be tried again, and the child ended.
    #[test]
    fn a_stuck_write_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let stream = start(&dir, "echo up; exec sleep 600");
        assert_eq!(read_string(&mut &stream, 3), "up\n");
        let mut writer = stream.try_clone().unwrap();
        let stuck = loop {
            if let Err(error) = writer.write(&[0; 1 << 20]) {
                break error.kind();
            }
        };
        assert_eq!(stuck, io::ErrorKind::TimedOut);
        stream.shutdown();
        assert_eq!(writer.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn its_end_says_why() {
        for (script, data, error) in [
            ("printf data", "data", ""),
            (
                "echo Tailscale is stopped.; exit 1",
                "Tailscale is stopped.\n",
                "Tailscale is stopped.",
            ),
            (
                "echo 'Dial: 502 Bad Gateway: \u{1b}' >&2; exit 1",
                "",
                r"Dial: 502 Bad Gateway: \u{1b}",
            ),
            ("printf data; echo lost >&2; exit 1", "data", "lost"),
            ("exit 3", "", "it gave no reason"),
            ("kill -9 $$", "", "it gave no reason"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let mut stream = start(&dir, script);
            let mut got = Vec::new();
            let end = stream.read_to_end(&mut got);
            assert_eq!(String::from_utf8_lossy(&got), data);
            let write = loop {
                if let Err(error) = stream.write(b"x") {
                    break reason(&error);
                }
            };
            if error.is_empty() {
                end.unwrap();
                assert_eq!(write, "broken pipe");
            } else {
                let text = format!("`tailscale nc` failed: {error}");
                assert_eq!((end.unwrap_err().to_string(), write), (text.clone(), text));
            }
        }
        let nowhere = TailscaleDetector::with_command("/nowhere/tailscale".into());
        let error = dial(target(), &Route::Nc(nowhere.cli().clone()), LIMIT).unwrap_err();
        assert_eq!(error.message, "cannot run /nowhere/tailscale: no such file or directory");
        assert_eq!(error.exit(), Exit::Network);
    }
}

/// A read that gets nothing says so soon, and can be tried again.
#[test]
fn a_silent_direction_can_be_listened_to_again() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = listener.local_addr().unwrap();
    let stream = dial(target, &Route::Direct, LIMIT).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    let (mut reader, _writer) = stream.halves().unwrap();
    let mut byte = [0];
    let silent = reader.read(&mut byte).unwrap_err();
    assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
    peer.write_all(b"x").unwrap();
    assert_eq!((reader.read(&mut byte).unwrap(), byte), (1, *b"x"));
}
