//! The power is cut: what the disk has at that moment is all there is. The image of an ext4 with its
//! defaults is copied while a transfer runs, and after both sides said that it is done; the copy is
//! mounted, as after a restart, and the same command is run again.
//!
//! The image lies on a file system that copies a file in one step, whoever writes to it, so that
//! each copy is what a disk could have had.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::images::{Mount, btrfs, text, tool};
use crate::proxy::Proxy;
use crate::stage::{Holds, all, contents, ensure_ended, ensure_holds, send, words};
use crate::util::process::{Process, Sender, receiving};
use crate::util::root::as_root;
use crate::util::skip;
use crate::util::tree::{Scratch, chmod, ensure_same, noise, touch, tree, write};

/// Rounds, unless the environment says otherwise.
const ROUNDS: u64 = 5;

/// How many copies a round makes while the transfer runs, and afterwards.
const COPIES: u64 = 4;

/// How long after the end the last one is made: ext4 writes down names after 5 s.
const AFTERWARDS: Duration = Duration::from_secs(7);

fn rounds() -> u64 {
    let told = std::env::var("TRANSFER_POWER_CUTS").ok();
    told.and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS)
}

/// Small files in two folders, large ones between; their bytes.
fn make_tree(root: &Path, rng: &mut StdRng) -> Result<u64> {
    let mut size = 0;
    let mut add = |name: String, len: usize, seed| {
        size += len as u64;
        let file = root.join(name);
        write(&file, noise(len, seed))?;
        touch(&file, 1_600_000_000 + i64::try_from(seed % 1000)?, 0)
    };
    for number in 0..100 {
        add(format!("a/f{number:03}"), rng.random_range(1..6000), number)?;
        add(format!("y/f{number:03}"), rng.random_range(1..6000), 2 * number)?;
    }
    for name in ["m/large", "n/larger"] {
        add(name.into(), rng.random_range(500_000..3_000_000), rng.random())?;
    }
    chmod(&root.join("m"), 0o750)?;
    Ok(size)
}

/// A copy, and when it was made: in milliseconds since the transfer began, or since its end.
struct Copy {
    image: String,
    done: bool,
    when: Duration,
}

fn round(seed: u64) -> Result<()> {
    let below = match btrfs() {
        Ok(below) => below,
        Err(error) => {
            skip(format_args!("nothing to copy an image in one step with: {error:#}"));
            return Ok(());
        }
    };
    let image = below.path().join("disk");
    fs::File::create(&image)?.set_len(64 << 20)?;
    tool("mkfs.ext4", &["-q", "-F", &text(&image)])?;
    let disk = Mount::image(&image)?;
    let copy = |number: usize| -> Result<String> {
        let to = text(&below.path().join(format!("copy {number}")));
        tool("cp", &["--reflink=always", &text(&image), &to])?;
        Ok(to)
    };

    let mut rng = StdRng::seed_from_u64(seed);
    let from = Scratch::new()?;
    let root = from.join("tree");
    let size = make_tree(&root, &mut rng)?;
    let mut copies = Vec::new();

    // Slow enough that the disk writes some of it down meanwhile.
    let lasts = Duration::from_millis(rng.random_range(3000..9000));
    let sender = Sender::pod(&[&root], &[])?;
    let proxy = Proxy::start(&sender, 0)?;
    let receiver = Process::start(receiving(&proxy.ticket, disk.path(), &[]))?;
    let mut moments: Vec<_> = (0..COPIES).map(|_| lasts.mul_f64(rng.random())).collect();
    moments.sort();
    let begun = Instant::now();
    for moment in moments {
        while begun.elapsed() < moment {
            // The list goes ahead, or nothing would have begun.
            let share = begun.elapsed().as_secs_f64() / lasts.as_secs_f64();
            proxy.resume_until(30_000 + (size as f64 * share) as u64);
            sleep(Duration::from_millis(20));
        }
        copies.push(Copy { image: copy(copies.len())?, done: false, when: begun.elapsed() });
    }
    while begun.elapsed() < lasts {
        let share = begun.elapsed().as_secs_f64() / lasts.as_secs_f64();
        proxy.resume_until(30_000 + (size as f64 * share) as u64);
        sleep(Duration::from_millis(20));
    }
    proxy.resume();
    let received = receiver.end()?;
    ensure_ended(&sender.end()?, &received, 0)?;
    let ended = Instant::now();
    let mut moments: Vec<_> = (1..COPIES).map(|_| AFTERWARDS.mul_f64(rng.random())).collect();
    moments.push(Duration::ZERO);
    moments.sort();
    for moment in moments {
        sleep(moment.saturating_sub(ended.elapsed()));
        copies.push(Copy { image: copy(copies.len())?, done: true, when: ended.elapsed() });
    }
    drop(disk);

    let mut failed = Vec::new();
    for Copy { image, done, when } in copies {
        if let Err(error) = after_the_cut(&image, done, &root) {
            let since = if done { "its end" } else { "its beginning" };
            failed.push(format!("cut {when:?} after {since}: {error:#}"));
        }
    }
    ensure!(failed.is_empty(), "{} of {}:\n{}", failed.len(), 2 * COPIES, failed.join("\n"));
    Ok(())
}

