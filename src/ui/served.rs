//! A server that is always there: where it listens, whom it lets in, and what became of each upload.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use super::Ui;
use super::words::{counted, outcome};
use crate::connect::Peer;
use crate::error::{Error, bytes, shown};
use crate::event::Summary;
use crate::trust::certificate::Id;

/// Where a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// At this port…
    pub port: u16,
    /// …of these addresses of the local network, or of this machine alone.
    pub addresses: Vec<IpAddr>,
    /// The same in the tailnet; nothing where that is not served.
    pub tailnet: Option<InTailnet>,
}

/// A server in its tailnet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InTailnet {
    /// The name of its machine there. Not escaped.
    pub name: Option<String>,
    /// Its addresses; none while Tailscale does not run.
    pub addresses: Vec<IpAddr>,
}

/// `192.168.1.9; in the tailnet: attic, 100.64.0.1`.
impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let near: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        f.write_str(&near.join(", "))?;
        let Some(InTailnet { name, addresses }) = &self.tailnet else { return Ok(()) };
        if !near.is_empty() {
            f.write_str("; ")?;
        }
        if addresses.is_empty() {
            return f.write_str("in the tailnet once Tailscale runs");
        }
        let name = name.iter().map(|name| shown(name).into_owned());
        let far: Vec<String> = name.chain(addresses.iter().map(ToString::to_string)).collect();
        write!(f, "in the tailnet: {}", far.join(", "))
    }
}

impl Ui {
    /// The server is there, and lets in these devices and those of these CAs.
    pub fn serves(
        &self,
        (name, id): (&str, Id),
        folder: &str,
        reached: &Reached,
        devices: &[&str],
        cas: &[&str],
    ) {
        let devices = devices.iter().map(|name| shown(name).into_owned());
        let cas = cas.iter().map(|name| format!("CA \"{}\"", shown(name)));
        let trusted: Vec<String> = devices.chain(cas).collect();
        let trusted = match trusted.is_empty() {
            true => "nobody yet: `transfer pair` adds a device".into(),
            false => trusted.join(", "),
        };
        self.say(&format!(
            "{} takes uploads into {folder} on port {} ({reached}); its words: {}; trusted: {trusted}",
            shown(name),
            reached.port,
            id.words()
        ));
        self.tell(|json| json.listening(name, &id, folder, reached));
    }

    /// Its addresses are others now.
    pub fn moved(&self, (name, id): (&str, Id), folder: &str, reached: &Reached) {
        let now = match (&*reached.addresses, &reached.tailnet) {
            ([], None) => "has no address now, and waits for one".to_owned(),
            _ => format!("listens on port {} ({reached})", reached.port),
        };
        self.say(&format!("{} {now}", shown(name)));
        self.tell(|json| json.listening(name, &id, folder, reached));
    }

    /// A device has offered nothing: `transfer find` looks like that, and so does a connection that was
    /// lost.
    pub fn came_and_went(&self, peer: &Peer) {
        self.detail(&format!("{} ({}): came, and offered nothing", peer.name, peer.origin()));
    }

    /// A device begins to send.
    pub fn upload_begins(&self, peer: &Peer, files: u64, size: u64) {
        self.say(&format!(
            "{} ({}): {}, {}",
            peer.name,
            peer.origin(),
            counted(files, "file", "files"),
            bytes(size)
        ));
    }

    /// How an upload ended, if it came to a folder there.
    pub fn uploaded(&self, peer: &Peer, folder: Option<&Path>, received: &Result<Summary, Error>) {
        let folder = folder.map(|folder| shown(&folder.to_string_lossy()).into_owned());
        match received {
            Ok(summary) => {
                let place = format!(" into {}", folder.as_deref().unwrap_or_default());
                self.say(&format!(
                    "{}: {}",
                    peer.name,
                    outcome("received", summary, &place, "here")
                ));
                self.problems(summary, "", Some(&peer.name));
            }
            Err(error) => self.say_warning(&format!("{}: {error}", peer.name)),
        }
        self.log(&audited(peer, folder.as_deref(), received));
        self.tell(|json| json.upload(peer, folder.as_deref(), received));
    }
}

/// An upload in one line of the log, whatever was said of it: whose, from where, where to, how much, how it
/// ended.
fn audited(peer: &Peer, folder: Option<&str>, received: &Result<Summary, Error>) -> String {
    let (files, size) = received.as_ref().map_or((0, 0), |it| (it.files, it.bytes));
    let exit = received.as_ref().map_or_else(Error::exit, Summary::exit) as u8;
    let why = received.as_ref().err().map_or_else(String::new, |error| format!(", why: {error}"));
    format!(
        "upload: device \"{}\", id {}, from {}, into \"{}\", files {files}, bytes {size}, exit {exit}{why}",
        peer.name,
        peer.id.as_deref().unwrap_or("unknown"),
        peer.origin(),
        folder.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_server_is_reached() {
        let at = |addresses: &[&str]| addresses.iter().map(|it| it.parse().unwrap()).collect();
        for (near, tailnet, expected) in [
            (&["10.0.0.1", "fd12::9"][..], None, "10.0.0.1, fd12::9"),
            (&[], Some((None, &["100.64.0.1"][..])), "in the tailnet: 100.64.0.1"),
            (
                &["10.0.0.1"],
                Some((Some("attic"), &["100.64.0.1", "fd7a:115c:a1e0::1"])),
                "10.0.0.1; in the tailnet: attic, 100.64.0.1, fd7a:115c:a1e0::1",
            ),
            (&["10.0.0.1"], Some((None, &[])), "10.0.0.1; in the tailnet once Tailscale runs"),
            (&[], Some((None, &[])), "in the tailnet once Tailscale runs"),
            (&[], Some((Some("\u{1b}["), &["100.64.0.1"])), "in the tailnet: \\u{1b}[, 100.64.0.1"),
        ] {
            let tailnet = tailnet.map(|(name, addresses)| InTailnet {
                name: name.map(str::to_owned),
                addresses: at(addresses),
            });
            let reached = Reached { port: 15821, addresses: at(near), tailnet };
            assert_eq!(reached.to_string(), expected);
        }
    }
}
