//! What proves that a file was made by this program for this user: a key that only this user can
//! read. No sender and no accident makes a name, a mark or a lock that it confirms.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::disk;
use super::mapping::cut;
use super::path::RelPath;
use crate::held::patiently;

/// Bytes of the key and of what it makes.
pub const LEN: usize = 32;

/// Letters of a name's proof: 50 bits, of which a sender sees none.
const TAG: usize = 10;

/// Names of the program itself begin so; none of an offer does.
pub const RESERVED: &str = ".transfer_lock.";

/// One user's key.
#[derive(Clone)]
pub struct Own {
    mac: Hmac<Sha256>,
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Own")
    }
}

impl Own {
    /// With this key.
    pub fn new(key: &[u8; LEN]) -> Self {
        // HMAC fills a short key up with zeros.
        let mut block = [0; 64];
        for (byte, of_key) in block.iter_mut().zip(key) {
            *byte = *of_key;
        }
        Self { mac: Hmac::new(&block.into()) }
    }

    /// This user's, which is made if there is none. Where none can be kept it is another in each
    /// run: what an interrupted run left is then not known again.
    pub fn of_user() -> Self {
        static USER: OnceLock<Own> = OnceLock::new();
        let kept = || {
            let mut key = [0; LEN];
            match file().and_then(|file| read(&file).or_else(|_| make(&file))) {
                Ok(kept) => key = kept,
                Err(_) => rand::fill(&mut key),
            }
            Self::new(&key)
        };
        USER.get_or_init(kept).clone()
    }

    fn make(&self, what: &str, of: &[&[u8]]) -> [u8; LEN] {
        let mut mac = self.mac.clone();
        for part in [what.as_bytes()].iter().chain(of) {
            mac.update(part);
            mac.update(&[0]);
        }
        mac.finalize().into_bytes().into()
    }

    /// What the bytes of a lock file are put into.
    pub fn lock(&self) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(b"lock\0");
        mac
    }

    /// How this user's lock files begin.
    pub fn lock_mark(&self) -> String {
        letters(&self.make("lock mark", &[]), 2 * TAG)
    }

    /// The name of files that are written only to be renamed or removed at once.
    pub fn scratch(&self) -> String {
        format!("{RESERVED}{}.tmp", letters(&self.make("scratch", &[]), TAG))
    }

    /// The mark beside the content of an unfinished file that will be called `place`.
    pub fn part_mark(&self, place: &RelPath) -> [u8; LEN] {
        self.make("part", &[place.as_bytes()])
    }

    /// A name for the unfinished file of `place` that is proof enough, of at most `longest` bytes.
    pub fn part_name(&self, place: &RelPath, longest: usize) -> Vec<u8> {
        let name = place.name();
        let room = longest.saturating_sub(TAG + ".".len() + PART.len());
        let prefix = if name.len() <= room {
            name.to_owned()
        } else {
            // Long names are often alike: what is cut off is told by its hash.
            let rest = letters(&self.make("name", &[name]), TAG);
            [cut(name, room.saturating_sub(TAG + 1)), b"~", rest.as_bytes()].concat()
        };
        let tag = self.tag(place, &prefix);
        [&prefix, &b"."[..], tag.as_bytes(), PART.as_bytes()].concat()
    }

    /// Whether a name is one that [`Own::part_name`] makes.
    pub fn is_part(&self, path: &RelPath) -> bool {
        let Some(name) = path.name().strip_suffix(PART.as_bytes()) else { return false };
        let dot = name.len().checked_sub(TAG + 1);
        let Some((prefix, tag)) = dot.and_then(|dot| name.split_at_checked(dot)) else {
            return false;
        };
        tag.strip_prefix(b".").is_some_and(|tag| tag == self.tag(path, prefix).as_bytes())
    }

    fn tag(&self, place: &RelPath, prefix: &[u8]) -> String {
        let parent = place.parent().unwrap_or_default();
        letters(&self.make("tag", &[parent, prefix]), TAG)
    }
}

/// What the names of unfinished files end with.
pub const PART: &str = ".part";

/// Small letters and digits, five bits each.
fn letters(bytes: &[u8], count: usize) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bytes = bytes.iter().take(count);
    bytes.filter_map(|byte| LETTERS.get(usize::from(byte % 32))).map(|it| char::from(*it)).collect()
}

/// Where the key is: with what the system keeps of a user's programs. A home that belongs to
/// somebody else, as under `sudo`, is not written into.
fn file() -> io::Result<PathBuf> {
    use etcetera::BaseStrategy;
    let base = etcetera::choose_base_strategy().map_err(io::Error::other)?;
    let folder = match is_own(base.home_dir()) {
        // Not with what of a profile goes along to other machines.
        true if cfg!(windows) => base.cache_dir(),
        true => base.state_dir().unwrap_or_else(|| base.data_dir()),
        false if is_root() => "/var/lib".into(),
        false => return Err(io::ErrorKind::PermissionDenied.into()),
    };
    Ok(folder.join("transfer").join("key"))
}

