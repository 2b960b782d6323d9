//! `--json` in real transfers, both sides, each line checked against the schema.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write, pipe};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::events::{Events, SCHEMA, check_line, fields, known};
use crate::proxy::Proxy;
use crate::scripted;
use crate::sums::check_sums;
use crate::util::process::{Pipe, Process, Sender, clean, run, send_into, transfer};
use crate::util::tree::{Scratch, ensure_arrived, noise, touch, write};

/// `transfer send --pod --port 0 --json OPTIONS PATHS`.
fn sending(paths: &[&Path], options: &[&str]) -> Command {
    let mut command = transfer();
    command.args(["send", "--pod", "--port", "0", "--json"]).args(options).args(paths);
    command
}

/// Waits for the ticket of a sender that was started with `--json`.
fn ticketed(mut process: Process) -> Result<Sender> {
    let line: Value = serde_json::from_str(&process.wait_for(Pipe::Out, "\"event\":\"ticket\"")?)?;
    let ticket = line["ticket"].as_str().context("no ticket")?.to_owned();
    Ok(Sender { process, ticket })
}

fn sender(paths: &[&Path], options: &[&str]) -> Result<Sender> {
    ticketed(Process::start(sending(paths, options))?)
}

/// `transfer receive --json -o INTO OPTIONS TICKET`.
fn receiving(ticket: &str, into: &Path, options: &[&str]) -> Command {
    let mut command = transfer();
    command.args(["receive", "--json", "-o"]).arg(into).args(options).arg(ticket);
    command
}

/// Sends paths into a folder, where both sides must end with exit code `code`. Returns what the
/// sender and the receiver said.
fn exchange(into: &Path, paths: &[&Path], options: &[&str], code: i32) -> Result<(Events, Events)> {
    let sender = sender(paths, &[])?;
    let received = run(receiving(&sender.ticket, into, options))?.expect(code)?;
    let sent = sender.end()?.expect(code)?;
    Ok((Events::of(&sent)?, Events::of(&received)?))
}

/// Files at and below a path, and their bytes.
fn on_disk(path: &Path) -> Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_file() {
        return Ok((1, metadata.len()));
    }
    let mut all = (0, 0);
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            let (files, bytes) = on_disk(&entry?.path())?;
            all = (all.0 + files, all.1 + bytes);
        }
    }
    Ok(all)
}

/// Fails unless `line` has these fields.
fn has(line: &Value, expected: Value) -> Result<()> {
    for (field, expected) in expected.as_object().context("no object")? {
        ensure!(line[field] == *expected, "{field:?} is not {expected}: {line}");
    }
    Ok(())
}

#[test]
fn a_whole_transfer_is_told_on_both_sides() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    // Escaped on a terminal, in JSON, in both or in none.
    // Windows has neither of these in names.
    let (quoted, slashed) =
        if cfg!(windows) { ("it's", "a b") } else { ("it's \"quoted\"", "a\\b") };
    let names = ["\u{202e}gpj.exe", "a line\u{2028}or two", "grüße 日本 😀", quoted, "tree"];
    let names: BTreeSet<&str> = names.into();
    let paths: Vec<_> = names.iter().map(|name| from.join(name)).collect();
    for path in &paths {
        write(&path.join(slashed), noise(3_000, 1))?;
        write(&path.join("empty"), "")?;
        fs::create_dir(path.join("nothing"))?;
        #[cfg(unix)]
        std::os::unix::fs::symlink("empty", path.join("link"))?;
    }
    let single = from.join("empty file");
    write(&single, "")?;
    let paths: Vec<&Path> = paths.iter().map(|path| &**path).chain([&*single]).collect();
    let top: BTreeSet<&str> = names.into_iter().chain(["empty file"]).collect();

    let (sent, received) = exchange(into.path(), &paths, &[], 0)?;
    ensure_arrived(into.path(), &paths)?;
    assert_eq!(sent.states(), ["idle", "transferring", "completed"]);
    let states = ["idle", "connecting", "authenticating", "transferring", "completed"];
    assert_eq!(received.states(), states);
    let (files, bytes) = on_disk(into.path())?;
    for events in [&sent, &received] {
        let offer = events.one("offer")?;
        let folders = 2 * (top.len() - 1);
        let links = if cfg!(unix) { top.len() - 1 } else { 0 };
        has(offer, json!({ "files": files, "bytes": bytes, "folders": folders, "links": links }))?;
        has(offer, json!({ "more_names": 0, "unsent": 0 }))?;
        let listed = offer["names"].as_array().context("no names")?;
        assert_eq!(listed.iter().filter_map(Value::as_str).collect::<BTreeSet<_>>(), top);
        let skipped = json!({ "skipped_files": 0, "skipped_bytes": 0 });
        has(events.one("plan")?, json!({ "files": files, "bytes": bytes }))?;
        has(events.one("plan")?, skipped)?;
        let last = events.all("progress").pop().context("no progress")?.clone();
        has(&last, json!({ "files": files, "bytes": bytes, "total_files": files }))?;
        has(&last, json!({ "total_bytes": bytes, "left": 0.0, "path": null }))?;
        has(events.end(), json!({ "exit": 0, "result": "done", "files": files, "bytes": bytes }))?;
        has(events.end(), json!({ "failed": [], "kept": [], "renamed": [], "error": null }))?;
        has(events.end(), json!({ "unsent": { "count": 0, "names": [] } }))?;
    }
    let ticket = sent.one("ticket")?;
    let text = ticket["ticket"].as_str().context("no ticket")?;
    has(ticket, json!({ "host": "127.0.0.1", "command": format!("transfer receive {text}") }))?;
    ensure!(text.starts_with(&format!("127.0.0.1:{}:", ticket["port"])), "{ticket}");
    let (there, here) = (sent.one("peer")?, received.one("peer")?);
    has(there, json!({ "result": "connected", "address": null, "session": here["session"] }))?;
    has(here, json!({ "result": "connected", "address": "127.0.0.1", "name": "this machine" }))?;
    has(sent.end(), json!({ "already": null }))?;
    has(received.end(), json!({ "already": 0 }))?;

    // Once more: everything is there.
    let (sent, received) = exchange(into.path(), &paths, &[], 0)?;
    for events in [&sent, &received] {
        let skipped = json!({ "skipped_files": files, "skipped_bytes": bytes });
        has(events.one("plan")?, json!({ "files": 0, "bytes": 0 }))?;
        has(events.one("plan")?, skipped)?;
        has(events.end(), json!({ "files": files, "bytes": 0 }))?;
    }
    has(received.end(), json!({ "already": files }))
}

