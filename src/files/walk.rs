//! From the paths a user named to the list of what is sent.
//!
//! What cannot be sent is listed, never fatal: an unreadable folder, a socket, a link that points
//! out of the tree.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use walkdir::WalkDir;

use super::beneath::Opener;
use super::holes;
use super::manifest::{Entry, Kind, Manifest};
use super::modes::Modes;
use super::path::{self, PathError, RelPath};
use super::reader::{self, FileId, SourceFault, SourceFile};
use super::select::{Choice, Filters, LeftOut, Selection, Selector};
use super::target::{Target, link_top};
use super::times;
use super::{developer, naming, pseudo};
use crate::error::{self, Error, Result, shown_os};

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
    /// Its name, or as much of it as tells nothing of what lies above.
    pub name: Vec<u8>,
    /// Why, in words.
    pub why: String,
}

/// Paths that exist, ready to be walked as often as needed.
#[derive(Debug, Clone)]
pub struct Walk {
    tops: BTreeMap<Box<[u8]>, PathBuf>,
    selection: Option<Selection>,
    one_file_system: bool,
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
    /// File systems that the kernel makes up, such as `/proc`: they stay behind.
    pub made_up: Vec<RelPath>,
    /// Folders on other file systems, which were not entered as the user wanted none of them.
    pub other_disks: Vec<RelPath>,
    /// What systems keep at the top of a disk for themselves: it stays behind unless it was named.
    pub of_the_disk: Vec<RelPath>,
    /// The path each top-level name stands for, and who was there.
    tops: BTreeMap<Box<[u8]>, (PathBuf, FileId)>,
    /// Who each entry is, by index.
    ids: Vec<FileId>,
    /// By index, the content of files that are not on a disk, as it was when they were listed.
    kept: BTreeMap<usize, Arc<[u8]>>,
    modes: Modes,
    /// Those that no thread uses.
    openers: Mutex<Vec<Opener>>,
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
        refuse_streams(&tops)?;
        resolve_links(&mut tops)?;
        if let Some(selection) = &mut selection {
            selection.find_work_trees(&tops)?;
        }
        Ok(Self { tops, selection, one_file_system: filters.one_file_system })
    }

    /// Whether a folder is among the paths.
    pub fn has_folder(&self) -> bool {
        self.tops.values().any(|path| path.is_dir())
    }

    /// Makes the list as the disk is now.
    pub fn run(&self, options: WalkOptions) -> Source {
        let who = |path: &PathBuf| path.symlink_metadata().map(|it| FileId::of(&it));
        let tops = self.tops.iter();
        let tops =
            tops.map(|(name, path)| (name.clone(), (path.clone(), who(path).unwrap_or_default())));
        let mut source = Source { tops: tops.collect(), ..Source::default() };
        let mut selector = self.selection.as_ref().map(Selection::begin);
        for (name, path) in &self.tops {
            source.walk_top(name, path, options, self.one_file_system, selector.as_mut());
        }
        if let Some(selector) = selector {
            source.left = selector.finish();
        }
        source
    }
}

