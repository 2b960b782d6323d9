//! The side that dials: one endpoint after the other, and why nobody answers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use iroh::endpoint::{Connection, ConnectionError};
use iroh::{Endpoint, TransportAddr};

use super::endpoint::{
    ALPN, Discovery, bind, builder, is_to_stop, place_of, plain, register, runtime,
};
use super::slept::Moment;
use super::stream::{Home, Quic};
use super::{Caller, Meeting, path, warnings};
use crate::bounds::{ABSENT_LIMIT, HANDSHAKE_LIMIT};
use crate::error::{Error, Result, reason};
use crate::net::relay_url::RelayUrl;

/// The side that dials, as often as it takes.
pub struct Dialler {
    meeting: Meeting,
    home: Home,
    /// Made when it is first needed, and anew where it came to nothing, or has slept since it was used.
    endpoint: Mutex<Option<(Endpoint, Moment)>>,
}

impl std::fmt::Debug for Dialler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialler").field("meeting", &self.meeting).finish_non_exhaustive()
    }
}

impl Dialler {
    /// To whoever waits there.
    ///
    /// # Errors
    /// The system starts no threads.
    pub fn new(meeting: Meeting) -> Result<Self> {
        let home = Home::new(runtime()?.handle().clone());
        Ok(Self { meeting, home, endpoint: Mutex::default() })
    }

    /// Where the other side is asked for.
    pub fn relays(&self) -> &[RelayUrl] {
        &self.meeting.relays
    }

    /// Connects within `limit`.
    ///
    /// # Errors
    /// Exit 5, which tells whether it is the relay that does not answer, or the sender.
    pub fn dial(&self, limit: Duration) -> Result<Arc<Quic>> {
        let known = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner).take();
        let dialled: Result<_> = self.home.handle.block_on(async {
            let endpoint = match known {
                Some((endpoint, used)) if !Moment::now().has_slept_since(used) => endpoint,
                known => {
                    if let Some((endpoint, _)) = known {
                        endpoint.close().await;
                    }
                    let builder = builder(&self.meeting, Discovery::First)?;
                    bind(builder, None, self.meeting.relay_only).await?
                }
            };
            match self.connect(&endpoint, limit).await {
                Ok(quic) => Ok((endpoint, quic)),
                Err(error) => {
                    // What is wrong may be its own state: the next one begins anew. Its goodbye to nobody takes 3 s.
                    tokio::spawn(async move { endpoint.close().await });
                    Err(error)
                }
            }
        });
        let (endpoint, quic) = dialled?;
        *self.endpoint.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((endpoint, Moment::now()));
        Ok(Arc::new(quic))
    }

    async fn connect(&self, endpoint: &Endpoint, limit: Duration) -> Result<Quic> {
        let Meeting { relays, address, .. } = &self.meeting;
        let there = place_of(&self.meeting);
        let began = Instant::now();
        let mut until = tokio::time::Instant::now() + limit;
        let connecting = endpoint.connect(there, ALPN);
        let registering = async {
            match relays.is_empty() {
                true => std::future::pending().await,
                false => register(endpoint, relays).await,
            }
        };
        tokio::pin!(connecting, registering);
        let mut is_registered = relays.is_empty();
        let connected = loop {
            tokio::select! {
                connected = tokio::time::timeout_at(until, &mut connecting) => break connected,
                stopped = is_to_stop() => return Err(stopped),
                registered = &mut registering, if !is_registered => {
                    let relay = registered?;
                    is_registered = true;
                    // A relay drops what is for nobody, and says so to nobody. Whoever is there answers at once.
                    until = until.min(tokio::time::Instant::now() + ABSENT_LIMIT);
                    warnings::detail(&format!(
                        "the relay {relay} lets this machine in; an answer is waited for up to {} s",
                        ABSENT_LIMIT.as_secs()
                    ));
                }
            }
        };
        let explain = |error: Option<&(dyn std::error::Error + 'static)>| {
            if let Some(error) = error {
                let causes: Vec<_> = chain(error).map(ToString::to_string).collect();
                warnings::detail(&format!("no connection: {}", causes.join(": ")));
            }
            no_connection(&self.meeting, error, began.elapsed().min(limit))
        };
        let connection = match connected {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(explain(Some(&error))),
            Err(_) => return Err(explain(None)),
        };
        let streams = tokio::time::timeout(HANDSHAKE_LIMIT, connection.open_bi()).await;
        let streams = match streams {
            Ok(Ok(streams)) => streams,
            Ok(Err(error)) => return Err(explain(Some(&error))),
            Err(_) => return Err(explain(None)),
        };
        let caller = caller_of(&connection, address.as_ref());
        Quic::new(self.home.clone(), connection, streams, caller, false)
            .map_err(|error| Error::failure(reason(&error)))
    }
}

