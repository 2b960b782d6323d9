//! Files block by block, in blocks of 64 bytes: what an interrupted run left is gone on with at
//! once, and what is damaged of it comes again alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hmac::Mac;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use transfer::error::Exit;
use transfer::event::{Event, Summary};
use transfer::files::own::Own;
use transfer::files::walk::Source;

use super::NO_FAULTS;
use super::allowance::Ledger;
use super::pipe::Faults;
use super::util::{STREAM, Sizes, run_within, sessions, transfer, transfer_with, tree, walk};

const BLOCK: usize = 64;
/// Blocks of 64 bytes in records of 500.
const BLOCKS: Sizes = Sizes { content: 500, block: BLOCK as u64 };
/// No blocks, as with a peer that does not know of them.
const WHOLE: Sizes = Sizes { content: 500, block: 0 };

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..len).map(|_| rng.random::<u8>()).collect()
}

/// A file to send, and a folder for it.
struct Case {
    dir: tempfile::TempDir,
    source: Arc<Source>,
}

impl Case {
    fn new(len: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), noise(len, 1)).unwrap();
        let source = walk(&dir.path().join("file"));
        Self { dir, source }
    }

    fn sent(&self) -> PathBuf {
        self.dir.path().join("file")
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("in")
    }

    /// A run that breaks off once `bytes` have crossed.
    fn interrupt(&self, sizes: Sizes, bytes: u64) {
        let cut = Faults { cut_at: Some(bytes), flip_at: None };
        let (_, received, _) =
            transfer(&self.source, &self.folder(), sizes, STREAM, (cut, Faults::default()));
        assert_eq!(received.unwrap_err().exit(), Exit::Network);
    }

    /// What is there of the file.
    fn part(&self) -> PathBuf {
        let parts = fs::read_dir(self.folder()).unwrap().map(|found| found.unwrap().path());
        let mut parts = parts.filter(|path| path.extension().is_some_and(|it| it == "part"));
        let part = parts.next().expect("an unfinished file");
        assert_eq!(parts.next(), None);
        part
    }

    fn flip(&self, at: &[usize]) {
        let part = self.part();
        let mut content = fs::read(&part).unwrap();
        at.iter().for_each(|at| content[*at] ^= 0x20);
        let times = fs::metadata(&part).unwrap().modified().unwrap();
        fs::write(&part, content).unwrap();
        filetime::set_file_mtime(&part, times.into()).unwrap();
    }

    /// A run to the end; nothing is left but the file, as it was sent.
    fn finish(&self, sizes: Sizes) -> Summary {
        let (sent, received, _) = transfer(&self.source, &self.folder(), sizes, STREAM, NO_FAULTS);
        let received = received.unwrap();
        assert_eq!((sent.unwrap().exit(), received.exit()), (Exit::Done, Exit::Done));
        assert_eq!(tree(&self.sent()), tree(&self.folder().join("file")));
        let names = fs::read_dir(self.folder()).unwrap().map(|found| found.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["file"]);
        received
    }
}

#[test]
fn files_of_any_length_arrive_block_by_block() {
    for len in [0, 1, 63, 64, 65, 127, 128, 129, 640, 5000] {
        for content in [1, 64, 100, 1 << 20] {
            let case = Case::new(len);
            let summary = case.finish(Sizes { content, ..BLOCKS });
            assert_eq!(summary.bytes, len as u64, "{len} bytes, records of {content}");
        }
    }
}

