//! How many files and sockets may be open at a time: more than most systems allow to begin with.

/// What any command may come to need; macOS allows no program more (`OPEN_MAX`), and 256 to begin with.
pub const USUAL: u64 = 10_240;

/// Allows so many, or as many as can be had.
#[cfg(unix)]
pub fn allow(wanted: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let now = getrlimit(Resource::Nofile);
    if now.current.is_some_and(|current| current < wanted) {
        let current = Some(now.maximum.map_or(wanted, |most| wanted.min(most)));
        // Where it is refused, what is allowed already has to do.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum: now.maximum });
    }
}

/// Not a question here.
#[cfg(not(unix))]
pub fn allow(_: u64) {}

#[cfg(all(test, unix))]
mod tests {
    use rustix::process::{Resource, getrlimit};

    use super::*;

    #[test]
    fn more_is_allowed_and_never_less() {
        let before = getrlimit(Resource::Nofile);
        allow(USUAL);
        let after = getrlimit(Resource::Nofile);
        assert_eq!(after.maximum, before.maximum);
        let can_be_had = before.maximum.map_or(USUAL, |most| USUAL.min(most));
        assert!(after.current.is_none_or(|current| current >= can_be_had), "{after:?}");
        allow(1);
        assert_eq!(getrlimit(Resource::Nofile), after);
    }
}
