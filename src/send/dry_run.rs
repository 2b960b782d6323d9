//! `--dry-run`: what would go, without a port, a ticket or a receiver.

use super::offer::{decided_list, nothing_to_send};
use super::options::SendOptions;
use crate::control;
use crate::error::{Error, Exit, Result};
use crate::files::manifest::Manifest;
use crate::files::walk::{Source, Unsent, Walk};
use crate::protocol::fault::Fault;
use crate::ui::Ui;

/// Lists what would go and tells what would not. Ends as sending it all would.
pub fn run(walk: &Walk, options: &SendOptions, ui: &Ui) -> Result<Exit> {
    let mut source = decided_list(walk, options, ui)?;
    leave_unreadable(&mut source, options.follow_symlinks)?;
    let unsent = source.unsent.iter().map(|unsent| (&*unsent.name, &*unsent.why));
    ui.unsent(source.unsent.len() as u64, unsent, false);
    if source.manifest.entries().is_empty() {
        return Err(nothing_to_send());
    }
    ui.entries(&source.manifest)?;
    ui.left_out(&source);
    ui.would_send(&source.manifest);
    Ok(if source.unsent.is_empty() { Exit::Done } else { Exit::Partial })
}

/// Takes the files out of the list that cannot be opened: a walk does not notice them.
fn leave_unreadable(source: &mut Source, follow_symlinks: bool) -> Result<()> {
    let mut faults = Vec::with_capacity(source.manifest.entries().len());
    let mut files = source.files(follow_symlinks);
    for (index, entry) in (0u32..).zip(source.manifest.entries()) {
        control::check()?;
        faults.push(entry.is_file().then(|| files.open(index).err()).flatten());
    }
    drop(files);
    let mut kept = Manifest::default();
    for (entry, fault) in
        std::mem::take(&mut source.manifest).into_entries().into_iter().zip(faults)
    {
        if let Some(fault) = fault {
            let why = Fault::from(fault).words().into();
            source.unsent.push(Unsent { name: entry.path.as_bytes().into(), why });
        } else {
            kept.push(entry).map_err(|error| Error::failure(error.to_string()))?;
        }
    }
    source.manifest = kept;
    Ok(())
}
