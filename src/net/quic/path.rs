//! By which way a connection goes, and how much went by each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use iroh::TransportAddr;
use iroh::endpoint::Connection;
use n0_future::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::{Path, Traffic, Via};

/// What is known of the ways of a connection. Clones look at the same one.
#[derive(Debug, Clone)]
pub struct Paths {
    handle: Handle,
    current: watch::Receiver<Option<Path>>,
    carried: Arc<Carried>,
}

/// Bytes that went by each way.
#[derive(Debug, Default)]
struct Carried {
    relayed: AtomicU64,
    direct: AtomicU64,
}

/// Looks at a connection from now on. Called inside the runtime.
pub fn watch(handle: &Handle, connection: &Connection) -> Paths {
    // First the events, then the state: nothing is missed in between.
    let mut events = connection.path_events();
    let (tell, current) = watch::channel(selected(connection));
    let looked_at = connection.weak_handle();
    handle.spawn(async move {
        while events.next().await.is_some() {
            let Some(connection) = looked_at.upgrade() else { break };
            if let Some(path) = selected(&connection) {
                tell.send_if_modified(|known| {
                    let is_other = known.as_ref().is_none_or(|known| known.via != path.via);
                    *known = Some(path);
                    is_other
                });
            }
        }
    });
    Paths { handle: handle.clone(), current, carried: Arc::default() }
}

impl Paths {
    /// The way at the moment, as far as it is known.
    pub fn now(&self) -> Option<Path> {
        self.current.borrow().clone()
    }

    /// The next way, if there is another within `limit`.
    pub fn next(&mut self, limit: Duration) -> Option<Path> {
        let current = &mut self.current;
        let changed = async { tokio::time::timeout(limit, current.changed()).await };
        match self.handle.block_on(changed) {
            Ok(Ok(())) => self.current.borrow_and_update().clone(),
            _ => None,
        }
    }

    /// Whether the connection is over, so that there is no other way to come.
    pub fn is_over(&self) -> bool {
        self.current.has_changed().is_err()
    }

    /// So many bytes have gone by the way of now. (The engine counts what arrives twice where the system
    /// hands over several packets at once.)
    pub(super) fn carried(&self, bytes: usize) {
        let sum = match self.current.borrow().as_ref().map(|path| &path.via) {
            Some(Via::Relay(_)) => &self.carried.relayed,
            Some(Via::Direct(_)) | None => &self.carried.direct,
        };
        sum.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// What went over it until now.
    pub fn traffic(&self) -> Traffic {
        let Carried { relayed, direct } = &*self.carried;
        Traffic { relayed: relayed.load(Ordering::Relaxed), direct: direct.load(Ordering::Relaxed) }
    }
}

/// The way that the content takes.
pub fn selected(connection: &Connection) -> Option<Path> {
    let paths = connection.paths();
    let path = paths.iter().find(|path| path.is_selected())?;
    let via = match path.remote_addr() {
        TransportAddr::Ip(address) => Via::Direct(address.ip().to_canonical()),
        TransportAddr::Relay(url) => Via::Relay(host(url)),
        _ => return None,
    };
    Some(Path { via, round_trip: path.rtt() })
}

/// The host of a relay, as people know it.
pub fn host(url: &iroh::RelayUrl) -> String {
    let host = url.host_str().unwrap_or_default();
    host.strip_suffix('.').unwrap_or(host).to_owned()
}
