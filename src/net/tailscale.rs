//! Who is who in the tailnet, asked of the `tailscale` program. It hides four transports and an
//! access token behind one command line, and a run of ours needs only a few answers.

mod status;
#[cfg(test)]
pub(crate) mod tests;
pub mod watch;

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use self::status::WITHOUT;
pub use self::status::{Link, Peer, Status, Way, parse_whois};
use crate::bounds::{MAX_STATUS, STATUS_FRESH, STATUS_PAUSE, TAILSCALE_LIMIT};
use crate::error::{Cause, Error, Result, reason, shown, shown_os};

/// The variable that names the program, where it is not found by itself.
pub const PROGRAM: &str = "TRANSFER_TAILSCALE";
/// The variable that names the service's socket, where it is another than usual.
pub const SOCKET: &str = "TS_SOCKET";

/// Asks the `tailscale` program, and remembers its answer for 30 s. May be shared by threads.
#[derive(Debug)]
pub struct TailscaleDetector {
    cli: Cli,
    limit: Duration,
    fresh: Duration,
    pause: Duration,
    last: Mutex<Option<(Instant, Result<Arc<Status>>)>>,
    /// Held while a status runs; apart from `last`, so that known peers need not wait for it.
    running: Mutex<()>,
}

impl TailscaleDetector {
    /// Finds the program: `$TRANSFER_TAILSCALE`, then `PATH`, then where its packages put it.
    /// `$TS_SOCKET` names the service's socket where it is not the usual one. Fails (exit 5)
    /// when there is none.
    pub fn find() -> Result<Self> {
        let program = locate(env::var_os(PROGRAM), env::var_os("PATH"), usual_places())?;
        let socket = env::var_os(SOCKET).filter(|socket| !socket.is_empty());
        Ok(Self::new(Cli { program, socket }))
    }

    /// Uses the program at `command`.
    pub fn with_command(command: PathBuf) -> Self {
        Self::new(Cli { program: command, socket: None })
    }

    fn new(cli: Cli) -> Self {
        Self {
            cli,
            limit: TAILSCALE_LIMIT,
            fresh: STATUS_FRESH,
            pause: STATUS_PAUSE,
            last: Mutex::default(),
            running: Mutex::default(),
        }
    }

    /// Gives the program only so long for an answer instead of 10 s.
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// The program that is asked.
    pub fn cli(&self) -> &Cli {
        &self.cli
    }

    /// A status at most 30 s old. Fails (exit 5) unless Tailscale runs; the error names its state
    /// and the command that mends it.
    pub fn status(&self) -> Result<Arc<Status>> {
        self.status_within(self.fresh)
    }

    /// A status of this moment, whatever was answered before.
    pub fn status_now(&self) -> Result<Arc<Status>> {
        self.status_within(Duration::ZERO)
    }

    /// This machine's addresses in the tailnet, IPv4 first and at least one.
    pub fn own_addresses(&self) -> Result<Vec<IpAddr>> {
        Ok(self.status()?.own_addresses()?.to_vec())
    }

    /// The name by which others of the tailnet reach this machine, see [`Status::own_name`].
    pub fn own_name(&self) -> Result<Option<String>> {
        Ok(self.status()?.own_name().map(str::to_owned))
    }

    /// True in a node without a network device, see [`Status::is_userspace`].
    pub fn is_userspace(&self) -> Result<bool> {
        Ok(self.status()?.is_userspace())
    }

    /// The address of the device called `name`, see [`Status::resolve`]. Fails with exit 5 when
    /// there is none, with exit 2 when there are several.
    pub fn address_of(&self, name: &str) -> Result<IpAddr> {
        self.status()?.resolve(name)?.ok_or_else(|| {
            let message = format!("no device of your tailnet is called \"{}\"", shown(name));
            Error::new(Cause::UnknownName, message)
                .hint("`tailscale status` lists their names; an address works too")
        })
    }

    /// The device of the tailnet that has exactly this address; this machine counts. A status at
    /// most 30 s old answers; an unknown address makes it ask once more, at most every 2 s. Fails
    /// with exit 4 for an address of nobody's, with exit 5 when Tailscale does not answer.
    pub fn verify_peer_ip_cached(&self, address: IpAddr) -> Result<Peer> {
        let address = address.to_canonical();
        let mut found = self.status()?.peer(address).cloned();
        if found.is_none() {
            found = self.status_within(self.pause)?.peer(address).cloned();
        }
        let found = found.ok_or_else(|| {
            Error::refused(format!("{address} is not a device of your tailnet"))
                .hint(format!("`tailscale status` lists the devices that may connect; {WITHOUT}"))
        });
        found.and_then(not_expired)
    }