/// Wherever a bit is flipped in what an interrupted run left, only the block around it comes again.
#[test]
fn a_flipped_bit_costs_a_block() {
    // A part that is hashed first, and one that is long enough to be gone on with at once.
    for (len, cut) in [(3000, 3300), (10_000, 13_000), (64 * 100, 9500)] {
        let begun = Case::new(len);
        begun.interrupt(BLOCKS, cut);
        let have = fs::read(begun.part()).unwrap().len();
        let whole = have / BLOCK * BLOCK;
        assert!(have > len / 3 && have < len, "{have} of {len}");
        let middle = whole / 2;
        let rows: [(&str, &[usize], usize); 8] = [
            ("nothing", &[], 0),
            ("the first byte", &[0], 1),
            ("the last of the first block", &[BLOCK - 1], 1),
            ("in the middle", &[middle + 5], 1),
            ("on both sides of an edge", &[BLOCK * 4 - 1, BLOCK * 4], 2),
            ("the last whole block", &[whole - 1], 1),
            ("the tail behind it", &[have - 1], 1),
            ("three blocks", &[3, middle, whole - 1], 3),
        ];
        for (name, flips, blocks) in rows {
            let case = Case::new(len);
            case.interrupt(BLOCKS, cut);
            let have = fs::read(case.part()).unwrap().len();
            let flips: Vec<_> = flips.iter().map(|at| *at.min(&(have - 1))).collect();
            case.flip(&flips);
            let summary = case.finish(BLOCKS);
            // Behind the last whole block it goes on.
            let most = len - have + (blocks + 1) * BLOCK;
            let tail = flips.iter().any(|at| *at >= have / BLOCK * BLOCK);
            if tail && have / BLOCK <= 32 {
                // It was hashed whole, and is not what the sender has.
                continue;
            }
            let told = format!("{name}: {} bytes for {} of {len}", summary.bytes, len - have);
            assert!(summary.bytes <= most as u64, "{told}");
            assert!(summary.bytes + 2 * BLOCK as u64 > (len - have) as u64, "{told}");
        }
    }
}

/// Damage that is there at the end of a file costs its block as well: nothing is behind it.
#[test]
fn whole_files_that_were_not_named_are_mended() {
    for len in [64 * 50, 64 * 50 + 1, 64 * 50 + 63] {
        let probe = Case::new(len);
        let (_, _, [there, _]) =
            transfer(&probe.source, &probe.folder(), BLOCKS, STREAM, NO_FAULTS);
        // Everything but the last words.
        for cut in (there - 200..there - 20).step_by(7) {
            let case = Case::new(len);
            case.interrupt(BLOCKS, cut);
            if case.folder().join("file").exists() {
                continue;
            }
            case.flip(&[70]);
            assert!(case.finish(BLOCKS).bytes <= 64 * 5, "{len} bytes, cut at {cut}");
        }
    }
}

/// A part that is shorter than the lock says, as a power cut leaves it, or longer, or empty.
#[test]
fn a_part_may_have_any_length() {
    for len in [0, 1, 63, 64, 65, 1000, 2048, 2112, 4000] {
        let case = Case::new(10_000);
        case.interrupt(BLOCKS, 13_000);
        let part = fs::File::options().write(true).open(case.part()).unwrap();
        part.set_len(len).unwrap();
        drop(part);
        let summary = case.finish(BLOCKS);
        assert!(summary.bytes <= 10_000 - len / 64 * 64, "{len}: {} bytes", summary.bytes);
        let case = Case::new(10_000);
        case.interrupt(BLOCKS, 13_000);
        let part = fs::File::options().write(true).open(case.part()).unwrap();
        part.set_len(10_000 + len).unwrap();
        drop(part);
        case.finish(BLOCKS);
    }
}

/// As a virus scanner has it. Windows removes it only once it is closed there, on some disks, and says that it has.
#[cfg(windows)]
#[test]
fn a_part_that_somebody_has_open_lets_nobody_wait() {
    let case = Case::new(10_000);
    case.interrupt(BLOCKS, 13_000);
    let part = fs::File::options().write(true).open(case.part()).unwrap();
    part.set_len(0).unwrap();
    let (_, received, _) = transfer(&case.source, &case.folder(), BLOCKS, STREAM, NO_FAULTS);
    assert_eq!(received.unwrap().exit(), Exit::Done);
    assert_eq!(tree(&case.sent()), tree(&case.folder().join("file")));
}

/// What one run kept is of use to the next, whether or not both know of blocks.
#[test]
fn the_feature_may_come_and_go() {
    for sizes in [[WHOLE, BLOCKS], [BLOCKS, WHOLE], [WHOLE, WHOLE], [BLOCKS, BLOCKS]] {
        for len in [2500, 10_000] {
            let case = Case::new(len);
            case.interrupt(sizes[0], len as u64 * 6 / 10);
            let have = fs::metadata(case.part()).unwrap().len();
            let summary = case.finish(sizes[1]);
            let most = len as u64 - have + BLOCK as u64;
            assert!(summary.bytes <= most, "{sizes:?}: {} bytes", summary.bytes);
        }
    }
    // Blocks of another size say nothing.
    let case = Case::new(10_000);
    case.interrupt(BLOCKS, 13_000);
    let have = fs::metadata(case.part()).unwrap().len();
    let summary = case.finish(Sizes { block: 128, ..BLOCKS });
    assert!(summary.bytes <= 10_000 - have);
}

