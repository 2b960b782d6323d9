//! Where the sender is, the way there, and the proof that it is the one who showed the ticket.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use rand::RngExt;

use crate::bounds::{DIAL_LIMIT, HANDSHAKE_LIMIT, MAX_UNANSWERED};
use crate::crypto::handshake::{ANSWER_LEN, Binding, HELLO_LEN, HandshakeError, ReceiverId, Start};
use crate::crypto::keys::{Role, SessionKeys};
use crate::error::{Error, Result, reason};
use crate::net::dial::{Route, Stream, dial};
use crate::net::tailscale::TailscaleDetector;
use crate::ticket::{Host, Ticket};
use crate::token::{self, Token};

/// The other side, as its ticket describes it.
pub struct Sender {
    target: SocketAddr,
    route: Route,
    token: Token,
    name: String,
    /// This receiver, to be known again.
    id: ReceiverId,
    /// Proofs given in this run and not answered.
    guesses: u8,
}

/// Why there is no session.
pub enum NoSession {
    /// The sender serves somebody else, perhaps this receiver's connection of a moment ago.
    Busy(Error),
    /// The connection was closed before the sender said anything: it may not be wanted, or crowded
    /// out by others. No token can have been tested on it.
    Cut(Error),
    /// Anything else.
    Failed(Error),
}

impl From<Error> for NoSession {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Sender {
    /// Finds the sender of a ticket; with `pod` it must be on this machine.
    pub fn find(ticket: Ticket, pod: bool) -> Result<Self> {
        let (ip, route, name) = locate(&ticket.host, pod)?;
        let id = token::system_rng()?.random();
        let target = SocketAddr::new(ip, ticket.port);
        Ok(Self { target, route, token: ticket.token, name, id, guesses: 0 })
    }

    /// What to call it; safe to show.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn address(&self) -> IpAddr {
        self.target.ip()
    }

    /// Connects.
    pub fn dial(&self) -> Result<Stream> {
        dial(self.target, &self.route, DIAL_LIMIT)
    }

    /// Proves the token to the sender and has it prove that it knows it too.
    ///
    /// Each proof lets whoever gets it test one token. Somebody in between who cuts the
    /// connection instead of answering gets three in one run, as anybody gets from the sender.
    pub fn handshake(&mut self, stream: &Stream) -> Result<SessionKeys, NoSession> {
        let mut timed = stream.until(Instant::now() + HANDSHAKE_LIMIT);
        let name = &self.name;
        let lost = |error: io::Error| match error.kind() {
            ErrorKind::TimedOut => {
                let limit = HANDSHAKE_LIMIT.as_secs();
                Error::network(format!(
                    "{name} took the connection and did not answer within {limit} s"
                ))
                .hint("something else may listen on that port; is the port of the ticket right?")
            }
            _ => Error::network(format!("{name} closed the connection: {}", reason(&error)))
                .hint("its terminal may say why; is this machine a device of its tailnet?"),
        };
        let cut = |error: io::Error| match error.kind() {
            ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe => NoSession::Cut(lost(error)),
            _ => NoSession::Failed(lost(error)),
        };
        let start =
            Start::new(Role::Receiver, &self.token, Binding::None, &mut token::system_rng()?);
        timed.write_all(start.hello()).map_err(cut)?;
        let mut hello = [0u8; HELLO_LEN];
        timed.read_exact(&mut hello).map_err(cut)?;
        let proof = start.prove(&hello, &self.id);
        let (proving, confirm) = proof.map_err(|error| explain(error, name))?;
        if self.guesses >= MAX_UNANSWERED {
            return Err(Error::refused(format!("{name} left {MAX_UNANSWERED} proofs unanswered"))
                .hint(
                    "someone in between may be guessing the token: stop the sender, start it again, \
                     and use its new ticket",
                )
                .into());
        }
        self.guesses += 1;
        timed.write_all(&confirm).map_err(lost)?;
        let mut answer = [0u8; ANSWER_LEN];
        timed.read_exact(&mut answer).map_err(lost)?;
        let checked = proving.check(&answer);
        if let Ok(_) | Err(HandshakeError::Busy) = checked {
            // It knows the token, so this proof has told it nothing. Those before it stay
            // counted: somebody in between may let a session pass now and then.
            self.guesses -= 1;
        }
        checked.map_err(|error| match error {
            HandshakeError::Busy => NoSession::Busy(explain(error, name)),
            error => NoSession::Failed(explain(error, name)),
        })
    }
}

