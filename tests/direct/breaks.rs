//! What breaks under way: a path, a relay, a mapping of a gateway, one of the two sides. The tree arrives.

use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::hosts::{Hosts, Side, Told};
use super::relay::Relay;
use super::stage::{Internet, Nat};
use super::util::skip;
use super::util::tree::{ensure_arrived, noise, write};

/// Takes some 8 s at the rate that it is sent with.
const SIZE: usize = 24_000_000;
const RATE: &str = "3M";

/// A transfer under way, which goes `way` now.
fn under_way(hosts: &Hosts<'_>, way: &str) -> Result<(Side, Side, String)> {
    under_way_at(hosts, way, RATE)
}

/// The same at another rate.
fn under_way_at(hosts: &Hosts<'_>, way: &str, rate: &str) -> Result<(Side, Side, String)> {
    let tree = hosts.scratch.join("tree");
    write(&tree.join("large"), noise(SIZE, 1))?;
    write(&tree.join("folder/small"), "hello")?;
    let (sender, ticket) = hosts.send(&tree, &["--limit", rate])?;
    let mut receiver = hosts.receive(&ticket, &[])?;
    receiver.wait_for("path", |line| line["via"] == way)?;
    receiver.wait_for("progress", |line| line["bytes"].as_u64() > Some(2_000_000))?;
    Ok((sender, receiver, ticket))
}

/// Both end well, and everything is there.
fn finish(hosts: &Hosts<'_>, sender: Side, receiver: Side) -> Result<(Told, Told)> {
    let received = receiver.end(0)?;
    let sent = sender.end(0)?;
    ensure_arrived(&hosts.place(), &[&hosts.scratch.join("tree")])?;
    Ok((sent, received))
}

/// Nothing passes between the gateways, until it is dropped.
pub struct Cut<'a>(&'a Internet);

impl<'a> Cut<'a> {
    pub fn new(internet: &'a Internet) -> Result<Self> {
        for (gateway, other) in [("ga", "203.0.113.12"), ("gb", "203.0.113.11")] {
            let rules = format!(
                "table ip cut {{ chain pre {{ type filter hook prerouting priority -300; \
                 policy accept; ip saddr {other} drop; }}; }}"
            );
            internet.nft(gateway, &rules)?;
        }
        Ok(Self(internet))
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        for gateway in ["ga", "gb"] {
            let _ = self.0.nft(gateway, "delete table ip cut");
        }
    }
}

#[test]
fn a_direct_path_that_breaks_is_left_for_the_relay_and_found_again() -> Result<()> {
    let Some(internet) = Internet::new(Nat::Cone, Nat::Cone)? else { return Ok(()) };
    let relay = Relay::start(&internet, "203.0.113.1", &[])?;
    let hosts = Hosts::new(&internet, &[&relay])?;
    // The engine looks for ways anew every half a minute, so it has to last for one.
    let (sender, mut receiver, _) = under_way_at(&hosts, "direct", "400k")?;
    let cut = Cut::new(&internet)?;
    receiver.wait_for("path", |line| line["via"] == "relay")?;
    receiver.wait_for("progress", |_| true)?;
    drop(cut);
    receiver.wait_for("path", |line| line["via"] == "direct")?;
    let (sent, received) = finish(&hosts, sender, receiver)?;
    assert_eq!((received.reconnected(), sent.reconnected()), (0, 0), "{:#?}", received.ended);
    Ok(())
}

#[test]
fn a_relay_that_ends_is_not_missed_by_who_is_direct() -> Result<()> {
    let Some(internet) = Internet::new(Nat::Cone, Nat::Cone)? else { return Ok(()) };
    let mut relay = Relay::start(&internet, "203.0.113.1", &[])?;
    let hosts = Hosts::new(&internet, &[&relay])?;
    let (sender, receiver, _) = under_way(&hosts, "direct")?;
    relay.kill()?;
    let (sent, received) = finish(&hosts, sender, receiver)?;
    assert_eq!((received.reconnected(), sent.reconnected()), (0, 0), "{:#?}", received.ended);
    Ok(())
}

#[test]
fn a_relay_that_comes_back_carries_on() -> Result<()> {
    let Some(internet) = Internet::new(Nat::Symmetric, Nat::Symmetric)? else { return Ok(()) };
    let mut relay = Relay::start(&internet, "203.0.113.1", &[])?;
    let hosts = Hosts::new(&internet, &[&relay])?;
    let (sender, receiver, _) = under_way(&hosts, "relay")?;
    relay.kill()?;
    thread::sleep(Duration::from_secs(3));
    relay.restart(&[])?;
    finish(&hosts, sender, receiver).map(drop)
}

