//! Data items in, files out: the part of the receiving engine that touches the disk.

mod checks;
mod current;
mod fates;
mod holes;
mod kept;
mod named;
mod repairs;
mod small;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use self::checks::Ended;
use self::current::{Current, Target};
use self::kept::Flushing;
use super::allowance::Allowance;
use super::blocks::{Check, Repair};
use super::lock::{Head, Known, TransferLockManager};
use super::plan::{Action, Plan};
use super::pool::{Job, WriterPool};
use super::resume::Resume;
use super::tree::Tree;
use crate::bounds::MAX_BATCH;
use crate::crypto::record::Buffer;
use crate::event::{Event, Sink, Summary};
use crate::files::manifest::Manifest;
use crate::files::root::Root;
use crate::files::states;
use crate::protocol::data::{self, Item};
use crate::protocol::fault::Fault;
use crate::protocol::features::Features;
use crate::protocol::message::Message;
use crate::protocol::pages::{HASH_LEN, Range, Step};
use crate::protocol::reader::Malformed;
use crate::protocol::session::{OUT_OF_TURN, Stop};

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is to come for it.
    Idle,
    /// Asked for, and not come yet.
    Wanted,
    /// Came, and is in hand: the pool's, or until what was here of it is compared.
    InHand,
    /// Came, and its hash differed.
    Again,
    /// Came, and some of its blocks differed.
    Torn,
    /// Those blocks are asked for, and not all come yet.
    Mending,
    /// At its place.
    Arrived,
    /// Given up.
    Failed(Fault),
}

/// What a session needs to begin writing.
pub struct Start<'a> {
    /// What happens to each entry.
    pub plan: Plan,
    /// What of the content is here already.
    pub resume: BTreeMap<u32, Resume>,
    /// The folders that are made, or were made by an interrupted run.
    pub made: BTreeSet<u32>,
    /// Whether other folders keep their mode and time.
    pub merge: bool,
    /// What an interrupted run knew of its files.
    pub older: BTreeMap<u32, Known>,
    /// Keeps the lock file.
    pub lock: &'a mut TransferLockManager,
    /// What the lock file says of the session.
    pub head: Head,
    /// Threads that write small files.
    pub threads: usize,
    /// Tell of each file what became of it, with its hash.
    pub each_file: bool,
    /// Bytes of a block, if the sender tells the states behind them.
    pub blocks: Option<u64>,
    /// Has a say in what is written.
    pub allowance: Box<dyn Allowance + 'a>,
}

/// A transfer being written to disk.
pub struct Assembler<'a> {
    tree: Tree<'a>,
    /// What both sides can do.
    agreed: Features,
    states: Vec<State>,
    hashes: Vec<Option<[u8; HASH_LEN]>>,
    resume: BTreeMap<u32, Resume>,
    /// Files of which blocks have to come again.
    repairs: BTreeMap<u32, Repair>,
    /// Files that came, of which what was here before is still compared with its states.
    ended: Vec<(Check, Ended)>,
    /// The states of files that came and are on their way to their place.
    going: BTreeMap<u32, Vec<states::State>>,
    blocks: Option<u64>,
    /// Times of last change that the disk has made of others.
    times: BTreeMap<u32, i64>,
    /// What the system said of the first that failed.
    reasons: BTreeMap<u32, String>,
    made: BTreeSet<u32>,
    merge: bool,
    older: BTreeMap<u32, Known>,
    lock: &'a mut TransferLockManager,
    head: Head,
    current: Option<Current>,
    /// What is on its way to the disk, so that the lock can tell of it.
    flushing: Option<Flushing>,
    /// When that began last, and what is there for certain of the file at hand.
    last_flush: Instant,
    synced: Option<(u32, u64, [u8; HASH_LEN])>,
    /// Writes small files; where no thread could be started, the engine does.
    pool: Option<WriterPool>,
    /// Has a say in what is written, and the bytes that the pool still has in hand.
    allowance: Box<dyn Allowance + 'a>,
    in_pool: u64,
    /// Bytes since the last [`Assembler::tell`], and the entry last seen.
    moved: (u64, u32),
    /// Bytes that are to come besides those planned, of files that began anew since then.
    anew: u64,
    /// Files that ended since then.
    finished: Vec<u32>,
    /// Entries of which nobody was told what became of them, if it is to be told.
    untold: Option<BTreeSet<u32>>,
    summary: Summary,
}

