//! An internet of two houses: host `a` behind gateway `ga`, host `b` behind `gb`, and `net` in between,
//! where relays are. Network namespaces, gone when dropped.
//!
//!     a 10.1.0.2 - 10.1.0.1 ga 203.0.113.11 - net 203.0.113.1, .2 - 203.0.113.12 gb 10.2.0.1 - 10.2.0.2 b

use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Deref;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::util::machines::Machines;
use super::util::skip;

/// How a gateway treats UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// One outside port for an inside one; in comes what was sent to before (port-restricted cone).
    Cone,
    /// The same, and everything comes in (full cone).
    Full,
    /// Another outside port for each destination.
    Symmetric,
    /// No UDP.
    Blocked,
}

/// The two houses.
pub struct Internet(Machines);

impl Deref for Internet {
    type Target = Machines;

    fn deref(&self) -> &Machines {
        &self.0
    }
}

impl Internet {
    /// With these gateways, or nothing (with the reason told) where that is not allowed.
    pub fn new(a: Nat, b: Nat) -> Result<Option<Self>> {
        let Some(machines) = Machines::begin("nat", "net")? else { return Ok(None) };
        let has_nft = Command::new("nft").arg("--version").stdout(Stdio::null()).status();
        if !has_nft.is_ok_and(|status| status.success()) {
            skip("there is no nft; scripts/setup --test installs it");
            return Ok(None);
        }
        let mut internet = Self(machines);
        internet.ready("net")?;
        internet.ip("net", "link add br0 type bridge")?;
        internet.ip("net", "link set br0 up")?;
        internet.ip("net", "address add 203.0.113.1/24 dev br0")?;
        internet.ip("net", "address add 203.0.113.2/24 dev br0")?;
        for (host, number, nat) in [("a", 1, a), ("b", 2, b)] {
            internet.house(host, number, nat)?;
        }
        Ok(Some(internet))
    }

    fn house(&mut self, host: &str, number: u8, nat: Nat) -> Result<()> {
        let gateway = format!("g{host}");
        self.add(&gateway)?;
        self.add(host)?;
        let net = self.name("net");
        self.ip(&gateway, &format!("link add wan type veth peer name to-{host} netns {net}"))?;
        self.ip("net", &format!("link set to-{host} master br0 up"))?;
        self.ip(&gateway, &format!("address add 203.0.113.1{number}/24 dev wan"))?;
        let inside = self.name(host);
        self.ip(&gateway, &format!("link add lan type veth peer name eth0 netns {inside}"))?;
        self.ip(&gateway, &format!("address add 10.{number}.0.1/24 dev lan"))?;
        self.ip(host, &format!("address add 10.{number}.0.2/24 dev eth0"))?;
        for (machine, link) in [(&*gateway, "wan"), (&gateway, "lan"), (host, "eth0")] {
            self.ip(machine, &format!("link set {link} up"))?;
        }
        self.ip(host, &format!("route add default via 10.{number}.0.1"))?;
        self.set(&gateway, "ipv4/ip_forward", "1")?;
        self.nft(&gateway, &rules(nat, &format!("10.{number}.0.2")))
    }

    /// Gives everybody IPv6, without NAT, behind gateways that let in what answers.
    pub fn with_ipv6(self) -> Result<Self> {
        for machine in ["net", "ga", "gb", "a", "b"] {
            self.set(machine, "ipv6/conf/all/forwarding", "1")?;
        }
        let add = |machine: &str, address: &str, link: &str| {
            self.ip(machine, &format!("address add {address}/64 dev {link} nodad"))
        };
        add("net", "2001:db8::1", "br0")?;
        for (host, number, other) in [("a", 1, 2), ("b", 2, 1)] {
            let gateway = format!("g{host}");
            add(&gateway, &format!("2001:db8::1{number}"), "wan")?;
            add(&gateway, &format!("2001:db8:{number}::1"), "lan")?;
            add(host, &format!("2001:db8:{number}::2"), "eth0")?;
            let route = format!("-6 route add default via 2001:db8:{number}::1");
            self.ip(host, &route)?;
            let far = format!("-6 route add 2001:db8:{other}::/64 via 2001:db8::1{other}");
            self.ip(&gateway, &far)?;
            let near = format!("-6 route add 2001:db8:{number}::/64 via 2001:db8::1{number}");
            self.ip("net", &near)?;
            let rules = "table ip6 house { chain forward { \
                type filter hook forward priority 0; policy accept; \
                iifname wan ct state new drop; }; }";
            self.nft(&gateway, rules)?;
        }
        Ok(self)
    }

