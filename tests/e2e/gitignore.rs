//! `--gitignore`: what git would list goes, and nothing is run for it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::choosing::{dry_run, listed};
use crate::util::process::{Sender, receiving, run, transfer};
#[cfg(unix)]
use crate::util::root::obeying_modes;
use crate::util::skip;
#[cfg(unix)]
use crate::util::tree::chmod;
use crate::util::tree::{self, Scratch, write};

/// A repository, and git's own view of it; nothing of this machine's configuration counts.
pub struct Repository {
    pub at: Scratch,
}

impl Repository {
    /// A folder for repositories, or nothing where there is no git.
    pub fn new() -> Result<Option<Self>> {
        if Command::new("git").arg("--version").output().is_err() {
            skip("there is no git");
            return Ok(None);
        }
        let at = Scratch::new()?;
        fs::create_dir(at.join("home"))?;
        Ok(Some(Self { at }))
    }

    /// A command that has the same configuration as git.
    pub fn configured(&self, mut command: Command) -> Command {
        let home = self.at.join("home");
        command.env("HOME", &home).env("XDG_CONFIG_HOME", home.join("xdg"));
        command.env("GIT_CONFIG_NOSYSTEM", "1").env_remove("GIT_CONFIG_GLOBAL");
        command.env("GIT_CEILING_DIRECTORIES", self.at.path());
        command
    }

    pub fn git(&self, folder: &str, arguments: &[&str]) -> Result<Vec<u8>> {
        let mut command = self.configured(Command::new("git"));
        command.arg("-C").arg(self.at.join(folder));
        command.args(["-c", "user.name=n", "-c", "user.email=e@example.com"]);
        command.args(["-c", "protocol.file.allow=always"]);
        let output = command.args(arguments).output()?;
        ensure!(output.status.success(), "git {arguments:?}: {output:?}");
        Ok(output.stdout)
    }

    pub fn write(&self, paths: &[&str]) -> Result<()> {
        paths.iter().try_for_each(|path| write(&self.at.join(path), path))
    }

    pub fn dry_run(&self, arguments: &[&str]) -> Command {
        self.configured(dry_run(self.at.path(), arguments))
    }

    /// What `git ls-files -co --exclude-standard` lists and the disk has, below `folder`.
    fn ls_files(&self, folder: &str) -> Result<BTreeSet<String>> {
        let listed = self.git(folder, &["ls-files", "-co", "--exclude-standard", "-z"])?;
        let listed = String::from_utf8(listed)?;
        let listed = listed.split_terminator('\0').map(|path| format!("{folder}/{path}"));
        Ok(listed.filter(|path| self.at.join(path).symlink_metadata().is_ok()).collect())
    }

    /// The files and links that would be sent of `folder`.
    fn would_send(&self, folder: &str) -> Result<BTreeSet<String>> {
        let ended = run(self.dry_run(&["--gitignore", folder]))?.expect(0)?;
        let parent = folder.rsplit_once('/').map_or("", |(parent, _)| parent);
        let paths = listed(&ended).into_iter().filter(|path| !path.ends_with('/'));
        Ok(paths.map(|path| format!("{parent}/{path}").trim_start_matches('/').into()).collect())
    }

