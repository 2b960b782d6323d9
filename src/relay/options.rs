//! What was asked for.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;
use tokio_rustls_acme::acme::LETS_ENCRYPT_PRODUCTION_DIRECTORY;

/// UDP port of address discovery, where clients expect it.
pub const DISCOVERY_PORT: u16 = iroh_relay::defaults::DEFAULT_RELAY_QUIC_PORT;

/// The CA that is asked, if no other is named: Let's Encrypt.
pub const DIRECTORY: &str = LETS_ENCRYPT_PRODUCTION_DIRECTORY;

/// How a relay is reached; resolved from the command line.
#[derive(Debug, Clone)]
pub enum Front {
    /// Without TLS, behind a proxy that has it.
    Plain {
        /// TCP address to listen at.
        listen: SocketAddr,
        /// Proxies that are believed when they say whom they speak for.
        proxies: Vec<IpAddr>,
    },
    /// With a certificate of its own.
    Tls {
        /// Where that comes from.
        papers: Papers,
        /// The address to listen at; nothing for all of this machine.
        bind: Option<IpAddr>,
        /// TCP port.
        port: u16,
        /// UDP port of address discovery.
        discovery: u16,
    },
}

/// Where a relay's certificate comes from.
#[derive(Debug, Clone)]
pub enum Papers {
    /// Somebody puts it there.
    Files {
        /// Certificates (PEM), its own first.
        certificate: PathBuf,
        /// The private key (PEM).
        key: PathBuf,
    },
    /// The relay asks a CA for it.
    Acme(Acme),
}

/// A certificate to be asked for.
#[derive(Debug, Clone)]
pub struct Acme {
    /// The name that it is for.
    pub domain: String,
    /// To whom the CA may write: an e-mail address.
    pub contact: Option<String>,
    /// The CA, by its directory (RFC 8555, section 7.1.1): an https URL with a host.
    pub directory: Uri,
    /// What the CA itself is verified with (PEM), if not by the public CAs.
    pub roots: Option<PathBuf>,
}

/// What may be used of a relay.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Clients at a time.
    pub clients: usize,
    /// Clients at a time of one address (IPv6: of one /64, and four times as many of one /48).
    pub per_address: usize,
    /// Bytes a second that are taken from each client…
    pub rate: NonZeroU32,
    /// …after so many at once.
    pub burst: NonZeroU32,
    /// Bytes that are relayed in a day, for all together.
    pub daily: Option<u64>,
}

/// What the service is to run.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The words behind the program's name.
    pub words: Vec<String>,
    /// The folder that the words are relative to.
    pub from: PathBuf,
    /// Whether it is to write a log.
    pub has_log: bool,
}

/// What to run, and how; resolved from the command line.
#[derive(Debug, Clone)]
pub struct RelayOptions {
    /// Print what makes a service of it, and do no more.
    pub unit: Option<Wish>,
    /// How it is reached.
    pub front: Front,
    /// What may be used of it.
    pub limits: Limits,
    /// Only who has one of the tokens in this file may use it.
    pub tokens: Option<PathBuf>,
    /// Where its numbers can be read (Prometheus).
    pub metrics: Option<SocketAddr>,
    /// How often a line says how much it is used.
    pub every: Duration,
}
