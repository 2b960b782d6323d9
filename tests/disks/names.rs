//! Names: two that are one on this disk, those that are taken, those that are too long.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::faulty::{Faults, Folds};
use crate::proxy::Proxy;
use crate::stage::{
    Holds, Stopped, all, break_off, contents, ensure_code, ensure_contents, ensure_ended,
    ensure_holds, faulty, names, send, wait_until,
};
use crate::util::process::{Process, Sender, receiving, run};
use crate::util::root::as_root;
use crate::util::tree::{Scratch, noise, touch, write};

/// Entries of one offer, in a `tree`: name and content. All have the same time.
pub type Offer = &'static [(&'static str, &'static str)];

/// How the program's own names begin.
const LOCKS: &[u8] = b".transfer_lock.";

pub const PAIR: Offer = &[("README", "AAAA"), ("readme", "BBBB")];

fn pairs() -> [(Folds, Offer); 9] {
    [
        (Folds::Trailing, &[("notes", "1"), ("notes.", "2"), ("notes. ", "3")]),
        (Folds::Decomposed, &[("u\u{308}ber", "1"), ("\u{fc}ber", "2")]),
        (Folds::Case, PAIR),
        (Folds::Case, &[("README", "AAAA"), ("readme", "longer")]),
        (
            Folds::Case,
            &[("a/x", "1"), ("b", "2"), ("c/README", "3"), ("c/readme", "4"), ("d", "5")],
        ),
        (Folds::Case, &[("Docs/one", "1"), ("docs/two", "2")]),
        (Folds::Case, &[("Docs/same", "1"), ("docs/same", "2")]),
        (Folds::Case, &[("ÄRGER", "1"), ("ärger", "2"), ("Ärger", "3")]),
        (Folds::Accents, &[("re\u{301}sume\u{301}", "1"), ("r\u{e9}sum\u{e9}", "2")]),
    ]
}

pub fn make(root: &Path, offer: Offer) -> Result<()> {
    for (name, content) in offer {
        write(&root.join(name), content)?;
        touch(&root.join(name), 1_600_000_000, 0)?;
    }
    Ok(())
}

/// No two entries claim one file, whatever is to become of conflicts; and the second send of all of
/// it adds nothing.
#[test]
fn two_names_that_are_one() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    let policies: [&[&str]; 4] = [
        &[],
        &["--on-conflict", "rename"],
        &["--on-conflict", "overwrite"],
        &["--on-conflict", "overwrite", "--checksum"],
    ];
    let rows: Vec<_> =
        pairs().into_iter().flat_map(|pair| policies.map(|policy| (pair, policy))).collect();
    all(
        &rows,
        |row| format!("{row:?}"),
        |((folds, offer), options)| {
            let Some(disk) = faulty(Faults { folds: *folds, ..Faults::default() })? else {
                return Ok(());
            };
            let from = Scratch::new()?;
            let root = from.join("tree");
            make(&root, offer)?;
            let expected: Vec<_> = offer.iter().map(|(_, content)| content.as_bytes()).collect();
            for run in ["sent", "sent again"] {
                let (sent, received) = send(&[&root], disk.path(), options)?;
                ensure_ended(&sent, &received, 0).context(run)?;
                ensure_contents(disk.path(), &expected).context(run)?;
                // Two folders that are one lose nothing.
                if run == "sent" && offer[0].0 != "Docs/one" {
                    received.says(" -> ")?;
                }
            }
            Ok(())
        },
    )
}

/// A connection that is lost between the two does not count one as the other.
#[test]
fn two_names_that_are_one_over_two_connections() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    let offers: [(&str, &str); 2] = [("README", "readme"), ("a/DATA", "a/data")];
    all(
        &offers,
        |row| format!("{row:?}"),
        |(first, second)| {
            let Some(disk) = faulty(Faults { folds: Folds::Case, ..Faults::default() })? else {
                return Ok(());
            };
            let from = Scratch::new()?;
            for (name, content) in [(first, "AAAA"), (second, "BBBB")] {
                write(&from.join(name), content)?;
                touch(&from.join(name), 1_600_000_000, 0)?;
            }
            let big = noise(3_000_000, 1);
            write(&from.join("big"), &big)?;
            // In this order: what is between is broken.
            let paths = if first.contains('/') {
                vec![from.join("a"), from.join("big")]
            } else {
                vec![from.join(first), from.join("big"), from.join(second)]
            };
            let paths: Vec<&Path> = paths.iter().map(|path| &**path).collect();
            for options in [&["--on-conflict", "overwrite"][..], &[]] {
                let sender = Sender::pod(&paths, &[])?;
                let proxy = Proxy::start(&sender, 1_500_000)?;
                let into = disk.path().join(format!("in {}", options.len()));
                fs::create_dir(&into)?;
                let receiver = Process::start(receiving(&proxy.ticket, &into, options))?;
                proxy.wait_stalled()?;
                proxy.cut();
                proxy.resume();
                let received = receiver.end()?;
                ensure_ended(&sender.end()?, &received, 0)?;
                ensure_contents(&into, &[b"AAAA", b"BBBB", &big])?;
            }
            Ok(())
        },
    )
}

