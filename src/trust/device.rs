//! This device: its key, made at first need and never replaced, and the certificates that show it.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use super::certificate::{Certificate, Id, San};
use super::credentials::{Credentials, cannot_make};
use super::folder::{Access, Folder, Lock};
use super::{is_name, pem};
use crate::error::{Error, Result};

/// The private key, PKCS#8.
pub const KEY: &str = "device.key";
/// Its own certificate, which nobody but itself has signed.
pub const OWN: &str = "device.pem";
/// Its certificate that a CA has signed, and those of CAs in between.
pub const SIGNED: &str = "device-ca.pem";

/// This device.
#[derive(Debug, Clone)]
pub struct Device {
    /// What others are shown as its name.
    pub name: String,
    /// Its own certificate, and the key.
    pub own: Credentials,
    /// The certificate that a CA has signed, if there is one.
    pub signed: Option<Credentials>,
}

impl Device {
    /// Reads it; nothing where it was never made.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::error::Exit::Usage) when a file is missing, damaged, of another key, or
    /// may be read by others.
    pub fn load(folder: &Folder) -> Result<Option<Self>> {
        let Some(key) = folder.read(KEY, Access::Private)? else {
            if folder.read(OWN, Access::Public)?.is_some() {
                return Err(Error::usage(format!(
                    "\"{}\" is missing, and the certificate beside it is there",
                    folder.shown(KEY)
                ))
                .hint(format!(
                    "put it back from a copy; or remove {OWN}, and this is another device, unknown \
                     to all others"
                )));
            }
            return Ok(None);
        };
        let key = pem::key_in(&key, &folder.shown(KEY))?;
        let load = |name: &str| {
            let Some(text) = folder.read(name, Access::Public)? else { return Ok(None) };
            let chain = pem::certificates_in(&text, &folder.shown(name))?;
            Credentials::new(chain, &key, &folder.shown(name), &folder.shown(KEY)).map(Some)
        };
        let own = match load(OWN)? {
            Some(own) => own,
            None => {
                let lock = folder.lock()?;
                // The run that made the key was killed before it came to this, or has done it now.
                if folder.read(OWN, Access::Public)?.is_none() {
                    let pair = KeyPair::try_from(&key).map_err(|error| cannot_make(&error))?;
                    write_own(folder, &lock, &pair, &host_name())?;
                }
                load(OWN)?.ok_or_else(|| Error::failure("the certificate is gone again"))?
            }
        };
        let name = own.certificate().device_name();
        Ok(Some(Self { name, own, signed: load(SIGNED)? }))
    }

    /// Reads it, or makes it.
    ///
    /// # Errors
    /// The same, or when it cannot be made.
    pub fn load_or_make(folder: &Folder) -> Result<Self> {
        if let Some(device) = Self::load(folder)? {
            return Ok(device);
        }
        let lock = folder.lock()?;
        // Somebody else may have been faster.
        if folder.read(KEY, Access::Private)?.is_none() {
            let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
            let pair = pair.map_err(|error| cannot_make(&error))?;
            let text = zeroize::Zeroizing::new(pair.serialize_pem());
            folder.make(&lock, KEY, Access::Private, text.as_bytes())?;
            write_own(folder, &lock, &pair, &host_name())?;
        }
        drop(lock);
        Self::load(folder)?.ok_or_else(|| Error::failure("the device's key is gone again"))
    }

    /// The key, for whoever puts it together with other certificates.
    pub fn private_key(&self) -> Arc<rustls::pki_types::PrivateKeyDer<'static>> {
        self.own.private_key()
    }

    /// Its identity.
    pub fn id(&self) -> Id {
        self.own.certificate().id
    }

    /// What it shows to whom it has accepted, or who asks it for an upload: the certificate of a CA,
    /// if there is one. A pin fits both.
    pub fn shows(&self) -> &Credentials {
        self.signed.as_ref().unwrap_or(&self.own)
    }

    /// The same, as TLS takes it.
    pub fn certified(&self) -> Arc<CertifiedKey> {
        self.shows().certified()
    }

    /// A request for a certificate of this key, to be signed by a CA elsewhere.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn request(&self, names: &[San]) -> Result<String> {
        let pair = self.own.key_pair()?;
        let mut wish = CertificateParams::default();
        wish.distinguished_name = common_name(&self.name);
        wish.subject_alt_names = sans(names)?;
        let made = wish.serialize_request(&pair).and_then(|request| request.pem());
        made.map_err(|error| cannot_make(&error))
    }

    /// The hosts that its certificate is for, or that its name gives.
    pub fn hosts(&self) -> Vec<San> {
        match &self.signed {
            Some(signed) => signed.certificate().names.clone(),
            None => hosts_of(&self.name),
        }
    }

    /// Takes a certificate that was installed away again, and puts the one before in its place, if there was one.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn put_back(&mut self, folder: &Folder, before: Option<Credentials>) -> Result<()> {
        match &before {
            Some(before) => {
                let chain = before.chain().to_vec();
                self.install(folder, chain, &folder.shown(SIGNED))?;
            }
            None => folder.remove(&folder.lock()?, SIGNED)?,
        }
        self.signed = before;
        Ok(())
    }

    /// Keeps a certificate that a CA has signed, in the place of the one before.
    ///
    /// # Errors
    /// When it is of another key, or no certificate for a device.
    pub fn install(&mut self, folder: &Folder, chain: Vec<Certificate>, from: &str) -> Result<()> {
        let text: String = chain.iter().map(Certificate::to_pem).collect();
        let lock = folder.lock()?;
        let key = self.own.private_key();
        let signed = Credentials::new(chain, &key, from, &folder.shown(KEY))?;
        folder.replace(&lock, SIGNED, Access::Public, text.as_bytes())?;
        self.signed = Some(signed);
        Ok(())
    }
}

