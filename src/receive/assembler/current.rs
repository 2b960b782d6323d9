//! The file at hand: where its content goes, from its first item to its last.

use std::fs::File;
use std::io;

use super::checks::Ended;
use super::named::Named;
use super::{Assembler, State, Take, state};
use crate::files::folder::Found;
use crate::files::manifest::Entry;
use crate::files::path::RelPath;
use crate::files::sparse::ContentHash;
use crate::files::stamp::Stamp;
use crate::files::states::Blocks;
use crate::protocol::course::Course;
use crate::protocol::pages::HASH_LEN;
use crate::protocol::reader::Malformed;
use crate::protocol::session::OUT_OF_TURN;
use crate::receive::blocks::{Check, Damage};
use crate::receive::part::Part;
use crate::receive::resume::Resume;
use crate::receive::sparse::Came;
use crate::receive::writer::FileWriter;

/// Where the content of the file at hand goes.
pub(super) enum Target {
    /// To the disk.
    Writer(FileWriter),
    /// To the disk, into a file that is there but for some of its blocks.
    Repair(FileWriter),
    /// Nowhere: the file that is at this place has the sender's content, if the hash agrees.
    Same(RelPath, [u8; HASH_LEN], Found),
    /// Nowhere: the unfinished file is not any more what it was when the plan was made. The
    /// whole file is asked for again.
    Stale,
    /// Nowhere: it cannot be written, and is only counted.
    Nowhere,
}

/// The file that comes now.
pub(super) struct Current {
    pub(super) index: u32,
    pub(super) target: Target,
    pub(super) course: Course,
    /// Of a file with holes: what of its content came.
    pub(super) sparse: Came,
    /// Whether the blocks that were there are what their states say, while more comes.
    pub(super) check: Option<Check>,
    /// Blocks that came and differ from the state behind them.
    pub(super) damage: Damage,
    /// Whether the sender may find that it has another content than what was gone on with.
    pub(super) may_begin_anew: bool,
}

impl Current {
    pub(super) fn new(index: u32, entry: &Entry, target: Target, course: Course) -> Self {
        let sparse = Came::begin(entry, course.at());
        let (check, damage) = (None, Damage::default());
        Self { index, target, course, sparse, check, damage, may_begin_anew: false }
    }
}

