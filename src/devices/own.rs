//! `transfer device`: who this device is to others.

use std::path::PathBuf;

use super::{certified, warn_of_end};
use crate::error::{Error, Exit, Result, shown};
use crate::net::tls;
use crate::trust::authority::{Authority, DEVICE_DAYS, Subject};
use crate::trust::certificate::Certificate;
use crate::trust::credentials::Credentials;
use crate::trust::device::{Device, KEY};
use crate::trust::folder::{Folder, is_of_group};
use crate::trust::pem;
use crate::trust::refusal::Who;
use crate::trust::store::Trusted;
use crate::trust::verifier::Rules;
use crate::ui::{Kind, Ui};

/// What to do; resolved from the command line.
#[derive(Debug, Clone)]
pub enum DeviceOptions {
    /// Show it.
    Show,
    /// Print a request for a certificate.
    Request,
    /// Get a new certificate for the same key.
    Renew,
    /// Take a certificate that a CA has signed.
    Install(PathBuf),
}

/// Runs `transfer device`. The key is made if there is none.
///
/// # Errors
/// When the key or a certificate cannot be used (exit 2).
pub fn run(options: &DeviceOptions, ui: &Ui) -> Result<Exit> {
    let folder = Folder::of_user()?;
    let mut device = Device::load_or_make(&folder)?;
    if is_of_group(&folder.path(KEY)) {
        let key = folder.shown(KEY);
        ui.warn(&format!("the group may read \"{key}\", which is a secret; `chmod 600 {key}`"));
    }
    match options {
        DeviceOptions::Show => show(&device, ui)?,
        DeviceOptions::Request => ui.print(&device.request(&device.hosts())?)?,
        DeviceOptions::Renew => renew(&folder, &mut device, ui)?,
        DeviceOptions::Install(file) => {
            let name = file.to_string_lossy().into_owned();
            install(&folder, &mut device, pem::certificates(file)?, &name)?;
            show(&device, ui)?;
        }
    }
    Ok(Exit::Done)
}

fn show(device: &Device, ui: &Ui) -> Result<()> {
    let own = certified(Kind::This, &device.name, device.own.certificate());
    let signed = device.signed.as_ref().map(|signed| {
        let name = signed.certificate().device_name();
        certified(Kind::Certificate, &name, signed.certificate())
    });
    if let Some(signed) = &device.signed {
        warn_of_end(ui, "this device's certificate", signed.certificate(), REMEDY);
    }
    ui.cards(&std::iter::once(own).chain(signed).collect::<Vec<_>>())
}

const REMEDY: &str = "`transfer device --renew` renews it";

/// Takes a chain that leads to a CA that is known here: what nobody would accept is said now.
fn install(
    folder: &Folder,
    device: &mut Device,
    chain: Vec<Certificate>,
    name: &str,
) -> Result<()> {
    let rules = Rules::new(Trusted::load(folder)?, vec![], vec![], tls::provider())?;
    let key = device.private_key();
    let candidate = Credentials::new(chain.clone(), &key, name, &folder.shown(KEY))?;
    for as_server in [false, true] {
        rules.check_own(candidate.chain(), as_server).map_err(|refusal| {
            let error = refusal.error(&Who::Server(format!("\"{}\"", shown(name))));
            let hint = "`transfer trust import` the CA's ca.pem first, if it is missing here";
            Error::usage(error.message).hint(error.hint.unwrap_or_else(|| hint.into()))
        })?;
    }
    device.install(folder, chain, name)
}

/// A new certificate for the same key and the same hosts: at once where the CA is on this device,
/// else a request to carry to it.
fn renew(folder: &Folder, device: &mut Device, ui: &Ui) -> Result<()> {
    let request = device.request(&device.hosts())?;
    if !Authority::is_here(folder) {
        ui.note(
            "this is a request; where the CA is: `transfer ca issue NAME --csr FILE`, and then here: \
             `transfer device --install NAME.pem`",
        );
        return ui.print(&request);
    }
    let ca = Authority::load(folder)?;
    let issued =
        ca.issue(&device.name, &device.hosts(), DEVICE_DAYS, Subject::Request(&request))?;
    device.install(folder, vec![issued.certificate], "the new certificate")?;
    show(device, ui)
}
