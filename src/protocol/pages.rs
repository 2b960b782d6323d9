//! Lists that may be longer than a record: entries, the plan, files to retry, results.
//!
//! A page is its kind, a byte that is 1 on the last page and 0 before, and whole items.

use super::fault::Fault;
use super::features::{Feature, Features};
use super::reader::{Malformed, Read, Reader};
use crate::crypto::keys::Role;
use crate::crypto::record::Buffer;
use crate::files::manifest::{Entry, Kind};
use crate::files::modes::MADE_UP;
use crate::files::path::RelPath;
use crate::files::states::State;

/// Bytes of SHA-256.
pub const HASH_LEN: usize = 32;

/// What the receiver asks for an entry that is not simply to be sent whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is there, or not wanted.
    Skip,
    /// The content from `offset` on, if what comes before has this SHA-256.
    Resume {
        /// Bytes that the receiver has.
        offset: u64,
        /// SHA-256 of those.
        hash: [u8; HASH_LEN],
    },
    /// The content behind so many whole blocks, at once: that they are the sender's both sides
    /// find out meanwhile.
    GoOn {
        /// Whole blocks that the receiver has, at least one.
        blocks: u32,
        /// SHA-256's state behind the last of them.
        state: State,
    },
}

/// Blocks of a file that the receiver asks for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first, counted from 0.
    pub first: u32,
    /// How many, at least one.
    pub count: u32,
}

impl Range {
    /// The first block behind it.
    pub fn end(&self) -> u64 {
        u64::from(self.first) + u64::from(self.count)
    }

    /// Bytes of it in a file of this size, in blocks of so many bytes.
    pub fn bytes(&self, block: u64, size: u64) -> u64 {
        let [from, to] =
            [self.first.into(), self.end()].map(|at: u64| at.saturating_mul(block).min(size));
        to - from
    }
}

/// Cuts a list into pages.
///
/// `kind` is the message's first byte, `limit` the bytes of a page; `encode` appends one item;
/// `send` takes a full page and leaves an empty buffer.
///
/// # Errors
/// What `send` fails with.
pub fn write<T, E>(
    kind: u8,
    limit: usize,
    buffer: &mut Buffer,
    items: impl IntoIterator<Item = T>,
    mut encode: impl FnMut(&mut Buffer, T),
    mut send: impl FnMut(&mut Buffer) -> Result<(), E>,
) -> Result<(), E> {
    buffer.clear();
    buffer.extend(&[kind, 0]);
    for item in items {
        encode(buffer, item);
        if buffer.len() > limit.saturating_sub(MAX_ITEM) {
            send(buffer)?;
            buffer.clear();
            buffer.extend(&[kind, 0]);
        }
    }
    buffer.patch(1, &[1]);
    send(buffer)
}

/// Bytes of the longest item: an entry with the longest path and link target.
const MAX_ITEM: usize = 64 + 2 * crate::bounds::MAX_PATH;

/// In an entry's kind: its path, and where it leads, are bytes and not all of them text.
const RAW: u8 = 0x80;
/// An entry's kind: a file with holes.
const SPARSE: u8 = 3;

/// Appends an entry: kind, mode, mtime, then its size and what of it is stored, then path and link
/// target.
pub fn put_entry(buffer: &mut Buffer, entry: &Entry) {
    let (code, size, target) = match &entry.kind {
        Kind::File(size) => (0u8, Some(*size), None),
        Kind::Folder => (1, None, None),
        Kind::Link(target) => (2, None, Some(target)),
        Kind::Sparse { size, .. } => (SPARSE, Some(*size), None),
    };
    buffer.extend(&[if entry.is_text() { code } else { code | RAW }]);
    buffer.extend(&entry.mode.to_be_bytes());
    buffer.extend(&entry.mtime.to_be_bytes());
    if let Some(size) = size {
        buffer.extend(&size.to_be_bytes());
    }
    if let Kind::Sparse { stored, .. } = entry.kind {
        buffer.extend(&stored.to_be_bytes());
    }
    put_path(buffer, entry.path.as_bytes());
    if let Some(target) = target {
        put_path(buffer, target.as_bytes());
    }
}

/// A two-byte length and the bytes. Paths are at most 4,096 bytes long.
fn put_path(buffer: &mut Buffer, path: &[u8]) {
    let len = u16::try_from(path.len()).unwrap_or(u16::MAX);
    buffer.extend(&len.to_be_bytes());
    buffer.extend(path.get(..len.into()).unwrap_or_default());
}

/// In a step of the plan: go on behind blocks.
const GO_ON: u8 = 2;

/// Appends a step of the plan.
pub fn put_step(buffer: &mut Buffer, (index, step): (u32, Step)) {
    buffer.extend(&index.to_be_bytes());
    match step {
        Step::Skip => buffer.extend(&[0]),
        Step::Resume { offset, hash } => {
            buffer.extend(&[1]);
            buffer.extend(&offset.to_be_bytes());
            buffer.extend(&hash);
        }
        Step::GoOn { blocks, state } => {
            buffer.extend(&[2]);
            buffer.extend(&blocks.to_be_bytes());
            buffer.extend(&state);
        }
    }
}

