//! A server in the tailnet: which device a name or an address means, and at which of its ports it is.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::devices::PORTS;
use super::{NotConnected, tailnet};
use crate::bounds::FAR_ANSWER_LIMIT;
use crate::control;
use crate::error::{Cause, Error, Result};
use crate::net::dial::{Route, Stream, dial};
use crate::net::tailscale::TailscaleDetector;
use crate::ticket::Host;

/// How long a port that says neither yes nor no is waited for before the next is tried beside it. A rule of
/// the tailnet may swallow what goes to one of them, and a relay takes its time.
const APART: Duration = Duration::from_secs(1);

/// The tailnet that this machine is in.
#[derive(Debug, Clone)]
pub struct Far(Arc<TailscaleDetector>);

/// Looks who is behind a connection, by a moment.
pub type Meet<T> = dyn Fn(Stream, Instant) -> Result<T, NotConnected> + Send + Sync;

impl Far {
    /// The program that tells of it.
    ///
    /// # Errors
    /// It is not on this machine.
    pub fn find() -> Result<Self> {
        Ok(Self(Arc::new(TailscaleDetector::find()?)))
    }

    /// The address of the device that a name or an address means, if its key has not expired.
    ///
    /// # Errors
    /// There is no such device, or Tailscale does not run.
    pub fn address(&self, host: &Host) -> Result<IpAddr> {
        Ok(tailnet::find(host, &self.0)?.0)
    }

    /// The same, asked for beside whatever else is done: Tailscale may take its time.
    pub fn ask(&self, host: Host) -> Receiver<Result<IpAddr>> {
        let (sender, answer) = mpsc::channel();
        let far = self.clone();
        // Without a thread nobody answers, which is as well.
        let asking = thread::Builder::new().name("tailscale".into()).spawn(move || {
            let _ = sender.send(far.address(&host));
        });
        drop(asking);
        answer
    }

    /// Connects to a device at the first of these ports where the one is whom `meet` takes, all within
    /// [`FAR_ANSWER_LIMIT`].
    ///
    /// # Errors
    /// Nobody of them is. Whoever was there and is somebody else tells more than ports where nobody is.
    pub fn connect<T: Send + 'static>(
        &self,
        ip: IpAddr,
        ports: &[u16],
        meet: &Arc<Meet<T>>,
    ) -> Result<(T, SocketAddr), NotConnected> {
        let route = Route::from_env(&self.0)?;
        let (deadline, meet) = (Instant::now() + FAR_ANSWER_LIMIT, Arc::clone(meet));
        first(ports, FAR_ANSWER_LIMIT, move |port| {
            let target = SocketAddr::new(ip, port);
            let stream = dial(target, &route, deadline.saturating_duration_since(Instant::now()))?;
            Ok((meet(stream, deadline)?, target))
        })
    }
}

/// The ports to try: the one that is known, or all that a server takes by itself.
pub fn ports(known: Option<u16>) -> Vec<u16> {
    known.map_or_else(|| PORTS.collect(), |port| vec![port])
}

/// What the first port gives that gives something. They are tried in their order, [`APART`] or as soon as one
/// has failed.
fn first<T: Send + 'static>(
    ports: &[u16],
    limit: Duration,
    attempt: impl Fn(u16) -> Result<T, NotConnected> + Send + Sync + 'static,
) -> Result<T, NotConnected> {
    let deadline = Instant::now() + limit;
    let attempt = Arc::new(attempt);
    let (sender, answers) = mpsc::channel();
    let (mut left, mut running, mut failed) = (ports.iter().copied(), 0_u32, Vec::new());
    loop {
        control::check()?;
        let next = left.next();
        if let Some(port) = next {
            let (attempt, answers) = (Arc::clone(&attempt), sender.clone());
            let trying = thread::Builder::new().name("dial".into()).spawn(move || {
                // Whoever is late finds nobody to tell, and its connection is closed.
                let _ = answers.send((port, attempt(port)));
            });
            trying.map_err(|error| Error::no_thread(&error))?;
            running += 1;
        } else if running == 0 {
            break;
        }
        let until = if next.is_some() { deadline.min(Instant::now() + APART) } else { deadline };
        match wait(&answers, until)? {
            Some((_, Ok(found))) => return Ok(found),
            Some((port, Err(end))) => {
                running -= 1;
                failed.push((port, end));
            }
            None if Instant::now() < deadline => {}
            None => break,
        }
    }
    Err(worst(failed, ports, limit))
}

/// The next answer by a moment, if there is one; a user who wants to stop is not kept waiting.
fn wait<T>(answers: &Receiver<T>, until: Instant) -> Result<Option<T>> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match answers.recv_timeout(left.min(control::SLICE)) {
            Ok(answer) => return Ok(Some(answer)),
            Err(RecvTimeoutError::Timeout) if left > control::SLICE => control::check()?,
            Err(_) => return Ok(None),
        }
    }
}

