//! The one error of the program: a sentence that names the thing, what to do next, and the
//! exit code it ends with. Everything below `main` returns it, so no layer can lose either.

use std::{fmt, io};

/// Every text of others in a message goes through it.
pub use crate::shown::{shown, shown_bytes, shown_claim, shown_os};

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
    /// A peer that may not connect, or that cannot be trusted.
    Refused,
    /// The other side has another token.
    WrongToken,
    /// No connection, or a lost one; it may pass.
    Network,
    /// The machine is there, and nothing listens at the port.
    NothingListens,
    /// Whatever is in between cannot get there.
    Unreachable,
    /// A program that is needed is not on this machine.
    NotInstalled,
    /// Nobody has that name.
    UnknownName,
    /// The port that this side would listen on is in use.
    PortTaken,
    /// The other side was stopped, and can go on with the same ticket.
    PeerStopped,
    /// The other side was stopped, and its ticket is void with it.
    PeerLeft,
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
            Self::Failure | Self::PeerLeft | Self::PeerCannot => Exit::Failure,
            Self::Usage => Exit::Usage,
            Self::Refused | Self::WrongToken => Exit::Refused,
            Self::Network
            | Self::NothingListens
            | Self::Unreachable
            | Self::NotInstalled
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
    let windows_says = error.raw_os_error().filter(|_| cfg!(windows)).and_then(in_words_of_windows);
    if let Some(words) = windows_says {
        return words.into();
    }
    let told = error.raw_os_error().is_some().then(|| in_words(error.kind())).flatten();
    // Two errors of Unix are of this kind, which every C library tells apart in the same words.
    let words = told.filter(|_| cfg!(windows) || error.kind() != io::ErrorKind::PermissionDenied);
    words.map_or_else(|| sentence(&error.to_string()), str::to_owned)
}

/// What Linux says with glibc: others have other words (musl, macOS), and Windows those of its user's language.
fn in_words(kind: io::ErrorKind) -> Option<&'static str> {
    use io::ErrorKind::*;
    Some(match kind {
        NotFound => "no such file or directory",
        InvalidFilename if cfg!(windows) => "invalid file name",
        InvalidFilename => "file name too long",
        PermissionDenied => "permission denied",
        AlreadyExists => "file exists",
        NotADirectory => "not a directory",
        IsADirectory => "is a directory",
        DirectoryNotEmpty => "directory not empty",
        ReadOnlyFilesystem => "read-only file system",
        StorageFull => "no space left on device",
        QuotaExceeded => "disk quota exceeded",
        FileTooLarge => "file too large",
        AddrInUse => "address already in use",
        AddrNotAvailable => "cannot assign requested address",
        BrokenPipe => "broken pipe",
        ConnectionAborted => "connection aborted",
        ConnectionRefused => "connection refused",
        ConnectionReset => "connection reset by peer",
        HostUnreachable => "no route to host",
        NetworkUnreachable => "network is unreachable",
        TimedOut => "connection timed out",
        _ => return None,
    })
}

/// What Windows alone has an error for (Win32 error codes, winerror.h).
fn in_words_of_windows(code: i32) -> Option<&'static str> {
    Some(match code {
        // ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION
        32 | 33 => "another program has it open",
        // ERROR_PRIVILEGE_NOT_HELD: of all that is done here only making a link asks for one.
        1314 => "Windows lets only administrators make links, unless its Developer Mode is on",
        _ => return None,
    })
}

/// A system's sentence as a part of ours: no capital, no number, no full stop.
fn sentence(text: &str) -> String {
    let text = match text.split_once(" (os error") {
        // As Windows ends its sentences.
        Some((systems, _)) => systems.strip_suffix('.').unwrap_or(systems),
        None => text,
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_words() {
        let missing = std::fs::File::open("does/not/exist").unwrap_err();
        assert_eq!(reason(&missing), "no such file or directory");
        assert_eq!(reason(&io::Error::other("Peer left")), "peer left");
        // The words for Windows are those of Unix.
        for kind in [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory] {
            let error = match kind {
                io::ErrorKind::NotFound => std::fs::File::open("does/not/exist"),
                _ => std::fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml/x")),
            };
            let error = error.unwrap_err();
            assert_eq!(in_words(error.kind()), Some(&*reason(&error)));
        }
        assert_eq!(in_words(io::ErrorKind::Other), None);
        // And the same with every C library: musl says "Network unreachable", "Address in use", "Filename too long".
        #[cfg(target_os = "linux")]
        for (number, words) in [
            (1, "operation not permitted"),
            (13, "permission denied"),
            (36, "file name too long"),
            (98, "address already in use"),
            (99, "cannot assign requested address"),
            (101, "network is unreachable"),
            (110, "connection timed out"),
            (113, "no route to host"),
        ] {
            assert_eq!(reason(&io::Error::from_raw_os_error(number)), words, "{number}");
        }
        assert_eq!(in_words_of_windows(32), Some("another program has it open"));
        assert_eq!(in_words_of_windows(5), None, "it is permission denied, as everywhere");
        // As Windows says it.
        let denied = "Access is denied. (os error 5)";
        assert_eq!(sentence(denied), "access is denied");
        assert_eq!(sentence("It has left."), "it has left.");
        assert_eq!(sentence(""), "unknown error");
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
}
