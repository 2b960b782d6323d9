//! The other machine: who it is, whether a sender answers there, and by which way.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use super::{Doctor, LEAST, Tailscale, local, server, tailnet};
use crate::connect;
use crate::connect::devices::PORTS;
use crate::connect::handshake;
use crate::crypto::handshake::{HandshakeError, Hello, agreed_version};
use crate::error::{Cause, Error, Result, reason};
use crate::net::dial::{Route, Stream, dial};
use crate::net::interfaces::is_tailnet;
use crate::net::tailscale::{TailscaleDetector, Way};
use crate::ticket::{DEFAULT_PORT, Host};
use crate::ui::Finding;

/// For connecting and for the first bytes; a relay at the other end of the world needs one or two.
const PEER_LIMIT: Duration = Duration::from_secs(4);
/// For the ports of a server, and its first word.
const SERVER_LIMIT: Duration = Duration::from_secs(4);
/// A way through a relay often becomes a direct one after a moment of traffic.
const BETTER_WAY: Duration = Duration::from_secs(2);

impl Doctor<'_> {
    /// All about the other machine; `tailscale` is nothing where none is needed.
    pub(super) fn peer(&mut self, host: &Host, asked: Option<u16>, tailscale: Option<Tailscale>) {
        let (topic, port) = (host.to_string(), asked.unwrap_or(DEFAULT_PORT));
        if let Some(ip) = host.address().filter(|ip| connect::lan::is_meant(*ip)) {
            self.tell(&topic, &[local::device(ip)]);
            return self.ports(host, asked, SocketAddr::new(ip, port), Route::Local);
        }
        let (ip, tailscale) = match (host.address().filter(IpAddr::is_loopback), tailscale) {
            (Some(ip), _) => {
                self.tell(&topic, &[Finding::fine(format!("{ip} is this machine"))]);
                (ip, None)
            }
            (None, Some(Ok((tailscale, _)))) => match device(host, &tailscale) {
                Ok((ip, finding)) => {
                    self.tell(&topic, &[finding]);
                    (ip, Some(tailscale))
                }
                Err(error) => return self.tell(&topic, &[(&error).into()]),
            },
            (None, tailscale) => {
                let is_missing =
                    matches!(&tailscale, Some(Err(error)) if error.cause == Cause::NotInstalled);
                return self.tell(&topic, &[nowhere(host, is_missing)]);
            }
        };
        let route = match tailscale.as_ref().map_or(Ok(Route::Direct), Route::from_env) {
            Ok(route) => route,
            // The proxy, and that is told above.
            Err(_) => return self.tell("", &[Finding::skipped("there is no way to it")]),
        };
        self.ports(host, asked, SocketAddr::new(ip, port), route);
        // Only now: before there was traffic, there is no way to speak of.
        if let Some(finding) = tailscale.and_then(|tailscale| self.way(&tailscale, ip)) {
            self.tell("", &[finding]);
        }
    }

    /// What answers there: a server, a sender, or both.
    fn ports(&mut self, host: &Host, asked: Option<u16>, target: SocketAddr, route: Route) {
        // At another port a server waits for the first word, and so a sender is looked for first.
        let is_usual = asked.is_none_or(|port| PORTS.contains(&port));
        let serves = is_usual && self.server(host, asked);
        if serves && asked.is_some() {
            return;
        }
        let direct = matches!(route, Route::Direct | Route::Local);
        let answer = self.within(PEER_LIMIT, move |limit| greet(target, &route, limit));
        let says_nothing = matches!(answer, Some(Ok(Answer::Silence)));
        if says_nothing && !is_usual && self.server(host, asked) {
            return;
        }
        self.tell("", &[answer_of(target, direct, serves, answer)]);
    }

    /// What there is to say of a server there, and whether one has answered.
    fn server(&mut self, host: &Host, port: Option<u16>) -> bool {
        let host = host.clone();
        let found = self.within(SERVER_LIMIT, move |limit| server::look_at(&host, port, limit));
        match found {
            Some(None) => false,
            Some(Some((finding, answers))) => {
                self.tell("", &[finding]);
                answers
            }
            None => {
                let late = "whether a `transfer serve` is there: its ports do not answer in time";
                self.tell("", &[Finding::skipped(late)]);
                false
            }
        }
    }

    /// How packets go to a device; nothing for this machine.
    fn way(&self, tailscale: &TailscaleDetector, ip: IpAddr) -> Option<Finding> {
        let until = Instant::now() + self.limit(BETTER_WAY);
        loop {
            let status = match tailscale.status_now() {
                Ok(status) => status,
                Err(error) => return Some((&error).into()),
            };
            let link = status.link(ip)?;
            if !matches!(link.way, Way::Relay(_)) || Instant::now() >= until {
                return Some(tailnet::way(link));
            }
            thread::sleep(LEAST);
        }
    }
}

