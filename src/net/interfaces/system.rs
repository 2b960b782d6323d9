//! What the system tells of its interfaces. Addresses come from `if-addrs`, everywhere alike; the
//! flags, and the interfaces that have no address, only where there is Unix.

use std::collections::BTreeMap;
use std::io;

use if_addrs::{IfAddr, get_if_addrs};

use super::Network;

/// An address, and what is told beside it.
pub struct Address {
    /// The interface's name…
    pub name: String,
    /// …and number; 0 where there is none.
    pub index: u32,
    /// The address and its network.
    pub network: Network,
    /// Its interface leads to one other machine.
    pub is_tunnel: bool,
    /// Its interface carries nothing now.
    pub is_down: bool,
}

/// What an interface is, as far as flags tell.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flags {
    /// It leads to this machine itself.
    pub is_loopback: bool,
    /// It leads to one other machine.
    pub is_tunnel: bool,
    /// It is switched off, or carries nothing now.
    pub is_down: bool,
    /// Nobody can be asked by it who is not known already.
    pub lacks_multicast: bool,
}

/// All addresses, and the flags of all interfaces by name.
pub fn read() -> io::Result<(Vec<Address>, BTreeMap<String, Flags>)> {
    let addresses = get_if_addrs()?.into_iter().map(|found| {
        let (address, prefix) = match &found.addr {
            IfAddr::V4(v4) => (v4.ip.into(), v4.prefixlen),
            IfAddr::V6(v6) => (v6.ip.into(), v6.prefixlen),
        };
        Address {
            network: Network { address, prefix },
            index: found.index.unwrap_or(0),
            is_tunnel: found.is_p2p(),
            is_down: !found.is_oper_up(),
            name: found.name,
        }
    });
    Ok((addresses.collect(), flags()))
}

#[cfg(unix)]
fn flags() -> BTreeMap<String, Flags> {
    use nix::ifaddrs::getifaddrs;
    use nix::net::if_::InterfaceFlags as Bits;
    // Without them the rules that need them do not hold, and all others do.
    let entries = getifaddrs().into_iter().flatten();
    let told = entries.map(|entry| {
        let has = |bits| entry.flags.contains(bits);
        let flags = Flags {
            is_loopback: has(Bits::IFF_LOOPBACK),
            is_tunnel: has(Bits::IFF_POINTOPOINT),
            is_down: !has(Bits::IFF_UP | Bits::IFF_RUNNING),
            lacks_multicast: !has(Bits::IFF_MULTICAST),
        };
        (entry.interface_name, flags)
    });
    told.collect()
}

#[cfg(not(unix))]
fn flags() -> BTreeMap<String, Flags> {
    BTreeMap::new()
}
