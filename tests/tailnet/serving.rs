//! `transfer serve --tailnet`, `pair --tailnet` and `send --to` between devices of a tailnet: both the tailnet's
//! check and a trusted key have to hold.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::events::check_line;
use crate::userspace::{proxy, socks5};
use crate::util::process::{Ended, Pipe, Process, run, transfer};
use crate::util::tree::{Scratch, chmod, ensure_same, noise, tree, write};
use crate::{ALPHA, BETA, GAMMA, Host, Net, fixture, status, tailscale};

/// Machines of a tailnet, each a device with a key of its own; alpha does not know gamma. Alpha and gamma
/// have a cable too.
struct House {
    net: Net,
    scratch: Scratch,
}

impl House {
    fn new() -> Result<Option<Self>> {
        let Some(net) = Net::new(&[ALPHA, BETA, GAMMA])? else { return Ok(None) };
        let house = Self { net, scratch: Scratch::new()? };
        for (own, peers) in [(ALPHA, &[BETA][..]), (BETA, &[ALPHA]), (GAMMA, &[ALPHA, BETA])] {
            house.says(own, &status(own, peers, true)?)?;
        }
        write(&house.path("tree/sub/data"), noise(2_000_000, 1))?;
        write(&house.path("tree/notes.txt"), "hello")?;
        Ok(Some(house))
    }