/// What there is to say of a machine that nobody can be asked for. A server of this name would have been found.
fn nowhere(host: &Host, is_missing: bool) -> Finding {
    match host {
        Host::Name(name) if is_missing && server::is_known(name) => {
            Finding::problem("no server of this name answers in the local network").advice(
                "is `transfer serve` running there, and that machine in this network? from elsewhere both need \
                 Tailscale",
            )
        }
        Host::Name(_) => Finding::skipped(
            "no server of this name is in the local network, and Tailscale does not answer, see above",
        ),
        host if is_missing && !host.address().is_some_and(is_tailnet) => {
            Finding::problem("it is in no network of this machine").advice(
                "over the internet `transfer send --direct` there needs no address; `transfer doctor --direct` looks \
                 at that way",
            )
        }
        _ => Finding::skipped("Tailscale does not answer, see above"),
    }
}

/// The device that a host names, found as `transfer receive` would.
fn device(host: &Host, tailscale: &TailscaleDetector) -> Result<(IpAddr, Finding)> {
    let (ip, peer) = connect::tailnet::find(host, tailscale)?;
    Ok((ip, tailnet::device(tailscale.status()?.link(ip), ip, &peer)))
}

/// What is behind a port.
enum Answer {
    /// A `transfer send`.
    Sender,
    /// One of another version; what it says, in words.
    OtherVersion(String),
    /// A program that says something else.
    Other(String),
    /// One that says nothing, as a server does before it is spoken to.
    Silence,
    /// It was closed before a word.
    Closed(io::Error),
}

const BLOCKED: &str = "is `transfer send` running there? a rule of the tailnet or a firewall may \
                       block the port";

/// Connects, and reads what a sender says first. It is told that this was a look; another program
/// is told nothing.
fn greet(target: SocketAddr, route: &Route, limit: Duration) -> Result<Answer> {
    let deadline = Instant::now() + limit;
    let stream = dial(target, route, limit)?;
    let (said, read) = handshake::hear(&stream, deadline);
    close(stream);
    let not_ours = || Answer::Other(HandshakeError::NotTransfer.to_string());
    let error = match (Hello::try_from(&*said), read) {
        (Ok(hello), _) => {
            return Ok(match agreed_version(&hello) {
                Ok(_) => Answer::Sender,
                Err(error @ HandshakeError::Version(_)) => Answer::OtherVersion(error.to_string()),
                Err(_) => not_ours(),
            });
        }
        (Err(_), _) if !said.is_empty() => return Ok(not_ours()),
        (Err(_), Ok(_)) => return Ok(Answer::Closed(io::ErrorKind::UnexpectedEof.into())),
        (Err(_), Err(error)) => error,
    };
    match (error.kind(), route) {
        // Such a child tells only now that it is not connected, or is still trying.
        (io::ErrorKind::TimedOut, Route::Nc(_)) => {
            Err(Error::network(format!("`tailscale nc` brings no answer from {target}"))
                .hint(BLOCKED))
        }
        (io::ErrorKind::Other, Route::Nc(_)) => {
            Err(Error::new(Cause::Unreachable, reason(&error)).hint(BLOCKED))
        }
        (io::ErrorKind::TimedOut, _) => Ok(Answer::Silence),
        _ => Ok(Answer::Closed(error)),
    }
}

/// A `tailscale nc` may take 2 s to end, for which nobody needs to wait.
fn close(stream: Stream) {
    let closing = thread::Builder::new().name("close".into()).spawn(move || stream.shutdown());
    drop(closing);
}