#[test]
fn a_sender_that_waits_takes_its_place_anew() -> Result<()> {
    let Some(internet) = Internet::new(Nat::Cone, Nat::Symmetric)? else { return Ok(()) };
    let mut relay = Relay::start(&internet, "203.0.113.1", &[])?;
    let hosts = Hosts::new(&internet, &[&relay])?;
    let tree = hosts.scratch.join("tree");
    write(&tree.join("small"), "hello")?;
    let (mut sender, ticket) = hosts.send(&tree, &[])?;
    relay.kill()?;
    let says = |text: &'static str| {
        move |event: &Value| event["text"].as_str().is_some_and(|it| it.contains(text))
    };
    sender.wait_for("warning", says("the relay 203.0.113.1 does not answer any more"))?;
    // Nobody waits for what will not come.
    let told = hosts.receive(&ticket, &[])?.end(5)?;
    told.ended.says("the relay 203.0.113.1 does not answer: connection refused")?;
    relay.restart(&["-v"])?;
    relay.wait_until_said("203.0.113.11 connected")?;
    sender.wait_for("note", says("receivers find this sender again"))?;
    let mut receiver = hosts.receive(&ticket, &[])?;
    receiver.wait_for("note", says(", by way of the relay 203.0.113.1"))?;
    finish(&hosts, sender, receiver).map(drop)
}

#[test]
fn mappings_that_a_gateway_forgets_are_made_anew() -> Result<()> {
    let Some(internet) = Internet::new(Nat::Cone, Nat::Cone)? else { return Ok(()) };
    if Command::new("conntrack").arg("--version").output().is_err() {
        skip("there is no conntrack; scripts/setup --test installs it");
        return Ok(());
    }
    let relay = Relay::start(&internet, "203.0.113.1", &[])?;
    let hosts = Hosts::new(&internet, &[&relay])?;
    let (sender, mut receiver, _) = under_way(&hosts, "direct")?;
    for _ in 0..2 {
        for gateway in ["ga", "gb"] {
            let flushed = internet.on(gateway, "conntrack").arg("-F").output()?;
            ensure!(flushed.status.success(), "{flushed:?}");
        }
        receiver.wait_for("progress", |_| true)?;
    }
    let (sent, received) = finish(&hosts, sender, receiver)?;
    assert_eq!((received.reconnected(), sent.reconnected()), (0, 0), "{:#?}", received.ended);
    Ok(())
}

/// `kill -9` of the receiver; the same ticket goes on.
#[test]
fn a_receiver_that_dies_comes_back() -> Result<()> {
    for nat in [Nat::Cone, Nat::Symmetric] {
        let Some(internet) = Internet::new(nat, nat)? else { return Ok(()) };
        let relay = Relay::start(&internet, "203.0.113.1", &[])?;
        let hosts = Hosts::new(&internet, &[&relay])?;
        let way = if nat == Nat::Cone { "direct" } else { "relay" };
        let (sender, receiver, ticket) = under_way(&hosts, way)?;
        receiver.kill()?;
        // Nobody tells the sender, who notices when nothing has come for 20 s: it is waited for.
        let again = hosts.receive(&ticket, &[])?;
        let (_, received) = finish(&hosts, sender, again)?;
        // What was there did not come again.
        let plan = received.one("plan")?;
        let bytes = plan["bytes"].as_u64().context("a count")?;
        ensure!(bytes < SIZE as u64 - 1_000_000, "{plan}");
    }
    Ok(())
}

/// `kill -9` of the sender; another run of it, with a new ticket, goes on in the same folder.
#[test]
fn a_sender_that_dies_is_started_anew() -> Result<()> {
    let Some(internet) = Internet::new(Nat::Cone, Nat::Cone)? else { return Ok(()) };
    let relay = Relay::start(&internet, "203.0.113.1", &[])?;
    let hosts = Hosts::new(&internet, &[&relay])?;
    let (sender, receiver, _) = under_way(&hosts, "direct")?;
    sender.kill()?;
    receiver.kill()?;
    let (sender, ticket) = hosts.send(&hosts.scratch.join("tree"), &[])?;
    let receiver = hosts.receive(&ticket, &[])?;
    let (_, received) = finish(&hosts, sender, receiver)?;
    let bytes = received.one("plan")?["bytes"].as_u64().context("a count")?;
    ensure!(bytes < SIZE as u64 - 1_000_000, "{bytes}");
    Ok(())
}

