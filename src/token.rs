//! The token: a few words that a person reads to another, and the secret both sides share.
//!
//! The words come from `wordlist/words.txt`, where any two differ by at least two edits, so that
//! one typo never makes another valid token: it is noticed here, before any connection, instead of
//! costing one of the three guesses that the handshake allows.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;
use std::{fmt, sync::LazyLock};

use rand::{
    Rng, SeedableRng,
    rngs::{StdRng, SysRng},
    seq::IndexedRandom,
};
use zeroize::Zeroizing;

use crate::bounds::MAX_TOKEN;
use crate::error::{Error, Result, reason, shown_os};

/// Words in a token unless the sender asks otherwise: 25.8 bits.
pub const DEFAULT_WORDS: u8 = 2;
/// The fewest words in a token: one alone (12.9 bits) could be guessed in an afternoon of offers.
pub const MIN_WORDS: u8 = 2;
/// The most words in a token: 103 bits, more than anybody types.
pub const MAX_WORDS: u8 = 8;

/// The fewest words in a token that is agreed beforehand and used again and again: 51.7 bits. Each run
/// gives away three guesses.
pub const MIN_AGREED: u8 = 4;
/// Words in such a token unless its maker asks otherwise: 77.5 bits.
pub const AGREED_WORDS: u8 = 6;

/// A word this many edits away is no longer a plausible typo.
const MAX_EDITS: usize = 2;

/// The list, sorted.
static WORDS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| include_str!("../wordlist/words.txt").lines().collect());

