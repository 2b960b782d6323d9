//! Trees arrive whole: names, sizes, contents, modes, times, links.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::util::process::{Sender, receiving, run, send_into, transfer};
use crate::util::skip;
#[cfg(unix)]
use crate::util::tree::chmod;
use crate::util::tree::{self, Scratch, ensure_arrived, ensure_same, names, noise, touch, write};

const COMPRESS: [&str; 4] =
    ["--compress=none", "--compress=auto", "--compress=lz4", "--compress=blosc"];

/// Sends paths once with each way of compressing, each time into a new folder.
fn arrives_in_every_mode(paths: &[&Path]) -> Result<()> {
    for compress in COMPRESS {
        let into = Scratch::new()?;
        send_into(into.path(), paths, &[compress], 0)
            .and_then(|_| ensure_arrived(into.path(), paths))
            .context(compress)?;
    }
    Ok(())
}

#[test]
fn a_plain_tree_arrives() -> Result<()> {
    let from = Scratch::new()?;
    let tree = from.join("tree");
    write(&tree.join("notes.txt"), "hello")?;
    write(&tree.join("deep/er/still/data.bin"), noise(100_000, 1))?;
    write(&tree.join("with space/grüße 日本 😀.txt"), "é")?;
    write(&tree.join("empty.txt"), "")?;
    fs::create_dir(tree.join("empty"))?;
    arrives_in_every_mode(&[&tree])
}

/// Contents and names on which others have failed: see the first lines of each block.
/// Whether the Windows here is wine, which cannot tell where a folder of a long path is.
fn is_wine() -> bool {
    cfg!(windows) && std::env::var_os("WINEPREFIX").is_some()
}

#[test]
fn awkward_names_and_contents_arrive() -> Result<()> {
    let from = Scratch::new()?;
    let tree = from.join("tree");
    // What a receiver could take for its own files, or for an empty list of something.
    for number in 0..20 {
        write(&tree.join(format!("json/{number}.json")), "{}")?;
    }
    for name in [".transfer_lock", "transfer_lock.json", "json/transfer_lock.json"] {
        write(&tree.join(name), "{}")?;
    }
    for name in ["x", "x.part", "x.part.part", "x.1.part", "x.2.part", ".part", "y.part", "z/.part"]
    {
        write(&tree.join("part").join(name), format!("I am {name}"))?;
    }
    write(&tree.join("folder.part/inside.part"), "not unfinished")?;
    write(&tree.join("numbered/a"), "a")?;
    write(&tree.join("numbered/a (1)"), "not a copy of a")?;
    // Nothing in it.
    for number in 0..20 {
        write(&tree.join(format!("zero/{number}")), "")?;
    }
    fs::create_dir_all(tree.join("empty/nested/deeper"))?;
    // Names.
    let longest = ["n".repeat(255), "é".repeat(127) + "x", "😀".repeat(63) + "abc"];
    let long_parts = ["p".repeat(250) + ".part", "日".repeat(83) + "a.part"];
    for name in longest.iter().chain(&long_parts) {
        assert_eq!(name.len(), 255);
        write(&tree.join("long").join(name), name)?;
        if !is_wine() {
            write(&tree.join("long folders").join(name).join("in"), name)?;
        }
    }
    for name in [
        "a..b",
        "..a",
        "-",
        "-rf",
        "--help",
        "~",
        "#",
        "%41",
        "é",
        "日本語",
        "😀",
        "it's",
        "$HOME",
        "`id`",
        "$(id)",
        "!",
        "&",
        ";",
        "[a]",
        "{}",
        "=",
        ",",
    ] {
        write(&tree.join("names").join(name), name)?;
    }
    if cfg!(unix) {
        for name in [
            "...", "a..", "CON", "nul.txt", "a:b", "C:", "a\\b", "\\", "\"", "*", "?", "<", ">",
            "|", " ", " lead", "trail ", "trail.",
        ] {
            write(&tree.join("unix names").join(name), name)?;
        }
    }
    // Folders in each other, in all more than the 260 characters of old Windows.
    let levels = if is_wine() { 6 } else { 60 };
    let deep: PathBuf = (0..levels).map(|level| format!("level {level}")).collect();
    write(&tree.join(deep).join("bottom"), "here")?;
    // A folder's name that is the start of its neighbours' names.
    for name in ["s/in", "s-t/in", "s.t/in", "s t/in", "s0"] {
        write(&tree.join("order").join(name), name)?;
    }
    arrives_in_every_mode(&[&tree])
}