/// An entry whose name is that of another's unfinished file, in other letters, and one kill: in the
/// first, between the two, in the last.
#[test]
fn a_name_like_an_unfinished_one() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    let names = [
        ("DATA.PART", "data", Folds::Case),
        ("Data.part", "dATA", Folds::Case),
        ("r\u{e9}sum\u{e9}.part", "re\u{301}sume\u{301}", Folds::Accents),
    ];
    let sizes = [(70_000, 2_000_000), (2_000_000, 70_000), (70_000, 70_000)];
    let limits = [600_000, 1_500_000, 3_000_000, 4_500_000];
    let rows: Vec<_> = names
        .into_iter()
        .flat_map(|names| sizes.map(|sizes| (names, sizes)))
        .flat_map(|row| limits.map(|limit| (row, limit)))
        .filter(|((_, (first, second)), limit)| *limit < first + second + 3_000_000)
        .collect();
    all(
        &rows,
        |row| format!("{row:?}"),
        |(((part, name, folds), sizes), limit)| {
            let Some(disk) = faulty(Faults { folds: *folds, ..Faults::default() })? else {
                return Ok(());
            };
            let from = Scratch::new()?;
            let (first, second) = (noise(sizes.0, 1), noise(sizes.1, 2));
            let big = noise(3_000_000, 3);
            let files = [(*part, &first), ("big", &big), (*name, &second)];
            for (name, content) in files {
                write(&from.join(name), content)?;
            }
            let paths = files.map(|(name, _)| from.join(name));
            let paths = [&*paths[0], &paths[1], &paths[2]];
            let sender = break_off(&paths, disk.path(), &[], *limit as u64)?;
            let received = run(receiving(&sender.ticket, disk.path(), &[]))?;
            ensure_ended(&sender.end()?, &received, 0)?;
            ensure_contents(disk.path(), &[&first, &big, &second])?;
            let names = contents(disk.path())?;
            for (name, content) in files {
                ensure!(
                    names.get(Path::new(name)) == Some(content),
                    "{name} is not: {:?}",
                    names.keys()
                );
            }
            Ok(())
        },
    )
}

/// What was given another name once is not given yet another.
#[test]
fn the_same_send_repeated_adds_nothing() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    write(&root.join("notes.txt"), "sent")?;
    write(&root.join("sub/taken by a folder"), "sent too")?;
    write(&into.join("tree/notes.txt"), "mine")?;
    // Files that are made in one tick of the clock have one time.
    touch(&into.join("tree/notes.txt"), 1_500_000_000, 0)?;
    write(&into.join("tree/notes (1).txt"), "mine, of another time")?;
    write(&into.join("tree/sub/taken by a folder/mine"), "mine as well")?;
    let expected: [&[u8]; 5] =
        [b"sent", b"sent too", b"mine", b"mine, of another time", b"mine as well"];
    for options in [&[][..], &[], &["--on-conflict", "rename"], &["--checksum"]] {
        let (sent, received) = send(&[&root], into.path(), options)?;
        ensure_ended(&sent, &received, 0)?;
        ensure_contents(into.path(), &expected).with_context(|| format!("{options:?}"))?;
    }
    // What differs is not the same, whatever it is called.
    write(&root.join("notes.txt"), "sent, and newer")?;
    let (sent, received) = send(&[&root], into.path(), &[])?;
    ensure_ended(&sent, &received, 0)?;
    let files = contents(into.path())?;
    let newer = files.get(Path::new("tree/notes (3).txt")).context("not under the next name")?;
    ensure!(newer == b"sent, and newer" && files.len() == 6, "{:?}", files.keys());
    Ok(())
}

