//! `trust.json`: the devices and CAs that this device trusts, the names it has seen them under, and
//! what was removed. A file that is not understood to the last field is an error, never an empty
//! list: what it forbids would be allowed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::certificate::{Certificate, Id};
use super::folder::{Access, Folder};
use super::{check_name, is_name, numbered, pem};
use crate::error::{Error, Result, shown};

/// The file.
pub const FILE: &str = "trust.json";
/// The version of its format.
pub const VERSION: u32 = 1;
/// Hex digits with which an id may be typed, at least.
const MIN_PREFIX: usize = 8;

/// How a device came to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// Two people typed a token.
    Pair,
    /// Its certificate was imported.
    Import,
}

impl Via {
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pair => "paired",
            Self::Import => "imported",
        }
    }
}

/// A device whose key is pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// What it is called here.
    pub name: String,
    /// Its key.
    pub id: Id,
    /// The certificate that it showed then, PEM.
    pub certificate: String,
    /// How it came here.
    pub via: Via,
    /// When.
    pub added: Timestamp,
    /// When it last connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
}

/// A CA whose devices are trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownCa {
    /// What it is called here.
    pub name: String,
    /// Its certificate, PEM.
    pub certificate: String,
}

/// A key that is trusted no more, whatever else holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removed {
    /// The key.
    pub id: Id,
    /// What its device was called.
    pub name: String,
    /// When.
    pub at: Timestamp,
}

/// What is in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trusted {
    v: u32,
    /// Pinned devices.
    pub devices: Vec<Known>,
    /// CAs.
    pub cas: Vec<KnownCa>,
    /// Keys under which devices of a CA were seen, by their names.
    pub names: BTreeMap<String, Id>,
    /// Keys that are trusted no more.
    pub removed: Vec<Removed>,
}

/// What a word on the command line stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A pinned device.
    Device(Known),
    /// A CA.
    Ca(KnownCa),
    /// A device that a CA vouched for.
    Seen(String, Id),
    /// One that was removed.
    Removed(Removed),
}

impl Trusted {
    /// Nobody.
    pub fn empty() -> Self {
        Self { v: VERSION, ..Self::default() }
    }

    /// Reads the file; where there is none, nobody is trusted.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::error::Exit::Usage) when it cannot be read or understood, or others
    /// may read it.
    pub fn load(folder: &Folder) -> Result<Self> {
        let Some(text) = folder.read_text(FILE, Access::Private)? else { return Ok(Self::empty()) };
        Self::parse(&text).map_err(|why| {
            Error::usage(format!("\"{}\" cannot be used: {why}", folder.shown(FILE))).hint(
                "nobody is trusted until it is mended; put it back from a copy, or move it away",
            )
        })
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let json = |error: serde_json::Error| shown(&error.to_string()).into_owned();
        let Version { v } = serde_json::from_str(text).map_err(json)?;
        if v != VERSION {
            return Err(format!(
                "its format is {v}, and this program knows {VERSION}; another version wrote it"
            ));
        }
        let read: Self = serde_json::from_str(text).map_err(json)?;
        read.check()?;
        Ok(read)
    }

    /// What the fields alone do not tell.
    fn check(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        let all = self.devices.iter().map(|it| &it.name).chain(self.cas.iter().map(|it| &it.name));
        for name in all {
            if !is_name(name) || !names.insert(name.to_lowercase()) {
                return Err(format!("\"{}\" is no name, or the name of two", shown(name)));
            }
        }
        let mut ids = BTreeSet::new();
        for device in &self.devices {
            let certificate = one(&device.certificate)?;
            if certificate.id != device.id || !ids.insert(device.id) {
                return Err(format!("the certificate of \"{}\" has another key", device.name));
            }
        }
        for ca in &self.cas {
            if !one(&ca.certificate)?.is_ca {
                return Err(format!("the certificate of \"{}\" is of no CA", ca.name));
            }
        }
        Ok(())
    }

