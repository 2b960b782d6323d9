//! A receiver that knows the token and lies to the sender. Nothing of the sender's disk may change,
//! and nothing that it did not offer can be asked for.

use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};

use crate::messages::{every_message, legal_at_any_time};
use crate::script::{CONTENT, Line, PLAN, RESULTS, RETRY, control, page, result, resume, skip};
use crate::stage::{BROKE, Case, STAYS, Stage, all};
use crate::util::tree::{noise, write};

const TURN: &str = "a message came out of turn";
const PLANNED: &str = "the plan names what was not offered";
const BEHIND: &str = "the plan resumes behind the end of a file";
const RETRIED: &str = "a retry names what was not offered";
const RESULT: &str = "a result names what was not offered";
const SUM: &str = "the results do not add up";
const CUT: &str = "a message is cut off";

/// What is offered: `tree`, `tree/d`, `tree/d/f`, `tree/g`.
const FILE: u32 = 2;
const OTHER: u32 = 3;

const FOLDER: &str = "a result that no folder or link can have";

fn complete(files: u64, failed: u64) -> Vec<u8> {
    control(format!(r#"{{"type":"complete","files":{files},"failed":{failed}}}"#))
}

fn plan(steps: &[Vec<u8>]) -> Vec<u8> {
    page(PLAN, 1, &steps.concat())
}

fn retry(indices: &[u32]) -> Vec<u8> {
    let items: Vec<u8> = indices.iter().flat_map(|index| index.to_be_bytes()).collect();
    page(RETRY, 1, &items)
}

fn results(items: &[(u32, u8)]) -> Vec<u8> {
    let items: Vec<u8> = items.iter().flat_map(|(index, fault)| result(*index, *fault)).collect();
    page(RESULTS, 1, &items)
}

/// How far an honest conversation went before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Plan,
    Content,
    Done,
    Results,
    Complete,
}

impl Turn {
    fn allows(self, message: &str, marked: bool) -> bool {
        match self {
            Self::Plan => message == "a plan" && !marked,
            Self::Content => false,
            // One of nothing is refused all the same.
            Self::Done => ["results"].contains(&message) && !marked,
            Self::Results => message == "results" && !marked,
            Self::Complete => message == "complete" && marked,
        }
    }

    fn reach(self, line: &mut Line) -> Result<()> {
        line.hear_offer()?;
        if self != Self::Plan {
            line.say(&plan(&[]))?;
        }
        if matches!(self, Self::Done | Self::Results | Self::Complete) {
            line.hear_round()?;
        }
        match self {
            Self::Results => line.say(&page(RESULTS, 0, &result(0, 5))),
            Self::Complete => line.say(&results(&[])),
            _ => Ok(()),
        }
    }
}

#[test]
fn out_of_turn() -> Result<()> {
    let mut rows = Vec::new();
    for turn in [Turn::Plan, Turn::Content, Turn::Done, Turn::Results, Turn::Complete] {
        for (name, message) in every_message() {
            for marked in [false, true] {
                if !turn.allows(name, marked) && !legal_at_any_time(name, marked) {
                    rows.push((turn, name, message.clone(), marked));
                }
            }
        }
    }
    all(&rows, |(turn, name, message, marked)| {
        let stage = Stage::bare()?;
        if *turn == Turn::Content {
            // More than can be on its way: it is in the middle of it when the message comes.
            write(&stage.join("tree/g"), noise(24 << 20, 1))?;
        }
        let mark = if *marked { ", marked" } else { "" };
        let name = format!("receiver: {name}{mark}, {turn:?}");
        let ended = stage.send(&Case::new(&name, 1, BROKE), |line| {
            turn.reach(line)?;
            if *marked { line.say_last(message) } else { line.say(message) }
        })?;
        let first = message[0];
        let why = match first {
            0 | 9..0x80 => "a message of an unknown kind",
            RETRY if *turn == Turn::Done && !marked => RETRIED,
            _ => TURN,
        };
        ensure!(ended.stderr.contains(why), "{name}: expected {why:?}: {ended:#?}");
        Ok(())
    })
}

/// A plan, and what is said of it. The first bytes of `tree/g` are known to the liar.
#[test]
fn plans_that_lie() -> Result<()> {
    let zeros = [0; 32];
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("what is not listed", plan(&[skip(4)]), PLANNED),
        ("the largest index", plan(&[skip(u32::MAX)]), PLANNED),
        ("a folder", plan(&[skip(0)]), PLANNED),
        ("part of a folder", plan(&[resume(1, 0, &zeros)]), PLANNED),
        ("the same twice", plan(&[skip(FILE), skip(FILE)]), PLANNED),
        ("the same, skipped and not", plan(&[skip(FILE), resume(FILE, 1, &zeros)]), PLANNED),
        ("backwards", plan(&[skip(OTHER), skip(FILE)]), PLANNED),
        ("behind the end", plan(&[resume(FILE, 28, &zeros)]), BEHIND),
        ("far behind the end", plan(&[resume(OTHER, u64::MAX, &zeros)]), BEHIND),
        ("a step of no kind", plan(&[[&FILE.to_be_bytes()[..], &[3]].concat()]), "unknown step"),
        ("half a hash", plan(&[resume(FILE, 1, &zeros[..31])]), CUT),
        ("half an index", page(PLAN, 1, &[0, 0]), CUT),
        ("no flag", vec![PLAN], CUT),
        ("a flag of no kind", page(PLAN, 3, &[]), "an unknown page flag"),
        ("an empty page", page(PLAN, 0, &[]), "an empty page that is not the last"),
    ];
    all(&rows, |(name, plan, says)| {
        let stage = Stage::bare()?;
        let ended =
            stage.send(&Case::new(format!("receiver: a plan of {name}"), 1, BROKE), |line| {
                line.hear_offer()?;
                line.say(plan)
            })?;
        ensure!(ended.stderr.contains(says), "{name}: expected {says:?}: {ended:#?}");
        Ok(())
    })
}

