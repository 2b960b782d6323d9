//! The servers that were found, kept as records come and go. All of it is what strangers say: names
//! are bounded by what DNS holds, addresses and servers by a count.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use mdns_sd::{ResolvedService, ScopedIp, ServiceEvent};

use super::{Service, Txt};
use crate::bounds::{MAX_SERVER_ADDRESSES, MAX_SERVERS};
use crate::error::shown;
use crate::net::interfaces::{Interfaces, Scope};

/// Bytes of a name (RFC 6763, section 4.1.1).
const MAX_INSTANCE: usize = 63;

/// A server, as its record tells. It may not be there, and be another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name, as it was announced: not safe to show.
    pub name: String,
    /// Its addresses, with the number of the link for those that need one.
    pub addresses: Vec<SocketAddr>,
    /// What else was announced.
    pub txt: Txt,
}

impl Server {
    /// The addresses to dial, in this order: first those that need no router, then those of the
    /// house. Whatever else a record names is not dialled: this machine itself, the internet, a
    /// tailnet.
    pub fn to_dial(&self, interfaces: &Interfaces) -> Vec<SocketAddr> {
        let local = self.addresses.iter().filter(|address| match address {
            SocketAddr::V6(v6) if Scope::of(address.ip()) == Scope::Link => v6.scope_id() > 0,
            address => interfaces.is_local(address.ip()),
        });
        let mut addresses: Vec<SocketAddr> = local.copied().collect();
        addresses.sort_by_key(|address| {
            let ip = address.ip();
            (interfaces.on_link(ip).is_none(), Scope::of(ip), ip.is_ipv6(), *address)
        });
        addresses
    }
}

/// `attic (ocean-tiger)`, safe to show.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.name))?;
        match &self.txt.words {
            Some(words) => write!(f, " ({words})"),
            None => Ok(()),
        }
    }
}

/// The servers that are announced now.
#[derive(Debug, Default)]
pub struct List {
    service: Service,
    servers: BTreeMap<String, Server>,
    /// Records of the service that are none of ours, or too many.
    pub ignored: u64,
}

impl List {
    /// An empty one of a service.
    pub fn of(service: Service) -> Self {
        Self { service, ..Self::default() }
    }

    /// The servers, by name.
    pub fn servers(&self) -> impl Iterator<Item = &Server> + Clone {
        self.servers.values()
    }

    /// Those that are called so, in whatever capitals (RFC 6762, section 16).
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Server> + Clone {
        self.servers().filter(move |server| server.name.eq_ignore_ascii_case(name))
    }

    /// Takes a record that came or went. Tells whether that changed the list.
    pub(super) fn take(&mut self, event: ServiceEvent) -> bool {
        match event {
            ServiceEvent::ServiceResolved(resolved) => {
                let addresses = addresses(&resolved);
                self.put(&resolved.fullname, addresses, Txt::of(&resolved.txt_properties))
            }
            ServiceEvent::ServiceRemoved(_, full) => self.remove(&full),
            _ => false,
        }
    }

    /// A record that came, or changed.
    fn put(&mut self, full: &str, addresses: Vec<SocketAddr>, txt: Option<Txt>) -> bool {
        let (Some(name), Some(txt), false) =
            (instance(self.service, full), txt, addresses.is_empty())
        else {
            self.ignored += 1;
            // What was a server is none any more.
            return self.remove(full);
        };
        let key = full.to_ascii_lowercase();
        if self.servers.len() >= MAX_SERVERS && !self.servers.contains_key(&key) {
            self.ignored += 1;
            return false;
        }
        let server = Server { name, addresses, txt };
        let before = self.servers.insert(key, server.clone());
        before.as_ref() != Some(&server)
    }

    fn remove(&mut self, full: &str) -> bool {
        self.servers.remove(&full.to_ascii_lowercase()).is_some()
    }
}

/// The addresses of a record that can be one at all.
fn addresses(resolved: &ResolvedService) -> Vec<SocketAddr> {
    let port = resolved.port;
    let socket = |found: &ScopedIp| match found {
        ScopedIp::V6(v6) if Scope::of(found.to_ip_addr()) == Scope::Link => {
            SocketAddrV6::new(*v6.addr(), port, 0, v6.scope_id().index).into()
        }
        other => SocketAddr::new(other.to_ip_addr(), port),
    };
    sifted(resolved.addresses.iter().map(socket))
}

/// Without what is no address of a machine, in order, and not too many.
fn sifted(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let is_one = |address: &SocketAddr| {
        let ip = address.ip().to_canonical();
        let is_broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
        address.port() != 0
            && !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || is_broadcast)
    };
    // A set in `mdns-sd` has another order each time.
    let mut addresses: Vec<SocketAddr> = found.filter(is_one).collect();
    addresses.sort_by_key(|address| (Scope::of(address.ip()), address.is_ipv6(), *address));
    addresses.dedup();
    addresses.truncate(MAX_SERVER_ADDRESSES);
    addresses
}

