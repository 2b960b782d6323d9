//! Keys while a transfer runs: `p` pauses and goes on, `q` stops with the state kept. And those that
//! answer a question while something else goes on.
//!
//! The terminal gives single keys, unechoed, as long as [`Keys`] or [`Single`] lives; signals still work.

use super::{Ui, signals};
use crate::control;

/// Enter, as a question gets it.
pub const ENTER: u8 = b'\r';
/// Escape.
pub const ESCAPE: u8 = 0x1b;

/// What came of a look at the keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pressed {
    /// This key.
    Key(u8),
    /// None yet. The shell may have had the terminal in between, and have written on it.
    Nothing,
    /// None ever: the terminal is gone.
    Gone,
}

/// Does what a key means while a transfer runs.
fn heed(key: u8, ui: &Ui) {
    match key {
        b'p' | b'P' => {
            let before = control::is_paused();
            control::toggle_pause();
            if control::is_paused() != before {
                ui.paused(!before);
            }
        }
        b'q' | b'Q' => {
            control::quit();
            signals::grace(ui);
        }
        _ => {}
    }
}

#[cfg(unix)]
mod unix {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;
    use rustix::process::{Signal, kill_current_process_group};
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

    use super::{ESCAPE, Pressed, heed};
    use crate::control::SLICE;
    use crate::ui::Ui;
    use crate::ui::screen::{SCREEN, is_in_front};
    use crate::ui::terminal::{keep, kept, restore, take, take_again};

    const CTRL_Z: u8 = 0x1a;
    const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    /// How long a key is waited for before somebody looks whose terminal it is: 0.1 s.
    const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

    /// One thread reads for the whole process: a read of a terminal cannot be called back.
    static READING: AtomicBool = AtomicBool::new(false);

    /// Listens to keys; gives the terminal back when dropped.
    #[derive(Debug)]
    pub struct Keys(());

    impl Keys {
        /// Listens from now on; nothing where the terminal cannot be set up for it.
        pub fn listen(ui: &Ui) -> Option<Self> {
            if !is_in_front(std::io::stdin()) {
                return None;
            }
            let before = tcgetattr(std::io::stdin()).ok()?;
            take(&before)?;
            keep(before);
            if !READING.swap(true, Ordering::Relaxed) {
                let ui = ui.clone();
                thread::Builder::new().name("keys".into()).spawn(move || read(&ui)).ok()?;
            }
            Some(Self(()))
        }
    }

    /// Gives single keys to a question; gives the terminal back when dropped.
    #[derive(Debug)]
    pub struct Single(());

    impl Single {
        /// Takes the terminal; nothing where it cannot be set up for it.
        pub fn take() -> Option<Self> {
            let before = tcgetattr(std::io::stdin()).ok()?;
            if is_in_front(std::io::stdin()) {
                take(&before)?;
            }
            keep(before);
            Some(Self(()))
        }

        /// Waits a moment for a key.
        pub fn press(&self) -> Pressed {
            let stdin = std::io::stdin();
            if !is_in_front(&stdin) {
                thread::sleep(SLICE);
                return Pressed::Nothing;
            }
            let Ok(now) = tcgetattr(&stdin) else { return Pressed::Gone };
            if now.local_modes.contains(LocalModes::ICANON) {
                // The shell had it in between.
                take(&now);
            }
            if !is_ready(&PAUSE) {
                return Pressed::Nothing;
            }
            match read_key() {
                None => Pressed::Gone,
                Some(CTRL_Z) => {
                    suspend();
                    Pressed::Nothing
                }
                // An arrow and the like: what belongs to it is no answer.
                Some(ESCAPE) if is_ready(&NO_TIME) => {
                    while is_ready(&NO_TIME) && read_key().is_some() {}
                    Pressed::Nothing
                }
                Some(key) => Pressed::Key(key),
            }
        }
    }

    impl Drop for Single {
        fn drop(&mut self) {
            restore();
        }
    }

    /// Whether a key is there within this time.
    fn is_ready(limit: &Timespec) -> bool {
        let stdin = std::io::stdin();
        let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
        poll(&mut ready, Some(limit)).is_ok_and(|count| count > 0)
    }

    /// The next key, past every buffer; nothing when the terminal is gone.
    fn read_key() -> Option<u8> {
        let mut key = [0];
        match rustix::io::read(std::io::stdin(), &mut key) {
            Ok(1) => key.first().copied(),
            _ => None,
        }
    }

