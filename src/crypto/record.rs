//! One direction of a session: `length || ChaCha20-Poly1305`, counted, ended on purpose.
//!
//! The nonce is a counter that belongs to the writer or reader; no caller sees or sets it. The
//! last record is marked inside the authenticated header, and end of stream before it is
//! truncation. Records are sealed and opened in the buffer they travel in: no copy.
//!
//! Inside a channel that is encrypted and authenticated itself, such as TLS, records are bare:
//! `length || plaintext`. All else is the same, the mark of the last one included.

use std::io::{self, Read, Write};

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag};

use super::keys::{OpenKey, SealKey, SessionKeys};

/// Bytes of the record header: the length of what follows, with [`LAST`] as its top bit.
pub const HEADER_LEN: usize = 4;
/// Bytes of the Poly1305 tag that ends a record.
pub const TAG_LEN: usize = 16;
/// Set in the header of the last record of a direction.
pub const LAST: u32 = 1 << 31;
/// Why a record could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The stream failed.
    #[error("the connection was lost")]
    Io(#[from] io::Error),
    /// The stream ended before the record marked as the last.
    #[error("the connection ended in the middle")]
    Truncated,
    /// A length that no honest peer sends.
    #[error("the other side sent a record of an impossible length")]
    Length,
    /// The tag is wrong: changed, reordered, repeated, or sealed with another key.
    #[error("a record was damaged or forged on the way")]
    Forged,
    /// 2^64 records in one direction, or a record after the last.
    #[error("no more records may follow")]
    Ended,
}

/// A plaintext with room for the header before it and the tag after it.
///
/// Memory once taken stays initialised between uses, so that a file can be read straight into
/// [`Buffer::room`] without clearing a mebibyte first.
#[derive(Debug, Default)]
pub struct Buffer {
    /// Header, plaintext, then whatever earlier uses left.
    bytes: Vec<u8>,
    /// Bytes of plaintext.
    len: usize,
}

impl Buffer {
    /// An empty buffer that can hold `plaintext` bytes without growing.
    pub fn with_capacity(plaintext: usize) -> Self {
        Self { bytes: Vec::with_capacity(HEADER_LEN + plaintext + TAG_LEN), len: 0 }
    }

    /// Forgets the plaintext and keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Bytes of plaintext.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no plaintext.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The plaintext.
    pub fn plaintext(&self) -> &[u8] {
        self.bytes.get(HEADER_LEN..HEADER_LEN + self.len).unwrap_or_default()
    }

    /// Appends to the plaintext.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.advance(bytes.len());
    }

    /// `len` bytes after the plaintext, to be written and then claimed by [`Buffer::advance`].
    pub fn room(&mut self, len: usize) -> &mut [u8] {
        let start = HEADER_LEN + self.len;
        if self.bytes.len() < start + len {
            self.bytes.resize(start + len, 0);
        }
        &mut self.bytes[start..start + len]
    }

    /// Claims the first `len` bytes of the room as plaintext.
    pub fn advance(&mut self, len: usize) {
        self.len = (self.len + len).min(self.bytes.len().saturating_sub(HEADER_LEN));
    }

    /// Lets `fill` append as much as it finds to say; what it appends before it fails is left out.
    pub fn append<T, E>(
        &mut self,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.bytes.resize(HEADER_LEN + self.len, 0);
        let filled = fill(&mut self.bytes)?;
        self.len = self.bytes.len().saturating_sub(HEADER_LEN);
        Ok(filled)
    }

    /// Overwrites plaintext already written; what does not fit is left out.
    pub fn patch(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(HEADER_LEN + at..HEADER_LEN + self.len) {
            let len = bytes.len().min(place.len());
            place[..len].copy_from_slice(&bytes[..len]);
        }
    }
}

/// What protects the records of a session.
pub enum Protection {
    /// Keys of its own: records are sealed.
    Sealed(SessionKeys),
    /// The channel that carries it: records are bare.
    Carried,
}