/// What there is to say of it, where `serves` says whether a server is there as well.
fn answer_of(
    target: SocketAddr,
    direct: bool,
    serves: bool,
    answer: Option<Result<Answer>>,
) -> Finding {
    let port = target.port();
    match answer {
        Some(Ok(Answer::Sender)) => {
            Finding::fine(format!("a `transfer send` waits there on port {port}"))
        }
        Some(Ok(Answer::OtherVersion(what))) => {
            Finding::problem(format!("a `transfer send` waits there on port {port}, but {what}"))
                .advice("install the same version of transfer on both machines")
        }
        Some(Ok(Answer::Other(what))) => is_none(port, &what),
        Some(Ok(Answer::Silence)) => is_none(port, "it says nothing"),
        Some(Ok(Answer::Closed(error))) => Finding::warning(format!(
            "port {port} there is open, but hangs up at once: {}",
            reason(&error)
        ))
        .advice("if it is `transfer send`, its terminal says why"),
        Some(Err(_)) if serves => {
            Finding::skipped(format!("no `transfer send` waits there on port {port}"))
        }
        // It is there and answers, so all that is missing is the program.
        Some(Err(error)) if error.cause == Cause::NothingListens => {
            Finding::warning(format!("it answers, but nothing listens on port {port} there"))
                .advice("`transfer send` is not running there at the moment")
        }
        // Neither tailscaled's proxy nor `nc` tells whether nobody listens or nobody answers.
        Some(Err(error)) if !direct && error.cause == Cause::Unreachable => {
            let hint = error.hint.clone().unwrap_or_default();
            Finding::warning(error.to_string()).advice(hint)
        }
        Some(Err(error)) => (&error).into(),
        None => Finding::problem(format!("no answer from {target}"))
            .advice("is the name in ALL_PROXY right? no name server knew it in time"),
    }
}

fn is_none(port: u16, what: &str) -> Finding {
    Finding::problem(format!("port {port} there is not a `transfer send`: {what}"))
        .advice("is the port right? `--port N` looks at another")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::crypto::handshake::{MAGIC, VERSION};
    use crate::ui::Mark;

    /// What is said of a port whose server says these bytes to the first caller; then it hangs up
    /// or, if it is to `stay`, waits until the caller goes.
    fn said_of(bytes: Vec<u8>, stay: bool) -> Finding {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let serving = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&bytes).unwrap();
            if stay {
                let _ = stream.read(&mut [0]);
            }
        });
        let answer = greet(target, &Route::Direct, LEAST);
        serving.join().unwrap();
        answer_of(target, true, false, Some(answer))
    }

    #[test]
    fn what_is_behind_a_port() {
        let hello = |version: u16| [&MAGIC[..], &version.to_be_bytes(), &[7; 65]].concat();
        let http = [b"HTTP/1.1 400 Bad Request\r\n", &[b' '; 80][..]].concat();
        let other = "does not speak this protocol";
        let closed = "is open, but hangs up at once: it ended too early";
        for (bytes, stay, mark, says) in [
            (hello(VERSION), true, Mark::Fine, "a `transfer send` waits there"),
            (hello(VERSION + 1), true, Mark::Fine, "a `transfer send` waits there"),
            (hello(VERSION - 1), true, Mark::Problem, "speaks version 1 of the protocol"),
            (http, true, Mark::Problem, other),
            (b"SSH-2.0\r\n".to_vec(), true, Mark::Problem, other),
            (vec![], true, Mark::Problem, "it says nothing"),
            (vec![], false, Mark::Warning, closed),
            (hello(VERSION)[..70].to_vec(), false, Mark::Problem, other),
        ] {
            let finding = said_of(bytes, stay);
            assert_eq!(finding.mark, mark, "{finding:?}");
            assert!(finding.what.contains(says), "{finding:?}");
        }
    }

    /// An open port is needed for none of these.
    #[test]
    fn why_there_is_no_answer() {
        use Cause::{Network, NothingListens, Unreachable};
        let target = "100.70.15.9:15820".parse().unwrap();
        for (kind, direct, mark) in [
            (NothingListens, true, Mark::Warning),
            (NothingListens, false, Mark::Warning),
            (Network, true, Mark::Problem),
            (Network, false, Mark::Problem),
            (Unreachable, true, Mark::Problem),
            // Through a proxy that may just mean that nobody listens.
            (Unreachable, false, Mark::Warning),
        ] {
            let error = Error::new(kind, "no").hint("do");
            let finding = answer_of(target, direct, false, Some(Err(error)));
            assert_eq!(finding.mark, mark, "{kind:?} {direct}");
            assert!(finding.advice.is_some_and(|advice| !advice.is_empty()));
            // Whoever has a server to send to misses nothing.
            let error = Error::new(kind, "no").hint("do");
            let finding = answer_of(target, direct, true, Some(Err(error)));
            assert_eq!(finding, Finding::skipped("no `transfer send` waits there on port 15820"));
        }
        assert_eq!(answer_of(target, false, false, None).mark, Mark::Problem);
    }
}
