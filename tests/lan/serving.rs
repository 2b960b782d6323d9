//! `transfer serve`, `find` and `send --to`: servers are found by their names, and nobody else is taken
//! for one.

use std::fs;
use std::io::{self, Read};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use transfer::net::mdns::{Record, Txt};

use super::events::check_line;
use super::finding::{announce, announce_as, search};
use super::stage::{Avahi, Lan, until};
use super::util::process::{Ended, Pipe, Process, run};
use super::util::terminal::Terminal;
use super::util::tree::{Scratch, ensure_same, noise, tree, write};

/// Devices at the machines of a network: each has a key of its own, and a folder to work in.
pub struct Home<'a> {
    lan: &'a Lan,
    scratch: Scratch,
}

impl<'a> Home<'a> {
    pub fn new(lan: &'a Lan) -> Result<Self> {
        let home = Self { lan, scratch: Scratch::new()? };
        write(&home.path("tree/sub/data"), noise(2_000_000, 1))?;
        write(&home.path("tree/notes.txt"), "hello")?;
        Ok(home)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// `transfer` of a device at a machine: `b`, or `b/phone` for another than its only one.
    pub fn command(&self, device: &str, words: &[&str]) -> Command {
        let machine = device.split('/').next().unwrap_or(device);
        let mut command = self.lan.transfer(machine, words);
        command.current_dir(self.scratch.path());
        command.env("TRANSFER_CONFIG", self.path(&format!("config/{device}")));
        command
    }

    pub fn run(&self, device: &str, words: &[&str]) -> Result<Ended> {
        run(self.command(device, words))
    }

    /// Two devices are introduced; the one calls the other by this name, and is called so there.
    pub fn pair(&self, (one, called): (&str, &str), (other, its): (&str, &str)) -> Result<()> {
        let mut shows = Process::start(self.command(one, &["pair", "--name", its]))?;
        let line = shows.wait_for(Pipe::Out, "transfer pair ")?;
        let ticket = line.trim_end().rsplit(' ').next().context("a ticket")?.to_owned();
        self.run(other, &["pair", "--name", called, &ticket])?.expect(0)?;
        shows.end()?.expect(0)?;
        Ok(())
    }

    pub fn serve(&self, device: &str, folder: &str, options: &[&str]) -> Result<Process> {
        let words = [&["serve", folder], options].concat();
        let mut server = Process::start(self.command(device, &words))?;
        server.wait_for(Pipe::Err, " takes uploads into ")?;
        Ok(server)
    }

    /// What `find` tells, an object a server, once there are so many.
    pub fn found(&self, device: &str, count: usize, options: &[&str]) -> Result<Vec<Value>> {
        until("servers", || {
            let words = [&["find", "--json"], options].concat();
            let told = self.run(device, &words)?.stdout;
            let events = told.lines().map(serde_json::from_str::<Value>);
            let events = events.collect::<Result<Vec<_>, _>>()?;
            events.iter().try_for_each(check_line)?;
            let servers: Vec<Value> =
                events.into_iter().filter(|it| it["event"] == "server").collect();
            Ok((servers.len() == count).then_some(servers))
        })
    }

    /// What a device is.
    pub fn card(&self, device: &str) -> Result<Value> {
        let card = self.run(device, &["device", "--json"])?.expect(0)?.stdout;
        let line = card.lines().find(|line| line.contains("\"this\"")).context("a card")?;
        Ok(serde_json::from_str(line)?)
    }

    pub fn arrived(&self, folder: &str) -> Result<()> {
        ensure_same(&tree(&self.path("tree"))?, &tree(&self.path(folder).join("tree"))?)
    }
}

/// Two machines that have never met, no option but names: from nothing to a tree that is there.
#[test]
fn a_newcomers_walk() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let home = Home::new(&lan)?;
    home.pair(("a", "attic"), ("b", "laptop"))?;
    let server = home.serve("a", "incoming", &[])?;
    let sent = home.run("b", &["send", "-y", "--to", "attic", "tree"])?.expect(0)?;
    sent.says("sent 2 files")?;
    home.arrived("incoming/laptop")?;
    // What is there to send to.
    let found = home.run("b", &["find"])?.expect(0)?;
    ensure!(found.stdout.starts_with("attic ("), "{found:?}");
    ensure!(found.stdout.contains(" free"), "{found:?}");
    ensure!(found.stdout.lines().count() == 1 && found.stderr.is_empty(), "{found:?}");
    // Whoever does not know it is told so, and sends it nothing.
    let strange = home.run("c", &["find"])?.expect(5)?;
    strange.says("1 server here and this device do not trust each other: ")?;
    strange.says("no server here trusts this device and is trusted by it")?;
    assert_eq!(strange.stdout, "");
    let all = home.run("c", &["find", "--all"])?.expect(5)?;
    ensure!(all.stdout.contains("not trusted: "), "{all:?}");
    // Without anybody to ask, a name is needed.
    home.run("b", &["send", "tree", "--to"])?.expect(2)?.says("--to NAME")?;
    server.interrupt()?;
    let ended = server.end()?.expect(0)?;
    ended.says("laptop: received 2 files into incoming/laptop: ")?;
    ensure!(!ended.stderr.contains("warning"), "{ended:?}");
    // It is gone at once, and not only after two minutes.
    let gone =
        home.run("b", &["send", "-y", "--to", "attic", "--wait", "2s", "tree"])?.expect(5)?;
    gone.says("attic is not found in the local network")?;
    gone.says("name the server's address")?;
    Ok(())
}

