//! The worked example of `docs/protocol.md`, computed anew in three ways: through the library's
//! parts, from the text's formulas without them, and by both engines talking to each other. The
//! numbers stand here and in the text, so that neither can drift from the other.

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use rand::{TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};
use spake2::{Ed25519Group as Curve, Group};
use transfer::compress::decompress;
use transfer::crypto::handshake::{Start, Verdict};
use transfer::crypto::keys::{Role, SessionKeys};
use transfer::crypto::record::{Buffer, RecordWriter};
use transfer::files::manifest::{Entry, Kind};
use transfer::files::path::RelPath;
use transfer::protocol::message::{
    Complete, Control, DATA, ENTRIES, Message, Offer, PLAN, RESULTS, Reason,
};
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

fn handshake() -> (Listing, SessionKeys, SessionKeys) {
    let token = Token::parse(TOKEN).unwrap();
    let sender = Start::new(Role::Sender, &token, &mut Counting(SENDER_RANDOM));
    let receiver = Start::new(Role::Receiver, &token, &mut Counting(RECEIVER_RANDOM));
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

/// What each side says, in its order; the names are those of the records in the text.
fn sender_says() -> Listing {
    let bytes = CONTENT.len() as u64;
    let offer = Offer { files: 1, folders: 1, bytes, ..Offer::default() };
    vec![
        ("plaintext S0", control(&Control::Offer(offer))),
        ("plaintext S1", page(ENTRIES, entries().iter().collect(), pages::put_entry)),
        ("plaintext S2", items()),
        ("plaintext S3", control(&Control::Done)),
        ("plaintext S4", control(&Control::Bye)),
    ]
}

fn receiver_says() -> Listing {
    vec![
        ("plaintext R0", page(PLAN, vec![], pages::put_step)),
        ("plaintext R1", page(RESULTS, vec![], pages::put_result)),
        ("plaintext R2", control(&Control::Complete(Complete { files: 1, failed: 0 }))),
    ]
}

const SENDER_RECORDS: [&str; 5] = ["record S0", "record S1", "record S2", "record S3", "record S4"];
const RECEIVER_RECORDS: [&str; 3] = ["record R0", "record R1", "record R2"];

#[test]
fn the_library_agrees() {
    let (mut listing, sender, receiver) = handshake();
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
    let sender_hello = [b"TRANSFER\0\x01A", &point(&big_x)[..]].concat();
    let sender_hello = [&sender_hello[..10], &big_a, &sender_hello[10..]].concat();
    let receiver_hello = [b"TRANSFER\0\x01", &big_b[..], b"B", &point(&big_y)].concat();
    let transcript = sha256(&[&sender_hello, &receiver_hello]);
    let (prk, hkdf) =
        Hkdf::<Sha256>::extract(Some(TOKEN.as_bytes()), &[&shared[..], &pake].concat());
    let expand = |label: &str, len: usize| {
        let mut okm = vec![0; len];
        let info = [b"transfer v1", &transcript[..], label.as_bytes()].concat();
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
            let payload = Payload { msg: plaintext, aad: &header };
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
    let resume = pages::Step::Resume { offset: 5, hash: Sha256::digest(&CONTENT[..5]).into() };
    let mut failed = Buffer::default();
    failed.extend(&[DATA]);
    data::put_failed(&mut failed, 1, pages::Fault::Changed);
    let refuse = Control::Refuse(Reason::NoSpace { needed: 2, free: 1 });
    assert_pinned(&vec![
        ("example of a link", page(ENTRIES, vec![&link], pages::put_entry)),
        (
            "example of a plan",
            page(PLAN, vec![(1, pages::Step::Skip), (4, resume)], pages::put_step),
        ),
        ("example of a fault", failed.plaintext().to_vec()),
        ("example of results", page(RESULTS, vec![(1, pages::Fault::Changed)], pages::put_result)),
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
    use transfer::protocol::session::{Limits, Session};
    use transfer::receive::assembler;
    use transfer::receive::files::await_offer;
    use transfer::receive::lock::{Head, Remembered, TransferLockManager};
    use transfer::receive::plan::{OnConflict, Plan, Survey};
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

    fn session(stream: UnixStream, keys: SessionKeys, peer: Role) -> (Session, Tap) {
        let tap = Tap(Arc::new(stream.try_clone().unwrap()), Arc::default());
        let halves = (stream, tap.clone());
        (Session::start(halves, keys, peer, Limits::default()).unwrap(), tap)
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

    let (_, sender, receiver) = handshake();
    let (here, there) = UnixStream::pair().unwrap();
    let (sender, sent) = session(here, sender, Role::Receiver);
    let (receiver, answered) = session(there, receiver, Role::Sender);
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
    let offered = await_offer(receiver, None).unwrap();
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
    ("example of a plan", "0301000000010000000004010000000000000005185f8db32271fe25f561a6fc938b2e264306ec304eda518007d1764826381969"),
    ("example of a fault", "04040000000103"),
    ("example of packed zeros", "0501000000401f0001002660000000000000"),
    ("example of a Blosc chunk", "050200000041050135024000000040000000280000000000000000010100000000000000000024000000000000002a"),
    ("example of a run", "050200000040050135024000000040000000290000000000000000010100000000000000000024000000f9ffffff01"),
    ("example of a special chunk", "0502000000400501350240000000400000002000000000000000000101000000000000000010"),
    ("example of results", "07010000000103"),
    ("w", "f006a2eaeb1a74ad28137e1be55c5f862bf7402159f04bc4af5e08c7dd431609"),
    ("x", "2b6bae18dfc7295037b4cb2e74cacda07ab570616d01e5ee9453154e4e179100"),
    ("y", "c9cdca2bcef518c07e3111f9b1462a1afe05e2d7d7822cc07e1e93b3f5300a0d"),
    ("sender's hello", "5452414e5346455200018f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f41b49e7abb00bcf1923f556abb22eda7c224d3fbe1101c229b83be4b374f0ffe9c"),
    ("receiver's hello", "5452414e534645520001493e82fc74464a59268817623d2053c5eb8e2cc4a988b4fee179ec6b010d531d42ec58d5e2ca2b8d539239b6b6623bea6043a9fba616131a1b0e24e3a0371b2b57"),
    ("X25519 shared secret", "74b43a90417395b74f29f89461d912822d9e7c2e60a899d47504fe4a367fb47f"),
    ("K", "088e1976e245403f97cb798eede76bb6b19239e87c211b1cbd3f8016202daea5"),
    ("SPAKE2 key", "7f0d4e1cbc5c3d7b2982b84f2b06c436dfe1ade1a84f6432a29f88b1584f0715"),
    ("transcript hash", "eaf5944c3e39186cce8b61699c21ab175e6301a6881201685cffab3c445c6dcc"),
    ("PRK", "197c6c5ac0dd1bc1eeb3ea632f0f404f5f82cecbdc286fe3eca3f9c667865b32"),
    ("key from sender to receiver", "5a64dd817d334b660225b6856a2e30ce2870ab82826ed48da81336a86eb67896"),
    ("key from receiver to sender", "a3c1eeafe7e86f3a4cb205f7b966c62e676a351c5b95a10af51eecff68e42b3a"),
    ("key by which the receiver confirms", "85d354afc2853ffb2eda4d73203b830f6eedd4f451410cfe64b25a5b4a0f0614"),
    ("key by which the sender confirms", "7336d0bffdec3e362a56e15ee32e8f136c4c62a715b6c39375c55e6a624c511b"),
    ("session id", "5a06066c0acfaebd9180127931997495"),
    ("confirmation", "303132333435363738396162636465669f8431ad848b3dbe477edef861c671fdcdaff2e8414392c86bd8eda62f7ae0c8"),
    ("answer", "0000c862e70a868d2fffd3b6c64b2da56879271aa5ace259dc0c6ef9c8b8ef4e16e1"),
    ("plaintext S0", "017b2274797065223a226f66666572222c2266696c6573223a312c22666f6c64657273223a312c226c696e6b73223a302c226279746573223a31342c22756e73656e74223a302c22756e73656e745f6e616d6573223a5b5d7d"),
    ("record S0", "00000069c4e34c803450348a6a1117d41594a79aa67f6208e1f3f4e8a90f6776622a5fd9d45eab3cc38edd7eae55cd2ea77aaa90a0d0bc0e1455605ae9557bda31afde154bc1bd565658a39b5d7bd2c1eeb48e10037ba7e2e6517ec0ccfd0f7cbfd8a49c684eaf45afed7a4803"),
    ("plaintext S1", "02010101ed1886caf2450d67f20005656d7074790001a41886caf2450d67f2000000000000000e000968656c6c6f2e747874"),
    ("record S1", "000000429dffc939b60b649208ed375eff04644ae526d4785ffbe2e22bcf017a9aef602c8a1caa2613863353868e1647600372bdd7e9d306a2ee168fe338db91001da8e44c31"),
    ("plaintext R0", "0301"),
    ("record R0", "000000129f897ec0bb9fd033d1a05c6dd51ec27be467"),
    ("plaintext S2", "0401000000010000000000000000020000000e48656c6c6f2c20776f726c64210a03000000000000000ed9014c4624844aa5bac314773d6b689ad467fa4e1d1a50a1b8a99d5a95f72ff5"),
    ("record S2", "0000005ad6000ba965130b22a30545500a86be5ae5f54f32649cf8c6c511ad7a3e05ac200304b7be7f87d816367978dc4cbcaf1d8c74757d1d8d5b224b5074ee8c67dd1d95efc93cc209b57c2cca8c256c68d98f90db957987d1b608dc0a"),
    ("plaintext S3", "017b2274797065223a22646f6e65227d"),
    ("record S3", "000000205e8c800281573182e13c3d54731f882abf678661063a53bce710b5873a68e00a"),
    ("plaintext R1", "0701"),
    ("record R1", "0000001292e495da187b34bc575e2c58985800e55542"),
    ("plaintext R2", "017b2274797065223a22636f6d706c657465222c2266696c6573223a312c226661696c6564223a307d"),
    ("record R2", "8000003996cea77b833efb89bb6b8299bfbf2f718c25bbfcca636e49e7ca45b07adf7f1921897d8796688b076d09d2608210d9b69042605079df4767e3"),
    ("plaintext S4", "017b2274797065223a22627965227d"),
    ("record S4", "8000001f0282f8ee4252a39c4365baa71c4f35c4fb63a36deef370774564172c94a75c"),
];
