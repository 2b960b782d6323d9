//! The relay's certificate, which is renewed while it runs: the files are looked at again and again, and a
//! certificate that cannot be used does not replace one that can.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::error::{Error, Result, shown_os};
use crate::trust::credentials::Credentials;

/// What is shown to whoever connects.
#[derive(Debug)]
pub struct Own {
    certificate: PathBuf,
    key: PathBuf,
    /// Nothing before a CA has given it.
    shown: Mutex<Option<Credentials>>,
    /// As the files were when they were last looked at.
    stamps: Mutex<[Option<(SystemTime, u64)>; 2]>,
}

impl Own {
    /// Loads both files.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::error::Exit::Usage) with what is wrong with them.
    pub fn load(certificate: &Path, key: &Path) -> Result<Arc<Self>> {
        let stamps = Mutex::new([stamp(certificate), stamp(key)]);
        let shown = Mutex::new(Some(usable(certificate, key)?));
        Ok(Arc::new(Self { certificate: certificate.into(), key: key.into(), shown, stamps }))
    }

    /// From a file with both, which may be there only later; it is loaded by [`Own::renew`].
    pub fn awaited(file: &Path) -> Arc<Self> {
        let shown = Mutex::new(None);
        let stamps = Mutex::new([None, None]);
        Arc::new(Self { certificate: file.into(), key: file.into(), shown, stamps })
    }

    /// What is shown now.
    pub fn shown(&self) -> MutexGuard<'_, Option<Credentials>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads them again if they have changed. Returns whether they were; if they cannot be used, what was
    /// shown before stays.
    ///
    /// # Errors
    /// As [`Own::load`], once for each change.
    pub fn renew(&self) -> Result<bool> {
        let now = [stamp(&self.certificate), stamp(&self.key)];
        {
            let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
            if *stamps == now {
                return Ok(false);
            }
            *stamps = now;
        }
        *self.shown() = Some(usable(&self.certificate, &self.key)?);
        Ok(true)
    }

    /// TLS 1.3 with it.
    ///
    /// # Errors
    /// The cryptography does not fit, which is a fault of this program.
    pub fn config(self: &Arc<Self>) -> Result<ServerConfig> {
        tls(Arc::<Self>::clone(self))
    }
}

/// TLS 1.3 with what `resolver` gives.
///
/// # Errors
/// The cryptography does not fit, which is a fault of this program.
pub fn tls(resolver: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Error::failure(format!("no cryptography for TLS: {error}")))?;
    Ok(config.with_no_client_auth().with_cert_resolver(resolver))
}

impl ResolvesServerCert for Own {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.shown().as_ref().map(Credentials::certified)
    }
}

/// What can be shown: it fits together, names a host, and has not ended.
fn usable(certificate: &Path, key: &Path) -> Result<Credentials> {
    let credentials = Credentials::load(certificate, key)?;
    let own = credentials.certificate();
    if own.names.is_empty() {
        return Err(Error::usage(format!("\"{}\" names no host", shown_os(certificate)))
            .hint("clients look for the relay's host among its subjectAltName entries"));
    }
    if own.until.from_now() < 0 {
        let message = format!("\"{}\" has ended: {}", shown_os(certificate), own.until);
        return Err(Error::usage(message).hint("renew it; is this machine's clock right?"));
    }
    Ok(credentials)
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}
