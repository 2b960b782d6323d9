//! The receiving side's story: take the ticket, reach the sender, prove the token, look at the
//! offer, ask, receive.

pub mod assembler;
pub mod consent;
mod decide;
pub mod files;
pub mod lock;
pub mod names;
pub mod part;
pub mod places;
pub mod plan;
pub mod pool;
pub mod resume;
mod sender;
pub mod single;
pub mod tree;
pub mod writer;

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use self::decide::{Output, accept, ask_stream};
use self::files::{Offered, await_offer};
use self::plan::OnConflict;
use self::sender::{NoSession, Sender};
use self::single::Landing;
use crate::bounds::{BUSY_LIMIT, GONE_LIMIT, MAX_CUTS, MAX_TRIES, STALL_LIMIT};
use crate::control;
use crate::crypto::keys::Role;
use crate::error::{Error, Exit, Result, reason, shown};
use crate::event::{Event, Summary};
use crate::files::path::RelPath;
use crate::files::root::Root;
use crate::net::dial::Stream;
use crate::protocol::features::Features;
use crate::protocol::message::{OfferKind, Reason};
use crate::protocol::pages::HASH_LEN;
use crate::protocol::session::{Limits, Session};
use crate::ticket::Ticket;
use crate::token::Token;
use crate::ui::{State, Ui};

/// Where to receive from, and where to; resolved from the command line.
#[derive(Debug, Clone)]
pub struct ReceiveOptions {
    /// What this side says that it can do.
    pub features: Features,
    /// The ticket as it was typed; nothing when it is to be asked.
    pub ticket: Option<Zeroizing<String>>,
    /// The token that was agreed beforehand; then the ticket names the sender alone.
    pub token: Option<Token>,
    /// How long a sender may not be there yet; nothing when it must be there.
    pub wait: Option<Duration>,
    /// Connect on this machine only, without Tailscale.
    pub pod: bool,
    /// The folder that everything goes into; without a separator at its end it may name a single
    /// file or a stream.
    pub output: PathBuf,
    /// So many entries are taken; nothing when the usual bound holds.
    pub max_entries: Option<u32>,
    /// What to do about existing files; nothing when it is to be asked.
    pub on_conflict: Option<Conflict>,
    /// Wait until what came is on the disk before it counts.
    pub sync: bool,
    /// Compare files that are here by content, not by size and time.
    pub checksum: bool,
    /// Begin anew, whatever an interrupted run left.
    pub fresh: bool,
    /// Go on with what an interrupted run left, without asking.
    pub resume: bool,
    /// The offer that the user has said yes to; nothing when it is to be asked.
    pub taken: Option<[u8; HASH_LEN]>,
}

