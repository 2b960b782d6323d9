//! `.transfer_lock.json`: what an interrupted transfer left behind, and one receiver a folder.
//!
//! The file is a hint and never trusted: it tells which unfinished files and other names are
//! this program's own, and nothing else. What a file holds is hashed before it is used. Format,
//! write order and invariants: `docs/resume.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::marker::PhantomData;
use std::time::{Duration, Instant, SystemTime};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{SerializeMap, SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::bounds::{LOCK_COST, LOCK_PACE};
use crate::error::{Error, Result, shown};
use crate::files::manifest::{Kind, Manifest};
use crate::files::path::RelPath;
use crate::files::root::{self, Found, Replace, Root};
use crate::protocol::pages::HASH_LEN;
use crate::receive::places::Places;

/// The version of the format.
const VERSION: &str = "1.0";

/// What the lock says of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Pending,
    InProgress,
    Completed,
}

/// An entry of `files`. Names beyond seed 001 are optional when read.
#[derive(Debug, Serialize, Deserialize)]
struct FileState {
    status: Status,
    size: u64,
    transferred_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    original_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partial_hash: Option<String>,
    /// Time of last change as offered, in nanoseconds since 1970 UTC.
    #[serde(default)]
    mtime: Option<i64>,
    /// The unfinished file's name, where it is not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<String>,
}

/// What an earlier run knew of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Bytes as offered then.
    pub size: u64,
    /// Time of last change as offered then.
    pub mtime: Option<i64>,
    /// The name of the unfinished file, where it was not the usual one.
    pub part: Option<Box<str>>,
    /// It was at its place, so no unfinished file of it can be here.
    pub completed: bool,
}

/// What an earlier, interrupted run left, by the index of today's manifest.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// The files it was about to receive.
    pub files: BTreeMap<u32, Known>,
    /// Entries that it put elsewhere.
    pub places: Places,
    /// Folders that it made.
    pub made: BTreeSet<u32>,
}

impl Remembered {
    /// Whether there is nothing to go on with.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.places.is_empty()
    }
}

/// Keeps the lock file, and keeps other receivers out of the folder while it lives.
#[derive(Debug)]
pub struct TransferLockManager {
    /// Locked by the system until the process ends, however it ends.
    _guard: Option<File>,
    /// The lock's name; nothing where too many are taken by others.
    name: Option<RelPath>,
    saved: Option<Instant>,
    cost: Duration,
}

/// What the head of the lock says.
#[derive(Debug, Clone)]
pub struct Head {
    /// The session that saved it.
    pub session: Uuid,
    /// Where the sender was.
    pub sender: String,
    /// Files offered.
    pub files: u64,
    /// Bytes offered.
    pub bytes: u64,
}

/// The state of the files at a moment, to be saved.
pub struct Snapshot<'a> {
    /// The session.
    pub head: &'a Head,
    /// The list.
    pub manifest: &'a Manifest,
    /// Hashes of the files that are at their place, by index.
    pub done: &'a [Option<[u8; HASH_LEN]>],
    /// The files that were to be received, by index.
    pub wanted: &'a dyn Fn(u32) -> bool,
    /// The file at hand: index, bytes on the disk, their SHA-256.
    pub current: Option<(u32, u64, [u8; HASH_LEN])>,
    /// Unfinished files with unusual names.
    pub parts: &'a BTreeMap<u32, String>,
    /// Entries that go elsewhere.
    pub places: &'a Places,
    /// Folders that the transfer makes, or an interrupted one has made.
    pub made: &'a BTreeSet<u32>,
    /// What an interrupted run knew of its files: until they come anew, they are known by what
    /// was offered then.
    pub older: &'a BTreeMap<u32, Known>,
}

