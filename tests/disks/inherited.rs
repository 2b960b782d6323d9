//! What is new takes from its folder and its user what `cp -r` would take, and what a disk made up
//! is not passed on.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::faulty::{Attribute, Faults};
use crate::images::{Mount, text, tool};
use crate::stage::{ensure_code, ensure_ended, faulty, names, send};
use crate::util::process::{Ended, Process, Sender, clean, receiving, run, transfer};
use crate::util::root::as_root;
use crate::util::skip;
use crate::util::tree::{Scratch, chmod, tree, write};

fn mode(path: &Path) -> Result<u32> {
    Ok(fs::metadata(path).with_context(|| format!("{path:?}"))?.mode() & 0o7777)
}

/// A command with this umask.
fn masked(umask: &str, command: &Command) -> Command {
    let mut masked = Command::new("sh");
    masked.args(["-c", &format!("umask {umask} && exec \"$@\""), "sh"]);
    masked.arg(command.get_program()).args(command.get_args());
    clean(masked)
}

fn small_tree(root: &Path) -> Result<()> {
    write(&root.join("sub/file"), "content")?;
    write(&root.join("sub/deeper/file"), "content")?;
    chmod(&root.join("sub"), 0o755)?;
    chmod(&root.join("sub/file"), 0o644)
}

/// A shared folder: what comes into it belongs to its group.
#[test]
fn the_group_of_the_folder() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    small_tree(&root)?;
    let shared = into.join("shared");
    fs::create_dir(&shared)?;
    if let Err(error) = chown(&shared, None, Some(4321)) {
        skip(format_args!("only root gives folders away: {error}"));
        return Ok(());
    }
    chmod(&shared, 0o2775)?;
    let (sent, received) = send(&[&root], &shared, &[])?;
    ensure_ended(&sent, &received, 0)?;
    for path in tree(&shared)?.keys() {
        let metadata = fs::metadata(shared.join(path))?;
        ensure!(metadata.gid() == 4321, "{path:?} belongs to group {}", metadata.gid());
        if metadata.is_dir() {
            ensure!(metadata.mode() & 0o2000 != 0, "{path:?} does not pass the group on");
        }
    }
    ensure!(mode(&shared.join("tree/sub"))? == 0o2755, "{:o}", mode(&shared.join("tree/sub"))?);
    Ok(())
}

/// What the folder's default ACL grants is granted, as with `cp -r`.
#[test]
fn the_acl_of_the_folder() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    small_tree(&root)?;
    let (ours, theirs) = (into.join("ours"), into.join("theirs"));
    for folder in [&ours, &theirs] {
        fs::create_dir(folder)?;
        let entries = "d:u:1234:rwx,d:g::rx,d:o::-";
        if let Err(error) = tool("setfacl", &["-m", entries, &text(folder)]) {
            skip(format_args!("{error:#}"));
            return Ok(());
        }
    }
    let (sent, received) = send(&[&root], &ours, &[])?;
    ensure_ended(&sent, &received, 0)?;
    tool("cp", &["-r", &text(&root), &text(&theirs)])?;
    for (path, node) in tree(&theirs)? {
        let acl = |folder: &Path| -> Result<String> {
            tool("getfacl", &["-cpEn", &text(&folder.join(&path))])
        };
        let (found, expected) = (acl(&ours)?, acl(&theirs)?);
        if node.is_file() {
            // It has the mode that it was sent with.
            ensure!(found.contains("user:1234:rwx"), "{path:?} has\n{found}");
        } else {
            ensure!(found == expected, "{path:?} has\n{found}not\n{expected}");
        }
    }
    Ok(())
}

