//! What the files have in common that make services of commands: where the program is, and how words stand there.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result, reason, shown, shown_os};

/// Where this program is.
///
/// # Errors
/// The system does not tell.
pub fn program() -> Result<PathBuf> {
    std::env::current_exe().map_err(|error| {
        Error::failure(format!("where this program is cannot be told: {}", reason(&error)))
    })
}

/// A path as text.
///
/// # Errors
/// It has characters that such a file cannot have.
pub fn plain(path: &Path) -> Result<String> {
    let text = path.to_str().ok_or_else(|| odd(&shown_os(path)))?;
    is_plain(text)
}

/// A word as it is.
///
/// # Errors
/// It has characters that such a file cannot have.
pub fn is_plain(text: &str) -> Result<String> {
    // The last is what stands for bytes that are no text.
    if text.contains(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER) {
        return Err(odd(&shown(text)));
    }
    Ok(text.to_owned())
}

fn odd(text: &str) -> Error {
    Error::usage(format!("\"{text}\" has characters that no such file can have"))
        .hint("rename it, or write the file by hand")
}

/// A word as systemd reads it (systemd.service(5), systemd.syntax(7)).
pub fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%"))
}
