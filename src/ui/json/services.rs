//! What the commands tell that move nothing themselves, or go on for ever: the doctor, servers, relays.

#[cfg(feature = "relay")]
use std::net::SocketAddr;

#[cfg(feature = "relay")]
use serde_json::Map;
use serde_json::json;

use super::Json;
use crate::connect::Peer;
use crate::error::Error;
use crate::event::Summary;
use crate::trust::certificate::Id;
use crate::ui::Reached;
#[cfg(feature = "relay")]
use crate::ui::relay::Relayed;
use crate::ui::{Finding, Found, Mark};

impl Json {
    /// What the doctor has found; without a topic it is that of the last.
    pub(in crate::ui) fn finding(&self, topic: &str, finding: &Finding) {
        let mut stream = self.stream();
        if !topic.is_empty() {
            stream.topic = topic.into();
        }
        let mark = match finding.mark {
            Mark::Fine => "ok",
            Mark::Warning => "warning",
            Mark::Problem => "problem",
            Mark::Skipped => "skipped",
        };
        let (topic, text, advice) = (stream.topic.clone(), &finding.what, &finding.advice);
        let fields = json!({ "topic": topic, "mark": mark, "text": text, "advice": advice });
        stream.emit("finding", fields);
    }

    /// A server is there.
    pub(in crate::ui) fn listening(&self, name: &str, id: &Id, folder: &str, reached: &Reached) {
        let tailnet = reached.tailnet.as_ref();
        let fields = json!({
            "name": name,
            "id": id,
            "words": id.words(),
            "folder": folder,
            "port": reached.port,
            "addresses": reached.addresses,
            "tailnet": tailnet.map(|it| json!({ "name": it.name, "addresses": it.addresses })),
        });
        self.stream().emit("listening", fields);
    }

    /// A relay is there.
    #[cfg(feature = "relay")]
    pub(in crate::ui) fn relay(
        &self,
        url: &str,
        address: SocketAddr,
        discovery: Option<u16>,
        metrics: Option<SocketAddr>,
    ) {
        let fields = json!({
            "url": url,
            "address": address,
            "discovery": discovery,
            "metrics": metrics,
        });
        self.stream().emit("relay", fields);
    }

    /// How much it has been used since it began.
    #[cfg(feature = "relay")]
    pub(in crate::ui) fn relayed(&self, relayed: &Relayed) {
        let refused = relayed.refused.iter().map(|(why, count)| ((*why).into(), json!(count)));
        let fields = json!({
            "clients": relayed.clients,
            "came": relayed.came,
            "bytes": relayed.bytes,
            "delivered": relayed.delivered,
            "refused": refused.collect::<Map<_, _>>(),
            "slowed": relayed.slowed,
        });
        self.stream().emit("relayed", fields);
    }

    /// A server that was found, or whoever announces one.
    pub(in crate::ui) fn server(&self, found: &Found) {
        let seen = found.came.as_ref().ok();
        let result = match &found.came {
            Ok(_) => "trusted",
            Err(_) if found.is_stranger() => "stranger",
            Err(_) => "silent",
        };
        let at = seen.map(|seen| seen.at).or(found.server.addresses.first().copied());
        let fields = json!({
            "result": result,
            "name": seen.map(|seen| &seen.name),
            "id": seen.map(|seen| seen.id),
            "announced": found.server.name,
            "words": seen.map(|seen| seen.id.words()).or(found.server.txt.words.clone()),
            "address": at.map(|at| at.ip()),
            "port": at.map(|at| at.port()),
            "free": seen.and_then(|seen| seen.free),
            "left": seen.and_then(|seen| seen.left),
            "queue": seen.and_then(|seen| seen.queue),
            "text": found.came.as_ref().err().map(ToString::to_string),
        });
        self.stream().emit("server", fields);
    }

    /// An upload to a server has ended.
    pub(in crate::ui) fn upload(
        &self,
        peer: &Peer,
        folder: Option<&str>,
        received: &Result<Summary, Error>,
    ) {
        let summary = received.as_ref().ok();
        let fields = json!({
            "name": peer.name,
            "id": peer.id,
            "address": peer.address,
            "tailnet": peer.tailnet,
            "folder": folder,
            "files": summary.map(|summary| summary.files),
            "bytes": summary.map(|summary| summary.bytes),
            "failed": summary.map(|summary| summary.failed.len()),
            "exit": received.as_ref().map_or_else(Error::exit, Summary::exit) as u8,
            "text": received.as_ref().err().map(ToString::to_string),
        });
        self.stream().emit("upload", fields);
    }

    /// A device, a CA or a certificate.
    pub(in crate::ui) fn device(&self, fields: serde_json::Value) {
        self.stream().emit("device", fields);
    }

    pub(in crate::ui) fn turned_away(&self, peer: &Peer, why: &str) {
        let fields = json!({ "result": "turned_away", "address": peer.address, "tailnet": peer.tailnet, "text": why });
        self.stream().emit("peer", fields);
    }
}
