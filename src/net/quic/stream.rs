//! A connection as a blocking stream of bytes: limits, and an end that arrives.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use iroh::endpoint::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use tokio::runtime::Handle;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::JoinSet;

use super::Caller;
use super::path::{self, Paths};
use super::stripes::{In, Out};
use crate::bounds::{LAST_BYTES_LIMIT, MAX_HANDSHAKES, QUIC_START_WINDOW};

/// What an endpoint and its connections share.
#[derive(Clone)]
pub struct Home {
    pub handle: Handle,
    goodbyes: Arc<Mutex<Goodbyes>>,
}

/// Connections whose last bytes are on their way.
#[derive(Default)]
struct Goodbyes {
    /// Of others who had proved themselves: there are no more of them than were served.
    greeted: JoinSet<()>,
    /// Of strangers, who may let go of nothing: they must not take a place from the others.
    strangers: JoinSet<()>,
}

impl Goodbyes {
    /// The set of one of the two kinds; nothing where it is full.
    fn of(&mut self, is_greeted: bool) -> Option<&mut JoinSet<()>> {
        let set = if is_greeted { &mut self.greeted } else { &mut self.strangers };
        while set.try_join_next().is_some() {}
        (is_greeted || set.len() < MAX_HANDSHAKES).then_some(set)
    }
}

impl Home {
    pub fn new(handle: Handle) -> Self {
        Self { handle, goodbyes: Arc::default() }
    }

    fn goodbyes(&self) -> MutexGuard<'_, Goodbyes> {
        // Sets of tasks are whole at every point where a panic could happen.
        self.goodbyes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the last bytes of all connections have arrived, or their time is over.
    pub async fn all_said_goodbye(&self) {
        loop {
            let Goodbyes { mut greeted, mut strangers } = std::mem::take(&mut *self.goodbyes());
            if greeted.is_empty() && strangers.is_empty() {
                return;
            }
            while greeted.join_next().await.is_some() {}
            while strangers.join_next().await.is_some() {}
            // Others may have been closed meanwhile.
        }
    }
}

/// How long a read and a write wait; for ever where nothing is said.
#[derive(Debug, Clone, Copy, Default)]
struct Limits {
    read: Option<Duration>,
    write: Option<Duration>,
}

/// A connection, and the stream of bytes that is all of it.
pub struct Quic {
    home: Home,
    connection: Connection,
    caller: Caller,
    exporter: [u8; 32],
    out: AsyncMutex<Out>,
    into: AsyncMutex<In>,
    limits: Mutex<Limits>,
    is_closed: watch::Sender<bool>,
    is_greeted: AtomicBool,
    paths: Paths,
    /// Whether the other side has dialled: then this one has most to say.
    was_dialled: bool,
}

impl fmt::Debug for Quic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quic").field("caller", &self.caller).finish_non_exhaustive()
    }
}

impl Quic {
    /// Called inside the runtime.
    ///
    /// # Errors
    /// The connection has no exporter: it is not what it should be.
    pub fn new(
        home: Home,
        connection: Connection,
        (out, into): (SendStream, RecvStream),
        caller: Caller,
        was_dialled: bool,
    ) -> io::Result<Self> {
        let mut exporter = [0; 32];
        connection
            .export_keying_material(&mut exporter, b"EXPORTER-transfer", b"")
            .map_err(|_| io::Error::other("the connection exports no key"))?;
        let paths = path::watch(&home.handle, &connection);
        Ok(Self {
            home,
            caller,
            exporter,
            out: AsyncMutex::new(Out::new(connection.clone(), out)),
            into: AsyncMutex::new(In::new(connection.clone(), into)),
            connection,
            limits: Mutex::default(),
            is_closed: watch::Sender::new(false),
            is_greeted: AtomicBool::new(false),
            paths,
            was_dialled,
        })
    }

    /// 32 bytes that only this connection has, the same at both ends (RFC 8446, section 7.5).
    pub fn exporter(&self) -> [u8; 32] {
        self.exporter
    }

    /// Who is at the other end, as far as was known at the beginning.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// By which way it goes, now and later.
    pub fn paths(&self) -> Paths {
        self.paths.clone()
    }

    /// The other side has proved itself: it may send as much as fits, and what the side that was dialled
    /// sends is parted from here on.
    pub fn greeted(&self) {
        self.is_greeted.store(true, Ordering::Relaxed);
        self.connection.set_receive_window(VarInt::from_u32(QUIC_START_WINDOW));
        self.home.handle.block_on(async {
            path::tell(&self.home.handle, &self.connection);
            match self.was_dialled {
                true => self.out.lock().await.part(),
                false => self.into.lock().await.part(),
            }
        });
    }

    /// From now on a read that gets nothing, and a write that gets nothing away, fail with
    /// [`ErrorKind::TimedOut`] after so long.
    pub fn set_timeouts(&self, read: Option<Duration>, write: Option<Duration>) {
        *self.limits() = Limits { read, write };
    }

