//! A disk that refuses or bends an attribute keeps the file.

use anyhow::{Result, ensure};
use fuser::Errno;

use crate::faulty::{Attribute, Faults, Numbers, Times};
use crate::stage::{
    Holds, Stopped, all, ensure_ended, ensure_holds, faulty, go_through, make_tree, send,
    wait_until, words,
};
use crate::util::root::as_root;
use crate::util::tree::{Scratch, touch, write};

/// How often the receiver is told that the disk cannot hold something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Never,
    /// Not once a file.
    Once,
    /// The disk does not say; it can be looked at.
    Perhaps,
}

/// A disk: its faults, what it can hold, whether the receiver is told so.
struct Row {
    name: String,
    faults: Faults,
    holds: Holds,
    told: Told,
}

fn row(name: impl Into<String>, holds: Holds, told: Told, faults: Faults) -> Row {
    Row { name: name.into(), faults, holds, told }
}

fn rows() -> Vec<Row> {
    let flawless = Faults::default();
    let mut rows = vec![row("nothing is wrong", Holds::ALL, Told::Never, flawless)];
    let no_modes = Holds { modes: false, ..Holds::ALL };
    let no_times = Holds { times: None, ..Holds::ALL };
    for error in [Errno::EPERM, Errno::EOPNOTSUPP, Errno::ENOSYS, Errno::EACCES] {
        let faults = Faults { chmod: Attribute::Refused(error), ..flawless };
        rows.push(row(format!("chmod: {}", words(error)), no_modes, Told::Once, faults));
        let faults = Faults { utimens: Attribute::Refused(error), ..flawless };
        rows.push(row(format!("utimens: {}", words(error)), no_times, Told::Once, faults));
    }
    let neither = Faults {
        chmod: Attribute::Refused(Errno::EPERM),
        utimens: Attribute::Refused(Errno::EPERM),
        every_mode: Some(0o777),
        ..flawless
    };
    rows.push(row("neither", Holds { modes: false, times: None }, Told::Once, neither));
    let faults = Faults { chmod: Attribute::Ignored, every_mode: Some(0o777), ..flawless };
    rows.push(row("all files are 0777", no_modes, Told::Perhaps, faults));
    let faults = Faults { utimens: Attribute::Ignored, ..flawless };
    rows.push(row("times are ignored", no_times, Told::Perhaps, faults));
    let faults = Faults { needs_both_times: true, ..flawless };
    rows.push(row("mtime alone is ignored", Holds::ALL, Told::Never, faults));
    let all = Times::ANY;
    for (name, times) in [
        ("100 ns", Times { grain: 100, ..all }),
        ("1 us", Times { grain: 1000, ..all }),
        ("1 ms", Times { grain: 1_000_000, ..all }),
        ("10 ms", Times { grain: 10_000_000, ..all }),
        ("1 s", Times { grain: 1_000_000_000, ..all }),
        ("2 s", Times { grain: 2_000_000_000, ..all }),
        ("1901 to 2038", Times { grain: 1, first: -(1 << 31), last: (1 << 31) - 1 }),
        ("1970 to 2040", Times { grain: 1, first: 0, last: 2_208_988_799 }),
        ("FAT", Times { grain: 2_000_000_000, first: 315_532_800, last: 4_102_444_800 }),
    ] {
        let holds = Holds { times: Some(times), ..Holds::ALL };
        rows.push(row(
            format!("times: {name}"),
            holds,
            Told::Perhaps,
            Faults { times, ..flawless },
        ));
    }
    for error in [Errno::ETXTBSY, Errno::EACCES, Errno::EPERM, Errno::EBUSY] {
        let faults = Faults { remove_open: Some(error), ..flawless };
        let name = format!("open files stay: {}", words(error));
        rows.push(row(name, Holds::ALL, Told::Never, faults));
        let faults = Faults { rename_open: Some(error), ..flawless };
        rows.push(row(
            format!("open files keep their names: {}", words(error)),
            Holds::ALL,
            Told::Never,
            faults,
        ));
    }
    for error in [Errno::EPERM, Errno::EINVAL, Errno::ENOSYS, Errno::EOPNOTSUPP] {
        for hard_link in [None, Some(Errno::EPERM), Some(Errno::EOPNOTSUPP)] {
            let faults = Faults { rename_flags: Some(error), hard_link, ..flawless };
            let name = format!("renaming with flags: {}, hard links: {hard_link:?}", words(error));
            rows.push(row(name, Holds::ALL, Told::Never, faults));
        }
    }
    for inode_numbers in [Numbers::PerMount, Numbers::PerLook] {
        let faults = Faults { inode_numbers, ..flawless };
        rows.push(row(
            format!("inode numbers: {inode_numbers:?}"),
            Holds::ALL,
            Told::Never,
            faults,
        ));
    }
    rows.extend([
        row(
            "another owner",
            Holds::ALL,
            Told::Never,
            Faults { every_owner: Some(65_534), ..flawless },
        ),
        row(
            "no flock",
            Holds::ALL,
            Told::Never,
            Faults { flock: Some(Errno::EOPNOTSUPP), ..flawless },
        ),
        row(
            "no locks left",
            Holds::ALL,
            Told::Never,
            Faults { flock: Some(Errno::ENOLCK), ..flawless },
        ),
        row("0 of 0 bytes", Holds::ALL, Told::Never, Faults { says_no_size: true, ..flawless }),
        row("late writes", Holds::ALL, Told::Never, Faults { writes_late: true, ..flawless }),
    ]);
    rows
}

