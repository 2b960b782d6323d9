//! Tickets of direct mode: `WORDS`, `WORDS@RELAY` and `WORDS@IP:PORT`. In the first two the words begin with
//! the plate.

use std::net::{IpAddr, SocketAddr};

use zeroize::Zeroizing;

use super::{DEFAULT_PORT, Host, Ticket, wrong};
use crate::bounds::MAX_RELAYS;
use crate::error::{Error, Result};
use crate::net::plate::{self, Plate};
use crate::net::relay_url::RelayUrl;
use crate::token::{MAX_WORDS, MIN_WORDS, Token, is_word};

const EXAMPLE: &str =
    "it looks like maple-river-ocean-tiger; copy all of it from the sender's screen";

const EXAMPLE_AT: &str =
    "it looks like ocean-tiger@198.51.100.7; copy all of it from the sender's screen";

/// The words, without what is between them; nothing where it is no words that is.
fn words(text: &str) -> Option<Vec<&str>> {
    let words = text.split(|c: char| c == '-' || c == '_' || c.is_whitespace());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    let is_plain = |word: &&str| word.bytes().all(|b| b.is_ascii_alphabetic());
    (words.len() >= 2 && words.iter().all(is_plain)).then_some(words)
}

fn known(words: &[&str]) -> usize {
    words.iter().filter(|word| is_word(&Zeroizing::new(word.to_ascii_lowercase()))).count()
}

/// Whether a text is the words of a whole ticket, and no name of a machine.
pub fn is_meant(text: &str) -> bool {
    let fewest = plate::WORDS + usize::from(MIN_WORDS);
    words(text).is_some_and(|words| words.len() >= fewest && known(&words) == words.len())
}

/// Whether a text may be the beginning of such a ticket, cut off within a word.
pub fn has_begun(text: &str) -> bool {
    words(text).is_some_and(|words| words.first().is_some_and(|first| known(&[first]) == 1))
}

/// The ticket that a text is; nothing where it is none of these.
pub fn read(text: &str) -> Option<Result<Ticket>> {
    match text.rsplit_once('@') {
        Some((text, place)) => Some(at(&words(text)?, place.trim())),
        // A name of a machine may have several parts, but hardly two words of the list.
        // `transfer receive`, and nothing behind it, is two such words.
        None => words(text)
            .filter(|words| known(words) >= 2 && words[..] != ["transfer", "receive"])
            .map(|words| at_relays(&words, vec![])),
    }
}

fn at(words: &[&str], place: &str) -> Result<Ticket> {
    if let Some((ip, port)) = address(place) {
        if port == 0 {
            return Err(wrong("0 is not a port", "a port is a number from 1 to 65535"));
        }
        if !is_of_one(ip) {
            return Err(wrong(format!("{ip} is no address of one machine"), EXAMPLE_AT));
        }
        let token = token(words)?;
        return Ok(Ticket { host: Host::Udp(ip.to_canonical()), port, token });
    }
    let relays: Vec<_> = place.split(',').map(RelayUrl::parse).collect::<Result<_>>()?;
    if relays.len() > MAX_RELAYS {
        return Err(wrong(format!("a ticket has at most {MAX_RELAYS} relays"), EXAMPLE));
    }
    at_relays(words, relays)
}

/// An address, with a port or with the usual one.
fn address(place: &str) -> Option<(IpAddr, u16)> {
    let plain = place.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(place);
    match (place.parse::<SocketAddr>(), plain.parse()) {
        (Ok(address), _) => Some((address.ip(), address.port())),
        (Err(_), Ok(ip)) => Some((ip, DEFAULT_PORT)),
        _ => None,
    }
}

fn at_relays(words: &[&str], relays: Vec<RelayUrl>) -> Result<Ticket> {
    let fewest = plate::WORDS + usize::from(MIN_WORDS);
    let most = plate::WORDS + usize::from(MAX_WORDS);
    if words.len() < fewest {
        return Err(Error::usage("this is only the token: a direct ticket has four words or more")
            .hint("copy all of the ticket; with a machine it is like laptop:ocean-tiger"));
    }
    if words.len() > most {
        let message = format!("a direct ticket has {fewest} to {most} words, not {}", words.len());
        return Err(wrong(message, EXAMPLE));
    }
    let (plate, token) = words.split_at_checked(plate::WORDS).unwrap_or_default();
    let (plate, token) = (Plate::parse(&plate.join("-"))?, self::token(token)?);
    Ok(Ticket { host: Host::Relay { plate, relays }, port: DEFAULT_PORT, token })
}

/// The words leave nothing behind in memory.
fn token(words: &[&str]) -> Result<Token> {
    Token::parse(&Zeroizing::new(words.join("-")))
}

