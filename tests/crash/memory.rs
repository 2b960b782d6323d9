//! Both engines over a pipe that is cut, or flips a bit, until the transfer ends all the same.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use hmac::Mac;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use transfer::compress::Compression;
use transfer::event::Event;
use transfer::files::own::Own;
use transfer::send::content::StreamOptions;

use crate::engine::{STREAM, Sizes, transfer_with, walk_all};
use crate::pipe::Faults;
use crate::util::tree::{Scratch, Tree, chmod, ensure_same, names, noise, touch, tree, write};

/// Rounds of each kind.
const ROUNDS: u64 = 36;

/// Attempts of a round that are broken; the next one is left alone.
const MAX_BROKEN: u64 = 30;

/// Bytes that may be on their way in the pipe when it breaks.
const IN_PIPE: u64 = 4096;

const LOCK: &str = ".transfer_lock.json";

/// One transfer, broken until it ends.
struct Round {
    rng: StdRng,
    from: Scratch,
    into: Scratch,
    /// What is sent.
    paths: Vec<PathBuf>,
    /// Bytes of content in a record, and of a block.
    sizes: Sizes,
    options: StreamOptions,
    broken: u64,
    /// Whether a bit was flipped: in a length it makes the receiver wait for what never comes,
    /// and all that crosses meanwhile is lost.
    flipped: bool,
    /// Bytes of content that the receiver has taken in, over all attempts.
    taken: u64,
    /// Bytes that have crossed towards the receiver, over all attempts.
    crossed: u64,
}

impl Round {
    /// A tree of small and not so small files, and an empty folder to receive into.
    fn new(seed: u64) -> Result<Self> {
        let (from, into) = (Scratch::new()?, Scratch::new()?);
        let mut rng = StdRng::seed_from_u64(seed);
        let root = from.join("tree");
        for number in 0..rng.random_range(3..12) {
            let path = root.join(format!("small/{number:02}"));
            write(&path, noise(rng.random_range(0..1200), rng.random()))?;
        }
        for (name, range) in [
            ("a.txt", 1..3000),
            ("folder/x", 2000..20_000),
            ("folder/x.part", 1..3000),
            ("folder/deep/er/y", 1..9000),
            ("large.bin", 10_000..90_000),
            ("zz", 0..2000),
        ] {
            write(&root.join(name), noise(rng.random_range(range), rng.random()))?;
        }
        fs::create_dir_all(root.join("nothing/in here"))?;
        symlink("../a.txt", root.join("folder/link"))?;
        chmod(&root.join("large.bin"), 0o700)?;
        chmod(&root.join("zz"), 0o444)?;
        chmod(&root.join("folder/deep"), 0o750)?;
        touch(&root.join("a.txt"), rng.random_range(-1_000_000_000..2_000_000_000), 5)?;
        touch(&root.join("nothing"), 1_000_000_000, 1)?;
        let sizes = Sizes::from(rng.random_range(64..=700));
        let (paths, options) = (vec![root], STREAM);
        Ok(Self {
            rng,
            from,
            into,
            paths,
            sizes,
            options,
            broken: 0,
            flipped: false,
            taken: 0,
            crossed: 0,
        })
    }

    fn root(&self) -> PathBuf {
        self.from.join("tree")
    }

    fn arrived(&self) -> PathBuf {
        self.into.join("tree")
    }

    /// Bytes of all files that are sent.
    fn size(&self) -> u64 {
        walk_all(&self.paths).manifest.totals().bytes
    }

    /// Where this attempt breaks; somewhere behind its end, now and then.
    fn faults(&mut self) -> (Faults, Faults) {
        if self.broken >= MAX_BROKEN {
            return Default::default();
        }
        let left = self.size().saturating_sub(self.taken);
        let (there, back) = (left + left / 4 + 3000, 600);
        let (mut ahead, mut behind) = (Faults::default(), Faults::default());
        match self.rng.random_range(0..12) {
            0 => ahead.flip_at = Some(self.rng.random_range(0..there)),
            1 => behind.flip_at = Some(self.rng.random_range(0..back)),
            2..5 => behind.cut_at = Some(self.rng.random_range(0..back)),
            _ => ahead.cut_at = Some(self.rng.random_range(0..there)),
        }
        self.flipped |= ahead.flip_at.is_some();
        (ahead, behind)
    }

