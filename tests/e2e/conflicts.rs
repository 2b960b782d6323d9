//! Something of the same name is there already: nothing is lost unless the user said so, and
//! nothing outside the folder is touched.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::util::process::{Ended, Sender, receiving, run, send_into};
#[cfg(unix)]
use crate::util::tree::chmod;
use crate::util::tree::{
    Scratch, Tree, ensure_arrived, ensure_same, names, noise, touch, tree, write,
};

/// Sends `path` and receives it with these options; both sides end with `code`.
fn send_with(into: &Path, path: &Path, options: &[&str], code: i32) -> Result<(Ended, Ended)> {
    let sender = Sender::pod(&[path], &[])?;
    let received = run(receiving(&sender.ticket, into, options))?.expect(code)?;
    Ok((sender.end()?.expect(code)?, received))
}

/// The files below a folder and what is in them, links not followed.
fn contents(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut contents = Vec::new();
    for path in tree(folder)?.keys() {
        let (at, shown) = (folder.join(path), path.to_string_lossy().replace('\\', "/"));
        if at.is_symlink() {
            contents.push((shown, format!("-> {}", fs::read_link(&at)?.to_string_lossy())));
        } else if at.is_file() {
            contents.push((shown, fs::read_to_string(&at)?));
        } else if names(&at)?.is_empty() {
            contents.push((shown + "/", String::new()));
        }
    }
    Ok(contents)
}

/// What is sent, and what is there already.
fn prepare(from: &Scratch, into: &Scratch) -> Result<()> {
    let (sent, here) = (from.join("t"), into.join("t"));
    for folder in [&sent, &here] {
        write(&folder.join("same.txt"), "the same")?;
        touch(&folder.join("same.txt"), 1_000_000_000, 5)?;
    }
    write(&sent.join("differs.txt"), "new")?;
    write(&here.join("differs.txt"), "old, and longer")?;
    write(&sent.join("older.tar.gz"), "equal")?;
    write(&here.join("older.tar.gz"), "equal")?;
    touch(&sent.join("older.tar.gz"), 1_000_000_000, 5)?;
    write(&sent.join("file"), "new")?;
    write(&here.join("file/in it"), "old")?;
    write(&sent.join("folder/sub/in it"), "new")?;
    write(&here.join("folder"), "old")?;
    fs::create_dir(sent.join("empty folder"))?;
    write(&here.join("empty folder"), "old")?;
    fs::create_dir(sent.join("merged"))?;
    write(&sent.join("merged/new"), "new")?;
    write(&here.join("merged/old"), "old")?;
    write(&sent.join("fresh"), "new")?;
    write(&here.join("kept"), "old")?;
    write(&here.join("differs (2).txt"), "old, of another time")?;
    Ok(())
}

