//! What the other side sent, on its way to standard output: a text, which is shown, or data, which
//! is not for terminals.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::Arc;

use super::json::Json;
use crate::bounds::MAX_TEXT;
use crate::error::{bytes, shown};
use crate::standard::Out;

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
            let most = bytes(MAX_TEXT as u64);
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                format!("a text may have {most}, and this has more"),
            ));
        }
        self.text.extend_from_slice(content);
        Ok(content.len())
    }

    /// Escaped on a terminal, raw in a pipe, an event for a program.
    fn flush(&mut self) -> io::Result<()> {
        let mut stdout = Out::new();
        if let Some(json) = &self.json {
            if !json.text(&String::from_utf8_lossy(&self.text)) {
                return Err(io::Error::other("standard output takes no more"));
            }
        } else if io::stdout().is_terminal() {
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

/// Content as it comes. What is no plain text does not get onto a terminal, which it could steer.
pub struct Data {
    stdout: Out,
    check: Option<Plain>,
}

impl Data {
    pub(super) fn new() -> Self {
        let stdout = Out::new();
        let check = io::stdout().is_terminal().then(Plain::default);
        Self { stdout, check }
    }
}

impl Write for Data {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        if self.check.as_mut().is_some_and(|check| !check.takes(content)) {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "it is no plain text, and standard output is a terminal",
            ));
        }
        // All of it has been looked at.
        self.stdout.write_all(content)?;
        Ok(content.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }
}

/// Tells plain text from anything else, piece by piece: UTF-8, and of control characters only those
/// that end a line or are a tab.
#[derive(Default)]
struct Plain {
    /// The beginning of a character whose end is in the next piece; three bytes at most.
    begun: Vec<u8>,
}

impl Plain {
    /// Whether the piece is plain so far; if not, nothing more is to be asked.
    fn takes(&mut self, piece: &[u8]) -> bool {
        let mut whole = std::mem::take(&mut self.begun);
        whole.extend_from_slice(piece);
        let (text, rest) = match std::str::from_utf8(&whole) {
            Ok(text) => (text, &[][..]),
            // The last character may go on.
            Err(error) if error.error_len().is_none() => {
                let (text, rest) = whole.split_at(error.valid_up_to());
                (std::str::from_utf8(text).unwrap_or_default(), rest)
            }
            Err(_) => return false,
        };
        self.begun = rest.to_vec();
        text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_text_is_for_a_terminal() {
        let rows: [(&str, &[&[u8]], bool); 10] = [
            ("nothing", &[b"", b""], true),
            ("lines", &[b"one\r\n\ttwo\n"], true),
            ("a character in pieces", &[b"\xe6\x97", b"\xa5", b"\n"], true),
            ("a character in three pieces", &[b"\xf0", b"\x9f\x8f", b"\x96"], true),
            ("no UTF-8", &[b"ok\n", b"\xff"], false),
            ("half a character, then another", &[b"\xe6", b"x"], false),
            ("a zero", &[b"ok\n", b"o\0k"], false),
            ("an escape sequence", &[b"\x1b[2J"], false),
            ("one of eight bits, in pieces", &[b"\xc2", b"\x9b31m"], false),
            ("delete", &[b"\x7f"], false),
        ];
        for (name, pieces, expected) in rows {
            let mut plain = Plain::default();
            assert_eq!(pieces.iter().all(|piece| plain.takes(piece)), expected, "{name}");
        }
    }
}
