//! What both ends say, word by word, when the program meets itself or a stranger with certificates that OpenSSL has
//! made; and that nothing of what is to be sent leaves a sender before it is let in.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, ensure};

use crate::openssl::{P256, Shop, program, serve};
use crate::util::process::{Ended, Pipe, Process, run};
use crate::util::skip;

/// A certificate and the CAs that are trusted beside it.
type Side<'a> = (&'a str, &'a [&'a str]);

fn shop() -> Result<Option<Shop>> {
    let Some(shop) = Shop::open()? else { return Ok(None) };
    shop.ca("ca", "myCA")?;
    shop.ca("other", "otherCA")?;
    shop.ca("namesake", "myCA")?;
    shop.issue("good", "ca", P256, "san", "")?;
    std::fs::write(shop.path("hello.txt"), "Hello, world!\n")?;
    Ok(Some(shop))
}

/// One sends `what` to the other: how both ended.
fn meet(shop: &Shop, server: Side<'_>, client: Side<'_>, what: &str) -> Result<[Ended; 2]> {
    let (serving, mut words) = (serve(shop, server.0, server.1, 0)?, vec!["send", "-y", "--to"]);
    let place = format!("127.0.0.1:{}", serving.port);
    words.extend([place.as_str(), what]);
    let client = run(program(shop, client.0, client.1, &words))?;
    Ok([client, serving.stop()?])
}

/// Keys and chains as people have them.
#[test]
fn usual_certificates_carry_a_file() -> Result<()> {
    let Some(shop) = shop()? else { return Ok(()) };
    shop.issue("rsa", "ca", "rsa:2048", "san", "")?;
    shop.issue("p384", "ca", "ec -pkeyopt ec_paramgen_curve:secp384r1", "san", "")?;
    shop.issue("ed", "ca", "ed25519", "san", "")?;
    shop.issue("inter", "ca", P256, "inter", "")?;
    shop.issue("leaf", "inter", P256, "san", "")?;
    shop.join(&["leaf.pem", "inter.pem"], "chain.pem")?;
    std::fs::copy(shop.path("leaf.key"), shop.path("chain.key"))?;
    for name in ["rsa", "p384", "ed", "chain"] {
        let side: Side<'_> = (name, &["ca"]);
        let [client, server] = meet(&shop, side, side, "hello.txt")?;
        client.expect(0).context(name)?;
        server.says("deviceB: received 1 file into incoming/deviceB")?;
        server.says("warning: this device's certificate ends in ")?;
        ensure!(std::fs::read(shop.path("incoming/deviceB/hello.txt"))? == b"Hello, world!\n");
        std::fs::remove_dir_all(shop.path("incoming"))?;
    }
    Ok(())
}

