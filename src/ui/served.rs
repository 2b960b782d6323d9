//! A server that is always there: where it listens, whom it lets in, and what became of each upload.

use std::net::IpAddr;
use std::path::Path;

use super::Ui;
use super::words::{counted, outcome};
use crate::connect::Peer;
use crate::error::{Error, bytes, shown};
use crate::event::Summary;
use crate::trust::certificate::Id;

impl Ui {
    /// The server is there, and lets in these devices and those of these CAs.
    pub fn serves(
        &self,
        (name, id): (&str, Id),
        folder: &str,
        (port, addresses): (u16, &[IpAddr]),
        devices: &[&str],
        cas: &[&str],
    ) {
        let at: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let devices = devices.iter().map(|name| shown(name).into_owned());
        let cas = cas.iter().map(|name| format!("CA \"{}\"", shown(name)));
        let trusted: Vec<String> = devices.chain(cas).collect();
        let trusted = match trusted.is_empty() {
            true => "nobody yet: `transfer pair` adds a device".into(),
            false => trusted.join(", "),
        };
        self.say(&format!(
            "{} takes uploads into {folder} on port {port} ({}); its words: {}; trusted: {trusted}",
            shown(name),
            at.join(", "),
            id.words()
        ));
        self.tell(|json| json.listening(name, &id, folder, port, addresses));
    }

    /// Its addresses are others now.
    pub fn moved(&self, (name, id): (&str, Id), folder: &str, (port, addresses): (u16, &[IpAddr])) {
        let at: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let now = match at.is_empty() {
            true => "has no address now, and waits for one".to_owned(),
            false => format!("listens on port {port} ({})", at.join(", ")),
        };
        self.say(&format!("{} {now}", shown(name)));
        self.tell(|json| json.listening(name, &id, folder, port, addresses));
    }

    /// A device has offered nothing: `transfer find` looks like that, and so does a connection that was
    /// lost.
    pub fn came_and_went(&self, peer: &Peer) {
        self.detail(&format!("{} ({}): came, and offered nothing", peer.name, peer.place()));
    }

    /// A device begins to send.
    pub fn upload_begins(&self, peer: &Peer, files: u64, size: u64) {
        self.say(&format!(
            "{} ({}): {}, {}",
            peer.name,
            peer.place(),
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
        peer.place(),
        folder.unwrap_or_default()
    )
}
