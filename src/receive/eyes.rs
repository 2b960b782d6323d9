//! What a plan has to know of the disk.

use crate::files::folder::Found;
use crate::files::naming::Naming;
use crate::files::path::RelPath;
use crate::files::root::Root;

/// What a plan has to know of the disk.
pub trait Eyes {
    /// What is at a place.
    fn look(&mut self, path: &RelPath) -> Found;
    /// Whether a time found is what the disk makes of the one given.
    fn is_time(&self, given: i64, found: i64) -> bool;
    /// Whether a folder lists this very name.
    fn lists(&mut self, path: &RelPath) -> bool;
    /// Whether the disk neither tells names of other capitals apart nor numbers its files.
    fn folds_blindly(&self) -> bool;
    /// Which names the disk takes for one.
    fn naming(&self) -> Naming;
    /// Bytes that every file may have, wherever it goes.
    fn fits_everywhere(&self) -> u64;
    /// Bytes that the file of this place may have.
    fn largest_file(&mut self, path: &RelPath) -> u64;
    /// Whether this is the name of an unfinished file of ours.
    fn is_part(&self, path: &RelPath) -> bool;
    /// Bytes that a name may have.
    fn longest_name(&self) -> usize;
    /// The name for an entry in the place of its own, if its disk cannot hold that.
    fn mapped(&mut self, path: &RelPath) -> Option<String>;
}

impl Eyes for Root {
    fn look(&mut self, path: &RelPath) -> Found {
        Root::look(self, path)
    }

    fn is_time(&self, given: i64, found: i64) -> bool {
        Root::is_time(self, given, found)
    }

    fn lists(&mut self, path: &RelPath) -> bool {
        Root::lists(self, path)
    }

    fn folds_blindly(&self) -> bool {
        Root::folds_blindly(self)
    }

    fn naming(&self) -> Naming {
        Root::naming(self)
    }

    fn fits_everywhere(&self) -> u64 {
        Root::fits_everywhere(self)
    }

    fn largest_file(&mut self, path: &RelPath) -> u64 {
        Root::largest_file(self, path)
    }

    fn is_part(&self, path: &RelPath) -> bool {
        self.own().is_part(path)
    }

    fn longest_name(&self) -> usize {
        self.top().disk().longest_name
    }

    fn mapped(&mut self, path: &RelPath) -> Option<String> {
        Root::mapped(self, path)
    }
}
