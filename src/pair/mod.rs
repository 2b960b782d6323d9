//! Two machines get to know each other: one shows a token, the other types it, and each pins the
//! other's key. Where one has a CA, the other may join that.

mod join;
mod waiting;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use self::join::{Means, Membership, Outcome};
use self::waiting::Shown;
use crate::bounds::{MAX_GUESSES, PAIRED_LIMIT, PAIRING_LIMIT};
use crate::connect::acceptor::{Acceptor, Incoming};
use crate::connect::connector::Connector;
use crate::connect::handshake::{self, Judge};
use crate::connect::ways::{self, Dial, Way};
use crate::connect::{Connection, NotConnected, Peer, Remote, Target};
use crate::control::{self, SLICE};
use crate::crypto::keys::Role;
use crate::error::{Cause, Error, Exit, Result, shown};
use crate::net::dial::{Route, Stream};
use crate::protocol::features::{Feature, Features};
use crate::protocol::message::{Control, Pair};
use crate::protocol::reason::Reason;
use crate::protocol::session::{Limits, OUT_OF_TURN, Session, Stop, receive_last_within};
use crate::ticket::{DEFAULT_PORT, Host, Ticket, USUAL_PORTS};
use crate::token::{DEFAULT_WORDS, Token};
use crate::trust::certificate::{Certificate, Id};
use crate::trust::credentials::Credentials;
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
    /// A CA is joined, without a question.
    pub join: bool,
    /// What this side says that it can do.
    pub features: Features,
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
    let means = Means::look(options.join, &folder, ui)?;
    let (connection, peer) = match &options.ticket {
        Some(ticket) => (dial(ticket, &options, ui)?, Role::Sender),
        None => (wait(&options, &device.name, ui)?, Role::Receiver),
    };
    let Connection { reader, writer, closer: _closer, protection, peer: other, .. } = connection;
    let limits = Limits { features: options.features, ..Limits::default() };
    let session = Session::start((reader, writer), protection, peer, limits)?;
    let own = Own { device, folder, called: options.name, means };
    let Paired { name, id, removed, outcome } = exchange(session, peer, other.address, own, ui)?;
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
        id.words()
    ));
    tell(&name, &outcome, ui);
    Ok(Exit::Done)
}

/// What became of the CAs.
fn tell(name: &str, outcome: &Outcome, ui: &Ui) {
    if let Some((called, certificate)) = &outcome.issued {
        ui.note(&format!(
            "{} has joined \"{}\" as {}, until {}: all devices that trust this CA trust it",
            shown(name),
            shown(&certificate.issuer),
            shown(called),
            certificate.until
        ));
    }
    if let Some(Membership { chain, ca }) = &outcome.membership
        && let Some(certificate) = chain.first()
    {
        ui.note(&format!(
            "this device has joined \"{}\" as {}, until {}: it trusts all devices that this CA vouches for, and they trust it",
            shown(&ca.subject),
            shown(&certificate.device_name()),
            certificate.until
        ));
    }
    if let Some(remark) = &outcome.remark {
        ui.warn(remark);
    }
}

/// Connects to the machine that shows a token: where the ticket says, or wherever it is in the local network.
fn dial(typed: &str, options: &PairOptions, ui: &Ui) -> Result<Connection> {
    let dial = Dial {
        is_pod: options.way == Way::Pod,
        is_tailnet: options.way == Way::Tailnet,
        ..Dial::default()
    };
    let (remote, token) = match (words(typed)?, &options.way) {
        (Some(token), Way::Lan(choice)) => {
            let waiting = waiting::find(choice, ui)?;
            ui.note(&format!("found {} at {}", shown(&waiting.name), waiting.at));
            let peer = Peer::unknown(waiting.at.ip());
            let target = Target::Address(waiting.at, Route::Local);
            (Remote { target, peer }, token)
        }
        (Some(_), Way::Tailnet) => {
            return Err(Error::usage("in a tailnet nobody is looked for by the token alone")
                .hint("type the whole ticket, `HOST:TOKEN`"));
        }
        (Some(token), _) => {
            let here = Host::Ip(Ipv4Addr::LOCALHOST.into());
            (ways::remote(&here, DEFAULT_PORT, &dial)?, token)
        }
        (None, _) => {
            let ticket = Ticket::parse(typed)?;
            (ways::remote(&ticket.host, ticket.port, &dial)?, ticket.token)
        }
    };
    let mut connector = Connector::new(remote, token)?;
    let stream = connector.dial().map_err(|end| match end.into_error() {
        error if error.cause == Cause::NothingListens => {
            error.hint("is `transfer pair` still running there, and is this its newest ticket?")
        }
        error => error,
    })?;
    connector.authenticate(stream).map_err(NotConnected::into_error)
}

