//! Calls that name something in an open folder. No link is followed, but to see what kind of link leads to a folder.
//!
//! cap-std has them as well. On Windows they go by the path of the folder there too, and there cap-std takes that of
//! a network share, `\\?\UNC\server\share`, for a relative one (its issues 318 and 348). Here a path stays as the
//! system tells it. A folder that is open cannot be moved meanwhile.

#[cfg(not(windows))]
mod system {
    use std::ffi::OsString;
    use std::io;
    use std::path::{Path, PathBuf};

    use cap_fs_ext::DirExt;
    use cap_std::fs::Dir;

    /// Everything in the folder.
    pub fn names(dir: &Dir) -> io::Result<impl Iterator<Item = io::Result<OsString>> + use<>> {
        Ok(dir.entries()?.map(|entry| Ok(entry?.file_name())))
    }

    /// Where a link leads, as it stands there.
    pub fn read_link(dir: &Dir, name: &Path) -> io::Result<PathBuf> {
        dir.read_link_contents(name)
    }

    /// Gives a file another name, and removes what had that.
    pub fn rename(dir: &Dir, from: &Path, to: &Path) -> io::Result<()> {
        dir.rename(from, dir, to)
    }

    /// Gives a file a second name.
    pub fn hard_link(dir: &Dir, from: &Path, to: &Path) -> io::Result<()> {
        dir.hard_link(from, dir, to)
    }

    /// Removes a file or a link.
    pub fn remove(dir: &Dir, name: &Path) -> io::Result<()> {
        dir.remove_file_or_symlink(name)
    }

    /// Makes a link.
    pub fn symlink(dir: &Dir, target: &Path, name: &Path) -> io::Result<()> {
        DirExt::symlink(dir, target, name)
    }
}

#[cfg(windows)]
mod system {
    use std::ffi::OsString;
    use std::os::windows::fs::{FileTypeExt, symlink_dir, symlink_file};
    use std::path::{Path, PathBuf};
    use std::{fs, io};

    use cap_std::fs::Dir;

    use super::of_windows;

    /// Bytes that are free where the folder is.
    pub fn free(dir: &Dir) -> Option<u64> {
        fs4::available_space(path(dir, Path::new("")).ok()?).ok()
    }

    fn path(dir: &Dir, name: &Path) -> io::Result<PathBuf> {
        Ok(winx::file::get_file_path(&dir.try_clone()?.into_std_file())?.join(name))
    }

    /// Everything in the folder.
    pub fn names(dir: &Dir) -> io::Result<impl Iterator<Item = io::Result<OsString>> + use<>> {
        Ok(fs::read_dir(path(dir, Path::new(""))?)?.map(|entry| Ok(entry?.file_name())))
    }

    /// Where a link leads, as it stands there.
    pub fn read_link(dir: &Dir, name: &Path) -> io::Result<PathBuf> {
        fs::read_link(path(dir, name)?)
    }

    /// Makes a folder.
    pub fn create_dir(dir: &Dir, name: &Path) -> io::Result<()> {
        fs::create_dir(path(dir, name)?)
    }

    /// Gives a file another name, and removes what had that.
    pub fn rename(dir: &Dir, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(path(dir, from)?, path(dir, to)?)
    }

    /// Gives a file a second name.
    pub fn hard_link(dir: &Dir, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(path(dir, from)?, path(dir, to)?)
    }

    /// Removes a file or a link.
    pub fn remove(dir: &Dir, name: &Path) -> io::Result<()> {
        let path = path(dir, name)?;
        match fs::symlink_metadata(&path)?.file_type().is_symlink_dir() {
            true => fs::remove_dir(path),
            false => fs::remove_file(path),
        }
    }

    /// Lets a file be written to, or not.
    pub fn set_readonly(dir: &Dir, name: &Path, readonly: bool) -> io::Result<()> {
        let path = path(dir, name)?;
        let mut permissions = fs::symlink_metadata(&path)?.permissions();
        permissions.set_readonly(readonly);
        fs::set_permissions(path, permissions)
    }

    /// Makes a link. A folder needs a link of its own kind; what is not there is taken for a file.
    pub fn symlink(dir: &Dir, target: &Path, name: &Path) -> io::Result<()> {
        let target = of_windows(&target.to_string_lossy());
        // Beside the link. With the prefix of a path that is taken literally, `..` would be a name.
        let folder = path(dir, Path::new(""))?;
        let folder =
            folder.to_str().and_then(crate::files::naming::plain).map_or(folder, PathBuf::from);
        let leads_to_folder = fs::metadata(folder.join(&target)).is_ok_and(|it| it.is_dir());
        let name = path(dir, name)?;
        if leads_to_folder { symlink_dir(target, name) } else { symlink_file(target, name) }
    }
}

pub use system::*;

/// A link's target as Windows follows it, which takes `/` for a letter there.
#[cfg(any(windows, test))]
fn of_windows(target: &str) -> String {
    let names: Vec<&str> = target.split('/').filter(|name| !name.is_empty()).collect();
    names.join("\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_links_on_windows() {
        for (target, expected) in [
            ("file", "file"),
            ("../sub/file", "..\\sub\\file"),
            ("./a//b/", ".\\a\\b"),
            ("..", ".."),
            (".", "."),
        ] {
            assert_eq!(of_windows(target), expected, "{target}");
        }
    }
}
