//! A certificate that the relay gets from a CA by itself, and renews: ACME (RFC 8555). To see whose the name is the
//! CA connects to the relay's own port (RFC 8737), so nothing else has to listen. What it gives is kept in a file,
//! which is served like one that somebody has put there.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use async_trait::async_trait;
use iroh_relay::tls::CaTlsConfig;
use n0_future::StreamExt;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use serde::Deserialize;
use tokio::time::sleep;
use tokio_rustls_acme::acme::{ACME_TLS_ALPN_NAME, AcmeError};
use tokio_rustls_acme::{
    AccountCache, AcmeConfig, AcmeState, CertCache, EventError, EventOk, OrderError,
};

use super::certificate::tls;
use super::options::Acme;
use crate::error::{Error, Result, shown, shown_claim};
use crate::trust::folder::{Access, Folder};
use crate::trust::{armor, pem};

/// The pause after the first failure: Let's Encrypt takes five failures an hour.
const FIRST: Duration = Duration::from_secs(5 * 60);
/// The longest.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// The account's key.
const ACCOUNT: &str = "account.key";

/// Asks for certificates.
pub struct Applicant {
    state: AcmeState<Error>,
    failures: SyncSender<String>,
    /// Whom it asks, and for what.
    names: [String; 2],
}

impl Applicant {
    /// Who asks; where what it gets is kept, the key and the certificates in one file; and why it got none,
    /// each time.
    ///
    /// # Errors
    /// The user has no home, or what the CA itself is verified with cannot be used.
    pub fn new(wanted: &Acme) -> Result<(Self, PathBuf, Receiver<String>)> {
        let ca = wanted.directory.host().unwrap_or_default().to_owned();
        let roots = match &wanted.roots {
            None => CaTlsConfig::embedded(),
            Some(file) => {
                CaTlsConfig::custom_roots(pem::certificates(file)?.into_iter().map(|it| it.der))
            }
        };
        let client = roots.client_config(Arc::new(default_provider())).map_err(|error| {
            Error::usage(format!(
                "the CA of --acme-ca cannot be used: {}",
                shown(&error.to_string())
            ))
        })?;
        // One CA's is not another's.
        let place = wanted.directory.port().map_or(ca.clone(), |port| format!("{ca}-{port}"));
        let (failures, told) = sync_channel(1);
        let folder = Folder::new(Folder::of_user()?.path("relay").join(place));
        let kept = Kept { folder, failures: failures.clone() };
        // What could not be kept would be asked for again at each start.
        drop(kept.folder.lock()?);
        let file = kept.folder.path(&certificate_of(&wanted.domain));
        let contact = wanted.contact.iter().map(|address| format!("mailto:{address}"));
        let state = AcmeConfig::new_with_client_tls_config([&wanted.domain], Arc::new(client))
            .directory(wanted.directory.to_string())
            .contact(contact)
            .cache(kept)
            .state();
        Ok((Self { state, failures, names: [ca, wanted.domain.clone()] }, file, told))
    }

    /// TLS for the CA when it looks whose the name is, and for nothing else.
    ///
    /// # Errors
    /// The cryptography does not fit, which is a fault of this program.
    pub fn challenge(&self) -> Result<Arc<ServerConfig>> {
        let mut config = tls(self.state.resolver())?;
        config.alpn_protocols.push(ACME_TLS_ALPN_NAME.to_vec());
        Ok(Arc::new(config))
    }

    /// Gets a certificate if there is none, and another whenever a third of its time is left, for ever.
    pub async fn apply(mut self) {
        let [ca, domain] = &self.names;
        let (mut pause, mut rest) = (Pause::default(), Duration::from_secs(1));
        while let Some(event) = self.state.next().await {
            let error = match event {
                Ok(EventOk::CertCacheStore) => {
                    // Where this clock is wrong each has ended when it comes, and another would be asked for at once.
                    pause = Pause::default();
                    sleep(rest).await;
                    rest = (rest * 2).min(LONGEST);
                    continue;
                }
                Ok(_) => continue,
                Err(error) => error,
            };
            let again = matches!(error, EventError::Order(_) | EventError::NewCertParse(_));
            let (what, advice) = why(&error);
            let said = match again {
                true => format!(
                    "no certificate for {domain} from {ca}: {what}; {advice}it is asked again in {} minutes",
                    pause.minutes()
                ),
                false => what,
            };
            // If the one before was not read yet, that will do.
            let _ = self.failures.try_send(said);
            if again {
                pause.rest().await;
            }
        }
    }
}

