//! Devices, CAs and their certificates: a line each for people, an event each for programs.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::json;

use super::Ui;
use crate::error::{Result, shown};
use crate::trust::certificate::{HASH_LEN, Id, Moment, hex};
use crate::trust::refusal::fingerprint;
use crate::trust::store::day;

/// What a card is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// This device, with its own certificate.
    This,
    /// Its certificate that a CA has signed.
    Certificate,
    /// A device whose key is pinned.
    Device,
    /// A CA.
    Ca,
    /// A device that a CA vouched for.
    Seen,
    /// One that was removed.
    Removed,
    /// A certificate that this device's CA has issued.
    Issued,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::This => "this",
            Self::Certificate => "certificate",
            Self::Device => "device",
            Self::Ca => "ca",
            Self::Seen => "seen",
            Self::Removed => "removed",
            Self::Issued => "issued",
        }
    }
}

/// A device, a CA or a certificate. What is not known of it is left away.
#[derive(Debug, Clone)]
pub struct Card {
    /// What it is of.
    pub kind: Kind,
    /// The name here.
    pub name: String,
    /// The key.
    pub id: Option<Id>,
    /// SHA-256 of the certificate.
    pub fingerprint: Option<[u8; HASH_LEN]>,
    /// Who signed it; nothing for what signed itself.
    pub issuer: Option<String>,
    /// Hosts that it is for.
    pub hosts: Vec<String>,
    /// When it ends.
    pub until: Option<Moment>,
    /// How it came here.
    pub via: Option<&'static str>,
    /// When it came, was removed or was issued (RFC 3339).
    pub at: Option<String>,
    /// When it last connected (RFC 3339).
    pub last: Option<String>,
}

impl Card {
    /// One of which no more is known.
    pub fn new(kind: Kind, name: &str, id: Option<Id>) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            id,
            fingerprint: None,
            issuer: None,
            hosts: vec![],
            until: None,
            via: None,
            at: None,
            last: None,
        }
    }

    /// What it is, in words.
    fn what(&self) -> String {
        let at = self.at.as_deref().map(day_of).unwrap_or_default();
        match self.kind {
            Kind::This => "this device".into(),
            Kind::Certificate => "its certificate".into(),
            Kind::Device => format!("{} {at}", self.via.unwrap_or_default()),
            Kind::Ca => "CA".into(),
            Kind::Seen => "known by its CA".into(),
            Kind::Removed => format!("removed {at}"),
            Kind::Issued => match &*at {
                "" => "issued".into(),
                at => format!("issued {at}"),
            },
        }
    }

    /// How long it holds, in words.
    fn end(&self) -> Option<String> {
        let until = self.until.filter(|until| !until.is_never())?;
        let verb = if until.from_now() < 0 { "ended" } else { "ends" };
        Some(format!("{verb} {until}"))
    }

    fn fields(&self) -> serde_json::Value {
        let until = self.until.filter(|until| !until.is_never());
        let until = until.and_then(|until| Timestamp::from_second(until.0).ok());
        json!({
            "kind": self.kind.name(),
            "name": self.name,
            "id": self.id,
            "words": self.id.map(|id| id.words()),
            "fingerprint": self.fingerprint.map(|hash| hex(&hash)),
            "issuer": self.issuer,
            "hosts": self.hosts,
            "until": until.map(|until| until.to_string()),
            "via": self.via,
            "at": self.at,
            "last": self.last,
        })
    }
}

/// The day of a moment that is written as programs read it.
fn day_of(stamp: &str) -> String {
    stamp.parse().map(day).unwrap_or_default()
}

impl Ui {
    /// A list to stdout, a line each; a single one in full.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub fn cards(&self, cards: &[Card]) -> Result<()> {
        let is_own = cards.iter().any(|card| card.kind == Kind::This);
        if is_own || cards.len() == 1 {
            return self.cards_in_full(cards);
        }
        if self.json.is_some() {
            return self.tell_cards(cards);
        }
        let rows: Vec<[String; 4]> = cards
            .iter()
            .map(|card| {
                let words = card.id.filter(|_| card.kind != Kind::Ca).map(|id| id.words());
                let id = card.id.map(|id| id.short());
                let last = card.last.as_deref().map(|last| format!("last here {}", day_of(last)));
                let more = [Some(card.what()), last, card.end()];
                [
                    shown(&card.name).into_owned(),
                    words.unwrap_or_default(),
                    id.unwrap_or_default(),
                    more.into_iter().flatten().collect::<Vec<_>>().join(", "),
                ]
            })
            .collect();
        let mut text = String::new();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| unicode_width::UnicodeWidthStr::width(&**cell)).max().unwrap_or(0)
        };
        let widths = [width(0), width(1), width(2)];
        for row in &rows {
            for (cell, width) in row.iter().zip(widths) {
                let fill = width.saturating_sub(unicode_width::UnicodeWidthStr::width(&**cell));
                let _ = write!(text, "{cell}{:fill$}  ", "");
            }
            let _ = writeln!(text, "{}", row.last().map_or("", String::as_str));
        }
        self.print(&text)
    }

    /// The same with all that is known of each.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub fn cards_in_full(&self, cards: &[Card]) -> Result<()> {
        if self.json.is_some() {
            return self.tell_cards(cards);
        }
        let mut text = String::new();
        for card in cards {
            let words = card.id.filter(|_| card.kind != Kind::Ca).map(|id| id.words());
            let words = words.map(|words| format!(" ({words})")).unwrap_or_default();
            let _ = writeln!(text, "{}{words}: {}", shown(&card.name), card.what());
            let line = |text: &mut String, name: &str, value: &str| {
                let _ = writeln!(text, "  {name:<11}  {}", shown(value));
            };
            if let Some(id) = card.id {
                line(&mut text, "id", &id.to_string());
            }
            if let Some(hash) = card.fingerprint {
                line(&mut text, "fingerprint", &fingerprint(&hash));
            }
            if let Some(issuer) = &card.issuer {
                line(&mut text, "signed by", issuer);
            }
            if !card.hosts.is_empty() {
                line(&mut text, "hosts", &card.hosts.join(", "));
            }
            if let Some(until) = card.until {
                line(&mut text, "ends", &until.to_string());
            }
            if let Some(last) = &card.last {
                line(&mut text, "last here", &day_of(last));
            }
        }
        self.print(&text)
    }

    fn tell_cards(&self, cards: &[Card]) -> Result<()> {
        self.tell(|json| cards.iter().for_each(|card| json.device(card.fields())));
        Ok(())
    }

    /// Let this device join the CA here?
    ///
    /// # Errors
    /// When nobody answers.
    pub fn ask_let_join(&self, who: &str, ca: &str) -> Result<bool> {
        let question =
            format!("let {who} join \"{}\", so that all its devices trust it?", shown(ca));
        self.confirm(&question, false)
    }

    /// Join the CA of that device?
    ///
    /// # Errors
    /// When nobody answers.
    pub fn ask_join(&self, name: &str, ca: &str) -> Result<bool> {
        let question = format!(
            "join \"{}\", the CA of {name}, and so trust all devices that it vouches for?",
            shown(ca)
        );
        self.confirm(&question, false)
    }

    /// Remove it?
    ///
    /// # Errors
    /// When nobody answers.
    pub fn ask_remove(&self) -> Result<bool> {
        self.confirm("trust it no more?", false)
    }
}
