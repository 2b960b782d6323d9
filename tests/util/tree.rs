//! Makes trees, and tells whether two are the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use filetime::FileTime;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A folder that is gone when it is dropped, read-only folders in it included.
pub struct Scratch(TempDir);

impl Scratch {
    /// A new empty folder.
    pub fn new() -> Result<Self> {
        Ok(Self(tempfile::Builder::new().prefix("transfer-test-").tempdir()?))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of something in it.
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(path)
    }
}

#[cfg(unix)]
impl Drop for Scratch {
    fn drop(&mut self) {
        /// Opens what a test has closed, or it could not be removed.
        fn open(folder: &Path) {
            let _ = chmod(folder, 0o700);
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    open(&entry.path());
                }
            }
        }
        open(self.0.path());
    }
}

/// Something in a tree, with all that must arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    kind: Kind,
    /// Permission bits; nothing where the system has none.
    mode: Option<u32>,
    mtime: FileTime,
}

impl Node {
    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File { .. })
    }

    /// The same, with another mode and time: those that a disk makes of them.
    pub fn with(
        &self,
        mode: impl FnOnce(Option<u32>) -> Option<u32>,
        mtime: impl FnOnce(FileTime) -> FileTime,
    ) -> Self {
        Self { kind: self.kind.clone(), mode: mode(self.mode), mtime: mtime(self.mtime) }
    }

    /// The same, but for the time of a folder, which changes with what is in it.
    pub fn same_but_folder_time(&self, other: &Self) -> bool {
        let same = self.kind == other.kind && self.mode == other.mode;
        same && (self.kind == Kind::Folder || self.mtime == other.mtime)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    File { size: u64, hash: String },
    Folder,
    Link(PathBuf),
    Other,
}

/// All there is at and below a path, by relative path; the path itself is `""`.
pub type Tree = BTreeMap<PathBuf, Node>;

/// Looks at everything without following a link.
pub fn tree(root: &Path) -> Result<Tree> {
    let mut tree = Tree::new();
    let mut left = vec![PathBuf::new()];
    while let Some(path) = left.pop() {
        let at = if path.as_os_str().is_empty() { root.into() } else { root.join(&path) };
        let metadata = fs::symlink_metadata(&at).with_context(|| format!("{at:?}"))?;
        let kind = if metadata.is_symlink() {
            Kind::Link(fs::read_link(&at)?)
        } else if metadata.is_dir() {
            for entry in fs::read_dir(&at).with_context(|| format!("{at:?}"))? {
                left.push(path.join(entry?.file_name()));
            }
            Kind::Folder
        } else if metadata.is_file() {
            let content = fs::read(&at).with_context(|| format!("{at:?}"))?;
            let hash = Sha256::digest(content);
            let hash = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            Kind::File { size: metadata.len(), hash }
        } else {
            Kind::Other
        };
        // Links have no mode of their own where they matter, and another one on macOS.
        let mode = if metadata.is_symlink() { None } else { mode(&metadata) };
        let mtime = FileTime::from_last_modification_time(&metadata);
        tree.insert(path, Node { kind, mode, mtime });
    }
    Ok(tree)
}

#[cfg(unix)]
fn mode(metadata: &fs::Metadata) -> Option<u32> {
    Some(std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777)
}

#[cfg(not(unix))]
fn mode(_: &fs::Metadata) -> Option<u32> {
    None
}

/// Fails with the differences unless both trees are the same.
pub fn ensure_same(expected: &Tree, found: &Tree) -> Result<()> {
    let paths: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let differ = paths.into_iter().filter(|path| expected.get(*path) != found.get(*path));
    let differ: Vec<String> = differ
        .map(|path| {
            let (expected, found) = (expected.get(path), found.get(path));
            format!("{path:?}:\n  expected {expected:?}\n  found    {found:?}")
        })
        .collect();
    let first = differ.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
    ensure!(differ.is_empty(), "{} differences:\n{first}", differ.len());
    Ok(())
}

/// Fails unless `into` holds exactly what each of `paths` is, under its name.
pub fn ensure_arrived(into: &Path, paths: &[&Path]) -> Result<()> {
    let name = |path: &&Path| path.file_name().map(PathBuf::from);
    let expected: BTreeSet<_> = paths.iter().filter_map(name).collect();
    ensure!(names(into)? == expected, "{:?} are in the folder, not {expected:?}", names(into)?);
    for path in paths {
        let arrived = into.join(path.file_name().context("a path without a name")?);
        ensure_same(&tree(path)?, &tree(&arrived)?)?;
    }
    Ok(())
}

/// The names in a folder.
pub fn names(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{folder:?}"))?;
    entries.map(|entry| Ok(entry?.file_name().into())).collect()
}

/// Writes a file, and the folders that lead to it.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    let folder = path.parent().context("a path without a parent")?;
    fs::create_dir_all(folder).with_context(|| format!("{folder:?}"))?;
    fs::write(path, content).with_context(|| format!("{path:?}"))
}

/// Sets the time of the last change.
pub fn touch(path: &Path, seconds: i64, nanoseconds: u32) -> Result<()> {
    let time = FileTime::from_unix_time(seconds, nanoseconds);
    filetime::set_symlink_file_times(path, time, time).with_context(|| format!("{path:?}"))
}

/// Sets the permission bits.
#[cfg(unix)]
pub fn chmod(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(|| format!("{path:?}"))
}

/// Bytes that nothing compresses, the same for each seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    // Drawing is slow in a test build: drawn once, then copied, with a period that falls
    // together with nothing.
    static DRAWN: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut bytes = vec![0; 1_200_007];
        StdRng::seed_from_u64(0).fill_bytes(&mut bytes);
        bytes
    });
    let start = usize::try_from(seed % 999_983).unwrap_or_default();
    let (before, after) = DRAWN.split_at(start);
    let mut bytes = Vec::with_capacity(len);
    for block in std::iter::once(after).chain([before, after].into_iter().cycle()) {
        let left = len - bytes.len();
        bytes.extend_from_slice(&block[..block.len().min(left)]);
        if bytes.len() == len {
            break;
        }
    }
    bytes
}
