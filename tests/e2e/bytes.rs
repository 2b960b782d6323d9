//! Names that are no text: bytes that are not UTF-8, newlines, tabs, the `Icon\r` of macOS. Between
//! two systems that can hold them they arrive as they are; on a screen they are escaped.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::events::Events;
use crate::proxy::Proxy;
use crate::sums::check_sums;
use crate::util::process::{Ended, LIMIT, Pipe, Process, Sender, receiving, run, transfer};
use crate::util::tree::{Scratch, ensure_arrived, noise, touch, tree, write};

/// A name of these bytes.
fn name(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

/// What would steer a terminal, and forge a line in a log or a list.
const STEERS: &[u8] = b"\x1b[2J\x1b]0;owned\x07\r\nerror: forged\x9b31m";

/// Files, folders and links of such names, and links to such names.
fn odd_tree(root: &Path) -> Result<()> {
    for (at, file) in [
        &b"latin-\xe9.txt"[..],
        b"line\nbreak",
        b"tab\tbed",
        b"Icon\r",
        STEERS,
        b"\xff",
        b"overlong \xc0\xaf\xc0\xae\xc0\xae",
        b"surrogate \xed\xa0\x80",
        "c1 \u{9b}31m".as_bytes(),
        b"del\x7f",
        b"back\\slash\n",
        b"folder \xe9\n/inside",
        b"folder \xe9\n/d\xe8eper\r/x",
        b"plain/Icon\r",
        b"plain/plain",
        &[b'\xe9'; 255],
    ]
    .into_iter()
    .enumerate()
    {
        let path = root.join(name(file));
        write(&path, noise(at * 1000, 7))?;
        touch(&path, 1_000_000_000, 5)?;
    }
    fs::create_dir(root.join(name(b"empty \xfe")))?;
    for (link, target) in [
        (&b"to latin"[..], &b"latin-\xe9.txt"[..]),
        (b"l\xefnk", b"plain/plain"),
        (b"plain/up\n", b"../folder \xe9\n/inside"),
        (b"broken", b"n\xf6where"),
    ] {
        symlink(name(target), root.join(name(link)))?;
    }
    Ok(())
}

/// Fails if something of this could steer a terminal or forge a line.
fn ensure_clean(ended: &Ended) -> Result<()> {
    let forged = |text: &str| text.lines().any(|line| line.starts_with("error: forged"));
    for text in [&ended.stdout, &ended.stderr] {
        let odd = text.contains(|c: char| c.is_control() && c != '\n' && c != '\t');
        ensure!(!odd && !forged(text) && !text.contains('\u{fffd}'), "{ended:#?}");
    }
    Ok(())
}

#[test]
fn they_arrive_as_they_are() -> Result<()> {
    for options in [&["-vv", "--compress=none"][..], &["-vv", "--compress=auto"]] {
        let (from, into) = (Scratch::new()?, Scratch::new()?);
        let root = from.join("tree");
        odd_tree(&root)?;
        for run_of in ["first", "second"] {
            let log = from.join(format!("{run_of}.log"));
            let sender = Sender::pod(&[&root], options)?;
            let options = ["-vv", "--log-file", log.to_str().context("UTF-8")?];
            let received = run(receiving(&sender.ticket, into.path(), &options))?.expect(0)?;
            let sent = sender.end()?.expect(0)?;
            ensure_arrived(into.path(), &[&root]).context(run_of)?;
            ensure_clean(&sent)?;
            ensure_clean(&received)?;
            let logged = fs::read_to_string(&log)?;
            ensure!(logged.lines().all(|line| line.starts_with("20")), "{logged}");
            if run_of == "first" {
                received.says("tree/latin-\\xe9.txt\n")?;
                received.says(
                    "tree/\\u{1b}[2J\\u{1b}]0;owned\\u{7}\\u{d}\\u{a}error: forged\\x9b31m",
                )?;
                ensure!(logged.contains("tree/folder \\xe9\\u{a}/d\\xe8eper\\u{d}/x"), "{logged}");
            } else {
                received.says("were already here")?;
            }
        }
    }
    Ok(())
}

/// Where one of the two does not know them, they stay behind, and both sides say so.
#[test]
fn whoever_does_not_take_them_gets_the_rest() -> Result<()> {
    let without: &[&str] = &["--without", "raw-names"];
    for (sends, receives) in [(&[][..], without), (without, &[])] {
        let (from, into) = (Scratch::new()?, Scratch::new()?);
        let root = from.join("tree");
        write(&root.join("plain/file"), "content")?;
        let expected = tree(&root)?;
        write(&root.join("plain").join(name(b"latin-\xe9")), "x")?;
        write(&root.join("plain/line\nbreak/inside"), "x")?;
        symlink(name(b"latin-\xe9"), root.join("plain/link"))?;
        let sender = Sender::pod(&[&root], sends)?;
        let received = run(receiving(&sender.ticket, into.path(), receives))?.expect(3)?;
        for ended in [sender.end()?.expect(3)?, received] {
            ended.says("warning: cannot be sent: 3 things\n")?;
            ended.says("  tree/plain/latin-\\xe9: it is not valid UTF-8\n")?;
            ended.says("  tree/plain/line\\u{a}break: it has a control character\n")?;
            ended.says("  tree/plain/link: its target: it is not valid UTF-8\n")?;
        }
        let arrived = tree(&into.join("tree"))?;
        assert!(arrived.keys().eq(expected.keys()), "{arrived:#?}");
    }
    // If nothing is left, both end.
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    write(&from.join(name(b"\xe9")), "x")?;
    let sender = Sender::pod(&[&from.join(name(b"\xe9"))], &[])?;
    run(receiving(&sender.ticket, into.path(), without))?.expect(1)?;
    sender.end()?.expect(1)?.says("error: nothing can be sent\n")?;
    Ok(())
}

/// On the command line itself: a file, a folder, a link; and by a pattern.
#[test]
fn they_can_be_named() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let paths: Vec<PathBuf> =
        [&b"caf\xe9"[..], b"Icon\r", b"d\xe9"].iter().map(|it| from.join(name(it))).collect();
    write(&paths[0], "one")?;
    write(&paths[1], "two")?;
    write(&paths[2].join("x"), "three")?;
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let sender = Sender::pod(&paths, &[])?;
    let received = run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
    let sent = sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &paths)?;
    received.says("Icon\\u{d}, caf\\xe9, d\\xe9/")?;
    ensure_clean(&sent)?;

    let missing = run({
        let mut command = transfer();
        command.args(["send", "--pod"]).arg(from.join(name(b"n\xf6\n")));
        command
    })?
    .expect(1)?;
    missing.says("n\\xf6\\u{a}\": no such file or directory")?;
    let mut pattern = transfer();
    pattern.args(["send", "--dry-run"]).arg(from.join("caf?"));
    assert_eq!(run(pattern)?.expect(0)?.stdout, "3\tcaf\\xe9\n");
    Ok(())
}

