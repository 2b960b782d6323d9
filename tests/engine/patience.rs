//! Sides that wait, stand still, read nothing, or never stop talking.

use std::fs;
use std::io::{self, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use transfer::bounds::{FAREWELL, MAX_CONTENT, MAX_PLAINTEXT};
use transfer::crypto::keys::Role;
use transfer::crypto::record::{Buffer, RecordReader, RecordWriter};
use transfer::error::{Error, Exit, Result};
use transfer::event::Summary;
use transfer::files::manifest::{Entry, Kind};
use transfer::files::path::RelPath;
use transfer::protocol::message::{self, Complete, Control, Message, Offer, Reason, Wait};
use transfer::protocol::pages::{self, Pages};
use transfer::protocol::session::{Limits, Session, Stop, receive_last};
use transfer::send::stream::send_over;

use super::pipe::{Closer, Faults, PipeReader, PipeWriter, pipe};
use super::util::{STREAM, keys, receive, walk};

const PATIENCE: Duration = Duration::from_secs(1);
/// How long a side stands still here: much longer than the other one has patience.
const PAUSE: Duration = Duration::from_millis(1600);
const BEAT: Duration = Duration::from_millis(20);

const IMPATIENT: Limits = Limits { patience: PATIENCE, heartbeat: BEAT, content: 700, lanes: 1 };

type Ends = ((PipeReader, PipeWriter), (PipeReader, PipeWriter), Closer);

/// A pipe whose first end's writes time out.
fn ends() -> Ends {
    let (mut first, second, closer) = pipe(Faults::default(), Faults::default());
    first.1.limit = Some(PATIENCE / 10);
    (first, second, closer)
}

/// An impatient sender's session, and a receiver's.
fn sessions() -> (Session, Session, Closer) {
    let (first, second, closer) = ends();
    let (sender_keys, receiver_keys) = keys();
    let sender = Session::start(first, sender_keys, Role::Receiver, IMPATIENT).unwrap();
    let limits = Limits { content: 700, ..Limits::default() };
    let receiver = Session::start(second, receiver_keys, Role::Sender, limits).unwrap();
    (sender, receiver, closer)
}

/// For a while does nothing but, perhaps, say that it is there.
fn stand_still(session: &mut Session, says_wait: bool) -> Result<(), Stop> {
    let end = Instant::now() + PAUSE;
    while Instant::now() < end {
        if says_wait {
            session.send_control(&Control::Wait(Wait::default()))?;
        }
        thread::sleep(BEAT);
    }
    Ok(())
}

fn take_offer(session: &mut Session) {
    let mut listed = false;
    while !listed {
        let next = session.receive(|message, _| match message {
            Message::Control(Control::Offer(_)) => Ok(false),
            Message::Entries(page) => Ok(pages::entries(page, |_| Ok(()))? == Pages::End),
            other => panic!("neither offer nor entries: {other:?}"),
        });
        listed = next.unwrap();
    }
}

/// How a sender fares whose receiver reads nothing for a while in the middle of the content.
fn send_to_a_paused_receiver(says_wait: bool) -> Result<Summary> {
    let dir = tempfile::tempdir().unwrap();
    // More than pipe and queues hold.
    fs::write(dir.path().join("file"), vec![7; 100_000]).unwrap();
    let source = walk(&dir.path().join("file"));
    let (sender, mut receiver, closer) = sessions();
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let sent = send_over(sender, &source, STREAM, &mut |_| {});
            if sent.is_err() {
                closer.close();
            }
            sent
        });
        take_offer(&mut receiver);
        receiver.send_pages(message::PLAN, [], pages::put_step).unwrap();
        stand_still(&mut receiver, says_wait).unwrap();
        let mut done = false;
        while !done {
            let next = receiver
                .receive(|message, _| Ok(matches!(message, Message::Control(Control::Done))));
            // A sender that has given up is no concern here.
            done = next.unwrap_or(true);
        }
        let told = receiver.send_pages(message::RESULTS, [], pages::put_result);
        let complete = Control::Complete(Complete { files: 1, failed: 0 });
        let ended = told.and_then(|()| receiver.send_last(&complete));
        if let Ok(inbox) = ended {
            let _ = receive_last(&inbox, Role::Sender, &Control::Bye);
        }
        closer.close();
        sending.join().unwrap()
    })
}

#[test]
fn a_paused_receiver_keeps_its_connection() {
    assert_eq!(send_to_a_paused_receiver(true).unwrap().files, 1);
}

#[test]
fn a_receiver_that_neither_reads_nor_speaks_is_lost() {
    assert_eq!(send_to_a_paused_receiver(false).unwrap_err().exit, Exit::Network);
}

/// How a side fares that waits for a message, and for the last one, while the other works.
fn wait_for_a_busy_peer(says_wait: bool) -> Result<(), Stop> {
    let (mut waiting, mut busy, closer) = sessions();
    thread::scope(|scope| {
        scope.spawn(move || {
            stand_still(&mut busy, says_wait)?;
            busy.send_pages(message::PLAN, [], pages::put_step)?;
            stand_still(&mut busy, says_wait)?;
            busy.send_last(&Control::Bye)
        });
        let waited = waiting.receive(|message, _| match message {
            Message::Plan(_) => Ok(()),
            other => panic!("no plan: {other:?}"),
        });
        let waited = waited.and_then(|()| waiting.send_last(&Control::Bye));
        let waited = waited.and_then(|inbox| receive_last(&inbox, Role::Receiver, &Control::Bye));
        closer.close();
        waited
    })
}

#[test]
fn whoever_says_wait_is_waited_for() {
    wait_for_a_busy_peer(true).unwrap();
    let Err(Stop::Gone(error)) = wait_for_a_busy_peer(false) else { panic!("no patience ends") };
    assert_eq!(error.exit, Exit::Network);
}

