//! Completions for shells, and setting them and the man page up for the user who asks.
//!
//! Both come from the definition of the command line, so they never tell of an option that is not
//! there. Every file that is made says so in its first lines; one that does not is never replaced.

mod mended;

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command, ValueHint};
use clap_complete::Shell;

use self::mended::{mended, without_hidden};
use crate::error::{Error, Exit, Result, reason, shown_os};
use crate::manual::{self, MARK};
use crate::shown::quoted;
use crate::ui::Ui;

/// What to do; resolved from the command line.
#[derive(Debug, Clone, Copy)]
pub struct CompletionsOptions {
    /// For which shell; nothing for the one this runs in.
    pub shell: Option<Shell>,
    /// Write them where the shell looks for them, instead of printing them.
    pub install: bool,
}

/// Runs `transfer completions`.
pub fn run(options: CompletionsOptions, command: Command, ui: &Ui) -> Result<Exit> {
    let running = || running_shell(parent_name(), env::var_os("SHELL"));
    let shell = options.shell.or_else(running).ok_or_else(|| {
        Error::usage("which shell this is cannot be told")
            .hint("name it: `transfer completions bash`")
    })?;
    if options.install {
        install(shell, &Folders::of_user(|name| env::var_os(name))?, command, ui)?;
    } else {
        ui.print(&script(shell, command))?;
    }
    Ok(Exit::Done)
}

/// The completions of a shell, ready to be read by it.
fn script(shell: Shell, command: Command) -> String {
    let mut script = vec![];
    let mut command = command.mut_subcommands(|subcommand| {
        subcommand.mut_args(told).mut_subcommands(|inner| inner.mut_args(told))
    });
    clap_complete::generate(shell, &mut command, "transfer", &mut script);
    let known: Vec<String> = command
        .get_subcommands()
        .flat_map(|it| std::iter::once(it.get_name()).chain(it.get_all_aliases()))
        .map(str::to_owned)
        .collect();
    let hidden = command.get_subcommands().flat_map(Command::get_arguments);
    let hidden = hidden.filter(|arg| arg.is_hide_set()).filter_map(Arg::get_long);
    let hidden: BTreeSet<&str> = hidden.collect();
    let hidden: Vec<&str> = hidden.into_iter().collect();
    let script = without_hidden(shell, String::from_utf8_lossy(&script).into_owned(), &hidden);
    let script = mended(shell, script, &known);
    let mark = format!("# transfer {}: {MARK}\n", env!("CARGO_PKG_VERSION"));
    match script.split_once('\n') {
        // Zsh looks for it in the first line.
        Some((first, rest)) if first.starts_with("#compdef") => format!("{first}\n{mark}{rest}"),
        _ => mark + &script,
    }
}

/// An argument, with what shells need to know besides.
fn told(arg: Arg) -> Arg {
    let names = arg.get_value_names().unwrap_or_default();
    let hint = match names.first().map(|name| name.as_str()) {
        Some("DIR" | "PLACE") => ValueHint::DirPath,
        Some("FILE") => ValueHint::FilePath,
        Some("PATHS") => ValueHint::AnyPath,
        // One ticket, though its words may stand apart.
        Some(_) if arg.is_positional() => {
            return arg.num_args(1).action(ArgAction::Set).value_hint(ValueHint::Other);
        }
        Some(_) if arg.get_action().takes_values() => ValueHint::Other,
        _ => return arg,
    };
    arg.value_hint(hint)
}

/// The shell that started this, else the user's usual one.
fn running_shell(parent: Option<String>, usual: Option<OsString>) -> Option<Shell> {
    let known = |name: &Path| match name.file_stem()?.to_str()? {
        "pwsh" => Some(Shell::PowerShell),
        name => Shell::from_shell_path(name.trim_start_matches('-')),
    };
    let windows = cfg!(windows).then_some(Shell::PowerShell);
    parent
        .and_then(|name| known(name.trim().as_ref()))
        .or(known(usual.unwrap_or_default().as_ref()))
        .or(windows)
}

