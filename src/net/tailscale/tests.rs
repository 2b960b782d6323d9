use super::*;
use crate::error::Exit;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tailscale");

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(FIXTURES).join(name)).unwrap()
}

fn parsed(name: &str) -> Status {
    Status::parse(&fixture(name)).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn states() {
    let json = |state: &str| format!(r#"{{"BackendState":"{state}"}}"#).into_bytes();
    for (status, message, hint) in [
        (fixture("status_needs_login.json"), "NeedsLogin", "https://login.example.invalid/a/"),
        (json("NeedsLogin"), "logged out", "`tailscale login`"),
        (fixture("status_needs_machine_auth.json"), "NeedsMachineAuth", "admin"),
        (fixture("status_stopped.json"), "Stopped", "`tailscale up`"),
        (fixture("status_stopped_cold.json"), "Stopped", "`tailscale up`"),
        (json("Starting"), "Starting", "wait"),
        (json("NoState"), "NoState", "wait"),
        (json("InUseOtherUser"), "InUseOtherUser", "that user"),
        (json("Dreaming\\u001b[2J"), r#""Dreaming\u{1b}[2J""#, "`tailscale status`"),
        (b"{}".to_vec(), "state \"\"", "`tailscale status`"),
    ] {
        let error = Status::parse(&status).unwrap().require_running().unwrap_err();
        let said = error.hint.as_deref().unwrap();
        assert!(error.message.contains(message), "{error}");
        assert!(said.contains("--pod") && said.contains(hint), "{said}");
        assert_eq!(error.exit(), Exit::Network);
    }
    for name in ["tun_4peers", "no_peers", "odd_peers", "old_1_36", "userspace_container"] {
        let status = parsed(&format!("status_{name}.json"));
        status.require_running().unwrap();
        assert_eq!(status.is_userspace(), name == "userspace_container");
    }
}

#[test]
fn only_a_peers_own_addresses_count() {
    for (file, address, name) in [
        ("tun_4peers", "100.88.201.44", "alices-laptop (alice@example.org)"), // offline
        ("tun_4peers", "fd7a:115c:a1e0::be01:c92c", "alices-laptop (alice@example.org)"),
        ("tun_4peers", "::ffff:100.88.201.44", "alices-laptop (alice@example.org)"),
        ("tun_4peers", "100.70.15.9", "ci-runner-03 (tag:ci, tag:router)"),
        ("tun_4peers", "100.119.3.200", "render-box (carol@partner.example)"), // shared in
        ("tun_4peers", "fd7a:115c:a1e0::9c01:2b7e", "edge-v6 (bob@example.org)"), // IPv6 only
        ("tun_4peers", "100.101.7.12", "desk-alice (alice@example.org)"),      // this machine
        ("no_peers", "fd7a:115c:a1e0::3c01:70c", "desk-alice (alice@example.org)"),
        ("odd_peers", "100.99.9.9", "device-of-shared-to-user (carol@partner.example)"),
        ("odd_peers", "100.71.2.3", "exit-se (tag:exit)"),
        ("odd_peers", "100.66.1.1", "xn--old-phone-example (bob@example.org)"),
        ("old_1_36", "100.88.201.44", "alices-laptop (alice@example.org)"),
        ("huge_sample_12", "100.64.0.11", "node-00001 (alice@example.org)"),
    ] {
        let status = parsed(&format!("status_{file}.json"));
        assert_eq!(status.peer(ip(address)).unwrap().to_string(), name);
    }
    for (file, address) in [
        ("tun_4peers", "10.40.0.7"),             // behind a subnet router
        ("tun_4peers", "203.0.113.77"),          // a peer's endpoint outside the tailnet
        ("tun_4peers", "100.64.0.1"),            // in the range, nobody's
        ("tun_4peers", "fd7a:115c:a1e0:b1a::1"), // 4via6
        ("tun_4peers", "::100.88.201.44"),       // not the mapped form
        ("tun_4peers", "100.100.100.100"),       // the tailnet's DNS
        ("tun_4peers", "127.0.0.1"),
        ("odd_peers", "8.8.8.8"), // behind an exit node
        ("odd_peers", "2001:db8::1"),
        ("odd_peers", "192.0.2.1"), // allowed to a peer without an address
        ("odd_peers", "0.0.0.0"),
        ("no_peers", "100.88.201.44"),
    ] {
        assert_eq!(parsed(&format!("status_{file}.json")).peer(ip(address)), None, "{address}");
    }
}

#[test]
fn odd_json() {
    let nulls = r#"{"BackendState":"Running","TUN":null,"AuthURL":null,"Self":null,"User":{"7":null},
        "Peer":{"a":null,"b":{"ID":null,"HostName":null,"DNSName":null,"UserID":null,"Tags":null,
        "TailscaleIPs":["100.64.0.9","junk","100.64.0.9/32"],"Expired":null,"New":{"x":[1]}}}}"#;
    let status = Status::parse(nulls.as_bytes()).unwrap();
    status.require_running().unwrap();
    assert!(!status.is_userspace());
    let peer = status.peer(ip("100.64.0.9")).unwrap();
    assert_eq!((peer.to_string().as_str(), peer.addresses.len()), ("a device without a name", 1));
    assert!(!status.is_self(peer));

    for (json, message) in [
        ("", "printed nothing"),
        ("null", "printed no JSON: null"),
        ("Tailscale is \u{1b}[1mstopped.\n", r"printed no JSON: Tailscale is \u{1b}[1mstopped."),
        (r#"{"BackendState":"Runn"#, "cannot be understood"),
        (r#"{"BackendState":7}"#, "cannot be understood"),
        (r#"{"BackendState":"Running"} {}"#, "cannot be understood"),
        (r#"{"Peer":{"a":{"TailscaleIPs":[1]}}}"#, "cannot be understood"),
        (&"{".repeat(100_000), "cannot be understood"),
        (&"x".repeat(100_000), "xxx…"),
    ] {
        let error = Status::parse(json.as_bytes()).unwrap_err();
        assert!(error.message.contains(message), "{error}");
        assert!(error.message.len() < 500 && error.exit() == Exit::Network);
    }
}

#[test]
fn whois_answers() {
    let tagged = parse_whois(&fixture("whois_tagged.json")).unwrap();
    assert_eq!(tagged.to_string(), "ci-runner-03 (tag:ci, tag:router)");
    assert_eq!(tagged.addresses, [ip("100.70.15.9"), ip("fd7a:115c:a1e0::f301:f09")]);
    assert_eq!(parsed("status_tun_4peers.json").peer(ip("100.70.15.9")), Some(&tagged));

    let own = parse_whois(&fixture("whois_user.json")).unwrap();
    assert_eq!(own.to_string(), "desk-alice (alice@example.org)");
    assert!(parsed("status_tun_4peers.json").is_self(&own));
    assert!(!parsed("status_userspace_container.json").is_self(&own));
    for json in ["{}", "[]", r#"{"Node":null}"#, r#"{"Node":{}}"#, "null", "peer"] {
        parse_whois(json.as_bytes()).unwrap_err();
    }
}

#[test]
fn names() {
    let status = parsed("status_tun_4peers.json");
    for (name, address) in [
        ("ci-runner-03", Some("100.70.15.9")),
        ("CI-Runner-03.tail5f0c1e.ts.net", Some("100.70.15.9")),
        ("ci-runner-03.tail5f0c1e.ts.net.", Some("100.70.15.9")),
        ("render-box.tail9ad27b.ts.net", Some("100.119.3.200")),
        ("desk-alice", Some("100.101.7.12")),
        ("edge-v6", Some("fd7a:115c:a1e0::9c01:2b7e")),
        ("ci-runner-03.example.org", None),
        ("ci-runner", None),
        ("", None),
        (".", None),
    ] {
        assert_eq!(status.resolve(name).unwrap(), address.map(ip), "{name}");
    }
    let odd = parsed("status_odd_peers.json");
    assert_eq!(odd.resolve("old phone ✨").unwrap(), Some(ip("100.66.1.1")));
    assert_eq!(odd.resolve("no-ip").unwrap(), None);

    // What a device calls itself never beats a MagicDNS name; two equal names are an error.
    let json = r#"{"Self":{"TailscaleIPs":["fd7a::1"]},"Peer":{
        "1":{"HostName":"impostor","DNSName":"nas.a.ts.net.","TailscaleIPs":["100.64.0.1","fd7a::2"]},
        "2":{"HostName":"nas.a.ts.net","DNSName":"x.a.ts.net.","TailscaleIPs":["100.64.0.2"]},
        "3":{"HostName":"twin","DNSName":"twin.a.ts.net.","TailscaleIPs":["100.64.0.3"]},
        "4":{"HostName":"twin","DNSName":"twin.b.ts.net.","TailscaleIPs":["100.64.0.4"]}}}"#;
    let status = Status::parse(json.as_bytes()).unwrap();
    assert_eq!(status.resolve("nas.a.ts.net").unwrap(), Some(ip("fd7a::2")));
    assert_eq!(status.resolve("x").unwrap(), Some(ip("100.64.0.2")));
    let error = status.resolve("TWIN").unwrap_err();
    assert_eq!(
        (error.exit(), error.message.as_str()),
        (Exit::Usage, "several devices are called TWIN")
    );
    assert!(error.hint.unwrap().contains("twin.a.ts.net, twin.b.ts.net"));
}

/// Only where no other device could be meant by it.
#[test]
fn the_own_name_leads_to_nobody_else() {
    assert_eq!(parsed("status_tun_4peers.json").own_name(), Some("desk-alice"));
    for (own, other, expected) in [
        ("laptop.a.ts.net.", "desktop.a.ts.net.", Some("laptop")),
        // Of another tailnet, shared with this one.
        ("laptop.a.ts.net.", "laptop.b.ts.net.", None),
        ("laptop.a.ts.net.", "LAPTOP.b.ts.net.", None),
        ("", "laptop.a.ts.net.", None),
    ] {
        // What the other calls itself does not matter: a MagicDNS name comes first.
        let json = format!(
            r#"{{"Self":{{"DNSName":"{own}","TailscaleIPs":["100.64.0.1"]}},"Peer":{{
            "1":{{"HostName":"laptop","DNSName":"{other}","TailscaleIPs":["100.64.0.2"]}}}}}}"#
        );
        let status = Status::parse(json.as_bytes()).unwrap();
        assert_eq!(status.own_name(), expected, "{own} {other}");
    }
}

