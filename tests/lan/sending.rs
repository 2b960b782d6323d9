//! `transfer send --lan`: a ticket with an address of the local network, without Tailscale.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::stage::Lan;
use super::util::process::{Ended, Pipe, Sender, run};
use super::util::tree::{Scratch, chmod, ensure_arrived, noise, write};

/// A small tree to send.
fn tree(scratch: &Scratch) -> Result<PathBuf> {
    let tree = scratch.join("tree");
    write(&tree.join("sub/data"), noise(2_000_000, 1))?;
    write(&tree.join("notes.txt"), "hello")?;
    Ok(tree)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of a test")
}

/// The ticket's token and port, with another address.
fn at(ticket: &str, host: &str) -> Result<String> {
    let rest = match ticket.strip_prefix('[') {
        Some(_) => ticket.split_once("]:"),
        None => ticket.split_once(':'),
    };
    Ok(format!("{host}:{}", rest.context("a ticket")?.1))
}

/// Sends at `from`, and receives at `to` with the ticket that `change` makes of the one shown.
fn send(
    lan: &Lan,
    [from, to]: [&str; 2],
    options: &[&str],
    change: impl Fn(&str) -> Result<String>,
) -> Result<(String, String)> {
    let (scratch, into) = (Scratch::new()?, Scratch::new()?);
    let tree = tree(&scratch)?;
    let args = [&["send", "--lan", "-y"], options, &[text(&tree)]].concat();
    let sender = Sender::start(lan.transfer(from, &args))?;
    let ticket = change(&sender.ticket)?;
    let received = lan.transfer(to, &["receive", "-y", "-o", text(into.path()), &ticket]);
    let received = run(received)?.expect(0)?;
    let sent = sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&tree])?;
    Ok((sent.stderr, received.stderr))
}

#[test]
fn a_tree_crosses_without_tailscale() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let (sent, received) = send(&lan, ["a", "b"], &[], |ticket| {
        ensure!(ticket.starts_with("192.168.77.1:"), "{ticket}");
        ensure!(!ticket.contains(":15820:"), "the usual port is not named: {ticket}");
        Ok(ticket.to_owned())
    })?;
    let note = "local network: any machine in it may connect; only the token protects; at eth0 \
                (192.168.77.1, fd77::1, fe80::1)\n";
    ensure!(sent.contains(note), "{sent}");
    ensure!(!sent.contains("172.17.0.1") && !sent.contains("10.9.0.2"), "{sent}");
    ensure!(sent.contains("\n192.168.77.2 is connected\n"), "{sent}");
    ensure!(received.contains("connecting to 192.168.77.1\n"), "{received}");
    // All of its addresses work.
    send(&lan, ["a", "b"], &[], |ticket| at(ticket, "[fd77::1]"))?;
    send(&lan, ["a", "b"], &["--port", "0"], |ticket| at(ticket, "[fe80::1]"))?;
    let (sent, _) = send(&lan, ["a", "a"], &["-v"], |ticket| Ok(ticket.to_owned()))?;
    let why = "not used: docker0 belongs to containers or virtual machines\n";
    ensure!(sent.contains(why), "{sent}");
    Ok(())
}

/// Where there is nothing but link-local addresses, as with a cable between two machines.
#[test]
fn a_cable_is_enough() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    for (machine, number) in [("a", 1), ("b", 2)] {
        lan.ip(machine, &format!("address del 192.168.77.{number}/24 dev eth0"))?;
        lan.ip(machine, &format!("address del fd77::{number}/64 dev eth0"))?;
    }
    send(&lan, ["a", "b"], &[], |ticket| {
        ensure!(ticket.starts_with("[fe80::1]:"), "{ticket}");
        Ok(ticket.to_owned())
    })?;
    Ok(())
}

