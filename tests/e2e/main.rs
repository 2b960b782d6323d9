//! Drives the program itself, two processes at a time, over 127.0.0.1.

#![cfg_attr(not(target_os = "linux"), allow(unused, reason = "some tests are for Linux alone"))]

#[cfg(unix)]
mod agreed;
#[cfg(unix)]
mod asking;
#[cfg(target_os = "linux")]
mod bytes;
#[cfg(unix)]
mod changing;
mod choosing;
#[cfg(target_os = "linux")]
mod clocks;
mod completions;
mod conflicts;
#[cfg(unix)]
mod devices;
#[cfg(feature = "direct")]
mod direct;
mod doctor;
mod door;
mod errors;
mod events;
#[cfg(unix)]
mod faults;
#[cfg(unix)]
mod fingers;
#[cfg(unix)]
mod git_hostile;
mod gitignore;
#[cfg(unix)]
mod joining;
mod json;
#[cfg(unix)]
mod kept;
mod log;
mod many;
mod pipes;
mod proxy;
#[cfg(unix)]
mod resume;
#[cfg(unix)]
mod room;
mod scripted;
#[cfg(unix)]
mod service;
mod serving;
#[cfg(target_os = "linux")] // APFS has holes of other sizes.
mod sparse;
#[cfg(unix)]
mod ssh;
mod sums;
#[cfg(unix)]
mod terminal;
mod trees;
#[path = "../util/mod.rs"]
mod util;
#[cfg(unix)]
mod window;
#[cfg(unix)]
mod without;
