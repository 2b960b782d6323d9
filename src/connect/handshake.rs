//! The token handshake over a byte stream, with a deadline: both sides of it. The cryptography is in
//! [`crypto::handshake`](crate::crypto::handshake); here are the socket and the clock.
//!
//! Whoever dials proves first, so that whoever listens can count the guesses: [`answer`] leaves the
//! count, and whether there is a slot, to a closure of the acceptor's.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Instant;

use rand::RngExt;

use super::NotConnected;
use crate::bounds::{HANDSHAKE_LIMIT, MAX_UNANSWERED};
use crate::crypto::handshake::{
    self, ANSWER_LEN, Binding, CONFIRM_LEN, HELLO_LEN, HandshakeError, Hello, LOOK, MAGIC, Proven,
    ReceiverId, Start, Verdict, agreed_version,
};
use crate::crypto::keys::{Role, SessionKeys};
use crate::error::{Cause, Error, Result, reason};
use crate::net::dial::Stream;
use crate::net::tls::Channel;
use crate::token::{self, Token};

/// The side that dials.
pub struct Prover {
    token: Token,
    /// This run, to be known again.
    id: ReceiverId,
    /// Proofs given in this run and not answered.
    unanswered: u8,
}

impl Prover {
    /// For one run.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(token: Token) -> Result<Self> {
        Ok(Self { token, id: token::system_rng()?.random(), unanswered: 0 })
    }

    /// Proves the token to whoever took the connection, of this `name`, and has it prove that it
    /// knows it too.
    ///
    /// Each proof lets whoever gets it test one token. Somebody in between who cuts the
    /// connection instead of answering gets three in one run, as anybody gets from the sender.
    pub fn prove(&mut self, stream: &Stream, name: &str) -> Result<SessionKeys, NotConnected> {
        let mut timed = stream.until(Instant::now() + HANDSHAKE_LIMIT);
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
            | ErrorKind::BrokenPipe => NotConnected::Cut(lost(error)),
            _ => NotConnected::Lost(lost(error)),
        };
        let start =
            Start::new(Role::Receiver, &self.token, binding(stream), &mut token::system_rng()?);
        timed.write_all(start.hello()).map_err(cut)?;
        let mut hello = [0u8; HELLO_LEN];
        timed.read_exact(&mut hello).map_err(cut)?;
        let proof = start.prove(&hello, &self.id);
        let (proving, confirm) = proof.map_err(|error| explain(error, name))?;
        if self.unanswered >= MAX_UNANSWERED {
            return Err(Error::refused(format!("{name} left {MAX_UNANSWERED} proofs unanswered"))
                .hint(
                    "someone in between may be guessing the token: stop the sender, start it again, \
                     and use its new ticket",
                )
                .into());
        }
        self.unanswered += 1;
        timed.write_all(&confirm).map_err(lost)?;
        let mut answer = [0u8; ANSWER_LEN];
        timed.read_exact(&mut answer).map_err(lost)?;
        let checked = proving.check(&answer);
        if let Ok(_) | Err(HandshakeError::Busy) = checked {
            // It knows the token, so this proof has told it nothing. Those before it stay
            // counted: somebody in between may let a session pass now and then.
            self.unanswered -= 1;
        }
        checked.map_err(|error| match error {
            HandshakeError::Busy => NotConnected::Busy(explain(error, name)),
            error => explain(error, name).into(),
        })
    }
}

/// What a handshake over this stream is bound to: it holds in no other.
fn binding(stream: &Stream) -> Binding {
    stream.exporter().map_or(Binding::None, Binding::Exporter)
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
        HandshakeError::WrongToken { left } => {
            Error::new(Cause::WrongToken, message).hint(match left {
                0 => "that token is void there: run the command there again".to_owned(),
                left => format!(
                    "compare the words with the other machine's screen; it forgives {left} more"
                ),
            })
        }
        HandshakeError::Impostor => Error::refused(message)
            .hint("compare the ticket with the other machine's screen; someone may be in between"),
        HandshakeError::Busy => Error::refused(message)
            .hint("it serves one at a time; to serve another, run the command there once more"),
    }
}

