//! The side that is dialled: one endpoint after the other under the same key, and whoever connects there.
//!
//! An endpoint that has lost its relay does not always find back by itself, nor one whose machine has slept;
//! while nobody is served it is replaced. Whoever connects and says nothing costs a place for a moment: there
//! are so many, and when another comes the oldest leaves, of where most are from.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use iroh::endpoint::{Incoming, IncomingAddr};
use iroh::{Endpoint, Watcher};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::endpoint::{self, ALPN, Discovery};
use super::slept::{Moment, Need, Watch};
use super::stream::{Home, Quic};
use super::stripes::gone;
use super::{Caller, Meeting, path, plate, warnings};
use crate::bounds::{HANDSHAKE_LIMIT, MAX_HANDSHAKES, MAX_QUIC_CALLERS};
use crate::error::{Error, Result};
use crate::net::crowd::{CUSTOMER, crowded_out, network};

/// How often it is looked at how an endpoint is.
const LOOK: Duration = Duration::from_secs(1);

/// A relay that is started again is back within less, and nobody has missed it.
const MISSED: Duration = Duration::from_secs(4);

type Met = (Arc<Quic>, Caller);

/// Where others dial. Clones share it; [`Listener::close`] ends them all.
#[derive(Clone)]
pub struct Listener(Arc<Shared>);

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

struct Shared {
    home: Home,
    meeting: Meeting,
    met: Mutex<Receiver<Met>>,
    is_closed: watch::Sender<bool>,
    is_over: watch::Receiver<bool>,
    /// Another machine has its place at the relay.
    is_displaced: AtomicBool,
    /// No relay has it, so that nobody new finds it.
    is_away: AtomicBool,
    relay: Mutex<Option<String>>,
    port: AtomicU16,
    /// The port that was asked for, to which a firewall or router may have a hole.
    asked: Option<u16>,
}

/// The port of an endpoint that takes the place of one that had `bound`: what was asked for, or what a
/// ticket without a relay has told.
fn port_again(asked: Option<u16>, bound: u16, is_found_by_port: bool) -> Option<u16> {
    asked.filter(|port| *port != 0).or(is_found_by_port.then_some(bound))
}

impl Listener {
    /// Takes its place at the relay, or at a port where there is none: the one that is asked for, or any,
    /// and without a relay the first of `usual` that is free. Nothing where somebody answers under the
    /// plate already, which would lose its place.
    ///
    /// # Errors
    /// Exit 5: no relay answers, or the port is taken.
    pub fn open(
        meeting: &Meeting,
        port: Option<u16>,
        usual: RangeInclusive<u16>,
    ) -> Result<Option<Self>> {
        let runtime = endpoint::runtime()?;
        warnings::begin();
        let home = Home::new(runtime.handle().clone());
        let is_found_by_port = meeting.relays.is_empty();
        let ports: Vec<Option<u16>> = match (port, is_found_by_port) {
            (Some(port), _) => vec![Some(port)],
            (None, false) => vec![None],
            (None, true) => usual.map(Some).collect(),
        };
        let mut bound = None;
        for port in ports {
            bound = Some(runtime.block_on(bind(meeting, port)));
            if let Some(Ok(_)) = bound {
                break;
            }
        }
        let endpoint = match bound {
            Some(bound) => bound?,
            None => runtime.block_on(bind(meeting, None))?,
        };
        let relay = match is_found_by_port {
            true => None,
            false => {
                let registered = runtime.block_on(async {
                    tokio::select! {
                        biased;
                        () = plate::answers(meeting) => None,
                        relay = endpoint::register(&endpoint, &meeting.relays) => Some(relay),
                    }
                });
                let Some(relay) = registered else {
                    runtime.block_on(endpoint.close());
                    return Ok(None);
                };
                if relay.is_err() {
                    // Its goodbye to nobody takes a while.
                    let endpoint = endpoint.clone();
                    runtime.spawn(async move { endpoint.close().await });
                }
                Some(relay?)
            }
        };
        let (tell, met) = mpsc::sync_channel(MAX_HANDSHAKES);
        let (over, is_over) = watch::channel(false);
        let shared = Arc::new(Shared {
            home,
            meeting: meeting.clone(),
            met: Mutex::new(met),
            is_closed: watch::Sender::new(false),
            is_over,
            is_displaced: AtomicBool::new(false),
            is_away: AtomicBool::new(false),
            relay: Mutex::new(relay),
            port: AtomicU16::new(port_of(&endpoint)),
            asked: port,
        });
        runtime.spawn(run(Arc::clone(&shared), endpoint, tell, over));
        Ok(Some(Self(shared)))
    }

