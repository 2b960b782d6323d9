//! A byte stream inside TLS 1.3, with certificates on both sides, as two halves for two threads.
//!
//! Who may be at the other end, [`crate::trust`] decides. There are no tickets, no resumption, no
//! early data, no other version, and no name in clear. Both sides check the protocol's name (ALPN)
//! themselves: rustls lets a client without one in.

mod config;
mod failure;
mod halves;
mod machine;

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Instant;

use self::machine::{Machine, Step};
use crate::bounds::MAX_TLS_HANDSHAKE;
use crate::net::dial::Stream;
use crate::trust::credentials::Credentials;
use crate::trust::refusal::Refusal;
use crate::trust::verifier::{Peer, Verifier};

pub use self::config::{ALPN, provider};
pub use self::failure::{Failure, Told};
pub use self::halves::{Reader, Watch, Writer};

/// A connection whose two ends know each other; a client's server may still refuse it, which the
/// first read tells.
#[derive(Debug)]
pub struct Channel {
    /// What comes in. A read that gets nothing soon fails with
    /// [`TimedOut`](std::io::ErrorKind::TimedOut) and is to be tried again.
    pub reader: Reader,
    /// What goes out. So does a write or a flush that gets nothing away.
    pub writer: Writer,
    /// Ends both from any thread: [`Stream::shutdown`].
    pub closer: Stream,
    /// Why it failed, once it has.
    pub watch: Watch,
    /// Who is there.
    pub peer: Peer,
}

/// Shakes hands as the side that dialled.
///
/// # Errors
/// Why nothing came of it, or who is there instead.
pub fn connect(
    stream: Stream,
    own: &Credentials,
    verifier: &Arc<Verifier>,
    deadline: Instant,
) -> Result<Channel, Failure> {
    let machine = Machine::client(config::client(own, Arc::clone(verifier)));
    shake_hands(machine, stream, verifier, deadline)
}

/// Shakes hands as the side that was dialled.
///
/// # Errors
/// The same. The other side has been told, as far as TLS has an alert for it.
pub fn accept(
    stream: Stream,
    own: &Credentials,
    verifier: &Arc<Verifier>,
    deadline: Instant,
) -> Result<Channel, Failure> {
    let machine = Machine::server(config::server(own, Arc::clone(verifier)));
    shake_hands(machine, stream, verifier, deadline)
}

fn shake_hands(
    machine: Result<Machine, rustls::Error>,
    stream: Stream,
    verifier: &Verifier,
    deadline: Instant,
) -> Result<Channel, Failure> {
    let why = |error: &rustls::Error| Failure::in_handshake(error, verifier.decided());
    let mut machine = machine.map_err(|error| why(&error))?;
    let mut wire = stream.until(deadline);
    let mut buffer = vec![0; halves::ROOM];
    let (mut from, mut to) = (0, 0);
    loop {
        let input = buffer.get_mut(from..to).unwrap_or_default();
        let (used, next) = machine.step(input, |_| false);
        from = (from + used).min(to);
        if !machine.pending.is_empty() && !matches!(next, Ok(Step::Again)) {
            let sent = wire.write_all(&machine.pending);
            machine.pending.clear();
            // An error of ours is why it ends, and not that nobody could be told.
            if next.is_ok() {
                sent.map_err(|error| Failure::of_stream(&error))?;
            }
        }
        match next.map_err(|error| why(&error))? {
            Step::Again => {}
            Step::Traffic => break,
            Step::Closed => return Err(Failure::Cut),
            Step::Read => {
                buffer.copy_within(from..to, 0);
                (from, to) = (0, to - from);
                if to > MAX_TLS_HANDSHAKE {
                    return Err(Failure::Damaged);
                }
                let room = buffer.get_mut(to..).unwrap_or_default();
                match wire.read(room).map_err(|error| Failure::of_stream(&error))? {
                    0 => return Err(Failure::Cut),
                    read => to += read,
                }
            }
        }
    }
    if machine.alpn() != Some(ALPN) {
        return Err(Failure::OtherProtocol);
    }
    let peer = match verifier.decided() {
        Some(Ok(peer)) => peer,
        Some(Err(refusal)) => return Err(Failure::Refused(refusal)),
        None => return Err(Failure::Refused(Refusal::Missing)),
    };
    let rest = buffer.get(from..to).unwrap_or_default().to_vec();
    halves::split(machine, stream, &rest, peer)
}

#[cfg(test)]
mod tests;
