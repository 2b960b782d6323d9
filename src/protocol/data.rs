//! File content on the wire: start, bytes, end, one file after the other.
//!
//! A record holds many small files or a piece of a large one. The items of one file are not
//! mixed with those of another.

use super::fault::Fault;
use super::features::{Feature, Features};
use super::pages::HASH_LEN;
use super::reader::{Malformed, Read, Reader};
use crate::crypto::keys::Role;
use crate::crypto::record::Buffer;
use crate::files::states::{STATE_LEN, State};

const START: u8 = 1;
const BYTES: u8 = 2;
const END: u8 = 3;
const FAILED: u8 = 4;
const HOLE: u8 = 5;
const STATE: u8 = 6;
const STOP: u8 = 7;

/// Bytes that the items around one file's content take in a record, at most.
pub const FRAMING: usize = START_LEN + BYTES_LEN + END_LEN;
const START_LEN: usize = 1 + 4 + 8;
const BYTES_LEN: usize = 1 + 4;
/// Bytes of an [`Item::End`].
pub const END_LEN: usize = 1 + 8 + HASH_LEN;
/// Bytes of an [`Item::Hole`].
pub const HOLE_LEN: usize = 1 + 8;

/// Bytes of an [`Item::State`].
pub const STATE_ITEM_LEN: usize = 1 + STATE_LEN;

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
    /// So many zeros of the file that was started, which is one with holes; not none.
    Hole(u64),
    /// A whole block of the file that was started has ended: SHA-256's state behind it.
    State(State),
    /// The range of blocks that was asked for again has ended.
    Stop,
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
    buffer.extend(&[fault.code()]);
}

/// Appends [`Item::Hole`].
pub fn put_hole(buffer: &mut Buffer, len: u64) {
    buffer.extend(&[HOLE]);
    buffer.extend(&len.to_be_bytes());
}

/// Appends [`Item::State`].
pub fn put_state(buffer: &mut Buffer, state: &State) {
    buffer.extend(&[STATE]);
    buffer.extend(state);
}

/// Appends [`Item::Stop`].
pub fn put_stop(buffer: &mut Buffer) {
    buffer.extend(&[STOP]);
}

