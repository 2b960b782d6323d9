//! Which file system something is on, and whether that holds files at all: `/proc` and `/sys` only
//! look as if they did.

use std::fs::{self, File, FileType};
use std::io::{self, Read};
use std::path::Path;

use super::naming;

/// What is not on a disk is read when it is listed, up to so many bytes.
pub const MAX_KEPT: u64 = 16 << 20;

/// Whether the file system of `path` is one that the kernel makes up while it is read: there is no
/// end to its files, their sizes say nothing, and to read some of them does something.
#[cfg(target_os = "linux")]
pub fn is_made_up(path: &Path) -> bool {
    // From linux/magic.h: proc, sysfs, debugfs, tracefs, securityfs, cgroup, cgroup2, bpf, configfs,
    // pstore, efivarfs, selinuxfs, binfmt_misc, nsfs, fusectl, devpts, rpc_pipefs, nfsd.
    const MADE_UP: [u32; 18] = [
        0x9fa0,
        0x6265_6572,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0x0027_e0eb,
        0x6367_7270,
        0xcafe_4a11,
        0x6265_6570,
        0x6165_676c,
        0xde5e_81e4,
        0xf97c_ff8c,
        0x4249_4e4d,
        0x6e73_6673,
        0x6573_5543,
        0x1cd1,
        0x6759_6969,
        0x6e66_7364,
    ];
    // Of another width and sign on each kind of processor: all the numbers have 32 bits.
    rustix::fs::statfs(path).is_ok_and(|found| MADE_UP.contains(&(found.f_type as u32)))
}

/// Whether the file system of `path` is one that the kernel makes up while it is read.
#[cfg(not(target_os = "linux"))]
pub fn is_made_up(_: &Path) -> bool {
    false
}

/// The content of a file whose size says nothing; nothing if there is more than can be kept.
///
/// # Errors
/// It cannot be opened or read now.
pub fn content(path: &Path) -> io::Result<Option<Box<[u8]>>> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        options.custom_flags(i32::try_from(flags.bits()).unwrap_or(0));
    }
    let mut content = Vec::new();
    options.open(path)?.take(MAX_KEPT + 1).read_to_end(&mut content)?;
    Ok((content.len() as u64 <= MAX_KEPT).then(|| content.into()))
}

/// What `path` is if bytes come out of it that end nobody knows where: a pipe or a device, perhaps
/// behind a link, as `/dev/stdin` and `<(command)` are.
pub fn stream(path: &Path) -> Option<&'static str> {
    if is_device(path) {
        return Some("a device");
    }
    fs::metadata(path).ok().and_then(|metadata| stream_kind(metadata.file_type()))
}

/// Whether Windows takes what has this path for a device, which is not to be opened to find out.
pub fn is_device(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    cfg!(windows) && name.is_some_and(naming::is_device)
}

#[cfg(unix)]
fn stream_kind(kind: FileType) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_fifo() {
        Some("a pipe")
    } else if kind.is_char_device() || kind.is_block_device() {
        Some("a device")
    } else {
        None
    }
}

#[cfg(not(unix))]
fn stream_kind(_: FileType) -> Option<&'static str> {
    None
}
