//! Snapshots that a mount or an export shows, kept from being collected.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use cfs_fs::digest::{BlobId, SnapshotId};
use cfs_fs::name::TreePath;
use cfs_fs::store::lease::Lease;
use cfs_fs::store::{Store, StoreError};
use cfs_fs::view::roots::{Past, Root, Roots, RootsError, Target};

use crate::catalogue::Catalogue;

/// A snapshot that nobody asked for between two calls of [`Held::let_go`] is let go by the second.
const PATIENCE: u8 = 2;

/// A catalogue whose snapshots stay, once they were asked for, until [`Held::let_go`] or the end of the process.
#[derive(Debug)]
pub struct Held {
    catalogue: Arc<Catalogue>,
    store: Store,
    /// None where the store cannot be written: nobody collects garbage there either.
    lease: Option<Lease>,
    past_seconds: u64,
    /// For how many calls of `let_go` each is held still.
    snapshots: Mutex<HashMap<SnapshotId, u8>>,
}

impl Held {
    /// Holds what refs named in the last `past_seconds`, and whatever is asked for.
    pub fn new(catalogue: Arc<Catalogue>, store: Store, past_seconds: u64) -> Self {
        let lease = Lease::take(&store).ok();
        let lease = lease.filter(|lease| lease.hold_only(&store, &[], past_seconds).is_ok());
        Self { catalogue, store, lease, past_seconds, snapshots: Mutex::default() }
    }

    /// Lets go of snapshots that are not among `in_use` and were not asked for lately. To be called now and
    /// then, after whatever remembers roots above this has forgotten them.
    pub fn let_go(&self, in_use: &HashSet<SnapshotId>) -> Result<(), StoreError> {
        let mut snapshots = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        let before = snapshots.len();
        snapshots.retain(|id, left| {
            *left = if in_use.contains(id) { PATIENCE } else { *left - 1 };
            *left > 0
        });
        if snapshots.len() == before {
            return Ok(());
        }
        let left: Vec<SnapshotId> = snapshots.keys().copied().collect();
        match &self.lease {
            Some(lease) => lease.hold_only(&self.store, &left, self.past_seconds),
            None => Ok(()),
        }
    }

    fn hold(&self, id: SnapshotId) {
        let Some(lease) = &self.lease else { return };
        let mut snapshots = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        if snapshots.insert(id, PATIENCE).is_none() && lease.hold(&self.store, id).is_err() {
            // On a full disk, say. Readers come first: what is young is kept without, too.
            snapshots.remove(&id);
        }
    }
}

impl Roots for Held {
    fn find(&self, name: &TreePath) -> Result<Option<Target>, RootsError> {
        self.catalogue.find(name)
    }

    fn refs(&self) -> Result<Vec<(TreePath, Target)>, RootsError> {
        Roots::refs(&*self.catalogue)
    }

    fn snapshot(&self, id: SnapshotId) -> Result<Option<Root>, RootsError> {
        // Held first: what is there afterwards stays.
        self.hold(id);
        Roots::snapshot(&*self.catalogue, id)
    }

    fn snapshots(&self) -> Result<Vec<SnapshotId>, RootsError> {
        self.catalogue.snapshots()
    }

    fn at(&self, name: &TreePath, time: i64) -> Result<Option<SnapshotId>, RootsError> {
        self.catalogue.at(name, time)
    }

    fn generation(&self, name: &TreePath, generation: u64) -> Result<Option<SnapshotId>, RootsError> {
        self.catalogue.generation(name, generation)
    }

    fn past(
        &self,
        name: &TreePath,
        generation: u64,
        since: i64,
        limit: usize,
    ) -> Result<Vec<Past>, RootsError> {
        self.catalogue.past(name, generation, since, limit)
    }

    fn moves(&self) -> Result<u64, RootsError> {
        self.catalogue.moves()
    }

    fn labels(&self, blob: BlobId) -> Result<Vec<(String, String)>, RootsError> {
        self.catalogue.labels(blob)
    }
}
