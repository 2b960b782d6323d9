//! Peers that say what they like about blocks of 64 bytes.

use std::fs;

use sha2::{Digest, Sha256};
use transfer::crypto::record::Buffer;
use transfer::error::{Exit, Result};
use transfer::event::Summary;
use transfer::files::states::{Blocks, State};
use transfer::protocol::data::{self, Item};
use transfer::protocol::fault::Fault;
use transfer::protocol::features::Features;
use transfer::protocol::message::{self, Control, DATA, Message};
use transfer::protocol::pages::{self, Range, Step};
use transfer::protocol::session::{Session, Stop};

use super::pipe::Faults;
use super::script::{file, in_blocks_against_sender, offer};
use super::util::{Sizes, receive, sessions};

const BLOCK: u64 = 64;
/// Six whole blocks and a tail.
const LEN: usize = 6 * 64 + 10;

fn content() -> Vec<u8> {
    (0..LEN).map(|at| (at * 7 % 251) as u8).collect()
}

fn states(content: &[u8]) -> Vec<State> {
    let mut hash = Blocks::new(BLOCK);
    hash.update(content);
    hash.into_states()
}

/// What a script puts on the wire.
#[derive(Debug, Clone, Copy)]
enum Put {
    Start(u64),
    /// Content from a byte to a byte.
    Bytes(usize, usize),
    /// The same with its first bit wrong.
    Wrong(usize, usize),
    /// The state behind so many blocks.
    State(usize),
    /// A state of nothing.
    Lie,
    Stop,
    End,
    Failed,
    /// The round ends, and another begins.
    Done,
}
use Put::{Bytes, Done, End, Failed, Lie, Start, State as Behind, Stop as Ends, Wrong};

fn put(buffer: &mut Buffer, what: Put) {
    let content = content();
    let mut bytes = |mut bytes: Vec<u8>, flip: u8| {
        bytes[0] ^= flip;
        let len = u32::try_from(bytes.len()).unwrap();
        data::put_bytes(buffer, len, |room| -> Result<(), ()> {
            room.copy_from_slice(&bytes);
            Ok(())
        })
        .unwrap();
    };
    match what {
        Bytes(from, to) => bytes(content[from..to].to_vec(), 0),
        Wrong(from, to) => bytes(content[from..to].to_vec(), 1),
        Start(offset) => data::put_start(buffer, 0, offset),
        Behind(blocks) => data::put_state(buffer, &states(&content)[blocks - 1]),
        Lie => data::put_state(buffer, &[7; 32]),
        Ends => data::put_stop(buffer),
        End => data::put_end(buffer, LEN as u64, &Sha256::digest(&content).into()),
        Failed => data::put_failed(buffer, 0, Fault::Changed),
        Done => unreachable!(),
    }
}

/// What the receiver has asked for after a round.
fn asked(session: &mut Session) -> Result<(Vec<(u32, Range)>, Vec<u32>, Vec<(u32, Fault)>), Stop> {
    let (mut ranges, mut whole, mut faults) = (vec![], vec![], vec![]);
    loop {
        let last = session.receive(|message, _| {
            Ok(match message {
                Message::Repair(page) => {
                    pages::repairs(page, |index, range| {
                        ranges.push((index, range));
                        Ok(())
                    })?;
                    false
                }
                Message::Retry(page) => {
                    pages::indices(page, |index| {
                        whole.push(index);
                        Ok(())
                    })?;
                    true
                }
                Message::Results(page) => {
                    pages::results(page, |index, fault| {
                        faults.push((index, fault));
                        Ok(())
                    })?;
                    true
                }
                other => panic!("{other:?}"),
            })
        })?;
        if last {
            return Ok((ranges, whole, faults));
        }
    }
}

/// Sends the script's items to the real receiver, into a folder that may hold a begun file. Returns
/// what was asked for after each round, and how it ended.
fn against_receiver(
    block: u64,
    begun: bool,
    script: &[Put],
) -> (Vec<(Vec<Range>, usize)>, Result<Summary>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    if begun {
        // Three blocks, a piece, and then the line is cut.
        let (_, received) = run(dir.path(), BLOCK, false, &begin(3, 200));
        assert_eq!(received.unwrap_err().exit(), Exit::Network);
        let part = fs::read_dir(dir.path()).unwrap().map(|found| found.unwrap().path());
        let part = part.filter(|path| path.extension().is_some_and(|it| it == "part"));
        let part = part.last().unwrap();
        assert_eq!(fs::metadata(&part).unwrap().len(), 200);
        // So that it is gone on with block by block.
        let mut damaged = fs::read(&part).unwrap();
        damaged[70] ^= 1;
        fs::write(&part, damaged).unwrap();
    }
    let (told, received) = run(dir.path(), block, true, script);
    (told, received, dir)
}

