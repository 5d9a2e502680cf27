//! Files that are made of the tree they stand in.
//!
//! Always true: what is derived depends on the trees before and after and on nothing else, so that a flip
//! without a change derives nothing, and whoever makes a flip again makes the same.

use cfs_fs::edit::graft;
use cfs_fs::name::TreePath;
use cfs_fs::tree::{Item, Stage};

use super::PromoteError;
use super::flip::{Change, Flip};
use crate::catalogue::Signer;
use crate::depot::Depot;

/// What is to stand where in a view.
pub type Derived = Vec<(TreePath, Item)>;

/// Puts into the new tree of each view what is derived from it.
pub(super) fn derive(depot: &Depot, flip: &mut Flip, signer: &Signer) -> Result<(), PromoteError> {
    let mut stage = flip.take_stage(depot);
    for change in &mut flip.changes {
        for (path, item) in of(depot, &stage, change, signer)? {
            change.new = graft(&mut stage, &change.new, &path, item, signer.now)?;
        }
    }
    flip.put_back(stage);
    Ok(())
}

/// Everything that is derived in one view: the files' places, with the blobs that were added to the store for
/// them. `nodes` has all nodes of both trees.
#[expect(clippy::unnecessary_wraps, reason = "nothing is derived yet that could fail")]
fn of(
    _depot: &Depot,
    _nodes: &Stage<'_>,
    _change: &Change,
    _signer: &Signer,
) -> Result<Derived, PromoteError> {
    Ok(Derived::new())
}
