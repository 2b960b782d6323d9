//! Runs the program as a user would: arguments in, lines and an exit code out. Whatever goes
//! wrong, no process outlives its test and no test waits for ever.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender as Queue};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Nothing a test waits for takes longer, unless it never comes.
pub const LIMIT: Duration = Duration::from_secs(if cfg!(windows) { 240 } else { 60 });

/// The program without anything of this machine's Tailscale, proxies or tickets.
pub fn transfer() -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_transfer")))
}

/// Takes out of a command's environment what would steer the program.
pub fn clean(mut command: Command) -> Command {
    for name in [
        "TRANSFER_TICKET",
        "TRANSFER_CONFIG",
        "TRANSFER_WAY",
        "TRANSFER_RELAY",
        "TRANSFER_RELAY_ONLY",
        "TRANSFER_RELAY_TOKEN",
        "TS_SOCKET",
        "ALL_PROXY",
        "all_proxy",
        "SSL_CERT_FILE",
    ] {
        command.env_remove(name);
    }
    command.env("TRANSFER_TAILSCALE", "/nonexistent/tailscale");
    // Not what somebody has kept here; and what root can keep, stays among what tests make.
    command.env("XDG_CONFIG_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/config"));
    command
}

/// `transfer receive -y -o INTO OPTIONS TICKET`.
pub fn receiving(ticket: &str, into: &Path, options: &[&str]) -> Command {
    let mut command = transfer();
    command.args(["receive", "-y", "-o"]).arg(into).args(options).arg(ticket);
    command
}

/// Runs a command to its end.
pub fn run(command: Command) -> Result<Ended> {
    Process::start(command)?.end()
}

/// Which of a process's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pipe {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A running process; killed when dropped.
pub struct Process {
    child: Child,
    lines: Receiver<(Pipe, String)>,
    stdout: String,
    stderr: String,
}

/// What a process left behind.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// All it wrote to standard output.
    pub stdout: String,
    /// All it wrote to standard error.
    pub stderr: String,
}

impl Ended {
    /// Fails with all that was said unless the exit code is `code`.
    pub fn expect(self, code: i32) -> Result<Self> {
        ensure!(self.code == Some(code), "expected exit code {code}: {self:#?}");
        Ok(self)
    }

    /// Fails with all that was said unless standard error has `part` in it.
    pub fn says(&self, part: &str) -> Result<()> {
        ensure!(self.stderr.contains(part), "expected {part:?} on stderr: {self:#?}");
        Ok(())
    }
}

impl Process {
    /// Starts a command with no input.
    pub fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::start_as_it_is(command)
    }

    /// Starts a command whose input and outputs are chosen already; reads those that are piped.
    pub fn start_as_it_is(mut command: Command) -> Result<Self> {
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let (queue, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            read_lines(Pipe::Out, stdout, queue.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            read_lines(Pipe::Err, stderr, queue);
        }
        Ok(Self { child, lines, stdout: String::new(), stderr: String::new() })
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that has `part` in it.
    pub fn wait_for(&mut self, pipe: Pipe, part: &str) -> Result<String> {
        let deadline = Instant::now() + LIMIT;
        while let Some((from, line)) = self.next_line(deadline)? {
            if from == pipe && line.contains(part) {
                return Ok(line);
            }
        }
        bail!("ended without {part:?}; stdout: {:?}, stderr: {:?}", self.stdout, self.stderr)
    }

    /// Waits until standard error has had a line with `part` in it: it may have come before what
    /// was waited for on standard output.
    pub fn wait_until_said(&mut self, part: &str) -> Result<String> {
        match self.stderr.split_inclusive('\n').find(|line| line.contains(part)) {
            Some(line) => Ok(line.to_owned()),
            None => self.wait_for(Pipe::Err, part),
        }
    }

    /// Waits for the end.
    pub fn end(mut self) -> Result<Ended> {
        let deadline = Instant::now() + LIMIT;
        while self.next_line(deadline)?.is_some() {}
        // Its outputs are closed: it is about to be gone.
        let code = self.child.wait()?.code();
        let (stdout, stderr) = (&mut self.stdout, &mut self.stderr);
        Ok(Ended { code, stdout: std::mem::take(stdout), stderr: std::mem::take(stderr) })
    }

    /// Ctrl-C.
    #[cfg(unix)]
    pub fn interrupt(&self) -> Result<()> {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.id())?).context("a process")?;
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::INT)?)
    }

    /// Ends it at once; what it has said is still to be read.
    pub fn force(&mut self) -> Result<()> {
        Ok(self.child.kill()?)
    }

    /// `kill -9`.
    pub fn kill(mut self) -> Result<()> {
        self.force()?;
        self.child.wait()?;
        Ok(())
    }

    fn next_line(&mut self, deadline: Instant) -> Result<Option<(Pipe, String)>> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok((pipe, line)) => {
                match pipe {
                    Pipe::Out => self.stdout.push_str(&line),
                    Pipe::Err => self.stderr.push_str(&line),
                }
                Ok(Some((pipe, line)))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                bail!("it hangs; stdout: {:?}, stderr: {:?}", self.stdout, self.stderr)
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(name: Pipe, pipe: impl Read + Send + 'static, queue: Queue<(Pipe, String)>) {
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            if queue.send((name, String::from_utf8_lossy(&line).into_owned())).is_err() {
                return;
            }
            line.clear();
        }
    });
}

/// A `transfer send` that waits for its receiver.
pub struct Sender {
    /// The process.
    pub process: Process,
    /// What it showed on stdout, behind `transfer receive `.
    pub ticket: String,
}

impl Sender {
    /// Sends paths within this machine, on a port of the system's choice.
    pub fn pod(paths: &[&Path], options: &[&str]) -> Result<Self> {
        let mut command = transfer();
        command.args(["send", "--pod", "--port", "0", "-y"]).args(options).args(paths);
        Self::start(command)
    }

    /// Starts a command and waits for its ticket.
    pub fn start(command: Command) -> Result<Self> {
        Self::of(Process::start(command)?)
    }

    /// Waits for the ticket of a process.
    pub fn of(mut process: Process) -> Result<Self> {
        let line = process.wait_for(Pipe::Out, "")?;
        let ticket = line.trim_end().strip_prefix("transfer receive ");
        let ticket = ticket.with_context(|| format!("no ticket: {line:?}"))?.to_owned();
        Ok(Self { process, ticket })
    }

    /// The port in the ticket.
    pub fn port(&self) -> Result<u16> {
        let port = self.ticket.rsplit(':').nth(1).context("the ticket has no port")?;
        port.parse().with_context(|| format!("the port of {:?}", self.ticket))
    }

    /// Waits for the end.
    pub fn end(self) -> Result<Ended> {
        self.process.end()
    }
}

/// Sends paths into a folder, where both sides must end with exit code `code`. Returns how the
/// sender and the receiver ended.
pub fn send_into(
    into: &Path,
    paths: &[&Path],
    options: &[&str],
    code: i32,
) -> Result<(Ended, Ended)> {
    let sender = Sender::pod(paths, options)?;
    let received = run(receiving(&sender.ticket, into, &[]))?.expect(code)?;
    Ok((sender.end()?.expect(code)?, received))
}