#[test]
fn an_empty_file_alone_is_a_whole_transfer() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let file = from.join("empty");
    write(&file, "")?;
    let (sent, received) = exchange(into.path(), &[&file], &[], 0)?;
    for events in [&sent, &received] {
        has(events.one("plan")?, json!({ "files": 1, "bytes": 0 }))?;
        // A line was due with that file; the last one of a session names none.
        let last = events.all("progress").pop().context("no progress")?.clone();
        has(&last, json!({ "files": 1, "bytes": 0, "total_bytes": 0, "path": null }))?;
        has(events.end(), json!({ "files": 1, "bytes": 0 }))?;
    }
    ensure_arrived(into.path(), &[&file])
}

/// While bytes move there are lines that say so, and stderr has neither bar nor JSON.
#[test]
fn progress_is_told_while_it_happens() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let file = from.join("file");
    write(&file, noise(16_000_000, 1))?;
    let sender = sender(&[&file], &[])?;
    let proxy = Proxy::start(&sender, 3_000_000)?;
    let receiver = Process::start(receiving(&proxy.ticket, into.path(), &[]))?;
    for next in [6_000_000, 9_000_000, 12_000_000, u64::MAX] {
        proxy.wait_stalled()?;
        // Long enough that the next byte is worth a line.
        thread::sleep(Duration::from_millis(250));
        proxy.resume_until(next);
    }
    let received = receiver.end()?.expect(0)?;
    let sent = sender.end()?.expect(0)?;
    let progress = Events::of(&received)?;
    let lines = progress.all("progress");
    ensure!(lines.len() >= 4, "{lines:#?}");
    for line in lines.iter().take(lines.len() - 1) {
        has(line, json!({ "path": "file", "total_bytes": 16_000_000 }))?;
    }
    has(Events::of(&sent)?.end(), json!({ "bytes": 16_000_000 }))?;
    for ended in [sent, received] {
        ensure!(!ended.stderr.contains(['{', '\u{1b}', '\r']), "{ended:#?}");
    }
    Ok(())
}

/// A file that vanishes while another crosses, things that cannot be sent, a peer that is told.
#[test]
#[cfg(unix)]
fn what_did_not_arrive_is_listed_by_its_exact_path() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    let large = root.join("0 large");
    write(&large, vec![7; 32 << 20])?;
    let vanishing = "van\u{202e}ishes \"quoted\"";
    write(&root.join(vanishing), "x")?;
    write(&root.join("stays"), "x")?;
    for number in 0..40 {
        std::os::unix::fs::symlink("/etc/passwd", root.join(format!("link {number:02}")))?;
    }
    let sender = sender(&[&root], &[])?;
    let proxy = Proxy::start(&sender, 1 << 20)?;
    let receiver = Process::start(receiving(&proxy.ticket, into.path(), &[]))?;
    proxy.wait_stalled()?;
    fs::remove_file(root.join(vanishing))?;
    proxy.resume();
    let received = receiver.end()?.expect(3)?;
    let sent = sender.end()?.expect(3)?;
    for ended in [&sent, &received] {
        ended.says("warning: cannot be sent: 40 things\n")?;
    }
    sent.says("  and 30 more (-v lists all)\n")?;
    received.says("  and 30 more (-v lists some of them)\n")?;
    for (ended, known) in [(sent, 40), (received, 30)] {
        let events = Events::of(&ended)?;
        ensure!(events.states().last() == Some(&"error"), "{ended:#?}");
        let fault = "it vanished from the sender's disk";
        let path = format!("tree/{vanishing}");
        let failed = json!([{ "path": path, "fault": "vanished", "text": fault }]);
        has(events.end(), json!({ "exit": 3, "result": "partial", "files": 2, "failed": failed }))?;
        has(events.one("offer")?, json!({ "files": 3, "unsent": 40, "names": ["tree"] }))?;
        let unsent = &events.end()["unsent"];
        has(unsent, json!({ "count": 40 }))?;
        let names = unsent["names"].as_array().context("no names")?;
        ensure!(names.len() == known, "{} names", names.len());
        let first = json!({ "name": "tree/link 00", "text": "it points out of the tree" });
        assert_eq!(names.first(), Some(&first));
    }
    assert_eq!(on_disk(&into.join("tree"))?, (2, (32 << 20) + 1));
    Ok(())
}

