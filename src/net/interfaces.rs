//! The network interfaces of this machine: which of them lead to a local network, and why the
//! others do not. A program that takes whatever comes first shows people an address of Docker's
//! bridge, or of a VPN, where nobody of their network can reach it.

mod address;
mod system;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

pub use self::address::{Network, Scope, is_tailnet};
use self::system::{Address, Flags};
use crate::error::{Error, Result, reason, shown};

/// What keeps a program from a local network since macOS 15, without a word to it.
pub const LOCAL_NETWORK_LEAVE: &str = "this Mac may keep the terminal from the local network: allow it in System \
                                       Settings, Privacy & Security, Local Network";

/// An interface, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// As the system calls it.
    pub name: String,
    /// The number that a link-local IPv6 address needs beside it (RFC 4007); 0 where it is unknown.
    pub index: u32,
    /// Its addresses, each with the network that is reached by it, the best to show first.
    pub networks: Vec<Network>,
    /// Why it is not used; nothing if it is.
    pub left_out: Option<LeftOut>,
}

impl Interface {
    /// Its addresses, the best to show first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.networks.iter().map(|network| network.address)
    }

    /// Whether an address can be reached by it without a router.
    pub fn is_on_link(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.networks.iter().any(|network| network.contains(ip))
    }
}

/// `eth0 (192.168.1.9, fd12::9)`.
impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.name))?;
        let addresses: Vec<String> = self.addresses().map(|ip| ip.to_string()).collect();
        match addresses.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", addresses.join(", ")),
        }
    }
}

/// Why an interface is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// It leads to this machine itself.
    Loopback,
    /// Switched off, without a cable, or without a wireless network.
    Down,
    /// It leads into a VPN, as its name tells.
    Vpn,
    /// It leads to containers or virtual machines, as its name tells.
    Virtual,
    /// It leads to a single other machine, as tunnels do.
    PointToPoint,
    /// It carries no multicast, so nobody can be found by it.
    NoMulticast,
    /// Nothing has given it an address.
    NoAddress,
    /// Others were asked for.
    NotAsked,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "leads to this machine alone",
            Self::Down => "is switched off, or has no cable or wireless network",
            Self::Vpn => "belongs to a VPN",
            Self::Virtual => "belongs to containers or virtual machines",
            Self::PointToPoint => "is a tunnel",
            Self::NoMulticast => "carries no multicast",
            Self::NoAddress => "has no address",
            Self::NotAsked => "was not asked for",
        })
    }
}

/// What names of interfaces that lead to no local network begin with, in lower case. Tunnels are
/// told by a flag as well, but not on every system, and not Tailscale's.
const BEGINNINGS: [(&str, LeftOut); 27] = [
    ("tailscale", LeftOut::Vpn),
    ("wg", LeftOut::Vpn),
    ("tun", LeftOut::Vpn),
    ("utun", LeftOut::Vpn),
    ("zt", LeftOut::Vpn),
    ("nordlynx", LeftOut::Vpn),
    ("ppp", LeftOut::Vpn),
    ("docker", LeftOut::Virtual),
    ("br-", LeftOut::Virtual),
    ("veth", LeftOut::Virtual),
    ("virbr", LeftOut::Virtual),
    ("vmnet", LeftOut::Virtual),
    ("vmware", LeftOut::Virtual),
    ("vboxnet", LeftOut::Virtual),
    ("virtualbox", LeftOut::Virtual),
    ("cni", LeftOut::Virtual),
    ("podman", LeftOut::Virtual),
    ("lxc", LeftOut::Virtual),
    ("lxdbr", LeftOut::Virtual),
    ("incusbr", LeftOut::Virtual),
    ("flannel", LeftOut::Virtual),
    ("cali", LeftOut::Virtual),
    ("cilium", LeftOut::Virtual),
    ("kube", LeftOut::Virtual),
    // Of Apple's own programs: nobody else is there.
    ("awdl", LeftOut::Virtual),
    ("llw", LeftOut::Virtual),
    ("anpi", LeftOut::Virtual),
];

/// What names of Hyper-V's switches begin with that lead no farther than this machine.
const INSIDE: [&str; 4] = ["(wsl", "(default switch)", "(nat)", "(dockernat)"];

