//! What the documentation tells people to type works.
//!
//! - In README.md and the pages of [`PAGES`], commands stand in fenced blocks, `console` or `sh`,
//!   and nowhere else.
//! - A line of a `console` block that begins with a prompt is a command. `$`, `sender$` and
//!   `laptop$` are one machine, `receiver$` and `desktop$` the other. The other lines are what it
//!   says: each must be among what it really says, but for tokens, ports, times and rates; `…`
//!   stands for anything. It must end with exit code 0, or with the one that `echo $?` shows next.
//! - A `transfer send` goes on while the receiver's commands run, and its ticket replaces theirs,
//!   whose token is [`TOKEN`]. If none of them receives, the test does. A `transfer receive` that nobody sends to is sent
//!   what the page sent last.
//! - An `sh` block is a script, run on the sender's machine, that must end with exit code 0.
//! - Each page has two folders of its own, and a stub for the tailnet of the two machines;
//!   commands with `--pod` or 127.0.0.1 have no Tailscale. The blocks run in order.
//! - What cannot run is in [`EXCEPTIONS`], with the reason.

#![cfg(unix)]

mod util;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use rustix::process::{Pid, Signal, kill_process_group};

use util::process::{Ended, Pipe, Process, clean, run, transfer};
use util::tree::{Scratch, chmod, write};

/// Pages whose commands are run.
const PAGES: [&str; 8] = [
    "README.md",
    "docs/guide.md",
    "docs/choosing.md",
    "docs/containers.md",
    "docs/json.md",
    "docs/resume.md",
    "docs/scripting.md",
    "docs/troubleshooting.md",
];

/// The token of the pages, in place of the sender's.
const TOKEN: &str = "ocean-tiger";

const INSTALLS: &str = "builds or installs something";

/// Commands that are not run, each with its page and the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("README.md", "scripts/demo", INSTALLS),
    ("README.md", "scripts/test", "runs this test"),
    ("README.md", "cargo install --path . --locked", INSTALLS),
];

/// Options of other programs that the documentation names, and whose they are.
const FOREIGN: &[(&str, &str)] = &[
    ("--exclude-standard", "git ls-files"),
    ("--cfg", "rustc"),
    ("--force-reauth", "tailscale up"),
    ("--locked", "cargo"),
    ("--network", "docker"),
    ("--path", "cargo"),
    ("--shields-up", "tailscale up"),
];

/// The `tailscale` of both machines: nodes without a network device, for what a stub can do.
const TAILSCALE: &str = r#"#!/bin/bash
node() { echo "{\"ID\":\"$1\",\"HostName\":\"$1\",\"DNSName\":\"$1.tail1234.ts.net.\",\"UserID\":1,\"TailscaleIPs\":[\"$2\"],\"Online\":true}"; }
laptop=$(node laptop 100.64.1.123)
desktop=$(node desktop 100.64.1.7)
if [ "$SIDE" = laptop ]; then self=$laptop peer=$desktop; else self=$desktop peer=$laptop; fi
case "$1" in
status) echo "{\"Version\":\"1.102.3\",\"TUN\":false,\"BackendState\":\"Running\",\"Self\":$self,\"Peer\":{\"k\":$peer},\"User\":{\"1\":{\"ID\":1,\"LoginName\":\"you@example.org\"}}}" ;;
whois) echo '{"Node":{"StableID":"desktop","Name":"desktop.tail1234.ts.net.","Addresses":["100.64.1.7/32"]},"UserProfile":{"LoginName":"you@example.org"}}' ;;
nc) exec 3<>"/dev/tcp/127.0.0.1/$3" && { cat <&3 & cat >&3; wait; } ;;
*) echo "the stub does not know: $*" >&2; exit 1 ;;
esac
"#;

#[test]
fn what_the_pages_tell_to_type_works() -> Result<()> {
    let mut used = BTreeSet::new();
    for page in PAGES {
        let mut stage = Stage::new(page)?;
        for block in blocks(page)? {
            let at = format!("{page}:{}", block.line);
            stage.play(&block, &mut used).with_context(|| at)?;
        }
    }
    for exception in EXCEPTIONS {
        ensure!(used.contains(exception), "an exception that nothing needs: {exception:?}");
    }
    Ok(())
}

