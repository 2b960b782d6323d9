//! One connection to a sender, from the handshake to the last word: look at the offer, ask, receive.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::allowance::Unbounded;
use super::decide::{accept, ask_stream};
use super::decisions::Decisions;
use super::files::{Modes, Offered, await_offer};
use super::options::ReceiveOptions;
use super::output::{Output, check_output, may_be_name};
use super::single::Landing;
use crate::connect::redial::Redial;
use crate::connect::{Connection, NotConnected};
use crate::crypto::keys::Role;
use crate::error::{Error, Result, reason, shown_os};
use crate::event::{Event, Summary};
use crate::files::path::{self, RelPath};
use crate::files::root::Root;
use crate::protocol::message::OfferKind;
use crate::protocol::reason::Reason;
use crate::protocol::session::{Limits, Session};
use crate::ui::Ui;

/// What one run keeps, over as many connections as it takes.
pub struct Receiver<'a> {
    options: &'a ReceiveOptions,
    decisions: Decisions,
    ui: &'a Ui,
    /// The folder that everything goes into, and the same once it is open.
    folder: PathBuf,
    output: Option<Output>,
    /// What the single file or stream is called here, where that was said.
    name: Option<RelPath>,
}

impl<'a> Receiver<'a> {
    /// A folder that is there is taken before the sender is bothered; one that is not is made
    /// only when something comes.
    ///
    /// # Errors
    /// The folder is not to be had.
    pub fn new(options: &'a ReceiveOptions, ui: &'a Ui) -> Result<Self> {
        let folder = options.output.clone();
        let is_there = !options.to_stdout() && folder.is_dir();
        let output = is_there.then(|| Output::open(&folder, options.sync)).transpose()?;
        let decisions = Decisions::new(options);
        Ok(Self { options, decisions, ui, folder, output, name: None })
    }

    /// Where things went; nothing where that is standard output.
    pub fn folder(&self) -> Option<&Path> {
        (!self.options.to_stdout()).then_some(&*self.folder)
    }

    /// One connection, from the handshake to the last word.
    pub fn converse(
        &mut self,
        connection: Connection,
        redial: &mut Redial,
    ) -> Result<Summary, NotConnected> {
        let Connection {
            reader, writer, closer: _closer, protection, session, peer, paths, ..
        } = connection;
        let _following = self.ui.follow(paths.as_ref());
        let id = uuid::Uuid::from_bytes(session);
        self.ui.sender_connected(&peer, id);
        let limits = Limits { features: self.options.features, ..Limits::default() };
        let session = Session::start((reader, writer), protection, Role::Sender, limits)?;
        let mut offered = await_offer(session, self.options.max_entries, Modes::default())?;
        self.name_single(&mut offered)?;
        let names = offered.offer().unsent_names.iter();
        let names = names.map(|unsent| (unsent.name.as_bytes(), &*unsent.why));
        self.ui.unsent(offered.offer().unsent, names, redial.has_met());
        match offered.offer().kind {
            OfferKind::Files if self.is_asked() => self.ui.offered_to_take(offered.as_offered()),
            OfferKind::Files => self.ui.offered(offered.as_offered(), redial.has_met()),
            OfferKind::Text => self.ui.note("receiving a text"),
            OfferKind::Stream if self.is_asked() => {
                self.ui.offered_stream(offered.offer().name.as_deref())
            }
            OfferKind::Stream => self.ui.note("receiving a stream"),
        }
        redial.session();
        if offered.offer().kind == OfferKind::Text || self.options.to_stdout() {
            return Ok(self.pour(offered, &peer.name, redial)?);
        }
        let output = match &mut self.output {
            Some(output) => output,
            none => match check_output(&self.folder)
                .and_then(|_| Output::open(&self.folder, self.options.sync))
            {
                Ok(output) => none.insert(output),
                Err(error) => return Err(offered.refuse(Reason::Unwritable, error).into()),
            },
        };
        if offered.offer().kind == OfferKind::Stream {
            return Ok(land(offered, &mut output.root, redial, (self.ui, &peer.name))?);
        }
        let mut progress = self.ui.progress("Receiving");
        progress.beside(offered.heard(), &peer.name);
        progress.through(paths);
        let mut begun = Instant::now();
        let from = (id, peer.place());
        let decided = (self.options, &mut self.decisions);
        let summary =
            accept(offered, output, decided, from, Box::new(Unbounded), self.ui, &mut |event| {
                match event {
                    // A person may have thought about the plan for a while.
                    Event::Planned { .. } => begun = Instant::now(),
                    _ => redial.progress(),
                }
                progress.on(&event);
            })?;
        Ok(Summary { elapsed: begun.elapsed(), ..summary })
    }

