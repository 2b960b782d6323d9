//! What `transfer doctor` finds. This is what it was asked for, so it goes to stdout.

use std::fmt::Write as _;

use dialoguer::console::{Term, style};

use super::screen::folded;
use super::{Ui, counted};
use crate::error::Error;

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
        let version = format!("transfer {} on {os} {arch}", env!("CARGO_PKG_VERSION"));
        match &self.json {
            Some(json) => json.note(&version),
            None => self.put(&format!("{version}\n")),
        }
    }

    /// What was found about a topic; an empty one goes on with the topic before.
    pub fn findings(&self, topic: &str, findings: &[Finding]) {
        if let Some(json) = &self.json {
            findings.iter().for_each(|finding| json.finding(topic, finding));
            return;
        }
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
        let is_well = problems == 0;
        let problems = match problems {
            0 => "no problems".into(),
            problems => counted(problems.into(), "problem", "problems"),
        };
        let warnings = match warnings {
            0 => String::new(),
            warnings => format!(", {}", counted(warnings.into(), "warning", "warnings")),
        };
        match &self.json {
            Some(json) if is_well => json.note(&format!("{problems}{warnings}")),
            // The last event tells the same of an error.
            Some(json) => json.error(
                &Error::failure(format!("{problems}{warnings}"))
                    .hint("the finding events say what to do"),
            ),
            None => self.put(&format!("{problems}{warnings}\n")),
        }
    }
}

/// Columns of the terminal; nothing where there is none, as lines of a file are best left whole.
fn width() -> Option<usize> {
    let term = Term::stdout();
    let (_, columns) = term.is_term().then(|| term.size_checked()).flatten()?;
    Some(columns.into())
}
