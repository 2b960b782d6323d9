//! The sending side's story: find the own address, listen, show the ticket, let the receiver in,
//! send.

mod dry_run;
pub mod gate;
mod offer;
pub mod pipe;
pub mod stream;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use self::gate::{Admit, Gate, Guest, Visit};
use self::offer::Offer;
use crate::bounds::{MAX_GUESSES, MAX_TEXT, STALL_LIMIT};
use crate::compress::Compression;
use crate::control;
use crate::crypto::keys::Role;
use crate::error::{Error, Exit, Result, reason};
use crate::event::{Event, Summary};
use crate::files::expand::expand;
use crate::files::select::Filters;
use crate::files::walk::Walk;
use crate::net::listener::Listener;
use crate::net::tailscale::TailscaleDetector;
use crate::protocol::session::{Limits, Session};
use crate::ticket::{Host, Ticket};
use crate::token::{self, Token};
use crate::ui::Ui;

/// What to send, and how; resolved from the command line.
#[derive(Debug, Clone)]
pub struct SendOptions {
    /// What is sent.
    pub what: What,
    /// What of the paths goes.
    pub filters: Filters,
    /// Only show what would go.
    pub dry_run: bool,
    /// Serve this machine only, on 127.0.0.1, without Tailscale.
    pub pod: bool,
    /// TCP port to listen on; 0 lets the system choose.
    pub port: u16,
    /// Words in the token.
    pub words: u8,
    /// How long to wait for the first receiver.
    pub timeout: Duration,
    /// Leave developer folders out; nothing when it is to be asked.
    pub exclude_developer: Option<bool>,
    /// Send what links point to.
    pub follow_symlinks: bool,
    /// Which compression to try; nothing when it is to be asked.
    pub compression: Option<Compression>,
}

/// What `transfer send` sends.
#[derive(Debug, Clone)]
pub enum What {
    /// Files and folders, and patterns that no shell has expanded.
    Paths(Vec<PathBuf>),
    /// A text.
    Text(String),
    /// What comes in on standard input.
    Input,
}

