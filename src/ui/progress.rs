//! One bar for the whole transfer: what share, bytes, rate, time left, files, the name at hand.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::keys::{Keys, is_in_front};
use super::meter::{Meter, Reading};
use super::{Ui, counted, screen};
use crate::control;
use crate::error::bytes;
use crate::event::Event;
use crate::files::path::RelPath;

/// Shows the engine's events.
#[derive(Debug)]
pub struct Progress {
    ui: Ui,
    shared: Arc<Mutex<State>>,
    bar: Option<Bar>,
    /// While the bar is there, so is its keyboard.
    keys: Option<Keys>,
}

/// What the engine has told.
#[derive(Debug)]
struct State {
    verb: &'static str,
    meter: Meter,
    /// Whether the bytes to come are known: those of a stream are not.
    known: bool,
    name: Option<RelPath>,
    last_moved: Instant,
}

/// A thread that draws until it is dropped.
#[derive(Debug)]
struct Bar {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Between two drawings: soon enough for whoever changes the size of the window.
const PACE: Duration = Duration::from_millis(200);

/// Without a byte for so long, the bar says so.
const STALL: Duration = Duration::from_secs(15);

impl Progress {
    /// A bar that says `verb`; hidden where none is to be drawn.
    pub(super) fn new(verb: &'static str, ui: Ui) -> Self {
        let state = State {
            verb,
            meter: Meter::default(),
            known: false,
            name: None,
            last_moved: Instant::now(),
        };
        Self { ui, shared: Arc::new(Mutex::new(state)), bar: None, keys: None }
    }