/// What the folder holds afterwards, for each `--on-conflict`.
#[test]
fn every_policy_does_what_it_says() -> Result<()> {
    let both = [
        ("t/differs (1).txt", "new"),
        ("t/differs (2).txt", "old, of another time"),
        ("t/differs.txt", "old, and longer"),
        ("t/empty folder", "old"),
        ("t/empty folder (1)/", ""),
        ("t/file (1)", "new"),
        ("t/file/in it", "old"),
        ("t/folder", "old"),
        ("t/folder (1)/sub/in it", "new"),
        ("t/fresh", "new"),
        ("t/kept", "old"),
        ("t/merged/new", "new"),
        ("t/merged/old", "old"),
        ("t/older.tar.gz", "equal"),
        ("t/same.txt", "the same"),
    ];
    let old_only = [
        ("t/differs (2).txt", "old, of another time"),
        ("t/differs.txt", "old, and longer"),
        ("t/empty folder", "old"),
        ("t/file/in it", "old"),
        ("t/folder", "old"),
        ("t/fresh", "new"),
        ("t/kept", "old"),
        ("t/merged/new", "new"),
        ("t/merged/old", "old"),
        ("t/older.tar.gz", "equal"),
        ("t/same.txt", "the same"),
    ];
    let new_where_it_can = [
        ("t/differs (2).txt", "old, of another time"),
        ("t/differs.txt", "new"),
        ("t/empty folder", "old"),
        ("t/empty folder (1)/", ""),
        ("t/file (1)", "new"),
        ("t/file/in it", "old"),
        ("t/folder", "old"),
        ("t/folder (1)/sub/in it", "new"),
        ("t/fresh", "new"),
        ("t/kept", "old"),
        ("t/merged/new", "new"),
        ("t/merged/old", "old"),
        ("t/older.tar.gz", "equal"),
        ("t/same.txt", "the same"),
    ];
    // All that is there was made after what is sent.
    let newest = [
        ("t/differs (2).txt", "old, of another time"),
        ("t/differs.txt", "old, and longer"),
        ("t/empty folder", "old"),
        ("t/empty folder (1)/", ""),
        ("t/file (1)", "new"),
        ("t/file/in it", "old"),
        ("t/folder", "old"),
        ("t/folder (1)/sub/in it", "new"),
        ("t/fresh", "new"),
        ("t/kept", "old"),
        ("t/merged/new", "new"),
        ("t/merged/old", "old"),
        ("t/older.tar.gz", "equal"),
        ("t/same.txt", "the same"),
    ];
    let renamed = "t/differs.txt -> t/differs (1).txt\n";
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 6] = [
        (&[], &both, renamed),
        (&["--on-conflict", "ask"], &both, renamed),
        (&["--on-conflict", "rename"], &both, renamed),
        (&["--on-conflict", "skip"], &old_only, "skipped 7 existing files\n"),
        (&["--on-conflict", "overwrite"], &new_where_it_can, "t/file -> t/file (1)\n"),
        (&["--on-conflict", "newer"], &newest, "t/file -> t/file (1)\n"),
    ];
    for (options, expected, said) in cases {
        let (from, into) = (Scratch::new()?, Scratch::new()?);
        prepare(&from, &into)?;
        let (_, received) = send_with(into.path(), &from.join("t"), options, 0)?;
        received.says(said)?;
        let mut found = contents(into.path())?;
        found.sort();
        let expected =
            expected.iter().map(|(path, content)| (path.to_string(), content.to_string()));
        let mut expected: Vec<_> = expected.collect();
        expected.sort();
        assert_eq!(found, expected, "{options:?}");
    }
    Ok(())
}

/// Of two files the one that was changed last, whichever side has it.
#[test]
fn the_newer_of_two_files_is_kept() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let cases = [("a", 1, "here"), ("b", -1, "sent"), ("c", 0, "here, and longer")];
    for (name, later, kept) in cases {
        let here = if later == 0 { kept } else { "here" };
        write(&from.join("t").join(name), "sent")?;
        write(&into.join("t").join(name), here)?;
        touch(&from.join("t").join(name), 1_700_000_000, 0)?;
        touch(&into.join("t").join(name), 1_700_000_000 + later * 60, 0)?;
    }
    let options = ["--on-conflict", "newer"];
    send_with(into.path(), &from.join("t"), &options, 0)?;
    for (name, _, kept) in cases {
        assert_eq!(fs::read_to_string(into.join("t").join(name))?, kept, "{name}");
    }
    Ok(())
}

#[test]
fn fail_changes_nothing_and_tells_both_sides() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    prepare(&from, &into)?;
    let mut before = tree(into.path())?;
    let (sent, received) = send_with(into.path(), &from.join("t"), &["--on-conflict", "fail"], 7)?;
    received.says(
        "error: names are taken already: 5, such as \"t/differs.txt\"\n  \
         nothing was changed; --on-conflict rename keeps both\n",
    )?;
    sent.says(
        "error: the receiver was told to stop when names are taken, and 5 are\n  \
         run both sides again, the receiver with --on-conflict rename to keep both\n",
    )?;
    // Where a file keeps others out, the folder's own time changes as that comes and goes.
    let mut after = tree(into.path())?;
    if cfg!(windows) {
        before.remove(Path::new(""));
        after.remove(Path::new(""));
    }
    ensure_same(&before, &after)?;
    // Without a conflict it is no obstacle.
    send_with(&into.join("empty"), &from.join("t"), &["--on-conflict", "fail"], 0)?;
    ensure_arrived(&into.join("empty"), &[&from.join("t")])
}

