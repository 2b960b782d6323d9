//! The bar in windows of all sizes, and what Ctrl-Z does to it.

use std::io::pipe;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use unicode_width::UnicodeWidthStr;

use crate::proxy::Proxy;
use crate::util::process::{Pipe, Process, Sender, clean, transfer};
use crate::util::terminal::Terminal;
use crate::util::tree::{Scratch, ensure_arrived, noise, write};

/// What a name can do to the width of a line.
const NAMES: [&str; 4] = [
    "plain-and-long-plain-and-long-plain-and-long-plain-and-long-plain-and-long-plain-and-long",
    "海辺の写真・海辺の写真・海辺の写真・海辺の写真・海辺の写真・海辺の写真",
    "🏖\u{fe0f} 🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉",
    "e\u{301}a\u{308}\u{301}e\u{301}a\u{308}e\u{301}a\u{308}e\u{301}a\u{308}e\u{301}a\u{308}e\u{301}a\u{308}",
];

/// A receiver that has got a part of a file and waits for more, at a terminal of so many columns.
struct Halfway {
    sender: Sender,
    proxy: Proxy,
    receiver: Process,
    terminal: Terminal,
}

impl Halfway {
    fn start(file: &Path, into: &Path, columns: u16) -> Result<Self> {
        let sender = Sender::pod(&[file], &[])?;
        let proxy = Proxy::start(&sender, 3_000_000)?;
        let terminal = Terminal::new()?;
        terminal.resize(columns)?;
        let mut command = transfer();
        command.args(["receive", "-y", "-o"]).arg(into).arg(&proxy.ticket);
        let receiver = terminal.start(command)?;
        proxy.wait_stalled()?;
        Ok(Self { sender, proxy, receiver, terminal })
    }

    /// The next three bars that are drawn whole, without the sequences before and behind them.
    fn bars(&mut self) -> Result<Vec<String>> {
        // One may have been on its way already.
        self.bar()?;
        (0..3).map(|_| self.bar()).collect()
    }

    fn bar(&mut self) -> Result<String> {
        self.terminal.wait_for(" Receiving ")?;
        let rest = self.terminal.wait_for("\r")?;
        let bar = format!(" Receiving {}", rest.trim_end_matches('\r'));
        ensure!(!bar.contains(['\u{1b}', '\n']), "{bar:?}");
        Ok(bar)
    }

    fn end(self) -> Result<()> {
        self.proxy.resume();
        self.receiver.end()?.expect(0)?;
        self.sender.end()?.expect(0)?;
        Ok(())
    }
}

#[test]
fn no_line_is_wider_than_its_window() -> Result<()> {
    for name in NAMES {
        let (from, into) = (Scratch::new()?, Scratch::new()?);
        let file = from.join(name);
        // Pictures are asked for by a letter that nobody sees.
        let name = name.replace('\u{fe0f}', "\\u{fe0f}");
        write(&file, noise(5_000_000, 1))?;
        let mut halfway = Halfway::start(&file, into.path(), 30)?;
        for columns in [30, 80, 100, 250, 20] {
            halfway.terminal.resize(columns)?;
            for bar in halfway.bars()? {
                ensure!(bar.width() < usize::from(columns), "{columns}: {bar:?}");
                ensure!(bar.contains('%'), "{columns}: {bar:?}");
                // The end of a name that has no room, and the whole of one that has.
                let end = name.char_indices().rev().nth(5).map_or(0, |(at, _)| at);
                ensure!(columns < 100 || bar.ends_with(&name[end..]), "{columns}: {bar:?}");
                ensure!(columns < 250 || bar.ends_with(&format!("  {name}")), "{bar:?}");
            }
        }
        halfway.terminal.resize(100)?;
        halfway.end()?;
        ensure_arrived(into.path(), &[&file])?;
    }
    Ok(())
}

/// The rows into which a narrower window folds the bar are taken away with it, as the cursor
/// stands in front of them.
#[test]
fn a_narrower_window_leaves_nothing_behind() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let file = from.join("file");
    write(&file, noise(5_000_000, 1))?;
    let mut halfway = Halfway::start(&file, into.path(), 120)?;
    let wide = halfway.bars()?;
    halfway.terminal.resize(40)?;
    halfway.terminal.wait_for("\r\u{1b}[J Receiving ")?;
    for (narrow, wide) in halfway.bars()?.iter().zip(wide) {
        ensure!(wide.width() > 60 && narrow.width() < 40, "{wide:?} {narrow:?}");
    }
    halfway.end()?;
    ensure_arrived(into.path(), &[&file])
}

