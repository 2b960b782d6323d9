//! `transfer serve` as a service: certificates and lists that change under way, signals, its unit, what it
//! tells systemd.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::serving::House;
use crate::util::process::{LIMIT, Pipe, Process, run};
use crate::util::skip;
use crate::util::tree::noise;

fn signal(process: &Process, signal: Signal) -> Result<()> {
    let id = Pid::from_raw(i32::try_from(process.id())?).context("a process")?;
    Ok(kill_process(id, signal)?)
}

/// With a CA, and a server and a device that it vouches for.
fn fleet() -> Result<House> {
    let house = House::new()?;
    house.run("ca", &["ca", "init", "home"])?.expect(0)?;
    house.run("ca", &["ca", "issue", "nas", "--san", "127.0.0.1"])?.expect(0)?;
    house.run("ca", &["ca", "issue", "desk"])?.expect(0)?;
    Ok(house)
}

const CA: &str = "ca-config/ca/ca.pem";
const NAS: [&str; 8] = ["--cert", "nas.pem", "--key", "nas.key", "--ca", CA, "--port", "0"];
const DESK: [&str; 7] = ["--cert", "desk.pem", "--key", "desk.key", "--ca", CA, "photos"];

#[test]
fn a_certificate_that_is_replaced_is_shown_at_once() -> Result<()> {
    let house = fleet()?;
    let mut server = house.serve("nas", &NAS)?;
    run(house.send("desk", &server, &DESK))?.expect(0)?;
    // One for another host: who dials sees that it is the new one.
    let issue = ["ca", "issue", "nas", "--san", "192.0.2.1", "--out", "new"];
    fs::create_dir(house.path("new"))?;
    house.run("ca", &issue)?.expect(0)?;
    fs::rename(house.path("new/nas.key"), house.path("nas.key"))?;
    // Between the two the files do not fit each other, and nobody is let in.
    let mut sender = Process::start(house.send("desk", &server, &DESK))?;
    sender.wait_until_said("trying again")?;
    server.process.wait_until_said("\"nas.key\"; nobody new is let in")?;
    fs::rename(house.path("new/nas.pem"), house.path("nas.pem"))?;
    sender
        .end()?
        .expect(4)?
        .says("certificate is for nas, nas.local, 192.0.2.1, not for 127.0.0.1")?;
    server.stop()?.says("turned away 127.0.0.1: \"nas.pem\" is of another key than \"nas.key\"")
}

#[test]
fn certificates_that_end_soon_are_told_of_on_both_sides() -> Result<()> {
    let house = House::new()?;
    house.run("ca", &["ca", "init", "home"])?.expect(0)?;
    for (name, days) in [("nas", "12"), ("desk", "29")] {
        let issue = ["ca", "issue", name, "--san", "127.0.0.1", "--days", days];
        house.run("ca", &issue)?.expect(0)?;
    }
    let server = house.serve("nas", &NAS)?;
    let sent = run(house.send("desk", &server, &DESK))?.expect(0)?;
    sent.says("warning: this device's certificate ends in 2")?;
    sent.says("warning: the certificate of nas ends in 1")?;
    let ended = server.stop()?;
    assert_eq!(ended.stderr.matches("warning: this device's certificate ends in 1").count(), 2);
    ended.says("warning: the certificate of desk ends in 2")
}

#[test]
fn a_hangup_reads_the_files_again_and_ends_nothing() -> Result<()> {
    let house = House::new()?;
    let manager = UnixDatagram::bind(house.path("notify"))?;
    manager.set_read_timeout(Some(LIMIT))?;
    let heard = || -> Result<String> {
        let mut text = [0; 100];
        let len = manager.recv(&mut text)?;
        Ok(String::from_utf8_lossy(text.get(..len).unwrap_or_default()).into_owned())
    };
    let mut command = house.command("attic", &["serve", "--pod", "--port", "0", "incoming"]);
    command.env("NOTIFY_SOCKET", house.path("notify"));
    let mut process = Process::start(command)?;
    process.wait_for(Pipe::Err, " takes uploads into ")?;
    assert_eq!(heard()?, "READY=1");
    signal(&process, Signal::HUP)?;
    process.wait_until_said("the list of devices and the certificates are read again")?;
    assert_eq!((heard()?, heard()?), ("RELOADING=1".into(), "READY=1".into()));
    signal(&process, Signal::TERM)?;
    assert_eq!(heard()?, "STOPPING=1");
    process.end()?.expect(0)?.says("stopped")
}

