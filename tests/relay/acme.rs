//! A relay that gets its certificate by itself, from Pebble, Let's Encrypt's own server for such tests (Debian:
//! pebble). The CA and its names are on 127.0.0.1. Says that it skips where Pebble is not installed.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::stage::{Papers, Relay, relay};
use super::util::process::{Pipe, Process, run};
use super::util::skip;

/// The name that is asked for.
const NAME: &str = "relay.test";

/// A CA that connects to `tls` to see whose a name is, and who tells it where names are.
struct Ca {
    papers: Papers,
    /// Where the CA, its management, the names and what manages these listen.
    ports: [u16; 4],
    processes: Vec<Process>,
}

impl Ca {
    /// Nothing where Pebble is not installed. Its certificates last so many seconds.
    fn start(tls: u16, seconds: u32) -> Result<Option<Self>> {
        if Command::new("pebble").arg("-version").output().is_err() {
            skip("pebble is not installed");
            return Ok(None);
        }
        let mut ca = Self { papers: Papers::new()?, ports: free_ports()?, processes: vec![] };
        let [at, management, names, manager] = ca.ports;
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{at}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": ca.papers.path("relay.pem"),
            "privateKey": ca.papers.path("relay.key"),
            "httpPort": 1, "tlsPort": tls, "ocspResponderURL": "",
            "externalAccountBindingRequired": false, "certificateValidityPeriod": seconds,
        }});
        ca.papers.write("pebble.json", config.to_string().as_bytes(), 0o644)?;
        let mut resolver = Command::new("pebble-challtestsrv");
        resolver.args([
            "-defaultIPv4",
            "127.0.0.1",
            "-defaultIPv6",
            "",
            "-http01",
            "",
            "-https01",
            "",
        ]);
        resolver.args(["-tlsalpn01", "", "-dns01", &format!("127.0.0.1:{names}")]);
        resolver.args(["-management", &format!("127.0.0.1:{manager}")]);
        let mut pebble = Command::new("pebble");
        pebble.args(["-config", &ca.papers.path("pebble.json")]);
        pebble.args(["-dnsserver", &format!("127.0.0.1:{names}")]);
        pebble.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "0");
        for command in [resolver, pebble] {
            ca.processes.push(Process::start(command)?);
        }
        let pebble = ca.processes.last_mut().context("it was started")?;
        pebble.wait_for(Pipe::Out, "ACME directory available")?;
        Ok(Some(ca))
    }

    fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.ports[0])
    }

    /// What its certificates are verified with: it makes that anew at each start.
    fn root(&self) -> Result<Vec<u8>> {
        let url = format!("https://127.0.0.1:{}/roots/0", self.ports[1]);
        let code = format!(
            "import ssl, urllib.request as r; \
             print(r.urlopen('{url}', context=ssl._create_unverified_context()).read().decode())"
        );
        let mut python = Command::new("python3");
        python.args(["-c", &code]);
        let ended = run(python)?.expect(0)?;
        Ok(pem::parse(ended.stdout)?.into_contents())
    }

    /// `transfer relay` at `port` that asks it.
    fn relay(&self, port: u16, config: &Path) -> Command {
        asking(port, config, &self.directory(), &self.papers)
    }
}

/// `transfer relay` at `port` that asks the CA at `directory`, which shows the certificate of `papers`.
fn asking(port: u16, config: &Path, directory: &str, papers: &Papers) -> Command {
    let (port, roots) = (port.to_string(), papers.path("relay.pem"));
    let mut command = relay(&["--json", "--domain", NAME, "--bind", "127.0.0.1", "--port", &port]);
    command.args(["--discovery", "0", "--acme", directory, "--acme-ca", &roots]);
    command.args(["--contact", "somebody@example.org"]).env("TRANSFER_CONFIG", config);
    command
}

/// Ports that nobody has, and that the system gives nobody who asks for any.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    for at in 0..N {
        ports[at] = loop {
            let port = rand::random_range(20_000..30_000);
            let is_free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            if is_free && !ports.contains(&port) {
                break port;
            }
        };
    }
    Ok(ports)
}

/// Whether a client that knows the CA takes the relay for what it says.
fn meets(relay: &Relay) -> Result<()> {
    relay.client(None).map(drop)
}

/// The file with the key and the certificates.
fn kept(config: &Path, ca: &Ca) -> PathBuf {
    config.join(format!("relay/127.0.0.1-{}/{NAME}.pem", ca.ports[0]))
}

