//! What both sides can do, and what is made of messages that only one of them knows.

use transfer::bounds::{MAX_CONTENT, MAX_NOTE, MAX_NOTES};
use transfer::compress::{self, Codec, Compression, Method};
use transfer::crypto::record::Buffer;
use transfer::error::{Error, Exit};
use transfer::protocol::features::{Feature, Features};
use transfer::protocol::message::{self, Control, Message, Offer, Wait};
use transfer::protocol::pages;
use transfer::protocol::session::{Session, Stop};
use transfer::send::content::StreamOptions;

use super::NO_FAULTS;
use super::pipe::Faults;
use super::util::{STREAM, make_tree, run, sessions, sessions_of, tree, walk};

const LZ4: Feature = Feature::Codec(Method::Lz4);
const BLOSC: Feature = Feature::Codec(Method::Blosc);

/// With whatever both sides can do, the same tree arrives.
#[test]
fn only_codecs_that_both_know_are_used() {
    let dir = tempfile::tempdir().unwrap();
    let sent = dir.path().join("tree");
    make_tree(&sent);
    // Text for one codec, numbers for the other.
    std::fs::write(sent.join("text"), "all work and no play ".repeat(10_000)).unwrap();
    let numbers: Vec<u8> = (0..100_000u32).flat_map(|n| (n as f32).to_le_bytes()).collect();
    std::fs::write(sent.join("numbers"), numbers).unwrap();
    let source = walk(&sent);
    let sets: [&[Feature]; 4] = [&[], &[LZ4], &[BLOSC], &[LZ4, BLOSC]];
    let mut round = 0;
    for sender_can in sets {
        for receiver_can in sets {
            for (compression, needs) in [
                (Compression::Auto, sets[3]),
                (Compression::Lz4, sets[1]),
                (Compression::Blosc, sets[2]),
            ] {
                round += 1;
                let case = format!("{sender_can:?} {receiver_can:?} {compression:?}");
                let into = dir.path().join(round.to_string());
                let can = [sender_can, receiver_can].map(|it| it.iter().copied().collect());
                let ends = sessions_of(1 << 16, can.into(), NO_FAULTS);
                let options = StreamOptions { compression, ..STREAM };
                let (sender, receiver, _) = run(&source, &into, options, ends, &mut |_| {});
                let (sender, receiver) = (sender.expect(&case), receiver.expect(&case));
                assert_eq!(tree(&sent), tree(&into.join("tree")), "{case}");
                let helps =
                    needs.iter().any(|it| sender_can.contains(it) && receiver_can.contains(it));
                assert_eq!((sender.saved > 0, receiver.saved > 0), (helps, helps), "{case}");
            }
        }
    }
}

/// What a session ended with on the side that noticed.
fn message_of(stop: Stop) -> String {
    let (Stop::Gone(Error { message, .. }) | Stop::Own(_, Error { message, .. })) = stop;
    message
}

/// A record that is packed by a method that the receiver has not named, or the sender.
#[test]
fn a_codec_that_was_not_agreed_on_is_refused() {
    let items = [0; 1000];
    let mut record = vec![message::PACKED, Codec::Lz4.wire_id()];
    record.extend(1000u32.to_be_bytes());
    assert!(compress::compress(Codec::Lz4, &items, &mut record));
    for (named_by_sender, named_by_receiver, told) in [
        (true, true, None),
        (true, false, Some("a feature that was not agreed on")),
        (false, true, Some("a feature that was not agreed on")),
        (false, false, Some("a feature that was not agreed on")),
    ] {
        let can = |named| if named { Features::ours() } else { Features::default() };
        let can = (can(named_by_sender), can(named_by_receiver));
        let (mut sender, mut receiver, closer) = sessions_of(MAX_CONTENT, can, NO_FAULTS);
        let got = std::thread::scope(|scope| {
            scope.spawn(|| {
                sender.await_ready().unwrap();
                let features = sender.ours().names();
                sender
                    .send_control(&Control::Offer(Offer { features, ..Offer::default() }))
                    .unwrap();
                sender.receive(|_, _| Ok(())).unwrap();
                let mut buffer = Buffer::default();
                buffer.extend(&record);
                sender.send(&mut buffer).unwrap();
            });
            receiver.send_ready().unwrap();
            let theirs = receiver.receive(|message, _| match message {
                Message::Control(Control::Offer(offer)) => Ok(offer.features),
                other => panic!("{other:?}"),
            });
            receiver.agree(&theirs.unwrap());
            receiver.send_pages(message::PLAN, [], pages::put_step).unwrap();
            receiver.receive(|message, _| match message {
                Message::Data(items) => Ok(items.rest().to_vec()),
                other => panic!("{other:?}"),
            })
        });
        let case = format!("{named_by_sender} {named_by_receiver}");
        match told {
            None => assert_eq!(got.unwrap(), items, "{case}"),
            Some(told) => {
                let told = format!("the other side broke the protocol: {told}");
                assert_eq!(message_of(got.unwrap_err()), told, "{case}");
            }
        }
        closer.close();
    }
}

