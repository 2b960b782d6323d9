//! An authenticated conversation, the same for both sides: send, receive, stop with a reason.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::channel::{ChannelError, Heard, Inbox, Outbox, Patient, Work};
use super::codec::Malformed;
use super::lanes;
use super::message::{Control, Message, Reason, Wait, Why};
use super::pages;
use crate::bounds::{FAREWELL, MAX_CONTENT, MAX_PLAINTEXT, STALL_LIMIT};
use crate::control;
use crate::crypto::keys::{Role, SessionKeys};
use crate::crypto::record::{Buffer, Follows, RecordReader, RecordWriter};
use crate::error::{Error, Result};

/// How often a side says that it is still at work while the other waits.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How patient a session is, and how large its records get.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long it waits for the other side's next record, and goes on trying to write to one
    /// that reads nothing.
    pub patience: Duration,
    /// How often it says that it is still at work.
    pub heartbeat: Duration,
    /// Bytes of content it puts into a record, at most [`MAX_CONTENT`].
    pub content: usize,
    /// Records that are prepared and sealed, or opened, at the same time.
    pub lanes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            patience: STALL_LIMIT,
            heartbeat: HEARTBEAT,
            content: MAX_CONTENT,
            lanes: lanes::default_count(),
        }
    }
}

/// Both directions, and who is at the other end.
pub struct Session {
    inbox: Inbox,
    outbox: Outbox,
    peer: Role,
    heartbeat: Duration,
    content: usize,
    spoken: Instant,
}

/// Why a session ended early.
#[derive(Debug)]
pub enum Stop {
    /// The connection is gone, or the other side said that it stops: it needs no telling.
    Gone(Error),
    /// This side stops, and the other is told the reason.
    Own(Reason, Error),
}

impl From<ChannelError> for Stop {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Packed(error) => Self::Own(Reason::Protocol, error),
            error => Self::Gone(error.into()),
        }
    }
}

impl From<Malformed> for Stop {
    fn from(error: Malformed) -> Self {
        Self::Own(Reason::Protocol, error.into())
    }
}

/// A message that came at the wrong time.
pub const OUT_OF_TURN: Malformed = Malformed("a message came out of turn");

impl Session {
    /// Takes over the two directions of a connection to `peer`. Whoever owns the connection
    /// closes it when the session is over. A write that gets nothing away for a while has to
    /// fail with [`io::ErrorKind::TimedOut`](std::io::ErrorKind::TimedOut): it is tried again
    /// while the other side is heard.
    pub fn start<R, W>(
        (reader, writer): (R, W),
        keys: SessionKeys,
        peer: Role,
        limits: Limits,
    ) -> Result<Self>
    where
        R: Read + Send + 'static,
        W: Write + Send + 'static,
    {
        let reader = RecordReader::new(reader, keys.open, MAX_PLAINTEXT);
        let Limits { patience, heartbeat, content, lanes } = limits;
        // Only in one direction there is much to do. What a receiver says is never compressed, and
        // what says that it is remains for the engine to refuse.
        let is_receiving = peer == Role::Sender;
        let (lanes_in, lanes_out) = if is_receiving { (lanes, 1) } else { (1, lanes) };
        let heard = Heard::now();
        let inbox = Inbox::start(reader, lanes_in, is_receiving, heard.clone(), patience)?;
        let writer = Patient::new(writer, heard, patience);
        let outbox = Outbox::start(RecordWriter::new(writer, keys.seal), lanes_out)?;
        Ok(Self { inbox, outbox, peer, heartbeat, content, spoken: Instant::now() })
    }

    /// Bytes of content for one record.
    pub fn content(&self) -> usize {
        self.content
    }

    /// Sends a list in pages; `kind` and `encode` as in [`pages::write`].
    pub fn send_pages<T>(
        &mut self,
        kind: u8,
        items: impl IntoIterator<Item = T>,
        encode: impl FnMut(&mut Buffer, T),
    ) -> Result<(), Stop> {
        let mut buffer = self.outbox.buffer();
        pages::write(kind, self.content, &mut buffer, items, encode, |page| self.send(page))
    }

