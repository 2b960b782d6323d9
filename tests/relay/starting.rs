//! How a relay does not start: the sentence, what to do next, and the exit code.

use std::net::{TcpListener, UdpSocket};

use anyhow::{Result, ensure};

use super::stage::{Papers, relay};
use super::util::process::run;

#[test]
fn a_port_that_is_taken() -> Result<()> {
    let papers = Papers::new()?;
    let (certificate, key) = (papers.path("relay.pem"), papers.path("relay.key"));
    let tls = ["--cert", &*certificate, "--key", &*key, "--bind", "127.0.0.1"];
    let (tcp, udp) = (TcpListener::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    let tcp_port = tcp.local_addr()?.port().to_string();
    let udp_port = udp.local_addr()?.port().to_string();
    for (words, port, option) in [
        (vec!["--http", &*tcp_port], &tcp_port, "--http"),
        (vec!["--http", "0", "--metrics", &tcp_port], &tcp_port, "--metrics"),
        ([&tls[..], &["--port", &tcp_port]].concat(), &tcp_port, "--port"),
        ([&tls[..], &["--port", "0", "--discovery", &udp_port]].concat(), &udp_port, "--discovery"),
    ] {
        let ended = run(relay(&words))?.expect(5)?;
        ended.says(&format!("port {port} is in use"))?;
        ended.says(&format!("choose another with {option}"))?;
    }
    Ok(())
}

#[test]
fn what_cannot_be_used() -> Result<()> {
    let papers = Papers::new()?;
    let other = Papers::new()?;
    papers.write("empty.pem", b"", 0o644)?;
    papers.write("open.key", &std::fs::read(papers.path("relay.key"))?, 0o644)?;
    papers.write("cert.key", &std::fs::read(papers.path("relay.pem"))?, 0o600)?;
    papers.write("short", b"ocean-tiger\n", 0o600)?;
    papers.write("none", b"# nobody yet\n\n", 0o600)?;
    papers.write("open", b"ocean-tiger-ocean-tiger\n", 0o644)?;
    papers.write("spaced", b"ocean tiger ocean tiger\n", 0o600)?;
    // Long over, for a host that is right.
    let mut old = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
    old.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let mut nameless = rcgen::CertificateParams::new(vec![])?;
    nameless.not_after = rcgen::date_time_ymd(2100, 1, 1);
    let pair = rcgen::KeyPair::generate()?;
    papers.write("other.key", pair.serialize_pem().as_bytes(), 0o600)?;
    papers.write("old.pem", old.self_signed(&pair)?.pem().as_bytes(), 0o644)?;
    papers.write("nameless.pem", nameless.self_signed(&pair)?.pem().as_bytes(), 0o644)?;
    let at = |name: &str| papers.path(name);
    let pem = at("relay.pem");
    for (words, said) in [
        (vec!["--cert", "/nonexistent", "--key", "/nonexistent"], "cannot read \"/nonexistent\""),
        (vec!["--cert", &at("empty.pem"), "--key", &at("relay.key")], "holds no certificate"),
        (vec!["--cert", &at("relay.key"), "--key", &at("relay.key")], "and no certificate"),
        (vec!["--cert", &pem, "--key", &at("cert.key")], "and no private key"),
        (vec!["--cert", &pem, "--key", &at("open.key")], "read"),
        (vec!["--cert", &pem, "--key", &other.path("relay.key")], "is of another key than"),
        (vec!["--cert", &at("old.pem"), "--key", &at("other.key")], "has ended"),
        (vec!["--cert", &at("nameless.pem"), "--key", &at("other.key")], "names no host"),
        (vec!["--http", "0", "--token-file", &at("short")], "fewer than 16 characters"),
        (vec!["--http", "0", "--token-file", &at("none")], "holds no token"),
        (vec!["--http", "0", "--token-file", &at("open")], "read"),
        (vec!["--http", "0", "--token-file", &at("spaced")], "with a space"),
        (vec!["--http", "0", "--token-file", "/nonexistent"], "cannot read"),
        (vec![], "required"),
        (vec!["--http", "0", "--cert", &pem, "--key", &at("relay.key")], "cannot be used with"),
        (vec!["--cert", &pem], "--key"),
        (vec!["--http", "0", "--rate", "0"], "a size is like"),
        (vec!["--http", "here"], "an address is like"),
    ] {
        let words: Vec<&str> = words.iter().map(|word| &**word).collect();
        let ended = run(relay(&words))?.expect(2)?;
        ended.says(said)?;
        ensure!(!ended.stderr.contains("ocean"), "a token is said: {ended:#?}");
    }
    Ok(())
}

/// What makes a service of it is understood by systemd, and hands the files over.
#[test]
fn its_unit_is_one() -> Result<()> {
    let papers = Papers::new()?;
    let (certificate, key) = (papers.path("relay.pem"), papers.path("relay.key"));
    let words =
        ["--cert", &*certificate, "--key", &*key, "--print-unit", "systemd", "--daily", "9G"];
    let printed = run(relay(&words))?.expect(0)?;
    printed.says("systemctl enable --now transfer-relay")?;
    printed.says("`systemctl restart transfer-relay`")?;
    let unit = printed.stdout;
    ensure!(unit.contains("\"${CREDENTIALS_DIRECTORY}/key\" \"--daily\" \"9G\"\n"), "{unit}");
    ensure!(unit.contains(&format!("LoadCredential=key:{key}\n")), "{unit}");
    ensure!(!unit.contains("print-unit"), "{unit}");
    let file = papers.path("transfer-relay.service");
    std::fs::write(&file, &unit)?;
    if let Ok(found) =
        std::process::Command::new("systemd-analyze").arg("verify").arg(&file).output()
    {
        let said = String::from_utf8_lossy(&found.stderr);
        ensure!(!said.contains("transfer-relay.service"), "{said}\n{unit}");
    }
    let log = papers.path("log");
    let logged = [&words[..], &["--log-file", &log]].concat();
    run(relay(&logged))?.expect(2)?.says("has no place to write a log to")
}
