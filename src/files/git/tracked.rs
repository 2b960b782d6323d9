//! What the index of a repository has.

use std::collections::HashSet;
use std::time::UNIX_EPOCH;

use gix_ignore::glob::pattern::Case;
use gix_index::decode::Options;
use gix_index::entry::{Flags, Mode};
use gix_index::{Entry, State};

use super::repository::Repository;
use super::{Links, is_missing, read};
use crate::error::reason;

/// The index, read.
pub struct Tracked {
    state: State,
    /// Where case does not count: all files and folders below the one that was asked about, in
    /// lower case. Git forgets the others too.
    folded: Option<HashSet<Vec<u8>>>,
}

/// What the index knows of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folder {
    /// Nothing.
    Unknown,
    /// Something in it is tracked.
    Entered,
    /// It is a repository of its own.
    Submodule,
    /// It stands for all that is in it, which is not checked out.
    Sparse,
}

impl Tracked {
    /// Reads the index; an empty one if there is none yet.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    pub fn read(repository: &Repository) -> Result<Self, String> {
        let state = match read(&repository.git_dir.join("index"), Links::Followed) {
            Ok(content) => decode(repository, &content).ok_or("its index cannot be understood")?,
            Err(error) if is_missing(&error) => State::new(repository.hash),
            Err(error) => return Err(format!("its index: {}", reason(&error))),
        };
        let mut this = Self { state, folded: None };
        if repository.case == Case::Fold {
            let mut folded = HashSet::new();
            let paths = this.state.entries().iter().map(|entry| this.path(entry));
            for path in paths.filter(|path| path.starts_with(&repository.below)) {
                let path = path.to_ascii_lowercase();
                let folders = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
                folded.extend(folders.filter_map(|(end, _)| Some(path.get(..=end)?.to_vec())));
                folded.insert(path);
            }
            this.folded = Some(folded);
        }
        Ok(this)
    }

    /// What is tracked below a folder of the work tree, relative to it.
    pub fn paths_below<'a>(&'a self, below: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let entries = self.state.entries().iter().filter(|entry| entry.mode != Mode::DIR);
        entries.filter_map(move |entry| self.path(entry).strip_prefix(below))
    }

    /// Whether a file is tracked.
    pub fn has(&self, path: &[u8]) -> bool {
        let is_here = self.from(path).next().is_some_and(|entry| self.path(entry) == path);
        is_here || self.folded.as_ref().is_some_and(|it| it.contains(&path.to_ascii_lowercase()))
    }

    /// Whether a file is tracked and left out of the work tree.
    pub fn is_left_out(&self, path: &[u8]) -> bool {
        let entry = self.from(path).next().filter(|entry| self.path(entry) == path);
        entry.is_some_and(|entry| entry.flags.contains(Flags::SKIP_WORKTREE))
    }

    /// What is known of a folder; `path` ends with a slash.
    pub fn folder(&self, path: &[u8]) -> Folder {
        let name = path.strip_suffix(b"/").unwrap_or(path);
        let own = self.from(name).next().filter(|entry| self.path(entry) == name);
        if own.is_some_and(|entry| entry.mode == Mode::COMMIT) {
            return Folder::Submodule;
        }
        match self.from(path).next().filter(|entry| self.path(entry).starts_with(path)) {
            Some(entry) if self.path(entry) == path && entry.mode == Mode::DIR => Folder::Sparse,
            Some(_) => Folder::Entered,
            None => match &self.folded {
                Some(folded) if folded.contains(&path.to_ascii_lowercase()) => Folder::Entered,
                _ => Folder::Unknown,
            },
        }
    }

    fn path<'a>(&'a self, entry: &Entry) -> &'a [u8] {
        entry.path(&self.state)
    }

    /// The entries from `path` on.
    fn from(&self, path: &[u8]) -> impl Iterator<Item = &Entry> {
        let entries = self.state.entries();
        let first = entries.partition_point(|entry| self.path(entry) < path);
        entries.get(first..).into_iter().flatten()
    }
}

/// Nothing if it is damaged.
fn decode(repository: &Repository, content: &[u8]) -> Option<State> {
    // One thread: the other way of reading believes an index more than it should.
    let options = Options { thread_limit: Some(1), ..Options::default() };
    let (state, _) =
        State::from_bytes(content, UNIX_EPOCH.into(), repository.hash, options).ok()?;
    if state.link().is_none() {
        return Some(state);
    }
    // Most of it is in another file.
    let path = repository.git_dir.join("index");
    gix_index::File::at(path, repository.hash, true, options).ok().map(Into::into)
}
