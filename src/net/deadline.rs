//! Moments by which something has to be done, for calls that know limits alone.

use std::io;
use std::time::{Duration, Instant};

/// What is left until then.
///
/// # Errors
/// `TimedOut` if nothing is: no limit at all is what the system takes zero for.
pub fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// What came of giving a socket a limit. macOS says of a connection that was reset that no limit is valid: it does not
/// wait any more, and what is read from it tells more.
pub fn limited(set: io::Result<()>) -> io::Result<()> {
    limited_on(set, cfg!(target_vendor = "apple"))
}

fn limited_on(set: io::Result<()>, is_apple: bool) -> io::Result<()> {
    match set {
        Err(error) if is_apple && error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        set => set,
    }
}

/// What Unix says of a limit that is over is that of a socket that never waits.
pub fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_connection_of_a_mac_takes_no_limit() {
        use io::ErrorKind::{InvalidInput, NotConnected};
        for (kind, is_apple, is_borne) in
            [(InvalidInput, true, true), (InvalidInput, false, false), (NotConnected, true, false)]
        {
            assert_eq!(limited_on(Err(kind.into()), is_apple).is_ok(), is_borne, "{kind}");
        }
    }
}