    fn limits(&self) -> MutexGuard<'_, Limits> {
        // Two plain values.
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads some; nothing at the end.
    pub fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let limit = self.limits().read;
        let work = async { self.into.lock().await.read(buf).await };
        match self.within(limit, work).inspect(|read| self.paths.carried(*read)) {
            // As a socket has it: whoever has closed properly, has sent all there was.
            Err(error) if is_closed_properly(&error) => Ok(0),
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(0),
            read => read,
        }
    }

    /// Writes some.
    pub fn write(&self, buf: &[u8]) -> io::Result<usize> {
        let limit = self.limits().write;
        let written = self.within(limit, async { self.out.lock().await.write(buf).await });
        written.inspect(|written| self.paths.carried(*written))
    }

    fn within<T>(
        &self,
        limit: Option<Duration>,
        work: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let mut is_closed = self.is_closed.subscribe();
        let work = async {
            tokio::select! {
                // What was closed here is over, whatever else is there.
                biased;
                _ = is_closed.wait_for(|is_closed| *is_closed) => Err(ErrorKind::NotConnected.into()),
                done = work => done,
            }
        };
        self.home.handle.block_on(async {
            match limit {
                None => work.await,
                Some(limit) => tokio::time::timeout(limit, work)
                    .await
                    .unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())),
            }
        })
    }

    /// Ends both directions, whoever else is reading or writing. What was written still arrives if the
    /// other side reads: no system finishes that for us, so it goes on for a moment beside the caller.
    pub fn shutdown(self: &Arc<Self>) {
        if self.is_closed.send_replace(true) {
            return;
        }
        let quic = Arc::clone(self);
        let mut goodbyes = self.home.goodbyes();
        let Some(goodbyes) = goodbyes.of(self.is_greeted.load(Ordering::Relaxed)) else {
            return quic.connection.close(VarInt::from_u32(0), b"");
        };
        goodbyes.spawn_on(
            async move {
                let farewell = async { quic.out.lock().await.finish().await };
                let _ = tokio::time::timeout(LAST_BYTES_LIMIT, farewell).await;
                quic.connection.close(VarInt::from_u32(0), b"");
            },
            &self.home.handle,
        );
    }
}

impl Drop for Quic {
    fn drop(&mut self) {
        self.connection.close(VarInt::from_u32(0), b"");
    }
}

fn is_closed_properly(error: &io::Error) -> bool {
    use iroh::endpoint::ReadError;
    let source = error.get_ref();
    let lost = source.and_then(|it| match it.downcast_ref::<ReadError>() {
        Some(ReadError::ConnectionLost(lost)) => Some(lost),
        _ => it.downcast_ref::<ConnectionError>(),
    });
    matches!(lost, Some(ConnectionError::ApplicationClosed(close)) if close.error_code == VarInt::from_u32(0))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use iroh::EndpointAddr;
    use iroh::TransportAddr;

    use super::super::endpoint::{self, ALPN, Discovery};
    use super::super::{Dialler, Listener, Meeting};
    use super::*;
    use crate::net::plate::Plate;

    /// More than a network takes at once.
    const LAST_WORDS: usize = 1 << 20;

    /// Whoever has no token can make every place of strangers wait for what is never acknowledged. What
    /// was said to the one who has it arrives all the same.
    #[test]
    fn strangers_take_no_goodbye_from_who_is_served() {
        let meeting = Meeting::without_relay;
        let listener = Listener::open(&meeting(None), Some(0), 0..=0).unwrap().unwrap();
        let there = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.port()));
        let dialler = Dialler::new(meeting(Some(there))).unwrap();

        let elsewhere = tokio::runtime::Runtime::new().unwrap();
        let endpoint = elsewhere.block_on(async {
            endpoint::bind(
                endpoint::builder(&meeting(None), Discovery::First).unwrap(),
                None,
                false,
            )
            .await
            .unwrap()
        });
        let key = endpoint::key(&Plate::none()).public();
        let address = EndpointAddr::from_parts(key, [TransportAddr::Ip(there)]);
        let mut strangers = vec![];
        for _ in 0..MAX_HANDSHAKES {
            let came = elsewhere.block_on(async {
                let connection = endpoint.connect(address.clone(), ALPN).await.unwrap();
                let (mut out, into) = connection.open_bi().await.unwrap();
                out.write_all(b"?").await.unwrap();
                (connection, out, into)
            });
            strangers.push((came, listener.accept().unwrap().0));
        }
        let client = dialler.dial(Duration::from_secs(30)).unwrap();
        client.write(b"?").unwrap();
        let (served, _) = listener.accept().unwrap();
        client.greeted();
        served.greeted();
        assert_eq!(served.read(&mut [0; 8]).unwrap(), 1);

        // From here on nothing of the strangers answers any more.
        elsewhere.shutdown_background();
        for (_, stranger) in &strangers {
            stranger.write(b"!").unwrap();
            stranger.shutdown();
        }
        let words = vec![7; LAST_WORDS];
        let mut at = 0;
        while at < words.len() {
            at += served.write(&words[at..]).unwrap();
        }
        served.shutdown();
        let (mut buffer, mut read) = (vec![0; 1 << 16], 0);
        loop {
            match client.read(&mut buffer).unwrap() {
                0 => break,
                some => read += some,
            }
        }
        assert_eq!(read, LAST_WORDS);
        client.shutdown();
        std::mem::forget(strangers);
        listener.close();
    }
}
