//! Two machines of any two networks: where the sender waits, and how it is dialled there.
//!
//! The sender takes its place under a plate at a relay, and the receiver, who knows the plate from the
//! ticket, asks the same relay for it. From then on the engine looks for a way from address to address,
//! and the relay is left. Nothing of that proves anything: only the token does.

use std::env;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::mpsc;

use zeroize::Zeroizing;

use super::{Elsewhere, Endpoint, Listen, Peer, Reach, Remote, Target};
use crate::bounds::MAX_RELAYS;
use crate::error::{Error, Result, shown_os};
use crate::net::interfaces::{Choice, Interfaces, Scope};
use crate::net::plate::Plate;
use crate::net::quic::{Dialler, Meeting, RelayToken};
use crate::net::relay_url::RelayUrl;
use crate::ticket::Host;
use crate::trust::pem;

/// The relays of this user, in place of those that anybody may use.
const RELAYS: &str = "TRANSFER_RELAY";

/// What a relay of one's own wants to see. A secret, so no option has it, which others could read.
const RELAY_TOKEN: &str = "TRANSFER_RELAY_TOKEN";

/// For the relays that this user named, wherever the ticket leads.
fn relay_token(direct: &Direct) -> Result<Option<RelayToken>> {
    let relays = named_here(direct)?.unwrap_or_default();
    let secret = match &direct.relay_token {
        Some(_) if relays.is_empty() => {
            return Err(Error::usage("--relay-token-file does nothing: no relay is named here")
                .hint("name it with --relay: a token goes to no relay that a ticket names"));
        }
        Some(secret) => secret.clone(),
        None => match env::var_os(RELAY_TOKEN).filter(|token| !token.is_empty()) {
            Some(typed) => {
                let typed = Zeroizing::new(typed.into_encoded_bytes());
                token_of(&typed, &format!("${RELAY_TOKEN}"))?
            }
            None => return Ok(None),
        },
    };
    Ok(Some(RelayToken { secret, relays }))
}

/// The first token of a file that nobody else may read, such as the relay's own.
fn token_in(file: &Path) -> Result<Zeroizing<String>> {
    let bytes = Zeroizing::new(pem::read(file, true)?);
    token_of(&bytes, &format!("\"{}\"", shown_os(file)))
}

/// The first token of what somebody has written there, in words that are safe to show.
fn token_of(bytes: &[u8], place: &str) -> Result<Zeroizing<String>> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let mut lines = text.lines().map(str::trim);
    let token = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    // It travels in a header.
    match token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic())) {
        Some(token) => Ok(Zeroizing::new(token.to_owned())),
        None => Err(Error::usage(format!("{place} holds no token of a relay"))
            .hint("whoever runs the relay has one, in a line of its own")),
    }
}

/// What the command line says about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Direct {
    /// These relays and no other; nothing where none was named, and empty for none at all.
    pub relays: Option<Vec<RelayUrl>>,
    /// The other side is not to learn this one's address, whatever that costs.
    pub relay_only: bool,
    /// What the relays want to see.
    pub relay_token: Option<Zeroizing<String>>,
}

impl Direct {
    /// What `--relay` was given, each time: relays, or `none`; and the file of `--relay-token-file`.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::error::Exit::Usage): one is no relay, or there is none to be used alone, or the
    /// file holds no token.
    pub fn new(typed: &[String], relay_only: bool, token_file: Option<&Path>) -> Result<Self> {
        let relays = match typed {
            [] => None,
            typed if typed.iter().any(|it| it == "none") => {
                if typed.len() > 1 {
                    return Err(Error::usage("--relay none leaves no other relay to be named"));
                }
                Some(vec![])
            }
            typed => Some(named(typed.iter().map(String::as_str))?),
        };
        if relay_only && relays.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::usage("--relay-only needs a relay, and --relay none has none")
                .hint("leave one of the two away"));
        }
        let relay_token = token_file.map(token_in).transpose()?;
        if relay_token.is_some() && relays.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::usage(
                "--relay-token-file needs a relay, and --relay none has none",
            )
            .hint("leave one of the two away"));
        }
        Ok(Self { relays, relay_only, relay_token })
    }
}

