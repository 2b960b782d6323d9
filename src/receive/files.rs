//! The receiving engine: records in, files out. Runs over any stream; prints and asks nothing.
//!
//! [`await_offer`] takes the list; [`Offered`] is the moment to look at it, to ask, and to
//! refuse; [`Offered::accept`] does the rest and says "done" only when both sides know it.

use super::assembler::{Assembler, Start};
use crate::bounds::{ATTEMPTS, MAX_CHECKS, MAX_ENTRIES, MAX_NAMES, MAX_NAMES_EACH};
use crate::crypto::keys::Role;
use crate::crypto::record::Follows;
use crate::error::{Cause, Error, Result, bytes};
use crate::event::{Event, Sink, Stopwatch, Summary};
use crate::files::attributes::creation_mask;
use crate::files::manifest::{Entry, Kind, Manifest, ManifestError};
use crate::files::modes::MADE_UP;
use crate::files::path::RelPath;
use crate::files::root::Root;
use crate::protocol::channel::Heard;
use crate::protocol::message::{self, Complete, Control, Message, Offer, OfferKind};
use crate::protocol::pages::{self, Pages};
use crate::protocol::reader::Malformed;
use crate::protocol::reason::Reason;
use crate::protocol::session::{OUT_OF_TURN, Session, Stop, receive_last};

/// An offer that has arrived whole and is not answered yet.
pub struct Offered {
    pub(super) session: Session,
    pub(super) manifest: Manifest,
    pub(super) offer: Offer,
    /// The list as the sender made it, where its one file has another name here.
    renamed: Option<Manifest>,
    /// What its one file or its stream is called here, where that was said.
    pub(super) name: Option<RelPath>,
    pub(super) watch: Stopwatch,
}

/// What becomes of the permission bits of what comes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Modes {
    /// Bits that are taken away.
    pub without: u16,
    /// Bits that each folder has.
    pub folders_with: u16,
}

/// Waits for the sender's list. Of more than [`MAX_ENTRIES`] entries it is taken only if the
/// user has allowed as many.
pub fn await_offer(mut session: Session, allowed: Option<u32>, modes: Modes) -> Result<Offered> {
    let mut watch = Stopwatch::start();
    let mut manifest = Manifest::default();
    match read_offer(&mut session, &mut manifest, (allowed, modes)) {
        Ok(offer) => {
            watch.lap("list");
            Ok(Offered { session, manifest, offer, renamed: None, name: None, watch })
        }
        Err(stop) => Err(session.stop(stop)),
    }
}

fn read_offer(
    session: &mut Session,
    manifest: &mut Manifest,
    (allowed, modes): (Option<u32>, Modes),
) -> Result<Offer, Stop> {
    session.send_ready()?;
    let offer = session.receive(|message, follows| match (message, follows) {
        (Message::Control(Control::Offer(offer)), Follows::More) => Ok(Some(offer)),
        (Message::Control(Control::Pair(_)), Follows::More) => Ok(None),
        _ => Err(OUT_OF_TURN.into()),
    })?;
    let Some(offer) = offer else { return Err(session.other_command()) };
    session.agree(&offer.features);
    let agreed = session.agreed();
    let counts = [offer.files, offer.folders, offer.links];
    let entries = counts.iter().try_fold(0u64, |sum, count| sum.checked_add(*count));
    if offer.kind != OfferKind::Files && entries != Some(0) {
        return Err(Malformed("a text or a stream has no entries").into());
    }
    if let Some(name) = &offer.name
        && !(offer.kind == OfferKind::Stream && RelPath::parse(name).is_ok() && !name.contains('/'))
    {
        return Err(Malformed("the name of a stream is none").into());
    }
    // An index has 32 bits.
    let entries = entries.filter(|entries| *entries <= u32::MAX.into());
    let entries = entries.ok_or(Malformed("more entries than can be counted"))?;
    let limit = allowed.map_or(MAX_ENTRIES, u64::from);
    if entries > limit {
        let hint = format!("`--max-entries {entries}` takes them, with 250 bytes of memory each");
        let error = Error::failure(format!(
            "the offer has {entries} entries, and {limit} are taken without asking"
        ));
        return Err(Stop::Own(Reason::TooMany { entries, limit }, error.hint(hint)));
    }
    let room = MAX_NAMES + MAX_NAMES_EACH * entries.max(allowed.unwrap_or_default().into());
    let mut text = 0;
    let mut pages = Pages::More;
    while pages == Pages::More {
        pages = session.receive(|message, follows| match (message, follows) {
            (Message::Entries(page), Follows::More) => Ok(pages::entries(page, agreed, |entry| {
                if manifest.entries().len() as u64 >= entries {
                    return Err(Malformed("more entries than were offered"));
                }
                text += text_of(&entry);
                push(manifest, entry, modes)
            })?),
            _ => Err(OUT_OF_TURN.into()),
        })?;
        // A page is small: what is over the limit is no more than that.
        if text > room {
            let error = Error::failure(format!(
                "the names of the offer are longer than {} altogether",
                bytes(room)
            ));
            let hint = format!("`--max-entries N` makes room: {MAX_NAMES_EACH} bytes for each");
            return Err(Stop::Own(Reason::TooMany { entries, limit }, error.hint(hint)));
        }
    }
    let totals = manifest.totals();
    if [totals.files, totals.folders, totals.links] != counts || totals.bytes != offer.bytes {
        return Err(Malformed("the entries are not those that were offered").into());
    }
    Ok(offer)
}

