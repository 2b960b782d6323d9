//! A relay as its clients, and those who mean it ill, see it: the real program, with iroh's own client and
//! with raw sockets, over 127.0.0.1.

#![cfg(all(unix, feature = "relay"))]

mod abuse;
mod acme;
#[path = "../e2e/events.rs"]
#[allow(dead_code, reason = "the other suite uses all of it")]
mod events;
#[cfg(target_os = "linux")]
mod plates;
mod serving;
mod stage;
mod starting;
#[path = "../util/mod.rs"]
mod util;
