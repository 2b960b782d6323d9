//! Repositories that have git start a program, one for each way that git documents. This program
//! looks at them, and nothing is started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::choosing::listed;
use crate::gitignore::Repository;
use crate::util::process::{Sender, receiving, run, transfer};
use crate::util::tree::{Scratch, chmod, write};

/// One way: configuration of the repository, in which `RUN` stands for a program that leaves a
/// mark; what else it takes; and the command of git that shows that the trap is one.
struct Trap {
    name: &'static str,
    config: &'static str,
    prepare: fn(&Hostile) -> Result<()>,
    springs: &'static [&'static str],
}

/// A repository in the making.
struct Hostile {
    repository: Repository,
    program: PathBuf,
    mark: PathBuf,
}

const NOTHING: fn(&Hostile) -> Result<()> = |_| Ok(());

const TRAPS: &[Trap] = &[
    Trap {
        name: "a missing tree of a sparse index, fetched with remote.*.uploadpack",
        config: "[remote \"origin\"]\n\turl = .\n\tpromisor = true\n\tuploadpack = RUN\n\
                 [core]\n\trepositoryformatversion = 1\n[extensions]\n\tpartialClone = origin\n",
        prepare: Hostile::lose_a_tree,
        springs: &["ls-files", "-co", "--exclude-standard"],
    },
    Trap {
        name: "the same through ext::",
        config: "[remote \"origin\"]\n\turl = ext::RUN\n\tpromisor = true\n\
                 [core]\n\trepositoryformatversion = 1\n[extensions]\n\tpartialClone = origin\n\
                 [protocol \"ext\"]\n\tallow = always\n",
        prepare: Hostile::lose_a_tree,
        springs: &["ls-files", "-co", "--exclude-standard"],
    },
    Trap {
        name: "the same through core.sshCommand",
        config: "[remote \"origin\"]\n\turl = ssh://127.0.0.1:9/x\n\tpromisor = true\n\
                 [core]\n\trepositoryformatversion = 1\n\tsshCommand = RUN\n\
                 [extensions]\n\tpartialClone = origin\n",
        prepare: Hostile::lose_a_tree,
        springs: &["ls-files", "-co", "--exclude-standard"],
    },
    Trap {
        name: "the same through core.gitProxy",
        config: "[remote \"origin\"]\n\turl = git://127.0.0.1:9/x\n\tpromisor = true\n\
                 [core]\n\trepositoryformatversion = 1\n\tgitProxy = RUN\n\
                 [extensions]\n\tpartialClone = origin\n",
        prepare: Hostile::lose_a_tree,
        springs: &["ls-files", "-co", "--exclude-standard"],
    },
    Trap {
        name: "the same through remote.*.vcs",
        config: "[remote \"origin\"]\n\turl = x\n\tvcs = canary\n\tpromisor = true\n\
                 [core]\n\trepositoryformatversion = 1\n[extensions]\n\tpartialClone = origin\n",
        prepare: Hostile::lose_a_tree,
        springs: &["ls-files", "-co", "--exclude-standard"],
    },
    Trap {
        name: "a missing blob of rules outside the sparse checkout",
        config: "[remote \"origin\"]\n\turl = .\n\tpromisor = true\n\tuploadpack = RUN\n\
                 [core]\n\trepositoryformatversion = 1\n[extensions]\n\tpartialClone = origin\n",
        prepare: Hostile::lose_rules,
        springs: &["ls-files", "-co", "--exclude-standard"],
    },
    Trap {
        name: "core.fsmonitor",
        config: "[core]\n\tfsmonitor = RUN\n",
        prepare: NOTHING,
        springs: &["status"],
    },
    Trap {
        name: "core.fsmonitor of a file that is included",
        config: "[include]\n\tpath = more\n",
        prepare: |hostile| hostile.put(".git/more", "[core]\n\tfsmonitor = RUN\n"),
        springs: &["status"],
    },
    Trap {
        name: "core.fsmonitor of a file that is included for this folder",
        config: "[includeIf \"gitdir:**\"]\n\tpath = more\n",
        prepare: |hostile| hostile.put(".git/more", "[core]\n\tfsmonitor = RUN\n"),
        springs: &["status"],
    },
    Trap {
        name: "core.fsmonitor of a work tree's own configuration",
        config: "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tworktreeConfig = true\n",
        prepare: |hostile| hostile.put(".git/config.worktree", "[core]\n\tfsmonitor = RUN\n"),
        springs: &["status"],
    },
    Trap {
        name: "core.fsmonitor of a submodule",
        config: "",
        prepare: Hostile::with_submodule,
        springs: &["-C", "module", "status"],
    },
    Trap {
        name: "a hook",
        config: "",
        prepare: |hostile| hostile.hook(".git/hooks/post-index-change"),
        springs: &["update-index", "--force-write-index"],
    },
    Trap {
        name: "core.hooksPath",
        config: "[core]\n\thooksPath = hooks\n",
        prepare: |hostile| hostile.hook("hooks/post-index-change"),
        springs: &["update-index", "--force-write-index"],
    },
    Trap {
        name: "filter.*.clean",
        config: "[filter \"x\"]\n\tclean = RUN\n",
        prepare: |hostile| hostile.put(".gitattributes", "* filter=x\n"),
        springs: &["hash-object", "file"],
    },
    Trap {
        name: "filter.*.smudge",
        config: "[filter \"x\"]\n\tsmudge = RUN\n",
        prepare: |hostile| hostile.put(".gitattributes", "* filter=x\n"),
        springs: &["cat-file", "--filters", ":file"],
    },
    Trap {
        name: "filter.*.process",
        config: "[filter \"x\"]\n\tprocess = RUN\n\trequired = true\n",
        prepare: |hostile| hostile.put(".gitattributes", "* filter=x\n"),
        springs: &["hash-object", "file"],
    },
    Trap {
        name: "diff.*.textconv",
        config: "[diff \"x\"]\n\ttextconv = RUN\n",
        prepare: |hostile| hostile.put(".gitattributes", "* diff=x\n"),
        springs: &["cat-file", "--textconv", ":file"],
    },
    Trap {
        name: "diff.external",
        config: "[diff]\n\texternal = RUN\n",
        prepare: |hostile| hostile.put("file", "changed"),
        springs: &["diff"],
    },
    Trap {
        name: "merge.*.driver",
        config: "[merge \"x\"]\n\tdriver = RUN\n",
        prepare: |hostile| hostile.put(".gitattributes", "* merge=x\n"),
        springs: &[],
    },
    Trap {
        name: "credential.helper",
        config: "[credential]\n\thelper = RUN\n",
        prepare: NOTHING,
        springs: &["credential", "approve"],
    },
    Trap {
        name: "core.askPass",
        config: "[core]\n\taskPass = RUN\n",
        prepare: NOTHING,
        springs: &["credential", "fill"],
    },
    Trap {
        name: "core.editor and sequence.editor",
        config: "[core]\n\teditor = RUN\n[sequence]\n\teditor = RUN\n",
        prepare: NOTHING,
        springs: &["commit", "--allow-empty"],
    },
    Trap {
        name: "core.pager and pager.*",
        config: "[core]\n\tpager = RUN\n[pager]\n\tls-files = RUN\n",
        prepare: NOTHING,
        springs: &[],
    },
    Trap {
        name: "gpg.program and gpg.*.program",
        config: "[gpg]\n\tprogram = RUN\n[gpg \"ssh\"]\n\tprogram = RUN\n",
        prepare: NOTHING,
        springs: &["commit", "--allow-empty", "-S", "-m", "x"],
    },
    Trap {
        name: "core.alternateRefsCommand",
        config: "[core]\n\talternateRefsCommand = RUN\n",
        prepare: |hostile| {
            hostile.repository.git("", &["init", "-q", "other"])?;
            let other = hostile.repository.at.join("other/.git/objects");
            hostile.put(".git/objects/info/alternates", &format!("{}\n", other.display()))
        },
        springs: &["rev-list", "--alternate-refs"],
    },
    Trap {
        name: "submodule.*.update",
        config: "[submodule \"module\"]\n\tactive = true\n\turl = ./module\n\tupdate = !RUN\n",
        prepare: Hostile::with_submodule,
        springs: &[],
    },
    Trap {
        name: "alias.*",
        config: "[alias]\n\tls-files = !RUN\n\trev-parse = !RUN\n\tx = !RUN\n",
        prepare: NOTHING,
        springs: &["x"],
    },
    Trap {
        name: "trace2.*Target",
        config: "[trace2]\n\tnormalTarget = MARK\n\teventTarget = MARK\n\tperfTarget = MARK\n",
        prepare: NOTHING,
        springs: &[],
    },
];

