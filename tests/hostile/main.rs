//! Peers that lie, against the real program: a sender and a receiver that follow a script and
//! misbehave at every step, strangers at the door, and traps on the disk.
//!
//! Everything that such a peer says is put together here byte by byte, from `docs/protocol.md` and
//! not with the program's own encoders, so that none of its checks can soften an attack. Each
//! module is a table of attacks, each row named after what it tries. Whatever the attack, four
//! things are looked at besides how the program ends (`stage`): the disk, down to the last file
//! around the output folder; the terminal, on which nothing of the peer may act; what the peer was
//! told, which may name nothing of this machine; and memory.
//!
//! The peaks of memory are written to `target/tmp/hostile-peaks.txt`.

#![cfg_attr(not(target_os = "linux"), allow(unused, reason = "some tests are for Linux alone"))]
#![cfg(unix)]
#![expect(clippy::print_stderr, reason = "figures that nothing asserts")]

mod agreed;
mod data;
mod disk;
mod door;
mod memory;
mod messages;
mod names;
mod pace;
mod peak;
mod pour;
mod pty;
mod receiver;
mod records;
mod script;
mod search;
mod shake;
mod stage;
mod terminal;
mod token;
#[path = "../util/mod.rs"]
mod util;