/// Who is refused, and by whom: the sentence at the one that dialled, with its hint, and at the server.
#[test]
fn each_refusal_is_told_on_both_sides() -> Result<()> {
    let Some(shop) = shop()? else { return Ok(()) };
    shop.issue("evil", "other", P256, "san", "")?;
    shop.issue("fake", "namesake", P256, "san", "")?;
    shop.issue("bare", "ca", P256, "none", "")?;
    shop.issue("ip", "ca", P256, "ip", "")?;
    shop.issue("client", "ca", P256, "client", "")?;
    shop.issue("server", "ca", P256, "server", "")?;
    shop.issue("sha1", "ca", P256, "san", "-sha1")?;
    shop.dated("ended", "ca", -100, -50, "san")?;
    shop.dated("early", "ca", 30, 100, "san")?;
    let (good, distrusts): (Side<'_>, _) =
        (("good", &["ca"]), "it does not trust this device (deviceB, ");
    let out_of_date = "finds this certificate out of date: it has ended, or a clock is wrong";
    let dials = |name| (good, (name, &["ca"][..]));
    let serves = |name| ((name, &["ca"][..]), good);
    #[rustfmt::skip]
    let rows: [((Side<'_>, Side<'_>), &str, &str, &str); 16] = [
        (dials("evil"), "error: 127.0.0.1 does not trust this device (deviceB, ", "`transfer pair` introduces the two; or have its CA sign", "unknown device \"deviceB\" ("),
        (serves("evil"), "error: 127.0.0.1's certificate (deviceB, signed by \"otherCA\") is from no CA that this device knows\n", "`transfer pair` introduces the two; or --ca names", distrusts),
        (dials("fake"), "error: 127.0.0.1 does not trust this device (deviceB, ", "`transfer pair` introduces", "its certificate was signed by another CA that is also called \"myCA\"\n"),
        (serves("fake"), "error: 127.0.0.1's certificate was signed by another CA that is also called \"myCA\"\n", "use one ca.pem everywhere; the fingerprint of the one here is ", distrusts),
        (serves("bare"), "error: 127.0.0.1's certificate has no SAN, so nothing says that it is for 127.0.0.1\n", "-addext subjectAltName=IP:127.0.0.1`", distrusts),
        (serves("ip"), "error: 127.0.0.1's certificate is for 172.20.10.3, not for 127.0.0.1\n", "`transfer ca issue NAME --san 127.0.0.1`", distrusts),
        (serves("client"), "error: 127.0.0.1's certificate may not be used as a server\n", "(it lacks serverAuth)", "it says that this certificate may not be used so\n"),
        (dials("server"), "error: 127.0.0.1 says that this certificate may not be used so\n", "serverAuth, clientAuth", "its certificate may not be used as a client\n"),
        (serves("sha1"), "error: 127.0.0.1's certificate is signed in a way that is not safe, such as SHA-1\n", "`openssl x509 -req -sha256 ...`", "it "),
        (dials("sha1"), "error: 127.0.0.1 ", "", "its certificate is signed in a way that is not safe, such as SHA-1\n"),
        (serves("ended"), "error: 127.0.0.1's certificate ended 2 days ago (", "if the date is wrong: this clock says ", out_of_date),
        (dials("ended"), "error: 127.0.0.1 finds this certificate out of date: it has ended, or a clock is wrong\n", "`transfer device --renew` renews it", "its certificate ended 2 days ago ("),
        (serves("early"), "error: 127.0.0.1's certificate begins in 1 day: one of the two clocks is wrong (this one says ", "set the clock that is wrong", out_of_date),
        (dials("early"), "error: 127.0.0.1 finds this certificate out of date: it has ended, or a clock is wrong\n", "`transfer device --renew` renews it", "its certificate begins in 1 day: one of the two clocks is wrong"),
        (dials("bare"), "", "", "deviceB: received 1 file into"),
        (dials("client"), "", "", "deviceB: received 1 file into"),
    ];
    for ((server, client), said, hint, told) in rows {
        let row = format!("{} at {}", client.0, server.0);
        let exit = if said.is_empty() { 0 } else { 4 };
        let [client, server] = meet(&shop, server, client, "hello.txt")?;
        let client = client.expect(exit).with_context(|| format!("{row}: {server:?}"))?;
        client.says(said).and_then(|()| client.says(hint)).context(row.clone())?;
        let told =
            if exit == 0 { told.to_owned() } else { format!("turned away 127.0.0.1: {told}") };
        let told = told.replace("127.0.0.1: finds", "127.0.0.1: it finds");
        server.says(&told).context(row)?;
    }
    Ok(())
}

/// Files that nobody could use end both commands with 2, whoever would be dialled.
#[test]
fn unusable_files_end_both_commands() -> Result<()> {
    let Some(shop) = shop()? else { return Ok(()) };
    shop.issue("p521", "ca", "ec -pkeyopt ec_paramgen_curve:secp521r1", "san", "")?;
    shop.issue("weak", "ca", "rsa:1024", "san", "")?;
    let has_v1 = shop.issue_v1()?;
    shop.run("pkey -aes256 -passout pass:secret -in good.key -out locked.key")?;
    std::fs::copy(shop.path("good.pem"), shop.path("locked.pem"))?;
    for (name, said) in [
        (
            "p521",
            "error: \"p521.pem\" cannot be used: its key is of P-521; P-256, P-384, Ed25519 and RSA are understood\n",
        ),
        (
            "weak",
            "error: \"weak.pem\" cannot be used: its key is RSA with 1024 bits, and 2048 is the least\n",
        ),
        (
            "v1",
            "error: \"v1.pem\" is a certificate of version 1, which nobody can verify the hosts of\n",
        ),
        (
            "locked",
            "error: \"locked.key\" is encrypted with a password, and nobody is there to type it\n",
        ),
        ("ca", "error: \"ca.pem\" is the certificate of a CA, which no machine shows\n"),
    ] {
        if name == "v1" && !has_v1 {
            continue;
        }
        for words in [
            &["serve", "--pod", "--port", "0", "incoming"][..],
            &["send", "-y", "--to", "127.0.0.1:1", "hello.txt"],
        ] {
            run(program(&shop, name, &["ca"], words))?.expect(2)?.says(said)?;
        }
    }
    Ok(())
}

/// What is wrong with a certificate in the eyes of all who trust the same CA is said when a server starts.
#[test]
fn a_server_says_at_start_what_its_visitors_would_find() -> Result<()> {
    let Some(shop) = shop()? else { return Ok(()) };
    shop.issue("evil", "other", P256, "san", "")?;
    shop.issue("bare", "ca", P256, "none", "")?;
    shop.issue("fake", "namesake", P256, "san", "")?;
    shop.issue("client", "ca", P256, "client", "")?;
    shop.dated("ended", "ca", -100, -50, "san")?;
    for (name, said) in [
        (
            "bare",
            "warning: this device's certificate has no SAN, so nothing says that it is for deviceB; issue it anew",
        ),
        ("client", "warning: this device's certificate may not be used as a server; issue it anew"),
        (
            "fake",
            "warning: this device's certificate was signed by another CA that is also called \"myCA\"; use one",
        ),
        ("ended", "warning: this device's certificate ended 2 days ago ("),
        // Others may know its CA: only when it ends is known.
        ("evil", "warning: this device's certificate ends in "),
    ] {
        let ended = serve(&shop, name, &["ca"], 0)?.stop()?;
        ended.says(said)?;
        let told = ended.stderr.matches("warning: this device's certificate").count();
        ensure!(told == 1, "{name}: {ended:?}");
    }
    Ok(())
}

/// A way to a port of this machine for one connection, and, once that has ended, how many bytes went there.
fn forward(listener: TcpListener, port: u16) -> Result<(u16, JoinHandle<u64>)> {
    let at = listener.local_addr()?.port();
    let passing = thread::spawn(move || {
        let Ok((dialled, _)) = listener.accept() else { return 0 };
        let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { return 0 };
        let (Ok(to), Ok(back)) = (server.try_clone(), dialled.try_clone()) else { return 0 };
        thread::spawn(move || pass(server, back));
        pass(dialled, to)
    });
    Ok((at, passing))
}

fn pass(mut from: TcpStream, mut to: TcpStream) -> u64 {
    let (mut buffer, mut count) = ([0; 16384], 0);
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        count += read as u64;
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    count
}

/// A certificate for an address of IPv6 holds when that is dialled, whatever brackets are typed.
#[test]
fn an_address_with_colons_is_dialled() -> Result<()> {
    let Some(shop) = shop()? else { return Ok(()) };
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        skip("no IPv6 here");
        return Ok(());
    };
    shop.issue("server", "ca", P256, "server", "")?;
    let server = serve(&shop, "server", &["ca"], 0)?;
    let (port, _) = forward(listener, server.port)?;
    let place = format!("[::1]:{port}");
    run(program(&shop, "good", &["ca"], &["send", "-y", "--to", &place, "hello.txt"]))?
        .expect(0)?;
    server.stop()?;
    let server = serve(&shop, "good", &["ca"], 0)?;
    let (port, _) = forward(TcpListener::bind("[::1]:0")?, server.port)?;
    let place = format!("[::1]:{port}");
    let refused =
        run(program(&shop, "good", &["ca"], &["send", "-y", "--to", &place, "hello.txt"]))?;
    refused.expect(4)?.says("certificate is for attic, 127.0.0.1, not for ::1\n")?;
    server.stop()?;
    Ok(())
}