fn begin(blocks: usize, to: usize) -> Vec<Put> {
    let mut script = vec![Start(0)];
    for block in 0..blocks {
        script.extend([Bytes(block * 64, block * 64 + 64), Behind(block + 1)]);
    }
    script.push(Bytes(blocks * 64, to));
    script
}

fn run(
    into: &std::path::Path,
    block: u64,
    ends: bool,
    script: &[Put],
) -> (Vec<(Vec<Range>, usize)>, Result<Summary>) {
    let sizes = Sizes { content: 1 << 20, block };
    let (mut sender, receiver, closer) = sessions(sizes, Faults::default(), Faults::default());
    std::thread::scope(|scope| {
        let closer_of_script = closer.clone();
        let scripted = scope.spawn(move || {
            let mut told = vec![];
            let talk = || -> Result<(), Stop> {
                offer(&mut sender, &[file("file", LEN)])?;
                sender.receive(|message, _| match message {
                    Message::Plan(_) => Ok(()),
                    other => panic!("no plan: {other:?}"),
                })?;
                for round in script.split_inclusive(|what| matches!(what, Done)) {
                    let mut buffer = sender.buffer();
                    buffer.clear();
                    buffer.extend(&[DATA]);
                    for what in round.iter().filter(|what| !matches!(what, Done)) {
                        put(&mut buffer, *what);
                    }
                    sender.send(&mut buffer)?;
                    if !ends {
                        // All of it is read before the line is cut.
                        std::thread::sleep(std::time::Duration::from_millis(50));
                        return Ok(());
                    }
                    sender.send_control(&Control::Done)?;
                    let (ranges, whole, faults) = asked(&mut sender)?;
                    told.push((ranges.into_iter().map(|(_, range)| range).collect(), whole.len()));
                    if !faults.is_empty() || told.last() == Some(&(vec![], 0)) {
                        break;
                    }
                }
                sender.receive(|message, _| match message {
                    Message::Control(Control::Complete(_)) => Ok(()),
                    other => panic!("not complete: {other:?}"),
                })?;
                drop(sender.send_last(&Control::Bye)?);
                Ok(())
            };
            // Whom it does not like the receiver leaves.
            let _ = talk();
            closer_of_script.close();
            told
        });
        let received = receive(receiver, into);
        closer.close();
        (scripted.join().unwrap(), received)
    })
}

fn range(first: u32, count: u32) -> Range {
    Range { first, count }
}

/// A whole file in one round, with something in the place of one block.
fn whole(instead: impl Fn(usize) -> Option<Vec<Put>>) -> Vec<Put> {
    let mut script = vec![Start(0)];
    for block in 0..6 {
        let usual = vec![Bytes(block * 64, block * 64 + 64), Behind(block + 1)];
        script.extend(instead(block).unwrap_or(usual));
    }
    script.extend([Bytes(384, LEN), End, Done]);
    script
}

fn with(script: &[&[Put]]) -> Vec<Put> {
    script.concat()
}

