//! Several threads, the lanes, that work on records side by side and keep their order.
//!
//! What only one of them may have at a time (a queue's end, a stream's, the counter of nonces) goes
//! round from lane to lane. So each thing is used in the same order by all, nothing is locked, and
//! what a lane does between two turns it does beside the others. A lane that ends with a thing in
//! hand takes it along; the lane that waits for it is told so and ends too.

use std::io;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use crate::bounds::MAX_LANES;

/// As many lanes as there are processors, but not many: a file's hash is made in one thread.
pub fn default_count() -> usize {
    thread::available_parallelism().map_or(1, |processors| processors.get().min(MAX_LANES))
}

/// A lane's place in the round that one thing goes.
pub struct Turn<T> {
    mine: Receiver<T>,
    next: SyncSender<T>,
}

impl<T> Turn<T> {
    /// Waits for the thing; nothing once it has left the round.
    pub fn take(&self) -> Option<T> {
        self.mine.recv().ok()
    }

    /// Gives it to the next lane. Where that has ended, it leaves the round.
    pub fn pass(&self, thing: T) {
        let _ = self.next.send(thing);
    }
}

/// The places of `lanes` lanes, at least one, in a round that begins with the first.
pub fn round<T>(lanes: usize, thing: T) -> Vec<Turn<T>> {
    let (places, mut mine): (Vec<_>, Vec<_>) =
        (0..lanes.max(1)).map(|_| mpsc::sync_channel(1)).unzip();
    if let Some(first) = places.first() {
        // Its receiver is in `mine`, and there is room for one.
        let _ = first.send(thing);
    }
    let mut next = places;
    next.rotate_left(1);
    mine.drain(..).zip(next).map(|(mine, next)| Turn { mine, next }).collect()
}

/// Starts a thread for each lane's work. They end when what goes round has left the rounds.
pub fn start<F: FnOnce() + Send + 'static>(
    name: &str,
    lanes: impl IntoIterator<Item = F>,
) -> io::Result<()> {
    for work in lanes {
        thread::Builder::new().name(name.into()).spawn(work)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each lane draws a number, dawdles, and puts it where all can see it.
    #[test]
    fn what_is_drawn_in_order_arrives_in_order() {
        for lanes in [0, 1, 2, 3, 8] {
            let draws = round(lanes, 0..100u64);
            let (arrive, arrived) = mpsc::channel();
            let arrivals = round(lanes, arrive);
            let works = draws.into_iter().zip(arrivals).map(|(draws, arrivals)| {
                move || {
                    while let Some(mut numbers) = draws.take() {
                        let Some(number) = numbers.next() else { return };
                        draws.pass(numbers);
                        thread::sleep(std::time::Duration::from_micros(number * 7919 % 500));
                        let Some(arrive) = arrivals.take() else { return };
                        arrive.send(number).unwrap();
                        arrivals.pass(arrive);
                    }
                }
            });
            start("test", works).unwrap();
            assert_eq!(arrived.iter().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>(), "{lanes}");
        }
    }

    /// Whoever ends with the thing in hand ends all the others, wherever they wait.
    #[test]
    fn one_that_fails_ends_all() {
        for lanes in [1, 2, 5] {
            for fails in 0..10 {
                let (left, gone) = mpsc::channel::<()>();
                let works = round(lanes, 0).into_iter().map(|turns| {
                    let left = left.clone();
                    move || {
                        while let Some(number) = turns.take() {
                            if number == fails {
                                break;
                            }
                            turns.pass(number + 1);
                        }
                        drop(left);
                    }
                });
                start("test", works.collect::<Vec<_>>()).unwrap();
                drop(left);
                assert!(gone.recv().is_err(), "{lanes} {fails}");
            }
        }
    }
}
