//! The last line: how a run ended, and what came of everything.

use serde::Serialize;
use serde_json::{Value, json};

use super::{exactly, list_of_bytes};
use crate::error::{Error, Exit, shown};
use crate::event::Summary;
use crate::files::path::RelPath;
use crate::net::quic::Traffic;
use crate::protocol::fault::Fault;

/// What the sender could not offer.
#[derive(Debug, Default, Serialize)]
pub(super) struct Unsent {
    pub count: u64,
    names: Vec<Named>,
}

#[derive(Debug, Serialize)]
struct Named {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_bytes: Option<String>,
    text: String,
}

/// What a session that came to its end has to tell, ready to be written.
#[derive(Debug, Default, Serialize)]
pub(super) struct Outcome {
    files: u64,
    already: Option<u64>,
    saved: Option<u64>,
    holes: Option<u64>,
    failed: Vec<Failed>,
    kept: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_bytes: Option<Vec<Option<String>>>,
    renamed: Vec<Renamed>,
}

#[derive(Debug, Serialize)]
struct Failed {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    fault: &'static str,
    text: String,
}

#[derive(Debug, Serialize)]
struct Renamed {
    from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_bytes: Option<String>,
    to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_bytes: Option<String>,
}

/// The last line.
#[derive(Serialize)]
pub(super) struct End<'a> {
    exit: u8,
    result: &'static str,
    bytes: u64,
    elapsed: f64,
    relayed_bytes: Option<u64>,
    direct_bytes: Option<u64>,
    #[serde(flatten)]
    outcome: &'a Outcome,
    unsent: &'a Unsent,
    error: Option<Value>,
}

impl Unsent {
    /// How much, and the names that are known here.
    pub(super) fn new<'a>(count: u64, names: impl Iterator<Item = (&'a [u8], &'a str)>) -> Self {
        let named = |(name, text): (&[u8], &str)| Named {
            name: String::from_utf8_lossy(name).into_owned(),
            name_bytes: exactly(name),
            // They may be those of the other side.
            text: shown(text).into_owned(),
        };
        Self { count, names: names.map(named).collect() }
    }
}

impl Outcome {
    /// Of a session that did not come to its end: so many files have crossed.
    pub(super) fn cut_short(files: u64) -> Self {
        Self { files, ..Self::default() }
    }

    /// Only the receiver knows what it had already.
    pub(super) fn of(summary: &Summary, receives: bool) -> Self {
        let (kept, failed): (Vec<_>, Vec<_>) =
            summary.failed.iter().partition(|(_, fault)| *fault == Fault::Kept);
        let path = |path: &RelPath| path.to_lossy().into_owned();
        let bytes = |path: &RelPath| exactly(path.as_bytes());
        let kept: Vec<&RelPath> = kept.into_iter().map(|(name, _)| name).collect();
        Self {
            files: summary.files,
            already: receives.then_some(summary.already),
            saved: Some(summary.saved),
            holes: Some(summary.holes),
            failed: failed
                .into_iter()
                .map(|(name, fault)| Failed {
                    path: path(name),
                    path_bytes: bytes(name),
                    fault: fault_word(*fault),
                    text: summary.why(name, *fault),
                })
                .collect(),
            kept: kept.iter().map(|name| path(name)).collect(),
            kept_bytes: list_of_bytes(&kept),
            renamed: summary
                .renamed
                .iter()
                .map(|(from, to)| Renamed {
                    from: path(from),
                    from_bytes: bytes(from),
                    to: path(to),
                    to_bytes: bytes(to),
                })
                .collect(),
        }
    }
}

impl<'a> End<'a> {
    /// Ends with `exit`, because of `error` where there is one.
    pub(super) fn new(
        exit: Exit,
        (bytes, elapsed): (u64, f64),
        (outcome, unsent, traffic): (&'a Outcome, &'a Unsent, Option<Traffic>),
        error: Option<Value>,
    ) -> Self {
        Self {
            exit: exit as u8,
            result: exit_word(exit),
            bytes,
            elapsed,
            relayed_bytes: traffic.map(|traffic| traffic.relayed),
            direct_bytes: traffic.map(|traffic| traffic.direct),
            outcome,
            unsent,
            error: error.or_else(|| unfinished(exit)),
        }
    }
}

pub(super) fn error_fields(error: &Error) -> Value {
    json!({ "message": error.message, "hint": error.hint })
}

/// The error of a transfer that came to its end without everything.
fn unfinished(exit: Exit) -> Option<Value> {
    let message = match exit {
        Exit::Done => return None,
        Exit::Integrity => "the hashes of some files still differed at the end",
        _ => "some things could not be sent or written",
    };
    Some(json!({ "message": message, "hint": "the last event lists them" }))
}

fn exit_word(exit: Exit) -> &'static str {
    match exit {
        Exit::Done => "done",
        Exit::Failure => "failure",
        Exit::Usage => "usage",
        Exit::Partial => "partial",
        Exit::Refused => "refused",
        Exit::Network => "network",
        Exit::Integrity => "integrity",
        Exit::Declined => "declined",
        Exit::Interrupted => "interrupted",
    }
}

pub(super) fn fault_word(fault: Fault) -> &'static str {
    match fault {
        Fault::Vanished => "vanished",
        Fault::Denied => "denied",
        Fault::Changed => "changed",
        Fault::Unreadable | Fault::UnknownSource(_) => "unreadable",
        Fault::Unwritable | Fault::UnknownTarget(_) => "unwritable",
        Fault::Integrity => "integrity",
        Fault::Kept => "kept",
        Fault::Forbidden => "forbidden",
        Fault::NameRefused => "name-refused",
        Fault::TooLarge => "too-large",
        Fault::NoLinks => "no-links",
        Fault::NameTaken => "name-taken",
    }
}
