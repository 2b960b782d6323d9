//! Servers announce themselves, are found, change, and go.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use transfer::net::interfaces::{Choice, Interfaces};
use transfer::net::mdns::{Announcement, Record, Search, Server, Silence, Told, Txt};

use super::stage::{Lan, address, until};
use super::util::process::LIMIT;

/// What a server of this number announces.
pub fn txt(number: u8) -> Txt {
    let words = Some("ocean-tiger".into());
    Txt { version: 1, fingerprint: Some([number; 32]), id: [number; 8], words }
}

/// Announces a server at a machine, and waits until others can see it.
pub fn announce(lan: &Lan, machine: &str, name: &str, number: u8) -> Result<Announcement> {
    announce_as(lan, machine, Record::new(name, 15820 + u16::from(number), txt(number))?)
}

/// The same with a record of any kind.
pub fn announce_as(lan: &Lan, machine: &str, record: Record) -> Result<Announcement> {
    lan.at(machine, move || {
        let interfaces = Interfaces::look(&Choice::Local)?;
        let mut announcement = Announcement::begin(&record, &interfaces, &Choice::Local)?;
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            match announcement.next(Duration::from_millis(100)) {
                Some(Told::Announced) => return anyhow::Ok(announcement),
                Some(Told::Trouble(trouble)) => anyhow::bail!(trouble),
                _ => {}
            }
        }
        anyhow::bail!("it is never announced")
    })?
}

/// Looks around at a machine.
pub fn search(lan: &Lan, machine: &str) -> Result<Search> {
    lan.at(machine, || {
        let interfaces = Interfaces::look(&Choice::Local)?;
        anyhow::Ok(Search::begin(&interfaces, &Choice::Local)?)
    })?
}

/// The servers, once they are these, shown with their ports.
pub fn await_servers(search: &mut Search, expected: &[&str]) -> Result<Vec<Server>> {
    let mut found = Vec::new();
    let told = until("the list", || {
        search.wait(Instant::now() + Duration::from_millis(100))?;
        found = search.list().servers().map(ToString::to_string).collect();
        let same = found == expected;
        Ok(same.then(|| search.list().servers().cloned().collect()))
    });
    told.with_context(|| format!("expected {expected:?}, found {found:?}"))
}

fn addresses(server: &Server) -> Vec<String> {
    server.addresses.iter().map(|address| address.ip().to_string()).collect()
}

#[test]
fn a_server_is_found_with_its_addresses_and_goes_with_a_goodbye() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let mut found = search(&lan, "b")?;
    let server = announce(&lan, "a", "attic", 1)?;
    await_servers(&mut found, &["attic (ocean-tiger)"])?;
    // Addresses come with records of their own.
    let attic = until("all addresses", || {
        found.wait(Instant::now() + Duration::from_millis(100))?;
        Ok(found.list().servers().find(|server| server.addresses.len() >= 3).cloned())
    })?;
    assert_eq!(attic.txt, txt(1));
    let told = addresses(&attic);
    assert_eq!(told[..2], ["192.168.77.1", "fd77::1"], "{told:?}");
    ensure!(told.iter().all(|ip| !ip.starts_with("172.17.") && ip != "10.9.0.2"), "{told:?}");
    ensure!(attic.addresses.iter().all(|address| address.port() == 15821), "{attic:?}");
    let dialled =
        lan.at("b", move || anyhow::Ok(attic.to_dial(&Interfaces::look(&Choice::Local)?)))??;
    let dialled: Vec<_> = dialled.iter().map(|address| address.ip()).collect();
    assert_eq!(dialled[..2], [address("192.168.77.1"), address("fd77::1")]);
    assert_eq!(dialled.len(), 3, "{dialled:?}");
    // Two of one machine: the goodbye of one leaves the other.
    let other = announce(&lan, "a", "büro", 2)?;
    await_servers(&mut found, &["attic (ocean-tiger)", "büro (ocean-tiger)"])?;
    drop(server);
    let left = await_servers(&mut found, &["büro (ocean-tiger)"])?;
    assert_eq!(left[0].addresses[0].to_string(), "192.168.77.1:15822");
    thread::sleep(Duration::from_secs(1));
    found.wait_for_all(Duration::from_millis(300))?;
    await_servers(&mut found, &["büro (ocean-tiger)"])?;
    drop(other);
    await_servers(&mut found, &[])?;
    // Who comes late finds who was there before.
    let _server = announce(&lan, "c", "cellar", 3)?;
    await_servers(&mut search(&lan, "a")?, &["cellar (ocean-tiger)"])?;
    Ok(())
}

