//! Sockets, and who may be at the other end of them.

pub mod dial;
pub mod listener;
pub mod tailscale;

use std::time::Duration;

/// How long a session may stand still before its connection counts as lost.
pub const STALL_LIMIT: Duration = Duration::from_secs(5 * 60);
