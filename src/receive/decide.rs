//! From the offer to the plan: what is here already, what is in the way, whether there is room.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::assembler::Start;
use super::consent::Policy;
use super::files::Offered;
use super::lock::{Head, TransferLockManager};
use super::plan::{Action, OnConflict, Plan, Survey};
use super::resume::{self, Resume};
use super::single::stream_name;
use super::{Conflict, ReceiveOptions};
use crate::error::{Error, Exit, Result, bytes, reason, shown};
use crate::event::{Sink, Summary};
use crate::files::manifest::Manifest;
use crate::files::path::RelPath;
use crate::files::root::Root;
use crate::protocol::lanes;
use crate::protocol::message::Reason;
use crate::protocol::pages::HASH_LEN;
use crate::ui::{Choice, Clash, Target, Ui, said_no};

/// The output folder, and the right to write into it.
pub struct Output {
    pub(super) root: Root,
    lock: TransferLockManager,
    /// What was decided about names that are taken.
    policy: Option<Policy>,
}

impl Output {
    /// Opens the folder, making it if it is missing, finds out whether it can be written to, and
    /// keeps other receivers out of it.
    pub fn open(path: &Path, flushes: bool) -> Result<Self> {
        let mut root = Root::open(path).map_err(|error| {
            let path = path.to_string_lossy();
            Error::failure(format!("cannot use \"{}\": {}", shown(&path), reason(&error)))
                .hint("name another folder with -o")
        })?;
        if !flushes {
            root.flush_never();
        }
        let lock = TransferLockManager::acquire(&mut root)?;
        Ok(Self { root, lock, policy: None })
    }
}

/// Makes the plan, with whatever is to be asked, and carries it out.
///
/// `options` learns what was decided, so that nothing is asked again after a reconnection.
pub fn accept(
    offered: Offered,
    output: &mut Output,
    options: &mut ReceiveOptions,
    (session, sender): (uuid::Uuid, String),
    ui: &Ui,
    sink: Sink<'_>,
) -> Result<Summary> {
    let Output { root, lock, policy } = output;
    let policy = policy.get_or_insert_with(|| match options.on_conflict {
        Some(Conflict::Go(policy)) => policy.into(),
        Some(Conflict::Fail) | None => OnConflict::Rename.into(),
    });
    let remembered = resume::remember(lock, root, offered.manifest());
    let mut survey = Survey::new(offered.manifest(), &remembered, root);
    if options.fresh || options.checksum {
        survey.doubt_files(offered.manifest(), &remembered, options.fresh, root);
    }
    // A yes holds for what it was said to: a sender that comes back with something else is asked
    // about again.
    let id = ui.asks().then(|| fingerprint(offered.as_offered()));
    let mut asks = options.taken != id;
    if asks {
        if options.taken.is_some() {
            ui.offered_to_take(offered.as_offered());
        }
        ui.target(&target_of(&offered, &survey, root));
    }
    let interrupted = !remembered.is_empty() && !options.fresh;
    if interrupted && !options.resume && ui.asks() {
        match ui.ask_resume() {
            // Whoever goes on with it has taken it before.
            Ok(true) => asks = false,
            Ok(false) => {
                options.fresh = true;
                survey.doubt_files(offered.manifest(), &remembered, true, root);
            }
            Err(error) => return Err(offered.refuse(Reason::Declined, error)),
        }
    }
    match decide(&offered, &survey, options, policy, lock, ui) {
        // One of its answers was to take nothing.
        Ok(Asked(asked)) => asks &= !asked,
        Err((reason, error)) => return Err(offered.refuse(reason, error)),
    }
    let plan = Plan::new(offered.manifest(), &survey, policy, root);
    if asks {
        // What surely has no room is not asked about.
        let nothing_here = remembered.is_empty() && !options.checksum;
        let room = match nothing_here {
            true => check_space(&offered, &plan, &BTreeMap::new(), root),
            false => Ok(()),
        };
        let anew = interrupted && options.fresh;
        let answer = room.and_then(|()| {
            ui.ask_take(offered.as_offered(), anew).map_err(|error| (Reason::Declined, error))
        });
        if let Err((reason, error)) = answer {
            return Err(offered.refuse(reason, error));
        }
    }
    options.taken = id;
    let anew = options.fresh;
    let resume = resume::find(offered.manifest(), &plan, &remembered, root, anew);
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
    (options.fresh, options.resume) = (false, true);
    let totals = offered.manifest().totals();
    let head = Head { session, sender, files: totals.files, bytes: totals.bytes };
    let made = plan.made(offered.manifest(), &remembered);
    let merge = !policy.overwrites();
    let older = remembered.files;
    let threads = lanes::default_count();
    let each_file = ui.wants_files();
    let start = Start { plan, resume, made, merge, older, lock, head, threads, each_file };
    offered.accept(root, start, sink)
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
    let name = stream_name(offered.offer());
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
    path.name().starts_with('.')
}

