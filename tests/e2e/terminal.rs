//! What reaches a terminal, what must not reach anything else, and what happens when nobody is
//! there to read.

use std::fs;
use std::io::pipe;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::events::Events;
use crate::proxy::Proxy;
use crate::util::process::{Pipe, Process, Sender, clean, receiving, run, send_into, transfer};
use crate::util::terminal::{Terminal, plain};
use crate::util::tree::{Scratch, ensure_arrived, noise, write};

/// Whether a text changes colours or weight: `ESC [ … m`.
fn coloured(text: &str) -> bool {
    text.split("\u{1b}[").skip(1).any(|rest| {
        rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m')
    })
}

fn ticket_of(line: &str) -> Result<String> {
    let line: Value = serde_json::from_str(line)?;
    Ok(line["ticket"].as_str().context("no ticket")?.to_owned())
}

/// With `--json` a program is in charge: on a terminal too nothing is asked, and there is no bar.
#[test]
fn json_asks_nothing_on_a_terminal() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    write(&root.join("node_modules/left-pad/index.js"), "x")?;
    write(&root.join("file"), "new")?;
    write(&into.join("tree/file"), "older")?;
    let (here, there) = (Terminal::new()?, Terminal::new()?);
    let mut command = transfer();
    command.args(["send", "--pod", "--port", "0", "--json"]).arg(&root);
    let mut sender = here.start(command)?;
    let ticket = ticket_of(&sender.wait_for(Pipe::Out, "\"event\":\"ticket\"")?)?;
    let mut command = transfer();
    command.args(["receive", "--json", "-o"]).arg(into.path()).arg(&ticket);
    let received = Events::of(&there.start(command)?.end()?.expect(0)?)?;
    Events::of(&sender.end()?.expect(0)?)?;
    ensure!(received.end()["renamed"][0]["to"] == "tree/file (1)", "{received:#?}");
    for terminal in [here, there] {
        let screen = plain(&terminal.read()?);
        ensure!(!screen.contains(['?', '\u{1b}', '{']), "{screen}");
        ensure!(screen.contains("nothing is asked"), "{screen}");
    }
    fs::read(into.join("tree/node_modules/left-pad/index.js"))?;
    Ok(())
}

/// `p` pauses, which programs are told; `q` stops.
#[test]
fn a_pause_is_told() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let file = from.join("file");
    write(&file, noise(5_000_000, 1))?;
    let sender = Sender::pod(&[&file], &[])?;
    let proxy = Proxy::start(&sender, 3_000_000)?;
    let mut terminal = Terminal::new()?;
    let mut command = transfer();
    command.args(["receive", "--json", "-o"]).arg(into.path()).arg(&proxy.ticket);
    let mut receiver = terminal.start(command)?;
    proxy.wait_stalled()?;
    receiver.wait_for(Pipe::Out, "\"event\":\"plan\"")?;
    for state in ["paused", "transferring", "paused", "transferring"] {
        terminal.press(b'p')?;
        receiver.wait_for(Pipe::Out, &format!("\"event\":\"state\",\"state\":\"{state}\""))?;
    }
    terminal.press(b'p')?;
    receiver.wait_for(Pipe::Out, "\"state\":\"paused\"")?;
    terminal.press(b'q')?;
    let received = Events::of(&receiver.end()?.expect(130)?)?;
    assert_eq!(received.states().last(), Some(&"error"));
    let screen = terminal.read()?;
    for line in ["paused; p goes on\r\n", "going on\r\n", "stopped\r\n  the same command goes on"] {
        ensure!(screen.contains(line), "{screen:?}");
    }
    ensure!(!screen.contains("error:"), "{screen:?}");
    drop(proxy);
    run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&file])
}

/// The other side's pause is shown by the bar and told to programs, and so is its end. The keys are
/// told of once, and work with `-y` too.
#[test]
fn the_other_sides_pause_is_told() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let file = from.join("file");
    write(&file, noise(40_000_000, 1))?;
    let mut command = transfer();
    command.args(["send", "--pod", "--port", "0", "-y", "--limit", "8M"]).arg(&file);
    let mut here = Terminal::new()?;
    here.resize(100)?;
    let mut sender = here.start(command)?;
    let line = sender.wait_for(Pipe::Out, "transfer receive ")?;
    let ticket = line.trim_end().trim_start_matches("transfer receive ").to_owned();
    let mut there = Terminal::new()?;
    let mut command = transfer();
    command.args(["receive", "-y", "--json", "-o"]).arg(into.path()).arg(&ticket);
    let mut receiver = there.start(command)?;
    there.wait_for("p pause, q stop\r\n")?;
    there.press(b'p')?;
    receiver.wait_for(Pipe::Out, "\"state\":\"paused\"")?;
    here.wait_for("paused by a program on this machine")?;
    there.press(b'p')?;
    receiver.wait_for(Pipe::Out, "\"event\":\"state\",\"state\":\"transferring\"")?;
    here.wait_for(" left")?;
    here.press(b'p')?;
    here.wait_for("paused (p goes on)")?;
    receiver.wait_for(
        Pipe::Out,
        "\"event\":\"peer_paused\",\"state\":\"transferring\",\"paused\":true",
    )?;
    here.press(b'p')?;
    receiver.wait_for(Pipe::Out, "\"paused\":false")?;
    there.press(b'q')?;
    Events::of(&receiver.end()?.expect(130)?)?;
    here.wait_for("; waiting for it to come back")?;
    sender.interrupt()?;
    sender.end()?.expect(130)?;
    let screen = there.read()?;
    for line in ["paused by this machine\r\n", "this machine goes on\r\n"] {
        ensure!(screen.contains(line), "{screen:?}");
    }
    let screen = here.read()?;
    ensure!(!screen.contains("p pause"), "told again: {screen:?}");
    let hint = "interrupted\r\n  this ticket is void; `transfer send` makes another";
    ensure!(screen.contains(hint) && !screen.contains("error"), "{screen:?}");
    Ok(())
}