/// The same names in the folder already, with each way of dealing with them.
#[test]
fn names_that_are_taken_are_told() -> Result<()> {
    let from = Scratch::new()?;
    let paths = [from.join("a.txt"), from.join("b.txt")];
    for path in &paths {
        write(path, "new")?;
    }
    let paths = [&*paths[0], &*paths[1]];
    // Without a word everything is kept, as nothing is asked.
    for (options, code, kept, renamed) in [
        (&[][..], 0, json!([]), json!([{ "from": "a.txt", "to": "a (1).txt" }])),
        (&["--on-conflict", "skip"], 0, json!(["a.txt"]), json!([])),
        (&["--on-conflict", "overwrite"], 0, json!([]), json!([])),
        (&["--on-conflict", "fail"], 7, json!([]), json!([])),
    ] {
        let into = Scratch::new()?;
        write(&into.join("a.txt"), "older")?;
        let (sent, received) = exchange(into.path(), &paths, options, code)?;
        has(received.end(), json!({ "kept": kept, "renamed": renamed, "failed": [] }))?;
        // The sender does not know how things are called over there.
        has(sent.end(), json!({ "kept": kept, "renamed": [] }))?;
        if code == 7 {
            let message = "names are taken already: 1, such as \"a.txt\"";
            let hint = "nothing was changed; --on-conflict rename keeps both";
            let error = json!({ "message": message, "hint": hint });
            has(received.end(), json!({ "result": "declined", "error": error, "bytes": 0 }))?;
            has(sent.end(), json!({ "result": "declined", "bytes": 0 }))?;
            ensure!(received.all("plan").is_empty(), "{received:#?}");
        }
    }
    Ok(())
}

#[test]
fn wrong_tokens_are_told() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    write(&from.join("file"), "content")?;
    let sender = sender(&[&from.join("file")], &["--words", "4"])?;
    // Two words are never four.
    let wrong = format!("127.0.0.1:{}:ocean-tiger", sender.port()?);
    for _ in 0..3 {
        let received = Events::of(&run(receiving(&wrong, into.path(), &[]))?.expect(4)?)?;
        assert_eq!(received.states(), ["idle", "connecting", "authenticating", "error"]);
        has(received.end(), json!({ "result": "refused", "bytes": 0, "elapsed": 0.0 }))?;
        has(&received.end()["error"], json!({ "message": "this machine: wrong token" }))?;
    }
    let sent = Events::of(&sender.end()?.expect(4)?)?;
    let left: Vec<_> = sent.all("peer").iter().map(|line| line["guesses_left"].as_u64()).collect();
    assert_eq!(left, [Some(2), Some(1), Some(0)]);
    for line in sent.all("peer") {
        has(line, json!({ "result": "wrong_token", "name": "a program on this machine" }))?;
    }
    assert_eq!(sent.states(), ["idle", "error"]);
    Ok(())
}

/// Somebody who speaks another language is turned away and told of; so is the end of the wait.
#[test]
fn strangers_and_the_end_of_patience_are_told() -> Result<()> {
    let from = Scratch::new()?;
    write(&from.join("file"), "content")?;
    let mut sender = sender(&[&from.join("file")], &["--timeout", "5s"])?;
    TcpStream::connect(("127.0.0.1", sender.port()?))?.write_all(&[b'x'; 100])?;
    sender.process.wait_for(Pipe::Out, "\"event\":\"peer\"")?;
    let sent = Events::of(&sender.end()?.expect(5)?)?;
    has(sent.one("peer")?, json!({ "result": "turned_away", "address": "127.0.0.1" }))?;
    has(&sent.end()["error"], json!({ "message": "no receiver came within 5 s" }))?;
    has(sent.end(), json!({ "result": "network" }))
}

