//! The only place that prints or asks.
//!
//! stdout carries what a script would want: the ticket's command line, or with `--json` events.
//! Everything a person reads goes to stderr, and with `--log-file` to a log too. What comes from
//! the other side or from the disk is escaped, but not in JSON, which has its own way.

mod choice;
mod devices;
mod findings;
mod found;
mod json;
mod keys;
mod log;
mod meter;
mod paths;
mod patient;
mod peers;
mod progress;
mod prompt;
#[cfg(feature = "relay")]
mod relay;
mod results;
mod screen;
mod served;
mod signals;
mod sums;
mod terminal;
mod text;
mod words;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use dialoguer::console::{Term, style};
use zeroize::Zeroizing;

pub use self::devices::{Card, Kind};
pub use self::findings::{Finding, Mark};
pub use self::found::{Found, Seen};
pub use self::json::State;
pub use self::paths::Following;
pub use self::patient::{Answer, IsOver};
pub use self::progress::{Crowd, Progress};
pub use self::prompt::{Choice, Clash, Here, Target, said_no};
#[cfg(feature = "relay")]
pub use self::relay::{RelayEvent, Relayed};
pub use self::served::{InTailnet, Reached};
pub use self::signals::watch as watch_signals;
pub use self::text::{Data, Text};

use self::json::Json;
use self::log::Log;
use self::screen::{line, paragraph};
use self::sums::Sums;
use self::words::{counted, names_of, rate, summary_of};
use crate::control;
use crate::error::{Error, Exit, Result, reason, shown, shown_bytes};
use crate::event::{Event, Fate, Summary};
use crate::files::manifest::Manifest;
use crate::files::path::{PathError, RelPath};
use crate::protocol::message::STREAM_NAME;
use crate::protocol::pages::HASH_LEN;
use crate::standard::Out;

/// How much is said, where, and whether somebody is there to answer. A clone says it in the same
/// places.
#[derive(Debug, Clone)]
pub struct Ui {
    quiet: bool,
    verbose: u8,
    /// Somebody answers questions, presses keys, looks at a bar.
    asks: bool,
    /// What could be asked is agreed to.
    yes: bool,
    keys: bool,
    draws: bool,
    json: Option<Arc<Json>>,
    log: Option<Arc<Log>>,
    sums: Option<Arc<Sums>>,
    service: Option<&'static str>,
}

/// The SHA-256 of a file.
type Hash = [u8; HASH_LEN];

/// Whoever waits longer wants to know for whom.
const SLOW: Duration = Duration::from_secs(2);

/// Lines of a list that are shown before the rest is only counted.
const SHOWN: usize = 10;

impl Ui {
    /// Asks only when a person sits at both ends of the terminal, has not said `--yes`, and no
    /// program listens instead. The keys work all the same.
    pub fn new(quiet: bool, verbose: u8, yes: bool, json: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        // The terminal of Git for Windows is a pipe to which no key comes.
        let has_console = !cfg!(windows) || Term::stderr().size_checked().is_some();
        let person = terminal && io::stdin().is_terminal() && has_console;
        Self {
            quiet,
            verbose,
            asks: person && !yes && !json,
            yes,
            keys: person && !quiet,
            draws: terminal && !quiet && !json && screen::is_capable(),
            json: json.then(|| Arc::new(Json::new(Out::new()))),
            log: None,
            sums: None,
            service: None,
        }
    }

    /// Standard input is what is sent: neither answers nor keys come from there.
    pub fn leave_keyboard(&mut self) {
        (self.asks, self.keys) = (false, false);
    }

    /// Says everything to a file too.
    ///
    /// # Errors
    /// [`Exit::Usage`] when the file cannot be opened.
    pub fn log_to(&mut self, file: &Path) -> Result<()> {
        self.log = Some(Arc::new(Log::open(file)?));
        Ok(())
    }

    /// Tells programs of each file too.
    pub fn tell_files(&self) {
        self.tell(|json| json.tell_files());
    }

    /// Writes the hashes of all files to a file, when they are known.
    ///
    /// # Errors
    /// [`Exit::Usage`] when it cannot be that file.
    pub fn sums_to(&mut self, file: &Path) -> Result<()> {
        self.sums = Some(Arc::new(Sums::new(file)?));
        Ok(())
    }

    /// Whether the engines are to tell of each file.
    pub fn wants_files(&self) -> bool {
        self.sums.is_some() || self.json.as_ref().is_some_and(|json| json.has_files())
    }

    /// What became of a file: where it is at the receiver, if this is the receiver.
    fn fate(&self, path: &RelPath, place: Option<&RelPath>, hash: Option<Hash>, fate: Fate) {
        if let (Some(sums), Some(hash), Fate::Arrived | Fate::Already) = (&self.sums, hash, fate) {
            sums.note(place.unwrap_or(path).as_bytes(), hash);
        }
    }

