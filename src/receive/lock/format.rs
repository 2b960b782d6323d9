//! The text of a lock, behind its head. It may be long, so it is written and read piece by piece.

use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::marker::PhantomData;
use std::time::SystemTime;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{SerializeMap, SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};

use super::{Begun, Known, Remembered, Snapshot, Sum, keys};
use crate::files::manifest::Manifest;
use crate::files::states::{STATE_LEN, State};
use crate::protocol::pages::HASH_LEN;

/// What the lock says of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Pending,
    InProgress,
    Completed,
}

/// An entry of `files`. Those that have a default came later: locks without them are read too.
#[derive(Debug, Serialize, Deserialize)]
struct FileState {
    status: Status,
    size: u64,
    transferred_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    original_hash: Option<String>,
    /// Instead of it, of a file with holes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sparse_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partial_hash: Option<String>,
    /// Time of last change as offered, or as the disk has it if the file is complete, in nanoseconds
    /// since 1970 UTC.
    #[serde(default)]
    mtime: Option<i64>,
    /// Bytes of a block, and the states behind the whole blocks, if any came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    states: Option<String>,
    /// The file that those are of, as offered; missing where that is what `size` and `mtime` say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    states_size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    states_mtime: Option<i64>,
}

/// Writes a snapshot, all but its head.
pub fn write(writer: impl Write, snapshot: &Snapshot<'_>) -> io::Result<()> {
    Ok(serde_json::to_writer(writer, &Lock(snapshot))?)
}

/// Reads a lock, however long, keeping only what concerns the manifest.
pub fn parse(file: impl Read, manifest: &Manifest) -> Remembered {
    let whole = BufReader::with_capacity(1 << 16, file);
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
            let path = keys::path_of(path)?;
            u32::try_from(manifest.find(&path)?).ok()
        };
        while let Some(key) = map.next_key::<String>()? {
            match &*key {
                "files" => map.next_value_seed(each(|path: &str, state: FileState| {
                    let Some(index) = index(path) else { return };
                    let completed = state.status == Status::Completed;
                    let sum =
                        |hash: Option<String>, sparse| Some(Sum { hash: unhex(&hash?)?, sparse });
                    let whole = sum(state.original_hash, false);
                    let hash = whole.or(sum(state.sparse_hash, true)).filter(|_| completed);
                    let known = Known { size: state.size, mtime: state.mtime, completed, hash };
                    remembered.files.insert(index, known);
                    let states = state.states.as_deref().filter(|_| !completed);
                    if let (Some(block), Some(states)) = (state.block, states.and_then(states_of)) {
                        let size = state.states_size.unwrap_or(state.size);
                        let mtime = state.states_mtime.or(state.mtime);
                        remembered.states.insert(index, Begun { size, mtime, block, states });
                    }
                }))?,
                "renamed" => map.next_value_seed(each(|path: &str, place: String| {
                    let Some(index) = index(path) else { return };
                    if let (Some(entry), Some(place)) = (manifest.get(index), keys::path_of(&place))
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

/// A snapshot, without its head.
struct Lock<'a>(&'a Snapshot<'a>);

impl Serialize for Lock<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let snapshot = self.0;
        let mut lock = serializer.serialize_struct("lock", 8)?;
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
            if !entry.is_file() {
                continue;
            }
            let size = entry.size();
            let (wanted, older) = ((snapshot.wanted)(index), snapshot.older.get(&index));
            if !wanted && older.is_none() {
                continue;
            }
            let current = snapshot.current.filter(|(current, ..)| *current == index);
            // Of a file that is at its place from an earlier run all that was known is.
            let older_done = older.filter(|older| older.completed && !wanted);
            let (status, transferred_bytes) = match (done, current) {
                (Some(_), _) => (Status::Completed, size),
                (None, Some((_, bytes, _))) => (Status::InProgress, bytes),
                (None, None) if older_done.is_some() => (Status::Completed, size),
                (None, None) => (Status::Pending, 0),
            };
            let (size, mtime) = match (done, older) {
                (None, Some(older)) => (older.size, older.mtime),
                _ => (size, Some(*snapshot.times.get(&index).unwrap_or(&entry.mtime))),
            };
            let states = snapshot.states.get(&index).filter(|_| done.is_none());
            let sum = done.map(|hash| Sum { hash, sparse: entry.is_sparse() });
            let sum = sum.or_else(|| older_done.and_then(|older| older.hash));
            let hash = |sparse| sum.filter(|sum| sum.sparse == sparse).map(|sum| hex(&sum.hash));
            files.serialize_entry(
                &*keys::of(&entry.path),
                &FileState {
                    status,
                    size,
                    transferred_bytes,
                    original_hash: hash(false),
                    sparse_hash: hash(true),
                    partial_hash: current.map(|(_, _, hash)| hex(&hash)),
                    mtime,
                    block: states.map(|_| snapshot.block),
                    states: states.map(|states| hex(states.as_flattened())),
                    states_size: states.map(|_| entry.size()).filter(|of| *of != size),
                    states_mtime: states.map(|_| entry.mtime).filter(|of| Some(*of) != mtime),
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
        serializer
            .collect_map(renamed.map(|(entry, place)| (keys::of(&entry.path), keys::of(place))))
    }
}

/// Paths of folders; a map, so that it is read one by one as the others are.
struct Made<'a>(&'a Snapshot<'a>);

impl Serialize for Made<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let made = self.0.made.iter().filter_map(|index| self.0.manifest.get(*index));
        serializer.collect_map(made.map(|entry| (keys::of(&entry.path), true)))
    }
}

/// States that were written one behind the other.
fn states_of(text: &str) -> Option<Vec<State>> {
    let states = text.as_bytes().chunks(2 * STATE_LEN);
    states.map(|state| std::str::from_utf8(state).ok().and_then(unhex)).collect()
}

/// Two digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// What [`hex`] made of so many bytes.
pub fn unhex(text: &str) -> Option<[u8; HASH_LEN]> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let mut bytes = [0; HASH_LEN];
    if text.len() != 2 * HASH_LEN {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let (high, low) = (pair.first().and_then(digit)?, pair.get(1).and_then(digit)?);
        *byte = high << 4 | low;
    }
    Some(bytes)
}
