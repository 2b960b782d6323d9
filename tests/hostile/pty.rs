//! The program at a terminal, where it asks, draws a bar and shows names as it goes.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, ensure};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::names::wait_for;

/// A process that has a terminal for its input and both outputs; killed when dropped.
pub struct AtTerminal {
    child: Child,
    keyboard: File,
    shown: Arc<Mutex<Vec<u8>>>,
    reading: Option<JoinHandle<()>>,
}

impl AtTerminal {
    pub fn start(mut command: Command) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = ptsname(&master, Vec::new())?.into_string()?;
        let no_control = i32::try_from(OFlags::NOCTTY.bits())?;
        let slave =
            OpenOptions::new().read(true).write(true).custom_flags(no_control).open(path)?;
        // Of this side: macOS has none of the other.
        tcsetwinsize(&slave, Winsize { ws_row: 50, ws_col: 250, ws_xpixel: 0, ws_ypixel: 0 })?;
        command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
        let child = command.env("TERM", "xterm-256color").spawn()?;
        // The command holds the terminal open: without it the end of the child is the end.
        drop(command);
        let keyboard = File::from(master);
        let (mut screen, shown) = (keyboard.try_clone()?, Arc::<Mutex<Vec<u8>>>::default());
        let seen = Arc::clone(&shown);
        let reading = thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error is the end: nobody holds the other side any more.
            while let Ok(read @ 1..) = screen.read(&mut bytes) {
                seen.lock().unwrap().extend(&bytes[..read]);
            }
        });
        Ok(Self { child, keyboard, shown, reading: Some(reading) })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that was shown so far.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until this is shown.
    pub fn wait_for(&self, text: &str) -> Result<()> {
        wait_for(|| self.shown().contains(text))
            .with_context(|| format!("{text:?}: {:?}", self.shown()))
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.keyboard.write_all(keys.as_bytes())?)
    }

    /// Waits for the end: all that was shown, if the exit code is this.
    pub fn end(mut self, code: i32) -> Result<String> {
        // However the process hangs, it does not hang for ever.
        wait_for(|| self.reading.as_ref().is_none_or(JoinHandle::is_finished))?;
        let (ended, shown) = (self.child.wait()?.code(), self.shown());
        ensure!(ended == Some(code), "ended with {ended:?}: {shown:?}");
        Ok(shown)
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
