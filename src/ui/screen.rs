//! stderr: lines, and below them the bar while there is one. Whoever reads may be gone, which
//! stops no transfer, as a panicking `eprintln!` would.

use std::io::{self, Write};
use std::mem;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use dialoguer::console::{Term, is_dumb, measure_text_width};
use indicatif::{MultiProgress, ProgressDrawTarget, TermLike};
use unicode_width::UnicodeWidthChar;
use zeroize::Zeroizing;

/// Where a bar is added to be seen, and suspended for whatever else is written.
pub(super) static SCREEN: LazyLock<MultiProgress> = LazyLock::new(|| {
    MultiProgress::with_draw_target(ProgressDrawTarget::term_like(Box::new(Bottom::default())))
});

/// The question at hand, which stays below the lines that come meanwhile.
static QUESTION: Mutex<String> = Mutex::new(String::new());

/// A line for a person, above the bar or the question.
pub(super) fn line(text: &str) {
    SCREEN.suspend(|| {
        let question = QUESTION.lock().unwrap_or_else(PoisonError::into_inner);
        let cleared = if question.is_empty() { "" } else { cleared() };
        write(&format!("{cleared}{text}\n{question}"));
    });
}

/// Puts a question below all lines, in place of the one that is there.
pub(super) fn question(text: &str) {
    SCREEN.suspend(|| {
        let mut question = QUESTION.lock().unwrap_or_else(PoisonError::into_inner);
        let cleared = if question.is_empty() { "" } else { cleared() };
        write(&format!("{cleared}{text}"));
        *question = text.into();
    });
}

/// Makes the question, answered, a line like the others.
pub(super) fn answered(text: &str) {
    SCREEN.suspend(|| {
        let mut question = QUESTION.lock().unwrap_or_else(PoisonError::into_inner);
        write(&format!("{}{text}\n", cleared()));
        question.clear();
    });
}

/// Clears the row of the question, or leaves it behind where the terminal cannot.
fn cleared() -> &'static str {
    if is_capable() { "\r\x1b[J" } else { "\n" }
}

/// The same as `line`, in rows that fit the window: its words stay whole, and further rows stand below the
/// first one's, two columns in.
pub(super) fn paragraph(text: &str) {
    let term = Term::stderr();
    let size = term.is_term().then(|| term.size_checked()).flatten();
    let words = text.trim_start_matches(' ');
    let (indent, _) = text.split_at(text.len() - words.len());
    let rows = folded(words, &format!("{indent}  "), size.map(|(_, columns)| columns.into()));
    SCREEN.suspend(|| {
        let question = QUESTION.lock().unwrap_or_else(PoisonError::into_inner);
        let cleared = if question.is_empty() { "" } else { cleared() };
        write(&format!("{cleared}{indent}{rows}{question}"));
    });
}

/// The same as `line` for one with a secret, which is wiped. stderr keeps nothing.
pub(super) fn secret(mut text: Zeroizing<String>) {
    // There is room for it: growing would leave a copy behind.
    text.push('\n');
    SCREEN.suspend(|| {
        let question = QUESTION.lock().unwrap_or_else(PoisonError::into_inner);
        if !question.is_empty() {
            write(cleared());
        }
        write(&text);
        write(&question);
    });
}

