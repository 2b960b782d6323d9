//! A relay, and clients of it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use iroh::dns::DnsResolver;
use iroh::{EndpointId, RelayUrl, SecretKey};
use iroh_relay::client::{Client, ClientBuilder};
use iroh_relay::protos::relay::{ClientToRelayMsg, Datagrams, RelayToClientMsg};
use iroh_relay::tls::{CaTlsConfig, default_provider};
use n0_future::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::events::check_line;
use super::util::process::{Ended, LIMIT, Pipe, Process, transfer};
use super::util::tree::Scratch;

/// What the clients run in.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// A running relay.
pub struct Relay {
    pub process: Process,
    /// What it said of itself.
    pub told: Value,
    /// What its certificate is verified with, if it has one.
    pub roots: Vec<Vec<u8>>,
    /// Who tells where its name is, if that is an own server for names.
    names: Option<SocketAddr>,
}

impl Relay {
    /// Behind a proxy, as it were.
    pub fn plain(options: &[&str]) -> Result<Self> {
        Self::start(&[&["--http", "0"][..], options].concat(), vec![])
    }

    /// With a certificate for 127.0.0.1.
    pub fn with_tls(papers: &Papers, options: &[&str]) -> Result<Self> {
        let [certificate, key] = [papers.path("relay.pem"), papers.path("relay.key")];
        let words = ["--cert", &certificate, "--key", &key, "--bind", "127.0.0.1"];
        let ports = ["--port", "0", "--discovery", "0"];
        Self::start(&[&words[..], &ports, options].concat(), vec![papers.der.clone()])
    }

    fn start(words: &[&str], roots: Vec<Vec<u8>>) -> Result<Self> {
        Self::start_as(relay(&[words, &["--json"][..]].concat()), roots, None)
    }

    /// By a command with `--json`.
    pub fn start_as(
        command: Command,
        roots: Vec<Vec<u8>>,
        names: Option<SocketAddr>,
    ) -> Result<Self> {
        let mut process = Process::start(command)?;
        let line = process.wait_for(Pipe::Out, "\"event\":\"relay\"")?;
        Ok(Self { process, told: serde_json::from_str(&line)?, roots, names })
    }

    pub fn url(&self) -> Result<RelayUrl> {
        Ok(self.told["url"].as_str().context("a URL")?.parse()?)
    }

    pub fn address(&self, name: &str) -> Result<SocketAddr> {
        Ok(self.told[name].as_str().context("an address")?.parse()?)
    }

    /// A client that is connected, or what kept it out.
    pub fn client(&self, token: Option<&str>) -> Result<Guest> {
        self.client_by(self.url()?, token)
    }

    /// The same by another URL, which leads to the relay.
    pub fn client_by(&self, url: RelayUrl, token: Option<&str>) -> Result<Guest> {
        let key = SecretKey::generate();
        let id = key.public();
        let resolver = match self.names {
            None => DnsResolver::builder().build(),
            Some(names) => DnsResolver::with_nameserver(names),
        };
        let roots = self.roots.iter().cloned().map(Into::into);
        let config = match self.roots.is_empty() {
            true => CaTlsConfig::embedded(),
            false => CaTlsConfig::custom_roots(roots),
        };
        let config = config.client_config(default_provider())?;
        let mut builder = ClientBuilder::new(url, key, resolver).tls_client_config(config);
        if let Some(token) = token {
            builder = builder.auth_token(token);
        }
        let client = RUNTIME.block_on(async { timeout(LIMIT, builder.connect()).await })?;
        let client = client.map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let mut guest = Guest { id, client };
        guest.settle()?;
        Ok(guest)
    }

    /// Why a client is not let in.
    pub fn refusal(&self, token: Option<&str>) -> Result<String> {
        match self.client(token) {
            Ok(_) => bail!("it was let in"),
            Err(error) => Ok(format!("{error:#}")),
        }
    }

