//! What goes wrong on the way: sources that change between the list and the reading, things that
//! cannot be sent, connections that break, processes that are killed. Nothing false may be kept.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::proxy::Proxy;
use crate::util::process::{Ended, Pipe, Process, Sender, clean, receiving, run, send_into};
use crate::util::root::obeying_modes;
use crate::util::tree::{
    Scratch, chmod, ensure_arrived, ensure_same, names, noise, touch, tree, write,
};

/// So large that the sender is still at it when the receiver has a first megabyte, whatever
/// fits between the two.
pub const LARGE: u64 = 32 << 20;

/// Where the proxy stops: the list has arrived, the large file has not.
const STALL: u64 = 1 << 20;

const VANISHED: &str = "it vanished from the sender's disk";
const CHANGED: &str = "it changed while it was sent";

/// Sends `tree`, whose first file is large, and changes it with `change` while that one crosses.
pub fn send_while(
    tree: &Path,
    into: &Path,
    change: impl FnOnce() -> Result<()>,
) -> Result<(Ended, Ended)> {
    let sender = Sender::pod(&[tree], &[])?;
    let proxy = Proxy::start(&sender, STALL)?;
    let receiver = Process::start(receiving(&proxy.ticket, into, &[]))?;
    proxy.wait_stalled()?;
    change()?;
    proxy.resume();
    let received = receiver.end()?;
    Ok((sender.end()?, received))
}

/// A file of this size, without a hole that would take no time.
pub fn large(path: &Path, size: u64) -> Result<()> {
    write(path, vec![7; usize::try_from(size)?])
}

fn fifo(path: &Path) -> Result<()> {
    ensure!(Command::new("mkfifo").arg(path).status()?.success(), "mkfifo {path:?}");
    Ok(())
}

