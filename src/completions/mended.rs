//! What is mended in the scripts of `clap_complete`. A test drives the shells with the outcome.

use clap_complete::Shell;

/// Options whose value must be joined to them with `=`; the next word is something else.
const JOINED: [&str; 3] = ["--compress", "--json", "--wait"];

/// Other names of `receive`, which `clap_complete` would offer beside it.
const RECEIVE: [&str; 3] = ["receive", "recv", "get"];

/// What `clap_complete` does not do by itself: paths where a command takes them and nowhere else,
/// values behind `=`, and a first word that is a path or a ticket. `known` are the commands.
pub fn mended(shell: Shell, script: String, known: &[String]) -> String {
    match shell {
        Shell::Bash => mended_bash(script),
        Shell::Zsh => mended_zsh(script, known),
        Shell::Fish => mended_fish(script, known),
        _ => script,
    }
}

/// Takes out options that are `hidden`, which `clap_complete` offers like others.
pub fn without_hidden(shell: Shell, script: String, hidden: &[&str]) -> String {
    let mut script = script;
    for name in hidden {
        let (option, fish) = (format!("--{name}"), format!(" -l {name} "));
        let is_of_it = |line: &str| {
            let mut rests =
                line.match_indices(&option).map(|(at, found)| line.get(at + found.len()..));
            line.contains(&fish)
                || rests.any(|rest| {
                    !rest.unwrap_or_default().starts_with(|c: char| c == '-' || c.is_alphanumeric())
                })
        };
        let (mut left, mut inside) = (String::with_capacity(script.len()), false);
        for line in script.lines() {
            let is_case = shell == Shell::Bash && line.trim() == format!("{option})");
            inside |= is_case;
            if shell == Shell::Bash && line.trim_start().starts_with("opts=") {
                left += &line.replace(&format!(" {option}"), "");
                left.push('\n');
            } else if !inside && (shell == Shell::Bash || !is_of_it(line)) {
                left += line;
                left.push('\n');
            }
            // What is done for the option ends here.
            inside &= line.trim() != ";;";
        }
        script = left;
    }
    script
}

/// A change of what was generated. A test drives the shells, and fails where it does not take.
fn replaced(script: String, from: &str, to: &str) -> String {
    debug_assert!(script.contains(from), "not generated: {from}");
    script.replace(from, to)
}

fn mended_bash(script: String) -> String {
    // Bash takes `--option=value` apart into three words.
    let joined = JOINED.join("|");
    let split = format!(
        r#"prev="$3"
    if [[ ${{cur}} == = ]]; then cur=; fi
    if [[ ${{prev}} == = ]]; then
        prev="${{COMP_WORDS[COMP_CWORD - 2]}}"
    elif [[ ${{COMP_WORDS[COMP_CWORD]}} != = ]]; then
        case "${{prev}}" in {joined}) prev= ;; esac
    fi"#
    );
    let script = replaced(script, r#"prev="$3""#, &split);
    let receive = RECEIVE.map(|name| format!("transfer,{name}")).join("|");
    let receive = format!("            {receive})");
    let script = replaced(script, "            transfer,receive)", &receive);
    let known = "            *)\n                ;;\n        esac\n    done";
    let first = r#"            transfer,-*)
                ;;
            transfer,*:*)
                cmd="transfer__subcmd__receive"
                ;;
            transfer,*)
                cmd="transfer__subcmd__send"
                ;;
"#;
    // The colon of a ticket is mostly a word of its own.
    let colon = "\n    if [[ ${COMP_WORDS[2]} == : ]]; then cmd=transfer__subcmd__receive; fi";
    let script = replaced(script, known, &format!("{first}{known}{colon}"));
    // Options only where one is begun. Where nothing is offered, bash offers paths by itself.
    let (mut mended, mut option, mut pathless) =
        (String::with_capacity(script.len()), false, false);
    let words =
        |filter: &str| format!(r#"COMPREPLY=( $(compgen -W "${{opts}}"{filter} -- "${{cur}}") )"#);
    for line in script.lines() {
        if let Some(label) = line.strip_prefix("        transfer__subcmd__") {
            pathless = ["doctor)", "receive)"].contains(&label);
        }
        if line.contains("== -* || ${COMP_CWORD} -eq ") {
            mended += "            if [[ ${cur} == -* ]] ; then\n";
            option = true;
        } else if line.trim() == words("") && !std::mem::take(&mut option) {
            mended += &format!("            {}\n", words(" -X '-*'"));
            if pathless {
                // A shell before version 4 has no way to say so.
                mended += r#"            if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
                compopt +o default +o bashdefault
            fi
"#;
            }
        } else {
            mended += &format!("{line}\n");
        }
    }
    mended
}

fn mended_zsh(script: String, known: &[String]) -> String {
    // `=-`: in the same word.
    let script = JOINED.iter().fold(script, |script, option| {
        replaced(script, &format!("'{option}=["), &format!("'{option}=-["))
    });
    // A place of which nothing is known, with nothing to offer, would hide the options.
    let script: String = script
        .lines()
        .map(|line| match line.strip_suffix(":' \\") {
            Some(place) if line.starts_with("'::") => format!("{place}:()' \\\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let receive = format!("({})\n_arguments", RECEIVE.join("|"));
    let script = script.replacen("(receive)\n_arguments", &receive, 1);
    let kind = format!(
        r#"        case $line[1] in
            ({}) ;;
            (*:*) line[1]=receive ;;
            (*) line[1]=send ;;
        esac
        case $line[1] in"#,
        known.join("|")
    );
    let script = script.replacen("        case $line[1] in", &kind, 1);
    let script = replaced(script, "\":: :_transfer_commands\"", "\":: :_transfer_first\"");
    let first = r#"(( $+functions[_transfer_first] )) ||
_transfer_first() {
    _alternative 'commands:command:_transfer_commands' 'files:file:_files'
}
(( $+functions[_transfer_commands] )) ||
"#;
    script.replacen("(( $+functions[_transfer_commands] )) ||\n", first, 1)
}

fn mended_fish(script: String, known: &[String]) -> String {
    let kind = format!(
        r"    if not contains -- $cmd[1] {}
        string match -q '*:*' -- $cmd[1]
        and set cmd receive
        or set cmd send
    end
    contains -- $cmd[1] $argv",
        known.join(" ")
    );
    let script = replaced(script, "    contains -- $cmd[1] $argv", &kind);
    let receive = format!("__fish_transfer_using_subcommand {}\"", RECEIVE.join(" "));
    let script = replaced(script, "__fish_transfer_using_subcommand receive\"", &receive);
    let mut mended = String::with_capacity(script.len());
    for line in script.lines() {
        let option = |name: &&str| line.contains(&format!(" -l {} ", name.trim_matches('-')));
        let line = if JOINED.iter().any(option) {
            // A value that is required would be the next word.
            line.replace(" -r -f", " -f")
        } else if line.contains("__fish_transfer_needs_command\" -f -a ") {
            line.replace(" -f -a ", " -a ")
        } else {
            line.to_owned()
        };
        mended += &format!("{line}\n");
    }
    for (commands, values) in
        [(&RECEIVE.join(" "), ""), (&"doctor".into(), ""), (&"completions".into(), SHELLS)]
    {
        let values = if values.is_empty() { String::new() } else { format!(" -a \"{values}\"") };
        mended += &format!(
            "complete -c transfer -n \"__fish_transfer_using_subcommand {commands}\" -f{values}\n"
        );
    }
    mended
}

/// What `completions` takes.
const SHELLS: &str = "bash elvish fish powershell zsh";
