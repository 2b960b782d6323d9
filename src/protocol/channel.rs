//! Records on their way: one thread seals and writes, one reads and opens.
//!
//! The engine fills and drains buffers meanwhile, so that hashing overlaps with encryption and
//! the network. The queues are short; buffers go round and are reused. The threads end when
//! their stream does: whoever owns the stream closes it when the session is over.

use std::io::{Read, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::bounds::{MAX_PLAINTEXT, MAX_QUEUED};
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

/// The way out.
pub struct Outbox {
    queue: Option<SyncSender<(Buffer, Follows)>>,
    used: Receiver<Buffer>,
    thread: Option<JoinHandle<Result<(), RecordError>>>,
}

impl Outbox {
    /// Starts the thread that writes.
    pub fn start<W: Write + Send + 'static>(writer: RecordWriter<W>) -> Result<Self, ChannelError> {
        let (queue, filled) = mpsc::sync_channel(MAX_QUEUED);
        let (empty, used) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("seal".into())
            .spawn(move || write_all(writer, &filled, &empty))
            .map_err(|_| ChannelError::Closed)?;
        Ok(Self { queue: Some(queue), used, thread: Some(thread) })
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
    fn outcome(&mut self) -> Result<(), ChannelError> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => Ok(result?),
            _ => Err(ChannelError::Closed),
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
    patience: Duration,
}

impl Inbox {
    /// Starts the thread that reads. [`Inbox::recv`] waits at most `patience`.
    pub fn start<R: Read + Send + 'static>(
        reader: RecordReader<R>,
        patience: Duration,
    ) -> Result<Self, ChannelError> {
        let (sender, opened) = mpsc::sync_channel(MAX_QUEUED);
        let (used, empty) = mpsc::sync_channel(MAX_QUEUED + 2);
        thread::Builder::new()
            .name("open".into())
            .spawn(move || read_all(reader, &sender, &empty))
            .map_err(|_| ChannelError::Closed)?;
        Ok(Self { opened, used, patience })
    }

    /// The next record.
    pub fn recv(&self) -> Result<(Buffer, Follows), ChannelError> {
        self.recv_within(self.patience)
    }

    /// The next record, if it comes within `patience`.
    pub fn recv_within(&self, patience: Duration) -> Result<(Buffer, Follows), ChannelError> {
        match self.opened.recv_timeout(patience) {
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
    opened: &SyncSender<Arrived>,
    empty: &Receiver<Buffer>,
) {
    loop {
        // A new one grows with what arrives: idle directions cost nothing.
        let mut buffer = empty.try_recv().unwrap_or_default();
        let arrived = reader.read(&mut buffer).map(|follows| (buffer, follows));
        let more = matches!(arrived, Ok((_, Follows::More)));
        if opened.send(arrived).is_err() || !more {
            return;
        }
    }
}
