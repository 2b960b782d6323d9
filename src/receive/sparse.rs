//! What may come of a file with holes, and what its sender has said of it.

use crate::bounds::HOLE_BLOCK;
use crate::files::manifest::{Entry, Kind};
use crate::protocol::reader::Malformed;

/// What came of the content of a file with holes.
pub struct Came {
    /// Where it began.
    pub start: u64,
    /// Bytes that its sender has said it takes; nothing where that does not matter any more.
    stored: Option<u64>,
}

impl Came {
    /// Nothing yet, from `offset` on.
    pub fn begin(entry: &Entry, offset: u64) -> Self {
        let stored = match entry.kind {
            Kind::Sparse { stored, .. } => Some(stored),
            _ => None,
        };
        Self { start: offset, stored }
    }

    /// Whether it takes more now than was said, for the first time.
    pub fn breaks(&mut self, taken: u64) -> bool {
        let breaks = self.stored.is_some_and(|stored| taken > stored);
        self.stored = self.stored.filter(|_| !breaks);
        breaks
    }
}

/// Whether a hole of these ends may be in a file of this size that began to come at `start`. Each piece
/// of content between holes costs a page of hashing, so none is shorter than a block.
pub fn check((begin, end): (u64, u64), (start, size): (u64, u64)) -> Result<(), Malformed> {
    if end > size {
        return Err(Malformed("a file is longer than was offered"));
    }
    let begins = begin.is_multiple_of(HOLE_BLOCK) || begin == start;
    let ends = end.is_multiple_of(HOLE_BLOCK) || end == size;
    if begins && ends { Ok(()) } else { Err(Malformed("a hole that is no whole blocks")) }
}
