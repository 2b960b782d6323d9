//! Why an entry is not on the receiver's disk as it was offered: as a number on the wire, and in
//! words.

use std::borrow::Cow;

use super::reader::{Malformed, Read};
use crate::crypto::keys::Role;

/// Why an entry is not on the receiver's disk as it was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It vanished at the source.
    Vanished,
    /// The sender may not read it.
    Denied,
    /// It changed while it was sent.
    Changed,
    /// The sender could not read it.
    Unreadable,
    /// The receiver could not write it.
    Unwritable,
    /// Its hash differed in every attempt.
    Integrity,
    /// The receiver has something of this name and was told to keep it.
    Kept,
    /// The receiver may not write there.
    Forbidden,
    /// The receiver's disk takes no such name.
    NameRefused,
    /// It is larger than the receiver's disk takes.
    TooLarge,
    /// The receiver's disk has no links.
    NoLinks,
    /// The receiver found no name for it that is free.
    NameTaken,
    /// What a later version knows of the source, by its number.
    UnknownSource(u8),
    /// What a later version knows of the receiver, by its number.
    UnknownTarget(u8),
}

impl Fault {
    /// Those that have a name here, in the order of their numbers, which begin with 1.
    const KNOWN: [Self; 12] = [
        Self::Vanished,
        Self::Denied,
        Self::Changed,
        Self::Unreadable,
        Self::Unwritable,
        Self::Integrity,
        Self::Kept,
        Self::Forbidden,
        Self::NameRefused,
        Self::TooLarge,
        Self::NoLinks,
        Self::NameTaken,
    ];

    /// From the wire, where `by` has said it. What is unknown here is a fault of theirs.
    pub fn decode(code: u8, by: Role) -> Read<Self> {
        let at = code.checked_sub(1).ok_or(Malformed("an unknown fault"))?;
        let known = Self::KNOWN.get(usize::from(at)).copied();
        Ok(known.unwrap_or(match by {
            Role::Sender => Self::UnknownSource(code),
            Role::Receiver => Self::UnknownTarget(code),
        }))
    }

    /// For the wire.
    pub fn code(self) -> u8 {
        if let Self::UnknownSource(code) | Self::UnknownTarget(code) = self {
            return code;
        }
        (1..).zip(Self::KNOWN).find(|(_, known)| *known == self).map_or(0, |(code, _)| code)
    }

    /// Whether it is the sender that says so, of a file it was to send.
    pub fn is_of_source(self) -> bool {
        use Fault::{Changed, Denied, UnknownSource, Unreadable, Vanished};
        matches!(self, Vanished | Denied | Changed | Unreadable | UnknownSource(_))
    }

    /// Whether it is about content, which only files have.
    pub fn is_of_content(self) -> bool {
        self.is_of_source() || matches!(self, Self::Integrity | Self::TooLarge)
    }

    /// In words, behind the name of the entry.
    pub fn words(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::UnknownSource(code) => {
                return format!("the sender could not read it: its fault {code}").into();
            }
            Self::UnknownTarget(code) => {
                return format!("the receiver could not write it: its fault {code}").into();
            }
            Self::Vanished => "it vanished from the sender's disk",
            Self::Denied => "the sender may not read it",
            Self::Changed => "it changed while it was sent",
            Self::Unreadable => "the sender could not read it",
            Self::Unwritable => "the receiver could not write it: its disk refused",
            Self::Integrity => "its hash still differed after 3 attempts",
            Self::Kept => "the receiver kept what it has under this name",
            Self::Forbidden => "the receiver could not write it: permission denied",
            Self::NameRefused => "the receiver could not write it: its disk takes no such name",
            Self::TooLarge => "the receiver could not write it: too large for its disk",
            Self::NoLinks => "the receiver could not write it: its disk takes no links",
            Self::NameTaken => "the receiver could not write it: no name is free",
        })
    }
}
