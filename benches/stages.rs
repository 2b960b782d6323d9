//! Each stage of a transfer alone, in one thread: `cargo bench --bench stages [-- FILTER]`.
//!
//! What a whole transfer does to these, over sockets and disks, `scripts/bench` measures.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hint::black_box;
use std::io;
use std::path::Path;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sha2::{Digest, Sha256};
use transfer::bounds::BLOCK;
use transfer::compress::{self, Codec, Compression, Element};
use transfer::crypto::handshake::{Binding, Start, Verdict};
use transfer::crypto::keys::{Role, SessionKeys};
use transfer::crypto::record::{Buffer, RecordReader, RecordWriter};
use transfer::files::folder::Replace;
use transfer::files::manifest::{Entry, Kind, Manifest};
use transfer::files::path::RelPath;
use transfer::files::root::Root;
use transfer::protocol::data::{self, Item};
use transfer::protocol::features::Features;
use transfer::protocol::pages;
use transfer::protocol::reader::Reader;
use transfer::receive::lock::{Head, Snapshot, TransferLockManager};
use transfer::receive::places::Places;
use transfer::receive::writer::FileWriter;
use transfer::token::{self, Token};
use uuid::Uuid;

const MIB: usize = 1 << 20;
/// Records opened, or files written, in one measurement: one alone is too short a time.
const BATCH: usize = 16;
const ENTRIES: u32 = 100_000;
const SMALL: usize = 2_000;

criterion_main!(stages);
criterion_group!(stages, hash, records, compression, items, lists, small_files, lock);

fn hash(c: &mut Criterion) {
    let block = noise(MIB);
    let mut group = c.benchmark_group("hash");
    group.throughput(Throughput::Bytes(MIB as u64));
    group.bench_function("sha-256 of 1 MiB", |b| b.iter(|| Sha256::digest(black_box(&block))));
}

fn records(c: &mut Criterion) {
    let mut group = c.benchmark_group("record of 1 MiB");
    group.throughput(Throughput::Bytes(MIB as u64));
    group.bench_function("seal", |b| {
        let mut writer = RecordWriter::new(io::sink(), keys().0.seal);
        let mut buffer = Buffer::with_capacity(MIB);
        b.iter(|| seal(&mut writer, &mut buffer));
    });
    group.throughput(Throughput::Bytes((BATCH * MIB) as u64));
    group.bench_function("open", |b| {
        let sealed = || {
            let (sender, receiver) = keys();
            let mut stream = Vec::with_capacity(BATCH * (MIB + 64));
            let mut writer = RecordWriter::new(&mut stream, sender.seal);
            let mut buffer = Buffer::with_capacity(MIB);
            (0..BATCH).for_each(|_| seal(&mut writer, &mut buffer));
            (RecordReader::new(io::Cursor::new(stream), receiver.open, MIB), buffer)
        };
        let open = |(mut reader, mut buffer): (RecordReader<_>, Buffer)| {
            (0..BATCH).for_each(|_| {
                reader.read(&mut buffer).unwrap();
            });
            (reader, buffer)
        };
        b.iter_batched(sealed, open, BatchSize::PerIteration);
    });
}

/// Whatever the buffer held last is sealed: what it is makes no difference.
fn seal<W: io::Write>(writer: &mut RecordWriter<W>, buffer: &mut Buffer) {
    buffer.room(MIB);
    buffer.advance(MIB);
    writer.write(buffer).unwrap();
}

/// The keys of both sides, as the handshake makes them.
fn keys() -> (SessionKeys, SessionKeys) {
    let token = Token::parse("ocean-tiger").unwrap();
    let mut rng = token::system_rng().unwrap();
    let sender = Start::new(Role::Sender, &token, Binding::None, &mut rng);
    let receiver = Start::new(Role::Receiver, &token, Binding::None, &mut rng);
    let (sent, received) = (*sender.hello(), *receiver.hello());
    let waiting = sender.await_proof(&received).unwrap();
    let (proving, confirm) = receiver.prove(&sent, &[7; 16]).unwrap();
    let (answer, sender) = waiting.check(&confirm).unwrap().answer(Verdict::Welcome);
    (sender, proving.check(&answer).unwrap())
}

