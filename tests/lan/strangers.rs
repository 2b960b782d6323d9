//! Avahi, which others have, sees what is announced; and nothing that it announces harms.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};

use super::finding::{announce, await_servers, search};
use super::pairing::{shows, types};
use super::serving::Home;
use super::stage::{Avahi, Lan, until};
use super::util::process::{LIMIT, Process, run};

#[test]
fn avahi_sees_the_record() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let Some(avahi) = Avahi::start(&lan, "b")? else { return Ok(()) };
    let server = announce(&lan, "a", "attic", 1)?;
    let browse = || {
        let args =
            ["--parsable", "--resolve", "--terminate", "--no-db-lookup", "_transfer-tls._tcp"];
        anyhow::Ok(run(avahi.program("avahi-browse", &args))?.expect(0)?.stdout)
    };
    let seen = until("the record", || {
        let seen = browse()?;
        let resolved = seen.lines().filter(|line| line.starts_with('=')).count();
        Ok((resolved >= 2).then_some(seen))
    })?;
    let resolved: Vec<Vec<&str>> = seen
        .lines()
        .filter(|line| line.starts_with('='))
        .map(|line| line.split(';').collect())
        .collect();
    for fields in &resolved {
        let (name, host, ip, port) = (fields[3], fields[6], fields[7], fields[8]);
        assert_eq!((name, host, port), ("attic", "t-01010101-15821.local", "15821"), "{seen}");
        ensure!(ip == "192.168.77.1" || ip == "fd77::1" || ip.starts_with("fe80:"), "{seen}");
        let txt = fields[9..].join(";");
        for value in
            ["v=1", &format!("fp={}", "01".repeat(32)), "id=0101010101010101", "sas=ocean-tiger"]
        {
            ensure!(txt.contains(&format!("\"{value}\"")), "{value}: {txt}");
        }
    }
    drop(server);
    until("its goodbye", || Ok((!browse()?.contains("attic")).then_some(())))
}

/// What anybody may announce: values that lie or are missing, names that steer terminals, addresses
/// that are none, and many of them.
#[test]
fn hostile_records_harm_nothing() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let Some(avahi) = Avahi::start(&lan, "b")? else { return Ok(()) };
    let mut found = search(&lan, "c")?;
    let id = "id=0909090909090909";
    let long = format!("sas={}", "a".repeat(200));
    let name = "n".repeat(63);
    let records: [(&str, &[&str]); 8] = [
        ("evil\u{1b}[2J\u{202e}", &["v=1", id, "sas=\u{1b}]0;x\u{7}-tiger"]),
        ("no-values", &[]),
        ("no-id", &["v=1"]),
        ("odd-id", &["v=1", "id=zz"]),
        ("odd-version", &["v=-1", id]),
        ("newer", &["v=7", id, "fp=00", &long, "more=x", "more=y"]),
        (&name, &["v=1", id]),
        ("with.dot", &["v=1", id]),
    ];
    let mut publishers = Vec::new();
    for (name, values) in records {
        let mut command = avahi.program("avahi-publish", &["-s", name, "_transfer-tls._tcp", "9"]);
        command.args(values);
        let mut publisher = Process::start(command)?;
        publisher.wait_until_said("Established")?;
        publishers.push(publisher);
    }
    let _server = announce(&lan, "a", "attic", 1)?;
    let expected = ["attic (ocean-tiger)", "evil\\u{1b}[2J\\u{202e}", "newer", &name, "with.dot"];
    let servers = await_servers(&mut found, &expected)?;
    assert_eq!(servers[2].txt.version, 7);
    ensure!(found.list().ignored >= 4, "{}", found.list().ignored);
    // A flood of them: the list stays within its bound, and who was there before stays.
    let mut flood = Vec::new();
    for number in 0..300 {
        let name = format!("z{number}");
        let args = ["-s", &name, "_transfer-tls._tcp", "9", "v=1", id];
        flood.push(Process::start(avahi.program("avahi-publish", &args))?);
    }
    until("the flood", || {
        found.wait_for_all(Duration::from_millis(500))?;
        Ok((found.list().servers().count() >= 200).then_some(()))
    })?;
    found.wait_for_all(Duration::from_secs(2))?;
    let count = found.list().servers().count();
    ensure!(count <= 256, "{count}");
    ensure!(found.list().named("ATTIC").count() == 1, "attic is gone");
    Ok(())
}

/// A name as it is on the wire.
fn name(labels: &[&str]) -> Vec<u8> {
    let label = |label: &&str| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat();
    labels.iter().flat_map(label).chain([0]).collect()
}

