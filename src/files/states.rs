//! SHA-256 that shows its states: the eight words that are left after each whole block of a file.
//!
//! From the state before a block and the state after it that block alone can be verified, and from
//! any state on the file's own SHA-256 can be gone on with. So one hash serves for the file and for
//! its blocks, and costs what it did (FIPS 180-4, section 6.2.2: the intermediate hash value).

use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest, Sha256};

/// Bytes of a state.
pub const STATE_LEN: usize = 32;
/// The eight words H0 to H7, each big-endian.
pub type State = [u8; STATE_LEN];

/// What SHA-256 works on at once, in bytes: states exist only between two of these.
const CHUNK: u64 = 64;

/// A file's SHA-256 under way, and the states after its whole blocks.
#[derive(Debug, Clone)]
pub struct Blocks {
    block: u64,
    hash: Sha256,
    at: u64,
    states: Vec<State>,
}

/// The whole is one block: no file has a state.
impl Default for Blocks {
    fn default() -> Self {
        Self::new(u64::MAX - u64::MAX % CHUNK)
    }
}

impl Blocks {
    /// At the beginning of a file in blocks of so many bytes, a multiple of 64.
    pub fn new(block: u64) -> Self {
        debug_assert!(block > 0 && block.is_multiple_of(CHUNK));
        Self { block, hash: Sha256::new(), at: 0, states: Vec::new() }
    }

    /// Behind so many whole blocks, that after the last of which is `state`. Those before it are
    /// not in [`Blocks::states`]. Behind no block it is the beginning, whatever the state.
    pub fn behind(block: u64, blocks: u64, state: &State) -> Self {
        if blocks == 0 {
            return Self::new(block);
        }
        let at = blocks.saturating_mul(block);
        Self { hash: hash_from(state, at), at, ..Self::new(block) }
    }

    /// Behind the blocks of which these are the states.
    pub fn go_on(block: u64, states: Vec<State>) -> Self {
        let blocks = states.len() as u64;
        let last = states.last().copied().unwrap_or_default();
        Self { states, ..Self::behind(block, blocks, &last) }
    }

    /// Bytes hashed, what came before the beginning included.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Bytes of a block.
    pub fn block(&self) -> u64 {
        self.block
    }

    /// Bytes until the block at hand is whole.
    pub fn left(&self) -> u64 {
        self.block - self.at % self.block
    }

    /// Whether a block has ended here.
    pub fn is_whole(&self) -> bool {
        self.at > 0 && self.at.is_multiple_of(self.block)
    }

    /// Hashes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let left = usize::try_from(self.left()).unwrap_or(usize::MAX);
            let (piece, rest) = bytes.split_at(left.min(bytes.len()));
            self.hash.update(piece);
            self.at += piece.len() as u64;
            if self.is_whole() {
                self.states.push(state_of(&self.hash));
            }
            bytes = rest;
        }
    }

    /// The states after the whole blocks that were hashed here.
    pub fn states(&self) -> &[State] {
        &self.states
    }

    /// The states alone.
    pub fn into_states(self) -> Vec<State> {
        self.states
    }

    /// Right behind a whole block: its state is to be this one instead.
    pub fn adopt(&mut self, state: State) {
        let is_whole = self.is_whole();
        if let Some(last) = self.states.last_mut().filter(|_| is_whole) {
            *last = state;
            self.hash = hash_from(&state, self.at);
        }
    }

    /// The SHA-256 of everything so far.
    pub fn digest(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }
}

/// The state between two chunks.
fn state_of(hash: &Sha256) -> State {
    let mut state = [0; STATE_LEN];
    // The words come first there, little-endian.
    for (to, from) in state.chunks_exact_mut(4).zip(hash.serialize().chunks_exact(4)) {
        to.iter_mut().zip(from.iter().rev()).for_each(|(to, from)| *to = *from);
    }
    state
}

