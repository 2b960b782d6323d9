//! The sending engine: files in, records out. Runs over any stream; prints and asks nothing.

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
use crate::protocol::codec::Malformed;
use crate::protocol::data;
use crate::protocol::message::{
    self, Control, DATA, Message, Offer, OfferKind, PACKED, UnsentName,
};
use crate::protocol::pages::{self, Fault, HASH_LEN, Pages, Step};
use crate::protocol::session::{OUT_OF_TURN, Session, Stop};

/// A file of at least this size gets records of its own, and with compression its own codec.
const LARGE: u64 = 64 * 1024;

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
    source: &Source,
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
    source: &Source,
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
    let mut attempt = 1;
    loop {
        let mut content = Content::new(session, source, options, sink);
        for (index, step) in plan {
            content.send_file(index, step)?;
        }
        content.flush()?;
        summary.bytes += content.sent;
        session.send_control(&Control::Done)?;
        match await_answer(session, manifest, &mut summary)? {
            None => return Ok(summary),
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

/// One round of content on its way into records.
struct Content<'a> {
    session: &'a mut Session,
    source: &'a Source,
    options: StreamOptions,
    sink: Sink<'a>,
    buffer: Buffer,
    packed: Vec<u8>,
    /// What the file at hand compresses best with, if anything.
    codec: Option<Codec>,
    /// Bytes of content in the buffer, and files that end in it.
    pending: (u64, u64),
    last: Option<&'a RelPath>,
    sent: u64,
}

impl<'a> Content<'a> {
    fn new(
        session: &'a mut Session,
        source: &'a Source,
        options: StreamOptions,
        sink: Sink<'a>,
    ) -> Self {
        let buffer = session.buffer();
        Self {
            session,
            source,
            options,
            sink,
            buffer,
            packed: Vec::new(),
            codec: None,
            pending: (0, 0),
            last: None,
            sent: 0,
        }
    }

    fn send_file(&mut self, index: u32, have: Option<Prefix>) -> Result<(), Stop> {
        let Some(entry) = self.source.manifest.get(index) else {
            return Ok(());
        };
        self.last = Some(&entry.path);
        if entry.size() >= LARGE || self.buffer.len() + data::FRAMING > self.session.content() {
            self.flush()?;
        }
        let path = self.source.path_of(entry);
        let sent = match SourceFile::open(&path, self.options.follow_symlinks) {
            Ok(file) => self.send_content(index, entry, file, have)?,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = sent {
            data::put_failed(self.begun(), index, fault.into());
        }
        self.pending.1 += 1;
        (self.sink)(Event::Finished { name: &entry.path });
        if entry.size() >= LARGE {
            self.flush()?;
        }
        Ok(())
    }

    /// The buffer, begun if it is empty.
    fn begun(&mut self) -> &mut Buffer {
        if self.buffer.is_empty() {
            self.buffer.extend(&[DATA]);
        }
        &mut self.buffer
    }

    /// The outer error ends the session, the inner one only this file.
    fn send_content(
        &mut self,
        index: u32,
        entry: &Entry,
        mut file: SourceFile,
        have: Option<Prefix>,
    ) -> Result<Result<(), SourceFault>, Stop> {
        let mut hash = Sha256::new();
        let mut offset = 0;
        if let Some((length, expected)) = have {
            match self.hash_prefix(&mut file, length)? {
                Ok(prefix) if prefix.clone().finalize()[..] == expected[..] => {
                    (hash, offset) = (prefix, length);
                }
                Ok(_) => {
                    if let Err(fault) = file.rewind() {
                        return Ok(Err(fault));
                    }
                }
                Err(fault) => return Ok(Err(fault)),
            }
        }
        data::put_start(self.begun(), index, offset);
        let mut left = entry.size() - offset;
        let mut first = true;
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
            left -= u64::from(len);
            if first {
                self.choose_codec(entry);
                first = false;
            }
            if left > 0 {
                self.flush()?;
            }
        }
        if let Err(fault) = file.check(entry) {
            return Ok(Err(fault));
        }
        data::put_end(self.begun(), entry.size(), &hash.finalize().into());
        Ok(Ok(()))
    }

    /// Hashes what the receiver says it has.
    fn hash_prefix(
        &mut self,
        file: &mut SourceFile,
        length: u64,
    ) -> Result<Result<Sha256, SourceFault>, Stop> {
        let mut hash = Sha256::new();
        let mut scratch = Buffer::default();
        let mut left = length;
        while left > 0 {
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(self.session.content());
            let content = scratch.room(len);
            if let Err(fault) = file.read(content) {
                return Ok(Err(fault));
            }
            hash.update(&content);
            left -= len as u64;
            self.session.still_here()?;
            self.session.check()?;
        }
        Ok(Ok(hash))
    }

    /// A large file is judged by its first block; small ones share what suits text.
    fn choose_codec(&mut self, entry: &Entry) {
        self.codec = match self.options.compression {
            Compression::Auto if entry.size() < LARGE => Some(Codec::Lz4),
            compression => compression.codec(self.buffer.plaintext()),
        };
    }

    /// Sends what has been gathered.
    fn flush(&mut self) -> Result<(), Stop> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.session.check()?;
        if let Some(codec) = self.codec {
            pack(&mut self.buffer, codec, &mut self.packed);
        }
        self.session.send(&mut self.buffer)?;
        let (bytes, files) = std::mem::take(&mut self.pending);
        self.sent += bytes;
        if let Some(name) = self.last {
            (self.sink)(Event::Moved { bytes, files, name });
        }
        Ok(())
    }
}

/// Puts the compressed items in the place of the plain ones, if they are smaller. `packed` is
/// working memory.
pub(super) fn pack(buffer: &mut Buffer, codec: Codec, packed: &mut Vec<u8>) {
    let items = buffer.plaintext().get(1..).unwrap_or_default();
    let Ok(len) = u32::try_from(items.len()) else { return };
    packed.clear();
    if compress::compress(codec, items, packed) {
        buffer.clear();
        buffer.extend(&[PACKED, codec.wire_id()]);
        buffer.extend(&len.to_be_bytes());
        buffer.extend(packed);
    }
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
