//! Two hosts of a tailnet, and a third that does not belong: network namespaces joined by a
//! switch, each with a `tailscale` that answers as the real one does.
#![cfg(target_os = "linux")]

#[path = "../e2e/events.rs"]
#[allow(dead_code, reason = "these tests use a part of it")]
mod events;
mod serving;
mod userspace;
#[path = "../util/mod.rs"]
mod util;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use util::machines::Machines;
use util::process::{Ended, Pipe, Process, Sender, run};
use util::skip;
use util::tree::{Scratch, chmod, ensure_arrived, noise, write};

/// A device of the tailnet.
#[derive(Clone, Copy)]
struct Host {
    name: &'static str,
    addresses: &'static [&'static str],
}

const ALPHA: Host = Host { name: "alpha", addresses: &["100.64.0.1", "fd7a:115c:a1e0::1"] };
const BETA: Host = Host { name: "beta", addresses: &["100.64.0.2", "fd7a:115c:a1e0::2"] };
const GAMMA: Host = Host { name: "gamma", addresses: &["100.64.0.3", "fd7a:115c:a1e0::3"] };
const ALPHA_V6: Host = Host { name: "alpha", addresses: &["fd7a:115c:a1e0::1"] };
const BETA_V6: Host = Host { name: "beta", addresses: &["fd7a:115c:a1e0::2"] };

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tailscale").join(name)
}

/// What `tailscale status --json` says on `own`: the fixture, with other devices.
fn status(own: Host, peers: &[Host], device: bool) -> Result<String> {
    let text = fs::read(fixture("status_tun_4peers.json"))?;
    let mut status: Value = serde_json::from_slice(&text)?;
    let node = |like: &Value, host: Host| {
        let mut node = like.clone();
        node["ID"] = json!(format!("n{}CNTRL", host.name));
        node["HostName"] = json!(host.name);
        node["DNSName"] = json!(format!("{}.tail5f0c1e.ts.net.", host.name));
        node["TailscaleIPs"] = json!(host.addresses);
        node["KeyExpiry"] = Value::Null;
        node
    };
    let like = status["Self"].clone();
    status["TUN"] = json!(device);
    status["TailscaleIPs"] = json!(own.addresses);
    status["Self"] = node(&like, own);
    let keyed = peers.iter().map(|peer| (format!("nodekey:{}", peer.name), node(&like, *peer)));
    status["Peer"] = Value::Object(keyed.collect());
    Ok(serde_json::to_string_pretty(&status)?)
}

/// A `tailscale` in `folder` that gives this status, and does `other` for all other commands.
fn tailscale(folder: &Path, status: &str, other: &str) -> Result<PathBuf> {
    write(&folder.join("status.json"), status)?;
    let program = folder.join("tailscale");
    let script = format!(
        "#!/bin/sh\nhere='{}'\n[ -z \"$TRANSFER_TICKET\" ] || exec echo 'it has the ticket'\n\
         if [ \"$*\" = 'status --json' ]; then\n\
         exec cat \"$here/status.json\"\nfi\n{other}\necho \"unexpected: $*\" >&2\nexit 64\n",
        folder.display()
    );
    write(&program, script)?;
    chmod(&program, 0o755)?;
    Ok(program)
}

/// A small tree to send.
fn tree(scratch: &Scratch) -> Result<PathBuf> {
    let tree = scratch.join("tree");
    write(&tree.join("sub/data"), noise(2_000_000, 1))?;
    write(&tree.join("notes.txt"), "hello")?;
    write(&tree.join("empty"), "")?;
    std::os::unix::fs::symlink("notes.txt", tree.join("link"))?;
    Ok(tree)
}

/// Namespaces joined by a switch in one of their own; gone when dropped.
struct Net(Machines);

impl Net {
    /// A host that reaches nobody, not even a switch.
    fn alone(host: Host) -> Result<Option<Self>> {
        let Some(net) = Machines::begin("tailnet", host.name)? else { return Ok(None) };
        net.ip(host.name, "link set lo up")?;
        Ok(Some(Self(net)))
    }

