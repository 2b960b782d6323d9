//! Peers that are too slow, or silent, or do not listen.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use socket2::SockRef;

use crate::memory::{a_million, a_million_vanished};
use crate::script::{Line, PLAN, RESULTS, control, data, file, page, patient, read, whole};
use crate::shake::{Hello, Own, Side};
use crate::stage::{Case, LOCK, STAYS, Stage, TOKEN, all, connect, token_of};
use crate::util::tree::{noise, write};

/// Writes a byte each second until the other side has had enough; how many it took.
fn trickle(stream: &mut TcpStream, bytes: &[u8]) -> Result<usize> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    for (sent, byte) in bytes.iter().enumerate() {
        match stream.read(&mut [0]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            // Closed; its own hello has been read.
            _ => return Ok(sent),
        }
        if stream.write_all(&[*byte]).is_err() {
            return Ok(sent);
        }
    }
    Ok(bytes.len())
}

/// How far a stranger goes before he dawdles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dawdle {
    /// Says nothing at all.
    Silent,
    /// The hello, byte by byte.
    Hello,
    /// A hello, then the confirmation or the answer byte by byte.
    Proof,
    /// A hello, and nothing more.
    Nothing,
}

/// Ten seconds each, all at the same time, on both sides: what is cut off is cut off before its
/// 75, 48 or 34 bytes are complete, and costs neither a guess nor the offer.
#[test]
fn a_handshake_has_an_end() -> Result<()> {
    use Dawdle::{Hello, Nothing, Proof, Silent};
    let rows: Vec<(Side, Dawdle)> = [Side::Sender, Side::Receiver]
        .into_iter()
        .flat_map(|side| [Silent, Hello, Proof, Nothing].map(|dawdle| (side, dawdle)))
        .collect();
    thread::scope(|scope| {
        let lanes: Vec<_> = rows
            .iter()
            .map(|(side, dawdle)| {
                scope.spawn(|| match side {
                    Side::Receiver => slow_receiver(*dawdle),
                    Side::Sender => slow_sender(*dawdle),
                })
            })
            .collect();
        lanes.into_iter().try_for_each(|lane| lane.join().unwrap())
    })
}

fn slow_receiver(dawdle: Dawdle) -> Result<()> {
    let case = Case::new(format!("pace: a receiver, {dawdle:?}"), STAYS, "turned away 127.0.0.1");
    Stage::bare()?.send_to(&case, |sender| {
        let own = Own::new(Side::Receiver, &token_of(sender)?);
        let mut stream = connect(sender)?;
        patient(&stream)?;
        let theirs: Hello = read(&mut stream)?;
        dally(&mut stream, dawdle, &own, &own.keys(&theirs, "ocean-tiger")?.confirmation())?;
        Ok(None)
    })?;
    Ok(())
}

fn slow_sender(dawdle: Dawdle) -> Result<()> {
    let name = format!("pace: a sender, {dawdle:?}");
    let case =
        Case::new(name, 5, "this machine took the connection and did not answer within 10 s");
    Stage::bare()?.receive_from(&case, |door| {
        let mut stream = door.next()?;
        let own = Own::new(Side::Sender, TOKEN);
        let theirs: Hello = read(&mut stream)?;
        let keys = own.keys(&theirs, TOKEN)?;
        dally(&mut stream, dawdle, &own, &keys.answer(0))?;
        Ok(None)
    })?;
    Ok(())
}

fn dally(stream: &mut TcpStream, dawdle: Dawdle, own: &Own, proof: &[u8]) -> Result<()> {
    let slow: &[u8] = match dawdle {
        Dawdle::Silent | Dawdle::Nothing => &[],
        Dawdle::Hello => &own.hello,
        Dawdle::Proof => proof,
    };
    if matches!(dawdle, Dawdle::Proof | Dawdle::Nothing) {
        stream.write_all(&own.hello)?;
        if own.side == Side::Sender {
            read::<48>(stream)?;
        }
    }
    if slow.is_empty() {
        // It ends the connection, not we.
        ensure!(stream.read(&mut [0]).is_ok_and(|read| read == 0), "it was not cut off");
    } else {
        let sent = trickle(stream, slow)?;
        ensure!(sent < slow.len(), "{sent} bytes were waited for");
    }
    Ok(())
}

/// Does not read what it asked for. Ctrl-C ends the sender all the same.
#[test]
fn a_receiver_that_does_not_read() -> Result<()> {
    let rows = [("nothing at all", 0), ("no content", 1), ("all, and says nothing of it", 2)];
    all(&rows, |(name, turn)| {
        let stage = Stage::bare()?;
        write(&stage.join("tree/large"), noise(64 << 20, 1))?;
        let case = Case::new(format!("pace: a receiver that reads {name}"), 130, "");
        let case = Case { interrupted: true, ..case };
        stage.send_to(&case, |sender| {
            let token = token_of(sender)?;
            let mut line = Line::start(connect(sender)?, Side::Receiver, &token)?;
            if *turn > 0 {
                line.hear_offer()?;
                line.say(&page(PLAN, 1, &[]))?;
            }
            if *turn > 1 {
                line.hear_round()?;
            }
            // Time to fill whatever it would fill.
            thread::sleep(Duration::from_millis(500));
            Ok(Some(line))
        })?;
        Ok(())
    })
}

/// Has a million things to hear, and does not; or has never anything to say.
#[test]
fn a_sender_that_does_not_read_or_speak() -> Result<()> {
    let stage = Stage::new()?;
    let case = Case::new("pace: a sender that does not read the results", 130, "");
    let case = Case { interrupted: true, entries: 1_000_000, options: vec![], ..case };
    stage.receive_from(&case.left(&["d", LOCK]), |door| {
        let mut line = Line::start(door.next()?, Side::Sender, TOKEN)?;
        SockRef::from(&line.stream).set_recv_buffer_size(4096)?;
        let (offer, pages) = a_million();
        line.say(&offer)?;
        pages.iter().try_for_each(|page| line.say(page))?;
        line.hear_pages(PLAN)?;
        a_million_vanished().iter().try_for_each(|record| line.say(record))?;
        line.say(&control(r#"{"type":"done"}"#))?;
        // They are there, and nobody takes them.
        ensure!(line.stream.peek(&mut [0])? == 1, "no results came");
        thread::sleep(Duration::from_millis(300));
        Ok(Some(line))
    })?;

    all(&[false, true], |bye| {
        let stage = Stage::new()?;
        let what = if *bye { "at the end" } else { "after the handshake" };
        let mut case = Case::new(format!("pace: a sender that says nothing {what}"), 130, "");
        case.left = if *bye { vec!["x".into(), LOCK.into()] } else { vec![] };
        stage.receive_from(&Case { interrupted: true, ..case }, |door| {
            let mut line = Line::start(door.next()?, Side::Sender, TOKEN)?;
            if *bye {
                line.offer_and_plan(&[file("x")])?;
                line.say(&data(&[whole(0)]))?;
                line.say(&control(r#"{"type":"done"}"#))?;
                line.hear_pages(RESULTS)?;
            }
            thread::sleep(Duration::from_millis(300));
            Ok(Some(line))
        })?;
        Ok(())
    })
}