/// A doctor that looks is no stranger, and costs no guess.
#[cfg(unix)]
#[test]
fn a_doctors_look_is_told() -> Result<()> {
    let from = Scratch::new()?;
    write(&from.join("file"), "content")?;
    for json in [true, false] {
        let paths = [&*from.join("file")];
        let mut offer = if json { sender(&paths, &[])? } else { Sender::pod(&paths, &[])? };
        let mut doctor = transfer();
        doctor.args(["doctor", "--pod", &offer.ticket]);
        run(doctor)?.expect(0)?;
        let who = "a program on this machine";
        let line = format!("{who} had a look with `transfer doctor`: it reaches this offer\n");
        assert_eq!(offer.process.wait_for(Pipe::Err, "look")?, line);
        offer.process.interrupt()?;
        let ended = offer.end()?.expect(130)?;
        ensure!(!ended.stderr.contains("turned away"), "{ended:#?}");
        if json {
            let events = Events::of(&ended)?;
            let looked = json!({ "result": "looked", "name": who, "address": "127.0.0.1" });
            has(events.one("peer")?, looked)?;
        }
    }
    Ok(())
}

/// Signals in the middle of a transfer and while nothing happens.
#[test]
#[cfg(unix)]
fn the_last_line_is_the_end_after_a_signal_too() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let file = from.join("file");
    write(&file, noise(8_000_000, 1))?;
    let mut sender = sender(&[&file], &[])?;
    let proxy = Proxy::start(&sender, 3_000_000)?;
    let receiver = Process::start(receiving(&proxy.ticket, into.path(), &[]))?;
    proxy.wait_stalled()?;
    receiver.interrupt()?;
    proxy.resume();
    let received = Events::of(&receiver.end()?.expect(130)?)?;
    has(received.end(), json!({ "result": "interrupted", "failed": [], "already": null }))?;
    let error = json!({
        "message": "interrupted",
        "hint": "the same command goes on where it stopped; the sender waits 5 minutes",
    });
    has(received.end(), json!({ "error": error }))?;
    let crossed = received.end()["bytes"].as_u64().context("no bytes")?;
    assert_eq!(on_disk(&into.join("file.part"))?, (1, crossed));

    // The sender waits for the receiver to come back, and is stopped in turn.
    sender.process.wait_for(Pipe::Out, "\"event\":\"reconnecting\"")?;
    sender.process.interrupt()?;
    let sent = Events::of(&sender.end()?.expect(130)?)?;
    assert_eq!(sent.states(), ["idle", "transferring", "idle", "error"]);
    has(sent.one("reconnecting")?, json!({ "patience": 300.0 }))?;
    let hint = "this ticket is void; `transfer send` makes another, and the receiver goes on from \
                what it has";
    has(&sent.end()["error"], json!({ "message": "interrupted", "hint": hint }))?;

    // What is here does not cross again.
    let (sent, received) = exchange(into.path(), &[&file], &[], 0)?;
    for events in [sent, received] {
        let left = 8_000_000 - crossed;
        has(events.one("plan")?, json!({ "files": 1, "bytes": left, "skipped_bytes": crossed }))?;
        has(events.end(), json!({ "files": 1, "bytes": left }))?;
    }
    ensure_arrived(into.path(), &[&file])
}

/// Nobody answers, and the receiver sits in the handshake: the second signal, or the end of the
/// grace, ends it there.
#[test]
#[cfg(unix)]
fn the_last_line_is_the_end_when_a_process_is_cut_short() -> Result<()> {
    let into = Scratch::new()?;
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let ticket = format!("127.0.0.1:{}:ocean-tiger", silent.local_addr()?.port());
    let mut receiver = Process::start(receiving(&ticket, into.path(), &[]))?;
    receiver.wait_for(Pipe::Out, "\"state\":\"authenticating\"")?;
    receiver.interrupt()?;
    receiver.interrupt()?;
    let received = receiver.end()?.expect(130)?;
    let events = Events::of(&received)?;
    assert_eq!(events.states(), ["idle", "connecting", "authenticating", "error"]);
    has(events.end(), json!({ "result": "interrupted", "bytes": 0 }))?;
    ensure!(!received.stderr.contains('\u{1b}'), "{received:#?}");
    Ok(())
}

/// The connection is cut twice: both sides say so, and the count goes on where it was.
#[test]
fn a_lost_connection_is_told_and_counted_on() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    for number in 0..5 {
        write(&root.join(format!("{number}")), noise(2_000_000, number))?;
    }
    let sender = sender(&[&root], &[])?;
    let proxy = Proxy::start(&sender, 3_500_000)?;
    let receiver = Process::start(receiving(&proxy.ticket, into.path(), &[]))?;
    for next in [7_000_000, u64::MAX] {
        proxy.wait_stalled()?;
        proxy.cut();
        proxy.resume_until(next);
    }
    let received = Events::of(&receiver.end()?.expect(0)?)?;
    let sent = Events::of(&sender.end()?.expect(0)?)?;
    for (events, states) in [
        (&received, &["transferring", "connecting", "authenticating", "transferring"][..]),
        (&sent, &["transferring", "idle", "transferring"]),
    ] {
        let told = events.states();
        ensure!(told.windows(states.len()).any(|window| window == states), "{told:?}");
        ensure!(events.all("reconnecting").len() >= 2, "{events:#?}");
        assert_eq!(events.all("plan").len(), 3);
        for plan in events.all("plan") {
            let (bytes, skipped) = (plan["bytes"].as_u64(), plan["skipped_bytes"].as_u64());
            assert_eq!(bytes.zip(skipped).map(|(b, s)| b + s), Some(10_000_000), "{plan}");
        }
        let bytes = events.end()["bytes"].as_u64();
        ensure!(bytes.is_some_and(|bytes| bytes >= 10_000_000), "{events:#?}");
        has(events.end(), json!({ "files": 5 }))?;
    }
    assert_eq!(received.end()["bytes"].as_u64(), Some(10_000_000), "nothing arrived twice");
    ensure_arrived(into.path(), &[&root])
}