/// The source has changed, and neither its size nor its time tells.
#[test]
fn another_content_comes_anew() {
    for at in [0, 3000, 6000, 9999] {
        let case = Case::new(10_000);
        case.interrupt(BLOCKS, 13_000);
        let have = usize::try_from(fs::metadata(case.part()).unwrap().len()).unwrap();
        let times = fs::metadata(case.sent()).unwrap().modified().unwrap();
        let mut content = fs::read(case.sent()).unwrap();
        content[at] ^= 1;
        fs::write(case.sent(), content).unwrap();
        filetime::set_file_mtime(case.sent(), times.into()).unwrap();
        let summary = case.finish(BLOCKS);
        if at < have / BLOCK * BLOCK {
            assert!(summary.bytes >= 10_000, "{at}: {} bytes", summary.bytes);
        } else {
            assert!(summary.bytes <= (10_000 - have + BLOCK) as u64);
        }
    }
}

/// Writes a lock so that it begins as one does, and signs it.
fn write_lock(path: &Path, json: &serde_json::Value) {
    let mut rest = json.clone();
    let fields = rest.as_object_mut().unwrap();
    fields.remove("mac");
    let mut head = String::from("{");
    for name in ["version", "owner", "folder"] {
        head.push_str(&format!("\"{name}\":{},", fields.remove(name).unwrap()));
    }
    let rest = rest.to_string();
    let signed = format!("{head}{}", rest.strip_prefix('{').unwrap().strip_suffix('}').unwrap());
    let mac = Own::of_user().lock().chain_update(&signed).finalize().into_bytes();
    let mac: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(path, format!("{signed},\"mac\":\"{mac}\"}}")).unwrap();
}

/// States that are wrong, be it by a bug of ours, cost what they say of, never correctness; a lock
/// with a wrong signature says nothing.
#[test]
fn wrong_states_are_found_out() {
    type Change = fn(&mut String);
    let rows: &[(&str, Change)] = &[
        ("the first", |states| flip_digit(states, 3)),
        ("one in the middle", |states| {
            let at = states.len() / 128 * 64 + 5;
            flip_digit(states, at);
        }),
        ("the last", |states| {
            let at = states.len() - 7;
            flip_digit(states, at);
        }),
        ("all of them", |states| *states = "00".repeat(states.len() / 2)),
        ("too many", |states| *states = states.repeat(3)),
        ("a half", |states| states.truncate(states.len() - 32)),
        ("no digits", |states| *states = "xé".repeat(32)),
        ("none", String::clear),
    ];
    for (name, change) in rows {
        for signed in [true, false] {
            let case = Case::new(10_000);
            case.interrupt(BLOCKS, 13_000);
            let lock = case.folder().join(".transfer_lock.json");
            let text = fs::read_to_string(&lock).unwrap();
            let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
            let mut states = json["files"]["file"]["states"].as_str().unwrap().to_owned();
            assert!(states.len() > 64 * 64);
            let before = states.clone();
            change(&mut states);
            if signed {
                json["files"]["file"]["states"] = states.into();
                write_lock(&lock, &json);
                case.finish(BLOCKS);
                continue;
            }
            // What is not believed is not ours: the part stays, and all of it comes anew.
            fs::write(&lock, text.replace(&before, &states)).unwrap();
            let (_, received, _) =
                transfer(&case.source, &case.folder(), BLOCKS, STREAM, NO_FAULTS);
            assert_eq!(received.unwrap().exit(), Exit::Done, "{name}");
            assert_eq!(tree(&case.sent()), tree(&case.folder().join("file")), "{name}");
        }
    }
}

fn flip_digit(states: &mut String, at: usize) {
    let other = if states.as_bytes()[at] == b'0' { "1" } else { "0" };
    states.replace_range(at..=at, other);
}

