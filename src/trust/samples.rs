//! Certificates of every kind, for tests.

#![allow(missing_docs, reason = "the names say it")]

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::PrivateKeyDer;
use time::{Duration, OffsetDateTime};

use super::certificate::{Certificate, San};
use super::credentials::Credentials;
use super::device::{common_name, sans, serial};

/// A CA.
pub struct Ca {
    pub certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate is to say.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    pub name: &'a str,
    pub hosts: &'a [&'a str],
    /// Hours from now.
    pub from: i64,
    pub to: i64,
    pub usages: &'a [ExtendedKeyUsagePurpose],
}

pub fn wish<'a>(name: &'a str, hosts: &'a [&'a str]) -> Wish<'a> {
    Wish { name, hosts, from: -1, to: 24, usages: &[] }
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        let certificate = Certificate::parse(made.der().clone()).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub fn issue(&self, wish: &Wish<'_>) -> Credentials {
        let key = KeyPair::generate().unwrap();
        let made = params(wish).signed_by(&key, &self.issuer).unwrap();
        credentials(made, &key)
    }
}

/// One that nobody but itself has signed.
pub fn alone(wish: &Wish<'_>) -> Credentials {
    let key = KeyPair::generate().unwrap();
    credentials(params(wish).self_signed(&key).unwrap(), &key)
}

fn params(wish: &Wish<'_>) -> CertificateParams {
    let hosts: Vec<San> = wish.hosts.iter().map(|host| San::parse(host).unwrap()).collect();
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(wish.name);
    params.subject_alt_names = sans(&hosts).unwrap();
    params.not_before = now + Duration::hours(wish.from);
    params.not_after = now + Duration::hours(wish.to);
    params.serial_number = Some(serial());
    params.extended_key_usages = wish.usages.to_vec();
    params
}

fn credentials(made: rcgen::Certificate, key: &KeyPair) -> Credentials {
    let certificate = Certificate::parse(made.der().clone()).unwrap();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    Credentials::new(vec![certificate], &key, "certificate", "key").unwrap()
}
