//! The answers that a user has kept: `transfer/config.toml` in the user's folder for such files.
//! Each key is also a flag of the command line, and the flag comes first.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use serde::Deserialize;

use crate::error::{Error, Result, reason, shown, shown_os};

/// What the file may say.
pub const KEYS: [&str; 3] = ["exclude-dev", "compress", "on-conflict"];

/// No file of three lines is longer; what is (a device, say) is not read to its end.
const MAX_FILE: u64 = 64 << 10;

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Whether developer folders stay behind.
    pub exclude_dev: Option<bool>,
    /// Which compression to try.
    pub compress: Option<Compress>,
    /// What to do about names that are taken.
    pub on_conflict: Option<Conflicts>,
}

/// The values of `--compress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the values")]
pub enum Compress {
    Auto,
    Lz4,
    Blosc,
    None,
}

impl Compress {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Lz4, Self::Blosc, Self::None];

    /// As the flag has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Lz4 => "lz4",
            Self::Blosc => "blosc",
            Self::None => "none",
        }
    }
}

/// The values of `--on-conflict`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the values")]
pub enum Conflicts {
    Ask,
    Rename,
    Skip,
    Overwrite,
    Newer,
    Fail,
}

impl Conflicts {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Ask, Self::Rename, Self::Skip, Self::Overwrite, Self::Newer, Self::Fail];

    /// As the flag has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Rename => "rename",
            Self::Skip => "skip",
            Self::Overwrite => "overwrite",
            Self::Newer => "newer",
            Self::Fail => "fail",
        }
    }
}

/// The variable that names a user's home.
pub const HOME: &str = if cfg!(windows) { "USERPROFILE" } else { "HOME" };

/// Names another folder for what this program keeps of its user.
pub const FOLDER: &str = "TRANSFER_CONFIG";

/// The folder of what this program keeps of its user; nothing where the user has no home.
pub fn folder() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(FOLDER).filter(|folder| !folder.is_empty()) {
        return Some(folder.into());
    }
    let base = etcetera::choose_base_strategy().ok()?;
    // Keys are of this machine, and part of Windows' profiles goes along to others.
    let folder = if cfg!(windows) { base.cache_dir() } else { base.config_dir() };
    Some(folder.join("transfer"))
}

/// Where the file is or would be; nothing where the user has no home.
pub fn path() -> Option<PathBuf> {
    Some(folder()?.join("config.toml"))
}

/// The path for people: the home folder as `~`.
pub fn shown_path(path: &Path) -> String {
    // Windows' shells do not know a `~`.
    let home = etcetera::home_dir().ok().filter(|_| !cfg!(windows));
    let inside = home.and_then(|home| path.strip_prefix(home).ok());
    let path = inside.map_or_else(|| path.to_owned(), |inside| Path::new("~").join(inside));
    shown_os(&path).into_owned()
}

impl Config {
    /// What the user has kept; nothing where there is no file.
    ///
    /// # Errors
    /// What is wrong with the file, of which nothing counts then.
    pub fn load() -> Result<Self> {
        let Some(path) = path() else { return Ok(Self::default()) };
        match read(&path)? {
            Some(text) => Self::parse(&text).map_err(|why| broken(&path, &why)),
            None => Ok(Self::default()),
        }
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// What is wrong, in words, with the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            format!("line {line}: {}", error.message().replace('\n', " "))
        })
    }

    /// What it says, as in the file: `compress = "auto"`.
    pub fn lines(&self) -> Vec<String> {
        let [exclude_dev, compress, on_conflict] = KEYS;
        let mut lines = vec![];
        lines.extend(self.exclude_dev.map(|yes| format!("{exclude_dev} = {yes}")));
        lines.extend(self.compress.map(|how| format!("{compress} = \"{}\"", how.name())));
        lines.extend(self.on_conflict.map(|how| format!("{on_conflict} = \"{}\"", how.name())));
        lines
    }
}

