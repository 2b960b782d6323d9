//! Records that are not what the other side sealed, or not where it put them.

use anyhow::{Result, ensure};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};

use crate::script::{
    CONTENT, LAST, Line, MAX_PLAINTEXT, PLAN, RESULTS, associated, bytes, control, data, file,
    page, start, whole,
};
use crate::stage::{Case, LOCK, STAYS, Stage, all};

const LENGTH: &str = "the other side sent a record of an impossible length";
const FORGED: &str = "a record was damaged or forged on the way";
const ENDED: &str = "the connection ended in the middle";

/// Any message that is in its place at any time.
const WAIT: &[u8] = b"\x01{\"type\":\"wait\"}";

/// Makes the bytes that follow; the connection is cut behind them.
type Forge = fn(&mut Line) -> Vec<u8>;

/// A header, and zeros to choke on.
fn header(word: u32) -> Vec<u8> {
    [&word.to_be_bytes()[..], &[0; 40]].concat()
}

fn flip(mut record: Vec<u8>, at: usize) -> Vec<u8> {
    record[at] ^= 1;
    record
}

/// A record as the text has it, under any key and number.
fn seal(key: &[u8; 32], count: u64, plaintext: &[u8]) -> Vec<u8> {
    let header = u32::try_from(plaintext.len() + 16).unwrap().to_be_bytes();
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&count.to_le_bytes());
    let payload = Payload { msg: plaintext, aad: &associated(&header) };
    let cipher = ChaCha20Poly1305::new(key.into());
    [&header[..], &cipher.encrypt(&Nonce::from(nonce), payload).unwrap()].concat()
}

const FORGERIES: &[(&str, Forge, &str)] = &[
    ("2^31 - 1 bytes", |_| header(LAST - 1), LENGTH),
    ("2^32 - 1 in the header", |_| header(u32::MAX), LENGTH),
    ("2^30 bytes", |_| header(1 << 30), LENGTH),
    ("one byte more than may be", |_| header(1_049_617), LENGTH),
    ("no bytes", |_| header(0), LENGTH),
    ("no bytes, marked", |_| header(LAST), LENGTH),
    ("half a tag", |_| header(8), LENGTH),
    ("a tag and no text", |_| header(16), LENGTH),
    ("too long, and sealed well", |line| line.record(&[1; MAX_PLAINTEXT + 1]), LENGTH),
    ("nothing more", |_| vec![], ENDED),
    ("half a header", |_| vec![0, 0], ENDED),
    ("a header alone", |_| 1_049_616u32.to_be_bytes().to_vec(), ENDED),
    ("all but a byte", |line| line.record(WAIT)[..WAIT.len() + 19].to_vec(), ENDED),
    ("a longer length", |line| flip(line.record(WAIT), 2), ENDED),
    ("a shorter length", |line| [flip(line.record(WAIT), 3), vec![0; 9]].concat(), FORGED),
    (
        "a mark put on",
        |line| {
            let mut record = line.record(WAIT);
            record[0] |= 0x80;
            record
        },
        FORGED,
    ),
    (
        "a mark taken off",
        |line| {
            let mut record = line.last_record(WAIT);
            record[0] &= 0x7f;
            record
        },
        FORGED,
    ),
    ("a bit of the text", |line| flip(line.record(WAIT), 4), FORGED),
    ("a bit of the tag", |line| flip(line.record(WAIT), WAIT.len() + 19), FORGED),
    (
        "a tag of zeros",
        |line| {
            let mut record = line.record(WAIT);
            record[WAIT.len() + 4..].fill(0);
            record
        },
        FORGED,
    ),
    ("not sealed", |_| [&[0, 0, 0, 31][..], WAIT, &[0; 16]].concat(), FORGED),
    ("repeated", |line| line.record(WAIT).repeat(2), FORGED),
    (
        "in another order",
        |line| {
            let first = line.record(WAIT);
            [line.record(WAIT), first].concat()
        },
        FORGED,
    ),
    (
        "one left out",
        |line| {
            line.record(WAIT);
            line.record(WAIT)
        },
        FORGED,
    ),
    (
        "the first of all again",
        |line| {
            // Sealed as number 0 under the right key, in the place of a later one, or after another.
            let (down, up) = ("sender to receiver", "receiver to sender");
            let keys = [down, up].map(|way| seal(&line.keys.derived(way), 0, WAIT));
            [line.record(WAIT), keys.concat()].concat()
        },
        FORGED,
    ),
    ("sealed with another key", |_| seal(&[7; 32], 0, WAIT), FORGED),
    ("sealed with a key of zeros", |_| seal(&[0; 32], 0, WAIT), FORGED),
    (
        "sealed with the key of the confirmation",
        |line| seal(&line.keys.derived("sender confirms"), 0, WAIT),
        FORGED,
    ),
];