/// A hash that differs once, and one that always does.
#[test]
fn another_attempt_is_told() -> Result<()> {
    for (bad, code, attempts) in [(1, 0, 2), (u8::MAX, 6, 3)] {
        let into = Scratch::new()?;
        let (ticket, running) = scripted::corrupting(bad)?;
        let received = Events::of(&run(receiving(&ticket, into.path(), &[]))?.expect(code)?)?;
        assert_eq!(running.join().ok().context("panicked")??, attempts);
        let told: Vec<_> = received.all("attempt").into_iter().cloned().collect();
        assert_eq!(told.len() + 1, usize::from(attempts));
        for (line, attempt) in told.iter().zip(2..) {
            has(line, json!({ "attempt": attempt, "files": 1, "bytes": 27 }))?;
        }
        has(received.end(), json!({ "bytes": 27 * u64::from(attempts) }))?;
        if code == 6 {
            let text = "its hash still differed after 3 attempts";
            let failed = json!([{ "path": "torn", "fault": "integrity", "text": text }]);
            has(received.end(), json!({ "result": "integrity", "files": 0, "failed": failed }))?;
            ensure!(received.end()["error"].is_object(), "{received:#?}");
        }
    }
    Ok(())
}

/// Both sides say the same of what compression has saved, and people are told as well.
#[test]
fn what_compression_saves_is_told() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let (large, small) = (from.join("large"), from.join("small"));
    write(&large, "all work and no play ".repeat(200_000))?;
    write(&small, "all work and no play ".repeat(100))?;
    for (options, saves) in [(vec![], false), (vec!["--compress"], true)] {
        let paths = [large.as_path(), &small];
        let sender = sender(&paths, &options)?;
        let received = run(receiving(&sender.ticket, &into.join(options.concat()), &[]))?;
        let received = Events::of(&received.expect(0)?)?;
        let sent = Events::of(&sender.end()?.expect(0)?)?;
        let saved = sent.end()["saved"].as_u64().context("nothing is said")?;
        has(received.end(), json!({ "saved": saved }))?;
        ensure!(if saves { saved > 4_000_000 } else { saved == 0 }, "{options:?}: {saved}");
        let into = into.join(format!("again{}", options.concat()));
        let (sent, received) = send_into(&into, &paths, &options, 0)?;
        for side in [sent, received] {
            let told = side.stderr.contains("; compression saved 4.");
            ensure!(told == saves, "{options:?}: {side:#?}");
        }
    }
    Ok(())
}

/// What is around tiny files shrinks as well, and more than there is cannot be saved.
#[test]
fn compression_never_saves_more_than_all() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let content = |number: u32| number.to_string();
    for number in 0..100 {
        write(&from.join(format!("tiny/{number}")), content(number))?;
    }
    let all = (0..100).map(|number| content(number).len()).sum::<usize>();
    for options in [&["--compress=lz4"][..], &["--compress=blosc"], &["--compress"]] {
        let tiny = from.join("tiny");
        let sender = sender(&[&tiny], options)?;
        let received = run(receiving(&sender.ticket, &into.join(options.concat()), &[]))?;
        let received = Events::of(&received.expect(0)?)?;
        let sent = Events::of(&sender.end()?.expect(0)?)?;
        let saved = sent.end()["saved"].as_u64().context("nothing is said")?;
        has(received.end(), json!({ "saved": saved, "bytes": all }))?;
        ensure!(saved > 0 && saved < all as u64, "{options:?}: {saved} of {all}");
    }
    Ok(())
}

