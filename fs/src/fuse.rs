//! A [`View`] through the kernel: the only file that knows the crate `fuser`.
//!
//! Always true: every question is passed to the view and every answer back; nothing is remembered here. What
//! belongs to a snapshot is the kernel's to keep forever, what stands for a ref is asked for every time.
//!
//! `fuser` calls an inode by the number that programs see. A directory of a view needs two (see
//! [`crate::view::Inode`]), so answers that name inodes are encoded in [`wire`] and written to the device
//! here; the kernel takes the first answer to a question and refuses `fuser`'s, which follows.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
    Session, SessionACL,
};

use crate::mounts;
use crate::name::NAME_MAX_BYTES;
use crate::store::StoreError;
use crate::tree::Nodes;
use crate::view::roots::Roots;
use crate::view::{Answer, Attributes, FileKind, Holds, Inode, View, ViewError};

mod wire;

/// Largest request of the kernel, where it allows that much.
const REQUEST_BYTES: u32 = 1 << 20;
/// As good as forever, in a range that every kernel can add to its clock.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Why a mount cannot be made or has ended.
#[derive(Debug, thiserror::Error)]
pub enum FuseError {
    /// The kernel or the mount helper refuses.
    #[error("{dir}: cannot mount")]
    Mount {
        /// The mount point.
        dir: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// The connection to the kernel broke.
    #[error("{dir}: the mount has failed")]
    Session {
        /// The mount point.
        dir: PathBuf,
        /// The failure.
        source: io::Error,
    },
}

/// How to mount.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Let other users see the mount.
    pub allow_other: bool,
    /// Threads that answer the kernel.
    pub threads: usize,
}

/// Takes a line for the log: an answer that could not be given, and why.
pub type Report = Box<dyn Fn(&str) + Send + Sync>;

/// A mounted view, served by threads of its own until it is unmounted. Dropping it unmounts.
pub struct Mounted {
    dir: PathBuf,
    device: Option<String>,
    session: BackgroundSession,
}

impl fmt::Debug for Mounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mounted").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Mounted {
    /// Waits until the mount is gone, whoever unmounts it ([`mounts::unmount`]).
    pub fn wait(self) -> Result<(), FuseError> {
        let Self { dir, mut session, .. } = self;
        let guard = std::mem::replace(&mut session.guard, std::thread::spawn(|| Ok(())));
        let ended =
            guard.join().unwrap_or_else(|_| Err(io::Error::other("a thread that served it panicked")));
        // `fuser` would unmount whatever is at the directory: by now perhaps another mount, whose mirrors
        // would then find an empty directory.
        std::mem::forget(session);
        ended.map_err(|source| FuseError::Session { dir, source })
    }

    /// The device of this mount in the kernel's table ([`mounts::Mount::device`]).
    pub fn device(&self) -> Option<&str> {
        self.device.as_deref()
    }
}

/// Mounts `view` at `dir`, an absolute path without symlinks. When this returns, the mount answers.
pub fn mount<R: Roots + 'static, N: Nodes + Send + Sync + 'static>(
    view: View<R, N>,
    dir: &Path,
    settings: Settings,
    report: Report,
) -> Result<Mounted, FuseError> {
    let failed = |source| FuseError::Mount { dir: dir.to_owned(), source };
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::DefaultPermissions,
        MountOption::FSName(mounts::SOURCE.to_owned()),
        // Unlike `MountOption::Subtype`, this reaches the kernel without the helper, too.
        MountOption::CUSTOM(format!("subtype={}", mounts::SUBTYPE)),
    ];
    config.acl = if settings.allow_other { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(settings.threads.max(1));
    let device = Arc::new(OnceLock::new());
    let adapter = Adapter { view, device: Arc::clone(&device), report };
    let session = Session::new(adapter, dir, &config).map_err(failed)?;
    // Questions are answered from the next step on, so none comes before the device is set.
    let own = session.as_fd().try_clone_to_owned().map_err(failed)?;
    device.get_or_init(|| own);
    let session = session.spawn().map_err(failed)?;
    let device = mounts::find(dir).ok().flatten().map(|mount| mount.device);
    device.iter().for_each(|device| raise_read_ahead(device));
    Ok(Mounted { dir: dir.to_owned(), device, session })
}

/// Lets the kernel read ahead as much as one request carries. Only root may, and only speed depends on it.
fn raise_read_ahead(device: &str) {
    let knob = format!("/sys/class/bdi/{device}/read_ahead_kb");
    let _ = fs::write(knob, (REQUEST_BYTES >> 10).to_string());
}

