//! Random repositories, and what git itself lists of each of their folders. More than the few of
//! every run with `TRANSFER_REPOSITORIES=1500`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::*;

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    fn one_of<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

const NAMES: [&str; 14] = [
    "a", "b", "ab", "a.o", "b.o", "c.log", "keep.log", "x y", ".hid", "A", "out", "a-b", "é", "[a]",
];

const PATTERNS: [&str; 46] = [
    "*",
    "a",
    "b/",
    "/a",
    "/b/",
    "*.o",
    "!*.o",
    "!keep.log",
    "*.log",
    "out/",
    "out",
    "!out/",
    "!a",
    "a/b",
    "a/*",
    "!a/b",
    "**/a",
    "a/**",
    "**/b/**",
    "a/**/b",
    "/**/a",
    "**",
    "?",
    "[ab]",
    "[!a]*",
    "[a-b].o",
    "\\[a\\]",
    "x\\ y",
    "x y ",
    "x*\\ ",
    "# comment",
    "\\#",
    "",
    "A",
    "é",
    "?.o",
    "*/a",
    "*/*/b",
    ".*",
    "!.hid",
    "/*",
    "!/out/",
    "a*b",
    "**.o",
    "a**",
    "[[:alpha:]].o",
];

fn git(at: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
    let mut command = Command::new("git");
    command.arg("-C").arg(at).args(["-c", "user.name=n", "-c", "user.email=e@example.com"]);
    let output = command.args(arguments).stdin(Stdio::null()).output().unwrap();
    output.status.success().then_some(output.stdout)
}

/// What git lists and the disk has.
fn expected(folder: &Path) -> Option<BTreeSet<Vec<u8>>> {
    let listed = git(folder, &["ls-files", "-co", "--exclude-standard", "-z"])?;
    let paths = listed.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    let paths = paths.map(|path| path.strip_suffix(b"/").unwrap_or(path));
    Some(paths.filter(|path| !is_gone(folder, path)).map(|path| key(path).into_owned()).collect())
}

fn rules(dice: &mut Dice) -> String {
    let ending = if dice.once_in(5) { "\r\n" } else { "\n" };
    let lines: Vec<&str> = (0..=dice.below(5)).map(|_| dice.one_of(&PATTERNS)).collect();
    let mark = if dice.once_in(9) { "\u{feff}" } else { "" };
    format!("{mark}{}{}", lines.join(ending), if dice.once_in(3) { "" } else { ending })
}

fn fill(dice: &mut Dice, folder: &Path, depth: usize, folders: &mut Vec<PathBuf>) {
    folders.push(folder.into());
    if dice.once_in(3) {
        fs::write(folder.join(".gitignore"), rules(dice)).unwrap();
    }
    for _ in 0..dice.below(6) {
        let path = folder.join(dice.one_of(&NAMES));
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match dice.below(8) {
            0..4 if depth < 4 => {
                fs::create_dir(&path).unwrap();
                fill(dice, &path, depth + 1, folders);
            }
            #[cfg(unix)]
            4 => std::os::unix::fs::symlink(dice.one_of(&NAMES), &path).unwrap(),
            _ => fs::write(&path, "x").unwrap(),
        }
    }
}

/// A repository with all that changes what git lists, and its folders.
fn repository(dice: &mut Dice, top: &Path) -> Vec<PathBuf> {
    let format = if dice.once_in(8) { "--object-format=sha256" } else { "--object-format=sha1" };
    git(top, &["init", "-q", format]).unwrap();
    let mut folders = Vec::new();
    fill(dice, top, 0, &mut folders);
    if dice.once_in(3) {
        fs::create_dir_all(top.join(".git/info")).unwrap();
        fs::write(top.join(".git/info/exclude"), rules(dice)).unwrap();
    }
    if dice.once_in(4) {
        let file = dice.one_of(&["a", "no such file", ".git/user", "/dev/null", ""]);
        fs::write(top.join(".git/user"), rules(dice)).unwrap();
        git(top, &["config", "core.excludesFile", file]).unwrap();
    }
    if dice.once_in(6) {
        git(top, &["config", "core.ignoreCase", "true"]).unwrap();
    }
    // Git itself cannot read an index that is split and has no hash.
    let index = dice.one_of(&["core.splitIndex", "index.skipHash", "core.untrackedCache"]);
    for (once_in, key, value) in
        [(4, "index.version", "4"), (3, index, "true"), (6, "index.threads", "4")]
    {
        if dice.once_in(once_in) {
            git(top, &["config", key, value]).unwrap();
        }
    }
    if dice.once_in(5) {
        let path = dice.one_of(&["more", "missing"]);
        git(top, &["config", "include.path", path]).unwrap();
        fs::write(top.join(".git/more"), "[core]\n\texcludesFile = .git/user\n").unwrap();
    }
    // Repositories in the repository: empty, with a commit, or only something that looks like one.
    for _ in 0..dice.below(3) {
        let folder = folders[dice.below(folders.len())].clone();
        match dice.below(4) {
            _ if folder == top => {}
            0 => drop(fs::write(folder.join(".git"), "gitdir: nowhere")),
            1 => drop(fs::create_dir_all(folder.join(".git/objects"))),
            2 => drop(git(&folder, &["init", "-q", format])),
            _ => {
                git(&folder, &["init", "-q", format]);
                git(&folder, &["commit", "-q", "--allow-empty", "-m", "x"]);
            }
        }
    }
    for folder in &folders {
        let flags: &[&str] = match dice.below(6) {
            0 => &["add", "-f", "."],
            1 => &["add", "."],
            2 => &["add", "-f", "-N", "a", "a.o"],
            3 => &["add", "-f", "a.o", "c.log"],
            _ => continue,
        };
        git(folder, flags);
    }
    if dice.once_in(2) {
        git(top, &["commit", "-q", "-m", "first"]);
    }
    let tracked = git(top, &["ls-files", "-z"]).unwrap();
    let tracked = String::from_utf8(tracked).unwrap();
    for path in tracked.split_terminator('\0') {
        match dice.below(12) {
            0 => drop(git(top, &["update-index", "--skip-worktree", path])),
            1 => drop(git(top, &["update-index", "--assume-unchanged", path])),
            2 => drop(fs::remove_file(top.join(path))),
            // A file in the place of a folder, a folder in that of a file.
            3 if fs::remove_file(top.join(path)).is_ok() => {
                fs::create_dir(top.join(path)).unwrap();
                fs::write(top.join(path).join("b.o"), "x").unwrap();
            }
            _ => {}
        }
    }
    if dice.once_in(5) && fs::write(top.join("conflict"), "x").is_ok() {
        let mut command = Command::new("git");
        command.arg("-C").arg(top).args(["update-index", "--index-info"]);
        let hash = if format.ends_with("256") { "1".repeat(64) } else { "1".repeat(40) };
        let line = |stage| format!("100644 {hash} {stage}\tconflict\n");
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, [line(1), line(2), line(3)].concat().as_bytes())
            .unwrap();
        drop(input);
        child.wait().unwrap();
    }
    folders
}

