use super::*;
use crate::files::manifest::Entry;

fn manifest(names: &[&str]) -> Manifest {
    let mut manifest = Manifest::default();
    for name in names {
        let path = RelPath::parse(name).unwrap();
        let kind = if name.ends_with('/') { Kind::Folder } else { Kind::File(10) };
        manifest.push(Entry { path, kind, mode: 0o644, mtime: -5 }).unwrap();
    }
    manifest
}

fn head() -> Head {
    Head { session: Uuid::from_bytes([7; 16]), sender: "100.64.0.1".into(), files: 3, bytes: 30 }
}

#[test]
fn what_is_saved_is_what_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let mut root = Root::open(dir.path()).unwrap();
    let manifest = manifest(&["a", "b", "c", "d"]);
    let mut lock = TransferLockManager::acquire(&mut root).unwrap();
    let parts = BTreeMap::from([(1, "b.1.part".into())]);
    let mut places = Places::default();
    places.insert(2, manifest.get(2).unwrap(), RelPath::parse("c (1)").unwrap());
    let snapshot = Snapshot {
        head: &head(),
        manifest: &manifest,
        done: &[Some([1; 32]), None, None, None],
        wanted: &|index| index != 3,
        current: Some((1, 4, [2; 32])),
        parts: &parts,
        places: &places,
        made: &BTreeSet::from([3]),
        older: &BTreeMap::new(),
    };
    lock.save(&mut root, &snapshot).unwrap();

    let known = |completed, part: Option<&str>| {
        let part = part.map(Into::into);
        Known { size: 10, mtime: Some(-5), part, completed }
    };
    let expected = Remembered {
        files: BTreeMap::from([
            (0, known(true, None)),
            (1, known(false, Some("b.1.part"))),
            (2, known(false, None)),
        ]),
        places: places.clone(),
        made: BTreeSet::from([3]),
    };
    assert_eq!(lock.load(&mut root, &manifest), expected);

    let json = std::fs::read(dir.path().join(".transfer_lock.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["version"], "1.0");
    assert_eq!(json["session_id"], "07070707-0707-0707-0707-070707070707");
    assert_eq!(json["sender_ip"], "100.64.0.1");
    assert_eq!((&json["total_files"], &json["total_size"]), (&3.into(), &30.into()));
    let files = &json["files"];
    assert_eq!(
        (&files["a"]["status"], &files["a"]["transferred_bytes"]),
        (&"completed".into(), &10.into())
    );
    assert_eq!(files["a"]["original_hash"], "01".repeat(32));
    assert_eq!(
        (&files["b"]["status"], &files["b"]["transferred_bytes"]),
        (&"in_progress".into(), &4.into())
    );
    assert_eq!(files["b"]["partial_hash"], "02".repeat(32));
    assert_eq!(
        (&files["c"]["status"], &files["c"]["transferred_bytes"]),
        (&"pending".into(), &0.into())
    );
    assert!(files.get("d").is_none());

    lock.remove(&mut root).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    lock.remove(&mut root).unwrap();
}

#[test]
fn a_lock_that_makes_no_sense_says_nothing() {
    let manifest = manifest(&["a", "b"]);
    let good = r#"{"version":"1.0","inode":7,"session_id":"x","timestamp":"y","sender_ip":"z","total_files":1,
        "total_size":1,"files":{"a":{"status":"in_progress","size":5,"transferred_bytes":3,"partial_hash":"h"}}}"#;
    let parsed = parse(good.as_bytes(), &manifest, 7);
    let expected = Known { size: 5, mtime: None, part: None, completed: false };
    assert_eq!(parsed.files, BTreeMap::from([(0, expected)]));

    for cut in 0..good.len() {
        assert!(parse(&good.as_bytes()[..cut], &manifest, 7).is_empty(), "cut at {cut}");
    }
    let bad = [
        good.replace("1.0", "2.0"),
        good.replace(r#""inode":7"#, r#""inode":8"#),
        good.replace(r#""inode":7,"#, ""),
        good.replace(r#""version":"1.0","#, ""),
        good.replace("1.0", "1.00"),
        good.replace(r#"{"version":"1.0","inode":7,"#, r#"{"inode":7,"version":"1.0","#),
        format!("{good}x"),
        good.replace("in_progress", "finished"),
        good.replace(r#""size":5"#, r#""size":-5"#),
        good.replace(r#""a""#, r#""../a""#),
        good.replace(r#""a""#, r#""unknown""#),
        "[]".into(),
        "null".into(),
        "[".repeat(100_000),
        String::from_utf8_lossy(&[0xff; 100]).into_owned(),
    ];
    for lock in bad {
        assert!(parse(lock.as_bytes(), &manifest, 7).is_empty(), "{}", &lock[..lock.len().min(80)]);
    }
}

/// A sender can send a file of this name, of any length.
#[test]
fn no_more_than_the_beginning_is_read_of_a_lock_of_others() {
    const REST: u64 = 1 << 20;
    let of_others = &b"{\"version\":\"1.0\",\"inode\":8,\"merged\":["[..];
    let mut rest = io::repeat(b' ').take(REST);
    assert!(parse(of_others.chain(&mut rest), &manifest(&["a"]), 7).is_empty());
    assert_eq!(rest.limit(), REST);
}

#[test]
fn names_in_a_lock_are_checked() {
    let manifest = manifest(&["a", "b"]);
    let lock = |part: &str, place: &str| {
        let file =
            format!(r#"{{"status":"pending","size":5,"transferred_bytes":0,"part":"{part}"}}"#);
        let lock = format!(
            r#"{{"version":"1.0","inode":7,"files":{{"a":{file}}},"renamed":{{"b":"{place}"}}}}"#
        );
        parse(lock.as_bytes(), &manifest, 7)
    };
    for part in ["../a.part", "/a.part", "d/a.part", "thesis.txt", ""] {
        assert_eq!(lock(part, "b (1)").files[&0].part, None, "{part}");
    }
    assert_eq!(lock("a.3.part", "b (1)").files[&0].part.as_deref(), Some("a.3.part"));
    for place in ["../b", "/b", "", "b/../../c"] {
        assert!(lock("a.part", place).places.is_empty(), "{place}");
    }
}

/// What is somebody else's stays, whatever it is called.
#[test]
fn only_own_locks_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut root = Root::open(dir.path()).unwrap();
    let manifest = manifest(&["a"]);
    std::fs::write(dir.path().join(".transfer_lock.json"), "{}").unwrap();
    std::fs::write(dir.path().join(".transfer_lock.1.json.0.tmp"), "mine").unwrap();
    std::fs::create_dir(dir.path().join(".transfer_lock.2.json")).unwrap();
    let names = |names: &[&str]| {
        let found = std::fs::read_dir(dir.path()).unwrap();
        let mut found: Vec<_> =
            found.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        found.sort();
        assert_eq!(found, names);
    };
    let mut lock = TransferLockManager::acquire(&mut root).unwrap();
    for _ in 0..2 {
        let snapshot = Snapshot {
            head: &head(),
            manifest: &manifest,
            done: &[None],
            wanted: &|_| true,
            current: None,
            parts: &BTreeMap::new(),
            places: &Places::default(),
            made: &BTreeSet::new(),
            older: &BTreeMap::new(),
        };
        lock.save(&mut root, &snapshot).unwrap();
        names(&[
            ".transfer_lock.1.json",
            ".transfer_lock.1.json.0.tmp",
            ".transfer_lock.2.json",
            ".transfer_lock.json",
        ]);
        assert_eq!(lock.load(&mut root, &manifest).files.len(), 1);
    }
    drop(lock);
    // The next run finds its own.
    let lock = TransferLockManager::acquire(&mut root).unwrap();
    assert_eq!(lock.load(&mut root, &manifest).files.len(), 1);
    lock.remove(&mut root).unwrap();
    names(&[".transfer_lock.1.json.0.tmp", ".transfer_lock.2.json", ".transfer_lock.json"]);
}

#[test]
fn the_names_of_locks_are_reserved() {
    let cases = [
        (".transfer_lock.json", true),
        (".TRANSFER_Lock.Json", true),
        (".transfer_lock.12.json.3.tmp", true),
        (".transfer_lock.guard", true),
        (".transfer_lock", false),
        ("transfer_lock.json", false),
        ("d/.transfer_lock.json", false),
    ];
    for (path, reserved) in cases {
        assert_eq!(is_reserved(&RelPath::parse(path).unwrap()), reserved, "{path}");
    }
}

#[cfg(unix)]
#[test]
fn one_receiver_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (mut one, mut two) = (Root::open(dir.path()).unwrap(), Root::open(dir.path()).unwrap());
    let first = TransferLockManager::acquire(&mut one).unwrap();
    let error = TransferLockManager::acquire(&mut two).unwrap_err();
    assert!(error.message.starts_with("another transfer is receiving into"), "{error}");
    drop(first);
    TransferLockManager::acquire(&mut two).unwrap();
}
