//! The fuzz targets over their seeds: what the fuzzer once found stays mended, on every system and
//! without nightly. `scripts/fuzz` is the real thing.

#![cfg_attr(not(target_os = "linux"), allow(unused, reason = "some tests are for Linux alone"))]

mod seeds;
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use targets::TARGETS;

/// A folder or file of `fuzz/`.
fn fuzz(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(path)
}

/// The names in a folder, in order.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_seed_passes() {
    let mut broken = Vec::new();
    for (name, target) in TARGETS {
        let corpus = fuzz("corpus").join(name);
        let seeds = names(&corpus);
        assert!(!seeds.is_empty(), "the target {name} has no seeds");
        for seed in seeds {
            let input = fs::read(corpus.join(&seed)).unwrap();
            if catch_unwind(|| target(&input)).is_err() {
                broken.push(format!("{name}/{seed}"));
            }
        }
    }
    assert!(broken.is_empty(), "see the panics above: {broken:?}");
}

/// What libFuzzer runs, and what has seeds, is what is tested here.
#[test]
fn every_target_is_known() {
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).into()).collect();
    assert_eq!(names(&fuzz("corpus")), known);
    let files: BTreeSet<String> = known.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&fuzz("fuzz_targets")), files);
}
