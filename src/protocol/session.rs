//! An authenticated conversation, the same for both sides: send, receive, stop with a reason.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::channel::{Agreed, ChannelError, Heard, Inbox};
use super::features::{Feature, Features};
use super::lanes;
use super::line::{Line, Listening, Patient};
use super::message::{Control, Message, Ready, Welcome};
use super::outbox::{Outbox, Work};
use super::pages;
use super::reader::Malformed;
use super::reason::Reason;
use crate::bounds::{BLOCK, FAREWELL, LOST_LIMIT, MAX_CONTENT, MAX_PLAINTEXT, STALL_LIMIT};
use crate::control;
use crate::crypto::keys::Role;
use crate::crypto::record::{Buffer, Follows, Protection, RecordReader, RecordWriter};
use crate::error::{Error, Result};

/// How long a side says nothing at most: a quarter of what the other waits for.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How patient a session is, how large its records get, and what it can do.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long it listens without hearing a byte before the connection counts as lost.
    pub patience: Duration,
    /// The same where losing the connection loses all.
    pub last_patience: Duration,
    /// How long it says nothing at most.
    pub heartbeat: Duration,
    /// Bytes of content it puts into a record, at most [`MAX_CONTENT`].
    pub content: usize,
    /// Records that are prepared and sealed, or opened, at the same time.
    pub lanes: usize,
    /// What it says that it can do.
    pub features: Features,
    /// Bytes of a block of a file, a multiple of 64. What both sides have to know is [`BLOCK`].
    pub block: u64,
    /// This run of the program, to be told beside an offer where the sender dials.
    pub run: Option<[u8; 16]>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            patience: LOST_LIMIT,
            last_patience: STALL_LIMIT,
            heartbeat: HEARTBEAT,
            content: MAX_CONTENT,
            lanes: lanes::default_count(),
            features: Features::ours(),
            block: BLOCK,
            run: None,
        }
    }
}

/// Both directions, and who is at the other end.
pub struct Session {
    inbox: Inbox,
    outbox: Outbox,
    peer: Role,
    line: Line,
    last_patience: Duration,
    content: usize,
    ours: Features,
    agreed: Agreed,
    block: u64,
    run: Option<[u8; 16]>,
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
            ChannelError::Violation(error) => Self::Own(Reason::Protocol, error),
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
    /// closes it when the session is over. Its records are sealed with keys of its own, or protected
    /// by the channel that carries them. A read that gets nothing for a while has to fail with
    /// [`io::ErrorKind::TimedOut`](std::io::ErrorKind::TimedOut), and so has a write that gets
    /// nothing away: both are tried again while there is hope.
    pub fn start<R, W>(
        (reader, writer): (R, W),
        protection: impl Into<Protection>,
        peer: Role,
        limits: Limits,
    ) -> Result<Self>
    where
        R: Read + Send + 'static,
        W: Write + Send + 'static,
    {
        let Limits { patience, last_patience, heartbeat, content, lanes, features, block, run } =
            limits;
        let line = Line::new(patience);
        let reader = Listening::new(reader, line.clone());
        let writer = Patient::new(writer, line.clone());
        let (reader, writer) = match protection.into() {
            Protection::Sealed(keys) => (
                RecordReader::new(reader, keys.open, MAX_PLAINTEXT),
                RecordWriter::new(writer, keys.seal),
            ),
            Protection::Carried => {
                (RecordReader::carried(reader, MAX_PLAINTEXT), RecordWriter::carried(writer))
            }
        };
        // Only in one direction there is much to do. What a receiver says is never compressed, and
        // what says that it is remains for the engine to refuse.
        let is_receiving = peer == Role::Sender;
        let (lanes_in, lanes_out) = if is_receiving { (lanes, 1) } else { (1, lanes) };
        let agreed = Agreed::default();
        let unpacks = is_receiving.then(|| Agreed::clone(&agreed));
        let inbox = Inbox::start(reader, lanes_in, unpacks, &line)?;
        let outbox = Outbox::start(writer, lanes_out, heartbeat)?;
        let ours = features;
        Ok(Self { inbox, outbox, peer, line, last_patience, content, ours, agreed, block, run })
    }

    /// What this side says that it can do.
    pub fn ours(&self) -> Features {
        self.ours
    }

    /// This run of the program, as it is told beside an offer.
    pub fn run(&self) -> Option<String> {
        self.run.map(|run| format!("{:032x}", u128::from_be_bytes(run)))
    }

    /// What both sides can do; nothing before the other has said what it can.
    pub fn agreed(&self) -> Features {
        self.agreed.get().copied().unwrap_or_default()
    }

    /// Takes what the other side has named; that comes once.
    pub fn agree(&self, theirs: &[String]) {
        let shared = self.ours.shared(Features::named(theirs));
        self.agreed.get_or_init(|| shared);
    }

