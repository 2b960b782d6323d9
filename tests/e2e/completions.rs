//! Completions and the man page: that real shells and readers take them, and that what is set up
//! replaces nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::util::process::{run, transfer};
use crate::util::tree::{Scratch, write};

/// Whether a program is here; says so if not.
fn has(program: &str) -> bool {
    // Whatever it does with these arguments, it has started.
    let found = Command::new(program).args(["-c", "true"]).output().is_ok();
    if !found {
        eprintln!("skipped: there is no {program}");
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

/// What is offered for the last of these words.
#[test]
fn bash_completes() -> Result<()> {
    if !has("bash") {
        return Ok(());
    }
    let scratch = Scratch::new()?;
    let script = printed(&["completions", "bash"], &scratch)?;
    let drive = "source \"$0\" || exit\n\
                 COMP_WORDS=(transfer \"$@\"); COMP_CWORD=$#; COMPREPLY=()\n\
                 _transfer transfer \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD - 1]}\" 2>/dev/null\n\
                 echo \"${COMPREPLY[*]}\"";
    for (words, expected) in [
        (&["receive", "--on-conflict", ""][..], "ask rename skip overwrite newer fail"),
        (&["receive", "--on-conflict", "o"], "overwrite"),
        (&["rec"], "receive"),
        (&["doctor", "--p"], "--pod --port"),
        (&["completions", "z"], "zsh"),
        // As a word of its own it would be a path to send.
        (&["send", "--compress", "lz"], ""),
        (&["send", "--port", "1"], "1"),
    ] {
        let output = Command::new("bash").args(["-c", drive]).arg(&script).args(words).output()?;
        let offered = String::from_utf8_lossy(&output.stdout);
        assert_eq!(offered.trim_end(), expected, "{words:?}");
    }
    Ok(())
}

#[test]
fn fish_completes() -> Result<()> {
    if !has("fish") {
        return Ok(());
    }
    let scratch = Scratch::new()?;
    let script = printed(&["completions", "fish"], &scratch)?;
    let drive = "source $argv[1]; complete -C 'transfer receive --on-conflict '";
    let output = Command::new("fish").args(["--no-config", "-c", drive]).arg(&script).output()?;
    let offered = String::from_utf8_lossy(&output.stdout);
    let mut values: Vec<&str> =
        offered.lines().filter_map(|line| line.split('\t').next()).collect();
    values.sort_unstable();
    assert_eq!(values, ["ask", "fail", "newer", "overwrite", "rename", "skip"], "{output:?}");
    Ok(())
}

#[test]
fn the_man_page_is_sound() -> Result<()> {
    let scratch = Scratch::new()?;
    let page = printed(&["man"], &scratch)?;
    let text = fs::read_to_string(&page)?;
    for title in
        ["\"TRANSFER SEND\"", "\"TRANSFER RECEIVE\"", "\"TRANSFER DOCTOR\"", "\"EXIT STATUS\""]
    {
        ensure!(text.contains(&format!("\n.SH {title}\n")), "{title}: {text}");
    }
    assert_eq!(text.matches("\n.SH ").count(), text.matches("\n.SH \"TRANSFER ").count() + 5);
    if has("mandoc") {
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
        home.join(".local/share/man").display(),
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
