//! File content on the wire: start, bytes, end, one file after the other.
//!
//! A record holds many small files or a piece of a large one. The items of one file are not
//! mixed with those of another.

use super::codec::{Malformed, Read, Reader};
use super::pages::{Fault, HASH_LEN};
use crate::crypto::record::Buffer;

const START: u8 = 1;
const BYTES: u8 = 2;
const END: u8 = 3;
const FAILED: u8 = 4;

/// Bytes that the items around one file's content take in a record, at most.
pub const FRAMING: usize = START_LEN + BYTES_LEN + END_LEN;
const START_LEN: usize = 1 + 4 + 8;
const BYTES_LEN: usize = 1 + 4;
const END_LEN: usize = 1 + 8 + HASH_LEN;

/// A piece of a record of data.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// The content of entry `index` follows, from `offset` on.
    Start {
        /// Which entry.
        index: u32,
        /// Where the content begins: 0, or what the plan proposed.
        offset: u64,
    },
    /// Content of the file that was started.
    Bytes(&'a [u8]),
    /// The file that was started is whole.
    End {
        /// Bytes of the whole file.
        size: u64,
        /// SHA-256 of the whole file.
        hash: [u8; HASH_LEN],
    },
    /// Entry `index`, started or not, cannot be sent.
    Failed {
        /// Which entry.
        index: u32,
        /// Why.
        fault: Fault,
    },
}

/// Appends [`Item::Start`].
pub fn put_start(buffer: &mut Buffer, index: u32, offset: u64) {
    buffer.extend(&[START]);
    buffer.extend(&index.to_be_bytes());
    buffer.extend(&offset.to_be_bytes());
}

/// Appends [`Item::Bytes`], its `len` bytes written in place by `fill`.
///
/// # Errors
/// What `fill` fails with; the buffer is then as it was.
pub fn put_bytes<T, E>(
    buffer: &mut Buffer,
    len: u32,
    fill: impl FnOnce(&mut [u8]) -> Result<T, E>,
) -> Result<T, E> {
    // The header is written into the same room as the content, so that a failure leaves no trace.
    let room = buffer.room(BYTES_LEN + len as usize);
    let (header, content) = room.split_at_mut(BYTES_LEN);
    let filled = fill(content)?;
    header[0] = BYTES;
    header[1..].copy_from_slice(&len.to_be_bytes());
    buffer.advance(BYTES_LEN + len as usize);
    Ok(filled)
}

/// Appends [`Item::End`].
pub fn put_end(buffer: &mut Buffer, size: u64, hash: &[u8; HASH_LEN]) {
    buffer.extend(&[END]);
    buffer.extend(&size.to_be_bytes());
    buffer.extend(hash);
}

/// Appends [`Item::Failed`].
pub fn put_failed(buffer: &mut Buffer, index: u32, fault: Fault) {
    buffer.extend(&[FAILED]);
    buffer.extend(&index.to_be_bytes());
    buffer.extend(&[fault as u8]);
}

/// The next item, or nothing at the end of the record.
pub fn next<'a>(reader: &mut Reader<'a>) -> Read<Option<Item<'a>>> {
    if reader.is_empty() {
        return Ok(None);
    }
    let item = match reader.u8()? {
        START => Item::Start { index: reader.u32()?, offset: reader.u64()? },
        BYTES => {
            let len = usize::try_from(reader.u32()?);
            let len = len.map_err(|_| Malformed("a message is cut off"))?;
            Item::Bytes(reader.bytes(len)?)
        }
        END => Item::End { size: reader.u64()?, hash: reader.array()? },
        FAILED => Item::Failed { index: reader.u32()?, fault: Fault::decode(reader.u8()?)? },
        _ => return Err(Malformed("data of an unknown kind")),
    };
    Ok(Some(item))
}
