//! Who waits under a plate: of two senders whoever comes second draws another, and takes nothing from the first;
//! and nobody.

use anyhow::{Context, Result, bail, ensure};
use transfer::connect::direct::{self, Direct};
use transfer::connect::{Endpoint, Listen};
use transfer::net::plate::Plate;
use transfer::net::quic::Listener;
use transfer::ticket::Host;

use super::stage::Relay;
use super::util::process::{Sender, receiving, run, transfer};
use super::util::tree::{Scratch, ensure_arrived, write};

/// Where `transfer send --direct --relay URL` would wait.
fn endpoint(url: &str) -> Result<Endpoint> {
    let direct = Direct::new(&[url.to_owned()], false, None).map_err(|it| it.message);
    let endpoint = direct::endpoint(&direct.map_err(anyhow::Error::msg)?);
    endpoint.map_err(|error| anyhow::anyhow!("{error}"))
}

/// As if it had drawn these words.
fn with_plate(mut endpoint: Endpoint, words: &Plate) -> Result<Endpoint> {
    let Listen::Quic(meeting) = &mut endpoint.listen else { bail!("it listens to TCP") };
    let Host::Relay { plate, .. } = &mut endpoint.ticket else { bail!("it has no relay") };
    (meeting.plate, *plate) = (words.clone(), words.clone());
    Ok(endpoint)
}

#[test]
fn a_plate_that_is_somebodys_is_drawn_again() -> Result<()> {
    let relay = Relay::plain(&[])?;
    let url = relay.url()?.to_string();
    let scratch = Scratch::new()?;
    let tree = scratch.join("tree");
    write(&tree.join("small"), "hello")?;
    let mut command = transfer();
    command.args(["send", "--direct", "--relay", &url]).arg(&tree);
    let first = Sender::start(command)?;
    let words: Vec<&str> = first.ticket.split('-').take(2).collect();
    let plate = Plate::parse(&words.join("-"))?;

    let mut second = with_plate(endpoint(&url)?, &plate)?;
    let Listen::Quic(meeting) = &second.listen else { bail!("it listens to TCP") };
    let found = Listener::open(meeting, None, 0..=0).map_err(|it| anyhow::anyhow!("{it}"))?;
    ensure!(found.is_none(), "it took the place of the first");
    let (listeners, _) = second.bind(None, 0..=0).map_err(|it| anyhow::anyhow!("{it}"))?;
    let Host::Relay { plate: another, .. } = &second.ticket else { bail!("it has no relay") };
    assert_ne!(*another, plate);
    // The new words are the ones that it waits under: for them, too, somebody answers now.
    let mut third = with_plate(endpoint(&url)?, another)?;
    let Listen::Quic(meeting) = &mut third.listen else { bail!("it listens to TCP") };
    let listener = listeners.first().context("no listener")?.clone();
    let accepting = std::thread::spawn(move || while listener.accept().is_some() {});
    let found = Listener::open(meeting, None, 0..=0).map_err(|it| anyhow::anyhow!("{it}"))?;
    ensure!(found.is_none(), "nobody is at {another}");
    listeners.iter().for_each(|it| it.close());
    accepting.join().expect("no panic");

    // The first has not noticed.
    let into = scratch.join("into");
    run(receiving(&first.ticket, &into, &[]))?.expect(0)?;
    first.end()?.expect(0)?;
    ensure_arrived(&into, &[&tree])
}

/// The relay does not tell, and it is told all the same long before a connection of the engine's is given up.
#[test]
fn nobody_under_a_plate_is_told_soon() -> Result<()> {
    let relay = Relay::plain(&[])?;
    let url = relay.url()?.to_string();
    let scratch = Scratch::new()?;
    let into = scratch.join("into");
    let log = scratch.join("log");
    let log = log.to_string_lossy();
    let options = ["--relay", &url, "--log-file", &log];
    let ended = run(receiving("maple-river-ocean-tiger", &into, &options))?.expect(5)?;
    ended.says("no sender answers to maple-river")?;
    let log = std::fs::read_to_string(&*log)?;
    let told = "the relay 127.0.0.1 lets this machine in; an answer is waited for up to 10 s";
    ensure!(log.contains(told), "{log}");
    // That of the engine would be after 30 s.
    ensure!(!log.contains("no connection: "), "{log}");
    Ok(())
}