impl Drop for Dialler {
    fn drop(&mut self) {
        let known = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.home.handle.block_on(async {
            self.home.all_said_goodbye().await;
            if let Some((endpoint, _)) = known {
                endpoint.close().await;
            }
        });
    }
}

/// Why there is no connection, after so long: what the engine says, if it was more than silence.
fn no_connection(
    meeting: &Meeting,
    error: Option<&(dyn std::error::Error + 'static)>,
    took: Duration,
) -> Error {
    let lost = error.and_then(|error| chain(error).find_map(<dyn std::error::Error>::downcast_ref));
    let is_other_version = match lost {
        // No protocol in common (RFC 7301, section 3.2; RFC 9001, section 4.8).
        Some(ConnectionError::ConnectionClosed(close)) => {
            u64::from(close.error_code) == 0x100 + 120
        }
        Some(ConnectionError::VersionMismatch) => true,
        _ => false,
    };
    if is_other_version {
        return Error::failure("the other side runs another version of transfer")
            .hint("install the same version of transfer on both machines");
    }
    let why = error.filter(|_| !matches!(lost, Some(ConnectionError::TimedOut))).map(plain);
    match (&meeting.address, why) {
        (Some(address), why) => {
            let message = match why {
                Some(why) => format!("cannot connect to {address}: {why}"),
                None => format!("{address} did not answer in {} s", took.as_secs().max(1)),
            };
            Error::network(message).hint(format!(
                "is `transfer send` still running there? is UDP port {} open, or forwarded to it?",
                address.port()
            ))
        }
        (None, why) => {
            let message = format!("no sender answers to {}", meeting.plate);
            match why {
                Some(why) => Error::network(format!("{message}: {why}")),
                None => Error::network(message),
            }
            .hint(
                "compare the first two words; is `transfer send` still running there, with the same relay?",
            )
        }
    }
}

/// An error, and what it came from.
fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

fn caller_of(connection: &Connection, address: Option<&SocketAddr>) -> Caller {
    match address {
        Some(address) => Caller::Address(*address),
        None => Caller::Relay(
            connection
                .paths()
                .iter()
                .find_map(|path| match path.remote_addr() {
                    TransportAddr::Relay(url) => Some(path::host(url)),
                    _ => None,
                })
                .unwrap_or_default(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::error::Cause;
    use crate::net::plate::Plate;

    #[test]
    fn why_there_is_no_connection() {
        let there: SocketAddr = "192.0.2.1:4000".parse().unwrap();
        let meeting = |address| Meeting {
            plate: Plate::parse("maple-river").unwrap(),
            relays: vec![],
            address,
            relay_only: false,
            relay_token: None,
        };
        // That no way leads there, as each system numbers it.
        let number = match () {
            () if cfg!(windows) => 10_051,
            () if cfg!(any(target_os = "linux", target_os = "android")) => 101,
            () => 51,
        };
        let failed = io::Error::other(io::Error::from_raw_os_error(number));
        let silence = ConnectionError::TimedOut;
        let other = ConnectionError::VersionMismatch;
        type Why<'a> = Option<&'a (dyn std::error::Error + 'static)>;
        let rows: [(_, Why<'_>, _, _); 6] = [
            (Some(there), None, Cause::Network, "192.0.2.1:4000 did not answer in 12 s"),
            (Some(there), Some(&silence), Cause::Network, "192.0.2.1:4000 did not answer in 12 s"),
            (
                Some(there),
                Some(&failed),
                Cause::Network,
                "cannot connect to 192.0.2.1:4000: network is unreachable",
            ),
            (None, None, Cause::Network, "no sender answers to maple-river"),
            (
                None,
                Some(&failed),
                Cause::Network,
                "no sender answers to maple-river: network is unreachable",
            ),
            (None, Some(&other), Cause::Failure, "the other side runs another version of transfer"),
        ];
        for (address, error, cause, message) in rows {
            let told = no_connection(&meeting(address), error, Duration::from_secs(12));
            assert_eq!((told.cause, &*told.message), (cause, message), "{error:?}");
        }
    }
}