#[test]
fn every_option_is_told_of_and_exists() -> Result<()> {
    let mut known = BTreeSet::new();
    for subcommand in ["", "send", "receive", "doctor", "completions", "man"] {
        let mut command = transfer();
        command.args(Some(subcommand).filter(|name| !name.is_empty())).arg("--help");
        known.extend(options(&run(command)?.expect(0)?.stdout));
    }
    ensure!(known.contains("--pod"), "the help was not understood: {known:?}");

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md")];
    for entry in fs::read_dir(root.join("docs"))? {
        pages.push(entry?.path());
    }
    let mut told = BTreeSet::new();
    for page in pages.iter().filter(|page| page.extension().is_some_and(|end| end == "md")) {
        for option in options(&fs::read_to_string(page)?) {
            let foreign = FOREIGN.iter().any(|(name, _)| *name == option);
            ensure!(known.contains(&option) || foreign, "{page:?}: {option} is no option");
            told.insert(option);
        }
    }
    for option in &known {
        ensure!(told.contains(option), "no page tells of {option}");
    }
    for (option, _) in FOREIGN {
        ensure!(told.contains(*option), "no page has the foreign option {option}");
    }
    Ok(())
}

/// Each quoted heading of the page is an error of the sources, but for names and numbers in it.
#[test]
fn the_errors_that_are_explained_exist() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    let mut left = vec![root.join("src")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(path)? {
                left.push(entry?.path());
            }
        } else {
            sources.push_str(&fs::read_to_string(path)?);
        }
    }
    // A line of the page holds no break, nor escapes.
    let sources = sources.replace("\\\n", " ").replace('\\', "");
    let sources = sources.split_whitespace().collect::<Vec<_>>().join(" ");
    let page = fs::read_to_string(root.join("docs/troubleshooting.md"))?;
    let headings = page.lines().filter_map(|line| line.strip_prefix("### "));
    let headings = headings.filter(|heading| !heading.contains("``"));
    let mut found = 0;
    for quoted in headings.flat_map(|heading| heading.split('`').skip(1).step_by(2)) {
        // Its own words: what is between examples.
        let example = |word: &str| {
            word.contains(|c: char| c.is_ascii_digit() || matches!(c, '"' | '…' | ':' | '/'))
                || [
                    "sender",
                    "receiver",
                    "laptop",
                    "desktop",
                    "another-machine",
                    "GB",
                    "B",
                    "status",
                    "--json",
                ]
                .contains(&word)
        };
        let runs: Vec<String> = quoted
            .split_whitespace()
            .collect::<Vec<_>>()
            .split(|word| example(word))
            .map(|run| run.join(" "))
            .collect();
        let run = runs.iter().max_by_key(|run| run.len()).context("a heading")?;
        ensure!(run.len() >= 6 && sources.contains(run.as_str()), "no source says {run:?}");
        found += 1;
    }
    ensure!(found > 40, "only {found} headings were understood");
    Ok(())
}

/// Every `--word` of a text.
fn options(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let option = |word: &&str| {
        let name = word.strip_prefix("--");
        name.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    words.filter(option).map(|word| word.trim_end_matches('-').to_owned()).collect()
}

/// A fenced block of commands.
#[derive(Debug)]
struct Block {
    line: usize,
    script: bool,
    text: Vec<String>,
}

/// The blocks of a page; fails if a command stands anywhere else.
fn blocks(page: &str) -> Result<Vec<Block>> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page))
        .with_context(|| page.to_owned())?;
    let mut blocks = vec![];
    let mut fence: Option<(Option<Block>, usize)> = None;
    for (line, text) in text.lines().enumerate().map(|(number, text)| (number + 1, text)) {
        if let Some(kind) = text.trim_start().strip_prefix("```") {
            match fence.take() {
                Some((block, _)) => blocks.extend(block),
                None => {
                    let runs = matches!(kind, "console" | "sh");
                    let block = Block { line, script: kind == "sh", text: vec![] };
                    fence = Some((runs.then_some(block), line));
                }
            }
            continue;
        }
        let is_command = prompt(text.trim_start()).is_some()
            || ["transfer ", "cargo ", "scripts/"].iter().any(|s| text.trim_start().starts_with(s));
        match &mut fence {
            Some((Some(block), _)) => block.text.push(text.to_owned()),
            Some((None, _)) => ensure!(!is_command, "{page}:{line}: a command in another block"),
            None => {
                let indented = text.starts_with("    ");
                ensure!(!(indented && is_command), "{page}:{line}: a command outside a fence");
            }
        }
    }
    ensure!(fence.is_none(), "{page}: a block without an end");
    Ok(blocks)
}

/// Which machine a command is typed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Sender,
    Receiver,
}

