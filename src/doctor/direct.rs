//! Direct mode: which relays let this machine in, what its router does to UDP, and whether a direct way is
//! likely.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::connect::direct::{Direct, relays};
use crate::error::Result;
use crate::net::interfaces::{Scope, is_tailnet};
use crate::net::quic::{self, AtRelay, Network, Seen};
use crate::ui::Finding;

/// What is looked at, and what there is to say of it.
pub type Topic = (&'static str, Vec<Finding>);

/// Looks at the relays that `transfer send --direct` would use.
///
/// # Errors
/// A relay is named that is none, or this build has no direct mode.
pub fn look(direct: &Direct) -> Result<Vec<Topic>> {
    let (relays, token) = relays(direct)?;
    if relays.is_empty() {
        let alone = "there shall be none, and nobody else tells how this machine is seen";
        return Ok(vec![("Relays", vec![Finding::skipped(alone)])]);
    }
    Ok(topics(&quic::look(&relays, token.as_ref())?))
}

/// The proxy that relays are reached through.
pub fn proxy() -> Finding {
    match quic::proxy_variable() {
        Some(name) => Finding::fine(format!("{name} is set: relays are reached through it")),
        None => Finding::fine("none is set: relays are reached from here"),
    }
}

fn topics(network: &Network) -> Vec<Topic> {
    vec![
        ("Relays", network.relays.iter().map(|it| at_relay(it, network)).collect()),
        ("UDP", udp(network)),
        ("NAT", nat(network)),
        ("Direct way", vec![outlook(network)]),
    ]
}

fn has_relay(network: &Network) -> bool {
    network.relays.iter().any(|it| it.entered.is_ok())
}

fn at_relay(at: &AtRelay, network: &Network) -> Finding {
    let whose = if at.relay.is_of_n0() { ", run by n0" } else { "" };
    match &at.entered {
        Ok(()) => {
            let took = at.round_trip.map_or_else(String::new, |took| {
                format!(", {} ms there and back", took.as_millis().max(1))
            });
            Finding::fine(format!("{} lets this machine in{took}{whose}", at.relay))
        }
        Err(error) => {
            let advice = error.hint.clone().unwrap_or_default();
            let told = error.to_string();
            // One is enough.
            let finding = match has_relay(network) {
                true => Finding::warning(told),
                false => Finding::problem(told),
            };
            finding.advice(advice)
        }
    }
}

/// As what this machine is seen over IPv4 or IPv6, by each that sees it, once.
fn seen(network: &Network, is_ipv4: bool) -> BTreeMap<IpAddr, Seen> {
    let all = network.relays.iter().flat_map(|it| &it.seen);
    all.filter(|it| it.by.is_ipv4() == is_ipv4).map(|it| (it.by.ip(), *it)).collect()
}

/// As what this machine is seen from the internet: a relay of its own network, or of its tailnet, sees it on
/// this side of the NAT.
fn outside(network: &Network, is_ipv4: bool) -> BTreeMap<IpAddr, Seen> {
    let mut seen = seen(network, is_ipv4);
    seen.retain(|_, it| {
        let ip = it.address.ip();
        Scope::of(ip) == Scope::Global && !is_tailnet(ip)
    });
    seen
}

/// What comes of UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Udp {
    /// Some relay answers.
    Answered,
    /// No relay answers, by whatever protocol.
    Gone,
    /// None was asked of those that are there.
    Unasked,
    /// One is silent that is there, and it may have no address discovery.
    Silent,
    /// The same, and it has: n0's do.
    Blocked,
}

fn udp_of(network: &Network) -> Udp {
    if network.relays.iter().any(|it| !it.seen.is_empty()) {
        return Udp::Answered;
    }
    if !has_relay(network) {
        return Udp::Gone;
    }
    let asked = network.relays.iter().filter(|it| it.entered.is_ok() && it.is_asked);
    let asked: Vec<_> = asked.collect();
    match asked.iter().any(|it| it.relay.is_of_n0()) {
        true => Udp::Blocked,
        false if asked.is_empty() => Udp::Unasked,
        false => Udp::Silent,
    }
}

fn udp(network: &Network) -> Vec<Finding> {
    let unanswered = match udp_of(network) {
        Udp::Answered => None,
        Udp::Gone => Some(Finding::skipped("no relay answers: see above")),
        Udp::Unasked => Some(Finding::skipped(
            "a relay without a certificate of its own has no address discovery",
        )),
        Udp::Silent => Some(Finding::warning("no relay answers over UDP").advice(
            "a firewall or the network keeps UDP in (the relays are asked at port 7842), or the relay is \
             behind a proxy and has no address discovery",
        )),
        Udp::Blocked => Some(Finding::warning("no relay answers over UDP").advice(
            "a firewall or the network keeps UDP in (the relays are asked at port 7842)",
        )),
    };
    if let Some(finding) = unanswered {
        return vec![finding];
    }
    let families = [(true, "IPv4"), (false, "IPv6")].map(|(is_ipv4, name)| {
        let addresses = distinct(&seen(network, is_ipv4));
        if addresses.is_empty() {
            return Finding::skipped(format!("over {name} no relay can be reached"));
        }
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let addresses = addresses.join(", ");
        Finding::fine(format!("gets out over {name}; this machine is seen as {addresses}"))
    });
    families.into()
}

