//! Where attacks take place: a folder with precious things around the output folder, the real
//! program in it, and what must be true afterwards, whatever was tried.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};

use crate::peak::Watch;
use crate::script::{CONTENT, Line, control, patient};
use crate::shake::Side;
use crate::util::process::{Ended, Process, Sender, receiving, run};
use crate::util::tree::{Scratch, Tree, ensure_arrived, ensure_same, noise, tree, write};

/// The token of every scripted sender.
pub const TOKEN: &str = "ocean-tiger";

/// What a row expects. Paths are relative to the output folder.
#[derive(Debug, Clone)]
pub struct Case {
    /// What is tried.
    pub name: String,
    /// Options of the real program.
    pub options: Vec<&'static str>,
    /// Its exit code.
    pub code: i32,
    /// A part of what it says on stderr.
    pub says: &'static str,
    /// Exactly what is new on the disk; `""` is the output folder.
    pub left: Vec<String>,
    /// What may be different from before.
    pub changed: Vec<&'static str>,
    /// Content of the files that got their names.
    pub content: Vec<u8>,
    /// Entries that the program accepted.
    pub entries: u64,
    /// Files that it may have open, where the system lets us say so.
    pub open_files: Option<u64>,
    /// Somebody presses Ctrl-C when the script has ended; the line stays open.
    pub interrupted: bool,
}

impl Case {
    pub fn new(name: impl Into<String>, code: i32, says: &'static str) -> Self {
        Self {
            name: name.into(),
            // Everything is said that there is to say.
            options: vec!["-vv"],
            code,
            says,
            left: Vec::new(),
            changed: Vec::new(),
            content: CONTENT.to_vec(),
            entries: 1000,
            open_files: None,
            interrupted: false,
        }
    }

    pub fn left(self, left: &[&str]) -> Self {
        Self { left: left.iter().map(|path| (*path).into()).collect(), ..self }
    }
}

/// A violation, as both sides call it.
pub const BROKE: &str = "error: the other side broke the protocol: ";

/// The lock file.
pub const LOCK: &str = ".transfer_lock.json";

/// The folder, and all that must stay as it is.
pub struct Stage(Scratch);

impl Stage {
    /// Precious things, and an output folder that is there, and empty.
    pub fn new() -> Result<Self> {
        let stage = Self::bare()?;
        fs::create_dir(stage.out())?;
        Ok(stage)
    }

    /// The same without the output folder.
    pub fn bare() -> Result<Self> {
        let scratch = Scratch::new()?;
        for bait in ["bait", "elsewhere/kept", "x", "stolen/kept", "d/f"] {
            write(&scratch.join(bait), format!("precious {bait}"))?;
        }
        Ok(Self(scratch))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join(path)
    }

    /// The output folder.
    pub fn out(&self) -> PathBuf {
        self.join("out")
    }

    /// A script that sends, against `transfer receive`.
    pub fn receive(
        &self,
        case: &Case,
        script: impl FnOnce(&mut Line) -> Result<()> + Send,
    ) -> Result<Ended> {
        self.receive_from(case, |door| {
            let mut line = Line::start(door.next()?, Side::Sender, TOKEN)?;
            script(&mut line)?;
            line.drain();
            Ok(Some(line))
        })
    }

    /// The same from the first byte of the connection on. A receiver that comes back is told that
    /// the sender had to stop.
    pub fn receive_from(
        &self,
        case: &Case,
        serve: impl FnOnce(&Door) -> Result<Option<Line>> + Send,
    ) -> Result<Ended> {
        self.try_receive(case, serve).with_context(|| case.name.clone())
    }

    fn try_receive(
        &self,
        case: &Case,
        serve: impl FnOnce(&Door) -> Result<Option<Line>> + Send,
    ) -> Result<Ended> {
        let before = tree(self.path())?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let ticket = format!("{address}:{TOKEN}");
        let mut command = receiving(&ticket, &self.out(), &case.options);
        command.current_dir(self.path());
        let process = Process::start(command)?;
        let watch = Watch::start(process.id());
        if let Some(limit) = case.open_files {
            limit_open_files(&process, limit)?;
        }
        let door = Door { listener, over: AtomicBool::new(false), watch };
        let (ended, served) = thread::scope(|scope| {
            let serving = scope.spawn(|| door.serve(case, serve));
            let ended = process.end();
            door.over.store(true, Ordering::Release);
            // The connection itself is the wake-up.
            drop(TcpStream::connect(address));
            (ended, serving.join().unwrap())
        });
        let watch = door.watch;
        let ended = ended?;
        let line = served.with_context(|| format!("the script failed: {ended:#?}"))?;
        check_end(&ended, case)?;
        ensure_discreet(&ended, line.as_ref())?;
        let told = line.iter().flat_map(|line| &line.heard);
        told.into_iter().try_for_each(|told| self.ensure_harmless(told))?;
        self.ensure_disk(&before, case).with_context(|| format!("{ended:#?}"))?;
        watch.check(&case.name, case.entries)?;
        Ok(ended)
    }

