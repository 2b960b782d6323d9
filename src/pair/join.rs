//! While two devices are paired, one of them may join the CA of the other: that signs a certificate for it, and
//! all devices that trust this CA trust it from then on, as it trusts theirs. Its key stays where it is; a
//! request that it has signed travels.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Met;
use crate::bounds::PAIRING_LIMIT;
use crate::error::{Cause, Error, Result, shown};
use crate::net::interfaces::{Choice, Interfaces};
use crate::net::tls;
use crate::protocol::message::{Control, Issued, Join, Request};
use crate::protocol::reason::Reason;
use crate::protocol::session::{OUT_OF_TURN, Session, Stop};
use crate::ticket::is_of_one;
use crate::trust::authority::{Authority, DEVICE_DAYS, Subject};
use crate::trust::certificate::{Certificate, Id, San};
use crate::trust::credentials::Credentials;
use crate::trust::device::{Device, KEY, hosts_of};
use crate::trust::folder::Folder;
use crate::trust::refusal::Who;
use crate::trust::store::Trusted;
use crate::trust::verifier::Rules;
use crate::trust::{numbered, pem};
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
        // Somebody may be asked there, whether this one may join or whether it wants to.
        let asked = || ui.note_if_slow(format!("waiting for an answer at {}", shown(&met.name)));
        let waiting = asked();
        let Control::Join(Join { ca }) = session.receive_control(PAIRING_LIMIT)? else {
            return Err(OUT_OF_TURN.into());
        };
        drop(waiting);
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
            let waiting = asked();
            let Control::Request(Request { request }) = session.receive_control(PAIRING_LIMIT)?
            else {
                return Err(OUT_OF_TURN.into());
            };
            drop(waiting);
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
    let choose = || {
        let trusted = Trusted::load(folder)?;
        let taken = of_others(id, ca, device, &trusted)?;
        let (name, mut hosts) = free_name(met, &trusted, &taken);
        let address = met.address.and_then(told_address);
        hosts.extend(address.filter(|ip| !taken.contains(&ip.to_string())).map(San::Ip));
        Ok((name, hosts))
    };
    let issued = ca.issue_called(choose, DEVICE_DAYS, Subject::Request(request));
    let certificate = issued.map_err(failed)?.certificate;
    Ok((certificate.device_name(), certificate))
}

/// Names and hosts by which whoever trusts this CA knows this device and others, in lower case.
fn of_others(
    id: Id,
    ca: &Authority,
    device: &Device,
    trusted: &Trusted,
) -> Result<BTreeSet<String>> {
    let mut taken = ca.of_others(id)?;
    for name in trusted.names_of_others(id).chain([&*device.name]) {
        taken.insert(name.to_lowercase());
        taken.extend(hosts_of(name).iter().map(San::to_string));
    }
    taken.extend(device.hosts().iter().map(|host| host.to_string().to_lowercase()));
    // That is everybody's own machine.
    taken.insert("localhost".into());
    // Somebody may come from here, or by way of this machine.
    let interfaces = Interfaces::look(&Choice::Local).ok();
    taken.extend(interfaces.iter().flat_map(Interfaces::addresses).map(|(ip, _)| ip.to_string()));
    Ok(taken)
}

/// What a device is called by its CA, and the hosts that this gives: what it is called here, or with a number, so that
/// none of it is another device's to whoever trusts that CA.
fn free_name(met: &Met, trusted: &Trusted, taken: &BTreeSet<String>) -> (String, Vec<San>) {
    let id = met.certificate.id;
    let wish = trusted.pinned(&id).map_or(&met.name, |known| &known.name);
    let named = numbered(wish, |number| format!("-{number}")).map(|name| {
        let is_said = met.is_called && name == met.name;
        let hosts = hosts_named(&name, is_said);
        (name, hosts)
    });
    let is_taken = |name: &String| taken.contains(name);
    let mut free = named.filter(|(name, hosts)| {
        !is_taken(&name.to_lowercase()) && !hosts.iter().any(|host| is_taken(&host.to_string()))
    });
    // The numbers have no end.
    free.next().unwrap_or_default()
}

/// The hosts that a device is by its name. One that only the device itself has said gives a label and the same in
/// `.local`, and no host of another's domain and no address, as whoever joins could choose those.
fn hosts_named(name: &str, is_said: bool) -> Vec<San> {
    let hosts = hosts_of(name);
    // An address has a dot in it, or a colon, which no name has.
    if !hosts.is_empty() && (is_said || !name.contains('.')) {
        return hosts;
    }
    let letters = name.to_lowercase();
    let label: Vec<&str> =
        letters.split(|c: char| !c.is_ascii_alphanumeric()).filter(|it| !it.is_empty()).collect();
    hosts_of(&label.join("-"))
}