/// SHA-256 behind so many bytes, a multiple of [`CHUNK`], that left this state.
fn hash_from(state: &State, at: u64) -> Sha256 {
    // Words, then the number of chunks, both little-endian, then a buffer with nothing in it.
    let mut serialized: SerializedState<Sha256> = Sha256::new().serialize();
    let chunks = (at / CHUNK).to_le_bytes();
    let words = state.chunks_exact(4).flat_map(|word| word.iter().rev());
    serialized.iter_mut().zip(words.chain(&chunks)).for_each(|(to, from)| *to = *from);
    // It is as long as one that was made a moment ago, and its buffer is empty.
    Sha256::deserialize(&serialized).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// FIPS 180-4 by the letter: the states of the message, without padding.
    fn by_the_book(message: &[u8], block: usize) -> Vec<State> {
        let mut words = [
            0x6a09_e667u32,
            0xbb67_ae85,
            0x3c6e_f372,
            0xa54f_f53a,
            0x510e_527f,
            0x9b05_688c,
            0x1f83_d9ab,
            0x5be0_cd19,
        ];
        let mut states = vec![];
        for (number, chunk) in message.chunks_exact(64).enumerate() {
            let chunk: &[u8; 64] = chunk.try_into().unwrap();
            sha2::block_api::compress256(&mut words, &[*chunk]);
            if (number + 1) * 64 % block == 0 {
                let state: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
                states.push(state.try_into().unwrap());
            }
        }
        states
    }

    /// SHA-256 of "abc" is its only padded chunk's state: the words are those of the digest.
    #[test]
    fn a_state_is_what_a_digest_is_made_of() {
        let mut padded = [0; 64];
        padded[..4].copy_from_slice(b"abc\x80");
        padded[63] = 24;
        let mut blocks = Blocks::new(64);
        blocks.update(&padded);
        assert_eq!(blocks.states()[0][..], Sha256::digest(b"abc")[..]);
    }

    #[test]
    fn behind_no_block_is_the_beginning() {
        let mut blocks = Blocks::behind(64, 0, &[7; 32]);
        blocks.update(b"abc");
        assert_eq!(blocks.digest()[..], Sha256::digest(b"abc")[..]);
        assert_eq!(Blocks::go_on(64, vec![]).digest()[..], Sha256::digest(b"")[..]);
    }

    proptest! {
        #[test]
        fn states_and_digest_are_those_of_sha_256(
            message in prop::collection::vec(any::<u8>(), 0..1000),
            chunks in 1..5u64,
            cuts in prop::collection::vec(0..1000usize, 0..9),
        ) {
            let block = chunks * CHUNK;
            let mut blocks = Blocks::new(block);
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(message.len())).collect();
            cuts.extend([0, message.len()]);
            cuts.sort_unstable();
            for pair in cuts.windows(2) {
                blocks.update(&message[pair[0]..pair[1]]);
            }
            let states = by_the_book(&message, usize::try_from(block).unwrap());
            prop_assert_eq!(blocks.states(), &states[..]);
            prop_assert_eq!(&blocks.digest()[..], &Sha256::digest(&message)[..]);
            prop_assert_eq!(blocks.at(), message.len() as u64);
            // From each state on it goes on as if it had never stopped.
            for (number, state) in (1..).zip(&states) {
                let from = usize::try_from(number * block).unwrap();
                let mut rest = Blocks::behind(block, number, state);
                rest.update(&message[from..]);
                prop_assert_eq!(&rest.digest()[..], &Sha256::digest(&message)[..]);
                prop_assert_eq!(rest.states(), &states[usize::try_from(number).unwrap()..]);
                let mut whole = Blocks::go_on(block, states[..usize::try_from(number).unwrap()].to_vec());
                whole.update(&message[from..]);
                prop_assert_eq!(whole.states(), &states[..]);
            }
        }

        #[test]
        fn a_wrong_block_is_told_and_passed(message in prop::collection::vec(any::<u8>(), 64..500), at in 0..448usize) {
            let at = at.min(message.len() / 64 * 64 - 1);
            let states = by_the_book(&message, 64);
            let mut wrong = message.clone();
            wrong[at] ^= 1;
            let mut blocks = Blocks::new(64);
            for (number, piece) in wrong.chunks(64).enumerate() {
                blocks.update(piece);
                if piece.len() == 64 {
                    prop_assert_eq!(blocks.states()[number] == states[number], number != at / 64);
                    blocks.adopt(states[number]);
                }
            }
            prop_assert_eq!(blocks.states(), &states[..]);
            prop_assert_eq!(&blocks.digest()[..], &Sha256::digest(&message)[..]);
        }
    }
}
