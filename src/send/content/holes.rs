//! A file with holes on its way into records: what its disk holds, and zeros as holes.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Content, Packer, Prefix};
use crate::bounds::MAX_FRAMING;
use crate::event::{Event, Remark};
use crate::files::holes::Extent;
use crate::files::manifest::Entry;
use crate::files::reader::{End, SourceFault, SourceFile};
use crate::files::sparse::{PAGE, SparseHash, is_zero};
use crate::protocol::data;
use crate::protocol::session::Stop;

/// Zeros after which the progress is told although nothing is sent.
const TELL: u64 = 256 << 20;

/// What was next in a file.
enum Piece {
    /// So many zeros, be they a hole or not.
    Zeros(u64),
    /// Content: so many bytes of the page that it was read into.
    Content(usize),
}

/// Reads what comes next before `end`, and takes it into the hash.
fn read(
    file: &mut SourceFile,
    end: u64,
    page: &mut [u8],
    hash: &mut SparseHash,
) -> Result<Piece, SourceFault> {
    match file.piece(end)? {
        Extent::Hole(len) => {
            file.skip(len)?;
            hash.skip(len);
            Ok(Piece::Zeros(len))
        }
        Extent::Data(len) => {
            let len = usize::try_from(len).unwrap_or(page.len()).min(page.len());
            let content = page.get_mut(..len).unwrap_or_default();
            file.read(content)?;
            hash.update(content);
            Ok(if is_zero(content) { Piece::Zeros(len as u64) } else { Piece::Content(len) })
        }
    }
}

impl Content<'_> {
    /// A file with holes. The outer error ends the session, the inner one only this file.
    pub(super) fn send_sparse(
        &mut self,
        index: u32,
        entry: &Entry,
        mut file: SourceFile,
        have: Option<Prefix>,
    ) -> Result<Result<(), SourceFault>, Stop> {
        let (size, mut hash) = (entry.size(), SparseHash::default());
        if let Some((offset, theirs)) = have {
            match self.hash_until(&mut file, offset)? {
                Ok(own) if own.clone().finish() == theirs => hash = own,
                Ok(_) => {
                    if let Err(fault) = file.rewind() {
                        return Ok(Err(fault));
                    }
                }
                Err(fault) => return Ok(Err(fault)),
            }
        }
        data::put_start(self.begun(), index, file.at());
        let packer =
            Packer::new(self.options.compression, self.session.agreed(), &self.tally.saved);
        let mut page = vec![0; PAGE as usize];
        // Since the last content.
        let mut zeros = 0;
        while file.at() < size {
            match read(&mut file, size, &mut page, &mut hash) {
                Err(fault) => return Ok(Err(fault)),
                Ok(Piece::Zeros(len)) => {
                    zeros += len;
                    self.session.check()?;
                    if zeros >= TELL {
                        self.put_hole(std::mem::take(&mut zeros), &packer)?;
                        self.tell();
                    }
                }
                Ok(Piece::Content(len)) => {
                    self.put_hole(std::mem::take(&mut zeros), &packer)?;
                    self.put_content(page.get(..len).unwrap_or_default(), &packer)?;
                }
            }
        }
        self.put_hole(zeros, &packer)?;
        let hash = hash.finish();
        match file.end() {
            Err(fault) => return Ok(Err(fault)),
            Ok(End::AsListed) => {}
            Ok(End::Grown) => self.tally.remark(index, Remark::Grown),
            Ok(End::Growing) => {
                if let Err(fault) = file.rewind() {
                    return Ok(Err(fault));
                }
                match self.hash_until(&mut file, size)? {
                    Err(fault) => return Ok(Err(fault)),
                    Ok(again) if again.clone().finish() == hash => {
                        self.tally.remark(index, Remark::Grown);
                    }
                    Ok(_) => return Ok(Err(SourceFault::Changed)),
                }
                // Shorter now is a change too.
                if let Err(fault) = file.end() {
                    return Ok(Err(fault));
                }
            }
        }
        data::put_end(self.begun(), size, &hash);
        self.send(packer.work()).map(Ok)
    }

    /// The first `end` bytes, hashed.
    fn hash_until(
        &mut self,
        file: &mut SourceFile,
        end: u64,
    ) -> Result<Result<SparseHash, SourceFault>, Stop> {
        let (mut page, mut hash) = (vec![0; PAGE as usize], SparseHash::default());
        while file.at() < end {
            if let Err(fault) = read(file, end, &mut page, &mut hash) {
                return Ok(Err(fault));
            }
            self.session.check()?;
        }
        Ok(Ok(hash))
    }

    /// Says that there is a hole, if it is one of anything.
    fn put_hole(&mut self, len: u64, packer: &Arc<Packer>) -> Result<(), Stop> {
        if len > 0 {
            self.make_room(data::HOLE_LEN, packer)?;
            data::put_hole(self.begun(), len);
            self.tally.holes.fetch_add(len, Relaxed);
            self.count(len);
        }
        Ok(())
    }

    fn put_content(&mut self, content: &[u8], packer: &Arc<Packer>) -> Result<(), Stop> {
        for piece in content.chunks(self.session.content()) {
            self.make_room(data::FRAMING + piece.len(), packer)?;
            let len = u32::try_from(piece.len()).unwrap_or_default();
            data::put_bytes(self.begun(), len, |room| -> Result<(), Stop> {
                room.copy_from_slice(piece);
                Ok(())
            })?;
            self.count(piece.len() as u64);
        }
        Ok(())
    }

    fn count(&mut self, len: u64) {
        self.pending.0 += len;
        self.tally.sent.fetch_add(len, Relaxed);
    }

    /// Sends the record at hand if so many bytes, and the end of a file, do not fit into it.
    fn make_room(&mut self, len: usize, packer: &Arc<Packer>) -> Result<(), Stop> {
        let room = self.session.content() + MAX_FRAMING;
        if self.begun().len() + len + data::END_LEN > room {
            self.send(packer.work())
        } else {
            Ok(())
        }
    }

    /// Tells how far it is, before anything is sent.
    fn tell(&mut self) {
        let (bytes, files) = std::mem::take(&mut self.pending);
        if let Some(name) = self.last {
            (self.sink)(Event::Moved { bytes, files, name });
        }
    }
}
