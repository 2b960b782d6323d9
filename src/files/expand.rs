//! Patterns among the paths that no shell has expanded: quoted ones, and all of them on Windows.
//!
//! The rules are those of a shell. `*`, `?`, `[…]` and with them `{a,b}` stand within one name
//! and pass over hidden names unless they begin with a dot; `**/` is any number of folders, and
//! does not follow links, which may go in circles. Only `?` and `[…]` count bytes, as everywhere
//! in this program ([`super::exclude`]).

use std::ffi::OsStr;
use std::fs;
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use walkdir::WalkDir;

use crate::error::{Error, Result, shown_os};

/// The paths, with each pattern replaced by what it matches, in the order of bytes. A path that
/// exists is meant as it stands, whatever is in its name; so is one that is no valid pattern.
///
/// # Errors
/// A pattern that matches nothing.
pub fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut expanded = Vec::with_capacity(paths.len());
    for path in paths {
        let is_pattern = has_magic(path.as_os_str()) && path.symlink_metadata().is_err();
        let Some(mut found) = is_pattern.then(|| matches(path)).flatten() else {
            expanded.push(path.clone());
            continue;
        };
        if found.is_empty() {
            let pattern = shown_os(path);
            return Err(Error::usage(format!("nothing matches \"{}\"", pattern))
                .hint("check the pattern, and the folder you are in"));
        }
        expanded.append(&mut found);
    }
    Ok(expanded)
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn has_magic(text: &OsStr) -> bool {
    text.as_encoded_bytes().iter().any(|byte| b"*?[".contains(byte))
}

/// What a pattern matches; nothing if it is not a valid one. A name in it that is a pattern has to
/// be UTF-8, the others need not.
fn matches(pattern: &Path) -> Option<Vec<PathBuf>> {
    let (mut found, mut is_literal) = (vec![PathBuf::new()], true);
    let mut parts = pattern.components().peekable();
    while let Some(part) = parts.next() {
        match part {
            // At the end it is a plain `*`, as in most shells: folders are sent whole anyway.
            Component::Normal(name) if name == "**" && parts.peek().is_some() => {
                is_literal = false;
                found = found.iter().flat_map(|folder| folders_below(folder)).collect();
            }
            // A folder that exists, before any pattern, is meant as it stands: `photos [2020]/*`.
            Component::Normal(name)
                if has_magic(name)
                    && !(is_literal && found.iter().all(|it| is_there(&it.join(name)))) =>
            {
                is_literal = false;
                // On Windows everything has a dot to a pattern.
                let name = if cfg!(windows) && name == "*.*" { OsStr::new("*") } else { name };
                let glob = GlobBuilder::new(name.to_str()?).case_insensitive(cfg!(windows)).build();
                let (glob, hidden) = (glob.ok()?.compile_matcher(), starts_with_dot(name));
                found = found.iter().flat_map(|it| names_in(it, &glob, hidden)).collect();
            }
            literal => found.iter_mut().for_each(|path| path.push(literal)),
        }
    }
    // What stands behind the last pattern has not been looked for yet.
    found.retain(|path| is_there(path));
    let last = pattern.as_os_str().as_encoded_bytes().last();
    if last.is_some_and(|last| std::path::is_separator(char::from(*last))) {
        found.retain(|path| path.is_dir());
    }
    found.sort_unstable();
    found.dedup();
    Some(found)
}

/// What in `folder` has a matching name; nothing if it cannot be read.
fn names_in(folder: &Path, glob: &GlobMatcher, hidden: bool) -> Vec<PathBuf> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let names = fs::read_dir(here).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let names = names.filter(|name| (hidden || !starts_with_dot(name)) && glob.is_match(name));
    names.map(|name| folder.join(name)).collect()
}

/// `folder`, and all folders below that are not hidden.
fn folders_below(folder: &Path) -> Vec<PathBuf> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let walk = WalkDir::new(here).into_iter();
    let walk = walk.filter_entry(|entry| {
        entry.file_type().is_dir() && (entry.depth() == 0 || !starts_with_dot(entry.file_name()))
    });
    let below = walk.flatten().map(|entry| entry.into_path());
    below.map(|path| path.strip_prefix("./").map(Path::to_owned).unwrap_or(path)).collect()
}

