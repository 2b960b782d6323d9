//! The two directions of a TLS connection. Their one state is locked only while bytes are sealed or
//! opened, never while a socket is waited for.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Channel;
use super::failure::Failure;
use super::machine::{Machine, Step};
use crate::net::dial::Stream;
use crate::trust::verifier::Peer;

/// Bytes that are read from, or sealed for, the socket at once: a few records of TLS.
pub(super) const ROOM: usize = 256 << 10;

struct Shared {
    machine: Mutex<Machine>,
    failure: Mutex<Option<Failure>>,
}

impl Shared {
    fn machine(&self) -> MutexGuard<'_, Machine> {
        // No step of it can panic halfway.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers why it failed, and fails.
    fn fail(&self, error: &rustls::Error) -> io::Error {
        let failure = Failure::in_session(error);
        let text = failure.to_string();
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        io::Error::new(ErrorKind::InvalidData, text)
    }
}

/// Tells why a connection failed.
#[derive(Clone)]
pub struct Watch(Arc<Shared>);

impl Watch {
    /// What the other side has said, or what was wrong with what it sent; nothing for a connection
    /// that is well, or was only cut.
    pub fn failure(&self) -> Option<Failure> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Watch").field(&self.failure()).finish()
    }
}

/// What comes in.
pub struct Reader {
    shared: Arc<Shared>,
    stream: Stream,
    /// As it came from the socket; what is not used up lies from `from` to `to`.
    sealed: Vec<u8>,
    from: usize,
    to: usize,
    /// Plaintext that was too much for the last read, from `at`.
    rest: Vec<u8>,
    at: usize,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

/// What goes out.
pub struct Writer {
    shared: Arc<Shared>,
    stream: Stream,
    /// Sealed, and sent up to `sent`.
    sealed: Vec<u8>,
    sent: usize,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

/// Takes the halves of a connection whose handshake is done; `rest` came behind it.
pub(super) fn split(
    machine: Machine,
    stream: Stream,
    rest: &[u8],
    peer: Peer,
) -> Result<Channel, Failure> {
    let (reads, writes) = stream.halves().map_err(|_| Failure::Cut)?;
    let shared = Arc::new(Shared { machine: Mutex::new(machine), failure: Mutex::new(None) });
    let mut sealed = rest.to_vec();
    sealed.resize(ROOM, 0);
    Ok(Channel {
        reader: Reader {
            shared: Arc::clone(&shared),
            stream: reads,
            sealed,
            from: 0,
            to: rest.len(),
            rest: vec![],
            at: 0,
        },
        writer: Writer { shared: Arc::clone(&shared), stream: writes, sealed: vec![], sent: 0 },
        closer: stream,
        watch: Watch(shared),
        peer,
    })
}

impl Reader {
    /// Opens some of what has come. Nothing if that was no plaintext, and more has to come.
    fn open(&mut self, bytes: &mut [u8]) -> io::Result<Option<usize>> {
        while self.from < self.to {
            let (mut got, rest) = (0, &mut self.rest);
            rest.clear();
            self.at = 0;
            let input = self.sealed.get_mut(self.from..self.to).unwrap_or_default();
            let (used, next) = self.shared.machine().step(input, |plain| {
                let room = bytes.get_mut(got..).unwrap_or_default();
                let fits = plain.len().min(room.len());
                let (now, later) = plain.split_at(fits);
                if let Some(room) = room.get_mut(..fits) {
                    room.copy_from_slice(now);
                }
                got += fits;
                rest.extend_from_slice(later);
                got < bytes.len()
            });
            self.from = (self.from + used).min(self.to);
            if got > 0 {
                // What is wrong behind it comes again.
                return Ok(Some(got));
            }
            match next.map_err(|error| self.shared.fail(&error))? {
                Step::Again => {}
                Step::Closed => return Ok(Some(0)),
                Step::Traffic | Step::Read => break,
            }
        }
        Ok(None)
    }
}

impl Read for Reader {
    /// The end of the stream is that the other side has said so (close_notify). The socket's end alone
    /// is a cut.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        loop {
            let rest = self.rest.get(self.at..).unwrap_or_default();
            if !rest.is_empty() {
                let fits = rest.len().min(bytes.len());
                if let (Some(bytes), Some(rest)) = (bytes.get_mut(..fits), rest.get(..fits)) {
                    bytes.copy_from_slice(rest);
                }
                self.at += fits;
                return Ok(fits);
            }
            if let Some(got) = self.open(bytes)? {
                return Ok(got);
            }
            self.sealed.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
            let room = self.sealed.get_mut(self.to..).unwrap_or_default();
            match self.stream.read(room)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                read => self.to += read,
            }
        }
    }
}

impl Writer {
    /// Sends what is sealed. What could not be sent in time is kept for the next call.
    fn drain(&mut self) -> io::Result<()> {
        while let Some(rest) = self.sealed.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.sealed.clear();
        self.sent = 0;
        Ok(())
    }
}

impl Write for Writer {
    /// What is taken is sealed, and so is said to be written even where it could not be sent in time:
    /// it goes before anything else, the next time.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.drain()?;
        let (bytes, _) = bytes.split_at(bytes.len().min(ROOM));
        let sealed = self.shared.machine().seal(bytes, &mut self.sealed);
        sealed.map_err(|error| self.shared.fail(&error))?;
        match self.drain() {
            Err(error) if error.kind() != ErrorKind::TimedOut => Err(error),
            _ => Ok(bytes.len()),
        }
    }

    /// Sends all, and the answers that the reading half has left.
    fn flush(&mut self) -> io::Result<()> {
        self.drain()?;
        self.sealed.append(&mut self.shared.machine().pending);
        self.drain()
    }
}
