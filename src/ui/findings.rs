//! What `transfer doctor` finds. This is what it was asked for, so it goes to stdout.

use std::fmt::Write as _;

use dialoguer::console::{Term, measure_text_width, style};

use super::{Ui, counted};

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// As it should be.
    Fine,
    /// Worth a word, but a transfer can work.
    Warning,
    /// In the way of a transfer.
    Problem,
    /// Not looked at.
    Skipped,
}

/// One line of the doctor's, and what to do about it. Safe to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it went.
    pub mark: Mark,
    /// What was found.
    pub what: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Finding {
    fn new(mark: Mark, what: impl Into<String>) -> Self {
        Self { mark, what: what.into(), advice: None }
    }

    /// As it should be.
    pub fn fine(what: impl Into<String>) -> Self {
        Self::new(Mark::Fine, what)
    }

    /// Worth a word.
    pub fn warning(what: impl Into<String>) -> Self {
        Self::new(Mark::Warning, what)
    }

    /// In the way of a transfer.
    pub fn problem(what: impl Into<String>) -> Self {
        Self::new(Mark::Problem, what)
    }

    /// Not looked at, and why.
    pub fn skipped(why: impl Into<String>) -> Self {
        Self::new(Mark::Skipped, why)
    }

    /// Adds what to do about it.
    pub fn advice(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

/// Before what was found: a mark of up to 7 letters, with room around it.
const INDENT: &str = "           ";

impl Ui {
    /// The first line: which program this is, for those who are shown the rest.
    pub fn visit(&self) {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        self.put(&format!("transfer {} on {os} {arch}\n", env!("CARGO_PKG_VERSION")));
    }

    /// What was found about a topic; an empty one goes on with the topic before.
    pub fn findings(&self, topic: &str, findings: &[Finding]) {
        let mut text = String::new();
        if !topic.is_empty() {
            let _ = writeln!(text, "{}", style(topic).bold());
        }
        for finding in findings {
            let mark = match finding.mark {
                Mark::Fine => style("ok").green(),
                Mark::Warning => style("warning").yellow(),
                Mark::Problem => style("problem").red(),
                Mark::Skipped => style("skipped").dim(),
            };
            let _ = write!(text, "  {mark:<7}  ");
            text += &folded(&finding.what, INDENT, width());
            if let Some(advice) = &finding.advice {
                let _ = write!(text, "{INDENT}  ");
                text += &folded(advice, &format!("{INDENT}  "), width());
            }
        }
        self.put(&text);
    }

    /// Nobody may be reading; the exit code says enough.
    fn put(&self, text: &str) {
        let _ = self.print(text);
    }

    /// The last line.
    pub fn diagnosis(&self, problems: u32, warnings: u32) {
        let problems = match problems {
            0 => "no problems".into(),
            problems => counted(problems.into(), "problem", "problems"),
        };
        let warnings = match warnings {
            0 => String::new(),
            warnings => format!(", {}", counted(warnings.into(), "warning", "warnings")),
        };
        self.put(&format!("{problems}{warnings}\n"));
    }
}

/// Columns of the terminal; nothing where there is none, as lines of a file are best left whole.
fn width() -> Option<usize> {
    let term = Term::stdout();
    let (_, columns) = term.is_term().then(|| term.size_checked()).flatten()?;
    Some(columns.into())
}

/// Words behind an indent that is there already, in lines that fit beside it.
fn folded(text: &str, indent: &str, width: Option<usize>) -> String {
    let mut folded = String::new();
    let mut column = indent.len();
    for word in text.split(' ') {
        let length = measure_text_width(word);
        if column > indent.len() && width.is_some_and(|width| column + 1 + length > width) {
            folded.push('\n');
            folded += indent;
            column = indent.len();
        } else if column > indent.len() {
            folded.push(' ');
            column += 1;
        }
        folded += word;
        column += length;
    }
    folded.push('\n');
    folded
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
            ("", Some(1), "\n"),
        ] {
            assert_eq!(folded(text, "  ", width), expected, "{text} {width:?}");
        }
    }
}