/// `q` ends a sender also while the other side reads nothing.
#[test]
fn a_key_stops_beside_a_pause() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let file = from.join("file");
    write(&file, noise(40_000_000, 1))?;
    let mut command = transfer();
    command.args(["send", "--pod", "--port", "0", "-y"]).arg(&file);
    let mut here = Terminal::new()?;
    here.resize(100)?;
    let mut sender = here.start(command)?;
    let line = sender.wait_for(Pipe::Out, "transfer receive ")?;
    let ticket = line.trim_end().trim_start_matches("transfer receive ").to_owned();
    let sender = Sender { process: sender, ticket };
    let proxy = Proxy::start(&sender, 3_000_000)?;
    let receiver = Process::start(receiving(&proxy.ticket, into.path(), &[]))?;
    proxy.wait_stalled()?;
    here.wait_for(" Sending ")?;
    here.answer(b"pq")?;
    sender.end()?.expect(130)?;
    ensure!(here.read()?.contains("stopped\r\n  "), "nothing is said");
    receiver.kill()
}

/// With several receivers there is one bar, which counts them.
#[test]
fn several_receivers_share_a_bar() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let file = from.join("file");
    write(&file, noise(3_000_000, 1))?;
    let mut command = transfer();
    command.args(["send", "--pod", "--port", "0", "-y", "--receivers", "3"]).arg(&file);
    let mut terminal = Terminal::new()?;
    terminal.resize(100)?;
    let mut sender = terminal.start(command)?;
    let line = sender.wait_for(Pipe::Out, "transfer receive ")?;
    let ticket = line.trim_end().trim_start_matches("transfer receive ").to_owned();
    for number in 0..3 {
        run(receiving(&ticket, &into.join(format!("{number}")), &[]))?.expect(0)?;
        if number < 2 {
            let bar = terminal.wait_for(&format!("{} of 3 served", number + 1))?;
            ensure!(bar.contains("waiting"), "{bar:?}");
        }
    }
    sender.end()?.expect(0)?;
    ensure!(terminal.read()?.contains("all receivers have been served\r\n"), "no end");
    Ok(())
}

/// What went wrong stands out, and the command to type; a long hint is broken between its words.
#[test]
fn errors_stand_out_and_fit_the_window() -> Result<()> {
    let terminal = Terminal::new()?;
    terminal.resize(40)?;
    let mut command = transfer();
    command.args(["send", "--pod", "no/where"]);
    terminal.start(command)?.end()?.expect(1)?;
    let screen = terminal.read()?;
    ensure!(screen.contains("\u{1b}[31m\u{1b}[1merror:\u{1b}[0m cannot send"), "{screen:?}");
    let screen = plain(&screen);
    let hint = "  check the path; a name with spaces\r\n    needs quotes\r\n";
    ensure!(screen.ends_with(hint), "{screen:?}");
    Ok(())
}

/// A job in the background of a terminal listens to no keys: the system would stop it for that.
#[test]
#[cfg(target_os = "linux")]
fn a_job_in_the_background_is_not_stopped() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let file = from.join("file");
    write(&file, noise(1_000_000, 1))?;
    let sender = Sender::pod(&[&file], &[])?;
    let mut receive = transfer();
    receive.args(["receive", "--json", "-o"]).arg(into.path()).arg(&sender.ticket);
    // The terminal is the shell's own, and the shell has job control.
    let mut shell = clean(Command::new("setsid"));
    shell.args(["--ctty", "--wait", "sh", "-mc", "\"$@\" & wait $!", "sh"]);
    shell.arg(receive.get_program()).args(receive.get_args());
    let terminal = Terminal::new()?;
    Events::of(&terminal.start(shell)?.end()?.expect(0)?)?;
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&file])
}

