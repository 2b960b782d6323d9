//! Files with holes: what their sender may leave out, and what it may not bring.

use super::current::{Current, Target};
use super::{Assembler, OUT_OF_TURN, Take};
use crate::control;
use crate::error::{Error, bytes};
use crate::files::manifest::Entry;
use crate::protocol::reader::Malformed;
use crate::protocol::reason::Reason;
use crate::protocol::session::Stop;
use crate::receive::sparse::check;

impl Assembler<'_> {
    /// A hole of the file at hand.
    pub(super) fn hole(&mut self, len: u64) -> Take {
        let Current { index, course, sparse, .. } = self.current.as_mut().ok_or(OUT_OF_TURN)?;
        let index = *index;
        let entry = self.tree.manifest.get(index).ok_or(OUT_OF_TURN)?;
        if !entry.is_sparse() {
            return Err(Malformed("a hole in a file that has none").into());
        }
        let end = course.at().saturating_add(len);
        check((course.at(), end), (sparse.start, entry.size()))?;
        course.bytes(len)?;
        let mut left = len;
        while left > 0 {
            // Zeros that have to be written can take hours.
            control::check().map_err(|error| Stop::Own(Reason::Interrupted, error))?;
            let Some(Current { target: Target::Writer(writer), .. }) = &mut self.current else {
                return Ok(());
            };
            let now = writer.at_once(left);
            // Zeros that are left out take no room.
            if !writer.has_holes() {
                self.ask_for(now)?;
            }
            let Some(Current { target: Target::Writer(writer), .. }) = &mut self.current else {
                return Ok(());
            };
            let before = writer.put_bytes();
            let skipped = writer.skip(now);
            self.allowance.wrote(writer.put_bytes().saturating_sub(before));
            match skipped {
                Ok(()) => self.count(index, now),
                Err(error) => return self.give_up(index, entry, error),
            }
            self.summary.holes = self.summary.holes.saturating_add(now);
            left -= now;
        }
        Ok(())
    }

    /// A file that takes more than its sender has said has no room set aside for it: all that it can
    /// still take counts then.
    pub(super) fn check_room(&mut self, entry: &Entry) -> Take {
        let Some(Current { target: Target::Writer(writer), course, sparse, .. }) =
            &mut self.current
        else {
            return Ok(());
        };
        let needed = entry.size().saturating_sub(course.at());
        // Where the disk has no holes, room is set aside for all of it.
        if !writer.has_holes() || !sparse.breaks(writer.put_bytes()) {
            return Ok(());
        }
        match self.tree.root.room().bytes.filter(|free| needed > *free) {
            None => Ok(()),
            Some(free) => {
                let error = Error::failure(format!(
                    "\"{}\" takes more room than its sender has said: up to {} more are needed, {} are free",
                    entry.path,
                    bytes(needed),
                    bytes(free)
                ));
                let hint =
                    "make room there and run the same command again: it goes on where it stopped";
                Err(Stop::Own(Reason::NoSpace { needed, free }, error.hint(hint)))
            }
        }
    }
}
