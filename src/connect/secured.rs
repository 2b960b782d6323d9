//! From an address to a device that is known: TLS with whoever answers there, and why it is not the one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::NotConnected;
use super::devices::Own;
use super::far::Meet;
use crate::bounds::MAX_SERVER_ADDRESSES;
use crate::error::{Cause, Error, Result, shown};
use crate::net::dial::{Stream, dial_first};
use crate::net::tls::{self, Channel, Failure};
use crate::trust::refusal::Who;
use crate::trust::verifier::{Expect, Verifier};

/// Looks whether it is the one who is behind a connection through the tailnet.
pub fn meet(own: Arc<Own>, who: String, expect: Expect) -> Arc<Meet<Channel>> {
    Arc::new(move |stream: Stream, deadline| {
        let verifier = Verifier::new(own.rules()?, expect.clone());
        tls::connect(stream, &own.credentials, &verifier, deadline).map_err(|failure| match failure
        {
            Failure::Cut => {
                let error = format!("{} closed the connection before a word", shown(&who));
                NotConnected::Cut(Error::network(error).hint(
                    "is this machine a device of its tailnet? `transfer serve` there tells whom it \
                     turns away, and why",
                ))
            }
            failure => explain(&own, &who, &failure),
        })
    })
}

/// Connects to the first of a server's addresses at which the one answers that is expected, all within `limit`.
/// Whoever answers faster at another of them may be anybody, and keeps nobody from the next.
///
/// # Errors
/// Nobody, or somebody who is not the one that is expected.
pub fn connect(
    own: &Own,
    who: &str,
    expect: Expect,
    at: &[SocketAddr],
    limit: Duration,
) -> Result<(Channel, SocketAddr), NotConnected> {
    let deadline = Instant::now() + limit;
    let mut left: Vec<SocketAddr> = at.iter().copied().take(MAX_SERVER_ADDRESSES).collect();
    let mut first: Option<NotConnected> = None;
    loop {
        let patience = deadline.saturating_duration_since(Instant::now());
        let (stream, address) = match (dial_first(&left, patience), first) {
            (Ok(answered), told) => {
                first = told;
                answered
            }
            // Whoever was there says more than an address where nobody is.
            (Err(_), Some(told)) => return Err(told),
            (Err(error), None) => return Err(not_there(error).into()),
        };
        left.retain(|it| *it != address);
        // Somebody who says nothing has a part of the time, if there are others.
        let patience = deadline.saturating_duration_since(Instant::now());
        let patience = if left.is_empty() { patience } else { patience / 2 };
        let verifier = Verifier::new(own.rules()?, expect.clone());
        let connected =
            tls::connect(stream, &own.credentials, &verifier, Instant::now() + patience);
        match connected {
            Ok(channel) => return Ok((channel, address)),
            Err(failure) => {
                let told = explain(own, who, &failure);
                let told =
                    first.take().filter(|it| matches!(it, NotConnected::Over(_))).unwrap_or(told);
                if left.is_empty() || Instant::now() >= deadline {
                    return Err(told);
                }
                first = Some(told);
            }
        }
    }
}

fn not_there(error: Error) -> Error {
    match error.cause {
        Cause::NothingListens => {
            error.hint("is `transfer serve` running there? the line it begins with names its port")
        }
        _ => error,
    }
}

/// Why a server is not the one, or does not let this device in.
pub fn explain(own: &Own, who: &str, failure: &Failure) -> NotConnected {
    let error = failure.error(&Who::Server(who.to_owned()), &own.called());
    match failure {
        Failure::Cut => NotConnected::Cut(error),
        failure if failure.may_pass() => NotConnected::Lost(error),
        _ => NotConnected::Over(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::*;
    use crate::trust::credentials::Credentials;
    use crate::trust::device::Device;
    use crate::trust::folder::Folder;
    use crate::trust::samples::{alone, wish};
    use crate::trust::store::{Trusted, Via};
    use crate::trust::verifier::Rules;

    /// Whoever answers at one of a record's addresses and is another, or says nothing, keeps nobody from the server
    /// that is at the next.
    #[test]
    fn all_addresses_are_tried_for_the_one_that_is_expected() {
        let (attic, evil, laptop) =
            (alone(&wish("attic", &[])), alone(&wish("evil", &[])), alone(&wish("laptop", &[])));
        let id = attic.certificate().id;
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::new(scratch.path().join("own"));
        let own = Own::of(&folder, Device::load_or_make(&folder).unwrap().shows().clone());
        Trusted::change(&folder, |it| it.pin("attic", attic.certificate(), Via::Pair)).unwrap();
        let mut trusts = Trusted::empty();
        trusts.pin("laptop", own.credentials.certificate(), Via::Pair).unwrap();
        trusts.pin("other", laptop.certificate(), Via::Pair).unwrap();
        let rules = Rules::new(trusts, vec![], vec![], tls::provider()).unwrap();
        // Of the one that is silent half of it is waited for.
        let (limit, long) = (Duration::from_secs(20), Duration::from_secs(60));
        let serve = |shows: Option<Credentials>| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let (at, rules) = (listener.local_addr().unwrap(), Arc::clone(&rules));
            thread::spawn(move || {
                let mut kept = vec![];
                for stream in listener.incoming().flatten() {
                    let Some(shows) = &shows else {
                        kept.push(stream);
                        continue;
                    };
                    let verifier = Verifier::new(Arc::clone(&rules), Expect::Anybody);
                    let _ =
                        tls::accept(Stream::tcp(stream), shows, &verifier, Instant::now() + long);
                }
            });
            at
        };
        let [real, impostor, silent] = [Some(attic), Some(evil), None].map(serve);
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let key = || Expect::Key("attic".into(), id);
        // All at once, as the one that is silent takes its time in each.
        thread::scope(|scope| {
            for (row, at) in [
                ("alone", vec![real]),
                ("behind another", vec![impostor, real]),
                ("behind one that is silent", vec![silent, real]),
                ("behind all of them", vec![closed, impostor, silent, real]),
                ("before another", vec![real, impostor]),
            ] {
                for expect in [key(), Expect::Server] {
                    let (own, at) = (&own, at.clone());
                    scope.spawn(move || {
                        let (channel, found) = connect(own, "attic", expect, &at, limit).unwrap();
                        assert_eq!((channel.peer.id, found), (id, real), "{row}");
                    });
                }
            }
            // Who was there is told, and not where nobody is.
            for at in [vec![impostor], vec![impostor, closed], vec![impostor, silent]] {
                let own = &own;
                scope.spawn(move || {
                    let ended = connect(own, "attic", key(), &at, limit);
                    let Err(NotConnected::Over(error)) = ended else { panic!("{at:?}") };
                    assert_eq!(error.cause, Cause::Refused, "{error}");
                });
            }
        });
    }
}