/// Before anything is agreed on, nothing is unpacked.
#[test]
fn a_packed_record_before_the_offer_is_out_of_turn() {
    let (mut sender, receiver, closer) =
        sessions(MAX_CONTENT, Faults::default(), Faults::default());
    let mut buffer = Buffer::default();
    buffer.extend(&[message::PACKED, 1, 0, 0, 0, 64, 0x1f, 0, 1, 0, 0x26, 0x60, 0, 0, 0, 0, 0, 0]);
    sender.send(&mut buffer).unwrap();
    let offered = transfer::receive::files::await_offer(
        receiver,
        None,
        transfer::receive::files::Modes::default(),
    );
    let error = offered.err().unwrap();
    let told = "the other side broke the protocol: a message came out of turn";
    assert_eq!((error.exit(), &*error.message), (Exit::Failure, told));
    closer.close();
}

fn say(session: &mut Session, plaintext: &[u8]) {
    let mut buffer = Buffer::default();
    buffer.extend(plaintext);
    session.send(&mut buffer).unwrap();
}

/// Notes come and go, up to their bounds; who waits for something else never sees them.
#[test]
fn notes_are_skipped() {
    let wait = Control::Wait(Wait::default());
    let long = [&[0x80][..], &vec![7; MAX_NOTE - 1]].concat();
    let note = format!("\x01{{\"type\":\"note-tea\",\"x\":\"{}\"}}", "y".repeat(MAX_NOTE - 27));
    assert_eq!((long.len(), note.len()), (MAX_NOTE, MAX_NOTE));
    let too_long = [&long[..], &[7]].concat();
    let most = MAX_NOTES as usize;
    let few: Vec<&[u8]> =
        vec![&[0x80], &[0xff, 1], &long, note.as_bytes(), b"\x01{\"type\":\"note-\"}"];
    let rows: [(&str, Vec<&[u8]>, Option<&str>); 6] = [
        ("of each kind", few, None),
        ("as many as may be", vec![&[0x80]; most], None),
        ("one more", vec![&[0x80]; most + 1], Some("too many notes")),
        ("too long", vec![&too_long], Some("a note is too long")),
        ("a kind that may not be skipped", vec![&[0x7f]], Some("a message of an unknown kind")),
        ("no kind", vec![&[0]], Some("a message of an unknown kind")),
    ];
    for (name, notes, told) in rows {
        for beats in [false, true] {
            let (mut sender, mut receiver, closer) =
                sessions(MAX_CONTENT, Faults::default(), Faults::default());
            let heard = std::thread::scope(|scope| {
                // Twice, for what comes between counts anew.
                let speaking = scope.spawn(|| {
                    for _ in 0..2 {
                        for note in &notes {
                            say(&mut sender, note);
                            if beats {
                                sender.send_control(&wait).unwrap();
                            }
                        }
                        say(&mut sender, &[message::RESULTS, 1]);
                    }
                });
                let mut hear = || {
                    receiver.receive(|message, _| match message {
                        Message::Results(page) => Ok(page.rest().to_vec()),
                        other => panic!("{name}: {other:?}"),
                    })
                };
                let heard = hear().and_then(|first| Ok((first, hear()?)));
                closer.close();
                let _ = speaking.join();
                heard
            });
            match told {
                None => assert_eq!(heard.unwrap(), (vec![1], vec![1]), "{name}"),
                Some(told) => {
                    let told = format!("the other side broke the protocol: {told}");
                    assert_eq!(message_of(heard.unwrap_err()), told, "{name} {beats}");
                }
            }
        }
    }
}
