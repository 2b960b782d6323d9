//! From the offer to the plan: what is here already, what is in the way, whether there is room.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::intake::Start;
use super::lock::{Head, TransferLockManager};
use super::plan::{Action, OnConflict, Plan, Survey};
use super::resume::{self, Resume};
use super::stream::Offered;
use super::{Conflict, ReceiveOptions};
use crate::error::{Error, Exit, Result, bytes, reason, shown};
use crate::event::{Sink, Summary};
use crate::files::manifest::Manifest;
use crate::files::root::{Found, Root};
use crate::protocol::lanes;
use crate::protocol::message::Reason;
use crate::protocol::pages::HASH_LEN;
use crate::ui::{Choice, Clash, Target, Ui, said_no};

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
    let mut survey = offered.meanwhile(|manifest| Survey::new(manifest, &remembered, root));
    if options.fresh || options.checksum {
        survey.doubt_files(offered.manifest(), &remembered);
    }
    // A yes holds for what it was said to: a sender that comes back with something else is asked
    // about again.
    let id = ui.asks().then(|| fingerprint(offered.manifest()));
    let mut asks = options.taken != id;
    if asks {
        if options.taken.is_some() {
            ui.offered_to_take(offered.manifest());
        }
        ui.target(&target_of(&offered, &survey, root));
    }
    let interrupted = !remembered.is_empty() && !options.fresh;
    if interrupted && !options.resume && ui.asks() {
        match offered.meanwhile(|_| ui.ask_resume()) {
            // Whoever goes on with it has taken it before.
            Ok(true) => asks = false,
            Ok(false) => {
                options.fresh = true;
                survey.doubt_files(offered.manifest(), &remembered);
            }
            Err(error) => return Err(offered.refuse(Reason::Declined, error)),
        }
    }
    let policy = match decide(&mut offered, &survey, options, ui) {
        Ok((policy, Asked(asked))) => {
            // One of its answers was to take nothing.
            asks &= !asked;
            policy
        }
        Err((reason, error)) => return Err(offered.refuse(reason, error)),
    };
    let plan = offered.meanwhile(|manifest| {
        Plan::new(manifest, &survey, policy, |path| root.look(path) != Found::Nothing)
    });
    if asks {
        // What surely has no room is not asked about.
        let nothing_here = remembered.is_empty() && !options.checksum;
        let room = match nothing_here {
            true => check_space(&offered, &plan, &BTreeMap::new(), root),
            false => Ok(()),
        };
        let anew = interrupted && options.fresh;
        let answer = room.and_then(|()| {
            offered
                .meanwhile(|manifest| ui.ask_take(manifest, anew))
                .map_err(|error| (Reason::Declined, error))
        });
        if let Err((reason, error)) = answer {
            return Err(offered.refuse(reason, error));
        }
    }
    options.taken = id;
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
pub fn ask_stream(offered: &mut Offered, root: &Root, ui: &Ui) -> Result<()> {
    ui.target(&target_of(offered, &Survey::default(), root));
    offered.meanwhile(|manifest| ui.ask_take(manifest, false))
}

fn target_of<'a>(offered: &'a Offered, survey: &Survey, root: &'a Root) -> Target<'a> {
    let manifest = offered.manifest();
    let at_home = env::home_dir().and_then(|home| home.canonicalize().ok());
    let at_home = at_home.is_some_and(|home| root.path().canonicalize().is_ok_and(|it| it == home));
    let tops = manifest.tops().map(|top| &top.path);
    Target {
        folder: root.path(),
        free: root.free_space().ok(),
        here: survey.files_here(manifest),
        taken: survey.conflicts(manifest).count() as u64,
        hidden: tops.filter(|path| at_home && path.name().starts_with('.')).collect(),
    }
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

/// What happens to existing files: as told, as asked, or both are kept.
fn decide(
    offered: &mut Offered,
    survey: &Survey,
    options: &ReceiveOptions,
    ui: &Ui,
) -> Result<(OnConflict, Asked), Refusal> {
    let asked = match options.on_conflict {
        Some(Conflict::Go(policy)) => return Ok((policy, Asked(false))),
        Some(Conflict::Fail) => false,
        None => true,
    };
    let count = survey.conflicts(offered.manifest()).count() as u64;
    let Some((first, _)) = survey.conflicts(offered.manifest()).next() else {
        return Ok((OnConflict::Rename, Asked(false)));
    };
    // Whether some are no conflict, only the sender's hashes tell.
    let is_compared = options.checksum
        && survey
            .conflicts(offered.manifest())
            .any(|(entry, old)| old.is_some_and(|old| old.size == entry.size()));
    if !asked {
        let message = format!("names are taken already: {count}, such as \"{}\"", first.path);
        let error = Error::new(Exit::Declined, message)
            .hint("nothing was changed; --on-conflict rename keeps both");
        return Err((Reason::Conflict { count }, error));
    }
    if !ui.asks() {
        ui.note(&match is_compared {
            false => {
                format!("nothing is asked: names that are taken: {count}; the new files get others")
            }
            true => format!(
                "nothing is asked: names that are taken: {count}; new files get others, unless \
                 the content is the same"
            ),
        });
        return Ok((OnConflict::Rename, Asked(false)));
    }
    let answer = offered.meanwhile(|manifest| {
        let shown = survey.conflicts(manifest).take(SHOWN_CLASHES);
        let clashes: Vec<_> = shown
            .map(|(offered, old)| Clash { offered, here: old.map(|old| (old.size, old.mtime)) })
            .collect();
        ui.ask_conflict(count, &clashes, is_compared)
    });
    let policy = match answer {
        Ok(Choice::Rename) => OnConflict::Rename,
        Ok(Choice::Overwrite) => OnConflict::Overwrite,
        Ok(Choice::Newer) => OnConflict::Newer,
        Ok(Choice::Skip) => OnConflict::Skip,
        Ok(Choice::Cancel) => {
            return Err((Reason::Declined, said_no()));
        }
        Err(error) => return Err((Reason::Declined, error)),
    };
    Ok((policy, Asked(true)))
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
