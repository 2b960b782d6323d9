//! Reading and writing on Windows, whose time-outs of sockets lose what is under way at that moment: a read
//! may drop what just came, and a write does not say how much has gone. There a socket never waits itself.
//! What it cannot do at once is tried again when it can, until its time is over, and nothing was done then.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::super::deadline::left;

/// At most this much is given away at a time: Windows takes any amount as soon as it has a little room,
/// and what it has taken is in its memory.
const PIECE: usize = 64 * 1024;

/// Nobody wakes who waits when the connection is ended from this side: so often that is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Reads what is there, of a socket that does not wait.
///
/// # Errors
/// `TimedOut` when nothing came for as long as the socket's time-out.
pub fn read(mut stream: &TcpStream, buf: &mut [u8]) -> io::Result<usize> {
    patiently(stream, PollFlags::IN, TcpStream::read_timeout, || stream.read(buf))
}

/// Writes some of `bytes`, to a socket that does not wait.
///
/// # Errors
/// `TimedOut` when there was no room for as long as the socket's time-out: nothing was written.
pub fn write(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let piece = bytes.get(..PIECE).unwrap_or(bytes);
    patiently(stream, PollFlags::OUT, TcpStream::write_timeout, || stream.write(piece))
}

fn patiently(
    stream: &TcpStream,
    ready: PollFlags,
    limit: fn(&TcpStream) -> io::Result<Option<Duration>>,
    mut attempt: impl FnMut() -> io::Result<usize>,
) -> io::Result<usize> {
    let mut deadline = None;
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
        let deadline = match deadline {
            Some(deadline) => deadline,
            None => *deadline.insert(limit(stream)?.map(|limit| Instant::now() + limit)),
        };
        let look = match deadline {
            Some(deadline) => LOOK.min(left(deadline)?),
            None => LOOK,
        };
        let look = Timespec::try_from(look).map_err(|_| io::ErrorKind::InvalidInput)?;
        poll(&mut [PollFd::new(stream, ready)], Some(&look))?;
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// An end that does not wait, and the other.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        near.set_nonblocking(true).unwrap();
        (near, listener.accept().unwrap().0)
    }

    /// Whatever times out in between, what is tried again arrives once.
    #[test]
    fn what_timed_out_was_not_sent() {
        let (near, mut far) = pair();
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

    /// A read ends in time, loses nothing by that, and notices that its own side has ended the connection.
    #[test]
    fn what_comes_late_is_read_whole() {
        let (near, mut far) = pair();
        near.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert_eq!(read(&near, &mut [0; 9]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let sent: Vec<u8> = (0..2_000u32).map(|at| (at % 251) as u8).collect();
        let to_send = sent.clone();
        let writer = thread::spawn(move || {
            for piece in to_send.chunks(10) {
                far.write_all(piece).unwrap();
                thread::sleep(Duration::from_millis(1));
            }
            far
        });
        let (mut came, mut buf) = (Vec::new(), [0; 7]);
        while came.len() < sent.len() {
            match read(&near, &mut buf) {
                Ok(count) => came.extend_from_slice(&buf[..count]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::TimedOut),
            }
        }
        assert!(came == sent);
        let far = writer.join().unwrap();
        near.set_read_timeout(None).unwrap();
        let waits = near.try_clone().unwrap();
        let reader = thread::spawn(move || read(&waits, &mut [0; 9]));
        near.shutdown(std::net::Shutdown::Both).unwrap();
        // Linux takes it for the end, Windows for an error.
        let _ = reader.join().unwrap();
        drop(far);
    }
}
