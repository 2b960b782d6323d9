//! `--exclude`: which names stay behind.
//!
//! The meaning is that of a `.gitignore` line, since that is what people know: a name anywhere in
//! the tree, or with a slash a path, here the path under which it would arrive. Nothing is taken
//! back (`!`): an order among options would be one more thing to know.

use std::path::{self, Path};

use globset::{Candidate, Glob, GlobBuilder, GlobSet};

use crate::error::{Error, Result, shown};

/// One pattern, checked.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// As it was typed.
    text: String,
    glob: Glob,
    /// Written with a slash at its end.
    folders_only: bool,
}

impl Pattern {
    /// The same for what may be no text, which no pattern is.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn of_bytes(text: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(text);
        Self::parse(text.map_err(|_| "it is not UTF-8; write \"?\" for each byte that is not")?)
    }

    /// Checks what was typed. Upper and lower case are two, as in a shell, except on Windows.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('!') {
            return Err(
                "nothing is taken back with \"!\"; write \"?\" for a name that begins so".into()
            );
        }
        let typed = text.strip_prefix("./").unwrap_or(text);
        let path = typed.trim_end_matches(path::is_separator);
        let from_the_top = path.trim_start_matches(path::is_separator);
        if from_the_top.is_empty() {
            return Err("it is empty".into());
        }
        let anywhere = !path.contains(path::is_separator);
        let glob = if anywhere { format!("**/{path}") } else { from_the_top.into() };
        let glob = GlobBuilder::new(&glob)
            .literal_separator(true)
            .case_insensitive(cfg!(windows))
            .build()
            .map_err(|error| error.kind().to_string())?;
        Ok(Self { text: text.into(), glob, folders_only: path.len() < typed.len() })
    }
}

/// All patterns of one command line.
#[derive(Debug, Clone)]
pub struct Excludes {
    set: GlobSet,
    patterns: Vec<Pattern>,
}

impl Excludes {
    /// Puts `patterns` together, so that a name is compared with all of them at once.
    ///
    /// # Errors
    /// Together they are too large.
    pub fn new(patterns: &[Pattern]) -> Result<Self> {
        let set = GlobSet::new(patterns.iter().map(|pattern| &pattern.glob)).map_err(|error| {
            Error::usage(format!("cannot use the patterns of --exclude: {}", error.kind()))
                .hint("use fewer or shorter ones")
        })?;
        Ok(Self { set, patterns: patterns.into() })
    }

    /// Whether something stays behind that would arrive as `path`; marks in `used`, by index,
    /// the patterns that say so.
    pub fn matches(&self, path: &Path, is_folder: bool, used: &mut [bool]) -> bool {
        let mut matched = false;
        for index in self.set.matches_candidate(&Candidate::new(path)) {
            if self.patterns.get(index).is_some_and(|it| is_folder || !it.folders_only) {
                matched = true;
                used.iter_mut().skip(index).take(1).for_each(|used| *used = true);
            }
        }
        matched
    }

    /// The patterns as they were typed, made safe to show.
    pub fn texts(&self) -> impl ExactSizeIterator<Item = String> {
        self.patterns.iter().map(|pattern| shown(&pattern.text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_a_gitignore() {
        // A pattern, a path (with a slash at its end: a folder), whether it stays behind.
        let cases = [
            ("*.log", "a.log", true),
            ("*.log", "p/deep/er/a.log", true),
            ("*.log", "p/a.log.txt", false),
            ("*.log", "p/.log", true),
            ("*", "p/anything", true),
            ("node_modules", "p/node_modules/", true),
            ("node_modules", "p/x/node_modules", true),
            ("node_modules", "p/my_node_modules/", false),
            ("build/", "p/build/", true),
            ("build/", "p/build", false),
            ("build/", "build/", true),
            ("p/raw", "p/raw", true),
            ("p/raw", "q/p/raw", false),
            ("p/raw/**", "p/raw/x/y", true),
            ("p/raw/**", "p/raw/", false),
            ("p/raw/", "p/raw/", true),
            ("p/*.jpg", "p/a.jpg", true),
            ("p/*.jpg", "p/sub/a.jpg", false),
            ("p/**/*.jpg", "p/a.jpg", true),
            ("p/**/*.jpg", "p/x/y/a.jpg", true),
            ("**/x/*.c", "p/q/x/a.c", true),
            ("**/x/*.c", "p/q/x/y/a.c", false),
            ("/p", "p/", true),
            ("/p", "q/p/", false),
            ("./p/raw", "p/raw", true),
            ("./name", "p/name", true),
            // In bytes, as for git: this letter has two.
            ("?", "p/é", false),
            ("??", "p/é", true),
            ("?.txt", "p/ab.txt", false),
            ("[a-c]1", "p/b1", true),
            ("[!a-c]1", "p/b1", false),
            ("*.{jpg,png}", "p/a.png", true),
            ("two words", "p/two words", true),
        ];
        for (pattern, path, expected) in cases {
            let excludes = Excludes::new(&[Pattern::parse(pattern).unwrap()]).unwrap();
            let (name, is_folder) = (path.trim_end_matches('/'), path.ends_with('/'));
            let mut used = [false];
            let matched = excludes.matches(Path::new(name), is_folder, &mut used);
            assert_eq!((matched, used), (expected, [expected]), "{pattern} {path}");
        }
    }

    #[test]
    fn case_matters_where_the_shell_says_so() {
        let excludes = Excludes::new(&[Pattern::parse("*.JPG").unwrap()]).unwrap();
        assert!(excludes.matches(Path::new("p/a.JPG"), false, &mut [false]));
        let other = excludes.matches(Path::new("p/a.jpg"), false, &mut [false]);
        assert_eq!(other, cfg!(windows));
    }

    #[test]
    fn every_pattern_that_matches_is_marked() {
        let patterns = ["*.o", "x/", "a.*", "p/**"].map(|text| Pattern::parse(text).unwrap());
        let excludes = Excludes::new(&patterns).unwrap();
        let mut used = [false; 4];
        assert!(excludes.matches(Path::new("p/a.o"), false, &mut used));
        assert_eq!(used, [true, false, true, true]);
    }

    #[test]
    fn bad_patterns_say_why() {
        let cases = [
            ("", "it is empty"),
            ("/", "it is empty"),
            ("./", "it is empty"),
            ("[a", "unclosed character class; missing ']'"),
            ("p/[z-a]", "invalid range; 'z' > 'a'"),
            ("{a,b", "unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)"),
            ("!keep", "nothing is taken back with \"!\"; write \"?\" for a name that begins so"),
        ];
        for (pattern, why) in cases {
            assert_eq!(Pattern::parse(pattern).unwrap_err(), why, "{pattern:?}");
        }
    }
}
