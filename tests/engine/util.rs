//! Two authenticated ends, trees to send, and trees to compare.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use transfer::compress::Compression;
use transfer::crypto::handshake::{self, Binding, Verdict};
use transfer::crypto::keys::{Role, SessionKeys};
use transfer::error::Result;
use transfer::event::{Sink, Summary};
use transfer::files::root::Root;
use transfer::files::select::Filters;
use transfer::files::walk::{Developer, Source, Walk, WalkOptions};
use transfer::protocol::features::{Feature, Features};
use transfer::protocol::session::{Limits, Session};
use transfer::receive::allowance::{Allowance, Unbounded};
use transfer::receive::assembler::Start;
use transfer::receive::files::{Modes, await_offer};
use transfer::receive::lock::{Head, TransferLockManager};
use transfer::receive::plan::{OnConflict, Plan};
use transfer::receive::resume::{self, How};
use transfer::receive::survey::Survey;
use transfer::send::content::StreamOptions;
use transfer::send::files::send_over;
use transfer::token::{self, Token};
use uuid::Uuid;

use super::pipe::{Closer, Faults, pipe};

/// On every machine more threads than one.
pub const LANES: usize = 3;

/// The keys of both sides, as the handshake makes them.
pub fn keys() -> (SessionKeys, SessionKeys) {
    let token = Token::parse("ocean-tiger").unwrap();
    let mut rng = token::system_rng().unwrap();
    let sender = handshake::Start::new(Role::Sender, &token, Binding::None, &mut rng);
    let receiver = handshake::Start::new(Role::Receiver, &token, Binding::None, &mut rng);
    let (sent, received) = (*sender.hello(), *receiver.hello());
    let waiting = sender.await_proof(&received).unwrap();
    let (proving, confirm) = receiver.prove(&sent, &[7; 16]).unwrap();
    let (answer, sender) = waiting.check(&confirm).unwrap().answer(Verdict::Welcome);
    (sender, proving.check(&answer).unwrap())
}

/// How large pieces are on the wire, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Content of a record.
    pub content: usize,
    /// A block of a file; 0 where files are not hashed block by block.
    pub block: u64,
}

impl From<usize> for Sizes {
    fn from(content: usize) -> Self {
        Self { content, block: transfer::bounds::BLOCK }
    }
}

/// A sender's and a receiver's session over one pipe.
pub fn sessions(
    sizes: impl Into<Sizes>,
    there: Faults,
    back: Faults,
) -> (Session, Session, Closer) {
    let sizes = sizes.into();
    let without: &[Feature] = if sizes.block == 0 { &[Feature::Blocks] } else { &[] };
    let can = Features::ours().without(without);
    sessions_of(sizes, (can, can), (there, back))
}

/// The same, for sides that can do so much.
pub fn sessions_of(
    sizes: impl Into<Sizes>,
    (sender_can, receiver_can): (Features, Features),
    (there, back): (Faults, Faults),
) -> (Session, Session, Closer) {
    let Sizes { content, block } = sizes.into();
    // wine takes ten times as long for a file; but what is damaged is waited for so long each time.
    let patience = Duration::from_secs(if cfg!(windows) { 15 } else { 5 });
    // A side that waits for the rest of a record whose length was damaged would be kept by a heart
    // that beats meanwhile.
    let heartbeat = 100 * patience;
    let limits = Limits {
        patience,
        last_patience: patience,
        heartbeat,
        content,
        lanes: LANES,
        features: sender_can,
        block,
        run: None,
    };
    let (sender_keys, receiver_keys) = keys();
    let (first, second, closer) = pipe(there, back);
    let sender = Session::start(first, sender_keys, Role::Receiver, limits).unwrap();
    let limits = Limits { features: receiver_can, ..limits };
    let receiver = Session::start(second, receiver_keys, Role::Sender, limits).unwrap();
    (sender, receiver, closer)
}

pub const STREAM: StreamOptions =
    StreamOptions { follow_symlinks: false, compression: Compression::Off, each_file: false };

pub fn walk(path: &Path) -> Arc<Source> {
    walk_all(&[path.into()])
}

pub fn walk_all(paths: &[PathBuf]) -> Arc<Source> {
    let options = WalkOptions { follow_symlinks: false, developer: Developer::Include };
    Arc::new(Walk::new(paths, &Filters::default()).unwrap().run(options))
}

/// The receiving side as its story runs it, without a person.
pub fn receive(session: Session, into: &Path) -> Result<Summary> {
    receive_with(session, into, &mut Unbounded, &mut |_| {})
}

