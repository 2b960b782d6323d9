//! One bar for the whole transfer: what share of how much, rate, time left, files, the name at hand.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
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
use crate::net::quic::{Paths, Via};
use crate::protocol::channel::Heard;

/// Shows the events of one session.
#[derive(Debug)]
pub struct Progress {
    ui: Ui,
    view: Arc<View>,
    /// Who is at the other end, to be called by this name, and whether that side stands still.
    other: Option<(Heard, String)>,
    /// Ends the thread that watches the other side.
    watch: Option<Sender<()>>,
    /// What is still to come in this session, where others share the bar: bytes, files.
    left: Option<(u64, u64)>,
}

/// The bar, for one session or for several. While it is there, so is its keyboard.
#[derive(Debug)]
struct View {
    ui: Ui,
    bar: ProgressBar,
    state: Arc<Mutex<State>>,
    keys: Mutex<Option<Keys>>,
}

/// One bar for all receivers of an offer.
#[derive(Debug)]
pub struct Crowd(Arc<View>);

/// What the engine has told.
#[derive(Debug, Default)]
struct State {
    meter: Meter,
    /// Bytes that were there of files that are gone on with.
    here: u64,
    /// Whether the bytes to come are known: those of a stream are not.
    is_known: bool,
    name: Option<RelPath>,
    last_moved: Option<Instant>,
    /// Who is at the other end, if there is one.
    other: Option<(Heard, String)>,
    /// By which ways the bytes may go, where there are several.
    paths: Option<Paths>,
    crowd: Option<Served>,
}

/// How many of several receivers are done, how many there will be, and how many are here now.
#[derive(Debug, Clone, Copy, Default)]
struct Served {
    done: u32,
    of: u32,
    here: u32,
}

/// Between two drawings: soon enough for whoever changes the size of the window.
const PACE: Duration = Duration::from_millis(200);

/// Without a byte for so long, the bar says so.
const STALL: Duration = Duration::from_secs(15);

/// Who watches for so long may want to know of the keys.
const KEYS_AFTER: Duration = Duration::from_secs(1);

