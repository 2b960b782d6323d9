//! Ctrl-C, SIGTERM and SIGHUP: stop at the next record, tell the other side, keep the state; a server
//! reads its files again at SIGHUP. What was
//! ignored when the program began stays ignored: `nohup` and scripts mean it.

use std::io::{IsTerminal, Write};
#[cfg(unix)]
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::{process, thread};

use dialoguer::console::Term;
#[cfg(unix)]
use signal_hook::consts::SIGXFSZ;

use super::screen::{SCREEN, is_capable};
use super::{Ui, terminal};
use crate::bounds::GRACE;
use crate::control::{self, SLICE};

static ASKED: AtomicBool = AtomicBool::new(false);

/// The first signal asks, the second, or a transfer that hangs, ends the process at once.
/// Whatever the moment, what is on the disk can be resumed.
pub fn watch(ui: &Ui) {
    // A file over the limit (`ulimit -f`) is an error like any other, not the end of the process.
    #[cfg(unix)]
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    let ui = ui.clone();
    let had_terminal = std::io::stderr().is_terminal();
    listen(move |is_hangup| {
        // Of a terminal that is closed nothing is left; where one is, or never was, somebody means the files.
        if is_hangup && ui.is_service() && had_terminal == std::io::stderr().is_terminal() {
            return control::reload();
        }
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
        let covered = if is_capable() { "\r\x1b[K" } else { "\n" };
        let _ = std::io::stderr().write_all(covered.as_bytes());
    }
}

/// Calls `on_signal` for each, and says whether it is SIGHUP. Without a handler a signal ends the process at once, which loses
/// nothing either.
#[cfg(unix)]
fn listen(on_signal: impl Fn(bool) + Send + 'static) {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    let ignored = ignored();
    let heeded = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !is_in(ignored, *signal));
    if let Ok(mut signals) = Signals::new(heeded) {
        let waiting = move || signals.forever().for_each(|signal| on_signal(signal == SIGHUP));
        let _ = thread::Builder::new().name("signals".into()).spawn(waiting);
    }
}

/// The same of Windows' console. When its window is closed, Windows ends the process once a handler
/// returns, or after 5 s: those here never return, so there is as much time as for any signal.
#[cfg(windows)]
fn listen(on_signal: impl Fn(bool) + Send + 'static) {
    use std::task::Poll;

    use tokio::signal::windows as console;

    let (Ok(mut key), Ok(mut stop), Ok(mut close), Ok(mut logoff), Ok(mut shutdown)) = (
        console::ctrl_c(),
        console::ctrl_break(),
        console::ctrl_close(),
        console::ctrl_logoff(),
        console::ctrl_shutdown(),
    ) else {
        return;
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
    let waiting = move || {
        runtime.block_on(std::future::poll_fn(|context| {
            while key.poll_recv(context).is_ready()
                || stop.poll_recv(context).is_ready()
                || close.poll_recv(context).is_ready()
                || logoff.poll_recv(context).is_ready()
                || shutdown.poll_recv(context).is_ready()
            {
                on_signal(false);
            }
            Poll::<()>::Pending
        }));
    };
    let _ = thread::Builder::new().name("signals".into()).spawn(waiting);
}

/// The signals that this process ignores, a bit for each: as Linux tells, or as is found out by trying where
/// the system keeps it to itself.
#[cfg(unix)]
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let told = ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    told.unwrap_or_else(|| outlived("/bin/sh", &["-c", KILL_YOURSELF]))
}

/// What a shell does with the name of a signal: it says a word only if it is still there.
#[cfg(unix)]
const KILL_YOURSELF: &str = "kill -s \"$0\" $$; echo here";

/// Of the signals that are heeded those that a child outlives, which ignores what its parent does; a bit for each.
/// All are tried at once: that takes as long as one shell.
#[cfg(unix)]
fn outlived(shell: &str, args: &[&str]) -> u64 {
    use process::{Command, Stdio};
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    let child = |(name, signal): (&str, i32)| {
        let mut command = Command::new(shell);
        command.args(args).arg(name).stdin(Stdio::null()).stderr(Stdio::null());
        command.stdout(Stdio::piped()).spawn().ok().map(|child| (child, signal))
    };
    let children = [("HUP", SIGHUP), ("INT", SIGINT), ("TERM", SIGTERM)].map(child);
    let outlived = children.into_iter().flatten().filter_map(|(child, signal)| {
        let said = child.wait_with_output().ok()?.stdout;
        if said.is_empty() { None } else { bit(signal) }
    });
    outlived.fold(0, |bits, bit| bits | bit)
}

#[cfg(unix)]
fn bit(signal: i32) -> Option<u64> {
    u32::try_from(signal - 1).ok().and_then(|bit| 1u64.checked_shl(bit))
}

#[cfg(unix)]
fn is_in(signals: u64, signal: i32) -> bool {
    bit(signal).is_some_and(|bit| signals & bit != 0)
}

fn end(ui: &Ui) -> ! {
    terminal::restore();
    let (exit, words) = ui.cut_short();
    // The bar goes for good. Whoever writes to the terminal may hang, and is not waited for.
    let (cleared, is_cleared) = channel();
    let clear = move || {
        SCREEN.suspend(move || {
            cover_key();
            let _ = std::io::stderr().write_all(words.as_bytes());
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

#[cfg(all(test, unix))]
mod tests {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    use super::*;

    #[test]
    fn what_a_shell_outlives_is_ignored() {
        for (ignoring, expected) in [
            ("trap '' HUP", [true, false]),
            ("trap '' TERM", [false, true]),
            ("trap '' HUP INT TERM", [true, true]),
            ("trap - HUP", [false, false]),
        ] {
            let wrapped = format!("{ignoring}; exec /bin/sh -c \"$0\" \"$1\"");
            let found = outlived("/bin/sh", &["-c", &wrapped, KILL_YOURSELF]);
            // Who runs the tests in the background may ignore SIGINT already, and SIGHUP under `nohup`.
            let is_ours = |signal| is_in(ignored(), signal);
            assert_eq!(is_in(found, SIGHUP), expected[0] || is_ours(SIGHUP), "{ignoring}");
            assert_eq!(is_in(found, SIGTERM), expected[1] || is_ours(SIGTERM), "{ignoring}");
            assert!(is_in(found, SIGINT) || !ignoring.contains("INT"), "{ignoring}");
        }
        // Nobody to ask.
        assert_eq!(outlived("/there/is/no/shell", &[]), 0);
    }
}
