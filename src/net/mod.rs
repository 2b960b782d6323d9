//! Sockets, and who may be at the other end of them.

pub mod dial;
pub mod firewall;
pub mod interfaces;
pub mod listener;
pub mod mdns;
pub mod pace;
pub mod tailscale;
pub mod tls;
