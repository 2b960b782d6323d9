//! Whether a folder can be received into: what its file system can do is tried out in a folder of
//! our own in it, which is gone afterwards.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use crate::bounds::MAX_NAME;
use crate::error::{Error, bytes, reason, shown_os};
use crate::files::folder::{Found, Replace};
use crate::files::own::PART;
use crate::files::root::Root;
use crate::receive::output::check_output;
use crate::ui::Finding;

/// Less free space than this is worth a word.
const LITTLE: u64 = 1_000_000_000;

/// All there is to say of a folder, which need not exist.
pub fn look(output: &Path) -> Vec<Finding> {
    match try_out(output) {
        Ok(found) => found,
        Err(error) => vec![(&error).into()],
    }
}

fn try_out(output: &Path) -> Result<Vec<Finding>, Error> {
    let at = check_output(output)?;
    let name = shown_os(at);
    let failed = |what: &str, error: &io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => "name another folder with -o, or change whose it is",
            io::ErrorKind::StorageFull => "make room, or name another folder with -o",
            _ => "name another folder with -o",
        };
        Error::failure(format!("cannot {what} \"{}\": {}", name, reason(error))).hint(hint)
    };
    let exists = output.is_dir();
    let root = Root::open(at).map_err(|error| failed("open", &error))?;
    let mut found = vec![];
    let trial = Trial::new(&root).map_err(|error| failed("write into", &error))?;
    let free = root.room().bytes;
    let room = free.map_or_else(String::new, |free| format!(", {} free", bytes(free)));
    let what = match exists {
        true => format!("it can be written to{room}"),
        false => format!("it will be made; \"{}\" can be written to{room}", name),
    };
    found.push(match free {
        Some(free) if free < LITTLE => Finding::warning(what)
            .advice("if that is too little, make room or name another folder with -o"),
        _ => Finding::fine(what),
    });
    found.extend(trial.file_system().map_err(|error| failed("write into", &error))?);
    // A large tree takes a while, and whoever has not the patience is to find nothing of ours.
    drop(trial);
    if exists {
        found.extend(left_behind(&root));
        found.extend(stale(at, SystemTime::now()));
    }
    Ok(found)
}

/// What earlier or other transfers have to do with this folder.
fn left_behind(root: &Root) -> Option<Finding> {
    // Elsewhere taking the lock makes a file.
    if cfg!(unix) && root.guard().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
        return Some(
            Finding::warning("another transfer is receiving into it at the moment")
                .advice("wait until it ends, or receive into another folder with -o"),
        );
    }
    let Found::File(lock) = root.top().look(".transfer_lock.json") else { return None };
    let at = humantime::format_rfc3339_seconds(crate::files::times::system_time(lock.mtime.max(0)));
    let finding = Finding::fine(format!("an interrupted transfer of {at} can go on here"));
    Some(finding.advice("with the same ticket, or with a new one if the sender has ended"))
}

/// Days after which nobody is likely to go on with an unfinished file.
const STALE: u64 = 30;
/// What is looked at of a tree, so that a large one takes no longer than a moment.
const LOOKED_AT: usize = 100_000;

/// Unfinished files that nothing has come of for long: whoever sent them has forgotten them.
fn stale(folder: &Path, now: SystemTime) -> Option<Finding> {
    let (mut count, mut size, mut first) = (0u64, 0u64, None);
    let (mut folders, mut left) = (vec![folder.to_owned()], LOOKED_AT);
    'walk: while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).into_iter().flatten().flatten() {
            let Some(fewer) = left.checked_sub(1) else { break 'walk };
            left = fewer;
            let Ok(found) = entry.metadata() else { continue };
            if found.is_dir() {
                folders.push(entry.path());
                continue;
            }
            let is_part = entry.file_name().as_encoded_bytes().ends_with(PART.as_bytes());
            let age = found.modified().ok().and_then(|it| now.duration_since(it).ok());
            if found.is_file() && is_part && age.is_some_and(|it| it.as_secs() > STALE * 86_400) {
                (count, size) = (count + 1, size.saturating_add(found.len()));
                first.get_or_insert(entry.path());
            }
        }
    }
    let first = first?;
    let finding = Finding::warning(format!(
        "unfinished files that nothing has come of for {STALE} days: {count}, {}, such as \"{}\"",
        bytes(size),
        shown_os(first.strip_prefix(folder).unwrap_or(&first))
    ));
    Some(finding.advice("remove them, if nobody is to go on with them"))
}