/// The token, where that is all that was typed.
fn words(typed: &str) -> Result<Option<Token>> {
    let is_word = |c: char| c.is_ascii_alphabetic() || matches!(c, '-' | '_') || c.is_whitespace();
    match typed.trim().chars().all(is_word) && !typed.trim().is_empty() {
        true => Token::parse(typed).map(Some).map_err(Error::secret),
        false => Ok(None),
    }
}

/// Shows a token and waits until somebody has proved that it is known there.
fn wait(options: &PairOptions, name: &str, ui: &Ui) -> Result<Connection> {
    let mut endpoint = ways::endpoint(&options.way)?;
    ui.listens(&endpoint);
    let token = Token::generate(DEFAULT_WORDS)?;
    let (listeners, port) = endpoint.bind(options.port, USUAL_PORTS)?;
    let shared = token.clone();
    let prove = move |stream: &Stream, judge: Judge<'_>| handshake::answer(stream, &shared, judge);
    let acceptor = Acceptor::open(listeners, 1, endpoint.admit, Box::new(prove))
        .map_err(|error| Error::no_thread(&error))?;
    let mut waits = Shown::begin(name, port, &options.way, ui);
    ui.pair_ticket(&Ticket { host: endpoint.ticket, port, token }, waits.is_announced())?;
    let (until, mut refused) = (Instant::now() + PATIENCE, 0);
    while Instant::now() < until {
        control::check()?;
        waits.turn(ui);
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
            Some(Incoming::Look { .. } | Incoming::Relay { .. }) | None => {}
        }
    }
    Err(Error::network("nobody came within 5 minutes").hint("`transfer pair` shows another token"))
}

/// This side of a pairing.
struct Own {
    device: Device,
    folder: Folder,
    /// What the other is to be called here.
    called: Option<String>,
    means: Means,
}

/// Who is at the other end.
struct Met {
    /// What it is called here.
    name: String,
    /// Whether somebody has said so here; else it is what it calls itself.
    is_called: bool,
    certificate: Certificate,
    /// Where it is, as far as this side sees.
    address: Option<IpAddr>,
}

/// What a pairing has come to.
struct Paired {
    name: String,
    id: Id,
    /// When it had been removed before.
    removed: Option<Removed>,
    outcome: Outcome,
}

/// Tells the other side who this device is, learns who it is, lets one join the CA of the other if they want that,
/// and pins it once both know. Whoever gets no confirmation takes its own entry away again.
fn exchange(
    mut session: Session,
    peer: Role,
    address: Option<IpAddr>,
    own: Own,
    ui: &Ui,
) -> Result<Paired> {
    let Own { mut device, folder, called, means } = own;
    let met = introduce(&mut session, &device).and_then(|(name, certificate)| {
        let is_called = called.is_some();
        let met = Met { name: called.unwrap_or(name), is_called, certificate, address };
        let outcome = match session.agreed().has(Feature::Join) {
            true => means.use_them(&mut session, &met, &device, &folder, ui)?,
            false => Outcome { remark: means.in_vain(&met), ..Outcome::default() },
        };
        Ok((met, outcome))
    });
    let (Met { name, certificate, .. }, outcome) = match met {
        Ok(met) => met,
        Err(stop) => return Err(session.stop(stop)),
    };
    let name = outcome.issued.as_ref().map_or(name, |(name, _)| name.clone());
    let before = match keep(&name, &certificate, &outcome, &mut device, &folder) {
        Ok(kept) => kept,
        Err(error) => return Err(session.stop(Stop::Own(Reason::Failed, error))),
    };
    let (name, before) = before;
    let ended = session.send_last(&Control::Paired);
    let confirmed =
        ended.and_then(|inbox| receive_last_within(&inbox, peer, &Control::Paired, PAIRED_LIMIT));
    match confirmed {
        Ok(()) => Ok(Paired { name, id: certificate.id, removed: before.removal, outcome }),
        Err(Stop::Gone(error) | Stop::Own(_, error)) => {
            before.restore_all(&mut device, &folder)?;
            let mut message = format!("{}, so the two are not paired: {error}", unconfirmed(&name));
            if outcome.issued.is_some() {
                message += "; the certificate that was sent stays in `transfer ca list`";
            }
            Err(Error::new(error.cause, message).hint("run `transfer pair` on both again"))
        }
    }
}

