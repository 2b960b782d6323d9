//! An unfinished file on the disk: what it is called, and what proves that it is ours.
//!
//! Usually it is called `NAME.part` and bears this user's mark beside its content. Where the disk
//! keeps no marks, the name is taken, or the file is there for a moment only, it has a name that
//! nobody else can make, see [`Own::part_name`].

use std::fs::File;
use std::io;

use crate::files::disk;
use crate::files::folder::{Folder, Found};
use crate::files::own::{Own, PART};
use crate::files::path::RelPath;

/// An unfinished file.
#[derive(Debug)]
pub struct Part {
    /// Its name, beside the place it is for.
    pub name: Vec<u8>,
    is_marked: bool,
}

/// Names shorter than what a disk says it takes: some take less (eCryptfs 143), some do not tell.
const SHORTER: [usize; 3] = [143, 100, 60];

/// The name that an unfinished file usually has.
pub fn usual_name(place: &RelPath) -> Vec<u8> {
    [place.name(), PART.as_bytes()].concat()
}

impl Part {
    /// Makes one under its usual name if that is `free` for it and serves, else under another.
    pub fn create(
        folder: Folder<'_>,
        own: &Own,
        place: &RelPath,
        free: bool,
    ) -> io::Result<(File, Self)> {
        // Under a name that is proof enough first: whenever this is killed, it is known whose it is.
        let (file, mut part) = Self::create_briefly(folder, own, place)?;
        let usual = usual_name(place);
        let serves = free && folder.disk().has_marks && usual.len() <= folder.disk().longest_name;
        if serves && disk::mark(&file, &own.part_mark(place)).is_ok() {
            part.is_marked = true;
            if open_usual(folder, own, place).is_some() {
                // Of an earlier run, and of no use to this one.
                folder.remove(&usual)?;
            }
            if folder.put_at_once(&part.name, &usual).is_ok() {
                part.name = usual;
            }
            // Nobody else goes on with it while it is written.
            let _ = file.try_lock();
        }
        Ok((file, part))
    }

    /// Makes one that is finished or gone in a moment.
    pub fn create_briefly(
        folder: Folder<'_>,
        own: &Own,
        place: &RelPath,
    ) -> io::Result<(File, Self)> {
        let mut last = None;
        for name in proven_names(folder, own, place) {
            let mut made = folder.create_file(&name);
            if is_taken(&made) && folder.remove(&name).is_ok() {
                made = folder.create_file(&name);
            }
            match made {
                Ok(file) => return Ok((file, Self { name, is_marked: false })),
                Err(error) if error.kind() == io::ErrorKind::InvalidFilename => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::InvalidFilename.into()))
    }

    /// What an interrupted run has left of a file, open for going on with it.
    pub fn find(folder: Folder<'_>, own: &Own, place: &RelPath) -> Option<(File, Self)> {
        if let Some(file) = open_usual(folder, own, place) {
            return Some((file, Self { name: usual_name(place), is_marked: true }));
        }
        proven_names(folder, own, place).find_map(|name| {
            let file = folder.reopen_file(&name).ok()?;
            // One that could not get its usual name is marked all the same.
            let is_marked = disk::is_marked(&file, &own.part_mark(place));
            Some((file, Self { name, is_marked }))
        })
    }

    /// Removes whatever an interrupted run has left of a file.
    pub fn sweep(folder: Folder<'_>, own: &Own, place: &RelPath) {
        // One that a run was killed in the middle of naming has two names.
        let usual = usual_name(place);
        if folder.open_placed(&usual).is_ok_and(|file| is_free(&file, own, place)) {
            let _ = folder.remove(&usual);
        }
        for name in proven_names(folder, own, place) {
            if matches!(folder.look(&name), Found::File(_)) {
                let _ = folder.remove(&name);
            }
        }
    }

    /// Removes those of them that could be gone on with.
    pub fn sweep_found(folder: Folder<'_>, own: &Own, place: &RelPath) {
        let mut removed = Vec::new();
        while let Some((file, part)) = Self::find(folder, own, place) {
            drop(file);
            // What somebody else has open Windows calls removed, and some disks show it until it is closed there.
            if part.name == removed || folder.remove(&part.name).is_err() {
                return;
            }
            removed = part.name;
        }
    }

    /// Whether it bears a mark, which has to go when it is finished; until then nobody but this
    /// user has any right to it.
    pub fn is_marked(&self) -> bool {
        self.is_marked
    }

    /// Takes the mark from the file, which has got its `name`, and gives it its mode.
    pub fn unmark(&self, folder: Folder<'_>, name: &[u8], mode: u16) -> io::Result<()> {
        let file = folder.open_placed(name)?;
        disk::unmark(&file)?;
        folder.set_mode(&file, mode)?;
        disk::close(file)
    }
}

fn is_taken<T>(made: &io::Result<T>) -> bool {
    made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists)
}

/// The names that are proof enough, the longest that may serve first.
fn proven_names(folder: Folder<'_>, own: &Own, place: &RelPath) -> impl Iterator<Item = Vec<u8>> {
    let longest = folder.disk().longest_name;
    let shorter = SHORTER.into_iter().filter(move |shorter| *shorter < longest);
    let names = std::iter::once(longest).chain(shorter);
    let mut last = Vec::new();
    names.map(move |longest| own.part_name(place, longest)).filter(move |name| {
        let is_new = *name != last;
        last.clone_from(name);
        is_new
    })
}

/// A file of the usual name that bears our mark and that nobody is writing.
fn open_usual(folder: Folder<'_>, own: &Own, place: &RelPath) -> Option<File> {
    let file = folder.reopen_file(usual_name(place)).ok()?;
    is_free(&file, own, place).then_some(file)
}

/// Whether a file bears our mark and nobody is writing it.
fn is_free(file: &File, own: &Own, place: &RelPath) -> bool {
    disk::is_marked(file, &own.part_mark(place))
        && !matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock))
}