/// The address, the way there, and a name for it.
fn locate(host: &Host, pod: bool) -> Result<(IpAddr, Route, String)> {
    let address = host.address();
    if let Some(ip) = address.filter(IpAddr::is_loopback) {
        return Ok((ip, Route::Direct, "this machine".into()));
    }
    if pod {
        return Err(Error::usage(format!("{host} is not this machine"))
            .hint("leave --pod away to receive from another machine"));
    }
    let tailscale = TailscaleDetector::find()?;
    let ip = match address {
        Some(ip) => ip,
        None => tailscale.address_of(&host.to_string())?,
    };
    let peer = tailscale.verify_peer_ip_cached(ip)?;
    Ok((ip, Route::from_env(&tailscale)?, peer.to_string()))
}

fn explain(error: HandshakeError, name: &str) -> Error {
    let message = format!("{name}: {error}");
    match error {
        HandshakeError::NotTransfer => Error::network(message)
            .hint("something else listens on that port; is the port of the ticket right?"),
        HandshakeError::Version(_) => {
            Error::failure(message).hint("install the same version of transfer on both machines")
        }
        HandshakeError::Invalid => {
            Error::refused(message).hint("do not trust this connection; start both sides anew")
        }
        HandshakeError::WrongToken { left: 0 } => Error::refused(message)
            .hint("the sender has ended its offer; start `transfer send` there again"),
        HandshakeError::WrongToken { left } => Error::refused(message)
            .hint(format!("compare the words with the sender's screen; it forgives {left} more")),
        HandshakeError::Impostor => Error::refused(message)
            .hint("compare the ticket with the sender's screen; someone may be in between"),
        HandshakeError::Busy => Error::refused(message)
            .hint("one offer serves one receiver; start another `transfer send` there"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::crypto::handshake::{CONFIRM_LEN, Verdict};
    use crate::error::Exit;

    /// Takes one connection and its proof, if there is one, and answers with `verdict` or not.
    fn serve(listener: &TcpListener, token: &Token, verdict: Option<Verdict>) -> io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let start =
            Start::new(Role::Sender, token, Binding::None, &mut token::system_rng().unwrap());
        stream.write_all(start.hello())?;
        let (mut hello, mut confirm) = ([0; HELLO_LEN], [0; CONFIRM_LEN]);
        stream.read_exact(&mut hello)?;
        let proof = start.await_proof(&hello).unwrap();
        stream.read_exact(&mut confirm)?;
        let proven = proof.check(&confirm).unwrap();
        match verdict {
            Some(verdict) => stream.write_all(&proven.answer(verdict).0),
            None => Ok(()),
        }
    }

    /// Sessions that are let through between the cuts earn no further guesses.
    #[test]
    fn three_unanswered_proofs_end_a_run() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let ticket = Ticket::parse(&format!("{address}:ocean-tiger")).unwrap();
        let token = ticket.token.clone();
        let mut sender = Sender::find(ticket, true).unwrap();
        let (welcome, busy) = (Some(Verdict::Welcome), Some(Verdict::Busy));
        for verdict in [welcome, None, busy, welcome, None, welcome, busy, None] {
            thread::scope(|scope| {
                let serving = scope.spawn(|| serve(&listener, &token, verdict));
                let stream = sender.dial().unwrap();
                match (sender.handshake(&stream), verdict) {
                    (Ok(_), Some(Verdict::Welcome))
                    | (Err(NoSession::Busy(_)), Some(Verdict::Busy)) => {}
                    (Err(NoSession::Failed(error)), None) => {
                        assert_eq!(error.exit, Exit::Network, "{error}");
                    }
                    (Ok(_), _) => panic!("a session without a welcome"),
                    (
                        Err(
                            NoSession::Busy(error)
                            | NoSession::Cut(error)
                            | NoSession::Failed(error),
                        ),
                        _,
                    ) => {
                        panic!("{verdict:?}: {error}")
                    }
                }
                serving.join().unwrap().unwrap();
            });
        }
        thread::scope(|scope| {
            let serving = scope.spawn(|| serve(&listener, &token, welcome));
            let stream = sender.dial().unwrap();
            let Err(NoSession::Failed(error)) = sender.handshake(&stream) else {
                panic!("a fourth guess")
            };
            assert_eq!(error.exit, Exit::Refused);
            assert_eq!(error.message, "this machine left 3 proofs unanswered");
            drop(stream);
            // It got no proof.
            serving.join().unwrap().unwrap_err();
        });
    }
}
