//! Two devices that trust each other: TLS 1.3 with certificates on both sides carries the session. Who
//! may be at the other end, [`trust`](crate::trust) decides, before either has said a word of its own.

use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use super::acceptor::Prove;
use super::handshake::Outcome;
use crate::bounds::HANDSHAKE_LIMIT;
use crate::error::{Cause, Error, Result, reason, shown};
use crate::net::tls;
use crate::trust::certificate::Certificate;
use crate::trust::credentials::Credentials;
use crate::trust::device::{self, Device};
use crate::trust::folder::{self, Folder, Stamp};
use crate::trust::refusal::{Refusal, Who};
use crate::trust::store::{self, Trusted};
use crate::trust::verifier::{Expect, Peer, Rules, Verifier};
use crate::trust::{certificate::Id, pem};

/// Where a server listens unless whoever dials it says otherwise…
pub const PORT: u16 = 15821;
/// …or the first of these that is free, where several are on one machine.
pub const PORTS: RangeInclusive<u16> = PORT..=15830;

/// Certificates that the command line names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Papers {
    /// A certificate and its key, in the place of this device's own.
    pub own: Option<(PathBuf, PathBuf)>,
    /// CAs that are trusted beside those of the list.
    pub cas: Vec<PathBuf>,
    /// Devices that are let in, of all that are trusted; empty for all of them.
    pub allow: Vec<String>,
}

/// This device, and whom it trusts.
#[derive(Debug)]
pub struct Own {
    folder: Folder,
    /// What it began with.
    pub(super) credentials: Credentials,
    papers: Papers,
    /// What the files say, and the state of them that it is of: whoever knocks costs no reading.
    read: Mutex<Option<(Stamps, Current)>>,
}

/// A state of several files; of one that is not there nothing.
type Stamps = Vec<Option<Stamp>>;

/// What the files say.
#[derive(Debug, Clone)]
struct Current {
    shows: Credentials,
    rules: Arc<Rules>,
}

impl Own {
    /// Reads all there is, and makes a key where this device has none.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::error::Exit::Usage) when a file cannot be used.
    pub fn load(papers: &Papers) -> Result<Self> {
        let folder = Folder::of_user()?;
        let credentials = match &papers.own {
            Some((certificate, key)) => Credentials::load(certificate, key)?,
            None => Device::load_or_make(&folder)?.shows().clone(),
        };
        let own = Self { folder, credentials, papers: papers.clone(), read: Mutex::default() };
        own.rules()?;
        Ok(own)
    }

    /// A device with this key, which trusts whom its folder says.
    #[cfg(test)]
    pub(super) fn of(folder: &Folder, credentials: Credentials) -> Self {
        let (papers, read) = (Papers::default(), Mutex::default());
        Self { folder: folder.clone(), credentials, papers, read }
    }

    /// All files that it is read from.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.folder.path(store::FILE)];
        match &self.papers.own {
            Some((certificate, key)) => files.extend([certificate.clone(), key.clone()]),
            None => files
                .extend([device::KEY, device::OWN, device::SIGNED].map(|it| self.folder.path(it))),
        }
        files.extend(self.papers.cas.iter().cloned());
        files
    }

    /// What others are shown as its name.
    pub fn name(&self) -> String {
        self.certificate().device_name()
    }

    /// What it shows by now: it may have been renewed. Where its files cannot be read, what it began with.
    pub fn certificate(&self) -> Certificate {
        let shows = self.current().map(|current| current.shows);
        shows.unwrap_or_else(|_| self.credentials.clone()).certificate().clone()
    }

    /// Its key.
    pub fn id(&self) -> Id {
        self.certificate().id
    }

    /// Its name and words, to be found among others.
    pub(super) fn called(&self) -> String {
        let shown = self.certificate();
        format!("{}, {}", shown.device_name(), shown.id.words())
    }

    /// What is wrong with the certificate that it shows, in the eyes of those who trust the same CA, and what
    /// mends it: said at start, and not to the first visitor. Of one that no CA known here has signed there is
    /// nothing to say: others may pin its key, or know another CA.
    pub fn doubt(&self, as_server: bool) -> Option<String> {
        let rules = self.rules().ok()?;
        let (chain, who) = (self.credentials.chain(), Who::Server("this device".into()));
        let refusal = match rules.check_own(chain, false) {
            Err(Refusal::UnknownIssuer(_)) => return None,
            _ if as_server => rules.check_own(chain, true),
            checked => checked,
        };
        match refusal {
            // When it ends, is told beside the others.
            Ok(()) => None,
            Err(refusal) => {
                let error = refusal.error(&who);
                Some(error.hint.iter().fold(error.message, |it, hint| format!("{it}; {hint}")))
            }
        }
    }

    /// Whom it trusts now: the list may have changed.
    ///
    /// # Errors
    /// The list cannot be read, and so nobody is trusted.
    pub fn rules(&self) -> Result<Arc<Rules>> {
        Ok(self.current()?.rules)
    }

    /// What the files say now, read again where one of them has changed.
    fn current(&self) -> Result<Current> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken before they are read: a change in between is seen the next time.
        let stamps: Option<Stamps> = self.files().iter().map(|file| state_of(file)).collect();
        if let (Some(stamps), Some((known, current))) = (&stamps, &*read)
            && stamps == known
        {
            return Ok(current.clone());
        }
        *read = None;
        let shows = match &self.papers.own {
            Some((certificate, key)) => Credentials::load(certificate, key)?,
            None => Device::load(&self.folder)?
                .ok_or_else(|| {
                    Error::usage(format!("\"{}\" is gone", self.folder.shown(device::KEY)))
                        .hint("put it back from a copy")
                })?
                .shows()
                .clone(),
        };
        let cas = self.papers.cas.iter().map(|file| pem::certificates(file));
        let cas = cas.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        let (trusted, allow) = (Trusted::load(&self.folder)?, self.papers.allow.clone());
        let current = Current { shows, rules: Rules::new(trusted, cas, allow, tls::provider())? };
        *read = stamps.map(|stamps| (stamps, current.clone()));
        Ok(current)
    }

    /// Reads all files again, whatever they look like.
    ///
    /// # Errors
    /// One cannot be read, and so nobody new is trusted.
    pub fn reload(&self) -> Result<()> {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.current().map(drop)
    }

    /// When each of the files was last changed.
    pub fn changed(&self) -> Vec<Option<SystemTime>> {
        let changed = |file: &PathBuf| std::fs::metadata(file).ok()?.modified().ok();
        self.files().iter().map(changed).collect()
    }

    /// What to say of certificates that end soon, or have ended: its own, those of CAs where there is no peer,
    /// and that of a peer that a CA vouches for.
    pub fn ends(&self, peer: Option<&Peer>) -> Vec<String> {
        let Ok(current) = self.current() else { return vec![] };
        let remedy = match self.papers.own {
            Some(_) => "have its CA issue it anew",
            None => "`transfer device --renew` renews it",
        };
        let end = |whose: &str, certificate: &Certificate, remedy: &str| {
            Some(format!("{whose} {}; {remedy}", certificate.expiry()?))
        };
        let mut ends = vec![];
        ends.extend(end("this device's certificate", current.shows.certificate(), remedy));
        match peer {
            None => ends.extend(current.rules.authorities().filter_map(|ca| {
                let whose = format!("the certificate of CA \"{}\"", shown(&ca.subject));
                end(&whose, ca, "what it has issued ends with it")
            })),
            Some(peer) if peer.is_pinned => {}
            Some(peer) => {
                let whose = format!("the certificate of {}", shown(&peer.name));
                ends.extend(end(
                    &whose,
                    &peer.certificate,
                    "renew it there: `transfer device --renew`",
                ));
            }
        }
        ends
    }

    /// Takes note that a device has connected: from now on its name is that of this key. Where that
    /// cannot be written, on a full disk say, only a name that is new here matters.
    pub(super) fn remember(&self, peer: &Peer) -> Result<()> {
        let noted = Trusted::change(&self.folder, |trusted| {
            if trusted.key_of(&peer.name).is_some_and(|known| known != peer.id) {
                let name = shown(&peer.name);
                return Err(Error::refused(format!("another device is called {name} already")));
            }
            trusted.remember(&peer.name, peer.id)
        });
        match noted {
            Err(error) if error.cause == Cause::Failure => {
                let trusted = Trusted::load(&self.folder)?;
                match trusted.removal(&peer.id).is_none() && trusted.knows(&peer.name, &peer.id) {
                    true => Ok(()),
                    false => Err(error),
                }
            }
            noted => noted,
        }
    }
}

