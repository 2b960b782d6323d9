//! `--json`: one object a line on stdout, for programs. `docs/json.md` is the promise; what
//! changes here changes there and in `docs/json.schema.json`.

mod end;
mod services;

use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::ser::Formatter;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use self::end::{End, Outcome, Unsent, error_fields, fault_word};
use super::line;
use super::meter::{Meter, Reading};
use super::sums::hex;
use crate::bounds::{MAX_TICKET, MAX_TOPS};
use crate::connect::Peer;
use crate::control;
use crate::error::{Error, Exit, reason};
use crate::event::{Event, Fate, Summary};
use crate::files::manifest::{Kind, Manifest, Totals};
use crate::files::path::{RelPath, is_text};
use crate::net::quic::{self, Traffic, Via};
use crate::protocol::fault::Fault;
use crate::ticket::{COMMAND, Host, Ticket};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing to do yet; on the sending side: waiting for a receiver.
    Idle,
    /// On the way to the sender.
    Connecting,
    /// Each side proves that it knows the token.
    Authenticating,
    /// Offer, plan and content.
    Transferring,
    /// Standing still because somebody here said so.
    Paused,
    /// Over, and everything is there.
    Completed,
    /// Over, and something is not.
    Error,
}

/// How long the last words of a process that is ended may wait for whoever is writing.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The events of one run.
pub(super) struct Json(Mutex<Stream>);

struct Stream {
    /// Whether each file is told of.
    has_files: bool,
    /// What the doctor looks at.
    topic: String,
    /// Nothing once nobody reads.
    out: Option<Box<dyn Write + Send>>,
    state: State,
    meter: Meter,
    /// The file at hand.
    path: Option<RelPath>,
    offered: Totals,
    unsent: Unsent,
    /// What the story said at its end.
    summary: Option<Outcome>,
    error: Option<Value>,
    /// What went over connections that may go by several ways.
    traffic: Option<Traffic>,
    /// How the run ended; nothing is said after that.
    ended: Option<Exit>,
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Json").finish_non_exhaustive()
    }
}

impl Json {
    pub(super) fn new(out: impl Write + Send + 'static) -> Self {
        Self(Mutex::new(Stream {
            has_files: false,
            topic: String::new(),
            out: Some(Box::new(out)),
            state: State::Idle,
            meter: Meter::default(),
            path: None,
            offered: Totals::default(),
            unsent: Unsent::default(),
            summary: None,
            error: None,
            traffic: None,
            ended: None,
        }))
    }

    /// Tells of each file too.
    pub(super) fn tell_files(&self) {
        self.stream().has_files = true;
    }

    /// Whether it does.
    pub(super) fn has_files(&self) -> bool {
        self.stream().has_files
    }

    /// The first line: idle.
    pub(super) fn begin(&self) {
        self.stream().emit("state", Map::new());
    }

