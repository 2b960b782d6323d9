//! What the tests of the whole program share.

#![allow(dead_code, reason = "each of them uses its part")]

#[cfg(target_os = "linux")]
pub mod machines;
pub mod process;
#[cfg(unix)]
pub mod root;
#[cfg(unix)]
pub mod terminal;
pub mod tree;

use std::fmt::Display;
use std::io::{Write, stderr};

/// Says why a test, or a part of it, is not tried here. Not with `eprintln!`: what that says is swallowed
/// where the test passes, and nobody would know.
pub fn skip(why: impl Display) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a part of a test");
    let _ = writeln!(stderr(), "skipped: {test}: {why}");
}