/// Mistakes that are found once the command line is understood.
#[test]
fn mistakes_end_with_the_last_line_too() -> Result<()> {
    let here = Scratch::new()?;
    write(&here.join("file"), "content")?;
    write(&here.join("d/file"), "content")?;
    let cases: &[(&[&str], i32, &str)] = &[
        (&["receive"], 2, "there is no ticket to receive with"),
        (&["receive", ""], 2, "the ticket is empty"),
        (&["receive", "1.2.3.4:ocaen-tiger"], 2, "\"ocaen\" is not a word of the token list"),
        (
            &["receive", "--ticket-file", "nowhere"],
            2,
            "cannot read \"nowhere\": no such file or directory",
        ),
        (&["receive", "--pod", "1.2.3.4:ocean-tiger"], 2, "1.2.3.4 is not this machine"),
        (
            &["receive", "--log-file", "no/where", "127.0.0.1:ocean-tiger"],
            2,
            "cannot open the log \"no/where\": no such file or directory",
        ),
        (&["receive", "-o", "file/", "127.0.0.1:ocean-tiger"], 1, "\"file\" is not a folder"),
        (&["send", "--pod", "nope"], 1, "cannot send \"nope\": no such file or directory"),
        (
            &["send", "--pod", "file", "d/file"],
            2,
            "\"file\" and \"d/file\" would both arrive as \"file\"",
        ),
        (
            &["receive", "-o", "-", "127.0.0.1:ocean-tiger"],
            2,
            "events and data cannot both go to standard output",
        ),
    ];
    for (args, code, message) in cases {
        let mut command = transfer();
        command.args(*args).arg("--json").current_dir(here.path());
        let events = Events::of(&run(command)?.expect(*code)?)?;
        assert_eq!(events.states(), ["idle", "error"], "{args:?}");
        has(&events.end()["error"], json!({ "message": message }))?;
        has(events.end(), json!({ "files": 0, "bytes": 0, "elapsed": 0.0 }))?;
    }
    Ok(())
}

/// A command line that means nothing is told to programs as well.
#[test]
fn usage_errors_end_with_the_last_line_too() -> Result<()> {
    let cases: &[(&[&str], &str)] = &[
        (&["send", "--json", "--nope", "file"], "unexpected argument '--nope' found"),
        (&["send", "--json=files", "--words", "1", "file"], "invalid value '1' for '--words <N>'"),
        (&["doctor", "--json", "a", "b"], "unexpected argument 'b' found"),
        (&["send", "--json"], "the following required arguments were not provided: <PATHS>..."),
        (&["doctor", "--json", "--port", "0"], "invalid value '0' for '--port <N>'"),
        (&["send", "--json=all", "file"], "invalid value 'all' for '--json[=<WHAT>]'"),
    ];
    for (args, message) in cases {
        let mut command = transfer();
        command.args(*args);
        let ended = run(command)?.expect(2)?;
        let events = Events::of(&ended)?;
        assert_eq!(events.states(), ["idle", "error"], "{args:?}");
        let said = events.end()["error"]["message"].as_str().context("no message")?;
        ensure!(said.starts_with(message), "{args:?}: {said:?}");
        ensure!(events.end()["error"]["hint"].is_string(), "{args:?}: {events:#?}");
        ended.says("--help")?;
    }
    // Behind `--` it is a name; help is for people.
    for (args, code) in [(&["send", "--nope", "--", "--json"][..], 2), (&["send", "--help"], 0)] {
        let mut command = transfer();
        command.args(args);
        ensure!(!run(command)?.expect(code)?.stdout.contains('{'), "{args:?}");
    }
    Ok(())
}

#[test]
fn a_dry_run_is_told() -> Result<()> {
    let from = Scratch::new()?;
    let root = from.join("tree");
    write(&root.join("a \u{202e}b"), "content")?;
    #[cfg(unix)]
    std::os::unix::fs::symlink("a \u{202e}b", root.join("link"))?;
    let mut command = transfer();
    command.args(["send", "--json", "--dry-run"]).arg(&root);
    let events = Events::of(&run(command)?.expect(0)?)?;
    let kinds: Vec<_> = events.all("entry").into_iter().map(|line| line["kind"].clone()).collect();
    assert_eq!(
        kinds,
        if cfg!(unix) { vec!["folder", "file", "link"] } else { vec!["folder", "file"] }
    );
    has(events.all("entry")[1], json!({ "path": "tree/a \u{202e}b", "size": 7, "target": null }))?;
    #[cfg(unix)]
    has(events.all("entry")[2], json!({ "size": 0, "target": "a \u{202e}b" }))?;
    has(events.one("offer")?, json!({ "files": 1, "folders": 1, "bytes": 7 }))?;
    has(events.end(), json!({ "result": "done", "files": 0 }))
}

#[test]
fn what_the_doctor_finds_is_told() -> Result<()> {
    let into = Scratch::new()?;
    write(&into.join("file"), "precious")?;
    let doctor = |options: &[&str]| {
        let mut command = transfer();
        command.args(["doctor", "--pod", "--json"]).args(options).current_dir(into.path());
        run(command)
    };
    let well = doctor(&[])?.expect(0)?;
    let events = Events::of(&well)?;
    let topics: Vec<_> = events.all("finding").into_iter().map(|line| &line["topic"]).collect();
    for topic in ["Tailscale", "Port 15820", "Proxy", "Folder ."] {
        ensure!(topics.contains(&&Value::from(topic)), "{topic}: {topics:?}");
    }
    assert_eq!(well.stderr, "");
    let bad = Events::of(&doctor(&["-o", "file/deep"])?.expect(1)?)?;
    let mut problems = bad.all("finding").into_iter().filter(|line| line["mark"] == "problem");
    let problem = problems.next_back().context("no problem")?;
    has(problem, json!({ "topic": "Folder file/deep", "text": "\"file\" is not a folder" }))?;
    has(&bad.end()["error"], json!({ "message": "1 problem" }))
}

