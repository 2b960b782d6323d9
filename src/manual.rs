//! The man page, from the definition of the command line: one page for all subcommands, so that
//! `man transfer` has everything, and nothing in it can be older than the program.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use crate::error::Exit;

/// By this a file is known as one that this program made, the completions included.
pub const MARK: &str = "made by `transfer completions`";

/// When what is written here, and not in the definition, last changed.
const DATE: &str = "2026-11-21";

/// The apostrophe that the options are written with, as [`Roff`] defines it at the head of a page.
const APOSTROPHE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// The exit codes, in the words of the README.
const EXITS: &[(Exit, &str)] = &[
    (Exit::Done, "Everything is there."),
    (Exit::Failure, "Another failure."),
    (Exit::Usage, "The command line or the ticket makes no sense."),
    (Exit::Partial, "Finished, but some things could not be sent or written; they are listed."),
    (Exit::Refused, "Wrong token, or a peer that may not connect."),
    (Exit::Network, "No connection, a lost one, a timeout, a port in use, or no Tailscale."),
    (Exit::Integrity, "Finished, but the hash of a file still differed after 3 attempts."),
    (Exit::Declined, "Refused by a person or by --on-conflict fail; nothing was changed."),
    (Exit::Interrupted, "Stopped by a signal or a key; the next run goes on from here."),
];

/// What the environment steers.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("TRANSFER_TICKET", "The ticket to receive with, so that it does not show among the commands."),
    ("TRANSFER_TAILSCALE", "The tailscale program, where it is not found by itself."),
    ("TS_SOCKET", "The socket of the Tailscale service, where it is not at its usual place."),
    (
        "ALL_PROXY",
        "The proxy (socks5:// or http://) that leads into the tailnet from a node without a \
         network device.",
    ),
];

/// The page, in the language of `man`.
pub fn page(command: Command) -> String {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let version = command.get_version().unwrap_or_default().to_owned();
    let mut page = Page::default();
    page.0 += &format!(".\\\" {MARK}\n{APOSTROPHE}");
    let source = format!("transfer {version}");
    page.control("TH", &["TRANSFER", "1", DATE, &source, "User Commands"]);
    page.section("NAME");
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    page.text([roman(format!("transfer - {about}"))]);
    page.section("SYNOPSIS");
    for (number, subcommand) in visible(&command).enumerate() {
        if number > 0 {
            page.control("br", &[]);
        }
        page.text([roman(usage(subcommand))]);
    }
    page.section("DESCRIPTION");
    let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    page.paragraphs(&long);
    for subcommand in visible(&command) {
        page.subcommand(subcommand);
    }
    page.section("EXIT STATUS");
    for (exit, meaning) in EXITS {
        page.item(&(*exit as u8).to_string(), meaning);
    }
    page.section("ENVIRONMENT");
    for (variable, meaning) in ENVIRONMENT {
        page.item(variable, meaning);
    }
    page.0
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set())
}

/// `transfer send [OPTIONS] <PATHS>...`
fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    usage.trim_start_matches("Usage:").trim().to_owned()
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn text(&mut self, inlines: impl Into<Vec<Inline>>) {
        let mut roff = Roff::new();
        roff.text(inlines);
        self.0 += &roff.to_roff();
    }

    fn control(&mut self, name: &str, arguments: &[&str]) {
        let mut roff = Roff::new();
        roff.control(name, arguments.iter().copied());
        self.0 += &roff.to_roff();
    }

    fn section(&mut self, title: &str) {
        self.control("SH", &[title]);
    }

    fn item(&mut self, name: &str, meaning: &str) {
        self.control("TP", &[]);
        self.text([bold(name)]);
        self.text([roman(meaning)]);
    }

    fn paragraphs(&mut self, text: &str) {
        for (number, paragraph) in text.split("\n\n").enumerate() {
            if number > 0 {
                self.control("PP", &[]);
            }
            self.text([roman(paragraph.trim())]);
        }
    }

    /// What it does, its options, its examples.
    fn subcommand(&mut self, command: &Command) {
        let name = command.get_bin_name().unwrap_or(command.get_name());
        self.section(&name.to_uppercase());
        let about = command.get_long_about().or(command.get_about());
        self.paragraphs(&format!("{}.", about.map(ToString::to_string).unwrap_or_default()));
        let mut options = vec![];
        // Writing into memory does not fail.
        let _ = Man::new(command.clone()).render_options_section(&mut options);
        let options = String::from_utf8_lossy(&options);
        // Not a section of its own, but a part of this one. Before a list of values there is one
        // break too many for some readers of the format.
        let (_, options) = options.split_once(".SH OPTIONS\n").unwrap_or_default();
        self.0 += &options.replace("\n.br\n\n.br\n", "\n.br\n");
        if let Some(examples) = command.get_after_help() {
            self.control("PP", &[]);
            self.control("nf", &[]);
            for line in examples.to_string().lines() {
                self.text([roman(line)]);
            }
            self.control("fi", &[]);
        }
    }
}
