//! What a relay does against those who mean it ill, or take too much. Each bound is reached here.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use iroh_relay::protos::relay::{RelayToClientMsg, Status};

use super::stage::{Guest, MOMENT, Papers, Relay, get};
use super::util::process::Pipe;

fn refused(line: &serde_json::Value, why: &str) -> u64 {
    line["refused"][why].as_u64().unwrap_or_default()
}

#[test]
fn an_address_has_so_many_clients() -> Result<()> {
    let mut relay = Relay::plain(&["--per-address", "3", "--every", "1s"])?;
    let mut crowd = (0..3).map(|_| relay.client(None)).collect::<Result<Vec<_>>>()?;
    let why = relay.refusal(None)?;
    ensure!(why.contains("as many connections from one address as there may be"), "{why}");
    relay.wait_until(|line| refused(line, "address") == 1 && line["clients"] == 3)?;
    drop(crowd.pop());
    relay.wait_until(|line| line["clients"] == 2)?;
    crowd.push(relay.client(None)?);
    relay.stop().map(drop)
}

#[test]
fn all_together_are_so_many() -> Result<()> {
    let relay = Relay::plain(&["--clients", "2"])?;
    let _crowd = (0..2).map(|_| relay.client(None)).collect::<Result<Vec<_>>>()?;
    let why = relay.refusal(None)?;
    ensure!(why.contains("as many clients as there may be"), "{why}");
    relay.stop().map(drop)
}

/// So many that some are refused however slow the machine is: an address gets four more each second.
const MANY: usize = 100;

#[test]
fn an_address_connects_only_so_often() -> Result<()> {
    let relay = Relay::plain(&["--per-address", "1000"])?;
    let ask = |head: fn(usize) -> String| -> Result<usize> {
        let mut streams = (0..MANY).map(|_| relay.connect()).collect::<Result<Vec<_>>>()?;
        for (number, stream) in streams.iter_mut().enumerate() {
            write!(stream, "GET / HTTP/1.1\r\nHost: relay\r\n{}\r\n", head(number))?;
        }
        let mut turned_away = 0;
        for mut stream in streams {
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            turned_away += usize::from(answer.starts_with("HTTP/1.1 429 "));
        }
        Ok(turned_away)
    };
    // The proxy of this machine asks for others, each of whom connects once…
    assert_eq!(ask(|number| format!("X-Forwarded-For: 198.51.100.{number}\r\n"))?, 0);
    // …and for one, who says that it is others.
    let of_one = ask(|number| format!("X-Forwarded-For: 198.51.100.{number}, 203.0.113.1\r\n"))?;
    ensure!(of_one > 0 && of_one <= MANY - 16, "{of_one} of {MANY} were turned away");
    let of_this_machine = ask(|_| String::new())?;
    ensure!(of_this_machine > 0 && of_this_machine <= MANY - 16, "{of_this_machine}");
    relay.stop().map(drop)
}

/// With TLS nobody is asked for a word: it is closed before the first.
#[test]
fn an_address_connects_only_so_often_with_tls() -> Result<()> {
    let mut relay = Relay::with_tls(&Papers::new()?, &["--every", "1s"])?;
    let crowd: Vec<_> = (0..MANY).map(|_| relay.connect()).collect();
    relay.wait_until(|line| {
        // Which of the two says no depends on how slow this machine is.
        let all = refused(line, "often") + refused(line, "address");
        (1..=MANY as u64 - 16).contains(&all)
    })?;
    drop(crowd);
    relay.stop().map(drop)
}

#[test]
fn idle_connections_keep_no_client_out() -> Result<()> {
    let relay = Relay::plain(&[])?;
    let crowd = (0..300).map(|_| relay.connect()).collect::<Result<Vec<_>>>()?;
    let (mut one, mut other) = (relay.client(None)?, relay.client(None)?);
    one.send(other.id, b"hello")?;
    assert_eq!(other.bytes()?, b"hello");
    drop(crowd);
    relay.stop().map(drop)
}

