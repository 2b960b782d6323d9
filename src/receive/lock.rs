//! `.transfer_lock.json`: what an interrupted transfer left behind, and one receiver a folder.
//!
//! The file is believed only if this user's key has signed it, and for this folder; and even then
//! what a file holds is hashed before it is used. Format, write order and invariants:
//! `docs/resume.md`.

mod keys;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::marker::PhantomData;
use std::time::{Duration, Instant, SystemTime};

use hmac::{Hmac, Mac};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{SerializeMap, SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;

use crate::bounds::{LOCK_COST, LOCK_PACE};
use crate::error::{Error, Result, reason, shown_os};
use crate::files::disk::{self, Flush};
use crate::files::folder::{Found, Replace};
use crate::files::guard::Guard;
use crate::files::manifest::Manifest;
use crate::files::mapping::folded;
use crate::files::own::{Own, RESERVED};
use crate::files::path::RelPath;
use crate::files::root::Root;
use crate::files::sparse::ContentHash;
use crate::files::states::{STATE_LEN, State};
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

/// What an earlier run knew of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Bytes as offered then.
    pub size: u64,
    /// Time of last change as offered then; of a file at its place, as the disk has it.
    pub mtime: Option<i64>,
    /// It was at its place, so no unfinished file of it can be here.
    pub completed: bool,
    /// The hash that its content had then.
    pub hash: Option<Sum>,
}

/// What an earlier run knew of the content of a file that it had begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Bytes of the file as offered when it was begun.
    pub size: u64,
    /// Its time of last change as offered then.
    pub mtime: Option<i64>,
    /// Bytes of a block.
    pub block: u64,
    /// The state behind each whole block.
    pub states: Vec<State>,
}

/// The hash of a whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum {
    /// The hash.
    pub hash: [u8; HASH_LEN],
    /// Whether it is that of a file with holes.
    pub sparse: bool,
}

impl Sum {
    /// A hash of its kind, with nothing taken in.
    pub fn begin(&self) -> ContentHash {
        match self.sparse {
            true => ContentHash::Sparse(Box::default()),
            false => ContentHash::Whole(Default::default()),
        }
    }
}

/// What an earlier, interrupted run left, by the index of today's manifest.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// The files it was about to receive.
    pub files: BTreeMap<u32, Known>,
    /// Of those that it had begun the states behind their whole blocks.
    pub states: BTreeMap<u32, Begun>,
    /// Entries that it put elsewhere.
    pub places: Places,
    /// Folders that it made.
    pub made: BTreeSet<u32>,
    /// The files of which it was looked up that they still have the content they had; nothing
    /// where that run was this very process.
    pub intact: Option<BTreeSet<u32>>,
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
    _guard: Option<Guard>,
    /// The lock's name; nothing where too many are taken by others.
    name: Option<RelPath>,
    saved: Option<Instant>,
    cost: Duration,
}

/// Where the signature of a lock begins, and how it ends.
const MAC: (&str, &str) = (",\"mac\":\"", "\"}");
/// Bytes of all that.
const TAIL: usize = MAC.0.len() + 2 * HASH_LEN + MAC.1.len();

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
    /// Bytes of a block.
    pub block: u64,
    /// The states behind the whole blocks of a file that is not at its place. They say what the
    /// content is to be, not what the disk holds.
    pub states: &'a BTreeMap<u32, &'a [State]>,
    /// Times of last change of those, where the disk has not kept the offered one.
    pub times: &'a BTreeMap<u32, i64>,
    /// Entries that go elsewhere.
    pub places: &'a Places,
    /// Folders that the transfer makes, or an interrupted one has made.
    pub made: &'a BTreeSet<u32>,
    /// What an interrupted run knew of its files: until they come anew, they are known by what
    /// was offered then.
    pub older: &'a BTreeMap<u32, Known>,
}