impl Source {
    /// A way to its files, for one thread.
    pub fn files(&self, follow_symlinks: bool) -> Files<'_> {
        let idle = self.openers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Files { source: self, opener: idle.unwrap_or_default(), follow_symlinks }
    }

    fn walk_top<'a>(
        &mut self,
        name: &'a [u8],
        top: &'a Path,
        options: WalkOptions,
        one_file_system: bool,
        mut selector: Option<&mut Selector<'a>>,
    ) {
        if let Some(kind) = pseudo::stream(top) {
            let why = format!("it is {kind}; `transfer send -` sends what comes in");
            return self.leave((name, top), top, &why);
        }
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
        let mut parents: Vec<(RelPath, FileId)> = Vec::new();
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
            if pseudo::is_device(found.path()) {
                self.leave((name, top), found.path(), "Windows takes its name for a device");
                if found.file_type().is_dir() {
                    walk.skip_current_dir();
                }
                continue;
            }
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
            let path = match relative(name, parents.last().map(|(path, _)| path), &found) {
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
            if found.depth() > 0
                && naming::is_of_the_disk(found.file_name())
                && found.path().parent().is_some_and(is_disk)
            {
                self.of_the_disk.push(path);
                if is_folder {
                    walk.skip_current_dir();
                }
                continue;
            }
            let metadata = if cfg!(windows) && found.file_type().is_file() {
                // What a folder of Windows lists of a file that somebody writes to is old.
                let looked = match found.path_is_symlink() {
                    true => fs::metadata(found.path()),
                    false => fs::symlink_metadata(found.path()),
                };
                looked.map_err(|error| error::reason(&error))
            } else {
                found.metadata().map_err(|error| match error.io_error() {
                    Some(io) => error::reason(io),
                    None => "it cannot be read".into(),
                })
            };
            let id = metadata.as_ref().map(FileId::of).unwrap_or_default();
            let parent = parents.last().map(|(_, id)| id.device);
            // Only where another file system begins there is anything to ask.
            let is_elsewhere = parent.is_some_and(|device| device != id.device);
            let is_made_up = (is_elsewhere || parent.is_none()) && pseudo::is_made_up(found.path());
            if is_made_up && is_folder && parent.is_some() {
                self.made_up.push(path);
                walk.skip_current_dir();
                continue;
            }
            let listed = metadata.and_then(|metadata| {
                if is_made_up && is_folder {
                    return Err(MADE_UP.into());
                }
                let follow = options.follow_symlinks;
                let stored = |metadata: &Metadata| match is_made_up {
                    true => None,
                    false => {
                        holes::stored(metadata, || reader::open_carefully(found.path(), follow))
                    }
                };
                let mut entry = self.entry(path.clone(), &metadata, found.path(), stored)?;
                if is_made_up && entry.is_file() {
                    let content = pseudo::content(found.path());
                    let content = content.map_err(|error| error::reason(&error))?;
                    let content = content.ok_or(TOO_LONG)?;
                    entry.kind = Kind::File(content.len() as u64);
                    self.kept.insert(self.ids.len(), content.into());
                }
                self.manifest.push(entry).map_err(|error| error.to_string())
            });
            match listed {
                Ok(()) => {
                    self.ids.push(id);
                    if is_folder && one_file_system && is_elsewhere {
                        walk.skip_current_dir();
                        self.other_disks.push(path);
                    } else if is_folder {
                        parents.push((path, id));
                    }
                }
                Err(why) => {
                    self.kept.remove(&self.ids.len());
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

    /// Of what is at a path; `stored` tells what a file takes that has holes.
    fn entry(
        &mut self,
        path: RelPath,
        metadata: &Metadata,
        at: &Path,
        stored: impl FnOnce(&Metadata) -> Option<u64>,
    ) -> Result<Entry, String> {
        let kind = if metadata.is_dir() {
            Kind::Folder
        } else if metadata.is_file() {
            let size = metadata.len();
            match stored(metadata) {
                Some(stored) => Kind::Sparse { size, stored },
                None => Kind::File(size),
            }
        } else if metadata.is_symlink() {
            let target = fs::read_link(at).map_err(|error| error::reason(&error))?;
            let target = as_it_travels(&target).map_err(|error| error.to_string())?;
            // The receiver refuses a link out of its folder; a link into something else that
            // happens to lie there would not mean the same.
            let top = link_top(&path, &target).map_err(|error| error.to_string())?;
            if !top.is_some_and(|top| self.tops.contains_key(top)) {
                return Err(PathError::Outside.to_string());
            }
            Kind::Link(target)
        } else {
            return Err("it is neither a file, a folder nor a link".into());
        };
        let (mode, mtime) = (self.modes.of(at, metadata), times::mtime(metadata));
        Ok(Entry { path, kind, mode, mtime })
    }

    /// The same for a receiver that takes names of text alone, where there are others: these stay
    /// behind, each folder with what is in it.
    pub fn as_text(&self) -> Option<Self> {
        let entries = self.manifest.entries();
        if entries.iter().all(Entry::is_text) {
            return None;
        }
        let mut source = Self {
            unsent: self.unsent.clone(),
            developer: self.developer.clone(),
            left: self.left.clone(),
            made_up: self.made_up.clone(),
            other_disks: self.other_disks.clone(),
            of_the_disk: self.of_the_disk.clone(),
            tops: self.tops.clone(),
            ..Self::default()
        };
        let mut behind: Option<&RelPath> = None;
        for ((at, entry), id) in entries.iter().enumerate().zip(&self.ids) {
            if behind.is_some_and(|folder| entry.path.is_inside(folder)) {
                continue;
            }
            if entry.is_text() {
                if let Some(content) = self.kept.get(&at) {
                    source.kept.insert(source.ids.len(), Arc::clone(content));
                }
                // What is taken out of a list leaves its order as it is.
                let _ = source.manifest.push(entry.clone());
                source.ids.push(*id);
            } else {
                behind = Some(&entry.path);
                source
                    .unsent
                    .push(Unsent { name: entry.path.as_bytes().into(), why: no_text(entry) });
            }
        }
        Some(source)
    }

    /// Notes what stays behind, under a name that tells nothing of what lies above `top`.
    fn leave(&mut self, (name, top): (&[u8], &Path), path: &Path, why: &str) {
        let below = path.strip_prefix(top).unwrap_or(Path::new(""));
        let mut name = name.to_vec();
        if !below.as_os_str().is_empty() {
            name.push(b'/');
            name.extend(path::told(below).iter());
        }
        self.unsent.push(Unsent { name, why: why.into() });
    }
}

/// Why what is not on a disk stays behind.
const MADE_UP: &str = "the system makes it up while it is read; name single files in it";
const TOO_LONG: &str = "the system makes it up while it is read, and it is long; \
                        `transfer send - <FILE` sends it";

/// What ends nobody knows where is no file, but can be sent as what comes in.
///
/// # Errors
/// Nothing else was named.
fn refuse_streams(tops: &BTreeMap<Box<[u8]>, PathBuf>) -> Result<()> {
    let mut streams = tops.values().map(|path| Some((path, pseudo::stream(path)?)));
    let Some(Some((path, kind))) = streams.next() else { return Ok(()) };
    if streams.any(|stream| stream.is_none()) {
        return Ok(());
    }
    let path = shown_os(path);
    Err(Error::usage(format!("\"{path}\" is {kind}, and that has no end that could be listed"))
        .hint("`transfer send -` sends what comes in: `transfer send - <FILE`, `command | transfer send -`"))
}

/// The files of a list, opened by one thread one after the other: what is near the last is near.
#[derive(Debug)]
pub struct Files<'a> {
    source: &'a Source,
    opener: Opener,
    follow_symlinks: bool,
}

impl Files<'_> {
    /// Opens the file of an entry, if it is still the one that was listed.
    ///
    /// # Errors
    /// What has become of it.
    pub fn open(&mut self, index: u32) -> Result<SourceFile, SourceFault> {
        let entry = self.source.manifest.get(index).ok_or(SourceFault::Vanished)?;
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        if let Some(content) = self.source.kept.get(&at) {
            return Ok(SourceFile::kept(Arc::clone(content), entry));
        }
        let id = self.source.ids.get(at).copied().unwrap_or_default();
        let top = self.source.tops.get(entry.path.top());
        let (top, top_id) = top.ok_or(SourceFault::Vanished)?;
        // Where links are followed, a path of them may lead anywhere, and be meant.
        if self.follow_symlinks || entry.path.parent().is_none() {
            let mut path = top.clone();
            path.extend(entry.path.names().skip(1).filter_map(path::native));
            return SourceFile::open(&path, entry, id, self.follow_symlinks);
        }
        SourceFile::new(self.opener.open(&entry.path, top, *top_id)?, entry, id)
    }
}

impl Drop for Files<'_> {
    fn drop(&mut self) {
        let openers = self.source.openers.lock();
        openers.unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.opener));
    }
}

