//! Committing: a new snapshot becomes what a ref names, in one transaction.
//!
//! Always true: when [`Catalogue::update_ref`] returns, the snapshot's record, its new nodes, the ref's move
//! and the reflog's entry are durable together, and so is every blob that the new nodes name: it was live, or
//! was found in the store, made durable and became live in that very transaction. Recorded there and sorted,
//! a blob costs 43 bytes in the catalogue; recorded as it arrives it would cost 60. After a crash there is the
//! old state or the new one.

use std::collections::BTreeMap;

use cfs_fs::digest::{NodeId, SnapshotId};
use cfs_fs::store::Store;
use cfs_fs::store::lease::Lease;
use cfs_fs::tree::{Item, Kind, NodeMap, blobs_of};

use super::reflog::{self, Move};
use super::refs::{self, Ref, Target};
use super::{Catalogue, CatalogueError, nodes, objects, snapshots};
use crate::refname::RefName;
use crate::snapshot::Snapshot;

/// How often a move is tried when others move the same ref meanwhile.
const ATTEMPTS_MAX: u32 = 100;

/// Who writes, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// `user@host`.
    pub actor: String,
    /// `cfs 0.1.0`.
    pub tool: String,
    /// Seconds since 1970.
    pub now: i64,
}

/// What a ref names when an update of it is drafted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// The snapshot's id.
    pub id: SnapshotId,
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The ref's generation.
    pub generation: u64,
}

/// A tree about to become a snapshot.
#[derive(Debug)]
pub struct Draft {
    /// The top directory.
    pub root: Item,
    /// The nodes that may be new.
    pub nodes: NodeMap,
    /// Parents besides the ref's current snapshot.
    pub parents: Vec<SnapshotId>,
    /// See [`Snapshot::meta`].
    pub meta: BTreeMap<String, String>,
    /// Why, in the user's words.
    pub message: String,
    /// What the reflog says, such as `promote compose/9/x`.
    pub reason: String,
}

/// A ref that has moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefUpdate {
    /// The ref.
    pub name: RefName,
    /// What it names now.
    pub id: SnapshotId,
    /// The snapshot.
    pub snapshot: Snapshot,
    /// What it named before.
    pub old: Option<SnapshotId>,
    /// Its generation now.
    pub generation: u64,
}

impl Catalogue {
    /// Moves `name` to the snapshot that `draft` makes of its current one (`None` for a ref that does not
    /// exist yet). When another process moves the ref meanwhile, `draft` is called again with the new state.
    /// A `draft` of `None` changes nothing.
    pub fn update_ref<E: From<CatalogueError>>(
        &self,
        store: &Store,
        name: &RefName,
        signer: &Signer,
        mut draft: impl FnMut(Option<&Current>) -> Result<Option<Draft>, E>,
    ) -> Result<Option<RefUpdate>, E> {
        for _ in 0..ATTEMPTS_MAX {
            let current = self.current(name)?;
            let Some(draft) = draft(current.as_ref())? else { return Ok(None) };
            if let Some(update) = self.commit(store, name, signer, current.as_ref(), draft)? {
                return Ok(Some(update));
            }
        }
        Err(CatalogueError::RefBusy { name: name.clone(), attempts: ATTEMPTS_MAX }.into())
    }

    /// Returns what `name` names, or `None` when there is no such ref. A symbolic ref is an error.
    pub fn current(&self, name: &RefName) -> Result<Option<Current>, CatalogueError> {
        let Some(found) = self.find_ref(name)? else { return Ok(None) };
        let id = match found.target {
            Target::Snapshot(id) => id,
            Target::Symbolic(target) => return Err(CatalogueError::Symbolic { name: found.name, target }),
        };
        let lost = || CatalogueError::Damaged { what: format!("snapshot {id} of ref {name} is missing") };
        let snapshot = self.snapshot(id)?.ok_or_else(lost)?;
        Ok(Some(Current { id, snapshot, generation: found.generation }))
    }

    /// Commits `draft` if the ref still is as `current` says; `None` when it moved.
    fn commit(
        &self,
        store: &Store,
        name: &RefName,
        signer: &Signer,
        current: Option<&Current>,
        draft: Draft,
    ) -> Result<Option<RefUpdate>, CatalogueError> {
        let Draft { root, mut nodes, parents, meta, message, reason } = draft;
        let Kind::Dir(root_dir) = root.kind else {
            return Err(CatalogueError::Damaged { what: format!("new top of {name} is no directory") });
        };
        let mut all_parents: Vec<SnapshotId> = current.iter().map(|current| current.id).collect();
        all_parents.extend(parents.into_iter().filter(|id| Some(*id) != current.map(|c| c.id)));
        let snapshot = Snapshot {
            root: root_dir,
            mtime: root.mtime,
            parents: all_parents,
            created: signer.now,
            creator: signer.actor.clone(),
            tool: signer.tool.clone(),
            meta,
            message,
        };
        self.retain_unknown_nodes(&mut nodes)?;
        let mut blobs = blobs_of(&nodes)?;
        let mut nodes: Vec<_> = nodes.into_iter().collect();
        nodes.sort_unstable_by_key(|(id, _)| *id);
        let id = snapshot.id();
        let lease = Lease::take(store)?;
        store.write_commit(&lease, &id.to_string(), &commit_file(&snapshot, &nodes))?;

        let expected = current.map(|current| (current.id, current.generation));
        let generation = expected.map_or(1, |(_, generation)| generation + 1);
        let moved = self.write("commit a snapshot", |tx| {
            let found = tx.run(|connection| refs::find(connection, name))?;
            if found.as_ref().and_then(position) != expected || found.is_some() != expected.is_some() {
                return Ok(false);
            }
            if expected.is_none() {
                refs::check_no_conflict(tx, name)?;
            }
            objects::retain_unknown(tx, &mut blobs)?;
            if let Some((id, _)) = blobs.iter().find(|(id, size)| !store.has_blob(*id, *size)) {
                return Err(CatalogueError::MissingBlob { id: *id });
            }
            if !blobs.is_empty() {
                store.sync()?;
            }
            objects::insert(tx, blobs)?;
            nodes::insert(tx, &nodes)?;
            snapshots::insert(tx, id, &snapshot)?;
            let new = Target::Snapshot(id);
            refs::set(tx, name, &new, generation, signer.now)?;
            let old = expected.map(|(id, _)| id);
            reflog::append(tx, &Move { name, generation, old, new: &new, signer, reason: &reason })?;
            Ok(true)
        })?;
        let old = expected.map(|(id, _)| id);
        Ok(moved.then(|| RefUpdate { name: name.clone(), id, snapshot, old, generation }))
    }
}

/// A snapshot ref's place in its history.
fn position(found: &Ref) -> Option<(SnapshotId, u64)> {
    match found.target {
        Target::Snapshot(id) => Some((id, found.generation)),
        Target::Symbolic(_) => None,
    }
}

/// The file that lets a lost catalogue be rebuilt (`docs/format.md`, "Commits").
fn commit_file(snapshot: &Snapshot, nodes: &[(NodeId, Vec<u8>)]) -> Vec<u8> {
    let record = snapshot.encode();
    let mut bytes = format!("cfs-commit 1\nrecord {}\nnodes {}\n", record.len(), nodes.len()).into_bytes();
    bytes.extend_from_slice(record.as_bytes());
    for (_, node) in nodes {
        let len = u32::try_from(node.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(node);
    }
    bytes
}
