//! Questions that are asked while something else goes on, and that nobody needs to answer.

use super::Ui;
use super::screen;
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
    #[cfg(unix)]
    pub(super) fn ask_meanwhile(
        &self,
        question: &str,
        default: bool,
        is_over: &mut IsOver<'_>,
    ) -> Result<Option<Answer>> {
        use super::keys::{Pressed, Single};
        use super::said_no;

        const ENTER: u8 = b'\r';
        const ESCAPE: u8 = 0x1b;
        let Some(keys) = Single::take() else { return Ok(None) };
        let mut keep = false;
        let mut prompt = Prompt::new(question, default);
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

    /// Asks. Where keys cannot be waited for with an end, an answer is awaited.
    #[cfg(not(unix))]
    pub(super) fn ask_meanwhile(
        &self,
        question: &str,
        default: bool,
        _: &mut IsOver<'_>,
    ) -> Result<Option<Answer>> {
        self.confirm(question, default).map(|yes| Some(Answer { yes, keep: false }))
    }
}

/// A question as the window has room for it.
#[cfg(unix)]
struct Prompt<'a> {
    question: &'a str,
    keys: &'static str,
    /// Whether question and keys fit into one row: another could not be cleared.
    fits: bool,
}

#[cfg(unix)]
impl<'a> Prompt<'a> {
    fn new(question: &'a str, default: bool) -> Self {
        let keys = if default { "Y/n" } else { "y/N" };
        let longest = screen::width(question) + " [Y/n, k keeps the answer] ".len();
        let fits = longest < screen::columns();
        if !fits {
            screen::line(question);
        }
        Self { question, keys, fits }
    }

    fn text(&mut self, keep: bool) -> String {
        let question = if self.fits { self.question } else { "" };
        match (keep, self.fits) {
            (false, true) => format!("{question} [{}, k keeps the answer] ", self.keys),
            (false, false) => format!("[{}, k: keep] ", self.keys),
            (true, true) => {
                format!("{}, now and later? [{}] ", question.trim_end_matches('?'), self.keys)
            }
            (true, false) => format!("now and later? [{}] ", self.keys),
        }
    }

    fn answered(&self, said: &str) -> String {
        if self.fits { format!("{} {said}", self.question) } else { said.to_owned() }
    }
}
