//! How a path stands in the lock file, which is text: as it is, or, where it is no text, as a slash
//! and the hexadecimal digits of its bytes. No path begins with a slash.

use std::borrow::Cow;
use std::fmt::Write;

use crate::files::path::RelPath;

/// The text for a path.
pub fn of(path: &RelPath) -> Cow<'_, str> {
    let bytes = path.as_bytes();
    match str::from_utf8(bytes) {
        Ok(text) if path.is_text() => text.into(),
        _ => bytes
            .iter()
            .fold("/".to_owned(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
            .into(),
    }
}

/// The path of a text, if it is one that [`of`] makes.
pub fn path_of(text: &str) -> Option<RelPath> {
    let Some(digits) = text.strip_prefix('/') else { return RelPath::parse(text).ok() };
    let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    let bytes = digits.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>()?;
    RelPath::from_bytes(&bytes).ok().filter(|path| !path.is_text())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_stand_as_they_are_or_in_digits() {
        let cases: [(&[u8], &str); 4] = [
            (b"d/a b", "d/a b"),
            ("gr\u{fc}\u{df}e".as_bytes(), "gr\u{fc}\u{df}e"),
            (b"d/caf\xe9", "/642f636166e9"),
            (b"Icon\r", "/49636f6e0d"),
        ];
        for (path, text) in cases {
            let path = RelPath::from_bytes(path).unwrap();
            assert_eq!(of(&path), text);
            assert_eq!(path_of(text), Some(path));
        }
        // Absolute, not hexadecimal, half a byte, text that needs no digits, out of the folder.
        for text in ["/a/b", "/zz", "/fff", "/61", "/", "", "../x", "/2e2e2fff", "/ff00", "/\u{e9}"]
        {
            assert_eq!(path_of(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_path_comes_back(bytes in prop::collection::vec(any::<u8>(), 1..40)) {
            if let Ok(path) = RelPath::from_bytes(&bytes) {
                let back = path_of(&of(&path));
                prop_assert_eq!(back, Some(path));
            }
        }
    }
}
