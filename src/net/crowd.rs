//! Crowds of strangers: who has to leave when there are too many, so that a crowd from one place crowds
//! out itself.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

/// Bits of the network that one customer of a provider has at least, all of whose addresses may be one
/// machine's (RFC 4291, section 2.5.1; RFC 6177).
pub const CUSTOMER: u8 = 64;

/// The network with so many bits of an IPv6 address; one of IPv4 stands for itself.
pub fn network(address: IpAddr, bits: u8) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let rest = u128::MAX.checked_shr(bits.into()).unwrap_or_default();
            Ipv6Addr::from_bits(address.to_bits() & !rest).into()
        }
        address => address,
    }
}

/// Which of them has to leave, the oldest being first: the oldest of the origin that has the most, in the
/// network that has the most.
pub fn crowded_out<N: Eq + Hash, O: Eq + Hash>(
    origins: impl Iterator<Item = (N, O)> + Clone,
) -> Option<usize> {
    let mut networks = HashMap::<N, usize>::new();
    for (network, _) in origins.clone() {
        *networks.entry(network).or_default() += 1;
    }
    let largest = networks.values().copied().max()?;
    let is_crowd = |network: &N| networks.get(network) == Some(&largest);
    let mut counts = HashMap::<O, usize>::new();
    for (_, origin) in origins.clone().filter(|(network, _)| is_crowd(network)) {
        *counts.entry(origin).or_default() += 1;
    }
    let most = counts.values().copied().max()?;
    let is_it = |(network, origin): &(N, O)| is_crowd(network) && counts.get(origin) == Some(&most);
    origins.enumerate().find(|(_, one)| is_it(one)).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_addresses() {
        for (address, bits, expected) in [
            ("10.1.2.3", 64, "10.1.2.3"),
            ("::ffff:10.1.2.3", 48, "10.1.2.3"),
            ("fd12:3456:789a:1::9", 64, "fd12:3456:789a:1::"),
            ("fd12:3456:789a:1::9", 48, "fd12:3456:789a::"),
            ("fd12::9", 128, "fd12::9"),
            ("fd12::9", 0, "::"),
        ] {
            let found = network(address.parse().unwrap(), bits);
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{address}/{bits}");
        }
    }

    #[test]
    fn a_crowd_crowds_out_itself() {
        let rows: [(&str, &[&str], usize); 6] = [
            ("the oldest of all", &["10.0.0.1", "10.0.0.2"], 0),
            ("one address", &["10.0.0.1", "10.0.0.2", "10.0.0.2"], 1),
            ("one network of IPv6", &["fd01::1", "10.0.0.1", "fd02::1", "fd02::2"], 2),
            ("another interface of it", &["fd02::1:0:0:1", "10.0.0.1", "fd02::2", "10.0.0.2"], 0),
            ("one address in a network", &["fd02::1", "fd02::2", "10.0.0.1", "fd02::2"], 1),
            ("networks beside each other", &["fd02:0:0:1::1", "fd02:0:0:2::1", "fd02:0:0:2::2"], 1),
        ];
        for (row, addresses, leaves) in rows {
            let origins = addresses.iter().map(|it| it.parse::<IpAddr>().unwrap());
            let origins = origins.map(|it| (network(it, CUSTOMER), it));
            assert_eq!(crowded_out(origins), Some(leaves), "{row}");
        }
        assert_eq!(crowded_out(std::iter::empty::<((), ())>()), None);
        // Networks alone.
        assert_eq!(crowded_out(["a", "b", "b"].map(|network| (network, ())).into_iter()), Some(1));
    }
}
