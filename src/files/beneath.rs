//! Opening listed files, name by name beneath a handle of the top folder.
//!
//! A path is a way that somebody can change: between the list and the first byte a folder on it may
//! have become a link to another. So no path is followed below what was named on the command line.
//! Each folder is opened in its parent, and a link in its place is an error; and what is found in the
//! end must be the very file that was listed.

use std::fs::File;
use std::io;
use std::path::Path;

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};

use super::path::{RelPath, at, names};
use super::reader::{FileId, SourceFault};

/// Folders that are open at the same time, by each thread: far fewer than any system allows.
const MAX_OPEN: usize = 16;

/// The way to the file that was opened last, open: the next is rarely far. One thread has it at a
/// time.
#[derive(Debug, Default)]
pub struct Opener {
    /// The name at the top, and its folder.
    top: Option<(Box<[u8]>, Dir)>,
    /// The folders that were entered last, from the top down; of a deep path only the innermost
    /// [`MAX_OPEN`] are open.
    entered: Vec<(Box<[u8]>, Option<Dir>)>,
}

impl Opener {
    /// Opens a file in a folder that was named: `path` as it arrives, `top` where its first name is,
    /// and `id` that of the top.
    pub fn open(&mut self, path: &RelPath, top: &Path, id: FileId) -> Result<File, SourceFault> {
        let folder = self.parent_of(path, top, id)?;
        open_file(folder, path.name()).map_err(|error| SourceFault::from(&error))
    }

    fn parent_of(&mut self, path: &RelPath, top: &Path, id: FileId) -> Result<&Dir, SourceFault> {
        let fault = |error| SourceFault::from(&error);
        let mut folders = names(path.parent().unwrap_or_default());
        let name = folders.next().unwrap_or_default();
        if self.top.as_ref().is_none_or(|(open, _)| **open != *name) {
            self.entered.clear();
            self.top = None;
            let dir = Dir::open_ambient_dir(top, ambient_authority()).map_err(fault)?;
            if id_of(&dir).map_err(fault)? != id {
                return Err(SourceFault::Changed);
            }
            self.top = Some((name.into(), dir));
        }
        let Some((_, top)) = &self.top else { return Err(SourceFault::Vanished) };
        enter(top, &mut self.entered, folders).map_err(fault)
    }
}

/// Goes to a folder below `top`, through as many of the open ones as lie on the way.
fn enter<'a, 'b>(
    top: &'a Dir,
    entered: &'a mut Vec<(Box<[u8]>, Option<Dir>)>,
    folders: impl Iterator<Item = &'b [u8]> + Clone,
) -> io::Result<&'a Dir> {
    let depth = folders.clone().count();
    let open = entered.iter().map(|(name, _)| &**name);
    let mut common = open.zip(folders.clone()).take_while(|(open, name)| open == name).count();
    if common > 0 && !matches!(entered.get(common - 1), Some((_, Some(_)))) {
        // Closed meanwhile: once more from the top.
        common = 0;
    }
    // What lies deeper may be of use again, but not once another way is taken.
    if common < depth {
        entered.truncate(common);
    }
    for name in folders.skip(common) {
        let parent = entered.last().and_then(|(_, dir)| dir.as_ref());
        let dir = parent.unwrap_or(top).open_dir_nofollow(at(name)?)?;
        entered.push((name.into(), Some(dir)));
        let closed = entered.len().checked_sub(MAX_OPEN + 1);
        if let Some((_, dir)) = closed.and_then(|at| entered.get_mut(at)) {
            *dir = None;
        }
    }
    let innermost = depth.checked_sub(1).and_then(|last| entered.get(last));
    Ok(innermost.and_then(|(_, dir)| dir.as_ref()).unwrap_or(top))
}

/// Opens for reading, without following a link and without waiting for a pipe.
fn open_file(folder: &Dir, name: &[u8]) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).follow(FollowSymlinks::No);
    #[cfg(unix)]
    {
        use cap_std::fs::OpenOptionsExt;
        use rustix::fs::OFlags;
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        options.custom_flags(i32::try_from(flags.bits()).unwrap_or(0));
    }
    let file = folder.open_with(at(name)?, &options)?.into_std();
    #[cfg(windows)]
    if is_elsewhere(&file)? {
        // Its content comes only when whoever keeps it is asked, as OneDrive; no link leads out of `folder` here.
        options.follow(FollowSymlinks::Yes);
        return Ok(folder.open_with(at(name)?, &options)?.into_std());
    }
    Ok(file)
}

/// Whether a file is one whose content is kept elsewhere: a reparse point, and no link.
#[cfg(windows)]
fn is_elsewhere(file: &File) -> io::Result<bool> {
    use std::os::windows::fs::MetadataExt;
    const FILE_ATTRIBUTE_REPARSE_POINT: u32 = 0x400;
    let metadata = file.metadata()?;
    Ok(metadata.is_file() && metadata.file_attributes() & FILE_ATTRIBUTE_REPARSE_POINT != 0)
}

#[cfg(unix)]
fn id_of(dir: &Dir) -> io::Result<FileId> {
    use cap_std::fs::MetadataExt;
    let metadata = dir.dir_metadata()?;
    Ok(FileId { device: metadata.dev(), number: metadata.ino() })
}

#[cfg(not(unix))]
fn id_of(_: &Dir) -> io::Result<FileId> {
    Ok(FileId::default())
}
