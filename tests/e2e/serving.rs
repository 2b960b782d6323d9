//! `transfer serve` and `transfer send --to`: who is let in, where things go, and what survives.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::events::{Events, check_line};
use crate::util::process::{Ended, Pipe, Process, run, transfer};
use crate::util::tree::Scratch;

/// Several devices on this machine.
pub struct House(Scratch);

/// A server, and where it is dialled.
pub struct Server {
    /// `transfer serve`.
    pub process: Process,
    /// `HOST:PORT`.
    pub place: String,
}

impl Server {
    /// Ctrl-C, and its end.
    #[cfg(unix)]
    pub fn stop(self) -> Result<Ended> {
        self.process.interrupt()?;
        self.process.end()?.expect(0)
    }

    /// Its end by force: nobody can press Ctrl-C for another program there.
    #[cfg(windows)]
    pub fn stop(mut self) -> Result<Ended> {
        // It may have something left to say.
        std::thread::sleep(std::time::Duration::from_secs(2));
        self.process.force()?;
        self.process.end()
    }
}

impl House {
    /// Where laptop and attic trust each other, and laptop has something to send.
    pub fn new() -> Result<Self> {
        let house = Self(Scratch::new()?);
        fs::create_dir_all(house.path("photos/2026"))?;
        fs::write(house.path("photos/2026/a.jpg"), vec![7; 300_000])?;
        fs::write(house.path("photos/empty"), "")?;
        house.run("laptop", &["device"])?.expect(0)?;
        house.run("attic", &["device"])?.expect(0)?;
        house.trusts("laptop", "attic")?;
        house.trusts("attic", "laptop")?;
        Ok(house)
    }

    /// A file or folder of theirs.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The program, as a device runs it.
    pub fn command(&self, device: &str, words: &[&str]) -> Command {
        let mut command = transfer();
        command.args(words).current_dir(self.0.path());
        command.env("TRANSFER_CONFIG", self.path(&format!("{device}-config")));
        command
    }

    /// The same, to its end.
    pub fn run(&self, device: &str, words: &[&str]) -> Result<Ended> {
        run(self.command(device, words))
    }

    /// One trusts another from now on, under its name.
    pub fn trusts(&self, one: &str, other: &str) -> Result<()> {
        let file = format!("{other}-config/device.pem");
        let card = self.run(other, &["device", "--json"])?.expect(0)?.stdout;
        let card: Value = serde_json::from_str(
            card.lines().find(|line| line.contains("\"device\"")).context("a card")?,
        )?;
        let id = card["id"].as_str().context("an id")?;
        self.run(one, &["trust", "import", &file])?.expect(0)?;
        self.run(one, &["trust", "rename", id, other])?.expect(0)?;
        Ok(())
    }

    /// A server on this machine.
    pub fn serve(&self, device: &str, options: &[&str]) -> Result<Server> {
        self.serve_in(device, &["incoming"], options)
    }

    /// The same with these words for its folder.
    pub fn serve_in(&self, device: &str, folder: &[&str], options: &[&str]) -> Result<Server> {
        let words = [&["serve", "--pod"], folder, options].concat();
        let mut process = Process::start(self.command(device, &words))?;
        let line = process.wait_for(Pipe::Err, " takes uploads into ")?;
        let port = line.split(" on port ").nth(1).and_then(|rest| rest.split(' ').next());
        Ok(Server { process, place: format!("127.0.0.1:{}", port.context("a port")?) })
    }

    /// `transfer send --to` there.
    pub fn send(&self, device: &str, server: &Server, words: &[&str]) -> Command {
        self.command(device, &[&["send", "-y", "--to", &server.place], words].concat())
    }

    /// Fails unless the photos are there.
    pub fn arrived(&self, name: &str) -> Result<()> {
        let into = self.path("incoming").join(name);
        assert_eq!(fs::read(into.join("2026/a.jpg"))?, vec![7; 300_000]);
        assert_eq!(fs::read(into.join("empty"))?, b"");
        Ok(())
    }
}

