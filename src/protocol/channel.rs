//! The way in: lanes that read and open records while the engine works on those before.
//!
//! The queue is short; buffers go round and are reused. The threads end when their stream does:
//! whoever owns the stream closes it when the session is over.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::features::{Feature, Features};
use super::lanes::{self, Turn};
use super::line::Line;
use super::message::{Control, DATA, Message, Why};
use super::reader::Malformed;
use super::spared::spared;
use crate::bounds::{MAX_NOTES, MAX_PLAINTEXT, MAX_QUEUED};
use crate::compress::{self, Method};
use crate::crypto::record::{Buffer, Follows, RecordError, RecordReader};
use crate::error::Error;

/// Why a record could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The stream or a record on it.
    #[error(transparent)]
    Record(RecordError),
    /// A record that breaks the protocol.
    #[error("{}", .0.message)]
    Violation(Error),
    /// Nothing came in time.
    #[error("the other side has sent nothing for too long")]
    TimedOut,
    /// The thread could not be started, or is gone without having said why.
    #[error("the connection is closed")]
    Closed,
}

impl From<RecordError> for ChannelError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Io(error) if error.kind() == io::ErrorKind::TimedOut => Self::TimedOut,
            error => Self::Record(error),
        }
    }
}

impl From<ChannelError> for Error {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Violation(error) => error,
            error => Error::network(error.to_string()),
        }
    }
}

/// What the other side has said last of itself; known to whoever shows it.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<AtomicBool>);

impl Heard {
    /// Whether it has said last that it is paused.
    pub fn is_paused(&self) -> bool {
        self.0.load(Relaxed)
    }

    /// Takes note of it.
    pub fn set_paused(&self, paused: bool) {
        self.0.store(paused, Relaxed);
    }
}

type Arrived = Result<(Buffer, Follows), ChannelError>;

/// What both sides can do, once that is known.
pub type Agreed = Arc<OnceLock<Features>>;

/// Where what arrives is delivered, and how many notes have come since the last other message.
type Delivery = (SyncSender<Arrived>, u32);

/// The way in.
pub struct Inbox {
    opened: Receiver<Arrived>,
    used: SyncSender<Buffer>,
    saved: Arc<AtomicU64>,
    heard: Heard,
}

impl Inbox {
    /// Starts the threads that read. Records that are compressed as was agreed come out as plain ones,
    /// if any are to come.
    pub fn start<R: Read + Send + 'static>(
        reader: RecordReader<R>,
        lanes: usize,
        agreed: Option<Agreed>,
        line: &Line,
    ) -> Result<Self, ChannelError> {
        let (sender, opened) = mpsc::sync_channel(MAX_QUEUED);
        let (used, empty) = mpsc::sync_channel(MAX_QUEUED + 2 * lanes);
        let saved = Arc::<AtomicU64>::default();
        let reads = lanes::round(lanes, (reader, empty));
        let delivers = lanes::round(lanes, (sender, 0));
        let heard = Heard::default();
        let lanes = reads.into_iter().zip(delivers).map(|(reads, delivers)| {
            let (saved, agreed) = (Arc::clone(&saved), agreed.clone());
            let (heard, line) = (heard.clone(), line.clone());
            move || {
                let unpacks = agreed.as_ref().map(|agreed| (agreed, &*saved));
                let _ = read_all(&reads, &delivers, unpacks, (&heard, &line));
            }
        });
        lanes::start("open", lanes).map_err(|_| ChannelError::Closed)?;
        Ok(Self { opened, used, saved, heard })
    }

    /// The next record that is no `wait`.
    pub fn recv(&self) -> Result<(Buffer, Follows), ChannelError> {
        self.opened.recv().unwrap_or(Err(ChannelError::Closed))
    }

    /// The same, if it comes within `limit`.
    pub fn recv_within(&self, limit: Duration) -> Result<Option<(Buffer, Follows)>, ChannelError> {
        match self.opened.recv_timeout(limit) {
            Ok(arrived) => arrived.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(ChannelError::Closed),
        }
    }

    /// The next record, if there is one already.
    pub fn try_recv(&self) -> Result<Option<(Buffer, Follows)>, ChannelError> {
        match self.opened.try_recv() {
            Ok(arrived) => arrived.map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(ChannelError::Closed),
        }
    }

    /// What is known of the other side.
    pub fn heard(&self) -> Heard {
        self.heard.clone()
    }

    /// Bytes of content that compression has spared the line.
    pub fn saved(&self) -> u64 {
        self.saved.load(Relaxed)
    }

    /// Gives a buffer back to be used again.
    pub fn recycle(&self, buffer: Buffer) {
        let _ = self.used.try_send(buffer);
    }
}