/// The shared secret, in its one form: lower-case words of the list joined by `-`. Wiped from
/// memory when dropped, and never shown by `Debug`.
///
/// `==` does not run in constant time: it is for tests; peers compare keys, never tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// A new token of `words` words, each drawn uniformly by a generator
    /// that the system's randomness seeds.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::error::Exit::Usage) unless `words` is [`MIN_WORDS`] to [`MAX_WORDS`];
    /// a failure when the system has no randomness to give.
    pub fn generate(words: u8) -> Result<Self> {
        check_count(usize::from(words))?;
        let mut rng = system_rng()?;
        Ok(Self::draw(&mut rng, words))
    }

    /// Draws the words; `rng` is a parameter so that tests can seed it.
    fn draw(rng: &mut impl Rng, words: u8) -> Self {
        Self::join((0..words).filter_map(|_| WORDS.choose(rng).copied()))
    }

    /// Reads a token as a person types it: upper or lower case, words separated by any run of
    /// `-`, `_` and spaces.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::error::Exit::Usage) when a word is not in the list (the hint offers
    /// the nearest), or when there are too few or too many words.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_TOKEN {
            return Err(Error::usage(format!("a token is never longer than {MAX_TOKEN} bytes"))
                .hint(CHECK_SCREEN));
        }
        let text = Zeroizing::new(text.to_ascii_lowercase());
        let typed = text.split(|c: char| c == '-' || c == '_' || c.is_whitespace());
        let mut words = Vec::new();
        for word in typed.filter(|word| !word.is_empty()) {
            words.push(lookup(word)?);
        }
        check_count(words.len())?;
        Ok(Self::join(words))
    }

    /// The token in a file that nobody else may read, agreed beforehand.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::error::Exit::Usage) when the file cannot be read, others could read it,
    /// or it holds fewer than [`MIN_AGREED`] words.
    pub fn read(path: &Path) -> Result<Self> {
        let name = shown_os(path);
        let cannot = |error: io::Error| {
            Error::usage(format!("cannot read \"{name}\": {}", reason(&error)))
                .hint("--token-file names a file that holds a token; `transfer token` makes one")
        };
        let mut file = File::open(path).map_err(cannot)?;
        // Of the file that was opened: nobody can exchange it in between.
        if !is_private(&file.metadata().map_err(cannot)?) {
            return Err(Error::usage(format!("others can read \"{name}\"")).hint(format!(
                "`chmod 600 {name}`; if somebody may have seen it, make a new token"
            )));
        }
        // Room for all of it at once: growing would leave copies behind that nothing wipes.
        let mut text = Zeroizing::new(String::with_capacity(2 * MAX_TOKEN));
        file.by_ref().take(MAX_TOKEN as u64 + 1).read_to_string(&mut text).map_err(cannot)?;
        let hint = "`transfer token` makes one; both machines need the same";
        let token = Self::parse(&text).map_err(|error| error.hint(hint).secret())?;
        let words = token.words();
        if words < MIN_AGREED {
            let message = format!("a token in a file has at least {MIN_AGREED} words, not {words}");
            return Err(Error::usage(message).hint(hint));
        }
        Ok(token)
    }

    /// What was typed of a token, its last word completed as far as the list allows only one way
    /// to go on; nothing when that is nowhere.
    pub fn complete(typed: &str) -> Option<Zeroizing<String>> {
        let is_letter = |c: &char| c.is_ascii_alphabetic();
        let begun = typed.chars().rev().take_while(is_letter).count();
        let (before, begun) = typed.split_at_checked(typed.len() - begun)?;
        let begun = Zeroizing::new(begun.to_ascii_lowercase());
        let first = WORDS.partition_point(|word| *word < &**begun);
        let words = WORDS.iter().skip(first).take_while(|word| word.starts_with(&**begun));
        let common = words.copied().reduce(common_start)?;
        (common.len() > begun.len()).then(|| Zeroizing::new(format!("{before}{common}")))
    }

    /// Two words that stand for a number, the same ones for the same remainder.
    pub fn for_number(number: u64) -> String {
        let count = WORDS.len() as u64;
        let word = |at: u64| usize::try_from(at % count).ok().and_then(|at| WORDS.get(at)).copied();
        [word(number / count), word(number)].map(Option::unwrap_or_default).join("-")
    }

    fn join(words: impl IntoIterator<Item = &'static str>) -> Self {
        // Room for every token at once: growing would leave copies behind that nothing wipes.
        let mut text = Zeroizing::new(String::with_capacity(MAX_TOKEN));
        for word in words {
            if !text.is_empty() {
                text.push('-');
            }
            text.push_str(word);
        }
        Self(text)
    }

    /// How many words it has.
    pub fn words(&self) -> u8 {
        u8::try_from(self.0.split('-').count()).unwrap_or(MAX_WORDS)
    }

    /// The token as the key exchange takes it.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Shows the secret: for the ticket that the sender prints, and nowhere else.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// A generator seeded by the system, or the error that there is none; it never panics.
pub fn system_rng() -> Result<StdRng> {
    StdRng::try_from_rng(&mut SysRng).map_err(|error| {
        Error::failure(format!("the system gives no random numbers: {error}"))
            .hint("try again; a sandbox may forbid the call getrandom")
    })
}

/// How many bits of entropy a token of `words` words holds.
pub fn entropy_bits(words: u8) -> f64 {
    f64::from(words) * (WORDS.len() as f64).log2()
}

/// Whether it is a word of the list, in lower case.
pub fn is_word(word: &str) -> bool {
    WORDS.binary_search(&word).is_ok()
}

const CHECK_SCREEN: &str = "check the token on the sender's screen";

/// Whether its owner alone can read a file.
#[cfg(unix)]
fn is_private(file: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.mode() & 0o077 == 0
}

/// Whether its owner alone can read a file: what the folders of a user do here by themselves.
#[cfg(not(unix))]
fn is_private(_: &Metadata) -> bool {
    true
}

fn check_count(words: usize) -> Result<()> {
    if (usize::from(MIN_WORDS)..=usize::from(MAX_WORDS)).contains(&words) {
        return Ok(());
    }
    Err(Error::usage(format!("a token has {MIN_WORDS} to {MAX_WORDS} words, not {words}"))
        .hint(CHECK_SCREEN))
}

