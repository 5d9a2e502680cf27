//! Making files below a directory and nowhere else.
//!
//! Always true: a path is followed name by name from the directory on, each as a real directory; a symlink that
//! somebody puts there meanwhile is an error, never a way out. (`openat2` does the same in one call, where the kernel
//! has it; with the last directory kept open, this costs as little.)

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, linkat, mkdirat, openat, symlinkat, utimensat,
};

/// A directory, and the last one below it that something was made in.
#[derive(Debug, Clone)]
pub(super) struct Beneath {
    top: Arc<OwnedFd>,
    /// Its path, and it.
    last: Option<(String, Arc<OwnedFd>)>,
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Beneath {
    /// Opens the directory, symlinks on the way to it followed.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = openat(CWD, dir, flags, Mode::empty())?;
        Ok(Self { top: Arc::new(top), last: None })
    }

    /// Makes a file to be written, which must not be there.
    pub(super) fn create(&mut self, path: &str, mode: u32) -> io::Result<File> {
        let (dir, name) = self.dir_of(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&*dir, name, flags, Mode::from_raw_mode(mode))?.into())
    }

    /// Makes a directory.
    pub(super) fn make_dir(&mut self, path: &str) -> io::Result<()> {
        let (dir, name) = self.dir_of(path)?;
        Ok(mkdirat(&*dir, name, Mode::from_raw_mode(0o777))?)
    }

    /// Makes a symlink.
    pub(super) fn make_symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        let (dir, name) = self.dir_of(path)?;
        Ok(symlinkat(target, &*dir, name)?)
    }

    /// Makes another name for a file of the host.
    pub(super) fn link(&mut self, file: &Path, path: &str) -> io::Result<()> {
        let (dir, name) = self.dir_of(path)?;
        Ok(linkat(CWD, file, &*dir, name, AtFlags::empty())?)
    }

    /// Sets the times of what stands at `path`, itself when it is a symlink; of the directory when that is empty.
    pub(super) fn set_time(&mut self, path: &str, mtime: i64) -> io::Result<()> {
        let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        if path.is_empty() {
            return Ok(rustix::fs::futimens(&*self.top, &times)?);
        }
        let (dir, name) = self.dir_of(path)?;
        Ok(utimensat(&*dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The directory that `path` stands in, and its last name.
    fn dir_of<'a>(&mut self, path: &'a str) -> io::Result<(Arc<OwnedFd>, &'a str)> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        // Names of trees are never these; whoever calls may be mistaken.
        if path.split('/').any(|part| ["", ".", ".."].contains(&part)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if above.is_empty() {
            return Ok((Arc::clone(&self.top), name));
        }
        if let Some((last, dir)) = &self.last
            && last == above
        {
            return Ok((Arc::clone(dir), name));
        }
        let mut dir = Arc::clone(&self.top);
        for part in above.split('/') {
            dir = Arc::new(openat(&*dir, part, DIRECTORY, Mode::empty())?);
        }
        self.last = Some((above.to_owned(), Arc::clone(&dir)));
        Ok((dir, name))
    }
}
