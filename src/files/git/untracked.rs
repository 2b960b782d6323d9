//! What is in a work tree, not in the index, and not ignored. Goes down as git does: an ignored
//! folder is not entered, a repository in the repository is a name and no more.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::vec;

use super::repository::{Repository, is_repository};
use super::tracked::{Folder, Tracked};
use super::{Links, git_path, native, read};
use crate::error::reason;
use crate::files::naming::composed;

/// One search. Paths are those of git, from the top of the work tree on.
pub struct Search<'a> {
    repository: &'a Repository,
    tracked: &'a Tracked,
    /// The rules that count where the search is, the weakest first.
    rules: gix_ignore::Search,
    /// Files, links, and repositories in the repository.
    pub found: Vec<Vec<u8>>,
    /// Folders that cannot be looked through, and why.
    pub unreadable: Vec<(Vec<u8>, String)>,
    /// Folders that can be, but of which nobody can tell what git would list, and why.
    pub unknown: Vec<(Vec<u8>, String)>,
}

/// A folder that is being looked through.
struct Level {
    /// Its path, with a slash at the end unless it is the top.
    path: Vec<u8>,
    /// How many files of rules count above it.
    rules: usize,
    /// Why its own rules are not known.
    dark: Option<String>,
    entries: vec::IntoIter<fs::DirEntry>,
}

impl<'a> Search<'a> {
    /// Nothing has been looked at yet.
    pub fn new(repository: &'a Repository, tracked: &'a Tracked) -> Self {
        let rules = repository.ignored.clone();
        Self {
            repository,
            tracked,
            rules,
            found: Vec::new(),
            unreadable: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Looks through a folder: empty for the top, else with a slash at the end.
    ///
    /// # Errors
    /// Why the rules that count there are not known, in words.
    pub fn run(&mut self, folder: &[u8]) -> Result<(), String> {
        let ends = folder.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        for (end, _) in ends {
            let (above, name) = folder.split_at(end);
            let above = above.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
            let (Some(above), true) = (folder.get(..above), name.first() == Some(&b'/')) else {
                continue;
            };
            self.add_rules(above)?;
            let path = folder.get(..end).unwrap_or_default();
            if self.ignores(path, true) {
                return Ok(());
            }
        }
        if self.tracked.folder(folder) == Folder::Sparse {
            return Err(SPARSE.into());
        }
        self.look_through(folder);
        Ok(())
    }

    /// A stack of our own: a path can have two thousand names.
    fn look_through(&mut self, folder: &[u8]) {
        let mut levels = Vec::new();
        self.open(&mut levels, folder.to_vec());
        while let Some(level) = levels.last_mut() {
            let Some(entry) = level.entries.next() else {
                self.rules.patterns.truncate(level.rules);
                levels.pop();
                continue;
            };
            let name = entry.file_name();
            let mut name = git_path(Path::new(&name));
            if self.repository.composes {
                name = Cow::Owned(composed(&name));
            }
            if name.eq_ignore_ascii_case(b".git") && (self.folds_case() || *name == *b".git") {
                continue;
            }
            let mut path = [&*level.path, &*name].concat();
            let Ok(kind) = entry.file_type() else { continue };
            let is_known = match kind.is_dir() {
                true => false,
                false => self.tracked.has(&path) || !(kind.is_file() || kind.is_symlink()),
            };
            if is_known {
                continue;
            }
            if let Some(why) = level.dark.take() {
                self.unknown.push((without_slash(level.path.clone()), why));
                level.entries = Vec::new().into_iter();
                continue;
            }
            if !kind.is_dir() {
                if !self.ignores(&path, false) {
                    self.found.push(path);
                }
                continue;
            }
            if self.ignores(&path, true) {
                continue;
            }
            path.push(b'/');
            match self.tracked.folder(&path) {
                Folder::Submodule => {}
                Folder::Sparse => self.unknown.push((without_slash(path), SPARSE.into())),
                Folder::Unknown if is_repository(&entry.path()) => {
                    self.found.push(without_slash(path));
                }
                Folder::Unknown | Folder::Entered => self.open(&mut levels, path),
            }
        }
    }

    fn open(&mut self, levels: &mut Vec<Level>, path: Vec<u8>) {
        let rules = self.rules.patterns.len();
        let dark = self.add_rules(&path).err();
        let entries = fs::read_dir(self.on_disk(&path)).and_then(Iterator::collect);
        match entries.map(|entries: Vec<_>| entries.into_iter()) {
            Ok(entries) => levels.push(Level { path, rules, dark, entries }),
            Err(error) => {
                self.rules.patterns.truncate(rules);
                self.unreadable.push((without_slash(path), reason(&error)));
            }
        }
    }

    /// Adds the `.gitignore` of a folder to the rules.
    fn add_rules(&mut self, folder: &[u8]) -> Result<(), String> {
        let path = [folder, b".gitignore"].concat();
        let file = self.on_disk(&path);
        let rules = match read(&file, Links::Refused) {
            Ok(rules) => rules,
            // Git takes these rules from its objects, where this program does not look.
            Err(_) if self.tracked.is_left_out(&path) => {
                return Err("its .gitignore is outside the sparse checkout".into());
            }
            // As git does: what cannot be read says nothing.
            Err(_) => return Ok(()),
        };
        let root = Some(&*self.repository.root);
        let added = self.rules.add_patterns_buffer(&rules, file, root, Default::default());
        added.map_err(|error| reason(&error))
    }

    fn ignores(&self, path: &[u8], is_folder: bool) -> bool {
        let case = self.repository.case;
        let found = self.rules.pattern_matching_relative_path(path.into(), Some(is_folder), case);
        found.is_some_and(|found| !found.pattern.is_negative())
    }

    fn folds_case(&self) -> bool {
        self.repository.case == gix_ignore::glob::pattern::Case::Fold
    }

    fn on_disk(&self, path: &[u8]) -> PathBuf {
        native(path)
            .map_or_else(|| self.repository.root.clone(), |it| self.repository.root.join(it))
    }
}

/// Why a folder of a sparse index is not listed: its names are in objects, and those may be missing.
const SPARSE: &str =
    "it is outside the sparse checkout, and git's index does not say what is in it";

fn without_slash(mut path: Vec<u8>) -> Vec<u8> {
    path.pop_if(|last| *last == b'/');
    path
}
