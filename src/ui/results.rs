//! How a transfer ended, for people: one line, and what is missing, as lists.

use std::path::Path;

use super::screen::paragraph;
use super::words::{counted, lacking, outcome};
use super::{SHOWN, Ui};
use crate::error::shown_os;
use crate::event::Summary;
use crate::protocol::fault::Fault;

impl Ui {
    /// How sending ended.
    pub fn sent(&self, summary: &Summary) {
        self.say(&outcome("sent", summary, "", "there"));
        self.phases(summary);
        self.problems(summary, "the receiver ", None);
        self.tell(|json| json.summary(summary, false));
    }

    /// How sending to one of several receivers ended.
    pub fn sent_to(&self, name: &str, summary: &Summary) {
        self.note(&format!("{name}: {}", outcome("sent", summary, "", "there")));
        self.phases(summary);
        self.problems(summary, "the receiver ", None);
    }

    /// How sending to several receivers ended.
    pub fn sent_to_all(&self, total: &Summary) {
        self.say("all receivers have been served");
        self.tell(|json| json.summary(total, false));
    }

    /// How receiving ended, into a folder or, where there is none, to standard output.
    pub fn received(&self, summary: &Summary, folder: Option<&Path>) {
        let place = match folder {
            Some(folder) => format!(" into {}", shown_os(folder)),
            None => " to standard output".into(),
        };
        self.say(&outcome("received", summary, &place, "here"));
        self.phases(summary);
        if !summary.renamed.is_empty() {
            let count = summary.renamed.len() as u64;
            self.say(&format!("{} under another name:", counted(count, "entry", "entries")));
            let lines = summary.renamed.iter().map(|(from, to)| format!("{from} -> {to}"));
            self.list(lines, count, !self.quiet);
        }
        if let Some(lacking) = lacking(summary.lacking) {
            let text =
                format!("the disk does not keep the {lacking} of what came; the content is whole");
            self.say_warning(&text);
        }
        self.problems(summary, "", None);
        self.tell(|json| json.summary(summary, true));
    }

    /// Where the time went, for the curious.
    fn phases(&self, summary: &Summary) {
        let laps = summary.phases.iter();
        let laps: Vec<_> =
            laps.map(|(phase, took)| format!("{phase} {:.2} s", took.as_secs_f64())).collect();
        if !laps.is_empty() {
            self.detail(&format!("time: {}", laps.join(", ")));
        }
    }

    /// What did not arrive, or was not wanted, by `who`; of an upload of that `device`, if it is one of
    /// several.
    pub(super) fn problems(&self, summary: &Summary, who: &str, device: Option<&str>) {
        let of = device.map(|device| format!("{device}: ")).unwrap_or_default();
        let kept = |fault: Fault| fault == Fault::Kept;
        let (kept, failed): (Vec<_>, Vec<_>) =
            summary.failed.iter().partition(|(_, fault)| kept(*fault));
        if !kept.is_empty() {
            let count = counted(kept.len() as u64, "existing file", "existing files");
            self.say(&format!("{of}{who}skipped {count}"));
        }
        if !failed.is_empty() {
            let count = failed.len() as u64;
            let entries = counted(count, "entry", "entries");
            self.say_warning(&format!("{of}{entries} did not arrive:"));
            let lines =
                failed.iter().map(|(path, fault)| format!("{path}: {}", summary.why(path, *fault)));
            self.list(lines, count, true);
        }
        if summary.unsent > 0 {
            let count = counted(summary.unsent, "thing", "things");
            let listed = match device {
                Some(_) => "as it lists there",
                None => "as listed above",
            };
            self.say_warning(&format!("{of}{count} could not be sent, {listed}"));
        }
    }

    /// The first lines of a list of `count`; with `-v`, and in the log, all that are known.
    pub(super) fn list(&self, lines: impl Iterator<Item = String>, count: u64, visible: bool) {
        let line = |text: &str| {
            if visible {
                paragraph(text)
            }
        };
        let limit = if self.verbose > 0 { usize::MAX } else { SHOWN };
        let mut known = 0;
        for item in lines {
            let item = format!("  {item}");
            self.log(&item);
            if known < limit {
                line(&item);
            }
            known += 1;
        }
        let unknown = count.saturating_sub(known as u64);
        if unknown > 0 {
            self.log(&format!("  and {unknown} more"));
        }
        let hidden = known.saturating_sub(limit) as u64;
        let advice = match (hidden, unknown) {
            (0, 0) => return,
            (0, _) => "",
            (_, 0) => " (-v lists all)",
            (_, _) => " (-v lists some of them)",
        };
        line(&format!("  and {} more{advice}", hidden + unknown));
    }
}
