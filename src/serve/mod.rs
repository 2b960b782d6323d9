//! The server's story: listen, let devices in that are trusted, take what they send, each into a folder
//! of its own. Nobody is asked anything, and nothing is removed.

mod folder;
mod guest;
pub mod line;
mod notify;
pub mod options;
mod presence;
pub mod room;
pub mod unit;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use self::guest::Host;
use self::notify::Told;
use self::options::ServeOptions;
use self::presence::Presence;
use self::unit::Wish;
use crate::bounds::REFUSALS_FRESH;
use crate::config;
use crate::connect::Connection;
use crate::connect::acceptor::{Accepted, Acceptor, Incoming};
use crate::connect::devices::{self, Own, PORTS};
use crate::connect::ways::{self, Way};
use crate::control::{self, SLICE};
use crate::error::{Error, Exit, Result, reason, shown};
use crate::files::attributes::set_creation_mask;
use crate::receive::output::check_output;
use crate::service;
use crate::trust::certificate::Id;
use crate::trust::folder::Folder;
use crate::trust::verifier::{Peer as Device, Rules};
use crate::ui::{Reached, Ui};

/// How often it is looked whether somebody was removed from the list.
const LOOK: Duration = Duration::from_secs(1);

/// Runs `transfer serve`, until it is stopped.
pub fn run(options: &ServeOptions, ui: &Ui) -> Result<Exit> {
    if let Some(mask) = options.umask {
        set_creation_mask(mask);
    }
    let folder = shown(&options.folder.to_string_lossy()).into_owned();
    check_output(&options.folder)?;
    std::fs::create_dir_all(&options.folder).map_err(|error| {
        Error::failure(format!("cannot make \"{folder}\": {}", reason(&error)))
            .hint("name another folder")
    })?;
    if let Some(wish) = &options.unit {
        return print_unit(wish, &options.way, ui);
    }
    let own = Arc::new(Own::load(&options.papers)?);
    let (mut endpoint, watch) = ways::served(&options.way)?;
    let (listeners, port) = endpoint.bind(options.port, PORTS)?;
    let listens: Vec<_> = listeners.iter().map(|it| it.address().ip()).collect();
    let followed = (endpoint.follow, watch);
    let (mut presence, record) =
        Presence::new(options.name.as_deref(), &own, (port, &listens), followed)?;
    let mut acceptor =
        Acceptor::open(listeners, 0, endpoint.admit, devices::prove(Arc::clone(&own)))
            .map_err(|error| Error::no_thread(&error))?;
    let rules = own.rules()?;
    let trusted = rules.trusted();
    let host = Host::new(Arc::clone(&own), options, ui);
    let mut identity = (host.name(), own.id());
    greet(&identity, &rules, &folder, presence.reached(), ui);

    presence.tell_of_tailnet(ui);
    match own.doubt(true) {
        Some(doubt) => ui.warn(&doubt),
        // What ends soon, is no news beside that.
        None => own.ends(None).iter().for_each(|end| ui.warn(end)),
    }
    for word in options.papers.allow.iter().filter(|word| !trusted.has(word)) {
        let word = shown(word);
        ui.warn(&format!("--allow \"{word}\": no device is known here by that name or id (yet)"));
    }

    if !options.hidden {
        presence.announce(record, &options.way, ui);
    }
    notify::tell(Told::Ready);

    thread::scope(|scope| {
        let (mut refused, mut looked, mut changed) = (0, Instant::now(), own.changed());
        let mut is_judged = true;
        let mut counted = Instant::now();
        while control::check().is_ok() {
            if counted.elapsed() >= REFUSALS_FRESH {
                (refused, counted) = (0, Instant::now());
            }
            if control::is_to_reload() {
                notify::tell(Told::Reloading);
                presence.look_again();
                changed = own.changed();
                if own.reload().is_ok() {
                    ui.note("the list of devices and the certificates are read again");
                }
                is_judged = judge_again(&own, &host, Some(ui));
                notify::tell(Told::Ready);
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                let now = own.changed();
                // A list that could not be read may be mended by its mode alone, which is no news but that.
                if now != changed || !is_judged {
                    is_judged = judge_again(&own, &host, (now != changed).then_some(ui));
                    changed = now;
                    // Another certificate may have another name, or be of another key.
                    let is = (host.name(), own.id());
                    if let (true, Ok(rules)) = (is != identity, own.rules()) {
                        identity = is;
                        greet(&identity, &rules, &folder, presence.reached(), ui);
                    }
                }
            }
            presence.turn(&own, &mut acceptor, ui, |at| {
                ui.moved((&identity.0, identity.1), &folder, at);
            });
            match acceptor.next(SLICE) {
                Some(Incoming::Accepted(accepted)) => {
                    let Accepted { slot: _, connection } = *accepted;
                    let Connection { peer, device, closer, .. } = &connection;
                    let id = peer.id.as_deref().unwrap_or_default();
                    let Some(seat) = host.line.enter(id, device.clone(), closer) else {
                        refused += 1;
                        ui.turned_away(peer, "it has too many connections", refused);
                        continue;
                    };
                    if let Some(why) = device.as_deref().and_then(|it| unwelcome(&own, it)) {
                        closer.close();
                        refused += 1;
                        ui.turned_away(peer, &why, refused);
                        continue;
                    }
                    refused = 0;
                    own.ends(device.as_deref()).iter().for_each(|end| ui.warn(end));
                    let host = &host;
                    let started = thread::Builder::new().name("serve".into()).spawn_scoped(
                        scope,
                        move || {
                            let name = connection.peer.name.clone();
                            let receive = || host.receive(connection, seat.place);
                            // A fault of this program costs one upload, and not its place.
                            if catch_unwind(AssertUnwindSafe(receive)).is_err() {
                                ui.warn(&format!("{name}: ended by a fault of this program"));
                            }
                            drop(seat);
                        },
                    );
                    if let Err(error) = started {
                        ui.warn(&Error::no_thread(&error).to_string());
                    }
                }
                Some(Incoming::Refused { peer, why }) => {
                    refused += 1;
                    ui.turned_away(&peer, &why, refused);
                }
                Some(
                    Incoming::WrongToken { .. } | Incoming::Look { .. } | Incoming::Relay { .. },
                )
                | None => {}
            }
        }
        notify::tell(Told::Stopping);
        // Its goodbye comes first.
        drop(presence);
        // Nobody new; those who are here see the same, and end.
        drop(acceptor);
    });
    ui.note("stopped");
    Ok(Exit::Done)
}

