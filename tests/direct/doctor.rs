//! `transfer doctor --direct`: what it says of each kind of network, and of relays that are not there.

use std::thread;

use anyhow::{Context, Result, ensure};

use super::hosts::Hosts;
use super::relay::Relay;
use super::stage::{Internet, Nat};

const ONE: &str = "203.0.113.1";
const OTHER: &str = "203.0.113.2";

/// What the doctor finds at a machine about relays, UDP, NAT and the way: each begins with its topic and its
/// mark.
fn findings(hosts: &Hosts<'_>, machine: &str, code: i32) -> Result<Vec<String>> {
    let told = hosts.doctor(machine)?.end(code)?;
    let findings = told.lines.iter().filter(|line| line["event"] == "finding");
    let text =
        |line: &serde_json::Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    Ok(findings
        .map(|it| format!("{} {}: {}", text(it, "topic"), text(it, "mark"), text(it, "text")))
        .collect())
}

/// All of these were said, and nothing that begins like these.
fn ensure_said(findings: &[String], said: &[&str], unsaid: &[&str]) -> Result<()> {
    for begin in said {
        ensure!(findings.iter().any(|it| it.starts_with(begin)), "no {begin:?} in {findings:#?}");
    }
    for begin in unsaid {
        ensure!(!findings.iter().any(|it| it.starts_with(begin)), "{begin:?} in {findings:#?}");
    }
    Ok(())
}

#[test]
fn each_kind_of_nat_is_known_by_two_relays() -> Result<()> {
    for (nat, said) in [
        (
            Nat::Cone,
            [
                "UDP ok: gets out over IPv4; this machine is seen as 203.0.113.11:",
                "NAT ok: one port for all: 2 relays",
                "Direct way ok: likely: to all but",
            ],
        ),
        (
            Nat::Symmetric,
            [
                "UDP ok: gets out over IPv4; this machine is seen as 203.0.113.11:",
                "NAT warning: another port for each destination",
                "Direct way warning: unlikely: transfers go through the relay",
            ],
        ),
        (
            Nat::Blocked,
            [
                "UDP warning: no relay answers over UDP",
                "NAT skipped: nobody outside tells",
                "Direct way warning: unlikely: transfers go through the relay",
            ],
        ),
    ] {
        let Some(internet) = Internet::new(nat, Nat::Cone)? else { return Ok(()) };
        let relays = [Relay::start(&internet, ONE, &[])?, Relay::start(&internet, OTHER, &[])?];
        let hosts = Hosts::new(&internet, &[&relays[0], &relays[1]])?;
        let findings = findings(&hosts, "a", 0)?;
        ensure_said(&findings, &said, &["Direct way problem", "Relays problem"])?;
        for address in [ONE, OTHER] {
            let there = format!("Relays ok: https://{address} lets this machine in, ");
            ensure_said(&findings, &[&there, "NAT skipped: the router opens no ports"], &[])?;
        }
    }
    Ok(())
}

#[test]
fn one_relay_does_not_tell_the_kind_of_nat() -> Result<()> {
    let Some(internet) = Internet::new(Nat::Symmetric, Nat::Cone)? else { return Ok(()) };
    let relay = Relay::start(&internet, ONE, &[])?;
    let hosts = Hosts::new(&internet, &[&relay])?;
    let said = ["NAT skipped: unknown: one relay alone", "Direct way ok: possible: UDP gets out"];
    ensure_said(&findings(&hosts, "a", 0)?, &said, &[])?;
    // Where there is none, one is enough.
    let said = ["NAT ok: none: this machine is seen as", "Direct way ok: likely: this machine has"];
    ensure_said(&findings(&hosts, "gb", 0)?, &said, &[])
}

