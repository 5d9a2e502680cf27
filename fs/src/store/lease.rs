//! The right of a running process to have files and unnamed blobs in the store, and to keep snapshots there.
//!
//! Always true: a lease is a directory `tmp/<id>/` with a file `lock` that its process holds locked in the
//! kernel, so a lease ends with its process, however that ends. Whoever takes a lease first removes the
//! directories of the dead. Leases come, and begin to hold a snapshot, only while the [`Gate`] is open.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};

use super::{Context, Store, StoreError};
use crate::digest::SnapshotId;

/// Distinguishes leases and files of one process.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// The file of a lease that says which snapshots it holds, a line each.
const HOLDS: &str = "holds";

/// A held lease. Dropping it removes its directory with whatever is left there.
#[derive(Debug)]
pub struct Lease {
    dir: PathBuf,
    _lock: File,
}

/// Somebody's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Living {
    /// What tells it from all others.
    pub name: String,
    /// The snapshots that must stay as long as it lives.
    pub holds: Vec<SnapshotId>,
    /// Of a process that only shows snapshots: for how many seconds it shows what refs named before.
    pub past_seconds: Option<u64>,
}

/// Keeps leases from coming, and from holding more, until it is dropped. Whoever has it takes no lease.
#[derive(Debug)]
pub struct Gate {
    tmp: PathBuf,
    _lock: File,
}

impl Gate {
    /// Waits for those who are taking a lease and keeps others from it.
    pub fn close(store: &Store) -> Result<Self, StoreError> {
        let tmp = store.root().join("tmp");
        let lock = lock_file(&tmp.join("gate"))?;
        flock(&lock, FlockOperation::LockExclusive).context("lock", &tmp)?;
        Ok(Self { tmp, _lock: lock })
    }

    /// All leases.
    pub fn living(&self) -> Result<Vec<Living>, StoreError> {
        sweep_dead(&self.tmp)?;
        let mut living = Vec::new();
        for entry in fs::read_dir(&self.tmp).context("list", &self.tmp)? {
            let entry = entry.context("list", &self.tmp)?;
            let dir = entry.path();
            if dir.is_dir() {
                let text = match fs::read_to_string(dir.join(HOLDS)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
                    read => read.context("read", &dir)?,
                };
                let number = |line: &str| line.strip_prefix("past ").and_then(|number| number.parse().ok());
                living.push(Living {
                    name: entry.file_name().to_string_lossy().into_owned(),
                    holds: text.lines().filter_map(|line| line.parse().ok()).collect(),
                    past_seconds: text.lines().find_map(number),
                });
            }
        }
        living.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(living)
    }
}

impl Lease {
    /// Takes a lease and removes what dead processes left in `tmp/`.
    pub fn take(store: &Store) -> Result<Self, StoreError> {
        // Held only while directories come and go, so that nobody sees one before its lock.
        let Gate { tmp, _lock } = &Gate::close(store)?;
        sweep_dead(tmp)?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let dir = tmp.join(format!("{}-{number}", std::process::id()));
        fs::create_dir(&dir).context("create", &dir)?;
        let lock = lock_file(&dir.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).context("lock", &dir)?;
        Ok(Self { dir, _lock: lock })
    }

    /// What tells it from all others.
    pub fn name(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Holds a snapshot besides those that it holds already. Whoever collects garbage leaves it alone from now on;
    /// one that was collected before is gone, so look for it afterwards.
    pub fn hold(&self, store: &Store, snapshot: SnapshotId) -> Result<(), StoreError> {
        let _gate = Gate::close(store)?;
        let path = self.dir.join(HOLDS);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        // Whoever reads it has the gate, too; a process that dies meanwhile holds nothing any more.
        file.and_then(|mut file| file.write_all(format!("{snapshot}\n").as_bytes())).context("write", &path)
    }

    /// Holds these snapshots and no others, and what refs named in the last `past_seconds`. Its process shows them,
    /// and brings nothing into the store.
    pub fn hold_only(
        &self,
        store: &Store,
        snapshots: &[SnapshotId],
        past_seconds: u64,
    ) -> Result<(), StoreError> {
        let _gate = Gate::close(store)?;
        let (path, new) = (self.dir.join(HOLDS), self.dir.join("holds.new"));
        let mut text = format!("past {past_seconds}\n");
        for id in snapshots {
            text.push_str(&id.to_string());
            text.push('\n');
        }
        fs::write(&new, text).context("write", &new)?;
        fs::rename(&new, &path).context("rename to", &path)
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
