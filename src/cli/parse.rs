//! From words to a [`Cli`]: a first word that is no command says by itself what is meant, and of
//! clap's guesses at what was meant only the near ones are shown.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};

use super::{Cli, duration};
use crate::error::{Error, Result, shown};
use crate::ticket::Ticket;
use crate::token::{MAX_WORDS, edits};

/// Reads the command line, the program's own name first.
///
/// # Errors
/// What is wrong with it, or the help that was asked for, ready to be shown.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let words = with_command(words.into_iter().collect()).map_err(|error| {
        let hint = error.hint.map(|hint| format!("\n  {hint}")).unwrap_or_default();
        clap::Error::raw(ErrorKind::InvalidSubcommand, format!("{}{hint}\n", error.message))
    })?;
    let is_bare = words.get(1).is_some_and(|first| first.as_encoded_bytes().starts_with(b"-"));
    Cli::try_parse_from(words).map_err(|error| {
        let mut error = without_far_guesses(error);
        if is_bare && error.kind() == ErrorKind::UnknownArgument {
            advise(&mut error, "the command comes first: `transfer send`, `transfer receive`");
        }
        error
    })
}

/// A path as it was meant.
pub(super) fn path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().map(meant)
}

/// A path that may be made. `--output-dir=~/in` reaches the program as it was typed, and would make a folder `~`.
pub(super) fn new_path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().map(meant).try_map(|path| match path.starts_with("~") {
        true => Err("the shell has left the ~ as it is: put a space in the place of the =, or write $HOME; a folder of that name is ./~"),
        false => Ok(path),
    })
}

fn meant(typed: PathBuf) -> PathBuf {
    let whole = typed.to_str().filter(|_| cfg!(windows)).and_then(with_backslash);
    whole.map_or(typed, PathBuf::from)
}

/// On Windows `"C:\My photos\"` arrives as `C:\My photos"`: a backslash takes the quote behind it. No name has one.
fn with_backslash(typed: &str) -> Option<String> {
    let path = typed.strip_suffix('"').filter(|path| !path.is_empty() && !path.contains('"'))?;
    Some(format!("{path}\\"))
}

/// The ticket whose words the shell took apart: `localhost:4000:ocean tiger`.
///
/// # Errors
/// When something stands behind a ticket that is whole.
pub(super) fn one_ticket(words: Vec<String>) -> Result<String> {
    if let [first, second, ..] = &words[..]
        && Ticket::parse(first).is_ok()
    {
        let message = format!("\"{}\" stands behind the ticket", shown(second));
        return Err(Error::usage(message).hint("-o names the folder to receive into"));
    }
    if let [first, _, ..] = &words[..]
        && duration(first).is_ok()
    {
        let first = shown(first);
        let message = format!("\"{first}\" stands before the ticket");
        return Err(Error::usage(message).hint(format!("a time to wait is written --wait={first}")));
    }
    Ok(words.join(" "))
}

/// Puts the command in front of a first word that is a path or a ticket.
fn with_command(mut words: Vec<OsString>) -> Result<Vec<OsString>> {
    if let Some(first) = words.get(1).map(OsString::as_os_str)
        && let Some(command) = command_for(first, words.get(1..).unwrap_or_default())?
    {
        words.insert(1, command.into());
    }
    Ok(words)
}

/// What a first word means that is no command; nothing where it is one, or is close to one.
fn command_for(first: &OsStr, words: &[OsString]) -> Result<Option<&'static str>> {
    let text = first.to_string_lossy();
    let command = Cli::command();
    let commands: Vec<&str> = command
        .get_subcommands()
        .flat_map(|it| std::iter::once(it.get_name()).chain(it.get_all_aliases()))
        .collect();
    let is_option = text.starts_with('-') && text != "-";
    if is_option || text.is_empty() || text == "help" || commands.contains(&&*text) {
        return Ok(None);
    }
    let is_here = Path::new(first).symlink_metadata().is_ok();
    let ticket = ticket_in(words);
    match (is_here, &ticket) {
        (true, Ok(())) => {
            let name = shown(&text);
            return Err(Error::usage(format!(
                "\"{name}\" is something here, and a ticket as well"
            ))
            .hint(format!("say which: `transfer send {name}`, or `transfer receive {name}`")));
        }
        (true, Err(_)) => return Ok(Some("send")),
        (false, Ok(())) => return Ok(Some("receive")),
        (false, Err(_)) => {}
    }
    // Neither: the commands tell best what is wrong with a path, a pattern or a ticket.
    if text == "-" || text.contains(['/', '*', '?', '[', '\\']) {
        return Ok(Some("send"));
    }
    if let (true, Err(error)) = (text.contains(':'), ticket) {
        return Err(error);
    }
    if commands.iter().any(|name| is_near(name, &text)) {
        return Ok(None);
    }
    let message =
        format!("\"{}\" is no command, no ticket, and nothing that is here", shown(&text));
    Err(Error::usage(message)
        .hint("`transfer --help` lists the commands; a ticket is like laptop:ocean-tiger"))
}

/// Whether the words up to the first option are a ticket.
fn ticket_in(words: &[OsString]) -> Result<()> {
    let words = words.iter().take(usize::from(MAX_WORDS) + 1).map(|word| word.to_string_lossy());
    let words: Vec<_> = words.take_while(|word| !word.starts_with('-')).collect();
    let whole = words.first().is_some_and(|first| Ticket::parse(first).is_ok());
    if whole { Ok(()) } else { Ticket::parse(&words.join(" ")).map(drop) }
}

