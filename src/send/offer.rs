//! What is offered: a list of files that is kept fresh, or one text or stream.

use std::io::Cursor;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::content::StreamOptions;
use super::files::send_over;
use super::options::{SendOptions, What};
use super::single::{Input, send_stream};
use crate::compress::Compression;
use crate::error::{Error, Result, bytes};
use crate::event::{Sink, Summary};
use crate::files::walk::{Developer, Source, Walk, WalkOptions};
use crate::protocol::features::Feature;
use crate::protocol::message::OfferKind;
use crate::protocol::reason::Reason;
use crate::protocol::session::{Session, Stop};
use crate::standard;
use crate::ui::{IsOver, Ui};

/// A list older than this is made anew when the receiver comes.
const FRESH: Duration = Duration::from_secs(2);

/// How often a list that is being made is looked at.
const SHORT: Duration = Duration::from_millis(10);

/// A list, and when it was made.
struct Made {
    source: Arc<Source>,
    at: Instant,
}

impl Made {
    fn now(walk: &Walk, options: WalkOptions) -> Self {
        Self { source: Arc::new(walk.run(options)), at: Instant::now() }
    }
}

/// A list being made.
type Walking = thread::JoinHandle<Made>;

/// What is offered.
pub enum Offer {
    /// A list.
    Files(Box<Files>),
    /// A text, kept to be sent again.
    Text(String, Compression),
    /// What comes in, once.
    Input(Option<Input>, Compression),
}

impl Offer {
    /// Begins to look for the files, or to read.
    pub fn begin(walk: Option<Walk>, options: &SendOptions, ui: &Ui) -> Result<Self> {
        // What is one content is compressed only when that was asked for.
        let compression = options.compression.unwrap_or(Compression::Off);
        Ok(match (walk, &options.what) {
            (Some(walk), _) => Self::Files(Box::new(Files::begin(walk, options, ui)?)),
            (None, What::Text(text)) => Self::Text(text.clone(), compression),
            (None, _) => {
                let input = Input::start(standard::input()?)?.named(options.name.clone());
                Self::Input(Some(input), compression)
            }
        })
    }

    /// Asks what there is to ask, until it is over.
    pub fn ask(&mut self, options: &SendOptions, ui: &Ui, is_over: &mut IsOver<'_>) -> Result<()> {
        match self {
            Self::Files(files) => files.ask(options, ui, is_over),
            Self::Text(..) | Self::Input(..) => Ok(()),
        }
    }

    /// Tells what may be a mistake while the receiver is awaited.
    pub fn look(&mut self, ui: &Ui) {
        if let Self::Files(files) = self {
            files.look(ui);
        }
    }

    /// Whether another session could have all of it.
    pub fn is_whole(&self) -> bool {
        !matches!(self, Self::Input(None, _))
    }

    /// What a receiver gets that comes now. An input is given away: see [`Offer::give_back`].
    pub fn job(&mut self, ui: &Ui) -> Job {
        match self {
            Self::Files(files) => Job::Files(files.source(ui), files.stream),
            Self::Text(text, compression) => Job::Text(text.clone(), *compression),
            Self::Input(input, compression) => Job::Input(input.take(), *compression),
        }
    }

    /// Nothing is lost with a receiver that left before it took anything.
    pub fn give_back(&mut self, input: Input) {
        if let Self::Input(slot, _) = self
            && !input.is_taken()
        {
            *slot = Some(input);
        }
    }
}

/// What one session sends.
pub enum Job {
    /// A list.
    Files(Arc<Source>, StreamOptions),
    /// A text.
    Text(String, Compression),
    /// What comes in, unless another session has it.
    Input(Option<Input>, Compression),
}

impl Job {
    /// Sends it to an authenticated receiver. The input comes back.
    pub fn send(
        self,
        session: Session,
        ui: &Ui,
        sink: Sink<'_>,
    ) -> (Result<Summary>, Option<Input>) {
        match self {
            Self::Files(source, options) => (send_files(session, &source, options, ui, sink), None),
            Self::Text(text, compression) => {
                ui.note(&format!("sending a text of {}", bytes(text.len() as u64)));
                let sent = Input::start(Cursor::new(text.into_bytes())).and_then(|mut input| {
                    send_stream(session, OfferKind::Text, &mut input, compression, sink)
                });
                (sent, None)
            }
            Self::Input(Some(mut input), compression) => {
                ui.note("sending a stream");
                let sent = send_stream(session, OfferKind::Stream, &mut input, compression, sink);
                (sent, Some(input))
            }
            Self::Input(None, _) => {
                let error =
                    Error::failure("the input has been read already").hint("run both sides again");
                (Err(session.stop(Stop::Own(Reason::Failed, error))), None)
            }
        }
    }
}

fn send_files(
    mut session: Session,
    source: &Arc<Source>,
    options: StreamOptions,
    ui: &Ui,
    sink: Sink<'_>,
) -> Result<Summary> {
    // What goes depends on what the receiver takes.
    if let Err(stop) = session.await_ready() {
        return Err(session.stop(stop));
    }
    let text = if session.agreed().has(Feature::RawNames) { None } else { source.as_text() };
    let source = &text.map_or_else(|| Arc::clone(source), Arc::new);
    let unsent = source.unsent.iter().map(|unsent| (&*unsent.name, &*unsent.why));
    ui.unsent(source.unsent.len() as u64, unsent, false);
    if source.manifest.entries().is_empty() {
        return Err(session.stop(Stop::Own(Reason::Failed, nothing_to_send())));
    }
    ui.left_out(source);
    ui.offering(&source.manifest);
    send_over(session, source, options, sink)
}

