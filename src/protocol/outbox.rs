//! The way out: lanes that prepare, seal and write records, and a heart that beats while they have
//! nothing to write, whatever keeps them.

use std::io::Write;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::channel::ChannelError;
use super::lanes;
use super::message::{Control, Wait, Why};
use crate::bounds::{MAX_PLAINTEXT, MAX_QUEUED};
use crate::control;
use crate::crypto::record::{Buffer, Follows, RecordError, RecordWriter, Seal, Sealer};

/// What a lane does with a record before it seals it; the second buffer is its working memory.
pub type Work = Box<dyn FnOnce(&mut Buffer, &mut Buffer) + Send>;

/// A record on its way out.
struct Outgoing {
    /// How many were queued before it.
    place: u64,
    buffer: Buffer,
    work: Option<Work>,
    follows: Follows,
}

/// The way out.
pub struct Outbox {
    queue: Option<SyncSender<Outgoing>>,
    queued: u64,
    used: Receiver<Buffer>,
    /// How it ended, once the last record is written or one could not be.
    ended: Receiver<Result<(), RecordError>>,
    /// The heart beats until this is gone, and at once when it is told.
    alive: Option<Sender<()>>,
}

impl Outbox {
    /// Starts the threads that seal and write. When nothing was written for `heartbeat`, a `wait`
    /// is.
    pub fn start<W: Write + Send + 'static>(
        writer: RecordWriter<W>,
        lanes: usize,
        heartbeat: Duration,
    ) -> Result<Self, ChannelError> {
        let (queue, filled) = mpsc::sync_channel(MAX_QUEUED);
        let (empty, used) = mpsc::channel();
        let (tell, ended) = mpsc::channel();
        let (alive, dead) = mpsc::channel();
        let (way, filled) = (Arc::new(Way::new(writer)), Arc::new(Mutex::new(filled)));
        let works = (0..lanes.max(1)).map(|_| {
            let (way, filled) = (Arc::clone(&way), Arc::clone(&filled));
            let (empty, tell) = (empty.clone(), tell.clone());
            move || {
                if let Some(ended) = write_all(&way, &filled, &empty) {
                    // Nobody may be left to be told.
                    let _ = tell.send(ended);
                }
            }
        });
        lanes::start("seal", works).map_err(|_| ChannelError::Closed)?;
        let beat = move || {
            if let Err(error) = beat(&way, heartbeat, &dead) {
                let _ = tell.send(Err(error));
            }
        };
        lanes::start("heart", [beat]).map_err(|_| ChannelError::Closed)?;
        Ok(Self { queue: Some(queue), queued: 0, used, ended, alive: Some(alive) })
    }

    /// An empty buffer. As the queue is short, there are never many.
    pub fn buffer(&mut self) -> Buffer {
        let used = self.used.try_recv().ok();
        used.unwrap_or_else(|| Buffer::with_capacity(MAX_PLAINTEXT))
    }

    /// Queues a record. What is left to be done with it is done in a lane.
    pub fn send(&mut self, buffer: Buffer, work: Option<Work>) -> Result<(), ChannelError> {
        let outgoing = self.outgoing(buffer, work, Follows::More);
        self.queue(outgoing)
    }

    /// This side has been paused, or goes on: whoever waits there wants to know at once. One that
    /// reads nothing itself is not waited for, so that this side can still be stopped.
    pub fn nudge(&self) {
        // The heart may have stopped already; then nobody is left to be told.
        let _ = self.alive.as_ref().map(|alive| alive.send(()));
    }

    /// Queues the last record and waits until all have been written.
    pub fn send_last(mut self, buffer: Buffer) -> Result<(), ChannelError> {
        let last = self.outgoing(buffer, None, Follows::Nothing);
        self.queue(last)?;
        self.queue = None;
        self.outcome()
    }

    /// The same, but only until `deadline`: then the threads are left to end with its stream.
    pub fn send_last_until(
        mut self,
        buffer: Buffer,
        deadline: Instant,
    ) -> Result<(), ChannelError> {
        let mut last = self.outgoing(buffer, None, Follows::Nothing);
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

    fn outgoing(&mut self, buffer: Buffer, work: Option<Work>, follows: Follows) -> Outgoing {
        let place = self.queued;
        self.queued += 1;
        Outgoing { place, buffer, work, follows }
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

    /// How it ended, or is about to.
    fn outcome(&mut self) -> Result<(), ChannelError> {
        self.alive = None;
        match self.ended.recv() {
            Ok(ended) => Ok(ended?),
            Err(_) => Err(ChannelError::Closed),
        }
    }
}

/// What the lanes and the heart share. Records are numbered in the order of the queue, each when
/// what was to be done with it is done, and written in the order of their numbers. So whoever is
/// kept by its work has no number yet, and the heart can take one.
struct Way<W> {
    state: Mutex<State<W>>,
    changed: Condvar,
}

struct State<W> {
    sealer: Sealer,
    /// The place in the queue that is numbered next.
    place: u64,
    /// How many have a number, and how many of them are written.
    numbered: u64,
    written: u64,
    /// Away while something is written.
    writer: Option<W>,
    /// When something last was.
    spoken: Instant,
    /// Whether that said that this side is paused.
    told_pause: bool,
    /// Nothing more is numbered or written.
    broken: bool,
}

/// A number, and what it is good for.
type Number = (u64, Seal);

impl<W: Write> Way<W> {
    fn new(writer: RecordWriter<W>) -> Self {
        let (sealer, writer) = writer.split();
        let state = State {
            sealer,
            place: 0,
            numbered: 0,
            written: 0,
            writer: Some(writer),
            spoken: Instant::now(),
            told_pause: false,
            broken: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        // No step of it can panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `is_turn`; nothing if that never comes.
    fn turn(&self, is_turn: impl Fn(&State<W>) -> bool) -> Option<MutexGuard<'_, State<W>>> {
        let mut state = self.state();
        while !state.broken && !is_turn(&state) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        (!state.broken).then_some(state)
    }

    /// The number of the record with this place in the queue, once it is its turn.
    fn number(&self, place: u64, follows: Follows) -> Option<Result<Number, RecordError>> {
        let mut state = self.turn(|state| state.place == place)?;
        state.place += 1;
        let number = state.number(follows);
        drop(state);
        self.changed.notify_all();
        Some(number)
    }

    /// Writes a record once it is its turn.
    fn write(
        &self,
        number: u64,
        record: &[u8],
        tells_pause: bool,
    ) -> Option<Result<(), RecordError>> {
        let mut state = self.turn(|state| state.written == number && state.writer.is_some())?;
        let mut writer = state.writer.take()?;
        drop(state);
        let written = writer.write_all(record).and_then(|()| writer.flush());
        let mut state = self.state();
        state.writer = Some(writer);
        state.written += 1;
        (state.spoken, state.told_pause) = (Instant::now(), tells_pause);
        drop(state);
        self.changed.notify_all();
        Some(written.map_err(RecordError::from))
    }

    /// After an error: the other side knows no number but the one that is missing now.
    fn break_off(&self) {
        self.state().broken = true;
        self.changed.notify_all();
    }

    /// A number for a `wait`, unless something was said since `heartbeat`, or is about to be; then
    /// how long there is nothing to do. That this side is `paused`, or is no more, is news if
    /// nothing has told it yet; while it is, what was queued before may still be written after it.
    fn number_wait(&self, heartbeat: Duration, paused: bool) -> Result<Number, Option<Duration>> {
        let mut state = self.state();
        let quiet = state.spoken.elapsed();
        let nap = if paused { control::SLICE.min(heartbeat) } else { heartbeat };
        if state.broken {
            return Err(None);
        }
        if quiet < heartbeat && state.told_pause == paused {
            return Err(Some(nap.min(heartbeat - quiet)));
        }
        if state.numbered > state.written {
            return Err(Some(nap));
        }
        // The last record may have gone out.
        state.number(Follows::More).map_err(|_| None)
    }
}

impl<W> State<W> {
    fn number(&mut self, follows: Follows) -> Result<Number, RecordError> {
        let number = self.numbered;
        let seal = self.sealer.number(follows)?;
        self.numbered += 1;
        Ok((number, seal))
    }
}

/// The other lanes wait for one that panicked no longer.
struct OnPanic<'a, W: Write>(&'a Way<W>);

impl<W: Write> Drop for OnPanic<'_, W> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.break_off();
        }
    }
}

