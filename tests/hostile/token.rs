//! Where the token and the keys may not be seen: among the running commands, and in whatever the
//! two sides say of themselves.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::pty::AtTerminal;
use crate::script::{Line, PLAN, data, file, whole};
use crate::shake::Side;
use crate::stage::{TOKEN, token_of};
use crate::util::process::{Pipe, Process, Sender, receiving, run, transfer};
use crate::util::tree::{Scratch, noise, write};

/// What everybody on the machine can read of a process.
fn public(process: u32) -> Result<String> {
    let mut seen = String::new();
    for file in ["cmdline", "comm", "stat", "status"] {
        let bytes = fs::read(format!("/proc/{process}/{file}"))?;
        seen.push_str(&String::from_utf8_lossy(&bytes));
    }
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        seen.push_str(&fs::read_to_string(thread?.path().join("comm"))?);
    }
    Ok(seen)
}

fn holds_token(text: &str) -> bool {
    text.to_lowercase().contains("ocean") || text.to_lowercase().contains("tiger")
}

/// Serves a receiver one file; `look` is called while it waits for its content.
fn serve(listener: &TcpListener, look: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut line = Line::start(listener.accept()?.0, Side::Sender, TOKEN)?;
    line.offer(&[file("x")])?;
    look()?;
    line.hear_pages(PLAN)?;
    line.say(&data(&[whole(0)]))?;
    line.finish()?;
    line.drain();
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn nobody_sees_the_token_among_the_running_commands() -> Result<()> {
    type Give = fn(&mut Command, &str, &Scratch) -> Result<()>;
    let ways: [(&str, Give, bool); 3] = [
        (
            "in the environment",
            |command, ticket, _| {
                command.env("TRANSFER_TICKET", ticket);
                Ok(())
            },
            false,
        ),
        (
            "in a file",
            |command, ticket, scratch| {
                write(&scratch.join("ticket"), ticket)?;
                command.arg("--ticket-file").arg(scratch.join("ticket"));
                Ok(())
            },
            false,
        ),
        // That the look would see it.
        (
            "as an argument",
            |command, ticket, _| {
                command.arg(ticket);
                Ok(())
            },
            true,
        ),
    ];
    for (name, give, seen) in ways {
        let scratch = Scratch::new()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut command = transfer();
        command.args(["receive", "-vv", "-y", "-o"]).arg(scratch.join("out"));
        give(&mut command, &format!("{}:{TOKEN}", listener.local_addr()?), &scratch)?;
        let process = Process::start(command)?;
        serve(&listener, || {
            let public = public(process.id())?;
            ensure!(holds_token(&public) == seen, "{name}: {public:?}");
            Ok(())
        })?;
        let ended = process.end()?.expect(0)?;
        ensure!(!holds_token(&(ended.stdout + &ended.stderr)), "{name}: the token was shown");
    }
    Ok(())
}

/// Typed at the question: as it is typed it is on the screen, and nowhere else.
#[test]
#[cfg(target_os = "linux")]
fn nobody_sees_a_token_that_was_typed() -> Result<()> {
    let scratch = Scratch::new()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut command = transfer();
    command.args(["receive", "-vv", "-o"]).arg(scratch.join("out"));
    let mut receiver = AtTerminal::start(command)?;
    receiver.wait_for("ticket (as on the sender's screen)")?;
    receiver.press(&format!("{}:{TOKEN}\r", listener.local_addr()?))?;
    let (id, mut typed) = (receiver.id(), String::new());
    serve(&listener, || {
        let public = public(id)?;
        ensure!(!holds_token(&public), "{public:?}");
        receiver.wait_for("take it? [Y/n]")?;
        typed = receiver.shown();
        receiver.press("y")
    })?;
    let shown = receiver.end(0)?;
    let later = shown.strip_prefix(&typed).unwrap_or(&shown);
    ensure!(!holds_token(later), "the token was shown: {later:?}");
    Ok(())
}

/// At `-vv`, where all is said: of the token only the one line that is there to show it, and of the
/// keys nothing (a scripted peer knows them all and looks for them in every row, see `stage`).
#[test]
fn the_token_is_shown_once() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    write(&from.join("tree/file"), noise(100_000, 1))?;
    for options in [&["-vv"][..], &["-vv", "--words", "8"]] {
        let sender = Sender::pod(&[&from.join("tree")], options)?;
        let token = token_of(&sender)?;
        let wrong = sender.ticket.replace(&token, "aardvark-abacus");
        run(receiving(&wrong, into.path(), &["-vv"]))?.expect(4)?;
        let received = run(receiving(&sender.ticket, into.path(), &["-vv"]))?.expect(0)?;
        let sent = sender.end()?.expect(0)?;
        let line = sent.stdout.strip_suffix(&format!("{token}\n"));
        ensure!(line.is_some_and(|line| !line.contains(&token)), "{sent:#?}");
        let said = received.stdout + &received.stderr + &sent.stderr;
        // Single words may be part of others.
        ensure!(!said.contains(&token) && !said.contains("aardvark"), "{said}");
    }
    Ok(())
}

/// All that a process has in its memory and may write to.
#[cfg(target_os = "linux")]
fn memory(process: u32) -> Result<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let (maps, file) = (format!("/proc/{process}/maps"), format!("/proc/{process}/mem"));
    let file = fs::File::open(file)?;
    let mut memory = Vec::new();
    for line in fs::read_to_string(maps)?.lines().filter(|line| line.contains(" rw-p ")) {
        let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        let (from, to) = range.context("a range of addresses")?;
        let (from, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
        let mut bytes = vec![0; usize::try_from(to - from)?];
        // The kernel's own pages cannot be read.
        if file.read_exact_at(&mut bytes, from).is_ok() {
            memory.extend(bytes);
        }
    }
    Ok(memory)
}

/// What was written to show the ticket is wiped: of the places that hold the token, none is a
/// line on its way out. (The token itself a sender needs until it ends.)
#[test]
#[cfg(target_os = "linux")]
fn no_shown_ticket_stays_in_memory() -> Result<()> {
    let from = Scratch::new()?;
    write(&from.join("file"), "content")?;
    for options in [&[][..], &["--json"], &["-v"]] {
        let mut command = transfer();
        command.args(["send", "--pod", "--port", "0", "-y"]).args(options).arg(from.join("file"));
        let mut sender = Process::start(command)?;
        let line = sender.wait_for(Pipe::Out, "transfer receive ")?;
        let (_, ticket) = line.split_once("transfer receive ").context("a ticket")?;
        let ticket = ticket.split(['"', '\n']).next().unwrap_or_default();
        let token = ticket.rsplit(':').next().context("a token")?;
        // Said behind everything that has the ticket in it.
        sender.wait_until_said("waiting for the receiver")?;
        let memory = memory(sender.id())?;
        let found =
            |text: &str| memory.windows(text.len()).filter(|it| *it == text.as_bytes()).count();
        // That the look would see it.
        ensure!(found(token) > 0, "{options:?}: not even the token that it needs was found");
        let port_and_token = ticket.split_once(':').map_or(ticket, |(_, rest)| rest);
        assert_eq!(found(port_and_token), 0, "{options:?}");
        sender.kill()?;
    }
    Ok(())
}