/// Whatever is to be sent, as many bytes leave a sender that is refused, or that refuses: neither a name nor a size is
/// among them (CVE-2026-70454: rsync-ssl, which spoke before it had verified). A signature is a few bytes longer or
/// shorter each time.
#[test]
fn nothing_leaves_a_sender_before_it_is_let_in() -> Result<()> {
    let Some(shop) = shop()? else { return Ok(()) };
    shop.issue("evil", "other", P256, "san", "")?;
    for number in 0..100 {
        crate::util::tree::write(&shop.path(&format!("many/{number:0200}")), vec![7; 1000])?;
    }
    for (server, client, exit) in [("good", "evil", 4), ("evil", "good", 4), ("good", "good", 0)] {
        let server = serve(&shop, server, &["ca"], 0)?;
        let mut counts = vec![];
        for what in ["hello.txt", "many"] {
            let (port, counted) = forward(TcpListener::bind("127.0.0.1:0")?, server.port)?;
            let place = format!("127.0.0.1:{port}");
            run(program(&shop, client, &["ca"], &["send", "-y", "--to", &place, what]))?
                .expect(exit)?;
            counts.push(counted.join().expect("no panic"));
        }
        server.stop()?;
        let more = counts[1].abs_diff(counts[0]);
        ensure!(counts[0] > 200, "{counts:?}");
        ensure!(if exit == 0 { more > 20_000 } else { more < 16 }, "{client}: {counts:?}");
    }
    Ok(())
}

