//! What refs are shown as.
//!
//! Always true: a ref that was asked for once is shown as it was then, until [`Shown::advance`]; all refs go
//! on together.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::places::Generation;
use super::roots::{Kept, Past, Root, Roots, RootsError, Target};
use crate::digest::{BlobId, SnapshotId};
use crate::name::TreePath;

/// `R`, with refs as they are shown.
#[derive(Debug)]
pub(super) struct Shown<R> {
    roots: Kept<R>,
    refs: RwLock<HashMap<TreePath, Generation>>,
}

impl<R: Roots> Shown<R> {
    pub(super) fn new(roots: R) -> Self {
        Self { roots: Kept::new(roots), refs: RwLock::default() }
    }

    /// Forgets roots that are remembered and returns who is asked for them from now on.
    pub(super) fn forget(&self) -> &R {
        self.roots.forget()
    }

    /// The snapshots that refs are shown as.
    pub(super) fn snapshots_shown(&self) -> Vec<SnapshotId> {
        self.read().values().map(|shown| shown.id).collect()
    }

    /// Shows refs as they are now and returns what is shown no more.
    pub(super) fn advance(&self) -> Result<Vec<Generation>, RootsError> {
        let now: HashMap<TreePath, Target> = self.roots.refs()?.into_iter().collect();
        let mut gone = Vec::new();
        self.write().retain(|name, shown| {
            let next = match now.get(name) {
                Some(Target::Snapshot { id, generation }) => Some((*id, *generation)),
                Some(Target::Symbolic(_)) | None => None,
            };
            match next {
                // A question may have brought a newer one meanwhile.
                Some((_, number)) if number <= shown.number => return true,
                _ => gone.push(shown.clone()),
            }
            let Some((id, number)) = next else { return false };
            (shown.id, shown.number) = (id, number);
            true
        });
        Ok(gone)
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<TreePath, Generation>> {
        // Every change is whole, whatever a thread that panicked was doing.
        self.refs.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<TreePath, Generation>> {
        self.refs.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn target(shown: &Generation) -> Target {
    Target::Snapshot { id: shown.id, generation: shown.number }
}

impl<R: Roots> Roots for Shown<R> {
    fn find(&self, name: &TreePath) -> Result<Option<Target>, RootsError> {
        if let Some(shown) = self.read().get(name) {
            return Ok(Some(target(shown)));
        }
        // Asked under the lock, so that what is entered is not older than the last advance.
        let mut refs = self.write();
        if let Some(shown) = refs.get(name) {
            return Ok(Some(target(shown)));
        }
        let found = self.roots.find(name)?;
        if let Some(Target::Snapshot { id, generation }) = found {
            refs.insert(name.clone(), Generation { name: name.clone(), number: generation, id });
        }
        Ok(found)
    }

    fn refs(&self) -> Result<Vec<(TreePath, Target)>, RootsError> {
        let mut all = self.roots.refs()?;
        let shown = self.read();
        for (name, found) in &mut all {
            if let Some(shown) = shown.get(name) {
                *found = target(shown);
            }
        }
        Ok(all)
    }

    fn snapshot(&self, id: SnapshotId) -> Result<Option<Root>, RootsError> {
        self.roots.snapshot(id)
    }

    fn snapshots(&self) -> Result<Vec<SnapshotId>, RootsError> {
        self.roots.snapshots()
    }

    fn at(&self, name: &TreePath, time: i64) -> Result<Option<SnapshotId>, RootsError> {
        self.roots.at(name, time)
    }

    fn generation(&self, name: &TreePath, generation: u64) -> Result<Option<SnapshotId>, RootsError> {
        self.roots.generation(name, generation)
    }

    fn past(
        &self,
        name: &TreePath,
        generation: u64,
        since: i64,
        limit: usize,
    ) -> Result<Vec<Past>, RootsError> {
        self.roots.past(name, generation, since, limit)
    }

    fn moves(&self) -> Result<u64, RootsError> {
        self.roots.moves()
    }

    fn labels(&self, blob: BlobId) -> Result<Vec<(String, String)>, RootsError> {
        self.roots.labels(blob)
    }
}
