//! The only place that prints or asks.
//!
//! stdout carries what a script would want, the ticket's command line; everything a person
//! reads goes to stderr. What comes from the other side or from the disk is escaped.

mod choice;
mod findings;
mod keys;
mod progress;
mod prompt;
mod signals;

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

pub use self::findings::{Finding, Mark};
pub use self::progress::Progress;
pub use self::prompt::Choice;
pub use self::signals::watch as watch_signals;

use crate::bounds::MAX_TEXT;
use crate::error::{Error, Result, bytes, reason, shown};
use crate::event::Summary;
use crate::files::manifest::{Kind, Manifest, Totals};
use crate::files::path::RelPath;
use crate::protocol::pages::Fault;
use crate::ticket::Ticket;

/// How much is said, and whether somebody is there to answer.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    quiet: bool,
    verbose: u8,
    asks: bool,
    draws: bool,
}

/// A text on its way to standard output.
pub struct Text(Vec<u8>);

impl Write for Text {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        if self.0.len() + content.len() > MAX_TEXT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(content);
        Ok(content.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut stdout = io::stdout();
        if stdout.is_terminal() {
            let text = String::from_utf8_lossy(&self.0);
            for line in text.lines() {
                let line: Vec<_> = line.split('\t').map(shown).collect();
                writeln!(stdout, "{}", line.join("\t"))?;
            }
        } else {
            stdout.write_all(&self.0)?;
        }
        stdout.flush()
    }
}

/// Lines of a list that are shown before the rest is only counted.
const SHOWN: usize = 10;

impl Ui {
    /// Asks only when a person sits at both ends of the terminal and has not said `--yes`.
    pub fn new(quiet: bool, verbose: u8, yes: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        Self {
            quiet,
            verbose,
            asks: terminal && io::stdin().is_terminal() && !yes,
            draws: terminal && !quiet,
        }
    }

    /// Whether questions may be asked.
    pub fn asks(&self) -> bool {
        self.asks
    }

    /// Something good to know; `-q` hides it.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            line(text);
        }
    }

    /// Something only the curious want to know.
    pub fn detail(&self, text: &str) {
        if self.verbose > 0 {
            line(text);
        }
    }

    /// Something that is not as it should be, but goes on.
    pub fn warn(&self, text: &str) {
        line(&format!("warning: {text}"));
    }

    /// The last thing that is said when it went wrong.
    pub fn error(&self, error: &Error) {
        line(&format!("error: {error}"));
        if let Some(hint) = &error.hint {
            line(&format!("  {hint}"));
        }
    }

    /// What was asked for, to stdout.
    pub fn print(&self, text: &str) -> Result<()> {
        let mut stdout = io::stdout();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        match written {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|error| {
                Error::failure(format!("cannot write to stdout: {}", reason(&error)))
            }),
        }
    }

    /// What to type on the other machine: the one line on stdout.
    pub fn ticket(&self, ticket: &Ticket) {
        self.note("on the other machine, run:");
        let mut stdout = io::stdout();
        // Nobody may be reading; the offer stands all the same.
        let _ = writeln!(stdout, "transfer receive {ticket}").and_then(|()| stdout.flush());
        self.note("waiting for the receiver; Ctrl-C stops");
    }

    /// What this side is about to send.
    pub fn offering(&self, manifest: &Manifest) {
        self.note(&format!("sending {}", summary_of(manifest)));
    }

    /// What the other side offers.
    pub fn offered(&self, manifest: &Manifest) {
        self.note(&format!("receiving {}", summary_of(manifest)));
    }

    /// What was found and cannot be sent.
    pub fn unsent<'a>(&self, unsent: impl ExactSizeIterator<Item = (&'a str, &'a str)>) {
        let count = unsent.len();
        if count > 0 {
            self.warn(&format!("cannot be sent: {}", counted(count as u64, "thing", "things")));
            let lines = unsent.map(|(name, why)| format!("{}: {}", shown(name), shown(why)));
            self.list(lines, count);
        }
    }

    /// Where a text is written that the other side sent: shown when it is whole, escaped on a
    /// terminal, and raw in a pipe.
    pub fn text(&self) -> Text {
        Text(Vec::new())
    }

    /// A new progress bar, or one that stays silent.
    pub fn progress(&self, verb: &'static str) -> Progress {
        Progress::new(verb, self.draws, self.verbose > 1, self.asks)
    }

    /// How sending ended.
    pub fn sent(&self, summary: &Summary) {
        self.note(&self.outcome("sent", summary, ""));
        self.problems(summary);
    }

    /// How receiving ended.
    pub fn received(&self, summary: &Summary, output: &Path) {
        let output = output.to_string_lossy();
        self.note(&self.outcome("received", summary, &format!(" into {}", shown(&output))));
        if !summary.renamed.is_empty() {
            let count = summary.renamed.len();
            self.note(&format!(
                "{} under another name:",
                counted(count as u64, "entry", "entries")
            ));
            self.list(summary.renamed.iter().map(|(from, to)| format!("{from} -> {to}")), count);
        }
        self.problems(summary);
    }

    fn outcome(&self, verb: &str, summary: &Summary, place: &str) -> String {
        let mut line = format!("{verb} {}{place}", counted(summary.files, "file", "files"));
        if summary.already > 0 {
            let _ = write!(line, " (of them here already: {})", summary.already);
        }
        let elapsed = summary.elapsed.as_secs_f64();
        let _ = write!(line, ": {} in {elapsed:.1} s", bytes(summary.bytes));
        if summary.bytes > 0 {
            let _ = write!(line, ", {}/s", bytes(rate(summary.bytes, elapsed)));
        }
        line
    }

    fn problems(&self, summary: &Summary) {
        let kept = |fault: Fault| fault == Fault::Kept;
        let (kept, failed): (Vec<_>, Vec<_>) =
            summary.failed.iter().partition(|(_, fault)| kept(*fault));
        if !kept.is_empty() {
            let count = counted(kept.len() as u64, "entry was", "entries were");
            self.note(&format!("{count} not wanted, as something has the name already"));
        }
        if !failed.is_empty() {
            let count = failed.len();
            self.warn(&format!("{} did not arrive:", counted(count as u64, "entry", "entries")));
            self.list(
                failed.iter().map(|(path, fault)| format!("{path}: {}", fault.words())),
                count,
            );
        }
        if summary.unsent > 0 {
            let count = counted(summary.unsent, "thing", "things");
            self.warn(&format!("{count} could not be sent, as listed above"));
        }
    }

    fn list(&self, lines: impl Iterator<Item = String>, count: usize) {
        let limit = if self.verbose > 0 { usize::MAX } else { SHOWN };
        for item in lines.take(limit) {
            line(&format!("  {item}"));
        }
        if let Some(more) = count.checked_sub(limit).filter(|more| *more > 0) {
            line(&format!("  and {more} more (-v lists all)"));
        }
    }
}