/// A file that was only touched is none that gets another name, whatever the policy, and nobody says
/// that it would.
#[test]
fn a_touched_file_is_compared() -> Result<()> {
    for options in [&[][..], &["--checksum"], &["--on-conflict", "newer"]] {
        let (from, into) = (Scratch::new()?, Scratch::new()?);
        // What is here is older, so that the policy has it sent.
        for (folder, seconds) in [(&from, 1_700_000_060), (&into, 1_700_000_000)] {
            write(&folder.join("file"), "content")?;
            touch(&folder.join("file"), seconds, 0)?;
        }
        let (_, received) = send_with(into.path(), &from.join("file"), options, 0)?;
        ensure!(!received.stderr.contains("get others"), "{options:?}: {}", received.stderr);
        received.says("the file was already here\n")?;
        assert_eq!(names(into.path())?.len(), 1);
    }
    Ok(())
}

/// The same tree again: nothing is sent, and nothing gets a second name.
#[test]
fn what_is_there_already_is_not_sent_again() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    for number in 0..5 {
        write(&root.join(format!("{number}")), noise(50_000 * number, 2))?;
        write(&root.join(format!("sub/{number}")), noise(50 * number, 2))?;
    }
    fs::create_dir(root.join("empty"))?;
    #[cfg(unix)]
    std::os::unix::fs::symlink("sub/1", root.join("link"))?;
    send_into(into.path(), &[&root], &[], 0)?;
    for policy in ["rename", "skip", "overwrite", "fail"] {
        let (sent, received) = send_with(into.path(), &root, &["--on-conflict", policy], 0)?;
        received.says("all 10 files were already here\n")?;
        sent.says("all 10 files were already there\n")?;
        ensure_arrived(into.path(), &[&root]).context(policy)?;
    }
    // One new, one changed: only those cross.
    write(&root.join("new"), noise(1000, 3))?;
    write(&root.join("3"), noise(500, 3))?;
    let (_, received) = send_with(into.path(), &root, &["--on-conflict", "overwrite"], 0)?;
    received.says("received 11 files into ")?;
    received.says(" (of them here already: 9): 1.5 kB in ")?;
    ensure_arrived(into.path(), &[&root])
}

/// Exit code 0 means the same tree: what differs in its mode alone differs.
#[test]
#[cfg(unix)]
fn a_changed_mode_arrives() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    write(&root.join("script"), "#!/bin/sh\n")?;
    write(&root.join("sub/file"), "content")?;
    chmod(&root.join("script"), 0o644)?;
    chmod(&root.join("sub"), 0o755)?;
    send_into(into.path(), &[&root], &[], 0)?;
    chmod(&root.join("script"), 0o755)?;
    chmod(&root.join("sub"), 0o700)?;
    send_with(into.path(), &root, &["--on-conflict", "overwrite"], 0)?;
    ensure_arrived(into.path(), &[&root])
}