/// What the environment of the caller may say to git.
const ENVIRONMENT: [&str; 14] = [
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_ASKPASS",
    "SSH_ASKPASS",
    "GIT_EXTERNAL_DIFF",
    "GIT_EDITOR",
    "GIT_PAGER",
    "GIT_PROXY_COMMAND",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_CONFIG_PARAMETERS",
    "GIT_EXEC_PATH",
];

impl Hostile {
    fn new() -> Result<Option<Self>> {
        let Some(repository) = Repository::new()? else { return Ok(None) };
        let mark = repository.at.join("ran");
        // In the way of whatever would be started by name.
        for name in ["git", "ssh", "git-upload-pack", "git-remote-canary", "canary"] {
            let program = repository.at.join("bin").join(name);
            write(&program, format!("#!/bin/sh\necho \"$0 $*\" >>'{}'\n", mark.display()))?;
            chmod(&program, 0o755)?;
        }
        let program = repository.at.join("bin/canary");
        repository.git("", &["init", "-q", "r"])?;
        repository.write(&["r/file", "r/in/file", "r/out/file", "r/out/.gitignore"])?;
        write(&repository.at.join("r/.gitignore"), "*.o\n")?;
        repository.git("r", &["add", "-A"])?;
        repository.git("r", &["commit", "-q", "-m", "first"])?;
        repository.write(&["r/new", "r/new.o"])?;
        Ok(Some(Self { repository, program, mark }))
    }

