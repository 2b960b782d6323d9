//! While two devices are paired, one of them may join the CA of the other: that signs a certificate for it, and
//! all devices that trust this CA trust it from then on, as it trusts theirs. Its key stays where it is; a
//! request that it has signed travels.

use std::net::IpAddr;

use super::Met;
use crate::bounds::PAIRING_LIMIT;
use crate::error::{Cause, Error, Result, shown};
use crate::net::tls;
use crate::protocol::message::{Control, Issued, Join, Request};
use crate::protocol::reason::Reason;
use crate::protocol::session::{OUT_OF_TURN, Session, Stop};
use crate::trust::authority::{Authority, DEVICE_DAYS, Subject};
use crate::trust::certificate::{Certificate, San};
use crate::trust::credentials::Credentials;
use crate::trust::device::{Device, KEY, hosts_of};
use crate::trust::folder::Folder;
use crate::trust::pem;
use crate::trust::refusal::Who;
use crate::trust::store::Trusted;
use crate::trust::verifier::Rules;
use crate::ui::Ui;

/// Where the other side's words come from, in errors.
const SENT: &str = "what the other machine sent";

/// What this side brings to it, looked at before anybody types anything.
pub struct Means {
    /// `--join`: nobody needs to be asked.
    said: bool,
    authority: Option<Authority>,
}

/// What came of it.
#[derive(Default)]
pub struct Outcome {
    /// The name and certificate that the CA here has given the other side.
    pub issued: Option<(String, Certificate)>,
    /// What this device has got.
    pub membership: Option<Membership>,
    /// Why nothing came of what somebody may have wanted.
    pub remark: Option<String>,
}

/// A certificate of a CA, and the CA.
#[derive(Debug)]
pub struct Membership {
    /// The certificate, and those between it and the CA.
    pub chain: Vec<Certificate>,
    /// The CA itself.
    pub ca: Certificate,
}

impl Means {
    /// Looks whether there is a CA here that can be joined.
    ///
    /// # Errors
    /// It was said that it may be joined, and it cannot be used.
    pub fn look(said: bool, folder: &Folder, ui: &Ui) -> Result<Self> {
        let authority = match Authority::is_here(folder) && (said || ui.asks()) {
            true => match Authority::load(folder) {
                Err(error) if !said => {
                    ui.warn(&format!("nobody can join the CA of this device: {error}"));
                    None
                }
                loaded => Some(loaded?),
            },
            false => None,
        };
        Ok(Self { said, authority })
    }

    /// What was wanted here and cannot be had there.
    pub fn in_vain(&self, met: &Met) -> Option<String> {
        let name = shown(&met.name);
        self.said
            .then(|| format!("nobody has joined a CA: the program of {name} is too old for it"))
    }

