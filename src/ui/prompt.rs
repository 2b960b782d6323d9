//! Questions. Each has a flag, and none is asked unless somebody can answer.

use std::env;
use std::fmt::Write;
use std::io;
use std::path::{MAIN_SEPARATOR, Path};

use dialoguer::console::{Key, Term};
use dialoguer::{Completion, Confirm, Input};
use zeroize::Zeroizing;

use super::screen::paragraph;
use super::{Answer, IsOver, Ui, choice, counted, line, names_of, screen, summary_of};
use crate::config;
use crate::connect::{Endpoint, Reach};
use crate::error::{Cause, Error, Result, bytes, reason, shown, shown_os};
use crate::files::manifest::{Entry, Manifest};
use crate::files::path::RelPath;
use crate::net::relay_url::RelayUrl;
use crate::ticket::Ticket;

/// What a person decides about existing files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Keep both, the new one under another name.
    Rename,
    /// Keep the new one.
    Overwrite,
    /// Keep the one that was changed last.
    Newer,
    /// Keep the old one.
    Skip,
    /// Stop, with nothing changed.
    Cancel,
}

/// A name that is taken.
#[derive(Debug)]
pub struct Clash<'a> {
    /// What is offered.
    pub offered: &'a Entry,
    /// The file that is there; nothing where it is another kind of thing, or the offered one is.
    pub here: Option<Here>,
}

/// A file that is there.
#[derive(Debug, Clone, Copy)]
pub struct Here {
    /// Its bytes.
    pub size: u64,
    /// Its time of last change in nanoseconds since 1970.
    pub mtime: i64,
}

/// Where an offer would go, and what it meets there.
#[derive(Debug)]
pub struct Target<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// Bytes that are free there, where the system tells.
    pub free: Option<u64>,
    /// Files that are there already.
    pub here: u64,
    /// Names that something else has.
    pub taken: u64,
    /// Names that would be hidden files of the home folder.
    pub hidden: Vec<&'a RelPath>,
}

impl Ui {
    /// What a question is about; even `-q` needs to see that.
    fn question(&self, text: &str) {
        self.log(text);
        paragraph(text);
    }

    pub(super) fn confirm(&self, question: &str, default: bool) -> Result<bool> {
        // What does not fit into one row would be left behind by its answer.
        let fits = screen::width(question) + " [Y/n] yes".len() < screen::columns();
        if !fits {
            paragraph(question);
        }
        let answer = Confirm::new()
            .with_prompt(if fits { question } else { "" })
            .default(default)
            .interact_on_opt(&Term::stderr())
            .map_err(unanswered)?;
        let answer = answer.ok_or_else(said_no)?;
        self.log(&format!("{question} {}", if answer { "yes" } else { "no" }));
        Ok(answer)
    }

    /// Leave out what tools can make again? Nothing when nobody said so before it was over.
    pub fn ask_leave_out(
        &self,
        folders: &[RelPath],
        is_over: &mut IsOver<'_>,
    ) -> Result<Option<bool>> {
        let count = folders.len() as u64;
        self.question(&format!(
            "{} can be made again: {}",
            counted(count, "developer folder", "developer folders"),
            names_of(folders)
        ));
        let question = "leave out regenerable developer folders?";
        let answer = self.ask_meanwhile(question, true, is_over).map_err(unsent)?;
        Ok(self.kept(answer, |yes| format!("exclude-dev = {yes}")))
    }

    /// Compress on the way? Nothing when nobody said so before it was over.
    pub fn ask_compression(&self, is_over: &mut IsOver<'_>) -> Result<Option<bool>> {
        let answer = self.ask_meanwhile("use compression?", false, is_over).map_err(unsent)?;
        Ok(self.kept(answer, |yes| format!("compress = \"{}\"", if yes { "auto" } else { "none" })))
    }

    /// What was answered. An answer that is to hold later as well becomes a line of a file.
    fn kept(&self, answer: Option<Answer>, line: impl Fn(bool) -> String) -> Option<bool> {
        let Answer { yes, keep } = answer?;
        if keep {
            match config::keep(&line(yes)) {
                Ok(path) => {
                    self.note(&format!("kept in {}: {}", config::shown_path(&path), line(yes)));
                }
                // This run has its answer all the same.
                Err(error) => self.warn(&format!("the answer is not kept: {error}")),
            }
        }
        Some(yes)
    }

