//! Whether there is room for an upload: on the disk, beside what stays free and what was promised to
//! others, and within what a device may have.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use cap_fs_ext::DirExt;
use cap_std::ambient_authority;
use cap_std::fs::Dir;

use crate::error::{Cause, Error, bytes, reason, shown_os};
use crate::files::by_name;
use crate::files::own::RESERVED;
use crate::files::root::Root;
use crate::protocol::reason::Reason;
use crate::receive::allowance::{Allowance, Needs, Refusal};
use crate::receive::single::Refused;

/// How much is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that a device may have in its folder.
    pub quota: Option<u64>,
    /// Bytes of one upload.
    pub max_upload: Option<u64>,
    /// Bytes that stay free on the disk.
    pub keep_free: u64,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes on the disk that were promised and have not come.
    promised: u64,
    /// What the folders had in them when they were last looked at.
    used: HashMap<PathBuf, (u64, Instant)>,
    /// Those that are looked at now for a welcome.
    looking: HashSet<PathBuf>,
}

impl State {
    fn note(&mut self, folder: &Path, used: u64) {
        self.used.insert(folder.to_owned(), (used, Instant::now()));
    }
}

/// For how long it is known what is in a folder: somebody may have made room.
const FRESH: Duration = Duration::from_secs(30);
/// How long a welcome waits for it: whoever only looks has two seconds for all.
const PATIENCE: Duration = Duration::from_millis(500);
/// Bytes of a path behind which the next handle begins: systems take no path of more than 4096, or 1024, and what is
/// sent may be deeper.
const LONG: usize = 512;

/// The room that there is, for all uploads together.
#[derive(Debug)]
pub struct Room {
    limits: Limits,
    state: Arc<Mutex<State>>,
}

impl Room {
    /// Of a server with these limits.
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole at every point where a panic could happen.
        lock(&self.state)
    }

    /// Of so many free bytes those that nobody was promised.
    pub fn free(&self, free: Option<u64>) -> Option<u64> {
        let promised = self.state().promised;
        Some(free?.saturating_sub(self.limits.keep_free).saturating_sub(promised))
    }

    /// Bytes that the device with this folder may still send; nothing where nothing bounds it but the disk, or
    /// where it takes too long to find out.
    pub fn left(&self, folder: Option<&Path>) -> Option<u64> {
        let of_quota = match (self.limits.quota, folder) {
            (None, _) => None,
            (Some(quota), None) => Some(quota),
            (Some(quota), Some(folder)) => Some(quota.saturating_sub(self.known(folder)?)),
        };
        [of_quota, self.limits.max_upload].into_iter().flatten().min()
    }

    /// What is in a folder, as it was a moment ago; nothing where nobody knows yet.
    fn known(&self, folder: &Path) -> Option<u64> {
        let mut state = self.state();
        let known = state.used.get(folder).copied();
        if let Some((used, _)) = known.filter(|(_, looked)| looked.elapsed() < FRESH) {
            return Some(used);
        }
        if state.looking.insert(folder.to_owned()) {
            drop(state);
            let (sender, counted) = mpsc::channel();
            let (folder, state) = (folder.to_owned(), Arc::clone(&self.state));
            let looking = thread::Builder::new().name("quota".into()).spawn({
                let (folder, state) = (folder.clone(), Arc::clone(&state));
                move || {
                    let used = size_of(&folder);
                    let mut state = lock(&state);
                    state.looking.remove(&folder);
                    if let Ok(used) = &used {
                        state.note(&folder, *used);
                    }
                    drop(state);
                    // What cannot be counted is said when something is offered.
                    let _ = sender.send(used.unwrap_or(u64::MAX));
                }
            });
            match looking {
                Ok(_) => {
                    if let Ok(used) = counted.recv_timeout(PATIENCE) {
                        return Some(used);
                    }
                }
                Err(_) => drop(lock(&state).looking.remove(&folder)),
            }
        }
        known.map(|(used, _)| used)
    }

    /// Looks at what is in a device's folder, where that matters.
    ///
    /// # Errors
    /// It cannot be counted, so that nobody knows what may still come.
    pub fn look(&self, folder: &Path) -> Result<u64, Refusal> {
        if self.limits.quota.is_none() {
            return Ok(0);
        }
        let used = size_of(folder).map_err(|(path, error)| {
            let path = shown_os(&path).into_owned();
            let error = Error::failure(format!(
                "what counts for --quota cannot be looked at in \"{path}\": {}",
                reason(&error)
            ));
            let hint = match cfg!(unix) {
                true => "its owner needs to read it (`chmod u+rx`); or move it away",
                false => "this user needs the right to read it; or move it away",
            };
            (Reason::Unwritable, error.hint(hint))
        })?;
        self.state().note(folder, used);
        Ok(used)
    }

    /// For an upload into a folder that has so many bytes in it.
    pub fn promise(&self, used: u64) -> Promise<'_> {
        Promise { room: self, used, taken: Mutex::default() }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes of all files in a folder, the server's own left out, or what cannot be looked at.