/// Says who it is, where it listens and whom it trusts.
fn greet((name, id): &(String, Id), rules: &Rules, folder: &str, at: &Reached, ui: &Ui) {
    let devices: Vec<&str> = rules.trusted().devices.iter().map(|it| &*it.name).collect();
    let cas: Vec<&str> = rules.authorities().map(|it| &*it.subject).collect();
    ui.serves((name, *id), folder, at, &devices, &cas);
}

/// Prints what makes a service of the command line. Where all else is for reading alone, a folder that is not there
/// yet cannot be made by the service, and so both are made here.
fn print_unit(wish: &Wish, way: &Way, ui: &Ui) -> Result<Exit> {
    drop(Folder::of_user()?.lock()?);
    let program = service::program()?;
    let (text, hint) = unit::text(wish, &program, config::folder().as_deref())?;
    ui.print(&text)?;
    ui.note(hint);
    if matches!(way, Way::Tailnet | Way::LanAndTailnet(_)) {
        ui.note("it may start before Tailscale, and serves the tailnet once that runs");
    }
    Ok(Exit::Done)
}

/// Why a device that has just come in cannot stay: its handshake may have begun under older rules. Whatever changes
/// from here on, it is judged with the others.
fn unwelcome(own: &Own, device: &Device) -> Option<String> {
    match own.rules() {
        Ok(rules) if device.is_welcome(&rules) => None,
        Ok(_) => Some("it has not been trusted any more since it began to connect".into()),
        Err(error) => Some(error.message),
    }
}

/// Whoever would not be let in any more, be it that it was removed or the CA that vouched for it, is not served to
/// the end. Tells whether that could be looked at, and warns if it could not.
fn judge_again(own: &Own, host: &Host<'_>, warn: Option<&Ui>) -> bool {
    match own.rules() {
        Ok(rules) => {
            host.line.judge(&rules);
            true
        }
        Err(error) => {
            if let Some(ui) = warn {
                ui.warn(&format!("{error}; nobody new is let in"));
            }
            false
        }
    }
}
