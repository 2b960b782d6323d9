//! The entries of a manifest at their places on the disk: folders, links, finished files.

use std::io;

use super::part;
use super::plan::{Action, Plan};
use super::resume::hash_of;
use super::writer::{FileWriter, Verified};
use crate::files::disk;
use crate::files::folder::{Folder, Found, Replace};
use crate::files::manifest::{Entry, Kind, Manifest};
use crate::files::path::RelPath;
use crate::files::root::Root;
use crate::files::target::Target;
use crate::protocol::pages::HASH_LEN;

/// A plan, and the folder it is carried out in.
pub struct Tree<'a> {
    /// The list.
    pub manifest: &'a Manifest,
    /// The output folder.
    pub root: &'a mut Root,
    /// Where each entry goes.
    pub plan: Plan,
}

/// How making folders went, by index.
#[derive(Default)]
pub struct Folders {
    /// Those that could not be made.
    pub failed: Vec<(u32, io::Error)>,
    /// Those that were there after all, under a name that this file system does not tell apart.
    pub found: Vec<u32>,
}

impl Tree<'_> {
    /// The folder and the name under which the entry will be.
    pub fn place(&self, index: u32, entry: &Entry) -> RelPath {
        self.plan.place(index, entry).into_owned()
    }

    /// Begins the unfinished file of an entry.
    pub fn begin(&mut self, entry: &Entry, place: &RelPath) -> io::Result<FileWriter> {
        // What an entry of the offer is called, where it was offered or here, is not for an
        // unfinished file.
        let free = [place, &entry.path].into_iter().all(|path| {
            let usual = path.with_name(part::usual_name(place));
            usual.is_ok_and(|path| self.manifest.find(&path).is_none())
        });
        let own = self.root.own().clone();
        FileWriter::create(self.root.parent_of(place)?, &own, (entry, place), free)
    }

    /// Gives a verified file its name; one that was taken meanwhile is not replaced. Returns the
    /// time of last change that the disk made of the offered one.
    pub fn put(&mut self, index: u32, entry: &Entry, verified: &Verified) -> io::Result<i64> {
        let mut place = self.place(index, entry);
        loop {
            let replace = self.plan.found(index).map_or(Replace::Never, Replace::Only);
            let folder = self.root.parent_of(&place)?;
            match verified.place(folder, place.name(), entry, replace) {
                Err(error) if is_taken(&error) => place = self.other_name(&place).ok_or(error)?,
                Err(error) => return Err(error),
                Ok(mtime) => {
                    self.plan.move_to(index, entry, place);
                    return Ok(mtime);
                }
            }
        }
    }

    /// Where a file is that has this very content, among those that the entry would be put beside
    /// under another name.
    pub fn twin(&mut self, index: u32, entry: &Entry, hash: &[u8; HASH_LEN]) -> Option<RelPath> {
        // The first was compared by the sender.
        let others = self.plan.compare(index).get(1..).unwrap_or_default().to_vec();
        others.into_iter().find(|place| {
            matches!(self.root.look(place), Found::File(stamp) if stamp.size == entry.size())
                && hash_of(self.root, place, entry).is_ok_and(|found| found == *hash)
        })
    }

    /// Removes an unfinished file.
    pub fn discard(&mut self, index: u32, entry: &Entry, writer: FileWriter) {
        if let Ok(folder) = self.root.parent_of(&self.plan.place(index, entry)) {
            writer.discard(folder);
        }
    }

    /// Makes the folders that are not there.
    pub fn make_folders(&mut self) -> Folders {
        let mut folders = Folders::default();
        for (index, entry) in self.manifest.indexed() {
            if entry.kind != Kind::Folder || self.plan.action(index) != Some(Action::Create) {
                continue;
            }
            let place = self.plan.place(index, entry);
            let made = self.root.parent_of(&place).and_then(|folder| {
                match folder.create_folder(place.name(), entry.mode) {
                    // Names that this file system does not tell apart: the two are merged.
                    Err(error)
                        if is_taken(&error)
                            && matches!(folder.look(place.name()), Found::Folder(_)) =>
                    {
                        folders.found.push(index);
                        Ok(())
                    }
                    made => made,
                }
            });
            if let Err(error) = made {
                folders.failed.push((index, error));
            }
        }
        folders
    }

    /// Gives files that are here already the mode that was offered, and links the time. What a
    /// colleague owns, or a disk does not keep, stays as it is.
    pub fn finish_kept(&mut self) {
        for (index, entry) in self.manifest.indexed() {
            let kept = self.plan.action(index) == Some(Action::Keep);
            if kept && matches!(entry.kind, Kind::Link(_)) {
                let place = self.plan.place(index, entry);
                if let Ok(folder) = self.root.parent_of(&place) {
                    let _ = folder.set_time(place.name(), entry.mtime);
                }
            }
        }
        for index in &self.plan.remode().to_vec() {
            let kept = self.plan.action(*index) == Some(Action::Keep);
            let Some(entry) = self.manifest.get(*index).filter(|_| kept) else { continue };
            let place = self.place(*index, entry);
            let _ = self.attribute(&place, entry);
        }
    }

    /// Gives a file that was there before the mode and time that were offered.
    pub fn attribute(&mut self, place: &RelPath, entry: &Entry) -> io::Result<()> {
        let mark = self.root.own().part_mark(place);
        let file = self.root.open_file(place)?;
        let folder = self.root.parent_of(place)?;
        if folder.disk().has_marks && disk::is_marked(&file, &mark) {
            // A run was killed in the moment after it had named it.
            disk::unmark(&file)?;
        }
        folder.set_attributes_of_kept(&file, entry.mode, entry.mtime)
    }

    /// Makes the links; returns those that could not be made.
    pub fn make_links(&mut self) -> Vec<(u32, io::Error)> {
        let mut failed = Vec::new();
        for (index, entry) in self.manifest.indexed() {
            let Kind::Link(target) = &entry.kind else { continue };
            let wanted = matches!(self.plan.action(index), Some(Action::Create | Action::Replace));
            if wanted && let Err(error) = self.make_link(index, entry, target) {
                failed.push((index, error));
            }
        }
        failed
    }

    fn make_link(&mut self, index: u32, entry: &Entry, target: &Target) -> io::Result<()> {
        let mut place = self.place(index, entry);
        if let Some(found) = self.plan.found(index).cloned() {
            // Made under a free name first, so that the old one is replaced in one step.
            let other = self.other_name(&place).ok_or(io::ErrorKind::AlreadyExists)?;
            let folder = self.root.parent_of(&place)?;
            folder.create_link(other.name(), target, entry.mtime)?;
            match folder.put(other.name(), place.name(), Replace::Only(&found)) {
                // Somebody has changed what was there: both are kept.
                Err(error) if is_taken(&error) => self.plan.move_to(index, entry, other),
                Err(error) => {
                    let _ = folder.remove(other.name());
                    return Err(error);
                }
                Ok(()) => {}
            }
            return Ok(());
        }
        loop {
            let folder: Folder<'_> = self.root.parent_of(&place)?;
            match folder.create_link(place.name(), target, entry.mtime) {
                Err(error) if is_taken(&error) => place = self.other_name(&place).ok_or(error)?,
                Err(error) => return Err(error),
                Ok(()) => {
                    self.plan.move_to(index, entry, place);
                    return Ok(());
                }
            }
        }
    }

    /// Gives the folders of `usable` their modes and times, from the innermost outwards, for a
    /// folder may end up closed to its owner. Returns those that could not get them.
    pub fn finish_folders(&mut self, usable: impl Fn(u32) -> bool) -> Vec<(u32, io::Error)> {
        let mut failed = Vec::new();
        for (index, entry) in self.manifest.indexed().rev() {
            if entry.kind == Kind::Folder && usable(index) {
                let place = self.plan.place(index, entry);
                if let Err(error) = self.root.finish_folder(&place, entry.mode, entry.mtime) {
                    failed.push((index, error));
                }
            }
        }
        failed
    }

    fn other_name(&mut self, place: &RelPath) -> Option<RelPath> {
        let (manifest, root) = (self.manifest, &mut *self.root);
        let (longest, mapped) = (root.top().disk().longest_name, root.mapped(place));
        self.plan.other_name(place, (longest, mapped), |path| {
            manifest.find(path).is_none() && root.look(path) == Found::Nothing
        })
    }
}

fn is_taken(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, IsADirectory, NotADirectory};
    matches!(error.kind(), AlreadyExists | IsADirectory | DirectoryNotEmpty | NotADirectory)
}
