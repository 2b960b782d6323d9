//! From the paths a user named to the list of what is sent.
//!
//! What cannot be sent is listed, never fatal: an unreadable folder, a name that is not UTF-8, a
//! socket, a link that points out of the tree.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use walkdir::WalkDir;

use super::developer;
use super::manifest::{Entry, Kind, Manifest};
use super::path::{self, PathError, RelPath};
use super::select::{Choice, Filters, LeftOut, Selection, Selector};
use crate::error::{self, Error, Result, shown};

/// What to do with folders that tools can make again ([`developer`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Developer {
    /// Send them like any other.
    Include,
    /// Leave them out.
    Exclude,
    /// Send them, and list them so that the user can be asked.
    Note,
}

/// How to walk.
#[derive(Debug, Clone, Copy)]
pub struct WalkOptions {
    /// Send what links point to instead of the links.
    pub follow_symlinks: bool,
    /// What to do with developer folders.
    pub developer: Developer,
}

/// Something that was found and cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsent {
    /// Its name as far as it can be shown, unescaped.
    pub name: String,
    /// Why, in words.
    pub why: String,
}

/// Paths that exist, ready to be walked as often as needed.
#[derive(Debug, Clone)]
pub struct Walk {
    tops: BTreeMap<Box<str>, PathBuf>,
    selection: Option<Selection>,
}

/// What is sent, and where its files are.
#[derive(Debug, Default)]
pub struct Source {
    /// The list as the other side gets it.
    pub manifest: Manifest,
    /// What was left behind.
    pub unsent: Vec<Unsent>,
    /// Developer folders that were found; filled with [`Developer::Note`] and
    /// [`Developer::Exclude`].
    pub developer: Vec<RelPath>,
    /// What the filters left out.
    pub left: LeftOut,
    /// The path each top-level name stands for.
    tops: BTreeMap<Box<str>, PathBuf>,
}

impl Walk {
    /// Takes `paths`, whose names the other side will see at the top of its folder.
    ///
    /// # Errors
    /// A path that does not exist or has no name, two paths of one name, and what
    /// [`Selection`] says of the filters.
    pub fn new(paths: &[PathBuf], filters: &Filters) -> Result<Self> {
        let mut tops = top_names(paths)?;
        let mut selection = Selection::new(filters, &mut tops)?;
        resolve_links(&mut tops)?;
        if let Some(selection) = &mut selection {
            selection.ask_git(&tops)?;
        }
        Ok(Self { tops, selection })
    }

    /// Whether a folder is among the paths.
    pub fn has_folder(&self) -> bool {
        self.tops.values().any(|path| path.is_dir())
    }

    /// Makes the list as the disk is now.
    pub fn run(&self, options: WalkOptions) -> Source {
        let mut source = Source { tops: self.tops.clone(), ..Source::default() };
        let mut selector = self.selection.as_ref().map(Selection::begin);
        for (name, path) in &self.tops {
            source.walk_top(name, path, options, selector.as_mut());
        }
        if let Some(selector) = selector {
            source.left = selector.finish();
        }
        source
    }
}

impl Source {
    /// Where the file of an entry is.
    pub fn path_of(&self, entry: &Entry) -> PathBuf {
        let mut names = entry.path.names();
        let top = names.next().and_then(|top| self.tops.get(top));
        let mut path = top.cloned().unwrap_or_default();
        path.extend(names);
        path
    }

