//! Records on their way: lanes that prepare, seal and write them, and lanes that read and open.
//!
//! The engine fills and drains buffers meanwhile, so that hashing overlaps with encryption and
//! the network. The queues are short; buffers go round and are reused. The threads end when
//! their stream does: whoever owns the stream closes it when the session is over.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{
    self, Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, TrySendError,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::lanes::{self, Turn};
use super::message::{Control, DATA, Message, Wait, Why};
use crate::bounds::{MAX_PLAINTEXT, MAX_QUEUED};
use crate::compress;
use crate::control;
use crate::crypto::record::{Buffer, Follows, RecordError, RecordReader, RecordWriter, Sealer};
use crate::error::Error;

/// Why a record could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The stream or a record on it.
    #[error(transparent)]
    Record(#[from] RecordError),
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

impl From<ChannelError> for Error {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Packed(error) => error,
            error => Error::network(error.to_string()),
        }
    }
}

/// When a whole record last came from the other side, and whether that side stands still; known to
/// both directions.
#[derive(Debug, Clone)]
pub struct Heard {
    last: Arc<Mutex<Instant>>,
    is_paused: Arc<AtomicBool>,
}

impl Heard {
    /// It was just heard.
    pub fn now() -> Self {
        Self { last: Arc::new(Mutex::new(Instant::now())), is_paused: Arc::default() }
    }

    /// Whether the other side has said last that it is paused.
    pub fn is_paused(&self) -> bool {
        self.is_paused.load(Relaxed)
    }

    /// Takes note of it.
    pub fn set_paused(&self, paused: bool) {
        self.is_paused.store(paused, Relaxed);
    }

