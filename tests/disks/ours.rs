//! What is ours is proved, not guessed; what is the user's, or a colleague's, stays.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use fuser::Errno;

use crate::faulty::{Faults, Numbers};
use crate::proxy::Proxy;
use crate::stage::{
    Holds, Stopped, all, as_nobody, break_off, contents, ensure_code, ensure_contents,
    ensure_ended, ensure_holds, faulty, make_tree, names, send, wait_until,
};
use crate::util::process::{Process, Sender, receiving, run};
use crate::util::root::as_root;
use crate::util::skip;
use crate::util::tree::{Scratch, chmod, noise, touch, write};

const LOCK: &str = ".transfer_lock.json";
const USERS: &[u8] = b"the user's own";

/// A `.part` of the user's own that appears between two runs, before its file was begun, while it
/// was under way, or when it was done.
#[test]
fn a_part_of_the_user_between_two_runs() -> Result<()> {
    let (small, big, film) = (noise(5000, 1), noise(3_000_000, 2), noise(400_000, 3));
    for part in ["a small.part", "big.part", "film.part", "film.1.part"] {
        let (from, into) = (Scratch::new()?, Scratch::new()?);
        let root = from.join("tree");
        for (name, content) in [("a small", &small), ("big", &big), ("film", &film)] {
            write(&root.join(name), content)?;
        }
        let sender = break_off(&[&root], into.path(), &[], 1_500_000)?;
        let own = into.join("tree").join(part);
        let ours = fs::read(&own).ok();
        let _ = fs::remove_file(&own);
        // As long as ours was: a guess by size would be wrong.
        let content = ours.map_or(USERS.to_vec(), |ours| noise(ours.len(), 99));
        write(&own, &content)?;
        let received = run(receiving(&sender.ticket, into.path(), &[]))?;
        ensure_ended(&sender.end()?, &received, 0).context(part)?;
        ensure!(fs::read(&own).is_ok_and(|found| found == content), "{part} is gone or changed");
        ensure_contents(into.path(), &[&small, &big, &film, &content]).context(part)?;
    }
    Ok(())
}

/// A file that its user writes while the transfer runs: what was agreed to was another one.
#[test]
fn a_file_that_is_rewritten_meanwhile() -> Result<()> {
    let policies: [&[&str]; 3] = [&[], &["--on-conflict", "overwrite"], &["--checksum"]];
    all(
        &policies,
        |row| format!("{row:?}"),
        |options| {
            let (big, sent) = (noise(3_000_000, 2), noise(5000, 3));
            let (from, into) = (Scratch::new()?, Scratch::new()?);
            let root = from.join("tree");
            write(&root.join("big"), &big)?;
            write(&root.join("thesis"), &sent)?;
            let thesis = into.join("tree/thesis");
            write(&thesis, "an older one")?;
            let stopped = Stopped::at(1_500_000, &[&root], into.path(), options)?;
            let other = into.join("tree/.thesis.swp");
            write(&other, USERS)?;
            fs::rename(other, &thesis)?;
            let (sender, received) = stopped.go_on()?;
            ensure_ended(&sender, &received, 0)?;
            let found = fs::read(&thesis)?;
            ensure!(found == USERS, "what the user wrote was replaced: {}", received.stderr);
            ensure_contents(into.path(), &[&big, &sent, USERS])
        },
    )
}

/// Two receivers, one in a folder of the other's.
#[test]
fn receivers_in_nested_folders() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let (big, outer_film, inner_film) =
        (noise(3_000_000, 1), noise(3_000_000, 2), noise(2_500_000, 3));
    let (sub, film) = (from.join("outer/sub"), from.join("inner/film"));
    write(&sub.join("a big"), &big)?;
    write(&sub.join("film"), &outer_film)?;
    write(&film, &inner_film)?;
    // The outer one is killed before it comes to the film, which its lock lists.
    let outer = break_off(&[&sub], into.path(), &[], 1_500_000)?;
    let inner = Sender::pod(&[&film], &[])?;
    let proxy = Proxy::start(&inner, 1_200_000)?;
    let receiver = Process::start(receiving(&proxy.ticket, &into.join("sub"), &[]))?;
    proxy.wait_stalled()?;
    let received = run(receiving(&outer.ticket, into.path(), &[]))?;
    ensure_ended(&outer.end()?, &received, 0).context("the outer")?;
    proxy.resume();
    let received = receiver.end()?;
    ensure_ended(&inner.end()?, &received, 0).context("the inner")?;
    ensure_contents(into.path(), &[&big, &outer_film, &inner_film])
}