/// The machine is there again, and the same command is run.
fn after_the_cut(image: &str, done: bool, root: &Path) -> Result<()> {
    let disk = Mount::image(Path::new(image)).context("it cannot be mounted")?;
    // What every ext4 has.
    let _ = fs::remove_dir(disk.path().join("lost+found"));
    if done {
        // That the lock is gone need not be on the disk yet.
        let found = Holds::ALL.of(&tree(&disk.path().join("tree"))?);
        let whole = ensure_same(&Holds::ALL.of(&tree(root)?), &found);
        whole.context("both sides had said that it is done")?;
    }
    let (sent, received) = send(&[root], disk.path(), &[])?;
    ensure_ended(&sent, &received, 0)?;
    ensure_holds(disk.path(), root, Holds::ALL).context("after the second run")
}

#[test]
fn the_power_is_cut() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    let seeds: Vec<u64> = (0..rounds()).collect();
    all(&seeds, |seed| format!("seed {seed}"), |seed| round(*seed))
}

/// A disk that promised more than it has: what is written is accepted, and lost when the system
/// comes to write it down.
#[test]
fn a_disk_that_promised_more_than_it_has() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    let made = || -> Result<_> {
        let below = Mount::memory("size=12m")?;
        let image = below.path().join("disk");
        fs::File::create(&image)?.set_len(64 << 20)?;
        // Its lists have their room from the beginning.
        let lists = "lazy_itable_init=0,lazy_journal_init=0";
        tool("mkfs.ext4", &["-q", "-F", "-E", lists, &text(&image)])?;
        let disk = Mount::image(&image)?;
        Ok((below, image, disk))
    };
    let (below, image, disk) = match made() {
        Ok(made) => made,
        Err(error) => {
            skip(format_args!("{error:#}"));
            return Ok(());
        }
    };
    let from = Scratch::new()?;
    let root = from.join("tree");
    for number in 0..20 {
        write(&root.join(format!("{number:02}")), noise(1_000_000, number))?;
    }
    let (sent, received) = send(&[&root], disk.path(), &[])?;
    for (side, ended) in [("receiver", &received), ("sender", &sent)] {
        let failed = ended.code.is_some_and(|code| code != 0);
        ensure!(failed, "the {side} ended with {:?}:\n{}", ended.code, ended.stderr);
    }
    // Which of the two the system says depends on who notices first.
    let why = [fuser::Errno::EIO, fuser::Errno::ENOSPC].map(words);
    let said = why.iter().any(|why| received.stderr.contains(why));
    ensure!(said, "why is not said: {}", received.stderr);

    // More room, a restart, and the same command again.
    let at = text(below.path());
    tool("mount", &["-o", "remount,size=100m", &at])?;
    drop(disk);
    let disk = Mount::image(&image)?;
    let _ = fs::remove_dir(disk.path().join("lost+found"));
    let (sent, received) = send(&[&root], disk.path(), &[])?;
    ensure_ended(&sent, &received, 0).context("with more room")?;
    // Its lock may be among what was lost, and then nobody knows whose an unfinished file is.
    let mut found = contents(&disk.path().join("tree"))?;
    found.retain(|path, _| path.extension().is_none_or(|extension| extension != "part"));
    let expected = contents(&root)?;
    ensure!(expected == found, "{:?} are there", found.keys());
    Ok(())
}
