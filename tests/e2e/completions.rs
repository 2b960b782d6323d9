//! Completions and the man page: that real shells and readers take them, and that what is set up
//! replaces nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

#[cfg(unix)]
use crate::util::process::Process;
use crate::util::process::{run, transfer};
use crate::util::skip;
#[cfg(unix)]
use crate::util::terminal::Terminal;
use crate::util::tree::{Scratch, write};

/// Whether a program is here; says so if not.
fn has(program: &str) -> bool {
    // Whatever it does with these arguments, it has started; but a `bash` of Windows says that there is no Linux.
    let is_shell = ["bash", "zsh", "fish"].contains(&program);
    let found = Command::new(program).args(["-c", "true"]).output();
    let found = found.is_ok_and(|output| !is_shell || output.status.success());
    if !found {
        skip(format_args!("there is no {program}"));
    }
    found
}

/// What the program prints with these arguments, as a file.
fn printed(args: &[&str], scratch: &Scratch) -> Result<std::path::PathBuf> {
    let mut command = transfer();
    command.args(args);
    let ended = run(command)?.expect(0)?;
    ensure!(ended.stderr.is_empty(), "{ended:#?}");
    let path = scratch.join(args.join("-"));
    write(&path, &ended.stdout)?;
    Ok(path)
}

fn succeeds(program: &str, args: &[&str], path: &Path) -> Result<()> {
    let output = Command::new(program).args(args).arg(path).output()?;
    let (said, erred) = (output.stdout, output.stderr);
    let (said, erred) = (String::from_utf8_lossy(&said), String::from_utf8_lossy(&erred));
    ensure!(output.status.success() && erred.is_empty(), "{program} {args:?}: {said}{erred}");
    Ok(())
}

#[test]
fn shells_understand_their_completions() -> Result<()> {
    let scratch = Scratch::new()?;
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&["completions", shell], &scratch)?;
        if has(shell) {
            succeeds(shell, &["-n"], &script)?;
        }
    }
    for shell in ["elvish", "powershell"] {
        printed(&["completions", shell], &scratch)?;
    }
    Ok(())
}

/// An interactive shell in a terminal, in a folder with files, where `transfer` shows what it gets.
#[cfg(unix)]
struct Shell {
    terminal: Terminal,
    process: Process,
}

#[cfg(unix)]
impl Shell {
    /// Starts a shell that has read a script with `setup` in it.
    fn start(name: &str, setup: &str, home: &Scratch) -> Result<Self> {
        for (path, text) in [("photos/beach.jpg", "x"), ("notes.txt", "x"), ("a b.txt", "x")] {
            write(&home.join(path), text)?;
        }
        let show = r#"printf '<<'; printf '%s|' "$@"; printf '>>\n'"#;
        let (file, show) = match name {
            "bash" => (".bashrc", format!("transfer() {{ {show}; }}; PS1='ready> '")),
            "zsh" => (".zshrc", format!("transfer() {{ {show}; }}; PS1='ready> '")),
            _ => (
                "rc.fish",
                "function transfer; printf '<<'; printf '%s|' $argv; printf '>>\\n'; end\n\
                 function fish_prompt; echo 'ready> '; end"
                    .into(),
            ),
        };
        write(&home.join(file), format!("{setup}\n{show}\n"))?;
        // With a terminal of its own, as job control wants it.
        let mut command = Command::new("setsid");
        command.args(["--ctty", name]);
        match name {
            "fish" => command.args(["--no-config", "-i", "-C"]).arg("source ~/rc.fish"),
            _ => command.arg("-i"),
        };
        let mut terminal = Terminal::new()?;
        terminal.resize(120)?;
        command.stdin(terminal.line()?).stdout(terminal.line()?).stderr(terminal.line()?);
        for other in ["XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR", "BASH_COMPLETION_USER_DIR"] {
            command.env_remove(other);
        }
        command.env("HOME", home.path()).env("TERM", "xterm").current_dir(home.path());
        let process = Process::start_as_it_is(command)?;
        terminal.wait_for("ready> ")?;
        Ok(Self { terminal, process })
    }

