//! Files with holes: they cross as what their disk holds, and arrive with holes.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::proxy::Proxy;
use crate::util::process::{LIMIT, Process, Sender, receiving, run, transfer};
use crate::util::tree::{Scratch, ensure_arrived, noise, touch};

const KB: u64 = 1 << 10;
const MB: u64 = 1 << 20;
const GB: u64 = 1 << 30;

/// A file of this size with noise at these places, and an old time.
fn make(path: &Path, size: u64, content: &[(u64, usize)]) -> Result<()> {
    let file = File::create(path)?;
    file.set_len(size)?;
    for (at, len) in content {
        file.write_all_at(&noise(*len, *at), *at)?;
    }
    touch(path, 1_000_000_000, 5)
}

/// Bytes that a file takes on its disk.
fn taken(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path)?.blocks() * 512)
}

/// Name, size, and where it has content.
type Layout = (&'static str, u64, Vec<(u64, usize)>);

fn layouts() -> Vec<Layout> {
    let blocks = (0..200).map(|n| (n * 8 * KB, 4 * KB as usize)).collect();
    vec![
        ("a hole at the beginning", 3 * MB, vec![(2 * MB, MB as usize)]),
        ("a hole at the end", 3 * MB, vec![(0, MB as usize)]),
        ("a hole in the middle", 3 * MB + 1, vec![(0, 70_000), (3 * MB - 70_000, 70_001)]),
        ("a hole and a byte", 3 * MB + 1, vec![(3 * MB, 1)]),
        ("a byte and a hole", 3 * MB + 4321, vec![(0, 1)]),
        ("blocks and holes in turn", 200 * 8 * KB, blocks),
        ("larger than a record", 40 * MB + 7, vec![(5 * MB + 3, 3_000_000), (30 * MB, 5)]),
        ("nothing but a hole", 5 * MB + 77, vec![]),
        ("small", 65 * KB, vec![]),
        ("too small to be worth it", 60 * KB, vec![(50 * KB, 3)]),
    ]
}

fn make_all(root: &Path) -> Result<()> {
    fs::create_dir(root)?;
    layouts().iter().try_for_each(|(name, size, content)| make(&root.join(name), *size, content))
}

/// Every layout arrives as it was, takes no more room than it did, and crosses as what its disk holds.
#[test]
fn holes_arrive_as_holes() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    make_all(&root)?;
    let sender = Sender::pod(&[&root], &[])?;
    let proxy = Proxy::start(&sender, u64::MAX)?;
    let received = run(receiving(&proxy.ticket, into.path(), &[]))?.expect(0)?;
    let sent = sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&root])?;
    for (name, ..) in layouts() {
        let (there, here) = (taken(&root.join(name))?, taken(&into.join("tree").join(name))?);
        ensure!(here <= there.max(64 * KB), "{name:?} takes {here} bytes here, and {there} there");
    }
    // 5.1 MB of noise, and pages of which a part is content.
    ensure!(proxy.passed() < 7_500_000, "{} bytes crossed", proxy.passed());
    for ended in [&sent, &received] {
        ended.says(" MB of it are holes, which were not sent")?;
    }
    Ok(())
}

/// Where one side knows nothing of holes they cross as zeros, and resuming and comparing are as ever.
#[test]
fn either_side_may_not_know_of_holes() -> Result<()> {
    for (sends, receives) in [(true, false), (false, true), (false, false)] {
        let (from, into) = (Scratch::new()?, Scratch::new()?);
        let root = from.join("tree");
        make_all(&root)?;
        let options = |knows: bool| if knows { vec![] } else { vec!["--without", "sparse"] };
        let sender = Sender::pod(&[&root], &options(sends))?;
        let proxy = Proxy::start(&sender, u64::MAX)?;
        let received = receiving(&proxy.ticket, into.path(), &options(receives));
        run(received)?.expect(0)?;
        sender.end()?.expect(0)?;
        ensure_arrived(into.path(), &[&root])?;
        ensure!(proxy.passed() > 60_000_000, "{} bytes crossed", proxy.passed());
        // What came as zeros is what comes with holes.
        let sender = Sender::pod(&[&root], &[])?;
        let received = run(receiving(&sender.ticket, into.path(), &["--checksum"]))?.expect(0)?;
        received.says("all 10 files were already here")?;
        sender.end()?.expect(0)?;
    }
    Ok(())
}

/// The same with a speed limit and compression, and beside ordinary files.
#[test]
fn holes_cross_beside_everything_else() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    make_all(&root)?;
    for name in ["0", "b", "z"] {
        fs::write(root.join(name), noise(300_000, 3))?;
    }
    let sender = Sender::pod(&[&root], &["--limit", "100M", "--compress"])?;
    run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&root])
}