/// A question that does not fit into one row stands in a line of its own: its answer would leave
/// a part of it behind.
#[test]
fn a_long_question_fits_a_narrow_window() -> Result<()> {
    let from = Scratch::new()?;
    write(&from.join("tree/node_modules/x"), "x")?;
    for (columns, asked) in
        [(30, "developer folders?\r\n[Y/n, k: keep] "), (80, "developer folders? [Y/n, k keeps ")]
    {
        let mut terminal = Terminal::new()?;
        terminal.resize(columns)?;
        let mut command = transfer();
        command.args(["send", "--pod", "--port", "0"]).arg(from.join("tree"));
        let sender = terminal.start(command)?;
        terminal.wait_for(asked)?;
        terminal.answer(b"q")?;
        sender.end()?.expect(7)?;
        let screen = terminal.read()?;
        let said = "you said no\r\n  nothing was sent\r\n";
        ensure!(screen.contains(said) && !screen.contains("error"), "{screen:?}");
    }
    Ok(())
}

/// What goes to a terminal as data is not written into a bar.
#[test]
fn data_on_a_terminal_has_no_bar_in_it() -> Result<()> {
    let from = Scratch::new()?;
    let file = from.join("file");
    let lines: String = (0..10_000).map(|number| format!("line {number}\r\n")).collect();
    // The terminal makes two characters of the end of a line.
    write(&file, lines.replace('\r', ""))?;
    let (text, file): (&[&str], &Path) = (&["--text", "the text"], &file);
    for (paths, options, shown) in
        [(&[file][..], &[][..], &*lines), (&[], text, "receiving a text\r\nthe text\r\n")]
    {
        let sender = Sender::pod(paths, options)?;
        let mut command = clean(Command::new("sh"));
        command.args(["-c", "exec \"$0\" receive -y -o - \"$1\" >&2"]);
        command.arg(transfer().get_program()).arg(&sender.ticket);
        let terminal = Terminal::new()?;
        terminal.start(command)?.end()?.expect(0)?;
        sender.end()?.expect(0)?;
        let screen = terminal.read()?;
        ensure!(screen.contains(shown) && !screen.contains('\u{1b}'), "{screen:.1000?}");
    }
    Ok(())
}

/// Nobody reads what the receiver writes, so it has to be cut short: the bar goes first.
#[test]
fn what_is_cut_short_takes_its_bar_along() -> Result<()> {
    let from = Scratch::new()?;
    let file = from.join("file");
    write(&file, noise(5_000_000, 1))?;
    let sender = Sender::pod(&[&file], &[])?;
    let (_reader, writer) = pipe()?;
    let mut terminal = Terminal::new()?;
    let mut command = transfer();
    command.args(["receive", "-y", "-o", "-", &sender.ticket]).env("TERM", "xterm");
    command.stdin(terminal.line()?).stdout(writer).stderr(terminal.line()?);
    let receiver = Process::start_as_it_is(command)?;
    terminal.wait_for(" Receiving ")?;
    receiver.interrupt()?;
    receiver.end()?.expect(130)?;
    let screen = terminal.read()?;
    let end = screen.rsplit(" Receiving ").next().unwrap_or_default();
    ensure!(end.contains("\r\u{1b}[J"), "{screen:?}");
    Ok(())
}

/// Ctrl-Z gives the terminal back to the shell as it was; `fg` goes on.
#[test]
#[cfg(target_os = "linux")]
fn ctrl_z_stops_and_fg_goes_on() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let file = from.join("file");
    write(&file, noise(5_000_000, 1))?;
    let sender = Sender::pod(&[&file], &[])?;
    let proxy = Proxy::start(&sender, 3_000_000)?;
    // The terminal is the shell's own, and the shell has job control.
    let mut shell = clean(Command::new("setsid"));
    let script = "\"$@\"; echo \"stopped with $?\"; stty -a; fg; echo \"ended with $?\"";
    shell.args(["--ctty", "--wait", "sh", "-mc", script, "sh"]);
    shell.arg(transfer().get_program()).args(["receive", "-o"]).arg(into.path());
    shell.arg(&proxy.ticket);
    let mut terminal = Terminal::new()?;
    let mut shell = terminal.start(shell)?;
    terminal.wait_for("take it? [Y/n]")?;
    terminal.answer(b"y")?;
    proxy.wait_stalled()?;
    terminal.wait_for(" Receiving ")?;
    // The keys are listened to, and Ctrl-Z is one of them.
    terminal.answer(b"\x1a")?;
    shell.wait_for(Pipe::Out, "stopped with 148")?;
    let modes = shell.wait_for(Pipe::Out, "icanon")?;
    ensure!(modes.contains(" icanon ") && modes.contains(" echo "), "{modes}");
    // Back in front, it draws and listens again.
    terminal.wait_for(" Receiving ")?;
    proxy.resume();
    shell.wait_for(Pipe::Out, "ended with 0")?;
    shell.end()?.expect(0)?;
    sender.end()?.expect(0)?;
    let screen = terminal.read()?;
    ensure!(screen.contains("received 1 file into "), "{screen:?}");
    ensure_arrived(into.path(), &[&file])
}