/// What tells most of all that went wrong: who is there and is not the one; then who closed the connection;
/// then what is there at all.
fn worst(mut failed: Vec<(u16, NotConnected)>, ports: &[u16], limit: Duration) -> NotConnected {
    let rank = |end: &NotConnected| match end {
        NotConnected::Over(error) if error.cause == Cause::Refused => 0,
        NotConnected::Over(_) => 1,
        NotConnected::Cut(_) => 2,
        NotConnected::Refused(_) => 4,
        _ => 3,
    };
    // Of several the first port's, which is the usual one.
    failed.sort_by_key(|(port, end)| (rank(end), ports.iter().position(|it| it == port)));
    let all_refuse = failed.len() == ports.len();
    let with_hint = |error: Error| match (ports, error.hint.clone()) {
        ([first, .., last], Some(hint)) => {
            error.hint(format!("ports {first} to {last} were tried; {hint}"))
        }
        _ => error,
    };
    match failed.into_iter().next() {
        Some((_, NotConnected::Refused(error))) if all_refuse => {
            NotConnected::Refused(with_hint(error.hint(
                "is `transfer serve --tailnet` running there? without --tailnet it is in the local network alone",
            )))
        }
        Some((_, NotConnected::Lost(error))) => NotConnected::Lost(with_hint(error)),
        // Some port has not even said no.
        None | Some((_, NotConnected::Refused(_))) => NotConnected::Lost(with_hint(
            Error::network(format!("no server answered within {limit:?}")).hint(
                "is that machine on? an access rule (ACL) of the tailnet or a firewall there may \
                 block the port",
            ),
        )),
        Some((_, end)) => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn refuses(port: u16) -> Result<u16, NotConnected> {
        Err(NotConnected::Refused(Error::network(format!("nothing listens at {port}"))))
    }

    /// Each is tried in its turn, and none behind the one that is found.
    #[test]
    fn the_first_that_is_the_one() {
        let (tell, tried) = mpsc::channel();
        let found = first(&ports(None), LIMIT, move |port| {
            tell.send(port).unwrap();
            match port {
                15823 => Ok(port),
                15822 => Err(NotConnected::Over(Error::refused("another key"))),
                _ => refuses(port),
            }
        });
        assert_eq!(found.ok(), Some(15823));
        assert_eq!(tried.iter().collect::<Vec<_>>(), [15821, 15822, 15823]);
        assert_eq!(ports(Some(7)), [7]);
        assert_eq!(ports(None).len(), 10);
    }

    /// A port that swallows everything holds up the next for a moment alone.
    #[test]
    fn a_port_that_is_silent_is_not_waited_for() {
        let (_hold, never) = mpsc::channel::<()>();
        let never = std::sync::Mutex::new(never);
        let found = first(&[1, 2], LIMIT, move |port| match port {
            1 => {
                let _ = never.lock().unwrap().recv();
                refuses(port)
            }
            _ => Ok(port),
        });
        assert_eq!(found.ok(), Some(2));
    }

    #[test]
    fn what_is_told_of_those_that_are_not_the_one() {
        let lost = |text: &str| NotConnected::Lost(Error::network(text.to_owned()).hint("h"));
        let refused = || NotConnected::Refused(Error::network("nothing listens at 1").hint("h"));
        let other = || NotConnected::Over(Error::refused("another key"));
        let cut = || NotConnected::Cut(Error::network("closed"));
        let tried = "ports 1 to 2 were tried; ";
        for (row, failed, kind, message, hint) in [
            (
                "nobody",
                vec![(2, refused()), (1, refused())],
                "Refused",
                "nothing listens at 1",
                tried,
            ),
            ("one is silent", vec![(1, refused())], "Lost", "no server answered", tried),
            ("all are", vec![], "Lost", "no server answered", tried),
            ("something else", vec![(1, refused()), (2, lost("no TLS"))], "Lost", "no TLS", tried),
            ("closed", vec![(1, lost("no TLS")), (2, cut())], "Cut", "closed", ""),
            ("somebody else", vec![(1, cut()), (2, other())], "Over", "another key", ""),
            ("the usual port first", vec![(2, lost("b")), (1, lost("a"))], "Lost", "a", tried),
        ] {
            let end = worst(failed, &[1, 2], LIMIT);
            assert!(format!("{end:?}").starts_with(kind), "{row}: {end:?}");
            let error = end.into_error();
            assert!(error.message.starts_with(message), "{row}: {error:?}");
            assert!(error.hint.unwrap_or_default().starts_with(hint), "{row}");
        }
        let alone = worst(vec![(7, refused())], &[7], LIMIT).into_error();
        assert!(alone.hint.unwrap().starts_with("is `transfer serve --tailnet`"));
    }
}