impl Assembler<'_> {
    /// A file begins, or goes on at an offset.
    pub(super) fn start(&mut self, index: u32, offset: u64) -> Take {
        if self.repairs.contains_key(&index) {
            return self.start_range(index, offset);
        }
        let may_begin_anew = |current: &Current| current.index == index && current.may_begin_anew;
        if offset == 0 && self.current.as_ref().is_some_and(may_begin_anew) {
            return self.start_anew();
        }
        let wanted = state(&self.states, index) == Some(State::Wanted);
        let entry = self.tree.manifest.get(index).filter(|_| wanted);
        let entry = entry.ok_or(Malformed("a file came that was not asked for"))?;
        let resume = self.resume.remove(&index);
        let agreed =
            offset == 0 || resume.as_ref().is_some_and(|resume| resume.offset(entry) == offset);
        if self.current.is_some() || !agreed {
            return Err(OUT_OF_TURN.into());
        }
        let course = Course::new(self.blocks_of(entry), offset, entry.size());
        let mut current = Current::new(index, entry, Target::Nowhere, course);
        let begins = ContentHash::in_blocks(entry, self.block());
        current.target = match resume {
            Some(Resume::Same { place, hash, seen }) if offset == entry.size() => {
                Target::Same(place, hash, seen)
            }
            Some(Resume::Part { hash, seen, .. }) => {
                let hash = if offset > 0 { hash } else { begins };
                self.reopen(index, entry, (offset, hash), &seen)?
            }
            Some(Resume::Blocks { block, states, seen }) if offset > 0 => {
                current.may_begin_anew = true;
                let hash = ContentHash::Whole(Blocks::go_on(block, states.clone()));
                let target = self.reopen(index, entry, (offset, hash), &seen)?;
                let again = match &target {
                    Target::Writer(writer) => {
                        let place = self.tree.plan.place(index, entry);
                        let folder = self.tree.root.parent_of(&place);
                        folder.and_then(|folder| writer.open_again(folder)).map(Some)
                    }
                    _ => Ok(None),
                };
                match again {
                    // What is not looked at is not named.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Target::Stale,
                    again => match self.survive(index, again)? {
                        Some(file) => {
                            current.check = file.map(|file| Check::start(file, block, states));
                            target
                        }
                        None => Target::Nowhere,
                    },
                }
            }
            Some(Resume::Blocks { seen, .. }) => self.reopen(index, entry, (0, begins), &seen)?,
            _ => self.create(index, entry)?,
        };
        if matches!(current.target, Target::Stale) && offset == 0 {
            current.target = self.create(index, entry)?;
        }
        self.current = Some(current);
        self.synced = None;
        self.moved.1 = index;
        Ok(())
    }

    pub(super) fn create(&mut self, index: u32, entry: &Entry) -> Take<Target> {
        let place = self.tree.place(index, entry);
        let hash = ContentHash::in_blocks(entry, self.block());
        let created = self.tree.begin(entry, &place).map(|writer| writer.hashed(hash));
        Ok(self.survive(index, created)?.map_or(Target::Nowhere, Target::Writer))
    }

    pub(super) fn reopen(
        &mut self,
        index: u32,
        entry: &Entry,
        (offset, hash): (u64, ContentHash),
        seen: &Stamp,
    ) -> Take<Target> {
        let resumed = self.part(index, entry, seen).and_then(|part| {
            let folder = self.tree.root.parent_of(&self.tree.plan.place(index, entry))?;
            FileWriter::resume(part, folder, (offset, hash))
        });
        match resumed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Target::Stale),
            resumed => Ok(self.survive(index, resumed)?.map_or(Target::Nowhere, Target::Writer)),
        }
    }

    /// The unfinished file of an entry, if nobody has written to it; `NotFound` else.
    pub(super) fn part(
        &mut self,
        index: u32,
        entry: &Entry,
        seen: &Stamp,
    ) -> io::Result<(File, Part)> {
        let place = self.tree.place(index, entry);
        let own = self.tree.root.own().clone();
        let folder = self.tree.root.parent_of(&place)?;
        let (file, part) = Part::find(folder, &own, &place).ok_or(io::ErrorKind::NotFound)?;
        if !folder.stamp_of(&file)?.is_untouched(seen) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok((file, part))
    }

    /// Its content, or a piece of that.
    pub(super) fn write(&mut self, content: &[u8]) -> Take {
        let Current { index, course, target, .. } = self.current.as_mut().ok_or(OUT_OF_TURN)?;
        course.bytes(content.len() as u64)?;
        let index = *index;
        let entry = self.tree.manifest.get(index).ok_or(OUT_OF_TURN)?;
        if !matches!(target, Target::Writer(_) | Target::Repair(_)) {
            return Ok(());
        }
        self.ask_for(content.len() as u64)?;
        let Some(Current { target: Target::Writer(writer) | Target::Repair(writer), .. }) =
            &mut self.current
        else {
            return Ok(());
        };
        let before = writer.put_bytes();
        let written = writer.write(content);
        self.allowance.wrote(writer.put_bytes().saturating_sub(before));
        match written {
            Ok(()) => {
                self.count(index, content.len() as u64);
                self.check_room(entry)
            }
            Err(error) => self.give_up(index, entry, error),
        }
    }

    /// The file at hand cannot be written.
    pub(super) fn give_up(&mut self, index: u32, entry: &Entry, error: io::Error) -> Take {
        // A full disk keeps what there is; what cannot be written at all is given up.
        self.survive::<()>(index, Err(error))?;
        if let Some(Current { target, .. }) = &mut self.current
            && let Target::Writer(writer) | Target::Repair(writer) =
                std::mem::replace(target, Target::Nowhere)
        {
            self.tree.discard(index, entry, writer);
        }
        Ok(())
    }

    /// It came to its end.
    pub(super) fn end(&mut self, size: u64, hash: [u8; HASH_LEN]) -> Take {
        let index = self.current.as_ref().ok_or(OUT_OF_TURN)?.index;
        if self.repairs.contains_key(&index) {
            return self.end_range(Some((size, hash)));
        }
        let current = self.current.take().ok_or(OUT_OF_TURN)?;
        let Current { target, course, check, damage, .. } = current;
        let entry = self.tree.manifest.get(index).ok_or(OUT_OF_TURN)?;
        course.end(size)?;
        let arrived = match target {
            Target::Nowhere | Target::Repair(_) => {
                self.finished.push(index);
                return Ok(());
            }
            Target::Same(place, own, seen) if own == hash => self.keep(index, entry, place, &seen),
            Target::Same(..) | Target::Stale => Ok(Named::Again),
            Target::Writer(writer) => {
                let ended = Ended { index, writer, hash, damage };
                return match check {
                    Some(check) => {
                        self.set(index, State::InHand);
                        self.ended.push((check, ended));
                        Ok(())
                    }
                    None => self.conclude_whole(ended),
                };
            }
        };
        let arrived = self.survive(index, arrived)?;
        self.settled(index, entry, hash, arrived);
        Ok(())
    }
}
