//! `transfer ca`: a CA for a fleet of devices.

use std::path::{Path, PathBuf};

use super::{certified, stamp, warn_of_end};
use crate::config::shown_path;
use crate::error::{Error, Exit, Result};
use crate::files::mapping::held_here;
use crate::trust::authority::{Authority, Subject};
use crate::trust::certificate::San;
use crate::trust::check_name;
use crate::trust::device::hosts_of;
use crate::trust::folder::{Access, Folder, make_file};
use crate::trust::store::Trusted;
use crate::ui::{Card, Kind, Ui};

/// What to do; resolved from the command line.
#[derive(Debug, Clone)]
pub enum AuthorityOptions {
    /// Make a CA of this name.
    Init(String),
    /// Issue a certificate.
    Issue(Issue),
    /// List what was issued.
    List,
}

/// What to issue.
#[derive(Debug, Clone)]
pub struct Issue {
    /// The device.
    pub name: String,
    /// Hosts beside those that its name gives.
    pub hosts: Vec<San>,
    /// A request (PEM), so that the device's key never travels.
    pub request: Option<String>,
    /// How long it holds.
    pub days: u32,
    /// Where the files go.
    pub out: PathBuf,
}

/// Runs `transfer ca`.
///
/// # Errors
/// When the CA is missing or cannot be used, or a file is there already (exit 2).
pub fn run(options: &AuthorityOptions, ui: &Ui) -> Result<Exit> {
    let folder = Folder::of_user()?;
    match options {
        AuthorityOptions::Init(name) => init(&folder, name, ui)?,
        AuthorityOptions::Issue(issue) => self::issue(&folder, issue, ui)?,
        AuthorityOptions::List => list(&folder, ui)?,
    }
    Ok(Exit::Done)
}

fn init(folder: &Folder, name: &str, ui: &Ui) -> Result<()> {
    // What the store cannot take would leave a CA that this device does not trust.
    Trusted::load(folder)?;
    let ca = Authority::make(folder, name)?;
    Trusted::change(folder, |trusted| trusted.add_ca(&ca.certificate))?;
    ui.cards(&[certified(Kind::Ca, name, &ca.certificate)])?;
    ui.note(&format!(
        "{}: copy it to every device, and there: `transfer trust import ca.pem`",
        folder.shown("ca/ca.pem")
    ));
    ui.note(&format!(
        "{}: whoever has it can make devices that all others trust; keep it here, or offline",
        folder.shown("ca/ca.key")
    ));
    ui.note("this device gets a certificate of it with `transfer device --renew`");
    Ok(())
}

fn issue(folder: &Folder, issue: &Issue, ui: &Ui) -> Result<()> {
    let ca = Authority::load(folder)?;
    check_name(&issue.name)?;
    // Windows takes `con.key` for a device.
    let name = held_here(&issue.name);
    let file = |ending: &str| issue.out.join(format!("{name}.{ending}"));
    let (certificate, key) = (file("pem"), file("key"));
    // Before anything is written down as issued.
    free(&certificate)?;
    if issue.request.is_none() {
        free(&key)?;
    }
    let mut hosts = hosts_of(&issue.name);
    hosts.extend(issue.hosts.iter().filter(|host| !hosts_of(&issue.name).contains(host)).cloned());
    let subject = issue.request.as_deref().map_or(Subject::New, Subject::Request);
    let issued = ca.issue(&issue.name, &hosts, issue.days, subject)?;
    if let Some(text) = &issued.key {
        make_file(&key, Access::Private, text.as_bytes())?;
    }
    make_file(&certificate, Access::Public, issued.certificate.to_pem().as_bytes())?;
    ui.cards(&[certified(Kind::Issued, &issue.name, &issued.certificate)])?;
    let written = shown_path(&certificate);
    match issued.key {
        Some(_) => ui.note(&format!(
            "\"{written}\" and \"{}\": for --cert and --key there, beside the CA's ca.pem",
            shown_path(&key)
        )),
        None => ui.note(&format!("\"{written}\": there, `transfer device --install` takes it")),
    }
    warn_of_end(ui, "the CA", &ca.certificate, "what it issues ends with it");
    Ok(())
}

fn free(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(Error::usage(format!("\"{}\" is there already", shown_path(path)))
        .hint("it is never overwritten; move it away, or name another folder with --out"))
}

fn list(folder: &Folder, ui: &Ui) -> Result<()> {
    let ca = Authority::load(folder)?;
    let mut cards = vec![certified(Kind::Ca, &ca.certificate.subject, &ca.certificate)];
    for line in ca.issued()? {
        cards.push(Card {
            issuer: Some(ca.certificate.subject.clone()),
            until: Some(line.until()),
            at: Some(stamp(line.at)),
            hosts: line.hosts,
            ..Card::new(Kind::Issued, &line.name, Some(line.id))
        });
    }
    warn_of_end(ui, "the CA", &ca.certificate, "what it issues ends with it");
    ui.cards(&cards)
}