/// Content decides before a copy is made; the time is the sender's then.
#[test]
fn a_touched_file_is_the_same_file() -> Result<()> {
    let policies: [&[&str]; 4] =
        [&[], &["--on-conflict", "rename"], &["--on-conflict", "overwrite"], &["--checksum"]];
    all(
        &policies,
        |row| format!("{row:?}"),
        |options| {
            let (from, into) = (Scratch::new()?, Scratch::new()?);
            let root = from.join("tree");
            let large = noise(3_000_000, 3);
            for (name, content) in [("small", &b"content"[..]), ("empty", b""), ("large", &large)] {
                for (at, seconds) in [(&root, 1_600_000_000), (&into.join("tree"), 1_500_000_000)] {
                    write(&at.join(name), content)?;
                    touch(&at.join(name), seconds, 0)?;
                }
            }
            touch(&root, 1_400_000_000, 0)?;
            touch(&into.join("tree"), 1_400_000_000, 0)?;
            let sender = Sender::pod(&[&root], &[])?;
            let proxy = Proxy::start(&sender, u64::MAX)?;
            let received = run(receiving(&proxy.ticket, into.path(), options))?;
            ensure_ended(&sender.end()?, &received, 0)?;
            ensure_holds(into.path(), &root, Holds { times: None, ..Holds::ALL })?;
            for name in ["small", "empty", "large"] {
                let time = fs::metadata(into.join("tree").join(name))?.modified()?;
                let expected = fs::metadata(root.join(name))?.modified()?;
                ensure!(time == expected, "{name} has another time");
            }
            let crossed = proxy.passed();
            ensure!(crossed < 1_000_000, "{crossed} bytes of what was there have crossed");
            Ok(())
        },
    )
}

/// Names that the disk takes, though not with a suffix.
#[test]
fn long_names_arrive() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    let rows = [(143, false), (143, true), (100, true), (255, false)];
    all(
        &rows,
        |row| format!("{row:?}"),
        |(longest, hidden)| {
            let faults =
                Faults { longest_name: *longest, hides_longest_name: *hidden, ..Faults::default() };
            let Some(disk) = faulty(faults)? else { return Ok(()) };
            let from = Scratch::new()?;
            let root = from.join("tree");
            let folder = root.join("d".repeat(*longest));
            for (number, shorter) in [0, 1, 4, 5, 8].into_iter().enumerate() {
                write(&folder.join("x".repeat(longest - shorter)), noise(2000, number as u64))?;
            }
            write(&root.join("é".repeat(longest / 2)), noise(3000, 7))?;
            // One after the other, and the last is broken off.
            write(&root.join("y".repeat(*longest)), noise(3_000_000, 8))?;
            for again in ["sent", "sent again"] {
                let into = disk.path().join("in");
                let _ = fs::create_dir(&into);
                let (sent, received) = send(&[&root], &into, &[])?;
                ensure_ended(&sent, &received, 0).context(again)?;
                ensure_holds(&into, &root, Holds::ALL).context(again)?;
            }
            let other = disk.path().join("other");
            fs::create_dir(&other)?;
            let sender = break_off(&[&root], &other, &[], 1_500_000)?;
            let received = run(receiving(&sender.ticket, &other, &[]))?;
            ensure_ended(&sender.end()?, &received, 0).context("gone on with")?;
            ensure_holds(&other, &root, Holds::ALL).context("gone on with")
        },
    )
}

/// A name that this disk cannot hold keeps the rest from nobody, and both sides hear why.
#[test]
fn a_name_that_is_too_long_is_told() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    for hidden in [false, true] {
        let faults = Faults { longest_name: 143, hides_longest_name: hidden, ..Faults::default() };
        let Some(disk) = faulty(faults)? else { return Ok(()) };
        let from = Scratch::new()?;
        let root = from.join("tree");
        write(&root.join("short"), "content")?;
        write(&root.join("n".repeat(200)), "content of the other")?;
        let (sent, received) = send(&[&root], disk.path(), &[])?;
        ensure_code("receiver", &received, 3)?;
        ensure_code("sender", &sent, 3)?;
        received.says("file name too long")?;
        sent.says("could not write it: ")?;
        ensure_contents(disk.path(), &[b"content"])?;
    }
    Ok(())
}

/// A name that is as long as the disk takes, and is taken: the number fits.
#[test]
fn long_names_that_are_taken() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    for (longest, hidden) in [(143, false), (143, true), (255, false)] {
        let faults =
            Faults { longest_name: longest, hides_longest_name: hidden, ..Faults::default() };
        let Some(disk) = faulty(faults)? else { return Ok(()) };
        let from = Scratch::new()?;
        let root = from.join("tree");
        let names = ["x".repeat(longest), format!("{}.txt", "y".repeat(longest - 4))];
        for name in &names {
            write(&root.join(name), format!("sent {name}"))?;
            write(&disk.path().join("tree").join(name), "mine")?;
        }
        let sent = names.map(|name| format!("sent {name}"));
        let expected = [sent[0].as_bytes(), sent[1].as_bytes(), b"mine", b"mine"];
        for again in ["sent", "sent again"] {
            let (sent, received) = send(&[&root], disk.path(), &[])?;
            ensure_ended(&sent, &received, 0).context(again)?;
            ensure_contents(disk.path(), &expected).context(again)?;
        }
    }
    Ok(())
}

