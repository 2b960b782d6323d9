//! A long way: UDP that comes late, and not all of it. In user space, as no system has to know how.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use socket2::SockRef;

use super::stage::Internet;

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub struct Distance {
    /// From one end to the other.
    pub delay: Duration,
    /// So many packets of a thousand are lost, in each direction.
    pub lost: u32,
}

/// Passes on what comes at one address of `net` to one other address, and back to whoever wrote last, as a
/// router without a NAT's other habits. Until it is dropped.
pub struct Way(Arc<AtomicBool>);

/// Datagrams that are as far away as a queue can be long: two seconds of 40 MB/s.
const MOST: usize = 64_000;
/// What the system is asked to keep of datagrams that nobody has read yet, in bytes.
const BUFFER: usize = 8 << 20;

impl Way {
    /// From whoever writes to `near` to `far`.
    pub fn new(
        internet: &Internet,
        near: &str,
        far: SocketAddr,
        distance: Distance,
    ) -> Result<Self> {
        let near = internet.udp("net", near)?;
        let ip = near.local_addr()?.ip();
        let back = internet.udp("net", &SocketAddr::new(ip, 0).to_string())?;
        for socket in [&near, &back] {
            socket.set_read_timeout(Some(Duration::from_millis(100)))?;
            let _ = SockRef::from(socket).set_recv_buffer_size(BUFFER);
            let _ = SockRef::from(socket).set_send_buffer_size(BUFFER);
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let writer = Arc::new(Mutex::new(None));
        let there = Direction { from: near.try_clone()?, to: back.try_clone()?, seed: 1 };
        let known = Arc::clone(&writer);
        there.run(distance, &is_over, move |from| {
            *known.lock().expect("no panic") = Some(from);
            Some(far)
        });
        let here = Direction { from: back, to: near, seed: 2 };
        here.run(distance, &is_over, move |_| *writer.lock().expect("no panic"));
        Ok(Self(is_over))
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Direction {
    from: UdpSocket,
    to: UdpSocket,
    seed: u64,
}

/// When it arrives, what, and where.
type Late = (Instant, Vec<u8>, SocketAddr);

#[derive(Default)]
struct Queue {
    late: Mutex<VecDeque<Late>>,
    more: Condvar,
}

impl Direction {
    /// Passes on; `next` tells where to, for whoever wrote.
    fn run(
        self,
        distance: Distance,
        is_over: &Arc<AtomicBool>,
        next: impl Fn(SocketAddr) -> Option<SocketAddr> + Send + 'static,
    ) {
        let Self { from, to, seed } = self;
        let queue = Arc::new(Queue::default());
        let (filled, over) = (Arc::clone(&queue), Arc::clone(is_over));
        thread::spawn(move || {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut buffer = vec![0; 1 << 16];
            while !over.load(Ordering::Relaxed) {
                let Ok((len, writer)) = from.recv_from(&mut buffer) else { continue };
                let Some(target) = next(writer) else { continue };
                if rng.random_range(0..1000) < distance.lost {
                    continue;
                }
                let mut late = filled.late.lock().expect("no panic");
                if late.len() < MOST {
                    let due = Instant::now() + distance.delay;
                    late.push_back((due, buffer[..len].to_vec(), target));
                    filled.more.notify_one();
                }
            }
        });
        let over = Arc::clone(is_over);
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let mut late = queue.late.lock().expect("no panic");
                let Some((due, bytes, target)) = late.pop_front() else {
                    drop(queue.more.wait_timeout(late, Duration::from_millis(100)));
                    continue;
                };
                drop(late);
                thread::sleep(due.saturating_duration_since(Instant::now()));
                // What cannot be sent is lost, as on any way.
                let _ = to.send_to(&bytes, target);
            }
        });
    }
}
