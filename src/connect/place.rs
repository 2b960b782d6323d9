//! Which server is meant, as it was typed or chosen, and who may be there.

use std::time::Duration;

use crate::error::Result;
use crate::net::interfaces::Choice;
use crate::ticket::Host;
use crate::trust::certificate::{HASH_LEN, Id};
use crate::trust::is_name;
use crate::trust::store::Trusted;
use crate::trust::verifier::Expect;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At a host, and a port if one is named.
    Host(Host, Option<u16>),
    /// Where its record says, or the tailnet, or the system, at this port if one is named.
    Named(String, Option<u16>),
    /// Where its record says: the server that was chosen among those that were found.
    Known(Box<Chosen>),
}

impl Place {
    /// Reads `NAME` or `HOST[:PORT]`. What has no dot, or ends in `.local`, is looked for in the local
    /// network.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::error::Exit::Usage) when it is no place.
    pub fn parse(text: &str) -> Result<Self> {
        let parsed = match Host::parse_place(text) {
            // Names of servers have spaces and letters that no host has.
            Err(_) if is_name(text) && !text.contains(['.', '[']) => {
                return Ok(Self::Named(text.to_owned(), None));
            }
            parsed => parsed?,
        };
        Ok(match parsed {
            (Host::Name(name), port) if Host::Name(name.clone()).address().is_none() => {
                let label = name.strip_suffix(".local").unwrap_or(&name);
                match label.contains('.') {
                    true => Self::Host(Host::Name(name), port),
                    false => Self::Named(label.to_owned(), port),
                }
            }
            (host, port) => Self::Host(host, port),
        })
    }
}

/// A server that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// What its device is called here.
    pub name: String,
    /// The key of that.
    pub id: Id,
    /// What it is announced as.
    pub record: String,
    /// Its port.
    pub port: u16,
}

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Sought {
    /// Where it is.
    pub place: Place,
    /// The interfaces to look at.
    pub choice: Choice,
    /// SHA-256 of its certificate or key, in the place of what is trusted.
    pub fingerprint: Option<[u8; HASH_LEN]>,
    /// How long it may not be there yet.
    pub wait: Option<Duration>,
}

impl Sought {
    /// Who should be there.
    pub fn name(&self) -> String {
        match &self.place {
            Place::Host(host, _) => host.to_string(),
            Place::Named(name, _) => name.clone(),
            Place::Known(chosen) => chosen.name.clone(),
        }
    }

    /// A name that is known here stands for its key and no other.
    pub fn expect(&self, trusted: &Trusted) -> Expect {
        if let Some(fingerprint) = self.fingerprint {
            return Expect::Fingerprint(fingerprint);
        }
        let name = self.name();
        match &self.place {
            Place::Known(chosen) => Expect::Known(chosen.name.clone(), chosen.id),
            // As certificates have it, without the brackets of one that is typed with a port.
            Place::Host(Host::Ip(ip) | Host::Udp(ip), _) => Expect::Host(vec![ip.to_string()]),
            Place::Host(Host::Relay { .. }, _) => Expect::Host(vec![name]),
            Place::Host(Host::Name(_), _) | Place::Named(..) => match trusted.named(&name) {
                Some(known) => Expect::Key(known.name.clone(), known.id),
                None if name.contains('.') => Expect::Host(vec![name]),
                // What it is called where names are looked up.
                None => Expect::Host(vec![name.clone(), format!("{name}.local")]),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;
    use crate::trust::samples::{alone, wish};
    use crate::trust::store::Via;

    /// What a certificate of a CA has to be for, by what was typed.
    #[test]
    fn whom_a_place_stands_for() {
        let device = alone(&wish("attic", &[]));
        let id = device.certificate().id;
        let mut trusted = Trusted::default();
        trusted.pin("attic", device.certificate(), Via::Pair).unwrap();
        let hosts = |hosts: &[&str]| Expect::Host(hosts.iter().map(ToString::to_string).collect());
        for (place, expected) in [
            ("192.168.1.9", hosts(&["192.168.1.9"])),
            ("192.168.1.9:15830", hosts(&["192.168.1.9"])),
            ("fd12::9", hosts(&["fd12::9"])),
            ("[FD12:0::9]:15830", hosts(&["fd12::9"])),
            ("nas", hosts(&["nas", "nas.local"])),
            ("nas.example.org", hosts(&["nas.example.org"])),
            ("attic", Expect::Key("attic".into(), id)),
            ("attic.local:15830", Expect::Key("attic".into(), id)),
        ] {
            let place = Place::parse(place).unwrap();
            let sought = Sought { place, choice: Choice::Local, fingerprint: None, wait: None };
            assert_eq!(sought.expect(&trusted), expected, "{sought:?}");
        }
    }

    #[test]
    fn what_a_place_is() {
        let named = |name: &str, port| Some(Place::Named(name.into(), port));
        let host = |host: &str, port| Some(Place::Host(Host::Name(host.into()), port));
        let ip = |ip: &str, port| Some(Place::Host(Host::Ip(ip.parse().unwrap()), port));
        for (text, expected) in [
            ("attic", named("attic", None)),
            ("Attic:9001", named("attic", Some(9001))),
            ("attic.local", named("attic", None)),
            ("attic (2)", named("attic (2)", None)),
            ("Béatrice's laptop", named("Béatrice's laptop", None)),
            ("attic.example.org", host("attic.example.org", None)),
            ("attic.example.org:9", host("attic.example.org", Some(9))),
            ("localhost", host("localhost", None)),
            ("192.168.1.9", ip("192.168.1.9", None)),
            ("192.168.1.9:15822", ip("192.168.1.9", Some(15822))),
            ("fd12::9", ip("fd12::9", None)),
            ("[fd12::9]:7", ip("fd12::9", Some(7))),
            ("192.168.1.300", None),
            ("a/b", None),
            ("a b:9", None),
            ("-x", None),
            ("", None),
        ] {
            let parsed = Place::parse(text);
            if let Err(error) = &parsed {
                assert_eq!(error.exit(), Exit::Usage, "{text:?}");
            }
            assert_eq!(parsed.ok(), expected, "{text:?}");
        }
    }
}
