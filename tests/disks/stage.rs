//! What every disk goes through: a tree is sent, sent again, broken off and gone on with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use filetime::FileTime;
use fuser::Errno;

use crate::faulty::{Faults, Times};
use crate::fuse::Mounted;
use crate::proxy::Proxy;
use crate::util::process::{Ended, LIMIT, Pipe, Process, Sender, clean, receiving, run};
use crate::util::root::has_others;
use crate::util::skip;
use crate::util::tree::{Node, Scratch, Tree, chmod, ensure_same, noise, touch, tree, write};

/// What of a tree a disk can hold.
#[derive(Debug, Clone, Copy)]
pub struct Holds {
    /// Permission bits.
    pub modes: bool,
    /// Times; nothing where it keeps none.
    pub times: Option<Times>,
}

impl Holds {
    /// Everything.
    pub const ALL: Self = Self { modes: true, times: Some(Times::ANY) };

    fn node(self, node: &Node) -> Node {
        let mode = |mode: Option<u32>| mode.filter(|_| self.modes);
        node.with(mode, |time| match self.times {
            None => FileTime::zero(),
            Some(times) => {
                const SECOND: i128 = 1_000_000_000;
                let exact =
                    i128::from(time.unix_seconds()) * SECOND + i128::from(time.nanoseconds());
                let kept = times.keep(exact);
                let seconds = i64::try_from(kept.div_euclid(SECOND)).unwrap_or_default();
                let rest = u32::try_from(kept.rem_euclid(SECOND)).unwrap_or_default();
                FileTime::from_unix_time(seconds, rest)
            }
        })
    }

    /// A tree as the disk can hold it.
    pub fn of(self, tree: &Tree) -> Tree {
        tree.iter().map(|(path, node)| (path.clone(), self.node(node))).collect()
    }
}

/// A tree with files of several sizes, modes and times, in the order of their names.
pub fn make_tree(root: &Path) -> Result<()> {
    let files = [
        ("a/empty", 0, 0o644, 1_600_000_000, 0),
        ("a/one", 1000, 0o640, 1_600_000_001, 123_456_789),
        ("a/program", 20_000, 0o755, 1_600_000_003, 999_999_999),
        ("big", 3_000_000, 0o600, 1_600_000_000, 7),
        ("a/long ago", 300, 0o644, -100_000_000, 0),
        ("a/one day", 300, 0o644, 4_200_000_000, 0),
        ("z", 70_000, 0o444, 1_000_000_000, 500_000_000),
    ];
    for (seed, (name, size, mode, seconds, nanoseconds)) in (1..).zip(files) {
        let file = root.join(name);
        write(&file, noise(size, seed))?;
        chmod(&file, mode)?;
        touch(&file, seconds, nanoseconds)?;
    }
    fs::create_dir(root.join("nothing"))?;
    chmod(&root.join("a"), 0o750)?;
    for folder in ["a", "nothing", ""] {
        touch(&root.join(folder), 1_500_000_000, 250_000_000)?;
    }
    Ok(())
}

/// Fails unless `into` has the tree, as the disk can hold it, and nothing more.
pub fn ensure_holds(into: &Path, root: &Path, holds: Holds) -> Result<()> {
    let name = root.file_name().context("a path without a name")?;
    let found: BTreeSet<_> = names(into)?.into_iter().collect();
    let expected: BTreeSet<_> = [PathBuf::from(name)].into();
    ensure!(found == expected, "{found:?} are in the folder, not {expected:?}");
    ensure_same(&holds.of(&tree(root)?), &holds.of(&tree(&into.join(name))?))
}

/// The names in a folder; what every disk has by itself left out.
pub fn names(folder: &Path) -> Result<Vec<PathBuf>> {
    let names = crate::util::tree::names(folder)?.into_iter();
    Ok(names.filter(|name| name.as_os_str() != "lost+found").collect())
}

/// Fails unless the sender has heard that it was the disk.
pub fn ensure_told(sent: &Ended) -> Result<()> {
    let told = ["could not write", "could not be written", "disk", "folder"];
    let told = told.iter().any(|part| sent.stderr.contains(part));
    ensure!(told, "the sender does not know why; it said:\n{}", sent.stderr);
    Ok(())
}

