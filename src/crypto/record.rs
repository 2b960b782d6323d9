//! One direction of a session: `length || ChaCha20-Poly1305`, counted, ended on purpose.
//!
//! The nonce is a counter that belongs to the writer or reader; no caller sees or sets it. The
//! last record is marked inside the authenticated header, and end of stream before it is
//! truncation. Records are sealed and opened in the buffer they travel in: no copy.

use std::io::{self, Read, Write};

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag};

use super::keys::{OpenKey, SealKey};

/// Bytes of the record header: the length of what follows, with [`LAST`] as its top bit.
pub const HEADER_LEN: usize = 4;
/// Bytes of the Poly1305 tag that ends a record.
pub const TAG_LEN: usize = 16;
/// Set in the header of the last record of a direction.
pub const LAST: u32 = 1 << 31;
/// Bytes of file content that a record may carry.
pub const MAX_CONTENT: usize = 1 << 20;
/// Bytes that a record may hold beside the content.
pub const MAX_FRAMING: usize = 1024;
/// Bytes of plaintext that a record may hold.
pub const MAX_PLAINTEXT: usize = MAX_CONTENT + MAX_FRAMING;

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

    /// Overwrites plaintext already written; what does not fit is left out.
    pub fn patch(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(HEADER_LEN + at..HEADER_LEN + self.len) {
            let len = bytes.len().min(place.len());
            place[..len].copy_from_slice(&bytes[..len]);
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

/// Seals records into a stream.
pub struct RecordWriter<W> {
    writer: W,
    cipher: ChaCha20Poly1305,
    counter: Counter,
}

impl<W: Write> RecordWriter<W> {
    /// The direction that `key` seals.
    pub fn new(writer: W, key: SealKey) -> Self {
        let cipher = ChaCha20Poly1305::new((&key.0).into());
        Self { writer, cipher, counter: Counter(Some(0)) }
    }

    /// Seals the plaintext in its buffer and writes the record; the buffer is left empty.
    pub fn write(&mut self, buffer: &mut Buffer) -> Result<(), RecordError> {
        self.write_marked(buffer, 0)
    }

    /// The same, for the last record of this direction; any further write fails.
    pub fn write_last(&mut self, buffer: &mut Buffer) -> Result<(), RecordError> {
        self.write_marked(buffer, LAST)?;
        self.counter.end();
        Ok(())
    }

    fn write_marked(&mut self, buffer: &mut Buffer, mark: u32) -> Result<(), RecordError> {
        let record = seal(&self.cipher, self.counter.next()?, buffer, mark)?;
        self.writer.write_all(record)?;
        self.writer.flush()?;
        buffer.clear();
        Ok(())
    }
}

/// Seals in place and returns the whole record.
fn seal<'a>(
    cipher: &ChaCha20Poly1305,
    nonce: Nonce,
    buffer: &'a mut Buffer,
    mark: u32,
) -> Result<&'a [u8], RecordError> {
    let plaintext = buffer.len();
    let length = u32::try_from(plaintext + TAG_LEN).ok().filter(|length| length & LAST == 0);
    let header = length.filter(|_| plaintext > 0).ok_or(RecordError::Length)? | mark;
    let header = header.to_be_bytes();
    buffer.room(TAG_LEN);
    let (head, body) = buffer.bytes.split_at_mut(HEADER_LEN);
    let (body, rest) = body.split_at_mut(plaintext);
    head.copy_from_slice(&header);
    let tag = cipher
        .encrypt_inout_detached(&nonce, &header, body.into())
        .map_err(|_| RecordError::Length)?;
    rest[..TAG_LEN].copy_from_slice(&tag);
    Ok(&buffer.bytes[..HEADER_LEN + plaintext + TAG_LEN])
}

/// Opens the records of a stream.
pub struct RecordReader<R> {
    reader: R,
    cipher: ChaCha20Poly1305,
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
    /// ([`MAX_PLAINTEXT`] outside tests).
    pub fn new(reader: R, key: OpenKey, limit: usize) -> Self {
        let cipher = ChaCha20Poly1305::new((&key.0).into());
        Self { reader, cipher, counter: Counter(Some(0)), limit }
    }

    /// Reads one record and opens it in `buffer`.
    pub fn read(&mut self, buffer: &mut Buffer) -> Result<Follows, RecordError> {
        let nonce = self.counter.next()?;
        let mut header = [0u8; HEADER_LEN];
        read_exact(&mut self.reader, &mut header)?;
        let word = u32::from_be_bytes(header);
        let length = usize::try_from(word & !LAST).map_err(|_| RecordError::Length)?;
        // Checked before memory is taken, for a length is not authenticated until it is used.
        if length <= TAG_LEN || length > self.limit + TAG_LEN {
            return Err(RecordError::Length);
        }
        buffer.clear();
        let record = buffer.room(length);
        read_exact(&mut self.reader, record)?;

        let plaintext = length - TAG_LEN;
        let (body, tag) = record.split_at_mut(plaintext);
        let tag = Tag::try_from(&*tag).map_err(|_| RecordError::Length)?;
        self.cipher
            .decrypt_inout_detached(&nonce, &header, body.into(), &tag)
            .map_err(|_| RecordError::Forged)?;
        buffer.advance(plaintext);
        if word & LAST == 0 {
            return Ok(Follows::More);
        }
        self.counter.end();
        Ok(Follows::Nothing)
    }
}

/// `read_exact` that tells a stream which ended from one that failed.
fn read_exact(reader: &mut impl Read, bytes: &mut [u8]) -> Result<(), RecordError> {
    reader.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => RecordError::Truncated,
        _ => RecordError::Io(error),
    })
}
