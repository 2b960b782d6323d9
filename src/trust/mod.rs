//! Whom this device knows, and how it shows who it is: keys, certificates, and the one rule that
//! decides. What cannot be read or understood is nobody's permission: everything here fails closed.
//!
//! A device is its public key. Names and addresses are labels.

pub mod armor;
pub mod authority;
pub mod certificate;
pub mod credentials;
pub mod device;
pub mod exchange;
pub mod folder;
pub mod pem;
pub mod refusal;
#[cfg(test)]
pub mod samples;
pub mod store;
pub mod verifier;

use crate::error::{Error, Result, shown};

/// Bytes of a device's name; as many may stand in a certificate.
pub const MAX_NAME: usize = 64;

/// Whether a text can be the name of a device: it is typed, and becomes the name of a folder.
pub fn is_name(name: &str) -> bool {
    let is_plain = shown(name) == name && name.trim() == name;
    let is_short = (1..=MAX_NAME).contains(&name.len());
    is_plain && is_short && !name.starts_with(['-', '.']) && !name.contains(['/', '\\', ':', '"'])
}

/// Checks the name that somebody typed.
///
/// # Errors
/// [`Exit::Usage`](crate::error::Exit::Usage) with what a name may be.
pub fn check_name(name: &str) -> Result<()> {
    if is_name(name) {
        return Ok(());
    }
    Err(Error::usage(format!("\"{}\" is no name for a device", shown(name))).hint(format!(
        "a name has up to {MAX_NAME} bytes, no slash, colon or quote, and begins with a letter or digit"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices() {
        for name in ["attic", "Béatrice's laptop", "日本", "a", &"x".repeat(64)] {
            assert!(is_name(name), "{name}");
        }
        let long = "x".repeat(65);
        for name in
            ["", " ", " a", "-a", ".", "..", "a/b", "a\\b", "a:b", "a\nb", "a\u{202e}b", &long]
        {
            assert!(!is_name(name), "{name}");
            check_name(name).unwrap_err();
        }
    }
}
