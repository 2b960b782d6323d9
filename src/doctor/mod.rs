//! `transfer doctor`: looks at all that a transfer needs on this machine, and at the way to
//! another, and says what is wrong and what to do about it. It changes nothing: a port is bound
//! and let go, a folder is made and removed.
//!
//! Each check has an end, so that a Tailscale, a name server or a disk that hangs is told and not
//! waited for.

mod device;
mod direct;
mod folder;
mod local;
mod peer;
mod server;
mod tailnet;

use std::env;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::config::{self, Config};
use crate::connect::direct::Direct;
use crate::connect::lan;
use crate::error::{Cause, Error, Exit, Result, shown_os};
use crate::net::dial::Proxy;
use crate::net::interfaces::is_tailnet;
use crate::net::listener::{Listener, port_owner};
use crate::net::quic;
use crate::net::tailscale::{Status, TailscaleDetector};
use crate::ticket::{DEFAULT_PORT, Host, USUAL_PORTS};
use crate::ui::{Finding, Mark, Ui};

/// What to look at; resolved from the command line.
#[derive(Debug, Clone)]
pub struct DoctorOptions {
    /// The other machine, as it was typed.
    pub peer: Option<String>,
    /// Leave Tailscale out.
    pub pod: bool,
    /// Look at the way between any two networks, and not at Tailscale: with these relays.
    pub direct: Option<Direct>,
    /// TCP port, here and there; nothing for the usual one.
    pub port: Option<u16>,
    /// The folder to receive into.
    pub output: PathBuf,
}

/// All checks together, short of the last moment of the last one.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is left to a check when others have used that up.
const LEAST: Duration = Duration::from_millis(500);
/// The CLI itself tries for up to 5 s to reach its service.
const TAILSCALE_LIMIT: Duration = Duration::from_secs(8);
/// It has answered once, and then does so in milliseconds.
const AGAIN_LIMIT: Duration = Duration::from_secs(2);
/// A proxy is near, mostly on this machine.
const PROXY_LIMIT: Duration = Duration::from_millis(1500);
/// Each of its steps has an end of its own, and they run side by side.
const DIRECT_LIMIT: Duration = Duration::from_secs(9);
/// A disk that takes longer is none to receive on.
const FOLDER_LIMIT: Duration = Duration::from_secs(2);

/// Runs `transfer doctor`.
///
/// # Errors
/// Only when the command line makes no sense (exit 2): what is found is told, not returned.
pub fn run(options: &DoctorOptions, ui: &Ui) -> Result<Exit> {
    let peer = options.peer.as_deref().map(Host::parse_place).transpose()?;
    if let Some((host, _)) = peer.as_ref().filter(|_| options.pod)
        && !host.address().is_some_and(|ip| ip.is_loopback())
    {
        return Err(Error::usage(format!("{host} is not this machine"))
            .hint("leave --pod away to look at another machine"));
    }
    ui.visit();
    let mut doctor = Doctor { ui, until: Instant::now() + PATIENCE, problems: 0, warnings: 0 };
    if let Some(direct) = &options.direct {
        doctor.direct(direct)?;
        doctor.kept();
        doctor.folder(&options.output);
        return Ok(doctor.end());
    }
    let server = match &peer {
        Some((Host::Name(name), _)) if !options.pod => server::look(name),
        _ => None,
    };
    let answers = server.as_ref().is_some_and(|server| server.answers);
    let is_near = |(host, _): &(Host, _)| answers || host.address().is_some_and(lan::is_meant);
    let own_network = local::address();
    let is_here = |(host, _): &(Host, _)| host.address().is_some_and(|ip| ip.is_loopback());
    // A paired device may be in the local network, and an address of the internet is in no tailnet.
    let needs_tailnet = peer.as_ref().is_some_and(|(host, _)| match host {
        Host::Name(name) => !server::is_known(name),
        host => host.address().is_some_and(is_tailnet),
    });
    let near = peer.as_ref().filter(|peer| is_near(peer)).map(|(host, _)| host);
    let tailscale = if options.pod {
        doctor.tell("Tailscale", &[Finding::skipped("--pod needs none")]);
        doctor.tell("Local network", &[Finding::skipped("--pod needs none")]);
        None
    } else {
        let tailscale = match near {
            Some(host) => {
                doctor.tell("Tailscale", &[Finding::skipped(format!("{host} needs none"))]);
                None
            }
            None => Some(doctor.tailscale(own_network, needs_tailnet)),
        };
        doctor.tell("Local network", &local::interfaces(options.port));
        let multicast = local::multicast();
        if !multicast.is_empty() {
            doctor.tell("Multicast", &multicast);
        }
        tailscale
    };
    let node = match &tailscale {
        None if near.is_some() => Node::Lan(own_network),
        None => Node::Pod,
        Some(Ok((_, status))) => Node::Tailnet(status),
        Some(Err(error)) if tailnet::is_spared(error, own_network.is_some(), needs_tailnet) => {
            Node::Lan(own_network)
        }
        Some(Err(_)) => Node::Unknown,
    };
    let own = peer.as_ref().filter(|peer| is_here(peer));
    let is_looked_at = own.is_some_and(|(_, port)| port.or(options.port) == options.port);
    doctor.port(&node, options.port, is_looked_at);
    doctor.proxy(&node);
    doctor.kept();
    doctor.tell("This device", &device::findings());
    doctor.folder(&options.output);
    if let (Some((host, _)), Some(server)) = (&peer, &server) {
        doctor.tell(&host.to_string(), &server.findings);
    }
    // What is announced and does not answer may be anybody's, and says nothing of the one that is meant.
    let may_be_far = needs_tailnet || matches!(tailscale, Some(Ok(_)));
    if let Some((host, port)) = peer.filter(|_| !answers && (server.is_none() || may_be_far)) {
        doctor.peer(&host, port.or(options.port), tailscale);
    }
    Ok(doctor.end())
}

