//! Committing: new snapshots become what refs name, in one transaction.
//!
//! Always true: when [`Catalogue::update_refs`] returns, the snapshots' records, their new nodes, the moves of
//! all the refs and the reflog's entries are durable together, and so is every blob that the new nodes name: it was live, or
//! was found in the store, made durable and became live in that very transaction. Recorded there and sorted,
//! a blob costs 43 bytes in the catalogue; recorded as it arrives it would cost 60. After a crash there is the
//! old state or the new one.

use std::collections::BTreeMap;

use cfs_fs::digest::{BlobId, NodeId, SnapshotId};
use cfs_fs::store::Store;
use cfs_fs::store::lease::Lease;
use cfs_fs::tree::{Item, Kind, NodeMap, blobs_of};

use super::reflog::{self, Move};
use super::refs::{self, Ref, Target};
use super::{Catalogue, CatalogueError, Tx, nodes, objects, snapshots};
use crate::refname::RefName;
use crate::snapshot::{Rules, Snapshot};

/// How often a move is tried when others move the same ref meanwhile.
const ATTEMPTS_MAX: u32 = 100;

/// The word of [`Snapshot::meta`] that says that the snapshot's ref never moves again.
///
/// [`Snapshot::meta`]: crate::snapshot::Snapshot::meta
pub const SEALED: &str = "sealed";

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
    /// Who may read what; `None` for what held before.
    pub access: Option<Rules>,
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
        let names = std::slice::from_ref(name);
        let mut updates = self.update_refs(store, names, signer, |current| {
            Ok::<_, E>(vec![draft(current.first().and_then(Option::as_ref))?])
        })?;
        Ok(updates.pop().flatten())
    }

    /// Moves several refs in one transaction: all of them or none. `draft` is given what each of `names` names
    /// now and returns a draft for each, `None` for one that does not move; the ones that do not move must not
    /// have moved either when the others do.
    pub fn update_refs<E: From<CatalogueError>>(
        &self,
        store: &Store,
        names: &[RefName],
        signer: &Signer,
        mut draft: impl FnMut(&[Option<Current>]) -> Result<Vec<Option<Draft>>, E>,
    ) -> Result<Vec<Option<RefUpdate>>, E> {
        for _ in 0..ATTEMPTS_MAX {
            let current = names.iter().map(|name| self.current(name)).collect::<Result<Vec<_>, _>>()?;
            let drafts = draft(&current)?;
            if drafts.iter().all(Option::is_none) {
                return Ok(names.iter().map(|_| None).collect());
            }
            let lease = Lease::take(store).map_err(CatalogueError::from)?;
            let mut moves = Vec::with_capacity(names.len());
            for ((name, current), draft) in names.iter().zip(current).zip(drafts) {
                moves.push(self.prepare(store, &lease, name, signer, current, draft)?);
            }
            if let Some(updates) = self.commit(store, signer, moves)? {
                return Ok(updates);
            }
        }
        let name = names
            .first()
            .cloned()
            .ok_or_else(|| CatalogueError::Damaged { what: "no ref to move".into() })?;
        Err(CatalogueError::RefBusy { name, attempts: ATTEMPTS_MAX }.into())
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

    /// Makes a ref's draft a record and writes its commit file.
    fn prepare(
        &self,
        store: &Store,
        lease: &Lease,
        name: &RefName,
        signer: &Signer,
        current: Option<Current>,
        draft: Option<Draft>,
    ) -> Result<Prepared, CatalogueError> {
        let expected = current.as_ref().map(|current| (current.id, current.generation));
        let Some(Draft { root, mut nodes, parents, access, meta, message, reason }) = draft else {
            return Ok(Prepared { name: name.clone(), expected, snapshot: None });
        };
        let Kind::Dir(root_dir) = root.kind else {
            return Err(CatalogueError::Damaged { what: format!("new top of {name} is no directory") });
        };
        if current.as_ref().is_some_and(|current| current.snapshot.meta.contains_key(SEALED)) {
            return Err(CatalogueError::Sealed { name: name.clone() });
        }
        let mut all_parents: Vec<SnapshotId> = current.iter().map(|current| current.id).collect();
        all_parents.extend(parents.into_iter().filter(|id| Some(*id) != current.as_ref().map(|c| c.id)));
        let before = || current.map(|current| current.snapshot.access).unwrap_or_default();
        let snapshot = Snapshot {
            root: root_dir,
            mtime: root.mtime,
            parents: all_parents,
            created: signer.now,
            creator: signer.actor.clone(),
            tool: signer.tool.clone(),
            meta,
            access: access.unwrap_or_else(before),
            message,
        };
        self.retain_unknown_nodes(&mut nodes)?;
        let blobs = blobs_of(&nodes)?;
        let mut nodes: Vec<_> = nodes.into_iter().collect();
        nodes.sort_unstable_by_key(|(id, _)| *id);
        let id = snapshot.id();
        store.write_commit(lease, &id.to_string(), &commit_file(&snapshot, &nodes))?;
        let new = New { id, snapshot, nodes, blobs, reason };
        Ok(Prepared { name: name.clone(), expected, snapshot: Some(new) })
    }

    /// Commits if every ref still is as expected; `None` when one moved.
    fn commit(
        &self,
        store: &Store,
        signer: &Signer,
        moves: Vec<Prepared>,
    ) -> Result<Option<Vec<Option<RefUpdate>>>, CatalogueError> {
        let mut blobs: Vec<_> = moves
            .iter()
            .filter_map(|prepared| prepared.snapshot.as_ref())
            .flat_map(|new| new.blobs.clone())
            .collect();
        blobs.sort_unstable();
        blobs.dedup();
        let done = self.write("commit a snapshot", |tx| {
            for Prepared { name, expected, .. } in &moves {
                let found = tx.run(|connection| refs::find(connection, name))?;
                if found.as_ref().and_then(position) != *expected || found.is_some() != expected.is_some() {
                    return Ok(false);
                }
            }
            objects::retain_unknown(tx, &mut blobs)?;
            if let Some((id, _)) = blobs.iter().find(|(id, size)| !store.has_blob(*id, *size)) {
                return Err(CatalogueError::MissingBlob { id: *id });
            }
            if !blobs.is_empty() {
                store.sync()?;
            }
            objects::insert(tx, blobs)?;
            moves.iter().try_for_each(|prepared| prepared.write(tx, signer))?;
            Ok(true)
        })?;
        Ok(done.then(|| moves.into_iter().map(Prepared::update).collect()))
    }
}

