//! From a tree to a plain host directory.
//!
//! Always true: the destination is a new or an empty directory, so nothing is overwritten; copied bytes are
//! verified against their names; symlinks come last, so no file is ever written through one; and nothing is written
//! anywhere else, whatever others do with the destination meanwhile (see [`beneath`]).

use std::fs::{self, File, FileTimes};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use beneath::Beneath;

use crate::digest::BlobId;
use crate::store::{Store, StoreError};
use crate::tree::{Dir, Item, Kind, NodeError, Nodes};
use crate::walk::walk;

mod beneath;

/// How files get their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// A copy of its own, sharing extents where the file system can.
    Copy,
    /// A hard link to the blob: no bytes at all, but read-only and with the blob's times, and changing it
    /// would damage the store.
    Hardlink,
}

/// What a checkout made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckedOut {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that share their extents with the store.
    pub reflinked: u64,
}

/// Why a checkout failed.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// There is something at the destination.
    #[error("{path}: is not an empty directory")]
    Occupied {
        /// The destination.
        path: PathBuf,
    },
    /// A host file or directory cannot be written.
    #[error("{path}: cannot {verb}")]
    Io {
        /// What was being done.
        verb: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A node cannot be read.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A blob cannot be read.
    #[error("{path}: cannot be written")]
    Blob {
        /// The file that needed it.
        path: PathBuf,
        /// What is wrong with the blob.
        source: StoreError,
    },
}

/// A file to be written.
struct Job {
    /// Below the destination.
    path: String,
    blob: BlobId,
    size_bytes: u64,
    executable: bool,
    mtime: i64,
}

/// Writes the directory `root` (its top's time is `mtime`) to `dest` with `threads` threads. `progress` is
/// called from any of them with the files and bytes written so far.
pub fn checkout(
    nodes: &(impl Nodes + ?Sized),
    store: &Store,
    (root, mtime): (Dir, i64),
    dest: &Path,
    how: How,
    threads: usize,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<CheckedOut, CheckoutError> {
    make_dest(dest)?;
    let place = Beneath::open(dest).map_err(io_error("open", dest))?;
    let fail = |verb, path: &str| io_error(verb, &dest.join(path));
    let (mut jobs, mut links, mut dirs) = (Vec::new(), Vec::new(), Vec::new());
    let mut maker = place.clone();
    walk(nodes, root, "", &mut |path, Item { mtime, kind }| {
        let path = path.to_owned();
        match kind {
            Kind::File { blob, size_bytes, executable } => {
                let (blob, size_bytes, executable, mtime) = (*blob, *size_bytes, *executable, *mtime);
                jobs.push(Job { path, blob, size_bytes, executable, mtime });
            }
            Kind::Symlink { target } => links.push((path, target.clone(), *mtime)),
            Kind::Dir(_) => {
                maker.make_dir(&path).map_err(fail("create", &path))?;
                dirs.push((path, *mtime));
            }
        }
        Ok::<(), CheckoutError>(())
    })?;
    let done = write_files(store, (&place, dest), &jobs, how, threads, progress)?;
    for (path, target, mtime) in links {
        maker.make_symlink(&path, &target).map_err(fail("create", &path))?;
        maker.set_time(&path, mtime).map_err(fail("set the time of", &path))?;
    }
    // Children first: writing into a directory moves its time.
    for (path, mtime) in dirs.iter().rev() {
        maker.set_time(path, *mtime).map_err(fail("set the time of", path))?;
    }
    maker.set_time("", mtime).map_err(fail("set the time of", ""))?;
    Ok(done)
}

fn make_dest(dest: &Path) -> Result<(), CheckoutError> {
    let free = match fs::read_dir(dest) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return fs::create_dir_all(dest).map_err(io_error("create", dest));
        }
        Err(_) => false,
    };
    if free { Ok(()) } else { Err(CheckoutError::Occupied { path: dest.to_owned() }) }
}

fn io_error(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CheckoutError + use<> {
    let path = path.to_owned();
    move |source| CheckoutError::Io { verb, path, source }
}

fn write_files(
    store: &Store,
    (place, dest): (&Beneath, &Path),
    jobs: &[Job],
    how: How,
    threads: usize,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<CheckedOut, CheckoutError> {
    let next = AtomicUsize::new(0);
    let (files, bytes, reflinked) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut place = place.clone();
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match write_file(store, (&mut place, dest), job, how) {
                        Ok(shared) => {
                            reflinked.fetch_add(u64::from(shared), Ordering::Relaxed);
                            let bytes = bytes.fetch_add(job.size_bytes, Ordering::Relaxed) + job.size_bytes;
                            progress(files.fetch_add(1, Ordering::Relaxed) + 1, bytes);
                        }
                        Err(error) => {
                            next.store(jobs.len(), Ordering::Relaxed);
                            failure
                                .lock()
                                .unwrap_or_else(std::sync::PoisonError::into_inner)
                                .get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    match failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(CheckedOut {
            files: files.into_inner(),
            bytes: bytes.into_inner(),
            reflinked: reflinked.into_inner(),
        }),
    }
}

/// Writes one file; returns whether it shares extents with the store.
fn write_file(
    store: &Store,
    (place, dest): (&mut Beneath, &Path),
    job: &Job,
    how: How,
) -> Result<bool, CheckoutError> {
    let path = &dest.join(&job.path);
    let blob_error = |source| CheckoutError::Blob { path: path.clone(), source };
    if how == How::Hardlink {
        check_size(store, job).map_err(blob_error)?;
        place.link(&store.blob_path(job.blob), &job.path).map_err(io_error("link", path))?;
        return Ok(false);
    }
    let mode = if job.executable { 0o755 } else { 0o644 };
    let mut file = place.create(&job.path, mode).map_err(io_error("create", path))?;
    check_size(store, job).map_err(blob_error)?;
    let blob = store.open_blob(job.blob).map_err(blob_error)?;
    let shared = rustix::fs::ioctl_ficlone(&file, &blob).is_ok();
    if !shared {
        store.copy_blob(job.blob, &mut file).map_err(blob_error)?;
    }
    finish_file(&file, job).map_err(io_error("finish", path))?;
    Ok(shared)
}

/// Fails when the blob is missing or has another size: links and shared extents are not verified otherwise.
fn check_size(store: &Store, job: &Job) -> Result<(), StoreError> {
    if store.has_blob(job.blob, job.size_bytes) {
        return Ok(());
    }
    // Reading it tells what is wrong with it.
    store.copy_blob(job.blob, &mut io::sink()).map(drop)
}

/// Sets the mode that the umask may have cut, and the time.
fn finish_file(file: &File, job: &Job) -> io::Result<()> {
    let mode = if job.executable { 0o755 } else { 0o644 };
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    let offset = Duration::from_secs(job.mtime.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    let time = if job.mtime < 0 { epoch.checked_sub(offset) } else { epoch.checked_add(offset) };
    let time = time.ok_or(io::ErrorKind::InvalidData)?;
    file.set_times(FileTimes::new().set_accessed(time).set_modified(time))
}

#[cfg(test)]
mod tests;