/// `kill -9` of either side at any moment, until a run comes to its end: nobody takes a part for the whole.
#[test]
fn either_side_may_die_at_any_moment() -> Result<()> {
    let Some(internet) = Internet::new(Nat::Cone, Nat::Full)? else { return Ok(()) };
    let relay = Relay::start(&internet, "203.0.113.1", &[])?;
    let hosts = Hosts::new(&internet, &[&relay])?;
    let tree = hosts.scratch.join("tree");
    write(&tree.join("large"), noise(4_000_000, 1))?;
    (0..200).try_for_each(|at| write(&tree.join(format!("folder/{at}")), noise(5000, at)))?;
    for round in 0..6 {
        let (sender, ticket) = hosts.send(&tree, &["--limit", "3M"])?;
        let receiver = hosts.receive(&ticket, &[])?;
        thread::sleep(Duration::from_millis(rand::random_range(100..1500)));
        let (first, other) = if round % 2 == 0 { (sender, receiver) } else { (receiver, sender) };
        first.kill()?;
        other.kill()?;
    }
    let (sender, ticket) = hosts.send(&tree, &[])?;
    let receiver = hosts.receive(&ticket, &[])?;
    finish(&hosts, sender, receiver).map(drop)
}

/// The same 20 times, ten of each side, whose other side goes on where it can. By hand, as a sender notices only
/// after 20 s that its receiver is gone: `TRANSFER_SEED=7 cargo test --test direct twenty -- --ignored
/// --nocapture`.
#[test]
#[ignore = "takes some five minutes"]
fn twenty_deaths() -> Result<()> {
    let seed = std::env::var("TRANSFER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u16>);
    eprintln!("TRANSFER_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed.into());
    let Some(internet) = Internet::new(Nat::Cone, Nat::Full)? else { return Ok(()) };
    let relay = Relay::start(&internet, "203.0.113.1", &[])?;
    let hosts = Hosts::new(&internet, &[&relay])?;
    let tree = hosts.scratch.join("tree");
    write(&tree.join("large"), noise(70_000_000, 1))?;
    (0..2000).try_for_each(|at| write(&tree.join(format!("folder/{at}")), noise(5000, at)))?;
    let mut deaths = [[true; 10], [false; 10]].concat();
    deaths.shuffle(&mut rng);
    let start = || -> Result<(Side, Side, String)> {
        // Less than all of it in 20 times 3 s.
        let (sender, ticket) = hosts.send(&tree, &["--limit", "1M"])?;
        let receiver = hosts.receive(&ticket, &[])?;
        Ok((sender, receiver, ticket))
    };
    let (mut sender, mut receiver, mut ticket) = start()?;
    for (round, of_sender) in deaths.into_iter().enumerate() {
        // From the first packet to the middle of the content.
        let when = Duration::from_millis(rng.random_range(50..3000));
        thread::sleep(when);
        let who = if of_sender { "sender" } else { "receiver" };
        let told = if of_sender {
            sender.kill()?;
            // Its next run has another ticket.
            receiver.kill()?;
            (sender, receiver, ticket) = start()?;
            None
        } else {
            receiver.kill()?;
            receiver = hosts.receive(&ticket, &[])?;
            // Once it is let in it has a plan: some is there already.
            let plan = receiver.wait_for("plan", |_| true)?;
            plan["bytes"].as_u64()
        };
        let named = hosts.place().join("tree/large");
        ensure!(!named.exists(), "round {round}: it has the name of the whole");
        eprintln!("{round}: the {who} after {when:.1?}; left: {told:?}");
    }
    // What is left comes at full speed.
    sender.kill()?;
    receiver.kill()?;
    let (sender, ticket) = hosts.send(&tree, &[])?;
    let receiver = hosts.receive(&ticket, &[])?;
    let (_, received) = finish(&hosts, sender, receiver)?;
    eprintln!("whole; {} bytes were left at the end", received.one("plan")?["bytes"]);
    Ok(())
}

/// With several relays one is enough, whichever of them the sender is at.
#[test]
fn one_relay_of_several_is_enough() -> Result<()> {
    let Some(internet) = Internet::new(Nat::Symmetric, Nat::Symmetric)? else { return Ok(()) };
    let one = Relay::start(&internet, "203.0.113.1", &[])?;
    let other = Relay::start(&internet, "203.0.113.2", &[])?;
    let hosts = Hosts::new(&internet, &[&one, &other])?;
    let tree = hosts.scratch.join("tree");
    write(&tree.join("small"), "hello")?;
    let (sender, ticket) = hosts.send_by(&[other.url()], &tree, &[])?;
    let relays = ["--relay", &one.url(), "--relay", &other.url()];
    let receiver = hosts.receive(&ticket, &relays)?;
    finish(&hosts, sender, receiver).map(drop)
}