impl TransferLockManager {
    /// Takes the folder for this receiver alone.
    ///
    /// # Errors
    /// Another receiver has it.
    pub fn acquire(root: &mut Root) -> Result<Self> {
        let guard = match root.guard() {
            Ok(guard) => Some(guard),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let path = root.path().to_string_lossy();
                return Err(Error::failure(format!(
                    "another transfer is receiving into \"{}\"",
                    shown(&path)
                ))
                .hint("wait until it ends, or receive into another folder with -o"));
            }
            // A file system without locks: two receivers are then the user's own care.
            Err(_) => None,
        };
        let free = |name: &RelPath| is_free(root, name);
        let free: Vec<RelPath> = (0..MAX_LOCKS).filter_map(lock_name).filter(free).collect();
        let left = free.iter().find(|name| root.look(name) != Found::Nothing);
        let name = left.or(free.first()).cloned();
        Ok(Self { _guard: guard, name, saved: None, cost: Duration::ZERO })
    }

    /// What an earlier run left for the entries of this manifest. Whatever is wrong with the
    /// file, the worst is that nothing is known.
    pub fn load(&self, root: &mut Root, manifest: &Manifest) -> Remembered {
        let file = self.name.as_ref().and_then(|name| root.open_own(name).ok());
        let Some(file) = file else { return Remembered::default() };
        let inode = root::inode(&file);
        parse(file, manifest, inode)
    }

    /// Saves now.
    pub fn save(&mut self, root: &mut Root, snapshot: &Snapshot<'_>) -> io::Result<()> {
        let Some(name) = &self.name else { return Ok(()) };
        let began = Instant::now();
        let temporary = temporary_name(root, name).ok_or(io::ErrorKind::AlreadyExists)?;
        let folder = root.parent_of(&temporary)?;
        let file = folder.create_file(temporary.name())?;
        let lock = Lock { snapshot, inode: root::inode(&file) };
        let mut writer = BufWriter::with_capacity(1 << 16, file);
        serde_json::to_writer(&mut writer, &lock)?;
        writer.flush()?;
        folder.put(temporary.name(), name.name(), Replace::Allowed)?;
        self.saved = Some(Instant::now());
        self.cost = began.elapsed();
        Ok(())
    }

    /// Whether it is time to save again.
    pub fn is_due(&self) -> bool {
        self.saved.is_some_and(|saved| saved.elapsed() >= LOCK_PACE.max(self.cost * LOCK_COST))
    }

    /// Removes the file: there is nothing to go on with.
    pub fn remove(&self, root: &mut Root) -> io::Result<()> {
        let Some(name) = &self.name else { return Ok(()) };
        // A save that failed, on a full disk, may have left its own.
        let _ = temporary_name(root, name);
        // More than one where somebody has put an older one back.
        for name in (0..MAX_LOCKS).filter_map(lock_name) {
            if root.look(&name) != Found::Nothing && is_free(root, &name) {
                root.parent_of(&name)?.remove(name.name())?;
            }
        }
        Ok(())
    }
}

/// Names that the lock may have, the first that is not somebody else's.
const MAX_LOCKS: u32 = 100;

/// `.transfer_lock.json`, `.transfer_lock.1.json` and so on.
fn lock_name(number: u32) -> Option<RelPath> {
    let name = match number {
        0 => ".transfer_lock.json".into(),
        number => format!(".transfer_lock.{number}.json"),
    };
    RelPath::parse(&name).ok()
}

/// Whether an entry would take a name that belongs to the lock, on any file system: one that was
/// sent might be believed later. Inside folders these names mean nothing.
pub fn is_reserved(path: &RelPath) -> bool {
    let name = path.as_str().to_ascii_lowercase();
    name.starts_with(".transfer_lock.") && path.parent().is_none()
}

/// A name for the file that shows how exact this disk's times are.
pub fn probe_name() -> Option<RelPath> {
    RelPath::parse(".transfer_lock.probe").ok()
}

/// Whether there is nothing of this name, or a lock of this user.
fn is_free(root: &mut Root, name: &RelPath) -> bool {
    match root.look(name) {
        Found::Nothing => true,
        Found::File { .. } => {
            root.open_own(name).is_ok_and(|file| is_own(&file).is_ok_and(|own| own))
        }
        _ => false,
    }
}

/// A name for a lock while it is written. What a killed run left under it is removed.
fn temporary_name(root: &mut Root, lock: &RelPath) -> Option<RelPath> {
    (0..MAX_LOCKS).find_map(|number| {
        let name = lock.with_name(&format!("{}.{number}.tmp", lock.name())).ok()?;
        let free = is_free(root, &name);
        if free && root.look(&name) != Found::Nothing {
            root.parent_of(&name).and_then(|folder| folder.remove(name.name())).ok()?;
        }
        free.then_some(name)
    })
}

/// Whether a file begins as a lock that was written to this very file.
fn is_own(file: &File) -> io::Result<bool> {
    let own = head_of(root::inode(file));
    let mut head = Vec::new();
    file.take(own.len() as u64).read_to_end(&mut head)?;
    // One that was just created says nothing yet.
    Ok(head.is_empty() || head == own.as_bytes())
}

/// How a lock begins that was written to the file of this number. One that was sent here, by
/// somebody who would like to be believed, or was copied from elsewhere, names another.
fn head_of(inode: u64) -> String {
    format!("{{\"version\":\"{VERSION}\",\"inode\":{inode},")
}

/// Reads a lock, however long, keeping only what concerns the manifest. One that does not begin
/// as the lock of this inode is not read at all.
pub fn parse(mut file: impl Read, manifest: &Manifest, inode: u64) -> Remembered {
    let head = head_of(inode);
    let mut begun = vec![0; head.len()];
    if file.read_exact(&mut begun).is_err() || begun != head.as_bytes() {
        return Remembered::default();
    }
    let whole = BufReader::with_capacity(1 << 16, begun.chain(file));
    let mut json = serde_json::Deserializer::from_reader(whole);
    let mut remembered = Remembered::default();
    let seed = LockSeed { manifest, remembered: &mut remembered };
    match seed.deserialize(&mut json).and_then(|()| json.end()) {
        Ok(()) => remembered,
        // Cut off, or changed by hand.
        Err(_) => Remembered::default(),
    }
}

