//! The man page, from the definition of the command line: one page for all subcommands, so that
//! `man transfer` has everything, and nothing in it can be older than the program.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use crate::error::Exit;

/// By this a file is known as one that this program made, the completions included.
pub const MARK: &str = "made by `transfer completions`";

/// When what is written here, and not in the definition, last changed.
const DATE: &str = "2026-11-26";

/// The apostrophe that the options are written with, as [`Roff`] defines it at the head of a page.
const APOSTROPHE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// The exit codes, in the words of docs/guide.md.
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

/// What a ticket is.
const TICKETS: &str = "\
A ticket is HOST[:PORT]:TOKEN, such as laptop:ocean-tiger, 100.64.1.123:4000:ocean-tiger or \
[fd7a:115c:a1e0::1]:ocean-tiger. HOST is the name of a device of the tailnet or an address; an IPv6 \
address has brackets. PORT is left out when it is 15820.

TOKEN is two words of a list of 7,776, new for each transfer send; --words takes up to 8. Upper case, \
and spaces or _ between the words, are fine, and quotes are not needed. A typo is noticed before any \
connection. The third wrong token ends the offer.

A ticket serves one receiver (--receivers N serves more). While the sender waits, a receiver that was \
lost or stopped comes back with the same ticket.

With --token-file both sides have the same token in a file, agreed beforehand, of four words or more. \
Then the ticket is HOST[:PORT] alone. transfer token makes one.";

/// What keys do while a transfer runs on a terminal.
const KEYS: &[(&str, &str)] = &[
    ("p", "Pauses, on either side; again goes on."),
    ("q", "Stops and keeps the state, as Ctrl-C does. A second Ctrl-C ends the program at once."),
    ("y, n, Enter", "Answer a question; Enter takes the answer in upper case, q stops there."),
    ("l", "Lists what is offered, where the receiver is asked whether to take it."),
    ("r, o, n, s, q", "At names that are taken: rename, overwrite, newer, skip, cancel."),
    ("k", "Keeps the next answer to one of the sender's questions for later runs."),
    ("Tab", "Completes the words of a ticket that is asked for."),
];

/// What is read and written besides what is sent.
const FILES: &[(&str, &str)] = &[
    (
        "~/.config/transfer/config.toml",
        "Answers that were kept, used where a question would be asked: exclude-dev = true or false, \
         compress = \"auto\", \"lz4\", \"blosc\" or \"none\", on-conflict = \"ask\", \"rename\", \"skip\", \
         \"overwrite\", \"newer\" or \"fail\". Each is a flag too, and the flag comes first. $XDG_CONFIG_HOME \
         names another folder than ~/.config.",
    ),
    (
        "~/.config/transfer/device.key, device.pem, trust.json, ca/",
        "Who this device is, and whom it trusts: see TRANSFER DEVICE, TRANSFER TRUST and TRANSFER CA. \
         Whoever has device.key is this device.",
    ),
    ("NAME.part", "A file that is not whole yet, at its place in the output folder."),
    (
        ".transfer_lock.json",
        "In the output folder while a transfer runs, and after one that was interrupted: what is \
         under way.",
    ),
];

/// A few lines to begin with.
const EXAMPLES: &str = "\
laptop$ transfer send photos/ notes.txt
transfer receive laptop:ocean-tiger

desktop$ transfer receive laptop:ocean-tiger

The same without a command: transfer photos/ notes.txt, and transfer laptop:ocean-tiger.

Within one machine, or in a container: transfer send --pod out

A single file under another name: transfer receive -o report.pdf laptop:ocean-tiger

A pipe: tar c photos | transfer send -, and transfer receive -o - laptop:ocean-tiger | tar x

For cron, with the same token in a file on both sides:
transfer send -y --token-file ~/.config/transfer/token --timeout 2h photos
transfer receive -y --token-file ~/.config/transfer/token --wait=2h -o backup/ laptop";

/// Others that do what this one does not, or that it needs.
const SEE_ALSO: &str = "tailscale(1), rsync(1), scp(1), tar(1), crontab(5)

The guide and the security page come with the program, in docs/.";

/// What the environment steers.
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "TRANSFER_CONFIG",
        "The folder of kept answers, key and trusted devices, in place of ~/.config/transfer.",
    ),
    ("XDG_CONFIG_HOME", "Where transfer/config.toml is looked for, in place of ~/.config."),
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
    let leaves = visible(&command).flat_map(|it| match it.has_subcommands() {
        true => visible(it).collect(),
        false => vec![it],
    });
    for (number, subcommand) in leaves.enumerate() {
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
    page.section("TICKETS");
    page.paragraphs(TICKETS);
    page.section("KEYS");
    page.items(KEYS);
    page.section("EXIT STATUS");
    for (exit, meaning) in EXITS {
        page.item(&(*exit as u8).to_string(), meaning);
    }
    page.section("ENVIRONMENT");
    page.items(ENVIRONMENT);
    page.section("FILES");
    page.items(FILES);
    page.section("EXAMPLES");
    page.lines(EXAMPLES);
    page.section("SEE ALSO");
    page.paragraphs(SEE_ALSO);
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

    fn items(&mut self, items: &[(&str, &str)]) {
        for (name, meaning) in items {
            self.item(name, meaning);
        }
    }

    /// Text whose lines stay as they are.
    fn lines(&mut self, text: &str) {
        self.control("nf", &[]);
        for line in text.lines() {
            match line {
                "" => self.control("sp", &[]),
                line => self.text([roman(line)]),
            }
        }
        self.control("fi", &[]);
    }

    fn paragraphs(&mut self, text: &str) {
        for (number, paragraph) in text.split("\n\n").enumerate() {
            if number > 0 {
                self.control("PP", &[]);
            }
            self.text([roman(paragraph.trim())]);
        }
    }

    fn options(&mut self, command: &Command) {
        let mut options = vec![];
        // Writing into memory does not fail.
        let _ = Man::new(command.clone()).render_options_section(&mut options);
        let options = String::from_utf8_lossy(&options);
        // Not a section of its own, but a part of this one. Before a list of values there is one
        // break too many for some readers of the format.
        let (_, options) = options.split_once(".SH OPTIONS\n").unwrap_or_default();
        let options = options.replace("\n.br\n\n.br\n", "\n.br\n");
        self.0 += &options.replace("\n.SH ", "\n.SS ");
    }

    /// What it does, its options, its examples.
    fn subcommand(&mut self, command: &Command) {
        let name = command.get_bin_name().unwrap_or(command.get_name());
        self.section(&name.to_uppercase());
        let about = command.get_long_about().or(command.get_about());
        self.paragraphs(&format!("{}.", about.map(ToString::to_string).unwrap_or_default()));
        self.options(command);
        for inner in visible(command) {
            self.control("SS", &[inner.get_bin_name().unwrap_or(inner.get_name())]);
            let about = inner.get_about().map(ToString::to_string).unwrap_or_default();
            self.paragraphs(&format!("{about}."));
            self.options(inner);
        }
        if let Some(examples) = command.get_after_help() {
            self.control("PP", &[]);
            self.lines(&examples.to_string());
        }
    }
}
