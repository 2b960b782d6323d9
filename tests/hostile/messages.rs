//! A sender that says what it likes, when it likes.

use anyhow::{Result, ensure};

use crate::script::{
    CODECS, CONTENT, CONTROL, DATA, ENTRIES, Line, PACKED, PLAN, RESULTS, RETRY, bytes, control,
    data, file, folder, offer, offer_of, page, ready, start, text, whole,
};
use crate::stage::{BROKE, Case, LOCK, Stage, all};

const TURN: &str = "a message came out of turn";
const KIND: &str = "a message of an unknown kind";
const JSON: &str = "a control message is not understood";
const LONG: &str = "a control message is too long";

const DONE: &str = r#"{"type":"done"}"#;
const BYE: &str = r#"{"type":"bye"}"#;
const COMPLETE: &str = r#"{"type":"complete","files":1,"failed":0}"#;

/// One message of every kind, with a name.
pub fn every_message() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("an offer", offer(&[file("x")])),
        ("a list", page(ENTRIES, 1, &[])),
        ("a plan", page(PLAN, 1, &[])),
        ("data", data(&[])),
        ("packed data", vec![PACKED, 1, 0, 0, 0, 64, 0x1f, 0, 1, 0, 0x26, 0x60, 0, 0, 0, 0, 0, 0]),
        ("a retry", page(RETRY, 1, &[0; 4])),
        ("results", page(RESULTS, 1, &[])),
        ("done", control(DONE)),
        ("complete", control(COMPLETE)),
        ("bye", control(BYE)),
        // Only the first may not be marked, only the others must be: see `legal_at_any_time`.
        ("wait", control(r#"{"type":"wait"}"#)),
        ("refuse", control(r#"{"type":"refuse","reason":"declined"}"#)),
        ("cancel", control(r#"{"type":"cancel","reason":"failed"}"#)),
        ("kind 0", vec![0]),
        ("welcome", control(r#"{"type":"welcome","name":"attic"}"#)),
        ("ready", ready(&CODECS)),
        ("kind 9", vec![9, 1]),
        ("kind 127", vec![127; 100]),
        // Of a later version, and may be skipped.
        ("a note", vec![255; 100]),
        ("a control note", control(r#"{"type":"note-tea","x":[]}"#)),
    ]
}

/// What either side may say whoever's turn it is.
pub fn legal_at_any_time(message: &str, marked: bool) -> bool {
    (["wait", "a note", "a control note"].contains(&message) && !marked)
        || (["refuse", "cancel"].contains(&message) && marked)
}

/// A point of the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    List,
    Content,
    InFile,
    Done,
    Last,
}

impl Turn {
    /// What may come, and whether it is marked as the last.
    fn allows(self, message: &str, marked: bool) -> bool {
        match self {
            Self::First => message == "an offer" && !marked,
            Self::List => message == "a list" && !marked,
            Self::Content | Self::InFile => {
                ["data", "packed data", "done"].contains(&message) && !marked
            }
            Self::Done | Self::Last => message == "bye" && marked,
        }
    }

    /// An honest conversation up to here.
    fn reach(self, line: &mut Line) -> Result<()> {
        if self == Self::First {
            return Ok(());
        }
        line.say(&offer(&[file("x")]))?;
        if self == Self::List {
            return Ok(());
        }
        line.say(&page(ENTRIES, 1, &file("x").bytes()))?;
        line.hear_pages(PLAN)?;
        match self {
            Self::InFile => line.say(&data(&[start(0, 0), bytes(&CONTENT[..9])]))?,
            Self::Done | Self::Last => {
                line.say(&data(&[whole(0)]))?;
                line.say(&control(DONE))?;
            }
            _ => {}
        }
        if self == Self::Last {
            line.hear_pages(RESULTS)?;
            line.hear_control()?;
        }
        Ok(())
    }

    /// What is on the disk then.
    fn left(self) -> &'static [&'static str] {
        match self {
            Self::First | Self::List => &[],
            Self::Content => &[LOCK],
            Self::InFile => &["x.part", LOCK],
            Self::Done | Self::Last => &["x", LOCK],
        }
    }

    /// How it begins to say that the sender is at fault.
    fn says(self) -> &'static str {
        match self {
            Self::Done | Self::Last => "error: everything is here, but the sender did not confirm",
            _ => BROKE,
        }
    }
}

const TURNS: [Turn; 6] =
    [Turn::First, Turn::List, Turn::Content, Turn::InFile, Turn::Done, Turn::Last];

#[test]
fn out_of_turn() -> Result<()> {
    let mut rows = Vec::new();
    for turn in TURNS {
        for (name, message) in every_message() {
            for marked in [false, true] {
                if !turn.allows(name, marked) && !legal_at_any_time(name, marked) {
                    rows.push((turn, name, message.clone(), marked));
                }
            }
        }
    }
    all(&rows, |(turn, name, message, marked)| {
        let stage = Stage::new()?;
        let mark = if *marked { ", marked" } else { "" };
        let name = format!("messages: {name}{mark}, {turn:?}");
        let case = Case::new(&name, 1, turn.says()).left(turn.left());
        let ended = stage.receive(&case, |line| {
            turn.reach(line)?;
            if *marked { line.say_last(message) } else { line.say(message) }
        })?;
        let why = if matches!(message[0], 0 | 9..0x80) { KIND } else { TURN };
        ensure!(ended.stderr.contains(why), "{name}: expected {why:?}: {ended:#?}");
        Ok(())
    })
}

/// A sender that gives up says so at any time, and with whatever reason.
#[test]
fn giving_up() -> Result<()> {
    let reasons: &[(&str, i32, &str)] = &[
        (r#""declined""#, 7, "error: the sender said no\n"),
        (r#""conflict","count":18446744073709551615"#, 7, "and 18446744073709551615 are"),
        (r#""no-space","needed":0,"free":18446744073709551615"#, 1, "disk is full: 18.4 EB"),
        (r#""no-space","needed":18446744073709551615,"free":0"#, 1, "18.4 EB are needed, 0 B"),
        (r#""unwritable""#, 1, "error: the sender cannot write to its folder\n"),
        (r#""interrupted""#, 1, "error: the sender was interrupted\n"),
        (r#""protocol""#, 1, "error: the sender could not make sense of this side\n"),
        (r#""failed""#, 1, "error: the sender had to stop\n"),
        (r#""no such reason""#, 1, "error: the sender had to stop\n"),
        (r#""\u001b[2J\u202e","why":"\u001b[2J""#, 1, "error: the sender had to stop\n"),
    ];
    let turns = [Turn::First, Turn::List, Turn::Content, Turn::InFile];
    let rows: Vec<_> =
        turns.iter().flat_map(|turn| reasons.iter().map(move |reason| (turn, reason))).collect();
    all(&rows, |(turn, (reason, code, says))| {
        for kind in ["cancel", "refuse"] {
            let stage = Stage::new()?;
            let case = Case::new(format!("messages: {kind} for {reason}, {turn:?}"), *code, says);
            stage.receive(&case.left(turn.left()), |line| {
                turn.reach(line)?;
                line.say_last(&control(format!(r#"{{"type":"{kind}","reason":{reason}}}"#)))
            })?;
        }
        Ok(())
    })
}

/// JSON that is none, or none of ours.
#[test]
fn control_messages_that_make_no_sense() -> Result<()> {
    let deep = |depth: usize| {
        format!(r#"{{"x":{}{},"type":"done"}}"#, "[".repeat(depth), "]".repeat(depth))
    };
    let objects = format!(r#"{}"x"{}"#, r#"{"x":"#.repeat(10_000), "}".repeat(10_000));
    let number = |number: &str| {
        format!(r#"{{"type":"offer","files":{number},"folders":0,"links":0,"bytes":0,"unsent":0}}"#)
    };
    let names = |names: &str| {
        format!(
            r#"{{"type":"offer","files":1,"folders":0,"links":0,"bytes":0,"unsent":1,"unsent_names":{names}}}"#
        )
    };
    let long = format!(r#"{{"type":"done","x":"{}"}}"#, "y".repeat(65_536));
    let text = |json: &str| json.as_bytes().to_vec();
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", text(""), JSON),
        ("null", text("null"), JSON),
        ("an empty object", text("{}"), JSON),
        ("a text", text(r#""done""#), JSON),
        ("a list", text(r#"[{"type":"done"}]"#), JSON),
        ("cut off", text(r#"{"type":"done""#), JSON),
        ("two", text(r#"{"type":"done"}{"type":"done"}"#), JSON),
        ("a byte order mark", text("\u{feff}{\"type\":\"done\"}"), JSON),
        ("UTF-16", b"{\0\"\0t\0".to_vec(), JSON),
        ("not UTF-8", b"{\"type\":\"done\",\"x\":\"\xff\"}".to_vec(), JSON),
        ("NUL behind it", text("{\"type\":\"done\"}\0"), JSON),
        ("no type", text(r#"{"tpye":"done"}"#), JSON),
        ("a type of no kind", text(r#"{"type":"shrug"}"#), JSON),
        ("a type in capitals", text(r#"{"type":"Done"}"#), JSON),
        ("a type that is a number", text(r#"{"type":1}"#), JSON),
        ("a type that is a list", text(r#"{"type":["done"]}"#), JSON),
        ("two types", text(r#"{"type":"done","type":"done"}"#), JSON),
        (
            "a kind that is a number",
            text(
                r#"{"type":"offer","kind":1,"files":0,"folders":0,"links":0,"bytes":0,"unsent":0}"#,
            ),
            JSON,
        ),
        ("a reason that is a number", text(r#"{"type":"cancel","reason":1}"#), JSON),
        ("no reason", text(r#"{"type":"cancel"}"#), JSON),
        ("a conflict of nothing", text(r#"{"type":"refuse","reason":"conflict"}"#), JSON),
        ("an offer of nothing", text(r#"{"type":"offer"}"#), JSON),
        ("a fraction", number("1.0").into(), JSON),
        ("an exponent", number("1e3").into(), JSON),
        ("less than nothing", number("-1").into(), JSON),
        ("2^64", number("18446744073709551616").into(), JSON),
        ("a number without end", number(&"9".repeat(60_000)).into(), JSON),
        ("infinity", number("1e999").into(), JSON),
        ("a text for a number", number("\"1\"").into(), JSON),
        ("a list for a number", number("[1]").into(), JSON),
        ("null for a number", number("null").into(), JSON),
        ("names that are a text", names("\"x\"").into(), JSON),
        ("a name that is a text", names("[\"x\"]").into(), JSON),
        ("a name without a reason", names("[{\"name\":\"x\"}]").into(), JSON),
        ("a name that is a number", names("[{\"name\":1,\"why\":\"\"}]").into(), JSON),
        ("lists in lists", deep(9999).into(), JSON),
        ("lists without end", "[".repeat(65_535).into(), JSON),
        ("objects in objects", objects.into(), JSON),
        ("a byte too long", [text(r#"{"type":"done"}"#), vec![b' '; 65_522]].concat(), LONG),
        ("too long", long.into(), LONG),
        ("far too long", vec![b' '; 1 << 20], LONG),
    ];
    for turn in [Turn::First, Turn::InFile] {
        all(&rows, |(name, json, says)| {
            let stage = Stage::new()?;
            let name = format!("messages: JSON, {name}, {turn:?}");
            let case = Case::new(&name, 1, BROKE).left(turn.left());
            let ended = stage.receive(&case, |line| {
                turn.reach(line)?;
                line.say(&control(json))
            })?;
            ensure!(ended.stderr.contains(says), "{name}: expected {says:?}: {ended:#?}");
            Ok(())
        })?;
    }
    Ok(())
}

/// What a later version may add is no violation.
#[test]
fn fields_of_a_later_version() -> Result<()> {
    let stage = Stage::new()?;
    let deepest = format!(r#"{{"x":{}{},"type":"done"}}"#, "[".repeat(126), "]".repeat(126));
    let case = Case::new("messages: fields of a later version", 0, "received 1 file");
    stage.receive(&case.left(&["x"]), |line| {
        line.say(&control(
            r#" {"new":[{"type":"cancel"}],"files":1,"bytes":27,"links":0,"folders":0,"unsent":0,
            "type":"offer"} "#,
        ))?;
        line.say(&page(ENTRIES, 1, &file("x").bytes()))?;
        line.hear_pages(PLAN)?;
        line.say(&data(&[whole(0)]))?;
        line.say(&control(deepest))?;
        line.hear_pages(RESULTS)?;
        line.hear_control()?;
        line.say_last(&control(r#"{"type":"bye","type of a later version":"cancel"}"#))
    })?;
    Ok(())
}

/// Pages that are none.
#[test]
fn pages_that_make_no_sense() -> Result<()> {
    let entry = |kind: u8, mode: u16, size: &[u8]| {
        [&[kind][..], &mode.to_be_bytes(), &[0; 8], size, &text(b"x")].concat()
    };
    let cut = "a message is cut off";
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("without a flag", vec![ENTRIES], cut),
        ("with another flag", page(ENTRIES, 2, &[]), "an unknown page flag"),
        ("with all flags", page(ENTRIES, 255, &[]), "an unknown page flag"),
        ("empty, and not the last", page(ENTRIES, 0, &[]), "an empty page that is not the last"),
        ("with half an entry", page(ENTRIES, 1, &file("x").bytes()[..15]), cut),
        ("with a path cut off", page(ENTRIES, 1, &entry(0, 0o644, &[0; 8])[..21]), cut),
        ("with a kind of no entry", page(ENTRIES, 1, &entry(6, 0o644, &[])), "unknown kind"),
        ("with a mode of no entry", page(ENTRIES, 1, &entry(1, 0o10000, &[])), "impossible mode"),
        ("with all modes", page(ENTRIES, 1, &entry(1, u16::MAX, &[])), "impossible mode"),
        (
            "with a link without a target",
            page(ENTRIES, 1, &entry(2, 0o777, &[])),
            "a message is cut off",
        ),
    ];
    all(&rows, |(name, page, says)| {
        let stage = Stage::new()?;
        let name = format!("messages: a page {name}");
        let ended = stage.receive(&Case::new(&name, 1, BROKE), |line| {
            line.say(&offer_of(1, 0, 0, 27))?;
            line.say(page)
        })?;
        ensure!(ended.stderr.contains(says), "{name}: expected {says:?}: {ended:#?}");
        Ok(())
    })
}

/// Says `wait` again and again; the transfer goes on all the same, in no more memory.
#[test]
fn wait_without_end() -> Result<()> {
    let stage = Stage::new()?;
    let case = Case::new("messages: 100,000 times wait", 0, "received 1 file").left(&["x"]);
    stage.receive(&case, |line| {
        let waits = |line: &mut Line| {
            (0..5).try_for_each(|_| {
                let wait = [&[CONTROL], &br#"{"type":"wait"}"#[..]].concat();
                let waits: Vec<u8> = (0..5_000).flat_map(|_| line.record(&wait)).collect();
                line.raw(&waits)
            })
        };
        waits(line)?;
        line.say(&offer(&[file("x")]))?;
        waits(line)?;
        line.say(&page(ENTRIES, 1, &file("x").bytes()))?;
        line.hear_pages(PLAN)?;
        waits(line)?;
        line.say(&data(&[whole(0)]))?;
        waits(line)?;
        line.finish().map(drop)
    })?;
    Ok(())
}

/// A page for each entry, and data without content: slow, and nothing else.
#[test]
fn much_ado_about_nothing() -> Result<()> {
    let stage = Stage::new()?;
    let names: Vec<String> = (0..20_000).map(|number| format!("d/{number:05}")).collect();
    let case = Case::new("messages: 20,000 pages and records of nothing", 3, "20,000 entries did");
    let case = Case { options: vec![], entries: 20_001, ..case.left(&["d"]) };
    stage.receive(&case, |line| {
        line.say(&offer_of(20_000, 1, 0, 540_000))?;
        line.say(&page(ENTRIES, 0, &folder("d").bytes()))?;
        for name in &names {
            line.say(&page(ENTRIES, 0, &file(name).bytes()))?;
        }
        line.say(&page(ENTRIES, 1, &[]))?;
        line.hear_pages(PLAN)?;
        for _ in 0..20_000 {
            line.say(&[DATA])?;
        }
        // Each begun and given up: nothing stays of any of them.
        for index in 1..=20_000 {
            let begun = [start(index, 0), bytes(b""), bytes(b"x"), bytes(b"")];
            line.say(&data(&[begun.concat(), crate::script::failed(index, 3)]))?;
        }
        line.finish().map(drop)
    })?;
    Ok(())
}