/// What a proof is worth, as whoever listens decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is right, and there is a slot.
    Welcome,
    /// It is right, and all slots are taken.
    Busy,
    /// It is wrong, and so many more wrong ones are forgiven.
    Wrong {
        /// How many.
        left: u8,
    },
    /// It is not even looked at: too many were wrong.
    Ended,
}

/// Decides about a proof. Checks it by the closure it is given, which tells whose it is if it is
/// right; that, and the count of those that are not, belong under one lock.
pub type Judge<'a> = &'a mut dyn FnMut(&mut dyn FnMut() -> Option<ReceiverId>) -> Decision;

/// How a handshake ended for the side that listens.
pub enum Outcome {
    /// The session begins.
    Welcome(Box<SessionKeys>),
    /// A channel whose two ends know each other is the proof; it needs no slot.
    Carried(Box<Channel>),
    /// The proof is right, but all slots are taken.
    Busy,
    /// The proof is wrong; so many more are forgiven.
    WrongToken(u8),
    /// A `transfer doctor` that had a look, or somebody who says so.
    Look,
}

/// What whoever took a connection says first: at most a hello, and less where it says no more or the clock runs out. One of
/// ours is told that this was a look, which costs no guess; another program is told nothing. The stream stays open.
pub fn hear(stream: &Stream, deadline: Instant) -> (Vec<u8>, io::Result<usize>) {
    let mut said = vec![];
    let read = stream.until(deadline).take(HELLO_LEN as u64).read_to_end(&mut said);
    if said.starts_with(&MAGIC) {
        // Should it be lost, the other side only wonders who that was.
        let _ = stream.until(deadline).write_all(&LOOK);
    }
    (said, read)
}

/// Looks whether somebody waits behind a stream for whoever has a token, which costs no guess.
///
/// # Errors
/// Exit 5: somebody else is there, or nobody says anything.
pub fn look(stream: &Stream, deadline: Instant) -> Result<()> {
    let (said, read) = hear(stream, deadline);
    stream.shutdown();
    read.map_err(|error| Error::network(reason(&error)))?;
    let hello = Hello::try_from(&*said).map_err(|_| HandshakeError::NotTransfer);
    let agreed = hello.and_then(|hello| agreed_version(&hello));
    agreed.map(drop).map_err(|error| Error::network(error.to_string()))
}

