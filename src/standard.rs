//! Standard input and output, which may have been closed before the program began (`<&-`, `>&-`). Rust then puts
//! `/dev/null` in their place: what is read there looks like an empty file, and what is written is gone.

use std::io::{self, Stdin, Stdout, Write};

use crate::error::{Error, Result};

/// Standard input, to be sent.
///
/// # Errors
/// It was closed.
pub fn input() -> Result<Stdin> {
    let stdin = io::stdin();
    if is_closed(&stdin) {
        return Err(Error::usage("standard input is closed: nothing can come in")
            .hint("`transfer send - <FILE` sends a file's content, `command | transfer send -` what a command prints"));
    }
    Ok(stdin)
}

/// Standard output for what must not be lost; each write fails if it was closed. For the rest it does not matter: a
/// program may have meant `/dev/null`.
#[derive(Debug)]
pub struct Out {
    stdout: Stdout,
    is_closed: bool,
}

impl Out {
    /// As it is now.
    #[expect(clippy::new_without_default, reason = "it is no value of its own")]
    pub fn new() -> Self {
        let stdout = io::stdout();
        let is_closed = is_closed(&stdout);
        Self { stdout, is_closed }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_closed {
            return Err(io::Error::other("standard output is closed"));
        }
        self.stdout.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }
}

/// Whether this is Rust's `/dev/null`. Who means to read or write nothing opens it for that alone.
#[cfg(unix)]
fn is_closed(stream: impl std::os::fd::AsFd) -> bool {
    use rustix::fs::{OFlags, fcntl_getfl, fstat, stat};
    let (Ok(found), Ok(null)) = (fstat(&stream), stat("/dev/null")) else { return false };
    (found.st_dev, found.st_ino) == (null.st_dev, null.st_ino)
        && fcntl_getfl(&stream).is_ok_and(|flags| flags.contains(OFlags::RDWR))
}

/// Not known here.
#[cfg(not(unix))]
fn is_closed<T>(_: T) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn what_was_closed_is_not_what_is_meant_to_be_nothing() {
        let null = |read, write| File::options().read(read).write(write).open("/dev/null").unwrap();
        assert!(is_closed(null(true, true)));
        assert!(!is_closed(null(true, false)) && !is_closed(null(false, true)));
        assert!(!is_closed(tempfile::tempfile().unwrap()));
    }
}