/// The name of the program that started this one, as far as the system tells.
#[cfg(target_os = "linux")]
fn parent_name() -> Option<String> {
    fs::read_to_string(format!("/proc/{}/comm", std::os::unix::process::parent_id())).ok()
}

/// The name of the program that started this one: not known here.
#[cfg(not(target_os = "linux"))]
fn parent_name() -> Option<String> {
    None
}

/// Where the user's files are.
#[derive(Debug, PartialEq, Eq)]
struct Folders {
    home: PathBuf,
    data: PathBuf,
    config: PathBuf,
    /// Zsh's own.
    zsh: PathBuf,
    /// Of the package bash-completion.
    bash: PathBuf,
}

impl Folders {
    /// As the XDG Base Directory Specification has it: relative paths do not count.
    fn of_user(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let set = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = set("HOME").or_else(|| set("USERPROFILE")).ok_or_else(|| {
            Error::failure("where your own files are is not known")
                .hint("set HOME, or print the completions and save them yourself")
        })?;
        let local = || if cfg!(windows) { set("LOCALAPPDATA") } else { None };
        let data = set("XDG_DATA_HOME").or_else(local).unwrap_or_else(|| home.join(".local/share"));
        Ok(Self {
            config: set("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")),
            zsh: set("ZDOTDIR").unwrap_or_else(|| home.clone()),
            bash: set("BASH_COMPLETION_USER_DIR").unwrap_or_else(|| data.join("bash-completion")),
            data,
            home,
        })
    }

    /// Where a shell looks for completions, or can be told to.
    fn completions(&self, shell: Shell) -> PathBuf {
        match shell {
            Shell::Bash => self.bash.join("completions/transfer"),
            Shell::Zsh => self.data.join("zsh/site-functions/_transfer"),
            Shell::Fish => self.config.join("fish/completions/transfer.fish"),
            Shell::Elvish => self.data.join("elvish/lib/transfer-completions.elv"),
            _ => self.data.join("transfer/completions.ps1"),
        }
    }

    /// Where `man` finds it, if it looks in the user's own folder.
    fn manual(&self) -> PathBuf {
        self.data.join("man/man1/transfer.1")
    }
}

/// What became of a file that was to be written.
#[derive(Debug, PartialEq, Eq)]
enum Put {
    New,
    Replaced,
    Same,
}