/// A name that the disk writes down in another way than it was given.
#[test]
fn a_name_that_is_written_in_another_way() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    for (folds, name) in [(Folds::Decomposed, "r\u{e9}sum\u{e9}"), (Folds::Trailing, "resume.")] {
        let Some(disk) = faulty(Faults { folds, ..Faults::default() })? else { return Ok(()) };
        let from = Scratch::new()?;
        let (big, small) = (noise(3_000_000, 1), noise(2000, 2));
        write(&from.join(name).join("small"), &small)?;
        write(&from.join(name).join(format!("z {name}")), &big)?;
        let path = from.join(name);
        let sender = break_off(&[&path], disk.path(), &[], 1_500_000)?;
        let received = run(receiving(&sender.ticket, disk.path(), &[]))?;
        ensure_ended(&sender.end()?, &received, 0)?;
        ensure_contents(disk.path(), &[&small, &big])?;
        let (sent, received) = send(&[&path], disk.path(), &[])?;
        ensure_ended(&sent, &received, 0).context("sent again")?;
        ensure_contents(disk.path(), &[&small, &big]).context("sent again")?;
    }
    Ok(())
}

/// Names that are no text, on a disk that refuses some of them, in whatever words: these get other
/// names and are listed, no two become one, and a second run adds nothing. Others stay as they are.
#[test]
fn names_of_bytes_on_a_disk_that_takes_text() -> Result<()> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let Some(()) = as_root()? else { return Ok(()) };
    use fuser::Errno;
    let rows: [(&str, Option<Errno>, Option<Errno>, usize); 5] = [
        ("takes all", None, None, 0),
        ("macOS", Some(Errno::EILSEQ), None, 6),
        ("FAT", Some(Errno::EINVAL), Some(Errno::EINVAL), 8),
        ("as if they were forbidden", Some(Errno::EACCES), Some(Errno::EPERM), 8),
        ("only controls", None, Some(Errno::EINVAL), 3),
    ];
    all(
        &rows,
        |row| row.0.to_owned(),
        |(_, not_utf8, control, renamed)| {
            let faults = Faults { not_utf8: *not_utf8, control: *control, ..Faults::default() };
            let Some(disk) = faulty(faults)? else { return Ok(()) };
            let from = Scratch::new()?;
            let root = from.join("tree");
            let files: [(&[u8], &str); 9] = [
                (b"caf\xe9.txt", "1"),
                (b"caf\xe8.txt", "2"),
                (b"caf_.txt", "3"),
                (b"\xe9/x", "4"),
                (b"\xe8/x", "5"),
                (b"\xe8/Icon\r", "6"),
                (b"a\nb", "7"),
                (b"\xe8/both\n\xff", "8"),
                (b"plain", "9"),
            ];
            for (file, content) in files {
                write(&root.join(OsStr::from_bytes(file)), content)?;
            }
            std::os::unix::fs::symlink("plain", root.join(OsStr::from_bytes(b"l\xefnk")))?;
            let expected = files.map(|(_, content)| content.as_bytes());
            for run in ["sent", "sent again"] {
                let (sent, received) = send(&[&root], disk.path(), &[])?;
                ensure_ended(&sent, &received, 0).context(run)?;
                ensure_contents(disk.path(), &expected).context(run)?;
                let lines = received.stderr.lines().filter(|line| line.contains(" -> "));
                ensure!(lines.count() == *renamed, "{run}: {received:#?}");
            }
            if *renamed == 0 {
                ensure_holds(disk.path(), &root, Holds::ALL)?;
            }
            Ok(())
        },
    )
}

