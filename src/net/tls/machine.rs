//! The state of a TLS connection (rustls's unbuffered one): bytes in, bytes out, no socket.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, Error, ServerConfig};

use crate::bounds::MAX_TLS_PENDING;

/// One end of a connection.
pub(super) struct Machine {
    side: Side,
    /// What is sealed and not sent: the handshake, and answers to messages of TLS itself. Who reads
    /// must never wait until something is written, or both ends wait for each other; so answers lie
    /// here until this side writes the next time.
    pub pending: Vec<u8>,
    /// What has come and is not used up, as rustls left it. It may have noted where in it the
    /// beginning of a message lies, and looks there whenever it is called, also by who writes: with
    /// fewer bytes than it was shown before it would panic.
    unused: Vec<u8>,
}

enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Another step.
    Again,
    /// More bytes of the other side.
    Read,
    /// The handshake is done, and what came is used up.
    Traffic,
    /// The other side has said that it says no more.
    Closed,
}

/// Room for a message of TLS itself, at first.
const MESSAGE: usize = 4096;
/// Plaintext of one record of TLS at most (RFC 8446, 5.1), and more than one adds.
const FRAGMENT: usize = 1 << 14;
const OVERHEAD: usize = 64;

/// One step, for both sides of the generic type. A sink says whether it takes more.
macro_rules! step {
    ($connection:expr, $input:expr, $pending:expr, $sink:expr) => {{
        let UnbufferedStatus { discard, state, .. } = $connection.process_tls_records($input);
        let mut used = discard;
        let next = match state {
            Ok(ConnectionState::EncodeTlsData(mut encode)) => append($pending, MESSAGE, |room| {
                encode.encode(room).map_err(|error| match error {
                    EncodeError::InsufficientSize(size) => Some(size.required_size),
                    EncodeError::AlreadyEncoded => None,
                })
            })
            .map(|()| Step::Again),
            Ok(ConnectionState::TransmitTlsData(sent)) => {
                sent.done();
                Ok(Step::Again)
            }
            Ok(ConnectionState::BlockedHandshake) => Ok(Step::Read),
            Ok(ConnectionState::WriteTraffic(_)) => Ok(Step::Traffic),
            Ok(ConnectionState::ReadTraffic(mut read)) => loop {
                match read.next_record() {
                    Some(Ok(record)) => {
                        used += record.discard;
                        if !$sink(record.payload) {
                            break Ok(Step::Again);
                        }
                    }
                    Some(Err(error)) => break Err(error),
                    None => break Ok(Step::Again),
                }
            },
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Step::Closed),
            // Early data is not offered and not taken.
            Ok(_) => Err(Error::General("an unexpected state of TLS".into())),
            Err(error) => Err(error),
        };
        (used, next)
    }};
}

/// Seals for both sides of the generic type; nothing if another step is due first.
macro_rules! seal {
    ($connection:expr, $unused:expr, $plain:expr, $out:expr) => {
        match $connection.process_tls_records($unused).state {
            Ok(ConnectionState::WriteTraffic(mut write)) => {
                let room = $plain.len() + ($plain.len() / FRAGMENT + 1) * OVERHEAD;
                append($out, room, |room| {
                    write.encrypt($plain, room).map_err(|error| match error {
                        EncryptError::InsufficientSize(size) => Some(size.required_size),
                        EncryptError::EncryptExhausted => None,
                    })
                })
                .map(Some)
            }
            Ok(ConnectionState::EncodeTlsData(mut encode)) => append($out, MESSAGE, |room| {
                encode.encode(room).map_err(|error| match error {
                    EncodeError::InsufficientSize(size) => Some(size.required_size),
                    EncodeError::AlreadyEncoded => None,
                })
            })
            .map(|()| None),
            Ok(ConnectionState::TransmitTlsData(sent)) => {
                sent.done();
                Ok(None)
            }
            // The other side says no more, and this one may go on.
            Ok(_) => Err(Error::General("nothing can be written now".into())),
            Err(error) => Err(error),
        }
    };
}

/// Lets `fill` write behind what is there, with more room if it asks for it.
fn append(
    out: &mut Vec<u8>,
    room: usize,
    mut fill: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> Result<(), Error> {
    let at = out.len();
    let mut filled = Err(Some(room));
    // It asks once, and then knows how much.
    for _ in 0..3 {
        let Err(Some(room)) = filled else { break };
        out.resize(at + room, 0);
        filled = fill(out.get_mut(at..).unwrap_or_default());
    }
    out.truncate(at + filled.unwrap_or(0));
    filled.map(drop).map_err(|_| Error::General("a message of TLS of an impossible size".into()))
}

impl Machine {
    pub fn client(config: Result<Arc<ClientConfig>, Error>) -> Result<Self, Error> {
        // Who may be there is for the verifier to say; no name goes out.
        let nobody = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
        let side = Side::Client(UnbufferedClientConnection::new(config?, nobody)?);
        Ok(Self { side, pending: vec![], unused: vec![] })
    }

    pub fn server(config: Result<Arc<ServerConfig>, Error>) -> Result<Self, Error> {
        let side = Side::Server(UnbufferedServerConnection::new(config?)?);
        Ok(Self { side, pending: vec![], unused: vec![] })
    }

    /// The protocol that both sides have agreed on.
    pub fn alpn(&self) -> Option<&[u8]> {
        match &self.side {
            Side::Client(connection) => connection.alpn_protocol(),
            Side::Server(connection) => connection.alpn_protocol(),
        }
    }

    /// Goes on with what came, which is opened where it lies; plaintext goes to `sink` for as long as
    /// that says so. Returns how much of the input is used up, and what comes next. After an error the
    /// alert that belongs to it is pending.
    pub fn step(
        &mut self,
        input: &mut [u8],
        mut sink: impl FnMut(&[u8]) -> bool,
    ) -> (usize, Result<Step, Error>) {
        let pending = &mut self.pending;
        let (used, mut next) = match &mut self.side {
            Side::Client(connection) => step!(connection, input, pending, sink),
            Side::Server(connection) => step!(connection, input, pending, sink),
        };
        let unused = input.get_mut(used..).unwrap_or_default();
        if next.is_err() {
            // One more step has the alert.
            let _ = match &mut self.side {
                Side::Client(connection) => step!(connection, unused, pending, |_: &[u8]| false),
                Side::Server(connection) => step!(connection, unused, pending, |_: &[u8]| false),
            };
        }
        self.unused.clear();
        // Where there is another step at once, no message has begun and not ended.
        if !matches!(next, Ok(Step::Again)) {
            self.unused.extend_from_slice(unused);
        }
        if self.pending.len() > MAX_TLS_PENDING {
            next = Err(Error::General("too many messages of TLS itself".into()));
        }
        (used, next)
    }

    /// Seals `plain` behind what is pending, onto the end of `out`.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        loop {
            out.append(&mut self.pending);
            let unused = &mut self.unused;
            let sealed = match &mut self.side {
                Side::Client(connection) => seal!(connection, unused, plain, out),
                Side::Server(connection) => seal!(connection, unused, plain, out),
            };
            if sealed?.is_some() {
                return Ok(());
            }
        }
    }
}
