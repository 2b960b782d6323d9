//! The plate: the words by which two machines find each other in direct mode, and the key that they
//! stand for. It is no secret. Whoever recovers it from the key, as a relay can (there are 60 million),
//! gets what any stranger gets, which is one guess at the token with each connection.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;

use crate::error::Result;
use crate::token::Token;

/// Words in a plate.
pub const WORDS: usize = 2;

/// Two words of the list, or none where the place is known without them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plate(String);

impl Plate {
    /// New words, drawn apart from those of the token: to find the plate tells nothing of it.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generate() -> Result<Self> {
        Ok(Self(Token::generate(WORDS as u8)?.to_string()))
    }

    /// Reads it as a person types it, in the forms that [`Token::parse`] forgives.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::error::Exit::Usage) when a word is not in the list.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Self(Token::parse(text)?.to_string()))
    }

    /// Where an address is all that is needed to find the other side.
    pub fn none() -> Self {
        Self(String::new())
    }

    /// The secret part of the Ed25519 key that the sender has at the meeting point, 32 bytes:
    /// HKDF-SHA256 (RFC 5869) with the salt `transfer direct v1` and the info `plate`.
    pub fn seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        let hkdf = Hkdf::<Sha256>::new(Some(b"transfer direct v1"), self.0.as_bytes());
        // It refuses only lengths beyond 8,160 bytes.
        let _ = hkdf.expand(b"plate", &mut seed);
        seed
    }
}

impl fmt::Display for Plate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_stand_for_the_same_key() {
        let plate = Plate::parse("Maple River").unwrap();
        assert_eq!(plate.to_string(), "maple-river");
        // Computed with python's `hmac` from RFC 5869.
        let expected = "2be20fc9576ef014629af41bcb6c153c07d7adb398fb461a10a86f3dd197db94";
        let hex =
            |seed: [u8; 32]| seed.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(plate.seed()), expected);
        assert_ne!(plate.seed(), Plate::parse("river-maple").unwrap().seed());
        assert_ne!(plate.seed(), Plate::none().seed());
    }

    #[test]
    fn a_new_one_has_two_words() {
        let plate = Plate::generate().unwrap();
        assert_eq!(plate.to_string().split('-').count(), WORDS);
        assert_ne!(plate, Plate::generate().unwrap());
    }
}
