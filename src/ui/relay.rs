//! A relay: where it can be reached, who came and went, and how much it is used.

use std::net::{IpAddr, SocketAddr};

use super::Ui;
use super::words::counted;
use crate::error::bytes;

/// What becomes of one connection to a relay.
#[derive(Debug)]
pub enum RelayEvent {
    /// A client is connected.
    Came {
        /// From where, if that is known.
        address: Option<IpAddr>,
    },
    /// A client is gone.
    Left {
        /// From where, if that is known.
        address: Option<IpAddr>,
    },
    /// Somebody was not let in.
    Refused {
        /// From where, if that is known.
        address: Option<IpAddr>,
        /// Why, in a sentence.
        why: String,
    },
}

/// How much a relay has been used since it began.
#[derive(Debug, Clone, Default)]
pub struct Relayed {
    /// Clients that are connected now.
    pub clients: usize,
    /// Clients that have connected.
    pub came: u64,
    /// Bytes that clients sent to others.
    pub bytes: u64,
    /// Bytes of these that others got.
    pub delivered: u64,
    /// Connections that were refused, for each reason.
    pub refused: Vec<(&'static str, u64)>,
    /// Clients that sent faster than they may.
    pub slowed: u64,
}

impl Relayed {
    fn refusals(&self) -> u64 {
        self.refused.iter().map(|(_, count)| count).sum()
    }
}

impl Ui {
    /// The relay is there.
    pub fn relays(
        &self,
        (url, (address, discovery, metrics)): (&str, (SocketAddr, Option<u16>, Option<SocketAddr>)),
        is_closed: bool,
    ) {
        let token = if is_closed { ", with a token" } else { "" };
        let behind = match discovery {
            None => ", or with the address that a proxy in front of it has",
            Some(_) => "",
        };
        self.say(&format!(
            "relay ready: `transfer send --relay {url}`{token}{behind}; it sees addresses and amounts, \
             never names or content"
        ));
        if let Some(port) = discovery {
            self.detail(&format!("address discovery at UDP port {port}"));
        }
        if let Some(address) = metrics {
            self.detail(&format!("its numbers are at http://{address}/metrics"));
        }
        self.tell(|json| json.relay(url, address, discovery, metrics));
    }

    /// Something happened to one connection, which only the curious are told of: it has an address.
    pub fn relay_event(&self, event: &RelayEvent) {
        let name = |address: &Option<IpAddr>| match address {
            Some(address) => address.to_string(),
            None => "somebody".into(),
        };
        self.detail(&match event {
            RelayEvent::Came { address } => format!("{} connected", name(address)),
            RelayEvent::Left { address } => format!("{} left", name(address)),
            RelayEvent::Refused { address, why } => {
                format!("{} was refused: {why}", name(address))
            }
        });
    }

    /// How much the relay was used since `before`. If it was not, people are told nothing.
    pub fn relayed(&self, before: &Relayed, now: &Relayed) {
        let came = now.came.saturating_sub(before.came);
        let size = now.bytes.saturating_sub(before.bytes);
        let refused = now.refusals().saturating_sub(before.refusals());
        if now.clients > 0 || came > 0 || size > 0 || refused > 0 {
            let mut line = format!(
                "{} here; {came} came, {} relayed, {refused} refused",
                counted(now.clients as u64, "client", "clients"),
                bytes(size)
            );
            let of_before = |label: &str| {
                let found = before.refused.iter().find(|(of_it, _)| *of_it == label);
                found.map_or(0, |(_, count)| *count)
            };
            let why: Vec<String> = now
                .refused
                .iter()
                .map(|(label, count)| (label, count.saturating_sub(of_before(label))))
                .filter(|(_, count)| *count > 0)
                .map(|(label, count)| format!("{label} {count}"))
                .collect();
            if !why.is_empty() {
                line.push_str(&format!(" ({})", why.join(", ")));
            }
            self.say(&line);
        }
        self.tell(|json| json.relayed(now));
    }
}
