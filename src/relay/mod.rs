//! `transfer relay`: where two machines meet that cannot reach each other, and through which their sealed
//! bytes go until they can. The relaying itself is iroh's; what is done here is to say who may use it, and
//! how much, as it is open to everybody.
//!
//! Whatever is async stays in this room.

mod access;
mod acme;
mod certificate;
mod discovery;
mod door;
mod http;
mod metrics;
pub mod options;
mod sockets;
pub mod unit;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use iroh_relay::KeyCache;
use iroh_relay::server::http_server::Handlers;
use iroh_relay::server::{ClientRateLimit, Metrics, RelayService};
use rustls::ServerConfig;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use self::access::{Guard, Tokens};
use self::acme::Applicant;
use self::certificate::Own;
use self::door::Door;
use self::http::{Port, Tls};
use self::options::{Front, Limits, Papers, RelayOptions, Wish};
use self::sockets::Sockets;
use crate::bounds::{MAX_INCOMING, MAX_RELAY_KEYS, MAX_RELAY_LINES};
use crate::control::{self, SLICE};
use crate::error::{Error, Exit, Result, shown_os};
use crate::net::interfaces::{Choice, Interfaces};
use crate::service::program;
use crate::trust;
use crate::trust::credentials::Credentials;
use crate::ui::{RelayEvent, Relayed, Ui};

/// How often the certificate's files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How often a certificate that ends soon is told of.
const REMIND: Duration = Duration::from_secs(24 * 60 * 60);
/// How long clients may take to leave when it stops, or a day's bytes are used up.
const LEAVE: Duration = Duration::from_secs(1);

/// Runs `transfer relay`, until it is stopped.
pub fn run(options: &RelayOptions, ui: &Ui) -> Result<Exit> {
    if let Some(wish) = &options.unit {
        return print_unit(wish, options, ui);
    }
    let tokens = options.tokens.as_deref().map(Tokens::read).transpose()?;
    let (own, asked) = match &options.front {
        Front::Plain { .. } => (None, None),
        Front::Tls { papers: Papers::Files { certificate, key }, .. } => {
            (Some(Own::load(certificate, key)?), None)
        }
        Front::Tls { papers: Papers::Acme(wanted), .. } => {
            let (applicant, file, failures) = Applicant::new(wanted)?;
            (Some(Own::awaited(&file)), Some((applicant, failures)))
        }
    };
    sockets::allow(&options.limits);
    let sockets = Sockets::open(options)?;
    let local = sockets.port.local;
    let at = (local, sockets.discovery_port(), sockets.metrics_address());
    let (events, told) = sync_channel(MAX_INCOMING);
    let runtime = Builder::new_multi_thread()
        .thread_name("relay")
        .enable_all()
        .build()
        .map_err(|error| Error::no_thread(&error))?;
    let challenge = asked.as_ref().map(|(applicant, _)| applicant.challenge()).transpose()?;
    let relay = Relay::start(options, &runtime, sockets, own.as_ref(), challenge, tokens, events)?;
    let failures = asked.map(|(applicant, failures)| {
        ui.note(&applicant.to_string());
        if local.port() != 443 {
            ui.note(&format!(
                "to see whose the name is it connects to TCP port 443, which must lead to port {} here",
                local.port()
            ));
        }
        runtime.spawn(applicant.apply());
        failures
    });
    let papers = own.as_deref().map(|own| Certificate { own, failures });
    if papers.as_ref().is_none_or(|papers| papers.is_there(ui)) {
        ui.relays((&url(local, own.as_deref()), at), options.tokens.is_some());
        papers.iter().for_each(|it| it.remind(ui));
        relay.watch(options, papers.as_ref(), &told, &runtime, ui);
    }
    relay.stop(runtime);
    ui.note("stopped");
    Ok(Exit::Done)
}

fn print_unit(wish: &Wish, options: &RelayOptions, ui: &Ui) -> Result<Exit> {
    let program = program()?;
    ui.print(&unit::text(wish, options, &program)?)?;
    if unit::is_at_home(&program) {
        ui.warn(&format!(
            "the service does not see {}: copy the program to /usr/local/bin, and run that",
            shown_os(&program)
        ));
    }
    ui.note(&unit::hint(&options.front));
    Ok(Exit::Done)
}