    /// All that `.gitignore` files can say, and a little history.
    fn with_everything(&self) -> Result<()> {
        write(&self.at.join("home/.gitconfig"), "[core]\n\texcludesFile = ~/ignored\n")?;
        write(&self.at.join("home/ignored"), "*.global\n")?;
        self.git("", &["init", "-q", "r"])?;
        self.write(&["r/tracked-but-ignored.log", "r/deep/tracked.tmp", "r/gone", "r/gone-dir/x"])?;
        self.git("r", &["add", "-A"])?;
        self.git("r", &["commit", "-q", "-m", "first"])?;
        fs::remove_file(self.at.join("r/gone"))?;
        fs::remove_file(self.at.join("r/gone-dir/x"))?;
        let ignore = "*.log\n!keep.log\n/anchored\nout/\n**/cache/**\ndoc/**/draft\n# note\n\\#x\n\
                      deep/*.tmp\nall/*\n!all/but\nlink-out\nspace\\ \n";
        write(&self.at.join("r/.gitignore"), ignore)?;
        write(&self.at.join("r/deep/.gitignore"), "!again.log\n*.txt\n/here\n")?;
        write(&self.at.join("r/deep/er/.gitignore"), "*\n!.gitignore\n!*.md\n")?;
        write(&self.at.join("r/.git/info/exclude"), "*.info\n")?;
        self.write(&[
            "r/.hidden",
            "r/a.global",
            "r/a.info",
            "r/a.log",
            "r/a.txt",
            "r/all/but",
            "r/all/not",
            "r/anchored",
            "r/cache/x",
            "r/deep/a.log",
            "r/deep/again.log",
            "r/deep/anchored",
            "r/deep/b.txt",
            "r/deep/cache/y/z",
            "r/deep/er/notes.md",
            "r/deep/er/other",
            "r/deep/here",
            "r/deep/out/x",
            "r/deep/untracked.tmp",
            "r/doc/a/b/draft",
            "r/doc/draft",
            "r/doc/final",
            "r/grüße 日本",
            "r/keep.log",
            "r/order",
            "r/order-x",
            "r/order.d/in",
            "r/order0",
            "r/out/keep.log",
            "r/outer",
        ])?;
        fs::create_dir(self.at.join("r/empty"))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::symlink;
            write(&self.at.join("r/#x"), "a file, not a comment")?;
            write(&self.at.join("r/space "), "ignored")?;
            // Ignored, so nobody complains that it cannot be sent.
            write(&self.at.join("r/line\nbreak.log"), "x")?;
            symlink("a.txt", self.at.join("r/link"))?;
            symlink("deep", self.at.join("r/link-to-folder"))?;
            symlink("/etc/passwd", self.at.join("r/link-out"))?;
            symlink("a.txt", self.at.join("r/out.log"))?;
        }
        Ok(())
    }
}

#[test]
fn gitignore_sends_what_git_lists() -> Result<()> {
    let Some(repository) = Repository::new()? else { return Ok(()) };
    repository.with_everything()?;
    for folder in ["r", "r/deep", "r/deep/er", "r/all"] {
        let expected = repository.ls_files(folder)?;
        ensure!(!expected.is_empty());
        assert_eq!(repository.would_send(folder)?, expected, "{folder}");
    }
    let listed = repository.ls_files("r")?;
    // The fixture is one: each kind of rule has left something out, or kept it.
    for path in ["tracked-but-ignored.log", "keep.log", "deep/again.log", "all/but", "doc/final"] {
        ensure!(listed.contains(&format!("r/{path}")), "{path}: {listed:?}");
    }
    for path in ["a.global", "a.info", "a.log", "anchored", "cache/x", "deep/b.txt", "all/not"] {
        ensure!(!listed.contains(&format!("r/{path}")), "{path}: {listed:?}");
    }

    // The real thing: these arrive, in their folders, and nothing else. Neither empty folders
    // nor those whose files are gone.
    let into = Scratch::new()?;
    let mut command = transfer();
    command.args(["send", "--pod", "--port", "0", "-y", "--gitignore"]);
    command.arg(repository.at.join("r"));
    let sender = Sender::start(repository.configured(command))?;
    run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    let arrived: BTreeSet<PathBuf> = tree::tree(into.path())?.into_keys().collect();
    let mut expected = BTreeSet::new();
    for path in &listed {
        expected.extend(Path::new(path).ancestors().map(Path::to_owned));
    }
    assert_eq!(arrived, expected);
    Ok(())
}

#[test]
fn git_says_nothing_of_what_is_named_itself_and_excludes_add_to_it() -> Result<()> {
    let Some(repository) = Repository::new()? else { return Ok(()) };
    repository.with_everything()?;
    // An ignored file, and an ignored folder.
    let ended = run(repository.dry_run(&["--gitignore", "r/a.log", "r/out"]))?.expect(0)?;
    assert_eq!(listed(&ended), ["a.log", "out/"]);
    ended.says("git lists nothing in \"out\"\n")?;
    let ended = run(repository.dry_run(&["--gitignore", "-x", "deep", "-x", "*.log", "r/doc"]))?;
    assert_eq!(listed(&ended.expect(0)?), ["doc/", "doc/final"]);
    let ended = run(repository.dry_run(&["--gitignore", "-x", "deep", "r"]))?.expect(0)?;
    let expected = repository.ls_files("r")?;
    let expected = expected.into_iter().filter(|path| !path.starts_with("r/deep/"));
    let files = listed(&ended).into_iter().filter(|path| !path.ends_with('/'));
    assert_eq!(files.collect::<BTreeSet<_>>().len(), expected.count());
    Ok(())
}

