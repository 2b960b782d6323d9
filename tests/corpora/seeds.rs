//! Makes the seeds in `fuzz/corpus/`: what the program itself would write, and what an attacker
//! would. To be run by hand after a change of a format:
//!
//!     cargo test --test corpora -- --ignored
//!
//! Files that it does not make, such as what made a target crash once, it leaves alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use transfer::bounds::MAX_PLAINTEXT;
use transfer::compress::compress;
use transfer::crypto::handshake::{ANSWER_LEN, CONFIRM_LEN, Verdict, wrong_token};
use transfer::crypto::record::{Buffer, Follows};
use transfer::files::manifest::{Entry, Kind, Manifest};
use transfer::files::path::RelPath;
use transfer::files::root::Root;
use transfer::protocol::data::Item;
use transfer::protocol::fault::Fault;
use transfer::protocol::message::{
    Complete, Control, DATA, Offer, PACKED, Ready, UnsentName, Welcome,
};
use transfer::protocol::pages::{self, Range, Step};
use transfer::protocol::reader::Read;
use transfer::protocol::reason::Reason;
use transfer::receive::lock::{Head, Snapshot, TransferLockManager};
use transfer::receive::places::Places;
use transfer::trust::authority::Authority;
use transfer::trust::certificate::Id;
use transfer::trust::device::Device;
use transfer::trust::folder::Folder;
use transfer::trust::store::{Trusted, Via};

use super::targets::crypto::{seal, shake};
use super::targets::{CODECS, offered, put_item};