/// What this machine is to Tailscale.
enum Node<'a> {
    /// Nothing: `--pod`.
    Pod,
    /// Nothing: the local network is meant, where this is the address to show.
    Lan(Option<IpAddr>),
    /// Tailscale does not run, so nobody knows.
    Unknown,
    /// A device.
    Tailnet(&'a Status),
}

impl Node<'_> {
    /// Where `transfer send` would listen.
    fn listens_at(&self) -> IpAddr {
        let own = match self {
            Self::Tailnet(status) if !status.is_userspace() => {
                status.own().addresses.first().copied()
            }
            Self::Lan(own) => *own,
            _ => None,
        };
        own.unwrap_or(Ipv4Addr::LOCALHOST.into())
    }
}

type Tailscale = Result<(TailscaleDetector, Arc<Status>)>;

/// The visit: tells as it finds, and counts.
struct Doctor<'a> {
    ui: &'a Ui,
    until: Instant,
    problems: u32,
    warnings: u32,
}

impl Doctor<'_> {
    fn tell(&mut self, topic: &str, findings: &[Finding]) {
        for finding in findings {
            match finding.mark {
                Mark::Problem => self.problems += 1,
                Mark::Warning => self.warnings += 1,
                Mark::Fine | Mark::Skipped => {}
            }
        }
        self.ui.findings(topic, findings);
    }

    fn end(&self) -> Exit {
        self.ui.diagnosis(self.problems, self.warnings);
        if self.problems > 0 { Exit::Failure } else { Exit::Done }
    }

    /// How long a check may take now.
    fn limit(&self, own: Duration) -> Duration {
        own.min(self.until.saturating_duration_since(Instant::now())).max(LEAST)
    }

    /// What `work` finds, unless it takes too long: some calls of the system have no timeout.
    fn within<T: Send + 'static>(
        &self,
        own: Duration,
        work: impl FnOnce(Duration) -> T + Send + 'static,
    ) -> Option<T> {
        let limit = self.limit(own);
        let (sender, receiver) = mpsc::channel();
        let began = thread::Builder::new().name("check".into()).spawn(move || {
            let _ = sender.send(work(limit));
        });
        began.ok()?;
        receiver.recv_timeout(limit + LEAST).ok()
    }

    fn tailscale(&mut self, own_network: Option<IpAddr>, needs_tailnet: bool) -> Tailscale {
        let asked = TailscaleDetector::find().and_then(|tailscale| {
            let tailscale = tailscale.with_limit(self.limit(TAILSCALE_LIMIT));
            let status = tailscale.status()?;
            Ok((tailscale.with_limit(AGAIN_LIMIT), status))
        });
        let findings = match &asked {
            Ok((tailscale, status)) => {
                let program = tailscale.cli().program();
                let mut findings = tailnet::node(status, program, SystemTime::now());
                findings.extend(server::would_listen(&status.own().addresses));
                findings
            }
            Err(error) => vec![tailnet::missing(error, own_network.is_some(), needs_tailnet)],
        };
        self.tell("Tailscale", &findings);
        asked
    }

    /// The port that the next `transfer send` would listen on, if it is told the same. What
    /// `is_looked_at` is a sender here, of which more is said below.
    fn port(&mut self, node: &Node<'_>, asked: Option<u16>, is_looked_at: bool) {
        let (ip, port) = (node.listens_at(), asked.unwrap_or(DEFAULT_PORT));
        let finding = match Listener::bind_some(ip, asked, USUAL_PORTS) {
            Ok(free) if free.address().port() != port => {
                next_to(port_owner(port).as_deref(), free.address().port())
            }
            Ok(_) if matches!(node, Node::Unknown) => Finding::fine(format!("free at {ip}")),
            Ok(_) => Finding::fine(format!("free at {ip}, where `transfer send` listens")),
            Err(error) if error.cause == Cause::PortTaken => {
                taken(&error, port, port_owner(port).as_deref(), is_looked_at)
            }
            Err(error) => (&error).into(),
        };
        self.tell(&format!("Port {port}"), &[finding]);
    }

    fn proxy(&mut self, node: &Node<'_>) {
        let proxy = match (node, Proxy::from_env()) {
            (Node::Pod, _) => Err(Finding::skipped("--pod needs none")),
            (Node::Lan(_), _) => Err(Finding::skipped("the local network needs none")),
            (Node::Tailnet(status), proxy) if !status.is_userspace() => {
                Err(Finding::fine(match proxy {
                    Some(_) => "ALL_PROXY is set; nothing here needs it: there is a network device",
                    None => "none is set, and none is needed: there is a network device",
                }))
            }
            (Node::Unknown, None) => Err(Finding::fine("none is set")),
            (Node::Tailnet(_), None) => Err(without_proxy()),
            (_, Some(Err(error))) => Err((&error).into()),
            (_, Some(Ok(proxy))) => Ok(proxy),
        };
        let finding = match proxy {
            Err(finding) => finding,
            Ok(proxy) => {
                let name = proxy.to_string();
                let reached = self.within(PROXY_LIMIT, move |limit| {
                    proxy.reach(Instant::now() + limit).map(drop)
                });
                match reached {
                    Some(Ok(())) => Finding::fine(format!(
                        "{name} answers: `transfer receive` goes through it where there is no \
                         network device"
                    )),
                    Some(Err(error)) => (&error).into(),
                    None => Finding::problem(format!("the proxy {name} does not answer"))
                        .advice("is the name in ALL_PROXY right? no name server knew it in time"),
                }
            }
        };
        self.tell("Proxy", &[finding]);
    }

    /// The way between any two networks.
    fn direct(&mut self, direct: &Direct) -> Result<()> {
        for topic in ["Tailscale", "Local network"] {
            self.tell(topic, &[Finding::skipped("--direct needs none")]);
        }
        self.tell("Proxy", &[direct::proxy()]);
        let direct = direct.clone();
        match self.within(DIRECT_LIMIT, move |_| direct::look(&direct)) {
            Some(found) => found?.iter().for_each(|(topic, findings)| self.tell(topic, findings)),
            None => {
                let finding = Finding::problem("nothing answers in time");
                self.tell("Relays", &[finding.advice("is this machine on line?")]);
            }
        }
        Ok(())
    }

    fn folder(&mut self, output: &Path) {
        let path = output.to_owned();
        let findings = self.within(FOLDER_LIMIT, move |_| folder::look(&path));
        let findings =
            findings.unwrap_or_else(|| {
                vec![Finding::problem("its disk does not answer").advice(
                    "is it on another machine that is not there? name another folder with -o",
                )]
            });
        let name = shown_os(output);
        self.tell(&format!("Folder {}", name), &findings);
    }

    /// What answers the questions that are asked on a terminal.
    fn kept(&mut self) {
        let finding = match (Config::load(), config::path()) {
            (Err(error), _) => {
                let finding = Finding::warning(error.to_string());
                finding.advice(error.hint.unwrap_or_default())
            }
            (Ok(_), None) => Finding::fine("none: there is no home folder"),
            (Ok(kept), Some(path)) => {
                let (path, lines) = (config::shown_path(&path), kept.lines());
                Finding::fine(match lines.is_empty() {
                    true => format!("none: there is nothing in {path}"),
                    false => format!("{} ({path})", lines.join(", ")),
                })
            }
        };
        self.tell("Kept answers", &[finding]);
    }
}