/// In one piece, so that lines of two processes on one terminal stay whole.
fn write(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The bottom row of the window, as indicatif draws into it. The cursor waits in front of the bar:
/// a window that is made narrower folds it into several rows, and all of them are behind the
/// cursor. So there is nowhere to move it to, and everything behind it is cleared.
#[derive(Debug, Default)]
struct Bottom {
    drawing: Mutex<String>,
}

impl Bottom {
    fn drawing(&self) -> MutexGuard<'_, String> {
        self.drawing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TermLike for Bottom {
    /// At least two: indicatif subtracts the columns of a wide character from it.
    fn width(&self) -> u16 {
        u16::try_from(columns()).unwrap_or(u16::MAX).max(2)
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(&format!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.drawing().push_str(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.write_str("\r\x1b[J")
    }

    /// Without the spaces that fill the row up. Where this runs in the background, the bottom row
    /// is the shell's.
    fn flush(&self) -> io::Result<()> {
        let drawing = mem::take(&mut *self.drawing());
        if !drawing.is_empty() && is_in_front(io::stderr()) {
            write(&format!("{}\r", drawing.trim_end_matches(' ')));
        }
        Ok(())
    }
}

/// Words behind an indent that is there already, in lines that fit beside it. A number keeps its
/// unit.
pub(super) fn folded(text: &str, indent: &str, width: Option<usize>) -> String {
    let mut folded = String::new();
    let mut column = indent.len();
    let mut words = text.split(' ').peekable();
    while let Some(word) = words.next() {
        let mut word = word.to_owned();
        if let Some(unit) = words.next_if(|word| is_unit(word)) {
            word.push(' ');
            word.push_str(unit);
        }
        let length = measure_text_width(&word);
        if column > indent.len() && width.is_some_and(|width| column + 1 + length > width) {
            folded.push('\n');
            folded += indent;
            column = indent.len();
        } else if column > indent.len() {
            folded.push(' ');
            column += 1;
        }
        folded += &word;
        column += length;
    }
    folded.push('\n');
    folded
}

fn is_unit(word: &str) -> bool {
    let word = word.trim_end_matches([',', ';', ':', ')']).trim_end_matches("/s");
    matches!(word, "B" | "kB" | "MB" | "GB" | "TB" | "PB" | "EB" | "s")
}

/// Whether the terminal is_capable the few sequences that a bar needs.
pub(super) fn is_capable() -> bool {
    match cfg!(windows) {
        // Asking makes it obey, where it can.
        true => Term::stderr().features().colors_supported(),
        false => !is_dumb(),
    }
}

/// Whether the terminal is this job's to use: one in the background that touched it would be
/// stopped by it.
#[cfg(unix)]
pub(super) fn is_in_front(terminal: impl std::os::fd::AsFd) -> bool {
    let foreground = rustix::termios::tcgetpgrp(terminal);
    foreground.map_or(true, |foreground| foreground == rustix::process::getpgrp())
}

/// There are no jobs.
#[cfg(not(unix))]
pub(super) fn is_in_front<T>(_: T) -> bool {
    true
}

/// Columns of the window.
pub(super) fn columns() -> usize {
    let size = Term::stderr().size_checked();
    size.map_or(80, |(_, columns)| columns.into())
}

/// Rows of the window.
pub(super) fn rows() -> usize {
    let size = Term::stderr().size_checked();
    size.map_or(24, |(rows, _)| rows.into())
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

/// The beginning of a text, as much of it as fits into so many columns.
pub(super) fn start_of(text: &str, columns: usize) -> String {
    const CUT: &str = "...";
    if width(text) <= columns {
        return text.into();
    }
    let mut room = columns.saturating_sub(CUT.len());
    let fits = |c: &char| {
        let left = room.checked_sub(width_of(*c));
        room = left.unwrap_or(0);
        left.is_some()
    };
    let start: String = text.chars().take_while(fits).collect();
    format!("{start}{CUT}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_beside_their_indent() {
        let long = "a word-that-is-longer-than-the-line b";
        for (text, width, expected) in [
            ("one two three", None, "one two three\n"),
            ("one two three", Some(15), "one two three\n"),
            ("one two three", Some(14), "one two\n  three\n"),
            ("日本 日本", Some(11), "日本 日本\n"),
            ("日本 日本", Some(10), "日本\n  日本\n"),
            (long, Some(12), "a\n  word-that-is-longer-than-the-line\n  b\n"),
            ("at 2.9 MB/s, and", Some(11), "at\n  2.9 MB/s,\n  and\n"),
            ("", Some(1), "\n"),
        ] {
            assert_eq!(folded(text, "  ", width), expected, "{text} {width:?}");
        }
    }

    #[test]
    fn texts_are_cut_to_their_start() {
        let cases = [
            ("paused by desktop", 17, "paused by desktop"),
            ("paused by desktop", 16, "paused by des..."),
            ("写真/海辺", 8, "写真/..."),
            ("写真/海辺", 6, "写..."),
            ("paused", 3, "..."),
        ];
        for (text, columns, expected) in cases {
            assert_eq!(start_of(text, columns), expected);
        }
    }

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
