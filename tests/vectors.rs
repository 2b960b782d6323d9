//! The worked example of `docs/protocol.md`, computed anew in three ways: through the library's
//! parts, from the text's formulas without them, and by both engines talking to each other. The
//! numbers stand here and in the text, so that neither can drift from the other.

#![cfg_attr(not(target_os = "linux"), allow(unused, reason = "some tests are for Linux alone"))]

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use rand::{TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};
use spake2::{Ed25519Group as Curve, Group};
use transfer::compress::decompress;
use transfer::crypto::handshake::{Binding, Start, Verdict};
use transfer::crypto::keys::{Role, SessionKeys};
use transfer::crypto::record::{Buffer, RecordWriter};
use transfer::files::manifest::{Entry, Kind};
use transfer::files::path::RelPath;
use transfer::files::sparse::SparseHash;
use transfer::files::states::Blocks;
use transfer::protocol::fault::Fault;
use transfer::protocol::message::{
    Complete, Control, DATA, ENTRIES, Message, Offer, PLAN, REPAIR, RESULTS, Ready,
};
use transfer::protocol::reason::Reason;
use transfer::protocol::{data, pages};
use transfer::token::Token;

const DOC: &str = include_str!("../docs/protocol.md");

const TOKEN: &str = "ocean-tiger";
const CONTENT: &[u8] = b"Hello, world!\n";
/// 2026-01-02 03:04:05.678901234 UTC.
const MTIME: i64 = 1_767_323_045_678_901_234;

