//! What people type wrongly and what machines lack: the exact words, the exit code, and that
//! nothing is lost.

use std::fs;
use std::net::TcpListener;
#[cfg(unix)]
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::util::process::{Pipe, Process, Sender, receiving, run, transfer};
#[cfg(target_os = "linux")]
use crate::util::root::mounting;
#[cfg(unix)]
use crate::util::root::obeying_modes;
use crate::util::skip;
#[cfg(unix)]
use crate::util::tree::chmod;
use crate::util::tree::{Scratch, ensure_arrived, ensure_same, names, noise, tree, write};

const TICKET: &str = "it looks like 100.64.1.123:ocean-tiger; copy it from the sender's screen";
/// What can be done without a tailnet, in this build.
const WITHOUT: &str = match cfg!(feature = "direct") {
    true => {
        "without Tailscale: `send --lan` or `serve` in a local network, `send --direct` between any two, \
         `--pod` on one machine or in containers"
    }
    false => {
        "without Tailscale: `send --lan` or `serve` in a local network, `--pod` on one machine or in \
         containers"
    }
};

/// Arguments, exit code, message and hint, without any other process.
#[test]
fn mistakes_are_told_in_plain_words() -> Result<()> {
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let nobody = format!("127.0.0.1:{free}:ocean-tiger");
    let to_nobody = ["receive", &nobody];
    let pair_with_nobody = ["pair", &nobody];
    let nobody_there = format!("nothing listens at 127.0.0.1:{free}");
    let no_program =
        format!("give it the full path of the tailscale program, or unset it; {WITHOUT}");
    let cases: &[(&[&str], i32, &str, &str)] = &[
        // What to send.
        (
            &["send", "--pod", "nope.txt"],
            1,
            "cannot send \"nope.txt\": no such file or directory",
            "check the path; a name with spaces needs quotes",
        ),
        (
            &["send", "--pod", "file", "my", "holiday.jpg"],
            1,
            "cannot send \"my\": no such file or directory",
            "check the path; a name with spaces needs quotes",
        ),
        (
            &["send", "--pod", "nope/\u{1b}[2J"],
            1,
            match cfg!(windows) {
                true => "cannot send \"nope/\\u{1b}[2J\": invalid file name",
                false => "cannot send \"nope/\\u{1b}[2J\": no such file or directory",
            },
            "check the path; a name with spaces needs quotes",
        ),
        (
            &["send", "--pod", "a/same", "b/same"],
            2,
            "\"a/same\" and \"b/same\" would both arrive as \"same\"",
            "send the folder that holds them, or send them one after the other",
        ),
        (
            &["send", "--pod", "*.jgp"],
            2,
            "nothing matches \"*.jgp\"",
            "check the pattern, and the folder you are in",
        ),
        (
            &["send", "--pod", "-x", "f*", "file"],
            2,
            "the patterns of --exclude leave nothing to send",
            "leave one of them away",
        ),
        (
            &["send", "--pod", "/"],
            2,
            "\"/\" has no name to send it under",
            "name the folders in it instead",
        ),
        // The ticket.
        (
            &["receive"],
            2,
            "there is no ticket to receive with",
            "type it behind `transfer receive`, as the sender's screen shows it",
        ),
        (&["receive", ""], 2, "the ticket is empty", TICKET),
        (
            &["receive", "ocean-tiger"],
            2,
            "this is only the token: a direct ticket has four words or more",
            "copy all of the ticket; with a machine it is like laptop:ocean-tiger",
        ),
        (&["receive", "100.64.1.123:15820"], 2, "the ticket has no token", TICKET),
        (
            &["receive", "100.64.1.123:ocaen-tiger"],
            2,
            "\"ocaen\" is not a word of the token list",
            "did you mean \"ocean\"?",
        ),
        (
            &["receive", "100.64.1.123:ocean"],
            2,
            "a token has 2 to 8 words, not 1",
            "check the token on the sender's screen",
        ),
        (
            &["receive", "100.64.1.123:99999:ocean-tiger"],
            2,
            "\"99999\" is not a port",
            "a port is a number from 1 to 65535; leave it out if it is 15820",
        ),
        (
            &["receive", "--ticket-file", "nope"],
            2,
            "cannot read \"nope\": no such file or directory",
            "--ticket-file names a file that holds the ticket",
        ),
        (
            &["receive", "--pod", "100.64.1.123:ocean-tiger"],
            2,
            "100.64.1.123 is not this machine",
            "leave --pod away to receive from another machine",
        ),
        // Where to receive to.
        (
            &["receive", "-o", "file/", "127.0.0.1:ocean-tiger"],
            1,
            "\"file\" is not a folder",
            "name a folder with -o; it is made if it does not exist",
        ),
        // Whom to reach.
        (&to_nobody, 5, &nobody_there, "is `transfer send` still running there?"),
        (
            &pair_with_nobody,
            5,
            &nobody_there,
            "is `transfer pair` still running there, and is this its newest ticket?",
        ),
        (
            &["receive", "100.64.1.123:ocean-tiger"],
            5,
            "TRANSFER_TAILSCALE names /nonexistent/tailscale, which is no program",
            &no_program,
        ),
        (
            &["send", "file"],
            5,
            "TRANSFER_TAILSCALE names /nonexistent/tailscale, which is no program",
            &no_program,
        ),
    ];
    let here = Scratch::new()?;
    for file in ["file", "a/same", "b/same"] {
        write(&here.join(file), "precious")?;
    }
    let changed = std::fs::metadata(here.path())?.modified()?.into();
    let before = tree(here.path())?;
    for (args, code, message, hint) in cases {
        if cfg!(windows) && args.contains(&"/") {
            // The root of a drive has a name there, that of the drive.
            continue;
        }
        let mut command = transfer();
        command.args(*args).current_dir(here.path());
        let ended = run(command)?;
        let notes = "connecting to this machine\n";
        let said = ended.stderr.strip_prefix(notes).unwrap_or(&ended.stderr);
        assert_eq!(said, format!("error: {message}\n  {hint}\n"), "{args:?}");
        assert_eq!((ended.code, &*ended.stdout), (Some(*code), ""), "{args:?}");
    }
    if cfg!(windows) {
        // The guard of the one receiver was in it, and is gone.
        filetime::set_file_mtime(here.path(), changed)?;
    }
    ensure_same(&before, &tree(here.path())?)
}

