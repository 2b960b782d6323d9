//! How much `transfer serve` takes, of whom, how many at a time, and with which modes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::serving::House;
use crate::util::process::{LIMIT, Process, run};
use crate::util::root::obeying_modes;
use crate::util::tree::noise;

/// Bytes of all files in a folder of the server.
fn bytes_in(folder: &std::path::Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.metadata()?;
        let is_own = entry.file_name().to_string_lossy().starts_with(".transfer_lock.");
        match (found.is_dir(), is_own) {
            (true, _) => bytes += bytes_in(&entry.path())?,
            (false, true) => {}
            (false, false) => bytes += found.len(),
        }
    }
    Ok(bytes)
}

#[test]
fn a_quota_is_exact_to_the_byte() -> Result<()> {
    let house = House::new()?;
    fs::write(house.path("rest"), vec![1; 1000])?;
    fs::write(house.path("byte"), "1")?;
    let server = house.serve("attic", &["--port", "0", "--quota", "301000"])?;
    run(house.send("laptop", &server, &["photos"]))?.expect(0)?;
    // It is there already, and costs nothing.
    run(house.send("laptop", &server, &["photos"]))?.expect(0)?;
    let both = run(house.send("laptop", &server, &["rest", "byte"]))?.expect(7)?;
    both.says("the receiver takes 1.0 kB more of this device, and 1.0 kB would have to come")?;
    ensure!(!house.path("incoming/laptop/byte").exists());
    run(house.send("laptop", &server, &["rest"]))?.expect(0)?;
    run(house.send("laptop", &server, &["byte"]))?
        .expect(7)?
        .says("the receiver takes 0 B more of this device, and 1 B would have to come")?;
    // Another content of the same name and size is one more file.
    fs::write(house.path("rest"), vec![2; 1000])?;
    run(house.send("laptop", &server, &["rest"]))?.expect(7)?;
    assert_eq!(bytes_in(&house.path("incoming/laptop"))?, 301_000);
    // Who removes something there has room again, without a new start.
    fs::remove_file(house.path("incoming/laptop/rest"))?;
    run(house.send("laptop", &server, &["byte"]))?.expect(0)?;
    // Of another device nothing counts.
    house.run("phone", &["device"])?.expect(0)?;
    house.trusts("phone", "attic")?;
    house.trusts("attic", "phone")?;
    run(house.send("phone", &server, &["photos", "rest"]))?.expect(0)?;
    server.stop()?.says("1 B would have to come, and --quota lets 0 B")
}

#[test]
fn what_cannot_be_counted_lets_nothing_in() -> Result<()> {
    let Some(()) = obeying_modes()? else { return Ok(()) };
    let house = House::new()?;
    let server = house.serve("attic", &["--port", "0", "--quota", "1M"])?;
    run(house.send("laptop", &server, &["photos"]))?.expect(0)?;
    let hidden = house.path("incoming/laptop/photos/2026");
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o300))?;
    let mut sender = Process::start(house.send("laptop", &server, &["photos"]))?;
    sender.wait_until_said("cannot write to its folder; trying again")?;
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o700))?;
    sender.end()?.expect(0)?;
    server.stop()?.says("what counts for --quota cannot be looked at in")
}

#[test]
fn an_upload_has_its_bounds() -> Result<()> {
    let house = House::new()?;
    let options = ["--port", "0", "--max-upload", "300kB", "--keep-free", "0"];
    let server = house.serve("attic", &options)?;
    fs::write(house.path("byte"), "1")?;
    let refused = run(house.send("laptop", &server, &["photos", "byte"]))?.expect(7)?;
    refused.says("takes 300.0 kB more of this device, and 300.0 kB would have to come")?;
    run(house.send("laptop", &server, &["photos"]))?.expect(0)?;
    run(house.send("laptop", &server, &["photos", "byte"]))?.expect(0)?;

    // So has what nobody knows the length of, and nothing of it stays.
    for (length, code) in [(300_001, 7), (300_000, 0)] {
        let mut command = house.send("laptop", &server, &["--name", "stream", "-"]);
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        // It may have had enough.
        let _ = child.stdin.take().context("its input")?.write_all(&vec![5; length]);
        let ended = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{length}: {said}");
        assert_eq!(house.path("incoming/laptop/stream").exists(), code == 0, "{length}");
    }
    assert_eq!(bytes_in(&house.path("incoming/laptop"))?, 600_001);
    server.stop()?.says("and --max-upload lets 300.0 kB")?;

    // Nobody has a disk of 900 TB, and so nothing is free beside that.
    let server = house.serve("attic", &["--port", "0", "--keep-free", "900T"])?;
    fs::write(house.path("more"), "more")?;
    let mut sender = Process::start(house.send("laptop", &server, &["more"]))?;
    sender.wait_until_said("the receiver has no room: ")?;
    sender.interrupt()?;
    sender.end()?.expect(130)?;
    ensure!(!house.path("incoming/laptop/more").exists());
    // What is there already needs none.
    run(house.send("laptop", &server, &["photos"]))?.expect(0)?;
    server.stop()?.says("and the 900.0 TB of --keep-free")
}

