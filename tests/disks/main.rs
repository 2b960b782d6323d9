//! The disks that people have: those that refuse or bend what a tree wants of them, that report an
//! error late or not at all, that go away; and the moments in which others use them too.
//!
//! `faulty.rs` is a disk of our own, mounted with FUSE, that does what it is told to; `images.rs` has
//! real ones; `power.rs` cuts the power. What this machine cannot do is skipped, with a reason.

#![cfg(target_os = "linux")]

mod attributes;
mod consent;
mod faulty;
mod flushing;
mod fuse;
mod gone;
mod images;
mod inherited;
mod names;
mod ours;
mod power;
#[path = "../e2e/proxy.rs"]
#[allow(dead_code, reason = "shared with the tests of the whole program")]
mod proxy;
mod sparse;
mod stage;
#[path = "../util/mod.rs"]
mod util;
