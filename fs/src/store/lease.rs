//! The right of a running process to have files and unnamed blobs in the store.
//!
//! Always true: a lease is a directory `tmp/<id>/` with a file `lock` that its process holds locked in the
//! kernel, so a lease ends with its process, however that ends. Whoever takes a lease first removes the
//! directories of the dead.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};

use super::{Context, Store, StoreError};

/// Distinguishes leases and files of one process.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A held lease. Dropping it removes its directory with whatever is left there.
#[derive(Debug)]
pub struct Lease {
    dir: PathBuf,
    _lock: File,
}

impl Lease {
    /// Takes a lease and removes what dead processes left in `tmp/`.
    pub fn take(store: &Store) -> Result<Self, StoreError> {
        let tmp = store.root().join("tmp");
        // Held only while directories come and go, so that nobody sees one before its lock.
        let gate = lock_file(&tmp.join("gate"))?;
        flock(&gate, FlockOperation::LockExclusive).context("lock", &tmp)?;
        sweep_dead(&tmp)?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let dir = tmp.join(format!("{}-{number}", std::process::id()));
        fs::create_dir(&dir).context("create", &dir)?;
        let lock = lock_file(&dir.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).context("lock", &dir)?;
        Ok(Self { dir, _lock: lock })
    }

    /// Creates an empty file under the lease, in the blobs' file system, readable by all and writable only
    /// through the returned handle.
    pub fn temporary(&self) -> Result<(File, PathBuf), StoreError> {
        let path = self.dir.join(COUNTER.fetch_add(1, Ordering::Relaxed).to_string());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o444)
            .open(&path)
            .context("create", &path)?;
        // The umask of one process must not keep others from reading what it stores.
        file.set_permissions(Permissions::from_mode(0o444)).context("set the mode of", &path)?;
        Ok((file, path))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // The lock goes with the handle. What cannot be removed now, the next lease removes.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn lock_file(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path).context("open", path)
}

/// Removes the directories whose lock nobody holds. The gate must be held.
fn sweep_dead(tmp: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(tmp).context("list", tmp)? {
        let dir = entry.context("list", tmp)?.path();
        if !dir.is_dir() {
            continue;
        }
        let lock = lock_file(&dir.join("lock"));
        // A directory that vanishes here was another process's, ending.
        let Ok(lock) = lock else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir_all(&dir);
        }
    }
    Ok(())
}
