//! What the two sides say to each other, as bytes and as values. Knows no socket and no disk.
//!
//! The first byte of a record's plaintext tells the kind of message. Control messages are JSON
//! ([`message`], with a [`reason`] where a side stops); lists come in binary [`pages`], with a
//! [`fault`] for what is missing; file content is a sequence of [`data`] items in
//! an order that [`course`] knows. What both sides can do beyond that are [`features`].
//! [`channel`] and [`outbox`] move whole records between a stream and the engines, in several
//! [`lanes`], and [`mod@line`] knows whether it still carries anything. Every parser takes bytes from one
//! [`reader::Reader`] that can fail. The normative text is `docs/protocol.md`.

pub mod channel;
pub mod course;
pub mod data;
pub mod fault;
pub mod features;
pub mod lanes;
pub mod line;
pub mod message;
pub mod outbox;
pub mod pages;
pub mod reader;
pub mod reason;
pub mod session;
pub mod spared;