/// Whether somebody can be there, and not nobody, or all.
pub fn is_of_one(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    let is_for_all = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(ip.is_unspecified() || ip.is_multicast() || is_for_all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    #[test]
    fn forgiving_forms() {
        let four = "maple-river-ocean-tiger";
        let at = "maple-river-ocean-tiger@relay.example.org";
        for (text, canonical) in [
            (four, four),
            (" Maple River  ocean_tiger\n", four),
            ("transfer receive maple-river-ocean-tiger", four),
            ("maple-river-ocean-tiger-zebra", "maple-river-ocean-tiger-zebra"),
            (at, at),
            ("maple river ocean tiger @ Relay.Example.org", at),
            ("maple-river-ocean-tiger@https://relay.example.org/", at),
            (
                "maple-river-ocean-tiger@a.b:8443,http://127.0.0.1:3340",
                "maple-river-ocean-tiger@a.b:8443,http://127.0.0.1:3340",
            ),
            ("ocean-tiger@198.51.100.7:4000", "ocean-tiger@198.51.100.7:4000"),
            ("ocean-tiger@198.51.100.7:15820", "ocean-tiger@198.51.100.7"),
            ("ocean-tiger@198.51.100.7", "ocean-tiger@198.51.100.7"),
            ("Ocean Tiger @ [2001:db8::7]:4000", "ocean-tiger@[2001:db8::7]:4000"),
            ("ocean-tiger@[2001:db8::7]", "ocean-tiger@[2001:db8::7]"),
            ("ocean-tiger@2001:db8::7", "ocean-tiger@[2001:db8::7]"),
            ("maple-river-ocean-tiger@198.51.100.7", "maple-river-ocean-tiger@198.51.100.7"),
        ] {
            assert_eq!(Ticket::parse(text).unwrap().to_string(), canonical, "{text:?}");
        }
        let ticket = Ticket::parse(at).unwrap();
        assert_eq!(ticket.token, Token::parse("ocean-tiger").unwrap());
        assert_eq!(ticket.place(), "maple-river@relay.example.org");
        let ticket = Ticket::parse("maple-river-ocean-tiger@198.51.100.7").unwrap();
        assert_eq!((ticket.token.words(), &*ticket.place()), (4, "@198.51.100.7"));
    }

    #[test]
    fn refusals() {
        let only = "this is only the token: a direct ticket has four words or more";
        for (text, message) in [
            ("ocean-tiger", only),
            ("ocean tiger maple", only),
            ("ocean-tiger@relay.example.org", only),
            ("maple-rivre-ocean-tiger", "\"rivre\" is not a word of the token list"),
            ("maple-river-ocean-tiegr@a.b", "\"tiegr\" is not a word of the token list"),
            (
                "maple-river-ocean-tiger@a b",
                "\"a b\" is no relay: its host is neither a name nor an address",
            ),
            ("ocean-tiger@198.51.100.7:0", "0 is not a port"),
            ("ocean-tiger@0.0.0.0", "0.0.0.0 is no address of one machine"),
            ("ocean-tiger@[::]:4000", ":: is no address of one machine"),
            ("ocean-tiger@::ffff:0.0.0.0", "::ffff:0.0.0.0 is no address of one machine"),
            ("ocean-tiger@255.255.255.255:4000", "255.255.255.255 is no address of one machine"),
            ("ocean-tiger@224.0.0.1", "224.0.0.1 is no address of one machine"),
            ("ocean-tiger@ff02::1", "ff02::1 is no address of one machine"),
            (
                "ocean-tiger@198.51.100.7:x",
                "\"198.51.100.7:x\" is no relay: its port is no number from 1 to 65535",
            ),
            ("xyz-fra-prod", "the ticket has no \":\" between host and token"),
            ("user@nas:ocean-tiger", "\"user@nas\" is not a host name"),
        ] {
            let error = Ticket::parse(text).unwrap_err();
            assert_eq!(error.message, message, "{text}");
            assert_eq!(error.exit(), Exit::Usage);
            assert!(error.hint.is_some() && error.secret);
        }
        let many = ["ocean"; 11].join("-");
        let error = Ticket::parse(&many).unwrap_err();
        assert_eq!(error.message, "a direct ticket has 4 to 10 words, not 11");
        let relays = format!("maple-river-ocean-tiger@{}", ["a.b"; 9].join(","));
        let error = Ticket::parse(&relays).unwrap_err();
        assert_eq!(error.message, "a ticket has at most 8 relays");
    }

    /// Whoever looks up a name tells somebody; the words of a ticket are not to be told.
    #[test]
    fn a_ticket_is_no_name_of_a_machine() {
        for text in ["maple-river-ocean-tiger", "transfer receive maple-river-ocean-tiger"] {
            assert_eq!(Host::parse_place(text).unwrap_err().exit(), Exit::Usage, "{text}");
        }
        for text in ["maple-river", "maple-river-ocean", "xyz-fra-prod-two"] {
            assert!(Host::parse_place(text).is_ok(), "{text}");
        }
    }
}