    /// A cable between two machines, by which there is a local network.
    fn cable(&self, one: Host, other: Host) -> Result<()> {
        let far = self.net.0.name(other.name);
        let link = format!("link add eth0 type veth peer name eth0 netns {far}");
        self.net.0.ip(one.name, &link)?;
        for (number, host) in (1..).zip([one, other]) {
            let address = format!("address add 192.168.77.{number}/24 brd + dev eth0");
            self.net.0.ip(host.name, &address)?;
            self.net.0.ip(host.name, "link set eth0 up")?;
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// What Tailscale says at a machine from now on.
    fn says(&self, host: Host, status: &str) -> Result<()> {
        tailscale(&self.path(host.name), status, "").map(drop)
    }

    fn command(&self, host: Host, words: &[&str]) -> Command {
        let mut command = self.net.transfer(host, &self.path(host.name).join("tailscale"));
        command.args(words).current_dir(self.scratch.path());
        command.env("TRANSFER_CONFIG", self.path(&format!("config/{}", host.name)));
        command
    }

    fn run(&self, host: Host, words: &[&str]) -> Result<Ended> {
        run(self.command(host, words))
    }

    /// Alpha shows a token in the tailnet, another types it; each calls the other as the tailnet does.
    fn pair(&self, other: Host) -> Result<()> {
        let mut shows =
            Process::start(self.command(ALPHA, &["pair", "--tailnet", "--name", other.name]))?;
        let line = shows.wait_for(Pipe::Out, "transfer pair ")?;
        let ticket = line.trim_end().rsplit(' ').next().context("a ticket")?.to_owned();
        ensure!(ticket.starts_with("alpha:"), "{ticket}");
        self.run(other, &["pair", "--name", "alpha", &ticket])?.expect(0)?;
        shows.end()?.expect(0)?;
        Ok(())
    }

    fn serve(&self, options: &[&str]) -> Result<Process> {
        let words = [&["serve", "incoming"], options].concat();
        let mut server = Process::start(self.command(ALPHA, &words))?;
        server.wait_for(Pipe::Err, " takes uploads into ")?;
        Ok(server)
    }

    /// As a cron job would: no terminal, nothing to type.
    fn send(&self, host: Host, to: &str) -> Result<Ended> {
        self.run(host, &["send", "--to", to, "-y", "tree"])
    }

    fn arrived(&self, folder: &str) -> Result<()> {
        ensure_same(&tree(&self.path("tree"))?, &tree(&self.path(folder).join("tree"))?)
    }
}

/// What Tailscale says when a machine's key has expired: the other's, as this one is told.
fn with_expired(own: Host, peer: Host) -> Result<String> {
    let mut status: Value = serde_json::from_str(&status(own, &[peer], true)?)?;
    status["Peer"][format!("nodekey:{}", peer.name)]["Expired"] = json!(true);
    Ok(status.to_string())
}

/// Two machines with nobody there: paired once, then by name, by address, by whatever names the machine.
#[test]
fn two_machines_with_nobody_there() -> Result<()> {
    let Some(house) = House::new()? else { return Ok(()) };
    house.pair(BETA)?;
    let mut server = Process::start(
        house.command(ALPHA, &["serve", "incoming", "--tailnet", "--json", "--log-file", "log"]),
    )?;
    let line = server.wait_for(Pipe::Err, " takes uploads into ")?;
    let at = "on port 15821 (in the tailnet: alpha, 100.64.0.1, fd7a:115c:a1e0::1)";
    ensure!(line.contains(at), "{line}");
    for to in [
        "alpha",
        "100.64.0.1",
        "100.64.0.1:15821",
        "fd7a:115c:a1e0::1",
        "alpha.tail5f0c1e.ts.net",
        "alpha:15821",
    ] {
        house.send(BETA, to)?.expect(0).context(to)?;
        house.arrived("incoming/beta")?;
        fs::remove_dir_all(house.path("incoming/beta"))?;
    }
    let nobody = house.send(BETA, "alpha:15822")?.expect(5)?;
    nobody.says("nothing listens at 100.64.0.1:15822")?;
    nobody.says("`transfer serve --tailnet`")?;
    server.interrupt()?;
    let ended = server.end()?.expect(0)?;
    let events = ended.stdout.lines().map(serde_json::from_str::<Value>);
    let events: Vec<Value> = events.collect::<Result<_, _>>()?;
    events.iter().try_for_each(check_line)?;
    let one = |event: &str| events.iter().find(|it| it["event"] == event).context("an event");
    let tailnet = json!({ "name": "alpha", "addresses": ALPHA.addresses });
    assert_eq!(one("listening")?["tailnet"], tailnet);
    assert_eq!(one("listening")?["addresses"], json!([]));
    assert_eq!(one("upload")?["tailnet"], "beta (alice@example.org)");
    assert_eq!(one("upload")?["address"], "100.64.0.2");
    let log = fs::read_to_string(house.path("log"))?;
    let from = "upload: device \"beta\", id ";
    ensure!(log.contains(from), "{log}");
    ensure!(log.contains(", from 100.64.0.2, beta (alice@example.org), into \""), "{log}");
    Ok(())
}

/// Each check alone is not enough, whichever is missing; and who is not of the tailnet gets not a byte.
#[test]
fn both_checks_have_to_hold() -> Result<()> {
    let Some(house) = House::new()? else { return Ok(()) };
    house.pair(BETA)?;
    house.cable(ALPHA, GAMMA)?;
    let mut server = house.serve(&["--tailnet", "-v"])?;
    // A stranger.
    let script = "exec 3<>/dev/tcp/100.64.0.1/15821 && cat <&3 | wc -c";
    let mut command = house.net.on(GAMMA, "bash");
    command.args(["-c", script]);
    let nothing = run(command)?.expect(0)?;
    assert_eq!(nothing.stdout.trim(), "0", "{nothing:#?}");
    let line = server.wait_for(Pipe::Err, "turned away")?;
    assert_eq!(line, "turned away 100.64.0.3: 100.64.0.3 is not a device of your tailnet\n");
    // Somebody who has stolen a key that is trusted, but not the machine.
    let stolen = |words: &[&str]| {
        let mut command = house.command(GAMMA, words);
        command.env("TRANSFER_CONFIG", house.path("config/beta"));
        run(command)
    };
    let closed = stolen(&["send", "--to", "100.64.0.1", "-y", "tree"])?.expect(5)?;
    closed.says("100.64.0.1 closed the connection before a word")?;
    closed.says("is this machine a device of its tailnet?")?;
    // The same by the cable, with an address that is welcome at another one of alpha's.
    house.net.0.ip(GAMMA.name, "route add 100.64.0.1/32 via 192.168.77.1 src 192.168.77.2")?;
    stolen(&["send", "--to", "100.64.0.1", "-y", "tree"])?.expect(5)?.says("before a word")?;
    let line = server.wait_for(Pipe::Err, "turned away 192.168.77.2")?;
    assert_eq!(line, "turned away 192.168.77.2: 192.168.77.2 is not a device of your tailnet\n");
    stolen(&["send", "--to", "192.168.77.1", "-y", "tree"])?.expect(0)?;
    house.arrived("incoming/beta")?;
    // A machine of the tailnet that is not trusted.
    house.run(ALPHA, &["trust", "remove", "--yes", "beta"])?.expect(0)?;
    house.send(BETA, "alpha")?.expect(4)?.says("alpha has removed this device")?;
    let line = server.wait_for(Pipe::Err, "turned away 100.64.0.2")?;
    ensure!(line.starts_with("turned away 100.64.0.2, beta (alice@example.org): "), "{line}");
    fs::remove_dir_all(house.path("config/beta"))?;
    house.run(BETA, &["device"])?.expect(0)?;
    let unknown = house.send(BETA, "alpha")?.expect(4)?;
    unknown.says("is from no CA that this device knows")
}

/// A key that has expired opens nothing, whichever side has it.
#[test]
fn an_expired_key_is_no_key() -> Result<()> {
    let Some(house) = House::new()? else { return Ok(()) };
    house.pair(BETA)?;
    house.says(ALPHA, &with_expired(ALPHA, BETA)?)?;
    let mut server = house.serve(&["--tailnet-only"])?;
    house.send(BETA, "alpha")?.expect(5)?.says("closed the connection before a word")?;
    let line = server.wait_for(Pipe::Err, "turned away 100.64.0.2")?;
    ensure!(
        line.ends_with("the Tailscale key of beta (alice@example.org) has expired\n"),
        "{line}"
    );
    house.says(BETA, &with_expired(BETA, ALPHA)?)?;
    for to in ["100.64.0.1", "alpha"] {
        let expired = house.send(BETA, to)?;
        ensure!(expired.code != Some(0), "{expired:#?}");
        expired.says("the Tailscale key of alpha (alice@example.org) has expired")?;
    }
    Ok(())
}

/// A service after the boot: Tailscale comes up later, gets another address, is stopped.
#[test]
fn a_tailnet_that_comes_and_goes() -> Result<()> {
    let Some(house) = House::new()? else { return Ok(()) };
    house.pair(BETA)?;
    let (folder, aside) = (house.path("alpha"), house.path("aside"));
    fs::rename(&folder, &aside)?;
    let mut server = Process::start(house.command(ALPHA, &["serve", "incoming", "--tailnet"]))?;
    let line = server.wait_for(Pipe::Err, " takes uploads into ")?;
    ensure!(line.contains("on port 15821 (in the tailnet once Tailscale runs)"), "{line}");
    server.wait_until_said("is no program: the tailnet is served once Tailscale runs")?;
    let words = ["send", "--to", "alpha", "-y", "--wait", "1m", "tree"];
    let mut sender = Process::start(house.command(BETA, &words))?;
    sender.wait_until_said("waiting up to 1m for alpha")?;
    fs::rename(&aside, &folder)?;
    let line = server.wait_until_said(" listens on port 15821")?;
    ensure!(line.contains("(in the tailnet: alpha, 100.64.0.1, "), "{line}");
    sender.end()?.expect(0)?;
    house.arrived("incoming/beta")?;
    // SIGHUP looks again at once.
    let pid = rustix::process::Pid::from_raw(i32::try_from(server.id())?).context("a process")?;
    let reload = || rustix::process::kill_process(pid, rustix::process::Signal::HUP);
    let moved = Host { addresses: &["100.64.0.11"], ..ALPHA };
    house.net.0.ip(ALPHA.name, "address add 100.64.0.11/10 dev tailscale0")?;
    house.says(ALPHA, &status(moved, &[BETA], true)?)?;
    house.says(BETA, &status(BETA, &[moved], true)?)?;
    reload()?;
    server.wait_until_said(" listens on port 15821 (in the tailnet: alpha, 100.64.0.11)")?;
    house.send(BETA, "alpha")?.expect(0)?;
    let mut stopped: Value = serde_json::from_str(&status(moved, &[BETA], true)?)?;
    stopped["BackendState"] = json!("Stopped");
    house.says(ALPHA, &stopped.to_string())?;
    // One answer alone says nothing.
    reload()?;
    thread::sleep(Duration::from_millis(500));
    reload()?;
    server.wait_until_said("tailscale is stopped (state Stopped): the tailnet is served once")?;
    house.send(BETA, "alpha")?.expect(5)?;
    Ok(())
}

/// The server goes from the local network and is in the tailnet alone, under way; and back at another moment.
#[test]
fn an_upload_goes_on_by_another_network() -> Result<()> {
    let Some(house) = House::new()? else { return Ok(()) };
    house.pair(BETA)?;
    house.cable(ALPHA, BETA)?;
    write(&house.path("tree/large"), noise(12_000_000, 2))?;
    let server = house.serve(&["--tailnet"])?;
    let words = ["send", "--to", "alpha", "-y", "--limit", "3M", "tree"];
    let mut sender = Process::start(house.command(BETA, &words))?;
    sender.wait_until_said("sending ")?;
    thread::sleep(Duration::from_millis(700));
    server.kill()?;
    sender.wait_until_said("; trying again")?;
    let _server = house.serve(&["--tailnet-only"])?;
    sender.end()?.expect(0)?.says("sent 3 files")?;
    house.arrived("incoming/beta")
}

/// With one network alone it is the same: killed, and there again.
#[test]
fn a_server_of_the_tailnet_is_dialled_again() -> Result<()> {
    let Some(house) = House::new()? else { return Ok(()) };
    house.pair(BETA)?;
    write(&house.path("tree/large"), noise(12_000_000, 2))?;
    for to in ["alpha", "100.64.0.1"] {
        let server = house.serve(&["--tailnet"])?;
        let words = ["send", "--to", to, "-y", "--limit", "3M", "tree"];
        let mut sender = Process::start(house.command(BETA, &words))?;
        sender.wait_until_said("sending ")?;
        thread::sleep(Duration::from_millis(700));
        server.kill()?;
        sender.wait_until_said("; trying again")?;
        let _server = house.serve(&["--tailnet"])?;
        sender.end()?.expect(0)?.says("sent 3 files")?;
        house.arrived("incoming/beta")?;
        fs::remove_dir_all(house.path("incoming/beta"))?;
    }
    Ok(())
}

/// Without a port all ten are tried: what is no server, and who is another, is passed by.
#[test]
fn the_port_is_found() -> Result<()> {
    let Some(house) = House::new()? else { return Ok(()) };
    house.pair(BETA)?;
    house.run(GAMMA, &["device"])?.expect(0)?;
    // Something else, then another device.
    let other = house.net.0.at(ALPHA.name, || TcpListener::bind("100.64.0.1:15821"));
    let other = other.join().ok().context("the thread has panicked")??;
    thread::spawn(move || {
        for mut client in other?.incoming().flatten() {
            let _ = client.write_all(b"220 mail.example.org\r\n");
        }
        std::io::Result::Ok(())
    });
    let mut command = house.command(ALPHA, &["serve", "stolen", "--tailnet"]);
    command.env("TRANSFER_CONFIG", house.path("config/gamma"));
    let mut stranger = Process::start(command)?;
    let line = stranger.wait_for(Pipe::Err, " takes uploads into ")?;
    ensure!(line.contains("on port 15822"), "{line}");
    let server = house.serve(&["--tailnet"])?;
    house.send(BETA, "alpha")?.expect(0)?;
    house.arrived("incoming/beta")?;
    ensure!(fs::read_dir(house.path("stolen"))?.count() == 0);
    drop(server);
    // Who is there and is not the one tells more than nobody.
    let other = house.send(BETA, "alpha")?.expect(4)?;
    other.says("alpha has another key than before")
}

/// Certificates of a CA: the host that they are for is the one that was typed. And a fingerprint needs none.
#[test]
fn certificates_and_fingerprints_count_there_too() -> Result<()> {
    let Some(house) = House::new()? else { return Ok(()) };
    fs::create_dir(house.path("papers"))?;
    for words in [
        &["ca", "init", "home"][..],
        &["ca", "issue", "alpha", "--san", "alpha.tail5f0c1e.ts.net", "--out", "papers"],
        &["ca", "issue", "beta", "--out", "papers"],
    ] {
        house.run(ALPHA, words)?.expect(0)?;
    }
    let (ca, serving) = ("config/alpha/ca/ca.pem", ["papers/alpha.pem", "papers/alpha.key"]);
    let papers = ["--cert", serving[0], "--key", serving[1], "--ca", ca];
    let _server = house.serve(&[&["--tailnet"], &papers[..]].concat())?;
    let shown = ["--cert", "papers/beta.pem", "--key", "papers/beta.key", "--ca", ca];
    let send = |to: &str, more: &[&str]| {
        house.run(BETA, &[&["send", "--to", to, "-y", "tree"], &shown[..], more].concat())
    };
    send("alpha", &[])?.expect(0)?;
    send("alpha.tail5f0c1e.ts.net", &[])?.expect(0)?;
    let other = send("100.64.0.1", &[])?.expect(4)?;
    other.says("not for 100.64.0.1")?;
    house.run(GAMMA, &["trust", "import", "papers/alpha.pem"])?.expect(0)?;
    let card = house.run(GAMMA, &["trust", "show", "alpha", "--json"])?.expect(0)?.stdout;
    let card = card.lines().find(|it| it.contains("\"fingerprint\"")).context("a card")?;
    let card: Value = serde_json::from_str(card)?;
    let print = card["fingerprint"].as_str().context("a fingerprint")?.to_owned();
    send("100.64.0.1", &["--fingerprint", &print])?.expect(0)?;
    send("alpha", &["--fingerprint", &print])?.expect(0)?;
    send("alpha", &["--fingerprint", &"ab".repeat(32)])?.expect(4)?;
    Ok(())
}

/// The token is worth nothing to who is not of the tailnet, and a machine that is not there is not asked.
#[test]
fn pairing_is_for_devices_of_the_tailnet() -> Result<()> {
    let Some(house) = House::new()? else { return Ok(()) };
    let mut shows = Process::start(house.command(ALPHA, &["pair", "--tailnet"]))?;
    let line = shows.wait_for(Pipe::Out, "transfer pair ")?;
    let ticket = line.trim_end().rsplit(' ').next().context("a ticket")?.to_owned();
    let closed = house.run(GAMMA, &["pair", &ticket])?.expect(5)?;
    closed.says("closed the connection")?;
    shows.wait_until_said("turned away 100.64.0.3: 100.64.0.3 is not a device of your tailnet")?;
    let near = house.run(BETA, &["pair", "--tailnet", "192.168.77.1:ocean-tiger"])?.expect(4)?;
    near.says("192.168.77.1 is not a device of your tailnet")?;
    let address = ticket.replacen("alpha", "100.64.0.1", 1);
    house.run(BETA, &["pair", "--tailnet", &address])?.expect(0)?;
    shows.end()?.expect(0)?;
    Ok(())
}

/// Names that nobody has, and a Tailscale that does not run, are told with the local network's reasons.
#[test]
fn why_nobody_is_found() -> Result<()> {
    let Some(house) = House::new()? else { return Ok(()) };
    house.run(BETA, &["device"])?.expect(0)?;
    let unknown = "no device of your tailnet is called \"attic\"";
    house.send(BETA, "attic")?.expect(5)?.says(unknown)?;
    house.send(BETA, "attic.tail5f0c1e.ts.net")?.expect(5)?.says("no device of your tailnet")?;
    house.send(BETA, "100.64.0.77")?.expect(4)?.says("is not a device of your tailnet")?;
    let mut stopped: Value = serde_json::from_str(&status(BETA, &[ALPHA], true)?)?;
    stopped["BackendState"] = json!("Stopped");
    house.says(BETA, &stopped.to_string())?;
    for to in ["alpha", "100.64.0.1", "alpha.tail5f0c1e.ts.net"] {
        house.send(BETA, to)?.expect(5)?.says("tailscale is stopped (state Stopped)")?;
    }
    // Whoever names interfaces means no other way.
    house.cable(ALPHA, BETA)?;
    let words = ["send", "--to", "alpha", "-y", "--interface", "eth0", "--wait", "2s", "tree"];
    let near = house.run(BETA, &words)?.expect(5)?;
    near.says("alpha is not found in the local network")?;
    ensure!(!near.stderr.contains("tailscale"), "{near:#?}");
    Ok(())
}

/// Out through the proxy of a node's own tailscaled.
#[test]
fn a_server_behind_a_proxy() -> Result<()> {
    let scratch = Scratch::new()?;
    write(&scratch.join("tree/notes.txt"), "hello")?;
    let whois = "exec cat \"$here/whois.json\"";
    let here = tailscale(&scratch.join("alpha"), &status(ALPHA, &[BETA], false)?, whois)?;
    fs::copy(fixture("whois_user.json"), scratch.join("alpha/whois.json"))?;
    let there = tailscale(&scratch.join("beta"), &status(BETA, &[ALPHA], false)?, "")?;
    let command = |program: &PathBuf, device: &str, words: &[&str]| {
        let mut command = transfer();
        command.args(words).current_dir(scratch.path());
        command.env("TRANSFER_TAILSCALE", program);
        command.env("TRANSFER_CONFIG", scratch.join("config").join(device));
        command
    };
    let through = |words: &[&str]| -> Result<()> {
        let (at, serving) = proxy(socks5)?;
        let mut command = command(&there, "beta", words);
        command.env("ALL_PROXY", format!("socks5://127.0.0.1:{at}"));
        run(command)?.expect(0)?;
        let target = serving.join().ok().context("the proxy has panicked")??;
        assert_eq!(target.ip().to_string(), "100.64.0.1");
        Ok(())
    };
    let words = ["pair", "--tailnet", "--port", "0", "--name", "beta"];
    let mut shows = Process::start(command(&here, "alpha", &words))?;
    let line = shows.wait_for(Pipe::Out, "transfer pair ")?;
    through(&["pair", "--name", "alpha", line.trim_end().rsplit(' ').next().context("a ticket")?])?;
    shows.end()?.expect(0)?;
    let words = ["serve", "incoming", "--tailnet-only", "--port", "0"];
    let mut server = Process::start(command(&here, "alpha", &words))?;
    let line = server.wait_for(Pipe::Err, " takes uploads into ")?;
    let (_, port) = line.split_once(" on port ").context("a port")?;
    let port = port.split(' ').next().context("a port")?;
    through(&["send", "--to", &format!("alpha:{port}"), "-y", "tree"])?;
    assert_eq!(fs::read(scratch.join("incoming/beta/tree/notes.txt"))?, b"hello");
    Ok(())
}

/// In a network of strangers: whoever announces the name there, and has another key, keeps nobody from the one that
/// is in the tailnet. And a local network that comes later is served and announced in.
#[test]
fn a_local_network_beside_it() -> Result<()> {
    let Some(house) = House::new()? else { return Ok(()) };
    house.pair(BETA)?;
    let mut server = house.serve(&["--tailnet", "--name", "alpha"])?;
    house.cable(GAMMA, BETA)?;
    let mut command = house.command(GAMMA, &["serve", "stolen", "--name", "alpha"]);
    let mut stranger = Process::start({
        command.env("TRANSFER_TAILSCALE", "/nonexistent/tailscale");
        command
    })?;
    stranger.wait_for(Pipe::Err, " takes uploads into ")?;
    // Its record has gone out.
    thread::sleep(Duration::from_secs(3));
    house.run(BETA, &["find", "--all"])?.expect(5)?;
    house.send(BETA, "alpha")?.expect(0)?;
    house.arrived("incoming/beta")?;
    ensure!(fs::read_dir(house.path("stolen"))?.count() == 0);
    drop(stranger);
    house.net.0.ip(GAMMA.name, "link delete eth0")?;
    house.cable(ALPHA, BETA)?;
    server.wait_until_said("listens on port 15821 (192.168.77.1")?;
    for _ in 0..10 {
        if house.run(BETA, &["find", "--wait", "2s"])?.code == Some(0) {
            return Ok(());
        }
    }
    anyhow::bail!("it is not announced")
}

/// A `tailscale` that hangs holds up neither the start for long nor the end.
#[test]
fn a_tailscale_that_hangs() -> Result<()> {
    let Some(net) = Net::alone(ALPHA)? else { return Ok(()) };
    let scratch = Scratch::new()?;
    let program = scratch.join("tailscale");
    write(&program, "#!/bin/sh\nexec sleep 600\n")?;
    chmod(&program, 0o755)?;
    let mut command = net.transfer(ALPHA, &program);
    command.args(["serve", "incoming", "--tailnet"]).current_dir(scratch.path());
    command.env("TRANSFER_CONFIG", scratch.join("config"));
    let mut server = Process::start(command)?;
    server.wait_until_said("(in the tailnet once Tailscale runs)")?;
    server.wait_until_said("gave no answer in 3s: the tailnet is served once Tailscale runs")?;
    server.interrupt()?;
    server.end()?.expect(0)?;
    Ok(())
}

/// One that takes its time, as after a boot, is asked again for as long as `--wait` says, and a server that is not there
/// yet is waited for, whoever has its name in the local network.
#[test]
fn a_server_that_comes_late() -> Result<()> {
    let Some(house) = House::new()? else { return Ok(()) };
    house.pair(BETA)?;
    house.cable(GAMMA, BETA)?;
    let slow = house.path("slow");
    let (mark, real) = (house.path("asked"), house.path("beta/tailscale"));
    let script = format!(
        "#!/bin/sh\nmkdir '{}' 2>/dev/null && sleep 6\nexec '{}' \"$@\"\n",
        mark.display(),
        real.display()
    );
    write(&slow, script)?;
    chmod(&slow, 0o755)?;
    let sending = |wait: &[&str]| {
        let words = [&["send", "--to", "alpha", "-y"], wait, &["tree"]].concat();
        let mut command = house.command(BETA, &words);
        command.env("TRANSFER_TAILSCALE", &slow);
        command
    };
    let server = house.serve(&["--tailnet-only"])?;
    run(sending(&["--wait", "1m"]))?.expect(0)?;
    house.arrived("incoming/beta")?;
    drop(server);
    fs::remove_dir_all(house.path("incoming/beta"))?;
    let mut command = house.command(GAMMA, &["serve", "stolen", "--name", "alpha"]);
    command.env("TRANSFER_TAILSCALE", "/nonexistent/tailscale");
    let mut stranger = Process::start(command)?;
    stranger.wait_for(Pipe::Err, " takes uploads into ")?;
    // Its record has gone out.
    thread::sleep(Duration::from_secs(3));
    // Whoever does not wait is told of him.
    run(sending(&[]))?.expect(4)?;
    let mut sender = Process::start(sending(&["--wait", "1m"]))?;
    sender.wait_for(Pipe::Err, "waiting")?;
    let _server = house.serve(&["--tailnet-only"])?;
    sender.end()?.expect(0)?;
    house.arrived("incoming/beta")?;
    ensure!(fs::read_dir(house.path("stolen"))?.count() == 0);
    Ok(())
}

/// `doctor` says where this machine would serve, and finds the server of another.
#[test]
fn the_doctor_looks_for_a_server() -> Result<()> {
    let Some(house) = House::new()? else { return Ok(()) };
    house.pair(BETA)?;
    let doctor = |place: &str, code: i32, parts: &[&str]| -> Result<()> {
        let seen = house.run(BETA, &["doctor", place])?.expect(code).context(place.to_owned())?;
        for part in parts {
            ensure!(seen.stdout.contains(part), "{part:?}: {seen:#?}");
        }
        Ok(())
    };
    let own = "  ok       `transfer serve --tailnet` is reached at 100.64.0.2, fd7a:115c:a1e0::2, on the \
               first free port of 15821 to 15830";
    let none = "  skipped  no `transfer serve` there on ports 15821 to 15830\n";
    doctor("alpha", 0, &[own, none])?;
    let server = house.serve(&["--tailnet"])?;
    let serves = ") serves at 100.64.0.1:15821; it and this device trust each other, ";
    let list = || fs::read(house.path("config/beta/trust.json"));
    let before = list()?;
    doctor("alpha", 0, &["  ok       alpha (", serves])?;
    assert_eq!(list()?, before, "who only looks notes nothing");
    doctor("alpha:15821", 0, &[serves])?;
    house.run(ALPHA, &["trust", "remove", "--yes", "beta"])?.expect(0)?;
    doctor(
        "alpha",
        0,
        &["  warning  no server there to send to: alpha has removed this device\n"],
    )?;
    drop(server);
    Ok(())
}

/// Both in nodes without a network device: tailscaled delivers to 127.0.0.1 and says who comes, and `tailscale
/// nc` leads out.
#[test]
fn nodes_without_a_network_device() -> Result<()> {
    let Some(net) = Net::alone(ALPHA)? else { return Ok(()) };
    let scratch = Scratch::new()?;
    write(&scratch.join("tree/notes.txt"), "hello")?;
    let whois = "if [ \"$1 $2 $3\" = 'whois --json --proto=tcp' ]; then\n\
                 [ -e \"$here/whois.json\" ] && exec cat \"$here/whois.json\"\n\
                 echo 'peer not found' >&2\nexit 1\nfi";
    let nc = "if [ \"$1 $2\" = 'nc 100.64.0.1' ]; then\n\
              exec bash -c 'exec 3<>\"/dev/tcp/127.0.0.1/$0\" || exit 1; cat <&3 & cat >&3' \"$3\"\nfi";
    let here = tailscale(&scratch.join("alpha"), &status(ALPHA, &[BETA], false)?, whois)?;
    let there = tailscale(&scratch.join("beta"), &status(BETA, &[ALPHA], false)?, nc)?;
    let command = |program: &PathBuf, device: &str, words: &[&str]| {
        let mut command = net.transfer(ALPHA, program);
        command.args(words).current_dir(scratch.path());
        command.env("TRANSFER_CONFIG", scratch.join("config").join(device));
        command
    };
    fs::copy(fixture("whois_user.json"), scratch.join("alpha/whois.json"))?;
    let mut shows =
        Process::start(command(&here, "alpha", &["pair", "--tailnet", "--name", "beta"]))?;
    let line = shows.wait_for(Pipe::Out, "transfer pair ")?;
    let ticket = line.trim_end().rsplit(' ').next().context("a ticket")?;
    run(command(&there, "beta", &["pair", "--name", "alpha", ticket]))?.expect(0)?;
    shows.end()?.expect(0)?;

    let _taken = net.0.at(ALPHA.name, || TcpListener::bind((Ipv4Addr::LOCALHOST, 15821)));
    let _taken = _taken.join().ok().context("the thread has panicked")??;
    let mut server =
        Process::start(command(&here, "alpha", &["serve", "incoming", "-v", "--tailnet"]))?;
    let line = server.wait_for(Pipe::Err, " takes uploads into ")?;
    let at = "on port 15822 (in the tailnet: alpha, 100.64.0.1, fd7a:115c:a1e0::1)";
    ensure!(line.contains(at), "{line}");
    // The first port says nothing, and is not waited for.
    let words = ["send", "--to", "alpha", "-y", "tree"];
    run(command(&there, "beta", &words))?.expect(0)?;
    assert_eq!(fs::read(scratch.join("incoming/beta/tree/notes.txt"))?, b"hello");
    let line = server.wait_until_said("beta (100.101.7.12, desk-alice (alice@example.org)): ")?;
    ensure!(line.contains("1 file"), "{line}");

    // A program of this machine is no device, be its key trusted or not.
    fs::remove_file(scratch.join("alpha/whois.json"))?;
    run(command(&there, "beta", &["send", "--to", "127.0.0.1:15822", "-y", "tree"]))?.expect(5)?;
    server.wait_until_said("turned away 127.0.0.1: it does not come from the tailnet")?;
    // Neither is one whose key has expired.
    let mut whois: Value = serde_json::from_slice(&fs::read(fixture("whois_user.json"))?)?;
    whois["Node"]["Expired"] = json!(true);
    write(&scratch.join("alpha/whois.json"), whois.to_string())?;
    run(command(&there, "beta", &words))?.expect(5)?;
    server.wait_until_said("turned away 127.0.0.1: the Tailscale key of desk-alice")?;
    Ok(())
}