#[test]
fn senders_that_break_the_order_of_blocks_are_left() {
    let torn = || whole(|block| (block == 2).then(|| vec![Wrong(128, 192), Behind(3)]));
    let again = |rest: &[Put]| with(&[&torn(), rest]);
    // Behind a part of three blocks, of which the second is damaged.
    let behind = |rest: &[Put]| with(&[&[Start(192)], rest]);
    let turn = "a message came out of turn";
    let unagreed = "a feature that was not agreed on";
    let missing = "a state is missing";
    let place = "a state came out of place";
    let longer = "a file is longer than was offered";
    let unasked = "a file came that was not asked for";
    let short = "a file is not as long as was offered";
    let rows: Vec<(&str, u64, bool, Vec<Put>, &str)> = vec![
        ("no state", 64, false, whole(|at| (at == 1).then(|| vec![Bytes(64, 128)])), missing),
        (
            "over the end of a block",
            64,
            false,
            vec![Start(0), Bytes(0, 65)],
            "bytes go over the end of a block",
        ),
        ("a state before anything", 64, false, vec![Start(0), Behind(1)], place),
        ("a state within a block", 64, false, vec![Start(0), Bytes(0, 10), Behind(1)], place),
        ("a state twice", 64, false, vec![Start(0), Bytes(0, 64), Behind(1), Behind(1)], place),
        ("a state outside a file", 64, false, vec![Behind(1)], turn),
        (
            "a state that was not agreed",
            0,
            false,
            vec![Start(0), Bytes(0, 64), Behind(1)],
            unagreed,
        ),
        ("a stop outside a file", 64, false, vec![Ends], turn),
        ("a stop in a whole file", 64, false, vec![Start(0), Bytes(0, 64), Behind(1), Ends], turn),
        ("a stop that was not agreed", 0, false, vec![Start(0), Ends], unagreed),
        (
            "anew without a reason",
            64,
            false,
            vec![Start(0), Bytes(0, 64), Behind(1), Start(0)],
            turn,
        ),
        ("anew twice", 64, true, behind(&[Start(0), Start(0)]), turn),
        ("anew behind the beginning", 64, true, behind(&[Start(64)]), turn),
        ("behind other blocks", 64, true, vec![Start(128)], turn),
        ("at once anew, and again", 64, true, vec![Start(0), Start(0)], turn),
        ("a range from elsewhere", 64, false, again(&[Start(64)]), turn),
        ("the whole file for a range", 64, false, again(&[Start(0)]), turn),
        (
            "a range that is too long",
            64,
            false,
            again(&[Start(128), Bytes(128, 192), Behind(3), Bytes(192, 193)]),
            longer,
        ),
        (
            "a range that is too short",
            64,
            false,
            again(&[Start(128), Bytes(128, 190), Ends]),
            short,
        ),
        (
            "a range without its state",
            64,
            false,
            again(&[Start(128), Bytes(128, 192), Ends]),
            missing,
        ),
        (
            "the end of a range in the middle",
            64,
            false,
            again(&[Start(128), Bytes(128, 192), Behind(3), End]),
            turn,
        ),
        (
            "a range twice",
            64,
            false,
            again(&[Start(128), Bytes(128, 192), Behind(3), Ends, Start(128)]),
            unasked,
        ),
        (
            "a range that does not come",
            64,
            false,
            again(&[Done]),
            "a file that was asked for did not come",
        ),
        ("a range after it failed", 64, false, again(&[Failed, Start(128)]), unasked),
    ];
    for (name, block, begun, script, expected) in rows {
        let (_, received, dir) = against_receiver(block, begun, &script);
        let error = received.err().unwrap_or_else(|| panic!("{name}: taken"));
        assert_eq!(
            error.message,
            format!("the other side broke the protocol: {expected}"),
            "{name}"
        );
        // What came after everything was here changes nothing of it.
        if let Ok(named) = fs::read(dir.path().join("file")) {
            assert_eq!((named, name), (content(), "a range twice"));
        }
    }
}

