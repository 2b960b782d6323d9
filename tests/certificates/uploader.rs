//! `upload.py`, a program of strangers that was written from docs/protocol.md alone, uploads to a server.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::openssl::{Shop, serve};
use crate::util::process::{Ended, Pipe, Process};
use crate::util::skip;
use crate::util::tree::{ensure_same, noise, touch, tree, write};

/// Bytes of the one large file.
const LARGE: usize = 20_000_000;

/// After so much of it something happens.
const HOLD: &str = "15000000";

/// Certificates as DocShare's users have them, and something to send; nothing where no Python is that has TLS 1.3.
fn shop() -> Result<Option<Shop>> {
    let mut python = Command::new("python3");
    python.args(["-c", "import ssl, sys; sys.exit(not ssl.HAS_TLSv1_3)"]).stderr(Stdio::null());
    if !python.status().is_ok_and(|status| status.success()) {
        skip("no python3 with TLS 1.3 here");
        return Ok(None);
    }
    let Some(shop) = Shop::open()? else { return Ok(None) };
    shop.ca("ca", "myCA")?;
    shop.ca("other", "myCA")?;
    shop.issue("server", "ca", "rsa:2048", "san", "")?;
    shop.issue("client", "ca", "rsa:2048", "none", "")?;
    shop.issue("evil", "other", "rsa:2048", "none", "")?;
    for (name, content) in [
        ("photos/2026/large", noise(LARGE, 1)),
        ("photos/2026/none", vec![]),
        ("photos/2026-a", noise(300_000, 2)),
        ("photos/a b", b"a b".to_vec()),
        ("photos/\u{fc}ber \u{1f600}", b"unicode".to_vec()),
    ] {
        write(&shop.path(name), content)?;
    }
    for number in 0..300 {
        write(&shop.path(&format!("photos/many/{number}")), noise(number, number as u64))?;
    }
    std::fs::create_dir(shop.path("photos/empty"))?;
    std::os::unix::fs::symlink("../a b", shop.path("photos/2026/link"))?;
    for name in ["photos/2026/large", "photos/2026/link", "photos/empty", "photos/2026", "photos"] {
        touch(&shop.path(name), 1_600_000_000, 123_456_789)?;
    }
    Ok(Some(shop))
}

/// It sends `photos` to a server on this machine.
fn upload(shop: &Shop, port: u16, name: &str, options: &[&str]) -> Result<Process> {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates/upload.py"));
    let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
    command.args(["--cert", &cert, "--key", &key, "--ca", "ca.pem"]).args(options);
    command.args([&format!("127.0.0.1:{port}"), "photos"]).current_dir(shop.path(""));
    Process::start(command)
}

