//! The house stands as docs/architecture.md draws it: the table of floors names every module and no
//! other, arrows between rooms point down, and nothing goes in a circle. Looks at the sources alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use transfer::connect::redial::{FIRST_BACKOFF, JITTER, LAST_BACKOFF};

/// Rooms in which not even two files use each other.
const WITHOUT_CIRCLES: [&str; 8] =
    ["connect", "crypto", "doctor", "files", "net", "protocol", "receive", "send"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    let text = fs::read_to_string(root().join(name)).unwrap();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The floor of every module in the table.
fn table() -> BTreeMap<String, u8> {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let section = page.split("\n## ").find(|section| section.starts_with("The house")).unwrap();
    let (mut floor, mut floors) = (0, BTreeMap::new());
    for row in section.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        floor = cells[1].parse().unwrap_or(floor);
        for module in cells[2].split('`').skip(1).step_by(2) {
            assert!(floors.insert(module.to_owned(), floor).is_none(), "{module} is there twice");
        }
    }
    floors
}

/// Every source file: its module, and its text without tests.
fn sources() -> BTreeMap<String, String> {
    let (mut left, mut found) = (vec![root().join("src")], BTreeMap::new());
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if !matches!(
                path.file_name().and_then(|it| it.to_str()),
                Some("tests.rs" | "lib.rs")
            ) {
                let text = fs::read_to_string(&path).unwrap();
                let text = text.split("\nmod tests {").next().unwrap_or_default();
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                found.insert(module(&path), code.collect::<Vec<_>>().join("\n"));
            }
        }
    }
    found
}

fn module(path: &Path) -> String {
    let path: PathBuf = path.strip_prefix(root().join("src")).unwrap().with_extension("");
    let parts: Vec<_> = path.iter().map(|part| part.to_str().unwrap()).collect();
    parts.join("::").trim_end_matches("::mod").to_owned()
}