/// Name and bytes of each seed of a target.
type Seeds = Vec<(&'static str, Vec<u8>)>;

#[test]
#[ignore = "writes fuzz/corpus"]
fn write_seeds() {
    for (target, seeds) in [
        ("hello", hellos()),
        ("record", records()),
        ("message", messages()),
        ("entries", lists_of_entries()),
        ("plan", other_lists()),
        ("decompress", compressed()),
        ("lock", locks()),
        ("status", statuses()),
        ("ticket", tickets()),
        ("txt", records_of_servers()),
        ("trust", trusts()),
    ] {
        let corpus = super::fuzz("corpus").join(target);
        fs::create_dir_all(&corpus).unwrap();
        for (name, bytes) in seeds {
            fs::write(corpus.join(name), bytes).unwrap();
        }
    }
}

fn trusts() -> Seeds {
    let scratch = tempfile::tempdir().unwrap();
    let folder = Folder::new(scratch.path());
    let device = Device::load_or_make(&folder).unwrap();
    let ca = Authority::make(&folder, "home").unwrap();
    let mut trusted = Trusted::empty();
    trusted.pin("laptop", device.own.certificate(), Via::Pair).unwrap();
    trusted.add_ca(&ca.certificate).unwrap();
    trusted.remember("attic", Id([7; 32])).unwrap();
    trusted.remove(&Id([9; 32]).to_string()).unwrap();
    let text = trusted.to_json();
    let own = device.own.certificate();
    vec![
        ("list", text.clone().into_bytes()),
        ("newer", text.replace("\"v\": 1", "\"v\": 2").into_bytes()),
        ("nobody", Trusted::empty().to_json().into_bytes()),
        ("certificate", own.der.to_vec()),
        ("authority", ca.certificate.der.to_vec()),
        ("pem", (own.to_pem() + &ca.certificate.to_pem()).into_bytes()),
        ("request", device.request(&device.hosts()).unwrap().into_bytes()),
        (
            "locked",
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
                .into(),
        ),
    ]
}

fn hellos() -> Seeds {
    let (honest, ..) = shake(Verdict::Welcome);
    let (busy, ..) = shake(Verdict::Busy);
    let to_sender = |hello: &[u8]| [&[0], hello, &honest.confirm].concat();
    let to_receiver = |answer: &[u8]| [&[1], &honest.sender[..], answer].concat();
    let with = |place: usize, bytes: &[u8]| {
        let mut hello = honest.receiver;
        hello[place..place + bytes.len()].copy_from_slice(bytes);
        to_sender(&hello)
    };
    vec![
        ("receiver", to_sender(&honest.receiver)),
        ("welcome", to_receiver(&honest.answer)),
        ("busy", to_receiver(&busy.answer)),
        ("wrong-token", to_receiver(&wrong_token(2))),
        ("wrong-proof", [&[0], &honest.receiver[..], &[7; CONFIRM_LEN]].concat()),
        ("wrong-answer", to_receiver(&[0; ANSWER_LEN])),
        ("reflected", to_sender(&honest.sender)),
        ("other-version", with(8, &[0, 1])),
        ("later-version", with(8, &[0, 3])),
        ("small-order", with(10, &[0; 32])),
    ]
}

fn records() -> Seeds {
    let stream = |follows| {
        let (_, sender, _) = shake(Verdict::Welcome);
        seal([&b"one"[..], b"two and three", &[0; 300]], follows, sender.seal)
    };
    let arriving = |stream: &[u8]| [&[0], stream].concat();
    let header = |length: u32| arriving(&[&length.to_be_bytes()[..], b"too little"].concat());
    // Size of records, place, change, content.
    let altered =
        |place: u8, change: u8| [&[1, 9, 0, place, change], &b"0123456789".repeat(5)[..]].concat();
    vec![
        ("ended", arriving(&stream(Follows::Nothing))),
        ("cut-between-records", arriving(&stream(Follows::More))),
        ("longest", header(MAX_PLAINTEXT as u32 + 16)),
        ("too-long", header(MAX_PLAINTEXT as u32 + 17)),
        ("2-to-the-32", header(u32::MAX)),
        ("flipped-length", altered(33, 0x80)),
        ("flipped-content", altered(40, 1)),
        ("cut", altered(33, 0)),
    ]
}

fn control(control: &Control) -> Vec<u8> {
    let mut buffer = Buffer::default();
    control.encode(&mut buffer).unwrap();
    buffer.plaintext().to_vec()
}

fn messages() -> Seeds {
    let name = UnsentName { name: "pipe\u{1b}[2J".into(), why: "it is a pipe".into() };
    let offer = Offer {
        files: 1,
        folders: 2,
        links: 3,
        bytes: 1 << 40,
        unsent: 1,
        unsent_names: vec![name],
        ..Offer::default()
    };
    let features = ["lz4", "sparse", "of another day"].map(str::to_owned);
    let ready = Ready { features: features.into() };
    let welcome =
        Welcome { name: Some("attic\u{1b}[2J".into()), free: Some(1), ..Welcome::default() };
    let mut items = Buffer::default();
    items.extend(&[DATA]);
    for item in [
        Item::Start { index: 1, offset: 0 },
        Item::Bytes(b"Hello, world!\n"),
        Item::End { size: 14, hash: [9; 32] },
        Item::Failed { index: 4, fault: Fault::Changed },
        Item::Failed { index: 5, fault: Fault::UnknownSource(0xff) },
        Item::Start { index: 5, offset: 1 << 23 },
        Item::State([5; 32]),
        Item::Stop,
    ] {
        put_item(&mut items, &item);
    }
    let mut holes = Buffer::default();
    holes.extend(&[DATA]);
    for item in [
        Item::Start { index: 1, offset: 0 },
        Item::Hole(4096),
        Item::Hole(u64::MAX),
        Item::Bytes(b"x"),
        Item::End { size: 1 << 40, hash: [9; 32] },
    ] {
        put_item(&mut holes, &item);
    }
    let deep = ["\x01{\"x\":", &"[".repeat(500), &"]".repeat(500), ",\"type\":\"wait\"}"];
    vec![
        ("offer", control(&Control::Offer(offer))),
        ("complete", control(&Control::Complete(Complete { files: 5, failed: u64::MAX }))),
        ("quota", control(&Control::Refuse(Reason::Quota { needed: 2, left: 1 }))),
        ("no-space", control(&Control::Cancel(Reason::NoSpace { needed: 0, free: u64::MAX }))),
        ("later-reason", b"\x01{\"type\":\"cancel\",\"reason\":\"tired\",\"of\":[1e9]}".into()),
        ("as-a-list", b"\x01[\"offer\",1,2,3,4,5,[[\"name\",\"why\"]]]".into()),
        ("deep", deep.concat().into()),
        ("ready", control(&Control::Ready(ready))),
        ("welcome", control(&Control::Welcome(welcome))),
        ("note", b"\x80tea".into()),
        ("note-of-control", b"\x01{\"type\":\"note-tea\",\"x\":[{}]}".into()),
        ("note-in-a-list", b"\x01[\"note-tea\"]".into()),
        ("data", items.plaintext().to_vec()),
        ("holes", holes.plaintext().to_vec()),
        ("endless-bytes", b"\x04\x02\xff\xff\xff\xff".into()),
        ("packed", [&[PACKED, 1, 0xff, 0xff, 0xff, 0xff], &b"lz4"[..]].concat()),
    ]
}

/// A page without its first byte, as the readers get it.
fn page<T>(items: Vec<T>, encode: impl FnMut(&mut Buffer, T)) -> Vec<u8> {
    let (mut page, mut buffer) = (Vec::new(), Buffer::default());
    pages::write(0, 1 << 20, &mut buffer, items, encode, |buffer| -> Read<()> {
        page = buffer.plaintext()[1..].to_vec();
        Ok(())
    })
    .unwrap();
    page
}

/// A page of files of these names, honest or not.
fn files(names: &[&str]) -> Vec<u8> {
    let mut page = vec![1];
    for name in names {
        page.extend([0, 1, 0xa4]);
        page.extend([0; 16]);
        page.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
        page.extend(name.as_bytes());
    }
    page
}

fn lists_of_entries() -> Seeds {
    let tree = |list: Vec<(&[u8], Kind)>| {
        let entries = list.into_iter().map(|(path, kind)| {
            let path = RelPath::from_bytes(path).unwrap();
            Entry { path, kind, mode: 0o755, mtime: 1_767_323_045_678_901_234 }
        });
        let entries: Vec<Entry> = entries.collect();
        page(entries.iter().collect(), pages::put_entry)
    };
    let link = |target: &str| Kind::Link(target.into());
    vec![
        ("tree", {
            tree(vec![
                (b"d", Kind::Folder),
                (b"d/e", Kind::Folder),
                ("d/e/é日".as_bytes(), Kind::File(3)),
                (b"d/up", link("../f")),
                (b"d-x", Kind::File(u64::MAX - 3)),
                (b"f", link("d/e/./")),
            ])
        }),
        ("holes", tree(vec![(b"s", Kind::Sparse { size: 1 << 41, stored: 4096 })])),
        ("bytes", {
            tree(vec![
                (b"Icon\r", Kind::File(0)),
                (b"\xe9", Kind::Folder),
                (b"\xe9/l", Kind::Link(b"../Icon\r/\xff"[..].into())),
                (b"\xe9/\xc0\xaf", Kind::File(3)),
            ])
        }),
        ("bytes-without-need", {
            let mut page = files(&["a"]);
            page[1] = 0x80;
            page
        }),
        (
            "awkward",
            files(&["CON.txt", "a:b", "back\\slash", "dots...", "nul ", "\u{202e}gpj.exe"]),
        ),
        ("traversal", files(&["../etc/passwd"])),
        ("orphan", files(&["a", "a/b"])),
        ("twice", files(&["a", "a"])),
        ("control", files(&["a\u{1b}[2J\n"])),
        ("longest", files(&[&"n".repeat(255)])),
        ("link-out", tree(vec![(b"d", Kind::Folder), (b"d/l", link("../../x"))])),
        (
            "link-out-behind-a-name",
            tree(vec![(b"d", Kind::Folder), (b"d/l", link("x/../../../x"))]),
        ),
        ("endless-name", b"\x01\x01\x01\xed\0\0\0\0\0\0\0\0\xff\xff".into()),
    ]
}

fn other_lists() -> Seeds {
    let resume = Step::Resume { offset: 1 << 33, hash: [6; 32] };
    let range = |first, count| Range { first, count };
    let of = |list: u8, page: Vec<u8>| [&[list], &page[..]].concat();
    vec![
        ("plan", of(0, page(vec![(1, Step::Skip), (2, resume)], pages::put_step))),
        (
            "go-on",
            of(0, page(vec![(2, Step::GoOn { blocks: 1 << 31, state: [7; 32] })], pages::put_step)),
        ),
        (
            "repair",
            of(3, page(vec![(1, range(0, 1)), (1, range(u32::MAX, u32::MAX))], pages::put_repair)),
        ),
        ("retry", of(1, page(vec![1, 5, u32::MAX], pages::put_index))),
        ("results", {
            of(2, page(vec![(1, Fault::Vanished), (9, Fault::Kept)], pages::put_result))
        }),
        ("nothing", of(0, page(vec![], pages::put_step))),
        ("more-of-nothing", of(1, vec![0])),
    ]
}

/// A slowly rising series of 32-bit floats.
fn floats(count: u16) -> Vec<u8> {
    (0..count).flat_map(|n| (1e3 + f32::from(n) / 1e3).to_le_bytes()).collect()
}

fn compressed() -> Seeds {
    let text = b"let output = compress(input); ".repeat(20);
    let packed = |codec: usize, raw: &[u8]| {
        let mut packed = Vec::new();
        assert!(compress(CODECS[codec], raw, &mut packed));
        packed
    };
    let arriving = |codec: u8, len: u32, limit: u32, packed: &[u8]| {
        [&[0, codec], &len.to_be_bytes()[..], &limit.to_be_bytes(), packed].concat()
    };
    let (limit, zeros) = (MAX_PLAINTEXT as u32, vec![0; 1 << 20]);
    let lz4 = arriving(1, text.len() as u32, limit, &packed(0, &text));
    let blosc = arriving(2, 4000, limit, &packed(2, &floats(1000)));
    // Elements of four bytes, split streams; numbers of elements and of those in a block.
    let chunk = |elements: u32, block: u32| {
        let lengths = [elements - 1, block - 1].map(u32::to_be_bytes).concat();
        [&[1, 1, 1], &lengths[..], &packed(2, &floats(1000))[32..]].concat()
    };
    // Codec, repetitions, change, place.
    let changed = |codec, times, raw: &[u8]| [&[2, codec, times, 0x10, 0, 0, 0, 40], raw].concat();
    vec![
        ("lz4", lz4),
        ("blosc", blosc),
        ("bomb-lz4", arriving(1, 5000, limit, &packed(0, &zeros))),
        ("bomb-blosc", arriving(2, 1 << 20, 1000, &packed(2, &zeros))),
        ("2-to-the-32", arriving(1, u32::MAX, u32::MAX, b"x")),
        ("chunk", chunk(1000, 1000)),
        ("chunk-of-many-blocks", chunk(1000, 10)),
        ("round-text", changed(0, 1, &text)),
        ("round-floats", changed(2, 1, &floats(500))),
        ("round-blocks", changed(1, 80, &floats(500))),
    ]
}

/// What the program keeps of a transfer of [`offered`] in its second file.
fn locks() -> Seeds {
    let dir = tempfile::tempdir().unwrap();
    let mut root = Root::open(dir.path()).unwrap();
    let manifest: Manifest = offered();
    let head = Head {
        session: uuid::Uuid::from_bytes([7; 16]),
        sender: "100.64.0.1".into(),
        files: manifest.totals().files,
        bytes: manifest.totals().bytes,
    };
    let mut places = Places::default();
    places.insert(4, manifest.get(4).unwrap(), RelPath::parse("é (1)").unwrap());
    let raw = RelPath::from_bytes("é\r (1)".as_bytes()).unwrap();
    places.insert(5, manifest.get(5).unwrap(), raw);
    let snapshot = Snapshot {
        head: &head,
        manifest: &manifest,
        done: &[Some([1; 32]), None, None, None, None, None],
        wanted: &|_| true,
        current: Some((2, 0, [2; 32])),
        block: 8 << 20,
        states: &BTreeMap::from([(2, &[[5; 32], [6; 32]][..])]),
        times: &BTreeMap::from([(0, -6)]),
        places: &places,
        made: &BTreeSet::from([1, 5]),
        older: &BTreeMap::new(),
    };
    TransferLockManager::acquire(&mut root).unwrap().save(&mut root, &snapshot).unwrap();
    let saved = fs::read_to_string(dir.path().join(".transfer_lock.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&saved).unwrap();
    // Neither is the same twice.
    let saved = saved
        .replace(value["owner"].as_str().unwrap(), "the owner of this lock")
        .replace(value["mac"].as_str().unwrap(), &"0".repeat(64))
        .replace(&format!("\"folder\":{}", value["folder"]), "\"folder\":7")
        .replace(value["timestamp"].as_str().unwrap(), "2026-01-02T03:04:05Z");
    let hostile = r#"{"version":"1.0","owner":"","folder":7,"files":{"a":{"status":"completed","size":1,"transferred_bytes":9,
        "original_hash":"../../.profile.part"}},"renamed":{"a":"../x","é":"d/é","/c3a90d":"/2e2e2fff"},"made":{"..":true,"d":[{}]}}"#;
    vec![
        ("cut-off", saved[..saved.len() / 2].into()),
        ("saved", saved.into()),
        ("hostile", hostile.into()),
        ("deep", format!("{{\"version\":\"1.0\",\"x\":{}", "[".repeat(500)).into()),
    ]
}