/// Git lists a repository in a repository by its name alone; what goes is its own list.
#[test]
fn repositories_in_repositories_and_in_folders_are_asked() -> Result<()> {
    let Some(repository) = Repository::new()? else { return Ok(()) };
    for name in ["lib", "r", "r/nested", "projects/one", "projects/two"] {
        repository.git("", &["init", "-q", name])?;
        repository.write(&[
            &format!("{name}/main"),
            &format!("{name}/sub/own"),
            &format!("{name}/ignored"),
        ])?;
        write(&repository.at.join(name).join(".gitignore"), "ignored\n")?;
    }
    repository.git("lib", &["add", "-A"])?;
    repository.git("lib", &["commit", "-q", "-m", "first"])?;
    let lib = repository.at.join("lib").into_os_string().into_string().ok().context("UTF-8")?;
    repository.git("r", &["submodule", "--quiet", "add", &lib, "module"])?;
    repository.git("r", &["submodule", "--quiet", "add", &lib, "absent"])?;
    repository.git("r", &["submodule", "--quiet", "deinit", "-f", "absent"])?;
    repository.write(&["r/module/new", "r/module/ignored", "projects/ignored", "plain/ignored"])?;

    let own = [".gitignore", "main", "sub/", "sub/own"];
    let of = |folder: &str| own.map(|path| format!("{folder}/{path}"));
    let folder = |path: &str| vec![path.to_owned()];
    let cases: &[(&str, Vec<String>)] = &[
        ("r", {
            let mut expected = [folder("r/"), of("r").into(), folder("r/.gitmodules")].concat();
            expected.extend([folder("r/nested/"), of("r/nested").into()].concat());
            expected.extend([folder("r/module/"), of("r/module").into()].concat());
            // Not checked out: an empty folder, as `git clone` makes it.
            expected.extend(["r/module/new", "r/absent/"].map(str::to_owned));
            expected
        }),
        ("projects", {
            let mut expected = vec!["projects/".into(), "projects/ignored".into()];
            expected.extend([folder("projects/one/"), of("projects/one").into()].concat());
            expected.extend([folder("projects/two/"), of("projects/two").into()].concat());
            expected
        }),
        ("plain", ["plain/", "plain/ignored"].map(str::to_owned).into()),
    ];
    for (path, expected) in cases {
        let ended = run(repository.dry_run(&["--gitignore", path]))?.expect(0)?;
        let found: BTreeSet<&str> = listed(&ended).into_iter().collect();
        let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
        assert_eq!(found, expected);
        let plain = "\"plain\" is in no git repository: --gitignore leaves nothing out there\n";
        assert_eq!(ended.stderr.contains(plain), *path == "plain", "{ended:?}");
    }
    Ok(())
}

/// Names that are no text: git lists them as bytes, and some of them not.
#[test]
#[cfg(unix)]
fn git_lists_names_of_bytes() -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let Some(repository) = Repository::new()? else { return Ok(()) };
    repository.git("", &["init", "-q", "r"])?;
    repository.write(&["r/file", "r/line\nbreak", "r/tracked\t", "r/d\r/x", "r/d\r/y.log"])?;
    repository.git("r", &["add", "tracked\t"])?;
    let mut expected = vec!["r/", "r/d\\u{d}/", "r/d\\u{d}/x", "r/file", "r/line\\u{a}break"];
    let mut rules = b"*.log\n".to_vec();
    if cfg!(target_os = "linux") {
        let raw = |name: &[u8]| repository.at.join("r").join(std::ffi::OsStr::from_bytes(name));
        for file in [&b"latin-\xe9"[..], b"ignored-\xe9", b"\xe9/x", b"not \xe9/x"] {
            write(&raw(file), "x")?;
        }
        rules.extend(b"/ignored-\xe9\nnot \xe9/\n");
        expected.extend(["r/latin-\\xe9", "r/\\xe9/", "r/\\xe9/x"]);
    }
    write(&repository.at.join("r/.gitignore"), rules)?;
    expected.extend(["r/.gitignore", "r/tracked\\u{9}"]);
    expected.sort_unstable();
    let ended = run(repository.dry_run(&["--gitignore", "r"]))?.expect(0)?;
    let mut found = listed(&ended);
    found.sort_unstable();
    assert_eq!(found, expected);
    Ok(())
}