/// Whatever the uploader does, and with the state kept.
#[test]
fn a_stop_waits_for_nobody() -> Result<()> {
    let house = House::new()?;
    fs::write(house.path("film"), noise(30_000_000, 1))?;
    for stands_still in [false, true] {
        let server = house.serve("attic", &["--port", "0", "--json"])?;
        let port = server.place.rsplit(':').next().context("a port")?.to_owned();
        let slow = house.send("laptop", &server, &["--limit", "3M", "film"]);
        let mut sender = Process::start(slow)?;
        sender.wait_until_said("is connected")?;
        thread::sleep(Duration::from_millis(1500));
        if stands_still {
            signal(&sender, Signal::STOP)?;
        }
        signal(&server.process, Signal::TERM)?;
        let ended = server.process.end()?.expect(0)?;
        ensure!(ended.stdout.contains("\"event\":\"end\""), "{ended:#?}");
        signal(&sender, Signal::CONT)?;
        sender.wait_until_said("trying again")?;
        let server = house.serve("attic", &["--port", &port])?;
        sender.interrupt()?;
        sender.end()?.expect(130)?;
        run(house.send("laptop", &server, &["film"]))?.expect(0)?;
        let ended = server.stop()?;
        assert_eq!(fs::read(house.path("incoming/laptop/film"))?, noise(30_000_000, 1));
        // What had come is not sent again.
        ended.says("laptop: received 1 file into incoming/laptop: ")?;
        ensure!(!ended.stderr.contains("incoming/laptop: 30.0 MB"), "{ended:#?}");
        fs::remove_dir_all(house.path("incoming"))?;
    }
    // Two at once.
    let server = house.serve("attic", &["--port", "0"])?;
    let slow = house.send("laptop", &server, &["--limit", "100k", "film"]);
    let mut sender = Process::start(slow)?;
    sender.wait_until_said("is connected")?;
    signal(&sender, Signal::STOP)?;
    signal(&server.process, Signal::TERM)?;
    thread::sleep(Duration::from_millis(100));
    signal(&server.process, Signal::TERM)?;
    let ended = server.process.end()?.expect(0)?;
    let left = "  stopped at once: whoever was sending notices that by itself, and goes on when it is back\n";
    assert!(ended.stderr.ends_with(left) && !ended.stderr.contains("the other side"), "{ended:#?}");
    signal(&sender, Signal::CONT)?;
    sender.interrupt()?;
    sender.end()?.expect(130)?;
    Ok(())
}

#[test]
fn its_unit_is_one() -> Result<()> {
    let house = House::new()?;
    let folder = house.path("a folder 100%");
    let words = ["serve", "--print-unit", "systemd", "--quota", "50GB", "a folder 100%"];
    let printed = house.run("attic", &words)?.expect(0)?;
    printed.says("enable-linger")?;
    let unit = printed.stdout;
    ensure!(unit.contains("\"serve\" \"--quota\" \"50GB\" \"a folder 100%%\"\n"), "{unit}");
    ensure!(unit.contains("Type=notify\n") && unit.contains("/bin/kill -HUP $MAINPID"), "{unit}");
    let file = house.path("transfer.service");
    fs::write(&file, &unit)?;
    let verified = Command::new("systemd-analyze").args(["--user", "verify"]).arg(&file).output();
    match verified {
        Err(_) => skip("no systemd-analyze is here"),
        Ok(found) => {
            let said = String::from_utf8_lossy(&found.stderr);
            ensure!(!said.contains("transfer.service"), "{said}\n{unit}");
        }
    }
    // What leads to Tailscale, for the tailnet alone.
    ensure!(!unit.contains("TRANSFER_TAILSCALE"), "{unit}");
    let mut tailnet = house.command("attic", &["serve", "in", "--tailnet", "--print-unit=systemd"]);
    tailnet.env("TS_SOCKET", "/run/ts.sock");
    let printed = run(tailnet)?.expect(0)?;
    printed.says("it may start before Tailscale")?;
    for line in ["TRANSFER_TAILSCALE=/nonexistent/tailscale", "TS_SOCKET=/run/ts.sock"] {
        ensure!(printed.stdout.contains(&format!("\nEnvironment=\"{line}\"\n")), "{printed:#?}");
    }
    let words = ["serve", "incoming", "--print-unit=launchd"];
    let agent = house.run("attic", &words)?.expect(0)?.stdout;
    let arguments = "<string>serve</string>\n    <string>incoming</string>\n  </array>";
    ensure!(agent.contains(arguments), "{agent}");
    // What a service may write into has to be there, and is this user's list also by another way to it.
    ensure!(folder.is_dir() && house.path("incoming").is_dir(), "no folder was made");
    let mut fresh = house.command("fresh", &["serve", "incoming", "--print-unit", "systemd"]);
    fresh.env_remove("TRANSFER_CONFIG").env("HOME", house.path("home"));
    fresh.env("XDG_CONFIG_HOME", house.path("home/xdg"));
    let unit = run(fresh)?.expect(0)?.stdout;
    let own = fs::canonicalize(house.path("."))?.join("home/xdg/transfer");
    let written = unit.lines().find(|line| line.starts_with("Environment=\"TRANSFER_CONFIG="));
    ensure!(written.is_some_and(|line| line.ends_with("/home/xdg/transfer\"")), "{unit}");
    ensure!(own.is_dir(), "no folder of its own was made");
    Ok(())
}

