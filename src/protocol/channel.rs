//! The way in: lanes that read and open records while the engine works on those before.
//!
//! The queue is short; buffers go round and are reused. The threads end when their stream does:
//! whoever owns the stream closes it when the session is over.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::time::Duration;

use super::lanes::{self, Turn};
use super::line::Line;
use super::message::{Control, DATA, Message, Wait, Why};
use crate::bounds::{MAX_PLAINTEXT, MAX_QUEUED};
use crate::compress;
use crate::crypto::record::{Buffer, Follows, RecordError, RecordReader};
use crate::error::Error;

/// Why a record could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The stream or a record on it.
    #[error(transparent)]
    Record(RecordError),
    /// A record that cannot be decompressed.
    #[error("{}", .0.message)]
    Packed(Error),
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
            ChannelError::Packed(error) => error,
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

/// The way in.
pub struct Inbox {
    opened: Receiver<Arrived>,
    used: SyncSender<Buffer>,
    saved: Arc<AtomicU64>,
    heard: Heard,
}

impl Inbox {
    /// Starts the threads that read. Compressed records come out as plain ones if `unpack`.
    pub fn start<R: Read + Send + 'static>(
        reader: RecordReader<R>,
        lanes: usize,
        unpack: bool,
        line: &Line,
    ) -> Result<Self, ChannelError> {
        let (sender, opened) = mpsc::sync_channel(MAX_QUEUED);
        let (used, empty) = mpsc::sync_channel(MAX_QUEUED + 2 * lanes);
        let saved = Arc::<AtomicU64>::default();
        let reads = lanes::round(lanes, (reader, empty));
        let delivers = lanes::round(lanes, sender);
        let heard = Heard::default();
        let lanes = reads.into_iter().zip(delivers).map(|(reads, delivers)| {
            let (saved, heard) = (unpack.then(|| Arc::clone(&saved)), heard.clone());
            let line = line.clone();
            move || {
                let _ = read_all(&reads, &delivers, saved.as_deref(), (&heard, &line));
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

    /// Bytes that compression has spared the line.
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
    delivers: &Turn<SyncSender<Arrived>>,
    unpacked: Option<&AtomicU64>,
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
            if let Some(saved) = unpacked {
                saved.fetch_add(unpack(&mut buffer, &mut spare)?, Relaxed);
            }
            Ok(follows)
        });
        let deliver = delivers.take()?;
        // A `wait` has done its work by coming, and in the queue of an engine that is blocked itself
        // they would pile up until nothing more is read. A marked one is a violation, and for the
        // engine to see.
        let wait = if matches!(opened, Ok(Follows::More)) { wait(&buffer) } else { None };
        heard.set_paused(wait.is_some_and(|wait| wait.why == Some(Why::Paused)));
        if wait.is_some() {
            spare = buffer;
        } else {
            let more = matches!(opened, Ok(Follows::More));
            deliver.send(opened.map(|follows| (buffer, follows))).ok().filter(|()| more)?;
        }
        delivers.pass(deliver);
    }
}

fn wait(buffer: &Buffer) -> Option<Wait> {
    match Message::decode(buffer.plaintext()) {
        Ok(Message::Control(Control::Wait(wait))) => Some(wait),
        _ => None,
    }
}

/// Puts what a compressed record holds in its place, and returns how much longer that is. All
/// other records are left as they are, and for the engine to judge.
fn unpack(buffer: &mut Buffer, spare: &mut Buffer) -> Result<u64, ChannelError> {
    let Ok(Message::Packed { codec, len, packed }) = Message::decode(buffer.plaintext()) else {
        return Ok(0);
    };
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    spare.clear();
    spare.extend(&[DATA]);
    spare
        .append(|items| compress::decompress(codec, len, MAX_PLAINTEXT, packed, items))
        .map_err(ChannelError::Packed)?;
    std::mem::swap(buffer, spare);
    Ok((buffer.len() as u64).saturating_sub(spare.len() as u64))
}
