use super::*;
use crate::files::exclude::Pattern;

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

fn paths(source: &Source) -> Vec<&str> {
    source.manifest.entries().iter().map(|entry| entry.path.as_str()).collect()
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
    let names: Vec<_> = noted.developer.iter().map(RelPath::as_str).collect();
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
        let exclude = vec![Pattern::parse(pattern).unwrap()];
        let filters = Filters { exclude, gitignore: false };
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
    tree(&top, &["d/file", "line\nbreak/inside"]);
    symlink("../outside", top.join("out")).unwrap();
    symlink("/etc/passwd", top.join("d/absolute")).unwrap();
    symlink("file", top.join("d/kept")).unwrap();
    let source = walked(&top, Developer::Include, false);
    assert_eq!(paths(&source), ["t", "t/d", "t/d/file", "t/d/kept"]);
    let unsent: Vec<_> = source.unsent.iter().map(|u| (&*u.name, &*u.why)).collect();
    let expected = [
        ("t/d/absolute", "it points out of the tree"),
        ("t/line\nbreak", "it has a control character"),
        ("t/out", "it points out of the tree"),
    ];
    assert_eq!(unsent, expected);
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

#[test]
fn times_before_and_after_1970_survive() {
    for time in [0, 1, -1, 1_700_000_000_123_456_789, -1_500_000_000_000_000_001] {
        assert_eq!(nanoseconds(system_time(time)), time);
    }
}