/// Bytes of the names that come with an entry.
fn text_of(entry: &Entry) -> u64 {
    let target = if let Kind::Link(target) = &entry.kind { target.as_bytes().len() } else { 0 };
    (entry.path.as_bytes().len() + target) as u64
}

fn push(manifest: &mut Manifest, mut entry: Entry, modes: Modes) -> Result<(), Malformed> {
    if entry.mode & MADE_UP != 0 {
        entry.mode &= 0o777 & !creation_mask();
    }
    entry.mode &= !modes.without;
    if entry.kind == Kind::Folder {
        entry.mode |= modes.folders_with;
    }
    manifest.push(entry).map_err(|error| match error {
        ManifestError::Order => Malformed("the entries are not in order"),
        ManifestError::Orphan => Malformed("an entry is in no listed folder"),
        ManifestError::Link(_) => Malformed("a link points out of the tree"),
        ManifestError::Sizes => Malformed("the sizes are impossible"),
    })
}

impl Offered {
    /// The list.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The list as the sender made it, to be shown and agreed to.
    pub fn as_offered(&self) -> &Manifest {
        self.renamed.as_ref().unwrap_or(&self.manifest)
    }

    /// What the sender said beside the list.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Whether it is a stream or one file, which can have another name here.
    pub fn is_single(&self) -> bool {
        match self.offer.kind {
            OfferKind::Files => {
                matches!(self.manifest.entries(), [only] if only.is_file())
            }
            OfferKind::Stream => true,
            OfferKind::Text => false,
        }
    }

    /// Gives the only file, or the stream, another name here.
    pub fn call(&mut self, name: &RelPath) {
        self.name = Some(name.clone());
        if let [only] = self.manifest.entries() {
            let mut manifest = Manifest::default();
            // One file that belongs into no folder has no order to keep.
            if manifest.push(Entry { path: name.clone(), ..only.clone() }).is_ok() {
                self.renamed = Some(std::mem::replace(&mut self.manifest, manifest));
            }
        }
    }

    /// Bytes of a block, if files are hashed block by block.
    pub fn blocks(&self) -> Option<u64> {
        self.session.blocks()
    }

    /// Whether the sender is still there, while it has to wait.
    pub fn check(&mut self) -> Result<(), Stop> {
        self.session.check()
    }

    /// What is known of the sender.
    pub fn heard(&self) -> Heard {
        self.session.heard()
    }

    /// Ends it, for this reason.
    pub fn stop(self, stop: Stop) -> Error {
        self.session.stop(stop)
    }

    /// Takes none of it.
    pub fn refuse(self, reason: Reason, error: Error) -> Error {
        self.session.stop(Stop::Own(reason, error))
    }

