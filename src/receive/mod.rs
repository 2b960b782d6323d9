//! The receiving side's story: take the ticket, reach the sender, prove the token, look at the
//! offer, ask, receive.

pub mod intake;
pub mod lock;
pub mod plan;
pub mod stream;
pub mod writer;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::RngExt;

use self::plan::{Action, OnConflict, Plan, Survey};
use self::stream::{Offered, await_offer};
use crate::crypto::handshake::{ANSWER_LEN, HELLO_LEN, HandshakeError, ReceiverId, Start};
use crate::crypto::keys::{Role, SessionKeys};
use crate::error::{Error, Exit, Result, bytes, reason, shown};
use crate::event::Summary;
use crate::files::manifest::Entry;
use crate::files::root::{Found, Root};
use crate::net::dial::{Route, Stream, dial};
use crate::net::tailscale::TailscaleDetector;
use crate::protocol::message::Reason;
use crate::protocol::session::{Limits, STALL_LIMIT, Session};
use crate::ticket::{Host, Ticket};
use crate::token::{self, Token};
use crate::ui::{Choice, Ui};

/// How long connecting may take.
const DIAL_LIMIT: Duration = Duration::from_secs(30);
/// How long the handshake may take in all.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Where to receive from, and where to; resolved from the command line.
#[derive(Debug, Clone)]
pub struct ReceiveOptions {
    /// The ticket as it was typed; nothing when it is to be asked.
    pub ticket: Option<String>,
    /// Connect on this machine only, without Tailscale.
    pub pod: bool,
    /// The folder that everything goes into.
    pub output: PathBuf,
    /// What to do about existing files; nothing when it is to be asked.
    pub on_conflict: Option<Conflict>,
}

/// What to do when something of the same name is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// One of the ways to go on.
    Go(OnConflict),
    /// Stop before anything is changed.
    Fail,
}

/// Runs `transfer receive`.
pub fn run(options: &ReceiveOptions, ui: &Ui) -> Result<Exit> {
    let ticket = match &options.ticket {
        Some(ticket) => Ticket::parse(ticket)?,
        None => Ticket::parse(&ui.ask_ticket()?)?,
    };
    check_output(&options.output)?;
    let (target, route, name) = find_sender(&ticket, options.pod)?;
    ui.note(&format!("connecting to {name}"));
    let id: ReceiverId = token::system_rng()?.random();
    let stream = dial(target, &route, DIAL_LIMIT)?;
    let result = handshake(&stream, &ticket.token, &id, &name).and_then(|keys| {
        let id = uuid::Uuid::from_bytes(keys.session_id);
        ui.detail(&format!("session {id}"));
        let halves = stream.halves(STALL_LIMIT)?;
        let session = Session::start(halves, keys, Role::Sender, Limits::default())?;
        let offered = await_offer(session)?;
        take(offered, options, ui)
    });
    stream.shutdown();
    let summary = result?;
    ui.received(&summary, &options.output);
    Ok(summary.exit())
}

/// A folder, or nothing yet.
fn check_output(output: &Path) -> Result<()> {
    match std::fs::metadata(output) {
        Ok(found) if !found.is_dir() => {
            let output = output.to_string_lossy();
            Err(Error::failure(format!("\"{}\" is not a folder", shown(&output)))
                .hint("name a folder with -o; it is made if it does not exist"))
        }
        _ => Ok(()),
    }
}

/// The sender's address, the way there, and what to call it.
fn find_sender(ticket: &Ticket, pod: bool) -> Result<(SocketAddr, Route, String)> {
    let address = match &ticket.host {
        Host::Ip(ip) => Some(ip.to_canonical()),
        Host::Name(name) if name == "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Host::Name(_) => None,
    };
    let local = address.filter(IpAddr::is_loopback);
    if let Some(ip) = local {
        let target = SocketAddr::new(ip, ticket.port);
        return Ok((target, Route::Direct, "this machine".into()));
    }
    if pod {
        return Err(Error::usage(format!("{} is not this machine", ticket.host))
            .hint("leave --pod away to receive from another machine"));
    }
    let tailscale = TailscaleDetector::find()?;
    let ip = match (&ticket.host, address) {
        (_, Some(ip)) => ip,
        (host, None) => {
            let name = host.to_string();
            tailscale.status()?.resolve(&name)?.ok_or_else(|| {
                Error::network(format!("no device of your tailnet is called \"{name}\""))
                    .hint("`tailscale status` lists their names; an address works too")
            })?
        }
    };
    let peer = tailscale.verify_peer_ip_cached(ip)?;
    let route = Route::from_env(&tailscale)?;
    Ok((SocketAddr::new(ip, ticket.port), route, peer.to_string()))
}

/// Proves the token to the sender and has it prove that it knows it too.
fn handshake(stream: &Stream, token: &Token, id: &ReceiverId, name: &str) -> Result<SessionKeys> {
    let mut timed = stream.until(Instant::now() + HANDSHAKE_LIMIT);
    let lost = |error: std::io::Error| {
        Error::network(format!("{name} closed the connection: {}", reason(&error)))
            .hint("its terminal may say why; is this machine a device of its tailnet?")
    };
    let wrong = |error| handshake_failed(error, name);
    let start = Start::new(Role::Receiver, token, &mut token::system_rng()?);
    timed.write_all(start.hello()).map_err(lost)?;
    let mut hello = [0u8; HELLO_LEN];
    timed.read_exact(&mut hello).map_err(lost)?;
    let (proving, confirm) = start.prove(&hello, id).map_err(wrong)?;
    timed.write_all(&confirm).map_err(lost)?;
    let mut answer = [0u8; ANSWER_LEN];
    timed.read_exact(&mut answer).map_err(lost)?;
    proving.check(&answer).map_err(wrong)
}

