//! What goes and what stays behind: the list of `--dry-run`, and the lines about filters.

use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};

use super::screen::end_of;
use super::{Ui, counted, names_of, summary_of};
use crate::error::{Error, Result, bytes, reason, shown, shown_bytes};
use crate::files::manifest::{Entry, Kind, Manifest};
use crate::files::path::is_text;
use crate::files::select::LeftOut;
use crate::files::walk::Source;

impl Ui {
    /// What the user may not have meant so.
    pub fn doubts(&self, left: &LeftOut) {
        for doubt in &left.doubts {
            self.note(doubt);
        }
    }

    /// What stays behind because the user, or git, said so.
    pub fn left_out(&self, source: &Source) {
        let mut parts = Vec::new();
        for (count, by) in [(source.left.excluded, "--exclude"), (source.left.ignored, "git")] {
            if count > 0 {
                parts.push(format!("{} by {by}", counted(count, "entry", "entries")));
            }
        }
        if !source.developer.is_empty() {
            let count = source.developer.len() as u64;
            let count = counted(count, "developer folder", "developer folders");
            parts.push(format!("{count} ({})", names_of(&source.developer)));
        }
        for (paths, one, more) in [
            (&source.made_up, "kernel file system", "kernel file systems"),
            (&source.other_disks, "other file system", "other file systems"),
            (&source.of_the_disk, "entry of the disk itself", "entries of the disk itself"),
        ] {
            if !paths.is_empty() {
                let count = counted(paths.len() as u64, one, more);
                parts.push(format!("{count} ({})", names_of(paths)));
            }
        }
        if !parts.is_empty() {
            self.note(&format!("left out: {}", parts.join(", ")));
        }
    }

    /// The sum of what [`Ui::entries`] lists.
    pub fn would_send(&self, manifest: &Manifest) {
        self.note(&format!("would send {}", summary_of(manifest)));
        self.tell(|json| json.offer(manifest));
    }

    /// What would go, a line an entry, on stdout, with `--json` an event each: size, tab, path. A
    /// folder has a slash at its end, a link a third column. What is no text is escaped, so that no
    /// path has a tab or a line break in it.
    ///
    /// # Errors
    /// stdout takes no more, unless its reader has just had enough.
    pub fn entries(&self, manifest: &Manifest) -> Result<()> {
        if let Some(json) = &self.json {
            json.entries(manifest);
            return Ok(());
        }
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let mut out = BufWriter::new(stdout.lock());
        let mut entries = manifest.entries().iter();
        let written = entries.try_for_each(|entry| {
            let line = line(entry);
            if terminal { writeln!(out, "{}", shown_line(&line)) } else { writeln!(out, "{line}") }
        });
        match written.and_then(|()| out.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Error::failure(format!("cannot write the list: {}", reason(&error)))
                    .hint("check where stdout goes"))
            }
            _ => Ok(()),
        }
    }
}

fn line(entry: &Entry) -> String {
    let size = entry.size();
    let raw = |bytes| match str::from_utf8(bytes) {
        Ok(text) if is_text(bytes) => text.into(),
        _ => shown_bytes(bytes),
    };
    let path = raw(entry.path.as_bytes());
    match &entry.kind {
        Kind::File(_) | Kind::Sparse { .. } => format!("{size}\t{path}"),
        Kind::Folder => format!("{size}\t{path}/"),
        Kind::Link(target) => format!("{size}\t{path}\t-> {}", raw(target.as_bytes())),
    }
}

/// An entry in a list for people: its size, and as much of its path as fits into the window.
pub(super) fn row(entry: &Entry, columns: usize) -> String {
    let (size, path) = match &entry.kind {
        Kind::File(size) | Kind::Sparse { size, .. } => (bytes(*size), entry.path.to_string()),
        Kind::Folder => (String::new(), format!("{}/", entry.path)),
        Kind::Link(target) => (String::new(), format!("{} -> {target}", entry.path)),
    };
    let size = format!("  {size:>9}  ");
    let room = columns.saturating_sub(size.len());
    format!("{size}{}", end_of(&path, room))
}

/// Safe on a terminal, the tabs kept.
fn shown_line(line: &str) -> String {
    line.split('\t').map(shown).collect::<Vec<_>>().join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::path::RelPath;

    #[test]
    fn entries_are_listed_in_columns() {
        let odd = "9\tlatin-\\xe9\\u{9}2\\u{a}3";
        let link = "0\tl\t-> \\u{1b}[2J\\xff";
        let cases: [(&[u8], _, _, _); 6] = [
            (b"d/f", Kind::File(1_234), "1234\td/f", "1234\td/f"),
            (b"d", Kind::Folder, "0\td/", "0\td/"),
            (b"l", Kind::Link("d/f".into()), "0\tl\t-> d/f", "0\tl\t-> d/f"),
            ("a\u{202e}b".as_bytes(), Kind::File(0), "0\ta\u{202e}b", "0\ta\\u{202e}b"),
            (b"latin-\xe9\t2\n3", Kind::File(9), odd, odd),
            (b"l", Kind::Link(b"\x1b[2J\xff"[..].into()), link, link),
        ];
        for (path, kind, raw, escaped) in cases {
            let path = RelPath::from_bytes(path).unwrap();
            let line = line(&Entry { path, kind, mode: 0o644, mtime: 0 });
            assert_eq!((&*line, &*shown_line(&line)), (raw, escaped));
        }
    }
}
