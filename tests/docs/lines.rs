//! What differs from run to run: ports, tokens, times and rates.

use std::net::TcpListener;

use anyhow::Result;

use crate::TOKEN;

/// The first word of a command that has no subcommand: a path or a ticket.
fn first_word(command: &str) -> Option<&str> {
    const COMMANDS: [&str; 13] = [
        "send",
        "receive",
        "recv",
        "get",
        "serve",
        "pair",
        "doctor",
        "trust",
        "ca",
        "device",
        "completions",
        "token",
        "man",
    ];
    let word = command.strip_prefix("transfer ")?.split(' ').next()?;
    (!word.starts_with('-') && !COMMANDS.contains(&word)).then_some(word)
}

/// Whether a command offers something, and waits.
pub fn sends(command: &str) -> bool {
    let dry = command.contains("--dry-run") || command.contains(" -n ");
    let sends = first_word(command).is_some_and(|word| !word.contains(':'));
    (sends || command.contains("transfer send")) && !dry
}

/// Whether a command receives.
pub fn receives(command: &str) -> bool {
    let receives = first_word(command).is_some_and(|word| word.contains(':'));
    receives || command.contains("transfer receive")
}

/// `--port 4000` as a port that is free now; the usual one may be in use where this runs.
pub fn with_free_port(command: &str) -> Result<String> {
    if first_word(command).is_some() && sends(command) {
        return Ok(format!("{command} --port 0"));
    }
    let waits = sends(command);
    let looks = command.contains("transfer doctor");
    if !waits && !looks {
        return Ok(command.to_owned());
    }
    let port = match looks {
        true => TcpListener::bind("127.0.0.1:0")?.local_addr()?.port(),
        false => 0,
    };
    let words: Vec<&str> = command.split(' ').collect();
    let named = words.iter().position(|word| *word == "--port");
    let without: Vec<&str> = words
        .iter()
        .enumerate()
        .filter(|(i, _)| named.is_none_or(|at| *i != at && *i != at + 1))
        .map(|(_, word)| *word)
        .collect();
    let subcommand = if looks { "transfer doctor" } else { "transfer send" };
    Ok(without.join(" ").replace(subcommand, &format!("{subcommand} --port {port}")))
}

/// Port and token of every ticket in a command replaced by the sender's; the host stays.
pub fn with_ticket(command: &str, real: &str) -> String {
    let Some((_, token)) = real.rsplit_once(':') else { return command.to_owned() };
    let port = real.rsplit(':').nth(1).unwrap_or_default();
    let mut replaced = command.to_owned();
    for word in words_of(command) {
        if let Some(host) = host_of_ticket(word).filter(|_| word.ends_with(TOKEN)) {
            replaced = replaced.replace(word, &format!("{host}:{port}:{token}"));
        }
    }
    replaced
}

fn words_of(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| c.is_whitespace() || matches!(c, '=' | '"' | '\''))
}

/// The host, if a word is a ticket.
fn host_of_ticket(word: &str) -> Option<&str> {
    let (rest, token) = word.rsplit_once(':')?;
    let is_token = token.split('-').count() >= 2
        && token
            .split('-')
            .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()));
    let host = match rest.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => rest,
    };
    (is_token && !host.is_empty() && !host.contains('/')).then_some(host)
}

/// A line without what differs from run to run.
pub fn plain(line: &str) -> String {
    let mut line = line.trim_end().to_owned();
    for word in words_of(&line.clone()) {
        if let Some(host) = host_of_ticket(word) {
            line = line.replace(word, &format!("{host}:TOKEN"));
        }
    }
    let mut words: Vec<&str> = line.split(' ').collect();
    for at in 1..words.len() {
        let unit = words[at].trim_end_matches([',', '.']);
        let number = words[at - 1].parse::<f64>().is_ok();
        let free = words.get(at + 1).is_some_and(|word| word.starts_with("free"));
        if number && (unit == "s" || unit.ends_with("/s") || free) {
            words[at - 1] = "N";
            words[at] = "UNIT";
        } else if words[at - 1] == "port" && unit.parse::<u16>().is_ok() {
            words[at] = "N";
        }
    }
    words.join(" ")
}

#[test]
fn commands_are_made_runnable() -> Result<()> {
    let cases = [
        ("transfer send a", "transfer send --port 0 a"),
        ("transfer send --pod --port 4000 a", "transfer send --port 0 --pod a"),
        ("transfer send --dry-run a", "transfer send --dry-run a"),
        ("transfer receive x", "transfer receive x"),
        ("transfer photos/ a", "transfer photos/ a --port 0"),
        ("transfer laptop:ocean-tiger", "transfer laptop:ocean-tiger"),
    ];
    for (shown, runs) in cases {
        assert_eq!(with_free_port(shown)?, runs);
    }
    let real = "100.64.1.123:4711:good-words";
    let cases = [
        (
            "transfer receive 127.0.0.1:4000:ocean-tiger",
            "transfer receive 127.0.0.1:4711:good-words",
        ),
        ("TICKET=laptop:ocean-tiger x -o -", "TICKET=laptop:4711:good-words x -o -"),
        ("x [::1]:4000:ocean-tiger", "x [::1]:4711:good-words"),
        ("x a:b c-d laptop:ocean-tigr", "x a:b c-d laptop:ocean-tigr"),
    ];
    for (shown, runs) in cases {
        assert_eq!(with_ticket(shown, real), runs);
    }
    assert_eq!(
        plain("sent 3 files: 3.0 MB in 0.0 s, 206.1 MB/s"),
        "sent 3 files: 3.0 MB in N UNIT N UNIT"
    );
    Ok(())
}