/// What clients are to be told.
fn url(local: SocketAddr, own: Option<&Own>) -> String {
    let Some(own) = own else {
        let here = Interfaces::look(&Choice::Local).ok();
        let own = here.iter().flat_map(Interfaces::addresses).map(|(ip, _)| ip);
        return format!("http://{}", reached_at(local, own));
    };
    let first = |it: &Credentials| it.certificate().names.first().map(ToString::to_string);
    let host = own.shown().as_ref().and_then(first).unwrap_or_default();
    let host = match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        _ => host,
    };
    match local.port() {
        443 => format!("https://{host}"),
        port => format!("https://{host}:{port}"),
    }
}

/// Where others reach it, by the addresses of this machine: nobody connects to all of them, nor by a kind that it
/// does not listen to.
fn reached_at(local: SocketAddr, mut own: impl Iterator<Item = IpAddr>) -> SocketAddr {
    let ip = match local.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => {
            own.find(IpAddr::is_ipv4).unwrap_or(Ipv4Addr::LOCALHOST.into())
        }
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            own.find(IpAddr::is_ipv6).unwrap_or(Ipv6Addr::LOCALHOST.into())
        }
        ip => ip,
    };
    SocketAddr::new(ip, local.port())
}

/// What to say of a certificate that ends soon.
fn reminder(certificate: &trust::certificate::Certificate, is_asked_for: bool) -> Option<String> {
    match is_asked_for {
        false => {
            let end = certificate.expiry()?;
            Some(format!("the certificate {end}; replace its files, and it is loaded anew"))
        }
        // Another should have come when a third of its time was left.
        true => {
            let end = certificate.last_quarter()?;
            Some(format!("the certificate {end}, and the CA has given no other so far"))
        }
    }
}

/// The certificate, and why there is no newer one.
struct Certificate<'a> {
    own: &'a Own,
    /// From whoever asks a CA for it.
    failures: Option<Receiver<String>>,
}

impl Certificate<'_> {
    /// Waits until there is one. Returns whether there is; it does not wait for ever.
    fn is_there(&self, ui: &Ui) -> bool {
        while control::check().is_ok() {
            self.look(ui);
            if self.own.shown().is_some() {
                return true;
            }
            std::thread::sleep(SLICE);
        }
        false
    }

    /// Loads it if it has changed. Returns whether it was.
    fn look(&self, ui: &Ui) -> bool {
        if let Some(why) = self.failures.as_ref().and_then(|failures| failures.try_recv().ok()) {
            ui.warn(&why);
        }
        self.own.renew().unwrap_or_else(|error| {
            let stays = match self.own.shown().is_some() {
                true => "the certificate of before stays",
                false => "it is waited for another",
            };
            ui.warn(&format!("{error}; {stays}"));
            false
        })
    }

    /// Tells if it ends soon.
    fn remind(&self, ui: &Ui) {
        let is_asked_for = self.failures.is_some();
        let shown = self.own.shown();
        let certificate = shown.as_ref().map(Credentials::certificate);
        if let Some(said) = certificate.and_then(|it| reminder(it, is_asked_for)) {
            ui.warn(&said);
        }
    }
}

/// What runs.
struct Relay {
    service: RelayService,
    door: Arc<Door>,
    guard: Arc<Guard>,
    metrics: Arc<Metrics>,
    discovery: Option<noq::Endpoint>,
}

