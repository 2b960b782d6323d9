//! Far away, and over a way that loses packets: the tree arrives all the same.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::breaks::Cut;
use super::distance::{Distance, Way};
use super::hosts::Hosts;
use super::stage::{Internet, Nat};
use super::util::tree::{ensure_arrived, noise, write};

/// What came of a transfer.
struct Told {
    elapsed: f64,
    /// Most memory that the sender and the receiver had, in kB.
    memory: [Option<u64>; 2],
}

/// Sends `size` bytes over such a way, and there is no other.
fn send(distance: Distance, size: usize) -> Result<Option<Told>> {
    let Some(internet) = Internet::new(Nat::Full, Nat::Cone)? else { return Ok(None) };
    let _no_other = Cut::new(&internet)?;
    let hosts = Hosts::new(&internet, &[])?;
    let tree = hosts.scratch.join("tree");
    write(&tree.join("large"), noise(size, 1))?;
    write(&tree.join("folder/small"), "hello")?;
    let without_relay = ["none".to_owned()];
    let (mut sender, ticket) = hosts.send_by(&without_relay, &tree, &["--port", "15820"])?;
    let far = "203.0.113.11:15820".parse()?;
    let _way = Way::new(&internet, "203.0.113.1:4000", far, distance)?;
    let (words, _) = ticket.split_once('@').context("an address")?;
    let begun = Instant::now();
    let mut receiver = hosts.receive(&format!("{words}@203.0.113.1:4000"), &[])?;
    receiver.wait_for("progress", |line| line["bytes"].as_u64() > Some(size as u64 / 2))?;
    let memory = [sender.memory(), receiver.memory()];
    receiver.wait_for("state", |line| line["state"] == "completed")?;
    let elapsed = begun.elapsed().as_secs_f64();
    sender.wait_for("state", |line| line["state"] == "completed")?;
    let received = receiver.end(0)?;
    sender.end(0)?;
    assert_eq!(received.reconnected(), 0, "{:#?}", received.ended);
    // It went that way and no other, and that way is as long as it is said to be.
    for path in received.lines.iter().filter(|line| line["event"] == "path") {
        let shortest = 2e3 * distance.delay.as_secs_f64();
        ensure!(path["address"] == "203.0.113.1", "{path}");
        ensure!(path["rtt_ms"].as_f64().is_some_and(|it| it >= shortest), "{path}");
    }
    ensure_arrived(&hosts.place(), &[&tree])?;
    ensure!(fs::metadata(hosts.place().join("tree/large"))?.len() == size as u64);
    Ok(Some(Told { elapsed, memory }))
}

#[test]
fn a_way_that_loses_packets_is_one() -> Result<()> {
    send(Distance { delay: Duration::from_millis(25), lost: 20 }, 3_000_000).map(drop)
}

/// What docs/benchmarks.md has: `scripts/bench-direct`.
#[test]
#[ignore = "measures, and asserts nothing of time"]
fn measure() -> Result<()> {
    let size = std::env::var("TRANSFER_BENCH_SIZE").ok().and_then(|it| it.parse().ok());
    let size = size.unwrap_or(200_000_000);
    for (round_trip, lost) in [(0, 0), (20, 0), (100, 0), (200, 0), (20, 10), (100, 10), (200, 10)]
    {
        let delay = Duration::from_millis(round_trip) / 2;
        let Some(told) = send(Distance { delay, lost }, size)? else { return Ok(()) };
        let memory = told.memory.map(|it| it.map_or(0, |it| it / 1024));
        eprintln!(
            "{round_trip} ms there and back, {} % lost: {:.1} MB/s, {:.1} s; memory of the sender {} MiB, of \
             the receiver {} MiB",
            f64::from(lost) / 10.0,
            size as f64 / 1e6 / told.elapsed,
            told.elapsed,
            memory[0],
            memory[1]
        );
    }
    Ok(())
}
