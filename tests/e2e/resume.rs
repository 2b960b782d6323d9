//! What an interrupted run leaves behind is never an excuse: not to take what belongs to somebody
//! else, and not to have the same thing twice.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::proxy::Proxy;
use crate::util::process::{LIMIT, Pipe, Process, Sender, receiving, run};
use crate::util::skip;
use crate::util::tree::{Scratch, ensure_arrived, names, noise, touch, write};

/// What a receiver knows of an interrupted run.
pub const LOCK: &str = ".transfer_lock.json";

/// Sends `paths` and kills the receiver once `limit` bytes have crossed and `part` is begun. The
/// sender is gone too.
pub fn interrupt(
    paths: &[&Path],
    into: &Path,
    options: &[&str],
    (limit, part): (u64, &str),
) -> Result<()> {
    let sender = Sender::pod(paths, &[])?;
    let proxy = Proxy::start(&sender, limit)?;
    let receiver = Process::start(receiving(&proxy.ticket, into, options))?;
    proxy.wait_stalled()?;
    let deadline = Instant::now() + LIMIT;
    while fs::metadata(into.join(part)).map_or(0, |it| it.len()) < 500_000 {
        ensure!(Instant::now() < deadline, "{part} does not grow");
        sleep(Duration::from_millis(5));
    }
    // What came before it is put at its place beside it, by other threads.
    let is_small =
        |path: &&&Path| fs::metadata(path).is_ok_and(|it| it.is_file() && it.len() < 65_536);
    let places =
        paths.iter().filter(is_small).filter_map(|path| Some(into.join(path.file_name()?)));
    for place in places {
        while !place.exists() {
            ensure!(Instant::now() < deadline, "{} does not come", place.display());
            sleep(Duration::from_millis(5));
        }
    }
    receiver.kill()?;
    sender.process.kill()
}

/// Sends `paths` to the end.
fn finish(paths: &[&Path], into: &Path, options: &[&str]) -> Result<()> {
    let sender = Sender::pod(paths, &[])?;
    run(receiving(&sender.ticket, into, options))?.expect(0)?;
    sender.end()?.expect(0)?;
    Ok(())
}

/// A file that had arrived has no unfinished one: `report.part` was there before and stays, though
/// `report` changes at its source before the next run.
#[test]
fn a_part_file_of_the_user_outlives_every_run() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let (report, rest) = (from.join("report"), from.join("z rest"));
    write(&report, noise(5000, 1))?;
    write(&rest, noise(3_000_000, 2))?;
    write(&into.join("report.part"), "the user's own")?;
    interrupt(
        &[&report, &rest],
        into.path(),
        &["--on-conflict", "skip"],
        (1_500_000, "z rest.part"),
    )?;
    ensure!(fs::read(&report)? == fs::read(into.join("report"))?, "it has not arrived");
    write(&report, noise(6000, 3))?;
    finish(&[&report, &rest], into.path(), &["--on-conflict", "skip"])?;
    ensure!(fs::read(into.join("report.part"))? == b"the user's own", "it was taken for ours");
    fs::remove_file(into.join("report.part"))?;
    ensure_arrived(into.path(), &[&report, &rest])
}

/// A folder that the interrupted run did not offer was not made by it.
#[cfg(unix)]
#[test]
fn a_folder_that_was_there_keeps_its_mode_in_a_second_run() -> Result<()> {
    use std::os::unix::fs::MetadataExt;

    use crate::util::tree::chmod;

    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let (big, private) = (from.join("big"), from.join("private"));
    let made = from.join("a made");
    write(&big, noise(3_000_000, 2))?;
    write(&private.join("new"), "new")?;
    write(&made.join("file"), "file")?;
    chmod(&private, 0o777)?;
    chmod(&made, 0o750)?;
    touch(&made, 1_000_000_000, 0)?;
    fs::create_dir(into.join("private"))?;
    chmod(&into.join("private"), 0o700)?;
    touch(&into.join("private"), 1_100_000_000, 0)?;
    interrupt(&[&made, &big], into.path(), &[], (1_500_000, "big.part"))?;
    finish(&[&made, &big, &private], into.path(), &[])?;
    let kept = fs::metadata(into.join("private"))?;
    ensure!(kept.mode() & 0o7777 == 0o700, "mode {:o}", kept.mode());
    // What the first run made is finished by the second.
    let finished = fs::metadata(into.join("a made"))?;
    ensure!(finished.mode() & 0o7777 == 0o750, "mode {:o}", finished.mode());
    ensure!(finished.mtime() == 1_000_000_000, "time {}", finished.mtime());
    Ok(())
}