/// The name of a path, to show or to change.
pub fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Sends to the end; how the sender and the receiver ended.
pub fn send(paths: &[&Path], into: &Path, options: &[&str]) -> Result<(Ended, Ended)> {
    let sender = Sender::pod(paths, &[])?;
    let received = run(receiving(&sender.ticket, into, options))?;
    if received.code != Some(0) && received.code != Some(3) {
        // It may wait for the receiver to come back.
        thread::sleep(Duration::from_millis(300));
        sender.process.interrupt()?;
    }
    Ok((sender.end()?, received))
}

/// The bytes of all files below a folder, as it says.
fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// A transfer that stands still, as the line does.
pub struct Stopped {
    sender: Sender,
    receiver: Process,
    proxy: Proxy,
}

impl Stopped {
    /// Sends, and stops the line when `limit` bytes have passed and most of them are on the disk.
    pub fn at(limit: u64, paths: &[&Path], into: &Path, options: &[&str]) -> Result<Self> {
        let before = bytes_in(into);
        let sender = Sender::pod(paths, &[])?;
        let proxy = Proxy::start(&sender, limit)?;
        let receiver = Process::start(receiving(&proxy.ticket, into, options))?;
        proxy.wait_stalled()?;
        // All but what is on its way. Where the disk cannot tell, this is any other moment.
        let deadline = Instant::now() + Duration::from_secs(2);
        while bytes_in(into) < before + limit / 2 && Instant::now() < deadline {
            sleep(Duration::from_millis(5));
        }
        Ok(Self { sender, receiver, proxy })
    }

    /// `kill -9` to the receiver; the sender goes on waiting.
    pub fn kill(self) -> Result<Sender> {
        let Self { mut sender, receiver, proxy } = self;
        receiver.kill()?;
        // Its end of the connection is gone with it.
        proxy.cut();
        sender.process.wait_for(Pipe::Err, "; waiting for it to come back")?;
        Ok(sender)
    }

    /// Ctrl-C, which leaves the receiver time to write down what it has.
    pub fn interrupt(self) -> Result<Sender> {
        let Self { mut sender, receiver, proxy } = self;
        receiver.interrupt()?;
        // It hears of it between two records.
        sleep(Duration::from_millis(100));
        proxy.resume();
        receiver.end()?.expect(130)?;
        sender.process.wait_for(Pipe::Err, "; waiting for it to come back")?;
        Ok(sender)
    }

    /// Lets it go on; how the sender and the receiver ended.
    pub fn go_on(self) -> Result<(Ended, Ended)> {
        self.proxy.resume();
        let received = self.receiver.end()?;
        Ok((self.sender.end()?, received))
    }
}

/// Sends, and kills the receiver when `limit` bytes have passed.
pub fn break_off(paths: &[&Path], into: &Path, options: &[&str], limit: u64) -> Result<Sender> {
    Stopped::at(limit, paths, into, options)?.kill()
}

/// All that a disk with nothing but flaws must do with a tree.
pub fn go_through(
    disk: &Path,
    holds: Holds,
    check: impl Fn(&Ended, &Ended) -> Result<()>,
) -> Result<()> {
    let from = Scratch::new()?;
    let root = from.join("tree");
    make_tree(&root)?;
    let into = disk.join("in");
    fs::create_dir(&into)?;
    let (sent, received) = send(&[&root], &into, &[])?;
    check(&sent, &received).context("sent")?;
    ensure_ended(&sent, &received, 0).context("sent")?;
    ensure_holds(&into, &root, holds).context("sent")?;

    let (sent, received) = send(&[&root], &into, &[])?;
    ensure_ended(&sent, &received, 0).context("sent again")?;
    ensure_holds(&into, &root, holds).context("sent again")?;

    let other = disk.join("other");
    fs::create_dir(&other)?;
    let sender = break_off(&[&root], &other, &[], 1_500_000)?;
    let received = run(receiving(&sender.ticket, &other, &[]))?;
    ensure_code("receiver", &received, 0).context("gone on with after a kill")?;
    ensure_ended(&sender.end()?, &received, 0).context("gone on with after a kill")?;
    ensure_holds(&other, &root, holds).context("gone on with after a kill")
}

