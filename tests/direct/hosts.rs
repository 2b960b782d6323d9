//! The two ends: `transfer send` at one host and `transfer receive` at another, with a relay between them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::relay::Relay;
use super::stage::Internet;
use super::util::process::{Ended, Pipe, Process};
use super::util::tree::Scratch;

/// What is sent, and where it arrives.
pub struct Hosts<'a> {
    internet: &'a Internet,
    /// URLs of the relays.
    relays: Vec<String>,
    /// What they have for a relay that wants one.
    pub token: Option<String>,
    pub scratch: Scratch,
}

/// A side with `--json`.
pub struct Side(Process);

/// How a side ended, and all that it told.
pub struct Told {
    pub ended: Ended,
    pub lines: Vec<Value>,
}

impl<'a> Hosts<'a> {
    /// Which meet at these relays, and trust them.
    pub fn new(internet: &'a Internet, relays: &[&Relay<'_>]) -> Result<Self> {
        let urls = relays.iter().map(|relay| relay.url()).collect();
        let hosts = Self { internet, relays: urls, token: None, scratch: Scratch::new()? };
        hosts.trust(relays)?;
        Ok(hosts)
    }

    /// From now on they trust these relays and no others.
    pub fn trust(&self, relays: &[&Relay<'_>]) -> Result<()> {
        let mut pem = String::new();
        for relay in relays {
            pem.push_str(&fs::read_to_string(relay.certificate())?);
        }
        Ok(fs::write(self.scratch.join("relays.pem"), pem)?)
    }

    /// A command at a host that trusts the relays.
    fn start(&self, host: &str, words: &[&str]) -> Result<Side> {
        let mut command = self.internet.transfer(host, words);
        if let Some(token) = &self.token {
            command.env("TRANSFER_RELAY_TOKEN", token);
        }
        command.env("SSL_CERT_FILE", self.scratch.join("relays.pem"));
        Ok(Side(Process::start(command)?))
    }

    /// `transfer send --direct --relay … OPTIONS PATH` at `a`, and its ticket.
    pub fn send(&self, path: &Path, options: &[&str]) -> Result<(Side, String)> {
        self.send_by(&self.relays, path, options)
    }

    /// The same with some of the relays alone.
    pub fn send_by(
        &self,
        relays: &[String],
        path: &Path,
        options: &[&str],
    ) -> Result<(Side, String)> {
        let mut sender = self.start_sending(relays, path, options)?;
        let ticket = sender.wait_for("ticket", |_| true)?;
        let ticket = ticket["ticket"].as_str().context("no ticket")?.to_owned();
        Ok((sender, ticket))
    }

    /// The same, where no ticket is to come.
    pub fn send_without_ticket(&self, path: &Path) -> Result<Side> {
        self.start_sending(&self.relays, path, &[])
    }

    fn start_sending(&self, relays: &[String], path: &Path, options: &[&str]) -> Result<Side> {
        let mut words = vec!["send", "--direct", "--json", "-y"];
        relays.iter().for_each(|relay| words.extend(["--relay", relay]));
        words.extend(options);
        let path = path.to_string_lossy();
        words.push(&path);
        self.start("a", &words)
    }

    /// `transfer doctor --direct --relay …` at a machine.
    pub fn doctor(&self, machine: &str) -> Result<Side> {
        let mut words = vec!["doctor", "--direct", "--json"];
        self.relays.iter().for_each(|relay| words.extend(["--relay", relay]));
        self.start(machine, &words)
    }

    /// `transfer receive OPTIONS TICKET` at `b`, into `into`.
    pub fn receive(&self, ticket: &str, options: &[&str]) -> Result<Side> {
        let into = self.place();
        let into = into.to_string_lossy();
        let words = ["receive", "--json", "-o", &into];
        self.start("b", &[&words[..], options, &[ticket]].concat())
    }

    /// Where everything arrives.
    pub fn place(&self) -> PathBuf {
        self.scratch.join("into")
    }
}

impl Side {
    /// The next event of a kind that is like that.
    pub fn wait_for(&mut self, event: &str, like: impl Fn(&Value) -> bool) -> Result<Value> {
        loop {
            let line = self.0.wait_for(Pipe::Out, "\"event\":")?;
            let line: Value = serde_json::from_str(&line)?;
            if line["event"] == event && like(&line) {
                return Ok(line);
            }
            if line["event"] == "end" {
                bail!("it ends without {event:?}: {line}");
            }
        }
    }

    /// Waits for the end.
    pub fn end(self, code: i32) -> Result<Told> {
        let ended = self.0.end()?;
        let lines: Vec<Value> =
            ended.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        ensure!(ended.code == Some(code), "expected exit code {code}: {ended:#?}");
        Ok(Told { ended, lines })
    }

    /// Most memory that it has had, in kB, as the system tells it.
    pub fn memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    }

    /// The process ends now, by `kill -9`.
    pub fn kill(self) -> Result<()> {
        self.0.kill()
    }
}

impl Told {
    /// The ways that the bytes went, one after the other.
    pub fn ways(&self) -> Vec<&str> {
        let paths = self.lines.iter().filter(|line| line["event"] == "path");
        paths.filter_map(|line| line["via"].as_str()).collect()
    }

    /// The one event of a kind.
    pub fn one(&self, event: &str) -> Result<&Value> {
        let found = self.lines.iter().find(|line| line["event"] == event);
        found.with_context(|| format!("no {event:?} in {:?}", self.lines))
    }

    /// How often it had to connect again.
    pub fn reconnected(&self) -> usize {
        self.lines.iter().filter(|line| line["event"] == "reconnecting").count()
    }
}