#[test]
fn each_device_has_its_folder() -> Result<()> {
    let house = House::new()?;
    let server = house.serve("attic", &["--port", "0"])?;
    let sent = run(house.send("laptop", &server, &["photos"]))?.expect(0)?;
    sent.says("sent 2 files")?;
    assert_eq!(sent.stdout, "");
    house.arrived("laptop/photos")?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(house.path("incoming/laptop"))?.permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    // Again: nothing crosses. Another with that name: both are kept.
    run(house.send("laptop", &server, &["photos"]))?.expect(0)?.says("already there")?;
    fs::write(house.path("photos/empty"), "no more")?;
    run(house.send("laptop", &server, &["photos"]))?.expect(0)?;
    assert_eq!(fs::read_to_string(house.path("incoming/laptop/photos/empty (1)"))?, "no more");

    // What comes in on standard input is a file there.
    let mut command = house.send("laptop", &server, &["--name", "notes.txt", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().context("its input")?.write_all(b"a stream")?;
    ensure!(child.wait()?.success());
    assert_eq!(fs::read_to_string(house.path("incoming/laptop/notes.txt"))?, "a stream");

    // Another device comes into a folder of its own, as soon as it is trusted.
    house.run("phone", &["device"])?.expect(0)?;
    house.trusts("phone", "attic")?;
    house.trusts("attic", "phone")?;
    run(house.send("phone", &server, &["photos"]))?.expect(0)?;
    ensure!(house.path("incoming/phone/photos/2026/a.jpg").exists());

    // A name that was another's leads to none of its files.
    house.run("attic", &["trust", "rename", "laptop", "notebook"])?.expect(0)?;
    house.run("attic", &["trust", "rename", "phone", "laptop"])?.expect(0)?;
    fs::write(house.path("secret"), "of the second")?;
    run(house.send("phone", &server, &["secret"]))?.expect(0)?;
    ensure!(!house.path("incoming/laptop/secret").exists());
    let ended = server.stop()?;
    let slash = std::path::MAIN_SEPARATOR;
    ended.says(&format!("laptop: received 1 file into incoming{slash}laptop-"))?;
    ended.says(&format!("laptop: received 2 files into incoming{slash}laptop: "))?;
    ended.says(&format!("phone: received 2 files into incoming{slash}phone: "))
}

#[test]
fn who_is_not_trusted_is_told_nothing() -> Result<()> {
    let house = House::new()?;
    let server = house.serve("attic", &["--port", "0"])?;
    house.run("thief", &["device"])?.expect(0)?;
    house.trusts("thief", "attic")?;
    let refused = run(house.send("thief", &server, &["photos"]))?.expect(4)?;
    refused.says("127.0.0.1 does not trust this device (")?;
    // A server that this device does not know is shown nothing either.
    house.run("lost", &["device"])?.expect(0)?;
    let refused = run(house.send("lost", &server, &["photos"]))?.expect(4)?;
    refused.says("is from no CA that this device knows")?;
    // One that was trusted, and is no more.
    house.run("attic", &["trust", "remove", "laptop", "--yes"])?.expect(0)?;
    let refused = run(house.send("laptop", &server, &["photos"]))?.expect(4)?;
    refused.says("127.0.0.1 has removed this device")?;
    let ended = server.stop()?;
    ended.says("turned away 127.0.0.1: unknown device \"")?;
    ended.says("turned away 127.0.0.1: laptop was removed from this device on ")?;
    assert_eq!(fs::read_dir(house.path("incoming"))?.count(), 0);

    // Of those that are trusted only some may be wanted.
    house.run("phone", &["device"])?.expect(0)?;
    house.trusts("attic", "phone")?;
    house.trusts("phone", "attic")?;
    let server = house.serve("attic", &["--port", "0", "--allow", "somebody"])?;
    let refused = run(house.send("phone", &server, &["photos"]))?.expect(4)?;
    refused.says("127.0.0.1 does not let this device in")?;
    let ended = server.stop()?;
    ended.says("--allow \"somebody\": no device is known here by that name or id")?;
    ended.says("turned away 127.0.0.1: phone is not among those of --allow")
}

#[test]
fn a_list_that_cannot_be_read_lets_nobody_in() -> Result<()> {
    let house = House::new()?;
    let server = house.serve("attic", &["--port", "0"])?;
    fs::write(house.path("attic-config/trust.json"), "{\"v\": 1")?;
    run(house.send("laptop", &server, &["photos"]))?.expect(5)?;
    server.stop()?.says("trust.json\" cannot be used")?;
    house.run("attic", &["serve", "--pod", "incoming"])?.expect(2)?.says("cannot be used")
}

/// When a device was last seen is worth no upload.
#[test]
fn a_list_that_cannot_be_written_stops_no_upload() -> Result<()> {
    let house = House::new()?;
    for device in ["laptop", "attic"] {
        // Where the new one would be written, whoever asks.
        fs::create_dir(house.path(&format!("{device}-config/trust.json.new")))?;
    }
    let server = house.serve("attic", &["--port", "0"])?;
    run(house.send("laptop", &server, &["photos"]))?.expect(0)?;
    house.arrived("laptop/photos")?;
    server.stop().map(drop)
}

/// A server that cannot take it now is waited for.
#[test]
fn an_upload_waits_for_the_disk_of_its_server() -> Result<()> {
    let house = House::new()?;
    let server = house.serve("attic", &["--port", "0"])?;
    fs::remove_dir(house.path("incoming"))?;
    let mut sender = Process::start(house.send("laptop", &server, &["photos"]))?;
    sender.wait_until_said("cannot write to its folder; trying again")?;
    fs::create_dir(house.path("incoming"))?;
    sender.end()?.expect(0)?;
    house.arrived("laptop/photos")?;
    server.stop().map(drop)
}

#[test]
fn an_upload_survives_its_server() -> Result<()> {
    let house = House::new()?;
    let server = house.serve("attic", &["--port", "0"])?;
    let port = server.place.rsplit(':').next().context("a port")?.to_owned();
    let sending = house.send("laptop", &server, &["--limit", "100k", "photos"]);
    let mut sender = Process::start(sending)?;
    sender.wait_until_said("is connected")?;
    std::thread::sleep(std::time::Duration::from_millis(700));
    let stopped = server.stop()?;
    if cfg!(unix) {
        stopped.says("stopped")?;
    }
    let server = house.serve("attic", &["--port", &port])?;
    sender.end()?.expect(0)?.says("trying again")?;
    house.arrived("laptop/photos")?;
    server.stop().map(drop)
}

#[test]
fn whoever_is_removed_is_not_served_to_the_end() -> Result<()> {
    let house = House::new()?;
    let server = house.serve("attic", &["--port", "0"])?;
    let sending = house.send("laptop", &server, &["--limit", "20k", "photos"]);
    let mut sender = Process::start(sending)?;
    sender.wait_until_said("is connected")?;
    house.run("attic", &["trust", "remove", "laptop", "--yes"])?.expect(0)?;
    sender.end()?.expect(4)?.says("127.0.0.1 has removed this device")?;
    server.stop().map(drop)
}

/// Nor where the list that does not have it any more could not be read at first, and is mended by its mode alone.
#[cfg(unix)]
#[test]
fn whoever_is_gone_from_a_list_that_is_mended_is_not_served_to_the_end() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let house = House::new()?;
    let mut server = house.serve("attic", &["--port", "0"])?;
    let sending = house.send("laptop", &server, &["--limit", "10k", "photos"]);
    let mut sender = Process::start(sending)?;
    sender.wait_until_said("is connected")?;
    fs::create_dir(house.path("spare-config"))?;
    fs::set_permissions(house.path("spare-config"), fs::Permissions::from_mode(0o700))?;
    let (spare, list) =
        (house.path("spare-config/trust.json"), house.path("attic-config/trust.json"));
    fs::copy(&list, &spare)?;
    house.run("spare", &["trust", "remove", "laptop", "--yes"])?.expect(0)?;
    fs::set_permissions(&spare, fs::Permissions::from_mode(0o644))?;
    fs::rename(&spare, &list)?;
    server.process.wait_until_said("nobody new is let in")?;
    fs::set_permissions(&list, fs::Permissions::from_mode(0o600))?;
    sender.end()?.expect(4)?.says("127.0.0.1 has removed this device")?;
    server.stop().map(drop)
}

/// Nor is a device of a CA that was removed.
#[test]
fn whoever_loses_its_ca_is_not_served_to_the_end() -> Result<()> {
    let house = House::new()?;
    house.run("ca", &["ca", "init", "home"])?.expect(0)?;
    house.run("ca", &["ca", "issue", "desk"])?.expect(0)?;
    house.run("attic", &["trust", "import", "ca-config/ca/ca.pem"])?.expect(0)?;
    house.trusts("desk", "attic")?;
    let server = house.serve("attic", &["--port", "0"])?;
    let shows = ["--cert", "desk.pem", "--key", "desk.key", "--limit", "20k", "photos"];
    let mut sender = Process::start(house.send("desk", &server, &shows))?;
    sender.wait_until_said("is connected")?;
    house.run("attic", &["trust", "remove", "home", "--yes"])?.expect(0)?;
    sender.end()?.expect(4)?.says("127.0.0.1 does not trust this device")?;
    server.stop().map(drop)
}

/// Nor does a handshake that takes its time get in by the rules that it began under.
#[test]
fn whoever_loses_its_ca_within_the_handshake_is_not_served() -> Result<()> {
    let house = House::new()?;
    house.run("ca", &["ca", "init", "home"])?.expect(0)?;
    house.run("ca", &["ca", "issue", "desk"])?.expect(0)?;
    house.run("attic", &["trust", "import", "ca-config/ca/ca.pem"])?.expect(0)?;
    house.trusts("desk", "attic")?;
    let mut server = house.serve("attic", &["--port", "0"])?;
    let between = TcpListener::bind("127.0.0.1:0")?;
    let real = std::mem::replace(&mut server.place, between.local_addr()?.to_string());
    let shows = ["--cert", "desk.pem", "--key", "desk.key", "photos"];
    let sender = Process::start(house.send("desk", &server, &shows))?;
    let (mut near, _) = between.accept()?;
    let mut far = TcpStream::connect(real)?;
    let (mut back, mut answers) = (near.try_clone()?, far.try_clone()?);
    let answered = std::thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut back);
        let _ = back.shutdown(std::net::Shutdown::Both);
    });
    let mut hello = [0; 16 << 10];
    let length = near.read(&mut hello)?;
    far.write_all(hello.get(..length).context("a hello")?)?;
    // What follows is the proof of who it is.
    near.peek(&mut [0])?;
    house.run("attic", &["trust", "remove", "home", "--yes"])?.expect(0)?;
    std::thread::sleep(std::time::Duration::from_millis(2500));
    std::thread::spawn(move || std::io::copy(&mut near, &mut far));
    let said = "it has not been trusted any more since it began to connect";
    server.process.wait_until_said(said)?;
    answered.join().expect("a copy");
    drop(between);
    drop(sender);
    ensure!(!house.path("incoming/desk").exists(), "it was let in");
    server.stop().map(drop)
}

