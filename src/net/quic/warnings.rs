//! What the engine says to nobody but its log (`tracing`): warnings are passed on to who wants to read them, and
//! so is what it does to find a direct way. One warning is news: a relay tells an endpoint whose key another one
//! shows that it gets nothing any more, and when the other has gone that it does again. The engine tells that in
//! no other way, nor at which of several relays it was.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::bounds::MAX_ENGINE_WARNINGS;
use crate::error::shown_claim;

/// How the warning begins (iroh-relay 1, `Status::SameEndpointIdConnected`).
const DISPLACED: &str =
    "Relay server reports problem: Another endpoint connected with the same endpoint id";

/// How that is taken back (`Status::Healthy`), which is no warning.
const RECOVERED: &str = "Relay server reports: The connection is healthy";

/// Where in the engine both are said (iroh 1, `socket::transports::relay::actor`).
const OF_RELAYS: &str = "iroh::socket::transports::relay";

/// As which addresses this machine can be reached: its own, and those that relays and its router told.
const ADDRESSES: &str = "iroh::_events::direct_addrs";

/// From which addresses to which it is tried to get a direct way; the side that has dialled begins it.
const TRIES: &str = "iroh::_events::qnt::init";

static IS_DISPLACED: AtomicBool = AtomicBool::new(false);

type Tell = Box<dyn Fn(&str) + Send + Sync>;

static TELL: OnceLock<Tell> = OnceLock::new();

/// Passes every warning and detail on from now on, without keys, and safe to show: a relay chooses the words of
/// some. The first who asks gets them.
pub fn hear(tell: impl Fn(&str) + Send + Sync + 'static) {
    let _ = TELL.set(Box::new(tell));
}

/// Something that only who looks for a fault wants to know.
pub fn detail(text: &str) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    if let Some(tell) = TELL.get()
        && COUNT.fetch_add(1, Ordering::Relaxed) < MAX_ENGINE_WARNINGS
    {
        tell(&shown_claim(&without_keys(text)));
    }
}

/// Begins to listen, unless this process listens to its log in another way.
pub fn listen() {
    let _ = tracing::subscriber::set_global_default(Warnings);
}

/// Whether another machine has taken the place of this process at a relay. There is one place at most.
pub fn is_displaced() -> bool {
    IS_DISPLACED.load(Ordering::Relaxed)
}

/// A place is taken anew.
pub fn begin() {
    IS_DISPLACED.store(false, Ordering::Relaxed);
}

struct Warnings;

fn is_warning(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::WARN
}

fn is_heard(metadata: &Metadata<'_>) -> bool {
    let is_of_relays = || metadata.target().starts_with(OF_RELAYS);
    is_warning(metadata)
        || *metadata.level() == Level::INFO && is_of_relays()
        || [ADDRESSES, TRIES].contains(&metadata.target())
}

/// What is done to find a direct way, once for each change, where there are addresses for one.
fn tell_of_ways(addresses: &[&str], text: String) {
    static TOLD: Mutex<String> = Mutex::new(String::new());
    // A text is whole at every point where a panic could happen.
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if *told != text && addresses.iter().all(|it| !it.is_empty()) {
        detail(&text);
        *told = text;
    }
}

impl Subscriber for Warnings {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_heard(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_heard(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn event(&self, event: &Event<'_>) {
        let mut words = Words::default();
        event.record(&mut words);
        match event.metadata().target() {
            ADDRESSES => {
                let at = addresses(words.field("addrs"));
                return tell_of_ways(&[&at], format!("this machine can be reached at {at}"));
            }
            TRIES => {
                let [from, to] = ["local_candidates", "remote_candidates"]
                    .map(|name| addresses(words.field(name)));
                let text = format!("a direct way is tried from {from} to {to}");
                return tell_of_ways(&[&from, &to], text);
            }
            _ => {}
        }
        let text = words.text();
        if !is_warning(event.metadata()) {
            if text.starts_with(RECOVERED) {
                IS_DISPLACED.store(false, Ordering::Relaxed);
            }
            return;
        }
        if text.starts_with(DISPLACED) {
            IS_DISPLACED.store(true, Ordering::Relaxed);
        }
        detail(&format!("the engine warns: {text}"));
    }

    // Nobody asks in which span something happened.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// An event in words.
#[derive(Default)]
struct Words {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Words {
    fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|it| it.0 == name).map_or("", |it| &it.1)
    }

    fn text(self) -> String {
        let fields = self.fields.iter().map(|(name, value)| format!(" {name}={value}"));
        fields.fold(self.message, |text, field| text + &field)
    }
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields.push((name, format!("{value:?}"))),
        }
    }
}

