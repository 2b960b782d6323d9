//! Ctrl-C, SIGTERM and SIGHUP: stop at the next record, tell the other side, keep the state.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::{process, thread};

use dialoguer::console::Term;

use super::screen::{SCREEN, obeys};
use super::{Ui, keys};
use crate::bounds::GRACE;
use crate::control::{self, SLICE};

static ASKED: AtomicBool = AtomicBool::new(false);

/// The first signal asks, the second, or a transfer that hangs, ends the process at once.
/// Whatever the moment, what is on the disk can be resumed.
pub fn watch(ui: &Ui) {
    let ui = ui.clone();
    // Without a handler a signal ends the process at once, which loses nothing either.
    let _ = ctrlc::set_handler(move || {
        if ASKED.swap(true, Ordering::Relaxed) {
            end(&ui);
        }
        control::stop();
        grace(&ui);
    });
}

/// Ends the process soon, however it hangs. In a thread of its own: this one has to be there for a
/// second signal.
pub(super) fn grace(ui: &Ui) {
    let ui = ui.clone();
    let _ = thread::Builder::new().name("grace".into()).spawn(move || {
        thread::sleep(GRACE);
        end(&ui);
    });
}

/// Begins a new row where a terminal has written `^C` for the key that was pressed.
pub(super) fn cover_key() {
    if ASKED.load(Ordering::Relaxed) && std::io::stderr().is_terminal() {
        let covered = if obeys() { "\r\x1b[K" } else { "\n" };
        let _ = std::io::stderr().write_all(covered.as_bytes());
    }
}

fn end(ui: &Ui) -> ! {
    keys::restore();
    let (exit, why) = ui.cut_short();
    // The bar goes for good. Whoever writes to the terminal may hang, and is not waited for.
    let (cleared, is_cleared) = channel();
    let clear = move || {
        SCREEN.suspend(move || {
            cover_key();
            let said =
                format!("{why}\n  the other side could not be told, and notices by itself\n");
            let _ = std::io::stderr().write_all(said.as_bytes());
            let _ = cleared.send(());
            thread::sleep(GRACE);
        });
    };
    let _ = thread::Builder::new().name("clear".into()).spawn(clear);
    let _ = is_cleared.recv_timeout(SLICE);
    // A question hides the cursor. A file or a pipe has none.
    let stderr = Term::stderr();
    if stderr.is_term() {
        let _ = stderr.show_cursor();
    }
    process::exit(i32::from(exit as u8))
}