    /// What is new is what is expected, and the rest is as before.
    fn ensure_disk(&self, before: &Tree, case: &Case) -> Result<()> {
        let after = tree(self.path())?;
        let out = |path: &str| Path::new("out").join(path).components().collect::<PathBuf>();
        let changed: BTreeSet<_> = case.changed.iter().map(|path| out(path)).collect();
        for (path, node) in before.iter().filter(|(path, _)| !changed.contains(*path)) {
            let now = after.get(path);
            let same = now.is_some_and(|now| node.same_but_folder_time(now));
            ensure!(same, "{path:?} was {node:?} and is {now:?}");
        }
        let new: BTreeSet<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
        let mut expected: BTreeSet<_> = case.left.iter().map(|path| out(path)).collect();
        if !expected.is_empty() && !before.contains_key(Path::new("out")) {
            expected.insert("out".into());
        }
        ensure!(new == expected.iter().collect(), "new are {new:?}, not {expected:?}");
        for path in new.into_iter().chain(&changed) {
            let name = path.to_string_lossy();
            let unfinished = name.ends_with(".part") || name.contains(LOCK);
            if after.get(path).is_some_and(|node| node.is_file()) && !unfinished {
                let content = fs::read(self.join(path))?;
                let good = content == case.content || content == CONTENT || content.is_empty();
                ensure!(good, "{path:?} has a name and was never verified");
            }
        }
        Ok(())
    }

    /// Nothing of this machine is in what the peer is told: no path, no address, no words but
    /// those of the protocol.
    fn ensure_harmless(&self, told: &str) -> Result<()> {
        let here = self.path().to_string_lossy();
        ensure!(!told.contains(&*here) && !told.contains(TOKEN), "the peer was told {told}");
        let json: serde_json::Value = serde_json::from_str(told)?;
        let fields = json.as_object().context("no object")?;
        if !["refuse", "cancel"].contains(&json["type"].as_str().unwrap_or_default()) {
            return Ok(());
        }
        for (field, value) in fields {
            let fine = match &**field {
                "type" => true,
                "count" | "needed" | "free" | "entries" | "limit" => value.is_u64(),
                "reason" => REASONS.contains(&value.as_str().unwrap_or_default()),
                _ => false,
            };
            ensure!(fine, "the peer was told {told}");
        }
        Ok(())
    }

    /// A script that receives, against `transfer send` of a small tree.
    pub fn send(&self, case: &Case, script: impl FnOnce(&mut Line) -> Result<()>) -> Result<Ended> {
        self.send_to(case, |sender| {
            let token = token_of(sender)?;
            let mut line = Line::start(connect(sender)?, Side::Receiver, &token)?;
            script(&mut line)?;
            line.drain();
            Ok(Some(line))
        })
    }

    /// The same from the first byte on, with as many connections as it takes.
    pub fn send_to(
        &self,
        case: &Case,
        attack: impl FnOnce(&Sender) -> Result<Option<Line>>,
    ) -> Result<Ended> {
        self.try_send(case, attack).with_context(|| case.name.clone())
    }

    fn try_send(
        &self,
        case: &Case,
        attack: impl FnOnce(&Sender) -> Result<Option<Line>>,
    ) -> Result<Ended> {
        let root = self.join("tree");
        if !root.exists() {
            write(&root.join("d/f"), CONTENT)?;
            write(&root.join("g"), noise(5000, 1))?;
        }
        let before = tree(self.path())?;
        let sender = Sender::pod(&[&root], &case.options)?;
        let (watch, token) = (Watch::start(sender.process.id()), token_of(&sender)?);
        let line = attack(&sender)?;
        watch.look();
        if case.interrupted {
            watch.interrupt()?;
        } else {
            line.iter().for_each(Line::cut);
        }
        let code = if case.code == STAYS {
            let into = Scratch::new()?;
            run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
            ensure_arrived(into.path(), &[&root])?;
            0
        } else {
            case.code
        };
        let mut ended = sender.end()?;
        // The one place where the token has to be seen.
        ended.stdout = ended.stdout.replacen(&token, "", 1);
        check_end(&ended, &Case { code, ..case.clone() })?;
        ensure_discreet(&ended, line.as_ref())?;
        ensure!(!(ended.stdout.clone() + &ended.stderr).contains(&token), "{ended:#?}");
        let told = line.iter().flat_map(|line| &line.heard);
        told.into_iter().try_for_each(|told| self.ensure_harmless(told))?;
        ensure_same(&before, &tree(self.path())?)?;
        watch.check(&case.name, case.entries)?;
        Ok(ended)
    }
}

