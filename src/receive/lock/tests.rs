use super::*;
use crate::files::manifest::{Entry, Kind};

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

/// The hash of a file with holes is no SHA-256 of its content, and is not taken for one.
#[test]
fn a_lock_tells_one_kind_of_hash_from_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut root = Root::open(dir.path()).unwrap();
    let mut manifest = Manifest::default();
    let sums = [("a", false), ("b", true)];
    for (name, sparse) in sums {
        let size = 10;
        let kind = if sparse { Kind::Sparse { size, stored: 2 } } else { Kind::File(size) };
        let path = RelPath::parse(name).unwrap();
        manifest.push(Entry { path, kind, mode: 0o644, mtime: -5 }).unwrap();
    }
    let mut lock = TransferLockManager::acquire(&mut root).unwrap();
    let snapshot = Snapshot {
        head: &head(),
        manifest: &manifest,
        done: &[Some([1; 32]), Some([2; 32])],
        wanted: &|_| true,
        current: None,
        block: 64,
        states: &BTreeMap::new(),
        times: &BTreeMap::new(),
        places: &Places::default(),
        made: &BTreeSet::new(),
        older: &BTreeMap::new(),
    };
    lock.save(&mut root, &snapshot).unwrap();
    let loaded = lock.load(&mut root, &manifest);
    for (index, (hash, (_, sparse))) in (0..).zip([[1; 32], [2; 32]].into_iter().zip(sums)) {
        assert_eq!(loaded.files[&index].hash, Some(Sum { hash, sparse }));
        assert_eq!(loaded.files[&index].hash.unwrap().begin().is_sparse(), sparse);
    }
    let json = std::fs::read(dir.path().join(".transfer_lock.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["files"]["b"]["sparse_hash"], "02".repeat(32));
    assert_eq!(json["files"]["b"].get("original_hash"), None);
}

#[test]
fn what_is_saved_is_what_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let mut root = Root::open(dir.path()).unwrap();
    let manifest = manifest(&["a", "b", "c", "d"]);
    let mut lock = TransferLockManager::acquire(&mut root).unwrap();
    let times = BTreeMap::from([(0, -6)]);
    let mut places = Places::default();
    places.insert(2, manifest.get(2).unwrap(), RelPath::parse("c (1)").unwrap());
    let snapshot = Snapshot {
        head: &head(),
        manifest: &manifest,
        done: &[Some([1; 32]), None, None, None],
        wanted: &|index| index != 3,
        current: Some((1, 4, [2; 32])),
        block: 64,
        states: &BTreeMap::from([(0, &[[4; 32]][..]), (1, &[[2; 32], [3; 32]])]),
        times: &times,
        places: &places,
        made: &BTreeSet::from([3]),
        older: &BTreeMap::new(),
    };
    lock.save(&mut root, &snapshot).unwrap();

    let known = |mtime, hash: Option<[u8; 32]>| Known {
        size: 10,
        mtime: Some(mtime),
        completed: hash.is_some(),
        hash: hash.map(|hash| Sum { hash, sparse: false }),
    };
    let expected = Remembered {
        files: BTreeMap::from([
            (0, known(-6, Some([1; 32]))),
            (1, known(-5, None)),
            (2, known(-5, None)),
        ]),
        intact: None,
        // What is at its place has none.
        states: BTreeMap::from([(
            1,
            Begun { size: 10, mtime: Some(-5), block: 64, states: vec![[2; 32], [3; 32]] },
        )]),
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
    assert!(!dir.path().join(".transfer_lock.json").exists());
    lock.remove(&mut root).unwrap();
    drop(lock);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// A file that an interrupted run has finished, and that is offered otherwise now: until it comes
/// it is known by what it was, and what has begun to come by what is offered.
#[test]
fn states_are_of_what_was_offered_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut root = Root::open(dir.path()).unwrap();
    let manifest = manifest(&["a", "b"]);
    let mut lock = TransferLockManager::acquire(&mut root).unwrap();
    let older = |size, mtime| Known { size, mtime, completed: true, hash: None };
    for (size, mtime) in [(9, Some(-7)), (10, Some(-7)), (9, Some(-5)), (10, Some(-5)), (9, None)] {
        let snapshot = Snapshot {
            head: &head(),
            manifest: &manifest,
            done: &[None, None],
            wanted: &|_| true,
            current: None,
            block: 64,
            states: &BTreeMap::from([(0, &[[4; 32]][..])]),
            times: &BTreeMap::new(),
            places: &Places::default(),
            made: &BTreeSet::new(),
            older: &BTreeMap::from([(0, older(size, mtime))]),
        };
        lock.save(&mut root, &snapshot).unwrap();
        let loaded = lock.load(&mut root, &manifest);
        assert_eq!((loaded.files[&0].size, loaded.files[&0].mtime), (size, mtime));
        let begun = Begun { size: 10, mtime: Some(-5), block: 64, states: vec![[4; 32]] };
        assert_eq!(loaded.states, BTreeMap::from([(0, begun)]));
        let json = std::fs::read(dir.path().join(".transfer_lock.json")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let told = json["files"]["a"].as_object().unwrap();
        assert_eq!(told.contains_key("states_size"), size != 10);
        assert_eq!(told.contains_key("states_mtime"), mtime != Some(-5));
    }
}

#[test]
fn a_lock_that_makes_no_sense_says_nothing() {
    let manifest = manifest(&["a", "b"]);
    let good = r#"{"version":"1.0","owner":"o","folder":7,"session_id":"x","timestamp":"y","sender_ip":"z","total_files":1,
        "total_size":1,"files":{"a":{"status":"in_progress","size":5,"transferred_bytes":3,"partial_hash":"h"}}}"#;
    let parsed = parse(good.as_bytes(), &manifest);
    let expected = Known { size: 5, mtime: None, completed: false, hash: None };
    assert_eq!(parsed.files, BTreeMap::from([(0, expected)]));

    for cut in 0..good.len() {
        assert!(parse(&good.as_bytes()[..cut], &manifest).is_empty(), "cut at {cut}");
    }
    let bad = [
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
        assert!(parse(lock.as_bytes(), &manifest).is_empty(), "{}", &lock[..lock.len().min(80)]);
    }
}

/// Only what this user's key has signed, for this folder, is believed.
#[test]
fn a_lock_of_others_says_nothing() {
    let manifest = manifest(&["a"]);
    let snapshot = |head: &Head| {
        let dir = tempfile::tempdir().unwrap();
        let mut root = Root::open_as(dir.path(), Own::new(&[1; 32])).unwrap();
        let snapshot = Snapshot {
            head,
            manifest: &manifest,
            done: &[None],
            wanted: &|_| true,
            current: None,
            block: 64,
            states: &BTreeMap::new(),
            times: &BTreeMap::new(),
            places: &Places::default(),
            made: &BTreeSet::new(),
            older: &BTreeMap::new(),
        };
        let mut lock = TransferLockManager::acquire(&mut root).unwrap();
        lock.save(&mut root, &snapshot).unwrap();
        (dir, lock)
    };
    let (dir, lock) = snapshot(&head());
    let file = dir.path().join(".transfer_lock.json");
    let text = std::fs::read_to_string(&file).unwrap();
    drop(lock);
    let loaded = |dir: &std::path::Path, key: u8| {
        let mut root = Root::open_as(dir, Own::new(&[key; 32])).unwrap();
        let lock = TransferLockManager::acquire(&mut root).unwrap();
        !lock.load(&mut root, &manifest).is_empty()
    };
    assert!(loaded(dir.path(), 1));
    assert!(!loaded(dir.path(), 2), "another user's key");
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join(".transfer_lock.json"), &text).unwrap();
    // Folders have numbers on Unix alone.
    assert_eq!(loaded(other.path(), 1), cfg!(not(unix)), "copied into another folder");
    for (at, _) in text.char_indices().step_by(7) {
        let mut forged = text.clone().into_bytes();
        forged[at] ^= 1;
        std::fs::write(&file, &forged).unwrap();
        assert!(!loaded(dir.path(), 1), "changed at {at}");
        std::fs::write(&file, &text.as_bytes()[..at]).unwrap();
        assert!(!loaded(dir.path(), 1), "cut at {at}");
    }
}

