//! Records on their way: one thread seals and writes, one reads and opens.
//!
//! The engine fills and drains buffers meanwhile, so that hashing overlaps with encryption and
//! the network. The queues are short; buffers go round and are reused. The threads end when
//! their stream does: whoever owns the stream closes it when the session is over.

use std::io::{self, Read, Write};
use std::sync::mpsc::{
    self, Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, TrySendError,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::message::{Control, Message};
use crate::bounds::{MAX_PLAINTEXT, MAX_QUEUED};
use crate::control;
use crate::crypto::record::{Buffer, Follows, RecordError, RecordReader, RecordWriter};
use crate::error::Error;

/// Why a record could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The stream or a record on it.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Nothing came in time.
    #[error("the other side has sent nothing for too long")]
    TimedOut,
    /// The thread could not be started, or is gone without having said why.
    #[error("the connection is closed")]
    Closed,
}

impl From<ChannelError> for Error {
    fn from(error: ChannelError) -> Self {
        Error::network(error.to_string())
    }
}

/// When a whole record last came from the other side; known to both directions.
#[derive(Debug, Clone)]
pub struct Heard(Arc<Mutex<Instant>>);

impl Heard {
    /// It was just heard.
    pub fn now() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn silence(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// A writer that tries again what timed out, as long as the other side is heard: one that says
/// `wait` and reads nothing is paused or busy, not lost.
pub struct Patient<W> {
    writer: W,
    heard: Heard,
    patience: Duration,
}

impl<W> Patient<W> {
    /// Gives up when a write times out and nothing has been heard for `patience`.
    pub fn new(writer: W, heard: Heard, patience: Duration) -> Self {
        Self { writer, heard, patience }
    }
}

impl<W: Write> Write for Patient<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.writer.write(bytes) {
                Err(error)
                    if error.kind() == io::ErrorKind::TimedOut
                        && self.heard.silence() < self.patience => {}
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// The way out.
pub struct Outbox {
    queue: Option<SyncSender<(Buffer, Follows)>>,
    used: Receiver<Buffer>,
    /// How the thread ended, once it has.
    ended: Receiver<Result<(), RecordError>>,
}

impl Outbox {
    /// Starts the thread that writes.
    pub fn start<W: Write + Send + 'static>(writer: RecordWriter<W>) -> Result<Self, ChannelError> {
        let (queue, filled) = mpsc::sync_channel(MAX_QUEUED);
        let (empty, used) = mpsc::channel();
        let (tell, ended) = mpsc::channel();
        thread::Builder::new()
            .name("seal".into())
            // Nobody may be left to be told.
            .spawn(move || drop(tell.send(write_all(writer, &filled, &empty))))
            .map_err(|_| ChannelError::Closed)?;
        Ok(Self { queue: Some(queue), used, ended })
    }

    /// An empty buffer. As the queue is short, there are never many.
    pub fn buffer(&mut self) -> Buffer {
        let used = self.used.try_recv().ok();
        used.unwrap_or_else(|| Buffer::with_capacity(MAX_PLAINTEXT))
    }

    /// Queues a record.
    pub fn send(&mut self, buffer: Buffer) -> Result<(), ChannelError> {
        self.queue(buffer, Follows::More)
    }

    /// Queues the last record and waits until all have been written.
    pub fn send_last(mut self, buffer: Buffer) -> Result<(), ChannelError> {
        self.queue(buffer, Follows::Nothing)?;
        self.queue = None;
        self.outcome()
    }

    /// The same, but only until `deadline`: then the thread is left to end with its stream.
    pub fn send_last_until(
        mut self,
        buffer: Buffer,
        deadline: Instant,
    ) -> Result<(), ChannelError> {
        let mut last = (buffer, Follows::Nothing);
        let queue = self.queue.take().ok_or(ChannelError::Closed)?;
        while let Err(unsent) = queue.try_send(last) {
            last = match unsent {
                TrySendError::Full(last) if Instant::now() < deadline => last,
                TrySendError::Full(_) => return Err(ChannelError::TimedOut),
                TrySendError::Disconnected(_) => return Err(ChannelError::Closed),
            };
            thread::sleep(Duration::from_millis(10));
        }
        drop(queue);
        let left = deadline.saturating_duration_since(Instant::now());
        match self.ended.recv_timeout(left) {
            Ok(ended) => Ok(ended?),
            Err(RecvTimeoutError::Timeout) => Err(ChannelError::TimedOut),
            Err(RecvTimeoutError::Disconnected) => Err(ChannelError::Closed),
        }
    }

    fn queue(&mut self, buffer: Buffer, follows: Follows) -> Result<(), ChannelError> {
        let queued = self.queue.as_ref().map(|queue| queue.send((buffer, follows)));
        match queued {
            Some(Ok(())) => Ok(()),
            _ => {
                self.queue = None;
                Err(self.outcome().err().unwrap_or(ChannelError::Closed))
            }
        }
    }

    /// How the thread ended.
    fn outcome(&self) -> Result<(), ChannelError> {
        match self.ended.recv() {
            Ok(ended) => Ok(ended?),
            Err(_) => Err(ChannelError::Closed),
        }
    }
}

fn write_all<W: Write>(
    mut writer: RecordWriter<W>,
    filled: &Receiver<(Buffer, Follows)>,
    empty: &Sender<Buffer>,
) -> Result<(), RecordError> {
    for (mut buffer, follows) in filled {
        match follows {
            Follows::More => writer.write(&mut buffer)?,
            Follows::Nothing => writer.write_last(&mut buffer)?,
        }
        // The engine may be gone already; then nobody needs the buffer.
        let _ = empty.send(buffer);
    }
    Ok(())
}

type Arrived = Result<(Buffer, Follows), RecordError>;

/// The way in.
pub struct Inbox {
    opened: Receiver<Arrived>,
    used: SyncSender<Buffer>,
    heard: Heard,
    patience: Duration,
}

impl Inbox {
    /// Starts the thread that reads, and notes in `heard` what comes. [`Inbox::recv`] gives up
    /// when nothing does for `patience`.
    pub fn start<R: Read + Send + 'static>(
        reader: RecordReader<R>,
        heard: Heard,
        patience: Duration,
    ) -> Result<Self, ChannelError> {
        let (sender, opened) = mpsc::sync_channel(MAX_QUEUED);
        let (used, empty) = mpsc::sync_channel(MAX_QUEUED + 2);
        let noted = heard.clone();
        thread::Builder::new()
            .name("open".into())
            .spawn(move || read_all(reader, &noted, &sender, &empty))
            .map_err(|_| ChannelError::Closed)?;
        Ok(Self { opened, used, heard, patience })
    }

    /// The next record that is no `wait`.
    pub fn recv(&self) -> Result<(Buffer, Follows), ChannelError> {
        let since = Instant::now();
        loop {
            match self.recv_within(control::SLICE) {
                Err(ChannelError::TimedOut) if !self.is_silent(since) => {}
                arrived => return arrived,
            }
        }
    }

    /// Whether nothing has come, not even a `wait`, for longer than there is patience. The time
    /// before `since`, when nobody listened, does not count.
    pub fn is_silent(&self, since: Instant) -> bool {
        since.elapsed().min(self.heard.silence()) >= self.patience
    }

    /// The next record that is no `wait`, if it comes within `limit`.
    pub fn recv_within(&self, limit: Duration) -> Result<(Buffer, Follows), ChannelError> {
        match self.opened.recv_timeout(limit) {
            Ok(arrived) => Ok(arrived?),
            Err(RecvTimeoutError::Timeout) => Err(ChannelError::TimedOut),
            Err(RecvTimeoutError::Disconnected) => Err(ChannelError::Closed),
        }
    }

    /// The next record, if there is one already.
    pub fn try_recv(&self) -> Result<Option<(Buffer, Follows)>, ChannelError> {
        match self.opened.try_recv() {
            Ok(arrived) => Ok(Some(arrived?)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(ChannelError::Closed),
        }
    }

    /// Gives a buffer back to be used again.
    pub fn recycle(&self, buffer: Buffer) {
        let _ = self.used.try_send(buffer);
    }
}

fn read_all<R: Read>(
    mut reader: RecordReader<R>,
    heard: &Heard,
    opened: &SyncSender<Arrived>,
    empty: &Receiver<Buffer>,
) {
    loop {
        // A new one grows with what arrives: idle directions cost nothing.
        let mut buffer = empty.try_recv().unwrap_or_default();
        let arrived = read_one(&mut reader, &mut buffer, heard).map(|follows| (buffer, follows));
        let more = matches!(arrived, Ok((_, Follows::More)));
        if opened.send(arrived).is_err() || !more {
            return;
        }
    }
}

/// The next record that is no `wait`. Those are noted and dropped here: in the queue of an engine
/// that is blocked itself they would pile up until nothing more is read.
fn read_one<R: Read>(
    reader: &mut RecordReader<R>,
    buffer: &mut Buffer,
    heard: &Heard,
) -> Result<Follows, RecordError> {
    loop {
        let follows = reader.read(buffer)?;
        heard.note();
        let message = Message::decode(buffer.plaintext());
        let is_wait = matches!(message, Ok(Message::Control(Control::Wait)));
        // A marked one is a violation, and for the engine to see.
        if !is_wait || follows == Follows::Nothing {
            return Ok(follows);
        }
    }
}