/// A plan over two pages, the second of which goes back.
#[test]
fn a_plan_that_goes_back_on_its_second_page() -> Result<()> {
    let stage = Stage::bare()?;
    stage.send(&Case::new("receiver: a plan that goes back", 1, PLANNED), |line| {
        line.hear_offer()?;
        line.say(&page(PLAN, 0, &skip(OTHER)))?;
        line.say(&page(PLAN, 1, &skip(FILE)))
    })?;
    Ok(())
}

/// Resumes of content that the receiver does not have: all it gets is the whole file.
#[test]
fn resumes_of_what_it_does_not_have() -> Result<()> {
    for (name, offset, hash, whole) in [
        ("a false hash", 27, Sha256::digest(b"a guess").to_vec(), true),
        ("the hash of nothing", 27, Sha256::digest(b"").to_vec(), true),
        ("the hash of something shorter", 27, Sha256::digest(&CONTENT[..26]).to_vec(), true),
        ("nothing, hashed otherwise", 0, vec![0; 32], true),
        ("the right hash", 27, Sha256::digest(CONTENT).to_vec(), false),
    ] {
        let stage = Stage::bare()?;
        let case = Case::new(
            format!("receiver: resumes behind {name}"),
            0,
            if whole { "sent 1 file" } else { "the file was already there" },
        );
        stage.send(&case, |line| {
            line.hear_offer()?;
            line.say(&plan(&[resume(FILE, offset, &hash), skip(OTHER)]))?;
            let record = line.hear_kind(crate::script::DATA)?;
            let content = record.windows(CONTENT.len()).any(|part| part == CONTENT);
            ensure!(content == whole, "{name}: the record was {record:x?}");
            line.hear_control()?;
            line.say(&results(&[]))?;
            line.say_last(&complete(1, 0))
        })?;
    }
    Ok(())
}

