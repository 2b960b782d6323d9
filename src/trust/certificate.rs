//! What a certificate says (X.509, RFC 5280), as far as this program looks, and the identity that
//! its public key is.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, UnixTime};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{
    FromDer, GeneralName, ParsedExtension, SubjectPublicKeyInfo, X509Certificate, X509Version,
};
use x509_parser::public_key::PublicKey;

use super::is_name;
use crate::token::Token;

/// Bytes of a SHA-256.
pub const HASH_LEN: usize = 32;

/// A device's identity: the SHA-256 of its public key (SubjectPublicKeyInfo, DER).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Id(pub [u8; HASH_LEN]);

impl Id {
    /// The identity of a public key.
    pub fn of_key(spki: &[u8]) -> Self {
        Self(Sha256::digest(spki).into())
    }

    /// As people copy it: 64 hex digits, with or without colons, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
        parse_hex(&digits).map(Self)
    }

    /// The first 16 hex digits: enough to tell apart, too little to trust.
    pub fn short(&self) -> String {
        hex(self.0.get(..8).unwrap_or_default())
    }

    /// Two words, for people who compare two screens. 26 bits: never compared by a program.
    pub fn words(&self) -> String {
        let first = self.0.first_chunk().copied().unwrap_or_default();
        Token::for_number(u64::from_be_bytes(first))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.short())
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for Id {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_hex(&text).map(Self).ok_or_else(|| "an id has 64 hex digits".into())
    }
}

/// Bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn parse_hex(text: &str) -> Option<[u8; HASH_LEN]> {
    let mut bytes = [0; HASH_LEN];
    if text.len() != 2 * HASH_LEN || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?;
    }
    Some(bytes)
}

/// A moment of a certificate: seconds since 1970. It may be later than any calendar reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl Moment {
    /// Of this machine's clock.
    pub fn now() -> Self {
        Self(Timestamp::now().as_second())
    }

    /// As TLS has it.
    pub fn of(time: UnixTime) -> Self {
        Self(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
    }

    /// Seconds from now, negative for what is over.
    pub fn from_now(self) -> i64 {
        self.0.saturating_sub(Self::now().0)
    }

    /// Whether it is what RFC 5280 writes for "no end": the last second of 9999.
    pub fn is_never(self) -> bool {
        self.0 >= NEVER
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zone = jiff::tz::TimeZone::system();
        match Timestamp::from_second(self.0) {
            Ok(time) if !self.is_never() => {
                f.write_str(&time.to_zoned(zone).strftime("%-d %b %Y %H:%M").to_string())
            }
            _ => f.write_str("never"),
        }
    }
}

/// 9999-12-31 23:59:59 UTC, short of a few hours, which no calendar here reaches.
const NEVER: i64 = 253_402_200_000;

/// A stretch of time as people say it: `2 hours`, `12 days`.
pub fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let (unit, name) =
        UNITS.into_iter().find(|(unit, _)| seconds >= *unit).unwrap_or((1, "second"));
    let count = seconds / unit;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

/// What kind of key a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA, and the bits of its modulus.
    Rsa(usize),
    /// P-256, P-384 or Ed25519.
    Good(&'static str),
    /// What the cryptography here does not do, by its name.
    Foreign(String),
}

impl KeyKind {
    fn of(spki: &SubjectPublicKeyInfo<'_>) -> Self {
        let algorithm = spki.algorithm.algorithm.to_id_string();
        let curve = spki.algorithm.parameters.as_ref().and_then(|it| it.as_oid().ok());
        match (&*algorithm, curve.map(|it| it.to_id_string()).as_deref()) {
            ("1.2.840.10045.2.1", Some("1.2.840.10045.3.1.7")) => Self::Good("P-256"),
            ("1.2.840.10045.2.1", Some("1.3.132.0.34")) => Self::Good("P-384"),
            ("1.2.840.10045.2.1", Some("1.3.132.0.35")) => Self::Foreign("P-521".into()),
            ("1.2.840.10045.2.1", Some(curve)) => Self::Foreign(format!("the curve {curve}")),
            ("1.3.101.112", _) => Self::Good("Ed25519"),
            ("1.3.101.113", _) => Self::Foreign("Ed448".into()),
            ("1.2.840.113549.1.1.1", _) => match spki.parsed() {
                Ok(PublicKey::RSA(key)) => Self::Rsa(key.key_size()),
                _ => Self::Foreign("RSA in an unknown form".into()),
            },
            (other, _) => Self::Foreign(format!("the algorithm {other}")),
        }
    }