/// Appends a range of blocks of the file of this index.
pub fn put_repair(buffer: &mut Buffer, (index, range): (u32, Range)) {
    for number in [index, range.first, range.count] {
        buffer.extend(&number.to_be_bytes());
    }
}

/// Appends an index.
pub fn put_index(buffer: &mut Buffer, index: u32) {
    buffer.extend(&index.to_be_bytes());
}

/// Appends a result.
pub fn put_result(buffer: &mut Buffer, (index, fault): (u32, Fault)) {
    buffer.extend(&index.to_be_bytes());
    buffer.extend(&[fault.code()]);
}

/// Whether a page is the last of its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// More follow.
    More,
    /// That was the last.
    End,
}

fn read_page<'a>(
    mut reader: Reader<'a>,
    mut item: impl FnMut(&mut Reader<'a>) -> Read<()>,
) -> Read<Pages> {
    let pages = match reader.u8()? {
        0 if reader.is_empty() => return Err(Malformed("an empty page that is not the last")),
        0 => Pages::More,
        1 => Pages::End,
        _ => return Err(Malformed("an unknown page flag")),
    };
    while !reader.is_empty() {
        item(&mut reader)?;
    }
    Ok(pages)
}

/// Takes a page of entries apart. `agreed` is what both sides can do.
pub fn entries(
    page: Reader<'_>,
    agreed: Features,
    mut each: impl FnMut(Entry) -> Read<()>,
) -> Read<Pages> {
    const FORBIDDEN: Malformed = Malformed("an entry has a forbidden name");
    read_page(page, |reader| {
        let code = reader.u8()?;
        let (code, is_raw) = (code & !RAW, code & RAW != 0);
        if is_raw {
            agreed.check(Feature::RawNames)?;
        }
        if code == SPARSE {
            agreed.check(Feature::Sparse)?;
        }
        let mode = reader.u16()?;
        if mode & !(0o7777 | MADE_UP) != 0 {
            return Err(Malformed("an entry has an impossible mode"));
        }
        let mtime = reader.i64()?;
        let size = if matches!(code, 0 | SPARSE) { reader.u64()? } else { 0 };
        let stored = if code == SPARSE { reader.u64()? } else { 0 };
        if stored > size {
            return Err(Malformed("a file takes more than its size"));
        }
        // The flag says how both are read.
        let mut bytes = || if is_raw { reader.counted() } else { reader.text().map(str::as_bytes) };
        let path = RelPath::from_bytes(bytes()?).map_err(|_| FORBIDDEN)?;
        let kind = match code {
            0 => Kind::File(size),
            1 => Kind::Folder,
            2 => Kind::Link(bytes()?.into()),
            SPARSE => Kind::Sparse { size, stored },
            _ => return Err(Malformed("an entry of an unknown kind")),
        };
        let entry = Entry { path, kind, mode, mtime };
        match (is_raw, entry.is_text()) {
            (true, true) => Err(Malformed("a name of bytes that is text")),
            (false, false) => Err(FORBIDDEN),
            _ => each(entry),
        }
    })
}

/// Takes a page of the plan apart. `each` checks the index; `agreed` is what both sides can do.
pub fn plan(
    page: Reader<'_>,
    agreed: Features,
    mut each: impl FnMut(u32, Step) -> Read<()>,
) -> Read<Pages> {
    read_page(page, |reader| {
        let index = reader.u32()?;
        let step = match reader.u8()? {
            0 => Step::Skip,
            1 => Step::Resume { offset: reader.u64()?, hash: reader.array()? },
            GO_ON => {
                agreed.check(Feature::Blocks)?;
                Step::GoOn { blocks: reader.u32()?, state: reader.array()? }
            }
            _ => return Err(Malformed("an unknown step in the plan")),
        };
        each(index, step)
    })
}

/// Takes a page of ranges of blocks apart. `each` checks index and range.
pub fn repairs(page: Reader<'_>, mut each: impl FnMut(u32, Range) -> Read<()>) -> Read<Pages> {
    read_page(page, |reader| {
        let index = reader.u32()?;
        each(index, Range { first: reader.u32()?, count: reader.u32()? })
    })
}

/// Takes a page of indices apart. `each` checks the index.
pub fn indices(page: Reader<'_>, mut each: impl FnMut(u32) -> Read<()>) -> Read<Pages> {
    read_page(page, |reader| each(reader.u32()?))
}

/// Takes a page of results apart. `each` checks the index.
pub fn results(page: Reader<'_>, mut each: impl FnMut(u32, Fault) -> Read<()>) -> Read<Pages> {
    read_page(page, |reader| each(reader.u32()?, Fault::decode(reader.u8()?, Role::Receiver)?))
}

#[cfg(test)]
mod tests;
