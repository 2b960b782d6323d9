//! A CA of one's own: made here, kept in `ca/`, and what it has issued. Whoever has its key can make
//! any device, so the folder is best kept on one machine.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use super::certificate::{Certificate, Id, Moment, San};
use super::credentials::cannot_make;
use super::device::{common_name, sans, serial};
use super::folder::{Access, Folder, Lock};
use super::{check_name, pem};
use crate::error::{Error, Result};

const KEY: &str = "ca.key";
const CERTIFICATE: &str = "ca.pem";
const ISSUED: &str = "issued.jsonl";

/// How long a CA lasts, in days.
const CA_DAYS: i64 = 3652;
/// How long the certificate of a device lasts, in days, unless something else is said.
pub const DEVICE_DAYS: u32 = 397;
/// Clocks that are a little behind take a new certificate all the same.
const CLOCKS: Duration = Duration::hours(1);

/// A CA with its key.
pub struct Authority {
    folder: Folder,
    /// Its certificate.
    pub certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// Whose certificate it is to be.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// Of a key that is made here.
    New,
    /// Of the key that a request (PKCS#10, PEM) shows to have.
    Request(&'a str),
}

/// What was issued.
#[derive(Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: Certificate,
    /// The key that was made for it, PKCS#8 PEM.
    pub key: Option<Zeroizing<String>>,
}

/// A line of the list of what was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Whose it is.
    pub name: String,
    /// Its key.
    pub id: Id,
    /// Hosts that it is for.
    pub hosts: Vec<String>,
    /// When it was issued.
    pub at: Timestamp,
    /// Until when it holds, in seconds since 1970.
    pub until: i64,
}

/// A request, if its key has signed it.
fn read_request(text: &str) -> Result<CertificateSigningRequestParams> {
    CertificateSigningRequestParams::from_pem(text).map_err(|_| {
        Error::usage("that is no request for a certificate that can be signed")
            .hint("`transfer device --csr` writes one; copy it whole")
    })
}

/// Where the CA of a device's folder is.
fn beneath(folder: &Folder) -> Folder {
    Folder::new(folder.path("ca"))
}

impl Authority {
    /// Makes a CA.
    ///
    /// # Errors
    /// When there is one already, or it cannot be written.
    pub fn make(folder: &Folder, name: &str) -> Result<Self> {
        check_name(name)?;
        let folder = beneath(folder);
        let lock = folder.lock()?;
        if let Some(there) = Self::certificate(&folder)? {
            return Err(Error::usage(format!("there is a CA already, \"{}\"", there.subject))
                .hint(format!(
                    "`transfer ca issue` uses it; another begins when \"{}\" is moved away",
                    folder.shown("")
                )));
        }
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
        let pair = pair.map_err(|error| cannot_make(&error))?;
        let now = OffsetDateTime::now_utc();
        let mut wish = CertificateParams::default();
        wish.distinguished_name = common_name(name);
        wish.not_before = now - CLOCKS;
        wish.not_after = now + Duration::days(CA_DAYS);
        wish.serial_number = Some(serial());
        wish.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        wish.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let made = wish.self_signed(&pair).map_err(|error| cannot_make(&error))?;
        let key = Zeroizing::new(pair.serialize_pem());
        folder.make(&lock, KEY, Access::Private, key.as_bytes())?;
        folder.make(&lock, CERTIFICATE, Access::Public, made.pem().as_bytes())?;
        drop(lock);
        Self::open(folder)
    }