/// Somebody has the usual port, and the next sender takes another.
fn next_to(owner: Option<&str>, port: u16) -> Finding {
    Finding::fine(match owner {
        Some(owner) if owner.starts_with("transfer (") => format!(
            "in use by {owner}: a `transfer send` waits there; the next would listen on {port}"
        ),
        Some(owner) => format!("in use by {owner}; `transfer send` would listen on {port} instead"),
        None => format!("in use; `transfer send` would listen on {port} instead"),
    })
}

/// Somebody has the port that was asked for: an offer of this user's, or another program.
fn taken(error: &Error, port: u16, owner: Option<&str>, is_looked_at: bool) -> Finding {
    if let Some(owner) = owner.filter(|owner| owner.starts_with("transfer (")) {
        let what = format!("in use by {owner}: a `transfer send` waits there");
        if is_looked_at {
            return Finding::fine(what);
        }
        return Finding::problem(what).advice(
            "another needs another port: leave --port away, and the next free one is taken",
        );
    }
    let look = match env::consts::OS {
        "windows" => format!("`netstat -ano | findstr :{port}`"),
        "linux" => format!("`sudo ss -ltnp 'sport = :{port}'`"),
        _ => format!("`sudo lsof -nP -iTCP:{port} -sTCP:LISTEN`"),
    };
    let hint = error.hint.as_deref().unwrap_or_default();
    let advice = match owner {
        Some(_) => hint.to_owned(),
        None => format!("{look} shows who has it; or {hint}"),
    };
    Finding::problem(error.to_string()).advice(advice)
}

