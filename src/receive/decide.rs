//! From the offer to the plan: what is here already, what is in the way, whether there is room.

use std::collections::BTreeMap;
use std::env;

use sha2::{Digest, Sha256};

use super::allowance::{Allowance, Needs, Refusal};
use super::assembler::Start;
use super::decisions::{Decisions, Facts, Fingerprint, Next};
use super::files::Offered;
use super::lock::{Head, Remembered};
use super::options::ReceiveOptions;
use super::output::Output;
use super::plan::{Action, OnConflict, Plan};
use super::resume::{self, How, Resume};
use super::single::stream_name;
use super::survey::Survey;
use crate::error::{Cause, Error, Result, bytes, shown_os};
use crate::event::{Sink, Summary};
use crate::files::manifest::{Kind, Manifest};
use crate::files::path::RelPath;
use crate::files::root::Root;
use crate::protocol::lanes;
use crate::protocol::reason::Reason;
use crate::ui::{Choice, Clash, Here, Target, Ui, said_no};

/// Makes the plan, with whatever is to be asked, and carries it out.
///
/// `allowance` has the last word, once it is known how much has to come. `decisions` learns what was decided, so
/// that nothing is asked again after a reconnection.
pub fn accept(
    offered: Offered,
    output: &mut Output,
    (options, decisions): (&ReceiveOptions, &mut Decisions),
    (session, sender): (uuid::Uuid, String),
    mut allowance: Box<dyn Allowance + '_>,
    ui: &Ui,
    sink: Sink<'_>,
) -> Result<Summary> {
    let Output { root, lock } = output;
    let remembered = resume::remember(lock, root, offered.manifest());
    let survey = Survey::new(offered.manifest(), &remembered, root);
    let mut at = Setting { offered: &offered, options, remembered: &remembered, survey, root };
    if decisions.is_fresh() || options.checksum {
        at.doubt(decisions.is_fresh());
    }
    let plan = match at.decide(decisions, lock.is_restart(), ui) {
        Ok(plan) => plan,
        Err((reason, error)) => return Err(offered.refuse(reason, error)),
    };
    let blocks = offered.blocks();
    let how = How { anew: decisions.is_fresh(), blocks };
    let resume = resume::find(offered.manifest(), &plan, &remembered, root, how);
    if !remembered.is_empty() {
        let (completed, partial, fresh) = progress_of(&offered, &plan, &resume);
        ui.note(&format!(
            "Resuming transfer: {completed} completed, {partial} partial, {fresh} fresh files"
        ));
    }
    let admitted = check_space(&offered, &plan, &resume, root).and_then(|()| {
        let needs = needs(&offered, &plan, &resume, root);
        allowance.admit(needs, root)
    });
    if let Err((reason, error)) = admitted {
        return Err(offered.refuse(reason, error));
    }
    decisions.planned();
    let totals = offered.manifest().totals();
    let head = Head { session, sender, files: totals.files, bytes: totals.bytes };
    let made = plan.made(offered.manifest(), &remembered);
    let merge = !decisions.policy().overwrites();
    let older = remembered.files;
    let threads = lanes::default_count();
    let each_file = ui.wants_files();
    let start = Start {
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
    };
    offered.accept(root, start, sink)
}

/// An offer and what it meets.
struct Setting<'a> {
    offered: &'a Offered,
    options: &'a ReceiveOptions,
    /// What an interrupted run left.
    remembered: &'a Remembered,
    survey: Survey,
    root: &'a mut Root,
}

