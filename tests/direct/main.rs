//! Direct mode between two networks behind NATs, in network namespaces that the tests make: the relay and
//! both ends are the real program. Needs Linux, root or user namespaces, `ip` and
//! `nft`, else it says that it skips.

#![cfg(all(target_os = "linux", feature = "relay"))]
#![expect(clippy::print_stderr, reason = "what measures says what it has found")]

mod breaks;
mod distance;
mod doctor;
mod far;
mod hosts;
mod nats;
mod pairs;
mod relay;
mod stage;
mod strangers;
#[path = "../util/mod.rs"]
mod util;
