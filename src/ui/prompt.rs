//! Questions. Each has a flag, and none is asked unless somebody can answer.

use std::io;

use dialoguer::console::Term;
use dialoguer::{Confirm, Input, Select};
use zeroize::Zeroizing;

use super::{Ui, counted, folder_names, line};
use crate::error::{Error, Exit, Result, reason};
use crate::files::path::RelPath;

/// What a person decides about existing files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Keep both, the new one under another name.
    Rename,
    /// Keep the new one.
    Overwrite,
    /// Keep the old one.
    Skip,
    /// Stop, with nothing changed.
    Cancel,
}

impl Ui {
    /// What a question is about; even `-q` needs to see that.
    fn question(&self, text: &str) {
        self.log(text);
        line(text);
    }

    fn confirm(&self, question: &str, default: bool) -> Result<bool> {
        let answer = Confirm::new()
            .with_prompt(question)
            .default(default)
            .interact_on_opt(&Term::stderr())
            .map_err(unanswered)?;
        let answer = answer.ok_or_else(|| Error::new(Exit::Declined, "you said no"))?;
        self.log(&format!("{question} {}", if answer { "yes" } else { "no" }));
        Ok(answer)
    }

    /// Leave out what tools can make again?
    pub fn ask_leave_out(&self, folders: &[RelPath]) -> Result<bool> {
        let count = folders.len() as u64;
        self.question(&format!(
            "{} can be made again: {}",
            counted(count, "developer folder", "developer folders"),
            folder_names(folders)
        ));
        self.confirm("leave out regenerable developer folders?", true)
    }

    /// Compress on the way?
    pub fn ask_compression(&self) -> Result<bool> {
        self.confirm("use compression?", false)
    }

    /// Go on with what an interrupted transfer left?
    pub fn ask_resume(&self) -> Result<bool> {
        self.confirm("an interrupted transfer was found here; resume it?", true)
    }

    /// What to do about names that are taken.
    pub fn ask_conflict(&self, count: u64, names: &[String]) -> Result<Choice> {
        self.question(&format!("{} already:", counted(count, "name exists", "names exist")));
        for name in names {
            self.question(&format!("  {name}"));
        }
        if let Some(more) = count.checked_sub(names.len() as u64).filter(|more| *more > 0) {
            self.question(&format!("  and {more} more"));
        }
        let choices = [
            ("rename: keep both, the new one as \"name (1)\"", Choice::Rename),
            ("overwrite: keep the new one", Choice::Overwrite),
            ("skip: keep the old one", Choice::Skip),
            ("cancel", Choice::Cancel),
        ];
        let chosen = Select::new()
            .with_prompt("what about them?")
            .items(choices.iter().map(|(text, _)| text))
            .default(0)
            .interact_on_opt(&Term::stderr())
            .map_err(unanswered)?;
        let choice = chosen.and_then(|chosen| choices.get(chosen));
        let (text, choice) = choice.copied().unwrap_or(("cancel", Choice::Cancel));
        self.log(&format!("what about them? {text}"));
        Ok(choice)
    }

    /// The ticket, when none was given.
    pub fn ask_ticket(&self) -> Result<Zeroizing<String>> {
        if !self.asks {
            return Err(Error::usage("there is no ticket to receive with")
                .hint("type it behind `transfer receive`, as the sender's screen shows it"));
        }
        Input::new()
            .with_prompt("ticket (as on the sender's screen)")
            .interact_text_on(&Term::stderr())
            .map(Zeroizing::new)
            .map_err(unanswered)
    }
}

fn unanswered(error: dialoguer::Error) -> Error {
    let dialoguer::Error::IO(error) = error;
    match error.kind() {
        io::ErrorKind::Interrupted => Error::new(Exit::Interrupted, "interrupted"),
        _ => Error::failure(format!("cannot ask: {}", reason(&error)))
            .hint("--yes takes the safe answers"),
    }
}
