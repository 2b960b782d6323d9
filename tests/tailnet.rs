//! Two hosts of a tailnet, and a third that does not belong: network namespaces joined by a
//! switch, each with a `tailscale` that answers as the real one does. Nodes without a network
//! device need no namespaces, only proxies that answer as tailscaled's do.
#![cfg(unix)]
#![expect(clippy::print_stderr, reason = "a test that cannot run here says so")]

mod util;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use util::process::{Ended, Pipe, Sender, clean, run, transfer};
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

/// What `tailscale whois --json` says of a device whose key has expired.
fn whois_expired() -> Result<String> {
    let mut whois: Value = serde_json::from_slice(&fs::read(fixture("whois_user.json"))?)?;
    whois["Node"]["Expired"] = json!(true);
    Ok(whois.to_string())
}

/// Why it is turned away.
const EXPIRED: &str = "the Tailscale key of desk-alice (alice@example.org) has expired";

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
struct Net {
    prefix: String,
    names: Vec<String>,
}

impl Net {
    /// One namespace for each of the hosts, or nothing where that is not allowed.
    fn new(hosts: &[Host]) -> Result<Option<Self>> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("transfer-test-{}-{count}", std::process::id());
        let mut net = Self { prefix, names: Vec::new() };
        if !cfg!(target_os = "linux") || !net.add("switch") {
            eprintln!("skipped: network namespaces need Linux, root and `ip`");
            return Ok(None);
        }
        let switch = net.name("switch");
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &switch, "link", "set", "br0", "up"])?;
        for host in hosts {
            ensure!(net.add(host.name), "no namespace for {}", host.name);
            let name = net.name(host.name);
            let veth = ["link", "add", "tailscale0", "type", "veth", "peer", "name", host.name];
            ip(&[&["-n", &*name][..], &veth, &["netns", &*switch]].concat())?;
            ip(&["-n", &switch, "link", "set", host.name, "master", "br0", "up"])?;
            for address in host.addresses {
                // Without duplicate detection an IPv6 address can be bound at once.
                let address: &[&str] = match address.contains(':') {
                    true => &[&format!("{address}/48"), "dev", "tailscale0", "nodad"],
                    false => &[&format!("{address}/10"), "dev", "tailscale0"],
                };
                ip(&[&["-n", &*name, "address", "add"], address].concat())?;
            }
            for device in ["lo", "tailscale0"] {
                ip(&["-n", &name, "link", "set", device, "up"])?;
            }
        }
        Ok(Some(net))
    }

    fn name(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }

    fn add(&mut self, host: &str) -> bool {
        let name = self.name(host);
        let added = ip(&["netns", "add", &name]).is_ok();
        if added {
            self.names.push(name);
        }
        added
    }

    /// A program, to run in a host's namespace.
    fn on(&self, host: Host, program: &str) -> Command {
        let mut command = clean(Command::new("ip"));
        command.args(["netns", "exec", &self.name(host.name), program]);
        command
    }

    /// `transfer`, to run in a host's namespace with this `tailscale`.
    fn transfer(&self, host: Host, tailscale: &Path) -> Command {
        let mut command = self.on(host, env!("CARGO_BIN_EXE_transfer"));
        command.env("TRANSFER_TAILSCALE", tailscale);
        command
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(args).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {said}", args.join(" "));
    Ok(())
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

#[test]
fn two_hosts_of_a_tailnet_find_each_other() -> Result<()> {
    let Some(tailnet) = Tailnet::new([ALPHA, BETA])? else { return Ok(()) };
    // The namespace is the sender's own, so the usual port is free and the ticket short.
    let sender = tailnet.send()?;
    let ticket = sender.ticket.clone();
    ensure!(ticket.starts_with("100.64.0.1:"), "{ticket}");
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
        let ticket = sender.ticket.replace("100.64.0.1", name);
        tailnet.is_served(sender, &ticket).context(name)?;
    }
    Ok(())
}

