//! What a view asks the keeper of refs and snapshots.
//!
//! Always true: the names of refs are valid paths, and a snapshot's root never changes.

use crate::digest::SnapshotId;
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

/// Refs and snapshots. Implemented by the catalogue, and by a map in tests.
///
/// A view asks `find` in every lookup of a name that stands for a ref, so it must be cheap and must answer
/// with what has been committed when it is called.
pub trait Roots: Send + Sync {
    /// What the ref `name` names now.
    fn find(&self, name: &TreePath) -> Result<Option<Target>, RootsError>;

    /// All refs.
    fn refs(&self) -> Result<Vec<(TreePath, Target)>, RootsError>;

    /// The top directory of a snapshot.
    fn snapshot(&self, id: SnapshotId) -> Result<Option<Item>, RootsError>;

    /// All snapshots.
    fn snapshots(&self) -> Result<Vec<SnapshotId>, RootsError>;

    /// The newest snapshot that the ref `name` named at `time` (seconds since 1970) or before.
    fn at(&self, name: &TreePath, time: i64) -> Result<Option<SnapshotId>, RootsError>;
}

impl<R: Roots + ?Sized> Roots for std::sync::Arc<R> {
    fn find(&self, name: &TreePath) -> Result<Option<Target>, RootsError> {
        (**self).find(name)
    }

    fn refs(&self) -> Result<Vec<(TreePath, Target)>, RootsError> {
        (**self).refs()
    }

    fn snapshot(&self, id: SnapshotId) -> Result<Option<Item>, RootsError> {
        (**self).snapshot(id)
    }

    fn snapshots(&self) -> Result<Vec<SnapshotId>, RootsError> {
        (**self).snapshots()
    }

    fn at(&self, name: &TreePath, time: i64) -> Result<Option<SnapshotId>, RootsError> {
        (**self).at(name, time)
    }
}