    fn stream(&self) -> MutexGuard<'_, Stream> {
        // Each line is whole before the lock is given back.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self, state: State) {
        self.stream().enter(state);
    }

    /// Somebody pressed `p`.
    pub(super) fn pause(&self, paused: bool) {
        let mut stream = self.stream();
        match (stream.state, paused) {
            (State::Transferring, true) => stream.enter(State::Paused),
            (State::Paused, false) => stream.enter(State::Transferring),
            _ => {}
        }
    }

    /// What the other machine needs; of a token that it has `agreed` upon beforehand nothing is said.
    pub(super) fn ticket(&self, ticket: &Ticket, command: &str, agreed: bool) {
        let host = match &ticket.host {
            Host::Ip(ip) | Host::Udp(ip) => Some(ip.to_string()),
            Host::Name(name) => Some(name.clone()),
            Host::Relay { .. } => None,
        };
        let port = host.is_some().then_some(ticket.port);
        #[derive(Serialize)]
        struct Fields<'a> {
            ticket: &'a str,
            host: Option<String>,
            port: Option<u16>,
            command: &'a str,
        }
        let place = ticket.place();
        let text = if agreed { Some(&*place) } else { command.strip_prefix(COMMAND) };
        let text = text.unwrap_or_default();
        let fields = Fields { ticket: text, host, port, command };
        self.stream().emit("ticket", fields);
    }

    pub(super) fn note(&self, text: &str) {
        self.stream().emit("note", json!({ "text": text }));
    }

    pub(super) fn warning(&self, text: &str) {
        self.stream().emit("warning", json!({ "text": text }));
    }

    /// Both sides know the token. Only the receiver knows the other's address.
    pub(super) fn connected(&self, name: &str, address: Option<IpAddr>, session: uuid::Uuid) {
        let mut stream = self.stream();
        stream.enter(State::Transferring);
        let fields = json!({
            "result": "connected",
            "name": name,
            "address": address,
            "session": session,
        });
        stream.emit("peer", fields);
    }

    /// By which way the bytes go from now on.
    pub(super) fn path(&self, path: &quic::Path) {
        let (via, relay, address) = match &path.via {
            Via::Direct(address) => ("direct", None, Some(address)),
            Via::Relay(host) => ("relay", Some(host), None),
        };
        let rtt_ms = path.round_trip.as_secs_f64() * 1000.0;
        let fields = json!({
            "via": via,
            "relay": relay,
            "address": address,
            "rtt_ms": (rtt_ms * 10.0).round() / 10.0,
        });
        self.stream().emit("path", fields);
    }

    pub(super) fn wrong_token(&self, name: &str, left: u8) {
        let fields = json!({ "result": "wrong_token", "name": name, "guesses_left": left });
        self.stream().emit("peer", fields);
    }

    pub(super) fn looked(&self, peer: &Peer) {
        let fields = json!({ "result": "looked", "name": peer.name, "address": peer.address });
        self.stream().emit("peer", fields);
    }

    /// The other side stands still, or goes on.
    pub(super) fn other_paused(&self, paused: bool) {
        self.stream().emit("peer_paused", json!({ "paused": paused }));
    }

    /// What a dry run lists.
    pub(super) fn entries(&self, manifest: &Manifest) {
        let mut stream = self.stream();
        for entry in manifest.entries() {
            let (kind, target) = match &entry.kind {
                Kind::File(_) | Kind::Sparse { .. } => ("file", None),
                Kind::Folder => ("folder", None),
                Kind::Link(target) => ("link", Some(target.as_bytes())),
            };
            let fields = json!({ "kind": kind, "size": entry.size() });
            let names = [("path", Some(entry.path.as_bytes())), ("target", target)];
            stream.emit("entry", named(fields, names));
        }
    }

    /// A text that the other side sent; false if it went nowhere.
    pub(super) fn text(&self, text: &str) -> bool {
        let mut stream = self.stream();
        stream.emit("text", json!({ "text": text }));
        stream.out.is_some()
    }

    /// The list that one side offers the other.
    pub(super) fn offer(&self, manifest: &Manifest) {
        let mut stream = self.stream();
        stream.offered = manifest.totals();
        let Totals { files, folders, links, bytes } = stream.offered;
        let mut tops = manifest.tops();
        let names: Vec<&RelPath> = tops.by_ref().take(MAX_TOPS).map(|entry| &entry.path).collect();
        let mut fields = json!({
            "files": files,
            "folders": folders,
            "links": links,
            "bytes": bytes,
            "names": names.iter().map(|name| name.to_lossy()).collect::<Vec<_>>(),
            "more_names": tops.count(),
            "unsent": stream.unsent.count,
        });
        if let Some(bytes) = list_of_bytes(&names) {
            fields["names_bytes"] = json!(bytes);
        }
        stream.emit("offer", fields);
    }

    /// What the sender could not offer: how much, and the names that are known here.
    pub(super) fn unsent<'a>(&self, count: u64, names: impl Iterator<Item = (&'a [u8], &'a str)>) {
        self.stream().unsent = Unsent::new(count, names);
    }

    /// What the engine tells.
    pub(super) fn on(&self, event: &Event<'_>) {
        let mut stream = self.stream();
        let now = Instant::now();
        match event {
            Event::Planned { files, bytes, .. } => {
                stream.meter.plan(*bytes, *files, now);
                let fields = json!({
                    "files": files,
                    "bytes": bytes,
                    "skipped_files": stream.offered.files.saturating_sub(*files),
                    "skipped_bytes": stream.offered.bytes.saturating_sub(*bytes),
                });
                stream.emit("plan", fields);
            }
            Event::Finished { .. } | Event::Remark { .. } => {}
            Event::File { path, place, size, hash, fate } if stream.has_files => {
                let (result, fault) = match fate {
                    Fate::Arrived => ("arrived", None),
                    Fate::Already => ("already", None),
                    Fate::Missing(Fault::Kept) => ("kept", None),
                    Fate::Missing(fault) => ("failed", Some(fault_word(*fault))),
                };
                let fields = json!({
                    "size": size,
                    "sha256": hash.as_ref().map(|hash| hex(hash)),
                    "result": result,
                    "fault": fault,
                });
                let place = place.map(RelPath::as_bytes);
                let names = [("path", Some(path.as_bytes())), ("place", place)];
                stream.emit("file", named(fields, names));
            }
            Event::File { .. } => {}
            Event::Moved { bytes, files, name } => {
                if stream.meter.moved(*bytes, *files, now) {
                    stream.path = Some((*name).clone());
                    stream.progress(now);
                }
            }
            Event::Anew { bytes } => stream.meter.again(*bytes, 0),
            Event::Again { files, torn, bytes, attempt } => {
                stream.meter.again(*bytes, files.saturating_sub(*torn));
                let fields = json!({ "attempt": attempt, "files": files, "bytes": bytes });
                stream.emit("attempt", fields);
            }
        }
    }

    /// A session is over: how far it came, whenever that was last said.
    pub(super) fn last_progress(&self) {
        self.stream().last_progress();
    }

    /// The connection is lost; this side dials again after `pause`.
    pub(super) fn dials_again(&self, why: &Error, attempt: u32, pause: Duration) {
        let mut stream = self.stream();
        stream.enter(State::Connecting);
        let fields = json!({ "text": why.message, "try": attempt, "pause": seconds(pause) });
        stream.emit("reconnecting", fields);
    }

    /// The connection is lost; this side waits so long for the other.
    pub(super) fn waits_again(&self, why: &Error, patience: Duration) {
        let mut stream = self.stream();
        stream.enter(State::Idle);
        let fields = json!({ "text": why.message, "patience": seconds(patience) });
        stream.emit("reconnecting", fields);
    }

    /// How a session that came to its end went. Only the receiver knows what it had already.
    pub(super) fn summary(&self, summary: &Summary, receives: bool) {
        let mut stream = self.stream();
        stream.unsent.count = summary.unsent;
        stream.summary = Some(Outcome::of(summary, receives));
    }

    /// What went over a connection that is over now.
    pub(super) fn traffic(&self, traffic: Traffic) {
        let mut stream = self.stream();
        let sum = stream.traffic.get_or_insert_default();
        sum.relayed = sum.relayed.saturating_add(traffic.relayed);
        sum.direct = sum.direct.saturating_add(traffic.direct);
    }

    /// Why the run ends.
    pub(super) fn error(&self, error: &Error) {
        self.stream().error = Some(error_fields(error));
    }

    /// The last line, unless it was said before. Returns the exit code that it names.
    pub(super) fn end(&self, exit: Exit) -> Exit {
        self.stream().end(exit)
    }

    /// The same, while other threads still run and one of them may be stuck in a write: then the
    /// process ends without a last line, as nobody reads.
    pub(super) fn cut_short(&self, error: Option<&Error>, exit: Exit) -> Exit {
        let deadline = Instant::now() + LAST_WORDS;
        loop {
            let mut stream = match self.0.try_lock() {
                Ok(stream) => stream,
                Err(TryLockError::Poisoned(stream)) => stream.into_inner(),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::sleep(LAST_WORDS / 50);
                    continue;
                }
                Err(TryLockError::WouldBlock) => return exit,
            };
            stream.error = stream.error.take().or_else(|| error.map(error_fields));
            return stream.end(exit);
        }
    }
}