/// The addresses and ports in what the engine writes of a set of them.
fn addresses(text: &str) -> String {
    let words =
        text.split(|it: char| it.is_whitespace() || matches!(it, '{' | '}' | ',' | '(' | ')'));
    let found: Vec<&str> = words.filter(|word| word.parse::<SocketAddr>().is_ok()).collect();
    found.join(", ")
}

/// Without whatever may be a key or a part of one: ten hex digits in a row, or 32 letters and digits. Of the
/// public key of a plate the plate can be found by trying.
fn without_keys(text: &str) -> String {
    let mut shown = String::new();
    for piece in text.split_inclusive(|it: char| !it.is_ascii_alphanumeric()) {
        let word = piece.trim_end_matches(|it: char| !it.is_ascii_alphanumeric());
        let is_hex = word.bytes().all(|it| it.is_ascii_hexdigit());
        if word.len() >= 32 || word.len() >= 10 && is_hex {
            shown.push('…');
            shown.push_str(piece.strip_prefix(word).unwrap_or_default());
        } else {
            shown.push_str(piece);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use iroh_relay::protos::relay::Status;

    use super::*;
    use crate::bounds::MAX_CLAIM;

    #[test]
    fn keys_are_left_out() {
        let key = "ae58ff8833241ac82d6ff7611046ed67b5072d142c588d0063e942d9a75502b6";
        let base32 = "ybndrfg8ejkmcpqxot1uwisza345h769ybndrfg8ejkmcpqxot1u";
        for (text, expected) in [
            ("failed to rebind Os { code: 98 }", "failed to rebind Os { code: 98 }"),
            ("remote=ae58ff8833 lost", "remote=… lost"),
            ("at 2001:db8::1 and 203.0.113.11:40322", "at 2001:db8::1 and 203.0.113.11:40322"),
            ("", ""),
            (key, "…"),
            (&format!("PublicKey({key}), {base32}!"), "PublicKey(…), …!"),
        ] {
            assert_eq!(without_keys(text), expected, "{text}");
        }
    }

    /// A relay says what it likes of its health (iroh-relay 1, `RelayToClientMsg::Health`).
    #[test]
    fn what_a_relay_says_steers_no_terminal_and_fills_no_log() {
        let (heard, told) = std::sync::mpsc::channel();
        hear(move |warning| drop(heard.send(warning.to_owned())));
        tracing::subscriber::with_default(Warnings, || {
            tracing::warn!(
                "Relay server reports problem: \u{1b}]0;x\u{7}\n{}",
                "é ".repeat(30_000)
            );
        });
        let warning = told.iter().find(|it| it.contains("]0;x")).unwrap();
        let begin = "the engine warns: Relay server reports problem: \\u{1b}]0;x\\u{7}\\u{a}é ";
        assert!(warning.starts_with(begin) && warning.ends_with('…'), "{warning}");
        assert!(warning.chars().count() < 2 * MAX_CLAIM, "{warning}");
    }

    #[test]
    fn addresses_are_found_in_what_the_engine_writes() {
        for (text, expected) in [
            ("{10.1.0.2:4000, [2001:db8::1]:4000}", "10.1.0.2:4000, [2001:db8::1]:4000"),
            (
                "{DirectAddr { addr: 10.1.0.2:4000, typ: Local }, DirectAddr { addr: 203.0.113.11:1, typ: Qad }}",
                "10.1.0.2:4000, 203.0.113.11:1",
            ),
            ("{}", ""),
            ("", ""),
        ] {
            assert_eq!(addresses(text), expected);
        }
    }

    #[test]
    fn the_news_is_heard_among_other_warnings() {
        tracing::subscriber::with_default(Warnings, || {
            begin();
            tracing::warn!("Relay server reports problem: something else");
            tracing::info!("{DISPLACED}");
            assert!(!is_displaced());
            tracing::warn!("{DISPLACED}. No more messages will be received.");
            assert!(is_displaced());
            begin();
            assert!(!is_displaced());
            tracing::warn!("{DISPLACED}. No more messages will be received.");
            tracing::info!(target: "iroh::endpoint", "{RECOVERED}");
            tracing::info!(target: OF_RELAYS, "Relay server reports: something else");
            assert!(is_displaced());
            tracing::info!(target: OF_RELAYS, "{RECOVERED} and has recovered");
            assert!(!is_displaced());
        });
    }

    /// As the engine says it, of this version.
    #[test]
    fn the_news_has_the_words_of_the_engine() {
        let same = Status::SameEndpointIdConnected;
        assert!(format!("Relay server reports problem: {same}").starts_with(DISPLACED));
        let healthy = Status::Healthy;
        assert!(format!("Relay server reports: {healthy}").starts_with(RECOVERED));
    }
}