/// The machine and the command of a line with a prompt.
fn prompt(line: &str) -> Option<(Side, &str)> {
    let (name, command) = line.split_once("$ ")?;
    match name {
        "" | "sender" | "laptop" => Some((Side::Sender, command)),
        "receiver" | "desktop" => Some((Side::Receiver, command)),
        _ => None,
    }
}

/// A command, what it is shown to say, and how it is shown to end.
#[derive(Debug)]
struct Step {
    side: Side,
    command: String,
    says: Vec<String>,
    code: i32,
}

fn steps(block: &Block) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = vec![];
    let mut asked = None;
    for line in &block.text {
        let continued = steps.last_mut().filter(|s| s.command.ends_with('\\') && s.says.is_empty());
        if let Some(step) = continued {
            step.command.truncate(step.command.len() - 1);
            step.command.push_str(line.trim_start());
        } else if let Some(side) = asked.take() {
            let step = steps.iter_mut().rev().find(|step| step.side == side);
            step.context("echo $? comes first")?.code = line.trim().parse()?;
        } else if let Some((side, command)) = prompt(line) {
            if command == "echo $?" {
                asked = Some(side);
                continue;
            }
            steps.push(Step { side, command: command.to_owned(), says: vec![], code: 0 });
        } else if !line.trim().is_empty() {
            steps.last_mut().context("a block begins without a prompt")?.says.push(line.clone());
        }
    }
    ensure!(asked.is_none(), "echo $? shows nothing");
    Ok(steps)
}

/// The two machines of a page.
struct Stage {
    page: &'static str,
    scratch: Scratch,
    offers: u32,
    last_send: String,
    offer: Option<Offer>,
}

/// A `transfer send` that waits.
struct Offer {
    step: Step,
    process: Option<Process>,
    group: u32,
    /// Port and token, as in the ticket.
    ticket: String,
}

impl Offer {
    /// Waits for the end, and looks at it.
    fn end(&mut self) -> Result<()> {
        let process = self.process.take().context("it has ended")?;
        judge(&self.step, process.end()?)
    }
}

