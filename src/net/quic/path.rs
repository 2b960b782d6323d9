//! By which way a connection goes, and how much went by each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use iroh::TransportAddr;
use iroh::endpoint::{Connection, ConnectionError, PathEvent, VarInt};
use n0_future::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::{Path, Traffic, Via, warnings};

/// A direct way that is there is found in less.
const NO_DIRECT_WAY: Duration = Duration::from_secs(10);

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

/// Tells who looks for a fault of the ways of a connection as they come and go, and why it ended if neither side
/// has ended it. Called inside the runtime.
pub fn tell(handle: &Handle, connection: &Connection) {
    let mut events = connection.path_events();
    let (looked_at, closed) = (connection.weak_handle(), connection.weak_handle().closed());
    let mut open = vec![];
    for path in connection.paths().iter() {
        warnings::detail(&format!("open: {}", named(path.remote_addr())));
        open.push((path.id(), path.is_ip()));
    }
    handle.spawn(async move {
        let late = tokio::time::sleep(NO_DIRECT_WAY);
        tokio::pin!(late);
        let mut is_relayed = !open.iter().any(|(_, is_direct)| *is_direct);
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = &mut late, if is_relayed => {
                    is_relayed = false;
                    warnings::detail(
                        "no direct way has opened so far; unless one side was told --relay-only, `transfer doctor \
                         --direct` at each of them says what its network lets through",
                    );
                    continue;
                }
            };
            match event {
                // It was there before it was asked for.
                Some(PathEvent::Opened { id, .. }) if open.iter().any(|it| it.0 == id) => {}
                Some(PathEvent::Opened { remote_addr, .. }) => {
                    is_relayed &= !remote_addr.is_ip();
                    warnings::detail(&format!("open: {}", named(&remote_addr)));
                }
                // At its end all go.
                Some(PathEvent::Closed { remote_addr, .. })
                    if looked_at.upgrade().is_some_and(|it| it.close_reason().is_none()) =>
                {
                    warnings::detail(&format!("gone: {}", named(&remote_addr)));
                }
                Some(_) => {}
                None => break,
            }
        }
        if let Some(why) = closed.await.and_then(|closed| fault(&closed.reason)) {
            warnings::detail(&format!("the connection was lost: {why}"));
        }
    });
}

fn named(address: &TransportAddr) -> String {
    match address {
        TransportAddr::Ip(address) => format!("the direct way to {address}"),
        TransportAddr::Relay(url) => format!("the way through the relay {}", host(url)),
        _ => "another way".into(),
    }
}

/// Why a connection ended that neither side has ended.
fn fault(reason: &ConnectionError) -> Option<String> {
    Some(match reason {
        ConnectionError::LocallyClosed => return None,
        ConnectionError::ApplicationClosed(close) if close.error_code == VarInt::from_u32(0) => {
            return None;
        }
        ConnectionError::TimedOut => "nothing has come by any way for a while".into(),
        ConnectionError::Reset => "the other side does not know it any more".into(),
        other => other.to_string(),
    })
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

#[cfg(test)]
mod tests {
    use iroh::endpoint::ApplicationClose;

    use super::*;

    #[test]
    fn what_neither_side_has_ended_has_a_reason() {
        let closed = |code: u8| {
            let close = ApplicationClose { error_code: code.into(), reason: b"why"[..].into() };
            ConnectionError::ApplicationClosed(close)
        };
        for (reason, expected) in [
            (ConnectionError::LocallyClosed, None),
            (closed(0), None),
            (closed(7), Some("closed by peer: why (code 7)")),
            (ConnectionError::TimedOut, Some("nothing has come by any way for a while")),
            (ConnectionError::Reset, Some("the other side does not know it any more")),
        ] {
            assert_eq!(fault(&reason).as_deref(), expected, "{reason:?}");
        }
    }
}