    /// The device behind a TCP connection's remote address. A userspace node sees every
    /// connection come from 127.0.0.1, and only its service knows whom it forwards. Ask while the
    /// connection is open. `None`: the service knows of none, so it is a program of this machine.
    /// Fails with exit 4 when the device's key has expired, with exit 5 when Tailscale does not
    /// answer.
    pub fn whois(&self, remote: SocketAddr) -> Result<Option<Peer>> {
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port()).to_string();
        let args = ["whois", "--json", "--proto=tcp", &remote];
        // The service may learn of the connection a moment later than we do: ask twice.
        for _ in 0..2 {
            let answer = self.cli.run(&args, self.limit)?;
            if answer.success {
                return parse_whois(&answer.stdout).and_then(not_expired).map(Some);
            }
            if !answer.text().contains("peer not found") {
                return Err(answer.failure(&args));
            }
        }
        Ok(None)
    }

    /// The last answer if it is young enough, else a new one. Of several callers one asks and the
    /// others wait for its answer. A failure is repeated for a while, too: it can take 10 s.
    fn status_within(&self, age: Duration) -> Result<Arc<Status>> {
        if let Some(answer) = self.remembered(age) {
            return answer;
        }
        let _running = lock(&self.running);
        if let Some(answer) = self.remembered(age) {
            return answer;
        }
        let answer = self.ask();
        *lock(&self.last) = Some((Instant::now(), answer.clone()));
        answer
    }

    fn remembered(&self, age: Duration) -> Option<Result<Arc<Status>>> {
        let last = lock(&self.last);
        let (at, answer) = last.as_ref()?;
        let age = if answer.is_ok() { age } else { self.pause };
        (at.elapsed() < age).then(|| answer.clone())
    }

    fn ask(&self) -> Result<Arc<Status>> {
        let args = ["status", "--json"];
        let answer = self.cli.run(&args, self.limit)?;
        if !answer.success {
            return Err(answer.failure(&args));
        }
        let status = Status::parse(&answer.stdout)?;
        status.require_running()?;
        Ok(Arc::new(status))
    }
}

/// No packet gets through the tailnet with an expired key, so whoever bears such a device's
/// address came another way.
fn not_expired(peer: Peer) -> Result<Peer> {
    if peer.expired {
        return Err(Error::refused(format!("the Tailscale key of {peer} has expired"))
            .hint("renew it there: `tailscale up --force-reauth`"));
    }
    Ok(peer)
}

/// Nothing here is left half-changed by a panic, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The `tailscale` program and how to call it.
#[derive(Debug, Clone)]
pub struct Cli {
    program: PathBuf,
    socket: Option<OsString>,
}

impl Cli {
    /// Where the program is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A call with these arguments: standard input is null, both outputs are piped.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(socket) = &self.socket {
            command.arg("--socket").arg(socket);
        }
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // The macOS app is its own CLI, and without a terminal would open its window instead.
        command.env("TAILSCALE_BE_CLI", "1");
        // Not its business, and `tailscale nc` may live for hours, its environment to be read.
        command.env_remove("TRANSFER_TICKET");
        command
    }

    /// What a failure to start the program means.
    pub fn cannot_run(&self, error: &io::Error) -> Error {
        let program = shown_os(&self.program);
        Error::network(format!("cannot run {}: {}", program, reason(error)))
            .hint(format!("set TRANSFER_TAILSCALE to the tailscale program; {WITHOUT}"))
    }

    fn run(&self, args: &[&str], limit: Duration) -> Result<Answer> {
        let deadline = Instant::now() + limit;
        let mut child = self.command(args).spawn().map_err(|error| self.cannot_run(&error))?;
        // Both are read while it runs: a full pipe would stop it for ever.
        let stdout = child.stdout.take().map(|pipe| collect(pipe, MAX_STATUS));
        let stderr = child.stderr.take().map(|pipe| collect(pipe, 4096));
        let wait = || -> Option<Answer> {
            let left = || deadline.saturating_duration_since(Instant::now());
            let stdout = stdout?.recv_timeout(left()).ok()?;
            let stderr = stderr?.recv_timeout(left()).ok()?;
            loop {
                match child.try_wait() {
                    Ok(Some(status)) => {
                        return Some(Answer { success: status.success(), stdout, stderr });
                    }
                    Ok(None) if !left().is_zero() => thread::sleep(Duration::from_millis(2)),
                    _ => return None,
                }
            }
        };
        if let Some(answer) = wait() {
            return Ok(answer);
        }
        // It may be gone already; then there is nothing to end.
        let _ = child.kill();
        let _ = child.wait();
        let command = args.join(" ");
        Err(Error::network(format!("`tailscale {command}` gave no answer in {limit:?}"))
            .hint(format!("restart the Tailscale service or app; {WITHOUT}")))
    }
}

