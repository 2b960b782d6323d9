//! One stream of bytes over several streams of QUIC. The engine ends a connection in which some 2,000
//! packets wait in one stream, so no stream may have a window of more than 2 MiB; that alone is
//! 10 MB/s at 200 ms, and less where packets get lost. Block k of the bytes goes over stream k mod n.

use std::io::{self, ErrorKind};
use std::time::Instant;

use iroh::endpoint::{Connection, RecvStream, SendStream, VarInt};

use super::path;
use super::room::Room;
use crate::bounds::MAX_QUIC_STRIPES;

/// Bytes of a block.
const BLOCK: u64 = 128 << 10;

/// Into how many streams a sender's bytes are parted.
const STRIPES: u8 = 16;

/// An error of the engine as one of a socket.
pub fn gone(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(ErrorKind::ConnectionReset, error)
}

/// What of `len` bytes belongs to the block at `at`, and to which of `count` streams that goes.
fn piece(at: u64, len: usize, count: u8) -> (usize, usize) {
    let left = usize::try_from(BLOCK - at % BLOCK).unwrap_or(len).min(len);
    (left, usize::try_from(at / BLOCK % u64::from(count.max(1))).unwrap_or_default())
}

/// The way out.
pub struct Out {
    connection: Connection,
    streams: Vec<SendStream>,
    count: u8,
    at: u64,
    /// Not said yet: how many there are.
    is_untold: bool,
}

impl Out {
    pub fn new(connection: Connection, first: SendStream) -> Self {
        Self { connection, streams: vec![first], count: 1, at: 0, is_untold: false }
    }

    /// From here on there are several, and the other side is told so first.
    pub fn part(&mut self) {
        (self.count, self.at, self.is_untold) = (STRIPES, 0, true);
    }

    /// Writes some. To drop it before it is done loses nothing and writes nothing twice.
    pub async fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let Some(first) = self.streams.first_mut() else { return Ok(0) };
        if self.is_untold {
            first.write(&[self.count]).await.map_err(gone)?;
            self.is_untold = false;
        }
        let (left, index) = piece(self.at, buf.len(), self.count);
        while self.streams.len() <= index {
            self.streams.push(self.connection.open_uni().await.map_err(gone)?);
        }
        let (Some(stream), Some(buf)) = (self.streams.get_mut(index), buf.get(..left)) else {
            return Ok(0);
        };
        let written = stream.write(buf).await.map_err(gone)?;
        self.at = self.at.wrapping_add(written as u64);
        Ok(written)
    }

    /// Ends it, and waits until all of it was acknowledged.
    pub async fn finish(&mut self) {
        for stream in &mut self.streams {
            // It has ended already.
            let _ = stream.finish();
        }
        for stream in &mut self.streams {
            // The connection is gone, and whatever waited with it.
            let _ = stream.stopped().await;
        }
    }
}

/// The way in.
pub struct In {
    connection: Connection,
    streams: Vec<RecvStream>,
    count: u8,
    at: u64,
    /// Not heard yet: how many there are.
    is_unheard: bool,
    room: Room,
}

impl In {
    pub fn new(connection: Connection, first: RecvStream) -> Self {
        let room = Room::new(Instant::now());
        Self { connection, streams: vec![first], count: 1, at: 0, is_unheard: false, room }
    }

    /// From here on there may be several, as the other side says first.
    pub fn part(&mut self) {
        (self.at, self.is_unheard) = (0, true);
    }

    /// Reads some; nothing at its end. To drop it before it is done loses nothing.
    pub async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(first) = self.streams.first_mut() else { return Ok(0) };
        if self.is_unheard {
            let mut count = [0];
            if first.read(&mut count).await.map_err(gone)?.is_none() {
                return Ok(0);
            }
            let [count] = count;
            if !(1..=MAX_QUIC_STRIPES).contains(&count) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "no such number of streams",
                ));
            }
            (self.count, self.is_unheard) = (count, false);
        }
        let (left, index) = piece(self.at, buf.len(), self.count);
        while self.streams.len() <= index {
            self.streams.push(self.connection.accept_uni().await.map_err(gone)?);
        }
        let (Some(stream), Some(buf)) = (self.streams.get_mut(index), buf.get_mut(..left)) else {
            return Ok(0);
        };
        let read = stream.read(buf).await.map_err(gone)?.unwrap_or(0);
        self.at = self.at.wrapping_add(read as u64);
        // Strangers have a window that stays as it is: all streams but the first are for those who are none.
        if self.count > 1
            && let Some(window) =
                self.room.read(read, Instant::now(), || path::selected(&self.connection))
        {
            self.connection.set_receive_window(VarInt::from_u32(window));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_go_round() {
        let whole = BLOCK as usize;
        for (at, len, count, expected) in [
            (0, 10, 4, (10, 0)),
            (0, 2 * whole, 4, (whole, 0)),
            (BLOCK - 1, 10, 4, (1, 0)),
            (BLOCK, 10, 4, (10, 1)),
            (4 * BLOCK + 5, whole, 4, (whole - 5, 0)),
            (7 * BLOCK, 10, 1, (10, 0)),
            (7 * BLOCK, 10, 3, (10, 1)),
            (u64::MAX, 10, 4, (1, 3)),
            (0, 0, 4, (0, 0)),
        ] {
            assert_eq!(piece(at, len, count), expected, "{at} {len} {count}");
        }
    }
}
