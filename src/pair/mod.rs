//! Two machines get to know each other: one shows a token, the other types it, and each pins the
//! other's key.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::bounds::{MAX_GUESSES, PAIRED_LIMIT};
use crate::connect::acceptor::{Acceptor, Incoming};
use crate::connect::connector::Connector;
use crate::connect::handshake::{self, Judge};
use crate::connect::ways::{self, Dial, Way};
use crate::connect::{Connection, NotConnected};
use crate::control::{self, SLICE};
use crate::crypto::keys::Role;
use crate::crypto::record::Follows;
use crate::error::{Cause, Error, Exit, Result, shown};
use crate::net::dial::Stream;
use crate::protocol::message::{Control, Message, Pair};
use crate::protocol::reason::Reason;
use crate::protocol::session::{Limits, OUT_OF_TURN, Session, Stop, receive_last_within};
use crate::ticket::{Ticket, USUAL_PORTS};
use crate::token::{DEFAULT_WORDS, Token};
use crate::trust::certificate::{Certificate, Id};
use crate::trust::device::Device;
use crate::trust::folder::Folder;
use crate::trust::store::{Removed, Trusted, Via, day};
use crate::trust::{check_name, is_name, pem};
use crate::ui::Ui;

/// How long the other machine is waited for.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// With whom to pair; resolved from the command line.
#[derive(Debug)]
pub struct PairOptions {
    /// What the other machine shows; nothing where this one shows it.
    pub ticket: Option<Zeroizing<String>>,
    /// What to call the other here.
    pub name: Option<String>,
    /// Who can reach it: the local network, the tailnet, or this machine.
    pub way: Way,
    /// TCP port to listen on; nothing for the usual one or the next.
    pub port: Option<u16>,
}

/// Runs `transfer pair`.
pub fn run(options: PairOptions, ui: &Ui) -> Result<Exit> {
    if let Some(name) = &options.name {
        check_name(name)?;
    }
    let folder = Folder::of_user()?;
    let device = Device::load_or_make(&folder)?;
    // A list that cannot be read is told before anybody types anything.
    Trusted::load(&folder)?;
    let (connection, peer) = match &options.ticket {
        Some(ticket) => (dial(ticket, &options)?, Role::Sender),
        None => (wait(&options, ui)?, Role::Receiver),
    };
    let Connection { reader, writer, closer: _closer, protection, .. } = connection;
    let session = Session::start((reader, writer), protection, peer, Limits::default())?;
    let (name, certificate, removed) = exchange(session, peer, &device, options.name, &folder)?;
    if let Some(removed) = removed {
        ui.note(&format!(
            "{} was removed from this device on {}, and is trusted again",
            shown(&removed.name),
            day(removed.at)
        ));
    }
    ui.note(&format!(
        "paired with {} ({}): each trusts the other from now on",
        shown(&name),
        certificate.id.words()
    ));
    Ok(Exit::Done)
}

fn dial(ticket: &str, options: &PairOptions) -> Result<Connection> {
    let ticket = Ticket::parse(ticket)?;
    let dial = Dial {
        is_pod: options.way == Way::Pod,
        is_tailnet: options.way == Way::Tailnet,
        ..Dial::default()
    };
    let remote = ways::remote(&ticket.host, ticket.port, &dial)?;
    let mut connector = Connector::new(remote, ticket.token)?;
    let stream = connector.dial().map_err(|end| match end.into_error() {
        error if error.cause == Cause::NothingListens => {
            error.hint("is `transfer pair` still running there, and is this its newest ticket?")
        }
        error => error,
    })?;
    connector.authenticate(stream).map_err(NotConnected::into_error)
}

/// Shows a token and waits until somebody has proved that it is known there.
fn wait(options: &PairOptions, ui: &Ui) -> Result<Connection> {
    let endpoint = ways::endpoint(&options.way)?;
    ui.listens(&endpoint);
    let token = Token::generate(DEFAULT_WORDS)?;
    let (listeners, port) = endpoint.bind(options.port, USUAL_PORTS)?;
    let shared = token.clone();
    let prove = move |stream: &Stream, judge: Judge<'_>| handshake::answer(stream, &shared, judge);
    let acceptor = Acceptor::open(listeners, 1, endpoint.admit, Box::new(prove))
        .map_err(|error| Error::no_thread(&error))?;
    ui.pair_ticket(&Ticket { host: endpoint.ticket, port, token })?;
    let (until, mut refused) = (Instant::now() + PATIENCE, 0);
    while Instant::now() < until {
        control::check()?;
        match acceptor.next(SLICE) {
            Some(Incoming::Accepted(accepted)) => return Ok(accepted.connection),
            Some(Incoming::WrongToken { left: 0, .. }) => {
                return Err(Error::refused(format!("{MAX_GUESSES} wrong tokens"))
                    .hint("somebody may be guessing; `transfer pair` shows another token"));
            }
            Some(Incoming::WrongToken { peer, left }) => ui.wrong_token(&peer, left),
            Some(Incoming::Refused { peer, why }) => {
                refused += 1;
                ui.turned_away(&peer, &why, refused);
            }
            Some(Incoming::Look { .. }) | None => {}
        }
    }
    Err(Error::network("nobody came within 5 minutes").hint("`transfer pair` shows another token"))
}

