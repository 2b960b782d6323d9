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

/// Bytes that are left for what stands behind a name that is taken.
const NUMBER: usize = 8;

/// A name, and then the same with what stands `behind` it for each number from 2 on, cut so that a name can be that long.
pub fn numbered(name: &str, behind: impl Fn(u32) -> String) -> impl Iterator<Item = String> {
    let mut short = name.to_owned();
    while short.len() + NUMBER > MAX_NAME {
        short.pop();
    }
    let short = short.trim_end().to_owned();
    let more = (2..).map(move |number| format!("{short}{}", behind(number)));
    std::iter::once(name.to_owned()).chain(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_taken_gets_a_number_and_stays_one() {
        let long = "x".repeat(MAX_NAME);
        let cut = "x".repeat(56);
        for (name, expected) in [
            ("attic", ["attic", "attic-2", "attic-3"].map(str::to_owned)),
            (&long, [long.clone(), format!("{cut}-2"), format!("{cut}-3")]),
            // Never within a letter, and no space before the number.
            (
                &format!("{} 日{}", "x".repeat(54), "y".repeat(5)),
                [
                    format!("{} 日{}", "x".repeat(54), "y".repeat(5)),
                    format!("{}-2", "x".repeat(54)),
                    format!("{}-3", "x".repeat(54)),
                ],
            ),
        ] {
            let names: Vec<String> =
                numbered(name, |number| format!("-{number}")).take(3).collect();
            assert_eq!(names, expected);
        }
        let last = numbered(&long, |number| format!(" ({number})")).nth(998).unwrap();
        assert_eq!(last, format!("{cut} (999)"));
        assert!(is_name(&last));
    }

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