/// The fixtures, and what is no JSON.
fn statuses() -> Seeds {
    let fixture = |name| {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tailscale");
        fs::read(fixtures.join(name)).unwrap()
    };
    let names = [
        "status_huge_sample_12.json",
        "status_needs_login.json",
        "status_odd_peers.json",
        "status_old_1_36.json",
        "status_stopped.json",
        "status_tun_4peers.json",
        "status_userspace_container.json",
        "whois_tagged.json",
    ];
    let mut seeds: Seeds = names.into_iter().map(|name| (name, fixture(name))).collect();
    seeds.push(("prose", b"Tailscale is stopped.\x1b[2J\n".into()));
    seeds
}

fn tickets() -> Seeds {
    vec![
        ("ticket", b"100.64.1.123:ocean-tiger".into()),
        ("port", b"my-nas.tail1234.ts.net.:8080:Ocean Tiger".into()),
        ("ipv6", "“[fd7a:115c:a1e0::1]:ocean-tiger”".into()),
        ("pasted", b"  transfer receive '100.64.1.123:15820:ocean_tiger'\r\n".into()),
        ("typo", b"100.64.1.l2:ocaen-tiger".into()),
        ("token", b"ocean-tiger-zebra".into()),
        ("direct", b"maple-river ocean_tiger".into()),
        ("relays", b"maple-river-ocean-tiger@a.b:8443,http://[::1]:3340".into()),
        ("udp", b"ocean-tiger@[2001:db8::7]:4000".into()),
        ("control", b"nas:ocean\x1b[2J-tiger".into()),
    ]
}

/// TXT records: strings, each behind its length.
fn records_of_servers() -> Seeds {
    let record = |strings: &[&[u8]]| {
        let put = |text: &&[u8]| [&[u8::try_from(text.len()).unwrap()], *text].concat();
        strings.iter().flat_map(put).collect::<Vec<u8>>()
    };
    let (v, id) = (b"v=1" as &[u8], b"id=00010203040506ff" as &[u8]);
    let print = format!("fp={}", "ab".repeat(32));
    vec![
        ("ours", record(&[v, print.as_bytes(), id, b"sas=ocean-tiger"])),
        ("least", record(&[v, id])),
        ("capitals", record(&[b"V=2", b"ID=00010203040506FF", b"SAS=ocean-tiger"])),
        ("twice", record(&[v, b"v=2", id, b"id=ffffffffffffffff"])),
        ("odd", record(&[b"v=-1", b"id=\xff", b"sas=\x1b[2J-tiger", b"=", b"fp"])),
        ("cut-off", record(&[v, id])[..12].into()),
        ("empty", vec![0]),
    ]
}
