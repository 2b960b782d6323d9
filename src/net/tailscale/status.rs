//! What `tailscale status --json` and `tailscale whois --json` say. Kept apart from running them,
//! because it reads outside data: nothing here starts a process, and all of it can be fuzzed.
//! The format may change between versions, so missing and null fields take a default and unknown
//! ones are ignored.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::IpAddr,
};

use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use super::excerpt;
use crate::error::{Error, Result, shown};

/// What every hint ends with: the ways that need no Tailscale.
pub(super) const WITHOUT: &str = match cfg!(feature = "direct") {
    true => {
        "without Tailscale: `send --lan` or `serve` in a local network, `send --direct` between any two, \
         `--pod` on one machine or in containers"
    }
    false => {
        "without Tailscale: `send --lan` or `serve` in a local network, `--pod` on one machine or in \
         containers"
    }
};

/// A device of the tailnet, this one included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peer {
    /// Tailscale's name for the device that never changes (`StableID`).
    pub id: String,
    /// Its MagicDNS name without the final dot; empty where it has none.
    pub dns_name: String,
    /// The name it gives itself: neither unique nor checked by anyone.
    pub host_name: String,
    /// Its own Tailscale addresses; never the networks behind it.
    pub addresses: Vec<IpAddr>,
    /// The login name of its user; a tagged device has none.
    pub login: Option<String>,
    /// Its tags, such as `tag:ci`.
    pub tags: Vec<String>,
    /// Its key has expired, so that nothing can truly come from it.
    pub expired: bool,
}

impl Peer {
    /// The short name to show: the first label of the MagicDNS name, else what it calls itself.
    /// It is not escaped; [`Peer`]'s `Display` is.
    pub fn name(&self) -> &str {
        [self.label(), &self.host_name, &self.id]
            .into_iter()
            .find(|name| !name.is_empty())
            .unwrap_or("a device without a name")
    }

    fn label(&self) -> &str {
        self.dns_name.split('.').next().unwrap_or_default()
    }
}

/// `ci-runner-03 (tag:ci)` or `desk-alice (alice@example.org)`, safe to print.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(self.name()))?;
        match &self.login {
            Some(login) => write!(f, " ({})", shown(login)),
            None if !self.tags.is_empty() => write!(f, " ({})", shown(&self.tags.join(", "))),
            None => Ok(()),
        }
    }
}

/// How a device is reached at the moment, as far as this node knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Whether the tailnet thinks that the device is up. That lags, and is false where unknown.
    pub online: bool,
    /// The way packets take.
    pub way: Way,
}

/// The way packets to a device take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// There was no traffic for 45 s, so there is none.
    Unknown,
    /// Straight to this address and port.
    Direct(String),
    /// Through another device of the tailnet, at this address.
    PeerRelay(String),
    /// Through one of Tailscale's relays (DERP), in this region.
    Relay(String),
}

/// One answer of `tailscale status --json`, whatever state it tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    state: String,
    auth_url: String,
    version: String,
    health: Vec<String>,
    key_expiry: Option<String>,
    userspace: bool,
    own: Peer,
    peers: Vec<Peer>,
    /// Of each of the peers.
    links: Vec<Link>,
    by_address: HashMap<IpAddr, usize>,
}

impl Status {
    /// Reads the CLI's JSON. Fails when it is not JSON of that shape; a state other than
    /// `Running` is no failure here, see [`Status::require_running`].
    pub fn parse(json: &[u8]) -> Result<Self> {
        let raw: RawStatus = read(json, "tailscale status --json")?;
        let users = raw.users;
        let nodes = raw.peers.into_values().flatten();
        let (links, peers): (Vec<Link>, Vec<Peer>) =
            nodes.map(|node| (node.link(), node.into_peer(&users))).unzip();
        let mut by_address = HashMap::new();
        for (index, peer) in peers.iter().enumerate() {
            for &address in &peer.addresses {
                by_address.entry(address).or_insert(index);
            }
        }
        Ok(Self {
            state: raw.state,
            auth_url: raw.auth_url,
            version: raw.version,
            health: raw.health,
            key_expiry: raw.own.key_expiry.clone(),
            // The field came with version 1.36; before it, and mostly since, there is a device.
            userspace: raw.tun == Some(false),
            own: raw.own.into_peer(&users),
            peers,
            links,
            by_address,
        })
    }

