//! Text of others, made safe to show: what keeps a name on the disk or a word of the other side from
//! steering a terminal, or from looking like something that it is not.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write;
use std::path::Path;

use unicode_general_category::{GeneralCategory, get_general_category};

use crate::bounds::MAX_CLAIM;

/// Marks on one letter that are shown. Vietnamese, Hebrew and Tibetan need no more; what has more
/// runs over the lines above and below.
const MOST_MARKS: usize = 4;

/// Text of the other side or of the disk, made safe to show. As escapes appear control characters,
/// marks that turn the direction of writing, whatever cannot be seen or looks like a space and is
/// none, what each font shows as it likes, and marks that pile up or have nothing to stand on.
/// Letters of all scripts stay as they are. A joiner within an emoji, or in a word of Persian or
/// Hindi, is escaped as well: between other letters nobody would see it.
pub fn shown(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    // Marks since the last letter; full where there is no letter to stand on.
    let mut marks = MOST_MARKS;
    for c in text.chars() {
        let visible = match get_general_category(c) {
            _ if is_unseen(c) => false,
            GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark => {
                marks += 1;
                marks <= MOST_MARKS
            }
            GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::PrivateUse
            | GeneralCategory::Surrogate
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator => false,
            // The wide space of Chinese and Japanese is like no other character.
            GeneralCategory::SpaceSeparator => matches!(c, ' ' | '\u{3000}'),
            _ => {
                marks = 0;
                true
            }
        };
        if visible {
            safe.push(c);
        } else {
            safe.extend(c.escape_unicode());
            marks = MOST_MARKS;
        }
    }
    Cow::Owned(safe)
}

/// The same for what somebody says whom nobody has verified: it fills no screen and no log.
pub fn shown_claim(text: &str) -> String {
    match text.char_indices().nth(MAX_CLAIM) {
        Some((end, _)) => format!("{}…", shown(text.get(..end).unwrap_or_default())),
        None => shown(text).into_owned(),
    }
}

/// The same for what may be no text: each byte that is not UTF-8 appears as `\xe9`.
pub fn shown_bytes(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(bytes) {
        return shown(text);
    }
    let mut safe = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        safe.push_str(&shown(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(safe, "\\x{byte:02x}");
        }
    }
    Cow::Owned(safe)
}

/// The same for a path or a name of this system.
pub fn shown_os(path: &(impl AsRef<OsStr> + ?Sized)) -> Cow<'_, str> {
    // On Unix these are the bytes of the path; elsewhere what is no text is half a surrogate pair.
    shown_bytes(path.as_ref().as_encoded_bytes())
}

/// A path as the shells of this system read it.
pub fn quoted(path: &Path) -> String {
    in_quotes(&shown_os(path), cfg!(windows))
}

