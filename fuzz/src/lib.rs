//! What each fuzz target does with its bytes. `fuzz_targets/` runs these functions under libFuzzer,
//! and `tests/corpora` runs them with the other tests, over the seeds in `corpus/`.
//!
//! A panic is a finding, and so is memory without bound, which `scripts/fuzz` limits. What is
//! asserted here is what the rest of the program takes for granted.

pub mod crypto;

use std::collections::HashSet;
use std::path::{Component, Path};

use transfer::bounds::{MAX_NOTE, MAX_PLAINTEXT};
use transfer::compress::{self, Codec, Element};
use transfer::crypto::keys::Role;
use transfer::crypto::record::Buffer;
use transfer::error::Error;
use transfer::files::manifest::{Entry, Kind, Manifest, Totals};
use transfer::files::mapping::{as_text, windows_name};
use transfer::files::path::{RelPath, is_text, native};
use transfer::files::target;
use transfer::net::mdns::Txt;
use transfer::net::tailscale::{Status, parse_whois};
use transfer::protocol::data::{self, Item};
use transfer::protocol::features::Features;
use transfer::protocol::message::{Control, Message};
use transfer::protocol::pages::{self, Pages};
use transfer::protocol::reader::{Malformed, Read, Reader};
use transfer::receive;
use transfer::ticket::{Host, Ticket};
use transfer::token::Token;
use transfer::trust::certificate::Certificate;
use transfer::trust::store::Trusted;
use transfer::trust::{is_name, pem};

pub use crypto::{hello, record};

/// A fuzz target.
pub type Target = fn(&[u8]);

/// All of them, by name.
pub const TARGETS: [(&str, Target); 11] = [
    ("hello", hello),
    ("record", record),
    ("message", message),
    ("entries", entries),
    ("plan", plan),
    ("decompress", decompress),
    ("lock", lock),
    ("status", status),
    ("ticket", ticket),
    ("txt", txt),
    ("trust", trust),
];

/// A file of trust, of certificates or of a key, or a certificate alone: a list that is understood is
/// written to the same again, and a device always has a name.
pub fn trust(bytes: &[u8]) {
    if let Ok(trusted) =
        std::str::from_utf8(bytes).map_err(drop).and_then(|text| Trusted::parse(text).map_err(drop))
    {
        assert_eq!(Trusted::parse(&trusted.to_json()), Ok(trusted));
    }
    let _ = pem::key_in(bytes, "file");
    let certificates = pem::certificates_in(bytes, "file").unwrap_or_default();
    for certificate in certificates.into_iter().chain(Certificate::parse(bytes.to_vec().into())) {
        assert!(is_name(&certificate.device_name()), "{certificate:?}");
    }
}

/// A plaintext: whatever is understood is encoded to the same again.
pub fn message(plaintext: &[u8]) {
    match Message::decode(plaintext) {
        Ok(Message::Control(control)) => {
            if let Control::Cancel(reason) | Control::Refuse(reason) = &control {
                assert_printable(&reason.told_by(Role::Sender));
                assert_printable(&reason.told_by(Role::Receiver));
            }
            let mut buffer = Buffer::default();
            // JSON has shorter forms than ours: what just fitted in one may not fit in the other.
            if control.encode(&mut buffer).is_ok() {
                let Ok(Message::Control(again)) = Message::decode(buffer.plaintext()) else {
                    panic!("{control:?} is not understood")
                };
                assert_eq!(again, control);
            }
        }
        Ok(Message::Data(mut items)) => {
            let (all, mut buffer) = (items.rest(), Buffer::default());
            while let Ok(Some(item)) = data::next(&mut items, Features::ours()) {
                put_item(&mut buffer, &item);
            }
            assert!(all.starts_with(buffer.plaintext()));
        }
        Ok(Message::Packed { packed, .. }) => assert!(plaintext.ends_with(packed)),
        Ok(
            Message::Entries(rest)
            | Message::Plan(rest)
            | Message::Retry(rest)
            | Message::Repair(rest)
            | Message::Results(rest),
        ) => assert_eq!(rest.rest(), &plaintext[1..]),
        Ok(Message::Note) => assert!(plaintext.len() <= MAX_NOTE),
        Err(Malformed(_)) => {}
    }
}