    /// One attempt; true when it was the last.
    fn attempt(&mut self) -> Result<bool> {
        let faults = self.faults();
        let source = walk_all(&self.paths);
        let mut taken = 0;
        let (sent, received, [there, _]) = transfer_with(
            &source,
            self.into.path(),
            self.sizes,
            self.options,
            faults,
            &mut |event| {
                if let Event::Moved { bytes, .. } = event {
                    taken += bytes;
                }
            },
        );
        self.taken += taken;
        self.crossed += there;
        let told = || format!("attempt {}, {faults:?}", self.broken);
        match (sent, received) {
            (_, Ok(summary)) => {
                ensure!(summary.failed.is_empty(), "{}: {summary:?}", told());
                return Ok(true);
            }
            // The sender has said goodbye, and the receiver has not heard it.
            (Ok(summary), Err(_)) => {
                ensure!(summary.failed.is_empty(), "{}: {summary:?}", told())
            }
            (Err(_), Err(error)) => {
                let network = error.exit() == transfer::error::Exit::Network;
                ensure!(network, "{}: {error}", told());
                ensure!(self.broken < MAX_BROKEN, "{}: {error}", told());
            }
        }
        self.broken += 1;
        Ok(false)
    }

    /// Attempts until the end, `meanwhile` before each but the first.
    fn until_it_ends(&mut self, mut meanwhile: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        while !self.attempt()? {
            meanwhile(self)?;
        }
        Ok(())
    }

    /// Of `size` bytes of content none that the receiver had came again, and of those that were
    /// on their way at a break few.
    fn ensure_little_resent(&self, size: u64) -> Result<()> {
        let Self { broken, taken, crossed, .. } = *self;
        ensure!(taken <= size, "{taken} bytes of {size} were taken in, {broken} breaks");
        // The list for each attempt, and around each record, the smallest too, its framing.
        let entries = walk_all(&self.paths).manifest.entries().len() as u64;
        let around = (broken + 1) * (entries * 120 + 500) + taken / 2;
        let on_its_way = broken * (IN_PIPE + 2 * self.sizes.content as u64);
        let bound = size + around + on_its_way;
        let told = || format!("{crossed} bytes crossed for {size}, {broken} breaks");
        ensure!(self.flipped || crossed <= bound, "{}", told());
        Ok(())
    }

    /// Everything is here, and nothing else.
    fn ensure_equal(&self) -> Result<()> {
        let top = |path: &PathBuf| path.file_name().map(PathBuf::from);
        let expected: BTreeSet<_> = self.paths.iter().filter_map(top).collect();
        let found = names(self.into.path())?;
        ensure!(found == expected, "{found:?} are in the folder, not {expected:?}");
        for (path, name) in self.paths.iter().zip(self.paths.iter().filter_map(top)) {
            ensure_same(&tree(path)?, &tree(&self.into.join(name))?)?;
        }
        Ok(())
    }
}

/// Runs rounds of one kind, each with its own seed.
fn rounds(kind: u64, run: impl Fn(Round) -> Result<()>) {
    let only = std::env::var("TRANSFER_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in (0..ROUNDS).map(|round| kind * 1000 + round) {
        if only.is_some_and(|only: u64| only != seed) {
            continue;
        }
        if let Err(error) = Round::new(seed).and_then(&run) {
            panic!("TRANSFER_SEED={seed} (tests/crash): {error:?}");
        }
    }
}

/// All files of a tree, by their path in it.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    Ok(tree(root)?.into_keys().filter(|path| root.join(path).is_file()).collect())
}

fn pick<'a, T>(rng: &mut StdRng, from: &'a [T]) -> Result<&'a T> {
    from.get(rng.random_range(0..from.len().max(1))).context("nothing to pick from")
}