#[test]
#[cfg(unix)]
fn modes_and_times_arrive() -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let from = Scratch::new()?;
    let is_root = fs::metadata(from.path())?.uid() == 0;
    let tree = from.join("tree");
    for mode in [0o000, 0o111, 0o400, 0o444, 0o600, 0o640, 0o755, 0o777] {
        if mode & 0o400 == 0 && !is_root {
            skip(format_args!("a file of mode {mode:04o} can be read by root only"));
            continue;
        }
        let file = tree.join(format!("file-{mode:04o}"));
        write(&file, "content")?;
        chmod(&file, mode)?;
    }
    for mode in [0o500, 0o555, 0o700, 0o755, 0o777, 0o1777, 0o2755] {
        if mode == 0o2755 && cfg!(not(target_os = "linux")) {
            continue;
        }
        let folder = tree.join(format!("folder-{mode:04o}"));
        write(&folder.join("file"), "content")?;
        write(&folder.join("sub/file"), "content")?;
        chmod(&folder.join("sub"), mode)?;
        chmod(&folder, mode)?;
    }
    let times = [
        (0, 0),
        (0, 1),
        (1, 999_999_999),
        (-1, 999_999_999),
        (-1, 500_000_000),
        (-2_000_000_000, 0),
        (-2_000_000_000, 123_456_789),
        (1_234_567_890, 987_654_321),
        (2_147_483_647, 999_999_999),
        (2_147_483_648, 0),
        (4_000_000_000, 1),
    ];
    for (number, (seconds, nanoseconds)) in times.into_iter().enumerate() {
        let folder = tree.join(format!("time-{number}"));
        let (file, link) = (folder.join("file"), folder.join("link"));
        write(&file, "content")?;
        std::os::unix::fs::symlink("file", &link)?;
        for path in [&file, &link, &folder] {
            touch(path, seconds, nanoseconds)?;
        }
    }
    touch(&tree, 1_000_000_000, 7)?;
    arrives_in_every_mode(&[&tree])
}

#[test]
#[cfg(unix)]
fn links_arrive_as_links() -> Result<()> {
    let from = Scratch::new()?;
    let (tree, other) = (from.join("tree"), from.join("other"));
    write(&tree.join("file"), "content")?;
    write(&tree.join("sub/deeper/file"), "content")?;
    write(&other.join("file"), "content")?;
    for (link, target) in [
        ("to-file", "file"),
        ("to-folder", "sub"),
        ("to-folder-slash", "sub/"),
        ("to-here", "."),
        ("broken", "not there"),
        ("to-itself", "to-itself"),
        ("to-link", "to-file"),
        ("dotted", "./sub/./deeper"),
        ("sub/up", "../file"),
        ("sub/up-folder", ".."),
        ("sub/deeper/up-twice", "../../file"),
        ("sub/deeper/across", "../../sub/up"),
        ("to-other", "../other/file"),
        ("x.part", "file"),
        ("spaces and 日本", "a broken one with spaces and 日本"),
    ] {
        std::os::unix::fs::symlink(target, tree.join(link))?;
    }
    let long = "l".repeat(255);
    std::os::unix::fs::symlink(&long, tree.join(&long))?;
    arrives_in_every_mode(&[&tree, &other])
}

/// Who names a link means what it points to.
#[test]
#[cfg(unix)]
fn a_link_on_the_command_line_stands_for_its_target() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    write(&from.join("tree/sub/file"), "content")?;
    std::os::unix::fs::symlink("sub/file", from.join("tree/link"))?;
    std::os::unix::fs::symlink("tree", from.join("folder"))?;
    std::os::unix::fs::symlink("tree/sub/file", from.join("file"))?;
    send_into(into.path(), &[&from.join("folder"), &from.join("file")], &[], 0)?;
    assert_eq!(names(into.path())?, ["file", "folder"].map(PathBuf::from).into());
    for (target, name) in [("tree", "folder"), ("tree/sub/file", "file")] {
        ensure_same(&tree::tree(&from.join(target))?, &tree::tree(&into.join(name))?)?;
    }
    Ok(())
}

