//! Why nobody was found. An empty list helps nobody; each reason that may hold here is a value, and a
//! sentence that says what to do.

use std::fmt;
use std::fs;

use crate::net::firewall::Firewall;
use crate::net::interfaces::{Interfaces, LOCAL_NETWORK_LEAVE, LeftOut};

/// A reason why no server was found, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// This machine is in no network at all.
    NoNetwork,
    /// All its interfaces are those of VPNs or tunnels, which carry no multicast; their names.
    OnlyVpn(Vec<String>),
    /// No interface is used, for several reasons; each with its own.
    NoInterface(Vec<(String, LeftOut)>),
    /// The system refused; in its words, safe to show.
    Trouble(String),
    /// WSL has a network of its own, behind that of Windows.
    Wsl,
    /// macOS may keep this program from the local network, and tells it nothing of that.
    Leave,
    /// A firewall may keep the answers out.
    Firewall(Firewall),
    /// What cannot be known from here: nobody serves, or an access point keeps its devices apart.
    Unknown,
}

impl Silence {
    /// The reasons that may hold here, the most certain first; never none. `trouble` is what
    /// [`Search::trouble`](super::Search::trouble) told.
    pub fn here(interfaces: &Interfaces, trouble: Option<&str>) -> Vec<Self> {
        // Of the two modes only this one is a private network of its own; both call the kernel so.
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let is_wsl = kernel.to_ascii_lowercase().contains("microsoft");
        let wants_leave = cfg!(target_vendor = "apple");
        Self::reasons(interfaces, trouble, (is_wsl, wants_leave), Firewall::here())
    }

    fn reasons(
        interfaces: &Interfaces,
        trouble: Option<&str>,
        (is_wsl, wants_leave): (bool, bool),
        firewall: Option<Firewall>,
    ) -> Vec<Self> {
        let mut reasons = Vec::new();
        if interfaces.used().next().is_none() {
            let left_out: Vec<(String, LeftOut)> = interfaces
                .left_out()
                .filter(|(_, why)| *why != LeftOut::Loopback)
                .map(|(interface, why)| (interface.name.clone(), why))
                .collect();
            let is_tunnel = |why: &LeftOut| matches!(why, LeftOut::Vpn | LeftOut::PointToPoint);
            reasons.push(if left_out.is_empty() {
                Self::NoNetwork
            } else if left_out.iter().all(|(_, why)| is_tunnel(why)) {
                Self::OnlyVpn(left_out.into_iter().map(|(name, _)| name).collect())
            } else {
                Self::NoInterface(left_out)
            });
            return reasons;
        }
        reasons.extend(trouble.map(|trouble| Self::Trouble(trouble.to_owned())));
        reasons.extend(is_wsl.then_some(Self::Wsl));
        reasons.extend(wants_leave.then_some(Self::Leave));
        reasons.extend(firewall.map(Self::Firewall));
        reasons.push(Self::Unknown);
        reasons
    }
}

/// A sentence in lower case, without a full stop.
impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name: &String| crate::error::shown(name).into_owned();
        match self {
            Self::NoNetwork => f.write_str("this machine is in no network: connect it to one"),
            Self::OnlyVpn(names) => write!(
                f,
                "this machine is only in a VPN ({}), where nobody can be found: connect it to the \
                 local network, or name the other machine's address",
                names.iter().map(shown).collect::<Vec<_>>().join(", ")
            ),
            Self::NoInterface(left_out) => {
                let told = left_out.iter().map(|(name, why)| format!("{} {why}", shown(name)));
                let told = told.collect::<Vec<_>>().join("; ");
                write!(
                    f,
                    "no network interface leads to a local network ({told}): name one with --interface"
                )
            }
            Self::Trouble(trouble) => write!(f, "multicast DNS does not work here: {trouble}"),
            Self::Wsl => f.write_str(
                "WSL has a network of its own, where nobody is found: set networkingMode=mirrored \
                 in .wslconfig, or name the other machine's address",
            ),
            Self::Leave => f.write_str(LOCAL_NETWORK_LEAVE),
            Self::Firewall(firewall) => write!(
                f,
                "a firewall here may keep the answers out: {} opens it for them",
                firewall.allow("5353", "udp")
            ),
            Self::Unknown => f.write_str(
                "perhaps nobody serves, or a firewall there is closed, or the access point keeps \
                 its devices apart, as guest networks do: name the server's address",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::interfaces::Network;

    fn interfaces(name: &str, addresses: &[&str]) -> Interfaces {
        let network = |ip: &&str| Network { address: ip.parse().unwrap(), prefix: 24 };
        Interfaces::of(name, 1, &addresses.iter().map(network).collect::<Vec<_>>())
    }

    #[test]
    fn each_reason_says_what_to_do() {
        let lan = interfaces("eth0", &["192.168.1.9"]);
        let reasons = |interfaces: &Interfaces, trouble, systems, firewall| {
            let reasons = Silence::reasons(interfaces, trouble, systems, firewall);
            reasons.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let all = reasons(&lan, Some("address in use"), (true, true), Some(Firewall::Ufw));
        for (reason, part) in all.iter().zip([
            "does not work here: address in use",
            "networkingMode=mirrored",
            "Privacy & Security, Local Network",
            "`sudo ufw allow 5353/udp`",
            "name the server's address",
        ]) {
            assert!(reason.contains(part), "{reason}");
        }
        assert_eq!(all.len(), 5);
        assert_eq!(Silence::reasons(&lan, None, (false, false), None), [Silence::Unknown]);
        for (interfaces, expected) in [
            (interfaces("lo", &["127.0.0.1"]), "this machine is in no network: connect it to one"),
            (
                interfaces("wg0", &["10.9.0.2"]),
                "this machine is only in a VPN (wg0), where nobody can be found: connect it to the \
                 local network, or name the other machine's address",
            ),
            (
                interfaces("docker0", &["172.17.0.1"]),
                "no network interface leads to a local network (docker0 belongs to containers or \
                 virtual machines): name one with --interface",
            ),
            (
                interfaces("eth0", &[]),
                "no network interface leads to a local network (eth0 has no address): name one with \
                 --interface",
            ),
        ] {
            assert_eq!(reasons(&interfaces, Some("x"), (true, true), None), [expected]);
        }
    }
}
