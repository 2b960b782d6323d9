//! The ticket: what the sender shows and the receiver types, `HOST[:PORT]:TOKEN`, or words alone in direct
//! mode.
//!
//! Everything wrong with it is said here, before any connection, in words that tell what to mend.
//! Above all, a mistyped address is never taken for a host name: looking it up would tell a
//! name server what the user meant to keep between two machines.

mod direct;

pub use self::direct::is_of_one;

use std::{
    fmt::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

use zeroize::Zeroizing;

use crate::bounds::{MAX_HOST, MAX_LABEL, MAX_TICKET};
use crate::{
    error::{Error, Result},
    net::{plate::Plate, relay_url::RelayUrl},
    token::Token,
};

/// The port that a ticket need not name.
pub const DEFAULT_PORT: u16 = 15820;
/// The first of these that is free is listened at where none was asked for.
pub const USUAL_PORTS: RangeInclusive<u16> = DEFAULT_PORT..=DEFAULT_PORT + 99;

/// Where the sender listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address, to be dialled as it is.
    Ip(IpAddr),
    /// A MagicDNS or other host name, in lower case, to be looked up.
    Name(String),
    /// Under a plate at these relays; at those of the user, or of all, where none is named.
    Relay {
        /// The words by which it is found.
        plate: Plate,
        /// At most [`MAX_RELAYS`](crate::bounds::MAX_RELAYS).
        relays: Vec<RelayUrl>,
    },
    /// An address, to be dialled by QUIC, without a relay.
    Udp(IpAddr),
}

/// Who to connect to, and the secret to prove there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The sender's host.
    pub host: Host,
    /// The sender's port, TCP or UDP; never 0. At a relay it has none, and this means nothing.
    pub port: u16,
    /// The shared secret.
    pub token: Token,
}

impl Host {
    /// Reads where a person points to: a name, an address, either with a port, or a whole ticket,
    /// whose token is not looked at. Brackets around an IPv6 address are needed only before a port.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::error::Exit::Usage), saying what is wrong.
    pub fn parse_place(text: &str) -> Result<(Self, Option<u16>)> {
        let text = tidy(text)?;
        if direct::is_meant(text) {
            return Err(wrong(
                "these are the words of a direct ticket, which name no machine",
                "`transfer receive` takes them",
            ));
        }
        if let Ok(ip) = text.parse::<Ipv6Addr>() {
            return Ok((Self::Ip(ip.into()), None));
        }
        if !text.contains([':', '[']) {
            return Ok((parse_host(text)?, None));
        }
        let (host, rest) = split_host(text)?;
        let rest = rest.trim();
        if rest.is_empty() {
            return Ok((host, None));
        }
        // What ends behind the port is no ticket that was cut off, but all there is to say.
        let is_port = rest.bytes().all(|b| b.is_ascii_digit());
        let rest = if is_port { format!("{rest}:") } else { rest.to_owned() };
        Ok((host, Some(split_port(&rest)?.0)))
    }

    /// A name as a ticket holds it, in lower case; nothing if it is none.
    pub fn parse_name(text: &str) -> Option<String> {
        match parse_host(text) {
            Ok(Self::Name(name)) if name != "localhost" => Some(name),
            _ => None,
        }
    }

    /// Its address, where nobody needs to be asked for it; `localhost` is 127.0.0.1.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(ip.to_canonical()),
            Self::Udp(ip) => Some(*ip),
            Self::Name(name) if name == "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
            Self::Name(_) | Self::Relay { .. } => None,
        }
    }
}

impl Ticket {
    /// Reads a ticket as a person pastes or types it: with spaces or quotes around it, with
    /// `transfer receive` before it, with the token in any form that [`Token::parse`] forgives.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::error::Exit::Usage), saying which part is wrong, with every
    /// control character in it escaped. It may quote a word of the token, and is marked so.
    pub fn parse(text: &str) -> Result<Self> {
        Self::read(text).map_err(Error::secret)
    }

    /// A ticket of a token that was agreed beforehand, and of a place as a person types it.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::error::Exit::Usage), saying what is wrong with the place.
    pub fn agreed(place: &str, token: Token) -> Result<Self> {
        if Self::read(place).is_ok() {
            let error = wrong(
                "the token is in the ticket, and in the file as well",
                "name the sender alone, such as laptop or laptop:4000",
            );
            return Err(error.secret());
        }
        let (host, port) = Host::parse_place(place).map_err(Error::secret)?;
        Ok(Self { host, port: port.unwrap_or(DEFAULT_PORT), token })
    }

