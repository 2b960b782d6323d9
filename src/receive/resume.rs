//! What of a file is here already: an unfinished one of an earlier run, or one to be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::lock::{Begun, Known, Remembered, TransferLockManager};
use super::part::Part;
use super::plan::{Action, Plan};
use crate::bounds::{BLOCK, MAX_LANES};
use crate::files::folder::Found;
use crate::files::holes;
use crate::files::manifest::{Entry, Manifest};
use crate::files::path::RelPath;
use crate::files::root::Root;
use crate::files::sparse::ContentHash;
use crate::files::stamp::Stamp;
use crate::files::states::State;
use crate::protocol::pages::{HASH_LEN, Step};

/// Where the content of a file can begin.
pub enum Resume {
    /// Behind what an unfinished file holds.
    Part {
        /// Bytes it holds.
        offset: u64,
        /// The hash of those, to be gone on with.
        hash: ContentHash,
        /// So many of its states are those that the lock has kept.
        kept: usize,
        /// What it was when it was hashed.
        seen: Stamp,
        /// Bytes that its content takes on the disk.
        taken: u64,
    },
    /// Behind its whole blocks, whose states the lock has kept. Whether they still are what these
    /// say is found out while more comes.
    Blocks {
        /// Bytes of a block.
        block: u64,
        /// The state behind each, at least one.
        states: Vec<State>,
        /// What it was when it was found.
        seen: Stamp,
    },
    /// Nowhere, if the file that is there has the sender's content.
    Same {
        /// Where it is.
        place: RelPath,
        /// The hash of its content.
        hash: [u8; HASH_LEN],
        /// What it was when it was hashed.
        seen: Found,
    },
}

impl Resume {
    /// What the plan says of it; nothing when it holds nothing.
    pub fn step(&self, entry: &Entry) -> Option<Step> {
        match self {
            Self::Part { offset: 0, .. } => None,
            Self::Part { offset, hash, .. } => {
                Some(Step::Resume { offset: *offset, hash: hash.clone().finish() })
            }
            Self::Blocks { states, .. } => {
                let blocks = u32::try_from(states.len()).ok()?;
                Some(Step::GoOn { blocks, state: *states.last()? })
            }
            Self::Same { hash, .. } => Some(Step::Resume { offset: entry.size(), hash: *hash }),
        }
    }

    /// Bytes of those that the disk need not have room for any more.
    pub fn taken(&self, entry: &Entry) -> u64 {
        match self {
            Self::Part { taken, .. } => *taken,
            Self::Blocks { .. } => self.offset(entry),
            Self::Same { .. } => entry.size(),
        }
    }

    /// Bytes that need not cross, if the sender agrees.
    pub fn offset(&self, entry: &Entry) -> u64 {
        match self {
            Self::Part { offset, .. } => *offset,
            Self::Blocks { block, states, .. } => block * states.len() as u64,
            Self::Same { .. } => entry.size(),
        }
    }

    /// The states that the lock has kept of it, to be kept until more is known.
    pub fn kept(&self) -> &[State] {
        match self {
            Self::Part { hash, kept, .. } => hash.states().get(..*kept).unwrap_or_default(),
            Self::Blocks { states, .. } => states,
            Self::Same { .. } => &[],
        }
    }
}

/// What an interrupted run left for the entries of this manifest. What another process left is
/// looked at: it may have ended with the power.
pub fn remember(lock: &TransferLockManager, root: &mut Root, manifest: &Manifest) -> Remembered {
    let mut remembered = lock.load(root, manifest);
    if lock.is_restart() && !remembered.is_empty() {
        remembered.intact = Some(verify(manifest, &remembered, root));
    }
    remembered
}

/// Which of the files that an interrupted run finished still have the content that was verified
/// then. After a power cut some have their name and time, and nothing else.
fn verify(manifest: &Manifest, remembered: &Remembered, root: &mut Root) -> BTreeSet<u32> {
    let finished = remembered.files.iter().filter_map(|(index, known)| {
        let (entry, sum) = (manifest.get(*index)?, known.hash?);
        Some((*index, remembered.places.of(*index, entry).into_owned(), known.size, sum))
    });
    let finished: Vec<_> = finished.collect();
    let next = AtomicUsize::new(0);
    let intact = |root: &mut Root| {
        let mut intact = BTreeSet::new();
        while let Some((index, place, size, sum)) =
            finished.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let found = root.look(place);
            if found.stamp().is_some_and(|stamp| stamp.size == *size)
                && let Ok(file) = root.open_file(place)
                && hash_file(file, *size, sum.begin()).is_ok_and(|found| found.finish() == sum.hash)
            {
                intact.insert(*index);
            }
        }
        intact
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_LANES);
    let roots: Vec<_> = (1..threads).map_while(|_| root.again().ok()).collect();
    thread::scope(|scope| {
        let others: Vec<_> =
            roots.into_iter().map(|mut root| scope.spawn(move || intact(&mut root))).collect();
        let mut all = intact(root);
        // What a thread did not come to tell is sent again.
        all.extend(others.into_iter().flat_map(|other| other.join().unwrap_or_default()));
        all
    })
}

