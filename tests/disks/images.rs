//! Real file systems, where this machine has their tools: a file that is a disk, a folder that is
//! shown through a program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::faulty::Times;
use crate::names::{PAIR, make as make_offer};
use crate::stage::{Holds, ensure_contents, ensure_ended, go_through, send};
use crate::util::root::as_root;
use crate::util::skip;
use crate::util::tree::Scratch;

/// Runs a program; an error is what it said.
pub fn tool(program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    // Tools that make disks are for root, and not on everybody's path.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let output = command.output().with_context(|| format!("{program} is not installed"))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(output.status.success(), "{program}: {}", said.trim());
    Ok(said)
}

/// What is mounted on a folder of its own; unmounted when dropped.
pub struct Mount {
    at: Scratch,
    /// What keeps it: an image, a folder below.
    behind: Scratch,
    mounted: bool,
}

impl Mount {
    fn new() -> Result<Self> {
        Ok(Self { at: Scratch::new()?, behind: Scratch::new()?, mounted: false })
    }

    /// An image.
    pub fn image(image: &Path) -> Result<Self> {
        let mut mount = Self::new()?;
        mount.mount("mount", &["-o", "loop", &text(image)])?;
        Ok(mount)
    }

    /// A disk in memory, with these options.
    pub fn memory(options: &str) -> Result<Self> {
        let mut mount = Self::new()?;
        mount.mount("mount", &["-t", "tmpfs", "-o", options, "tmpfs"])?;
        Ok(mount)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.at.path()
    }

    /// Runs what mounts it: the folder comes last.
    fn mount(&mut self, program: &str, arguments: &[&str]) -> Result<()> {
        let at = text(self.at.path());
        // It may be when the program ends with an error, too: ntfs-3g finds out afterwards what it may not do.
        self.mounted = true;
        tool(program, &[arguments, &[&at]].concat()).map(drop)
    }

    /// An empty image of so many MB.
    fn disk(&self, megabytes: u64) -> Result<PathBuf> {
        let image = self.behind.join("image");
        fs::File::create(&image)?.set_len(megabytes << 20)?;
        Ok(image)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted {
            // A program behind it may be at its last words.
            let at = text(self.at.path());
            if tool("umount", &[&at]).is_err() {
                let _ = tool("umount", &["-l", &at]);
            }
        }
    }
}

pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A file system: how it is made, and what it can hold.
struct Row {
    name: &'static str,
    mount: fn() -> Result<Mount>,
    holds: Holds,
    /// Capital letters are as good as small ones.
    ignores_case: bool,
}

fn made(megabytes: u64, program: &str, options: &[&str], mounted: &str) -> Result<Mount> {
    let mut mount = Mount::new()?;
    let image = text(&mount.disk(megabytes)?);
    tool(program, &[options, &[&*image]].concat())?;
    mount.mount("mount", &["-o", mounted, &image])?;
    Ok(mount)
}

pub fn ext4() -> Result<Mount> {
    made(48, "mkfs.ext4", &["-q", "-F"], "loop")
}

fn ext4_small_inodes() -> Result<Mount> {
    made(48, "mkfs.ext4", &["-q", "-F", "-I", "128"], "loop")
}

fn ext4_ignoring_case() -> Result<Mount> {
    let mut mount = Mount::new()?;
    let image = text(&mount.disk(48)?);
    tool("mkfs.ext4", &["-q", "-F", "-O", "casefold", &image])?;
    mount.mount("mount", &["-o", "loop", &image])?;
    let folder = mount.path().join("folder");
    fs::create_dir(&folder)?;
    tool("chattr", &["+F", &text(&folder)])?;
    Ok(mount)
}

pub fn btrfs() -> Result<Mount> {
    made(512, "mkfs.btrfs", &["-q"], "loop")
}

pub fn xfs() -> Result<Mount> {
    made(320, "mkfs.xfs", &["-q"], "loop")
}

fn xfs_until_2038() -> Result<Mount> {
    made(320, "mkfs.xfs", &["-q", "-m", "bigtime=0"], "loop")
}

pub fn vfat() -> Result<Mount> {
    made(48, "mkfs.fat", &[], "loop")
}

fn exfat() -> Result<Mount> {
    made(48, "mkfs.exfat", &["-q"], "loop").or_else(|_| {
        let mut mount = Mount::new()?;
        let image = text(&mount.disk(48)?);
        tool("mkfs.exfat", &[&image])?;
        mount.mount("mount", &["-t", "exfat-fuse", "-o", "loop", &image])?;
        Ok(mount)
    })
}

fn ntfs_with(program: &str, options: &str) -> Result<Mount> {
    let mut mount = Mount::new()?;
    let image = text(&mount.disk(48)?);
    tool("mkntfs", &["-q", "-F", "-f", &image])?;
    mount.mount(program, &["-o", options, &image])?;
    Ok(mount)
}

fn ntfs() -> Result<Mount> {
    ntfs_with("ntfs-3g", "permissions")
}

fn ntfs_without_modes() -> Result<Mount> {
    ntfs_with("ntfs-3g", "silent")
}

fn ntfs_ignoring_case() -> Result<Mount> {
    ntfs_with("lowntfs-3g", "ignore_case")
}

