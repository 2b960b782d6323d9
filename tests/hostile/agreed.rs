//! What two sides agree on before anything is offered: versions, features, and what may be skipped.

use anyhow::{Context, Result, ensure};

use crate::messages::every_message;
use crate::script::{
    CODECS, DATA, ENTRIES, Line, PLAN, RESULTS, control, data, failed, file, offer, packed, page,
    patient, read, ready, start, whole,
};
use crate::shake::{Own, Side};
use crate::stage::{BROKE, Case, LOCK, STAYS, Stage, TOKEN, all, connect, token_of};

const TURN: &str = "a message came out of turn";
const JSON: &str = "a control message is not understood";
const UNAGREED: &str = "a feature that was not agreed on";

fn with_version(side: Side, token: &str, version: u16) -> Own {
    let mut own = Own::new(side, token);
    own.hello[8..10].copy_from_slice(&version.to_be_bytes());
    own
}

/// A side of a later version is met in this one.
#[test]
fn a_later_version_speaks_ours() -> Result<()> {
    all(&[3u16, 0x0102, u16::MAX], |version| {
        let stage = Stage::new()?;
        let case = Case::new(format!("agreed: a sender of version {version}"), 0, "");
        stage.receive_from(&case.left(&["x"]), |door| {
            let own = with_version(Side::Sender, TOKEN, *version);
            let mut line = Line::shake_as(door.next()?, &own, TOKEN)?;
            line.hear_ready()?;
            line.offer_and_plan(&[file("x")])?;
            line.say(&data(&[whole(0)]))?;
            line.finish()?;
            Ok(Some(line))
        })?;
        let stage = Stage::bare()?;
        let case = Case::new(format!("agreed: a receiver of version {version}"), 0, "");
        stage.send_to(&case, |sender| {
            let token = token_of(sender)?;
            let own = with_version(Side::Receiver, &token, *version);
            let mut line = Line::shake_as(connect(sender)?, &own, &token)?;
            line.say(&ready(&[]))?;
            take_all(&mut line)?;
            Ok(Some(line))
        })?;
        Ok(())
    })
}

