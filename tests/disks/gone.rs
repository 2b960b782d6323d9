//! A disk that goes away, that is full, that may not be written: said on both sides, and why.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use fuser::Errno;

use crate::faulty::Faults;
use crate::proxy::Proxy;
use crate::stage::{
    Holds, all, contents, ensure_code, ensure_ended, ensure_holds, faulty, names, send, words,
};
use crate::util::process::{Pipe, Sender, clean, receiving, run};
use crate::util::root::{as_root, obeying_modes};
use crate::util::tree::{Scratch, chmod, noise, write};

/// It ends like a full disk: at once, both sides say why, the same ticket goes on later.
#[test]
fn a_disk_that_goes_away() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    let errors =
        [Errno::EIO, Errno::EROFS, Errno::ENODEV, Errno::ENOTCONN, Errno::ESTALE, Errno::ENXIO];
    all(
        &errors,
        |error| words(*error),
        |error| {
            let faults = Faults { dies: Some((3_500_000, *error)), ..Faults::default() };
            let Some(mut disk) = faulty(faults)? else { return Ok(()) };
            let from = Scratch::new()?;
            let root = from.join("tree");
            write(&root.join("a first"), noise(5000, 1))?;
            write(&root.join("large"), noise(60_000_000, 2))?;
            for number in 0..20 {
                write(&root.join(format!("then/{number}")), noise(500_000, number))?;
            }
            let into = disk.path().join("in");
            fs::create_dir(&into)?;
            let mut sender = Sender::pod(&[&root], &[])?;
            let proxy = Proxy::start(&sender, u64::MAX)?;
            let received = run(receiving(&proxy.ticket, &into, &[]))?;
            ensure_code("receiver", &received, 1)?;
            received.says(&words(*error))?;
            let said = sender.process.wait_for(Pipe::Err, "; waiting for it to come back")?;
            ensure!(said.contains("disk") || said.contains("write"), "the sender says {said:?}");
            let crossed = proxy.passed();
            ensure!(crossed < 40_000_000, "{crossed} bytes were sent into nothing");

            disk.again(Faults::default())?;
            let into = disk.path().join("in");
            let kept = contents(&into)?;
            let unfinished = kept.iter().find(|(path, _)| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with("large.") && name.ends_with(".part")
            });
            let (_, unfinished) = unfinished.context("no unfinished file was kept")?;
            ensure!(!unfinished.is_empty(), "the unfinished file is empty");
            let received = run(receiving(&sender.ticket, &into, &[]))?;
            ensure_ended(&sender.end()?, &received, 0).context("gone on with")?;
            ensure_holds(&into, &root, Holds::ALL).context("gone on with")
        },
    )
}

/// A file that one disk cannot take: why, on both sides, on the screen and for programs; and what
/// was thrown away does not count.
#[test]
fn why_it_could_not_be_written() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    let faults = Faults { largest_file: Some(100_000), ..Faults::default() };
    for options in [&[][..], &["-v"], &["--json"]] {
        let Some(disk) = faulty(faults)? else { return Ok(()) };
        let from = Scratch::new()?;
        let root = from.join("tree");
        write(&root.join("large"), noise(3_000_000, 2))?;
        write(&root.join("small"), noise(1000, 2))?;
        let sender = Sender::pod(&[&root], if options == ["-v"] { options } else { &[] })?;
        let received = run(receiving(&sender.ticket, disk.path(), options))?;
        let sent = sender.end()?;
        ensure_ended(&sent, &received, 3)?;
        let said = if options == ["--json"] { &received.stdout } else { &received.stderr };
        ensure!(said.contains("too large"), "{options:?}: {said}");
        sent.says("could not write it: ")?;
        ensure!(!sent.stderr.contains("/tmp"), "a path went to the sender: {}", sent.stderr);
        ensure!(!received.stderr.contains(": 3.0 MB in"), "counted: {}", received.stderr);
        ensure!(contents(disk.path())?.len() == 1, "{:?}", contents(disk.path())?.keys());
    }
    Ok(())
}