pub fn tmpfs() -> Result<Mount> {
    Mount::memory("size=32m")
}

fn overlay() -> Result<Mount> {
    let mut mount = Mount::new()?;
    // The folder below may be on an overlay itself, which is no place for the upper one.
    let below = tmpfs()?;
    for folder in ["lower", "upper", "work"] {
        fs::create_dir(below.path().join(folder))?;
    }
    let at = text(below.path());
    let options = format!("lowerdir={at}/lower,upperdir={at}/upper,workdir={at}/work");
    mount.mount("mount", &["-t", "overlay", "-o", &options, "overlay"])?;
    // It keeps what it needs of the disk below.
    drop(below);
    Ok(mount)
}

fn bindfs() -> Result<Mount> {
    let mut mount = Mount::new()?;
    let behind = text(mount.behind.path());
    mount.mount("bindfs", &[&behind])?;
    Ok(mount)
}

fn unionfs() -> Result<Mount> {
    let mut mount = Mount::new()?;
    let behind = text(mount.behind.path());
    mount.mount("unionfs", &[&format!("{behind}=RW")])?;
    Ok(mount)
}

fn gocryptfs() -> Result<Mount> {
    let mut mount = Mount::new()?;
    let secrets = Scratch::new()?;
    let secret = secrets.join("secret");
    fs::write(&secret, "a secret of a test\n")?;
    let (secret, behind) = (text(&secret), text(mount.behind.path()));
    tool("gocryptfs", &["-q", "-init", "-scryptn", "10", "-passfile", &secret, &behind])?;
    mount.mount("gocryptfs", &["-q", "-passfile", &secret, &behind])?;
    Ok(mount)
}

fn encfs() -> Result<Mount> {
    let mut mount = Mount::new()?;
    let behind = text(mount.behind.path());
    mount.mount("encfs", &["--standard", "--extpass", "echo a secret of a test", &behind])?;
    Ok(mount)
}

const SECOND: i128 = 1_000_000_000;

fn rows() -> Vec<Row> {
    let row = |name, mount, holds| Row { name, mount, holds, ignores_case: false };
    let all = Holds::ALL;
    let until_2038 = Times { grain: 1, first: -(1 << 31), last: (1 << 31) - 1 };
    let whole_seconds = Times { grain: SECOND, ..until_2038 };
    let times = |times| Holds { times: Some(times), ..all };
    // What FAT makes of a time also depends on where the user lives.
    let nothing = Holds { modes: false, times: None };
    // Renaming there cuts them off.
    let seconds = Times { grain: SECOND, ..Times::ANY };
    let hundreds = Times { grain: 100, ..Times::ANY };
    vec![
        row("ext4", ext4 as fn() -> _, all),
        row("ext4 with inodes of 128 bytes", ext4_small_inodes, times(whole_seconds)),
        row("btrfs", btrfs, all),
        row("xfs", xfs, all),
        row("xfs until 2038", xfs_until_2038, times(until_2038)),
        row("tmpfs", tmpfs, all),
        row("overlay", overlay, all),
        row("bindfs", bindfs, all),
        row("unionfs", unionfs, all),
        row("gocryptfs", gocryptfs, all),
        row("encfs", encfs, times(seconds)),
        row("ntfs", ntfs, times(hundreds)),
        row("ntfs without modes", ntfs_without_modes, Holds { modes: false, ..times(hundreds) }),
        Row {
            ignores_case: true,
            ..row(
                "ntfs that ignores case",
                ntfs_ignoring_case,
                Holds { modes: false, ..times(hundreds) },
            )
        },
        Row { ignores_case: true, ..row("exfat", exfat, nothing) },
        Row { ignores_case: true, ..row("vfat", vfat, nothing) },
        Row { ignores_case: true, ..row("ext4 that ignores case", ext4_ignoring_case, all) },
    ]
}

/// A tree is sent, sent again, broken off and gone on with, on each.
#[test]
fn real_disks() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    let rows = rows();
    crate::stage::all(
        &rows,
        |row| row.name.into(),
        |row| {
            let mount = match (row.mount)() {
                Ok(mount) => mount,
                Err(error) => {
                    skip(format_args!("{}: {error:#}", row.name));
                    return Ok(());
                }
            };
            let folder = mount.path().join("folder");
            let at = if folder.exists() { &folder } else { mount.path() };
            go_through(at, row.holds, |_, _| Ok(()))?;
            if row.ignores_case {
                two_names(at).context("two names that are one")?;
            }
            Ok(())
        },
    )
}

fn two_names(at: &Path) -> Result<()> {
    let from = Scratch::new()?;
    let root = from.join("pair");
    make_offer(&root, PAIR)?;
    let into = at.join("pair");
    fs::create_dir(&into)?;
    if !at.join("PAIR").exists() {
        bail!("it does not ignore case");
    }
    for options in [&["--on-conflict", "overwrite"][..], &[]] {
        let (sent, received) = send(&[&root], &into, options)?;
        ensure_ended(&sent, &received, 0)?;
        ensure_contents(&into, &[b"AAAA", b"BBBB"])?;
    }
    Ok(())
}
