//! A sender whose names, links and lists lead elsewhere.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::script::{
    CONTENT, ENTRIES, Entry, Line, bytes, control, data, file, folder, link, page, raw, start,
    whole,
};
use crate::shake::Side;
use crate::stage::{BROKE, Case, LOCK, Stage, TOKEN, all};
use crate::util::process::{LIMIT, Process, receiving};
use crate::util::tree::write;

const NAME: &str = "an entry has a forbidden name";
const UTF8: &str = "a text is not UTF-8";
const IDLE: &str = "a name of bytes that is text";
const ORDER: &str = "the entries are not in order";
const ORPHAN: &str = "an entry is in no listed folder";
const LINK: &str = "a link points out of the tree";

/// Lists that no honest sender offers, and what is said of them. `HERE` in a path or target is the
/// folder around the output folder, and all of them would hit something precious in it.
fn hostile() -> Vec<(String, Vec<Entry>, &'static str)> {
    let long = "n".repeat(256);
    let deep = format!("{}/x", ["d"; 2048].join("/"));
    let names: &[(&str, &[u8], &str)] = &[
        ("up", b"../x", NAME),
        ("up twice", b"../../x", NAME),
        ("up, from a folder", b"a/../../x", NAME),
        ("up, at the end", b"a/..", NAME),
        ("up, alone", b"..", NAME),
        ("up, behind a dot", b"./../x", NAME),
        ("absolute", b"HERE/x", NAME),
        ("absolute, twice", b"/HERE/x", NAME),
        ("the root", b"/", NAME),
        ("a drive", b"C:\\x", NAME),
        ("a drive with a slash", b"C:/x", NAME),
        ("a drive alone", b"c:", NAME),
        ("a network path", b"\\\\server\\share\\x", NAME),
        ("from the root, backwards", b"\\x", NAME),
        ("the folder itself", b".", NAME),
        ("nothing", b"", NAME),
        ("nothing in the middle", b"a//b", NAME),
        ("nothing at the end", b"a/", NAME),
        ("a dot in the middle", b"a/./b", NAME),
        ("a dot in front", b"./x", NAME),
        ("NUL", b"x\0", NAME),
        ("NUL, to be cut off", b"../x\0.txt", NAME),
        ("a line feed", b"a\nb", NAME),
        ("a carriage return", b"a\rb", NAME),
        ("an escape", b"\x1b[2Jx", NAME),
        ("a bell", b"x\x07", NAME),
        ("delete", b"x\x7f", NAME),
        ("C1", "x\u{9b}2J".as_bytes(), NAME),
        ("a next line", "x\u{85}".as_bytes(), NAME),
        ("not UTF-8", b"x\xff", UTF8),
        ("dots, overlong", b"\xc0\xae\xc0\xae/x", UTF8),
        ("a slash, overlong", b"..\xc0\xafx", UTF8),
        ("a surrogate", b"\xed\xa0\x80", UTF8),
        ("a name too long", long.as_bytes(), NAME),
        ("a path too long", deep.as_bytes(), NAME),
    ];
    // The same in names of bytes: the flag lets nothing else through.
    let long_bytes = [0xff; 256];
    let raw_names: &[(&str, &[u8], &str)] = &[
        ("bytes, up", b"../\xff", NAME),
        ("bytes, up from a folder", b"a/../../\xff", NAME),
        ("bytes, up at the end", b"\xff/..", NAME),
        ("bytes, up behind a line feed", b"\n/../../x", NAME),
        ("bytes, absolute", b"HERE/x\xff", NAME),
        ("bytes, a drive", b"C:\\\xff", NAME),
        ("bytes, a drive with a slash", b"C:/\xff", NAME),
        ("bytes, from the root, backwards", b"\\\xff", NAME),
        ("bytes, a dot in the middle", b"a/./\xff", NAME),
        ("bytes, nothing in the middle", b"a//\xff", NAME),
        ("bytes, nothing at the end", b"\xff/", NAME),
        ("bytes, NUL", b"\xff\0", NAME),
        ("bytes, NUL to be cut off", b"../x\0\xff", NAME),
        ("bytes, NUL alone", b"\0", NAME),
        ("bytes, nothing", b"", NAME),
        ("bytes, a name too long", &long_bytes, NAME),
        ("bytes, without need", b"x", IDLE),
        ("bytes, without need, beyond ASCII", "gr\u{fc}\u{df}e".as_bytes(), IDLE),
    ];
    let lists: Vec<(&str, Vec<Entry>, &str)> = vec![
        ("bytes, the same file twice", vec![raw(file(b"\xff")), raw(file(b"\xff"))], ORDER),
        ("bytes, backwards", vec![raw(file(b"\xff")), raw(file(b"\xfe"))], ORDER),
        ("bytes, control behind text", vec![file(" "), raw(file(b"\x1f"))], ORDER),
        ("bytes, in a file", vec![raw(file(b"\xff")), raw(file(b"\xff/x"))], ORPHAN),
        ("bytes, in a link", vec![raw(link(b"\xff", "d")), raw(file(b"\xff/x"))], ORPHAN),
        ("bytes, in no folder", vec![raw(file(b"\xff/x"))], ORPHAN),
        ("bytes, a link up", vec![raw(link("l", b"../\xff"))], LINK),
        ("bytes, a link behind a name", vec![raw(link("l", b"\xff/../../bait"))], LINK),
        ("bytes, a link, absolute", vec![raw(link(b"\xff", "HERE/bait"))], LINK),
        ("bytes, a link with NUL", vec![raw(link("l", b"\xff\0"))], LINK),
        ("bytes, a link to nothing", vec![raw(link(b"\xff", ""))], LINK),
        ("bytes, a link without need", vec![raw(link("l", "d"))], IDLE),
        ("the same file twice", vec![file("x"), file("x")], ORDER),
        ("the same folder twice", vec![folder("x"), folder("x")], ORDER),
        ("a file, then a folder", vec![file("x"), folder("x")], ORDER),
        ("a folder, then a file", vec![folder("x"), file("x")], ORDER),
        ("a link, then a folder", vec![link("x", "."), folder("x")], ORDER),
        ("backwards", vec![file("b"), file("a")], ORDER),
        ("a folder behind its content", vec![folder("a"), file("a/x"), folder("a")], ORDER),
        ("in a file", vec![file("a"), file("a/x")], ORPHAN),
        ("in a link", vec![link("a", "d"), file("a/x")], ORPHAN),
        ("through a link to a sent folder", vec![link("a", "d"), folder("a/x")], ORPHAN),
        ("in no folder", vec![file("d/f")], ORPHAN),
        ("a level left out", vec![folder("d"), file("d/e/f")], ORPHAN),
        ("in the folder before", vec![folder("d"), folder("e"), file("e-/f")], ORPHAN),
        ("a link, absolute", vec![link("l", "HERE/bait")], LINK),
        ("a link to the root", vec![link("l", "/")], LINK),
        ("a link up", vec![link("l", "..")], LINK),
        ("a link up and down", vec![link("l", "../bait")], LINK),
        ("a link up from a folder", vec![folder("t"), link("t/l", "../../bait")], LINK),
        ("a link up behind a name", vec![folder("t"), link("t/l", "d/../../../bait")], LINK),
        (
            "a link out by another link",
            vec![folder("t"), link("t/a", ".."), link("t/b", "a/../bait")],
            LINK,
        ),
        ("a link up behind a dot", vec![link("l", "./../bait")], LINK),
        ("a link to a drive", vec![link("l", "C:\\x")], LINK),
        ("a link, backwards", vec![link("l", "\\x")], LINK),
        ("a link to nothing", vec![link("l", "")], LINK),
        ("a link with NUL", vec![link("l", "d\0")], NAME),
        ("a link with an escape", vec![link("l", "\x1b[2J")], NAME),
        ("a link, not UTF-8", vec![link("l", b"\xff")], UTF8),
        ("a link too far", vec![link("l", "n".repeat(4097))], LINK),
        ("a link with a forbidden name", vec![link("../x", "d")], NAME),
        ("a folder with a forbidden name", vec![folder("../stolen")], NAME),
        ("a folder instead of the output", vec![folder(".")], NAME),
    ];
    let text = names.iter().map(|(what, name, says)| (what, file(name), says));
    let bytes = raw_names.iter().map(|(what, name, says)| (what, raw(file(name)), says));
    let names = text.chain(bytes).flat_map(|(what, entry, says)| {
        // Alone, and behind entries that are as they should be.
        let behind = vec![folder("a"), file("a/f"), entry.clone()];
        let alone = vec![entry];
        [(what.to_string(), alone, *says), (format!("{what}, in the end"), behind, *says)]
    });
    let lists = lists.into_iter().map(|(what, list, says)| (what.to_owned(), list, says));
    names.chain(lists).collect()
}

