//! Why a certificate is refused, in the words of people. What the other side is told is an alert of
//! TLS and no more.

use std::fmt;

use jiff::Timestamp;

use super::certificate::{Certificate, Id, Moment, hex, span};
use super::store::day;
use crate::error::{Error, shown, shown_claim};

/// Who was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// The server that was dialled, by what was typed or chosen.
    Server(String),
    /// A device that connected, by its address.
    Client(String),
}

/// Why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It was removed from this device.
    Removed {
        /// What it was called.
        name: String,
        /// When.
        at: Timestamp,
    },
    /// Another key than the one that is pinned under that name, or was seen under it.
    OtherKey {
        /// The name.
        name: String,
    },
    /// Another certificate than the one whose fingerprint was typed.
    OtherFingerprint {
        /// SHA-256 of the one that was shown.
        shown: String,
    },
    /// Trusted, and not among those of `--allow`.
    NotAllowed {
        /// The name.
        name: String,
    },
    /// No CA that is known here has signed it.
    UnknownIssuer(Box<Facts>),
    /// Signed by another CA that has the name of one that is known here.
    NamesakeIssuer {
        /// What it says.
        facts: Box<Facts>,
        /// SHA-256 of the CA's certificate that is known here.
        ours: String,
        /// Of the one that came with it.
        theirs: Option<String>,
    },
    /// It has ended.
    Expired {
        /// When.
        until: Moment,
    },
    /// It has not begun.
    NotYet {
        /// When it does.
        from: Moment,
    },
    /// It is for other hosts.
    OtherHost {
        /// What was dialled.
        dialled: String,
        /// What it is for; empty where it names none.
        hosts: String,
    },
    /// It may not be used so.
    Purpose {
        /// Whether it was to show a server.
        as_server: bool,
    },
    /// It is signed in a way that is not safe, or not understood.
    Signature,
    /// It is a CA's and shows no device.
    Authority,
    /// It is of version 1.
    Version,
    /// There was none.
    Missing,
    /// It is damaged, or something else about it is not understood.
    Malformed(String),
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whom it is for.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Whether it signed itself.
    pub is_self_issued: bool,
    /// Its key.
    pub id: Id,
}

impl Facts {
    /// Of a certificate.
    pub fn of(certificate: &Certificate) -> Self {
        Self {
            subject: certificate.subject.clone(),
            issuer: certificate.issuer.clone(),
            is_self_issued: certificate.is_self_issued,
            id: certificate.id,
        }
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = shown_claim(&self.subject);
        if self.is_self_issued {
            write!(f, "({subject}, signed by itself)")
        } else {
            write!(f, "({subject}, signed by \"{}\")", shown_claim(&self.issuer))
        }
    }
}

impl Who {
    /// The beginning of a sentence about its certificate.
    fn certificate(&self) -> String {
        match self {
            Self::Server(name) => format!("{}'s certificate", shown(name)),
            Self::Client(address) => format!("refused {address}: its certificate"),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Server(name) => shown(name).into_owned(),
            Self::Client(address) => format!("refused {address}: it"),
        }
    }
}