/// The list's own copy of a lower-case word.
fn lookup(word: &str) -> Result<&'static str> {
    if let Some(known) = WORDS.binary_search(&word).ok().and_then(|at| WORDS.get(at)) {
        return Ok(known);
    }
    let hint = match nearest(word) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => CHECK_SCREEN.into(),
    };
    Err(Error::usage(format!("{word:?} is not a word of the token list")).hint(hint))
}

/// What both words begin with. All words are ASCII.
fn common_start<'a>(a: &'a str, b: &str) -> &'a str {
    let len = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    a.get(..len).unwrap_or_default()
}

/// The word of the list that `word` was most likely meant to be. Of equally near ones it is the
/// one with the same first letter (people rarely get that wrong), then the first in the alphabet.
fn nearest(word: &str) -> Option<&'static str> {
    let typed: Vec<char> = word.chars().collect();
    // Two edits turn any four letters into some word: no hint is better than a random one.
    let most = if typed.len() < 5 { 1 } else { MAX_EDITS };
    WORDS
        .iter()
        .filter_map(|&known| {
            let letters: Vec<char> = known.chars().collect();
            let edits = edits(&typed, &letters, most)?;
            Some((edits, typed.first() != letters.first(), known))
        })
        .min()
        .map(|(_, _, known)| known)
}

