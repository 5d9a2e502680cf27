//! Committing: new snapshots become what refs name, in one transaction.
//!
//! Always true: when [`Catalogue::update_refs`] returns, the snapshots' records, their new nodes, the moves of
//! all the refs and the reflog's entries are durable together, and so is every blob that the new nodes name: it was live, or
//! was found in the store, made durable and became live in that very transaction; and so is every node that they
//! name. Recorded there and sorted,
//! a blob costs 43 bytes in the catalogue; recorded as it arrives it would cost 60. After a crash there is the
//! old state or the new one.

use std::collections::{BTreeMap, HashSet};

use cfs_fs::digest::{BlobId, NodeId, SnapshotId};
use cfs_fs::store::Store;
use cfs_fs::store::lease::Lease;
use cfs_fs::tree::{Entry, Item, Kind, Named, NodeError, NodeMap, named_by};

use super::reflog::{self, Move};
use super::refs::{self, Ref, Target};
use super::{Catalogue, CatalogueError, Tx, approvals, garbage, nodes, objects, snapshots};
use crate::commitfile;
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
    /// What these took over from nodes that the catalogue had.
    pub taken: Taken,
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

/// Files that new nodes took over from directories that the catalogue has. As long as these are there, so is
/// everything below them, and nobody has to look for each of the blobs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taken {
    dirs: Vec<NodeId>,
    blobs: Vec<BlobId>,
}

impl Taken {
    /// Adds entries of a directory that the catalogue has.
    pub fn add(&mut self, dir: NodeId, entries: &[Entry]) {
        self.dirs.push(dir);
        self.blobs.extend(entries.iter().filter_map(|entry| match entry.item.kind {
            Kind::File { blob, .. } => Some(blob),
            _ => None,
        }));
    }

    /// Puts the directories in the place of what they name.
    fn stand_for(mut self, named: &mut Named) {
        self.blobs.sort_unstable();
        let mut taken = self.blobs.iter().peekable();
        // Both are sorted.
        named.blobs.retain(|(id, _)| {
            while taken.next_if(|taken| *taken < id).is_some() {}
            taken.peek() != Some(&id)
        });
        named.nodes.extend(self.dirs);
    }
}

/// A move that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The ref.
    pub name: RefName,
    /// What it names now.
    pub old: Option<SnapshotId>,
    /// What it is to name.
    pub new: SnapshotId,
    /// Its generation then.
    pub generation: u64,
}

