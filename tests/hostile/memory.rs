//! A sender that would like its receiver to run out of memory: endless lists, endless names,
//! records that unpack to more than they should. Every row of every module checks the bound; these
//! are the rows that press against it.

use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};

use crate::script::{
    ENTRIES, Entry, Line, PLAN, bytes, control, data, end, failed, file, folder, link, offer_of,
    packed, sized, start,
};
use crate::stage::{Case, LOCK, Stage, all};

const MILLION: u64 = 1_000_000;
const DAMAGED: &str = "the peer sent a compressed record that cannot be decompressed";
const TURNED_AWAY: &str = "are taken without asking";
const OTHER: &str = "the entries are not those that were offered";
const NAMES: &str = "the names of the offer are longer than";

/// The list, in pages of full records; the last says so.
fn list(entries: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut pages = vec![vec![ENTRIES, 0]];
    for entry in entries {
        if pages.last().is_none_or(|page| page.len() + entry.len() > 1_049_600) {
            pages.push(vec![ENTRIES, 0]);
        }
        pages.last_mut().unwrap().extend(entry);
    }
    pages.last_mut().unwrap()[1] = 1;
    pages
}

/// So many copies of an entry, in whose path a number stands behind the first `at` bytes.
fn numbered(entry: Entry, at: usize, count: u64) -> impl Iterator<Item = Vec<u8>> {
    let bytes = entry.bytes();
    // Behind kind, mode, time, size of a file, and the length of the path.
    let at = if entry.kind == 0 { 21 } else { 13 } + at;
    (0..count).map(move |number| {
        let mut bytes = bytes.clone();
        for (digit, byte) in bytes[at..at + 6].iter_mut().rev().enumerate() {
            *byte = b"0123456789abcdef"[(number >> (4 * digit)) as usize & 15];
        }
        bytes
    })
}

/// Empty files with short names.
fn tiny(count: u64) -> impl Iterator<Item = Vec<u8>> {
    numbered(sized("000000", 0), 0, count)
}

/// Links to `target`.
fn links(target: &str, count: u64) -> impl Iterator<Item = Vec<u8>> {
    numbered(link("000000", target), 0, count)
}

/// Names of `len` bytes, `count` of them, in a folder as deep as it takes.
fn long_names(len: usize, count: u64) -> impl Iterator<Item = Vec<u8>> {
    let (mut folders, mut top) = (Vec::new(), String::new());
    while len - top.len() > 255 {
        top += &"d".repeat((len - top.len() - 8).min(255));
        folders.push(folder(&top).bytes());
        top += "/";
    }
    let name = sized(format!("{top}000000{}", "n".repeat(len - top.len() - 6)), 0);
    folders.into_iter().chain(numbered(name, top.len(), count))
}

