//! A text, a stream or a single file on its way to standard output: written as it comes, in
//! order, and gone. What has been written cannot be taken back, so nothing is sent twice.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::time::SystemTime;

use super::files::{Offered, unconfirmed};
use super::lock;
use super::names::Names;
use super::part::Part;
use super::sparse;
use super::writer::Verified;
use crate::control;
use crate::crypto::keys::Role;
use crate::crypto::record::Follows;
use crate::error::{Error, Result, reason};
use crate::event::{Event, Sink, Summary};
use crate::files::attributes::creation_mask;
use crate::files::disk;
use crate::files::folder::{Found, Replace};
use crate::files::manifest::{Entry, Kind};
use crate::files::path::{PathError, RelPath};
use crate::files::root::Root;
use crate::files::sparse::{ContentHash, zeros_of};
use crate::files::times;
use crate::protocol::course::Course;
use crate::protocol::data::{self, Item};
use crate::protocol::fault::Fault;
use crate::protocol::features::Features;
use crate::protocol::message::{self, Complete, Control, Message, OfferKind, STREAM_NAME};
use crate::protocol::pages::{self, HASH_LEN};
use crate::protocol::reader::{Malformed, Reader};
use crate::protocol::reason::Reason;
use crate::protocol::session::{OUT_OF_TURN, Session, Stop, receive_last};

/// One content that is expected.
struct Expected {
    kind: OfferKind,
    /// Its index in the list; 0 where there is none.
    index: u32,
    /// Its bytes, where they are known.
    size: Option<u64>,
    name: RelPath,
    /// Whether it is a file with holes.
    is_sparse: bool,
    /// Whether the SHA-256 of such a file is wanted.
    sums: bool,
}

impl Offered {
    /// Writes a text, a stream, or the offer's only file to `out`, which is flushed once all of
    /// it is there and known to be whole, before the sender is told. With `sums` its SHA-256 is made
    /// even where another hash is compared.
    ///
    /// # Errors
    /// Nothing is asked for when there is not exactly one content.
    pub fn pour(
        mut self,
        out: &mut (dyn Write + Send),
        sums: bool,
        sink: Sink<'_>,
    ) -> Result<Summary> {
        let expected = match expected(&self, sums) {
            Ok(expected) => expected,
            Err(error) => return Err(self.refuse(Reason::Declined, error)),
        };
        let poured = take_content(&mut self.session, &expected, out, sink);
        let mut summary = match poured {
            Ok(summary) => summary,
            Err(stop) => return Err(self.session.stop(stop)),
        };
        summary.unsent = self.offer.unsent;
        summary.saved = self.session.saved();
        let faults: Vec<_> =
            summary.failed.iter().map(|(_, fault)| (expected.index, *fault)).collect();
        let complete = Complete { files: summary.files, failed: faults.len() as u64 };
        let told = self.session.send_pages(message::RESULTS, faults, pages::put_result);
        if let Err(stop) = told {
            return Err(unconfirmed(self.session.stop(stop)));
        }
        let ended = self.session.send_last(&Control::Complete(complete));
        match ended.and_then(|inbox| receive_last(&inbox, Role::Sender, &Control::Bye)) {
            Ok(()) => Ok(summary),
            // No second run could find anything here: what is written is written.
            Err(Stop::Gone(error) | Stop::Own(_, error)) => {
                let cause = error.cause;
                Err(unconfirmed(error).cause(cause))
            }
        }
    }
}

fn expected(offered: &Offered, sums: bool) -> Result<Expected> {
    let kind = offered.offer.kind;
    if kind != OfferKind::Files {
        let name = stream_name(offered);
        let name = name.map_err(|_| Error::failure("a stream has no name"))?;
        return Ok(Expected { kind, index: 0, size: None, name, is_sparse: false, sums });
    }
    match offered.manifest.entries() {
        [only] if only.is_file() => {
            let (size, name, is_sparse) = (only.size(), only.path.clone(), only.is_sparse());
            Ok(Expected { kind, index: 0, size: Some(size), name, is_sparse, sums })
        }
        entries => Err(Error::usage(format!(
            "standard output takes one file, and {} entries are offered",
            entries.len()
        ))
        .hint("name a folder with -o")),
    }
}

