//! A disk in memory that can be told what to refuse, to bend, to forget or to get wrong, as the
//! disks of this world do. It outlives its mounts; `fuse.rs` shows it to the kernel.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fuser::{Errno, FileAttr, FileType, INodeNo};

/// What is wrong with a disk; nothing by default.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// What becomes of a change of permission bits.
    pub chmod: Attribute,
    /// Every file and folder shows these bits.
    pub every_mode: Option<u16>,
    /// What becomes of a change of times.
    pub utimens: Attribute,
    /// A time of change is set only along with one of access (libfuse2).
    pub needs_both_times: bool,
    /// The times that it can hold.
    pub times: Times,
    /// What `close` answers to who has written.
    pub flush: Option<Errno>,
    /// What `fsync` answers.
    pub fsync: Option<Errno>,
    /// Writes are collected by the kernel first, and meet the disk's errors later.
    pub writes_late: bool,
    /// From so many bytes on it is gone: the error that all get.
    pub dies: Option<(u64, Errno)>,
    /// How many bytes it has room for.
    pub room: Option<u64>,
    /// How many more files and folders it can take.
    pub inodes: Option<u64>,
    /// It says that 0 of 0 bytes are free.
    pub says_no_size: bool,
    /// No file can be larger.
    pub largest_file: Option<u64>,
    /// What renaming a file answers that somebody has open.
    pub rename_open: Option<Errno>,
    /// What removing a file answers that somebody has open.
    pub remove_open: Option<Errno>,
    /// What renaming with flags answers.
    pub rename_flags: Option<Errno>,
    /// What a second name answers.
    pub hard_link: Option<Errno>,
    /// What `flock` answers.
    pub flock: Option<Errno>,
    /// Bytes that a name may have.
    pub longest_name: usize,
    /// It claims the usual 255 all the same.
    pub hides_longest_name: bool,
    /// Which names are one.
    pub folds: Folds,
    /// What a name answers that is not UTF-8.
    pub not_utf8: Option<Errno>,
    /// What a name answers that has a control character.
    pub control: Option<Errno>,
    /// How long the number of a file is its own.
    pub inode_numbers: Numbers,
    /// Everything belongs to this user, whoever made it.
    pub every_owner: Option<u32>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            chmod: Attribute::Kept,
            every_mode: None,
            utimens: Attribute::Kept,
            needs_both_times: false,
            times: Times::ANY,
            flush: None,
            fsync: None,
            writes_late: false,
            dies: None,
            room: None,
            inodes: None,
            says_no_size: false,
            largest_file: None,
            rename_open: None,
            remove_open: None,
            rename_flags: None,
            hard_link: None,
            flock: None,
            longest_name: 255,
            hides_longest_name: false,
            folds: Folds::Nothing,
            not_utf8: None,
            control: None,
            inode_numbers: Numbers::Stable,
            every_owner: None,
        }
    }
}

/// What becomes of an attribute that is set.
#[derive(Debug, Clone, Copy)]
pub enum Attribute {
    /// It is as it was set.
    Kept,
    /// Setting it is an error.
    Refused(Errno),
    /// Setting it has no effect.
    Ignored,
}

/// The times that a disk can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// What they are rounded down to, in nanoseconds.
    pub grain: i128,
    /// The first, in seconds since 1970.
    pub first: i64,
    /// The last.
    pub last: i64,
}

impl Times {
    /// All times, to the nanosecond.
    pub const ANY: Self = Self { grain: 1, first: i64::MIN, last: i64::MAX };

    /// What becomes of a time, in nanoseconds since 1970.
    pub fn keep(self, time: i128) -> i128 {
        const SECOND: i128 = 1_000_000_000;
        let time = time.clamp(i128::from(self.first) * SECOND, i128::from(self.last) * SECOND);
        time - time.rem_euclid(self.grain)
    }
}

