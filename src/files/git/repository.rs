//! The repository a folder belongs to, found as git finds it, and what its configuration says of
//! ignoring. Whatever else is in that configuration is not looked at.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use gix_config::file::{Metadata, includes, init};
use gix_config::path::interpolate;
use gix_config::{File, Source};
use gix_ignore::glob::pattern::Case;

use super::{Links, git_path, is_missing, read};
use crate::error::{reason, shown, shown_os};
use crate::files::naming::composed;

/// A work tree, and what git would know of it.
pub struct Repository {
    /// The top of the work tree, without links on the way.
    pub root: PathBuf,
    /// The folder that was asked about, in the work tree: empty for its top, else with a slash at
    /// the end.
    pub below: Vec<u8>,
    /// Where the index is.
    pub git_dir: PathBuf,
    /// How objects are named.
    pub hash: gix_hash::Kind,
    /// Whether `a` and `A` are one.
    pub case: Case,
    /// Whether git composes the letters of names (NFC), as macOS may list them taken apart.
    pub composes: bool,
    /// Rules that count everywhere, the weakest first: of the user, of this repository.
    pub ignored: gix_ignore::Search,
}

/// A folder with a repository in it, before anybody has looked what that is.
struct Found {
    /// The folder that holds `.git`.
    root: PathBuf,
    git_dir: PathBuf,
    /// The same, but for a work tree beside the first: there this is shared.
    common_dir: PathBuf,
}

impl Repository {
    /// The repository whose work tree `folder` is in.
    ///
    /// # Errors
    /// Why that cannot be said, in words.
    pub fn of(folder: &Path) -> Result<Option<Self>, String> {
        let folder = folder.canonicalize().map_err(|error| reason(&error))?;
        let Some(found) = discover(&folder)? else { return Ok(None) };
        let own = Own::read(&found)?;
        let root = own.work_tree(&found)?;
        let Ok(below) = folder.strip_prefix(&root) else {
            let root = shown_os(&root);
            return Err(format!("its work tree is elsewhere, in \"{}\"", root));
        };
        let config = configuration(&found, own.has_worktree_config)?;
        let composes = cfg!(target_vendor = "apple")
            && config.boolean("core.precomposeUnicode").ok().flatten() == Some(true);
        let mut below = git_path(below).into_owned();
        if composes {
            below = composed(&below);
        }
        if !below.is_empty() {
            below.push(b'/');
        }
        let icase = config.boolean("core.ignoreCase");
        let icase = icase.map_err(|_| "core.ignoreCase is neither true nor false".to_owned())?;
        let case = if icase == Some(true) { Case::Fold } else { Case::Sensitive };
        let mut ignored = gix_ignore::Search::default();
        let info = found.common_dir.join("info").join("exclude");
        for file in user_rules(&config, &root)?.into_iter().chain([info]) {
            // As git does: what cannot be read says nothing.
            let rules = read(&file, Links::Followed).unwrap_or_default();
            let added = ignored.add_patterns_buffer(&rules, file, None, Default::default());
            added.map_err(|error| reason(&error))?;
        }
        let hash = own.hash;
        Ok(Some(Self { root, below, git_dir: found.git_dir, hash, case, composes, ignored }))
    }
}

/// Goes up from `folder` to the first that holds a repository. Nothing also for what is inside of
/// a repository's own folder.
fn discover(folder: &Path) -> Result<Option<Found>, String> {
    let ceilings = ceilings();
    let across = env::var("GIT_DISCOVERY_ACROSS_FILESYSTEM");
    let across = across.is_ok_and(|value| ["1", "true", "yes", "on"].contains(&&*value));
    for here in folder.ancestors() {
        let is_start = here == folder;
        if !is_start && (ceilings.iter().any(|ceiling| ceiling == here)) {
            break;
        }
        if !is_start && !across && !are_on_one_disk(here, folder) {
            break;
        }
        let git_dir = here.join(".git");
        if let Some(git_dir) = linked_git_dir(here, &git_dir)? {
            let Some(common_dir) = common_dir_of(&git_dir) else {
                return Err("its file \".git\" names no repository".into());
            };
            return Ok(Some(Found { root: here.into(), git_dir, common_dir }));
        }
        if let Some(common_dir) = common_dir_of(&git_dir) {
            return Ok(Some(Found { root: here.into(), git_dir, common_dir }));
        }
        if common_dir_of(here).is_some() {
            return Ok(None);
        }
    }
    Ok(None)
}

