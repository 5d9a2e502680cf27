//! `backup`: a copy of a store that is one itself, made while everybody works.
//!
//! Always true: the copy's catalogue is the state of one moment, and comes to its name last, so the copy is whole
//! before and after; what the copy has already is not copied again; nothing in it is deleted; a blob is copied only
//! if its bytes are what its name says.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use cfs_fs::digest::BlobId;
use cfs_fs::store::lease::{Gate, Lease};
use cfs_fs::store::publish::{Publisher, Ready};
use cfs_fs::store::{Store, StoreError};

use crate::catalogue::{Catalogue, CatalogueError, family};
use crate::depot::Depot;
use crate::gc::{self, GcError};
use crate::reindex::renew_copy;

/// What becomes of blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blobs {
    /// They are copied, and verified while they are.
    Copy,
    /// They get another name on the same file system: safe from deletion, not from a bad disk.
    Link,
    /// They are left out.
    Leave,
}

/// What a backup did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Blobs that came to the copy.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Blobs that the copy had.
    pub known: u64,
    /// Commit files that came to the copy.
    pub commits: u64,
    /// Blobs that are missing or damaged, and not in the copy.
    pub bad: Vec<BlobId>,
}

/// Why there is no new copy. An older one is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The copy would be the store itself, or inside it.
    #[error("{path}: is the store itself, or inside it")]
    Same {
        /// The place of the copy.
        path: PathBuf,
    },
    /// Somebody uses the copy.
    #[error("{path}: is in use by {}", leases.join(", "))]
    InUse {
        /// The copy.
        path: PathBuf,
        /// The leases, each a process and a number.
        leases: Vec<String>,
    },
    /// A collection is at work.
    #[error(transparent)]
    Collection(GcError),
    /// It was told to end.
    #[error("the backup was stopped")]
    Stopped,
    /// The store or its copy failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> Self {
        Self::Catalogue(error.into())
    }
}

/// Is told of bytes that are done, of how many.
pub type OnProgress<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;

/// Brings the copy at `target`, a new directory or an earlier copy, up to date; with `dry_run` it only counts.
pub fn backup(
    depot: &Depot,
    target: &Path,
    blobs: Blobs,
    dry_run: bool,
    progress: &mut OnProgress<'_>,
) -> Result<Report, BackupError> {
    // What the copy's catalogue names must not go before it is copied.
    let _no_collection = gc::pause(&depot.store).map_err(BackupError::Collection)?;
    if dry_run {
        let copy = Store::open(target).ok();
        return count(depot, copy.as_ref(), blobs);
    }
    let copy = open(depot, target)?;
    let lease = Lease::take(&copy)?;
    let path = target.join("catalogue.new.db");
    for file in family(&path) {
        let _ = fs::remove_file(file);
    }
    depot.catalogue.copy_to(&path)?;
    let catalogue = Catalogue::open(&path)?;
    let mut report = Report::default();
    let total = if blobs == Blobs::Leave { 0 } else { catalogue.totals()?.blob_bytes };
    let mut work = Work { depot, copy: &copy, lease: &lease, report: &mut report, done: 0, total, progress };
    if blobs != Blobs::Leave {
        work.blobs(&catalogue, blobs)?;
    }
    work.commits(&catalogue)?;
    catalogue.checkpoint()?;
    drop(catalogue);
    let [new, log, index] = family(&path);
    for file in [log, index] {
        let _ = fs::remove_file(file);
    }
    let [old, log, index] = family(&target.join("catalogue.db"));
    for file in [log, index] {
        let _ = fs::remove_file(file);
    }
    copy.sync()?;
    fs::rename(&new, &old).map_err(|source| StoreError::Io {
        verb: "rename to",
        path: old.clone(),
        source,
    })?;
    copy.sync()?;
    renew_copy(&copy, &Catalogue::open(&old)?)?;
    Ok(report)
}

/// The copy, made if need be.
fn open(depot: &Depot, target: &Path) -> Result<Store, BackupError> {
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let above = target.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (root, place) =
        (whole(depot.store.root()), whole(above).join(target.file_name().unwrap_or_default()));
    if place.starts_with(&root) || whole(target).starts_with(&root) {
        return Err(BackupError::Same { path: target.to_owned() });
    }
    let copy = match Store::open(target) {
        Err(StoreError::NotAStore { .. }) => Store::create(target)?,
        opened => opened?,
    };
    let leases: Vec<String> = Gate::close(&copy)?.living()?.into_iter().map(|living| living.name).collect();
    if leases.is_empty() { Ok(copy) } else { Err(BackupError::InUse { path: target.to_owned(), leases }) }
}

