//! The sending side's story: find the own address, listen, show the ticket, let the receiver in,
//! send.

pub mod content;
mod dry_run;
pub mod files;
pub mod gate;
mod offer;
pub mod pack;
mod place;
mod serve;
pub mod single;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use self::gate::Gate;
use self::offer::Offer;
use self::place::Place;
use crate::bounds::MAX_TEXT;
use crate::compress::Compression;
use crate::error::{Error, Exit, Result};
use crate::files::expand::expand;
use crate::files::select::Filters;
use crate::files::walk::Walk;
use crate::net::listener::Listener;
use crate::net::pace::Rate;
use crate::protocol::features::Features;
use crate::ticket::{DEFAULT_PORT, Host, Ticket};
use crate::token::{self, Token};
use crate::ui::Ui;

/// What to send, and how; resolved from the command line.
#[derive(Debug, Clone)]
pub struct SendOptions {
    /// What is sent.
    pub what: What,
    /// What to call what comes in on standard input.
    pub name: Option<String>,
    /// What of the paths goes.
    pub filters: Filters,
    /// Only show what would go.
    pub dry_run: bool,
    /// What this side says that it can do.
    pub features: Features,
    /// Serve this machine only, on 127.0.0.1, without Tailscale.
    pub pod: bool,
    /// TCP port to listen on; 0 lets the system choose. Nothing for the usual one or the next.
    pub port: Option<u16>,
    /// Words in the token.
    pub words: u8,
    /// A token that was agreed beforehand, in place of a new one.
    pub agreed: Option<Agreed>,
    /// Receivers to serve, several at a time.
    pub receivers: u32,
    /// How fast to send at most, all receivers together.
    pub limit: Option<Rate>,
    /// How long to wait for the first receiver.
    pub timeout: Duration,
    /// Leave developer folders out; nothing when it is to be asked.
    pub exclude_developer: Option<bool>,
    /// Send what links point to.
    pub follow_symlinks: bool,
    /// Which compression to try; nothing when it is to be asked.
    pub compression: Option<Compression>,
}

/// A token that both sides have in a file of their own.
#[derive(Debug, Clone)]
pub struct Agreed {
    /// The token.
    pub token: Token,
    /// The file here, as it was typed.
    pub file: PathBuf,
}

impl Agreed {
    /// Reads the file.
    ///
    /// # Errors
    /// As [`Token::read`].
    pub fn read(file: &Path) -> Result<Self> {
        Ok(Self { token: Token::read(file)?, file: file.to_owned() })
    }
}

/// What `transfer send` sends.
#[derive(Debug, Clone)]
pub enum What {
    /// Files and folders, and patterns that no shell has expanded.
    Paths(Vec<PathBuf>),
    /// A text.
    Text(String),
    /// What comes in on standard input.
    Input,
}

/// Runs `transfer send`.
pub fn run(options: &SendOptions, ui: &Ui) -> Result<Exit> {
    let walk = match &options.what {
        What::Paths(paths) => Some(Walk::new(&expand(paths)?, &options.filters)?),
        What::Text(_) | What::Input => None,
    };
    if let (true, Some(walk)) = (options.dry_run, &walk) {
        return dry_run::run(walk, options, ui);
    }
    if let What::Text(text) = &options.what
        && text.len() > MAX_TEXT
    {
        let message = format!("a text may have {} bytes, and this has more", MAX_TEXT);
        return Err(Error::usage(message).hint("`transfer send -` sends whatever comes in"));
    }
    let seats = usize::try_from(options.receivers).unwrap_or(usize::MAX);
    if seats > 1 && matches!(options.what, What::Input) {
        return Err(Error::usage("what comes in can be read once, and for one receiver only")
            .hint("leave --receivers away, or send a file"));
    }
    let place = Place::find(options.pod, ui)?;
    let token = match &options.agreed {
        Some(agreed) => agreed.token.clone(),
        None => Token::generate(options.words)?,
    };
    ui.detail(&format!("the token has {:.1} bits of entropy", token::entropy_bits(token.words())));
    // Whoever has agreed on a token has agreed on a port as well: there is no ticket to tell another.
    let port = options.port.or(options.agreed.is_some().then_some(DEFAULT_PORT));
    let listener = Listener::bind_some(place.listen, port, DEFAULT_PORT)?;
    let port = listener.address().port();
    let offer = Offer::begin(walk, options, ui)?;
    let gate = Gate::open(listener, token.clone(), seats, place.admit)
        .map_err(|error| Error::no_thread(&error))?;
    let agreed = options.agreed.as_ref().map(|agreed| agreed.file.clone());
    ui.ticket(&Ticket { host: place.ticket, port, token: token.clone() }, agreed.as_deref());
    if let Some(elsewhere) = place.elsewhere {
        let ui = ui.clone();
        // Found out meanwhile: a Tailscale that hangs must not keep the ticket waiting.
        let told = thread::Builder::new().name("elsewhere".into()).spawn(move || {
            if let Ok(host) = elsewhere.recv() {
                let ticket = Ticket { host: Host::Ip(host), port, token };
                ui.ticket_elsewhere(&ticket, agreed.as_deref());
            }
        });
        drop(told);
    }

    serve::serve(&gate, offer, options, ui).map_err(|error| match (&options.agreed, error.exit) {
        (Some(_), Exit::Refused) => error.hint(
            "do both files hold the same? if so, somebody guesses: make a new one, `transfer token`",
        ),
        (Some(_), Exit::Interrupted) => match error.hint.as_deref() {
            Some(hint) if hint.starts_with("this ticket is void") => {
                error.hint("run the same command again: the receiver goes on from what it has")
            }
            _ => error,
        },
        // Whatever was sent, this ticket is dead.
        (None, Exit::Interrupted) => {
            error.or_hint("this ticket is void; `transfer send` makes another")
        }
        _ => error,
    })
}