/// Each file with its hash and what became of it, on both sides, and both lists for `sha256sum -c`.
#[test]
#[cfg(unix)]
fn every_file_is_told_of_and_listed() -> Result<()> {
    use sha2::{Digest, Sha256};
    let (from, into, lists) = (Scratch::new()?, Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    for (name, content) in [("new", "new"), ("back\\slash", "x"), ("taken", "sent"), ("same", "y")]
    {
        write(&root.join(name), content)?;
        write(&into.join("tree").join(name), content)?;
    }
    write(&root.join("large"), noise(5_000_000, 1))?;
    write(&root.join("unreadable later"), "z")?;
    for folder in [&root, &into.join("tree")] {
        touch(&folder.join("same"), 1_000_000_000, 0)?;
    }
    fs::remove_file(into.join("tree/new"))?;
    fs::remove_file(into.join("tree/back\\slash"))?;
    write(&into.join("tree/taken"), "mine, and longer")?;
    let list = |name: &str| lists.join(name).to_string_lossy().into_owned();
    for (policy, taken) in [("skip", "kept"), ("rename", "arrived")] {
        let mut command = transfer();
        command.args(["send", "--pod", "--port", "0", "--json=files"]);
        command.args(["--manifest", &list("sent")]).arg(&root);
        let sender = ticketed(Process::start(command)?)?;
        let options = ["--json=files", "--manifest", &list("received"), "--on-conflict", policy];
        let mut receive = transfer();
        receive.args(["receive", "-o"]).arg(into.path()).args(options).arg(&sender.ticket);
        let received = Events::of(&run(receive)?.expect(0)?)?;
        let sent = Events::of(&sender.end()?.expect(0)?)?;
        for (events, is_receiver) in [(&sent, false), (&received, true)] {
            let files = events.all("file");
            assert_eq!(files.len(), 6, "{files:#?}");
            for file in files {
                let path = file["path"].as_str().context("no path")?;
                let name = path.strip_prefix("tree/").context("no tree")?;
                let again = policy == "rename";
                let result = match name {
                    "same" => "already",
                    "taken" => taken,
                    _ if again => "already",
                    _ => "arrived",
                };
                let content = fs::read(from.join(path))?;
                let hash: String =
                    Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
                let hash = if result == "kept" { Value::Null } else { hash.into() };
                let place = match (is_receiver, name, result) {
                    (false, ..) | (_, _, "kept") => Value::Null,
                    (_, "taken", _) => "tree/taken (1)".into(),
                    _ => path.into(),
                };
                let expected = json!({ "size": content.len(), "sha256": hash, "result": result });
                has(file, expected)?;
                has(file, json!({ "place": place, "fault": null }))?;
            }
        }
        for (folder, name) in [(from.path(), "sent"), (into.path(), "received")] {
            check_sums(&list(name), folder)?;
            let lines = fs::read_to_string(list(name))?.lines().count();
            assert_eq!(lines, if taken == "kept" { 5 } else { 6 }, "{name}, {policy}");
        }
    }
    // A file that fails has no hash, and is on no list.
    fs::remove_file(into.join("tree/large"))?;
    let sender = sender(&[&root], &["--limit", "5M"])?;
    let proxy = Proxy::start(&sender, 1_000_000)?;
    let mut receive = transfer();
    receive.args(["receive", "--json=files", "--manifest", &list("partial"), "-o"]);
    let receiver = Process::start({
        receive.arg(into.join("other")).arg(&proxy.ticket);
        receive
    })?;
    proxy.wait_stalled()?;
    fs::remove_file(root.join("unreadable later"))?;
    proxy.resume();
    let received = Events::of(&receiver.end()?.expect(3)?)?;
    sender.end()?.expect(3)?;
    let failed: Vec<_> =
        received.all("file").into_iter().filter(|line| line["result"] == "failed").collect();
    assert_eq!(failed.len(), 1, "{received:#?}");
    has(
        failed[0],
        json!({ "path": "tree/unreadable later", "fault": "vanished", "sha256": null }),
    )?;
    assert_eq!(fs::read_to_string(list("partial"))?.lines().count(), 5);
    Ok(())
}

/// What is no file of a list: a stream, and one file to standard output.
#[test]
#[cfg(unix)]
fn what_is_poured_is_told_of_too() -> Result<()> {
    let (into, lists) = (Scratch::new()?, Scratch::new()?);
    let list = |name: &str| lists.join(name).to_string_lossy().into_owned();
    let mut command = Command::new("sh");
    command
        .args(["-c", "printf abc | \"$0\" send --pod --port 0 --json=files --manifest \"$1\" -"]);
    command.arg(transfer().get_program()).arg(list("sent"));
    let sender = ticketed(Process::start(clean(command))?)?;
    let options = ["--json=files", "--manifest", &list("received")];
    let mut receive = transfer();
    receive.args(["receive", "-o"]).arg(into.path()).args(options).arg(&sender.ticket);
    let received = Events::of(&run(receive)?.expect(0)?)?;
    let sent = Events::of(&sender.end()?.expect(0)?)?;
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for (events, place) in [(&sent, Value::Null), (&received, "stdin".into())] {
        has(events.one("file")?, json!({ "path": "stdin", "place": place, "sha256": hash }))?;
        has(events.one("file")?, json!({ "size": 3, "result": "arrived" }))?;
    }
    for name in ["sent", "received"] {
        assert_eq!(fs::read_to_string(list(name))?, format!("{hash}  stdin\n"), "{name}");
    }
    Ok(())
}

/// Whoever read stdout is gone: the transfer goes on, and the exit code tells how it went.
#[test]
fn a_reader_that_leaves_stops_nothing() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    write(&root.join("file"), noise(5_000_000, 1))?;
    let gone = || -> Result<Stdio> { Ok(pipe()?.1.into()) };
    let quiet = |mut command: Command, stdout: Stdio| {
        command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
        Process::start_as_it_is(command)
    };
    let warning = "warning: cannot write to stdout: broken pipe; going on\n";

    // The receiver's reader is not even there at the beginning.
    let sender = sender(&[&root], &[])?;
    let received = quiet(receiving(&sender.ticket, into.path(), &[]), gone()?)?.end()?.expect(0)?;
    assert_eq!(received.stderr.matches(warning).count(), 1, "{received:#?}");
    Events::of(&sender.end()?.expect(0)?)?;
    ensure_arrived(into.path(), &[&root])?;

    // The sender's leaves once it has the ticket.
    let into = Scratch::new()?;
    let (reader, writer) = pipe()?;
    let sender = quiet(sending(&[&root], &[]), writer.into())?;
    let ticket = read_ticket(&mut BufReader::new(reader))?;
    Events::of(&run(receiving(&ticket, into.path(), &[]))?.expect(0)?)?;
    let sent = sender.end()?.expect(0)?;
    assert_eq!(sent.stderr.matches(warning).count(), 1, "{sent:#?}");
    ensure_arrived(into.path(), &[&root])
}