#[test]
fn outside_text_is_escaped() {
    for (text, expected) in [
        ("  it's \"so\"\r\n", "it's \"so\""),
        ("a\nb\tc\u{7}", r"a b c\u{7}"),
        ("\u{1b}]0;x\u{9b}", r"\u{1b}]0;x\u{9b}"),
        ("Ünïcode ✨", "Ünïcode ✨"),
        ("", ""),
    ] {
        assert_eq!(excerpt(text.as_bytes()), expected);
    }
    assert_eq!(excerpt("é".repeat(300).as_bytes()), "é".repeat(300));
    assert_eq!(excerpt("é".repeat(9000).as_bytes()), "é".repeat(300) + "…");
    assert_eq!(excerpt(b"a\xffb"), "a\u{fffd}b");
    let login = Some("eve\u{1b}".to_owned());
    let peer = Peer { host_name: "e\r\nx".into(), login, ..Peer::default() };
    assert_eq!(peer.to_string(), r"e\u{d}\u{a}x (eve\u{1b})");
}

#[test]
fn programs_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(dir.path()).unwrap();
    let file = format!("tailscale{}", env::consts::EXE_SUFFIX);
    let [a, b] = ["a", "b"].map(|name| dir.join(name));
    for folder in [&a, &b] {
        fs::create_dir(folder).unwrap();
    }
    let path = || Some(env::join_paths([Path::new("relative"), &a, &b]).unwrap());
    let usual = || vec![dir.join("c"), b.join(&file)];

    let error = locate(None, path(), Vec::new()).unwrap_err();
    assert_eq!(error.message, "the tailscale program is not on this machine");
    assert_eq!(error.exit(), Exit::Network);
    fs::create_dir(a.join(&file)).unwrap(); // a folder is no program
    fs::copy(env::current_exe().unwrap(), b.join(&file)).unwrap();
    assert_eq!(locate(None, path(), Vec::new()).unwrap(), b.join(&file));
    assert_eq!(locate(Some("".into()), None, usual()).unwrap(), b.join(&file));
    fs::write(dir.join("text"), "").unwrap();
    let named = |name: &str| locate(Some(dir.join(name).into()), path(), usual());
    assert!(named("missing").unwrap_err().message.contains("TRANSFER_TAILSCALE names "));
    if cfg!(unix) {
        named("text").unwrap_err();
    }
    assert_eq!(named(&format!("b/{file}")).unwrap(), b.join(&file));
}