#[test]
fn a_second_upload_of_a_device_waits() -> Result<()> {
    let house = House::new()?;
    fs::write(house.path("note"), "short")?;
    let mut server = house.serve("attic", &["--port", "0"])?;
    let slow = house.send("laptop", &server, &["--limit", "100k", "photos"]);
    let mut first = Process::start(slow)?;
    first.wait_until_said("is connected")?;
    server.process.wait_until_said("laptop (127.0.0.1): 2 files")?;
    let second = Process::start(house.send("laptop", &server, &["note"]))?;
    server.process.wait_until_said("laptop: waits for an earlier upload")?;
    first.end()?.expect(0)?;
    second.end()?.expect(0)?;
    assert_eq!(fs::read_to_string(house.path("incoming/laptop/note"))?, "short");
    server.stop().map(drop)
}

#[test]
fn certificates_of_a_ca_work_as_files() -> Result<()> {
    let house = House::new()?;
    house.run("ca", &["ca", "init", "home"])?.expect(0)?;
    let issue = ["ca", "issue", "nas", "--san", "127.0.0.1"];
    house.run("ca", &issue)?.expect(0)?;
    house.run("ca", &["ca", "issue", "desk"])?.expect(0)?;
    let ca = "ca-config/ca/ca.pem";
    let shows = ["--cert", "nas.pem", "--key", "nas.key", "--ca", ca, "--port", "0"];
    let server = house.serve("nas", &shows)?;
    let shows = ["--cert", "desk.pem", "--key", "desk.key", "--ca", ca, "photos"];
    run(house.send("desk", &server, &shows))?.expect(0)?;
    house.arrived("desk/photos")?;
    // Without a server they would say nothing.
    for unused in [&shows[..4], &shows[4..6]] {
        let words = [&["send", "-y", "--pod", "photos"], unused].concat();
        house.run("desk", &words)?.expect(2)?.says("are for a transfer to a server")?;
    }
    // Without it the server is a stranger.
    let refused = run(house.send("desk", &server, &["photos"]))?.expect(4)?;
    refused.says("is from no CA that this device knows")?;
    server.stop().map(drop)
}

