//! What is asked of whoever bounds how much comes, and what it is told.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use tempfile::TempDir;
use transfer::error::Error;
use transfer::files::root::Root;
use transfer::protocol::reason::Reason;
use transfer::receive::allowance::{Allowance, Needs, Refusal};

use super::pipe::Faults;
use super::util::{STREAM, run_within, sessions, tree, walk};

/// A server that has set so much room aside.
#[derive(Default)]
pub struct Ledger {
    /// What may still be written.
    pub open: u64,
    /// What was.
    pub wrote: u64,
    /// What came, or was there, and comes once more.
    pub again: u64,
}

impl Allowance for Ledger {
    fn admit(&mut self, _: Needs, _: &Root) -> Result<(), Refusal> {
        Ok(())
    }

    fn writes(&mut self, bytes: u64, _: &Root) -> Result<(), Refusal> {
        if bytes <= self.open {
            return Ok(());
        }
        let told = Reason::NoSpace { needed: bytes, free: self.open };
        Err((told, Error::failure("that was promised to another")))
    }

    fn wrote(&mut self, bytes: u64) {
        self.open -= bytes;
        self.wrote += bytes;
    }

    fn again(&mut self, bytes: u64) {
        self.open += bytes;
        self.again += bytes;
    }
}

const HOLE: u64 = 8 << 20;
const DATA: u64 = 300_000;

/// A file of a hole and content behind it, and one that is small.
fn stage() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let sent = dir.path().join("sent");
    fs::create_dir(&sent).unwrap();
    let mut image = File::create(sent.join("image")).unwrap();
    image.seek(SeekFrom::Start(HOLE)).unwrap();
    image.write_all(&vec![7; DATA as usize]).unwrap();
    fs::write(sent.join("small"), [1; 1000]).unwrap();
    dir
}

fn has_holes(at: &Path) -> bool {
    let mut root = Root::open(at).unwrap();
    root.try_out().unwrap();
    root.top().disk().has_holes
}

/// Only what is written gives promised room back: a hole does not, and not a byte is written that was not
/// asked for.
#[test]
fn what_is_written_is_asked_for_and_told_and_holes_are_not() {
    let dir = stage();
    let (sent, into) = (dir.path().join("sent"), dir.path().join("in"));
    fs::create_dir(&into).unwrap();
    let takes = DATA + 1000 + if has_holes(&into) { 0 } else { HOLE };
    let none = Faults::default;
    for (open, is_enough) in [(takes, true), (takes - 1, false)] {
        let into = into.join(open.to_string());
        let mut ledger = Ledger { open, ..Ledger::default() };
        let pipe = sessions(64 << 10, none(), none());
        let (sender, receiver, _) =
            run_within(&walk(&sent), &into, STREAM, pipe, &mut ledger, &mut |_| {});
        assert_eq!((sender.is_ok(), receiver.is_ok()), (is_enough, is_enough), "{receiver:?}");
        match receiver {
            Ok(_) => {
                assert_eq!((ledger.wrote, ledger.open, ledger.again), (takes, 0, 0));
                assert_eq!(tree(&sent), tree(&into.join("sent")));
            }
            Err(error) => {
                assert_eq!(error.message, "that was promised to another");
                assert!(error.hint.is_some_and(|hint| hint.contains("goes on where it stopped")));
            }
        }
    }
}
