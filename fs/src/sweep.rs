//! Removing from a store what nobody needs; whoever calls knows what that is.
//!
//! Always true: what is gone already is no error, so a sweep that was interrupted is simply done again; nothing
//! but what is named is removed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};

use crate::digest::{BlobId, SnapshotId};
use crate::store::{Context, Store, StoreError};

/// Room that is kept for the day on which the disk is full, since without it not even a row can be deleted: a
/// 64th of the file system, but not less or more than this.
const BALLAST_BYTES: std::ops::RangeInclusive<u64> = 4 << 20..=64 << 20;

/// The blobs whose names begin with `byte`, sorted. Other files, which cfs never makes, are left out.
pub fn blobs(store: &Store, byte: u8) -> Result<Vec<BlobId>, StoreError> {
    let dir = store.root().join("blobs").join(format!("{byte:02x}"));
    let id = |name: &str| format!("{byte:02x}{name}").parse::<BlobId>().ok();
    let mut found: Vec<BlobId> = names(&dir)?.iter().filter_map(|name| id(name)).collect();
    found.sort_unstable();
    Ok(found)
}

/// The snapshots that have a commit file, sorted.
pub fn commits(store: &Store) -> Result<Vec<SnapshotId>, StoreError> {
    let names = names(&store.root().join("commits"))?;
    let mut found: Vec<SnapshotId> = names.iter().filter_map(|name| name.parse().ok()).collect();
    found.sort_unstable();
    Ok(found)
}

fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).context("list", dir)? {
        // What is not UTF-8 is no name of cfs.
        found.extend(entry.context("list", dir)?.file_name().into_string().ok());
    }
    Ok(found)
}

/// The length of a blob's file, if there is one.
pub fn blob_bytes(store: &Store, id: BlobId) -> Option<u64> {
    fs::metadata(store.blob_path(id)).ok().map(|meta| meta.len())
}

/// Removes a blob; returns whether it was there.
pub fn remove_blob(store: &Store, id: BlobId) -> Result<bool, StoreError> {
    remove(&store.blob_path(id))
}

/// The length of a commit file, if there is one.
pub fn commit_bytes(store: &Store, id: SnapshotId) -> Option<u64> {
    fs::metadata(store.commit_path(id)).ok().map(|meta| meta.len())
}

/// Removes a commit file; returns whether it was there.
pub fn remove_commit(store: &Store, id: SnapshotId) -> Result<bool, StoreError> {
    remove(&store.commit_path(id))
}

fn remove(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).context("remove", path),
    }
}

/// Broken-off downloads that nobody has gone on with since `before`, with their bytes.
pub fn partials(store: &Store, before: SystemTime) -> Result<Vec<(PathBuf, u64)>, StoreError> {
    let room = store.partial_dir();
    let mut found = Vec::new();
    for name in names(&room)? {
        let dir = room.join(name);
        let (mut bytes, mut newest) = (0, SystemTime::UNIX_EPOCH);
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        let metas = entries.filter_map(|entry| entry.metadata().ok()).chain(fs::metadata(&dir).ok());
        for meta in metas {
            bytes += if meta.is_file() { meta.len() } else { 0 };
            newest = newest.max(meta.modified().unwrap_or(before));
        }
        if newest < before {
            found.push((dir, bytes));
        }
    }
    Ok(found)
}

/// Removes a broken-off download unless somebody works on it; returns whether it is gone.
pub fn remove_partial(dir: &Path) -> Result<bool, StoreError> {
    let lock = match File::open(dir.join("lock")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        opened => Some(opened.context("open", dir)?),
    };
    if lock.as_ref().is_some_and(|lock| flock(lock, FlockOperation::NonBlockingLockExclusive).is_err()) {
        return Ok(false);
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context("remove", dir),
        _ => Ok(true),
    }
}

/// Keeps room for the day on which the disk is full, where the file system can and has so much to spare.
/// Returns whether it is kept.
pub fn keep_ballast(root: &Path) -> Result<bool, StoreError> {
    let path = ballast(root);
    if path.exists() {
        return Ok(true);
    }
    let stat = rustix::fs::statvfs(root).context("look at the file system of", root)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    let size_bytes = (bytes(stat.f_blocks) / 64).clamp(*BALLAST_BYTES.start(), *BALLAST_BYTES.end());
    if bytes(stat.f_bavail) < size_bytes * 4 {
        return Ok(false);
    }
    let new = path.with_extension("new");
    let file = File::create(&new).context("create", &new)?;
    if fallocate(&file, FallocateFlags::empty(), 0, size_bytes).is_err() {
        // It is a comfort, not a need.
        remove(&new)?;
        return Ok(false);
    }
    fs::rename(&new, &path).context("rename to", &path)?;
    Ok(true)
}

/// Gives the kept room back; returns whether there was any.
pub fn drop_ballast(root: &Path) -> Result<bool, StoreError> {
    remove(&ballast(root))
}

fn ballast(root: &Path) -> PathBuf {
    root.join("ballast")
}

#[cfg(test)]
mod tests;
