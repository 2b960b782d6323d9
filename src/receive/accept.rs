//! From the offer to the plan: what is here already, what is in the way, whether there is room.

use std::collections::BTreeMap;
use std::path::Path;

use super::intake::Start;
use super::lock::{Head, TransferLockManager};
use super::plan::{Action, OnConflict, Plan, Survey};
use super::resume::{self, Resume};
use super::stream::Offered;
use super::{Conflict, ReceiveOptions};
use crate::error::{Error, Exit, Result, bytes, reason, shown};
use crate::event::{Sink, Summary};
use crate::files::manifest::Entry;
use crate::files::root::{Found, Root};
use crate::protocol::message::Reason;
use crate::ui::{Choice, Ui};

/// The output folder, and the right to write into it.
pub struct Output {
    pub(super) root: Root,
    lock: TransferLockManager,
}

impl Output {
    /// Opens the folder, making it if it is missing, and keeps other receivers out of it.
    pub fn open(path: &Path) -> Result<Self> {
        let mut root = Root::open(path).map_err(|error| {
            let path = path.to_string_lossy();
            Error::failure(format!("cannot use \"{}\": {}", shown(&path), reason(&error)))
                .hint("name another folder with -o")
        })?;
        let lock = TransferLockManager::acquire(&mut root)?;
        Ok(Self { root, lock })
    }
}

/// Makes the plan, with whatever is to be asked, and carries it out.
///
/// `options` learns what was decided, so that nothing is asked again after a reconnection.
pub fn accept(
    mut offered: Offered,
    output: &mut Output,
    options: &mut ReceiveOptions,
    (session, sender): (uuid::Uuid, String),
    ui: &Ui,
    sink: Sink<'_>,
) -> Result<Summary> {
    let Output { root, lock } = output;
    let remembered = offered.meanwhile(|manifest| lock.load(root, manifest));
    if !remembered.is_empty() && !options.fresh && !options.resume && ui.asks() {
        match offered.meanwhile(|_| ui.ask_resume()) {
            Ok(resume) => options.fresh = !resume,
            Err(error) => return Err(offered.refuse(Reason::Declined, error)),
        }
    }
    let mut survey = offered.meanwhile(|manifest| Survey::new(manifest, &remembered, root));
    if options.fresh || options.checksum {
        survey.doubt_files(offered.manifest(), &remembered);
    }
    let policy = match decide(&mut offered, &survey, options, ui) {
        Ok(policy) => policy,
        Err((reason, error)) => return Err(offered.refuse(reason, error)),
    };
    let plan = offered.meanwhile(|manifest| {
        Plan::new(manifest, &survey, policy, |path| root.look(path) != Found::Nothing)
    });
    let trust = match (options.fresh, options.checksum) {
        (true, _) => resume::Trust::Nothing,
        (false, true) => resume::Trust::Content,
        (false, false) => resume::Trust::Parts,
    };
    let resume = offered
        .meanwhile(|manifest| resume::find(manifest, &survey, &plan, &remembered, root, trust));
    if !remembered.is_empty() {
        let (completed, partial, fresh) = progress_of(&offered, &plan, &resume);
        ui.note(&format!(
            "Resuming transfer: {completed} completed, {partial} partial, {fresh} fresh files"
        ));
    }
    if let Err((reason, error)) = check_space(&offered, &plan, &resume, root) {
        return Err(offered.refuse(reason, error));
    }
    // After a reconnection what was decided stays so, and what was sent anew is not sent again.
    options.on_conflict = Some(Conflict::Go(policy));
    (options.fresh, options.resume) = (false, true);
    let totals = offered.manifest().totals();
    let head = Head { session, sender, files: totals.files, bytes: totals.bytes };
    let made = plan.made(offered.manifest(), &remembered);
    let merge = policy != OnConflict::Overwrite;
    let older = remembered.files;
    offered.accept(root, Start { plan, resume, made, merge, older, lock, head }, sink)
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

type Refusal = (Reason, Error);

/// What happens to existing files: as told, as asked, or both are kept.
fn decide(
    offered: &mut Offered,
    survey: &Survey,
    options: &ReceiveOptions,
    ui: &Ui,
) -> Result<OnConflict, Refusal> {
    let asked = match options.on_conflict {
        Some(Conflict::Go(policy)) => return Ok(policy),
        Some(Conflict::Fail) => false,
        None => true,
    };
    let conflicts: Vec<&Entry> = survey.conflicts(offered.manifest()).take(5).collect();
    if conflicts.is_empty() {
        return Ok(OnConflict::Rename);
    }
    let count = survey.conflicts(offered.manifest()).count() as u64;
    let names: Vec<String> = conflicts.iter().map(|entry| entry.path.to_string()).collect();
    if !asked {
        let name = names.first().cloned().unwrap_or_default();
        let message = format!("names are taken already: {count}, such as \"{name}\"");
        let error = Error::new(Exit::Declined, message)
            .hint("nothing was changed; --on-conflict rename keeps both");
        return Err((Reason::Conflict { count }, error));
    }
    if !ui.asks() {
        ui.note(&format!(
            "nothing is asked: names that are taken: {count}; the new files get others"
        ));
        return Ok(OnConflict::Rename);
    }
    match offered.meanwhile(|_| ui.ask_conflict(count, &names)) {
        Ok(Choice::Rename) => Ok(OnConflict::Rename),
        Ok(Choice::Overwrite) => Ok(OnConflict::Overwrite),
        Ok(Choice::Skip) => Ok(OnConflict::Skip),
        Ok(Choice::Cancel) => Err((Reason::Declined, Error::new(Exit::Declined, "you said no"))),
        Err(error) => Err((Reason::Declined, error)),
    }
}

/// Refuses, before the first byte, what has no room.
fn check_space(
    offered: &Offered,
    plan: &Plan,
    resume: &BTreeMap<u32, Resume>,
    root: &Root,
) -> Result<(), Refusal> {
    let entries = offered.manifest().entries().iter().zip(plan.actions());
    let wanted =
        entries.filter(|(_, (_, action))| matches!(action, Action::Create | Action::Replace));
    let needed = wanted.map(|(entry, (index, _))| {
        entry.size() - resume.get(&index).map_or(0, |resume| resume.offset(entry))
    });
    let needed = needed.sum();
    // Where the system does not tell, a full disk shows later.
    let free = root.free_space().unwrap_or(u64::MAX);
    if needed <= free {
        return Ok(());
    }
    let error = Error::failure(format!(
        "not enough room in \"{}\": {} are needed, {} are free",
        shown(&root.path().to_string_lossy()),
        bytes(needed),
        bytes(free)
    ));
    Err((Reason::NoSpace { needed, free }, error.hint("make room, or name another folder with -o")))
}