/// Appends an item of data.
pub fn put_item(buffer: &mut Buffer, item: &Item<'_>) {
    match item {
        Item::Start { index, offset } => data::put_start(buffer, *index, *offset),
        Item::Bytes(content) => {
            let len = u32::try_from(content.len()).expect("a length that was read as a u32");
            let filled = data::put_bytes(buffer, len, |room| -> Read<()> {
                room.copy_from_slice(content);
                Ok(())
            });
            assert_eq!(filled, Ok(()));
        }
        Item::End { size, hash } => data::put_end(buffer, *size, hash),
        Item::Failed { index, fault } => data::put_failed(buffer, *index, *fault),
        Item::Hole(len) => data::put_hole(buffer, *len),
        Item::State(state) => data::put_state(buffer, state),
        Item::Stop => data::put_stop(buffer),
    }
}

/// A page of entries: those that are taken make a tree, and none leads out of it.
pub fn entries(page: &[u8]) {
    let (mut manifest, mut buffer) = (Manifest::default(), Buffer::default());
    let pages = pages::entries(Reader::new(page), Features::ours(), |entry| {
        let taken = manifest.push(entry.clone());
        taken.map_err(|_| Malformed("an entry that does not belong there"))?;
        pages::put_entry(&mut buffer, &entry);
        Ok(())
    });
    let items = page.get(1..).unwrap_or_default();
    assert!(items.starts_with(buffer.plaintext()));
    assert!(pages.is_err() || items == buffer.plaintext());

    let (mut folders, mut totals) = (HashSet::new(), Totals::default());
    for (index, entry) in manifest.entries().iter().enumerate() {
        let Entry { path, kind, mode, .. } = entry;
        assert_eq!(RelPath::from_bytes(path.as_bytes()), Ok(path.clone()));
        assert!(path.is_text() == RelPath::parse(&path.to_lossy()).is_ok_and(|it| it == *path));
        assert!(index == 0 || manifest.entries()[index - 1].path < *path);
        assert_eq!(manifest.find(path), Some(index));
        assert!(path.parent().is_none_or(|parent| folders.contains(parent)));
        assert!(!path.to_string().contains(char::is_control));
        assert!(*mode <= 0o7777);
        path.names().for_each(assert_plain);
        match kind {
            Kind::File(_) | Kind::Sparse { .. } => {
                totals.files += 1;
                totals.bytes += entry.size();
                assert!(entry.stored() <= entry.size());
            }
            Kind::Folder => {
                totals.folders += 1;
                assert!(folders.insert(path.as_bytes()));
            }
            Kind::Link(target) => {
                totals.links += 1;
                assert_inside(path, target);
            }
        }
    }
    assert_eq!(manifest.totals(), totals);
}

/// A name is one step down on every system.
fn assert_plain(name: &[u8]) {
    let is_plain = |name: &[u8]| {
        let Some(name) = native(name) else { return false };
        let mut parts = Path::new(name).components();
        matches!(parts.next(), Some(Component::Normal(part)) if part == name)
            && parts.next().is_none()
    };
    let mapped = windows_name(name);
    assert!(cfg!(windows) && mapped.is_some() || is_plain(name), "{name:?}");
    let text = as_text(name);
    // Text alone is no name on Windows.
    assert!(cfg!(windows) && mapped.is_some() || is_plain(text.as_bytes()), "{text:?}");
    assert!(is_text(text.as_bytes()), "{text:?}");
    assert!(text.as_bytes() == name || !is_text(name), "{text:?}");
    if let Some(mapped) = mapped {
        let again = windows_name(mapped.as_bytes());
        assert!(
            is_plain(mapped.as_bytes()) && is_text(mapped.as_bytes()) && again.is_none(),
            "{mapped:?}"
        );
        assert!(!mapped.contains(['<', '>', ':', '"', '|', '?', '*', '\\']), "{mapped:?}");
    }
}

/// Step by step, a link's target never leaves what is sent.
fn assert_inside(link: &RelPath, target: &target::Target) {
    assert!(!target.as_bytes().starts_with(b"/"), "{target:?}");
    assert!(!target.to_string().contains(char::is_control));
    let mut depth = link.names().count() - 1;
    for name in target.as_bytes().split(|byte| *byte == b'/') {
        depth = match name {
            b"" | b"." => Some(depth),
            b".." => depth.checked_sub(1),
            _ => Some(depth + 1),
        }
        .unwrap_or_else(|| panic!("{link:?} leads to {target:?}"));
    }
}

