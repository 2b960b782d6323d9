//! `--log-file`: everything that could be said, with the time, for whoever looks later.
//!
//! Never a token, a ticket or a key, as a log is kept and passed on.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::line;
use crate::error::{Error, Result, reason, shown, shown_os};

/// An open log; nothing once it cannot be written to.
#[derive(Debug)]
pub(super) struct Log(Mutex<Option<File>>);

impl Log {
    /// Opens a file to append to; a new one can be read by its owner only.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::error::Exit::Usage), naming the file.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(|error| {
            let path = shown_os(path);
            let message = format!("cannot open the log \"{}\": {}", path, reason(&error));
            Error::usage(message).hint("--log-file names a file in a folder that exists")
        })?;
        Ok(Self(Mutex::new(Some(file))))
    }

    /// Appends a line, with the time before it.
    pub(super) fn line(&self, text: &str) {
        append(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), text);
    }

    /// The same, unless another thread is stuck in a write.
    pub(super) fn cut_short(&self, text: &str) {
        if let Ok(mut log) = self.0.try_lock() {
            append(&mut log, text);
        }
    }
}

fn append(log: &mut Option<File>, text: &str) {
    let Some(file) = log else { return };
    // humantime knows no time before 1970; a clock that stands there is wrong anyway.
    let now = humantime::format_rfc3339_millis(SystemTime::now().max(SystemTime::UNIX_EPOCH));
    // In one piece: a second process may write to the same log. What is shown is escaped already;
    // whatever is not must not forge a line.
    if let Err(error) = file.write_all(format!("{now} {}\n", shown(text)).as_bytes()) {
        *log = None;
        line(&format!("warning: cannot write to the log: {}; going on", reason(&error)));
    }
}