/// What a failed test leaves: a shell may have started more than itself.
impl Drop for Offer {
    fn drop(&mut self) {
        if self.process.is_none() {
            return;
        }
        if let Some(group) = i32::try_from(self.group).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Stage {
    fn new(page: &'static str) -> Result<Self> {
        let scratch = Scratch::new()?;
        fs::create_dir_all(scratch.join("bin"))?;
        symlink(env!("CARGO_BIN_EXE_transfer"), scratch.join("bin/transfer"))?;
        write(&scratch.join("bin/tailscale"), TAILSCALE)?;
        chmod(&scratch.join("bin/tailscale"), 0o755)?;
        fs::create_dir_all(scratch.join("desktop"))?;
        for (path, size) in [
            ("photos/beach.jpg", 2_100_000),
            ("photos/dunes.jpg", 1_800_000),
            ("photos/raw/beach.raw", 8_000_000),
            ("photos/import.log", 5_000),
            ("notes.txt", 1_200),
            ("table.npy", 4_000_000),
            ("out/result.bin", 70_000),
            ("project/main.py", 300),
            ("project/app.log", 2_000),
            ("project/node_modules/left-pad/index.js", 900),
        ] {
            let bytes: Vec<u8> = (0..size).map(|i: u32| b' ' + (i / 7 * 31 % 90) as u8).collect();
            write(&scratch.join("laptop").join(path), bytes)?;
        }
        write(&scratch.join("laptop/project/.gitignore"), "*.log\nnode_modules/\n")?;
        let mut git = Command::new("git");
        git.args(["init", "-q"]).current_dir(scratch.join("laptop/project"));
        run(git)?.expect(0)?;
        let last_send = "transfer send --pod notes.txt".to_owned();
        Ok(Self { page, scratch, offers: 0, last_send, offer: None })
    }

    fn play(
        &mut self,
        block: &Block,
        used: &mut BTreeSet<&(&'static str, &'static str, &'static str)>,
    ) -> Result<()> {
        let on = self.page;
        let excepted = |command: &str| {
            EXCEPTIONS.iter().find(|(page, line, _)| *page == on && *line == command)
        };
        if block.script {
            let commands = block.text.iter().filter(|line| !line.trim().is_empty());
            let (left_out, script): (Vec<_>, Vec<_>) =
                commands.partition(|line| excepted(line).is_some());
            used.extend(left_out.iter().filter_map(|line| excepted(line)));
            let script: Vec<&str> = script.into_iter().map(String::as_str).collect();
            let script = format!("set -e\n{}\n", script.join("\n"));
            run(self.shell(Side::Sender, &script)?)?.expect(0)?;
            return Ok(());
        }
        for step in steps(block)? {
            if let Some(exception) = excepted(&step.command) {
                used.insert(exception);
                continue;
            }
            self.take(step)?;
        }
        self.close()
    }

    /// Does one step.
    fn take(&mut self, mut step: Step) -> Result<()> {
        let shown = step.command.clone();
        step.command = with_free_port(&step.command)?;
        let sends = shown.contains("transfer send") && !shown.contains("--dry-run");
        if sends {
            self.close()?;
            return self.open(step).with_context(|| shown);
        }
        let receives = shown.contains("transfer receive") && shown.contains(TOKEN);
        if receives {
            if self.offer.is_none() {
                let command = self.last_send.clone();
                self.open(Step { side: Side::Sender, command, says: vec![], code: 0 })?;
            }
            if let Some(offer) = &self.offer {
                step.command = with_ticket(&step.command, &offer.ticket);
            }
        }
        let ended = run(self.shell(step.side, &step.command)?)?;
        judge(&step, ended).with_context(|| shown.clone())?;
        if receives && let Some(mut offer) = self.offer.take() {
            // What it is shown to end with, else as the receiver.
            if offer.step.code == 0 {
                offer.step.code = step.code;
            }
            offer.end().with_context(|| shown)?;
        }
        Ok(())
    }

    /// Starts a sender; one that is shown to fail is done with.
    fn open(&mut self, step: Step) -> Result<()> {
        let mut process = Process::start(self.shell(step.side, &step.command)?)?;
        let Ok(line) = process.wait_for(Pipe::Out, "transfer receive ") else {
            return judge(&step, process.end()?);
        };
        let (_, rest) = line.split_once("transfer receive ").context("a ticket")?;
        let end = rest.find(|c: char| c == '"' || c.is_whitespace()).unwrap_or(rest.len());
        let ticket = rest[..end].to_owned();
        self.last_send.clone_from(&step.command);
        self.offer = Some(Offer { step, group: process.id(), process: Some(process), ticket });
        Ok(())
    }

    /// Receives what nobody received.
    fn close(&mut self) -> Result<()> {
        let Some(mut offer) = self.offer.take() else { return Ok(()) };
        self.offers += 1;
        let command = format!("transfer receive -y -o taken/{} {}", self.offers, offer.ticket);
        let shown = offer.step.command.clone();
        run(self.shell(Side::Receiver, &command)?)?.expect(0).with_context(|| shown.clone())?;
        offer.end().with_context(|| shown)
    }

    /// A shell on one of the machines, in the folder where its last command was.
    fn shell(&self, side: Side, script: &str) -> Result<Command> {
        let name = if side == Side::Sender { "laptop" } else { "desktop" };
        let home = self.scratch.join(name);
        let place = self.scratch.join(format!("{name}.pwd"));
        let at = fs::read_to_string(&place).map_or(home.clone(), |at| PathBuf::from(at.trim_end()));
        let path = std::env::var("PATH")?;
        let mut command = clean(Command::new("sh"));
        command.arg("-c").arg(format!("trap 'pwd >\"$PLACE\"' EXIT\n{script}"));
        for (key, _) in std::env::vars_os() {
            let name = key.to_string_lossy();
            if name.starts_with("XDG_") || name.starts_with("ZDOTDIR") {
                command.env_remove(&key);
            }
        }
        command.env("PATH", format!("{}:{path}", self.scratch.join("bin").display()));
        // What stays on one machine is shown as it is without Tailscale.
        if !script.contains("--pod") && !script.contains("127.0.0.1") {
            command.env("TRANSFER_TAILSCALE", self.scratch.join("bin/tailscale"));
        }
        command.env("HOME", home).env("SHELL", "/bin/bash").env("SIDE", name);
        command.env("PLACE", place).current_dir(at).process_group(0);
        Ok(command)
    }
}

/// `--port 4000` as a port that is free now; the usual one may be in use where this runs.
fn with_free_port(command: &str) -> Result<String> {
    let waits = command.contains("transfer send") && !command.contains("--dry-run");
    let looks = command.contains("transfer doctor");
    if !waits && !looks {
        return Ok(command.to_owned());
    }
    let port = match looks {
        true => TcpListener::bind("127.0.0.1:0")?.local_addr()?.port(),
        false => 0,
    };
    let words: Vec<&str> = command.split(' ').collect();
    let named = words.iter().position(|word| *word == "--port");
    let without: Vec<&str> = words
        .iter()
        .enumerate()
        .filter(|(i, _)| named.is_none_or(|at| *i != at && *i != at + 1))
        .map(|(_, word)| *word)
        .collect();
    let subcommand = if looks { "transfer doctor" } else { "transfer send" };
    Ok(without.join(" ").replace(subcommand, &format!("{subcommand} --port {port}")))
}

/// Port and token of every ticket in a command replaced by the sender's; the host stays.
fn with_ticket(command: &str, real: &str) -> String {
    let Some((_, token)) = real.rsplit_once(':') else { return command.to_owned() };
    let port = real.rsplit(':').nth(1).unwrap_or_default();
    let mut replaced = command.to_owned();
    for word in words_of(command) {
        if let Some(host) = host_of_ticket(word).filter(|_| word.ends_with(TOKEN)) {
            replaced = replaced.replace(word, &format!("{host}:{port}:{token}"));
        }
    }
    replaced
}

fn words_of(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| c.is_whitespace() || matches!(c, '=' | '"' | '\''))
}

/// The host, if a word is a ticket.
fn host_of_ticket(word: &str) -> Option<&str> {
    let (rest, token) = word.rsplit_once(':')?;
    let is_token = token.split('-').count() >= 2
        && token
            .split('-')
            .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()));
    let host = match rest.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => rest,
    };
    (is_token && !host.is_empty() && !host.contains('/')).then_some(host)
}

