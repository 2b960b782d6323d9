//! A server by its name in the local network: whether it is announced, answers and is trusted. And one at a machine
//! that is named, whichever network that is in.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::connect::around::Look;
use crate::connect::devices::{Own, PORT, PORTS, Papers};
use crate::connect::place::{Place, Sought};
use crate::connect::servers::Dialler;
use crate::connect::{Connection, NotConnected};
use crate::crypto::keys::Role;
use crate::error::{Cause, Error, bytes};
use crate::find::look_around;
use crate::net::interfaces::{Choice, is_tailnet};
use crate::protocol::message::Welcome;
use crate::protocol::session::{Limits, Session};
use crate::ticket::Host;
use crate::trust::folder::Folder;
use crate::trust::store::Trusted;
use crate::ui::{Finding, Found};

/// How long it is looked for.
const PATIENCE: Duration = Duration::from_secs(3);

/// What came of a look for a server.
pub struct Near {
    /// Whether it has answered, and is trusted. A record alone says nothing of who is meant.
    pub answers: bool,
    /// What there is to say.
    pub findings: Vec<Finding>,
}

/// What there is to say of a server that is called so here, or announces itself so; nothing where there
/// is none, or nobody is trusted here yet.
pub fn look(name: &str) -> Option<Near> {
    let name = name.strip_suffix(".local").unwrap_or(name);
    let trusted = trusted()?;
    let own = Arc::new(Own::load(&Papers::default()).ok()?);
    let key = trusted.named(name).map(|known| known.id);
    let is_meant = |found: &Found| {
        let is = |called: &str| called.to_lowercase() == name.to_lowercase();
        // Who is called otherwise there may not let this device in, and then only its record tells.
        let announces_it = key.is_some_and(|key| key.0.starts_with(&found.server.txt.id));
        announces_it
            || is(&found.server.name)
            || found.came.as_ref().is_ok_and(|seen| is(&seen.name))
    };
    let is_there = |found: &Found| found.came.is_ok() && is_meant(found);
    let enough = |found: &[Found], _| match found.iter().any(is_there) {
        true => Look::Done,
        false => Look::On,
    };
    let here = look_around(&own, &Choice::Local, PATIENCE, &enough).ok()?;
    let findings: Vec<Finding> =
        here.found.iter().filter(|found| is_meant(found)).map(finding).collect();
    let answers = here.found.iter().any(is_there);
    (!findings.is_empty()).then_some(Near { answers, findings })
}

/// Whom this device trusts; nothing where that is nobody.
fn trusted() -> Option<Trusted> {
    let trusted = Trusted::load(&Folder::of_user().ok()?).ok()?;
    (!trusted.devices.is_empty() || !trusted.cas.is_empty()).then_some(trusted)
}

/// Whether a device is called so here: it may be in the local network, and need no other.
pub fn is_known(name: &str) -> bool {
    let name = name.strip_suffix(".local").unwrap_or(name);
    trusted().is_some_and(|trusted| trusted.key_of(name).is_some())
}

/// Where this machine would serve the tailnet; nothing where nobody is trusted here.
pub fn would_listen(addresses: &[IpAddr]) -> Option<Finding> {
    trusted()?;
    let at: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    Some(Finding::fine(format!(
        "`transfer serve --tailnet` is reached at {}, on the first free port of {} to {}, if the rules of \
         the tailnet let that in",
        at.join(", "),
        PORTS.start(),
        PORTS.end()
    )))
}

/// What there is to say of a server at a machine, at this port or where `send --to` would look, and whether one has
/// answered; nothing where nobody is trusted here.
pub fn look_at(host: &Host, port: Option<u16>, limit: Duration) -> Option<(Finding, bool)> {
    trusted()?;
    let own = Arc::new(Own::load(&Papers::default()).ok()?);
    let place = Place::Host(host.clone(), port);
    let sought = Sought { place, choice: Choice::Local, fingerprint: None, wait: None };
    Some(match greet(&Dialler::to_look(own, sought), limit) {
        Ok((name, words, at, welcome)) => {
            let free = welcome.free.map_or_else(String::new, |it| format!(", {} free", bytes(it)));
            let finding = Finding::fine(format!(
                "{name} ({words}) serves at {at}; it and this device trust each other{free}"
            ));
            (finding, true)
        }
        Err(NotConnected::Refused(_)) => {
            // A tailnet has no records that would name another.
            let first = host.address().filter(|ip| !is_tailnet(*ip)).map(|_| PORT);
            let at = port.or(first).map_or_else(
                || format!("ports {} to {}", PORTS.start(), PORTS.end()),
                |port| format!("port {port}"),
            );
            (Finding::skipped(format!("no `transfer serve` there on {at}")), false)
        }
        Err(end) => {
            let refused =
                matches!(&end, NotConnected::Over(error) if error.cause == Cause::Refused);
            let error = end.into_error();
            let finding = Finding::warning(format!("no server there to send to: {error}"));
            (finding.advice(error.hint.unwrap_or_default()), refused)
        }
    })
}

/// Dials it, and reads what it says of itself: its name here, its words, where it is.
fn greet(
    dialler: &Dialler,
    patience: Duration,
) -> Result<(String, String, String, Welcome), NotConnected> {
    let (connection, watch) = dialler.dial()?;
    let Connection { reader, writer, closer: _closer, protection, peer, device, .. } = connection;
    let limits = Limits { patience, lanes: 1, ..Limits::default() };
    let mut session = Session::start((reader, writer), protection, Role::Receiver, limits)?;
    match session.await_welcome() {
        Ok(welcome) => {
            let words = device.map_or_else(String::new, |device| device.id.words());
            let at = dialler.at().map_or_else(String::new, |at| at.to_string());
            Ok((peer.name, words, at, welcome))
        }
        Err(stop) => Err(dialler.ended(&watch, session.stop(stop))),
    }
}

fn finding(found: &Found) -> Finding {
    let server = &found.server;
    match &found.came {
        Ok(seen) => {
            let free =
                seen.room().map_or_else(String::new, |free| format!(", {} free", bytes(free)));
            let words = seen.id.words();
            // The zone of an address of the link has a meaning here alone, and nobody can type it.
            let at = match seen.at {
                SocketAddr::V6(at) if at.scope_id() > 0 => "an address of its link".to_owned(),
                at => at.to_string(),
            };
            Finding::fine(format!(
                "{} ({words}) serves at {at}; it and this device trust each other{free}",
                seen.name
            ))
        }
        Err(error @ Error { hint, .. }) => {
            Finding::problem(format!("a server is announced as {server}: {error}"))
                .advice(hint.clone().unwrap_or_default())
        }
    }
}
