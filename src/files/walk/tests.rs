use super::*;

fn tree(at: &Path, files: &[&str]) {
    for file in files {
        let file = at.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "x").unwrap();
    }
}

fn walked(path: &Path, developer: Developer, follow_symlinks: bool) -> Source {
    Walk::new(&[path.into()], &Filters::default())
        .unwrap()
        .run(WalkOptions { follow_symlinks, developer })
}

fn paths(source: &Source) -> Vec<String> {
    source.manifest.entries().iter().map(|entry| entry.path.to_string()).collect()
}

#[test]
fn developer_folders_are_noted_left_out_or_sent() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("p");
    tree(&top, &["a", "node_modules/m/x", "node_modules-notes", "src/__pycache__/y", "z"]);
    let without = ["p", "p/a", "p/node_modules-notes", "p/src", "p/z"];

    let included = walked(&top, Developer::Include, false);
    assert_eq!(included.manifest.totals().files, 5);
    assert!(included.developer.is_empty());
    assert_eq!(paths(&walked(&top, Developer::Exclude, false)), without);

    let noted = walked(&top, Developer::Note, false);
    assert_eq!(paths(&noted), paths(&included));
    let names: Vec<_> = noted.developer.iter().map(RelPath::to_string).collect();
    assert_eq!(names, ["p/node_modules", "p/src/__pycache__"]);

    // What was named itself is meant.
    let named = walked(&top.join("node_modules"), Developer::Exclude, false);
    assert_eq!(named.manifest.totals().files, 1);
}

/// An environment is full of links to the system's Python: no loss if it stays behind anyway.
#[cfg(unix)]
#[test]
fn nothing_is_said_of_what_is_in_a_developer_folder_that_stays_behind() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("p");
    tree(&top, &["a", "venv/pyvenv.cfg", "venv/bin/pip"]);
    std::os::unix::fs::symlink("/usr/bin/python3", top.join("venv/bin/python")).unwrap();
    assert_eq!(walked(&top, Developer::Include, false).unsent.len(), 1);
    let without = walked(&top, Developer::Exclude, false);
    assert_eq!(paths(&without), ["p", "p/a"]);
    assert_eq!(without.unsent, []);
}

/// What a link points to is not sent: it would mean something else on the other side.
#[cfg(unix)]
#[test]
fn links_into_an_excluded_path_stay_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    tree(&one, &["file"]);
    tree(&other, &["file"]);
    std::os::unix::fs::symlink("../other/file", one.join("link")).unwrap();
    let options = WalkOptions { follow_symlinks: false, developer: Developer::Include };
    for (pattern, expected) in [
        ("none", ["one", "one/file", "one/link", "other", "other/file"].as_slice()),
        ("other", &["one", "one/file"]),
        // Only the file: the link is as broken there as it would be here.
        ("other/file", &["one", "one/file", "one/link", "other"]),
    ] {
        let exclude = vec![crate::files::exclude::Pattern::parse(pattern).unwrap()];
        let filters = Filters { exclude, ..Filters::default() };
        let source = Walk::new(&[one.clone(), other.clone()], &filters).unwrap().run(options);
        assert_eq!(paths(&source), expected, "{pattern}");
        assert_eq!(source.unsent.len(), usize::from(pattern == "other"), "{pattern}");
    }
}

#[test]
fn a_path_that_is_named_twice_goes_once() {
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path(), &["a/x", "b/x", "y"]);
    let at = |path: &str| dir.path().join(path);
    let walk = |paths: &[PathBuf]| Walk::new(paths, &Filters::default());
    let options = WalkOptions { follow_symlinks: false, developer: Developer::Include };
    let twice = walk(&[at("a/x"), at("y"), at("b/../a/x")]).unwrap().run(options);
    assert_eq!(paths(&twice), ["x", "y"]);
    let error = walk(&[at("a/x"), at("b/x")]).unwrap_err();
    assert!(error.message.ends_with("would both arrive as \"x\""), "{error}");
}

#[cfg(unix)]
#[test]
fn what_cannot_be_sent_is_listed_under_its_name_in_the_tree() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("t");
    tree(&top, &["d/file"]);
    symlink("../outside", top.join("out")).unwrap();
    symlink("/etc/passwd", top.join("d/absolute")).unwrap();
    symlink("file", top.join("d/kept")).unwrap();
    let source = walked(&top, Developer::Include, false);
    assert_eq!(paths(&source), ["t", "t/d", "t/d/file", "t/d/kept"]);
    assert!(source.as_text().is_none());
    let unsent: Vec<_> = source.unsent.iter().map(|u| (&*u.name, &*u.why)).collect();
    let expected = [
        (&b"t/d/absolute"[..], "it points out of the tree"),
        (b"t/out", "it points out of the tree"),
    ];
    assert_eq!(unsent, expected);
}