impl Relay {
    fn start(
        options: &RelayOptions,
        runtime: &Runtime,
        sockets: Sockets,
        own: Option<&Arc<Own>>,
        challenge: Option<Arc<ServerConfig>>,
        tokens: Option<Tokens>,
        events: SyncSender<RelayEvent>,
    ) -> Result<Self> {
        let _inside = runtime.enter();
        let limits = options.limits;
        let door = Door::new(limits);
        let guard = Arc::new(Guard::new(Arc::clone(&door), tokens, events.clone()));
        let metrics = Arc::new(Metrics::default());
        let mut rate = ClientRateLimit::new(limits.rate);
        rate.max_burst_bytes = Some(limits.burst);
        let service = RelayService::new(
            Handlers::default(),
            Default::default(),
            Some(rate),
            KeyCache::new(MAX_RELAY_KEYS),
            Arc::<Guard>::clone(&guard),
            Arc::clone(&metrics),
        );
        let tls = own.map(|own| own.config()).transpose()?;
        let discovery = match (sockets.discovery, &tls) {
            (Some(socket), Some(tls)) => Some(discovery::open(socket, tls.clone())?),
            _ => None,
        };
        let proxies = match &options.front {
            Front::Plain { proxies, .. } => proxies.clone(),
            Front::Tls { .. } => vec![],
        };
        let port = Port {
            service: service.clone(),
            door: Arc::clone(&door),
            tls: tls.map(|own| Tls { own: Arc::new(own), challenge }),
            proxies,
            events,
        };
        runtime.spawn(Arc::new(port).serve(sockets.port.listener()?));
        if let Some(endpoint) = &discovery {
            runtime.spawn(discovery::serve(endpoint.clone(), limits));
        }
        if let Some(socket) = sockets.metrics {
            let (door, metrics) = (Arc::clone(&door), Arc::clone(&metrics));
            let text = move || metrics::text(&door, &metrics);
            runtime.spawn(http::serve_metrics(socket.listener()?, text));
        }
        Ok(Self { service, door, guard, metrics, discovery })
    }

    /// Tells what happens, and sees to what has to be seen to, until the relay is to stop.
    fn watch(
        &self,
        options: &RelayOptions,
        certificate: Option<&Certificate<'_>>,
        told: &Receiver<RelayEvent>,
        runtime: &Runtime,
        ui: &Ui,
    ) {
        let mut day = Day::new(options.limits, SystemTime::now());
        let (mut counted, mut before, mut lines) = (Instant::now(), Relayed::default(), 0);
        let (mut looked, mut reminded) = (Instant::now(), Instant::now());
        while control::check().is_ok() {
            match told.recv_timeout(SLICE) {
                Ok(event) if lines < MAX_RELAY_LINES => {
                    lines += 1;
                    ui.relay_event(&event);
                }
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let bytes = self.metrics.bytes_recv.get();
            match day.look(bytes, self.door.clients(), SystemTime::now()) {
                Turn::None => {}
                Turn::Left => runtime.block_on(self.leave()),
                Turn::Over => {
                    self.guard.close(true);
                    runtime.block_on(self.leave());
                    ui.warn("as much as --daily allows was relayed; it goes on at 00:00 UTC");
                }
                Turn::Begun => {
                    self.guard.close(false);
                    ui.note("a new day has begun; it goes on");
                }
            }
            if let (Some(certificate), true) = (certificate, looked.elapsed() >= LOOK) {
                looked = Instant::now();
                if certificate.look(ui) {
                    ui.note("the certificate was loaded anew");
                }
                if reminded.elapsed() >= REMIND {
                    reminded = Instant::now();
                    certificate.remind(ui);
                }
            }
            if counted.elapsed() >= options.every {
                let now = metrics::so_far(&self.door, &self.metrics);
                ui.relayed(&before, &now);
                (counted, before, lines) = (Instant::now(), now, 0);
            }
        }
        ui.relayed(&before, &metrics::so_far(&self.door, &self.metrics));
    }

    /// Says goodbye to clients, who look for another way then. The engine waits for ever until each has read what
    /// was written to it; whoever has not is cut off.
    async fn leave(&self) {
        let _ = timeout(LEAVE, self.service.shutdown()).await;
    }

    /// Says goodbye, and ends.
    fn stop(self, runtime: Runtime) {
        runtime.block_on(async {
            if let Some(endpoint) = &self.discovery {
                endpoint.close(0_u8.into(), b"stopped");
            }
            self.leave().await;
        });
        runtime.shutdown_timeout(LEAVE);
    }
}

/// What was relayed since 00:00 UTC, and whether that is enough.
struct Day {
    most: Option<u64>,
    number: u64,
    /// Bytes of the days before.
    base: u64,
    over: bool,
}

/// What has changed.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    None,
    Over,
    /// It is over, and somebody is in all the same, who was on the way in when it ended.
    Left,
    Begun,
}

impl Day {
    fn new(limits: Limits, now: SystemTime) -> Self {
        Self { most: limits.daily, number: day_of(now), base: 0, over: false }
    }

