//! Texts and pipes: standard input on one side, standard output on the other.

use std::fs::{self, File};
use std::path::Path;
#[cfg(unix)]
use std::process::Command;
use std::process::Stdio;

use anyhow::{Result, ensure};

#[cfg(unix)]
use crate::util::process::{Pipe, clean};
use crate::util::process::{Process, Sender, receiving, run, transfer};
use crate::util::tree::{Scratch, names, noise, write};

/// `transfer send OPTIONS < INPUT`.
fn send_from(input: &Path, options: &[&str]) -> Result<Sender> {
    let mut command = transfer();
    command.args(["send", "--pod", "--port", "0"]).args(options);
    command.stdin(File::open(input)?).stdout(Stdio::piped()).stderr(Stdio::piped());
    Sender::of(Process::start_as_it_is(command)?)
}

#[test]
fn a_text_arrives_on_standard_output() -> Result<()> {
    let into = Scratch::new()?;
    let long = "long ".repeat(200_000);
    for text in ["hello", "", "two\nlines\n", "\u{1b}[2J\u{202e}é", "-", "--help", &long] {
        let sender = if text.len() < 100_000 && text != "-" {
            Sender::pod(&[], &["--text", text])?
        } else {
            write(&into.join("text"), text)?;
            send_from(&into.join("text"), &["--text", "-"])?
        };
        let received = run(receiving(&sender.ticket, &into.join("out"), &[]))?.expect(0)?;
        // Raw, as nothing here is a terminal.
        ensure!(received.stdout == text, "{:.40?} became {:.40?}", text, received.stdout);
        let size = transfer::error::bytes(text.len() as u64);
        received.says(&format!("\nreceived a text of {size}\n"))?;
        sender.end()?.expect(0)?.says(&format!("\nsent a text of {size}\n"))?;
    }
    ensure!(!into.join("out").exists(), "a text needs no folder");
    Ok(())
}

#[test]
fn what_comes_in_goes_through() -> Result<()> {
    let scratch = Scratch::new()?;
    let input = scratch.join("input");
    for (len, options) in
        [(0, vec!["-"]), (3_000_000, vec!["-"]), (500_000, vec!["--compress", "-"])]
    {
        write(&input, noise(len, 1))?;
        let sender = send_from(&input, &options)?;
        let output = File::create(scratch.join("output"))?;
        let mut receiver = receiving(&sender.ticket, Path::new("-"), &[]);
        receiver.stdin(Stdio::null()).stdout(output).stderr(Stdio::piped());
        let received = Process::start_as_it_is(receiver)?.end()?.expect(0)?;
        let size = transfer::error::bytes(len as u64);
        received.says(&format!("received a stream to standard output: {size} in "))?;
        sender.end()?.expect(0)?.says(&format!("sent a stream: {size} in "))?;
        ensure!(fs::read(&input)? == fs::read(scratch.join("output"))?, "{len}: it differs");
    }
    Ok(())
}

/// `tar c | send -`, `receive -o - | tar x`.
#[cfg(unix)]
#[test]
fn a_tree_goes_through_two_pipes() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    for name in ["a", "d/b", "d/e/c"] {
        write(&from.join("t").join(name), noise(100_000, name.len() as u64))?;
    }
    let mut command = Command::new("sh");
    command.args(["-c", "tar cf - t | \"$0\" send --pod --port 0 -"]);
    command.arg(transfer().get_program()).current_dir(from.path());
    let sender = Sender::start(clean(command))?;
    let mut command = Command::new("sh");
    command.args(["-c", "\"$0\" receive -o - \"$1\" | tar xf -"]);
    command.arg(transfer().get_program()).arg(&sender.ticket).current_dir(into.path());
    run(clean(command))?.expect(0)?;
    sender.end()?.expect(0)?;
    for name in ["a", "d/b", "d/e/c"] {
        let (sent, arrived) = (from.join("t").join(name), into.join("t").join(name));
        ensure!(fs::read(sent)? == fs::read(arrived)?, "{name} differs");
    }
    Ok(())
}

/// Into a folder a stream becomes a file, under a name that is free, once it is whole.
#[test]
fn a_stream_can_be_kept() -> Result<()> {
    let (scratch, into) = (Scratch::new()?, Scratch::new()?);
    let input = scratch.join("input");
    write(&input, noise(2_000_000, 3))?;
    for name in ["stdin", "stdin (1)"] {
        let sender = send_from(&input, &["-"])?;
        let received = run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
        received.says(&format!("saved the stream as \"{name}\"\n"))?;
        received.says("received a stream into ")?;
        sender.end()?.expect(0)?;
        ensure!(fs::read(&input)? == fs::read(into.join(name))?, "{name} differs");
    }
    ensure!(names(into.path())?.len() == 2, "something is left");
    Ok(())
}