/// No option at all: they share the machine's name and get two ports, and the goodbye of one leaves the
/// other where it is.
#[test]
fn two_servers_on_one_machine() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let home = Home::new(&lan)?;
    home.pair(("a", "attic"), ("b", "laptop"))?;
    let first = home.serve("a", "one", &[])?;
    let mut second = home.serve("a", "two", &[])?;
    second.wait_until_said("somebody else here has that name: this server is announced as \"")?;
    let ports = |found: &[Value]| {
        let mut ports: Vec<u64> = found.iter().filter_map(|it| it["port"].as_u64()).collect();
        ports.sort_unstable();
        ports
    };
    assert_eq!(ports(&home.found("b", 2, &[])?), [15821, 15822]);
    first.interrupt()?;
    first.end()?.expect(0)?;
    for _ in 0..3 {
        assert_eq!(ports(&home.found("b", 1, &["--wait", "1s"])?), [15822]);
    }
    home.run("b", &["send", "-y", "--to", "attic", "tree"])?.expect(0)?;
    home.arrived("two/laptop")
}

/// Two servers of one device, both there: each is sent to by its own name, and what has begun with one is not
/// ended with the other.
#[test]
fn two_servers_of_one_device_are_two() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let home = Home::new(&lan)?;
    home.pair(("a", "attic"), ("b", "laptop"))?;
    let first = home.serve("a", "one", &["--name", "attic"])?;
    home.found("b", 1, &["--wait", "1s"])?;
    let mut second = home.serve("a", "two", &["--name", "attic"])?;
    second.wait_until_said("announced as \"attic (2)\"")?;
    home.found("b", 2, &["--wait", "1s"])?;
    home.run("b", &["send", "-y", "--to", "attic (2)", "tree/notes.txt"])?.expect(0)?;
    ensure!(home.path("two/laptop/notes.txt").exists() && !home.path("one/laptop").exists());
    home.run("b", &["send", "-y", "--to", "attic", "tree"])?.expect(0)?;
    home.arrived("one/laptop")?;
    let mut terminal = Terminal::new()?;
    let process =
        terminal.start(home.command("b", &["send", "--compress=none", "tree", "--to"]))?;
    terminal.wait_for("announced as \"attic (2)\"")?;
    terminal.wait_for("which?")?;
    terminal.answer(b"2\r")?;
    process.end()?.expect(0)?;
    home.arrived("two/laptop")?;
    // The one that took it is killed and comes back; the other is there all the time.
    write(&home.path("tree/large"), noise(12_000_000, 2))?;
    let words = ["send", "-y", "--to", "attic", "--limit", "3M", "tree"];
    let mut sender = Process::start(home.command("b", &words))?;
    sender.wait_until_said("sending ")?;
    thread::sleep(Duration::from_millis(700));
    first.kill()?;
    sender.wait_until_said("; trying again")?;
    thread::sleep(Duration::from_secs(4));
    let _first = home.serve("a", "one", &["--name", "attic", "--port", "15821"])?;
    sender.end()?.expect(0)?;
    let large = |at: &str| fs::read(home.path(at).join("large"));
    ensure!(large("one/laptop/tree")? == large("tree")?, "it is not whole");
    ensure!(large("two/laptop/tree").is_err(), "it went to the other");
    Ok(())
}