    /// The next connection, or nothing once the listener is closed.
    pub fn accept(&self) -> Option<Met> {
        self.0.met.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
    }

    /// Lets nobody in any more, and waits until the last bytes have arrived. Wakes whoever waits in
    /// [`Listener::accept`].
    pub fn close(&self) {
        self.0.is_closed.send_replace(true);
        let mut is_over = self.0.is_over.clone();
        let _ = self.0.home.handle.block_on(is_over.wait_for(|is_over| *is_over));
    }

    /// Why nobody comes any more, where it has not been closed.
    pub fn failure(&self) -> Option<Error> {
        let Shared { is_displaced, meeting, .. } = &*self.0;
        is_displaced.load(Ordering::Relaxed).then(|| {
            let relay = self.relay().map_or_else(String::new, |host| format!(" {host}"));
            let plate = &meeting.plate;
            Error::network(format!("another machine took {plate} at the relay{relay}"))
                .hint("start again: a new ticket is drawn")
        })
    }

    /// Whether no relay has had it for a while, so that nobody new finds it.
    pub fn is_away(&self) -> bool {
        self.0.is_away.load(Ordering::Relaxed)
    }

    /// The host of the relay where it is found now, or was last.
    pub fn relay(&self) -> Option<String> {
        lock(&self.0.relay).clone()
    }