/// The addresses, each once.
fn distinct(seen: &BTreeMap<IpAddr, Seen>) -> Vec<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = seen.values().map(|it| it.address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// What is between this machine and the internet, over IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing comes back from outside.
    Unseen,
    /// Nothing.
    None,
    /// One port for all destinations.
    OnePort,
    /// Another port for each.
    ManyPorts,
    /// One of the two: a single destination does not tell.
    Unknown,
}

fn kind(network: &Network) -> Kind {
    let seen = outside(network, true);
    match (seen.len(), distinct(&seen).len()) {
        (0, _) => Kind::Unseen,
        _ if seen.values().all(|it| it.is_own) => Kind::None,
        (1, _) => Kind::Unknown,
        (_, 1) => Kind::OnePort,
        _ => Kind::ManyPorts,
    }
}

fn nat(network: &Network) -> Vec<Finding> {
    let mut findings = vec![match kind(network) {
        Kind::Unseen => Finding::skipped("nobody outside tells: see above"),
        Kind::None => Finding::fine("none: this machine is seen as the address that it has"),
        Kind::OnePort => Finding::fine(format!(
            "one port for all: {} relays see the same one",
            outside(network, true).len()
        )),
        Kind::ManyPorts => Finding::warning("another port for each destination (a symmetric NAT)")
            .advice(
                "in the router's settings a cone NAT, a forwarded port or UPnP makes direct ways",
            ),
        Kind::Unknown => Finding::skipped(
            "unknown: one relay alone does not tell whether others see another port",
        )
        .advice("name a second one with --relay"),
    }];
    match &network.openers {
        None => {}
        Some(openers) if openers.is_empty() => {
            findings.push(Finding::skipped("the router opens no ports (UPnP, PCP, NAT-PMP)"));
        }
        Some(openers) => {
            let how = openers.join(", ");
            findings.push(Finding::fine(format!("the router opens a port when asked: {how}")));
        }
    }
    findings
}

