//! One connection of a device that is trusted, from the welcome to the last word.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::folder;
use super::line::{Line, Place};
use super::options::ServeOptions;
use super::room::{Metered, Promise, Room};
use crate::connect::devices::Own;
use crate::connect::ways::Dial;
use crate::connect::{Connection, Peer};
use crate::control::SLICE;
use crate::crypto::keys::Role;
use crate::error::{Cause, Error, Result, reason};
use crate::event::{Event, Summary};
use crate::files::attributes::{SET_ID, creation_mask};
use crate::files::disk;
use crate::protocol::message::{Control, OfferKind, Welcome};
use crate::protocol::reason::Reason;
use crate::protocol::session::{Limits, Session, Stop};
use crate::receive::decide::accept;
use crate::receive::decisions::Decisions;
use crate::receive::files::{Modes, Offered, await_offer};
use crate::receive::options::ReceiveOptions;
use crate::receive::output::Output;
use crate::receive::single::Landing;
use crate::ui::Ui;

/// What all connections share.
pub struct Host<'a> {
    own: Arc<Own>,
    options: &'a ServeOptions,
    ui: &'a Ui,
    /// Who is served, and who waits.
    pub line: Line,
    room: Room,
}

impl<'a> Host<'a> {
    /// For one run of the server.
    pub fn new(own: Arc<Own>, options: &'a ServeOptions, ui: &'a Ui) -> Self {
        let line = Line::new(if options.flat { 1 } else { options.uploads });
        Self { own, options, ui, line, room: Room::new(options.limits) }
    }

    /// What it is called now: the device may have got another name since it began.
    pub fn name(&self) -> String {
        self.options.name.clone().unwrap_or_else(|| self.own.name())
    }

    /// One connection that is in line, to its end.
    pub fn receive(&self, connection: Connection, place: Place) {
        let Connection { reader, writer, closer, protection, peer, .. } = connection;
        let limits = Limits { features: self.options.features, ..Limits::default() };
        let session = Session::start((reader, writer), protection, Role::Sender, limits);
        let (mut folder, mut offers) = (None, false);
        let received = match session {
            Err(error) => Err(error),
            Ok(session) if !place.is_served => {
                let error = Error::failure("as many of its uploads are here as may be")
                    .hint("it is told so, and comes again");
                Err(session.stop(Stop::Own(Reason::Busy, error)))
            }
            Ok(session) => self.converse(session, place, &peer, (&mut folder, &mut offers)),
        };
        closer.close();
        if let (Err(Error { cause: Cause::Network, .. }), false) = (&received, offers) {
            return self.ui.came_and_went(&peer);
        }
        self.ui.uploaded(&peer, folder.as_deref(), &received);
    }

    fn converse(
        &self,
        mut session: Session,
        place: Place,
        peer: &Peer,
        (folder, offers): (&mut Option<PathBuf>, &mut bool),
    ) -> Result<Summary> {
        let device = peer.id.as_deref().unwrap_or_default();
        let welcome = Welcome {
            name: Some(self.name()),
            free: self.room.free(disk::free(&self.options.folder)),
            left: self.room.left(folder::find(&self.options.folder, &peer.name, device).as_deref()),
            queue: Some(self.line.before(place)),
        };
        if let Err(stop) = session.send_control(&Control::Welcome(welcome)) {
            return Err(session.stop(stop));
        }
        while !self.line.may_list(place) {
            if let Err(stop) = session.check() {
                return Err(session.stop(stop));
            }
            thread::sleep(SLICE);
        }
        // What is in a folder that its owner cannot look into could not be counted, nor gone on with.
        let modes = Modes { without: creation_mask() | SET_ID, folders_with: 0o500 };
        let mut offered = await_offer(session, self.options.max_entries, modes)?;
        *offers = true;
        let run = run_of(&offered);
        self.line.offers(place, &run);
        let mut told = false;
        while !self.line.is_turn(place) {
            if let Err(stop) = offered.check() {
                return Err(offered.stop(stop));
            }
            if !told {
                self.ui.note(&format!("{}: waits for an earlier upload", peer.name));
                told = true;
            }
            thread::sleep(SLICE);
        }
        let begun = Instant::now();
        let taken = match self.options.flat {
            true => Ok(self.options.folder.clone()),
            false => folder::take(&self.options.folder, &peer.name, device),
        };
        let opened = taken.and_then(|own| Output::open(folder.insert(own), true));
        let mut output = match opened {
            Ok(output) => output,
            Err(error) => return Err(offered.refuse(Reason::Unwritable, error)),
        };
        let own = output.root.path().to_owned();
        let promise = match self.room.look(&own) {
            Ok(used) => self.room.promise(used),
            Err((told, error)) => return Err(offered.refuse(told, error)),
        };
        let received = self.take(offered, &mut output, (&run, peer), &promise);
        // For the next welcome; what cannot be looked at is said at the next offer.
        let _ = self.room.look(&own);
        Ok(Summary { elapsed: begun.elapsed(), ..received? })
    }

    fn take(
        &self,
        offered: Offered,
        output: &mut Output,
        (run, peer): (&str, &Peer),
        promise: &Promise<'_>,
    ) -> Result<Summary> {
        let ui = self.ui.among_others();
        match offered.offer().kind {
            OfferKind::Text => {
                let error =
                    Error::new(Cause::Declined, "it is a text, which nobody here would read");
                Err(offered.refuse(Reason::Declined, error))
            }
            OfferKind::Stream => {
                let folder = output.root.path().to_owned();
                let landing = match Landing::begin(&mut output.root, &offered) {
                    Ok(landing) => landing,
                    Err(error) => {
                        let message = format!("cannot make a file: {}", reason(&error));
                        return Err(offered.refuse(Reason::Unwritable, Error::failure(message)));
                    }
                };
                let free = || disk::free(&folder);
                let mut landing = Metered::new(landing, promise, free);
                offered.pour(&mut landing, false, &mut |_| {})
            }
            OfferKind::Files => {
                let options = ReceiveOptions {
                    features: self.options.features,
                    ticket: None,
                    token: None,
                    wait: None,
                    dial: Dial::default(),
                    output: output.root.path().to_owned(),
                    max_entries: self.options.max_entries,
                    on_conflict: Some(self.options.on_conflict),
                    sync: true,
                    checksum: false,
                    fresh: false,
                };
                let mut decisions = Decisions::new(&options);
                let id = u128::from_str_radix(run, 16).unwrap_or_default();
                let from = (uuid::Uuid::from_u128(id), peer.name.clone());
                let (files, bytes) = {
                    let totals = offered.manifest().totals();
                    (totals.files, totals.bytes)
                };
                let decided = (&options, &mut decisions);
                accept(offered, output, decided, from, Box::new(promise), &ui, &mut |event| {
                    if let Event::Planned { .. } = event {
                        self.ui.upload_begins(peer, files, bytes);
                    }
                })
            }
        }
    }
}

/// The run that an offer is of; empty if its sender does not say, or says something else.
fn run_of(offered: &Offered) -> String {
    let run = offered.offer().run.as_deref().unwrap_or_default();
    let is_run = run.len() == 32 && run.bytes().all(|it| it.is_ascii_hexdigit());
    if is_run { run.to_ascii_lowercase() } else { String::new() }
}
