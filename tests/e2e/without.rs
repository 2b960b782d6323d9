//! Sides that cannot do the same: whatever one of them does without, the trees are equal.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use anyhow::{Result, ensure};

use crate::proxy::Proxy;
use crate::resume::{LOCK, interrupt};
use crate::util::process::{Sender, receiving, run};
use crate::util::tree::{Scratch, ensure_arrived, names, noise, write};

const HALF: &str = "lz4,raw-names,blocks";
const OTHER_HALF: &str = "blosc,sparse";
const ALL: &str = "lz4,blosc,raw-names,sparse,blocks";

/// The option that takes features from a side.
fn without(lacks: &'static str) -> Vec<&'static str> {
    if lacks.is_empty() { vec![] } else { vec!["--without", lacks] }
}

/// All features but the names of bytes, which have a test of their own (`bytes.rs`): what a side
/// without them does not get.
#[test]
fn whatever_a_side_does_without_the_trees_are_equal() -> Result<()> {
    let from = Scratch::new()?;
    write(&from.join("tree/text"), "all work and no play ".repeat(20_000))?;
    let numbers: Vec<u8> = (0..100_000u32).flat_map(|n| (n as f32).to_le_bytes()).collect();
    write(&from.join("tree/deep/numbers"), numbers)?;
    write(&from.join("tree/deep/empty"), "")?;
    let holes = File::create(from.join("tree/holes"))?;
    holes.set_len(3 << 20)?;
    holes.write_all_at(b"bytes", 1 << 20)?;
    // Two whole blocks, with states behind them, and a part of one.
    write(&from.join("tree/blocks"), noise((16 << 20) + 5, 1))?;
    for sender_lacks in ["", HALF, OTHER_HALF, ALL] {
        for receiver_lacks in ["", HALF, OTHER_HALF, ALL] {
            let into = Scratch::new()?;
            let options = [&["--compress"][..], &without(sender_lacks)].concat();
            let sender = Sender::pod(&[&from.join("tree")], &options)?;
            let command = receiving(&sender.ticket, into.path(), &without(receiver_lacks));
            let received = run(command)?.expect(0)?;
            sender.end()?.expect(0)?;
            let case = format!("without {sender_lacks:?} and {receiver_lacks:?}");
            ensure_arrived(into.path(), &[&from.join("tree")])?;
            // Where neither codec is left to both, nothing can have been saved; and so with holes.
            let lacks = [sender_lacks, receiver_lacks].concat();
            let saved = received.stderr.contains("compression");
            let codec = ["lz4", "blosc"].iter().any(|codec| !lacks.contains(codec));
            ensure!(saved == codec, "{case}: {received:#?}");
            let left_out = received.stderr.contains("are holes, which were not sent");
            let has_holes = cfg!(target_os = "linux") && !lacks.contains("sparse");
            ensure!(left_out == has_holes, "{case}: {received:#?}");
        }
    }
    Ok(())
}

/// A file that was cut short and damaged comes whole in the end: where both know of blocks by those
/// that are damaged or missing, else once more.
#[test]
fn whatever_a_side_does_without_what_was_begun_is_mended() -> Result<()> {
    const BLOCK: u64 = 8 << 20;
    let from = Scratch::new()?;
    let image = from.join("image");
    let content = noise(5 * BLOCK as usize + 7, 1);
    write(&image, &content)?;
    for (sends, receives) in [("", ""), ("blocks", ""), ("", "blocks"), (ALL, ALL)] {
        let into = Scratch::new()?;
        interrupt(&[&image], into.path(), &[], (36_000_000, "image.part"))?;
        let lock: serde_json::Value = serde_json::from_slice(&fs::read(into.join(LOCK))?)?;
        let states = lock["files"]["image"]["states"].as_str().map_or(0, str::len) as u64 / 64;
        let part = File::options().write(true).open(into.join("image.part"))?;
        part.write_all_at(b"?", 3)?;
        drop(part);
        let sender = Sender::pod(&[&image], &without(sends))?;
        let proxy = Proxy::start(&sender, u64::MAX)?;
        run(receiving(&proxy.ticket, into.path(), &without(receives)))?.expect(0)?;
        sender.end()?.expect(0)?;
        let (crossed, size) = (proxy.passed(), content.len() as u64);
        let case = format!("without {sends:?} and {receives:?}: {crossed} bytes crossed");
        if sends.is_empty() && receives.is_empty() {
            ensure!(crossed < size - states * BLOCK + BLOCK + 1_000_000, "{case}, {states} known");
        } else {
            ensure!(crossed > size, "{case}");
        }
        ensure!(fs::read(into.join("image"))? == content, "{case}");
        ensure!(names(into.path())?.len() == 1, "{case}");
    }
    Ok(())
}

#[test]
fn a_feature_that_is_none_is_named_with_those_that_are() -> Result<()> {
    for command in ["send", "receive"] {
        let mut typed = crate::util::process::transfer();
        typed.args([command, "--without", "lz4,telepathy", "x"]);
        let ended = run(typed)?.expect(2)?;
        let features = "the features are lz4, blosc, raw-names, sparse, blocks";
        ensure!(ended.stderr.contains(features), "{ended:#?}");
        let mut typed = crate::util::process::transfer();
        typed.args([command, "--help"]);
        let help = run(typed)?.expect(0)?;
        ensure!(!help.stdout.contains("--without"), "{help:#?}");
    }
    Ok(())
}
