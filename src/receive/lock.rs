//! `.transfer_lock.json`: what an interrupted transfer left behind, and one receiver a folder.
//!
//! The file is believed only if this user's key has signed it, and for this folder; and even then
//! what a file holds is hashed before it is used. Format, write order and invariants:
//! `docs/resume.md`.

mod format;
mod keys;
mod signature;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use uuid::Uuid;

pub use self::format::parse;
use self::signature::{begins_with, head_of, is_signed, owner_of};
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
use crate::files::states::State;
use crate::protocol::pages::HASH_LEN;
use crate::receive::places::Places;

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
    let file = signature::sign(file, own, head, |rest| format::write(rest, snapshot))?;
    if flushes {
        disk::sync(&file)?;
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

#[cfg(test)]
mod tests;