impl ReceiveOptions {
    /// Whether what comes is written to standard output.
    pub fn to_stdout(&self) -> bool {
        self.output.as_os_str() == "-"
    }
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
pub fn run(mut options: ReceiveOptions, ui: &Ui) -> Result<Exit> {
    let agreed = options.token.is_some();
    let ticket = match (options.ticket.take(), options.token.take()) {
        (Some(place), Some(token)) => Ticket::agreed(&place, token)?,
        (Some(ticket), None) => Ticket::parse(&ticket)?,
        (None, _) => ui.ask_ticket()?,
    };
    if !options.to_stdout() {
        // Whether it is a folder or a name shows when the offer is here.
        match may_be_name(&options.output) {
            true => check_output(options.output.parent().unwrap_or(Path::new(".")))?,
            false => check_output(&options.output)?,
        };
    }
    let begun = Instant::now();
    let sender = find_sender(ticket, &options, ui)?;
    // A folder that is there is taken before the sender is bothered; one that is not is made
    // only when something comes.
    let folder = !options.to_stdout() && options.output.is_dir();
    let output = folder.then(|| Output::open(&options.output, options.sync)).transpose()?;
    ui.note(&format!("connecting to {}", sender.name()));
    let last_progress = Instant::now();
    let mut receiver = Receiver {
        options,
        ui,
        sender,
        output,
        name: None,
        begun,
        met: false,
        had_session: false,
        poured: false,
        last_progress,
    };
    let summary =
        receiver.persist().map_err(|error| receiver.explain(error)).map_err(|error| match error
            .hint
            .as_deref()
        {
            Some(hint) if agreed && hint.contains("the sender's screen") => {
                error.hint("do both files hold the same token? the screen does not show it")
            }
            _ => error,
        })?;
    let options = &receiver.options;
    ui.received(&summary, (!options.to_stdout()).then_some(&options.output));
    Ok(summary.exit())
}

/// Finds the sender; where it may not be there yet, again and again.
fn find_sender(ticket: Ticket, options: &ReceiveOptions, ui: &Ui) -> Result<Sender> {
    let begun = Instant::now();
    let mut tries = 0;
    loop {
        match Sender::find(ticket.clone(), options.pod) {
            Err(error)
                if error.exit == Exit::Network
                    // Nobody has that name; no wait mends a slip.
                    && error.cause != Some(ErrorKind::NotFound)
                    && options.wait.is_some_and(|wait| begun.elapsed() < wait) =>
            {
                if let (0, Some(wait)) = (tries, options.wait) {
                    ui.awaits(&ticket.host.to_string(), &error, wait);
                }
                control::sleep(pause(tries)).map_err(|error| {
                    error.or_hint("nothing was received; run the same command again")
                })?;
                tries += 1;
            }
            found => return found,
        }
    }
}

/// Whether a place may be the name of a single file: no folder is there, and none is meant.
fn may_be_name(output: &Path) -> bool {
    let text = output.as_os_str().as_encoded_bytes();
    let is_folder = text.last().is_some_and(|last| std::path::is_separator(char::from(*last)));
    !is_folder && output.file_name().is_some() && !output.is_dir()
}

/// A folder, or nothing yet. Of one that is not there the next one above it counts; returns that.
pub(crate) fn check_output(output: &Path) -> Result<&Path> {
    // Without a separator at its end: a file with one is not found at all.
    let found = output.components().as_path().ancestors().find_map(|folder| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        Some((folder, std::fs::metadata(folder).ok()?))
    });
    match found {
        Some((at, found)) if !found.is_dir() => {
            let at = at.to_string_lossy();
            Err(Error::failure(format!("\"{}\" is not a folder", shown(&at)))
                .hint("name a folder with -o; it is made if it does not exist"))
        }
        Some((at, _)) => Ok(at),
        None => Ok(output),
    }
}

/// One `transfer receive`, over as many connections as it takes.
struct Receiver<'a> {
    options: ReceiveOptions,
    ui: &'a Ui,
    sender: Sender,
    output: Option<Output>,
    /// What the single file or stream is called here, where that was said.
    name: Option<RelPath>,
    begun: Instant,
    /// Whether there has been a session, and whether the last connection became one.
    met: bool,
    had_session: bool,
    /// Whether content has been taken that cannot be had again.
    poured: bool,
    last_progress: Instant,
}

