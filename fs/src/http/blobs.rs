//! Blobs as open files that may be sent: opened once, verified once, both remembered within bounds.
//!
//! Always true: a blob of up to [`VERIFY_BYTES`] was read and hashed before its first byte is sent, and is
//! again when its file has been touched since; a larger one has the size that the tree states.

use std::collections::HashMap;
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{io, thread};

use lru::LruCache;
use rustix::io::Errno;

use crate::digest::{BlobId, Digest};
use crate::store::{Store, StoreError};
use crate::view::VERIFY_BYTES;

/// Checked blobs that are remembered: some 100 bytes each.
const CHECKED_KEPT: NonZeroUsize = NonZeroUsize::new(1 << 18).expect("it is not zero");
/// Threads that read and hash blobs; more would only compete for the disk.
const CHECKERS: usize = 2;

/// Why a blob is not sent.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum BlobError {
    /// It cannot be opened or read.
    #[error("{0}")]
    Store(Arc<StoreError>),
    /// Its file has another size than the tree says.
    #[error("blob {blob} is damaged: it has {found_bytes} bytes instead of {expected_bytes}")]
    WrongSize { blob: BlobId, expected_bytes: u64, found_bytes: u64 },
    /// Its bytes are others.
    #[error("blob {blob} is damaged: its bytes hash to {found}")]
    Damaged { blob: BlobId, found: BlobId },
}

/// What tells that a file has not been touched: device, inode, size, and the times of content and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp([u64; 3], [i64; 4]);

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
        Ok(Self([meta.dev(), meta.ino(), meta.size()], times))
    }

    fn size_bytes(&self) -> u64 {
        self.0[2]
    }
}

/// What checking a file has shown.
#[derive(Debug, Clone, Copy)]
struct Checked {
    stamp: Stamp,
    found: BlobId,
}

/// The answer to a wish for a blob.
pub(super) enum Opened {
    /// It may be sent.
    Ready(Arc<File>),
    /// It must be read first; the answer comes to the waiter.
    Later,
    /// It cannot be sent.
    Refused(BlobError),
}

/// Takes the answer for whoever waits for a blob.
pub(super) type Waiter = Box<dyn FnOnce(Result<Arc<File>, BlobError>) + Send>;

/// The open blobs of a server.
#[derive(Debug)]
pub(super) struct Blobs {
    store: Store,
    shared: Arc<Shared>,
    checks: Sender<Check>,
}

struct Shared {
    open: Mutex<LruCache<BlobId, Arc<File>>>,
    checked: Mutex<LruCache<BlobId, Checked>>,
    waiting: Mutex<HashMap<BlobId, Vec<Waiter>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("open", &lock(&self.open).len()).finish_non_exhaustive()
    }
}

/// A blob to be read and hashed.
struct Check {
    blob: BlobId,
    file: Arc<File>,
    path: std::path::PathBuf,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Blobs {
    /// The blobs of `store`, of which up to `open_max` stay open. The threads that check them end with it.
    pub(super) fn new(store: Store, open_max: NonZeroUsize) -> Self {
        let shared = Arc::new(Shared {
            open: Mutex::new(LruCache::new(open_max)),
            checked: Mutex::new(LruCache::new(CHECKED_KEPT)),
            waiting: Mutex::default(),
        });
        let (checks, received) = channel();
        let received = Arc::new(Mutex::new(received));
        for _ in 0..CHECKERS {
            let (shared, received) = (Arc::clone(&shared), Arc::clone(&received));
            thread::spawn(move || check_all(&shared, &received));
        }
        Self { store, shared, checks }
    }

    /// Opens a blob of `size_bytes`. `waiter` makes who is told when that takes reading it.
    pub(super) fn open(&self, blob: BlobId, size_bytes: u64, waiter: impl FnOnce() -> Waiter) -> Opened {
        let kept = lock(&self.shared.open).get(&blob).cloned();
        let was_open = kept.is_some();
        let path = || self.store.blob_path(blob);
        let file = match kept {
            Some(file) => file,
            None => match self.open_file(blob) {
                Ok(file) => Arc::new(file),
                Err(error) => return Opened::Refused(BlobError::Store(error.into())),
            },
        };
        let stamp = match Stamp::of(&file) {
            Ok(stamp) => stamp,
            Err(source) => return Opened::Refused(io_error("look at", path(), source)),
        };
        if stamp.size_bytes() != size_bytes {
            let found_bytes = stamp.size_bytes();
            lock(&self.shared.open).pop(&blob);
            let error = BlobError::WrongSize { blob, expected_bytes: size_bytes, found_bytes };
            return Opened::Refused(error);
        }
        if size_bytes <= VERIFY_BYTES {
            let checked = lock(&self.shared.checked).get(&blob).copied();
            match checked.filter(|checked| checked.stamp == stamp) {
                Some(Checked { found, .. }) if found != blob => {
                    // A whole one may come in its place; the next who asks opens what is there then.
                    lock(&self.shared.open).pop(&blob);
                    return Opened::Refused(BlobError::Damaged { blob, found });
                }
                Some(_) => {}
                None => {
                    self.check(Check { blob, file, path: path() }, waiter());
                    return Opened::Later;
                }
            }
        }
        if !was_open {
            lock(&self.shared.open).put(blob, Arc::clone(&file));
        }
        Opened::Ready(file)
    }

    fn open_file(&self, blob: BlobId) -> Result<File, StoreError> {
        let full =
            |error: &io::Error| matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE));
        match self.store.open_blob(blob) {
            Err(StoreError::Io { source, .. }) if full(&source) => {
                // What is only kept for the next request is better spent on this one.
                lock(&self.shared.open).clear();
                self.store.open_blob(blob)
            }
            opened => opened,
        }
    }

    /// Has a blob checked, once for all who wait for it.
    fn check(&self, check: Check, waiter: Waiter) {
        let mut waiting = lock(&self.shared.waiting);
        let waiters = waiting.entry(check.blob).or_default();
        waiters.push(waiter);
        if waiters.len() == 1 {
            // The threads live as long as this does.
            let _ = self.checks.send(check);
        }
    }
}

fn io_error(verb: &'static str, path: std::path::PathBuf, source: io::Error) -> BlobError {
    BlobError::Store(Arc::new(StoreError::Io { verb, path, source }))
}

fn check_all(shared: &Shared, received: &Mutex<Receiver<Check>>) {
    loop {
        let next = lock(received).recv();
        let Ok(Check { blob, file, path }) = next else { return };
        let result = check(shared, blob, &file).map_err(|source| io_error("read", path, source));
        let answer = match result {
            Ok(found) if found == blob => {
                lock(&shared.open).put(blob, Arc::clone(&file));
                Ok(file)
            }
            Ok(found) => Err(BlobError::Damaged { blob, found }),
            Err(error) => Err(error),
        };
        for waiter in lock(&shared.waiting).remove(&blob).unwrap_or_default() {
            waiter(answer.clone());
        }
    }
}

fn check(shared: &Shared, blob: BlobId, file: &File) -> io::Result<BlobId> {
    // Taken before reading, so that a change meanwhile is noticed by who opens it next.
    let stamp = Stamp::of(file)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 18];
    let mut offset = 0;
    loop {
        let read = file.read_at(&mut buffer, offset)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        offset += read as u64;
    }
    let found = BlobId::from(Digest::from(hasher.finalize()));
    lock(&shared.checked).put(blob, Checked { stamp, found });
    Ok(found)
}
