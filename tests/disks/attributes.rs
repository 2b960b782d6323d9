//! A disk that refuses or bends an attribute keeps the file.

use anyhow::{Result, ensure};
use fuser::Errno;

use crate::faulty::{Attribute, Faults, Numbers, Times};
use crate::stage::{Holds, all, faulty, go_through, words};

/// A disk: its faults, what it can hold, whether the receiver is told so.
struct Row {
    name: String,
    faults: Faults,
    holds: Holds,
    told: bool,
}

fn row(name: impl Into<String>, holds: Holds, told: bool, faults: Faults) -> Row {
    Row { name: name.into(), faults, holds, told }
}

fn rows() -> Vec<Row> {
    let flawless = Faults::default();
    let mut rows = vec![row("nothing is wrong", Holds::ALL, false, flawless)];
    let no_modes = Holds { modes: false, ..Holds::ALL };
    let no_times = Holds { times: None, ..Holds::ALL };
    for error in [Errno::EPERM, Errno::EOPNOTSUPP, Errno::ENOSYS, Errno::EACCES] {
        let faults = Faults { chmod: Attribute::Refused(error), ..flawless };
        rows.push(row(format!("chmod: {}", words(error)), no_modes, true, faults));
        let faults = Faults { utimens: Attribute::Refused(error), ..flawless };
        rows.push(row(format!("utimens: {}", words(error)), no_times, true, faults));
    }
    let neither = Faults {
        chmod: Attribute::Refused(Errno::EPERM),
        utimens: Attribute::Refused(Errno::EPERM),
        every_mode: Some(0o777),
        ..flawless
    };
    rows.push(row("neither", Holds { modes: false, times: None }, true, neither));
    let faults = Faults { chmod: Attribute::Ignored, every_mode: Some(0o777), ..flawless };
    rows.push(row("all files are 0777", no_modes, false, faults));
    let faults = Faults { utimens: Attribute::Ignored, ..flawless };
    rows.push(row("times are ignored", no_times, false, faults));
    let faults = Faults { needs_both_times: true, ..flawless };
    rows.push(row("mtime alone is ignored", Holds::ALL, false, faults));
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
        rows.push(row(format!("times: {name}"), holds, false, Faults { times, ..flawless }));
    }
    for error in [Errno::ETXTBSY, Errno::EACCES, Errno::EPERM, Errno::EBUSY] {
        let faults = Faults { rename_open: Some(error), ..flawless };
        rows.push(row(
            format!("open files keep their names: {}", words(error)),
            Holds::ALL,
            false,
            faults,
        ));
    }
    for error in [Errno::EPERM, Errno::EINVAL, Errno::ENOSYS, Errno::EOPNOTSUPP] {
        for hard_link in [None, Some(Errno::EPERM), Some(Errno::EOPNOTSUPP)] {
            let faults = Faults { rename_flags: Some(error), hard_link, ..flawless };
            let name = format!("renaming with flags: {}, hard links: {hard_link:?}", words(error));
            rows.push(row(name, Holds::ALL, false, faults));
        }
    }
    for inode_numbers in [Numbers::PerMount, Numbers::PerLook] {
        let faults = Faults { inode_numbers, ..flawless };
        rows.push(row(format!("inode numbers: {inode_numbers:?}"), Holds::ALL, false, faults));
    }
    rows.extend([
        row("another owner", Holds::ALL, false, Faults { every_owner: Some(65_534), ..flawless }),
        row("no flock", Holds::ALL, false, Faults { flock: Some(Errno::EOPNOTSUPP), ..flawless }),
        row("no locks left", Holds::ALL, false, Faults { flock: Some(Errno::ENOLCK), ..flawless }),
        row("0 of 0 bytes", Holds::ALL, false, Faults { says_no_size: true, ..flawless }),
        row("late writes", Holds::ALL, false, Faults { writes_late: true, ..flawless }),
    ]);
    rows
}

#[test]
fn a_tree_is_sent_twice_and_gone_on_with() -> Result<()> {
    all(
        &rows(),
        |row| row.name.clone(),
        |row| {
            let Some(disk) = faulty(row.faults)? else { return Ok(()) };
            go_through(disk.path(), row.holds, |_, received| {
                let told = received.stderr.lines().filter(|line| line.starts_with("warning: "));
                let expected = usize::from(row.told);
                ensure!(
                    told.count() == expected,
                    "not told {expected} times:\n{}",
                    received.stderr
                );
                Ok(())
            })
        },
    )
}