    fn filled(&self, text: &str) -> Result<String> {
        let program = self.program.to_str().context("UTF-8")?;
        Ok(text.replace("RUN", program).replace("MARK", self.mark.to_str().context("UTF-8")?))
    }

    fn put(&self, path: &str, text: &str) -> Result<()> {
        write(&self.repository.at.join("r").join(path), self.filled(text)?)
    }

    fn hook(&self, path: &str) -> Result<()> {
        self.put(path, "#!/bin/sh\nexec RUN\n")?;
        chmod(&self.repository.at.join("r").join(path), 0o755)
    }

    /// The tree of `out` is gone, and the index says no more of it than its name.
    fn lose_a_tree(&self) -> Result<()> {
        let tree = self.repository.git("r", &["rev-parse", "HEAD:out"])?;
        self.repository.git("r", &["sparse-checkout", "set", "--sparse-index", "in"])?;
        ensure!(!self.repository.at.join("r/out").exists());
        self.lose(&tree)
    }

    /// The rules of `out` are gone, and are not on the disk either.
    fn lose_rules(&self) -> Result<()> {
        let blob = self.repository.git("r", &["rev-parse", "HEAD:out/.gitignore"])?;
        let rules = "out/.gitignore";
        self.repository.git("r", &["update-index", "--skip-worktree", rules])?;
        fs::remove_file(self.repository.at.join("r").join(rules))?;
        self.put("out/new", "x")?;
        self.lose(&blob)
    }

    fn lose(&self, hash: &[u8]) -> Result<()> {
        let hash = std::str::from_utf8(hash)?.trim_end();
        let (folder, name) = hash.split_at(2);
        fs::remove_file(self.repository.at.join("r/.git/objects").join(folder).join(name))?;
        Ok(())
    }

    fn with_submodule(&self) -> Result<()> {
        self.repository.git("", &["init", "-q", "lib"])?;
        self.repository.git("lib", &["commit", "-q", "--allow-empty", "-m", "x"])?;
        let lib = self.repository.at.join("lib");
        let lib = lib.to_str().context("UTF-8")?;
        self.repository.git("r", &["submodule", "--quiet", "add", lib, "module"])?;
        let program = self.program.to_str().context("UTF-8")?;
        self.repository.git("r/module", &["config", "core.fsmonitor", program])?;
        Ok(())
    }

    /// What ran since the last time.
    fn ran(&self) -> Option<String> {
        let ran = fs::read_to_string(&self.mark).ok();
        fs::remove_file(&self.mark).ok();
        ran
    }

    /// The program under test, with the canaries before everything else.
    fn watched(&self, mut command: Command) -> Result<Command> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let bin = self.repository.at.join("bin");
        let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&path)))?;
        command.env("PATH", path);
        Ok(self.repository.configured(command))
    }

    fn git_springs(&self, arguments: &[&str]) -> Result<bool> {
        let mut git = self.repository.configured(Command::new("git"));
        git.arg("-C").arg(self.repository.at.join("r")).args(arguments).env_remove("GIT_EDITOR");
        git.env("GIT_AUTHOR_NAME", "n").env("GIT_COMMITTER_NAME", "n");
        git.env("GIT_AUTHOR_EMAIL", "e@example.com").env("GIT_COMMITTER_EMAIL", "e@example.com");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let bin = self.repository.at.join("bin");
        let behind = std::env::split_paths(&path).chain([bin]);
        git.env("PATH", std::env::join_paths(behind)?).env("GIT_TERMINAL_PROMPT", "0");
        let input = "protocol=https\nhost=x\nusername=u\npassword=p\n\n";
        let input = if arguments.contains(&"fill") { "protocol=https\nhost=x\n\n" } else { input };
        let mut child =
            git.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut stdin = child.stdin.take().context("a pipe")?;
        // It may have ended already.
        std::io::Write::write_all(&mut stdin, input.as_bytes()).ok();
        drop(stdin);
        child.wait()?;
        Ok(self.ran().is_some())
    }
}

