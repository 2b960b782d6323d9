//! The sending engine: files in, records out. Runs over any stream; prints and asks nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sha2::{Digest, Sha256};

use crate::bounds::{ATTEMPTS, MAX_FRAMING, MAX_UNSENT_NAMES};
use crate::compress::{self, Codec, Compression};
use crate::crypto::record::{Buffer, Follows};
use crate::error::Result;
use crate::event::{Event, Sink, Summary};
use crate::files::manifest::{Entry, Manifest};
use crate::files::path::RelPath;
use crate::files::reader::{SourceFault, SourceFile};
use crate::files::walk::Source;
use crate::protocol::channel::Work;
use crate::protocol::codec::Malformed;
use crate::protocol::data;
use crate::protocol::message::{
    self, Control, DATA, Message, Offer, OfferKind, PACKED, UnsentName,
};
use crate::protocol::pages::{self, Fault, HASH_LEN, Pages, Step};
use crate::protocol::session::{OUT_OF_TURN, Session, Stop};

/// A file of at least this size gets records of its own, and with compression its own codec.
const LARGE: u64 = 64 * 1024;
/// Files that go together in a record at most: a lane reads them one after the other.
const BATCH: usize = 256;

/// How content is read and packed.
#[derive(Debug, Clone, Copy)]
pub struct StreamOptions {
    /// Read what links point to.
    pub follow_symlinks: bool,
    /// Which compression to try.
    pub compression: Compression,
}

/// Offers `source` to an authenticated receiver and sends what it asks for.
pub fn send_over(
    mut session: Session,
    source: &Arc<Source>,
    options: StreamOptions,
    sink: Sink<'_>,
) -> Result<Summary> {
    let outcome = converse(&mut session, source, options, sink);
    conclude(session, outcome)
}

/// Says the last word: that it knows the results, or why it stops.
pub(super) fn conclude(session: Session, outcome: Result<Summary, Stop>) -> Result<Summary> {
    match outcome {
        Ok(summary) => match session.send_last(&Control::Bye) {
            Ok(_) => Ok(summary),
            Err(Stop::Gone(error) | Stop::Own(_, error)) => Err(error),
        },
        Err(stop) => Err(session.stop(stop)),
    }
}

fn converse(
    session: &mut Session,
    source: &Arc<Source>,
    options: StreamOptions,
    sink: Sink<'_>,
) -> Result<Summary, Stop> {
    send_offer(session, source)?;
    let manifest = &source.manifest;
    let bytes_of = |indices: &mut dyn Iterator<Item = u32>| {
        indices.filter_map(|index| manifest.get(index)).map(Entry::size).sum()
    };
    let mut plan = await_plan(session, manifest)?;
    let here: u64 = plan.iter().filter_map(|(_, have)| have.map(|(offset, _)| offset)).sum();
    let bytes: u64 = bytes_of(&mut plan.iter().map(|(index, _)| *index));
    let bytes = bytes - here;
    sink(Event::Planned { files: plan.len() as u64, bytes });

    let mut summary = Summary { unsent: source.unsent.len() as u64, ..Summary::default() };
    let tally = Arc::default();
    let mut attempt = 1;
    loop {
        let mut content = Content::new(session, source, options, &tally, sink);
        for (index, step) in plan {
            content.send_file(index, step)?;
        }
        content.flush()?;
        session.send_control(&Control::Done)?;
        match await_answer(session, manifest, &mut summary)? {
            None => {
                summary.bytes = tally.sent.load(Relaxed);
                summary.saved = tally.saved.load(Relaxed);
                return Ok(summary);
            }
            Some(again) if attempt < ATTEMPTS => {
                attempt += 1;
                let bytes = bytes_of(&mut again.iter().copied());
                sink(Event::Again { files: again.len() as u64, bytes, attempt });
                plan = again.into_iter().map(|index| (index, None)).collect();
            }
            Some(_) => return Err(Malformed("more attempts than agreed").into()),
        }
    }
}

fn send_offer(session: &mut Session, source: &Source) -> Result<(), Stop> {
    let totals = source.manifest.totals();
    let unsent_names = source.unsent.iter().take(MAX_UNSENT_NAMES).map(|unsent| UnsentName {
        name: unsent.name.chars().take(200).collect(),
        why: unsent.why.clone(),
    });
    session.send_control(&Control::Offer(Offer {
        kind: OfferKind::Files,
        files: totals.files,
        folders: totals.folders,
        links: totals.links,
        bytes: totals.bytes,
        unsent: source.unsent.len() as u64,
        unsent_names: unsent_names.collect(),
    }))?;
    session.send_pages(message::ENTRIES, source.manifest.entries(), pages::put_entry)
}

