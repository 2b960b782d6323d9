//! The handshake: strangers at the sender's door, and impostors where the sender should be.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, SockRef, Socket, Type};
use spake2::{Ed25519Group as Curve, Group};

use crate::script::{CONTENT, Line, bytes, data, file, patient, read, start};
use crate::shake::{
    Hello, ID, Keys, Own, Scalar, Side, VERSION, compress, element, hello, password,
};
use crate::stage::{Case, LOCK, STAYS, Stage, TOKEN, all, connect, token_of};
use crate::util::process::{Sender, receiving, run};
use crate::util::tree::{Scratch, ensure_arrived, noise, write};

const WRONG: &str = "aardvark-abacus";

/// What answers a wrong token, with so many forgiven.
fn wrong(left: u8) -> Vec<u8> {
    [&[1, left][..], &[0; 32]].concat()
}

/// All that comes until the connection ends.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

/// A connection to the sender, and its hello.
fn knock(sender: &Sender) -> Result<(TcpStream, Hello)> {
    let mut stream = connect(sender)?;
    patient(&stream)?;
    let theirs = read(&mut stream).context("no hello came")?;
    Ok((stream, theirs))
}

/// A hello with another SPAKE2 element and X25519 key than an honest one.
fn odd(key: Option<[u8; 32]>, element: [u8; 32], side: Side) -> Hello {
    let honest = Own::new(side, TOKEN).hello;
    let key = key.unwrap_or(honest[10..42].try_into().unwrap());
    hello(VERSION, &key, side as u8, &element)
}

/// X25519 keys that make the shared secret zero, in all their spellings.
fn low_order_keys() -> Vec<[u8; 32]> {
    let unhex = |hex: &str| -> [u8; 32] {
        let byte = |at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
        std::array::from_fn(byte)
    };
    let mut keys: Vec<[u8; 32]> = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ]
    .map(unhex)
    .to_vec();
    // The top bit is ignored.
    for at in 0..keys.len() {
        let mut key = keys[at];
        key[31] |= 0x80;
        keys.push(key);
    }
    keys
}

/// Encodings that are no point of the curve.
fn no_points() -> impl Iterator<Item = [u8; 32]> {
    (0..=255)
        .map(|byte| [byte; 32])
        .filter(|bytes| Curve::bytes_to_element(bytes).is_none())
        .take(5)
}

/// An honest element.
fn good(side: Side) -> [u8; 32] {
    Own::new(side, TOKEN).hello[43..].try_into().unwrap()
}

/// Hellos that no honest peer sends, and what the receiver says of them with which code.
fn bad_hellos(side: Side) -> Vec<(String, Vec<u8>, i32, &'static str)> {
    let other = if side == Side::Sender { Side::Receiver } else { Side::Sender };
    let honest = Own::new(side, TOKEN).hello;
    let with = |at: usize, byte: u8| {
        let mut hello = honest;
        hello[at] = byte;
        hello.to_vec()
    };
    let invalid = "the other side sent an invalid handshake";
    let mut rows = vec![
        ("not a hello".to_owned(), noise(75, 1), 5, "does not speak this protocol"),
        ("another magic".into(), with(0, b't'), 5, "does not speak this protocol"),
        ("version 0".into(), with(9, 0), 1, "speaks version 0 of the protocol"),
        ("version 1".into(), with(9, 1), 1, "speaks version 1 of the protocol"),
        ("the other side's letter".into(), with(42, other as u8), 4, invalid),
        ("no side's letter".into(), with(42, 0), 4, invalid),
        ("a symmetric side's letter".into(), with(42, b'S'), 4, invalid),
    ];
    for (number, key) in low_order_keys().into_iter().enumerate() {
        rows.push((
            format!("low order {number}"),
            odd(Some(key), good(side), side).to_vec(),
            4,
            invalid,
        ));
    }
    for (number, point) in no_points().enumerate() {
        rows.push((format!("no point {number}"), odd(None, point, side).to_vec(), 4, invalid));
    }
    rows
}