/// A lock that another user owns, or that has a second name, is not believed, and an unfinished
/// file of that kind is not written into.
#[cfg(unix)]
#[test]
fn what_others_can_reach_is_not_gone_on_with() -> Result<()> {
    let from = Scratch::new()?;
    let root = from.join("tree");
    write(&root.join("a first"), noise(1000, 1))?;
    write(&root.join("big"), noise(3_000_000, 2))?;
    type Plant = fn(&Path, &Path) -> Result<()>;
    let cases: &[(&str, Plant)] = &[
        ("the unfinished file has a second name", |into, beside| {
            Ok(fs::hard_link(into.join("tree/big.part"), beside.join("big"))?)
        }),
        ("another user owns the unfinished file", |into, _| {
            Ok(std::os::unix::fs::chown(into.join("tree/big.part"), Some(12_345), None)?)
        }),
    ];
    for (name, plant) in cases {
        let (into, beside) = (Scratch::new()?, Scratch::new()?);
        interrupt(&[&root], into.path(), &[], (1_500_000, "tree/big.part"))?;
        let part = into.join("tree/big.part");
        let before = fs::read(&part)?;
        ensure!(!before.is_empty(), "{name}: nothing was begun");
        if let Err(error) = plant(into.path(), beside.path()) {
            // Only root gives files away.
            skip(format_args!("\"{name}\": {error}"));
            continue;
        }
        finish(&[&root], into.path(), &[]).with_context(|| (*name).to_owned())?;
        ensure!(fs::read(&part)? == before, "{name}: the unfinished file was taken");
        if let Ok(other) = fs::read(beside.join("big")) {
            ensure!(other == before, "{name}: written through a second name");
        }
        fs::remove_file(&part)?;
        let lock = into.join(LOCK);
        ensure!(!lock.exists(), "{name}: a lock is left");
        for file in ["a first", "big"] {
            let arrived = fs::read(into.join("tree").join(file))?;
            ensure!(arrived == fs::read(root.join(file))?, "{name}: {file} differs");
        }
    }
    Ok(())
}

/// Files that are called like the lock and are none stay, and one that is sent gets another name.
#[test]
fn the_name_of_the_lock_is_not_for_files() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    write(&from.join(LOCK), "sent")?;
    write(&from.join("d").join(LOCK), "sent too")?;
    write(&from.join("big"), noise(3_000_000, 2))?;
    write(&into.join(LOCK), "the user's own")?;
    write(&into.join(".transfer_lock.json.tmp"), "the user's own")?;
    let paths = [&*from.join(LOCK), &from.join("d"), &from.join("big")];
    interrupt(&paths, into.path(), &[], (1_500_000, "big.part"))?;
    finish(&paths, into.path(), &[])?;
    ensure!(fs::read(into.join(LOCK))? == b"the user's own", "replaced");
    ensure!(fs::read(into.join(".transfer_lock (1).json"))? == b"sent", "not kept");
    ensure!(fs::read(into.join("d/.transfer_lock (1).json"))? == b"sent too", "not kept");
    for own in
        [LOCK, ".transfer_lock (1).json", ".transfer_lock.json.tmp", "d/.transfer_lock (1).json"]
    {
        fs::remove_file(into.join(own))?;
    }
    fs::remove_file(from.join("d").join(LOCK))?;
    let time = fs::metadata(from.join("d"))?.modified()?;
    filetime::set_file_mtime(into.join("d"), time.into())?;
    ensure_arrived(into.path(), &paths[1..])
}

/// With `--checksum` a file that is here already gets no second name because a run broke off.
#[test]
fn what_is_the_same_is_kept_by_a_second_run_too() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let (big, same) = (from.join("big"), from.join("same"));
    write(&big, noise(3_000_000, 2))?;
    write(&same, noise(5000, 1))?;
    write(&into.join("same"), noise(5000, 1))?;
    touch(&into.join("same"), 1_000_000_000, 0)?;
    interrupt(&[&big, &same], into.path(), &["--checksum"], (1_500_000, "big.part"))?;
    finish(&[&big, &same], into.path(), &["--checksum"])?;
    ensure_arrived(into.path(), &[&big, &same])?;
    let names = names(into.path())?;
    ensure!(names.len() == 2, "{names:?}");
    Ok(())
}

/// An unfinished file that is gone when its turn comes is sent anew.
#[test]
fn a_part_file_that_vanishes_is_had_anew() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let (first, second) = (from.join("first"), from.join("second"));
    write(&first, noise(3_000_000, 1))?;
    write(&second, noise(3_000_000, 2))?;
    interrupt(&[&first, &second], into.path(), &[], (4_500_000, "second.part"))?;
    // The first again, so that the second's turn comes late.
    fs::remove_file(into.join("first"))?;
    let mut sender = Sender::pod(&[&first, &second], &[])?;
    let proxy = Proxy::start(&sender, 1_500_000)?;
    let receiver = Process::start(receiving(&proxy.ticket, into.path(), &[]))?;
    proxy.wait_stalled()?;
    fs::remove_file(into.join("second.part"))?;
    proxy.resume();
    receiver.end()?.expect(0)?;
    sender.process.wait_for(Pipe::Err, "sent 2 files")?;
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&first, &second])
}

