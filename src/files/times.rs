//! Times of last change as they travel: nanoseconds since 1970.

use std::fs::Metadata;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When the file last changed; 0 where the system does not tell.
pub fn mtime(metadata: &Metadata) -> i64 {
    metadata.modified().map_or(0, nanoseconds)
}

/// Nanoseconds since 1970; a time that 64 bits do not hold becomes the nearest that they do.
pub fn nanoseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    }
}

/// The reverse of [`nanoseconds`].
pub fn system_time(nanoseconds: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanoseconds.unsigned_abs());
    let time = if nanoseconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_and_after_1970_survive() {
        // Windows counts in these.
        let unit = if cfg!(windows) { 100 } else { 1 };
        for time in [0, 1, -1, 17_000_000_001_234_567, -15_000_000_000_000_001] {
            let time = time * unit;
            assert_eq!(nanoseconds(system_time(time)), time);
        }
    }
}