    /// Lets the other side join the CA here, or joins its, as both want it.
    ///
    /// # Errors
    /// The connection ended, or what came makes no sense.
    pub fn use_them(
        &self,
        session: &mut Session,
        met: &Met,
        device: &Device,
        folder: &Folder,
        ui: &Ui,
    ) -> Result<Outcome, Stop> {
        let mut outcome = Outcome::default();
        let invites = match &self.authority {
            Some(ca) if self.said => Some(ca),
            Some(ca) => {
                let who = format!("{} ({})", shown(&met.name), met.certificate.id.words());
                let joins = ui.ask_let_join(&who, &ca.certificate.subject).map_err(unanswered)?;
                joins.then_some(ca)
            }
            None => None,
        };
        let ca = invites.map(|ca| ca.certificate.to_pem());
        session.send_control(&Control::Join(Join { ca }))?;
        let Control::Join(Join { ca }) = session.receive_control(PAIRING_LIMIT)? else {
            return Err(OUT_OF_TURN.into());
        };
        let theirs = ca.map(|text| authority_in(&text)).transpose()?;
        let mut joins = None;
        if let Some(ca) = theirs {
            match self.why_not(&ca, met, device, folder, ui)? {
                None => joins = Some(ca),
                Some(why) => outcome.remark = why.said(),
            }
            let wanted = joins.is_some();
            let request = wanted.then(|| device.request(&[])).transpose().map_err(failed)?;
            session.send_control(&Control::Request(Request { request }))?;
        } else if self.said && self.authority.is_none() {
            outcome.remark = Some(format!(
                "this device has joined no CA: {} has none, or lets nobody join it (--join there)",
                shown(&met.name)
            ));
        }
        if let Some(ca) = invites {
            let Control::Request(Request { request }) = session.receive_control(PAIRING_LIMIT)?
            else {
                return Err(OUT_OF_TURN.into());
            };
            match request {
                Some(request) => {
                    let (name, certificate) = sign(ca, &request, met, device, folder)?;
                    let issued = Issued { certificate: certificate.to_pem() };
                    outcome.issued = Some((name, certificate));
                    session.send_control(&Control::Issued(issued))?;
                }
                None => {
                    outcome.remark = Some(format!(
                        "{} has not joined \"{}\": that was not wanted there (--join there), or it is of another CA",
                        shown(&met.name),
                        shown(&ca.certificate.subject)
                    ));
                }
            }
        }
        if let Some(ca) = joins {
            let Control::Issued(Issued { certificate }) = session.receive_control(PAIRING_LIMIT)?
            else {
                return Err(OUT_OF_TURN.into());
            };
            outcome.membership = Some(membership(&certificate, ca, device, folder)?);
        }
        Ok(outcome)
    }

    /// Why this device does not join a CA; nothing if it does.
    fn why_not(
        &self,
        ca: &Certificate,
        met: &Met,
        device: &Device,
        folder: &Folder,
        ui: &Ui,
    ) -> Result<Option<Why>, Stop> {
        let (name, theirs) = (shown(&met.name), shown(&ca.subject));
        if Authority::is_here(folder) {
            let why = format!("this device has not joined \"{theirs}\": it has a CA of its own");
            return Ok(Some(Why::Told(why)));
        }
        if let Some(signed) = &device.signed {
            let rules = rules_of(ca).map_err(failed)?;
            if !rules.have_signed(signed.chain()) {
                return Ok(Some(Why::Told(format!(
                    "this device has not joined \"{theirs}\": it has a certificate of \"{}\"; to change over, move \
                     \"{}\" away, and pair again",
                    shown(&signed.certificate().issuer),
                    folder.shown(crate::trust::device::SIGNED)
                ))));
            }
        }
        match (self.said, ui.asks()) {
            (true, _) => Ok(None),
            (_, true) => {
                let joins = ui.ask_join(&name, &ca.subject).map_err(unanswered)?;
                Ok((!joins).then_some(Why::Chosen))
            }
            (_, false) => Ok(Some(Why::Told(format!(
                "{name} lets this device join its CA \"{theirs}\": `transfer pair --join` here says yes to that"
            )))),
        }
    }
}

/// Why a CA is not joined.
enum Why {
    /// Somebody said no, and knows it.
    Chosen,
    /// In words.
    Told(String),
}

impl Why {
    fn said(self) -> Option<String> {
        match self {
            Self::Chosen => None,
            Self::Told(why) => Some(why),
        }
    }
}

/// The certificate of a CA that the other side invites to, as it comes from there.
fn authority_in(text: &str) -> Result<Certificate, Stop> {
    let chain = pem::certificates_in(text.as_bytes(), SENT).map_err(malformed)?;
    match &*chain {
        [ca] if ca.is_ca && ca.version >= 3 && ca.key.problem().is_none() => Ok(ca.clone()),
        _ => {
            Err(malformed(Error::failure("the other machine has not sent the certificate of a CA")))
        }
    }
}