    /// One namespace for each of the hosts.
    fn new(hosts: &[Host]) -> Result<Option<Self>> {
        let Some(mut net) = Machines::begin("tailnet", "switch")? else { return Ok(None) };
        let switch = net.name("switch");
        net.ip("switch", "link add br0 type bridge")?;
        net.ip("switch", "link set br0 up")?;
        for Host { name, addresses } in hosts {
            net.add(name)?;
            net.ip(
                name,
                &format!("link add tailscale0 type veth peer name {name} netns {switch}"),
            )?;
            net.ip("switch", &format!("link set {name} master br0 up"))?;
            for address in *addresses {
                // Without duplicate detection an IPv6 address can be bound at once.
                let address = match address.contains(':') {
                    true => format!("{address}/48 dev tailscale0 nodad"),
                    false => format!("{address}/10 dev tailscale0"),
                };
                net.ip(name, &format!("address add {address}"))?;
            }
            for device in ["lo", "tailscale0"] {
                net.ip(name, &format!("link set {device} up"))?;
            }
        }
        Ok(Some(Self(net)))
    }

    /// A program, to run in a host's namespace.
    fn on(&self, host: Host, program: &str) -> Command {
        self.0.on(host.name, program)
    }

    /// `transfer`, to run in a host's namespace with this `tailscale`.
    fn transfer(&self, host: Host, tailscale: &Path) -> Command {
        let mut command = self.0.transfer(host.name, &[]);
        command.env("TRANSFER_TAILSCALE", tailscale);
        command
    }
}

/// Two hosts that know each other and one that they do not know, with a tree at the first.
struct Tailnet {
    net: Net,
    scratch: Scratch,
    tree: PathBuf,
    hosts: [Host; 2],
}

impl Tailnet {
    fn new(hosts: [Host; 2]) -> Result<Option<Self>> {
        let Some(net) = Net::new(&[hosts[0], hosts[1], GAMMA])? else { return Ok(None) };
        let scratch = Scratch::new()?;
        let tree = tree(&scratch)?;
        for (own, peer) in [(hosts[0], hosts[1]), (hosts[1], hosts[0])] {
            tailscale(&scratch.join(own.name), &status(own, &[peer], true)?, "")?;
        }
        // This one thinks that it belongs.
        tailscale(&scratch.join(GAMMA.name), &status(GAMMA, &hosts, true)?, "")?;
        Ok(Some(Self { net, scratch, tree, hosts }))
    }

    fn transfer(&self, host: Host) -> Command {
        self.net.transfer(host, &self.scratch.join(host.name).join("tailscale"))
    }

    fn send(&self) -> Result<Sender> {
        let mut command = self.transfer(self.hosts[0]);
        command.args(["send", "-y"]).arg(&self.tree);
        Sender::start(command)
    }

    fn receive(&self, host: Host, ticket: &str, into: &Path) -> Result<Ended> {
        let mut command = self.transfer(host);
        command.args(["receive", "-y", ticket, "-o"]).arg(into);
        run(command)
    }

    /// The second host receives with this ticket, all of it.
    fn is_served(&self, sender: Sender, ticket: &str) -> Result<()> {
        let into = Scratch::new()?;
        let received = self.receive(self.hosts[1], ticket, into.path())?.expect(0)?;
        received.says("connecting to alpha (alice@example.org)\n")?;
        sender.end()?.expect(0)?.says("\nbeta (alice@example.org) is connected\n")?;
        ensure_arrived(into.path(), &[&self.tree])
    }
}

/// The addresses at which a process's namespace listens, as `/proc` writes them.
fn listening(process: u32) -> Result<Vec<String>> {
    let mut addresses = Vec::new();
    for table in ["tcp", "tcp6"] {
        let table = fs::read_to_string(format!("/proc/{process}/net/{table}"))?;
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let [_, local, _, "0A", ..] = fields[..] {
                addresses.push(local.to_owned());
            }
        }
    }
    Ok(addresses)
}