/// On a terminal there is a bar; `NO_COLOR` forbids colours, also those of the command line's own
/// messages.
#[test]
fn no_color_means_no_colour() -> Result<()> {
    for no_color in [false, true] {
        let (from, into) = (Scratch::new()?, Scratch::new()?);
        let file = from.join("file");
        write(&file, noise(3_000_000, 1))?;
        let start = |terminal: &Terminal, mut command: Command| {
            command.stdin(terminal.line()?).stdout(Stdio::piped()).stderr(terminal.line()?);
            command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
            if no_color {
                command.env("NO_COLOR", "1");
            }
            Process::start_as_it_is(command)
        };
        let terminal = Terminal::new()?;
        let sender = Sender::pod(&[&file], &[])?;
        start(&terminal, receiving(&sender.ticket, into.path(), &[]))?.end()?.expect(0)?;
        sender.end()?.expect(0)?;
        let screen = terminal.read()?;
        ensure!(screen.contains("received 1 file"), "{screen}");
        ensure!(!coloured(&screen), "{screen:?}");

        let terminal = Terminal::new()?;
        let mut command = transfer();
        command.args(["send", "--nonsense"]);
        start(&terminal, command)?.end()?.expect(2)?;
        let screen = terminal.read()?;
        ensure!(screen.contains("--nonsense"), "{screen}");
        assert_ne!(coloured(&screen), no_color, "{screen:?}");
    }
    Ok(())
}

/// Where stderr is a file or a pipe no escape sequence reaches it, though a terminal is near.
#[test]
fn no_escape_sequence_leaves_the_terminal() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    write(&root.join("node_modules/x"), noise(2_000_000, 1))?;
    write(&root.join("clear\u{1b}[2Jscreen"), "x")?;
    let terminal = Terminal::new()?;
    let start = |args: &[&str], last: &Path| {
        let mut command = transfer();
        command.args(args).arg(last).env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command.stdin(terminal.line()?).stdout(Stdio::piped()).stderr(Stdio::piped());
        Process::start_as_it_is(command)
    };
    let mut sender = start(&["send", "--pod", "--port", "0", "-vv"], &root)?;
    let line = sender.wait_for(Pipe::Out, "transfer receive ")?;
    let ticket = line.trim_end().trim_start_matches("transfer receive ").to_owned();
    let folder = into.path().to_str().context("a path")?;
    let received = start(&["receive", "-o", folder, "-v"], Path::new(&ticket))?.end()?.expect(0)?;
    let sent = sender.end()?.expect(0)?;
    let usage = start(&["send", "--nonsense"], Path::new("x"))?.end()?.expect(2)?;
    for ended in [sent, received, usage] {
        ensure!(!ended.stderr.contains('\u{1b}'), "{ended:#?}");
    }
    // The name arrives as it is, and what it would do to a terminal does not happen.
    ensure!(into.join("tree/clear\u{1b}[2Jscreen").exists());

    // Ended by the second signal: the cursor is not brought back where there is none.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let ticket = format!("127.0.0.1:{}:ocean-tiger", silent.local_addr()?.port());
    let mut receiver = start(&["receive", "-o", folder], Path::new(&ticket))?;
    receiver.wait_for(Pipe::Err, "connecting to")?;
    receiver.interrupt()?;
    receiver.interrupt()?;
    let ended = receiver.end()?.expect(130)?;
    ensure!(!ended.stderr.contains('\u{1b}'), "{ended:#?}");
    Ok(())
}

/// `2>&1 | head -1`: whoever read stderr is gone, and the transfer goes on.
#[test]
fn a_closed_stderr_stops_nothing() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    for number in 0..20 {
        write(&root.join(format!("{number}")), "x")?;
    }
    let gone = |mut command: Command| -> Result<Process> {
        let (_, writer) = pipe()?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(writer);
        Process::start_as_it_is(command)
    };
    let mut command = transfer();
    command.args(["send", "--pod", "--port", "0", "-vv"]).arg(&root);
    let mut sender = gone(command)?;
    let line = sender.wait_for(Pipe::Out, "transfer receive ")?;
    let ticket = line.trim_end().trim_start_matches("transfer receive ").to_owned();
    gone(receiving(&ticket, into.path(), &["-vv"]))?.end()?.expect(0)?;
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&root])
}

/// `-vv` names every file, however many share a record.
#[test]
fn twice_verbose_names_every_file() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    for number in 0..20 {
        write(&root.join(format!("{number:02}")), noise(number * 10_000, 1))?;
    }
    let sender = Sender::pod(&[&root], &["-vv"])?;
    let received = run(receiving(&sender.ticket, into.path(), &["-vv"]))?.expect(0)?;
    for ended in [sender.end()?.expect(0)?, received] {
        let lines = ended.stderr.lines();
        let mut named: Vec<_> = lines.filter(|line| line.starts_with("tree/")).collect();
        // A receiver writes several at a time.
        named.sort_unstable();
        let expected: Vec<_> = (0..20).map(|number| format!("tree/{number:02}")).collect();
        assert_eq!(named, expected);
    }
    // Once verbose names none, but tells where the time went.
    let (sent, received) = send_into(Scratch::new()?.path(), &[&root], &["-v"], 0)?;
    ensure!(!sent.stderr.contains("tree/0"), "{sent:#?}");
    ensure!(sent.stderr.contains("\ntime: list "), "{sent:#?}");
    ensure!(!received.stderr.contains("time: "), "{received:#?}");
    Ok(())
}
