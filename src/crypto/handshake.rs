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
/// The highest version of the protocol that this side speaks; its hello names it.
pub const VERSION: u16 = 2;
/// The lowest. Of two sides the lower version holds, unless it is too low for one of them.
pub const LOWEST_VERSION: u16 = 2;
/// What a doctor writes instead of a hello: magic, and a version that is none.
pub const LOOK: [u8; 10] = *b"TRANSFER\0\0";
/// Bytes of a hello: magic, version, X25519 key, SPAKE2 message.
pub const HELLO_LEN: usize = 8 + 2 + 32 + 33;
/// Bytes of the receiver's confirmation: its id, then its proof.
pub const CONFIRM_LEN: usize = 16 + 32;
/// Bytes of the sender's answer: verdict, guesses left, confirmation.
pub const ANSWER_LEN: usize = 1 + 1 + 32;

/// What a handshake is bound to beside its own messages, so that it holds in one channel only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// Nothing: the handshake is all that protects the connection.
    None,
    /// The exporter of an authenticated channel that carries it (RFC 8446, 7.5): label
    /// `EXPORTER-transfer`, without a context.
    Exporter([u8; 32]),
}

impl Binding {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::Exporter(bytes) => bytes,
        }
    }
}

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
    /// A version of the protocol that is too low; of a higher one this side's holds.
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

/// The version of the protocol that holds with the side that a hello comes from.
pub fn agreed_version(hello: &Hello) -> Result<u16, HandshakeError> {
    if hello[..8] != MAGIC {
        return Err(HandshakeError::NotTransfer);
    }
    let highest = u16::from_be_bytes([hello[8], hello[9]]);
    let version = highest.min(VERSION);
    if version < LOWEST_VERSION {
        return Err(HandshakeError::Version(highest));
    }
    Ok(version)
}

/// Step 1: own keys made, nothing received.
pub struct Start {
    role: Role,
    token: Token,
    binding: Binding,
    secret: EphemeralSecret,
    spake: Spake2<Ed25519Group>,
    hello: Hello,
}

impl Start {
    /// Draws fresh keys. `rng` is the system's generator outside tests.
    pub fn new(role: Role, token: &Token, binding: Binding, rng: &mut impl CryptoRng) -> Self {
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
        Self { role, token: token.clone(), binding, secret, spake, hello }
    }