    /// The UDP port that it has.
    pub fn port(&self) -> u16 {
        self.0.port.load(Ordering::Relaxed)
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside is whole at every point where a panic could happen.
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn bind(meeting: &Meeting, port: Option<u16>) -> Result<Endpoint> {
    let builder = endpoint::builder(meeting, Discovery::First)?;
    let builder = builder.secret_key(endpoint::key(&meeting.plate)).alpns(vec![ALPN.to_vec()]);
    endpoint::bind(builder, port, meeting.relay_only).await
}

fn port_of(endpoint: &Endpoint) -> u16 {
    let sockets = endpoint.bound_sockets();
    // The two have the same port, unless any was good.
    let first = sockets.iter().find(|socket| socket.is_ipv4()).or(sockets.first());
    first.map_or(0, std::net::SocketAddr::port)
}

/// Takes in whoever comes, until it is closed.
async fn run(
    shared: Arc<Shared>,
    mut endpoint: Endpoint,
    tell: SyncSender<Met>,
    over: watch::Sender<bool>,
) {
    let mut callers = Callers::default();
    let serving = async {
        loop {
            {
                let lost = is_no_good(&endpoint, &shared, Arc::clone(&callers.met));
                tokio::pin!(lost);
                loop {
                    tokio::select! {
                        incoming = endpoint.accept() => match incoming {
                            Some(incoming) => callers.take(&shared.home, incoming, &tell),
                            None => break,
                        },
                        () = &mut lost => break,
                    }
                }
                if shared.is_displaced.load(Ordering::Relaxed) {
                    return;
                }
            }
            endpoint.close().await;
            let bound = shared.port.load(Ordering::Relaxed);
            let port = port_again(shared.asked, bound, shared.meeting.relays.is_empty());
            endpoint = loop {
                // As long as there is no network, there may be no socket either.
                match bind(&shared.meeting, port).await {
                    Ok(endpoint) => break endpoint,
                    Err(_) => sleep(LOOK).await,
                }
            };
            shared.port.store(port_of(&endpoint), Ordering::Relaxed);
        }
    };
    let mut is_closed = shared.is_closed.subscribe();
    tokio::select! {
        biased;
        _ = is_closed.wait_for(|is_closed| *is_closed) => {}
        () = serving => {}
    }
    drop(tell);
    callers.leave();
    shared.home.all_said_goodbye().await;
    endpoint.close().await;
    // Nobody may be waiting.
    let _ = over.send(true);
}

/// Comes back when the endpoint has had no relay for a while, or the machine has slept, or another machine
/// has its place, and nobody is served.
async fn is_no_good(endpoint: &Endpoint, shared: &Shared, met: Known) {
    let mut watch = Watch::new(Moment::now());
    loop {
        let status = endpoint.home_relay_status().get();
        let home = status.iter().find(|relay| relay.is_connected());
        if let Some(home) = home {
            *lock(&shared.relay) = Some(path::host(home.url()));
        }
        let has_relay = home.is_some() || shared.meeting.relays.is_empty();
        let is_served = lock(&met).iter().any(|quic| quic.strong_count() > 0);
        if warnings::is_displaced() && !is_served {
            shared.is_displaced.store(true, Ordering::Relaxed);
            return;
        }
        let now = Moment::now();
        let need = watch.look(now, has_relay, is_served);
        if has_relay || watch.has_missed_it_for(now) >= MISSED {
            shared.is_away.store(!has_relay, Ordering::Relaxed);
        }
        match need {
            Need::Nothing => {}
            Need::Look => endpoint.network_change().await,
            Need::Another => return,
        }
        sleep(LOOK).await;
    }
}

/// Connections that have said something, while somebody has them.
type Known = Arc<Mutex<Vec<Weak<Quic>>>>;

/// Where somebody connects from: an IPv4 address, or a /64 of IPv6, all of whose addresses may be one
/// machine's. Nothing for all who come through relays: each could call itself another.
type Origin = Option<IpAddr>;

fn origin_of(caller: &Caller) -> Origin {
    let Caller::Address(address) = caller else { return None };
    Some(network(address.ip(), CUSTOMER))
}

/// Whoever has connected.
#[derive(Default)]
struct Callers {
    /// Those who have said nothing yet, the oldest first.
    silent: VecDeque<(Origin, AbortHandle)>,
    /// The others.
    met: Known,
}

impl Callers {
    fn take(&mut self, home: &Home, incoming: Incoming, tell: &SyncSender<Met>) {
        self.silent.retain(|(_, caller)| !caller.is_finished());
        // Where many come, an address is shown to be true before it counts: one that was made up costs
        // its sender nothing.
        let is_busy = self.silent.len() >= MAX_QUIC_CALLERS / 2;
        let is_address = matches!(incoming.remote_addr(), IncomingAddr::Ip(_));
        if is_busy && is_address && !incoming.remote_addr_validated() {
            // Whoever is there comes again with the answer.
            let _ = incoming.retry();
            return;
        }
        if self.silent.len() >= MAX_QUIC_CALLERS
            && let Some(at) = crowded_out(self.silent.iter().map(|(origin, _)| (*origin, ())))
            && let Some((_, leaving)) = self.silent.remove(at)
        {
            leaving.abort();
        }
        let caller = caller_of(&incoming);
        let origin = origin_of(&caller);
        let (own, tell, met) = (home.clone(), tell.clone(), Arc::clone(&self.met));
        let greeting = home.handle.spawn(async move {
            let greet = async {
                let connection = incoming.await.map_err(gone)?;
                let streams = connection.accept_bi().await.map_err(gone)?;
                Quic::new(own, connection, streams, caller.clone(), true)
            };
            if let Ok(Ok(quic)) = timeout(HANDSHAKE_LIMIT, greet).await {
                let quic = Arc::new(quic);
                {
                    let mut met = lock(&met);
                    met.retain(|quic| quic.strong_count() > 0);
                    met.push(Arc::downgrade(&quic));
                }
                // Where too many wait already, this one is closed, and may come again.
                let _: Result<(), _> = tell.try_send((quic, caller));
            }
        });
        self.silent.push_back((origin, greeting.abort_handle()));
    }

    fn leave(&self) {
        self.silent.iter().for_each(|(_, caller)| caller.abort());
    }
}

fn caller_of(incoming: &Incoming) -> Caller {
    match incoming.remote_addr() {
        IncomingAddr::Ip(address) => Caller::Address(address),
        IncomingAddr::Relay { url, .. } => Caller::Relay(path::host(&url)),
        _ => Caller::Relay(String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_crowds_out_itself() {
        let origin = |text: &str| match text {
            "relay" => origin_of(&Caller::Relay("a.b".into())),
            text => origin_of(&Caller::Address((text.parse::<IpAddr>().unwrap(), 9).into())),
        };
        for (callers, expected) in [
            (&[][..], None),
            (&["192.0.2.1", "192.0.2.2"], Some(0)),
            (&["relay", "192.0.2.1", "192.0.2.1"], Some(1)),
            (&["192.0.2.1", "relay", "relay"], Some(1)),
            (&["192.0.2.1", "::ffff:192.0.2.2", "192.0.2.2"], Some(1)),
            // One network of IPv6.
            (&["192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"], Some(1)),
        ] {
            let leaving = crowded_out(callers.iter().map(|text| (origin(text), ())));
            assert_eq!(leaving, expected, "{callers:?}");
        }
    }

    #[test]
    fn a_port_that_was_asked_for_is_kept() {
        for (asked, is_found_by_port, again) in [
            (Some(4000), false, Some(4000)),
            (Some(4000), true, Some(4000)),
            (None, true, Some(15_820)),
            (Some(0), true, Some(15_820)),
            (None, false, None),
            (Some(0), false, None),
        ] {
            assert_eq!(port_again(asked, 15_820, is_found_by_port), again, "{asked:?}");
        }
    }
}