/// What is here is compared without a byte of it crossing, and what differs only inside is mended.
#[test]
fn holes_are_compared_by_content() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    make_all(&root)?;
    let send = |options: &[&str]| -> Result<(String, u64)> {
        let sender = Sender::pod(&[&root], &[])?;
        let proxy = Proxy::start(&sender, u64::MAX)?;
        let received = run(receiving(&proxy.ticket, into.path(), options))?.expect(0)?;
        sender.end()?.expect(0)?;
        Ok((received.stderr, proxy.passed()))
    };
    send(&[])?;
    let (said, passed) = send(&["--checksum"])?;
    ensure!(said.contains("all 10 files were already here") && passed < 20_000, "{passed}: {said}");

    // A byte in a hole, the size and the time as they were.
    let bent = into.join("tree/nothing but a hole");
    OpenOptions::new().write(true).open(&bent)?.write_all_at(b"x", 2 * MB)?;
    touch(&bent, 1_000_000_000, 5)?;
    send(&["--checksum", "--on-conflict", "overwrite"])?;
    ensure_contents(&into.join("tree"), &root)?;

    // A copy without holes has the same content.
    let filled = into.join("tree/a hole and a byte");
    let content = fs::read(&filled)?;
    fs::remove_file(&filled)?;
    fs::write(&filled, content)?;
    let (said, passed) = send(&["--on-conflict", "rename"])?;
    ensure!(said.contains("all 10 files were already here") && passed < 20_000, "{passed}: {said}");
    ensure_contents(&into.join("tree"), &root)
}

/// Every file of the one folder is in the other.
fn ensure_contents(here: &Path, there: &Path) -> Result<()> {
    for (name, ..) in layouts() {
        ensure!(fs::read(here.join(name))? == fs::read(there.join(name))?, "{name} differs");
    }
    Ok(())
}

/// What a person is told of a file is the SHA-256 of its content, on both sides.
#[test]
fn sums_are_those_of_the_content() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    make_all(&root)?;
    let lists = [from.join("sent.sums"), from.join("received.sums")];
    let [sent, received] = lists.each_ref().map(|path| path.to_str().context("UTF-8"));
    let sender = Sender::pod(&[&root], &["--manifest", sent?])?;
    let options = ["--manifest", received?, "--json=files"];
    let ended = run(receiving(&sender.ticket, into.path(), &options))?.expect(0)?;
    sender.end()?.expect(0)?;
    for (name, ..) in layouts() {
        let path = format!("tree/{name}");
        let sum = Sha256::digest(fs::read(into.join(&path))?);
        let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        for list in &lists {
            let list = fs::read_to_string(list)?;
            ensure!(list.contains(&format!("{sum}  {path}\n")), "{path}, {sum}: {list}");
        }
        let lines = ended.stdout.lines().map(serde_json::from_str::<Value>);
        let lines: Vec<Value> = lines.collect::<Result<_, _>>()?;
        let told = lines.iter().filter(|line| line["event"] == "file" && line["path"] == *path);
        let told: Vec<_> = told.map(|line| &line["sha256"]).collect();
        ensure!(told.len() == 1 && told[0] == &sum, "{path}: {told:?}");
        let end = lines.last().context("nothing is said")?;
        ensure!(end["holes"].as_u64().is_some_and(|holes| holes > 45_000_000), "{end}");
    }
    Ok(())
}

/// A pipe has no holes: zeros are written to it.
#[test]
fn to_a_pipe_zeros_are_written() -> Result<()> {
    for (name, size, content) in layouts() {
        let from = Scratch::new()?;
        let path = from.join("file");
        make(&path, size, &content)?;
        let sender = Sender::pod(&[&path], &[])?;
        let out = from.join("out");
        let mut command = transfer();
        command.args(["receive", "-o", "-", "--manifest"]).arg(from.join("sums"));
        command.arg(&sender.ticket).stdin(Stdio::null());
        command.stdout(File::create(&out)?).stderr(Stdio::piped());
        Process::start_as_it_is(command)?.end()?.expect(0)?;
        sender.end()?.expect(0)?;
        let (out, expected) = (fs::read(&out)?, fs::read(&path)?);
        ensure!(out == expected, "{name}: {} bytes came of {size}", out.len());
        let sum = Sha256::digest(expected);
        let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        let sums = fs::read_to_string(from.join("sums"))?;
        ensure!(sums == format!("{sum}  file\n"), "{name}: {sums}");
    }
    Ok(())
}

