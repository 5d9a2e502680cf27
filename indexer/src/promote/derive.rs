//! Files that are made of the tree they stand in: file lists.
//!
//! Always true: what is derived depends on the trees and the rules of access before and after and on nothing else
//! but the time, so that a flip without a change derives nothing. Nothing is derived by a plan: lists are made when
//! a flip is committed, and until then the old ones stand in their places.

use cfs_fs::tree::{NodeMap, Stage};

use super::PromoteError;
use super::flip::{Change, Flip};
use crate::catalogue::Signer;
use crate::depot::Depot;
use crate::filelist::published::{self, Before, Derived, META, Written};
use crate::filelist::{Modes, State};

/// Puts the lists that a view has now into its new tree, so that nothing seems to have gone.
pub(super) fn carry(stage: &mut Stage<'_>, change: &mut Change) -> Result<(), PromoteError> {
    change.new = published::carry(stage, &change.policy.lists, &change.old, &change.new)?;
    Ok(())
}

/// What is derived from a flip and not in it yet.
pub(super) struct Derivation {
    /// One for each view, `None` for one without lists.
    trees: Vec<Option<Derived>>,
    nodes: NodeMap,
    written: Written,
}

/// Makes what is to be derived from the new tree of each view. Nothing of it is in the store yet.
pub(super) fn derive(depot: &Depot, flip: &Flip, signer: &Signer) -> Result<Derivation, PromoteError> {
    let nodes = flip.nodes(depot);
    let mut stage = Stage::new(&nodes);
    let mut written = Written::default();
    let mut trees = Vec::new();
    for change in &flip.changes {
        let lists = &change.policy.lists;
        if lists.is_empty() {
            trees.push(None);
            continue;
        }
        let (old_modes, modes) = (Modes::from(&change.old_access), Modes::from(&change.access));
        let before = change.current.as_ref().map(|current| Before {
            state: State { root: &change.old, modes: &old_modes },
            made: current.snapshot.meta.get(META).map_or("", String::as_str),
        });
        let after = State { root: &change.new, modes: &modes };
        let derived = published::derive(depot, &mut stage, &mut written, lists, (before, after), signer.now)?;
        trees.push(Some(derived));
    }
    Ok(Derivation { trees, nodes: stage.into_new_nodes(), written })
}

/// Makes what was derived part of the flip, and returns what is to be published before the flip is committed.
pub(super) fn enter(flip: &mut Flip, derivation: Derivation) -> Written {
    let Derivation { trees, nodes, written } = derivation;
    for (change, derived) in flip.changes.iter_mut().zip(trees) {
        let Some(Derived { root, made }) = derived else { continue };
        change.new = root;
        if !made.is_empty() {
            change.meta.insert(META.to_owned(), made);
        }
    }
    flip.nodes.extend(nodes);
    written
}
