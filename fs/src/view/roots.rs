//! What a view asks the keeper of refs and snapshots.
//!
//! Always true: the names of refs are valid paths, and a snapshot's root never changes.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use super::access::Access;
use crate::digest::{BlobId, SnapshotId};
use crate::name::TreePath;
use crate::tree::Item;

/// A failure of the keeper, which a view only passes on.
pub type RootsError = Box<dyn std::error::Error + Send + Sync>;

/// What a ref names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A snapshot, as the ref's `generation`th.
    Snapshot {
        /// The snapshot.
        id: SnapshotId,
        /// Grows by one with every change of the ref.
        generation: u64,
    },
    /// Another ref.
    Symbolic(TreePath),
}

/// The top of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The top directory.
    pub item: Item,
    /// Where owners and permissions are not as usual.
    pub access: Option<Arc<Access>>,
}

impl From<Item> for Root {
    fn from(item: Item) -> Self {
        Self { item, access: None }
    }
}

/// What a ref named before it moved on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// The ref's generation.
    pub generation: u64,
    /// The snapshot.
    pub id: SnapshotId,
    /// When the ref moved on, in seconds since 1970.
    pub ended: i64,
}

/// Refs and snapshots. Implemented by the catalogue, and by a map in tests.
///
/// A view asks `find` in every lookup of a name that stands for a ref, so it must be cheap and must answer
/// with what has been committed when it is called.
pub trait Roots: Send + Sync {
    /// What the ref `name` names now.
    fn find(&self, name: &TreePath) -> Result<Option<Target>, RootsError>;

    /// All refs.
    fn refs(&self) -> Result<Vec<(TreePath, Target)>, RootsError>;

    /// The top of a snapshot.
    fn snapshot(&self, id: SnapshotId) -> Result<Option<Root>, RootsError>;

    /// All snapshots.
    fn snapshots(&self) -> Result<Vec<SnapshotId>, RootsError>;

    /// The newest snapshot that the ref `name` named at `time` (seconds since 1970) or before.
    fn at(&self, name: &TreePath, time: i64) -> Result<Option<SnapshotId>, RootsError>;

    /// The snapshot that the ref `name` named as its `generation`th.
    fn generation(&self, name: &TreePath, generation: u64) -> Result<Option<SnapshotId>, RootsError>;

    /// What the ref `name` named before its `generation`th, the newest first: at most `limit` generations that
    /// ended at `since` (seconds since 1970) or later.
    fn past(
        &self,
        name: &TreePath,
        generation: u64,
        since: i64,
        limit: usize,
    ) -> Result<Vec<Past>, RootsError>;

    /// A number that grows with every move of any ref.
    fn moves(&self) -> Result<u64, RootsError>;

    /// What else is known of a blob: more extended attributes of its files, by name.
    fn labels(&self, blob: BlobId) -> Result<Vec<(String, String)>, RootsError>;
}

impl<R: Roots + ?Sized> Roots for std::sync::Arc<R> {
    fn find(&self, name: &TreePath) -> Result<Option<Target>, RootsError> {
        (**self).find(name)
    }

    fn refs(&self) -> Result<Vec<(TreePath, Target)>, RootsError> {
        (**self).refs()
    }

    fn snapshot(&self, id: SnapshotId) -> Result<Option<Root>, RootsError> {
        (**self).snapshot(id)
    }

    fn snapshots(&self) -> Result<Vec<SnapshotId>, RootsError> {
        (**self).snapshots()
    }

    fn at(&self, name: &TreePath, time: i64) -> Result<Option<SnapshotId>, RootsError> {
        (**self).at(name, time)
    }
    fn generation(&self, name: &TreePath, generation: u64) -> Result<Option<SnapshotId>, RootsError> {
        (**self).generation(name, generation)
    }

    fn past(
        &self,
        name: &TreePath,
        generation: u64,
        since: i64,
        limit: usize,
    ) -> Result<Vec<Past>, RootsError> {
        (**self).past(name, generation, since, limit)
    }

    fn moves(&self) -> Result<u64, RootsError> {
        (**self).moves()
    }

    fn labels(&self, blob: BlobId) -> Result<Vec<(String, String)>, RootsError> {
        (**self).labels(blob)
    }
}

/// Roots of snapshots that [`Kept`] remembers.
const KEPT: NonZeroUsize = NonZeroUsize::new(1024).expect("it is not zero");

/// `R`, with the roots of the snapshots asked for last remembered, since they never change.
pub struct Kept<R> {
    roots: R,
    snapshots: Mutex<LruCache<SnapshotId, Root>>,
}

impl<R> fmt::Debug for Kept<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

impl<R> Kept<R> {
    /// Remembers what `roots` answers.
    pub fn new(roots: R) -> Self {
        Self { roots, snapshots: Mutex::new(LruCache::new(KEPT)) }
    }

    /// Forgets what is remembered and returns who is asked from now on.
    pub fn forget(&self) -> &R {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).clear();
        &self.roots
    }
}

impl<R: Roots> Roots for Kept<R> {
    fn find(&self, name: &TreePath) -> Result<Option<Target>, RootsError> {
        self.roots.find(name)
    }

    fn refs(&self) -> Result<Vec<(TreePath, Target)>, RootsError> {
        self.roots.refs()
    }

    fn snapshot(&self, id: SnapshotId) -> Result<Option<Root>, RootsError> {
        // A thread that panicked left a whole cache: each change of it is one call.
        let kept = || self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(root) = kept().get(&id) {
            return Ok(Some(root.clone()));
        }
        let root = self.roots.snapshot(id)?;
        if let Some(root) = &root {
            kept().put(id, root.clone());
        }
        Ok(root)
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