impl Setting<'_> {
    /// Takes no file that is here for granted.
    fn doubt(&mut self, anew: bool) {
        self.survey.doubt_files(self.offered.manifest(), self.remembered, anew, self.root);
    }

    /// Asks until everything is decided.
    fn decide(
        &mut self,
        decisions: &mut Decisions,
        is_restart: bool,
        ui: &Ui,
    ) -> Result<Plan, Refusal> {
        let offered = self.offered;
        let id = ui.asks().then(|| fingerprint(offered.as_offered()));
        if decisions.is_new(id) {
            if decisions.has_taken() {
                ui.offered_to_take(offered.as_offered());
            }
            ui.target(&target_of(offered, &self.survey, self.root));
        }
        let has_leftovers = !self.remembered.is_empty();
        let mut plan = None;
        loop {
            let open = self.open(decisions);
            let facts = Facts {
                asked_about: id,
                has_leftovers,
                open: open.len() as u64,
                certain: self.survey.certain_conflicts(),
            };
            match decisions.next(&facts) {
                Next::AskResume => {
                    let yes = ui.ask_resume().map_err(declined)?;
                    decisions.resume(yes, id);
                    if !yes {
                        self.doubt(true);
                    }
                }
                Next::AskConflict => {
                    let answer = self.ask_conflict(&open, ui).map_err(declined)?;
                    for index in open {
                        if let Some(entry) = offered.manifest().get(index) {
                            decisions.agree(&entry.path, self.survey.found(index), answer);
                        }
                    }
                    decisions.take(id);
                }
                Next::AskTake { anew } => {
                    let plan = &*plan.get_or_insert(self.plan(decisions));
                    // What surely has no room is not asked about.
                    if !has_leftovers && !self.options.checksum {
                        check_space(offered, plan, &BTreeMap::new(), self.root)?;
                    }
                    ui.ask_take(offered.as_offered(), anew).map_err(declined)?;
                    decisions.take(id);
                }
                Next::Refuse => return Err(self.names_are_taken(&open, is_restart)),
                Next::Take { unasked } => {
                    if unasked > 0 {
                        ui.note(&format!(
                            "nothing is asked: names that are taken: {unasked}; the new files get \
                             others"
                        ));
                    }
                    return Ok(plan.unwrap_or_else(|| self.plan(decisions)));
                }
            }
        }
    }

    fn plan(&mut self, decisions: &Decisions) -> Plan {
        Plan::new(self.offered.manifest(), &self.survey, decisions.policy(), self.root)
    }

    /// The entries whose names are taken and that nothing was agreed about.
    fn open(&self, decisions: &Decisions) -> Vec<u32> {
        let policy = decisions.policy();
        let conflicts = self.survey.conflicts(self.offered.manifest());
        let open = conflicts.filter(|(index, entry)| {
            policy.answer(&entry.path, self.survey.found(*index)).is_none()
        });
        open.map(|(index, _)| index).collect()
    }

    fn ask_conflict(&self, open: &[u32], ui: &Ui) -> Result<OnConflict> {
        // Whether some are no conflict, only the sender's hashes tell.
        let is_compared = open.iter().any(|index| self.survey.is_compared(*index));
        let clash = |index: &u32| {
            let offered = self.offered.manifest().get(*index)?;
            let here = self
                .survey
                .clash(*index, offered)
                .map(|old| Here { size: old.size, mtime: old.mtime });
            Some(Clash { offered, here })
        };
        let clashes: Vec<_> = open.iter().filter_map(clash).take(SHOWN_CLASHES).collect();
        Ok(match ui.ask_conflict(open.len() as u64, &clashes, is_compared)? {
            Choice::Rename => OnConflict::Rename,
            Choice::Overwrite => OnConflict::Overwrite,
            Choice::Newer => OnConflict::Newer,
            Choice::Skip => OnConflict::Skip,
            Choice::Cancel => return Err(said_no()),
        })
    }

    fn names_are_taken(&self, open: &[u32], is_restart: bool) -> Refusal {
        let count = open.len() as u64;
        let first = open.first().and_then(|index| self.offered.manifest().get(*index));
        let first = first.map_or_else(String::new, |first| format!(", such as \"{}\"", first.path));
        let hint = match is_restart {
            true => "nothing was changed; --on-conflict rename keeps both",
            false => "what came before them is here; --on-conflict rename keeps both",
        };
        let message = format!("names are taken already: {count}{first}");
        (Reason::Conflict { count }, Error::new(Cause::Declined, message).hint(hint))
    }
}

fn declined(error: Error) -> Refusal {
    (Reason::Declined, error)
}

/// How many files are whole, begun, and not begun.
fn progress_of(offered: &Offered, plan: &Plan, resume: &BTreeMap<u32, Resume>) -> (u64, u64, u64) {
    let (mut completed, mut partial, mut fresh) = (0, 0, 0);
    for ((index, action), entry) in plan.actions().zip(offered.manifest().entries()) {
        let begun = resume.get(&index).is_some_and(|resume| resume.offset(entry) > 0);
        match action {
            _ if !entry.is_file() => {}
            Action::Keep => completed += 1,
            Action::Create | Action::Replace if begun => partial += 1,
            Action::Create | Action::Replace => fresh += 1,
            Action::Skip | Action::Impossible => {}
        }
    }
    (completed, partial, fresh)
}

/// Asks about a stream, of which nothing is known but where it would go.
pub fn ask_stream(offered: &Offered, root: &Root, ui: &Ui) -> Result<()> {
    let name = stream_name(offered);
    let mut target = target_of(offered, &Survey::default(), root);
    target.hidden = name.iter().filter(|name| is_hidden(name) && is_home(root)).collect();
    ui.target(&target);
    ui.ask_take(offered.manifest(), false)
}

