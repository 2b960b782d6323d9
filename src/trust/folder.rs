//! The folder in which a device keeps who it is and whom it knows. Files are made once and never
//! overwritten, or written beside and renamed, under one lock.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::{self, shown_path};
use crate::error::{Error, Result, reason};
use crate::files::disk;
use crate::held::patiently;

/// Bytes of a file here; what is longer is none of ours.
const MAX_FILE: u64 = 16 << 20;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Its user alone.
    Private,
    /// Everybody.
    Public,
}

/// The folder.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

/// How old a change has to be, that the next one has another time.
const FRESH: Duration = Duration::from_secs(2);

/// A state of a file: [`Folder::stamp`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    modified: SystemTime,
    len: u64,
    system: System,
}

/// What else tells states of a file apart: who may change it and its folder, which file it is, and when that
/// changed.
#[cfg(unix)]
type System = ([u32; 4], [u64; 2], [i64; 2]);
#[cfg(not(unix))]
type System = ();

/// Held while files are changed; others wait.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock ends when it is closed")] File);

impl Folder {
    /// At this place.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// This user's.
    ///
    /// # Errors
    /// When the user has no home.
    pub fn of_user() -> Result<Self> {
        config::folder().map(Self).ok_or_else(|| {
            Error::failure("where your own files are is not known").hint(format!(
                "set {}, or {} to a folder",
                config::HOME,
                config::FOLDER
            ))
        })
    }

    /// Where a file is or would be.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The path of a file, for people.
    pub fn shown(&self, name: &str) -> String {
        shown_path(&self.path(name))
    }

    /// Waits until nobody else changes what is here. The folder is made, for its user alone.
    ///
    /// # Errors
    /// When it cannot be made, or is somebody else's to change.
    pub fn lock(&self) -> Result<Lock> {
        let cannot = |error: io::Error| self.cannot("write into", "", &error);
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.0).map_err(cannot)?;
        self.check()?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        private(&mut options, Access::Private);
        let file = options.open(self.path("trust.lock")).map_err(cannot)?;
        match file.lock() {
            // On a network share without locks two changes at the same moment are as likely as they ever were;
            // each replaces a whole file.
            Err(error) if disk::is_unsupported(&error) => {}
            locked => locked.map_err(cannot)?,
        }
        Ok(Lock(file))
    }

    /// Whoever may write here could add a device, or become this one.
    #[cfg(unix)]
    fn check(&self) -> Result<()> {
        use std::os::unix::fs::MetadataExt;
        let found = fs::metadata(&self.0).map_err(|error| self.cannot("read", "", &error))?;
        let own = rustix::process::geteuid().as_raw();
        let folder = shown_path(&self.0);
        if found.uid() != own && found.uid() != 0 {
            return Err(Error::usage(format!("\"{folder}\" belongs to somebody else"))
                .hint(format!("{} names another folder", config::FOLDER)));
        }
        if found.mode() & 0o022 != 0 {
            return Err(Error::usage(format!("others may write into \"{folder}\""))
                .hint(format!("`chmod 700 {folder}`, and look at what is in it")));
        }
        Ok(())
    }

    #[cfg(not(unix))]
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The bytes of a file; nothing where there is none. What is private must be its user's alone.
    ///
    /// # Errors
    /// When it cannot be read, is too long, or others may read what they must not.
    pub fn read(&self, name: &str, access: Access) -> Result<Option<Vec<u8>>> {
        let file = match File::open(self.path(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.cannot("read", name, &error)),
        };
        self.check()?;
        if access == Access::Private {
            check_private(&file, &self.path(name))?;
        }
        let mut bytes = vec![];
        file.take(MAX_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| self.cannot("read", name, &error))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(Error::usage(format!(
                "\"{}\" is longer than {MAX_FILE} bytes",
                self.shown(name)
            ))
            .hint("it was not written by this program; move it away"));
        }
        Ok(Some(bytes))
    }

    /// What tells one state of a file, and of who may change it, from another. Nothing where there is none, or
    /// where it is so fresh that one more change may look the same.
    pub fn stamp(&self, name: &str) -> Option<Stamp> {
        stamp(&self.path(name))
    }

    /// The text of a file; as [`Folder::read`].
    ///
    /// # Errors
    /// The same, and when it is no text.
    pub fn read_text(&self, name: &str, access: Access) -> Result<Option<String>> {
        let Some(bytes) = self.read(name, access)? else { return Ok(None) };
        String::from_utf8(bytes).map(Some).map_err(|_| {
            Error::usage(format!("\"{}\" is no text", self.shown(name)))
                .hint("it is damaged; put it back from a copy")
        })
    }

    /// Makes a file that is not there yet, in one step: others read without the lock, and a run that is killed
    /// must leave no half of a key.
    ///
    /// # Errors
    /// When it is, or cannot be made.
    pub fn make(&self, lock: &Lock, name: &str, access: Access, bytes: &[u8]) -> Result<()> {
        match fs::symlink_metadata(self.path(name)) {
            Ok(_) => Err(is_there(&self.path(name))),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.replace(lock, name, access, bytes)
            }
            // What cannot be looked at may be there.
            Err(error) => Err(self.cannot("write", name, &error)),
        }
    }

    /// Puts a file in the place of an older one, in one step.
    ///
    /// # Errors
    /// When it cannot be written; then the older one is still there.
    pub fn replace(&self, _: &Lock, name: &str, access: Access, bytes: &[u8]) -> Result<()> {
        let new = self.path(&format!("{name}.new"));
        let cannot = |error: io::Error| self.cannot("write", name, &error);
        // Left by a run that was killed; nobody else has the lock.
        match patiently(|| fs::remove_file(&new)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(cannot(error)),
            _ => {}
        }
        make_file(&new, access, bytes)?;
        patiently(|| fs::rename(&new, self.path(name))).map_err(cannot)?;
        // The rename itself, where a folder can be synced at all.
        if let Some(folder) = self.path(name).parent().and_then(|it| File::open(it).ok()) {
            let _ = folder.sync_all();
        }
        Ok(())
    }

    /// Removes a file, if it is there.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, _: &Lock, name: &str) -> Result<()> {
        match patiently(|| fs::remove_file(self.path(name))) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(self.cannot("remove", name, &error))
            }
            _ => Ok(()),
        }
    }

    fn cannot(&self, what: &str, name: &str, error: &io::Error) -> Error {
        cannot(what, &self.path(name), error)
    }
}