/// What was named is there, and is nothing that can travel.
#[test]
#[cfg(unix)]
fn nothing_to_send_says_what_to_do() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let socket = from.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket)?;
    let said = "  socket: it is neither a file, a folder nor a link\n\
                error: nothing can be sent\n  \
                the list above says why; mend one of them, or name something else\n";
    let mut dry = transfer();
    dry.args(["send", "--dry-run"]).arg(&socket);
    run(dry)?.expect(1)?.says(said)?;
    let sender = Sender::pod(&[&socket], &[])?;
    run(receiving(&sender.ticket, into.path(), &[]))?
        .expect(1)?
        .says("error: the sender had to stop\n  its own terminal says why\n")?;
    sender.end()?.expect(1)?.says(said)
}

/// Mistakes that the parser of the command line finds: its words, our exit code.
#[test]
fn usage_errors_end_with_two() -> Result<()> {
    let cases: &[&[&str]] = &[
        &["sned", "file"],
        &["send"],
        &["send", "--pod"],
        &["send", "--nope", "file"],
        &["send", "--port", "65536", "file"],
        &["send", "--port", "-1", "file"],
        &["send", "--words", "1", "file"],
        &["send", "--words", "9", "file"],
        &["send", "--timeout", "0", "file"],
        &["send", "--timeout", "5 parsecs", "file"],
        &["send", "--exclude-dev", "--include-dev", "file"],
        &["send", "--compress=zip", "file"],
        &["send", "--exclude", "[a", "file"],
        &["send", "--exclude", "", "file"],
        &["send", "-q", "-v", "file"],
        &["receive", "--on-conflict", "explode", "127.0.0.1:ocean-tiger"],
    ];
    for args in cases {
        let mut command = transfer();
        command.args(*args);
        let ended = run(command)?.expect(2).with_context(|| format!("{args:?}"))?;
        assert_eq!(ended.stdout, "", "{args:?}");
        ended.says("--help").with_context(|| format!("{args:?}"))?;
    }
    Ok(())
}

