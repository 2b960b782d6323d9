//! Sockets, and who may be at the other end of them.

pub mod crowd;
pub mod deadline;
pub mod dial;
pub mod firewall;
pub mod interfaces;
pub mod listener;
pub mod mdns;
pub mod pace;
pub mod plate;
pub mod quic;
pub mod relay_url;
pub mod tailscale;
pub mod tls;
