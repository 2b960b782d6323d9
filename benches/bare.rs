//! The yardstick: the same work with no protocol. Read, SHA-256, seal, TCP, open, SHA-256, write,
//! in 1 MiB records, two threads a side as `transfer` has them, and nothing else: no names, no
//! handshake, no plan, no locks.
//!
//!     bare receive FILE        prints the port it listens on, writes FILE
//!     bare send FILE PORT      sends FILE to 127.0.0.1:PORT
//!
//! `scripts/bench` runs it beside `transfer`; what is between the two is what the protocol costs.

#![expect(clippy::print_stdout, reason = "a tool of the benchmarks")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit, Nonce, Tag};
use sha2::{Digest, Sha256};

const RECORD: usize = 1 << 20;
const TAG: usize = 16;
const QUEUE: usize = 4;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["send", file, port] => send(file, port.parse()?),
        ["receive", file] => receive(file),
        // `cargo bench` and `cargo test --benches` run every bench without arguments.
        [] => Ok(()),
        _ => bail!("usage: bare send FILE PORT | bare receive FILE"),
    }
}

fn cipher() -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(&Key::from([7; 32]))
}

fn nonce(count: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&count.to_be_bytes());
    Nonce::from(nonce)
}

/// Each record is its length in four bytes, the ciphertext and the tag; then the hash of it all.
fn send(path: &str, port: u16) -> Result<()> {
    let mut file = File::open(path)?;
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    let (filled, to_seal) = mpsc::sync_channel::<(Vec<u8>, usize)>(QUEUE);
    let (empty, used) = mpsc::channel::<Vec<u8>>();
    let sealing = thread::spawn(move || -> io::Result<()> {
        let cipher = cipher();
        for (count, (mut buffer, len)) in (0..).zip(to_seal) {
            let (head, rest) = buffer.split_at_mut(4);
            head.copy_from_slice(&u32::try_from(len).unwrap_or_default().to_be_bytes());
            let (text, end) = rest.split_at_mut(len);
            let tag = cipher.encrypt_inout_detached(&nonce(count), head, text.into());
            end[..TAG].copy_from_slice(&tag.map_err(io::Error::other)?);
            stream.write_all(&buffer[..4 + len + TAG])?;
            let _ = empty.send(buffer);
        }
        Ok(())
    });
    let mut hash = Sha256::new();
    loop {
        let mut buffer = used.try_recv().unwrap_or_else(|_| vec![0; 4 + RECORD + TAG]);
        let len = read_full(&mut file, &mut buffer[4..4 + RECORD])?;
        if len == 0 {
            buffer[4..36].copy_from_slice(&hash.finalize());
            filled.send((buffer, 32))?;
            break;
        }
        hash.update(&buffer[4..4 + len]);
        filled.send((buffer, len))?;
    }
    drop(filled);
    sealing.join().ok().context("the sealing thread failed")??;
    Ok(())
}

fn receive(path: &str) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    let (mut stream, _) = listener.accept()?;
    let (opened, to_write) = mpsc::sync_channel::<(Vec<u8>, usize)>(QUEUE);
    let (empty, used) = mpsc::channel::<Vec<u8>>();
    let opening = thread::spawn(move || -> Result<()> {
        let cipher = cipher();
        for count in 0.. {
            let mut head = [0; 4];
            match stream.read_exact(&mut head) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                read => read?,
            }
            let len = u32::from_be_bytes(head) as usize;
            ensure!(len <= RECORD, "a record of {len} bytes");
            let mut buffer = used.try_recv().unwrap_or_else(|_| vec![0; RECORD + TAG]);
            stream.read_exact(&mut buffer[..len + TAG])?;
            let (text, end) = buffer.split_at_mut(len);
            let tag = Tag::try_from(&end[..TAG])?;
            let opened_ = cipher.decrypt_inout_detached(&nonce(count), &head, text.into(), &tag);
            opened_.ok().context("forged")?;
            opened.send((buffer, len))?;
        }
        Ok(())
    });
    let mut file = File::create(path)?;
    let mut hash = Sha256::new();
    let mut last: Option<(Vec<u8>, usize)> = None;
    for (buffer, len) in to_write {
        if let Some((buffer, len)) = last.replace((buffer, len)) {
            hash.update(&buffer[..len]);
            file.write_all(&buffer[..len])?;
            let _ = empty.send(buffer);
        }
    }
    opening.join().ok().context("the opening thread failed")??;
    let (sent, len) = last.context("nothing came")?;
    ensure!(sent[..len] == hash.finalize()[..], "the content differs");
    Ok(())
}

fn read_full(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read(&mut buffer[len..])? {
            0 => break,
            read => len += read,
        }
    }
    Ok(len)
}
