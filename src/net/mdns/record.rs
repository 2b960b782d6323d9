//! What is announced of a server: its name, its port, and four values beside them.

use mdns_sd::TxtProperties;

use super::Service;
use crate::error::{Error, Result, shown};

/// Bytes of a name that is announced, so that ` (99)` fits behind it into the 63 of a label.
const MAX_OWN_NAME: usize = 58;
/// Letters of each of the two words; those of the list have nine at most.
const MAX_WORD: usize = 16;

/// What a server announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    service: Service,
    name: String,
    port: u16,
    txt: Txt,
}

impl Record {
    /// A record of a server `name` that listens on a TCP port.
    ///
    /// # Errors
    /// Exit 2 for a name that is empty, too long, or that would not arrive as it is.
    pub fn new(name: &str, port: u16, txt: Txt) -> Result<Self> {
        let is_odd = |c: char| c.is_control() || matches!(c, '.' | '\\');
        let why = if name.trim().is_empty() {
            "is empty".to_owned()
        } else if name.len() > MAX_OWN_NAME {
            format!("has {} bytes; {MAX_OWN_NAME} are allowed", name.len())
        } else if let Some(odd) = name.chars().find(|c| is_odd(*c)) {
            format!("holds {odd:?}")
        } else {
            return Ok(Self { service: Service::Server, name: name.to_owned(), port, txt });
        };
        let message = format!("the name \"{}\" {why}", shown(name));
        Err(Error::usage(message).hint("choose another with --name, such as --name attic"))
    }

    /// A record of a machine that waits to be paired, of which nothing is told but that: its id is a number that is
    /// drawn anew each time.
    ///
    /// # Errors
    /// As [`Record::new`].
    pub fn of_pairing(name: &str, port: u16, version: u32) -> Result<Self> {
        let txt = Txt { version, fingerprint: None, id: rand::random(), words: None };
        Ok(Self { service: Service::Pairing, ..Self::new(name, port, txt)? })
    }

    /// What it is a record of.
    pub fn service(&self) -> Service {
        self.service
    }

    /// The name, as it was asked for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same under another name, such as one with a number behind it.
    pub fn called(&self, name: String) -> Self {
        Self { name, ..self.clone() }
    }

    /// The same with other values.
    pub fn telling(&self, txt: Txt) -> Self {
        Self { txt, ..self.clone() }
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The values.
    pub fn txt(&self) -> &Txt {
        &self.txt
    }

    /// The host name of this one server. With the machine's own, the goodbye of one server would
    /// take the addresses of another away, and macOS renames itself when it sees its name announced.
    pub fn host(&self) -> String {
        let kind = match self.service {
            Service::Server => 't',
            Service::Pairing => 'p',
        };
        // A device may have several servers.
        format!("{kind}-{}-{}.local.", hex(self.txt.id.get(..4).unwrap_or_default()), self.port)
    }
}

/// The values of a record (RFC 6763, section 6). Each is a hint for people, and never trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Txt {
    /// `v`: the newest protocol that the server speaks.
    pub version: u32,
    /// `fp`: SHA-256 of the certificate.
    pub fingerprint: Option<[u8; 32]>,
    /// `id`: the first 8 bytes of the device's id, which is SHA-256 of its public key.
    pub id: [u8; 8],
    /// `sas`: two words made of the id, which tell two of one name apart.
    pub words: Option<String>,
}

impl Txt {
    /// The values as they are announced.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![("v", self.version.to_string())];
        if let Some(fingerprint) = &self.fingerprint {
            pairs.push(("fp", hex(fingerprint)));
        }
        pairs.push(("id", hex(&self.id)));
        if let Some(words) = &self.words {
            pairs.push(("sas", words.clone()));
        }
        pairs
    }

    /// Reads the bytes of a TXT record. Nothing if there is no `v` or no `id` that can be read: then
    /// whoever announced it is none of ours. What else cannot be read counts as missing.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Self::of(&TxtProperties::from(bytes))
    }

    pub(super) fn of(values: &TxtProperties) -> Option<Self> {
        let value = |key| values.get_property_val(key).flatten();
        let text = |key| value(key).and_then(|value| std::str::from_utf8(value).ok());
        // Signs and leading zeros, which `parse` takes, are not how it is announced.
        let version = text("v").filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        Some(Self {
            version: version?.parse().ok()?,
            fingerprint: value("fp").and_then(unhex),
            id: value("id").and_then(unhex)?,
            words: text("sas").filter(|text| are_words(text)).map(str::to_owned),
        })
    }
}

