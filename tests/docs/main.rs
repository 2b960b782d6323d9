//! What the documentation tells people to type works.
//!
//! - In README.md and the pages of [`PAGES`], commands stand in fenced blocks, `console` or `sh`,
//!   and nowhere else.
//! - A line of a `console` block that begins with a prompt is a command. `$`, `sender$` and
//!   `laptop$` are one machine, `receiver$` and `desktop$` the other. The other lines are what it
//!   says: each must be among what it really says, but for tokens, ports, times and rates; `…`
//!   stands for anything. It must end with exit code 0, or with the one that `echo $?` shows next.
//! - A `transfer send` goes on while the receiver's commands run, and its ticket replaces theirs,
//!   whose token is [`TOKEN`]. If none of them receives, the test does. A `transfer receive` that nobody sends to is sent
//!   what the page sent last.
//! - An `sh` block is a script, run on the sender's machine, that must end with exit code 0.
//! - Each page has two folders of its own, and a stub for the tailnet of the two machines;
//!   commands with `--pod` or 127.0.0.1 have no Tailscale. The blocks run in order.
//! - What cannot run is in [`EXCEPTIONS`], with the reason.

#![cfg_attr(not(target_os = "linux"), allow(unused, reason = "some tests are for Linux alone"))]
#![cfg(unix)]

mod lines;
mod page;
mod stage;
#[path = "../util/mod.rs"]
mod util;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use page::blocks;
use stage::Stage;
use util::process::{run, transfer};

/// Pages whose commands are run.
const PAGES: [&str; 11] = [
    "README.md",
    "docs/guide.md",
    "docs/choosing.md",
    "docs/containers.md",
    "docs/direct.md",
    "docs/json.md",
    "docs/lan.md",
    "docs/relay.md",
    "docs/resume.md",
    "docs/scripting.md",
    "docs/troubleshooting.md",
];

/// The token of the pages, in place of the sender's.
const TOKEN: &str = "ocean-tiger";

const INSTALLS: &str = "builds or installs something";

const RELAY: &str =
    "needs a relay, or an address that is known, which tests/e2e and tests/direct have";

const LAN: &str = "needs a local network, which tests/lan has";

const TAILNET: &str = "needs a tailnet, which tests/tailnet has";

const ENDLESS: &str = "runs until it is stopped, which tests/relay does";

/// Commands that are not run, each with its page and the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("README.md", "scripts/setup", INSTALLS),
    ("README.md", "cargo install --path . --locked", INSTALLS),
    ("docs/direct.md", "transfer send --direct photos/", RELAY),
    ("docs/direct.md", "transfer receive maple-river-ocean-tiger", RELAY),
    ("docs/direct.md", "transfer doctor --direct", RELAY),
    ("docs/direct.md", "transfer send --direct --relay none --port 15820 photos/", RELAY),
    ("docs/lan.md", "transfer send --lan photos", LAN),
    ("docs/lan.md", "transfer receive 192.168.1.9:ocean-tiger", LAN),
    ("docs/lan.md", "transfer pair", LAN),
    ("docs/lan.md", "transfer pair 192.168.1.9:ocean-tiger", LAN),
    ("docs/lan.md", "transfer serve ~/incoming", LAN),
    ("docs/lan.md", "transfer find", LAN),
    ("docs/lan.md", "transfer send --to desktop photos", LAN),
    ("docs/lan.md", "transfer pair --tailnet", TAILNET),
    ("docs/lan.md", "transfer pair desktop:ocean-tiger", TAILNET),
    ("docs/lan.md", "transfer serve ~/incoming --tailnet", TAILNET),
    ("docs/lan.md", "transfer send --to desktop -y photos", TAILNET),
    ("docs/relay.md", "transfer relay --http 3340", ENDLESS),
    ("docs/relay.md", "transfer relay --cert relay.pem --key relay.key", ENDLESS),
];

