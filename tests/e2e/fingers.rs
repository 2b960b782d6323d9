//! What fingers type: a path or a ticket without a command, options of other programs, and places
//! that name a file.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::util::process::{Process, Sender, clean, receiving, run, transfer};
use crate::util::tree::{Scratch, ensure_arrived, names, write};

/// `transfer` with these words, in a folder.
fn typed(words: &[&str], at: &Path) -> Command {
    let mut command = transfer();
    command.args(words).current_dir(at);
    command
}

#[test]
fn a_path_is_sent_and_a_ticket_is_received() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    write(&from.join("photos/beach.jpg"), "content")?;
    for name in ["receive", "recv", "get", ""] {
        let sender = Sender::start(typed(&["photos", "--pod", "--port", "0", "-y"], from.path()))?;
        // As it stands on the screen, and with a space between the words and no quotes.
        let spaced = sender.ticket.replace('-', " ");
        let mut words: Vec<&str> = spaced.split(' ').collect();
        if name.is_empty() {
            words.push("-y");
        } else {
            words.splice(0..0, [name, "-y"]);
        }
        run(typed(&words, into.path()))?.expect(0)?;
        sender.end()?.expect(0)?;
        ensure_arrived(into.path(), &[&from.join("photos")])?;
    }
    // Standard input, which has no name either.
    let mut command = clean(Command::new("sh"));
    command.args(["-c", "echo content | \"$0\" - --pod --port 0"]).arg(transfer().get_program());
    let sender = Sender::start(command)?;
    run(receiving(&sender.ticket, &into.join("stream"), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    assert_eq!(fs::read_to_string(into.join("stream"))?, "content\n");
    Ok(())
}

#[test]
fn what_has_two_meanings_is_asked_back() -> Result<()> {
    let here = Scratch::new()?;
    write(&here.join("laptop:ocean-tiger"), "x")?;
    write(&here.join("send"), "x")?;
    for (words, code, says) in [
        (
            &["laptop:ocean-tiger"][..],
            2,
            "error: \"laptop:ocean-tiger\" is something here, and a ticket as well\n  say which: \
             `transfer send laptop:ocean-tiger`, or `transfer receive laptop:ocean-tiger`\n",
        ),
        (
            &["photoalbum"],
            2,
            "error: \"photoalbum\" is no command, no ticket, and nothing that is here\n",
        ),
        (&["no/such/path"], 1, "error: cannot send \"no/such/path\": no such file or directory\n"),
        (&["*.jpeg"], 2, "error: nothing matches \"*.jpeg\"\n"),
        (&["laptop:ocaen-tiger"], 2, "  did you mean \"ocean\"?\n"),
        // The command, though a file has its name.
        (&["send"], 2, "Usage: transfer send"),
        (&["sned", "x"], 2, "a similar subcommand exists: 'send'"),
        (
            &["receive", "127.0.0.1:ocean-tiger", "photos"],
            2,
            "error: \"photos\" stands behind the ticket\n  -o names the folder",
        ),
    ] {
        run(typed(words, here.path()))?.expect(code)?.says(says)?;
    }
    // What is called like a command is sent all the same.
    run(typed(&["./send", "-n"], here.path()))?.expect(0)?.says("would send 1 file")
}

#[test]
fn habits_of_rsync_are_taken_and_told_of_once() -> Result<()> {
    let from = Scratch::new()?;
    write(&from.join("tree/a.log"), "x")?;
    write(&from.join("tree/b"), "x")?;
    write(&from.join("patterns"), "# not these\n\n*.log\n")?;
    let told = "-r, -a, -P, --partial and --progress are not needed: that is what happens anyway\n";
    let all = ["tree", "-ranP", "--partial", "--progress", "--bwlimit=100"];
    let ended = run(typed(&all, from.path()))?.expect(0)?;
    assert_eq!(ended.stderr.matches(told).count(), 1, "{ended:#?}");
    assert_eq!(ended.stdout, "0\ttree/\n1\ttree/a.log\n1\ttree/b\n");
    let ended = run(typed(&["send", "-r", "-n", "tree"], from.path()))?.expect(0)?;
    ended.says("-r is not needed: that is what happens anyway\n")?;
    let quiet = run(typed(&["send", "-rnq", "tree"], from.path()))?.expect(0)?;
    ensure!(!quiet.stderr.contains("not needed"), "{quiet:#?}");

    let ended = run(typed(&["-n", "--exclude-from", "patterns", "tree"], from.path()));
    ended?.expect(2)?; // An option comes first: then the command has to be there.
    let ended = run(typed(&["send", "-n", "--exclude-from", "patterns", "tree"], from.path()))?;
    assert_eq!(ended.expect(0)?.stdout, "0\ttree/\n1\ttree/b\n");
    write(&from.join("wrong"), "*.log\n[a\n")?;
    for (file, says) in [
        ("nowhere", "error: cannot read \"nowhere\": "),
        ("wrong", "error: line 2 of \"wrong\" is no pattern: "),
    ] {
        let words = ["send", "-n", "--exclude-from", file, "tree"];
        run(typed(&words, from.path()))?.expect(2)?.says(says)?;
    }

    // Both sides, and `-z` for what it means there.
    let into = Scratch::new()?;
    let sender =
        Sender::start(typed(&["send", "-azP", "--pod", "--port", "0", "tree"], from.path()))?;
    run(receiving(&sender.ticket, into.path(), &["-aP"]))?
        .expect(0)?
        .says("-a and -P are not needed")?;
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&from.join("tree")])
}