/// A packet with 20 records of other names in each: pointers to servers, or values of nobody.
fn packet(kind: u16, first: u32) -> Vec<u8> {
    let mut packet = vec![0, 0, 0x84, 0, 0, 0, 0, 20, 0, 0, 0, 0];
    for number in first..first + 20 {
        let service = ["_transfer-tls", "_tcp", "local"];
        let server = name(&[&[&*format!("x{number}")][..], &service].concat());
        let (owner, data) = match kind {
            12 => (name(&service), server),
            _ => (server, b"\x03v=1".to_vec()),
        };
        packet.extend(owner);
        packet.extend([kind.to_be_bytes(), 1u16.to_be_bytes()].concat());
        packet.extend(120u32.to_be_bytes());
        packet.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        packet.extend(data);
    }
    packet
}

/// Floods the network from `b` with records, until it is dropped.
struct Flood {
    over: Arc<AtomicBool>,
    sending: Option<JoinHandle<()>>,
}

impl Flood {
    fn begin(lan: &Lan, kind: u16) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let sending = lan.at("b", move || {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::from(([0, 0, 0, 0], 5353)).into())?;
            socket.set_multicast_if_v4(&[192, 168, 77, 2].into())?;
            anyhow::Ok(thread::spawn(move || {
                let group = SocketAddr::from(([224, 0, 0, 251], 5353)).into();
                let mut first = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let _ = socket.send_to(&packet(kind, first), &group);
                    first += 20;
                    thread::sleep(Duration::from_millis(1));
                }
            }))
        })??;
        Ok(Self { over, sending: Some(sending) })
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(sending) = self.sending.take() {
            let _ = sending.join();
        }
    }
}

/// Records without end, of servers that do not exist or of nobody at all: the search ends, and says
/// why, before they fill the memory.
#[test]
fn a_flood_of_records_ends_the_search() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    for kind in [12, 16] {
        let mut found = search(&lan, "c")?;
        let flood = Flood::begin(&lan, kind)?;
        let ended = found.wait_for_all(LIMIT);
        drop(flood);
        let error = ended.err().with_context(|| format!("records of kind {kind} have no end"))?;
        ensure!(error.message.contains("somebody floods the network"), "{error}");
        assert_eq!(found.list().servers().count(), 0);
    }
    Ok(())
}

/// Floods the network until a search ends by it. Whoever is announced hears what that search hears, and a third more.
fn flood(lan: &Lan) -> Result<()> {
    let mut found = search(lan, "c")?;
    let flood = Flood::begin(lan, 16)?;
    let ended = found.wait_for_all(LIMIT);
    thread::sleep(Duration::from_secs(1));
    drop(flood);
    ended.err().context("the flood has no end").map(drop)
}

/// Whoever is announced forgets a flood, and is announced as before.
#[test]
fn a_flood_ends_no_announcement() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let mut server = announce(&lan, "a", "attic", 1)?;
    flood(&lan)?;
    let (server, is_anew) = lan.at("a", move || {
        let is_anew = server.forget_floods()?;
        ensure!(!server.forget_floods()?, "it is looked again at once");
        Ok((server, is_anew))
    })??;
    ensure!(is_anew, "the flood is kept");
    assert_eq!(server.name(), "attic");
    await_servers(&mut search(&lan, "c")?, &["attic (ocean-tiger)"])?;
    Ok(())
}

/// The sockets here that speak multicast DNS.
fn speakers() -> Result<BTreeSet<String>> {
    let table = fs::read_to_string("/proc/thread-self/net/udp")?;
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let speak = rows.filter(|row| row.get(1).is_some_and(|at| at.ends_with(":14E9")));
    Ok(speak.filter_map(|row| row.get(9).map(|inode| (*inode).to_owned())).collect())
}

/// Nor that of whoever shows a token, who has been told that the words alone will do.
#[test]
fn a_token_is_shown_after_a_flood_too() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let home = Home::new(&lan)?;
    let (attic, token) = shows(&home, "a", &["--name", "laptop"])?;
    let sockets = || lan.at("a", speakers)?;
    let before = until("somebody who speaks multicast DNS", || {
        Ok(Some(sockets()?).filter(|open| !open.is_empty()))
    })?;
    flood(&lan)?;
    // It looks every 30 s; then its sockets are others.
    until("another announcement", || Ok((sockets()? != before).then_some(())))?;
    types(&home, "c", &["--name", "attic", &token], 0)?;
    attic.end()?.expect(0)?;
    Ok(())
}
