//! The one error of the program: a sentence that names the thing, what to do next, and the
//! exit code it ends with. Everything below `main` returns it, so no layer can lose either.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write;
use std::{fmt, io};

use unicode_general_category::{GeneralCategory, get_general_category};

/// How the process ends. The numbers are a promise to scripts (docs/guide.md, "Exit codes").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything arrived.
    Done = 0,
    /// A failure that has no code of its own.
    Failure = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Finished, but some files could not be read or written; they are listed.
    Partial = 3,
    /// A wrong token, or a peer that may not connect.
    Refused = 4,
    /// No connection, a lost one, or one that timed out.
    Network = 5,
    /// Hashes still differ after three attempts.
    Integrity = 6,
    /// The user, or `--on-conflict fail`, said no.
    Declined = 7,
    /// Stopped by a signal.
    Interrupted = 130,
}

/// What happened: the one thing that the program steers by. Exit codes are derived from it, and
/// nothing is derived from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A failure that nothing is decided by.
    Failure,
    /// The command line makes no sense.
    Usage,
    /// A wrong token, or a peer that may not connect.
    Refused,
    /// No connection, or a lost one; it may pass.
    Network,
    /// The machine is there, and nothing listens at the port.
    NothingListens,
    /// Whatever is in between cannot get there.
    Unreachable,
    /// Nobody has that name.
    UnknownName,
    /// The port that this side would listen on is in use.
    PortTaken,
    /// The other side was stopped, and can go on with the same ticket.
    PeerStopped,
    /// The other side cannot take it as things are; once that is mended there, the same ticket
    /// goes on.
    PeerCannot,
    /// Everything crossed, and the other side did not say that it knows.
    Unconfirmed,
    /// Somebody, or `--on-conflict fail`, said no.
    Declined,
    /// Stopped by a signal or a key.
    Interrupted,
}

impl Cause {
    /// The exit code of a process that ends with it.
    pub fn exit(self) -> Exit {
        match self {
            Self::Failure | Self::PeerCannot => Exit::Failure,
            Self::Usage => Exit::Usage,
            Self::Refused => Exit::Refused,
            Self::Network
            | Self::NothingListens
            | Self::Unreachable
            | Self::UnknownName
            | Self::PortTaken
            | Self::PeerStopped
            | Self::Unconfirmed => Exit::Network,
            Self::Declined => Exit::Declined,
            Self::Interrupted => Exit::Interrupted,
        }
    }
}

/// A failure as the user reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What happened.
    pub cause: Cause,
    /// One lower-case sentence without a full stop.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// It quotes what may be a part of a token: for the screen, not for a log.
    pub secret: bool,
    /// Whoever reads it has chosen so: it is said, but not called an error.
    pub chosen: bool,
}

/// What nearly every function here returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with this cause.
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into(), hint: None, secret: false, chosen: false }
    }

    /// The same, for [`Cause::Failure`].
    pub fn failure(message: impl Into<String>) -> Self {
        Self::new(Cause::Failure, message)
    }

    /// The same, for [`Cause::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Cause::Usage, message)
    }

    /// The same, for [`Cause::Refused`].
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Cause::Refused, message)
    }

    /// The same, for [`Cause::Network`].
    pub fn network(message: impl Into<String>) -> Self {
        Self::new(Cause::Network, message)
    }

    /// A thread that the system would not start.
    pub fn no_thread(error: &io::Error) -> Self {
        Self::failure(format!("cannot start a thread: {}", reason(error)))
            .hint("end other programs, or raise the limit on processes, and try again")
    }

    /// The process's exit code.
    pub fn exit(&self) -> Exit {
        self.cause.exit()
    }

    /// Says more exactly what happened.
    pub fn cause(mut self, cause: Cause) -> Self {
        self.cause = cause;
        self
    }

    /// Is the reader's own choice.
    pub fn chosen(mut self) -> Self {
        self.chosen = true;
        self
    }

    /// Keeps its words out of logs.
    pub fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Adds what the user can do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, unless something better is known.
    pub fn or_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// What the system says of a failed call, in words: `no such file or directory`, without the
/// `(os error 2)` that helps nobody.
pub fn reason(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "it ended too early".into();
    }
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => "unknown error".into(),
    }
}

/// A number of bytes as people read it: `999 B`, `1.5 MB`, `12.3 GB`; a kB is 1,000 bytes.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    // Tenths, in whole numbers: no rounding up to a thousand of a unit.
    let mut tenths = u128::from(count) / 100;
    let mut unit = 0;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

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
    fn reasons_are_words() {
        let missing = std::fs::File::open("does/not/exist").unwrap_err();
        assert_eq!(reason(&missing), "no such file or directory");
        assert_eq!(reason(&io::Error::other("Peer left")), "peer left");
    }

    #[test]
    fn bytes_read_well() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_999, "999.9 kB"),
            (1_500_000, "1.5 MB"),
            (12_345_678_901, "12.3 GB"),
            (u64::MAX, "18.4 EB"),
        ];
        for (count, expected) in cases {
            assert_eq!(bytes(count), expected);
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