#[test]
fn random_repositories_are_listed_as_by_git() {
    if Command::new("git").arg("--version").output().is_err() {
        return;
    }
    let many = std::env::var("TRANSFER_REPOSITORIES").ok().and_then(|it| it.parse().ok());
    let (mut same, mut refused, mut left_out) = (0, 0, 0);
    for seed in 1..=many.unwrap_or(50) {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap().join("r");
        fs::create_dir(&top).unwrap();
        let mut dice = Dice(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        let folders = repository(&mut dice, &top);
        for folder in folders {
            if !folder.is_dir() {
                continue;
            }
            let shown = format!("seed {seed}: {}", folder.display());
            match (expected(&folder), list(&folder)) {
                (Some(expected), Ok(Some(listing))) => {
                    let found: BTreeSet<Vec<u8>> =
                        listing.paths.iter().map(|path| path.to_vec()).collect();
                    // Rules in objects are not read, and that is said.
                    let dark = |path: &&Vec<u8>| {
                        let path = native(path).unwrap();
                        !listing.unknown.iter().any(|(folder, why)| {
                            why.contains("sparse checkout") && path.starts_with(folder)
                        })
                    };
                    let text = |set: &BTreeSet<Vec<u8>>| -> Vec<String> {
                        let seen = set.iter().filter(dark);
                        seen.map(|path| String::from_utf8_lossy(path).into_owned()).collect()
                    };
                    assert_eq!(text(&found), text(&expected), "{shown}");
                    same += 1;
                    left_out += usize::from(!listing.unknown.is_empty());
                }
                (None, Err(_)) => refused += 1,
                (Some(_), Err(why)) if why.contains("sparse checkout") => left_out += 1,
                (expected, found) => panic!("{shown}: {expected:?}, {found:?}"),
            }
        }
    }
    // The comparison is one.
    assert!(same > 200 && refused > 0 && left_out * 5 < same, "{same} {refused} {left_out}");
}

/// Whatever stands in git's files, there is an answer or a sentence, and soon.
#[test]
fn damaged_files_end_in_a_sentence() {
    if Command::new("git").arg("--version").output().is_err() {
        return;
    }
    let many = std::env::var("TRANSFER_DAMAGES").ok().and_then(|it| it.parse().ok());
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let (mut answered, mut refused) = (0, 0);
    for round in 0..6u64 {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap().join("r");
        fs::create_dir(&top).unwrap();
        repository(&mut Dice((round + 7) * 0x9e37_79b9_7f4a), &top);
        fs::write(top.join(".gitignore"), rules(&mut dice)).unwrap();
        let files = [".git/index", ".git/config", ".gitignore", ".git/HEAD"];
        for _ in 0..many.unwrap_or(200) {
            let file = top.join(dice.one_of(&files));
            let Ok(sound) = fs::read(&file) else { continue };
            let mut damaged = sound.clone();
            for _ in 0..=dice.below(3) {
                if damaged.is_empty() {
                    break;
                }
                let at = dice.below(damaged.len());
                match dice.below(5) {
                    0 => damaged.truncate(at),
                    1 => drop(damaged.remove(at)),
                    2 => damaged.insert(at, 0xff),
                    3 => damaged[at] = 0xff,
                    _ => damaged[at] ^= 1 << dice.below(8),
                }
            }
            fs::write(&file, damaged).unwrap();
            match list(&top) {
                Ok(_) => answered += 1,
                Err(_) => refused += 1,
            }
            fs::write(&file, sound).unwrap();
        }
    }
    assert!(answered > 100 && refused > 100, "{answered} {refused}");
}