    /// Where there is no tailnet, for this reason: over the internet? Tells who would see what.
    pub fn ask_direct(&self, why: &Error, endpoint: &Endpoint) -> Result<bool> {
        let relays = match &endpoint.reach {
            Reach::Internet { relays } => &**relays,
            _ => &[],
        };
        let through = match relays {
            [] => "without a relay".to_owned(),
            relays if relays.iter().any(RelayUrl::is_of_n0) => {
                "through n0's public relays".to_owned()
            }
            [first, ..] => format!("through {}", shown(first.host())),
        };
        self.question(&format!("{why}"));
        self.confirm(&format!("send over the internet, {through}?"), true).map_err(unsent)
    }

    /// Go on with what an interrupted transfer left?
    pub fn ask_resume(&self) -> Result<bool> {
        let question = "an interrupted transfer was found here; resume it?";
        self.confirm(question, true).map_err(untaken)
    }

    /// A single key of `keys`; Enter stands for the first, Escape for the last.
    fn press(&self, question: &str, keys: &str) -> Result<char> {
        let term = Term::stderr();
        term.write_str(&format!("{question} ")).map_err(unread)?;
        let key = loop {
            let key = match term.read_key().map_err(unread)? {
                Key::Enter => keys.chars().next(),
                Key::Escape => keys.chars().last(),
                Key::Char(key) => Some(key.to_ascii_lowercase()),
                _ => None,
            };
            if let Some(key) = key.filter(|key| keys.contains(*key)) {
                break key;
            }
        };
        term.write_line(&key.to_string()).map_err(unread)?;
        self.log(&format!("{question} {key}"));
        Ok(key)
    }

    /// What the other side offers, before a question about it: even `-q` needs to see that.
    pub fn offered_to_take(&self, manifest: &Manifest) {
        self.question(&format!("offered: {}", summary_of(manifest)));
    }

    /// The same for a stream, of which nothing more is known than the name that it may have.
    pub fn offered_stream(&self, name: Option<&str>) {
        let name = name.map_or_else(String::new, |name| format!(": {}", shown(name)));
        self.question(&format!("offered: a stream of unknown length{name}"));
    }

    /// What a person needs to know before saying yes.
    pub fn target(&self, target: &Target) {
        let mut text = format!("into {}", place_name(target.folder));
        if let Some(free) = target.free {
            let _ = write!(text, " ({} free)", bytes(free));
        }
        if target.here > 0 {
            let here = counted(target.here, "file is", "files are");
            let _ = write!(text, "; {here} here already");
        }
        if target.taken > 0 {
            let _ = write!(text, "; {} taken", counted(target.taken, "name is", "names are"));
        }
        self.question(&text);
        if !target.hidden.is_empty() {
            let names = names_of(&target.hidden);
            self.say_warning(&format!(
                "hidden files in your home folder can run programs: {names}"
            ));
        }
    }

    /// Take what is offered? `anew` when what an interrupted transfer left is not gone on with.
    ///
    /// # Errors
    /// [`crate::error::Exit::Declined`] when it is not wanted.
    pub fn ask_take(&self, manifest: &Manifest, anew: bool) -> Result<()> {
        let question = if anew { "take it all anew?" } else { "take it?" };
        let entries = manifest.entries();
        let mut listed = 0;
        loop {
            let (question, keys) = match entries.len() {
                0 => (format!("{question} [Y/n]"), "yqn"),
                _ if listed == entries.len() => (format!("{question} [Y/n]"), "ylqn"),
                _ if listed > 0 => (format!("{question} [Y/n] (l lists more)"), "ylqn"),
                _ => (format!("{question} [Y/n] (l lists it)"), "ylqn"),
            };
            match self.press(&question, keys).map_err(untaken)? {
                'y' => return Ok(()),
                'l' => {
                    listed = if listed == entries.len() { 0 } else { listed };
                    let (rows, columns) =
                        (screen::rows().saturating_sub(2).max(1), screen::columns());
                    let page = entries.iter().skip(listed).take(rows);
                    for entry in page {
                        line(&choice::row(entry, columns));
                        listed += 1;
                    }
                }
                _ => return Err(said_no()),
            }
        }
    }