    /// Fails with the state and the way out of it unless Tailscale is up. The state alone decides:
    /// a stopped node still lists addresses and peers.
    pub fn require_running(&self) -> Result<()> {
        let (message, hint) = match self.state.as_str() {
            "Running" => return Ok(()),
            "NeedsLogin" => (
                "tailscale is logged out (state NeedsLogin)".to_owned(),
                if self.auth_url.is_empty() {
                    "log in with `tailscale login` or `tailscale up`".to_owned()
                } else {
                    format!("log in with `tailscale up`, or at {}", shown(&self.auth_url))
                },
            ),
            "NeedsMachineAuth" => (
                "this machine is not yet approved for the tailnet (state NeedsMachineAuth)".into(),
                "an admin can approve it at https://login.tailscale.com/admin/machines".into(),
            ),
            "Stopped" => {
                ("tailscale is stopped (state Stopped)".into(), "start it: `tailscale up`".into())
            }
            "Starting" => (
                "tailscale is still starting (state Starting)".into(),
                "wait a moment and try again".into(),
            ),
            "NoState" => (
                "tailscale has not come up yet (state NoState)".into(),
                "wait a moment and try again; if it stays so, restart the Tailscale service".into(),
            ),
            "InUseOtherUser" => (
                "tailscale on this machine is in use by another user (state InUseOtherUser)".into(),
                "that user must disconnect first".into(),
            ),
            other => (
                format!("tailscale is not running (state \"{}\")", shown(other)),
                "`tailscale status` tells more".into(),
            ),
        };
        Err(Error::network(message).hint(format!("{hint}; {WITHOUT}")))
    }

    /// True in a node without a network device: plain sockets neither reach the tailnet nor see
    /// who connects.
    pub fn is_userspace(&self) -> bool {
        self.userspace
    }

    /// This machine as the tailnet knows it.
    pub fn own(&self) -> &Peer {
        &self.own
    }

    /// This machine's addresses in the tailnet, IPv4 first. Fails (exit 5) when it has none.
    pub fn own_addresses(&self) -> Result<&[IpAddr]> {
        if self.own.addresses.is_empty() {
            return Err(Error::network("tailscale runs, but gave this machine no address")
                .hint(format!("look at `tailscale status`; {WITHOUT}")));
        }
        Ok(&self.own.addresses)
    }

    /// The name that leads to this machine, and to no other of the tailnet: the first label of its
    /// MagicDNS name. Not escaped.
    pub fn own_name(&self) -> Option<&str> {
        let label = self.own.label();
        let leads_here = self.resolve(label).ok()?? == *self.own.addresses.first()?;
        leads_here.then_some(label)
    }

    /// The service's version, such as `1.102.3`; empty where it does not tell. Not escaped.
    pub fn version(&self) -> &str {
        self.version.split('-').next().unwrap_or_default()
    }

    /// What the service itself finds wrong. Not escaped.
    pub fn health(&self) -> &[String] {
        &self.health
    }

    /// When this machine's key expires (RFC 3339); nothing where it never does. Not escaped.
    pub fn key_expiry(&self) -> Option<&str> {
        self.key_expiry.as_deref()
    }

    /// How the device with this address is reached; nothing for this machine.
    pub fn link(&self, address: IpAddr) -> Option<&Link> {
        self.links.get(*self.by_address.get(&address.to_canonical())?)
    }

    /// True for this machine, which `whois` reports like any other.
    pub fn is_self(&self, peer: &Peer) -> bool {
        !peer.id.is_empty() && peer.id == self.own.id
    }