/// Tells the other side who this device is, learns who it is, and pins it once both know. Whoever gets no
/// confirmation takes its own entry away again.
fn exchange(
    mut session: Session,
    peer: Role,
    device: &Device,
    called: Option<String>,
    folder: &Folder,
) -> Result<(String, Certificate, Option<Removed>)> {
    let (name, certificate) = match introduce(&mut session, device) {
        Ok(met) => met,
        Err(stop) => return Err(session.stop(stop)),
    };
    let name = called.unwrap_or(name);
    let pinned = Trusted::change(folder, |trusted| {
        let before = Before::of(trusted, certificate.id);
        Ok((trusted.pin(&name, &certificate, Via::Pair)?, before))
    });
    let (name, before) = match pinned {
        Ok(pinned) => pinned,
        Err(error) => return Err(session.stop(Stop::Own(Reason::Failed, error))),
    };
    let ended = session.send_last(&Control::Paired);
    let confirmed =
        ended.and_then(|inbox| receive_last_within(&inbox, peer, &Control::Paired, PAIRED_LIMIT));
    match confirmed {
        Ok(()) => Ok((name, certificate, before.removal)),
        Err(Stop::Gone(error) | Stop::Own(_, error)) => {
            Trusted::change(folder, |trusted| {
                before.restore(trusted);
                Ok(())
            })?;
            let message = format!("{}, so the two are not paired: {error}", unconfirmed(&name));
            Err(Error::new(error.cause, message).hint("run `transfer pair` on both again"))
        }
    }
}

fn unconfirmed(name: &str) -> String {
    format!("{} has not confirmed it", shown(name))
}

/// What the list said of a key before it was pinned.
struct Before {
    id: Id,
    was_pinned: bool,
    removal: Option<Removed>,
    /// Names under which a CA vouched for it.
    names: BTreeMap<String, Id>,
}

impl Before {
    fn of(trusted: &Trusted, id: Id) -> Self {
        let mut names = trusted.names.clone();
        names.retain(|_, seen| *seen == id);
        let was_pinned = trusted.pinned(&id).is_some();
        Self { id, was_pinned, removal: trusted.removal(&id).cloned(), names }
    }

    /// Makes the list say it again.
    fn restore(self, trusted: &mut Trusted) {
        if !self.was_pinned {
            trusted.devices.retain(|known| known.id != self.id);
        }
        trusted.removed.extend(self.removal);
        for (name, id) in self.names {
            trusted.names.entry(name).or_insert(id);
        }
    }
}

fn introduce(session: &mut Session, device: &Device) -> Result<(String, Certificate), Stop> {
    let own = device.own.certificate();
    let pair = Pair { name: device.name.clone(), certificate: own.to_pem() };
    session.send_control(&Control::Pair(pair))?;
    let Pair { name, certificate } =
        session.receive(|message, follows| match (message, follows) {
            (Message::Control(Control::Pair(pair)), Follows::More) => Ok(pair),
            _ => Err(OUT_OF_TURN.into()),
        })?;
    let refuse = |why: &str| {
        let error = Error::refused(format!("the other machine cannot be paired with: {why}"));
        Stop::Own(Reason::Failed, error.hint("is it this machine itself?"))
    };
    let chain = pem::certificates_in(certificate.as_bytes(), "what the other machine sent")
        .map_err(|error| Stop::Own(Reason::Protocol, error))?;
    let [certificate] = &*chain else { return Err(refuse("it has not sent one certificate")) };
    if certificate.id == own.id {
        return Err(refuse("it has the same key"));
    }
    if certificate.is_ca || certificate.version < 3 || certificate.key.problem().is_some() {
        return Err(refuse("its certificate shows no device"));
    }
    let name = if is_name(&name) { name } else { certificate.device_name() };
    Ok((name, certificate.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::samples::{alone, wish};

    #[test]
    fn what_is_not_confirmed_leaves_the_list_as_it_was() {
        let certificate = alone(&wish("laptop", &[])).certificate().clone();
        let id = certificate.id;
        let mut seen = Trusted::empty();
        seen.remember("laptop", id).unwrap();
        let mut removed = Trusted::empty();
        removed.remove(&id.to_string()).unwrap();
        let mut pinned = Trusted::empty();
        pinned.pin("laptop", &certificate, Via::Import).unwrap();
        for (row, list) in
            [("new", Trusted::empty()), ("seen", seen), ("removed", removed), ("pinned", pinned)]
        {
            let mut trusted = list.clone();
            let before = Before::of(&trusted, id);
            trusted.pin("notebook", &certificate, Via::Pair).unwrap();
            assert!(trusted.pinned(&id).is_some(), "{row}");
            before.restore(&mut trusted);
            assert_eq!(trusted, list, "{row}");
        }
    }
}