fn write_own(folder: &Folder, lock: &Lock, pair: &KeyPair, name: &str) -> Result<()> {
    let mut wish = CertificateParams::default();
    wish.distinguished_name = common_name(name);
    wish.subject_alt_names = sans(&hosts_of(name))?;
    wish.not_before = rcgen::date_time_ymd(2000, 1, 1);
    // RFC 5280, 4.1.2.5: no well-defined end. A machine without a clock has to work.
    wish.not_after = OffsetDateTime::from_unix_timestamp(253_402_300_799)
        .unwrap_or_else(|_| rcgen::date_time_ymd(9999, 12, 31));
    wish.serial_number = Some(serial());
    wish.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    wish.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let made = wish.self_signed(pair).map_err(|error| cannot_make(&error))?;
    folder.make(lock, OWN, Access::Public, made.pem().as_bytes())
}

/// A random serial number of 16 bytes, positive as RFC 5280 wants it.
pub(super) fn serial() -> rcgen::SerialNumber {
    let mut bytes = [0u8; 16];
    rand::fill(&mut bytes);
    let [first, ..] = &mut bytes;
    *first = (*first & 0x3f) | 0x40;
    rcgen::SerialNumber::from_slice(&bytes)
}

pub(super) fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

pub(super) fn sans(names: &[San]) -> Result<Vec<SanType>> {
    let convert = |name: &San| match name {
        San::Ip(ip) => Ok(SanType::IpAddress(*ip)),
        San::Dns(name) => name.as_str().try_into().map(SanType::DnsName),
    };
    names.iter().map(convert).collect::<Result<_, _>>().map_err(|error| cannot_make(&error))
}

/// The hosts that a device of this name answers to: itself, and itself in mDNS.
pub fn hosts_of(name: &str) -> Vec<San> {
    let name = name.to_lowercase();
    let local = if name.contains('.') { None } else { Some(format!("{name}.local")) };
    std::iter::once(name).chain(local).filter_map(|name| San::parse(&name)).collect()
}

/// This machine's name, as far as the system tells one that a device can have.
pub fn host_name() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    label_of(&name)
}

/// The first label of a host's name. What is an address, as where a network calls its machines so, is no name.
fn label_of(host: &str) -> String {
    let label = host.split('.').next().filter(|label| is_name(label));
    let is_address = host.parse::<IpAddr>().is_ok();
    label.filter(|_| !is_address).unwrap_or("device").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_machine_is_called_by_its_first_label() {
        for (host, label) in [
            ("attic", "attic"),
            ("attic.example.org", "attic"),
            ("ip-10-0-0-1.internal", "ip-10-0-0-1"),
            ("192.168.1.5", "device"),
            ("fe80::1", "device"),
            ("", "device"),
        ] {
            assert_eq!(label_of(host), label, "{host}");
        }
    }

    #[test]
    fn a_device_is_made_once_and_stays_itself() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::new(scratch.path().join("own"));
        assert!(Device::load(&folder).unwrap().is_none());
        let made = Device::load_or_make(&folder).unwrap();
        let certificate = made.own.certificate();
        assert!(certificate.until.is_never() && certificate.expiry().is_none());
        assert!(!certificate.is_ca && certificate.is_self_issued);
        assert_eq!(certificate.version, 3);
        assert_eq!(Device::load_or_make(&folder).unwrap().id(), made.id());
        // A run that was killed between the two files.
        fs::remove_file(folder.path(OWN)).unwrap();
        assert_eq!(Device::load_or_make(&folder).unwrap().id(), made.id());
        // A key that is lost is not replaced in silence.
        fs::rename(folder.path(KEY), folder.path("away")).unwrap();
        let error = Device::load_or_make(&folder).unwrap_err();
        assert!(error.message.contains("is missing"), "{error}");
        fs::write(folder.path(KEY), "").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(folder.path(KEY), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let error = Device::load_or_make(&folder).unwrap_err();
        assert!(error.message.contains("holds no private key"), "{error}");
        assert_eq!(fs::read(folder.path(KEY)).unwrap(), b"");
    }

    #[test]
    fn a_key_of_another_certificate_is_told() {
        let scratch = tempfile::tempdir().unwrap();
        let one = Folder::new(scratch.path().join("one"));
        let two = Folder::new(scratch.path().join("two"));
        Device::load_or_make(&one).unwrap();
        Device::load_or_make(&two).unwrap();
        fs::copy(one.path(OWN), two.path(OWN)).unwrap();
        let error = Device::load(&two).unwrap_err();
        assert!(error.message.contains("is of another key"), "{error}");
    }

    #[test]
    fn two_runs_at_once_make_one_key() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::new(scratch.path().join("own"));
        let ids: Vec<Id> = std::thread::scope(|scope| {
            let made: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| Device::load_or_make(&folder).unwrap().id()))
                .collect();
            made.into_iter().map(|it| it.join().unwrap()).collect()
        });
        assert!(ids.windows(2).all(|two| two[0] == two[1]), "{ids:?}");
    }
}