#[test]
fn programs_are_told() -> Result<()> {
    let house = House::new()?;
    let server = house.serve("attic", &["--port", "0", "--json"])?;
    let sent = run(house.send("laptop", &server, &["--json", "photos"]))?.expect(0)?;
    let sent = Events::of(&sent)?;
    let session = sent.one("peer")?["session"].clone();
    ensure!(session.is_string(), "{sent:#?}");
    let ended = server.stop()?;
    let lines: Vec<Value> =
        ended.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    lines.iter().try_for_each(check_line)?;
    let one = |event: &str| lines.iter().find(|line| line["event"] == event).context("an event");
    assert_eq!(one("listening")?["folder"], "incoming");
    let upload = one("upload")?;
    assert_eq!((&upload["name"], &upload["exit"]), (&"laptop".into(), &0.into()));
    assert_eq!((&upload["files"], &upload["bytes"]), (&2.into(), &300_000.into()));
    if cfg!(unix) {
        assert_eq!(one("end")?["exit"], 0);
    }
    Ok(())
}

/// They are more than the server looks at, and an honest device gets in beside them.
#[test]
fn silent_strangers_keep_nobody_out() -> Result<()> {
    let house = House::new()?;
    let server = house.serve("attic", &["--port", "0"])?;
    let crowd: Vec<_> = (0..200).map(|_| TcpStream::connect(&server.place)).collect();
    run(house.send("laptop", &server, &["photos"]))?.expect(0)?;
    house.arrived("laptop/photos")?;
    drop(crowd);
    server.stop().map(drop)
}