/// A folder of our own, removed with all that is in it.
struct Trial<'a> {
    root: &'a Root,
    name: String,
    /// Nothing once it is to be removed: Windows removes no folder that is open.
    inside: Option<Root>,
}

impl<'a> Trial<'a> {
    fn new(root: &'a Root) -> io::Result<Self> {
        let name = format!(".transfer_doctor.{}", std::process::id());
        root.top().create_folder(&name, 0o700)?;
        let mut trial = Self { root, name, inside: None };
        trial.inside = Some(Root::open(&root.path().join(&trial.name))?);
        Ok(trial)
    }

    /// What the file system lacks; one word if that is nothing.
    fn file_system(&self) -> io::Result<Vec<Finding>> {
        let Some(inside) = &self.inside else { return Ok(vec![]) };
        let folder = inside.top();
        folder.create_file("a")?.write_all(b"transfer doctor")?;
        let mut lacks = vec![];
        if folder.look("A") != Found::Nothing {
            lacks.push(
                Finding::warning("its file system takes \"a\" and \"A\" for one name")
                    .advice("of two files called so the second gets another name, which is listed"),
            );
        }
        if folder.create_file("x".repeat(MAX_NAME)).is_err() {
            lacks.push(
                Finding::warning("its file system has no names of 255 bytes")
                    .advice("files with too long names are listed, and do not arrive"),
            );
        }
        folder.create_file("b")?;
        let kept = folder.put("a", "b", Replace::Never);
        if !kept.is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
            lacks.push(
                Finding::problem("its file system lets a file be replaced by accident")
                    .advice("name another folder with -o"),
            );
        }
        folder.put("a", "c", Replace::Never)?;
        let (first, second) = (inside.guard(), inside.guard());
        if first.is_err() || second.is_ok() {
            lacks.push(
                Finding::warning("its file system has no locks")
                    .advice("take care that only one transfer at a time receives into it"),
            );
        }
        if lacks.is_empty() {
            lacks.push(Finding::fine(
                "its file system has what it takes: locks, safe renames, long names, upper and \
                 lower case",
            ));
        }
        Ok(lacks)
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        self.inside = None;
        // What cannot be removed is small, and says in its name where it comes from.
        let _ = fs::remove_dir_all(self.root.path().join(&self.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(output: &Path) -> Vec<String> {
        look(output).iter().map(|found| format!("{:?}: {}", found.mark, found.what)).collect()
    }

    fn names(folder: &Path) -> Vec<std::ffi::OsString> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn folders() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::write(at("file"), "").unwrap();
        for (folder, line) in [
            (at(""), "it can be written to"),
            (at("new/deep"), "it will be made; \""),
            (at("file"), "Problem: \""),
            (at("file/deep"), "Problem: \""),
        ] {
            let found = lines(&folder);
            assert!(found[0].contains(line), "{folder:?}: {found:?}");
        }
        assert_eq!(names(scratch.path()), ["file"], "nothing is left, and nothing is made");
    }

    #[test]
    fn what_nobody_went_on_with() {
        let scratch = tempfile::tempdir().unwrap();
        let make = |name: &str, days: u64| {
            let path = scratch.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, [0; 1000]).unwrap();
            let then = SystemTime::now() - std::time::Duration::from_secs(days * 86_400);
            fs::File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
        };
        let found = || lines(scratch.path()).into_iter().find(|line| line.contains("unfinished"));
        make("laptop/old", 300);
        make("laptop/young.part", 29);
        assert_eq!(found(), None);
        make("laptop/films/one.part", 31);
        make("phone/two.part", 400);
        let found = found().unwrap();
        assert!(found.contains("for 30 days: 2, 2.0 kB, such as \""), "{found}");
    }

    #[test]
    fn what_transfers_left() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path();
        let says = |part: &str| lines(folder).iter().any(|line| line.contains(part));
        assert!(!says("interrupted transfer"));
        fs::write(folder.join(".transfer_lock.json"), "{}").unwrap();
        assert!(says("Fine: an interrupted transfer of 20"));
        if cfg!(unix) {
            let root = Root::open(folder).unwrap();
            let guard = root.guard().unwrap();
            assert!(says("Warning: another transfer is receiving into it at the moment"));
            drop(guard);
            assert!(!says("another transfer"));
        }
        assert_eq!(names(folder), [".transfer_lock.json"]);
    }
}