/// Git leaves a folder that it cannot read out of its list with a warning only.
#[test]
#[cfg(unix)]
fn git_leaves_no_unreadable_folder_behind_in_silence() -> Result<()> {
    let Some(repository) = Repository::new()? else { return Ok(()) };
    let Some(()) = obeying_modes()? else { return Ok(()) };
    repository.git("", &["init", "-q", "r"])?;
    repository.write(&["r/file", "r/sub/tracked/x", "r/sub/closed/x", "r/sub/ignored/x"])?;
    write(&repository.at.join("r/.gitignore"), "ignored\n")?;
    repository.git("r", &["add", "sub/tracked"])?;
    for folder in ["tracked", "closed", "ignored"] {
        chmod(&repository.at.join("r/sub").join(folder), 0)?;
    }
    for (top, closed) in [("r", "r/sub/closed"), ("r/sub", "sub/closed")] {
        let ended = run(repository.dry_run(&["--gitignore", top]))?.expect(3)?;
        let tracked = closed.replace("closed", "tracked");
        ended.says("cannot be sent: 2 things\n")?;
        ended.says(&format!("  {tracked}: permission denied\n"))?;
        ended.says(&format!("  {closed}: permission denied\n"))?;
    }
    let excluded = ["--gitignore", "-x", "closed", "-x", "tracked", "r"];
    run(repository.dry_run(&excluded))?.expect(0)?;
    Ok(())
}

/// Following links, git is asked where they lead.
#[test]
#[cfg(unix)]
fn git_is_asked_behind_links_that_are_followed() -> Result<()> {
    let Some(repository) = Repository::new()? else { return Ok(()) };
    repository.git("", &["init", "-q", "r"])?;
    repository.write(&["r/src/a", "r/src/a.o", "r/b.o", "plain/b.o"])?;
    write(&repository.at.join("r/.gitignore"), "*.o\nignored-link\n")?;
    for (target, link) in [("src", "link"), ("../plain", "out"), ("nowhere", "ignored-link")] {
        std::os::unix::fs::symlink(target, repository.at.join("r").join(link))?;
    }
    let ended = run(repository.dry_run(&["--gitignore", "--follow-symlinks", "r"]))?.expect(0)?;
    let expected =
        ["r/", "r/.gitignore", "r/link/", "r/link/a", "r/out/", "r/out/b.o", "r/src/", "r/src/a"];
    assert_eq!(listed(&ended), expected);
    Ok(())
}

/// Who has no git has work trees all the same: unpacked, or on another system's disk.
#[test]
fn git_itself_is_not_needed() -> Result<()> {
    let Some(repository) = Repository::new()? else { return Ok(()) };
    repository.with_everything()?;
    let expected = repository.ls_files("r")?;
    let mut command = repository.dry_run(&["--gitignore", "r"]);
    command.env("PATH", repository.at.join("home"));
    let ended = run(command)?.expect(0)?;
    let files = listed(&ended).into_iter().filter(|path| !path.ends_with('/'));
    assert_eq!(files.map(str::to_owned).collect::<BTreeSet<_>>(), expected);
    Ok(())
}

