//! Sending to a device that serves others: dial it, offer, send; again, when the connection is lost.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::offer::Offer;
use super::options::{SendOptions, To};
use super::session::{lock, send};
use crate::bounds::LOOK_LIMIT;
use crate::connect::around::Look;
use crate::connect::devices::Own;
use crate::connect::place::{Chosen, Place, Sought};
use crate::connect::redial::{GaveUp, Redial, Retry, Why};
use crate::connect::servers::Dialler;
use crate::connect::{Connection, NotConnected};
use crate::control;
use crate::crypto::keys::Role;
use crate::error::{Cause, Error, Exit, Result, shown};
use crate::event::{Event, Summary};
use crate::files::walk::Walk;
use crate::find::{Here, look_around, nobody};
use crate::net::pace::{Pace, Paced};
use crate::protocol::session::{Limits, Session};
use crate::ui::{Seen, State, Ui};

/// How long others are waited for, once one server has answered.
const CHOICE: Duration = Duration::from_secs(2);

/// Sends what is offered to the device that serves at a place.
pub fn run(walk: Option<Walk>, to: &To, options: &SendOptions, ui: &Ui) -> Result<Exit> {
    if to.place.is_none() && !ui.asks() {
        return Err(Error::usage("there is nobody to ask which server is meant")
            .hint("name it, as `transfer find` shows it: --to NAME"));
    }
    let own = Arc::new(Own::load(&to.papers)?);
    let doubt = own.doubt(false);
    if let Some(doubt) = &doubt {
        ui.warn(doubt);
    }
    let place = match &to.place {
        Some(place) => place.clone(),
        None => choose(&own, to, ui)?,
    };
    let (choice, fingerprint, wait) = (to.choice.clone(), to.fingerprint, to.wait);
    let dialler = Dialler::new(own, Sought { place, choice, fingerprint, wait });
    let name = shown(&dialler.name()).into_owned();
    let mut offer = Offer::begin(walk, options, ui)?;
    offer.ask(options, ui, &mut || control::check().map(|()| false))?;
    let offer = Mutex::new(offer);
    let pace = options.limit.map(Pace::new);
    let run = rand::random();
    let mut limits = Limits { features: options.features, run: Some(run), ..Limits::default() };
    if let Some(pace) = &pace {
        limits.content = limits.content.min(pace.rate().content());
    }
    // What ends soon, is no news beside a certificate that is wrong.
    let mut warned = doubt.is_some();
    ui.note(&format!("connecting to {name}"));
    let attempt = |redial: &mut Redial| -> Result<Summary, NotConnected> {
        control::check()?;
        ui.state(State::Connecting);
        let (connection, watch) = dialler.dial()?;
        if !std::mem::replace(&mut warned, true) {
            dialler.ends(connection.device.as_deref()).iter().for_each(|end| ui.warn(end));
        }
        let Connection { reader, writer, closer: _closer, protection, session: _, peer, .. } =
            connection;
        let halves = (reader, Paced::new(writer, pace.clone()));
        let mut session = Session::start(halves, protection, Role::Receiver, limits)?;
        // Until it has said so it may not have let this device in.
        if let Err(stop) = session.await_ready() {
            return Err(dialler.ended(&watch, session.stop(stop)));
        }
        let id = uuid::Uuid::from_bytes(run);
        ui.receiver_connected(&peer, id);
        redial.session();
        let mut progress = ui.progress("Sending");
        progress.beside(session.heard(), &peer.name);
        let sent = send(session, &offer, ui, &mut |event| {
            if !matches!(event, Event::Planned { .. }) {
                redial.progress();
            }
            progress.on(&event);
        });
        if !lock(&offer).is_whole() {
            redial.once();
        }
        sent.map_err(|error| match error.cause {
            Cause::PeerCannot => NotConnected::Lost(cannot_yet(error)),
            _ => dialler.ended(&watch, error),
        })
    };
    let mut redial = Redial::new(to.wait);
    let ended = redial.run(attempt, &mut |retry| match retry {
        Retry::Again { why, attempt, pause } => ui.dials_again(why, attempt, pause),
        Retry::Awaits { why, patience } => ui.awaits(&name, why, patience),
    });
    let summary = ended.map_err(|GaveUp { error, why }| match (why, error.cause) {
        (Why::Once, _) => error.hint("what was read of the input is gone: run it again"),
        (Why::Gone, _) => {
            error.hint("start `transfer serve` there again; the same command goes on from here")
        }
        (_, Cause::Interrupted) => error.or_hint("the same command goes on where it stopped"),
        (Why::NoProgress, _) => error.or_hint("run the same command again: it goes on from here"),
        (Why::Over, _) => error,
    })?;
    ui.sent(&summary);
    Ok(summary.exit())
}

/// One of the servers that are here.
fn choose(own: &Arc<Own>, to: &To, ui: &Ui) -> Result<Place> {
    ui.note("looking around");
    let wait = to.wait.unwrap_or(LOOK_LIMIT);
    let Here { found, silence } = look_around(own, &to.choice, wait, &|found, since| match found
        .iter()
        .any(|it| it.came.is_ok())
        && since >= CHOICE
    {
        true => Look::Done,
        false => Look::On,
    })?;
    ui.others(&found);
    let servers: Vec<Seen> = found.iter().filter_map(|it| it.came.clone().ok()).collect();
    if servers.is_empty() {
        return Err(nobody(&found, &silence));
    }
    let chosen = ui.ask_server(&servers)?;
    let Seen { name, id, record, at, .. } = chosen.clone();
    Ok(Place::Known(Box::new(Chosen { name, id, record, port: at.port() })))
}

/// What the server's disk or limits do not take now: it is waited for as a lost connection is.
fn cannot_yet(error: Error) -> Error {
    error.cause(Cause::Network).hint(
        "`transfer serve` there says more; once that is mended, the same command goes on from here",
    )
}