    /// An empty buffer to fill.
    pub fn buffer(&mut self) -> Buffer {
        self.outbox.buffer()
    }

    /// Sends a record and leaves an empty buffer in its place.
    pub fn send(&mut self, buffer: &mut Buffer) -> Result<(), Stop> {
        self.send_worked(buffer, None)
    }

    /// The same for a record that is not finished: a lane does the `work` beside the others'.
    pub fn send_worked(&mut self, buffer: &mut Buffer, work: Option<Work>) -> Result<(), Stop> {
        let mut next = self.outbox.buffer();
        next.clear();
        let record = std::mem::replace(buffer, next);
        self.outbox.send(record, work).map_err(|error| self.lost(error))
    }

    /// Sends a control message.
    pub fn send_control(&mut self, control: &Control) -> Result<(), Stop> {
        let mut buffer = self.outbox.buffer();
        control.encode(&mut buffer)?;
        self.spoken = Instant::now();
        self.outbox.send(buffer, None).map_err(|error| self.lost(error))
    }

    /// Sends the last message of this direction and waits until it is written. What the other
    /// side still has to say is left in the way in.
    pub fn send_last(mut self, control: &Control) -> Result<Inbox, Stop> {
        let mut buffer = self.outbox.buffer();
        control.encode(&mut buffer)?;
        self.outbox.send_last(buffer)?;
        Ok(self.inbox)
    }

    /// The next message; takes its buffer back when `handle` is done.
    ///
    /// A cancelling peer ends the session here, whatever was expected.
    pub fn receive<T>(
        &mut self,
        handle: impl FnOnce(Message<'_>, Follows) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let (buffer, follows) = self.receive_record()?;
        let result = handle(Message::decode(buffer.plaintext())?, follows);
        self.recycle(buffer);
        result
    }

    /// The next record, for those who keep it for a while. A cancelling peer ends the session.
    pub fn receive_record(&mut self) -> Result<(Buffer, Follows), Stop> {
        let mut since = Instant::now();
        let (buffer, follows) = loop {
            if self.obey()? {
                since = Instant::now();
            }
            match self.inbox.recv_within(control::SLICE) {
                Err(ChannelError::TimedOut) if !self.inbox.is_silent(since) => {}
                arrived => break arrived?,
            }
        };
        sift(&buffer, follows, self.peer)?;
        Ok((buffer, follows))
    }

    /// Takes a buffer back, to be used again.
    pub fn recycle(&self, buffer: Buffer) {
        self.inbox.recycle(buffer);
    }

    /// What is known of the other side, whoever has the session.
    pub fn heard(&self) -> Heard {
        self.inbox.heard()
    }

    /// Bytes that compression has spared the line, of all that came in.
    pub fn saved(&self) -> u64 {
        self.inbox.saved()
    }

    /// Stands still while the transfer is paused, and fails once it is to stop. Tells whether it
    /// stood still.
    fn obey(&mut self) -> Result<bool, Stop> {
        let (mut paused, mut told) = (false, false);
        loop {
            control::check().map_err(|error| Stop::Own(Reason::Interrupted, error))?;
            if !control::is_paused() {
                if told {
                    self.mention_pause()?;
                }
                return Ok(paused);
            }
            paused = true;
            if !told || self.spoken.elapsed() >= self.heartbeat {
                told |= self.mention_pause()?;
            }
            thread::sleep(control::SLICE);
        }
    }

    /// Whoever waits there wants to know at once that this side stands still, or goes on. One that
    /// reads nothing itself is not waited for, so that this side can still be stopped.
    fn mention_pause(&mut self) -> Result<bool, Stop> {
        let mut buffer = self.outbox.buffer();
        wait().encode(&mut buffer)?;
        let told = self.outbox.offer(buffer).map_err(|error| self.lost(error))?;
        if told {
            self.spoken = Instant::now();
        }
        Ok(told)
    }

    /// Whether the other side has said, without being asked, that it stops.
    pub fn check(&mut self) -> Result<(), Stop> {
        self.obey()?;
        match self.inbox.try_recv()? {
            Some((buffer, follows)) => Err(unasked(&buffer, follows, self.peer)),
            None => Ok(()),
        }
    }

    /// Says that this side is still there, if it has not said so for ten seconds; to be called
    /// again and again in work that sends nothing.
    pub fn still_here(&mut self) -> Result<(), Stop> {
        if self.spoken.elapsed() >= self.heartbeat {
            self.send_control(&wait())?;
        }
        Ok(())
    }

    /// Says every ten seconds that this side is still there, while `work` takes its time.
    pub fn meanwhile<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (finished, waiting) = std::sync::mpsc::channel::<()>();
        let heartbeat = self.heartbeat;
        thread::scope(|scope| {
            let beat = scope.spawn(|| {
                let waiting = waiting;
                while waiting
                    .recv_timeout(heartbeat)
                    .is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout)
                {
                    if self.send_control(&wait()).is_err() {
                        return;
                    }
                }
            });
            let result = work();
            drop(finished);
            // The heart only sends; it cannot have panicked.
            let _ = beat.join();
            result
        })
    }

    /// Ends the session, telling the other side where it does not know. Takes 2 s at most, even if
    /// that side reads nothing, or never stops talking.
    pub fn stop(mut self, stop: Stop) -> Error {
        let (reason, error) = match stop {
            Stop::Gone(error) => return error,
            Stop::Own(reason, error) => (reason, error),
        };
        let mut buffer = self.outbox.buffer();
        let control = match reason {
            Reason::Declined
            | Reason::Conflict { .. }
            | Reason::NoSpace { .. }
            | Reason::TooMany { .. } => Control::Refuse(reason),
            reason => Control::Cancel(reason),
        };
        let deadline = Instant::now() + FAREWELL;
        let told = control.encode(&mut buffer).is_ok()
            && self.outbox.send_last_until(buffer, deadline).is_ok();
        // A connection that is closed while data is on its way to it is reset, and a reset can
        // overtake the reason; so what still comes is read and thrown away for a moment.
        while told && let Some(left) = deadline.checked_duration_since(Instant::now()) {
            match self.inbox.recv_within(left) {
                Ok((buffer, _)) => self.inbox.recycle(buffer),
                Err(_) => break,
            }
        }
        error
    }

    /// The connection failed while sending; perhaps the other side had said why it left.
    fn lost(&mut self, error: ChannelError) -> Stop {
        let deadline = Instant::now() + FAREWELL;
        while let Some(left) = deadline.checked_duration_since(Instant::now())
            && let Ok((buffer, follows)) = self.inbox.recv_within(left)
        {
            if let told @ Stop::Gone(_) = unasked(&buffer, follows, self.peer) {
                return told;
            }
        }
        error.into()
    }
}

