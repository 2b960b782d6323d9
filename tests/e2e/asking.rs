//! A person at a terminal: what is asked before anything is taken, and what comes of the answer.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::proxy::Proxy;
use crate::util::process::{Process, Sender, clean, receiving, run, transfer};
use crate::util::terminal::{Terminal, plain};
use crate::util::tree::{Scratch, ensure_arrived, noise, touch, write};

/// `transfer receive`, with everything that it may ask.
fn receive(ticket: &str, into: &Path, options: &[&str]) -> Command {
    let mut command = transfer();
    command.args(["receive", "-o"]).arg(into).args(options).arg(ticket);
    command
}

#[test]
fn what_comes_is_shown_and_may_be_refused() -> Result<()> {
    let cases: [(&[u8], i32, i32); 6] = [
        (b"y", 0, 0),
        (b"\r", 0, 0),
        (b"n", 7, 7),
        (b"q", 7, 7),
        (b"\x1b", 7, 7),
        (b"\x03", 130, 7),
    ];
    for (keys, receiver, sender) in cases {
        let (from, into) = (Scratch::new()?, Scratch::new()?);
        let (tree, file) = (from.join("tr\u{202e}ee"), from.join("notes"));
        write(&tree.join("a"), noise(1_500_000, 1))?;
        write(&file, "new")?;
        let offered = Sender::pod(&[&tree, &file], &[])?;
        let mut terminal = Terminal::new()?;
        let process = terminal.start(receive(&offered.ticket, into.path(), &["-q"]))?;
        let shown = terminal.wait_for("take it? [Y/n]")?;
        let offer = "offered: 2 files, 1 folder, 1.5 MB: notes, tr\\u{202e}ee/\r\n";
        ensure!(shown.starts_with(offer), "{shown:?}");
        let place = format!("into {} (", into.path().display());
        ensure!(shown.contains(&place) && shown.contains("B free)\r\n"), "{shown:?}");
        terminal.answer(keys)?;
        process.end()?.expect(receiver)?;
        let ended = offered.end()?.expect(sender)?;
        let screen = terminal.read()?;
        if receiver == 0 {
            ensure_arrived(into.path(), &[&tree, &file])?;
            continue;
        }
        ensure!(fs::read_dir(into.path())?.next().is_none(), "something was taken");
        ended.says("error: the receiver said no\n  its own terminal may say why")?;
        // What a person has chosen is no error.
        let said = match receiver {
            7 => "you said no\r\n  nothing was changed; run both sides again",
            _ => "interrupted\r\n  nothing was changed; run both sides again",
        };
        ensure!(screen.contains(said) && !screen.contains("error"), "{screen:?}");
    }
    Ok(())
}

/// Not with `--yes`, not for a text, and not for what goes to standard output.
#[test]
fn some_things_need_no_yes() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let file = from.join("file");
    write(&file, "content")?;
    let text: (&[&Path], &[&str]) = (&[], &["--text", "content"]);
    let file: (&[&Path], &[&str]) = (&[&file], &[]);
    for ((paths, options), place, yes) in
        [(file, into.path(), &["--yes"][..]), (file, Path::new("-"), &[]), (text, into.path(), &[])]
    {
        let sender = Sender::pod(paths, options)?;
        let terminal = Terminal::new()?;
        terminal.start(receive(&sender.ticket, place, yes))?.end()?.expect(0)?;
        sender.end()?.expect(0)?;
        let screen = terminal.read()?;
        ensure!(!screen.contains("[Y/n]"), "{options:?}: {screen:?}");
    }
    Ok(())
}