struct LockSeed<'a> {
    manifest: &'a Manifest,
    remembered: &'a mut Remembered,
}

impl<'de> DeserializeSeed<'de> for LockSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for LockSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a transfer lock")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let Self { manifest, remembered } = self;
        let index = |path: &str| {
            let path = RelPath::parse(path).ok()?;
            u32::try_from(manifest.find(&path)?).ok()
        };
        while let Some(key) = map.next_key::<String>()? {
            match &*key {
                "files" => map.next_value_seed(each(|path: &str, state: FileState| {
                    let Some(index) = index(path) else { return };
                    let part = state.part.filter(|part| RelPath::parse(part).is_ok());
                    let part = part.filter(|part| part.ends_with(".part") && !part.contains('/'));
                    let known = Known {
                        size: state.size,
                        mtime: state.mtime,
                        part: part.map(String::into_boxed_str),
                        completed: state.status == Status::Completed,
                    };
                    remembered.files.insert(index, known);
                }))?,
                "renamed" => map.next_value_seed(each(|path: &str, place: String| {
                    let Some(index) = index(path) else { return };
                    if let (Some(entry), Ok(place)) = (manifest.get(index), RelPath::parse(&place))
                    {
                        remembered.places.insert(index, entry, place);
                    }
                }))?,
                "made" => map.next_value_seed(each(|path: &str, _: IgnoredAny| {
                    remembered.made.extend(index(path));
                }))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// A map whose entries are handed over one by one.
struct Each<T, F>(F, PhantomData<T>);

fn each<T, F: FnMut(&str, T)>(take: F) -> Each<T, F> {
    Each(take, PhantomData)
}

impl<'de, T: Deserialize<'de>, F: FnMut(&str, T)> DeserializeSeed<'de> for Each<T, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(&str, T)> Visitor<'de> for Each<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<(), M::Error> {
        while let Some((key, value)) = map.next_entry::<String, T>()? {
            (self.0)(&key, value);
        }
        Ok(())
    }
}

/// A snapshot, and where it is written.
struct Lock<'a> {
    snapshot: &'a Snapshot<'a>,
    inode: u64,
}

impl Serialize for Lock<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let snapshot = self.snapshot;
        let mut lock = serializer.serialize_struct("lock", 10)?;
        lock.serialize_field("version", VERSION)?;
        lock.serialize_field("inode", &self.inode)?;
        lock.serialize_field("session_id", &snapshot.head.session)?;
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        lock.serialize_field("timestamp", &now)?;
        lock.serialize_field("sender_ip", &snapshot.head.sender)?;
        lock.serialize_field("total_files", &snapshot.head.files)?;
        lock.serialize_field("total_size", &snapshot.head.bytes)?;
        lock.serialize_field("files", &Files(snapshot))?;
        lock.serialize_field("renamed", &Renamed(snapshot))?;
        lock.serialize_field("made", &Made(snapshot))?;
        lock.end()
    }
}

struct Files<'a>(&'a Snapshot<'a>);

impl Serialize for Files<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let snapshot = self.0;
        let mut files = serializer.serialize_map(None)?;
        for ((index, entry), done) in snapshot.manifest.indexed().zip(snapshot.done) {
            let Kind::File(size) = entry.kind else { continue };
            let (wanted, older) = ((snapshot.wanted)(index), snapshot.older.get(&index));
            if !wanted && older.is_none() {
                continue;
            }
            let current = snapshot.current.filter(|(current, ..)| *current == index);
            let (status, transferred_bytes) = match (done, current) {
                (Some(_), _) => (Status::Completed, size),
                (None, Some((_, bytes, _))) => (Status::InProgress, bytes),
                (None, None) if older.is_some_and(|older| older.completed) && !wanted => {
                    (Status::Completed, size)
                }
                (None, None) => (Status::Pending, 0),
            };
            let (size, mtime) = match (done, older) {
                (None, Some(older)) => (older.size, older.mtime),
                _ => (size, Some(entry.mtime)),
            };
            files.serialize_entry(
                entry.path.as_str(),
                &FileState {
                    status,
                    size,
                    transferred_bytes,
                    original_hash: done.as_ref().map(|hash| hex(hash)),
                    partial_hash: current.map(|(_, _, hash)| hex(&hash)),
                    mtime,
                    part: snapshot.parts.get(&index).cloned(),
                },
            )?;
        }
        files.end()
    }
}

struct Renamed<'a>(&'a Snapshot<'a>);

impl Serialize for Renamed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let renamed = self.0.places.iter();
        let renamed =
            renamed.filter_map(|(index, place)| Some((self.0.manifest.get(index)?, place)));
        serializer.collect_map(renamed.map(|(entry, place)| (entry.path.as_str(), place.as_str())))
    }
}

/// Paths of folders; a map, so that it is read one by one as the others are.
struct Made<'a>(&'a Snapshot<'a>);

impl Serialize for Made<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let made = self.0.made.iter().filter_map(|index| self.0.manifest.get(*index));
        serializer.collect_map(made.map(|entry| (entry.path.as_str(), true)))
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests;
