//! What `--json` says: each line against the schema, and what holds between the lines.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use jsonschema::Validator;
use serde_json::Value;

use crate::util::process::Ended;

pub static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../docs/json.schema.json")).expect("JSON")
});

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    jsonschema::options().should_validate_formats(true).build(&SCHEMA).expect("a schema")
});

/// The fields that the schema lists for an event, beside those of every line.
pub fn fields(event: &str) -> Result<BTreeSet<&'static str>> {
    let listed = &SCHEMA["$defs"][event]["properties"];
    let listed = listed.as_object().with_context(|| format!("{event:?} is not in the schema"))?;
    Ok(listed.keys().map(String::as_str).collect())
}

/// The names of all events in the schema.
pub fn known() -> BTreeSet<&'static str> {
    let known = SCHEMA["$defs"].as_object().expect("an object");
    known.keys().map(String::as_str).collect()
}

/// Fails unless the schema knows the line and each of its fields.
pub fn check_line(line: &Value) -> Result<()> {
    let wrong: Vec<_> = VALIDATOR.iter_errors(line).map(|error| error.to_string()).collect();
    ensure!(wrong.is_empty(), "{line} is wrong: {wrong:?}");
    let known = fields(line["event"].as_str().context("no event")?)?;
    for field in line.as_object().context("no object")?.keys() {
        let everywhere = ["v", "event", "state"].contains(&&**field);
        ensure!(everywhere || known.contains(&**field), "{field:?} is not in the schema: {line}");
    }
    Ok(())
}

/// All that a process has said.
#[derive(Debug)]
pub struct Events(Vec<Value>);

impl Events {
    /// Takes the output of a process with `--json` apart, and fails unless all of it is as
    /// `docs/json.md` says.
    pub fn of(ended: &Ended) -> Result<Self> {
        ensure!(ended.stdout.ends_with('\n'), "the last line is cut: {ended:#?}");
        ensure!(ended.stdout.is_ascii(), "not ASCII: {ended:#?}");
        let lines: Vec<Value> = ended
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("{line:?}")))
            .collect::<Result<_>>()?;
        lines.iter().try_for_each(check_line)?;
        let events = Self(lines);
        events.check_ends(ended)?;
        events.check_states()?;
        events.check_progress()?;
        Ok(events)
    }

    /// All lines of one kind.
    pub fn all(&self, event: &str) -> Vec<&Value> {
        self.0.iter().filter(|line| line["event"] == event).collect()
    }

    /// The one line of a kind.
    pub fn one(&self, event: &str) -> Result<&Value> {
        let all = self.all(event);
        ensure!(all.len() == 1, "not one {event}: {all:#?}");
        Ok(all[0])
    }

    /// The last line.
    pub fn end(&self) -> &Value {
        self.0.last().expect("checked before")
    }

    /// The states, in order.
    pub fn states(&self) -> Vec<&str> {
        self.all("state").iter().filter_map(|line| line["state"].as_str()).collect()
    }

    fn check_ends(&self, ended: &Ended) -> Result<()> {
        let first = self.0.first().context("nothing was said")?;
        ensure!(first["event"] == "state" && first["state"] == "idle", "begins with {first}");
        let end = self.one("end")?;
        ensure!(self.0.last() == Some(end), "{end} is not the last line");
        ensure!(end["exit"].as_i64() == ended.code.map(i64::from), "{end}, but {:?}", ended.code);
        Ok(())
    }

    /// Each line has the state that was last told, and each is told once.
    fn check_states(&self) -> Result<()> {
        let mut now = &Value::Null;
        for line in &self.0 {
            let told = line["event"] == "state";
            ensure!(told == (line["state"] != *now), "{line} in the state {now}");
            now = &line["state"];
        }
        Ok(())
    }

    /// Bytes and files only grow; between two lines of one session, the last one excepted, lie 0.2
    /// seconds as they themselves say; each plan is followed by a line; the end agrees with it.
    fn check_progress(&self) -> Result<()> {
        let number = |line: &Value, field: &str| line[field].as_f64().context("no number");
        let mut all = (0.0, 0.0);
        for session in self.0.split(|line| line["event"] == "plan") {
            let lines: Vec<_> = session.iter().filter(|line| line["event"] == "progress").collect();
            for line in &lines {
                let now = (number(line, "bytes")?, number(line, "files")?);
                ensure!(now.0 >= all.0 && now.1 >= all.1, "less than before: {line}");
                ensure!(now.0 <= number(line, "total_bytes")?, "more than all: {line}");
                ensure!(now.1 <= number(line, "total_files")?, "more than all: {line}");
                all = now;
            }
            for pair in lines.get(..lines.len().saturating_sub(1)).unwrap_or_default().windows(2) {
                let gap = number(pair[1], "elapsed")? - number(pair[0], "elapsed")?;
                // They are rounded to milliseconds.
                ensure!(gap > 0.1985, "too soon: {pair:#?}");
            }
        }
        for (at, _) in self.0.iter().enumerate().filter(|(_, line)| line["event"] == "plan") {
            let mut after = self.0.iter().skip(at + 1);
            let next = after.find(|line| line["event"] == "progress" || line["event"] == "plan");
            ensure!(next.is_some_and(|line| line["event"] == "progress"), "no progress of {at}");
        }
        let end = self.end();
        ensure!(number(end, "bytes")? == all.0, "{end} after {all:?}");
        Ok(())
    }
}