/// Files that change between the list and the reading: how, and what both sides say of it.
#[test]
fn sources_that_change_before_they_are_read_are_reported() -> Result<()> {
    type Change = fn(&Path) -> Result<()>;
    let gone: Change = |path| Ok(fs::remove_file(path)?);
    let cases: &[(&str, &str, Change)] = &[
        ("vanishes", VANISHED, gone),
        ("is empty and vanishes", VANISHED, gone),
        ("is large and vanishes", VANISHED, gone),
        ("folder/vanishes with its folder", VANISHED, |path| {
            Ok(fs::remove_dir_all(path.parent().context("no parent")?)?)
        }),
        ("turned/its folder becomes a file", VANISHED, |path| {
            let folder = path.parent().context("no parent")?;
            fs::remove_dir_all(folder)?;
            write(folder, "a file now")
        }),
        ("shrinks", CHANGED, |path| Ok(OpenOptions::new().write(true).open(path)?.set_len(3)?)),
        ("shrinks to nothing", CHANGED, |path| Ok(File::create(path).map(drop)?)),
        ("is large and shrinks", CHANGED, |path| {
            Ok(OpenOptions::new().write(true).open(path)?.set_len(1_500_000)?)
        }),
        ("is rewritten", CHANGED, |path| {
            let size = usize::try_from(fs::metadata(path)?.len())?;
            write(path, noise(size, 99))
        }),
        ("is replaced by another", CHANGED, |path| {
            let other = path.with_extension("new");
            write(&other, noise(usize::try_from(fs::metadata(path)?.len())?, 98))?;
            Ok(fs::rename(other, path)?)
        }),
        ("becomes a folder", CHANGED, |path| {
            fs::remove_file(path)?;
            Ok(fs::create_dir(path)?)
        }),
        ("becomes a link", CHANGED, |path| {
            fs::rename(path, path.with_extension("elsewhere"))?;
            let target = path.with_extension("elsewhere");
            Ok(symlink(target.file_name().context("no name")?, path)?)
        }),
        ("becomes a broken link", CHANGED, |path| {
            fs::remove_file(path)?;
            Ok(symlink("nothing", path)?)
        }),
        ("becomes a pipe", CHANGED, |path| {
            fs::remove_file(path)?;
            fifo(path)
        }),
        ("is empty and becomes a pipe", CHANGED, |path| {
            let time = fs::metadata(path)?;
            fs::remove_file(path)?;
            fifo(path)?;
            touch(path, time.mtime(), u32::try_from(time.mtime_nsec())?)
        }),
        ("may not be read", "the sender may not read it", |path| chmod(path, 0)),
    ];
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    let modes_are_obeyed = obeying_modes()?.is_some();
    let cases = cases.iter().filter(|(name, ..)| modes_are_obeyed || *name != "may not be read");
    let cases: Vec<_> =
        cases.map(|(name, words, change)| (root.join(name), words, change)).collect();
    large(&root.join("0 large"), LARGE)?;
    // Of these what was listed arrives.
    let growing = ["grows", "is empty and grows", "is large and grows"];
    for (name, size) in growing.into_iter().zip([5000, 0, 3_000_000]) {
        write(&root.join(name), noise(size, 4))?;
    }
    write(&root.join("between"), "stays")?;
    write(&root.join("zz last"), noise(2_000_000, 5))?;
    for (path, ..) in &cases {
        let size = match path.to_string_lossy() {
            name if name.contains("is large") => 3_000_000,
            name if name.contains("is empty") => 0,
            _ => 5000,
        };
        write(path, noise(size, 4))?;
        touch(path, 1_000_000_000, 5)?;
    }
    let mut expected = tree(&root)?;
    for (path, ..) in &cases {
        expected.remove(path.strip_prefix(&root)?);
    }
    let change = || {
        for name in growing {
            OpenOptions::new().append(true).open(root.join(name))?.write_all(b"more")?;
        }
        cases.iter().try_for_each(|(path, _, change)| change(path))
    };
    let (sent, received) = send_while(&root, into.path(), change)?;
    let grown = growing.map(|name| format!("tree/{name}")).join(", ");
    sent.says(&format!("grew meanwhile, and went as listed: {grown}\n"))?;
    // With -v all of them would be listed; without, ten.
    for ended in [sent.expect(3)?, received.expect(3)?] {
        ended.says(&format!("{} entries did not arrive:", cases.len()))?;
        ended.says("(-v lists all)")?;
    }
    ensure_same(&expected, &tree(&into.join("tree"))?)
}

/// The same, one at a time, with the words.
#[test]
fn each_fault_is_named_on_both_sides() -> Result<()> {
    type Change = fn(&Path) -> Result<()>;
    let cases: &[(&str, Change)] = &[
        (VANISHED, |path| Ok(fs::remove_file(path)?)),
        (CHANGED, |path| Ok(OpenOptions::new().write(true).open(path)?.set_len(3)?)),
        (CHANGED, |path| {
            let other = path.with_extension("new");
            write(&other, noise(5000, 4))?;
            fs::File::open(&other)?.set_modified(fs::metadata(path)?.modified()?)?;
            Ok(fs::rename(other, path)?)
        }),
        (CHANGED, |path| {
            fs::remove_file(path)?;
            Ok(fs::create_dir(path)?)
        }),
    ];
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    large(&root.join("0 large"), LARGE)?;
    for number in 0..cases.len() {
        write(&root.join(format!("file {number}")), noise(5000, 4))?;
    }
    let change = || {
        let numbered = cases.iter().enumerate();
        numbered
            .into_iter()
            .try_for_each(|(at, (_, change))| change(&root.join(format!("file {at}"))))
    };
    let (sent, received) = send_while(&root, into.path(), change)?;
    for ended in [sent.expect(3)?, received.expect(3)?] {
        ended.says(&format!("warning: {} entries did not arrive:\n", cases.len()))?;
        for (number, (words, _)) in cases.iter().enumerate() {
            ended.says(&format!("\n  tree/file {number}: {words}\n"))?;
        }
    }
    assert_eq!(names(&into.join("tree"))?, ["0 large".into()].into());
    Ok(())
}