    /// A receiver's first word: what it can do.
    pub fn send_ready(&mut self) -> Result<(), Stop> {
        self.send_control(&Control::Ready(Ready { features: self.ours.names() }))
    }

    /// A sender's wait for it, unless it is here. One that serves others may say more of itself
    /// before.
    pub fn await_ready(&mut self) -> Result<(), Stop> {
        if self.agreed.get().is_some() {
            return Ok(());
        }
        let control = match self.next_control()? {
            Control::Welcome(_) => self.next_control()?,
            control => control,
        };
        self.take_ready(control)
    }

    /// What a server says of itself, for whoever offers nothing. One that says nothing is as well.
    pub fn await_welcome(&mut self) -> Result<Welcome, Stop> {
        match self.next_control()? {
            Control::Welcome(welcome) => Ok(welcome),
            control => self.take_ready(control).map(|()| Welcome::default()),
        }
    }

    fn next_control(&mut self) -> Result<Control, Stop> {
        self.receive(|message, follows| match (message, follows) {
            (Message::Control(control), Follows::More) => Ok(control),
            _ => Err(OUT_OF_TURN.into()),
        })
    }

    /// The next control message, which comes within `limit`: whoever says no more than that it is there keeps
    /// nobody.
    pub fn receive_control(&mut self, limit: Duration) -> Result<Control, Stop> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            self.check_control()?;
            let Some((buffer, follows)) = self.inbox.recv_within(control::SLICE)? else { continue };
            return match (filter_stop(&buffer, follows, self.peer)?, follows) {
                (Message::Control(control), Follows::More) => Ok(control),
                _ => Err(OUT_OF_TURN.into()),
            };
        }
        let seconds = limit.as_secs();
        let error = Error::network(format!("nothing but signs of life came for {seconds} s"));
        Err(Stop::Own(Reason::Failed, error))
    }

    fn take_ready(&mut self, control: Control) -> Result<(), Stop> {
        match control {
            Control::Ready(ready) => {
                self.agree(&ready.features);
                Ok(())
            }
            Control::Pair(_) => Err(self.other_command()),
            _ => Err(OUT_OF_TURN.into()),
        }
    }

    /// Why it ends where one side pairs and the other one does not: both read the same.
    pub fn other_command(&self) -> Stop {
        Stop::Own(Reason::OtherCommand, Reason::OtherCommand.told_by(self.peer))
    }

    /// What has been read so far cannot be had again, so that a lost connection loses all: waits
    /// longer before it counts as that, for a laptop that was closed or a job that was stopped.
    pub fn cannot_come_back(&self) {
        self.line.wait_for(self.last_patience);
    }

    /// Bytes of content for one record.
    pub fn content(&self) -> usize {
        self.content
    }

    /// Bytes of a block, if both sides hash files block by block.
    pub fn blocks(&self) -> Option<u64> {
        self.agreed().has(Feature::Blocks).then_some(self.block)
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
        let (buffer, follows) = loop {
            self.check_control()?;
            if let Some(arrived) = self.inbox.recv_within(control::SLICE)? {
                break arrived;
            }
        };
        filter_stop(&buffer, follows, self.peer)?;
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

    /// Stands still while the transfer is paused, and fails once it is to stop. The heart says so
    /// at once, and when it goes on.
    fn check_control(&self) -> Result<(), Stop> {
        let mut paused = false;
        loop {
            control::check().map_err(|error| Stop::Own(Reason::Interrupted, error))?;
            if control::is_paused() != paused {
                paused = !paused;
                self.outbox.nudge();
            }
            if !paused {
                return Ok(());
            }
            thread::sleep(control::SLICE);
        }
    }

    /// Whether the other side has said, without being asked, that it stops.
    pub fn check(&mut self) -> Result<(), Stop> {
        self.check_control()?;
        match self.inbox.try_recv()? {
            Some((buffer, follows)) => Err(unasked(&buffer, follows, self.peer)),
            None => Ok(()),
        }
    }

    /// Ends the session, telling the other side where it does not know. Takes 2 s at most, even if
    /// that side reads nothing, or never stops talking.
    pub fn stop(mut self, stop: Stop) -> Error {
        let (reason, error) = match stop {
            Stop::Gone(error) => return error,
            Stop::Own(reason, error) => (reason, error),
        };
        let mut buffer = self.outbox.buffer();
        let control = farewell(reason);
        let deadline = Instant::now() + FAREWELL;
        let told = control.encode(&mut buffer).is_ok()
            && self.outbox.send_last_until(buffer, deadline).is_ok();
        // A connection that is closed while data is on its way to it is reset, and a reset can
        // overtake the reason; so what still comes is read and thrown away for a moment.
        while told && let Some(left) = deadline.checked_duration_since(Instant::now()) {
            match self.inbox.recv_within(left) {
                Ok(Some((buffer, _))) => self.inbox.recycle(buffer),
                _ => break,
            }
        }
        error
    }

    /// The connection failed while sending; perhaps the other side had said why it left.
    fn lost(&mut self, error: ChannelError) -> Stop {
        let deadline = Instant::now() + FAREWELL;
        while let Some(left) = deadline.checked_duration_since(Instant::now())
            && let Ok(Some((buffer, follows))) = self.inbox.recv_within(left)
        {
            if let told @ Stop::Gone(_) = unasked(&buffer, follows, self.peer) {
                return told;
            }
        }
        error.into()
    }
}

