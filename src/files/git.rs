//! `--gitignore`: what belongs to a git work tree, as `git ls-files -co --exclude-standard` lists
//! it, without git.
//!
//! Git starts programs that a repository's own configuration names: to look for changes, to fetch
//! an object that is missing, to ask for a password. A folder that somebody sent, or that was
//! unpacked, may hold such a repository, and no set of options turns all of that off in every
//! version. So git is not run. Its files are read here: the index, the configuration and the ignore
//! rules, by parts of gitoxide that start no program and know no network.
//!
//! - `repository` finds the repository of a folder, and what its configuration says of ignoring
//! - `tracked` is its index
//! - `untracked` looks for what the index does not have and no rule ignores

mod repository;
mod tracked;
mod untracked;

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{MAIN_SEPARATOR, Path, PathBuf};

use self::repository::Repository;
use self::tracked::Tracked;
use self::untracked::Search;
use super::naming::TYPED;

/// What git would list of one folder.
#[derive(Debug)]
pub struct Listing {
    /// Relative to the folder, sorted, as [`key`] writes them; those that are on the disk.
    paths: Vec<Box<[u8]>>,
    /// Folders that cannot be looked through, relative to the folder, and why.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Folders that can be, but of which nobody can tell what git would list, and why.
    pub unknown: Vec<(PathBuf, String)>,
}

/// Whether a folder is in a work tree.
///
/// # Errors
/// Why that cannot be said of its repository, in words.
pub fn is_in_work_tree(folder: &Path) -> Result<bool, String> {
    guarded(|| Ok(Repository::of(folder)?.is_some()))
}

/// Lists what belongs to the work tree of `folder`; nothing if it is in none.
///
/// # Errors
/// Why there is no answer, in words.
pub fn list(folder: &Path) -> Result<Option<Listing>, String> {
    guarded(|| look(folder))
}

/// The libraries that read git's files may meet what they did not expect.
fn guarded<T>(look: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let looked = catch_unwind(AssertUnwindSafe(look));
    looked.unwrap_or_else(|_| Err("its files cannot be understood".into()))
}

fn look(folder: &Path) -> Result<Option<Listing>, String> {
    let Some(repository) = Repository::of(folder)? else { return Ok(None) };
    let tracked = Tracked::read(&repository)?;
    let below = repository.below.clone();
    let mut paths: Vec<Box<[u8]>> = Vec::new();
    for path in tracked.paths_below(&below) {
        if !is_gone(folder, path) {
            paths.push(key(path).into());
        }
    }
    let mut search = Search::new(&repository, &tracked);
    search.run(&below)?;
    let found = search.found.iter().filter_map(|path| path.strip_prefix(&*below));
    paths.extend(found.map(|path| key(path).into()));
    paths.sort_unstable();
    // A file with a merge conflict is tracked up to three times.
    paths.dedup();
    let relative = |folders: Vec<(Vec<u8>, String)>| {
        let relative = folders.into_iter().map(|(path, why)| {
            let path = path.strip_prefix(&*below).unwrap_or(&path);
            (native(path).map_or_else(PathBuf::new, PathBuf::from), why)
        });
        relative.collect()
    };
    let (unreadable, unknown) = (relative(search.unreadable), relative(search.unknown));
    Ok(Some(Listing { paths, unreadable, unknown }))
}

impl Listing {
    /// Whether `path`, relative to the folder, is listed itself.
    pub fn names(&self, path: &Path) -> bool {
        let path = key(path.as_os_str().as_encoded_bytes());
        self.paths.binary_search_by(|listed| (**listed).cmp(&path)).is_ok()
    }

    /// Whether something inside `path` is listed.
    pub fn leads_to(&self, path: &Path) -> bool {
        let inside = [&key(path.as_os_str().as_encoded_bytes()), &b"/"[..]].concat();
        let first = self.paths.partition_point(|listed| **listed < *inside);
        self.paths.get(first).is_some_and(|listed| listed.starts_with(&inside))
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}

/// Git reads no longer file of rules; no index or configuration of sense is longer.
const LONGEST: u64 = 1 << 30;

/// The content of a regular file. Nothing of what is something else: a pipe would keep us waiting,
/// a device may never end.
///
/// # Errors
/// It cannot be opened or read, or is absurdly long.
fn read(path: &Path, links: Links) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    options.read(true);
    careful(&mut options, links);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(Vec::new());
    }
    read_all(file)
}

fn read_all(file: File) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LONGEST { Err(ErrorKind::FileTooLarge.into()) } else { Ok(content) }
}

/// Whether a file may be reached through a link in its own place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Links {
    Followed,
    /// As git does for the rules within a work tree.
    Refused,
}

#[cfg(unix)]
fn careful(options: &mut OpenOptions, links: Links) {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    if links == Links::Refused {
        flags |= OFlags::NOFOLLOW;
    }
    if let Ok(flags) = i32::try_from(flags.bits()) {
        options.custom_flags(flags);
    }
}

#[cfg(not(unix))]
fn careful(_: &mut OpenOptions, _: Links) {}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// A tracked file can be gone from the disk. An unreadable one is not gone.
fn is_gone(folder: &Path, path: &[u8]) -> bool {
    let Some(path) = native(path) else { return false };
    folder.join(path).symlink_metadata().is_err_and(|error| is_missing(&error))
}

fn native(path: &[u8]) -> Option<&Path> {
    super::path::native(path).map(Path::new)
}

/// A path as git writes it.
fn git_path(path: &Path) -> Cow<'_, [u8]> {
    with_slashes(path.as_os_str().as_encoded_bytes())
}

fn with_slashes(path: &[u8]) -> Cow<'_, [u8]> {
    if MAIN_SEPARATOR == '/' {
        return Cow::Borrowed(path);
    }
    let slash = |byte: &u8| if char::from(*byte) == MAIN_SEPARATOR { b'/' } else { *byte };
    Cow::Owned(path.iter().map(slash).collect())
}

/// A path as it is compared: with slashes, and of names that the system takes for one the same. Git itself lists
/// other letters than macOS does (`core.precomposeUnicode`).
fn key(path: &[u8]) -> Cow<'_, [u8]> {
    match TYPED.key(path) {
        Cow::Borrowed(path) => with_slashes(path),
        Cow::Owned(path) => Cow::Owned(with_slashes(&path).into_owned()),
    }
}

#[cfg(test)]
mod tests;
