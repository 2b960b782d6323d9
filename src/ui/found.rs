//! Servers that were found, and the choice among them. What was asked for goes to stdout.

use std::net::{IpAddr, SocketAddr};

use dialoguer::Input;
use dialoguer::console::Term;

use super::prompt::unanswered;
use super::words::counted;
use super::{Ui, said_no, screen};
use crate::error::{Cause, Result, bytes, shown};
use crate::net::mdns::Server;
use crate::trust::certificate::Id;

/// A server's record, and what came of it.
#[derive(Debug, Clone)]
pub struct Found {
    /// What is announced, which anybody can.
    pub server: Server,
    /// Who is there, or why that is not known.
    pub came: Result<Seen>,
}

impl Found {
    /// Whether somebody has answered there, and one of the two does not trust the other.
    pub fn is_stranger(&self) -> bool {
        self.came.as_ref().is_err_and(|error| error.cause == Cause::Refused)
    }

    fn at(&self) -> Option<SocketAddr> {
        self.came
            .as_ref()
            .map_or_else(|_| self.server.addresses.first().copied(), |seen| Some(seen.at))
    }

    /// `B's server (ocean-tiger, 192.168.77.2)`: what it says of itself.
    fn said(&self) -> String {
        let words = self.server.txt.words.iter().cloned();
        let at = self.server.addresses.first().map(|at| at.ip().to_string());
        let known: Vec<String> = words.chain(at).collect();
        format!("{} ({})", shown(&self.server.name), known.join(", "))
    }
}

/// A server that has answered, and that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it is called here, safe to show.
    pub name: String,
    /// Its key.
    pub id: Id,
    /// What it is announced as: not safe to show.
    pub record: String,
    /// Where it answers.
    pub at: SocketAddr,
    /// Bytes that are free there, if it says so.
    pub free: Option<u64>,
    /// Bytes that this device may still send there, if there is a bound.
    pub left: Option<u64>,
    /// How many are served before one that comes now.
    pub queue: Option<u64>,
}

impl Seen {
    /// Bytes that this device can send there now.
    pub fn room(&self) -> Option<u64> {
        self.free.into_iter().chain(self.left).min()
    }
}

impl Ui {
    /// The servers that are trusted, a line each on stdout, with `--json` an event each; of the others
    /// one line on stderr, or with `all` one each like these.
    ///
    /// # Errors
    /// stdout cannot be written to.
    pub fn found(&self, found: &[Found], all: bool) -> Result<()> {
        let shown = found.iter().filter(|found| all || found.came.is_ok());
        if self.json.is_some() {
            shown.for_each(|found| self.tell(|json| json.server(found)));
        } else {
            let rows: Vec<_> = shown.map(columns).collect();
            let width = |at: usize| {
                let cell = |row: &[String; 3]| row.get(at).map_or(0, |cell| screen::width(cell));
                rows.iter().map(cell).max().unwrap_or_default()
            };
            let (first, second) = (width(0), width(1));
            let pad = |cell: &str, to: usize| " ".repeat(to.saturating_sub(screen::width(cell)));
            let mut text = String::new();
            for [name, at, more] in &rows {
                let (one, two) = (pad(name, first), pad(at, second));
                text.push_str(format!("{name}{one}  {at}{two}  {more}").trim_end());
                text.push('\n');
            }
            if !text.is_empty() {
                self.print(&text)?;
            }
        }
        if !all {
            self.others(found);
        }
        Ok(())
    }

    /// Those that were found and are no choice, in one line.
    pub fn others(&self, found: &[Found]) {
        let strangers: Vec<String> =
            found.iter().filter(|found| found.is_stranger()).map(Found::said).collect();
        if !strangers.is_empty() {
            let names = super::names_of(&strangers);
            let (servers, them) = match strangers.len() {
                1 => ("1 server here and this device do not trust each other".into(), "it"),
                many => {
                    (format!("{many} servers here and this device do not trust each other"), "them")
                }
            };
            self.note(&format!("{servers}: {names}; `transfer pair` introduces {them}"));
        }
        for silent in found.iter().filter(|found| !found.is_stranger()) {
            if let Err(error) = &silent.came {
                self.detail(&format!("{}: {error}", silent.said()));
            }
        }
    }

    /// Which of these servers, that are all trusted? Of several the number is typed; a single one is
    /// proposed.
    ///
    /// # Errors
    /// [`crate::error::Exit::Declined`] when it is none of them.
    pub fn ask_server<'a>(&self, servers: &'a [Seen]) -> Result<&'a Seen> {
        if let [one] = servers {
            let question = format!("send to {} ({}{})?", one.name, one.at.ip(), free(one));
            return match self.confirm(&question, true)? {
                true => Ok(one),
                false => Err(said_no().hint("nothing was sent")),
            };
        }
        for (number, server) in (1..).zip(servers) {
            let words = server.id.words();
            screen::paragraph(&format!(
                "{number}  {} ({words}, {}{}){}",
                server.name,
                server.at.ip(),
                free(server),
                announced(server, servers)
            ));
        }
        let number = ask_number()?;
        number.and_then(|at| servers.get(at)).ok_or_else(|| said_no().hint("nothing was sent"))
    }

    /// Which of these machines, by their names and addresses, shows the token that was typed?
    ///
    /// # Errors
    /// [`crate::error::Exit::Declined`] when it is none of them.
    pub fn ask_waiting(&self, machines: &[(String, IpAddr)]) -> Result<usize> {
        screen::paragraph("several machines here wait to be paired:");
        for (number, (name, at)) in (1..).zip(machines) {
            screen::paragraph(&format!("{number}  {} ({at})", shown(name)));
        }
        let chosen = ask_number()?.filter(|at| *at < machines.len());
        chosen.ok_or_else(|| said_no().hint("nothing was changed"))
    }
}

/// Which of a list, counted from 0; nothing if it is none.
fn ask_number() -> Result<Option<usize>> {
    let typed: String = Input::new()
        .with_prompt("which? (its number; Enter for none)")
        .allow_empty(true)
        .interact_text_on(&Term::stderr())
        .map_err(unanswered)?;
    let number: Option<usize> = typed.trim().parse().ok();
    Ok(number.and_then(|number| number.checked_sub(1)))
}

fn free(seen: &Seen) -> String {
    seen.room().map_or_else(String::new, |free| format!(", {} free", bytes(free)))
}

/// Name, address, and what else there is to say.
fn columns(found: &Found) -> [String; 3] {
    let at = found.at().map_or_else(String::new, |at| at.to_string());
    match &found.came {
        Ok(seen) => {
            let free = seen.room().map(|free| format!("{} free", bytes(free)));
            let queue = seen.queue.filter(|queue| *queue > 0);
            let queue =
                queue.map(|queue| format!("{} before you", counted(queue, "upload", "uploads")));
            let announced = shown(&found.server.name);
            let other = !announced.eq_ignore_ascii_case(&seen.name);
            let other = other.then(|| format!("announced as \"{announced}\""));
            let more: Vec<String> = [free, queue, other].into_iter().flatten().collect();
            [format!("{} ({})", seen.name, seen.id.words()), at, more.join(", ")]
        }
        Err(error) => {
            let why = if found.is_stranger() { "not trusted" } else { "no answer" };
            [found.server.to_string(), at, format!("{why}: {error}")]
        }
    }
}
/// What tells several servers of one device apart.
fn announced(server: &Seen, servers: &[Seen]) -> String {
    match servers.iter().filter(|it| it.id == server.id).count() {
        0 | 1 => String::new(),
        _ => format!(", announced as \"{}\"", shown(&server.record)),
    }
}