impl From<SessionKeys> for Protection {
    fn from(keys: SessionKeys) -> Self {
        Self::Sealed(keys)
    }
}

/// The same for one direction.
#[derive(Clone)]
enum Cipher {
    Sealed(ChaCha20Poly1305),
    Carried,
}

impl Cipher {
    fn sealed(key: &[u8; 32]) -> Self {
        Self::Sealed(ChaCha20Poly1305::new(key.into()))
    }

    /// Bytes after the plaintext.
    fn tag_len(&self) -> usize {
        match self {
            Self::Sealed(_) => TAG_LEN,
            Self::Carried => 0,
        }
    }
}

/// The counter nonce of one direction: 4 zero bytes, then a 64-bit little-endian count.
struct Counter(Option<u64>);

impl Counter {
    fn next(&mut self) -> Result<Nonce, RecordError> {
        let count = self.0.ok_or(RecordError::Ended)?;
        self.0 = count.checked_add(1);
        let mut nonce = Nonce::default();
        nonce[4..].copy_from_slice(&count.to_le_bytes());
        Ok(nonce)
    }

    fn end(&mut self) {
        self.0 = None;
    }
}

/// Numbers the records of one direction. Each number is good for one record.
pub struct Sealer {
    cipher: Cipher,
    counter: Counter,
}

impl Sealer {
    fn new(cipher: Cipher) -> Self {
        Self { cipher, counter: Counter(Some(0)) }
    }

    /// The number of the next record; none follows the last. Whoever cannot seal and write that
    /// record writes no other: the opener expects them all, in order.
    pub fn number(&mut self, follows: Follows) -> Result<Seal, RecordError> {
        let nonce = self.counter.next()?;
        if follows == Follows::Nothing {
            self.counter.end();
        }
        Ok(Seal { cipher: self.cipher.clone(), nonce, follows })
    }
}

/// A number that has not been used yet.
pub struct Seal {
    cipher: Cipher,
    nonce: Nonce,
    follows: Follows,
}

impl Seal {
    /// Seals in place and returns the whole record.
    pub fn seal(self, buffer: &mut Buffer) -> Result<&[u8], RecordError> {
        let (plaintext, tag_len) = (buffer.len(), self.cipher.tag_len());
        let length = u32::try_from(plaintext + tag_len).ok().filter(|length| length & LAST == 0);
        let length = length.filter(|_| plaintext > 0).ok_or(RecordError::Length)?;
        let mark = if self.follows == Follows::Nothing { LAST } else { 0 };
        let header = (length | mark).to_be_bytes();
        buffer.room(tag_len);
        let (head, body) = buffer.bytes.split_at_mut(HEADER_LEN);
        let (body, rest) = body.split_at_mut(plaintext);
        head.copy_from_slice(&header);
        if let Cipher::Sealed(cipher) = self.cipher {
            let tag = cipher
                .encrypt_inout_detached(&self.nonce, &associated(&header), body.into())
                .map_err(|_| RecordError::Length)?;
            rest[..TAG_LEN].copy_from_slice(&tag);
        }
        Ok(&buffer.bytes[..HEADER_LEN + plaintext + tag_len])
    }
}

/// Seals records into a stream, one after the other.
pub struct RecordWriter<W> {
    writer: W,
    sealer: Sealer,
}

impl<W: Write> RecordWriter<W> {
    /// The direction that `key` seals.
    pub fn new(writer: W, key: SealKey) -> Self {
        Self { writer, sealer: Sealer::new(Cipher::sealed(&key.0)) }
    }

    /// A direction inside a channel that protects it.
    pub fn carried(writer: W) -> Self {
        Self { writer, sealer: Sealer::new(Cipher::Carried) }
    }

    /// Its two halves, for those who seal several records at a time.
    pub fn split(self) -> (Sealer, W) {
        (self.sealer, self.writer)
    }

    /// Seals the plaintext in its buffer and writes the record; the buffer is left empty.
    pub fn write(&mut self, buffer: &mut Buffer) -> Result<(), RecordError> {
        self.write_marked(buffer, Follows::More)
    }