/// Why an interface of that name is not used, if the name tells.
pub(super) fn by_name(name: &str) -> Option<LeftOut> {
    let name = name.to_lowercase();
    if let Some(switch) = name.strip_prefix("vethernet ") {
        // Of Hyper-V. An external one has the address of the machine itself.
        return INSIDE.iter().any(|it| switch.starts_with(it)).then_some(LeftOut::Virtual);
    }
    // Of virtual machines on macOS, and of what it shares with others; `bridge0` is for cables.
    let number = name.strip_prefix("bridge").unwrap_or_default();
    if number.len() == 3 && number.bytes().all(|it| it.is_ascii_digit()) {
        return Some(LeftOut::Virtual);
    }
    let found = BEGINNINGS.iter().find(|(beginning, _)| name.starts_with(beginning));
    found.map(|(_, why)| *why)
}

/// The order in which addresses are shown and dialled.
fn order(ip: IpAddr) -> (Scope, bool) {
    (Scope::of(ip), ip.is_ipv6())
}

/// Which interfaces to use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Choice {
    /// Those that lead to a local network.
    #[default]
    Local,
    /// Those of these names, or that have one of these addresses.
    Named(Vec<String>),
}

impl Choice {
    /// What `--interface` was given; nothing of it leaves the choice to the rules.
    pub fn new(named: &[String]) -> Self {
        match named.is_empty() {
            true => Self::Local,
            false => Self::Named(named.to_vec()),
        }
    }
}

/// All interfaces of this machine at one moment, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interfaces {
    all: Vec<Interface>,
}

impl Interfaces {
    /// Asks the system, and sorts out by the rules, or by what was asked for.
    ///
    /// # Errors
    /// Exit 5 where the system does not tell, or has no interface of a name that was asked for.
    pub fn look(choice: &Choice) -> Result<Self> {
        let (addresses, flags) = system::read().map_err(|error| {
            let message = format!("cannot list the network interfaces: {}", reason(&error));
            Error::network(message).hint("does this user, or this container, lack the right to?")
        })?;
        Self::judge(addresses, flags).choose(choice)
    }

    /// Those that lead to a local network.
    pub fn used(&self) -> impl Iterator<Item = &Interface> + Clone {
        self.all.iter().filter(|interface| interface.left_out.is_none())
    }

    /// The others, and why.
    pub fn left_out(&self) -> impl Iterator<Item = (&Interface, LeftOut)> {
        self.all.iter().filter_map(|interface| Some((interface, interface.left_out?)))
    }

    /// The addresses of those that are used: each interface's best first, then the next of each.
    pub fn addresses(&self) -> Vec<(IpAddr, &Interface)> {
        let of_each =
            self.used().flat_map(|interface| interface.addresses().map(move |ip| (ip, interface)));
        let mut addresses: Vec<_> = of_each.collect();
        addresses.sort_by_key(|(ip, _)| order(*ip));
        addresses
    }

    /// The interface that reaches an address without a router.
    pub fn on_link(&self, ip: IpAddr) -> Option<&Interface> {
        self.used().find(|interface| interface.is_on_link(ip))
    }

    /// Whether an address is one of a local network: of this one, or a private one, which a router
    /// of the same house may lead to. An address of a tailnet never is.
    pub fn is_local(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        !is_tailnet(ip) && (Scope::of(ip) != Scope::Global || self.on_link(ip).is_some())
    }

    /// The addresses to dial for one that was typed: a link-local one is on every link.
    pub fn to_dial(&self, ip: IpAddr, port: u16) -> Vec<SocketAddr> {
        let ip = ip.to_canonical();
        match ip {
            IpAddr::V6(v6) if Scope::of(ip) == Scope::Link => {
                let link =
                    |interface: &Interface| SocketAddrV6::new(v6, port, 0, interface.index).into();
                self.used().filter(|i| i.is_on_link(ip)).map(link).collect()
            }
            _ => vec![(ip, port).into()],
        }
    }

    /// Whether an address is this machine's, by an interface that is used or by another.
    pub fn has(&self, ip: IpAddr) -> bool {
        self.all.iter().any(|interface| interface.addresses().any(|own| own == ip))
    }