/// A machine that announces many servers, takes connections and says nothing: whoever else is here is found
/// beside it.
#[test]
fn silent_records_hold_nobody_up() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let Some(avahi) = Avahi::start(&lan, "c")? else { return Ok(()) };
    let home = Home::new(&lan)?;
    home.pair(("a", "attic"), ("b", "laptop"))?;
    let _silent = lan.at("c", || anyhow::Ok(TcpListener::bind("192.168.77.3:9999")?))??;
    let mut publishers = Vec::new();
    for number in 0..20 {
        let name = format!("!{number}");
        let args = ["-s", &name, "_transfer-tls._tcp", "9999", "v=2", "id=0909090909090909"];
        let mut publisher = Process::start(avahi.program("avahi-publish", &args))?;
        publisher.wait_until_said("Established")?;
        publishers.push(publisher);
    }
    let _server = home.serve("a", "incoming", &["--name", "attic"])?;
    // Its own announcement takes a moment.
    home.run("b", &["send", "-y", "--to", "attic", "--wait", "1m", "tree"])?.expect(0)?;
    home.arrived("incoming/laptop")?;
    let found = home.run("b", &["find"])?.expect(0)?;
    ensure!(found.stdout.starts_with("attic ("), "{found:?}");
    Ok(())
}

/// A host with several addresses, as anybody can announce one.
fn publish_host(avahi: &Avahi<'_>, host: &str, addresses: &[&str]) -> Result<Vec<Process>> {
    let publish = |address: &&str| {
        let args = ["-a", "-R", host, address];
        let mut publisher = Process::start(avahi.program("avahi-publish", &args))?;
        publisher.wait_until_said("Established")?;
        Ok(publisher)
    };
    addresses.iter().map(publish).collect()
}

/// A record with two addresses, at the first of which another answers: the server at the second is sent to.
#[test]
fn further_addresses_of_a_record_are_tried() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let Some(avahi) = Avahi::start(&lan, "b")? else { return Ok(()) };
    let home = Home::new(&lan)?;
    home.pair(("c", "attic"), ("b", "laptop"))?;
    let card = home.card("c")?;
    let id = card["id"].as_str().context("an id")?;
    let _real = home.serve("c", "incoming", &["--hidden"])?;
    let _other = home.serve("a", "stolen", &["--hidden"])?;
    let _host = publish_host(&avahi, "both.local", &["192.168.77.1", "192.168.77.3"])?;
    let args = ["-s", "-H", "both.local", "attic", "_transfer-tls._tcp", "15821", "v=2"];
    let mut command = avahi.program("avahi-publish", &args);
    command.arg(format!("id={}", &id[..16]));
    let mut record = Process::start(command)?;
    record.wait_until_said("Established")?;
    home.run("b", &["send", "-y", "--to", "attic", "tree"])?.expect(0)?;
    home.arrived("incoming/laptop")?;
    let found = home.found("b", 1, &[])?;
    assert_eq!(
        (&found[0]["name"], &found[0]["address"]),
        (&"attic".into(), &"192.168.77.3".into())
    );
    assert_eq!(fs::read_dir(home.path("stolen"))?.count(), 0);
    Ok(())
}