#[test]
fn a_relay_that_is_not_there_is_told_with_its_reason() -> Result<()> {
    let Some(internet) = Internet::new(Nat::Cone, Nat::Cone)? else { return Ok(()) };
    let relay = Relay::start(&internet, ONE, &[])?;
    let mut gone = Relay::start(&internet, OTHER, &[])?;
    let hosts = Hosts::new(&internet, &[&relay, &gone])?;
    gone.kill()?;
    let refused = "the relay 203.0.113.2 does not answer: connection refused";
    let said = [&*format!("Relays warning: {refused}"), "Relays ok: https://203.0.113.1 lets"];
    ensure_said(&findings(&hosts, "a", 0)?, &said, &[])?;
    let hosts = Hosts::new(&internet, &[&gone])?;
    let said = [
        &*format!("Relays problem: {refused}"),
        "Direct way skipped: there is none without a relay",
    ];
    ensure_said(&findings(&hosts, "a", 1)?, &said, &["UDP ok"])?;
    // Nobody trusts its certificate.
    let hosts = Hosts::new(&internet, &[&relay])?;
    hosts.trust(&[&gone])?;
    let said = ["Relays problem: the certificate of 203.0.113.1 is not valid"];
    ensure_said(&findings(&hosts, "a", 1)?, &said, &[])
}

/// What the NAT of IPv4 makes hard is easy with IPv6. (The engine takes no place at a relay whose URL has an
/// IPv6 address, which is said; it tells the address all the same.)
#[test]
fn ipv6_is_told() -> Result<()> {
    let Some(internet) = Internet::new(Nat::Symmetric, Nat::Cone)? else { return Ok(()) };
    let internet = internet.with_ipv6()?;
    let relays = [Relay::start(&internet, ONE, &[])?, Relay::start(&internet, "2001:db8::1", &[])?];
    let hosts = Hosts::new(&internet, &[&relays[0], &relays[1]])?;
    let said = [
        "Relays warning: the relay 2001:db8::1 does not answer",
        "UDP ok: gets out over IPv6; this machine is seen as [2001:db8:1::2]:",
        "Direct way ok: likely to those who have IPv6",
    ];
    ensure_said(&findings(&hosts, "a", 0)?, &said, &["UDP warning"])
}

/// A router of NAT-PMP (RFC 6886) answers, and is asked for nothing but that.
#[test]
fn a_router_that_opens_ports_is_found() -> Result<()> {
    let Some(internet) = Internet::new(Nat::Symmetric, Nat::Cone)? else { return Ok(()) };
    let relays = [Relay::start(&internet, ONE, &[])?, Relay::start(&internet, OTHER, &[])?];
    let hosts = Hosts::new(&internet, &[&relays[0], &relays[1]])?;
    let router = internet.udp("ga", "10.1.0.1:5351")?;
    router.set_read_timeout(Some(std::time::Duration::from_secs(30)))?;
    let asked = thread::spawn(move || -> Result<Vec<Vec<u8>>> {
        let mut asked = vec![];
        let mut buffer = [0; 100];
        loop {
            let (len, from) = router.recv_from(&mut buffer)?;
            let question = buffer.get(..len).context("its own length")?.to_vec();
            if question == b"that was all" {
                return Ok(asked);
            }
            if question == [0, 0] {
                router.send_to(&[0, 128, 0, 0, 0, 0, 0, 1, 203, 0, 113, 11], from)?;
            }
            asked.push(question);
        }
    });
    let findings = findings(&hosts, "a", 0)?;
    internet.udp("a", "10.1.0.2:0")?.send_to(b"that was all", "10.1.0.1:5351")?;
    let said = [
        "NAT ok: the router opens a port when asked: NAT-PMP",
        "Direct way ok: likely: the router opens a port",
    ];
    ensure_said(&findings, &said, &[])?;
    let asked = asked.join().ok().context("no panic")??;
    // Of NAT-PMP the question for its address (0, 0), of PCP that for nothing (2, 0): no port (1 or 2).
    ensure!(!asked.is_empty() && asked.iter().all(|it| it.get(1) == Some(&0)), "{asked:?}");
    Ok(())
}
