//! Names in the place of those that a system or a disk cannot hold, and names cut to fit.

use std::borrow::Cow;

/// A name that Windows can hold in the place of one that it cannot; nothing when it can.
///
/// Forbidden characters and what is no text become `_`, as do dots and spaces at the end; a device's
/// name gets a `_` in front.
pub fn windows_name(name: &[u8]) -> Option<String> {
    const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];
    let text = as_text(name);
    let kept = text.trim_end_matches(['.', ' ']).len();
    let mut mapped: String = text
        .char_indices()
        .map(|(at, c)| match c {
            '<' | '>' | ':' | '"' | '|' | '?' | '*' | '\\' => '_',
            _ if at >= kept => '_',
            c => c,
        })
        .collect();
    let stem = mapped.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let numbered = stem.strip_prefix("com").or(stem.strip_prefix("lpt"));
    let numbered = numbered.is_some_and(|number| {
        matches!(
            number,
            "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³"
        )
    });
    if numbered || DEVICES.contains(&&*stem) {
        mapped.insert(0, '_');
    }
    (mapped.as_bytes() != name).then_some(mapped)
}

/// A name for a file of this program's own, as this system holds it.
pub fn held_here(name: &str) -> Cow<'_, str> {
    let held = cfg!(windows).then(|| windows_name(name.as_bytes())).flatten();
    held.map_or(Cow::Borrowed(name), Cow::Owned)
}

/// Whether Windows takes each name between the slashes of a path for that very name.
pub fn windows_holds(path: &[u8]) -> bool {
    let mut names = path.split(|byte| *byte == b'/');
    names.all(|name| matches!(name, b"." | b"..") || windows_name(name).is_none())
}

/// A name as text without control characters: each of these, and whatever is not UTF-8, becomes `_`.
pub fn as_text(name: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(name) {
        Ok(text) if !text.contains(char::is_control) => Cow::Borrowed(text),
        _ => {
            let mut text = String::with_capacity(name.len());
            for chunk in name.utf8_chunks() {
                text.push_str(&chunk.valid().replace(char::is_control, "_"));
                text.extend(chunk.invalid().iter().map(|_| '_'));
            }
            Cow::Owned(text)
        }
    }
}

/// Bytes without the difference between capitals, where they are text: up and down again, for `ſ`
/// is an `s`.
pub fn folded(bytes: &[u8]) -> Vec<u8> {
    let mut folded = Vec::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        let chars = chunk.valid().chars().flat_map(char::to_uppercase);
        let text: String = chars.flat_map(char::to_lowercase).collect();
        folded.extend_from_slice(text.as_bytes());
        folded.extend_from_slice(chunk.invalid());
    }
    folded
}

/// The first bytes of a name, at most so many, and no part of a character.
pub fn cut(name: &[u8], most: usize) -> &[u8] {
    let Some(rest) = name.get(most..) else { return name };
    let is_middle = |byte: &&u8| matches!(byte, 0x80..=0xbf);
    // A character has at most three bytes behind its first; more of them are none.
    let back = match rest.first().filter(is_middle) {
        Some(_) => {
            let kept = name.get(..most).unwrap_or_default().iter().rev();
            1 + kept.take(3).take_while(is_middle).count()
        }
        None => 0,
    };
    name.get(..most.saturating_sub(back)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_windows_cannot_hold_are_mapped() {
        let cases: [(&[u8], _); 16] = [
            (b"plain.txt", None),
            (b"a:b", Some("a_b")),
            (b"back\\slash", Some("back_slash")),
            (b"what?*", Some("what__")),
            (b"dots..", Some("dots__")),
            (b"space ", Some("space_")),
            (b"NUL", Some("_NUL")),
            (b"nul.txt", Some("_nul.txt")),
            (b"com1", Some("_com1")),
            (b"command", None),
            (b"com10", None),
            (b"null", None),
            (b"Icon\r", Some("Icon_")),
            (b"tab\there\xff", Some("tab_here_")),
            (b"caf\xe9.txt", Some("caf_.txt")),
            ("gr\u{fc}\u{df}e".as_bytes(), None),
        ];
        for (name, expected) in cases {
            assert_eq!(windows_name(name).as_deref(), expected, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn names_become_text_byte_by_byte() {
        let cases: [(&[u8], &str); 5] = [
            (b"plain", "plain"),
            ("\u{e9}\n\u{9b}".as_bytes(), "\u{e9}__"),
            (b"\xe9\xe8", "__"),
            (b"\xed\xa0\x80", "___"),
            (b"a\xf0\x9f", "a__"),
        ];
        for (name, expected) in cases {
            assert_eq!(as_text(name), expected);
        }
    }

    #[test]
    fn names_are_cut_between_characters() {
        let cases: [(&[u8], usize, &[u8]); 8] = [
            (b"abc", 5, b"abc"),
            (b"abc", 3, b"abc"),
            (b"abc", 2, b"ab"),
            ("\u{e9}\u{e9}".as_bytes(), 3, "\u{e9}".as_bytes()),
            ("\u{1f680}x".as_bytes(), 4, "\u{1f680}".as_bytes()),
            ("\u{1f680}x".as_bytes(), 3, b""),
            (b"abc\xff", 3, b"abc"),
            // Not far back, whatever it is.
            (&[0x80; 9], 8, &[0x80; 4]),
        ];
        for (name, most, expected) in cases {
            assert_eq!(cut(name, most), expected, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn capitals_fold_around_what_is_no_text() {
        assert_eq!(folded(b"A\xffSTRA\xc3\x9fE"), folded(b"a\xffstrasse"));
        assert_eq!(folded("\u{17f}".as_bytes()), b"s");
        assert_ne!(folded(b"\xe9"), folded(b"\xc9"));
    }
}