/// Runs `transfer send`.
pub fn run(options: &SendOptions, ui: &Ui) -> Result<Exit> {
    let walk = match &options.what {
        What::Paths(paths) => Some(Walk::new(&expand(paths)?, &options.filters)?),
        What::Text(_) | What::Input => None,
    };
    if let (true, Some(walk)) = (options.dry_run, &walk) {
        return dry_run::run(walk, options, ui);
    }
    if let What::Text(text) = &options.what
        && text.len() > MAX_TEXT
    {
        let message = format!("a text may have {} bytes, and this has more", MAX_TEXT);
        return Err(Error::usage(message).hint("`transfer send -` sends whatever comes in"));
    }
    let place = Place::find(options.pod, ui)?;
    let token = Token::generate(options.words)?;
    ui.detail(&format!("the token holds {:.1} bits of chance", token::entropy_bits(options.words)));
    let listener = Listener::bind(place.listen, options.port)?;
    let port = listener.address().port();
    let mut offer = Offer::decide(walk, options, ui)?;
    let gate = Gate::open(listener, token.clone(), 1, place.admit)
        .map_err(|error| Error::failure(format!("cannot start a thread: {}", reason(&error))))?;
    ui.ticket(&Ticket { host: Host::Ip(place.ticket), port, token: token.clone() });
    if let Some(elsewhere) = place.elsewhere {
        let ui = ui.clone();
        // Found out meanwhile: a Tailscale that hangs must not keep the ticket waiting.
        let told = thread::Builder::new().name("elsewhere".into()).spawn(move || {
            if let Ok(host) = elsewhere.recv() {
                let ticket = Ticket { host: Host::Ip(host), port, token };
                ui.ticket_elsewhere(&ticket);
            }
        });
        drop(told);
    }

    let mut waiting = Waiting::new(options.timeout);
    loop {
        let guest = waiting.next_guest(&gate, &mut offer, ui)?;
        let (seat, name) = (guest.seat, guest.name.clone());
        match serve(*guest, &mut offer, ui) {
            Ok(summary) => {
                ui.sent(&summary);
                return Ok(summary.exit());
            }
            // The receiver may come back, or be typed again, once it has room.
            Err(error) if may_come_back(&error) && offer.is_whole() => {
                gate.leave(seat);
                ui.waits_again(&name, &error, STALL_LIMIT);
                waiting = Waiting::new(STALL_LIMIT);
            }
            Err(error) if may_come_back(&error) => {
                return Err(error.hint("what was read of the input is gone: run both sides again"));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether the same ticket can still be of use after this end of a session.
fn may_come_back(error: &Error) -> bool {
    use ErrorKind::{PermissionDenied, QuotaExceeded, StorageFull};
    let fixable = matches!(error.cause, Some(StorageFull | PermissionDenied | QuotaExceeded));
    error.exit == Exit::Network || fixable
}

/// Where to listen, what to show, and whom to let in.
struct Place {
    listen: IpAddr,
    ticket: IpAddr,
    /// Tells another address under which the same socket is reached, if there is one.
    elsewhere: Option<mpsc::Receiver<IpAddr>>,
    admit: Box<Admit>,
}

impl Place {
    fn find(pod: bool, ui: &Ui) -> Result<Self> {
        if pod { Ok(Self::pod(ui)) } else { Self::tailnet(ui) }
    }

    /// This machine only; a userspace node's peers arrive here too, and are named.
    fn pod(ui: &Ui) -> Self {
        ui.note("pod mode: any program on this machine may connect; only the token protects");
        let userspace: Arc<OnceLock<Option<TailscaleDetector>>> = Arc::default();
        let (tell, elsewhere) = mpsc::channel();
        let found = Arc::clone(&userspace);
        let looking = thread::Builder::new().name("tailscale".into()).spawn(move || {
            let tailscale = TailscaleDetector::find().ok();
            let tailscale = tailscale.filter(|t| t.is_userspace().unwrap_or(false));
            let own = tailscale.as_ref().and_then(|t| t.own_addresses().ok());
            let _ = found.set(tailscale);
            if let Some(address) = own.as_ref().and_then(|own| own.first()) {
                let _ = tell.send(*address);
            }
        });
        drop(looking);
        let admit = move |remote: SocketAddr| {
            if !remote.ip().to_canonical().is_loopback() {
                return Err("only this machine may connect in pod mode".into());
            }
            // A Tailscale that answers does so at once; one that hangs holds nobody up for long.
            for _ in 0..10 {
                if userspace.get().is_some() {
                    break;
                }
                thread::sleep(control::SLICE);
            }
            let tailscale = userspace.get().and_then(Option::as_ref);
            match tailscale.map(|tailscale| tailscale.whois(remote)) {
                Some(Ok(Some(peer))) => Ok(peer.to_string()),
                Some(Err(error)) if error.exit == Exit::Refused => Err(error.message),
                _ => Ok("a program on this machine".into()),
            }
        };
        let here = Ipv4Addr::LOCALHOST.into();
        Self { listen: here, ticket: here, elsewhere: Some(elsewhere), admit: Box::new(admit) }
    }

    fn tailnet(ui: &Ui) -> Result<Self> {
        let tailscale = Arc::new(TailscaleDetector::find()?);
        let own = tailscale.own_addresses()?;
        let ticket = own.first().copied().unwrap_or(Ipv4Addr::LOCALHOST.into());
        if tailscale.is_userspace()? {
            ui.note("this node has no network device: tailscaled delivers to 127.0.0.1");
            let admit = move |remote: SocketAddr| match tailscale.whois(remote) {
                Ok(Some(peer)) => Ok(peer.to_string()),
                Ok(None) => Err("it does not come from the tailnet".into()),
                Err(error) => Err(error.message),
            };
            let listen = Ipv4Addr::LOCALHOST.into();
            return Ok(Self { listen, ticket, elsewhere: None, admit: Box::new(admit) });
        }
        let admit = move |remote: SocketAddr| match tailscale.verify_peer_ip_cached(remote.ip()) {
            Ok(peer) => Ok(peer.to_string()),
            Err(error) => Err(error.message),
        };
        Ok(Self { listen: ticket, ticket, elsewhere: None, admit: Box::new(admit) })
    }
}

/// The wait for a receiver, with an end.
struct Waiting {
    limit: Duration,
    deadline: Instant,
    refusals: u32,
}

impl Waiting {
    fn new(limit: Duration) -> Self {
        Self { limit, deadline: Instant::now() + limit, refusals: 0 }
    }

    fn next_guest(&mut self, gate: &Gate, offer: &mut Offer, ui: &Ui) -> Result<Box<Guest>> {
        loop {
            control::check()?;
            offer.look(ui);
            let left = self.deadline.saturating_duration_since(Instant::now());
            match gate.next(left.min(control::SLICE)) {
                None if !left.is_zero() => {}
                Some(Visit::Guest(guest)) => return Ok(guest),
                Some(Visit::WrongToken { name, left: 0 }) => {
                    ui.wrong_token(&name, 0);
                    return Err(Error::refused(format!(
                        "the offer has ended after {} wrong tokens, the last from {name}",
                        MAX_GUESSES
                    ))
                    .hint("run the same command again for a new token"));
                }
                Some(Visit::WrongToken { name, left }) => ui.wrong_token(&name, left),
                Some(Visit::Refused { address, why }) => {
                    self.refusals += 1;
                    ui.turned_away(address.ip(), &why, self.refusals);
                }
                None => {
                    let limit = self.limit.as_secs();
                    return Err(Error::network(format!("no receiver came within {limit} s"))
                        .hint("run the same command again; --timeout 30m waits longer"));
                }
            }
        }
    }
}

/// One receiver, from the handshake to the last word.
fn serve(guest: Guest, offer: &mut Offer, ui: &Ui) -> Result<Summary> {
    let Guest { stream, keys, name, .. } = guest;
    ui.receiver_connected(&name, uuid::Uuid::from_bytes(keys.session_id));
    let session = stream
        .halves(STALL_LIMIT)
        .and_then(|halves| Session::start(halves, keys, Role::Receiver, Limits::default()));
    let result = session.and_then(|session| {
        let mut progress = ui.progress("Sending");
        let mut begun = Instant::now();
        let summary = offer.send(session, ui, &mut |event| {
            if let Event::Planned { .. } = event {
                // The receiver may have thought about the plan for a while.
                begun = Instant::now();
            }
            progress.on(&event);
        })?;
        Ok(Summary { elapsed: begun.elapsed(), ..summary })
    });
    stream.shutdown();
    result
}