    /// What to write to the other side.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Takes the other side's hello.
    fn derive(self, theirs: &Hello) -> Result<(Derived, [u8; 32]), HandshakeError> {
        let version = agreed_version(theirs)?;
        let (key, spake) = theirs.split_at(10).1.split_at(32);
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
        transcript.update(self.binding.as_bytes());
        let transcript = transcript.finalize().into();

        let mut ikm = Zeroizing::new([0u8; 64]);
        ikm[..32].copy_from_slice(shared.as_bytes());
        ikm[32..].copy_from_slice(&pake);
        let derived = Derived::new(version, self.token.as_bytes(), ikm.as_ref(), &transcript)
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
        if left != 0 {
            // Not covered by the proof, and of no use to a sender that gives one.
            return Err(HandshakeError::Impostor);
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

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use HandshakeError::{Busy, Impostor, Invalid, NotTransfer, Version, WrongToken};

    const TOKEN: &str = "ocean-tiger";
    const OTHER: &str = "ocean-zebra";

    const ID: ReceiverId = *b"0123456789abcdef";

    type End = Result<SessionKeys, HandshakeError>;

    fn start(role: Role, token: &str) -> Start {
        let mut rng = StdRng::seed_from_u64(role.name().len() as u64);
        Start::new(role, &Token::parse(token).unwrap(), Binding::None, &mut rng)
    }

    /// The four messages, for `meddle` to tell which one it has in its hands.
    const SENDER_HELLO: usize = 0;
    const RECEIVER_HELLO: usize = 1;
    const CONFIRM: usize = 2;
    const ANSWER: usize = 3;
    const LENGTHS: [usize; 4] = [HELLO_LEN, HELLO_LEN, CONFIRM_LEN, ANSWER_LEN];

    /// A handshake in which `meddle` may change each message on its way. The sender has two
    /// guesses left after a wrong one. How the sender ends, and how the receiver, if it is told.
    fn shake(
        (sender, receiver): (&str, &str),
        verdict: Verdict,
        meddle: impl FnMut(usize, &mut [u8]),
    ) -> (End, Option<End>) {
        let sides = (start(Role::Sender, sender), start(Role::Receiver, receiver));
        shake_hands(sides, verdict, meddle)
    }

    fn shake_hands(
        (sender, receiver): (Start, Start),
        verdict: Verdict,
        mut meddle: impl FnMut(usize, &mut [u8]),
    ) -> (End, Option<End>) {
        let (mut to_receiver, mut to_sender) = (*sender.hello(), *receiver.hello());
        meddle(SENDER_HELLO, &mut to_receiver);
        meddle(RECEIVER_HELLO, &mut to_sender);
        let (await_proof, proven) =
            (sender.await_proof(&to_sender), receiver.prove(&to_receiver, &ID));
        let (await_proof, (await_answer, mut confirm)) = match (await_proof, proven) {
            (Ok(await_proof), Ok(proven)) => (await_proof, proven),
            (await_proof, proven) => {
                return (Err(await_proof.err().unwrap_or(Invalid)), proven.err().map(Err));
            }
        };
        meddle(CONFIRM, &mut confirm);
        let (mut answer, sender) = match await_proof.check(&confirm) {
            Ok(proven) => {
                assert_eq!(proven.receiver(), ID);
                let (answer, keys) = proven.answer(verdict);
                (answer, Ok(keys))
            }
            Err(error) => (wrong_token(2), Err(error)),
        };
        meddle(ANSWER, &mut answer);
        (sender, Some(await_answer.check(&answer)))
    }

    fn untouched(_: usize, _: &mut [u8]) {}

    #[test]
    fn the_same_token_gives_the_same_keys() {
        let (sender, receiver) = shake((TOKEN, TOKEN), Verdict::Welcome, untouched);
        let (sender, receiver) = (sender.ok().unwrap(), receiver.unwrap().ok().unwrap());
        assert_eq!(sender.seal.0, receiver.open.0);
        assert_eq!(sender.open.0, receiver.seal.0);
        assert_ne!(sender.seal.0, sender.open.0);
        assert_eq!(sender.session_id, receiver.session_id);
    }

    /// A side that speaks this version and those before.
    fn start_with(role: Role, version: u16) -> Start {
        let mut start = start(role, TOKEN);
        start.hello[8..10].copy_from_slice(&version.to_be_bytes());
        start
    }

    #[test]
    fn the_lower_version_holds() {
        for (sender, receiver) in [(2, 2), (3, 2), (2, 3), (3, 512), (u16::MAX, 2)] {
            let sides = (start_with(Role::Sender, sender), start_with(Role::Receiver, receiver));
            let (sender_ends, receiver_ends) = shake_hands(sides, Verdict::Welcome, untouched);
            let case = format!("{sender} {receiver}");
            let keys = (sender_ends.unwrap(), receiver_ends.unwrap().unwrap());
            assert_eq!(keys.0.seal.0, keys.1.open.0, "{case}");
        }
        let hello = |version| *start_with(Role::Sender, version).hello();
        for (version, agreed) in [
            (0, Err(Version(0))),
            (1, Err(Version(1))),
            (2, Ok(2)),
            (3, Ok(2)),
            (0x0100, Ok(2)),
            (u16::MAX, Ok(2)),
        ] {
            assert_eq!(agreed_version(&hello(version)), agreed, "{version}");
        }
    }

    /// Nobody in between can make two sides speak an older version than they could, or a newer one.
    #[test]
    fn a_version_cannot_be_changed_on_the_way() {
        for message in [SENDER_HELLO, RECEIVER_HELLO] {
            for (said, made) in [(2, 3), (3, 2), (512, 2), (2, 512), (2, 1), (3, 1)] {
                let sides = (start_with(Role::Sender, said), start_with(Role::Receiver, said));
                let (sender, receiver) = shake_hands(sides, Verdict::Welcome, |n, bytes| {
                    if n == message {
                        bytes[8..10].copy_from_slice(&u16::to_be_bytes(made));
                    }
                });
                let case = format!("message {message}, {said} to {made}");
                assert!(sender.is_err(), "{case}");
                assert!(receiver.is_none_or(|end| end.is_err()), "{case}");
            }
        }
    }

    #[test]
    fn the_version_is_in_every_key() {
        let derive = |version| Derived::new(version, b"token", b"input", &[7; 32]).unwrap();
        let (two, three) = (derive(2), derive(3));
        let (two, three) = (two.into_session(Role::Sender), three.into_session(Role::Sender));
        assert_ne!(two.session_id, three.session_id);
        assert_ne!(two.seal.0, three.seal.0);
        assert_ne!(two.open.0, three.open.0);
    }

    #[test]
    fn a_handshake_holds_in_its_own_channel_only() {
        let bound = |role, binding| {
            let mut rng = StdRng::seed_from_u64(9);
            Start::new(role, &Token::parse(TOKEN).unwrap(), binding, &mut rng)
        };
        let channels = [Binding::None, Binding::Exporter([0; 32]), Binding::Exporter([1; 32])];
        for sender in channels {
            for receiver in channels {
                let sides = (bound(Role::Sender, sender), bound(Role::Receiver, receiver));
                let (sender_ends, receiver_ends) = shake_hands(sides, Verdict::Welcome, untouched);
                let case = format!("{sender:?} {receiver:?}");
                assert_eq!(sender_ends.is_ok(), sender == receiver, "{case}");
                assert_eq!(receiver_ends.unwrap().is_ok(), sender == receiver, "{case}");
            }
        }
    }

    #[test]
    fn every_verdict_arrives() {
        for (tokens, verdict, told) in [
            ((TOKEN, TOKEN), Verdict::Welcome, None),
            ((TOKEN, TOKEN), Verdict::Busy, Some(Busy)),
            ((TOKEN, OTHER), Verdict::Welcome, Some(WrongToken { left: 2 })),
            ((OTHER, TOKEN), Verdict::Busy, Some(WrongToken { left: 2 })),
        ] {
            let (sender, receiver) = shake(tokens, verdict, untouched);
            assert_eq!(receiver.unwrap().err(), told, "{tokens:?} {verdict:?}");
            let wrong = (tokens.0 != tokens.1).then_some(WrongToken { left: 0 });
            assert_eq!(sender.err(), wrong, "{tokens:?} {verdict:?}");
        }
    }

    /// Every bit of every message counts.
    #[test]
    fn one_flipped_bit_leaves_no_keys() {
        for (message, length) in LENGTHS.into_iter().enumerate() {
            for at in 0..length {
                for bit in 0..8 {
                    let (sender, receiver) = shake((TOKEN, TOKEN), Verdict::Welcome, |n, bytes| {
                        if n == message {
                            bytes[at] ^= 1 << bit;
                        }
                    });
                    let case = format!("message {message}, byte {at}, bit {bit}");
                    assert!(receiver.is_none_or(|end| end.is_err()), "{case}");
                    // When the answer is changed, the sender is done already.
                    assert_eq!(sender.is_ok(), message == ANSWER, "{case}");
                }
            }
        }
    }

    #[test]
    fn one_verdict_cannot_become_another() {
        for (said, code, told) in [
            (Verdict::Welcome, WRONG_TOKEN, WrongToken { left: 0 }),
            (Verdict::Welcome, BUSY, Impostor),
            (Verdict::Welcome, 3, Impostor),
            (Verdict::Busy, WELCOME, Impostor),
        ] {
            let (_, receiver) = shake((TOKEN, TOKEN), said, |n, bytes| {
                if n == ANSWER {
                    bytes[0] = code;
                }
            });
            assert_eq!(receiver.unwrap().err(), Some(told), "{said:?} {code}");
        }
    }

    #[test]
    fn a_sender_without_the_token_is_an_impostor() {
        let (_, receiver) = shake((TOKEN, OTHER), Verdict::Welcome, |n, bytes| {
            if n == ANSWER {
                bytes.fill(0);
            }
        });
        assert_eq!(receiver.unwrap().err(), Some(Impostor));
    }

    #[test]
    fn the_own_messages_sent_back_are_refused() {
        let (sender, receiver) = (start(Role::Sender, TOKEN), start(Role::Receiver, TOKEN));
        let (own_sender, own_receiver) = (*sender.hello(), *receiver.hello());
        assert_eq!(sender.await_proof(&own_sender).err(), Some(Invalid));
        assert_eq!(receiver.prove(&own_receiver, &ID).err(), Some(Invalid));

        // With the side byte mended, and then the own confirmation as the sender's.
        let receiver = start(Role::Receiver, TOKEN);
        let mut mended = own_receiver;
        mended[42] = b'A';
        let (await_answer, confirm) = receiver.prove(&mended, &ID).ok().unwrap();
        let mut answer = [0; ANSWER_LEN];
        answer[2..].copy_from_slice(&confirm[16..]);
        assert_eq!(await_answer.check(&answer).err(), Some(Impostor));
    }

    /// Both sides refuse what `change` makes of the other's hello, for this reason.
    fn refused(change: impl Fn(&mut Hello), why: HandshakeError, case: &str) {
        let (sender, receiver) = (start(Role::Sender, TOKEN), start(Role::Receiver, TOKEN));
        let (mut to_receiver, mut to_sender) = (*sender.hello(), *receiver.hello());
        change(&mut to_receiver);
        change(&mut to_sender);
        assert_eq!(sender.await_proof(&to_sender).err(), Some(why), "{case}");
        assert_eq!(receiver.prove(&to_receiver, &ID).err(), Some(why), "{case}");
    }

    #[test]
    fn hellos_of_others_are_refused() {
        refused(|hello| hello[..8].copy_from_slice(b"SSH-2.0-"), NotTransfer, "another protocol");
        refused(|hello| hello.fill(0), NotTransfer, "zeros");
        refused(|hello| hello[8..10].copy_from_slice(&[0, 1]), Version(1), "the version before");
        refused(|hello| hello[8..10].copy_from_slice(&[0, 0]), Version(0), "a look");
        refused(|hello| hello[42] ^= 3, Invalid, "the own side");
        refused(|hello| hello[42] = b'S', Invalid, "the symmetric side");
        refused(|hello| hello[43..].copy_from_slice(&Y_OFF_CURVE), Invalid, "not on the curve");
    }

    /// No point of the curve has this y, 2.
    const Y_OFF_CURVE: [u8; 32] = {
        let mut y = [0; 32];
        y[0] = 2;
        y
    };

    /// RFC 8032 refuses these two encodings of the point (0, 1): with the sign of a zero, and with a
    /// y that is not below p. The curve's library takes them, and so does the protocol.
    #[test]
    fn elements_are_taken_in_every_encoding() {
        let (mut signed, mut p_plus_1) = ([0u8; 32], [0xff; 32]);
        (signed[0], signed[31]) = (1, 0x80);
        (p_plus_1[0], p_plus_1[31]) = (0xee, 0x7f);
        for encoding in [signed, p_plus_1] {
            let mut hello = *start(Role::Receiver, TOKEN).hello();
            hello[43..].copy_from_slice(&encoding);
            assert!(start(Role::Sender, TOKEN).await_proof(&hello).is_ok(), "{encoding:02x?}");
        }
    }

    /// The u-coordinates of the points of small order, canonical or not: with each of them
    /// X25519 gives zero, whatever the other key.
    #[test]
    fn low_order_keys_are_refused() {
        let (zero, mut one, mut p_less_1) = ([0u8; 32], [0u8; 32], [0xff; 32]);
        one[0] = 1;
        (p_less_1[0], p_less_1[31]) = (0xec, 0x7f);
        let (mut p, mut p_plus_1) = (p_less_1, p_less_1);
        (p[0], p_plus_1[0]) = (0xed, 0xee);
        let order_8 = [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f,
            0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16,
            0x5f, 0x49, 0xb8, 0x00,
        ];
        let other_order_8 = [
            0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83,
            0xef, 0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd,
            0xd0, 0x9f, 0x11, 0x57,
        ];
        for mut key in [zero, one, p_less_1, p, p_plus_1, order_8, other_order_8] {
            for top_bit in [0, 0x80] {
                key[31] |= top_bit;
                let put = |hello: &mut Hello| hello[10..42].copy_from_slice(&key);
                refused(put, Invalid, &format!("{key:02x?}"));
            }
        }
    }

    #[test]
    fn fresh_randomness_gives_fresh_hellos_and_keys() {
        let token = Token::parse(TOKEN).unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        let first = Start::new(Role::Sender, &token, Binding::None, &mut rng);
        let second = Start::new(Role::Sender, &token, Binding::None, &mut rng);
        assert_eq!(first.hello[..10], second.hello[..10]);
        assert_ne!(first.hello[10..42], second.hello[10..42]);
        assert_ne!(first.hello[42..], second.hello[42..]);
    }
}