    /// What is wrong with it, in words.
    pub fn problem(&self) -> Option<String> {
        match self {
            Self::Rsa(bits) if *bits < 2048 => {
                Some(format!("its key is RSA with {bits} bits, and 2048 is the least"))
            }
            Self::Rsa(bits) if *bits > 8192 => {
                Some(format!("its key is RSA with {bits} bits, and 8192 is the most"))
            }
            Self::Foreign(name) => {
                Some(format!("its key is of {name}; P-256, P-384, Ed25519 and RSA are understood"))
            }
            _ => None,
        }
    }
}

/// A name that a certificate is for (SAN).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum San {
    /// A host name.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

impl San {
    /// As it is typed.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(ip) = text.parse() {
            return Some(Self::Ip(ip));
        }
        let is_dns = rustls::pki_types::DnsName::try_from(text).is_ok();
        is_dns.then(|| Self::Dns(text.to_lowercase()))
    }
}

/// A certificate and what it says. Nothing of it is to be believed before somebody has verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// As it came.
    pub der: CertificateDer<'static>,
    /// Of the public key.
    pub id: Id,
    /// SHA-256 of the whole certificate, as `openssl x509 -fingerprint -sha256` has it.
    pub fingerprint: [u8; HASH_LEN],
    /// Common name of the subject; empty where there is none.
    pub subject: String,
    /// Common name of the issuer.
    pub issuer: String,
    /// Hosts that it is for.
    pub names: Vec<San>,
    /// From when on it holds…
    pub from: Moment,
    /// …and until when.
    pub until: Moment,
    /// 1 or 3.
    pub version: u32,
    /// Whether it may sign others.
    pub is_ca: bool,
    /// Whether subject and issuer are the same.
    pub is_self_issued: bool,
    /// What its key is.
    pub key: KeyKind,
}

