//! What of a file is here already: an unfinished one of an earlier run, or one to be compared.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::lock::Remembered;
use super::plan::{Action, Plan, Survey};
use super::writer::part_names;
use crate::files::manifest::{Entry, Manifest};
use crate::files::path::RelPath;
use crate::files::root::{self, Found, Root};
use crate::protocol::pages::{HASH_LEN, Step};

/// Where the content of a file can begin.
pub enum Resume {
    /// Behind what an unfinished file holds.
    Part {
        /// Its name, beside the place of the file.
        name: String,
        /// Bytes it holds.
        offset: u64,
        /// The hash of those, to be gone on with.
        hash: Sha256,
        /// What it was when it was hashed.
        seen: Seen,
    },
    /// Nowhere, if the file that is there has the sender's content.
    Same {
        /// Where it is.
        place: RelPath,
        /// Its SHA-256.
        hash: [u8; HASH_LEN],
    },
}

/// What tells whether a file was touched: its number, bytes and time of last change.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen(u64, u64, Option<SystemTime>);

impl Seen {
    /// The file as it is now.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self(root::inode(file), metadata.len(), metadata.modified().ok()))
    }
}

impl Resume {
    /// What the plan says of it; nothing when it holds nothing.
    pub fn step(&self, entry: &Entry) -> Option<Step> {
        match self {
            Self::Part { offset: 0, .. } => None,
            Self::Part { offset, hash, .. } => {
                Some(Step::Resume { offset: *offset, hash: hash.clone().finalize().into() })
            }
            Self::Same { hash, .. } => Some(Step::Resume { offset: entry.size(), hash: *hash }),
        }
    }

    /// Bytes that need not cross, if the sender agrees.
    pub fn offset(&self, entry: &Entry) -> u64 {
        match self {
            Self::Part { offset, .. } => *offset,
            Self::Same { .. } => entry.size(),
        }
    }
}

/// What is believed of the files that are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Unfinished files are gone on with.
    Parts,
    /// The same, and finished files of equal size are compared by content.
    Content,
    /// Unfinished files begin anew.
    Nothing,
}

/// Hashes what there is of the files that the plan wants.
pub fn find(
    manifest: &Manifest,
    survey: &Survey,
    plan: &Plan,
    remembered: &Remembered,
    root: &mut Root,
    trust: Trust,
) -> BTreeMap<u32, Resume> {
    let mut found = BTreeMap::new();
    for ((index, action), entry) in plan.actions().zip(manifest.entries()) {
        if !entry.is_file() || !matches!(action, Action::Create | Action::Replace) {
            continue;
        }
        if trust == Trust::Content {
            // Its own place too: an interrupted run may have given it another before it knew.
            let equal = [&*survey.place(index, entry), &entry.path].into_iter().find_map(|place| {
                let found = root.look(place);
                let equal = matches!(found, Found::File { size, .. } if size == entry.size());
                let file = root.open_file(place).ok().filter(|_| equal)?;
                let hash = hash_file(file, entry.size()).ok()?.finalize().into();
                Some(Resume::Same { place: place.clone(), hash })
            });
            if let Some(equal) = equal {
                found.insert(index, equal);
                continue;
            }
        }
        let known = remembered.files.get(&index).filter(|known| !known.completed);
        let Some(known) = known else { continue };
        let place = plan.place(index, entry);
        let name = known.part.as_deref().map(String::from);
        let Some(name) = name.or_else(|| default_part(manifest, &place)) else { continue };
        let Ok(path) = place.with_name(&name) else { continue };
        let Found::File { size, .. } = root.look(&path) else { continue };
        let offset = if trust == Trust::Nothing { 0 } else { size.min(entry.size()) };
        let Ok(file) = root.open_own(&path) else { continue };
        let Ok(seen) = Seen::of(&file) else { continue };
        if let Ok(hash) = hash_file(file, offset) {
            found.insert(index, Resume::Part { name, offset, hash, seen });
        }
    }
    found
}

/// The first name for the unfinished file that no entry of the transfer has.
pub fn default_part(manifest: &Manifest, place: &RelPath) -> Option<String> {
    part_names(place.name())
        .find(|name| place.with_name(name).is_ok_and(|path| manifest.find(&path).is_none()))
}

/// The first `len` bytes of a file, hashed.
pub fn hash_file(mut file: File, len: u64) -> io::Result<Sha256> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut left = len;
    while left > 0 {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let piece = buffer.get_mut(..len).unwrap_or_default();
        file.read_exact(piece)?;
        hash.update(&piece);
        left -= len as u64;
    }
    Ok(hash)
}