/// One question, not two: what to do about taken names has "cancel" among its answers.
#[test]
fn taken_names_are_counted_before_the_question() -> Result<()> {
    let from = Scratch::new()?;
    let root = from.join("tree");
    for name in ["same", "taken", "new"] {
        write(&root.join(name), name)?;
    }
    for (options, question, keys, code) in [
        (&["--on-conflict", "rename"][..], "take it? [Y/n]", &b"y"[..], 0),
        (&[], "which? [R/o/n/s/q] ", b"\r", 0),
        (&[], "which? [R/o/n/s/q] ", b"x?O", 0),
        (&[], "which? [R/o/n/s/q] ", b"n", 0),
        (&[], "which? [R/o/n/s/q] ", b"s", 0),
        (&[], "which? [R/o/n/s/q] ", b"\x1b", 7),
        (&[], "which? [R/o/n/s/q] ", b"q", 7),
    ] {
        let into = Scratch::new()?;
        run(receiving(&Sender::pod(&[&root], &[])?.ticket, into.path(), &[]))?.expect(0)?;
        write(&into.join("tree/taken"), "older")?;
        fs::remove_file(into.join("tree/new"))?;
        let sender = Sender::pod(&[&root], &[])?;
        let mut terminal = Terminal::new()?;
        let process = terminal.start(receive(&sender.ticket, into.path(), options))?;
        let shown = terminal.wait_for(question)?;
        ensure!(shown.contains("; 1 file is here already; 1 name is taken\r\n"), "{shown:?}");
        terminal.answer(keys)?;
        process.end()?.expect(code)?;
        sender.end()?.expect(code)?;
        let screen = terminal.read()?;
        ensure!(!screen.contains("[Y/n]"), "asked again: {screen:?}");
        ensure!(code != 0 || screen.contains("(of them here already: 1)"), "{screen:?}");
        let kept = fs::read_to_string(into.join("tree/taken"))?;
        let expected = if keys == b"x?O" { "taken" } else { "older" };
        assert_eq!(kept, expected, "{keys:?}");
        let beside = into.join("tree/taken (1)").exists();
        assert_eq!(beside, code == 0 && keys != b"x?O" && keys != b"n" && keys != b"s", "{keys:?}");
    }
    Ok(())
}

/// The question about a taken name shows both files: how large they are, and when they were changed.
#[test]
fn a_taken_name_shows_both_files() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    for (folder, content, seconds) in
        [(&from, "x".repeat(1500), 1_700_000_060), (&into, "old".into(), 1_700_000_000)]
    {
        write(&folder.join("notes"), content)?;
        touch(&folder.join("notes"), seconds, 0)?;
    }
    let sender = Sender::pod(&[&from.join("notes")], &[])?;
    let mut command = receive(&sender.ticket, into.path(), &[]);
    command.env("TZ", "UTC");
    let mut terminal = Terminal::new()?;
    let process = terminal.start(command)?;
    let shown = terminal.wait_for("which? [R/o/n/s/q] ")?;
    let both = "1 name exists already:\r\n  notes\r\n    here        3 B  2023-11-14 22:13:20\r\n    \
                sent     1.5 kB  2023-11-14 22:14:20 (newer)\r\n";
    ensure!(shown.contains(both), "{shown:?}");
    terminal.answer(b"n")?;
    process.end()?.expect(0)?;
    sender.end()?.expect(0)?;
    assert_eq!(fs::read(into.join("notes"))?.len(), 1500);
    Ok(())
}

/// A key lists what is offered, a window at a time.
#[test]
fn what_is_offered_can_be_listed() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    for number in 0..30 {
        write(&root.join(format!("{number:02}")), "x".repeat(1500))?;
    }
    let sender = Sender::pod(&[&root], &[])?;
    let mut terminal = Terminal::new()?;
    terminal.resize(80)?;
    let process = terminal.start(receive(&sender.ticket, into.path(), &[]))?;
    terminal.wait_for("take it? [Y/n] (l lists it) ")?;
    terminal.answer(b"l")?;
    let page = terminal.wait_for("take it? [Y/n] (l lists more) ")?;
    ensure!(page.contains("             tree/\r\n     1.5 kB  tree/00\r\n"), "{page:?}");
    ensure!(page.contains("tree/20\r\n") && !page.contains("tree/21"), "{page:?}");
    terminal.answer(b"l")?;
    let page = terminal.wait_for("take it? [Y/n] ")?;
    ensure!(page.contains("tree/21\r\n") && page.contains("tree/29\r\n"), "{page:?}");
    terminal.answer(b"y")?;
    process.end()?.expect(0)?;
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&root])
}