type Take<T = ()> = Result<T, Stop>;

impl<'a> Assembler<'a> {
    /// Takes over a plan, makes its folders, and writes the first lock.
    pub fn new(
        manifest: &'a Manifest,
        root: &'a mut Root,
        agreed: Features,
        start: Start<'a>,
    ) -> Take<Self> {
        let Start {
            plan,
            resume,
            made,
            merge,
            older,
            lock,
            head,
            threads,
            each_file,
            blocks,
            allowance,
        } = start;
        let mut summary = Summary::default();
        let mut states = Vec::with_capacity(manifest.entries().len());
        for ((index, action), entry) in plan.actions().zip(manifest.entries()) {
            states.push(match action {
                Action::Skip => State::Failed(Fault::Kept),
                Action::Impossible => State::Failed(plan.fault(index)),
                Action::Create | Action::Replace if entry.is_file() => State::Wanted,
                _ => State::Idle,
            });
            if action == Action::Keep && entry.is_file() {
                summary.files += 1;
                summary.already += 1;
            }
        }
        let untold = each_file.then(|| (0..).take(states.len()).collect());
        let mut assembler = Self {
            agreed,
            hashes: vec![None; states.len()],
            times: BTreeMap::new(),
            reasons: BTreeMap::new(),
            tree: Tree { manifest, root, plan },
            states,
            resume,
            repairs: BTreeMap::new(),
            ended: Vec::new(),
            going: BTreeMap::new(),
            blocks,
            made,
            merge,
            older,
            lock,
            head,
            current: None,
            flushing: None,
            last_flush: Instant::now(),
            synced: None,
            pool: None,
            allowance,
            in_pool: 0,
            moved: (0, 0),
            anew: 0,
            finished: Vec::new(),
            untold,
            summary,
        };
        // The lock tells what is to be made before it is there: a folder that it does not name
        // was there before.
        let saved = assembler.save();
        assembler.saved(saved)?;
        let folders = assembler.tree.make_folders();
        for (index, error) in folders.failed {
            assembler.survive::<()>(index, Err(error))?;
        }
        for index in folders.found {
            assembler.made.remove(&index);
        }
        assembler.pool = WriterPool::start(assembler.tree.root, threads).ok();
        Ok(assembler)
    }

    /// What the sender is told of the files that are not simply to be sent whole.
    pub fn steps(&self) -> impl Iterator<Item = (u32, Step)> {
        let states = self.states.iter().zip(self.tree.manifest.indexed());
        states.filter(|(_, (_, entry))| entry.is_file()).filter_map(
            |(state, (index, entry))| match (state, self.resume.get(&index)) {
                (State::Wanted, None) => None,
                (State::Wanted, Some(resume)) => Some((index, resume.step(entry)?)),
                _ => Some((index, Step::Skip)),
            },
        )
    }

    /// Bytes that are there of the files that are gone on with.
    pub fn begun(&self) -> u64 {
        let wanted = |index| state(&self.states, index) == Some(State::Wanted);
        let begun = self.resume.iter().filter(|(index, _)| wanted(**index));
        let begun = begun.filter_map(|(index, resume)| {
            let entry = self.tree.manifest.get(*index)?;
            Some(resume.offset(entry)).filter(|offset| *offset < entry.size())
        });
        begun.sum()
    }

    /// How many files are still to come, and their bytes.
    pub fn wanted(&self) -> (u64, u64) {
        let begun = (self.mending(), self.bytes_in_blocks());
        let wanted = self.states.iter().zip(self.tree.manifest.indexed());
        let wanted = wanted.filter(|(state, _)| **state == State::Wanted);
        wanted.fold(begun, |(files, bytes), (_, (index, entry))| {
            let here = self.resume.get(&index).map_or(0, |resume| resume.offset(entry));
            (files + 1, bytes + (entry.size() - here))
        })
    }