/// Keeps a line, such as `compress = "auto"`, in the place of one with the same key. Returns the
/// file.
///
/// # Errors
/// When the file cannot be read, understood or written.
pub fn keep(line: &str) -> Result<PathBuf> {
    let path = path().ok_or_else(|| {
        Error::failure("where your own files are is not known")
            .hint(format!("set {HOME}, or answer with a flag"))
    })?;
    let kept =
        with_line(&read(&path)?.unwrap_or_default(), line).map_err(|why| broken(&path, &why))?;
    let cannot = |error: std::io::Error| {
        Error::failure(format!("cannot write \"{}\": {}", shown_path(&path), reason(&error)))
            .hint("is it your own? a flag answers as well")
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(cannot)?;
    }
    // In place: it may be a link into somebody's collection of such files.
    fs::write(&path, kept).map_err(cannot)?;
    Ok(path)
}

/// A text with a line more or another one; what else is in it stays.
fn with_line(text: &str, line: &str) -> Result<String, String> {
    Config::parse(text)?;
    let key = |line: &str| {
        let key = line.split('=').next().unwrap_or_default().trim();
        key.trim_matches(['"', '\'']).to_owned()
    };
    let mut kept: Vec<&str> = text.lines().filter(|old| key(old) != key(line)).collect();
    kept.push(line);
    let kept = kept.join("\n") + "\n";
    Config::parse(&kept)?;
    Ok(kept)
}

/// The text of the file; nothing where there is none.
fn read(path: &Path) -> Result<Option<String>> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
    match read {
        Ok(_) if text.len() as u64 > MAX_FILE => {
            Err(broken(path, &format!("it is longer than {MAX_FILE} bytes")))
        }
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(broken(path, &reason(&error))),
    }
}

fn broken(path: &Path, why: &str) -> Error {
    Error::usage(format!("\"{}\" does not count, {}", shown_path(path), shown(why)))
        .hint(format!("it may have the keys {}; each is a flag too", KEYS.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_says() {
        let kept = Config::parse("# mine\nexclude-dev = true\ncompress = \"auto\"\n").unwrap();
        assert_eq!(kept.exclude_dev, Some(true));
        assert_eq!(kept.lines(), ["exclude-dev = true", "compress = \"auto\""]);
        assert_eq!(Config::parse(""), Ok(Config::default()));
        for how in Compress::ALL {
            let text = format!("compress = '{}'", how.name());
            assert_eq!(Config::parse(&text).unwrap().compress, Some(how));
        }
        for how in Conflicts::ALL {
            let text = format!("on-conflict = '{}'", how.name());
            assert_eq!(Config::parse(&text).unwrap().on_conflict, Some(how));
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, part) in [
            ("\ncolour = 1", "line 2: unknown field `colour`"),
            ("exclude-dev = 'yes'", "line 1: invalid type: string \"yes\", expected a boolean"),
            ("compress = 'zip'", "line 1: unknown variant `zip`"),
            ("compress", "line 1: "),
            ("exclude-dev = true\nexclude-dev = true", "line 2: duplicate key"),
            ("[a]\n", "line 1: unknown field `a`"),
            (&"[".repeat(10_000), "line 1: "),
            ("\u{0}", "line 1: "),
        ] {
            let why = Config::parse(text).unwrap_err();
            assert!(why.starts_with(part), "{why}");
            assert!(!why.contains('\n'), "{why}");
        }
    }

    #[test]
    fn a_line_is_kept_and_the_rest_stays() {
        for (text, expected) in [
            ("", "compress = \"lz4\"\n"),
            ("# mine\n\nexclude-dev = true", "# mine\n\nexclude-dev = true\ncompress = \"lz4\"\n"),
            (
                "compress='auto' # fast\nexclude-dev = true\n",
                "exclude-dev = true\ncompress = \"lz4\"\n",
            ),
            ("\"compress\" = 'auto'\n", "compress = \"lz4\"\n"),
        ] {
            assert_eq!(with_line(text, "compress = \"lz4\"").unwrap(), expected);
        }
        with_line("colour = 1", "compress = \"lz4\"").unwrap_err();
        with_line("", "compress = \"zip\"").unwrap_err();
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_what_is_not_there_is_none() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("config.toml");
        assert_eq!(read(&path).unwrap(), None);
        assert!(read(scratch.path()).unwrap_err().message.contains("does not count, "));
        fs::write(&path, [0xff, 0xfe]).unwrap();
        read(&path).unwrap_err();
        fs::write(&path, " ".repeat(70_000)).unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.message.ends_with("it is longer than 65536 bytes"), "{error}");
    }
}
