//! The program itself, killed and cut off until it ends all the same.
//!
//! What breaks it comes when so many bytes of the sender have passed a proxy, not after so much
//! time: a round breaks at the same places wherever it runs.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::proxy::Proxy;
use crate::util::process::{Process, Sender, receiving};
use crate::util::tree::{Scratch, chmod, ensure_arrived, noise, write};

const ROUNDS: u64 = 12;

/// Rounds at a time.
const LANES: usize = 4;

/// Between two breaks at least so many bytes pass: the list, so that there is a transfer to break.
const APART: u64 = 40_000;

/// Bytes that may be lost when one side is killed: records and socket buffers between the two.
const ON_ITS_WAY: u64 = 4 << 20;

/// What befalls a transfer.
#[derive(Debug, Clone, Copy)]
enum Break {
    /// The receiver is killed, and typed again.
    Receiver,
    /// The sender is killed; both are typed again, with the new ticket.
    Sender,
    /// The connection is cut; nobody does anything.
    Line,
}

/// Files small and large; returns their bytes.
fn make_tree(root: &Path, rng: &mut StdRng) -> Result<u64> {
    let mut size = 0;
    let mut add = |path: PathBuf, len: usize, seed| {
        size += len as u64;
        write(&path, noise(len, seed))
    };
    for number in 0..50 {
        add(root.join(format!("a/{number:03}")), rng.random_range(0..8000), number)?;
        add(root.join(format!("y/{number:03}")), rng.random_range(0..8000), 2 * number)?;
    }
    for name in ["m/large.part", "n/larger"] {
        add(root.join(name), rng.random_range(1_000_000..4_000_000), rng.random())?;
    }
    chmod(&root.join("m"), 0o750)?;
    Ok(size)
}

fn start(sender: &Sender, limit: u64, into: &Path) -> Result<(Proxy, Process)> {
    let proxy = Proxy::start(sender, limit)?;
    let receiver = Process::start(receiving(&proxy.ticket, into, &[]))?;
    Ok((proxy, receiver))
}

fn round(seed: u64) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(seed);
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tree");
    let size = make_tree(&root, &mut rng)?;
    // All of the content has to pass, so each of these places is reached.
    let mut places: Vec<u64> =
        (0..rng.random_range(1..6)).map(|_| rng.random_range(APART..size)).collect();
    places.sort_unstable();
    places.dedup_by(|next, last| *next < *last + APART);
    let breaks: Vec<_> = places
        .iter()
        .map(|place| {
            let kinds = [Break::Receiver, Break::Sender, Break::Line];
            (*place, kinds[rng.random_range(0..kinds.len())])
        })
        .collect();

    let mut sender = Sender::pod(&[&root], &[])?;
    let (mut proxy, mut receiver) = start(&sender, places[0], into.path())?;
    // What has passed proxies of earlier senders.
    let mut before = 0;
    for (at, (place, kind)) in breaks.iter().enumerate() {
        let next = places.get(at + 1).copied();
        proxy.wait_stalled().with_context(|| format!("{breaks:?}, before {place}"))?;
        match kind {
            Break::Receiver => {
                receiver.kill()?;
                proxy.cut();
                proxy.resume_until(next.map_or(u64::MAX, |next| next - before));
                receiver = Process::start(receiving(&proxy.ticket, into.path(), &[]))?;
            }
            Break::Sender => {
                sender.process.kill()?;
                receiver.kill()?;
                before += proxy.passed();
                sender = Sender::pod(&[&root], &[])?;
                let limit = next.map_or(u64::MAX, |next| next - before);
                (proxy, receiver) = start(&sender, limit, into.path())?;
            }
            Break::Line => {
                proxy.cut();
                proxy.resume_until(next.map_or(u64::MAX, |next| next - before));
            }
        }
    }
    receiver.end()?.expect(0).with_context(|| format!("{breaks:?}"))?;
    sender.end()?.expect(0).with_context(|| format!("{breaks:?}"))?;
    ensure_arrived(into.path(), &[&root]).with_context(|| format!("{breaks:?}"))?;
    let passed = before + proxy.passed();
    let bound = size + size / 50 + breaks.len() as u64 * (ON_ITS_WAY + APART);
    ensure!(passed <= bound, "{passed} bytes passed for {size}: {breaks:?}");
    Ok(())
}

#[test]
fn killed_processes_and_cut_lines_cost_time_never_correctness() {
    let only = std::env::var("TRANSFER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = (0..ROUNDS).filter(|seed| only.is_none_or(|only: u64| only == *seed));
    let seeds = Mutex::new(seeds);
    // They mostly wait: for a peer to be missed, for the next try.
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some(seed) = next(&seeds) {
                    if let Err(error) = round(seed) {
                        panic!("TRANSFER_SEED={seed} (tests/crash): {error:?}");
                    }
                }
            });
        }
    });
}

fn next(seeds: &Mutex<impl Iterator<Item = u64>>) -> Option<u64> {
    seeds.lock().ok()?.next()
}
