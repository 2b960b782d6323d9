//! What the engines tell while they work, and what is left to say at the end. They never print.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::error::Exit;
use crate::files::disk::Lacks;
use crate::files::path::RelPath;
use crate::protocol::fault::Fault;
use crate::protocol::message::OfferKind;
use crate::protocol::pages::HASH_LEN;

/// Something that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// The plan is made: this much will cross.
    Planned {
        /// Files whose content will be sent.
        files: u64,
        /// Bytes of those.
        bytes: u64,
        /// Bytes that are there of files that are gone on with, and do not cross.
        here: u64,
    },
    /// A file is done with on this side: it crossed whole, or it failed.
    Finished {
        /// The file.
        name: &'a RelPath,
    },
    /// Content moved.
    Moved {
        /// Bytes since the last event.
        bytes: u64,
        /// Files finished since the last event.
        files: u64,
        /// The file at hand.
        name: &'a RelPath,
    },
    /// What there is to say of files that the sender found otherwise than it had listed them.
    Remark {
        /// The files.
        names: &'a [RelPath],
        /// What they are like.
        remark: Remark,
    },
    /// What became of a file, now that it is certain. Told only if somebody wants to know of each.
    File {
        /// As it was offered.
        path: &'a RelPath,
        /// Where it is at the receiver; only that side knows.
        place: Option<&'a RelPath>,
        /// Its bytes.
        size: u64,
        /// The SHA-256 of its content, if this side has seen all of that.
        hash: Option<[u8; HASH_LEN]>,
        /// What became of it.
        fate: Fate,
    },
    /// A file that was gone on with has another content by now, and is sent from its beginning.
    Anew {
        /// Bytes that cross besides those planned.
        bytes: u64,
    },
    /// Some hashes differed: these files are sent once more.
    Again {
        /// How many.
        files: u64,
        /// Of those, the ones of which only some blocks are sent: they count as one file with what came.
        torn: u64,
        /// Bytes that are sent.
        bytes: u64,
        /// The attempt that begins, 2 or 3.
        attempt: u8,
    },
}

/// How a file was found otherwise than it was listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remark {
    /// It grew: what was listed of it was sent, and that is no fault.
    Grown,
    /// It holds more or less than its size says, and was not sent.
    Deceptive,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It crossed, and is at its place.
    Arrived,
    /// It was at its place before.
    Already,
    /// It is not, or it was not wanted.
    Missing(Fault),
}

/// Where events go; called from the engine's own thread.
pub type Sink<'a> = &'a mut dyn FnMut(Event<'_>);

/// How a finished session went. Not every end of a session is a success: see [`Summary::exit`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// What kind of thing was offered: a text or a stream counts as one file.
    pub kind: OfferKind,
    /// Files that are at their place on the receiver's disk, verified.
    pub files: u64,
    /// Bytes of content that crossed, repeated ones included.
    pub bytes: u64,
    /// Bytes of those that compression has spared the line.
    pub saved: u64,
    /// Bytes of those that were not sent, as they are holes.
    pub holes: u64,
    /// Of the files, those that were there before.
    pub already: u64,
    /// Everything crossed once: what goes to a pipe, or comes from one, is not asked for again.
    pub once: bool,
    /// Entries that did not arrive, and why.
    pub failed: Vec<(RelPath, Fault)>,
    /// What the receiver's system said of those that it could not write, where it is known.
    pub reasons: BTreeMap<RelPath, String>,
    /// What the receiver's disk did not keep of modes and times.
    pub lacking: Lacks,
    /// Entries that got another name on the receiver's disk; only the receiver knows.
    pub renamed: Vec<(RelPath, RelPath)>,
    /// The SHA-256 of what was received alone: a stream, or a file to standard output.
    pub hash: Option<[u8; HASH_LEN]>,
    /// What the sender found and could not offer.
    pub unsent: u64,
    /// From the first byte of the session to its last.
    pub elapsed: Duration,
    /// What the time went into.
    pub phases: Vec<(&'static str, Duration)>,
}

/// Tells how long each part of a session takes.
#[derive(Debug)]
pub struct Stopwatch {
    since: Instant,
    phases: Vec<(&'static str, Duration)>,
}

impl Stopwatch {
    /// The first phase begins.
    pub fn start() -> Self {
        Self { since: Instant::now(), phases: Vec::new() }
    }

    /// A phase ends, and the next begins.
    pub fn lap(&mut self, phase: &'static str) {
        let now = Instant::now();
        self.phases.push((phase, now - self.since));
        self.since = now;
    }

    /// All of them.
    pub fn phases(self) -> Vec<(&'static str, Duration)> {
        self.phases
    }
}

impl Summary {
    /// Counts what another session sent.
    pub fn add(&mut self, other: Self) {
        (self.kind, self.once) = (other.kind, other.once);
        self.files += other.files;
        self.bytes += other.bytes;
        self.saved += other.saved;
        self.holes += other.holes;
        self.already += other.already;
        self.failed.extend(other.failed);
        self.unsent = self.unsent.max(other.unsent);
        self.elapsed = self.elapsed.max(other.elapsed);
    }

    /// Why an entry did not arrive, in words.
    pub fn why(&self, path: &RelPath, fault: Fault) -> String {
        match (self.reasons.get(path), fault) {
            (Some(reason), _) => format!("the receiver could not write it: {reason}"),
            (None, Fault::Integrity) if self.once => {
                "its hash differed, and it cannot be sent again".into()
            }
            (None, fault) => fault.words().into(),
        }
    }

    /// The exit code both sides end with.
    pub fn exit(&self) -> Exit {
        let faults = || self.failed.iter().map(|(_, fault)| *fault);
        if faults().any(|fault| fault == Fault::Integrity) {
            Exit::Integrity
        } else if self.unsent > 0 || faults().any(|fault| fault != Fault::Kept) {
            Exit::Partial
        } else {
            Exit::Done
        }
    }
}