/// What follows for who sends or receives here.
fn outlook(network: &Network) -> Finding {
    if !has_relay(network) {
        return Finding::skipped("there is none without a relay to meet at: see above");
    }
    let has_ipv6 = !outside(network, false).is_empty();
    let opens = network.openers.as_ref().is_some_and(|it| !it.is_empty());
    let through = "transfers go through the relay";
    match kind(network) {
        Kind::None => Finding::fine("likely: this machine has an address of the internet"),
        Kind::OnePort | Kind::ManyPorts | Kind::Unknown if opens => {
            Finding::fine("likely: the router opens a port")
        }
        Kind::OnePort => Finding::fine(
            "likely: to all but those who have a NAT with another port for each destination, or no UDP",
        ),
        _ if has_ipv6 => Finding::fine("likely to those who have IPv6 too"),
        Kind::ManyPorts => Finding::warning(format!(
            "unlikely: {through}, except with those whose router lets everybody in"
        )),
        Kind::Unknown => Finding::fine("possible: UDP gets out"),
        Kind::Unseen => match udp_of(network) {
            Udp::Blocked => Finding::warning(format!("none: {through}, as UDP does not get out")),
            Udp::Silent => Finding::warning(format!(
                "unlikely: {through}, unless UDP gets out and the relay just does not answer it"
            )),
            Udp::Answered => {
                Finding::skipped("unknown: no relay outside this network tells how it is seen")
            }
            Udp::Unasked | Udp::Gone => {
                Finding::skipped("unknown: no relay tells whether UDP gets out")
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::net::relay_url::RelayUrl;
    use crate::ui::Mark;

    /// The one socket of this machine in its network, and in that of the internet.
    const OWN: [&str; 2] = ["192.168.1.9:5000", "198.51.100.9:5000"];

    /// A relay, and how it sees this machine.
    fn relay(url: &str, seen: &[(&str, &str)]) -> AtRelay {
        let relay = RelayUrl::parse(url).unwrap();
        let is_asked = relay.is_https();
        let seen = seen.iter().map(|(by, address)| Seen {
            by: by.parse().unwrap(),
            address: address.parse().unwrap(),
            is_own: OWN.contains(address),
        });
        AtRelay { relay, entered: Ok(()), round_trip: None, is_asked, seen: seen.collect() }
    }

    fn gone(url: &str) -> AtRelay {
        let entered = Err(Error::network("it does not answer").hint("is it on line?"));
        AtRelay { entered, ..relay(url, &[]) }
    }

    /// What is said of NAT and of the way with these relays and this router.
    fn told(relays: Vec<AtRelay>, openers: Option<Vec<&'static str>>) -> [(Mark, String); 2] {
        let topics = topics(&Network { relays, openers });
        let first = |topic: &str| {
            let (_, findings) = topics.iter().find(|(name, _)| *name == topic).unwrap();
            (findings[0].mark, findings[0].what.clone())
        };
        [first("NAT"), first("Direct way")]
    }

    #[test]
    fn what_follows_from_what_relays_see() {
        use Mark::{Fine, Skipped, Warning};
        let (one, other) = ("192.0.2.1:7842", "192.0.2.2:7842");
        let (port, another) = ("198.51.100.7:5000", "198.51.100.7:6000");
        let two =
            |first, second| vec![relay("a.b", &[(one, first)]), relay("c.d", &[(other, second)])];
        let ipv6 = ("[2001:db8::1]:7842", "[2001:db8:1::2]:5000");
        for (relays, openers, nat, way) in [
            (two(OWN[1], OWN[1]), None, (Fine, "none: "), (Fine, "likely: this machine")),
            // Relays on this side of the NAT tell nothing of it.
            (
                two(OWN[0], OWN[0]),
                None,
                (Skipped, "nobody outside"),
                (Skipped, "unknown: no relay outside"),
            ),
            (
                two("100.70.15.9:5000", OWN[0]),
                None,
                (Skipped, "nobody outside"),
                (Skipped, "unknown: no relay outside"),
            ),
            (two(OWN[0], port), None, (Skipped, "unknown: one relay"), (Fine, "possible: ")),
            (
                vec![relay("a.b", &[("[fd00::1]:7842", "[fd00::2]:5000")])],
                None,
                (Skipped, "nobody outside"),
                (Skipped, "unknown: no relay outside"),
            ),
            (two(port, port), None, (Fine, "one port for all: 2"), (Fine, "likely: to all but")),
            (two(port, another), None, (Warning, "another port"), (Warning, "unlikely: ")),
            (
                two(port, another),
                Some(vec!["UPnP"]),
                (Warning, "another port"),
                (Fine, "likely: the router"),
            ),
            (two(port, another), Some(vec![]), (Warning, "another port"), (Warning, "unlikely: ")),
            (
                vec![relay("a.b", &[(one, port)])],
                None,
                (Skipped, "unknown: one relay"),
                (Fine, "possible: "),
            ),
            // Two names of one machine are one observation.
            (
                vec![relay("a.b", &[(one, port)]), relay("c.d", &[(one, port)])],
                None,
                (Skipped, "unknown: one relay"),
                (Fine, "possible: "),
            ),
            (
                vec![relay("a.b", &[(one, port), ipv6]), relay("c.d", &[(other, another)])],
                None,
                (Warning, "another port"),
                (Fine, "likely to those who have IPv6"),
            ),
            (
                vec![relay("a.b", &[ipv6])],
                None,
                (Skipped, "nobody outside"),
                (Fine, "likely to those who have IPv6"),
            ),
            // It may be behind a proxy.
            (vec![relay("a.b", &[])], None, (Skipped, "nobody outside"), (Warning, "unlikely: ")),
            (
                vec![relay("euc1-1.relay.n0.iroh.link", &[])],
                None,
                (Skipped, "nobody outside"),
                (Warning, "none: "),
            ),
            // Of one that is not there nobody knows why it is silent.
            (
                vec![gone("a.b"), relay("http://127.0.0.1:1", &[])],
                None,
                (Skipped, "nobody outside"),
                (Skipped, "unknown: no relay tells"),
            ),
            (
                vec![relay("http://127.0.0.1:1", &[])],
                None,
                (Skipped, "nobody outside"),
                (Skipped, "unknown: no relay"),
            ),
        ] {
            let said = format!("{relays:?}");
            let told = told(relays, openers);
            for ((mark, what), (expected, begins)) in told.iter().zip([nat, way]) {
                assert!(*mark == expected && what.starts_with(begins), "{mark:?} {what}: {said}");
            }
        }
    }

    /// What is said of UDP goes by relays that are there.
    #[test]
    fn a_relay_that_is_not_there_says_nothing_of_udp() {
        let first = |relays| {
            let finding = udp(&Network { relays, openers: None }).remove(0);
            (finding.mark, finding.what)
        };
        for (relays, mark, begins) in [
            (vec![relay("a.b", &[]), gone("c.d")], Mark::Warning, "no relay answers over UDP"),
            (
                vec![gone("a.b"), relay("http://127.0.0.1:1", &[])],
                Mark::Skipped,
                "a relay without a certificate",
            ),
            (vec![gone("a.b")], Mark::Skipped, "no relay answers: "),
            (vec![gone("http://127.0.0.1:1")], Mark::Skipped, "no relay answers: "),
        ] {
            let (found, what) = first(relays);
            assert!(found == mark && what.starts_with(begins), "{found:?} {what}");
        }
    }

    #[test]
    fn one_relay_of_several_is_enough() {
        let marks = |relays| {
            let network = Network { relays, openers: None };
            let topics = topics(&network);
            topics[0].1.iter().map(|it| it.mark).collect::<Vec<_>>()
        };
        assert_eq!(marks(vec![relay("a.b", &[]), gone("c.d")]), [Mark::Fine, Mark::Warning]);
        assert_eq!(marks(vec![gone("a.b"), gone("c.d")]), [Mark::Problem, Mark::Problem]);
        let none = Network { relays: vec![gone("a.b")], openers: None };
        assert_eq!(outlook(&none).mark, Mark::Skipped);
    }
}
