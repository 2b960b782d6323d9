//! Reading a file that someone may change at the same moment, and that may not be what it seems.
//!
//! A file is sent as it was listed: the same file, so many bytes, of that time. It is looked at when
//! it is open, before its first byte is read, and again after its last, with one read past its end.
//! One change is no fault: a file that grows, as a log does. Of that the bytes that were listed are
//! sent. It counts as grown if it is the same file and longer than listed, and if the bytes that were
//! sent are still the first of it: what looks the same (length, time) before the first byte and after
//! the last has not changed between them, and anything else is read a second time and compared. So
//! what changed inside is found even in a file that grows.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Cursor, IoSliceMut, Read, Seek};
use std::path::Path;
use std::sync::Arc;

use super::holes::{self, Extent};
use super::manifest::Entry;
use super::sparse::PAGE;
use super::times;

/// Why the content of an offered file could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceFault {
    /// It is gone.
    Vanished,
    /// It may not be read.
    Denied,
    /// It is not what was offered: another file, another size or time, no longer a file.
    Changed,
    /// The disk failed.
    Unreadable,
    /// It holds more or less than its size says, and nobody changed it.
    Deceptive,
}

impl From<&io::Error> for SourceFault {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Vanished,
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::IsADirectory => Self::Changed,
            // A link or a socket in the file's place.
            _ if error.raw_os_error().is_some_and(is_no_file) => Self::Changed,
            _ => Self::Unreadable,
        }
    }
}

/// What tells a file or folder from every other on this machine; all 0 where the system has no such
/// numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileId {
    /// Its file system.
    pub device: u64,
    /// Its number there.
    pub number: u64,
}

impl FileId {
    /// That of what `metadata` is of.
    #[cfg(unix)]
    pub fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { device: metadata.dev(), number: metadata.ino() }
    }

    /// That of what `metadata` is of.
    #[cfg(not(unix))]
    pub fn of(_: &Metadata) -> Self {
        Self::default()
    }
}

/// How long a file is, and when it last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    mtime: i64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { size: metadata.len(), mtime: times::mtime(metadata) }
    }
}

/// How a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As it was listed.
    AsListed,
    /// It is longer now, and what was read of it has not changed meanwhile.
    Grown,
    /// It is longer now: whether what was read has changed is to be found out by reading it again.
    Growing,
}

/// An offered file, open.
#[derive(Debug)]
pub struct SourceFile {
    content: Content,
    listed: Stamp,
    opened: Stamp,
    /// Bytes from the first on that have been read.
    at: u64,
    /// Where the content ends that the disk has told of last, see [`SourceFile::piece`].
    data: u64,
    /// Whether the last read found that nothing is left, as far as the file said.
    ended: bool,
}

#[derive(Debug)]
enum Content {
    Disk(File),
    /// Read when it was listed.
    Kept(Cursor<Arc<[u8]>>),
}

impl SourceFile {
    /// Opens by a path, without waiting (a pipe in the file's place) and, unless links are sent as
    /// what they point to, without following.
    pub fn open(
        path: &Path,
        entry: &Entry,
        id: FileId,
        follow_symlinks: bool,
    ) -> Result<Self, SourceFault> {
        let file = open_carefully(path, follow_symlinks);
        Self::new(file.map_err(|error| SourceFault::from(&error))?, entry, id)
    }

    /// Takes an open file, if it is the one that was listed.
    pub fn new(file: File, entry: &Entry, id: FileId) -> Result<Self, SourceFault> {
        let metadata = file.metadata().map_err(|error| SourceFault::from(&error))?;
        let opened = Stamp::of(&metadata);
        let listed = Stamp { size: entry.size(), mtime: entry.mtime };
        let is_it = metadata.is_file() && FileId::of(&metadata) == id;
        if !is_it || (opened != listed && opened.size <= listed.size) {
            return Err(SourceFault::Changed);
        }
        Ok(Self { content: Content::Disk(file), listed, opened, at: 0, data: 0, ended: false })
    }

    /// What was read when it was listed.
    pub fn kept(content: Arc<[u8]>, entry: &Entry) -> Self {
        let listed = Stamp { size: entry.size(), mtime: entry.mtime };
        let content = Content::Kept(Cursor::new(content));
        Self { content, listed, opened: listed, at: 0, data: 0, ended: false }
    }