/// The last word for a reason: to refuse is the receiver's, whose person or disk does not take it.
fn farewell(reason: Reason) -> Control {
    match reason {
        Reason::Declined
        | Reason::Conflict { .. }
        | Reason::NoSpace { .. }
        | Reason::TooMany { .. }
        | Reason::Unwritable
        | Reason::NoFiles
        | Reason::DiskGone
        | Reason::NotWritten
        | Reason::Quota { .. }
        | Reason::Busy => Control::Refuse(reason),
        Reason::OtherCommand
        | Reason::Interrupted
        | Reason::Protocol
        | Reason::Failed
        | Reason::Other => Control::Cancel(reason),
    }
}

/// Waits for the other side's very last message.
pub fn receive_last(inbox: &Inbox, peer: Role, expected: &Control) -> Result<(), Stop> {
    let (buffer, follows) = inbox.recv()?;
    check_last(&buffer, follows, peer, expected)
}

/// The same, for so long, and until this side is told to stop: whoever says no more than that it is there
/// keeps nobody.
pub fn receive_last_within(
    inbox: &Inbox,
    peer: Role,
    expected: &Control,
    limit: Duration,
) -> Result<(), Stop> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        control::check().map_err(|error| Stop::Own(Reason::Interrupted, error))?;
        if let Some((buffer, follows)) = inbox.recv_within(control::SLICE)? {
            return check_last(&buffer, follows, peer, expected);
        }
    }
    let seconds = limit.as_secs();
    Err(Stop::Gone(Error::network(format!("nothing but signs of life came for {seconds} s"))))
}

fn check_last(
    buffer: &Buffer,
    follows: Follows,
    peer: Role,
    expected: &Control,
) -> Result<(), Stop> {
    match filter_stop(buffer, follows, peer)? {
        Message::Control(control) if control == *expected && follows == Follows::Nothing => Ok(()),
        _ => Err(OUT_OF_TURN.into()),
    }
}

/// A message, unless the other side stops with it. Whoever stops marks that as its last; a `wait`
/// that comes this far is marked, and must not be.
fn filter_stop(buffer: &Buffer, follows: Follows, peer: Role) -> Result<Message<'_>, Stop> {
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
    filter_stop(buffer, follows, peer).err().unwrap_or(OUT_OF_TURN.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Cause;

    #[cfg(unix)]
    #[test]
    fn whoever_only_lives_is_not_waited_for_for_ever() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let start = |stream: std::os::unix::net::UnixStream, peer| {
            let halves = (stream.try_clone().unwrap(), stream);
            Session::start(halves, Protection::Carried, peer, Limits::default()).unwrap()
        };
        let silent = start(theirs, Role::Receiver);
        let inbox = start(ours, Role::Sender).send_last(&Control::Paired).unwrap();
        let limit = Duration::from_millis(300);
        let ended = receive_last_within(&inbox, Role::Sender, &Control::Paired, limit);
        assert!(matches!(ended, Err(Stop::Gone(error)) if error.cause == Cause::Network));
        silent.send_last(&Control::Paired).unwrap();
        receive_last_within(&inbox, Role::Sender, &Control::Paired, LOST_LIMIT).unwrap();
    }

    #[test]
    fn whatever_lets_a_sender_wait_is_a_refusal() {
        use Reason::*;
        let rows = [
            (Declined, true),
            (Conflict { count: 1 }, true),
            (NoSpace { needed: 0, free: 1 }, true),
            (TooMany { entries: 2, limit: 1 }, true),
            (Unwritable, true),
            (NoFiles, true),
            (DiskGone, true),
            (NotWritten, true),
            (Quota { needed: 2, left: 1 }, true),
            (Interrupted, false),
            (Protocol, false),
            (Failed, false),
        ];
        for (reason, expected) in rows {
            let waits = reason.told_by(Role::Receiver).cause == Cause::PeerCannot;
            let refuses = matches!(farewell(reason.clone()), Control::Refuse(_));
            assert_eq!(refuses, expected, "{reason:?}");
            assert!(refuses || !waits, "{reason:?}");
        }
    }
}