/// A crowd of records that name a server's address behind that of a silent machine: the server is found beside it.
#[test]
fn a_crowd_that_names_a_servers_address_does_not_hide_it() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let Some(avahi) = Avahi::start(&lan, "b")? else { return Ok(()) };
    let home = Home::new(&lan)?;
    home.run("a", &["ca", "init", "home"])?.expect(0)?;
    let _silent = lan.at("b", || anyhow::Ok(TcpListener::bind("192.168.77.2:9999")?))??;
    let _host = publish_host(&avahi, "crowd.local", &["192.168.77.2", "192.168.77.3"])?;
    let mut crowd = Vec::new();
    for number in 0..20 {
        let name = format!("!{number}");
        let args = ["-s", "-H", "crowd.local", &name, "_transfer-tls._tcp", "9999", "v=2"];
        let mut command = avahi.program("avahi-publish", &args);
        command.arg("id=0909090909090909");
        let mut publisher = Process::start(command)?;
        publisher.wait_until_said("Established")?;
        crowd.push(publisher);
    }
    // It is known by its CA alone: neither its name nor its key is on a list.
    home.run("a", &["ca", "issue", "nas"])?.expect(0)?;
    home.run("a", &["ca", "issue", "desk"])?.expect(0)?;
    let papers = |name: &'static str| match name {
        "nas" => ["--cert", "nas.pem", "--key", "nas.key", "--ca", "config/a/ca/ca.pem"],
        _ => ["--cert", "desk.pem", "--key", "desk.key", "--ca", "config/a/ca/ca.pem"],
    };
    let _server = home.serve("c", "incoming", &papers("nas"))?;
    let found = until("the server", || {
        let found = home.run("a", &[&["find"][..], &papers("desk")].concat())?;
        Ok(found.stdout.contains("nas (").then_some(found))
    })?;
    ensure!(found.stdout.contains("192.168.77.3:15821"), "{found:?}");
    for _ in 0..3 {
        let found = home.run("a", &[&["find"][..], &papers("desk")].concat())?.expect(0)?;
        ensure!(found.stdout.contains("nas ("), "{found:?}");
    }
    Ok(())
}

/// `find` with certificates of the command line: by them alone, whatever is kept of this device.
#[test]
fn certificates_of_the_command_line_find_servers() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let home = Home::new(&lan)?;
    home.run("a", &["ca", "init", "home"])?.expect(0)?;
    home.run("a", &["ca", "issue", "nas"])?.expect(0)?;
    home.run("a", &["ca", "issue", "desk"])?.expect(0)?;
    let ca = "config/a/ca/ca.pem";
    let _server =
        home.serve("c", "incoming", &["--cert", "nas.pem", "--key", "nas.key", "--ca", ca])?;
    let papers = ["--cert", "desk.pem", "--key", "desk.key", "--ca", ca];
    let found = home.found("b", 1, &papers)?;
    assert_eq!(found[0]["name"], "nas");
    home.run("b", &[&["send", "-y", "--to", "nas"][..], &papers, &["tree"]].concat())?.expect(0)?;
    home.arrived("incoming/desk")?;
    // Half of them is not enough, and what is no certificate is told.
    home.run("b", &["find", "--ca", ca])?.expect(5)?.says("do not trust each other")?;
    home.run("b", &["find"])?.expect(5)?.says("do not trust each other")?;
    home.run("b", &["find", "--cert", "desk.pem"])?.expect(2)?;
    home.run("b", &["find", "--cert", "tree/notes.txt", "--key", "desk.key"])?.expect(2)?;
    Ok(())
}

/// A certificate that is renewed while the server runs is announced.
#[test]
fn a_renewed_certificate_is_announced() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let home = Home::new(&lan)?;
    home.run("a", &["ca", "init", "home"])?.expect(0)?;
    let _server = home.serve("a", "incoming", &["--name", "attic"])?;
    // Its own, and then the one that the CA has signed.
    let print = |kind: &str| -> Result<String> {
        let card = home.run("a", &["device", "--json"])?.expect(0)?.stdout;
        let line = card.lines().find(|line| line.contains(&format!("\"kind\":\"{kind}\"")));
        let card: Value = serde_json::from_str(line.context("a card")?)?;
        Ok(card["fingerprint"].as_str().context("a fingerprint")?.to_owned())
    };
    let mut found = search(&lan, "b")?;
    let mut await_print = |print: &str| {
        until("the fingerprint", || {
            found.wait(std::time::Instant::now() + Duration::from_millis(100))?;
            let told = found.list().named("attic").find_map(|it| it.txt.fingerprint);
            let told =
                told.map(|it| it.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
            Ok((told.as_deref() == Some(print)).then_some(()))
        })
    };
    let before = print("this")?;
    await_print(&before)?;
    home.run("a", &["device", "--renew"])?.expect(0)?;
    let after = print("certificate")?;
    ensure!(before != after, "it is the same");
    await_print(&after)
}