    /// The same, for the last record of this direction; any further write fails.
    pub fn write_last(&mut self, buffer: &mut Buffer) -> Result<(), RecordError> {
        self.write_marked(buffer, Follows::Nothing)
    }

    fn write_marked(&mut self, buffer: &mut Buffer, follows: Follows) -> Result<(), RecordError> {
        let written = self.sealer.number(follows)?.seal(buffer).and_then(|record| {
            self.writer.write_all(record)?;
            Ok(self.writer.flush()?)
        });
        if written.is_err() {
            // The other side cannot know which number comes next.
            self.sealer.counter.end();
        }
        buffer.clear();
        written
    }
}

/// Reads the records of a stream.
pub struct RecordReader<R> {
    reader: R,
    cipher: Cipher,
    counter: Counter,
    limit: usize,
}

/// Whether more records follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// The other side will write more.
    More,
    /// That was its last record.
    Nothing,
}

impl<R: Read> RecordReader<R> {
    /// The direction that `key` opens, with records of at most `limit` bytes of plaintext
    /// ([`MAX_PLAINTEXT`](crate::bounds::MAX_PLAINTEXT) outside tests).
    pub fn new(reader: R, key: OpenKey, limit: usize) -> Self {
        Self { reader, cipher: Cipher::sealed(&key.0), counter: Counter(Some(0)), limit }
    }

    /// A direction inside a channel that protects it, with the same limit.
    pub fn carried(reader: R, limit: usize) -> Self {
        Self { reader, cipher: Cipher::Carried, counter: Counter(Some(0)), limit }
    }

    /// Reads one record and opens it in `buffer`. After an error nothing more can be read.
    pub fn read(&mut self, buffer: &mut Buffer) -> Result<Follows, RecordError> {
        let opened = self.fetch(buffer).and_then(|sealed| sealed.open(buffer));
        if opened.is_err() {
            self.counter.end();
        }
        opened
    }

    /// Reads one record into `buffer`, where it is still sealed. After an error, or a record that
    /// says it is the last, nothing more can be read.
    pub fn fetch(&mut self, buffer: &mut Buffer) -> Result<Sealed, RecordError> {
        let sealed = self.fetch_next(buffer);
        if !matches!(&sealed, Ok(sealed) if sealed.claims() == Follows::More) {
            self.counter.end();
        }
        sealed
    }

    fn fetch_next(&mut self, buffer: &mut Buffer) -> Result<Sealed, RecordError> {
        let nonce = self.counter.next()?;
        let mut header = [0u8; HEADER_LEN];
        read_exact(&mut self.reader, &mut header)?;
        let word = u32::from_be_bytes(header);
        let length = usize::try_from(word & !LAST).map_err(|_| RecordError::Length)?;
        // Checked before memory is taken, for a length is not authenticated until it is used.
        let tag_len = self.cipher.tag_len();
        if length <= tag_len || length > self.limit + tag_len {
            return Err(RecordError::Length);
        }
        buffer.clear();
        read_exact(&mut self.reader, buffer.room(length))?;
        Ok(Sealed { cipher: self.cipher.clone(), nonce, header, length })
    }
}

/// A record that has been read and is not opened yet. What it says is not to be believed.
#[must_use]
pub struct Sealed {
    cipher: Cipher,
    nonce: Nonce,
    header: [u8; HEADER_LEN],
    length: usize,
}

impl Sealed {
    /// Whether it says that more records follow.
    pub fn claims(&self) -> Follows {
        if u32::from_be_bytes(self.header) & LAST == 0 { Follows::More } else { Follows::Nothing }
    }

    /// Opens it in the buffer into which it was read.
    pub fn open(self, buffer: &mut Buffer) -> Result<Follows, RecordError> {
        let plaintext = self.length - self.cipher.tag_len();
        let (body, tag) = buffer.room(self.length).split_at_mut(plaintext);
        if let Cipher::Sealed(cipher) = &self.cipher {
            let tag = Tag::try_from(&*tag).map_err(|_| RecordError::Length)?;
            cipher
                .decrypt_inout_detached(&self.nonce, &associated(&self.header), body.into(), &tag)
                .map_err(|_| RecordError::Forged)?;
        }
        buffer.advance(plaintext);
        Ok(self.claims())
    }
}