/// A reader that stays and does not read cannot keep a process that was told twice to end.
#[test]
#[cfg(unix)]
fn a_reader_that_sleeps_does_not_keep_a_process() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    // The offer alone is longer than any pipe is deep.
    for number in 0..600 {
        write(&from.join(format!("{number:0>200}")), "x")?;
    }
    let paths: Vec<_> =
        fs::read_dir(from.path())?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let paths: Vec<&Path> = paths.iter().map(|path| &**path).collect();
    let (reader, writer) = pipe()?;
    let mut command = sending(&paths, &[]);
    command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
    let sender = Process::start_as_it_is(command)?;
    let mut lines = BufReader::new(reader);
    let ticket = read_ticket(&mut lines)?;
    let mut receiver = Process::start(receiving(&ticket, into.path(), &[]))?;
    receiver.wait_for(Pipe::Out, "\"state\":\"transferring\"")?;
    sender.interrupt()?;
    sender.interrupt()?;
    sender.end()?.expect(130)?;
    drop(lines);
    Ok(())
}

/// The ticket, and not a line more.
fn read_ticket(lines: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    while !line.contains("\"event\":\"ticket\"") {
        line.clear();
        ensure!(lines.read_line(&mut line)? > 0, "no ticket");
    }
    let line: Value = serde_json::from_str(&line)?;
    Ok(line["ticket"].as_str().context("no ticket")?.to_owned())
}

/// `docs/json.md` and the schema list the same events and fields, and the examples are right.
#[test]
fn the_page_and_the_schema_agree() -> Result<()> {
    ensure!(jsonschema::meta::is_valid(&SCHEMA), "the schema is none");
    let page = include_str!("../../docs/json.md");
    let mut documented: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut event = None;
    let mut examples = 0;
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix('#') {
            let heading = heading.trim_start_matches('#').trim();
            event = heading.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
            if let Some(event) = event {
                documented.entry(event).or_default();
            }
        } else if let Some(row) = line.strip_prefix("| `")
            && let (Some(event), Some((field, _))) = (event, row.split_once('`'))
        {
            documented.entry(event).or_default().insert(field);
        } else if line.starts_with("{\"v\":") {
            check_line(&serde_json::from_str(line)?).with_context(|| line.to_owned())?;
            examples += 1;
        }
    }
    ensure!(examples > 10, "only {examples} examples");
    assert_eq!(documented.keys().copied().collect::<BTreeSet<_>>(), known());
    for (event, documented) in documented {
        assert_eq!(documented, fields(event)?, "{event}");
    }
    // Every word that a field can be is on the page.
    let mut left = vec![&*SCHEMA];
    while let Some(value) = left.pop() {
        match value {
            Value::Object(object) => {
                let words = object.get("enum").and_then(Value::as_array);
                for word in words.into_iter().flatten().filter_map(Value::as_str) {
                    ensure!(page.contains(&format!("`{word}`")), "{word:?} is not on the page");
                }
                left.extend(object.values());
            }
            Value::Array(array) => left.extend(array),
            _ => {}
        }
    }
    Ok(())
}