/// Which names are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folds {
    /// Each is its own.
    Nothing,
    /// Small and capital letters are the same.
    Case,
    /// Letters with their accents and letters followed by them are the same.
    Accents,
    /// The same, and they are written down as letters followed by accents.
    Decomposed,
    /// Dots and spaces at the end do not count.
    Trailing,
}

/// What the tests use of Unicode's canonical composition.
const COMPOSED: [(&str, &str); 2] = [("e\u{301}", "\u{e9}"), ("u\u{308}", "\u{fc}")];

impl Folds {
    /// The name as it is written down.
    fn written(self, name: &OsStr) -> OsString {
        let Some(name) = name.to_str() else { return name.into() };
        let decomposed = |name: String, (two, one): (&str, &str)| name.replace(one, two);
        match self {
            Self::Decomposed => COMPOSED.into_iter().fold(name.into(), decomposed).into(),
            Self::Trailing => name.trim_end_matches(['.', ' ']).into(),
            _ => name.into(),
        }
    }

    fn key(self, name: &OsStr) -> OsString {
        let Some(name) = name.to_str() else { return name.into() };
        match self {
            Self::Nothing => name.into(),
            Self::Case => name.to_lowercase().into(),
            Self::Accents | Self::Decomposed => {
                let composed = |name: String, (two, one): (&str, &str)| name.replace(two, one);
                COMPOSED.into_iter().fold(name.into(), composed).into()
            }
            Self::Trailing => name.trim_end_matches(['.', ' ']).into(),
        }
    }
}

/// How long the number of a file is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// As long as the file is there.
    Stable,
    /// As long as the disk is mounted.
    PerMount,
    /// Each time somebody looks for it, another.
    PerLook,
}

pub type Answer<T> = Result<T, Errno>;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

struct Node {
    content: Content,
    mode: u16,
    owner: User,
    atime: SystemTime,
    mtime: SystemTime,
    ctime: SystemTime,
    names: u32,
    open: u32,
}

enum Content {
    File(Vec<u8>),
    Folder(BTreeMap<OsString, u64>),
    Link(PathBuf),
}

/// What there is on the disk.
pub struct Disk {
    pub faults: Faults,
    nodes: HashMap<u64, Node>,
    next_node: u64,
    /// The numbers that were shown, and what they stand for.
    shown: HashMap<u64, u64>,
    next_shown: u64,
    /// Open files: what they are, and whether they were written to.
    open: HashMap<u64, (u64, bool)>,
    next_open: u64,
    written: u64,
    dead: Option<Errno>,
}

const ROOT: u64 = 1;
const SET_GROUP: u16 = 0o2000;

impl Disk {
    /// An empty disk.
    pub fn new(faults: Faults) -> Self {
        let root = Node {
            content: Content::Folder(BTreeMap::new()),
            mode: 0o755,
            owner: User { uid: 0, gid: 0 },
            atime: SystemTime::now(),
            mtime: SystemTime::now(),
            ctime: SystemTime::now(),
            names: 2,
            open: 0,
        };
        Self {
            faults,
            nodes: [(ROOT, root)].into(),
            next_node: ROOT + 1,
            shown: [(ROOT, ROOT)].into(),
            next_shown: 1000,
            open: HashMap::new(),
            next_open: 1,
            written: 0,
            dead: None,
        }
    }

    /// It is there again, mounted anew.
    pub fn plugged_in(&mut self) {
        self.dead = None;
        self.written = 0;
        self.open.clear();
        self.nodes.values_mut().for_each(|node| node.open = 0);
        self.shown = [(ROOT, ROOT)].into();
        self.next_shown += 1000;
    }

    /// Fails once the disk is gone; what only reads may still come from a cache.
    fn alive(&self, changes: bool) -> Answer<()> {
        const CACHED: [Errno; 2] = [Errno::EIO, Errno::EROFS];
        match self.dead {
            Some(error) if changes || !CACHED.contains(&error) => Err(error),
            _ => Ok(()),
        }
    }