/// How unfinished files are gone on with.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// From their first byte.
    pub anew: bool,
    /// Block by block, in blocks of so many bytes, if both sides can.
    pub blocks: Option<u64>,
}

/// Blocks that are hashed before the sender is asked to go on; more of them are hashed meanwhile.
/// So many take less than a second, and with them nothing of the last, unfinished one comes again.
const HASHED_FIRST: usize = 32;

/// Hashes what there is of the files that the plan wants, and removes what is left of those that
/// it does not.
pub fn find(
    manifest: &Manifest,
    plan: &Plan,
    remembered: &Remembered,
    root: &mut Root,
    how: How,
) -> BTreeMap<u32, Resume> {
    let own = root.own().clone();
    let mut found = BTreeMap::new();
    for ((index, action), entry) in plan.actions().zip(manifest.entries()) {
        if !entry.is_file() {
            continue;
        }
        let place = plan.place(index, entry);
        let is_begun = |known: &&Known| !known.completed;
        let known = remembered.files.get(&index).filter(is_begun);
        if !matches!(action, Action::Create | Action::Replace) {
            if let (Some(_), Ok(folder)) = (known, root.parent_of(&place)) {
                Part::sweep(folder, &own, &place);
            }
            continue;
        }
        let intended = remembered.places.of(index, entry);
        if known.is_some()
            && intended != place
            && let Ok(folder) = root.parent_of(&intended)
        {
            // It goes elsewhere now.
            Part::sweep(folder, &own, &intended);
        }
        // What has begun to come was compared with what is here before that.
        let states = remembered.states.get(&index).filter(|states| {
            // Of what is not offered any more they say nothing.
            (states.size, states.mtime) == (entry.size(), Some(entry.mtime))
        });
        let begun = known.and_then(|_| begun(root, &place, entry, states, how));
        let has_begun = begun.as_ref().is_some_and(|begun| begun.offset(entry) > 0);
        let mut same = || plan.compare(index).first().and_then(|place| same(root, place, entry));
        let resume = if has_begun { None } else { same() };
        if let Some(resume) = resume.or(begun) {
            found.insert(index, resume);
        }
    }
    found
}

/// The unfinished file of an entry, hashed unless that would take long.
fn begun(
    root: &mut Root,
    place: &RelPath,
    entry: &Entry,
    kept: Option<&Begun>,
    How { anew, blocks }: How,
) -> Option<Resume> {
    let own = root.own().clone();
    let folder = root.parent_of(place).ok()?;
    let (file, _) = Part::find(folder, &own, place)?;
    let seen = folder.stamp_of(&file).ok()?;
    let offset = if anew { 0 } else { seen.size.min(entry.size()) };
    let taken =
        if entry.is_sparse() { holes::taken(&file.metadata().ok()?, offset) } else { offset };
    let block = blocks.unwrap_or(BLOCK);
    // A part that is shorter than the lock knew has lost its last blocks.
    let whole = usize::try_from(offset / block).unwrap_or(usize::MAX);
    let kept =
        kept.filter(|kept| blocks == Some(kept.block) && !entry.is_sparse()).and_then(|kept| {
            let states = &kept.states;
            states.get(..whole.min(states.len())).filter(|states| !states.is_empty())
        });
    let go_on = |states: &[State]| Resume::Blocks { block, states: states.to_vec(), seen };
    if let Some(states) = kept.filter(|states| states.len() > HASHED_FIRST) {
        return Some(go_on(states));
    }
    let hash = hash_file(file, offset, ContentHash::in_blocks(entry, block)).ok()?;
    match kept {
        // Only what is damaged has to come again.
        Some(states) if !hash.states().starts_with(states) => Some(go_on(states)),
        kept => {
            let kept = kept.map_or(0, <[State]>::len);
            Some(Resume::Part { offset, hash, kept, seen, taken })
        }
    }
}

/// A file that may have the content of an entry, hashed.
fn same(root: &mut Root, place: &RelPath, entry: &Entry) -> Option<Resume> {
    let seen = root.look(place);
    let equal = matches!(&seen, Found::File(stamp) if stamp.size == entry.size());
    let file = root.open_file(place).ok().filter(|_| equal)?;
    let hash = hash_file(file, entry.size(), ContentHash::of(entry)).ok()?.finish();
    Some(Resume::Same { place: place.clone(), hash, seen })
}

/// The hash of a file that may have the content of an entry.
pub fn hash_of(root: &mut Root, place: &RelPath, entry: &Entry) -> io::Result<[u8; HASH_LEN]> {
    Ok(hash_file(root.open_file(place)?, entry.size(), ContentHash::of(entry))?.finish())
}

/// The first `len` bytes of a file, taken into a hash.
pub fn hash_file(mut file: File, len: u64, mut hash: ContentHash) -> io::Result<ContentHash> {
    holes::hash(&mut file, len, &mut hash, || Ok::<_, io::Error>(()))?;
    Ok(hash)
}