/// Around the sizes at which files get records of their own and records end.
#[test]
fn every_size_around_a_boundary_arrives() -> Result<()> {
    const SMALL: usize = 64 * 1024;
    const RECORD: usize = 1024 * 1024;
    let from = Scratch::new()?;
    let tree = from.join("tree");
    let mut sizes = vec![0, 1, 2, 5 * RECORD + 12_345];
    for boundary in [4096, SMALL, RECORD, RECORD + 1024, 2 * RECORD] {
        sizes.extend([boundary - 1, boundary, boundary + 1]);
    }
    for size in sizes {
        write(&tree.join(format!("noise-{size}")), noise(size, size as u64))?;
        if size < 2 * RECORD - 1 {
            let mut text = "the quick brown fox jumps over the lazy dog\n".repeat(size / 44 + 1);
            text.truncate(size);
            write(&tree.join(format!("text-{size}")), text)?;
        }
    }
    // Small ones that fill records to the brim, with a large one between them.
    for number in 0..40 {
        write(&tree.join(format!("pack/{number:02}")), noise(SMALL - 1 - number % 3, 7))?;
    }
    write(&tree.join("pack/20-large"), noise(RECORD + 5, 8))?;
    arrives_in_every_mode(&[&tree])
}

#[test]
fn three_thousand_small_files_arrive() -> Result<()> {
    let from = Scratch::new()?;
    let tree = from.join("tree");
    for folder in 0..30 {
        for file in 0..100 {
            let number = folder * 100 + file;
            write(&tree.join(format!("{folder}/{file}.txt")), noise(number % 2000, 3))?;
        }
    }
    let into = Scratch::new()?;
    send_into(into.path(), &[&tree], &[], 0)?;
    ensure_arrived(into.path(), &[&tree])
}

/// What is typed behind `send`, in which folder, and the names that arrive.
#[test]
fn paths_may_be_written_in_any_way() -> Result<()> {
    let from = Scratch::new()?;
    write(&from.join("tree/sub/file"), "content")?;
    write(&from.join("tree/-x"), "a dash")?;
    write(&from.join("one.txt"), "one")?;
    write(&from.join("two.txt"), "two")?;
    let absolute = from.join("tree").into_os_string().into_string().ok().context("not UTF-8")?;
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("", &["one.txt"], &["one.txt"]),
        ("", &["one.txt", "two.txt", "tree"], &["one.txt", "two.txt", "tree"]),
        ("", &["tree/"], &["tree"]),
        ("", &["./tree/."], &["tree"]),
        ("", &["tree//sub/"], &["tree/sub"]),
        ("tree", &["."], &["tree"]),
        ("tree", &["./"], &["tree"]),
        ("tree/sub", &[".."], &["tree"]),
        ("tree/sub", &["../../one.txt", "."], &["one.txt", "tree/sub"]),
        ("tree", &["sub/.."], &["tree"]),
        ("tree", &["--", "-x"], &["tree/-x"]),
        ("", &[&absolute], &["tree"]),
    ];
    for (cwd, typed, expected) in cases {
        let into = Scratch::new()?;
        let mut command = transfer();
        command.args(["send", "--pod", "--port", "0", "-y"]).args(*typed);
        command.current_dir(from.join(cwd));
        let sender = Sender::start(command)?;
        run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
        sender.end()?.expect(0)?;
        let expected: Vec<PathBuf> = expected.iter().map(|path| from.join(path)).collect();
        let expected: Vec<&Path> = expected.iter().map(PathBuf::as_path).collect();
        ensure_arrived(into.path(), &expected).with_context(|| format!("{cwd:?}: {typed:?}"))?;
    }
    Ok(())
}

