//! Options that other programs have and this one does not need.

use clap::Args;

/// What fingers type that are used to `rsync`, `scp` and `cp`, and what happens anyway.
#[derive(Debug, Args)]
#[command(next_help_heading = "Habits from rsync and scp (each is what happens anyway)")]
pub struct Habits {
    /// Whole folders
    #[arg(short, long, hide_short_help = true)]
    recursive: bool,
    /// Whole folders, with links, modes and times
    #[arg(short, long, hide_short_help = true)]
    archive: bool,
    /// Keep what has come when it is interrupted
    #[arg(long, hide_short_help = true)]
    partial: bool,
    /// Show how far it is
    #[arg(long, hide_short_help = true)]
    progress: bool,
    /// Both: --partial --progress
    #[arg(short = 'P', hide_short_help = true)]
    partial_progress: bool,
}

impl Habits {
    /// A sentence about those that were typed.
    pub fn told(&self) -> Option<String> {
        let typed = [
            (self.recursive, "-r"),
            (self.archive, "-a"),
            (self.partial_progress, "-P"),
            (self.partial, "--partial"),
            (self.progress, "--progress"),
        ];
        let typed: Vec<&str> =
            typed.into_iter().filter_map(|(typed, name)| typed.then_some(name)).collect();
        let (last, others) = typed.split_last()?;
        let (names, are) = match others {
            [] => ((*last).to_owned(), "is"),
            others => (format!("{} and {last}", others.join(", ")), "are"),
        };
        Some(format!("{names} {are} not needed: that is what happens anyway"))
    }
}