    fn note(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn silence(&self) -> Duration {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// A writer that tries again what timed out, until it got nothing away for so long that the
/// connection is lost; but as long as the other side is heard, it is not: one that says `wait` and
/// reads nothing is paused or busy.
pub struct Patient<W> {
    writer: W,
    heard: Heard,
    patience: Duration,
}

impl<W> Patient<W> {
    /// Gives up when for `patience` nothing could be written and nothing was heard.
    pub fn new(writer: W, heard: Heard, patience: Duration) -> Self {
        Self { writer, heard, patience }
    }
}

impl<W: Write> Write for Patient<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let began = Instant::now();
        loop {
            match self.writer.write(bytes) {
                Err(error)
                    if error.kind() == io::ErrorKind::TimedOut
                        && began.elapsed().min(self.heard.silence()) < self.patience => {}
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// What a lane does with a record before it seals it; the second buffer is its working memory.
pub type Work = Box<dyn FnOnce(&mut Buffer, &mut Buffer) + Send>;

/// A record on its way out.
struct Outgoing {
    buffer: Buffer,
    work: Option<Work>,
    follows: Follows,
}

/// The way out.
pub struct Outbox {
    queue: Option<SyncSender<Outgoing>>,
    used: Receiver<Buffer>,
    /// How it ended, once the last record is written or one could not be.
    ended: Receiver<Result<(), RecordError>>,
}

impl Outbox {
    /// Starts the threads that seal and write.
    pub fn start<W: Write + Send + 'static>(
        writer: RecordWriter<W>,
        lanes: usize,
    ) -> Result<Self, ChannelError> {
        let (queue, filled) = mpsc::sync_channel(MAX_QUEUED);
        let (empty, used) = mpsc::channel();
        let (tell, ended) = mpsc::channel();
        let (sealer, writer) = writer.split();
        let draws = lanes::round(lanes, (filled, sealer));
        let writes = lanes::round(lanes, writer);
        let lanes = draws.into_iter().zip(writes).map(|(draws, writes)| {
            let (empty, tell) = (empty.clone(), tell.clone());
            move || {
                if let Some(ended) = write_all(&draws, &writes, &empty) {
                    // Nobody may be left to be told.
                    let _ = tell.send(ended);
                }
            }
        });
        lanes::start("seal", lanes).map_err(|_| ChannelError::Closed)?;
        Ok(Self { queue: Some(queue), used, ended })
    }

    /// An empty buffer. As the queue is short, there are never many.
    pub fn buffer(&mut self) -> Buffer {
        let used = self.used.try_recv().ok();
        used.unwrap_or_else(|| Buffer::with_capacity(MAX_PLAINTEXT))
    }

    /// Queues a record. What is left to be done with it is done in a lane.
    pub fn send(&mut self, buffer: Buffer, work: Option<Work>) -> Result<(), ChannelError> {
        self.queue(Outgoing { buffer, work, follows: Follows::More })
    }

    /// Queues a record that is whole, unless that would have to wait. Returns whether it did.
    pub fn offer(&mut self, buffer: Buffer) -> Result<bool, ChannelError> {
        let outgoing = Outgoing { buffer, work: None, follows: Follows::More };
        match self.queue.as_ref().map(|queue| queue.try_send(outgoing)) {
            Some(Ok(())) => Ok(true),
            Some(Err(TrySendError::Full(_))) => Ok(false),
            _ => {
                self.queue = None;
                Err(self.outcome().err().unwrap_or(ChannelError::Closed))
            }
        }
    }

    /// Queues the last record and waits until all have been written.
    pub fn send_last(mut self, buffer: Buffer) -> Result<(), ChannelError> {
        self.queue(Outgoing { buffer, work: None, follows: Follows::Nothing })?;
        self.queue = None;
        self.outcome()
    }

    /// The same, but only until `deadline`: then the threads are left to end with its stream.
    pub fn send_last_until(
        mut self,
        buffer: Buffer,
        deadline: Instant,
    ) -> Result<(), ChannelError> {
        let mut last = Outgoing { buffer, work: None, follows: Follows::Nothing };
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

    fn queue(&mut self, outgoing: Outgoing) -> Result<(), ChannelError> {
        match self.queue.as_ref().map(|queue| queue.send(outgoing)) {
            Some(Ok(())) => Ok(()),
            _ => {
                self.queue = None;
                Err(self.outcome().err().unwrap_or(ChannelError::Closed))
            }
        }
    }

    /// How it ended.
    fn outcome(&self) -> Result<(), ChannelError> {
        match self.ended.recv() {
            Ok(ended) => Ok(ended?),
            Err(_) => Err(ChannelError::Closed),
        }
    }
}

/// One lane's part of the way out: it draws a record and its number, does what is to be done, and
/// writes in its turn. Tells how the direction ended, if it ended here.
fn write_all<W: Write>(
    draws: &Turn<(Receiver<Outgoing>, Sealer)>,
    writes: &Turn<W>,
    empty: &Sender<Buffer>,
) -> Option<Result<(), RecordError>> {
    let mut memory = Buffer::default();
    loop {
        let (filled, mut sealer) = draws.take()?;
        let Outgoing { mut buffer, work, follows } = filled.recv().ok()?;
        let seal = sealer.number(follows);
        draws.pass((filled, sealer));
        if let Some(work) = work {
            work(&mut buffer, &mut memory);
        }
        let record = match seal.and_then(|seal| seal.seal(&mut buffer)) {
            Ok(record) => record,
            Err(error) => return Some(Err(error)),
        };
        let mut writer = writes.take()?;
        if let Err(error) = writer.write_all(record).and_then(|()| writer.flush()) {
            return Some(Err(error.into()));
        }
        writes.pass(writer);
        if follows == Follows::Nothing {
            return Some(Ok(()));
        }
        buffer.clear();
        // The engine may be gone already; then nobody needs the buffer.
        let _ = empty.send(buffer);
    }
}

type Arrived = Result<(Buffer, Follows), ChannelError>;

/// The way in.
pub struct Inbox {
    opened: Receiver<Arrived>,
    used: SyncSender<Buffer>,
    heard: Heard,
    patience: Duration,
    saved: Arc<AtomicU64>,
}

impl Inbox {
    /// Starts the threads that read, and note in `heard` what comes. [`Inbox::recv`] gives up
    /// when nothing does for `patience`. Compressed records come out as plain ones if `unpack`.
    pub fn start<R: Read + Send + 'static>(
        reader: RecordReader<R>,
        lanes: usize,
        unpack: bool,
        heard: Heard,
        patience: Duration,
    ) -> Result<Self, ChannelError> {
        let (sender, opened) = mpsc::sync_channel(MAX_QUEUED);
        let (used, empty) = mpsc::sync_channel(MAX_QUEUED + 2 * lanes);
        let saved = Arc::<AtomicU64>::default();
        let reads = lanes::round(lanes, (reader, empty));
        let delivers = lanes::round(lanes, sender);
        let lanes = reads.into_iter().zip(delivers).map(|(reads, delivers)| {
            let (heard, saved) = (heard.clone(), unpack.then(|| Arc::clone(&saved)));
            move || {
                let _ = read_all(&reads, &delivers, &heard, saved.as_deref());
            }
        });
        lanes::start("open", lanes).map_err(|_| ChannelError::Closed)?;
        Ok(Self { opened, used, heard, patience, saved })
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
            Ok(arrived) => arrived,
            Err(RecvTimeoutError::Timeout) => Err(ChannelError::TimedOut),
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
    heard: &Heard,
    unpacked: Option<&AtomicU64>,
) -> Option<()> {
    // What a compressed record came in, or a `wait`, is used for the next.
    let mut spare = Buffer::default();
    loop {
        let (mut reader, empty) = reads.take()?;
        // A new one grows with what arrives: idle directions cost nothing.
        let mut buffer = empty.try_recv().unwrap_or_else(|_| std::mem::take(&mut spare));
        let fetched = reader.fetch(&mut buffer).map_err(ChannelError::from);
        if matches!(&fetched, Ok(sealed) if sealed.claims() == Follows::More) {
            reads.pass((reader, empty));
        }
        let opened = fetched.and_then(|sealed| Ok(sealed.open(&mut buffer)?)).and_then(|follows| {
            heard.note();
            if let Some(saved) = unpacked {
                saved.fetch_add(unpack(&mut buffer, &mut spare)?, Relaxed);
            }
            Ok(follows)
        });
        let deliver = delivers.take()?;
        // A `wait` has been noted, and in the queue of an engine that is blocked itself they would
        // pile up until nothing more is read. A marked one is a violation, and for the engine to
        // see.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes everything, after so many times out.
    struct Full(u32);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Ok(bytes.len());
            }
            self.0 -= 1;
            Err(io::ErrorKind::TimedOut.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_write_is_tried_again_until_patience_ends() {
        let cases = [
            ("a side that says nothing but reads", Duration::from_millis(500), 3, None),
            (
                "one that does neither",
                Duration::from_millis(5),
                u32::MAX,
                Some(io::ErrorKind::TimedOut),
            ),
        ];
        for (name, patience, times, expected) in cases {
            let heard = Heard::now();
            thread::sleep(patience);
            let written = Patient::new(Full(times), heard, patience).write(b"x");
            assert_eq!(written.err().map(|error| error.kind()), expected, "{name}");
        }
    }
}
