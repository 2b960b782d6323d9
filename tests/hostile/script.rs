//! A peer that knows the token and says what it likes: records sealed with the session's keys,
//! their plaintext written byte by byte from sections 4 to 7 of `docs/protocol.md`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use anyhow::{Context, Result, bail, ensure};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use sha2::{Digest, Sha256};

use crate::shake::{Keys, Own, Side, ensure_hello};
use crate::util::process::LIMIT;

/// Content of every file that a script sends as it should be.
pub const CONTENT: &[u8] = b"the content as it should be";
pub const SIZE: u64 = CONTENT.len() as u64;

/// The kinds of message.
pub const CONTROL: u8 = 1;
pub const ENTRIES: u8 = 2;
pub const PLAN: u8 = 3;
pub const DATA: u8 = 4;
pub const PACKED: u8 = 5;
pub const RETRY: u8 = 6;
pub const RESULTS: u8 = 7;

/// Bytes of plaintext that a record may have.
pub const MAX_PLAINTEXT: usize = 1_049_600;

/// The top bit of a header.
pub const LAST: u32 = 1 << 31;

/// Seals or opens one direction.
struct Way {
    cipher: ChaCha20Poly1305,
    count: u64,
}

/// A header, and 60 zeros.
pub fn associated(header: &[u8; 4]) -> [u8; 64] {
    let mut associated = [0; 64];
    associated[..4].copy_from_slice(header);
    associated
}

impl Way {
    fn new(key: &[u8; 32]) -> Self {
        Self { cipher: ChaCha20Poly1305::new(key.into()), count: 0 }
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = Nonce::default();
        nonce[4..].copy_from_slice(&self.count.to_le_bytes());
        self.count += 1;
        nonce
    }

    fn seal(&mut self, plaintext: &[u8], mark: u32) -> Vec<u8> {
        let header = (u32::try_from(plaintext.len() + 16).unwrap() | mark).to_be_bytes();
        let mut record = [&header[..], plaintext].concat();
        let nonce = self.nonce();
        let body = record.get_mut(4..).unwrap();
        let tag =
            self.cipher.encrypt_inout_detached(&nonce, &associated(&header), body.into()).unwrap();
        record.extend(tag);
        record
    }
}

/// The connection, its handshake done.
pub struct Line {
    pub stream: TcpStream,
    pub keys: Keys,
    seal: Way,
    open: Way,
    /// Whether the other side has marked a record as its last.
    ended: bool,
    /// The control messages that were heard, as they came.
    pub heard: Vec<String>,
}

impl Line {
    /// Shakes hands as one who knows the token, and does what comes before the offer.
    pub fn start(stream: TcpStream, side: Side, token: &str) -> Result<Self> {
        let mut line = Self::shake(stream, side, token)?;
        match side {
            Side::Sender => line.hear_ready()?,
            Side::Receiver => line.say(&ready(&CODECS))?,
        }
        Ok(line)
    }

    /// Shakes hands, and no more.
    pub fn shake(stream: TcpStream, side: Side, token: &str) -> Result<Self> {
        Self::shake_as(stream, &Own::new(side, token), token)
    }

    /// The same with this hello.
    pub fn shake_as(mut stream: TcpStream, own: &Own, token: &str) -> Result<Self> {
        patient(&stream)?;
        let side = own.side;
        stream.write_all(&own.hello)?;
        let theirs = read(&mut stream).context("no hello came")?;
        let peer = if side == Side::Sender { Side::Receiver } else { Side::Sender };
        ensure_hello(&theirs, peer)?;
        let keys = own.keys(&theirs, token)?;
        match side {
            Side::Sender => {
                let confirmation: [u8; 48] = read(&mut stream).context("no confirmation came")?;
                ensure!(keys.confirmed_by(&confirmation), "a wrong confirmation");
                stream.write_all(&keys.answer(0))?;
            }
            Side::Receiver => {
                stream.write_all(&keys.confirmation())?;
                let answer: [u8; 34] = read(&mut stream).context("no answer came")?;
                ensure!(answer == keys.answer(0), "not welcome: {answer:x?}");
            }
        }
        let ways = ["sender to receiver", "receiver to sender"].map(|it| keys.derived(it));
        let [down, up] = ways.map(|key| Way::new(&key));
        let (seal, open) = if side == Side::Sender { (down, up) } else { (up, down) };
        Ok(Self { stream, keys, seal, open, ended: false, heard: Vec::new() })
    }

