//! A key and the certificates that show it, checked when they are loaded and not at the first
//! visitor.

use std::path::Path;
use std::sync::Arc;

use rcgen::KeyPair;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::{CertifiedKey, SigningKey};

use super::certificate::Certificate;
use super::pem;
use crate::error::{Error, Result, shown};

/// A key that fits its certificates.
#[derive(Debug, Clone)]
pub struct Credentials {
    certificate: Certificate,
    chain: Vec<Certificate>,
    key: Arc<PrivateKeyDer<'static>>,
    signing: Arc<dyn SigningKey>,
}

impl Credentials {
    /// Reads them from the files of `--cert` and `--key`.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::error::Exit::Usage) with what does not work and the command that
    /// mends it.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self> {
        let names = [certificate.to_string_lossy(), key.to_string_lossy()];
        let [certificate_name, key_name] = &names;
        let chain = pem::certificates(certificate)?;
        Self::new(chain, &pem::key(key)?, certificate_name, key_name)
    }

    /// Puts them together. The names are those of the files.
    ///
    /// # Errors
    /// As [`Credentials::load`].
    pub fn new(
        chain: Vec<Certificate>,
        key: &PrivateKeyDer<'static>,
        certificate_name: &str,
        key_name: &str,
    ) -> Result<Self> {
        let file = format!("\"{}\"", shown(certificate_name));
        let certificate = chain.first().cloned().ok_or_else(|| {
            Error::usage(format!("{file} holds no certificate")).hint("is it the right file?")
        })?;
        if certificate.version < 3 {
            return Err(old_version(&file));
        }
        if certificate.is_ca {
            return Err(Error::usage(format!(
                "{file} is the certificate of a CA, which no machine shows"
            ))
            .hint(
                "show one that it has signed; a CA of your own does that by `transfer ca issue`",
            ));
        }
        if let Some(problem) = certificate.key.problem() {
            return Err(Error::usage(format!("{file} cannot be used: {problem}"))
                .hint("make another: `openssl ecparam -name prime256v1 -genkey -noout -out KEY`"));
        }
        let signing = rustls::crypto::ring::sign::any_supported_type(key).map_err(|_| {
            Error::usage(format!("\"{}\" cannot be used: {}", shown(key_name), kind_of(key)))
                .hint("make another: `openssl ecparam -name prime256v1 -genkey -noout -out KEY`")
        })?;
        let both = CertifiedKey::new(vec![certificate.der.clone()], Arc::clone(&signing));
        if both.keys_match().is_err() {
            return Err(Error::usage(format!(
                "{file} is of another key than \"{}\"",
                shown(key_name)
            ))
            .hint("two files were mixed up, or the certificate was made for an older key"));
        }
        Ok(Self { certificate, chain, key: Arc::new(key.clone_key()), signing })
    }

    /// Its own certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// That and those of CAs in between.
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// As TLS takes them.
    pub fn certified(&self) -> Arc<CertifiedKey> {
        let chain = self.chain.iter().map(|it| it.der.clone()).collect();
        Arc::new(CertifiedKey::new(chain, Arc::clone(&self.signing)))
    }

    pub(super) fn private_key(&self) -> Arc<PrivateKeyDer<'static>> {
        Arc::clone(&self.key)
    }

    /// As requests for certificates are signed.
    pub(super) fn key_pair(&self) -> Result<KeyPair> {
        KeyPair::try_from(&*self.key).map_err(|error| cannot_make(&error))
    }
}

/// What to say where none could be made or signed.
pub(super) fn cannot_make(error: &rcgen::Error) -> Error {
    Error::failure(format!("cannot make a certificate: {error}"))
        .hint("if the key is one of OpenSSL's: `openssl pkcs8 -topk8 -nodes -in KEY -out NEW`")
}

/// What to say of a certificate of version 1: `file` is its name in quotes.
pub(super) fn old_version(file: &str) -> Error {
    Error::usage(format!(
        "{file} is a certificate of version 1, which nobody can verify the hosts of"
    ))
    .hint(
        "issue it anew: `openssl x509 -req ... -extfile san.cnf`, with the line \
         subjectAltName=DNS:attic.local,IP:192.168.1.9 in san.cnf",
    )
}

/// Why a key does not work, as far as its bytes tell.
fn kind_of(key: &PrivateKeyDer<'_>) -> String {
    // The curve's name (RFC 5480) stands in PKCS#8 and SEC 1 alike.
    const CURVES: [(&[u8], &str); 3] = [
        (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23], "P-521"),
        (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a], "secp256k1"),
        (&[0x06, 0x03, 0x2b, 0x65, 0x71], "Ed448"),
    ];
    // rsaEncryption (RFC 8017).
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    let der = key.secret_der();
    let has = |bytes: &[u8]| der.windows(bytes.len()).any(|it| it == bytes);
    let understood = "P-256, P-384, Ed25519 and RSA of 2048 to 4096 bits are understood";
    if let Some((_, name)) = CURVES.iter().find(|(oid, _)| has(oid)) {
        return format!("it is a key of {name}; {understood}");
    }
    if matches!(key, PrivateKeyDer::Pkcs1(_)) || has(RSA) {
        return "it is an RSA key of fewer than 2048 or more than 4096 bits".into();
    }
    format!("it is no key that is understood; {understood}")
}