/// The side that listens. Of what went wrong it tells in words.
pub fn answer(stream: &Stream, token: &Token, judge: Judge<'_>) -> Result<Outcome, String> {
    let mut timed = stream.until(Instant::now() + HANDSHAKE_LIMIT);
    let lost = |error: io::Error| reason(&error);
    let mut rng = token::system_rng().map_err(|error| error.message)?;
    let start = Start::new(Role::Sender, token, binding(stream), &mut rng);
    timed.write_all(start.hello()).map_err(lost)?;
    let mut hello = [0u8; HELLO_LEN];
    let (head, rest) = hello.split_at_mut(LOOK.len());
    timed.read_exact(head).map_err(lost)?;
    if *head == LOOK {
        return Ok(Outcome::Look);
    }
    timed.read_exact(rest).map_err(lost)?;
    let proof = start.await_proof(&hello).map_err(|error| error.to_string())?;
    let mut confirm = [0u8; CONFIRM_LEN];
    timed.read_exact(&mut confirm).map_err(lost)?;

    let (mut proof, mut proven) = (Some(proof), None::<Proven>);
    let decision = judge(&mut || {
        proven = proof.take().and_then(|proof| proof.check(&confirm).ok());
        proven.as_ref().map(Proven::receiver)
    });
    let (answer, outcome) = match (decision, proven) {
        (Decision::Welcome, Some(proven)) => {
            let (answer, keys) = proven.answer(Verdict::Welcome);
            (answer, Ok(Outcome::Welcome(Box::new(keys))))
        }
        (Decision::Busy, Some(proven)) => (proven.answer(Verdict::Busy).0, Ok(Outcome::Busy)),
        (Decision::Wrong { left }, _) => {
            (handshake::wrong_token(left), Ok(Outcome::WrongToken(left)))
        }
        // Whoever has proved nothing is never let in.
        (Decision::Ended | Decision::Welcome | Decision::Busy, _) => {
            (handshake::wrong_token(0), Err("the offer has ended".into()))
        }
    };
    let written = timed.write_all(&answer).map_err(lost);
    match outcome {
        // It is counted, whether or not whoever guessed waited for the answer.
        Ok(Outcome::WrongToken(_)) => outcome,
        outcome => written.and(outcome),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::thread;

    use super::*;
    use crate::crypto::handshake::VERSION;
    use crate::error::Exit;

    /// A look costs no guess, takes nobody else for one who waits, and tells nobody else anything.
    #[test]
    fn a_look_tells_who_waits() {
        let hello = |version: u16| [&MAGIC[..], &version.to_be_bytes(), &[7; 65]].concat();
        for (row, said, expected, told) in [
            ("one who waits", hello(VERSION), true, &LOOK[..]),
            ("a newer one", hello(VERSION + 1), true, &LOOK),
            ("an older one", hello(VERSION - 1), false, &LOOK),
            ("one who is cut off", hello(VERSION)[..70].to_vec(), false, &LOOK),
            ("one who is cut off at once", MAGIC[..7].to_vec(), false, &[]),
            ("another program", [b' '; HELLO_LEN].to_vec(), false, &[]),
            ("one that says less", b"SSH-2.0\r\n".to_vec(), false, &[]),
            ("nobody", vec![], false, &[]),
        ] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let stream = Stream::tcp(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            let serving = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(&said).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                let mut came = vec![];
                stream.read_to_end(&mut came).map(|_| came)
            });
            let looked = look(&stream, Instant::now() + HANDSHAKE_LIMIT);
            assert_eq!(looked.is_ok(), expected, "{row}: {looked:?}");
            assert_eq!(serving.join().unwrap().unwrap(), told, "{row}");
        }
    }

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

    /// Whoever guesses and is gone before the answer has guessed all the same.
    #[test]
    fn a_guess_counts_though_its_answer_cannot_be_written() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut stranger = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let mut rng = token::system_rng().unwrap();
        let [token, guess] = ["ocean-tiger", "tiger-ocean"].map(|it| Token::parse(it).unwrap());
        let start = Start::new(Role::Receiver, &guess, Binding::None, &mut rng);
        stranger.write_all(start.hello()).unwrap();
        stranger.write_all(&[7; CONFIRM_LEN]).unwrap();
        let stream = Stream::tcp(stream);
        let mut gone = Some(stranger);
        let outcome = answer(&stream, &token, &mut |check| {
            assert!(check().is_none());
            // What is unread when it closes makes a reset of it; the shutdown holds everywhere.
            drop(gone.take());
            stream.shutdown();
            Decision::Wrong { left: 0 }
        });
        assert!(matches!(outcome, Ok(Outcome::WrongToken(0))), "the guess is lost");
    }

    /// Sessions that are let through between the cuts earn no further guesses.
    #[test]
    fn three_unanswered_proofs_end_a_run() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let token = Token::parse("ocean-tiger").unwrap();
        let mut prover = Prover::new(token.clone()).unwrap();
        let dial = || Stream::tcp(TcpStream::connect(address).unwrap());
        let (welcome, busy) = (Some(Verdict::Welcome), Some(Verdict::Busy));
        for verdict in [welcome, None, busy, welcome, None, welcome, busy, None] {
            thread::scope(|scope| {
                let serving = scope.spawn(|| serve(&listener, &token, verdict));
                let stream = dial();
                match (prover.prove(&stream, "this machine"), verdict) {
                    (Ok(_), Some(Verdict::Welcome))
                    | (Err(NotConnected::Busy(_)), Some(Verdict::Busy)) => {}
                    (Err(NotConnected::Lost(error)), None) => {
                        assert_eq!(error.exit(), Exit::Network, "{error}");
                    }
                    (Ok(_), _) => panic!("a session without a welcome"),
                    (Err(end), _) => panic!("{verdict:?}: {end:?}"),
                }
                serving.join().unwrap().unwrap();
            });
        }
        thread::scope(|scope| {
            let serving = scope.spawn(|| serve(&listener, &token, welcome));
            let stream = dial();
            let Err(NotConnected::Over(error)) = prover.prove(&stream, "this machine") else {
                panic!("a fourth guess")
            };
            assert_eq!(error.exit(), Exit::Refused);
            assert_eq!(error.message, "this machine left 3 proofs unanswered");
            drop(stream);
            // It got no proof.
            serving.join().unwrap().unwrap_err();
        });
    }
}