    /// How many of those came but for some blocks.
    pub fn mending(&self) -> u64 {
        self.states.iter().filter(|state| **state == State::Mending).count() as u64
    }

    /// Takes the items of one record, and saves the lock when it is time. Returns a record to be
    /// used again, if one is done with.
    pub fn take(&mut self, record: Buffer) -> Take<Option<Buffer>> {
        let mut files = Vec::new();
        let mut items = match Message::decode(record.plaintext())? {
            Message::Data(items) => items,
            _ => return Err(OUT_OF_TURN.into()),
        };
        while let Some(item) = data::next(&mut items, self.agreed)? {
            match item {
                Item::Start { index, offset } => {
                    let may_be_small = offset == 0 && files.len() < MAX_BATCH;
                    let small =
                        if may_be_small { self.small(index, &mut items, &record)? } else { None };
                    match small {
                        Some(small) => {
                            let len = small.content.len() as u64;
                            self.ask_for(len)?;
                            self.in_pool = self.in_pool.saturating_add(len);
                            self.set(index, State::InHand);
                            files.push((small, None));
                        }
                        None => self.start(index, offset)?,
                    }
                }
                Item::Bytes(content) => self.write(content)?,
                Item::Hole(len) => self.hole(len)?,
                Item::State(state) => self.state(state)?,
                Item::End { size, hash } => self.end(size, hash)?,
                Item::Stop => match self.current.as_ref().map(|current| current.index) {
                    Some(index) if self.repairs.contains_key(&index) => self.end_range(None)?,
                    _ => return Err(OUT_OF_TURN.into()),
                },
                Item::Failed { index, fault } => self.fail(index, fault)?,
            }
        }
        let mut used = None;
        let unsent = match (files.is_empty(), &mut self.pool) {
            (false, Some(pool)) => pool.give(Job { record, files }),
            (false, None) => Some(Job { record, files }),
            (true, _) => {
                used = Some(record);
                None
            }
        };
        let done = self.pool.as_mut().and_then(WriterPool::finished);
        for job in [unsent, done].into_iter().flatten() {
            used = Some(self.settle(job)?);
        }
        self.save_when_due()?;
        Ok(used)
    }

    /// Tells what happened since the last call.
    pub fn tell(&mut self, sink: Sink<'_>) {
        let finished = std::mem::take(&mut self.finished);
        let files = finished.len() as u64;
        for index in finished {
            if let Some(entry) = self.tree.manifest.get(index) {
                sink(Event::Finished { name: &entry.path });
                self.tell_fate(index, entry, sink);
            }
        }
        let anew = std::mem::take(&mut self.anew);
        if anew > 0 {
            sink(Event::Anew { bytes: anew });
        }
        let bytes = std::mem::take(&mut self.moved.0);
        if let Some(entry) = self.tree.manifest.get(self.moved.1) {
            sink(Event::Moved { bytes, files, name: &entry.path });
        }
    }

    /// Ends a round: the files whose hash differed, which are wanted once more, and the blocks of
    /// others.
    pub fn end_round(&mut self) -> Take<(Vec<u32>, Vec<(u32, Range)>)> {
        self.await_pool()?;
        if self.current.is_some() || self.states.iter().any(is_missing) {
            return Err(Malformed("a file that was asked for did not come").into());
        }
        let mut again = Vec::new();
        for (index, state) in (0u32..).zip(&mut self.states) {
            if *state == State::Again {
                *state = State::Wanted;
                again.push(index);
            }
        }
        let blocks = self.ask_for_blocks();
        let has_holes = self.tree.root.top().disk().has_holes;
        let stored = again.iter().filter_map(|index| self.tree.manifest.get(*index));
        let stored = stored.map(|entry| if has_holes { entry.stored() } else { entry.size() });
        self.allowance.again(stored.fold(self.bytes_in_blocks(), u64::saturating_add));
        Ok((again, blocks))
    }