fn target_of<'a>(offered: &'a Offered, survey: &Survey, root: &'a Root) -> Target<'a> {
    let manifest = offered.manifest();
    let at_home = is_home(root);
    let tops = manifest.tops().map(|top| &top.path);
    Target {
        folder: root.path(),
        free: root.room().bytes,
        here: survey.files_here(manifest),
        taken: survey.conflicts(manifest).count() as u64,
        hidden: tops.filter(|path| at_home && is_hidden(path)).collect(),
    }
}

/// Whether everything goes into the user's home folder.
fn is_home(root: &Root) -> bool {
    let home = env::home_dir().and_then(|home| home.canonicalize().ok());
    home.is_some_and(|home| root.path().canonicalize().is_ok_and(|it| it == home))
}

fn is_hidden(path: &RelPath) -> bool {
    path.name().starts_with(b".")
}

/// Tells one list from another: names, kinds, sizes, where links lead.
fn fingerprint(manifest: &Manifest) -> Fingerprint {
    let mut hash = Sha256::new();
    for entry in manifest.entries() {
        // Neither a path nor a target has a null byte in it.
        hash.update(entry.path.as_bytes());
        hash.update(match &entry.kind {
            // With holes or without: another machine may tell another.
            Kind::File(size) | Kind::Sparse { size, .. } => format!("\0file {size}\0").into_bytes(),
            Kind::Folder => b"\0folder\0".to_vec(),
            Kind::Link(target) => [b"\0link ", target.as_bytes(), b"\0"].concat(),
        });
    }
    hash.finalize().into()
}

/// Taken names that are shown before the question about them; the others are counted.
const SHOWN_CLASHES: usize = 5;

/// How much may have to come.
fn needs(offered: &Offered, plan: &Plan, resume: &BTreeMap<u32, Resume>, root: &Root) -> Needs {
    let (room, has_holes) = (root.room(), root.top().disk().has_holes);
    let entries = offered.manifest().entries().iter().zip(plan.actions());
    let mut needs = Needs::default();
    for (entry, (index, action)) in entries.filter(|(entry, _)| entry.is_file()) {
        if !matches!(action, Action::Create | Action::Replace) {
            continue;
        }
        let stored = room.taken_by(if has_holes { entry.stored() } else { entry.size() });
        let (here, taken) = match resume.get(&index) {
            None | Some(Resume::Same { .. }) => (0, 0),
            Some(begun @ (Resume::Part { seen, .. } | Resume::Blocks { seen, .. })) => {
                (seen.size, begun.taken(entry))
            }
        };
        needs.bytes = needs.bytes.saturating_add(entry.size().saturating_sub(here));
        needs.stored = needs.stored.saturating_add(stored.saturating_sub(taken));
    }
    needs
}

/// Refuses, before the first byte, what has no room.
fn check_space(
    offered: &Offered,
    plan: &Plan,
    resume: &BTreeMap<u32, Resume>,
    root: &Root,
) -> Result<(), Refusal> {
    let (room, has_holes) = (root.room(), root.top().disk().has_holes);
    let entries = offered.manifest().entries().iter().zip(plan.actions());
    // What this disk cannot have is counted too: it is not for a lack of room that it is left out.
    let wanted = entries.filter(|(_, (_, action))| {
        matches!(action, Action::Create | Action::Replace | Action::Impossible)
    });
    let (mut needed, mut files) = (0u64, 0u64);
    for (entry, (index, _)) in wanted {
        let resume = resume.get(&index);
        let size = if has_holes { entry.stored() } else { entry.size() };
        let here = resume.map_or(0, |resume| resume.taken(entry));
        needed = needed.saturating_add(room.taken_by(size).saturating_sub(here));
        files += u64::from(resume.is_none_or(|resume| resume.offset(entry) == 0));
    }
    let path = shown_os(root.path()).into_owned();
    let hint = "make room, or name another folder with -o";
    // Where the system does not tell, a full disk shows later.
    if let Some(free) = room.bytes.filter(|free| needed > *free) {
        let (wanted, left) = (bytes(needed), bytes(free));
        let message =
            format!("not enough room in \"{path}\": {wanted} are needed, {left} are free");
        return Err((Reason::NoSpace { needed, free }, Error::failure(message).hint(hint)));
    }
    if let Some(free) = room.files.filter(|free| files > *free) {
        let message = format!(
            "the disk of \"{path}\" takes {free} more files and folders (inodes), and {files} are \
             to come"
        );
        return Err((Reason::NoFiles, Error::failure(message).hint(hint)));
    }
    Ok(())
}
