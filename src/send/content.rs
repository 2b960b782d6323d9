//! The content of files on its way into records. Files that fit into one record are read by the
//! lanes, several records at a time; larger ones here, piece by piece, for their hash has an order.

mod holes;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::pack::{Packer, pack};
use super::prefix::{Own, Sent};
use crate::bounds::{BLOCK, MAX_BATCH, MAX_FRAMING};
use crate::compress::{Codec, Compression, Method};
use crate::control;
use crate::crypto::record::Buffer;
use crate::event::{Event, Remark, Sink};
use crate::files::manifest::{Entry, Manifest};
use crate::files::path::RelPath;
use crate::files::reader::{End, SourceFault, SourceFile};
use crate::files::states::{Blocks, State};
use crate::files::walk::Source;
use crate::protocol::data;
use crate::protocol::features::Feature;
use crate::protocol::message::DATA;
use crate::protocol::outbox::Work;
use crate::protocol::pages::HASH_LEN;
use crate::protocol::session::{Session, Stop};

/// A file of at least this size gets records of its own, and with compression its own codec.
const LARGE: u64 = 64 * 1024;

/// Bytes that are read at once of a file that grows, when it is read again.
const AGAIN: usize = 256 * 1024;

/// How content is read and packed.
#[derive(Debug, Clone, Copy)]
pub struct StreamOptions {
    /// Read what links point to.
    pub follow_symlinks: bool,
    /// Which compression to try.
    pub compression: Compression,
    /// Tell of each file what became of it, with its hash.
    pub each_file: bool,
}

/// Bytes the receiver has of a file, and their SHA-256.
pub type Prefix = (u64, [u8; HASH_LEN]);

/// What the receiver has of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Have {
    /// A prefix, if it is the same here: that is found out before anything is sent.
    Prefix(Prefix),
    /// So many whole blocks of so many bytes, and the state behind them: whether they are the same
    /// here is found out while the rest is sent.
    Blocks(u32, u64, State),
}

impl Have {
    /// Bytes that it says are there.
    pub fn offset(&self) -> u64 {
        match self {
            Self::Prefix((offset, _)) => *offset,
            Self::Blocks(blocks, block, _) => u64::from(*blocks).saturating_mul(*block),
        }
    }
}

/// What lanes find out. All of them are done once the receiver has told the results.
#[derive(Default)]
pub struct Tally {
    /// Bytes of content in records.
    sent: AtomicU64,
    /// Of those, the bytes of holes, which were not sent.
    holes: AtomicU64,
    /// Bytes that compression has spared the line.
    pub(super) saved: Arc<AtomicU64>,
    /// Files that were found otherwise than listed, at most one remark for each and attempt.
    remarks: Mutex<Vec<(u32, Remark)>>,
    /// The SHA-256 of each file, where somebody wants to know.
    hashes: Mutex<BTreeMap<u32, [u8; HASH_LEN]>>,
    /// The blocks of each file that was sent.
    pub(super) blocks: Sent,
}

impl Tally {
    /// The SHA-256 of a file that was sent, if it was kept.
    pub fn hash_of(&self, index: u32) -> Option<[u8; HASH_LEN]> {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner).get(&index).copied()
    }

    fn keep(&self, index: u32, hash: [u8; HASH_LEN], options: StreamOptions) {
        if options.each_file {
            self.hashes.lock().unwrap_or_else(PoisonError::into_inner).insert(index, hash);
        }
    }

    /// Bytes of content that were sent, what compression has saved of them, and what was holes.
    pub fn totals(&self) -> (u64, u64, u64) {
        (self.sent.load(Relaxed), self.saved.load(Relaxed), self.holes.load(Relaxed))
    }

    /// The files that this was found of in their last attempt.
    pub fn names(&self, remark: Remark, manifest: &Manifest) -> Vec<RelPath> {
        let remarks = self.remarks.lock().unwrap_or_else(PoisonError::into_inner);
        let last: BTreeMap<u32, Remark> = remarks.iter().copied().collect();
        let these = last.into_iter().filter(|(_, found)| *found == remark);
        these.filter_map(|(index, _)| Some(manifest.get(index)?.path.clone())).collect()
    }

    fn remark(&self, index: u32, remark: Remark) {
        self.remarks.lock().unwrap_or_else(PoisonError::into_inner).push((index, remark));
    }

    /// What the receiver is told instead of a file.
    pub(super) fn fail(&self, buffer: &mut Buffer, index: u32, fault: SourceFault) {
        if fault == SourceFault::Deceptive {
            self.remark(index, Remark::Deceptive);
        }
        data::put_failed(buffer, index, fault.into());
    }
}

