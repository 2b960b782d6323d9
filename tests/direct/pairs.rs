//! Every pair of networks: the tree arrives, and by the way that the two gateways allow.

use std::fs;
use std::net::IpAddr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::hosts::Hosts;
use super::relay::Relay;
use super::stage::{Internet, Nat};
use super::util::tree::{ensure_arrived, noise, write};

/// Sends a tree that takes longer than it takes to find a way, and returns the ways it went at the receiver,
/// and the last direct address of the sender.
fn meet(internet: &Internet, options: &[&str]) -> Result<(Vec<String>, Option<IpAddr>)> {
    let relay = Relay::start(internet, "203.0.113.1", &[])?;
    let hosts = Hosts::new(internet, &[&relay])?;
    let tree = hosts.scratch.join("tree");
    write(&tree.join("large"), noise(12_000_000, 1))?;
    write(&tree.join("folder/small"), "hello")?;
    let limit = ["--limit", "3M"];
    let (sender, ticket) = hosts.send(&tree, &[&limit[..], options].concat())?;
    ensure!(ticket.ends_with("203.0.113.1"), "{ticket}");
    let log = hosts.scratch.join("log");
    let log = ["-vv", "--log-file", &*log.to_string_lossy()];
    let received = hosts.receive(&ticket, &[&log[..], options].concat())?.end(0)?;
    let sent = sender.end(0)?;
    ensure_arrived(&hosts.place(), &[&tree])?;
    assert_eq!(received.reconnected(), 0, "{:#?}", received.ended);
    if options.contains(&"--relay-only") {
        let log = fs::read_to_string(hosts.scratch.join("log"))?;
        for (said, others) in [
            ([&*sent.ended.stdout, &*sent.ended.stderr, ""], ["203.0.113.12", "10.2.0.2"]),
            (
                [&*received.ended.stdout, &*received.ended.stderr, &*log],
                ["203.0.113.11", "10.1.0.2"],
            ),
        ] {
            for address in others {
                ensure!(!said.iter().any(|it| it.contains(address)), "{address} is told: {said:?}");
            }
        }
    }
    let told = fs::read_to_string(hosts.scratch.join("log"))?;
    let ways: Vec<String> = received.ways().into_iter().map(str::to_owned).collect();
    let last = ways.last().context("no way was told")?;
    // Whoever looks for a fault reads how that came.
    let is_tried = told.contains(" a direct way is tried from ");
    ensure!(is_tried != options.contains(&"--relay-only"), "{told}");
    ensure!(told.contains(" open: the direct way to ") == (last == "direct"), "{told}");
    // The bytes went as was told.
    for told in [&sent, &received] {
        let end = told.one("end")?;
        let bytes = |way: &str| end[way].as_u64().context("a count");
        let (relayed, direct) = (bytes("relayed_bytes")?, bytes("direct_bytes")?);
        let all = relayed + direct;
        match &**last {
            "direct" => ensure!(direct > all / 2, "{end}"),
            _ => assert_eq!(direct, 0, "{end}"),
        }
    }
    let paths = received.lines.iter().filter(|line| line["event"] == "path");
    let address = paths.filter_map(|line| line["address"].as_str()?.parse().ok()).next_back();
    Ok((ways, address))
}

/// What the two of a pair come to.
fn pair(a: Nat, b: Nat, last: &str) -> Result<()> {
    let Some(internet) = Internet::new(a, b)? else { return Ok(()) };
    let (ways, address) = meet(&internet, &[])?;
    assert_eq!(ways.last().map(String::as_str), Some(last), "{a:?} {b:?}: {ways:?}");
    if last == "direct" {
        assert_eq!(address, Some("203.0.113.11".parse()?), "{a:?} {b:?}");
    }
    Ok(())
}

#[test]
fn cone_and_cone() -> Result<()> {
    pair(Nat::Cone, Nat::Cone, "direct")
}

#[test]
fn cone_and_full() -> Result<()> {
    pair(Nat::Cone, Nat::Full, "direct")
}

#[test]
fn full_and_full() -> Result<()> {
    pair(Nat::Full, Nat::Full, "direct")
}

#[test]
fn full_and_symmetric() -> Result<()> {
    pair(Nat::Full, Nat::Symmetric, "direct")
}

#[test]
fn cone_and_symmetric() -> Result<()> {
    pair(Nat::Cone, Nat::Symmetric, "relay")
}

#[test]
fn symmetric_and_cone() -> Result<()> {
    pair(Nat::Symmetric, Nat::Cone, "relay")
}

#[test]
fn symmetric_and_symmetric() -> Result<()> {
    pair(Nat::Symmetric, Nat::Symmetric, "relay")
}

#[test]
fn blocked_at_the_sender() -> Result<()> {
    pair(Nat::Blocked, Nat::Cone, "relay")
}

#[test]
fn blocked_at_the_receiver() -> Result<()> {
    pair(Nat::Full, Nat::Blocked, "relay")
}

#[test]
fn blocked_at_both() -> Result<()> {
    pair(Nat::Blocked, Nat::Blocked, "relay")
}