/// The user's own rules, wherever git looks for them.
#[test]
fn the_rules_of_the_user_count() -> Result<()> {
    let Some(repository) = Repository::new()? else { return Ok(()) };
    repository.git("", &["init", "-q", "r"])?;
    let names = ["system", "xdg", "home", "global", "included", "branch", "command", "worktree"];
    for name in names {
        write(&repository.at.join("rules").join(name), format!("{name}\n"))?;
        write(&repository.at.join("r").join(name), "x")?;
    }
    let home = repository.at.join("home");
    // To git a backslash is the beginning of a letter.
    let at = |path: &str| repository.at.join(path).display().to_string().replace('\\', "/");
    let excludes = |name: &str| format!("[core]\n\texcludesFile = {}\n", at("rules/") + name);
    write(&home.join("xdg/git/ignore"), "xdg\n")?;
    write(&repository.at.join("system"), excludes("system"))?;
    write(&repository.at.join("global"), excludes("global"))?;
    write(&repository.at.join("more"), excludes("included"))?;
    write(&repository.at.join("branch"), excludes("branch"))?;
    let set = [("GIT_CONFIG_KEY_0", "core.excludesfile".into()), ("GIT_CONFIG_COUNT", "1".into())];
    let command = [&set[..], &[("GIT_CONFIG_VALUE_0", at("rules/command"))]].concat();
    // What is written into ~/.gitconfig, what is in the environment, and which rules count then.
    let include = format!("[include]\n\tpath = {}\n", at("more"));
    let on_branch =
        |name: &str| format!("[includeIf \"onbranch:{name}\"]\n\tpath = {}\n", at("branch"));
    // The folder itself, where a temporary one has a link on its way.
    let real =
        if cfg!(unix) { fs::canonicalize(repository.at.path())? } else { repository.at.join("") };
    let real = |name: &str| real.join(name).display().to_string().replace('\\', "/");
    let in_folder =
        |name: &str| format!("[includeIf \"gitdir:{}/\"]\n\tpath = {}\n", real(name), at("more"));
    let system = [("GIT_CONFIG_SYSTEM", at("system")), ("GIT_CONFIG_NOSYSTEM", "0".into())];
    let cases: &[(String, &[(&str, String)], &str)] = &[
        (String::new(), &[], "xdg"),
        (excludes("home"), &[], "home"),
        ("[core]\n\texcludesFile = ~/../rules/home\n".into(), &[], "home"),
        (excludes("home"), &[("GIT_CONFIG_GLOBAL", at("global"))], "global"),
        (String::new(), &system, "system"),
        (excludes("home"), &system, "home"),
        (excludes("home"), &command, "command"),
        (excludes("home") + &include, &[], "included"),
        (include.clone() + &excludes("home"), &[], "home"),
        (excludes("home") + &on_branch("topic"), &[], "branch"),
        (excludes("home") + &on_branch("other"), &[], "home"),
        (excludes("home") + &in_folder("r"), &[], "included"),
        (excludes("home") + &in_folder("q"), &[], "home"),
        ("[core]\n\texcludesFile =\n".into(), &[], "none"),
    ];
    repository.git("r", &["checkout", "-q", "-b", "topic"])?;
    for (config, environment, counts) in cases {
        write(&home.join(".gitconfig"), config)?;
        let with = |mut command: Command| {
            command.envs(environment.iter().map(|(name, value)| (name, value)));
            command
        };
        let ended = run(with(repository.dry_run(&["--gitignore", "r"])))?.expect(0)?;
        let kept: Vec<&str> = listed(&ended).into_iter().skip(1).collect();
        let mut expected: Vec<String> = names.map(|name| format!("r/{name}")).into();
        expected.retain(|path| path != &format!("r/{counts}"));
        expected.sort();
        assert_eq!(kept, expected, "{config} {environment:?}");
        // And so says git.
        let mut git = with(repository.configured(Command::new("git")));
        git.arg("-C").arg(repository.at.join("r"));
        let output = git.args(["ls-files", "-o", "--exclude-standard"]).output()?;
        let listed = String::from_utf8(output.stdout)?;
        assert_eq!(listed.lines().map(|it| format!("r/{it}")).collect::<Vec<_>>(), kept);
    }
    Ok(())
}

/// Work trees beside the first, and configuration of their own.
#[test]
fn further_work_trees_and_sparse_checkouts_are_listed_as_by_git() -> Result<()> {
    let Some(repository) = Repository::new()? else { return Ok(()) };
    repository.git("", &["init", "-q", "r"])?;
    repository.write(&["r/a/in", "r/b/out", "r/b/.gitignore", "r/top", "ignored"])?;
    repository.git("r", &["add", "-A"])?;
    repository.git("r", &["commit", "-q", "-m", "first"])?;
    repository.git("r", &["worktree", "add", "-q", "../w"])?;
    write(&repository.at.join("r/.git/info/exclude"), "*.everywhere\n")?;
    write(&repository.at.join("rules"), "*.here\n")?;
    repository.git("w", &["config", "extensions.worktreeConfig", "true"])?;
    let rules = repository.at.join("rules");
    let rules = rules.to_str().context("UTF-8")?;
    repository.git("w", &["config", "--worktree", "core.excludesFile", rules])?;
    for folder in ["r", "w"] {
        for name in ["x.everywhere", "x.here", "x"] {
            write(&repository.at.join(folder).join(name), "x")?;
        }
        assert_eq!(repository.would_send(folder)?, repository.ls_files(folder)?, "{folder}");
    }
    ensure!(repository.would_send("r")?.contains("r/x.here"));
    ensure!(!repository.would_send("w")?.contains("w/x.here"));

    // A sparse index names whole folders. What is not on the disk is no matter; of what lies there
    // all the same nothing is guessed.
    repository.git("w", &["sparse-checkout", "set", "--sparse-index", "a"])?;
    ensure!(!repository.at.join("w/b").exists());
    assert_eq!(repository.would_send("w")?, repository.ls_files("w")?);
    write(&repository.at.join("w/b/new"), "x")?;
    let ended = run(repository.dry_run(&["--gitignore", "w"]))?.expect(3)?;
    ended.says(
        "  w/b: it is outside the sparse checkout, and git's index does not say what is in it\n",
    )?;
    ensure!(!listed(&ended).iter().any(|path| path.starts_with("w/b")), "{ended:?}");
    // The same with rules that are not on the disk.
    repository.git("w", &["sparse-checkout", "set", "--no-sparse-index", "a"])?;
    fs::remove_dir_all(repository.at.join("w/b")).ok();
    repository.git("w", &["update-index", "--no-skip-worktree", "b/out"])?;
    write(&repository.at.join("w/b/out"), "x")?;
    assert_eq!(repository.would_send("w")?, repository.ls_files("w")?);
    write(&repository.at.join("w/b/new"), "x")?;
    let ended = run(repository.dry_run(&["--gitignore", "w"]))?.expect(3)?;
    ended.says("  w/b: its .gitignore is outside the sparse checkout\n")
}

