//! Making good what was found: what can be derived again is derived, what can be had again is fetched.
//!
//! Always true: nothing is deleted: bad blobs, catalogues and commit files are taken out of use and kept; what comes
//! in their place has the bytes that its name says.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cfs_fs::digest::{BlobId, NodeId, SnapshotId};
use cfs_fs::store::lease::Lease;
use cfs_fs::store::publish::{Publisher, Ready};
use cfs_fs::store::{Store, StoreError};
use cfs_fs::sweep;
use cfs_fs::tree::{Kind as ItemKind, Nodes};

use super::finding::{Finding, Kind, Object};
use crate::catalogue::{Catalogue, CatalogueError};
use crate::checksum::Checksum;
use crate::commitfile;
use crate::depot::Depot;
use crate::reindex::{self, ReindexError};
use crate::sync::{self, Wanted};

/// Where blobs may be had again.
#[derive(Debug, Clone)]
pub struct Sources<'a> {
    /// Other stores.
    pub stores: Vec<Store>,
    /// How to ask the upstreams that the catalogue knows; `None` leaves them alone.
    pub upstreams: Option<&'a sync::fetch::Options>,
}

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Repaired {
    /// What was done, in words.
    pub done: Vec<String>,
    /// What is still wrong, in words.
    pub left: Vec<String>,
}

/// Why a repair did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The catalogue could not be rebuilt.
    #[error(transparent)]
    Reindex(#[from] ReindexError),
    /// The catalogue or the store failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

impl From<StoreError> for RepairError {
    fn from(error: StoreError) -> Self {
        Self::Catalogue(error.into())
    }
}

/// Makes good what a check of the store at `root` has found, as far as it can be.
pub fn repair(
    root: &Path,
    findings: &[Finding],
    sources: &Sources<'_>,
    now: i64,
) -> Result<Repaired, RepairError> {
    let mut repaired = Repaired::default();
    if findings.iter().any(|finding| needs_new_catalogue(finding.kind)) {
        let report = reindex::reindex(root, now, false, &mut |_, _| ControlFlow::Continue(()))?;
        repaired.done.push("the catalogue was rebuilt from the store".to_owned());
        repaired.left.extend(report.lost);
    }
    let depot = Depot::open(root)?;
    if findings.iter().any(|finding| finding.kind == Kind::CatalogueLog) {
        depot.catalogue.checkpoint()?;
        repaired.done.push("the write-ahead log was brought home as far as it can be read".to_owned());
    }
    let mut repair = Repair { depot: &depot, findings, repaired };
    repair.nodes()?;
    repair.commits()?;
    repair.modes()?;
    repair.digests()?;
    if findings.iter().any(|finding| matches!(finding.kind, Kind::ReflogCopy | Kind::ReflogBehind)) {
        reindex::renew_copy(&depot.store, &depot.catalogue)?;
        repair.repaired.done.push("the copy of the reflog was written anew".to_owned());
    }
    repair.blobs(sources)?;
    Ok(repair.repaired)
}

/// What only a new catalogue makes good.
fn needs_new_catalogue(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::CatalogueUnreadable
            | Kind::CatalogueStructure
            | Kind::CatalogueSchema
            | Kind::CatalogueRow
            | Kind::Reflog
            | Kind::ReflogAhead
            | Kind::SnapshotMissing
            | Kind::SnapshotDamaged
            | Kind::BlobUnrecorded
    )
}

struct Repair<'a> {
    depot: &'a Depot,
    findings: &'a [Finding],
    repaired: Repaired,
}