/// Folders at which looking upwards ends.
fn ceilings() -> Vec<PathBuf> {
    let value = env::var_os("GIT_CEILING_DIRECTORIES").unwrap_or_default();
    let mut resolve = true;
    let mut ceilings = Vec::new();
    for path in env::split_paths(&value) {
        if path.as_os_str().is_empty() {
            resolve = false;
        } else if path.is_absolute() {
            let real = resolve.then(|| path.canonicalize().ok()).flatten();
            ceilings.push(real.unwrap_or(path));
        }
    }
    ceilings
}

#[cfg(unix)]
fn are_on_one_disk(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| path.metadata().map(|metadata| metadata.dev()).ok();
    device(one) == device(other)
}

#[cfg(not(unix))]
fn are_on_one_disk(_: &Path, _: &Path) -> bool {
    true
}

/// Where a file `.git` says that the repository is: submodules and further work trees have one.
/// Nothing where there is no such file.
fn linked_git_dir(folder: &Path, file: &Path) -> Result<Option<PathBuf>, String> {
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(None);
    }
    let content = read(file, Links::Followed);
    let content = content.map_err(|error| format!("its file \".git\": {}", reason(&error)))?;
    let path = content.strip_prefix(b"gitdir: ").map(<[u8]>::trim_ascii_end);
    let path = path.filter(|path| !path.is_empty()).and_then(super::native);
    let path = path.ok_or("its file \".git\" names no repository")?;
    Ok(Some(folder.join(path)))
}

/// What git takes for a repository: it has a HEAD, objects and refs. Returns where the latter two
/// are.
fn common_dir_of(git_dir: &Path) -> Option<PathBuf> {
    let head = git_dir.join("HEAD");
    let is_head = match head.read_link() {
        Ok(target) => target.starts_with("refs"),
        Err(_) => is_head(&read(&head, Links::Followed).ok()?),
    };
    if !is_head {
        return None;
    }
    let common = git_dir.join("commondir");
    let common = match read(&common, Links::Followed) {
        Ok(path) => git_dir.join(super::native(path.trim_ascii_end())?),
        Err(_) => git_dir.into(),
    };
    let has = |name| common.join(name).is_dir();
    (has("objects") && has("refs")).then_some(common)
}

fn is_head(content: &[u8]) -> bool {
    match content.strip_prefix(b"ref:") {
        Some(name) => name.trim_ascii_start().starts_with(b"refs/"),
        None => content.get(..40).is_some_and(|hash| hash.iter().all(u8::is_ascii_hexdigit)),
    }
}

/// Whether there is a repository in a folder, as git asks for one on its way down.
pub fn is_repository(folder: &Path) -> bool {
    let git_dir = folder.join(".git");
    match linked_git_dir(folder, &git_dir) {
        Ok(Some(linked)) => common_dir_of(&linked).is_some(),
        Ok(None) => common_dir_of(&git_dir).is_some(),
        Err(_) => false,
    }
}

/// What only a repository's own configuration can say, and no file that it includes.
struct Own {
    hash: gix_hash::Kind,
    has_worktree_config: bool,
    is_bare: bool,
    work_tree: Option<PathBuf>,
}