/// What the receiver asks for, and what becomes of it.
#[test]
fn what_differs_is_asked_for_three_times_and_never_named() {
    let block =
        |at: usize| vec![Start(at as u64 * 64), Bytes(at * 64, at * 64 + 64), Behind(at + 1), Ends];
    let wrong =
        |at: usize| vec![Start(at as u64 * 64), Wrong(at * 64, at * 64 + 64), Behind(at + 1), Ends];
    let lie = |at: usize| vec![Start(at as u64 * 64), Bytes(at * 64, at * 64 + 64), Lie, Ends];
    let torn = |these: &'static [usize]| {
        whole(move |at| {
            these.contains(&at).then(|| vec![Wrong(at * 64, at * 64 + 64), Behind(at + 1)])
        })
    };
    let tail = {
        let mut script = whole(|_| None);
        let at = script.len() - 3;
        script[at] = Wrong(384, LEN);
        script
    };
    let fine = || whole(|_| None);
    type Told = Vec<(Vec<Range>, usize)>;
    let nothing = || (vec![], 0);
    let rows: Vec<(&str, bool, Vec<Put>, Told, bool)> = vec![
        ("nothing", false, fine(), vec![nothing()], true),
        (
            "one",
            false,
            with(&[&torn(&[2]), &block(2), &[Done]]),
            vec![(vec![range(2, 1)], 0), nothing()],
            true,
        ),
        (
            "the first, and two that touch",
            false,
            with(&[
                &torn(&[0, 3, 4]),
                &block(0),
                &[Start(192), Bytes(192, 256), Behind(4), Bytes(256, 320), Behind(5), Ends, Done],
            ]),
            vec![(vec![range(0, 1), range(3, 2)], 0), nothing()],
            true,
        ),
        (
            "the tail",
            false,
            with(&[&tail, &[Start(384), Bytes(384, LEN), End, Done]]),
            vec![(vec![range(6, 1)], 0), nothing()],
            true,
        ),
        (
            "one that comes wrong once more",
            false,
            with(&[&torn(&[2, 4]), &wrong(2), &block(4), &[Done], &block(2), &[Done]]),
            vec![(vec![range(2, 1), range(4, 1)], 0), (vec![range(2, 1)], 0), nothing()],
            true,
        ),
        (
            "one that is always wrong",
            false,
            with(&[&torn(&[2]), &wrong(2), &[Done], &wrong(2), &[Done]]),
            vec![(vec![range(2, 1)], 0), (vec![range(2, 1)], 0), nothing()],
            false,
        ),
        (
            "another state than before",
            false,
            with(&[&torn(&[2]), &lie(2), &[Done], &fine()]),
            vec![(vec![range(2, 1)], 0), (vec![], 1), nothing()],
            true,
        ),
        (
            "a failure in a range",
            false,
            with(&[&torn(&[2]), &[Start(128), Bytes(128, 150), Failed, Done]]),
            vec![(vec![range(2, 1)], 0), nothing()],
            false,
        ),
        (
            "a failure before a range",
            false,
            with(&[&torn(&[2]), &[Failed, Done]]),
            vec![(vec![range(2, 1)], 0), nothing()],
            false,
        ),
        (
            "what an earlier run left, and a block of it",
            true,
            with(&[&[Start(192)], &whole(|at| (at < 3).then(Vec::new))[1..], &block(1), &[Done]]),
            vec![(vec![range(1, 1)], 0), nothing()],
            true,
        ),
        (
            "what an earlier run left, anew in the middle",
            true,
            with(&[&[Start(192), Bytes(192, 256), Lie], &fine()]),
            vec![nothing()],
            true,
        ),
        ("what an earlier run left, anew at once", true, fine(), vec![nothing()], true),
    ];
    for (name, begun, script, expected, arrives) in rows {
        let (told, received, dir) = against_receiver(64, begun, &script);
        let summary = received.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(told, expected, "{name}");
        assert_eq!(summary.exit() == Exit::Done, arrives, "{name}: {summary:?}");
        let named = dir.path().join("file");
        assert_eq!(named.exists(), arrives, "{name}");
        if arrives {
            assert_eq!(fs::read(&named).unwrap(), content(), "{name}");
        }
        // Nothing is left over.
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), usize::from(arrives), "{name}");
    }
}

/// Reads a round, and keeps nothing of it.
fn skip_round(session: &mut Session) -> Result<(), Stop> {
    while session.receive(|message, _| Ok(!matches!(message, Message::Control(Control::Done))))? {}
    Ok(())
}

#[test]
fn receivers_that_ask_for_what_is_not_there_are_left() {
    let step = |blocks| Step::GoOn { blocks, state: [7; 32] };
    for (name, block, blocks, expected) in [
        ("behind nothing", 64, 0, "the plan goes on behind nothing"),
        ("behind the end", 64, 79, "the plan resumes behind the end of a file"),
        ("far behind the end", 64, u32::MAX, "the plan resumes behind the end of a file"),
        ("not agreed", 0, 1, "a feature that was not agreed on"),
    ] {
        let sent = in_blocks_against_sender(block, |session, _| {
            session.send_pages(message::PLAN, [(0, step(blocks))], pages::put_step)?;
            Ok((0, vec![]))
        });
        let message = sent.unwrap_err().message;
        assert_eq!(message, format!("the other side broke the protocol: {expected}"), "{name}");
    }
    // Of 5,000 bytes: 78 whole blocks, and a tail.
    let unsent = "a repair names what was not sent";
    let turn = "a message came out of turn";
    let rows: Vec<(&str, u64, Vec<(u32, Range)>, Option<Vec<u32>>, &str)> = vec![
        ("a file that is none", 64, vec![(1, range(0, 1))], None, unsent),
        ("behind the end", 64, vec![(0, range(79, 1))], None, unsent),
        ("over the end", 64, vec![(0, range(78, 2))], None, unsent),
        ("very many", 64, vec![(0, range(0, u32::MAX))], None, unsent),
        ("far away", 64, vec![(0, range(u32::MAX, u32::MAX))], None, unsent),
        ("none", 64, vec![(0, range(3, 0))], None, unsent),
        ("descending", 64, vec![(0, range(3, 1)), (0, range(2, 1))], None, unsent),
        ("overlapping", 64, vec![(0, range(3, 2)), (0, range(4, 2))], None, unsent),
        ("twice", 64, vec![(0, range(3, 1)), (0, range(3, 1))], None, unsent),
        ("nothing at all", 64, vec![], None, "a repair of nothing"),
        (
            "the whole as well",
            64,
            vec![(0, range(3, 1))],
            Some(vec![0]),
            "a retry names what was not offered",
        ),
        ("not agreed", 0, vec![(0, range(0, 1))], None, turn),
        ("a file without a block", 8192, vec![(0, range(0, 1))], None, unsent),
        ("results behind it", 64, vec![(0, range(3, 1))], None, turn),
    ];
    for (name, block, ranges, retry, expected) in rows {
        let sent = in_blocks_against_sender(block, |session, _| {
            session.send_pages(message::PLAN, [], pages::put_step)?;
            skip_round(session)?;
            // It may be gone before all is said.
            let _ = session.send_pages(message::REPAIR, ranges, pages::put_repair);
            if let Some(retry) = retry {
                let _ = session.send_pages(message::RETRY, retry, pages::put_index);
            }
            Ok((0, vec![]))
        });
        let message = sent.unwrap_err().message;
        assert_eq!(message, format!("the other side broke the protocol: {expected}"), "{name}");
    }
}