/// At the beginning of the session: nothing was said yet.
#[test]
fn in_place_of_the_offer() -> Result<()> {
    all(FORGERIES, |(name, forge, says)| {
        let stage = Stage::bare()?;
        let case = Case::new(format!("records: first, {name}"), 5, says);
        stage.receive(&case, |line| {
            let forged = forge(line);
            let _ = line.raw(&forged);
            hang_up(line);
            Ok(())
        })?;
        Ok(())
    })
}

/// Lets the other side read what there is before the connection ends.
fn hang_up(line: &Line) {
    let _ = line.stream.shutdown(std::net::Shutdown::Write);
}

/// In the middle of a file: the receiver keeps what it has, and comes back.
#[test]
fn in_the_middle_of_a_file() -> Result<()> {
    all(FORGERIES, |(name, forge, says)| {
        let stage = Stage::new()?;
        let case = Case::new(format!("records: in a file, {name}"), 1, "the sender had to stop");
        let ended = stage.receive(&case.left(&["x.part", LOCK]), |line| {
            line.offer_and_plan(&[file("x")])?;
            line.say(&data(&[start(0, 0), bytes(&CONTENT[..9])]))?;
            let forged = forge(line);
            let _ = line.raw(&forged);
            hang_up(line);
            Ok(())
        })?;
        let warned = format!("warning: {says}; trying again");
        ensure!(ended.stderr.contains(&warned), "{name}: expected {warned:?}: {ended:#?}");
        Ok(())
    })
}

/// In place of the last word: everything is there, and the receiver says what it does not know.
#[test]
fn in_place_of_the_last() -> Result<()> {
    all(FORGERIES, |(name, forge, says)| {
        let stage = Stage::new()?;
        let case = Case::new(format!("records: last, {name}"), 5, "did not confirm it: ");
        // The next run has the lock to find everything in its place.
        let ended = stage.receive(&case.left(&["x", LOCK]), |line| {
            line.offer_and_plan(&[file("x")])?;
            line.say(&data(&[whole(0)]))?;
            line.say(&control(r#"{"type":"done"}"#))?;
            line.hear_pages(RESULTS)?;
            line.hear_control()?;
            let forged = forge(line);
            let _ = line.raw(&forged);
            hang_up(line);
            Ok(())
        })?;
        ensure!(ended.stderr.contains(says), "{name}: expected {says:?}: {ended:#?}");
        Ok(())
    })
}

/// The same from a receiver, in place of its plan and of its results: the offer stands.
#[test]
fn to_the_sender() -> Result<()> {
    for round in [false, true] {
        all(FORGERIES, |(name, forge, says)| {
            let stage = Stage::bare()?;
            let name = format!("records: to the sender, {name}, {round}");
            let ended = stage.send(&Case::new(&name, STAYS, says), |line| {
                line.hear_offer()?;
                if round {
                    line.say(&page(PLAN, 1, &[]))?;
                    line.hear_round()?;
                }
                let forged = forge(line);
                let _ = line.raw(&forged);
                hang_up(line);
                Ok(())
            })?;
            let warned = format!("{says}; waiting for it to come back");
            ensure!(ended.stderr.contains(&warned), "{name}: expected {warned:?}: {ended:#?}");
            Ok(())
        })?;
    }
    Ok(())
}

/// After its last record a side is not heard any more, whatever it says.
#[test]
fn behind_the_last() -> Result<()> {
    let more: &[(&str, Forge)] = &[
        ("a record", |line| line.record(WAIT)),
        ("another last one", |line| line.last_record(WAIT)),
        ("an impossible one", |_| header(u32::MAX)),
        ("much", |line| line.record(&[2; MAX_PLAINTEXT]).repeat(4)),
    ];
    for (name, forge) in more {
        let stage = Stage::new()?;
        let case = Case::new(format!("records: behind the last, {name}"), 0, "received 1 file");
        stage.receive(&case.left(&["x"]), |line| {
            line.offer_and_plan(&[file("x")])?;
            line.say(&data(&[whole(0)]))?;
            line.finish()?;
            let forged = forge(line);
            let _ = line.raw(&forged);
            Ok(())
        })?;

        let stage = Stage::bare()?;
        let case = Case::new(format!("records: to the sender, behind, {name}"), 0, "sent 2 files");
        stage.send(&case, |line| {
            line.hear_offer()?;
            line.say(&page(PLAN, 1, &[]))?;
            line.hear_round()?;
            line.say(&page(RESULTS, 1, &[]))?;
            line.say_last(&control(r#"{"type":"complete","files":2,"failed":0}"#))?;
            let forged = forge(line);
            let _ = line.raw(&forged);
            Ok(())
        })?;
    }
    Ok(())
}
