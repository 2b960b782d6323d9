//! The one place that decides whether a certificate is accepted, for both directions. In this order:
//!
//! 1. Its key was removed: refused, whatever else holds.
//! 2. Its key is pinned: accepted. Dates do not count, the signature over the handshake does.
//! 3. A CA that is known here has signed it: accepted if webpki finds chain, dates and usage right, and
//!    a server is the host that was dialled; and if its name is not known with another key.
//! 4. `--allow` narrows 2 and 3.
//!
//! What no rule accepts is refused.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};

use super::certificate::{Certificate, HASH_LEN, Id, Malformed};
use super::refusal::{Facts, Refusal, fingerprint};
use super::store::Trusted;
use crate::bounds::MAX_CHAIN;
use crate::error;

/// What is trusted, ready to decide; shared by all connections until it is read anew.
#[derive(Debug)]
pub struct Rules {
    trusted: Trusted,
    cas: Vec<Certificate>,
    allow: Vec<String>,
    client: Option<Arc<dyn ClientCertVerifier>>,
    server: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Rules {
    /// With what the store holds, and CAs that were named on the command line. `allow` has names and
    /// ids; empty, it narrows nothing.
    ///
    /// # Errors
    /// When a CA cannot be used.
    pub fn new(
        trusted: Trusted,
        more_cas: Vec<Certificate>,
        allow: Vec<String>,
        provider: Arc<CryptoProvider>,
    ) -> error::Result<Arc<Self>> {
        let mut cas = trusted.authorities();
        cas.extend(more_cas);
        let (mut client, mut server) = (None, None);
        if !cas.is_empty() {
            let unusable = |why: String| {
                error::Error::usage(format!("a CA's certificate cannot be used: {why}"))
                    .hint("`transfer trust list` names the CAs; remove that one, or issue it anew")
            };
            let mut roots = RootCertStore::empty();
            for ca in &cas {
                roots.add(ca.der.clone()).map_err(|error| unusable(error.to_string()))?;
            }
            let roots = Arc::new(roots);
            let built = WebPkiClientVerifier::builder_with_provider(
                Arc::clone(&roots),
                Arc::clone(&provider),
            )
            .build();
            client = Some(built.map_err(|error| unusable(error.to_string()))?);
            let built =
                WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
            server = Some(built.map_err(|error| unusable(error.to_string()))?);
        }
        Ok(Arc::new(Self { trusted, cas, allow, client, server, provider }))
    }

    /// The store that it was made of.
    pub fn trusted(&self) -> &Trusted {
        &self.trusted
    }

    /// The CAs whose devices are trusted.
    pub fn authorities(&self) -> impl Iterator<Item = &Certificate> {
        self.cas.iter()
    }

    /// Whether one of the CAs takes this device's own chain, as a client or as a server of one of its
    /// hosts: asked at start, and not by the first visitor.
    ///
    /// # Errors
    /// Why not.
    pub fn check_own(&self, chain: &[Certificate], as_server: bool) -> Result<(), Refusal> {
        let Some((own, others)) = chain.split_first() else { return Err(Refusal::Missing) };
        let others: Vec<_> = others.iter().map(|it| it.der.clone()).collect();
        let host = own.names.first().map(ToString::to_string);
        let asked = match (as_server, &host) {
            (false, _) => Asked::Client,
            (true, None) => {
                return Err(Refusal::OtherHost {
                    dialled: own.device_name(),
                    hosts: String::new(),
                });
            }
            (true, Some(host)) => Asked::Server(std::slice::from_ref(host)),
        };
        self.by_ca(own, &others, asked, UnixTime::now()).map_err(|refused| refused.0)
    }

    /// Whether one of the CAs has signed a chain, be it out of date by now.
    pub fn have_signed(&self, chain: &[Certificate]) -> bool {
        let Some((own, others)) = chain.split_first() else { return false };
        let others: Vec<_> = others.iter().map(|it| it.der.clone()).collect();
        let begun = Duration::from_secs(own.from.0.try_into().unwrap_or_default());
        let begun = UnixTime::since_unix_epoch(begun);
        self.by_ca(own, &others, Asked::Client, begun).is_ok()
    }

    /// Rule 3, short of the name.
    fn by_ca(
        &self,
        certificate: &Certificate,
        others: &[CertificateDer<'_>],
        asked: Asked<'_>,
        now: UnixTime,
    ) -> Result<(), Box<Refused>> {
        let refuse = |error: Error, asked: &Asked<'_>| {
            let error = match error {
                Error::InvalidCertificate(error) => error,
                _ => CertificateError::BadEncoding,
            };
            Box::new((self.refusal(certificate, others, asked, &error), error))
        };
        let unknown = || Error::from(CertificateError::UnknownIssuer);
        match &asked {
            Asked::Client => {
                let ca = self.client.as_ref().ok_or_else(|| refuse(unknown(), &asked))?;
                let verified = ca.verify_client_cert(&certificate.der, others, now);
                verified.map(drop).map_err(|error| refuse(error, &asked))
            }
            Asked::Server(hosts) => {
                let ca = self.server.as_ref().ok_or_else(|| refuse(unknown(), &asked))?;
                let mut last = CertificateError::NotValidForName.into();
                for host in *hosts {
                    let Ok(name) = ServerName::try_from(host.as_str()) else { continue };
                    match ca.verify_server_cert(&certificate.der, others, &name, &[], now) {
                        Ok(_) => return Ok(()),
                        Err(error) => last = error,
                    }
                }
                Err(refuse(last, &asked))
            }
        }
    }

    /// What webpki's error means to people.
    fn refusal(
        &self,
        certificate: &Certificate,
        others: &[CertificateDer<'_>],
        asked: &Asked<'_>,
        error: &CertificateError,
    ) -> Refusal {
        let facts = || Box::new(Facts::of(certificate));
        match error {
            CertificateError::UnknownIssuer if certificate.version < 3 => Refusal::Version,
            CertificateError::UnknownIssuer => Refusal::UnknownIssuer(facts()),
            CertificateError::BadSignature => {
                let is_namesake = |ca: &Certificate| ca.subject == certificate.issuer;
                let ours = self.cas.iter().find(|ca| is_namesake(ca));
                let sent =
                    others.iter().filter_map(|it| Certificate::parse(it.clone().into_owned()).ok());
                let theirs = sent.into_iter().find(is_namesake);
                Refusal::NamesakeIssuer {
                    facts: facts(),
                    ours: ours.map(|ca| fingerprint(&ca.fingerprint)).unwrap_or_default(),
                    theirs: theirs.map(|ca| fingerprint(&ca.fingerprint)),
                }
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Refusal::Expired { until: certificate.until }
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Refusal::NotYet { from: certificate.from }
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Refusal::OtherHost { dialled: asked.host(), hosts: certificate.hosts() }
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Refusal::Purpose { as_server: matches!(asked, Asked::Server(_)) }
            }
            CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
                match certificate.key.problem() {
                    Some(problem) => Refusal::Malformed(problem),
                    None => Refusal::Signature,
                }
            }
            _ if certificate.version < 3 => Refusal::Version,
            _ if certificate.is_ca => Refusal::Authority,
            other => Refusal::Malformed(other.to_string()),
        }
    }
}

/// Why, for people here, and what becomes the alert for the other side.
type Refused = (Refusal, CertificateError);

/// In which role a certificate is to be good.
#[derive(Debug, Clone, Copy)]
enum Asked<'a> {
    Client,
    /// For one of these hosts, the one that was typed or chosen first.
    Server(&'a [String]),
}

impl Asked<'_> {
    fn host(&self) -> String {
        match self {
            Self::Client => String::new(),
            Self::Server(hosts) => hosts.first().cloned().unwrap_or_default(),
        }
    }
}