/// None of it is answered with more than a hello, none counts as a guess, and none ends the offer.
#[test]
fn junk_is_not_a_guess() -> Result<()> {
    let stage = Stage::bare()?;
    let case = Case::new("door: junk", STAYS, "turned away 127.0.0.1");
    stage.send_to(&case, |sender| {
        for (name, hello, ..) in bad_hellos(Side::Receiver) {
            let (mut stream, _) = knock(sender)?;
            stream.write_all(&hello)?;
            // A confirmation, should somebody wait for it.
            let _ = stream.write_all(&[0; 48]);
            let answer = rest(&mut stream);
            ensure!(answer.is_empty(), "{name} was answered {answer:x?}");
        }
        // The sender's own hello, sent back.
        let (mut stream, theirs) = knock(sender)?;
        stream.write_all(&theirs)?;
        let _ = stream.write_all(&[0; 48]);
        ensure!(rest(&mut stream).is_empty(), "a mirror was answered");
        // A guess that is not complete, in pieces, many times.
        for cut in [0, 1, 16, 32, 47] {
            let (mut stream, _) = knock(sender)?;
            stream.write_all(&Own::new(Side::Receiver, WRONG).hello)?;
            stream.write_all(&[7; 48][..cut])?;
            stream.shutdown(std::net::Shutdown::Write)?;
            let answer = rest(&mut stream);
            ensure!(answer.is_empty(), "{cut} bytes were answered {answer:x?}");
        }
        Ok(None)
    })?;
    Ok(())
}

/// A complete and wrong confirmation, made in whatever way: the answer, whole.
fn guess(sender: &Sender, how: usize) -> Result<Vec<u8>> {
    let (mut stream, theirs) = knock(sender)?;
    let (side, token) = (Side::Receiver, token_of(sender)?);
    let (hello, confirmation) = match how {
        // A wrong token.
        0 => {
            let own = Own::new(side, WRONG);
            (own.hello, own.keys(&theirs, WRONG)?.confirmation())
        }
        // The right one, and a bit of the proof, or of the id under it, flipped.
        1 | 2 => {
            let own = Own::new(side, &token);
            let mut confirmation = own.keys(&theirs, &token)?.confirmation();
            confirmation[if how == 1 { 47 } else { 0 }] ^= 1;
            (own.hello, confirmation)
        }
        // The proof of the sender in the place of the receiver's.
        3 => {
            let own = Own::new(side, &token);
            let proof = own.keys(&theirs, &token)?.answer(0);
            (own.hello, [&ID[..], &proof[2..]].concat().try_into().unwrap())
        }
        // Elements of small order, which are points of the curve: that they gain nothing.
        4 => {
            let own = Own::with(side, |_| [&[1][..], &[0; 31]].concat().try_into().unwrap());
            (own.hello, own.keys_with(&theirs, &token, &own.hello[43..]).confirmation())
        }
        _ => {
            let own = Own::with(side, |_| [0; 32]);
            (own.hello, own.keys_with(&theirs, &token, &[0; 32]).confirmation())
        }
    };
    stream.write_all(&hello)?;
    stream.write_all(&confirmation)?;
    Ok(rest(&mut stream))
}

/// Whatever is wrong, three of them end the offer, and each is told; no bit of the answer depends
/// on anything but the count.
#[test]
fn three_guesses_end_the_offer() -> Result<()> {
    let ways = [0, 1, 2, 3, 4, 5];
    all(&ways, |how| {
        let stage = Stage::bare()?;
        let says = "error: the offer has ended after 3 wrong tokens, the last from a program on";
        stage.send_to(&Case::new(format!("door: three guesses, {how}"), 4, says), |sender| {
            for left in [2, 1, 0] {
                let answer = guess(sender, *how)?;
                ensure!(answer == wrong(left), "{answer:x?} with {left} left");
            }
            Ok(None)
        })?;
        Ok(())
    })
}