/// Two machines announce the same name, and each is reached by what it is called here.
#[test]
fn two_of_one_name() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let home = Home::new(&lan)?;
    home.pair(("a", "upstairs"), ("b", "laptop"))?;
    home.pair(("c", "downstairs"), ("b", "laptop"))?;
    let _a = home.serve("a", "one", &["--name", "attic"])?;
    let _c = home.serve("c", "two", &["--name", "attic"])?;
    let found = home.found("b", 2, &[])?;
    let names: Vec<&str> = found.iter().filter_map(|it| it["name"].as_str()).collect();
    assert_eq!(names, ["downstairs", "upstairs"]);
    for (name, folder) in [("upstairs", "one"), ("downstairs", "two")] {
        home.run("b", &["send", "-y", "--to", name, "tree"])?.expect(0)?;
        home.arrived(&format!("{folder}/laptop"))?;
    }
    // What is announced leads to whoever is trusted and announces it.
    home.run("b", &["send", "-y", "--to", "attic", "tree"])?
        .expect(0)?
        .says("stairs is connected")?;
    Ok(())
}

/// A server that is not announced, and one of another key, by what was written down of it.
#[test]
fn hidden_and_by_fingerprint() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let home = Home::new(&lan)?;
    home.pair(("a", "attic"), ("b", "laptop"))?;
    let server = home.serve("a", "incoming", &["--hidden"])?;
    let none = home.run("b", &["find", "--wait", "1s"])?.expect(5)?;
    none.says("no server was found in the local network")?;
    home.run("b", &["send", "-y", "--to", "192.168.77.1", "tree"])?.expect(0)?;
    home.arrived("incoming/laptop")?;
    drop(server);
    // It knows this device, and this device does not know it.
    let _server = home.serve("a", "other", &[])?;
    let card = home.card("a")?;
    let key = |field: &str| card[field].as_str().unwrap_or_default().to_owned();
    home.run("b", &["trust", "remove", "--yes", "attic"])?.expect(0)?;
    let to = |hex: &str| {
        home.run("b", &["send", "-y", "--to", "192.168.77.1", "--fingerprint", hex, "tree"])
    };
    to(&key("fingerprint"))?.expect(4)?.says("was removed from this device")?;
    fs::remove_file(home.path("config/b/trust.json"))?;
    to(&"0".repeat(64))?.expect(4)?.says("is another than --fingerprint names")?;
    to(&key("fingerprint"))?.expect(0)?;
    home.arrived("other/laptop")?;
    to(&key("id"))?.expect(0)?.says("already there")?;
    let by_name = ["send", "-y", "--to", "nas", "--fingerprint", &key("id"), "tree"];
    home.run("b", &by_name)?.expect(0)?.says("already there")?;
    Ok(())
}

/// What anybody may announce: nobody there, another key, the key of another. None of it becomes a target
/// (CVE-2025-54792: LocalSend, which trusted what it had discovered).
#[test]
fn foreign_records_lead_nowhere() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let Some(avahi) = Avahi::start(&lan, "c")? else { return Ok(()) };
    let home = Home::new(&lan)?;
    home.pair(("a", "attic"), ("b", "laptop"))?;
    let card = home.card("a")?;
    let id = card["id"].as_str().context("an id")?;
    let print = card["fingerprint"].as_str().context("a fingerprint")?.replace(':', "");
    let (copied, print) = (format!("id={}", &id[..16]), format!("fp={}", print.to_lowercase()));
    // Somebody else serves at c.
    let _stranger = home.serve("c/stranger", "stolen", &["--hidden", "--port", "15829"])?;
    let mut publishers = Vec::new();
    for (name, port, values) in [
        ("silent", "9", ["v=2", "id=0909090909090909", "sas=ocean-tiger"]),
        ("another", "15829", ["v=2", "id=0909090909090909", "sas=ocean-tiger"]),
        ("copy", "15829", ["v=2", &copied, &print]),
        ("attic", "15829", ["v=2", &copied, &print]),
    ] {
        let mut command = avahi.program("avahi-publish", &["-s", name, "_transfer-tls._tcp", port]);
        command.args(values);
        let mut publisher = Process::start(command)?;
        publisher.wait_until_said("Established")?;
        publishers.push(publisher);
    }
    // As long as attic is not there, its name leads to nobody.
    let words = ["send", "-y", "--to", "attic", "--wait", "3s", "tree"];
    let lied = home.run("b", &words)?.expect(4)?;
    lied.says("somebody here announces the key of attic, and has another")?;
    let found = home.run("b", &["find"])?.expect(5)?;
    assert_eq!(found.stdout, "");
    found.says("3 servers here and this device do not trust each other: ")?;
    // Then to attic, whose record has another name now.
    let mut server = home.serve("a", "incoming", &["--name", "attic"])?;
    server.wait_until_said("this server is announced as \"")?;
    let found = home.found("b", 1, &[])?;
    assert_eq!(
        (&found[0]["name"], &found[0]["address"]),
        (&"attic".into(), &"192.168.77.1".into())
    );
    home.run("b", &["send", "-y", "--to", "attic", "tree"])?.expect(0)?;
    home.arrived("incoming/laptop")?;
    let stolen = fs::read_dir(home.path("stolen"))?.count();
    assert_eq!(stolen, 0);
    let all = home.found("b", 5, &["--all"])?;
    let silent = all.iter().find(|it| it["announced"] == "silent").context("the silent one")?;
    assert_eq!((&silent["result"], &silent["name"]), (&"silent".into(), &Value::Null));
    Ok(())
}