/// In place of an exit code: the offer stands, and the next receiver is served.
pub const STAYS: i32 = -1;

const REASONS: [&str; 8] = [
    "declined",
    "conflict",
    "no-space",
    "too-many",
    "unwritable",
    "interrupted",
    "protocol",
    "failed",
];

pub fn connect(sender: &Sender) -> Result<TcpStream> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, sender.port()?)).context("cannot connect")
}

/// The token of a ticket.
pub fn token_of(sender: &Sender) -> Result<String> {
    Ok(sender.ticket.rsplit(':').next().context("no token")?.into())
}

/// Tries every row of a table, some at a time: most of the time both sides wait.
pub fn all<T: Sync>(rows: &[T], attack: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    const LANES: usize = 6;
    let next = AtomicUsize::new(0);
    let lane = || -> Result<()> {
        while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
            attack(row)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().try_for_each(|lane| lane.join().unwrap())
    })
}

/// Where the receiver connects.
pub struct Door {
    listener: TcpListener,
    /// The receiver has ended: nobody will come.
    over: AtomicBool,
    watch: Watch,
}

impl Door {
    /// The next connection.
    pub fn next(&self) -> Result<TcpStream> {
        let (stream, _) = self.listener.accept()?;
        ensure!(!self.over.load(Ordering::Acquire), "nobody came");
        // It waits for a word, so that it is there, however short its life.
        self.watch.look();
        patient(&stream)?;
        Ok(stream)
    }

    /// First the script; then a word to stop to whoever comes.
    fn serve(
        &self,
        case: &Case,
        script: impl FnOnce(&Self) -> Result<Option<Line>>,
    ) -> Result<Option<Line>> {
        let line = script(self)?;
        // One that has said its last waits for the line to be cut.
        self.watch.look();
        if case.interrupted {
            self.watch.interrupt()?;
        } else {
            line.iter().for_each(Line::cut);
        }
        while let Ok(stream) = self.next() {
            // It may have thought better of it.
            if let Ok(mut line) = Line::start(stream, Side::Sender, TOKEN) {
                line.say_last(&control(r#"{"type":"cancel","reason":"failed"}"#))?;
                line.drain();
            }
        }
        Ok(line)
    }
}

#[cfg(target_os = "linux")]
fn limit_open_files(process: &Process, limit: u64) -> Result<()> {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let pid = Pid::from_raw(i32::try_from(process.id())?);
    let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
    prlimit(pid, Resource::Nofile, limit)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn limit_open_files(_: &Process, _: u64) -> Result<()> {
    Ok(())
}

fn check_end(ended: &Ended, case: &Case) -> Result<()> {
    let (code, says) = (Some(case.code), case.says);
    ensure!(ended.code == code, "expected exit code {code:?}: {ended:#?}");
    ensure!(ended.stderr.contains(says), "expected {says:?} on stderr: {ended:#?}");
    ensure_clean(&ended.stdout)?;
    ensure_clean(&ended.stderr)
}

/// Nothing in what is shown can steer a terminal or hide from the eye.
pub fn ensure_clean(shown: &str) -> Result<()> {
    let harmful = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | char::REPLACEMENT_CHARACTER)
    };
    ensure!(!shown.contains(harmful), "this reached the terminal: {shown:?}");
    Ok(())
}

/// No token and no key in what is shown.
fn ensure_discreet(ended: &Ended, line: Option<&Line>) -> Result<()> {
    let shown = format!("{}{}", ended.stdout, ended.stderr).to_lowercase();
    ensure!(!shown.contains(TOKEN), "the token is shown: {shown}");
    for secret in line.iter().flat_map(|line| line.keys.secrets()) {
        let hex: String = secret.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        ensure!(!shown.contains(&hex), "a key is shown: {shown}");
    }
    Ok(())
}