/// The large file itself changes while it is on the way.
#[test]
fn a_source_that_changes_while_it_is_read_is_reported() -> Result<()> {
    type Change = fn(&Path) -> Result<()>;
    let cases: &[(&str, i32, Change)] = &[
        ("shrinks", 3, |path| Ok(OpenOptions::new().write(true).open(path)?.set_len(STALL)?)),
        ("grows", 0, |path| Ok(OpenOptions::new().append(true).open(path)?.write_all(b"more")?)),
        ("changes inside", 3, |path| {
            let file = OpenOptions::new().write(true).open(path)?;
            Ok(file.write_all_at(b"????", 10)?)
        }),
        ("grows and changes inside", 3, |path| {
            let file = OpenOptions::new().write(true).open(path)?;
            file.write_all_at(b"????", 10)?;
            Ok(file.write_all_at(b"more", LARGE)?)
        }),
        ("is touched", 3, |path| touch(path, 1, 1)),
        // What is open stays what it was.
        ("is removed", 0, |path| Ok(fs::remove_file(path)?)),
        ("is replaced", 0, |path| {
            fs::remove_file(path)?;
            write(path, "something else")
        }),
    ];
    for (name, code, change) in cases {
        let (from, into) = (Scratch::new()?, Scratch::new()?);
        let root = from.join("tree");
        large(&root.join("0 large"), LARGE)?;
        write(&root.join("zz last"), noise(5000, 5))?;
        let mut expected = tree(&root)?;
        let (sent, received) =
            send_while(&root, into.path(), || change(&root.join("0 large"))).context(*name)?;
        if *code == 3 {
            expected.remove(Path::new("0 large"));
            for ended in [&sent, &received] {
                ended.says(&format!("tree/0 large: {CHANGED}"))?;
            }
        }
        let said = sent.stderr.contains("grew meanwhile, and went as listed: tree/0 large\n");
        ensure!(said == (*name == "grows"), "{name}: {sent:?}");
        (sent.expect(*code).and(received.expect(*code))).context(*name)?;
        ensure_same(&expected, &tree(&into.join("tree"))?).context(*name)?;
    }
    Ok(())
}

/// What can never be sent is left out, listed on both sides, and keeps the rest from nobody.
#[test]
fn things_that_cannot_be_sent_are_listed_on_both_sides() -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    write(&root.join("sub/file"), "content")?;
    write(&from.join("outside"), "not for others")?;
    let expected = tree(&root)?;
    let mut listed = vec!["sub/socket: it is neither a file, a folder nor a link".to_owned()];
    let _socket = UnixListener::bind(root.join("sub/socket"))?;
    fifo(&root.join("pipe"))?;
    listed.push("pipe: it is neither a file, a folder nor a link".into());
    for (link, target) in [
        ("absolute", "/etc/passwd"),
        ("absolute inside", &*root.join("sub/file").to_string_lossy()),
        ("climbs", "../outside"),
        ("climbs further", "../../../etc/passwd"),
        ("sub/climbs", "../../outside"),
        ("there and back", "sub/../../outside"),
    ] {
        symlink(target, root.join(link))?;
        listed.push(format!("{link}: it points out of the tree"));
    }
    write(&root.join("line\nbreak"), "x")?;
    write(&root.join("clear\u{1b}[2Jscreen"), "x")?;
    listed.push("line\\u{a}break: it has a control character".into());
    listed.push("clear\\u{1b}[2Jscreen: it has a control character".into());
    if cfg!(target_os = "linux") {
        write(&root.join(std::ffi::OsStr::from_bytes(b"latin-\xe9")), "x")?;
        listed.push("latin-\\xe9: it is not valid UTF-8".into());
    }
    // Which this receiver does not take.
    let options = ["-v", "--without", "raw-names"];
    // Making them has touched the folders.
    let sender = Sender::pod(&[&root], &["-v"])?;
    let received = run(receiving(&sender.ticket, into.path(), &options))?.expect(3)?;
    for ended in [sender.end()?.expect(3)?, received] {
        ended.says(&format!("warning: cannot be sent: {} things\n", listed.len()))?;
        for line in &listed {
            ended.says(&format!("{line}\n"))?;
        }
        ended.says(&format!(
            "warning: {} things could not be sent, as listed above\n",
            listed.len()
        ))?;
        ensure!(!ended.stderr.contains('\u{1b}'), "{ended:#?}");
    }
    let arrived = tree(&into.join("tree"))?;
    assert!(arrived.keys().eq(expected.keys()), "{arrived:#?}");
    Ok(())
}

