//! Two devices that trust each other: TLS 1.3 with certificates on both sides carries the session. Who
//! may be at the other end, [`trust`](crate::trust) decides, before either has said a word of its own.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use super::acceptor::Prove;
use super::handshake::Outcome;
use crate::bounds::HANDSHAKE_LIMIT;
use crate::error::{Cause, Error, Result, reason, shown};
use crate::net::tls;
use crate::trust::certificate::Certificate;
use crate::trust::credentials::Credentials;
use crate::trust::device::Device;
use crate::trust::folder::{Folder, Stamp};
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
    pub(super) credentials: Credentials,
    cas: Vec<Certificate>,
    allow: Vec<String>,
    /// The rules, and the state of the list that they are of: whoever knocks costs no reading of it.
    read: Mutex<Option<(Stamp, Arc<Rules>)>>,
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
        let cas = papers.cas.iter().map(|file| pem::certificates(file));
        let cas = cas.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        let (allow, read) = (papers.allow.clone(), Mutex::default());
        let own = Self { folder, credentials, cas, allow, read };
        own.rules()?;
        Ok(own)
    }

    /// What others are shown as its name.
    pub fn name(&self) -> String {
        self.credentials.certificate().device_name()
    }

    /// What it shows.
    pub fn certificate(&self) -> &Certificate {
        self.credentials.certificate()
    }

    /// Its key.
    pub fn id(&self) -> Id {
        self.credentials.certificate().id
    }

    /// Its name and words, to be found among others.
    pub(super) fn called(&self) -> String {
        format!("{}, {}", self.name(), self.id().words())
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
            Ok(()) => {
                let end = self.credentials.certificate().expiry()?;
                Some(format!(
                    "this device's certificate {end}; `transfer device --renew` renews it"
                ))
            }
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
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken before it is read: a change in between is seen the next time.
        let stamp = self.folder.stamp(store::FILE);
        if let (Some(stamp), Some((known, rules))) = (&stamp, &*read)
            && stamp == known
        {
            return Ok(Arc::clone(rules));
        }
        *read = None;
        let trusted = Trusted::load(&self.folder)?;
        let rules = Rules::new(trusted, self.cas.clone(), self.allow.clone(), tls::provider())?;
        *read = stamp.map(|stamp| (stamp, Arc::clone(&rules)));
        Ok(rules)
    }

    /// When the list was last changed.
    pub fn changed(&self) -> Option<SystemTime> {
        std::fs::metadata(self.folder.path(store::FILE)).ok()?.modified().ok()
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

/// How a device proves itself to a server.
pub fn prove(own: Arc<Own>) -> Box<Prove> {
    Box::new(move |stream, _| {
        let address = stream.peer_addr().map_err(|error| reason(&error))?.ip().to_canonical();
        let rules = own.rules().map_err(|error| error.message)?;
        let verifier = Verifier::new(rules, Expect::Anybody);
        let deadline = Instant::now() + HANDSHAKE_LIMIT;
        let cloned = stream.try_clone().map_err(|error| reason(&error))?;
        match tls::accept(cloned, &own.credentials, &verifier, deadline) {
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

    fn own(folder: &Folder) -> Own {
        Own {
            folder: folder.clone(),
            credentials: alone(&wish("attic", &[])),
            cas: vec![],
            allow: vec![],
            read: Mutex::default(),
        }
    }

    #[test]
    fn the_list_is_read_again_when_it_has_changed() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::new(scratch.path().join("own"));
        let own = own(&folder);
        let pin = |name: &str| {
            let device = alone(&wish(name, &[]));
            Trusted::change(&folder, |it| it.pin(name, device.certificate(), Via::Pair)).unwrap();
        };
        let grow_old = |days: u64| {
            let then = SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60);
            let file = File::options().write(true).open(folder.path(store::FILE)).unwrap();
            file.set_modified(then).unwrap();
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
