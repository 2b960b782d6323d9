//! Breaks transfers at random points, again and again until each ends, and then looks whether
//! anything was lost, left behind or sent twice.
//!
//! Most rounds run both engines over a pipe in memory, with tiny records; some run the program
//! itself and kill it. Every random choice of a round comes from its seed, which a failure
//! shows. `scripts/torture` does the same for longer and with more.

#![cfg_attr(not(target_os = "linux"), allow(unused, reason = "some tests are for Linux alone"))]
#![cfg(unix)]

#[path = "../engine/util.rs"]
#[allow(dead_code, reason = "shared with the tests of the engine")]
mod engine;
mod memory;
#[path = "../engine/pipe.rs"]
#[allow(dead_code, reason = "shared with the tests of the engine")]
mod pipe;
mod processes;
#[path = "../e2e/proxy.rs"]
#[allow(dead_code, reason = "shared with the tests of the whole program")]
mod proxy;
#[path = "../util/mod.rs"]
mod util;
