//! What every disk goes through: a tree is sent, sent again, broken off and gone on with.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use filetime::FileTime;

use crate::faulty::{Faults, Times};
use crate::fuse::Mounted;
use crate::proxy::Proxy;
use crate::util::process::{Ended, Pipe, Process, Sender, receiving, run};
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
                let exact = i128::from(time.unix_seconds()) * SECOND + i128::from(time.nanoseconds());
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
        ("long ago", 300, 0o644, -100_000_000, 0),
        ("one day", 300, 0o644, 4_200_000_000, 0),
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

/// Sends, and kills the receiver with `kill -9` when `limit` bytes have passed and most of them are
/// on the disk. The sender goes on waiting.
pub fn break_off(paths: &[&Path], into: &Path, options: &[&str], limit: u64) -> Result<Sender> {
    let mut sender = Sender::pod(paths, &[])?;
    let proxy = Proxy::start(&sender, limit)?;
    let receiver = Process::start(receiving(&proxy.ticket, into, options))?;
    proxy.wait_stalled()?;
    // Where the disk cannot tell, this is a kill at any other moment.
    let deadline = Instant::now() + Duration::from_secs(2);
    while bytes_in(into) < limit / 2 && Instant::now() < deadline {
        sleep(Duration::from_millis(5));
    }
    receiver.kill()?;
    proxy.resume();
    sender.process.wait_for(Pipe::Err, "; waiting for it to come back")?;
    Ok(sender)
}

/// All that a disk with nothing but flaws must do with a tree.
pub fn go_through(disk: &Path, holds: Holds, check: impl Fn(&Ended, &Ended) -> Result<()>) -> Result<()> {
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
    if received.code != Some(0) {
        bail!("gone on with after a kill: {received:#?}");
    }
    ensure_ended(&sender.end()?, &received, 0).context("gone on with after a kill")?;
    ensure_holds(&other, &root, holds).context("gone on with after a kill")
}

/// Fails unless both ended with this code.
pub fn ensure_ended(sent: &Ended, received: &Ended, code: i32) -> Result<()> {
    ensure!(received.code == Some(code), "the receiver, not {code}: {received:#?}; {sent:#?}");
    ensure!(sent.code == Some(code), "the sender, not {code}: {sent:#?}; {received:#?}");
    Ok(())
}

/// A disk with these faults; nothing, and a reason is shown, where none can be mounted.
pub fn faulty(faults: Faults) -> Result<Option<Mounted>> {
    match Mounted::new(faults) {
        Ok(disk) => Ok(Some(disk)),
        Err(error) => {
            eprintln!("skipped: {error:#}");
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
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().for_each(|lane| lane.join().expect("no lane panics"));
    });
    let failed = failed.into_inner()?;
    ensure!(failed.is_empty(), "{} of {}:\n{}", failed.len(), rows.len(), failed.join("\n"));
    Ok(())
}