/// Whoever goes on with a transfer has taken it before.
#[test]
fn resuming_is_taking() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let file = from.join("file");
    write(&file, noise(5_000_000, 1))?;
    interrupt(&file, into.path())?;
    for (answers, code) in [(&["n", "n"][..], 7), (&["y"], 0)] {
        let sender = Sender::pod(&[&file], &[])?;
        let mut terminal = Terminal::new()?;
        let process = terminal.start(receive(&sender.ticket, into.path(), &[]))?;
        for (question, answer) in
            ["resume it? [Y/n]", "take it all anew? [Y/n]"].iter().zip(answers)
        {
            terminal.wait_for(question)?;
            terminal.answer(answer.as_bytes())?;
        }
        process.end()?.expect(code)?;
        sender.end()?.expect(code)?;
        let screen = terminal.read()?;
        ensure!(!screen.contains("[Y/n]"), "asked again: {screen:?}");
        ensure!(code == 7 || screen.contains("1 partial"), "{screen:?}");
    }
    ensure_arrived(into.path(), &[&file])
}

/// Leaves an interrupted transfer of a file of 5 MB behind.
fn interrupt(file: &Path, into: &Path) -> Result<()> {
    let sender = Sender::pod(&[file], &[])?;
    let proxy = Proxy::start(&sender, 3_000_000)?;
    let mut receiver = Process::start(receiving(&proxy.ticket, into, &[]))?;
    receiver.wait_until_said("receiving 1 file")?;
    proxy.wait_stalled()?;
    receiver.interrupt()?;
    receiver.end()?.expect(130)?;
    Ok(())
}

#[test]
fn hidden_files_of_the_home_folder_are_pointed_out() -> Result<()> {
    let from = Scratch::new()?;
    let (profile, folder) = (from.join(".profile"), from.join("tree"));
    write(&profile, "x")?;
    write(&folder.join(".inside"), "x")?;
    for at_home in [true, false] {
        let home = Scratch::new()?;
        let into = if at_home { home.path().to_owned() } else { home.join("in") };
        let sender = Sender::pod(&[&profile, &folder], &[])?;
        let mut command = receive(&sender.ticket, &into, &[]);
        command.env("HOME", home.path());
        let mut terminal = Terminal::new()?;
        let process = terminal.start(command)?;
        let shown = terminal.wait_for("take it? [Y/n]")?;
        terminal.answer(b"n")?;
        process.end()?.expect(7)?;
        sender.end()?.expect(7)?;
        let place = if at_home { "into ~ (" } else { "into ~/in (" };
        ensure!(shown.contains(place), "{shown:?}");
        let warned =
            shown.contains("hidden files in your home folder can run programs: .profile\r\n");
        assert_eq!(warned, at_home, "{shown:?}");
    }
    Ok(())
}

/// A stream has no names and no size; it is asked about all the same, unless it goes to a pipe.
#[test]
fn a_stream_is_asked_about() -> Result<()> {
    for (key, code) in [(b"n", 7), (b"y", 0)] {
        let into = Scratch::new()?;
        let mut command = Command::new("sh");
        command.args(["-c", "echo content | \"$0\" send --pod --port 0 -"]);
        command.arg(transfer().get_program());
        let sender = Sender::start(clean(command))?;
        let mut terminal = Terminal::new()?;
        let process = terminal.start(receive(&sender.ticket, into.path(), &["-q"]))?;
        let shown = terminal.wait_for("take it? [Y/n]")?;
        ensure!(shown.starts_with("offered: a stream of unknown length\r\ninto "), "{shown:?}");
        terminal.answer(key)?;
        process.end()?.expect(code)?;
        sender.end()?.expect(code)?;
        ensure!(fs::read_dir(into.path())?.count() == usize::from(code == 0), "{code}");
    }
    Ok(())
}