/// Which list, and a page of it: steps of the plan, files or blocks to send again, or results.
pub fn plan(input: &[u8]) {
    let Some((list, page)) = input.split_first() else { return };
    let mut buffer = Buffer::default();
    let pages = match list % 4 {
        0 => pages::plan(Reader::new(page), Features::ours(), |index, step| {
            pages::put_step(&mut buffer, (index, step));
            Ok(())
        }),
        1 => pages::indices(Reader::new(page), |index| {
            pages::put_index(&mut buffer, index);
            Ok(())
        }),
        3 => pages::repairs(Reader::new(page), |index, range| {
            assert!(range.bytes(1 << 23, u64::MAX) <= u64::from(range.count) << 23);
            pages::put_repair(&mut buffer, (index, range));
            Ok(())
        }),
        _ => pages::results(Reader::new(page), |index, fault| {
            assert!(!fault.words().is_empty());
            pages::put_result(&mut buffer, (index, fault));
            Ok(())
        }),
    };
    let items = page.get(1..).unwrap_or_default();
    assert!(items.starts_with(buffer.plaintext()));
    if let Ok(pages) = pages {
        assert_eq!(items, buffer.plaintext());
        assert_eq!(page[0], u8::from(pages == Pages::End));
    }
}

/// One of three: any codec, lengths and bytes; a Blosc2 chunk whose header is right; or content,
/// so many times, that is compressed here, unharmed and with one byte changed.
pub fn decompress(input: &[u8]) {
    let mut reader = Reader::new(input);
    let Ok(how) = reader.u8() else { return };
    match how % 3 {
        0 => {
            let (Ok(codec), Ok(len), Ok(limit)) = (reader.u8(), reader.u32(), reader.u32()) else {
                return;
            };
            // The length is the peer's, the limit is not.
            let limit = limit as usize % (2 * MAX_PLAINTEXT);
            unpack(codec, len as usize, limit, reader.rest());
        }
        1 => {
            let Some((chunk, len)) = blosc_chunk(reader) else { return };
            unpack(Codec::Blosc(Element::Two).wire_id(), len, MAX_PLAINTEXT, &chunk);
        }
        _ => {
            let (Ok([codec, times, change]), Ok(place)) = (reader.array(), reader.u32()) else {
                return;
            };
            let codec = CODECS[usize::from(codec) % CODECS.len()];
            // Blosc2 has several blocks only beyond 128 KiB.
            let most = MAX_PLAINTEXT / reader.rest().len().max(1);
            let raw = reader.rest().repeat(usize::from(times).min(most));
            let mut packed = b"before".to_vec();
            if !compress::compress(codec, &raw, &mut packed) {
                return assert_eq!(packed, b"before");
            }
            let packed = &mut packed[6..];
            assert!(packed.len() < raw.len());
            let back = unpack(codec.wire_id(), raw.len(), MAX_PLAINTEXT, packed);
            assert!(back.is_some_and(|back| back == raw));
            let place = place as usize % packed.len();
            packed[place] ^= change;
            unpack(codec.wire_id(), raw.len(), MAX_PLAINTEXT, packed);
        }
    }
}

/// Every codec.
pub const CODECS: [Codec; 4] = [
    Codec::Lz4,
    Codec::Blosc(Element::Two),
    Codec::Blosc(Element::Four),
    Codec::Blosc(Element::Eight),
];

/// Decompresses behind what is there already, which stays as it is.
fn unpack(codec: u8, len: usize, limit: usize, input: &[u8]) -> Option<Vec<u8>> {
    let mut output = b"before".to_vec();
    let done = compress::decompress(codec, len, limit, input, &mut output);
    assert!(output.starts_with(b"before"));
    let content = output.split_off(6);
    match done {
        Ok(()) => {
            assert!(content.len() == len && len <= limit);
            Some(content)
        }
        Err(error) => {
            assert_printable(&error);
            assert!(content.is_empty());
            // A length beyond the limit takes no memory at all.
            assert!(len <= limit || output.capacity() == 6);
            None
        }
    }
}

