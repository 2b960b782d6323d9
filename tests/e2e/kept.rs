//! The sender's questions: below the ticket, for as long as nobody waits, and answers that are kept.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::util::process::{Pipe, Process, receiving, run, transfer};
use crate::util::terminal::Terminal;
use crate::util::tree::{Scratch, write};

const LEAVE_OUT: &str = "leave out regenerable developer folders? [Y/n, k keeps the answer] ";
const COMPRESS: &str = "use compression? [y/N, k keeps the answer] ";

/// A project with a folder that can be made again, and a home for what is kept.
struct Desk {
    from: Scratch,
    home: Scratch,
}

impl Desk {
    fn new() -> Result<Self> {
        let from = Scratch::new()?;
        write(&from.join("project/main.py"), "x".repeat(100_000))?;
        write(&from.join("project/node_modules/x"), "x")?;
        Ok(Self { from, home: Scratch::new()? })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = transfer();
        command.args(words).current_dir(self.from.path());
        command.env("XDG_CONFIG_HOME", self.home.path());
        command
    }

    fn send(&self, terminal: &Terminal, options: &[&str]) -> Result<(Process, String)> {
        let words = [&["send", "--pod", "--port", "0", "project"], options].concat();
        let mut process = terminal.start(self.command(&words))?;
        // On the screen before anything is asked.
        let line = process.wait_for(Pipe::Out, "transfer receive ")?;
        let ticket = line.trim_end().rsplit(' ').next().unwrap_or_default().to_owned();
        Ok((process, ticket))
    }

    fn file(&self) -> std::path::PathBuf {
        self.home.join("transfer/config.toml")
    }
}

#[test]
fn questions_stand_below_the_ticket() -> Result<()> {
    for (keys, left_out, compressed) in
        [(b"yy", true, true), (b"nn", false, false), (b"\r\r", true, false)]
    {
        let (desk, into) = (Desk::new()?, Scratch::new()?);
        let mut terminal = Terminal::new()?;
        terminal.resize(120)?;
        let (sender, ticket) = desk.send(&terminal, &[])?;
        let shown = terminal.wait_for(LEAVE_OUT)?;
        ensure!(shown.contains("waiting for the receiver"), "{shown:?}");
        terminal.answer(&keys[..1])?;
        terminal.wait_for(COMPRESS)?;
        terminal.answer(&keys[1..])?;
        let said = if compressed { "use compression? yes\r\n" } else { "use compression? no\r\n" };
        terminal.wait_for(said)?;
        let received = run(receiving(&ticket, into.path(), &[]))?.expect(0)?;
        sender.end()?.expect(0)?;
        assert_eq!(into.join("project/node_modules").exists(), !left_out);
        assert_eq!(received.stderr.contains("saved"), compressed, "{received:#?}");
        ensure!(!desk.file().exists(), "kept unasked");
    }
    Ok(())
}

/// It gets everything, uncompressed, which is said once; what was answered before counts.
#[test]
fn a_receiver_that_comes_meanwhile_is_not_kept_waiting() -> Result<()> {
    for (answered, left_out) in [(&b""[..], false), (b"y", true)] {
        let (desk, into) = (Desk::new()?, Scratch::new()?);
        let mut terminal = Terminal::new()?;
        terminal.resize(120)?;
        let (sender, ticket) = desk.send(&terminal, &[])?;
        terminal.wait_for(LEAVE_OUT)?;
        if !answered.is_empty() {
            terminal.answer(answered)?;
            terminal.wait_for(COMPRESS)?;
        }
        let received = run(receiving(&ticket, into.path(), &[]))?.expect(0)?;
        sender.end()?.expect(0)?;
        let screen = terminal.read()?;
        let line =
            "a program on this machine is here: what is not answered within 5 s counts as no\r\n";
        assert_eq!(screen.matches(line).count(), 1, "{screen:?}");
        assert_eq!(screen.matches("nobody answered\r\n").count(), 1, "{screen:?}");
        assert_eq!(into.join("project/node_modules").exists(), !left_out);
        ensure!(!received.stderr.contains("saved"), "{received:#?}");
    }
    Ok(())
}

