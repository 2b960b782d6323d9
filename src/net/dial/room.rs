//! Sockets of Windows, whose time-outs do not say how much of a write has gone, or of what has come:
//! to try that again could send a part of it twice, or miss one. There a write first waits for room, then writes no
//! more than there surely is room for, and a read first waits for bytes: nothing at all has gone or come when they
//! have timed out.

use std::io::{self, Read, Write};
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
    wait(stream, PollFlags::OUT, stream.write_timeout()?)?;
    let piece = bytes.get(..PIECE).unwrap_or(bytes);
    stream.write(piece).map_err(|error| match error.kind() {
        // Some of it may have gone.
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            io::ErrorKind::ConnectionAborted.into()
        }
        _ => error,
    })
}

/// Reads some of what has come.
///
/// # Errors
/// `TimedOut` when nothing came for as long as the socket's time-out.
pub fn read(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    wait(stream, PollFlags::IN, stream.read_timeout()?)?;
    stream.read(buffer)
}

fn wait(stream: &TcpStream, what: PollFlags, limit: Option<Duration>) -> io::Result<()> {
    let limit = limit.map(Timespec::try_from).transpose();
    let limit = limit.map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut sockets = [PollFd::new(stream, what)];
    match poll(&mut sockets, limit.as_ref())? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
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
    #[test]
    fn what_comes_late_is_read_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut far = listener.accept().unwrap().0;
        near.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let mut buffer = [0; 8];
        for word in [&b"one"[..], b"two"] {
            assert_eq!(read(&near, &mut buffer).unwrap_err().kind(), io::ErrorKind::TimedOut);
            far.write_all(word).unwrap();
            near.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let len = read(&near, &mut buffer).unwrap();
            assert_eq!(buffer.get(..len), Some(word));
            near.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        }
        drop(far);
        near.set_read_timeout(None).unwrap();
        assert_eq!(read(&near, &mut buffer).unwrap(), 0, "the end");
    }
}