/// Whatever stage it has come to: nothing said, half a request, a request without its key.
#[test]
fn who_does_not_arrive_is_closed() -> Result<()> {
    let mut relay = Relay::plain(&["--every", "1s"])?;
    let upgrade = "GET /relay HTTP/1.1\r\nHost: relay\r\nConnection: upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Protocol: iroh-relay-v2\r\n\r\n";
    let silent = ["", "GET /relay HT", upgrade].map(|text| -> Result<_> {
        let mut stream = relay.connect()?;
        stream.write_all(text.as_bytes())?;
        Ok(thread::spawn(move || {
            let mut answer = vec![];
            // Closed, be it politely or not, and not by this side's patience.
            let ended = stream.read_to_end(&mut answer);
            assert!(!ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
            String::from_utf8_lossy(&answer).into_owned()
        }))
    });
    for (number, waiting) in silent.into_iter().enumerate() {
        let answer = waiting?.join().ok().context("the thread has panicked")?;
        assert_eq!(answer.starts_with("HTTP/1.1 101 "), number == 2, "{answer}");
    }
    let line = relay.wait_until(|line| refused(line, "slow") == 3)?;
    assert_eq!((&line["came"], &line["clients"]), (&0.into(), &0.into()));
    relay.stop().map(drop)
}

#[test]
fn with_tokens_only_who_has_one_is_let_in() -> Result<()> {
    let papers = Papers::new()?;
    let tokens = b"# for the laptop\nocean-tiger-ocean-tiger\n\n  another-token-of-somebody  \n";
    papers.write("tokens", tokens, 0o600)?;
    let file = papers.path("tokens");
    let mut relay = Relay::plain(&["--token-file", &file, "--every", "1s"])?;
    relay.client(Some("ocean-tiger-ocean-tiger"))?;
    relay.client(Some("another-token-of-somebody"))?;
    for token in [None, Some("ocean-tiger-ocean-tige"), Some("# for the laptop"), Some("")] {
        let why = relay.refusal(token)?;
        ensure!(why.contains("the relay wants a token"), "{token:?}: {why}");
    }
    relay.wait_until(|line| refused(line, "token") == 4)?;
    let (ended, _) = relay.stop()?;
    ended.says(", with a token")?;
    ensure!(!ended.stderr.contains("tiger") && !ended.stdout.contains("tiger"), "{ended:#?}");
    Ok(())
}

/// 300 kB at 50 kB a second after the first 100 kB: it is told to the client, and nothing is lost.
#[test]
fn a_client_that_is_too_fast_is_slowed_down() -> Result<()> {
    let relay = Relay::plain(&["--rate", "50k", "--burst", "100k", "--metrics", "0"])?;
    let (mut one, mut other) = (relay.client(None)?, relay.client(None)?);
    for _ in 0..300 {
        one.send(other.id, &[7; 1000])?;
    }
    for _ in 0..300 {
        assert_eq!(other.bytes()?, [7; 1000]);
    }
    loop {
        let message = one.next()?.context("it was told nothing")?;
        if matches!(message, RelayToClientMsg::Status(Status::RateLimited)) {
            break;
        }
    }
    let numbers = get(std::net::TcpStream::connect(relay.address("metrics")?)?, "/metrics", "")?;
    ensure!(numbers.contains("\ntransfer_relay_slowed_clients_total 1\n"), "{numbers}");
    relay.stop().map(drop)
}

#[test]
fn a_day_has_its_bytes() -> Result<()> {
    let mut relay = Relay::plain(&["--daily", "100k", "--every", "1s"])?;
    let (mut one, mut other) = (relay.client(None)?, relay.client(None)?);
    for _ in 0..110 {
        one.send(other.id, &[7; 1000])?;
    }
    // What was under way is delivered; then the connection ends.
    while other.next()?.is_some() {}
    relay.wait_until(|line| line["clients"] == 0)?;
    let why = relay.refusal(None)?;
    ensure!(why.contains("what may be relayed in a day has been"), "{why}");
    relay.wait_until(|line| refused(line, "daily") == 1)?;
    let (ended, _) = relay.stop()?;
    ended.says("as much as --daily allows was relayed")
}

/// A client that asks for signs of life (RFC 6455, section 5.5.2) and reads none of them.
fn deaf(relay: &Relay) -> Result<(Guest, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?).parse()?;
    let mut asking = relay.connect()?;
    let (mut there, mut back) = (asking.try_clone()?, asking.try_clone()?);
    let is_deaf = Arc::new(AtomicBool::new(false));
    let deafened = Arc::clone(&is_deaf);
    thread::spawn(move || -> Result<()> {
        let (mut client, _) = listener.accept()?;
        let mut from_client = client.try_clone()?;
        thread::spawn(move || std::io::copy(&mut from_client, &mut there));
        back.set_read_timeout(Some(MOMENT))?;
        let mut bytes = [0; 4096];
        while !deafened.load(Ordering::Relaxed) {
            match back.read(&mut bytes) {
                Ok(read) => client.write_all(&bytes[..read])?,
                Err(_) => continue,
            }
        }
        Ok(())
    });
    let guest = relay.client_by(url, None)?;
    is_deaf.store(true, Ordering::Relaxed);
    thread::sleep(4 * MOMENT);
    // A final frame of the kind ping, with a mask that changes nothing.
    let ping = [&[0x89, 0xfd, 0, 0, 0, 0][..], &[7; 125]].concat();
    let pings = ping.repeat(1000);
    for _ in 0..150 {
        asking.write_all(&pings)?;
    }
    Ok((guest, asking))
}

/// Whoever is sent away and reads nothing keeps the others and the relay waiting for a moment alone.
#[test]
fn a_deaf_client_does_not_keep_a_day_from_its_end() -> Result<()> {
    let mut relay = Relay::plain(&["--daily", "100k", "--every", "1s"])?;
    let _deaf = deaf(&relay)?;
    let (mut one, other) = (relay.client(None)?, relay.client(None)?);
    for _ in 0..110 {
        one.send(other.id, &[7; 1000])?;
    }
    relay.process.wait_for(Pipe::Err, "as much as --daily allows was relayed")?;
    relay.wait_until(|line| line["clients"] == 0)?;
    relay.stop().map(drop)
}

/// What is no HTTP, or no TLS, ends the connection and nothing else.
#[test]
fn noise_is_closed() -> Result<()> {
    let papers = Papers::new()?;
    for relay in [Relay::plain(&[])?, Relay::with_tls(&papers, &[])?] {
        for noise in [&b"\0\0\0\0\0\0\0\0"[..], b"SSH-2.0-x\r\n\r\n", &[b'a'; 40_000]] {
            let mut stream = relay.connect()?;
            // It may close before all of it is written.
            let _ = stream.write_all(noise);
            thread::sleep(MOMENT);
            let mut answer = vec![];
            let _ = stream.read_to_end(&mut answer);
            ensure!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
        }
        relay.client(None)?;
        relay.stop()?;
    }
    Ok(())
}