    /// Why no interface is used, in a sentence with all of them; nothing if one is.
    pub fn nothing(&self) -> Option<Error> {
        if self.used().next().is_some() {
            return None;
        }
        let left_out: Vec<String> = self
            .left_out()
            .filter(|(_, why)| *why != LeftOut::Loopback)
            .map(|(interface, why)| format!("{} {why}", shown(&interface.name)))
            .collect();
        let (message, hint) = if left_out.is_empty() {
            ("this machine is in no network".to_owned(), "connect it to one, then try again")
        } else {
            let message = "no network interface leads to a local network: ";
            (
                format!("{message}{}", left_out.join("; ")),
                match self.all.iter().any(|it| it.addresses().any(is_tailnet)) {
                    true => {
                        "--tailnet is for the tailnet; --interface names one to use all the same"
                    }
                    false => "name one with --interface to use it all the same",
                },
            )
        };
        Some(Error::network(message).hint(hint))
    }

    /// One interface, for tests.
    #[cfg(test)]
    pub(crate) fn of(name: &str, index: u32, networks: &[Network]) -> Self {
        let address = |network: &Network| Address {
            name: name.into(),
            index,
            network: *network,
            is_tunnel: false,
            is_down: false,
        };
        let flags = BTreeMap::from([(name.to_owned(), Flags::default())]);
        Self::judge(networks.iter().map(address).collect(), flags)
    }

    /// What the system told, sorted and judged by the rules.
    fn judge(addresses: Vec<Address>, flags: BTreeMap<String, Flags>) -> Self {
        let mut all = BTreeMap::<String, Interface>::new();
        let new = |name: &str| Interface {
            name: name.to_owned(),
            index: 0,
            networks: Vec::new(),
            left_out: None,
        };
        let mut facts = flags;
        for name in facts.keys() {
            all.insert(name.clone(), new(name));
        }
        for address in addresses {
            let interface = all.entry(address.name.clone()).or_insert_with(|| new(&address.name));
            interface.index = interface.index.max(address.index);
            interface.networks.push(address.network);
            let known = facts.entry(address.name).or_default();
            known.is_loopback |= address.network.address.is_loopback();
            known.is_tunnel |= address.is_tunnel;
            known.is_down |= address.is_down;
        }
        for (name, interface) in &mut all {
            interface.networks.sort_by_key(|network| order(network.address));
            interface.networks.dedup();
            let known = facts.get(name).copied().unwrap_or_default();
            interface.left_out = if known.is_loopback {
                Some(LeftOut::Loopback)
            } else if let Some(why) = by_name(name) {
                Some(why)
            } else if known.is_down {
                Some(LeftOut::Down)
            } else if known.is_tunnel {
                Some(LeftOut::PointToPoint)
            } else if known.lacks_multicast {
                Some(LeftOut::NoMulticast)
            } else if interface.networks.is_empty() {
                Some(LeftOut::NoAddress)
            } else {
                None
            };
        }
        Self { all: all.into_values().collect() }
    }