#[test]
fn a_place_names_a_single_file_as_cp_has_it() -> Result<()> {
    let from = Scratch::new()?;
    write(&from.join("notes.txt"), "notes")?;
    write(&from.join("tree/a"), "a")?;
    let into = Scratch::new()?;
    write(&into.join("taken"), "older")?;
    fs::create_dir(into.join("folder"))?;
    for (what, place, arrives) in [
        ("notes.txt", "new", "new"),
        ("notes.txt", "new/", "new/notes.txt"),
        ("notes.txt", "deep/new", "deep/new"),
        ("notes.txt", "folder", "folder/notes.txt"),
        ("notes.txt", "folder/", "folder/notes.txt"),
        ("notes.txt", "taken", "taken (1)"),
        ("tree", "more", "more/tree/a"),
        ("tree", "more/", "more/tree/a"),
    ] {
        if place == "new/" {
            fs::remove_file(into.join("new"))?;
        }
        let sender = Sender::pod(&[&from.join(what)], &[])?;
        let mut receive = transfer();
        receive.args(["receive", "-y", "-o", place, &sender.ticket]).current_dir(into.path());
        run(receive)?.expect(0)?;
        sender.end()?.expect(0)?;
        let expected = if what == "tree" { "a" } else { "notes" };
        assert_eq!(fs::read_to_string(into.join(arrives))?, expected, "{what} {place}");
    }
    assert_eq!(fs::read_to_string(into.join("taken"))?, "older");

    // More than a file needs a folder, and a file is none.
    let sender = Sender::pod(&[&from.join("tree")], &[])?;
    let refused = run(receiving(&sender.ticket, &into.join("taken"), &[]))?.expect(1)?;
    refused.says("/taken\" is not a folder\n")?;
    run(receiving(&sender.ticket, &into.join("again"), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    Ok(())
}

/// It goes on under the name that was given.
#[test]
fn a_named_file_is_resumed() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    write(&from.join("file"), crate::util::tree::noise(5_000_000, 1))?;
    let place = into.join("other.bin");
    let sender = Sender::pod(&[&from.join("file")], &[])?;
    let proxy = crate::proxy::Proxy::start(&sender, 3_000_000)?;
    let mut receiver = Process::start(receiving(&proxy.ticket, &place, &[]))?;
    // Its own name is what is offered.
    receiver.wait_until_said("receiving 1 file, 5.0 MB: file\n")?;
    proxy.wait_stalled()?;
    receiver.interrupt()?;
    receiver.end()?.expect(130)?;
    ensure!(names(into.path())?.contains(Path::new("other.bin.part")), "{:?}", names(into.path())?);
    drop(sender);
    let sender = Sender::pod(&[&from.join("file")], &[])?;
    run(receiving(&sender.ticket, &place, &[]))?.expect(0)?.says("1 partial")?;
    sender.end()?.expect(0)?;
    assert_eq!(fs::read(place)?, fs::read(from.join("file"))?);
    Ok(())
}

#[test]
fn a_stream_has_the_name_that_either_side_gives_it() -> Result<()> {
    for (name, place, arrives) in [
        (&[][..], "", "stdin"),
        (&["--name", "dump.sql"], "", "dump.sql"),
        (&["--name", "dump.sql"], "other", "other"),
        (&[], "other", "other"),
    ] {
        let into = Scratch::new()?;
        let mut command = clean(Command::new("sh"));
        command.args(["-c", "echo content | \"$0\" send --pod --port 0 \"$@\" -"]);
        command.arg(transfer().get_program()).args(name);
        let sender = Sender::start(command)?;
        run(receiving(&sender.ticket, &into.join(place), &[]))?.expect(0)?;
        sender.end()?.expect(0)?;
        assert_eq!(fs::read_to_string(into.join(arrives))?, "content\n");
    }
    let here = Scratch::new()?;
    write(&here.join("file"), "x")?;
    for (words, says) in [
        (
            &["send", "--pod", "--name", "x", "file"][..],
            "error: --name is for what comes in on standard input\n",
        ),
        (&["send", "--pod", "--name", "a/b", "-"], "error: \"a/b\" is no name for a file"),
        (&["send", "--pod", "--name", "..", "-"], "error: \"..\" is no name for a file"),
    ] {
        run(typed(words, here.path()))?.expect(2)?.says(says)?;
    }
    Ok(())
}
