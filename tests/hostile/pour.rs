//! Texts and streams that are not what they say.

use anyhow::{Result, ensure};

use crate::script::{
    CONTENT, ENTRIES, Line, PLAN, SIZE, bytes, control, data, end, failed, file, page, start, whole,
};
use crate::stage::{BROKE, Case, Stage, all};

const TURN: &str = "a message came out of turn";
const LENGTH: &str = "a file is not as long as was offered";
const MISSING: &str = "a file that was asked for did not come";

fn offer(kind: &str) -> Vec<u8> {
    control(format!(
        r#"{{"type":"offer","kind":"{kind}","files":0,"folders":0,"links":0,"bytes":0,"unsent":0}}"#
    ))
}

fn done() -> Vec<u8> {
    control(r#"{"type":"done"}"#)
}

fn agree(line: &mut Line, kind: &str) -> Result<()> {
    line.say(&offer(kind))?;
    line.say(&page(ENTRIES, 1, &[]))?;
    line.hear_pages(PLAN).map(drop)
}

/// Whatever comes, no file of it gets a name, and no text is shown.
#[test]
fn content_that_was_not_agreed_on() -> Result<()> {
    let rows: Vec<(&str, Vec<Vec<u8>>, &str)> = vec![
        ("another index", vec![data(&[whole(1)])], TURN),
        ("an offset", vec![data(&[start(0, 5)])], TURN),
        ("bytes without a start", vec![data(&[bytes(CONTENT)])], TURN),
        ("two starts", vec![data(&[start(0, 0), start(0, 0)])], TURN),
        ("an end without a start", vec![data(&[end(SIZE, &[0; 32])])], TURN),
        ("a fault of the receiver's own", vec![data(&[failed(0, 5)])], TURN),
        ("a fault of the sender's, which stops instead", vec![data(&[failed(0, 3)])], TURN),
        ("a fault behind its start", vec![data(&[start(0, 0), failed(0, 4)])], TURN),
        ("bytes behind the end", vec![data(&[whole(0), bytes(b"x")])], TURN),
        ("a second content", vec![data(&[whole(0), whole(0)])], TURN),
        (
            "a size that is none",
            vec![data(&[start(0, 0), bytes(CONTENT), end(0, &[0; 32])])],
            LENGTH,
        ),
        ("no end", vec![data(&[start(0, 0), bytes(CONTENT)]), done()], MISSING),
        ("nothing", vec![done()], MISSING),
        ("a second offer", vec![offer("stream")], TURN),
    ];
    for kind in ["text", "stream"] {
        all(&rows, |(name, said, why)| {
            let stage = Stage::new()?;
            let case = Case::new(format!("pour: {kind}, {name}"), 1, BROKE);
            let ended = stage.receive(&case, |line| {
                agree(line, kind)?;
                said.iter().try_for_each(|plaintext| line.say(plaintext))
            })?;
            ensure!(ended.stderr.contains(why), "{name}: {ended:#?}");
            ensure!(ended.stdout.is_empty(), "{name}: {ended:#?}");
            Ok(())
        })?;
    }
    Ok(())
}

/// A hash that differs: exit code 6, no name, nothing shown.
#[test]
fn a_hash_that_differs() -> Result<()> {
    for kind in ["text", "stream"] {
        let stage = Stage::new()?;
        let says = "stdin: its hash differed, and it cannot be sent again";
        let case = Case::new(format!("pour: {kind}, another hash"), 6, says);
        let ended = stage.receive(&case, |line| {
            agree(line, kind)?;
            line.say(&data(&[start(0, 0), bytes(CONTENT), end(SIZE, &[0; 32])]))?;
            line.finish().map(drop)
        })?;
        ensure!(ended.stdout.is_empty(), "{ended:#?}");
    }
    Ok(())
}

/// Entries where there are none, a kind of a later version, a text without end.
#[test]
fn offers_that_make_no_sense() -> Result<()> {
    let stage = Stage::new()?;
    let case = Case::new("pour: a stream with entries", 1, "a text or a stream has no entries");
    stage.receive(&case, |line| {
        line.say(&control(
            r#"{"type":"offer","kind":"stream","files":1,"folders":0,"links":0,"bytes":27,"unsent":0}"#,
        ))
    })?;
    let case =
        Case::new("pour: entries that were not announced", 1, "more entries than were offered");
    stage.receive(&case, |line| {
        line.say(&offer("text"))?;
        line.say(&page(ENTRIES, 1, &file("x").bytes()))
    })?;
    let case = Case::new("pour: an unknown kind", 1, "a control message is not understood");
    stage.receive(&case, |line| line.say(&offer("oracle")))?;
    let case = Case::new("pour: a text without end", 1, "it is no text");
    let ended = stage.receive(&case, |line| {
        agree(line, "text")?;
        line.say(&data(&[start(0, 0)]))?;
        // Until nobody listens any more.
        for _ in 0..64 {
            if line.say(&data(&[bytes(&[b'x'; 1 << 19])])).is_err() {
                break;
            }
        }
        Ok(())
    })?;
    ensure!(ended.stdout.is_empty(), "it was shown");
    Ok(())
}