    /// What a command gets whose line is typed with these keys, and Enter.
    fn typed(&mut self, keys: &str) -> Result<String> {
        self.terminal.answer(format!("{keys}\r").as_bytes())?;
        self.terminal.wait_for("<<")?;
        let words = self.terminal.wait_for("|>>")?;
        self.terminal.wait_for("ready> ")?;
        Ok(words.trim_end_matches("|>>").to_owned())
    }

    fn end(mut self) -> Result<()> {
        self.terminal.answer(b"exit\r")?;
        self.process.end().map(drop)
    }
}

/// Keys that are typed behind `transfer `, and the words that come of them in every shell. A slash
/// behind a folder is left away, as not every shell keeps it.
#[cfg(unix)]
const TYPED: &[(&str, &str)] = &[
    ("send \t", "send"),
    ("send pho\t", "send|photos"),
    ("send photos/be\t", "send|photos/beach.jpg"),
    ("send photos no\t", "send|photos|notes.txt"),
    ("send --port 4000 no\t", "send|--port|4000|notes.txt"),
    ("send -x 1 --pod no\t", "send|-x|1|--pod|notes.txt"),
    ("send a\t", "send|a b.txt"),
    ("send --compress=l\t", "send|--compress=lz4"),
    ("send --compress no\t", "send|--compress|notes.txt"),
    ("send --exclude-from no\t", "send|--exclude-from|notes.txt"),
    ("send --gitig\t", "send|--gitignore"),
    ("no\t", "notes.txt"),
    ("notes.txt pho\t", "notes.txt|photos"),
    ("notes.txt --gitig\t", "notes.txt|--gitignore"),
    ("receive no\t", "receive|no"),
    ("receive -o pho\t", "receive|-o|photos"),
    ("receive --on-conflict sk\t", "receive|--on-conflict|skip"),
    ("receive --on-conflict=sk\t", "receive|--on-conflict=skip"),
    ("recv --check\t", "recv|--checksum"),
    ("get --on-conflict sk\t", "get|--on-conflict|skip"),
    ("laptop:ocean-tiger --check\t", "laptop:ocean-tiger|--checksum"),
    ("rece\t", "receive"),
    ("doctor \t", "doctor"),
    ("doctor no\t", "doctor|no"),
    ("doctor -o pho\t", "doctor|-o|photos"),
    ("completions zs\t", "completions|zsh"),
];

/// Types all of [`TYPED`] into a shell.
#[cfg(unix)]
fn ensure_completes(name: &str, setup: &str, home: &Scratch) -> Result<()> {
    let mut shell = Shell::start(name, setup, home)?;
    for (keys, expected) in TYPED {
        let words = shell.typed(&format!("transfer {keys}"))?;
        let words: Vec<&str> = words.split('|').map(|word| word.trim_end_matches('/')).collect();
        assert_eq!(words.join("|"), *expected, "{name}: {keys:?}");
    }
    // Paths as with any command: also those of the home folder.
    let words = shell.typed("transfer send ~/no\t")?;
    assert_eq!(words, format!("send|{}", home.join("notes.txt").display()), "{name}");
    shell.end()
}

#[test]
#[cfg(unix)]
fn bash_completes() -> Result<()> {
    if !has("bash") || !has("setsid") {
        return Ok(());
    }
    let home = Scratch::new()?;
    let script = printed(&["completions", "bash"], &home)?;
    ensure_completes("bash", &format!("source '{}'", script.display()), &home)
}

/// As `completions --install` sets it up, found by the package bash-completion itself.
#[test]
#[cfg(unix)]
fn bash_completes_once_installed() -> Result<()> {
    let package = Path::new("/usr/share/bash-completion/bash_completion");
    if !has("bash") || !has("setsid") || !package.exists() {
        skip(format_args!("there is no {}", package.display()));
        return Ok(());
    }
    let home = Scratch::new()?;
    let mut install = transfer();
    install.args(["completions", "--install", "bash"]).env("HOME", home.path());
    for other in ["XDG_DATA_HOME", "BASH_COMPLETION_USER_DIR"] {
        install.env_remove(other);
    }
    run(install)?.expect(0)?;
    ensure_completes("bash", &format!("source {}", package.display()), &home)
}