/// Everything at `outside` that a test must not touch, and links to it planted in the way.
#[cfg(unix)]
fn plant(from: &Scratch, into: &Scratch, outside: &Scratch) -> Result<Tree> {
    use std::os::unix::fs::symlink;
    write(&outside.join("secret"), "not yours")?;
    write(&outside.join("folder/secret"), "not yours")?;
    fs::create_dir(into.join("t"))?;
    // What is sent, and the link that is at its place.
    for (path, target) in [
        ("file to file", "secret"),
        ("file to nothing", "not there"),
        ("file to folder", "folder"),
        ("folder to folder/secret", "folder"),
        ("folder to file/in it", "secret"),
        ("folder to nothing/in it", "not there either"),
        ("file.part", "secret"),
    ] {
        write(&from.join("t").join(path), "sent")?;
        let top = path.split('/').next().unwrap_or_default();
        symlink(outside.join(target), into.join("t").join(top))?;
    }
    write(&from.join("t/name"), "sent")?;
    symlink(outside.join("secret"), into.join("t/name.part"))?;
    write(&from.join("t/hard link"), "sent")?;
    fs::hard_link(outside.join("secret"), into.join("t/hard link"))?;
    symlink("name", from.join("t/link"))?;
    symlink(outside.join("folder"), into.join("t/link"))?;
    tree(outside.path())
}

#[test]
#[cfg(unix)]
fn planted_links_lead_nobody_out() -> Result<()> {
    for policy in ["rename", "skip", "overwrite", "fail"] {
        let (from, into, outside) = (Scratch::new()?, Scratch::new()?, Scratch::new()?);
        let before = plant(&from, &into, &outside)?;
        let code = if policy == "fail" { 7 } else { 0 };
        send_with(into.path(), &from.join("t"), &["--on-conflict", policy], code)?;
        ensure_same(&before, &tree(outside.path())?).context(policy)?;
        let here = into.join("t");
        let is_link = |name: &str| here.join(name).is_symlink();
        for name in ["folder to folder", "folder to file", "folder to nothing", "name.part"] {
            ensure!(is_link(name), "{policy}: {name:?} is gone");
        }
        for name in ["file to file", "file to nothing", "file to folder", "file.part"] {
            ensure!(is_link(name) == (policy != "overwrite"), "{policy}: {name:?}");
            if policy == "overwrite" {
                assert_eq!(fs::read_to_string(here.join(name))?, "sent", "{name}");
            }
        }
        match policy {
            "rename" => {
                assert_eq!(fs::read_to_string(here.join("file to file (1)"))?, "sent");
                assert_eq!(fs::read_to_string(here.join("folder to folder (1)/secret"))?, "sent");
                assert_eq!(fs::read_link(here.join("link (1)"))?, Path::new("name"));
                assert_eq!(fs::read_to_string(here.join("name"))?, "sent");
            }
            "overwrite" => {
                assert_eq!(fs::read_to_string(here.join("hard link"))?, "sent");
                assert_eq!(fs::read_to_string(here.join("folder to folder (1)/secret"))?, "sent");
                assert_eq!(fs::read_link(here.join("link"))?, Path::new("name"));
                ensure!(!here.join("link (1)").is_symlink(), "left behind while replacing");
            }
            _ => {}
        }
    }
    Ok(())
}

/// The top folder itself is a link: it is no folder of the receiver's.
#[test]
#[cfg(unix)]
fn a_link_in_the_place_of_the_top_folder_is_not_entered() -> Result<()> {
    let (from, into, outside) = (Scratch::new()?, Scratch::new()?, Scratch::new()?);
    write(&from.join("t/file"), "sent")?;
    std::os::unix::fs::symlink(outside.path(), into.join("t"))?;
    send_with(into.path(), &from.join("t"), &["--on-conflict", "overwrite"], 0)?;
    assert!(names(outside.path())?.is_empty());
    assert_eq!(fs::read_to_string(into.join("t (1)/file"))?, "sent");
    Ok(())
}

/// The folder after `-o` may be a link: the user named it.
#[test]
#[cfg(unix)]
fn the_output_folder_may_be_a_link() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    write(&from.join("t/file"), "sent")?;
    fs::create_dir(into.join("real"))?;
    std::os::unix::fs::symlink("real", into.join("link"))?;
    send_with(&into.join("link"), &from.join("t"), &[], 0)?;
    ensure_arrived(&into.join("real"), &[&from.join("t")])
}