#[test]
fn a_certificate_is_got_kept_and_used_again() -> Result<()> {
    let [port] = free_ports()?;
    let Some(mut ca) = Ca::start(port, 90 * 24 * 3600)? else { return Ok(()) };
    let config = PathBuf::from(ca.papers.path("config"));
    let names = SocketAddr::from((Ipv4Addr::LOCALHOST, ca.ports[2]));
    let relay = Relay::start_as(ca.relay(port, &config), vec![ca.root()?], Some(names))?;
    assert_eq!(relay.told["url"], format!("https://{NAME}:{port}"));
    meets(&relay)?;
    let file = kept(&config, &ca);
    let before = fs::read(&file)?;
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    let account = file.with_file_name("account.key");
    assert!(fs::read_to_string(&account)?.starts_with("-----BEGIN PRIVATE KEY-----"));
    assert_eq!(fs::metadata(&account)?.permissions().mode() & 0o777, 0o600);
    let (ended, _) = relay.stop()?;
    ended.says(&format!("certificates for {NAME} come from 127.0.0.1"))?;
    ensure!(!ended.stderr.contains("no certificate for"), "{ended:#?}");
    // The CA is not asked again, and need not be there.
    let (root, command) = (ca.root()?, ca.relay(port, &config));
    let pebble = ca.processes.pop().context("it was started last")?;
    pebble.kill()?;
    let relay = Relay::start_as(command, vec![root], Some(names))?;
    meets(&relay)?;
    assert_eq!(fs::read(&file)?, before);
    relay.stop().map(drop)
}

#[test]
fn a_certificate_is_renewed_while_clients_are_connected() -> Result<()> {
    let [port] = free_ports()?;
    // A third is left after 8 s.
    let Some(ca) = Ca::start(port, 12)? else { return Ok(()) };
    let config = PathBuf::from(ca.papers.path("config"));
    let names = SocketAddr::from((Ipv4Addr::LOCALHOST, ca.ports[2]));
    let mut relay = Relay::start_as(ca.relay(port, &config), vec![ca.root()?], Some(names))?;
    let (mut one, mut other) = (relay.client(None)?, relay.client(None)?);
    let before = fs::read(kept(&config, &ca))?;
    relay.process.wait_for(Pipe::Err, "the certificate was loaded anew")?;
    assert_ne!(fs::read(kept(&config, &ca))?, before);
    one.send(other.id, b"still here")?;
    assert_eq!(other.bytes()?, b"still here");
    meets(&relay)?;
    relay.stop().map(drop)
}

/// Nothing is said to stay where nothing was.
#[test]
fn what_was_kept_and_is_no_certificate_is_told() -> Result<()> {
    let ([port], papers) = (free_ports()?, Papers::new()?);
    let config = PathBuf::from(papers.path("config"));
    let folder = config.join("relay/127.0.0.1-1");
    fs::create_dir_all(&folder)?;
    for folder in [&config, &config.join("relay"), &folder] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    let file = folder.join(format!("{NAME}.pem"));
    fs::write(&file, "oops")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    let mut process = Process::start(asking(port, &config, "https://127.0.0.1:1/dir", &papers))?;
    process.wait_for(Pipe::Err, "it is waited for another")?;
    process.interrupt()?;
    let ended = process.end()?.expect(0)?;
    ensure!(!ended.stderr.contains("of before stays"), "{ended:#?}");
    Ok(())
}

#[test]
fn why_there_is_no_certificate_is_said_and_it_can_be_stopped() -> Result<()> {
    let [port, elsewhere] = free_ports()?;
    // It looks for the relay where nobody is.
    let Some(ca) = Ca::start(elsewhere, 3600)? else { return Ok(()) };
    let config = PathBuf::from(ca.papers.path("config"));
    let (stranger, nobody) = (Papers::new()?, "https://127.0.0.1:1/dir");
    for (command, why, advice) in [
        (ca.relay(port, &config), "failed to connect", "TCP port 443 lead here"),
        (asking(port, &config, nobody, &ca.papers), "it cannot be reached: connection refused", ""),
        (
            asking(port, &config, &ca.directory(), &stranger),
            "its own certificate is not valid",
            "--acme-ca FILE",
        ),
    ] {
        let mut process = Process::start(command)?;
        let port = format!("TCP port 443, which must lead to port {port} here");
        process.wait_for(Pipe::Err, &port)?;
        let line =
            process.wait_for(Pipe::Err, &format!("no certificate for {NAME} from 127.0.0.1"))?;
        ensure!(line.to_lowercase().contains(why), "{line}");
        ensure!(line.contains(advice) && line.contains("it is asked again in 5 minutes"), "{line}");
        process.interrupt()?;
        let ended = process.end()?.expect(0)?;
        ensure!(!ended.stdout.contains("\"event\":\"relay\""), "{ended:#?}");
    }
    Ok(())
}