/// Whom one connection is to lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Whoever is trusted: a server's visitors.
    Anybody,
    /// The device with this key and no other, no CA: who is pinned, or `--fingerprint`. What it is
    /// called.
    Key(String, Id),
    /// The device with this key, or this certificate, by its SHA-256: it was typed, and no list or CA
    /// matters but the one of who was removed.
    Fingerprint([u8; HASH_LEN]),
    /// A server that is trusted, whatever it is called: where a CA has to vouch for it, for one of the
    /// hosts that its certificate names.
    Server,
    /// The same, and the device with this key and no other: one that was chosen, or was there before. What it is
    /// called.
    Known(String, Id),
    /// A device that is trusted, and is one of these hosts where a CA has to vouch for it.
    Host(Vec<String>),
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What it is called here: the name given at pairing, else that in its certificate.
    pub name: String,
    /// Its key.
    pub id: Id,
    /// What it has shown.
    pub certificate: Certificate,
    /// What it has shown beside that: CAs in between.
    pub others: Vec<CertificateDer<'static>>,
    /// Whether its key is pinned; else a CA vouched for it.
    pub is_pinned: bool,
}

impl Peer {
    /// Whether a visitor that was let in once would be let in by these rules too.
    pub fn is_welcome(&self, rules: &Arc<Rules>) -> bool {
        let verifier = Verifier::new(Arc::clone(rules), Expect::Anybody);
        let now = UnixTime::now();
        verifier.judge(&self.certificate.der, &self.others, Asked::Client, now).is_ok()
    }
}

/// Decides for one connection, and remembers what it decided.
#[derive(Debug)]
pub struct Verifier {
    rules: Arc<Rules>,
    expect: Expect,
    /// Whether it looks at visitors; else at a server that was dialled.
    decided: Mutex<Option<Result<Peer, Refusal>>>,
}

impl Verifier {
    /// For one connection.
    pub fn new(rules: Arc<Rules>, expect: Expect) -> Arc<Self> {
        Arc::new(Self { rules, expect, decided: Mutex::new(None) })
    }

