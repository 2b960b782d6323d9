//! The entries of a manifest at their places on the disk: folders, links, finished files.

use std::io;

use super::plan::{Action, Plan, free_name};
use super::resume::default_part;
use super::writer::{FileWriter, Verified, part_names};
use crate::files::manifest::{Entry, Kind, Manifest};
use crate::files::path::RelPath;
use crate::files::root::{self, Folder, Found, Replace, Root};

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
    pub failed: Vec<u32>,
    /// Those that were there after all, under a name that this file system does not tell apart.
    pub found: Vec<u32>,
}

impl Tree<'_> {
    /// The folder and the name under which the entry will be.
    pub fn place(&self, index: u32, entry: &Entry) -> RelPath {
        self.plan.place(index, entry).into_owned()
    }

    /// A name for the entry's unfinished file that nothing has, and whether it is the usual one.
    pub fn free_part(&mut self, place: &RelPath) -> io::Result<(String, bool)> {
        let usual = default_part(self.manifest, place);
        let folder = self.root.parent_of(place)?;
        let free = part_names(place.name()).find(|name| {
            place.with_name(name).is_ok_and(|path| self.manifest.find(&path).is_none())
                && folder.look(name) == Found::Nothing
        });
        let free = free.ok_or(io::ErrorKind::AlreadyExists)?;
        let is_usual = Some(&free) == usual.as_ref();
        Ok((free, is_usual))
    }

    /// Gives a verified file its name; one that was taken meanwhile is not replaced.
    pub fn put(&mut self, index: u32, entry: &Entry, verified: &Verified) -> io::Result<()> {
        let replace = self.replace(index);
        let mut place = self.place(index, entry);
        loop {
            let folder = self.root.parent_of(&place)?;
            match verified.place(folder, place.name(), entry, replace) {
                Err(error) if is_taken(&error) => place = self.other_name(&place).ok_or(error)?,
                Err(error) => return Err(error),
                Ok(()) => {
                    self.plan.move_to(index, entry, place);
                    return Ok(());
                }
            }
        }
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
                        if is_taken(&error) && folder.look(place.name()) == Found::Folder =>
                    {
                        folders.found.push(index);
                        Ok(())
                    }
                    made => made,
                }
            });
            if made.is_err() {
                folders.failed.push(index);
            }
        }
        folders
    }

    /// Gives files that are here already the mode that was offered, and links the time; returns
    /// those that could not get it.
    pub fn finish_kept(&mut self) -> Vec<u32> {
        let mut failed = Vec::new();
        for (index, entry) in self.manifest.indexed() {
            let kept = self.plan.action(index) == Some(Action::Keep);
            if kept && matches!(entry.kind, Kind::Link(_)) {
                let place = self.plan.place(index, entry);
                let folder = self.root.parent_of(&place);
                let set = folder.and_then(|folder| folder.set_link_time(place.name(), entry.mtime));
                if set.is_err() {
                    failed.push(index);
                }
            }
        }
        for index in self.plan.remode() {
            let kept = self.plan.action(*index) == Some(Action::Keep);
            let Some(entry) = self.manifest.get(*index).filter(|_| kept) else { continue };
            let file = self.root.open_file(&self.plan.place(*index, entry));
            if file.and_then(|file| root::set_mode(&file, entry.mode)).is_err() {
                failed.push(*index);
            }
        }
        failed
    }

    /// Makes the links; returns those that could not be made.
    pub fn make_links(&mut self) -> Vec<u32> {
        let mut failed = Vec::new();
        for (index, entry) in self.manifest.indexed() {
            let Kind::Link(target) = &entry.kind else { continue };
            let wanted = matches!(self.plan.action(index), Some(Action::Create | Action::Replace));
            if wanted && self.make_link(index, entry, target).is_err() {
                failed.push(index);
            }
        }
        failed
    }

    fn make_link(&mut self, index: u32, entry: &Entry, target: &str) -> io::Result<()> {
        let mut place = self.place(index, entry);
        if self.replace(index) == Replace::Allowed {
            // Made under a free name first, so that the old one is replaced in one step.
            let other = self.other_name(&place).ok_or(io::ErrorKind::AlreadyExists)?;
            let folder = self.root.parent_of(&place)?;
            folder.create_link(other.name(), target, entry.mtime)?;
            let put = folder.put(other.name(), place.name(), Replace::Allowed);
            if put.is_err() {
                let _ = folder.remove(other.name());
            }
            return put;
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
    pub fn finish_folders(&mut self, usable: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut failed = Vec::new();
        for (index, entry) in self.manifest.indexed().rev() {
            if entry.kind == Kind::Folder && usable(index) {
                let place = self.plan.place(index, entry);
                if self.root.finish_folder(&place, entry.mode, entry.mtime).is_err() {
                    failed.push(index);
                }
            }
        }
        failed
    }

    /// Whether the entry may replace what is at its place.
    pub fn replace(&self, index: u32) -> Replace {
        match self.plan.action(index) {
            Some(Action::Replace) => Replace::Allowed,
            _ => Replace::Never,
        }
    }

    fn other_name(&mut self, place: &RelPath) -> Option<RelPath> {
        let (manifest, root) = (self.manifest, &mut *self.root);
        free_name(place, |path| manifest.find(path).is_some() || root.look(path) != Found::Nothing)
    }
}

fn is_taken(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, IsADirectory, NotADirectory};
    matches!(error.kind(), AlreadyExists | IsADirectory | DirectoryNotEmpty | NotADirectory)
}