/// Where there is no answer there is a sentence, whether the repository is named or met.
#[test]
#[cfg(unix)]
fn of_a_repository_that_cannot_be_read_nothing_is_guessed() -> Result<()> {
    let Some(repository) = Repository::new()? else { return Ok(()) };
    repository.git("", &["init", "-q", "sound"])?;
    repository.write(&["sound/file"])?;
    repository.git("sound", &["add", "-A"])?;
    let put = |path: &str, content: &[u8]| write(&repository.at.join("r/.git").join(path), content);
    let append = |text: &str| -> Result<()> {
        let config = fs::read(repository.at.join("sound/.git/config"))?;
        put("config", &[&config, text.as_bytes()].concat())
    };
    type Damage<'a> = &'a dyn Fn() -> Result<()>;
    let cases: &[(&str, Damage)] = &[
        ("its configuration \"", &|| put("config", b"[core\n")),
        ("its index cannot be understood", &|| put("index", b"DIRC\0\0\0\x02\xff\xff\xff\xff")),
        ("its index cannot be understood", &|| put("index", b"")),
        ("its repository is a bare one", &|| append("[core]\n\tbare = true\n")),
        ("its work tree is elsewhere, in \"", &|| append("[core]\n\tworktree = ../../sound\n")),
        ("its work tree is elsewhere, in \"", &|| append("[core]\n\tworktree = /nowhere\n")),
        ("has a format that is not known here", &|| {
            append("[core]\n\trepositoryformatversion = 7\n")
        }),
        ("has a format that is not known here", &|| append("[extensions]\n\tobjectFormat = x\n")),
        ("core.ignoreCase is neither", &|| append("[core]\n\tignoreCase = perhaps\n")),
        ("core.excludesFile: \"", &|| append("[core]\n\texcludesFile = /\n")),
        ("core.excludesFile: ", &|| append("[core]\n\texcludesFile = ~nobody/x\n")),
        ("its configuration \"", &|| append("[include]\n\tpath = config\n")),
        ("more includes than anybody needs", &|| {
            for depth in 0..9 {
                let next = format!("[include]\n\tpath = {}\n", depth + 1).repeat(30);
                put(&depth.to_string(), next.as_bytes())?;
            }
            append("[include]\n\tpath = 0\n")
        }),
    ];
    for (why, damage) in cases {
        fs::remove_dir_all(repository.at.join("r")).ok();
        let mut copy = Command::new("cp");
        copy.arg("-R").arg(repository.at.join("sound")).arg(repository.at.join("r"));
        ensure!(copy.status()?.success());
        damage()?;
        let ended = run(repository.dry_run(&["--gitignore", "r"]))?.expect(1)?;
        ended.says("cannot tell what git lists of ")?;
        ended.says(why)?;
        let ended = run(repository.dry_run(&["--gitignore", "."]))?.expect(3)?;
        ended.says("/r: cannot tell what git lists of it: ")?;
        ended.says(why)?;
        ensure!(!listed(&ended).iter().any(|path| path.contains("/r/")), "{ended:?}");
        ensure!(!ended.stderr.contains("panicked"), "{ended:?}");
    }
    // A file that leads nowhere.
    fs::remove_dir_all(repository.at.join("r"))?;
    write(&repository.at.join("r/.git"), "gitdir: nowhere\n")?;
    let ended = run(repository.dry_run(&["--gitignore", "r"]))?.expect(1)?;
    ended.says("its file \".git\" names no repository\n")
}