fn receive_with(
    session: Session,
    into: &Path,
    allowance: &mut dyn Allowance,
    sink: Sink<'_>,
) -> Result<Summary> {
    let offered = await_offer(session, None, Modes::default())?;
    let mut root = Root::open(into).unwrap();
    let mut lock = TransferLockManager::acquire(&mut root)?;
    let manifest = offered.manifest();
    let remembered = resume::remember(&lock, &mut root, manifest);
    let survey = Survey::new(manifest, &remembered, &mut root);
    let plan = Plan::new(manifest, &survey, &OnConflict::Rename.into(), &mut root);
    let resume = {
        let how = How { anew: false, blocks: offered.blocks() };
        resume::find(manifest, &plan, &remembered, &mut root, how)
    };
    let head = Head { session: Uuid::nil(), sender: "pipe".into(), files: 0, bytes: 0 };
    let made = plan.made(manifest, &remembered);
    let older = remembered.files;
    let lock = &mut lock;
    let start = Start {
        plan,
        resume,
        made,
        merge: true,
        older,
        lock,
        head,
        threads: LANES,
        each_file: false,
        blocks: offered.blocks(),
        allowance: Box::new(allowance),
    };
    offered.accept(&mut root, start, sink)
}

/// Sends `source` into the folder `into`; whatever happens, both sides end.
pub fn transfer(
    source: &Arc<Source>,
    into: &Path,
    sizes: impl Into<Sizes>,
    options: StreamOptions,
    faults: (Faults, Faults),
) -> (Result<Summary>, Result<Summary>, [u64; 2]) {
    transfer_with(source, into, sizes, options, faults, &mut |_| {})
}

/// The same; `sink` hears what the receiver's engine tells.
pub fn transfer_with(
    source: &Arc<Source>,
    into: &Path,
    sizes: impl Into<Sizes>,
    options: StreamOptions,
    faults: (Faults, Faults),
    sink: Sink<'_>,
) -> (Result<Summary>, Result<Summary>, [u64; 2]) {
    let (there, back) = faults;
    run(source, into, options, sessions(sizes, there, back), sink)
}

/// Both engines, each with its session.
pub fn run(
    source: &Arc<Source>,
    into: &Path,
    options: StreamOptions,
    (sender, receiver, closer): (Session, Session, Closer),
    sink: Sink<'_>,
) -> (Result<Summary>, Result<Summary>, [u64; 2]) {
    run_within(source, into, options, (sender, receiver, closer), &mut Unbounded, sink)
}

/// The same, where somebody has a say in how much comes.
pub fn run_within(
    source: &Arc<Source>,
    into: &Path,
    options: StreamOptions,
    (sender, receiver, closer): (Session, Session, Closer),
    allowance: &mut (dyn Allowance + Send),
    sink: Sink<'_>,
) -> (Result<Summary>, Result<Summary>, [u64; 2]) {
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let result = send_over(sender, source, options, &mut |_| {});
            if result.is_err() {
                closer.close();
            }
            result
        });
        let received = receive_with(receiver, into, allowance, sink);
        closer.close();
        (sending.join().unwrap(), received, closer.written())
    })
}

/// A small tree with what trees have in them.
pub fn make_tree(at: &Path) {
    let files: &[(&str, Vec<u8>)] = &[
        ("a.txt", b"hello\n".to_vec()),
        ("empty", vec![]),
        ("settings.json", b"{}".to_vec()),
        ("a..b", b"dots".to_vec()),
        ("folder/large.bin", (0..5000u32).flat_map(u32::to_le_bytes).collect()),
        ("folder/deep/er/x", vec![b'x'; 300]),
        ("folder/x.part", b"a part in name only".to_vec()),
        ("folder/x", b"beside it".to_vec()),
    ];
    for (path, content) in files {
        let path = at.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    fs::create_dir(at.join("folder/nothing")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("../a.txt", at.join("folder/link")).unwrap();
}

/// Everything that a tree says: kind, mode, time, and content or target.
#[derive(Debug, PartialEq, Eq)]
pub struct Node {
    what: String,
    mode: u32,
    modified: std::time::SystemTime,
    content: Vec<u8>,
}

pub fn tree(at: &Path) -> BTreeMap<PathBuf, Node> {
    let mut nodes = BTreeMap::new();
    for found in walkdir::WalkDir::new(at) {
        let found = found.unwrap();
        let metadata = fs::symlink_metadata(found.path()).unwrap();
        let (what, content) = if metadata.is_dir() {
            ("folder".into(), vec![])
        } else if metadata.is_symlink() {
            (format!("link to {}", fs::read_link(found.path()).unwrap().display()), vec![])
        } else {
            ("file".into(), fs::read(found.path()).unwrap())
        };
        #[cfg(unix)]
        let mode = std::os::unix::fs::MetadataExt::mode(&metadata);
        #[cfg(not(unix))]
        let mode = 0;
        let modified = metadata.modified().unwrap();
        let path = found.path().strip_prefix(at).unwrap().to_owned();
        nodes.insert(path, Node { what, mode, modified, content });
    }
    nodes
}

/// Nothing in `received` bears a final name without being whole; `.part` files are not final.
pub fn assert_nothing_false(sent: &Path, received: &Path) {
    for found in walkdir::WalkDir::new(received).into_iter().flatten() {
        let below = found.path().strip_prefix(received).unwrap();
        if found.file_type().is_file() && sent.join(below).is_file() {
            let (old, new) = (fs::read(sent.join(below)), fs::read(found.path()));
            assert_eq!(old.unwrap(), new.unwrap(), "{} is not whole", below.display());
        }
    }
}