impl Receiver<'_> {
    /// Dials again when the connection is lost, until there was no progress for too long.
    fn persist(&mut self) -> Result<Summary> {
        let (mut tries, mut cuts, mut waited) = (0, 0, 0);
        let mut unconfirmed = None;
        loop {
            let before = self.last_progress;
            let attempt = match self.connect() {
                Err(NoSession::Cut(error)) if !self.met && cuts < MAX_CUTS => {
                    let pause = pause(cuts) / 2;
                    cuts += 1;
                    self.ui.dials_again(&error, cuts, pause);
                    control::sleep(pause)?;
                    continue;
                }
                Err(NoSession::Cut(error)) => Err(NoSession::Failed(error)),
                attempt => attempt,
            };
            if let (Err(_), Some(error)) = (&attempt, unconfirmed.take()) {
                return Err(error);
            }
            if let (true, Err(NoSession::Busy(error) | NoSession::Failed(error))) =
                (self.poured, &attempt)
            {
                let hint = "what came so far is no whole file; run both sides again";
                return Err(error.clone().or_hint(hint));
            }
            let (error, limit) = match attempt {
                Ok(summary) => return Ok(summary),
                Err(NoSession::Busy(error)) if self.met => (error, STALL_LIMIT),
                // The sender may not have noticed yet that a receiver of a moment ago is gone.
                Err(NoSession::Busy(error)) => (error, BUSY_LIMIT),
                // Everything is here: one more try to tell the sender, which may be done as well.
                Err(NoSession::Failed(error)) if error.cause == Some(ErrorKind::NotConnected) => {
                    unconfirmed = Some(error.clone());
                    (error, STALL_LIMIT)
                }
                // Its port is open as long as the sender runs: it will not come back.
                Err(NoSession::Failed(error))
                    if self.met && error.cause == Some(ErrorKind::ConnectionRefused) =>
                {
                    let hint =
                        "start it again there; its new ticket goes on where this one stopped";
                    (error.hint(hint), GONE_LIMIT)
                }
                Err(NoSession::Failed(error)) if self.met && error.exit == Exit::Network => {
                    (error, STALL_LIMIT)
                }
                // It is not there yet: however often that is, it costs nobody anything.
                Err(NoSession::Failed(error))
                    if error.exit == Exit::Network
                        && self.options.wait.is_some_and(|wait| self.begun.elapsed() < wait) =>
                {
                    if let (0, Some(wait)) = (waited, self.options.wait) {
                        self.ui.awaits(self.sender.name(), &error, wait);
                    }
                    control::sleep(pause(waited))?;
                    waited += 1;
                    continue;
                }
                Err(NoSession::Failed(error) | NoSession::Cut(error)) => return Err(error),
            };
            if self.last_progress > before {
                tries = 0;
            }
            if self.had_session {
                // However long it stood still, paused or at a question: the time counts anew.
                self.last_progress = Instant::now();
            }
            if tries >= MAX_TRIES || self.last_progress.elapsed() > limit {
                return Err(error.or_hint("run the same command again: it goes on from here"));
            }
            let pause = pause(tries);
            tries += 1;
            self.ui.dials_again(&error, tries, pause);
            control::sleep(pause)?;
        }
    }

    /// What is true once the person here, or a signal, has stopped it.
    fn explain(&self, error: Error) -> Error {
        match error.exit {
            Exit::Interrupted if self.poured => {
                error.or_hint("what came so far is no whole file; run both sides again")
            }
            Exit::Interrupted if self.met => error
                .or_hint("the same command goes on where it stopped; the sender waits 5 minutes"),
            Exit::Interrupted => {
                error.or_hint("nothing was received; the ticket holds as long as the sender waits")
            }
            _ => error,
        }
    }

    /// One connection, from dialling to the last word.
    fn connect(&mut self) -> Result<Summary, NoSession> {
        control::check()?;
        self.had_session = false;
        self.ui.state(State::Connecting);
        let stream = self.sender.dial()?;
        let result = self.converse(&stream);
        stream.shutdown();
        result
    }

    fn converse(&mut self, stream: &Stream) -> Result<Summary, NoSession> {
        self.ui.state(State::Authenticating);
        let keys = self.sender.handshake(stream)?;
        let id = uuid::Uuid::from_bytes(keys.session_id);
        self.ui.sender_connected(self.sender.name(), self.sender.address(), id);
        let limits = Limits { features: self.options.features, ..Limits::default() };
        let session = Session::start(stream.halves()?, keys, Role::Sender, limits)?;
        let mut offered = await_offer(session, self.options.max_entries)?;
        self.name_single(&mut offered)?;
        let names = offered.offer().unsent_names.iter();
        let names = names.map(|unsent| (&*unsent.name, &*unsent.why));
        self.ui.unsent(offered.offer().unsent, names, self.met);
        match offered.offer().kind {
            OfferKind::Files if self.is_asked() => self.ui.offered_to_take(offered.as_offered()),
            OfferKind::Files => self.ui.offered(offered.as_offered(), self.met),
            OfferKind::Text => self.ui.note("receiving a text"),
            OfferKind::Stream if self.is_asked() => {
                self.ui.offered_stream(offered.offer().name.as_deref())
            }
            OfferKind::Stream => self.ui.note("receiving a stream"),
        }
        (self.met, self.had_session) = (true, true);
        if offered.offer().kind == OfferKind::Text || self.options.to_stdout() {
            return Ok(self.pour(offered)?);
        }
        let output = match &mut self.output {
            Some(output) => output,
            none => match check_output(&self.options.output)
                .and_then(|_| Output::open(&self.options.output, self.options.sync))
            {
                Ok(output) => none.insert(output),
                Err(error) => return Err(offered.refuse(Reason::Unwritable, error).into()),
            },
        };
        if offered.offer().kind == OfferKind::Stream {
            let (poured, name) = (&mut self.poured, self.sender.name());
            return Ok(land(offered, &mut output.root, poured, (self.ui, name))?);
        }
        let mut progress = self.ui.progress("Receiving");
        progress.beside(offered.heard(), self.sender.name());
        let (last, mut begun) = (&mut self.last_progress, Instant::now());
        let from = (id, self.sender.address().to_string());
        let summary = accept(offered, output, &mut self.options, from, self.ui, &mut |event| {
            match event {
                // A person may have thought about the plan for a while.
                Event::Planned { .. } => begun = Instant::now(),
                _ => *last = Instant::now(),
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
            let text = output.file_name().unwrap_or_default().to_string_lossy();
            let name = RelPath::parse(&text).map_err(|error| {
                Error::usage(format!("\"{}\" is no name for a file: {error}", shown(&text)))
                    .hint("choose another with -o")
            })?;
            let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new(".")).to_owned();
            (self.name, self.options.output) = (Some(name), folder);
        }
        if let Some(name) = self.name.as_ref().filter(|_| offered.is_single()) {
            offered.call(name);
        }
        Ok(())
    }

    /// Whether a person decides about what comes: not about what goes to a pipe, and not again
    /// after a reconnection.
    fn is_asked(&self) -> bool {
        self.ui.asks() && !self.options.to_stdout() && self.options.taken.is_none()
    }

    /// To standard output.
    fn pour(&mut self, offered: Offered) -> Result<Summary> {
        if offered.offer().kind == OfferKind::Text {
            let mut text = self.ui.text();
            return pour(offered, &mut text, (&self.ui.beside_data(), self.sender.name()));
        }
        // What is written is written: another connection could not go on.
        self.poured = true;
        let path = match offered.manifest().entries() {
            [only] => Some(only.path.clone()),
            _ => None,
        };
        let ui = self.ui.beside_data();
        let summary = pour(offered, &mut self.ui.data(), (&ui, self.sender.name()))?;
        ui.poured(path.as_ref(), None, &summary);
        Ok(summary)
    }
}

/// A stream, into a folder.
fn land(
    offered: Offered,
    root: &mut Root,
    poured: &mut bool,
    (ui, name): (&Ui, &str),
) -> Result<Summary> {
    if ui.asks()
        && let Err(error) = ask_stream(&offered, root, ui)
    {
        return Err(offered.refuse(Reason::Declined, error));
    }
    let path = shown(&root.path().to_string_lossy()).into_owned();
    let mut landing = match Landing::begin(root, offered.offer()) {
        Ok(landing) => landing,
        Err(error) => {
            let message = format!("cannot make a file in \"{path}\": {}", reason(&error));
            let error = Error::failure(message).hint("name another folder with -o");
            return Err(offered.refuse(Reason::Unwritable, error));
        }
    };
    *poured = true;
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
    let summary = offered.pour(out, &mut |event| progress.on(&event))?;
    Ok(Summary { elapsed: begun.elapsed(), ..summary })
}

/// Half a second, then twice as long each time up to 16 s; never two receivers in step.
fn pause(tries: u32) -> Duration {
    let base = Duration::from_millis(500) * 2u32.pow(tries.min(5));
    base.mul_f64(rand::random_range(0.75..1.25))
}