/// A detector whose `tailscale` is a shell script.
#[cfg(unix)]
pub(crate) mod stubs {
    use std::{collections::BTreeMap, fmt::Write as _, io::Write as _, net::Ipv4Addr};

    use serde_json::Value;
    use tempfile::TempDir;

    use super::*;

    /// A detector that runs this script, whose folder is its `$dir`. It is written by another process: while this one has
    /// it open for writing, no child of another test's thread could start.
    pub(crate) fn stub(dir: &TempDir, script: &str) -> TailscaleDetector {
        let path = dir.path().join("tailscale");
        let mut writer = Command::new("sh")
            .args(["-c", "rm -f \"$1\"; cat > \"$1\"; chmod +x \"$1\"", "sh"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let text = format!("#!/bin/sh\ndir='{}'\n{script}\n", dir.path().display());
        writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
        TailscaleDetector::with_command(path)
    }

    /// Prints the fixture and counts its runs.
    fn counting(dir: &TempDir, name: &str) -> TailscaleDetector {
        fs::write(dir.path().join("json"), fixture(name)).unwrap();
        stub(dir, "echo run >> \"$dir\"/runs; cat \"$dir\"/json")
    }

    fn runs(dir: &TempDir) -> usize {
        fs::read_to_string(dir.path().join("runs")).unwrap_or_default().lines().count()
    }

    #[test]
    fn every_recorded_outcome() {
        // What the error says and advises; nothing for success.
        let expected: BTreeMap<&str, [&str; 2]> = [
            ("json_logged_out", ["NeedsLogin", "tailscale up"]),
            ("json_stopped", ["Stopped", "tailscale up"]),
            ("json_version_skew", ["", ""]),
            ("text_logged_out", ["failed: Logged out. Log in at:", "yourself"]),
            ("text_stopped", ["failed: Tailscale is stopped.", "yourself"]),
            ("text_needs_approval", ["failed: Machine is not yet approved", "yourself"]),
            ("text_no_state", ["failed: unexpected state: NoState", "yourself"]),
            ("daemon_absent_linux_systemd", ["doesn't appear to be running", "start"]),
            ("daemon_absent_linux_no_systemd", ["doesn't appear to be running", "start"]),
            ("daemon_absent_macos", ["is Tailscale running?", "start"]),
            ("daemon_absent_windows", ["is the Tailscale service running?", "start"]),
            ("daemon_on_another_socket", ["tailscaled, pid 815", "TS_SOCKET"]),
            ("windows_other_user", ["401 Unauthorized", "another user"]),
            ("macos_gui_cli_broken", ["printed no JSON: The Tailscale GUI failed", "yourself"]),
            ("ip4_daemon_absent", ["Failed to connect to local", "start"]),
            ("ip4_running_or_down", ["printed no JSON: 100.101.7.12", ""]),
            ("ip4_logged_out", ["no current Tailscale IPs", "yourself"]),
            ("ip4_v6_only", ["no Tailscale IPv4 address", "yourself"]),
            ("whois_peer", ["", ""]),
            ("whois_proxied_loopback", ["", ""]),
            ("whois_local_process_loopback", ["", ""]),
            ("whois_lan_address", ["", ""]),
            ("nc_stopped", ["failed: Tailscale is stopped.", "yourself"]),
            ("nc_dial_failure", ["502 Bad Gateway", "yourself"]),
            ("bad_flag", ["flag provided but not defined", "update"]),
        ]
        .into();
        let cases: Vec<Value> = serde_json::from_slice(&fixture("cli_outcomes.json")).unwrap();
        assert_eq!(cases.len(), expected.len());
        for case in &cases {
            let text = |key: &str| case[key].as_str().unwrap_or_default();
            let dir = tempfile::tempdir().unwrap();
            let stdout = match text("stdout").strip_prefix('@') {
                Some(name) => fixture(name),
                None => text("stdout").into(),
            };
            let parts = case["stderr_contains"].as_array().into_iter().flatten();
            let stderr: String = parts.map(|part| format!("{} ", part.as_str().unwrap())).collect();
            fs::write(dir.path().join("out"), stdout).unwrap();
            fs::write(dir.path().join("err"), stderr + text("stderr")).unwrap();
            let exit = case["exit"].as_i64().unwrap_or(0);
            let detector = stub(
                &dir,
                &format!(
                    "cat \"$dir\"/out; cat \"$dir\"/err >&2; echo $* >> \"$dir\"/runs; exit {exit}"
                ),
            );

            let name = text("case");
            let answer = if name.starts_with("whois") {
                let found = detector.whois("127.0.0.1:52344".parse().unwrap());
                let known = exit == 0;
                assert_eq!(runs(&dir), if known { 1 } else { 2 }, "a miss is asked twice");
                found.map(|peer| assert_eq!(peer.is_some(), known, "{name}"))
            } else {
                detector.status().map(drop)
            };
            let [says, advises] = expected[name];
            match answer {
                Ok(()) => assert_eq!(says, "", "{name}"),
                Err(error) => {
                    assert!(!says.is_empty(), "{name}: {error}");
                    assert!(error.message.contains(says), "{name}: {error}");
                    assert_eq!(error.exit(), Exit::Network);
                    assert!(error.hint.unwrap().contains(advises), "{name}");
                }
            }
        }
    }

    #[test]
    fn how_it_is_called() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("status"), fixture("status_tun_4peers.json")).unwrap();
        fs::write(dir.path().join("whois"), fixture("whois_user.json")).unwrap();
        let script = "for last; do case $last in status|whois) which=$last;; esac; done
            echo \"$* $TAILSCALE_BE_CLI $(cat)\" >> \"$dir\"/runs; cat \"$dir\"/$which";
        let mut detector = stub(&dir, script);
        let own = detector.own_addresses().unwrap();
        assert_eq!(own, [ip("100.101.7.12"), ip("fd7a:115c:a1e0::3c01:70c")]);
        assert!(!detector.is_userspace().unwrap());
        detector.cli.socket = Some("/tmp/x.sock".into());
        for remote in ["127.0.0.1:1", "[::ffff:127.0.0.1]:2", "[fd7a::1]:3"] {
            detector.whois(remote.parse().unwrap()).unwrap().unwrap();
        }
        let whois = "--socket /tmp/x.sock whois --json --proto=tcp";
        assert_eq!(
            fs::read_to_string(dir.path().join("runs")).unwrap(),
            format!(
                "status --json 1 \n{whois} 127.0.0.1:1 1 \n{whois} 127.0.0.1:2 1 \n{whois} [fd7a::1]:3 1 \n"
            )
        );
    }

