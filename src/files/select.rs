//! What of a tree goes, decided entry by entry while it is walked: patterns first, then git.
//!
//! A folder that stays behind is not entered, so nothing in it is looked at, or counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::exclude::{Excludes, Pattern};
use super::git::{self, Listing};
use super::path::{native, told};
use crate::error::{Error, Result, shown_bytes};

/// What the user wants of the paths; everything, unless something is set.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    /// Leave out what one of these names.
    pub exclude: Vec<Pattern>,
    /// Of git work trees take what `git ls-files -co --exclude-standard` lists.
    pub gitignore: bool,
    /// Enter no folder on another file system.
    pub one_file_system: bool,
}

/// What the filters did.
#[derive(Debug, Clone, Default)]
pub struct LeftOut {
    /// Files and folders that a pattern names.
    pub excluded: u64,
    /// Files and folders that git does not list.
    pub ignored: u64,
    /// What may not be what the user meant, as lines to show.
    pub doubts: Vec<String>,
}

/// The filters, checked against the paths they are for.
#[derive(Debug, Clone)]
pub struct Selection {
    excludes: Excludes,
    /// By index, the patterns that name one of the paths.
    used: Vec<bool>,
    /// How many of the paths they name.
    excluded: u64,
    /// For each folder among the paths, whether it is in a work tree; nothing without
    /// `--gitignore`.
    folders: Option<BTreeMap<Box<[u8]>, bool>>,
}

impl Selection {
    /// Takes out of `tops` what the patterns name. Nothing when there are no filters: then
    /// walking costs nothing more.
    ///
    /// # Errors
    /// Nothing is left; or what [`Excludes::new`] says.
    pub fn new(filters: &Filters, tops: &mut BTreeMap<Box<[u8]>, PathBuf>) -> Result<Option<Self>> {
        if filters.exclude.is_empty() && !filters.gitignore {
            return Ok(None);
        }
        let excludes = Excludes::new(&filters.exclude)?;
        let mut used = vec![false; filters.exclude.len()];
        let before = tops.len();
        tops.retain(|name, path| !excludes.matches(arriving_as(name), path.is_dir(), &mut used));
        if tops.is_empty() {
            return Err(Error::usage("the patterns of --exclude leave nothing to send")
                .hint("leave one of them away"));
        }
        let excluded = (before - tops.len()) as u64;
        let folders = filters.gitignore.then(BTreeMap::new);
        Ok(Some(Self { excludes, used, excluded, folders }))
    }

    /// Looks which of the folders among `tops` are in work trees, with `--gitignore`.
    ///
    /// # Errors
    /// A repository that cannot be read.
    pub fn find_work_trees(&mut self, tops: &BTreeMap<Box<[u8]>, PathBuf>) -> Result<()> {
        let Some(folders) = &mut self.folders else { return Ok(()) };
        for (name, path) in tops.iter().filter(|(_, path)| is_real_folder(path)) {
            let is_in_one = git::is_in_work_tree(path).map_err(|why| {
                let message =
                    format!("cannot tell what git lists of \"{}\": {why}", shown_bytes(name));
                Error::failure(message)
                    .hint("`git status` there may tell more; or go without --gitignore")
            })?;
            folders.insert(name.clone(), is_in_one);
        }
        Ok(())
    }

    /// Begins one walk.
    pub fn begin(&self) -> Selector<'_> {
        let left = LeftOut { excluded: self.excluded, ..LeftOut::default() };
        let here = Here { name: b"", top: Path::new(""), scopes: Vec::new(), asked: false };
        let used = self.used.clone();
        Selector { selection: self, used, left, unreadable: Vec::new(), here }
    }
}

/// A top-level name as a path.
fn arriving_as(name: &[u8]) -> &Path {
    Path::new(native(name).unwrap_or_default())
}

fn is_real_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
}

/// What becomes of an entry.
#[derive(Debug)]
pub enum Choice {
    /// It goes.
    Go,
    /// It stays behind, as the user wants.
    Stay,
    /// It stays behind, for this reason.
    Fail(String),
}

/// Chooses during one walk; see [`Selection::begin`].
#[derive(Debug)]
pub struct Selector<'a> {
    selection: &'a Selection,
    used: Vec<bool>,
    left: LeftOut,
    unreadable: Vec<(Vec<u8>, String)>,
    here: Here<'a>,
}

/// Where a walk is.
#[derive(Debug)]
struct Here<'a> {
    name: &'a [u8],
    top: &'a Path,
    /// The repositories that hold the current entry, the innermost last.
    scopes: Vec<Scope>,
    /// Whether git has listed anything of this path.
    asked: bool,
}

/// A folder, and what git lists of it.
#[derive(Debug)]
struct Scope {
    root: PathBuf,
    /// Nothing if it is in no work tree after all: then everything goes.
    listing: Option<Listing>,
}