/// The long steps of a receiver, with so many folders that they take a while: between the list and
/// the plan, and between the content and the results.
#[test]
fn a_receiver_at_work_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let folders: Vec<Entry> = (1000..5000)
        .map(|number| {
            let path = RelPath::parse(&number.to_string()).unwrap();
            Entry { path, kind: Kind::Folder, mode: 0o755, mtime: 1_000_000_000 }
        })
        .collect();
    let (first, second, closer) = pipe(Faults::default(), Faults::default());
    let (sender_keys, receiver_keys) = keys();
    let heartbeat = Duration::from_millis(1);
    let limits = Limits { patience: 5 * PATIENCE, heartbeat, ..Limits::default() };
    let receiver = Session::start(second, receiver_keys, Role::Sender, limits).unwrap();
    // No session here, for that drops what is counted.
    let mut writer = RecordWriter::new(first.1, sender_keys.seal);
    let mut reader = RecordReader::new(first.0, sender_keys.open, MAX_PLAINTEXT);
    let mut waits_before = |kind: u8| {
        let (mut buffer, mut waits) = (Buffer::default(), 0);
        loop {
            reader.read(&mut buffer).unwrap();
            match Message::decode(buffer.plaintext()).unwrap() {
                Message::Control(Control::Wait(_)) => waits += 1,
                _ => {
                    assert_eq!(buffer.plaintext(), [kind, 1]);
                    return waits;
                }
            }
        }
    };
    thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(receiver, dir.path()));
        let mut buffer = Buffer::default();
        let offer =
            Control::Offer(Offer { files: 0, folders: folders.len() as u64, ..Offer::default() });
        offer.encode(&mut buffer).unwrap();
        writer.write(&mut buffer).unwrap();
        let put = pages::put_entry;
        pages::write(message::ENTRIES, MAX_CONTENT, &mut buffer, &folders, put, |page| {
            writer.write(page)
        })
        .unwrap();
        assert!(waits_before(message::PLAN) > 0, "silent while it made folders");
        Control::Done.encode(&mut buffer).unwrap();
        writer.write(&mut buffer).unwrap();
        assert!(waits_before(message::RESULTS) > 0, "silent while it finished folders");
        Control::Bye.encode(&mut buffer).unwrap();
        writer.write_last(&mut buffer).unwrap();
        receiving.join().unwrap().unwrap();
        closer.close();
    });
}

/// Only what stops a session, and what ends it well, is marked as the last.
#[test]
fn marks_belong_on_last_messages_only() {
    let cancel = || Control::Cancel(Reason::Failed);
    for (control, last, expected) in [
        (
            Control::Wait(Wait::default()),
            true,
            "the other side broke the protocol: a message came out of turn",
        ),
        (cancel(), false, "the other side broke the protocol: a message came out of turn"),
        (
            Control::Refuse(Reason::Declined),
            false,
            "the other side broke the protocol: a message came out of turn",
        ),
        (cancel(), true, "the receiver had to stop"),
        (Control::Refuse(Reason::Declined), true, "the receiver said no"),
    ] {
        for unasked in [false, true] {
            let (mut session, mut peer, closer) = sessions();
            if last {
                peer.send_last(&control).unwrap();
            } else {
                peer.send_control(&control).unwrap();
            }
            let stop = if unasked {
                // It comes when it comes.
                (0..1000).find_map(|_| {
                    thread::sleep(Duration::from_millis(5));
                    session.check().err()
                })
            } else {
                session.receive(|message, _| -> Result<(), _> { panic!("{message:?}") }).err()
            };
            let (Stop::Gone(error) | Stop::Own(_, error)) = stop.unwrap();
            assert_eq!(error.message, expected, "{control:?} {last} {unasked}");
            closer.close();
        }
    }
}

/// What `work` returns. A minute is far more than it is to take, and far less than for ever.
fn ends_soon<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(work()));
    told.recv_timeout(30 * FAREWELL).expect("it does not end")
}

#[test]
fn a_peer_that_reads_nothing_holds_nobody_back_who_stops() {
    let (first, _second, closer) = pipe(Faults::default(), Faults::default());
    let mut session = Session::start(first, keys().0, Role::Receiver, Limits::default()).unwrap();
    let stopped = ends_soon(move || {
        // As much as a pipe, a thread and a queue hold: the last word has no place any more.
        let mut buffer = Buffer::default();
        for _ in 0..5 {
            buffer.extend(&[message::DATA; 10_000]);
            session.send(&mut buffer).ok().unwrap();
        }
        session.stop(Stop::Own(Reason::Failed, Error::failure("enough")))
    });
    assert_eq!(stopped.message, "enough");
    closer.close();
}

#[test]
fn a_peer_that_never_stops_talking_holds_nobody_back_who_cannot_write() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (first, second, closer) = pipe(Faults::default(), Faults::default());
    let (sender_keys, receiver_keys) = keys();
    let mut session =
        Session::start((first.0, Broken), sender_keys, Role::Receiver, Limits::default()).unwrap();
    let mut writer = RecordWriter::new(second.1, receiver_keys.seal);
    let talking = thread::spawn(move || {
        let mut buffer = Buffer::default();
        loop {
            buffer.extend(&[message::PLAN, 0]);
            if writer.write(&mut buffer).is_err() {
                return;
            }
            thread::sleep(BEAT);
        }
    });
    let lost = ends_soon(move || {
        loop {
            if let Err(stop) = session.send_control(&Control::Wait(Wait::default())) {
                return session.stop(stop);
            }
        }
    });
    assert_eq!(lost.exit, Exit::Network);
    closer.close();
    talking.join().unwrap();
}
