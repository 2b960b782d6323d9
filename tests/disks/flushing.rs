//! Success only when it is on the disk: errors that come late, and what a power cut leaves.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use filetime::FileTime;
use fuser::Errno;

use crate::faulty::Faults;
use crate::stage::{
    Holds, Stopped, all, contents, ensure_ended, ensure_holds, ensure_told, faulty, make_tree,
    name_of, send, wait_until, words,
};
use crate::util::process::{receiving, run};
use crate::util::root::as_root;
use crate::util::tree::{Scratch, noise, touch, write};

/// The disk says only when a file is closed, or flushed, that it could not keep it.
#[test]
fn late_errors_are_errors() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    let flawless = Faults::default();
    let mut rows = Vec::new();
    for error in [Errno::EDQUOT, Errno::EIO, Errno::ENOSPC, Errno::EACCES] {
        rows.push(("close", error, Faults { flush: Some(error), ..flawless }));
    }
    for error in [Errno::EDQUOT, Errno::EIO, Errno::ENOSPC] {
        rows.push(("fsync", error, Faults { fsync: Some(error), ..flawless }));
    }
    for error in [Errno::EIO, Errno::ENOSPC] {
        let faults = Faults { writes_late: true, dies: Some((1_000_000, error)), ..flawless };
        rows.push(("a write long before", error, faults));
    }
    all(
        &rows,
        |(name, error, _)| format!("{name}: {}", words(*error)),
        |(name, error, faults)| {
            let Some(mut disk) = faulty(*faults)? else { return Ok(()) };
            let from = Scratch::new()?;
            let root = from.join("tree");
            make_tree(&root)?;
            let into = disk.path().join("in");
            fs::create_dir(&into)?;
            let (sent, received) = send(&[&root], &into, &[])?;
            for (side, ended) in [("receiver", &received), ("sender", &sent)] {
                let failed = ended.code.is_some_and(|code| code != 0);
                ensure!(failed, "the {side} ended with {:?}: {}", ended.code, ended.stderr);
            }
            let why = if *error == Errno::ENOSPC { "full".into() } else { words(*error) };
            received.says(&why)?;
            ensure_told(&sent)?;
            if *name == "close" {
                let files = contents(&into)?;
                let named = files.iter().find(|(path, bytes)| {
                    !bytes.is_empty()
                        && root.join(path.strip_prefix("tree").unwrap_or(path)).exists()
                });
                ensure!(named.is_none(), "{:?} has its name", named.map(|(path, _)| path));
            }
            // Once the disk is well again, the same command brings everything.
            disk.again(Faults::default())?;
            let into = disk.path().join("in");
            let (sent, received) = send(&[&root], &into, &[])?;
            ensure_ended(&sent, &received, 0).context("well again")?;
            ensure_holds(&into, &root, Holds::ALL).context("well again")
        },
    )
}

/// Whoever does not want to wait for the disk is not told what it says about flushing; what it says
/// about closing is an error all the same.
#[test]
fn nobody_waits_who_does_not_want_to() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    for (name, faults, code) in [
        ("fsync", Faults { fsync: Some(Errno::EDQUOT), ..Faults::default() }, 0),
        ("close", Faults { flush: Some(Errno::EACCES), ..Faults::default() }, 3),
    ] {
        let Some(disk) = faulty(faults)? else { return Ok(()) };
        let from = Scratch::new()?;
        let file = from.join("file");
        write(&file, noise(3000, 1))?;
        let (sent, received) = send(&[&file], disk.path(), &["--no-sync"])?;
        for (side, ended) in [("receiver", &received), ("sender", &sent)] {
            ensure!(ended.code == Some(code), "{name}: the {side} ended: {}", ended.stderr);
        }
    }
    Ok(())
}

/// What is done to a file that had arrived, and its time.
type Change = fn(&Path, FileTime) -> Result<()>;

const USERS: &[u8] = b"the user's own";

/// What the lock lists is compared after a restart: what a power cut took is had anew, under the
/// same name; what the user did since then stays.
#[test]
fn what_a_power_cut_took_is_replaced() -> Result<()> {
    let changes: [(&str, Change); 6] = [
        ("0 bytes", |path, time| {
            fs::write(path, "")?;
            Ok(filetime::set_file_mtime(path, time)?)
        }),
        ("half of it", |path, time| {
            let mut half = fs::read(path)?;
            half.truncate(half.len() / 2);
            fs::write(path, half)?;
            Ok(filetime::set_file_mtime(path, time)?)
        }),
        ("only zeros", |path, time| {
            let size = usize::try_from(fs::metadata(path)?.len())?;
            fs::write(path, vec![0; size])?;
            Ok(filetime::set_file_mtime(path, time)?)
        }),
        ("gone", |path, _| Ok(fs::remove_file(path)?)),
        ("rewritten by the user", |path, _| write(path, USERS)),
        ("replaced by the user", |path, _| {
            fs::remove_file(path)?;
            write(path, USERS)
        }),
    ];
    let options: [&[&str]; 4] =
        [&[], &["--checksum"], &["--on-conflict", "overwrite"], &["--on-conflict", "skip"]];
    let mut rows = Vec::new();
    for (name, change) in changes {
        for options in options {
            for killed in [false, true] {
                // The user said what is to become of other files of these names; and of a run that
                // was killed the lock need not know the hashes yet.
                let users = name.ends_with("user");
                let told = users && options.contains(&"overwrite");
                let unknown = killed && name == "only zeros";
                if !(told || unknown) {
                    rows.push((name, change, options, killed, users));
                }
            }
        }
    }
    let name = |(name, _, options, killed, _): &_| format!("{name}, {options:?}, killed: {killed}");
    all(&rows, name, |(_, change, options, killed, users)| {
        let (from, into) = (Scratch::new()?, Scratch::new()?);
        let root = from.join("tree");
        for number in 0..20 {
            let file = root.join(format!("a/{number:02}"));
            write(&file, noise(3000 + number, number as u64))?;
            touch(&file, 1_600_000_000, 0)?;
        }
        write(&root.join("big"), noise(12_000_000, 5))?;
        let changed = ["a/03", "a/07", "a/11"].map(|name| into.join("tree").join(name));
        let stopped = Stopped::at(1_500_000, &[&root], into.path(), options)?;
        wait_until(|| changed.iter().all(|path| path.exists()))?;
        let sender = if *killed { stopped.kill()? } else { stopped.interrupt()? };
        for path in &changed {
            let metadata = fs::metadata(path).with_context(|| format!("{path:?}"))?;
            change(path, FileTime::from_last_modification_time(&metadata))?;
        }
        let received = run(receiving(&sender.ticket, into.path(), options))?;
        ensure_ended(&sender.end()?, &received, 0)?;
        if !users {
            return ensure_holds(into.path(), &root, Holds::ALL);
        }
        // Ours goes where his is now, to compare the rest.
        let sent = ["a/03", "a/07", "a/11"].map(|name| root.join(name));
        for (his, sent) in changed.iter().zip(sent) {
            ensure!(fs::read(his)? == USERS, "{his:?} of the user was replaced");
            let ours = his.with_file_name(format!("{} (1)", name_of(his)));
            if options.contains(&"skip") {
                fs::copy(&sent, his)?;
            } else {
                fs::rename(ours, his)?;
            }
        }
        let holds = Holds { modes: false, times: None };
        ensure_holds(into.path(), &root, holds)
    })
}