#[test]
fn ipv6_where_ipv4_finds_no_way() -> Result<()> {
    let Some(internet) = Internet::new(Nat::Symmetric, Nat::Symmetric)? else { return Ok(()) };
    let internet = internet.with_ipv6()?;
    let (ways, address) = meet(&internet, &[])?;
    assert_eq!(ways.last().map(String::as_str), Some("direct"), "{ways:?}");
    assert_eq!(address, Some("2001:db8:1::2".parse()?));
    Ok(())
}

/// Without `-vv` nobody wants to know.
#[test]
fn why_there_is_no_direct_way_is_told() -> Result<()> {
    let Some(internet) = Internet::new(Nat::Cone, Nat::Blocked)? else { return Ok(()) };
    let relay = Relay::start(&internet, "203.0.113.1", &[])?;
    let hosts = Hosts::new(&internet, &[&relay])?;
    let tree = hosts.scratch.join("tree");
    write(&tree.join("large"), noise(3_000_000, 1))?;
    let logs = ["sent", "received"].map(|name| hosts.scratch.join(name));
    let [sent, received] = [&logs[0], &logs[1]].map(|log| log.to_string_lossy());
    // Longer than a way is looked for.
    let (sender, ticket) = hosts.send(&tree, &["--limit", "200k", "--log-file", &sent])?;
    let receiver = hosts.receive(&ticket, &["--log-file", &received])?;
    for (side, log, parts) in [
        (
            receiver,
            &logs[1],
            &[
                "this machine can be reached at 10.2.0.2:",
                "a direct way is tried from 10.2.0.2:",
                "open: the way through the relay 203.0.113.1",
                "no direct way has opened so far",
            ][..],
        ),
        (
            sender,
            &logs[0],
            &[
                "this machine can be reached at 10.1.0.2:",
                ", 203.0.113.11:",
                "no direct way has opened so far",
            ],
        ),
    ] {
        let ended = side.end(0)?.ended;
        let log = fs::read_to_string(log)?;
        for part in parts {
            ensure!(log.contains(part), "no {part:?} in {log}");
            ensure!(!ended.stderr.contains(part), "{part:?}: {ended:#?}");
        }
        ensure!(!log.contains("gone: "), "{log}");
    }
    Ok(())
}

/// Neither side's gateway sees a packet of the other's, and neither side is told an address.
#[test]
fn relay_only_tells_nobody_an_address() -> Result<()> {
    let Some(internet) = Internet::new(Nat::Full, Nat::Full)? else { return Ok(()) };
    internet.count_between()?;
    let (ways, address) = meet(&internet, &["--relay-only"])?;
    assert_eq!((ways.last().map(String::as_str), address), (Some("relay"), None));
    assert_eq!(internet.counted_between()?, [0, 0]);
    // The counters count: without the option there is a way.
    let (ways, _) = meet(&internet, &[])?;
    assert_eq!(ways.last().map(String::as_str), Some("direct"));
    let counted = internet.counted_between()?;
    ensure!(counted.iter().all(|count| *count > 0), "{counted:?}");
    Ok(())
}

/// What docs/benchmarks.md has: `cargo test --release --test direct measure -- --ignored --nocapture`.
#[test]
#[ignore = "measures, and asserts nothing of time"]
fn measure() -> Result<()> {
    use Nat::{Blocked, Cone, Full, Symmetric};
    const SIZE: usize = 200_000_000;
    for (a, b) in [
        (Cone, Cone),
        (Cone, Full),
        (Full, Full),
        (Full, Symmetric),
        (Cone, Symmetric),
        (Symmetric, Cone),
        (Symmetric, Symmetric),
        (Blocked, Cone),
        (Blocked, Blocked),
    ] {
        let Some(internet) = Internet::new(a, b)? else { return Ok(()) };
        let relay = Relay::start(&internet, "203.0.113.1", &["--rate", "4G", "--burst", "4G"])?;
        let hosts = Hosts::new(&internet, &[&relay])?;
        let tree = hosts.scratch.join("tree");
        write(&tree, noise(SIZE, 1))?;
        let (sender, ticket) = hosts.send(&tree, &[])?;
        let begun = Instant::now();
        let mut receiver = hosts.receive(&ticket, &[])?;
        receiver.wait_for("peer", |line| line["result"] == "connected")?;
        let connected = begun.elapsed();
        let first = receiver.wait_for("path", |_| true)?;
        let mut direct = (first["via"] == "direct").then_some(connected);
        if direct.is_none() && a != Blocked && b != Blocked {
            let found = receiver.wait_for("path", |line| line["via"] == "direct");
            direct = found.is_ok().then(|| begun.elapsed());
        }
        let received = receiver.end(0)?;
        sender.end(0)?;
        let end = received.one("end")?;
        let elapsed = end["elapsed"].as_f64().context("a time")?;
        eprintln!(
            "{a:?}-{b:?}: connected {connected:.2?}, direct {direct:.2?}, {:.0} MB/s, relayed {}",
            SIZE as f64 / 1e6 / elapsed,
            end["relayed_bytes"]
        );
    }
    Ok(())
}