/// Two words as the token list has them: nothing else is shown.
fn are_words(text: &str) -> bool {
    let is_word = |word: &str| {
        (1..=MAX_WORD).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase())
    };
    text.split_once('-').is_some_and(|(first, second)| is_word(first) && is_word(second))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Exactly `N` bytes in hexadecimal digits of either case.
fn unhex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; N];
    if text.len() != N.checked_mul(2)? {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn txt() -> Txt {
        Txt {
            version: 1,
            fingerprint: Some([0xab; 32]),
            id: [0, 1, 2, 3, 4, 5, 6, 0xff],
            words: Some("ocean-tiger".into()),
        }
    }

    /// The bytes of a record that holds these strings.
    fn bytes(strings: &[&[u8]]) -> Vec<u8> {
        let with_length = |text: &&[u8]| [&[u8::try_from(text.len()).unwrap()], *text].concat();
        strings.iter().flat_map(with_length).collect()
    }

    #[test]
    fn what_is_announced_reads_back() {
        for (fingerprint, words) in [(txt().fingerprint, txt().words), (None, None)] {
            let txt = Txt { fingerprint, words, ..txt() };
            let strings: Vec<String> =
                txt.pairs().iter().map(|(key, value)| format!("{key}={value}")).collect();
            let strings: Vec<&[u8]> = strings.iter().map(|text| text.as_bytes()).collect();
            assert_eq!(Txt::read(&bytes(&strings)), Some(txt));
        }
    }

    #[test]
    fn what_others_announce() {
        const ID: &[u8] = b"id=000102030405060f";
        let reads = |strings: &[&[u8]]| Txt::read(&bytes(strings)).is_some();
        for (strings, expected) in [
            (&[b"v=1" as &[u8], ID][..], true),
            (&[b"V=1", b"ID=000102030405060F"], true),
            (&[b"v=4294967295", ID], true),
            (&[b"v=1", ID, b"v=junk"], true), // the first counts (RFC 6763, 6.4)
            (&[b"v=junk", ID, b"v=1"], false),
            (&[b"v=4294967296", ID], false),
            (&[b"v=-1", ID], false),
            (&[b"v=+1", ID], false),
            (&[b"v=", ID], false),
            (&[b"v", ID], false),
            (&[b"v=\xff", ID], false),
            (&[ID], false),
            (&[b"v=1"], false),
            (&[b"v=1", b"id=00010203040506"], false),
            (&[b"v=1", b"id=000102030405060f0"], false),
            (&[b"v=1", b"id=00010203040506\xc3\xa9"], false),
            (&[], false),
        ] {
            assert_eq!(reads(strings), expected, "{strings:?}");
        }
        for words in [
            "ocean-tiger\u{1b}[2J",
            "ocean",
            "-",
            "Ocean-Tiger",
            "ocean-tiger-zebra",
            "océan-tiger",
            "oceanoceanoceanoc-tiger",
            "",
        ] {
            let record = bytes(&[b"v=1", ID, format!("sas={words}").as_bytes()]);
            assert_eq!(Txt::read(&record).unwrap().words, None, "{words:?}");
        }
        // Lengths that lie, and none.
        assert_eq!(Txt::read(b"\xffv=1"), None);
        assert_eq!(Txt::read(b""), None);
        assert_eq!(Txt::read(&[0; 300]), None);
    }

    #[test]
    fn names_of_our_own() {
        for (name, why) in [
            ("attic", None),
            ("Büro im 1. Stock", Some("holds '.'")),
            ("Büro (2)", None),
            ("", Some("is empty")),
            ("  ", Some("is empty")),
            ("a\\b", Some("holds '\\\\'")),
            ("a\nb", Some("holds '\\n'")),
            (&"a".repeat(58), None),
            (&"a".repeat(59), Some("has 59 bytes; 58 are allowed")),
        ] {
            let record = Record::new(name, 15821, txt());
            let error = record.as_ref().err().map(|error| error.message.clone());
            let said = error.as_deref().and_then(|text| text.rsplit_once("\" "));
            assert_eq!(said.map(|(_, why)| why), why, "{name:?}");
        }
        assert_eq!(Record::new("attic", 1, txt()).unwrap().host(), "t-00010203-1.local.");
        // Of a pairing nothing is told that leads anywhere but to it, or is the same the next time.
        let [one, other] = [1, 2].map(|_| Record::of_pairing("attic", 1, 2).unwrap());
        assert!(one.host().starts_with("p-") && one.host() != other.host());
        let keys: Vec<_> = one.txt().pairs().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["v", "id"]);
    }
}
