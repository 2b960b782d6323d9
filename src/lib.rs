//! Moves files and whole trees between two machines.
//!
//! The floors of the house; arrows only point down. `docs/architecture.md` tells why.
//!
//! - [`cli`]: what was typed, resolved into options.
//! - [`send`], [`receive`], [`serve`], `relay`: the stories, over engines that run on any stream;
//!   [`doctor`]: what may be in their way; [`find`]: who is here; [`devices`], [`pair`]: whom this one trusts; [`completions`], [`manual`]: for shells and `man`;
//!   [`ui`]: the only place that prints or asks.
//! - [`connect`]: from an address to an authenticated connection.
//! - [`protocol`]: bytes and values; [`crypto`]: from a token to sealed records; [`ticket`],
//!   [`event`].
//! - [`files`]: names, manifests, the disk; [`net`]: sockets, TLS and Tailscale; [`trust`]: this
//!   device's key, and whom it knows; [`compress`], [`token`], [`config`], [`control`],
//!   [`service`], [`open_files`], [`bounds`], [`error`], [`shown`],
//!   [`size`].

pub mod bounds;
pub mod cli;
pub mod completions;
pub mod compress;
pub mod config;
pub mod connect;
pub mod control;
pub mod crypto;
pub mod devices;
pub mod doctor;
pub mod error;
pub mod event;
pub mod files;
pub mod find;
pub mod held;
pub mod manual;
pub mod net;
pub mod open_files;
pub mod pair;
pub mod protocol;
pub mod receive;
#[cfg(feature = "relay")]
pub mod relay;
pub mod send;
pub mod serve;
pub mod service;
pub mod shown;
pub mod size;
pub mod standard;
pub mod ticket;
pub mod token;
pub mod trust;
pub mod ui;