impl Refusal {
    /// The sentence, the hint, and the exit code 4.
    pub fn error(&self, who: &Who) -> Error {
        let certificate = who.certificate();
        let (message, hint) = match self {
            Self::Removed { name, at } => (
                match who {
                    Who::Server(_) => {
                        format!("{} was removed from this device on {}", shown(name), day(*at))
                    }
                    Who::Client(address) => format!(
                        "refused {address}: {} was removed from this device on {}",
                        shown(name),
                        day(*at)
                    ),
                },
                "`transfer pair` with it takes that back".to_owned(),
            ),
            Self::OtherKey { name } => (
                match who {
                    Who::Server(_) => format!("{} has another key than before", shown(name)),
                    Who::Client(address) => format!(
                        "refused {address}: it calls itself {} and has another key",
                        shown(name)
                    ),
                },
                format!(
                    "if it was set up anew: `transfer trust remove {}`, then pair; else somebody \
                     copies its name",
                    shown(name)
                ),
            ),
            Self::OtherFingerprint { shown } => (
                format!("{certificate} is another than --fingerprint names"),
                format!(
                    "its own fingerprint is {shown}; compare it with what `transfer device` says there"
                ),
            ),
            Self::NotAllowed { name } => (
                match who {
                    Who::Server(_) => format!("{} is not among those of --allow", shown(name)),
                    Who::Client(address) => {
                        format!("refused {address}: {} is not among those of --allow", shown(name))
                    }
                },
                "name it with --allow, or leave --allow away".into(),
            ),
            Self::UnknownIssuer(facts) => match who {
                Who::Server(_) => (
                    format!("{certificate} {facts} is from no CA that this device knows"),
                    "`transfer pair` introduces the two; or --ca names the file of its CA".into(),
                ),
                Who::Client(address) => (
                    format!(
                        "refused {address}: unknown device \"{}\" ({})",
                        shown_claim(&facts.subject),
                        facts.id.words()
                    ),
                    "`transfer pair` introduces it; or `transfer trust import` its CA".into(),
                ),
            },
            Self::NamesakeIssuer { facts, ours, theirs } => {
                let theirs = theirs.as_ref().map_or_else(
                    || "its own CA did not come with it".into(),
                    |theirs| format!("that one's fingerprint is {theirs}"),
                );
                (
                    format!(
                        "{certificate} was signed by another CA that is also called \"{}\"",
                        shown_claim(&facts.issuer)
                    ),
                    format!(
                        "use one ca.pem everywhere; the fingerprint of the one here is {ours}, and \
                         {theirs}"
                    ),
                )
            }
            Self::Expired { until } => (
                format!(
                    "{certificate} ended {} ago ({until})",
                    span(until.from_now().unsigned_abs())
                ),
                format!(
                    "renew it there: `transfer device --renew`; if the date is wrong: this clock \
                     says {}",
                    Moment::now()
                ),
            ),
            Self::NotYet { from } => (
                format!(
                    "{certificate} begins in {}: one of the two clocks is wrong (this one says {})",
                    span(from.from_now().unsigned_abs()),
                    Moment::now()
                ),
                "set the clock that is wrong; `timedatectl` shows it".into(),
            ),
            Self::OtherHost { dialled, hosts } if hosts.is_empty() => (
                format!(
                    "{certificate} has no SAN, so nothing says that it is for {}",
                    shown(dialled)
                ),
                format!(
                    "issue it anew: `transfer ca issue`, or `openssl req ... -addext \
                     subjectAltName={}`",
                    san_of(dialled)
                ),
            ),
            Self::OtherHost { dialled, hosts } => (
                format!("{certificate} is for {}, not for {}", shown_claim(hosts), shown(dialled)),
                format!(
                    "dial by a name in it, or issue it anew: `transfer ca issue NAME --san {}`",
                    shown(dialled)
                ),
            ),
            Self::Purpose { as_server } => {
                let role = if *as_server { "server" } else { "client" };
                (
                    format!("{certificate} may not be used as a {role}"),
                    format!(
                        "issue it anew, with extendedKeyUsage = serverAuth, clientAuth (it lacks \
                         {role}Auth)"
                    ),
                )
            }
            Self::Signature => (
                format!("{certificate} is signed in a way that is not safe, such as SHA-1"),
                "issue it anew: `openssl x509 -req -sha256 ...`".into(),
            ),
            Self::Authority => (
                format!("{certificate} is that of a CA, and shows no device"),
                "issue one for the device: `openssl x509 -req -CA ca.pem ...`".into(),
            ),
            Self::Version => (
                format!("{certificate} is of version 1, which names no hosts"),
                "issue it anew: `openssl x509 -req ... -extfile san.cnf`, with the line \
                 subjectAltName=DNS:attic.local,IP:192.168.1.9 in san.cnf"
                    .into(),
            ),
            Self::Missing => (
                format!(
                    "{} has shown no certificate",
                    match who {
                        Who::Server(name) => shown(name).into_owned(),
                        Who::Client(address) => format!("refused {address}: somebody there"),
                    }
                ),
                "only devices with a certificate are let in; `transfer send --to` has one".into(),
            ),
            Self::Malformed(why) => (
                format!(
                    "{} has shown a certificate that cannot be used: {}",
                    who.name(),
                    shown_claim(why)
                ),
                "issue it anew".into(),
            ),
        };
        Error::refused(message).hint(hint)
    }
}