    /// Seals the next record, for whatever is to become of it.
    pub fn record(&mut self, plaintext: &[u8]) -> Vec<u8> {
        self.seal.seal(plaintext, 0)
    }

    /// Seals the next record and marks it as the last.
    pub fn last_record(&mut self, plaintext: &[u8]) -> Vec<u8> {
        self.seal.seal(plaintext, LAST)
    }

    /// Writes bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("the other side is gone")
    }

    /// Says something in a record of its own.
    pub fn say(&mut self, plaintext: &[u8]) -> Result<()> {
        let record = self.record(plaintext);
        self.raw(&record)
    }

    /// Says something in a record that is marked as the last.
    pub fn say_last(&mut self, plaintext: &[u8]) -> Result<()> {
        let record = self.last_record(plaintext);
        self.raw(&record)
    }

    /// The next record's plaintext.
    pub fn hear(&mut self) -> Result<Vec<u8>> {
        ensure!(!self.ended, "it has said its last");
        let header: [u8; 4] = read(&mut self.stream).context("it hung up")?;
        let word = u32::from_be_bytes(header);
        self.ended = word & LAST != 0;
        let mut record = vec![0; usize::try_from(word & !LAST)?];
        ensure!((17..=MAX_PLAINTEXT + 16).contains(&record.len()), "a record of {header:x?}");
        self.stream.read_exact(&mut record).context("it hung up")?;
        let tag = record.split_off(record.len() - 16);
        let (nonce, body) = (self.open.nonce(), &mut record[..]);
        let tag = tag.as_slice().try_into()?;
        let opened =
            self.open.cipher.decrypt_inout_detached(&nonce, &associated(&header), body.into(), tag);
        ensure!(opened.is_ok(), "a forged record");
        if record.first() == Some(&CONTROL) {
            self.heard.push(String::from_utf8(record[1..].to_vec())?);
        }
        Ok(record)
    }

    /// The next message that is no `wait`; it must be of this kind.
    pub fn hear_kind(&mut self, kind: u8) -> Result<Vec<u8>> {
        loop {
            let message = self.hear()?;
            let is_wait = message.strip_prefix(&[CONTROL]) == Some(&br#"{"type":"wait"}"#[..]);
            match message.first() {
                Some(first) if *first == kind && !is_wait => return Ok(message),
                _ if is_wait => {}
                _ => bail!("not of kind {kind}: {:?}", String::from_utf8_lossy(&message)),
            }
        }
    }

    /// The items of a list, to its last page.
    pub fn hear_pages(&mut self, kind: u8) -> Result<Vec<u8>> {
        let mut items = Vec::new();
        loop {
            let page = self.hear_kind(kind)?;
            items.extend(page.get(2..).context("a page without a flag")?);
            if page.get(1) == Some(&1) {
                return Ok(items);
            }
        }
    }

    /// The next control message that is no `wait`.
    pub fn hear_control(&mut self) -> Result<String> {
        self.hear_kind(CONTROL)?;
        self.heard.last().cloned().context("nothing was heard")
    }

    /// Hears to the end, whatever it is.
    pub fn drain(&mut self) {
        while !self.ended && self.hear().is_ok() {}
    }

    /// Cuts the connection.
    pub fn cut(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// A sender's first wait: for what the receiver can do.
    pub fn hear_ready(&mut self) -> Result<()> {
        let ready = self.hear_control()?;
        self.heard.clear();
        ensure!(ready.starts_with(r#"{"type":"ready","features":["#), "{ready}");
        Ok(())
    }

    /// Offers entries, with counts that are right.
    pub fn offer(&mut self, entries: &[Entry]) -> Result<()> {
        self.say(&offer(entries))?;
        list(entries).iter().try_for_each(|page| self.say(page))
    }

    /// Offers entries and hears the plan.
    pub fn offer_and_plan(&mut self, entries: &[Entry]) -> Result<Vec<u8>> {
        self.offer(entries)?;
        self.hear_pages(PLAN)
    }

    /// A sender's way through the rest once all content is sent: the results it was told.
    pub fn finish(&mut self) -> Result<Vec<u8>> {
        self.say(&control(r#"{"type":"done"}"#))?;
        let results = self.hear_pages(RESULTS)?;
        let complete = self.hear_control()?;
        ensure!(complete.starts_with(r#"{"type":"complete""#) && self.ended, "{complete}");
        self.say_last(&control(r#"{"type":"bye"}"#))?;
        Ok(results)
    }

    /// A receiver's way to the plan: the offer and the items of its list.
    pub fn hear_offer(&mut self) -> Result<Vec<u8>> {
        let offer = self.hear_control()?;
        ensure!(offer.starts_with(r#"{"type":"offer""#), "{offer}");
        self.hear_pages(ENTRIES)
    }

    /// A receiver's way through a round: hears data until `done`; how many bytes it was.
    pub fn hear_round(&mut self) -> Result<usize> {
        let mut bytes = 0;
        loop {
            let message = self.hear()?;
            match message.first() {
                Some(&DATA | &PACKED) => bytes += message.len(),
                _ if message.ends_with(br#"{"type":"done"}"#) => return Ok(bytes),
                _ if message.ends_with(br#"{"type":"wait"}"#) => {}
                _ => bail!("neither data nor done: {:?}", String::from_utf8_lossy(&message)),
            }
        }
    }
}

/// No script waits for ever.
pub fn patient(stream: &TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream.set_write_timeout(Some(LIMIT))?)
}

/// So many bytes.
pub fn read<const N: usize>(stream: &mut TcpStream) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A control message, whatever the text.
pub fn control(json: impl AsRef<[u8]>) -> Vec<u8> {
    [&[CONTROL], json.as_ref()].concat()
}

/// A page; `flag` is 1 on the last.
pub fn page(kind: u8, flag: u8, items: &[u8]) -> Vec<u8> {
    [&[kind, flag], items].concat()
}

/// An entry, whatever is in it.
#[derive(Debug, Clone)]
pub struct Entry {
    pub kind: u8,
    pub mode: u16,
    pub size: u64,
    /// Bytes of those that are no holes, as far as it says.
    pub stored: u64,
    pub path: Vec<u8>,
    pub target: Vec<u8>,
}

/// 2026-01-02 03:04:05.678901234 UTC.
pub const MTIME: i64 = 1_767_323_045_678_901_234;

impl Entry {
    pub fn bytes(&self) -> Vec<u8> {
        let kind = self.kind & !RAW;
        let mut bytes = vec![self.kind];
        bytes.extend(self.mode.to_be_bytes());
        bytes.extend(MTIME.to_be_bytes());
        if matches!(kind, 0 | 3) {
            bytes.extend(self.size.to_be_bytes());
        }
        if kind == 3 {
            bytes.extend(self.stored.to_be_bytes());
        }
        bytes.extend(text(&self.path));
        if kind == 2 {
            bytes.extend(text(&self.target));
        }
        bytes
    }
}

/// A length and so many bytes.
pub fn text(text: &[u8]) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat()
}

/// A file with [`CONTENT`].
pub fn file(path: impl AsRef<[u8]>) -> Entry {
    sized(path, SIZE)
}

pub fn sized(path: impl AsRef<[u8]>, size: u64) -> Entry {
    let path = path.as_ref().to_vec();
    Entry { kind: 0, mode: 0o644, size, stored: 0, path, target: Vec::new() }
}

/// A file with holes.
pub fn holed(path: impl AsRef<[u8]>, size: u64, stored: u64) -> Entry {
    Entry { kind: 3, stored, ..sized(path, size) }
}

pub fn folder(path: impl AsRef<[u8]>) -> Entry {
    Entry { kind: 1, mode: 0o755, ..sized(path, 0) }
}

pub fn link(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    Entry { kind: 2, mode: 0o777, target: target.as_ref().to_vec(), ..sized(path, 0) }
}

/// In the kind of an entry: its names are bytes.
pub const RAW: u8 = 0x80;

/// The same entry with names of bytes.
pub fn raw(entry: Entry) -> Entry {
    Entry { kind: entry.kind | RAW, ..entry }
}

/// An offer of so many files, folders, links and bytes.
pub fn offer_of(files: u64, folders: u64, links: u64, bytes: u64) -> Vec<u8> {
    control(format!(
        r#"{{"type":"offer","files":{files},"folders":{folders},"links":{links},"bytes":{bytes},"unsent":0,"unsent_names":[],"features":["lz4","blosc","raw-names","sparse"]}}"#
    ))
}

/// The codecs.
pub const CODECS: [&str; 2] = ["lz4", "blosc"];

/// What a receiver says that it can do.
pub fn ready(features: &[&str]) -> Vec<u8> {
    control(format!(r#"{{"type":"ready","features":{features:?}}}"#))
}

/// The offer that fits the entries.
pub fn offer(entries: &[Entry]) -> Vec<u8> {
    let count = |kind| entries.iter().filter(|entry| entry.kind & !RAW == kind).count() as u64;
    let files = entries.iter().filter(|entry| matches!(entry.kind & !RAW, 0 | 3));
    let bytes = files.map(|entry| entry.size);
    offer_of(count(0) + count(3), count(1), count(2), bytes.fold(0, u64::wrapping_add))
}

/// The entries on as many pages as it takes.
pub fn list(entries: &[Entry]) -> Vec<Vec<u8>> {
    let (mut pages, mut items) = (Vec::new(), Vec::new());
    for entry in entries.iter().map(Entry::bytes) {
        if items.len() + entry.len() > 1 << 20 {
            pages.push(page(ENTRIES, 0, &items));
            items.clear();
        }
        items.extend(entry);
    }
    pages.push(page(ENTRIES, 1, &items));
    pages
}

pub fn start(index: u32, offset: u64) -> Vec<u8> {
    [&[1][..], &index.to_be_bytes(), &offset.to_be_bytes()].concat()
}

pub fn bytes(content: &[u8]) -> Vec<u8> {
    [&[2][..], &u32::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
}

pub fn end(size: u64, hash: &[u8]) -> Vec<u8> {
    [&[3][..], &size.to_be_bytes(), hash].concat()
}

pub fn failed(index: u32, fault: u8) -> Vec<u8> {
    [&[4][..], &index.to_be_bytes(), &[fault]].concat()
}

/// So many zeros that are not sent.
pub fn hole(len: u64) -> Vec<u8> {
    [&[5][..], &len.to_be_bytes()].concat()
}

/// The hash of a file with holes, from the words of the page.
pub fn sparse_hash(content: &[u8]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for (number, page) in (0u64..).zip(content.chunks(65_536)) {
        if page.iter().any(|byte| *byte != 0) {
            hash.update(number.to_be_bytes());
            hash.update([0; 56]);
            hash.update(page);
        }
    }
    hash.update((content.len() as u64).to_be_bytes());
    hash.finalize().to_vec()
}

/// A record of data items.
pub fn data(items: &[Vec<u8>]) -> Vec<u8> {
    [&[DATA][..], &items.concat()].concat()
}

/// A whole file as it should be.
pub fn whole(index: u32) -> Vec<u8> {
    whole_of(index, CONTENT)
}

pub fn whole_of(index: u32, content: &[u8]) -> Vec<u8> {
    [start(index, 0), bytes(content), end(content.len() as u64, &Sha256::digest(content))].concat()
}

/// Compressed items, with whatever length is claimed for them.
pub fn packed(codec: u8, len: u32, packed: &[u8]) -> Vec<u8> {
    [&[PACKED, codec][..], &len.to_be_bytes(), packed].concat()
}

/// Steps of a plan.
pub fn skip(index: u32) -> Vec<u8> {
    [&index.to_be_bytes()[..], &[0]].concat()
}

pub fn resume(index: u32, offset: u64, hash: &[u8]) -> Vec<u8> {
    [&index.to_be_bytes()[..], &[1], &offset.to_be_bytes(), hash].concat()
}

/// A result.
pub fn result(index: u32, fault: u8) -> Vec<u8> {
    [&index.to_be_bytes()[..], &[fault]].concat()
}