/// What says that this side is still there, and whether it stands still.
fn wait() -> Control {
    Control::Wait(Wait { why: control::is_paused().then_some(Why::Paused) })
}

/// Waits for the other side's very last message.
pub fn receive_last(inbox: &Inbox, peer: Role, expected: &Control) -> Result<(), Stop> {
    let (buffer, follows) = inbox.recv()?;
    match sift(&buffer, follows, peer)? {
        Message::Control(control) if control == *expected && follows == Follows::Nothing => Ok(()),
        _ => Err(OUT_OF_TURN.into()),
    }
}

/// A message, unless the other side stops with it. Whoever stops marks that as its last; a `wait`
/// that comes this far is marked, and must not be.
fn sift(buffer: &Buffer, follows: Follows, peer: Role) -> Result<Message<'_>, Stop> {
    match (Message::decode(buffer.plaintext())?, follows) {
        (Message::Control(Control::Cancel(reason) | Control::Refuse(reason)), Follows::Nothing) => {
            Err(Stop::Gone(reason.told_by(peer)))
        }
        (Message::Control(Control::Cancel(_) | Control::Refuse(_) | Control::Wait(_)), _) => {
            Err(OUT_OF_TURN.into())
        }
        (message, _) => Ok(message),
    }
}

/// What comes while it is not the other side's turn: it stops, or breaks the protocol.
fn unasked(buffer: &Buffer, follows: Follows, peer: Role) -> Stop {
    sift(buffer, follows, peer).err().unwrap_or(OUT_OF_TURN.into())
}