#[cfg(unix)]
fn is_own(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).is_ok_and(|found| found.uid() == rustix::process::geteuid().as_raw())
}

#[cfg(unix)]
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether others can read the key.
#[cfg(unix)]
fn is_private(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let own = rustix::process::geteuid().as_raw();
    file.metadata().is_ok_and(|found| found.uid() == own && found.mode() & 0o077 == 0)
}

#[cfg(not(unix))]
fn is_own(_: &Path) -> bool {
    true
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

#[cfg(not(unix))]
fn is_private(_: &File) -> bool {
    true
}

fn read(path: &Path) -> io::Result<[u8; LEN]> {
    let mut file = File::open(path)?;
    if !is_private(&file) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut key = [0; LEN];
    file.read_exact(&mut key)?;
    Ok(key)
}

/// Makes a key, unless another run was faster.
fn make(path: &Path) -> io::Result<[u8; LEN]> {
    if path.exists() && !File::open(path).is_ok_and(|file| is_private(&file)) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut key = [0; LEN];
    rand::fill(&mut key);
    let new = folder.join(format!("key.{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    file.write_all(&key)?;
    disk::sync(&file)?;
    drop(file);
    let named = match fs::hard_link(&new, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && read(path).is_ok() => Ok(()),
        Err(_) => patiently(|| fs::rename(&new, path)),
        Ok(()) => Ok(()),
    };
    let _ = patiently(|| fs::remove_file(&new));
    named.and_then(|()| read(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> RelPath {
        RelPath::parse(path).unwrap()
    }

    #[test]
    fn a_part_is_known_by_its_name_alone() {
        let (own, other) = (Own::new(&[1; LEN]), Own::new(&[2; LEN]));
        let long = "é".repeat(127);
        let places = ["film", "d/film", "d/e/film.mkv", "film.part", &long, &format!("d/{long}")];
        let raw = [&b"\xff"[..], b"d\n/Icon\r", &[0x80; 255]];
        let raw = raw.map(|path| RelPath::from_bytes(path).unwrap());
        for place in places.map(path).into_iter().chain(raw) {
            for longest in [255, 143, 60] {
                let name = own.part_name(&place, longest);
                assert!(name.len() <= longest.max(place.name().len() + 16));
                assert!(name.ends_with(b".part"));
                let part = place.with_name(&name).unwrap();
                assert!(own.is_part(&part), "{part}");
                assert!(!other.is_part(&part), "{part}");
                // Not in another folder, nor for another name.
                assert!(!own.is_part(&path("x").join(&name).unwrap()));
                let other = part.with_name([b"x", &name[..]].concat());
                assert!(other.is_err() || !own.is_part(&other.unwrap()));
                assert_eq!(own.part_name(&place, longest), name);
            }
        }
        for name in ["film", "film.part", "film.1.part", "film.aaaaaaaaaa.part", ".part", "a..part"]
        {
            assert!(!own.is_part(&path(name)), "{name}");
        }
    }

    #[test]
    fn long_names_that_begin_alike_have_parts_of_their_own() {
        let own = Own::new(&[1; LEN]);
        let names: Vec<_> = (0..3)
            .map(|end| own.part_name(&path(&format!("{}{end}", "x".repeat(250))), 255))
            .collect();
        assert!(names.iter().all(|name| name.len() == 255));
        assert!(names[0] != names[1] && names[1] != names[2]);
    }

    #[test]
    fn marks_are_of_one_place_and_one_user() {
        let (own, other) = (Own::new(&[1; LEN]), Own::new(&[2; LEN]));
        assert_eq!(own.part_mark(&path("a")), own.part_mark(&path("a")));
        assert_ne!(own.part_mark(&path("a")), own.part_mark(&path("d/a")));
        assert_ne!(own.part_mark(&path("a")), other.part_mark(&path("a")));
        assert_ne!(own.scratch(), other.scratch());
        assert_ne!(own.lock_mark(), other.lock_mark());
    }

    #[test]
    fn a_key_is_made_once_and_kept_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state/transfer/key");
        let key = make(&file).unwrap();
        assert_eq!(read(&file).unwrap(), key);
        assert_eq!(make(&file).unwrap(), key);
        // What a power cut left of one.
        fs::write(&file, "").unwrap();
        assert!(read(&file).is_err());
        assert_eq!(make(&file).unwrap(), read(&file).unwrap());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
            assert!(read(&file).is_err() && make(&file).is_err());
        }
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }
}