/// One round of content on its way into records.
pub struct Content<'a> {
    pub(super) session: &'a mut Session,
    pub(super) source: &'a Arc<Source>,
    pub(super) options: StreamOptions,
    pub(super) tally: &'a Arc<Tally>,
    pub(super) sink: Sink<'a>,
    /// Files that go together in the next record.
    batch: Vec<(u32, Option<Have>)>,
    /// Bytes that they will take there.
    room: usize,
    /// A piece of a file of several records.
    buffer: Buffer,
    /// Content in the next record, in bytes, and files that end there.
    pub(super) pending: (u64, u64),
    pub(super) last: Option<&'a RelPath>,
}

impl<'a> Content<'a> {
    /// Begins a round.
    pub fn new(
        session: &'a mut Session,
        source: &'a Arc<Source>,
        options: StreamOptions,
        tally: &'a Arc<Tally>,
        sink: Sink<'a>,
    ) -> Self {
        let mut buffer = session.buffer();
        buffer.clear();
        let (batch, room) = (Vec::new(), 0);
        let (pending, last) = ((0, 0), None);
        Self { session, source, options, tally, sink, batch, room, buffer, pending, last }
    }

    /// Sends a file, or gathers it with others; whatever happens to it, the receiver is told.
    pub fn send_file(&mut self, index: u32, have: Option<Have>) -> Result<(), Stop> {
        let Some(entry) = self.source.manifest.get(index) else {
            return Ok(());
        };
        let content = self.session.content();
        let size = usize::try_from(entry.size()).ok().filter(|size| *size <= content);
        // What has a whole block has a state in it.
        let size = size.filter(|_| self.session.blocks().is_none_or(|block| entry.size() < block));
        let size = size.filter(|_| !self.is_sparse(entry));
        let room = size.unwrap_or_default() + data::FRAMING;
        let is_alone = entry.size() >= LARGE || size.is_none();
        if is_alone || self.room + room > content || self.batch.len() >= MAX_BATCH {
            self.flush()?;
        }
        self.last = Some(&entry.path);
        self.pending.1 += 1;
        if size.is_some() {
            self.batch.push((index, have));
            self.room += room;
            self.pending.0 += entry.size() - have.map_or(0, |have| have.offset());
        } else {
            let sent = match self.source.files(self.options.follow_symlinks).open(index) {
                Ok(file) if self.is_sparse(entry) => {
                    // Such a file is never gone on with block by block.
                    let have = match have {
                        Some(Have::Prefix(have)) => Some(have),
                        Some(Have::Blocks(..)) | None => None,
                    };
                    self.send_sparse(index, entry, file, have)?
                }
                Ok(file) => self.send_pieces(index, entry, file, have)?,
                Err(fault) => Err(fault),
            };
            if let Err(fault) = sent {
                let tally = self.tally;
                tally.fail(self.begun(), index, fault);
            }
        }
        (self.sink)(Event::Finished { name: &entry.path });
        if is_alone { self.flush() } else { Ok(()) }
    }

    /// Whether a file is sent as one with holes.
    fn is_sparse(&self, entry: &Entry) -> bool {
        entry.is_sparse() && self.session.agreed().has(Feature::Sparse)
    }