struct Adapter<R, N> {
    view: View<R, N>,
    /// The connection to the kernel, for answers that `fuser` cannot give.
    device: Arc<OnceLock<OwnedFd>>,
    report: Report,
}

impl<R: Roots, N: Nodes> Adapter<R, N> {
    /// The answer to a question that has none. Failures of the store and the catalogue are reported.
    fn refuse(&self, error: &ViewError) -> Errno {
        let errno = errno(error);
        if [Errno::EIO, Errno::ENFILE].contains(&errno) {
            (self.report)(&whole_text(error));
        }
        errno
    }

    /// Writes an answer of bytes. A connection that is gone needs none.
    fn answer(&self, request: &Request, body: &[u8]) {
        if let Some(device) = self.device.get() {
            let header = wire::header(request.unique().0, body.len());
            let _ = rustix::io::writev(device, &[IoSlice::new(&header), IoSlice::new(body)]);
        }
    }
}

/// The whole exchange of errors for numbers.
fn errno(error: &ViewError) -> Errno {
    let exhausted = |source: &io::Error| {
        let number = source.raw_os_error();
        number == Some(Errno::EMFILE.code()) || number == Some(Errno::ENFILE.code())
    };
    match error {
        ViewError::UnknownInode(_) => Errno::ESTALE,
        ViewError::UnknownHandle(_) => Errno::EBADF,
        ViewError::NotADirectory(_) => Errno::ENOTDIR,
        ViewError::IsADirectory(_) => Errno::EISDIR,
        ViewError::NotASymlink(_) => Errno::EINVAL,
        ViewError::NameTooLong { .. } => Errno::ENAMETOOLONG,
        ViewError::NoSuchRef { .. } => Errno::ENOENT,
        ViewError::Store(StoreError::Io { source, .. }) if exhausted(source) => Errno::ENFILE,
        ViewError::NoSuchSnapshot { .. }
        | ViewError::Node(_)
        | ViewError::Store(_)
        | ViewError::WrongSize { .. }
        | ViewError::Read { .. }
        | ViewError::Roots { .. } => Errno::EIO,
    }
}

/// An error with everything that led to it, on one line.
fn whole_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.replace('\n', " ")
}

fn time_to_live(holds: Holds) -> Duration {
    match holds {
        Holds::Now => Duration::ZERO,
        Holds::For(time) => time,
        Holds::Forever => FOREVER,
    }
}

fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Dir => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
    }
}

fn file_attr(attributes: &Attributes) -> FileAttr {
    let age = Duration::from_secs(attributes.mtime.unsigned_abs());
    let time = if attributes.mtime < 0 { UNIX_EPOCH.checked_sub(age) } else { UNIX_EPOCH.checked_add(age) };
    let time: SystemTime = time.unwrap_or(UNIX_EPOCH);
    FileAttr {
        ino: INodeNo(attributes.number),
        size: attributes.size_bytes,
        blocks: attributes.blocks(),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: file_type(attributes.kind),
        perm: attributes.mode,
        nlink: attributes.links,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: 0,
        blksize: wire::BLOCK_BYTES,
        flags: 0,
    }
}