/// Bytes the receiver has of a file, and their SHA-256.
type Prefix = (u64, [u8; HASH_LEN]);

/// The files to send, in order, each with what the receiver has of it.
fn await_plan(
    session: &mut Session,
    manifest: &Manifest,
) -> Result<Vec<(u32, Option<Prefix>)>, Stop> {
    let mut wanted = Vec::new();
    // The first entry of which the plan has said nothing yet.
    let mut next = 0u32;
    let files_until = |wanted: &mut Vec<_>, from: u32, to: u32| {
        let range = (from..to).filter(|index| is_file(manifest, *index));
        wanted.extend(range.map(|index| (index, None)));
    };
    while session.receive(|message, follows| match (message, follows) {
        (Message::Plan(page), Follows::More) => Ok(pages::plan(page, |index, step| {
            if index < next || !is_file(manifest, index) {
                return Err(Malformed("the plan names what was not offered"));
            }
            files_until(&mut wanted, next, index);
            if let Step::Resume { offset, hash } = step {
                if manifest.get(index).is_none_or(|entry| offset > entry.size()) {
                    return Err(Malformed("the plan resumes behind the end of a file"));
                }
                wanted.push((index, Some((offset, hash))));
            }
            next = index + 1;
            Ok(())
        })?),
        _ => Err(OUT_OF_TURN.into()),
    })? == Pages::More
    {}
    let end = u32::try_from(manifest.entries().len()).unwrap_or(u32::MAX);
    files_until(&mut wanted, next, end);
    Ok(wanted)
}

fn is_file(manifest: &Manifest, index: u32) -> bool {
    manifest.get(index).is_some_and(Entry::is_file)
}

/// After `Done`: the files to send again, or nothing when the receiver has told its results.
fn await_answer(
    session: &mut Session,
    manifest: &Manifest,
    summary: &mut Summary,
) -> Result<Option<Vec<u32>>, Stop> {
    enum Answer {
        Pages(Pages),
        Complete(u64, u64),
    }
    let mut again: Vec<u32> = Vec::new();
    let mut faults: Option<Pages> = None;
    let mut last_result = None;
    loop {
        let answer = session.receive(|message, follows| match (message, follows) {
            (Message::Retry(page), Follows::More) if faults.is_none() => {
                let pages = pages::indices(page, |index| {
                    let in_order = again.last().is_none_or(|last| *last < index);
                    if !in_order || !is_file(manifest, index) {
                        return Err(Malformed("a retry names what was not offered"));
                    }
                    again.push(index);
                    Ok(())
                })?;
                Ok(Answer::Pages(pages))
            }
            (Message::Results(page), Follows::More)
                if again.is_empty() && faults != Some(Pages::End) =>
            {
                faults = Some(pages::results(page, |index, fault| {
                    let in_order = last_result.is_none_or(|last| last < index);
                    let entry = manifest.get(index).filter(|_| in_order);
                    let entry = entry.ok_or(Malformed("a result names what was not offered"))?;
                    last_result = Some(index);
                    summary.failed.push((entry.path.clone(), fault));
                    Ok(())
                })?);
                Ok(Answer::Pages(Pages::More))
            }
            (Message::Control(Control::Complete(complete)), Follows::Nothing)
                if faults == Some(Pages::End) =>
            {
                Ok(Answer::Complete(complete.files, complete.failed))
            }
            _ => Err(OUT_OF_TURN.into()),
        })?;
        match answer {
            Answer::Pages(Pages::More) => {}
            Answer::Pages(Pages::End) if again.is_empty() => {
                return Err(Malformed("a retry of nothing").into());
            }
            Answer::Pages(Pages::End) => return Ok(Some(again)),
            Answer::Complete(files, failed) => {
                let listed = summary.failed.len() as u64;
                if failed != listed || files > manifest.totals().files {
                    return Err(Malformed("the results do not add up").into());
                }
                summary.files = files;
                return Ok(None);
            }
        }
    }
}

/// What lanes find out; the engine reads it once the receiver has told the results, when all of
/// them are done.
#[derive(Default)]
struct Tally {
    /// Bytes of content in records.
    sent: AtomicU64,
    /// Bytes that compression has spared the line.
    saved: AtomicU64,
}

