//! Files with holes, on disks that have them and on disks that have none.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use anyhow::{Result, ensure};

use crate::images::{Mount, btrfs, ext4, tmpfs, vfat, xfs};
use crate::stage::{all, ensure_ended, send};
use crate::util::root::as_root;
use crate::util::skip;
use crate::util::tree::Scratch;

/// A file of this size with five bytes that are no zeros.
fn make(path: &Path, size: u64) -> Result<()> {
    let file = File::create(path)?;
    file.set_len(size)?;
    Ok(file.write_all_at(b"five!", size / 3)?)
}

type Row = (&'static str, fn() -> Result<Mount>, bool);

/// 2 GiB with five bytes of content fit on a disk with less than 49 MB free, if it has holes; if it has
/// none, that is known before the first byte, and what does fit arrives all the same.
#[test]
fn what_is_a_hole_takes_no_room() -> Result<()> {
    let Some(()) = as_root()? else { return Ok(()) };
    let rows: [Row; 5] = [
        ("ext4", ext4, true),
        ("xfs", xfs, true),
        ("btrfs", btrfs, true),
        ("tmpfs", tmpfs, true),
        ("vfat", vfat, false),
    ];
    all(
        &rows,
        |(name, ..)| (*name).into(),
        |(name, mount, has_holes)| {
            let mount = match mount() {
                Ok(mount) => mount,
                Err(error) => {
                    skip(format_args!("{name}: {error:#}"));
                    return Ok(());
                }
            };
            let (from, into) = (Scratch::new()?, mount.path().join("in"));
            fs::create_dir(&into)?;
            let (image, small) = (from.join("image"), from.join("small"));
            make(&image, 2 << 30)?;
            make(&small, 20 << 20)?;
            let (sent, received) = send(&[&image], &into, &[])?;
            if *has_holes {
                ensure_ended(&sent, &received, 0)?;
                let arrived = fs::metadata(into.join("image"))?;
                let taken = arrived.blocks() * 512;
                ensure!(arrived.len() == 2 << 30 && taken < 1 << 20, "it takes {taken} bytes");
                let mut five = [0; 5];
                File::open(into.join("image"))?.read_exact_at(&mut five, (2 << 30) / 3)?;
                ensure!(five == *b"five!", "{five:?} arrived");
            } else {
                received.says("not enough room in ")?;
                ensure!(!into.join("image").exists());
            }
            let (sent, received) = send(&[&small], &into, &[])?;
            ensure_ended(&sent, &received, 0)?;
            ensure!(fs::read(&small)? == fs::read(into.join("small"))?, "it differs");
            Ok(())
        },
    )
}