    /// Reads until `buffer` is full.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<(), SourceFault> {
        let file = match &mut self.content {
            Content::Disk(file) => file,
            Content::Kept(content) => {
                return content.read_exact(buffer).map_err(|_| SourceFault::Changed);
            }
        };
        let is_last = self.at.saturating_add(buffer.len() as u64) == self.listed.size;
        self.at += buffer.len() as u64;
        let mut past = [0];
        let mut rest = buffer;
        while !rest.is_empty() {
            // One byte more, so that a usual file needs no other read to show that it ends here.
            let asked = rest.len() + usize::from(is_last);
            let read = if is_last {
                file.read_vectored(&mut [IoSliceMut::new(rest), IoSliceMut::new(&mut past)])
            } else {
                file.read(rest)
            };
            match read {
                Ok(0) => return Err(self.cut_short()),
                Ok(read) => {
                    self.ended = is_last && read < asked;
                    rest = rest.get_mut(read..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(SourceFault::from(&error)),
            }
        }
        Ok(())
    }

    /// What comes next of a file with holes, before `end`: a hole, or content that ends with its page.
    pub fn piece(&mut self, end: u64) -> Result<Extent, SourceFault> {
        if self.at >= self.data {
            let Content::Disk(file) = &mut self.content else {
                return Ok(Extent::Data((end - self.at).min(PAGE - self.at % PAGE)));
            };
            let told = holes::next(file, self.at, self.listed.size);
            let told = told.map_err(|error| SourceFault::from(&error))?;
            self.seek(self.at)?;
            match told {
                Extent::Hole(len) => return Ok(Extent::Hole(len.min(end - self.at))),
                Extent::Data(len) => self.data = self.at + len,
            }
        }
        Ok(Extent::Data((self.data.min(end) - self.at).min(PAGE - self.at % PAGE)))
    }

    /// Goes on behind a hole of so many bytes.
    pub fn skip(&mut self, len: u64) -> Result<(), SourceFault> {
        self.at = self.at.saturating_add(len);
        self.ended = false;
        self.seek(self.at)
    }

    /// How far it has been read.
    pub fn at(&self) -> u64 {
        self.at
    }

    fn seek(&mut self, to: u64) -> Result<(), SourceFault> {
        let sought = match &mut self.content {
            Content::Disk(file) => file.seek(io::SeekFrom::Start(to)),
            Content::Kept(content) => content.seek(io::SeekFrom::Start(to)),
        };
        sought.map(drop).map_err(|error| SourceFault::from(&error))
    }

    /// Its end came before its size says: it shrank, or never was so long.
    fn cut_short(&self) -> SourceFault {
        match self.now() {
            Ok(now) if now == self.opened => SourceFault::Deceptive,
            Ok(_) => SourceFault::Changed,
            Err(fault) => fault,
        }
    }

    fn now(&self) -> Result<Stamp, SourceFault> {
        match &self.content {
            Content::Kept(_) => Ok(self.listed),
            Content::Disk(file) => {
                let now = file.metadata().map_err(|error| SourceFault::from(&error))?;
                Ok(Stamp::of(&now))
            }
        }
    }

    /// Starts again from the first byte.
    pub fn rewind(&mut self) -> Result<(), SourceFault> {
        self.move_to(0)
    }

    /// Goes to a byte: what comes before it is not read here.
    pub fn move_to(&mut self, offset: u64) -> Result<(), SourceFault> {
        (self.at, self.data, self.ended) = (offset, 0, false);
        self.seek(offset)
    }

    /// Looks what has become of the file, now that all that was listed has been read.
    pub fn end(&mut self) -> Result<End, SourceFault> {
        let more = !self.ended && self.has_more()?;
        let now = self.now()?;
        if now.size < self.listed.size {
            return Err(SourceFault::Changed);
        }
        match (now.size > self.listed.size, now == self.opened) {
            (false, true) if more => Err(SourceFault::Deceptive),
            (false, true) => Ok(End::AsListed),
            (false, false) => Err(SourceFault::Changed),
            (true, true) => Ok(End::Grown),
            (true, false) => Ok(End::Growing),
        }
    }

    /// Reads once past the end.
    fn has_more(&mut self) -> Result<bool, SourceFault> {
        let Content::Disk(file) = &mut self.content else { return Ok(false) };
        loop {
            match file.read(&mut [0]) {
                Ok(read) => return Ok(read > 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(SourceFault::from(&error)),
            }
        }
    }
}

/// Opens what should be a file, without waiting for what is none.
pub(super) fn open_carefully(path: &Path, follow_symlinks: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    careful(&mut options, follow_symlinks);
    options.open(path)
}

#[cfg(unix)]
fn careful(options: &mut OpenOptions, follow_symlinks: bool) {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    if !follow_symlinks {
        flags |= OFlags::NOFOLLOW;
    }
    if let Ok(flags) = i32::try_from(flags.bits()) {
        options.custom_flags(flags);
    }
}

#[cfg(not(unix))]
fn careful(_: &mut OpenOptions, _: bool) {}

#[cfg(unix)]
fn is_no_file(error: i32) -> bool {
    use rustix::io::Errno;
    // The last two are how macOS says that it is a socket, and FreeBSD that it is a link.
    let no_file = [Errno::LOOP, Errno::NXIO, Errno::OPNOTSUPP, Errno::MLINK];
    no_file.iter().any(|errno| errno.raw_os_error() == error)
}

#[cfg(not(unix))]
fn is_no_file(_: i32) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::super::manifest::Kind;
    use super::super::path::RelPath;
    use super::*;

    fn listed(path: &Path) -> (Entry, FileId) {
        let metadata = fs::metadata(path).unwrap();
        let kind = Kind::File(metadata.len());
        let mtime = times::mtime(&metadata);
        let entry = Entry { path: RelPath::parse("file").unwrap(), kind, mode: 0o644, mtime };
        (entry, FileId::of(&metadata))
    }

    /// Whatever the system calls it.
    #[cfg(unix)]
    #[test]
    fn a_link_or_a_socket_in_the_place_of_a_file_is_a_change() {
        use std::os::unix::fs::symlink;
        use std::os::unix::net::UnixListener;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, "content").unwrap();
        let (entry, id) = listed(&path);
        let opened = || SourceFile::open(&path, &entry, id, false).map(drop);
        assert_eq!(opened(), Ok(()));
        fs::rename(&path, dir.path().join("y")).unwrap();
        symlink("y", &path).unwrap();
        assert_eq!(opened(), Err(SourceFault::Changed));
        fs::remove_file(&path).unwrap();
        let _socket = UnixListener::bind(&path).unwrap();
        assert_eq!(opened(), Err(SourceFault::Changed));
    }

