//! Dials a peer and proves the token to it; as often as [`redial`](super::redial) wants.

use super::handshake::Prover;
use super::{Connection, NotConnected, Peer, Remote, Target};
use crate::bounds::DIAL_LIMIT;
use crate::error::Result;
use crate::net::dial::{Route, Stream};
use crate::net::relay_url::RelayUrl;
use crate::token::Token;

/// One run's way to its peer.
pub struct Connector {
    remote: Remote,
    prover: Prover,
}

impl Connector {
    /// To `remote`, which knows the same token.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(remote: Remote, token: Token) -> Result<Self> {
        Ok(Self { remote, prover: Prover::new(token)? })
    }

    /// Who should be there.
    pub fn peer(&self) -> &Peer {
        &self.remote.peer
    }

    /// The relays at which the peer is asked for.
    pub fn relays(&self) -> &[RelayUrl] {
        match &self.remote.target {
            Target::Quic(dialler) => dialler.relays(),
            Target::Address(..) => &[],
        }
    }

    /// Whether the other side notices late that a connection is gone.
    pub fn is_noticed_late(&self) -> bool {
        matches!(self.remote.target, Target::Quic(_))
    }

    /// Connects.
    pub fn dial(&self) -> Result<Stream, NotConnected> {
        Ok(self.remote.target.dial(DIAL_LIMIT)?)
    }

    /// Proves the token to whoever took the connection, and has it prove that it knows it too.
    pub fn authenticate(&mut self, stream: Stream) -> Result<Connection, NotConnected> {
        match self.prover.prove(&stream, &self.remote.peer.name) {
            Ok(keys) => Ok(Connection::new(stream, keys, self.remote.peer.clone())?),
            Err(error) => {
                stream.shutdown();
                Err(match (error, &self.remote.target) {
                    (NotConnected::Cut(error), Target::Address(_, Route::Local)) => {
                        NotConnected::Cut(error.hint(
                            "its terminal may say why; is this machine in its local network?",
                        ))
                    }
                    (error, _) => error,
                })
            }
        }
    }
}
