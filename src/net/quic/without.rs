//! What a build without direct mode has in its place: nothing that could be made.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::{Caller, Meeting, Network, Path, RelayToken, Traffic};
use crate::error::{Error, Result};
use crate::net::relay_url::RelayUrl;

fn no_direct_mode() -> Error {
    Error::usage("this build has no direct mode").hint(
        "a release has it, and so has `cargo install --path . --locked`, without other options",
    )
}

#[expect(missing_docs, reason = "there is nothing to hear")]
pub fn hear(_: impl Fn(&str) + Send + Sync + 'static) {}

#[expect(missing_docs, reason = "there is nothing to look with")]
pub fn look(_: &[RelayUrl], _: Option<&RelayToken>) -> Result<Network> {
    Err(no_direct_mode())
}

/// Of this there is nothing. It is inside the types here, so that code that has one is not taken for
/// unreachable.
#[derive(Debug, Clone, Copy)]
enum Never {}

/// There is none.
#[derive(Debug, Clone)]
pub struct Quic(Never);

#[expect(missing_docs, reason = "nobody has one")]
impl Quic {
    pub fn exporter(&self) -> [u8; 32] {
        match self.0 {}
    }

    pub fn greeted(&self) {
        match self.0 {}
    }

    pub fn set_timeouts(&self, _: Option<Duration>, _: Option<Duration>) {
        match self.0 {}
    }

    pub fn read(&self, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }

    pub fn write(&self, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    pub fn shutdown(self: &Arc<Self>) {
        match self.0 {}
    }

    pub fn caller(&self) -> &Caller {
        match self.0 {}
    }

    pub fn paths(&self) -> Paths {
        match self.0 {}
    }
}

/// There are none.
#[derive(Debug, Clone)]
pub struct Paths(Never);

#[expect(missing_docs, reason = "nobody has one")]
impl Paths {
    pub fn now(&self) -> Option<Path> {
        match self.0 {}
    }

    pub fn next(&mut self, _: Duration) -> Option<Path> {
        match self.0 {}
    }

    pub fn is_over(&self) -> bool {
        match self.0 {}
    }

    pub fn traffic(&self) -> Traffic {
        match self.0 {}
    }
}

/// There is none.
#[derive(Debug, Clone)]
pub struct Listener(Never);

#[expect(missing_docs, reason = "nobody has one")]
impl Listener {
    pub fn open(_: &Meeting, _: Option<u16>, _: RangeInclusive<u16>) -> Result<Option<Self>> {
        Err(no_direct_mode())
    }

    pub fn accept(&self) -> Option<(Arc<Quic>, Caller)> {
        match self.0 {}
    }

    pub fn close(&self) {
        match self.0 {}
    }

    pub fn failure(&self) -> Option<Error> {
        match self.0 {}
    }

    pub fn is_away(&self) -> bool {
        match self.0 {}
    }

    pub fn relay(&self) -> Option<String> {
        match self.0 {}
    }

    pub fn port(&self) -> u16 {
        match self.0 {}
    }
}

/// There is none.
#[derive(Debug)]
pub struct Dialler(Never);

#[expect(missing_docs, reason = "nobody has one")]
impl Dialler {
    pub fn new(_: Meeting) -> Result<Self> {
        Err(no_direct_mode())
    }

    pub fn relays(&self) -> &[RelayUrl] {
        match self.0 {}
    }

    pub fn dial(&self, _: Duration) -> Result<Arc<Quic>> {
        match self.0 {}
    }
}
