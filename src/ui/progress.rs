//! One bar for the whole transfer: what share, bytes, rate, time left, files, the name at hand.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::keys::Keys;
use super::meter::{Meter, Reading};
use super::screen::{self, SCREEN};
use super::{Ui, counted, names_of};
use crate::control;
use crate::error::bytes;
use crate::event::{Event, Remark};
use crate::files::path::RelPath;

/// Shows the engine's events.
#[derive(Debug)]
pub struct Progress {
    ui: Ui,
    bar: ProgressBar,
    state: Arc<Mutex<State>>,
    /// While the bar is there, so is its keyboard.
    keys: Option<Keys>,
}

/// What the engine has told.
#[derive(Debug)]
struct State {
    meter: Meter,
    /// Whether the bytes to come are known: those of a stream are not.
    is_known: bool,
    name: Option<RelPath>,
    last_moved: Instant,
}

/// Between two drawings: soon enough for whoever changes the size of the window.
const PACE: Duration = Duration::from_millis(200);

/// Without a byte for so long, the bar says so.
const STALL: Duration = Duration::from_secs(15);

impl Progress {
    /// A bar that says `verb`; hidden where none is to be drawn.
    pub(super) fn new(verb: &'static str, ui: Ui) -> Self {
        let (meter, last_moved) = (Meter::default(), Instant::now());
        let state = Arc::new(Mutex::new(State { meter, is_known: false, name: None, last_moved }));
        let bar = ProgressBar::hidden().with_style(style(verb, Arc::clone(&state)));
        Self { ui, bar, state, keys: None }
    }

