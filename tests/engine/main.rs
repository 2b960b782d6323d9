//! Both engines over a pipe in memory: tiny records, cuts, damage, and peers that follow a
//! script. No socket, no process, no clock; but the central cases once more over QUIC.

#![cfg_attr(not(target_os = "linux"), allow(unused, reason = "some tests are for Linux alone"))]

mod agreed;
mod allowance;
mod blocks;
mod hostile_blocks;
mod patience;
mod pipe;
#[cfg(feature = "direct")]
mod quic;
mod script;
mod stream;
mod util;

use std::fs;

use pipe::Faults;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use transfer::compress::Compression;
use transfer::error::Exit;
use transfer::send::content::StreamOptions;
use util::{STREAM, assert_nothing_false, make_tree, transfer, tree, walk};

const NO_FAULTS: (Faults, Faults) =
    (Faults { cut_at: None, flip_at: None }, Faults { cut_at: None, flip_at: None });

#[test]
fn trees_arrive_whole_whatever_the_size_of_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let sent = dir.path().join("tree");
    make_tree(&sent);
    let source = walk(&sent);
    for content in [1, 7, 64, 256, 1000, 4096, 1 << 20] {
        for compression in
            [Compression::Off, Compression::Auto, Compression::Lz4, Compression::Blosc]
        {
            let into = dir.path().join(format!("in-{content}-{}", compression.name()));
            let options = StreamOptions { compression, ..STREAM };
            let (sender, receiver, _) = transfer(&source, &into, content, options, NO_FAULTS);
            let receiver =
                receiver.unwrap_or_else(|error| panic!("{content} {compression:?}: {error}"));
            let sender = sender.unwrap();
            assert_eq!((sender.exit(), receiver.exit()), (Exit::Done, Exit::Done));
            assert_eq!((sender.files, receiver.files), (8, 8));
            assert_eq!(sender.bytes, receiver.bytes);
            assert_eq!(tree(&sent), tree(&into.join("tree")), "records of {content} bytes");
        }
    }
}

/// Threads that write side by side want the same names for their unfinished files, and find some
/// of them taken by other files of the tree.
#[test]
fn small_files_do_not_get_into_each_others_way() {
    let dir = tempfile::tempdir().unwrap();
    let sent = dir.path().join("tree");
    for folder in ["a", "b/c"] {
        fs::create_dir_all(sent.join(folder)).unwrap();
        for number in 0..400usize {
            // As `.part`, all but the last bytes of the name are the same.
            let name = format!("{}{number:04}", "x".repeat(251));
            fs::write(sent.join(folder).join(name), vec![7; number % 90]).unwrap();
            let name = format!("{}{}", number % 100, ".part".repeat(number / 100));
            fs::write(sent.join(folder).join(name), number.to_le_bytes()).unwrap();
        }
    }
    let source = walk(&sent);
    for content in [300, 5000, 1 << 20] {
        let into = dir.path().join(content.to_string());
        let (sender, receiver, _) = transfer(&source, &into, content, STREAM, NO_FAULTS);
        assert_eq!((sender.unwrap().files, receiver.unwrap().files), (1600, 1600), "{content}");
        assert_eq!(tree(&sent), tree(&into.join("tree")), "records of {content} bytes");
        assert_eq!(fs::read_dir(&into).unwrap().count(), 1, "something is left over");
    }
}

#[test]
fn what_is_there_is_not_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let sent = dir.path().join("tree");
    make_tree(&sent);
    let (source, into) = (walk(&sent), dir.path().join("in"));
    let (_, first, _) = transfer(&source, &into, 256, STREAM, NO_FAULTS);
    assert_eq!(first.unwrap().already, 0);
    let (sender, second, _) = transfer(&source, &into, 256, STREAM, NO_FAULTS);
    let second = second.unwrap();
    assert_eq!((second.files, second.already, second.bytes), (8, 8, 0));
    assert_eq!(sender.unwrap().bytes, 0);
    assert_eq!(tree(&sent), tree(&into.join("tree")));
}

/// A flipped bit is noticed, a cut is no success; nothing false is named; the next run ends it.
#[test]
fn cuts_and_flips_cost_time_never_correctness() {
    let dir = tempfile::tempdir().unwrap();
    let sent = dir.path().join("tree");
    make_tree(&sent);
    let source = walk(&sent);
    let (_, _, [there, back]) = transfer(&source, &dir.path().join("in"), 500, STREAM, NO_FAULTS);
    let mut rng = StdRng::seed_from_u64(1);
    for round in 0..120 {
        let at = |rng: &mut StdRng, len: u64| Some(rng.random_range(0..len));
        let (mut ahead, mut behind) = NO_FAULTS;
        match round % 4 {
            0 => ahead.cut_at = at(&mut rng, there),
            1 => ahead.flip_at = at(&mut rng, there),
            2 => behind.cut_at = at(&mut rng, back),
            _ => behind.flip_at = at(&mut rng, back),
        }
        let into = dir.path().join(format!("round-{round}"));
        let (sender, receiver, _) = transfer(&source, &into, 500, STREAM, (ahead, behind));
        let told = format!("round {round}: {ahead:?} {behind:?}");
        let error = match (sender, receiver) {
            (_, Err(error)) | (Err(error), _) => error,
            (Ok(_), Ok(_)) => panic!("{told}: both sides claim success"),
        };
        assert_eq!(error.exit(), Exit::Network, "{told}: {error}");
        if into.exists() {
            assert_nothing_false(&sent, &into.join("tree"));
        }
        let (_, again, _) = transfer(&source, &into, 500, STREAM, NO_FAULTS);
        assert_eq!(again.unwrap().exit(), Exit::Done, "{told}");
        assert_eq!(tree(&sent), tree(&into.join("tree")), "{told}");
        fs::remove_dir_all(into).unwrap();
    }
}