/// Folders merge: what a device has sent before is there after it sends a folder of that name without it, and a file in
/// the place of a folder takes nothing away (Warpinator#205, #240 and #135, where a folder was replaced, or a file by
/// one that had only begun).
#[test]
fn a_folder_that_comes_again_replaces_nothing() -> Result<()> {
    let house = House::new()?;
    let server = house.serve("attic", &["--port", "0", "--on-conflict", "overwrite"])?;
    run(house.send("laptop", &server, &["photos"]))?.expect(0)?;
    fs::rename(house.path("photos"), house.path("kept"))?;
    fs::create_dir_all(house.path("photos/2026"))?;
    fs::write(house.path("photos/2026/b.jpg"), "another")?;
    run(house.send("laptop", &server, &["photos"]))?.expect(0)?;
    house.arrived("laptop/photos")?;
    assert_eq!(fs::read(house.path("incoming/laptop/photos/2026/b.jpg"))?, b"another");
    fs::remove_dir_all(house.path("photos"))?;
    fs::write(house.path("photos"), "a file")?;
    run(house.send("laptop", &server, &["photos"]))?;
    house.arrived("laptop/photos")?;
    // One that only begins to come takes nothing away either.
    fs::remove_file(house.path("photos"))?;
    fs::create_dir_all(house.path("photos/2026"))?;
    fs::write(house.path("photos/2026/a.jpg"), vec![8; 300_000])?;
    let mut sender = Process::start(house.send("laptop", &server, &["--limit", "50k", "photos"]))?;
    sender.wait_until_said("is connected")?;
    std::thread::sleep(std::time::Duration::from_secs(1));
    sender.kill()?;
    house.arrived("laptop/photos")?;
    server.stop().map(drop)
}