/// A damaged part, and a line that breaks at every step of its repair: nothing false gets its name,
/// and the next run ends it.
#[test]
fn a_repair_may_break_anywhere() {
    let begun = |flips: &[usize]| {
        let case = Case::new(6000);
        case.interrupt(BLOCKS, 9000);
        case.flip(flips);
        case
    };
    let flips = [5, 700, 701, 2500];
    let whole = begun(&flips);
    let (_, received, [there, back]) =
        transfer(&whole.source, &whole.folder(), BLOCKS, STREAM, NO_FAULTS);
    assert!(received.unwrap().bytes < 2600);
    let mut faults = Vec::new();
    for at in (0..there).step_by(83) {
        faults.push((Faults { cut_at: Some(at), flip_at: None }, Faults::default()));
    }
    for at in (0..back).step_by(29) {
        faults.push((Faults::default(), Faults { cut_at: Some(at), flip_at: None }));
    }
    // A flipped bit in a length is noticed only when nothing more comes: few of those.
    for at in (11..there).step_by(1009) {
        faults.push((Faults { cut_at: None, flip_at: Some(at) }, Faults::default()));
    }
    for faults in faults {
        let case = begun(&flips);
        let (_, received, _) = transfer(&case.source, &case.folder(), BLOCKS, STREAM, faults);
        let named = case.folder().join("file");
        if named.exists() {
            assert_eq!(tree(&case.sent()), tree(&named), "{faults:?}");
        } else {
            assert!(received.is_err(), "{faults:?}");
        }
        case.finish(BLOCKS);
    }
}

/// What is told along the way adds up: a file that begins anew grows the plan and differs from
/// nothing; one that is mended is one file.
#[test]
fn progress_adds_up_when_a_file_begins_anew_or_is_mended() {
    for mends in [false, true] {
        let case = Case::new(10_000);
        case.interrupt(BLOCKS, 13_000);
        if mends {
            case.flip(&[70]);
        } else {
            let times = fs::metadata(case.sent()).unwrap().modified().unwrap();
            let mut content = fs::read(case.sent()).unwrap();
            content[0] ^= 1;
            fs::write(case.sent(), content).unwrap();
            filetime::set_file_mtime(case.sent(), times.into()).unwrap();
        }
        let (mut planned, mut moved, mut attempts) = ((0, 0), (0, 0), 0);
        // Room is set aside for what the plan says, and for what it did not know.
        let mut ledger = Ledger { open: 1 << 20, ..Ledger::default() };
        let mut more = 0;
        let pipe = sessions(BLOCKS, NO_FAULTS.0, NO_FAULTS.1);
        let into = case.folder();
        let (_, received, _) =
            run_within(&case.source, &into, STREAM, pipe, &mut ledger, &mut |event| match event {
                Event::Planned { files, bytes, .. } => planned = (files, bytes),
                Event::Anew { bytes } => {
                    planned.1 += bytes;
                    more += bytes;
                }
                Event::Again { files, torn, bytes, .. } => {
                    attempts += 1;
                    planned = (planned.0 + files - torn, planned.1 + bytes);
                    more += bytes;
                }
                Event::Moved { files, bytes, .. } => moved = (moved.0 + files, moved.1 + bytes),
                _ => {}
            });
        assert_eq!(received.unwrap().exit(), Exit::Done);
        assert!(more > 0);
        assert_eq!((ledger.again, ledger.wrote), (more, moved.1), "mends: {mends}");
        assert_eq!((planned, moved.0), (moved, 1), "mends: {mends}");
        assert_eq!(attempts, u32::from(mends), "mends: {mends}");
    }
}

/// An unfinished file that another run still holds is not gone on with; once the file is here under its
/// name, the old one goes too.
#[test]
fn what_was_held_while_the_file_came_anew_is_swept() {
    let case = Case::new(10_000);
    case.interrupt(BLOCKS, 13_000);
    let mut held = Some(fs::File::open(case.part()).unwrap());
    if let Some(held) = &held {
        held.lock().unwrap();
    }
    let (_, received, _) =
        transfer_with(&case.source, &case.folder(), BLOCKS, STREAM, NO_FAULTS, &mut |event| {
            if matches!(event, Event::Moved { .. }) {
                held = None;
            }
        });
    assert_eq!(received.unwrap().exit(), Exit::Done);
    assert_eq!(tree(&case.sent()), tree(&case.folder().join("file")));
    let names = fs::read_dir(case.folder()).unwrap().map(|found| found.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["file"]);
}
