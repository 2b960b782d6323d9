//! A text or a stream on its way out: one content, of a length that nobody knows before its end,
//! read once and never repeated.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;

use sha2::{Digest, Sha256};

use super::files::conclude;
use super::pack::Packer;
use crate::bounds::MAX_FRAMING;
use crate::compress::Compression;
use crate::control;
use crate::crypto::record::{Buffer, Follows};
use crate::error::{Error, Result, reason};
use crate::event::{Event, Fate, Sink, Summary};
use crate::files::path::RelPath;
use crate::protocol::data;
use crate::protocol::fault::Fault;
use crate::protocol::message::{self, Control, DATA, Message, Offer, OfferKind, STREAM_NAME};
use crate::protocol::pages::{self, HASH_LEN, Pages};
use crate::protocol::reader::Malformed;
use crate::protocol::reason::Reason;
use crate::protocol::session::{OUT_OF_TURN, Session, Stop};

/// Bytes read at once: what a pipe holds.
const PIECE: usize = 1 << 16;

/// Pieces that wait to be sent.
const PIECES: usize = 32;

/// Reads in a thread of its own, so that a source that is silent for hours can be waited for
/// without falling silent.
pub struct Input {
    pieces: Receiver<io::Result<Vec<u8>>>,
    taken: bool,
    /// What to call it on the other side.
    name: Option<String>,
}

impl Input {
    /// Starts to read.
    pub fn start(mut input: impl Read + Send + 'static) -> Result<Self> {
        let (queue, pieces) = mpsc::sync_channel(PIECES);
        thread::Builder::new()
            .name("input".into())
            .spawn(move || {
                loop {
                    let mut piece = vec![0; PIECE];
                    let read = match input.read(&mut piece) {
                        Ok(0) => return,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                        read => read,
                    };
                    let failed = read.is_err();
                    let piece = read.map(|len| {
                        piece.truncate(len);
                        piece
                    });
                    if queue.send(piece).is_err() || failed {
                        return;
                    }
                }
            })
            .map_err(|error| Error::no_thread(&error))?;
        Ok(Self { pieces, taken: false, name: None })
    }

    /// The same under a name.
    pub fn named(self, name: Option<String>) -> Self {
        Self { name, ..self }
    }

    /// Whether something of it has been taken, and cannot be had again.
    pub fn is_taken(&self) -> bool {
        self.taken
    }
}

/// Offers a text or a stream to an authenticated receiver and sends it.
pub fn send_stream(
    mut session: Session,
    kind: OfferKind,
    input: &mut Input,
    compression: Compression,
    sink: Sink<'_>,
) -> Result<Summary> {
    let outcome = converse(&mut session, kind, input, compression, sink);
    let summary = conclude(session, outcome)?;
    if let (OfferKind::Stream, Ok(path)) = (kind, RelPath::parse(STREAM_NAME)) {
        let fate = match summary.failed.first() {
            Some((_, fault)) => Fate::Missing(*fault),
            None => Fate::Arrived,
        };
        let (size, hash) = (summary.bytes, summary.hash);
        sink(Event::File { path: &path, place: None, size, hash, fate });
    }
    Ok(summary)
}