#[test]
#[cfg(unix)]
fn zsh_completes() -> Result<()> {
    if !has("zsh") || !has("setsid") {
        return Ok(());
    }
    let home = Scratch::new()?;
    let folder = home.join("functions");
    let script = printed(&["completions", "zsh"], &home)?;
    write(&folder.join("_transfer"), fs::read(script)?)?;
    let setup =
        format!("fpath=('{}' $fpath); autoload -Uz compinit && compinit -u", folder.display());
    ensure_completes("zsh", &setup, &home)
}

#[test]
#[cfg(unix)]
fn fish_completes() -> Result<()> {
    if !has("fish") || !has("setsid") {
        return Ok(());
    }
    let home = Scratch::new()?;
    let script = printed(&["completions", "fish"], &home)?;
    ensure_completes("fish", &format!("source '{}'", script.display()), &home)
}

#[test]
fn the_man_page_is_sound() -> Result<()> {
    let scratch = Scratch::new()?;
    let page = printed(&["man"], &scratch)?;
    let text = fs::read_to_string(&page)?;
    for title in [
        "\"TRANSFER SEND\"",
        "\"TRANSFER RECEIVE\"",
        "\"TRANSFER DOCTOR\"",
        "\"TRANSFER TOKEN\"",
        "TICKETS",
        "KEYS",
        "\"EXIT STATUS\"",
        "ENVIRONMENT",
        "FILES",
        "EXAMPLES",
        "\"SEE ALSO\"",
    ] {
        ensure!(text.contains(&format!("\n.SH {title}\n")), "{title}: {text}");
    }
    assert_eq!(text.matches("\n.SH ").count(), text.matches("\n.SH \"TRANSFER ").count() + 10);
    // That of macOS has other opinions.
    if cfg!(target_os = "linux") && has("mandoc") {
        succeeds("mandoc", &["-Tlint", "-W", "warning"], &page)?;
    }
    Ok(())
}

#[test]
#[cfg(unix)]
fn one_command_sets_everything_up() -> Result<()> {
    let home = Scratch::new()?;
    let install = |args: &[&str]| {
        let mut command = transfer();
        command.args(["completions", "--install"]).args(args).env("HOME", home.path());
        for other in ["XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR", "BASH_COMPLETION_USER_DIR"] {
            command.env_remove(other);
        }
        // The test is started by no shell, so this is the running one.
        command.env("SHELL", "/usr/bin/fish").env("PATH", "/usr/bin").env_remove("MANPATH");
        run(command)
    };
    let completions = home.join(".config/fish/completions/transfer.fish");
    let manual = home.join(".local/share/man/man1/transfer.1");
    let first = install(&[])?.expect(0)?;
    let expected = format!(
        "written: {}\nwritten: {}\nfor new shells to find them, add to {}:\n  set -gx MANPATH {} \
         $MANPATH ''\n",
        completions.display(),
        manual.display(),
        home.join(".config/fish/config.fish").display(),
        transfer::shown::quoted(&home.join(".local/share/man")),
    );
    assert_eq!((&*first.stdout, &*first.stderr), ("", &*expected));
    let fish = printed(&["completions", "fish"], &home)?;
    assert_eq!(fs::read_to_string(&completions)?, fs::read_to_string(fish)?);

    // Of another version, one of these is; the other is the user's own by now.
    write(&completions, "# transfer 0.0.1: made by `transfer completions`\nold")?;
    write(&manual, "precious")?;
    let second = install(&["fish"])?.expect(1)?;
    let expected = format!(
        "brought up to date: {}\nerror: \"{}\" was not made by transfer, and stays\n  move it away, \
         then run this again\n",
        completions.display(),
        manual.display(),
    );
    assert_eq!(second.stderr, expected);
    assert_eq!(fs::read_to_string(&manual)?, "precious");
    ensure!(fs::read_to_string(&completions)?.contains("on-conflict"));
    let page = install(&["bash"])?.expect(1)?;
    ensure!(page.stderr.contains("/bash-completion/completions/transfer\n"), "{page:#?}");

    let unknown = run({
        let mut command = transfer();
        command.arg("completions").env_remove("SHELL");
        command
    })?
    .expect(2)?;
    ensure!(unknown.stderr.contains("name it: `transfer completions bash`"), "{unknown:#?}");
    let nobody = run({
        let mut command = transfer();
        command.args(["completions", "--install", "zsh"]).env_remove("HOME");
        command
    })?
    .expect(1)?;
    nobody.says("error: where your own files are is not known")
}
