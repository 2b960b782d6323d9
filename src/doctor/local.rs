//! The local network: which interfaces `transfer send --lan` uses, which not and why, and what a
//! firewall needs.

use std::net::IpAddr;

use crate::connect::devices::PORTS;
use crate::error::{reason, shown};
use crate::net::firewall::Firewall;
use crate::net::interfaces::{Choice, Interface, Interfaces, LeftOut};
use crate::net::mdns::echo;
use crate::ticket::DEFAULT_PORT;
use crate::ui::Finding;

/// What there is to say of this machine's interfaces.
pub fn interfaces(port: Option<u16>) -> Vec<Finding> {
    match Interfaces::look(&Choice::Local) {
        Ok(interfaces) => findings(&interfaces, port.unwrap_or(DEFAULT_PORT), Firewall::here()),
        Err(error) => vec![(&error).into()],
    }
}

fn findings(interfaces: &Interfaces, port: u16, firewall: Option<Firewall>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for interface in interfaces.used() {
        findings.push(Finding::fine(format!("{interface}: `transfer send --lan` listens there")));
    }
    if let Some(error) = interfaces.nothing() {
        // Most transfers need none.
        return vec![Finding::skipped(error.to_string())];
    }
    if let (Some(last), Some(firewall)) = (findings.last_mut(), firewall) {
        let allow = firewall.allow(&port.to_string(), "tcp");
        let serve = format!("{}-{}", PORTS.start(), PORTS.end());
        last.advice = Some(format!(
            "the firewall here must let receivers in: {allow}; for `transfer serve`: {}; to find \
             servers: {}",
            firewall.allow(&serve, "tcp"),
            firewall.allow("5353", "udp")
        ));
    }
    for (interface, why) in interfaces.left_out().filter(|(_, why)| *why != LeftOut::Loopback) {
        findings.push(Finding::skipped(format!("{} {why}", shown(&interface.name))));
    }
    findings
}

/// Whether multicast comes back here, without which nobody is found by a name.
pub fn multicast() -> Vec<Finding> {
    let Ok(interfaces) = Interfaces::look(&Choice::Local) else { return vec![] };
    let look = |interface: &Interface| {
        let IpAddr::V4(ip) = interface.addresses().find(IpAddr::is_ipv4)? else { return None };
        let name = shown(&interface.name);
        let advice = "servers can be reached by their address all the same";
        Some(match echo(ip) {
            Ok(true) => Finding::fine(format!("{name} hears it: `transfer find` can work")),
            Ok(false) => {
                let finding = Finding::warning(format!("{name} does not hear its own"));
                finding.advice(match Firewall::here() {
                    Some(firewall) => format!(
                        "the firewall here may keep it out: {}; {advice}",
                        firewall.allow("5353", "udp")
                    ),
                    None => advice.to_owned(),
                })
            }
            Err(error) => Finding::warning(format!("{name}: {}", reason(&error))).advice(advice),
        })
    };
    interfaces.used().filter_map(look).collect()
}

/// The address of this machine there that `transfer send --lan` shows.
pub fn address() -> Option<IpAddr> {
    let interfaces = Interfaces::look(&Choice::Local).ok()?;
    interfaces.addresses().first().map(|(ip, _)| *ip)
}

/// What there is to say of another machine's address there.
pub fn device(ip: IpAddr) -> Finding {
    let interfaces = Interfaces::look(&Choice::Local);
    let interface = interfaces.as_ref().ok().and_then(|interfaces| interfaces.on_link(ip));
    Finding::fine(match interface {
        Some(interface) => format!("{ip} is in the local network of {}", shown(&interface.name)),
        None => format!("{ip} is a private address, to which a router has to lead"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::interfaces::Network;

    #[test]
    fn interfaces_and_their_reasons() {
        let lan = Network { address: [192, 168, 1, 9].into(), prefix: 24 };
        let at = |name: &str| Interfaces::of(name, 2, &[lan]);
        let used = findings(&at("eth0"), 15820, Some(Firewall::Ufw));
        assert_eq!(
            used,
            [Finding::fine("eth0 (192.168.1.9): `transfer send --lan` listens there")
                .advice(
                    "the firewall here must let receivers in: `sudo ufw allow 15820/tcp`; for \
                     `transfer serve`: `sudo ufw allow 15821:15830/tcp`; to find servers: `sudo ufw \
                     allow 5353/udp`"
                )]
        );
        assert_eq!(findings(&at("eth0"), 1, None).len(), 1);
        for firewall in [None, Some(Firewall::Ufw)] {
            let none = findings(&at("docker0"), 15820, firewall);
            let expected = "no network interface leads to a local network: docker0 belongs to \
                            containers or virtual machines";
            assert_eq!(none, [Finding::skipped(expected)]);
        }
    }
}