/// Options of other programs that the documentation names, and whose they are.
const FOREIGN: &[(&str, &str)] = &[
    ("--add-port", "firewall-cmd"),
    ("--all", "scripts/cross"),
    ("--bench", "cargo"),
    ("--cache", "scripts/bench"),
    ("--case", "scripts/bench"),
    ("--cfg", "rustc"),
    ("--copy-links", "rsync"),
    ("--delete", "rsync"),
    ("--dir", "scripts/bench"),
    ("--exclude-standard", "git ls-files"),
    ("--filter", "rsync"),
    ("--force-reauth", "tailscale up"),
    ("--from", "scripts/bench"),
    ("--ignore-existing", "rsync"),
    ("--locked", "cargo"),
    ("--no-default-features", "cargo"),
    ("--network", "docker"),
    ("--path", "cargo"),
    ("--plot", "scripts/bench"),
    ("--shields-up", "tailscale up"),
    ("--small", "scripts/bench"),
];

#[test]
fn what_the_pages_tell_to_type_works() -> Result<()> {
    let mut used = BTreeSet::new();
    for page in PAGES {
        let mut stage = Stage::new(page)?;
        for block in blocks(page)? {
            let at = format!("{page}:{}", block.line);
            stage.play(&block, &mut used).with_context(|| at)?;
        }
    }
    for exception in EXCEPTIONS {
        ensure!(used.contains(exception), "an exception that nothing needs: {exception:?}");
    }
    Ok(())
}

#[test]
fn every_option_is_told_of_and_exists() -> Result<()> {
    let mut known = BTreeSet::new();
    for subcommand in [
        "",
        "send",
        "receive",
        "doctor",
        "serve",
        "relay",
        "pair",
        "find",
        "trust remove",
        "ca issue",
        "device",
        "completions",
        "token",
        "man",
    ] {
        let mut command = transfer();
        command.args(subcommand.split_whitespace()).arg("--help");
        known.extend(options(&run(command)?.expect(0)?.stdout));
    }
    ensure!(known.contains("--pod"), "the help was not understood: {known:?}");

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md")];
    for entry in fs::read_dir(root.join("docs"))? {
        pages.push(entry?.path());
    }
    let mut told = BTreeSet::new();
    for page in pages.iter().filter(|page| page.extension().is_some_and(|end| end == "md")) {
        for option in options(&fs::read_to_string(page)?) {
            let foreign = FOREIGN.iter().any(|(name, _)| *name == option);
            ensure!(known.contains(&option) || foreign, "{page:?}: {option} is no option");
            told.insert(option);
        }
    }
    for option in &known {
        ensure!(told.contains(option), "no page tells of {option}");
    }
    for (option, _) in FOREIGN {
        ensure!(told.contains(*option), "no page has the foreign option {option}");
    }
    Ok(())
}

/// Each quoted heading of the page is an error of the sources, but for names and numbers in it.
#[test]
fn the_errors_that_are_explained_exist() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    let mut left = vec![root.join("src")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(path)? {
                left.push(entry?.path());
            }
        } else {
            sources.push_str(&fs::read_to_string(path)?);
        }
    }
    // A line of the page holds no break, nor escapes.
    let sources = sources.replace("\\\n", " ").replace('\\', "");
    let sources = sources.split_whitespace().collect::<Vec<_>>().join(" ");
    let page = fs::read_to_string(root.join("docs/troubleshooting.md"))?;
    let headings = page.lines().filter_map(|line| line.strip_prefix("### "));
    let headings = headings.filter(|heading| !heading.contains("``"));
    let mut found = 0;
    for quoted in headings.flat_map(|heading| heading.split('`').skip(1).step_by(2)) {
        // Its own words: what is between examples.
        let example = |word: &str| {
            word.contains(|c: char| c.is_ascii_digit() || matches!(c, '"' | '…' | ':' | '/'))
                || [
                    "sender",
                    "receiver",
                    "laptop",
                    "desktop",
                    "another-machine",
                    "maple-river",
                    "relay.example.org",
                    "GB",
                    "B",
                    "status",
                    "--json",
                ]
                .contains(&word)
        };
        let runs: Vec<String> = quoted
            .split_whitespace()
            .collect::<Vec<_>>()
            .split(|word| example(word))
            .map(|run| run.join(" "))
            .collect();
        let run = runs.iter().max_by_key(|run| run.len()).context("a heading")?;
        ensure!(run.len() >= 6 && sources.contains(run.as_str()), "no source says {run:?}");
        found += 1;
    }
    ensure!(found > 40, "only {found} headings were understood");
    Ok(())
}

/// Every `--word` of a text.
fn options(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let option = |word: &&str| {
        let name = word.strip_prefix("--");
        name.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    words.filter(option).map(|word| word.trim_end_matches('-').to_owned()).collect()
}
