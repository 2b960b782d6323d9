//! A sender whose content is not what it offered.

use std::fs;

use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};

use crate::script::{
    CONTENT, DATA, Entry, Line, PLAN, RETRY, SIZE, bytes, control, data, end, failed, file, folder,
    hole, holed, link, list, offer, offer_of, page, result, sized, sparse_hash, start, whole,
    whole_of,
};
use crate::stage::{BROKE, Case, LOCK, Stage, all};
use crate::util::tree::{touch, write};

/// What is offered unless a row offers something else; nothing of it is there.
fn entries() -> Vec<Entry> {
    vec![folder("d"), file("d/f"), file("g"), link("l", "g")]
}

const UNASKED: &str = "a file came that was not asked for";
const TURN: &str = "a message came out of turn";
const LONG: &str = "a file is longer than was offered";
const LENGTH: &str = "a file is not as long as was offered";
const MISSING: &str = "a file that was asked for did not come";
const CUT: &str = "a message is cut off";

fn hash() -> Vec<u8> {
    Sha256::digest(CONTENT).to_vec()
}

fn done() -> Vec<u8> {
    control(r#"{"type":"done"}"#)
}

/// What follows the plan, what is said of it, and what is then in the folder beside `d` and the
/// lock.
#[test]
fn content_that_was_not_agreed_on() -> Result<()> {
    let half = &CONTENT[..9];
    let part: &[&str] = &["d/f.part"];
    let rows: Vec<(&str, Vec<Vec<u8>>, &str, &[&str])> = vec![
        ("an index that was not listed", vec![data(&[start(4, 0)])], UNASKED, &[]),
        ("the largest index", vec![data(&[start(u32::MAX, 0)])], UNASKED, &[]),
        ("a folder", vec![data(&[start(0, 0)])], UNASKED, &[]),
        ("a whole folder", vec![data(&[whole(0)])], UNASKED, &[]),
        ("a link", vec![data(&[whole(3)])], UNASKED, &[]),
        ("bytes too many", vec![data(&[start(1, 0), bytes(CONTENT), bytes(b"x")])], LONG, part),
        (
            "bytes too many, in a record of their own",
            vec![data(&[start(1, 0), bytes(CONTENT)]), data(&[bytes(b"x")])],
            LONG,
            part,
        ),
        ("far too many", vec![data(&[start(1, 0), bytes(&[7; 1 << 20])])], LONG, part),
        ("too few", vec![data(&[start(1, 0), bytes(half), end(SIZE, &hash())])], LENGTH, part),
        ("too few, and it says so", vec![data(&[whole_of(1, half)])], LENGTH, part),
        (
            "another size at the end",
            vec![data(&[start(1, 0), bytes(CONTENT), end(u64::MAX, &hash())])],
            LENGTH,
            part,
        ),
        ("no end", vec![data(&[start(1, 0), bytes(CONTENT)]), done()], MISSING, part),
        ("no end, and the next", vec![data(&[start(1, 0), bytes(half), whole(2)])], TURN, part),
        ("an end without a start", vec![data(&[end(SIZE, &hash())])], TURN, &[]),
        ("bytes without a start", vec![data(&[bytes(CONTENT)])], TURN, &[]),
        // Of a record that breaks the rules nothing small is written; of those before it is.
        ("bytes behind the end", vec![data(&[whole(1), bytes(b"x")])], TURN, &[]),
        ("bytes later", vec![data(&[whole(1)]), data(&[bytes(b"x")])], TURN, &["d/f"]),
        ("a second end", vec![data(&[whole(1), end(SIZE, &hash())])], TURN, &[]),
        (
            "a second end later",
            vec![data(&[whole(1)]), data(&[end(SIZE, &hash())])],
            TURN,
            &["d/f"],
        ),
        ("a start, twice", vec![data(&[start(1, 0), start(1, 0)])], TURN, part),
        ("two starts", vec![data(&[start(1, 0), start(2, 0)])], TURN, part),
        ("the same file again", vec![data(&[whole(1), whole(1)])], UNASKED, &[]),
        ("the same file later", vec![data(&[whole(1)]), data(&[whole(1)])], UNASKED, &["d/f"]),
        (
            "the same file again, torn",
            vec![data(&[start(1, 0), bytes(&[0; 27]), end(SIZE, &hash()), whole(1)])],
            UNASKED,
            &[],
        ),
        ("an offset that nobody proposed", vec![data(&[start(1, 1)])], TURN, &[]),
        ("an offset at the end", vec![data(&[start(1, SIZE), end(SIZE, &hash())])], TURN, &[]),
        ("an offset behind the end", vec![data(&[start(1, u64::MAX)])], TURN, &[]),
        ("done too early", vec![done()], MISSING, &[]),
        ("done before the last", vec![data(&[whole(1)]), done()], MISSING, &["d/f"]),
        ("failed, the receiver's fault", vec![data(&[failed(1, 5)])], TURN, &[]),
        ("failed by hash", vec![data(&[failed(1, 6)])], TURN, &[]),
        ("failed, as kept", vec![data(&[failed(1, 7)])], TURN, &[]),
        ("failed for nothing", vec![data(&[failed(1, 0)])], "an unknown fault", &[]),
        ("failed at the receiver", vec![data(&[failed(1, 8)])], "out of turn", &[]),
        ("failed, and not listed", vec![data(&[failed(9, 1)])], TURN, &[]),
        ("a folder failed", vec![data(&[failed(0, 1)])], TURN, &[]),
        ("failed when it was whole", vec![data(&[whole(1), failed(1, 1)])], TURN, &[]),
        ("failed later", vec![data(&[whole(1)]), data(&[failed(1, 1)])], TURN, &["d/f"]),
        ("failed twice", vec![data(&[failed(1, 1), failed(1, 1)])], TURN, &[]),
        ("failed, then sent", vec![data(&[failed(1, 1), whole(1)])], UNASKED, &[]),
        ("another one failed", vec![data(&[start(1, 0), failed(2, 1)])], TURN, part),
        ("an item of no kind", vec![vec![DATA, 0]], "data of an unknown kind", &[]),
        ("an item of another kind", vec![vec![DATA, 8]], "data of an unknown kind", &[]),
        ("a hole cut off", vec![vec![DATA, 5, 0, 0]], CUT, &[]),
        (
            "a hole in a file that has none",
            vec![data(&[start(1, 0), hole(SIZE)])],
            "a hole in a file that has none",
            part,
        ),
        ("an item cut off", vec![vec![DATA, 1, 0, 0]], CUT, &[]),
        (
            "an item longer than its record",
            vec![[data(&[start(1, 0)]), vec![2, 0xff, 0xff, 0xff, 0xff, b'x']].concat()],
            CUT,
            &[],
        ),
    ];
    all(&rows, |(name, records, says, left)| {
        let stage = Stage::new()?;
        let case = Case::new(format!("data: {name}"), 1, BROKE);
        let case = case.left(&[&["d", LOCK], *left].concat());
        let ended = stage.receive(&case, |line| {
            line.offer_and_plan(&entries())?;
            // It stops listening at the first that it does not like.
            records.iter().try_for_each(|record| line.say(record))
        })?;
        ensure!(ended.stderr.contains(says), "{name}: expected {says:?}: {ended:#?}");
        Ok(())
    })
}

/// Offers that do not fit their lists. Nothing of them may be on the disk.
#[test]
fn offers_that_lie() -> Result<()> {
    let other = "the entries are not those that were offered";
    let more = "more entries than were offered";
    let sizes = "the sizes are impossible";
    let list = |entries: &[Entry]| list(entries);
    let huge = [sized("a", u64::MAX), sized("b", 1)];
    let rows: Vec<(&str, Vec<u8>, Vec<Vec<u8>>, i32, &str)> = vec![
        ("a file too many", offer_of(3, 1, 1, 2 * SIZE), list(&entries()), 1, other),
        ("a file too few", offer_of(1, 1, 1, 2 * SIZE), list(&entries()), 1, more),
        ("files for folders", offer_of(1, 2, 1, 2 * SIZE), list(&entries()), 1, other),
        ("no links", offer_of(2, 2, 0, 2 * SIZE), list(&entries()), 1, other),
        ("bytes too many", offer_of(2, 1, 1, 2 * SIZE + 1), list(&entries()), 1, other),
        ("bytes too few", offer_of(2, 1, 1, 0), list(&entries()), 1, other),
        ("all bytes there are", offer_of(2, 1, 1, u64::MAX), list(&entries()), 1, other),
        ("nothing offered, something listed", offer_of(0, 0, 0, 0), list(&[file("x")]), 1, more),
        ("something offered, nothing listed", offer_of(1, 0, 0, SIZE), list(&[]), 1, other),
        ("sizes that overflow", offer_of(2, 0, 0, 0), list(&huge), 1, sizes),
        ("sizes that overflow to what is said", offer(&huge), list(&huge), 1, sizes),
        ("more files than there can be", offer_of(u64::MAX, 0, 0, 0), vec![], 1, "entries"),
        ("counts that overflow", offer_of(u64::MAX, 1, 0, 0), vec![], 1, "entries"),
        ("counts that overflow to few", offer_of(1 << 63, 1 << 63, 2, 0), vec![], 1, "entries"),
        (
            "more bytes than there is room",
            offer_of(1, 0, 0, u64::MAX),
            list(&[sized("x", u64::MAX)]),
            1,
            "not enough room",
        ),
        (
            "more bytes than there is room, in two files",
            offer_of(2, 0, 0, u64::MAX),
            list(&[sized("x", 1), sized("y", u64::MAX - 1)]),
            1,
            "not enough room",
        ),
    ];
    all(&rows, |(name, offer, pages, code, says)| {
        let stage = Stage::new()?;
        let case = Case::new(format!("data: offer, {name}"), *code, says);
        stage.receive(&case, |line| {
            line.say(offer)?;
            // Some are refused before that.
            let _ = pages.iter().try_for_each(|page| line.say(page));
            Ok(())
        })?;
        Ok(())
    })
}

/// A file with holes that is not as it was offered: what comes of it, what is said, and what is then in
/// the folder.
#[test]
fn holes_that_were_not_agreed_on() -> Result<()> {
    const LEN: u64 = 200_000;
    let block = [7; 4096];
    let blocks = "a hole that is no whole blocks";
    let part: &[&str] = &["s.part"];
    let rows: Vec<(&str, Vec<Vec<u8>>, &str, &[&str])> = vec![
        ("without a start", vec![hole(4096)], TURN, &[]),
        ("of nothing", vec![start(0, 0), hole(0)], "a hole of nothing", part),
        ("one byte too long", vec![start(0, 0), hole(LEN + 1)], LONG, part),
        ("of all there is", vec![start(0, 0), hole(u64::MAX)], LONG, part),
        ("that overflows", vec![start(0, 0), hole(4096), hole(u64::MAX)], LONG, part),
        ("behind the end", vec![start(0, 0), hole(LEN), hole(4096)], LONG, part),
        ("with bytes behind it", vec![start(0, 0), hole(LEN), bytes(b"x")], LONG, part),
        ("that ends in a block", vec![start(0, 0), hole(5)], blocks, part),
        ("that begins in a block", vec![start(0, 0), bytes(b"x"), hole(LEN - 1)], blocks, part),
        (
            "in the middle of one",
            vec![start(0, 0), bytes(&block), bytes(b"x"), hole(4095)],
            blocks,
            part,
        ),
        (
            "and an end too early",
            vec![start(0, 0), hole(4096), end(LEN, &sparse_hash(&[0; 4096]))],
            LENGTH,
            part,
        ),
        (
            "and another size at the end",
            vec![start(0, 0), hole(LEN), end(u64::MAX, &sparse_hash(&[0; LEN as usize]))],
            LENGTH,
            part,
        ),
        (
            "and no end",
            vec![start(0, 0), hole(LEN), end(LEN, &sparse_hash(&[0; LEN as usize])), hole(4096)],
            TURN,
            &["s"],
        ),
    ];
    all(&rows, |(name, items, says, left)| {
        let stage = Stage::new()?;
        let case = Case::new(format!("a hole {name}"), 1, BROKE).left(&[&[LOCK], *left].concat());
        let case = Case { content: vec![0; LEN as usize], ..case };
        let ended = stage.receive(&case, |line| {
            line.offer_and_plan(&[holed("s", LEN, 4096)])?;
            line.say(&data(items))
        })?;
        ensure!(ended.stderr.contains(says), "{name}: expected {says:?}: {ended:#?}");
        Ok(())
    })?;

    let stage = Stage::new()?;
    let case = Case::new("it takes more than its size", 1, BROKE);
    let lie = [holed("s", LEN, LEN + 1)];
    stage.receive(&case, |line| {
        line.say(&offer(&lie))?;
        list(&lie).iter().try_for_each(|page| line.say(page))
    })?;

    let stage = Stage::new()?;
    let case = Case::new("it was not named", 1, "a feature that was not agreed on");
    let unnamed = String::from_utf8(offer(&[holed("s", LEN, 0)]))?.replace(r#","sparse""#, "");
    stage.receive(&case, |line| {
        line.say(unnamed.as_bytes())?;
        list(&[holed("s", LEN, 0)]).iter().try_for_each(|page| line.say(page))
    })?;
    Ok(())
}

/// Sizes that no disk has, of which nothing is said to take room.
#[test]
fn holes_that_no_disk_can_hold() -> Result<()> {
    for size in [u64::MAX, 1 << 63, i64::MAX as u64] {
        let stage = Stage::new()?;
        let case =
            Case { options: vec!["-vv"], ..Case::new(format!("{size} bytes"), 3, "too large") };
        stage.receive(&case, |line| {
            let plan = line.offer_and_plan(&[holed("s", size, 0)])?;
            ensure!(plan == crate::script::skip(0), "the plan was {plan:x?}");
            line.finish().map(drop)
        })?;
    }
    Ok(())
}

/// More content than the sender has said has no room set aside for it.
#[test]
fn content_beyond_what_was_said_is_counted_anew() -> Result<()> {
    let stage = Stage::new()?;
    let case = Case::new("more than it takes", 1, "takes more room than its sender has said");
    let case = case.left(&[LOCK, "s.part"]);
    stage.receive(&case, |line| {
        line.offer_and_plan(&[holed("s", 8 << 40, 4096)])?;
        line.say(&data(&[start(0, 0), bytes(&[7; 4096])]))?;
        line.say(&data(&[bytes(&[7; 4096])]))
    })?;
    Ok(())
}

/// A record of nothing but small holes, again and again, is done with in a moment, as is the smallest
/// content between them.
#[test]
fn many_small_holes_cost_little() -> Result<()> {
    const RECORDS: u64 = 20;
    let per = (1u64 << 20) / 9;
    let size = RECORDS * per * 4096;
    let stage = Stage::new()?;
    let case = Case::new("many small holes", 0, "received 1 file");
    let out = stage.out();
    stage.receive(&case, |line| {
        line.offer_and_plan(&[holed("s", size, 0)])?;
        line.say(&data(&[start(0, 0)]))?;
        let record = data(&vec![hole(4096); usize::try_from(per)?]);
        for _ in 0..RECORDS {
            line.say(&record)?;
        }
        let mut hash = Sha256::new();
        hash.update(size.to_be_bytes());
        line.say(&data(&[end(size, &hash.finalize())]))?;
        line.say(&control(r#"{"type":"done"}"#))?;
        line.hear_pages(crate::script::RESULTS)?;
        line.hear_control()?;
        let arrived = fs::metadata(out.join("s"))?;
        ensure!(arrived.len() == size, "{} bytes are here", arrived.len());
        // Nobody wants to read it.
        fs::remove_file(out.join("s"))?;
        line.say_last(&control(r#"{"type":"bye"}"#))
    })?;
    Ok(())
}

/// What is wrong in all three attempts never gets its name; the SHA-256 of the content is wrong too.
#[test]
fn a_file_with_holes_needs_its_own_hash() -> Result<()> {
    let mut content = vec![0; 70_000];
    content[..4096].fill(7);
    let items =
        |hash: Vec<u8>| data(&[start(0, 0), bytes(&[7; 4096]), hole(65_904), end(70_000, &hash)]);
    for (name, hash, code) in [
        ("the right hash", sparse_hash(&content), 0),
        ("the hash of files without", Sha256::digest(&content).to_vec(), 6),
        ("the hash of other content", sparse_hash(&content[..69_999]), 6),
    ] {
        let stage = Stage::new()?;
        let left: &[&str] = if code == 0 { &["s"] } else { &[] };
        let case = Case::new(name, code, "").left(left);
        let case = Case { content: content.clone(), ..case };
        stage.receive(&case, |line| {
            line.offer_and_plan(&[holed("s", 70_000, 4096)])?;
            for _ in 0..if code == 0 { 0 } else { 2 } {
                line.say(&items(hash.clone()))?;
                line.say(&done())?;
                line.hear_pages(RETRY)?;
            }
            line.say(&items(hash))?;
            line.finish().map(drop)
        })?;
    }
    Ok(())
}

/// A file that the receiver has, and said so, comes all the same.
#[test]
fn a_file_that_was_not_wanted() -> Result<()> {
    for (name, options, mine) in [
        ("it is there", vec!["-vv"], CONTENT),
        ("something else is there, and kept", vec!["-vv", "--on-conflict", "skip"], b"mine"),
    ] {
        let stage = Stage::new()?;
        write(&stage.out().join("g"), mine)?;
        touch(&stage.out().join("g"), 1_767_323_045, 678_901_234)?;
        let case = Case::new(format!("data: not wanted, {name}"), 1, UNASKED);
        let case = Case { options, ..case.left(&["d", LOCK]) };
        stage.receive(&case, |line| {
            let plan = line.offer_and_plan(&entries())?;
            ensure!(plan == crate::script::skip(2), "the plan was {plan:x?}");
            line.say(&data(&[whole_of(2, b"this is not what was there.")]))
        })?;
    }
    Ok(())
}

/// Wrong in all three attempts: told to both, and never named; what is right in another is.
#[test]
fn a_hash_that_is_never_right() -> Result<()> {
    let stage = Stage::new()?;
    let case = Case::new("data: never the right hash", 6, "d/f: its hash still differed");
    stage.receive(&case.left(&["d", "g", "l"]), |line| {
        line.offer_and_plan(&entries())?;
        for attempt in 1u8..=3 {
            let torn = [start(1, 0), bytes(&[attempt; 27]), end(SIZE, &hash())].concat();
            line.say(&data(&[torn]))?;
            if attempt == 1 {
                line.say(&data(&[whole(2)]))?;
            }
            if attempt < 3 {
                line.say(&done())?;
                let again = line.hear_pages(RETRY)?;
                ensure!(again == 1u32.to_be_bytes(), "{again:x?} are to come again");
            }
        }
        let results = line.finish()?;
        ensure!(results == result(1, 6), "the results were {results:x?}");
        Ok(())
    })?;
    Ok(())
}

/// In the second round only what was asked for again may come, from its beginning.
#[test]
fn a_second_round_with_something_else() -> Result<()> {
    let rows: [(&str, Vec<u8>, &str); 4] = [
        ("a file that is there", whole(2), UNASKED),
        ("a folder", whole(0), UNASKED),
        ("an offset", start(1, 9), TURN),
        ("nothing", vec![], MISSING),
    ];
    for (name, item, says) in rows {
        let stage = Stage::new()?;
        let case = Case::new(format!("data: second round, {name}"), 1, says);
        stage.receive(&case.left(&["d", "g", LOCK]), |line| {
            line.offer_and_plan(&entries())?;
            line.say(&data(&[start(1, 0), bytes(&[0; 27]), end(SIZE, &hash()), whole(2)]))?;
            line.say(&done())?;
            line.hear_pages(RETRY)?;
            line.say(&data(&[item]))?;
            let _ = line.say(&done());
            Ok(())
        })?;
    }
    Ok(())
}

/// Resumes nobody agreed to: the receiver proposes one offset, the sender begins at another.
#[test]
fn a_resume_that_was_not_agreed_on() -> Result<()> {
    let rows: [(&str, u64, i32, &str, bool); 5] = [
        ("behind it", 10, 1, TURN, false),
        ("before it", 8, 1, TURN, false),
        ("at the end", SIZE, 1, TURN, false),
        ("at its start, as may be", 0, 0, "received 2 files", true),
        ("where it was proposed", 9, 0, "received 2 files", true),
    ];
    for (name, offset, code, says, arrives) in rows {
        let stage = Stage::new()?;
        crate::names::interrupt(&stage)?;
        let case = Case::new(format!("data: resume {name}"), code, says);
        let (left, changed): (&[&str], _) = match arrives {
            true => (&["a/f", "g"], vec!["a/f.part", LOCK]),
            false => (&[], vec![LOCK]),
        };
        stage.receive(&Case { changed, ..case.left(left) }, |line| {
            let plan = line.offer_and_plan(&[folder("a"), file("a/f"), file("g")])?;
            let proposed = crate::script::resume(1, 9, &Sha256::digest(&CONTENT[..9]));
            ensure!(plan == proposed, "the plan was {plan:x?}");
            let rest = &CONTENT[usize::try_from(offset)?..];
            line.say(&data(&[start(1, offset), bytes(rest), end(SIZE, &hash())]))?;
            if arrives {
                line.say(&data(&[whole(2)]))?;
                line.finish()?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// A prefix that is another's: the whole does not have the hash of either, and is not named.
#[test]
fn a_resume_behind_another_prefix() -> Result<()> {
    let stage = Stage::new()?;
    crate::names::interrupt(&stage)?;
    let part = stage.out().join("a/f.part");
    ensure!(fs::read(&part)? == CONTENT[..9], "no unfinished file");
    fs::write(&part, "something")?;
    let case = Case::new("data: a false prefix", 0, "received 1 file").left(&["a/f"]);
    stage.receive(&Case { changed: vec!["a/f.part", LOCK], ..case }, |line| {
        line.offer_and_plan(&[folder("a"), file("a/f")])?;
        // The sender claims that its own begins in the same way.
        line.say(&data(&[start(1, 9), bytes(&CONTENT[9..]), end(SIZE, &hash())]))?;
        line.say(&done())?;
        line.hear_pages(RETRY)?;
        line.say(&data(&[whole(1)]))?;
        line.finish().map(drop)
    })?;
    Ok(())
}

/// Content before anybody asked for it.
#[test]
fn data_before_the_plan() -> Result<()> {
    let stage = Stage::new()?;
    let case = Case::new("data: before the list is whole", 1, TURN);
    stage.receive(&case, |line: &mut Line| {
        line.say(&offer(&entries()))?;
        line.say(&page(crate::script::ENTRIES, 0, &folder("d").bytes()))?;
        line.say(&data(&[whole(1)]))
    })?;
    // Sent with the list it can only have been meant for the plan that must follow.
    let stage = Stage::new()?;
    let case = Case::new("data: before the plan was read", 0, "received 2 files");
    stage.receive(&case.left(&["d", "d/f", "g", "l"]), |line| {
        line.offer(&entries())?;
        line.say(&data(&[whole(1), whole(2)]))?;
        line.hear_pages(PLAN)?;
        line.finish().map(drop)
    })?;
    Ok(())
}

/// More files in one record than any sender of ours puts there: all arrive, and the pool is not
/// given more of them at a time than it is to have.
#[test]
fn a_thousand_files_in_one_record() -> Result<()> {
    let stage = Stage::new()?;
    let names: Vec<String> = (0..1000).map(|number| format!("f{number:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let case = Case::new("data: a thousand files in one record", 0, "received 1,000 files");
    stage.receive(&case.left(&names), |line| {
        line.offer_and_plan(&names.iter().copied().map(file).collect::<Vec<_>>())?;
        line.say(&data(&(0..1000).map(whole).collect::<Vec<_>>()))?;
        line.finish().map(drop)
    })?;
    for name in names {
        ensure!(fs::read(stage.out().join(name))? == CONTENT, "{name} is not whole");
    }
    Ok(())
}
