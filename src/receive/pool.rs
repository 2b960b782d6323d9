//! Threads that put small files at their places, several at a time.
//!
//! Creating a file takes the file system longer than hashing a few kilobytes, and most of it can be
//! done beside the next one. The pool does what is usual: a new `.part` file of the usual name,
//! which gets its mode, its time and its name when its hash is right. Whatever else there may be (a
//! name that is taken, a full disk, a hash that differs) it undoes and leaves to the engine.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

use super::writer::FileWriter;
use crate::crypto::record::Buffer;
use crate::files::folder::{Found, Replace};
use crate::files::manifest::Entry;
use crate::files::path::RelPath;
use crate::files::root::Root;
use crate::protocol::lanes;
use crate::protocol::pages::HASH_LEN;

/// Jobs that may wait for a thread.
const WAITING: usize = 2;

/// A file whose content is in one record.
pub struct Small {
    /// Which entry.
    pub index: u32,
    /// The entry.
    pub entry: Entry,
    /// Where it goes.
    pub place: RelPath,
    /// What it may replace, if that is still as it was found.
    pub found: Option<Found>,
    /// Where in the record's plaintext its content is.
    pub content: Range<usize>,
    /// The SHA-256 that the sender has made.
    pub hash: [u8; HASH_LEN],
}

/// A record, and the files in it.
pub struct Job {
    /// The record.
    pub record: Buffer,
    /// The files, each with the time of last change that the disk has made of the offered one,
    /// once it is at its place.
    pub files: Vec<(Small, Option<i64>)>,
}

/// The threads.
pub struct WriterPool {
    queue: SyncSender<Job>,
    done: Receiver<Job>,
    /// Jobs that came back while the engine waited for all, see [`WriterPool::rest`].
    back: VecDeque<Job>,
    /// Jobs that the engine has not got back.
    out: usize,
}

impl WriterPool {
    /// Starts `threads` threads that write beneath `root`.
    pub fn start(root: &Root, threads: usize) -> io::Result<Self> {
        let (queue, jobs) = mpsc::sync_channel(WAITING);
        let (finish, done) = mpsc::channel();
        let jobs = Arc::new(Mutex::new(jobs));
        let roots = (0..threads).map(|_| root.again()).collect::<io::Result<Vec<_>>>()?;
        let works = roots.into_iter().map(|root| {
            let (jobs, finish) = (Arc::clone(&jobs), finish.clone());
            move || work(root, &jobs, &finish)
        });
        lanes::start("write", works)?;
        Ok(Self { queue, done, back: VecDeque::new(), out: 0 })
    }

    /// Gives a job away; waits while too many do already. Where no thread is left it comes back as
    /// it is.
    pub fn give(&mut self, job: Job) -> Option<Job> {
        match self.queue.send(job) {
            Ok(()) => {
                self.out += 1;
                None
            }
            Err(unsent) => Some(unsent.0),
        }
    }

    /// A job that is done, if there is one.
    pub fn finished(&mut self) -> Option<Job> {
        let job = self.back.pop_front().or_else(|| self.done.try_recv().ok())?;
        self.out -= 1;
        Some(job)
    }

    /// The next job that is done; nothing when all are.
    pub fn wait(&mut self) -> Option<Job> {
        if self.out == 0 {
            return None;
        }
        self.out -= 1;
        self.back.pop_front().or_else(|| self.done.recv().ok())
    }

    /// Waits until no thread has anything in hand, and tells whether any had. What was done is told
    /// later.
    pub fn rest(&mut self) -> bool {
        let begun = self.back.len();
        while self.back.len() < self.out
            && let Ok(job) = self.done.recv()
        {
            self.back.push_back(job);
        }
        self.back.len() > begun
    }
}

fn work(mut root: Root, jobs: &Mutex<Receiver<Job>>, finish: &Sender<Job>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut job) = job else { return };
        for (small, placed) in &mut job.files {
            let content = job.record.plaintext().get(small.content.clone());
            // Should it panic, the engine does the same, where everybody sees it.
            let put = AssertUnwindSafe(|| content.and_then(|it| put(&mut root, small, it).ok()));
            *placed = catch_unwind(put).unwrap_or_default();
        }
        if finish.send(job).is_err() {
            return;
        }
    }
}

fn put(root: &mut Root, small: &Small, content: &[u8]) -> io::Result<i64> {
    let own = root.own().clone();
    let folder = root.parent_of(&small.place)?;
    let mut writer = FileWriter::create_briefly(folder, &own, (&small.entry, &small.place))?;
    if let Err(error) = writer.write(content) {
        writer.discard(folder);
        return Err(error);
    }
    let verified = writer.verify(folder, &small.entry, &small.hash)?;
    let verified = verified.ok_or(io::ErrorKind::InvalidData)?;
    let replace = small.found.as_ref().map_or(Replace::Never, Replace::Only);
    let placed = verified.place(folder, small.place.name(), &small.entry, replace);
    if placed.is_err() {
        verified.discard(folder);
    }
    placed
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::files::manifest::Kind;

    #[test]
    fn at_rest_all_is_done_and_every_job_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let mut pool = WriterPool::start(&root, 3).unwrap();
        for index in 0..5u32 {
            let path = RelPath::parse(&format!("file {index}")).unwrap();
            let entry = Entry { path: path.clone(), kind: Kind::File(1), mode: 0o644, mtime: 0 };
            let mut record = Buffer::default();
            record.extend(b"x");
            let (content, hash) = (0..1, Sha256::digest(b"x").into());
            let small = Small { index, entry, place: path, found: None, content, hash };
            assert!(pool.give(Job { record, files: vec![(small, None)] }).is_none());
        }
        assert!(pool.rest());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 5);
        assert!(!pool.rest());
        let first = pool.finished();
        let mut jobs: Vec<Job> =
            first.into_iter().chain(std::iter::from_fn(|| pool.wait())).collect();
        jobs.sort_by_key(|job| job.files[0].0.index);
        let placed: Vec<_> =
            jobs.iter().map(|job| (job.files[0].0.index, job.files[0].1)).collect();
        assert_eq!(placed, (0..5).map(|index| (index, Some(0))).collect::<Vec<_>>());
    }
}