/// Writes completions and man page, and says what is left to do. What is somebody else's is left
/// alone, and told at the end: the rest is done all the same.
fn install(shell: Shell, folders: &Folders, command: Command, ui: &Ui) -> Result<()> {
    let mut files = vec![(folders.completions(shell), script(shell, command.clone()))];
    if !cfg!(windows) {
        files.push((folders.manual(), manual::page(command)));
    }
    let mut failed = None;
    for (path, content) in &files {
        let name = shown_os(path);
        match put(path, content) {
            Ok(Put::New) => ui.note(&format!("written: {}", name)),
            Ok(Put::Replaced) => ui.note(&format!("brought up to date: {}", name)),
            Ok(Put::Same) => ui.note(&format!("up to date already: {}", name)),
            Err(error) => {
                if let Some(before) = failed.replace(error) {
                    ui.error(&before);
                }
            }
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    for line in left_to_do(shell, folders, |name| env::var_os(name)) {
        ui.note(&line);
    }
    Ok(())
}

/// Writes a file unless one is there that was not made here.
fn put(path: &Path, content: &str) -> Result<Put> {
    let name = shown_os(path);
    let cannot = |error: std::io::Error| {
        Error::failure(format!("cannot write \"{}\": {}", name, reason(&error)))
            .hint("is it your own? `transfer completions SHELL` prints what would be in it")
    };
    let existing = match fs::read(path) {
        Ok(existing) => Some(existing),
        // A link that leads nowhere is not ours either.
        Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => None,
        Err(error) => return Err(cannot(error)),
    };
    let put = match existing {
        None => Put::New,
        Some(existing) if existing == content.as_bytes() => return Ok(Put::Same),
        Some(existing) if is_ours(&existing) => Put::Replaced,
        Some(_) => {
            let message = format!("\"{}\" was not made by transfer, and stays", name);
            return Err(Error::failure(message).hint("move it away, then run this again"));
        }
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(cannot)?;
    }
    fs::write(path, content).map_err(cannot)?;
    Ok(put)
}

/// The mark is in one of the first lines.
fn is_ours(content: &[u8]) -> bool {
    let start = content.get(..400).unwrap_or(content);
    String::from_utf8_lossy(start).lines().take(3).any(|line| line.contains(MARK))
}

/// What the user has to add to a file of their own, if anything.
fn left_to_do(
    shell: Shell,
    folders: &Folders,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Vec<String> {
    let completions = quoted(&folders.completions(shell));
    let manual = quoted(&folders.data.join("man"));
    // The files that such lines are in; the user's own is the first.
    let files: &[PathBuf] = match shell {
        Shell::Bash => {
            &[folders.home.join(".bashrc"), "/etc/bash.bashrc".into(), "/etc/bashrc".into()]
        }
        Shell::Zsh => &[folders.zsh.join(".zshrc")],
        Shell::Fish => &[folders.config.join("fish/config.fish")],
        Shell::Elvish => &[folders.config.join("elvish/rc.elv")],
        _ => &[],
    };
    // Each with a part that tells that something does the same already.
    let mut lines = match shell {
        // The package of this name looks there by itself.
        Shell::Bash => vec![(format!("source {completions}"), "bash_completion")],
        Shell::Zsh => {
            let folder = quoted(&folders.data.join("zsh/site-functions"));
            vec![
                (format!("fpath=({folder} $fpath) # before compinit"), "zsh/site-functions"),
                ("autoload -Uz compinit && compinit".into(), "compinit"),
            ]
        }
        Shell::Elvish => vec![("use transfer-completions".into(), "transfer-completions")],
        Shell::PowerShell => vec![(format!(". {completions}"), "transfer")],
        _ => vec![],
    };
    let finds_manual = cfg!(windows) || man_looks_in(&folders.data.join("man"), variable);
    if !finds_manual {
        match shell {
            Shell::Bash | Shell::Zsh => {
                lines.push((format!("export MANPATH={manual}:$MANPATH"), "share/man"));
            }
            Shell::Fish => {
                lines.push((format!("set -gx MANPATH {manual} $MANPATH ''"), "share/man"))
            }
            _ => {}
        }
    }
    let is_there = |part: &str| files.iter().any(|file| mentions(file, part));
    let missing = lines.iter().filter(|(line, part)| !is_there(line) && !is_there(part));
    let missing: Vec<String> = missing.map(|(line, _)| format!("  {line}")).collect();
    if missing.is_empty() {
        return vec!["nothing else is needed: open a new shell".into()];
    }
    let file = match files.first() {
        Some(file) => shown_os(file).into_owned(),
        None => "the file that $PROFILE names".into(),
    };
    let mut left = [vec![format!("for new shells to find them, add to {file}:")], missing].concat();
    if cfg!(windows) && shell == Shell::PowerShell {
        left.push("and if PowerShell then says that running scripts is disabled, once:".into());
        left.push("  Set-ExecutionPolicy -Scope CurrentUser RemoteSigned".into());
    }
    left
}

/// Whether a line of a file, comments apart, has this in it.
fn mentions(file: &Path, part: &str) -> bool {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().any(|line| !line.trim_start().starts_with('#') && line.contains(part))
}

/// Whether `man` finds what is in this folder: it was told to, or the folder is beside one of the
/// programs'.
fn man_looks_in(folder: &Path, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let paths = |name| {
        let paths = variable(name).unwrap_or_default();
        env::split_paths(&paths).collect::<Vec<_>>()
    };
    let beside = |bin: &PathBuf| bin.parent().map(|parent| parent.join("share/man"));
    paths("MANPATH").iter().any(|path| path == folder)
        || paths("PATH").iter().filter_map(beside).any(|path| path == folder)
}

#[cfg(test)]
#[cfg_attr(not(unix), allow(unused, reason = "most shells are for Unix alone"))]
mod tests {
    use clap::{CommandFactory, ValueEnum};

    use super::*;
    use crate::cli::Cli;

    const SHELLS: [Shell; 5] =
        [Shell::Bash, Shell::Elvish, Shell::Fish, Shell::PowerShell, Shell::Zsh];

    #[test]
    fn every_shell_has_a_script_and_it_says_whose_it_is() {
        assert_eq!(Shell::value_variants(), SHELLS);
        for shell in SHELLS {
            let script = script(shell, Cli::command());
            assert!(is_ours(script.as_bytes()), "{shell}");
            for option in ["on-conflict", "exclude-dev", "compress"] {
                assert!(script.contains(option), "{shell}: {option}");
            }
        }
        assert!(script(Shell::Zsh, Cli::command()).starts_with("#compdef transfer\n"));
        assert!(is_ours(manual::page(Cli::command()).as_bytes()));
        for other in ["", "#compdef transfer\n_arguments", "\n\n\n# made by `transfer completions`"]
        {
            assert!(!is_ours(other.as_bytes()), "{other:?}");
        }
    }

    /// It would offer them like all others.
    #[test]
    fn options_that_are_hidden_are_not_offered() {
        for shell in Shell::value_variants() {
            let script = script(*shell, Cli::command());
            assert!(!script.contains("--without") && !script.contains("-l without"), "{shell}");
            for kept in ["log-file", "on-conflict", "exclude-dev"] {
                let is_kept =
                    script.contains(&format!("--{kept}")) || script.contains(&format!("-l {kept}"));
                assert!(is_kept, "{shell} {kept}");
            }
        }
    }

    /// clap_complete puts these texts between quotes of the shells, and escapes none.
    #[test]
    fn no_help_of_a_value_breaks_out_of_its_quotes() {
        for subcommand in Cli::command().get_subcommands() {
            for value in subcommand.get_arguments().flat_map(|arg| arg.get_possible_values()) {
                let help = value.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(!help.contains(['"', '\'', '`', '$', '\\']), "{help}");
            }
        }
    }

    #[test]
    fn the_running_shell() {
        for (parent, usual, expected) in [
            (Some("zsh\n"), "/bin/bash", Some(Shell::Zsh)),
            (Some("-bash\n"), "", Some(Shell::Bash)),
            (Some("pwsh"), "/bin/bash", Some(Shell::PowerShell)),
            (Some("make\n"), "/usr/local/bin/fish", Some(Shell::Fish)),
            (None, "/bin/elvish", Some(Shell::Elvish)),
            (Some("sh\n"), "/bin/sh", None),
            (None, "", None),
        ] {
            let expected = expected.or(cfg!(windows).then_some(Shell::PowerShell));
            let found = running_shell(parent.map(Into::into), Some(usual.into()));
            assert_eq!(found, expected, "{parent:?} {usual:?}");
        }
    }

    /// The folders when these variables are set.
    fn folders(variables: &[(&str, &str)]) -> Result<Folders> {
        Folders::of_user(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| value.into())
        })
    }

    #[test]
    #[cfg(unix)]
    fn files_go_where_the_specification_says() {
        let plain = folders(&[("HOME", "/h"), ("XDG_DATA_HOME", ""), ("ZDOTDIR", "zsh")]).unwrap();
        let own = folders(&[
            ("HOME", "/h"),
            ("XDG_DATA_HOME", "/d"),
            ("XDG_CONFIG_HOME", "/c"),
            ("BASH_COMPLETION_USER_DIR", "/b"),
        ]);
        let own = own.unwrap();
        for (shell, at, elsewhere) in [
            (
                Shell::Bash,
                "/h/.local/share/bash-completion/completions/transfer",
                "/b/completions/transfer",
            ),
            (
                Shell::Zsh,
                "/h/.local/share/zsh/site-functions/_transfer",
                "/d/zsh/site-functions/_transfer",
            ),
            (
                Shell::Fish,
                "/h/.config/fish/completions/transfer.fish",
                "/c/fish/completions/transfer.fish",
            ),
            (
                Shell::Elvish,
                "/h/.local/share/elvish/lib/transfer-completions.elv",
                "/d/elvish/lib/transfer-completions.elv",
            ),
            (
                Shell::PowerShell,
                "/h/.local/share/transfer/completions.ps1",
                "/d/transfer/completions.ps1",
            ),
        ] {
            assert_eq!(plain.completions(shell), Path::new(at));
            assert_eq!(own.completions(shell), Path::new(elsewhere));
        }
        assert_eq!(plain.manual(), Path::new("/h/.local/share/man/man1/transfer.1"));
        assert_eq!(plain.zsh, Path::new("/h"));
        for variables in [&[][..], &[("HOME", "")], &[("HOME", "relative")]] {
            assert!(folders(variables).is_err(), "{variables:?}");
        }
    }

    #[test]
    fn nothing_of_anybody_else_is_replaced() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("new/deep/file");
        let ours = |text: &str| format!("# {MARK}\n{text}");
        assert_eq!(put(&path, &ours("1")).unwrap(), Put::New);
        assert_eq!(put(&path, &ours("1")).unwrap(), Put::Same);
        assert_eq!(put(&path, &ours("2")).unwrap(), Put::Replaced);
        assert_eq!(fs::read_to_string(&path).unwrap(), ours("2"));
        for foreign in ["", "precious", "\n\n\n# made by `transfer completions`"] {
            fs::write(&path, foreign).unwrap();
            let error = put(&path, &ours("3")).unwrap_err();
            assert!(error.message.ends_with("was not made by transfer, and stays"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), foreign);
        }
        // A folder, and below a file.
        put(scratch.path(), "").unwrap_err();
        put(&path.join("below"), "").unwrap_err();
        #[cfg(unix)]
        {
            let link = scratch.path().join("link");
            std::os::unix::fs::symlink("nowhere", &link).unwrap();
            put(&link, "").unwrap_err();
            assert!(!scratch.path().join("nowhere").exists());
        }
    }

    #[test]
    #[cfg(unix)]
    fn what_is_left_to_the_user() {
        let scratch = tempfile::tempdir().unwrap();
        let home = scratch.path().to_str().unwrap();
        let folders = folders(&[("HOME", home)]).unwrap();
        let left = |shell, path: &str| {
            left_to_do(shell, &folders, |name| (name == "PATH").then(|| path.into()))
        };
        let bin = format!("/usr/bin:{home}/.local/bin");
        let none = ["nothing else is needed: open a new shell"];
        assert_eq!(left(Shell::Fish, &bin), none);
        let quoted = |path: &str| crate::shown::quoted(&scratch.path().join(path));
        let man = format!("  set -gx MANPATH {} $MANPATH ''", quoted(".local/share/man"));
        let expected =
            format!("for new shells to find them, add to {home}/.config/fish/config.fish:");
        assert_eq!(left(Shell::Fish, "/usr/bin"), [expected, man]);

        // What is said to be missing is not, once it is there.
        let file = scratch.path().join(".zshrc");
        let missing = left(Shell::Zsh, "/usr/bin");
        let folder = quoted(".local/share/zsh/site-functions");
        assert_eq!(missing[1], format!("  fpath=({folder} $fpath) # before compinit"));
        assert_eq!(missing.len(), 4);
        fs::write(&file, "# autoload -Uz compinit && compinit\n").unwrap();
        assert_eq!(left(Shell::Zsh, "/usr/bin"), missing, "a comment does nothing");
        fs::write(&file, missing[1..].join("\n")).unwrap();
        assert_eq!(left(Shell::Zsh, "/usr/bin"), none);
        assert_eq!(
            left(Shell::PowerShell, &bin)[0],
            "for new shells to find them, add to the file that $PROFILE names:"
        );
    }
}
