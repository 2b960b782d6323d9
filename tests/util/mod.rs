//! What the tests of the whole program share.

#![allow(dead_code, reason = "each of them uses its part")]

#[cfg(target_os = "linux")]
pub mod machines;
pub mod process;
#[cfg(unix)]
pub mod terminal;
pub mod tree;