/// `openssl s_client` at the door of the program: what it is told inside TLS, and what the server says.
#[test]
fn strangers_are_told_nothing() -> Result<()> {
    let Some(shop) = shop()? else { return Ok(()) };
    shop.issue("evil", "other", P256, "none", "")?;
    let has_v1 = shop.issue_v1()?;
    let alpn = "-alpn transfer/2";
    let other = "it is a newer or older transfer, or something else";
    for (words, said) in [
        (alpn.into(), "somebody there has shown no certificate"),
        (format!("{alpn} -cert evil.pem -key evil.key"), "unknown device \"deviceB\" ("),
        (
            format!("{alpn} -cert v1.pem -key v1.key"),
            "its certificate is of version 1, which names no hosts",
        ),
        (format!("{alpn} -tls1_2 -cert good.pem -key good.key"), "it speaks no TLS 1.3"),
        ("-cert good.pem -key good.key".into(), other),
        ("-alpn transfer/3 -cert good.pem -key good.key".into(), other),
        (format!("{alpn} -cert good.pem -key good.key"), ""),
    ] {
        if words.contains("v1.pem") && !has_v1 {
            continue;
        }
        let mut server = serve(&shop, "good", &["ca"], 0)?;
        let mut client = Command::new("openssl");
        client.args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{}", server.port)]);
        client.args(words.split_whitespace()).current_dir(shop.path(""));
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut client = client.spawn()?;
        let mut told = vec![];
        if said.is_empty() {
            // It is let in, is told what there is to know, and leaves without a mark, as `find` does.
            let mut screen = client.stdout.take().context("a screen")?;
            while !String::from_utf8_lossy(&told).contains("\"ready\"") {
                let mut some = [0; 256];
                let read = screen.read(&mut some)?;
                ensure!(read > 0, "{told:?}");
                told.extend_from_slice(&some[..read]);
            }
            ensure!(String::from_utf8_lossy(&told).contains("\"welcome\""), "{told:?}");
            client.kill()?;
            client.wait()?;
        } else {
            server.process.wait_for(Pipe::Err, &format!("turned away 127.0.0.1: {said}"))?;
            // It ends by itself, for the server has ended the connection.
            client.stdout.take().context("a screen")?.read_to_end(&mut told)?;
            client.wait()?;
            ensure!(told.is_empty(), "{words}: {told:?}");
        }
        let ended = server.stop()?;
        // Whoever looks and leaves, has begun no upload that could have failed.
        ensure!(!ended.stderr.contains("ended in the middle"), "{ended:?}");
    }
    Ok(())
}

/// A server that is started with a list that names nobody is as closed as one with a CA that nobody has.
#[test]
fn a_server_without_a_list_lets_in_nobody() -> Result<()> {
    let Some(shop) = shop()? else { return Ok(()) };
    let mut process: Process = Process::start(program(
        &shop,
        "good",
        &[],
        &["serve", "--pod", "--port", "0", "incoming"],
    ))?;
    let line = process.wait_for(Pipe::Err, "trusted: nobody yet")?;
    let port = line.split(" on port ").nth(1).and_then(|rest| rest.split(' ').next());
    let place = format!("127.0.0.1:{}", port.context("a port")?);
    let words = ["send", "-y", "--to", &place, "hello.txt"];
    run(program(&shop, "good", &["ca"], &words))?
        .expect(4)?
        .says("127.0.0.1 does not trust this device")?;
    process.interrupt()?;
    process.end()?.expect(0)?.says("turned away 127.0.0.1: unknown device \"deviceB\"")?;
    Ok(())
}
