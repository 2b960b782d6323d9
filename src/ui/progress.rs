//! One bar for the whole transfer: bytes, rate, time left, files, the name at hand.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::keys::Keys;
use super::{Ui, counted};
use crate::control;
use crate::error::bytes;
use crate::event::Event;

/// Shows the engine's events.
#[derive(Debug)]
pub struct Progress {
    ui: Ui,
    bar: ProgressBar,
    files: u64,
    done: u64,
    named: Option<Instant>,
    last_moved: Arc<Mutex<Instant>>,
    /// While the bar is there, so is its keyboard.
    keys: Option<Keys>,
}

/// Without a byte for so long, the bar says so.
const STALL: Duration = Duration::from_secs(15);

/// The name at hand changes at most this often: faster, nobody could read it.
const NAME_PACE: Duration = Duration::from_millis(100);

impl Progress {
    /// A bar that says `verb`; hidden where none is to be drawn.
    pub(super) fn new(verb: &'static str, ui: Ui) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        let last_moved = Arc::new(Mutex::new(Instant::now()));
        bar.set_style(style(Arc::clone(&last_moved)));
        bar.set_prefix(verb);
        let (files, done, named, keys) = (0, 0, None, None);
        Self { ui, bar, files, done, named, last_moved, keys }
    }

    /// Takes an event in.
    pub fn on(&mut self, event: &Event<'_>) {
        if let Some(json) = &self.ui.json {
            json.on(event);
        }
        match event {
            Event::Planned { files, bytes } => {
                // Not before: until the plan is made there may be questions.
                self.files = *files;
                self.bar.set_length(*bytes);
                if self.ui.draws {
                    self.bar.set_draw_target(ProgressDrawTarget::stderr());
                }
                if self.ui.keys {
                    self.keys = Keys::listen(&self.ui);
                }
                self.bar.reset_eta();
                self.bar.enable_steady_tick(Duration::from_millis(250));
            }
            Event::Finished { name } => {
                self.ui.finished(name, &self.bar);
            }
            Event::Moved { bytes, files, name } => {
                self.done += files;
                *self.last_moved.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                self.bar.inc(*bytes);
                if self.named.is_none_or(|named| named.elapsed() >= NAME_PACE) {
                    self.named = Some(Instant::now());
                    self.bar.set_message(format!("{}/{} files  {name}", self.done, self.files));
                }
            }
            Event::Again { files, bytes, attempt } => {
                self.files += files;
                self.bar.inc_length(*bytes);
                self.bar.suspend(|| {
                    self.ui.say_warning(&format!(
                        "{} after attempt {}; sending again",
                        counted(*files, "file differs", "files differ"),
                        attempt - 1
                    ));
                });
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

/// Decimal units as everywhere else; the name is cut to the width of the window.
fn style(last_moved: Arc<Mutex<Instant>>) -> ProgressStyle {
    let template = "{prefix} {percent:>3}% {bar:12} {moved}/{all}  {rate}  {wide_msg}";
    let style = ProgressStyle::with_template(template);
    // The template is a constant; a wrong one would only look plain.
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    style
        .progress_chars("=> ")
        .with_key("moved", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(&bytes(state.pos()));
        })
        .with_key("all", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(&bytes(state.len().unwrap_or_default()));
        })
        .with_key("rate", move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let idle = last_moved.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
            let _ = match idle {
                _ if control::is_paused() => write!(out, "paused (p goes on)"),
                _ if idle >= STALL => write!(out, "stalled for {} s", idle.as_secs()),
                _ => {
                    let rate = bytes(state.per_sec() as u64);
                    write!(out, "{rate}/s  {} left", clock(state.eta().as_secs()))
                }
            };
        })
}

/// Time left: `42s`, `3m05s`, `2h07m`.
fn clock(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h{minutes:02}m"),
    }
}
