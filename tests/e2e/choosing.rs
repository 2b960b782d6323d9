//! What of the named paths goes: patterns, git's list, globs, and the list of a dry run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::util::process::{Ended, Sender, receiving, run, send_into, transfer};
#[cfg(unix)]
use crate::util::tree::chmod;
use crate::util::tree::{self, Scratch, names, write};

/// `transfer send --dry-run -y ARGUMENTS` in a folder.
fn dry_run(here: &Path, arguments: &[&str]) -> Command {
    let mut command = transfer();
    command.args(["send", "--dry-run", "-y"]).args(arguments).current_dir(here);
    command
}

/// The second column of a dry run: paths, folders with a slash at their end.
fn listed(ended: &Ended) -> Vec<&str> {
    ended.stdout.lines().filter_map(|line| line.split('\t').nth(1)).collect()
}

/// A photographer's project, beside another.
fn project() -> Result<Scratch> {
    let from = Scratch::new()?;
    for path in [
        "photos/a.jpg",
        "photos/b.PNG",
        "photos/raw/a.raw",
        "photos/raw/best/b.raw",
        "photos/sub/raw/c.raw",
        "photos/tmp",
        "notes/tmp/draft.log",
        "notes/today.txt",
        "notes/photos/raw/d.raw",
    ] {
        write(&from.join(path), path)?;
    }
    Ok(from)
}

#[test]
fn patterns_leave_out_what_they_name() -> Result<()> {
    let from = project()?;
    let ended = run(dry_run(from.path(), &["photos", "notes"]))?.expect(0)?;
    let all: BTreeSet<String> = listed(&ended).into_iter().map(str::to_owned).collect();
    assert_eq!(all.len(), 18, "{all:?}");
    // The patterns, and what stays behind: a name anywhere, a path, or all below one.
    let cases: &[(&[&str], &[&str])] = &[
        (&["*.raw"], &["a.raw", "b.raw", "c.raw", "d.raw"]),
        (&["*.png"], if cfg!(windows) { &["b.PNG"] } else { &[] }),
        (&["*.{PNG,jpg}"], &["a.jpg", "b.PNG"]),
        (&["raw"], &["photos/raw/", "photos/sub/raw/", "notes/photos/raw/"]),
        (&["tmp"], &["photos/tmp", "notes/tmp/"]),
        (&["tmp/"], &["notes/tmp/"]),
        (&["photos/raw"], &["photos/raw/"][..]),
        (&["./photos/raw/"], &["photos/raw/"]),
        (&["photos/raw/**"], &["photos/raw/a.raw", "photos/raw/best/"]),
        (&["**/raw/best"], &["photos/raw/best/"]),
        (&["/photos"], &["photos/"]),
        (&["/raw"], &[]),
        (&["notes", "*.jpg"], &["notes/", "photos/a.jpg"]),
    ];
    for (patterns, expected) in cases {
        let options = patterns.iter().flat_map(|pattern| ["-x", *pattern]);
        let arguments: Vec<&str> = options.chain(["photos", "notes"]).collect();
        let ended = run(dry_run(from.path(), &arguments))?.expect(0)?;
        let kept: BTreeSet<String> = listed(&ended).into_iter().map(str::to_owned).collect();
        let stays = |path: &String| {
            expected.iter().any(|out| match (out.contains('/'), out.ends_with('/')) {
                (false, _) => path.rsplit('/').next() == Some(out),
                // Only at the top: "photos/" is also in notes.
                (true, true) => path.starts_with(out),
                (true, false) => path == out,
            })
        };
        let expected: BTreeSet<String> = all.iter().filter(|path| !stays(path)).cloned().collect();
        assert_eq!(kept, expected, "{patterns:?}");
    }
    Ok(())
}