/// One lane's part of the way in: it reads a record in its turn, opens it, and delivers it in its
/// turn. Ends with the direction.
fn read_all<R: Read>(
    reads: &Turn<(RecordReader<R>, Receiver<Buffer>)>,
    delivers: &Turn<Delivery>,
    unpacks: Option<(&Agreed, &AtomicU64)>,
    (heard, line): (&Heard, &Line),
) -> Option<()> {
    // What a compressed record came in, or a `wait`, is used for the next.
    let mut spare = Buffer::default();
    loop {
        let (mut reader, empty) = reads.take()?;
        // A new one grows with what arrives: idle directions cost nothing.
        let mut buffer = empty.try_recv().unwrap_or_else(|_| std::mem::take(&mut spare));
        let fetched = reader.fetch(&mut buffer).map_err(ChannelError::from);
        if fetched.is_ok() {
            line.record();
        }
        if matches!(&fetched, Ok(sealed) if sealed.claims() == Follows::More) {
            reads.pass((reader, empty));
        }
        let opened = fetched.and_then(|sealed| Ok(sealed.open(&mut buffer)?)).and_then(|follows| {
            if let Some((Some(agreed), saved)) =
                unpacks.map(|(agreed, saved)| (agreed.get(), saved))
            {
                saved.fetch_add(unpack(*agreed, &mut buffer, &mut spare)?, Relaxed);
            }
            Ok(follows)
        });
        let (deliver, notes) = delivers.take()?;
        // A `wait` has done its work by coming, and in the queue of an engine that is blocked itself
        // they would pile up until nothing more is read. Notes are of no use here. A marked one of
        // either is a violation, and for the engine to see.
        let skip = if matches!(opened, Ok(Follows::More)) { skip(&buffer) } else { None };
        heard.set_paused(matches!(skip, Some(Skip::Wait(Some(Why::Paused)))));
        let notes = match skip {
            Some(Skip::Wait(_)) => notes,
            Some(Skip::Note) => notes + 1,
            None => 0,
        };
        if notes > MAX_NOTES {
            let error = Malformed("too many notes");
            let _ = deliver.send(Err(ChannelError::Violation(error.into())));
            return None;
        }
        if skip.is_some() {
            spare = buffer;
        } else {
            let more = matches!(opened, Ok(Follows::More));
            deliver.send(opened.map(|follows| (buffer, follows))).ok().filter(|()| more)?;
        }
        delivers.pass((deliver, notes));
    }
}

/// A message that no engine waits for.
enum Skip {
    Wait(Option<Why>),
    Note,
}

fn skip(buffer: &Buffer) -> Option<Skip> {
    match Message::decode(buffer.plaintext()) {
        Ok(Message::Control(Control::Wait(wait))) => Some(Skip::Wait(wait.why)),
        Ok(Message::Note) => Some(Skip::Note),
        _ => None,
    }
}

/// Puts what a compressed record holds in its place, and returns how much of its content the line was
/// spared. All other records are left as they are, and for the engine to judge.
fn unpack(agreed: Features, buffer: &mut Buffer, spare: &mut Buffer) -> Result<u64, ChannelError> {
    let Ok(Message::Packed { codec, len, packed }) = Message::decode(buffer.plaintext()) else {
        return Ok(0);
    };
    if let Some(method) = Method::of(codec) {
        let may = agreed.check(Feature::Codec(method));
        may.map_err(|error| ChannelError::Violation(error.into()))?;
    }
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    spare.clear();
    spare.extend(&[DATA]);
    spare
        .append(|items| compress::decompress(codec, len, MAX_PLAINTEXT, packed, items))
        .map_err(ChannelError::Violation)?;
    std::mem::swap(buffer, spare);
    let items = buffer.plaintext().get(1..).unwrap_or_default();
    Ok(spared(items, buffer.len(), spare.len()))
}