/// An upload that was interrupted needs no more than what is missing of it.
#[test]
fn what_has_come_of_an_upload_counts_once() -> Result<()> {
    let house = House::new()?;
    let options = ["--port", "0", "--quota", "300000"];
    let server = house.serve("attic", &options)?;
    fs::write(house.path("film"), noise(300_000, 1))?;
    let slow = house.send("laptop", &server, &["--limit", "100k", "film"]);
    let sender = Process::start(slow)?;
    let deadline = Instant::now() + LIMIT;
    while bytes_in(&house.path("incoming/laptop")).unwrap_or_default() == 0 {
        ensure!(Instant::now() < deadline, "nothing comes");
        thread::sleep(Duration::from_millis(5));
    }
    sender.kill()?;
    run(house.send("laptop", &server, &["film"]))?.expect(0)?;
    assert_eq!(fs::read(house.path("incoming/laptop/film"))?, noise(300_000, 1));
    server.stop().map(drop)
}

#[test]
fn all_into_one_folder_one_at_a_time() -> Result<()> {
    let house = House::new()?;
    house.run("phone", &["device"])?.expect(0)?;
    house.trusts("phone", "attic")?;
    house.trusts("attic", "phone")?;
    let mut server = house.serve("attic", &["--port", "0", "--flat"])?;
    let slow = house.send("laptop", &server, &["--limit", "100k", "photos"]);
    let first = Process::start(slow)?;
    server.process.wait_until_said("laptop (127.0.0.1): 2 files")?;
    fs::write(house.path("note"), "of the phone")?;
    let second = Process::start(house.send("phone", &server, &["note"]))?;
    server.process.wait_until_said("phone: waits for an earlier upload")?;
    ensure!(!house.path("incoming/note").exists());
    first.end()?.expect(0)?;
    second.end()?.expect(0)?;
    house.arrived("photos")?;
    assert_eq!(fs::read_to_string(house.path("incoming/note"))?, "of the phone");
    server.stop().map(drop)
}

#[test]
fn so_many_uploads_at_a_time() -> Result<()> {
    let house = House::new()?;
    house.run("phone", &["device"])?.expect(0)?;
    house.trusts("phone", "attic")?;
    house.trusts("attic", "phone")?;
    let mut server = house.serve("attic", &["--port", "0", "--uploads", "1"])?;
    let first = Process::start(house.send("laptop", &server, &["--limit", "100k", "photos"]))?;
    server.process.wait_until_said("laptop (127.0.0.1): 2 files")?;
    let second = Process::start(house.send("phone", &server, &["photos"]))?;
    server.process.wait_until_said("phone: waits for an earlier upload")?;
    first.end()?.expect(0)?;
    second.end()?.expect(0)?;
    house.arrived("phone/photos")?;
    server.stop().map(drop)
}

#[test]
fn modes_come_through_the_umask() -> Result<()> {
    let house = House::new()?;
    let mode = |name: &str| -> Result<u32> {
        Ok(fs::metadata(house.path(name))?.permissions().mode() & 0o7777)
    };
    let set =
        |name: &str, mode| fs::set_permissions(house.path(name), fs::Permissions::from_mode(mode));
    set("photos", 0o2777)?;
    set("photos/2026", 0o1777)?;
    set("photos/2026/a.jpg", 0o6777)?;
    set("photos/empty", 0o444)?;
    for (options, folder, sticky, file, read_only) in [
        (&["--umask", "027", "--storage", "incoming"][..], 0o750, 0o1750, 0o750, 0o440),
        (&["--umask", "0"], 0o777, 0o1777, 0o777, 0o444),
    ] {
        let words = [&["--port", "0"], options].concat();
        let server = match options.contains(&"--storage") {
            true => house.serve_in("attic", &[], &words)?,
            false => house.serve("attic", &words)?,
        };
        run(house.send("laptop", &server, &["photos"]))?.expect(0)?;
        let found = ["photos", "photos/2026", "photos/2026/a.jpg", "photos/empty"];
        let found: Vec<_> =
            found.iter().map(|it| mode(&format!("incoming/laptop/{it}"))).collect::<Result<_>>()?;
        assert_eq!(found, [folder, sticky, file, read_only], "{options:?}");
        assert_eq!(mode("incoming/laptop")?, 0o700);
        // What is there already gets no other mode than that.
        run(house.send("laptop", &server, &["photos"]))?.expect(0)?;
        assert_eq!(mode("incoming/laptop/photos/2026/a.jpg")?, file);
        server.stop()?;
        fs::remove_dir_all(house.path("incoming"))?;
    }
    for (option, why) in [
        (["--umask", "9"], "a umask is three octal digits"),
        (["--umask", "777"], "this would take its own files from the server"),
        (["--umask", "400"], "this would take its own files from the server"),
        (["--quota", "much"], "a size is like 500M"),
        (["--uploads", "17"], "17 is not in 1..=16"),
    ] {
        let words = [&["serve", "--pod", "incoming"], &option[..]].concat();
        house.run("attic", &words)?.expect(2)?.says(why)?;
    }
    Ok(())
}