fn handshake_failed(error: HandshakeError, name: &str) -> Error {
    let message = format!("{name}: {error}");
    match error {
        HandshakeError::NotTransfer => Error::network(message)
            .hint("something else listens on that port; is the port of the ticket right?"),
        HandshakeError::Version(_) => {
            Error::failure(message).hint("install the same version of transfer on both machines")
        }
        HandshakeError::Invalid => {
            Error::refused(message).hint("do not trust this connection; start both sides anew")
        }
        HandshakeError::WrongToken { left: 0 } => Error::refused(message)
            .hint("the sender has ended its offer; start `transfer send` there again"),
        HandshakeError::WrongToken { left } => Error::refused(message)
            .hint(format!("compare the words with the sender's screen; it forgives {left} more")),
        HandshakeError::Impostor => Error::refused(message)
            .hint("compare the ticket with the sender's screen; someone may be in between"),
        HandshakeError::Busy => Error::refused(message)
            .hint("one offer serves one receiver; start another `transfer send` there"),
    }
}

/// From the offer to the last word.
fn take(mut offered: Offered, options: &ReceiveOptions, ui: &Ui) -> Result<Summary> {
    let names = &offered.offer().unsent_names;
    ui.unsent(names.iter().map(|unsent| (&*unsent.name, &*unsent.why)));
    ui.offered(offered.manifest());
    let mut root = match Root::open(&options.output) {
        Ok(root) => root,
        Err(error) => {
            let output = options.output.to_string_lossy();
            let error =
                Error::failure(format!("cannot use \"{}\": {}", shown(&output), reason(&error)))
                    .hint("name another folder with -o");
            return Err(offered.refuse(Reason::Unwritable, error));
        }
    };
    let survey = offered.meanwhile(|manifest| Survey::new(manifest, &mut root));
    let policy = match decide(&mut offered, &survey, options, ui) {
        Ok(policy) => policy,
        Err((reason, error)) => return Err(offered.refuse(reason, error)),
    };
    let plan = offered.meanwhile(|manifest| {
        Plan::new(manifest, &survey, policy, |path| root.look(path) != Found::Nothing)
    });
    drop(survey);
    if let Err((reason, error)) = check_space(&offered, &plan, &root) {
        return Err(offered.refuse(reason, error));
    }
    let mut progress = ui.progress("Receiving");
    let begun = Instant::now();
    let summary = offered.accept(&mut root, plan, &mut |event| progress.on(&event))?;
    Ok(Summary { elapsed: begun.elapsed(), ..summary })
}

type Refusal = (Reason, Error);

/// What happens to existing files: as told, as asked, or both are kept.
fn decide(
    offered: &mut Offered,
    survey: &Survey,
    options: &ReceiveOptions,
    ui: &Ui,
) -> Result<OnConflict, Refusal> {
    let conflicts: Vec<&Entry> = survey.conflicts(offered.manifest()).take(5).collect();
    if conflicts.is_empty() {
        return Ok(OnConflict::Rename);
    }
    let count = survey.conflicts(offered.manifest()).count() as u64;
    let names: Vec<String> = conflicts.iter().map(|entry| entry.path.to_string()).collect();
    match options.on_conflict {
        Some(Conflict::Go(policy)) => Ok(policy),
        Some(Conflict::Fail) => {
            let name = names.first().cloned().unwrap_or_default();
            let error = Error::new(
                Exit::Declined,
                format!("{count} of the names exist already, such as \"{name}\""),
            );
            let error = error.hint("nothing was changed; --on-conflict rename keeps both");
            Err((Reason::Conflict { count }, error))
        }
        None if ui.asks() => {
            let declined = || (Reason::Declined, Error::new(Exit::Declined, "you said no"));
            match offered.meanwhile(|_| ui.ask_conflict(count, &names)) {
                Ok(Choice::Go(policy)) => Ok(policy),
                Ok(Choice::Cancel) => Err(declined()),
                Err(error) => Err((Reason::Declined, error)),
            }
        }
        None => {
            ui.note(&format!(
                "nothing is asked: {count} existing names are kept, the new files get other names"
            ));
            Ok(OnConflict::Rename)
        }
    }
}

/// Refuses, before the first byte, what has no room.
fn check_space(offered: &Offered, plan: &Plan, root: &Root) -> Result<(), Refusal> {
    let entries = offered.manifest().entries().iter().zip(plan.actions());
    let wanted =
        entries.filter(|(_, (_, action))| matches!(action, Action::Create | Action::Replace));
    let needed = wanted.map(|(entry, _)| entry.size()).sum();
    // Where the system does not tell, a full disk shows later.
    let free = root.free_space().unwrap_or(u64::MAX);
    if needed <= free {
        return Ok(());
    }
    let error = Error::failure(format!(
        "not enough room in \"{}\": {} are needed, {} are free",
        shown(&root.path().to_string_lossy()),
        bytes(needed),
        bytes(free)
    ));
    Err((Reason::NoSpace { needed, free }, error.hint("make room, or name another folder with -o")))
}