/// The next item, or nothing at the end of the record. `agreed` is what both sides can do.
pub fn next<'a>(reader: &mut Reader<'a>, agreed: Features) -> Read<Option<Item<'a>>> {
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
        FAILED => {
            let (index, code) = (reader.u32()?, reader.u8()?);
            Item::Failed { index, fault: Fault::decode(code, Role::Sender)? }
        }
        HOLE => {
            agreed.check(Feature::Sparse)?;
            match reader.u64()? {
                0 => return Err(Malformed("a hole of nothing")),
                len => Item::Hole(len),
            }
        }
        STATE => {
            agreed.check(Feature::Blocks)?;
            Item::State(reader.array()?)
        }
        STOP => {
            agreed.check(Feature::Blocks)?;
            Item::Stop
        }
        _ => return Err(Malformed("data of an unknown kind")),
    };
    Ok(Some(item))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CUT: Malformed = Malformed("a message is cut off");

    fn put(buffer: &mut Buffer, item: &Item<'_>) {
        match item {
            Item::Start { index, offset } => put_start(buffer, *index, *offset),
            Item::Bytes(content) => {
                let len = u32::try_from(content.len()).unwrap();
                put_bytes(buffer, len, |room| -> Result<(), ()> {
                    room.copy_from_slice(content);
                    Ok(())
                })
                .unwrap();
            }
            Item::End { size, hash } => put_end(buffer, *size, hash),
            Item::Failed { index, fault } => put_failed(buffer, *index, *fault),
            Item::Hole(len) => put_hole(buffer, *len),
            Item::State(state) => put_state(buffer, state),
            Item::Stop => put_stop(buffer),
        }
    }

    fn read_all(items: &[u8]) -> Read<Vec<Item<'_>>> {
        let mut reader = Reader::new(items);
        let mut found = Vec::new();
        while let Some(item) = next(&mut reader, Features::ours())? {
            found.push(item);
        }
        Ok(found)
    }

    #[test]
    fn items_byte_by_byte() {
        let items = vec![
            Item::Start { index: 1, offset: 2 },
            Item::Bytes(b"abc"),
            Item::End { size: 5, hash: [9; HASH_LEN] },
            Item::Failed { index: 4, fault: Fault::Changed },
            Item::Hole(258),
            Item::State([8; STATE_LEN]),
            Item::Stop,
        ];
        let mut buffer = Buffer::default();
        for item in &items {
            put(&mut buffer, item);
        }
        let expected: [&[u8]; 11] = [
            &[1, 0, 0, 0, 1],          // start of entry 1
            &[0, 0, 0, 0, 0, 0, 0, 2], // at offset 2
            &[2, 0, 0, 0, 3],          // 3 bytes
            b"abc",
            &[3, 0, 0, 0, 0, 0, 0, 0, 5], // end, 5 bytes in all
            &[9; 32],                     // SHA-256
            &[4, 0, 0, 0, 4, 3],          // entry 4 failed: changed
            &[5, 0, 0, 0, 0, 0, 0, 1, 2], // 258 zeros
            &[6],                         // state
            &[8; 32],
            &[7], // stop
        ];
        assert_eq!(buffer.plaintext(), expected.concat());
        assert_eq!(read_all(buffer.plaintext()), Ok(items));
        assert_eq!(FRAMING, buffer.len() - 3 - 6 - HOLE_LEN - STATE_ITEM_LEN - 1);
    }

    #[test]
    fn what_no_honest_peer_sends_is_refused() {
        let unknown = Malformed("data of an unknown kind");
        let unagreed = Malformed("a feature that was not agreed on");
        for (bytes, expected) in [
            (&b""[..], Ok(vec![])),
            (&[2, 0, 0, 0, 0], Ok(vec![Item::Bytes(b"")])),
            (&[0], Err(unknown)),
            (&[5, 0, 0, 0, 0], Err(CUT)),
            (&[5, 0, 0, 0, 0, 0, 0, 0, 0], Err(Malformed("a hole of nothing"))),
            (&[5, 255, 255, 255, 255, 255, 255, 255, 255], Ok(vec![Item::Hole(u64::MAX)])),
            (&[8], Err(unknown)),
            (&[0xff], Err(unknown)),
            (&[2, 0xff, 0xff, 0xff, 0xff, b'a'], Err(CUT)),
            (&[2, 0, 0, 0, 2, b'a'], Err(CUT)),
            (&[6, 0, 0, 0, 0], Err(CUT)),
            (&[7], Ok(vec![Item::Stop])),
            (&[4, 0, 0, 0, 1, 0], Err(Malformed("an unknown fault"))),
            (
                &[4, 0, 0, 0, 1, 13],
                Ok(vec![Item::Failed { index: 1, fault: Fault::UnknownSource(13) }]),
            ),
        ] {
            assert_eq!(read_all(bytes), expected, "{bytes:x?}");
        }
        for item in [&[6; 33][..], &[7]] {
            let without = Features::ours().without(&[Feature::Blocks]);
            assert_eq!(next(&mut Reader::new(item), without), Err(unagreed));
        }
    }

    #[test]
    fn content_that_cannot_be_read_leaves_no_trace() {
        let mut buffer = Buffer::default();
        put_start(&mut buffer, 1, 0);
        let before = buffer.plaintext().to_vec();
        let filled = put_bytes(&mut buffer, 100, |room| {
            room.fill(1);
            Err::<(), _>("gone")
        });
        assert_eq!(filled, Err("gone"));
        assert_eq!(buffer.plaintext(), before);
        put_failed(&mut buffer, 1, Fault::Vanished);
        assert_eq!(read_all(buffer.plaintext()).unwrap().len(), 2);
    }

    #[derive(Debug, Clone)]
    enum Made {
        Start(u32, u64),
        Bytes(Vec<u8>),
        End(u64, [u8; 32]),
        Failed(u32, u8),
        Hole(u64),
        State([u8; 32]),
        Stop,
    }

    impl Made {
        fn item(&self) -> Item<'_> {
            match self {
                Self::Start(index, offset) => Item::Start { index: *index, offset: *offset },
                Self::Bytes(content) => Item::Bytes(content),
                Self::End(size, hash) => Item::End { size: *size, hash: *hash },
                Self::Failed(index, code) => Item::Failed {
                    index: *index,
                    fault: Fault::decode(*code, Role::Sender).unwrap(),
                },
                Self::Hole(len) => Item::Hole(*len),
                Self::State(state) => Item::State(*state),
                Self::Stop => Item::Stop,
            }
        }
    }

    fn made() -> impl Strategy<Value = Made> {
        prop_oneof![
            any::<(u32, u64)>().prop_map(|(index, offset)| Made::Start(index, offset)),
            prop::collection::vec(any::<u8>(), 0..50).prop_map(Made::Bytes),
            any::<(u64, [u8; 32])>().prop_map(|(size, hash)| Made::End(size, hash)),
            (any::<u32>(), 1..=255u8).prop_map(|(index, code)| Made::Failed(index, code)),
            (1..=u64::MAX).prop_map(Made::Hole),
            any::<[u8; 32]>().prop_map(Made::State),
            Just(Made::Stop),
        ]
    }

    proptest! {
        #[test]
        fn items_survive_and_cuts_are_noticed(made in prop::collection::vec(made(), 1..20), cut in 0..999usize) {
            let items: Vec<Item<'_>> = made.iter().map(Made::item).collect();
            let mut buffer = Buffer::default();
            let mut ends = vec![0];
            for item in &items {
                put(&mut buffer, item);
                ends.push(buffer.len());
            }
            let bytes = buffer.plaintext();
            let cut = cut.min(bytes.len());
            match ends.iter().position(|end| *end == cut) {
                Some(whole) => prop_assert_eq!(&read_all(&bytes[..cut]).unwrap()[..], &items[..whole]),
                None => prop_assert_eq!(read_all(&bytes[..cut]), Err(CUT)),
            }
            prop_assert_eq!(read_all(bytes), Ok(items));
        }

        #[test]
        fn no_bytes_can_make_it_panic(bytes in prop::collection::vec(0..9u8, 0..100)) {
            let _ = read_all(&bytes);
        }
    }
}
