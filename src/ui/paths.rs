//! By which way the bytes of direct mode go: a line when that is known, and one with `-v` for each change.

use std::sync::mpsc::{self, Sender, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use super::Ui;
use crate::control::SLICE;
use crate::error::{bytes, shown};
use crate::net::quic::{Path, Paths, Traffic, Via};
use crate::net::relay_url::RelayUrl;

/// A way through a relay often becomes a direct one after a moment, and only that is worth a line.
const BETTER_WAY: Duration = Duration::from_secs(3);

/// Tells of the ways of one connection, until it is dropped; then of what went by each.
#[derive(Debug)]
pub struct Following {
    ui: Ui,
    paths: Paths,
    /// Ends the thread that looks.
    _looks: Sender<()>,
}

impl Ui {
    /// At which relay a sender is found, and what that one sees.
    pub fn found_at(&self, relay: &str) {
        let of_n0 = RelayUrl::parse(relay).is_ok_and(|relay| relay.is_of_n0());
        let who = if of_n0 { "run by n0; it" } else { "it" };
        self.note(&format!(
            "direct: through the relay {} ({who} sees addresses and amounts, never names or content)",
            shown(relay)
        ));
    }

    /// The sender is asked for, at relays if there are some.
    pub fn connects(&self, name: &str, relays: &[RelayUrl]) {
        let way = match relays {
            [] => String::new(),
            relays => format!(", by way of {}", named(relays)),
        };
        self.note(&format!("connecting to {name}{way}"));
    }

    /// A place is asked for at a relay, which is told if it takes its time: until what comes back is dropped.
    pub fn asks_for_place(&self, relays: &[RelayUrl]) -> Option<Sender<()>> {
        self.note_if_slow(format!("asking {} for a place", named(relays)))
    }

    /// Whether nobody finds a sender, as its relay is away.
    pub fn relay_is_away(&self, relay: &str, is_away: bool) {
        let relay = shown(relay);
        match is_away {
            true => self.warn(&format!(
                "the relay {relay} does not answer any more: until it does, nobody finds this sender"
            )),
            false => self.note(&format!("at the relay {relay}: receivers find this sender again")),
        }
    }

    /// Tells of the ways of a connection from now on, where it has several.
    pub fn follow(&self, paths: Option<&Paths>) -> Option<Following> {
        let (ui, mut paths) = (self.clone(), paths?.clone());
        let (stop, stopped) = mpsc::channel();
        let following = Following { ui: ui.clone(), paths: paths.clone(), _looks: stop };
        let look = move || {
            let (begun, mut is_told) = (Instant::now(), false);
            let mut now = None::<Path>;
            let mut next = paths.now();
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                let is_other =
                    |path: &Path| now.as_ref().is_none_or(|now: &Path| now.via != path.via);
                if let Some(path) = next.take().filter(is_other) {
                    ui.tell(|json| json.path(&path));
                    if is_told {
                        ui.detail(&told(&path));
                    }
                    now = Some(path);
                }
                if let Some(path) = &now
                    && !is_told
                    && (matches!(path.via, Via::Direct(_)) || begun.elapsed() >= BETTER_WAY)
                {
                    is_told = true;
                    ui.say(&told(path));
                }
                if paths.is_over() {
                    break;
                }
                next = paths.next(SLICE);
            }
        };
        // Without it only these lines are missing.
        let looking = thread::Builder::new().name("paths".into()).spawn(look);
        drop(looking);
        Some(following)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let traffic = self.paths.traffic();
        let Traffic { relayed, direct } = traffic;
        let (relayed, direct) = (bytes(relayed), bytes(direct));
        self.ui.detail(&format!("{relayed} went through a relay, {direct} directly"));
        self.ui.tell(|json| json.traffic(traffic));
    }
}

fn named(relays: &[RelayUrl]) -> String {
    match relays {
        [only] => format!("the relay {}", shown(&only.name())),
        relays => format!("{} relays", relays.len()),
    }
}

fn told(path: &Path) -> String {
    match &path.via {
        Via::Direct(address) => format!("connected: directly to {address}"),
        Via::Relay(host) => format!("connected: through the relay {}", shown(host)),
    }
}
