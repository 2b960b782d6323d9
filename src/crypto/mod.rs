//! From a shared token to sealed records. Knows no socket and no message.
//!
//! [`handshake`] turns two fixed-size hellos and a token into [`keys`]; only its last state
//! yields them. [`record`] turns one key into one direction of a stream. The normative text is
//! `docs/protocol.md`.

pub mod handshake;
pub mod keys;
pub mod record;
