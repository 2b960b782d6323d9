//! In which order the items of one file's content may come: bytes that end at each block, a state
//! behind each whole one, nothing behind the end.

use super::reader::{Malformed, Read};

/// How far the content of one file, or of a range of its blocks, has come.
#[derive(Debug, Clone, Copy)]
pub struct Course {
    /// Bytes of a block, where states are sent.
    block: Option<u64>,
    at: u64,
    end: u64,
    /// Whether a whole block has ended, and its state has not come yet.
    owes: bool,
}

const NO_STATE: Malformed = Malformed("a state is missing");

impl Course {
    /// From `offset` to `end`, with states behind blocks of so many bytes, or without.
    pub fn new(block: Option<u64>, offset: u64, end: u64) -> Self {
        Self { block, at: offset, end, owes: false }
    }

    /// Bytes from the beginning of the file.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// So many bytes came, or a hole of as many.
    pub fn bytes(&mut self, len: u64) -> Read<()> {
        let next = self.at.saturating_add(len);
        if next > self.end {
            return Err(Malformed("a file is longer than was offered"));
        }
        if let Some(block) = self.block.filter(|_| len > 0) {
            if self.owes {
                return Err(NO_STATE);
            }
            let left = block - self.at % block;
            if len > left {
                return Err(Malformed("bytes go over the end of a block"));
            }
            self.owes = len == left;
        }
        self.at = next;
        Ok(())
    }

    /// A state came. Returns how many whole blocks lie before it.
    pub fn state(&mut self) -> Read<u32> {
        let blocks = self.block.filter(|_| self.owes).map(|block| self.at / block);
        let blocks = blocks.and_then(|blocks| u32::try_from(blocks).ok());
        self.owes = false;
        blocks.ok_or(Malformed("a state came out of place"))
    }

    /// It ended, after so many bytes of the file.
    pub fn end(&self, at: u64) -> Read<()> {
        if at != self.at || at != self.end {
            return Err(Malformed("a file is not as long as was offered"));
        }
        if self.owes { Err(NO_STATE) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGER: Read<()> = Err(Malformed("a file is longer than was offered"));
    const OVER: Read<()> = Err(Malformed("bytes go over the end of a block"));
    const MISSING: Read<()> = Err(NO_STATE);
    const PLACE: Read<()> = Err(Malformed("a state came out of place"));
    const SHORT: Read<()> = Err(Malformed("a file is not as long as was offered"));

    enum Step {
        Bytes(u64),
        State,
        End(u64),
    }
    use Step::{Bytes, End, State};

    #[test]
    fn states_come_behind_whole_blocks_and_nowhere_else() {
        type Row<'a> = (u64, u64, &'a [(Step, Read<()>)]);
        let rows: &[Row<'_>] = &[
            (0, 0, &[(State, PLACE), (End(0), Ok(()))]),
            (0, 63, &[(Bytes(63), Ok(())), (State, PLACE), (End(63), Ok(()))]),
            (0, 64, &[(Bytes(64), Ok(())), (End(64), MISSING), (State, Ok(())), (End(64), Ok(()))]),
            (
                0,
                64,
                &[
                    (Bytes(60), Ok(())),
                    (Bytes(5), LONGER),
                    (Bytes(4), Ok(())),
                    (Bytes(0), Ok(())),
                    (State, Ok(())),
                ],
            ),
            (
                0,
                99,
                &[
                    (Bytes(65), OVER),
                    (Bytes(64), Ok(())),
                    (Bytes(1), MISSING),
                    (State, Ok(())),
                    (State, PLACE),
                    (Bytes(35), Ok(())),
                    (End(99), Ok(())),
                ],
            ),
            (64, 99, &[(State, PLACE), (Bytes(35), Ok(())), (End(64), SHORT), (End(99), Ok(()))]),
            (
                70,
                256,
                &[(Bytes(59), OVER), (Bytes(58), Ok(())), (State, Ok(())), (End(128), SHORT)],
            ),
            (128, 128, &[(State, PLACE), (Bytes(1), LONGER), (End(128), Ok(()))]),
        ];
        for (offset, end, steps) in rows {
            let mut course = Course::new(Some(64), *offset, *end);
            for (number, (step, expected)) in steps.iter().enumerate() {
                // What is refused ends a session: nothing is gone on with.
                let mut tried = course;
                let found = match step {
                    Bytes(len) => tried.bytes(*len),
                    State => tried.state().map(|_| ()),
                    End(at) => tried.end(*at),
                };
                assert_eq!(found, *expected, "{offset}..{end}, step {number}");
                if found.is_ok() {
                    course = tried;
                }
            }
        }
    }

    #[test]
    fn without_blocks_there_are_no_states() {
        let mut course = Course::new(None, 0, 1000);
        assert_eq!(course.bytes(1000), Ok(()));
        assert!(course.state().is_err());
        assert_eq!(course.end(1000), Ok(()));
    }
}
