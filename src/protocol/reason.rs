//! Why a side refuses or stops, and what the user of the other side reads of it.

use serde::{Deserialize, Serialize};

use crate::crypto::keys::Role;
use crate::error::{Cause, Error, bytes};

/// Why a side refuses or stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Reason {
    /// The person on this side said no.
    Declined,
    /// Files of these names exist, and the receiver was told to stop then.
    Conflict {
        /// How many.
        count: u64,
    },
    /// Not enough room for the offer, or the disk filled up.
    NoSpace {
        /// Bytes needed; 0 when not known.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// More entries, or longer names, than the receiver takes without asking.
    TooMany {
        /// Entries offered.
        entries: u64,
        /// Entries taken.
        limit: u64,
    },
    /// The folder cannot be written to.
    Unwritable,
    /// The disk takes no more files, though it may have room.
    NoFiles,
    /// The disk is gone, or nothing can be written to it any more.
    DiskGone,
    /// What came in was taken, and did not get to the disk.
    NotWritten,
    /// More than the receiver takes of this sender, all of what it has from it together.
    Quota {
        /// Bytes that would have to come; 0 when not known.
        needed: u64,
        /// Bytes that may come.
        left: u64,
    },
    /// Others of this sender's are served or wait already, as many as may.
    Busy,
    /// A signal.
    Interrupted,
    /// The other side pairs and this one does not, or the other way round.
    OtherCommand,
    /// What the other side sent makes no sense.
    Protocol,
    /// Anything else; the side that stops says more to its own user.
    Failed,
    /// A reason that this version does not know.
    #[serde(other)]
    Other,
}

impl Reason {
    /// What the user of the side that was told reads; `who` is the side that stopped.
    pub fn told_by(&self, role: Role) -> Error {
        let who = role.name();
        match self {
            Self::Declined => Error::new(Cause::Declined, format!("the {who} said no"))
                .hint("its own terminal may say why; run this command again to offer it again"),
            Self::Conflict { count } => Error::new(
                Cause::Declined,
                format!("the {who} was told to stop when names are taken, and {count} are"),
            )
            .hint("run both sides again, the receiver with --on-conflict rename to keep both"),
            Self::NoSpace { needed: 0, free } => {
                Error::failure(format!("the {who}'s disk is full: {} are free", bytes(*free)))
                    .hint("make room there and run the same command again")
                    .cause(Cause::PeerCannot)
            }
            Self::NoSpace { needed, free } => Error::failure(format!(
                "the {who} has no room: {} are needed, {} are free",
                bytes(*needed),
                bytes(*free)
            ))
            .hint("make room there, or receive into another folder with -o")
            .cause(Cause::PeerCannot),
            Self::TooMany { entries, limit } => Error::failure(format!(
                "the {who} takes {limit} entries with short names, and {entries} are offered"
            ))
            .hint("run the same command there with --max-entries")
            .cause(Cause::PeerCannot),
            Self::Unwritable => Error::failure(format!("the {who} cannot write to its folder"))
                .hint("receive into another folder with -o")
                .cause(Cause::PeerCannot),
            Self::NoFiles => Error::failure(format!("the {who}'s disk takes no more files"))
                .hint("remove some there and run the same command again")
                .cause(Cause::PeerCannot),
            Self::DiskGone => {
                Error::failure(format!("the {who}'s disk cannot be written to any more"))
                    .hint("once it can, run the same command there again")
                    .cause(Cause::PeerCannot)
            }
            Self::NotWritten => Error::failure(format!(
                "what was sent could not be written to the {who}'s disk"
            ))
            .hint("look after that disk, then run both sides again: they mend what is missing"),
            Self::Quota { needed, left } => {
                let why = match needed {
                    0 => String::new(),
                    needed => format!(", and {} would have to come", bytes(*needed)),
                };
                Error::new(
                    Cause::Declined,
                    format!("the {who} takes {} more of this device{why}", bytes(*left)),
                )
                .hint("send less, or ask for more room there (--quota, --max-upload)")
            }
            Self::Busy => Error::network(format!(
                "the {who} is busy: as many uploads are under way or wait as it takes"
            ))
            .hint("run the same command again once one of them has ended"),
            // A receiver comes back with the same ticket, a sender only with another.
            Self::Interrupted if role == Role::Receiver => {
                Error::new(Cause::PeerStopped, format!("the {who} was interrupted"))
                    .hint("run the same command there again: it goes on where it stopped")
            }
            Self::Interrupted => Error::new(Cause::PeerLeft, format!("the {who} was interrupted"))
                .hint("start it again there; its new ticket goes on where this one stopped"),
            Self::OtherCommand => Error::failure(
                "one side pairs and the other one transfers: the ticket was typed behind the wrong command",
            )
            .hint("type the whole line that the other machine shows, with its command")
            .cause(Cause::PeerCannot),
            Self::Protocol => {
                Error::failure(format!("the {who} could not make sense of this side"))
                    .hint("run the same version of transfer on both machines and try again")
            }
            Self::Failed | Self::Other => {
                Error::failure(format!("the {who} had to stop")).hint("its own terminal says why")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    #[test]
    fn reasons_have_words_and_exit_codes() {
        for (reason, exit, message) in [
            (Reason::Declined, Exit::Declined, "the receiver said no"),
            (
                Reason::Conflict { count: 2 },
                Exit::Declined,
                "the receiver was told to stop when names are taken, and 2 are",
            ),
            (
                Reason::NoSpace { needed: 0, free: 1 },
                Exit::Failure,
                "the receiver's disk is full: 1 B are free",
            ),
            (
                Reason::NoSpace { needed: 2000, free: 1 },
                Exit::Failure,
                "the receiver has no room: 2.0 kB are needed, 1 B are free",
            ),
            (
                Reason::Quota { needed: 2000, left: 1 },
                Exit::Declined,
                "the receiver takes 1 B more of this device, and 2.0 kB would have to come",
            ),
            (
                Reason::Quota { needed: 0, left: 1 },
                Exit::Declined,
                "the receiver takes 1 B more of this device",
            ),
            (Reason::Unwritable, Exit::Failure, "the receiver cannot write to its folder"),
            (
                Reason::OtherCommand,
                Exit::Failure,
                "one side pairs and the other one transfers: the ticket was typed behind the wrong command",
            ),
            (
                Reason::Busy,
                Exit::Network,
                "the receiver is busy: as many uploads are under way or wait as it takes",
            ),
            (Reason::Interrupted, Exit::Network, "the receiver was interrupted"),
            (Reason::Protocol, Exit::Failure, "the receiver could not make sense of this side"),
            (Reason::Failed, Exit::Failure, "the receiver had to stop"),
            (Reason::Other, Exit::Failure, "the receiver had to stop"),
        ] {
            let error = reason.told_by(Role::Receiver);
            assert_eq!((error.exit(), &*error.message), (exit, message));
        }
    }
}