/// What the output folder is before the attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Missing,
    Empty,
    /// Something else has the names.
    Taken,
    /// An earlier run was killed in the middle of a file.
    Interrupted,
}

impl Before {
    fn stage(self) -> Result<Stage> {
        match self {
            Self::Missing => return Stage::bare(),
            Self::Empty => {}
            Self::Taken => {
                let stage = Stage::new()?;
                write(&stage.out().join("a"), "mine")?;
                write(&stage.out().join("x/mine"), "mine")?;
                std::os::unix::fs::symlink("../elsewhere", stage.out().join("d"))?;
                std::os::unix::fs::symlink("../bait", stage.out().join("l"))?;
                return Ok(stage);
            }
            Self::Interrupted => {
                let stage = Stage::new()?;
                interrupt(&stage)?;
                return Ok(stage);
            }
        }
        Stage::new()
    }
}

/// Receives the folder `a` and half of `a/f`, and is killed.
pub fn interrupt(stage: &Stage) -> Result<()> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let ticket = format!("{}:{TOKEN}", listener.local_addr()?);
    let process = Process::start(receiving(&ticket, &stage.out(), &[]))?;
    let mut line = Line::start(listener.accept()?.0, Side::Sender, TOKEN)?;
    line.offer_and_plan(&[folder("a"), file("a/f")])?;
    line.say(&data(&[start(1, 0), bytes(&CONTENT[..9])]))?;
    wait_for(|| fs::metadata(stage.out().join("a/f.part")).is_ok_and(|found| found.len() == 9))?;
    process.kill()?;
    ensure!(stage.out().join(LOCK).exists(), "no lock was left");
    Ok(())
}

