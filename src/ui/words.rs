//! The phrases that lines are made of.

use std::fmt::{Display, Write};

use crate::error::bytes;
use crate::event::Summary;
use crate::files::disk::Lacks;
use crate::files::manifest::{Kind, Manifest, Totals};
use crate::protocol::message::OfferKind;

/// `sent 3 files: 12.3 MB in 0.1 s, 123.0 MB/s`; `already` is where files may have been before.
pub(super) fn outcome(verb: &str, summary: &Summary, place: &str, already: &str) -> String {
    // A text is shown, and is there at once.
    if summary.kind == OfferKind::Text && summary.files == 1 {
        return format!("{verb} a text of {}", bytes(summary.bytes));
    }
    if summary.already > 0 && summary.already == summary.files && summary.bytes == 0 {
        return match summary.files {
            1 => format!("the file was already {already}"),
            files => format!("all {} were already {already}", counted(files, "file", "files")),
        };
    }
    let what = match summary.kind {
        OfferKind::Stream if summary.files == 1 => "a stream".into(),
        _ => counted(summary.files, "file", "files"),
    };
    let mut line = format!("{verb} {what}{place}");
    if summary.already > 0 {
        let _ = write!(line, " (of them {already} already: {})", summary.already);
    }
    let elapsed = summary.elapsed.as_secs_f64();
    let _ = write!(line, ": {} in {elapsed:.1} s", bytes(summary.bytes));
    let sent = summary.bytes.saturating_sub(summary.holes);
    if sent > 0 {
        let _ = write!(line, ", {}/s", bytes(rate(sent, elapsed)));
    }
    if summary.holes > 0 {
        let _ = write!(line, "; {} of it are holes, which were not sent", bytes(summary.holes));
    }
    if summary.saved > 0 {
        let percent = 100.0 * summary.saved as f64 / summary.bytes.max(1) as f64;
        let _ = write!(line, "; compression saved {} ({percent:.0} %)", bytes(summary.saved));
    }
    line
}

/// `3 files, 2 folders, 12.3 MB: photos, notes.txt`.
pub(super) fn summary_of(manifest: &Manifest) -> String {
    let Totals { files, folders, links, bytes: size } = manifest.totals();
    let mut text = counted(files, "file", "files");
    for (count, one, many) in [(folders, "folder", "folders"), (links, "link", "links")] {
        if count > 0 {
            let _ = write!(text, ", {}", counted(count, one, many));
        }
    }
    let _ = write!(text, ", {}:", bytes(size));
    let mut tops = manifest.tops();
    for (number, top) in tops.by_ref().take(3).enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let slash = if top.kind == Kind::Folder { "/" } else { "" };
        let _ = write!(text, "{comma} {}{slash}", top.path);
    }
    let more = tops.count();
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text
}

/// What a disk does not keep, if there is anything.
pub(super) fn lacking(lacks: Lacks) -> Option<&'static str> {
    match (lacks.modes, lacks.times) {
        (true, true) => Some("permissions and times"),
        (true, false) => Some("permissions"),
        (false, true) => Some("times"),
        (false, false) => None,
    }
}

/// `1 file`, `2 files`, `19,327 files`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text} {}", if count == 1 { one } else { many })
}

/// Bytes a second; a moment too short to measure counts as a millisecond.
pub(super) fn rate(bytes: u64, seconds: f64) -> u64 {
    (bytes as f64 / seconds.max(0.001)) as u64
}

/// Names for a question: a few, then a count.
pub(super) fn names_of(paths: &[impl Display]) -> String {
    let names: Vec<String> = paths.iter().take(3).map(|path| path.to_string()).collect();
    match paths.len().checked_sub(names.len()).filter(|more| *more > 0) {
        Some(more) => format!("{} and {more} more", names.join(", ")),
        None => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::files::manifest::Entry;
    use crate::files::path::RelPath;

    #[test]
    fn counts_read_well() {
        let cases = [(0, "0 files"), (1, "1 file"), (999, "999 files"), (19_327, "19,327 files")];
        for (count, expected) in cases {
            assert_eq!(counted(count, "file", "files"), expected);
        }
    }

    #[test]
    fn ends_read_well() {
        use OfferKind::{Files, Stream, Text};
        #[rustfmt::skip]
        let cases = [
            ((Files, 2, 0, 3_000_000), " into in", "received 2 files into in: 3.0 MB in 2.0 s, 1.5 MB/s"),
            ((Files, 2, 1, 0), " into .", "received 2 files into . (of them here already: 1): 0 B in 2.0 s"),
            ((Files, 2, 2, 0), " into .", "all 2 files were already here"),
            ((Files, 1, 1, 0), " into .", "the file was already here"),
            ((Files, 2, 2, 5), " into .", "received 2 files into . (of them here already: 2): 5 B in 2.0 s, 2 B/s"),
            ((Files, 0, 0, 0), " into .", "received 0 files into .: 0 B in 2.0 s"),
            ((Files, 1, 0, 2), " to standard output", "received 1 file to standard output: 2 B in 2.0 s, 1 B/s"),
            ((Stream, 1, 0, 2), " into .", "received a stream into .: 2 B in 2.0 s, 1 B/s"),
            ((Stream, 0, 0, 2), " into .", "received 0 files into .: 2 B in 2.0 s, 1 B/s"),
            ((Text, 1, 0, 12), " into .", "received a text of 12 B"),
            ((Text, 0, 0, 2), "", "received 0 files: 2 B in 2.0 s, 1 B/s"),
        ];
        for ((kind, files, already, bytes), place, expected) in cases {
            let elapsed = Duration::from_secs(2);
            let summary = Summary { kind, files, already, bytes, elapsed, ..Summary::default() };
            assert_eq!(outcome("received", &summary, place, "here"), expected);
        }
    }

    /// The amount is that of the files, the rate that of what crossed.
    #[test]
    fn holes_are_no_speed() {
        let elapsed = Duration::from_secs(2);
        let of = |bytes, holes| {
            let summary = Summary { files: 1, bytes, holes, elapsed, ..Summary::default() };
            outcome("sent", &summary, "", "there")
        };
        let expected = "sent 1 file: 2.0 GB in 2.0 s, 5.0 kB/s; \
                        2.0 GB of it are holes, which were not sent";
        assert_eq!(of(2_000_010_000, 2_000_000_000), expected);
        let expected =
            "sent 1 file: 70.0 kB in 2.0 s; 70.0 kB of it are holes, which were not sent";
        assert_eq!(of(70_000, 70_000), expected);
    }

    #[test]
    fn an_offer_is_summed_up_and_cannot_steer_the_terminal() {
        let mut manifest = Manifest::default();
        for (path, kind) in [
            ("a\u{202e}b", Kind::Folder),
            ("c", Kind::File(1_500_000)),
            ("d", Kind::File(1)),
            ("e", Kind::Link("d".into())),
        ] {
            let path = RelPath::parse(path).unwrap();
            manifest.push(Entry { path, kind, mode: 0o644, mtime: 0 }).unwrap();
        }
        let expected = "2 files, 1 folder, 1 link, 1.5 MB: a\\u{202e}b/, c, d and 1 more";
        assert_eq!(summary_of(&manifest), expected);
    }
}