/// Whoever reads the output goes away: both sides fail, and say so.
#[cfg(unix)]
#[test]
fn a_broken_pipe_ends_both() -> Result<()> {
    let scratch = Scratch::new()?;
    let input = scratch.join("input");
    write(&input, noise(20_000_000, 3))?;
    let sender = send_from(&input, &["-"])?;
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "{ \"$0\" receive -o - \"$1\"; echo \"ended with $?\" >&2; } | head -c 1000 > /dev/null",
    ]);
    command.arg(transfer().get_program()).arg(&sender.ticket);
    let received = run(clean(command))?;
    received.says("error: cannot write what comes in: broken pipe\n")?;
    received.says("ended with 1\n")?;
    let sent = sender.end()?.expect(1)?;
    sent.says("error: the receiver had to stop\n")
}

/// What was read is gone, so a receiver that is killed ends the offer; one that never took
/// anything does not.
#[test]
fn what_was_read_is_not_offered_again() -> Result<()> {
    let scratch = Scratch::new()?;
    let input = scratch.join("input");
    write(&input, noise(3_000_000, 3))?;
    let sender = send_from(&input, &["-"])?;
    let proxy = crate::proxy::Proxy::start(&sender, 1_000_000)?;
    let receiver = Process::start(receiving(&proxy.ticket, Path::new("-"), &[]))?;
    proxy.wait_stalled()?;
    receiver.kill()?;
    proxy.resume();
    sender.end()?.expect(5)?.says("what was read of the input is gone: run both sides again\n")?;

    let mut sender = send_from(&input, &["-"])?;
    let refusing = receiving(&sender.ticket, &input.join(""), &[]);
    run(refusing)?.expect(1)?.says("is not a folder")?;
    let proxy = crate::proxy::Proxy::start(&sender, 200)?;
    let receiver = Process::start(receiving(&proxy.ticket, Path::new("-"), &[]))?;
    proxy.wait_stalled()?;
    receiver.kill()?;
    proxy.resume();
    sender.process.wait_for(crate::util::process::Pipe::Err, "; waiting for it to come back")?;
    run(receiving(&sender.ticket, &scratch.join("out"), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    Ok(())
}

/// What a shell has closed looks like `/dev/null` from inside, and is no place for content.
#[cfg(unix)]
#[test]
fn what_is_closed_neither_gives_nor_takes() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    write(&from.join("file"), "content")?;
    let shell = |script: &str, arguments: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(transfer().get_program()).args(arguments);
        command.current_dir(into.path());
        clean(command)
    };
    let ended = run(shell("exec \"$0\" send --pod --port 0 - <&-", &[]))?.expect(2)?;
    ended.says("standard input is closed: nothing can come in\n")?;
    let ended = run(shell("exec \"$0\" send --pod --port 0 --text - <&-", &[]))?.expect(2)?;
    ended.says("standard input is closed: nothing can come in\n")?;

    let text = || vec!["--text".to_owned(), "content".to_owned()];
    let file = from.join("file").to_string_lossy().into_owned();
    for (sending, place) in [(vec![file], "-o -"), (text(), ""), (text(), "--json")] {
        let sending: Vec<&str> = sending.iter().map(String::as_str).collect();
        let sender = Sender::pod(&[], &sending)?;
        let script = format!("exec \"$0\" receive {place} \"$1\" >&-");
        let ended = run(shell(&script, &[&sender.ticket]))?;
        ensure!(ended.code != Some(0), "{ended:?}");
        ended.says("standard output is closed")?;
        ensure!(sender.end()?.code != Some(0), "the sender takes it for done");
    }

    // Nobody would know how to come.
    let showing = "exec \"$0\" send --pod --port 0 \"$1\" >&-";
    let mut sender = Process::start(shell(showing, &[&from.join("file").to_string_lossy()]))?;
    sender.wait_for(Pipe::Err, "cannot write to stdout: standard output is closed")?;
    let line = sender.wait_for(Pipe::Err, "transfer receive ")?;
    let ticket = line.trim().trim_start_matches("transfer receive ");
    run(receiving(ticket, &into.join("new"), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    Ok(())
}

/// Outputs that are no place for files, and that the shell has not made what they look like.
#[cfg(unix)]
#[test]
fn what_is_no_place_is_refused_before_anybody_is_asked() -> Result<()> {
    let into = Scratch::new()?;
    let notes = into.join("notes");
    write(&notes, "my notes")?;
    let notes_to = format!("--manifest={}", notes.display());
    for (option, says) in [
        ("--output-dir=/dev/null", "\"/dev/null\" is neither a file nor a folder\n"),
        ("--output-dir=~/in", "the shell has left the ~ as it is"),
        ("--manifest=~/sums", "the shell has left the ~ as it is"),
        (&*notes_to, "a file of that name is there, and is no manifest\n"),
        ("--manifest=notes/sums", "cannot write the manifest \"notes/sums\": "),
    ] {
        let mut command = transfer();
        command.args(["receive", option, "localhost:1:ocean-tiger"]).current_dir(into.path());
        run(command)?.expect(2)?.says(says)?;
    }
    ensure!(names(into.path())? == [Path::new("notes").to_owned()].into());
    ensure!(fs::read(&notes)? == b"my notes");
    Ok(())
}