    /// What became of a stream, or of a file that went to standard output: its path, if it has
    /// one, and its place.
    pub fn poured(&self, path: Option<&RelPath>, place: Option<&RelPath>, summary: &Summary) {
        let Ok(stream) = RelPath::parse(STREAM_NAME) else { return };
        let path = path.unwrap_or(&stream);
        let fate = match summary.failed.first() {
            Some((_, fault)) => Fate::Missing(*fault),
            None => Fate::Arrived,
        };
        self.fate(path, place, summary.hash, fate);
        let (size, hash) = (summary.bytes, summary.hash);
        self.tell(|json| json.on(&Event::File { path, place, size, hash, fate }));
    }

    /// Writes what `--manifest` asks for. What did not come to its end has none.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save_sums(&self) -> Result<()> {
        self.sums.as_ref().map_or(Ok(()), |sums| sums.save())
    }

    /// The first words, for those who need to know where a run begins.
    pub fn begin(&self) {
        self.log(concat!("transfer ", env!("CARGO_PKG_VERSION"), " begins"));
        self.tell(|json| json.begin());
    }

    /// The last words, for the same. Returns the exit code that they name.
    pub fn end(&self, exit: Exit) -> Exit {
        let exit = self.json.as_ref().map_or(exit, |json| json.end(exit));
        self.log(&format!("exit code {}", exit as u8));
        exit
    }

    /// The last words of a process that is ended in the middle of something.
    /// Returns the exit code, and what there is to say.
    fn cut_short(&self) -> (Exit, String) {
        let untold = "  the other side could not be told, and notices by itself\n";
        let Err(error) = control::check() else { return (Exit::Interrupted, untold.into()) };
        // Whoever stops a service means it.
        let (exit, told, words) = match self.service {
            Some(left) => (Exit::Done, None, format!("  stopped at once: {left}\n")),
            None => (error.exit(), Some(&error), format!("{error}\n{untold}")),
        };
        let exit = self.json.as_ref().map_or(exit, |json| json.cut_short(told, exit));
        if let Some(log) = &self.log {
            log.cut_short(&format!("cut short: exit code {}", exit as u8));
        }
        (exit, words)
    }

    /// The same for a server: a SIGHUP that is meant for its files does not stop it, and to stop it is no failure. What
    /// is `left` then is said where it had to be stopped twice.
    pub fn as_service(mut self, left: &'static str) -> Self {
        self.service = Some(left);
        self
    }

    /// Whether it is one.
    fn is_service(&self) -> bool {
        self.service.is_some()
    }

    /// Whether questions may be asked.
    pub fn asks(&self) -> bool {
        self.asks
    }

    /// Whether `--yes` was said: what could be asked is agreed to.
    pub fn was_told_yes(&self) -> bool {
        self.yes
    }

    fn log(&self, text: &str) {
        if let Some(log) = &self.log {
            log.line(text);
        }
    }

    /// For programs alone.
    fn tell(&self, event: impl FnOnce(&Json)) {
        if let Some(json) = &self.json {
            event(json);
        }
    }

    /// A line for people and the log alone; programs learn the same in another way.
    fn say(&self, text: &str) {
        self.log(text);
        if !self.quiet {
            paragraph(text);
        }
    }

    fn say_warning(&self, text: &str) {
        self.log(&format!("warning: {text}"));
        let warning = style("warning:").for_stderr().yellow().bold();
        paragraph(&format!("{warning} {text}"));
    }

    /// Something good to know; `-q` hides it.
    pub fn note(&self, text: &str) {
        self.say(text);
        self.tell(|json| json.note(text));
    }

    /// What is waited for, if that takes more than a moment: until what comes back is dropped.
    pub fn note_if_slow(&self, text: String) -> Option<mpsc::Sender<()>> {
        let (done, is_done) = mpsc::channel();
        let ui = self.clone();
        let wait = move || {
            if is_done.recv_timeout(SLOW) == Err(mpsc::RecvTimeoutError::Timeout) {
                ui.note(&text);
            }
        };
        // Without it only this line is missing.
        thread::Builder::new().name("slow".into()).spawn(wait).ok().map(|_| done)
    }

    /// Something only the curious want to know.
    pub fn detail(&self, text: &str) {
        self.log(text);
        if self.verbose > 0 {
            paragraph(text);
        }
    }

    /// Something that only who looks for a fault wants to know.
    pub fn fine_detail(&self, text: &str) {
        self.log(text);
        if self.verbose > 1 {
            paragraph(text);
        }
    }

    /// Something that is not as it should be, but goes on.
    pub fn warn(&self, text: &str) {
        self.say_warning(text);
        self.tell(|json| json.warning(text));
    }

    /// Where the run stands now, for programs.
    pub fn state(&self, state: State) {
        self.tell(|json| json.state(state));
    }

    /// The last thing that is said when it went wrong, or when the person here had enough.
    pub fn error(&self, error: &Error) {
        signals::cover_key();
        let (red, plain) = match error.chosen {
            true => (String::new(), ""),
            false => (format!("{} ", style("error:").for_stderr().red().bold()), "error: "),
        };
        paragraph(&format!("{red}{error}"));
        if let Some(hint) = &error.hint {
            paragraph(&format!("  {hint}"));
        }
        if error.secret {
            self.log("error: what was given as ticket is none (its words are not logged)");
        } else {
            self.log(&format!("{plain}{error}"));
            error.hint.iter().for_each(|hint| self.log(&format!("  {hint}")));
        }
        self.tell(|json| json.error(error));
    }

    /// A command line that means nothing, of which people have been told.
    pub fn usage(&self, error: &Error) {
        self.tell(|json| json.error(error));
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
                    .hint("check where stdout goes")
            }),
        }
    }

    /// A line for the screen, and not for the log.
    fn hint(&self, text: &str) {
        if !self.quiet {
            line(text);
        }
    }

    /// The same with a secret.
    fn show(&self, text: Zeroizing<String>) {
        if !self.quiet {
            screen::secret(text);
        }
    }

    /// What this side is about to send.
    pub fn offering(&self, manifest: &Manifest) {
        self.offer(&format!("sending {}", summary_of(manifest)), manifest);
    }

    /// What the other side offers, perhaps `again` after a reconnection.
    pub fn offered(&self, manifest: &Manifest, again: bool) {
        if again {
            self.offer("connected again", manifest);
        } else {
            self.offer(&format!("receiving {}", summary_of(manifest)), manifest);
        }
    }

    fn offer(&self, text: &str, manifest: &Manifest) {
        self.say(text);
        self.tell(|json| json.offer(manifest));
    }

    /// What was found and cannot be sent: how much, and as many names as are known here. People
    /// need not read it `again` after a reconnection.
    pub fn unsent<'a>(
        &self,
        count: u64,
        names: impl Iterator<Item = (&'a [u8], &'a str)> + Clone,
        again: bool,
    ) {
        self.tell(|json| json.unsent(count, names.clone()));
        if count > 0 && !again {
            self.warn(&format!("cannot be sent: {}", counted(count, "thing", "things")));
            let outside = PathError::Outside.to_string();
            let leads_out = names.clone().any(|(_, why)| why == outside);
            let lines = names.map(|(name, why)| format!("{}: {}", shown_bytes(name), shown(why)));
            self.list(lines, count, true);
            if leads_out {
                self.say("  `send --follow-symlinks` sends what links out of the tree point to");
            }
        }
    }

    /// Where a text is written that the other side sent: shown when it is whole, escaped on a
    /// terminal, and raw in a pipe.
    pub fn text(&self) -> Text {
        Text::new(self.json.clone())
    }

    /// Where content goes that is meant for standard output; what is no plain text, not onto a
    /// terminal.
    pub fn data(&self) -> Data {
        Data::new()
    }

    /// A new progress bar, or one that stays silent.
    pub fn progress(&self, verb: &'static str) -> Progress {
        Progress::new(verb, self.clone())
    }

    /// The same for several receivers.
    pub fn crowd(&self, verb: &'static str, receivers: u32) -> Crowd {
        Crowd::new(verb, self.clone(), receivers)
    }

    /// Which keys there are, once.
    fn tell_keys(&self) {
        static TOLD: AtomicBool = AtomicBool::new(false);
        if !TOLD.swap(true, Relaxed) {
            self.hint("p pause, q stop");
        }
    }

    /// The other side stands still, or goes on; the bar says so itself.
    fn other_paused(&self, name: &str, paused: bool) {
        let text = if paused { format!("paused by {name}") } else { format!("{name} goes on") };
        self.log(&text);
        if !self.draws {
            self.hint(&text);
        }
        self.tell(|json| json.other_paused(paused));
    }

    /// A file is done with, which only `-vv` says.
    fn finished(&self, name: &RelPath) {
        if self.verbose > 1 || self.log.is_some() {
            let name = name.to_string();
            self.log(&name);
            if self.verbose > 1 {
                line(&name);
            }
        }
    }

    /// Somebody pressed `p`; the bar says so itself.
    fn paused(&self, paused: bool) {
        let text = if paused { "paused; p goes on" } else { "going on" };
        self.log(text);
        if !self.draws && !self.quiet {
            line(text);
        }
        self.tell(|json| json.pause(paused));
    }

    /// The terminal for one of several sessions at a time: no bar, no keys, and no events of
    /// its own, which could not be told from those of the others.
    pub fn beside_others(&self) -> Self {
        Self { draws: false, keys: false, json: None, ..self.clone() }
    }

    /// The same for one of several uploads to a server: only what is not as it should be is said.
    pub fn among_others(&self) -> Self {
        Self { quiet: true, asks: false, ..self.beside_others() }
    }

    /// The same without a bar where that would get into what goes to standard output.
    pub fn beside_data(&self) -> Self {
        Self { draws: self.draws && !io::stdout().is_terminal(), ..self.clone() }
    }
}