#[test]
fn a_folder_that_may_not_be_read_is_listed_on_both_sides() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    let Some(()) = obeying_modes()? else { return Ok(()) };
    write(&root.join("open/file"), "content")?;
    write(&root.join("shut/file"), "content")?;
    write(&root.join("shut file"), "content")?;
    chmod(&root.join("shut"), 0)?;
    chmod(&root.join("shut file"), 0)?;
    let (sent, received) = send_into(into.path(), &[&root], &[], 3)?;
    for ended in [sent, received] {
        ended.says("shut: permission denied\n")?;
        ended.says("tree/shut file: the sender may not read it\n")?;
    }
    ensure!(into.join("tree/open/file").is_file(), "the rest is there");
    ensure!(!into.join("tree/shut file").exists(), "a file that could not be read is there");
    Ok(())
}

/// A tree of 6.3 MB of which a broken transfer leaves a part: small files around large ones.
fn tree_to_break(root: &Path) -> Result<()> {
    for number in 0..60 {
        write(&root.join(format!("a/{number:02}")), noise(1000 * (number % 7), 6))?;
        write(&root.join(format!("y/{number:02}")), noise(500 * (number % 7), 7))?;
    }
    for number in 0..6 {
        write(&root.join(format!("m/{number}.part")), noise(1_000_000, 8))?;
    }
    chmod(&root.join("m"), 0o555)
}

/// Fails unless every file with a name of the source is the source's, whole.
fn ensure_nothing_false(root: &Path, arrived: &Path) -> Result<()> {
    if !arrived.exists() {
        return Ok(());
    }
    let (source, arrived_tree) = (tree(root)?, tree(arrived)?);
    for (path, node) in arrived_tree.iter().filter(|(path, _)| arrived.join(path).is_file()) {
        match source.get(path) {
            Some(expected) => ensure!(expected == node, "{path:?} is not whole: {node:?}"),
            None => {
                let unfinished = path.extension().is_some_and(|extension| extension == "part");
                ensure!(unfinished, "{path:?} was never sent");
            }
        }
    }
    Ok(())
}

/// A connection that breaks before there is an offer is reported; the ticket serves another try.
#[test]
fn a_connection_cut_in_the_handshake_is_reported() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    tree_to_break(&root)?;
    let mut sender = Sender::pod(&[&root], &["-v"])?;
    // In the hello (75 bytes), in the answer (34), in the offer.
    for limit in [10, 80, 300] {
        let proxy = Proxy::start(&sender, limit)?;
        let receiver = Process::start(receiving(&proxy.ticket, into.path(), &[]))?;
        proxy.wait_stalled()?;
        proxy.cut();
        // Before the sender's hello it may have been crowded out, and tries again four times.
        for tries in 1..=if limit < 75 { 4 } else { 0 } {
            proxy.resume_until(limit + 10 * tries);
            proxy.wait_stalled()?;
            proxy.cut();
        }
        let received = receiver.end()?;
        received.expect(5).with_context(|| format!("cut after {limit} bytes"))?;
        if limit < 75 {
            sender.process.wait_for(Pipe::Err, "turned away 127.0.0.1: ")?;
        } else {
            let line = sender.process.wait_for(Pipe::Err, "; waiting for it to come back")?;
            let lost = "warning: a program on this machine: the receiver disconnected: ";
            ensure!(line.starts_with(lost), "{line:?}");
        }
    }
    run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&root])
}

