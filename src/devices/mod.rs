//! `transfer trust`, `transfer ca` and `transfer device`: what a user sees and changes of whom this
//! device trusts. Nothing here connects to anybody.

mod authority;
mod own;
mod trusted;

use jiff::Timestamp;

pub use self::authority::{AuthorityOptions, Issue, run as run_authority};
pub use self::own::{DeviceOptions, run as run_device};
pub use self::trusted::{TrustOptions, run as run_trust};

use crate::trust::certificate::{Certificate, San};
use crate::ui::{Card, Kind, Ui};

/// What a certificate shows on a card.
fn certified(kind: Kind, name: &str, certificate: &Certificate) -> Card {
    Card {
        fingerprint: Some(certificate.fingerprint),
        issuer: (!certificate.is_self_issued).then(|| certificate.issuer.clone()),
        hosts: certificate.names.iter().map(San::to_string).collect(),
        until: Some(certificate.until),
        ..Card::new(kind, name, Some(certificate.id))
    }
}

/// Says that a certificate ends soon, or has ended.
fn warn_of_end(ui: &Ui, whose: &str, certificate: &Certificate, remedy: &str) {
    if let Some(end) = certificate.expiry() {
        ui.warn(&format!("{whose} {end}; {remedy}"));
    }
}

/// The moment as programs read it.
fn stamp(at: Timestamp) -> String {
    at.to_string()
}
