//! On a local network: machines find each other and are found, with the real multicast DNS on a
//! bridge that the tests make, and with Avahi as a stranger. Needs Linux, root or user
//! namespaces, and `ip`, else it says that it skips.

#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "the suite e2e uses all of it")]
#[path = "../e2e/events.rs"]
mod events;
mod finding;
mod pairing;
mod sending;
mod serving;
mod stage;
mod strangers;
#[path = "../util/mod.rs"]
mod util;