    /// Takes an event in.
    pub fn on(&mut self, event: &Event<'_>) {
        if let Some(json) = &self.ui.json {
            json.on(event);
        }
        let now = Instant::now();
        match event {
            Event::Planned { files, bytes } => {
                let mut state = lock(&self.shared);
                state.meter.plan(*bytes, *files, now);
                (state.known, state.last_moved) = (*bytes > 0, now);
                drop(state);
                // Not before: until the plan is made there may be questions.
                if self.ui.draws {
                    self.bar = Bar::start(Arc::clone(&self.shared));
                }
                if self.ui.keys {
                    self.keys = Keys::listen(&self.ui);
                }
            }
            Event::Finished { name } => self.ui.finished(name),
            Event::Moved { bytes, files, name } => {
                let mut state = lock(&self.shared);
                state.meter.moved(*bytes, *files, now);
                state.last_moved = now;
                state.name = Some((*name).clone());
            }
            Event::Again { files, bytes, attempt } => {
                lock(&self.shared).meter.again(*bytes, *files);
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
        self.bar = None;
        self.keys = None;
        if let Some(json) = &self.ui.json {
            json.last_progress();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bar {
    /// Nothing where the system has no thread left: the transfer needs no bar.
    fn start(shared: Arc<Mutex<State>>) -> Option<Self> {
        let (stop, stopped) = channel();
        let draw = move || {
            loop {
                // Where this runs in the background, the bottom line is the shell's.
                if is_in_front(std::io::stderr()) {
                    let columns = screen::columns();
                    screen::draw(lock(&shared).text(columns, Instant::now()), columns);
                }
                if stopped.recv_timeout(PACE) != Err(RecvTimeoutError::Timeout) {
                    return screen::clear();
                }
            }
        };
        let thread = thread::Builder::new().name("bar".into()).spawn(draw).ok()?;
        Some(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.stop = None;
        // It has said all that there was to say, however it ended.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl State {
    fn text(&mut self, columns: usize, now: Instant) -> String {
        let Reading { bytes: done, files, total_bytes, total_files, rate, left, .. } =
            self.meter.report(now);
        let idle = now.duration_since(self.last_moved);
        let is_list = self.known || total_files > 1;
        let percent = self.known.then(|| percent(done, total_bytes));
        let state = match left {
            _ if control::is_paused() => "paused (p goes on)".into(),
            _ if idle >= STALL => format!("stalled for {} s", idle.as_secs()),
            Some(left) if self.known => format!("{} left", clock(left.as_secs())),
            _ => String::new(),
        };
        let name = self.name.as_ref().filter(|_| is_list).map(RelPath::to_string);
        layout(
            Parts {
                verb: self.verb,
                percent,
                moved: match self.known {
                    true => format!("{}/{}", bytes(done), bytes(total_bytes)),
                    false => bytes(done),
                },
                rate: format!("{}/s", bytes(rate)),
                state,
                files: match total_files {
                    0 | 1 => String::new(),
                    _ => format!("{files}/{total_files} files"),
                },
                name: name.unwrap_or_default(),
            },
            columns,
        )
    }
}

/// What the bar says, each where there is something to say.
struct Parts {
    verb: &'static str,
    percent: Option<u8>,
    moved: String,
    rate: String,
    state: String,
    files: String,
    name: String,
}

/// Columns of the bar itself, without its ends: at least, at most.
const LENGTHS: (usize, usize) = (6, 20);

/// A name that is cut shorter tells nobody anything.
const SHORTEST: usize = 12;

/// Between two pieces.
const GAP: &str = "  ";

/// One line, never wider than the window. The cursor stands in the empty first column, the last
/// stays empty too: some terminals begin a new row once it is filled.
fn layout(parts: Parts, columns: usize) -> String {
    let Parts { verb, percent, moved, rate, state, files, name } = parts;
    let head = match percent {
        Some(percent) if columns < verb.len() + " 100%".len() + 2 => format!("{percent}%"),
        Some(percent) => format!("{verb} {percent:>3}%"),
        None => verb.into(),
    };
    // What matters most takes its place first.
    let room = &mut { columns };
    let head = fit(room, head);
    let state = fit(room, state);
    let rate = fit(room, rate);
    let moved = fit(room, moved);
    let length = room.saturating_sub(GAP.len() + "[]".len()).clamp(LENGTHS.0, LENGTHS.1);
    let bar = fit(room, percent.map(|percent| drawn(percent, length)).unwrap_or_default());
    let files = fit(room, files);
    let name = match room.saturating_sub(GAP.len()) {
        left if left < SHORTEST => String::new(),
        left => screen::end_of(&name, left),
    };
    let pieces = [head, bar, moved, rate, state, files, name];
    let pieces: Vec<_> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
    format!(" {}", pieces.join(GAP))
}

/// The piece, if there is room for it and a gap. Behind one that has none there is none for any.
fn fit(room: &mut usize, piece: String) -> String {
    let wide = screen::width(&piece) + GAP.len();
    match room.checked_sub(wide) {
        _ if piece.is_empty() => piece,
        Some(left) => {
            *room = left;
            piece
        }
        None => {
            *room = 0;
            String::new()
        }
    }
}

/// `[=====>      ]`.
fn drawn(percent: u8, length: usize) -> String {
    let filled = usize::from(percent) * length / 100;
    let tip = if filled < length { ">" } else { "" };
    let left = length - filled - tip.len();
    format!("[{}{tip}{}]", "=".repeat(filled), " ".repeat(left))
}

/// Rounded down: 100 means all.
fn percent(done: u64, total: u64) -> u8 {
    let share = u128::from(done) * 100 / u128::from(total.max(1));
    u8::try_from(share.min(100)).unwrap_or(100)
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
        Parts {
            verb: "Sending",
            percent: Some(42),
            moved: "12.3 MB/29.0 MB".into(),
            rate: "5.0 MB/s".into(),
            state: "3s left".into(),
            files: "3/7 files".into(),
            name: name.into(),
        }
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
    fn a_stream_has_no_share_and_no_end() {
        let stream =
            Parts { percent: None, moved: "12.3 MB".into(), state: String::new(), ..parts("") };
        let stream = Parts { files: String::new(), ..stream };
        assert_eq!(layout(stream, 80), " Sending  12.3 MB  5.0 MB/s");
    }

    #[test]
    fn only_all_is_a_hundred() {
        let cases = [((0, 0), 0), ((999, 1000), 99), ((1000, 1000), 100), ((1, u64::MAX), 0)];
        for ((done, total), expected) in cases {
            assert_eq!(percent(done, total), expected);
        }
        for (share, expected) in
            [(0, "[>   ]"), (49, "[=>  ]"), (50, "[==> ]"), (99, "[===>]"), (100, "[====]")]
        {
            assert_eq!(drawn(share, 4), expected);
        }
    }
}
