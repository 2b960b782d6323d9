//! Connects to a sender, and is the byte stream both sides then use. Usually that is plain TCP; a
//! userspace Tailscale node has no route to the tailnet and goes through a proxy or through
//! `tailscale nc`.

mod first;
mod nc;
#[cfg(any(windows, test))]
mod patient;
mod proxy;
#[cfg(test)]
mod tests;

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

pub use self::{first::dial_first, nc::Nc, proxy::Proxy};
#[cfg(not(windows))]
use super::deadline::timed_out;
use super::deadline::{left, limited};
use super::interfaces::{Choice, Interfaces};
use super::quic::{Caller, Paths, Quic};
use super::tailscale::{Cli, TailscaleDetector};
use crate::bounds::ANSWER_LIMIT;
use crate::error::{Cause, Error, Result, reason};

/// The way to the other side.
#[derive(Debug)]
pub enum Route {
    /// The system's own network.
    Direct,
    /// A SOCKS5 or HTTP CONNECT proxy, as tailscaled offers.
    Proxy(Proxy),
    /// The system's own network, to an address of the local network: where it is one of a link, by
    /// whichever interface leads there.
    Local,
    /// A `tailscale nc` child for each connection.
    Nc(Cli),
}

impl Route {
    /// The way into the tailnet: plain sockets where the node has a network device, else the
    /// proxy in `$ALL_PROXY` or `$all_proxy`, else `tailscale nc`. Fails with exit 2 when the
    /// variable cannot be read, with exit 5 when Tailscale does not run.
    pub fn from_env(tailscale: &TailscaleDetector) -> Result<Self> {
        if !tailscale.is_userspace()? {
            return Ok(Self::Direct);
        }
        match Proxy::from_env() {
            Some(proxy) => Ok(Self::Proxy(proxy?)),
            None => Ok(Self::Nc(tailscale.cli().clone())),
        }
    }
}

/// Connects within `limit`, to be 30 s outside tests. Fails with exit 5 and a hint; the one
/// exception is [`Route::Nc`], which shows that it cannot connect only when the stream is read.
pub fn dial(target: SocketAddr, via: &Route, limit: Duration) -> Result<Stream> {
    let mut target = target;
    target.set_ip(target.ip().to_canonical());
    match via {
        Route::Direct => TcpStream::connect_timeout(&target, limit)
            .map(Stream::tcp)
            .map_err(|error| no_connection(target, &error, limit)),
        Route::Local => {
            let addresses = match target {
                // Somebody knows already behind which interface it is.
                SocketAddr::V6(at) if at.scope_id() > 0 => vec![target],
                _ => Interfaces::look(&Choice::Local)?.to_dial(target.ip(), target.port()),
            };
            dial_first(&addresses, limit.min(ANSWER_LIMIT)).map(|(stream, _)| stream)
        }
        Route::Proxy(proxy) => proxy.dial(target, Instant::now() + limit),
        Route::Nc(cli) => Ok(Stream::Nc(Arc::new(Nc::spawn(cli, target)?), target)),
    }
}

fn no_connection(target: SocketAddr, error: &io::Error, limit: Duration) -> Error {
    use io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable,
        TimedOut,
    };
    let cause = match error.kind() {
        ConnectionRefused => Cause::NothingListens,
        HostUnreachable => Cause::Unreachable,
        _ => Cause::Network,
    };
    let (message, hint) = match error.kind() {
        ConnectionRefused => (
            format!("nothing listens at {target}"),
            "is `transfer send` still running there?".to_owned(),
        ),
        TimedOut | io::ErrorKind::WouldBlock => {
            (format!("{target} did not answer within {limit:?}"), blocked(target))
        }
        HostUnreachable | NetworkUnreachable | NetworkDown | AddrNotAvailable => (
            format!("there is no way to {target}: {}", reason(error)),
            "is Tailscale up on this machine? where it runs without a network device, as in \
             containers, set ALL_PROXY to its proxy, such as socks5://localhost:1055"
                .into(),
        ),
        _ => (format!("cannot connect to {target}: {}", reason(error)), blocked(target)),
    };
    Error::new(cause, message).hint(hint)
}

/// What keeps packets from arriving though both machines are up.
fn blocked(target: SocketAddr) -> String {
    format!(
        "is that machine on? an access rule (ACL) of the tailnet, `--shields-up` or a firewall \
         there may block port {}",
        target.port()
    )
}

/// How long a read waits before it looks whether the line is dead.
const LISTEN: Duration = Duration::from_millis(500);
/// How long a write waits before it looks for room again. Linux wakes a writer when a third of the
/// socket's buffer is empty, and over a long way that third is missing from what is under way. Who
/// tries again sooner keeps it full.
const REFILL: Duration = Duration::from_millis(if cfg!(target_os = "linux") { 10 } else { 500 });

/// A connected byte stream. Reading and writing block; clones share the connection.
#[derive(Debug)]
pub enum Stream {
    /// Plain, or through a proxy that is out of the way by now.
    Tcp(TcpStream),
    /// Through a `tailscale nc` child, and where that leads.
    Nc(Arc<Nc>, SocketAddr),
    /// QUIC, directly or through a relay.
    Quic(Arc<Quic>),
}

