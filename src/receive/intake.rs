//! Data items in, files out: the part of the receiving engine that touches the disk.

use std::io;

use super::plan::{Action, Plan, free_name};
use super::writer::{FileWriter, Verified};
use crate::error::{self, Error};
use crate::event::{Event, Summary};
use crate::files::manifest::{Entry, Kind, Manifest};
use crate::files::path::RelPath;
use crate::files::root::{Folder, Found, Replace, Root};
use crate::protocol::codec::{Malformed, Reader};
use crate::protocol::data::{self, Item};
use crate::protocol::message::Reason;
use crate::protocol::pages::{Fault, HASH_LEN};
use crate::protocol::session::{OUT_OF_TURN, Stop};

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is to come for it.
    Idle,
    /// Asked for, and not come yet.
    Wanted,
    /// Came, and its hash differed.
    Again,
    /// At its place.
    Arrived,
    /// Given up.
    Failed(Fault),
}

/// The file at hand. Without a writer its content is only counted.
struct Current {
    index: u32,
    writer: Option<FileWriter>,
    got: u64,
}

/// A transfer being written to disk.
pub struct Intake<'a> {
    manifest: &'a Manifest,
    root: &'a mut Root,
    plan: Plan,
    states: Vec<State>,
    current: Option<Current>,
    /// Bytes and files since the last [`Intake::moved`], and the entry last seen.
    moved: (u64, u64, u32),
    summary: Summary,
}

type Step<T = ()> = Result<T, Stop>;

impl<'a> Intake<'a> {
    /// Takes over a plan and makes its folders.
    pub fn new(manifest: &'a Manifest, root: &'a mut Root, plan: Plan) -> Self {
        let mut summary = Summary::default();
        let mut states = Vec::with_capacity(manifest.entries().len());
        for ((_, action), entry) in plan.actions().zip(manifest.entries()) {
            states.push(match action {
                Action::Skip => State::Failed(Fault::Kept),
                Action::Create | Action::Replace if entry.is_file() => State::Wanted,
                _ => State::Idle,
            });
            if action == Action::Keep && entry.is_file() {
                summary.files += 1;
                summary.already += 1;
            }
        }
        let moved = (0, 0, 0);
        let mut intake = Self { manifest, root, plan, states, current: None, moved, summary };
        intake.make_folders();
        intake
    }

    /// The files whose content is not wanted.
    pub fn unwanted(&self) -> impl Iterator<Item = u32> {
        let states = self.states.iter().zip(self.manifest.indexed());
        states
            .filter(|(state, (_, entry))| entry.is_file() && **state != State::Wanted)
            .map(|(_, (index, _))| index)
    }

    /// How many files are still to come, and their bytes.
    pub fn wanted(&self) -> (u64, u64) {
        let wanted = self.states.iter().zip(self.manifest.entries());
        let wanted = wanted.filter(|(state, _)| **state == State::Wanted);
        wanted.fold((0, 0), |(files, bytes), (_, entry)| (files + 1, bytes + entry.size()))
    }

    /// Takes the items of one record.
    pub fn take(&mut self, mut items: Reader<'_>) -> Step {
        while let Some(item) = data::next(&mut items)? {
            match item {
                Item::Start { index, offset } => self.start(index, offset)?,
                Item::Bytes(content) => self.write(content)?,
                Item::End { size, hash } => self.end(size, &hash)?,
                Item::Failed { index, fault } => self.fail(index, fault)?,
            }
        }
        Ok(())
    }