/// A receiver's way through all of the rest. The small tree has two files.
fn take_all(line: &mut Line) -> Result<()> {
    line.hear_offer()?;
    line.say(&page(PLAN, 1, &[]))?;
    line.hear_round()?;
    line.say(&page(RESULTS, 1, &[]))?;
    line.say_last(&control(r#"{"type":"complete","files":2,"failed":0}"#))?;
    let bye = line.hear_control()?;
    ensure!(bye == r#"{"type":"bye"}"#, "{bye}");
    Ok(())
}

/// Whoever changes a version on the way has changed what both sides prove.
#[test]
fn a_version_that_was_changed_on_the_way() -> Result<()> {
    let stage = Stage::bare()?;
    let case = Case::new("agreed: a changed version", STAYS, "");
    stage.send_to(&case, |sender| {
        let token = token_of(sender)?;
        // Of the receiver's hello, then of the sender's.
        for of_receiver in [true, false] {
            let own = Own::new(Side::Receiver, &token);
            let mut stream = connect(sender)?;
            patient(&stream)?;
            let mut theirs: [u8; 75] = read(&mut stream).context("no hello came")?;
            let mut hello = own.hello;
            *(if of_receiver { &mut hello[9] } else { &mut theirs[9] }) = 3;
            std::io::Write::write_all(&mut stream, &hello)?;
            let keys = own.keys(&theirs, &token)?;
            std::io::Write::write_all(&mut stream, &keys.confirmation())?;
            let answer: [u8; 34] = read(&mut stream).context("no answer came")?;
            ensure!(answer[0] == 1 && answer[2..] == [0; 32], "{of_receiver}: {answer:x?}");
        }
        Ok(None)
    })?;
    Ok(())
}

/// What a receiver may say before anything is offered, and what it may not.
#[test]
fn what_a_receiver_says_first() -> Result<()> {
    let json = |json: &str| control(json);
    let welcome = json(r#"{"type":"welcome","name":"attic","free":1,"left":2,"queue":0}"#);
    let long = |count: usize| ready(&vec!["x"; count]);
    let good: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("no features", vec![ready(&[])]),
        ("no list of features", vec![json(r#"{"type":"ready"}"#)]),
        ("features of another day", vec![ready(&["telepathy", "", "LZ4", "lz4"])]),
        ("more features than count", vec![long(5000)]),
        ("a long name", vec![ready(&[&"y".repeat(60_000)])]),
        ("connections", vec![json(r#"{"type":"ready","connections":8,"features":[]}"#)]),
        ("a welcome", vec![welcome.clone(), ready(&CODECS)]),
        ("an empty welcome", vec![json(r#"{"type":"welcome"}"#), ready(&CODECS)]),
        ("notes and waits", vec![vec![0x80], json(r#"{"type":"wait"}"#), ready(&CODECS)]),
    ];
    all(&good, |(name, said)| {
        let stage = Stage::bare()?;
        stage.send_to(&Case::new(format!("agreed: {name}"), 0, ""), |sender| {
            let token = token_of(sender)?;
            let mut line = Line::shake(connect(sender)?, Side::Receiver, &token)?;
            said.iter().try_for_each(|message| line.say(message))?;
            take_all(&mut line)?;
            Ok(Some(line))
        })?;
        Ok(())
    })?;
    let mut bad: Vec<(&str, Vec<Vec<u8>>, &str)> = vec![
        ("features that are a text", vec![json(r#"{"type":"ready","features":"lz4"}"#)], JSON),
        ("features that are null", vec![json(r#"{"type":"ready","features":null}"#)], JSON),
        ("a feature that is a number", vec![json(r#"{"type":"ready","features":[1]}"#)], JSON),
        ("a list in the place of ready", vec![json(r#"["ready",[]]"#)], JSON),
        ("features twice", vec![json(r#"{"type":"ready","features":[],"features":[]}"#)], JSON),
        ("two welcomes", vec![welcome.clone(), welcome.clone()], TURN),
        ("a welcome of no sense", vec![json(r#"{"type":"welcome","free":"all"}"#)], JSON),
        ("ready twice", vec![ready(&[]), ready(&[])], TURN),
        ("a welcome after ready", vec![ready(&[]), welcome], TURN),
        ("a plan", vec![page(PLAN, 1, &[])], TURN),
        ("too many notes", vec![vec![0x80]; 257], "too many notes"),
        ("too large a note", vec![vec![0xff; 65_537]], "a note is too long"),
    ];
    let others = ["an offer", "a list", "results", "done", "complete", "kind 9", "kind 127"];
    for (name, message) in every_message() {
        if others.contains(&name) {
            let why = if name.starts_with("kind") { "unknown kind" } else { TURN };
            bad.push((name, vec![message], why));
        }
    }
    all(&bad, |(name, said, why)| {
        let stage = Stage::bare()?;
        let case = Case::new(format!("agreed: {name}, first"), 1, BROKE);
        let ended = stage.send_to(&case, |sender| {
            let token = token_of(sender)?;
            let mut line = Line::shake(connect(sender)?, Side::Receiver, &token)?;
            // It stops listening at the first that it does not like.
            let _ = said.iter().try_for_each(|message| line.say(message));
            line.drain();
            Ok(Some(line))
        })?;
        ensure!(ended.stderr.contains(why), "{name}: expected {why:?}: {ended:#?}");
        Ok(())
    })
}

/// An offer that does not wait for the receiver cannot be told from one that does.
#[test]
fn an_offer_before_the_receiver_is_ready() -> Result<()> {
    let stage = Stage::new()?;
    let case = Case::new("agreed: an offer that does not wait", 0, "").left(&["x"]);
    stage.receive_from(&case, |door| {
        let mut line = Line::shake(door.next()?, Side::Sender, TOKEN)?;
        line.offer(&[file("x")])?;
        line.hear_ready()?;
        line.hear_pages(PLAN)?;
        line.say(&data(&[whole(0)]))?;
        line.finish()?;
        Ok(Some(line))
    })?;
    Ok(())
}

/// What the sender has not said that it can do, or what the receiver cannot.
#[test]
fn what_was_not_agreed_on() -> Result<()> {
    let plain = offer(&[file("x")]);
    let bare: Vec<u8> = {
        let text = String::from_utf8(plain.clone())?;
        let (head, tail) = text.split_once(r#","features":["#).context("no features")?;
        let (_, tail) = tail.split_once(']').context("features without an end")?;
        format!("{head}{tail}").into_bytes()
    };
    ensure!(bare.len() < plain.len());
    let zeros = packed(1, 64, &[0x1f, 0, 1, 0, 0x26, 0x60, 0, 0, 0, 0, 0, 0]);
    let list = || page(ENTRIES, 1, &file("x").bytes());
    let rows: Vec<(&str, &Vec<u8>, Vec<u8>, Vec<u8>, &str, &[&str])> = vec![
        ("lz4, not named", &bare, list(), zeros, UNAGREED, &[LOCK]),
        ("blosc, not named", &bare, list(), packed(2, 64, &[0; 40]), UNAGREED, &[LOCK]),
        ("a reserved entry", &plain, page(ENTRIES, 1, &entry(4)), vec![], "an entry ", &[]),
        ("another", &plain, page(ENTRIES, 1, &entry(5)), vec![], "an entry ", &[]),
        ("an unknown entry", &plain, page(ENTRIES, 1, &entry(0x7f)), vec![], "an entry ", &[]),
    ];
    all(&rows, |(name, offer, list, content, why, left)| {
        let stage = Stage::new()?;
        let case = Case::new(format!("agreed: {name}"), 1, BROKE).left(left);
        let ended = stage.receive(&case, |line| {
            line.say(offer)?;
            line.say(list)?;
            if !content.is_empty() {
                line.hear_pages(PLAN)?;
                line.say(content)?;
            }
            Ok(())
        })?;
        ensure!(ended.stderr.contains(why), "{name}: expected {why:?}: {ended:#?}");
        Ok(())
    })
}

fn entry(kind: u8) -> Vec<u8> {
    let mut bytes = file("x").bytes();
    bytes[0] = kind;
    bytes
}

/// What may be skipped is skipped in every turn, and the files arrive.
#[test]
fn notes_on_the_way() -> Result<()> {
    let stage = Stage::new()?;
    let case = Case::new("agreed: notes everywhere", 0, "").left(&["x"]);
    stage.receive(&case, |line| {
        let notes =
            [vec![0x80], control(r#"{"type":"note-tea","x":{"y":[1]}}"#), vec![0xff; 65_536]];
        let most = |line: &mut Line| -> Result<()> {
            notes.iter().cycle().take(256).try_for_each(|note| line.say(note))
        };
        most(line)?;
        line.say(&offer(&[file("x")]))?;
        most(line)?;
        line.say(&page(ENTRIES, 1, &file("x").bytes()))?;
        line.hear_pages(PLAN)?;
        most(line)?;
        line.say(&data(&[start(0, 0)]))?;
        most(line)?;
        line.say(&[&[DATA][..], &whole(0)[13..]].concat())?;
        line.finish().map(drop)
    })?;
    Ok(())
}

/// Faults of a later version are faults, and shown with their number.
#[test]
fn faults_of_a_later_version() -> Result<()> {
    let stage = Stage::new()?;
    let case = Case::new("agreed: an unknown fault of the sender", 3, "").left(&["y"]);
    let ended = stage.receive(&case, |line| {
        line.offer_and_plan(&[file("x"), file("y")])?;
        line.say(&data(&[failed(0, 77), whole(1)]))?;
        let results = line.finish()?;
        ensure!(results == [0, 0, 0, 0, 77], "{results:x?}");
        Ok(())
    })?;
    ensure!(ended.stderr.contains("its fault 77"), "{ended:#?}");

    let stage = Stage::bare()?;
    let case = Case::new("agreed: an unknown fault of the receiver", 3, "");
    let ended = stage.send(&case, |line| {
        line.hear_offer()?;
        line.say(&page(PLAN, 1, &[]))?;
        line.hear_round()?;
        // A folder and a file.
        let results = [&1u32.to_be_bytes()[..], &[200], &2u32.to_be_bytes(), &[13]].concat();
        line.say(&page(RESULTS, 1, &results))?;
        line.say_last(&control(r#"{"type":"complete","files":1,"failed":2}"#))?;
        line.hear_control().map(drop)
    })?;
    for number in [200, 13] {
        ensure!(ended.stderr.contains(&format!("its fault {number}")), "{ended:#?}");
    }
    Ok(())
}