/// Whoever guesses and resets the connection before the answer has guessed: the sender says so, and
/// ends at the third.
#[test]
fn guesses_that_wait_for_no_answer() -> Result<()> {
    let stage = Stage::bare()?;
    stage.send_to(&Case::new("door: guesses in hiding", 4, "after 3 wrong tokens"), |sender| {
        // The answer may get away before the reset arrives, so only the end is certain.
        for _ in 0..3 {
            let (mut stream, theirs) = knock(sender)?;
            let own = Own::new(Side::Receiver, WRONG);
            let keys = own.keys(&theirs, WRONG)?;
            stream.write_all(&own.hello)?;
            stream.write_all(&keys.confirmation())?;
            // Fails on macOS where the other side was faster.
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
        Ok(None)
    })?;
    Ok(())
}

/// However many race, three are looked at. The others are told that it is over, or nothing.
#[test]
fn guesses_that_race() -> Result<()> {
    let stage = Stage::bare()?;
    stage.send_to(&Case::new("door: guesses that race", 4, "after 3 wrong tokens"), |sender| {
        // Each has its hello before any of them guesses.
        let mut racers: Vec<_> = (0..12).map(|_| knock(sender)).collect::<Result<_>>()?;
        let mut answers: Vec<Vec<u8>> = thread::scope(|scope| {
            let lanes: Vec<_> = racers
                .iter_mut()
                .map(|(stream, theirs)| {
                    scope.spawn(|| {
                        let own = Own::new(Side::Receiver, WRONG);
                        let keys = own.keys(theirs, WRONG).unwrap();
                        let _ = stream.write_all(&own.hello);
                        let _ = stream.write_all(&keys.confirmation());
                        rest(stream)
                    })
                })
                .collect();
            lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
        });
        answers.sort_unstable();
        let told = |left| answers.iter().filter(|answer| **answer == wrong(left)).count();
        let silent = answers.iter().filter(|answer| answer.is_empty()).count();
        ensure!(told(2) == 1 && told(1) == 1, "{answers:x?}");
        ensure!(told(0) + silent == 10, "{answers:x?}");
        Ok(None)
    })?;
    Ok(())
}

/// Two hundred who say nothing and two hundred who say nonsense, all there at once: the real
/// receiver is served. How long that took is printed, and not asserted.
#[test]
fn a_crowd_keeps_nobody_out() -> Result<()> {
    let stage = Stage::bare()?;
    let root = stage.join("tree");
    write(&root.join("file"), noise(100_000, 1))?;
    let sender = Sender::pod(&[&root], &[])?;
    let mut crowd = Vec::new();
    for number in 0..400u64 {
        let mut stream = connect(&sender)?;
        if number % 2 == 1 {
            // It may have been shown the door already.
            let _ = match number % 8 {
                1 => stream.write_all(&noise(5000, number)),
                3 => stream.write_all(b"GET / HTTP/1.1\r\n\r\n"),
                5 => stream.write_all(&Own::new(Side::Receiver, WRONG).hello),
                _ => stream.write_all(b"TRANSFER\0\x01"),
            };
        }
        crowd.push(stream);
    }
    let (into, began) = (Scratch::new()?, Instant::now());
    run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
    eprintln!("a receiver behind a crowd of 400 was served in {:?}", began.elapsed());
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&root])?;
    drop(crowd);
    Ok(())
}

/// Connects from one address as fast as it can, 10,000 times a second at most, until it is told to
/// stop, and says nothing. So many connections are open at a time. Returns how many there were.
fn flood(to: SocketAddr, from: [u8; 4], stop: &AtomicBool) -> Result<usize> {
    let (began, mut count, mut open) = (Instant::now(), 0, VecDeque::new());
    // Should the test have failed otherwise.
    while !stop.load(Ordering::Relaxed) && began.elapsed() < Duration::from_secs(30) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // So that no port is kept from being used again.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        // A full backlog answers nobody, and is not waited for.
        socket.set_nonblocking(true)?;
        let _ = socket.connect(&to.into());
        open.push_back(socket);
        count += 1;
        if open.len() > 500 {
            open.pop_front();
        }
        let due = began + Duration::from_micros(100) * count;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(usize::try_from(count)?)
}

/// Passes bytes on half of `delay` later than they came; nobody waits for anybody.
fn delayed(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (queue, due) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        for (at, bytes) in due {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        if queue.send((Instant::now() + delay / 2, bytes[..read].to_vec())).is_err() {
            break;
        }
    }
}

/// Where a receiver seems to be that is `delay` away, there and back, and has an address of its own.
fn far_away(sender: u16, from: [u8; 4], delay: Duration) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || -> Result<()> {
        loop {
            let (near, _) = listener.accept()?;
            let far = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            far.bind(&SocketAddr::from((from, 0)).into())?;
            far.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, sender)).into())?;
            let far = TcpStream::from(far);
            let (near_too, far_too) = (near.try_clone()?, far.try_clone()?);
            thread::spawn(move || delayed(near, far, delay));
            thread::spawn(move || delayed(far_too, near_too, delay));
        }
    });
    Ok(port)
}

