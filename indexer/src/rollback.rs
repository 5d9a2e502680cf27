//! `rollback`: a ref goes back to an earlier tree, by a move forward.
//!
//! Always true: nothing is undone; the earlier tree becomes a new snapshot, one generation on, so that a
//! rollback can itself be rolled back.

use std::collections::BTreeMap;
use std::collections::HashMap;

use cfs_fs::digest::SnapshotId;

use crate::catalogue::{CatalogueError, Draft, RefUpdate, Signer};
use crate::depot::Depot;
use crate::refname::RefName;
use crate::revision::{Revision, When};
use crate::snapshot::Snapshot;

/// Why a rollback is not made.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// Somebody moved the ref meanwhile, so "the previous" would be another one.
    #[error("ref {name} was moved by somebody else meanwhile")]
    Moved {
        /// The ref.
        name: RefName,
    },
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// A rollback that could be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The ref, symbolic ones followed.
    pub name: RefName,
    /// Its generation now.
    pub generation: u64,
    /// The snapshot it names now.
    pub from: (SnapshotId, Snapshot),
    /// The snapshot whose tree it will have.
    pub to: (SnapshotId, Snapshot),
}

/// Plans to give `name` the tree of `to`, by default of the snapshot before; changes nothing.
pub fn plan(depot: &Depot, name: &RefName, to: Option<&Revision>) -> Result<Plan, RollbackError> {
    let (found, _) = depot.catalogue.follow_ref(name)?;
    let previous = Revision { base: found.name.clone(), when: When::Back(1) };
    let now = Revision { base: found.name.clone(), when: When::Now };
    Ok(Plan {
        generation: found.generation,
        from: depot.catalogue.resolve(&now)?,
        to: depot.catalogue.resolve(to.unwrap_or(&previous))?,
        name: found.name,
    })
}

/// Carries out a plan, if the ref still is where it was; `None` when it has that tree already.
pub fn apply(
    depot: &Depot,
    plan: &Plan,
    signer: &Signer,
    message: &str,
) -> Result<Option<RefUpdate>, RollbackError> {
    let (id, snapshot) = &plan.to;
    depot.catalogue.update_ref(&depot.store, &plan.name, signer, |current| {
        let current = current.filter(|current| current.generation == plan.generation);
        let Some(current) = current else { return Err(RollbackError::Moved { name: plan.name.clone() }) };
        if current.snapshot.root_item() == snapshot.root_item() {
            return Ok(None);
        }
        Ok(Some(Draft {
            root: snapshot.root_item(),
            nodes: HashMap::new(),
            parents: vec![*id],
            access: None,
            meta: BTreeMap::from([("rollback.to".into(), id.to_string())]),
            message: message.to_owned(),
            reason: format!("rollback to {}", id.short()),
        }))
    })
}