    /// The buffer, begun if it is empty.
    pub(super) fn begun(&mut self) -> &mut Buffer {
        if self.buffer.is_empty() {
            self.buffer.extend(&[DATA]);
        }
        &mut self.buffer
    }

    /// A file of several records. The outer error ends the session, the inner one only this file.
    fn send_pieces(
        &mut self,
        index: u32,
        entry: &Entry,
        mut file: SourceFile,
        have: Option<Have>,
    ) -> Result<Result<(), SourceFault>, Stop> {
        let block = self.session.blocks().unwrap_or(BLOCK);
        let mut prefix = Prefixed::new(block);
        if let Some(Have::Prefix(have)) = have {
            let mut left = have.0;
            while left > 0 {
                let len = usize::try_from(left).unwrap_or(usize::MAX).min(self.session.content());
                if let Err(fault) = prefix.hash(&mut file, self.buffer.room(len)) {
                    return Ok(Err(fault));
                }
                left -= len as u64;
                self.session.check()?;
            }
            if let Err(fault) = prefix.agree(&mut file, have) {
                return Ok(Err(fault));
            }
        }
        let mut hash = prefix.hash;
        let mut own = None;
        if let Some(Have::Blocks(blocks, block, state)) = have {
            hash = Blocks::behind(block, blocks.into(), &state);
            if let Err(fault) = file.move_to(hash.at()) {
                return Ok(Err(fault));
            }
            let thread =
                Own::start(self.source, index, self.options.follow_symlinks, (blocks, block))?;
            own = Some((thread, state));
        }
        let agreed = self.session.agreed();
        let packer = Packer::new(self.options.compression, agreed, &self.tally.saved);
        // The states of the blocks that the receiver has.
        let mut before = Vec::new();
        loop {
            data::put_start(self.begun(), index, hash.at());
            let mut known = None;
            let sent = self.send_bytes(&mut file, &mut hash, entry.size(), &packer, &mut |_| {
                let Some((own, theirs)) = &own else { return Ok(true) };
                known = known.take().or_else(|| own.known());
                match &known {
                    Some(Ok(states)) => Ok(states.last() == Some(theirs)),
                    Some(Err(fault)) => Err(*fault),
                    None => Ok(true),
                }
            })?;
            if let Err(fault) = sent {
                return Ok(Err(fault));
            }
            let Some((own, theirs)) = own.take() else { break };
            let states = match known {
                Some(states) => states,
                None => {
                    // The receiver need not wait for what is read already.
                    self.send(packer.work())?;
                    own.wait(self.session)?
                }
            };
            match states {
                Err(fault) => return Ok(Err(fault)),
                Ok(states) if states.last() == Some(&theirs) => {
                    before = states;
                    break;
                }
                // It is another content that the receiver has begun: all of it anew.
                Ok(_) => {
                    (self.sink)(Event::Anew { bytes: hash.at() });
                    hash = Blocks::new(block);
                }
            }
            if let Err(fault) = file.rewind() {
                return Ok(Err(fault));
            }
        }
        let whole = hash.digest();
        match file.end() {
            Err(fault) => return Ok(Err(fault)),
            Ok(End::AsListed) => {}
            Ok(End::Grown) => self.tally.remark(index, Remark::Grown),
            Ok(End::Growing) => match self.read_again(&mut file, entry.size())? {
                Ok(again) if again == whole => self.tally.remark(index, Remark::Grown),
                Ok(_) => return Ok(Err(SourceFault::Changed)),
                Err(fault) => return Ok(Err(fault)),
            },
        }
        self.tally.keep(index, whole, self.options);
        if self.session.blocks().is_some() {
            before.extend(hash.into_states());
            self.tally.blocks.keep(index, before, whole);
        }
        data::put_end(self.begun(), entry.size(), &whole);
        self.send(packer.work()).map(Ok)
    }

