//! The receiving side's story: take the ticket, reach the sender, prove the token, look at the
//! offer, ask, receive.

pub mod allowance;
pub mod assembler;
pub mod blocks;
pub mod claims;
pub mod consent;
pub mod decide;
pub mod decisions;
pub mod eyes;
pub mod files;
pub mod lock;
pub mod names;
pub mod options;
pub mod output;
pub mod part;
pub mod places;
pub mod plan;
pub mod pool;
pub mod resume;
mod session;
pub mod single;
pub mod sparse;
pub mod survey;
pub mod tree;
pub mod writer;

use std::path::Path;

use self::options::ReceiveOptions;
use self::output::{check_output, may_be_name};
use self::session::Receiver;
use crate::connect::connector::Connector;
use crate::connect::redial::{GaveUp, Redial, Retry, Why};
use crate::connect::{NotConnected, ways};
use crate::control;
use crate::error::{Cause, Error, Exit, Result, shown_os};
use crate::event::Summary;
use crate::ticket::Ticket;
use crate::ui::{State, Ui};

/// Runs `transfer receive`.
pub fn run(mut options: ReceiveOptions, ui: &Ui) -> Result<Exit> {
    let agreed = options.token.is_some();
    let ticket = match (options.ticket.take(), options.token.take()) {
        (Some(place), Some(token)) => Ticket::agreed(&place, token)?,
        (Some(ticket), None) => Ticket::parse(&ticket)?,
        (None, _) => ui.ask_ticket()?,
    };
    if !options.to_stdout() {
        if let Ok(found) = options.output.metadata()
            && !found.is_dir()
            && !found.is_file()
        {
            let place = shown_os(&options.output);
            return Err(Error::usage(format!("\"{place}\" is neither a file nor a folder"))
                .hint("`-o -` writes a single file, a text or a stream to standard output"));
        }
        // Whether it is a folder or a name shows when the offer is here.
        match may_be_name(&options.output) {
            true => check_output(options.output.parent().unwrap_or(Path::new(".")))?,
            false => check_output(&options.output)?,
        };
    }
    let mut redial = Redial::new(options.wait);
    let host = ticket.host.to_string();
    let remote = redial
        .find(|| Ok(ways::remote(&ticket.host, ticket.port, &options.dial)?), &mut |retry| {
            tell(retry, &host, ui)
        })
        .map_err(|error| match error.cause {
            Cause::Interrupted => error.or_hint("nothing was received; run the same command again"),
            _ => error,
        })?;
    let connector = Connector::new(remote, ticket.token)?;
    if connector.is_noticed_late() {
        redial.is_noticed_late();
    }
    let mut receiver = Receiver::new(&options, ui)?;
    ui.connects(&connector.peer().name, connector.relays());
    let summary =
        receive(connector, &mut receiver, &mut redial, ui).map_err(|error| {
            match error.hint.as_deref() {
                Some(hint) if agreed && hint.contains("the other machine's screen") => {
                    error.hint("do both files hold the same token? the screen does not show it")
                }
                _ => error,
            }
        })?;
    ui.received(&summary, receiver.folder());
    Ok(summary.exit())
}

/// Dials until everything is here or there is no hope.
fn receive(
    mut connector: Connector,
    receiver: &mut Receiver<'_>,
    redial: &mut Redial,
    ui: &Ui,
) -> Result<Summary> {
    let name = connector.peer().name.clone();
    let attempt = |redial: &mut Redial| -> Result<Summary, NotConnected> {
        control::check()?;
        ui.state(State::Connecting);
        let stream = connector.dial()?;
        ui.state(State::Authenticating);
        let connection = connector.authenticate(stream)?;
        receiver.converse(connection, redial)
    };
    let ended = redial.run(attempt, &mut |retry| tell(retry, &name, ui));
    ended.map_err(|GaveUp { error, why }| match (why, error.cause) {
        (Why::Once, _) | (_, Cause::Interrupted) if redial.is_once() => {
            error.or_hint("what came so far is no whole file; run both sides again")
        }
        (_, Cause::Interrupted) if redial.has_met() => {
            error.or_hint("the same command goes on where it stopped; the sender waits 5 minutes")
        }
        (_, Cause::Interrupted) => {
            error.or_hint("nothing was received; the ticket holds as long as the sender waits")
        }
        (Why::Gone, _) => {
            error.hint("start it again there; its new ticket goes on where this one stopped")
        }
        (Why::NoProgress, _) => error.or_hint("run the same command again: it goes on from here"),
        (Why::Over | Why::Once, _) => error,
    })
}

/// Tells of a retry.
fn tell(retry: Retry<'_>, name: &str, ui: &Ui) {
    match retry {
        Retry::Again { why, attempt, pause } => ui.dials_again(why, attempt, pause),
        Retry::Awaits { why, patience } => ui.awaits(name, why, patience),
    }
}