/// What to call a stream: as its sender says, if it does and the name is not one of this program's.
pub(super) fn stream_name(offered: &Offered) -> Result<RelPath, PathError> {
    let name = match &offered.name {
        Some(name) => name.clone(),
        None => RelPath::parse(offered.offer.name.as_deref().unwrap_or(STREAM_NAME))?,
    };
    not_reserved(name)
}

fn not_reserved(name: RelPath) -> Result<RelPath, PathError> {
    if lock::is_reserved(&name) { RelPath::parse(STREAM_NAME) } else { Ok(name) }
}

/// The content at hand.
struct Content {
    begun: bool,
    /// Content of the record at hand, and the holes in it: behind how many of its bytes, how long.
    piece: Vec<u8>,
    gaps: Vec<(usize, u64)>,
    hash: ContentHash,
    /// The SHA-256, where another hash is compared and this one is wanted too.
    true_hash: Option<ContentHash>,
    course: Course,
    /// Bytes of holes.
    holes: u64,
    /// Its hash, once it came whole.
    sum: Option<[u8; HASH_LEN]>,
    /// Whether it came whole, once it has ended.
    ended: Option<Option<Fault>>,
}

fn take_content(
    session: &mut Session,
    expected: &Expected,
    out: &mut (dyn Write + Send),
    sink: Sink<'_>,
) -> Result<Summary, Stop> {
    if expected.kind != OfferKind::Text {
        session.cannot_come_back();
    }
    session.send_pages(message::PLAN, [], pages::put_step)?;
    sink(Event::Planned { files: 1, bytes: expected.size.unwrap_or_default(), here: 0 });
    let (mut content, agreed) = (Content::begin(expected, session.blocks()), session.agreed());
    while session.receive(|message, follows| match (message, follows) {
        (Message::Data(items), Follows::More) => {
            Ok(content.take(items, expected, agreed).map(|()| true)?)
        }
        (Message::Control(Control::Done), Follows::More) => Ok(false),
        _ => Err(OUT_OF_TURN.into()),
    })? {
        // Whoever reads it may take hours.
        content.pour(out, &mut |bytes| {
            sink(Event::Moved { bytes, files: 0, name: &expected.name });
        })?;
        let files = u64::from(content.ended.is_some());
        sink(Event::Moved { bytes: 0, files, name: &expected.name });
    }
    let fault = content.ended.ok_or(Malformed("a file that was asked for did not come"))?;
    let mut summary = Summary {
        kind: expected.kind,
        bytes: content.course.at(),
        holes: content.holes,
        hash: content.sum(fault),
        once: true,
        ..Summary::default()
    };
    match fault {
        None => {
            out.flush().map_err(unwritten)?;
            summary.files = 1;
        }
        Some(fault) => summary.failed.push((expected.name.clone(), fault)),
    }
    Ok(summary)
}

impl Content {
    fn begin(expected: &Expected, blocks: Option<u64>) -> Self {
        // Only what is offered as a plain file has states.
        let is_plain = expected.kind == OfferKind::Files && !expected.is_sparse;
        let blocks = blocks.filter(|_| is_plain);
        let course = Course::new(blocks, 0, expected.size.unwrap_or(u64::MAX));
        let whole = || ContentHash::Whole(Default::default());
        let true_hash = (expected.is_sparse && expected.sums).then(whole);
        let hash = match expected.is_sparse {
            true => ContentHash::Sparse(Box::default()),
            false => whole(),
        };
        Self {
            begun: false,
            piece: Vec::new(),
            gaps: Vec::new(),
            hash,
            true_hash,
            course,
            holes: 0,
            sum: None,
            ended: None,
        }
    }