    /// What happens in the middle of a file, and how it ends.
    #[test]
    fn growing_is_told_from_changing() {
        type Change = fn(&mut File);
        let cases: &[(&str, Change, Result<End, SourceFault>)] = &[
            ("nothing", |_| (), Ok(End::AsListed)),
            ("grows", |file| file.write_all(b"more").unwrap(), Ok(End::Growing)),
            ("shrinks", |file| file.set_len(3).unwrap(), Err(SourceFault::Changed)),
            (
                "shrinks and grows again",
                |file| {
                    file.set_len(3).unwrap();
                    file.write_all(b"and more").unwrap();
                },
                Ok(End::Growing),
            ),
            (
                "is touched",
                |file| file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap(),
                Err(SourceFault::Changed),
            ),
        ];
        for (what, change, expected) in cases {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("file");
            fs::write(&path, "content").unwrap();
            let (entry, id) = listed(&path);
            let mut file = SourceFile::open(&path, &entry, id, false).unwrap();
            let mut content = [0; 7];
            file.read(&mut content[..4]).unwrap();
            let mut writer = File::options().append(true).open(&path).unwrap();
            change(&mut writer);
            let end = file.read(&mut content[4..]).and_then(|()| file.end());
            assert_eq!(end, *expected, "{what}");
            if end == Ok(End::Growing) {
                let mut again = [0; 7];
                file.rewind().unwrap();
                file.read(&mut again).unwrap();
                file.end().unwrap();
                assert_eq!(again == content, *what == "grows", "{what}");
            }
        }
    }

    /// Listed as if it were on a disk.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_size_that_says_nothing_is_found_out() {
        for path in ["/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled"] {
            let path = Path::new(path);
            if !path.exists() {
                continue;
            }
            let (entry, id) = listed(path);
            let file = SourceFile::open(path, &entry, id, false);
            let end = file.and_then(|mut file| {
                // Of size 0 nothing is read.
                let size = usize::try_from(entry.size()).unwrap();
                if size > 0 {
                    file.read(&mut vec![0; size])?;
                }
                file.end()
            });
            assert_eq!(end, Err(SourceFault::Deceptive), "{path:?}");
        }
    }
}