/// Tells one list from another: names, kinds, sizes, where links lead.
fn fingerprint(manifest: &Manifest) -> [u8; HASH_LEN] {
    let mut hash = Sha256::new();
    for entry in manifest.entries() {
        // No path has a null byte in it.
        hash.update(format!("{}\0{:?}\0", entry.path.as_str(), entry.kind));
    }
    hash.finalize().into()
}

type Refusal = (Reason, Error);

/// Taken names that are shown before the question about them; the others are counted.
const SHOWN_CLASHES: usize = 5;

/// Whether a person was asked.
struct Asked(bool);

/// What happens to existing files: as told, as asked, or both are kept. Nothing is asked twice, and
/// no answer holds for what was not shown.
fn decide(
    offered: &Offered,
    survey: &Survey,
    options: &ReceiveOptions,
    policy: &mut Policy,
    lock: &TransferLockManager,
    ui: &Ui,
) -> Result<Asked, Refusal> {
    let asked = match options.on_conflict {
        Some(Conflict::Go(_)) => return Ok(Asked(false)),
        Some(Conflict::Fail) => false,
        None => true,
    };
    let open = |offered: &Offered, policy: &Policy| {
        let conflicts = survey.conflicts(offered.manifest());
        let open = conflicts
            .filter(|(index, entry)| policy.answer(&entry.path, survey.found(*index)).is_none());
        open.map(|(index, _)| index).collect::<Vec<_>>()
    };
    let open = open(offered, policy);
    let Some(first) = open.first().and_then(|index| offered.manifest().get(*index)) else {
        return Ok(Asked(false));
    };
    let count = open.len() as u64;
    if !asked {
        let message = format!("names are taken already: {count}, such as \"{}\"", first.path);
        let hint = match lock.is_restart() {
            true => "nothing was changed; --on-conflict rename keeps both",
            false => "what came before them is here; --on-conflict rename keeps both",
        };
        return Err((Reason::Conflict { count }, Error::new(Exit::Declined, message).hint(hint)));
    }
    if !ui.asks() {
        // Of others the content decides.
        let count = survey.certain_conflicts();
        if count > 0 {
            ui.note(&format!(
                "nothing is asked: names that are taken: {count}; the new files get others"
            ));
        }
        return Ok(Asked(false));
    }
    // Whether some are no conflict, only the sender's hashes tell.
    let is_compared = open.iter().any(|index| survey.is_compared(*index));
    let clash = |index: &u32| {
        let offered = offered.manifest().get(*index)?;
        let here = survey.clash(*index, offered).map(|old| (old.size, old.mtime));
        Some(Clash { offered, here })
    };
    let clashes: Vec<_> = open.iter().filter_map(clash).take(SHOWN_CLASHES).collect();
    let answer = match ui.ask_conflict(count, &clashes, is_compared) {
        Ok(Choice::Rename) => OnConflict::Rename,
        Ok(Choice::Overwrite) => OnConflict::Overwrite,
        Ok(Choice::Newer) => OnConflict::Newer,
        Ok(Choice::Skip) => OnConflict::Skip,
        Ok(Choice::Cancel) => {
            return Err((Reason::Declined, said_no()));
        }
        Err(error) => return Err((Reason::Declined, error)),
    };
    for index in open {
        if let Some(entry) = offered.manifest().get(index) {
            policy.agree(&entry.path, survey.found(index), answer);
        }
    }
    Ok(Asked(true))
}

/// Refuses, before the first byte, what has no room.
fn check_space(
    offered: &Offered,
    plan: &Plan,
    resume: &BTreeMap<u32, Resume>,
    root: &Root,
) -> Result<(), Refusal> {
    let room = root.room();
    let entries = offered.manifest().entries().iter().zip(plan.actions());
    // What this disk cannot have is counted too: it is not for a lack of room that it is left out.
    let wanted = entries.filter(|(_, (_, action))| {
        matches!(action, Action::Create | Action::Replace | Action::Impossible)
    });
    let (mut needed, mut files) = (0u64, 0u64);
    for (entry, (index, _)) in wanted {
        let here = resume.get(&index).map_or(0, |resume| resume.offset(entry));
        needed = needed.saturating_add(room.taken_by(entry.size()).saturating_sub(here));
        files += u64::from(here == 0);
    }
    let path = shown(&root.path().to_string_lossy()).into_owned();
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