    /// Takes the last name of the output for that of a single file or stream, as `cp` does.
    fn name_single(&mut self, offered: &mut Offered) -> Result<()> {
        let output = &self.options.output;
        if self.name.is_none()
            && !self.options.to_stdout()
            && offered.is_single()
            && may_be_name(output)
        {
            let text = output.file_name().unwrap_or_default();
            let name = path::of_native(text).and_then(RelPath::from_bytes).map_err(|error| {
                Error::usage(format!("\"{}\" is no name for a file: {error}", shown_os(text)))
                    .hint("choose another with -o")
            })?;
            let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new(".")).to_owned();
            (self.name, self.folder) = (Some(name), folder);
        }
        if let Some(name) = self.name.as_ref().filter(|_| offered.is_single()) {
            offered.call(name);
        }
        Ok(())
    }

    /// Whether a person decides about what comes: not about what goes to a pipe, and not again
    /// after a reconnection.
    fn is_asked(&self) -> bool {
        self.ui.asks() && !self.options.to_stdout() && !self.decisions.has_taken()
    }

    /// To standard output.
    fn pour(&self, offered: Offered, name: &str, redial: &mut Redial) -> Result<Summary> {
        if offered.offer().kind == OfferKind::Text {
            let mut text = self.ui.text();
            return pour(offered, &mut text, (&self.ui.beside_data(), name));
        }
        // What is written is written: another connection could not go on.
        redial.once();
        let path = match offered.manifest().entries() {
            [only] => Some(only.path.clone()),
            _ => None,
        };
        let ui = self.ui.beside_data();
        let summary = pour(offered, &mut self.ui.data(), (&ui, name))?;
        ui.poured(path.as_ref(), None, &summary);
        Ok(summary)
    }
}

/// A stream, into a folder.
fn land(
    offered: Offered,
    root: &mut Root,
    redial: &mut Redial,
    (ui, name): (&Ui, &str),
) -> Result<Summary> {
    if ui.asks()
        && let Err(error) = ask_stream(&offered, root, ui)
    {
        return Err(offered.refuse(Reason::Declined, error));
    }
    let path = shown_os(root.path()).into_owned();
    let mut landing = match Landing::begin(root, &offered) {
        Ok(landing) => landing,
        Err(error) => {
            let message = format!("cannot make a file in \"{path}\": {}", reason(&error));
            let error = Error::failure(message).hint("name another folder with -o");
            return Err(offered.refuse(Reason::Unwritable, error));
        }
    };
    redial.once();
    let summary = pour(offered, &mut landing, (ui, name))?;
    ui.poured(None, landing.placed(), &summary);
    if let Some(place) = landing.placed() {
        ui.note(&format!("saved the stream as \"{place}\""));
    }
    Ok(summary)
}

fn pour(
    offered: Offered,
    out: &mut (dyn Write + Send),
    (ui, name): (&Ui, &str),
) -> Result<Summary> {
    let (mut progress, begun) = (ui.progress("Receiving"), Instant::now());
    progress.beside(offered.heard(), name);
    let summary = offered.pour(out, ui.wants_files(), &mut |event| progress.on(&event))?;
    Ok(Summary { elapsed: begun.elapsed(), ..summary })
}