/// Wherever the connection breaks once the transfer runs, both sides end it by themselves, and
/// hardly a byte crosses twice.
#[test]
fn a_cut_connection_costs_time_and_nothing_else() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    tree_to_break(&root)?;
    let sender = Sender::pod(&[&root], &[])?;
    let cuts = [150_000, 1_000_000, 2_000_000, 3_500_000, 5_000_000, 6_200_000];
    let proxy = Proxy::start(&sender, cuts[0])?;
    let receiver = Process::start(receiving(&proxy.ticket, into.path(), &["-v"]))?;
    for next in cuts.into_iter().skip(1).chain([u64::MAX]) {
        proxy.wait_stalled()?;
        proxy.cut();
        proxy.resume_until(next);
    }
    receiver.end()?.expect(0)?.says("connected again\n")?;
    sender.end()?.expect(0)?.says("; waiting for it to come back\n")?;
    // 6.3 MB of content; each of six cuts loses at most the record that was on its way.
    ensure!(proxy.passed() < 6_400_000 + 6 * 1_100_000, "{} bytes have crossed", proxy.passed());
    ensure_arrived(into.path(), &[&root])
}

/// `kill -9` of the receiver; the ticket still serves.
#[test]
fn a_killed_receiver_may_be_started_again() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    tree_to_break(&root)?;
    let mut sender = Sender::pod(&[&root], &[])?;
    for limit in [150_000, 1_300_000, 700_000, 2_200_000] {
        let proxy = Proxy::start(&sender, limit)?;
        let receiver = Process::start(receiving(&proxy.ticket, into.path(), &[]))?;
        proxy.wait_stalled()?;
        receiver.kill()?;
        proxy.resume();
        sender.process.wait_for(Pipe::Err, "; waiting for it to come back")?;
        ensure_nothing_false(&root, &into.join("tree"))?;
    }
    run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&root])
}

/// `kill -9` of the sender: the receiver waits for it until it is stopped, and a new offer
/// completes the tree.
#[test]
fn a_killed_sender_may_be_started_again() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    tree_to_break(&root)?;
    for limit in [150_000, 1_300_000, 700_000, 2_200_000] {
        let sender = Sender::pod(&[&root], &[])?;
        let proxy = Proxy::start(&sender, limit)?;
        let mut receiver = Process::start(receiving(&proxy.ticket, into.path(), &[]))?;
        proxy.wait_stalled()?;
        sender.process.kill()?;
        proxy.cut();
        receiver.wait_for(Pipe::Err, "; trying again")?;
        receiver.interrupt()?;
        receiver.end()?.expect(130)?;
        ensure_nothing_false(&root, &into.join("tree"))?;
    }
    send_into(into.path(), &[&root], &[], 0)?;
    ensure_arrived(into.path(), &[&root])
}

/// Nothing comes any more, and nobody says so: a proxy that holds on to everything, where TCP itself
/// sees nothing amiss. The receiver dials again by itself; without the mend it waits for minutes.
#[test]
fn a_line_that_falls_silent_is_dialled_again() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    tree_to_break(&root)?;
    let sender = Sender::pod(&[&root], &[])?;
    let proxy = Proxy::start(&sender, 1_000_000)?;
    let mut receiver = Process::start(receiving(&proxy.ticket, into.path(), &[]))?;
    proxy.wait_stalled()?;
    let line = receiver.wait_for(Pipe::Err, "; trying again")?;
    ensure!(line.contains("the other side has sent nothing for too long"), "{line:?}");
    proxy.resume();
    receiver.end()?.expect(0)?;
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&root])
}