impl Stream {
    fn enter(&mut self, state: State) {
        let paused = state == State::Transferring && control::is_paused();
        let state = if paused { State::Paused } else { state };
        if self.state != state {
            self.state = state;
            self.emit("state", Map::new());
        }
    }

    fn progress(&mut self, now: Instant) {
        let Reading { bytes, files, total_bytes, total_files, rate, left, elapsed } =
            self.meter.report(now);
        let fields = json!({
            "bytes": bytes,
            "files": files,
            "total_bytes": total_bytes,
            "total_files": total_files,
            "rate": rate,
            "left": left.map(seconds),
            "elapsed": seconds(elapsed),
        });
        let path = self.path.as_ref().map(RelPath::as_bytes);
        let fields = named(fields, [("path", path)]);
        self.emit("progress", fields);
    }

    fn last_progress(&mut self) {
        // Also where a line was due with the very last file, and names that.
        if self.meter.has_news() || self.path.is_some() {
            self.path = None;
            self.progress(Instant::now());
        }
    }

    fn end(&mut self, exit: Exit) -> Exit {
        if let Some(said) = self.ended {
            return said;
        }
        self.last_progress();
        self.enter(if exit == Exit::Done { State::Completed } else { State::Error });
        let Reading { bytes, files, elapsed, .. } = self.meter.read(Instant::now());
        let outcome = self.summary.take().unwrap_or_else(|| Outcome::cut_short(files));
        let unsent = std::mem::take(&mut self.unsent);
        let error = self.error.take();
        let of = (&outcome, &unsent, self.traffic);
        let end = End::new(exit, (bytes, seconds(elapsed)), of, error);
        self.emit("end", end);
        self.ended = Some(exit);
        exit
    }

