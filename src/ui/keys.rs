//! Keys while a transfer runs: `p` pauses and goes on, `q` stops with the state kept.
//!
//! The terminal gives single keys, unechoed, as long as [`Keys`] lives; signals still work.

#[cfg(unix)]
mod unix {
    use std::io::Read;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Mutex, PoisonError};
    use std::thread;

    use rustix::process::getpgrp;
    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

    use crate::control;
    use crate::ui::Ui;

    /// The terminal as it was before the keys were listened to.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);
    /// One thread reads for the whole process: a read of a terminal cannot be called back.
    static READING: AtomicBool = AtomicBool::new(false);

    /// Listens to keys; gives the terminal back when dropped.
    #[derive(Debug)]
    pub struct Keys(());

    impl Keys {
        /// Listens from now on; nothing where the terminal cannot be set up for it.
        pub fn listen(ui: &Ui) -> Option<Self> {
            let stdin = std::io::stdin();
            // A job in the background that touched the terminal would be stopped by it.
            if tcgetpgrp(&stdin).is_ok_and(|foreground| foreground != getpgrp()) {
                return None;
            }
            let before = tcgetattr(&stdin).ok()?;
            let mut single = before.clone();
            single.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            tcsetattr(&stdin, OptionalActions::Now, &single).ok()?;
            *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
            if !READING.swap(true, Ordering::Relaxed) {
                let ui = ui.clone();
                thread::Builder::new().name("keys".into()).spawn(move || read(&ui)).ok()?;
            }
            Some(Self(()))
        }
    }

    impl Drop for Keys {
        fn drop(&mut self) {
            restore();
        }
    }

    /// Gives the terminal back as it was.
    pub fn restore() {
        let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(before) = before {
            // A terminal that is gone needs no restoring.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
        }
    }

    fn read(ui: &Ui) {
        let mut key = [0];
        while std::io::stdin().read_exact(&mut key).is_ok() {
            match key {
                [b'p' | b'P'] => {
                    let before = control::is_paused();
                    control::toggle_pause();
                    if control::is_paused() != before {
                        ui.paused(!before);
                    }
                }
                [b'q' | b'Q'] => control::stop(),
                _ => {}
            }
        }
    }
}

#[cfg(unix)]
pub use unix::{Keys, restore};

/// Other systems have no keys yet.
#[cfg(not(unix))]
#[derive(Debug)]
pub struct Keys(());

#[cfg(not(unix))]
impl Keys {
    /// Nothing.
    pub fn listen(_: &super::Ui) -> Option<Self> {
        None
    }
}

/// Nothing was changed.
#[cfg(not(unix))]
pub fn restore() {}