/// Pins the other's key, and keeps what its CA has signed: all of it, or nothing.
fn keep(
    name: &str,
    certificate: &Certificate,
    outcome: &Outcome,
    device: &mut Device,
    folder: &Folder,
) -> Result<(String, Before)> {
    let membership = outcome.membership.as_ref();
    let (name, mut before) = Trusted::change(folder, |trusted| {
        let mut before = Before::of(trusted, certificate.id);
        let name = trusted.pin(name, certificate, Via::Pair)?;
        if let Some(Membership { ca, .. }) = membership {
            let known = trusted.cas.len();
            let called = trusted.add_ca(ca)?;
            before.joined = (trusted.cas.len() > known).then_some(called);
        }
        Ok((name, before))
    })?;
    if let Some(Membership { chain, .. }) = membership {
        before.signed = Some(device.signed.clone());
        if let Err(error) = device.install(folder, chain.clone(), "the new certificate") {
            before.signed = None;
            before.restore_all(device, folder)?;
            return Err(error);
        }
    }
    Ok((name, before))
}

fn unconfirmed(name: &str) -> String {
    format!("{} has not confirmed it", shown(name))
}

/// What there was before: what the list said of the key, and what was kept of CAs.
struct Before {
    id: Id,
    was_pinned: bool,
    removal: Option<Removed>,
    /// Names under which a CA vouched for it.
    names: BTreeMap<String, Id>,
    /// What a CA is called here that was not trusted before.
    joined: Option<String>,
    /// The certificate in whose place another has come, if there was one.
    signed: Option<Option<Credentials>>,
}

impl Before {
    fn of(trusted: &Trusted, id: Id) -> Self {
        let mut names = trusted.names.clone();
        names.retain(|_, seen| *seen == id);
        let was_pinned = trusted.pinned(&id).is_some();
        let removal = trusted.removal(&id).cloned();
        Self { id, was_pinned, removal, names, joined: None, signed: None }
    }

    /// Makes everything as it was.
    fn restore_all(mut self, device: &mut Device, folder: &Folder) -> Result<()> {
        let put_back = match self.signed.take() {
            Some(before) => device.put_back(folder, before),
            None => Ok(()),
        };
        Trusted::change(folder, |trusted| {
            self.restore(trusted);
            Ok(())
        })?;
        put_back
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
        trusted.cas.retain(|ca| Some(&ca.name) != self.joined.as_ref());
    }
}

fn introduce(session: &mut Session, device: &Device) -> Result<(String, Certificate), Stop> {
    let own = device.own.certificate();
    let features = session.ours().shared(Features::of_pairing()).names();
    let pair = Pair { name: device.name.clone(), certificate: own.to_pem(), features };
    session.send_control(&Control::Pair(pair))?;
    let Pair { name, certificate, features } = match session.receive_control(PAIRING_LIMIT)? {
        Control::Pair(pair) => pair,
        Control::Ready(_) | Control::Offer(_) => return Err(session.other_command()),
        _ => return Err(OUT_OF_TURN.into()),
    };
    session.agree(&features);
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
mod tests;