/// The same of any file.
pub fn stamp(path: &Path) -> Option<Stamp> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (folder, file) = (fs::metadata(folder).ok()?, fs::metadata(path).ok()?);
    let modified = file.modified().ok()?;
    if modified.elapsed().ok()? < FRESH {
        return None;
    }
    Some(Stamp { modified, len: file.len(), system: system(&folder, &file) })
}

#[cfg(unix)]
fn system(folder: &fs::Metadata, file: &fs::Metadata) -> System {
    use std::os::unix::fs::MetadataExt;
    let access = [folder.mode(), folder.uid(), file.mode(), file.uid()];
    (access, [file.dev(), file.ino()], [file.ctime(), file.ctime_nsec()])
}

#[cfg(not(unix))]
fn system(_: &fs::Metadata, _: &fs::Metadata) -> System {}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::failure(format!("cannot {what} \"{}\": {}", shown_path(path), reason(error)))
        .hint(format!("is it your own? {} names another folder", config::FOLDER))
}

/// Makes a file that is not there yet, wherever it is.
///
/// # Errors
/// When it is, or cannot be made.
pub fn make_file(path: &Path, access: Access, bytes: &[u8]) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    private(&mut options, access);
    let made = options.open(path).and_then(|mut file| {
        file.write_all(bytes)?;
        disk::sync(&file)
    });
    made.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => is_there(path),
        _ => {
            // A half of a key is no key.
            let _ = fs::remove_file(path);
            Error::failure(format!("cannot write \"{}\": {}", shown_path(path), reason(&error)))
                .hint("is there room, and is the folder your own?")
        }
    })
}

fn is_there(path: &Path) -> Error {
    Error::usage(format!("\"{}\" is there already", shown_path(path)))
        .hint("it is never overwritten; move it away, or choose another name")
}

#[cfg(unix)]
fn private(options: &mut OpenOptions, access: Access) {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(if access == Access::Private { 0o600 } else { 0o644 });
}