impl Own {
    fn read(found: &Found) -> Result<Self, String> {
        let common = parse(&found.common_dir.join("config"), Source::Local)?.unwrap_or_default();
        let is = |config: &File, key: &str| config.boolean(key).ok().flatten() == Some(true);
        if config_number(&common, "core.repositoryFormatVersion") > 1 {
            return Err("its repository has a format that is not known here".into());
        }
        let hash = match common.string("extensions.objectFormat") {
            None => gix_hash::Kind::Sha1,
            Some(name) if name == "sha1" => gix_hash::Kind::Sha1,
            Some(name) if name == "sha256" => gix_hash::Kind::Sha256,
            Some(_) => return Err("its repository has a format that is not known here".into()),
        };
        let has_worktree_config = is(&common, "extensions.worktreeConfig");
        let work_tree = |config: &File| {
            let value = config.string("core.worktree")?;
            Some(found.git_dir.join(super::native(&value)?))
        };
        let (mut is_bare, mut tree) = (false, None);
        // The first work tree's are not those of the others.
        if found.git_dir == found.common_dir || has_worktree_config {
            (is_bare, tree) = (is(&common, "core.bare"), work_tree(&common));
        }
        if has_worktree_config {
            let path = found.git_dir.join("config.worktree");
            if let Some(config) = parse(&path, Source::Worktree)? {
                is_bare = config.boolean("core.bare").ok().flatten().unwrap_or(is_bare);
                tree = work_tree(&config).or(tree);
            }
        }
        Ok(Self { hash, has_worktree_config, is_bare, work_tree: tree })
    }

    fn work_tree(&self, found: &Found) -> Result<PathBuf, String> {
        if self.is_bare {
            return Err("its repository is a bare one, without a work tree".into());
        }
        let Some(tree) = &self.work_tree else { return Ok(found.root.clone()) };
        tree.canonicalize().map_err(|error| {
            let tree = shown_os(tree);
            format!("its work tree is elsewhere, in \"{}\": {}", tree, reason(&error))
        })
    }
}

fn config_number(config: &File, key: &str) -> i64 {
    config.integer(key).ok().flatten().unwrap_or(0)
}

/// One file of configuration, without what it includes; nothing if it is not there.
fn parse(path: &Path, source: Source) -> Result<Option<File>, String> {
    let content = match read(path, Links::Followed) {
        Ok(content) => content,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(unreadable(path, &reason(&error))),
    };
    let meta = Metadata::from(source).at(path);
    let parsed = File::from_bytes_no_includes(&content, meta, init::Options::default());
    parsed.map(Some).map_err(|error| unreadable(path, &error.to_string().to_lowercase()))
}

fn unreadable(path: &Path, why: &str) -> String {
    format!("its configuration \"{}\": {}", shown_os(path), shown(why))
}

/// All that is configured, the strongest last: of this machine, of the user, of the repository, of
/// this command.
fn configuration(found: &Found, has_worktree_config: bool) -> Result<File, String> {
    let home = env::home_dir();
    // No home of other users: to look one up may ask a server.
    let interpolate = paths_from(home.as_deref());
    let branch = branch(&found.git_dir);
    let conditional = includes::conditional::Context {
        git_dir: Some(&found.git_dir),
        branch_name: branch.as_ref().map(|name| name.as_ref()),
    };
    let includes = includes::Options::follow(interpolate, conditional);
    let options = init::Options { includes, lossy: true, ..Default::default() };
    let mut files = user_files(home.as_deref());
    files.push((found.common_dir.join("config"), Source::Local));
    if has_worktree_config {
        files.push((found.git_dir.join("config.worktree"), Source::Worktree));
    }
    let mut all = File::default();
    for (path, source) in files {
        let is_own = matches!(source, Source::Local | Source::Worktree);
        let mut file = match parse(&path, source) {
            Ok(Some(file)) => file,
            Ok(None) => continue,
            Err(why) if is_own || path.metadata().is_ok() => return Err(why),
            // In a home that may not be looked into.
            Err(_) => continue,
        };
        count_includes(&file, &path, home.as_deref(), 0, &mut 0)?;
        let appended = file.resolve_includes(options).and_then(|()| all.append(file).map(drop));
        appended.map_err(|error| unreadable(&path, &error.to_string().to_lowercase()))?;
    }
    let command = File::from_env(options);
    let command = command.map_err(|error| format!("$GIT_CONFIG_COUNT: {error}"))?;
    if let Some(command) = command {
        all.append(command).map_err(|error| format!("$GIT_CONFIG_COUNT: {error}"))?;
    }
    Ok(all)
}