    /// What moved since the last call.
    pub fn moved(&mut self) -> Option<Event<'a>> {
        let (bytes, files, index) = self.moved;
        self.moved = (0, 0, index);
        Some(Event::Moved { bytes, files, name: &self.manifest.get(index)?.path })
    }

    /// Ends a round: the files whose hash differed, which are wanted once more.
    pub fn end_round(&mut self) -> Step<Vec<u32>> {
        if self.current.is_some() || self.states.contains(&State::Wanted) {
            return Err(Malformed("a file that was asked for did not come").into());
        }
        let mut again = Vec::new();
        for (index, state) in (0u32..).zip(&mut self.states) {
            if *state == State::Again {
                *state = State::Wanted;
                again.push(index);
            }
        }
        Ok(again)
    }

    /// Puts links and the folders' modes and times in place; what is still wanted has failed in
    /// every attempt. Returns what did not arrive.
    pub fn finish(mut self) -> (Summary, Vec<(u32, Fault)>) {
        for state in self.states.iter_mut().filter(|state| **state == State::Wanted) {
            *state = State::Failed(Fault::Integrity);
        }
        self.make_links();
        self.finish_folders();
        let manifest = self.manifest;
        let mut faults = Vec::new();
        for (state, (index, entry)) in self.states.iter().zip(manifest.indexed()) {
            if let State::Failed(fault) = state {
                faults.push((index, *fault));
                self.summary.failed.push((entry.path.clone(), *fault));
            }
        }
        let renamed = self.plan.renamed(manifest);
        self.summary.renamed = renamed.map(|(from, to)| (from.clone(), to.clone())).collect();
        (self.summary, faults)
    }

    /// Removes the unfinished file, if there is one.
    pub fn abandon(&mut self) {
        if let Some(Current { index, writer: Some(writer), .. }) = self.current.take() {
            self.discard(index, writer);
        }
    }

    fn is(&self, index: u32, state: State) -> bool {
        usize::try_from(index).is_ok_and(|at| self.states.get(at) == Some(&state))
    }

    fn set(&mut self, index: u32, state: State) {
        if let Some(slot) = usize::try_from(index).ok().and_then(|at| self.states.get_mut(at)) {
            *slot = state;
        }
    }

    fn start(&mut self, index: u32, offset: u64) -> Step {
        let entry = self.manifest.get(index).filter(|_| self.is(index, State::Wanted));
        let entry = entry.ok_or(Malformed("a file came that was not asked for"))?;
        if self.current.is_some() || offset != 0 {
            return Err(OUT_OF_TURN.into());
        }
        let created = self.create(index, entry);
        let writer = self.survive(index, created)?;
        self.current = Some(Current { index, writer, got: 0 });
        self.moved.2 = index;
        Ok(())
    }

    fn create(&mut self, index: u32, entry: &Entry) -> io::Result<FileWriter> {
        let place = self.plan.place(index, entry);
        let manifest = self.manifest;
        FileWriter::create(self.root.parent_of(place)?, place.name(), |name| {
            place.with_name(name).is_ok_and(|path| manifest.find(&path).is_some())
        })
    }

    fn write(&mut self, content: &[u8]) -> Step {
        let current = self.current.as_mut().ok_or(OUT_OF_TURN)?;
        let index = current.index;
        let entry = self.manifest.get(index);
        let got = current.got.saturating_add(content.len() as u64);
        if entry.is_none_or(|entry| got > entry.size()) {
            return Err(Malformed("a file is longer than was offered").into());
        }
        current.got = got;
        self.moved.0 += content.len() as u64;
        self.summary.bytes += content.len() as u64;
        if let Some(mut writer) = current.writer.take() {
            match writer.write(content) {
                Ok(()) => current.writer = Some(writer),
                Err(error) => {
                    self.discard(index, writer);
                    self.survive::<()>(index, Err(error))?;
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, size: u64, hash: &[u8; HASH_LEN]) -> Step {
        let Current { index, writer, got } = self.current.take().ok_or(OUT_OF_TURN)?;
        let entry = self.manifest.get(index).ok_or(OUT_OF_TURN)?;
        if size != got || size != entry.size() {
            return Err(Malformed("a file is not as long as was offered").into());
        }
        self.moved.1 += 1;
        let Some(writer) = writer else { return Ok(()) };
        let folder = self.root.parent_of(self.plan.place(index, entry));
        let verified = folder.map(|folder| writer.verify(folder, size, hash));
        match self.survive(index, verified)? {
            Some(Some(verified)) => {
                let placed = self.place(index, entry, verified);
                if self.survive(index, placed)?.is_some() {
                    self.set(index, State::Arrived);
                    self.summary.files += 1;
                }
            }
            Some(None) => self.set(index, State::Again),
            None => {}
        }
        Ok(())
    }

    /// Gives a verified file its name; one that was taken meanwhile is not replaced.
    fn place(&mut self, index: u32, entry: &Entry, verified: Verified) -> io::Result<()> {
        let replace = self.replace(index);
        let mut place = self.plan.place(index, entry).clone();
        loop {
            let folder = self.root.parent_of(&place)?;
            match verified.place(folder, place.name(), entry, replace) {
                Err(error) if is_taken(&error) => match self.other_name(&place) {
                    Some(other) => place = other,
                    None => break Err(error),
                },
                Err(error) => {
                    verified.discard(folder);
                    break Err(error);
                }
                Ok(()) => {
                    self.remember(index, entry, place);
                    break Ok(());
                }
            }
        }
    }

    fn replace(&self, index: u32) -> Replace {
        match self.plan.action(index) {
            Some(Action::Replace) => Replace::Allowed,
            _ => Replace::Never,
        }
    }

    fn other_name(&mut self, place: &RelPath) -> Option<RelPath> {
        let (manifest, root) = (self.manifest, &mut *self.root);
        free_name(place, |path| manifest.find(path).is_some() || root.look(path) != Found::Nothing)
    }

    fn remember(&mut self, index: u32, entry: &Entry, place: RelPath) {
        if *self.plan.place(index, entry) != place {
            self.plan.move_to(index, place);
        }
    }

    fn fail(&mut self, index: u32, fault: Fault) -> Step {
        match fault {
            Fault::Vanished | Fault::Denied | Fault::Changed | Fault::Unreadable => {}
            Fault::Unwritable | Fault::Integrity | Fault::Kept => return Err(OUT_OF_TURN.into()),
        }
        match self.current.take() {
            Some(current) if current.index == index => {
                if let Some(writer) = current.writer {
                    self.discard(index, writer);
                }
            }
            None if self.is(index, State::Wanted) => {}
            _ => return Err(OUT_OF_TURN.into()),
        }
        self.set(index, State::Failed(fault));
        self.moved.1 += 1;
        Ok(())
    }

    fn discard(&mut self, index: u32, writer: FileWriter) {
        let entry = self.manifest.get(index).map(|entry| self.plan.place(index, entry));
        if let Some(Ok(folder)) = entry.map(|place| self.root.parent_of(place)) {
            writer.discard(folder);
        }
    }

    /// A file that cannot be written is given up; a disk that is full ends the session.
    fn survive<T>(&mut self, index: u32, result: io::Result<T>) -> Step<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_full(&error) => {
                let free = self.root.free_space().unwrap_or(0);
                let error = Error::failure(format!(
                    "the disk of \"{}\" is full",
                    error::shown(&self.root.path().to_string_lossy())
                ))
                .hint("make room there and run the same command again");
                Err(Stop::Own(Reason::NoSpace { needed: 0, free }, error))
            }
            Err(_) => {
                self.set(index, State::Failed(Fault::Unwritable));
                Ok(None)
            }
        }
    }

    fn make_folders(&mut self) {
        for (index, entry) in self.manifest.indexed() {
            if entry.kind != Kind::Folder || self.plan.action(index) != Some(Action::Create) {
                continue;
            }
            let place = self.plan.place(index, entry);
            let made = self.root.parent_of(place).and_then(|folder| {
                match folder.create_folder(place.name()) {
                    // A name that this file system does not tell apart: the two are merged.
                    Err(error)
                        if is_taken(&error) && folder.look(place.name()) == Found::Folder =>
                    {
                        Ok(())
                    }
                    made => made,
                }
            });
            if made.is_err() {
                self.set(index, State::Failed(Fault::Unwritable));
            }
        }
    }

    fn make_links(&mut self) {
        for (index, entry) in self.manifest.indexed() {
            let Kind::Link(target) = &entry.kind else { continue };
            if !matches!(self.plan.action(index), Some(Action::Create | Action::Replace)) {
                continue;
            }
            if self.make_link(index, entry, target).is_err() {
                self.set(index, State::Failed(Fault::Unwritable));
            }
        }
    }

    fn make_link(&mut self, index: u32, entry: &Entry, target: &str) -> io::Result<()> {
        let mut place = self.plan.place(index, entry).clone();
        if self.replace(index) == Replace::Allowed {
            // Made under a free name first, so that the old one is replaced in one step.
            let other = self.other_name(&place).ok_or(io::ErrorKind::AlreadyExists)?;
            let folder = self.root.parent_of(&place)?;
            folder.create_link(other.name(), target, entry.mtime)?;
            return folder.put(other.name(), place.name(), Replace::Allowed);
        }
        loop {
            let folder: Folder<'_> = self.root.parent_of(&place)?;
            match folder.create_link(place.name(), target, entry.mtime) {
                Err(error) if is_taken(&error) => {
                    place = self.other_name(&place).ok_or(error)?;
                }
                Err(error) => return Err(error),
                Ok(()) => {
                    self.remember(index, entry, place);
                    return Ok(());
                }
            }
        }
    }

    /// From the innermost outwards, for a folder may end up closed to its owner.
    fn finish_folders(&mut self) {
        for (index, entry) in self.manifest.indexed().rev() {
            let usable = self.is(index, State::Idle) && entry.kind == Kind::Folder;
            if !usable {
                continue;
            }
            let place = self.plan.place(index, entry);
            if self.root.finish_folder(place, entry.mode, entry.mtime).is_err() {
                self.set(index, State::Failed(Fault::Unwritable));
            }
        }
    }
}

fn is_taken(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, IsADirectory, NotADirectory};
    matches!(error.kind(), AlreadyExists | IsADirectory | DirectoryNotEmpty | NotADirectory)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