/// Fails unless both ended with this code.
pub fn ensure_ended(sent: &Ended, received: &Ended, code: i32) -> Result<()> {
    ensure_code("receiver", received, code)?;
    ensure_code("sender", sent, code)
}

/// Fails, with all that it said, unless one side ended with this code.
pub fn ensure_code(side: &str, ended: &Ended, code: i32) -> Result<()> {
    let Ended { code: found, stderr, .. } = ended;
    ensure!(
        *found == Some(code),
        "the {side} ended with {found:?}, not {code}; it said:\n{stderr}"
    );
    Ok(())
}

/// What the program says of an error: the system's words.
pub fn words(error: Errno) -> String {
    let text = std::io::Error::from_raw_os_error(error.code()).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.chars()
        .enumerate()
        .map(|(at, c)| if at == 0 { c.to_ascii_lowercase() } else { c })
        .collect()
}

/// Every file below a folder, and what is in it.
pub fn contents(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let files = tree(folder)?.into_iter().filter(|(_, node)| node.is_file());
    files.map(|(path, _)| Ok((path.clone(), fs::read(folder.join(path))?))).collect()
}

/// Fails unless the files below a folder are those, whatever their names, each once; and unless
/// none is called like something unfinished that nobody sent.
pub fn ensure_contents(folder: &Path, expected: &[&[u8]]) -> Result<()> {
    let found = contents(folder)?;
    let names: Vec<_> = found.keys().collect();
    let short = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(16)]).into_owned();
    for content in expected {
        let times = found.values().filter(|found| found == content).count();
        let wanted = expected.iter().filter(|other| other == &content).count();
        let what = short(content);
        ensure!(times == wanted, "{what:?} is there {times} times, not {wanted}: {names:?}");
    }
    ensure!(found.len() == expected.len(), "there should be {} files: {names:?}", expected.len());
    Ok(())
}

/// The program as a user who owns nothing.
pub fn as_nobody(command: Command, home: &Path) -> Result<Command> {
    // The one that was built may be where this user cannot go.
    let program = home.join("transfer");
    if !program.exists() {
        fs::copy(command.get_program(), &program)?;
        chmod(&program, 0o755)?;
        chmod(home, 0o755)?;
    }
    let mut as_nobody = clean(Command::new(program));
    as_nobody.args(command.get_args()).env("HOME", home).uid(65_534).gid(65_534);
    Ok(as_nobody)
}

/// Waits for something that comes for certain.
pub fn wait_until(mut there: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while !there() {
        ensure!(Instant::now() < deadline, "it never comes");
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// A disk with these faults; nothing, and a reason is shown, where none can be mounted.
pub fn faulty(faults: Faults) -> Result<Option<Mounted>> {
    if faults.every_owner.is_some() && !has_others()? {
        skip("what belongs to nobody here cannot be written at all");
        return Ok(None);
    }
    match Mounted::new(faults) {
        Ok(disk) => Ok(Some(disk)),
        Err(error) => {
            static SAID: Once = Once::new();
            SAID.call_once(|| skip(format_args!("{error:#}")));
            Ok(None)
        }
    }
}

/// Tries every row, some at a time, and fails with all that are not as they should be.
pub fn all<R: Sync>(
    rows: &[R],
    name: impl Fn(&R) -> String + Sync,
    trial: impl Fn(&R) -> Result<()> + Sync,
) -> Result<()> {
    const LANES: usize = 4;
    // What is skipped in a lane is skipped in this test.
    let test = thread::current().name().unwrap_or_default().to_owned();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let lane = || {
        while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = trial(row) {
                let failure = format!("FAILED {}: {error:#}", name(row));
                failed.lock().expect("no lane panics").push(failure);
            }
        }
    };
    thread::scope(|scope| {
        let start = |_| thread::Builder::new().name(test.clone()).spawn_scoped(scope, lane);
        let lanes: Vec<_> = (0..LANES).map(start).map(|it| it.expect("a thread")).collect();
        lanes.into_iter().for_each(|lane| lane.join().expect("no lane panics"));
    });
    let failed = failed.into_inner()?;
    ensure!(failed.is_empty(), "{} of {}:\n{}", failed.len(), rows.len(), failed.join("\n"));
    Ok(())
}
