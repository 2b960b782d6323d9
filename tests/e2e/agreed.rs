//! A token that was agreed beforehand, and a receiver that waits: two jobs that need nobody in between.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use transfer::shown::quoted;

use crate::util::process::{Pipe, Process, Sender, run, transfer};
use crate::util::tree::{Scratch, chmod, ensure_arrived, write};

/// A file with a token that nobody else may read.
fn token(at: &Scratch, words: &str) -> Result<PathBuf> {
    let path = at.join("token");
    write(&path, words)?;
    chmod(&path, 0o600)?;
    Ok(path)
}

/// A port where nothing listens.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[test]
fn a_receiver_waits_and_nobody_types_anything() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    write(&from.join("tree/file"), "content")?;
    let words = "ocean-tiger-cactus-violin\n";
    let token = token(&from, words)?;
    let port = free_port()?;
    let place = format!("127.0.0.1:{port}");

    let mut command = transfer();
    command.args(["receive", "-y", "--wait=1m", "--token-file"]).arg(&token);
    command.arg("-o").arg(into.path()).arg(&place);
    let mut receiver = Process::start(command)?;
    let line = receiver.wait_for(Pipe::Err, "waiting up to 1m for this machine: ")?;
    ensure!(line.ends_with(&format!("nothing listens at {place}\n")), "{line}");

    let mut command = transfer();
    command.args(["send", "-y", "--pod", "--port", &port.to_string(), "--token-file"]);
    command.arg(&token).arg(from.join("tree"));
    let sender = Sender::start(command)?;
    assert_eq!(sender.ticket, format!("--token-file {} {place}", quoted(&token)));
    let received = receiver.end()?.expect(0)?;
    let sent = sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&from.join("tree")])?;
    // Once, however often it was tried; and nobody ever shows the secret.
    assert_eq!(received.stderr.matches("waiting up to").count(), 1, "{received:#?}");
    for said in [&received.stderr, &received.stdout, &sent.stderr, &sent.stdout] {
        ensure!(!said.contains("tiger") && !said.contains("cactus"), "{said}");
    }
    Ok(())
}

/// Programs do not learn the secret either.
#[test]
fn events_do_not_tell_the_token() -> Result<()> {
    let from = Scratch::new()?;
    write(&from.join("file"), "content")?;
    let token = token(&from, "ocean-tiger-cactus-violin")?;
    let mut command = transfer();
    command.args(["send", "--json", "--pod", "--port", "0", "--token-file"]).arg(&token);
    let mut sender = Process::start({
        command.arg(from.join("file"));
        command
    })?;
    let line = sender.wait_for(Pipe::Out, "\"event\":\"ticket\"")?;
    ensure!(line.contains("\"ticket\":\"127.0.0.1:") && !line.contains("tiger"), "{line}");
    ensure!(
        line.contains(&format!("transfer receive --token-file {} 127", quoted(&token))),
        "{line}"
    );
    sender.interrupt()?;
    sender.end()?.expect(130)?;
    Ok(())
}

#[test]
fn a_wait_has_an_end() -> Result<()> {
    let from = Scratch::new()?;
    let token = token(&from, "ocean-tiger-cactus-violin")?;
    let place = format!("127.0.0.1:{}", free_port()?);
    let mut command = transfer();
    command.args(["receive", "-y", "--wait=1s", "--token-file"]).arg(&token).arg(&place);
    let ended = run(command)?.expect(5)?;
    ended.says("waiting up to 1s for this machine")?;
    ended.says(&format!("error: nothing listens at {place}\n"))?;
    // It ends at once on what waiting does not mend.
    let sender = Sender::start({
        let mut command = transfer();
        command.args(["send", "-y", "--pod", "--port", "0", "--token-file"]);
        command.arg(&token).arg(&token);
        command
    })?;
    let other = from.join("other");
    write(&other, "violin-cactus-tiger-ocean")?;
    chmod(&other, 0o600)?;
    let place = sender.ticket.rsplit(' ').next().unwrap_or_default();
    let mut command = transfer();
    command.args(["receive", "-y", "--wait", "--token-file"]).arg(&other).arg(place);
    let ended = run(command)?.expect(4)?;
    ended.says("wrong token")?;
    ended.says("  do both files hold the same token? the screen does not show it\n")
}

#[test]
fn only_a_long_token_that_nobody_else_can_read_is_taken() -> Result<()> {
    let here = Scratch::new()?;
    write(&here.join("file"), "x")?;
    for (words, mode, says) in [
        ("ocean-tiger-cactus-violin", 0o644, "error: others can read "),
        ("ocean-tiger-cactus-violin", 0o640, "error: others can read "),
        ("ocean-tiger-cactus", 0o600, "error: a token in a file has at least 4 words, not 3\n"),
        ("ocean-tiger-cactus-vilin", 0o600, "error: \"vilin\" is not a word of the token list\n"),
    ] {
        let token = token(&here, words)?;
        chmod(&token, mode)?;
        for side in [&["send", "--pod", "file"][..], &["receive", "--pod", "127.0.0.1"]] {
            let mut command = transfer();
            command.args(side).arg("--token-file").arg(&token).current_dir(here.path());
            run(command)?.expect(2)?.says(says)?;
        }
    }
    let token = token(&here, "ocean-tiger-cactus-violin")?;
    for (words, says) in [
        (
            &["receive", "127.0.0.1:ocean-tiger"][..],
            "the token is in the ticket, and in the file as well",
        ),
        (&["receive"], "who the sender is was not said"),
        (&["send", "--words", "3", "file"], "cannot be used with"),
    ] {
        let mut command = transfer();
        command.args(words).arg("--token-file").arg(&token).current_dir(here.path());
        run(command)?.expect(2)?.says(says)?;
    }
    Ok(())
}

#[test]
fn a_token_is_made() -> Result<()> {
    let made = |args: &[&str]| {
        let mut command = transfer();
        command.arg("token").args(args);
        run(command)
    };
    let token = made(&[])?.expect(0)?.stdout;
    assert_eq!(token.trim_end().split('-').count(), 6, "{token}");
    assert_ne!(token, made(&[])?.expect(0)?.stdout);
    assert_eq!(made(&["--words", "4"])?.expect(0)?.stdout.split('-').count(), 4);
    made(&["--words", "3"])?.expect(2)?;
    let here = Scratch::new()?;
    fs::write(here.join("t"), token)?;
    Ok(())
}