/// A node without a network device and without `ALL_PROXY`.
fn without_proxy() -> Finding {
    let finding = Finding::fine("none is set: `transfer receive` goes through `tailscale nc`");
    match quic::proxy_variable() {
        Some(name) => finding
            .advice(format!("{name} is set, but only ALL_PROXY is used: set that to the same")),
        None => finding,
    }
}

impl From<&Error> for Finding {
    fn from(error: &Error) -> Self {
        let finding = Self::problem(error.to_string());
        match &error.hint {
            Some(hint) => finding.advice(hint.clone()),
            None => finding,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_hangs_is_left_alone() {
        let ui = Ui::new(true, 0, true, false);
        let doctor = Doctor { ui: &ui, until: Instant::now(), problems: 0, warnings: 0 };
        assert_eq!(doctor.within(FOLDER_LIMIT, |limit| limit), Some(LEAST));
        let (_hold, never) = mpsc::channel::<()>();
        assert_eq!(doctor.within(LEAST, move |_| never.recv().is_ok()), None);
    }

    #[test]
    fn whoever_has_the_port_is_named_or_can_be_found() {
        let error = Error::network("port 9 is in use").hint("choose another");
        let own = taken(&error, 9, Some("transfer (process 7)"), true);
        assert_eq!(own.mark, Mark::Fine);
        let own = taken(&error, 9, Some("transfer (process 7)"), false);
        assert_eq!(own.mark, Mark::Problem);
        let other = taken(&error, 9, Some("transferx (process 7)"), true);
        assert_eq!((other.mark, other.advice.as_deref()), (Mark::Problem, Some("choose another")));
        let unknown = taken(&error, 9, None, false).advice.unwrap();
        assert!(unknown.ends_with("shows who has it; or choose another"), "{unknown}");
        assert!(unknown.contains(":9"), "{unknown}");
    }
}