impl View {
    /// A bar that says `verb`; hidden where none is to be drawn.
    fn new(verb: &'static str, ui: Ui) -> Arc<Self> {
        let state = Arc::<Mutex<State>>::default();
        let bar = ProgressBar::hidden().with_style(style(verb, Arc::clone(&state)));
        Arc::new(Self { ui, bar, state, keys: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Draws from now on, and listens to keys. Not before: until the plan is made there may be
    /// questions.
    fn show(&self) {
        let mut keys = lock(&self.keys);
        if self.ui.draws && self.bar.is_hidden() {
            SCREEN.add(self.bar.clone()).enable_steady_tick(PACE);
        }
        if self.ui.keys && keys.is_none() {
            *keys = Keys::listen(&self.ui);
        }
    }

    fn has_keys(&self) -> bool {
        lock(&self.keys).is_some()
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        *lock(&self.keys) = None;
    }
}

impl Crowd {
    /// A bar that says `verb`, for so many receivers.
    pub(super) fn new(verb: &'static str, ui: Ui, of: u32) -> Self {
        let view = View::new(verb, ui);
        view.state().crowd = Some(Served { of, ..Served::default() });
        Self(view)
    }

    /// The session with one of them, which says everything else with `ui`.
    pub fn join(&self, ui: &Ui) -> Progress {
        if let Some(served) = &mut self.0.state().crowd {
            served.here += 1;
        }
        let (ui, view) = (ui.clone(), Arc::clone(&self.0));
        Progress { ui, view, other: None, watch: None, left: Some((0, 0)) }
    }

    /// One of them has got everything.
    pub fn served(&self) {
        if let Some(served) = &mut self.0.state().crowd {
            served.done += 1;
        }
    }
}

impl Progress {
    /// A bar of its own.
    pub(super) fn new(verb: &'static str, ui: Ui) -> Self {
        let view = View::new(verb, ui.clone());
        Self { ui, view, other: None, watch: None, left: None }
    }

    /// Tells when `name`, who is at the other end, stands still.
    pub fn beside(&mut self, heard: Heard, name: &str) {
        let name = name.split(" (").next().unwrap_or(name).to_owned();
        if self.left.is_none() {
            self.view.state().other = Some((heard.clone(), name.clone()));
        }
        self.other = Some((heard, name));
    }

    /// Shows by which way the bytes go, where there are several.
    pub fn through(&mut self, paths: Option<Paths>) {
        if self.left.is_none() {
            self.view.state().paths = paths;
        }
    }

    /// Takes an event in.
    pub fn on(&mut self, event: &Event<'_>) {
        if let Some(json) = &self.ui.json {
            json.on(event);
        }
        match event {
            Event::Planned { files, bytes, here } => {
                self.plan((*bytes, *files), *here);
                self.view.show();
                self.watch = self.watch();
            }
            Event::Finished { name } => self.ui.finished(name),
            Event::File { path, place, hash, fate, .. } => {
                self.ui.fate(path, *place, *hash, *fate);
            }
            Event::Moved { bytes, files, name } => {
                if let Some(left) = &mut self.left {
                    *left = (left.0.saturating_sub(*bytes), left.1.saturating_sub(*files));
                }
                let (mut state, now) = (self.view.state(), Instant::now());
                state.meter.moved(*bytes, *files, now);
                state.last_moved = Some(now);
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
            Event::Anew { bytes } => self.again(*bytes, 0),
            Event::Again { files, torn, bytes, attempt } => {
                self.again(*bytes, files.saturating_sub(*torn));
                self.ui.say_warning(&format!(
                    "{} after attempt {}; sending again",
                    counted(*files, "file differs", "files differ"),
                    attempt - 1
                ));
            }
        }
    }

    /// So much will cross besides what was planned.
    fn again(&mut self, bytes: u64, files: u64) {
        if let Some(left) = &mut self.left {
            *left = (left.0.saturating_add(bytes), left.1.saturating_add(files));
        }
        self.view.state().meter.again(bytes, files);
    }

    fn plan(&mut self, (bytes, files): (u64, u64), here: u64) {
        let (mut state, now) = (self.view.state(), Instant::now());
        match &mut self.left {
            Some(left) => {
                *left = (bytes, files);
                state.meter.join(bytes, files, now);
            }
            None => state.meter.plan(bytes, files, now),
        }
        state.here = state.here.saturating_add(here);
        state.is_known |= bytes > 0;
        state.last_moved = Some(now);
    }

    /// Watches, until it is dropped, whether the other side stands still. Tells of the keys, once,
    /// whoever looks on for a while.
    fn watch(&self) -> Option<Sender<()>> {
        let (ui, other) = (self.ui.clone(), self.other.clone());
        let (stop, stopped) = mpsc::channel();
        let (view, begun) = (Arc::downgrade(&self.view), Instant::now());
        let (mut told, mut was_paused) = (false, false);
        let watch = move || {
            while stopped.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
                if !told && begun.elapsed() >= KEYS_AFTER {
                    told = true;
                    if view.upgrade().is_some_and(|view| view.has_keys()) {
                        ui.tell_keys();
                    }
                }
                if let Some((heard, name)) = &other
                    && heard.is_paused() != was_paused
                {
                    was_paused = !was_paused;
                    ui.other_paused(name, was_paused);
                }
            }
        };
        // Without it only these lines are missing.
        thread::Builder::new().name("watch".into()).spawn(watch).ok()?;
        Some(stop)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(left) = self.left {
            let mut state = self.view.state();
            state.meter.leave(left.0, left.1);
            if let Some(served) = &mut state.crowd {
                served.here = served.here.saturating_sub(1);
            }
        }
        if let Some(json) = &self.ui.json {
            json.last_progress();
        }
    }
}

/// What is locked is whole at every point where a panic could happen.
fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
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
    /// What matters most first, each with its place.
    texts: [(u8, String); 7],
    /// Percent, where that is known.
    share: Option<usize>,
    /// The name at hand.
    name: String,
}

/// The place of the bar, and its columns without its ends: at least, at most.
const BAR: u8 = 2;
const LENGTHS: (usize, usize) = (6, 30);

fn parts(verb: &str, state: &mut State, now: Instant) -> Parts {
    let Reading { bytes: done, files, total_bytes, total_files, rate, left, .. } =
        state.meter.report(now);
    let (done, total) = (done.saturating_add(state.here), total_bytes.saturating_add(state.here));
    // Those who have not come yet will want as much.
    let total = match state.crowd {
        Some(Served { done, of, here }) => {
            let met = u64::from(done + here).clamp(1, of.into());
            total.saturating_mul(of.into()) / met
        }
        None => total,
    };
    let share = state.is_known.then(|| percent(done, total));
    let idle = state.last_moved.map_or(Duration::ZERO, |last| now.duration_since(last));
    let is_waiting = state.crowd.is_some_and(|served| served.here == 0);
    let other = state.other.as_ref().filter(|(heard, _)| heard.is_paused());
    let doing = match left {
        _ if control::is_paused() => "paused (p goes on)".into(),
        _ if is_waiting => "waiting".into(),
        _ if other.is_some() => {
            format!("paused by {}", other.map(|(_, name)| &**name).unwrap_or_default())
        }
        _ if idle >= STALL => format!("stalled for {} s", idle.as_secs()),
        Some(left) if state.is_known => format!("{} left", clock(left.as_secs())),
        _ => String::new(),
    };
    let served = state.crowd.map(|served| format!("{} of {} served", served.done, served.of));
    let counted = match total_files {
        0 | 1 => String::new(),
        _ => format!("{files}/{total_files} files"),
    };
    let name = state.name.as_ref().filter(|_| state.is_known || total_files > 1);
    let (short, moved) = match share {
        Some(share) => (format!("{share:>2}%"), format!("of {}", bytes(total))),
        None => (String::new(), bytes(done)),
    };
    let path = state.paths.as_ref().and_then(Paths::now);
    let via = match path.map(|path| path.via) {
        Some(Via::Direct(_)) => " direct",
        Some(Via::Relay(_)) => " relay",
        None => "",
    };
    let texts = [
        (1, short),
        (0, verb.into()),
        (DOING, doing),
        (6, served.unwrap_or_default()),
        (4, format!("{}/s{via}", bytes(rate))),
        (SIZE, moved),
        (7, counted),
    ];
    Parts { texts, share, name: name.map(RelPath::to_string).unwrap_or_default() }
}

/// The place of the size, which belongs to the share before it, and that of what goes on.
const SIZE: u8 = 1;
const DOING: u8 = 5;

/// Between two parts. The first takes as much for the ends of the row: the cursor stands in the
/// empty first column, and some terminals begin a new row once the last is filled.
const GAP: &str = "  ";

/// A name that is cut shorter tells nobody anything.
const SHORTEST: usize = 12;

/// One line, never wider than the window. Where there is no room for all, what matters least is
/// left away first; where there is more, first the name gets it, then the bar.
fn layout(Parts { texts, share, name }: Parts, columns: usize) -> String {
    let (mut line, mut room) = (BTreeMap::<u8, String>::new(), columns);
    for (place, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        // A space is all there is between a share and what it is of.
        let joins = line.contains_key(&place);
        let gap = if joins { " ".len() } else { GAP.len() };
        // Who has paused it is told as far as there is room.
        let cut = place == DOING && room >= gap + SHORTEST;
        let text = if cut { screen::start_of(&text, room - gap) } else { text };
        let Some(left) = room.checked_sub(gap + screen::width(&text)) else {
            room = 0;
            break;
        };
        room = left;
        let part = line.entry(place).or_default();
        if joins {
            part.push(' ');
        }
        part.push_str(&text);
    }
    let ends = GAP.len() + "[]".len();
    let (whole, least) = (screen::width(&name), screen::width(&name).min(SHORTEST));
    if whole > 0 && room >= GAP.len() + least {
        room -= GAP.len();
        // Where there is room for both, the bar comes before what a name has beyond the shortest.
        let beside = share.and(room.checked_sub(ends + LENGTHS.0));
        let width = whole.min(beside.filter(|beside| *beside >= least).unwrap_or(room));
        room -= width;
        line.insert(u8::MAX, screen::end_of(&name, width));
    }
    if let Some(share) = share
        && room >= ends + LENGTHS.0
    {
        line.insert(BAR, drawn(share, (room - ends).min(LENGTHS.1)));
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
        let texts = ["42%", "Sending", "3s left", "", "5.0 MB/s", "of 29.0 MB", "3/7 files"];
        let [percent, verb, doing, served, rate, size, files] = texts.map(String::from);
        let texts =
            [(1, percent), (0, verb), (5, doing), (6, served), (4, rate), (SIZE, size), (7, files)];
        Parts { texts, share: Some(42), name: name.into() }
    }

    #[test]
    fn what_matters_least_is_left_away_first() {
        #[rustfmt::skip]
        let cases = [
            (200, " Sending  42% of 29.0 MB  [============>                 ]  5.0 MB/s  3s left  3/7 files  写真/海辺.jpg"),
            (100, " Sending  42% of 29.0 MB  [==========>               ]  5.0 MB/s  3s left  3/7 files  写真/海辺.jpg"),
            (80, " Sending  42% of 29.0 MB  [==>   ]  5.0 MB/s  3s left  3/7 files  写真/海辺.jpg"),
            (79, " Sending  42% of 29.0 MB  [==>   ]  5.0 MB/s  3s left  3/7 files  .../海辺.jpg"),
            (78, " Sending  42% of 29.0 MB  5.0 MB/s  3s left  3/7 files  写真/海辺.jpg"),
            (77, " Sending  42% of 29.0 MB  5.0 MB/s  3s left  3/7 files  写真/海辺.jpg"),
            (68, " Sending  42% of 29.0 MB  [===>     ]  5.0 MB/s  3s left  3/7 files"),
            (67, " Sending  42% of 29.0 MB  [===>    ]  5.0 MB/s  3s left  3/7 files"),
            (60, " Sending  42% of 29.0 MB  5.0 MB/s  3s left  3/7 files"),
            (46, " Sending  42% of 29.0 MB  5.0 MB/s  3s left"),
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
        let texts = parts("").texts.map(|(place, text)| match (place, &*text) {
            (0 | 4, _) => (place, text),
            (SIZE, "of 29.0 MB") => (place, "12.3 MB".into()),
            _ => (place, String::new()),
        });
        let unknown = Parts { texts, share: None, name: String::new() };
        assert_eq!(layout(unknown, 80), " Sending  12.3 MB  5.0 MB/s");
    }

    /// What the line says of a file of 3.0 GB of which 0.3 GB were there, and of three receivers.
    #[test]
    fn it_begins_where_the_file_stands() {
        let now = Instant::now();
        let mut state = State { here: 330_000_000, is_known: true, ..State::default() };
        state.meter.plan(2_670_000_000, 1, now);
        let line = layout(super::parts("Receiving", &mut state, now), 100);
        assert!(line.starts_with(" Receiving  11% of 3.0 GB  [===>"), "{line}");
        let heard = Heard::default();
        heard.set_paused(true);
        state.other = Some((heard, "a-machine-with-a-name".into()));
        let line = layout(super::parts("Sending", &mut state, now), 100);
        assert!(line.contains("  paused by a-machine-with-a-name"), "{line}");
        let line = layout(super::parts("Sending", &mut state, now), 40);
        assert_eq!(line, " Sending  11%  paused by a-machine-w...");
        state.other = None;
        state.crowd = Some(Served { done: 2, of: 3, here: 1 });
        let line = layout(super::parts("Sending", &mut state, now), 100);
        assert!(line.contains("  2 of 3 served"), "{line}");
        state.crowd = Some(Served { done: 0, of: 3, here: 1 });
        let line = layout(super::parts("Sending", &mut state, now), 100);
        assert!(line.starts_with(" Sending   3% of 9.0 GB"), "{line}");
        state.crowd = Some(Served { done: 2, of: 3, here: 0 });
        let line = layout(super::parts("Sending", &mut state, now), 100);
        assert!(line.contains("  waiting  2 of 3 served"), "{line}");
    }

    #[test]
    fn only_all_is_a_hundred() {
        let cases = [((0, 0), 0), ((999, 1000), 99), ((1000, 1000), 100), ((1, u64::MAX), 0)];
        for ((done, total), expected) in cases {
            assert_eq!(percent(done, total), expected);
        }
        let cases = [(0, "[>                   ]"), (99, "[===================>]")];
        for (share, expected) in cases.into_iter().chain([(100, "[====================]")]) {
            assert_eq!(drawn(share, 20), expected);
        }
    }
}
