//! Questions that are asked while something else goes on, and that nobody needs to answer.

use super::keys::{ENTER, ESCAPE, Pressed, Single};
use super::{Ui, said_no, screen};
use crate::error::Result;

/// What somebody said to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Yes or no.
    pub yes: bool,
    /// Whether it is to hold for the next time too.
    pub keep: bool,
}

/// Whether an answer is no longer awaited. It is called again and again, and may wait a moment.
pub type IsOver<'a> = dyn FnMut() -> Result<bool> + 'a;

impl Ui {
    /// Asks, until somebody answers or it is over.
    ///
    /// # Errors
    /// When somebody stops the program, or says that nothing is to happen.
    pub(super) fn ask_meanwhile(
        &self,
        question: &str,
        default: bool,
        is_over: &mut IsOver<'_>,
    ) -> Result<Option<Answer>> {
        let Some(keys) = Single::take() else { return Ok(None) };
        let mut keep = false;
        let prompt = Prompt::new(question, default);
        screen::question(&prompt.text(keep));
        let answer = loop {
            let yes = match keys.press() {
                Pressed::Key(b'y' | b'Y') => true,
                Pressed::Key(b'n' | b'N') => false,
                Pressed::Key(ENTER | b'\n') => default,
                Pressed::Key(b'k' | b'K') => {
                    keep = !keep;
                    screen::question(&prompt.text(keep));
                    continue;
                }
                Pressed::Key(b'q' | b'Q' | ESCAPE) => {
                    screen::answered(&prompt.text(keep));
                    return Err(said_no());
                }
                Pressed::Gone => break None,
                Pressed::Key(_) | Pressed::Nothing => match is_over() {
                    Ok(false) => continue,
                    Ok(true) => break None,
                    Err(error) => {
                        screen::answered(&prompt.text(keep));
                        return Err(error);
                    }
                },
            };
            break Some(Answer { yes, keep });
        };
        let said = match answer {
            Some(Answer { yes: true, .. }) => "yes",
            Some(Answer { yes: false, .. }) => "no",
            None => "nobody answered",
        };
        screen::answered(&prompt.answered(said));
        self.log(&format!("{question} {said}"));
        Ok(answer)
    }
}

/// A question as the window has room for it.
struct Prompt<'a> {
    /// Empty where it stands in a row of its own: what folds could not be cleared.
    question: &'a str,
    keys: &'static str,
    keep: &'static str,
}

impl<'a> Prompt<'a> {
    fn new(question: &'a str, default: bool) -> Self {
        let keys = if default { "Y/n" } else { "y/N" };
        let fits = |keep: &str| {
            let later = ", now and later? [Y/n] ".len();
            let keys = format!(" [{keys}{keep}] ").len().max(later);
            screen::width(question) + keys < screen::columns()
        };
        let keep = [", k keeps the answer", ", k: keep"].into_iter().find(|keep| fits(keep));
        if keep.is_none() {
            screen::line(question);
        }
        let question = if keep.is_some() { question } else { "" };
        Self { question, keys, keep: keep.unwrap_or(", k: keep") }
    }

    fn text(&self, keep: bool) -> String {
        let Self { question, keys, keep: hint } = self;
        match (keep, question.is_empty()) {
            (false, true) => format!("[{keys}{hint}] "),
            (false, false) => format!("{question} [{keys}{hint}] "),
            (true, true) => format!("now and later? [{keys}] "),
            (true, false) => {
                format!("{}, now and later? [{keys}] ", question.trim_end_matches('?'))
            }
        }
    }

    fn answered(&self, said: &str) -> String {
        format!("{} {said}", self.question).trim_start().to_owned()
    }
}
