//! `transfer pair`, as typed.

use clap::Args;
use zeroize::Zeroizing;

use super::parse;
use crate::connect::ways::Way;
use crate::error::Result;
use crate::net::interfaces::Choice;
use crate::pair::PairOptions;
use crate::protocol::features::{Feature, Features};
use crate::ui::Ui;

/// `transfer pair`, as typed.
#[derive(Debug, Args)]
pub struct PairArgs {
    /// What the other machine shows, or of it the token alone: then that machine is looked for in the local network.
    /// Without it this one shows it
    #[arg(value_name = "[HOST[:PORT]:]TOKEN")]
    ticket: Vec<String>,
    /// Call the other machine by this name here; without this by its own
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Join a CA without being asked: the other machine joins the one that `transfer ca` has made here, or this
    /// one that of the other
    #[arg(long)]
    join: bool,
    /// With another device on this machine, on 127.0.0.1
    #[arg(long)]
    pod: bool,
    /// With another device of the tailnet
    #[arg(long, conflicts_with_all = ["pod", "interface"])]
    tailnet: bool,
    /// Use these network interfaces alone, by name or address; else all that lead to a local network,
    /// and none of a VPN or of containers
    #[arg(long, value_name = "IF", value_delimiter = ',', conflicts_with = "pod")]
    interface: Vec<String>,
    /// Listen on this port; 0 takes any that is free; without this 15820, or the next free one
    #[arg(long, value_name = "N", conflicts_with = "ticket")]
    port: Option<u16>,
    /// Do without what newer versions can do; for tests.
    #[arg(long, hide = true, value_name = "FEATURE", value_delimiter = ',',
        value_parser = Feature::parse)]
    without: Vec<Feature>,
}

impl PairArgs {
    /// The terminal as the options want it.
    pub fn ui(&self) -> Ui {
        Ui::new(false, 0, false, false)
    }

    /// Everything decided that can be decided without the other machine.
    ///
    /// # Errors
    /// What was typed is no ticket.
    pub fn resolve(self) -> Result<PairOptions> {
        let ticket = match self.ticket.is_empty() {
            true => None,
            false => Some(Zeroizing::new(parse::one_ticket(self.ticket)?)),
        };
        Ok(PairOptions {
            ticket,
            name: self.name,
            way: match (self.pod, self.tailnet) {
                (true, _) => Way::Pod,
                (_, true) => Way::Tailnet,
                _ => Way::Lan(Choice::new(&self.interface)),
            },
            port: self.port,
            join: self.join,
            features: Features::of_pairing().without(&self.without),
        })
    }
}
