//! Peers that follow a script: they speak the protocol, and at one point do something else.

use std::fs;

use sha2::{Digest, Sha256};
use transfer::bounds::{BLOCK, MAX_CONTENT};
use transfer::crypto::keys::Role;
use transfer::crypto::record::{Buffer, Follows};
use transfer::error::{Exit, Result};
use transfer::event::Summary;
use transfer::files::manifest::{Entry, Kind};
use transfer::files::path::RelPath;
use transfer::protocol::data;
use transfer::protocol::fault::Fault;
use transfer::protocol::features::Features;
use transfer::protocol::message::{self, Complete, Control, DATA, Message, Offer};
use transfer::protocol::pages::{self, Pages, Step};
use transfer::protocol::session::{Session, Stop, receive_last};
use transfer::send::files::send_over;

use super::pipe::Faults;
use super::util::{STREAM, Sizes, receive, sessions, walk};

const CONTENT: &[u8] = b"the content as it should be";

pub fn file(path: &str, size: usize) -> Entry {
    let path = RelPath::parse(path).unwrap();
    Entry { path, kind: Kind::File(size as u64), mode: 0o644, mtime: 1_000_000_000 }
}

pub fn offer(session: &mut Session, entries: &[Entry]) -> Result<(), Stop> {
    session.await_ready()?;
    session.send_control(&Control::Offer(Offer {
        files: entries.len() as u64,
        bytes: entries.iter().map(Entry::size).sum(),
        features: session.ours().names(),
        ..Offer::default()
    }))?;
    session.send_pages(message::ENTRIES, entries, pages::put_entry)
}

pub fn send_items(session: &mut Session, items: impl FnOnce(&mut Buffer)) -> Result<(), Stop> {
    let mut buffer = session.buffer();
    buffer.clear();
    buffer.extend(&[DATA]);
    items(&mut buffer);
    session.send(&mut buffer)?;
    session.send_control(&Control::Done)
}

fn put_file(buffer: &mut Buffer, index: u32, content: &[u8], hash: [u8; 32]) {
    data::put_start(buffer, index, 0);
    let len = u32::try_from(content.len()).unwrap();
    data::put_bytes(buffer, len, |room| {
        room.copy_from_slice(content);
        Ok::<(), ()>(())
    })
    .unwrap();
    data::put_end(buffer, content.len() as u64, &hash);
}

/// What the receiver answers after `Done`.
pub enum Answer {
    Retry(Vec<u32>),
    Results(Vec<(u32, Fault)>),
}

pub fn answer(session: &mut Session) -> Result<Answer, Stop> {
    session.receive(|message, _| {
        Ok(match message {
            Message::Retry(page) => {
                let mut indices = vec![];
                let pages = pages::indices(page, |index| {
                    indices.push(index);
                    Ok(())
                })?;
                assert_eq!(pages, Pages::End);
                Answer::Retry(indices)
            }
            Message::Results(page) => {
                let mut faults = vec![];
                let pages = pages::results(page, |index, fault| {
                    faults.push((index, fault));
                    Ok(())
                })?;
                assert_eq!(pages, Pages::End);
                Answer::Results(faults)
            }
            other => panic!("neither a retry nor results: {other:?}"),
        })
    })
}

/// Runs a scripted sender against the real receiver.
fn against_receiver<T: Send>(
    script: impl FnOnce(&mut Session) -> Result<T, Stop> + Send,
) -> (T, Result<Summary>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (mut sender, receiver, closer) =
        sessions(MAX_CONTENT, Faults::default(), Faults::default());
    let (told, received) = std::thread::scope(|scope| {
        let scripted = scope.spawn(move || {
            let told = script(&mut sender).unwrap();
            let complete = sender.receive(|message, follows| match message {
                Message::Control(Control::Complete(complete)) => {
                    assert_eq!(follows, Follows::Nothing);
                    Ok(complete)
                }
                other => panic!("not complete: {other:?}"),
            });
            complete.unwrap();
            sender.send_last(&Control::Bye).unwrap();
            told
        });
        let received = receive(receiver, dir.path());
        closer.close();
        (scripted.join().unwrap(), received)
    });
    (told, received, dir)
}