/// The real thing does what the dry run says.
#[test]
fn what_is_left_out_does_not_arrive_and_is_counted() -> Result<()> {
    let (from, into) = (project()?, Scratch::new()?);
    let options = ["-x", "raw/", "--exclude", "*.log", "-x", "*.nope"];
    let paths = [&*from.join("photos"), &*from.join("notes")];
    let (sent, _) = send_into(into.path(), &paths, &options, 0)?;
    sent.says("left out: 4 entries by --exclude\n")?;
    sent.says("sending 4 files, 5 folders, 49 B: notes/, photos/\n")?;
    let arrived: Vec<PathBuf> = tree::tree(into.path())?.into_keys().collect();
    let expected = [
        "",
        "notes",
        "notes/photos",
        "notes/tmp",
        "notes/today.txt",
        "photos",
        "photos/a.jpg",
        "photos/b.PNG",
        "photos/sub",
        "photos/tmp",
    ];
    assert_eq!(arrived, expected.map(PathBuf::from));
    Ok(())
}

/// Whoever mistypes a pattern wants to know before the files are gone, and once is enough.
#[test]
fn a_pattern_that_leaves_nothing_out_is_told_before_the_receiver_comes() -> Result<()> {
    let (from, into) = (project()?, Scratch::new()?);
    let options = ["-x", "*.jgp", "-x", "*.jpg", "-x", "build/"];
    let mut sender = Sender::pod(&[&from.join("photos")], &options)?;
    sender.process.wait_until_said("\"*.jgp\" and \"build/\" leave nothing out\n")?;
    run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
    let sent = sender.end()?.expect(0)?;
    assert_eq!(sent.stderr.matches("nothing out").count(), 1, "{sent:?}");

    let ended = run(dry_run(from.path(), &["-x", "raw/best", "photos"]))?.expect(0)?;
    ended.says(
        "\"raw/best\" leaves nothing out; a pattern with \"/\" means the path as it arrives, \
         from the first name on\n",
    )
}

/// What stays behind on purpose is no loss: neither its name nor what is in it is complained of.
#[test]
#[cfg(unix)]
fn what_cannot_be_sent_can_be_excluded() -> Result<()> {
    let from = Scratch::new()?;
    write(&from.join("t/file"), "x")?;
    write(&from.join("t/line\nbreak"), "x")?;
    write(&from.join("t/secret/file"), "x")?;
    std::os::unix::fs::symlink("/etc/passwd", from.join("t/link"))?;
    std::os::unix::fs::symlink("nowhere", from.join("t/dangling"))?;
    chmod(&from.join("t/secret"), 0)?;
    let excluded = ["-x", "line*", "-x", "secret", "-x", "link", "-x", "dangling"];
    for follow in [&[][..], &["--follow-symlinks"]] {
        let arguments = [&excluded[..], follow, &["t"]].concat();
        let ended = run(dry_run(from.path(), &arguments))?.expect(0)?;
        assert_eq!(listed(&ended), ["t/", "t/file"]);
    }
    Ok(())
}

/// A repository, and git's own view of it; nothing of this machine's configuration counts.
struct Repository {
    at: Scratch,
}

impl Repository {
    /// A folder for repositories, or nothing where there is no git.
    fn new() -> Result<Option<Self>> {
        if Command::new("git").arg("--version").output().is_err() {
            eprintln!("skipped: there is no git");
            return Ok(None);
        }
        let at = Scratch::new()?;
        fs::create_dir(at.join("home"))?;
        Ok(Some(Self { at }))
    }

    /// A command that has the same configuration as git.
    fn configured(&self, mut command: Command) -> Command {
        let home = self.at.join("home");
        command.env("HOME", &home).env("XDG_CONFIG_HOME", home.join("xdg"));
        command.env("GIT_CONFIG_NOSYSTEM", "1").env_remove("GIT_CONFIG_GLOBAL");
        command.env("GIT_CEILING_DIRECTORIES", self.at.path());
        command
    }

    fn git(&self, folder: &str, arguments: &[&str]) -> Result<Vec<u8>> {
        let mut command = self.configured(Command::new("git"));
        command.arg("-C").arg(self.at.join(folder));
        command.args(["-c", "user.name=n", "-c", "user.email=e@example.com"]);
        command.args(["-c", "protocol.file.allow=always"]);
        let output = command.args(arguments).output()?;
        ensure!(output.status.success(), "git {arguments:?}: {output:?}");
        Ok(output.stdout)
    }

    fn write(&self, paths: &[&str]) -> Result<()> {
        paths.iter().try_for_each(|path| write(&self.at.join(path), path))
    }