/// Name and value of each line of the example.
type Listing = Vec<(&'static str, Vec<u8>)>;

/// Yields n, n + 1, n + 2…, in place of randomness.
struct Counting(u8);

impl TryRng for Counting {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        for byte in bytes {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
        Ok(())
    }
}

impl TryCryptoRng for Counting {}

const SENDER_RANDOM: u8 = 0x00;
const RECEIVER_RANDOM: u8 = 0x80;
/// What the sides can do.
const SENDER_CAN: [&str; 2] = ["lz4", "blosc"];
const RECEIVER_CAN: [&str; 1] = ["lz4"];
/// What a channel exports: e0, e1 … ff.
fn exporter() -> [u8; 32] {
    std::array::from_fn(|at| 0xe0 + at as u8)
}

const RECEIVER_ID: [u8; 16] = *b"0123456789abcdef";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().as_chunks::<2>().0.iter();
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn pinned(name: &str) -> Vec<u8> {
    unhex(PINNED.iter().find(|(known, _)| *known == name).expect(name).1)
}

/// Fails with the whole listing, in the form in which [`PINNED`] and the text have it.
fn assert_pinned(listing: &Listing) {
    let text = |lines: &[(&str, String)]| -> String {
        lines.iter().map(|(name, hex)| format!("{name} =\n  {hex}\n")).collect()
    };
    let ours: Vec<_> = listing.iter().map(|(name, value)| (*name, hex(value))).collect();
    let find = |name: &str| PINNED.iter().find(|(known, _)| *known == name).map(|(_, hex)| *hex);
    let theirs: Vec<_> = listing
        .iter()
        .map(|(name, _)| (*name, find(name).unwrap_or_default().to_owned()))
        .collect();
    assert!(ours == theirs, "computed:\n{}\npinned:\n{}", text(&ours), text(&theirs));
}

fn handshake(binding: Binding) -> (Listing, SessionKeys, SessionKeys) {
    let token = Token::parse(TOKEN).unwrap();
    let sender = Start::new(Role::Sender, &token, binding, &mut Counting(SENDER_RANDOM));
    let receiver = Start::new(Role::Receiver, &token, binding, &mut Counting(RECEIVER_RANDOM));
    let (to_receiver, to_sender) = (*sender.hello(), *receiver.hello());
    let (await_answer, confirm) = receiver.prove(&to_receiver, &RECEIVER_ID).ok().unwrap();
    let proven = sender.await_proof(&to_sender).ok().unwrap().check(&confirm).ok().unwrap();
    assert_eq!(proven.receiver(), RECEIVER_ID);
    let (answer, sender) = proven.answer(Verdict::Welcome);
    let receiver = await_answer.check(&answer).ok().unwrap();
    assert_eq!(sender.session_id, receiver.session_id);
    let listing = vec![
        ("sender's hello", to_receiver.to_vec()),
        ("receiver's hello", to_sender.to_vec()),
        ("confirmation", confirm.to_vec()),
        ("answer", answer.to_vec()),
        ("session id", sender.session_id.to_vec()),
    ];
    (listing, sender, receiver)
}

fn entries() -> [Entry; 2] {
    let entry = |path, kind, mode| {
        let path = RelPath::parse(path).unwrap();
        Entry { path, kind, mode, mtime: MTIME }
    };
    [
        entry("empty", Kind::Folder, 0o755),
        entry("hello.txt", Kind::File(CONTENT.len() as u64), 0o644),
    ]
}

fn control(control: &Control) -> Vec<u8> {
    let mut buffer = Buffer::default();
    control.encode(&mut buffer).unwrap();
    buffer.plaintext().to_vec()
}

fn page<T>(kind: u8, items: Vec<T>, encode: impl FnMut(&mut Buffer, T)) -> Vec<u8> {
    let (mut page, mut buffer) = (Vec::new(), Buffer::default());
    pages::write(kind, 1 << 20, &mut buffer, items, encode, |buffer| -> Result<(), ()> {
        page.extend(buffer.plaintext());
        Ok(())
    })
    .unwrap();
    page
}

fn items() -> Vec<u8> {
    let mut buffer = Buffer::default();
    buffer.extend(&[DATA]);
    data::put_start(&mut buffer, 1, 0);
    data::put_bytes(&mut buffer, CONTENT.len() as u32, |room| -> Result<(), ()> {
        room.copy_from_slice(CONTENT);
        Ok(())
    })
    .unwrap();
    data::put_end(&mut buffer, CONTENT.len() as u64, &Sha256::digest(CONTENT).into());
    buffer.plaintext().to_vec()
}

/// A hole, then content, of a file with holes, whose hash is made by the words of the text.
fn sparse_items(hole: u64, size: u64) -> Vec<u8> {
    let mut buffer = Buffer::default();
    buffer.extend(&[DATA]);
    data::put_start(&mut buffer, 1, 0);
    data::put_hole(&mut buffer, hole);
    data::put_bytes(&mut buffer, CONTENT.len() as u32, |room| -> Result<(), ()> {
        room.copy_from_slice(CONTENT);
        Ok(())
    })
    .unwrap();
    let hash = sha256(&[&3u64.to_be_bytes(), &[0; 56], CONTENT, &size.to_be_bytes()]);
    let mut ours = SparseHash::default();
    ours.skip(hole);
    ours.update(CONTENT);
    assert_eq!(ours.finish(), hash);
    data::put_end(&mut buffer, size, &hash);
    buffer.plaintext().to_vec()
}

/// What each side says, in its order; the names are those of the records in the text.
fn sender_says() -> Listing {
    let bytes = CONTENT.len() as u64;
    let features = SENDER_CAN.map(str::to_owned).into();
    let offer = Offer { files: 1, folders: 1, bytes, features, ..Offer::default() };
    vec![
        ("plaintext S0", control(&Control::Offer(offer))),
        ("plaintext S1", page(ENTRIES, entries().iter().collect(), pages::put_entry)),
        ("plaintext S2", items()),
        ("plaintext S3", control(&Control::Done)),
        ("plaintext S4", control(&Control::Bye)),
    ]
}

fn receiver_says() -> Listing {
    let ready = Ready { features: RECEIVER_CAN.map(str::to_owned).into() };
    vec![
        ("plaintext R0", control(&Control::Ready(ready))),
        ("plaintext R1", page(PLAN, vec![], pages::put_step)),
        ("plaintext R2", page(RESULTS, vec![], pages::put_result)),
        ("plaintext R3", control(&Control::Complete(Complete { files: 1, failed: 0 }))),
    ]
}

const SENDER_RECORDS: [&str; 5] = ["record S0", "record S1", "record S2", "record S3", "record S4"];
const RECEIVER_RECORDS: [&str; 4] = ["record R0", "record R1", "record R2", "record R3"];

#[test]
fn the_library_agrees() {
    let (mut listing, sender, receiver) = handshake(Binding::None);
    for (says, names, seal) in [
        (sender_says(), &SENDER_RECORDS[..], sender.seal),
        (receiver_says(), &RECEIVER_RECORDS[..], receiver.seal),
    ] {
        let mut stream = Vec::new();
        let mut writer = RecordWriter::new(&mut stream, seal);
        let mut lengths = Vec::new();
        for (n, (_, plaintext)) in says.iter().enumerate() {
            let mut buffer = Buffer::default();
            buffer.extend(plaintext);
            if n + 1 < says.len() {
                writer.write(&mut buffer).unwrap();
            } else {
                writer.write_last(&mut buffer).unwrap();
            }
            lengths.push(4 + plaintext.len() + 16);
        }
        let mut rest = &stream[..];
        for (((name, plaintext), record), length) in says.into_iter().zip(names).zip(lengths) {
            listing.push((name, plaintext));
            listing.push((*record, rest[..length].to_vec()));
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
    }
    assert_pinned(&listing);
}

#[test]
fn a_binding_changes_what_is_proved() {
    let (listing, ..) = handshake(Binding::Exporter(exporter()));
    let bound = listing.into_iter().filter_map(|(name, value)| {
        let name = match name {
            "session id" => "session id in the channel",
            "confirmation" => "confirmation in the channel",
            "answer" => "answer in the channel",
            // The hellos are the same.
            _ => return None,
        };
        Some((name, value))
    });
    assert_pinned(&bound.collect());
}

type Scalar = <Curve as Group>::Scalar;

/// `SHA-256` of the parts, one behind the other.
fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// Steps 1 to 6 and the records from the text alone.
#[test]
fn the_formulas_agree() {
    let random = |first: u8| -> ([u8; 32], [u8; 64]) {
        let bytes: Vec<u8> = (0..96).map(|n| first + n).collect();
        (bytes[..32].try_into().unwrap(), bytes[32..].try_into().unwrap())
    };
    let ((a, x_bytes), (b, y_bytes)) = (random(SENDER_RANDOM), random(RECEIVER_RANDOM));

    // SPAKE2
    let mut okm = [0; 48];
    Hkdf::<Sha256>::new(Some(b""), TOKEN.as_bytes()).expand(b"SPAKE2 pw", &mut okm).unwrap();
    let mut wide = [0; 64];
    wide[..48].copy_from_slice(&okm);
    wide[..48].reverse();
    let w = Scalar::from_bytes_mod_order_wide(&wide);
    let x = Scalar::from_bytes_mod_order_wide(&x_bytes);
    let y = Scalar::from_bytes_mod_order_wide(&y_bytes);
    let (m, n) = (Curve::const_m(), Curve::const_n());
    let point = Curve::element_to_bytes;
    let big_x = Curve::basepoint_mult(&x) + m * w;
    let big_y = Curve::basepoint_mult(&y) + n * w;
    let k = (big_y - n * w) * x;
    assert_eq!(k, (big_x - m * w) * y);
    let pake = sha256(&[
        &sha256(&[TOKEN.as_bytes()]),
        &sha256(&[b"transfer sender"]),
        &sha256(&[b"transfer receiver"]),
        &point(&big_x),
        &point(&big_y),
        &point(&k),
    ]);

    // X25519
    let base = x25519_dalek::X25519_BASEPOINT_BYTES;
    let (big_a, big_b) = (x25519_dalek::x25519(a, base), x25519_dalek::x25519(b, base));
    let shared = x25519_dalek::x25519(a, big_b);
    assert_eq!(shared, x25519_dalek::x25519(b, big_a));

    // Hellos and keys
    let sender_hello = [b"TRANSFER\0\x02A", &point(&big_x)[..]].concat();
    let sender_hello = [&sender_hello[..10], &big_a, &sender_hello[10..]].concat();
    let receiver_hello = [b"TRANSFER\0\x02", &big_b[..], b"B", &point(&big_y)].concat();
    let transcript = sha256(&[&sender_hello, &receiver_hello]);
    let (prk, hkdf) =
        Hkdf::<Sha256>::extract(Some(TOKEN.as_bytes()), &[&shared[..], &pake].concat());
    let expand = |label: &str, len: usize| {
        let mut okm = vec![0; len];
        let info = [b"transfer v2", &transcript[..], label.as_bytes()].concat();
        hkdf.expand(&info, &mut okm).unwrap();
        okm
    };
    let to_receiver = expand("sender to receiver", 32);
    let to_sender = expand("receiver to sender", 32);
    let receiver_confirms = expand("receiver confirms", 32);
    let sender_confirms = expand("sender confirms", 32);
    let receiver_proof = hmac(&receiver_confirms, &[&transcript, &RECEIVER_ID]);
    let sender_proof = hmac(&sender_confirms, &[&transcript, &[0]]);
    let listing = vec![
        ("M", point(&m)),
        ("N", point(&n)),
        ("w", w.to_bytes().to_vec()),
        ("x", x.to_bytes().to_vec()),
        ("y", y.to_bytes().to_vec()),
        ("K", point(&k)),
        ("SPAKE2 key", pake.to_vec()),
        ("X25519 shared secret", shared.to_vec()),
        ("sender's hello", sender_hello),
        ("receiver's hello", receiver_hello),
        ("transcript hash", transcript.to_vec()),
        ("PRK", prk.to_vec()),
        ("key from sender to receiver", to_receiver.clone()),
        ("key from receiver to sender", to_sender.clone()),
        ("key by which the receiver confirms", receiver_confirms),
        ("key by which the sender confirms", sender_confirms),
        ("session id", expand("session id", 16)),
        ("confirmation", [&RECEIVER_ID[..], &receiver_proof].concat()),
        ("answer", [&[0, 0], &sender_proof[..]].concat()),
    ];
    assert_pinned(&listing);

    // Bound to a channel
    let transcript = sha256(&[&pinned("sender's hello"), &pinned("receiver's hello"), &exporter()]);
    let expand = |label: &str| {
        let mut okm = vec![0; if label == "session id" { 16 } else { 32 }];
        let info = [b"transfer v2", &transcript[..], label.as_bytes()].concat();
        hkdf.expand(&info, &mut okm).unwrap();
        okm
    };
    let receiver_proof = hmac(&expand("receiver confirms"), &[&transcript, &RECEIVER_ID]);
    let sender_proof = hmac(&expand("sender confirms"), &[&transcript, &[0]]);
    assert_pinned(&vec![
        ("transcript hash in the channel", transcript.to_vec()),
        ("session id in the channel", expand("session id")),
        ("confirmation in the channel", [&RECEIVER_ID[..], &receiver_proof].concat()),
        ("answer in the channel", [&[0, 0], &sender_proof[..]].concat()),
    ]);

    // Records
    for (key, says, records) in [
        (to_receiver, sender_says(), &SENDER_RECORDS[..]),
        (to_sender, receiver_says(), &RECEIVER_RECORDS[..]),
    ] {
        let cipher = ChaCha20Poly1305::new_from_slice(&key).unwrap();
        for (count, ((_, plaintext), name)) in says.iter().zip(records).enumerate() {
            let mark = if count + 1 == says.len() { 0x80 } else { 0 };
            let length = u32::try_from(plaintext.len() + 16).unwrap().to_be_bytes();
            let header = [length[0] | mark, length[1], length[2], length[3]];
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&(count as u64).to_le_bytes());
            let payload = Payload { msg: plaintext, aad: &[&header[..], &[0; 60]].concat() };
            let sealed = cipher.encrypt(&Nonce::from(nonce), payload).unwrap();
            assert_eq!(hex(&pinned(name)), hex(&[&header[..], &sealed].concat()), "{name}");
        }
    }
}

/// The text has every number of the example under its name, however it is wrapped.
#[test]
fn the_text_agrees() {
    let squeeze = |text: &str| -> String { text.split_whitespace().collect() };
    let text = squeeze(DOC);
    for (name, hex) in PINNED {
        let line = squeeze(&format!("{name} ={hex}"));
        assert!(text.contains(&line), "docs/protocol.md lacks or contradicts {name} = {hex}");
    }
}

/// The short examples that stand beside the definitions of the messages.
#[test]
fn the_short_examples_agree() {
    let mut link = entries()[0].clone();
    (link.path, link.kind) = (RelPath::parse("link").unwrap(), Kind::Link("empty".into()));
    // Three pages that are a hole, then the content of the other file.
    let (mut image, hole) = (entries()[1].clone(), 3 << 16);
    let size = hole + CONTENT.len() as u64;
    (image.path, image.kind) =
        (RelPath::parse("image").unwrap(), Kind::Sparse { size, stored: 4096 });
    let path = RelPath::from_bytes(b"caf\xe9").unwrap();
    let raw = Entry { path, ..entries()[0].clone() };
    let resume = pages::Step::Resume { offset: 5, hash: Sha256::digest(&CONTENT[..5]).into() };
    let mut failed = Buffer::default();
    failed.extend(&[DATA]);
    data::put_failed(&mut failed, 1, Fault::Changed);
    let range = |first, count| pages::Range { first, count };
    let repair = vec![(1, range(0, 1)), (1, range(5, 2))];
    let content: Vec<u8> = (0..64).collect();
    let mut hash = Blocks::new(64);
    hash.update(&content);
    let mut states = Buffer::default();
    states.extend(&[DATA]);
    data::put_start(&mut states, 1, 0);
    data::put_bytes(&mut states, 64, |room| -> Result<(), ()> {
        room.copy_from_slice(&content);
        Ok(())
    })
    .unwrap();
    data::put_state(&mut states, &hash.states()[0]);
    let refuse = Control::Refuse(Reason::NoSpace { needed: 2, free: 1 });
    assert_pinned(&vec![
        ("example of a link", page(ENTRIES, vec![&link], pages::put_entry)),
        ("example of a name of bytes", page(ENTRIES, vec![&raw], pages::put_entry)),
        ("example of a file with holes", page(ENTRIES, vec![&image], pages::put_entry)),
        ("example of a hole", sparse_items(hole, size)),
        (
            "example of a plan",
            page(PLAN, vec![(1, pages::Step::Skip), (4, resume)], pages::put_step),
        ),
        ("example of states", states.plaintext().to_vec()),
        ("example of a repair", page(REPAIR, repair, pages::put_repair)),
        ("example of a fault", failed.plaintext().to_vec()),
        ("example of results", page(RESULTS, vec![(1, Fault::Changed)], pages::put_result)),
        ("example of a refusal", control(&refuse)),
    ]);
    // Other encoders may shrink them otherwise; what counts is what becomes of them.
    let (zeros, mut odd) = (vec![0; 64], vec![0; 65]);
    odd[64] = 0x2a;
    for (name, expected) in [
        ("example of packed zeros", zeros.clone()),
        ("example of a Blosc chunk", odd),
        ("example of a run", vec![7; 64]),
        ("example of a special chunk", zeros),
    ] {
        let packed = pinned(name);
        let Ok(Message::Packed { codec, len, packed }) = Message::decode(&packed) else {
            panic!("{name}");
        };
        let mut items = Vec::new();
        decompress(codec, len as usize, 1 << 20, packed, &mut items).unwrap();
        assert_eq!(items, expected, "{name}");
    }
}

/// Both engines, over a socket that is listened to, say the example byte for byte.
#[cfg(unix)]
#[test]
fn the_engines_agree() {
    use std::fs;
    use std::io::{self, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;
    use std::sync::{Arc, Mutex};
    use std::thread;

    use filetime::{FileTime, set_file_mtime};
    use std::collections::BTreeMap;
    use transfer::compress::Compression;
    use transfer::files::root::Root;
    use transfer::files::select::Filters;
    use transfer::files::walk::{Developer, Walk, WalkOptions};
    use transfer::protocol::features::Features;
    use transfer::protocol::session::{Limits, Session};
    use transfer::receive::allowance::Unbounded;
    use transfer::receive::assembler;
    use transfer::receive::files::{Modes, await_offer};
    use transfer::receive::lock::{Head, Remembered, TransferLockManager};
    use transfer::receive::plan::{OnConflict, Plan};
    use transfer::receive::survey::Survey;
    use transfer::send::content::StreamOptions;
    use transfer::send::files::send_over;
    use uuid::Uuid;

    #[derive(Clone)]
    struct Tap(Arc<UnixStream>, Arc<Mutex<Vec<u8>>>);

    impl Write for Tap {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let written = (&*self.0).write(bytes)?;
            self.1.lock().unwrap().extend(&bytes[..written]);
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn session(
        stream: UnixStream,
        keys: SessionKeys,
        peer: Role,
        features: &[&str],
    ) -> (Session, Tap) {
        let features: Vec<String> = features.iter().map(|name| (*name).to_owned()).collect();
        let limits = Limits { features: Features::named(&features), ..Limits::default() };
        let tap = Tap(Arc::new(stream.try_clone().unwrap()), Arc::default());
        let halves = (stream, tap.clone());
        (Session::start(halves, keys, peer, limits).unwrap(), tap)
    }

    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let paths = [from.path().join("empty"), from.path().join("hello.txt")];
    fs::create_dir(&paths[0]).unwrap();
    fs::write(&paths[1], CONTENT).unwrap();
    for (path, mode) in paths.iter().zip([0o755, 0o644]) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let (seconds, nanos) = (MTIME / 1_000_000_000, MTIME % 1_000_000_000);
        set_file_mtime(path, FileTime::from_unix_time(seconds, nanos as u32)).unwrap();
    }

    let (_, sender, receiver) = handshake(Binding::None);
    let (here, there) = UnixStream::pair().unwrap();
    let (sender, sent) = session(here, sender, Role::Receiver, &SENDER_CAN);
    let (receiver, answered) = session(there, receiver, Role::Sender, &RECEIVER_CAN);
    let sending = thread::spawn(move || {
        let walk = WalkOptions { follow_symlinks: false, developer: Developer::Include };
        let source = std::sync::Arc::new(Walk::new(&paths, &Filters::default()).unwrap().run(walk));
        let options = StreamOptions {
            follow_symlinks: false,
            compression: Compression::Auto,
            each_file: false,
        };
        send_over(sender, &source, options, &mut |_| {}).unwrap();
    });
    let mut root = Root::open(to.path()).unwrap();
    let offered = await_offer(receiver, None, Modes::default()).unwrap();
    let mut lock = TransferLockManager::acquire(&mut root).unwrap();
    let survey = Survey::new(offered.manifest(), &Remembered::default(), &mut root);
    let plan = Plan::new(offered.manifest(), &survey, &OnConflict::Rename.into(), &mut root);
    let head = Head { session: Uuid::nil(), sender: "pipe".into(), files: 1, bytes: 0 };
    let made = plan.made(offered.manifest(), &Remembered::default());
    let start = assembler::Start {
        plan,
        resume: BTreeMap::new(),
        made,
        merge: true,
        older: BTreeMap::new(),
        lock: &mut lock,
        head,
        threads: 1,
        each_file: false,
        blocks: offered.blocks(),
        allowance: Box::new(Unbounded),
    };
    offered.accept(&mut root, start, &mut |_| {}).unwrap();
    sending.join().unwrap();

    assert_eq!(fs::read(to.path().join("hello.txt")).unwrap(), CONTENT);
    assert!(to.path().join("empty").is_dir());
    for (tap, names) in [(sent, &SENDER_RECORDS[..]), (answered, &RECEIVER_RECORDS[..])] {
        let expected: Vec<u8> = names.iter().flat_map(|name| pinned(name)).collect();
        assert_eq!(hex(&tap.1.lock().unwrap()), hex(&expected));
        let _ = tap.0.shutdown(std::net::Shutdown::Both);
    }
}

/// Name and hexadecimal value of every number of the example, in the order of the text.
#[rustfmt::skip]
const PINNED: &[(&str, &str)] = &[
    ("M", "15cfd18e385952982b6a8f8c7854963b58e34388c8e6dae891db756481a02312"),
    ("N", "f04f2e7eb734b2a8f8b472eaf9c3c632576ac64aea650b496a8a20ff00e583c3"),
    ("example of a refusal", "017b2274797065223a22726566757365222c22726561736f6e223a226e6f2d7370616365222c226e6565646564223a322c2266726565223a317d"),
    ("example of a link", "02010201ed1886caf2450d67f200046c696e6b0005656d707479"),
    ("example of a name of bytes", "02018101ed1886caf2450d67f20004636166e9"),
    ("example of a file with holes", "02010301a41886caf2450d67f2000000000003000e00000000000010000005696d616765"),
    ("example of a hole", "0401000000010000000000000000050000000000030000020000000e48656c6c6f2c20776f726c64210a03000000000003000ed6dcb852cfcfeb96243a2d07fb0ec774299415f794c2b8556069ab7b869123d7"),
    ("example of a plan", "0301000000010000000004010000000000000005185f8db32271fe25f561a6fc938b2e264306ec304eda518007d1764826381969"),
    ("example of states", "04010000000100000000000000000200000040000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f06fc99a2df88f42a7a7bb9d18033cdc6a20256755f9d5b9a5044a9cc315abe84a7"),
    ("example of a repair", "0801000000010000000000000001000000010000000500000002"),
    ("example of a fault", "04040000000103"),
    ("example of packed zeros", "0501000000401f0001002660000000000000"),
    ("example of a Blosc chunk", "050200000041050135024000000040000000280000000000000000010100000000000000000024000000000000002a"),
    ("example of a run", "050200000040050135024000000040000000290000000000000000010100000000000000000024000000f9ffffff01"),
    ("example of a special chunk", "0502000000400501350240000000400000002000000000000000000101000000000000000010"),
    ("example of results", "07010000000103"),
    ("w", "f006a2eaeb1a74ad28137e1be55c5f862bf7402159f04bc4af5e08c7dd431609"),
    ("x", "2b6bae18dfc7295037b4cb2e74cacda07ab570616d01e5ee9453154e4e179100"),
    ("y", "c9cdca2bcef518c07e3111f9b1462a1afe05e2d7d7822cc07e1e93b3f5300a0d"),
    ("sender's hello", "5452414e5346455200028f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f41b49e7abb00bcf1923f556abb22eda7c224d3fbe1101c229b83be4b374f0ffe9c"),
    ("receiver's hello", "5452414e534645520002493e82fc74464a59268817623d2053c5eb8e2cc4a988b4fee179ec6b010d531d42ec58d5e2ca2b8d539239b6b6623bea6043a9fba616131a1b0e24e3a0371b2b57"),
    ("X25519 shared secret", "74b43a90417395b74f29f89461d912822d9e7c2e60a899d47504fe4a367fb47f"),
    ("K", "088e1976e245403f97cb798eede76bb6b19239e87c211b1cbd3f8016202daea5"),
    ("SPAKE2 key", "7f0d4e1cbc5c3d7b2982b84f2b06c436dfe1ade1a84f6432a29f88b1584f0715"),
    ("transcript hash", "04fcd006247a8d7a17e10d5c982219357da8b5073da91fa9af6b306e9cae9da4"),
    ("PRK", "197c6c5ac0dd1bc1eeb3ea632f0f404f5f82cecbdc286fe3eca3f9c667865b32"),
    ("key from sender to receiver", "7b26800092ab38fc16a54632dbdf91bfc36158cd6805e2548da7b92b88f582b6"),
    ("key from receiver to sender", "618a56616c1a675538369145581aea897e65b041d3c0dabffa86d7bd51f1743e"),
    ("key by which the receiver confirms", "15eea979035eb0c47131822e26cfe9b00730ac70327b31dccdfd52f5dbf99633"),
    ("key by which the sender confirms", "b00b30bdee0e2a193f2c908f7a4e8ccd0bd4d99d09b573204e82138281fb0386"),
    ("session id", "f0190571c8e1cca2eb2c715cdaa44ce5"),
    ("confirmation", "30313233343536373839616263646566e14b6b4414eea7d9fbfa4fe6d70853f9b9099c61b35a7daab577c1945196b005"),
    ("answer", "000092f60ec775df61797d5fba2f6cc214042349073ef74a981b2c03e61a035afea1"),
    ("plaintext S0", "017b2274797065223a226f66666572222c2266696c6573223a312c22666f6c64657273223a312c226c696e6b73223a302c226279746573223a31342c22756e73656e74223a302c22756e73656e745f6e616d6573223a5b5d2c226665617475726573223a5b226c7a34222c22626c6f7363225d7d"),
    ("record S0", "00000084b36371a1438a1d4c7ac6078570bff448a5b801385043c983aae6e77093909a4070585b46a6724cf67341f3e2b155307d23c27aaa09ed34599a37fba3c171f9df408af0d89669bc88f944b2f78b1a82f57b03c739ca70302af57fad6b33120d9642545e0faf347aff1039f4fc80d69a41637317fa2ffa1f5702ab2b7723c4c7cdc8404e9c"),
    ("plaintext S1", "02010101ed1886caf2450d67f20005656d7074790001a41886caf2450d67f2000000000000000e000968656c6c6f2e747874"),
    ("record S1", "0000004242e68adb36dc576d7835c88f6ae2fc68a9f3915fe074848d5882351e9156c2acba4bcc5f968ed9e8dc3025bdf3f753a9ab0008ea4cf11bee2f383b22f5d4190abe87"),
    ("plaintext R0", "017b2274797065223a227265616479222c226665617475726573223a5b226c7a34225d7d"),
    ("record R0", "000000349ff929863f92f5d6b605cd2cbddd7b4128a42fa28d8722757ccfbb865f64b76cffb310993b4b232b241b9342215b4c98c0a34688"),
    ("plaintext S2", "0401000000010000000000000000020000000e48656c6c6f2c20776f726c64210a03000000000000000ed9014c4624844aa5bac314773d6b689ad467fa4e1d1a50a1b8a99d5a95f72ff5"),
    ("record S2", "0000005a2f08ce7aaaf853eb1c17e5ba78939192bf1cb534002a88568970ed135735e337336cb575a05145364c512bed34ddabc9d0a0378a7bd983d204420f417bd630d346e02a7e93046e0ff79c3276dc559b68ede07604ac750a5a05f6"),
    ("plaintext S3", "017b2274797065223a22646f6e65227d"),
    ("record S3", "00000020850ccecb1fda600f1d82fab2b0a809dc528b151f6216ccc4ce434dde2ff1844a"),
    ("plaintext R1", "0301"),
    ("record R1", "0000001207fce72cc7422fc5abc5ed1275dff3a5c419"),
    ("plaintext R2", "0701"),
    ("record R2", "0000001297b76c25d747c88a397c6b9e958ee882ba97"),
    ("plaintext S4", "017b2274797065223a22627965227d"),
    ("record S4", "8000001f861906b55dba6b7eca05c3cfd7aa434097099374d033e18b696fab16055477"),
    ("plaintext R3", "017b2274797065223a22636f6d706c657465222c2266696c6573223a312c226661696c6564223a307d"),
    ("record R3", "80000039a365dcefb83ebf6a6c65b66c2faef83ae31c97b08201f933205f104b0e9c0b2dcc7afbae7a1548732f193e726c45e0d54da621422412380703"),
    ("confirmation in the channel", "30313233343536373839616263646566f50cd8aef903d904225689c9f73e78db6489788218e5015f7cd7dbf68a92fdc5"),
    ("answer in the channel", "0000a7a6ccc272caf78ab51593221097b01206471bce7b7e80b7bb06beaaf1c5ea51"),
    ("session id in the channel", "97f2301c20fe746a39a2eb7d0e28aa7a"),
    ("transcript hash in the channel", "b74ae844f93179041501c41c1a8ea15193903bac8908032aad0aa8f2afd6faa0"),
];