/// Who, from where, how much, where to, and how it ended: in one line of the log.
#[test]
fn a_log_can_be_audited() -> Result<()> {
    let house = House::new()?;
    let server = house.serve("attic", &["--port", "0", "--log-file", "log", "--quota", "300k"])?;
    run(house.send("laptop", &server, &["photos"]))?.expect(0)?;
    fs::write(house.path("more"), "more")?;
    run(house.send("laptop", &server, &["more"]))?.expect(7)?;
    house.run("thief", &["device"])?.expect(0)?;
    house.trusts("thief", "attic")?;
    run(house.send("thief", &server, &["photos"]))?.expect(4)?;
    server.stop()?;
    let card = house.run("laptop", &["device", "--json"])?.expect(0)?.stdout;
    let id = card.split("\"id\":\"").nth(1).and_then(|rest| rest.get(..64)).context("an id")?;
    let log = fs::read_to_string(house.path("log"))?;
    let whose =
        format!("upload: device \"laptop\", id {id}, from 127.0.0.1, into \"incoming/laptop\"");
    for end in [
        "files 2, bytes 300000, exit 0\n",
        "files 0, bytes 0, exit 7, why: 4 B would have to come, and --quota lets 0 B\n",
    ] {
        ensure!(log.contains(&format!(" {whose}, {end}")), "{end}: {log}");
    }
    ensure!(log.contains(" turned away 127.0.0.1: unknown device \""), "{log}");
    Ok(())
}

/// Four devices at the same time, each into its folder, beside 200 strangers who say nothing and others who
/// begin a handshake all the time.
#[cfg(target_os = "linux")]
#[test]
fn a_crowd_of_strangers_keeps_nobody_out() -> Result<()> {
    use std::io::Write;
    use std::net::TcpStream;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    /// What a session may take, as in the other suites.
    const MEMORY: u64 = 64 << 20;
    let house = House::new()?;
    let devices = ["laptop", "phone", "desk", "tablet"];
    for device in &devices[1..] {
        house.run(device, &["device"])?.expect(0)?;
        house.trusts(device, "attic")?;
        house.trusts("attic", device)?;
    }
    let server = house.serve("attic", &["--port", "0"])?;
    let idle: Vec<_> = (0..200).map(|_| TcpStream::connect(&server.place)).collect();

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"transfer/2".to_vec()];
    let mut hello = vec![];
    ClientConnection::new(Arc::new(config), "attic".try_into()?)?.write_tls(&mut hello)?;
    let (over, knocked) = (AtomicBool::new(false), AtomicU64::new(0));
    let place = &server.place;
    let sent = thread::scope(|scope| {
        let knock = || {
            while !over.load(Ordering::Relaxed) {
                let Ok(mut stranger) = TcpStream::connect(place) else { continue };
                if stranger.write_all(&hello).is_ok() {
                    knocked.fetch_add(1, Ordering::Relaxed);
                }
                thread::sleep(Duration::from_millis(20));
            }
        };
        scope.spawn(knock);
        let senders = devices.map(|device| {
            let words = ["--limit", "1M", "photos"];
            let command = house.send(device, &server, &words);
            scope.spawn(|| run(command))
        });
        let sent = senders.map(|sender| sender.join().expect("no sender panics"));
        over.store(true, Ordering::Relaxed);
        sent
    });
    for (device, sent) in devices.iter().zip(sent) {
        sent?.expect(0)?;
        house.arrived(&format!("{device}/photos"))?;
    }
    ensure!(knocked.load(Ordering::Relaxed) > 5, "nobody knocked");
    let status = fs::read_to_string(format!("/proc/{}/status", server.process.id()))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("a peak")?;
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse::<u64>()? * 1024;
    ensure!(peak < 4 * MEMORY, "{peak} bytes for four uploads");
    drop(idle);
    server.stop().map(drop)
}
