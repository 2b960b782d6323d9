//! Holes in files, as the disk tells of them: where it holds nothing, and a file reads as zeros.
//!
//! Not every disk tells (NFS before 4.2, most file systems in user space): there a file that takes far
//! less than its size is probed for zeros instead.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};

use super::sparse::{ContentHash, PAGE, is_zero};
use crate::bounds::HOLE_BLOCK;

/// Pages that are looked at in a file whose disk tells no holes.
const PROBES: u64 = 16;

/// Pieces of content and holes that are counted in a file; of one with more, what its disk says it takes
/// must do.
const MAX_EXTENTS: usize = 4096;

/// What is next in a file: so many bytes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Content, which may be zeros as well.
    Data(u64),
    /// Nothing: it reads as zeros.
    Hole(u64),
}

/// What is at `at` in a file of `size` bytes. Where the system does not tell, all of it is content. The
/// file's own place is elsewhere afterwards.
pub fn next(file: &File, at: u64, size: u64) -> io::Result<Extent> {
    let data = system::data(file, at, size)?;
    if data >= size {
        return Ok(Extent::Hole(size.saturating_sub(at)));
    }
    let data = (data - data % HOLE_BLOCK).max(at);
    if data > at {
        return Ok(Extent::Hole(data - at));
    }
    // A hole that was made this very moment is none yet.
    let hole = system::hole(file, at, size)?.max(at + 1);
    let hole = hole.checked_next_multiple_of(HOLE_BLOCK).unwrap_or(size).min(size);
    Ok(Extent::Data(hole - at))
}

/// Bytes that the content of a file takes on its disk, if it has holes that are worth it. Asks the disk
/// only where it takes less than its size; `open` opens it.
pub fn stored(metadata: &Metadata, open: impl FnOnce() -> io::Result<File>) -> Option<u64> {
    let size = metadata.len();
    let taken = system::taken(metadata).min(size);
    if size - taken < PAGE {
        return None;
    }
    survey(&mut open().ok()?, size, taken).ok().flatten()
}

fn survey(file: &mut File, size: u64, taken: u64) -> io::Result<Option<u64>> {
    let (mut at, mut data, mut holes) = (0, 0, 0);
    for _ in 0..MAX_EXTENTS {
        if at >= size {
            break;
        }
        let len = match next(file, at, size)? {
            Extent::Data(len) => {
                data += len;
                len
            }
            Extent::Hole(len) => {
                holes += len;
                len
            }
        };
        at += len;
    }
    // Disks that compress hold less than there is to send.
    let stored = taken.max(data);
    Ok(match holes {
        0 if taken <= size / 2 && probe(file, size)? => Some(taken),
        holes if holes >= PAGE => Some(stored),
        _ => None,
    })
}

/// Whether at least half of some pages, all over a file, are zeros.
fn probe(file: &mut File, size: u64) -> io::Result<bool> {
    let mut page = vec![0; PAGE as usize];
    let mut zeros = 0;
    for number in 0..PROBES {
        file.seek(SeekFrom::Start(size.saturating_sub(PAGE) / PROBES * number))?;
        file.read_exact(&mut page)?;
        zeros += u64::from(is_zero(&page));
    }
    Ok(zeros * 2 >= PROBES)
}

/// Takes the first `len` bytes of a file into a hash, for which nothing is read of holes if they cost it
/// nothing. `check` is asked now and then whether to go on.
pub fn hash<E: From<io::Error>>(
    file: &mut File,
    len: u64,
    hash: &mut ContentHash,
    mut check: impl FnMut() -> Result<(), E>,
) -> Result<(), E> {
    let mut buffer = vec![0; 1 << 18];
    let (mut at, mut data) = (0, if hash.is_sparse() { 0 } else { len });
    while at < len {
        check()?;
        if at >= data {
            match next(file, at, len)? {
                Extent::Hole(hole) => {
                    hash.skip(hole);
                    at += hole;
                    continue;
                }
                Extent::Data(found) => data = at + found,
            }
            file.seek(SeekFrom::Start(at))?;
        }
        let piece = usize::try_from(data - at).unwrap_or(usize::MAX).min(buffer.len());
        let piece = buffer.get_mut(..piece).unwrap_or_default();
        file.read_exact(piece)?;
        hash.update(piece);
        at += piece.len() as u64;
    }
    // It may have become shorter where it had a hole.
    match hash.is_sparse() && file.metadata()?.len() < len {
        true => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        false => Ok(()),
    }
}

/// Bytes that the first `len` of a file take on its disk; all of them where it does not tell.
pub fn taken(metadata: &Metadata, len: u64) -> u64 {
    system::taken(metadata).min(len)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;

    use super::*;

    /// Where content begins, from `at` on.
    pub fn data(file: &File, at: u64, size: u64) -> io::Result<u64> {
        match seek(file, SeekFrom::Data(at)) {
            // The disk knows no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOTTY) => Ok(at),
            Err(Errno::NXIO) => Ok(size),
            found => Ok(found?.max(at)),
        }
    }

    /// Where a hole begins, from `at` on, or the file ends.
    pub fn hole(file: &File, at: u64, size: u64) -> io::Result<u64> {
        match seek(file, SeekFrom::Hole(at)) {
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOTTY | Errno::NXIO) => Ok(size),
            found => Ok(found?),
        }
    }

    pub fn taken(metadata: &Metadata) -> u64 {
        use std::os::unix::fs::MetadataExt;
        metadata.blocks().saturating_mul(512)
    }
}