/// One round of content on its way into records.
struct Content<'a> {
    session: &'a mut Session,
    source: &'a Arc<Source>,
    options: StreamOptions,
    tally: &'a Arc<Tally>,
    sink: Sink<'a>,
    /// Files that go together in the next record.
    batch: Vec<(u32, Option<Prefix>)>,
    /// Bytes that they will take there.
    room: usize,
    /// A piece of a file of several records.
    buffer: Buffer,
    /// Content in the next record, in bytes, and files that end there.
    pending: (u64, u64),
    last: Option<&'a RelPath>,
}

impl<'a> Content<'a> {
    fn new(
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

    fn send_file(&mut self, index: u32, have: Option<Prefix>) -> Result<(), Stop> {
        let Some(entry) = self.source.manifest.get(index) else {
            return Ok(());
        };
        let content = self.session.content();
        let size = usize::try_from(entry.size()).ok().filter(|size| *size <= content);
        let room = size.unwrap_or_default() + data::FRAMING;
        let is_alone = entry.size() >= LARGE || size.is_none();
        if is_alone || self.room + room > content || self.batch.len() >= BATCH {
            self.flush()?;
        }
        self.last = Some(&entry.path);
        self.pending.1 += 1;
        if size.is_some() {
            self.batch.push((index, have));
            self.room += room;
            self.pending.0 += entry.size() - have.map_or(0, |(offset, _)| offset);
        } else {
            let path = self.source.path_of(entry);
            let sent = match SourceFile::open(&path, self.options.follow_symlinks) {
                Ok(file) => self.send_pieces(index, entry, file, have)?,
                Err(fault) => Err(fault),
            };
            if let Err(fault) = sent {
                data::put_failed(self.begun(), index, fault.into());
            }
        }
        (self.sink)(Event::Finished { name: &entry.path });
        if is_alone { self.flush() } else { Ok(()) }
    }

    /// The buffer, begun if it is empty.
    fn begun(&mut self) -> &mut Buffer {
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
        have: Option<Prefix>,
    ) -> Result<Result<(), SourceFault>, Stop> {
        let mut prefix = Prefixed::default();
        if let Some(have) = have {
            let mut left = have.0;
            while left > 0 {
                let len = usize::try_from(left).unwrap_or(usize::MAX).min(self.session.content());
                if let Err(fault) = prefix.hash(&mut file, self.buffer.room(len)) {
                    return Ok(Err(fault));
                }
                left -= len as u64;
                self.session.still_here()?;
                self.session.check()?;
            }
            if let Err(fault) = prefix.agree(&mut file, have) {
                return Ok(Err(fault));
            }
        }
        let Prefixed { mut hash, offset } = prefix;
        data::put_start(self.begun(), index, offset);
        let mut left = entry.size() - offset;
        let mut codec = None;
        while left > 0 {
            let content = self.session.content();
            let room = (content + MAX_FRAMING).saturating_sub(self.begun().len() + data::FRAMING);
            let len = u64::min(left, room.min(content) as u64);
            let len = u32::try_from(len).unwrap_or_default();
            let read = data::put_bytes(self.begun(), len, |content| {
                file.read(content)?;
                hash.update(&content);
                Ok(())
            });
            if let Err(fault) = read {
                return Ok(Err(fault));
            }
            self.pending.0 += u64::from(len);
            self.tally.sent.fetch_add(len.into(), Relaxed);
            left -= u64::from(len);
            // The first block tells for all of them.
            let compression = self.options.compression;
            let plaintext = self.buffer.plaintext();
            let codec = *codec.get_or_insert_with(|| compression.codec(plaintext));
            if left > 0 {
                self.flush_piece(codec)?;
            }
        }
        if let Err(fault) = file.check(entry) {
            return Ok(Err(fault));
        }
        data::put_end(self.begun(), entry.size(), &hash.finalize().into());
        self.flush_piece(codec.flatten()).map(Ok)
    }

    /// Sends what has been gathered.
    fn flush(&mut self) -> Result<(), Stop> {
        if self.batch.is_empty() {
            return self.flush_piece(None);
        }
        let batch = std::mem::take(&mut self.batch);
        self.room = 0;
        let (source, options) = (Arc::clone(self.source), self.options);
        let tally = Arc::clone(self.tally);
        let work: Work = Box::new(move |buffer, spare| {
            let sent = gather(buffer, spare, &source, &batch, options);
            tally.sent.fetch_add(sent, Relaxed);
            let first = batch.first().and_then(|(index, _)| source.manifest.get(*index));
            let codec = match options.compression {
                // What small files have in common is that they are rarely numbers.
                Compression::Auto if first.is_none_or(|first| first.size() < LARGE) => {
                    Some(Codec::Lz4)
                }
                compression => compression.codec(buffer.plaintext()),
            };
            tally.saved.fetch_add(codec.map_or(0, |codec| pack(buffer, spare, codec)), Relaxed);
        });
        self.send(Some(work))
    }

    /// Sends a piece of a file of several records.
    fn flush_piece(&mut self, codec: Option<Codec>) -> Result<(), Stop> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let tally = Arc::clone(self.tally);
        let work = codec.map(|codec| -> Work {
            Box::new(move |buffer, spare| {
                tally.saved.fetch_add(pack(buffer, spare, codec), Relaxed);
            })
        });
        self.send(work)
    }

