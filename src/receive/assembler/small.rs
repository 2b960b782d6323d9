//! Whole files in one record, which the pool puts at their places.

use super::{Assembler, State, Take, state};
use crate::crypto::record::Buffer;
use crate::files::manifest::Entry;
use crate::protocol::data::{self, Item};
use crate::protocol::features::Features;
use crate::protocol::pages::HASH_LEN;
use crate::protocol::reader::{Malformed, Reader};
use crate::receive::pool::{Job, Small, WriterPool};

/// A file that is whole in a record: its content and its hash.
type Whole<'a> = (&'a [u8], [u8; HASH_LEN]);

impl Assembler<'_> {
    /// What is to be done with a file that begins here, if it ends in the same record, as it was
    /// offered, and nothing about it is unusual. `items`, behind its start, is then behind its end.
    pub(super) fn small<'r>(
        &mut self,
        index: u32,
        items: &mut Reader<'r>,
        record: &Buffer,
    ) -> Result<Option<Small>, Malformed> {
        let wanted = state(&self.states, index) == Some(State::Wanted);
        let entry = self.tree.manifest.get(index).filter(|_| wanted && self.current.is_none());
        let usual = |entry: &&Entry| {
            // What has a whole block has a state in it.
            let is_plain = !entry.is_sparse() && entry.size() < self.block();
            is_plain && !self.resume.contains_key(&index)
        };
        let Some(entry) = entry.filter(usual) else { return Ok(None) };
        let mut rest = *items;
        let Some((content, hash)) = whole(entry, &mut rest, self.agreed)? else { return Ok(None) };
        let place = self.tree.place(index, entry);
        let end = record.len() - (rest.len() + data::END_LEN);
        let content = end - content.len()..end;
        *items = rest;
        let (entry, found) = (entry.clone(), self.tree.plan.found(index).cloned());
        Ok(Some(Small { index, entry, place, found, content, hash }))
    }

    /// Takes note of what the pool has done, and does what it could not do. Returns the records to
    /// be used again.
    pub(super) fn settle(&mut self, Job { record, files }: Job) -> Take<Buffer> {
        for (small, placed) in files {
            let Small { index, content, hash, .. } = small;
            let content = record.plaintext().get(content).unwrap_or_default();
            self.in_pool = self.in_pool.saturating_sub(content.len() as u64);
            if let Some(mtime) = placed {
                self.allowance.wrote(content.len() as u64);
                self.count(index, content.len() as u64);
                self.finished.push(index);
                self.arrived(index, hash, Some(mtime));
                continue;
            }
            self.set(index, State::Wanted);
            // A larger file may be at hand.
            let at_hand = self.current.take();
            let size = content.len() as u64;
            let redone = self
                .start(index, 0)
                .and_then(|()| if content.is_empty() { Ok(()) } else { self.write(content) })
                .and_then(|()| self.end(size, hash));
            self.current = at_hand;
            redone?;
        }
        Ok(record)
    }

    /// Waits for what the pool still has in hand.
    pub(super) fn await_pool(&mut self) -> Take {
        while let Some(job) = self.pool.as_mut().and_then(WriterPool::wait) {
            self.settle(job)?;
        }
        Ok(())
    }
}

/// The rest of a file, if it is all there and as long as was offered.
fn whole<'r>(
    entry: &Entry,
    items: &mut Reader<'r>,
    agreed: Features,
) -> Result<Option<Whole<'r>>, Malformed> {
    let mut content: &[u8] = &[];
    let mut item = data::next(items, agreed)?;
    if let Some(Item::Bytes(bytes)) = item {
        content = bytes;
        item = data::next(items, agreed)?;
    }
    Ok(match item {
        Some(Item::End { size, hash }) if size == entry.size() && size == content.len() as u64 => {
            Some((content, hash))
        }
        _ => None,
    })
}
