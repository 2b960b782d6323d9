//! Writing to a socket of Windows, whose time-outs do not say how much of a write has gone: to try that
//! again could send a part of it twice. There a write first waits for room, then writes no more than
//! there surely is room for, and so has sent nothing at all when it has timed out.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Where Windows says that there is room, it takes this much without waiting.
const PIECE: usize = 64 * 1024;

/// Writes some of `bytes`.
///
/// # Errors
/// `TimedOut` when there was no room for as long as the socket's time-out: nothing was written. Any
/// other error is for good.
pub fn write(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    wait(stream, stream.write_timeout()?)?;
    let piece = bytes.get(..PIECE).unwrap_or(bytes);
    stream.write(piece).map_err(|error| match error.kind() {
        // Some of it may have gone.
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            io::ErrorKind::ConnectionAborted.into()
        }
        _ => error,
    })
}

fn wait(stream: &TcpStream, limit: Option<Duration>) -> io::Result<()> {
    let limit = limit.map(Timespec::try_from).transpose();
    let limit = limit.map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut sockets = [PollFd::new(stream, PollFlags::OUT)];
    match poll(&mut sockets, limit.as_ref())? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Whatever times out in between, what is tried again arrives once.
    #[test]
    fn what_timed_out_was_not_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut far = listener.accept().unwrap().0;
        near.set_write_timeout(Some(Duration::from_millis(10))).unwrap();
        let sent: Vec<u8> = (0..24_000_000u32).map(|at| (at % 251) as u8).collect();
        let mut left = sent.as_slice();
        let mut reader = None;
        while !left.is_empty() {
            match write(&near, left) {
                Ok(written) => left = &left[written..],
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                    // Only now does the other side begin to read.
                    let mut far = far.try_clone().unwrap();
                    reader.get_or_insert_with(|| {
                        thread::spawn(move || {
                            let mut came = Vec::new();
                            far.read_to_end(&mut came).map(|_| came)
                        })
                    });
                }
            }
        }
        drop(near);
        let came = match reader {
            Some(reader) => reader.join().unwrap().unwrap(),
            None => {
                let mut came = Vec::new();
                far.read_to_end(&mut came).map(|_| came).unwrap()
            }
        };
        assert!(came == sent);
    }
}