/// Longer after each failure.
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Pause {
    fn minutes(&self) -> u64 {
        self.0.as_secs() / 60
    }

    async fn rest(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST);
    }
}

impl fmt::Display for Applicant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [ca, domain] = &self.names;
        write!(f, "certificates for {domain} come from {ca}; running this accepts its terms")
    }
}

/// Whether a client asks as nobody but a CA does that looks whose a name is.
pub fn is_challenge<'a>(mut protocols: impl Iterator<Item = &'a [u8]>) -> bool {
    protocols.next() == Some(ACME_TLS_ALPN_NAME) && protocols.next().is_none()
}

/// What whoever has the name can do where the CA does not get to this machine.
const REACH: &str = "does its TCP port 443 lead here, past router and firewall? ";
/// The same where its certificate is of nobody that is known.
const ROOTS: &str = "`--acme-ca FILE` names what a CA of one's own is verified with; ";

/// In words that are safe to show, and what to look at.
fn why(error: &EventError<Error, Error>) -> (String, &'static str) {
    let order = match error {
        EventError::CertCacheLoad(error)
        | EventError::CertCacheStore(error)
        | EventError::AccountCacheLoad(error)
        | EventError::AccountCacheStore(error) => return (error.to_string(), ""),
        EventError::CachedCertParse(error) => {
            let what = shown_claim(&error.to_string());
            return (format!("the certificate that was kept cannot be used: {what}"), "");
        }
        EventError::NewCertParse(error) => {
            let what = shown_claim(&error.to_string());
            return (format!("what it gave cannot be used: {what}"), "");
        }
        EventError::Order(order) => order,
    };
    let advice = match order {
        OrderError::BadAuth(_) | OrderError::TooManyAttemptsAuth(_) => REACH,
        OrderError::Acme(AcmeError::HttpRequest(error)) if is_unknown(&error.to_string()) => ROOTS,
        _ => "",
    };
    let problem = match order {
        OrderError::BadAuth(auth) => {
            let tried = auth.challenges.iter().find_map(|it| it.error.as_ref());
            let detail = tried.and_then(|it| it.detail.clone());
            detail.unwrap_or_else(|| "it could not see that the name is this machine's".into())
        }
        OrderError::BadOrder(order) => {
            let detail = order.error.as_ref().and_then(|it| it.detail.clone());
            detail.unwrap_or_else(|| "it refuses, and does not say why".into())
        }
        OrderError::TooManyAttemptsAuth(_) => "it has not looked at this machine".into(),
        OrderError::ProcessingTimeout(_) => "it did not finish".into(),
        OrderError::Acme(AcmeError::HttpRequest(error)) => said(&error.to_string()),
        OrderError::Acme(AcmeError::NoTlsAlpn01Challenge) => {
            "it does not look by TLS (tls-alpn-01) whose a name is".into()
        }
        other => other.to_string(),
    };
    (shown_claim(&problem), advice)
}

/// Whether a request failed as nobody here vouches for the CA's own certificate: not if that has ended, or is for
/// another host.
fn is_unknown(text: &str) -> bool {
    // One that has the name of a CA that is known, and another key, is told by its signature.
    text.contains("UnknownIssuer") || text.contains("BadSignature")
}

/// What a failed request tells. Its type cannot be named, so its text is looked into: the CA's answer, quoted, or
/// that of the system.
fn said(text: &str) -> String {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    let quoted = text.find('"').and_then(|at| text.get(at..));
    let body = quoted.and_then(|it| serde_json::from_str::<String>(it).ok());
    if let Some(problem) = body.and_then(|it| serde_json::from_str::<Problem>(&it).ok()) {
        return problem.detail;
    }
    let message = text.split_once("message: \"").and_then(|(_, rest)| rest.split_once('"'));
    match message {
        Some((message, _)) => format!("it cannot be reached: {}", message.to_lowercase()),
        None if text.contains("InvalidCertificate") => "its own certificate is not valid".into(),
        None if text.contains("dns error") => {
            "no address of it is known: is this machine on line?".into()
        }
        // What follows is for those who write the program.
        None if text.contains("reqwest::Error") => "it cannot be reached".into(),
        None => text.to_owned(),
    }
}