/// All is there, and this end says so.
fn arrived(shop: &Shop, ended: &Ended) -> Result<()> {
    ensure!(
        ended.stdout.contains(r#"{"type": "complete", "files": 305, "failed": 0}"#),
        "{ended:?}"
    );
    ensure_same(&tree(&shop.path("photos"))?, &tree(&shop.path("incoming/deviceB/photos"))?)
}

/// Where the large file went on, of a connection that came after another.
fn resumed(ended: &Ended) -> Result<usize> {
    let large =
        |line: &&str| line.starts_with("resume ") && line.ends_with(&format!(" of {LARGE}"));
    let line = ended.stdout.lines().find(large).with_context(|| format!("no resume: {ended:?}"))?;
    Ok(line.split(' ').nth(3).context("an offset")?.parse()?)
}

#[test]
fn a_tree_arrives_and_is_skipped_when_it_comes_again() -> Result<()> {
    let Some(shop) = shop()? else { return Ok(()) };
    let server = serve(&shop, "server", &["ca"], 0)?;
    let ended = upload(&shop, server.port, "client", &[])?.end()?.expect(0)?;
    arrived(&shop, &ended)?;
    ensure!(ended.stdout.contains("skip 0\n"), "{ended:?}");
    let ended = upload(&shop, server.port, "client", &[])?.end()?.expect(0)?;
    arrived(&shop, &ended)?;
    ensure!(ended.stdout.contains("skip 305\n"), "{ended:?}");

    // What this program cannot send: the server says whose it was, and lists nothing that it does not.
    std::os::unix::fs::symlink("/etc", shop.path("photos/out"))?;
    upload(&shop, server.port, "client", &[])?.end()?.expect(1)?;

    // One who has it from a CA of the same name: nothing of it becomes a folder.
    let refused = upload(&shop, server.port, "evil", &[])?.end()?.expect(4)?;
    refused.says("the server does not accept this device: ")?;
    let said = server.stop()?;
    said.says("warning: deviceB: 1 thing could not be sent, as it lists there\n")?;
    said.says("turned away 127.0.0.1: its certificate was signed by another CA that is also called \"myCA\"")?;
    ensure!(std::fs::read_dir(shop.path("incoming"))?.count() == 1);
    Ok(())
}

/// A server whose certificate gets another name while it runs, and then another key, says so at once: in its first line,
/// and in what it tells of itself.
#[test]
fn another_name_or_key_is_told_without_a_restart() -> Result<()> {
    let Some(shop) = shop()? else { return Ok(()) };
    shop.run("req -new -config config -key server.key -subj /CN=loft -out loft.csr")?;
    shop.run(
        "x509 -req -in loft.csr -CA ca.pem -CAkey ca.key -set_serial 7 -out loft.pem -days 20 \
         -extfile config -extensions san",
    )?;
    shop.issue("fresh", "ca", "rsa:2048", "san", "")?;
    let mut server = serve(&shop, "server", &["ca"], 0)?;
    let welcomed = |name: &str, port| -> Result<()> {
        let ended = upload(&shop, port, "client", &[])?.end()?.expect(0)?;
        ensure!(ended.stdout.contains(&format!("\"name\": \"{name}\"")), "{ended:?}");
        Ok(())
    };
    welcomed("deviceB", server.port)?;
    std::fs::rename(shop.path("loft.pem"), shop.path("server.pem"))?;
    let loft = server.process.wait_for(Pipe::Err, "loft takes uploads into ")?;
    welcomed("loft", server.port)?;
    std::fs::rename(shop.path("fresh.key"), shop.path("server.key"))?;
    std::fs::rename(shop.path("fresh.pem"), shop.path("server.pem"))?;
    let fresh = server.process.wait_for(Pipe::Err, "deviceB takes uploads into ")?;
    welcomed("deviceB", server.port)?;
    let words = |line: &str| {
        let words = line.split("its words: ").nth(1).and_then(|it| it.split(';').next());
        words.map(str::to_owned)
    };
    ensure!(words(&loft).is_some() && words(&loft) != words(&fresh), "{loft} {fresh}");
    server.stop().map(drop)
}

/// A device that says in a later message that it is another stays who its handshake has shown (CVE-2025-66270: of KDE
/// Connect, which believed the id of the second packet).
#[test]
fn no_later_message_says_who_it_is() -> Result<()> {
    let Some(shop) = shop()? else { return Ok(()) };
    let server = serve(&shop, "server", &["ca"], 0)?;
    std::fs::create_dir_all(shop.path("incoming/deviceC"))?;
    let ended = upload(&shop, server.port, "client", &["--claim", "deviceC"])?.end()?.expect(0)?;
    arrived(&shop, &ended)?;
    assert_eq!(std::fs::read_dir(shop.path("incoming/deviceC"))?.count(), 0);
    server.stop()?.says("deviceB: received 305 files into incoming/deviceB: ")?;
    Ok(())
}

#[test]
fn whatever_is_killed_it_goes_on() -> Result<()> {
    let Some(shop) = shop()? else { return Ok(()) };
    for (case, stops_server, kills) in
        [("client", false, true), ("server", true, true), ("stopped server", true, false)]
    {
        let mut server = serve(&shop, "server", &["ca"], 0)?;
        let port = server.port;
        let mut client = upload(&shop, port, "client", &["--hold", HOLD, "go on"])?;
        client.wait_for(Pipe::Out, "holding")?;
        if stops_server {
            if kills {
                server.process.kill()?;
            } else {
                server.stop()?.says("interrupted")?;
            }
            server = serve(&shop, "server", &["ca"], port)?;
            std::fs::write(shop.path("go on"), "")?;
        } else {
            client.kill()?;
            client = upload(&shop, port, "client", &[])?;
        }
        let ended = client.end()?.expect(0).context(case)?;
        arrived(&shop, &ended).context(case)?;
        let from = resumed(&ended).context(case)?;
        ensure!((1..LARGE).contains(&from), "{case}: {from}");
        server.stop()?;
        std::fs::remove_dir_all(shop.path("incoming"))?;
        let _ = std::fs::remove_file(shop.path("go on"));
    }
    Ok(())
}
