//! Strangers at the door: whatever they send, and however many they are, the offer stands and
//! the real receiver is served.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};

use anyhow::{Context, Result, ensure};

use crate::util::process::{Pipe, Process, Sender, receiving, run};
use crate::util::tree::{Scratch, ensure_arrived, noise, write};

/// A sender of a small tree, and what it sends.
fn sender(from: &Scratch) -> Result<Sender> {
    write(&from.join("tree/file"), noise(100_000, 1))?;
    Sender::pod(&[&from.join("tree")], &[])
}

/// The real receiver comes and gets all.
fn is_served(sender: Sender, from: &Scratch) -> Result<()> {
    let into = Scratch::new()?;
    run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&from.join("tree")])
}

fn connect(sender: &Sender) -> Result<TcpStream> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, sender.port()?)).context("cannot connect")
}

#[test]
fn junk_does_not_end_the_offer() -> Result<()> {
    let hello = [b"TRANSFER\x00\x01".as_slice(), &noise(65, 1)].concat();
    let other_version = [b"TRANSFER\xff\xff".as_slice(), &noise(65, 1)].concat();
    let zero_keys = [b"TRANSFER\x00\x01".as_slice(), &[0; 65]].concat();
    let cases: &[(&str, &[u8])] = &[
        ("nothing", b""),
        ("one byte", b"T"),
        ("a web browser", b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"),
        ("ssh", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("noise", &noise(10_000, 2)),
        ("much noise", &noise(1_000_000, 2)),
        ("zeros", &[0; 5000]),
        ("half a hello", &hello[..40]),
        ("a hello of another version", &other_version),
        ("a hello with impossible keys", &zero_keys),
        ("a hello and no more", &hello),
    ];
    let from = Scratch::new()?;
    let sender = sender(&from)?;
    for (name, bytes) in cases {
        let mut stranger = connect(&sender)?;
        // It may hang up while we talk.
        let _ = stranger.write_all(bytes);
        let _ = stranger.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stranger.read_to_end(&mut answer);
        // Its hello and nothing more: no answer to tell a guess by.
        ensure!(answer.len() <= 75, "{name}: {} bytes were answered", answer.len());
    }
    is_served(sender, &from)
}

#[test]
fn a_port_scan_does_not_end_the_offer() -> Result<()> {
    let from = Scratch::new()?;
    let sender = sender(&from)?;
    for _ in 0..200 {
        drop(connect(&sender)?);
    }
    is_served(sender, &from)
}

/// More silent connections than may shake hands at a time, all still open.
#[test]
fn silent_strangers_keep_nobody_waiting() -> Result<()> {
    let from = Scratch::new()?;
    let sender = sender(&from)?;
    let silent: Vec<TcpStream> = (0..40).map(|_| connect(&sender)).collect::<Result<_>>()?;
    is_served(sender, &from)?;
    drop(silent);
    Ok(())
}

/// A second receiver with the right ticket learns that there is no seat, while the first goes on.
#[test]
#[cfg(unix)]
fn one_offer_serves_one_receiver() -> Result<()> {
    use crate::proxy::Proxy;
    let (from, into, other) = (Scratch::new()?, Scratch::new()?, Scratch::new()?);
    write(&from.join("tree/large"), noise(32 << 20, 1))?;
    let sender = Sender::pod(&[&from.join("tree")], &[])?;
    let proxy = Proxy::start(&sender, 1 << 20)?;
    let first = Process::start(receiving(&proxy.ticket, into.path(), &[]))?;
    proxy.wait_stalled()?;
    let mut second = Process::start(receiving(&sender.ticket, &other.join("new"), &["-q"]))?;
    let line = second.wait_for(Pipe::Err, "")?;
    let why = "this machine: the sender is already serving another receiver; trying again";
    assert_eq!(line, format!("warning: {why}\n"));
    second.kill()?;
    ensure!(!other.join("new").exists(), "a folder was made for nothing");
    proxy.resume();
    first.end()?.expect(0)?;
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&from.join("tree")])
}