    /// What was decided; nothing if it never came to that.
    pub fn decided(&self) -> Option<Result<Peer, Refusal>> {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, decided: Result<Peer, Refusal>) {
        *self.decided.lock().unwrap_or_else(PoisonError::into_inner) = Some(decided);
    }

    /// The rules, from first to last.
    fn decide(
        &self,
        der: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        asked: Asked<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let decided = self.judge(der, others, asked, now);
        match decided {
            Ok(peer) => {
                self.note(Ok(peer));
                Ok(())
            }
            Err(refused) => {
                let (refusal, alert) = *refused;
                self.note(Err(refusal));
                Err(alert.into())
            }
        }
    }

    fn judge(
        &self,
        der: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        asked: Asked<'_>,
        now: UnixTime,
    ) -> Result<Peer, Box<Refused>> {
        let refuse =
            |refusal| Box::new((refusal, CertificateError::ApplicationVerificationFailure));
        let unusable = |refusal| Box::new((refusal, CertificateError::BadEncoding));
        let malformed = |why: &str| unusable(Refusal::Malformed(why.to_owned()));
        let damaged = |Malformed| malformed("it is damaged");
        if others.len() >= MAX_CHAIN {
            return Err(damaged(Malformed));
        }
        let certificate = Certificate::parse(der.clone().into_owned()).map_err(damaged)?;
        if certificate.version < 3 {
            return Err(unusable(Refusal::Version));
        }
        if let Some(problem) = certificate.key.problem() {
            return Err(malformed(&problem));
        }
        // As the signature over the handshake will be looked at: the key is that of one reader.
        let key = ParsedCertificate::try_from(der).map_err(|error| match error {
            Error::InvalidCertificate(error) => {
                Box::new((self.rules.refusal(&certificate, others, &asked, &error), error))
            }
            _ => damaged(Malformed),
        })?;
        let id = Id::of_key(&key.subject_public_key_info());
        if id != certificate.id {
            return Err(malformed("it is ambiguous"));
        }
        let trusted = &self.rules.trusted;
        if let Some(removed) = trusted.removal(&id) {
            let refusal = Refusal::Removed { name: removed.name.clone(), at: removed.at };
            return Err(Box::new((refusal, CertificateError::Revoked)));
        }
        let pinned = trusted.pinned(&id).map(|known| known.name.clone());
        let (name, is_pinned) = match (&self.expect, pinned) {
            (Expect::Key(name, expected), pinned) if id == *expected => {
                (pinned.unwrap_or_else(|| name.clone()), true)
            }
            (Expect::Known(name, expected), _) if id != *expected => {
                return Err(refuse(Refusal::OtherKey { name: name.clone() }));
            }
            (Expect::Key(name, _), _) => {
                return Err(refuse(Refusal::OtherKey { name: name.clone() }));
            }
            (Expect::Fingerprint(expected), pinned)
                if [id.0, certificate.fingerprint].contains(expected) =>
            {
                (pinned.unwrap_or_else(|| certificate.device_name()), true)
            }
            (Expect::Fingerprint(_), _) => {
                let shown = fingerprint(&certificate.fingerprint);
                return Err(refuse(Refusal::OtherFingerprint { shown }));
            }
            (_, Some(name)) => (name, true),
            (Expect::Anybody | Expect::Server | Expect::Known(..) | Expect::Host(_), None) => {
                self.rules.by_ca(&certificate, others, asked, now)?;
                let name = certificate.device_name();
                if trusted.key_of(&name).is_some_and(|known| known != id) {
                    return Err(refuse(Refusal::OtherKey { name }));
                }
                (name, false)
            }
        };
        let is_allowed = |allowed: &String| {
            allowed.to_lowercase() == name.to_lowercase() || Id::parse(allowed) == Some(id)
        };
        if !self.rules.allow.is_empty() && !self.rules.allow.iter().any(is_allowed) {
            return Err(refuse(Refusal::NotAllowed { name }));
        }
        let others = others.iter().map(|it| it.clone().into_owned()).collect();
        Ok(Peer { name, id, certificate, others, is_pinned })
    }
}

/// The hosts that a certificate is for.
fn hosts_of(der: &CertificateDer<'_>) -> Vec<String> {
    let certificate = Certificate::parse(der.clone().into_owned());
    certificate
        .map_or_else(|Malformed| vec![], |it| it.names.iter().map(ToString::to_string).collect())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let hosts = match &self.expect {
            Expect::Host(hosts) => hosts.clone(),
            Expect::Server | Expect::Known(..) => hosts_of(end_entity),
            Expect::Anybody | Expect::Key(..) | Expect::Fingerprint(_) => vec![],
        };
        self.decide(end_entity, intermediates, Asked::Server(&hosts), now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(rustls::PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.rules.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.rules.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    /// Strangers are not told which CAs are known here.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.decide(end_entity, intermediates, Asked::Client, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}

#[cfg(test)]
mod tests;