    /// The one of this device's folder.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub fn load(folder: &Folder) -> Result<Self> {
        Self::open(beneath(folder))
    }

    /// Whether there is one.
    pub fn is_here(folder: &Folder) -> bool {
        beneath(folder).path(KEY).exists()
    }

    fn certificate(folder: &Folder) -> Result<Option<Certificate>> {
        let Some(text) = folder.read(CERTIFICATE, Access::Public)? else { return Ok(None) };
        Ok(pem::certificates_in(&text, &folder.shown(CERTIFICATE))?.into_iter().next())
    }

    fn open(folder: Folder) -> Result<Self> {
        let none = || {
            Error::usage("there is no CA on this device").hint(
                "`transfer ca init NAME` makes one; two machines alone need none: `transfer pair`",
            )
        };
        let certificate = Self::certificate(&folder)?.ok_or_else(none)?;
        let key = folder.read(KEY, Access::Private)?.ok_or_else(|| {
            Error::usage(format!("\"{}\" is missing", folder.shown(KEY)))
                .hint("put it back from where you keep it; without it nothing is issued")
        })?;
        let key = pem::key_in(&key, &folder.shown(KEY))?;
        if !certificate.is_ca {
            return Err(Error::usage(format!("\"{}\" is of no CA", folder.shown(CERTIFICATE)))
                .hint("put the certificate of the CA there"));
        }
        let pair = KeyPair::try_from(&key).map_err(|error| cannot_make(&error))?;
        let spki = rcgen::PublicKeyData::subject_public_key_info(&pair);
        if Id::of_key(&spki) != certificate.id {
            return Err(Error::usage(format!(
                "\"{}\" is of another key than the certificate beside it",
                folder.shown(KEY)
            ))
            .hint("two CAs were mixed up; put both files back from a copy"));
        }
        if certificate.until.from_now() < 0 {
            return Err(Error::usage(format!("the CA ended on {}", certificate.until))
                .hint("make another, and `transfer trust import` its ca.pem everywhere"));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate.der, pair);
        let issuer = issuer.map_err(|error| cannot_make(&error))?;
        Ok(Self { folder, certificate, issuer })
    }

    /// Issues a certificate for a device of this name and these hosts, and writes it down. It ends
    /// when the CA does, at the latest. What a request says beside its key does not count.
    ///
    /// # Errors
    /// When the name is none, or the request is damaged or not signed by its key.
    pub fn issue(
        &self,
        name: &str,
        hosts: &[San],
        days: u32,
        subject: Subject<'_>,
    ) -> Result<Issued> {
        self.issue_called(|| Ok((name.to_owned(), hosts.to_vec())), days, subject)
    }

    /// The same, where the name and the hosts depend on what was issued: nobody else issues anything between `choose`
    /// and that.
    ///
    /// # Errors
    /// That of `choose` as well.
    pub fn issue_called(
        &self,
        choose: impl FnOnce() -> Result<(String, Vec<San>)>,
        days: u32,
        subject: Subject<'_>,
    ) -> Result<Issued> {
        let lock = self.folder.lock()?;
        let (name, hosts) = choose()?;
        check_name(&name)?;
        let now = OffsetDateTime::now_utc();
        let end = OffsetDateTime::from_unix_timestamp(self.certificate.until.0);
        let end = end.unwrap_or(now + Duration::days(CA_DAYS));
        let mut wish = CertificateParams::default();
        wish.distinguished_name = common_name(&name);
        wish.subject_alt_names = sans(&hosts)?;
        wish.not_before = now - CLOCKS;
        wish.not_after = end.min(now + Duration::days(days.into()));
        wish.serial_number = Some(serial());
        wish.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        wish.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        wish.use_authority_key_identifier_extension = true;
        let (made, key) = match subject {
            Subject::New => {
                let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
                let pair = pair.map_err(|error| cannot_make(&error))?;
                let made = wish.signed_by(&pair, &self.issuer);
                (made, Some(Zeroizing::new(pair.serialize_pem())))
            }
            Subject::Request(text) => {
                let request = read_request(text)?;
                let request = CertificateSigningRequestParams {
                    params: wish,
                    public_key: request.public_key,
                };
                (request.signed_by(&self.issuer), None)
            }
        };
        let der = made.map_err(|error| cannot_make(&error))?.der().clone();
        let certificate = Certificate::parse(der)
            .map_err(|_| Error::failure("the certificate that was made cannot be read"))?;
        if let Some(problem) = certificate.key.problem() {
            return Err(Error::usage(format!("that request cannot be signed: {problem}"))
                .hint("`transfer device --csr` writes one that can"));
        }
        self.write_down(&lock, &certificate, &name)?;
        Ok(Issued { certificate, key })
    }

    /// The key of a request (PKCS#10, PEM), which has signed it.
    ///
    /// # Errors
    /// When it is damaged, or not signed by its key.
    pub fn key_of_request(text: &str) -> Result<Id> {
        let request = read_request(text)?;
        Ok(Id::of_key(&rcgen::PublicKeyData::subject_public_key_info(&request.public_key)))
    }

    /// Names and hosts of certificates that were issued to other keys than this one, in lower case: to whoever trusts
    /// this CA, they tell devices apart.
    ///
    /// # Errors
    /// When the list of what was issued cannot be read.
    pub fn of_others(&self, id: Id) -> Result<BTreeSet<String>> {
        let lines = self.issued()?.into_iter().filter(|line| line.id != id);
        let taken = lines.flat_map(|line| std::iter::once(line.name).chain(line.hosts));
        Ok(taken.map(|it| it.to_lowercase()).collect())
    }

    fn write_down(&self, lock: &Lock, certificate: &Certificate, name: &str) -> Result<()> {
        let mut lines = self.folder.read_text(ISSUED, Access::Private)?.unwrap_or_default();
        let line = Line {
            name: name.to_owned(),
            id: certificate.id,
            hosts: certificate.names.iter().map(San::to_string).collect(),
            at: Timestamp::now(),
            until: certificate.until.0,
        };
        // A line of texts and numbers has a form in JSON.
        lines += &serde_json::to_string(&line).unwrap_or_default();
        lines.push('\n');
        self.folder.replace(lock, ISSUED, Access::Private, lines.as_bytes())
    }

    /// What was issued, the oldest first.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn issued(&self) -> Result<Vec<Line>> {
        let lines = self.folder.read_text(ISSUED, Access::Private)?.unwrap_or_default();
        let lines = lines.lines().filter(|line| !line.trim().is_empty());
        lines.map(serde_json::from_str).collect::<Result<_, _>>().map_err(|_| {
            Error::usage(format!(
                "\"{}\" has a line that cannot be read",
                self.folder.shown(ISSUED)
            ))
            .hint("put it back from a copy, or take that line out")
        })
    }

    /// Whether it has signed a certificate, as far as names tell.
    pub fn has_issued(&self, certificate: &Certificate) -> bool {
        certificate.issuer == self.certificate.subject
    }
}