impl Repair<'_> {
    /// What the findings of these kinds are about.
    fn about<T: Ord>(&self, kinds: &[Kind], pick: impl Fn(&Object) -> Option<T>) -> BTreeSet<T> {
        self.findings.iter().filter(|f| kinds.contains(&f.kind)).filter_map(|f| pick(&f.object)).collect()
    }

    /// Takes nodes out of commit files again.
    fn nodes(&mut self) -> Result<(), RepairError> {
        let wanted = self.about(&[Kind::NodeDamaged, Kind::NodeMissing], |object| match object {
            Object::Node(id) => Some(*id),
            _ => None,
        });
        if wanted.is_empty() {
            return Ok(());
        }
        let mut found: BTreeMap<NodeId, Vec<u8>> = BTreeMap::new();
        for id in sweep::commits(&self.depot.store)? {
            let Ok(bytes) = fs::read(self.depot.store.commit_path(id)) else { continue };
            let Ok(file) = commitfile::decode(id, &bytes) else { continue };
            let useful = file.nodes.into_iter().filter(|(id, _)| wanted.contains(id));
            found.extend(useful.map(|(id, bytes)| (id, bytes.to_vec())));
        }
        for id in wanted.iter().filter(|id| !found.contains_key(id)) {
            // After the catalogue was rebuilt it may be needed no more.
            if self.depot.catalogue.has_node(*id)? {
                self.repaired.left.push(format!("node {id} is in no commit file"));
            }
        }
        self.repaired.done.push(format!("{} nodes were taken from commit files", found.len()));
        let nodes: Vec<(NodeId, Vec<u8>)> = found.into_iter().collect();
        Ok(self.depot.catalogue.restore_nodes(&nodes)?)
    }

    /// Writes commit files anew: a snapshot's record with those of its nodes that are in no other file.
    fn commits(&mut self) -> Result<(), RepairError> {
        let bad = self.about(&[Kind::CommitDamaged, Kind::CommitMissing], |object| match object {
            Object::Commit(id) => Some(*id),
            _ => None,
        });
        let incomplete = self.findings.iter().any(|finding| finding.kind == Kind::CommitIncomplete);
        if bad.is_empty() && !incomplete {
            return Ok(());
        }
        let Depot { store, catalogue } = self.depot;
        let mut saved: HashSet<NodeId> = HashSet::new();
        for id in sweep::commits(store)?.into_iter().filter(|id| !bad.contains(id)) {
            let Ok(bytes) = fs::read(store.commit_path(id)) else { continue };
            if let Ok(file) = commitfile::decode(id, &bytes) {
                saved.extend(file.nodes.into_iter().map(|(id, _)| id));
            }
        }
        // Snapshots whose files are good may lack nodes too.
        let mut order: Vec<SnapshotId> = bad.iter().copied().collect();
        order.extend(catalogue.whole_snapshots()?.into_iter().filter(|id| !bad.contains(id)));
        for id in order {
            let Some(snapshot) = catalogue.snapshot_record(id)? else { continue };
            let whole = catalogue.collected_at(id)?.is_none();
            let nodes = if whole { unsaved(catalogue, snapshot.root.id, &mut saved)? } else { Vec::new() };
            if nodes.is_empty() && !bad.contains(&id) {
                continue;
            }
            let mut all: BTreeMap<NodeId, Vec<u8>> = nodes.into_iter().collect();
            let path = store.commit_path(id);
            if bad.contains(&id) {
                store.quarantine(&path)?;
            } else if let Ok(bytes) = fs::read(&path)
                && let Ok(file) = commitfile::decode(id, &bytes)
            {
                all.extend(file.nodes.into_iter().map(|(id, bytes)| (id, bytes.to_vec())));
            }
            let all: Vec<(NodeId, Vec<u8>)> = all.into_iter().collect();
            let lease = Lease::take(store)?;
            store.write_commit(&lease, &id.to_string(), &commitfile::encode(&snapshot, &all))?;
            self.repaired.done.push(format!("commits/{id} was written anew"));
        }
        Ok(store.sync()?)
    }

    fn modes(&mut self) -> Result<(), RepairError> {
        for id in self.about(&[Kind::BlobMode], blob) {
            let path = self.depot.store.blob_path(id);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o444))
                .map_err(|source| StoreError::Io { verb: "set the mode of", path, source })?;
            self.repaired.done.push(format!("blob {id} has its mode again"));
        }
        Ok(())
    }

    fn digests(&mut self) -> Result<(), RepairError> {
        for id in self.about(&[Kind::DigestWrong], blob) {
            for digest in self.known_digests(id)? {
                self.depot.catalogue.forget_digest(id, &digest)?;
            }
            self.repaired.done.push(format!("the digests of blob {id} were forgotten"));
        }
        if self.findings.iter().any(|finding| finding.kind == Kind::DigestStale) {
            self.depot.catalogue.forget_useless_digests()?;
            self.repaired.done.push("digests of blobs that are not there were forgotten".to_owned());
        }
        Ok(())
    }

    fn known_digests(&self, id: BlobId) -> Result<Vec<Checksum>, CatalogueError> {
        let all = self.depot.catalogue.digests_beginning(id.as_bytes()[0])?;
        Ok(all.into_iter().filter(|(blob, _)| *blob == id).map(|(_, digest)| digest).collect())
    }

    /// Takes bad blobs out of use and gets them again.
    fn blobs(&mut self, sources: &Sources<'_>) -> Result<(), RepairError> {
        let depot = self.depot;
        let bad = self.about(&[Kind::BlobDamaged, Kind::BlobSize, Kind::BlobUnreadable], blob);
        let mut wanted = self.about(&[Kind::BlobMissing, Kind::BlobUnrecorded], blob);
        for id in &bad {
            if let Some(path) = depot.store.quarantine(&depot.store.blob_path(*id))? {
                self.repaired.done.push(format!("blob {id} is now {}", path.display()));
            }
            wanted.insert(*id);
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let sizes = sizes(depot, &wanted)?;
        let mut missing = Wanted::new();
        for id in wanted {
            let Some(size_bytes) = sizes.get(&id).copied() else { continue };
            if !depot.store.has_blob(id, size_bytes) {
                let digest = self.known_digests(id)?.into_iter().max_by_key(Checksum::algorithm);
                missing.insert(id, (size_bytes, digest));
            }
        }
        for store in &sources.stores {
            copy(depot, store, &mut missing)?;
        }
        if let Some(options) = sources.upstreams {
            sync::refetch(depot, options, &mut missing)?;
        }
        let mut back = Vec::new();
        for (id, size_bytes) in &sizes {
            if missing.contains_key(id) {
                self.repaired.left.push(format!("blob {id} is not to be had anywhere"));
            } else {
                back.push((*id, *size_bytes, &[][..]));
            }
        }
        self.repaired.done.push(format!("{} blobs are there again", back.len()));
        Ok(depot.catalogue.record_stored(&depot.store, back)?)
    }
}