#[test]
fn names_in_a_lock_are_checked() {
    let manifest = manifest(&["a", "b"]);
    for (place, is_good) in [("b (1)", true), ("../b", false), ("/b", false), ("", false)] {
        let lock = format!(r#"{{"files":{{}},"renamed":{{"b":"{place}"}}}}"#);
        assert_eq!(!parse(lock.as_bytes(), &manifest).places.is_empty(), is_good, "{place}");
    }
}

/// What is somebody else's stays, whatever it is called.
#[test]
fn only_own_locks_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut root = Root::open(dir.path()).unwrap();
    let manifest = manifest(&["a"]);
    std::fs::write(dir.path().join(".transfer_lock.json"), "{}").unwrap();
    std::fs::create_dir(dir.path().join(".transfer_lock.2.json")).unwrap();
    let names = |names: &[&str]| {
        let found = std::fs::read_dir(dir.path()).unwrap();
        let mut found: Vec<_> =
            found.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        // Where the system locks a file and not the folder.
        found.retain(|name| name != ".transfer_lock.guard");
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
            block: 64,
            states: &BTreeMap::new(),
            times: &BTreeMap::new(),
            places: &Places::default(),
            made: &BTreeSet::new(),
            older: &BTreeMap::new(),
        };
        lock.save(&mut root, &snapshot).unwrap();
        names(&[".transfer_lock.1.json", ".transfer_lock.2.json", ".transfer_lock.json"]);
        assert_eq!(lock.load(&mut root, &manifest).files.len(), 1);
    }
    drop(lock);
    // The next run finds its own.
    let lock = TransferLockManager::acquire(&mut root).unwrap();
    assert_eq!(lock.load(&mut root, &manifest).files.len(), 1);
    lock.remove(&mut root).unwrap();
    names(&[".transfer_lock.2.json", ".transfer_lock.json"]);
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
        ("d/.transfer_lock.json", true),
        ("d/e/.tran\u{17f}fer_LOCK.json", true),
        (".transfer_lock (1).json", false),
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
