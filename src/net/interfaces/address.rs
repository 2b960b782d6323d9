//! Addresses: which network one belongs to, how far it reaches, and which is best to show.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address of this machine, and how much of it the network has in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The address.
    pub address: IpAddr,
    /// Leading bits that all addresses of the network share.
    pub prefix: u8,
}

impl Network {
    /// Whether an address belongs to it; none does to a network of all addresses, which is what a
    /// system tells that does not know.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let (own, other, bits) = match (self.address, ip) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits().into(), other.to_bits().into(), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits(), other.to_bits(), 128),
            _ => return false,
        };
        let (own, other): (u128, u128) = (own, other);
        let rest = u32::from(bits - self.prefix.min(bits));
        self.prefix > 0 && own >> rest == other >> rest
    }
}

/// How far an address reaches; the best to show first: what is short and stays within the house,
/// and last what needs an interface beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One house: RFC 1918, and unique local addresses (RFC 4193).
    Private,
    /// Everywhere, as far as the address tells.
    Global,
    /// One cable or wireless network: RFC 3927, and link-local addresses (RFC 4291).
    Link,
}

impl Scope {
    /// The scope of an address; this machine's own is of a link.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) if ip.is_private() => Self::Private,
            IpAddr::V4(ip) if ip.is_link_local() || ip.is_loopback() => Self::Link,
            IpAddr::V6(ip) if ip.is_unique_local() => Self::Private,
            IpAddr::V6(ip) if ip.is_unicast_link_local() || ip.is_loopback() => Self::Link,
            _ => Self::Global,
        }
    }
}

/// Whether an address is in the ranges that Tailscale gives its devices: 100.64.0.0/10 and
/// fd7a:115c:a1e0::/48 (<https://tailscale.com/kb/1015/100.x-addresses>).
pub fn is_tailnet(ip: IpAddr) -> bool {
    const V4: Network = Network { address: IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0)), prefix: 10 };
    const V6: Network = Network {
        address: IpAddr::V6(Ipv6Addr::new(0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, 0)),
        prefix: 48,
    };
    let ip = ip.to_canonical();
    V4.contains(ip) || V6.contains(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_a_network_contains() {
        for (address, prefix, other, expected) in [
            ("192.168.1.9", 24, "192.168.1.255", true),
            ("192.168.1.9", 24, "192.168.2.1", false),
            ("192.168.1.9", 23, "192.168.0.1", true),
            ("192.168.1.9", 32, "192.168.1.9", true),
            ("192.168.1.9", 32, "192.168.1.8", false),
            ("192.168.1.9", 33, "192.168.1.8", false),
            ("192.168.1.9", 255, "192.168.1.9", true),
            ("0.0.0.0", 0, "203.0.113.1", false),
            ("192.168.1.9", 24, "fd12::1", false),
            ("fd12::9", 64, "fd12::ffff", true),
            ("fd12::9", 64, "fd12:0:0:1::9", false),
            ("fd12::9", 128, "fd12::9", true),
            ("fe80::1", 64, "fe80::2", true),
            ("::", 0, "2001:db8::1", false),
        ] {
            let network = Network { address: ip(address), prefix };
            assert_eq!(network.contains(ip(other)), expected, "{address}/{prefix} {other}");
        }
    }

    #[test]
    fn how_far_addresses_reach() {
        for (address, scope, tailnet) in [
            ("10.1.2.3", Scope::Private, false),
            ("172.16.0.1", Scope::Private, false),
            ("172.32.0.1", Scope::Global, false),
            ("192.168.77.2", Scope::Private, false),
            ("::ffff:192.168.77.2", Scope::Private, false),
            ("169.254.3.4", Scope::Link, false),
            ("127.0.0.1", Scope::Link, false),
            ("::1", Scope::Link, false),
            ("fe80::1", Scope::Link, false),
            ("fd12::1", Scope::Private, false),
            ("203.0.113.5", Scope::Global, false),
            ("2001:db8::5", Scope::Global, false),
            ("100.63.255.255", Scope::Global, false),
            ("100.64.0.0", Scope::Global, true),
            ("100.127.255.255", Scope::Global, true),
            ("100.128.0.0", Scope::Global, false),
            ("::ffff:100.64.0.1", Scope::Global, true),
            ("fd7a:115c:a1e0::1", Scope::Private, true),
            ("fd7a:115c:a1e1::1", Scope::Private, false),
        ] {
            assert_eq!(
                (Scope::of(ip(address)), is_tailnet(ip(address))),
                (scope, tailnet),
                "{address}"
            );
        }
    }
}