    fn send(&mut self, work: Option<Work>) -> Result<(), Stop> {
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
    batch: &[(u32, Option<Prefix>)],
    options: StreamOptions,
) -> u64 {
    let mut sent = 0;
    buffer.extend(&[DATA]);
    for &(index, have) in batch {
        let Some(entry) = source.manifest.get(index) else { continue };
        let mut put = || -> Result<(), SourceFault> {
            let mut file = SourceFile::open(&source.path_of(entry), options.follow_symlinks)?;
            let mut prefix = Prefixed::default();
            if let Some(have) = have {
                spare.clear();
                prefix.hash(&mut file, spare.room(usize::try_from(have.0).unwrap_or_default()))?;
                prefix.agree(&mut file, have)?;
            }
            let Prefixed { mut hash, offset } = prefix;
            data::put_start(buffer, index, offset);
            let len = u32::try_from(entry.size() - offset).unwrap_or_default();
            if len > 0 {
                data::put_bytes(buffer, len, |content| {
                    file.read(content)?;
                    hash.update(&content);
                    Ok::<_, SourceFault>(())
                })?;
                sent += u64::from(len);
            }
            file.check(entry)?;
            data::put_end(buffer, entry.size(), &hash.finalize().into());
            Ok(())
        };
        if let Err(fault) = put() {
            data::put_failed(buffer, index, fault.into());
        }
    }
    sent
}

/// The part of a file that the receiver says it has.
#[derive(Default)]
struct Prefixed {
    hash: Sha256,
    offset: u64,
}

impl Prefixed {
    /// Hashes the next piece, of the size of `scratch`.
    fn hash(&mut self, file: &mut SourceFile, scratch: &mut [u8]) -> Result<(), SourceFault> {
        file.read(scratch)?;
        self.hash.update(&scratch);
        self.offset += scratch.len() as u64;
        Ok(())
    }

    /// Compares what was hashed with what the receiver has; if it differs, the file begins anew.
    fn agree(&mut self, file: &mut SourceFile, (length, hash): Prefix) -> Result<(), SourceFault> {
        if self.offset != length || self.hash.clone().finalize()[..] != hash[..] {
            *self = Self::default();
            file.rewind()?;
        }
        Ok(())
    }
}

/// Puts the compressed items in the place of the plain ones, if they are smaller; `spare` is
/// working memory. Returns the bytes that it saves.
pub(super) fn pack(buffer: &mut Buffer, spare: &mut Buffer, codec: Codec) -> u64 {
    let items = buffer.plaintext().get(1..).unwrap_or_default();
    let Ok(len) = u32::try_from(items.len()) else { return 0 };
    spare.clear();
    spare.extend(&[PACKED, codec.wire_id()]);
    spare.extend(&len.to_be_bytes());
    let packed =
        spare.append(|packed| compress::compress(codec, items, packed).then_some(()).ok_or(()));
    if packed.is_err() {
        return 0;
    }
    std::mem::swap(buffer, spare);
    (spare.len() as u64).saturating_sub(buffer.len() as u64)
}

impl From<SourceFault> for Fault {
    fn from(fault: SourceFault) -> Self {
        match fault {
            SourceFault::Vanished => Self::Vanished,
            SourceFault::Denied => Self::Denied,
            SourceFault::Changed => Self::Changed,
            SourceFault::Unreadable => Self::Unreadable,
        }
    }
}
