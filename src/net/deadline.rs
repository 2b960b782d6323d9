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

/// What Unix says of a limit that is over is that of a socket that never waits.
pub fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}