/// The name in `NAME._transfer-tls._tcp.local.`, or what it is called of another service, if it is one.
pub(super) fn instance(of: Service, full: &str) -> Option<String> {
    let at = full.len().checked_sub(of.name().len())?;
    let (name, service) = (full.get(..at)?, full.get(at..)?);
    let name = name.strip_suffix('.')?;
    let fits = (1..=MAX_INSTANCE).contains(&name.len());
    (fits && service.eq_ignore_ascii_case(of.name())).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::interfaces::Network;

    const SERVICE: &str = "_transfer-tls._tcp.local.";

    fn txt() -> Txt {
        Txt { version: 1, fingerprint: None, id: [7; 8], words: Some("ocean-tiger".into()) }
    }

    fn at(address: &str) -> Vec<SocketAddr> {
        vec![address.parse().unwrap()]
    }

    #[test]
    fn records_come_and_go() {
        let mut list = List::default();
        let names = |list: &List| list.servers().map(ToString::to_string).collect::<Vec<_>>();
        let attic = format!("attic.{SERVICE}");
        assert!(list.put(&attic, at("192.168.1.2:1"), Some(txt())));
        assert!(list.put(&attic, at("192.168.1.3:1"), Some(txt())));
        assert!(!list.put(&attic, at("192.168.1.3:1"), Some(txt())));
        assert!(list.put(&format!("Büro\u{1b}[2J.x.{SERVICE}"), at("[fd12::1]:9"), Some(txt())));
        assert_eq!(names(&list), ["attic (ocean-tiger)", "Büro\\u{1b}[2J.x (ocean-tiger)"]);
        assert_eq!(list.named("ATTIC").count(), 1);
        assert!(list.remove(&attic));
        assert!(!list.remove(&attic));
        // What cannot be read any more takes the old record away.
        assert!(list.put(&attic, at("192.168.1.3:1"), Some(txt())));
        assert!(list.put(&attic, at("192.168.1.3:1"), None));
        assert_eq!(list.named("attic").count(), 0);
        assert_eq!(list.ignored, 1);
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut list = List::default();
        for number in 0..MAX_SERVERS * 3 {
            list.put(&format!("a{number}.{SERVICE}"), at("192.168.1.2:1"), Some(txt()));
        }
        assert_eq!(list.servers().count(), MAX_SERVERS);
        assert_eq!(list.ignored, 2 * MAX_SERVERS as u64);
        // One that is known may still change and go.
        assert!(list.put(&format!("a0.{SERVICE}"), at("192.168.1.3:1"), Some(txt())));
        assert!(list.remove(&format!("a0.{SERVICE}")));
        let many = (0..1000u16).map(|port| SocketAddr::new([10, 0, 0, 1].into(), port));
        assert_eq!(sifted(many).len(), MAX_SERVER_ADDRESSES);
    }

    #[test]
    fn what_is_no_name_or_address() {
        for (full, expected) in [
            ("attic._transfer-tls._tcp.local.", Some("attic")),
            ("a.b._TRANSFER-TLS._tcp.local.", Some("a.b")),
            ("attic._http._tcp.local.", None),
            ("._transfer-tls._tcp.local.", None),
            ("_transfer-tls._tcp.local.", None),
            ("", None),
            ("é", None),
            ("éé_transfer-tls._tcp.local.", None),
        ] {
            assert_eq!(instance(Service::Server, full).as_deref(), expected, "{full:?}");
        }
        let waiting = "attic._transfer-pair._tcp.local.";
        assert_eq!(instance(Service::Server, waiting), None);
        assert_eq!(instance(Service::Pairing, waiting).as_deref(), Some("attic"));
        assert!(instance(Service::Server, &format!("{}.{SERVICE}", "a".repeat(64))).is_none());
        let found = [
            "127.0.0.1:1",
            "[::1]:1",
            "0.0.0.0:1",
            "224.0.0.251:1",
            "255.255.255.255:1",
            "[ff02::fb]:1",
            "[::]:1",
            "[::ffff:127.0.0.1]:1",
            "192.168.1.2:0",
            "[fe80::1%3]:1",
            "203.0.113.1:1",
            "[fd12::1]:1",
            "192.168.1.2:1",
            "192.168.1.2:1",
        ];
        let found = sifted(found.iter().map(|text| text.parse().unwrap()));
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.168.1.2:1", "[fd12::1]:1", "203.0.113.1:1", "[fe80::1%3]:1"]);
    }

    #[test]
    fn only_what_is_near_is_dialled_and_the_nearest_first() {
        let networks = [("192.168.1.9", 24), ("fd12::9", 64), ("fe80::9", 64)];
        let networks =
            networks.map(|(ip, prefix)| Network { address: ip.parse().unwrap(), prefix });
        let interfaces = Interfaces::of("eth0", 3, &networks);
        let named = [
            "203.0.113.1:9",
            "100.101.7.12:9",
            "[2001:db8::1]:9",
            "10.0.0.1:9",
            "[fe80::1%3]:9",
            "[fe80::2]:9",
            "172.17.0.1:9",
            "[fd12::1]:9",
            "192.168.1.2:9",
            "[fd7a:115c:a1e0::1]:9",
        ];
        let addresses = named.iter().map(|text| text.parse().unwrap()).collect();
        let server = Server { name: "attic".into(), addresses, txt: txt() };
        let dialled = server.to_dial(&interfaces);
        let dialled: Vec<String> = dialled.iter().map(ToString::to_string).collect();
        let expected =
            ["192.168.1.2:9", "[fd12::1]:9", "[fe80::1%3]:9", "10.0.0.1:9", "172.17.0.1:9"];
        assert_eq!(dialled, expected);
        let nowhere = Interfaces::of("eth0", 3, &[]);
        assert_eq!(
            server.to_dial(&nowhere),
            ["10.0.0.1:9", "172.17.0.1:9", "192.168.1.2:9", "[fd12::1]:9", "[fe80::1%3]:9"]
                .map(|address| address.parse().unwrap())
        );
    }
}
