//! What the person at the keyboard, or the system, wants of the running transfer.
//!
//! One process runs one transfer, so this is one word for the whole process: signals and keys
//! write it, the engines look at it between records.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use crate::error::{Cause, Error};

/// How long anything here waits without looking up.
pub const SLICE: Duration = Duration::from_millis(100);

const RUN: u8 = 0;
const PAUSE: u8 = 1;
const STOP: u8 = 2;
const QUIT: u8 = 3;

static WISH: AtomicU8 = AtomicU8::new(RUN);
static RELOAD: AtomicBool = AtomicBool::new(false);

/// A signal came: the engines are to stop at the next record, with the state kept.
pub fn stop() {
    WISH.store(STOP, Ordering::Relaxed);
}

/// The same, because a person pressed a key for it.
pub fn quit() {
    WISH.store(QUIT, Ordering::Relaxed);
}

/// Pauses a running transfer, goes on with a paused one; one that stops keeps stopping.
pub fn toggle_pause() {
    let _ = WISH.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |wish| match wish {
        RUN => Some(PAUSE),
        PAUSE => Some(RUN),
        _ => None,
    });
}

/// A server is to read its files again.
pub fn reload() {
    RELOAD.store(true, Ordering::Relaxed);
}

/// Whether it is, and has not been told so before.
pub fn is_to_reload() -> bool {
    RELOAD.swap(false, Ordering::Relaxed)
}

/// Whether the transfer is to stand still.
pub fn is_paused() -> bool {
    WISH.load(Ordering::Relaxed) == PAUSE
}

/// Fails once the transfer is to stop. What is true then, only the stories know: the hint is theirs.
pub fn check() -> Result<(), Error> {
    match WISH.load(Ordering::Relaxed) {
        STOP => Err(Error::new(Cause::Interrupted, "interrupted").chosen()),
        QUIT => Err(Error::new(Cause::Interrupted, "stopped").chosen()),
        _ => Ok(()),
    }
}

/// Sleeps, but not beyond the wish to stop.
pub fn sleep(mut left: Duration) -> Result<(), Error> {
    while !left.is_zero() {
        check()?;
        let nap = left.min(SLICE);
        thread::sleep(nap);
        left -= nap;
    }
    check()
}
