//! Two fixed-size hellos, then a proof from each side (`docs/protocol.md`, steps 1 to 6).
//!
//! Each step consumes itself and returns the next; only the last yields [`SessionKeys`], so no
//! step can be skipped and no key exists before the other side has proved that it knows the
//! token. Buffers in, buffers out: the caller owns the socket, the clock and the count of wrong
//! guesses.

use hmac::{Hmac, Mac};
use rand::CryptoRng;
use sha2::{Digest, Sha256};
use spake2::{Ed25519Group, Identity, Password, Spake2};
use x25519_dalek::{EphemeralSecret, PublicKey};
use zeroize::Zeroizing;

use super::keys::{Derived, Role, SessionKeys};
use crate::token::Token;

/// The first bytes of every connection.
pub const MAGIC: [u8; 8] = *b"TRANSFER";
/// The protocol version both sides must speak.
pub const VERSION: u16 = 1;
/// Bytes of a hello: magic, version, X25519 key, SPAKE2 message.
pub const HELLO_LEN: usize = 8 + 2 + 32 + 33;
/// Bytes of the receiver's confirmation: its id, then its proof.
pub const CONFIRM_LEN: usize = 16 + 32;
/// Bytes of the sender's answer: verdict, guesses left, confirmation.
pub const ANSWER_LEN: usize = 1 + 1 + 32;

/// One side's opening message.
pub type Hello = [u8; HELLO_LEN];
/// What a receiver calls itself, drawn anew by each run of the program: by it the sender knows one
/// that comes back after its connection was lost.
pub type ReceiverId = [u8; 16];
/// The receiver's id and proof.
pub type Confirm = [u8; CONFIRM_LEN];
/// The sender's answer to it.
pub type Answer = [u8; ANSWER_LEN];

/// Why a handshake ended without keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The first bytes are not ours.
    #[error("the other side does not speak this protocol")]
    NotTransfer,
    /// Another version of the protocol.
    #[error("the other side speaks version {0} of the protocol, this is version {VERSION}")]
    Version(u16),
    /// A key or SPAKE2 message that no honest peer sends.
    #[error("the other side sent an invalid handshake")]
    Invalid,
    /// The proof is wrong: the tokens differ. `left` guesses remain, as far as the sender says.
    #[error("wrong token")]
    WrongToken {
        /// How many wrong tokens the sender still forgives; 0 when the offer has ended.
        left: u8,
    },
    /// The sender's own proof is wrong: it is not the one that showed the ticket.
    #[error("the sender could not prove that it knows the token")]
    Impostor,
    /// The token is right, but the offer already serves as many receivers as it will.
    #[error("the sender is already serving another receiver")]
    Busy,
}

/// What the sender answers to a confirmation that is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The session begins.
    Welcome,
    /// The session does not begin: another receiver holds the offer.
    Busy,
}

const WELCOME: u8 = 0;
const WRONG_TOKEN: u8 = 1;
const BUSY: u8 = 2;

/// Step 1: own keys made, nothing received.
pub struct Start {
    role: Role,
    token: Token,
    secret: EphemeralSecret,
    spake: Spake2<Ed25519Group>,
    hello: Hello,
}

impl Start {
    /// Draws fresh keys. `rng` is the system's generator outside tests.
    pub fn new(role: Role, token: &Token, rng: &mut impl CryptoRng) -> Self {
        let secret = EphemeralSecret::random_from_rng(rng);
        let password = Password::new(token.as_bytes());
        let (sender, receiver) =
            (Identity::new(b"transfer sender"), Identity::new(b"transfer receiver"));
        let (spake, message) = match role {
            Role::Sender => {
                Spake2::<Ed25519Group>::start_a_with_rng(&password, &sender, &receiver, rng)
            }
            Role::Receiver => {
                Spake2::<Ed25519Group>::start_b_with_rng(&password, &sender, &receiver, rng)
            }
        };
        let mut hello = [0u8; HELLO_LEN];
        hello[..8].copy_from_slice(&MAGIC);
        hello[8..10].copy_from_slice(&VERSION.to_be_bytes());
        hello[10..42].copy_from_slice(PublicKey::from(&secret).as_bytes());
        hello[42..].copy_from_slice(&message);
        Self { role, token: token.clone(), secret, spake, hello }
    }

    /// What to write to the other side.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Takes the other side's hello.
    fn derive(self, theirs: &Hello) -> Result<(Derived, [u8; 32]), HandshakeError> {
        let (magic, rest) = theirs.split_at(8);
        let (version, rest) = rest.split_at(2);
        let (key, spake) = rest.split_at(32);
        if magic != MAGIC {
            return Err(HandshakeError::NotTransfer);
        }
        if version != VERSION.to_be_bytes() {
            return Err(HandshakeError::Version(u16::from_be_bytes([theirs[8], theirs[9]])));
        }
        let key: [u8; 32] = key.try_into().map_err(|_| HandshakeError::Invalid)?;
        let shared = self.secret.diffie_hellman(&PublicKey::from(key));
        if !shared.was_contributory() {
            return Err(HandshakeError::Invalid);
        }
        let pake = Zeroizing::new(self.spake.finish(spake).map_err(|_| HandshakeError::Invalid)?);

        let mut transcript = Sha256::new();
        let (first, second) = match self.role {
            Role::Sender => (&self.hello, theirs),
            Role::Receiver => (theirs, &self.hello),
        };
        transcript.update(first);
        transcript.update(second);
        let transcript = transcript.finalize().into();

        let mut ikm = Zeroizing::new([0u8; 64]);
        ikm[..32].copy_from_slice(shared.as_bytes());
        ikm[32..].copy_from_slice(&pake);
        let derived = Derived::new(self.token.as_bytes(), ikm.as_ref(), &transcript)
            .ok_or(HandshakeError::Invalid)?;
        Ok((derived, transcript))
    }