/// A lost receiver is waited for as long as the first was to be, and what happened is said.
#[test]
fn a_receiver_that_does_not_come_back_is_told_of() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    tree_to_break(&root)?;
    let sender = Sender::pod(&[&root], &["--timeout", "2s"])?;
    let proxy = Proxy::start(&sender, 1_000_000)?;
    let receiver = Process::start(receiving(&proxy.ticket, into.path(), &[]))?;
    proxy.wait_stalled()?;
    receiver.interrupt()?;
    proxy.resume();
    receiver.end()?.expect(130)?;
    let sent = sender.end()?.expect(5)?;
    sent.says(
        "error: the receiver was interrupted; the receiver did not come back within 2 s\n  \
         run both sides again: it goes on where it stopped; --timeout 30m waits longer\n",
    )?;
    ensure!(!sent.stderr.contains("no receiver came"), "{sent:#?}");
    Ok(())
}

/// `nohup`, and the background jobs of scripts: what was ignored at the start stays ignored, and
/// what was not does not.
#[test]
#[cfg(unix)]
fn signals_that_were_ignored_stay_ignored() -> Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    let from = Scratch::new()?;
    write(&from.join("file"), "content")?;
    for (trap, ignored, heeded) in [
        ("trap '' INT HUP", vec![Signal::INT, Signal::HUP], Signal::TERM),
        ("trap '' HUP", vec![Signal::HUP], Signal::INT),
        ("trap '' TERM", vec![Signal::TERM], Signal::HUP),
    ] {
        let mut command = clean(Command::new("sh"));
        command.args(["-c", &format!("{trap}; exec \"$@\""), "sh"]);
        command.arg(env!("CARGO_BIN_EXE_transfer")).args(["send", "--pod", "--port", "0", "-y"]);
        command.arg(from.join("file"));
        let sender = Sender::start(command)?;
        let process = Pid::from_raw(i32::try_from(sender.process.id())?).context("a process")?;
        for signal in ignored {
            // Twice, which would end it at once.
            kill_process(process, signal)?;
            kill_process(process, signal)?;
        }
        let into = Scratch::new()?;
        run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
        sender.end()?.expect(0).context(trap)?;

        let mut command = clean(Command::new("sh"));
        command.args(["-c", &format!("{trap}; exec \"$@\""), "sh"]);
        command.arg(env!("CARGO_BIN_EXE_transfer")).args(["send", "--pod", "--port", "0", "-y"]);
        command.arg(from.join("file"));
        let sender = Sender::start(command)?;
        let process = Pid::from_raw(i32::try_from(sender.process.id())?).context("a process")?;
        kill_process(process, heeded)?;
        sender.end()?.expect(130).context(trap)?;
    }
    Ok(())
}

/// Ctrl-C at the receiver in the middle of a file; the ticket still serves.
#[test]
fn an_interrupted_receiver_may_be_started_again() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    tree_to_break(&root)?;
    let mut sender = Sender::pod(&[&root], &[])?;
    for limit in [150_000, 2_500_000] {
        let proxy = Proxy::start(&sender, limit)?;
        let receiver = Process::start(receiving(&proxy.ticket, into.path(), &[]))?;
        proxy.wait_stalled()?;
        receiver.interrupt()?;
        proxy.resume();
        receiver.end()?.expect(130)?;
        let line = sender.process.wait_for(Pipe::Err, "; waiting for it to come back")?;
        ensure!(line.contains("the receiver was interrupted"), "{line:?}");
        ensure_nothing_false(&root, &into.join("tree"))?;
    }
    run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&root])
}