    /// Overrides the rules by what was asked for.
    fn choose(mut self, choice: &Choice) -> Result<Self> {
        let Choice::Named(named) = choice else { return Ok(self) };
        let names = |wanted: &str, interface: &Interface| {
            let ip = wanted.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
            interface.name == wanted
                || ip.is_some_and(|ip| interface.addresses().any(|own| own == ip))
        };
        for wanted in named {
            let Some(found) = self.all.iter().find(|interface| names(wanted, interface)) else {
                let known: Vec<_> = self.all.iter().map(|i| shown(&i.name)).collect();
                let message = format!("there is no network interface \"{}\"", shown(wanted));
                return Err(
                    Error::network(message).hint(format!("there are: {}", known.join(", ")))
                );
            };
            let message = match found.left_out {
                Some(why @ (LeftOut::Loopback | LeftOut::Down)) => why,
                _ if found.networks.is_empty() => LeftOut::NoAddress,
                _ => continue,
            };
            let hint = match message {
                LeftOut::Loopback => "--pod serves this machine alone",
                _ => "connect it to its network, or name another",
            };
            let message = format!("the network interface {} {message}", shown(&found.name));
            return Err(Error::network(message).hint(hint));
        }
        for interface in &mut self.all {
            let is_named = named.iter().any(|wanted| names(wanted, interface));
            interface.left_out = match (is_named, interface.left_out) {
                (true, _) => None,
                (false, None) => Some(LeftOut::NotAsked),
                (false, why) => why,
            };
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Cause;

    fn address(name: &str, index: u32, address: &str, prefix: u8) -> Address {
        let network = Network { address: address.parse().unwrap(), prefix };
        Address { name: name.into(), index, network, is_tunnel: false, is_down: false }
    }

    /// What a laptop has: a cable, a wireless network, Docker, Tailscale, a VPN, a modem.
    fn laptop() -> Interfaces {
        let addresses = vec![
            address("lo", 1, "127.0.0.1", 8),
            address("lo", 1, "::1", 128),
            address("wlan0", 3, "fe80::2", 64),
            address("wlan0", 3, "fd12::9", 64),
            address("wlan0", 3, "192.168.1.9", 24),
            address("eth0", 2, "203.0.113.5", 28),
            address("eth0", 2, "fe80::1", 64),
            address("docker0", 4, "172.17.0.1", 16),
            address("br-4f1", 5, "172.18.0.1", 16),
            address("vEthernet (WSL)", 6, "172.30.0.1", 20),
            address("tailscale0", 7, "100.101.7.12", 32),
            address("Tailscale", 8, "100.101.7.12", 32),
            Address { is_tunnel: true, ..address("wwan0", 9, "10.9.0.2", 32) },
            Address { is_down: true, ..address("eth1", 10, "192.168.8.1", 24) },
            address("cable", 11, "10.3.0.1", 24),
        ];
        let flags = BTreeMap::from([
            ("cable".to_owned(), Flags { lacks_multicast: true, ..Flags::default() }),
            ("eth2".to_owned(), Flags::default()),
            ("eth3".to_owned(), Flags { is_down: true, ..Flags::default() }),
        ]);
        Interfaces::judge(addresses, flags)
    }

    #[test]
    fn what_leads_nowhere_is_left_out_and_why() {
        let laptop = laptop();
        let used: Vec<_> = laptop.used().map(ToString::to_string).collect();
        assert_eq!(used, ["eth0 (203.0.113.5, fe80::1)", "wlan0 (192.168.1.9, fd12::9, fe80::2)"]);
        let left_out: Vec<_> = laptop.left_out().map(|(i, why)| (&*i.name, why)).collect();
        assert_eq!(
            left_out,
            [
                ("Tailscale", LeftOut::Vpn),
                ("br-4f1", LeftOut::Virtual),
                ("cable", LeftOut::NoMulticast),
                ("docker0", LeftOut::Virtual),
                ("eth1", LeftOut::Down),
                ("eth2", LeftOut::NoAddress),
                ("eth3", LeftOut::Down),
                ("lo", LeftOut::Loopback),
                ("tailscale0", LeftOut::Vpn),
                ("vEthernet (WSL)", LeftOut::Virtual),
                ("wwan0", LeftOut::PointToPoint),
            ]
        );
        let addresses: Vec<_> = laptop.addresses().iter().map(|(ip, _)| ip.to_string()).collect();
        assert_eq!(addresses, ["192.168.1.9", "fd12::9", "203.0.113.5", "fe80::1", "fe80::2"]);
    }

    #[test]
    fn names_decide() {
        for (name, expected) in [
            ("eth0", None),
            ("enp3s0", None),
            ("wlan0", None),
            ("Wi-Fi", None),
            ("en0", None),
            ("br0", None),
            ("bond0", None),
            ("docker0", Some(LeftOut::Virtual)),
            ("veth12ab", Some(LeftOut::Virtual)),
            ("virbr0", Some(LeftOut::Virtual)),
            ("vmnet8", Some(LeftOut::Virtual)),
            ("vboxnet0", Some(LeftOut::Virtual)),
            ("vEthernet (Default Switch)", Some(LeftOut::Virtual)),
            ("vEthernet (WSL (Hyper-V firewall))", Some(LeftOut::Virtual)),
            ("vEthernet (External)", None),
            ("bridge100", Some(LeftOut::Virtual)),
            ("bridge0", None),
            ("VMware Network Adapter VMnet8", Some(LeftOut::Virtual)),
            ("cni0", Some(LeftOut::Virtual)),
            ("podman0", Some(LeftOut::Virtual)),
            ("lxcbr0", Some(LeftOut::Virtual)),
            ("tailscale0", Some(LeftOut::Vpn)),
            ("wg0", Some(LeftOut::Vpn)),
            ("tun0", Some(LeftOut::Vpn)),
            ("utun3", Some(LeftOut::Vpn)),
            ("ztabcdef", Some(LeftOut::Vpn)),
            ("awdl0", Some(LeftOut::Virtual)),
        ] {
            assert_eq!(by_name(name), expected, "{name}");
        }
    }

    #[test]
    fn whoever_names_an_interface_gets_it() {
        let choose = |named: &[&str]| {
            let named: Vec<String> = named.iter().map(|name| (*name).into()).collect();
            laptop().choose(&Choice::new(&named))
        };
        let used = |named: &[&str]| {
            let chosen = choose(named).unwrap();
            chosen.used().map(|i| i.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(used(&[]), ["eth0", "wlan0"]);
        assert_eq!(used(&["docker0"]), ["docker0"]);
        assert_eq!(used(&["192.168.1.9", "cable"]), ["cable", "wlan0"]);
        assert_eq!(used(&["fd12::9"]), ["wlan0"]);
        let chosen = choose(&["eth0"]).unwrap();
        assert!(chosen.left_out().any(|(i, why)| i.name == "wlan0" && why == LeftOut::NotAsked));
        for (named, message) in [
            ("eth9", "there is no network interface \"eth9\""),
            ("e\u{1b}", "there is no network interface \"e\\u{1b}\""),
            ("192.168.1.8", "there is no network interface \"192.168.1.8\""),
            ("lo", "the network interface lo leads to this machine alone"),
            (
                "eth1",
                "the network interface eth1 is switched off, or has no cable or wireless network",
            ),
            ("eth2", "the network interface eth2 has no address"),
        ] {
            let error = choose(&["eth0", named]).unwrap_err();
            assert_eq!((&*error.message, error.cause), (message, Cause::Network));
            assert!(error.hint.is_some());
        }
    }

    #[test]
    fn what_counts_as_local() {
        let laptop = laptop();
        for (ip, expected) in [
            ("192.168.1.20", true),
            ("10.200.0.1", true),  // behind a router of the house, perhaps
            ("203.0.113.6", true), // a campus with public addresses
            ("203.0.113.70", false),
            ("::ffff:192.168.1.20", true),
            ("fd12::20", true),
            ("fe80::77", true),
            ("2001:db8::1", false),
            ("100.101.7.13", false),
            ("fd7a:115c:a1e0::7", false),
            ("172.17.0.2", true), // private; Docker's own containers among them
        ] {
            assert_eq!(laptop.is_local(ip.parse().unwrap()), expected, "{ip}");
        }
        let dialled = laptop.to_dial("fe80::77".parse().unwrap(), 9);
        let dialled: Vec<_> = dialled.iter().map(ToString::to_string).collect();
        assert_eq!(dialled, ["[fe80::77%2]:9", "[fe80::77%3]:9"]);
        let one = laptop.to_dial("::ffff:192.168.1.20".parse().unwrap(), 9);
        assert_eq!(one, ["192.168.1.20:9".parse().unwrap()]);
    }

    #[test]
    fn nothing_comes_with_its_reasons() {
        assert_eq!(laptop().nothing(), None);
        let alone = Interfaces::judge(vec![address("lo", 1, "127.0.0.1", 8)], BTreeMap::new());
        assert_eq!(alone.nothing().unwrap().message, "this machine is in no network");
        let container =
            vec![address("docker0", 2, "172.17.0.1", 16), address("wg0", 3, "10.9.0.2", 32)];
        let error = Interfaces::judge(container, BTreeMap::new()).nothing().unwrap();
        assert_eq!(
            error.message,
            "no network interface leads to a local network: docker0 belongs to containers or \
             virtual machines; wg0 belongs to a VPN"
        );
        assert_eq!(error.cause, Cause::Network);
        assert_eq!(error.hint.unwrap(), "name one with --interface to use it all the same");
        let tailnet = vec![address("tailscale0", 2, "100.64.0.1", 32)];
        let error = Interfaces::judge(tailnet, BTreeMap::new()).nothing().unwrap();
        assert!(error.hint.unwrap().starts_with("--tailnet is for the tailnet"));
    }

    /// The system's own list can be read, and has this machine in it.
    #[test]
    fn the_system_tells() {
        let here = Interfaces::look(&Choice::Local).unwrap();
        let loopback = here.left_out().find(|(_, why)| *why == LeftOut::Loopback);
        assert!(loopback.is_some_and(|(lo, _)| lo.index > 0), "{here:?}");
    }
}