    /// Sends bytes up to `end`, with the states behind whole blocks. `goes_on` is asked behind each
    /// piece; what is left at the end is not sent yet.
    pub(super) fn send_bytes(
        &mut self,
        file: &mut SourceFile,
        hash: &mut Blocks,
        end: u64,
        packer: &Arc<Packer>,
        goes_on: &mut dyn FnMut(&Blocks) -> Result<bool, SourceFault>,
    ) -> Result<Result<(), SourceFault>, Stop> {
        let has_states = self.session.blocks().is_some();
        while hash.at() < end {
            let content = self.session.content();
            let framing = data::FRAMING + data::STATE_ITEM_LEN;
            let room = (content + MAX_FRAMING).saturating_sub(self.begun().len() + framing);
            let mut len = u64::min(end - hash.at(), room.min(content) as u64);
            if has_states {
                len = len.min(hash.left());
            }
            let len = u32::try_from(len).unwrap_or_default();
            let read = data::put_bytes(self.begun(), len, |content| {
                file.read(content)?;
                hash.update(content);
                Ok(())
            });
            if let Err(fault) = read {
                return Ok(Err(fault));
            }
            self.pending.0 += u64::from(len);
            self.tally.sent.fetch_add(len.into(), Relaxed);
            if has_states
                && hash.is_whole()
                && let Some(state) = hash.states().last()
            {
                data::put_state(self.begun(), state);
            }
            match goes_on(hash) {
                Ok(true) => {}
                Ok(false) => return Ok(Ok(())),
                Err(fault) => return Ok(Err(fault)),
            }
            if hash.at() < end {
                self.send(packer.work())?;
            }
        }
        Ok(Ok(()))
    }

    /// The hash of what has been sent of a file that grows, if that has not changed meanwhile.
    fn read_again(
        &mut self,
        file: &mut SourceFile,
        size: u64,
    ) -> Result<Result<[u8; HASH_LEN], SourceFault>, Stop> {
        let mut again = Prefixed::new(BLOCK);
        let mut scratch = vec![0; usize::try_from(size).unwrap_or(AGAIN).min(AGAIN)];
        if let Err(fault) = file.rewind() {
            return Ok(Err(fault));
        }
        while again.hash.at() < size {
            let left = usize::try_from(size - again.hash.at()).unwrap_or(AGAIN).min(AGAIN);
            let piece = scratch.get_mut(..left).unwrap_or_default();
            if let Err(fault) = again.hash(file, piece) {
                return Ok(Err(fault));
            }
            self.session.check()?;
        }
        // Shorter now is a change too.
        Ok(file.end().map(|_| again.hash.digest()))
    }

    /// Sends what has been gathered.
    pub fn flush(&mut self) -> Result<(), Stop> {
        if self.batch.is_empty() {
            // Perhaps one that failed in the middle.
            return if self.buffer.is_empty() { Ok(()) } else { self.send(None) };
        }
        let batch = std::mem::take(&mut self.batch);
        self.room = 0;
        let (source, options) = (Arc::clone(self.source), self.options);
        let (tally, agreed) = (Arc::clone(self.tally), self.session.agreed());
        let work: Work = Box::new(move |buffer, spare| {
            let sent = gather(buffer, spare, &source, &batch, options, &tally);
            tally.sent.fetch_add(sent, Relaxed);
            let first = batch.first().and_then(|(index, _)| source.manifest.get(*index));
            match options.compression {
                Compression::Off => {}
                // What small files have in common is that they are rarely numbers.
                Compression::Auto
                    if first.is_none_or(|first| first.size() < LARGE)
                        && agreed.has(Feature::Codec(Method::Lz4)) =>
                {
                    let saved = pack(buffer, spare, Codec::Lz4).unwrap_or(0);
                    tally.saved.fetch_add(saved, Relaxed);
                }
                compression => Packer::new(compression, agreed, &tally.saved).pack(buffer, spare),
            }
        });
        self.send(Some(work))
    }

    pub(super) fn send(&mut self, work: Option<Work>) -> Result<(), Stop> {
        self.session.check()?;
        self.session.send_worked(&mut self.buffer, work)?;
        let (bytes, files) = std::mem::take(&mut self.pending);
        if let Some(name) = self.last {
            (self.sink)(Event::Moved { bytes, files, name });
        }
        Ok(())
    }
}

