//! `transfer doctor`: what it finds on this machine, and that it finds something at all when
//! what it asks hangs. The way between two hosts is in `tests/tailnet`.

use std::net::TcpListener;
#[cfg(unix)]
use std::path::Path;

use anyhow::{Result, ensure};

use crate::util::process::{Ended, Sender, run, transfer};
#[cfg(unix)]
use crate::util::root::obeying_modes;
#[cfg(unix)]
use crate::util::tree::chmod;
use crate::util::tree::{Scratch, names, write};

/// A port that is free at the moment.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Its report without the first line, which names the system, and without what differs from one
/// machine to the next.
fn report(ended: &Ended) -> String {
    let lines =
        ended.stdout.lines().skip(1).map(|line| match line.split_once(" can be written to") {
            Some((start, _)) => format!("{start} can be written to"),
            None => line.to_owned(),
        });
    lines.collect::<Vec<_>>().join("\n")
}

const FOLDER: &str = "  ok       it can be written to\n  ok       its file system has what it takes: \
                      locks, safe renames, long names, upper and lower case";

#[test]
fn one_machine_without_tailscale() -> Result<()> {
    let (into, home) = (Scratch::new()?, Scratch::new()?);
    let (port, config) = (free_port()?, home.join("config"));
    let doctor = |options: &[&str]| {
        let mut command = transfer();
        command.args(["doctor", "--pod", "--port", &port.to_string()]).args(options);
        command.current_dir(into.path()).env("TRANSFER_CONFIG", &config);
        run(command)
    };
    let well = doctor(&[])?.expect(0)?;
    let first = format!("transfer {} on ", env!("CARGO_PKG_VERSION"));
    ensure!(well.stdout.starts_with(&first), "{well:#?}");
    if cfg!(target_os = "linux") {
        let expected = format!(
            "Tailscale\n  skipped  --pod needs none\nLocal network\n  skipped  --pod needs none\nPort {port}\n  ok       free at 127.0.0.1, \
             where `transfer send` listens\nProxy\n  skipped  --pod needs none\nKept answers\n  \
             ok       none: there is nothing in {}/config.toml\nThis device\n  skipped  it has no key yet: `transfer pair`, `serve` and `send --to` make \
             one\nFolder .\n{FOLDER}\nno problems",
            config.display()
        );
        assert_eq!(report(&well), expected);
    }
    assert_eq!(well.stderr, "");

    // A folder that is not there yet, and one that cannot be.
    write(&into.join("file"), "precious")?;
    let new = doctor(&["-o", "new/deep"])?.expect(0)?;
    ensure!(
        new.stdout.contains("\n  ok       it will be made; \".\" can be written to, ")
            && new.stdout.contains("B free\n"),
        "{new:#?}"
    );
    let odd = doctor(&["-o", "file/deep"])?.expect(1)?;
    let problem = "\nFolder file/deep\n  problem  \"file\" is not a folder\n             name a folder with \
                   -o; it is made if it does not exist\n1 problem\n";
    ensure!(odd.stdout.ends_with(problem), "{odd:#?}");
    assert_eq!(names(into.path())?.len(), 1, "something was left or made");

    // Another machine cannot be looked at so.
    let far = doctor(&["laptop"])?.expect(2)?;
    let hint = "leave --pod away to look at another machine";
    assert_eq!(far.stderr, format!("error: laptop is not this machine\n  {hint}\n"));
    assert_eq!(far.stdout, "");
    let zero = doctor(&["--port", "0"])?;
    assert_eq!((zero.code, &*zero.stdout), (Some(2), ""));
    Ok(())
}

