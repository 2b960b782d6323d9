//! Who has a say in how much comes while it comes: a server promises room to several at once, and a list
//! may say less than what follows takes.

use crate::error::Error;
use crate::files::root::Root;
use crate::protocol::reason::Reason;

/// What the sender is told, and what is said here.
pub type Refusal = (Reason, Error);

/// What an offer needs beside what is here, at most: what is compared first may turn out to be another content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Bytes of content, those of holes among them.
    pub bytes: u64,
    /// Bytes that it takes on the disk.
    pub stored: u64,
}

/// Lets come what may come, and is told what has.
pub trait Allowance {
    /// Whether so much may come, once the plan is made.
    ///
    /// # Errors
    /// It may not.
    fn admit(&mut self, needs: Needs, root: &Root) -> Result<(), Refusal>;

    /// So many bytes are about to be written. Whatever was not admitted with the plan is asked for here.
    ///
    /// # Errors
    /// They may not.
    fn writes(&mut self, bytes: u64, root: &Root) -> Result<(), Refusal>;

    /// So many bytes were written, and the disk knows. A hole is none.
    fn wrote(&mut self, bytes: u64);

    /// So many were written and are cut off, or written over: they come once more.
    fn again(&mut self, bytes: u64);
}

/// Whatever the disk takes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unbounded;

impl Allowance for Unbounded {
    fn admit(&mut self, _: Needs, _: &Root) -> Result<(), Refusal> {
        Ok(())
    }

    fn writes(&mut self, _: u64, _: &Root) -> Result<(), Refusal> {
        Ok(())
    }

    fn wrote(&mut self, _: u64) {}

    fn again(&mut self, _: u64) {}
}

impl<A: Allowance + ?Sized> Allowance for &mut A {
    fn admit(&mut self, needs: Needs, root: &Root) -> Result<(), Refusal> {
        (**self).admit(needs, root)
    }

    fn writes(&mut self, bytes: u64, root: &Root) -> Result<(), Refusal> {
        (**self).writes(bytes, root)
    }

    fn wrote(&mut self, bytes: u64) {
        (**self).wrote(bytes);
    }

    fn again(&mut self, bytes: u64) {
        (**self).again(bytes);
    }
}