    fn emit(&mut self, event: &'static str, fields: impl Serialize) {
        #[derive(Serialize)]
        struct Line<T> {
            v: u8,
            event: &'static str,
            state: State,
            #[serde(flatten)]
            fields: T,
        }
        let Some(out) = self.out.as_mut().filter(|_| self.ended.is_none()) else { return };
        // A ticket is no longer than this: none of it is left behind when a longer line grows, or in
        // the buffer of stdout, which takes whole lines only if it has to.
        let mut text = Zeroizing::new(Vec::with_capacity(8 * MAX_TICKET));
        let mut serializer = serde_json::Serializer::with_formatter(&mut *text, Ascii);
        let written = Line { v: 1, event, state: self.state, fields }.serialize(&mut serializer);
        text.push(b'\n');
        let written = written.map_err(io::Error::from);
        if let Err(error) = written.and_then(|()| out.write_all(&text)).and_then(|()| out.flush()) {
            self.out = None;
            line(&format!("warning: cannot write to stdout: {}; going on", reason(&error)));
        }
    }
}

/// Adds paths to the fields of an event: as text, and in `…_bytes`, where they are none, exactly.
fn named<const N: usize>(mut fields: Value, names: [(&str, Option<&[u8]>); N]) -> Value {
    for (key, name) in names {
        fields[key] = json!(name.map(String::from_utf8_lossy));
        if let Some(bytes) = name.and_then(exactly) {
            fields[format!("{key}_bytes")] = json!(bytes);
        }
    }
    fields
}

/// The bytes of a path that is no text, in hexadecimal digits.
fn exactly(path: &[u8]) -> Option<String> {
    (!is_text(path)).then(|| hex(path))
}

/// The same for the paths of a list, if one is no text.
fn list_of_bytes(paths: &[&RelPath]) -> Option<Vec<Option<String>>> {
    let bytes: Vec<_> = paths.iter().map(|path| exactly(path.as_bytes())).collect();
    bytes.iter().any(Option::is_some).then_some(bytes)
}

/// Escapes all but ASCII: no reader takes a separator in a name for the end of a line, and no
/// terminal obeys one.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        out: &mut W,
        text: &str,
    ) -> io::Result<()> {
        let escaped = |c: char| !c.is_ascii() || c == '\u{7f}';
        for piece in text.split_inclusive(escaped) {
            let plain = piece.trim_end_matches(escaped);
            out.write_all(plain.as_bytes())?;
            let units = piece.get(plain.len()..).unwrap_or_default().encode_utf16();
            units.into_iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))?;
        }
        Ok(())
    }
}

/// Milliseconds are enough.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::Cause;

    /// What was written, for the test and the stream.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Paper {
        fn events(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            let line = |line: &str| -> Value { serde_json::from_str(line).unwrap() };
            text.lines().map(|text| line(text)["event"].as_str().unwrap().to_owned()).collect()
        }
    }

    #[test]
    fn the_first_end_stands_and_nothing_follows_it() {
        let paper = Paper::default();
        let json = Json::new(paper.clone());
        json.begin();
        assert_eq!(json.end(Exit::Done), Exit::Done);
        let interrupted = Error::new(Cause::Interrupted, "interrupted");
        assert_eq!(json.cut_short(Some(&interrupted), interrupted.exit()), Exit::Done);
        assert_eq!(json.end(Exit::Failure), Exit::Done);
        json.note("too late");
        json.state(State::Idle);
        json.last_progress();
        assert_eq!(paper.events(), ["state", "state", "end"]);
    }

    #[test]
    fn only_what_runs_is_paused() {
        let json = Json::new(io::sink());
        let cases = [
            (State::Idle, true, State::Idle),
            (State::Transferring, true, State::Paused),
            (State::Transferring, false, State::Transferring),
            (State::Connecting, true, State::Connecting),
            (State::Connecting, false, State::Connecting),
        ];
        for (before, paused, after) in cases {
            json.state(before);
            json.pause(paused);
            assert_eq!(json.stream().state, after, "{before:?} {paused}");
        }
    }
}