#[test]
fn addresses_may_be_ipv6() -> Result<()> {
    let Some(tailnet) = Tailnet::new([ALPHA_V6, BETA_V6])? else { return Ok(()) };
    let sender = tailnet.send()?;
    let ticket = sender.ticket.clone();
    ensure!(ticket.starts_with("[fd7a:115c:a1e0::1]:"), "{ticket}");
    assert_eq!(listening(sender.process.id())?.len(), 1);
    tailnet.is_served(sender, &ticket)?;
    // By name, too.
    let sender = tailnet.send()?;
    let ticket = sender.ticket.replace("[fd7a:115c:a1e0::1]", "alpha");
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
            eprintln!("skipped: there is no bash: {}", ended.stderr);
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
    let taken =
        format!("  ok       in use by transfer (process {id}): a `transfer send` waits there\n");
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
    ip(&[
        "-n",
        &tailnet.net.name("alpha"),
        "address",
        "delete",
        "100.64.0.1/10",
        "dev",
        "tailscale0",
    ])?;
    doctor(BETA, &["alpha"], 1, &["  problem  ", "100.64.0.1:15820", "1 problem"])
}

/// A node without a network device: tailscaled delivers to 127.0.0.1, and says for whom.
#[test]
fn a_userspace_sender_serves_whom_whois_names() -> Result<()> {
    let (scratch, into) = (Scratch::new()?, Scratch::new()?);
    let (tree, folder) = (tree(&scratch)?, scratch.join("alpha"));
    let whois = "if [ \"$1 $2 $3\" = 'whois --json --proto=tcp' ]; then\n\
                 echo \"$4\" >> \"$here/asked\"\n\
                 [ -e \"$here/whois.json\" ] && exec cat \"$here/whois.json\"\n\
                 echo 'peer not found' >&2\nexit 1\nfi";
    let program = tailscale(&folder, &status(ALPHA, &[BETA], false)?, whois)?;
    let mut command = transfer();
    command.args(["send", "-y", "--port", "0"]).arg(&tree);
    command.env("TRANSFER_TAILSCALE", &program);
    let mut sender = Sender::start(command)?;
    ensure!(sender.ticket.starts_with("100.64.0.1:"), "{}", sender.ticket);
    let port = sender.port()?;

    // A program of this machine is not a device of the tailnet.
    let mut stranger = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let mut answer = Vec::new();
    stranger.read_to_end(&mut answer)?;
    ensure!(answer.is_empty(), "{answer:?}");
    let line = sender.process.wait_for(Pipe::Err, "turned away")?;
    assert_eq!(line, "turned away 127.0.0.1: it does not come from the tailnet\n");
    let asked = fs::read_to_string(folder.join("asked"))?;
    let address = stranger.local_addr()?.to_string();
    ensure!(asked.lines().all(|line| line == address), "{address}: {asked}");

    // Neither is a device whose key has expired.
    let ticket = sender.ticket.replace("100.64.0.1", "127.0.0.1");
    write(&folder.join("whois.json"), whois_expired()?)?;
    run(util::process::receiving(&ticket, into.path(), &[]))?.expect(5)?;
    let line = sender.process.wait_for(Pipe::Err, "turned away")?;
    assert_eq!(line, format!("turned away 127.0.0.1: {EXPIRED}\n"));

    // Another is, as tailscaled says.
    fs::copy(fixture("whois_user.json"), folder.join("whois.json"))?;
    run(util::process::receiving(&ticket, into.path(), &[]))?.expect(0)?;
    sender.end()?.expect(0)?.says("\ndesk-alice (alice@example.org) is connected\n")?;
    ensure_arrived(into.path(), &[&tree])
}

