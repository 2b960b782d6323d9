//! A connection through a `tailscale nc` child. Pipes know no timeout, so a thread reads the
//! child's output and hands it over through a channel, which does, and another feeds its input.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    process::Child,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    error::{Error, Result},
    net::tailscale::{Cli, collect, excerpt},
};

/// How much is read from the child at once, and how many such pieces wait for a slow reader.
const PIECE: usize = 256 << 10;
const PIECES: usize = 4;
/// How long a write waits for room before it is to be tried again, and how often it looks.
const ROOM: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(5);
/// How long the child may take to send what it has and to exit.
const GOODBYE: Duration = Duration::from_secs(2);

/// `CREATE_NEW_PROCESS_GROUP` of Windows.
#[cfg(windows)]
const NEW_PROCESS_GROUP: u32 = 0x200;

/// The child and its pipes.
#[derive(Debug)]
pub struct Nc {
    child: Mutex<Child>,
    /// To the thread that feeds the child; it closes the child's input once this is gone.
    input: Mutex<Option<SyncSender<Vec<u8>>>>,
    output: Mutex<Output>,
    stderr: Mutex<Receiver<Vec<u8>>>,
    /// The first bytes of its output: "Tailscale is stopped." comes inside the data stream.
    start: Arc<OnceLock<Vec<u8>>>,
    failure: OnceLock<String>,
    read_timeout: Mutex<Option<Duration>>,
    ended_by_us: AtomicBool,
}

#[derive(Debug)]
struct Output {
    pieces: Receiver<Vec<u8>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Nc {
    pub(super) fn spawn(cli: &Cli, target: SocketAddr) -> Result<Self> {
        let host = target.ip().to_string();
        let mut command = cli.command(&["nc", &host, &target.port().to_string()]);
        command.stdin(std::process::Stdio::piped());
        // Ctrl-C at the terminal is for us; the child is still needed to say goodbye.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        #[cfg(windows)]
        std::os::windows::process::CommandExt::creation_flags(&mut command, NEW_PROCESS_GROUP);
        let mut child = command.spawn().map_err(|error| cli.cannot_run(&error))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(Error::network("`tailscale nc` has no input or output")
                .hint("name a proxy of the tailnet in ALL_PROXY instead"));
        };
        let (sender, pieces) = sync_channel(PIECES);
        let start = Arc::new(OnceLock::new());
        let first = Arc::clone(&start);
        thread::spawn(move || pump(stdout, &sender, &first));
        // One piece waits while another is written: what is here is not under way yet.
        let (input, feed) = sync_channel::<Vec<u8>>(1);
        thread::spawn(move || {
            // An error is the child's end, which whoever writes next finds out about.
            feed.iter().try_for_each(|piece| stdin.write_all(&piece))
        });
        Ok(Self {
            input: Mutex::new(Some(input)),
            child: Mutex::new(child),
            output: Mutex::new(Output { pieces, piece: io::Cursor::default() }),
            stderr: Mutex::new(collect(stderr, 4096)),
            start,
            failure: OnceLock::new(),
            read_timeout: Mutex::default(),
            ended_by_us: AtomicBool::new(false),
        })
    }

    pub(super) fn set_read_timeout(&self, limit: Option<Duration>) {
        *lock(&self.read_timeout) = limit;
    }

    pub(super) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let limit = *lock(&self.read_timeout);
        let mut output = lock(&self.output);
        loop {
            let read = output.piece.read(buf)?;
            if read > 0 || buf.is_empty() {
                return Ok(read);
            }
            let piece = match limit {
                Some(limit) => output.pieces.recv_timeout(limit),
                None => output.pieces.recv().map_err(RecvTimeoutError::from),
            };
            match piece {
                Ok(piece) => output.piece = io::Cursor::new(piece),
                Err(RecvTimeoutError::Timeout) => return Err(io::ErrorKind::TimedOut.into()),
                // The end of the output is a proper one only if the child says so.
                Err(RecvTimeoutError::Disconnected) => return self.failure().map_or(Ok(0), Err),
            }
        }
    }

    /// Hands over what is to be written; that it could not be, the next write tells.
    pub(super) fn write(&self, buf: &[u8]) -> io::Result<usize> {
        let piece = buf.get(..PIECE).unwrap_or(buf);
        let (deadline, mut next) = (Instant::now() + ROOM, piece.to_vec());
        loop {
            let sent = match &*lock(&self.input) {
                Some(input) => input.try_send(next),
                None => Err(TrySendError::Disconnected(next)),
            };
            next = match sent {
                Ok(()) => return Ok(piece.len()),
                Err(TrySendError::Full(_)) if Instant::now() >= deadline => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(TrySendError::Full(next)) => next,
                Err(TrySendError::Disconnected(_)) => {
                    return Err(self.failure().unwrap_or(io::ErrorKind::BrokenPipe.into()));
                }
            };
            thread::sleep(LOOK);
        }
    }

    /// Why the child, which has closed a pipe, failed; `None` if it did not, or if we ended it.
    fn failure(&self) -> Option<io::Error> {
        if self.exited_well() || self.ended_by_us.load(Ordering::SeqCst) {
            return None;
        }
        let text = self.failure.get_or_init(|| {
            let stderr = lock(&self.stderr).recv_timeout(GOODBYE).unwrap_or_default();
            [Some(&stderr), self.start.get()]
                .into_iter()
                .flatten()
                .map(|bytes| excerpt(bytes))
                .find(|text| !text.is_empty())
                .unwrap_or_else(|| "it gave no reason".into())
        });
        Some(io::Error::other(format!("`tailscale nc` failed: {text}")))
    }

    /// Waits a moment for the child's exit, kills it if it does not come.
    fn exited_well(&self) -> bool {
        let deadline = Instant::now() + GOODBYE;
        let mut child = lock(&self.child);
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return status.success(),
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(2)),
                _ => break,
            }
        }
        // It may be gone already; then there is nothing to end.
        let _ = child.kill();
        let _ = child.wait();
        false
    }

    /// Closing its input makes the child send what it has, and exit. One that takes nothing more
    /// is killed.
    pub(super) fn shutdown(&self) {
        self.ended_by_us.store(true, Ordering::SeqCst);
        drop(lock(&self.input).take());
        self.exited_well();
    }
}

impl Drop for Nc {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// Hands over the child's output as it comes. Its end and its failure look alike from here: the
/// exit status tells them apart.
fn pump(mut from: impl Read, to: &SyncSender<Vec<u8>>, first: &OnceLock<Vec<u8>>) {
    loop {
        let mut piece = vec![0; PIECE];
        match from.read(&mut piece) {
            Ok(read) if read > 0 => piece.truncate(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            _ => return,
        }
        first.get_or_init(|| piece.get(..200).unwrap_or(&piece).to_vec());
        if to.send(piece).is_err() {
            return; // nobody reads any more
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