    /// Where the sender is, without the secret: `HOST[:PORT]`, `PLATE[@RELAY]` or `@IP[:PORT]`.
    pub fn place(&self) -> String {
        match (&self.host, self.port) {
            (Host::Relay { .. }, _) | (_, DEFAULT_PORT) => self.host.to_string(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    /// What was typed of a ticket, the word at its end completed as [`Token::complete`] does;
    /// nothing before there is a host, or the first word of a direct ticket.
    pub fn complete(typed: &str) -> Option<Zeroizing<String>> {
        if direct::has_begun(typed) {
            return Token::complete(typed);
        }
        let (_, rest) = split_host(typed).ok()?;
        let token = rest.rsplit(':').next()?;
        let place = typed.strip_suffix(token)?;
        Some(Zeroizing::new(format!("{place}{}", &*Token::complete(token)?)))
    }

    fn read(text: &str) -> Result<Self> {
        let text = tidy(text)?;
        if let Some(ticket) = direct::read(text) {
            return ticket;
        }
        let (host, rest) = split_host(text)?;
        let (port, token) = split_port(rest)?;
        if token.trim().is_empty() {
            return Err(wrong("the ticket has no token", EXAMPLE));
        }
        Ok(Self { host, port, token: Token::parse(token)? })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Name(name) => f.write_str(name),
            Self::Udp(IpAddr::V4(ip)) => write!(f, "@{ip}"),
            Self::Udp(IpAddr::V6(ip)) => write!(f, "@[{ip}]"),
            Self::Relay { plate, relays } => {
                plate.fmt(f)?;
                at_relays(relays, f)
            }
        }
    }
}

/// `@RELAY,RELAY`, or nothing.
fn at_relays(relays: &[RelayUrl], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    relays.iter().enumerate().try_for_each(|(at, relay)| {
        f.write_str(if at == 0 { "@" } else { "," })?;
        fmt::Display::fmt(relay, f)
    })
}

/// Shows the secret: for the sender's screen, and nowhere else.
impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Host::Relay { plate, relays } = &self.host {
            write!(f, "{plate}-{}", self.token)?;
            return at_relays(relays, f);
        }
        if let Host::Udp(_) = &self.host {
            return write!(f, "{}{}", self.token, self.place());
        }
        write!(f, "{}:", self.host)?;
        if self.port != DEFAULT_PORT {
            write!(f, "{}:", self.port)?;
        }
        self.token.fmt(f)
    }
}

/// What is typed before a ticket.
pub const COMMAND: &str = "transfer receive ";

impl Ticket {
    /// The command that takes it, wiped when it is dropped.
    pub fn command(&self) -> Zeroizing<String> {
        // Growing would leave copies behind that nothing wipes.
        let mut command = Zeroizing::new(String::with_capacity(COMMAND.len() + MAX_TICKET));
        // Writing into a text cannot fail.
        let _ = write!(command, "{COMMAND}{self}");
        command
    }
}

const EXAMPLE: &str = "it looks like 100.64.1.123:ocean-tiger; copy it from the sender's screen";

fn wrong(message: impl Into<String>, hint: impl Into<String>) -> Error {
    Error::usage(message).hint(hint)
}

/// What was typed, without what comes along when it is pasted.
fn tidy(text: &str) -> Result<&str> {
    if text.len() > MAX_TICKET {
        return Err(wrong(format!("a ticket is never longer than {MAX_TICKET} bytes"), EXAMPLE));
    }
    let text = unwrap_paste(text);
    if text.is_empty() {
        return Err(wrong("the ticket is empty", EXAMPLE));
    }
    if let Some(c) = text.chars().find(|c| c.is_control() && !c.is_whitespace()) {
        let message = format!("the ticket holds a control character, {c:?}");
        return Err(wrong(message, "type it instead of pasting it"));
    }
    Ok(text)
}

