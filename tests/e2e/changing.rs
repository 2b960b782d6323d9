//! A sender sends what it listed: what changes meanwhile, what is no file, and where a disk ends.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::choosing::{dry_run, listed};
use crate::faults::{LARGE, large, send_while};
use crate::util::process::{Process, Sender, receiving, run, send_into, transfer};
#[cfg(target_os = "linux")]
use crate::util::root::mounting;
use crate::util::skip;
use crate::util::tree::{Scratch, touch, write};

#[test]
fn a_folder_that_becomes_a_link_gives_nothing_away() -> Result<()> {
    for swapped in ["t/sub", "t/z"] {
        let (from, into) = (Scratch::new()?, Scratch::new()?);
        large(&from.join("t/big"), LARGE)?;
        for (folder, content) in
            [("t/sub/z", "offered"), ("secret/z", "SECRETS"), ("t/z", "offered")]
        {
            write(&from.join(folder).join("file"), content)?;
            touch(&from.join(folder).join("file"), 1_000_000_000, 0)?;
        }
        write(&from.join("secret/file"), "SECRETS")?;
        touch(&from.join("secret/file"), 1_000_000_000, 0)?;
        let (sent, received) = send_while(&from.join("t"), into.path(), || {
            fs::rename(from.join(swapped), from.join("gone"))?;
            Ok(symlink(from.join("secret"), from.join(swapped))?)
        })?;
        let (sent, received) = (sent.expect(3)?, received.expect(3)?);
        let below = if swapped == "t/sub" { "t/sub/z/file" } else { "t/z/file" };
        for ended in [&sent, &received] {
            ensure!(ended.stderr.contains(below), "{ended:?}");
        }
        ensure!(!into.join(below).exists());
        // The other one is as it was.
        let other = if swapped == "t/sub" { "t/z/file" } else { "t/sub/z/file" };
        assert_eq!(fs::read(into.join(other))?, b"offered");
    }
    Ok(())
}

/// The log of the program itself lies where it lies, and so does what `nohup` writes.
#[test]
fn the_own_log_in_the_tree_is_no_fault() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let log = from.join("t/log");
    write(&from.join("t/file"), "x")?;
    write(&log, "of an earlier run\n")?;
    let path = log.to_str().context("UTF-8")?;
    let mut command = transfer();
    command.args(["send", "--pod", "--port", "0", "-y", "-vv", "--log-file", path, "t"]);
    command.current_dir(from.path());
    let sender = Sender::start(command)?;
    run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
    let sent = sender.end()?.expect(0)?;
    let arrived = fs::read_to_string(into.join("t/log"))?;
    ensure!(arrived.starts_with("of an earlier run\n"), "{arrived}");
    ensure!(fs::read_to_string(&log)?.starts_with(&arrived));
    sent.says("grew meanwhile, and went as listed: t/log\n")
}