/// They go to whoever takes them; to others goes what else there is, and its content is its own.
#[cfg(target_os = "linux")]
#[test]
fn names_of_bytes_are_listed_and_can_be_left_out() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("t");
    tree(&top, &["Icon\r", "line\nbreak/inside", "line\nbreak/deeper/x", "z"]);
    let latin = OsStr::from_bytes(b"latin-\xe9");
    fs::write(top.join(latin), "latin").unwrap();
    fs::write(top.join("a"), "its own").unwrap();
    symlink(latin, top.join("link")).unwrap();
    symlink("z", top.join(OsStr::from_bytes(b"\xff"))).unwrap();
    let source = walked(&top, Developer::Include, false);
    let listed = [
        "t",
        "t/Icon\\u{d}",
        "t/a",
        "t/latin-\\xe9",
        "t/line\\u{a}break",
        "t/line\\u{a}break/deeper",
        "t/line\\u{a}break/deeper/x",
        "t/line\\u{a}break/inside",
        "t/link",
        "t/z",
        "t/\\xff",
    ];
    assert_eq!(paths(&source), listed);
    assert_eq!(source.unsent, []);
    for (index, entry) in source.manifest.indexed().filter(|(_, entry)| entry.is_file()) {
        source.files(false).open(index).unwrap_or_else(|fault| panic!("{}: {fault:?}", entry.path));
    }

    let text = source.as_text().unwrap();
    assert_eq!(paths(&text), ["t", "t/a", "t/z"]);
    let unsent: Vec<_> = text.unsent.iter().map(|u| (&*u.name, &*u.why)).collect();
    let expected = [
        (&b"t/Icon\r"[..], "it has a control character"),
        (b"t/latin-\xe9", "it is not valid UTF-8"),
        (b"t/line\nbreak", "it has a control character"),
        (b"t/link", "its target: it is not valid UTF-8"),
        (b"t/\xff", "it is not valid UTF-8"),
    ];
    assert_eq!(unsent, expected);
    let mut content = [0; 7];
    text.files(false).open(1).unwrap().read(&mut content).unwrap();
    assert_eq!(&content, b"its own");
}

#[cfg(unix)]
#[test]
fn followed_links_end_where_they_go_in_circles() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("t");
    tree(&top, &["d/file"]);
    std::os::unix::fs::symlink("..", top.join("d/up")).unwrap();
    let source = walked(&top, Developer::Include, true);
    assert_eq!(paths(&source), ["t", "t/d", "t/d/file"]);
    let why = source.unsent.iter().map(|unsent| &*unsent.why);
    assert_eq!(why.collect::<Vec<_>>(), ["it is a link to a folder that holds it"]);
}

