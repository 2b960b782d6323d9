//! What of the named paths goes: patterns, globs, and the list of a dry run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::util::process::{Ended, Sender, receiving, run, send_into, transfer};
#[cfg(unix)]
use crate::util::root::obeying_modes;
#[cfg(unix)]
use crate::util::tree::chmod;
use crate::util::tree::{self, Scratch, names, write};

/// `transfer send --dry-run -y ARGUMENTS` in a folder.
pub fn dry_run(here: &Path, arguments: &[&str]) -> Command {
    let mut command = transfer();
    command.args(["send", "--dry-run", "-y"]).args(arguments).current_dir(here);
    command
}

/// The second column of a dry run: paths, folders with a slash at their end.
pub fn listed(ended: &Ended) -> Vec<&str> {
    ended.stdout.lines().filter_map(|line| line.split('\t').nth(1)).collect()
}

/// A photographer's project, beside another.
fn project() -> Result<Scratch> {
    let from = Scratch::new()?;
    for path in [
        "photos/a.jpg",
        "photos/b.PNG",
        "photos/raw/a.raw",
        "photos/raw/best/b.raw",
        "photos/sub/raw/c.raw",
        "photos/tmp",
        "notes/tmp/draft.log",
        "notes/today.txt",
        "notes/photos/raw/d.raw",
    ] {
        write(&from.join(path), path)?;
    }
    Ok(from)
}

#[test]
fn patterns_leave_out_what_they_name() -> Result<()> {
    let from = project()?;
    let ended = run(dry_run(from.path(), &["photos", "notes"]))?.expect(0)?;
    let all: BTreeSet<String> = listed(&ended).into_iter().map(str::to_owned).collect();
    assert_eq!(all.len(), 18, "{all:?}");
    // The patterns, and what stays behind: a name anywhere, a path, or all below one.
    let cases: &[(&[&str], &[&str])] = &[
        (&["*.raw"], &["a.raw", "b.raw", "c.raw", "d.raw"]),
        (&["*.png"], if cfg!(windows) { &["b.PNG"] } else { &[] }),
        (&["*.{PNG,jpg}"], &["a.jpg", "b.PNG"]),
        (&["raw"], &["photos/raw/", "photos/sub/raw/", "notes/photos/raw/"]),
        (&["tmp"], &["photos/tmp", "notes/tmp/"]),
        (&["tmp/"], &["notes/tmp/"]),
        (&["photos/raw"], &["photos/raw/"][..]),
        (&["./photos/raw/"], &["photos/raw/"]),
        (&["photos/raw/**"], &["photos/raw/a.raw", "photos/raw/best/"]),
        (&["**/raw/best"], &["photos/raw/best/"]),
        (&["/photos"], &["photos/"]),
        (&["/raw"], &[]),
        (&["notes", "*.jpg"], &["notes/", "photos/a.jpg"]),
    ];
    for (patterns, expected) in cases {
        let options = patterns.iter().flat_map(|pattern| ["-x", *pattern]);
        let arguments: Vec<&str> = options.chain(["photos", "notes"]).collect();
        let ended = run(dry_run(from.path(), &arguments))?.expect(0)?;
        let kept: BTreeSet<String> = listed(&ended).into_iter().map(str::to_owned).collect();
        let stays = |path: &String| {
            expected.iter().any(|out| match (out.contains('/'), out.ends_with('/')) {
                (false, _) => path.rsplit('/').next() == Some(out),
                // Only at the top: "photos/" is also in notes.
                (true, true) => path.starts_with(out),
                (true, false) => path == out,
            })
        };
        let expected: BTreeSet<String> = all.iter().filter(|path| !stays(path)).cloned().collect();
        assert_eq!(kept, expected, "{patterns:?}");
    }
    Ok(())
}