    /// What to do about names that are taken: so many, of which some are shown. `is_compared` when
    /// files of one size are no conflict if their content is the same.
    pub fn ask_conflict(
        &self,
        count: u64,
        clashes: &[Clash<'_>],
        is_compared: bool,
    ) -> Result<Choice> {
        self.question(&format!("{} already:", counted(count, "name exists", "names exist")));
        for Clash { offered, here } in clashes {
            self.question(&format!("  {}", offered.path));
            let (size, time) = match here {
                Some(here) => (bytes(here.size), date(here.mtime)),
                None => (String::new(), "another kind of thing".into()),
            };
            self.question(&format!("    here  {size:>9}  {time}"));
            let size = if offered.is_file() { bytes(offered.size()) } else { String::new() };
            let newer = match here {
                Some(here) if offered.mtime > here.mtime => " (newer)",
                Some(here) if offered.mtime < here.mtime => " (older)",
                _ => "",
            };
            let time = date(offered.mtime);
            self.question(&format!("    sent  {size:>9}  {time}{newer}"));
        }
        if let Some(more) = count.checked_sub(clashes.len() as u64).filter(|more| *more > 0) {
            self.question(&format!("  and {more} more"));
        }
        if is_compared {
            self.question("files of the same content stay as they are; of the others:");
        }
        for choice in [
            "r  rename: keep both, the new one as \"name (1)\"",
            "o  overwrite: keep the new one",
            "n  newer: keep the one that was changed last",
            "s  skip: keep the old one",
            "q  cancel: take nothing at all",
        ] {
            self.question(&format!("  {choice}"));
        }
        Ok(match self.press("which? [R/o/n/s/q]", "ronsq").map_err(untaken)? {
            'r' => Choice::Rename,
            'o' => Choice::Overwrite,
            'n' => Choice::Newer,
            's' => Choice::Skip,
            _ => Choice::Cancel,
        })
    }

    /// The ticket, when none was given. A slip is told at once, and asked about again.
    ///
    /// # Errors
    /// [`crate::error::Exit::Usage`] when nobody can be asked, or the last of three is no ticket either.
    pub fn ask_ticket(&self) -> Result<Ticket> {
        if !self.asks {
            return Err(Error::usage("there is no ticket to receive with")
                .hint("type it behind `transfer receive`, as the sender's screen shows it"));
        }
        let mut tries = 1;
        loop {
            let typed = Input::new()
                .with_prompt("ticket (as on the sender's screen)")
                .completion_with(&Words)
                .interact_text_on(&Term::stderr())
                .map(Zeroizing::<String>::new)
                .map_err(unanswered)?;
            match Ticket::parse(&typed) {
                Err(error) if tries < TICKET_TRIES => {
                    // It may quote a part of the token: not for the log.
                    paragraph(&error.message);
                    error.hint.iter().for_each(|hint| paragraph(&format!("  {hint}")));
                    tries += 1;
                }
                ticket => return ticket,
            }
        }
    }
}

/// So many times the ticket is asked for.
const TICKET_TRIES: u32 = 3;

/// Completes the words of a ticket.
struct Words;

impl Completion for Words {
    fn get(&self, typed: &str) -> Option<String> {
        Ticket::complete(typed).map(|completed| completed.to_string())
    }
}

/// The whole path, the home folder as `~` where shells know that.
fn place_name(folder: &Path) -> String {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.into());
    let home = env::home_dir().filter(|home| home.is_absolute() && !cfg!(windows));
    let inside = home.and_then(|home| whole.strip_prefix(home).ok());
    let whole = inside.map_or(whole.clone(), |inside| Path::new("~").join(inside));
    let name = shown_os(&whole);
    name.strip_suffix(MAIN_SEPARATOR).filter(|name| !name.is_empty()).unwrap_or(&name).into()
}

/// A time as `ls -l` tells it, in the time zone of this machine.
fn date(nanoseconds: i64) -> String {
    let time = jiff::Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or_default();
    let time = time.to_zoned(jiff::tz::TimeZone::system());
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Whoever said no has ended both sides.
pub fn said_no() -> Error {
    Error::new(Cause::Declined, "you said no")
        .hint("nothing was changed; run both sides again to answer otherwise")
        .chosen()
}

/// The same before anything was offered.
fn unsent(error: Error) -> Error {
    if error.chosen { error.hint("nothing was sent") } else { error }
}

/// The same for whoever pressed Ctrl-C at a question about an offer.
fn untaken(error: Error) -> Error {
    error.or_hint("nothing was changed; run both sides again")
}

pub(super) fn unanswered(error: dialoguer::Error) -> Error {
    let dialoguer::Error::IO(error) = error;
    unread(error)
}

fn unread(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::Interrupted => Error::new(Cause::Interrupted, "interrupted").chosen(),
        _ => Error::failure(format!("cannot ask: {}", reason(&error)))
            .hint("--yes takes the safe answers"),
    }
}