/// What programs read: exact names, on both sides, and lists for `sha256sum -c`.
#[test]
fn programs_get_them_exactly() -> Result<()> {
    let (from, into, lists) = (Scratch::new()?, Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    odd_tree(&root)?;
    write(&root.join(name(b"taken \xe9")), "new")?;
    write(&into.join("tree").join(name(b"taken \xe9")), "mine, and longer")?;
    let list = |name: &str| lists.join(name).to_string_lossy().into_owned();
    let mut command = transfer();
    command.args(["send", "--pod", "--port", "0", "--json=files", "--manifest", &list("sent")]);
    let mut sender = Process::start({
        command.arg(&root);
        command
    })?;
    let line: Value = serde_json::from_str(&sender.wait_for(Pipe::Out, "\"event\":\"ticket\"")?)?;
    let mut receive = transfer();
    receive.args(["receive", "--json=files", "--manifest", &list("received")]);
    receive.arg("-o").arg(into.path()).arg(line["ticket"].as_str().context("no ticket")?);
    let received = Events::of(&run(receive)?.expect(0)?)?;
    let sent = Events::of(&sender.end()?.expect(0)?)?;

    let told = |events: &Events| -> Result<Vec<Vec<u8>>> {
        let paths = events.all("file").into_iter().map(|file| exact(file, "path"));
        let mut paths = paths.collect::<Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    };
    let below = |it: &PathBuf| root.join(it).symlink_metadata().is_ok_and(|it| it.is_file());
    let files: Vec<PathBuf> = tree(&root)?.into_keys().filter(below).collect();
    let mut expected: Vec<Vec<u8>> =
        files.iter().map(|it| Path::new("tree").join(it).into_os_string().into_vec()).collect();
    expected.sort();
    assert_eq!(told(&sent)?, expected);
    assert_eq!(told(&received)?, expected);
    let renamed = &received.end()["renamed"][0];
    assert_eq!(
        *renamed,
        json!({
            "from": "tree/taken \u{fffd}", "from_bytes": "747265652f74616b656e20e9",
            "to": "tree/taken \u{fffd} (1)", "to_bytes": "747265652f74616b656e20e920283129",
        })
    );
    let taken: Vec<&Value> = received
        .all("file")
        .into_iter()
        .filter(|it| it["path_bytes"] == renamed["from_bytes"])
        .collect();
    assert_eq!(taken[0]["place_bytes"], renamed["to_bytes"]);
    // What is text has no bytes.
    let plain = received.all("file").into_iter().find(|it| it["path"] == "tree/plain/plain");
    ensure!(plain.context("no plain file")?.get("path_bytes").is_none());

    for (folder, list_of) in [(from.path(), "sent"), (into.path(), "received")] {
        check_sums(&list(list_of), folder)?;
        let lines = fs::read(list(list_of))?.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(lines, expected.len(), "{list_of}");
    }

    // Taken by nobody: a list of names, some of which are text.
    let mut again = transfer();
    again.args(["send", "--dry-run", "--json"]).arg(&root).arg(from.join(name(b"caf\xe9")));
    write(&from.join(name(b"caf\xe9")), "")?;
    let dry = Events::of(&run(again)?.expect(0)?)?;
    let offer = dry.one("offer")?;
    assert_eq!(offer["names"], json!(["caf\u{fffd}", "tree"]));
    assert_eq!(offer["names_bytes"], json!(["636166e9", null]));
    let link = dry.all("entry").into_iter().find(|entry| entry["path"] == "tree/to latin");
    let link = link.context("no link")?;
    assert_eq!(exact(link, "target")?, b"latin-\xe9.txt");
    ensure!(link.get("path_bytes").is_none(), "{link}");
    Ok(())
}

/// The exact bytes that a field stands for.
fn exact(line: &Value, field: &str) -> Result<Vec<u8>> {
    let text = line[field].as_str().context("no text")?;
    let Some(digits) = line.get(format!("{field}_bytes")) else { return Ok(text.into()) };
    let digits = digits.as_str().context("no digits")?.as_bytes();
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
        .collect::<Result<_>>()?;
    ensure!(String::from_utf8_lossy(&bytes) == text, "{line}");
    Ok(bytes)
}

#[test]
fn a_dry_run_has_a_line_for_each() -> Result<()> {
    let from = Scratch::new()?;
    odd_tree(&from.join("tree"))?;
    let mut command = transfer();
    command.args(["send", "--dry-run"]).arg(from.join("tree"));
    let ended = run(command)?.expect(0)?;
    ensure_clean(&ended)?;
    assert_eq!(ended.stdout.lines().count(), tree(&from.join("tree"))?.len());
    ended.says("would send 16 files, 5 folders, 4 links")?;
    for line in [
        "0\ttree/latin-\\xe9.txt\n",
        "3000\ttree/Icon\\u{d}\n",
        "0\ttree/empty \\xfe/\n",
        "0\ttree/plain/up\\u{a}\t-> ../folder \\xe9\\u{a}/inside\n",
    ] {
        ensure!(ended.stdout.contains(line), "{line:?}: {ended:#?}");
    }
    Ok(())
}

/// What is at such a name already, and what becomes of it.
#[test]
fn every_policy_does_what_it_says_of_them() -> Result<()> {
    let odd = name(b"t\xe9\n.txt");
    let rows: [(&str, i32, &[(&[u8], &str)]); 5] = [
        ("rename", 0, &[(b"t\xe9\n (1).txt", "new"), (b"t\xe9\n.txt", "mine, and longer")]),
        ("skip", 0, &[(b"t\xe9\n.txt", "mine, and longer")]),
        ("overwrite", 0, &[(b"t\xe9\n.txt", "new")]),
        ("newer", 0, &[(b"t\xe9\n.txt", "mine, and longer")]),
        ("fail", 7, &[(b"t\xe9\n.txt", "mine, and longer")]),
    ];
    for (policy, code, left) in rows {
        let (from, into) = (Scratch::new()?, Scratch::new()?);
        write(&from.join(odd), "new")?;
        touch(&from.join(odd), 1_000_000_000, 0)?;
        write(&into.join(odd), "mine, and longer")?;
        let sender = Sender::pod(&[&from.join(odd)], &[])?;
        let options = ["--on-conflict", policy];
        let received = run(receiving(&sender.ticket, into.path(), &options))?.expect(code)?;
        sender.end()?.expect(code)?;
        ensure_clean(&received)?;
        match policy {
            "rename" => received.says("t\\xe9\\u{a}.txt -> t\\xe9\\u{a} (1).txt\n").map(drop)?,
            "fail" => received.says("such as \"t\\xe9\\u{a}.txt\"").map(drop)?,
            _ => {}
        }
        let mut found: Vec<(OsString, String)> = fs::read_dir(into.path())?
            .map(|entry| {
                let entry = entry?;
                Ok((entry.file_name(), fs::read_to_string(entry.path())?))
            })
            .collect::<Result<_>>()?;
        found.sort();
        let left: Vec<_> =
            left.iter().map(|(path, text)| (name(path).to_owned(), (*text).to_owned())).collect();
        assert_eq!(found, left, "{policy}");
    }
    Ok(())
}

/// One file under another name, and a stream under one: whatever the bytes.
#[test]
fn o_names_a_file_so() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let file = from.join(name(b"caf\xe9"));
    write(&file, "content")?;
    for wanted in [&b"plain"[..], b"\xff other\n"] {
        let sender = Sender::pod(&[&file], &[])?;
        run(receiving(&sender.ticket, &into.join(name(wanted)), &[]))?.expect(0)?;
        sender.end()?.expect(0)?;
        assert_eq!(fs::read(into.join(name(wanted)))?, b"content");
    }
    let sender = Sender::pod(&[&file], &[])?;
    let poured = run(receiving(&sender.ticket, Path::new("-"), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    assert_eq!(poured.stdout, "content");
    Ok(())
}

/// What cannot be sent has its exact name too, for people and for programs, whatever stands around it.
#[test]
fn what_stays_behind_is_told_exactly() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    write(&from.join("t/f"), "x")?;
    for (folder, target) in [(&b"d\xe9"[..], "/etc"), (b"d\xe8", "../..")] {
        fs::create_dir_all(from.join("t").join(name(folder)))?;
        symlink(target, from.join("t").join(name(folder)).join("up"))?;
    }
    let lines = ["  t/d\\xe8/up: it points out", "  t/d\\xe9/up: it points out"];
    let mut dry = transfer();
    dry.args(["send", "--dry-run", "--json"]).arg(from.join("t"));
    let unsent = Events::of(&run(dry)?.expect(3)?)?.end()["unsent"].clone();
    assert_eq!(unsent["names"][0]["name"], "t/d\u{fffd}/up");
    assert_eq!(unsent["names"][0]["name_bytes"], "742f64e82f7570");
    assert_eq!(unsent["names"][1]["name_bytes"], "742f64e92f7570");

    let sender = Sender::pod(&[&from.join("t")], &[])?;
    let output = into.join(name(b"o\xff"));
    let received = run(receiving(&sender.ticket, &output, &[]))?.expect(3)?;
    received.says("/o\\xff: ")?;
    for ended in [sender.end()?.expect(3)?, received] {
        lines.iter().try_for_each(|line| ended.says(line).map(drop))?;
        ensure_clean(&ended)?;
    }
    Ok(())
}

/// A pattern has to be text, and whoever types one that is not is told which, and what to write.
#[test]
fn a_pattern_that_is_no_text_is_named() -> Result<()> {
    let from = Scratch::new()?;
    write(&from.join("t").join(name(b"caf\xe9")), "x")?;
    let way_out = "it is not UTF-8; write \"?\" for each byte that is not";
    let list = from.join("list");
    fs::write(&list, b"# caf\xe9\n*.log\r\n\ncaf\xe9\n")?;
    let mut command = transfer();
    command.args(["send", "--dry-run", "--exclude-from"]).arg(&list).arg(from.join("t"));
    let ended = run(command)?.expect(2)?;
    ended.says(&format!("line 4 of \"{}\" is no pattern: {way_out}", list.display()))?;
    let mut command = transfer();
    command.args(["send", "--dry-run", "-x"]).arg(name(b"caf\xe9")).arg(from.join("t"));
    run(command)?.expect(2)?.says(way_out)?;
    fs::write(&list, b"# caf\xe9\n*.log\r\n\ncaf?\n")?;
    let mut command = transfer();
    command.args(["send", "--dry-run", "--exclude-from"]).arg(&list).arg(from.join("t"));
    assert_eq!(run(command)?.expect(0)?.stdout, "0\tt/\n");
    Ok(())
}

/// Patterns count bytes, as they always did.
#[test]
fn they_can_be_excluded() -> Result<()> {
    let from = Scratch::new()?;
    for file in [&b"caf\xe9.log"[..], b"a\nb.log", b"\xe9/x", b"Icon\r", b"kept\xe9"] {
        write(&from.join("t").join(name(file)), "x")?;
    }
    let mut command = transfer();
    command.args(["send", "--dry-run", "--exclude", "*.log", "--exclude", "t/?/"]);
    command.args(["--exclude", "Icon?"]).arg(from.join("t"));
    let ended = run(command)?.expect(0)?;
    assert_eq!(ended.stdout, "0\tt/\n1\tt/kept\\xe9\n");
    ended.says("left out: 4 entries by --exclude")?;
    Ok(())
}

/// Killed in the middle of such a file, in a folder of such a name that goes by another name here.
#[test]
fn what_was_begun_goes_on() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join(name(b"tr\xe9e\n"));
    write(&root.join(name(b"a\xff")), noise(100_000, 1))?;
    write(&root.join(name(b"Big\r")), noise(4_000_000, 2))?;
    write(&root.join(name(b"d\xe9/last")), "last")?;
    // A file where the folder would go.
    write(&into.join(name(b"tr\xe9e\n")), "mine")?;
    let placed = into.join(name(b"tr\xe9e\n (1)"));
    let sender = Sender::pod(&[&root], &[])?;
    let proxy = Proxy::start(&sender, 2_000_000)?;
    let receiver = Process::start(receiving(&proxy.ticket, into.path(), &[]))?;
    proxy.wait_stalled()?;
    let part = placed.join(name(b"Big\r.part"));
    let deadline = Instant::now() + LIMIT;
    while fs::metadata(&part).map_or(0, |it| it.len()) < 500_000 {
        ensure!(Instant::now() < deadline, "{part:?} does not grow");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    receiver.kill()?;
    sender.process.kill()?;
    let sender = Sender::pod(&[&root], &[])?;
    let mut receive = transfer();
    receive.args(["receive", "--json", "-o"]).arg(into.path()).arg(&sender.ticket);
    let received = Events::of(&run(receive)?.expect(0)?)?;
    sender.end()?.expect(0)?;
    let skipped = received.one("plan")?["skipped_bytes"].as_u64().context("no number")?;
    ensure!(skipped >= 500_000, "{received:#?}");
    let names: Vec<OsString> =
        fs::read_dir(into.path())?.map(|it| Ok(it?.file_name())).collect::<Result<_>>()?;
    assert_eq!(names.len(), 2, "{names:?}");
    crate::util::tree::ensure_same(&tree(&root)?, &tree(&placed)?)
}