/// The name is the sender's choice: it is shown, and pointed out where it can do harm.
#[test]
fn the_name_of_a_stream_is_shown() -> Result<()> {
    let home = Scratch::new()?;
    let mut command = Command::new("sh");
    command.args(["-c", "echo content | \"$0\" send --pod --port 0 --name .profile -"]);
    command.arg(transfer().get_program());
    let sender = Sender::start(clean(command))?;
    let mut command = receive(&sender.ticket, home.path(), &[]);
    command.env("HOME", home.path());
    let mut terminal = Terminal::new()?;
    let process = terminal.start(command)?;
    let shown = terminal.wait_for("take it? [Y/n]")?;
    ensure!(shown.contains("offered: a stream of unknown length: .profile\r\n"), "{shown:?}");
    ensure!(shown.contains("home folder can run programs: .profile\r\n"), "{shown:?}");
    terminal.answer(b"n")?;
    process.end()?.expect(7)?;
    sender.end()?.expect(7)?;
    ensure!(fs::read_dir(home.path())?.next().is_none(), "something was taken");
    Ok(())
}

/// A slip is told at once, and Tab completes what is clear.
#[test]
fn a_typed_ticket_is_checked_and_completed() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let file = from.join("file");
    write(&file, "content")?;
    let sender = Sender::pod(&[&file], &[])?;
    let receive = || {
        let mut command = transfer();
        command.args(["receive", "-o"]).arg(into.path());
        command
    };
    let mut terminal = Terminal::new()?;
    let process = terminal.start(receive())?;
    let prompt = "ticket (as on the sender's screen): ";
    terminal.wait_for(prompt)?;
    terminal.answer(b"127.0.0.1:ocaen-tiger\r")?;
    let said = "\"ocaen\" is not a word of the token list\r\n  did you mean \"ocean\"?\r\n";
    terminal.wait_for(said)?;
    terminal.wait_for(prompt)?;
    // Without its last letter a word of five or more is often clear already; else Tab does nothing.
    let (all, last) = sender.ticket.split_at(sender.ticket.len() - 1);
    terminal.answer(format!("{all}\t").as_bytes())?;
    let typed = terminal.wait_for(all)?;
    ensure!(!typed.contains("error"), "{typed:?}");
    let token = all.rsplit(':').next().unwrap_or_default();
    let completed = transfer::token::Token::complete(token);
    if completed.is_none_or(|completed| !completed.ends_with(last)) {
        terminal.answer(last.as_bytes())?;
    }
    terminal.answer(b"\r")?;
    terminal.wait_for("take it? [Y/n]")?;
    terminal.answer(b"y")?;
    process.end()?.expect(0)?;
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&file])?;

    // The third slip is the last; Ctrl-C ends it before.
    for (slips, end, code) in [(2, &b"x\r"[..], 2), (1, b"\x03", 130)] {
        let mut terminal = Terminal::new()?;
        let process = terminal.start(receive())?;
        for _ in 0..slips {
            terminal.wait_for(prompt)?;
            terminal.answer(b"127.0.0.1:ocaen-tiger\r")?;
            terminal.wait_for(said)?;
        }
        terminal.wait_for(prompt)?;
        terminal.answer(end)?;
        process.end()?.expect(code)?;
        let screen = terminal.read()?;
        // What was typed last is shown once more.
        let again = screen.matches(prompt).count() > 1;
        let said = if code == 2 { "error: " } else { "interrupted" };
        ensure!(!again && plain(&screen).contains(said), "{screen:?}");
    }
    Ok(())
}