/// The server gets another address under way: it listens and is announced there, and the sender finds it.
#[test]
fn an_address_that_changes_under_way() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let home = Home::new(&lan)?;
    home.pair(("a", "attic"), ("b", "laptop"))?;
    for machine in ["a", "b"] {
        // IPv4 alone, or the session would go on over IPv6 as it was.
        lan.ip(machine, "-6 address flush dev eth0")?;
    }
    let mut server = home.serve("a", "incoming", &[])?;
    write(&home.path("tree/large"), noise(12_000_000, 2))?;
    let words = ["send", "-y", "--to", "attic", "--limit", "2M", "tree"];
    let mut sender = Process::start(home.command("b", &words))?;
    sender.wait_until_said("sending ")?;
    thread::sleep(Duration::from_secs(1));
    lan.ip("a", "address del 192.168.77.1/24 dev eth0")?;
    lan.ip("a", "address add 192.168.77.41/24 brd + dev eth0")?;
    server.wait_until_said("listens on port 15821 (192.168.77.41)")?;
    let sent = sender.end()?.expect(0)?;
    sent.says("; trying again")?;
    home.arrived("incoming/laptop")?;
    // What comes later is followed too.
    lan.ip("a", "address add 192.168.77.42/24 brd + dev eth0")?;
    server.wait_until_said("192.168.77.42")?;
    home.run("b", &["send", "-y", "--to", "192.168.77.42", "tree"])?.expect(0)?;
    Ok(())
}

/// Killed under way, at its port or at another: the sender finds it where it is then.
#[test]
fn a_server_that_is_killed_comes_back() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let home = Home::new(&lan)?;
    home.pair(("a", "attic"), ("b", "laptop"))?;
    let server = home.serve("a", "incoming", &[])?;
    write(&home.path("tree/large"), noise(12_000_000, 2))?;
    let words = ["send", "-y", "--to", "attic", "--limit", "3M", "tree"];
    let mut sender = Process::start(home.command("b", &words))?;
    sender.wait_until_said("sending ")?;
    thread::sleep(Duration::from_millis(700));
    server.kill()?;
    sender.wait_until_said("; trying again")?;
    let _server = home.serve("a", "incoming", &["--port", "15999"])?;
    sender.end()?.expect(0)?.says("sent 3 files")?;
    home.arrived("incoming/laptop")
}