impl<'a> Selector<'a> {
    /// Goes on to the next path of the command line.
    pub fn enter_top(&mut self, name: &'a [u8], top: &'a Path) -> Choice {
        self.here = Here { name, top, scopes: Vec::new(), asked: false };
        let folders = self.selection.folders.as_ref();
        match folders.and_then(|folders| folders.get(name)) {
            Some(true) => {
                let choice = self.enter(top);
                let listing = self.here.scopes.last().and_then(|scope| scope.listing.as_ref());
                if listing.is_some_and(Listing::is_empty) {
                    self.left
                        .doubts
                        .push(format!("git lists nothing in \"{}\"", shown_bytes(name)));
                }
                choice
            }
            _ => Choice::Go,
        }
    }

    /// What becomes of the entry at `path`, which comes behind its folder in the walk.
    pub fn choose(&mut self, path: &Path, is_folder: bool) -> Choice {
        // Those of the command line have been compared already.
        if !self.used.is_empty() && path != self.here.top {
            let arriving = self.arriving(path);
            if self.selection.excludes.matches(&arriving, is_folder, &mut self.used) {
                self.left.excluded += 1;
                return Choice::Stay;
            }
        }
        self.through_git(path, is_folder)
    }

    /// The path under which `path` would arrive.
    fn arriving(&self, path: &Path) -> PathBuf {
        arriving_as(self.here.name).join(path.strip_prefix(self.here.top).unwrap_or(path))
    }

    fn through_git(&mut self, path: &Path, is_folder: bool) -> Choice {
        if self.selection.folders.is_none() {
            return Choice::Go;
        }
        let scopes = &mut self.here.scopes;
        while scopes.pop_if(|scope| !path.starts_with(&scope.root)).is_some() {}
        let is_repository = || is_folder && path.join(".git").symlink_metadata().is_ok();
        let scope = scopes.last();
        let Some((root, listing)) = scope.and_then(|it| Some((&it.root, it.listing.as_ref()?)))
        else {
            return if is_repository() { self.enter(path) } else { Choice::Go };
        };
        let below = path.strip_prefix(root).unwrap_or(path);
        if below.as_os_str().is_empty() {
            return Choice::Go;
        }
        if listing.names(below) {
            // Of a repository in a repository, and of a link that is followed, git lists the
            // name alone: so it is asked there.
            let is_elsewhere = is_folder && (is_repository() || !is_real_folder(path));
            return if is_elsewhere { self.enter(path) } else { Choice::Go };
        }
        if is_folder && listing.leads_to(below) {
            return Choice::Go;
        }
        self.left.ignored += 1;
        Choice::Stay
    }

    fn enter(&mut self, root: &Path) -> Choice {
        let listing = match git::list(root) {
            Ok(listing) => listing,
            Err(why) => {
                self.here.asked = true;
                return Choice::Fail(format!("cannot tell what git lists of it: {why}"));
            }
        };
        if let Some(listing) = &listing {
            let unreadable = listing.unreadable.iter().filter(|(folder, _)| {
                // What has tracked files in it is walked, and told there.
                !listing.leads_to(folder)
            });
            for (folder, why) in unreadable.chain(&listing.unknown) {
                let arriving = self.arriving(&root.join(folder));
                let excludes = &self.selection.excludes;
                let unwanted = |path| excludes.matches(path, true, &mut self.used);
                if !arriving.ancestors().any(unwanted) {
                    self.unreadable.push((told(&arriving).into(), why.clone()));
                }
            }
        }
        self.here.asked |= listing.is_some();
        self.here.scopes.push(Scope { root: root.into(), listing });
        Choice::Go
    }

    /// Ends the walk of one path of the command line. Returns the folders that could not
    /// be looked through, by the names under which they would arrive, each with the reason.
    pub fn leave_top(&mut self) -> impl Iterator<Item = (Vec<u8>, String)> {
        let name = self.here.name;
        let folders = self.selection.folders.as_ref();
        if !self.here.asked && folders.is_some_and(|folders| folders.contains_key(name)) {
            let name = shown_bytes(name);
            self.left.doubts.push(format!(
                "\"{name}\" is in no git repository: --gitignore leaves nothing out there"
            ));
        }
        self.unreadable.drain(..)
    }

    /// Ends the walk.
    pub fn finish(mut self) -> LeftOut {
        let texts = self.selection.excludes.texts().zip(&self.used);
        let idle: Vec<String> = texts.filter(|(_, used)| !**used).map(|(text, _)| text).collect();
        if !idle.is_empty() {
            let names: Vec<String> = idle.iter().map(|text| format!("\"{text}\"")).collect();
            let verb = if idle.len() == 1 { "leaves" } else { "leave" };
            let is_path = |text: &String| text.trim_end_matches('/').contains('/');
            let hint = if idle.iter().any(is_path) {
                "; a pattern with \"/\" means the path as it arrives, from the first name on"
            } else {
                ""
            };
            self.left.doubts.push(format!("{} {verb} nothing out{hint}", names.join(" and ")));
        }
        self.left
    }
}