    /// Carries the plan out.
    pub fn accept(mut self, root: &mut Root, start: Start<'_>, sink: Sink<'_>) -> Result<Summary> {
        self.watch.lap("plan");
        let mut assembler = match Assembler::new(&self.manifest, root, self.session.agreed(), start)
        {
            Ok(assembler) => assembler,
            Err(stop) => return Err(self.session.stop(stop)),
        };
        self.watch.lap("folders");
        if let Err(stop) = take_content(&mut self.session, &mut assembler, sink) {
            assembler.keep_state();
            return Err(self.session.stop(stop));
        }
        self.watch.lap("content");
        let (mut summary, faults) = match assembler.finish() {
            Ok(finished) => finished,
            Err(stop) => {
                assembler.keep_state();
                return Err(self.session.stop(stop));
            }
        };
        summary.unsent = self.offer.unsent;
        summary.saved = self.session.saved();
        let complete = Complete { files: summary.files, failed: faults.len() as u64 };
        let told = self.session.send_pages(message::RESULTS, faults, pages::put_result);
        if let Err(stop) = told {
            return Err(unconfirmed(self.session.stop(stop)));
        }
        let ended = self.session.send_last(&Control::Complete(complete));
        let ended = ended.and_then(|inbox| receive_last(&inbox, Role::Sender, &Control::Bye));
        match ended {
            Ok(()) => {
                assembler.forget_state();
                assembler.tell_others(sink);
                self.watch.lap("end");
                summary.phases = self.watch.phases();
                Ok(summary)
            }
            Err(Stop::Gone(error) | Stop::Own(_, error)) => Err(unconfirmed(error)),
        }
    }
}

/// The files are at their places, but the sender may not know. Another try can mend that where the
/// connection was lost or the sender was stopped, not where this side was, or the sender made no sense.
pub(super) fn unconfirmed(error: Error) -> Error {
    let message = format!("everything is here, but the sender did not confirm it: {error}");
    let cause = match error.cause {
        Cause::Network | Cause::PeerLeft => Cause::Unconfirmed,
        cause => cause,
    };
    Error::new(cause, message).hint("nothing needs to be sent again")
}

/// The plan, then data in at most [`ATTEMPTS`] rounds.
fn take_content(
    session: &mut Session,
    assembler: &mut Assembler<'_>,
    sink: Sink<'_>,
) -> Result<(), Stop> {
    let (files, bytes) = assembler.wanted();
    session.send_pages(message::PLAN, assembler.steps(), pages::put_step)?;
    sink(Event::Planned { files, bytes, here: assembler.begun() });

    for attempt in 1..=ATTEMPTS {
        while take_record(session, assembler)? {
            assembler.tell(sink);
            while !assembler.settle_checks(MAX_CHECKS)? {}
        }
        // The sender waits, and may stop meanwhile.
        while !assembler.settle_checks(0)? {
            session.check()?;
        }
        // The pool still has some files in hand.
        let (again, blocks) = assembler.end_round()?;
        assembler.tell(sink);
        if again.is_empty() && blocks.is_empty() || attempt == ATTEMPTS {
            break;
        }
        let (files, bytes) = assembler.wanted();
        let torn = assembler.mending();
        sink(Event::Again { files, torn, bytes, attempt: attempt + 1 });
        if !blocks.is_empty() {
            session.send_pages(message::REPAIR, blocks, pages::put_repair)?;
        }
        session.send_pages(message::RETRY, again, pages::put_index)?;
    }
    Ok(())
}

/// One record; false when it ended the round.
fn take_record(session: &mut Session, assembler: &mut Assembler<'_>) -> Result<bool, Stop> {
    let (record, follows) = session.receive_record()?;
    if follows == Follows::Nothing {
        return Err(OUT_OF_TURN.into());
    }
    if let Message::Control(Control::Done) = Message::decode(record.plaintext())? {
        return Ok(false);
    }
    if let Some(used) = assembler.take(record)? {
        session.recycle(used);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_the_place_of_a_confirmation() {
        let told = |reason: Reason| reason.told_by(Role::Sender);
        let rows = [
            (Error::network("it was lost"), Cause::Unconfirmed),
            (told(Reason::Interrupted), Cause::Unconfirmed),
            (told(Reason::Failed), Cause::Failure),
            (told(Reason::Protocol), Cause::Failure),
            (Error::new(Cause::Interrupted, "stopped here"), Cause::Interrupted),
        ];
        for (error, expected) in rows {
            assert_eq!(unconfirmed(error.clone()).cause, expected, "{error}");
        }
    }
}
