//! What a relay does for clients.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use iroh_relay::quic::QuicClient;
use iroh_relay::tls::{CaTlsConfig, default_provider};
use n0_future::StreamExt;
use tokio::time::timeout;

use super::stage::{Papers, RUNTIME, Relay, get, relay};
use super::util::process::{LIMIT, Pipe, Process};

/// Two clients, and bytes from one to the other; then it is stopped.
fn meet(mut relay: Relay) -> Result<()> {
    let (mut one, mut other) = (relay.client(None)?, relay.client(None)?);
    one.send(other.id, b"hello")?;
    assert_eq!(other.bytes()?, b"hello");
    other.send(one.id, b"hello yourself")?;
    assert_eq!(one.bytes()?, b"hello yourself");
    let line = relay.wait_until(|line| line["bytes"] == 19)?;
    assert_eq!((&line["clients"], &line["came"]), (&2.into(), &2.into()));
    drop(one);
    relay.wait_until(|line| line["clients"] == 1)?;
    let (ended, lines) = relay.stop()?;
    // Whoever is still there is told by the end of its connection.
    while other.next()?.is_some() {}
    ended.says("relay ready: `transfer send --relay http")?;
    ended.says("stopped")?;
    assert!(!ended.stderr.contains("127.0.0.1 "), "addresses only with -v: {ended:#?}");
    let last = lines.last().context("a line")?;
    assert_eq!((&last["event"], &last["exit"]), (&"end".into(), &0.into()));
    Ok(())
}

#[test]
fn clients_meet_behind_a_proxy() -> Result<()> {
    meet(Relay::plain(&["--every", "1s"])?)
}

#[test]
fn clients_meet_over_tls() -> Result<()> {
    meet(Relay::with_tls(&Papers::new()?, &["--every", "1s"])?)
}

#[test]
fn the_curious_learn_who_comes_and_goes() -> Result<()> {
    let mut relay = Relay::plain(&["-v"])?;
    drop(relay.client(None)?);
    relay.process.wait_for(Pipe::Err, "127.0.0.1 connected")?;
    relay.process.wait_for(Pipe::Err, "127.0.0.1 left")?;
    relay.stop().map(drop)
}

#[test]
fn sigterm_ends_it_well_too() -> Result<()> {
    let relay = Relay::plain(&[])?;
    let id = rustix::process::Pid::from_raw(i32::try_from(relay.process.id())?).context("an id")?;
    rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
    relay.process.end()?.expect(0)?;
    // Twice, as whoever is in a hurry presses a key, and with a client that it would wait for.
    let relay = Relay::plain(&[])?;
    let _client = relay.client(None)?;
    relay.process.interrupt()?;
    relay.process.interrupt()?;
    let ended = relay.process.end()?.expect(0)?;
    ensure!(!ended.stderr.contains("the other side"), "{ended:#?}");
    Ok(())
}

/// What iroh's clients ask to find out how far a relay is and who answers in its place.
#[test]
fn the_small_questions_are_answered() -> Result<()> {
    let relay = Relay::plain(&[])?;
    let ask = |path: &str, head: &str| get(relay.connect()?, path, head);
    assert!(ask("/ping", "")?.starts_with("HTTP/1.1 200 "));
    let answer = ask("/generate_204", "X-Iroh-Challenge: a.B_1-2\r\n")?;
    ensure!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    ensure!(answer.contains("x-iroh-response: response a.B_1-2\r\n"), "{answer}");
    for bad in ["a b", "<", &"a".repeat(64)] {
        let answer = ask("/generate_204", &format!("X-Iroh-Challenge: {bad}\r\n"))?;
        ensure!(!answer.contains("x-iroh-response"), "{answer}");
    }
    ensure!(ask("/", "")?.contains("a relay of transfer "));
    ensure!(ask("/robots.txt", "")?.contains("Disallow: /"));
    ensure!(ask("/etc/passwd", "")?.starts_with("HTTP/1.1 404 "));
    // No client's question either.
    ensure!(ask("/relay", "")?.starts_with("HTTP/1.1 400 "));
    relay.stop().map(drop)
}