/// A way that is cut off each 64 MiB: the sender dials by the name again, and the tree comes whole.
#[test]
fn cut_at_every_64_mib() -> Result<()> {
    const PIECE: u64 = 64 << 20;
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let home = Home::new(&lan)?;
    home.pair(("a", "attic"), ("b", "laptop"))?;
    let server = home.serve("a", "incoming", &["--hidden"])?;
    // The only record is that of a machine in between.
    let cuts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&cuts);
    let port = lan.at("c", move || {
        let listener = TcpListener::bind("[::]:0")?;
        let port = listener.local_addr()?.port();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect("192.168.77.1:15821") else { continue };
                let (back, forth) = (server.try_clone(), client.try_clone());
                let (Ok(mut back), Ok(mut forth)) = (back, forth) else { continue };
                thread::spawn(move || io::copy(&mut back, &mut forth));
                let (counted, mut server) = (Arc::clone(&counted), server);
                thread::spawn(move || {
                    let copied = io::copy(&mut (&client).take(PIECE), &mut server);
                    counted.fetch_add(u32::from(copied.is_ok_and(|it| it == PIECE)), Relaxed);
                    let _ = client.shutdown(Shutdown::Both);
                    let _ = server.shutdown(Shutdown::Both);
                });
            }
        });
        anyhow::Ok(port)
    })??;
    let card = home.card("a")?;
    let id = card["id"].as_str().context("an id")?;
    let mut bytes = [0; 8];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&id[2 * at..2 * at + 2], 16)?;
    }
    let txt = Txt { version: 2, fingerprint: None, id: bytes, words: None };
    let _record = announce_as(&lan, "c", Record::new("in between", port, txt)?)?;
    write(&home.path("tree/large"), noise(200 << 20, 3))?;
    let sent = home.run("b", &["send", "-y", "--to", "attic", "tree"])?.expect(0)?;
    sent.says("sent 3 files")?;
    ensure!(cuts.load(Relaxed) >= 3, "{cuts:?} {sent:?}");
    home.arrived("incoming/laptop")?;
    drop(server);
    Ok(())
}

/// Each into a folder of its own, at the same time.
#[test]
fn four_devices_at_once() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let home = Home::new(&lan)?;
    let devices = [("b", "laptop"), ("b/phone", "phone"), ("c", "desk"), ("c/camera", "camera")];
    for device in devices {
        home.pair(("a", "attic"), device)?;
    }
    let _server = home.serve("a", "incoming", &[])?;
    let words = ["send", "-y", "--to", "attic", "--limit", "1M", "tree"];
    let senders = devices.map(|(device, _)| Process::start(home.command(device, &words)));
    for (sender, (_, name)) in senders.into_iter().zip(devices) {
        sender?.end()?.expect(0)?;
        home.arrived(&format!("incoming/{name}"))?;
    }
    Ok(())
}

/// `doctor` finds a server by its name, and says what this device is.
#[test]
fn the_doctor_looks_at_a_server() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let home = Home::new(&lan)?;
    home.pair(("a", "attic"), ("b", "laptop"))?;
    let server = home.serve("a", "incoming", &[])?;
    home.found("b", 1, &["--wait", "1s"])?;
    let well = home.run("b", &["doctor", "attic"])?.expect(0)?;
    for part in [
        "Multicast\n  ok       eth0 hears it: `transfer find` can work\n",
        " trusts 1 device\n",
        "attic\n  ok       attic (",
        ") serves at ",
        "it and this device trust each other",
    ] {
        ensure!(well.stdout.contains(part), "{part:?}: {well:#?}");
    }
    let none = "  skipped  no `transfer send` waits there on port 15820\n";
    let at_address = home.run("b", &["doctor", "192.168.77.1"])?.expect(0)?;
    for part in [") serves at 192.168.77.1:15821; it and this device trust each other", none] {
        ensure!(at_address.stdout.contains(part), "{part:?}: {at_address:#?}");
    }
    let other = home.serve("a", "other", &["--port", "9000"])?;
    let at_port = home.run("b", &["doctor", "192.168.77.1:9000"])?.expect(0)?;
    ensure!(at_port.stdout.contains(") serves at 192.168.77.1:9000; "), "{at_port:#?}");
    drop(other);
    let gone = home.run("b", &["doctor", "192.168.77.1:9000"])?.expect(0)?;
    ensure!(gone.stdout.contains("nothing listens on port 9000 there"), "{gone:#?}");
    home.run("a", &["trust", "remove", "--yes", "laptop"])?.expect(0)?;
    // Whatever anybody announces, a machine of the tailnet may be meant all the same.
    let _stranger = announce(&lan, "c", "nas", 9)?;
    let stranger = home.run("b", &["doctor", "nas"])?.expect(1)?;
    ensure!(stranger.stdout.contains("a server is announced as nas"), "{stranger:#?}");
    ensure!(!stranger.stdout.contains("nas needs none"), "{stranger:#?}");
    let removed = home.run("b", &["doctor", "attic"])?.expect(1)?;
    ensure!(removed.stdout.contains("has removed this device"), "{removed:#?}");
    drop(server);
    // It needs no Tailscale, but somebody who serves.
    let silent = home.run("b", &["doctor", "attic"])?.expect(1)?;
    for part in [
        "which is no program; the local network needs none\n",
        "attic\n  problem  no server of this name answers in the local network\n",
        "1 problem",
    ] {
        ensure!(silent.stdout.contains(part), "{part:?}: {silent:#?}");
    }
    let foreign = home.run("b", &["doctor", "203.0.113.9"])?.expect(1)?;
    ensure!(
        foreign.stdout.contains("203.0.113.9\n  problem  it is in no network of this machine\n"),
        "{foreign:#?}"
    );
    Ok(())
}

