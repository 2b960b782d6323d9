//! The hash of a file with holes: what is a hole costs nothing to hash (docs/protocol.md, 7.2).

use sha2::{Digest, Sha256};

use super::manifest::Entry;
use super::states::{Blocks, State};

/// What the hash knows of content: pages that are all zeros leave no trace in it, be they holes or not.
pub const PAGE: u64 = 64 * 1024;

/// Bytes that the head of a page has: its number, and zeros, so that what follows begins a block of
/// SHA-256.
const HEAD: usize = 64;

/// Bytes of the hash.
pub const SUM: usize = 32;

/// SHA-256 of the pages that are not all zeros, each behind its number, and of the size.
#[derive(Clone, Default)]
pub struct SparseHash {
    hash: Sha256,
    /// Bytes so far, holes included.
    at: u64,
    /// The page at hand up to its last byte that counts; empty as long as it is all zeros.
    page: Vec<u8>,
}

impl SparseHash {
    /// Takes in content.
    pub fn update(&mut self, mut content: &[u8]) {
        while !content.is_empty() {
            let within = self.within();
            let (now, later) = content.split_at(content.len().min(PAGE as usize - within));
            if !is_zero(now) {
                if now.len() as u64 == PAGE {
                    put(&mut self.hash, self.at / PAGE, now);
                } else {
                    self.page.resize(within, 0);
                    self.page.extend_from_slice(now);
                }
            }
            self.advance(now.len() as u64);
            content = later;
        }
    }

    /// Takes in so many zeros, without a look at each.
    pub fn skip(&mut self, zeros: u64) {
        let first = zeros.min(PAGE - self.at % PAGE);
        self.advance(first);
        // No page begins with what counts.
        self.at = self.at.saturating_add(zeros - first);
    }

    /// The hash of what was taken in.
    pub fn finish(mut self) -> [u8; SUM] {
        let within = self.within();
        self.end_page(within);
        self.hash.update(self.at.to_be_bytes());
        self.hash.finalize().into()
    }

    fn within(&self) -> usize {
        (self.at % PAGE) as usize
    }

    fn advance(&mut self, len: u64) {
        let within = self.within() as u64 + len;
        if within == PAGE {
            self.end_page(PAGE as usize);
        }
        self.at = self.at.saturating_add(len);
    }

    /// The page at hand, of so many bytes, goes into the hash.
    fn end_page(&mut self, len: usize) {
        if !self.page.is_empty() {
            self.page.resize(len, 0);
            put(&mut self.hash, self.at / PAGE, &self.page);
            self.page.clear();
        }
    }
}

fn put(hash: &mut Sha256, number: u64, page: &[u8]) {
    let mut head = [0; HEAD];
    let (first, _) = head.split_at_mut(8);
    first.copy_from_slice(&number.to_be_bytes());
    hash.update(head);
    hash.update(page);
}

/// Whether it is zeros and nothing else.
pub fn is_zero(content: &[u8]) -> bool {
    // In pieces that the compiler makes one instruction of.
    content.chunks(128).all(|piece| piece.iter().fold(0, |all, byte| all | byte) == 0)
}

/// The hash of a file's content, as files of its kind have it.
#[derive(Clone)]
pub enum ContentHash {
    /// SHA-256 of the content.
    Whole(Blocks),
    /// That of a file with holes.
    Sparse(Box<SparseHash>),
}

impl ContentHash {
    /// Nothing is taken in yet of the content of an entry.
    pub fn of(entry: &Entry) -> Self {
        match entry.is_sparse() {
            true => Self::Sparse(Box::default()),
            false => Self::Whole(Blocks::default()),
        }
    }

    /// The same, with the states behind blocks of so many bytes if it has no holes.
    pub fn in_blocks(entry: &Entry, block: u64) -> Self {
        match entry.is_sparse() {
            true => Self::Sparse(Box::default()),
            false => Self::Whole(Blocks::new(block)),
        }
    }