/// The name that each path will have on the other side, and where it is.
fn top_names(paths: &[PathBuf]) -> Result<BTreeMap<Box<[u8]>, PathBuf>> {
    let mut tops: BTreeMap<Box<[u8]>, PathBuf> = BTreeMap::new();
    let mut listed = Listed::default();
    for path in paths {
        if pseudo::is_device(path) {
            return Err(device(path));
        }
        fs::symlink_metadata(path).map_err(|error| cannot_send(path, &error))?;
        let name = top_name(path, &mut listed)?;
        match tops.entry(name.as_bytes().into()) {
            Slot::Vacant(slot) => drop(slot.insert(path.clone())),
            // Named twice, perhaps by two patterns.
            Slot::Occupied(slot) if are_one(slot.get(), path) => {}
            Slot::Occupied(slot) => {
                let (one, other) = (shown_os(slot.get()), shown_os(path));
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
fn resolve_links(tops: &mut BTreeMap<Box<[u8]>, PathBuf>) -> Result<()> {
    let names: BTreeSet<Box<[u8]>> = tops.keys().cloned().collect();
    for (name, path) in tops {
        let Ok(target) = fs::read_link(&path) else { continue };
        let link = RelPath::from_bytes(name).and_then(|link| Ok((link, as_it_travels(&target)?)));
        let top = link.as_ref().ok();
        let top = top.and_then(|(link, target)| link_top(link, target).ok().flatten());
        if top.is_none_or(|top| top == &**name || !names.contains(top)) {
            match path.canonicalize() {
                Ok(real) => *path = plain(real),
                // What is behind `<(command)` has no path; that it is sent otherwise is told later.
                Err(_) if pseudo::stream(path).is_some() => {}
                Err(error) => return Err(cannot_send(path, &error)),
            }
        }
    }
    Ok(())
}

/// A link's target with `/` between its names, where Windows has `\`.
fn as_it_travels(target: &Path) -> Result<Target, PathError> {
    let target = path::of_native(target.as_os_str())?;
    let slash = |byte: &u8| if cfg!(windows) && *byte == b'\\' { b'/' } else { *byte };
    Ok(Target::from(&*target.iter().map(slash).collect::<Vec<u8>>()))
}

/// Why an entry stays behind that is no text, and whether that is its name or where it points.
fn no_text(entry: &Entry) -> String {
    let why = |bytes| match str::from_utf8(bytes) {
        Ok(_) => PathError::Control,
        Err(_) => PathError::NotUtf8,
    };
    match &entry.kind {
        Kind::Link(target) if entry.path.is_text() => {
            format!("its target: {}", why(target.as_bytes()))
        }
        _ => why(entry.path.as_bytes()).to_string(),
    }
}

fn cannot_send(path: &Path, error: &std::io::Error) -> Error {
    let (path, why) = (shown_os(path), error::reason(error));
    let hint = match cfg!(windows) && path.contains('"') {
        true => "leave out the backslash before the quote behind a path: it takes the quote",
        false => "check the path; a name with spaces needs quotes",
    };
    Error::failure(format!("cannot send \"{path}\": {why}")).hint(hint)
}

fn device(path: &Path) -> Error {
    let path = shown_os(path);
    Error::usage(format!("\"{path}\" is a device, and that has no end that could be listed"))
        .hint("`transfer send -` sends what comes in; a file of such a name must be renamed")
}

/// A path that the system has made, without what only Windows itself understands.
fn plain(path: PathBuf) -> PathBuf {
    let plain = path.to_str().filter(|_| cfg!(windows)).and_then(naming::plain);
    plain.map_or(path, PathBuf::from)
}

/// What folders list, where that need not be what was typed. Each is read once.
#[derive(Default)]
struct Listed(BTreeMap<PathBuf, Vec<String>>);

impl Listed {
    /// The name of what was typed, as it is on the disk.
    fn name_of(&mut self, path: &Path) -> Option<String> {
        let name = path.file_name().filter(|_| naming::TYPED.has_twins())?.to_str()?;
        let folder = match path.parent()? {
            folder if folder.as_os_str().is_empty() => Path::new("."),
            folder => folder,
        };
        let names = self.0.entry(folder.into()).or_insert_with(|| {
            let names = fs::read_dir(folder).into_iter().flatten().flatten();
            names.filter_map(|entry| entry.file_name().into_string().ok()).collect()
        });
        naming::TYPED.listed_as(name, names.iter().map(String::as_str)).map(str::to_owned)
    }
}

/// The name of what is listed under none that was typed, as Windows has two for a file (`PROGRA~1`) and takes no
/// notice of a dot behind one.
fn long_name(path: &Path) -> Option<String> {
    let is_link = path.symlink_metadata().map_or(true, |found| found.is_symlink());
    let whole = (cfg!(windows) && !is_link).then(|| path.canonicalize().ok()).flatten()?;
    whole.file_name()?.to_str().map(str::to_owned)
}

/// `.`, `..` and `dir/..` are called what the folder is called, a drive as its letter.
fn top_name(path: &Path, listed: &mut Listed) -> Result<RelPath> {
    let named = match path.file_name() {
        Some(_) => path.to_owned(),
        None => path.canonicalize().map_err(|error| cannot_send(path, &error))?,
    };
    let root = named.to_str().filter(|_| cfg!(windows)).and_then(naming::root_name);
    let name = root.or_else(|| listed.name_of(&named)).or_else(|| long_name(&named));
    let name = name.map(OsString::from);
    let path = shown_os(path);
    let Some(name) = name.as_deref().or(named.file_name()) else {
        return Err(Error::usage(format!("\"{path}\" has no name to send it under"))
            .hint("name the folders in it instead"));
    };
    path::of_native(name).and_then(RelPath::from_bytes).map_err(|why| {
        Error::failure(format!("cannot send \"{path}\" under its name: {why}"))
            .hint("rename it, or send the folder it is in")
    })
}

/// Whether a folder is the top of a disk.
fn is_disk(folder: &Path) -> bool {
    if cfg!(windows) {
        let whole = folder.canonicalize();
        return whole.is_ok_and(|whole| whole.to_str().and_then(naming::root_name).is_some());
    }
    // Above a root there is itself.
    let ids =
        [folder.metadata(), folder.join("..").metadata()].map(|it| it.map(|it| FileId::of(&it)));
    matches!(ids, [Ok(own), Ok(above)] if own.device != above.device || own == above)
}

/// An entry's path on the other side.
fn relative(
    top: &[u8],
    parent: Option<&RelPath>,
    found: &walkdir::DirEntry,
) -> Result<RelPath, PathError> {
    match parent {
        None => RelPath::from_bytes(top),
        Some(parent) => parent.join(path::of_native(found.file_name())?),
    }
}

#[cfg(test)]
mod tests;