impl TransferLockManager {
    /// Takes the folder for this receiver alone, and tries it out.
    ///
    /// # Errors
    /// Another receiver has it, or it cannot be written to.
    pub fn acquire(root: &mut Root) -> Result<Self> {
        let guard = match root.guard() {
            Ok(guard) => Some(guard),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let path = shown_os(root.path());
                return Err(Error::failure(format!(
                    "another transfer is receiving into \"{}\"",
                    path
                ))
                .hint("wait until it ends, or receive into another folder with -o"));
            }
            // A file system without locks: two receivers are then the user's own care.
            Err(_) => None,
        };
        root.try_out().map_err(|error| {
            let path = shown_os(root.path());
            let (mut why, mut hint) = (reason(&error), "name another folder with -o");
            if disk::is_full(&error) {
                hint = "make room there, or name another folder with -o";
                if root.room().files == Some(0) {
                    why = "its disk takes no more files (no inodes are left)".into();
                }
            }
            Error::failure(format!("cannot write into \"{}\": {why}", path)).hint(hint)
        })?;
        let free = |name: &RelPath| is_free(root, name);
        let free: Vec<RelPath> = (0..MAX_LOCKS).filter_map(lock_name).filter(free).collect();
        let left = free.iter().find(|name| root.look(name) != Found::Nothing);
        let name = left.or(free.first()).cloned();
        Ok(Self { _guard: guard, name, saved: None, cost: Duration::ZERO })
    }

    /// What an earlier run left for the entries of this manifest. Whatever is wrong with the
    /// file, the worst is that nothing is known.
    pub fn load(&self, root: &mut Root, manifest: &Manifest) -> Remembered {
        let name = self.name.as_ref();
        let Some(mut file) = name.and_then(|name| root.open_file(name).ok()) else {
            return Remembered::default();
        };
        let head = head_of(root.own(), root.number());
        match is_signed(&mut file, root.own(), &head) {
            Ok(true) => parse(file, manifest),
            _ => Remembered::default(),
        }
    }

    /// Whether what it loads was saved by another process.
    pub fn is_restart(&self) -> bool {
        self.saved.is_none()
    }

    /// Saves now. What was saved is on the disk before anything that it tells of can be: a power
    /// cut leaves no file that no lock knows.
    pub fn save(&mut self, root: &mut Root, snapshot: &Snapshot<'_>) -> io::Result<()> {
        let Some(name) = &self.name else { return Ok(()) };
        let began = Instant::now();
        let scratch = root.own().scratch();
        let (own, head) = (root.own().clone(), head_of(root.own(), root.number()));
        let folder = root.parent_of(name)?;
        if folder.look(&scratch) != Found::Nothing {
            folder.remove(&scratch)?;
        }
        let flushes = folder.disk().flush != Flush::Never;
        let file = folder.create_file(&scratch)?;
        let written = write(file, &own, &head, (snapshot, flushes));
        let put = written.and_then(|()| folder.put(&scratch, name.name(), Replace::Allowed));
        put.inspect_err(|_| drop(folder.remove(&scratch)))?;
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
        let scratch = root.own().scratch();
        let _ = root.parent_of(name)?.remove(&scratch);
        // More than one where somebody has put an older one back.
        for name in (0..MAX_LOCKS).filter_map(lock_name) {
            if root.look(&name) != Found::Nothing && is_free(root, &name) {
                root.parent_of(&name)?.remove(name.name())?;
            }
        }
        Ok(())
    }
}

