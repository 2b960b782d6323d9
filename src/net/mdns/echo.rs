//! Whether this machine hears its own multicast: a firewall, or a program that keeps the port for
//! itself, keeps out that of others too.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mdns_sd::MDNS_PORT;
use socket2::{Domain, Socket, Type};

/// RFC 6762, section 3.
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// How long it may take to come back.
const LIMIT: Duration = Duration::from_millis(500);

/// Bytes of a packet (RFC 6762, section 17).
const MAX_PACKET: usize = 9000;

/// Sends a question that nobody answers on the interface of an address, so that it does not leave this
/// machine (with a TTL of 0), and tells whether it was heard.
///
/// # Errors
/// What the system says.
pub fn echo(at: Ipv4Addr) -> io::Result<bool> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, MDNS_PORT)).into())?;
    socket.join_multicast_v4(&GROUP, &at)?;
    socket.set_multicast_if_v4(&at)?;
    socket.set_multicast_ttl_v4(0)?;
    socket.set_multicast_loop_v4(true)?;
    let question = question(rand::random());
    socket.send_to(&question, &SocketAddr::from((GROUP, MDNS_PORT)).into())?;
    let deadline = Instant::now() + LIMIT;
    while let Some(left) =
        deadline.checked_duration_since(Instant::now()).filter(|it| !it.is_zero())
    {
        socket.set_read_timeout(Some(left))?;
        // As long as any: Windows makes an error of what does not fit.
        let mut bytes = [0; MAX_PACKET];
        match (&socket).read(&mut bytes) {
            Ok(read) if bytes.get(..read) == Some(&question) => return Ok(true),
            Ok(_) => {}
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// A question for a name that is nobody's.
fn question(number: u64) -> Vec<u8> {
    let label = format!("transfer-{number:016x}");
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in [&*label, "local"] {
        packet.extend(u8::try_from(label.len()));
        packet.extend(label.as_bytes());
    }
    packet.extend([0, 0, 1, 0, 1]);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_one() {
        let packet = question(7);
        assert_eq!(packet.len(), 12 + 1 + 25 + 1 + 5 + 1 + 4);
        assert_eq!(&packet[12..22], b"\x19transfer-");
    }
}
