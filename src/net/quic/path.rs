//! By which way a connection goes, and how much went by each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use iroh::TransportAddr;
use iroh::endpoint::{Connection, PathEvent, PathStats, WeakConnectionHandle};
use n0_future::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::{Path, Traffic, Via};

/// What is known of the ways of a connection. Clones look at the same one.
#[derive(Debug, Clone)]
pub struct Paths {
    handle: Handle,
    connection: WeakConnectionHandle,
    current: watch::Receiver<Option<Path>>,
    /// What went over ways that are gone.
    closed: Arc<Mutex<Traffic>>,
}

/// Looks at a connection from now on. Called inside the runtime.
pub fn watch(handle: &Handle, connection: &Connection) -> Paths {
    // First the events, then the state: nothing is missed in between.
    let mut events = connection.path_events();
    let (tell, current) = watch::channel(selected(connection));
    let closed = Arc::<Mutex<Traffic>>::default();
    let (weak, ended) = (connection.weak_handle(), Arc::clone(&closed));
    let looked_at = weak.clone();
    handle.spawn(async move {
        while let Some(event) = events.next().await {
            if let PathEvent::Closed { remote_addr, last_stats, .. } = &event {
                add(&mut lock(&ended), remote_addr, last_stats);
            }
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
    Paths { handle: handle.clone(), connection: weak, current, closed }
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

    /// What went over it until now.
    pub fn traffic(&self) -> Traffic {
        let mut all = *lock(&self.closed);
        if let Some(connection) = self.connection.upgrade() {
            let mut open = BTreeMap::new();
            for path in connection.paths().iter() {
                open.insert(path.id(), (path.remote_addr().clone(), path.stats()));
            }
            open.values().for_each(|(address, stats)| add(&mut all, address, stats));
        }
        all
    }
}

fn lock(traffic: &Mutex<Traffic>) -> MutexGuard<'_, Traffic> {
    // Two numbers.
    traffic.lock().unwrap_or_else(PoisonError::into_inner)
}

fn add(traffic: &mut Traffic, address: &TransportAddr, stats: &PathStats) {
    let bytes = stats.udp_tx.bytes.saturating_add(stats.udp_rx.bytes);
    let sum = if address.is_relay() { &mut traffic.relayed } else { &mut traffic.direct };
    *sum = sum.saturating_add(bytes);
}

/// The way that the content takes.
fn selected(connection: &Connection) -> Option<Path> {
    let paths = connection.paths();
    let path = paths.iter().find(|path| path.is_selected())?;
    let via = match path.remote_addr() {
        TransportAddr::Ip(address) => Via::Direct(canonical(address.ip())),
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

fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
