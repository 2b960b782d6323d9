//! The central cases once more over direct mode's streams of QUIC, on a loopback: there are stripes, windows
//! and an end of its own. (A bit cannot be flipped here: TLS is around all of it.)

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use transfer::bounds::BLOCK;
use transfer::crypto::keys::Role;
use transfer::error::{Exit, Result};
use transfer::event::Summary;
use transfer::files::walk::Source;
use transfer::net::dial::Stream;
use transfer::net::quic::{Dialler, Listener, Meeting};
use transfer::protocol::features::Features;
use transfer::protocol::session::{Limits, Session};
use transfer::send::files::send_over;

use super::util::{LANES, STREAM, assert_nothing_false, keys, make_tree, receive, tree, walk};

/// A sender's end and a receiver's, on this machine.
struct Loopback {
    listener: Listener,
    dialler: Dialler,
}

/// What one side writes: counted, and no more than so many bytes of it, after which all ends.
struct Out {
    stream: Stream,
    written: Arc<AtomicU64>,
    cut_at: Option<u64>,
}

impl Write for Out {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let mut len = buffer.len();
        if let Some(cut) = self.cut_at {
            let left = cut.saturating_sub(self.written.load(Ordering::Relaxed));
            len = len.min(usize::try_from(left).unwrap_or(usize::MAX));
            if len == 0 {
                self.stream.shutdown();
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
        let written = self.stream.write(&buffer[..len])?;
        self.written.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// How both sides ended, and how many bytes each wrote.
struct Told {
    sender: Result<Summary>,
    receiver: Result<Summary>,
    written: [u64; 2],
}

impl Loopback {
    fn new() -> Self {
        let meeting = Meeting::without_relay;
        let listener = Listener::open(&meeting(None), Some(0), 0..=0).unwrap().unwrap();
        let there = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.port()));
        Self { listener, dialler: Dialler::new(meeting(Some(there))).unwrap() }
    }

    /// Sends `source` into the folder `into` over a new connection; `cuts` are bytes of the sender and of
    /// the receiver after which it ends.
    fn transfer(
        &self,
        source: &Arc<Source>,
        into: &Path,
        content: usize,
        cuts: [Option<u64>; 2],
    ) -> Told {
        let mut near = Stream::Quic(self.dialler.dial(Duration::from_secs(30)).unwrap());
        // Nobody sees a stream in which nothing was said.
        near.write_all(b"?").unwrap();
        let mut far = Stream::Quic(self.listener.accept().unwrap().0);
        far.read_exact(&mut [0]).unwrap();
        let (sender_keys, receiver_keys) = keys();
        let patience = Duration::from_secs(10);
        let limits = Limits {
            patience,
            last_patience: patience,
            heartbeat: patience,
            content,
            lanes: LANES,
            features: Features::ours(),
            block: BLOCK,
            run: None,
        };
        let written = [Arc::default(), Arc::default()];
        let session = |stream: &Stream, keys, peer, at: usize| {
            let (reader, stream) = stream.halves().unwrap();
            let out = Out { stream, written: Arc::clone(&written[at]), cut_at: cuts[at] };
            Session::start((reader, out), keys, peer, limits).unwrap()
        };
        let sending = session(&far, sender_keys, Role::Receiver, 0);
        let receiving = session(&near, receiver_keys, Role::Sender, 1);
        let (sender, receiver) = std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let sent = send_over(sending, source, STREAM, &mut |_| {});
                far.shutdown();
                sent
            });
            let received = receive(receiving, into);
            near.shutdown();
            (sender.join().unwrap(), received)
        });
        Told { sender, receiver, written: written.map(|it| it.load(Ordering::Relaxed)) }
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.listener.close();
    }
}

#[test]
fn trees_arrive_whole_and_are_not_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let sent = dir.path().join("tree");
    make_tree(&sent);
    // More than one stripe takes, and more than a window.
    let large: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
    fs::write(sent.join("large"), &large).unwrap();
    let (source, loopback) = (walk(&sent), Loopback::new());
    for content in [1000, 4096, 1 << 20] {
        let into = dir.path().join(content.to_string());
        let told = loopback.transfer(&source, &into, content, [None; 2]);
        let (sender, receiver) = (told.sender.unwrap(), told.receiver.unwrap());
        assert_eq!((sender.exit(), receiver.exit()), (Exit::Done, Exit::Done));
        assert_eq!((sender.files, receiver.files, receiver.already), (9, 9, 0));
        assert_eq!(tree(&sent), tree(&into.join("tree")), "records of {content} bytes");
        let again = loopback.transfer(&source, &into, content, [None; 2]);
        let again = again.receiver.unwrap();
        assert_eq!((again.files, again.already, again.bytes), (9, 9, 0));
    }
}

#[test]
fn cuts_cost_time_never_correctness() {
    let dir = tempfile::tempdir().unwrap();
    let sent = dir.path().join("tree");
    make_tree(&sent);
    let (source, loopback) = (walk(&sent), Loopback::new());
    let whole = loopback.transfer(&source, &dir.path().join("whole"), 500, [None; 2]);
    whole.receiver.unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    for round in 0..24 {
        let side = round % 2;
        let mut cuts = [None; 2];
        cuts[side] = Some(rng.random_range(0..whole.written[side]));
        let into = dir.path().join(format!("round-{round}"));
        let told = loopback.transfer(&source, &into, 500, cuts);
        let error = match (told.sender, told.receiver) {
            (_, Err(error)) | (Err(error), _) => error,
            (Ok(_), Ok(_)) => panic!("{cuts:?}: both sides claim success"),
        };
        assert_eq!(error.exit(), Exit::Network, "{cuts:?}: {error}");
        if into.exists() {
            assert_nothing_false(&sent, &into.join("tree"));
        }
        let again = loopback.transfer(&source, &into, 500, [None; 2]);
        assert_eq!(again.receiver.unwrap().exit(), Exit::Done, "{cuts:?}");
        assert_eq!(tree(&sent), tree(&into.join("tree")), "{cuts:?}");
    }
}

/// What came before a cut stays, and does not come again.
#[test]
fn a_large_file_goes_on_where_it_was_cut() {
    const SIZE: usize = 12_000_000;
    let dir = tempfile::tempdir().unwrap();
    let (sent, into) = (dir.path().join("tree"), dir.path().join("in"));
    fs::create_dir(&sent).unwrap();
    let mut large = vec![0; SIZE];
    StdRng::seed_from_u64(2).fill(&mut large[..]);
    fs::write(sent.join("large"), large).unwrap();
    let (source, loopback) = (walk(&sent), Loopback::new());
    let mut last = 0;
    for part in 1..4 {
        let cut = SIZE as u64 / 4;
        let told = loopback.transfer(&source, &into, 1 << 16, [Some(cut), None]);
        assert_eq!(told.receiver.unwrap_err().exit(), Exit::Network);
        let named = into.join("tree/large");
        assert!(!named.exists(), "{part}: a part has the name of the whole");
        last = told.written[0];
    }
    assert!(last > 0);
    let told = loopback.transfer(&source, &into, 1 << 16, [None; 2]);
    assert_eq!(told.receiver.unwrap().exit(), Exit::Done);
    assert!(told.written[0] < SIZE as u64 / 2, "{} bytes came again", told.written[0]);
    assert_eq!(tree(&sent), tree(&into.join("tree")));
}
