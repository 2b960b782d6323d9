//! Mounts a disk of `faulty.rs` through FUSE, without any library but a crate.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileHandle, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, SessionACL, TimeOrNow, WriteFlags,
};

use crate::faulty::{Disk, Faults, User};
use crate::util::tree::Scratch;

/// A disk with faults, mounted; unmounted when dropped.
pub struct Mounted {
    // Before the folder that it is mounted on.
    session: Option<BackgroundSession>,
    at: Scratch,
    disk: Arc<Mutex<Disk>>,
}

impl Mounted {
    /// A new disk. An error is a reason to skip a test.
    pub fn new(faults: Faults) -> Result<Self> {
        let disk = Arc::new(Mutex::new(Disk::new(faults)));
        let (session, at) = mount(&disk)?;
        Ok(Self { session: Some(session), at, disk })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.at.path()
    }

    /// Takes it out, and mounts it again with these faults.
    pub fn again(&mut self, faults: Faults) -> Result<()> {
        self.unmount();
        {
            let mut disk = lock(&self.disk);
            disk.faults = faults;
            disk.plugged_in();
        }
        let (session, at) = mount(&self.disk)?;
        (self.session, self.at) = (Some(session), at);
        Ok(())
    }

    fn unmount(&mut self) {
        if let Some(session) = self.session.take() {
            // A disk that is still in use goes as soon as it is not.
            let _ = rustix::mount::unmount(self.at.path(), rustix::mount::UnmountFlags::DETACH);
            let _ = session.umount_and_join();
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

fn mount(disk: &Arc<Mutex<Disk>>) -> Result<(BackgroundSession, Scratch)> {
    let at = Scratch::new()?;
    let mut config = Config::default();
    config.mount_options =
        vec![MountOption::FSName("faulty".into()), MountOption::DefaultPermissions];
    config.acl = SessionACL::All;
    let shown = Shown(Arc::clone(disk));
    let session =
        fuser::spawn_mount(shown, at.path(), &config).context("cannot mount with FUSE")?;
    Ok((session, at))
}

/// What the kernel is shown.
struct Shown(Arc<Mutex<Disk>>);

impl Shown {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.0)
    }
}

/// Nothing may be remembered: faults come and go.
const NOT_AT_ALL: Duration = Duration::ZERO;
const FIRST: Generation = Generation(0);

fn user(request: &Request) -> User {
    User { uid: request.uid(), gid: request.gid() }
}

fn entry(reply: ReplyEntry, answer: Result<fuser::FileAttr, Errno>) {
    match answer {
        Ok(attributes) => reply.entry(&NOT_AT_ALL, &attributes, FIRST),
        Err(error) => reply.error(error),
    }
}

fn empty(reply: ReplyEmpty, answer: Result<(), Errno>) {
    match answer {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn time(time: TimeOrNow) -> SystemTime {
    match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}

impl Filesystem for Shown {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let faults = self.disk().faults;
        if faults.writes_late {
            let _ = config.add_capabilities(InitFlags::FUSE_WRITEBACK_CACHE);
        }
        if faults.flock.is_some() {
            let _ = config.add_capabilities(InitFlags::FUSE_FLOCK_LOCKS);
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(reply, self.disk().look(parent, name));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.disk().attributes_of(ino) {
            Ok(attributes) => reply.attr(&NOT_AT_ALL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut disk = self.disk();
        let mut set = || {
            if let Some(mode) = mode {
                disk.set_mode(ino, mode)?;
            }
            if uid.is_some() || gid.is_some() {
                disk.set_owner(ino, uid, gid)?;
            }
            if let Some(size) = size {
                disk.resize(ino, size)?;
            }
            if atime.is_some() || mtime.is_some() {
                disk.set_times(ino, atime.map(time), mtime.map(time))?;
            }
            disk.attributes_of(ino)
        };
        match set() {
            Ok(attributes) => reply.attr(&NOT_AT_ALL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.disk().target(ino) {
            Ok(target) => reply.data(target.as_os_str().as_encoded_bytes()),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        entry(reply, self.disk().make_folder(parent, name, mode & !umask, user(request)));
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        entry(reply, self.disk().make_link(parent, name, target, user(request)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.disk().remove(parent, name));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.disk().remove(parent, name));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if flags.contains(RenameFlags::RENAME_EXCHANGE) {
            return reply.error(Errno::EINVAL);
        }
        let flags = (!flags.is_empty(), flags.contains(RenameFlags::RENAME_NOREPLACE));
        empty(reply, self.disk().rename((parent, name), (new_parent, new_name), flags));
    }

    fn link(
        &self,
        _: &Request,
        ino: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        entry(reply, self.disk().add_name(ino, new_parent, new_name));
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.disk().open(ino) {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let mut disk = self.disk();
        let made = disk.make_file(parent, name, mode & !umask, user(request));
        match made.and_then(|attributes| Ok((attributes, disk.open(attributes.ino)?))) {
            Ok((attributes, handle)) => {
                let handle = FileHandle(handle);
                reply.created(&NOT_AT_ALL, &attributes, FIRST, handle, FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.disk().read(ino, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.disk().write(ino, handle.0, offset, data) {
            Ok(written) => reply.written(written),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, handle: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        empty(reply, self.disk().flush(handle.0));
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.disk().close(handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(reply, self.disk().fsync());
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(reply, self.disk().fsync());
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let entries = match self.disk().list(ino) {
            Ok(entries) => entries,
            Err(error) => return reply.error(error),
        };
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        for (place, (number, kind, name)) in (1u64..).zip(entries).skip(skipped) {
            if reply.add(INodeNo(number), place, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (blocks, free, inodes, free_inodes, longest_name) = self.disk().sizes();
        reply.statfs(blocks, free, free, inodes, free_inodes, 4096, longest_name, 4096);
    }

    fn setlk(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: LockOwner,
        _: u64,
        _: u64,
        _: i32,
        _: u32,
        _: bool,
        reply: ReplyEmpty,
    ) {
        empty(reply, self.disk().faults.flock.map_or(Ok(()), Err));
    }
}