/// Fails unless a command ended, and said, what is shown.
fn judge(step: &Step, ended: Ended) -> Result<()> {
    let ended = ended.expect(step.code)?;
    let said = format!("{}\n{}", ended.stdout, ended.stderr);
    let said: Vec<String> = said.lines().map(plain).collect();
    for line in &step.says {
        let (start, open) = match line.split_once('…') {
            Some((start, _)) => (plain(start), true),
            None => (plain(line), false),
        };
        let same = |real: &String| if open { real.starts_with(&start) } else { *real == start };
        if !said.iter().any(same) {
            bail!("it does not say {line:?}: {ended:#?}");
        }
    }
    Ok(())
}

/// A line without what differs from run to run.
fn plain(line: &str) -> String {
    let mut line = line.trim_end().to_owned();
    for word in words_of(&line.clone()) {
        if let Some(host) = host_of_ticket(word) {
            line = line.replace(word, &format!("{host}:TOKEN"));
        }
    }
    let mut words: Vec<&str> = line.split(' ').collect();
    for at in 1..words.len() {
        let unit = words[at].trim_end_matches([',', '.']);
        let number = words[at - 1].parse::<f64>().is_ok();
        let free = words.get(at + 1).is_some_and(|word| word.starts_with("free"));
        if number && (unit == "s" || unit.ends_with("/s") || free) {
            words[at - 1] = "N";
            words[at] = "UNIT";
        } else if words[at - 1] == "port" && unit.parse::<u16>().is_ok() {
            words[at] = "N";
        }
    }
    words.join(" ")
}

#[test]
fn commands_are_made_runnable() -> Result<()> {
    let cases = [
        ("transfer send a", "transfer send --port 0 a"),
        ("transfer send --pod --port 4000 a", "transfer send --port 0 --pod a"),
        ("transfer send --dry-run a", "transfer send --dry-run a"),
        ("transfer receive x", "transfer receive x"),
    ];
    for (shown, runs) in cases {
        assert_eq!(with_free_port(shown)?, runs);
    }
    let real = "100.64.1.123:4711:good-words";
    let cases = [
        (
            "transfer receive 127.0.0.1:4000:ocean-tiger",
            "transfer receive 127.0.0.1:4711:good-words",
        ),
        ("TICKET=laptop:ocean-tiger x -o -", "TICKET=laptop:4711:good-words x -o -"),
        ("x [::1]:4000:ocean-tiger", "x [::1]:4711:good-words"),
        ("x a:b c-d laptop:ocean-tigr", "x a:b c-d laptop:ocean-tigr"),
    ];
    for (shown, runs) in cases {
        assert_eq!(with_ticket(shown, real), runs);
    }
    assert_eq!(
        plain("sent 3 files: 3.0 MB in 0.0 s, 206.1 MB/s"),
        "sent 3 files: 3.0 MB in N UNIT N UNIT"
    );
    Ok(())
}