/// Takes off what comes along when a whole line is pasted.
fn unwrap_paste(text: &str) -> &str {
    let around = |c: char| c.is_whitespace() || "\"'`“”‘’".contains(c);
    let text = text.trim_matches(around);
    let mut rest = text;
    for word in ["transfer", "receive"] {
        rest = match rest.strip_prefix(word) {
            Some(after) if after.starts_with(char::is_whitespace) => after.trim_start(),
            _ => return text,
        };
    }
    rest.trim_matches(around)
}

/// The host, and what follows its colon.
fn split_host(text: &str) -> Result<(Host, &str)> {
    if let Some(inner) = text.strip_prefix('[') {
        let Some((address, rest)) = inner.split_once(']') else {
            return Err(wrong(
                "the ticket has a \"[\" without a \"]\"",
                "write [IPv6 address]:TOKEN",
            ));
        };
        let ip = parse_ipv6(address)?;
        let after = rest.trim_start().strip_prefix(':');
        let Some(after) = after.or(rest.trim().is_empty().then_some("")) else {
            return Err(wrong("a \":\" must follow the \"]\"", "write [IPv6 address]:TOKEN"));
        };
        return Ok((Host::Ip(ip.into()), after));
    }
    refuse_bare_ipv6(text)?;
    let Some((host, rest)) = text.split_once(':') else {
        return Err(wrong("the ticket has no \":\" between host and token", EXAMPLE));
    };
    Ok((parse_host(host.trim())?, rest))
}

/// The port, and the token as typed.
fn split_port(rest: &str) -> Result<(u16, &str)> {
    let (port, token) = match rest.split_once(':') {
        Some((port, token)) => (port.trim(), token),
        // Digits alone are no token: this ticket was cut off after the port.
        None if rest.trim().bytes().all(|b| b.is_ascii_digit()) => return Ok((DEFAULT_PORT, "")),
        None => return Ok((DEFAULT_PORT, rest)),
    };
    if token.contains(':') {
        return Err(wrong("the ticket has too many colons", "write HOST:TOKEN or HOST:PORT:TOKEN"));
    }
    let number = port.bytes().all(|b| b.is_ascii_digit()).then(|| port.parse().ok()).flatten();
    match number {
        Some(0) | None => Err(wrong(
            format!("{port:?} is not a port"),
            format!("a port is a number from 1 to 65535; leave it out if it is {DEFAULT_PORT}"),
        )),
        Some(port) => Ok((port, token)),
    }
}

fn parse_ipv6(text: &str) -> Result<Ipv6Addr> {
    let (address, zone) = text.split_once('%').map_or((text, None), |(a, zone)| (a, Some(zone)));
    let Ok(ip) = address.parse() else {
        let hint = "brackets are for an IPv6 address, such as [fd7a:115c:a1e0::1]";
        return Err(wrong(format!("{text:?} is not an IPv6 address"), hint));
    };
    if zone.is_some() {
        return Err(has_zone(ip));
    }
    Ok(ip)
}

fn has_zone(ip: Ipv6Addr) -> Error {
    wrong(
        format!(
            "the IPv6 address {ip} has a zone (\"%\"), which means another machine on each network"
        ),
        "use a name of that machine, or another of its addresses",
    )
}

/// Refuses `fd7a::1:ocean-tiger`: nothing in it tells where the address ends.
fn refuse_bare_ipv6(text: &str) -> Result<()> {
    if let Some((address, _)) = text.split_once('%')
        && let Ok(ip) = address.parse()
    {
        return Err(has_zone(ip));
    }
    // All of it, all but a token, all but a port and a token.
    let mut head = Some(text);
    for _ in 0..3 {
        let Some(address) = head else { break };
        if let Ok(ip) = address.trim().parse::<Ipv6Addr>() {
            let message = format!("the IPv6 address {ip} needs brackets");
            return Err(wrong(message, format!("write [{ip}]:TOKEN")));
        }
        head = address.rsplit_once(':').map(|(head, _)| head);
    }
    Ok(())
}

/// An IPv4 address or a name.
fn parse_host(text: &str) -> Result<Host> {
    if text.is_empty() {
        return Err(wrong("the ticket has no host", EXAMPLE));
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(ip.into()));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if is_mistyped_address(name) {
        let hint = "an address is four numbers from 0 to 255, such as 100.64.1.123";
        return Err(wrong(format!("{text:?} is not an IPv4 address"), hint));
    }
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > MAX_HOST || !name.split('.').all(is_label) {
        let hint =
            "a name has letters, digits, \"-\" and \".\"; an address looks like 100.64.1.123";
        return Err(wrong(format!("{text:?} is not a host name"), hint));
    }
    Ok(Host::Name(name.to_ascii_lowercase()))
}