    /// After so many bytes in all, with so many clients, at this time.
    fn look(&mut self, bytes: u64, clients: usize, now: SystemTime) -> Turn {
        let Some(most) = self.most else { return Turn::None };
        // A clock that is set back does not make a day longer than it was.
        if day_of(now) > self.number {
            (self.number, self.base) = (day_of(now), bytes);
            if std::mem::take(&mut self.over) {
                return Turn::Begun;
            }
        }
        if !self.over && bytes.saturating_sub(self.base) >= most {
            self.over = true;
            return Turn::Over;
        }
        if self.over && clients > 0 {
            return Turn::Left;
        }
        Turn::None
    }
}

/// Days since 1970.
fn day_of(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_secs() / 86_400
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use rustls::pki_types::CertificateDer;

    use super::*;

    #[test]
    fn a_relay_is_told_at_an_address_that_can_be_dialled() {
        let own: [IpAddr; 2] = ["fd00::2".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        for (local, own, expected) in [
            ("127.0.0.1:3340", &own[..], "127.0.0.1:3340"),
            ("[2001:db8::1]:3340", &own, "[2001:db8::1]:3340"),
            ("0.0.0.0:3340", &own, "192.0.2.2:3340"),
            ("[::]:3340", &own, "[fd00::2]:3340"),
            ("0.0.0.0:3340", &own[..1], "127.0.0.1:3340"),
            ("[::]:3340", &[], "[::1]:3340"),
        ] {
            let reached = reached_at(local.parse().unwrap(), own.iter().copied());
            assert_eq!(reached.to_string(), expected, "{local}");
        }
    }

    /// One that is renewed by itself is told of when that has not happened.
    #[test]
    fn the_end_of_a_certificate_is_told_of_in_time() {
        let made = rcgen::generate_simple_self_signed(["a.b".to_owned()]).unwrap();
        let der: CertificateDer<'static> = made.cert.der().clone();
        let mut certificate = trust::certificate::Certificate::parse(der).unwrap();
        let now = trust::certificate::Moment::now().0;
        for (days, left, of_files, of_ca) in [
            (90, 31, false, false),
            (90, 29, true, false),
            (90, 23, true, false),
            (90, 22, true, true),
            (6, 2, true, false),
            (6, 1, true, true),
            (365, 80, false, true),
            (90, -1, true, true),
        ] {
            // An hour more than the days, for the time that this takes.
            let until = now + left * 86_400 + 3600;
            certificate.from = trust::certificate::Moment(until - days * 86_400);
            certificate.until = trust::certificate::Moment(until);
            let files = reminder(&certificate, false);
            assert_eq!(files.is_some(), of_files, "{days} {left} {files:?}");
            assert!(files.is_none_or(|it| it.contains("replace its files")));
            let ca = reminder(&certificate, true);
            assert_eq!(ca.is_some(), of_ca, "{days} {left} {ca:?}");
            assert!(ca.is_none_or(|it| it.ends_with(", and the CA has given no other so far")));
        }
    }

    #[test]
    fn a_day_has_its_bytes_and_the_next_has_them_again() {
        let limits = |daily| Limits {
            clients: 1,
            per_address: 1,
            rate: NonZeroU32::MIN,
            burst: NonZeroU32::MIN,
            daily,
        };
        let at = |hours: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(hours * 3600);
        let mut day = Day::new(limits(Some(100)), at(1));
        for (bytes, clients, hour, turn) in [
            (99, 2, 2, Turn::None),
            (100, 2, 23, Turn::Over),
            // One who was not a client yet when all were sent away.
            (100, 1, 23, Turn::Left),
            (110, 1, 23, Turn::Left),
            (130, 0, 23, Turn::None),
            (130, 0, 24, Turn::Begun),
            (229, 1, 25, Turn::None),
            (230, 1, 26, Turn::Over),
            // The clock is set back, and forward again.
            (230, 0, 3, Turn::None),
            (230, 0, 27, Turn::None),
            (230, 0, 49, Turn::Begun),
        ] {
            assert_eq!(day.look(bytes, clients, at(hour)), turn, "{bytes} {hour}");
        }
        let mut without = Day::new(limits(None), at(1));
        assert_eq!(without.look(u64::MAX, 1, at(2)), Turn::None);
    }
}