/// A sender that corrupts one of two files in its first `bad` attempts.
fn corrupt(bad: u8) -> (u8, Vec<(u32, Fault)>, Result<Summary>, tempfile::TempDir) {
    let ((attempts, faults), received, dir) = against_receiver(move |session| {
        offer(session, &[file("good", CONTENT.len()), file("torn", CONTENT.len())])?;
        session.receive(|message, _| match message {
            Message::Plan(_) => Ok(()),
            other => panic!("no plan: {other:?}"),
        })?;
        let hash: [u8; 32] = Sha256::digest(CONTENT).into();
        for attempt in 1.. {
            send_items(session, |buffer| {
                if attempt == 1 {
                    put_file(buffer, 0, CONTENT, hash);
                }
                let mut content = CONTENT.to_vec();
                content[3] ^= u8::from(attempt <= bad);
                put_file(buffer, 1, &content, hash);
            })?;
            match answer(session)? {
                Answer::Retry(indices) => assert_eq!(indices, [1]),
                Answer::Results(faults) => return Ok((attempt, faults)),
            }
        }
        unreachable!()
    });
    (attempts, faults, received, dir)
}

#[test]
fn a_file_that_differs_is_asked_for_again_up_to_three_times() {
    for (bad, attempts) in [(0, 1), (1, 2), (2, 3)] {
        let (made, faults, received, dir) = corrupt(bad);
        assert_eq!((made, faults), (attempts, vec![]), "{bad} bad attempts");
        let summary = received.unwrap();
        assert_eq!((summary.exit(), summary.files), (Exit::Done, 2));
        assert_eq!(fs::read(dir.path().join("torn")).unwrap(), CONTENT);
    }
}

#[test]
fn a_file_that_always_differs_is_reported_and_never_named() {
    let (made, faults, received, dir) = corrupt(u8::MAX);
    assert_eq!((made, faults), (3, vec![(1, Fault::Integrity)]));
    let summary = received.unwrap();
    assert_eq!((summary.exit(), summary.files), (Exit::Integrity, 1));
    assert_eq!(summary.failed, [(RelPath::parse("torn").unwrap(), Fault::Integrity)]);
    let names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|found| found.unwrap().file_name()).collect();
    assert_eq!(names, ["good"]);
}

#[test]
fn a_source_that_fails_is_reported_and_the_rest_arrives() {
    for fault in [Fault::Vanished, Fault::Denied, Fault::Changed, Fault::Unreadable] {
        for begun in [false, true] {
            let (faults, received, dir) = against_receiver(move |session| {
                offer(session, &[file("bad", 100), file("good", CONTENT.len())])?;
                session.receive(|_, _| Ok(()))?;
                send_items(session, |buffer| {
                    if begun {
                        data::put_start(buffer, 0, 0);
                        data::put_bytes(buffer, 4, |_| Ok::<(), ()>(())).unwrap();
                    }
                    data::put_failed(buffer, 0, fault);
                    put_file(buffer, 1, CONTENT, Sha256::digest(CONTENT).into());
                })?;
                match answer(session)? {
                    Answer::Results(faults) => Ok(faults),
                    Answer::Retry(_) => panic!("a retry of what cannot be sent"),
                }
            });
            assert_eq!(faults, [(0, fault)]);
            let summary = received.unwrap();
            assert_eq!((summary.exit(), summary.files), (Exit::Partial, 1));
            assert!(!dir.path().join("bad").exists());
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{fault:?} {begun}");
        }
    }
}

/// Runs the real sender, with a file of 5,000 bytes, against a scripted receiver, which ends with
/// results: how many files it has, and its faults.
fn against_sender(
    script: impl FnOnce(&mut Session, &[u8]) -> Result<(u64, Vec<(u32, Fault)>), Stop>,
) -> Result<Summary> {
    in_blocks_against_sender(BLOCK, script)
}