#[test]
#[cfg(unix)]
fn links_are_followed_on_demand() -> Result<()> {
    let from = Scratch::new()?;
    let (tree, plain) = (from.join("tree"), from.join("plain"));
    write(&from.join("outside/file"), "content")?;
    fs::create_dir(&tree)?;
    std::os::unix::fs::symlink("../outside", tree.join("folder"))?;
    std::os::unix::fs::symlink("../outside/file", tree.join("file"))?;
    write(&plain.join("folder/file"), "content")?;
    write(&plain.join("file"), "content")?;
    for path in ["folder/file", "folder", "file", ""] {
        for root in [&tree, &plain] {
            // Through the links: what they point to is what is sent.
            filetime::set_file_mtime(root.join(path), filetime::FileTime::from_unix_time(9, 0))?;
        }
    }
    let into = Scratch::new()?;
    send_into(into.path(), &[&tree], &["--follow-symlinks"], 0)?;
    ensure_same(&tree::tree(&plain)?, &tree::tree(&into.join("tree"))?)
}

#[test]
fn developer_folders_stay_behind_on_demand() -> Result<()> {
    let from = Scratch::new()?;
    let tree = from.join("tree");
    write(&tree.join("main.py"), "print()")?;
    write(&tree.join("__pycache__/main.pyc"), "x")?;
    write(&tree.join("venv/pyvenv.cfg"), "x")?;
    write(&tree.join("env/settings"), "x")?;
    let into = Scratch::new()?;
    send_into(into.path(), &[&tree], &["--exclude-dev"], 0)?;
    let expected = ["main.py", "env"].map(PathBuf::from).into();
    assert_eq!(names(&into.join("tree"))?, expected);
    Ok(())
}

/// Trees that nobody thought of. The seed of one that fails is in the error.
#[test]
fn random_trees_arrive() -> Result<()> {
    for seed in 0..12 {
        let from = Scratch::new()?;
        let tree = from.join("tree");
        let mut rng = StdRng::seed_from_u64(seed);
        fs::create_dir(&tree)?;
        grow(&tree, 4, &mut rng)?;
        let into = Scratch::new()?;
        let compress = COMPRESS[usize::try_from(seed)? % COMPRESS.len()];
        send_into(into.path(), &[&tree], &[compress], 0)
            .and_then(|_| ensure_arrived(into.path(), &[&tree]))
            .with_context(|| format!("the tree of seed {seed}"))?;
    }
    Ok(())
}

fn grow(folder: &Path, levels: u32, rng: &mut StdRng) -> Result<()> {
    const LETTERS: [&str; 12] = ["a", "b", "Z", ".", "-", " ", "é", "日", "😀", "0", ".part", "("];
    for number in 0..rng.random_range(0..9) {
        let mut name = String::from("n");
        for _ in 0..rng.random_range(1..30) {
            name.push_str(LETTERS[rng.random_range(0..LETTERS.len())]);
        }
        // Unlike its neighbours also where upper and lower case are one; no space at the end.
        let path = folder.join(format!("{name}{number}"));
        match rng.random_range(0..10) {
            0..3 if levels > 0 => {
                fs::create_dir(&path)?;
                grow(&path, levels - 1, rng)?;
            }
            #[cfg(unix)]
            3 => std::os::unix::fs::symlink("../".repeat((4 - levels) as usize) + &name, &path)?,
            _ => {
                let size = match rng.random_range(0..20) {
                    0..3 => 0,
                    3..16 => rng.random_range(0..4096),
                    16..19 => rng.random_range(0..200_000),
                    _ => rng.random_range(0..3_000_000),
                };
                let mut content = noise(size, rng.random());
                if rng.random() {
                    content.iter_mut().for_each(|byte| *byte %= 4);
                }
                write(&path, content)?;
                #[cfg(unix)]
                chmod(&path, 0o400 | rng.random_range(0..0o777))?;
            }
        }
        touch(
            &path,
            rng.random_range(-1_000_000_000..4_000_000_000),
            rng.random_range(0..1_000_000_000),
        )?;
    }
    #[cfg(unix)]
    chmod(folder, 0o500 | rng.random_range(0..0o777))?;
    touch(folder, rng.random_range(0..2_000_000_000), rng.random_range(0..1_000_000_000))
}