fn size_of(folder: &Path) -> Result<u64, (PathBuf, io::Error)> {
    let top = Dir::open_ambient_dir(folder, ambient_authority());
    let top = top.map_err(|error| (folder.to_owned(), error))?;
    // Where each is, from a handle on, and where that is.
    let mut folders = vec![(Arc::new((top, folder.to_owned())), PathBuf::new())];
    let mut size = 0u64;
    while let Some((mut from, mut at)) = folders.pop() {
        let is_top = at.as_os_str().is_empty() && from.1 == folder;
        let path = from.1.join(&at);
        let cannot = |error| (path.clone(), error);
        let dir = match at.as_os_str().is_empty() {
            true => from.0.try_clone(),
            false => from.0.open_dir_nofollow(&at),
        };
        let dir = match dir {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_top => continue,
            dir => dir.map_err(cannot)?,
        };
        let names = by_name::names(&dir).map_err(cannot)?;
        let dir = Arc::new((dir, path.clone()));
        if at.as_os_str().len() > LONG {
            (from, at) = (Arc::clone(&dir), PathBuf::new());
        }
        for name in names {
            let name = name.map_err(cannot)?;
            let is_own = name.as_encoded_bytes().starts_with(RESERVED.as_bytes());
            // Of the link itself, if it is one.
            let found = match dir.0.symlink_metadata(&name) {
                Ok(found) => found,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(cannot(error)),
            };
            match found.is_dir() {
                true => folders.push((Arc::clone(&from), at.join(&name))),
                false if is_own && is_top => {}
                false if found.is_file() => size = size.saturating_add(found.len()),
                false => {}
            }
        }
    }
    Ok(size)
}

#[derive(Debug, Default)]
struct Taken {
    /// Bytes of content that may come, and those that came of a content of unknown length.
    bytes: u64,
    /// Bytes on the disk that were promised and have not come.
    open: u64,
}

/// What one upload may write; given back when this goes, as far as it has not come.
#[derive(Debug)]
pub struct Promise<'a> {
    room: &'a Room,
    used: u64,
    taken: Mutex<Taken>,
}

impl Promise<'_> {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes room for so much more; `free` asks the disk, while nobody else is promised anything.
    ///
    /// # Errors
    /// There is none.
    pub fn take(&self, needs: Needs, free: impl FnOnce() -> Option<u64>) -> Result<(), Refusal> {
        let limits = &self.room.limits;
        let mut taken = self.taken();
        let bytes = taken.bytes.saturating_add(needs.bytes);
        let left = limits.quota.map(|quota| quota.saturating_sub(self.used));
        for (left, option) in [(left, "--quota"), (limits.max_upload, "--max-upload")] {
            if let Some(left) = left.filter(|left| bytes > *left && needs.bytes > 0) {
                return Err(over(bytes, left, option));
            }
        }
        let mut state = self.room.state();
        if let Some(free) = free().filter(|_| needs.stored > 0) {
            let free = free.saturating_sub(limits.keep_free).saturating_sub(state.promised);
            if needs.stored > free {
                return Err(no_space(needs.stored, free, limits.keep_free));
            }
        }
        state.promised = state.promised.saturating_add(needs.stored);
        (taken.bytes, taken.open) = (bytes, taken.open.saturating_add(needs.stored));
        Ok(())
    }

    /// So much of it has come: the disk knows.
    pub fn came(&self, bytes: u64) {
        let mut taken = self.taken();
        let come = bytes.min(taken.open);
        taken.open -= come;
        let mut state = self.room.state();
        state.promised = state.promised.saturating_sub(come);
    }

    /// Room for so many bytes that come next, where less than that is promised: a list may say that a file
    /// takes less than it does.
    ///
    /// # Errors
    /// There is none.
    pub fn reserve(&self, bytes: u64, free: impl FnOnce() -> Option<u64>) -> Result<(), Refusal> {
        let stored = bytes.saturating_sub(self.taken().open);
        match stored {
            0 => Ok(()),
            stored => self.take(Needs { bytes: 0, stored }, free),
        }
    }

    /// So much of what has come is cut off, and comes once more: nobody else is promised that room.
    pub fn returns(&self, bytes: u64) {
        let mut taken = self.taken();
        taken.open = taken.open.saturating_add(bytes);
        let mut state = self.room.state();
        state.promised = state.promised.saturating_add(bytes);
    }
}