fn named<'a>(typed: impl Iterator<Item = &'a str>) -> Result<Vec<RelayUrl>> {
    let relays: Vec<_> = typed.map(RelayUrl::parse).collect::<Result<_>>()?;
    if relays.len() > MAX_RELAYS {
        return Err(Error::usage(format!("{} relays are too many", relays.len()))
            .hint(format!("name at most {MAX_RELAYS}")));
    }
    Ok(relays)
}

/// The relays that this user has named for all transfers; nothing where there are none.
fn usual() -> Result<Option<Vec<RelayUrl>>> {
    let Some(typed) = env::var_os(RELAYS).filter(|typed| !typed.is_empty()) else {
        return Ok(None);
    };
    let typed = typed.to_string_lossy();
    match &*typed {
        "none" => Ok(Some(vec![])),
        typed => named(typed.split(',').map(str::trim))
            .map(Some)
            .map_err(|error| error.hint(format!("${RELAYS} names relays, with commas in between"))),
    }
}

/// The relays that this user has named: on the command line, or for all transfers.
fn named_here(direct: &Direct) -> Result<Option<Vec<RelayUrl>>> {
    match &direct.relays {
        Some(relays) => Ok(Some(relays.clone())),
        None => usual(),
    }
}

/// The relays at which this side would meet another, and what they want to see; none where there shall be
/// none.
///
/// # Errors
/// A relay is named that is none.
pub fn relays(direct: &Direct) -> Result<(Vec<RelayUrl>, Option<RelayToken>)> {
    let relays = named_here(direct)?.unwrap_or_else(RelayUrl::defaults);
    Ok((relays, relay_token(direct)?))
}

/// Under a new plate at a relay, or without one at all addresses of this machine. Anybody may connect.
///
/// # Errors
/// A relay is named that is none.
pub fn endpoint(direct: &Direct) -> Result<Endpoint> {
    let named = named_here(direct)?;
    let admit = Box::new(|remote: SocketAddr, _| Ok(Peer::unknown(remote.ip().to_canonical())));
    if named.as_ref().is_some_and(Vec::is_empty) {
        if direct.relay_only {
            return Err(Error::usage(format!(
                "--relay-only needs a relay, and ${RELAYS} is \"none\""
            ))
            .hint(format!("name one with --relay, or change ${RELAYS}")));
        }
        if direct.relay_token.is_some() {
            return Err(Error::usage(format!(
                "--relay-token-file needs a relay, and ${RELAYS} is \"none\""
            ))
            .hint(format!("name one with --relay, or change ${RELAYS}")));
        }
        let meeting = Meeting::without_relay(None);
        let mut addresses = addresses().into_iter();
        let first = addresses.next().map_or(Ipv4Addr::LOCALHOST.into(), |(ip, _)| ip);
        let (tell, elsewhere) = mpsc::channel();
        for (address, interface) in addresses {
            let from = format!("the network of {}", crate::error::shown(&interface));
            // It is kept until it is asked for.
            let _ = tell.send(Elsewhere { host: Host::Udp(address), from });
        }
        return Ok(Endpoint {
            listen: Listen::Quic(meeting),
            address: first,
            ticket: Host::Udp(first),
            elsewhere: Some(elsewhere),
            follow: None,
            admit,
            reach: Reach::Internet { relays: vec![] },
        });
    }
    let plate = Plate::generate()?;
    let relays = named.clone().unwrap_or_else(RelayUrl::defaults);
    let ticket = Host::Relay { plate: plate.clone(), relays: named.unwrap_or_default() };
    let reach = Reach::Internet { relays: relays.clone() };
    let relay_only = direct.relay_only;
    let relay_token = relay_token(direct)?;
    let meeting = Meeting { plate, relays, address: None, relay_only, relay_token };
    let address = Ipv4Addr::UNSPECIFIED.into();
    Ok(Endpoint {
        listen: Listen::Quic(meeting),
        address,
        ticket,
        elsewhere: None,
        follow: None,
        admit,
        reach,
    })
}

/// Where this machine can be dialled, and by which interface, those that others reach first.
fn addresses() -> Vec<(IpAddr, String)> {
    let Ok(interfaces) = Interfaces::look(&Choice::Local) else { return vec![] };
    // One of a link needs an interface beside it, which a ticket cannot carry.
    let all = interfaces.addresses().into_iter().filter(|(ip, _)| Scope::of(*ip) != Scope::Link);
    all.map(|(ip, interface)| (ip, interface.name.clone())).collect()
}