/// Retries and results, and what is said of them.
#[test]
fn answers_that_lie() -> Result<()> {
    let all_kept: Vec<u8> = (0..4).flat_map(|index| result(index, 7)).collect();
    let rows: Vec<(&str, Vec<Vec<u8>>, &str)> = vec![
        ("a retry of nothing", vec![retry(&[])], "a retry of nothing"),
        ("a retry of a folder", vec![retry(&[0])], RETRIED),
        ("a retry of what is not listed", vec![retry(&[4])], RETRIED),
        ("a retry of the largest index", vec![retry(&[u32::MAX])], RETRIED),
        ("a retry, twice", vec![retry(&[FILE, FILE])], RETRIED),
        ("a retry, backwards", vec![retry(&[OTHER, FILE])], RETRIED),
        ("half a retry", vec![page(RETRY, 1, &[0, 0])], CUT),
        (
            "a retry without end",
            vec![page(RETRY, 0, &FILE.to_be_bytes()), page(RETRY, 0, &FILE.to_be_bytes())],
            RETRIED,
        ),
        (
            "results in the middle of a retry",
            vec![page(RETRY, 0, &FILE.to_be_bytes()), results(&[])],
            TURN,
        ),
        ("a retry among results", vec![page(RESULTS, 0, &result(FILE, 5)), retry(&[FILE])], TURN),
        ("a retry behind results", vec![results(&[]), retry(&[FILE])], TURN),
        ("a result of what is not listed", vec![results(&[(4, 5)])], RESULT),
        ("a result of the largest index", vec![results(&[(u32::MAX, 5)])], RESULT),
        ("a result, twice", vec![results(&[(FILE, 5), (FILE, 6)])], RESULT),
        ("results, backwards", vec![results(&[(OTHER, 5), (FILE, 5)])], RESULT),
        ("a fault 0", vec![results(&[(FILE, 0)])], "an unknown fault"),
        ("half a result", vec![page(RESULTS, 1, &[0, 0, 0, 2])], CUT),
        (
            "results without end",
            vec![page(RESULTS, 0, &all_kept), page(RESULTS, 0, &all_kept)],
            RESULT,
        ),
        ("results twice", vec![results(&[]), results(&[])], TURN),
        ("a folder whose hash differs", vec![results(&[(0, 6)])], FOLDER),
        ("a folder that changed", vec![results(&[(1, 3)])], FOLDER),
    ];
    all(&rows, |(name, messages, says)| {
        let stage = Stage::bare()?;
        let ended = stage.send(&Case::new(format!("receiver: {name}"), 1, BROKE), |line| {
            line.hear_offer()?;
            line.say(&plan(&[]))?;
            line.hear_round()?;
            messages.iter().try_for_each(|message| line.say(message))
        })?;
        ensure!(ended.stderr.contains(says), "{name}: expected {says:?}: {ended:#?}");
        Ok(())
    })
}