    fn dry_run(&self, arguments: &[&str]) -> Command {
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

/// Names that the protocol does not have are listed as ever, also when git lists them.
#[test]
#[cfg(unix)]
fn git_lists_names_that_cannot_be_sent() -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let Some(repository) = Repository::new()? else { return Ok(()) };
    repository.git("", &["init", "-q", "r"])?;
    repository.write(&["r/file", "r/line\nbreak"])?;
    if cfg!(target_os = "linux") {
        write(&repository.at.join("r").join(std::ffi::OsStr::from_bytes(b"latin-\xe9")), "x")?;
    }
    let ended = run(repository.dry_run(&["--gitignore", "r"]))?.expect(3)?;
    assert_eq!(listed(&ended), ["r/", "r/file"]);
    ended.says("  r/line\\u{a}break: it has a control character\n")?;
    if cfg!(target_os = "linux") {
        ended.says("  r/latin-\u{fffd}: it is not valid UTF-8\n")?;
    }
    Ok(())
}

/// Git leaves a folder that it cannot read out of its list with a warning only.
#[test]
#[cfg(unix)]
fn git_leaves_no_unreadable_folder_behind_in_silence() -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let Some(repository) = Repository::new()? else { return Ok(()) };
    if fs::metadata(repository.at.path())?.uid() == 0 {
        eprintln!("skipped: root can read everything");
        return Ok(());
    }
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

#[test]
#[cfg(unix)]
fn without_git_or_against_its_will_nothing_is_guessed() -> Result<()> {
    let Some(repository) = Repository::new()? else { return Ok(()) };
    repository.git("", &["init", "-q", "r"])?;
    repository.write(&["r/file", "ran"])?;
    let mut command = repository.dry_run(&["--gitignore", "r"]);
    let ended = run({
        command.env("PATH", repository.at.join("home"));
        command
    })?
    .expect(1)?;
    assert_eq!(
        ended.stderr,
        "error: git is not installed, and --gitignore asks it\n  \
         install git, or name what to leave out with --exclude\n"
    );
    // A program that the repository names is not run.
    fs::remove_file(repository.at.join("ran"))?;
    let hook = repository.at.join("home/hook");
    write(&hook, format!("#!/bin/sh\ntouch '{}'\n", repository.at.join("ran").display()))?;
    chmod(&hook, 0o755)?;
    let hook = hook.to_str().context("UTF-8")?;
    repository.git("r", &["config", "core.fsmonitor", hook])?;
    repository.git("r", &["status"])?;
    fs::remove_file(repository.at.join("ran")).context("git itself does run it")?;
    run(repository.dry_run(&["--gitignore", "r"]))?.expect(0)?;
    ensure!(!repository.at.join("ran").exists(), "the repository's program has run");
    // A repository that git cannot read, named itself and met on the way.
    write(&repository.at.join("r/.git/config"), "[core\n")?;
    let ended = run(repository.dry_run(&["--gitignore", "r"]))?.expect(1)?;
    ended.says("error: git cannot list \"r\": bad config line 1")?;
    let ended = run(repository.dry_run(&["--gitignore", "."]))?.expect(3)?;
    ended.says("/r: git cannot list it: bad config line 1")?;
    ensure!(!listed(&ended).iter().any(|path| path.contains("/r/")), "{ended:?}");
    Ok(())
}

/// Patterns that no shell has expanded, and names that only look like one.
#[test]
fn globs_are_expanded_unless_the_name_exists() -> Result<()> {
    let from = project()?;
    write(&from.join(".hidden.txt"), "x")?;
    write(&from.join("x.txt"), "x")?;
    if cfg!(unix) {
        write(&from.join("a*b"), "x")?;
        write(&from.join("aXb"), "x")?;
        let ended = run(dry_run(from.path(), &["a*b"]))?.expect(0)?;
        assert_eq!(ended.stdout, "1\ta*b\n");
    }
    let cases: &[(&[&str], &[&str])] = &[
        (&["*.txt"], &["x.txt"]),
        (&[".*.txt", "*.txt"], &[".hidden.txt", "x.txt"]),
        (&["photos/*.{jpg,PNG}"], &["a.jpg", "b.PNG"]),
        (&["**/best"], &["best/", "best/b.raw"]),
        // Named twice is sent once.
        (&["x.txt", "./x*", "?.txt"], &["x.txt"]),
        (&["n*", "-x", "photos", "-x", "tmp"], &["notes/", "notes/today.txt"]),
    ];
    for (arguments, expected) in cases {
        let ended = run(dry_run(from.path(), arguments))?.expect(0)?;
        assert_eq!(listed(&ended), *expected, "{arguments:?}");
    }
    let ended = run(dry_run(from.path(), &["x.txt", "*.jgp"]))?.expect(2)?;
    let told = "error: nothing matches \"*.jgp\"\n  check the pattern, and the folder you are in\n";
    assert_eq!((&*ended.stdout, &*ended.stderr), ("", told));
    // Two folders deep one name comes twice, and that is told before anything is sent.
    let ended = run(dry_run(from.path(), &["**/raw"]))?.expect(2)?;
    ended.says("would both arrive as \"raw\"")
}

/// Sizes, tabs, slashes, arrows: for scripts. The sum and the rest: for people.
#[test]
fn a_dry_run_lists_what_would_go() -> Result<()> {
    let from = project()?;
    write(&from.join("photos/node_modules/x"), "x")?;
    write(&from.join("photos/turned\u{202e}"), "x")?;
    #[cfg(unix)]
    std::os::unix::fs::symlink("a.jpg", from.join("photos/link"))?;
    let link = if cfg!(unix) { "0\tphotos/link\t-> a.jpg\n" } else { "" };
    let options = ["--exclude-dev", "-x", "raw", "-x", "sub", "photos"];
    let ended = run(dry_run(from.path(), &options))?.expect(0)?;
    assert_eq!(
        ended.stdout,
        format!(
            "0\tphotos/\n12\tphotos/a.jpg\n12\tphotos/b.PNG\n{link}10\tphotos/tmp\n\
             1\tphotos/turned\u{202e}\n"
        )
    );
    let links = if cfg!(unix) { ", 1 link" } else { "" };
    let told = format!(
        "left out: 2 entries by --exclude, 1 developer folder (photos/node_modules)\n\
         would send 4 files, 1 folder{links}, 35 B: photos/\n"
    );
    assert_eq!(ended.stderr, told);
    let ended = run(dry_run(from.path(), &[&options[..], &["-q"]].concat()))?.expect(0)?;
    assert_eq!(ended.stderr, "");
    ensure!(!ended.stdout.is_empty());
    Ok(())
}

#[test]
#[cfg(unix)]
fn a_dry_run_ends_as_sending_would() -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let from = Scratch::new()?;
    write(&from.join("t/file"), "x")?;
    std::os::unix::fs::symlink("/etc/passwd", from.join("t/link"))?;
    let ended = run(dry_run(from.path(), &["t"]))?.expect(3)?;
    ended.says("warning: cannot be sent: 1 thing\n  t/link: it points out of the tree\n")?;
    assert_eq!(listed(&ended), ["t/", "t/file"]);
    fs::remove_file(from.join("t/link"))?;
    if fs::metadata(from.path())?.uid() == 0 {
        eprintln!("skipped in part: root can read everything");
        return Ok(());
    }
    write(&from.join("t/closed"), "x")?;
    chmod(&from.join("t/closed"), 0)?;
    let ended = run(dry_run(from.path(), &["t"]))?.expect(3)?;
    ended.says("  t/closed: the sender may not read it\n")?;
    ended.says("would send 1 file, 1 folder, 1 B: t/\n")?;
    assert_eq!(listed(&ended), ["t/", "t/file"]);
    Ok(())
}

/// The list is that of the moment when the receiver comes, not when the ticket appeared.
#[test]
fn what_is_added_while_the_receiver_is_awaited_arrives() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    write(&from.join("t/early"), "x")?;
    let sender = Sender::pod(&[&from.join("t")], &[])?;
    // A list counts as fresh for 2 s.
    sleep(Duration::from_millis(2500));
    write(&from.join("t/late"), "x")?;
    write(&from.join("t/early"), "has grown")?;
    run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    assert_eq!(names(&into.join("t"))?, ["early", "late"].map(PathBuf::from).into());
    assert_eq!(fs::read_to_string(into.join("t/early"))?, "has grown");
    Ok(())
}
