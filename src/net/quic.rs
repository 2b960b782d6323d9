//! QUIC between any two networks: through NATs where that works, through a relay where it does not. The
//! engine is iroh. Whatever is async stays in this room; outside it there are blocking calls alone.
//!
//! This file has what both builds know: with the feature `direct`, and without it, where nothing can be
//! opened and nobody gets a [`Quic`].

#[cfg(feature = "direct")]
mod dialler;
#[cfg(feature = "direct")]
mod endpoint;
#[cfg(feature = "direct")]
mod listener;
#[cfg(feature = "direct")]
mod losses;
#[cfg(feature = "direct")]
mod network;
#[cfg(feature = "direct")]
mod path;
#[cfg(feature = "direct")]
mod plate;
#[cfg(feature = "direct")]
mod room;
#[cfg(feature = "direct")]
mod slept;
#[cfg(feature = "direct")]
mod stream;
#[cfg(feature = "direct")]
mod stripes;
#[cfg(feature = "direct")]
mod tried;
#[cfg(feature = "direct")]
mod warnings;
#[cfg(not(feature = "direct"))]
mod without;

use std::env;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use zeroize::Zeroizing;

#[cfg(not(feature = "direct"))]
pub use self::without::{Dialler, Listener, Paths, Quic, hear, look};
#[cfg(feature = "direct")]
pub use self::{
    dialler::Dialler, listener::Listener, network::look, path::Paths, stream::Quic, warnings::hear,
};
use super::plate::Plate;
use super::relay_url::RelayUrl;
use crate::error::Result;

/// Whether this build has direct mode.
pub const IS_BUILT: bool = cfg!(feature = "direct");

/// The variable that names the proxy through which relays are reached. One that is empty names none.
pub fn proxy_variable() -> Option<&'static str> {
    proxy_among(|name| env::var_os(name))
}

fn proxy_among(value: impl Fn(&str) -> Option<OsString>) -> Option<&'static str> {
    let names = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];
    names.into_iter().find(|name| value(name).is_some_and(|it| !it.is_empty()))
}

/// Where somebody waits to be dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meeting {
    /// Under which words.
    pub plate: Plate,
    /// At which relays; none where an address is enough.
    pub relays: Vec<RelayUrl>,
    /// At which address, where no relay is needed.
    pub address: Option<SocketAddr>,
    /// Whether this side keeps its address to itself, and takes the relay alone.
    pub relay_only: bool,
    /// What a relay that is not for everybody wants to see.
    pub relay_token: Option<RelayToken>,
}

impl Meeting {
    /// Without a relay, and so without words: at this address, where somebody is to be dialled.
    pub fn without_relay(address: Option<SocketAddr>) -> Self {
        let plate = Plate::none();
        Self { plate, relays: vec![], address, relay_only: false, relay_token: None }
    }
}

/// A secret between this user and relays that the user named. A ticket may name any relay, and must not
/// get it sent there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayToken {
    /// What goes over the wire, as a bearer token (RFC 6750).
    pub secret: Zeroizing<String>,
    /// Those that may see it.
    pub relays: Vec<RelayUrl>,
}

impl RelayToken {
    /// What this relay is to see: nothing where it is another's, or where all in between could read it.
    pub fn of(&self, relay: &RelayUrl) -> Option<&str> {
        let may_see = self.relays.contains(relay) && (relay.is_https() || relay.is_here());
        may_see.then_some(&*self.secret)
    }
}

/// Who has connected, as far as is known before a word was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Somebody at an address.
    Address(SocketAddr),
    /// Somebody at this relay, whose address it keeps.
    Relay(String),
}

/// By which way the bytes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// From address to address.
    Direct(IpAddr),
    /// Through the relay of this host.
    Relay(String),
}

/// The way that a connection has at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// By which way.
    pub via: Via,
    /// From here to there and back.
    pub round_trip: Duration,
}

/// What has gone over a connection, both directions together, in bytes of its records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Through a relay.
    pub relayed: u64,
    /// From address to address.
    pub direct: u64,
}

/// What the network here lets through, found out at relays and at the router.
#[derive(Debug)]
pub struct Network {
    /// What came of each relay.
    pub relays: Vec<AtRelay>,
    /// By which protocols the router opens ports when it is asked; nothing where it was not asked.
    pub openers: Option<Vec<&'static str>>,
}

/// What came of a relay.
#[derive(Debug)]
pub struct AtRelay {
    /// Which.
    pub relay: RelayUrl,
    /// Whether it lets this machine in.
    pub entered: Result<()>,
    /// How long a packet takes there and back, where that could be measured.
    pub round_trip: Option<Duration>,
    /// Whether it was asked for the address of this machine, which takes UDP.
    pub is_asked: bool,
    /// As what it sees this machine: over IPv4, over IPv6, or both.
    pub seen: Vec<Seen>,
}

/// As which address somebody outside sees a socket of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Who.
    pub by: SocketAddr,
    /// As what.
    pub address: SocketAddr,
    /// Whether that is the socket's own address, so that no NAT is in between.
    pub is_own: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_names_no_proxy() {
        let here = |set: &'static [(&str, &str)]| {
            proxy_among(|name| set.iter().find(|it| it.0 == name).map(|it| it.1.into()))
        };
        assert_eq!(here(&[]), None);
        assert_eq!(here(&[("HTTPS_PROXY", ""), ("ALL_PROXY", "http://a.b:1")]), None);
        assert_eq!(
            here(&[("HTTPS_PROXY", ""), ("http_proxy", "http://a.b:1")]),
            Some("http_proxy")
        );
    }

    #[test]
    fn a_relay_token_goes_to_relays_of_this_user_alone() {
        let relay = |url| RelayUrl::parse(url).unwrap();
        let own = ["a.b", "https://a.b:8443", "http://c.d", "http://127.0.0.1:3340"];
        let secret = Zeroizing::new("secret".to_owned());
        let token = RelayToken { secret, relays: own.into_iter().map(relay).collect() };
        for (url, is_seen) in [
            ("https://a.b", true),
            ("a.b:8443", true),
            ("http://127.0.0.1:3340", true),
            // In clear over a network.
            ("http://c.d", false),
            ("http://a.b", false),
            // Named by others.
            ("a.b:9443", false),
            ("evil.example", false),
            ("http://127.0.0.1:3341", false),
        ] {
            assert_eq!(token.of(&relay(url)).is_some(), is_seen, "{url}");
        }
        assert!(RelayUrl::defaults().iter().all(|relay| token.of(relay).is_none()));
    }
}