/// `--pod` in such a node: programs of this machine are welcome, devices are called by name, and
/// the ticket for those is shown, too.
#[test]
fn a_pod_names_who_comes_from_the_tailnet() -> Result<()> {
    let scratch = Scratch::new()?;
    let (tree, folder) = (tree(&scratch)?, scratch.join("alpha"));
    let whois = "[ -e \"$here/whois.json\" ] && exec cat \"$here/whois.json\"\n\
                 echo 'peer not found' >&2\nexit 1";
    let program = tailscale(&folder, &status(ALPHA, &[BETA], false)?, whois)?;
    for name in ["a program on this machine", "desk-alice (alice@example.org)"] {
        let into = Scratch::new()?;
        let mut command = transfer();
        command.args(["send", "-y", "--pod", "--port", "0"]).arg(&tree);
        command.env("TRANSFER_TAILSCALE", &program);
        let sender = Sender::start(command)?;
        let ticket = sender.ticket.clone();
        run(util::process::receiving(&ticket, into.path(), &[]))?.expect(0)?;
        let sent = sender.end()?.expect(0)?;
        sent.says(&format!("\n{name} is connected\n"))?;
        let elsewhere = ticket.replace("127.0.0.1", "100.64.0.1");
        sent.says(&format!("another machine of the tailnet: transfer receive {elsewhere}\n"))?;
        ensure_arrived(into.path(), &[&tree])?;
        fs::copy(fixture("whois_user.json"), folder.join("whois.json"))?;
    }

    // One whose key has expired is no program of this machine.
    write(&folder.join("whois.json"), whois_expired()?)?;
    let into = Scratch::new()?;
    let mut command = transfer();
    command.args(["send", "-y", "--pod", "--port", "0"]).arg(&tree);
    command.env("TRANSFER_TAILSCALE", &program);
    let mut sender = Sender::start(command)?;
    run(util::process::receiving(&sender.ticket, into.path(), &[]))?.expect(5)?;
    let line = sender.process.wait_for(Pipe::Err, "turned away")?;
    assert_eq!(line, format!("turned away 127.0.0.1: {EXPIRED}\n"));
    Ok(())
}

/// Serves one connection of a proxy: `greet` talks until it knows the target. The connection
/// then goes to this machine, where the tests' sender is. Returns the target.
fn proxy(
    greet: impl FnOnce(&mut BufReader<TcpStream>) -> Result<SocketAddr> + Send + 'static,
) -> Result<(u16, JoinHandle<Result<SocketAddr>>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let serving = thread::spawn(move || {
        let mut client = BufReader::new(listener.accept()?.0);
        // Somebody may only have looked whether it is there.
        while client.fill_buf()?.is_empty() {
            client = BufReader::new(listener.accept()?.0);
        }
        let target = greet(&mut client)?;
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, target.port()))?;
        let (mut up, mut down) = (server.try_clone()?, client.get_ref().try_clone()?);
        let upwards = thread::spawn(move || {
            let _ = std::io::copy(&mut client, &mut up);
            let _ = up.shutdown(Shutdown::Write);
        });
        let _ = std::io::copy(&mut &server, &mut down);
        let _ = down.shutdown(Shutdown::Both);
        let _ = upwards.join();
        Ok(target)
    });
    Ok((port, serving))
}

/// RFC 1928, no authentication, IPv4.
fn socks5(client: &mut BufReader<TcpStream>) -> Result<SocketAddr> {
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting)?;
    let mut methods = vec![0; greeting[1].into()];
    client.read_exact(&mut methods)?;
    ensure!(greeting[0] == 5 && methods.contains(&0), "{greeting:?} {methods:?}");
    client.get_ref().write_all(&[5, 0])?;
    let mut request = [0; 10];
    client.read_exact(&mut request)?;
    let [5, 1, 0, 1, a, b, c, d, high, low] = request else { bail!("{request:?}") };
    client.get_ref().write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    Ok((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into())
}

/// `CONNECT host:port HTTP/1.1`.
fn http_connect(client: &mut BufReader<TcpStream>) -> Result<SocketAddr> {
    let mut request = String::new();
    client.read_line(&mut request)?;
    let mut header = String::new();
    while header != "\r\n" {
        header.clear();
        ensure!(client.read_line(&mut header)? > 0, "{request:?}");
    }
    client.get_ref().write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    Ok(request.split(' ').nth(1).context("no target")?.parse()?)
}

