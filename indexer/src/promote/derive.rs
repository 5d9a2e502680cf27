//! Files that are made of the tree they stand in: file lists.
//!
//! Always true: what is derived depends on the trees and the rules of access before and after and on nothing else
//! but the time, so that a flip without a change derives nothing. Nothing is derived by a plan: lists are made when
//! a flip is committed, and until then the old ones stand in their places.

use cfs_fs::tree::Stage;

use super::PromoteError;
use super::flip::{Change, Flip};
use crate::catalogue::Signer;
use crate::depot::Depot;
use crate::filelist::published::{self, Before, META};
use crate::filelist::{Modes, State};

/// Puts the lists that a view has now into its new tree, so that nothing seems to have gone.
pub(super) fn carry(stage: &mut Stage<'_>, change: &mut Change) -> Result<(), PromoteError> {
    change.new = published::carry(stage, &change.policy.lists, &change.old, &change.new)?;
    Ok(())
}

/// Puts into the new tree of each view what is derived from it. What that needs in the store is there when this
/// returns.
pub(super) fn derive(depot: &Depot, flip: &mut Flip, signer: &Signer) -> Result<(), PromoteError> {
    let mut stage = flip.take_stage(depot);
    for change in flip.changes.iter_mut().filter(|change| !change.policy.lists.is_empty()) {
        let (old_modes, modes) = (Modes::from(&change.old_access), Modes::from(&change.access));
        let before = change.current.as_ref().map(|current| Before {
            state: State { root: &change.old, modes: &old_modes },
            made: current.snapshot.meta.get(META).map_or("", String::as_str),
        });
        let after = State { root: &change.new, modes: &modes };
        let derived = published::derive(depot, &mut stage, &change.policy.lists, before, after, signer.now)?;
        change.new = derived.root;
        if !derived.made.is_empty() {
            change.meta.insert(META.to_owned(), derived.made);
        }
    }
    flip.put_back(stage);
    Ok(())
}