/// As OpenSSL wants a host.
fn san_of(host: &str) -> String {
    match host.parse::<std::net::IpAddr>() {
        Ok(ip) => format!("IP:{ip}"),
        Err(_) => format!("DNS:{}", shown(host)),
    }
}

/// A fingerprint as OpenSSL writes it, shortened to what people compare.
pub fn fingerprint(hash: &[u8]) -> String {
    let pairs: Vec<String> = hash.iter().map(|byte| hex(&[*byte]).to_uppercase()).collect();
    pairs.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::MAX_CLAIM;

    /// Whoever connects may show a certificate that claims a book.
    #[test]
    fn what_strangers_claim_is_cut() {
        let facts = |text: &str| {
            let (subject, issuer) = (text.to_owned(), text.to_owned());
            Box::new(Facts { subject, issuer, is_self_issued: false, id: Id([7; 32]) })
        };
        let (long, cut) = ("é".repeat(30_000), format!("{}…", "é".repeat(MAX_CLAIM)));
        for refusal in [
            Refusal::UnknownIssuer(facts(&long)),
            Refusal::NamesakeIssuer { facts: facts(&long), ours: String::new(), theirs: None },
            Refusal::OtherHost { dialled: "attic".into(), hosts: long.clone() },
            Refusal::Malformed(long),
        ] {
            for who in [Who::Server("attic".into()), Who::Client("10.0.0.7".into())] {
                let message = refusal.error(&who).message;
                assert!(message.contains(&cut) && message.len() < 5 * MAX_CLAIM, "{message}");
            }
        }
        assert_eq!(shown_claim(&"a".repeat(MAX_CLAIM)), "a".repeat(MAX_CLAIM));
    }

    /// Word by word: what a client says of its server, and a server of a client.
    #[test]
    fn every_reason_has_a_sentence_for_both_sides() {
        let at = Timestamp::from_second(1_790_000_000).unwrap();
        let facts = Facts {
            subject: "deviceB".into(),
            issuer: "other CA".into(),
            is_self_issued: false,
            id: Id([7; 32]),
        };
        let alone = Facts { is_self_issued: true, ..facts.clone() };
        let hour = |hours: i64| Moment(Moment::now().0 + hours * 3600 + 60 * hours.signum());
        let (past, future) = (hour(-2), hour(1));
        let now = Moment::now();
        let day = day(at);
        let words = Id([7; 32]).words();
        let rows = [
            (
                Refusal::Removed { name: "laptop".into(), at },
                format!("laptop was removed from this device on {day}"),
                format!("refused 10.0.0.7: laptop was removed from this device on {day}"),
                "`transfer pair`",
            ),
            (
                Refusal::OtherFingerprint { shown: "ab:cd".into() },
                "attic's certificate is another than --fingerprint names".into(),
                "refused 10.0.0.7: its certificate is another than --fingerprint names".into(),
                "its own fingerprint is ab:cd",
            ),
            (
                Refusal::OtherKey { name: "attic".into() },
                "attic has another key than before".into(),
                "refused 10.0.0.7: it calls itself attic and has another key".into(),
                "if it was set up anew: `transfer trust remove attic`, then pair",
            ),
            (
                Refusal::NotAllowed { name: "attic".into() },
                "attic is not among those of --allow".into(),
                "refused 10.0.0.7: attic is not among those of --allow".into(),
                "--allow",
            ),
            (
                Refusal::UnknownIssuer(Box::new(facts.clone())),
                "attic's certificate (deviceB, signed by \"other CA\") is from no CA that this device \
                 knows"
                    .into(),
                format!("refused 10.0.0.7: unknown device \"deviceB\" ({words})"),
                "`transfer pair` introduces",
            ),
            (
                Refusal::UnknownIssuer(Box::new(alone)),
                "attic's certificate (deviceB, signed by itself) is from no CA that this device knows"
                    .into(),
                format!("refused 10.0.0.7: unknown device \"deviceB\" ({words})"),
                "`transfer pair` introduces",
            ),
            (
                Refusal::NamesakeIssuer {
                    facts: Box::new(facts),
                    ours: "AA:BB".into(),
                    theirs: Some("CC:DD".into()),
                },
                "attic's certificate was signed by another CA that is also called \"other CA\"".into(),
                "refused 10.0.0.7: its certificate was signed by another CA that is also called \"other \
                 CA\""
                    .into(),
                "use one ca.pem everywhere; the fingerprint of the one here is AA:BB, and that one's \
                 fingerprint is CC:DD",
            ),
            (
                Refusal::Expired { until: past },
                format!("attic's certificate ended 2 hours ago ({past})"),
                format!("refused 10.0.0.7: its certificate ended 2 hours ago ({past})"),
                "renew it there: `transfer device --renew`; if the date is wrong: this clock says",
            ),
            (
                Refusal::NotYet { from: future },
                format!(
                    "attic's certificate begins in 1 hour: one of the two clocks is wrong (this one says \
                     {now})"
                ),
                format!(
                    "refused 10.0.0.7: its certificate begins in 1 hour: one of the two clocks is wrong \
                     (this one says {now})"
                ),
                "set the clock that is wrong",
            ),
            (
                Refusal::OtherHost {
                    dialled: "192.168.1.9".into(),
                    hosts: "deviceB.local, 172.20.10.3".into(),
                },
                "attic's certificate is for deviceB.local, 172.20.10.3, not for 192.168.1.9".into(),
                "refused 10.0.0.7: its certificate is for deviceB.local, 172.20.10.3, not for 192.168.1.9"
                    .into(),
                "dial by a name in it, or issue it anew: `transfer ca issue NAME --san 192.168.1.9`",
            ),
            (
                Refusal::OtherHost { dialled: "192.168.1.9".into(), hosts: String::new() },
                "attic's certificate has no SAN, so nothing says that it is for 192.168.1.9".into(),
                "refused 10.0.0.7: its certificate has no SAN, so nothing says that it is for 192.168.1.9"
                    .into(),
                "`openssl req ... -addext subjectAltName=IP:192.168.1.9`",
            ),
            (
                Refusal::Purpose { as_server: true },
                "attic's certificate may not be used as a server".into(),
                "refused 10.0.0.7: its certificate may not be used as a server".into(),
                "serverAuth",
            ),
            (
                Refusal::Signature,
                "attic's certificate is signed in a way that is not safe, such as SHA-1".into(),
                "refused 10.0.0.7: its certificate is signed in a way that is not safe, such as SHA-1"
                    .into(),
                "`openssl x509 -req -sha256",
            ),
            (
                Refusal::Authority,
                "attic's certificate is that of a CA, and shows no device".into(),
                "refused 10.0.0.7: its certificate is that of a CA, and shows no device".into(),
                "`openssl x509 -req -CA",
            ),
            (
                Refusal::Version,
                "attic's certificate is of version 1, which names no hosts".into(),
                "refused 10.0.0.7: its certificate is of version 1, which names no hosts".into(),
                "-extfile san.cnf",
            ),
            (
                Refusal::Missing,
                "attic has shown no certificate".into(),
                "refused 10.0.0.7: somebody there has shown no certificate".into(),
                "`transfer send --to`",
            ),
            (
                Refusal::Malformed("it is\u{1b} damaged".into()),
                "attic has shown a certificate that cannot be used: it is\\u{1b} damaged".into(),
                "refused 10.0.0.7: it has shown a certificate that cannot be used: it is\\u{1b} damaged"
                    .into(),
                "issue it anew",
            ),
        ];
        for (refusal, of_server, of_client, hint) in rows {
            for (who, said) in [
                (Who::Server("attic".into()), of_server),
                (Who::Client("10.0.0.7".into()), of_client),
            ] {
                let error = refusal.error(&who);
                assert_eq!(error.exit(), crate::error::Exit::Refused);
                // The minute may change between the two.
                let (said, is) = (said.replace(&now.to_string(), ""), error.message);
                let is = is.replace(&Moment::now().to_string(), "");
                assert_eq!(is, said.replace(&Moment::now().to_string(), ""));
                assert!(error.hint.unwrap_or_default().contains(hint), "{hint}");
            }
        }
    }
}