/// Ten thousand connections a second from one address crowd out each other, and not the receiver
/// that is 100 ms away at another. Rate and time are printed; that the receiver got in with its few
/// tries is what is asserted.
#[test]
#[cfg(target_os = "linux")]
fn a_flood_from_one_address_keeps_nobody_else_out() -> Result<()> {
    let stage = Stage::bare()?;
    let root = stage.join("tree");
    write(&root.join("file"), noise(10_000, 1))?;
    let sender = Sender::pod(&[&root], &["-q"])?;
    let port = sender.port()?;
    let (target, stop) = (SocketAddr::from((Ipv4Addr::LOCALHOST, port)), AtomicBool::new(false));
    thread::scope(|scope| {
        let (began, flooding) =
            (Instant::now(), scope.spawn(|| flood(target, [127, 0, 0, 2], &stop)));
        thread::sleep(Duration::from_millis(500));
        let (into, asked) = (Scratch::new()?, Instant::now());
        let far = far_away(port, [127, 0, 0, 3], Duration::from_millis(100))?;
        let ticket = sender.ticket.replace(&format!(":{port}:"), &format!(":{far}:"));
        let received = run(receiving(&ticket, into.path(), &["-v"]));
        let (took, lasted) = (asked.elapsed(), began.elapsed());
        stop.store(true, Ordering::Relaxed);
        let count = flooding.join().unwrap()?;
        let rate = count as f64 / lasted.as_secs_f64();
        let received = received?.expect(0)?;
        let again = received.stderr.matches("trying again").count();
        eprintln!("under {rate:.0} connections a second: served in {took:?}, {again} tries more");
        ensure_arrived(into.path(), &[&root])
    })?;
    sender.end()?.expect(0)?;
    Ok(())
}

/// In the sender's place, without the token: the receiver gives one proof, and nothing else.
#[test]
fn impostors_with_a_bad_hello() -> Result<()> {
    all(&bad_hellos(Side::Sender), |(name, hello, code, says)| {
        let stage = Stage::bare()?;
        stage.receive_from(&Case::new(format!("door: impostor, {name}"), *code, says), |door| {
            let mut stream = door.next()?;
            stream.write_all(hello)?;
            let said = rest(&mut stream);
            ensure!(said.len() == 75, "{} bytes were said", said.len());
            Ok(None)
        })?;
        Ok(())
    })
}

/// The receiver's own hello, sent back to it.
#[test]
fn a_mirror() -> Result<()> {
    let stage = Stage::bare()?;
    stage.receive_from(&Case::new("door: a mirror", 4, "an invalid handshake"), |door| {
        let mut stream = door.next()?;
        let theirs: Hello = read(&mut stream)?;
        stream.write_all(&theirs)?;
        ensure!(rest(&mut stream).is_empty(), "a mirror got a proof");
        Ok(None)
    })?;
    Ok(())
}

/// Makes an answer from all that an impostor has; it has seen the confirmation.
type Answer = fn(&Keys, &[u8; 48]) -> Vec<u8>;