    fn walk_top<'a>(
        &mut self,
        name: &'a str,
        top: &'a Path,
        options: WalkOptions,
        mut selector: Option<&mut Selector<'a>>,
    ) {
        if let Some(selector) = &mut selector
            && let Choice::Fail(why) = selector.enter_top(name, top)
        {
            return self.leave((name, top), top, &why);
        }
        let walk = WalkDir::new(top)
            .follow_links(options.follow_symlinks)
            .follow_root_links(false)
            .sort_by_file_name();
        let mut walk = walk.into_iter();
        // The folders that lead to the current entry, as the other side names them.
        let mut parents: Vec<RelPath> = Vec::new();
        while let Some(found) = walk.next() {
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    // Perhaps a folder: a link to one that goes in circles.
                    if let (Some(selector), Some(path)) = (&mut selector, error.path())
                        && matches!(selector.choose(path, true), Choice::Stay)
                    {
                        continue;
                    }
                    let why = match (error.loop_ancestor(), error.io_error()) {
                        (Some(_), _) => "it is a link to a folder that holds it".into(),
                        (None, Some(io)) => error::reason(io),
                        (None, None) => "it cannot be read".into(),
                    };
                    self.leave((name, top), error.path().unwrap_or(top), &why);
                    continue;
                }
            };
            parents.truncate(found.depth());
            let is_folder = found.file_type().is_dir();
            if let Some(selector) = &mut selector {
                let choice = selector.choose(found.path(), is_folder);
                if let Choice::Fail(why) = &choice {
                    self.leave((name, top), found.path(), why);
                }
                if !matches!(choice, Choice::Go) {
                    if is_folder {
                        walk.skip_current_dir();
                    }
                    continue;
                }
            }
            let path = match relative(name, parents.last(), &found) {
                Ok(path) => path,
                Err(why) => {
                    self.leave((name, top), found.path(), &why.to_string());
                    if is_folder {
                        walk.skip_current_dir();
                    }
                    continue;
                }
            };
            if is_folder
                && found.depth() > 0
                && options.developer != Developer::Include
                && developer::is_regenerable(found.path())
            {
                self.developer.push(path.clone());
                if options.developer == Developer::Exclude {
                    walk.skip_current_dir();
                    continue;
                }
            }
            let entry = found.metadata().map_err(|error| match error.io_error() {
                Some(io) => error::reason(io),
                None => "it cannot be read".into(),
            });
            let entry =
                entry.and_then(|metadata| self.entry(path.clone(), &metadata, found.path()));
            let listed = entry
                .and_then(|entry| self.manifest.push(entry).map_err(|error| error.to_string()));
            match listed {
                Ok(()) if is_folder => parents.push(path),
                Ok(()) => {}
                Err(why) => {
                    self.leave((name, top), found.path(), &why);
                    if is_folder {
                        walk.skip_current_dir();
                    }
                }
            }
        }
        if let Some(selector) = selector {
            let unreadable = selector.leave_top();
            self.unsent.extend(unreadable.map(|(name, why)| Unsent { name, why }));
        }
    }

    fn entry(&self, path: RelPath, metadata: &Metadata, at: &Path) -> Result<Entry, String> {
        let kind = if metadata.is_dir() {
            Kind::Folder
        } else if metadata.is_file() {
            Kind::File(metadata.len())
        } else if metadata.is_symlink() {
            let target = fs::read_link(at).map_err(|error| error::reason(&error))?;
            let target = target.to_str().ok_or_else(|| PathError::NotUtf8.to_string())?;
            // The receiver refuses a link out of its folder; a link into something else that
            // happens to lie there would not mean the same.
            let target = as_it_travels(target);
            match path::link_top(&path, &target) {
                Ok(Some(top)) if self.tops.contains_key(top) => Kind::Link(target.into()),
                Ok(_) => return Err(PathError::Outside.to_string()),
                Err(error) => return Err(error.to_string()),
            }
        } else {
            return Err("it is neither a file, a folder nor a link".into());
        };
        Ok(Entry { path, kind, mode: mode(metadata), mtime: mtime(metadata) })
    }

    /// Notes what stays behind, under a name that tells nothing of what lies above `top`.
    fn leave(&mut self, (name, top): (&str, &Path), path: &Path, why: &str) {
        let name = match path.strip_prefix(top) {
            Ok(below) if below.as_os_str().is_empty() => name.into(),
            Ok(below) => format!("{name}/{}", below.to_string_lossy()),
            Err(_) => name.into(),
        };
        self.unsent.push(Unsent { name, why: why.into() });
    }
}