/// A chunk with a header as this program writes it, so that what follows comes before C-Blosc2,
/// and the length of its content: element size, split streams or not, lengths, then the streams.
fn blosc_chunk(mut from: Reader<'_>) -> Option<(Vec<u8>, usize)> {
    let element = 2 << (from.u8().ok()? % 3);
    let split = from.u8().ok()? % 2 * 0x10;
    let elements = from.u32().ok()? % (MAX_PLAINTEXT as u32 / element) + 1;
    let len = elements * element;
    let most = len.min(64 * 1024 * element) / element;
    let block = (from.u32().ok()? % most + 1) * element;
    let streams = from.rest();
    let mut chunk = vec![5, 1, 0x25 | split, element as u8];
    chunk.extend(len.to_le_bytes());
    chunk.extend(block.to_le_bytes());
    chunk.extend(u32::try_from(32 + streams.len()).ok()?.to_le_bytes());
    chunk.extend([0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    chunk.extend(streams);
    Some((chunk, len as usize))
}

/// What the locks here are read for.
pub fn offered() -> Manifest {
    let mut manifest = Manifest::default();
    for (path, kind) in [
        ("a", Kind::File(10)),
        ("d", Kind::Folder),
        ("d/b.txt", Kind::File(0)),
        ("d/l", Kind::Link("b.txt".into())),
        ("é", Kind::File(u64::MAX - 10)),
        ("é\r", Kind::Folder),
    ] {
        let path = RelPath::from_bytes(path.as_bytes()).expect("a good name");
        let entry = Entry { path, kind, mode: 0o644, mtime: -5 };
        manifest.push(entry).expect("a good entry");
    }
    manifest
}

/// A lock file: what it makes known is of entries that are offered, and its names are harmless.
pub fn lock(file: &[u8]) {
    let manifest = offered();
    let remembered = receive::lock::parse(file, &manifest);
    for (index, known) in &remembered.files {
        assert!(manifest.get(*index).is_some());
        assert!(known.completed || known.hash.is_none());
    }
    for (index, place) in remembered.places.iter() {
        assert!(manifest.get(index).is_some());
        assert_eq!(RelPath::from_bytes(place.as_bytes()), Ok(place.clone()));
        place.names().for_each(assert_plain);
    }
    assert!(remembered.made.iter().all(|index| manifest.get(*index).is_some()));
}

/// What `tailscale` prints: every address leads to a peer, and all of it can be shown.
pub fn status(json: &[u8]) {
    match parse_whois(json) {
        Ok(peer) => assert_shown(&peer.to_string()),
        Err(error) => assert_printable(&error),
    }
    let status = match Status::parse(json) {
        Ok(status) => status,
        Err(error) => return assert_printable(&error),
    };
    if let Err(error) = status.require_running() {
        assert_printable(&error);
    }
    let own = status.own();
    assert_shown(&own.to_string());
    for address in &own.addresses {
        assert_eq!(status.peer(*address), Some(own));
    }
    for name in [&own.dns_name, &own.host_name] {
        match status.resolve(name) {
            // A final dot is taken for that of a full name, and is not looked for.
            Ok(None) => {
                assert!(name.is_empty() || name.ends_with('.') || own.addresses.is_empty());
            }
            Ok(Some(address)) => {
                let peer = status.peer(address).expect("an address of somebody");
                assert_shown(&peer.to_string());
            }
            Err(error) => assert_printable(&error),
        }
    }
}

/// What a person types: a ticket or token that is read is shown in a form that reads the same.
pub fn ticket(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    match Ticket::parse(text) {
        Ok(ticket) => {
            let shown = ticket.to_string();
            assert_shown(&shown);
            assert_eq!(Ticket::parse(&shown), Ok(ticket.clone()));
            assert!(ticket.port != 0);
            if let Host::Name(name) = &ticket.host {
                assert!(name.parse::<std::net::IpAddr>().is_err());
            }
        }
        Err(error) => assert_printable(&error),
    }
    if text.contains(':') {
        // No word of a token; finding that out is slow.
        return;
    }
    match Token::parse(text) {
        Ok(token) => assert_eq!(Token::parse(&token.to_string()), Ok(token)),
        Err(error) => assert_printable(&error),
    }
}

/// Nothing in it can steer a terminal.
fn assert_shown(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
}

fn assert_printable(error: &Error) {
    assert_shown(&error.message);
    assert_shown(error.hint.as_deref().unwrap_or_default());
}

/// The TXT record of an announced server: what is taken of it is safe to show, and announced anew it
/// is read as the same.
pub fn txt(record: &[u8]) {
    let Some(txt) = Txt::read(record) else { return };
    if let Some(words) = &txt.words {
        assert_shown(words);
    }
    let mut again = Vec::new();
    for (key, value) in txt.pairs() {
        let text = format!("{key}={value}");
        again.push(u8::try_from(text.len()).expect("a string of a record"));
        again.extend(text.bytes());
    }
    assert_eq!(Txt::read(&again), Some(txt));
}