/// Throughput is that of the data as it was before.
fn compression(c: &mut Criterion) {
    let blocks = [("text", text()), ("floats", floats()), ("noise", noise(MIB))];
    let codecs = [("lz4", Codec::Lz4), ("blosc", Codec::Blosc(Element::Four))];
    let mut group = c.benchmark_group("1 MiB");
    group.throughput(Throughput::Bytes(MIB as u64));
    for (what, block) in &blocks {
        group.bench_function(format!("probe {what}"), |b| {
            b.iter(|| Compression::Auto.codec(black_box(block), |_| true));
        });
        for (name, codec) in codecs {
            let mut packed = Vec::new();
            group.bench_function(format!("compress {what} with {name}"), |b| {
                b.iter(|| {
                    packed.clear();
                    compress::compress(codec, black_box(block), &mut packed)
                });
            });
            // What does not shrink is not sent compressed.
            packed.clear();
            if !compress::compress(codec, block, &mut packed) {
                continue;
            }
            let mut raw = Vec::new();
            group.bench_function(format!("decompress {what} with {name}"), |b| {
                b.iter(|| {
                    raw.clear();
                    compress::decompress(codec.wire_id(), MIB, MIB, black_box(&packed), &mut raw)
                });
            });
        }
    }
}

/// The records of small files: as many as fill one.
fn items(c: &mut Criterion) {
    let content = noise(SMALL);
    let files = MIB / (SMALL + data::FRAMING);
    let encode = |buffer: &mut Buffer| {
        buffer.clear();
        for index in 0..u32::try_from(files).unwrap() {
            data::put_start(buffer, index, 0);
            let fill = |room: &mut [u8]| -> Result<(), ()> {
                room.copy_from_slice(&content);
                Ok(())
            };
            data::put_bytes(buffer, u32::try_from(SMALL).unwrap(), fill).unwrap();
            data::put_end(buffer, SMALL as u64, &[7; 32]);
        }
    };
    let mut record = Buffer::with_capacity(MIB);
    encode(&mut record);

    let mut group = c.benchmark_group("data of files of 2 KB");
    group.throughput(Throughput::Elements(files as u64));
    group.bench_function("encode", |b| {
        let mut buffer = Buffer::with_capacity(MIB);
        b.iter(|| encode(&mut buffer));
    });
    group.bench_function("decode", |b| {
        b.iter(|| {
            let mut reader = Reader::new(record.plaintext());
            let mut bytes = 0;
            while let Some(item) = data::next(&mut reader, Features::ours()).unwrap() {
                bytes += if let Item::Bytes(content) = item { content.len() } else { 0 };
            }
            bytes
        });
    });
}