    /// Step 2 of the sender: waits for the receiver's proof.
    pub fn await_proof(self, theirs: &Hello) -> Result<AwaitProof, HandshakeError> {
        let (derived, transcript) = self.derive(theirs)?;
        Ok(AwaitProof { derived, transcript })
    }

    /// Step 2 of the receiver: proves first, then waits for the sender's answer.
    pub fn prove(
        self,
        theirs: &Hello,
        id: &ReceiverId,
    ) -> Result<(AwaitAnswer, Confirm), HandshakeError> {
        let (derived, transcript) = self.derive(theirs)?;
        let mac = confirm_mac(&derived, &transcript, id);
        let mut confirm = [0u8; CONFIRM_LEN];
        confirm[..16].copy_from_slice(id);
        confirm[16..].copy_from_slice(&mac.finalize().into_bytes());
        Ok((AwaitAnswer { derived, transcript }, confirm))
    }
}

/// The sender, waiting for the receiver's proof.
pub struct AwaitProof {
    derived: Derived,
    transcript: [u8; 32],
}

impl AwaitProof {
    /// Checks the proof in constant time.
    ///
    /// # Errors
    /// [`HandshakeError::WrongToken`], with `left` 0: the caller counts.
    pub fn check(self, confirm: &Confirm) -> Result<Proven, HandshakeError> {
        let mut receiver = ReceiverId::default();
        let (id, proof) = confirm.split_at(receiver.len());
        receiver.copy_from_slice(id);
        let mac = confirm_mac(&self.derived, &self.transcript, &receiver);
        mac.verify_slice(proof).map_err(|_| HandshakeError::WrongToken { left: 0 })?;
        Ok(Proven { derived: self.derived, transcript: self.transcript, receiver })
    }
}

/// The sender, sure of the receiver, about to answer.
pub struct Proven {
    derived: Derived,
    transcript: [u8; 32],
    receiver: ReceiverId,
}

impl Proven {
    /// What the receiver calls itself.
    pub fn receiver(&self) -> ReceiverId {
        self.receiver
    }

    /// The last step: the answer to write, and the keys, of use only after [`Verdict::Welcome`].
    pub fn answer(self, verdict: Verdict) -> (Answer, SessionKeys) {
        let code = match verdict {
            Verdict::Welcome => WELCOME,
            Verdict::Busy => BUSY,
        };
        let mac = answer_mac(&self.derived, &self.transcript, code);
        let mut answer = [0u8; ANSWER_LEN];
        answer[0] = code;
        answer[2..].copy_from_slice(&mac.finalize().into_bytes());
        (answer, self.derived.into_session(Role::Sender))
    }
}

/// What the sender writes after a wrong proof. It bears no MAC: the two sides share no key.
pub fn wrong_token(left: u8) -> Answer {
    let mut answer = [0u8; ANSWER_LEN];
    answer[0] = WRONG_TOKEN;
    answer[1] = left;
    answer
}

/// The receiver, waiting for the sender's answer.
pub struct AwaitAnswer {
    derived: Derived,
    transcript: [u8; 32],
}

impl AwaitAnswer {
    /// The last step: the keys, if the sender proved the token too and bids welcome.
    pub fn check(self, answer: &Answer) -> Result<SessionKeys, HandshakeError> {
        let (head, mac) = answer.split_at(2);
        let (code, left) = (head[0], head[1]);
        if code == WRONG_TOKEN {
            return Err(HandshakeError::WrongToken { left });
        }
        let expected = answer_mac(&self.derived, &self.transcript, code);
        expected.verify_slice(mac).map_err(|_| HandshakeError::Impostor)?;
        match code {
            WELCOME => Ok(self.derived.into_session(Role::Receiver)),
            BUSY => Err(HandshakeError::Busy),
            _ => Err(HandshakeError::Invalid),
        }
    }
}

/// The receiver's proof covers its id.
fn confirm_mac(derived: &Derived, transcript: &[u8; 32], id: &ReceiverId) -> Hmac<Sha256> {
    let mut mac = derived.confirmation(Role::Receiver, transcript);
    mac.update(id);
    mac
}

/// The sender's proof covers its verdict, so that nobody can turn one into the other.
fn answer_mac(derived: &Derived, transcript: &[u8; 32], code: u8) -> Hmac<Sha256> {
    let mut mac = derived.confirmation(Role::Sender, transcript);
    mac.update(&[code]);
    mac
}