/// The terminal is as it was before, also when somebody says that nothing is to happen.
#[test]
fn a_question_gives_the_terminal_back() -> Result<()> {
    for (key, code) in [(Some(b"q"), 7), (None, 130)] {
        let desk = Desk::new()?;
        let mut terminal = Terminal::new()?;
        terminal.resize(120)?;
        let (sender, _) = desk.send(&terminal, &[])?;
        terminal.wait_for(LEAVE_OUT)?;
        ensure!(!terminal.is_canonical()?, "no single keys");
        match key {
            Some(key) => terminal.answer(key)?,
            None => sender.interrupt()?,
        }
        sender.end()?.expect(code)?;
        ensure!(terminal.is_canonical()?, "single keys are left");
    }
    Ok(())
}

#[test]
fn an_answer_is_kept_and_a_flag_comes_first() -> Result<()> {
    let desk = Desk::new()?;
    let mut terminal = Terminal::new()?;
    terminal.resize(120)?;
    let (sender, ticket) = desk.send(&terminal, &[])?;
    terminal.wait_for(LEAVE_OUT)?;
    terminal.answer(b"k")?;
    terminal.wait_for("leave out regenerable developer folders, now and later? [Y/n] ")?;
    terminal.answer(b"y")?;
    terminal.wait_for("/transfer/config.toml: exclude-dev = true\r\n")?;
    terminal.wait_for(COMPRESS)?;
    terminal.answer(b"k")?;
    terminal.answer(b"n")?;
    terminal.wait_for("/transfer/config.toml: compress = \"none\"\r\n")?;
    run(receiving(&ticket, Scratch::new()?.path(), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    assert_eq!(fs::read_to_string(desk.file())?, "exclude-dev = true\ncompress = \"none\"\n");

    // Asked no more; a flag says otherwise; and a script does not change with it.
    for (options, gone) in [(&[][..], true), (&["--include-dev"], false), (&["-y"], false)] {
        let into = Scratch::new()?;
        let terminal = Terminal::new()?;
        terminal.resize(120)?;
        let (sender, ticket) = desk.send(&terminal, options)?;
        run(receiving(&ticket, into.path(), &[]))?.expect(0)?;
        sender.end()?.expect(0)?;
        let screen = terminal.read()?;
        ensure!(!screen.contains("[Y/n") && !screen.contains("[y/N"), "{screen:?}");
        assert_eq!(screen.contains("--exclude-dev --compress=none, as "), gone, "{screen:?}");
        assert_eq!(into.join("project/node_modules").exists(), !gone, "{options:?}");
    }

    let doctor = run(desk.command(&["doctor", "--pod", "--port", "1025"]))?;
    let line = "Kept answers\n  ok       exclude-dev = true, compress = \"none\" (";
    ensure!(doctor.stdout.contains(line), "{doctor:#?}");
    Ok(())
}

/// It is told of and does not count; nothing else happens.
#[test]
fn a_file_that_makes_no_sense_stops_nothing() -> Result<()> {
    let cases: [(&[u8], &str); 4] = [
        (b"colour = 1\n", "does not count, line 1: unknown field `colour`, expected one of"),
        (
            b"exclude-dev = true\ncompress = 'zip'\n",
            "does not count, line 2: unknown variant `zip`",
        ),
        (b"\xff\xfe\n", "does not count, "),
        (b"= = =", "does not count, line 1: "),
    ];
    for (text, says) in cases {
        let desk = Desk::new()?;
        write(&desk.file(), text)?;
        let terminal = Terminal::new()?;
        terminal.resize(200)?;
        let (sender, ticket) = desk.send(&terminal, &["--include-dev", "--compress=none"])?;
        run(receiving(&ticket, Scratch::new()?.path(), &[]))?.expect(0)?;
        sender.end()?.expect(0)?;
        let screen = terminal.read()?;
        assert_eq!(screen.matches(says).count(), 1, "{screen:?}");
        let doctor = run(desk.command(&["doctor", "--pod", "--port", "1025"]))?;
        ensure!(doctor.stdout.contains("Kept answers\n  warning  \""), "{doctor:#?}");
        ensure!(doctor.stdout.contains(says), "{doctor:#?}");
    }
    // A folder in its place, which nobody can read.
    let desk = Desk::new()?;
    fs::create_dir_all(desk.file())?;
    let doctor = run(desk.command(&["doctor", "--pod", "--port", "1025"]))?;
    ensure!(doctor.stdout.contains("does not count, "), "{doctor:#?}");
    Ok(())
}