/// Waits until something is so.
pub fn wait_for(so: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while !so() {
        ensure!(Instant::now() < deadline, "it never happened");
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn refuses_all(before: Before) -> Result<()> {
    all(&hostile(), |(what, entries, says)| {
        let mut entries = entries.clone();
        let stage = before.stage()?;
        let here = stage.path().as_os_str().as_bytes();
        for entry in &mut entries {
            for text in [&mut entry.path, &mut entry.target] {
                if let Some(at) = text.windows(4).position(|part| part == b"HERE") {
                    text.splice(at..at + 4, here.iter().copied());
                }
            }
        }
        let case = Case::new(format!("names: {what}, {before:?}"), 1, BROKE);
        let ended = stage.receive(&case, |line| line.offer(&entries))?;
        ensure!(ended.stderr.contains(says), "{what}: expected {says:?}: {ended:#?}");
        Ok(())
    })
}

/// Names of bytes of a sender that has not said that it has them.
#[test]
fn names_of_bytes_are_agreed_on() -> Result<()> {
    let stage = Stage::new()?;
    let case = Case::new("names: bytes, not agreed on", 1, BROKE);
    let ended = stage.receive(&case, |line| {
        line.say(&control(
            r#"{"type":"offer","files":1,"folders":0,"links":0,"bytes":27,"unsent":0,"features":["lz4"]}"#,
        ))?;
        line.say(&page(ENTRIES, 1, &raw(file(b"\xff")).bytes()))
    })?;
    ensure!(ended.stderr.contains("a feature that was not agreed on"), "{ended:#?}");
    Ok(())
}

#[test]
fn into_a_new_folder() -> Result<()> {
    refuses_all(Before::Missing)
}

#[test]
fn into_an_empty_folder() -> Result<()> {
    refuses_all(Before::Empty)
}

#[test]
fn into_a_folder_where_names_are_taken() -> Result<()> {
    refuses_all(Before::Taken)
}

#[test]
fn into_a_folder_with_an_interrupted_transfer() -> Result<()> {
    refuses_all(Before::Interrupted)
}

/// Strange names that are legal here: each is one file, inside, under exactly this name.
#[test]
fn strange_names_land_inside() -> Result<()> {
    let longest = "n".repeat(255);
    let names = [
        "a\\..\\..\\x",
        "..\\x",
        "...",
        "..x",
        "x..",
        "a:b",
        "NUL",
        "con",
        "aux.txt",
        "COM1",
        "LPT9.",
        "dot.",
        "dots...",
        "space ",
        " space",
        "-rf",
        "~",
        "$HOME",
        "`id`",
        "*",
        "x;id",
        "x.part",
        "x.part.part",
        ".transfer_lock",
        ".bashrc",
        "\u{202e}gpj.exe",
        "\u{2066}x",
        "\u{200b}",
        "e\u{301}",
        "é",
        "É",
        "%2e%2e%2fx",
        "&#46;&#46;/",
        &longest,
    ];
    let control = [
        "Icon\r",
        "line\nbreak",
        "\u{1b}[2J",
        "tab\t",
        "..\n",
        "\n..",
        "\u{1}",
        "\u{7f}",
        "\u{9b}31m",
        "x\n.part",
        ".transfer_lock\n.json",
    ];
    let names = names.iter().filter(|name| !name.contains('/'));
    for name in names.chain(&control) {
        let stage = Stage::new()?;
        let case =
            Case::new(format!("names: legal {name:.20}"), 0, "received 1 file").left(&[name]);
        stage.receive(&case, |line| {
            let entry = if name.contains(char::is_control) { raw(file(name)) } else { file(name) };
            line.offer_and_plan(&[entry])?;
            line.say(&data(&[whole(0)]))?;
            line.finish().map(drop)
        })?;
    }
    Ok(())
}

/// All at once: names that are each other's unfinished file or other name, and those of the lock,
/// which nothing that is sent gets: it might be believed one day.
#[test]
fn names_of_the_program_itself_are_names_like_others() -> Result<()> {
    let mut names = vec![
        LOCK,
        ".transfer_lock.json.tmp",
        ".transfer_lock.1.json",
        "x",
        "x (1)",
        "x (2)",
        "x.part",
        "x.1.part",
        "x.2.part",
        "x.part.part",
    ];
    names.sort_unstable();
    let stage = Stage::new()?;
    write(&stage.out().join("x"), "mine")?;
    let renamed = |name: &&'static str| match *name {
        "x" => "x (3)",
        LOCK => ".transfer_lock (1).json",
        ".transfer_lock.json.tmp" => "_.transfer_lock.json (1).tmp",
        ".transfer_lock.1.json" => "_.transfer_lock.1 (1).json",
        name => name,
    };
    let left: Vec<&str> = names.iter().map(renamed).collect();
    let case = Case::new("names: of the program itself", 0, "x -> x (3)").left(&left);
    stage.receive(&case, |line| {
        let entries: Vec<_> = names.iter().map(file).collect();
        line.offer_and_plan(&entries)?;
        // The last first: each unfinished file meets those that have their names already.
        for index in (0..u32::try_from(names.len())?).rev() {
            line.say(&data(&[whole(index)]))?;
        }
        line.finish().map(drop)
    })?;
    Ok(())
}

/// A path of 1,900 folders, and a file at its end: more than can be open at once.
#[cfg(target_os = "linux")] // Elsewhere this test could not look at what came: 1,024 bytes are a path's end on macOS.
#[test]
fn a_path_as_deep_as_can_be() -> Result<()> {
    let stage = Stage::new()?;
    let paths: Vec<String> = (1..=1900).map(|depth| vec!["d"; depth].join("/")).collect();
    let last = format!("{}/f", paths[1899]);
    let mut entries: Vec<_> = paths.iter().map(folder).collect();
    entries.push(file(&last));
    let left = paths.into_iter().chain([last]).collect();
    let case = Case::new("names: 1,900 folders deep", 0, "received 1 file");
    stage.receive(&Case { left, entries: 1901, open_files: Some(256), ..case }, |line| {
        line.offer_and_plan(&entries)?;
        line.say(&data(&[whole(1900)]))?;
        line.finish().map(drop)
    })?;
    Ok(())
}

/// A link that is legal, sent first, and then a folder of its name: nothing goes through it, in
/// whatever way the name is taken.
#[test]
fn a_link_sent_earlier_leads_nothing_anywhere() -> Result<()> {
    let cases: &[(&str, i32, &str, &[&str])] = &[
        ("rename", 0, "d -> d (1)", &["d (1)", "d (1)/f"]),
        ("skip", 0, "skipped 2 existing files", &[]),
        ("overwrite", 0, "d -> d (1)", &["d (1)", "d (1)/f"]),
        ("fail", 7, "names are taken already", &[]),
    ];
    for (how, code, says, left) in cases {
        let stage = Stage::new()?;
        let links = [folder("a"), link("b", "a"), link("d", "b"), link("e", "d/f")];
        let first = Case::new("names: links", 0, "received 0 files").left(&["a", "b", "d", "e"]);
        stage.receive(&first, |line| {
            line.offer_and_plan(&links)?;
            line.finish().map(drop)
        })?;
        let case = Case::new(format!("names: through a link, {how}"), *code, says).left(left);
        let case = Case { options: vec!["-vv", "--on-conflict", how], ..case };
        stage.receive(&case, |line| {
            line.offer(&[folder("d"), file("d/f")])?;
            if *how == "fail" {
                return Ok(());
            }
            let plan = line.hear_pages(crate::script::PLAN)?;
            if plan.is_empty() {
                line.say(&data(&[whole(1)]))?;
            }
            line.finish().map(drop)
        })?;
    }
    Ok(())
}
