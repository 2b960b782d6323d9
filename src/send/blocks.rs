//! Blocks of a file that are sent once more.

use super::content::Content;
use super::pack::Packer;
use crate::files::manifest::Entry;
use crate::files::reader::{SourceFault, SourceFile};
use crate::files::states::Blocks;
use crate::protocol::data;
use crate::protocol::pages::Range;
use crate::protocol::session::Stop;

impl Content<'_> {
    /// Sends ranges of a file's blocks once more; whatever happens to it, the receiver is told.
    pub fn send_blocks(&mut self, index: u32, ranges: &[Range]) -> Result<(), Stop> {
        let Some(entry) = self.source.manifest.get(index) else { return Ok(()) };
        self.flush()?;
        self.last = Some(&entry.path);
        let file = self.source.files(self.options.follow_symlinks).open(index);
        let sent = match file {
            Ok(file) => self.send_ranges(index, entry, file, ranges)?,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = sent {
            let tally = self.tally;
            tally.fail(self.begun(), index, fault);
        }
        self.flush()
    }

    /// The outer error ends the session, the inner one only this file: it is not any more what was
    /// sent before.
    fn send_ranges(
        &mut self,
        index: u32,
        entry: &Entry,
        mut file: SourceFile,
        ranges: &[Range],
    ) -> Result<Result<(), SourceFault>, Stop> {
        let (Some(block), Some((states, whole))) =
            (self.session.blocks(), self.tally.blocks.get(index))
        else {
            return Ok(Err(SourceFault::Unreadable));
        };
        let agreed = self.session.agreed();
        let packer = Packer::new(self.options.compression, agreed, &self.tally.saved);
        for range in ranges {
            let offset = u64::from(range.first).saturating_mul(block);
            let end = range.end().saturating_mul(block).min(entry.size());
            if let Err(fault) = file.move_to(offset) {
                return Ok(Err(fault));
            }
            let before = usize::try_from(range.first).ok().and_then(|at| at.checked_sub(1));
            let before = before.and_then(|at| states.get(at)).copied().unwrap_or_default();
            let mut hash = Blocks::behind(block, range.first.into(), &before);
            let same = |hash: &Blocks| {
                let at = usize::try_from(hash.at() / block).ok().and_then(|at| at.checked_sub(1));
                hash.states().last() == at.and_then(|at| states.get(at))
            };
            data::put_start(self.begun(), index, offset);
            let sent = self.send_bytes(&mut file, &mut hash, end, &packer, &mut |hash| {
                let same = !hash.is_whole() || same(hash);
                if same { Ok(true) } else { Err(SourceFault::Changed) }
            })?;
            if let Err(fault) = sent {
                return Ok(Err(fault));
            }
            if end < entry.size() {
                data::put_stop(self.begun());
            } else if hash.digest() == whole {
                data::put_end(self.begun(), end, &whole);
            } else {
                return Ok(Err(SourceFault::Changed));
            }
            self.send(packer.work())?;
        }
        Ok(Ok(()))
    }
}