/// Signs a move, or refuses it.
pub type Seal<'a, E> = dyn FnMut(&Planned) -> Result<Option<String>, E> + 'a;

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
        draft: impl FnMut(&[Option<Current>]) -> Result<Vec<Option<Draft>>, E>,
    ) -> Result<Vec<Option<RefUpdate>>, E> {
        self.update_refs_sealed(store, names, signer, draft, &mut |_| Ok(None))
    }

    /// As [`Catalogue::update_refs`]; `seal` may sign each move before it is made, and its errors let none be made.
    pub fn update_refs_sealed<E: From<CatalogueError>>(
        &self,
        store: &Store,
        names: &[RefName],
        signer: &Signer,
        mut draft: impl FnMut(&[Option<Current>]) -> Result<Vec<Option<Draft>>, E>,
        seal: &mut Seal<'_, E>,
    ) -> Result<Vec<Option<RefUpdate>>, E> {
        self.look_after_failure(store)?;
        // What a draft finds stays until it is committed.
        let lease = Lease::take(store).map_err(CatalogueError::from)?;
        for _ in 0..ATTEMPTS_MAX {
            let current = names.iter().map(|name| self.current(name)).collect::<Result<Vec<_>, _>>()?;
            let drafts = draft(&current)?;
            if drafts.iter().all(Option::is_none) {
                return Ok(names.iter().map(|_| None).collect());
            }
            let mut moves = Vec::with_capacity(names.len());
            for ((name, current), draft) in names.iter().zip(current).zip(drafts) {
                let mut prepared = self.prepare(store, &lease, name, signer, current, draft)?;
                if let Some(planned) = prepared.planned(self)? {
                    prepared.signature = seal(&planned)?.map(|signature| (planned.generation, signature));
                }
                moves.push(prepared);
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
        let Some(Draft { root, mut nodes, taken, parents, access, mut meta, message, reason }) = draft else {
            let (name, snapshot) = (name.clone(), None);
            return Ok(Prepared { name, expected, generation: 0, snapshot, signature: None });
        };
        let Kind::Dir(root_dir) = root.kind else {
            return Err(CatalogueError::Damaged { what: format!("new top of {name} is no directory") });
        };
        if current.as_ref().is_some_and(|current| current.snapshot.meta.contains_key(SEALED)) {
            return Err(CatalogueError::Sealed { name: name.clone() });
        }
        let mut all_parents: Vec<SnapshotId> = current.iter().map(|current| current.id).collect();
        all_parents.extend(parents.into_iter().filter(|id| Some(*id) != current.as_ref().map(|c| c.id)));
        // What a compose is stays said, whoever puts something into it.
        for (key, value) in current.iter().flat_map(|current| &current.snapshot.meta) {
            if key.starts_with("compose.") {
                meta.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
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
        let known = self.retain_unknown_nodes(&mut nodes)?;
        let mut named = named_by(&nodes)?;
        taken.stand_for(&mut named);
        if !nodes.contains_key(&root_dir.id) {
            named.nodes.push(root_dir.id);
        }
        let mut nodes: Vec<_> = nodes.into_iter().collect();
        nodes.sort_unstable_by_key(|(id, _)| *id);
        let id = snapshot.id();
        // The same snapshot may have been committed before, with nodes that are known since.
        let before = store.read_commit(id)?.unwrap_or_default();
        let file = commitfile::encode_again(&snapshot, &nodes, &before);
        store.write_commit(lease, &id.to_string(), &file)?;
        let new = New { id, snapshot, nodes, known, named, reason };
        let (name, snapshot) = (name.clone(), Some(new));
        Ok(Prepared { name, expected, generation: 0, snapshot, signature: None })
    }

    /// Commits if every ref still is as expected; `None` when one moved.
    fn commit(
        &self,
        store: &Store,
        signer: &Signer,
        mut moves: Vec<Prepared>,
    ) -> Result<Option<Vec<Option<RefUpdate>>>, CatalogueError> {
        let mut blobs: Vec<_> = moves
            .iter()
            .filter_map(|prepared| prepared.snapshot.as_ref())
            .flat_map(|new| new.named.blobs.clone())
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
            garbage::free_blobs(tx, &blobs.iter().map(|(id, _)| *id).collect::<Vec<_>>())?;
            objects::retain_unknown(tx, &mut blobs)?;
            if let Some((id, _)) = blobs.iter().find(|(id, size)| !store.has_blob(*id, *size)) {
                return Err(CatalogueError::MissingBlob { id: *id });
            }
            if !blobs.is_empty() {
                store.sync()?;
            }
            objects::insert(tx, blobs)?;
            moves.iter_mut().try_for_each(|prepared| prepared.write(tx, signer))?;
            moves
                .iter()
                .filter_map(|prepared| prepared.snapshot.as_ref())
                .try_for_each(|new| new.check(tx))?;
            Ok(true)
        });
        let done = match done {
            // The draft has the node; the next attempt writes it.
            Err(CatalogueError::Node(NodeError::Missing { id })) if knew(&moves, id) => false,
            Err(CatalogueError::Node(NodeError::Missing { id })) => {
                return Err(CatalogueError::Vanished { id });
            }
            done => done?,
        };
        Ok(done.then(|| moves.into_iter().map(Prepared::update).collect()))
    }
}

/// A ref about to move, or to be where it is while others move.
struct Prepared {
    name: RefName,
    expected: Option<(SnapshotId, u64)>,
    /// Its generation, once it has moved.
    generation: u64,
    snapshot: Option<New>,
    /// Of the move, with the generation that it is about.
    signature: Option<(u64, String)>,
}

/// A snapshot about to be written.
struct New {
    id: SnapshotId,
    snapshot: Snapshot,
    nodes: Vec<(NodeId, Vec<u8>)>,
    /// Nodes of the draft that the catalogue had when it was prepared.
    known: HashSet<NodeId>,
    /// What must be there with it.
    named: Named,
    reason: String,
}

/// Whether a draft holds a node that was left out because the catalogue had it.
fn knew(moves: &[Prepared], id: NodeId) -> bool {
    moves.iter().filter_map(|prepared| prepared.snapshot.as_ref()).any(|new| new.known.contains(&id))
}

impl New {
    /// An error unless every node that the new ones name is there. What is there has everything below it, since
    /// garbage is deleted from the top down.
    fn check(&self, tx: &Tx<'_>) -> Result<(), CatalogueError> {
        match nodes::first_missing(tx, &self.named.nodes)? {
            Some(id) => Err(NodeError::Missing { id }.into()),
            None => Ok(()),
        }
    }
}

impl Prepared {
    /// The move as it will be made, unless the ref stays where it is.
    fn planned(&self, catalogue: &Catalogue) -> Result<Option<Planned>, CatalogueError> {
        let Some(new) = &self.snapshot else { return Ok(None) };
        let generation = match self.expected {
            Some((_, generation)) => generation + 1,
            None => catalogue.log_last(&self.name)?.unwrap_or(0) + 1,
        };
        let old = self.expected.map(|(id, _)| id);
        Ok(Some(Planned { name: self.name.clone(), old, new: new.id, generation }))
    }

    fn write(&mut self, tx: &Tx<'_>, signer: &Signer) -> Result<(), CatalogueError> {
        let Some(new) = &self.snapshot else { return Ok(()) };
        let name = &self.name;
        if self.expected.is_none() {
            refs::check_no_conflict(tx, name)?;
        }
        let generation = match self.expected {
            Some((_, generation)) => generation + 1,
            None => tx.run(|connection| reflog::next_generation(connection, name))?,
        };
        self.generation = generation;
        nodes::insert(tx, &new.nodes)?;
        snapshots::insert(tx, new.id, &new.snapshot)?;
        garbage::restore_snapshot(tx, new.id)?;
        let target = Target::Snapshot(new.id);
        refs::set(tx, name, &target, generation, signer.now)?;
        let old = self.expected.map(|(id, _)| id);
        let moved = Move { name, generation, old, new: Some(&target), signer, reason: &new.reason };
        let number = reflog::append(tx, &moved)?;
        match &self.signature {
            Some((of, signature)) if *of == generation => approvals::sign(tx, number, signature),
            None => Ok(()),
            // It was made and deleted meanwhile.
            Some(_) => Err(CatalogueError::RefBusy { name: name.clone(), attempts: 1 }),
        }
    }

    fn update(self) -> Option<RefUpdate> {
        let Self { name, expected, generation, snapshot, .. } = self;
        let New { id, snapshot, .. } = snapshot?;
        Some(RefUpdate { name, id, snapshot, old: expected.map(|(id, _)| id), generation })
    }
}

/// A snapshot ref's place in its history.
fn position(found: &Ref) -> Option<(SnapshotId, u64)> {
    match found.target {
        Target::Snapshot(id) => Some((id, found.generation)),
        Target::Symbolic(_) => None,
    }
}
