//! What every way to connect has to hold, whatever its bytes go through. A new way in adds a row to
//! [`WAYS`], and nothing else here.

#![cfg_attr(not(target_os = "linux"), allow(unused, reason = "some tests are for Linux alone"))]

mod ways;

use std::io::{self, ErrorKind, Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use transfer::bounds::MAX_PLAINTEXT;
use transfer::connect::acceptor::Incoming;
use transfer::connect::{Connection, NotConnected};
use transfer::crypto::handshake::{ANSWER_LEN, HELLO_LEN};
use transfer::crypto::keys::SessionKeys;
use transfer::crypto::record::{Buffer, Follows, Protection, RecordReader, RecordWriter};

use transfer::net::dial::Stream;
use ways::{Stage, TOKEN};

/// How long anything here may take before it counts as stuck.
const LIMIT: Duration = Duration::from_secs(60);

/// Every way, and how to set it up: who listens, and how it is dialled.
const WAYS: &[(&str, fn() -> Stage)] = &[
    ("pod", ways::pod),
    ("proxy", ways::proxy),
    #[cfg(unix)]
    ("nc", ways::nc),
    #[cfg(feature = "direct")]
    ("direct", ways::direct),
    #[cfg(feature = "relay")]
    ("relay", ways::relayed),
];

/// Runs a check over each way. It has failed if it does not come to its end.
fn each(check: fn(Stage)) {
    for (name, stage) in WAYS {
        let (tell, done) = mpsc::channel();
        let checking = thread::Builder::new().name((*name).into()).spawn(move || {
            check(stage());
            let _ = tell.send(());
        });
        if let Err(mpsc::RecvTimeoutError::Timeout) = done.recv_timeout(LIMIT) {
            panic!("{name}: stuck");
        }
        assert!(checking.unwrap().join().is_ok(), "{name}");
    }
}

/// The two ends of a connection: the one that dialled, and the one that accepted.
fn pair(stage: &Stage) -> (Connection, Connection) {
    let dialled = (stage.dial)(TOKEN).unwrap_or_else(|end| panic!("{end:?}"));
    match stage.acceptor.next(LIMIT) {
        Some(Incoming::Accepted(accepted)) => (dialled, accepted.connection),
        _ => panic!("it was not let in"),
    }
}

/// The keys of a connection that a token's handshake made.
fn sealed(protection: Protection) -> SessionKeys {
    match protection {
        Protection::Sealed(keys) => keys,
        Protection::Carried => panic!("nothing carries it"),
    }
}

/// Tries a read or a write again for as long as it only gets nowhere.
fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            done => return done,
        }
    }
}

/// A half that waits as long as it takes.
struct Patient<T>(T);

impl<T: Read> Read for Patient<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        patiently(|| self.0.read(buf))
    }
}

impl<T: Write> Write for Patient<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        patiently(|| self.0.write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Bytes of which no two neighbouring stretches are alike.
fn pattern(len: usize) -> Vec<u8> {
    (0u32..).flat_map(|number| number.wrapping_mul(0x9e37_79b9).to_le_bytes()).take(len).collect()
}

/// Two threads on two halves, on both sides.
#[test]
fn both_directions_go_at_once() {
    each(|stage| {
        let (dialled, accepted) = pair(&stage);
        let content = pattern(3_000_000);
        let (one, other) = ((dialled.reader, dialled.writer), (accepted.reader, accepted.writer));
        thread::scope(|scope| {
            for (reader, writer) in [one, other] {
                scope.spawn(|| Patient(writer).write_all(&content).unwrap());
                scope.spawn(|| {
                    let mut got = vec![0; content.len()];
                    Patient(reader).read_exact(&mut got).unwrap();
                    assert!(got == content, "what arrived is not what was sent");
                });
            }
        });
        drop((dialled.closer, accepted.closer));
    });
}

/// And what was taken before is neither lost nor doubled.
#[test]
fn a_write_without_progress_times_out() {
    each(|stage| {
        let (mut dialled, accepted) = pair(&stage);
        let content = pattern(64 << 20);
        let mut sent = 0;
        let stuck = loop {
            match dialled.writer.write(&content[sent..content.len().min(sent + (1 << 16))]) {
                Ok(0) => panic!("all of it was taken, or it was closed"),
                Ok(written) => sent += written,
                Err(error) => break error.kind(),
            }
        };
        assert_eq!(stuck, ErrorKind::TimedOut);
        let mut got = vec![0; sent];
        Patient(accepted.reader).read_exact(&mut got).unwrap();
        assert!(got == content[..sent], "what arrived is not what was taken");
    });
}

/// A read that gets nothing says so, and can be tried again.
#[test]
fn a_read_of_nothing_times_out() {
    each(|stage| {
        let (mut dialled, mut accepted) = pair(&stage);
        let mut byte = [0];
        for end in [&mut dialled, &mut accepted] {
            assert_eq!(end.reader.read(&mut byte).unwrap_err().kind(), ErrorKind::TimedOut);
        }
        Patient(accepted.writer).write_all(b"x").unwrap();
        Patient(dialled.reader).read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"x");
    });
}

/// Whoever closes need not be one of the two who read and write.
#[test]
fn closing_wakes_the_reader_and_the_writer() {
    for is_dialled in [true, false] {
        let check: fn(Stage) = match is_dialled {
            true => |stage| {
                let (dialled, accepted) = pair(&stage);
                close_beside_both(dialled);
                drop(accepted);
            },
            false => |stage| {
                let (dialled, accepted) = pair(&stage);
                close_beside_both(accepted);
                drop(dialled);
            },
        };
        each(check);
    }
}