/// Writes a lock, and waits until it is on the disk, unless nobody wants to.
fn write(
    file: File,
    own: &Own,
    head: &str,
    (snapshot, flushes): (&Snapshot<'_>, bool),
) -> io::Result<()> {
    let signed = Signed { file, mac: own.lock(), last: None };
    let mut writer = BufWriter::with_capacity(1 << 16, signed);
    writer.write_all(head.as_bytes())?;
    let mut rest = Headless { writer: &mut writer, begun: false };
    serde_json::to_writer(&mut rest, &Lock(snapshot))?;
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?.finish()?;
    if flushes {
        match file.sync_all() {
            Err(error) if disk::is_unsupported(&error) => {}
            synced => synced?,
        }
    }
    disk::close(file)
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

/// Whether an entry would take a name that belongs to this program, in any folder and on any file
/// system: somebody may receive into that folder later.
pub fn is_reserved(path: &RelPath) -> bool {
    is_reserved_name(path.name())
}

/// The same of a name alone.
pub fn is_reserved_name(name: &[u8]) -> bool {
    // Nothing else folds to a dot, and few names begin with one.
    name.starts_with(b".") && folded(name).starts_with(RESERVED.as_bytes())
}

/// Whether there is nothing of this name, or a lock of this user.
fn is_free(root: &mut Root, name: &RelPath) -> bool {
    match root.look(name) {
        Found::Nothing => true,
        Found::File(_) => {
            let own = owner_of(root.own());
            root.open_file(name).is_ok_and(|file| begins_with(file, &own).is_ok_and(|own| own))
        }
        _ => false,
    }
}

/// Whether a file begins as a lock of this user does.
fn begins_with(file: File, own: &str) -> io::Result<bool> {
    let mut head = Vec::new();
    file.take(own.len() as u64).read_to_end(&mut head)?;
    // One that a power cut has emptied says nothing to anybody.
    Ok(head.is_empty() || head == own.as_bytes())
}

/// How a lock of this user begins.
fn owner_of(own: &Own) -> String {
    format!("{{\"version\":\"{VERSION}\",\"owner\":\"{}\",", own.lock_mark())
}

/// How a lock of this user begins that was written into the folder of this number. One that was
/// moved here from another is not believed.
fn head_of(own: &Own, folder: u64) -> String {
    format!("{}\"folder\":{folder},", owner_of(own))
}

/// Whether a lock begins as it should and was signed with this user's key; the file is then at its
/// beginning again.
fn is_signed(file: &mut File, own: &Own, head: &str) -> io::Result<bool> {
    let len = file.metadata()?.len();
    let Some(signed) = len.checked_sub(TAIL as u64) else { return Ok(false) };
    let mut begun = vec![0; head.len()];
    file.read_exact(&mut begun)?;
    if begun != head.as_bytes() {
        return Ok(false);
    }
    file.rewind()?;
    let mut mac = own.lock();
    io::copy(&mut (&*file).take(signed), &mut Macs(&mut mac))?;
    let mut tail = String::new();
    file.take(TAIL as u64).read_to_string(&mut tail)?;
    file.rewind()?;
    let found = tail.strip_prefix(MAC.0).and_then(|tail| tail.strip_suffix(MAC.1));
    Ok(found.and_then(unhex).is_some_and(|found| mac.verify_slice(&found).is_ok()))
}

/// What is written goes into the signature.
struct Macs<'a>(&'a mut Hmac<Sha256>);

impl Write for Macs<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A lock on its way to the disk. The brace that ends it is held back: the signature comes first.
struct Signed {
    file: File,
    mac: Hmac<Sha256>,
    last: Option<u8>,
}

impl Signed {
    fn finish(mut self) -> io::Result<File> {
        let mac: [u8; HASH_LEN] = self.mac.finalize().into_bytes().into();
        self.file.write_all(format!("{}{}{}", MAC.0, hex(&mac), MAC.1).as_bytes())?;
        Ok(self.file)
    }
}

impl Write for Signed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some((last, bytes)) = bytes.split_last() else { return Ok(0) };
        for part in [self.last.as_slice(), bytes] {
            self.mac.update(part);
            self.file.write_all(part)?;
        }
        self.last = Some(*last);
        Ok(bytes.len() + 1)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Leaves out the brace that begins an object: its head is written already.
struct Headless<'a, W> {
    writer: &'a mut W,
    begun: bool,
}

impl<W: Write> Write for Headless<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let rest = match (self.begun, bytes) {
            (false, [_, rest @ ..]) => rest,
            _ => bytes,
        };
        self.begun |= !bytes.is_empty();
        self.writer.write_all(rest)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
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

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn unhex(text: &str) -> Option<[u8; HASH_LEN]> {
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

#[cfg(test)]
mod tests;