/// Of what was named nothing is left, and each was told of.
pub(super) fn nothing_to_send() -> Error {
    Error::failure("nothing can be sent")
        .hint("the list above says why; mend one of them, or name something else")
}

/// Files: walked in the background, and again when it has grown old.
pub struct Files {
    walk: Walk,
    options: WalkOptions,
    stream: StreamOptions,
    ready: Option<Made>,
    running: Option<Walking>,
    /// Whether what may be a mistake has been told.
    told: bool,
}

impl Files {
    /// Begins to make the list, as it is without an answer.
    fn begin(walk: Walk, options: &SendOptions, ui: &Ui) -> Result<Self> {
        let walk_options = walk_options(options, ui);
        let running = Some(Self::start(&walk, walk_options)?);
        let compression = options.compression.unwrap_or(Compression::Off);
        if options.exclude_developer.is_none() && options.compression.is_none() && !ui.asks() {
            ui.note(match walk.has_folder() {
                true => "nothing is asked: developer folders go too, without compression",
                false => "nothing is asked: it goes without compression",
            });
        }
        let stream = StreamOptions {
            follow_symlinks: options.follow_symlinks,
            compression,
            each_file: ui.wants_files(),
        };
        Ok(Self { walk, options: walk_options, stream, ready: None, running, told: false })
    }

    /// Asks below the ticket. A receiver that comes meanwhile makes it be over a moment later.
    fn ask(&mut self, options: &SendOptions, ui: &Ui, is_over: &mut IsOver<'_>) -> Result<()> {
        if !ui.asks() {
            return Ok(());
        }
        if options.exclude_developer.is_none() {
            let answer = self.ask_developer(ui, is_over)?;
            if answer == Some(true) {
                // Walked again without them: what in them cannot be sent is no loss then.
                self.options.developer = Developer::Exclude;
                (self.ready, self.running) = (None, Some(Self::start(&self.walk, self.options)?));
            }
        }
        if options.compression.is_none()
            && !is_over()?
            && ui.ask_compression(is_over)? == Some(true)
        {
            self.stream.compression = Compression::Auto;
        }
        Ok(())
    }

    /// Whether developer folders stay behind, which only the list tells of. Without an answer all goes.
    fn ask_developer(&mut self, ui: &Ui, is_over: &mut IsOver<'_>) -> Result<Option<bool>> {
        while self.running.as_ref().is_some_and(|running| !running.is_finished()) {
            if is_over()? {
                break;
            }
            thread::sleep(SHORT);
        }
        let waited = self.running.as_ref().is_none_or(thread::JoinHandle::is_finished);
        let mut answer = None;
        if waited {
            let source = self.source(ui);
            if !source.developer.is_empty() {
                answer = ui.ask_leave_out(&source.developer, is_over)?;
            }
        }
        // From here on the list is one of what goes, and what stays is nothing to tell of.
        self.options.developer = Developer::Include;
        if let Some(made) = &mut self.ready
            && let Some(source) = Arc::get_mut(&mut made.source)
        {
            source.developer.clear();
        }
        Ok(answer)
    }

    fn start(walk: &Walk, options: WalkOptions) -> Result<Walking> {
        let walk = walk.clone();
        thread::Builder::new()
            .name("walk".into())
            .spawn(move || Made::now(&walk, options))
            .map_err(|error| Error::no_thread(&error))
    }

    /// Takes the list from the background as soon as it is there, so that what may be a mistake
    /// is told while the receiver is awaited.
    fn look(&mut self, ui: &Ui) {
        if self.running.as_ref().is_some_and(thread::JoinHandle::is_finished) {
            self.source(ui);
        }
    }

    /// The list as it is now, or was a moment ago.
    fn source(&mut self, ui: &Ui) -> Arc<Source> {
        if let Some(running) = self.running.take() {
            self.ready = running.join().ok();
        }
        let fresh = self.ready.take().filter(|made| made.at.elapsed() < FRESH);
        let made = fresh.unwrap_or_else(|| Made::now(&self.walk, self.options));
        let source = Arc::clone(&self.ready.insert(made).source);
        if !self.told {
            ui.doubts(&source.left);
            self.told = true;
        }
        source
    }
}

/// How the list is made that questions are asked about, if any are.
fn walk_options(options: &SendOptions, ui: &Ui) -> WalkOptions {
    let developer = match options.exclude_developer {
        Some(true) => Developer::Exclude,
        None if ui.asks() => Developer::Note,
        _ => Developer::Include,
    };
    WalkOptions { follow_symlinks: options.follow_symlinks, developer }
}

/// The list, with what is to be asked about it answered; for whoever has nothing else to do.
pub(super) fn decided_list(walk: &Walk, options: &SendOptions, ui: &Ui) -> Result<Source> {
    let mut walk_options = walk_options(options, ui);
    let mut source = walk.run(walk_options);
    ui.doubts(&source.left);
    if walk_options.developer != Developer::Note {
        return Ok(source);
    }
    let mut never = || crate::control::check().map(|()| false);
    if !source.developer.is_empty()
        && ui.ask_leave_out(&source.developer, &mut never)? == Some(true)
    {
        walk_options.developer = Developer::Exclude;
        return Ok(walk.run(walk_options));
    }
    source.developer.clear();
    Ok(source)
}