/// A path deeper than there may be open files.
#[cfg(unix)]
#[test]
fn a_very_deep_tree_arrives() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let mut folder = from.join("deep");
    for _ in 0..150 {
        write(&folder.join("file"), "content")?;
        folder.push("d");
    }
    let sender = Sender::pod(&[&from.join("deep")], &[])?;
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -n 100 && exec \"$@\"", "sh"]);
    let command = receiving(&sender.ticket, into.path(), &[]);
    limited.arg(command.get_program()).args(command.get_args());
    run(crate::util::process::clean(limited))?.expect(0)?;
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&from.join("deep")])
}

/// Sends `paths` to the end; returns the bytes that have crossed.
fn finish_counted(paths: &[&Path], into: &Path, options: &[&str]) -> Result<u64> {
    let sender = Sender::pod(paths, &[])?;
    let proxy = Proxy::start(&sender, u64::MAX)?;
    run(receiving(&proxy.ticket, into, options))?.expect(0)?;
    sender.end()?.expect(0)?;
    Ok(proxy.passed())
}

/// A file of the same size and another time is compared first. Once it is known to differ, what has
/// begun to come is gone on with, not begun anew.
#[test]
fn what_has_begun_goes_on_beside_a_file_of_its_size() -> Result<()> {
    for options in [&["--on-conflict", "overwrite"][..], &["--on-conflict", "rename"], &[]] {
        let (from, into) = (Scratch::new()?, Scratch::new()?);
        let image = from.join("image");
        write(&image, noise(4_000_000, 1))?;
        write(&into.join("image"), noise(4_000_000, 2))?;
        touch(&into.join("image"), 1_000_000_000, 0)?;
        let replaced = options.contains(&"overwrite");
        let part = if replaced { "image.part" } else { "image (1).part" };
        interrupt(&[&image], into.path(), options, (3_000_000, part))?;
        let crossed = finish_counted(&[&image], into.path(), options)?;
        ensure!(crossed < 3_600_000, "{options:?}: {crossed} bytes crossed again");
        let place = into.join(if replaced { "image" } else { "image (1)" });
        ensure!(fs::read(&place)? == fs::read(&image)?, "{options:?}: it is not what was sent");
        let names = names(into.path())?;
        ensure!(names.len() == if replaced { 1 } else { 2 }, "{options:?}: {names:?}");
    }
    Ok(())
}

/// `--checksum` compares what an interrupted run has finished; it does not have it sent again.
#[test]
fn comparing_is_not_sending_again() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let (first, second) = (from.join("first"), from.join("second"));
    write(&first, noise(3_000_000, 1))?;
    write(&second, noise(3_000_000, 2))?;
    interrupt(&[&first, &second], into.path(), &["--checksum"], (4_500_000, "second.part"))?;
    let crossed = finish_counted(&[&first, &second], into.path(), &["--checksum"])?;
    ensure!(crossed < 2_900_000, "{crossed} bytes crossed again");
    ensure_arrived(into.path(), &[&first, &second])
}

/// Of a large file, of which a bit was flipped in what an interrupted run left, a few blocks come
/// again; what is behind them comes at once.
#[test]
fn a_flipped_bit_in_a_large_file_costs_blocks() -> Result<()> {
    const MB: u64 = 1_000_000;
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let image = from.join("image");
    // 8 MiB, again and again with another beginning: noise takes long to make.
    let mut block = noise(8 << 20, 1);
    let mut content = Vec::new();
    for number in 0..42u8 {
        block[0] = number;
        content.extend_from_slice(&block);
    }
    write(&image, &content)?;
    interrupt(&[&image], into.path(), &[], (320 * MB, "image.part"))?;
    let part = into.join("image.part");
    let have = fs::metadata(&part)?.len();
    ensure!(have > 260 * MB, "{have} bytes are here");
    let lock: serde_json::Value = serde_json::from_slice(&fs::read(into.join(LOCK))?)?;
    let states = lock["files"]["image"]["states"].as_str().map_or(0, str::len) as u64 / 64;
    let mut file = fs::File::options().write(true).open(&part)?;
    file.seek(SeekFrom::Start(3))?;
    file.write_all(b"?")?;
    drop(file);
    let crossed = finish_counted(&[&image], into.path(), &[])?;
    // What the lock has not told of yet when the receiver was killed, and the damaged block.
    let most = content.len() as u64 - states * (8 << 20) + (8 << 20) + 2 * MB;
    ensure!(crossed < most, "{crossed} bytes crossed again, {states} blocks were known");
    ensure!(fs::read(into.join("image"))? == content, "it is not what was sent");
    ensure!(names(into.path())?.len() == 1);
    Ok(())
}
