//! `transfer find`, as typed.

use std::time::Duration;

use clap::Args;

use super::serve::PapersArgs;
use super::{Output, duration};
use crate::error::Result;
use crate::find::FindOptions;
use crate::net::interfaces::Choice;
use crate::ui::Ui;

/// `transfer find`, as typed.
#[derive(Debug, Args)]
pub struct FindArgs {
    /// Show those that are not trusted, or do not answer, too
    #[arg(short, long)]
    all: bool,
    /// Look for so long: 3s, 1m
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = duration)]
    wait: Duration,
    /// Look at these network interfaces alone, by name or address; else at all that lead to a local
    /// network, and none of a VPN or of containers
    #[arg(long, value_name = "IF", value_delimiter = ',')]
    interface: Vec<String>,
    /// What this device shows, and whom it trusts.
    #[command(flatten)]
    papers: PapersArgs,
    /// What it says.
    #[command(flatten)]
    output: Output,
}

impl FindArgs {
    /// The terminal as the options want it.
    pub fn ui(&self) -> (Ui, Result<()>) {
        self.output.ui()
    }

    /// Everything decided that can be decided without looking.
    pub fn resolve(&self) -> FindOptions {
        FindOptions {
            all: self.all,
            wait: self.wait,
            choice: Choice::new(&self.interface),
            papers: self.papers.resolve(),
        }
    }
}