/// A manifest of 100,000 entries, and its pages.
fn lists(c: &mut Criterion) {
    let manifest = manifest();
    let entries = manifest.entries();
    let mut group = c.benchmark_group("100,000 entries");
    group.throughput(Throughput::Elements(entries.len() as u64));
    group.sample_size(20);
    group.bench_function("push to a manifest", |b| {
        b.iter_batched(
            || entries.to_vec(),
            |entries| {
                let mut manifest = Manifest::default();
                entries.into_iter().for_each(|entry| manifest.push(entry).unwrap());
                manifest
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("find in a manifest", |b| {
        b.iter(|| entries.iter().filter_map(|entry| manifest.find(&entry.path)).count());
    });
    let encode = |mut send: Box<dyn FnMut(&[u8]) + '_>| {
        let mut buffer = Buffer::with_capacity(MIB);
        let send = |page: &mut Buffer| -> Result<(), ()> {
            send(page.plaintext());
            Ok(())
        };
        pages::write(2, MIB, &mut buffer, entries, pages::put_entry, send).unwrap();
    };
    group.bench_function("encode pages", |b| {
        b.iter(|| {
            let mut bytes = 0;
            encode(Box::new(|page| bytes += page.len()));
            bytes
        });
    });
    let mut pages = Vec::new();
    encode(Box::new(|page| pages.push(page.to_vec())));
    group.bench_function("decode pages", |b| {
        b.iter(|| {
            let mut bytes = 0;
            for page in &pages {
                let each = |entry: Entry| {
                    bytes += entry.size();
                    Ok(())
                };
                pages::entries(Reader::new(&page[1..]), Features::ours(), each).unwrap();
            }
            bytes
        });
    });
}

/// Created, written, verified and named, in the system's temporary folder: with `TMPDIR=/dev/shm`
/// no disk is in it.
fn small_files(c: &mut Criterion) {
    let content = noise(SMALL);
    let hash = Sha256::digest(&content).into();
    let folder = tempfile::tempdir().unwrap();
    let root = Root::open(folder.path()).unwrap();
    let entry = file("small", SMALL as u64);
    let own = root.own().clone();
    let names: Vec<_> = (0..BATCH).map(|n| n.to_string()).collect();
    let write = |name: &String| {
        let mut writer =
            FileWriter::create_briefly(root.top(), &own, (&entry, &entry.path)).unwrap();
        writer.write(&content).unwrap();
        let verified = writer.verify(root.top(), &entry, &hash).unwrap().unwrap();
        verified.place(root.top(), name.as_bytes(), &entry, Replace::Never).unwrap();
    };
    // Removed before, not replaced: ext4 writes the data of a file that replaces another at once.
    let remove = || names.iter().for_each(|name| drop(root.top().remove(name)));
    let mut group = c.benchmark_group("small files");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("write 16 of 2 KB", |b| {
        b.iter_batched(remove, |()| names.iter().for_each(&write), BatchSize::PerIteration);
    });
}

/// The lock file of a transfer of which one half has arrived.
fn lock(c: &mut Criterion) {
    let manifest = manifest();
    let folder = tempfile::tempdir().unwrap();
    let mut root = Root::open(folder.path()).unwrap();
    let mut lock = TransferLockManager::acquire(&mut root).unwrap();
    let head = Head {
        session: Uuid::from_bytes([7; 16]),
        sender: "127.0.0.1".into(),
        files: manifest.totals().files,
        bytes: manifest.totals().bytes,
    };
    let done: Vec<_> =
        (0..manifest.entries().len()).map(|n| (n % 2 == 0).then_some([7; 32])).collect();
    let snapshot = Snapshot {
        head: &head,
        manifest: &manifest,
        done: &done,
        wanted: &|_| true,
        current: None,
        block: BLOCK,
        states: &BTreeMap::new(),
        times: &BTreeMap::new(),
        places: &Places::default(),
        made: &BTreeSet::new(),
        older: &BTreeMap::new(),
    };
    let mut group = c.benchmark_group("lock of 100,000 entries");
    group.throughput(Throughput::Elements(manifest.entries().len() as u64));
    group.sample_size(20);
    group.bench_function("save", |b| b.iter(|| lock.save(&mut root, &snapshot).unwrap()));
    group.bench_function("load", |b| {
        assert!(!lock.load(&mut root, &manifest).is_empty(), "the lock was not believed");
        b.iter(|| lock.load(&mut root, &manifest));
    });
}

/// A thousand folders of a hundred files.
fn manifest() -> Manifest {
    let mut manifest = Manifest::default();
    for number in 0..ENTRIES {
        let folder = format!("folder-{:04}", number / 100);
        if number % 100 == 0 {
            let entry = Entry { kind: Kind::Folder, mode: 0o755, ..file(&folder, 0) };
            manifest.push(entry).unwrap();
        }
        manifest.push(file(&format!("{folder}/file-{number:06}.txt"), SMALL as u64)).unwrap();
    }
    manifest
}

fn file(path: &str, size: u64) -> Entry {
    let path = RelPath::parse(path).unwrap();
    Entry { path, kind: Kind::File(size), mode: 0o644, mtime: 1_700_000_000_000_000_000 }
}

/// A mebibyte of this program's own sources.
fn text() -> Vec<u8> {
    let mut text = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        let mut paths: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            match path.is_dir() {
                true => folders.push(path),
                false => text.extend(fs::read(path).unwrap()),
            }
        }
    }
    text.iter().copied().cycle().take(MIB).collect()
}

/// A smooth signal, and noise of a thousandth of it.
fn floats() -> Vec<u8> {
    let chance = noise(MIB);
    let chance = chance.as_chunks().0.iter().map(|bytes| f64::from(u32::from_le_bytes(*bytes)));
    let float = |(n, chance): (u32, f64)| {
        let noise = (chance / f64::from(u32::MAX) - 0.5) * 0.004;
        let signal = 1.5 + (f64::from(n) / 10_000.0).sin() / 3.0;
        ((signal + noise) as f32).to_le_bytes()
    };
    (0..).zip(chance).flat_map(float).collect()
}

/// Bytes that nothing compresses (xorshift64, Marsaglia 2003).
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(state.to_le_bytes())
    };
    std::iter::from_fn(next).flatten().take(len).collect()
}
