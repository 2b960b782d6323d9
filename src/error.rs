//! The one error of the program: a sentence that names the thing, what to do next, and the
//! exit code it ends with. Everything below `main` returns it, so no layer can lose either.

use std::borrow::Cow;
use std::{fmt, io};

/// How the process ends. The numbers are a promise to scripts (README, "Exit codes").
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

/// A failure as the user reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The process's exit code.
    pub exit: Exit,
    /// One lower-case sentence without a full stop.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// What the system said, where that decides what happens next.
    pub cause: Option<io::ErrorKind>,
    /// It quotes what may be a part of a token: for the screen, not for a log.
    pub secret: bool,
    /// Whoever reads it has chosen so: it is said, but not called an error.
    pub chosen: bool,
}

/// What nearly every function here returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that ends the process with `exit`.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hint: None,
            cause: None,
            secret: false,
            chosen: false,
        }
    }

    /// The same, for [`Exit::Failure`].
    pub fn failure(message: impl Into<String>) -> Self {
        Self::new(Exit::Failure, message)
    }

    /// The same, for [`Exit::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The same, for [`Exit::Refused`].
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message)
    }

    /// The same, for [`Exit::Network`].
    pub fn network(message: impl Into<String>) -> Self {
        Self::new(Exit::Network, message)
    }

    /// A thread that the system would not start.
    pub fn no_thread(error: &io::Error) -> Self {
        Self::failure(format!("cannot start a thread: {}", reason(error)))
            .hint("end other programs, or raise the limit on processes, and try again")
    }

    /// Adds what the system said.
    pub fn cause(mut self, cause: io::ErrorKind) -> Self {
        self.cause = Some(cause);
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

/// Text of the other side or of the disk, made safe to show: control characters, marks that turn
/// the direction of writing and invisible ones appear as escapes.
pub fn shown(text: &str) -> Cow<'_, str> {
    fn unsafe_to_show(c: char) -> bool {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
    }
    if !text.contains(unsafe_to_show) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if unsafe_to_show(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
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
}