/// `-h` is a page, and `--help` has the rest.
#[test]
fn the_long_help_says_more() -> Result<()> {
    let help = |args: &[&str]| -> Result<String> {
        let mut command = transfer();
        command.args(args);
        Ok(run(command)?.expect(0)?.stdout)
    };
    for (command, more) in [
        (&[][..], "Without a command, a path is sent"),
        (&["send"], "Questions: on a terminal"),
        (&["receive"], "`-o PLACE` follows cp"),
    ] {
        let (short, long) =
            (help(&[command, &["-h"]].concat())?, help(&[command, &["--help"]].concat())?);
        ensure!(long.contains(more) && !short.contains(more), "{short}");
        ensure!(!short.contains("--partial"), "{short}");
    }
    Ok(())
}

#[test]
fn help_and_version_go_to_stdout() -> Result<()> {
    let cases: &[(&[&str], &str)] = &[
        (&["--help"], "transfer receive laptop:ocean-tiger"),
        (&["send", "--help"], "Examples:"),
        (&["receive", "--help"], "Examples:"),
        (&["help", "send"], "Examples:"),
        (&["--version"], concat!("transfer ", env!("CARGO_PKG_VERSION"), "\n")),
    ];
    for (args, part) in cases {
        let mut command = transfer();
        command.args(*args);
        let ended = run(command)?.expect(0)?;
        ensure!(ended.stdout.contains(part), "{args:?}: {ended:#?}");
        assert_eq!(ended.stderr, "", "{args:?}");
    }
    Ok(())
}

/// Scripts read stdout: the sender's has one line, the receiver's none; `-q` says nothing else.
#[test]
fn stdout_is_for_scripts_and_quiet_is_quiet() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    write(&from.join("file"), "content")?;
    let file = from.join("file");
    // The third time another file has the name.
    for (options, here) in [
        (&["-q", "--words", "3"][..], None),
        (&["--words", "3"], None),
        (&["-q", "--words", "3"], Some("mine")),
    ] {
        if let Some(here) = here {
            write(&into.join("file"), here)?;
        }
        let sender = Sender::pod(&[&file], options)?;
        let ticket = sender.ticket.clone();
        let token = ticket.rsplit(':').next().unwrap_or_default();
        assert_eq!(token.split('-').count(), 3, "{ticket}");
        let quiet: &[&str] = if options.contains(&"-q") { &["-q"] } else { &[] };
        let received = run(receiving(&ticket, into.path(), quiet))?.expect(0)?;
        let sent = sender.end()?.expect(0)?;
        assert_eq!(sent.stdout, format!("transfer receive {ticket}\n"));
        assert_eq!(received.stdout, "");
        if !quiet.is_empty() {
            assert_eq!((&*sent.stderr, &*received.stderr), ("", ""));
        }
    }
    Ok(())
}

/// The ways to hand over a ticket.
#[test]
fn tickets_come_from_the_command_line_a_file_or_the_environment() -> Result<()> {
    let from = Scratch::new()?;
    write(&from.join("file"), "content")?;
    let file = from.join("file");
    type Give = fn(&mut std::process::Command, &str) -> Result<()>;
    let cases: &[(&str, Give)] = &[
        ("as shown", |command, ticket| {
            command.arg(ticket);
            Ok(())
        }),
        ("by name, as typed on a telephone", |command, ticket| {
            let ticket = ticket.replace("127.0.0.1", "localhost");
            let (host, token) = ticket.rsplit_once(':').context("no token")?;
            command.arg(format!("{host}:{}", token.to_uppercase().replace('-', " ")));
            Ok(())
        }),
        ("the whole line", |command, ticket| {
            command.arg(format!(" transfer receive {ticket}\n"));
            Ok(())
        }),
        ("with --pod", |command, ticket| {
            command.args(["--pod", ticket]);
            Ok(())
        }),
        ("in the environment", |command, ticket| {
            command.env("TRANSFER_TICKET", ticket);
            Ok(())
        }),
        ("in a file", |command, ticket| {
            let file = command.get_current_dir().context("no folder")?.join("ticket");
            write(&file, format!("{ticket}\n"))?;
            command.args(["--ticket-file", "ticket"]);
            Ok(())
        }),
    ];
    for (name, give) in cases {
        let into = Scratch::new()?;
        let sender = Sender::pod(&[&file], &[])?;
        let mut command = transfer();
        command.arg("receive").current_dir(into.path());
        give(&mut command, &sender.ticket)?;
        run(command)?.expect(0).context(*name)?;
        sender.end()?.expect(0).context(*name)?;
        assert_eq!(fs::read_to_string(into.join("file"))?, "content", "{name}");
    }
    Ok(())
}