    #[test]
    fn one_status_serves_many_and_a_miss_asks_again_but_not_often() {
        let dir = tempfile::tempdir().unwrap();
        let mut detector = counting(&dir, "status_no_peers.json");
        (detector.fresh, detector.pause) = (Duration::MAX, Duration::MAX);
        let (own, late, unknown) = (ip("100.101.7.12"), ip("100.70.15.9"), ip("10.40.0.7"));
        for _ in 0..3 {
            detector.verify_peer_ip_cached(own).unwrap();
        }
        assert_eq!(runs(&dir), 1);

        fs::write(dir.path().join("json"), fixture("status_tun_4peers.json")).unwrap();
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| detector.verify_peer_ip_cached(unknown).unwrap_err());
            }
        });
        detector.verify_peer_ip_cached(late).unwrap_err();
        assert_eq!(runs(&dir), 1, "it has just been asked");

        detector.pause = Duration::ZERO; // as if 2 s had passed
        assert_eq!(detector.verify_peer_ip_cached(late).unwrap().name(), "ci-runner-03");
        assert_eq!(runs(&dir), 2);
        detector.verify_peer_ip_cached(late).unwrap();
        assert_eq!(runs(&dir), 2);
        let error = detector.verify_peer_ip_cached(unknown).unwrap_err();
        assert_eq!((error.exit(), runs(&dir)), (Exit::Refused, 3));
        assert_eq!(error.message, "10.40.0.7 is not a device of your tailnet");

        detector.fresh = Duration::ZERO; // as if 30 s had passed
        detector.verify_peer_ip_cached(late).unwrap();
        assert_eq!(runs(&dir), 4);
    }

    #[test]
    fn simultaneous_callers_share_one_run() {
        let dir = tempfile::tempdir().unwrap();
        let mut detector = counting(&dir, "status_tun_4peers.json");
        (detector.fresh, detector.pause) = (Duration::MAX, Duration::MAX);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| detector.verify_peer_ip_cached(ip("100.70.15.9")).unwrap());
            }
        });
        assert_eq!(runs(&dir), 1);
    }

    #[test]
    fn failures_are_remembered_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let mut detector = counting(&dir, "status_stopped.json");
        detector.pause = Duration::MAX;
        for _ in 0..3 {
            let error = detector.verify_peer_ip_cached(ip("100.70.15.9")).unwrap_err();
            assert_eq!(
                error.exit(),
                Exit::Network,
                "a stopped node lists peers, but they do not count"
            );
        }
        assert_eq!(runs(&dir), 1);
        detector.pause = Duration::ZERO;
        fs::write(dir.path().join("json"), fixture("status_odd_peers.json")).unwrap();
        let error = detector.verify_peer_ip_cached(ip("100.66.1.1")).unwrap_err();
        assert!(error.message.contains("xn--old-phone-example (bob@example.org) has expired"));
        assert_eq!((error.exit(), runs(&dir)), (Exit::Refused, 2));
        fs::write(dir.path().join("json"), fixture("status_stopped.json")).unwrap();
        detector.verify_peer_ip_cached(ip("192.0.2.1")).unwrap_err();
        let error = detector.verify_peer_ip_cached(ip("100.71.2.3")).unwrap_err();
        assert_eq!(error.exit(), Exit::Network, "known peers go with the network");
    }

    #[test]
    fn a_huge_tailnet_comes_through_the_pipe() {
        let mut json = String::from(r#"{"BackendState":"Running","Self":{},"Peer":{"#);
        let base = u32::from(Ipv4Addr::new(100, 64, 0, 10));
        let address = |i: u32| Ipv4Addr::from(base + i);
        for i in 0..10_000u32 {
            let comma = if i == 0 { "" } else { "," };
            // About as long as a real entry.
            write!(
                json,
                r#"{comma}"nodekey:{i:064}":{{"ID":"n{i}","HostName":"node-{i}",
                "AllowedIPs":["0.0.0.0/0"],"TailscaleIPs":["{}","fd7a:115c:a1e0::1:{i}"],
                "Padding":"{:900}"}}"#,
                address(i),
                ""
            )
            .unwrap();
        }
        json.push_str("}}");
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("json"), &json).unwrap();
        let detector = stub(&dir, "cat \"$dir\"/json; yes warning | head -c 200000 >&2");
        for i in [0, 5_000, 9_999] {
            let peer = detector.verify_peer_ip_cached(address(i).into()).unwrap();
            assert_eq!(peer.name(), format!("node-{i}"));
        }
        detector.verify_peer_ip_cached(address(10_000).into()).unwrap_err();
    }

    #[test]
    fn neither_a_hanging_nor_an_absent_program_holds_us() {
        for script in ["exec sleep 10", "sleep 10", "echo {}; exec >&- 2>&-; exec sleep 10"] {
            let dir = tempfile::tempdir().unwrap();
            let mut detector = stub(&dir, script);
            detector.limit = Duration::from_millis(200);
            let error = detector.status().unwrap_err();
            assert_eq!(error.message, "`tailscale status --json` gave no answer in 200ms");
            assert_eq!(error.exit(), Exit::Network);
        }
        let dir = tempfile::tempdir().unwrap();
        let detector = TailscaleDetector::with_command(dir.path().join("tailscale"));
        let error = detector.status().unwrap_err();
        assert!(error.message.ends_with("tailscale: no such file or directory"), "{error}");
        assert_eq!(error.exit(), Exit::Network);
    }
}