/// Whether `name` is no name but an address with a slip in it: `300.1.2.3`, `1.2.3`, `100.64.1.l2`.
/// No top-level domain begins with a digit, and system resolvers read `0x7f` and `2130706433` as
/// addresses.
fn is_mistyped_address(name: &str) -> bool {
    let is_number = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit());
    let last = name.rsplit('.').next().unwrap_or_default();
    let dotted = name.contains('.');
    is_number(last)
        || last.starts_with("0x")
        || dotted && last.starts_with(|c: char| c.is_ascii_digit())
        || name.split('.').filter(|label| is_number(label)).count() > 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::Exit;

    #[test]
    fn only_the_token_is_completed() {
        for (typed, expected) in [
            ("oce", None),
            ("oce:", None),
            (":oce", None),
            ("oce:oce", Some("oce:ocean")),
            ("oce:4000:oce", Some("oce:4000:ocean")),
            ("100.64.1.123:ocean-tige", Some("100.64.1.123:ocean-tiger")),
            ("[fd7a::oce", None),
            ("[fd7a::1]oce", None),
            ("[fd7a::1]:oce", Some("[fd7a::1]:ocean")),
            ("transfer receive 127.0.0.1:oce", None),
        ] {
            let completed = Ticket::complete(typed);
            assert_eq!(completed.as_ref().map(|text| text.as_str()), expected, "{typed}");
        }
    }

    #[test]
    fn forgiving_forms() {
        let short = "100.64.1.123:ocean-tiger";
        for (text, canonical) in [
            (short, short),
            ("  100.64.1.123:ocean-tiger\r\n", short),
            ("100.64.1.123:15820:ocean-tiger", short),
            ("100.64.1.123:015820:ocean-tiger", short),
            ("100.64.1.123:Ocean Tiger", short),
            ("100.64.1.123: ocean_tiger", short),
            ("100.64.1.123 : 15820 : ocean-tiger", short),
            ("transfer receive 100.64.1.123:ocean-tiger", short),
            ("  transfer  receive\t'100.64.1.123:ocean-tiger' ", short),
            ("`transfer receive 100.64.1.123:ocean-tiger`", short),
            ("\"100.64.1.123:ocean-tiger\"", short),
            ("“100.64.1.123:ocean-tiger”", short),
            ("100.64.1.123:ocean-\n  tiger", short),
            ("100.64.1.123:8080:ocean-tiger", "100.64.1.123:8080:ocean-tiger"),
            ("[fd7a:115c:a1e0::1]:ocean-tiger", "[fd7a:115c:a1e0::1]:ocean-tiger"),
            ("[FD7A:115C:A1E0:0::1]:1:ocean-tiger", "[fd7a:115c:a1e0::1]:1:ocean-tiger"),
            ("[::1]:65535:ocean-tiger", "[::1]:65535:ocean-tiger"),
            ("Laptop:ocean-tiger", "laptop:ocean-tiger"),
            ("transfer:ocean-tiger", "transfer:ocean-tiger"),
            ("my-nas.tail1234.ts.net.:ocean-tiger", "my-nas.tail1234.ts.net:ocean-tiger"),
            ("3d-printer:ocean-tiger", "3d-printer:ocean-tiger"),
            ("100-64-1-123.example.com:ocean-tiger", "100-64-1-123.example.com:ocean-tiger"),
        ] {
            assert_eq!(Ticket::parse(text).unwrap().to_string(), canonical, "{text:?}");
        }
    }

    #[test]
    fn refusals() {
        let bracket = "write [IPv6 address]:TOKEN";
        let ipv4 = "an address is four numbers from 0 to 255, such as 100.64.1.123";
        let ipv6 = "brackets are for an IPv6 address, such as [fd7a:115c:a1e0::1]";
        let name =
            "a name has letters, digits, \"-\" and \".\"; an address looks like 100.64.1.123";
        let port = "a port is a number from 1 to 65535; leave it out if it is 15820";
        let screen = "check the token on the sender's screen";
        let zoned = "the IPv6 address fe80::1 has a zone (\"%\"), which means another machine on each network";
        let zone = "use a name of that machine, or another of its addresses";
        let bare = "write [fd7a::1]:TOKEN";
        for (text, message, hint) in [
            ("", "the ticket is empty", EXAMPLE),
            ("  '' ", "the ticket is empty", EXAMPLE),
            (&"x".repeat(2401), "a ticket is never longer than 2400 bytes", EXAMPLE),
            (
                "a\u{1b}[2J:b",
                r"the ticket holds a control character, '\u{1b}'",
                "type it instead of pasting it",
            ),
            // Parts missing
            ("100.64.1.123", "the ticket has no \":\" between host and token", EXAMPLE),
            ("transfer receive", "the ticket has no \":\" between host and token", EXAMPLE),
            (":ocean-tiger", "the ticket has no host", EXAMPLE),
            ("100.64.1.123:", "the ticket has no token", EXAMPLE),
            ("100.64.1.123:15820", "the ticket has no token", EXAMPLE),
            ("100.64.1.123:15820:", "the ticket has no token", EXAMPLE),
            ("[::1]", "the ticket has no token", EXAMPLE),
            // Token
            (
                "nas:ocaen-tiger",
                "\"ocaen\" is not a word of the token list",
                "did you mean \"ocean\"?",
            ),
            ("nas:ocean", "a token has 2 to 8 words, not 1", screen),
            // Port
            ("nas:0:ocean-tiger", "\"0\" is not a port", port),
            ("nas:65536:ocean-tiger", "\"65536\" is not a port", port),
            ("nas:99999999999:ocean-tiger", "\"99999999999\" is not a port", port),
            ("nas:+80:ocean-tiger", "\"+80\" is not a port", port),
            ("nas:http:ocean-tiger", "\"http\" is not a port", port),
            ("nas::ocean-tiger", "\"\" is not a port", port),
            (
                "nas:1:2:ocean-tiger",
                "the ticket has too many colons",
                "write HOST:TOKEN or HOST:PORT:TOKEN",
            ),
            // Addresses
            ("300.1.2.3:ocean-tiger", "\"300.1.2.3\" is not an IPv4 address", ipv4),
            ("1.2.3:ocean-tiger", "\"1.2.3\" is not an IPv4 address", ipv4),
            ("1.2.3.4.5:ocean-tiger", "\"1.2.3.4.5\" is not an IPv4 address", ipv4),
            ("100.64.01.2:ocean-tiger", "\"100.64.01.2\" is not an IPv4 address", ipv4),
            ("100.64.1.2.:ocean-tiger", "\"100.64.1.2.\" is not an IPv4 address", ipv4),
            ("100.64.1.12o:ocean-tiger", "\"100.64.1.12o\" is not an IPv4 address", ipv4),
            ("100.64.1.l2:ocean-tiger", "\"100.64.1.l2\" is not an IPv4 address", ipv4),
            ("2130706433:ocean-tiger", "\"2130706433\" is not an IPv4 address", ipv4),
            ("0x7f:ocean-tiger", "\"0x7f\" is not an IPv4 address", ipv4),
            ("[fd7a::g]:ocean-tiger", "\"fd7a::g\" is not an IPv6 address", ipv6),
            ("[100.64.1.123]:ocean-tiger", "\"100.64.1.123\" is not an IPv6 address", ipv6),
            ("[]:ocean-tiger", "\"\" is not an IPv6 address", ipv6),
            ("[::1:ocean-tiger", "the ticket has a \"[\" without a \"]\"", bracket),
            ("[::1]ocean-tiger", "a \":\" must follow the \"]\"", bracket),
            ("[fe80::1%eth0]:ocean-tiger", zoned, zone),
            ("fe80::1%eth0:ocean-tiger", zoned, zone),
            ("fd7a::1:ocean-tiger", "the IPv6 address fd7a::1 needs brackets", bare),
            ("fd7a::1:15820:ocean-tiger", "the IPv6 address fd7a::1 needs brackets", bare),
            ("fd7a::1", "the IPv6 address fd7a::1 needs brackets", bare),
            // Names
            ("my_nas:ocean-tiger", "\"my_nas\" is not a host name", name),
            ("-nas:ocean-tiger", "\"-nas\" is not a host name", name),
            ("nas-:ocean-tiger", "\"nas-\" is not a host name", name),
            ("my nas:ocean-tiger", "\"my nas\" is not a host name", name),
            ("a..b:ocean-tiger", "\"a..b\" is not a host name", name),
            (".:ocean-tiger", "\".\" is not a host name", name),
            ("näs:ocean-tiger", "\"näs\" is not a host name", name),
            ("nas\u{202e}:ocean-tiger", r#""nas\u{202e}" is not a host name"#, name),
            ("user@nas:ocean-tiger", "\"user@nas\" is not a host name", name),
        ] {
            let error = Ticket::parse(text).unwrap_err();
            assert_eq!((&*error.message, error.hint.as_deref()), (message, Some(hint)), "{text:?}");
            assert_eq!(error.exit(), Exit::Usage);
        }
    }

    #[test]
    fn places() {
        for (text, host, port) in [
            ("laptop", "laptop", None),
            (" Laptop. ", "laptop", None),
            ("laptop.tail1234.ts.net", "laptop.tail1234.ts.net", None),
            ("100.64.1.5", "100.64.1.5", None),
            ("fd7a::1", "[fd7a::1]", None),
            ("[fd7a::1]", "[fd7a::1]", None),
            ("[fd7a::1]:4000", "[fd7a::1]", Some(4000)),
            ("laptop:4000", "laptop", Some(4000)),
            ("laptop:", "laptop", None),
            ("transfer receive 100.64.1.5:ocean-tiger", "100.64.1.5", Some(15820)),
            ("laptop:4000:ocean-tiger", "laptop", Some(4000)),
            ("[fd7a::1]:ocean-tiger", "[fd7a::1]", Some(15820)),
            ("laptop:not-in-the-list", "laptop", Some(15820)),
        ] {
            let (found, at) = Host::parse_place(text).unwrap();
            assert_eq!((&*found.to_string(), at), (host, port), "{text:?}");
        }
        for text in ["", "my nas", "100.64.1", "laptop:0", "laptop:70000", "a:b:c:d", "[::1", "[]"]
        {
            assert_eq!(Host::parse_place(text).unwrap_err().exit(), Exit::Usage, "{text:?}");
        }
    }

    #[test]
    fn name_lengths() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        for (name, good) in [
            (label.clone(), true),
            (format!("{label}a"), false),
            (longest.clone(), true),
            (longest + "a", false),
        ] {
            assert_eq!(Ticket::parse(&format!("{name}:ocean-tiger")).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn debug_hides_the_secret() {
        let shown = format!("{:?}", Ticket::parse("nas:ocean-tiger").unwrap());
        assert!(shown.contains("nas") && !shown.contains("ocean"), "{shown}");
    }

    fn hosts() -> impl Strategy<Value = Host> {
        prop_oneof![
            any::<IpAddr>().prop_map(Host::Ip),
            any::<IpAddr>()
                .prop_filter("where somebody can be", |ip| direct::is_of_one(*ip))
                .prop_map(|ip| Host::Udp(ip.to_canonical())),
            prop::collection::vec(
                "(https?://)?[a-z]([a-z0-9-]{0,20}[a-z0-9])?(:[1-9][0-9]{0,3})?",
                0..=8
            )
            .prop_map(|relays| Host::Relay {
                plate: Plate::generate().unwrap(),
                relays: relays.iter().map(|relay| RelayUrl::parse(relay).unwrap()).collect(),
            }),
            "[a-z]([a-z0-9-]{0,20}[a-z0-9])?(\\.[a-z]([a-z0-9-]{0,20}[a-z0-9])?){0,4}"
                .prop_map(Host::Name),
        ]
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(host in hosts(), port in 1..=u16::MAX, words in 2..=8u8) {
            let port = if let Host::Relay { .. } = host { DEFAULT_PORT } else { port };
            let ticket = Ticket { host, port, token: Token::generate(words).unwrap() };
            prop_assert_eq!(Ticket::parse(&ticket.to_string()).unwrap(), ticket);
        }

        #[test]
        fn nothing_panics_or_shows_raw_controls(text in "[\\PC\\x00-\\x1f\\[\\]:.%0-9a-f]{0,60}") {
            if let Err(error) = Ticket::parse(&text) {
                prop_assert!(!error.message.chars().any(char::is_control));
            }
        }
    }
}