/// The same with blocks of so many bytes.
pub fn in_blocks_against_sender(
    block: u64,
    script: impl FnOnce(&mut Session, &[u8]) -> Result<(u64, Vec<(u32, Fault)>), Stop>,
) -> Result<Summary> {
    let dir = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..5000u32).map(|i| (i * 7 % 251) as u8).collect();
    fs::write(dir.path().join("file"), &content).unwrap();
    let source = walk(&dir.path().join("file"));
    let sizes = Sizes { content: 700, block };
    let (sender, mut receiver, closer) = sessions(sizes, Faults::default(), Faults::default());
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| send_over(sender, &source, STREAM, &mut |_| {}));
        receiver.send_ready().unwrap();
        // The offer, then its one entry in two pages of tiny records, the last of them empty.
        let mut listed = false;
        while !listed {
            listed = receiver
                .receive(|message, _| match message {
                    Message::Control(Control::Offer(_)) => Ok(false),
                    Message::Entries(page) => {
                        Ok(pages::entries(page, Features::default(), |_| Ok(()))? == Pages::End)
                    }
                    other => panic!("neither offer nor entries: {other:?}"),
                })
                .unwrap();
        }
        let (files, faults) = script(&mut receiver, &content).unwrap();
        let failed = faults.len() as u64;
        // A sender that has had enough is gone by now.
        let told = receiver.send_pages(message::RESULTS, faults, pages::put_result);
        let ended =
            told.and_then(|()| receiver.send_last(&Control::Complete(Complete { files, failed })));
        if let Ok(inbox) = ended {
            let _ = receive_last(&inbox, Role::Sender, &Control::Bye);
        }
        closer.close();
        sending.join().unwrap()
    })
}

/// Takes data until `Done`: where the file started, its content from there, and its hash.
fn take_round(session: &mut Session) -> Result<(u64, Vec<u8>, [u8; 32]), Stop> {
    let (mut from, mut content, mut whole) = (0, vec![], [0; 32]);
    loop {
        let done = session.receive(|message, _| {
            match message {
                Message::Data(mut items) => {
                    while let Some(item) = data::next(&mut items, Features::default())? {
                        match item {
                            data::Item::Start { index: 0, offset } => from = offset,
                            data::Item::Bytes(bytes) => content.extend_from_slice(bytes),
                            data::Item::End { size: 5000, hash } => whole = hash,
                            other => panic!("{other:?}"),
                        }
                    }
                }
                Message::Control(Control::Done) => return Ok(true),
                other => panic!("{other:?}"),
            }
            Ok(false)
        })?;
        if done {
            return Ok((from, content, whole));
        }
    }
}

#[test]
fn the_sender_resumes_only_behind_a_prefix_that_is_its_own() {
    let cases: [(u64, bool, u64); 5] =
        [(0, true, 0), (1234, true, 1234), (5000, true, 5000), (1234, false, 0), (5000, false, 0)];
    for (offset, honest, expected) in cases {
        let sent = against_sender(|session, content| {
            let prefix = &content[..usize::try_from(offset).unwrap()];
            let mut hash: [u8; 32] = Sha256::digest(prefix).into();
            hash[0] ^= u8::from(!honest);
            let steps = [(0, Step::Resume { offset, hash })];
            session.send_pages(message::PLAN, steps, pages::put_step)?;
            let (from, rest, whole) = take_round(session)?;
            assert_eq!(from, expected, "resumed at {offset}");
            assert_eq!(rest, content[usize::try_from(expected).unwrap()..]);
            assert_eq!(whole[..], Sha256::digest(content)[..]);
            Ok((1, vec![]))
        });
        assert_eq!(sent.unwrap().files, 1);
    }
}

#[test]
fn the_sender_sends_again_what_it_is_asked_for() {
    let sent = against_sender(|session, content| {
        session.send_pages(message::PLAN, [], pages::put_step)?;
        for _ in 0..2 {
            assert_eq!(take_round(session)?.1, content);
            session.send_pages(message::RETRY, [0], pages::put_index)?;
        }
        assert_eq!(take_round(session)?.1, content);
        Ok((0, vec![(0, Fault::Integrity)]))
    });
    let summary = sent.unwrap();
    assert_eq!((summary.exit(), summary.files, summary.bytes), (Exit::Integrity, 0, 15_000));
}

#[test]
fn a_fourth_attempt_is_refused() {
    let sent = against_sender(|session, _| {
        session.send_pages(message::PLAN, [], pages::put_step)?;
        for _ in 0..3 {
            take_round(session)?;
            session.send_pages(message::RETRY, [0], pages::put_index)?;
        }
        Ok((0, vec![]))
    });
    assert_eq!(
        sent.unwrap_err().message,
        "the other side broke the protocol: more attempts than agreed"
    );
}