/// An address that can be told to others as that of a device: one of a link is another machine on each, and one of
/// this machine alone is everybody's.
fn told_address(ip: IpAddr) -> Option<IpAddr> {
    let ip = ip.to_canonical();
    let is_of_link = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    (is_of_one(ip) && !ip.is_loopback() && !is_of_link).then_some(ip)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::certificate::Certificate;
    use crate::trust::samples::{alone, wish};
    use crate::trust::store::Via;

    /// Whoever joins says what it is called, and gets nothing by which another device is known.
    #[test]
    fn whoever_joins_is_no_other_device() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::new(scratch.path().join("own"));
        let device = Device::load_or_make(&folder).unwrap();
        let ca = Authority::make(&folder, "home").unwrap();
        let joins = Device::load_or_make(&Folder::new(scratch.path().join("joins"))).unwrap();
        let request = joins.request(&[]).unwrap();
        let sans = ["attic", "attic.local", "192.168.1.9", "attic.tail1234.ts.net"];
        let sans: Vec<San> = sans.iter().map(|san| San::parse(san).unwrap()).collect();
        ca.issue("attic", &sans, 10, Subject::New).unwrap();
        let certificate = || -> Certificate { alone(&wish("x", &[])).certificate().clone() };
        Trusted::change(&folder, |trusted| {
            trusted.pin("cellar", &certificate(), Via::Pair)?;
            trusted.remember("loft", certificate().id)?;
            trusted.add_ca(&ca.certificate)
        })
        .unwrap();
        let signed_at = |name: &str, is_called: bool, address: Option<&str>| {
            let met = Met {
                name: name.into(),
                is_called,
                certificate: joins.own.certificate().clone(),
                address: address.map(|ip| ip.parse().unwrap()),
            };
            let (name, certificate) = sign(&ca, &request, &met, &device, &folder).unwrap();
            format!("{name}: {}", certificate.hosts())
        };
        let signed = |name: &str, is_called: bool| signed_at(name, is_called, None);
        let at = |address| signed_at("nas", false, Some(address));
        assert_eq!(at("192.168.1.8"), "nas: nas, nas.local, 192.168.1.8");
        assert_eq!(at("192.168.1.9"), "nas: nas, nas.local", "attic's");
        let own = &device.name.to_lowercase();
        let sanitized = own.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        for (name, is_called, expected) in [
            ("nas", false, "nas: nas, nas.local"),
            ("nas", true, "nas: nas, nas.local"),
            ("Anna's nas", false, "Anna's nas: anna-s-nas, anna-s-nas.local"),
            // Another device of the CA, by each of its hosts.
            ("attic", false, "attic-2: attic-2, attic-2.local"),
            ("ATTIC", false, "ATTIC-2: attic-2, attic-2.local"),
            ("attic", true, "attic-2: attic-2, attic-2.local"),
            ("attic!", false, "attic!-2: attic-2, attic-2.local"),
            ("attic.", false, "attic.-2: attic-2, attic-2.local"),
            ("attic.local", false, "attic.local-2: attic-local-2, attic-local-2.local"),
            ("attic.local", true, "attic.local-2: attic-local-2, attic-local-2.local"),
            ("192.168.1.9", false, "192.168.1.9-2: 192-168-1-9-2, 192-168-1-9-2.local"),
            ("192.168.1.9", true, "192.168.1.9-2: 192-168-1-9-2, 192-168-1-9-2.local"),
            (
                "attic.tail1234.ts.net",
                false,
                "attic.tail1234.ts.net-2: attic-tail1234-ts-net-2, attic-tail1234-ts-net-2.local",
            ),
            // Devices that this one knows, and its CA.
            ("cellar", false, "cellar-2: cellar-2, cellar-2.local"),
            ("Cellar.local", false, "Cellar.local-2: cellar-local-2, cellar-local-2.local"),
            ("cellar?", false, "cellar?-2: cellar-2, cellar-2.local"),
            ("cellar.local", true, "cellar.local-2: cellar-local-2, cellar-local-2.local"),
            ("loft", false, "loft-2: loft-2, loft-2.local"),
            ("loft.local", true, "loft.local-2: loft-local-2, loft-local-2.local"),
            ("home", false, "home-2: home-2, home-2.local"),
            // And what is each its own.
            ("localhost", false, "localhost-2: localhost-2, localhost-2.local"),
            ("localhost", true, "localhost-2: localhost-2, localhost-2.local"),
            // This one itself.
            (own, false, &format!("{own}-2: {sanitized}-2, {sanitized}-2.local")),
            (own, true, &format!("{own}-2: {sanitized}-2, {sanitized}-2.local")),
            (
                &format!("{own}.local"),
                true,
                &format!("{own}.local-2: {sanitized}-local-2, {sanitized}-local-2.local"),
            ),
            // Hosts beyond a label are those that somebody has said here.
            ("bank.example", false, "bank.example: bank-example, bank-example.local"),
            ("bank.example", true, "bank.example: bank.example"),
            ("10.0.0.7", false, "10.0.0.7: 10-0-0-7, 10-0-0-7.local"),
            ("10.0.0.7", true, "10.0.0.7: 10.0.0.7"),
        ] {
            assert_eq!(signed(name, is_called), expected, "{name} {is_called}");
        }
        // What it is called here may be what it has once called itself.
        Trusted::change(&folder, |it| it.pin("bank.example", joins.own.certificate(), Via::Pair))
            .unwrap();
        let expected = "bank.example: bank-example, bank-example.local";
        assert_eq!(signed("nas", true), expected);
        assert_eq!(signed("bank.example", true), "bank.example: bank.example");
    }

    #[test]
    fn addresses_that_are_told() {
        for (ip, expected) in [
            ("192.168.1.9", Some("192.168.1.9")),
            ("100.101.7.12", Some("100.101.7.12")),
            ("fd12::9", Some("fd12::9")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("::ffff:192.168.1.9", Some("192.168.1.9")),
            ("127.0.0.1", None),
            ("127.9.9.9", None),
            ("::1", None),
            ("::ffff:127.0.0.1", None),
            ("0.0.0.0", None),
            ("::", None),
            ("224.0.0.251", None),
            ("ff02::fb", None),
            ("255.255.255.255", None),
            ("169.254.7.7", None),
            ("fe80::1", None),
        ] {
            let told = told_address(ip.parse().unwrap());
            assert_eq!(told.map(|ip| ip.to_string()).as_deref(), expected, "{ip}");
        }
    }
}
