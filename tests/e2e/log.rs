//! `--log-file`: everything, in order, with the time, and no secret.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::scripted;
use crate::util::process::{Pipe, Sender, receiving, run, transfer};
#[cfg(unix)]
use crate::util::tree::chmod;
use crate::util::tree::{Scratch, ensure_arrived, write};

/// The lines of a log without their times, each of which must be there and not before the last.
fn lines(log: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(log)?;
    ensure!(text.ends_with('\n') && !text.contains(['\u{1b}', '\r']), "{text:?}");
    let mut last = String::new();
    let line = |line: &str| {
        let (time, text) = line.split_once(' ').with_context(|| format!("no time: {line:?}"))?;
        // 2026-01-02T03:04:05.678Z
        let shape: String =
            time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        ensure!(shape == "0000-00-00T00:00:00.000Z", "{line:?}");
        ensure!(*time >= *last, "{time} after {last}");
        last = time.to_owned();
        Ok(text.to_owned())
    };
    text.lines().map(line).collect()
}

/// Whatever is said on the terminal, the log has everything; both sides may share one.
#[test]
fn a_log_has_everything_and_no_secret() -> Result<()> {
    let from = Scratch::new()?;
    let root = from.join("tree");
    for number in 0..25 {
        write(&root.join(format!("{number:02}")), "x")?;
    }
    write(&root.join("with \u{202e}mark"), "x")?;
    #[cfg(unix)]
    for number in 0..15 {
        std::os::unix::fs::symlink("/etc/passwd", root.join(format!("link {number:02}")))?;
    }
    let code = if cfg!(unix) { 3 } else { 0 };
    for options in [&["-q"][..], &[], &["-vv"], &["--json"]] {
        let (into, logs) = (Scratch::new()?, Scratch::new()?);
        let (one, two) = (logs.join("sent"), logs.join("received"));
        write(&two, "2000-01-01T00:00:00.000Z from before\n")?;
        let with = |log: &Path| -> Result<Vec<String>> {
            let log = log.to_str().context("a path")?.to_owned();
            let options = options.iter().map(|option| (*option).to_owned());
            Ok(options.chain(["--log-file".into(), log]).collect())
        };
        let mut send = transfer();
        send.args(["send", "--pod", "--port", "0", "--words", "8"]).args(with(&one)?).arg(&root);
        let mut process = crate::util::process::Process::start(send)?;
        let line = process.wait_for(Pipe::Out, "transfer receive ")?;
        let (_, ticket) = line.split_once("transfer receive ").context("no ticket")?;
        let ticket = ticket.split(['"', '\n']).next().unwrap_or_default().to_owned();
        let token = ticket.rsplit(':').next().context("no token")?.to_owned();
        assert_eq!(token.split('-').count(), 8, "{ticket}");
        let mut receive = transfer();
        receive.args(["receive", "-o"]).arg(into.path()).args(with(&two)?).arg(&ticket);
        run(receive)?.expect(code)?;
        process.end()?.expect(code)?;

        for log in [&one, &two] {
            let lines = lines(log)?;
            let has = |text: &str| lines.iter().any(|line| line == text);
            for number in 0..25 {
                ensure!(has(&format!("tree/{number:02}")), "{options:?}: {lines:#?}");
            }
            ensure!(has("tree/with \\u{202e}mark"), "{options:?}: {lines:#?}");
            let links = if cfg!(unix) { 15 } else { 0 };
            for number in 0..links {
                let line = format!("  tree/link {number:02}: it points out of the tree");
                ensure!(has(&line), "{options:?}: {lines:#?}");
            }
            ensure!(lines.iter().any(|line| line.starts_with("session ")), "{lines:#?}");
            assert_eq!(lines.last(), Some(&format!("exit code {code}")));
            let text = fs::read_to_string(log)?;
            for secret in [&*ticket, &token, &token.replace('-', " ")] {
                ensure!(!text.contains(secret), "the log has {secret:?}: {text}");
            }
            for pair in token.split('-').collect::<Vec<_>>().windows(2) {
                ensure!(!text.contains(&pair.join("-")), "the log has {pair:?}: {text}");
            }
        }
        let begins = |text: &str| text.starts_with("transfer ") && text.ends_with(" begins");
        ensure!(begins(&lines(&one)?[0]), "{:#?}", lines(&one)?);
        ensure!(lines(&two)?[0] == "from before" && begins(&lines(&two)?[1]), "it was cut");
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&one)?.permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
    }
    Ok(())
}