/// Every file of a disk without modes is 0777, which nobody has wished for.
#[test]
fn modes_that_a_disk_made_up() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    let faults = Faults { chmod: Attribute::Ignored, every_mode: Some(0o777), ..Faults::default() };
    let Some(disk) = faulty(faults)? else { return Ok(()) };
    let root = disk.path().join("tree");
    write(&root.join("sub/file"), "content")?;
    for (umask, expected) in [("022", 0o755), ("077", 0o700), ("002", 0o775)] {
        let into = Scratch::new()?;
        let sender = Sender::pod(&[&root], &[])?;
        let received = run(masked(umask, &receiving(&sender.ticket, into.path(), &[])))?;
        ensure_ended(&sender.end()?, &received, 0)?;
        for path in ["tree", "tree/sub", "tree/sub/file"] {
            let found = mode(&into.join(path))?;
            let plain = path.ends_with("file") && found == expected & 0o666;
            ensure!(found == expected || plain, "umask {umask}: {path} has mode {found:o}");
        }
    }
    Ok(())
}

/// A stream has no mode: its file gets what any new file gets.
#[test]
fn the_mode_of_a_stream() -> Result<()> {
    for (umask, expected) in [("022", 0o644), ("077", 0o600), ("002", 0o664)] {
        let (from, into) = (Scratch::new()?, Scratch::new()?);
        write(&from.join("content"), "content")?;
        let mut command = transfer();
        command.args(["send", "--pod", "--port", "0", "-y", "-"]);
        command.stdin(fs::File::open(from.join("content"))?);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut sender = Process::start_as_it_is(command)?;
        let line = sender.wait_for(crate::util::process::Pipe::Out, "transfer receive ")?;
        let ticket = line.trim_end().trim_start_matches("transfer receive ").to_owned();
        let received: Ended = run(masked(umask, &receiving(&ticket, into.path(), &[])))?;
        ensure_code("receiver", &received, 0)?;
        ensure_code("sender", &sender.end()?, 0)?;
        let files = names(into.path())?;
        let file = files.first().context("nothing has arrived")?;
        let found = mode(&into.join(file))?;
        ensure!(found == expected, "umask {umask}: {file:?} has mode {found:o}");
    }
    Ok(())
}

/// Where a file has an ACL, what `ls` shows of its group is the mask.
#[test]
fn the_mask_of_an_acl_is_not_the_group() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    small_tree(&root)?;
    for (path, group) in [("sub/file", "r"), ("sub", "rx")] {
        let entries = format!("u:1234:rwx,g::{group},m::rwx");
        if let Err(error) = tool("setfacl", &["-m", &entries, &text(&root.join(path))]) {
            skip(format_args!("{error:#}"));
            return Ok(());
        }
    }
    ensure!(mode(&root.join("sub/file"))? == 0o674, "the mask is not shown");
    let (sent, received) = send(&[&root], into.path(), &[])?;
    ensure_ended(&sent, &received, 0)?;
    for (path, expected) in [("tree/sub/file", 0o644), ("tree/sub", 0o755)] {
        let found = mode(&into.join(path))?;
        ensure!(found == expected, "{path} has mode {found:o}");
    }
    Ok(())
}

/// Many tiny files need more room than their bytes; and each needs an inode.
#[test]
fn many_tiny_files_on_a_small_disk() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    let from = Scratch::new()?;
    let root = from.join("tree");
    for number in 0..1500 {
        write(&root.join(format!("{number:04}")), "x")?;
    }
    for (options, missing) in [("size=4m", "free"), ("size=64m,nr_inodes=200", "inode")] {
        let disk = match Mount::memory(options) {
            Ok(disk) => disk,
            Err(error) => {
                skip(format_args!("{error:#}"));
                return Ok(());
            }
        };
        let (sent, received) = send(&[&root], disk.path(), &[])?;
        for (side, ended) in [("receiver", &received), ("sender", &sent)] {
            ensure!(ended.code.is_some_and(|code| code != 0), "{options}, {side}: {ended:?}");
        }
        ensure!(names(disk.path())?.is_empty(), "{options}: begun: {}", received.stderr);
        received.says(missing)?;
    }
    Ok(())
}
