//! Which folders a developer can make again: environments, dependencies, caches.
//!
//! They are recognised by what is inside them, or by a name that means nothing else. Where that
//! leaves a doubt they are data: `.git`, a plain folder called `env` or `build`, a project that
//! is its own Python environment. To send too much costs time, to leave out too much costs work.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// Names that tools reserve for what they can make again. Not among them, since people's own
/// files are there too: `.ipynb_checkpoints` (the last version of a notebook), `.vagrant`,
/// `.terraform`, `vendor`, `Pods`.
const NAMES: [&str; 19] = [
    "__pycache__",
    "__pypackages__",
    ".eggs",
    ".tox",
    ".nox",
    ".mypy_cache",
    ".pytest_cache",
    ".pytype",
    ".ruff_cache",
    "node_modules",
    "bower_components",
    ".parcel-cache",
    ".svelte-kit",
    ".turbo",
    ".dart_tool",
    ".stack-work",
    ".zig-cache",
    "dist-newstyle",
    "elm-stuff",
];

/// All that tools put at the top of a Python environment, in lower case. Anything else there is
/// somebody's: `python -m venv .` makes a project its own environment.
const ENVIRONMENT: [&str; 13] = [
    "pyvenv.cfg",
    "bin",
    "scripts",
    "include",
    "lib",
    "lib64",
    "share",
    "etc",
    "man",
    ".gitignore",
    ".lock",
    "cachedir.tag",
    "pip-selfcheck.json",
];

/// What Gradle's users put into the `.gradle` of their home.
const GRADLE_SETTINGS: [&str; 4] =
    ["gradle.properties", "init.gradle", "init.gradle.kts", "init.d"];

/// The first bytes of a `CACHEDIR.TAG` (Cache Directory Tagging Specification).
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Whether `folder` holds only what its owner's tools can make again.
pub fn is_regenerable(folder: &Path) -> bool {
    let name = folder.file_name().and_then(OsStr::to_str).unwrap_or_default();
    if folder.join("pyvenv.cfg").is_file() {
        // Whatever else it claims to be: virtualenv tags a project that it is put into.
        return is_only_environment(folder);
    }
    NAMES.contains(&name)
        || name == ".gradle" && !GRADLE_SETTINGS.iter().any(|it| folder.join(it).exists())
        // What conda itself goes by.
        || folder.join("conda-meta/history").is_file()
        || is_tagged_cache(folder)
}

fn is_only_environment(folder: &Path) -> bool {
    let ours = |name: &OsStr| {
        let name = name.to_str().map(str::to_ascii_lowercase);
        name.is_some_and(|name| ENVIRONMENT.contains(&&*name))
    };
    let mut entries = fs::read_dir(folder).into_iter().flatten();
    entries.all(|entry| entry.is_ok_and(|entry| ours(&entry.file_name())))
}

/// The tag is a regular file: whoever opened a pipe of that name would wait for ever.
fn is_tagged_cache(folder: &Path) -> bool {
    let tag = folder.join("CACHEDIR.TAG");
    let mut start = [0; CACHE_SIGNATURE.len()];
    tag.symlink_metadata().is_ok_and(|metadata| metadata.is_file())
        && File::open(tag)
            .is_ok_and(|mut tag| tag.read_exact(&mut start).is_ok() && start == CACHE_SIGNATURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a folder of this name, with these files in it, can be made again. Files without
    /// content are folders if they end with a slash.
    fn regenerable(name: &str, files: &[(&str, &str)]) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(name);
        fs::create_dir(&folder).unwrap();
        for (file, content) in files {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match file.ends_with('/') {
                true => fs::create_dir(path).unwrap(),
                false => fs::write(path, content).unwrap(),
            }
        }
        is_regenerable(&folder)
    }

    #[test]
    fn folders_are_known_by_what_is_inside() {
        const CFG: (&str, &str) = ("pyvenv.cfg", "home = x");
        const TAG: (&str, &str) =
            ("CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# rust");
        let cases: &[(&str, &[(&str, &str)], bool)] = &[
            // Python environments, whatever they are called.
            ("venv", &[CFG, ("bin/python", ""), ("include/", ""), ("lib/x", "")], true),
            (".venv", &[CFG, (".gitignore", "*"), ("lib64/", ""), ("share/man", "")], true),
            ("on windows", &[CFG, ("Scripts/pip.exe", ""), ("Lib/", ""), ("Include/", "")], true),
            ("by uv", &[CFG, ("CACHEDIR.TAG", ""), (".lock", ""), ("bin/python", "")], true),
            ("venv", &[("notes.txt", "")], false),
            (".venv", &[("bin/python", "")], false),
            ("env", &[("settings.json", "{}")], false),
            ("venv", &[("pyvenv.cfg/", "")], false),
            // A project that is its own environment.
            ("project", &[CFG, ("bin/python", ""), ("main.py", "")], false),
            ("project", &[CFG, ("lib/x", ""), (".git/HEAD", "")], false),
            ("project", &[CFG, ("src/main.py", "")], false),
            ("project", &[CFG, TAG, ("main.py", "")], false),
            // Conda environments.
            ("miniconda", &[("conda-meta/history", ""), ("bin/python", "")], true),
            ("recipes", &[("conda-meta/meta.yaml", "")], false),
            // Caches that say so.
            ("target", &[TAG, ("debug/x", "")], true),
            ("any name", &[TAG], true),
            ("target", &[("goal.txt", "")], false),
            ("cache", &[("CACHEDIR.TAG", "not the signature")], false),
            ("cache", &[("CACHEDIR.TAG", "Signature: 8a47")], false),
            ("cache", &[("CACHEDIR.TAG/", "")], false),
            // Names that mean nothing else.
            ("__pycache__", &[], true),
            ("node_modules", &[("x/package.json", "{}")], true),
            (".tox", &[("py312/x", "")], true),
            (".nox", &[], true),
            (".mypy_cache", &[("3.12/x.json", "")], true),
            (".pytest_cache", &[("v/cache", "")], true),
            (".ruff_cache", &[], true),
            (".eggs", &[], true),
            ("bower_components", &[], true),
            (".dart_tool", &[], true),
            (".stack-work", &[], true),
            ("Node_Modules", &[], false),
            ("node_modules.bak", &[], false),
            (".cache", &[("x", "")], false),
            // A project's, and the one with a person's settings.
            (".gradle", &[("8.5/checksums/x", ""), ("buildOutputCleanup/x", "")], true),
            (".gradle", &[("caches/x", ""), ("gradle.properties", "token=x")], false),
            (".gradle", &[("init.d/x.gradle", "")], false),
            // Data.
            (".git", &[("HEAD", "ref: x"), ("objects/", "")], false),
            (".ipynb_checkpoints", &[("a-checkpoint.ipynb", "")], false),
            ("build", &[("main.c", "")], false),
            ("dist", &[("x.whl", "")], false),
            ("vendor", &[("x.go", "")], false),
            ("empty", &[], false),
        ];
        for (name, files, expected) in cases {
            assert_eq!(regenerable(name, files), *expected, "{name} {files:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pipe_in_the_place_of_a_tag_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let tag = dir.path().join("CACHEDIR.TAG");
        let here = rustix::fs::CWD;
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(here, &tag, kind, mode, 0).unwrap();
        assert!(!is_regenerable(dir.path()));
    }
}