/// Among them macOS, though it can be asked: APFS tells of holes in a file that was just written where there is
/// content.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use super::*;

    pub fn data(_: &File, at: u64, _: u64) -> io::Result<u64> {
        Ok(at)
    }

    pub fn hole(_: &File, _: u64, size: u64) -> io::Result<u64> {
        Ok(size)
    }

    #[cfg(target_vendor = "apple")]
    pub fn taken(metadata: &Metadata) -> u64 {
        use std::os::unix::fs::MetadataExt;
        metadata.blocks().saturating_mul(512)
    }

    #[cfg(not(target_vendor = "apple"))]
    pub fn taken(metadata: &Metadata) -> u64 {
        metadata.len()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::files::sparse::SparseHash;

    const MB: u64 = 1 << 20;

    /// A file of this size with content at these places.
    fn file(size: u64, content: &[(u64, usize)]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        for (at, len) in content {
            file.write_all_at(&vec![7; *len], *at).unwrap();
        }
        file
    }

    fn extents(file: &File, size: u64) -> Vec<Extent> {
        let (mut at, mut all) = (0, Vec::new());
        while at < size {
            let extent = next(file, at, size).unwrap();
            all.push(extent);
            at += match extent {
                Extent::Data(len) | Extent::Hole(len) => len,
            };
        }
        assert_eq!(at, size);
        all
    }

    #[test]
    fn extents_cover_a_file_in_whole_grains() {
        use Extent::{Data, Hole};
        let cases: [(u64, &[(u64, usize)], &[Extent]); 6] = [
            (0, &[], &[]),
            (3 * MB + 5, &[], &[Hole(3 * MB + 5)]),
            (MB, &[(0, MB as usize)], &[Data(MB)]),
            (MB + 5, &[(0, 10)], &[Data(4096), Hole(MB + 5 - 4096)]),
            (MB + 5, &[(MB, 5)], &[Hole(MB), Data(5)]),
            (2 * MB + 1, &[(MB + 100, 5000)], &[Hole(MB), Data(8192), Hole(MB + 1 - 8192)]),
        ];
        for (size, content, expected) in cases {
            assert_eq!(extents(&file(size, content), size), expected, "{size} {content:?}");
        }
    }

    /// Size, content, and what it takes where holes are worth it.
    #[test]
    fn holes_are_worth_it_from_a_page_on() {
        let cases: [(u64, &[(u64, usize)], Option<u64>); 6] = [
            (0, &[], None),
            (PAGE - 1, &[], None),
            (PAGE, &[], Some(0)),
            (MB, &[(0, (MB - PAGE + 1) as usize)], None),
            (2 << 30, &[(MB, 5)], Some(4096)),
            (MB, &[(0, MB as usize)], None),
        ];
        for (size, content, expected) in cases {
            let file = file(size, content);
            let metadata = file.metadata().unwrap();
            assert_eq!(stored(&metadata, || file.try_clone()), expected, "{size} {content:?}");
        }
    }

    #[test]
    fn where_no_hole_is_told_zeros_are() {
        let zeros = file(4 * MB, &[(MB, 5)]);
        let full = file(4 * MB, &[(0, 4 * MB as usize)]);
        for (mut file, expected) in [(zeros, true), (full, false)] {
            assert_eq!(probe(&mut file, 4 * MB).unwrap(), expected);
        }
    }

    /// What is hashed is the content, whatever the disk holds of it, and a file that has become
    /// shorter is no file with a hole at its end.
    #[test]
    fn hashing_skips_holes_and_misses_none() {
        let mut sparse = file(3 * MB + 5, &[(MB + 1, 70_000), (3 * MB, 5)]);
        let mut content = vec![0; 3 * MB as usize + 5];
        sparse.read_exact_at(&mut content, 0).unwrap();
        for len in [0, 1, MB, MB + 70, 2 * MB, 3 * MB + 5] {
            let mut expected = SparseHash::default();
            expected.update(&content[..len as usize]);
            let mut found = ContentHash::Sparse(Box::default());
            hash(&mut sparse, len, &mut found, || Ok::<_, io::Error>(())).unwrap();
            assert_eq!(found.finish(), expected.finish(), "{len}");
            sparse.rewind().unwrap();
            let mut found = ContentHash::Whole(Default::default());
            hash(&mut sparse, len, &mut found, || Ok::<_, io::Error>(())).unwrap();
            use sha2::Digest;
            assert_eq!(found.finish()[..], sha2::Sha256::digest(&content[..len as usize])[..]);
        }
        let mut found = ContentHash::Sparse(Box::default());
        let short = hash(&mut sparse, 4 * MB, &mut found, || Ok::<_, io::Error>(()));
        assert_eq!(short.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