impl Allowance for &Promise<'_> {
    fn admit(&mut self, needs: Needs, root: &Root) -> Result<(), Refusal> {
        self.take(needs, || root.room().bytes)
    }

    fn writes(&mut self, bytes: u64, root: &Root) -> Result<(), Refusal> {
        self.reserve(bytes, || root.room().bytes)
    }

    fn wrote(&mut self, bytes: u64) {
        self.came(bytes);
    }

    fn again(&mut self, bytes: u64) {
        self.returns(bytes);
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        self.came(u64::MAX);
    }
}

fn over(needed: u64, left: u64, option: &str) -> Refusal {
    let (wanted, may) = (bytes(needed), bytes(left));
    let message = format!("{wanted} would have to come, and {option} lets {may}");
    (Reason::Quota { needed, left }, Error::new(Cause::Declined, message))
}

fn no_space(needed: u64, free: u64, keep: u64) -> Refusal {
    let (wanted, left, keep) = (bytes(needed), bytes(free), bytes(keep));
    let message = format!(
        "not enough room: {wanted} are needed, {left} are free beside what others were promised and \
         the {keep} of --keep-free"
    );
    (Reason::NoSpace { needed, free }, Error::failure(message))
}

/// A content of unknown length on its way to the disk: room is taken for each piece.
pub struct Metered<'a, W, F> {
    out: W,
    promise: &'a Promise<'a>,
    free: F,
}

impl<'a, W: Write, F: Fn() -> Option<u64>> Metered<'a, W, F> {
    /// `free` asks the disk.
    pub fn new(out: W, promise: &'a Promise<'a>, free: F) -> Self {
        Self { out, promise, free }
    }
}

