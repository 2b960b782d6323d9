//! The terminal's way to read: single keys while somebody listens to them, and back.

#[cfg(unix)]
mod unix {
    use std::sync::{Mutex, PoisonError};

    use rustix::termios::{
        LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
    };

    use crate::ui::screen::is_in_front;

    /// What stands for no key (`_POSIX_VDISABLE`): 0 would be Ctrl-@ on other systems than Linux.
    const NO_KEY: u8 = if cfg!(any(target_os = "linux", target_os = "android")) { 0 } else { 0xff };

    /// The terminal as it was before the keys were listened to.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    /// Remembers how it was, to be restored.
    pub fn keep(before: Termios) {
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
    }

    /// How it was, while somebody listens.
    pub fn kept() -> Option<Termios> {
        BEFORE.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes single keys again, if the shell had the terminal in between. Nothing when it is gone.
    pub fn take_again() -> Option<()> {
        // Under the lock: whoever restores it meanwhile comes after this.
        match &*BEFORE.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(before) if is_cooked()? => take(before),
            _ => Some(()),
        }
    }

    fn is_cooked() -> Option<bool> {
        let now = tcgetattr(std::io::stdin()).ok()?;
        Some(now.local_modes.contains(LocalModes::ICANON))
    }

    /// Gives the terminal back as it was.
    pub fn restore() {
        let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(before) = before.filter(|_| is_in_front(std::io::stdin())) {
            // A terminal that is gone needs no restoring.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
        }
    }

    /// Single keys. Ctrl-Z is one of them, as the terminal is to be given back before this stops.
    pub fn take(before: &Termios) -> Option<()> {
        let mut single = before.clone();
        single.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        single.special_codes[SpecialCodeIndex::VSUSP] = NO_KEY;
        // Ctrl-Y there, which stops whoever reads the next key.
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        {
            single.special_codes[SpecialCodeIndex::VDSUSP] = NO_KEY;
        }
        tcsetattr(std::io::stdin(), OptionalActions::Now, &single).ok()
    }
}

#[cfg(unix)]
pub use unix::{keep, kept, restore, take, take_again};

/// Nothing was changed.
#[cfg(not(unix))]
pub fn restore() {}
