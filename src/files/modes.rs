//! The permission bits of what is sent, where what the system shows is not what somebody set.

#[cfg(unix)]
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::Path;

/// A mode with this bit was made up by a disk that keeps none; the receiver takes it for a wish,
/// and what its own umask forbids from it.
pub const MADE_UP: u16 = 0o100_000;

/// Finds modes, and remembers which disks make them up.
#[derive(Debug, Default)]
pub struct Modes {
    #[cfg(unix)]
    made_up: BTreeMap<u64, Keeps>,
}

/// Whether a disk keeps modes.
#[cfg(unix)]
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android", target_vendor = "apple")),
    allow(dead_code)
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeps {
    Yes,
    No,
    /// Nobody knows; then 0777, which hardly anybody sets, was made up.
    Perhaps,
}

#[cfg(unix)]
impl Modes {
    /// The mode of a file or folder, with [`MADE_UP`] where nobody set it.
    ///
    /// Set-user-ID and set-group-ID of files stay behind: on another machine they would grant what
    /// nobody granted there. So does what an ACL grants to others than the group: the system shows
    /// it in the group's place.
    pub fn of(&mut self, path: &Path, metadata: &Metadata) -> u16 {
        use std::os::unix::fs::MetadataExt;
        let bits = if metadata.is_dir() { 0o7777 } else { 0o777 };
        let mut mode = u16::try_from(metadata.mode() & bits).unwrap_or(0o644);
        if metadata.is_symlink() {
            return mode;
        }
        let keeps = *self.made_up.entry(metadata.dev()).or_insert_with(|| keeps_modes(path));
        if keeps == Keeps::No || keeps == Keeps::Perhaps && mode & 0o777 == 0o777 {
            return (mode & 0o777) | MADE_UP;
        }
        // Where others have what the group has, no ACL can make a difference that matters.
        if (mode >> 3) & 0o7 & !mode != 0
            && let Some(group) = group_of_acl(path)
        {
            mode = (mode & !0o070) | (mode & 0o070 & (group << 3));
        }
        mode
    }
}

/// Other systems have none.
#[cfg(not(unix))]
impl Modes {
    /// The mode that such a file or folder has on other systems.
    pub fn of(&mut self, _: &Path, metadata: &Metadata) -> u16 {
        match (metadata.is_dir(), metadata.permissions().readonly()) {
            (true, _) => 0o755,
            (false, true) => 0o444,
            (false, false) => 0o644,
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn keeps_modes(path: &Path) -> Keeps {
    // ext, XFS, Btrfs, F2FS, tmpfs, ramfs, ZFS, overlay, NFS, squashfs.
    const KEEP: [u64; 10] = [
        0xef53,
        0x5846_5342,
        0x9123_683e,
        0xf2f5_2010,
        0x0102_1994,
        0x8584_58f6,
        0x2fc1_2fc1,
        0x794c_7630,
        0x6969,
        0x7371_7368,
    ];
    // FAT, exFAT, NTFS twice.
    const MAKE_UP: [u64; 4] = [0x4d44, 0x2011_bab0, 0x7366_746e, 0x5346_544e];
    match rustix::fs::statfs(path).map(|stat| stat.f_type as u64 & 0xffff_ffff) {
        Ok(kind) if KEEP.contains(&kind) => Keeps::Yes,
        Ok(kind) if MAKE_UP.contains(&kind) => Keeps::No,
        _ => Keeps::Perhaps,
    }
}

#[cfg(target_vendor = "apple")]
fn keeps_modes(path: &Path) -> Keeps {
    match rustix::fs::statfs(path) {
        Ok(stat) => keeps_of(&super::disk::name_of(&stat)),
        Err(_) => Keeps::Perhaps,
    }
}

/// The same of a disk of this name on macOS. A network share keeps them or not, as its server does.
#[cfg(any(target_vendor = "apple", all(test, target_os = "linux")))]
fn keeps_of(name: &str) -> Keeps {
    match name {
        "apfs" | "hfs" | "nfs" | "ufs" | "zfs" => Keeps::Yes,
        "msdos" | "exfat" | "ntfs" => Keeps::No,
        _ => Keeps::Perhaps,
    }
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android", target_vendor = "apple"))))]
fn keeps_modes(_: &Path) -> Keeps {
    Keeps::Yes
}

/// What an ACL grants to the owning group, if there is one.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn group_of_acl(path: &Path) -> Option<u16> {
    let mut acl = [0; 4 + 8 * 64];
    let len = rustix::fs::lgetxattr(path, "system.posix_acl_access", &mut acl[..]).ok()?;
    group_of(acl.get(..len)?)
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
fn group_of_acl(_: &Path) -> Option<u16> {
    None
}

/// The owning group's entry of an ACL as Linux keeps it (`acl(5)`, version 2 of the attribute): a
/// version, then tag, permissions and number of each entry.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn group_of(acl: &[u8]) -> Option<u16> {
    const GROUP_OBJ: [u8; 2] = [4, 0];
    let (version, entries) = acl.split_first_chunk()?;
    let (entries, _) = entries.as_chunks::<8>();
    let group = entries.iter().find(|entry| entry.starts_with(&GROUP_OBJ))?;
    (u32::from_le_bytes(*version) == 2).then(|| u16::from(group[2]) & 0o7)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn disks_of_macos_keep_modes_or_make_them_up() {
        for (name, keeps) in [
            ("apfs", Keeps::Yes),
            ("nfs", Keeps::Yes),
            ("msdos", Keeps::No),
            ("exfat", Keeps::No),
            ("smbfs", Keeps::Perhaps),
            ("macfuse", Keeps::Perhaps),
        ] {
            assert_eq!(keeps_of(name), keeps, "{name}");
        }
    }

    #[test]
    fn the_group_of_an_acl_is_not_its_mask() {
        // user::rwx, user:1234:rwx, group::r--, mask::rwx, other::r--
        let entry = |tag: u16, perm: u16, id: u32| {
            [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let none = u32::MAX;
        let entries = [
            entry(1, 7, none),
            entry(2, 7, 1234),
            entry(4, 4, none),
            entry(16, 7, none),
            entry(32, 4, none),
        ];
        let acl = [&2u32.to_le_bytes()[..], &entries.concat()].concat();
        assert_eq!(group_of(&acl), Some(4));
        assert_eq!(group_of(&acl[..27]), None);
        assert_eq!(group_of(&[1, 0, 0, 0]), None);
        assert_eq!(group_of(b""), None);
        assert_eq!(group_of(&[&1u32.to_le_bytes()[..], &entries.concat()].concat()), None);
    }
}