/// Reads files that fit into one record, one behind the other. Returns the bytes of content.
fn gather(
    buffer: &mut Buffer,
    spare: &mut Buffer,
    source: &Source,
    batch: &[(u32, Option<Have>)],
    options: StreamOptions,
    tally: &Tally,
) -> u64 {
    let mut sent = 0;
    let mut files = source.files(options.follow_symlinks);
    buffer.extend(&[DATA]);
    for &(index, have) in batch {
        let Some(entry) = source.manifest.get(index) else { continue };
        let mut put = || -> Result<(), SourceFault> {
            let mut file = files.open(index)?;
            let mut prefix = Prefixed::new(BLOCK);
            // What goes together has no whole block.
            if let Some(Have::Prefix(have)) = have {
                spare.clear();
                prefix.hash(&mut file, spare.room(usize::try_from(have.0).unwrap_or_default()))?;
                prefix.agree(&mut file, have)?;
            }
            let mut hash = prefix.hash;
            let offset = hash.at();
            data::put_start(buffer, index, offset);
            let len = u32::try_from(entry.size() - offset).unwrap_or_default();
            if len > 0 {
                data::put_bytes(buffer, len, |content| {
                    file.read(content)?;
                    hash.update(content);
                    Ok::<_, SourceFault>(())
                })?;
                sent += u64::from(len);
            }
            let hash = hash.digest();
            match file.end()? {
                End::AsListed => {}
                End::Grown => tally.remark(index, Remark::Grown),
                End::Growing => {
                    file.rewind()?;
                    spare.clear();
                    let mut again = Prefixed::new(BLOCK);
                    let size = usize::try_from(entry.size()).unwrap_or_default();
                    again.hash(&mut file, spare.room(size))?;
                    file.end()?;
                    if again.hash.digest() != hash {
                        return Err(SourceFault::Changed);
                    }
                    tally.remark(index, Remark::Grown);
                }
            }
            tally.keep(index, hash, options);
            data::put_end(buffer, entry.size(), &hash);
            Ok(())
        };
        if let Err(fault) = put() {
            tally.fail(buffer, index, fault);
        }
    }
    sent
}

/// The SHA-256 of a file that need not be sent, or was sent as one with holes; nothing if it is not any
/// more what it was, or somebody wants to wait no longer.
pub fn hash_of(source: &Source, index: u32, options: StreamOptions) -> Option<[u8; HASH_LEN]> {
    let entry = source.manifest.get(index)?;
    let mut file = source.files(options.follow_symlinks).open(index).ok()?;
    let (mut prefix, mut left) = (Prefixed::new(BLOCK), entry.size());
    let mut piece = vec![0; 1 << 18];
    while left > 0 {
        control::check().ok()?;
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        prefix.hash(&mut file, piece.get_mut(..len)?).ok()?;
        left -= len as u64;
    }
    matches!(file.end(), Ok(End::AsListed)).then_some(())?;
    Some(prefix.hash.digest())
}

/// The part of a file that the receiver says it has.
struct Prefixed {
    hash: Blocks,
}

impl Prefixed {
    fn new(block: u64) -> Self {
        Self { hash: Blocks::new(block) }
    }

    /// Hashes the next piece, of the size of `scratch`.
    fn hash(&mut self, file: &mut SourceFile, scratch: &mut [u8]) -> Result<(), SourceFault> {
        file.read(scratch)?;
        self.hash.update(scratch);
        Ok(())
    }

    /// Compares what was hashed with what the receiver has; if it differs, the file begins anew.
    fn agree(&mut self, file: &mut SourceFile, (length, hash): Prefix) -> Result<(), SourceFault> {
        if self.hash.at() != length || self.hash.digest() != hash {
            *self = Self::new(self.hash.block());
            file.rewind()?;
        }
        Ok(())
    }
}