/// A receiver in a node without a network device, to which `way` adds its way out.
fn receive_from_userspace(nc: &str, way: impl FnOnce(&mut Command)) -> Result<u16> {
    let (scratch, into) = (Scratch::new()?, Scratch::new()?);
    let tree = tree(&scratch)?;
    let program = tailscale(&scratch.join("beta"), &status(BETA, &[ALPHA], false)?, nc)?;
    let sender = Sender::pod(&[&tree], &[])?;
    let port = sender.port()?;
    let ticket = sender.ticket.replace("127.0.0.1", "100.64.0.1");
    let mut command = util::process::receiving(&ticket, into.path(), &[]);
    command.env("TRANSFER_TAILSCALE", program);
    way(&mut command);
    run(command)?.expect(0)?.says("connecting to alpha (alice@example.org)\n")?;
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&tree])?;
    Ok(port)
}

#[test]
fn a_userspace_receiver_goes_through_a_proxy() -> Result<()> {
    type Greet = fn(&mut BufReader<TcpStream>) -> Result<SocketAddr>;
    let cases: [(&str, &str, Greet); 3] = [
        ("ALL_PROXY", "socks5", socks5),
        ("all_proxy", "socks5h", socks5),
        ("ALL_PROXY", "http", http_connect),
    ];
    for (variable, scheme, greet) in cases {
        let (at, serving) = proxy(greet)?;
        let port = receive_from_userspace("", |command| {
            command.env(variable, format!("{scheme}://127.0.0.1:{at}"));
        })
        .with_context(|| format!("{variable}={scheme}"))?;
        let target = serving.join().ok().context("the proxy has panicked")??;
        assert_eq!(target, SocketAddr::from(([100, 64, 0, 1], port)));
    }
    Ok(())
}

/// The doctor looks through the same proxy, and says so.
#[test]
fn a_userspace_doctor_goes_through_a_proxy() -> Result<()> {
    let scratch = Scratch::new()?;
    let program = tailscale(&scratch.join("beta"), &status(BETA, &[ALPHA], false)?, "")?;
    let sender = Sender::pod(&[&tree(&scratch)?], &[])?;
    let place = format!("alpha:{}", sender.port()?);
    let (at, serving) = proxy(socks5)?;
    let mut command = transfer();
    command.args(["doctor", &place, "--port", "1"]).current_dir(scratch.path());
    command.env("TRANSFER_TAILSCALE", program);
    command.env("ALL_PROXY", format!("socks5://127.0.0.1:{at}"));
    let ended = run(command)?;
    let target = serving.join().ok().context("the proxy has panicked")??;
    assert_eq!(target, SocketAddr::from(([100, 64, 0, 1], sender.port()?)));
    for line in [
        format!("  ok       socks5://127.0.0.1:{at} answers: `transfer receive` goes through it"),
        format!("  ok       a `transfer send` waits there on port {}\n", sender.port()?),
    ] {
        ensure!(ended.stdout.contains(&line), "{line}: {ended:#?}");
    }
    Ok(())
}

/// Without a proxy it is `tailscale nc HOST PORT`.
#[test]
fn a_userspace_receiver_goes_through_tailscale_nc() -> Result<()> {
    if Command::new("bash").args(["-c", "true"]).output().is_err() {
        eprintln!("skipped: there is no bash to stand for tailscale");
        return Ok(());
    }
    let nc = "if [ \"$1 $2\" = 'nc 100.64.0.1' ]; then\n\
              exec bash -c 'exec 3<>\"/dev/tcp/127.0.0.1/$0\"; cat <&3 & cat >&3' \"$3\"\nfi";
    // What is in the environment is for `transfer` alone: `nc` may live for hours.
    receive_from_userspace(nc, |command| {
        command.env("TRANSFER_TICKET", "100.64.0.1:ocean-tiger");
    })?;
    Ok(())
}
