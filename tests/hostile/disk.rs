//! Traps on the receiver's disk: links and pipes where the program writes, and a folder that becomes
//! a link while it does. Whatever happens, nothing is read or written through them.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use hmac::Mac;

use transfer::files::own::Own;

use crate::names::{interrupt, wait_for};
use crate::script::{
    CONTENT, Entry, Line, PLAN, SIZE, bytes, data, end, file, folder, start, whole,
};
use crate::stage::{Case, LOCK, Stage, all};
use crate::util::tree::{names, write};

/// What is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trap {
    /// A link to a file outside.
    ToFile,
    /// A link to a folder outside.
    ToFolder,
    /// A link to another folder in the output folder.
    ToInside,
    /// A link to a name outside that nothing has.
    ToNothing,
    /// A link to the absolute path of a file.
    Absolute,
    /// A link to itself.
    ToItself,
    /// A named pipe, on which whoever opens it waits.
    Pipe,
    /// A folder with something in it.
    Folder,
}

const TRAPS: [Trap; 8] = [
    Trap::ToFile,
    Trap::ToFolder,
    Trap::ToInside,
    Trap::ToNothing,
    Trap::Absolute,
    Trap::ToItself,
    Trap::Pipe,
    Trap::Folder,
];

impl Trap {
    /// Plants it under a path in the output folder.
    fn plant(self, stage: &Stage, path: &str) -> Result<()> {
        let at = stage.out().join(path);
        fs::create_dir_all(at.parent().unwrap_or(Path::new("/")))?;
        match self {
            Self::ToFile => symlink("../bait", at)?,
            Self::ToFolder => symlink("../elsewhere", at)?,
            Self::ToInside => {
                write(&stage.out().join("inside/kept"), "mine")?;
                symlink(if path.contains('/') { "../inside" } else { "inside" }, at)?;
            }
            Self::ToNothing => symlink("../not there", at)?,
            Self::Absolute => symlink(stage.join("bait"), at)?,
            Self::ToItself => symlink(at.file_name().unwrap_or_default(), &at)?,
            Self::Pipe => {
                // Apple has no call for it that rustix knows.
                let made = Command::new("mkfifo").arg(&at).status()?;
                ensure!(made.success(), "mkfifo: {made}");
            }
            Self::Folder => write(&at.join("mine"), "mine")?,
        }
        Ok(())
    }

    fn is_link(self) -> bool {
        !matches!(self, Self::Pipe | Self::Folder)
    }
}

/// Sends the files that the plan wants, whole.
fn send_wanted(line: &mut Line, entries: &[Entry]) -> Result<()> {
    line.offer(entries)?;
    let plan = line.hear_pages(PLAN)?;
    ensure!(plan.len() % 5 == 0, "nothing was to be resumed: {plan:x?}");
    let (skipped, _) = plan.as_chunks::<5>();
    for (index, entry) in (0u32..).zip(entries) {
        let skip = skipped.iter().any(|step| step[..4] == index.to_be_bytes());
        if entry.kind == 0 && !skip {
            line.say(&data(&[whole(index)]))?;
        }
    }
    line.finish().map(drop)
}

/// At the name of a file. Only `overwrite` may take a link or a pipe away, never what it leads to.
#[test]
fn at_the_name_of_a_file() -> Result<()> {
    let ways: &[(&[&str], &str)] = &[
        (&["rename"], "x -> x (1)"),
        (&["skip"], "skipped"),
        (&["overwrite"], "received"),
        (&["fail"], "names are taken already"),
        (&["rename", "--checksum"], "x -> x (1)"),
        (&["overwrite", "--checksum"], "received"),
        (&["rename", "--fresh"], "x -> x (1)"),
    ];
    let rows: Vec<_> =
        TRAPS.iter().flat_map(|trap| ways.iter().map(move |way| (trap, way))).collect();
    all(&rows, |(trap, (options, says))| {
        let stage = Stage::new()?;
        trap.plant(&stage, "x")?;
        let way = options[0];
        let code = if way == "fail" { 7 } else { 0 };
        let mut case = Case::new(format!("disk: {trap:?} at a name, {options:?}"), code, says);
        case.options = [&["-vv", "--on-conflict"], *options].concat();
        // What no file can replace is kept beside it.
        let replaced = way == "overwrite" && trap.is_link();
        match way {
            "skip" | "fail" => {}
            "overwrite" if replaced => case.changed = vec!["x"],
            _ => case = case.left(&["x (1)"]),
        }
        stage.receive(&case, |line| match way {
            "fail" => line.offer(&[file("x")]),
            _ => send_wanted(line, &[file("x")]),
        })?;
        let found = fs::symlink_metadata(stage.out().join("x"))?;
        ensure!(found.is_file() == replaced, "{trap:?} is {found:?} now");
        Ok(())
    })
}