    fn add(&mut self, machine: &str) -> Result<()> {
        self.0.add(machine)?;
        self.ready(machine)
    }

    fn ready(&self, machine: &str) -> Result<()> {
        // An address of IPv6 can be used at once, without a look whether another has it.
        for which in ["all", "default"] {
            self.set(machine, &format!("ipv6/conf/{which}/accept_dad"), "0")?;
        }
        self.ip(machine, "link set lo up")
    }

    /// A kernel setting below `/proc/sys/net`.
    fn set(&self, machine: &str, setting: &str, value: &str) -> Result<()> {
        let script = format!("echo {value} > /proc/sys/net/{setting}");
        let status = self.on(machine, "sh").args(["-c", &script]).status()?;
        ensure!(status.success(), "{setting} at {machine}: {status}");
        Ok(())
    }

    /// Rules of nftables, at a machine.
    pub fn nft(&self, machine: &str, rules: &str) -> Result<()> {
        let mut command = self.on(machine, "nft");
        command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        child.stdin.take().context("its input")?.write_all(rules.as_bytes())?;
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "nft at {machine}: {said}\n{rules}");
        Ok(())
    }

    /// From now on counts the packets from one gateway to the other, at both.
    pub fn count_between(&self) -> Result<()> {
        for (gateway, other) in [("ga", "203.0.113.12"), ("gb", "203.0.113.11")] {
            let rules = format!(
                "table ip count {{ chain pre {{ type filter hook prerouting priority -300; \
                 policy accept; ip saddr {other} counter; }}; }}"
            );
            self.nft(gateway, &rules)?;
        }
        Ok(())
    }

    /// So many came at `ga` and at `gb`.
    pub fn counted_between(&self) -> Result<[u64; 2]> {
        let count = |gateway: &str| -> Result<u64> {
            let output = self.on(gateway, "nft").args(["list", "table", "ip", "count"]).output()?;
            let text = String::from_utf8(output.stdout)?;
            let number = text.split("counter packets ").nth(1).and_then(|it| it.split(' ').next());
            Ok(number.context("no counter")?.parse()?)
        };
        Ok([count("ga")?, count("gb")?])
    }

    /// A UDP socket at a machine.
    pub fn udp(&self, machine: &str, address: &str) -> Result<UdpSocket> {
        let address: SocketAddr = address.parse()?;
        let there = self.at(machine, move || UdpSocket::bind(address));
        let socket = there.join().ok().context("the thread has panicked")???;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        Ok(socket)
    }
}

/// What makes a gateway of that kind. A gateway that answers unsolicited UDP by itself would have its own
/// NAT choose other ports for what the inside sends there later: it drops it.
fn rules(nat: Nat, host: &str) -> String {
    let (out, pre, forward) = match nat {
        Nat::Cone => ("masquerade persistent", String::new(), "iifname wan ct state new drop"),
        Nat::Full => {
            let all = format!("iifname wan meta l4proto udp dnat to {host}");
            ("masquerade persistent", all, "")
        }
        Nat::Symmetric => {
            ("masquerade fully-random", String::new(), "iifname wan ct state new drop")
        }
        Nat::Blocked => ("masquerade", String::new(), "meta l4proto udp drop"),
    };
    let input = match nat {
        Nat::Full => "",
        _ => "iifname wan meta l4proto udp ct state new drop",
    };
    format!(
        "table ip house {{
            chain post {{ type nat hook postrouting priority 100; oifname wan {out}; }}
            chain pre {{ type nat hook prerouting priority -100; {pre}; }}
            chain forward {{ type filter hook forward priority 0; policy accept; {forward}; }}
            chain input {{ type filter hook input priority 0; policy accept; {input}; }}
        }}"
    )
}