/// Packets vanish on the way while data flows, and neither kernel is told. Both sides notice by
/// themselves, and go on when the way is there again.
#[test]
fn a_way_that_swallows_everything_is_noticed_on_both_sides() -> Result<()> {
    let Some(tailnet) = Tailnet::new([ALPHA, BETA])? else { return Ok(()) };
    write(&tailnet.tree.join("large"), noise(20_000_000, 2))?;
    let mut command = tailnet.transfer(ALPHA);
    command.args(["send", "-y", "--limit", "5M"]).arg(&tailnet.tree);
    let mut sender = Sender::start(command)?;
    let into = Scratch::new()?;
    let mut command = tailnet.transfer(BETA);
    command.args(["receive", "-y", "-v", &sender.ticket, "-o"]).arg(into.path());
    let mut receiver = Process::start(command)?;
    receiver.wait_for(Pipe::Err, "receiving ")?;
    std::thread::sleep(std::time::Duration::from_secs(1));
    tailnet.net.0.ip("switch", &format!("link set {} nomaster", BETA.name))?;
    let lost = "the other side has sent nothing for too long";
    let line = receiver.wait_for(Pipe::Err, "; trying again")?;
    ensure!(line.contains(lost), "{line:?}");
    let line = sender.process.wait_for(Pipe::Err, "; waiting for it to come back")?;
    ensure!(line.contains(lost), "{line:?}");
    tailnet.net.0.ip("switch", &format!("link set {} master br0", BETA.name))?;
    receiver.end()?.expect(0)?;
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&tailnet.tree])
}

#[test]
fn two_hosts_of_a_tailnet_find_each_other() -> Result<()> {
    let Some(tailnet) = Tailnet::new([ALPHA, BETA])? else { return Ok(()) };
    // The namespace is the sender's own, so the usual port is free and the ticket short.
    let sender = tailnet.send()?;
    let ticket = sender.ticket.clone();
    ensure!(ticket.starts_with("alpha:"), "{ticket}");
    assert_eq!(ticket.matches(':').count(), 1, "{ticket}");
    // 100.64.0.1 and 15820, each in hexadecimal; the address's bytes come backwards.
    if cfg!(target_endian = "little") {
        assert_eq!(listening(sender.process.id())?, ["01004064:3DCC"]);
    }
    tailnet.is_served(sender, &ticket)
}

#[test]
fn a_sender_is_found_by_its_name() -> Result<()> {
    let Some(tailnet) = Tailnet::new([ALPHA, BETA])? else { return Ok(()) };
    for name in ["alpha", "Alpha", "alpha.tail5f0c1e.ts.net", "alpha.tail5f0c1e.ts.net."] {
        let sender = tailnet.send()?;
        let ticket = sender.ticket.replacen("alpha", name, 1);
        tailnet.is_served(sender, &ticket).context(name)?;
    }
    Ok(())
}

/// No wait mends a slip in a name.
#[test]
fn a_wait_for_a_name_that_nobody_has_ends_at_once() -> Result<()> {
    let Some(tailnet) = Tailnet::new([ALPHA, BETA])? else { return Ok(()) };
    let into = Scratch::new()?;
    let mut command = tailnet.transfer(BETA);
    command.args(["receive", "-y", "--wait=1h", "nobody:ocean-tiger", "-o"]).arg(into.path());
    run(command)?.expect(5)?.says("no device of your tailnet is called \"nobody\"")
}

#[test]
fn addresses_may_be_ipv6() -> Result<()> {
    let Some(tailnet) = Tailnet::new([ALPHA_V6, BETA_V6])? else { return Ok(()) };
    let sender = tailnet.send()?;
    let ticket = sender.ticket.clone();
    ensure!(ticket.starts_with("alpha:"), "{ticket}");
    assert_eq!(listening(sender.process.id())?.len(), 1);
    tailnet.is_served(sender, &ticket)?;
    // By name, too.
    let sender = tailnet.send()?;
    let ticket = sender.ticket.replacen("alpha", "[fd7a:115c:a1e0::1]", 1);
    tailnet.is_served(sender, &ticket)
}