fn converse(
    session: &mut Session,
    kind: OfferKind,
    input: &mut Input,
    compression: Compression,
    sink: Sink<'_>,
) -> Result<Summary, Stop> {
    session.await_ready()?;
    session.send_control(&Control::Offer(Offer {
        kind,
        name: input.name.clone(),
        features: session.ours().names(),
        run: session.run(),
        ..Offer::default()
    }))?;
    session.send_pages(message::ENTRIES, [], pages::put_entry)?;
    let agreed = session.agreed();
    let nothing = |_, _| Err(Malformed("the plan names what was not offered"));
    session.receive(|message, follows| match (message, follows) {
        (Message::Plan(page), Follows::More) => match pages::plan(page, agreed, nothing)? {
            Pages::End => Ok(()),
            Pages::More => Err(OUT_OF_TURN.into()),
        },
        _ => Err(OUT_OF_TURN.into()),
    })?;
    if kind == OfferKind::Stream {
        session.cannot_come_back();
    }
    sink(Event::Planned { files: 1, bytes: 0, here: 0 });

    let name = RelPath::parse(STREAM_NAME).map_err(|_| Malformed("a stream has no name"))?;
    let saved = Arc::<AtomicU64>::default();
    let packer = Packer::new(compression, session.agreed(), &saved);
    let (bytes, hash) = Content::new(session, packer, name.clone()).send_all(input, sink)?;
    session.send_control(&Control::Done)?;

    let mut summary = Summary { kind, bytes, hash: Some(hash), once: true, ..Summary::default() };
    let mut failed = 0u64;
    session.receive(|message, follows| match (message, follows) {
        (Message::Results(page), Follows::More) => Ok(pages::results(page, |index, fault| {
            failed += 1;
            match (index, fault, failed) {
                (0, Fault::Integrity, 1) => Ok(()),
                _ => Err(Malformed("a result names what was not offered")),
            }
        })?),
        _ => Err(OUT_OF_TURN.into()),
    })?;
    session.receive(|message, follows| match (message, follows) {
        (Message::Control(Control::Complete(complete)), Follows::Nothing) => {
            if complete.failed != failed || complete.files > 1 - failed.min(1) {
                return Err(Malformed("the results do not add up").into());
            }
            summary.files = complete.files;
            // All lanes are done.
            summary.saved = saved.load(Relaxed);
            Ok(())
        }
        _ => Err(OUT_OF_TURN.into()),
    })?;
    if failed > 0 {
        summary.failed.push((name, Fault::Integrity));
    }
    Ok(summary)
}

/// What was sent: so many bytes, and their SHA-256.
type Sent = (u64, [u8; HASH_LEN]);

/// The content, on its way into records.
struct Content<'a> {
    session: &'a mut Session,
    packer: Arc<Packer>,
    name: RelPath,
    buffer: Buffer,
    hash: Sha256,
    /// Bytes in the buffer, and bytes before.
    pending: u64,
    sent: u64,
}

impl<'a> Content<'a> {
    fn new(session: &'a mut Session, packer: Arc<Packer>, name: RelPath) -> Self {
        let mut buffer = session.buffer();
        buffer.clear();
        buffer.extend(&[DATA]);
        data::put_start(&mut buffer, 0, 0);
        Self { session, packer, name, buffer, hash: Sha256::new(), pending: 0, sent: 0 }
    }

    fn send_all(mut self, input: &mut Input, sink: Sink<'_>) -> Result<Sent, Stop> {
        loop {
            match input.pieces.recv_timeout(control::SLICE) {
                Ok(Ok(piece)) => {
                    input.taken = true;
                    self.put(&piece, sink)?;
                }
                Ok(Err(error)) => {
                    let error =
                        Error::failure(format!("cannot read the input: {}", reason(&error)))
                            .hint("look at what feeds it, then run both sides again");
                    return Err(Stop::Own(Reason::Failed, error));
                }
                Err(RecvTimeoutError::Timeout) => {
                    // Nothing comes: what there is need not wait for more.
                    self.flush(sink)?;
                    self.session.check()?;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let size = self.sent + self.pending;
        self.begin();
        let hash = std::mem::take(&mut self.hash).finalize().into();
        data::put_end(&mut self.buffer, size, &hash);
        self.flush(sink)?;
        Ok((size, hash))
    }

    fn put(&mut self, mut piece: &[u8], sink: &mut dyn FnMut(Event<'_>)) -> Result<(), Stop> {
        self.hash.update(piece);
        while !piece.is_empty() {
            self.begin();
            let content = self.session.content();
            let room = (content + MAX_FRAMING).saturating_sub(self.buffer.len() + data::FRAMING);
            let (now, later) = piece.split_at(piece.len().min(room.min(content)));
            let len = u32::try_from(now.len()).unwrap_or_default();
            let put = data::put_bytes(&mut self.buffer, len, |room| -> Result<(), Stop> {
                room.copy_from_slice(now);
                Ok(())
            });
            put?;
            self.pending += now.len() as u64;
            piece = later;
            if !piece.is_empty() || self.pending >= content as u64 {
                self.flush(sink)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self) {
        if self.buffer.is_empty() {
            self.buffer.extend(&[DATA]);
        }
    }

    fn flush(&mut self, sink: &mut dyn FnMut(Event<'_>)) -> Result<(), Stop> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.session.check()?;
        self.session.send_worked(&mut self.buffer, self.packer.work())?;
        let bytes = std::mem::take(&mut self.pending);
        self.sent += bytes;
        sink(Event::Moved { bytes, files: 0, name: &self.name });
        Ok(())
    }
}
