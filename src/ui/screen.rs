//! stderr: lines, and below them the bar while there is one. Whoever reads may be gone, which
//! stops no transfer, as a panicking `eprintln!` would.

use std::env;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dialoguer::console::Term;
use unicode_width::UnicodeWidthChar;

/// The bar as it stands there, and the columns that the window had then.
static BAR: Mutex<Option<(String, usize)>> = Mutex::new(None);

fn bar() -> MutexGuard<'static, Option<(String, usize)>> {
    BAR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In one piece, so that lines of two processes on one terminal stay whole.
fn write(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// What takes the bar away. The cursor stands in front of it: a window that is made narrower folds
/// it into several rows, and all of them are behind the cursor.
fn wipe(drawn_at: usize) -> &'static str {
    if drawn_at == columns() { "\r\x1b[K" } else { "\r\x1b[J" }
}

/// A line for a person, above the bar.
pub(super) fn line(text: &str) {
    match &*bar() {
        None => write(&format!("{text}\n")),
        Some((bar, drawn_at)) => write(&format!("{}{text}\n{bar}\r", wipe(*drawn_at))),
    }
}

/// Shows the bar, in place of the one before.
pub(super) fn draw(text: String, columns: usize) {
    let mut bar = bar();
    let before = bar.as_ref().map_or("", |(_, drawn_at)| wipe(*drawn_at));
    write(&format!("{before}{text}\r"));
    *bar = Some((text, columns));
}

/// Takes the bar away.
pub(super) fn clear() {
    if let Some((_, drawn_at)) = bar().take() {
        write(wipe(drawn_at));
    }
}

/// Leaves the bar as it stands, and the next row to the shell.
pub(super) fn leave() {
    if bar().take().is_some() {
        write("\n");
    }
}

/// Whether the terminal obeys the few sequences that a bar needs.
pub(super) fn obeys() -> bool {
    match cfg!(windows) {
        // Asking makes it obey, where it can.
        true => Term::stderr().features().colors_supported(),
        false => env::var_os("TERM").is_none_or(|name| name != "dumb"),
    }
}

/// Columns of the window.
pub(super) fn columns() -> usize {
    let size = Term::stderr().size_checked();
    size.map_or(80, |(_, columns)| usize::from(columns)).max(1)
}

/// Columns that a text takes at most: terminals do not agree about all of it.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

fn width_of(c: char) -> usize {
    match c {
        // Asks for a picture, which is wider than the character before it.
        '\u{fe0f}' => 1,
        // Pictures, of which some are a letter's width on some terminals.
        '\u{1f000}'..='\u{1faff}' => 2,
        c => c.width().unwrap_or(0),
    }
}

/// The end of a text, as much of it as fits into so many columns.
pub(super) fn end_of(text: &str, columns: usize) -> String {
    const CUT: &str = "...";
    if width(text) <= columns {
        return text.into();
    }
    let mut room = columns.saturating_sub(CUT.len());
    let mut from = text.len();
    for (at, c) in text.char_indices().rev() {
        let Some(left) = room.checked_sub(width_of(c)) else { break };
        room = left;
        // What has no width belongs to the character before it, and goes with it.
        if width_of(c) > 0 && c != '\u{fe0f}' {
            from = at;
        }
    }
    format!("{CUT}{}", text.get(from..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_to_their_end() {
        let cases = [
            ("photos/beach.jpg", 16, "photos/beach.jpg"),
            ("photos/beach.jpg", 12, "...beach.jpg"),
            ("photos/beach.jpg", 3, "..."),
            // Two columns each.
            ("写真/海辺.jpg", 13, "写真/海辺.jpg"),
            ("写真/海辺.jpg", 12, ".../海辺.jpg"),
            ("写真/海辺.jpg", 11, "...海辺.jpg"),
            ("写真/海辺.jpg", 10, "...辺.jpg"),
            ("写真/海辺.jpg", 9, "...辺.jpg"),
            ("写真/海辺.jpg", 8, "....jpg"),
            ("🏖🏖🏖", 5, "...🏖"),
            // A heart that asks for its picture, and letters with an accent of their own.
            ("a\u{2764}\u{fe0f}", 3, "a\u{2764}\u{fe0f}"),
            ("aa\u{2764}\u{fe0f}\u{2764}\u{fe0f}", 5, "...\u{2764}\u{fe0f}"),
            ("e\u{301}e\u{301}e\u{301}e\u{301}", 4, "e\u{301}e\u{301}e\u{301}e\u{301}"),
            ("e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}", 4, "...e\u{301}"),
        ];
        for (text, columns, expected) in cases {
            let cut = end_of(text, columns);
            assert_eq!(cut, expected);
            assert!(width(&cut) <= columns, "{cut}");
        }
    }
}
