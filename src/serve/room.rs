//! Whether there is room for an upload: on the disk, beside what stays free and what was promised to
//! others, and within what a device may have.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Cause, Error, bytes, reason, shown_os};
use crate::event::Event;
use crate::files::own::RESERVED;
use crate::protocol::reason::Reason;
use crate::receive::decide::{Needs, Refusal};
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
    used: HashMap<PathBuf, u64>,
}

/// The room that there is, for all uploads together.
#[derive(Debug)]
pub struct Room {
    limits: Limits,
    state: Mutex<State>,
}

impl Room {
    /// Of a server with these limits.
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole at every point where a panic could happen.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of so many free bytes those that nobody was promised.
    pub fn free(&self, free: Option<u64>) -> Option<u64> {
        let promised = self.state().promised;
        Some(free?.saturating_sub(self.limits.keep_free).saturating_sub(promised))
    }

    /// Bytes that the device with this folder may still send; nothing where nothing bounds it but the disk.
    /// A folder that was looked at before is not looked at again.
    pub fn left(&self, folder: Option<&Path>) -> Option<u64> {
        let of_quota = self.limits.quota.map(|quota| {
            let Some(folder) = folder else { return quota };
            let known = self.state().used.get(folder).copied();
            // What cannot be counted is said when something is offered.
            let used = known.unwrap_or_else(|| self.look(folder).unwrap_or(u64::MAX));
            quota.saturating_sub(used)
        });
        [of_quota, self.limits.max_upload].into_iter().flatten().min()
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
            (Reason::Unwritable, error)
        })?;
        self.state().used.insert(folder.to_owned(), used);
        Ok(used)
    }

    /// For an upload into a folder that has so many bytes in it.
    pub fn promise(&self, used: u64) -> Promise<'_> {
        Promise { room: self, used, taken: Mutex::default() }
    }
}

/// Bytes of all files in a folder, the server's own left out, or what cannot be looked at.
fn size_of(folder: &Path) -> Result<u64, (PathBuf, io::Error)> {
    let (mut size, mut folders) = (0u64, vec![folder.to_owned()]);
    while let Some(at) = folders.pop() {
        let cannot = |error| (at.clone(), error);
        for entry in fs::read_dir(&at).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            let is_own = entry.file_name().as_encoded_bytes().starts_with(RESERVED.as_bytes());
            // Of the link itself, if it is one.
            let found = match entry.metadata() {
                Ok(found) => found,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(cannot(error)),
            };
            match found.is_dir() {
                true => folders.push(entry.path()),
                false if is_own && at == folder => {}
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

    /// What the engine tells.
    pub fn watch(&self, event: &Event<'_>) {
        match event {
            Event::Moved { bytes, .. } => self.came(*bytes),
            // What had come of it is cut off.
            Event::Anew { bytes } => {
                let mut taken = self.taken();
                taken.open = taken.open.saturating_add(*bytes);
                let mut state = self.room.state();
                state.promised = state.promised.saturating_add(*bytes);
            }
            _ => {}
        }
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
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

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
        first.watch(&Event::Anew { bytes: 25 });
        assert_eq!(room.free(Some(100)), Some(0));
        drop(first);
        assert_eq!(room.free(Some(100)), Some(50));
        drop(second);
        assert_eq!(room.free(Some(100)), Some(90));
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
        let (told, error) = room.look(&at("missing")).unwrap_err();
        assert_eq!(told, Reason::Unwritable);
        assert!(error.message.contains("missing\": no such file"), "{error}");
        assert_eq!(Room::new(Limits::default()).look(&at("missing")).unwrap(), 0);
    }
}
