use std::fs;

use super::*;
use crate::trust::samples::{Ca, alone, wish};

fn sample() -> (Trusted, Certificate, Certificate) {
    let laptop = alone(&wish("laptop", &[])).certificate().clone();
    let home = Ca::new("home").certificate;
    let mut trusted = Trusted::empty();
    trusted.pin("laptop", &laptop, Via::Pair).unwrap();
    trusted.add_ca(&home).unwrap();
    trusted.remember("attic", Id([7; 32])).unwrap();
    trusted.remove(&Id([9; 32]).to_string()).unwrap();
    (trusted, laptop, home)
}

#[test]
fn what_is_written_is_read() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = Folder::new(scratch.path().join("own"));
    assert_eq!(Trusted::load(&folder).unwrap(), Trusted::empty());
    let (trusted, ..) = sample();
    let wanted = trusted.clone();
    Trusted::change(&folder, |it| {
        *it = wanted;
        Ok(())
    })
    .unwrap();
    assert_eq!(Trusted::load(&folder).unwrap(), trusted);
    // A change that fails changes nothing.
    let changed = Trusted::change(&folder, |it| {
        it.remove("laptop")?;
        it.remove("nobody")
    });
    changed.unwrap_err();
    assert_eq!(Trusted::load(&folder).unwrap(), trusted);
    // One that needs none does not touch the file.
    let before = fs::metadata(folder.path(FILE)).unwrap().modified().unwrap();
    Trusted::change(&folder, |_| Ok(())).unwrap();
    assert_eq!(fs::metadata(folder.path(FILE)).unwrap().modified().unwrap(), before);
}

/// Whatever is not understood lets nobody in.
#[test]
fn what_is_not_understood_is_an_error() {
    let (trusted, laptop, home) = sample();
    let text = trusted.to_json();
    assert_eq!(Trusted::parse(&text).unwrap(), trusted);
    let other = alone(&wish("x", &[])).certificate().to_pem();
    let quoted = |pem: &str| serde_json::to_string(pem).unwrap();
    let cases = [
        ("nothing", String::new()),
        ("a cut", text[..text.len() / 2].into()),
        ("a newer format", text.replace("\"v\": 1", "\"v\": 2")),
        ("no format", text.replace("\"v\": 1,", "")),
        ("an unknown field", text.replacen("\"name\"", "\"only-on\": \"monday\", \"name\"", 1)),
        ("an unknown part", text.replacen("\"removed\"", "\"banned\": [], \"removed\"", 1)),
        ("a part that is missing", text.replacen("\"names\"", "\"nomen\"", 1)),
        ("a damaged id", text.replacen(&laptop.id.to_string(), "xyz", 1)),
        ("another key", text.replacen(&quoted(&laptop.to_pem()), &quoted(&other), 1)),
        ("no CA", text.replacen(&quoted(&home.to_pem()), &quoted(&other), 1)),
        ("no certificate", text.replacen("BEGIN CERTIFICATE", "BEGIN SOMETHING", 1)),
        ("no name", text.replacen("\"laptop\"", "\"lap/top\"", 1)),
        ("one name for two", text.replacen("\"home\"", "\"Laptop\"", 1)),
        ("an unknown way", text.replacen("\"pair\"", "\"magic\"", 1)),
    ];
    let scratch = tempfile::tempdir().unwrap();
    let folder = Folder::new(scratch.path());
    for (name, text) in cases {
        assert_ne!(text, trusted.to_json(), "{name}");
        assert!(Trusted::parse(&text).is_err(), "{name}");
        drop(folder.lock().unwrap());
        let _ = fs::remove_file(folder.path(FILE));
        crate::trust::folder::make_file(&folder.path(FILE), Access::Private, text.as_bytes())
            .unwrap();
        let error = Trusted::load(&folder).unwrap_err();
        assert_eq!(error.exit(), crate::error::Exit::Usage, "{name}");
        let changed = Trusted::change(&folder, |it| Ok(it.add_ca(&home).map(drop)));
        assert!(changed.is_err(), "{name}");
        assert_eq!(fs::read_to_string(folder.path(FILE)).unwrap(), text, "{name}");
    }
}