    fn node(&self, shown: INodeNo) -> Answer<(u64, &Node)> {
        let number = *self.shown.get(&shown.0).ok_or(Errno::ESTALE)?;
        Ok((number, self.nodes.get(&number).ok_or(Errno::ESTALE)?))
    }

    fn node_mut(&mut self, shown: INodeNo) -> Answer<&mut Node> {
        let number = self.shown.get(&shown.0).ok_or(Errno::ESTALE)?;
        self.nodes.get_mut(number).ok_or(Errno::ESTALE)
    }

    fn folder(&self, shown: INodeNo) -> Answer<&BTreeMap<OsString, u64>> {
        match &self.node(shown)?.1.content {
            Content::Folder(entries) => Ok(entries),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn folder_mut(&mut self, shown: INodeNo) -> Answer<&mut BTreeMap<OsString, u64>> {
        let time = self.now();
        let node = self.node_mut(shown)?;
        (node.mtime, node.ctime) = (time, time);
        match &mut node.content {
            Content::Folder(entries) => Ok(entries),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// The entry that answers to a name, as it is written.
    fn find(&self, folder: INodeNo, name: &OsStr) -> Answer<Option<(OsString, u64)>> {
        let folds = self.faults.folds;
        let key = folds.key(name);
        let entries = self.folder(folder)?.iter();
        let mut found = entries.filter(|(written, _)| folds.key(written) == key);
        Ok(found.next().map(|(written, node)| (written.clone(), *node)))
    }

    fn now(&self) -> SystemTime {
        self.kept(SystemTime::now())
    }

    fn kept(&self, time: SystemTime) -> SystemTime {
        let nanoseconds = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
            Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
        };
        let kept = self.faults.times.keep(nanoseconds);
        let apart = u64::try_from(kept.unsigned_abs() / 1_000_000_000).unwrap_or_default();
        let rest = u32::try_from(kept.unsigned_abs() % 1_000_000_000).unwrap_or_default();
        let apart = Duration::new(apart, rest);
        let epoch = SystemTime::UNIX_EPOCH;
        if kept < 0 { epoch - apart } else { epoch + apart }
    }

    fn attributes(&self, number: u64, shown: INodeNo) -> FileAttr {
        let node = &self.nodes[&number];
        let (kind, size) = match &node.content {
            Content::File(bytes) => (FileType::RegularFile, bytes.len()),
            Content::Folder(_) => (FileType::Directory, 4096),
            Content::Link(target) => (FileType::Symlink, target.as_os_str().len()),
        };
        FileAttr {
            ino: shown,
            size: size as u64,
            blocks: size.div_ceil(512) as u64,
            atime: node.atime,
            mtime: node.mtime,
            ctime: node.ctime,
            crtime: node.ctime,
            kind,
            perm: self.faults.every_mode.unwrap_or(node.mode),
            nlink: node.names,
            uid: self.faults.every_owner.unwrap_or(node.owner.uid),
            gid: node.owner.gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    /// Shows a node under a number.
    fn show(&mut self, number: u64) -> FileAttr {
        let shown = match self.faults.inode_numbers {
            _ if number == ROOT => ROOT,
            Numbers::Stable => number,
            Numbers::PerMount => number + self.next_shown,
            Numbers::PerLook => {
                self.next_shown += 1;
                self.next_shown
            }
        };
        self.shown.insert(shown, number);
        self.attributes(number, INodeNo(shown))
    }

    pub fn look(&mut self, folder: INodeNo, name: &OsStr) -> Answer<FileAttr> {
        self.alive(false)?;
        self.fits(name)?;
        let (_, number) = self.find(folder, name)?.ok_or(Errno::ENOENT)?;
        Ok(self.show(number))
    }

    pub fn attributes_of(&self, shown: INodeNo) -> Answer<FileAttr> {
        self.alive(false)?;
        Ok(self.attributes(self.node(shown)?.0, shown))
    }

    pub fn set_mode(&mut self, shown: INodeNo, mode: u32) -> Answer<()> {
        self.alive(true)?;
        match self.faults.chmod {
            Attribute::Refused(error) => return Err(error),
            Attribute::Ignored => {}
            Attribute::Kept => {
                self.node_mut(shown)?.mode = u16::try_from(mode & 0o7777).unwrap_or_default();
            }
        }
        Ok(())
    }

    pub fn set_owner(&mut self, shown: INodeNo, uid: Option<u32>, gid: Option<u32>) -> Answer<()> {
        self.alive(true)?;
        let owner = &mut self.node_mut(shown)?.owner;
        *owner = User { uid: uid.unwrap_or(owner.uid), gid: gid.unwrap_or(owner.gid) };
        Ok(())
    }

    pub fn set_times(
        &mut self,
        shown: INodeNo,
        atime: Option<SystemTime>,
        mtime: Option<SystemTime>,
    ) -> Answer<()> {
        self.alive(true)?;
        match self.faults.utimens {
            Attribute::Refused(error) => return Err(error),
            Attribute::Ignored => return Ok(()),
            Attribute::Kept => {}
        }
        if self.faults.needs_both_times && (atime.is_none() || mtime.is_none()) {
            return Ok(());
        }
        let (atime, mtime) = (atime.map(|it| self.kept(it)), mtime.map(|it| self.kept(it)));
        let node = self.node_mut(shown)?;
        (node.atime, node.mtime) = (atime.unwrap_or(node.atime), mtime.unwrap_or(node.mtime));
        Ok(())
    }

    pub fn resize(&mut self, shown: INodeNo, size: u64) -> Answer<()> {
        self.alive(true)?;
        if self.faults.largest_file.is_some_and(|largest| size > largest) {
            return Err(Errno::EFBIG);
        }
        let time = self.now();
        let node = self.node_mut(shown)?;
        let Content::File(bytes) = &mut node.content else { return Err(Errno::EISDIR) };
        bytes.resize(usize::try_from(size).map_err(|_| Errno::EFBIG)?, 0);
        (node.mtime, node.ctime) = (time, time);
        Ok(())
    }

    /// Fails for a name that is too long, or odd.
    fn fits(&self, name: &OsStr) -> Answer<()> {
        if let (None, Some(error)) = (name.to_str(), self.faults.not_utf8) {
            return Err(error);
        }
        let is_control = name.to_string_lossy().contains(char::is_control);
        if let (true, Some(error)) = (is_control, self.faults.control) {
            return Err(error);
        }
        if name.len() > self.faults.longest_name { Err(Errno::ENAMETOOLONG) } else { Ok(()) }
    }

    fn make(
        &mut self,
        folder: INodeNo,
        name: &OsStr,
        content: Content,
        mode: u32,
        owner: User,
    ) -> Answer<FileAttr> {
        self.alive(true)?;
        self.fits(name)?;
        if self.find(folder, name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        match &mut self.faults.inodes {
            Some(0) => return Err(Errno::ENOSPC),
            Some(left) => *left -= 1,
            None => {}
        }
        let (mut mode, mut owner) = (u16::try_from(mode & 0o7777).unwrap_or_default(), owner);
        let parent = self.node(folder)?.1;
        if parent.mode & SET_GROUP != 0 {
            owner.gid = parent.owner.gid;
            if matches!(content, Content::Folder(_)) {
                mode |= SET_GROUP;
            }
        }
        let names = if matches!(content, Content::Folder(_)) { 2 } else { 1 };
        let time = self.now();
        let (atime, mtime, ctime) = (time, time, time);
        let node = Node { content, mode, owner, atime, mtime, ctime, names, open: 0 };
        let number = self.next_node;
        self.next_node += 1;
        self.nodes.insert(number, node);
        let written = self.faults.folds.written(name);
        self.folder_mut(folder)?.insert(written, number);
        Ok(self.show(number))
    }

    pub fn make_folder(
        &mut self,
        folder: INodeNo,
        name: &OsStr,
        mode: u32,
        owner: User,
    ) -> Answer<FileAttr> {
        self.make(folder, name, Content::Folder(BTreeMap::new()), mode, owner)
    }

    pub fn make_link(
        &mut self,
        folder: INodeNo,
        name: &OsStr,
        target: &Path,
        owner: User,
    ) -> Answer<FileAttr> {
        self.make(folder, name, Content::Link(target.into()), 0o777, owner)
    }

    pub fn make_file(
        &mut self,
        folder: INodeNo,
        name: &OsStr,
        mode: u32,
        owner: User,
    ) -> Answer<FileAttr> {
        self.make(folder, name, Content::File(Vec::new()), mode, owner)
    }

    pub fn target(&self, shown: INodeNo) -> Answer<PathBuf> {
        self.alive(false)?;
        match &self.node(shown)?.1.content {
            Content::Link(target) => Ok(target.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    pub fn remove(&mut self, folder: INodeNo, name: &OsStr) -> Answer<()> {
        self.alive(true)?;
        let (written, number) = self.find(folder, name)?.ok_or(Errno::ENOENT)?;
        if let Some(Node { content: Content::Folder(entries), .. }) = self.nodes.get(&number)
            && !entries.is_empty()
        {
            return Err(Errno::ENOTEMPTY);
        }
        if let (Some(error), true) = (self.faults.remove_open, self.nodes[&number].open > 0) {
            return Err(error);
        }
        self.folder_mut(folder)?.remove(&written);
        if let Some(node) = self.nodes.get_mut(&number) {
            node.names = node.names.saturating_sub(1);
        }
        Ok(())
    }

    pub fn rename(
        &mut self,
        (from, name): (INodeNo, &OsStr),
        (to, new): (INodeNo, &OsStr),
        (flags, never_replaces): (bool, bool),
    ) -> Answer<()> {
        self.alive(true)?;
        self.fits(new)?;
        if let (true, Some(error)) = (flags, self.faults.rename_flags) {
            return Err(error);
        }
        let (written, number) = self.find(from, name)?.ok_or(Errno::ENOENT)?;
        if let (Some(error), true) = (self.faults.rename_open, self.nodes[&number].open > 0) {
            return Err(error);
        }
        match self.find(to, new)? {
            Some((_, taken)) if taken == number => {}
            Some(_) if never_replaces => return Err(Errno::EEXIST),
            Some((taken, _)) => {
                // A name that is replaced stays as it is written.
                self.remove(to, new)?;
                self.folder_mut(from)?.remove(&written);
                self.folder_mut(to)?.insert(taken, number);
                return Ok(());
            }
            None => {}
        }
        self.folder_mut(from)?.remove(&written);
        let new = self.faults.folds.written(new);
        self.folder_mut(to)?.insert(new, number);
        Ok(())
    }

    pub fn add_name(&mut self, shown: INodeNo, to: INodeNo, name: &OsStr) -> Answer<FileAttr> {
        self.alive(true)?;
        self.fits(name)?;
        if let Some(error) = self.faults.hard_link {
            return Err(error);
        }
        if self.find(to, name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        let number = self.node(shown)?.0;
        let written = self.faults.folds.written(name);
        self.folder_mut(to)?.insert(written, number);
        self.node_mut(shown)?.names += 1;
        Ok(self.show(number))
    }

    pub fn open(&mut self, shown: INodeNo) -> Answer<u64> {
        self.alive(false)?;
        let (number, _) = self.node(shown)?;
        self.node_mut(shown)?.open += 1;
        let handle = self.next_open;
        self.next_open += 1;
        self.open.insert(handle, (number, false));
        Ok(handle)
    }

    pub fn close(&mut self, handle: u64) {
        if let Some((number, _)) = self.open.remove(&handle)
            && let Some(node) = self.nodes.get_mut(&number)
        {
            node.open = node.open.saturating_sub(1);
        }
    }

    pub fn read(&self, shown: INodeNo, offset: u64, size: u32) -> Answer<Vec<u8>> {
        self.alive(false)?;
        let Content::File(bytes) = &self.node(shown)?.1.content else { return Err(Errno::EISDIR) };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let end = start.saturating_add(size as usize).min(bytes.len());
        Ok(bytes[start..end].to_vec())
    }

    pub fn write(&mut self, shown: INodeNo, handle: u64, offset: u64, data: &[u8]) -> Answer<u32> {
        self.alive(true)?;
        let end = offset + data.len() as u64;
        if self.faults.largest_file.is_some_and(|largest| end > largest) {
            return Err(Errno::EFBIG);
        }
        if let Some((after, error)) = self.faults.dies
            && self.written + data.len() as u64 > after
        {
            self.dead = Some(error);
            return Err(error);
        }
        let grows = end.saturating_sub(self.attributes_of(shown)?.size);
        if self.faults.room.is_some_and(|room| self.used() + grows > room) {
            return Err(Errno::ENOSPC);
        }
        self.written += data.len() as u64;
        let time = self.now();
        let node = self.node_mut(shown)?;
        let Content::File(bytes) = &mut node.content else { return Err(Errno::EISDIR) };
        let start = usize::try_from(offset).map_err(|_| Errno::EFBIG)?;
        if bytes.len() < start + data.len() {
            bytes.resize(start + data.len(), 0);
        }
        bytes[start..start + data.len()].copy_from_slice(data);
        (node.mtime, node.ctime) = (time, time);
        if let Some((_, changed)) = self.open.get_mut(&handle) {
            *changed = true;
        }
        u32::try_from(data.len()).map_err(|_| Errno::EINVAL)
    }

    pub fn flush(&mut self, handle: u64) -> Answer<()> {
        let changed = self.open.get(&handle).is_some_and(|(_, changed)| *changed);
        match self.faults.flush {
            Some(error) if changed => Err(error),
            _ if changed => self.alive(true),
            _ => Ok(()),
        }
    }

    pub fn fsync(&mut self) -> Answer<()> {
        self.alive(true)?;
        self.faults.fsync.map_or(Ok(()), Err)
    }

    pub fn list(&self, shown: INodeNo) -> Answer<Vec<(u64, FileType, OsString)>> {
        self.alive(false)?;
        let dots =
            [(ROOT, FileType::Directory, ".".into()), (ROOT, FileType::Directory, "..".into())];
        let entries = self.folder(shown)?.iter().map(|(name, number)| {
            let kind = self.attributes(*number, INodeNo(*number)).kind;
            (*number, kind, name.clone())
        });
        Ok(dots.into_iter().chain(entries).collect())
    }

    fn used(&self) -> u64 {
        let there = self.nodes.values().filter(|node| node.names > 0 || node.open > 0);
        let sizes = there.map(|node| match &node.content {
            Content::File(bytes) => bytes.len() as u64,
            _ => 0,
        });
        sizes.sum()
    }

    /// Blocks of 4 KiB, those that are free, inodes, those that are free, longest name.
    pub fn sizes(&self) -> (u64, u64, u64, u64, u32) {
        let longest = if self.faults.hides_longest_name { 255 } else { self.faults.longest_name };
        let longest = u32::try_from(longest).unwrap_or(255);
        if self.faults.says_no_size {
            return (0, 0, 0, 0, longest);
        }
        let blocks = self.faults.room.unwrap_or(64 << 30) / 4096;
        let inodes = self.faults.inodes.unwrap_or(1_000_000);
        (blocks, blocks.saturating_sub(self.used().div_ceil(4096)), inodes + 1000, inodes, longest)
    }
}
