//! `transfer trust`: whom this device trusts.

use std::path::PathBuf;

use super::{certified, stamp};
use crate::error::{Error, Exit, Result, shown};
use crate::trust::certificate::{Certificate, Id};
use crate::trust::exchange;
use crate::trust::folder::Folder;
use crate::trust::pem;
use crate::trust::store::{Entry, Known, KnownCa, Merged, Removed, Trusted};
use crate::ui::{Card, Kind, Ui, said_no};

/// What to do; resolved from the command line.
#[derive(Debug, Clone)]
pub enum TrustOptions {
    /// List them all.
    List,
    /// Show one.
    Show(String),
    /// Give one another name.
    Rename(String, String),
    /// Trust one no more.
    Remove(String),
    /// Print the list for another device.
    Export,
    /// Take a CA, a device, or another device's list.
    Import(PathBuf),
}

/// Runs `transfer trust`.
///
/// # Errors
/// When the list cannot be read (exit 2), or nobody is meant by what was typed.
pub fn run(options: &TrustOptions, ui: &Ui) -> Result<Exit> {
    let folder = Folder::of_user()?;
    match options {
        TrustOptions::List => list(&Trusted::load(&folder)?, ui)?,
        TrustOptions::Show(word) => {
            let trusted = Trusted::load(&folder)?;
            let entry = trusted.find(word)?;
            ui.cards_in_full(&[card(&entry)])?;
        }
        TrustOptions::Rename(word, name) => {
            Trusted::change(&folder, |trusted| trusted.rename(word, name))?;
            ui.note(&format!("{} is called {} from now on", shown(word), shown(name)));
        }
        TrustOptions::Remove(word) => remove(&folder, word, ui)?,
        TrustOptions::Export => ui.print(&Trusted::load(&folder)?.exported().to_json())?,
        TrustOptions::Import(file) => {
            let merged = Trusted::change(&folder, |trusted| exchange::import(trusted, file))?;
            imported(&Trusted::load(&folder)?, &merged, ui)?;
        }
    }
    Ok(Exit::Done)
}

fn list(trusted: &Trusted, ui: &Ui) -> Result<()> {
    let mut cards: Vec<Card> = trusted.devices.iter().map(device).collect();
    cards.extend(trusted.cas.iter().map(ca));
    cards.extend(trusted.names.iter().map(|(name, id)| seen(name, *id)));
    cards.extend(trusted.removed.iter().map(removed));
    if cards.is_empty() {
        ui.note("no device is trusted yet; `transfer pair` introduces one");
    }
    ui.cards(&cards)
}

fn remove(folder: &Folder, word: &str, ui: &Ui) -> Result<()> {
    let trusted = Trusted::load(folder)?;
    match (trusted.find(word), Id::parse(word)) {
        (Ok(Entry::Removed(_)), _) => {
            ui.note(&format!("{} was removed before", shown(word)));
            return Ok(());
        }
        (Ok(entry), _) => ui.cards(&[card(&entry)])?,
        (Err(_), Some(id)) => ui.cards(&[seen(&format!("device-{}", id.short()), id)])?,
        (Err(error), None) => return Err(error),
    }
    if ui.asks() {
        if !ui.ask_remove()? {
            return Err(said_no());
        }
    } else if !ui.was_told_yes() {
        return Err(Error::usage("whether to remove it cannot be asked here")
            .hint("--yes says so beforehand"));
    }
    let entry = Trusted::change(folder, |trusted| trusted.remove(word))?;
    match entry {
        Entry::Ca(ca) => ui.note(&format!(
            "devices that only \"{}\" vouches for are trusted no more",
            shown(&ca.name)
        )),
        Entry::Device(Known { name, .. }) | Entry::Seen(name, _) => ui.note(&format!(
            "{} is trusted no more, whoever vouches for it; `transfer pair` takes that back",
            shown(&name)
        )),
        Entry::Removed(_) => {}
    }
    Ok(())
}

fn imported(trusted: &Trusted, merged: &Merged, ui: &Ui) -> Result<()> {
    let named = |name: &String| trusted.find(name).ok().map(|entry| card(&entry));
    let cards: Vec<Card> =
        merged.devices.iter().chain(&merged.cas).chain(&merged.removed).filter_map(named).collect();
    if cards.is_empty() {
        ui.note("nothing new: all of it is known here");
    }
    if !merged.cas.is_empty() {
        ui.note("every device that this CA vouches for is trusted from now on");
    }
    ui.cards(&cards)
}

fn card(entry: &Entry) -> Card {
    match entry {
        Entry::Device(known) => device(known),
        Entry::Ca(known) => ca(known),
        Entry::Seen(name, id) => seen(name, *id),
        Entry::Removed(gone) => removed(gone),
    }
}

fn device(known: &Known) -> Card {
    let stored = stored(&known.certificate);
    let shown = stored.map(|it| certified(Kind::Device, &known.name, &it));
    Card {
        via: Some(known.via.name()),
        at: Some(stamp(known.added)),
        last: known.last.map(stamp),
        ..shown.unwrap_or_else(|| Card::new(Kind::Device, &known.name, Some(known.id)))
    }
}

fn ca(known: &KnownCa) -> Card {
    let stored = stored(&known.certificate);
    let shown = stored.map(|it| certified(Kind::Ca, &known.name, &it));
    shown.unwrap_or_else(|| Card::new(Kind::Ca, &known.name, None))
}

fn seen(name: &str, id: Id) -> Card {
    Card::new(Kind::Seen, name, Some(id))
}

fn removed(gone: &Removed) -> Card {
    Card { at: Some(stamp(gone.at)), ..Card::new(Kind::Removed, &gone.name, Some(gone.id)) }
}

/// A certificate of the list, which was read before.
fn stored(text: &str) -> Option<Certificate> {
    pem::certificates_in(text.as_bytes(), "").ok()?.pop()
}
