//! A terminal: what a program shows there, and keys for it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::process::{LIMIT, Process};

/// A terminal that nobody looks at but the test.
pub struct Terminal {
    keyboard: File,
    /// The side that programs have.
    line: File,
    screen: Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

impl Terminal {
    /// A new one.
    pub fn new() -> Result<Self> {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&controller)?;
        unlockpt(&controller)?;
        let name = ptsname(&controller, Vec::new())?;
        let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let line = File::options().read(true).write(true).open(path)?;
        let keyboard = File::from(controller);
        let mut output = keyboard.try_clone()?;
        let (sender, screen) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Fails when no program has the line any more; macOS says that it is the end.
            while let Ok(read @ 1..) = output.read(&mut bytes)
                && let Some(read) = bytes.get(..read)
                && sender.send(read.to_vec()).is_ok()
            {}
        });
        Ok(Self { keyboard, line, screen, seen: Vec::new() })
    }

    /// The line, for one of a program's streams.
    pub fn line(&self) -> Result<Stdio> {
        Ok(self.line.try_clone()?.into())
    }

    /// Starts a command that has this terminal, besides for its stdout.
    pub fn start(&self, mut command: Command) -> Result<Process> {
        command.stdin(self.line()?).stdout(Stdio::piped()).stderr(self.line()?);
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        Process::start_as_it_is(command)
    }

    /// Changes the size of the window. Whoever draws in it has to see for himself: a signal
    /// goes to the job that has the terminal as its own.
    pub fn resize(&self, columns: u16) -> Result<()> {
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(&self.keyboard, size)?)
    }

    /// Presses a key.
    pub fn press(&mut self, key: u8) -> Result<()> {
        self.enter(&[key])
    }

    /// Presses keys.
    pub fn enter(&mut self, keys: &[u8]) -> Result<()> {
        Ok(self.keyboard.write_all(keys)?)
    }

    /// Presses keys once a question reads them. Before that, Ctrl-C would be a signal, which this
    /// terminal has nobody to send to.
    pub fn answer(&mut self, keys: &[u8]) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while tcgetattr(&self.line)?.local_modes.contains(LocalModes::ICANON) {
            ensure!(Instant::now() < deadline, "nobody reads keys");
            thread::sleep(Duration::from_millis(2));
        }
        self.enter(keys)
    }

    /// Whether it gives whole lines, as a shell finds it.
    pub fn is_canonical(&self) -> Result<bool> {
        Ok(tcgetattr(&self.line)?.local_modes.contains(LocalModes::ICANON))
    }

    /// Waits until this is shown, behind everything that was waited for before.
    pub fn wait_for(&mut self, text: &str) -> Result<String> {
        loop {
            let seen = String::from_utf8_lossy(&self.seen).into_owned();
            if let Some((before, after)) = seen.split_once(text) {
                self.seen = after.into();
                return Ok(format!("{before}{text}"));
            }
            let more = self.screen.recv_timeout(LIMIT).context(format!("{text:?}: {seen:?}"))?;
            self.seen.extend(more);
        }
    }

    /// Waits until one of these is shown; which.
    pub fn wait_for_one(&mut self, texts: &[&str]) -> Result<usize> {
        loop {
            let seen = String::from_utf8_lossy(&self.seen).into_owned();
            let found = texts
                .iter()
                .enumerate()
                .filter_map(|(which, text)| seen.find(text).map(|at| (at, at + text.len(), which)));
            if let Some((_, end, which)) = found.min() {
                self.seen = seen.as_bytes().get(end..).unwrap_or_default().into();
                return Ok(which);
            }
            let more = self.screen.recv_timeout(LIMIT).context(format!("{texts:?}: {seen:?}"))?;
            self.seen.extend(more);
        }
    }

    /// All that was written, once every program is gone.
    pub fn read(self) -> Result<String> {
        drop(self.line);
        let mut all = self.seen;
        while let Ok(more) = self.screen.recv_timeout(LIMIT) {
            all.extend(more);
        }
        Ok(String::from_utf8_lossy(&all).into_owned())
    }
}

/// A text without its colours and weights.
pub fn plain(text: &str) -> String {
    let mut rest = text.split("\u{1b}[");
    let mut plain = rest.next().unwrap_or_default().to_owned();
    for part in rest {
        match part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').strip_prefix('m') {
            Some(text) => plain.push_str(text),
            None => plain.push_str(&format!("\u{1b}[{part}")),
        }
    }
    plain
}