/// `ulimit -f` is an error with a name, not the end of the process.
#[test]
fn a_limit_on_the_size_of_files() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    write(&root.join("large"), noise(3_000_000, 2))?;
    write(&root.join("small"), noise(1000, 2))?;
    let sender = Sender::pod(&[&root], &[])?;
    let mut limited = Command::new("sh");
    // 1,000 blocks of 512 bytes.
    limited.args(["-c", "ulimit -f 1000 && exec \"$@\"", "sh"]);
    let command = receiving(&sender.ticket, into.path(), &[]);
    limited.arg(command.get_program()).args(command.get_args());
    let received = run(clean(limited))?;
    ensure!(received.code.is_some(), "it died: {received:?}");
    ensure_code("receiver", &received, 3)?;
    received.says("too large for its disk")?;
    let sent = sender.end()?;
    ensure_code("sender", &sent, 3)?;
    sent.says("could not write it: ")?;
    ensure!(into.join("tree/small").exists(), "the other file has not arrived");
    ensure!(names(&into.join("tree"))?.len() == 1, "{:?}", names(&into.join("tree"))?);
    Ok(())
}

/// A folder that may not be written is found out before anything is taken, and costs the sender
/// nothing: its ticket still serves.
#[test]
fn a_folder_that_may_not_be_written() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    let Some(()) = obeying_modes()? else { return Ok(()) };
    let from = Scratch::new()?;
    write(&from.join("file"), "content")?;
    let sealed = Scratch::new()?;
    chmod(sealed.path(), 0o555)?;
    let read_only = faulty(Faults { dies: Some((0, Errno::EROFS)), ..Faults::default() })?;
    let mut rows = vec![("permission denied", sealed.path())];
    if let Some(disk) = &read_only {
        // Its first write is its last.
        let _ = fs::write(disk.path().join("x"), "x");
        let _ = fs::remove_file(disk.path().join("x"));
        rows.push(("read-only file system", disk.path()));
    }
    for (why, into) in rows {
        let mut sender = Sender::pod(&[&from.join("file")], &[])?;
        let received = run(receiving(&sender.ticket, into, &[]))?;
        ensure!(received.code.is_some_and(|code| code != 0 && code != 3), "{received:#?}");
        received.says(why)?;
        ensure!(!received.stderr.contains("receiving "), "taken before: {}", received.stderr);
        let good = Scratch::new()?;
        let received = run(receiving(&sender.ticket, good.path(), &[]))?;
        ensure_code("receiver", &received, 0)?;
        sender.process.wait_until_said("sent 1 file")?;
        ensure_code("sender", &sender.end()?, 0)?;
    }
    Ok(())
}

/// Room is counted in blocks and in files, before the first byte; and where the disk does not say,
/// it is not full.
#[test]
fn there_is_no_room() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    let flawless = Faults::default();
    let rows = [
        ("bytes", Faults { room: Some(1 << 20), ..flawless }, "free"),
        ("inodes", Faults { inodes: Some(30), ..flawless }, "inode"),
        ("inodes, none", Faults { inodes: Some(0), ..flawless }, "inode"),
    ];
    all(
        &rows,
        |(name, ..)| (*name).into(),
        |(name, faults, said)| {
            let Some(disk) = faulty(*faults)? else { return Ok(()) };
            let from = Scratch::new()?;
            let root = from.join("tree");
            for number in 0..100 {
                write(&root.join(format!("{number}")), noise(20_000, number))?;
            }
            let (sent, received) = send(&[&root], disk.path(), &[])?;
            for ended in [&received, &sent] {
                ensure!(ended.code.is_some_and(|code| code != 0), "{name}: {ended:#?}");
            }
            received.says(said)?;
            if name.starts_with("inodes") {
                ensure!(
                    !received.stderr.contains("GB"),
                    "bytes are not missing: {}",
                    received.stderr
                );
                ensure!(!received.stderr.contains("disk is full"), "{}", received.stderr);
            }
            ensure!(
                !received.stderr.contains("did not arrive"),
                "not beforehand: {}",
                received.stderr
            );
            ensure!(names(disk.path())?.is_empty(), "{:?} is left", names(disk.path())?);
            Ok(())
        },
    )
}