fn starts_with_dot(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "a.jpg",
            "b.jpg",
            ".hidden.jpg",
            "[x]",
            "[y",
            "d/c.jpg",
            "d/e/f.jpg",
            "d/e/g.png",
            "d/.h/i.jpg",
            "two words/j.jpg",
            "p [20]/k.jpg",
            "p 2/l.jpg",
        ] {
            let file = dir.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "x").unwrap();
        }
        dir
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        let dir = tree();
        let cases: &[(&str, &[&str])] = &[
            ("*.jpg", &["a.jpg", "b.jpg"]),
            (".*.jpg", &[".hidden.jpg"]),
            ("?.jpg", &["a.jpg", "b.jpg"]),
            ("[!a].jpg", &["b.jpg"]),
            ("d/*", &["d/c.jpg", "d/e"]),
            ("d/**", &["d/c.jpg", "d/e"]),
            ("*/", &["d", "p 2", "p [20]", "two words"]),
            ("*/e/*.{jpg,png}", &["d/e/f.jpg", "d/e/g.png"]),
            (
                "**/*.jpg",
                &[
                    "a.jpg",
                    "b.jpg",
                    "d/c.jpg",
                    "d/e/f.jpg",
                    "p 2/l.jpg",
                    "p [20]/k.jpg",
                    "two words/j.jpg",
                ],
            ),
            ("**/**/f*", &["d/e/f.jpg"]),
            ("d/**/e", &["d/e"]),
            ("t*/../d/c*", &["two words/../d/c.jpg"]),
            // Names that exist are no patterns.
            ("[x]", &["[x]"]),
            ("[y", &["[y"]),
            ("p [20]/*", &["p [20]/k.jpg"]),
            ("p [20]/k.jpg", &["p [20]/k.jpg"]),
            ("p [12]/*", &["p 2/l.jpg"]),
            ("p*/[kl].jpg", &["p 2/l.jpg", "p [20]/k.jpg"]),
        ];
        for (pattern, expected) in cases {
            let found = expand(&[dir.path().join(pattern)]).unwrap();
            let mut expected: Vec<_> = expected.iter().map(|path| dir.path().join(path)).collect();
            expected.sort();
            assert_eq!(found, expected, "{pattern}");
        }
    }

    #[test]
    fn patterns_that_match_nothing_are_named() {
        let dir = tree();
        for pattern in ["*.jgp", "a.jpg/*", "*.jpg/", "d*/nothing", "**/nothing"] {
            let pattern = dir.path().join(pattern);
            let error = expand(std::slice::from_ref(&pattern)).unwrap_err();
            assert_eq!(error.exit(), crate::error::Exit::Usage, "{error}");
            assert_eq!(error.message, format!("nothing matches \"{}\"", pattern.display()));
        }
        // No patterns: told later, as any path that does not exist.
        for path in ["nope", "nope[", "nope[1/*"] {
            assert_eq!(expand(&[path.into()]).unwrap(), [PathBuf::from(path)]);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn folders_around_a_pattern_need_not_be_text() {
        let dir = tempfile::tempdir().unwrap();
        let name = |bytes| dir.path().join(super::super::path::native(bytes).unwrap());
        fs::create_dir_all(name(b"t/d\xe9/s1")).unwrap();
        fs::create_dir_all(name(b"t/d\xe9/s2/\xff")).unwrap();
        for (pattern, expected) in [
            (&b"t/d\xe9/s*"[..], &[&b"t/d\xe9/s1"[..], b"t/d\xe9/s2"][..]),
            (b"t/??/s2/?/", &[b"t/d\xe9/s2/\xff"]),
            (b"t/**/\xff", &[b"t/d\xe9/s2/\xff"]),
            // No pattern, then: told later, as any path that does not exist.
            (b"t/\xe9*", &[b"t/\xe9*"]),
        ] {
            let expected: Vec<_> = expected.iter().map(|it| name(it)).collect();
            assert_eq!(expand(&[name(pattern)]).unwrap(), expected);
        }
        let error = expand(&[name(b"t/d\xe9/x*")]).unwrap_err();
        assert!(error.message.ends_with("t/d\\xe9/x*\""), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn two_stars_do_not_follow_links() {
        let dir = tree();
        for link in ["d/up", "d/again"] {
            std::os::unix::fs::symlink("..", dir.path().join(link)).unwrap();
        }
        let found = expand(&[dir.path().join("**/c.jpg")]).unwrap();
        assert_eq!(found, [dir.path().join("d/c.jpg")]);
        // One that is matched by name is.
        let found = expand(&[dir.path().join("d/u*/a.jpg")]).unwrap();
        assert_eq!(found, [dir.path().join("d/up/a.jpg")]);
    }
}