#[test]
fn impostors_with_a_bad_answer() -> Result<()> {
    let impostor = "the sender could not prove that it knows the token";
    let rows: &[(&str, &str, Answer, i32, &str)] = &[
        ("of another token", WRONG, |keys, _| keys.answer(0).into(), 4, impostor),
        ("busy, of another token", WRONG, |keys, _| keys.answer(2).into(), 4, impostor),
        ("zeros", WRONG, |_, _| vec![0; 34], 4, impostor),
        ("busy, without a proof", WRONG, |_, _| [&[2][..], &[0; 33]].concat(), 4, impostor),
        ("the proof sent back", WRONG, |_, it| [&[0, 0], &it[16..]].concat(), 4, impostor),
        ("no verdict", WRONG, |_, _| vec![255; 34], 4, impostor),
        ("wrong token, for ever", WRONG, |_, _| vec![1, 255], 5, "closed the connection"),
        (
            "wrong token, 255 forgiven",
            WRONG,
            |_, _| [&[1, 255][..], &[7; 32]].concat(),
            4,
            "error: this machine: wrong token\n",
        ),
        ("wrong token, it is over", WRONG, |_, _| wrong(0), 4, "that token is void there"),
        (
            "welcome, and a bit flipped",
            TOKEN,
            |keys, _| {
                let mut answer = keys.answer(0).to_vec();
                answer[33] ^= 1;
                answer
            },
            4,
            impostor,
        ),
        (
            "welcome in place of busy",
            TOKEN,
            |keys, _| [&[0], &keys.answer(2)[1..]].concat(),
            4,
            impostor,
        ),
        (
            "welcome, with guesses",
            TOKEN,
            |keys, _| [&[0, 1], &keys.answer(0)[2..]].concat(),
            4,
            impostor,
        ),
        ("a verdict of no kind", TOKEN, |keys, _| keys.answer(3).into(), 4, "invalid handshake"),
        (
            "the receiver's own kind of proof",
            TOKEN,
            |keys, _| {
                let key = keys.derived("receiver confirms");
                [&[0, 0][..], &crate::shake::hmac(&key, &[&keys.transcript, &[0]])].concat()
            },
            4,
            impostor,
        ),
    ];
    all(rows, |(name, token, answer, code, says)| {
        let stage = Stage::bare()?;
        stage.receive_from(&Case::new(format!("door: answer, {name}"), *code, says), |door| {
            let mut stream = door.next()?;
            let own = Own::new(Side::Sender, token);
            stream.write_all(&own.hello)?;
            let theirs: Hello = read(&mut stream)?;
            let confirmation: [u8; 48] = read(&mut stream)?;
            let keys = own.keys(&theirs, token)?;
            stream.write_all(&answer(&keys, &confirmation))?;
            stream.shutdown(std::net::Shutdown::Write)?;
            ensure!(rest(&mut stream).is_empty(), "more was said");
            Ok(None)
        })?;
        Ok(())
    })
}

/// Elements of small order from an impostor: a proof comes, and tests nothing (see `search`).
#[test]
fn impostors_with_elements_of_small_order() -> Result<()> {
    let points: [[u8; 32]; 2] = [compress(&Curve::basepoint_mult(&Scalar::from(0u8))), [0; 32]];
    all(&points, |point| {
        let stage = Stage::bare()?;
        let case = Case::new(format!("door: small order, {}", point[0]), 4, "could not prove");
        stage.receive_from(&case, |door| {
            let mut stream = door.next()?;
            let own = Own::with(Side::Sender, |_| *point);
            stream.write_all(&own.hello)?;
            let theirs: Hello = read(&mut stream)?;
            let confirmation: [u8; 48] = read(&mut stream)?;
            // Not even who has the token can tell: K has the receiver's scalar in it.
            let (x, w) = (Scalar::from(1u8), password(TOKEN));
            for k in [*point, [0; 32], element(Side::Sender, &x, &w)] {
                let keys = own.keys_with(&theirs, TOKEN, &k);
                ensure!(!keys.confirmed_by(&confirmation), "a proof was tested without SPAKE2");
            }
            stream.write_all(&[0; 34])?;
            Ok(None)
        })?;
        Ok(())
    })
}

/// Cuts a transfer, answers in the sender's place, and takes proofs without giving one: three in
/// all, and then no more, however often it is dialled.
#[test]
fn proofs_that_nobody_answers() -> Result<()> {
    let stage = Stage::new()?;
    let case = Case::new("door: proofs", 4, "this machine left 3 proofs unanswered");
    stage.receive_from(&case.left(&["x.part", LOCK]), |door| {
        let mut line = Line::start(door.next()?, Side::Sender, TOKEN)?;
        line.offer_and_plan(&[file("x")])?;
        line.say(&data(&[start(0, 0), bytes(&CONTENT[..9])]))?;
        line.cut();
        for visit in 0..4 {
            let mut stream = door.next()?;
            stream.write_all(&Own::new(Side::Sender, WRONG).hello)?;
            let said = rest_after(&mut stream, if visit < 3 { 75 + 48 } else { 75 })?;
            ensure!(said == if visit < 3 { 123 } else { 75 }, "{said} bytes on visit {visit}");
        }
        Ok(Some(line))
    })?;
    Ok(())
}

/// Reads so many bytes, hangs up one way, and reads what still comes: how many in all.
fn rest_after(stream: &mut TcpStream, expected: usize) -> Result<usize> {
    let mut bytes = vec![0; expected];
    stream.read_exact(&mut bytes)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    match rest(stream).len() {
        0 => Ok(expected),
        more => bail!("{more} bytes more than {expected}"),
    }
}