#[test]
fn a_port_in_use_names_its_owner_and_another_port() -> Result<()> {
    let from = Scratch::new()?;
    write(&from.join("file"), "content")?;
    let file = from.join("file");
    let first = Sender::pod(&[&file], &[])?;
    let port = first.port()?;
    let mut command = transfer();
    command.args(["send", "--pod", "-q", "--port", &port.to_string()]).arg(&file);
    let second = run(command)?.expect(5)?;
    let owner = match cfg!(target_os = "linux") {
        true => format!(" by transfer (process {})", first.process.id()),
        false => String::new(),
    };
    let hint = format!("choose another with --port, such as --port {}", port + 1);
    assert_eq!(second.stderr, format!("error: port {port} is in use{owner}\n  {hint}\n"));
    assert_eq!(second.stdout, "");
    // The first offer still stands.
    let into = Scratch::new()?;
    run(receiving(&first.ticket, into.path(), &[]))?.expect(0)?;
    first.end()?.expect(0)?;
    Ok(())
}

#[test]
fn a_sender_waits_only_so_long() -> Result<()> {
    let from = Scratch::new()?;
    write(&from.join("file"), "content")?;
    let sent = Sender::pod(&[&from.join("file")], &["--timeout", "1s", "-q"])?.end()?.expect(5)?;
    let hint = "run the same command again; --timeout 30m waits longer";
    assert_eq!(sent.stderr, format!("error: no receiver came within 1 s\n  {hint}\n"));
    Ok(())
}

#[test]
fn an_offer_that_is_over_is_over() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    write(&from.join("file"), "content")?;
    let sender = Sender::pod(&[&from.join("file")], &[])?;
    let (ticket, port) = (sender.ticket.clone(), sender.port()?);
    run(receiving(&ticket, into.path(), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    let late = run(receiving(&ticket, &into.join("late"), &["-q"]))?.expect(5)?;
    let hint = "is `transfer send` still running there?";
    assert_eq!(late.stderr, format!("error: nothing listens at 127.0.0.1:{port}\n  {hint}\n"));
    ensure!(!into.join("late").exists(), "a folder was made for nothing");
    Ok(())
}

/// Wrong tokens: what each side reads, and that the third ends the offer.
#[test]
fn three_wrong_tokens_end_the_offer() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    write(&from.join("file"), "content")?;
    let mut sender = Sender::pod(&[&from.join("file")], &[])?;
    let wrong = wrong_ticket(&sender);
    for left in [2, 1] {
        let received = run(receiving(&wrong, &into.join("out"), &["-q"]))?.expect(4)?;
        let hint =
            format!("compare the words with the other machine's screen; it forgives {left} more");
        assert_eq!(received.stderr, format!("error: this machine: wrong token\n  {hint}\n"));
        let line = sender.process.wait_for(Pipe::Err, "wrong token")?;
        let who = "a program on this machine";
        let attempts = if left == 1 { "1 attempt" } else { "2 attempts" };
        assert_eq!(line, format!("warning: wrong token from {who}; {attempts} left\n"));
    }
    let received = run(receiving(&wrong, &into.join("out"), &["-q"]))?.expect(4)?;
    let hint = "that token is void there: run the command there again";
    assert_eq!(received.stderr, format!("error: this machine: wrong token\n  {hint}\n"));
    sender.end()?.expect(4)?.says(
        "error: the offer has ended after 3 wrong tokens, the last from a program on this \
         machine\n  run the same command again for a new token\n",
    )?;
    ensure!(names(into.path())?.is_empty(), "a folder was made for nothing");
    Ok(())
}