/// The key and the certificates of a name.
fn certificate_of(domain: &str) -> String {
    format!("{domain}.pem")
}

/// What is kept of one CA.
struct Kept {
    folder: Folder,
    failures: SyncSender<String>,
}

impl Kept {
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let lock = self.folder.lock()?;
        self.folder.replace(&lock, name, Access::Private, bytes)
    }
}

#[async_trait]
impl CertCache for Kept {
    type EC = Error;

    async fn load_cert(&self, domains: &[String], _: &str) -> Result<Option<Vec<u8>>> {
        self.folder.read(&certificate_of(&domains.concat()), Access::Private)
    }

    async fn store_cert(&self, domains: &[String], _: &str, pem: &[u8]) -> Result<()> {
        // It is served from there, and was asked for once: a disk that is full now need not be so for long.
        let mut pause = Pause::default();
        while let Err(error) = self.replace(&certificate_of(&domains.concat()), pem) {
            let minutes = pause.minutes();
            let _ =
                self.failures.try_send(format!("{error}; it is tried again in {minutes} minutes"));
            pause.rest().await;
        }
        Ok(())
    }
}

#[async_trait]
impl AccountCache for Kept {
    type EA = Error;

    async fn load_account(&self, _: &[String], _: &str) -> Result<Option<Vec<u8>>> {
        let Some(text) = self.folder.read(ACCOUNT, Access::Private)? else { return Ok(None) };
        let key = pem::key_in(&text, &self.folder.shown(ACCOUNT))?;
        Ok(Some(key.secret_der().to_vec()))
    }

    async fn store_account(&self, _: &[String], _: &str, key: &[u8]) -> Result<()> {
        self.replace(ACCOUNT, armor::encode("PRIVATE KEY", key).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_ca_asks_for_the_challenge() {
        for (protocols, expected) in [
            (&["acme-tls/1"][..], true),
            (&["acme-tls/1", "http/1.1"], false),
            (&["http/1.1", "acme-tls/1"], false),
            (&["http/1.1"], false),
            (&[], false),
        ] {
            let asked = protocols.iter().map(|it| it.as_bytes());
            assert_eq!(is_challenge(asked), expected, "{protocols:?}");
        }
    }

    #[test]
    fn whose_certificate_is_unknown() {
        for (why, expected) in [
            ("UnknownIssuer", true),
            ("BadSignature", true),
            ("Expired", false),
            ("NotValidForNameContext { expected: DnsName(ca) }", false),
        ] {
            let text = format!("http error: E(InvalidCertificate({why}))");
            assert_eq!(
                (is_unknown(&text), &*said(&text)),
                (expected, "its own certificate is not valid")
            );
        }
    }

    #[test]
    fn what_a_failed_request_tells() {
        let answer =
            r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many \"relay\""}"#;
        for (text, expected) in [
            (format!("non 2xx http status: 429 {answer:?}"), "too many \"relay\""),
            (
                r#"http error: E { source: Os { code: 111, message: "Connection refused" } }"#
                    .into(),
                "it cannot be reached: connection refused",
            ),
            (
                "http error: E(InvalidCertificate(UnknownIssuer))".into(),
                "its own certificate is not valid",
            ),
            (
                r#"http error: reqwest::Error { kind: Request, source: hyper_util::client::legacy::Error(Connect, ConnectError("dns error", DnsError { inner: Custom"#.into(),
                "no address of it is known: is this machine on line?",
            ),
            (
                "http error: reqwest::Error { kind: Request, source: TimedOut }".into(),
                "it cannot be reached",
            ),
            (r#"non 2xx http status: 500 "<html>""#.into(), r#"non 2xx http status: 500 "<html>""#),
        ] {
            assert_eq!(said(&text), expected);
        }
    }
}
