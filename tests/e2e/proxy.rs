//! Stands between a receiver and its sender, counts the bytes, lets only so many pass, and cuts the
//! line.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};

use crate::util::process::{LIMIT, Sender};

/// Serves one connection after the other.
pub struct Proxy {
    /// The sender's ticket, with the proxy's port.
    pub ticket: String,
    line: Arc<Line>,
}

#[derive(Default)]
struct Line {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes from the sender to the receiver that have passed, and that may.
    passed: u64,
    limit: u64,
    stalled: bool,
    ends: Vec<TcpStream>,
}

impl Proxy {
    /// Lets the first `limit` bytes of the sender pass.
    pub fn start(sender: &Sender, limit: u64) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (from, to) = (listener.local_addr()?.port(), sender.port()?);
        let ticket = sender.ticket.replace(&format!(":{to}:"), &format!(":{from}:"));
        let line = Arc::new(Line::default());
        line.state().limit = limit;
        let serving = Arc::clone(&line);
        thread::spawn(move || {
            let to = SocketAddr::from((Ipv4Addr::LOCALHOST, to));
            while let Ok((receiver, _)) = listener.accept() {
                let serving = Arc::clone(&serving);
                thread::spawn(move || serving.serve(&receiver, to));
            }
        });
        Ok(Self { ticket, line })
    }

    /// Waits until the limit is reached and the sender has more to say.
    pub fn wait_stalled(&self) -> Result<()> {
        let waiting =
            self.line.changed.wait_timeout_while(self.line.state(), LIMIT, |s| !s.stalled);
        let (state, waited) = waiting.unwrap_or_else(PoisonError::into_inner);
        ensure!(!waited.timed_out(), "only {} bytes have passed", state.passed);
        Ok(())
    }

    /// Lets everything pass.
    pub fn resume(&self) {
        self.resume_until(u64::MAX);
    }

    /// Lets bytes pass until there were `limit` in all, over all connections.
    pub fn resume_until(&self, limit: u64) {
        let mut state = self.line.state();
        (state.limit, state.stalled) = (limit, false);
        self.line.changed.notify_all();
    }

    /// Bytes of the sender that have passed, over all connections.
    pub fn passed(&self) -> u64 {
        self.line.state().passed
    }

    /// Ends the connection on both sides.
    pub fn cut(&self) {
        for end in self.line.state().ends.drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
        self.line.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, receiver: &TcpStream, to: SocketAddr) -> Result<()> {
        let sender = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // A small window: what the sender may be ahead of the receiver stays far below the
        // size of the file that keeps it busy.
        sender.set_recv_buffer_size(128 * 1024)?;
        sender.connect(&to.into())?;
        let sender = TcpStream::from(sender);
        sender.set_nodelay(true)?;
        receiver.set_nodelay(true)?;
        self.state().ends = vec![receiver.try_clone()?, sender.try_clone()?];
        let (mut up, mut down) = (receiver.try_clone()?, sender.try_clone()?);
        thread::spawn(move || {
            let _ = std::io::copy(&mut up, &mut down);
            let _ = down.shutdown(Shutdown::Write);
        });
        let ended = self.pass(&sender, receiver);
        let _ = receiver.shutdown(Shutdown::Write);
        ended
    }

    fn pass(&self, mut from: &TcpStream, mut to: &TcpStream) -> Result<()> {
        let mut bytes = vec![0; 64 * 1024];
        loop {
            let read = from.read(&mut bytes)?;
            let mut left = bytes.get(..read).context("a read is never longer")?;
            if left.is_empty() {
                return Ok(());
            }
            while !left.is_empty() {
                let mut state = self.state();
                while state.passed >= state.limit {
                    state.stalled = true;
                    self.changed.notify_all();
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    ensure!(!state.ends.is_empty(), "cut");
                }
                let room = usize::try_from(state.limit - state.passed).unwrap_or(usize::MAX);
                let (now, later) = left.split_at(room.min(left.len()));
                state.passed += now.len() as u64;
                drop(state);
                to.write_all(now)?;
                left = later;
            }
        }
    }
}