/// A finished file that is called like the unfinished one of a file that is renamed.
#[test]
fn a_finished_file_called_part() -> Result<()> {
    let (part, foo) = (noise(50_000, 1), noise(3_000_000, 3));
    for offered_again in [true, false] {
        let (from, into) = (Scratch::new()?, Scratch::new()?);
        let (finished, unfinished) = (from.join("foo (1).part"), from.join("foo"));
        write(&finished, &part)?;
        write(&unfinished, &foo)?;
        let (sent, received) = send(&[&finished], into.path(), &[])?;
        ensure_ended(&sent, &received, 0)?;
        let all = [&*unfinished, &finished];
        let paths = if offered_again { &all[..] } else { &all[..1] };
        let sender = break_off(paths, into.path(), &[], 1_500_000)?;
        // What leads to `foo (1)`.
        write(&into.join("foo"), USERS)?;
        let received = run(receiving(&sender.ticket, into.path(), &[]))?;
        ensure_ended(&sender.end()?, &received, 0)?;
        let found = fs::read(into.join("foo (1).part")).ok();
        ensure!(found.as_ref() == Some(&part), "again: {offered_again}: it was taken");
        ensure_contents(into.path(), &[&part, &foo, USERS])?;
    }
    Ok(())
}

/// Whoever may write in the folder puts another file in place of an unfinished one: what gets the
/// final name is what was verified, or nothing does.
#[test]
fn an_unfinished_file_is_swapped() -> Result<()> {
    type Swap = fn(&Path) -> Result<()>;
    let evil = |path: &Path| -> Result<()> {
        let other = path.with_extension("evil");
        write(&other, noise(3_000_000, 66))?;
        Ok(fs::rename(other, path)?)
    };
    let rows: [(&str, Swap); 3] = [
        ("another file", evil),
        ("a link", |path| {
            let elsewhere = path.with_extension("elsewhere");
            write(&elsewhere, noise(3_000_000, 66))?;
            fs::remove_file(path)?;
            Ok(std::os::unix::fs::symlink("film.elsewhere", path)?)
        }),
        ("nothing", |path| Ok(fs::remove_file(path)?)),
    ];
    for (name, swap) in rows {
        let (from, into) = (Scratch::new()?, Scratch::new()?);
        let film = from.join("film");
        write(&film, noise(3_000_000, 1))?;
        let stopped = Stopped::at(1_500_000, &[&film], into.path(), &[])?;
        let part = into.join("film.part");
        wait_until(|| part.exists())?;
        swap(&part)?;
        let (sent, received) = stopped.go_on()?;
        let arrived = fs::symlink_metadata(into.join("film")).is_ok();
        if arrived {
            let whole = fs::read(into.join("film"))? == fs::read(&film)?;
            ensure!(whole, "{name}: unverified content got the name");
            ensure!(!into.join("film").is_symlink(), "{name}: a link got the name");
        }
        let code = if arrived { 0 } else { 3 };
        ensure_ended(&sent, &received, code).context(name)?;
    }
    Ok(())
}

/// A lock that came with a tree, with the right inode in it, is nobody's.
#[test]
fn a_lock_from_a_sender() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let lock = into.join("pub").join(LOCK);
    let root = from.join("private");
    write(&root.join("notes"), "of the sender")?;
    write(&from.join("film"), noise(2000, 1))?;
    chmod(&root, 0o777)?;
    let (private, film) = (into.join("pub/private"), into.join("pub/film"));
    write(&private.join("mine"), USERS)?;
    chmod(&private, 0o700)?;
    write(&film, USERS)?;
    touch(&film, 1_500_000_000, 0)?;
    write(&into.join("pub/film.part"), "mine too")?;
    write(&lock, "")?;
    let inode = fs::metadata(&lock)?.ino();
    let hash = "0".repeat(64);
    let time = "1500000000000000000";
    fs::write(
        &lock,
        format!(
            r#"{{"version":"1.0","inode":{inode},"session_id":"a894e84c-ee65-3fd5-7384-03e873a67c2f","timestamp":"2026-11-20T13:15:32Z","sender_ip":"127.0.0.1","total_files":1,"total_size":14,"files":{{"film":{{"status":"completed","size":{},"transferred_bytes":{},"original_hash":"{hash}","mtime":{time}}}}},"renamed":{{}},"made":{{"private":true}}}}"#,
            USERS.len(),
            USERS.len(),
        ),
    )?;
    let paths = [&*root, &from.join("film")];
    let (sent, received) = send(&paths, &into.join("pub"), &[])?;
    ensure_ended(&sent, &received, 0)?;
    let mode = fs::metadata(&private)?.mode() & 0o7777;
    ensure!(mode == 0o700, "the private folder has mode {mode:o}");
    ensure!(fs::read(&film)? == USERS, "the user's file was replaced");
    ensure!(fs::read(into.join("pub/film.part"))? == b"mine too", "the user's part was taken");
    Ok(())
}