/// A ref about to move, or to be where it is while others move.
struct Prepared {
    name: RefName,
    expected: Option<(SnapshotId, u64)>,
    snapshot: Option<New>,
}

/// A snapshot about to be written.
struct New {
    id: SnapshotId,
    snapshot: Snapshot,
    nodes: Vec<(NodeId, Vec<u8>)>,
    blobs: Vec<(BlobId, u64)>,
    reason: String,
}

impl Prepared {
    fn generation(&self) -> u64 {
        self.expected.map_or(1, |(_, generation)| generation + 1)
    }

    fn write(&self, tx: &Tx<'_>, signer: &Signer) -> Result<(), CatalogueError> {
        let Some(new) = &self.snapshot else { return Ok(()) };
        let (name, generation) = (&self.name, self.generation());
        if self.expected.is_none() {
            refs::check_no_conflict(tx, name)?;
        }
        nodes::insert(tx, &new.nodes)?;
        snapshots::insert(tx, new.id, &new.snapshot)?;
        let target = Target::Snapshot(new.id);
        refs::set(tx, name, &target, generation, signer.now)?;
        let old = self.expected.map(|(id, _)| id);
        reflog::append(tx, &Move { name, generation, old, new: &target, signer, reason: &new.reason })
    }

    fn update(self) -> Option<RefUpdate> {
        let (generation, old) = (self.generation(), self.expected.map(|(id, _)| id));
        let new = self.snapshot?;
        Some(RefUpdate { name: self.name, id: new.id, snapshot: new.snapshot, old, generation })
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