    /// The states behind the whole blocks.
    pub fn states(&self) -> &[State] {
        match self {
            Self::Whole(hash) => hash.states(),
            Self::Sparse(_) => &[],
        }
    }

    /// Whether this is the state behind the block that has just ended. If not, it is from now on.
    pub fn agree(&mut self, state: State) -> bool {
        let agrees = self.states().last() == Some(&state);
        if let (false, Self::Whole(hash)) = (agrees, self) {
            hash.adopt(state);
        }
        agrees
    }

    /// Whether zeros cost it nothing.
    pub fn is_sparse(&self) -> bool {
        matches!(self, Self::Sparse(_))
    }

    /// Takes in content.
    pub fn update(&mut self, content: &[u8]) {
        match self {
            Self::Whole(hash) => hash.update(content),
            Self::Sparse(hash) => hash.update(content),
        }
    }

    /// Takes in so many zeros.
    pub fn skip(&mut self, zeros: u64) {
        match self {
            Self::Whole(hash) => {
                for len in zeros_of(zeros) {
                    hash.update(len);
                }
            }
            Self::Sparse(hash) => hash.skip(zeros),
        }
    }

    /// The hash of what was taken in.
    pub fn finish(self) -> [u8; SUM] {
        match self {
            Self::Whole(hash) => hash.digest(),
            Self::Sparse(hash) => hash.finish(),
        }
    }
}

/// So many zeros, a piece at a time.
pub fn zeros_of(mut left: u64) -> impl Iterator<Item = &'static [u8]> {
    static ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];
    std::iter::from_fn(move || {
        let len = left.min(PAGE);
        left -= len;
        ZEROS.get(..usize::try_from(len).ok()?).filter(|piece| !piece.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The words of the page, and nothing else.
    fn by_the_page(content: &[u8]) -> [u8; SUM] {
        let mut hash = Sha256::new();
        for (number, page) in (0u64..).zip(content.chunks(65_536)) {
            if page.iter().any(|byte| *byte != 0) {
                hash.update(number.to_be_bytes());
                hash.update([0; 56]);
                hash.update(page);
            }
        }
        hash.update((content.len() as u64).to_be_bytes());
        hash.finalize().into()
    }

    proptest! {
        /// However it comes, and whatever of its zeros is a hole: the content decides.
        #[test]
        fn it_depends_on_content_alone(
            parts in prop::collection::vec((0..3u8, prop_oneof![0..9usize, 0..200_000usize, Just(65_536)]), 0..12),
        ) {
            let (mut content, mut hash) = (Vec::new(), SparseHash::default());
            for (kind, len) in parts {
                match kind {
                    0 => {
                        content.resize(content.len() + len, 0);
                        hash.skip(len as u64);
                    }
                    1 => {
                        content.resize(content.len() + len, 0);
                        hash.update(&vec![0; len]);
                    }
                    _ => {
                        let part: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
                        content.extend_from_slice(&part);
                        hash.update(&part);
                    }
                }
                // At any place it is that of what came so far.
                prop_assert_eq!(hash.clone().finish(), by_the_page(&content));
            }
        }
    }

    #[test]
    fn a_hole_of_any_size_takes_no_time() {
        let mut hash = SparseHash::default();
        hash.skip(7);
        hash.update(b"x");
        hash.skip(u64::MAX - 8);
        let mut expected = Sha256::new();
        expected.update([0; 64]);
        let mut page = vec![0; 65_536];
        page[7] = b'x';
        expected.update(page);
        expected.update(u64::MAX.to_be_bytes());
        assert_eq!(hash.finish()[..], expected.finalize()[..]);
    }

    #[test]
    fn zeros_come_in_pieces() {
        for len in [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE + 5] {
            assert_eq!(zeros_of(len).map(|piece| piece.len() as u64).sum::<u64>(), len);
        }
        assert!(is_zero(&[0; 300]) && is_zero(b""));
        for at in [0, 127, 128, 299] {
            let mut content = [0; 300];
            content[at] = 1;
            assert!(!is_zero(&content), "{at}");
        }
    }
}