#[test]
fn breaks_cost_time_never_correctness() {
    rounds(1, |mut round| {
        round.until_it_ends(|_| Ok(()))?;
        round.ensure_equal()?;
        round.ensure_little_resent(round.size())
    });
}

#[test]
fn compressed_transfers_too() {
    rounds(2, |mut round| {
        let compressions = [Compression::Auto, Compression::Lz4, Compression::Blosc];
        let compression = *pick(&mut round.rng, &compressions)?;
        round.options = StreamOptions { compression, ..STREAM };
        round.until_it_ends(|_| Ok(()))?;
        round.ensure_equal()
    });
}

/// Files that were there before keep their names; what comes gets another, once.
#[test]
fn conflicts_are_settled_once() {
    rounds(3, |mut round| {
        let (root, arrived) = (round.root(), round.arrived());
        let taken = ["a.txt", "folder/x", "zz"];
        let beside = ["a (1).txt", "folder/x (1)", "zz (1)"];
        let mut expected = tree(&root)?;
        for (name, other) in taken.into_iter().zip(beside) {
            write(&arrived.join(name), format!("mine, {name}"))?;
            touch(&arrived.join(name), 1_000_000, 7)?;
            let sent = expected.remove(Path::new(name)).context("in the tree")?;
            expected.insert(other.into(), sent);
        }
        let mine = tree(&arrived)?;
        expected.extend(taken.map(|name| (name.into(), mine[Path::new(name)].clone())));
        round.until_it_ends(|_| Ok(()))?;
        let mut found = tree(&arrived)?;
        // Folders that were there keep their mode, and their time is that of the last change.
        for folder in ["", "folder"].map(Path::new) {
            expected.remove(folder);
            found.remove(folder).context("a folder that was there")?;
        }
        ensure_same(&expected, &found)?;
        ensure!(names(round.into.path())? == ["tree".into()].into());
        round.ensure_little_resent(round.size())
    });
}

/// The source changes between two attempts, every size staying what it was.
#[test]
fn a_source_that_changes_in_between_arrives_as_it_is_now() {
    rounds(4, |mut round| {
        let all = files(&round.root())?;
        let mut size = round.size();
        let mut changes = 0;
        round.until_it_ends(|round| {
            if changes < 4 && round.rng.random() {
                changes += 1;
                let path = round.root().join(pick(&mut round.rng, &all)?);
                let content = noise(fs::read(&path)?.len(), round.rng.random());
                size += content.len() as u64;
                chmod(&path, 0o644)?;
                fs::write(&path, content)?;
                touch(&path, 1_500_000_000 + changes, 9)?;
            }
            Ok(())
        })?;
        round.ensure_equal()?;
        round.ensure_little_resent(size)
    });
}

/// A lock that still says which unfinished files are ours, whatever else it says.
#[test]
fn a_lock_that_lies_costs_nothing() {
    rounds(5, |mut round| {
        let lock = round.into.join(LOCK);
        let mut first = None;
        round.until_it_ends(|round| {
            let Ok(text) = fs::read_to_string(&lock) else { return Ok(()) };
            let mut json: serde_json::Value = serde_json::from_str(&text)?;
            let first = first.get_or_insert_with(|| json.clone());
            if round.rng.random() {
                // An old one.
                return write_lock(&lock, first);
            }
            json["session_id"] = "not a number".into();
            json["total_files"] = (-1).into();
            json["sender_ip"] = serde_json::Value::Null;
            json["unheard of"] = vec![1, 2, 3].into();
            let status = *pick(&mut round.rng, &["in_progress", "pending"])?;
            for file in json["files"].as_object_mut().context("files")?.values_mut() {
                file["status"] = status.into();
                file["transferred_bytes"] = round.rng.next_u64().into();
                file["partial_hash"] = "00".repeat(32).into();
                file["original_hash"] = "no hash".into();
            }
            write_lock(&lock, &json)
        })?;
        round.ensure_equal()?;
        round.ensure_little_resent(round.size())
    });
}