/// One lane's part of the way out: it takes a record, does what is to be done, and seals and writes
/// it in its turn. Tells how the direction ended, if it ended here.
fn write_all<W: Write>(
    way: &Way<W>,
    filled: &Mutex<Receiver<Outgoing>>,
    empty: &Sender<Buffer>,
) -> Option<Result<(), RecordError>> {
    let _guard = OnPanic(way);
    let mut memory = Buffer::default();
    loop {
        let next = filled.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Outgoing { place, mut buffer, work, follows } = next.ok()?;
        if let Some(work) = work {
            work(&mut buffer, &mut memory);
        }
        let written = way.number(place, follows)?.and_then(|(number, seal)| {
            let record = seal.seal(&mut buffer)?;
            way.write(number, record, false).transpose()
        });
        match written {
            Ok(Some(())) => {}
            Ok(None) => return None,
            Err(error) => {
                way.break_off();
                return Some(Err(error));
            }
        }
        if follows == Follows::Nothing {
            return Some(Ok(()));
        }
        buffer.clear();
        // The engine may be gone already; then nobody needs the buffer.
        let _ = empty.send(buffer);
    }
}

/// Says `wait` when nothing else has been said for `heartbeat`, and when this side is paused or goes
/// on, until the session is over.
fn beat<W: Write>(
    way: &Way<W>,
    heartbeat: Duration,
    dead: &Receiver<()>,
) -> Result<(), RecordError> {
    let mut nap = heartbeat;
    let mut buffer = Buffer::default();
    while let Ok(()) | Err(RecvTimeoutError::Timeout) = dead.recv_timeout(nap) {
        nap = heartbeat;
        let paused = control::is_paused();
        let (number, seal) = match way.number_wait(heartbeat, paused) {
            Ok(number) => number,
            Err(Some(left)) => {
                nap = left;
                continue;
            }
            Err(None) => return Ok(()),
        };
        if paused {
            nap = control::SLICE.min(heartbeat);
        }
        let written = Control::Wait(Wait { why: paused.then_some(Why::Paused) })
            .encode(&mut buffer)
            .map_err(|_| RecordError::Length)
            .and_then(|()| seal.seal(&mut buffer))
            .and_then(|record| way.write(number, record, paused).unwrap_or(Ok(())));
        if let Err(error) = written {
            way.break_off();
            return Err(error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::handshake::{Binding, Start, Verdict};
    use crate::crypto::keys::{Role, SealKey};
    use crate::token::{self, Token};

    fn key() -> SealKey {
        let token = Token::parse("ocean-tiger").unwrap();
        let mut rng = token::system_rng().unwrap();
        let mut start = |role| Start::new(role, &token, Binding::None, &mut rng);
        let (sender, receiver) = (start(Role::Sender), start(Role::Receiver));
        let (sent, received) = (*sender.hello(), *receiver.hello());
        let (_, confirm) = receiver.prove(&sent, &[7; 16]).unwrap();
        let waiting = sender.await_proof(&received).unwrap();
        waiting.check(&confirm).unwrap().answer(Verdict::Welcome).1.seal
    }

    /// That this side is paused, or goes on, is said at once, and again behind what was queued
    /// before; anything else waits for its time.
    #[test]
    fn a_pause_is_news_until_it_is_told() {
        const BEAT: Duration = Duration::from_secs(3600);
        let way = Way::new(RecordWriter::new(Vec::new(), key()));
        let has_news = |paused| way.number_wait(BEAT, paused).ok().map(|(number, _)| number);
        let write = |number, tells_pause| way.write(number, b"", tells_pause).unwrap().unwrap();
        assert_eq!(has_news(false), None);
        assert_eq!(has_news(true), Some(0));
        // Not beside one that is on its way.
        assert_eq!(has_news(true), None);
        write(0, true);
        assert_eq!(has_news(true), None);
        let (number, _) = way.number(0, Follows::More).unwrap().unwrap();
        write(number, false);
        assert_eq!(has_news(true), Some(2));
        write(2, true);
        assert_eq!(has_news(false), Some(3));
        write(3, false);
        assert_eq!(has_news(false), None);
    }
}