/// What was listed is what is opened, whatever has taken its place.
#[cfg(unix)]
#[test]
fn only_the_file_that_was_listed_is_opened() {
    use crate::files::reader::{End, SourceFault};
    use std::os::unix::fs::symlink;
    type Change = fn(&Path);
    let swap = |at: &Path, name: &str| fs::rename(at.join(name), at.join("gone")).unwrap();
    let same = |path: &Path, content: &str| {
        fs::write(path, content).unwrap();
        filetime::set_file_mtime(path, filetime::FileTime::from_unix_time(1_000_000_000, 0))
            .unwrap();
    };
    // What happens between the list and the first byte, and what comes of it, without following
    // links and with.
    let cases: &[(&str, Change, Result<(), SourceFault>, Result<(), SourceFault>)] = &[
        ("nothing", |_| (), Ok(()), Ok(())),
        (
            "its folder has become a link to another",
            |at| symlink("../other/d", at.join("t/a")).unwrap(),
            Err(SourceFault::Vanished),
            Err(SourceFault::Changed),
        ),
        (
            "its folder has become another",
            |at| fs::rename(at.join("other/d"), at.join("t/a")).unwrap(),
            Err(SourceFault::Changed),
            Err(SourceFault::Changed),
        ),
        (
            "its folder has become a link to where it is now",
            |at| symlink("../gone", at.join("t/a")).unwrap(),
            Err(SourceFault::Vanished),
            Ok(()),
        ),
    ];
    for (what, change, plain, followed) in cases {
        for (follow, expected) in [(false, plain), (true, followed)] {
            let dir = tempfile::tempdir().unwrap();
            let at = dir.path();
            tree(at, &["t/a/b/file", "other/d/b/file"]);
            for file in ["t/a/b/file", "other/d/b/file"] {
                same(&at.join(file), "content");
            }
            let source = walked(&at.join("t"), Developer::Include, follow);
            if *what != "nothing" {
                swap(at, "t/a");
            }
            change(at);
            let opened = source.files(follow).open(3).map(drop);
            // A link in a folder's place is told in different words by different systems.
            let refused = opened.is_err() && expected.is_err() && !follow;
            assert!(refused || opened == *expected, "{what}, {follow}: {opened:?}");
        }
    }

    // The same for the file itself, for a file that was named, and for the folder that was.
    let cases: &[(&str, Change, Result<End, SourceFault>)] = &[
        ("nothing", |_| (), Ok(End::AsListed)),
        ("longer", |file| fs::write(file, "content and more").unwrap(), Ok(End::Grown)),
        ("shorter", |file| fs::write(file, "con").unwrap(), Err(SourceFault::Changed)),
        ("written anew", |file| fs::write(file, "CONTENT").unwrap(), Err(SourceFault::Changed)),
        (
            "replaced by one of the same length and time",
            |file| {
                let other = file.with_extension("other");
                fs::write(&other, "CONTENT").unwrap();
                let time = filetime::FileTime::from_unix_time(1_000_000_000, 0);
                filetime::set_file_mtime(&other, time).unwrap();
                fs::rename(other, file).unwrap();
            },
            Err(SourceFault::Changed),
        ),
        (
            "a link to itself",
            |file| {
                fs::rename(file, file.with_extension("kept")).unwrap();
                symlink(file.with_extension("kept"), file).unwrap();
            },
            Err(SourceFault::Changed),
        ),
        (
            "a folder",
            |file| {
                fs::remove_file(file).unwrap();
                fs::create_dir(file).unwrap();
            },
            Err(SourceFault::Changed),
        ),
        ("gone", |file| fs::remove_file(file).unwrap(), Err(SourceFault::Vanished)),
        (
            "a pipe",
            |file| {
                fs::remove_file(file).unwrap();
                assert!(std::process::Command::new("mkfifo").arg(file).status().unwrap().success());
            },
            Err(SourceFault::Changed),
        ),
    ];
    for (what, change, expected) in cases {
        for named in ["t", "t/file"] {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("t/file");
            tree(dir.path(), &["t/file"]);
            same(&file, "content");
            let source = walked(&dir.path().join(named), Developer::Include, false);
            change(&file);
            let index = u32::try_from(source.manifest.entries().len() - 1).unwrap();
            let end = source.files(false).open(index).and_then(|mut file| {
                file.read(&mut [0; 7])?;
                file.end()
            });
            assert_eq!(end, *expected, "{what}, {named}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path(), &["t/file", "other/file"]);
    let source = walked(&dir.path().join("t"), Developer::Include, false);
    fs::rename(dir.path().join("t"), dir.path().join("kept")).unwrap();
    symlink("kept", dir.path().join("t")).unwrap();
    // It is the folder that was named, by another way: that is for whoever named it to change.
    assert!(source.files(false).open(1).is_ok());
    fs::remove_file(dir.path().join("t")).unwrap();
    symlink("other", dir.path().join("t")).unwrap();
    let source = Source { openers: Mutex::default(), ..source };
    assert_eq!(source.files(false).open(1).map(drop), Err(SourceFault::Changed));
}

/// Deeper than there are folders kept open, from one to the next and back.
#[test]
fn files_of_a_deep_tree_are_opened_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let deep: Vec<String> =
        (0..40).map(|depth| format!("t/{}f{depth}", "d/".repeat(depth))).collect();
    for file in &deep {
        tree(dir.path(), &[file]);
    }
    let source = walked(&dir.path().join("t"), Developer::Include, false);
    let files: Vec<u32> = (0..)
        .zip(source.manifest.entries())
        .filter(|(_, it)| it.is_file())
        .map(|(index, _)| index)
        .collect();
    assert_eq!(files.len(), 40);
    let mut opened = source.files(false);
    let jumps = (0..40).map(|at| at * 17 % 40);
    for at in (0..40).chain((0..40).rev()).chain(jumps) {
        opened.open(files[at]).unwrap();
    }
}

/// Where the system makes up what is read, the content is what is there and not what the size says.
#[cfg(target_os = "linux")]
#[test]
fn what_is_not_on_a_disk_is_read_when_it_is_listed() {
    for path in
        ["/proc/version", "/proc/filesystems", "/sys/kernel/mm/transparent_hugepage/enabled"]
    {
        let Ok(content) = fs::read(path) else { continue };
        let source = walked(Path::new(path), Developer::Include, false);
        assert_eq!(source.manifest.totals().bytes, content.len() as u64, "{path}");
        let mut file = source.files(false).open(0).unwrap();
        let mut read = vec![0; content.len()];
        file.read(&mut read).unwrap();
        assert_eq!(read, content);
        assert!(file.end().is_ok());
    }
    let folder = walked(Path::new("/proc/self"), Developer::Include, false);
    assert!(folder.manifest.entries().is_empty());
    assert_eq!(folder.unsent.len(), 1, "{:?}", folder.unsent);
    assert_eq!(walked(Path::new("/proc/self/net"), Developer::Include, true).unsent.len(), 1);
}