/// Whoever guesses the token of a pairing has three tries, and learns nothing from them (CVE-2025-32898: KDE Connect,
/// whose code of eight characters could be ground).
#[test]
fn three_wrong_tokens_end_a_pairing() -> Result<()> {
    let house = House(Scratch::new()?);
    let mut shows = Process::start(
        house.command("attic", &["pair", "--pod", "--port", "0", "--name", "laptop"]),
    )?;
    let line = shows.wait_for(Pipe::Out, "transfer pair ")?;
    let ticket = line.trim().strip_prefix("transfer pair ").context("a ticket")?.to_owned();
    let place = ticket.rsplit_once(':').context("a token")?.0;
    for wrong in ["ocean-tiger", "tiger-ocean", "maple-river"] {
        let wrong = format!("{place}:{wrong}");
        house.run("thief", &["pair", "--pod", "--name", "attic", &wrong])?.expect(4)?;
    }
    shows.end()?.expect(4)?;
    house.run("laptop", &["pair", "--pod", "--name", "attic", &ticket])?.expect(5)?;
    ensure!(!house.run("attic", &["trust", "list"])?.stdout.contains("laptop"));
    Ok(())
}

/// What closes a folder to its owner would close it to the server: such a folder can be looked into all the same, and
/// the next upload is taken.
#[cfg(unix)]
#[test]
fn a_closed_folder_locks_nobody_out() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let house = House::new()?;
    let server = house.serve("attic", &["--port", "0", "--quota", "1M"])?;
    let closed = house.path("photos/2026");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o311))?;
    let can_read = fs::read_dir(&closed).is_ok();
    run(house.send("laptop", &server, &["photos"]))?.expect(if can_read { 0 } else { 3 })?;
    if can_read {
        let there = fs::metadata(house.path("incoming/laptop/photos/2026"))?.permissions();
        assert_eq!(there.mode() & 0o700, 0o700, "{there:?}");
    }
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755))?;
    run(house.send("laptop", &server, &["photos"]))?.expect(0)?;
    house.arrived("laptop/photos")?;
    server.stop().map(drop)
}

/// By a token; a wrong one pairs nobody.
#[test]
fn two_devices_pair_by_a_token() -> Result<()> {
    let house = House(Scratch::new()?);
    fs::write(house.path("note"), "hello")?;
    let show = |name: &str| -> Result<(Process, String)> {
        let words = ["pair", "--pod", "--port", "0", "--name", name];
        let mut process = Process::start(house.command("attic", &words))?;
        let line = process.wait_for(Pipe::Out, "transfer pair ")?;
        let ticket = line.trim().strip_prefix("transfer pair ").context("a ticket")?.to_owned();
        Ok((process, ticket))
    };
    let (shows, ticket) = show("laptop")?;
    let wrong = format!("{}:ocean-tiger", ticket.rsplit_once(':').context("a token")?.0);
    let types = |ticket: &str| house.run("laptop", &["pair", "--pod", "--name", "attic", ticket]);
    types(&wrong)?.expect(4)?;
    types(&ticket)?.expect(0)?.says("paired with attic (")?;
    shows.end()?.expect(0)?.says("paired with laptop (")?;
    let server = house.serve("attic", &["--port", "0"])?;
    run(house.send("laptop", &server, &["note"]))?.expect(0)?;
    assert_eq!(fs::read_to_string(house.path("incoming/laptop/note"))?, "hello");

    // What was removed comes back so, when both agree anew.
    house.run("attic", &["trust", "remove", "laptop", "--yes"])?.expect(0)?;
    run(house.send("laptop", &server, &["note"]))?.expect(4)?;
    let (shows, ticket) = show("notebook")?;
    types(&ticket)?.expect(0)?;
    let shown = shows.end()?.expect(0)?;
    shown.says("laptop was removed from this device on ")?;
    shown.says(", and is trusted again")?;
    run(house.send("laptop", &server, &["note"]))?.expect(0)?;
    ensure!(house.path("incoming/notebook/note").exists());

    // Who receives with it has mistaken the command, and no name is pinned.
    let (shows, ticket) = show("other")?;
    house.run("phone", &["receive", "--pod", "-y", "-o", "in", &ticket])?.expect(1)?;
    shows.end()?.expect(1)?;
    ensure!(!house.run("attic", &["trust", "list"])?.stdout.contains("other"));
    server.stop().map(drop)
}