impl Line {
    /// Until when it holds.
    pub fn until(&self) -> Moment {
        Moment(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::credentials::Credentials;
    use crate::trust::device::{Device, hosts_of};

    #[test]
    fn a_ca_issues_and_remembers() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::new(scratch.path());
        assert!(Authority::load(&folder).is_err() && !Authority::is_here(&folder));
        let made = Authority::make(&folder, "home").unwrap();
        assert!(made.certificate.is_ca);
        let error = Authority::make(&folder, "other").err().unwrap();
        assert_eq!(error.message, "there is a CA already, \"home\"");

        let ca = Authority::load(&folder).unwrap();
        let issued = ca.issue("attic", &hosts_of("attic"), DEVICE_DAYS, Subject::New).unwrap();
        let key = pem::key_in(issued.key.unwrap().as_bytes(), "key").unwrap();
        assert_eq!(issued.certificate.hosts(), "attic, attic.local");
        assert_eq!(issued.certificate.issuer, "home");
        Credentials::new(vec![issued.certificate.clone()], &key, "a", "b").unwrap();

        // With a request the key never travels, and nothing but the key counts of it.
        let laptop = Device::load_or_make(&Folder::new(scratch.path().join("laptop"))).unwrap();
        let request = laptop.request(&hosts_of("bank.example")).unwrap();
        let signed =
            ca.issue("laptop", &hosts_of("laptop"), 10, Subject::Request(&request)).unwrap();
        assert!(signed.key.is_none());
        assert_eq!(signed.certificate.id, laptop.id());
        assert_eq!(Authority::key_of_request(&request).unwrap(), laptop.id());
        for (name, id, expected) in [
            ("laptop", laptop.id(), false),
            ("Laptop", issued.certificate.id, true),
            ("laptop.local", issued.certificate.id, true),
            ("phone", laptop.id(), false),
        ] {
            let of_others = ca.of_others(id).unwrap();
            assert_eq!(of_others.contains(&name.to_lowercase()), expected, "{name}");
        }
        assert_eq!(signed.certificate.hosts(), "laptop, laptop.local");
        assert!(signed.certificate.expiry().unwrap().starts_with("ends in "));

        // Another one for the same key has a number of its own.
        let again = ca.issue("laptop", &[], 10, Subject::Request(&request)).unwrap();
        assert_ne!(again.certificate.fingerprint, signed.certificate.fingerprint);
        let names: Vec<String> = ca.issued().unwrap().into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["attic", "laptop", "laptop"]);
        // Never longer than the CA itself.
        let long = ca.issue("old", &[], 100_000, Subject::New).unwrap();
        assert_eq!(long.certificate.until, ca.certificate.until);
        for damaged in ["", "x", &request.replace('A', "B")] {
            ca.issue("x", &[], 1, Subject::Request(damaged)).unwrap_err();
            Authority::key_of_request(damaged).unwrap_err();
        }
    }
}