/// What is offered since a transfer, of a size and time that is there already, does not pass for what
/// that transfer has put under another name: be that one broken off or ended, and the name mapped
/// or numbered.
#[test]
fn an_entry_that_comes_later_is_not_taken_for_another() -> Result<()> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let Some(()) = as_root()? else { return Ok(()) };
    use fuser::Errno;
    // Sent first, sent beside it later, and what the first shall be called on a disk that takes text.
    let rows: [(&[u8], &[u8], bool, &str); 5] = [
        (b"n\xe8", b"n\xe7", true, "n_"),
        (b"n\xe8", b"n\xe7", false, "n_"),
        (b"n\xe8/x", b"n\xe7/x", true, "n_/x"),
        (b"n\xe8/x", b"n\xe7/x", false, "n_/x"),
        (b"a.txt", b"a (1).txt", true, "a (1).txt"),
    ];
    let policies: [&[&str]; 3] =
        [&[], &["--on-conflict", "rename"], &["--on-conflict", "overwrite"]];
    let rows: Vec<_> = rows.into_iter().flat_map(|row| policies.map(|it| (row, it))).collect();
    all(
        &rows,
        |row| format!("{row:?}"),
        |((first, second, cut, place), options)| {
            let not_utf8 = Some(Errno::EILSEQ);
            let Some(disk) = faulty(Faults { not_utf8, ..Faults::default() })? else {
                return Ok(());
            };
            let from = Scratch::new()?;
            let root = from.join("tree");
            let big = noise(3_000_000, 1);
            let mut expected = vec![&b"EIGHT"[..], b"SEVEN", &big];
            let is_taken = *first == b"a.txt";
            if is_taken {
                write(&disk.path().join("tree/a.txt"), "mine, and longer")?;
                expected.push(b"mine, and longer");
            }
            for (name, content) in [(*first, &b"EIGHT"[..]), (b"z", &big)] {
                write(&root.join(OsStr::from_bytes(name)), content)?;
                touch(&root.join(OsStr::from_bytes(name)), 1_600_000_000, 0)?;
            }
            // What was taken is not replaced by the first run, so that there is another name.
            let begin = if is_taken { &["--on-conflict", "rename"] } else { *options };
            let place = disk.path().join("tree").join(place);
            if *cut {
                let stopped = Stopped::at(1_500_000, &[&root], disk.path(), begin)?;
                wait_until(|| place.exists())?;
                drop(stopped.kill()?);
            } else {
                let (sent, received) = send(&[&root], disk.path(), begin)?;
                ensure_ended(&sent, &received, 0)?;
            }
            ensure!(fs::read(&place)? == b"EIGHT", "another is at the place");
            write(&root.join(OsStr::from_bytes(second)), "SEVEN")?;
            touch(&root.join(OsStr::from_bytes(second)), 1_600_000_000, 0)?;
            // Once it has ended nothing tells any more which number was whose.
            let runs: &[_] = if is_taken { &["sent"] } else { &["sent", "sent again"] };
            for run in runs {
                let (sent, received) = send(&[&root], disk.path(), options)?;
                ensure_ended(&sent, &received, 0).context(run)?;
                let found = contents(disk.path())?;
                for content in &expected {
                    ensure!(
                        found.values().any(|it| it == content),
                        "{run}: {:?} is nowhere; there are {:?}",
                        content.get(..5),
                        found.keys()
                    );
                }
            }
            Ok(())
        },
    )
}

/// What has one of the program's own names, or would get one where the disk takes text, gets another,
/// for somebody may receive into it later; folders too, and a second run adds nothing.
#[test]
fn names_of_the_program_are_not_given() -> Result<()> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let Some(()) = as_root()? else { return Ok(()) };
    use fuser::Errno;
    let (invalid, sequence) = (Some(Errno::EINVAL), Some(Errno::EILSEQ));
    all(
        &[(None, None), (sequence, invalid)],
        |row| format!("{row:?}"),
        |(not_utf8, control)| {
            let faults = Faults { not_utf8: *not_utf8, control: *control, ..Faults::default() };
            let Some(disk) = faulty(faults)? else { return Ok(()) };
            let from = Scratch::new()?;
            let root = from.join("tree");
            let files: [(&[u8], &str); 6] = [
                (b".transfer\x01lock.1.json", "1"),
                (b".transfer_lock.96.\xff", "2"),
                (b".transfer_lock.a.b", "3"),
                (b".transfer_lock.d/x", "4"),
                (b".transfer_lock.json", "5"),
                (b"plain", "6"),
            ];
            for (file, content) in files {
                write(&root.join(OsStr::from_bytes(file)), content)?;
            }
            let expected = files.map(|(_, content)| content.as_bytes());
            for run in ["sent", "sent again", "and again"] {
                let (sent, received) = send(&[&root], disk.path(), &[])?;
                ensure_ended(&sent, &received, 0).context(run)?;
                ensure_contents(disk.path(), &expected).context(run)?;
                let given = names(&disk.path().join("tree"))?;
                let is_ours = |name: &Path| name.as_os_str().as_bytes().starts_with(LOCKS);
                ensure!(given.len() == 6, "{run}: {given:?}");
                ensure!(!given.iter().any(|name| is_ours(name)), "{run}: {given:?}");
            }
            Ok(())
        },
    )
}