/// The real thing does what the dry run says.
#[test]
fn what_is_left_out_does_not_arrive_and_is_counted() -> Result<()> {
    let (from, into) = (project()?, Scratch::new()?);
    let options = ["-x", "raw/", "--exclude", "*.log", "-x", "*.nope"];
    let paths = [&*from.join("photos"), &*from.join("notes")];
    let (sent, _) = send_into(into.path(), &paths, &options, 0)?;
    sent.says("left out: 4 entries by --exclude\n")?;
    sent.says("sending 4 files, 5 folders, 49 B: notes/, photos/\n")?;
    let arrived: Vec<PathBuf> = tree::tree(into.path())?.into_keys().collect();
    let expected = [
        "",
        "notes",
        "notes/photos",
        "notes/tmp",
        "notes/today.txt",
        "photos",
        "photos/a.jpg",
        "photos/b.PNG",
        "photos/sub",
        "photos/tmp",
    ];
    assert_eq!(arrived, expected.map(PathBuf::from));
    Ok(())
}

/// Whoever mistypes a pattern wants to know before the files are gone, and once is enough.
#[test]
fn a_pattern_that_leaves_nothing_out_is_told_before_the_receiver_comes() -> Result<()> {
    let (from, into) = (project()?, Scratch::new()?);
    let options = ["-x", "*.jgp", "-x", "*.jpg", "-x", "build/"];
    let mut sender = Sender::pod(&[&from.join("photos")], &options)?;
    sender.process.wait_until_said("\"*.jgp\" and \"build/\" leave nothing out\n")?;
    run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
    let sent = sender.end()?.expect(0)?;
    assert_eq!(sent.stderr.matches("nothing out").count(), 1, "{sent:?}");

    let ended = run(dry_run(from.path(), &["-x", "raw/best", "photos"]))?.expect(0)?;
    ended.says(
        "\"raw/best\" leaves nothing out; a pattern with \"/\" means the path as it arrives, \
         from the first name on\n",
    )
}

/// What stays behind on purpose is no loss: neither its name nor what is in it is complained of.
#[test]
#[cfg(unix)]
fn what_cannot_be_sent_can_be_excluded() -> Result<()> {
    let from = Scratch::new()?;
    write(&from.join("t/file"), "x")?;
    write(&from.join("t/line\nbreak"), "x")?;
    write(&from.join("t/secret/file"), "x")?;
    std::os::unix::fs::symlink("/etc/passwd", from.join("t/link"))?;
    std::os::unix::fs::symlink("nowhere", from.join("t/dangling"))?;
    chmod(&from.join("t/secret"), 0)?;
    let excluded = ["-x", "line*", "-x", "secret", "-x", "link", "-x", "dangling"];
    for follow in [&[][..], &["--follow-symlinks"]] {
        let arguments = [&excluded[..], follow, &["t"]].concat();
        let ended = run(dry_run(from.path(), &arguments))?.expect(0)?;
        assert_eq!(listed(&ended), ["t/", "t/file"]);
    }
    Ok(())
}

/// Patterns that no shell has expanded, and names that only look like one.
#[test]
fn globs_are_expanded_unless_the_name_exists() -> Result<()> {
    let from = project()?;
    write(&from.join(".hidden.txt"), "x")?;
    write(&from.join("x.txt"), "x")?;
    if cfg!(unix) {
        write(&from.join("a*b"), "x")?;
        write(&from.join("aXb"), "x")?;
        let ended = run(dry_run(from.path(), &["a*b"]))?.expect(0)?;
        assert_eq!(ended.stdout, "1\ta*b\n");
    }
    let cases: &[(&[&str], &[&str])] = &[
        (&["*.txt"], &["x.txt"]),
        (&[".*.txt", "*.txt"], &[".hidden.txt", "x.txt"]),
        (&["photos/*.{jpg,PNG}"], &["a.jpg", "b.PNG"]),
        (&["**/best"], &["best/", "best/b.raw"]),
        // Named twice is sent once.
        (&["x.txt", "./x*", "?.txt"], &["x.txt"]),
        (&["n*", "-x", "photos", "-x", "tmp"], &["notes/", "notes/today.txt"]),
    ];
    for (arguments, expected) in cases {
        let ended = run(dry_run(from.path(), arguments))?.expect(0)?;
        assert_eq!(listed(&ended), *expected, "{arguments:?}");
    }
    let ended = run(dry_run(from.path(), &["x.txt", "*.jgp"]))?.expect(2)?;
    let told = "error: nothing matches \"*.jgp\"\n  check the pattern, and the folder you are in\n";
    assert_eq!((&*ended.stdout, &*ended.stderr), ("", told));
    // Two folders deep one name comes twice, and that is told before anything is sent.
    let ended = run(dry_run(from.path(), &["**/raw"]))?.expect(2)?;
    ended.says("would both arrive as \"raw\"")
}