fn close_beside_both(end: Connection) {
    let Connection { mut reader, mut writer, closer, .. } = end;
    thread::scope(|scope| {
        // Each ends with an error or with nothing: both are an end.
        let reading = scope.spawn(move || patiently(|| reader.read(&mut [0])).unwrap_or(0));
        let writing =
            scope.spawn(move || while patiently(|| writer.write(&[0; 1 << 16])).is_ok() {});
        // Both are on their way, or they will be.
        thread::sleep(Duration::from_millis(50));
        drop(closer);
        assert_eq!(reading.join().unwrap(), 0);
        writing.join().unwrap();
    });
}

/// The end is a record that says so; a connection that breaks off says nothing.
#[test]
fn a_cut_is_no_end() {
    for is_last in [false, true] {
        let check: fn(Stage) = match is_last {
            true => |stage| assert!(end_of_records(&stage, true), "its end is no end"),
            false => |stage| assert!(!end_of_records(&stage, false), "a cut was taken for the end"),
        };
        each(check);
    }
}

/// Sends a record over it and leaves. Whether the other side knows that it was the last.
fn end_of_records(stage: &Stage, is_last: bool) -> bool {
    let (dialled, accepted) = pair(stage);
    let mut writer = RecordWriter::new(Patient(accepted.writer), sealed(accepted.protection).seal);
    let mut buffer = Buffer::with_capacity(100);
    buffer.extend(b"some content");
    match is_last {
        true => writer.write_last(&mut buffer).unwrap(),
        false => writer.write(&mut buffer).unwrap(),
    }
    let mut reader =
        RecordReader::new(Patient(dialled.reader), sealed(dialled.protection).open, MAX_PLAINTEXT);
    let mut record = Buffer::with_capacity(100);
    let follows = reader.read(&mut record).unwrap();
    assert_eq!(record.plaintext(), b"some content");
    drop((writer, accepted.reader, accepted.closer));
    match follows {
        Follows::Nothing => true,
        Follows::More => reader.read(&mut record).is_ok(),
    }
}

/// Whoever does not know the token gets no connection, and neither does the side that listens.
#[test]
fn a_stranger_is_not_let_in() {
    each(|stage| {
        let Err(NotConnected::Over(error)) = (stage.dial)("ocean-zebra") else {
            panic!("a stranger was let in")
        };
        assert!(error.message.contains("wrong token"), "{error}");
        match stage.acceptor.next(LIMIT) {
            Some(Incoming::WrongToken { left: 2, .. }) => {}
            _ => panic!("the guess was not counted"),
        }
        drop(pair(&stage));
    });
}

/// Nor does it see a byte beyond the handshake, whatever it says.
#[test]
fn a_stranger_sees_no_byte() {
    each(|stage| {
        for said in [&[0x55; 4096][..], b"GET / HTTP/1.1\r\n\r\n", &stage.hello[..], b""] {
            let mut stranger = (stage.knock)();
            // A stream of QUIC is not there before something was written.
            if said.is_empty() && !matches!(stranger, Stream::Tcp(_)) {
                continue;
            }
            stranger.set_timeout(Some(LIMIT)).unwrap();
            stranger.write_all(said).unwrap();
            if let Stream::Tcp(stream) = &stranger {
                // The other side may have been faster.
                let _ = stream.shutdown(std::net::Shutdown::Write);
            }
            let (mut seen, mut piece) = (0, [0; 1024]);
            // A reset is an end as well.
            while let Ok(count @ 1..) = stranger.read(&mut piece) {
                seen += count;
            }
            assert!(seen <= HELLO_LEN + ANSWER_LEN, "{seen} bytes");
            match stage.acceptor.next(LIMIT) {
                Some(Incoming::Refused { .. } | Incoming::WrongToken { .. }) => {}
                _ => panic!("nothing was told of a stranger"),
            }
        }
    });
}

/// Whoever has the key of a plate can stand in between, and both sides know the token; but not the same
/// connection. What is passed on is a guess, and is counted.
#[cfg(feature = "direct")]
#[test]
fn what_is_passed_on_between_two_connections_proves_nothing() {
    let stage = ways::between();
    let Err(NotConnected::Over(error)) = (stage.dial)(TOKEN) else {
        panic!("somebody in between was believed")
    };
    assert_eq!(error.exit(), transfer::error::Exit::Refused, "{error}");
    match stage.acceptor.next(LIMIT) {
        Some(Incoming::WrongToken { left: 2, .. }) => {}
        _ => panic!("the guess was not counted"),
    }
}

/// More than there are places for, none of whom says a word.
#[cfg(feature = "direct")]
#[test]
fn idle_visitors_keep_nobody_out() {
    let stage = ways::direct();
    let idle: Vec<Stream> = (0..200).map(|_| (stage.knock)()).collect();
    drop(pair(&stage));
    drop(idle);
}

/// Several streams of QUIC are one stream of bytes, however late it is read and in whatever pieces.
#[cfg(feature = "direct")]
#[test]
fn what_waits_for_a_slow_reader_arrives() {
    // Whoever listens has to be there as long.
    let stage = ways::direct();
    let (dialled, accepted) = pair(&stage);
    let content = pattern(24 << 20);
    thread::scope(|scope| {
        scope.spawn(|| Patient(accepted.writer).write_all(&content).unwrap());
        let (mut got, mut reader) = (vec![0; content.len()], dialled.reader);
        for piece in got.chunks_mut(3 << 20) {
            // The windows fill up meanwhile.
            thread::sleep(Duration::from_millis(200));
            Patient(&mut reader).read_exact(piece).unwrap();
        }
        assert!(got == content, "what arrived is not what was sent");
    });
    drop((dialled.closer, accepted.closer));
}