    pub fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.address("address")?)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(stream)
    }

    /// Waits until it tells these numbers of itself.
    pub fn wait_until(&mut self, what: impl Fn(&Value) -> bool) -> Result<Value> {
        loop {
            let line = self.process.wait_for(Pipe::Out, "\"event\":\"relayed\"")?;
            let line: Value = serde_json::from_str(&line)?;
            if what(&line) {
                return Ok(line);
            }
        }
    }

    /// Ctrl-C. Every line that it has told is as the schema says.
    pub fn stop(self) -> Result<(Ended, Vec<Value>)> {
        self.process.interrupt()?;
        let ended = self.process.end()?.expect(0)?;
        let lines: Vec<Value> =
            ended.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        lines.iter().try_for_each(check_line)?;
        Ok((ended, lines))
    }
}

/// `transfer relay WORDS`.
pub fn relay(words: &[&str]) -> Command {
    let mut command = transfer();
    command.arg("relay").args(words);
    command
}

/// A client.
pub struct Guest {
    pub id: EndpointId,
    pub client: Client,
}

impl Guest {
    pub fn send(&mut self, to: EndpointId, bytes: &[u8]) -> Result<()> {
        let message =
            ClientToRelayMsg::Datagrams { dst_endpoint_id: to, datagrams: Datagrams::from(bytes) };
        RUNTIME.block_on(async { timeout(LIMIT, self.client.send(message)).await })??;
        Ok(())
    }

    /// Waits until others can reach it: it is told that it is let in a moment before it is at home there, and what
    /// comes for it meanwhile is lost.
    fn settle(&mut self) -> Result<()> {
        let ping = ClientToRelayMsg::Ping([7; 8]);
        RUNTIME.block_on(async { timeout(LIMIT, self.client.send(ping)).await })??;
        let pong = self.next()?.context("the relay has ended the connection")?;
        ensure!(pong == RelayToClientMsg::Pong([7; 8]), "no pong");
        Ok(())
    }

    /// The next message; nothing when the relay has ended the connection.
    pub fn next(&mut self) -> Result<Option<RelayToClientMsg>> {
        let next = RUNTIME.block_on(async { timeout(LIMIT, self.client.next()).await })?;
        Ok(next.and_then(Result::ok))
    }

    /// The next bytes that somebody sent.
    pub fn bytes(&mut self) -> Result<Vec<u8>> {
        loop {
            match self.next()?.context("the relay has ended the connection")? {
                RelayToClientMsg::Datagrams { datagrams, .. } => {
                    return Ok(datagrams.contents.to_vec());
                }
                _ => continue,
            }
        }
    }
}

/// Asks for a path, and returns the whole answer.
pub fn get(mut stream: TcpStream, path: &str, head: &str) -> Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: relay\r\n{head}\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 "), "no answer: {answer:?}");
    Ok(answer)
}

/// Files of a certificate, as its owner has them.
pub struct Papers {
    scratch: Scratch,
    pub der: Vec<u8>,
}

impl Papers {
    /// For 127.0.0.1.
    pub fn new() -> Result<Self> {
        let mut papers = Self { scratch: Scratch::new()?, der: vec![] };
        papers.renew()?;
        Ok(papers)
    }

    /// Another certificate and key in the same files.
    pub fn renew(&mut self) -> Result<()> {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
        self.der = made.cert.der().to_vec();
        self.write("relay.key", made.signing_key.serialize_pem().as_bytes(), 0o600)?;
        self.write("relay.pem", made.cert.pem().as_bytes(), 0o644)
    }

    pub fn path(&self, name: &str) -> String {
        self.scratch.join(name).to_string_lossy().into_owned()
    }

    pub fn write(&self, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let (path, new) = (PathBuf::from(self.path(name)), self.scratch.join("new"));
        fs::write(&new, bytes)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
        Ok(fs::rename(new, path)?)
    }
}

/// Time that something is given to happen, where nothing tells when it has.
pub const MOMENT: Duration = Duration::from_millis(50);
