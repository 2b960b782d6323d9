//! The sending side's story: find the own address, listen, show the ticket, let the receiver in,
//! send.

pub mod blocks;
pub mod content;
mod dry_run;
pub mod files;
mod offer;
pub mod options;
pub mod pack;
mod prefix;
mod serve;
mod session;
pub mod single;
mod to;

use std::thread;

use self::offer::Offer;
use self::options::{SendOptions, What};
use crate::bounds::MAX_TEXT;
use crate::connect::acceptor::Acceptor;
use crate::connect::handshake::{self, Judge};
use crate::connect::ways::{self, Way};
use crate::connect::{Elsewhere, Endpoint, Reach};
use crate::error::{Cause, Error, Exit, Result};
use crate::files::expand::expand;
use crate::files::walk::Walk;
use crate::net::dial::Stream;
use crate::net::listener::Listener;
use crate::net::quic::IS_BUILT;
use crate::ticket::{DEFAULT_PORT, Ticket, USUAL_PORTS};
use crate::token::{self, Token};
use crate::ui::Ui;

/// Where there is no tailnet: the internet, if the person here agrees. A script never begins to use the
/// relays of others because Tailscale has died.
fn or_direct(error: Error, options: &SendOptions, ui: &Ui) -> Result<Endpoint> {
    let Some(direct) = options.otherwise.as_ref().filter(|_| IS_BUILT) else { return Err(error) };
    if !ui.asks() {
        return Err(error);
    }
    let endpoint = ways::endpoint(&Way::Direct(direct.clone()))?;
    match ui.ask_direct(&error, &endpoint)? {
        true => Ok(endpoint),
        false => Err(error),
    }
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
    if let Some(to) = &options.to {
        return to::run(walk, to, options, ui);
    }
    let slots = usize::try_from(options.receivers).unwrap_or(usize::MAX);
    if slots > 1 && matches!(options.what, What::Input) {
        return Err(Error::usage("what comes in can be read once, and for one receiver only")
            .hint("leave --receivers away, or send a file"));
    }
    let mut endpoint = match ways::endpoint(&options.way) {
        Err(error) if error.exit() == Exit::Network => or_direct(error, options, ui)?,
        endpoint => endpoint?,
    };
    ui.listens(&endpoint);
    let token = match &options.agreed {
        Some(agreed) => agreed.token.clone(),
        None => Token::generate(options.words)?,
    };
    ui.detail(&format!("the token has {:.1} bits of entropy", token::entropy_bits(token.words())));
    // Whoever has agreed on a token has agreed on a port as well: there is no ticket to tell another.
    let port = options.port.or(options.agreed.is_some().then_some(DEFAULT_PORT));
    let asking = match &endpoint.reach {
        Reach::Internet { relays } if !relays.is_empty() => ui.asks_for_place(relays),
        _ => None,
    };
    let (listeners, port) = endpoint.bind(port, USUAL_PORTS)?;
    drop(asking);
    if let Some(relay) = listeners.iter().find_map(Listener::relay) {
        ui.found_at(&relay);
    }
    let offer = Offer::begin(walk, options, ui)?;
    let shared = token.clone();
    let prove = move |stream: &Stream, judge: Judge<'_>| handshake::answer(stream, &shared, judge);
    let acceptor = Acceptor::open(listeners, slots, endpoint.admit, Box::new(prove))
        .map_err(|error| Error::no_thread(&error))?;
    let agreed = options.agreed.as_ref().map(|agreed| agreed.file.clone());
    ui.ticket(&Ticket { host: endpoint.ticket, port, token: token.clone() }, agreed.as_deref());
    if let Some(elsewhere) = endpoint.elsewhere {
        let ui = ui.clone();
        // Found out meanwhile: a Tailscale that hangs must not keep the ticket waiting.
        let told = thread::Builder::new().name("elsewhere".into()).spawn(move || {
            while let Ok(Elsewhere { host, from }) = elsewhere.recv() {
                let ticket = Ticket { host, port, token: token.clone() };
                ui.ticket_elsewhere(&ticket, &from, agreed.as_deref());
            }
        });
        drop(told);
    }

    serve::serve(&acceptor, offer, options, ui).map_err(|error| match (&options.agreed, error.cause) {
        (Some(_), Cause::Refused) => error.hint(
            "do both files hold the same? if so, somebody guesses: make a new one, `transfer token`",
        ),
        (Some(_), Cause::Interrupted) => match error.hint.as_deref() {
            Some(hint) if hint.starts_with("this ticket is void") => {
                error.hint("run the same command again: the receiver goes on from what it has")
            }
            _ => error,
        },
        // Whatever was sent, this ticket is dead.
        (None, Cause::Interrupted) => {
            error.or_hint("this ticket is void; `transfer send` makes another")
        }
        _ => error,
    })
}
