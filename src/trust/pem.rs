//! Reading PEM files (RFC 7468), ours and OpenSSL's: certificates and keys. What is in them that does not
//! work is said by its name, with the command that mends it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::certificate::Certificate;
use super::folder::check_private;
use crate::bounds::{MAX_CHAIN, MAX_PEM};
use crate::error::{Error, Result, reason, shown};

/// A file's bytes and its name for people.
struct Source<'a> {
    bytes: &'a [u8],
    name: &'a str,
}

/// Reads the certificates of a file, its own first.
///
/// # Errors
/// [`Exit::Usage`](crate::error::Exit::Usage) with what is there instead.
pub fn certificates(path: &Path) -> Result<Vec<Certificate>> {
    certificates_in(&read(path, false)?, &path.to_string_lossy())
}

/// Reads the private key of a file that nobody else may read.
///
/// # Errors
/// The same.
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    key_in(&read(path, true)?, &path.to_string_lossy())
}

/// The certificates in `bytes`, which are of the file `name`.
///
/// # Errors
/// As [`certificates`].
pub fn certificates_in(bytes: &[u8], name: &str) -> Result<Vec<Certificate>> {
    let source = Source { bytes, name };
    let mut found = vec![];
    for section in CertificateDer::pem_slice_iter(bytes) {
        let der = section.map_err(|_| source.damaged("certificate"))?;
        found.push(Certificate::parse(der).map_err(|_| source.damaged("certificate"))?);
        if found.len() > MAX_CHAIN {
            return Err(source
                .error(format!("has more than {MAX_CHAIN} certificates"))
                .hint("its own and those that signed it are enough"));
        }
    }
    if found.is_empty() {
        return Err(source.holds_no("certificate"));
    }
    Ok(found)
}

/// The private key in `bytes`, which are of the file `name`.
///
/// # Errors
/// As [`key`].
pub fn key_in(bytes: &[u8], name: &str) -> Result<PrivateKeyDer<'static>> {
    let source = Source { bytes, name };
    let text = String::from_utf8_lossy(bytes);
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("4,ENCRYPTED") {
        return Err(source
            .error("is encrypted with a password, and nobody is there to type it".into())
            .hint(match cfg!(unix) {
                true => {
                    "`openssl pkey -in KEY -out NEW` takes the password off; then `chmod 600 NEW`"
                }
                false => "`openssl pkey -in KEY -out NEW` takes the password off",
            }));
    }
    match PrivateKeyDer::pem_slice_iter(bytes).next() {
        Some(Ok(key)) => Ok(key),
        Some(Err(_)) => Err(source.damaged("private key")),
        None => Err(source.holds_no("private key")),
    }
}

impl Source<'_> {
    fn error(&self, what: String) -> Error {
        Error::usage(format!("\"{}\" {what}", shown(self.name)))
    }

    fn damaged(&self, what: &str) -> Error {
        self.error(format!("holds a {what} that cannot be read"))
            .hint("it was cut or changed; copy it again")
    }

    /// What is in a file that has not what was looked for.
    fn holds_no(&self, wanted: &str) -> Error {
        let is_der = matches!(self.bytes, [0x30, 0x80..=0x84, ..]);
        let kind = <(SectionKind, Vec<u8>)>::pem_slice_iter(self.bytes).find_map(Result::ok);
        let found = match kind.map(|(kind, _)| kind) {
            Some(SectionKind::Certificate) => "a certificate",
            Some(SectionKind::Csr) => "a request for a certificate",
            Some(SectionKind::PublicKey) => "a public key",
            Some(
                SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey,
            ) => "a private key",
            _ if is_der => {
                return self
                    .error(format!("is DER or PKCS#12, and no PEM file with a {wanted}"))
                    .hint(
                        "`openssl x509 -inform der -in FILE` or `openssl pkcs12 -in FILE -nodes` \
                     write it as PEM",
                    );
            }
            _ => {
                return self.error(format!("holds no {wanted}")).hint(format!(
                    "a PEM file begins with -----BEGIN {}-----",
                    wanted.to_uppercase()
                ));
            }
        };
        self.error(format!("holds {found} and no {wanted}")).hint("were two files mixed up?")
    }
}

/// Reads a file, or its beginning: what is longer than any of these files is none of them. A secret
/// nobody else may be able to read.
///
/// # Errors
/// [`Exit::Usage`](crate::error::Exit::Usage), naming the file.
pub fn read(path: &Path, is_secret: bool) -> Result<Vec<u8>> {
    let cannot = |error: std::io::Error| {
        let name = path.to_string_lossy();
        Error::usage(format!("cannot read \"{}\": {}", shown(&name), reason(&error)))
            .hint("is the name right, and may you read it?")
    };
    let file = File::open(path).map_err(cannot)?;
    if is_secret {
        check_private(&file, path)?;
    }
    let mut bytes = vec![];
    file.take(MAX_PEM).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::armor::encode;

    fn section(tag: &str) -> Vec<u8> {
        encode(tag, b"0123456789").into_bytes()
    }

    #[test]
    fn what_is_no_key_is_told_by_its_name() {
        for (bytes, part) in [
            (section("ENCRYPTED PRIVATE KEY"), "is encrypted with a password"),
            (
                b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA \
                  PRIVATE KEY-----\n"
                    .to_vec(),
                "is encrypted with a password",
            ),
            (section("CERTIFICATE"), "holds a certificate and no private key"),
            (
                section("CERTIFICATE REQUEST"),
                "holds a request for a certificate and no private key",
            ),
            (section("PUBLIC KEY"), "holds a public key and no private key"),
            (b"\x30\x82\x01\x02".to_vec(), "is DER or PKCS#12"),
            (b"hello".to_vec(), "holds no private key"),
            (vec![], "holds no private key"),
            (
                b"-----BEGIN PRIVATE KEY-----\n!!\n-----END PRIVATE KEY-----\n".to_vec(),
                "cannot be read",
            ),
        ] {
            let error = key_in(&bytes, "device.key").unwrap_err();
            assert!(error.message.contains(part), "{error}: {part}");
            assert!(error.hint.is_some() && error.message.starts_with("\"device.key\" "));
        }
    }

    #[test]
    fn what_is_no_certificate_is_told_by_its_name() {
        for (bytes, part) in [
            (section("PRIVATE KEY"), "holds a private key and no certificate"),
            (section("CERTIFICATE"), "holds a certificate that cannot be read"),
            (b"hello".to_vec(), "holds no certificate"),
        ] {
            let error = certificates_in(&bytes, "x").unwrap_err();
            assert!(error.message.contains(part), "{error}: {part}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = key_in(&bytes, "x");
            let _ = certificates_in(&bytes, "x");
            let _ = certificates_in(encode("CERTIFICATE", &bytes).as_bytes(), "x");
        }
    }
}