/// Sends a file and kills both sides once `limit` bytes have crossed; how long what is here is then.
fn interrupt(path: &Path, into: &Path, limit: u64) -> Result<u64> {
    let sender = Sender::pod(&[path], &[])?;
    let proxy = Proxy::start(&sender, limit)?;
    let receiver = Process::start(receiving(&proxy.ticket, into, &[]))?;
    proxy.wait_stalled()?;
    let part = into.join("file.part");
    let deadline = Instant::now() + LIMIT;
    let len = || fs::metadata(&part).map_or(0, |it| it.len());
    // Until nothing more comes.
    let mut last = u64::MAX;
    while len() == 0 || len() != last {
        ensure!(Instant::now() < deadline, "nothing is begun");
        last = len();
        sleep(Duration::from_millis(100));
    }
    receiver.kill()?;
    sender.process.kill()?;
    Ok(len())
}

/// Killed anywhere, it goes on where it was, in a file of any size: 100 GB of holes take no time.
#[test]
fn what_was_killed_goes_on_behind_its_holes() -> Result<()> {
    let layout =
        |size| vec![(3 * MB, 1_500_000), (size / 2, 1_500_000), (size - 1_400_000, 1_400_000)];
    for (size, limit) in [(50 * MB + 7, 1_300_000), (50 * MB, 2_700_000), (100 * GB + 7, 3_900_000)]
    {
        let (from, into) = (Scratch::new()?, Scratch::new()?);
        let path = from.join("file");
        make(&path, size, &layout(size))?;
        let begun = interrupt(&path, into.path(), limit)?;
        ensure!(begun > 3 * MB && begun < size, "{begun} of {size} bytes are here");

        let sender = Sender::pod(&[&path], &[])?;
        let proxy = Proxy::start(&sender, u64::MAX)?;
        let received = run(receiving(&proxy.ticket, into.path(), &[]))?.expect(0)?;
        sender.end()?.expect(0)?;
        received.says("0 completed, 1 partial, 0 fresh files")?;
        let left = layout(size).into_iter().map(|(at, len)| {
            let end = at + len as u64;
            end - end.min(begun).max(at)
        });
        let (left, passed) = (left.sum::<u64>(), proxy.passed());
        ensure!(passed < left + 150_000, "{passed} bytes crossed, not {left}");
        let here = into.join("file");
        ensure!(fs::metadata(&here)?.len() == size);
        ensure!(taken(&here)? < 6 * MB, "it takes {} bytes", taken(&here)?);
        let (one, other) = (File::open(&path)?, File::open(&here)?);
        for (at, len) in layout(size).into_iter().chain([(0, 100_000), (size / 2 - 9, 9)]) {
            let (mut sent, mut came) = (vec![0; len], vec![1; len]);
            one.read_exact_at(&mut sent, at)?;
            other.read_exact_at(&mut came, at)?;
            ensure!(sent == came, "it differs behind {at}");
        }
        ensure!(fs::metadata(&path)?.modified()? == fs::metadata(&here)?.modified()?);
    }
    Ok(())
}

/// A hole that gets content while the file is sent is a change; what is appended is none.
#[test]
fn a_file_with_holes_that_changes_is_told() -> Result<()> {
    type Change = fn(&File) -> std::io::Result<()>;
    let cases: [(&str, i32, Change); 5] = [
        ("a hole is filled", 3, |file| file.write_all_at(b"x", 20 * MB)),
        ("a hole that was passed is filled", 3, |file| file.write_all_at(b"x", 10)),
        ("it shrinks to its content", 3, |file| file.set_len(10 * MB)),
        ("it grows", 0, |file| file.write_all_at(b"more", 40 * MB + 7)),
        ("it grows, and a hole is filled", 3, |file| {
            file.write_all_at(b"x", 100)?;
            file.write_all_at(b"more", 40 * MB + 7)
        }),
    ];
    for (name, code, change) in cases {
        let (from, into) = (Scratch::new()?, Scratch::new()?);
        let path = from.join("file");
        // More than the way there holds.
        make(&path, 40 * MB + 7, &[(2 * MB, 18_000_000)])?;
        let sender = Sender::pod(&[&path], &[])?;
        let proxy = Proxy::start(&sender, 1_000_000)?;
        let receiver = Process::start(receiving(&proxy.ticket, into.path(), &[]))?;
        proxy.wait_stalled()?;
        change(&OpenOptions::new().write(true).open(&path)?)?;
        proxy.resume();
        let received = receiver.end()?;
        ensure!(received.code == Some(code), "{name}: {received:#?}");
        let sent = sender.end()?.expect(code)?;
        let here = into.join("file");
        ensure!(here.exists() == (code == 0), "{name}");
        if code == 0 {
            sent.says("grew meanwhile, and went as listed: file\n")?;
            let content = fs::read(&path)?;
            ensure!(fs::read(&here)? == content[..content.len() - 4], "{name}: it differs");
        }
    }
    Ok(())
}