#[cfg(not(unix))]
fn private(_: &mut OpenOptions, _: Access) {}

/// Refuses a secret that everybody may read, or the group may write.
///
/// # Errors
/// [`Exit::Usage`](crate::error::Exit::Usage), with the command that mends it.
#[cfg(unix)]
pub fn check_private(file: &File, path: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let found = file.metadata().map_err(|error| cannot("read", path, &error))?;
    // The group may read, as some set up services so.
    if found.mode() & 0o027 == 0 {
        return Ok(());
    }
    let what = if found.mode() & 0o007 == 0 { "write" } else { "read" };
    let path = shown_path(path);
    Err(Error::usage(format!("others may {what} \"{path}\", which is a secret"))
        .hint(format!("`chmod 600 {path}`; if somebody may have read it, make another")))
}

/// What other systems have instead of modes is not looked at.
#[cfg(not(unix))]
pub fn check_private(_: &File, _: &Path) -> Result<()> {
    Ok(())
}

/// Whether the group may read a secret: worth a word, as some set up services so.
#[cfg(unix)]
pub fn is_of_group(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).is_ok_and(|found| found.mode() & 0o070 != 0)
}

/// Whether the group may read a secret.
#[cfg(not(unix))]
pub fn is_of_group(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_made_once_and_replaced_in_one_step() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::new(scratch.path().join("a/b"));
        assert_eq!(folder.read("x", Access::Private).unwrap(), None);
        let lock = folder.lock().unwrap();
        folder.make(&lock, "x", Access::Private, b"one").unwrap();
        let error = folder.make(&lock, "x", Access::Private, b"two").unwrap_err();
        assert!(error.message.ends_with("is there already"), "{error}");
        assert_eq!(folder.read("x", Access::Private).unwrap().unwrap(), b"one");
        fs::write(folder.path("x.new"), "left by a run that was killed").unwrap();
        folder.replace(&lock, "x", Access::Private, b"three").unwrap();
        assert_eq!(folder.read("x", Access::Private).unwrap().unwrap(), b"three");
        assert!(!folder.path("x.new").exists());
        for _ in 0..2 {
            folder.remove(&lock, "x").unwrap();
            assert_eq!(folder.read("x", Access::Private).unwrap(), None);
        }
    }

    #[test]
    fn nobody_sees_a_half_of_what_is_made() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::new(scratch.path());
        let lock = folder.lock().unwrap();
        let whole = vec![b'x'; 4 << 20];
        let path = folder.path("x");
        std::thread::scope(|scope| {
            let seen = scope.spawn(|| {
                loop {
                    if let Ok(bytes) = fs::read(&path) {
                        return bytes.len();
                    }
                }
            });
            folder.make(&lock, "x", Access::Private, &whole).unwrap();
            assert_eq!(seen.join().unwrap(), whole.len());
        });
    }

    #[cfg(unix)]
    #[test]
    fn what_others_could_read_or_change_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::new(scratch.path().join("own"));
        let lock = folder.lock().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        assert_eq!(mode(&folder.path("")), 0o700);
        folder.make(&lock, "key", Access::Private, b"x").unwrap();
        folder.make(&lock, "pem", Access::Public, b"x").unwrap();
        assert_eq!(mode(&folder.path("key")), 0o600);
        assert_eq!(mode(&folder.path("pem")) & 0o600, 0o600);
        for (wrong, is_refused) in [
            (0o600, false),
            (0o640, false),
            (0o604, true),
            (0o602, true),
            (0o644, true),
            (0o620, true),
        ] {
            set(&folder.path("key"), wrong);
            assert_eq!(folder.read("key", Access::Private).is_err(), is_refused, "{wrong:o}");
            assert!(folder.read("key", Access::Public).is_ok());
        }
        set(&folder.path("key"), 0o640);
        assert!(is_of_group(&folder.path("key")));
        for wrong in [0o777, 0o770] {
            set(&folder.path(""), wrong);
            let read = folder.read("pem", Access::Public).unwrap_err();
            for error in [read, folder.lock().unwrap_err()] {
                assert!(error.message.starts_with("others may write into"), "{error}");
            }
        }
    }
}
