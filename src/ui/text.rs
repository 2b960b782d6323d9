//! A text that the other side sent, on its way to standard output.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use super::json::Json;
use crate::bounds::MAX_TEXT;
use crate::error::shown;

/// Kept until it is whole; shown when it is flushed.
pub struct Text {
    text: Vec<u8>,
    json: Option<Arc<Json>>,
}

impl Text {
    pub(super) fn new(json: Option<Arc<Json>>) -> Self {
        Self { text: Vec::new(), json }
    }
}

impl Write for Text {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        if self.text.len() + content.len() > MAX_TEXT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(content);
        Ok(content.len())
    }

    /// Escaped on a terminal, raw in a pipe, an event for a program.
    fn flush(&mut self) -> io::Result<()> {
        let mut stdout = io::stdout();
        if let Some(json) = &self.json {
            json.text(&String::from_utf8_lossy(&self.text));
        } else if stdout.is_terminal() {
            for line in String::from_utf8_lossy(&self.text).lines() {
                let line: Vec<_> = line.split('\t').map(shown).collect();
                writeln!(stdout, "{}", line.join("\t"))?;
            }
        } else {
            stdout.write_all(&self.text)?;
        }
        stdout.flush()
    }
}
