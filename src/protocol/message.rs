//! The kinds of message, and those that control a session.

use serde::{Deserialize, Serialize};

use super::codec::{Malformed, Read, Reader};
use crate::crypto::keys::Role;
use crate::crypto::record::Buffer;
use crate::error::{Error, Exit, bytes};

/// First byte of a control message; JSON follows.
pub const CONTROL: u8 = 1;
/// First byte of a page of entries.
pub const ENTRIES: u8 = 2;
/// First byte of a page of the plan.
pub const PLAN: u8 = 3;
/// First byte of data items.
pub const DATA: u8 = 4;
/// First byte of data items that are compressed.
pub const PACKED: u8 = 5;
/// First byte of a page of files to send again.
pub const RETRY: u8 = 6;
/// First byte of a page of files that did not arrive.
pub const RESULTS: u8 = 7;

/// Bytes that a control message may have.
pub const MAX_CONTROL: usize = 64 * 1024;

/// How often a file is sent in all before it is given up.
pub const ATTEMPTS: u8 = 3;

/// A control message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Control {
    /// Sender: what is about to be listed.
    Offer(Offer),
    /// Receiver, instead of a plan: it will not take the offer.
    Refuse(Reason),
    /// Either: still at work on what the other side waits for.
    Wait,
    /// Sender: every file that was asked for has been sent, or said to be unsendable.
    Done,
    /// Receiver: the end of its direction; the per-file results came before.
    Complete(Complete),
    /// Sender: the end of its direction. Only now has the transfer succeeded.
    Bye,
    /// Either: it stops, and this is why.
    Cancel(Reason),
}

/// What the sender offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Regular files in the list.
    pub files: u64,
    /// Folders in the list.
    pub folders: u64,
    /// Symbolic links in the list.
    pub links: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// What the sender found and cannot send: the receiver's tree will lack it.
    pub unsent: u64,
    /// The first of those, with reasons, to be shown.
    #[serde(default)]
    pub unsent_names: Vec<UnsentName>,
}

/// Something the sender cannot send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsentName {
    /// Its name; to be escaped when shown.
    pub name: String,
    /// Why, in words.
    pub why: String,
}

/// How the receiver fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complete {
    /// Files that are at their place and verified, those that were there before among them.
    pub files: u64,
    /// Entries that are not, one for each result that was listed as a failure.
    pub failed: u64,
}

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
    /// The folder cannot be written to.
    Unwritable,
    /// A signal.
    Interrupted,
    /// What the other side sent makes no sense.
    Protocol,
    /// Anything else; the side that stops says more to its own user.
    Failed,
    /// A reason that this version does not know.
    #[serde(other)]
    Other,
}

impl Control {
    /// Appends the message to an empty buffer.
    pub fn encode(&self, buffer: &mut Buffer) -> Result<(), Malformed> {
        let json =
            serde_json::to_vec(self).map_err(|_| Malformed("a message cannot be encoded"))?;
        if json.len() > MAX_CONTROL {
            return Err(Malformed("a control message is too long"));
        }
        buffer.clear();
        buffer.extend(&[CONTROL]);
        buffer.extend(&json);
        Ok(())
    }
}

impl Reason {
    /// What the user of the side that was told reads; `who` is the side that stopped.
    pub fn told_by(&self, who: Role) -> Error {
        let who = who.name();
        match self {
            Self::Declined => Error::new(Exit::Declined, format!("the {who} said no")),
            Self::Conflict { count } => Error::new(
                Exit::Declined,
                format!("the {who} has {count} of the names already and was told to stop then"),
            ),
            Self::NoSpace { needed: 0, free } => {
                Error::failure(format!("the {who}'s disk is full: {} are free", bytes(*free)))
                    .hint("make room there and run the same command again")
            }
            Self::NoSpace { needed, free } => Error::failure(format!(
                "the {who} has no room: {} are needed, {} are free",
                bytes(*needed),
                bytes(*free)
            ))
            .hint("make room there, or receive into another folder with -o"),
            Self::Unwritable => Error::failure(format!("the {who} cannot write to its folder"))
                .hint("receive into another folder with -o"),
            Self::Interrupted => Error::network(format!("the {who} was interrupted"))
                .hint("run the same command there again"),
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

/// A message, its lists not yet taken apart.
#[derive(Debug)]
pub enum Message<'a> {
    /// One of the control messages.
    Control(Control),
    /// For [`super::pages::entries`].
    Entries(Reader<'a>),
    /// For [`super::pages::plan`].
    Plan(Reader<'a>),
    /// For [`super::data::items`].
    Data(Reader<'a>),
    /// Compressed data items.
    Packed {
        /// Which codec; see [`crate::compress`].
        codec: u8,
        /// Bytes of the items once they are decompressed.
        len: u32,
        /// The compressed bytes.
        packed: &'a [u8],
    },
    /// For [`super::pages::indices`].
    Retry(Reader<'a>),
    /// For [`super::pages::results`].
    Results(Reader<'a>),
}

impl<'a> Message<'a> {
    /// Tells the kind of a record's plaintext.
    pub fn decode(plaintext: &'a [u8]) -> Read<Self> {
        let mut reader = Reader::new(plaintext);
        match reader.u8()? {
            CONTROL => {
                if reader.rest().len() > MAX_CONTROL {
                    return Err(Malformed("a control message is too long"));
                }
                serde_json::from_slice(reader.rest())
                    .map(Message::Control)
                    .map_err(|_| Malformed("a control message is not understood"))
            }
            ENTRIES => Ok(Message::Entries(reader)),
            PLAN => Ok(Message::Plan(reader)),
            DATA => Ok(Message::Data(reader)),
            PACKED => {
                let (codec, len) = (reader.u8()?, reader.u32()?);
                Ok(Message::Packed { codec, len, packed: reader.rest() })
            }
            RETRY => Ok(Message::Retry(reader)),
            RESULTS => Ok(Message::Results(reader)),
            _ => Err(Malformed("a message of an unknown kind")),
        }
    }
}