fn room(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

/// The names behind each `prefix` in a text: `a` and `b` of `prefix::a` and `prefix::{a::X, b}`.
fn names_behind(text: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices(prefix) {
        let is_longer = text[..at].ends_with(|c: char| c == ':' || c == '_' || c.is_alphanumeric());
        let rest = &text[at + prefix.len()..];
        let (mut depth, mut begins) = (0, true);
        for (at, c) in rest.char_indices().filter(|_| !is_longer) {
            match c {
                '{' => depth += 1,
                '}' if depth > 1 => depth -= 1,
                '}' => break,
                ',' if depth == 1 => begins = true,
                _ if c.is_whitespace() => {}
                _ if begins && depth <= 1 => {
                    let name = rest[at..].split(|c: char| c != '_' && !c.is_alphanumeric()).next();
                    names.extend(name.map(str::to_owned));
                    begins = false;
                }
                _ => {}
            }
            if depth == 0 && !begins {
                break;
            }
        }
    }
    names
}

/// Some circle, if there is one.
fn circle(arrows: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn go(
        at: &str,
        arrows: &BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> bool {
        if let Some(begin) = way.iter().position(|it| it == at) {
            way.drain(..begin);
            return true;
        }
        if done.contains(at) {
            return false;
        }
        way.push(at.to_owned());
        if arrows.get(at).into_iter().flatten().any(|next| go(next, arrows, way, done)) {
            return true;
        }
        way.pop();
        done.insert(at.to_owned());
        false
    }
    let (mut way, mut done) = (vec![], BTreeSet::new());
    arrows.keys().any(|at| go(at, arrows, &mut way, &mut done)).then_some(way)
}

#[test]
fn the_table_names_every_module_and_no_other() {
    let (floors, sources) = (table(), sources());
    // A room that is a mere folder has no row of its own, nor has what is inside a module of a room.
    let folders = ["crypto", "files", "net", "protocol"];
    let named = sources
        .keys()
        .filter(|module| module.matches("::").count() < 2 && !folders.contains(&module.as_str()));
    let missing: Vec<_> = named.filter(|module| !floors.contains_key(*module)).collect();
    assert!(missing.is_empty(), "not in the table of docs/architecture.md: {missing:?}");
    let gone: Vec<_> = floors.keys().filter(|module| !sources.contains_key(*module)).collect();
    assert!(gone.is_empty(), "no file of src/ is {gone:?}");
}

#[test]
fn arrows_point_down() {
    let floors = table();
    let floor_of = |name: &str| {
        let of = |(module, floor): (&String, &u8)| (room(module) == name).then_some(*floor);
        let found: BTreeSet<u8> = floors.iter().filter_map(of).collect();
        assert_eq!(found.len(), 1, "{name} is on the floors {found:?}");
        found.first().copied().unwrap()
    };
    let mut arrows = BTreeMap::<String, BTreeSet<String>>::new();
    for (module, text) in sources() {
        // The binary names the library.
        let prefix = if module == "main" { "transfer::" } else { "crate::" };
        let from = room(&module).to_owned();
        for to in names_behind(&text, prefix).into_iter().filter(|to| *to != from) {
            assert!(floor_of(&from) >= floor_of(&to), "{module} uses {to}, which is above it");
            arrows.entry(from.clone()).or_default().insert(to);
        }
    }
    assert!(arrows.len() > 10, "{arrows:?}");
    assert_eq!(circle(&arrows), None);
}

#[test]
fn nothing_goes_in_a_circle_inside_a_room() {
    let sources = sources();
    for name in WITHOUT_CIRCLES {
        let mut arrows = BTreeMap::<String, BTreeSet<String>>::new();
        for (module, text) in sources.iter().filter(|(module, _)| room(module) == name) {
            let parts: Vec<&str> = module.split("::").collect();
            let from = parts.get(1).copied().unwrap_or("mod");
            // From the room's own file, from a file of it, and from a file inside one of those.
            let prefix = ["self::", "super::", "super::super::"][parts.len() - 1];
            let near = names_behind(text, prefix);
            let far = names_behind(text, &format!("crate::{name}::"));
            for to in near.into_iter().chain(far) {
                // What is no file of the room is an item of the room's own file.
                let is_file = sources.contains_key(&format!("{name}::{to}"));
                let to = if is_file { to } else { "mod".into() };
                if to != from && to != "super" {
                    arrows.entry(from.to_owned()).or_default().insert(to);
                }
            }
        }
        assert_eq!(circle(&arrows), None, "in {name}: {arrows:?}");
    }
}

/// The rest of the house blocks, and knows neither the engine of direct mode nor its runtime.
#[test]
fn what_is_async_stays_in_its_room() {
    let names = [
        "tokio::",
        "iroh::",
        "iroh_relay::",
        "n0_future::",
        "noq::",
        "portmapper::",
        "tracing::",
        "async ",
    ];
    let mut seen = BTreeSet::new();
    for (module, text) in sources() {
        // Of Windows' console only tokio's handlers leave a closing window the time that it takes.
        let may =
            module.starts_with("net::quic") || room(&module) == "relay" || module == "ui::signals";
        for name in names.iter().filter(|name| text.contains(**name)) {
            assert!(may, "{module} names {name}");
            seen.insert(*name);
        }
    }
    assert!(seen.len() >= 3, "{seen:?}");
}

/// The checks above see what they are to see.
#[test]
fn arrows_are_found() {
    let text =
        "use crate::a;\nuse crate::{b::{X, Y}, c::z,\n d,\n};\nmycrate::e; crate::f::g(crate::h)";
    let names: Vec<_> = names_behind(text, "crate::").into_iter().collect();
    assert_eq!(names, ["a", "b", "c", "d", "f", "h"]);
    let arrow = |from: &str, to: &str| (from.to_owned(), BTreeSet::from([to.to_owned()]));
    assert_eq!(circle(&BTreeMap::from([arrow("a", "b"), arrow("b", "c")])), None);
    let found = circle(&BTreeMap::from([arrow("a", "b"), arrow("b", "c"), arrow("c", "b")]));
    assert_eq!(found, Some(vec!["b".to_owned(), "c".to_owned()]));
}

/// The backoff between two attempts to connect stands on five pages, and each says it in its own way.
#[test]
fn the_pages_tell_the_backoff() {
    let (first, last) = (FIRST_BACKOFF.as_secs_f64(), LAST_BACKOFF.as_secs());
    assert_eq!((first, last, JITTER), (0.5, 16, 0.25), "the pages say these in words as well");
    let doubled: Vec<String> =
        (0..5).map(|retry| (first * f64::from(1 << retry)).to_string()).collect();
    let cuts: Vec<String> =
        (0..4).map(|cut| format!("{} s", first / 2.0 * f64::from(1 << cut))).collect();
    for (name, words) in [
        (
            "docs/protocol.md",
            format!("waits {first} s, then twice as long each time up to {last} s"),
        ),
        (
            "docs/protocol.md",
            format!("after {}, {}, {} and {}", cuts[0], cuts[1], cuts[2], cuts[3]),
        ),
        ("docs/security.md", format!("{first} s, doubled up to {last} s, ± {} %", JITTER * 100.0)),
        ("docs/resume.md", format!("after {}, {last}, {last} … s", doubled.join(", "))),
        (
            "docs/guide.md",
            format!("after half a second, then after ever longer pauses of up to {last} s"),
        ),
        ("docs/scripting.md", format!("after ever longer pauses of up to {last} s")),
    ] {
        assert!(page(name).contains(&words), "{name} does not say: {words}");
    }
}

/// CONTRIBUTING.md leads somewhere: what it names is there, and every suite has its row.
#[test]
fn the_ways_to_contribute_lead_somewhere() {
    let page = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    // Code that is indented has no such marks, and what is in capitals is to be replaced.
    let quoted: Vec<&str> = page.split('`').skip(1).step_by(2).collect();
    let is_path = |text: &&&str| {
        ["src/", "tests/", "fuzz/", "docs/", "scripts/"].iter().any(|at| text.starts_with(at))
    };
    let paths = quoted.iter().filter(is_path).filter(|path| !path.contains("NAME"));
    let file = |path: &str| root().join(path.split(' ').next().unwrap_or_default());
    let missing: Vec<_> = paths.clone().filter(|path| !file(path).exists()).collect();
    assert!(paths.count() > 20 && missing.is_empty(), "not there: {missing:?}");
    let named: BTreeSet<&str> = quoted.iter().filter_map(|it| it.strip_prefix("--test ")).collect();
    let mut suites = BTreeSet::new();
    for entry in fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        if path.join("main.rs").exists() || path.extension().is_some_and(|it| it == "rs") {
            suites.insert(path.file_stem().unwrap().to_str().unwrap().to_owned());
        }
    }
    assert_eq!(named, suites.iter().map(String::as_str).collect());
}