    /// Writes what the record at hand has brought, its holes as zeros, and tells of it.
    fn pour(&mut self, out: &mut dyn Write, moved: &mut dyn FnMut(u64)) -> Result<(), Stop> {
        /// Zeros after which somebody may have enough of it.
        const AT_ONCE: u64 = 1 << 24;
        let mut write = |piece: &[u8]| {
            if let Some(hash) = &mut self.true_hash {
                hash.update(piece);
            }
            out.write_all(piece).map_err(unwritten)
        };
        let mut done = 0;
        for (at, mut zeros) in self.gaps.drain(..) {
            let piece = self.piece.get(done..at).unwrap_or_default();
            write(piece)?;
            moved(piece.len() as u64);
            done = at;
            while zeros > 0 {
                control::check().map_err(|error| Stop::Own(Reason::Interrupted, error))?;
                let now = zeros.min(AT_ONCE);
                zeros_of(now).try_for_each(&mut write)?;
                moved(now);
                zeros -= now;
            }
        }
        let piece = self.piece.get(done..).unwrap_or_default();
        write(piece)?;
        moved(piece.len() as u64);
        self.piece.clear();
        Ok(())
    }

    /// The SHA-256 of what came, if that was whole.
    fn sum(&mut self, fault: Option<Fault>) -> Option<[u8; HASH_LEN]> {
        let true_hash = self.true_hash.take().filter(|_| fault.is_none());
        self.sum.or(true_hash.map(ContentHash::finish))
    }

    fn take(
        &mut self,
        mut items: Reader<'_>,
        expected: &Expected,
        agreed: Features,
    ) -> Result<(), Malformed> {
        const TURN: Malformed = OUT_OF_TURN;
        while let Some(item) = data::next(&mut items, agreed)? {
            if self.ended.is_some() {
                return Err(TURN);
            }
            match item {
                Item::Start { index, offset: 0 } if index == expected.index && !self.begun => {
                    self.begun = true;
                }
                Item::Bytes(bytes) if self.begun => {
                    self.course.bytes(bytes.len() as u64)?;
                    self.hash.update(bytes);
                    self.piece.extend_from_slice(bytes);
                }
                Item::Hole(len) if self.begun && expected.is_sparse => {
                    let (begin, size) = (self.course.at(), expected.size.unwrap_or_default());
                    sparse::check((begin, begin.saturating_add(len)), (0, size))?;
                    self.course.bytes(len)?;
                    self.hash.skip(len);
                    self.holes = self.holes.saturating_add(len);
                    match self.gaps.last_mut() {
                        Some((at, zeros)) if *at == self.piece.len() => *zeros += len,
                        _ => self.gaps.push((self.piece.len(), len)),
                    }
                }
                // What has been written cannot be mended: its hash tells at the end.
                Item::State(_) if self.begun => drop(self.course.state()?),
                Item::End { size, hash } if self.begun => {
                    // Of a stream nobody knows the end before.
                    let course = match expected.size {
                        Some(_) => self.course,
                        None => Course::new(None, self.course.at(), self.course.at()),
                    };
                    course.end(size)?;
                    let own = self.hash.clone().finish();
                    let whole = own == hash;
                    self.sum = Some(own).filter(|_| whole && !expected.is_sparse);
                    self.ended = Some((!whole).then_some(Fault::Integrity));
                }
                // Whoever reads a stream or a text and cannot go on stops.
                Item::Failed { index, fault }
                    if index == expected.index
                        && expected.kind == OfferKind::Files
                        && fault.is_of_source() =>
                {
                    self.ended = Some(Some(fault));
                }
                _ => return Err(TURN),
            }
        }
        Ok(())
    }
}

/// Whoever takes it has had enough: what the sender is told, and what is said here.
#[derive(Debug)]
pub struct Refused(pub Reason, pub Error);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.1.fmt(f)
    }
}

impl std::error::Error for Refused {}

