//! What the engine says to nobody but its log (`tracing`): warnings are passed on to who wants to read them,
//! and one of them is news. A relay tells an endpoint whose key another one shows that it gets nothing
//! any more, and when the other has gone that it does again. The engine tells that in no other way, nor at which of several
//! relays it was.

use std::fmt::{Debug, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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

static IS_DISPLACED: AtomicBool = AtomicBool::new(false);

type Tell = Box<dyn Fn(&str) + Send + Sync>;

static TELL: OnceLock<Tell> = OnceLock::new();

/// Passes every warning on from now on, without keys, and safe to show: a relay chooses the words of some. The
/// first who asks gets them.
pub fn hear(tell: impl Fn(&str) + Send + Sync + 'static) {
    let _ = TELL.set(Box::new(tell));
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
    is_warning(metadata) || *metadata.level() == Level::INFO && is_of_relays()
}

impl Subscriber for Warnings {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_heard(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_heard(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn event(&self, event: &Event<'_>) {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let mut words = Words::default();
        event.record(&mut words);
        let text = words.message + &words.fields;
        if !is_warning(event.metadata()) {
            if text.starts_with(RECOVERED) {
                IS_DISPLACED.store(false, Ordering::Relaxed);
            }
            return;
        }
        if text.starts_with(DISPLACED) {
            IS_DISPLACED.store(true, Ordering::Relaxed);
        }
        if let Some(tell) = TELL.get()
            && COUNT.fetch_add(1, Ordering::Relaxed) < MAX_ENGINE_WARNINGS
        {
            tell(&format!("the engine warns: {}", shown_claim(&without_keys(&text))));
        }
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
    fields: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // A string takes everything.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
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