/// Sizes, tabs, slashes, arrows: for scripts. The sum and the rest: for people.
#[test]
fn a_dry_run_lists_what_would_go() -> Result<()> {
    let from = project()?;
    write(&from.join("photos/node_modules/x"), "x")?;
    write(&from.join("photos/turned\u{202e}"), "x")?;
    #[cfg(unix)]
    std::os::unix::fs::symlink("a.jpg", from.join("photos/link"))?;
    let link = if cfg!(unix) { "0\tphotos/link\t-> a.jpg\n" } else { "" };
    let options = ["--exclude-dev", "-x", "raw", "-x", "sub", "photos"];
    let ended = run(dry_run(from.path(), &options))?.expect(0)?;
    assert_eq!(
        ended.stdout,
        format!(
            "0\tphotos/\n12\tphotos/a.jpg\n12\tphotos/b.PNG\n{link}10\tphotos/tmp\n\
             1\tphotos/turned\u{202e}\n"
        )
    );
    let links = if cfg!(unix) { ", 1 link" } else { "" };
    let told = format!(
        "left out: 2 entries by --exclude, 1 developer folder (photos/node_modules)\n\
         would send 4 files, 1 folder{links}, 35 B: photos/\n"
    );
    assert_eq!(ended.stderr, told);
    let ended = run(dry_run(from.path(), &[&options[..], &["-q"]].concat()))?.expect(0)?;
    assert_eq!(ended.stderr, "");
    ensure!(!ended.stdout.is_empty());
    Ok(())
}

#[test]
#[cfg(unix)]
fn a_dry_run_ends_as_sending_would() -> Result<()> {
    let from = Scratch::new()?;
    write(&from.join("t/file"), "x")?;
    std::os::unix::fs::symlink("/etc/passwd", from.join("t/link"))?;
    let ended = run(dry_run(from.path(), &["t"]))?.expect(3)?;
    ended.says("warning: cannot be sent: 1 thing\n  t/link: it points out of the tree\n")?;
    assert_eq!(listed(&ended), ["t/", "t/file"]);
    fs::remove_file(from.join("t/link"))?;
    let Some(()) = obeying_modes()? else { return Ok(()) };
    write(&from.join("t/closed"), "x")?;
    chmod(&from.join("t/closed"), 0)?;
    let ended = run(dry_run(from.path(), &["t"]))?.expect(3)?;
    ended.says("  t/closed: the sender may not read it\n")?;
    ended.says("would send 1 file, 1 folder, 1 B: t/\n")?;
    assert_eq!(listed(&ended), ["t/", "t/file"]);
    Ok(())
}

/// The list is that of the moment when the receiver comes, not when the ticket appeared.
#[test]
fn what_is_added_while_the_receiver_is_awaited_arrives() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    write(&from.join("t/early"), "x")?;
    let sender = Sender::pod(&[&from.join("t")], &[])?;
    // A list counts as fresh for 2 s.
    sleep(Duration::from_millis(2500));
    write(&from.join("t/late"), "x")?;
    write(&from.join("t/early"), "has grown")?;
    run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    assert_eq!(names(&into.join("t"))?, ["early", "late"].map(PathBuf::from).into());
    assert_eq!(fs::read_to_string(into.join("t/early"))?, "has grown");
    Ok(())
}