/// Standard output is closed, or a disk is full.
fn unwritten(error: io::Error) -> Stop {
    if let Some(Refused(told, error)) = error.get_ref().and_then(|error| error.downcast_ref()) {
        return Stop::Own(told.clone(), error.clone());
    }
    let message = format!("cannot write what comes in: {}", reason(&error));
    let stop = |told, hint| Stop::Own(told, Error::failure(message.clone()).hint(hint));
    let not_whole = "what was written so far is no whole file; run both sides again";
    match error.kind() {
        // Not the disk says so, but whoever shows a text, or guards a terminal.
        ErrorKind::InvalidData => {
            stop(Reason::Failed, "the sender means it to be shown, but it is no text")
        }
        ErrorKind::InvalidInput => {
            let hint =
                "name a folder with -o, or add `| cat` to have it on the terminal all the same";
            Stop::Own(Reason::Declined, Error::usage(message).hint(hint))
        }
        ErrorKind::BrokenPipe => {
            stop(Reason::Failed, "whatever read it has ended; nothing more can be received")
        }
        _ if disk::is_full(&error) => stop(Reason::NoSpace { needed: 0, free: 0 }, not_whole),
        _ if disk::may_be_gone(&error) => stop(Reason::DiskGone, not_whole),
        _ => stop(Reason::Failed, not_whole),
    }
}

/// A stream on its way into a folder: a file of the first free name, once it is whole.
pub struct Landing<'a> {
    root: &'a mut Root,
    name: RelPath,
    unfinished: Option<(File, Part)>,
    placed: Option<RelPath>,
}

impl<'a> Landing<'a> {
    /// Begins an unfinished file.
    pub fn begin(root: &'a mut Root, offered: &Offered) -> io::Result<Self> {
        let refused = |_| io::Error::from(ErrorKind::InvalidFilename);
        let mut name = stream_name(offered).map_err(refused)?;
        if let Some(mapped) = root.mapped(&name) {
            name = not_reserved(name.with_name(mapped).map_err(refused)?).map_err(refused)?;
        }
        let own = root.own().clone();
        let unfinished = Some(Part::create(root.parent_of(&name)?, &own, &name, true)?);
        Ok(Self { root, name, unfinished, placed: None })
    }

    /// The name it has got.
    pub fn placed(&self) -> Option<&RelPath> {
        self.placed.as_ref()
    }

    /// Gives a closed file the first name that is free.
    fn place(&mut self, verified: &Verified, entry: &Entry) -> io::Result<RelPath> {
        let (mut names, mut place) = (Names::default(), self.name.clone());
        loop {
            let folder = self.root.parent_of(&place)?;
            match verified.place(folder, place.name(), entry, Replace::Never) {
                // Its sender may call it by a name that is too long for this disk.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::AlreadyExists | ErrorKind::InvalidFilename
                    ) =>
                {
                    let longest = folder.disk().longest_name;
                    let free = |name: &RelPath| folder.look(name.name()) == Found::Nothing;
                    place = names.find(&self.name, (longest, None), free).ok_or(error)?;
                }
                placed => return placed.map(|_| place),
            }
        }
    }
}

impl Write for Landing<'_> {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        match &mut self.unfinished {
            Some((file, _)) => file.write(content),
            None => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    /// Gives the file its name, and waits until it is on the disk.
    fn flush(&mut self) -> io::Result<()> {
        let Some((file, part)) = self.unfinished.take() else { return Ok(()) };
        let (mode, mtime) = (0o666 & !creation_mask(), times::nanoseconds(SystemTime::now()));
        let entry = Entry { path: self.name.clone(), kind: Kind::File(0), mode, mtime };
        let closed = Verified::close(file, part, self.root.top(), &entry);
        let verified = closed.inspect_err(|_| self.sweep())?;
        match self.place(&verified, &entry) {
            Ok(place) => self.placed = Some(place),
            Err(error) => {
                verified.discard(self.root.top());
                return Err(match error.kind() {
                    ErrorKind::InvalidData => {
                        io::Error::other("somebody has put another file in its place")
                    }
                    _ => error,
                });
            }
        }
        self.root.flush()
    }
}

impl Landing<'_> {
    fn sweep(&self) {
        Part::sweep(self.root.top(), self.root.own(), &self.name);
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        // What stays is never named: harmless.
        if let Some((file, part)) = self.unfinished.take() {
            drop(file);
            let _ = self.root.top().remove(&part.name);
        }
    }
}