/// What a mistyped ticket holds may be most of a token.
#[test]
fn a_mistyped_ticket_stays_out_of_the_log() -> Result<()> {
    let logs = Scratch::new()?;
    let log = logs.join("log");
    let tickets = [
        "1.2.3.4:ocaen-tiger",
        "ocean-tiger",
        "ocean-tiger:1.2.3.4",
        "1.2.3.4:ocean-tiger:15820",
        "1.2.3.4:15820:ocean-tiger:x",
        "1.2.3.4:ocean",
    ];
    for ticket in tickets {
        let mut command = transfer();
        command.args(["receive", "--log-file"]).arg(&log).arg(ticket);
        run(command)?.expect(2)?.says("error: ")?;
    }
    let text = fs::read_to_string(&log)?;
    for word in ["ocean", "ocaen", "tiger"] {
        ensure!(!text.contains(word), "{text}");
    }
    assert_eq!(text.matches("its words are not logged").count(), tickets.len());
    assert_eq!(text.matches(" exit code 2\n").count(), tickets.len());
    Ok(())
}

/// The second ticket, for the rest of the tailnet, is a ticket too.
#[test]
#[cfg(unix)]
fn a_ticket_for_elsewhere_stays_out_of_the_log() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tailscale");
    let tailscale = from.join("tailscale");
    let status = fixtures.join("status_userspace_container.json");
    write(
        &tailscale,
        format!("#!/bin/sh\n[ \"$1\" = status ] && exec cat '{}'\nexit 1\n", status.display()),
    )?;
    chmod(&tailscale, 0o755)?;
    let (file, log) = (from.join("file"), from.join("log"));
    write(&file, "content")?;
    let mut command = transfer();
    command.args(["send", "--pod", "--port", "0", "--words", "8", "--log-file"]).arg(&log);
    command.arg(&file).env("TRANSFER_TAILSCALE", &tailscale);
    let mut sender = Sender::start(command)?;
    let elsewhere = "from another machine of the tailnet: transfer receive 100.";
    sender.process.wait_until_said(elsewhere)?;
    run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
    let token = sender.ticket.rsplit(':').next().context("no token")?.to_owned();
    sender.end()?.expect(0)?;
    let text = fs::read_to_string(&log)?;
    ensure!(text.contains("sent 1 file") && !text.contains(&token), "{text}");
    ensure_arrived(into.path(), &[&file])
}

/// One that cannot be opened is told before anything is done; one that fills up ends nothing.
#[test]
#[cfg(unix)]
fn a_log_that_cannot_be_written_to_is_told() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let file = from.join("file");
    write(&file, "content")?;
    let folder = from.path().to_str().context("a path")?.to_owned();
    for (log, why) in [
        ("nowhere/log", "\"nowhere/log\": no such file or directory".to_owned()),
        (&folder, format!("\"{folder}\": is a directory")),
        ("file\u{202e}/log", "\"file\\u{202e}/log\": no such file or directory".into()),
    ] {
        for args in [&["send", "--pod", "file"][..], &["receive", "127.0.0.1:ocean-tiger"]] {
            let mut command = transfer();
            command.args(args).args(["--log-file", log]).current_dir(from.path());
            let ended = run(command)?.expect(2)?;
            let hint = "--log-file names a file in a folder that exists";
            assert_eq!(ended.stderr, format!("error: cannot open the log {why}\n  {hint}\n"));
            assert_eq!(ended.stdout, "");
        }
    }
    if !Path::new("/dev/full").exists() {
        return Ok(());
    }
    let sender = Sender::pod(&[&file], &["--log-file", "/dev/full"])?;
    run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
    let sent = sender.end()?.expect(0)?;
    let warning = "warning: cannot write to the log: no space left on device; going on\n";
    assert_eq!(sent.stderr.matches(warning).count(), 1, "{sent:#?}");
    ensure_arrived(into.path(), &[&file])
}

/// A file that crosses in three attempts, and one error with its hint.
#[test]
fn what_goes_wrong_is_logged() -> Result<()> {
    let (into, logs) = (Scratch::new()?, Scratch::new()?);
    let log = logs.join("log");
    let (ticket, running) = scripted::corrupting(u8::MAX)?;
    let options = ["-q", "--log-file", log.to_str().context("a path")?];
    run(receiving(&ticket, into.path(), &options))?.expect(6)?;
    running.join().ok().context("panicked")??;
    let nobody = run(receiving(&ticket, into.path(), &options))?.expect(5)?;
    nobody.says("error: nothing listens at 127.0.0.1:")?;
    let lines = lines(&log)?;
    for text in [
        "warning: 1 file differs after attempt 1; sending again",
        "warning: 1 file differs after attempt 2; sending again",
        "warning: 1 entry did not arrive:",
        "  torn: its hash still differed after 3 attempts",
        "exit code 6",
        "  is `transfer send` still running there?",
        "exit code 5",
    ] {
        ensure!(lines.iter().any(|line| line == text), "no {text:?}: {lines:#?}");
    }
    Ok(())
}