#[test]
fn names_are_found_changed_and_removed() {
    let (mut trusted, laptop, _) = sample();
    let id = laptop.id.to_string();
    for word in ["laptop", "LAPTOP", &id, &id[..8], &id.to_uppercase()] {
        let found = trusted.find(word).unwrap();
        assert!(matches!(found, Entry::Device(known) if known.id == laptop.id), "{word}");
    }
    assert!(matches!(trusted.find("home").unwrap(), Entry::Ca(_)));
    assert!(matches!(trusted.find("attic").unwrap(), Entry::Seen(..)));
    for word in ["", "lap", &id[..7]] {
        trusted.find(word).unwrap_err();
    }
    for (word, name, is_done) in [
        ("laptop", "Laptop", true),
        ("laptop", "home", false),
        ("laptop", "ATTIC", false),
        ("laptop", "a/b", false),
        ("attic", "loft", false),
        ("nobody", "x", false),
        ("laptop", "notebook", true),
        ("home", "house", true),
    ] {
        assert_eq!(trusted.rename(word, name).is_ok(), is_done, "{word} {name}");
    }
    // Two devices of one name.
    let second = alone(&wish("notebook", &[])).certificate().clone();
    assert_eq!(trusted.pin("notebook", &second, Via::Pair).unwrap(), "notebook (2)");
    assert_eq!(trusted.pin("whatever", &second, Via::Pair).unwrap(), "notebook (2)");

    trusted.remove("notebook").unwrap();
    assert!(trusted.removal(&laptop.id).is_some() && trusted.pinned(&laptop.id).is_none());
    trusted.remove("attic").unwrap();
    assert!(trusted.removal(&Id([7; 32])).is_some() && trusted.names.is_empty());
    trusted.remove("house").unwrap();
    assert!(trusted.cas.is_empty());
    let error = trusted.pin("notebook", &laptop, Via::Import).unwrap_err();
    assert!(error.message.contains("was removed from this device on"), "{error}");
    trusted.pin("notebook", &laptop, Via::Pair).unwrap();
    assert!(trusted.removal(&laptop.id).is_none());
    assert_eq!(Trusted::parse(&trusted.to_json()).unwrap(), trusted);
}

/// An import is whole or nothing, and no file of another device replaces a key.
#[test]
fn a_merge_replaces_no_key() {
    let (mut trusted, laptop, _) = sample();
    let mut other = Trusted::empty();
    let impostor = alone(&wish("laptop", &[])).certificate().clone();
    other.pin("laptop", &impostor, Via::Pair).unwrap();
    let error = trusted.merge(&other).unwrap_err();
    assert_eq!(error.message, "\"laptop\" has another key here than in that file");
    assert_eq!(trusted.named("laptop").unwrap().id, laptop.id);
    let mut attic = Trusted::empty();
    attic.pin("attic", &impostor, Via::Pair).unwrap();
    trusted.merge(&attic).unwrap_err();
}

#[test]
fn a_word_of_allow_is_known_or_not() {
    let (trusted, laptop, _) = sample();
    let id = laptop.id.to_string();
    for (word, is_known) in [
        ("laptop", true),
        ("LAPTOP", true),
        (&*id, true),
        ("attic", true),
        ("home", false),
        ("laptp", false),
        (&id[..8], false),
        (&*Id([8; 32]).to_string(), false),
    ] {
        assert_eq!(trusted.has(word), is_known, "{word}");
    }
}

#[test]
fn what_was_removed_meanwhile_is_not_remembered() {
    let (mut trusted, laptop, _) = sample();
    trusted.remember("laptop", laptop.id).unwrap();
    trusted.remove("laptop").unwrap();
    let before = trusted.clone();
    trusted.remember("laptop", laptop.id).unwrap_err();
    assert_eq!(trusted, before);
    assert!(!trusted.knows("laptop", &laptop.id));
}