/// The associated data of a record: its header, and zeros up to four blocks of Poly1305. Whoever
/// authenticates four blocks at a time stays in step with them: behind a header alone `poly1305`
/// takes every block of the ciphertext by itself, which costs an eighth of its time.
fn associated(header: &[u8; HEADER_LEN]) -> [u8; 64] {
    let mut associated = [0; 64];
    let (head, _) = associated.split_at_mut(HEADER_LEN);
    head.copy_from_slice(header);
    associated
}

/// `read_exact` that tells a stream which ended from one that failed.
fn read_exact(reader: &mut impl Read, bytes: &mut [u8]) -> Result<(), RecordError> {
    reader.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => RecordError::Truncated,
        _ => RecordError::Io(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const LIMIT: usize = 64;

    fn writer<W: Write>(writer: W) -> RecordWriter<W> {
        RecordWriter::new(writer, SealKey(KEY))
    }

    fn reader(stream: &[u8]) -> RecordReader<&[u8]> {
        RecordReader::new(stream, OpenKey(KEY), LIMIT)
    }

    fn buffer(plaintext: &[u8]) -> Buffer {
        let mut buffer = Buffer::default();
        buffer.extend(plaintext);
        buffer
    }

    /// A direction of these plaintexts, the last one marked.
    fn sealed(plaintexts: &[&[u8]]) -> Vec<u8> {
        let mut stream = Vec::new();
        let mut writer = writer(&mut stream);
        let (last, others) = plaintexts.split_last().unwrap();
        for plaintext in others {
            writer.write(&mut buffer(plaintext)).unwrap();
        }
        writer.write_last(&mut buffer(last)).unwrap();
        stream
    }

    /// What a direction yields up to its end or the first error.
    fn opened(stream: &[u8]) -> (Vec<Vec<u8>>, Result<(), RecordError>) {
        let (mut reader, mut buffer) = (reader(stream), Buffer::default());
        let mut plaintexts = Vec::new();
        loop {
            match reader.read(&mut buffer) {
                Ok(follows) => {
                    plaintexts.push(buffer.plaintext().to_vec());
                    if follows == Follows::Nothing {
                        return (plaintexts, Ok(()));
                    }
                }
                Err(error) => return (plaintexts, Err(error)),
            }
        }
    }

    #[test]
    fn lengths_up_to_the_limit_pass() {
        for length in [1, LIMIT - 1, LIMIT, LIMIT + 1, 2 * LIMIT] {
            let plaintext = vec![b'x'; length];
            let stream = sealed(&[&plaintext, b"end"]);
            assert_eq!(stream.len(), 2 * (HEADER_LEN + TAG_LEN) + length + 3);
            let (plaintexts, end) = opened(&stream);
            if length <= LIMIT {
                assert!(end.is_ok(), "{length}");
                assert_eq!(plaintexts, [&*plaintext, b"end"], "{length}");
            } else {
                assert!(matches!(end, Err(RecordError::Length)), "{length}");
                assert!(plaintexts.is_empty(), "{length}");
            }
        }
    }

    #[test]
    fn an_empty_plaintext_is_not_written() {
        let mut stream = Vec::new();
        let written = writer(&mut stream).write(&mut Buffer::default());
        assert!(matches!(written, Err(RecordError::Length)));
        assert!(stream.is_empty());
    }

    #[test]
    fn the_header_is_the_length_and_the_mark() {
        let stream = sealed(&[b"hello", b"end"]);
        assert_eq!(stream[..4], [0, 0, 0, 5 + 16]);
        assert_eq!(stream[25..29], [0x80, 0, 0, 3 + 16]);
    }

    #[test]
    fn a_cut_anywhere_is_truncation() {
        let plaintexts: [&[u8]; 3] = [b"first", b"second", b"third"];
        let stream = sealed(&plaintexts);
        for cut in 0..stream.len() {
            let (read, end) = opened(&stream[..cut]);
            assert!(matches!(end, Err(RecordError::Truncated)), "{cut}");
            assert_eq!(read, plaintexts[..read.len()], "{cut}");
        }
    }

    #[test]
    fn a_flip_anywhere_is_noticed() {
        let plaintexts: [&[u8]; 3] = [b"first", b"second", b"third"];
        let stream = sealed(&plaintexts);
        let starts = [0, 25, 51];
        for at in 0..stream.len() {
            let record = starts.iter().filter(|start| **start <= at).count() - 1;
            for bit in 0..8 {
                let mut stream = stream.clone();
                stream[at] ^= 1 << bit;
                let (read, end) = opened(&stream);
                assert_eq!(read, plaintexts[..record], "byte {at}, bit {bit}");
                let in_header = at - starts[record] < HEADER_LEN;
                match end {
                    Err(RecordError::Forged) => {}
                    // A length that is changed may also be impossible, or lead past the end.
                    Err(RecordError::Length | RecordError::Truncated) if in_header => {}
                    other => panic!("byte {at}, bit {bit}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn records_cannot_change_places() {
        let stream = sealed(&[b"one", b"two", b"six", b"end"]);
        let records: Vec<&[u8]> = stream.chunks(HEADER_LEN + 3 + TAG_LEN).collect();
        for (name, order, good) in [
            ("swapped", vec![1, 0, 2, 3], 0),
            ("repeated", vec![0, 0, 1, 2, 3], 1),
            ("left out", vec![0, 2, 3], 1),
            ("last one first", vec![3, 0, 1, 2], 0),
            ("last one early", vec![0, 1, 3], 2),
        ] {
            let stream: Vec<u8> = order.iter().flat_map(|n: &usize| records[*n]).copied().collect();
            let (read, end) = opened(&stream);
            assert!(matches!(end, Err(RecordError::Forged)), "{name}");
            assert_eq!(read.len(), good, "{name}");
        }
    }

    #[test]
    fn another_key_opens_nothing() {
        let stream = sealed(&[b"hello"]);
        let mut reader = RecordReader::new(&*stream, OpenKey([8; 32]), LIMIT);
        assert!(matches!(reader.read(&mut Buffer::default()), Err(RecordError::Forged)));
    }

    #[test]
    fn nothing_follows_the_last_record() {
        let mut stream = Vec::new();
        let mut writer = writer(&mut stream);
        writer.write_last(&mut buffer(b"end")).unwrap();
        for _ in 0..2 {
            let written = writer.write(&mut buffer(b"more"));
            assert!(matches!(written, Err(RecordError::Ended)));
            let written = writer.write_last(&mut buffer(b"more"));
            assert!(matches!(written, Err(RecordError::Ended)));
        }
        let once = stream.len();
        assert_eq!(once, HEADER_LEN + 3 + TAG_LEN);

        stream.extend(stream.clone());
        let (mut reader, mut buffer) = (reader(&stream), Buffer::default());
        assert_eq!(reader.read(&mut buffer).unwrap(), Follows::Nothing);
        assert!(matches!(reader.read(&mut buffer), Err(RecordError::Ended)));
    }

    #[test]
    fn impossible_lengths_take_no_memory() {
        let most = u32::try_from(LIMIT + TAG_LEN).unwrap();
        for length in [0, 1, 16, most + 1, 0x7fff_ffff] {
            for mark in [0, LAST] {
                let mut buffer = Buffer::default();
                let header = (length | mark).to_be_bytes();
                let read = reader(&header).read(&mut buffer);
                assert!(matches!(read, Err(RecordError::Length)), "{length}");
                assert_eq!(buffer.bytes.capacity(), 0, "{length}");
            }
        }
        for length in [17, most] {
            let read = reader(&length.to_be_bytes()).read(&mut Buffer::default());
            assert!(matches!(read, Err(RecordError::Truncated)), "{length}");
        }
    }

    #[test]
    fn the_counter_never_wraps() {
        let mut stream = Vec::new();
        let mut writer = writer(&mut stream);
        writer.sealer.counter = Counter(Some(u64::MAX));
        writer.write(&mut buffer(b"the very last")).unwrap();
        assert!(matches!(writer.write(&mut buffer(b"more")), Err(RecordError::Ended)));

        let (mut reader, mut buffer) = (reader(&stream), Buffer::default());
        reader.counter = Counter(Some(u64::MAX));
        assert_eq!(reader.read(&mut buffer).unwrap(), Follows::More);
        assert_eq!(buffer.plaintext(), b"the very last");
        assert!(matches!(reader.read(&mut buffer), Err(RecordError::Ended)));
    }

    #[test]
    fn a_stream_that_fails_is_not_one_that_ended() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let mut reader = RecordReader::new(Broken, OpenKey(KEY), LIMIT);
        assert!(matches!(reader.read(&mut Buffer::default()), Err(RecordError::Io(_))));
    }

    /// Bare records: the same lengths, marks and ends, and nothing after the plaintext.
    #[test]
    fn a_carried_direction_has_bare_records() {
        let mut stream = Vec::new();
        let mut writer = RecordWriter::carried(&mut stream);
        writer.write(&mut buffer(b"hello")).unwrap();
        assert!(matches!(writer.write(&mut Buffer::default()), Err(RecordError::Length)));
        let mut stream = Vec::new();
        let mut writer = RecordWriter::carried(&mut stream);
        writer.write(&mut buffer(b"hello")).unwrap();
        writer.write_last(&mut buffer(b"end")).unwrap();
        assert!(matches!(writer.write(&mut buffer(b"more")), Err(RecordError::Ended)));
        assert_eq!(stream, *b"\0\0\0\x05hello\x80\0\0\x03end");

        let mut reader = RecordReader::carried(&*stream, LIMIT);
        let mut buffer = Buffer::default();
        assert_eq!(reader.read(&mut buffer).unwrap(), Follows::More);
        assert_eq!(buffer.plaintext(), b"hello");
        assert_eq!(reader.read(&mut buffer).unwrap(), Follows::Nothing);
        assert_eq!(buffer.plaintext(), b"end");
        assert!(matches!(reader.read(&mut buffer), Err(RecordError::Ended)));

        for cut in 0..stream.len() {
            let mut reader = RecordReader::carried(&stream[..cut], LIMIT);
            let end = std::iter::repeat_with(|| reader.read(&mut Buffer::default()))
                .find(|read| !matches!(read, Ok(Follows::More)));
            assert!(matches!(end, Some(Err(RecordError::Truncated))), "{cut}");
        }
        let most = u32::try_from(LIMIT).unwrap();
        for (length, is_possible) in
            [(0, false), (1, true), (most, true), (most + 1, false), (0x7fff_ffff, false)]
        {
            let mut buffer = Buffer::default();
            let read = RecordReader::carried(&length.to_be_bytes()[..], LIMIT).read(&mut buffer);
            let is_length = matches!(read, Err(RecordError::Length));
            assert_eq!(is_length, !is_possible, "{length}");
            assert_eq!(buffer.bytes.capacity() > 0, is_possible, "{length}");
        }
    }

    #[test]
    fn buffers_are_used_again() {
        let mut buffer = buffer(b"a long plaintext");
        buffer.patch(2, b"LONG");
        buffer.patch(15, b"T, and what does not fit");
        buffer.patch(17, b"beyond");
        assert_eq!(buffer.plaintext(), b"a LONG plaintexT");
        buffer.clear();
        assert!(buffer.is_empty());
        buffer.room(4).copy_from_slice(b"abcd");
        buffer.advance(2);
        assert_eq!((buffer.plaintext(), buffer.len()), (&b"ab"[..], 2));
        // No more is claimed than there is room.
        buffer.advance(usize::MAX / 2);
        assert_eq!(buffer.len(), 16);
    }
}
