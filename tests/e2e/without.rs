//! Sides that cannot do the same: whatever one of them does without, the trees are equal.

use anyhow::{Result, ensure};

use crate::util::process::{Sender, receiving, run};
use crate::util::tree::{Scratch, ensure_arrived, write};

const HALF: &str = "lz4,raw-names,blocks";
const OTHER_HALF: &str = "blosc,sparse";
const ALL: &str = "lz4,blosc,raw-names,sparse,blocks";

#[test]
fn whatever_a_side_does_without_the_trees_are_equal() -> Result<()> {
    let from = Scratch::new()?;
    write(&from.join("tree/text"), "all work and no play ".repeat(20_000))?;
    let numbers: Vec<u8> = (0..100_000u32).flat_map(|n| (n as f32).to_le_bytes()).collect();
    write(&from.join("tree/deep/numbers"), numbers)?;
    write(&from.join("tree/deep/empty"), "")?;
    let mut zeros = vec![0; 3 << 20];
    zeros[1 << 20] = 7;
    write(&from.join("tree/zeros"), zeros)?;
    for sender_lacks in ["", HALF, OTHER_HALF, ALL] {
        for receiver_lacks in ["", HALF, OTHER_HALF, ALL] {
            let into = Scratch::new()?;
            let without = |lacks: &'static str| match lacks {
                "" => vec![],
                lacks => vec!["--without", lacks],
            };
            let options = [&["--compress"][..], &without(sender_lacks)].concat();
            let sender = Sender::pod(&[&from.join("tree")], &options)?;
            let command = receiving(&sender.ticket, into.path(), &without(receiver_lacks));
            let received = run(command)?.expect(0)?;
            sender.end()?.expect(0)?;
            let case = format!("without {sender_lacks:?} and {receiver_lacks:?}");
            ensure_arrived(into.path(), &[&from.join("tree")])?;
            // Where neither codec is left to both, nothing can have been saved.
            let codecs =
                ["lz4", "blosc"].map(|it| ![sender_lacks, receiver_lacks].concat().contains(it));
            let saved = received.stderr.contains("compression");
            ensure!(saved == codecs.contains(&true), "{case}: {received:#?}");
        }
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