fn in_quotes(path: &str, is_windows: bool) -> String {
    let plain = if is_windows { r"/._-\:~" } else { "/._-" };
    match path.chars().all(|c| c.is_alphanumeric() || plain.contains(c)) {
        true => path.into(),
        // No name there has one.
        false if is_windows => format!("\"{path}\""),
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}

/// What takes no room or leaves it blank, though its category tells nothing of that: the property
/// Default_Ignorable_Code_Point (DerivedCoreProperties.txt of Unicode 17.0) as far as it is no
/// format character, and the blanks among the symbols (U+2800, U+1D159) and marks (U+16FE4).
fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{34f}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{2065}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fff8}'
        | '\u{16fe4}'
        | '\u{1d159}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_quotes() {
        for (path, unix, windows) in [
            ("/a/b-c_d.e", "/a/b-c_d.e", "/a/b-c_d.e"),
            ("/a b", "'/a b'", "\"/a b\""),
            ("/O'Brien", r"'/O'\''Brien'", "\"/O'Brien\""),
            (r"C:\x\y~1", r"'C:\x\y~1'", r"C:\x\y~1"),
            ("/$HOME", "'/$HOME'", "\"/$HOME\""),
        ] {
            assert_eq!((&*in_quotes(path, false), &*in_quotes(path, true)), (unix, windows));
        }
    }

    #[test]
    fn what_is_shown_cannot_steer_a_terminal() {
        let cases = [
            ("plain ünïcode 日本", "plain ünïcode 日本"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("cod\u{202e}gpj.exe", "cod\\u{202e}gpj.exe"),
            ("line\r\nbreak", "line\\u{d}\\u{a}break"),
            ("\u{9b}31m", "\\u{9b}31m"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn what_is_no_text_is_shown_byte_by_byte() {
        let cases: [(&[u8], &str); 6] = [
            ("plain \u{fc}n\u{ef}code".as_bytes(), "plain \u{fc}n\u{ef}code"),
            (b"latin-\xe9", "latin-\\xe9"),
            (b"\xff\x1b[2J\xfe\n", "\\xff\\u{1b}[2J\\xfe\\u{a}"),
            // C1 as one byte, and as the two of UTF-8.
            (b"\x9b31m\xc2\x9b", "\\x9b31m\\u{9b}"),
            (b"cut \xe6\x97", "cut \\xe6\\x97"),
            // A mark has nothing to stand on behind what is no letter.
            (b"\xff\xcc\x81", "\\xff\\u{301}"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(shown_bytes(bytes), expected);
        }
    }

    #[test]
    fn what_cannot_be_seen_is_shown() {
        let unseen = [
            0xad..=0xad,
            0x34f..=0x34f,
            0x61c..=0x61c,
            0x115f..=0x1160,
            0x17b4..=0x17b5,
            0x180b..=0x180f,
            0x200b..=0x200f,
            0x2028..=0x202e,
            0x2060..=0x206f,
            0x2800..=0x2800,
            0x3164..=0x3164,
            0xe000..=0xe001,
            0xf8ff..=0xf8ff,
            0xfe00..=0xfe0f,
            0xfeff..=0xfeff,
            0xffa0..=0xffa0,
            0xfff0..=0xfffb,
            0x1bca0..=0x1bca3,
            0x1d173..=0x1d17a,
            0xe0000..=0xe0fff,
            0xf0000..=0xf0001,
            // Spaces that are no space.
            0xa0..=0xa0,
            0x1680..=0x1680,
            0x2000..=0x200a,
            0x202f..=0x202f,
            0x205f..=0x205f,
        ];
        for c in unseen.into_iter().flatten().filter_map(char::from_u32) {
            let escaped = c.escape_unicode().to_string();
            assert_eq!(shown(&format!("a{c}b")), format!("a{escaped}b"));
        }
    }

    #[test]
    fn letters_of_all_scripts_stay() {
        for text in [
            "Tài liệu tiếng Việt",
            // The same, taken apart.
            "tie\u{302}\u{301}ng Vie\u{323}\u{302}t",
            "مُسْتَنَد.pdf",
            "दस्तावेज़ की प्रति",
            "เอกสารที่ดี",
            "שָׁלוֹם",
            "བསྒྲུབས།",
            "文書\u{3000}写し.txt",
            "한국어",
            "🏖 🇻🇳 👍🏽",
            "a\u{301}\u{302}\u{303}\u{304}",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn marks_do_not_pile_up() {
        let many = "\u{301}".repeat(6);
        let cases = [
            (format!("a{many}b"), "a\u{301}\u{301}\u{301}\u{301}\\u{301}\\u{301}b"),
            // Nothing to stand on: they would change what stands before the name.
            ("\u{301}a".into(), "\\u{301}a"),
            ("a\u{200b}\u{301}".into(), "a\\u{200b}\\u{301}"),
            // Joined and in a colour: readable all the same.
            ("👩\u{200d}💻 ❤\u{fe0f}".into(), "👩\\u{200d}💻 ❤\\u{fe0f}"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(&text), expected);
        }
    }
}
