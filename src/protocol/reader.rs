//! Taking bytes of the other side, one checked step at a time.

use crate::error::Error;

/// A message that no honest peer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other side broke the protocol: {0}")]
pub struct Malformed(pub &'static str);

impl From<Malformed> for Error {
    fn from(error: Malformed) -> Self {
        Error::failure(error.to_string()).hint(
            "compare `transfer --version` on both machines, install the newer one on both, and try \
             again; if they are the same, please report it",
        )
    }
}

/// Result of reading something the other side wrote.
pub type Read<T> = Result<T, Malformed>;

/// A cursor that never leaves its bytes. Integers are big-endian.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the first byte on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Read<&'a [u8]> {
        let (taken, rest) =
            self.0.split_at_checked(len).ok_or(Malformed("a message is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed("a message is cut off"))?;
        self.0 = rest;
        Ok(*taken)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Read<u8> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> Read<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> Read<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> Read<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// The next eight bytes, signed.
    pub fn i64(&mut self) -> Read<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A two-byte length and so many bytes.
    pub fn counted(&mut self) -> Read<&'a [u8]> {
        let len = self.u16()?;
        self.bytes(len.into())
    }

    /// The same, of UTF-8.
    pub fn text(&mut self) -> Read<&'a str> {
        std::str::from_utf8(self.counted()?).map_err(|_| Malformed("a text is not UTF-8"))
    }

    /// Bytes that have not been taken.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether every byte has been taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes not taken yet.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_big_endian() {
        let bytes: Vec<u8> = (1..=23).chain([0xff; 8]).collect();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(0x0203));
        assert_eq!(reader.u32(), Ok(0x0405_0607));
        assert_eq!(reader.u64(), Ok(0x0809_0a0b_0c0d_0e0f));
        assert_eq!(reader.array(), Ok([0x10, 0x11]));
        assert_eq!(reader.bytes(6), Ok(&[0x12, 0x13, 0x14, 0x15, 0x16, 0x17][..]));
        assert_eq!(reader.i64(), Ok(-1));
        assert!(reader.is_empty());
        assert_eq!(reader.rest(), b"");
    }

    #[test]
    fn nothing_is_read_past_the_end() {
        const CUT: Malformed = Malformed("a message is cut off");
        let reader = Reader::new(&[0, 5, b'a']);
        assert_eq!({ reader }.u32(), Err(CUT));
        assert_eq!({ reader }.u64(), Err(CUT));
        assert_eq!({ reader }.i64(), Err(CUT));
        assert_eq!({ reader }.bytes(4), Err(CUT));
        assert_eq!({ reader }.bytes(usize::MAX), Err(CUT));
        assert_eq!({ reader }.array::<4>(), Err(CUT));
        assert_eq!({ reader }.text(), Err(CUT));
        // What fails takes nothing.
        let mut reader = reader;
        assert_eq!(reader.u64(), Err(CUT));
        assert_eq!(reader.rest(), [0, 5, b'a']);
        assert_eq!(Reader::new(b"").u8(), Err(CUT));
        assert_eq!(Reader::new(b"").bytes(0), Ok(&b""[..]));
    }

    #[test]
    fn texts_are_utf8() {
        let cases: [(&[u8], Read<&str>); 5] = [
            (b"\0\0", Ok("")),
            (b"\0\x02\xc3\xa9", Ok("é")),
            (b"\0\x01\xc3\xa9", Err(Malformed("a text is not UTF-8"))),
            (b"\0\x02\xc0\x80", Err(Malformed("a text is not UTF-8"))),
            (b"\0\x03\xed\xa0\x80", Err(Malformed("a text is not UTF-8"))),
        ];
        for (bytes, expected) in cases {
            assert_eq!(Reader::new(bytes).text(), expected, "{bytes:x?}");
        }
    }
}
