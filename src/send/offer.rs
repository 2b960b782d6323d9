//! What is offered: a list of files that is kept fresh, or one text or stream.

use std::io::{Cursor, stdin};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::content::StreamOptions;
use super::pipe::{Input, send_stream};
use super::stream::send_over;
use super::{SendOptions, What};
use crate::compress::Compression;
use crate::error::{Error, Result, bytes};
use crate::event::{Sink, Summary};
use crate::files::walk::{Developer, Source, Walk, WalkOptions};
use crate::protocol::message::{OfferKind, Reason};
use crate::protocol::session::{Session, Stop};
use crate::ui::Ui;

/// A list older than this is made anew when the receiver comes.
const FRESH: Duration = Duration::from_secs(2);

/// A list being made, and when it was done.
type Walking = thread::JoinHandle<(Arc<Source>, Instant)>;

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
    /// Asks what there is to ask, and begins to look for the files.
    pub fn decide(walk: Option<Walk>, options: &SendOptions, ui: &Ui) -> Result<Self> {
        // What is one content is compressed only when that was asked for.
        let compression = options.compression.unwrap_or(Compression::Off);
        Ok(match (walk, &options.what) {
            (Some(walk), _) => Self::Files(Box::new(Files::decide(walk, options, ui)?)),
            (None, What::Text(text)) => Self::Text(text.clone(), compression),
            (None, _) => Self::Input(Some(Input::start(stdin())?), compression),
        })
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
    session: Session,
    source: &Arc<Source>,
    options: StreamOptions,
    ui: &Ui,
    sink: Sink<'_>,
) -> Result<Summary> {
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
    ready: Option<(Arc<Source>, Instant)>,
    running: Option<Walking>,
    /// Whether what may be a mistake has been told.
    told: bool,
}

impl Files {
    /// Asks what there is to ask; on a terminal that needs the list first.
    fn decide(walk: Walk, options: &SendOptions, ui: &Ui) -> Result<Self> {
        let (walk_options, source) = decide_developer(&walk, options, ui)?;
        let ready = source.map(|source| (Arc::new(source), Instant::now()));
        let compression = match options.compression {
            Some(compression) => compression,
            None if ui.asks() && ui.ask_compression()? => Compression::Auto,
            None => Compression::Off,
        };
        if options.exclude_developer.is_none() && options.compression.is_none() && !ui.asks() {
            ui.note(match walk.has_folder() {
                true => "nothing is asked: developer folders go too, without compression",
                false => "nothing is asked: it goes without compression",
            });
        }
        let running = match ready {
            Some(_) => None,
            None => Some(Self::start(&walk, walk_options)?),
        };
        let stream = StreamOptions {
            follow_symlinks: options.follow_symlinks,
            compression,
            each_file: ui.wants_files(),
        };
        let told = asks_about_developer(options, ui);
        Ok(Self { walk, options: walk_options, stream, ready, running, told })
    }

    fn start(walk: &Walk, options: WalkOptions) -> Result<Walking> {
        let walk = walk.clone();
        thread::Builder::new()
            .name("walk".into())
            .spawn(move || (Arc::new(walk.run(options)), Instant::now()))
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
        let fresh = self.ready.take().filter(|(_, made)| made.elapsed() < FRESH);
        let ready =
            fresh.unwrap_or_else(|| (Arc::new(self.walk.run(self.options)), Instant::now()));
        let (source, _) = self.ready.insert(ready);
        if !self.told {
            ui.doubts(&source.left);
            self.told = true;
        }
        Arc::clone(source)
    }
}

fn asks_about_developer(options: &SendOptions, ui: &Ui) -> bool {
    options.exclude_developer.is_none() && ui.asks()
}

/// Whether developer folders go. Also returns the list, where it was needed for the question.
pub(super) fn decide_developer(
    walk: &Walk,
    options: &SendOptions,
    ui: &Ui,
) -> Result<(WalkOptions, Option<Source>)> {
    let ask = asks_about_developer(options, ui);
    let developer = match options.exclude_developer {
        Some(true) => Developer::Exclude,
        None if ask => Developer::Note,
        _ => Developer::Include,
    };
    let mut walk_options = WalkOptions { follow_symlinks: options.follow_symlinks, developer };
    if !ask {
        return Ok((walk_options, None));
    }
    let mut source = walk.run(walk_options);
    ui.doubts(&source.left);
    if !source.developer.is_empty() && ui.ask_leave_out(&source.developer)? {
        // Walked again without them: what in them cannot be sent is no loss then.
        walk_options.developer = Developer::Exclude;
        return Ok((walk_options, None));
    }
    source.developer.clear();
    walk_options.developer = Developer::Include;
    Ok((walk_options, Some(source)))
}