    /// The device that has exactly this address, this machine included. The networks behind a
    /// subnet router or an exit node belong to nobody here.
    pub fn peer(&self, address: IpAddr) -> Option<&Peer> {
        let address = address.to_canonical();
        if self.own.addresses.contains(&address) {
            return Some(&self.own);
        }
        self.peers.get(*self.by_address.get(&address)?)
    }

    /// The address of the device called `name`: its MagicDNS name, the first label of that, or
    /// else what it calls itself, which is tried last because any device may call itself anything.
    /// `None` when there is no such device; fails (exit 2) when there are several.
    pub fn resolve(&self, name: &str) -> Result<Option<IpAddr>> {
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.is_empty() {
            return Ok(None);
        }
        let by: [fn(&Peer) -> &str; 3] = [|p| &p.dns_name, Peer::label, |p| &p.host_name];
        for field in by {
            let mut found = std::iter::once(&self.own)
                .chain(&self.peers)
                .filter(|p| !p.addresses.is_empty() && field(p).eq_ignore_ascii_case(name));
            let Some(first) = found.next() else { continue };
            if let Some(second) = found.next() {
                let full = |p: &Peer| match p.dns_name.as_str() {
                    "" => p.addresses.first().map(ToString::to_string).unwrap_or_default(),
                    dns => shown(dns).into_owned(),
                };
                return Err(Error::usage(format!("several devices are called {}", shown(name)))
                    .hint(format!(
                        "give the full name or the address: {}, {} …",
                        full(first),
                        full(second)
                    )));
            }
            let ipv4 = self.own.addresses.iter().any(IpAddr::is_ipv4);
            let same_family = first.addresses.iter().find(|a| a.is_ipv4() == ipv4);
            return Ok(same_family.or(first.addresses.first()).copied());
        }
        Ok(None)
    }
}

/// Reads the JSON of `tailscale whois --json`.
pub fn parse_whois(json: &[u8]) -> Result<Peer> {
    let raw: RawWhois = read(json, "tailscale whois --json")?;
    let tagged = !raw.node.tags.is_empty();
    Ok(Peer {
        id: raw.node.id,
        host_name: raw.node.host.name,
        dns_name: without_dot(raw.node.name),
        // Prefixes here (`100.70.15.9/32`), unlike in a status.
        addresses: addresses(raw.node.addresses.iter().filter_map(|p| p.split('/').next())),
        login: Some(raw.user.login).filter(|login| !tagged && !login.is_empty()),
        tags: raw.node.tags,
        expired: raw.node.expired,
    })
}

fn read<'a, T: Deserialize<'a>>(json: &'a [u8], command: &str) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| {
        let text = excerpt(json);
        let message = match text.as_str() {
            "" => format!("`{command}` printed nothing"),
            // Broken JSON is for developers, prose is for the user: only the latter is repeated.
            _ if text.starts_with('{') => format!("`{command}` cannot be understood: {error}"),
            _ => format!("`{command}` printed no JSON: {text}"),
        };
        Error::network(message).hint(format!("run `{command}` yourself to see more; {WITHOUT}"))
    })
}

fn addresses<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<IpAddr> {
    let parsed = texts.filter_map(|text| text.parse::<IpAddr>().ok());
    let mut all: Vec<IpAddr> = parsed.map(|address| address.to_canonical()).collect();
    all.sort_by_key(IpAddr::is_ipv6);
    all
}

fn without_dot(mut name: String) -> String {
    if name.ends_with('.') {
        name.pop();
    }
    name
}

/// Go writes an absent list, map or object as `null`.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// What only informs takes its default when it has an unexpected shape.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    from: D,
) -> std::result::Result<T, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

type Users = BTreeMap<String, Option<RawUser>>;

