//! Sides that wait, stand still, read nothing, or never stop talking.

use std::fs;
use std::io::{self, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use transfer::bounds::{BLOCK, FAREWELL};
use transfer::crypto::keys::Role;
use transfer::crypto::record::{Buffer, RecordWriter};
use transfer::error::{Error, Exit, Result};
use transfer::event::Summary;
use transfer::protocol::features::Features;
use transfer::protocol::message::{self, Complete, Control, Message, Wait};
use transfer::protocol::outbox::Work;
use transfer::protocol::pages::{self, Pages};
use transfer::protocol::reason::Reason;
use transfer::protocol::session::{Limits, Session, Stop, receive_last};
use transfer::send::files::send_over;

use super::pipe::{Closer, Faults, pipe};
use super::util::{STREAM, keys, receive, walk};

/// A busy machine may keep a heart from beating for a second.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a side stands still here: much longer than the other one has patience.
const PAUSE: Duration = Duration::from_millis(3200);
const BEAT: Duration = Duration::from_millis(20);
/// The time between two beats of a heart that does not.
const NEVER: Duration = Duration::from_secs(3600);

fn impatient() -> Limits {
    Limits {
        patience: PATIENCE,
        last_patience: PATIENCE,
        heartbeat: BEAT,
        content: 700,
        lanes: 1,
        features: Features::default(),
        block: BLOCK,
        run: None,
    }
}

/// An impatient sender's session, and that of a receiver that says something every `heartbeat`
/// and waits for ever.
fn sessions(heartbeat: Duration) -> (Session, Session, Closer) {
    let (first, second, closer) = pipe(Faults::default(), Faults::default());
    let (sender_keys, receiver_keys) = keys();
    let sender = Session::start(first, sender_keys, Role::Receiver, impatient()).unwrap();
    let limits = Limits { content: 700, heartbeat, patience: NEVER, ..Limits::default() };
    let receiver = Session::start(second, receiver_keys, Role::Sender, limits).unwrap();
    (sender, receiver, closer)
}

fn take_offer(session: &mut Session) {
    session.send_ready().unwrap();
    let mut listed = false;
    while !listed {
        let next = session.receive(|message, _| match message {
            Message::Control(Control::Offer(_)) => Ok(false),
            Message::Entries(page) => {
                Ok(pages::entries(page, Features::default(), |_| Ok(()))? == Pages::End)
            }
            other => panic!("neither offer nor entries: {other:?}"),
        });
        listed = next.unwrap();
    }
}

/// How a sender fares whose receiver reads nothing for a while in the middle of the content.
fn send_to_a_paused_receiver(heartbeat: Duration) -> Result<Summary> {
    let dir = tempfile::tempdir().unwrap();
    // More than pipe and queues hold.
    fs::write(dir.path().join("file"), vec![7; 100_000]).unwrap();
    let source = walk(&dir.path().join("file"));
    let (sender, mut receiver, closer) = sessions(heartbeat);
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
        thread::sleep(PAUSE);
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
    assert_eq!(send_to_a_paused_receiver(BEAT).unwrap().files, 1);
}

#[test]
fn a_receiver_that_neither_reads_nor_speaks_is_lost() {
    assert_eq!(send_to_a_paused_receiver(NEVER).unwrap_err().exit(), Exit::Network);
}

/// How a side fares that waits for a message, and for the last one, while the other works.
fn wait_for_a_busy_peer(heartbeat: Duration) -> Result<(), Stop> {
    let (mut waiting, mut busy, closer) = sessions(heartbeat);
    thread::scope(|scope| {
        scope.spawn(move || {
            thread::sleep(PAUSE);
            busy.send_pages(message::PLAN, [], pages::put_step)?;
            thread::sleep(PAUSE);
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
    wait_for_a_busy_peer(BEAT).unwrap();
    let Err(Stop::Gone(error)) = wait_for_a_busy_peer(NEVER) else { panic!("no patience ends") };
    assert_eq!(error.exit(), Exit::Network);
    assert_eq!(error.message, "the other side has sent nothing for too long");
}

/// A lane that is kept by its work, such as a disk that has to wake up, does not keep the heart.
#[test]
fn a_side_whose_lanes_are_busy_says_so() {
    for lanes in [1, 3] {
        let (first, second, closer) = pipe(Faults::default(), Faults::default());
        let (sender_keys, receiver_keys) = keys();
        let limits = Limits { lanes, ..impatient() };
        let mut sender = Session::start(first, sender_keys, Role::Receiver, limits).unwrap();
        let mut receiver = Session::start(second, receiver_keys, Role::Sender, limits).unwrap();
        let mut buffer = Buffer::default();
        for number in 0..2 * lanes {
            buffer.extend(&[message::DATA, number as u8]);
            let work: Work = Box::new(move |_, _| {
                if number == 0 {
                    thread::sleep(PAUSE);
                }
            });
            sender.send_worked(&mut buffer, Some(work)).unwrap();
        }
        for number in 0..2 * lanes {
            let order = receiver.receive(|message, _| match message {
                Message::Data(items) => Ok(items.rest().to_vec()),
                other => panic!("no data: {other:?}"),
            });
            assert_eq!(order.unwrap(), [number as u8]);
        }
        closer.close();
    }
}

/// A transfer of so many bytes over a line on which they trickle; once content flows, something
/// befalls it.
fn transfer_over(
    trickle: (usize, Duration),
    bytes: usize,
    befalls: impl FnOnce(&Closer) + Send,
) -> (Result<Summary>, Result<Summary>) {
    let dir = tempfile::tempdir().unwrap();
    let (file, into) = (dir.path().join("file"), dir.path().join("in"));
    fs::write(&file, vec![7; bytes]).unwrap();
    fs::create_dir(&into).unwrap();
    let source = walk(&file);
    let (first, mut second, closer) = pipe(Faults::default(), Faults::default());
    second.0.trickle = Some(trickle);
    let limits = Limits { heartbeat: PATIENCE / 4, ..impatient() };
    let (sender_keys, receiver_keys) = keys();
    let sender = Session::start(first, sender_keys, Role::Receiver, limits).unwrap();
    let receiver = Session::start(second, receiver_keys, Role::Sender, limits).unwrap();
    thread::scope(|scope| {
        let sending = scope.spawn(|| send_over(sender, &source, STREAM, &mut |_| {}));
        let receiving = scope.spawn(|| receive(receiver, &into));
        // Offer and list are some 200 bytes.
        while closer.written()[0] < 1000 {
            thread::sleep(BEAT);
        }
        befalls(&closer);
        // Nobody closes anything before both have ended.
        let ends = (sending.join().unwrap(), receiving.join().unwrap());
        closer.close();
        ends
    })
}

#[test]
fn a_line_that_dies_while_data_flows_is_noticed_on_both_sides() {
    let line = (100, BEAT / 10);
    let (sent, received) = ends_soon(move || transfer_over(line, 200_000, Closer::stall));
    for end in [sent, received] {
        let error = end.unwrap_err();
        assert_eq!(error.exit(), Exit::Network);
        assert_eq!(error.message, "the other side has sent nothing for too long");
    }
}

/// A record takes longer than there is patience, but its bytes come.
#[test]
fn a_slow_line_is_not_a_dead_one() {
    let (sent, received) = transfer_over((25, PATIENCE / 20), 1500, |_| {});
    assert_eq!((sent.unwrap().files, received.unwrap().files), (1, 1));
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
            let (mut session, mut peer, closer) = sessions(NEVER);
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
    assert_eq!(lost.exit(), Exit::Network);
    closer.close();
    talking.join().unwrap();
}
