//! The handshake and the records, with an honest other side that always says the same.

use rand::{TryCryptoRng, TryRng};
use transfer::bounds::MAX_PLAINTEXT;
use transfer::crypto::handshake::{
    ANSWER_LEN, Answer, Binding, CONFIRM_LEN, Confirm, HELLO_LEN, HandshakeError, Hello,
    ReceiverId, Start, Verdict,
};
use transfer::crypto::keys::{OpenKey, Role, SealKey, SessionKeys};
use transfer::crypto::record::{Buffer, Follows, RecordError, RecordReader, RecordWriter};
use transfer::protocol::reader::Reader;
use transfer::token::Token;

/// Yields n, n + 1, n + 2…, in place of randomness: the honest side always says the same, so that
/// seeds can hold proofs that are right.
struct Counting(u8);

impl TryRng for Counting {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        for byte in bytes {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
        Ok(())
    }
}

impl TryCryptoRng for Counting {}

/// What the honest receiver calls itself.
const ID: ReceiverId = *b"0123456789abcdef";

/// The honest side of this role, about to say hello.
fn start(role: Role) -> Start {
    let token = Token::parse("ocean-tiger").expect("two words of the list");
    let first = if role == Role::Sender { 0x00 } else { 0x80 };
    Start::new(role, &token, Binding::None, &mut Counting(first))
}

/// What two honest sides say to each other before the first record.
pub struct Honest {
    /// The sender's hello.
    pub sender: Hello,
    /// The receiver's hello.
    pub receiver: Hello,
    /// The receiver's proof.
    pub confirm: Confirm,
    /// The sender's answer.
    pub answer: Answer,
}

/// A handshake between two honest sides, and the keys of the sender and of the receiver.
pub fn shake(verdict: Verdict) -> (Honest, SessionKeys, Result<SessionKeys, HandshakeError>) {
    let (sender, receiver) = (start(Role::Sender), start(Role::Receiver));
    let hellos = (*sender.hello(), *receiver.hello());
    let (await_answer, confirm) = receiver.prove(&hellos.0, &ID).expect("an honest hello");
    let await_proof = sender.await_proof(&hellos.1).expect("an honest hello");
    let proven = await_proof.check(&confirm).expect("an honest proof");
    let (answer, keys) = proven.answer(verdict);
    let honest = Honest { sender: hellos.0, receiver: hellos.1, confirm, answer };
    (honest, keys, await_answer.check(&answer))
}

/// The keys of the sender and of the receiver of one session, always the same.
fn session() -> (SessionKeys, SessionKeys) {
    let (_, sender, receiver) = shake(Verdict::Welcome);
    (sender, receiver.expect("an honest answer"))
}

/// A role, a hello, and a proof or answer: none but the honest side's own are believed.
pub fn hello(input: &[u8]) {
    let mut reader = Reader::new(input);
    let (Ok(role), Ok(theirs)) = (reader.u8(), reader.array::<HELLO_LEN>()) else { return };
    if role % 2 == 0 {
        let Ok(await_proof) = start(Role::Sender).await_proof(&theirs) else { return };
        let Ok(confirm) = reader.array::<CONFIRM_LEN>() else { return };
        match await_proof.check(&confirm) {
            Ok(proven) => {
                let (honest, ..) = shake(Verdict::Welcome);
                assert!(theirs == honest.receiver && confirm == honest.confirm);
                assert_eq!(proven.receiver(), ID);
            }
            Err(error) => assert_eq!(error, HandshakeError::WrongToken { left: 0 }),
        }
    } else {
        let Ok((await_answer, _)) = start(Role::Receiver).prove(&theirs, &ID) else { return };
        let Ok(answer) = reader.array::<ANSWER_LEN>() else { return };
        let verdict = match await_answer.check(&answer) {
            Ok(_) => Verdict::Welcome,
            Err(HandshakeError::Busy) => Verdict::Busy,
            Err(HandshakeError::WrongToken { left }) => return assert_eq!(answer[..2], [1, left]),
            Err(error) => return assert_eq!(error, HandshakeError::Impostor),
        };
        let (honest, ..) = shake(verdict);
        assert!(theirs == honest.sender && answer == honest.answer);
    }
}

/// One direction of a session that says all this; the last record is marked if nothing follows.
pub fn seal<'a>(
    plaintexts: impl IntoIterator<Item = &'a [u8]>,
    follows: Follows,
    key: SealKey,
) -> Vec<u8> {
    let (mut stream, mut buffer) = (Vec::new(), Buffer::default());
    let mut writer = RecordWriter::new(&mut stream, key);
    let mut plaintexts = plaintexts.into_iter().peekable();
    while let Some(plaintext) = plaintexts.next() {
        buffer.extend(plaintext);
        match follows {
            Follows::Nothing if plaintexts.peek().is_none() => writer.write_last(&mut buffer),
            _ => writer.write(&mut buffer),
        }
        .expect("a plaintext that is neither empty nor too long");
    }
    stream
}

/// What a direction says up to its end or the first error.
fn open(stream: &[u8], key: OpenKey) -> (Vec<Vec<u8>>, Result<(), RecordError>) {
    let mut reader = RecordReader::new(stream, key, MAX_PLAINTEXT);
    let (mut opened, mut buffer) = (Vec::new(), Buffer::default());
    let end = loop {
        match reader.read(&mut buffer) {
            Ok(follows) => {
                assert!((1..=MAX_PLAINTEXT).contains(&buffer.len()));
                opened.push(buffer.plaintext().to_vec());
                if follows == Follows::Nothing {
                    break Ok(());
                }
            }
            Err(error) => break Err(error),
        }
    };
    assert!(matches!(reader.read(&mut buffer), Err(RecordError::Ended)));
    (opened, end)
}

/// Either a stream, of which only what the other side sealed may open; or the size of records,
/// what they hold, and one change on the way, which may not pass.
pub fn record(input: &[u8]) {
    let Some((how, input)) = input.split_first() else { return };
    let (sender, receiver) = session();
    if how % 2 == 0 {
        let (opened, end) = open(input, receiver.open);
        let follows = if end.is_ok() { Follows::Nothing } else { Follows::More };
        let honest = seal(opened.iter().map(Vec::as_slice), follows, sender.seal);
        assert!(input.starts_with(&honest));
    } else {
        let mut reader = Reader::new(input);
        let (Ok(size), Ok(place), Ok(change)) = (reader.u8(), reader.u16(), reader.u8()) else {
            return;
        };
        let content = reader.rest();
        if content.is_empty() {
            return;
        }
        let plaintexts = || content.chunks(1 + usize::from(size));
        let (opened, end) = open(&seal(plaintexts(), Follows::Nothing, receiver.seal), sender.open);
        assert!(end.is_ok() && opened.iter().map(Vec::as_slice).eq(plaintexts()));

        let mut stream = seal(plaintexts(), Follows::Nothing, sender.seal);
        let place = usize::from(place) % stream.len();
        match change {
            0 => stream.truncate(place),
            change => stream[place] ^= change,
        }
        let (opened, end) = open(&stream, receiver.open);
        assert!(end.is_err());
        assert!(opened.len() < plaintexts().len());
        assert!(opened.iter().map(Vec::as_slice).eq(plaintexts().take(opened.len())));
    }
}