/// The fewest edits (a letter changed, added or dropped, or two neighbours swapped) that make `b`
/// of `a`, or `None` if that takes more than `most`.
pub(crate) fn edits(a: &[char], b: &[char], most: usize) -> Option<usize> {
    let ([x, after_x @ ..], [y, after_y @ ..]) = (a, b) else {
        let left = a.len() + b.len();
        return (left <= most).then_some(left);
    };
    if x == y {
        return edits(after_x, after_y, most);
    }
    let most = most.checked_sub(1)?;
    let swapped = match (a, b) {
        ([p, q, a @ ..], [r, s, b @ ..]) if p == s && q == r => edits(a, b, most),
        _ => None,
    };
    [edits(after_x, after_y, most), edits(after_x, b, most), edits(a, after_y, most), swapped]
        .into_iter()
        .flatten()
        .min()
        .map(|edits| edits + 1)
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;
    use crate::error::Exit;

    /// Every string that one typo makes of `word`.
    fn one_edit_away(word: &str) -> Vec<String> {
        let mut found = Vec::new();
        for at in 0..=word.len() {
            let (head, tail) = word.split_at(at);
            for letter in 'a'..='z' {
                found.push(format!("{head}{letter}{tail}"));
                found.extend(tail.get(1..).map(|rest| format!("{head}{letter}{rest}")));
            }
            found.extend(tail.get(1..).map(|rest| format!("{head}{rest}")));
            if let (Some(p), Some(q), Some(rest)) = (tail.get(..1), tail.get(1..2), tail.get(2..)) {
                found.push(format!("{head}{q}{p}{rest}"));
            }
        }
        found
    }

    #[test]
    fn the_list_is_what_the_design_promises() {
        assert_eq!(WORDS.len(), 7776);
        assert!(WORDS.is_sorted());
        let set: HashSet<&str> = WORDS.iter().copied().collect();
        assert_eq!(set.len(), WORDS.len());
        for word in WORDS.iter() {
            assert!((3..=9).contains(&word.len()), "{word}");
            assert!(word.bytes().all(|b| b.is_ascii_lowercase()), "{word}");
            for other in one_edit_away(word) {
                assert!(other == *word || !set.contains(&*other), "{word} and {other}");
            }
        }
    }

    #[test]
    fn words_are_completed_as_far_as_they_are_clear() {
        for (typed, expected) in [
            ("", None),
            ("oc", None),
            ("oce", Some("ocean")),
            ("Oce", Some("ocean")),
            ("ocean", None),
            ("ocean-", None),
            ("ocean-tige", Some("ocean-tiger")),
            ("Ocean tige", Some("Ocean tiger")),
            ("aardvark-oce", Some("aardvark-ocean")),
            ("xyzzy", None),
            ("é", None),
            ("éoce", Some("éocean")),
            ("15820", None),
        ] {
            let completed = Token::complete(typed);
            assert_eq!(completed.as_ref().map(|text| text.as_str()), expected, "{typed}");
        }
        for word in WORDS.iter() {
            for end in 1..word.len() {
                // Whatever is completed stays a beginning of the word.
                let completed = Token::complete(&word[..end]);
                assert!(completed.is_none_or(|completed| word.starts_with(&**completed)), "{word}");
            }
        }
    }

    #[test]
    fn entropy_is_that_of_the_list() {
        for (words, bits) in [(1, "12.9"), (2, "25.8"), (8, "103.4")] {
            assert_eq!(format!("{:.1}", entropy_bits(words)), bits);
        }
    }

    #[test]
    fn generated_tokens_read_back() {
        for words in MIN_WORDS..=MAX_WORDS {
            let token = Token::generate(words).unwrap();
            assert_eq!(token.to_string().split('-').count(), usize::from(words));
            assert_eq!(Token::parse(&token.to_string()).unwrap(), token);
            assert_eq!(token.as_bytes(), token.to_string().as_bytes());
        }
        assert_ne!(Token::generate(8).unwrap(), Token::generate(8).unwrap());
    }

    #[test]
    fn only_sensible_lengths_are_generated() {
        for words in [0, 1, 9, 255] {
            let error = Token::generate(words).unwrap_err();
            assert_eq!(error.message, format!("a token has 2 to 8 words, not {words}"));
            assert_eq!(error.exit(), Exit::Usage);
        }
    }

    #[test]
    fn words_are_drawn_evenly() {
        const EACH: usize = 40;
        let mut rng = StdRng::seed_from_u64(15820);
        let mut counts: HashMap<String, usize> = HashMap::new();
        for _ in 0..WORDS.len() * EACH / 8 {
            for word in Token::draw(&mut rng, 8).to_string().split('-') {
                *counts.entry(word.into()).or_default() += 1;
            }
        }
        assert_eq!(counts.len(), WORDS.len(), "some words never come");
        let expected = EACH as f64;
        let chi_square: f64 =
            counts.values().map(|&count| (count as f64 - expected).powi(2) / expected).sum();
        // Mean 7,775 and standard deviation 125 when uniform; modulo bias on 16 bits gives 8,600.
        assert!((7_275.0..8_275.0).contains(&chi_square), "{chi_square}");
    }

    #[test]
    fn forgiving_forms() {
        let long = format!("ocean{}tiger", " ".repeat(100));
        for text in [
            "ocean-tiger",
            "OCEAN-Tiger",
            "  ocean-tiger\r\n",
            "ocean_tiger",
            "ocean tiger",
            "ocean - tiger",
            "ocean--_ tiger-",
            "ocean\u{a0}tiger",
            "ocean-\ntiger",
            &long,
        ] {
            assert_eq!(Token::parse(text).unwrap().to_string(), "ocean-tiger", "{text:?}");
        }
    }

    #[test]
    fn refusals() {
        let long = "ocean-".repeat(40);
        for (text, message, hint) in [
            (
                "ocaen-tiger",
                r#""ocaen" is not a word of the token list"#,
                r#"did you mean "ocean"?"#,
            ),
            (
                "ocean-tigre",
                r#""tigre" is not a word of the token list"#,
                r#"did you mean "tiger"?"#,
            ),
            (
                "Oceaan-tiger",
                r#""oceaan" is not a word of the token list"#,
                r#"did you mean "ocean"?"#,
            ),
            ("ocn-tiger", r#""ocn" is not a word of the token list"#, CHECK_SCREEN),
            ("ocean-xqzwvk", r#""xqzwvk" is not a word of the token list"#, CHECK_SCREEN),
            (
                "ocean\u{1b}[2J-tiger",
                r#""ocean\u{1b}[2j" is not a word of the token list"#,
                CHECK_SCREEN,
            ),
            ("\u{202e}-tiger", r#""\u{202e}" is not a word of the token list"#, CHECK_SCREEN),
            ("", "a token has 2 to 8 words, not 0", CHECK_SCREEN),
            ("ocean", "a token has 2 to 8 words, not 1", CHECK_SCREEN),
            (&"ocean ".repeat(9), "a token has 2 to 8 words, not 9", CHECK_SCREEN),
            (&long, "a token is never longer than 200 bytes", CHECK_SCREEN),
        ] {
            let error = Token::parse(text).unwrap_err();
            assert_eq!((&*error.message, error.hint.as_deref()), (message, Some(hint)));
            assert_eq!(error.exit(), Exit::Usage);
        }
    }

    #[test]
    fn edits_are_counted() {
        for (a, b, expected) in [
            ("", "", Some(0)),
            ("ocean", "ocean", Some(0)),
            ("ocean", "ocaen", Some(1)),
            ("ocean", "oceans", Some(1)),
            ("ocean", "cean", Some(1)),
            ("ocean", "oxean", Some(1)),
            ("ocean", "nacoe", None),
            ("abcd", "badc", Some(2)),
            ("ocean", "", None),
            ("ca", "abc", None),
        ] {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            assert_eq!(edits(&a, &b, 2), expected, "{a:?} {b:?}");
            assert_eq!(edits(&b, &a, 2), expected, "{b:?} {a:?}");
        }
    }

    #[test]
    fn every_single_typo_finds_a_word_one_edit_away() {
        for word in WORDS.iter().step_by(1500) {
            for typo in one_edit_away(word).iter().step_by(9) {
                let near = nearest(typo).unwrap();
                let (a, b): (Vec<_>, Vec<_>) = (typo.chars().collect(), near.chars().collect());
                assert!(edits(&a, &b, 1).is_some(), "{typo} {near}");
            }
        }
    }

    #[test]
    #[cfg(unix)]
    fn an_agreed_token_is_long_and_nobody_elses() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("token");
        let read = |text: &[u8], mode| {
            // The one before may be for reading only.
            let _ = std::fs::remove_file(&path);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Token::read(&path)
        };
        let long = b"ocean-tiger-ocean-tiger\n";
        assert_eq!(read(long, 0o600).unwrap().to_string(), "ocean-tiger-ocean-tiger");
        assert_eq!(read(long, 0o400).unwrap().to_string(), "ocean-tiger-ocean-tiger");
        for mode in [0o640, 0o604, 0o620, 0o602, 0o644, 0o666] {
            let error = read(long, mode).unwrap_err();
            assert!(error.message.starts_with("others can read "), "{mode:o}: {error}");
            assert!(error.hint.unwrap().starts_with("`chmod 600 "), "{mode:o}");
        }
        for (text, message) in [
            (&b"ocean-tiger-ocean"[..], "a token in a file has at least 4 words, not 3"),
            (b"ocean-tiger-ocean-tigr", "\"tigr\" is not a word of the token list"),
            (b"", "a token has 2 to 8 words, not 0"),
            (&[b'a'; 1000], "a token is never longer than 200 bytes"),
        ] {
            let error = read(text, 0o600).unwrap_err();
            assert_eq!((&*error.message, error.exit()), (message, Exit::Usage));
        }
        read(b"\xff", 0o600).unwrap_err();
        Token::read(&scratch.path().join("missing")).unwrap_err();
        Token::read(scratch.path()).unwrap_err();
    }

    #[test]
    fn debug_hides_the_secret() {
        assert_eq!(format!("{:?}", Token::parse("ocean-tiger").unwrap()), "Token(hidden)");
    }
}