/// What comes out of these has no end that a list could have.
#[test]
fn pipes_and_devices_point_to_the_dash() -> Result<()> {
    let from = Scratch::new()?;
    let pipe = from.join("pipe");
    ensure!(Command::new("mkfifo").arg(&pipe).status()?.success());
    symlink("pipe", from.join("link"))?;
    write(&from.join("file"), "x")?;
    for (path, kind) in [
        ("pipe", "a pipe"),
        ("link", "a pipe"),
        ("/dev/null", "a device"),
        ("/dev/stdin", "a pipe"),
        ("/dev/fd/0", "a pipe"),
    ] {
        for dry in [&["--dry-run"][..], &["--pod", "--port", "0"]] {
            let mut command = transfer();
            command.arg("send").args(dry).args(["-y", path]).current_dir(from.path());
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let ended = Process::start_as_it_is(command)?.end()?.expect(2)?;
            ended.says(&format!("error: \"{path}\" is {kind}, "))?;
            ended.says("\n  `transfer send -` sends what comes in: ")?;
        }
        // Beside something else it stays behind.
        if !path.starts_with("/dev/std") && !path.starts_with("/dev/fd") {
            let ended = run(dry_run(from.path(), &["file", path]))?.expect(3)?;
            assert_eq!(listed(&ended), ["file"]);
            ended.says(&format!(": it is {kind}; `transfer send -` sends what comes in\n"))?;
        }
    }
    // As a shell has it.
    let mut bash = Command::new("bash");
    bash.args(["-c", "\"$0\" send --dry-run -y <(echo x)"]).arg(env!("CARGO_BIN_EXE_transfer"));
    if let Ok(output) = bash.output() {
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(said.contains("is a pipe, ") && output.status.code() == Some(2), "{said}");
    }
    // A file on standard input is a file.
    let mut command = dry_run(from.path(), &["/dev/stdin"]);
    command.stdin(File::open(from.join("file"))?);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = Process::start_as_it_is(command)?.end()?.expect(0)?;
    assert_eq!(ended.stdout, "1\tstdin\n");
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn files_that_the_kernel_makes_up_arrive_with_their_content() -> Result<()> {
    for path in ["/proc/version", "/proc/cpuinfo", "/sys/kernel/mm/transparent_hugepage/enabled"] {
        let path = Path::new(path);
        let Ok(content) = fs::read(path) else { continue };
        let into = Scratch::new()?;
        send_into(into.path(), &[path], &[], 0)?;
        let arrived = fs::read(into.join(path.file_name().context("a name")?))?;
        // Clocks go up and down.
        let stable = |content: &[u8]| -> Vec<String> {
            let text = String::from_utf8_lossy(content).into_owned();
            text.lines().filter(|line| !line.contains("MHz")).map(str::to_owned).collect()
        };
        ensure!(!arrived.is_empty() && stable(&arrived) == stable(&content), "{path:?}");
    }
    Ok(())
}

/// In a mount namespace of their own; where that may not be made there is nothing to try. With all below them,
/// which a namespace that is not of root does not take apart.
#[cfg(target_os = "linux")]
#[test]
fn other_file_systems_stay_behind_when_they_should() -> Result<()> {
    let from = Scratch::new()?;
    write(&from.join("t/file"), "x")?;
    for folder in ["t/proc", "t/sub/sys", "t/sub/disk"] {
        fs::create_dir_all(from.join(folder))?;
    }
    let mount = "mount --rbind /proc t/proc && mount --rbind /sys t/sub/sys && \
                 mount -t tmpfs none t/sub/disk && echo x >t/sub/disk/inside";
    let Some(within) = with_mounts(&from, mount) else { return Ok(()) };
    let ended = run(within("t"))?.expect(0)?;
    let all = ["t/", "t/file", "t/sub/", "t/sub/disk/", "t/sub/disk/inside"];
    assert_eq!(listed(&ended), all);
    ended.says("left out: 2 kernel file systems (t/proc, t/sub/sys)\n")?;
    ensure!(ended.stderr.lines().count() == 2, "{ended:?}");
    let ended = run(within("--one-file-system t"))?.expect(0)?;
    assert_eq!(listed(&ended), all[..4]);
    ended.says("1 other file system (t/sub/disk)\n")?;
    // What was named is meant, whatever it is on.
    let ended = run(within("--one-file-system t/sub/disk"))?.expect(0)?;
    assert_eq!(listed(&ended), ["disk/", "disk/inside"]);
    let ended = run(within("t/proc"))?.expect(1)?;
    ended.says("  proc: the system makes it up while it is read; name single files in it\n")?;
    ensure!(ended.stderr.lines().count() == 4, "{ended:?}");
    Ok(())
}

/// `send --dry-run` in a folder with mounts that are there for it alone; nothing where none may be made.
#[cfg(target_os = "linux")]
fn with_mounts(folder: &Scratch, mount: &str) -> Option<impl Fn(&str) -> Command> {
    let folder = folder.path().to_owned();
    let shell = move |script: &str| {
        let mut command = mounting();
        command.args(["sh", "-c", script]).current_dir(&folder);
        command
    };
    // What is not in a mount stays: the same again has to do no harm.
    if !shell(mount).output().is_ok_and(|output| output.status.success()) {
        skip("no mount namespace may be made here");
        return None;
    }
    let mount = mount.to_owned();
    Some(move |arguments: &str| {
        let program = env!("CARGO_BIN_EXE_transfer");
        shell(&format!("{mount} && exec {program} send --dry-run -y {arguments}"))
    })
}

/// Whichever disk is sent, what its systems keep at its top stays behind, and only there.
#[test]
#[cfg(target_os = "linux")]
fn what_systems_keep_on_a_disk_stays_behind() -> Result<()> {
    let from = Scratch::new()?;
    for folder in ["disk", "t/inner"] {
        fs::create_dir_all(from.join(folder))?;
    }
    let mount = "mount -t tmpfs none disk && mount -t tmpfs none t/inner && \
                 for top in disk t/inner t; do mkdir -p $top/lost+found $top/.Trash-1000/files $top/a/lost+found && \
                 echo x >$top/.Trash-1000/files/thrown; done && chmod 0 disk/lost+found";
    let Some(within) = with_mounts(&from, mount) else { return Ok(()) };
    let ended = run(within("disk"))?.expect(0)?;
    assert_eq!(listed(&ended), ["disk/", "disk/a/", "disk/a/lost+found/"]);
    ended.says("left out: 2 entries of the disk itself (disk/.Trash-1000, disk/lost+found)\n")?;
    let ended = run(within("t"))?.expect(0)?;
    let thrown = ["t/.Trash-1000/", "t/.Trash-1000/files/", "t/.Trash-1000/files/thrown"];
    let inner = ["t/inner/", "t/inner/a/", "t/inner/a/lost+found/"];
    let all = [&["t/"], &thrown[..], &["t/a/", "t/a/lost+found/"], &inner, &["t/lost+found/"]];
    assert_eq!(listed(&ended), all.concat());
    // What is named is meant.
    let ended = run(within("disk/.Trash-1000 t/inner/lost+found"))?.expect(0)?;
    let named = [".Trash-1000/", ".Trash-1000/files/", ".Trash-1000/files/thrown", "lost+found/"];
    assert_eq!(listed(&ended), named);
    Ok(())
}