    impl Drop for Keys {
        fn drop(&mut self) {
            restore();
        }
    }

    /// Waits for a key, however often the job is stopped and goes on meanwhile. Nothing when the
    /// terminal is gone.
    fn key() -> Option<[u8; 1]> {
        let stdin = std::io::stdin();
        loop {
            // A question has the keyboard for itself.
            if kept().is_none() || !is_in_front(&stdin) {
                thread::sleep(SLICE);
                continue;
            }
            take_again()?;
            let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
            match poll(&mut ready, Some(&PAUSE)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) if is_in_front(&stdin) => {
                    // Not through the buffer of the standard library, which would take the next key
                    // along, where nobody waits for it.
                    let mut key = [0];
                    return rustix::io::read(&stdin, &mut key).ok().filter(|n| *n > 0).map(|_| key);
                }
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// Stops the whole job, as Ctrl-Z does, with the terminal as the shell had it.
    fn suspend() {
        if let Some(before) = kept() {
            SCREEN.suspend(|| {
                let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
                let _ = kill_current_process_group(Signal::TSTP);
                // It may meet another thread, a moment from now: until then this one must not
                // take the terminal back.
                thread::sleep(SLICE);
            });
        }
    }

    fn read(ui: &Ui) {
        while let Some(key) = key() {
            match key {
                [CTRL_Z] => suspend(),
                [key] => heed(key, ui),
            }
        }
    }
}

#[cfg(unix)]
pub use unix::{Keys, Single};

/// Windows' console tells of every key that goes down, whatever else it is set to: nothing is changed, and
/// nothing needs to be given back.
#[cfg(windows)]
mod windows {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

    use super::{ENTER, ESCAPE, Pressed, heed};
    use crate::control::SLICE;
    use crate::ui::Ui;

    /// One thread reads for the whole process, as long as somebody listens.
    static READING: AtomicBool = AtomicBool::new(false);
    static LISTENING: AtomicBool = AtomicBool::new(false);

    /// Listens to keys, until it is dropped.
    #[derive(Debug)]
    pub struct Keys(());

    impl Keys {
        /// Listens from now on.
        pub fn listen(ui: &Ui) -> Option<Self> {
            if !READING.swap(true, Ordering::Relaxed) {
                let ui = ui.clone();
                thread::Builder::new().name("keys".into()).spawn(move || read(&ui)).ok()?;
            }
            LISTENING.store(true, Ordering::Relaxed);
            Some(Self(()))
        }
    }

    impl Drop for Keys {
        fn drop(&mut self) {
            LISTENING.store(false, Ordering::Relaxed);
        }
    }

    /// Gives single keys to a question.
    #[derive(Debug)]
    pub struct Single(());

    impl Single {
        /// The keyboard.
        pub fn take() -> Option<Self> {
            Some(Self(()))
        }

        /// Waits a moment for a key.
        pub fn press(&self) -> Pressed {
            press()
        }
    }

    fn press() -> Pressed {
        let event = match event::poll(SLICE) {
            Ok(true) => event::read(),
            Ok(false) => return Pressed::Nothing,
            Err(_) => return Pressed::Gone,
        };
        match event {
            Ok(Event::Key(key)) if key.kind == KeyEventKind::Press => {
                meaning(key.code, key.modifiers)
            }
            Ok(_) => Pressed::Nothing,
            Err(_) => Pressed::Gone,
        }
    }

    /// What Unix' terminals would give for it, of what means something here.
    fn meaning(code: KeyCode, modifiers: KeyModifiers) -> Pressed {
        match code {
            _ if modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => {
                Pressed::Nothing
            }
            KeyCode::Enter => Pressed::Key(ENTER),
            KeyCode::Esc => Pressed::Key(ESCAPE),
            KeyCode::Char(key) => u8::try_from(key).map_or(Pressed::Nothing, Pressed::Key),
            _ => Pressed::Nothing,
        }
    }

    fn read(ui: &Ui) {
        loop {
            // A question has the keyboard for itself.
            if !LISTENING.load(Ordering::Relaxed) {
                thread::sleep(SLICE);
                continue;
            }
            match press() {
                Pressed::Key(key) => heed(key, ui),
                Pressed::Nothing => {}
                Pressed::Gone => return,
            }
        }
    }
}

#[cfg(windows)]
pub use windows::{Keys, Single};
