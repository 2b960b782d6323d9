//! Which folders a developer can make again: environments, dependencies, caches.
//!
//! They are recognised by what is inside them, or by a name that means nothing else. `.git` and
//! a plain folder called `env` or `build` are data.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Names that tools reserve for what they can make again.
const NAMES: [&str; 9] = [
    "__pycache__",
    "node_modules",
    ".tox",
    ".nox",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".ipynb_checkpoints",
    ".gradle",
];

/// The first bytes of a `CACHEDIR.TAG` (Cache Directory Tagging Specification).
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Whether `folder` holds only what its owner's tools can make again.
pub fn is_regenerable(folder: &Path) -> bool {
    let named = folder.file_name().and_then(|name| name.to_str());
    named.is_some_and(|name| NAMES.contains(&name))
        || folder.join("pyvenv.cfg").is_file()
        || folder.join("conda-meta").is_dir()
        || is_tagged_cache(folder)
}

fn is_tagged_cache(folder: &Path) -> bool {
    let mut start = [0; CACHE_SIGNATURE.len()];
    File::open(folder.join("CACHEDIR.TAG"))
        .is_ok_and(|mut tag| tag.read_exact(&mut start).is_ok() && start == CACHE_SIGNATURE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn folders_are_known_by_what_is_inside() {
        let cases: &[(&str, &[(&str, &str)], bool)] = &[
            ("venv", &[("pyvenv.cfg", "home = x")], true),
            ("any name", &[("pyvenv.cfg", "")], true),
            ("miniconda", &[("conda-meta/history", "")], true),
            (
                "target",
                &[("CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# rust")],
                true,
            ),
            ("cache", &[("CACHEDIR.TAG", "not the signature")], false),
            ("node_modules", &[("x/package.json", "{}")], true),
            ("__pycache__", &[], true),
            ("env", &[("settings.json", "{}")], false),
            (".git", &[("HEAD", "ref: x")], false),
            ("build", &[("main.c", "")], false),
            ("venv", &[("notes.txt", "")], false),
        ];
        for (name, files, expected) in cases {
            let dir = tempfile::tempdir().unwrap();
            let folder = dir.path().join(name);
            fs::create_dir(&folder).unwrap();
            for (file, content) in *files {
                let file = folder.join(file);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, content).unwrap();
            }
            assert_eq!(is_regenerable(&folder), *expected, "{name} {files:?}");
        }
    }
}