/// Counts what would be copied.
fn count(depot: &Depot, copy: Option<&Store>, blobs: Blobs) -> Result<Report, BackupError> {
    let mut report = Report::default();
    for byte in 0..=u8::MAX {
        if blobs == Blobs::Leave {
            break;
        }
        for (id, size_bytes) in depot.catalogue.blobs_beginning(byte)? {
            if copy.is_some_and(|copy| copy.has_blob(id, size_bytes)) {
                report.known += 1;
            } else if depot.store.has_blob(id, size_bytes) {
                report.blobs += 1;
                report.blob_bytes += size_bytes;
            } else {
                report.bad.push(id);
            }
        }
    }
    for id in depot.catalogue.all_snapshots()? {
        let there = |store: &Store| fs::metadata(store.commit_path(id)).map(|meta| meta.len()).ok();
        report.commits += u64::from(copy.is_none_or(|copy| there(copy) != there(&depot.store)));
    }
    Ok(report)
}

/// A backup under way.
struct Work<'a, 'p> {
    depot: &'a Depot,
    copy: &'a Store,
    lease: &'a Lease,
    report: &'a mut Report,
    done: u64,
    total: u64,
    progress: &'a mut OnProgress<'p>,
}

impl Work<'_, '_> {
    fn step(&mut self, bytes: u64) -> Result<(), BackupError> {
        self.done += bytes;
        match (self.progress)(self.done, self.total) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(BackupError::Stopped),
        }
    }

    fn blobs(&mut self, catalogue: &Catalogue, how: Blobs) -> Result<(), BackupError> {
        let mut publisher = Publisher::new(self.copy, Box::new(|_| Ok(())))?;
        for byte in 0..=u8::MAX {
            for (id, size_bytes) in catalogue.blobs_beginning(byte)? {
                if self.copy.has_blob(id, size_bytes) {
                    self.report.known += 1;
                } else if how == Blobs::Link {
                    self.link(id, size_bytes)?;
                } else {
                    self.copy(id, size_bytes, &mut publisher)?;
                }
                self.step(size_bytes)?;
            }
        }
        Ok(publisher.finish()?)
    }

    fn link(&mut self, id: BlobId, size_bytes: u64) -> Result<(), StoreError> {
        let (from, to) = (self.depot.store.blob_path(id), self.copy.blob_path(id));
        if !self.depot.store.has_blob(id, size_bytes) {
            self.report.bad.push(id);
            return Ok(());
        }
        // What stands there has another size.
        self.copy.quarantine(&to)?;
        fs::hard_link(&from, &to).map_err(|source| StoreError::Io { verb: "link to", path: to, source })?;
        self.report.blobs += 1;
        self.report.blob_bytes += size_bytes;
        Ok(())
    }

    fn copy(
        &mut self,
        id: BlobId,
        size_bytes: u64,
        publisher: &mut Publisher<'_, ()>,
    ) -> Result<(), StoreError> {
        let (mut file, temporary) = self.lease.temporary()?;
        match self.depot.store.copy_blob(id, &mut file) {
            Ok(_) => {
                publisher.add(Ready { id, size_bytes, tag: (), file: Some(temporary) })?;
                self.report.blobs += 1;
                self.report.blob_bytes += size_bytes;
                Ok(())
            }
            Err(StoreError::Missing { .. } | StoreError::Damaged { .. }) => {
                self.report.bad.push(id);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn commits(&mut self, catalogue: &Catalogue) -> Result<(), BackupError> {
        for id in catalogue.all_snapshots()? {
            let path = self.depot.store.commit_path(id);
            let bytes = match fs::read(&path) {
                // A check tells of it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => read.map_err(|source| StoreError::Io { verb: "read", path, source })?,
            };
            if fs::read(self.copy.commit_path(id)).is_ok_and(|known| known == bytes) {
                continue;
            }
            self.copy.write_commit(self.lease, &id.to_string(), &bytes)?;
            self.report.commits += 1;
            self.step(0)?;
        }
        Ok(())
    }
}