#[test]
fn prometheus_reads_its_numbers() -> Result<()> {
    let relay = Relay::plain(&["--metrics", "0"])?;
    let (mut one, mut other) = (relay.client(None)?, relay.client(None)?);
    one.send(other.id, b"hello")?;
    other.bytes()?;
    let ask = |path: &str| {
        let stream = std::net::TcpStream::connect(relay.address("metrics")?)?;
        get(stream, path, "")
    };
    let numbers = ask("/metrics")?;
    for line in [
        "# TYPE transfer_relay_clients gauge",
        "transfer_relay_clients 2",
        "transfer_relay_clients_total 2",
        "transfer_relay_received_bytes_total 5",
        "transfer_relay_delivered_bytes_total 5",
        "transfer_relay_refused_total{why=\"token\"} 0",
    ] {
        ensure!(numbers.lines().any(|it| it == line), "no {line:?} in {numbers}");
    }
    ensure!(ask("/")?.starts_with("HTTP/1.1 404 "));
    // The relay's own port does not tell them.
    ensure!(get(relay.connect()?, "/metrics", "")?.starts_with("HTTP/1.1 404 "));
    relay.stop().map(drop)
}

#[test]
fn clients_learn_their_address_over_quic() -> Result<()> {
    let papers = Papers::new()?;
    let relay = Relay::with_tls(&papers, &[])?;
    let port = relay.told["discovery"].as_u64().context("a port")?;
    let server = (Ipv4Addr::LOCALHOST, u16::try_from(port)?).into();
    let config =
        CaTlsConfig::custom_roots([papers.der.clone().into()]).client_config(default_provider())?;
    let seen = RUNTIME.block_on(async {
        let endpoint = noq::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
        let own = endpoint.local_addr()?;
        let client = QuicClient::new(endpoint, config);
        let connection = client.create_conn(server, "127.0.0.1").await?;
        let mut seen = connection.observed_external_addr();
        let seen = timeout(LIMIT, seen.next()).await?.context("no address")?;
        // What nobody reads would be kept.
        ensure!(connection.max_datagram_size().is_none(), "the relay takes datagrams");
        anyhow::Ok((seen, own.port()))
    })?;
    assert_eq!((seen.0.ip(), seen.0.port()), (Ipv4Addr::LOCALHOST.into(), seen.1));
    relay.stop().map(drop)
}

#[test]
fn a_certificate_is_renewed_while_it_runs() -> Result<()> {
    let mut papers = Papers::new()?;
    let mut relay = Relay::with_tls(&papers, &[])?;
    relay.client(None)?;
    // What cannot be used replaces nothing.
    papers.write("relay.pem", b"oops", 0o644)?;
    relay.process.wait_for(Pipe::Err, "the certificate of before stays")?;
    relay.client(None)?;
    papers.renew()?;
    relay.process.wait_for(Pipe::Err, "the certificate was loaded anew")?;
    relay.refusal(None)?;
    relay.roots = vec![papers.der.clone()];
    relay.client(None)?;
    relay.stop().map(drop)
}

/// Without `--json`, as people start it.
#[test]
fn it_says_what_clients_are_to_be_told() -> Result<()> {
    let mut process = Process::start(relay(&["--http", "0", "--every", "1s"]))?;
    let line = process.wait_for(Pipe::Err, "relay ready: ")?;
    ensure!(line.contains("`transfer send --relay http://127.0.0.1:"), "{line}");
    process.interrupt()?;
    let ended = process.end()?.expect(0)?;
    ensure!(ended.stdout.is_empty(), "{ended:#?}");
    ensure!(!ended.stderr.contains("clients here"), "nobody was there: {ended:#?}");
    Ok(())
}