/// Files that are included at most, all ways together. A few that each include the next ten times
/// would be read for ever.
const MAX_INCLUDES: u32 = 1000;

/// Goes every way that resolving could go, until it is too much.
fn count_includes(
    file: &File,
    at: &Path,
    home: Option<&Path>,
    depth: u8,
    count: &mut u32,
) -> Result<(), String> {
    let sections = ["include", "includeIf"].into_iter();
    let sections = sections.filter_map(|name| file.sections_by_name(name)).flatten();
    for value in sections.flat_map(|section| section.values("path")) {
        *count += 1;
        if *count > MAX_INCLUDES {
            return Err(unreadable(at, "more includes than anybody needs"));
        }
        let Ok(path) = gix_config::Path::from(value).interpolate(paths_from(home)) else {
            continue;
        };
        let path = at.parent().unwrap_or(at).join(path);
        // Deeper than ten is an error anyway.
        if depth < 10
            && path.is_file()
            && let Ok(Some(more)) = parse(&path, Source::Local)
        {
            count_includes(&more, &path, home, depth + 1, count)?;
        }
    }
    Ok(())
}

fn paths_from(home: Option<&Path>) -> interpolate::Context<'_> {
    interpolate::Context { git_install_dir: None, home_dir: home, home_for_user: None }
}

/// The branch that is checked out, for files that are included on one only.
fn branch(git_dir: &Path) -> Option<gix_ref::FullName> {
    let head = read(&git_dir.join("HEAD"), Links::Followed).ok()?;
    let name = head.strip_prefix(b"ref:")?.trim_ascii();
    std::str::from_utf8(name).ok()?.try_into().ok()
}

/// The configuration of the machine and of the user.
fn user_files(home: Option<&Path>) -> Vec<(PathBuf, Source)> {
    let set = |name| env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let no_system = set("GIT_CONFIG_NOSYSTEM");
    let no_system = no_system
        .is_some_and(|value| !["0", "false", "no", "off"].map(OsString::from).contains(&value));
    let mut files = Vec::new();
    if !no_system {
        // On Windows that would be a file of the current drive, which anybody may have made.
        let usual = (!cfg!(windows)).then(|| "/etc/gitconfig".into());
        let system = set("GIT_CONFIG_SYSTEM").map(PathBuf::from).or(usual);
        files.extend(system.map(|system| (system, Source::System)));
    }
    if let Some(global) = env::var_os("GIT_CONFIG_GLOBAL") {
        files.push((global.into(), Source::User));
    } else {
        files.extend(config_home(home).map(|it| (it.join("config"), Source::Git)));
        files.extend(home.map(|home| (home.join(".gitconfig"), Source::User)));
    }
    files
}

fn config_home(home: Option<&Path>) -> Option<PathBuf> {
    let base = env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty());
    let base = base.map(PathBuf::from).or_else(|| Some(home?.join(".config")));
    base.map(|base| base.join("git"))
}

/// The file of rules that the user has for all repositories.
fn user_rules(config: &File, root: &Path) -> Result<Option<PathBuf>, String> {
    let home = env::home_dir();
    let Some(path) = config.path("core.excludesFile") else {
        return Ok(config_home(home.as_deref()).map(|home| home.join("ignore")));
    };
    if path.is_empty() {
        return Ok(None);
    }
    let path = path.interpolate(paths_from(home.as_deref()));
    let path = root.join(path.map_err(|error| format!("core.excludesFile: {error}"))?);
    // `/dev/null` is a usual way to say none. Git ends at a folder, and waits at a pipe.
    let is_null = path == Path::new("/dev/null");
    if !is_null && path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        let path = shown_os(&path);
        return Err(format!("core.excludesFile: \"{}\" is not a file", path));
    }
    Ok(Some(path))
}