fn blob(object: &Object) -> Option<BlobId> {
    match object {
        Object::Blob(id) => Some(*id),
        _ => None,
    }
}

/// The nodes at and below `top` that are not in `saved`, which has them then.
fn unsaved(
    catalogue: &Catalogue,
    top: NodeId,
    saved: &mut HashSet<NodeId>,
) -> Result<Vec<(NodeId, Vec<u8>)>, CatalogueError> {
    let (mut seen, mut open, mut ids) = (HashSet::new(), vec![top], Vec::new());
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        if saved.insert(id) {
            ids.push(id);
        }
        open.extend(catalogue.node(id)?.nodes());
    }
    let wanted: HashSet<NodeId> = ids.into_iter().collect();
    catalogue.encoded_nodes(&wanted)
}

/// The sizes that the catalogue or trees give to blobs that somebody needs.
fn sizes(depot: &Depot, wanted: &BTreeSet<BlobId>) -> Result<HashMap<BlobId, u64>, CatalogueError> {
    let mut sizes = HashMap::new();
    let mut unknown = BTreeSet::new();
    for id in wanted {
        match depot.catalogue.live_bytes(*id)? {
            Some(size_bytes) => drop(sizes.insert(*id, size_bytes)),
            None => drop(unknown.insert(*id)),
        }
    }
    if unknown.is_empty() {
        return Ok(sizes);
    }
    let mut ids = Vec::new();
    depot.catalogue.node_ids(&mut |id| ids.push(id))?;
    for id in ids {
        if let cfs_fs::tree::Node::Leaf(entries) = &*depot.catalogue.node(id)? {
            for entry in entries {
                if let ItemKind::File { blob, size_bytes, .. } = entry.item.kind
                    && unknown.contains(&blob)
                {
                    sizes.insert(blob, size_bytes);
                }
            }
        }
    }
    Ok(sizes)
}

/// Copies from another store what it has.
fn copy(depot: &Depot, from: &Store, missing: &mut Wanted) -> Result<(), StoreError> {
    let lease = Lease::take(&depot.store)?;
    let mut publisher = Publisher::new(&depot.store, Box::new(|_| Ok(())))?;
    let ids: Vec<(BlobId, u64)> = missing.iter().map(|(id, (size_bytes, _))| (*id, *size_bytes)).collect();
    for (id, size_bytes) in ids.into_iter().filter(|(id, size_bytes)| from.has_blob(*id, *size_bytes)) {
        let (mut file, temporary) = lease.temporary()?;
        match from.copy_blob(id, &mut file) {
            Ok(_) => {
                publisher.add(Ready { id, size_bytes, tag: (), file: Some(temporary) })?;
                missing.remove(&id);
            }
            // Neither has a whole one.
            Err(StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    publisher.finish()
}