    /// Changes the file while nobody else can, and writes it if `change` went well.
    ///
    /// # Errors
    /// Those of `change`, of reading and of writing.
    pub fn change<T>(folder: &Folder, change: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let lock = folder.lock()?;
        let mut trusted = Self::load(folder)?;
        let before = trusted.clone();
        let done = change(&mut trusted)?;
        if trusted != before {
            folder.replace(&lock, FILE, Access::Private, trusted.to_json().as_bytes())?;
        }
        Ok(done)
    }

    /// The text of the file.
    pub fn to_json(&self) -> String {
        // Maps of texts and numbers have a form in JSON.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// When a key was removed.
    pub fn removal(&self, id: &Id) -> Option<&Removed> {
        self.removed.iter().find(|it| it.id == *id)
    }

    /// The pinned device with a key.
    pub fn pinned(&self, id: &Id) -> Option<&Known> {
        self.devices.iter().find(|it| it.id == *id)
    }

    /// The pinned device with a name.
    pub fn named(&self, name: &str) -> Option<&Known> {
        self.devices.iter().find(|it| is_same(&it.name, name))
    }

    /// The key that a name stands for, whether pinned or seen.
    pub fn key_of(&self, name: &str) -> Option<Id> {
        let seen = || self.names.iter().find(|(seen, _)| is_same(seen, name)).map(|it| *it.1);
        self.named(name).map(|it| it.id).or_else(seen)
    }

    /// Whether a word of `--allow` is a name or a whole id that is known here.
    pub fn has(&self, word: &str) -> bool {
        let is_known =
            |id: Id| self.pinned(&id).is_some() || self.names.values().any(|seen| *seen == id);
        self.key_of(word).or_else(|| Id::parse(word)).is_some_and(is_known)
    }

    /// The certificates of all CAs.
    pub fn authorities(&self) -> Vec<Certificate> {
        self.cas.iter().filter_map(|ca| one(&ca.certificate).ok()).collect()
    }

    /// Pins a device under a name of its own; its name if that is free, else with a number. Who is
    /// known already stays as it is. Pairing takes a removal back, as two people have agreed anew.
    ///
    /// # Errors
    /// When it was removed, and is not paired.
    pub fn pin(&mut self, name: &str, certificate: &Certificate, via: Via) -> Result<String> {
        let id = certificate.id;
        if let Some(removed) = self.removal(&id) {
            if via != Via::Pair {
                return Err(was_removed(removed));
            }
            self.removed.retain(|it| it.id != id);
        }
        if let Some(known) = self.pinned(&id) {
            return Ok(known.name.clone());
        }
        // A CA vouched for it under that name.
        self.names.retain(|_, seen| *seen != id);
        let name = self.free_name(name);
        self.devices.push(Known {
            name: name.clone(),
            id,
            certificate: certificate.to_pem(),
            via,
            added: now(),
            last: None,
        });
        Ok(name)
    }

    /// Trusts the devices of a CA. The name is its own, with a number if that is taken.
    ///
    /// # Errors
    /// When the certificate is of no CA.
    pub fn add_ca(&mut self, certificate: &Certificate) -> Result<String> {
        if !certificate.is_ca {
            return Err(Error::usage("that certificate is of no CA")
                .hint("`transfer trust import` pins the device that it belongs to"));
        }
        let text = certificate.to_pem();
        if let Some(known) = self.cas.iter().find(|it| it.certificate == text) {
            return Ok(known.name.clone());
        }
        let name =
            self.free_name(if is_name(&certificate.subject) { &certificate.subject } else { "CA" });
        self.cas.push(KnownCa { name: name.clone(), certificate: text });
        Ok(name)
    }

    /// Takes note that a device has connected; of one that a CA vouched for also under which name.
    ///
    /// # Errors
    /// When it was removed meanwhile.
    pub fn remember(&mut self, name: &str, id: Id) -> Result<()> {
        if let Some(removed) = self.removal(&id) {
            return Err(was_removed(removed));
        }
        match self.devices.iter_mut().find(|it| it.id == id) {
            Some(known) => known.last = Some(now()),
            None => {
                self.names.insert(name.to_owned(), id);
            }
        }
        Ok(())
    }

    /// Whether a key is pinned, or was seen under this name.
    pub fn knows(&self, name: &str, id: &Id) -> bool {
        self.pinned(id).is_some() || self.names.get(name) == Some(id)
    }

    /// The names of all that has another key than this one: devices, pinned or seen, and CAs.
    pub fn names_of_others(&self, id: Id) -> impl Iterator<Item = &str> {
        let pinned = self.devices.iter().filter(move |it| it.id != id).map(|it| &it.name);
        let seen = self.names.iter().filter(move |(_, seen)| **seen != id).map(|(name, _)| name);
        pinned.chain(seen).chain(self.cas.iter().map(|ca| &ca.name)).map(String::as_str)
    }

    fn is_taken(&self, name: &str) -> bool {
        self.key_of(name).is_some() || self.cas.iter().any(|ca| is_same(&ca.name, name))
    }

    fn free_name(&self, name: &str) -> String {
        let mut names = numbered(name, |number| format!(" ({number})"));
        names.find(|name| !self.is_taken(name)).unwrap_or_default()
    }

    /// What a word stands for: a name, an id, or the beginning of one.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::error::Exit::Usage) when it stands for nothing, or for several.
    pub fn find(&self, word: &str) -> Result<Entry> {
        let digits = word.replace([':', ' '], "").to_lowercase();
        let is_id = digits.len() >= MIN_PREFIX && digits.bytes().all(|it| it.is_ascii_hexdigit());
        let is_meant = |name: &str, id: &Id| {
            is_same(name, word) || (is_id && id.to_string().starts_with(&digits))
        };
        let devices = self.devices.iter().filter(|it| is_meant(&it.name, &it.id));
        let cas = self.cas.iter().filter(|it| is_same(&it.name, word));
        let seen = self.names.iter().filter(|(name, id)| is_meant(name, id));
        let mut found: Vec<Entry> = devices.cloned().map(Entry::Device).collect();
        found.extend(cas.cloned().map(Entry::Ca));
        found.extend(seen.map(|(name, id)| Entry::Seen(name.clone(), *id)));
        if found.is_empty() {
            let removed = self.removed.iter().filter(|it| is_meant(&it.name, &it.id));
            found.extend(removed.cloned().map(Entry::Removed));
        }
        let several = found.len() > 1;
        match found.pop() {
            Some(entry) if !several => Ok(entry),
            Some(_) => Err(Error::usage(format!("\"{}\" stands for several", shown(word)))
                .hint("`transfer trust list` has the ids; name one by more of its id")),
            None => Err(Error::usage(format!("\"{}\" is not known here", shown(word)))
                .hint("`transfer trust list` has those that are")),
        }
    }

    /// Gives a device or a CA another name.
    ///
    /// # Errors
    /// When the name is none, or taken, or its own in its certificate.
    pub fn rename(&mut self, word: &str, name: &str) -> Result<()> {
        check_name(name)?;
        let entry = self.find(word)?;
        let (old, mine) = match &entry {
            Entry::Device(known) => (known.name.clone(), true),
            Entry::Ca(ca) => (ca.name.clone(), true),
            Entry::Seen(name, _) => (name.clone(), false),
            Entry::Removed(removed) => return Err(was_removed(removed)),
        };
        if !mine {
            return Err(Error::usage(format!(
                "\"{}\" is the name in its certificate",
                shown(&old)
            ))
            .hint("its CA issues another; or `transfer pair` with it, and name it here"));
        }
        if !is_same(&old, name) && self.is_taken(name) {
            return Err(Error::usage(format!("\"{}\" is the name of another", shown(name)))
                .hint("rename or remove that one first"));
        }
        let devices = self.devices.iter_mut().map(|it| &mut it.name);
        let cas = self.cas.iter_mut().map(|it| &mut it.name);
        for place in devices.chain(cas).filter(|place| **place == old) {
            name.clone_into(place);
        }
        Ok(())
    }

    /// Trusts a device or a CA no more. A device's key never again, not even if its CA vouches for
    /// it; a whole id may be of one that is not known here.
    ///
    /// # Errors
    /// When the word stands for nothing here.
    pub fn remove(&mut self, word: &str) -> Result<Entry> {
        let entry = match (self.find(word), Id::parse(word)) {
            (Err(_), Some(id)) => Entry::Seen(format!("device-{}", id.short()), id),
            (found, _) => found?,
        };
        match &entry {
            Entry::Device(Known { name, id, .. }) | Entry::Seen(name, id) => {
                self.forget(Removed { id: *id, name: name.clone(), at: now() });
            }
            Entry::Ca(ca) => self.cas.retain(|it| it != ca),
            Entry::Removed(_) => {}
        }
        Ok(entry)
    }

    fn forget(&mut self, removed: Removed) {
        self.devices.retain(|it| it.id != removed.id);
        self.names.retain(|_, id| *id != removed.id);
        if self.removal(&removed.id).is_none() {
            self.removed.push(removed);
        }
    }

    /// Takes over what another device has exported: all of it, or nothing. What was removed there is
    /// removed here too.
    ///
    /// # Errors
    /// When a name stands for another key here, or a device was removed here.
    pub fn merge(&mut self, other: &Self) -> Result<Merged> {
        let mut merged = Merged::default();
        for removed in &other.removed {
            if self.removal(&removed.id).is_none() {
                merged.removed.push(removed.name.clone());
                self.forget(removed.clone());
            }
        }
        for device in &other.devices {
            if let Some(removed) = self.removal(&device.id) {
                return Err(was_removed(removed));
            }
            if self.pinned(&device.id).is_some() {
                continue;
            }
            if self.key_of(&device.name).is_some_and(|id| id != device.id) {
                return Err(Error::refused(format!(
                    "\"{}\" has another key here than in that file",
                    shown(&device.name)
                ))
                .hint(
                    "if it was set up anew: `transfer trust remove` it first; nothing was changed",
                ));
            }
            let certificate = one(&device.certificate).map_err(Error::usage)?;
            merged.devices.push(self.pin(&device.name, &certificate, Via::Import)?);
        }
        for ca in &other.cas {
            let certificate = one(&ca.certificate).map_err(Error::usage)?;
            let before = self.cas.len();
            let name = self.add_ca(&certificate)?;
            if self.cas.len() > before {
                merged.cas.push(name);
            }
        }
        Ok(merged)
    }

    /// What others may have of it: without who was seen, and when.
    pub fn exported(&self) -> Self {
        let mut exported = self.clone();
        exported.names.clear();
        exported.devices.iter_mut().for_each(|it| it.last = None);
        exported
    }
}

/// What an import has changed, by names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merged {
    /// Devices that are trusted now.
    pub devices: Vec<String>,
    /// CAs that are.
    pub cas: Vec<String>,
    /// Devices that are no more.
    pub removed: Vec<String>,
}

fn now() -> Timestamp {
    let now = Timestamp::now();
    // The file has whole seconds.
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Names are typed: case does not count.
fn is_same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

fn was_removed(removed: &Removed) -> Error {
    let name = shown(&removed.name);
    Error::refused(format!("\"{name}\" was removed from this device on {}", day(removed.at)))
        .hint("`transfer pair` with it takes that back")
}

/// The day of a moment, as people write it.
pub fn day(at: Timestamp) -> String {
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%-d %b %Y").to_string()
}

/// The one certificate that a field of the file holds.
fn one(text: &str) -> Result<Certificate, String> {
    let mut found =
        pem::certificates_in(text.as_bytes(), "certificate").map_err(|error| error.message)?;
    match (found.pop(), found.is_empty()) {
        (Some(certificate), true) => Ok(certificate),
        _ => Err("a field has more than one certificate".into()),
    }
}

#[cfg(test)]
mod tests;