#[test]
fn a_stranger_gets_not_a_byte_and_ends_nothing() -> Result<()> {
    let Some(tailnet) = Tailnet::new([ALPHA, BETA])? else { return Ok(()) };
    let mut sender = tailnet.send()?;
    let ticket = sender.ticket.clone();
    // The namespaces are only what they should be if a peer does get bytes.
    let hello = "exec 3<>/dev/tcp/100.64.0.1/15820 && head -c 75 <&3 | wc -c";
    let all = "exec 3<>/dev/tcp/100.64.0.1/15820 && cat <&3 | wc -c";
    for (host, script, bytes) in [(BETA, hello, "75"), (GAMMA, all, "0"), (GAMMA, all, "0")] {
        let mut command = tailnet.net.on(host, "bash");
        command.args(["-c", script]);
        let ended = run(command)?;
        if ended.stderr.contains("bash") && ended.stderr.contains("No such file") {
            skip(format_args!("there is no bash: {}", ended.stderr));
            return Ok(());
        }
        assert_eq!((ended.code, ended.stdout.trim()), (Some(0), bytes), "{ended:#?}");
        if bytes == "0" {
            let line = sender.process.wait_for(Pipe::Err, "turned away 100.64.0.3")?;
            let why = "100.64.0.3 is not a device of your tailnet";
            assert_eq!(line, format!("turned away 100.64.0.3: {why}\n"));
        }
    }
    // Not even with the right token.
    let into = Scratch::new()?;
    let received = tailnet.receive(GAMMA, &ticket, &into.join("new"))?.expect(5)?;
    received.says("error: alpha (alice@example.org) closed the connection: ")?;
    received.says("is this machine a device of its tailnet?\n")?;
    ensure!(!into.join("new").exists(), "a folder was made for nothing");
    tailnet.is_served(sender, &ticket)
}

/// The doctor looks the same way as `receive`, and disturbs nobody.
#[test]
fn a_doctor_sees_what_a_receiver_would_meet() -> Result<()> {
    let Some(tailnet) = Tailnet::new([ALPHA, BETA])? else { return Ok(()) };
    let doctor = |host: Host, peer: &[&str], code: i32, lines: &[&str]| -> Result<()> {
        let mut command = tailnet.transfer(host);
        command.arg("doctor").args(peer).current_dir(tailnet.scratch.path());
        let ended = run(command)?.expect(code).context(host.name)?;
        let mut rest = &*ended.stdout;
        for line in lines {
            let (_, after) =
                rest.split_once(line).with_context(|| format!("{line}: {ended:#?}"))?;
            rest = after;
        }
        Ok(())
    };
    // As after traffic, straight.
    let at = tailnet.scratch.join(BETA.name);
    let mut known: Value = serde_json::from_str(&status(BETA, &[ALPHA], true)?)?;
    known["Peer"]["nodekey:alpha"]["Active"] = json!(true);
    known["Peer"]["nodekey:alpha"]["CurAddr"] = json!("192.0.2.1:41641");
    write(&at.join("status.json"), serde_json::to_string(&known)?)?;

    let sender = tailnet.send()?;
    let waits = "  ok       a `transfer send` waits there on port 15820\n";
    let direct = "  ok       the way is direct, to 192.0.2.1:41641\nno problems\n";
    let online =
        "  ok       100.64.0.1 is alpha (alice@example.org), a device of the tailnet, online\n";
    let own = "  ok       free at 100.64.0.2, where `transfer send` listens\n";
    for name in ["alpha", "100.64.0.1", &sender.ticket] {
        doctor(BETA, &[name], 0, &[own, online, waits, direct])?;
    }
    let id = sender.process.id();
    let taken = format!(
        "  ok       in use by transfer (process {id}): a `transfer send` waits there; the next"
    );
    doctor(ALPHA, &[], 0, &[&taken])?;
    doctor(
        ALPHA,
        &["alpha"],
        0,
        &["100.64.0.1 is alpha (alice@example.org), this machine\n", waits],
    )?;
    let closed = "  warning  port 15820 there is open, but hangs up at once: ";
    doctor(GAMMA, &["alpha"], 0, &[closed])?;

    let ticket = sender.ticket.clone();
    tailnet.is_served(sender, &ticket)?;
    let gone = "  warning  it answers, but nothing listens on port 15820 there\n";
    doctor(BETA, &["alpha"], 0, &[gone])?;
    // Nobody answers at all.
    tailnet.net.0.ip("alpha", "address delete 100.64.0.1/10 dev tailscale0")?;
    doctor(BETA, &["alpha"], 1, &["  problem  ", "100.64.0.1:15820", "1 problem"])
}