/// Whoever is found under this plate: at the relays that the command line names, or those of the ticket, or
/// those of this user, or those of all.
///
/// # Errors
/// A relay is named that is none, or this build has no direct mode.
pub fn remote(plate: &Plate, relays: &[RelayUrl], direct: &Direct) -> Result<Remote> {
    let relays = match relays {
        of_ticket @ [_, ..] if direct.relays.is_none() => of_ticket.to_vec(),
        _ => named_here(direct)?.unwrap_or_else(RelayUrl::defaults),
    };
    if relays.is_empty() {
        return Err(match direct.relays {
            Some(_) => Error::usage("that ticket needs a relay, and --relay none has none")
                .hint("leave --relay away"),
            None => Error::usage(format!("that ticket needs a relay, and ${RELAYS} is \"none\""))
                .hint(format!("name one with --relay, or change ${RELAYS}")),
        });
    }
    let peer = Peer { name: plate.to_string(), address: None, id: None, tailnet: None };
    let (plate, relay_only, relay_token) = (plate.clone(), direct.relay_only, relay_token(direct)?);
    let meeting = Meeting { plate, relays, address: None, relay_only, relay_token };
    Ok(Remote { target: Target::Quic(Dialler::new(meeting)?), peer })
}

/// Whether the command line goes with a ticket that needs no relay. On this machine there is no address to
/// be kept from anybody.
///
/// # Errors
/// [`Exit::Usage`](crate::error::Exit::Usage): what it says would do nothing.
pub fn without_relay(direct: &Direct, is_here: bool) -> Result<()> {
    if direct.relay_only && !is_here {
        return Err(Error::usage("--relay-only needs a relay, and that ticket has none")
            .hint("leave --relay-only away, or use a relay at the sender"));
    }
    if direct.relay_token.is_some() {
        let message = "--relay-token-file does nothing for that ticket: it has an address";
        return Err(Error::usage(message).hint("leave it away"));
    }
    if direct.relays.as_ref().is_some_and(|relays| !relays.is_empty()) {
        return Err(Error::usage("--relay does nothing for that ticket: it has an address")
            .hint("leave --relay away, or use a relay at the sender"));
    }
    Ok(())
}

/// Whoever waits at an address, without a relay.
///
/// # Errors
/// This build has no direct mode.
pub fn remote_at(address: SocketAddr) -> Result<Remote> {
    let peer = Peer::unknown(address.ip());
    let dialler = Dialler::new(Meeting::without_relay(Some(address)))?;
    Ok(Remote { target: Target::Quic(dialler), peer })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a file, or in the variable.
    #[test]
    fn a_token_is_what_fits_into_a_header() {
        for (bytes, expected) in [
            (&b"ocean-tiger"[..], Some("ocean-tiger")),
            (b"# of the relay at home\n\n ocean-tiger \nmaple", Some("ocean-tiger")),
            (b"ocean tiger", None),
            (b"ocean\x1btiger", None),
            ("océan".as_bytes(), None),
            (b"ocean\xff", None),
            (b"# none", None),
            (b" \n", None),
        ] {
            let found = token_of(bytes, "$X").map_err(|error| error.message);
            let found = found.as_ref().map(|token| token.as_str()).map_err(String::as_str);
            assert_eq!(found, expected.ok_or("$X holds no token of a relay"), "{bytes:?}");
        }
    }

    #[test]
    fn relays_of_the_command_line() {
        let typed = |words: &[&str], only| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            Direct::new(&words, only, None).map_err(|error| error.message)
        };
        assert_eq!(typed(&[], false).unwrap(), Direct::default());
        assert_eq!(typed(&["none"], false).unwrap().relays, Some(vec![]));
        let two = typed(&["a.b", "http://127.0.0.1:3340"], true).unwrap();
        assert_eq!(two.relays.unwrap().len(), 2);
        for (words, only, message) in [
            (&["none", "a.b"][..], false, "--relay none leaves no other relay to be named"),
            (&["none"], true, "--relay-only needs a relay, and --relay none has none"),
            (&["a.b"; 9], false, "9 relays are too many"),
            (&["a b"], false, "\"a b\" is no relay: its host is neither a name nor an address"),
        ] {
            assert_eq!(typed(words, only), Err(message.to_owned()), "{words:?}");
        }
    }
}