/// At the name of a folder that has files in it.
#[test]
fn at_the_name_of_a_folder() -> Result<()> {
    let ways = ["rename", "skip", "overwrite"];
    let rows: Vec<_> = TRAPS.iter().flat_map(|trap| ways.map(|way| (trap, way))).collect();
    all(&rows, |(trap, way)| {
        let stage = Stage::new()?;
        trap.plant(&stage, "d")?;
        let case = Case::new(format!("disk: {trap:?} at a folder, {way}"), 0, "received");
        // A folder is a folder: both are merged.
        let left: &[&str] = match (trap, *way) {
            (Trap::Folder, _) => &["d/f"],
            (_, "skip") => &[],
            _ => &["d (1)", "d (1)/f"],
        };
        let case = Case { options: vec!["-vv", "--on-conflict", way], ..case.left(left) };
        stage.receive(&case, |line| send_wanted(line, &[folder("d"), file("d/f")]))?;
        Ok(())
    })
}

/// Where the unfinished file would be: another name is taken.
#[test]
fn at_the_unfinished_file() -> Result<()> {
    all(&TRAPS, |trap| {
        let stage = Stage::new()?;
        trap.plant(&stage, "x.part")?;
        trap.plant(&stage, "x.1.part")?;
        let case = Case::new(format!("disk: {trap:?} at .part"), 0, "received 1 file");
        stage.receive(&case.left(&["x"]), |line| send_wanted(line, &[file("x")]))?;
        Ok(())
    })
}

/// Where the lock and its temporary name would be. These names are the program's own: what has them
/// may go, what it leads to may not.
#[test]
fn at_the_lock() -> Result<()> {
    let places: [&[&str]; 3] =
        [&[LOCK], &[".transfer_lock.json.tmp"], &[LOCK, ".transfer_lock.json.tmp"]];
    let rows: Vec<_> = TRAPS.iter().flat_map(|trap| places.map(|place| (trap, place))).collect();
    all(&rows, |(trap, places)| {
        let stage = Stage::new()?;
        places.iter().try_for_each(|place| trap.plant(&stage, place))?;
        let case = Case::new(format!("disk: {trap:?} at {places:?}"), 0, "received 1 file");
        let changed = if **trap == Trap::Folder { vec![] } else { places.to_vec() };
        let case = Case { changed, ..case.left(&["x"]) };
        stage.receive(&case, |line| send_wanted(line, &[file("x")]))?;
        Ok(())
    })
}

/// An earlier run was killed, and what it left has become a trap since.
#[test]
fn in_place_of_what_an_interrupted_run_left() -> Result<()> {
    let rows: Vec<_> =
        TRAPS.iter().flat_map(|trap| ["a/f.part", "a", LOCK].map(|at| (trap, at))).collect();
    all(&rows, |(trap, at)| {
        let stage = Stage::new()?;
        interrupt(&stage)?;
        let out = stage.out();
        if *at == "a" {
            fs::rename(out.join("a"), out.join("was a"))?;
        } else {
            fs::remove_file(out.join(at))?;
        }
        trap.plant(&stage, at)?;
        let case = Case::new(format!("disk: {trap:?} in place of {at}"), 0, "received 1 file");
        let left: &[&str] = match (at, trap) {
            (&"a", Trap::Folder) | (&"a/f.part" | &LOCK, _) => &["a/f"],
            _ => &["a (1)", "a (1)/f"],
        };
        // The lock goes at the end, and with a good one what it knows as the program's own.
        let changed = match (at, trap) {
            (&LOCK, Trap::Folder) => vec![],
            _ => vec![LOCK],
        };
        let case = Case { changed, ..case.left(left) };
        stage.receive(&case, |line| send_wanted(line, &[folder("a"), file("a/f")]))?;
        Ok(())
    })
}