#[test]
fn a_name_that_is_taken_gets_a_number() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let _first = announce(&lan, "a", "attic", 1)?;
    let mut second = announce(&lan, "b", "attic", 2)?;
    let deadline = Instant::now() + LIMIT;
    while second.name() == "attic" && Instant::now() < deadline {
        second.next(Duration::from_millis(100));
    }
    assert_eq!(second.name(), "attic (2)");
    let both = ["attic (2) (ocean-tiger)", "attic (ocean-tiger)"];
    let mut found = search(&lan, "c")?;
    let servers = await_servers(&mut found, &both)?;
    assert_eq!((servers[0].txt.id, servers[1].txt.id), ([2; 8], [1; 8]));
    drop(second);
    await_servers(&mut found, &both[1..])?;
    Ok(())
}

#[test]
fn a_new_address_is_followed() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let _server = announce(&lan, "a", "attic", 1)?;
    let mut found = search(&lan, "b")?;
    await_servers(&mut found, &["attic (ocean-tiger)"])?;
    lan.ip("a", "address del 192.168.77.1/24 dev eth0")?;
    lan.ip("a", "address add 192.168.77.41/24 brd + dev eth0")?;
    until("the new address, and not the old one", || {
        found.wait(Instant::now() + Duration::from_millis(100))?;
        let told: Vec<String> = found.list().servers().flat_map(addresses).collect();
        let has = |ip: &str| told.iter().any(|told| told == ip);
        Ok((has("192.168.77.41") && !has("192.168.77.1")).then_some(()))
    })
}

#[test]
fn an_interface_that_is_named_is_used_alone() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let at = |choice: &[&str]| {
        let choice = Choice::new(&choice.iter().map(|name| (*name).into()).collect::<Vec<_>>());
        let record = Record::new("attic", 15821, txt(1))?;
        lan.at("a", move || {
            let interfaces = Interfaces::look(&choice)?;
            let used: Vec<String> = interfaces.used().map(ToString::to_string).collect();
            anyhow::Ok((Announcement::begin(&record, &interfaces, &choice)?, used))
        })?
    };
    let mut found = search(&lan, "b")?;
    let (server, used) = at(&["docker0"])?;
    ensure!(used.len() == 1 && used[0].starts_with("docker0 (172.17.0.1"), "{used:?}");
    found.wait_for_all(Duration::from_secs(3))?;
    await_servers(&mut found, &[])?;
    drop(server);
    let (_server, used) = at(&["192.168.77.1"])?;
    ensure!(used.len() == 1 && used[0].starts_with("eth0 (192.168.77.1, fd77::1"), "{used:?}");
    await_servers(&mut found, &["attic (ocean-tiger)"])?;
    Ok(())
}

#[test]
fn whoever_finds_nobody_is_told_why() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let reasons = |machine: &str| {
        lan.at(machine, || {
            let interfaces = Interfaces::look(&Choice::Local)?;
            let mut search = Search::begin(&interfaces, &Choice::Local)?;
            search.wait_for_all(Duration::from_millis(500))?;
            assert_eq!(search.list().servers().count(), 0);
            anyhow::Ok(Silence::here(&interfaces, search.trouble()))
        })?
    };
    assert_eq!(reasons("b")?.last(), Some(&Silence::Unknown));
    lan.ip("b", "link set eth0 down")?;
    let told = reasons("b")?.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(told.len(), 1, "{told:?}");
    ensure!(told[0].contains("eth0 is switched off"), "{told:?}");
    lan.ip("b", "link delete eth0")?;
    assert_eq!(reasons("b")?, [Silence::NoNetwork]);
    lan.ip("b", "tuntap add wg0 mode tun")?;
    lan.ip("b", "address add 10.9.0.2/32 dev wg0")?;
    lan.ip("b", "link set wg0 up")?;
    assert_eq!(reasons("b")?, [Silence::OnlyVpn(vec!["wg0".into()])]);
    // Somebody has the port, and does not share it.
    let reasons = lan.at("c", || {
        let _taken = std::net::UdpSocket::bind("0.0.0.0:5353")?;
        let _taken = std::net::UdpSocket::bind("[::]:5353");
        let interfaces = Interfaces::look(&Choice::Local)?;
        let mut search = Search::begin(&interfaces, &Choice::Local)?;
        search.wait_for_all(Duration::from_millis(500))?;
        anyhow::Ok(Silence::here(&interfaces, search.trouble()))
    })??;
    let taken = "another program has UDP port 5353, and does not share it";
    assert_eq!(reasons.first(), Some(&Silence::Trouble(taken.into())));
    Ok(())
}