/// Writes a lock so that it begins as one does, and signs it.
fn write_lock(path: &Path, json: &serde_json::Value) -> Result<()> {
    let mut rest = json.clone();
    let fields = rest.as_object_mut().context("no object")?;
    fields.remove("mac");
    let mut head = String::from("{");
    for name in ["version", "owner", "folder"] {
        let value = fields.remove(name).with_context(|| format!("no {name}"))?;
        head.push_str(&format!("\"{name}\":{value},"));
    }
    let rest = rest.to_string();
    let rest = rest.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let signed = format!("{head}{}", rest.context("no object")?);
    let mac = Own::of_user().lock().chain_update(&signed).finalize().into_bytes();
    let mac: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(fs::write(path, format!("{signed},\"mac\":\"{mac}\"}}"))?)
}

/// A lock that cannot be read any more: the content arrives, and what was unfinished stays, as
/// nobody can tell whose it is. So does what is no lock of ours.
#[test]
fn a_lock_that_is_lost_costs_no_content() {
    rounds(6, |mut round| {
        let lock = round.into.join(LOCK);
        let mut first = None;
        round.until_it_ends(|round| {
            let Ok(text) = fs::read(&lock) else { return Ok(()) };
            let first = first.get_or_insert_with(|| text.clone());
            match round.rng.random_range(0..8) {
                0 => Ok(fs::write(&lock, &text[..round.rng.random_range(0..text.len())])?),
                1 => write(&lock, noise(5000, round.rng.random())),
                2 => Ok(fs::remove_file(&lock)?),
                3 => write(&lock, String::from_utf8_lossy(&text).replace(r#""1.0""#, r#""9.9""#)),
                4 => write(&lock, r#"{"version":"1.0","files":{"other/file":{"status":"pending","size":1,"transferred_bytes":0}}}"#),
                5 => write(&lock, "[".repeat(100_000)),
                // Of another file, as one that came from elsewhere is.
                6 => write(&lock, &*first),
                _ => Ok(()),
            }
        })?;
        let only_files = |root: &Path| -> Result<Tree> {
            let mut found = tree(root)?;
            found.retain(|path, _| !root.join(path).is_dir());
            Ok(found)
        };
        let expected = only_files(&round.root())?;
        let mut found = only_files(&round.arrived())?;
        found.retain(|path, _| {
            expected.contains_key(path) || path.extension().is_none_or(|it| it != "part")
        });
        ensure_same(&expected, &found)?;
        let mut names = names(round.into.path())?;
        names.remove(Path::new(LOCK));
        ensure!(names == ["tree".into()].into(), "{names:?}");
        Ok(())
    });
}

/// Unfinished files that somebody has changed are not trusted.
#[test]
fn a_part_that_was_changed_is_not_gone_on_with() {
    rounds(7, |mut round| {
        round.until_it_ends(|round| {
            let (root, arrived) = (round.root(), round.arrived());
            let ours = |path: &PathBuf| !root.join(path).exists();
            let found = if arrived.exists() { files(&arrived)? } else { vec![] };
            for part in found.into_iter().filter(ours) {
                let path = arrived.join(part);
                let mut content = fs::read(&path)?;
                match round.rng.random_range(0..4) {
                    0 => content.truncate(round.rng.random_range(0..=content.len())),
                    1 => content.extend(noise(round.rng.random_range(0..100_000), 1)),
                    2 => content.iter_mut().rev().take(1).for_each(|byte| *byte ^= 1),
                    _ => continue,
                }
                fs::write(&path, content)?;
            }
            Ok(())
        })?;
        round.ensure_equal()
    });
}

/// Small blocks, so that every file has many: whatever happens to an unfinished one, and to the line,
/// and whether or not both sides know of blocks this time.
#[test]
fn damaged_blocks_come_again() {
    rounds(20, |mut round| {
        let block = 64 * round.rng.random_range(1..20);
        round.sizes.block = block;
        round.until_it_ends(|round| {
            let known = round.rng.random_range(0..6) > 0;
            round.sizes.block = if known { block } else { 0 };
            let (root, arrived) = (round.root(), round.arrived());
            let ours = |path: &PathBuf| !root.join(path).exists();
            let found = if arrived.exists() { files(&arrived)? } else { vec![] };
            for part in found.into_iter().filter(ours) {
                let path = arrived.join(part);
                let mut content = fs::read(&path)?;
                for _ in 0..round.rng.random_range(0..3) {
                    let len = content.len().max(1);
                    let at = round.rng.random_range(0..len);
                    content.get_mut(at).into_iter().for_each(|byte| *byte ^= 1);
                }
                if round.rng.random_range(0..6) == 0 {
                    content.truncate(round.rng.random_range(0..=content.len()));
                }
                fs::write(&path, content)?;
            }
            Ok(())
        })?;
        round.ensure_equal()
    });
}

/// The source changes, and nothing but its content tells: what has not arrived yet is had anew.
#[test]
fn blocks_of_a_source_that_changed_are_never_mixed() {
    rounds(21, |mut round| {
        round.sizes.block = 64 * round.rng.random_range(1..20);
        let large = round.root().join("large.bin");
        let mut contents = vec![fs::read(&large)?];
        round.until_it_ends(|round| {
            let time = fs::metadata(&large)?.modified()?;
            let mut content = fs::read(&large)?;
            let at = round.rng.random_range(0..content.len());
            content[at] ^= 1;
            chmod(&large, 0o700)?;
            fs::write(&large, &content)?;
            filetime::set_file_mtime(&large, time.into())?;
            contents.push(content);
            Ok(())
        })?;
        let arrived = fs::read(round.arrived().join("large.bin"))?;
        ensure!(contents.contains(&arrived), "a mixture of {}", contents.len());
        Ok(())
    });
}

/// Files called like unfinished ones that the user had there before are the user's.
#[test]
fn parts_of_others_are_not_touched() {
    rounds(8, |mut round| {
        let arrived = round.arrived();
        let mut mine = Vec::new();
        for name in files(&round.root())? {
            for suffix in ["part", "1.part"] {
                let path = arrived.join(format!("{}.{suffix}", name.display()));
                let free = !round.root().join(path.strip_prefix(&arrived)?).exists();
                if free && round.rng.random_bool(0.4) {
                    write(&path, noise(round.rng.random_range(0..30_000), round.rng.random()))?;
                    mine.push(path.strip_prefix(&arrived)?.to_owned());
                }
            }
        }
        let before = if arrived.exists() { tree(&arrived)? } else { Tree::new() };
        round.until_it_ends(|_| Ok(()))?;
        let (mut expected, mut found) = (tree(&round.root())?, tree(&arrived)?);
        expected.extend(mine.iter().map(|path| (path.clone(), before[path].clone())));
        for folder in before.keys().filter(|path| !mine.contains(path)) {
            expected.remove(folder);
            found.remove(folder).context("a folder that was there")?;
        }
        ensure_same(&expected, &found)?;
        ensure!(names(round.into.path())? == ["tree".into()].into());
        round.ensure_little_resent(round.size())
    });
}

/// Files called like the lock, its temporary file, and unfinished files of those: they arrive under
/// other names, in every folder, for somebody may receive into it later.
#[test]
fn files_called_like_the_lock_arrive() {
    rounds(9, |mut round| {
        let others = [
            (LOCK, ".transfer_lock (1).json"),
            (".transfer_lock.json.tmp", "_.transfer_lock.json (1).tmp"),
            (".transfer_lock.1.json", "_.transfer_lock.1 (1).json"),
            (".transfer_lock.json.part", "_.transfer_lock.json (1).part"),
        ];
        let mut sent = Vec::new();
        for (name, other) in others {
            if round.rng.random() {
                let path = round.root().join(name);
                write(&path, noise(round.rng.random_range(0..3000), round.rng.random()))?;
                sent.push((path, round.arrived().join(other)));
            }
        }
        round.until_it_ends(|_| Ok(()))?;
        for (path, other) in sent {
            fs::rename(&other, round.arrived().join(path.file_name().context("no name")?))?;
            let time = fs::metadata(round.root())?.modified()?;
            filetime::set_file_mtime(round.arrived(), time.into())?;
        }
        round.ensure_equal()?;
        round.ensure_little_resent(round.size())
    });
}