#[test]
fn two_wrong_tokens_are_forgiven() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    write(&from.join("file"), "content")?;
    let sender = Sender::pod(&[&from.join("file")], &[])?;
    for _ in 0..2 {
        run(receiving(&wrong_ticket(&sender), into.path(), &[]))?.expect(4)?;
    }
    run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    Ok(())
}

/// The ticket with other words of the list.
fn wrong_ticket(sender: &Sender) -> String {
    let (address, token) = sender.ticket.rsplit_once(':').unwrap_or_default();
    let other = if token == "ocean-tiger" { "tiger-ocean" } else { "ocean-tiger" };
    format!("{address}:{other}")
}

/// A parent of the output folder is a file: found before any connection, so that the offer stands.
#[test]
fn an_output_folder_below_a_file_costs_no_offer() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    write(&from.join("file"), "content")?;
    write(&into.join("file"), "precious")?;
    let sender = Sender::pod(&[&from.join("file")], &[])?;
    let received = run(receiving(&sender.ticket, &into.join("file/sub"), &[]))?.expect(1)?;
    received.says("file\" is not a folder\n")?;
    run(receiving(&sender.ticket, &into.join("new/sub"), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    assert_eq!(fs::read_to_string(into.join("file"))?, "precious");
    Ok(())
}

/// Makes a program that answers like `tailscale` with this shell script.
#[cfg(unix)]
fn stub(path: &Path, script: &str) -> Result<()> {
    write(path, format!("#!/bin/sh\n{script}\n"))?;
    chmod(path, 0o755)
}

/// `tailscale` absent, broken, stopped, logged out, and a host that is not in the tailnet.
#[test]
#[cfg(unix)]
fn what_tailscale_lacks_is_told_in_plain_words() -> Result<()> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tailscale");
    let cat = |name: &str| format!("exec cat '{}'", fixtures.join(name).display());
    let send: &[&str] = &["send", "file"];
    let receive: &[&str] = &["receive", "100.64.9.9:ocean-tiger"];
    let by_name: &[&str] = &["receive", "nas:ocean-tiger"];
    let cases = [
        (
            "stopped",
            cat("status_stopped.json"),
            send,
            5,
            "tailscale is stopped (state Stopped)".to_owned(),
            format!("start it: `tailscale up`; {WITHOUT}"),
        ),
        (
            "stopped",
            cat("status_stopped.json"),
            receive,
            5,
            "tailscale is stopped (state Stopped)".to_owned(),
            format!("start it: `tailscale up`; {WITHOUT}"),
        ),
        (
            "logged out",
            cat("status_needs_login.json"),
            send,
            5,
            "tailscale is logged out (state NeedsLogin)".to_owned(),
            format!(
                "log in with `tailscale up`, or at \
                 https://login.example.invalid/a/0123456789ab; {WITHOUT}"
            ),
        ),
        (
            "not approved",
            cat("status_needs_machine_auth.json"),
            send,
            5,
            "this machine is not yet approved for the tailnet (state NeedsMachineAuth)".to_owned(),
            format!(
                "an admin can approve it at https://login.tailscale.com/admin/machines; {WITHOUT}"
            ),
        ),
        (
            "no daemon",
            "echo \"failed to connect to local tailscaled; it doesn't appear to be running\" >&2\n\
             exit 1"
                .to_owned(),
            send,
            5,
            "`tailscale status --json` failed: failed to connect to local tailscaled; it doesn't \
             appear to be running"
                .to_owned(),
            match cfg!(target_os = "macos") {
                true => format!("open the Tailscale app to start its service; {WITHOUT}"),
                false => format!("start it: `sudo systemctl start tailscaled`; {WITHOUT}"),
            },
        ),
        (
            "not a peer",
            cat("status_tun_4peers.json"),
            receive,
            4,
            "100.64.9.9 is not a device of your tailnet".to_owned(),
            format!("`tailscale status` lists the devices that may connect; {WITHOUT}"),
        ),
        (
            "no such name",
            cat("status_tun_4peers.json"),
            by_name,
            5,
            "no device of your tailnet is called \"nas\"".to_owned(),
            "`tailscale status` lists their names; an address works too".to_owned(),
        ),
        (
            "an address that is not here",
            cat("status_tun_4peers.json"),
            send,
            5,
            "100.101.7.12 is not an address of this machine".to_owned(),
            "is Tailscale up? in a container or for this machine alone use --pod".to_owned(),
        ),
    ];
    let here = Scratch::new()?;
    write(&here.join("file"), "precious")?;
    for (name, script, args, code, message, hint) in cases {
        stub(&here.join("tailscale"), &script)?;
        let mut command = transfer();
        command.args(args).args(["--timeout", "1s"].iter().filter(|_| args == send));
        command.env("TRANSFER_TAILSCALE", here.join("tailscale")).current_dir(here.path());
        let ended = run(command)?;
        assert_eq!(ended.stderr, format!("error: {message}\n  {hint}\n"), "{name}: {args:?}");
        assert_eq!((ended.code, &*ended.stdout), (Some(code), ""), "{name}: {args:?}");
    }
    Ok(())
}