/// Reads a pipe to its end in a thread of its own and sends the first `keep` bytes.
pub(super) fn collect(mut pipe: impl Read + Send + 'static, keep: u64) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A broken pipe ends the output like its end does; the rest is read, because the writer
        // would die of a closed pipe before it could exit properly.
        let _ = (&mut pipe).take(keep).read_to_end(&mut bytes);
        let _ = sender.send(bytes);
        let _ = io::copy(&mut pipe, &mut io::sink());
    });
    receiver
}

struct Answer {
    success: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Answer {
    /// Why it failed: its stderr; the macOS app uses stdout for that.
    fn text(&self) -> String {
        [&self.stderr, &self.stdout]
            .into_iter()
            .map(|bytes| excerpt(bytes))
            .find(|text| !text.is_empty())
            .unwrap_or_else(|| "it gave no reason".into())
    }

    fn failure(&self, args: &[&str]) -> Error {
        let text = self.text();
        let says = |part: &str| text.to_lowercase().contains(part);
        let command = format!("tailscale {}", args.join(" "));
        let hint = if says("appears to be running as") {
            "the service uses another socket: set TS_SOCKET to it, in containers often \
             TS_SOCKET=/tmp/tailscaled.sock"
                .into()
        } else if says("401 unauthorized") || says("not allowed") || says("permission denied") {
            "Tailscale belongs to another user here: log in as that user or as an administrator"
                .into()
        } else if says("failed to connect to local") {
            match env::consts::OS {
                "macos" | "windows" => "open the Tailscale app to start its service".into(),
                _ => "start it: `sudo systemctl start tailscaled`".to_owned(),
            }
        } else if says("flag provided but not defined") || says("unknown subcommand") {
            "this Tailscale is too old: update it to 1.70 or later".into()
        } else {
            format!("run `{command}` yourself to see more")
        };
        Error::network(format!("`{command}` failed: {text}")).hint(format!("{hint}; {WITHOUT}"))
    }
}

fn locate(named: Option<OsString>, path: Option<OsString>, usual: Vec<PathBuf>) -> Result<PathBuf> {
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        if is_program(&named) {
            return Ok(real_path(named));
        }
        let cause = if named.exists() { Cause::Network } else { Cause::NotInstalled };
        let named = shown_os(&named);
        let message = format!("TRANSFER_TAILSCALE names {}, which is no program", named);
        return Err(Error::new(cause, message).hint(format!(
            "give it the full path of the tailscale program, or unset it; {WITHOUT}"
        )));
    }
    let file = format!("tailscale{}", env::consts::EXE_SUFFIX);
    // Not from relative folders in PATH: those depend on where the user happens to be.
    env::split_paths(path.as_deref().unwrap_or(OsStr::new("")))
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(&file))
        .chain(usual)
        .find(|program| is_program(program))
        .map(real_path)
        .ok_or_else(|| {
            let message = "the tailscale program is not on this machine";
            Error::new(Cause::NotInstalled, message).hint(format!(
                "install it from https://tailscale.com/download, or set TRANSFER_TAILSCALE to \
                 it; {WITHOUT}"
            ))
        })
}

/// The macOS app hangs when it is called through a symlink.
fn real_path(program: PathBuf) -> PathBuf {
    if cfg!(target_os = "macos") { fs::canonicalize(&program).unwrap_or(program) } else { program }
}

fn is_program(path: &Path) -> bool {
    let Ok(about) = fs::metadata(path) else { return false };
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o111 == 0 {
        return false;
    }
    about.is_file()
}

fn usual_places() -> Vec<PathBuf> {
    if cfg!(windows) {
        return ["ProgramFiles", "ProgramW6432"]
            .iter()
            .filter_map(env::var_os)
            .map(|folder| PathBuf::from(folder).join("Tailscale").join("tailscale.exe"))
            .collect();
    }
    let places: &[&str] = if cfg!(target_os = "macos") {
        &[
            "/opt/homebrew/bin/tailscale",
            "/usr/local/bin/tailscale",
            "/Applications/Tailscale.app/Contents/MacOS/Tailscale",
        ]
    } else {
        &[
            "/usr/bin/tailscale",
            "/usr/local/bin/tailscale",
            "/run/current-system/sw/bin/tailscale", // NixOS
            "/snap/bin/tailscale",                  // snap
            "/var/packages/Tailscale/target/bin/tailscale", // Synology
            "/usr/local/sbin/tailscale",            // Unraid
        ]
    };
    places.iter().map(PathBuf::from).collect()
}

/// What a program or a proxy wrote, on one line of at most 300 characters, for an error message.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..4096).unwrap_or(bytes));
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let start: String = line.chars().take(300).collect();
    let more = if start.len() < line.len() { "…" } else { "" };
    format!("{}{more}", shown(&start))
}