impl<W: Write, F: Fn() -> Option<u64>> Write for Metered<'_, W, F> {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        let len = content.len() as u64;
        let needs = Needs { bytes: len, stored: len };
        self.promise.take(needs, &self.free).map_err(|(told, error)| {
            let told = match told {
                // Nobody knows how much would still come.
                Reason::Quota { left, .. } => Reason::Quota { needed: 0, left },
                Reason::NoSpace { free, .. } => Reason::NoSpace { needed: 0, free },
                told => told,
            };
            io::Error::other(Refused(told, error))
        })?;
        let written = self.out.write_all(content);
        self.promise.came(len);
        written.map(|()| content.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn needs(bytes: u64) -> Needs {
        Needs { bytes, stored: bytes }
    }

    #[test]
    fn what_may_come_is_exact_to_the_byte() {
        let all = Limits { quota: Some(100), max_upload: Some(60), keep_free: 1000 };
        let quota = |needed, left| Err(Reason::Quota { needed, left });
        let space = |needed, free| Err(Reason::NoSpace { needed, free });
        let rows = [
            ("nothing bounds it", Limits::default(), 0, None, u64::MAX, Ok(())),
            ("the whole quota", all, 40, Some(5000), 60, Ok(())),
            ("a byte more", all, 40, Some(5000), 61, quota(61, 60)),
            ("the rest of it", all, 90, Some(5000), 10, Ok(())),
            ("a byte more than the rest", all, 90, Some(5000), 11, quota(11, 10)),
            ("more than is left is there", all, 150, Some(5000), 1, quota(1, 0)),
            ("all is there already", all, 150, Some(0), 0, Ok(())),
            ("the last byte of the disk", all, 0, Some(1050), 50, Ok(())),
            ("a byte more than the disk", all, 0, Some(1050), 51, space(51, 50)),
            ("a disk that is full", all, 0, Some(1000), 1, space(1, 0)),
            ("a disk that does not tell", all, 0, None, 60, Ok(())),
        ];
        for (row, limits, used, free, bytes, expected) in rows {
            let room = Room::new(limits);
            let taken = room.promise(used).take(needs(bytes), || free);
            assert_eq!(taken.map_err(|refusal| refusal.0), expected, "{row}");
        }
    }

    #[test]
    fn what_is_promised_is_nobody_elses() {
        let room = Room::new(Limits { keep_free: 10, ..Limits::default() });
        let first = room.promise(0);
        first.take(needs(50), || Some(100)).unwrap();
        assert_eq!(room.free(Some(100)), Some(40));
        let second = room.promise(0);
        second.take(needs(41), || Some(100)).unwrap_err();
        // Half of it is on the disk now.
        first.came(25);
        assert_eq!(room.free(Some(75)), Some(40));
        second.take(needs(40), || Some(75)).unwrap();
        assert_eq!(room.free(Some(75)), Some(0));
        first.returns(25);
        assert_eq!(room.free(Some(100)), Some(0));
        drop(first);
        assert_eq!(room.free(Some(100)), Some(50));
        drop(second);
        assert_eq!(room.free(Some(100)), Some(90));
    }

    /// What a list has not said is asked for, beside what others were promised.
    #[test]
    fn what_exceeds_a_promise_is_asked_for() {
        let room = Room::new(Limits { keep_free: 10, ..Limits::default() });
        let (liar, other) = (room.promise(0), room.promise(0));
        liar.take(needs(20), || Some(100)).unwrap();
        other.take(needs(40), || Some(100)).unwrap();
        // Within what is promised nobody looks at the disk.
        liar.reserve(20, || panic!("the disk is asked")).unwrap();
        liar.came(20);
        // 80 are free; 10 stay so, and 40 are the other's.
        liar.reserve(30, || Some(80)).unwrap();
        liar.came(30);
        let (told, _) = liar.reserve(1, || Some(50)).unwrap_err();
        assert_eq!(told, Reason::NoSpace { needed: 1, free: 0 });
        other.reserve(40, || panic!("the disk is asked")).unwrap();
    }

    /// Many at once never get more than there is, and use all of it.
    #[test]
    fn nobody_is_promised_twice() {
        let disk = AtomicU64::new(10_000);
        let room = Room::new(Limits { keep_free: 777, ..Limits::default() });
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    loop {
                        let promise = room.promise(0);
                        let free = || Some(disk.load(Ordering::SeqCst));
                        if promise.take(needs(3), free).is_err()
                            && promise.take(needs(1), free).is_err()
                        {
                            break;
                        }
                        let open = promise.taken().open;
                        for _ in 0..open {
                            disk.fetch_sub(1, Ordering::SeqCst);
                            promise.came(1);
                        }
                    }
                });
            }
        });
        assert_eq!(disk.load(Ordering::SeqCst), 777);
        assert_eq!(room.state().promised, 0);
    }

    #[test]
    fn a_stream_takes_what_is_left_and_no_more() {
        let room = Room::new(Limits { quota: Some(10), ..Limits::default() });
        let promise = room.promise(3);
        let mut landed = Vec::new();
        let mut metered = Metered::new(&mut landed, &promise, || Some(1000));
        metered.write_all(b"1234567").unwrap();
        let error = metered.write_all(b"8").unwrap_err();
        let refused = error.get_ref().and_then(|it| it.downcast_ref::<Refused>()).unwrap();
        assert_eq!(refused.0, Reason::Quota { needed: 0, left: 7 });
        assert_eq!(landed, b"1234567");
    }

    /// Deeper than any path of the system, as a list may be below its folder.
    #[cfg(unix)]
    #[test]
    fn a_deep_tree_is_counted() {
        let scratch = tempfile::tempdir().unwrap();
        let mut at = Dir::open_ambient_dir(scratch.path(), ambient_authority()).unwrap();
        let name = "n".repeat(200);
        for _ in 0..30 {
            at.create_dir(&name).unwrap();
            at.write("file", [0; 10]).unwrap();
            at = at.open_dir(&name).unwrap();
        }
        assert_eq!(size_of(scratch.path()).unwrap(), 300);
    }

    #[test]
    fn what_is_there_is_counted_and_what_cannot_be_looked_at_is_said() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/one"), [0; 7]).unwrap();
        fs::write(at("two.part"), [0; 20]).unwrap();
        fs::write(at(".transfer_lock.json"), [0; 100]).unwrap();
        fs::write(at(".transfer_lock.device"), [0; 64]).unwrap();
        // Only its own are not counted.
        fs::write(at("a/.transfer_lock.json"), [0; 300]).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("two.part", at("link")).unwrap();
        let room = Room::new(Limits { quota: Some(1000), ..Limits::default() });
        assert_eq!(room.look(scratch.path()).unwrap(), 327);
        assert_eq!(room.left(Some(scratch.path())), Some(673));
        assert_eq!(room.left(None), Some(1000));
        // Somebody makes room: it is not said for ever that there is none.
        fs::remove_file(at("a/b/one")).unwrap();
        assert_eq!(room.left(Some(scratch.path())), Some(673));
        let then = Instant::now().checked_sub(FRESH).unwrap();
        room.state().used.insert(scratch.path().to_owned(), (327, then));
        assert_eq!(room.left(Some(scratch.path())), Some(680));
        let (told, error) = room.look(&at("missing")).unwrap_err();
        assert_eq!(told, Reason::Unwritable);
        assert!(error.message.contains("missing\": no such file"), "{error}");
        assert_eq!(Room::new(Limits::default()).look(&at("missing")).unwrap(), 0);
    }
}