/// No `tailscale` at all. Where one is installed in a usual place, it would be found.
#[test]
#[cfg(unix)]
fn a_missing_tailscale_is_told_in_plain_words() -> Result<()> {
    let here = Scratch::new()?;
    write(&here.join("file"), "precious")?;
    let mut command = transfer();
    command.args(["send", "--timeout", "1s", "file"]).current_dir(here.path());
    command.env_remove("TRANSFER_TAILSCALE").env("PATH", "");
    let ended = run(command)?;
    if !ended.stderr.contains("not on this machine") {
        skip(format_args!("tailscale is installed here: {}", ended.stderr));
        return Ok(());
    }
    let hint = "install it from https://tailscale.com/download, or set TRANSFER_TAILSCALE to it";
    let message = "the tailscale program is not on this machine";
    assert_eq!(ended.stderr, format!("error: {message}\n  {hint}; {WITHOUT}\n"));
    assert_eq!((ended.code, &*ended.stdout), (Some(5), ""));
    Ok(())
}

/// Receives on a file system of its own, as small as `options` make it; whatever is there at the
/// end is copied into `out`. Nothing where this may not be done.
#[cfg(target_os = "linux")]
fn receive_in_little_room(ticket: &str, options: &str, out: &Path) -> Result<Option<Process>> {
    let disk = out.join("disk");
    fs::create_dir(&disk)?;
    let mut probe = mounting();
    probe.args(["sh", "-c", "mount -t tmpfs -o size=1m none \"$0\""]).arg(&disk);
    if !probe.status().is_ok_and(|status| status.success()) {
        skip("no small file system may be mounted here");
        return Ok(None);
    }
    let script = "mount -t tmpfs -o $3 none \"$0\" || exit 99\n\
                  \"$1\" receive -q -y -o \"$0\" \"$2\"\n\
                  code=$?\n\
                  cp -a \"$0\" \"$0.kept\" && exit $code";
    let mut command = crate::util::process::clean(mounting());
    command.args(["sh", "-c", script]).arg(disk);
    command.args([env!("CARGO_BIN_EXE_transfer"), ticket, options]);
    Ok(Some(Process::start(command)?))
}

#[test]
#[cfg(target_os = "linux")]
fn too_little_room_is_told_before_the_first_byte() -> Result<()> {
    let (from, out) = (Scratch::new()?, Scratch::new()?);
    write(&from.join("tree/a"), "content")?;
    write(&from.join("tree/b"), noise(3_000_000, 1))?;
    let sender = Sender::pod(&[&from.join("tree")], &["-q"])?;
    let Some(receiver) = receive_in_little_room(&sender.ticket, "size=1m", out.path())? else {
        return Ok(());
    };
    let received = receiver.end()?.expect(1)?;
    let disk = out.join("disk");
    let hint = "make room, or name another folder with -o";
    assert_eq!(
        received.stderr,
        format!(
            "error: not enough room in \"{}\": 3.0 MB are needed, 1.0 MB are free\n  {hint}\n",
            disk.display()
        )
    );
    // The ticket still serves, for another folder.
    let roomy = out.join("roomy");
    run(receiving(&sender.ticket, &roomy, &[]))?.expect(0)?;
    let told = "warning: a program on this machine: the receiver has no room: 3.0 MB are needed, \
         1.0 MB are free; waiting for it to come back\n";
    assert_eq!(sender.end()?.expect(0)?.stderr, told);
    ensure_arrived(&roomy, &[&from.join("tree")])?;
    assert!(names(&out.join("disk.kept"))?.is_empty());
    Ok(())
}

