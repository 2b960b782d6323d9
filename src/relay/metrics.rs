//! The relay's numbers: a line now and then, and Prometheus' text format.

use std::fmt::Write;
use std::sync::Arc;

use iroh_relay::server::Metrics;

use super::door::Door;
use crate::ui::Relayed;

/// Since the relay began.
pub fn so_far(door: &Door, metrics: &Metrics) -> Relayed {
    Relayed {
        clients: door.clients(),
        came: metrics.accepts.get(),
        bytes: metrics.bytes_recv.get(),
        delivered: metrics.bytes_sent.get(),
        refused: door.refused().to_vec(),
        slowed: metrics.conns_rx_ratelimited_total.get(),
    }
}

/// The same as Prometheus reads it (text format 0.0.4).
pub fn text(door: &Arc<Door>, metrics: &Metrics) -> String {
    let now = so_far(door, metrics);
    let mut text = String::new();
    for (name, kind, help, value) in [
        ("clients", "gauge", "clients that are connected", now.clients as u64),
        ("clients_total", "counter", "clients that have connected", now.came),
        ("received_bytes_total", "counter", "bytes that clients sent to others", now.bytes),
        ("delivered_bytes_total", "counter", "bytes of these that others got", now.delivered),
        ("slowed_clients_total", "counter", "clients that sent faster than --rate", now.slowed),
    ] {
        let _ = writeln!(text, "# HELP transfer_relay_{name} {help}");
        let _ = writeln!(text, "# TYPE transfer_relay_{name} {kind}");
        let _ = writeln!(text, "transfer_relay_{name} {value}");
    }
    text.push_str("# HELP transfer_relay_refused_total connections that were refused\n");
    text.push_str("# TYPE transfer_relay_refused_total counter\n");
    for (why, count) in now.refused {
        let _ = writeln!(text, "transfer_relay_refused_total{{why=\"{why}\"}} {count}");
    }
    text
}