/// What the receiver claims at the end. "Sent" rests on its word, but the word must add up.
#[test]
fn claims() -> Result<()> {
    type Row = (&'static str, Vec<Vec<u8>>, &'static [(u32, u8)], (u64, u64), i32, &'static str);
    let skip_all = || vec![skip(FILE), skip(OTHER)];
    let rows: Vec<Row> = vec![
        ("all, without any content", skip_all(), &[], (2, 0), 0, "all 2 files were already there"),
        ("one more than there is", skip_all(), &[], (3, 0), 1, SUM),
        ("all that can be counted", skip_all(), &[], (u64::MAX, 0), 1, SUM),
        ("nothing, and no fault", skip_all(), &[], (0, 0), 0, "sent 0 files: 0 B"),
        ("a fault that it does not list", vec![], &[], (1, 1), 1, SUM),
        ("no fault, and lists one", vec![], &[(FILE, 5)], (1, 0), 1, SUM),
        ("all faults there can be", vec![], &[(FILE, 5)], (1, u64::MAX), 1, SUM),
        ("false hashes of what it did not want", skip_all(), &[(FILE, 6)], (1, 1), 6, "differed"),
        ("faults of folders", vec![], &[(0, 5), (1, 7)], (2, 2), 3, "tree: the receiver could"),
        ("faults of the sender", vec![], &[(FILE, 2)], (1, 1), 3, "tree/d/f: the sender may not"),
        (
            "to have kept all",
            vec![],
            &[(0, 7), (1, 7), (2, 7), (3, 7)],
            (0, 4),
            0,
            "skipped 4 existing files",
        ),
    ];
    all(&rows, |(name, steps, faults, (files, failed), code, says)| {
        let stage = Stage::bare()?;
        stage.send(&Case::new(format!("receiver: claims {name}"), *code, says), |line| {
            line.hear_offer()?;
            line.say(&plan(steps))?;
            line.hear_round()?;
            line.say(&results(faults))?;
            line.say_last(&complete(*files, *failed))
        })?;
        Ok(())
    })
}

/// All it can be made to send is three times what it offered.
#[test]
fn a_retry_without_end() -> Result<()> {
    let stage = Stage::bare()?;
    let case = Case::new("receiver: a fourth attempt", 1, "more attempts than agreed");
    stage.send(&case, |line| {
        line.hear_offer()?;
        line.say(&plan(&[]))?;
        for _ in 0..3 {
            ensure!(line.hear_round()? > 5000, "not all was sent");
            line.say(&retry(&[FILE, OTHER]))?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Says `wait` again and again, in its turn and out of it.
#[test]
fn wait_without_end() -> Result<()> {
    let waits = |line: &mut Line| {
        let wait = control(r#"{"type":"wait"}"#);
        let waits: Vec<u8> = (0..30_000).flat_map(|_| line.record(&wait)).collect();
        line.raw(&waits)
    };
    let stage = Stage::bare()?;
    let case = Case::new("receiver: 120,000 times wait", 0, "sent 2 files");
    stage.send(&case, |line| {
        waits(line)?;
        line.hear_offer()?;
        waits(line)?;
        line.say(&plan(&[]))?;
        waits(line)?;
        line.hear_round()?;
        waits(line)?;
        line.say(&results(&[]))?;
        line.say_last(&complete(2, 0))
    })?;
    Ok(())
}

/// A receiver that gives up, for whatever reason: some of them leave the offer as it is.
#[test]
fn giving_up() -> Result<()> {
    let rows: &[(&str, i32, &str)] = &[
        (r#""declined""#, 7, "error: the receiver said no\n"),
        (r#""conflict","count":18446744073709551615"#, 7, "and 18446744073709551615 are"),
        (r#""no-space","needed":0,"free":18446744073709551615"#, STAYS, "18.4 EB are free"),
        (r#""no-space","needed":18446744073709551615,"free":0"#, STAYS, "18.4 EB are needed"),
        (r#""unwritable""#, STAYS, "cannot write to its folder"),
        (r#""interrupted""#, STAYS, "the receiver was interrupted"),
        (r#""protocol""#, 1, "error: the receiver could not make sense of this side\n"),
        (r#""failed""#, 1, "error: the receiver had to stop\n"),
        (r#""\u001b]0;x\u0007""#, 1, "error: the receiver had to stop\n"),
    ];
    for turn in [Turn::Plan, Turn::Content, Turn::Done, Turn::Results, Turn::Complete] {
        all(rows, |(reason, code, says)| {
            let stage = Stage::bare()?;
            let case = Case::new(format!("receiver: gives up, {reason}, {turn:?}"), *code, says);
            stage.send(&case, |line| {
                turn.reach(line)?;
                line.say_last(&control(format!(r#"{{"type":"cancel","reason":{reason}}}"#)))
            })?;
            Ok(())
        })?;
    }
    Ok(())
}

/// Leaves at each turn without a word: the offer stands.
#[test]
fn leaving_without_a_word() -> Result<()> {
    let turns = [Turn::Plan, Turn::Content, Turn::Done, Turn::Results, Turn::Complete];
    all(&turns, |turn| {
        let stage = Stage::bare()?;
        let case = Case::new(format!("receiver: leaves, {turn:?}"), STAYS, "waiting for it");
        stage.send(&case, |line| {
            turn.reach(line)?;
            line.cut();
            Ok(())
        })?;
        Ok(())
    })
}
