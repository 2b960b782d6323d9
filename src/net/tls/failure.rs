//! Why a TLS connection did not come about or did not last, in the words of people.

use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, PeerMisbehaved};

use crate::error::{Error, reason, shown};
use crate::trust::refusal::{Refusal, Who};
use crate::trust::verifier::Peer;

/// Why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// This side refuses the other.
    Refused(Refusal),
    /// The other side refuses this one, or says that something else is wrong.
    Told(Told),
    /// What is there speaks no TLS 1.3.
    NotTls,
    /// It speaks TLS, and something else inside.
    OtherProtocol,
    /// What came was changed on the way, or is nothing that TLS has.
    Damaged,
    /// The connection ended in the middle.
    Cut,
    /// The other side took too long.
    TimedOut,
    /// What the system says.
    Stream(String),
}

/// What the other side tells by an alert (RFC 8446, section 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It does not know this device.
    Untrusted,
    /// It finds this device's certificate out of date.
    OutOfDate,
    /// It knows this device under another key, or does not let it in.
    Denied,
    /// It has removed this device.
    Removed,
    /// This device's certificate is not for this use.
    Purpose,
    /// Something else, by its name.
    Other(AlertDescription),
}

impl Failure {
    /// What an error in a handshake means; a verifier knows more about certificates.
    pub(super) fn in_handshake(
        error: &rustls::Error,
        decided: Option<Result<Peer, Refusal>>,
    ) -> Self {
        match error {
            rustls::Error::NoCertificatesPresented => Self::Refused(Refusal::Missing),
            rustls::Error::InvalidCertificate(error) => match decided {
                Some(Err(refusal)) => Self::Refused(refusal),
                _ => Self::Refused(Refusal::Malformed(match error {
                    CertificateError::BadSignature => "whoever shows it has not its key".into(),
                    error => error.to_string(),
                })),
            },
            rustls::Error::InvalidMessage(_)
            | rustls::Error::PeerSentOversizedRecord
            | rustls::Error::PeerIncompatible(_) => Self::NotTls,
            rustls::Error::NoApplicationProtocol
            | rustls::Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol) => {
                Self::OtherProtocol
            }
            error => Self::in_session(error),
        }
    }

    /// The same once the handshake is done.
    pub(super) fn in_session(error: &rustls::Error) -> Self {
        use AlertDescription as Alert;
        match error {
            rustls::Error::AlertReceived(alert) => match alert {
                Alert::NoApplicationProtocol => Self::OtherProtocol,
                Alert::ProtocolVersion | Alert::HandshakeFailure | Alert::InsufficientSecurity => {
                    Self::NotTls
                }
                Alert::CertificateExpired => Self::Told(Told::OutOfDate),
                Alert::CertificateRevoked => Self::Told(Told::Removed),
                Alert::AccessDenied => Self::Told(Told::Denied),
                Alert::UnsupportedCertificate => Self::Told(Told::Purpose),
                Alert::UnknownCA
                | Alert::BadCertificate
                | Alert::DecryptError
                | Alert::CertificateUnknown
                | Alert::CertificateRequired => Self::Told(Told::Untrusted),
                other => Self::Told(Told::Other(*other)),
            },
            _ => Self::Damaged,
        }
    }

    /// What an error of the stream below means.
    pub(super) fn of_stream(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected => Self::Cut,
            _ => Self::Stream(reason(error)),
        }
    }

    /// Whether dialling again may help: nobody has refused anybody.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Damaged | Self::Cut | Self::TimedOut | Self::Stream(_))
    }

    /// The sentence, the hint, and the exit code: 4 where somebody was refused, else 5. `own` is this
    /// device, as the other side sees it: its name and words.
    pub fn error(&self, who: &Who, own: &str) -> Error {
        let (whom, name) = match who {
            Who::Server(name) => (String::new(), shown(name)),
            Who::Client(address) => (format!("refused {}: ", shown(address)), "it".into()),
        };
        let own = shown(own);
        let lost = |what: String, hint: &str| Error::network(format!("{whom}{what}")).hint(hint);
        let refused =
            |what: String, hint: String| Error::refused(format!("{whom}{what}")).hint(hint);
        match self {
            Self::Refused(refusal) => refusal.error(who),
            Self::Told(Told::Untrusted) => refused(
                format!("{name} does not trust this device ({own})"),
                "`transfer pair` introduces the two; or have its CA sign this device's certificate: \
                 `transfer device --csr`"
                    .into(),
            ),
            Self::Told(Told::OutOfDate) => refused(
                format!("{name} finds this certificate out of date: it has ended, or a clock is wrong"),
                "`transfer device` tells when it ends, and `transfer device --renew` renews it".into(),
            ),
            Self::Told(Told::Denied) => refused(
                format!("{name} does not let this device in ({own})"),
                "it knows another key under that name, or its --allow does not name this device".into(),
            ),
            Self::Told(Told::Removed) => refused(
                format!("{name} has removed this device"),
                "`transfer pair` with it takes that back".into(),
            ),
            Self::Told(Told::Purpose) => refused(
                format!("{name} says that this certificate may not be used so"),
                "issue it anew, with extendedKeyUsage = serverAuth, clientAuth".into(),
            ),
            Self::Told(Told::Other(alert)) => lost(
                format!("{name} has ended the connection: {alert:?}"),
                "look at what it says there",
            ),
            Self::NotTls if matches!(who, Who::Client(_)) => lost(
                format!("{name} speaks no TLS 1.3"),
                "only `transfer send --to` is let in here",
            ),
            Self::OtherProtocol if matches!(who, Who::Client(_)) => lost(
                format!("{name} is a newer or older transfer, or something else"),
                "`transfer --version` on both sides",
            ),
            Self::NotTls => lost(
                format!("something else answers at {name}"),
                "is `transfer serve` running there, and is the port right?",
            ),
            Self::OtherProtocol => lost(
                format!("what answers at {name} is a newer or older transfer, or something else"),
                "`transfer --version` on both sides; is the port right?",
            ),
            Self::Damaged => lost(
                format!("the connection to {name} was damaged"),
                "the same command goes on from there",
            ),
            Self::Cut => lost(
                format!("the connection to {name} ended in the middle"),
                "the same command goes on from there",
            ),
            Self::TimedOut => lost(
                format!("{name} took too long to answer"),
                "is it very busy, or is something else listening there?",
            ),
            Self::Stream(why) => lost(
                format!("the connection to {name} failed: {why}"),
                "the same command goes on from there",
            ),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused(_) => "the other side was refused",
            Self::Told(_) => "the other side has refused this one",
            Self::NotTls => "the other side speaks no TLS 1.3",
            Self::OtherProtocol => "the other side speaks another protocol",
            Self::Damaged => "the connection was damaged",
            Self::Cut => "the connection ended in the middle",
            Self::TimedOut => "the other side took too long",
            Self::Stream(why) => why,
        })
    }
}