/// The name that each path will have on the other side, and where it is.
fn top_names(paths: &[PathBuf]) -> Result<BTreeMap<Box<str>, PathBuf>> {
    let mut tops: BTreeMap<Box<str>, PathBuf> = BTreeMap::new();
    for path in paths {
        fs::symlink_metadata(path).map_err(|error| cannot_send(path, &error))?;
        let name = top_name(path)?;
        match tops.entry(name.as_str().into()) {
            Slot::Vacant(slot) => drop(slot.insert(path.clone())),
            // Named twice, perhaps by two patterns.
            Slot::Occupied(slot) if are_one(slot.get(), path) => {}
            Slot::Occupied(slot) => {
                let (one, other) = (slot.get().to_string_lossy(), path.to_string_lossy());
                let (one, other) = (shown(&one), shown(&other));
                return Err(Error::usage(format!(
                    "\"{one}\" and \"{other}\" would both arrive as \"{name}\""
                ))
                .hint("send the folder that holds them, or send them one after the other"));
            }
        }
    }
    Ok(tops)
}

fn are_one(one: &Path, other: &Path) -> bool {
    one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// A link that was named is meant for what it points to, unless that is sent as well.
fn resolve_links(tops: &mut BTreeMap<Box<str>, PathBuf>) -> Result<()> {
    let names: BTreeSet<Box<str>> = tops.keys().cloned().collect();
    for (name, path) in tops {
        let Ok(target) = fs::read_link(&path) else { continue };
        let link = RelPath::parse(name);
        let top = link.as_ref().ok().zip(target.to_str());
        let top = top.map(|(link, target)| (link, as_it_travels(target)));
        let top = top.as_ref();
        let top = top.and_then(|(link, target)| path::link_top(link, target).ok().flatten());
        if top.is_none_or(|top| top == &**name || !names.contains(top)) {
            *path = path.canonicalize().map_err(|error| cannot_send(path, &error))?;
        }
    }
    Ok(())
}

/// A link's target with `/` between its names, where Windows has `\`.
fn as_it_travels(target: &str) -> String {
    if cfg!(windows) { target.replace('\\', "/") } else { target.into() }
}

fn cannot_send(path: &Path, error: &std::io::Error) -> Error {
    let (path, why) = (path.to_string_lossy(), error::reason(error));
    Error::failure(format!("cannot send \"{}\": {why}", shown(&path)))
        .hint("check the path; a name with spaces needs quotes")
}

/// `.`, `..` and `dir/..` are called what the folder is called.
fn top_name(path: &Path) -> Result<RelPath> {
    let named = match path.file_name() {
        Some(_) => path.to_owned(),
        None => path.canonicalize().map_err(|error| cannot_send(path, &error))?,
    };
    let path = path.to_string_lossy();
    let Some(name) = named.file_name() else {
        return Err(Error::usage(format!("\"{}\" has no name to send it under", shown(&path)))
            .hint("name the folders in it instead"));
    };
    name.to_str().ok_or(PathError::NotUtf8).and_then(RelPath::parse).map_err(|why| {
        Error::failure(format!("cannot send \"{}\" under its name: {why}", shown(&path)))
            .hint("rename it, or send the folder it is in")
    })
}

/// An entry's path on the other side.
fn relative(
    top: &str,
    parent: Option<&RelPath>,
    found: &walkdir::DirEntry,
) -> Result<RelPath, PathError> {
    match parent {
        None => RelPath::parse(top),
        Some(parent) => parent.join(found.file_name().to_str().ok_or(PathError::NotUtf8)?),
    }
}

/// Permission bits. Set-user-ID and set-group-ID of a file stay behind: on another machine, and
/// perhaps under another owner, they would grant what nobody granted there.
#[cfg(unix)]
fn mode(metadata: &Metadata) -> u16 {
    use std::os::unix::fs::MetadataExt;
    let bits = if metadata.is_dir() { 0o7777 } else { 0o777 };
    u16::try_from(metadata.mode() & bits).unwrap_or(0o644)
}

#[cfg(not(unix))]
fn mode(metadata: &Metadata) -> u16 {
    match (metadata.is_dir(), metadata.permissions().readonly()) {
        (true, _) => 0o755,
        (false, false) => 0o644,
        (false, true) => 0o444,
    }
}

/// When the file last changed; 0 where the system does not tell.
pub fn mtime(metadata: &Metadata) -> i64 {
    metadata.modified().map_or(0, nanoseconds)
}

/// Nanoseconds since 1970; a time that 64 bits do not hold becomes the nearest that they do.
pub fn nanoseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    }
}

/// The reverse of [`nanoseconds`].
pub fn system_time(nanoseconds: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanoseconds.unsigned_abs());
    let time = if nanoseconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