#[test]
fn a_tree_is_sent_twice_and_gone_on_with() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    all(
        &rows(),
        |row| row.name.clone(),
        |row| {
            let Some(disk) = faulty(row.faults)? else { return Ok(()) };
            go_through(disk.path(), row.holds, |_, received| {
                let said = &received.stderr;
                let told = said.lines().filter(|line| line.starts_with("warning: ")).count();
                let refused = [row.faults.chmod, row.faults.utimens]
                    .iter()
                    .filter(|fault| matches!(fault, Attribute::Refused(_)))
                    .count();
                let right = match row.told {
                    Told::Never => told == 0,
                    Told::Once => (1..=refused).contains(&told),
                    Told::Perhaps => told <= 1,
                };
                ensure!(right, "told {told} times, not {:?}:\n{said}", row.told);
                Ok(())
            })
        },
    )
}

/// A source that changes between two runs replaces what the first has brought, whatever the disk
/// made of its time.
#[test]
fn a_changed_source_after_a_kill() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    let bent = |row: &Row| row.name.starts_with("times") || row.name.starts_with("mtime");
    let rows: Vec<_> = rows().into_iter().filter(bent).collect();
    all(
        &rows,
        |row| row.name.clone(),
        |row| {
            let Some(disk) = faulty(row.faults)? else { return Ok(()) };
            let from = Scratch::new()?;
            let root = from.join("tree");
            make_tree(&root)?;
            let changed = ["a/long ago", "a/one", "a/one day", "a/program"];
            let stopped = Stopped::at(1_500_000, &[&root], disk.path(), &[])?;
            let arrived = changed.map(|name| disk.path().join("tree").join(name));
            wait_until(|| arrived.iter().all(|path| path.exists()))?;
            // Each brought as the disk could: a lock with another time would not know it again.
            let sender = stopped.interrupt()?;
            for name in changed {
                write(&root.join(name), format!("a new {name}"))?;
                touch(&root.join(name), 1_650_000_000, 987_654_321)?;
            }
            sender.process.kill()?;
            let (sent, received) = send(&[&root], disk.path(), &[])?;
            ensure_ended(&sent, &received, 0)?;
            let holds = Holds { times: None, ..row.holds };
            ensure_holds(disk.path(), &root, holds)
        },
    )
}
