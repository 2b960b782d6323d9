//! One offer for several receivers.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::proxy::Proxy;
use crate::util::process::{Pipe, Process, Sender, receiving, run, transfer};
use crate::util::tree::{Scratch, ensure_arrived, noise, write};

fn offered(from: &Scratch) -> Result<PathBuf> {
    let root = from.join("tree");
    for name in ["a", "d/b", "d/empty"] {
        write(&root.join(name), noise(if name == "d/empty" { 0 } else { 300_000 }, 1))?;
    }
    write(&root.join("large"), noise(3_000_000, 2))?;
    Ok(root)
}

/// All get the same, at the same time; then the ticket is dead.
#[test]
fn several_receivers_are_served_at_once() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = offered(&from)?;
    let sender = Sender::pod(&[&root], &["--receivers", "3"])?;
    let ticket = sender.ticket.clone();
    // The first is held in the middle, so that the others cannot have waited for it.
    let proxy = Proxy::start(&sender, 1_000_000)?;
    let held = Process::start(receiving(&proxy.ticket, &into.join("0"), &[]))?;
    proxy.wait_stalled()?;
    for name in ["1", "2"] {
        run(receiving(&ticket, &into.join(name), &[]))?.expect(0)?;
    }
    let busy = run(receiving(&ticket, &into.join("3"), &[]))?;
    busy.expect(4)?.says("the sender is already serving another receiver")?;
    proxy.resume();
    held.end()?.expect(0)?;
    let ended = sender.end()?.expect(0)?;
    ended.says("all receivers have been served\n")?;
    for name in ["0", "1", "2"] {
        ensure_arrived(&into.join(name), &[&root])?;
    }
    run(receiving(&ticket, &into.join("3"), &[]))?.expect(5)?.says("nothing listens at")
}

/// By default there is one, and afterwards the ticket is dead.
#[test]
fn one_receiver_is_served() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = offered(&from)?;
    let sender = Sender::pod(&[&root], &[])?;
    let ticket = sender.ticket.clone();
    run(receiving(&ticket, &into.join("0"), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    run(receiving(&ticket, &into.join("1"), &[]))?.expect(5)?.says("nothing listens at")
}

/// One that refuses or is killed takes nothing from the others, and its place can be had again.
#[test]
fn a_receiver_that_leaves_makes_room() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = offered(&from)?;
    let mut sender = Sender::pod(&[&root], &["--receivers", "2"])?;
    write(&into.join("taken/tree"), "something else")?;
    let fail = ["--on-conflict", "fail"];
    run(receiving(&sender.ticket, &into.join("taken"), &fail))?.expect(7)?;
    let line = sender.process.wait_for(Pipe::Err, "somebody else may come instead")?;
    ensure!(line.contains("the receiver was told to stop when names are taken"), "{line:?}");

    let proxy = Proxy::start(&sender, 1_000_000)?;
    let killed = Process::start(receiving(&proxy.ticket, &into.join("0"), &[]))?;
    proxy.wait_stalled()?;
    killed.kill()?;
    proxy.resume();
    sender.process.wait_for(Pipe::Err, "; waiting for it to come back")?;
    for name in ["0", "1"] {
        run(receiving(&sender.ticket, &into.join(name), &[]))?.expect(0)?;
        ensure_arrived(&into.join(name), &[&root])?;
    }
    sender.end()?.expect(0)?.says("all receivers have been served\n")?;
    ensure!(fs::read(into.join("taken/tree"))? == b"something else", "it was changed");
    Ok(())
}

/// Three wrong tokens end the offer for those who have not come yet; those who are served get all.
#[test]
fn a_burnt_offer_still_serves_those_who_are_there() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = offered(&from)?;
    let sender = Sender::pod(&[&root], &["--receivers", "2"])?;
    let proxy = Proxy::start(&sender, 1_000_000)?;
    let served = Process::start(receiving(&proxy.ticket, &into.join("0"), &[]))?;
    proxy.wait_stalled()?;
    let token = sender.ticket.rsplit(':').next().context("no token")?;
    let wrong = if token == "ocean-tiger" { "ocean-zebra" } else { "ocean-tiger" };
    for _ in 0..3 {
        let ticket = sender.ticket.replace(token, wrong);
        run(receiving(&ticket, &into.join("1"), &[]))?.expect(4)?;
    }
    proxy.resume();
    served.end()?.expect(0)?;
    ensure_arrived(&into.join("0"), &[&root])?;
    sender.end()?.expect(4)?.says("the offer has ended after 3 wrong tokens")
}

#[test]
fn what_comes_in_is_for_one() -> Result<()> {
    let mut command = transfer();
    command.args(["send", "--pod", "--receivers", "2", "-"]);
    run(command)?.expect(2)?.says("what comes in can be read once, and for one receiver only")
}

/// A limit changes the pace, and nothing else, also far below the size of a record.
#[test]
fn a_limit_changes_only_the_pace() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = offered(&from)?;
    for limit in ["100M", "3MiB/s"] {
        let sender = Sender::pod(&[&root], &["--limit", limit])?;
        run(receiving(&sender.ticket, &into.join(limit.replace('/', " ")), &[]))?.expect(0)?;
        sender.end()?.expect(0)?;
        ensure_arrived(&into.join(limit.replace('/', " ")), &[&root])?;
    }
    let mut command = transfer();
    command.args(["send", "--pod", "--limit", "fast"]).arg(&root);
    run(command)?.expect(2)?.says("a rate is like 500k, 10M or 1.5MiB")
}
