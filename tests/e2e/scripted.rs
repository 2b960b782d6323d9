//! A sender that follows a script, as the real one never sends what it has to send again.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use transfer::crypto::handshake::{self, Binding, Verdict};
use transfer::crypto::keys::{Role, SessionKeys};
use transfer::files::manifest::{Entry, Kind};
use transfer::files::path::RelPath;
use transfer::protocol::data;
use transfer::protocol::message::{self, Control, DATA, Message, Offer};
use transfer::protocol::pages;
use transfer::protocol::session::{Limits, Session, Stop};
use transfer::token::{self, Token};

const CONTENT: &[u8] = b"the content as it should be";

/// Offers one file and sends it wrongly the first `bad` times. Returns its ticket; the thread ends
/// with the number of attempts.
pub fn corrupting(bad: u8) -> Result<(String, thread::JoinHandle<Result<u8>>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let ticket = format!("127.0.0.1:{}:ocean-tiger", listener.local_addr()?.port());
    let running = thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let keys = shake(&mut stream)?;
        let halves = (stream.try_clone()?, stream);
        let mut session = Session::start(halves, keys, Role::Receiver, Limits::default())?;
        match converse(&mut session, bad) {
            Ok(attempts) => match session.send_last(&Control::Bye) {
                Ok(_) => Ok(attempts),
                Err(stop) => bail!("{stop:?}"),
            },
            Err(stop) => bail!("{stop:?}"),
        }
    });
    Ok((ticket, running))
}

fn shake(stream: &mut TcpStream) -> Result<SessionKeys> {
    let token = Token::parse("ocean-tiger")?;
    let start =
        handshake::Start::new(Role::Sender, &token, Binding::None, &mut token::system_rng()?);
    stream.write_all(start.hello())?;
    let mut hello = [0; handshake::HELLO_LEN];
    stream.read_exact(&mut hello)?;
    let waiting = start.await_proof(&hello)?;
    let mut proof = [0; handshake::CONFIRM_LEN];
    stream.read_exact(&mut proof)?;
    let (answer, keys) =
        waiting.check(&proof).ok().context("a wrong token")?.answer(Verdict::Welcome);
    stream.write_all(&answer)?;
    Ok(keys)
}

fn converse(session: &mut Session, bad: u8) -> Result<u8, Stop> {
    let path = RelPath::parse("torn").expect("a path");
    let size = CONTENT.len() as u64;
    let entry = Entry { path, kind: Kind::File(size), mode: 0o644, mtime: 1 };
    session.await_ready()?;
    session.send_control(&Control::Offer(Offer { files: 1, bytes: size, ..Offer::default() }))?;
    session.send_pages(message::ENTRIES, [&entry], pages::put_entry)?;
    session.receive(|_, _| Ok(()))?;
    for attempt in 1.. {
        let mut content = CONTENT.to_vec();
        if let Some(first) = content.first_mut() {
            *first ^= u8::from(attempt <= bad);
        }
        let mut buffer = session.buffer();
        buffer.clear();
        buffer.extend(&[DATA]);
        data::put_start(&mut buffer, 0, 0);
        let len = u32::try_from(content.len()).expect("a short text");
        let put = data::put_bytes(&mut buffer, len, |room| {
            room.copy_from_slice(&content);
            Ok::<(), ()>(())
        });
        put.expect("nothing to fail");
        data::put_end(&mut buffer, size, &Sha256::digest(CONTENT).into());
        session.send(&mut buffer)?;
        session.send_control(&Control::Done)?;
        let again = session.receive(|message, _| Ok(matches!(message, Message::Retry(_))))?;
        if !again {
            // What follows the results is "complete".
            session.receive(|_, _| Ok(()))?;
            return Ok(attempt);
        }
    }
    unreachable!()
}