/// The rules of whoever trusts this CA, and nobody else.
fn rules_of(ca: &Certificate) -> Result<std::sync::Arc<Rules>> {
    Rules::new(Trusted::empty(), vec![ca.clone()], vec![], tls::provider())
}

/// Signs what the other side has asked for, under a name that no other device of this CA has.
fn sign(
    ca: &Authority,
    request: &str,
    met: &Met,
    device: &Device,
    folder: &Folder,
) -> Result<(String, Certificate), Stop> {
    let id = Authority::key_of_request(request).map_err(malformed)?;
    if id != met.certificate.id {
        return Err(malformed(Error::refused(
            "the request is of another key than the certificate",
        )));
    }
    let trusted = Trusted::load(folder).map_err(failed)?;
    let name = free_name(ca, met, device, &trusted).map_err(failed)?;
    let hosts = hosts(&name, met.address);
    let issued = ca.issue(&name, &hosts, DEVICE_DAYS, Subject::Request(request)).map_err(failed)?;
    Ok((name, issued.certificate))
}

/// What a device is called by its CA: what it is called here, or with a number, as names tell devices apart to
/// whoever trusts that CA.
fn free_name(ca: &Authority, met: &Met, device: &Device, trusted: &Trusted) -> Result<String> {
    let id = met.certificate.id;
    let wish = trusted.pinned(&id).map_or(&met.name, |known| &known.name);
    let mut short = wish.clone();
    while short.len() + 8 > crate::trust::MAX_NAME {
        short.pop();
    }
    let short = short.trim_end();
    let numbered = (2..1000).map(|number| format!("{short}-{number}"));
    for name in std::iter::once(wish.clone()).chain(numbered) {
        let is_own = name.to_lowercase() == device.name.to_lowercase();
        if !is_own && trusted.is_free_for(&name, &id) && !ca.is_taken(&name, id)? {
            return Ok(name);
        }
    }
    Ok(format!("device-{}", id.short()))
}

/// The hosts that a device is to those who trust its CA: by its name, and where it is now.
fn hosts(name: &str, address: Option<IpAddr>) -> Vec<San> {
    let mut hosts = hosts_of(name);
    if hosts.is_empty() {
        // A name that no host can have.
        let letters = name.to_lowercase();
        let label: Vec<&str> = letters
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|it| !it.is_empty())
            .collect();
        hosts = hosts_of(&label.join("-"));
    }
    let is_told = |ip: &IpAddr| match ip {
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
        IpAddr::V4(_) => true,
    };
    hosts.extend(address.filter(is_told).map(San::Ip));
    hosts
}

/// Looks at what the CA has sent, before anything of it is kept: it has to be this device's, and of this CA.
fn membership(
    text: &str,
    ca: Certificate,
    device: &Device,
    folder: &Folder,
) -> Result<Membership, Stop> {
    let chain = pem::certificates_in(text.as_bytes(), SENT).map_err(malformed)?;
    let key = device.private_key();
    Credentials::new(chain.clone(), &key, SENT, &folder.shown(KEY)).map_err(malformed)?;
    let rules = rules_of(&ca).map_err(malformed)?;
    for as_server in [false, true] {
        rules.check_own(&chain, as_server).map_err(|refusal| {
            let error = refusal.error(&Who::Server("this device".into()));
            malformed(error.or_hint("without --join the two are paired all the same"))
        })?;
    }
    Ok(Membership { chain, ca })
}

/// The other side's fault.
fn malformed(error: Error) -> Stop {
    Stop::Own(Reason::Protocol, error.cause(Cause::Refused))
}

/// Nobody has answered a question.
fn unanswered(error: Error) -> Stop {
    let reason = match error.cause {
        Cause::Declined => Reason::Declined,
        Cause::Interrupted => Reason::Interrupted,
        _ => Reason::Failed,
    };
    Stop::Own(reason, error)
}

/// This side's.
fn failed(error: Error) -> Stop {
    Stop::Own(Reason::Failed, error)
}
