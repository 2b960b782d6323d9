//! One connection to a receiver, from the handshake to the last word.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::offer::Offer;
use crate::connect::Connection;
use crate::crypto::keys::Role;
use crate::error::Result;
use crate::event::{Event, Sink, Summary};
use crate::net::pace::{Pace, Paced};
use crate::protocol::session::{Limits, Session};
use crate::ui::{Progress, Ui};

/// Sends what is offered to one receiver.
pub fn converse(
    connection: Connection,
    offer: &Mutex<Offer>,
    limits: Limits,
    pace: Option<Arc<Pace>>,
    (ui, mut progress): (&Ui, Progress),
) -> Result<Summary> {
    let Connection { reader, writer, closer: _closer, protection, peer, paths, .. } = connection;
    let _following = ui.follow(paths.as_ref());
    let halves = (reader, Paced::new(writer, pace));
    let session = Session::start(halves, protection, Role::Receiver, limits)?;
    progress.beside(session.heard(), &peer.name);
    progress.through(paths);
    send(session, offer, ui, &mut |event| progress.on(&event))
}

/// Sends what is offered over a session.
pub fn send(session: Session, offer: &Mutex<Offer>, ui: &Ui, sink: Sink<'_>) -> Result<Summary> {
    let job = lock(offer).job(ui);
    let mut begun = Instant::now();
    let (sent, input) = job.send(session, ui, &mut |event| {
        if let Event::Planned { .. } = event {
            // The receiver may have thought about the plan for a while.
            begun = Instant::now();
        }
        sink(event);
    });
    if let Some(input) = input {
        lock(offer).give_back(input);
    }
    Ok(Summary { elapsed: begun.elapsed(), ..sent? })
}

/// The offer is whole at every point where a panic could happen.
pub fn lock(offer: &Mutex<Offer>) -> MutexGuard<'_, Offer> {
    offer.lock().unwrap_or_else(PoisonError::into_inner)
}
