//! Two machines on which the commands of a page are typed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::lines::{plain, receives, sends, with_free_port, with_ticket};
use crate::page::{Block, Side, Step, steps};
use crate::util::process::{Ended, Pipe, Process, clean, run};
use crate::util::tree::{Scratch, chmod, write};
use crate::{EXCEPTIONS, TOKEN};

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

/// The two machines of a page.
pub struct Stage {
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
    pub fn new(page: &'static str) -> Result<Self> {
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

    pub fn play(
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
        let sends = sends(&shown);
        if sends {
            self.close()?;
            return self.open(step).with_context(|| shown);
        }
        let receives = receives(&shown) && shown.contains(TOKEN);
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
        command.env("TRANSFER_CONFIG", home.join(".config/transfer"));
        command.env("HOME", home).env("SHELL", "/bin/bash").env("SIDE", name);
        command.env("PLACE", place).current_dir(at).process_group(0);
        Ok(command)
    }
}

/// Fails unless a command ended, and said, what is shown.
fn judge(step: &Step, ended: Ended) -> Result<()> {
    let ended = ended.expect(step.code)?;
    let said = format!("{}\n{}", ended.stdout, ended.stderr);
    let said: Vec<String> = said.lines().map(plain).collect();
    for line in &step.says {
        let (start, open) = match line.split_once('…') {
            Some((start, _)) => (plain(start), true),
            // A Mac's disk takes names of other capitals for the same, of which the doctor warns.
            None => (plain(line), cfg!(target_os = "macos") && line.as_str() == "no problems"),
        };
        let same = |real: &String| if open { real.starts_with(&start) } else { *real == start };
        if !said.iter().any(same) {
            bail!("it does not say {line:?}: {ended:#?}");
        }
    }
    Ok(())
}