/// A machine in two networks has a ticket for each.
#[test]
fn several_networks_have_a_ticket_each() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    lan.cable(("a", "10.3.0.1"), ("b", "10.3.0.2"))?;
    let (scratch, into) = (Scratch::new()?, Scratch::new()?);
    let tree = tree(&scratch)?;
    let args = ["send", "--lan", "-y", "--receivers", "2", text(&tree)];
    let mut sender = Sender::start(lan.transfer("a", &args))?;
    let line = sender.process.wait_until_said("from the network of ")?;
    let (first, second) = (sender.ticket.clone(), line.trim_end());
    ensure!(first.starts_with("10.3.0.1:"), "{first}");
    let intro = "from the network of eth0: transfer receive ";
    let second = second.strip_prefix(intro).with_context(|| format!("{line:?}"))?.to_owned();
    ensure!(second.starts_with("192.168.77.1:"), "{second}");
    for (machine, ticket) in [("b", &first), ("c", &second)] {
        let into = into.join(machine);
        let command = lan.transfer(machine, &["receive", "-y", "-o", text(&into), ticket]);
        run(command)?.expect(0)?;
        ensure_arrived(&into, &[&tree])?;
    }
    sender.end()?.expect(0)?;
    // One that is named is served alone.
    let args = ["send", "--lan", "--interface", "cable", "-y", "--timeout", "20s", text(&tree)];
    let sender = Sender::start(lan.transfer("a", &args))?;
    ensure!(sender.ticket.starts_with("10.3.0.1:"), "{}", sender.ticket);
    let elsewhere = at(&sender.ticket, "192.168.77.1")?;
    let refused = run(lan.transfer("c", &["receive", "-y", &elsewhere]))?.expect(5)?;
    refused.says("error: nothing listens at 192.168.77.1:15820\n")?;
    refused.says("is `transfer` still running there, on that port?")?;
    Ok(())
}

/// An address of the internet is let in only if it belongs to the network itself.
#[test]
fn whoever_comes_from_elsewhere_is_turned_away() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let (scratch, into) = (Scratch::new()?, Scratch::new()?);
    let tree = tree(&scratch)?;
    lan.ip("b", "address add 203.0.113.2/32 dev eth0")?;
    lan.ip("a", "route add 203.0.113.0/24 dev eth0")?;
    lan.ip("b", "route change 192.168.77.0/24 dev eth0 src 203.0.113.2")?;
    let mut sender = Sender::start(lan.transfer("a", &["send", "--lan", "-y", text(&tree)]))?;
    let receive =
        |ticket: &str| run(lan.transfer("b", &["receive", "-y", "-o", text(into.path()), ticket]));
    let closed = receive(&sender.ticket)?.expect(5)?;
    closed.says("192.168.77.1 closed the connection")?;
    closed.says("is this machine in its local network?\n")?;
    let why =
        "turned away 203.0.113.2: it is neither in this local network nor at a private address";
    sender.process.wait_until_said(why)?;
    drop(sender);
    // A campus gives its machines public addresses.
    lan.ip("a", "route del 203.0.113.0/24 dev eth0")?;
    lan.ip("a", "address add 203.0.113.1/24 dev eth0")?;
    let sender = Sender::start(lan.transfer("a", &["send", "--lan", "-y", text(&tree)]))?;
    receive(&sender.ticket)?.expect(0)?;
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&tree])?;
    Ok(())
}

/// A private address is dialled as it is, whatever Tailscale says; one of a tailnet is not.
#[test]
fn the_address_tells_the_way_also_where_tailscale_runs() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let scratch = Scratch::new()?;
    let (program, asked) = (scratch.join("tailscale"), scratch.join("asked"));
    write(&program, format!("#!/bin/sh\necho \"$*\" >>'{}'\nexit 1\n", asked.display()))?;
    chmod(&program, 0o755)?;
    let tree = tree(&scratch)?;
    let mut command = lan.transfer("a", &["send", "--lan", "-y", text(&tree)]);
    command.env("TRANSFER_TAILSCALE", &program);
    let sender = Sender::start(command)?;
    let into = Scratch::new()?;
    let receive = |ticket: &str| {
        let mut command = lan.transfer("b", &["receive", "-y", "-o", text(into.path()), ticket]);
        command.env("TRANSFER_TAILSCALE", &program);
        run(command)
    };
    receive(&sender.ticket)?.expect(0)?;
    sender.end()?.expect(0)?;
    ensure!(!asked.exists(), "Tailscale was asked");
    receive("100.64.0.1:ocean-tiger")?.expect(5)?;
    ensure!(asked.exists(), "Tailscale was not asked");
    Ok(())
}

#[test]
fn a_machine_in_no_network_says_so() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let scratch = Scratch::new()?;
    let tree = tree(&scratch)?;
    let send = |machine: &str, options: &[&str]| {
        run(lan.transfer(machine, &[&["send", "--lan", "-y"], options, &[text(&tree)]].concat()))
    };
    lan.ip("a", "link delete eth0")?;
    let ended = send("a", &[])?.expect(5)?;
    ended.says("error: no network interface leads to a local network: docker0 belongs to ")?;
    ended.says("\n  name one with --interface to use it all the same\n")?;
    lan.ip("b", "link delete eth0")?;
    send("b", &[])?.expect(5)?.says("error: this machine is in no network\n")?;
    let ended = send("c", &["--interface", "eth7"])?.expect(5)?;
    ended.says("error: there is no network interface \"eth7\"\n  there are: eth0, lo\n")?;
    let ended = send("c", &["--interface", "lo"])?.expect(5)?;
    ended.says("error: the network interface lo leads to this machine alone\n")?;
    for options in [&["--pod"][..], &["--interface="]] {
        assert_ne!(send("c", options)?.code, Some(0), "{options:?}");
    }
    Ok(())
}