/// Whoever cannot look is told why, with exit code 5.
#[test]
fn whoever_cannot_look_is_told_why() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let home = Home::new(&lan)?;
    home.run("b", &["device"])?.expect(0)?;
    let find = |part: &str| home.run("b", &["find", "--wait", "1s"])?.expect(5)?.says(part);
    find("no server was found in the local network")?;
    find("perhaps nobody serves")?;
    let odd = home.run("b", &["find", "--interface", "eth7"])?.expect(5)?;
    odd.says("there is no network interface \"eth7\"")?;
    lan.ip("b", "link set eth0 down")?;
    find("eth0 is switched off")?;
    lan.ip("b", "link delete eth0")?;
    find("this machine is in no network")?;
    if lan.ip("b", "tuntap add wg0 mode tun").is_ok() {
        lan.ip("b", "address add 10.9.0.2/32 dev wg0")?;
        lan.ip("b", "link set wg0 up")?;
        find("this machine is only in a VPN (wg0)")?;
        let to = home.run("b", &["send", "-y", "--to", "attic", "tree"])?.expect(5)?;
        to.says("no network interface leads to a local network")?;
    }
    // Somebody has the port of multicast DNS, and does not share it.
    let _blocked = lan.at("c", || {
        let blocked = std::net::UdpSocket::bind("0.0.0.0:5353")?;
        anyhow::Ok((blocked, std::net::UdpSocket::bind("[::]:5353")))
    })??;
    let blocked = home.run("c", &["find", "--wait", "1s"])?.expect(5)?;
    blocked.says("another program has UDP port 5353")
}

/// `--to` alone: one server is proposed and not taken, and of several the number is typed.
#[test]
fn whoever_is_asked_chooses() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let home = Home::new(&lan)?;
    home.pair(("a", "attic"), ("b", "laptop"))?;
    home.pair(("c", "cellar"), ("b", "laptop"))?;
    let ask = || -> Result<(Terminal, Process)> {
        let terminal = Terminal::new()?;
        let words = ["send", "--compress=none", "tree", "--to"];
        let process = terminal.start(home.command("b", &words))?;
        Ok((terminal, process))
    };
    let _a = home.serve("a", "one", &[])?;
    // Nobody else answers: that is not waited for.
    let mut terminal = Terminal::new()?;
    let words = ["send", "--compress=none", "tree", "--wait", "5m", "--to"];
    let process = terminal.start(home.command("b", &words))?;
    terminal.wait_for("send to attic (")?;
    terminal.answer(b"n")?;
    process.end()?.expect(7)?;
    ensure!(!home.path("one/laptop").exists(), "sent all the same");
    let (mut terminal, process) = ask()?;
    terminal.wait_for("send to attic (")?;
    terminal.answer(b"y")?;
    process.end()?.expect(0)?;
    home.arrived("one/laptop")?;
    let _c = home.serve("c", "two", &[])?;
    home.found("b", 2, &["--wait", "1s"])?;
    let (mut terminal, process) = ask()?;
    terminal.wait_for("1  attic (")?;
    terminal.wait_for("2  cellar (")?;
    terminal.wait_for("which?")?;
    terminal.answer(b"2\r")?;
    process.end()?.expect(0)?;
    home.arrived("two/laptop")
}