/// Offers that are only lists: `lie` files more are announced than come, so that nothing of them
/// gets as far as the disk.
#[test]
fn lists() -> Result<()> {
    type Row = (&'static str, Vec<&'static str>, u64, Vec<Vec<u8>>, u64, &'static str);
    let many = "4000000";
    let deep = 16;
    let rows: Vec<Row> = vec![
        ("10 million announced", vec![], 10 * MILLION, vec![], 0, TURNED_AWAY),
        ("one too many announced", vec![], MILLION + 1, vec![], 0, TURNED_AWAY),
        ("2^32 announced", vec![], 1 << 32, vec![], 0, "more entries than can be counted"),
        (
            "more than was allowed, announced",
            vec!["--max-entries", many],
            4 * MILLION + 1,
            vec![],
            0,
            TURNED_AWAY,
        ),
        (
            "10 announced, a million sent",
            vec![],
            10,
            list(tiny(MILLION)),
            10,
            "more entries than were offered",
        ),
        ("a million, tiny", vec![], MILLION, list(tiny(MILLION - 1)), MILLION, OTHER),
        (
            "4 million, tiny and allowed",
            vec!["--max-entries", many],
            4 * MILLION,
            list(tiny(4 * MILLION - 1)),
            4 * MILLION,
            OTHER,
        ),
        (
            "a million, with all the names there may be",
            vec![],
            MILLION,
            list(long_names(133, MILLION - 1)),
            MILLION,
            OTHER,
        ),
        (
            "names too long, a million",
            vec![],
            MILLION,
            list(long_names(134, MILLION)),
            MILLION,
            NAMES,
        ),
        (
            "names as long as can be",
            vec![],
            8000 + deep + 1,
            list(long_names(4096, 8000)),
            8016,
            OTHER,
        ),
        (
            "names as long as can be, too many",
            vec![],
            9000 + deep,
            list(long_names(4096, 9000)),
            9016,
            NAMES,
        ),
        (
            "names as long as can be, a million announced",
            vec![],
            MILLION,
            list(long_names(4096, 33_000)),
            MILLION,
            NAMES,
        ),
        ("links that lead far", vec![], 8100, list(links(&"t".repeat(4096), 8100)), 8100, OTHER),
        (
            "links that lead far, too many",
            vec![],
            9000,
            list(links(&"t".repeat(4096), 9000)),
            9000,
            NAMES,
        ),
    ];
    all(&rows, |(name, options, announced, pages, entries, says)| {
        let stage = Stage::new()?;
        let case = Case::new(format!("memory: {name}"), 1, says);
        let case = Case { entries: *entries, options: [&["-vv"], &options[..]].concat(), ..case };
        stage.receive(&case, |line| {
            line.say(&offer_of(*announced, 0, 0, 0))?;
            // Most are refused on the way.
            let _ = pages.iter().try_for_each(|page| line.say(page));
            Ok(())
        })?;
        Ok(())
    })
}

/// Nothing is kept for what is only announced.
#[test]
fn allowed_and_not_sent() -> Result<()> {
    let stage = Stage::new()?;
    let case = Case::new("memory: 2^32 - 1 allowed, announced and not sent", 5, "in the middle");
    let options = vec!["--max-entries", "4294967295"];
    stage.receive(&Case { options, entries: 0, ..case }, |line| {
        line.say(&offer_of(u32::MAX.into(), 0, 0, 0))?;
        line.cut();
        Ok(())
    })?;
    Ok(())
}

/// A folder and a million files in it, less one: all that is taken without asking.
pub fn a_million() -> (Vec<u8>, Vec<Vec<u8>>) {
    let names = numbered(sized("d/000000", 0), 2, MILLION - 1);
    let pages = list(std::iter::once(folder("d").bytes()).chain(names));
    (offer_of(MILLION - 1, 1, 0, 0), pages)
}

/// All of its files said to have vanished.
pub fn a_million_vanished() -> [Vec<u8>; 10] {
    std::array::from_fn(|part| {
        let from = u32::try_from(part).unwrap() * 100_000;
        data(&[(from.max(1)..from + 100_000).flat_map(|index| failed(index, 1)).collect()])
    })
}

/// A million files are taken, planned, and then cannot be had: each costs its place in the list,
/// in the plan, in the lock and among the results.
#[test]
fn a_million_failures() -> Result<()> {
    let stage = Stage::new()?;
    let case = Case::new("memory: a million files that fail", 3, "999,999 entries did not");
    let case = Case { options: vec![], entries: MILLION, ..case.left(&["d"]) };
    stage.receive(&case, |line| {
        let (offer, pages) = a_million();
        line.say(&offer)?;
        pages.iter().try_for_each(|page| line.say(page))?;
        line.hear_pages(PLAN)?;
        a_million_vanished().iter().try_for_each(|record| line.say(record))?;
        let results = line.finish()?;
        ensure!(results.len() == 4_999_995, "{} bytes of results", results.len());
        Ok(())
    })?;
    Ok(())
}

/// The same where all of them have to go into a folder of another name, and the list is known from
/// an earlier run.
#[test]
fn a_known_list_in_a_moved_folder() -> Result<()> {
    const COUNT: u64 = 300_000;
    let stage = Stage::new()?;
    crate::util::tree::write(&stage.out().join("d"), "mine")?;
    let names = numbered(sized("d/000000", 0), 2, COUNT);
    let pages = list(std::iter::once(folder("d").bytes()).chain(names));
    for run in 1..=2 {
        let case = Case::new(format!("memory: a list in a moved folder, run {run}"), 1, "to stop");
        let case = Case { entries: COUNT + 1, changed: vec![LOCK], ..case };
        let left: &[&str] = if run == 1 { &["d (1)", LOCK] } else { &[] };
        stage.receive(&case.left(left), |line| {
            line.say(&offer_of(COUNT, 1, 0, 0))?;
            pages.iter().try_for_each(|page| line.say(page))?;
            line.hear_pages(PLAN)?;
            line.say_last(&control(r#"{"type":"cancel","reason":"failed"}"#))
        })?;
    }
    Ok(())
}

/// An LZ4 block of zeros: one literal, then a match without end, then five literals.
fn lz4_zeros(len: usize) -> Vec<u8> {
    let mut left = len - 6 - 4 - 15;
    let mut block = vec![0x1f, 0, 1, 0];
    while left >= 255 {
        block.push(255);
        left -= 255;
    }
    block.extend([u8::try_from(left).unwrap(), 0x50, 0, 0, 0, 0, 0]);
    block
}

/// A Blosc2 chunk that says it is `len` zeros, in 32 bytes.
fn blosc_zeros(len: u32, block: u32, length: u32) -> Vec<u8> {
    let mut chunk = vec![5, 1, 0x35, 2];
    chunk.extend(len.to_le_bytes());
    chunk.extend(block.to_le_bytes());
    chunk.extend(length.to_le_bytes());
    chunk.extend([0; 5]);
    chunk.extend([1, 1]);
    chunk.extend([0; 8]);
    chunk.push(0x10);
    chunk
}

const MAX: u32 = 1_049_600;

/// Packed records that claim something else than they are.
#[test]
fn decompression_bombs() -> Result<()> {
    let lz4 = |len: u32| lz4_zeros(len as usize);
    let zeros = |len: u32| blosc_zeros(len, len.min(131_072), 32);
    let with = |at: usize, byte: u8| {
        let mut chunk = zeros(64);
        chunk[at] = byte;
        chunk
    };
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("LZ4, 2^32 - 1 bytes", packed(1, u32::MAX, &lz4(64)), DAMAGED),
        ("LZ4, 2^31 bytes", packed(1, 1 << 31, &lz4(64)), DAMAGED),
        ("LZ4, a byte too many", packed(1, MAX + 1, &lz4(MAX + 1)), DAMAGED),
        ("LZ4, says little and is much", packed(1, 64, &lz4(MAX)), DAMAGED),
        ("LZ4, says much and is little", packed(1, MAX, &lz4(64)), DAMAGED),
        ("LZ4, 200 MB in a record", packed(1, MAX, &lz4(200 << 20)), DAMAGED),
        ("LZ4, nothing", packed(1, 0, &[]), DAMAGED),
        ("LZ4, one byte of nothing", packed(1, 1, &[]), DAMAGED),
        (
            "LZ4, not smaller",
            packed(1, 18, &[0x1f, 0, 1, 0, 0x26, 0x60, 0, 0, 0, 0, 0, 0, 0, 0]),
            DAMAGED,
        ),
        ("LZ4, an offset before the beginning", packed(1, 64, &[0x1f, 0, 9, 9, 0x26]), DAMAGED),
        ("LZ4, lengths without end", packed(1, MAX, &[255; 5000]), DAMAGED),
        ("Blosc, 2^32 - 1 bytes", packed(2, u32::MAX, &zeros(u32::MAX - 1)), DAMAGED),
        ("Blosc, 2^31 - 2 bytes", packed(2, MAX, &zeros((1 << 31) - 2)), DAMAGED),
        ("Blosc, a byte too many", packed(2, MAX + 2, &zeros(MAX + 2)), DAMAGED),
        ("Blosc, says little and is much", packed(2, 64, &zeros(MAX)), DAMAGED),
        ("Blosc, says much and is little", packed(2, MAX, &zeros(64)), DAMAGED),
        ("Blosc, blocks of nothing", packed(2, 64, &blosc_zeros(64, 0, 32)), DAMAGED),
        ("Blosc, blocks without end", packed(2, 64, &blosc_zeros(64, u32::MAX, 32)), DAMAGED),
        ("Blosc, longer than it is", packed(2, 64, &blosc_zeros(64, 64, u32::MAX)), DAMAGED),
        ("Blosc, shorter than it is", packed(2, 64, &blosc_zeros(64, 64, 0)), DAMAGED),
        ("Blosc, another version", packed(2, 64, &with(0, 4)), DAMAGED),
        ("Blosc, another codec", packed(2, 64, &with(2, 0x95)), DAMAGED),
        ("Blosc, elements of nothing", packed(2, 64, &with(3, 0)), DAMAGED),
        ("Blosc, elements of 255", packed(2, 64, &with(3, 255)), DAMAGED),
        ("Blosc, a filter of its own", packed(2, 64, &with(21, 160)), DAMAGED),
        ("Blosc, a dictionary", packed(2, 64, &with(31, 1)), DAMAGED),
        ("Blosc, a special value", packed(2, 64, &with(31, 0x30)), DAMAGED),
        ("Blosc, a lazy chunk", packed(2, 64, &with(31, 0x08)), DAMAGED),
        ("Blosc, half a header", packed(2, 64, &zeros(64)[..20]), DAMAGED),
        ("Blosc, nothing", packed(2, 64, &[]), DAMAGED),
        ("a codec of no kind", packed(0, 64, &lz4(64)), "compression method 0"),
        ("another codec of no kind", packed(3, 64, &lz4(64)), "compression method 3"),
        ("half a head", vec![5, 1, 0, 0], "a message is cut off"),
        ("well packed, and no items", packed(1, MAX, &lz4(MAX)), "data of an unknown kind"),
        ("well packed zeros, and no items", packed(2, MAX, &zeros(MAX)), "data of an unknown kind"),
    ];
    all(&rows, |(name, record, says)| {
        let stage = Stage::new()?;
        let case = Case::new(format!("memory: a bomb, {name}"), 1, "error: the ").left(&[LOCK]);
        let ended = stage.receive(&case, |line| {
            line.offer_and_plan(&[file("x")])?;
            line.say(record)
        })?;
        ensure!(ended.stderr.contains(says), "{name}: expected {says:?}: {ended:#?}");
        Ok(())
    })
}

/// What is packed well is taken, however well it is packed: 64 MiB of zeros, 250:1 with LZ4 and
/// 30,000:1 with Blosc, in records as large as can be.
#[test]
fn much_from_little() -> Result<()> {
    const PIECE: usize = 1 << 20;
    const PIECES: u64 = 64;
    let content = vec![0; PIECE * PIECES as usize];
    let size = content.len() as u64;
    let hash = Sha256::digest(&content);
    // The items are one `bytes` of zeros; its head is not zero, and is what LZ4 begins with.
    let items = bytes(&content[..PIECE]);
    let mut lz4 = vec![0x60];
    lz4.extend(&items[..6]);
    lz4.extend([1, 0]);
    lz4[0] |= 15;
    let mut left = items.len() - 6 - 4 - 15 - 5;
    while left >= 255 {
        lz4.push(255);
        left -= 255;
    }
    lz4.extend([u8::try_from(left)?, 0x50, 0, 0, 0, 0, 0]);
    // Blosc packs only what is zero from the first byte on: no item begins so.
    let record = packed(1, u32::try_from(items.len())?, &lz4);
    ensure!(record.len() * 200 < items.len(), "not packed well");
    let stage = Stage::new()?;
    let case = Case::new("memory: 64 MiB of zeros, 250:1", 0, "received 1 file").left(&["x"]);
    stage.receive(&Case { content: content.clone(), ..case }, |line: &mut Line| {
        line.offer_and_plan(&[sized("x", size)])?;
        line.say(&data(&[start(0, 0)]))?;
        (0..PIECES).try_for_each(|_| line.say(&record))?;
        line.say(&data(&[end(size, &hash)]))?;
        line.finish().map(drop)
    })?;
    Ok(())
}