/// A network that goes and comes back ends nothing.
#[test]
fn a_lost_network_is_waited_for() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let (scratch, into) = (Scratch::new()?, Scratch::new()?);
    let file = scratch.join("file");
    write(&file, noise(12_000_000, 3))?;
    let args = ["send", "--lan", "-y", "--limit", "2M", text(&file)];
    let sender = Sender::start(lan.transfer("a", &args))?;
    let ticket = sender.ticket.clone();
    let mut command = lan.transfer("b", &["receive", "-y", "--json", "-o", text(into.path())]);
    command.arg(&ticket);
    let mut receiver = super::util::process::Process::start(command)?;
    receiver.wait_for(Pipe::Out, "\"progress\"")?;
    lan.ip("a", "link set eth0 down")?;
    receiver.wait_for(Pipe::Out, "\"reconnecting\"")?;
    lan.ip("a", "link set eth0 up")?;
    receiver.end()?.expect(0)?;
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&file])?;
    Ok(())
}

#[test]
fn the_doctor_knows_the_local_network() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let scratch = Scratch::new()?;
    let tree = tree(&scratch)?;
    let doctor = |machine: &str, args: &[&str]| {
        let mut command = lan.transfer(machine, &[&["doctor"], args].concat());
        command.current_dir(scratch.path());
        run(command)
    };
    // That Tailscale is not installed is in nobody's way here.
    let here = doctor("a", &[])?.expect(0)?;
    for line in [
        "Tailscale\n  skipped  TRANSFER_TAILSCALE names /nonexistent/tailscale, which is no program; the local \
         network needs none\n",
        "Port 15820\n  ok       free at 192.168.77.1, where `transfer send` listens\n",
        "Proxy\n  skipped  the local network needs none\n",
        "Local network\n  ok       eth0 (192.168.77.1, fd77::1, fe80::1): `transfer send --lan` \
         listens there\n",
        "  skipped  docker0 belongs to containers or virtual machines\n",
    ] {
        ensure!(here.stdout.contains(line), "{line}: {}", here.stdout);
    }
    let sender = Sender::start(lan.transfer("a", &["send", "--lan", "-y", text(&tree)]))?;
    let there = doctor("b", &["192.168.77.1"])?.expect(0)?;
    for line in [
        "Tailscale\n  skipped  192.168.77.1 needs none\n",
        "Port 15820\n  ok       free at 192.168.77.2, where `transfer send` listens\n",
        "192.168.77.1\n  ok       192.168.77.1 is in the local network of eth0\n  ok       a \
         `transfer send` waits there on port 15820\nno problems\n",
    ] {
        ensure!(there.stdout.contains(line), "{line}: {}", there.stdout);
    }
    drop(sender);
    let gone = doctor("b", &["192.168.77.1"])?.expect(0)?;
    ensure!(
        gone.stdout.contains("it answers, but nothing listens on port 15820 there"),
        "{gone:#?}"
    );
    // A machine of the tailnet needs it, one that is broken is broken, and without any network it is missing.
    let problem = |ended: Ended, part: &str| -> Result<()> {
        let ended = ended.expect(1)?;
        ensure!(ended.stdout.contains(part), "{part}: {ended:#?}");
        Ok(())
    };
    let missing = "Tailscale\n  problem  TRANSFER_TAILSCALE names /nonexistent/tailscale, which is no program\n";
    problem(doctor("b", &["nas"])?, missing)?;
    let program = scratch.join("tailscale");
    write(&program, "#!/bin/sh\necho '{\"BackendState\":\"Stopped\"}'\n")?;
    chmod(&program, 0o755)?;
    let mut command = lan.transfer("b", &["doctor"]);
    command.current_dir(scratch.path()).env("TRANSFER_TAILSCALE", &program);
    problem(run(command)?, "Tailscale\n  problem  tailscale is stopped (state Stopped)\n")?;
    lan.ip("b", "link delete eth0")?;
    problem(doctor("b", &[])?, missing)
}
