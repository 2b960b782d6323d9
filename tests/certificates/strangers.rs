//! `openssl s_client` at the door of a server.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use transfer::net::dial::Stream;
use transfer::net::tls::{self, Channel, Failure};
use transfer::trust::refusal::Who;
use transfer::trust::verifier::{Expect, Verifier};

use crate::openssl::{P256, Shop};

const LIMIT: Duration = Duration::from_secs(30);

/// A client that is killed when it is not needed any more.
struct Client(Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets `openssl s_client` connect to a server of this program.
fn visit(shop: &Shop, words: &str) -> Result<(Client, Result<Channel, Failure>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &listener.local_addr()?.to_string()]);
    command.args(words.split_whitespace()).current_dir(shop.path(""));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(std::fs::File::create(shop.path("said"))?);
    let client = Client(command.spawn()?);
    let accepted = Stream::tcp(listener.accept()?.0);
    let verifier = Verifier::new(shop.rules(&["ca"])?, Expect::Anybody);
    let met = tls::accept(accepted, &shop.load("server")?, &verifier, Instant::now() + LIMIT);
    Ok((client, met))
}

fn shop() -> Result<Option<Shop>> {
    let Some(shop) = Shop::open()? else { return Ok(None) };
    shop.ca("ca", "myCA")?;
    shop.ca("other", "otherCA")?;
    shop.issue("server", "ca", P256, "san", "")?;
    shop.issue("client", "ca", P256, "none", "")?;
    Ok(Some(shop))
}

/// Each is refused for its reason.
#[test]
fn who_is_not_let_in() -> Result<()> {
    let Some(shop) = shop()? else { return Ok(()) };
    shop.issue("evil", "other", P256, "none", "")?;
    let has_v1 = shop.issue_v1()?;
    shop.issue("weak", "ca", "rsa:1024", "none", "")?;
    let alpn = "-alpn transfer/2";
    for (words, said) in [
        (alpn.into(), "refused 192.168.1.7: somebody there has shown no certificate"),
        (
            format!("{alpn} -cert evil.pem -key evil.key"),
            "refused 192.168.1.7: unknown device \"deviceB\" (",
        ),
        (
            format!("{alpn} -cert v1.pem -key v1.key"),
            "refused 192.168.1.7: its certificate is of version 1, which names no hosts",
        ),
        (
            format!("{alpn} -cert weak.pem -key weak.key -cipher DEFAULT@SECLEVEL=0"),
            "refused 192.168.1.7: it has shown a certificate that cannot be used: its key is RSA with \
             1024 bits, and 2048 is the least",
        ),
        (
            format!("{alpn} -tls1_2 -cert client.pem -key client.key"),
            "refused 192.168.1.7: it speaks no TLS 1.3",
        ),
        (
            "-cert client.pem -key client.key".into(),
            "refused 192.168.1.7: it is a newer or older transfer, or something else",
        ),
        (
            "-alpn h2 -cert client.pem -key client.key".into(),
            "refused 192.168.1.7: it is a newer or older transfer, or something else",
        ),
    ] {
        if words.contains("v1.pem") && !has_v1 {
            continue;
        }
        let (_client, met) = visit(&shop, &words)?;
        let failure = met.err().with_context(|| words.clone())?;
        let error = failure.error(&Who::Client("192.168.1.7".into()), "attic");
        assert!(error.message.starts_with(said), "{words}: {error}");
    }
    Ok(())
}

/// New keys in the middle (KeyUpdate), with and without a wish for the same from here, while both
/// speak; then an end in order.
#[test]
fn keys_change_in_the_middle() -> Result<()> {
    let Some(shop) = shop()? else { return Ok(()) };
    let (mut client, met) = visit(&shop, "-alpn transfer/2 -cert client.pem -key client.key")?;
    let Channel { mut reader, mut writer, peer, watch, .. } =
        met.map_err(|failure| anyhow::anyhow!("{failure}"))?;
    assert_eq!((&*peer.name, peer.is_pinned), ("deviceB", false));
    let mut keyboard = client.0.stdin.take().context("a keyboard")?;
    let mut screen = client.0.stdout.take().context("a screen")?;
    // A command counts at the beginning of what is read at once.
    for (line, command) in [("one\n", "K\n"), ("two\n", "k\n"), ("three\n", "K\n"), ("four\n", "")]
    {
        keyboard.write_all(line.as_bytes())?;
        keyboard.flush()?;
        let mut came = vec![0; line.len()];
        read_exactly(&mut reader, &mut came)?;
        ensure!(came == line.as_bytes(), "{came:?}");
        for _ in 0..3 {
            writer.write_all(format!("echo {line}").as_bytes())?;
            flush(&mut writer)?;
        }
        if !command.is_empty() {
            keyboard.write_all(command.as_bytes())?;
            keyboard.flush()?;
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    keyboard.write_all(b"Q\n")?;
    keyboard.flush()?;
    let end = loop {
        match reader.read(&mut [0; 16]) {
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            end => break end,
        }
    };
    assert_eq!(end?, 0, "close_notify is an end, and no success: the mark decides that");
    assert_eq!(watch.failure(), None);
    let mut shown = String::new();
    screen.read_to_string(&mut shown)?;
    assert_eq!(shown.matches("echo four").count(), 3, "{shown}");
    let said = std::fs::read_to_string(shop.path("said"))?;
    assert_eq!(said.matches("KEYUPDATE").count(), 3, "{said}");
    Ok(())
}

fn read_exactly(reader: &mut impl Read, mut bytes: &mut [u8]) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while !bytes.is_empty() {
        match reader.read(bytes) {
            Ok(0) => bail!("it ended"),
            Ok(read) => bytes = &mut bytes[read..],
            Err(error) if error.kind() == ErrorKind::TimedOut && Instant::now() < deadline => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn flush(writer: &mut impl Write) -> Result<()> {
    loop {
        match writer.flush() {
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            done => return Ok(done?),
        }
    }
}
