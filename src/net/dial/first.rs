//! The first of several addresses that answers (RFC 8305, "Happy Eyeballs"). A machine often has
//! addresses that lead nowhere: programs that wait for the first of them, wait for ever.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::Stream;
use crate::bounds::MAX_SERVER_ADDRESSES;
use crate::error::{Cause, Error, Result, reason};
use crate::net::deadline::left;
use crate::net::firewall::Firewall;
use crate::net::interfaces::LOCAL_NETWORK_LEAVE;

/// How long one address is waited for before the next is tried beside it (RFC 8305, section 8).
const APART: Duration = Duration::from_millis(250);

/// Connects to the first address that answers, tried in their order, a quarter of a second apart
/// or as soon as one has failed, all within `limit`. More than [`MAX_SERVER_ADDRESSES`] are not tried.
///
/// # Errors
/// Exit 5, with what each address said and a hint: [`Cause::NothingListens`] if all of them refused.
pub fn dial_first(targets: &[SocketAddr], limit: Duration) -> Result<(Stream, SocketAddr)> {
    let deadline = Instant::now() + limit;
    let (sender, answers) = mpsc::channel();
    let mut more = targets.iter().copied().take(MAX_SERVER_ADDRESSES);
    let (mut running, mut failed) = (0, Vec::new());
    loop {
        let next = more.next();
        if let Some(target) = next {
            let answers = sender.clone();
            let dialling = thread::Builder::new().name("dial".into()).spawn(move || {
                // Whoever is late finds nobody to tell, and its connection is closed.
                let dialled =
                    left(deadline).and_then(|left| TcpStream::connect_timeout(&target, left));
                let _ = answers.send((target, dialled));
            });
            dialling.map_err(|error| Error::no_thread(&error))?;
            running += 1;
        } else if running == 0 {
            return Err(no_answer(failed, limit));
        }
        // With nobody left to try there is nothing else to wait for.
        let until = if next.is_some() { deadline.min(Instant::now() + APART) } else { deadline };
        match answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok((target, Ok(stream))) => return Ok((Stream::tcp(stream), target)),
            Ok((target, Err(error))) => {
                running -= 1;
                failed.push((target, error));
            }
            Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
            Err(_) => {
                let told = |target| failed.iter().any(|(known, _)| *known == target);
                let silent: Vec<_> = targets.iter().copied().filter(|at| !told(*at)).collect();
                let late = |target| (target, io::ErrorKind::TimedOut.into());
                failed.extend(silent.into_iter().take(MAX_SERVER_ADDRESSES).map(late));
                return Err(no_answer(failed, limit));
            }
        }
    }
}

/// What the addresses said, in one sentence.
fn no_answer(failed: Vec<(SocketAddr, io::Error)>, limit: Duration) -> Error {
    use io::ErrorKind::{ConnectionRefused, TimedOut, WouldBlock};
    let is_late = |error: &io::Error| matches!(error.kind(), TimedOut | WouldBlock);
    let port = failed.first().map_or(0, |(target, _)| target.port());
    let told = |(target, error): &(SocketAddr, io::Error)| match error.kind() {
        ConnectionRefused => format!("nothing listens at {target}"),
        _ if is_late(error) => format!("{target} did not answer within {limit:?}"),
        _ => format!("there is no way to {target}: {}", reason(error)),
    };
    if failed.is_empty() {
        return Error::network("there is no address of the local network to connect to")
            .hint("is this machine in the same network? name the address of the other");
    }
    let all_refused = failed.iter().all(|(_, error)| error.kind() == ConnectionRefused);
    let hint = if all_refused {
        "is `transfer` still running there, on that port?".to_owned()
    } else {
        let open = match Firewall::here() {
            // Most people have the same system on both.
            Some(firewall) => {
                format!("; there, {} opens it", firewall.allow(&port.to_string(), "tcp"))
            }
            None => String::new(),
        };
        let leave = if may_lack_leave(&failed, cfg!(target_vendor = "apple")) {
            format!("; {LOCAL_NETWORK_LEAVE}")
        } else {
            String::new()
        };
        format!(
            "is that machine on, and in the same network as this one? a firewall there may block \
             port {port}{open}; an access point may keep its devices apart, as guest networks \
             do{leave}"
        )
    };
    // Somebody who refuses is there; the others may not be.
    let cause = if all_refused { Cause::NothingListens } else { Cause::Network };
    Error::network(failed.iter().map(told).collect::<Vec<_>>().join("; ")).cause(cause).hint(hint)
}

/// Whether a Mac may keep this program from the local network: it says then that there is no way.
fn may_lack_leave(failed: &[(SocketAddr, io::Error)], is_mac: bool) -> bool {
    is_mac && failed.iter().any(|(_, error)| error.kind() == io::ErrorKind::HostUnreachable)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A port that refuses: nobody else can get it while the socket is kept.
    fn refusing() -> (socket2::Socket, SocketAddr) {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    /// A port that does not answer: its queue is full.
    #[cfg(target_os = "linux")]
    fn silent() -> (Vec<socket2::Socket>, SocketAddr) {
        let (socket, address) = refusing();
        socket.listen(0).unwrap();
        let mut kept = vec![socket];
        for _ in 0..3 {
            let caller =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            caller.set_nonblocking(true).unwrap();
            let _ = caller.connect(&address.into());
            kept.push(caller);
        }
        thread::sleep(Duration::from_millis(50));
        (kept, address)
    }

    #[test]
    fn a_mac_without_a_way_may_lack_leave() {
        use io::ErrorKind::{HostUnreachable, TimedOut};
        let at = SocketAddr::from(([192, 168, 1, 9], 15820));
        for (kinds, is_mac, may) in [
            (vec![HostUnreachable], true, true),
            (vec![TimedOut, HostUnreachable], true, true),
            (vec![TimedOut], true, false),
            (vec![HostUnreachable], false, false),
        ] {
            let failed: Vec<_> = kinds.into_iter().map(|kind| (at, kind.into())).collect();
            assert_eq!(may_lack_leave(&failed, is_mac), may, "{failed:?} {is_mac}");
        }
    }

    #[test]
    fn the_first_that_answers_is_taken() {
        let here = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = here.local_addr().unwrap();
        let (_kept, refused) = refusing();
        for targets in [vec![at], vec![refused, at], vec![at, refused], vec![refused, refused, at]]
        {
            assert_eq!(dial_first(&targets, LIMIT).unwrap().1, at, "{targets:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn nobody_is_held_up_by_an_address_that_does_not_answer() {
        let here = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = here.local_addr().unwrap();
        let (_kept, dead) = silent();
        let begun = Instant::now();
        assert_eq!(dial_first(&[dead, at], LIMIT).unwrap().1, at);
        // Not a measurement: one that waited for the first would take all of it.
        assert!(begun.elapsed() < LIMIT);
        let error = dial_first(&[dead], Duration::from_millis(300)).unwrap_err();
        assert_eq!(error.message, format!("{dead} did not answer within 300ms"));
        assert_eq!(error.cause, Cause::Network);
    }

    #[test]
    fn each_address_says_why() {
        let (_one, first) = refusing();
        let (_two, second) = refusing();
        let error = dial_first(&[first, second], LIMIT).unwrap_err();
        let expected = format!("nothing listens at {first}; nothing listens at {second}");
        assert_eq!(error.message, expected);
        assert_eq!(error.cause, Cause::NothingListens);
        let none = dial_first(&[], LIMIT).unwrap_err();
        assert_eq!(none.message, "there is no address of the local network to connect to");
    }
}