/// The name of the lock is nobody's at any depth, in whatever letters.
#[test]
fn the_name_of_the_lock_in_a_folder() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    for name in [".transfer_lock.json", "d/.transfer_lock.json", "d/e/.Transfer_Lock.JSON"] {
        write(&root.join(name), format!("content of {name}"))?;
    }
    let (sent, received) = send(&[&root], into.path(), &[])?;
    ensure_ended(&sent, &received, 0)?;
    let files = contents(into.path())?;
    ensure!(files.len() == 3, "{:?}", files.keys());
    for path in files.keys() {
        let name = path.to_string_lossy().to_lowercase();
        ensure!(!name.ends_with(".transfer_lock.json"), "{path:?} has arrived");
    }
    Ok(())
}

/// Where numbers of files and owners are not stable: begun anew or gone on with, and nothing of ours
/// is left.
#[test]
fn nothing_to_know_ones_own_by() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    let flawless = Faults::default();
    let not_stable = Faults { inode_numbers: Numbers::PerMount, ..flawless };
    let rows = [
        ("other numbers after a remount", not_stable),
        ("other numbers each time", Faults { inode_numbers: Numbers::PerLook, ..flawless }),
        ("another owner", Faults { every_owner: Some(65_534), ..flawless }),
        (
            "none of it, and no locks",
            Faults {
                every_owner: Some(65_534),
                flock: Some(Errno::EOPNOTSUPP),
                hard_link: Some(Errno::EPERM),
                rename_flags: Some(Errno::EINVAL),
                ..not_stable
            },
        ),
    ];
    all(
        &rows,
        |(name, _)| (*name).into(),
        |(_, faults)| {
            for conflicts in [false, true] {
                let Some(mut disk) = faulty(*faults)? else { return Ok(()) };
                let from = Scratch::new()?;
                let root = from.join("tree");
                make_tree(&root)?;
                let mut sender = break_off(&[&root], disk.path(), &[], 1_500_000)?;
                if conflicts {
                    sender.process.kill()?;
                    disk.again(*faults)?;
                    sender = break_off(&[&root], disk.path(), &[], 1_500_000)?;
                }
                disk.again(*faults)?;
                let received = run(receiving(&sender.ticket, disk.path(), &[]))?;
                ensure_ended(&sender.end()?, &received, 0)?;
                ensure_holds(disk.path(), &root, Holds::ALL)?;
            }
            Ok(())
        },
    )
}

/// A file that has other names elsewhere, or is a colleague's, is not changed because it is the
/// same as one that is sent.
#[test]
fn an_identical_file_of_somebody_else() -> Result<()> {
    let (from, into, beside) = (Scratch::new()?, Scratch::new()?, Scratch::new()?);
    let film = from.join("film");
    write(&film, noise(5000, 1))?;
    chmod(&film, 0o666)?;
    for (name, options) in [("same time", &[][..]), ("compared", &["--checksum"])] {
        let here = into.join("film");
        let _ = (fs::remove_file(&here), fs::remove_file(beside.join("film")));
        write(&here, noise(5000, 1))?;
        chmod(&here, 0o600)?;
        filetime::set_file_mtime(&here, fs::metadata(&film)?.modified()?.into())?;
        fs::hard_link(&here, beside.join("film"))?;
        let (sent, received) = send(&[&film], into.path(), options)?;
        ensure_ended(&sent, &received, 0)?;
        let mode = fs::metadata(beside.join("film"))?.mode() & 0o7777;
        ensure!(mode == 0o600, "{name}: its other name has mode {mode:o}");
        ensure!(names(into.path())?.len() == 1, "{name}: {:?}", names(into.path())?);
    }
    Ok(())
}

/// The same, of a colleague.
#[test]
fn an_identical_file_of_a_colleague() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        skip("only root can be somebody else");
        return Ok(());
    }
    let (from, home) = (Scratch::new()?, Scratch::new()?);
    let film = from.join("film");
    write(&film, noise(5000, 1))?;
    chmod(&film, 0o644)?;
    for touched in [false, true] {
        let into = Scratch::new()?;
        chmod(into.path(), 0o777)?;
        let here = into.join("film");
        write(&here, noise(5000, 1))?;
        chmod(&here, 0o444)?;
        chown(&here, Some(1234), Some(1234))?;
        let time = if touched { 1_000_000_000 } else { 1_600_000_000 };
        touch(&here, time, 0)?;
        touch(&film, 1_600_000_000, 0)?;
        let sender = Sender::pod(&[&film], &[])?;
        let received = run(as_nobody(receiving(&sender.ticket, into.path(), &[]), home.path())?)?;
        ensure_code("receiver", &received, 0)?;
        ensure_code("sender", &sender.end()?, 0)?;
        ensure!(names(into.path())?.len() == 1, "{:?}", names(into.path())?);
        let now = fs::metadata(&here)?;
        ensure!(now.uid() == 1234 && now.mode() & 0o7777 == 0o444, "it was replaced");
    }
    Ok(())
}