    /// Puts links and the folders' modes and times in place, and waits until everything is on the
    /// disk; what is still wanted has failed in every attempt. Returns what did not arrive.
    pub fn finish(&mut self) -> Take<(Summary, Vec<(u32, Fault)>)> {
        for (index, repair) in std::mem::take(&mut self.repairs) {
            if let Some(entry) = self.tree.manifest.get(index).filter(|_| !repair.damage.is_empty())
            {
                self.sweep_all(index, entry);
            }
        }
        let missing = |state: &&mut State| matches!(state, State::Wanted | State::Mending);
        for state in self.states.iter_mut().filter(missing) {
            *state = State::Failed(Fault::Integrity);
        }
        for (index, error) in self.tree.make_links() {
            self.survive::<()>(index, Err(error))?;
        }
        self.tree.finish_kept();
        let (states, made, merge) = (&self.states, &self.made, self.merge);
        let usable =
            |index| state(states, index) == Some(State::Idle) && (!merge || made.contains(&index));
        for (index, error) in self.tree.finish_folders(usable) {
            self.survive::<()>(index, Err(error))?;
        }
        self.flush()?;
        let manifest = self.tree.manifest;
        let mut faults = Vec::new();
        for (state, (index, entry)) in self.states.iter().zip(manifest.indexed()) {
            if let State::Failed(fault) = state {
                faults.push((index, *fault));
                self.summary.failed.push((entry.path.clone(), *fault));
                if let Some(reason) = self.reasons.remove(&index) {
                    self.summary.reasons.insert(entry.path.clone(), reason);
                }
            }
        }
        let renamed = self.tree.plan.renamed(manifest);
        self.summary.renamed = renamed.map(|(from, to)| (from.clone(), to.clone())).collect();
        self.summary.lacking = self.tree.root.lacking();
        // The lock stays as it was last saved: should the sender not hear of the end, the next
        // run finds everything in its place.
        Ok((std::mem::take(&mut self.summary), faults))
    }

    fn set(&mut self, index: u32, state: State) {
        if let Some(slot) = usize::try_from(index).ok().and_then(|at| self.states.get_mut(at)) {
            *slot = state;
        }
    }

    /// Whether so many bytes may be written.
    fn ask_for(&mut self, bytes: u64) -> Take {
        let bytes = bytes.saturating_add(self.in_pool);
        self.allowance.writes(bytes, self.tree.root).map_err(|(told, error)| {
            let hint =
                "make room there and run the same command again: it goes on where it stopped";
            Stop::Own(told, error.or_hint(hint))
        })
    }

    /// Content came.
    fn count(&mut self, index: u32, bytes: u64) {
        self.moved = (self.moved.0.saturating_add(bytes), index);
        self.summary.bytes = self.summary.bytes.saturating_add(bytes);
    }

    fn fail(&mut self, index: u32, fault: Fault) -> Take {
        if !fault.is_of_source() {
            return Err(OUT_OF_TURN.into());
        }
        let entry = self.tree.manifest.get(index).ok_or(OUT_OF_TURN)?;
        match self.current.take() {
            Some(current) if current.index == index => {
                if let Target::Writer(writer) | Target::Repair(writer) = current.target {
                    self.tree.discard(index, entry, writer);
                }
                self.repairs.remove(&index);
            }
            None if self.repairs.get(&index).is_some_and(Repair::is_awaited) => {
                self.repairs.remove(&index);
                self.sweep_all(index, entry);
            }
            None if state(&self.states, index) == Some(State::Wanted) => {
                // What an earlier run left of a file that cannot be had any more.
                self.resume.remove(&index);
                self.sweep(index, entry);
            }
            _ => return Err(OUT_OF_TURN.into()),
        }
        self.set(index, State::Failed(fault));
        self.finished.push(index);
        Ok(())
    }
}

fn is_missing(state: &State) -> bool {
    matches!(state, State::Wanted | State::InHand | State::Mending)
}

fn state(states: &[State], index: u32) -> Option<State> {
    states.get(usize::try_from(index).ok()?).copied()
}