/// A sender that waits, one that is gone, and a program that is no sender.
#[test]
fn the_sender_of_a_ticket_is_found() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    write(&from.join("file"), "content")?;
    let sender = Sender::pod(&[&from.join("file")], &[])?;
    let (ticket, port) = (sender.ticket.clone(), sender.port()?);
    let doctor = |args: &[&str]| {
        let mut command = transfer();
        command.args(["doctor", "--pod"]).args(args).current_dir(into.path());
        run(command)
    };
    let found = doctor(&[&ticket])?.expect(0)?;
    let expected = format!(
        "\n127.0.0.1\n  ok       127.0.0.1 is this machine\n  ok       a `transfer send` waits there \
         on port {port}\nno problems"
    );
    // That a disk folds names may be a warning.
    ensure!(found.stdout.contains(&expected), "{found:#?}");
    let token = ticket.rsplit(':').next().unwrap_or_default();
    ensure!(!found.stdout.contains(token), "the token was shown: {found:#?}");

    // The port is the sender's own; without its ticket the doctor looks at both.
    // Only Linux says whose it is; elsewhere it might be anybody's.
    let says_whose = cfg!(target_os = "linux");
    let taken = doctor(&["localhost", "--port", &port.to_string()])?;
    let taken = taken.expect(if says_whose { 0 } else { 1 })?;
    if says_whose {
        let id = sender.process.id();
        let line = format!("in use by transfer (process {id}): a `transfer send` waits there\n");
        ensure!(taken.stdout.contains(&line), "{taken:#?}");
    }

    // None of that has cost the offer anything.
    run(crate::util::process::receiving(&ticket, into.path(), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    let gone = doctor(&[&ticket])?.expect(0)?;
    let expected = format!(
        "  warning  it answers, but nothing listens on port {port} there\n             `transfer send` \
         is not running there at the moment\nno problems, "
    );
    ensure!(gone.stdout.contains(&expected), "{gone:#?}");

    let other = TcpListener::bind("127.0.0.1:0")?;
    let port = other.local_addr()?.port();
    let taken = doctor(&["localhost", "--port", &port.to_string()])?.expect(1)?;
    let problem =
        format!("  problem  port {port} there is not a `transfer send`: it says nothing\n");
    ensure!(taken.stdout.contains(&problem), "{taken:#?}");
    if cfg!(target_os = "linux") {
        let problem = format!("  problem  port {port} is in use by ");
        ensure!(taken.stdout.contains(&problem), "{taken:#?}");
    }
    Ok(())
}

/// What the doctor says of the port is what happens to the next `send`.
#[test]
fn the_port_of_the_next_sender_is_told() -> Result<()> {
    let from = Scratch::new()?;
    write(&from.join("file"), "content")?;
    let send = |options: &[&str]| {
        let mut command = transfer();
        command.args(["send", "--pod", "-y"]).args(options).arg(from.join("file"));
        command
    };
    let doctor = |options: &[&str]| {
        let mut command = transfer();
        command.args(["doctor", "--pod"]).args(options).current_dir(from.path());
        run(command)
    };
    // A ticket leaves the usual port out.
    let port_of = |sender: &Sender| sender.port().map_or("15820".into(), |port| port.to_string());
    let first = Sender::start(send(&[]))?;
    // Where no port was asked for, the next free one is taken, as the doctor says. Others on this
    // machine may be faster than the second sender, but not every time.
    let mut tries = 0..5;
    let (_second, port) = loop {
        ensure!(tries.next().is_some(), "the doctor is never right");
        let told = doctor(&[])?.expect(0)?;
        let second = Sender::start(send(&[]))?;
        let port = port_of(&second);
        ensure!(port_of(&first) != port, "one port for two");
        let listens = told.stdout.split("would listen on ").nth(1).unwrap_or("15820 ");
        if listens.split(|c: char| !c.is_ascii_digit()).next() == Some(&*port) {
            break (second, port);
        }
    };
    // One that was asked for is taken or refused.
    let refused = run(send(&["--port", &port]))?.expect(5)?;
    refused.says(&format!("error: port {port} is in use"))?;
    let told = doctor(&["--port", &port])?.expect(1)?;
    ensure!(told.stdout.contains("\n1 problem"), "{told:#?}");
    Ok(())
}

/// What Tailscale lacks, in the words that `send` and `receive` have for it.
#[test]
#[cfg(unix)]
fn what_tailscale_lacks_is_a_problem() -> Result<()> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tailscale");
    let cat = |name: &str| format!("exec cat '{}'", fixtures.join(name).display());
    let userspace = cat("status_userspace_container.json");
    let answers = format!("[ \"$1\" = nc ] || {userspace}\necho 'no way' >&2; exit 1");
    let proxy = format!("socks5://127.0.0.1:{}", free_port()?);
    let closed = format!("problem  cannot reach the proxy {proxy}: connection refused\n");
    let cases: &[(&str, &str, &[&str], i32, &str)] = &[
        (
            "stopped",
            &cat("status_stopped.json"),
            &[],
            1,
            "problem  tailscale is stopped (state Stopped)\n",
        ),
        ("logged out", &cat("status_needs_login.json"), &[], 1, "problem  tailscale is logged out"),
        (
            "no JSON",
            "echo Hello",
            &[],
            1,
            "problem  `tailscale status --json` printed no JSON: Hello\n",
        ),
        (
            "hangs",
            "exec sleep 100",
            &["nas"],
            1,
            "problem  `tailscale status --json` gave no answer in 8s\n",
        ),
        (
            "stopped, with a peer",
            &cat("status_stopped.json"),
            &["nas"],
            1,
            "skipped  no server of this name is in the local network, and Tailscale does not answer",
        ),
        (
            "an address that is not here",
            &cat("status_tun_4peers.json"),
            &[],
            1,
            "problem  100.101.7.12 is not an address of this machine\n",
        ),
        (
            "no such name",
            &userspace,
            &["nas"],
            1,
            "problem  no device of your tailnet is called \"nas\"\n",
        ),
        (
            "no such address",
            &userspace,
            &["100.64.9.9"],
            1,
            "problem  100.64.9.9 is not a device of ",
        ),
        (
            "userspace",
            &userspace,
            &[],
            0,
            "ok       none is set: `transfer receive` goes through `tailscale nc`\n",
        ),
        ("nc fails", &answers, &["desk-alice"], 0, "warning  `tailscale nc` failed: no way\n"),
        ("a dead proxy", &userspace, &["ALL_PROXY"], 1, &closed),
        (
            "a proxy nobody needs",
            &cat("status_no_peers.json"),
            &["ALL_PROXY"],
            1,
            "ok       ALL_PROXY is set; nothing",
        ),
        (
            "no proxy of ours",
            &userspace,
            &["HTTP_PROXY"],
            0,
            "HTTP_PROXY is set, but only ALL_PROXY is used: set that to the same\n",
        ),
    ];
    let here = Scratch::new()?;
    let port = free_port()?.to_string();
    for (name, script, args, code, says) in cases {
        let program = here.join("tailscale");
        write(&program, format!("#!/bin/sh\n{script}\n"))?;
        chmod(&program, 0o755)?;
        let mut command = transfer();
        command.args(["doctor", "--port", &port]).current_dir(here.path());
        command.env("TRANSFER_TAILSCALE", &program).env_remove("HTTP_PROXY");
        for other in ["HTTPS_PROXY", "https_proxy", "http_proxy"] {
            command.env_remove(other);
        }
        match args {
            [variable] if variable.ends_with("_PROXY") => command.env(variable, &proxy),
            args => command.args(*args),
        };
        let ended = run(command)?;
        ensure!(ended.code == Some(*code), "{name}: {ended:#?}");
        ensure!(ended.stdout.contains(says), "{name}: {says:?}: {ended:#?}");
        ensure!(ended.stderr.is_empty(), "{name}: {ended:#?}");
    }
    assert_eq!(names(here.path())?.len(), 1, "something was left");
    Ok(())
}

/// A folder in which an interrupted transfer waits, and one that may not be written to.
#[test]
fn folders_tell_what_waits_in_them() -> Result<()> {
    let into = Scratch::new()?;
    let doctor = || {
        let mut command = transfer();
        command.args(["doctor", "--pod", "--port", &free_port()?.to_string()]);
        command.arg("-o").arg(into.path());
        run(command)
    };
    write(&into.join(".transfer_lock.json"), "{}")?;
    let ended = doctor()?.expect(0)?;
    ensure!(ended.stdout.contains("\n  ok       an interrupted transfer of 2"), "{ended:#?}");
    #[cfg(unix)]
    {
        let Some(()) = obeying_modes()? else { return Ok(()) };
        chmod(into.path(), 0o555)?;
        let ended = doctor()?.expect(1)?;
        ensure!(ended.stdout.contains("\n  problem  cannot write into \""), "{ended:#?}");
    }
    Ok(())
}