#[test]
fn repairs_have_an_end() {
    let sent = in_blocks_against_sender(64, |session, _| {
        session.send_pages(message::PLAN, [], pages::put_step)?;
        for _ in 0..3 {
            skip_round(session)?;
            session.send_pages(message::REPAIR, [(0, range(3, 1))], pages::put_repair)?;
            session.send_pages(message::RETRY, [], pages::put_index)?;
        }
        Ok((0, vec![]))
    });
    let expected = "the other side broke the protocol: more attempts than agreed";
    assert_eq!(sent.unwrap_err().message, expected);
}

/// A sender goes on at once; whose blocks are others is sent all of it.
#[test]
fn the_sender_goes_on_at_once_and_begins_anew_where_it_has_to() {
    for (blocks, honest) in [(1u32, true), (40, true), (78, true), (1, false), (78, false)] {
        let sent = in_blocks_against_sender(64, |session, content| {
            let own = states(content);
            let mut state = own[blocks as usize - 1];
            state[5] ^= u8::from(!honest);
            let step = [(0, Step::GoOn { blocks, state })];
            session.send_pages(message::PLAN, step, pages::put_step)?;
            let (mut starts, mut got, mut behind) = (vec![], vec![], vec![]);
            let mut done = false;
            while !done {
                done = session.receive(|message, _| {
                    let Message::Data(mut items) = message else { return Ok(true) };
                    while let Some(item) = data::next(&mut items, Features::ours())? {
                        match item {
                            Item::Start { offset, .. } => {
                                starts.push(offset);
                                (got, behind) = (vec![], vec![]);
                            }
                            Item::Bytes(bytes) => got.extend_from_slice(bytes),
                            Item::State(state) => behind.push(state),
                            Item::End { size: 5000, hash } => {
                                assert_eq!(hash[..], Sha256::digest(content)[..]);
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                    Ok(false)
                })?;
            }
            let offset = u64::from(blocks) * 64;
            let (expected, from) =
                if honest { (vec![offset], blocks) } else { (vec![offset, 0], 0) };
            assert_eq!(starts, expected);
            assert_eq!(got, content[from as usize * 64..]);
            assert_eq!(behind, own[from as usize..]);
            // And sends of it what is asked for again, the tail too.
            let ranges = [(0, range(0, 2)), (0, range(77, 2))];
            session.send_pages(message::REPAIR, ranges, pages::put_repair)?;
            session.send_pages(message::RETRY, [], pages::put_index)?;
            let mut again = vec![];
            let mut done = false;
            while !done {
                done = session.receive(|message, _| {
                    let Message::Data(mut items) = message else { return Ok(true) };
                    while let Some(item) = data::next(&mut items, Features::ours())? {
                        again.push(match item {
                            Item::Start { offset, .. } => format!("start {offset}"),
                            Item::Bytes(bytes) => format!("bytes {}", bytes.len()),
                            Item::State(state) => {
                                let at = own.iter().position(|own| *own == state).unwrap();
                                format!("state {}", at + 1)
                            }
                            Item::Stop => "stop".into(),
                            Item::End { .. } => "end".into(),
                            other => panic!("{other:?}"),
                        });
                    }
                    Ok(false)
                })?;
            }
            let expected = "start 0,bytes 64,state 1,bytes 64,state 2,stop,\
                            start 4928,bytes 64,state 78,bytes 8,end";
            assert_eq!(again.join(","), expected);
            Ok((1, vec![]))
        });
        assert_eq!(sent.unwrap().files, 1);
    }
}