/// Ctrl-C at the sender, in the middle of a file and while it waits.
#[test]
fn an_interrupted_sender_may_be_started_again() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    write(&root.join("a first"), noise(5000, 1))?;
    large(&root.join("large"), LARGE)?;
    let sender = Sender::pod(&[&root], &[])?;
    let proxy = Proxy::start(&sender, STALL)?;
    let receiver = Process::start(receiving(&proxy.ticket, into.path(), &[]))?;
    proxy.wait_stalled()?;
    sender.process.interrupt()?;
    proxy.resume();
    sender.end()?.expect(130)?;
    // With this ticket it will not come back.
    receiver.end()?.expect(1)?.says("error: the sender was interrupted\n")?;
    ensure_nothing_false(&root, &into.join("tree"))?;

    let waiting = Sender::pod(&[&root], &[])?;
    waiting.process.interrupt()?;
    waiting.end()?.expect(130)?;
    send_into(into.path(), &[&root], &[], 0)?;
    ensure_arrived(into.path(), &[&root])
}

/// The very last record is lost: the sender is done and gone. The receiver has everything, says
/// so, and does not wait for somebody who will not come back.
#[test]
fn a_lost_goodbye_keeps_nobody_waiting() -> Result<()> {
    let from = Scratch::new()?;
    let root = from.join("tree");
    write(&root.join("file"), noise(5000, 1))?;
    // The second time all but the last byte passes.
    let mut all = u64::MAX;
    for code in [0, 5] {
        let into = Scratch::new()?;
        let sender = Sender::pod(&[&root], &[])?;
        let proxy = Proxy::start(&sender, all)?;
        let receiver = Process::start(receiving(&proxy.ticket, into.path(), &[]))?;
        if code == 5 {
            proxy.wait_stalled()?;
            sender.end()?.expect(0)?;
            proxy.cut();
        } else {
            sender.end()?.expect(0)?;
        }
        let received = receiver.end()?.expect(code)?;
        ensure_same(&tree(&root)?, &tree(&into.join("tree"))?)?;
        if code == 5 {
            received.says("everything is here, but the sender did not confirm it")?;
        }
        all = proxy.passed() - 1;
    }
    Ok(())
}

/// A name that is taken while the transfer runs is taken: what came later gets another one.
#[test]
fn a_name_taken_meanwhile_is_not_replaced() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    large(&root.join("0 large"), LARGE)?;
    write(&root.join("z.txt"), "sent")?;
    symlink("z.txt", root.join("z link"))?;
    let here = into.join("tree");
    let (sent, received) = send_while(&root, into.path(), || {
        write(&here.join("z.txt"), "mine")?;
        write(&here.join("z link"), "mine too")
    })?;
    sent.expect(0)?;
    received.expect(0)?.says("tree/z.txt -> tree/z (1).txt\n")?;
    assert_eq!(fs::read_to_string(here.join("z.txt"))?, "mine");
    assert_eq!(fs::read_to_string(here.join("z link"))?, "mine too");
    assert_eq!(fs::read_to_string(here.join("z (1).txt"))?, "sent");
    assert_eq!(fs::read_link(here.join("z link (1)"))?, Path::new("z.txt"));
    Ok(())
}

/// A folder of the tree turned into a link while the transfer runs leads nobody out.
#[test]
fn a_link_planted_meanwhile_leads_nobody_out() -> Result<()> {
    let (from, into, outside) = (Scratch::new()?, Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    large(&root.join("0 large"), LARGE)?;
    write(&root.join("sub/file"), "sent")?;
    write(&root.join("sub/deeper/file"), "sent")?;
    write(&root.join("z.txt"), "sent")?;
    let here = into.join("tree");
    let (sent, received) = send_while(&root, into.path(), || {
        fs::remove_dir_all(here.join("sub"))?;
        Ok(symlink(outside.path(), here.join("sub"))?)
    })?;
    for ended in [sent.expect(3)?, received.expect(3)?] {
        ended.says("tree/sub/file: the receiver could not write it: ")?;
        ended.says("tree/sub/deeper/file: the receiver could not write it: ")?;
    }
    assert!(names(outside.path())?.is_empty());
    assert_eq!(fs::read_to_string(here.join("z.txt"))?, "sent");
    Ok(())
}
