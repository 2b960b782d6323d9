//! Consent belongs to what was shown: what conflicts only later is another question.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::proxy::Proxy;
use crate::stage::ensure_code;
use crate::util::process::{Sender, transfer};
use crate::util::terminal::Terminal;
use crate::util::tree::{Scratch, noise, write};

const USERS: &[u8] = b"the user's own";

fn receive(ticket: &str, into: &Path) -> Command {
    let mut command = transfer();
    command.args(["receive", "-o"]).arg(into).arg(ticket);
    command
}

/// "Overwrite" was chosen for one file; another conflicts after the connection was lost.
#[test]
fn what_was_not_shown_was_not_agreed_to() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    write(&root.join("big"), noise(3_000_000, 1))?;
    write(&root.join("readme.txt"), "the sender's readme")?;
    write(&root.join("thesis.tex"), "the sender's thesis")?;
    write(&into.join("tree/readme.txt"), "an old readme")?;
    let sender = Sender::pod(&[&root], &[])?;
    let proxy = Proxy::start(&sender, 1_500_000)?;
    let mut terminal = Terminal::new()?;
    let process = terminal.start(receive(&proxy.ticket, into.path()))?;
    terminal.wait_for("which? [R/o/n/s/q] ")?;
    terminal.answer(b"o")?;
    proxy.wait_stalled()?;
    write(&into.join("tree/thesis.tex"), USERS)?;
    proxy.cut();
    proxy.resume();
    // Whether it asks anew or keeps both is its own affair.
    while terminal.wait_for_one(&["which? [R/o/n/s/q] ", "received "])? == 0 {
        terminal.answer(b"\r")?;
    }
    let received = process.end()?;
    ensure_code("receiver", &received, 0)?;
    ensure_code("sender", &sender.end()?, 0)?;
    let screen = terminal.read()?;
    let thesis = fs::read(into.join("tree/thesis.tex"))?;
    ensure!(thesis == USERS, "the user's thesis was replaced: {screen}");
    ensure!(fs::read(into.join("tree/thesis (1).tex"))? == b"the sender's thesis", "not both");
    ensure!(fs::read(into.join("tree/readme.txt"))? == b"the sender's readme", "not as chosen");
    Ok(())
}