/// The state of a file, which may not be there; nothing where one more change may look the same.
fn state_of(file: &Path) -> Option<Option<Stamp>> {
    match file.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Some(None),
        _ => folder::stamp(file).map(Some),
    }
}

/// How a device proves itself to a server.
pub fn prove(own: Arc<Own>) -> Box<Prove> {
    Box::new(move |stream, _| {
        let address = stream.peer_addr().map_err(|error| reason(&error))?.ip().to_canonical();
        let Current { shows, rules } = own.current().map_err(|error| error.message)?;
        let verifier = Verifier::new(rules, Expect::Anybody);
        let deadline = Instant::now() + HANDSHAKE_LIMIT;
        let cloned = stream.try_clone().map_err(|error| reason(&error))?;
        match tls::accept(cloned, &shows, &verifier, deadline) {
            Ok(channel) => {
                own.remember(&channel.peer).map_err(|error| error.message)?;
                Ok(Outcome::Carried(Box::new(channel)))
            }
            Err(failure) => {
                let error = failure.error(&Who::Client(address.to_string()), &own.called());
                // Whoever tells of it names the address.
                let said = format!("refused {address}: ");
                Err(error.message.strip_prefix(&said).unwrap_or(&error.message).to_owned())
            }
        }
    })
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;
    use crate::trust::samples::{alone, wish};
    use crate::trust::store::Via;

    #[test]
    fn the_list_is_read_again_when_it_has_changed() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::new(scratch.path().join("own"));
        let shows = Device::load_or_make(&folder).unwrap().shows().clone();
        let own = Own::of(&folder, shows);
        let pin = |name: &str| {
            let device = alone(&wish(name, &[]));
            Trusted::change(&folder, |it| it.pin(name, device.certificate(), Via::Pair)).unwrap();
        };
        let grow_old = |days: u64| {
            let then = SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60);
            for file in
                own.files().iter().filter_map(|it| File::options().write(true).open(it).ok())
            {
                file.set_modified(then).unwrap();
            }
        };
        pin("laptop");
        let fresh = own.rules().unwrap();
        assert!(!Arc::ptr_eq(&fresh, &own.rules().unwrap()), "the next change may look the same");
        grow_old(2);
        let known = own.rules().unwrap();
        assert!(Arc::ptr_eq(&known, &own.rules().unwrap()));
        pin("phone");
        grow_old(2);
        assert_eq!(own.rules().unwrap().trusted().devices.len(), 2);
        let set = |mode| {
            fs::set_permissions(folder.path(store::FILE), Permissions::from_mode(mode)).unwrap();
        };
        set(0o644);
        own.rules().unwrap_err();
        set(0o600);
        own.rules().unwrap();
        fs::remove_file(folder.path(store::FILE)).unwrap();
        assert!(own.rules().unwrap().trusted().devices.is_empty());
    }
}