    /// Takes an event in.
    pub fn on(&mut self, event: &Event<'_>) {
        if let Some(json) = &self.ui.json {
            json.on(event);
        }
        match event {
            Event::Planned { files, bytes } => {
                {
                    let (mut state, now) = (lock(&self.state), Instant::now());
                    state.meter.plan(*bytes, *files, now);
                    (state.is_known, state.last_moved) = (*bytes > 0, now);
                }
                // Not before: until the plan is made there may be questions.
                if self.ui.draws {
                    SCREEN.add(self.bar.clone()).enable_steady_tick(PACE);
                }
                if self.ui.keys {
                    self.keys = Keys::listen(&self.ui);
                }
            }
            Event::Finished { name } => self.ui.finished(name),
            Event::Moved { bytes, files, name } => {
                let (mut state, now) = (lock(&self.state), Instant::now());
                state.meter.moved(*bytes, *files, now);
                state.last_moved = now;
                state.name = Some((*name).clone());
            }
            Event::Remark { names, remark } => self.ui.note(&match remark {
                Remark::Grown => {
                    format!("grew meanwhile, and went as listed: {}", names_of(names))
                }
                Remark::Deceptive => format!(
                    "not as long as the size says: {}; `transfer send - <FILE` sends one",
                    names_of(names)
                ),
            }),
            Event::Again { files, bytes, attempt } => {
                lock(&self.state).meter.again(*bytes, *files);
                self.ui.say_warning(&format!(
                    "{} after attempt {}; sending again",
                    counted(*files, "file differs", "files differ"),
                    attempt - 1
                ));
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.keys = None;
        if let Some(json) = &self.ui.json {
            json.last_progress();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One key, as there is not the same in a window of every width.
fn style(verb: &'static str, state: Arc<Mutex<State>>) -> ProgressStyle {
    let style = ProgressStyle::with_template("{line}");
    // The template is a constant; a wrong one would only look plain.
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    style.with_key("line", move |_: &ProgressState, out: &mut dyn fmt::Write| {
        let parts = parts(verb, &mut lock(&state), Instant::now());
        let _ = out.write_str(&layout(parts, screen::columns()));
    })
}

/// What the line says.
struct Parts {
    /// What matters most first, each with its place; the bar has the one that is left out.
    texts: [(u8, String); 6],
    /// Percent, where that is known.
    share: Option<usize>,
    /// The name at hand.
    name: String,
}

/// The place of the bar, and its columns without its ends: at least, at most.
const BAR: u8 = 2;
const LENGTHS: (usize, usize) = (6, 20);

fn parts(verb: &str, state: &mut State, now: Instant) -> Parts {
    let Reading { bytes: done, files, total_bytes, total_files, rate, left, .. } =
        state.meter.report(now);
    let share = state.is_known.then(|| percent(done, total_bytes));
    let idle = now.duration_since(state.last_moved);
    let doing = match left {
        _ if control::is_paused() => "paused (p goes on)".into(),
        _ if idle >= STALL => format!("stalled for {} s", idle.as_secs()),
        Some(left) if state.is_known => format!("{} left", clock(left.as_secs())),
        _ => String::new(),
    };
    let moved = match state.is_known {
        true => format!("{}/{}", bytes(done), bytes(total_bytes)),
        false => bytes(done),
    };
    let counted = match total_files {
        0 | 1 => String::new(),
        _ => format!("{files}/{total_files} files"),
    };
    let name = state.name.as_ref().filter(|_| state.is_known || total_files > 1);
    let texts = [
        (1, share.map(|share| format!("{share:>2}%")).unwrap_or_default()),
        (0, verb.into()),
        (5, doing),
        (4, format!("{}/s", bytes(rate))),
        (3, moved),
        (6, counted),
    ];
    Parts { texts, share, name: name.map(RelPath::to_string).unwrap_or_default() }
}

/// Between two parts. The first takes as much for the ends of the row: the cursor stands in the
/// empty first column, and some terminals begin a new row once the last is filled.
const GAP: &str = "  ";

/// A name that is cut shorter tells nobody anything.
const SHORTEST: usize = 12;

/// One line, never wider than the window. Where there is no room for all, what matters least is
/// left away first.
fn layout(Parts { texts, share, name }: Parts, columns: usize) -> String {
    let (mut line, mut room) = (BTreeMap::new(), columns);
    // The number of files is the first that gives way to the bar.
    let [texts @ .., last] = texts;
    for (place, text) in texts.into_iter().chain([(BAR, String::new()), last]) {
        let text = match share {
            Some(share) if place == BAR => {
                let length = room.saturating_sub(GAP.len() + "[]".len());
                drawn(share, length.clamp(LENGTHS.0, LENGTHS.1))
            }
            _ => text,
        };
        if text.is_empty() {
            continue;
        }
        let Some(left) = room.checked_sub(GAP.len() + screen::width(&text)) else {
            room = 0;
            break;
        };
        room = left;
        line.insert(place, text);
    }
    if room >= GAP.len() + SHORTEST && !name.is_empty() {
        line.insert(u8::MAX, screen::end_of(&name, room - GAP.len()));
    }
    format!(" {}", Vec::from_iter(line.into_values()).join(GAP))
}

/// `[=====>      ]`.
fn drawn(percent: usize, length: usize) -> String {
    let arrow = "=".repeat(percent * length / 100) + ">";
    format!("[{arrow:<length$.length$}]")
}

/// Rounded down: 100 means all.
fn percent(done: u64, total: u64) -> usize {
    let share = u128::from(done) * 100 / u128::from(total.max(1));
    share.try_into().unwrap_or(100)
}

/// Time left: `42s`, `3m05s`, `2h07m`.
fn clock(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h{minutes:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(name: &str) -> Parts {
        let texts = ["42%", "Sending", "3s left", "5.0 MB/s", "12.3 MB/29.0 MB"];
        let [percent, verb, doing, rate, moved] = texts.map(String::from);
        let files = "3/7 files".into();
        let texts = [(1, percent), (0, verb), (5, doing), (4, rate), (3, moved), (6, files)];
        Parts { texts, share: Some(42), name: name.into() }
    }

    #[test]
    fn what_matters_least_is_left_away_first() {
        #[rustfmt::skip]
        let cases = [
            (200, " Sending  42%  [========>           ]  12.3 MB/29.0 MB  5.0 MB/s  3s left  3/7 files  写真/海辺.jpg"),
            (100, " Sending  42%  [========>           ]  12.3 MB/29.0 MB  5.0 MB/s  3s left  3/7 files  写真/海辺.jpg"),
            (99, " Sending  42%  [========>           ]  12.3 MB/29.0 MB  5.0 MB/s  3s left  3/7 files  .../海辺.jpg"),
            (98, " Sending  42%  [========>           ]  12.3 MB/29.0 MB  5.0 MB/s  3s left  3/7 files"),
            (80, " Sending  42%  [========>           ]  12.3 MB/29.0 MB  5.0 MB/s  3s left"),
            (70, " Sending  42%  [======>         ]  12.3 MB/29.0 MB  5.0 MB/s  3s left"),
            (60, " Sending  42%  [==>   ]  12.3 MB/29.0 MB  5.0 MB/s  3s left"),
            (59, " Sending  42%  12.3 MB/29.0 MB  5.0 MB/s  3s left"),
            (40, " Sending  42%  5.0 MB/s  3s left"),
            (30, " Sending  42%  3s left"),
            (20, " Sending  42%"),
            (10, " 42%"),
            (4, " "),
            (0, " "),
        ];
        for (columns, expected) in cases {
            assert_eq!(layout(parts("写真/海辺.jpg"), columns), expected, "{columns}");
        }
        for columns in 2..150 {
            let text = layout(parts(&"e\u{301}写🏖\u{fe0f}".repeat(20)), columns);
            assert!(screen::width(&text) < columns, "{columns}: {text}");
        }
    }

    #[test]
    fn what_is_not_known_is_left_away() {
        let texts = parts("").texts.map(|(place, text)| match place {
            0 | 3 | 4 => (place, text),
            _ => (place, String::new()),
        });
        let unknown = Parts { texts, share: None, name: String::new() };
        assert_eq!(layout(unknown, 80), " Sending  12.3 MB/29.0 MB  5.0 MB/s");
    }

    #[test]
    fn only_all_is_a_hundred() {
        let cases = [((0, 0), 0), ((999, 1000), 99), ((1000, 1000), 100), ((1, u64::MAX), 0)];
        for ((done, total), expected) in cases {
            assert_eq!(percent(done, total), expected);
        }
        let cases = [(0, "[>                   ]"), (99, "[===================>]")];
        for (share, expected) in cases.into_iter().chain([(100, "[====================]")]) {
            assert_eq!(drawn(share, LENGTHS.1), expected);
        }
    }
}