/// Looks at `r` and sends it; neither may start anything.
fn look_and_send(hostile: &Hostile, name: &str, with: fn(&Hostile, &mut Command)) -> Result<()> {
    let at = &hostile.repository.at;
    let mut command = transfer();
    command.args(["send", "--dry-run", "-y", "--gitignore", "r"]).current_dir(at.path());
    let mut command = hostile.watched(command)?;
    with(hostile, &mut command);
    let ended = run(command)?;
    // Rules that are missing are the one thing that no list can be made without.
    let code = if name.contains("blob of rules") { 3 } else { 0 };
    ensure!(ended.code == Some(code), "{name}: {ended:?}");
    let paths = listed(&ended);
    ensure!(paths.contains(&"r/new") && !paths.contains(&"r/new.o"), "{name}: {ended:?}");
    if let Some(ran) = hostile.ran() {
        anyhow::bail!("{name}: the dry run started {ran}");
    }
    let into = Scratch::new()?;
    let mut command = transfer();
    command.args(["send", "--pod", "--port", "0", "-y", "--gitignore"]).arg(at.join("r"));
    let mut command = hostile.watched(command)?;
    with(hostile, &mut command);
    let sender = Sender::start(command)?;
    run(hostile.watched(receiving(&sender.ticket, into.path(), &[]))?)?;
    let sent = sender.end()?;
    ensure!(sent.code == ended.code, "{name}: {sent:?}");
    ensure!(into.join("r/new").exists() && !into.join("r/new.o").exists(), "{name}");
    if let Some(ran) = hostile.ran() {
        anyhow::bail!("{name}: sending started {ran}");
    }
    Ok(())
}

#[test]
fn nothing_that_a_repository_names_is_started() -> Result<()> {
    for trap in TRAPS {
        let Some(hostile) = Hostile::new()? else { return Ok(()) };
        (trap.prepare)(&hostile).with_context(|| trap.name)?;
        let config = hostile.repository.at.join("r/.git/config");
        let text = fs::read_to_string(&config)? + &hostile.filled(trap.config)?;
        fs::write(&config, text)?;
        hostile.ran();
        // It is a trap: git runs into it.
        if !trap.springs.is_empty() {
            ensure!(hostile.git_springs(trap.springs)?, "git does not start {}", trap.name);
        }
        look_and_send(&hostile, trap.name, |_, _| ())?;
    }
    Ok(())
}

#[test]
fn nothing_that_the_environment_names_is_started() -> Result<()> {
    let Some(hostile) = Hostile::new()? else { return Ok(()) };
    hostile.put(".gitattributes", "* filter=x diff=x\n")?;
    look_and_send(&hostile, "the environment", |hostile, command| {
        command.envs(ENVIRONMENT.map(|name| (name, &hostile.program)));
        command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "core.fsmonitor");
        command.env("GIT_CONFIG_VALUE_0", &hostile.program);
        for name in ["GIT_TRACE", "GIT_TRACE2", "GIT_TRACE2_EVENT", "GIT_TRACE2_PERF"] {
            command.env(name, &hostile.mark);
        }
    })
}

/// Pipes in the place of files would keep the sender waiting for ever.
#[test]
fn pipes_in_a_repository_keep_nobody_waiting() -> Result<()> {
    let pipes = [".git/config", ".git/index", ".git/HEAD", ".git/info/exclude", ".gitignore"];
    for pipe in pipes {
        let Some(hostile) = Hostile::new()? else { return Ok(()) };
        let path = hostile.repository.at.join("r").join(pipe);
        fs::remove_file(&path).ok();
        make_pipe(&path)?;
        let ended = run(hostile.repository.dry_run(&["--gitignore", "r"]))?;
        ensure!(ended.code.is_some(), "{pipe}: {ended:?}");
    }
    Ok(())
}

fn make_pipe(path: &Path) -> Result<()> {
    ensure!(Command::new("mkfifo").arg(path).status()?.success());
    Ok(())
}