impl<R: Roots + 'static, N: Nodes + Send + Sync + 'static> Filesystem for Adapter<R, N> {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // What an old kernel lacks, it does without.
        for wanted in
            [InitFlags::FUSE_DO_READDIRPLUS, InitFlags::FUSE_PARALLEL_DIROPS, InitFlags::FUSE_CACHE_SYMLINKS]
        {
            let _ = config.add_capabilities(wanted);
        }
        // This bounds reads as well as the writes that never come.
        let _ = config.set_max_write(REQUEST_BYTES);
        if let Err(most) = config.set_max_readahead(REQUEST_BYTES) {
            let _ = config.set_max_readahead(most);
        }
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.view.lookup(Inode(parent.0), name.as_bytes()) {
            Ok(Answer::Found(found)) => {
                let name_holds = time_to_live(found.holds);
                let entry = wire::entry(found.inode, &found.attributes, name_holds, FOREVER);
                self.answer(request, &entry);
                reply.error(Errno::EIO);
            }
            Ok(Answer::Absent(Holds::Now)) => reply.error(Errno::ENOENT),
            Ok(Answer::Absent(holds)) => {
                self.answer(request, &wire::absent(time_to_live(holds)));
                reply.error(Errno::EIO);
            }
            Err(error) => reply.error(self.refuse(&error)),
        }
    }

    fn forget(&self, _request: &Request, inode: INodeNo, lookups: u64) {
        self.view.forget(Inode(inode.0), lookups);
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.view.attributes(Inode(inode.0)) {
            Ok((attributes, holds)) => reply.attr(&time_to_live(holds), &file_attr(&attributes)),
            Err(error) => reply.error(self.refuse(&error)),
        }
    }

    fn readlink(&self, _request: &Request, inode: INodeNo, reply: ReplyData) {
        match self.view.read_link(Inode(inode.0)) {
            Ok(target) => reply.data(target.as_bytes()),
            Err(error) => reply.error(self.refuse(&error)),
        }
    }

    fn open(&self, _request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.view.open_file(Inode(inode.0)) {
            // The content of an inode never changes, so what the kernel has of it stays good.
            Ok(handle) => {
                reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH);
            }
            Err(error) => reply.error(self.refuse(&error)),
        }
    }

    fn read(
        &self,
        _request: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        thread_local! {
            static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let size = size.min(REQUEST_BYTES) as usize;
        BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            match self.view.read(handle.0, offset, &mut buffer[..size]) {
                Ok(read) => reply.data(&buffer[..read]),
                Err(error) => reply.error(self.refuse(&error)),
            }
        });
    }

    fn release(
        &self,
        _request: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.view.close_file(handle.0);
        reply.ok();
    }

    fn opendir(&self, _request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.view.open_dir(Inode(inode.0)) {
            Ok((handle, Holds::Forever)) => {
                reply.opened(FileHandle(handle), FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE);
            }
            Ok((handle, _)) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            Err(error) => reply.error(self.refuse(&error)),
        }
    }

    fn readdir(
        &self,
        _request: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let read = self.view.read_dir(handle.0, offset, false, &mut |line| {
            !reply.add(INodeNo(line.number), line.next, file_type(line.kind), line.name)
        });
        match read {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(self.refuse(&error)),
        }
    }

    fn readdirplus(
        &self,
        request: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        // `fuser` does not tell how much the kernel asked for, only whether a line still fits. Lines of one
        // name have one length, whatever else they say.
        let (any, zero) = (file_attr(&Attributes::default()), Duration::ZERO);
        let mut lines = Vec::with_capacity(16 << 10);
        let read = self.view.read_dir(handle.0, offset, true, &mut |line| {
            if reply.add(INodeNo(0), 0, line.name, &zero, &any, Generation(0)) {
                return false;
            }
            wire::line(&mut lines, line, FOREVER);
            true
        });
        match read {
            Ok(()) => {
                self.answer(request, &lines);
                reply.error(Errno::EIO);
            }
            Err(error) => reply.error(self.refuse(&error)),
        }
    }

    fn releasedir(
        &self,
        _request: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.view.close_dir(handle.0);
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _inode: INodeNo, reply: ReplyStatfs) {
        // The protocol has 32 bits for each; no file system has larger blocks.
        let unit = |bytes: u64| u32::try_from(bytes).unwrap_or(wire::BLOCK_BYTES);
        let name_max_bytes = u32::try_from(NAME_MAX_BYTES).unwrap_or(u32::MAX);
        match self.view.space() {
            Ok(space) => reply.statfs(
                space.blocks,
                space.free_blocks,
                space.available_blocks,
                space.inodes,
                space.free_inodes,
                unit(space.block_bytes),
                name_max_bytes,
                unit(space.block_bytes),
            ),
            Err(error) => reply.error(self.refuse(&error)),
        }
    }

    fn getxattr(&self, _request: &Request, inode: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        match self.view.labels(Inode(inode.0)) {
            Ok(labels) => match labels.iter().find(|(label, _)| label.as_bytes() == name.as_bytes()) {
                Some((_, value)) => reply_sized(reply, size, value.as_bytes()),
                None => reply.error(Errno::NO_XATTR),
            },
            Err(error) => reply.error(self.refuse(&error)),
        }
    }

    fn listxattr(&self, _request: &Request, inode: INodeNo, size: u32, reply: ReplyXattr) {
        match self.view.labels(Inode(inode.0)) {
            Ok(labels) => {
                let names: String = labels.into_iter().map(|(label, _)| label + "\0").collect();
                reply_sized(reply, size, names.as_bytes());
            }
            Err(error) => reply.error(self.refuse(&error)),
        }
    }
}

/// The length when that is asked for, the bytes when they fit.
fn reply_sized(reply: ReplyXattr, size: u32, bytes: &[u8]) {
    match (size as usize, bytes.len()) {
        (0, len) => reply.size(u32::try_from(len).unwrap_or(u32::MAX)),
        (room, len) if room < len => reply.error(Errno::ERANGE),
        _ => reply.data(bytes),
    }
}