/// A line for a person, who may be gone: that stops no transfer, as a panicking `eprintln!` would.
/// In one piece, so that lines of two processes on one terminal stay whole.
fn line(text: &str) {
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// `3 files, 2 folders, 12.3 MB: photos, notes.txt`.
fn summary_of(manifest: &Manifest) -> String {
    let Totals { files, folders, links, bytes: size } = manifest.totals();
    let mut text = counted(files, "file", "files");
    for (count, one, many) in [(folders, "folder", "folders"), (links, "link", "links")] {
        if count > 0 {
            let _ = write!(text, ", {}", counted(count, one, many));
        }
    }
    let _ = write!(text, ", {}:", bytes(size));
    let mut tops = manifest.tops();
    for (number, top) in tops.by_ref().take(3).enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let slash = if top.kind == Kind::Folder { "/" } else { "" };
        let _ = write!(text, "{comma} {}{slash}", top.path);
    }
    let more = tops.count();
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text
}

/// `1 file`, `2 files`, `19,327 files`.
fn counted(count: u64, one: &str, many: &str) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text} {}", if count == 1 { one } else { many })
}

/// Bytes a second; a moment too short to measure counts as a millisecond.
fn rate(bytes: u64, seconds: f64) -> u64 {
    (bytes as f64 / seconds.max(0.001)) as u64
}

/// The names of developer folders for a question: a few, then a count.
fn folder_names(folders: &[RelPath]) -> String {
    let names: Vec<String> = folders.iter().take(3).map(RelPath::to_string).collect();
    match folders.len().checked_sub(names.len()).filter(|more| *more > 0) {
        Some(more) => format!("{} and {more} more", names.join(", ")),
        None => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::manifest::Entry;

    #[test]
    fn counts_read_well() {
        let cases = [(0, "0 files"), (1, "1 file"), (999, "999 files"), (19_327, "19,327 files")];
        for (count, expected) in cases {
            assert_eq!(counted(count, "file", "files"), expected);
        }
    }

    #[test]
    fn an_offer_is_summed_up_and_cannot_steer_the_terminal() {
        let mut manifest = Manifest::default();
        for (path, kind) in [
            ("a\u{202e}b", Kind::Folder),
            ("c", Kind::File(1_500_000)),
            ("d", Kind::File(1)),
            ("e", Kind::Link("d".into())),
        ] {
            let path = RelPath::parse(path).unwrap();
            manifest.push(Entry { path, kind, mode: 0o644, mtime: 0 }).unwrap();
        }
        let expected = "2 files, 1 folder, 1 link, 1.5 MB: a\\u{202e}b/, c, d and 1 more";
        assert_eq!(summary_of(&manifest), expected);
    }
}
