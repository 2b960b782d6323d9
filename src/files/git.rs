//! `--gitignore`: git is asked what belongs to a work tree.
//!
//! Only git has the exact answer. It depends on nested `.gitignore` files, `.git/info/exclude`,
//! `core.excludesFile` wherever a configuration names it, and on the index, since a tracked file
//! belongs to the tree whatever ignores it. A second reader of all these rules would sometimes
//! answer otherwise, and a file would silently stay behind. Who has a work tree has git.

use std::borrow::Cow;
use std::io::{self, ErrorKind};
use std::path::{MAIN_SEPARATOR, Path};
use std::process::{Command, Output, Stdio};

use crate::error::{Error, Result, reason, shown};

/// How git says that neither a folder nor any above it is a repository.
const NO_REPOSITORY: &str = "not a git repository (or any ";

/// Variables with which a hook, or a script around this program, would name another repository.
const REPOSITORY_VARIABLES: [&str; 5] =
    ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"];

/// What `git ls-files -co --exclude-standard` lists of one folder.
#[derive(Debug)]
pub struct Listing {
    /// Relative to the folder, sorted, as [`key`] writes them; those that are on the disk.
    paths: Vec<Box<[u8]>>,
    /// Folders that git could not read, relative to the folder, and why.
    pub unreadable: Vec<(String, String)>,
}

/// The place of `folder` in the work tree it belongs to: empty for its top, else with a slash at
/// the end. Nothing if it is in no work tree.
///
/// # Errors
/// There is no git, or it refuses this repository.
pub fn work_tree_prefix(folder: &Path) -> Result<Option<String>> {
    let asked = git(folder, &["rev-parse", "--is-inside-work-tree", "--show-prefix"]);
    let asked = asked.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::failure("git is not installed, and --gitignore asks it")
            .hint("install git, or name what to leave out with --exclude"),
        _ => Error::failure(format!("cannot run git: {}", reason(&error)))
            .hint("mend that, or name what to leave out with --exclude"),
    })?;
    if let Some(why) = refusal(&asked) {
        if why.starts_with(NO_REPOSITORY) {
            return Ok(None);
        }
        let (folder, why) = (folder.to_string_lossy(), shown(&why));
        return Err(Error::failure(format!("git cannot list \"{}\": {why}", shown(&folder)))
            .hint("`git status` there may tell more; without --gitignore git is not asked"));
    }
    let answer = String::from_utf8_lossy(&asked.stdout);
    // It says "false" inside a `.git` folder.
    let prefix = answer.strip_prefix("true\n");
    Ok(prefix.map(|prefix| prefix.strip_suffix('\n').unwrap_or(prefix).into()))
}

/// Lists what belongs to the work tree of `folder`, whose place in it is `prefix`; nothing if it
/// is in none.
///
/// # Errors
/// Why git has no answer, in words.
pub fn list(folder: &Path, prefix: &str) -> Result<Option<Listing>, String> {
    let listed = git(folder, &["ls-files", "-co", "--exclude-standard", "-z"])
        .map_err(|error| format!("git cannot list it: {}", reason(&error)))?;
    match refusal(&listed) {
        Some(why) if why.starts_with(NO_REPOSITORY) => return Ok(None),
        Some(why) => return Err(format!("git cannot list it: {why}")),
        None => {}
    }
    let paths = listed.stdout.split(|byte| *byte == 0);
    // A repository in the repository has a slash at its end.
    let paths = paths.map(|path| path.strip_suffix(b"/").unwrap_or(path));
    let paths = paths.filter(|path| !path.is_empty() && !is_gone(folder, path));
    let mut paths: Vec<Box<[u8]>> = paths.map(|path| key(path).into()).collect();
    paths.sort_unstable();
    // A file with a merge conflict is listed up to three times.
    paths.dedup();
    let said = String::from_utf8_lossy(&listed.stderr);
    let unreadable = said.lines().filter_map(|line| {
        let line = line.strip_prefix("warning: could not open directory '")?;
        let (path, why) = line.rsplit_once("/': ")?;
        Some((path.strip_prefix(prefix).unwrap_or(path).into(), why.to_lowercase()))
    });
    Ok(Some(Listing { paths, unreadable: unreadable.collect() }))
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

fn git(folder: &Path, arguments: &[&str]) -> io::Result<Output> {
    let mut command = Command::new("git");
    for name in REPOSITORY_VARIABLES {
        command.env_remove(name);
    }
    command
        .env("LC_ALL", "C")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .arg("-C")
        .arg(folder)
        // A program that the repository itself names, and that git would run.
        .args(["-c", "core.fsmonitor=false"])
        // macOS: names as they are on the disk, as the walk finds them.
        .args(["-c", "core.precomposeUnicode=false"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
}

/// Why git failed, in its words; nothing if it did not.
fn refusal(output: &Output) -> Option<String> {
    if output.status.success() {
        return None;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let fatal = said.lines().find_map(|line| line.strip_prefix("fatal: "));
    let last = || said.lines().last().map(str::to_owned);
    fatal.map(str::to_owned).or_else(last).or_else(|| Some(output.status.to_string()))
}

/// A tracked file can be gone from the disk. An unreadable one is not gone.
fn is_gone(folder: &Path, path: &[u8]) -> bool {
    let Some(path) = native(path) else { return false };
    folder
        .join(path)
        .symlink_metadata()
        .is_err_and(|error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
}

#[cfg(unix)]
fn native(path: &[u8]) -> Option<&Path> {
    use std::os::unix::ffi::OsStrExt;
    Some(Path::new(std::ffi::OsStr::from_bytes(path)))
}

#[cfg(not(unix))]
fn native(path: &[u8]) -> Option<&Path> {
    std::str::from_utf8(path).ok().map(Path::new)
}

/// A path as it is compared: with slashes, and in lower case where the file system, and so git,
/// takes upper and lower case for one.
fn key(path: &[u8]) -> Cow<'_, [u8]> {
    if !cfg!(any(windows, target_os = "macos")) {
        return Cow::Borrowed(path);
    }
    let text = String::from_utf8_lossy(path).to_lowercase();
    Cow::Owned(text.replace(MAIN_SEPARATOR, "/").into_bytes())
}
