//! The address of a relay, as it is typed and as a ticket holds it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use rustls::pki_types::ServerName;

use crate::bounds::MAX_HOST;
use crate::error::{Error, Result, shown};

/// Relays that anybody may use; n0, who make the engine, run them. Free, limited in speed, and promised
/// to nobody: <https://docs.iroh.computer/concepts/relays>.
const OF_N0: [&str; 4] = [
    "use1-1.relay.n0.iroh.link.",
    "usw1-1.relay.n0.iroh.link.",
    "euc1-1.relay.n0.iroh.link.",
    "aps1-1.relay.n0.iroh.link.",
];

/// Where a relay is: `https://HOST[:PORT]`, or `http://…` for one that is behind a proxy or only tried out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RelayUrl {
    is_https: bool,
    /// A name in lower case, or an address, without brackets.
    host: String,
    /// Nothing for 443, or 80 without TLS.
    port: Option<u16>,
}

impl RelayUrl {
    /// The relays that are used where none is named.
    pub fn defaults() -> Vec<Self> {
        let of = |host: &str| Self { is_https: true, host: host.to_owned(), port: None };
        OF_N0.into_iter().map(of).collect()
    }

    /// Whether n0 runs it.
    pub fn is_of_n0(&self) -> bool {
        OF_N0.iter().any(|of_n0| of_n0.trim_end_matches('.') == self.host())
    }

    /// Reads `HOST[:PORT]`, or a URL without a path.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::error::Exit::Usage), saying what is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::usage(format!("\"{}\" is no relay: {why}", shown(text)))
                .hint("a relay is like relay.example.org, or https://relay.example.org:8443")
        };
        let lower = text.trim().to_ascii_lowercase();
        let (is_https, rest) = match lower.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some(_) => return Err(wrong("it begins with neither https:// nor http://")),
            None => (true, &*lower),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(wrong("there is something behind its host"));
        }
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, rest)) => (
                host,
                Some(rest.strip_prefix(':').ok_or_else(|| wrong("what is behind the \"]\"?"))?),
            ),
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() || host.len() > MAX_HOST || ServerName::try_from(host).is_err() {
            return Err(wrong("its host is neither a name nor an address"));
        }
        // A name in which only digits are is an address with a slip in it, and would be looked up.
        let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        if host.parse::<IpAddr>().is_err() && last.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong("its host is neither a name nor an address"));
        }
        let digits = |port: &&str| port.bytes().all(|b| b.is_ascii_digit());
        let port = port.map(|port| {
            let number = Some(port).filter(digits).and_then(|port| port.parse::<u16>().ok());
            number
                .filter(|port| *port != 0)
                .ok_or_else(|| wrong("its port is no number from 1 to 65535"))
        });
        let port = port.transpose()?.filter(|port| *port != if is_https { 443 } else { 80 });
        // An address has one form, however it was typed.
        let host = host.parse().map_or_else(|_| host.to_owned(), |ip: IpAddr| ip.to_string());
        Ok(Self { is_https, host, port })
    }

    /// Its host, to be shown.
    pub fn host(&self) -> &str {
        self.host.strip_suffix('.').unwrap_or(&self.host)
    }

    /// Its host, and its port where that is not the usual one, to be shown.
    pub fn name(&self) -> String {
        let host = match self.host.parse::<Ipv6Addr>() {
            Ok(ip) if self.port.is_some() => format!("[{ip}]"),
            _ => self.host().to_owned(),
        };
        self.port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
    }

    /// Its TCP port.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.is_https { 443 } else { 80 })
    }

    /// Whether it has TLS.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// Whether it is on this machine, where no other network leads.
    pub fn is_here(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }

    /// The whole URL.
    pub fn url(&self) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        format!("{scheme}://{}", self.place())
    }

    fn place(&self) -> String {
        let host = match self.host.parse::<Ipv6Addr>() {
            Ok(ip) => format!("[{ip}]"),
            Err(_) => self.host.clone(),
        };
        self.port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
    }
}

/// As short as a ticket may have it: an address without `https://` would be that of a sender.
impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_https && self.host.parse::<IpAddr>().is_err() {
            true => f.write_str(&self.place()),
            false => f.write_str(&self.url()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_as_they_are_typed() {
        for (text, url, short) in [
            ("relay.example.org", "https://relay.example.org", "relay.example.org"),
            (" Relay.Example.org ", "https://relay.example.org", "relay.example.org"),
            ("https://relay.example.org/", "https://relay.example.org", "relay.example.org"),
            ("relay.example.org:443", "https://relay.example.org", "relay.example.org"),
            ("relay.example.org:80", "https://relay.example.org:80", "relay.example.org:80"),
            ("https://a.b:8443", "https://a.b:8443", "a.b:8443"),
            ("http://a.b:80", "http://a.b", "http://a.b"),
            ("http://127.0.0.1:3340", "http://127.0.0.1:3340", "http://127.0.0.1:3340"),
            ("https://10.9.0.1:443", "https://10.9.0.1", "https://10.9.0.1"),
            ("https://[::1]:3340", "https://[::1]:3340", "https://[::1]:3340"),
            ("https://[0:0::1]", "https://[::1]", "https://[::1]"),
        ] {
            let relay = RelayUrl::parse(text).unwrap();
            assert_eq!((&*relay.url(), &*relay.to_string()), (url, short), "{text}");
            assert_eq!(RelayUrl::parse(short).unwrap(), relay, "{text}");
        }
        for (text, name) in [
            ("https://relay.example.org.", "relay.example.org"),
            ("https://a.b:8443", "a.b:8443"),
            ("http://127.0.0.1:80", "127.0.0.1"),
            ("https://[::1]:443", "::1"),
            ("https://[::1]:3340", "[::1]:3340"),
        ] {
            assert_eq!(RelayUrl::parse(text).unwrap().name(), name, "{text}");
        }
        for (text, why) in [
            ("", "its host is neither a name nor an address"),
            ("ftp://a.b", "it begins with neither https:// nor http://"),
            ("https://a.b/c", "there is something behind its host"),
            ("https://a.b?c", "there is something behind its host"),
            ("a.b:0", "its port is no number from 1 to 65535"),
            ("a.b:70000", "its port is no number from 1 to 65535"),
            ("a.b:+1", "its port is no number from 1 to 65535"),
            ("a b", "its host is neither a name nor an address"),
            ("user@a.b", "its host is neither a name nor an address"),
            ("https://300.1.2.3", "its host is neither a name nor an address"),
            ("https://[fe80::1", "its host is neither a name nor an address"),
            ("https://[::1]3340", "what is behind the \"]\"?"),
        ] {
            let error = RelayUrl::parse(text).unwrap_err();
            assert_eq!(error.message, format!("\"{text}\" is no relay: {why}"));
        }
    }

    #[test]
    fn the_relays_of_others_are_known_as_such() {
        let all = RelayUrl::defaults();
        assert_eq!(all.len(), 4);
        for relay in all {
            assert!(relay.is_of_n0());
            assert!(RelayUrl::parse(relay.host()).unwrap().is_of_n0());
        }
        assert!(!RelayUrl::parse("relay.example.org").unwrap().is_of_n0());
    }
}
