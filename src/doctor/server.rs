//! A server of the local network, by its name: whether it is announced, answers and is trusted.

use std::sync::Arc;
use std::time::Duration;

use crate::connect::around::Look;
use crate::connect::devices::{Own, Papers};
use crate::error::{Error, bytes};
use crate::find::look_around;
use crate::net::interfaces::Choice;
use crate::trust::folder::Folder;
use crate::trust::store::Trusted;
use crate::ui::{Finding, Found};

/// How long it is looked for.
const PATIENCE: Duration = Duration::from_secs(3);

/// What came of a look for a server.
pub struct Near {
    /// Whether it has answered, and is trusted. A record alone says nothing of who is meant.
    pub answers: bool,
    /// What there is to say.
    pub findings: Vec<Finding>,
}

/// What there is to say of a server that is called so here, or announces itself so; nothing where there
/// is none, or nobody is trusted here yet.
pub fn look(name: &str) -> Option<Near> {
    let name = name.strip_suffix(".local").unwrap_or(name);
    let trusted = Trusted::load(&Folder::of_user().ok()?).ok()?;
    if trusted.devices.is_empty() && trusted.cas.is_empty() {
        return None;
    }
    let own = Arc::new(Own::load(&Papers::default()).ok()?);
    let key = trusted.named(name).map(|known| known.id);
    let is_meant = |found: &Found| {
        let is = |called: &str| called.to_lowercase() == name.to_lowercase();
        // Who is called otherwise there may not let this device in, and then only its record tells.
        let announces_it = key.is_some_and(|key| key.0.starts_with(&found.server.txt.id));
        announces_it
            || is(&found.server.name)
            || found.came.as_ref().is_ok_and(|seen| is(&seen.name))
    };
    let is_there = |found: &Found| found.came.is_ok() && is_meant(found);
    let enough = |found: &[Found], _| match found.iter().any(is_there) {
        true => Look::Done,
        false => Look::On,
    };
    let here = look_around(&own, &Choice::Local, PATIENCE, &enough).ok()?;
    let findings: Vec<Finding> =
        here.found.iter().filter(|found| is_meant(found)).map(finding).collect();
    let answers = here.found.iter().any(is_there);
    (!findings.is_empty()).then_some(Near { answers, findings })
}

fn finding(found: &Found) -> Finding {
    let server = &found.server;
    match &found.came {
        Ok(seen) => {
            let free =
                seen.room().map_or_else(String::new, |free| format!(", {} free", bytes(free)));
            let words = seen.id.words();
            Finding::fine(format!(
                "{} ({words}) serves at {}; it and this device trust each other{free}",
                seen.name, seen.at
            ))
        }
        Err(error @ Error { hint, .. }) => {
            Finding::problem(format!("a server is announced as {server}: {error}"))
                .advice(hint.clone().unwrap_or_default())
        }
    }
}