/// Why bytes are no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Certificate {
    /// Takes one apart.
    ///
    /// # Errors
    /// What is no certificate, or has something behind it.
    pub fn parse(der: CertificateDer<'static>) -> Result<Self, Malformed> {
        let (rest, parsed) = X509Certificate::from_der(&der).map_err(|_| Malformed)?;
        if !rest.is_empty() {
            return Err(Malformed);
        }
        let common = |name: &x509_parser::x509::X509Name<'_>| {
            let common = name.iter_common_name().next().and_then(|it| it.as_str().ok());
            common.map_or_else(|| name.to_string(), str::to_owned)
        };
        let mut names = vec![];
        let mut is_ca = false;
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(san) => {
                    names.extend(san.general_names.iter().filter_map(san_of));
                }
                ParsedExtension::BasicConstraints(basic) => is_ca |= basic.ca,
                _ => {}
            }
        }
        let version = match parsed.version() {
            X509Version::V1 => 1,
            X509Version(number) => number.saturating_add(1),
        };
        Ok(Self {
            id: Id::of_key(parsed.public_key().raw),
            fingerprint: Sha256::digest(&der).into(),
            subject: common(parsed.subject()),
            issuer: common(parsed.issuer()),
            names,
            from: Moment(parsed.validity().not_before.timestamp()),
            until: Moment(parsed.validity().not_after.timestamp()),
            version,
            // Before version 3 nothing could say so.
            is_ca: is_ca || (version < 3 && parsed.subject().as_raw() == parsed.issuer().as_raw()),
            is_self_issued: parsed.subject().as_raw() == parsed.issuer().as_raw(),
            key: KeyKind::of(parsed.public_key()),
            der,
        })
    }

    /// The name under which its device is known to whoever trusts its CA: the subject's, else that of
    /// a host, else made of its id.
    pub fn device_name(&self) -> String {
        let hosts = self.names.iter().map(San::to_string);
        let named = std::iter::once(self.subject.clone()).chain(hosts).find(|name| is_name(name));
        named.unwrap_or_else(|| format!("device-{}", self.id.short()))
    }

    /// The hosts that it is for, in words.
    pub fn hosts(&self) -> String {
        let hosts: Vec<String> = self.names.iter().map(San::to_string).collect();
        hosts.join(", ")
    }

    /// As OpenSSL writes it.
    pub fn to_pem(&self) -> String {
        super::armor::encode("CERTIFICATE", &self.der)
    }

    /// What to say of its end, from 30 days before.
    pub fn expiry(&self) -> Option<String> {
        /// How long before its end a certificate begins to warn, in seconds.
        const WARNING: i64 = 30 * 86_400;
        self.ending(WARNING)
    }

    /// What to say of its end in the last quarter of its time: one that is renewed by itself should have
    /// been by then.
    pub fn last_quarter(&self) -> Option<String> {
        self.ending(self.until.0.saturating_sub(self.from.0) / 4)
    }

    /// What to say of its end, from so many seconds before.
    fn ending(&self, warning: i64) -> Option<String> {
        let left = self.until.from_now();
        match left {
            _ if left > warning => None,
            0.. => Some(format!("ends in {}", span(left.unsigned_abs()))),
            _ => Some(format!("ended {} ago ({})", span(left.unsigned_abs()), self.until)),
        }
    }
}

fn san_of(name: &GeneralName<'_>) -> Option<San> {
    match name {
        GeneralName::DNSName(name) => Some(San::Dns((*name).to_owned())),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|ip| San::Ip(ip.into())),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|ip| San::Ip(ip.into())),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hex_in_and_out() {
        let id = Id::of_key(b"key");
        let text = id.to_string();
        assert_eq!(text.len(), 64);
        assert!(text.starts_with(&id.short()));
        assert_eq!(Id::parse(&text), Some(id));
        assert_eq!(Id::parse(&text.to_uppercase()), Some(id));
        let colons: Vec<&str> = (0..32).filter_map(|at| text.get(2 * at..2 * at + 2)).collect();
        assert_eq!(Id::parse(&colons.join(":")), Some(id));
        for wrong in ["", "ab", &text[1..], &format!("{text}0"), &"+1".repeat(32), &"é".repeat(32)]
        {
            assert_eq!(Id::parse(wrong), None, "{wrong}");
        }
        assert_eq!(id.words().split('-').count(), 2);
        assert_eq!(Id([0; 32]).words(), Id([0; 32]).words());
        assert_ne!(Id([0; 32]).words(), Id([1; 32]).words());
    }

    #[test]
    fn stretches_of_time() {
        for (seconds, expected) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (7200, "2 hours"),
            (86_399, "23 hours"),
            (12 * 86_400, "12 days"),
        ] {
            assert_eq!(span(seconds), expected);
        }
        assert_eq!(Moment(i64::MAX).to_string(), "never");
        assert_eq!(Moment(253_402_300_799).to_string(), "never");
        assert_ne!(Moment(0).to_string(), "never");
    }

    #[test]
    fn hosts_as_typed() {
        assert_eq!(San::parse("attic.local"), Some(San::Dns("attic.local".into())));
        assert_eq!(San::parse("::1"), Some(San::Ip("::1".parse().unwrap())));
        for wrong in ["", "a b", "-", "ünïcode", "a/b"] {
            assert_eq!(San::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_certificate() {
        for bytes in [&b""[..], b"\x30", b"\x30\x82\xff\xff", &[0x30; 4000]] {
            assert_eq!(Certificate::parse(bytes.to_vec().into()), Err(Malformed));
        }
    }
}