#[derive(Deserialize)]
struct RawStatus {
    #[serde(default, rename = "BackendState", deserialize_with = "nullable")]
    state: String,
    #[serde(default, rename = "AuthURL", deserialize_with = "nullable")]
    auth_url: String,
    #[serde(default, rename = "Version", deserialize_with = "lenient")]
    version: String,
    #[serde(default, rename = "Health", deserialize_with = "lenient")]
    health: Vec<String>,
    #[serde(default, rename = "TUN")]
    tun: Option<bool>,
    #[serde(default, rename = "Self", deserialize_with = "nullable")]
    own: RawNode,
    #[serde(default, rename = "Peer", deserialize_with = "nullable")]
    peers: BTreeMap<String, Option<RawNode>>,
    #[serde(default, rename = "User", deserialize_with = "nullable")]
    users: Users,
}

#[derive(Deserialize, Default)]
struct RawNode {
    #[serde(default, rename = "ID", deserialize_with = "nullable")]
    id: String,
    #[serde(default, rename = "HostName", deserialize_with = "nullable")]
    host_name: String,
    #[serde(default, rename = "DNSName", deserialize_with = "nullable")]
    dns_name: String,
    #[serde(default, rename = "UserID", deserialize_with = "nullable")]
    user: i64,
    #[serde(default, rename = "TailscaleIPs", deserialize_with = "nullable")]
    addresses: Vec<String>,
    #[serde(default, rename = "Tags", deserialize_with = "nullable")]
    tags: Vec<String>,
    #[serde(default, rename = "Expired", deserialize_with = "nullable")]
    expired: bool,
    #[serde(default, rename = "KeyExpiry", deserialize_with = "lenient")]
    key_expiry: Option<String>,
    #[serde(default, rename = "Online", deserialize_with = "lenient")]
    online: bool,
    #[serde(default, rename = "Active", deserialize_with = "lenient")]
    active: bool,
    #[serde(default, rename = "CurAddr", deserialize_with = "lenient")]
    direct: String,
    #[serde(default, rename = "PeerRelay", deserialize_with = "lenient")]
    peer_relay: String,
    #[serde(default, rename = "Relay", deserialize_with = "lenient")]
    relay: String,
}

impl RawNode {
    fn link(&self) -> Link {
        let way = match self {
            Self { active: false, .. } => Way::Unknown,
            Self { direct, .. } if !direct.is_empty() => Way::Direct(direct.clone()),
            Self { peer_relay, .. } if !peer_relay.is_empty() => Way::PeerRelay(peer_relay.clone()),
            // An active device with neither: what is left is the relay.
            Self { relay, .. } => Way::Relay(relay.clone()),
        };
        Link { online: self.online, way }
    }

    fn into_peer(self, users: &Users) -> Peer {
        let user = users.get(&self.user.to_string()).and_then(Option::as_ref);
        let login = user.map(|user| user.login.clone());
        Peer {
            id: self.id,
            dns_name: without_dot(self.dns_name),
            host_name: self.host_name,
            addresses: addresses(self.addresses.iter().map(String::as_str)),
            login: login.filter(|login| self.tags.is_empty() && !login.is_empty()),
            tags: self.tags,
            expired: self.expired,
        }
    }
}

#[derive(Deserialize, Default)]
struct RawUser {
    #[serde(default, rename = "LoginName", deserialize_with = "nullable")]
    login: String,
}

#[derive(Deserialize)]
struct RawWhois {
    #[serde(rename = "Node")]
    node: RawWhoisNode,
    #[serde(default, rename = "UserProfile", deserialize_with = "nullable")]
    user: RawUser,
}

#[derive(Deserialize)]
struct RawWhoisNode {
    #[serde(rename = "StableID")]
    id: String,
    #[serde(default, rename = "Name", deserialize_with = "nullable")]
    name: String,
    #[serde(default, rename = "Hostinfo", deserialize_with = "nullable")]
    host: RawHost,
    #[serde(default, rename = "Addresses", deserialize_with = "nullable")]
    addresses: Vec<String>,
    #[serde(default, rename = "Tags", deserialize_with = "nullable")]
    tags: Vec<String>,
    #[serde(default, rename = "Expired", deserialize_with = "nullable")]
    expired: bool,
}

#[derive(Deserialize, Default)]
struct RawHost {
    #[serde(default, rename = "Hostname", deserialize_with = "nullable")]
    name: String,
}