/// Clap takes words for similar that have a few letters in common, and offers to pass a mistyped
/// option as a value.
fn without_far_guesses(mut error: clap::Error) -> clap::Error {
    use ContextKind as Kind;
    for (typed, guessed) in [
        (Kind::InvalidArg, Kind::SuggestedArg),
        (Kind::InvalidSubcommand, Kind::SuggestedSubcommand),
        (Kind::InvalidValue, Kind::SuggestedValue),
    ] {
        let typed = texts(error.get(typed)).first().cloned().unwrap_or_default();
        let guesses = texts(error.get(guessed));
        if !guesses.is_empty() {
            let near: Vec<String> =
                guesses.into_iter().filter(|guess| is_near(guess, &typed)).collect();
            error.remove(guessed);
            if !near.is_empty() {
                error.insert(guessed, ContextValue::Strings(near));
            }
        }
    }
    if error.kind() == ErrorKind::UnknownArgument {
        error.remove(Kind::Suggested);
        let typed = texts(error.get(Kind::InvalidArg)).first().cloned().unwrap_or_default();
        let is_receiver =
            texts(error.get(Kind::Usage)).iter().any(|it| it.contains("transfer receive"));
        if is_receiver && ["--lan", "--direct", "--tailnet"].contains(&&*typed) {
            advise(&mut error, "the ticket tells the way: leave it out");
        }
    }
    error
}

fn advise(error: &mut clap::Error, advice: &str) {
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![advice.to_owned().into()]));
}

fn texts(value: Option<&ContextValue>) -> Vec<String> {
    match value {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        Some(ContextValue::StyledStr(text)) => vec![text.to_string()],
        _ => vec![],
    }
}

/// Whether one may have been meant by the other: two slips at most, or one is the other's beginning.
fn is_near(guess: &str, typed: &str) -> bool {
    let plain = |text: &str| -> Vec<char> {
        let name = text.split(['=', ' ']).next().unwrap_or_default();
        name.trim_start_matches('-').to_lowercase().chars().collect()
    };
    let (guess, typed) = (plain(guess), plain(typed));
    let most = if typed.len() < 5 { 1 } else { 2 };
    let begins = typed.len() > 2 && (guess.starts_with(&typed) || typed.starts_with(&guess));
    begins || edits(&guess, &typed, most).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(words: &[&str]) -> Result<Vec<String>, String> {
        let words = std::iter::once("transfer").chain(words.iter().copied());
        let parsed = with_command(words.map(OsString::from).collect());
        let parsed = parsed.map_err(|error| error.message)?;
        Ok(parsed.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect())
    }

    #[test]
    fn a_first_word_that_is_no_command_says_what_is_meant() {
        for (words, command) in [
            (&["src"][..], Some("send")),
            (&["src", "Cargo.toml", "-n"], Some("send")),
            (&["no/such/path"], Some("send")),
            (&["*.toml"], Some("send")),
            (&["-"], Some("send")),
            (&["laptop:ocean-tiger"], Some("receive")),
            (&["localhost:4000:ocean", "tiger", "-o", "x"], Some("receive")),
            (&["send", "src"], None),
            (&["get", "laptop:ocean-tiger"], None),
            (&["--version"], None),
            (&["help"], None),
            (&["sned", "src"], None),
            (&["recieve"], None),
            (&[], None),
        ] {
            let mut expected: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            command.iter().for_each(|command| expected.insert(0, (*command).to_owned()));
            assert_eq!(commands(words), Ok(expected));
        }
        for (words, message) in [
            (&["laptop:ocaen-tiger"][..], "\"ocaen\" is not a word of the token list"),
            (&["laptop:"], "the ticket has no token"),
            (&["photoalbum"], "\"photoalbum\" is no command, no ticket, and nothing that is here"),
        ] {
            assert_eq!(commands(words), Err(message.to_owned()));
        }
    }

    #[test]
    fn a_backslash_that_took_a_quote_is_given_back() {
        for (typed, path) in [
            ("D:\"", Some("D:\\")),
            ("C:\\My photos\"", Some("C:\\My photos\\")),
            ("C:\\My photos", None),
            ("C:\\My photos\" other", None),
            ("a\"b\"", None),
            ("\"", None),
            ("", None),
        ] {
            assert_eq!(with_backslash(typed).as_deref(), path, "{typed}");
        }
    }

    #[test]
    fn words_of_a_ticket_need_no_quotes() {
        let joined = |words: &[&str]| one_ticket(words.iter().map(|w| (*w).to_owned()).collect());
        assert_eq!(joined(&["laptop:ocean", "tiger"]).unwrap(), "laptop:ocean tiger");
        assert_eq!(joined(&["laptop:", "ocean", "tiger"]).unwrap(), "laptop: ocean tiger");
        let error = joined(&["laptop:ocean-tiger", "photos"]).unwrap_err();
        assert_eq!(error.message, "\"photos\" stands behind the ticket");
    }

    #[test]
    fn only_near_guesses_are_shown() {
        for (typed, guess, near) in [
            ("--dry-rnu", "--dry-run", true),
            ("--exclude", "--exclude-from <FILE>", true),
            ("--exclude-form", "--exclude-from <FILE>", true),
            ("--delete", "--include-dev", false),
            ("--verify", "--verbose", false),
            ("recieve", "receive", true),
            ("photos", "doctor", false),
        ] {
            assert_eq!(is_near(guess, typed), near, "{typed} {guess}");
        }
        let words = ["transfer", "send", "--delete", "src"].map(OsString::from);
        let said = parse(words).unwrap_err().to_string();
        assert!(!said.contains("tip:"), "{said}");
        let words = ["transfer", "send", "--dry-rnu", "src"].map(OsString::from);
        let said = parse(words).unwrap_err().to_string();
        assert!(said.contains("a similar argument exists: '--dry-run'"), "{said}");
    }
}