impl Stream {
    /// Takes over a connected socket, without Nagle's delay.
    pub fn tcp(stream: TcpStream) -> Self {
        // A connection with it is slower, but works.
        let _ = stream.set_nodelay(true);
        // If it waits all the same, its time-outs do.
        #[cfg(windows)]
        let _ = stream.set_nonblocking(true);
        Self::Tcp(stream)
    }

    /// A second handle of the same connection, for the other direction.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Nc(nc, target) => Self::Nc(Arc::clone(nc), *target),
            Self::Quic(quic) => Self::Quic(Arc::clone(quic)),
        })
    }

    /// What binds a handshake to this connection, where it is a channel of its own: 32 bytes, the same
    /// at both ends and nowhere else (RFC 8446, section 7.5).
    pub fn exporter(&self) -> Option<[u8; 32]> {
        match self {
            Self::Quic(quic) => Some(quic.exporter()),
            Self::Tcp(_) | Self::Nc(..) => None,
        }
    }

    /// By which ways it goes, where there is more than one.
    pub fn paths(&self) -> Option<Paths> {
        match self {
            Self::Quic(quic) => Some(quic.paths()),
            Self::Tcp(_) | Self::Nc(..) => None,
        }
    }

    /// The two directions as the engines take them, once the other side has proved itself: a read that gets nothing and a write that gets
    /// nothing away soon fail with [`io::ErrorKind::TimedOut`] and are to be tried again, for as
    /// long as there is hope.
    pub fn halves(&self) -> Result<(Self, Self)> {
        let set = match self {
            Self::Tcp(stream) => limited(stream.set_read_timeout(Some(LISTEN)))
                .and_then(|()| limited(stream.set_write_timeout(Some(REFILL)))),
            Self::Nc(nc, _) => {
                nc.set_read_timeout(Some(LISTEN));
                Ok(())
            }
            Self::Quic(quic) => {
                quic.greeted();
                quic.set_timeouts(Some(LISTEN), Some(LISTEN));
                Ok(())
            }
        };
        let halves = set.and_then(|()| Ok((self.try_clone()?, self.try_clone()?)));
        halves
            .map_err(|error| Error::network(format!("the connection is gone: {}", reason(&error))))
    }

    /// From now on a read fails with [`io::ErrorKind::TimedOut`] when nothing arrives for
    /// `limit`, and so does a write that gets nothing away, except that a write to `tailscale nc`
    /// always waits for half a second. Holds for all clones; `None` waits for ever.
    pub fn set_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                limited(stream.set_read_timeout(limit))?;
                limited(stream.set_write_timeout(limit))
            }
            Self::Nc(nc, _) => {
                nc.set_read_timeout(limit);
                Ok(())
            }
            Self::Quic(quic) => {
                quic.set_timeouts(limit, limit);
                Ok(())
            }
        }
    }

    /// The stream with an end to its patience: everything read and written through it must be
    /// done at `deadline`, however the bytes trickle. Sets the timeout, so set it anew afterwards.
    pub fn until(&self, deadline: Instant) -> Until<'_> {
        Until { stream: self, deadline }
    }

    /// Ends both directions, whoever else is reading or writing; what was written still arrives
    /// if the other side reads. May be called twice.
    pub fn shutdown(&self) {
        match self {
            // An error says that the connection has ended already.
            Self::Tcp(stream) => drop(stream.shutdown(Shutdown::Both)),
            Self::Nc(nc, _) => nc.shutdown(),
            Self::Quic(quic) => quic.shutdown(),
        }
    }

    /// The other side, or the proxy before it.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr(),
            Self::Nc(_, target) => Ok(*target),
            Self::Quic(quic) => match quic.caller() {
                Caller::Address(address) => Ok(*address),
                Caller::Relay(_) => Err(io::ErrorKind::AddrNotAvailable.into()),
            },
        }
    }
}

impl Read for &Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            #[cfg(windows)]
            Stream::Tcp(stream) => patient::read(stream, buf),
            #[cfg(not(windows))]
            Stream::Tcp(stream) => (&mut &*stream).read(buf).map_err(timed_out),
            Stream::Nc(nc, _) => nc.read(buf),
            Stream::Quic(quic) => quic.read(buf),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            #[cfg(windows)]
            Stream::Tcp(stream) => patient::write(stream, buf),
            #[cfg(not(windows))]
            Stream::Tcp(stream) => (&mut &*stream).write(buf).map_err(timed_out),
            Stream::Nc(nc, _) => nc.write(buf),
            Stream::Quic(quic) => quic.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // neither kind keeps anything back
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self).flush()
    }
}

/// A [`Stream`] with a deadline, see [`Stream::until`].
#[derive(Debug)]
pub struct Until<'a> {
    stream: &'a Stream,
    deadline: Instant,
}

impl Until<'_> {
    fn limit(&self) -> io::Result<()> {
        self.stream.set_timeout(Some(left(self.deadline)?))
    }
}

impl Read for Until<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.limit()?;
        self.stream.read(buf)
    }
}

impl Write for Until<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.limit()?;
        self.stream.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