/// Room for the bytes, but not for so many files: the disk is full on the way.
#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_fills_up_keeps_what_is_whole() -> Result<()> {
    let (from, out) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    for number in 0..40 {
        write(&root.join(format!("{number:02}")), noise(3000, number))?;
    }
    let sender = Sender::pod(&[&root], &["-q"])?;
    // Enough for what comes, but for the lock beside it.
    let options = "size=1m,nr_inodes=42";
    let Some(receiver) = receive_in_little_room(&sender.ticket, options, out.path())? else {
        return Ok(());
    };
    let received = receiver.end()?.expect(1)?;
    let disk = out.join("disk").display().to_string();
    received.says(&format!("error: the disk of \"{disk}\" takes no more files\n"))?;
    received.says(
        "\n  it has no inodes left: remove some files there and run the same command again",
    )?;
    run(receiving(&sender.ticket, &out.join("roomy"), &[]))?.expect(0)?;
    sender.end()?.expect(0)?.says("the receiver's disk takes no more files")?;
    ensure_arrived(&out.join("roomy"), &[&root])?;
    let (source, mut kept) = (tree(&root)?, tree(&out.join("disk.kept/tree"))?);
    kept.remove(Path::new(""));
    ensure!(kept.len() > 20 && kept.len() < 40, "{} files were kept", kept.len());
    for (path, node) in kept {
        ensure!(source.get(&path) == Some(&node), "{path:?} is not whole: {node:?}");
    }
    Ok(())
}

/// A folder that may not be written to is found out at once, and the ticket serves for another.
#[test]
#[cfg(unix)]
fn a_folder_that_may_not_be_written_to_is_told() -> Result<()> {
    let Some(()) = obeying_modes()? else { return Ok(()) };
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    write(&from.join("file"), "content")?;
    let (shut, open) = (into.join("shut"), into.join("open"));
    for folder in [&shut, &open] {
        fs::create_dir(folder)?;
    }
    chmod(&shut, 0o555)?;
    let sender = Sender::pod(&[&from.join("file")], &[])?;
    let received = run(receiving(&sender.ticket, &shut, &[]))?.expect(1)?;
    let shown = shut.display();
    received.says(&format!(
        "error: cannot write into \"{shown}\": permission denied\n  name another folder "
    ))?;
    ensure!(names(&shut)?.is_empty(), "{:?}", names(&shut)?);
    run(receiving(&sender.ticket, &open, &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    ensure_arrived(&open, &[&from.join("file")])
}

/// An offer of more entries than are allowed is refused by count, before any of them is looked
/// at, and the same ticket serves the receiver that allows them.
#[test]
fn more_entries_are_taken_only_when_allowed() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    for name in ["a", "b", "c"] {
        write(&root.join(name), name)?;
    }
    let mut sender = Sender::pod(&[&root], &[])?;
    let refused =
        run(receiving(&sender.ticket, into.path(), &["--max-entries", "3"]))?.expect(1)?;
    refused.says(
        "error: the offer has 4 entries, and 3 are taken without asking\n  \
         `--max-entries 4` takes them, with 250 bytes of memory each\n",
    )?;
    ensure!(names(into.path())?.is_empty(), "something was written");
    let line = sender.process.wait_for(Pipe::Err, "; waiting for it to come back")?;
    let told = "the receiver takes 3 entries with short names, and 4 are offered;";
    ensure!(line.contains(told), "{line:?}");
    run(receiving(&sender.ticket, into.path(), &["--max-entries", "4"]))?.expect(0)?;
    sender.end()?.expect(0)?;
    ensure_same(&tree(&root)?, &tree(&into.join("tree"))?)
}