/// A lock that says what no lock says, signed with this user's key: the worst it can do is to be
/// believed about names inside the folder. Not signed, it is somebody's file.
#[test]
fn a_lock_with_names_that_lead_out() -> Result<()> {
    let long = "9".repeat(100_000);
    let rows: Vec<(&str, String)> = vec![
        ("a place outside", r#""renamed":{"x":"../bait"}"#.into()),
        ("a place outside that is new", r#""renamed":{"x":"../new"}"#.into()),
        ("an absolute place", r#""renamed":{"x":"HERE/new"}"#.into()),
        ("a place behind a link", r#""renamed":{"x":"link/kept"}"#.into()),
        ("numbers without end", format!(r#""total_files":{long}"#)),
        ("lists in lists", format!(r#""x":{}{}"#, "[".repeat(50_000), "]".repeat(50_000))),
        ("much", format!(r#""x":"{}""#, "y".repeat(8 << 20))),
        ("a version of nothing", r#""version":null"#.into()),
        ("no JSON", "\0\0\0\0".into()),
    ];
    all(&rows, |(name, fields)| {
        let stage = Stage::new()?;
        let lock = stage.out().join(LOCK);
        symlink("../elsewhere", stage.out().join("link"))?;
        let folder = fs::metadata(stage.out())?.ino();
        let fields = fields.replace("HERE", &stage.path().to_string_lossy());
        let own = Own::of_user();
        let owner = own.lock_mark();
        let signed = format!(r#"{{"version":"1.0","owner":"{owner}","folder":{folder},{fields}"#);
        let mac = own.lock().chain_update(&signed).finalize().into_bytes();
        let mac: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        write(&lock, format!(r#"{signed},"mac":"{mac}"}}"#))?;
        // A place of its own that cannot be written to is the one thing that is believed.
        let believed = *name == "a place behind a link";
        let (code, left): (_, &[&str]) = if believed { (3, &[]) } else { (0, &["x"]) };
        let case = Case::new(format!("disk: a lock with {name}"), code, "received");
        let case = Case { changed: vec![LOCK], ..case.left(left) };
        stage.receive(&case, |line| send_wanted(line, &[file("x")]))?;
        Ok(())
    })
}

/// The folder that is being written into becomes a link, in the middle of a file. What was open
/// already goes on where the folder is now; what is opened anew is refused.
#[test]
fn a_folder_that_becomes_a_link() -> Result<()> {
    for (name, target) in
        [("outside", "../elsewhere"), ("absolute", "HERE/elsewhere"), ("inside", "inside")]
    {
        let stage = Stage::new()?;
        write(&stage.out().join("inside/kept"), "mine")?;
        let target = target.replace("HERE", &stage.path().to_string_lossy());
        let entries = [
            folder("d"),
            folder("d/e"),
            file("d/e/f"),
            file("d/e/g"),
            file("d/h"),
            folder("y"),
            file("y/z"),
        ];
        let case =
            Case::new(format!("disk: a folder becomes a link, {name}"), 3, "d/h: the receiver");
        // What went on in the folder that is elsewhere now has been verified as well.
        let left = ["d", "was d", "was d/e", "was d/e/f", "y", "y/z"];
        stage.receive(&case.left(&left), |line| {
            line.offer_and_plan(&entries)?;
            line.say(&data(&[start(2, 0), bytes(&CONTENT[..9])]))?;
            let (d, was) = (stage.out().join("d"), stage.out().join("was d"));
            wait_for(|| fs::metadata(d.join("e/f.part")).is_ok_and(|found| found.len() == 9))?;
            fs::rename(&d, &was)?;
            symlink(&target, &d)?;
            let hash = <sha2::Sha256 as sha2::Digest>::digest(CONTENT);
            line.say(&data(&[bytes(&CONTENT[9..]), end(SIZE, &hash)]))?;
            // Out of the folder, and into it again. What comes in two records one thread writes.
            line.say(&data(&[start(6, 0), bytes(&CONTENT[..9])]))?;
            line.say(&data(&[bytes(&CONTENT[9..]), end(SIZE, &hash)]))?;
            line.say(&data(&[whole(4), whole(3)]))?;
            line.finish().map(drop)
        })?;
        ensure!(names(&stage.join("elsewhere"))? == ["kept".into()].into(), "written outside");
    }
    Ok(())
}

/// The output folder itself becomes a link: it was opened before, and stays what it was.
#[test]
fn an_output_folder_that_becomes_a_link() -> Result<()> {
    let stage = Stage::new()?;
    let was = stage.join("was out");
    let case = Case::new("disk: the output folder becomes a link", 0, "received 2 files");
    // Nothing is new but the link in its place, and the folder under its other name.
    let run = stage.receive(&case, |line| {
        line.offer_and_plan(&[file("x"), file("y")])?;
        line.say(&data(&[start(0, 0), bytes(&CONTENT[..9])]))?;
        wait_for(|| stage.out().join("x.part").exists())?;
        fs::rename(stage.out(), &was)?;
        symlink("elsewhere", stage.out())?;
        let hash = <sha2::Sha256 as sha2::Digest>::digest(CONTENT);
        line.say(&data(&[bytes(&CONTENT[9..]), end(SIZE, &hash), whole(1)]))?;
        line.finish()?;
        // Put right again for the look at the whole.
        wait_for(|| !was.join(LOCK).exists())?;
        ensure!(names(&stage.join("elsewhere"))? == ["kept".into()].into(), "written outside");
        ensure!(names(&was)? == ["x".into(), "y".into()].into(), "not all is there");
        fs::remove_file(stage.out())?;
        fs::remove_file(was.join("x"))?;
        fs::remove_file(was.join("y"))?;
        Ok(fs::rename(&was, stage.out())?)
    });
    run.map(drop)
}
