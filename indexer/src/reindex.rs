//! `reindex`: a new catalogue from what the store holds: commit files, blobs and the copy of the reflog.
//!
//! What of the old catalogue can still be read and is vouched for is used too: nodes and records by their names, the
//! reflog by its chain, tables by their seals. Always true: the old catalogue is taken out of use and kept; before
//! the new one is whole nothing is changed; nobody works on the store meanwhile.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use cfs_fs::digest::{BlobId, NodeId, SnapshotId};
use cfs_fs::store::lease::Gate;
use cfs_fs::store::{Store, StoreError};
use cfs_fs::sweep;
use cfs_fs::tree::{Node, NodeError, Nodes};

use crate::catalogue::{Catalogue, CatalogueError, CopyFault, LASTING, Link, Raw, Target, family};
use crate::commitfile;
use crate::gc::{self, GcError};
use crate::snapshot::Snapshot;

/// Rows that are written in one transaction.
const BATCH: usize = 20_000;

/// What a new catalogue holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Snapshots, those that were collected included.
    pub snapshots: u64,
    /// Of these, those whose trees are there.
    pub whole: u64,
    /// Nodes.
    pub nodes: u64,
    /// Blobs.
    pub blobs: u64,
    /// Refs.
    pub refs: u64,
    /// Moves of the reflog.
    pub moves: u64,
    /// Tables of the old catalogue that were taken over.
    pub kept: Vec<&'static str>,
    /// What could not be had, in words.
    pub lost: Vec<String>,
    /// Where the old catalogue is now.
    pub old: Option<PathBuf>,
}

/// Why there is no new catalogue. The old one is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ReindexError {
    /// Somebody works on the store or shows it.
    #[error("{store}: is in use by {}", leases.join(", "))]
    InUse {
        /// The store.
        store: PathBuf,
        /// The leases, each a process and a number.
        leases: Vec<String>,
    },
    /// A collection, a check or a backup is at work.
    #[error(transparent)]
    Collection(GcError),
    /// It was told to end.
    #[error("the rebuilding was stopped")]
    Stopped,
    /// The catalogue or the store failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

impl From<StoreError> for ReindexError {
    fn from(error: StoreError) -> Self {
        Self::Catalogue(error.into())
    }
}

impl From<NodeError> for ReindexError {
    fn from(error: NodeError) -> Self {
        Self::Catalogue(error.into())
    }
}

/// Is told how many commit files are read, of how many.
pub type OnProgress<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;

/// Rebuilds the catalogue of the store at `root`; with `dry_run` it only says what would come of it.
pub fn reindex(
    root: &Path,
    now: i64,
    dry_run: bool,
    progress: &mut OnProgress<'_>,
) -> Result<Report, ReindexError> {
    let store = Store::open(root)?;
    let _no_collection = gc::lock(&store).map_err(ReindexError::Collection)?;
    let gate = Gate::close(&store)?;
    let leases: Vec<String> = gate.living()?.into_iter().map(|living| living.name).collect();
    if !leases.is_empty() && !dry_run {
        return Err(ReindexError::InUse { store: root.to_owned(), leases });
    }
    let path = root.join("catalogue.new.db");
    remove(&path)?;
    // One that cannot be opened helps nobody.
    let old = Catalogue::open(&root.join("catalogue.db")).ok();
    let new = Catalogue::create(&path)?;
    let built = Build { store: &store, old: old.as_ref(), new: &new, report: Report::default() };
    let built = built.run(now, root.join("catalogue.db").exists(), progress);
    let done = built.and_then(|report| new.checkpoint().map(|()| report).map_err(Into::into));
    drop(new);
    if let Some(old) = old {
        // What its log holds is better kept with it.
        let _ = old.checkpoint();
    }
    match done {
        Ok(mut report) if !dry_run => {
            report.old = swap(&store, &path)?;
            renew_copy(&store, &Catalogue::open(&root.join("catalogue.db"))?)?;
            Ok(report)
        }
        done => {
            remove(&path)?;
            done
        }
    }
}

/// Brings the copy of the reflog up to date; one that is damaged is taken out of use first.
pub(crate) fn renew_copy(store: &Store, catalogue: &Catalogue) -> Result<(), CatalogueError> {
    if catalogue.copy_faults()?.iter().any(|fault| matches!(fault, CopyFault::Damaged(_))) {
        store.quarantine(&store.root().join("reflog"))?;
    }
    catalogue.renew_copy()
}

fn remove(path: &Path) -> Result<(), StoreError> {
    for file in family(path) {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::Io { verb: "remove", path: file, source: error });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Puts the new catalogue in the place of the old one, which is kept.
fn swap(store: &Store, new: &Path) -> Result<Option<PathBuf>, StoreError> {
    let failed = |verb: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Io { verb, path, source }
    };
    let [_, log, index] = family(new);
    for path in [&log, &index] {
        // Its log was brought home; one that stayed would belong to whatever has its name next.
        let _ = fs::remove_file(path);
    }
    fs::File::open(new).and_then(|file| file.sync_all()).map_err(failed("sync", new))?;
    let [old, log, index] = family(&store.root().join("catalogue.db"));
    let _ = fs::remove_file(index);
    // A log without its database is nothing, but beside another one it would be taken for that one's.
    store.quarantine(&log)?;
    let kept = store.quarantine(&old)?;
    fs::rename(new, &old).map_err(failed("rename to", &old))?;
    store.sync()?;
    Ok(kept)
}

/// Nodes, and the blobs that they name, sorted.
type Reachable = (HashSet<NodeId>, Vec<(BlobId, u64)>);

struct Build<'a> {
    store: &'a Store,
    old: Option<&'a Catalogue>,
    new: &'a Catalogue,
    report: Report,
}

impl Build<'_> {
    /// Takes over what only the old catalogue has, as far as it can be trusted.
    fn take_over(&mut self, had_one: bool) -> Result<(), ReindexError> {
        match self.old {
            Some(old) => {
                self.report.kept = self.new.take_over(old)?;
                let left = LASTING.iter().filter(|table| !self.report.kept.contains(table));
                let left: Vec<String> = left.map(|table| format!("{table} cannot be trusted")).collect();
                self.report.lost.extend(left);
            }
            None if had_one => self.report.lost.push(format!("{} cannot be read", LASTING.join(", "))),
            None => {}
        }
        Ok(())
    }

    fn run(mut self, now: i64, had_one: bool, progress: &mut OnProgress<'_>) -> Result<Report, ReindexError> {
        let history = self.history()?;
        let mut snapshots = HashMap::new();
        let mut nodes = HashSet::new();
        self.commit_files(&mut snapshots, &mut nodes, progress)?;
        self.old_rows(&mut snapshots, &mut nodes)?;
        let snapshots = committed(&history, snapshots);
        let rows: Vec<(SnapshotId, Snapshot)> = snapshots.into_iter().collect();
        self.new.restore_snapshots(&rows)?;
        self.new.restore_history(&history)?;
        self.take_over(had_one)?;
        self.trees(&rows, nodes, now)?;
        self.report.snapshots = rows.len() as u64;
        self.report.moves = history.len() as u64;
        self.report.refs = self.new.refs()?.len() as u64;
        Ok(self.report)
    }

    /// The reflog: the catalogue's own, or its copy, whichever is longer.
    fn history(&mut self) -> Result<Vec<Link>, ReindexError> {
        let own = self.old.and_then(|old| old.history().ok()).unwrap_or_default();
        let copied = self.new.copied_history()?;
        let history = if own.len() >= copied.len() { own } else { copied };
        if history.is_empty() {
            self.report.lost.push("no move of any ref is known: there is no copy of the reflog".to_owned());
        }
        Ok(history)
    }

    fn commit_files(
        &mut self,
        snapshots: &mut HashMap<SnapshotId, Snapshot>,
        nodes: &mut HashSet<NodeId>,
        progress: &mut OnProgress<'_>,
    ) -> Result<(), ReindexError> {
        let files = sweep::commits(self.store)?;
        for (number, id) in files.iter().enumerate() {
            if progress(number as u64, files.len() as u64).is_break() {
                return Err(ReindexError::Stopped);
            }
            let read = fs::read(self.store.commit_path(*id)).map_err(|error| error.to_string());
            let bytes = match read {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.report.lost.push(format!("commits/{id}: cannot be read: {error}"));
                    continue;
                }
            };
            match commitfile::decode(*id, &bytes) {
                Ok(file) => {
                    snapshots.insert(*id, file.snapshot);
                    self.add(
                        nodes,
                        file.nodes.into_iter().map(|(id, bytes)| (id, bytes.to_vec())).collect(),
                    )?;
                }
                Err(error) => self.report.lost.push(error.to_string()),
            }
        }
        Ok(())
    }

    fn add(&self, known: &mut HashSet<NodeId>, nodes: Vec<(NodeId, Vec<u8>)>) -> Result<(), ReindexError> {
        let new: Vec<_> = nodes.into_iter().filter(|(id, _)| known.insert(*id)).collect();
        Ok(new.chunks(BATCH).try_for_each(|batch| self.new.restore_nodes(batch))?)
    }

    /// What the old catalogue has besides.
    fn old_rows(
        &mut self,
        snapshots: &mut HashMap<SnapshotId, Snapshot>,
        nodes: &mut HashSet<NodeId>,
    ) -> Result<(), ReindexError> {
        let Some(old) = self.old else { return Ok(()) };
        let mut found = Vec::new();
        // As far as it can be read.
        let _ = old.for_each_raw(&mut |raw| match raw {
            Raw::Snapshot(row) if SnapshotId::of(&row.record) == row.id => {
                let text = std::str::from_utf8(&row.record).ok();
                if let Some(snapshot) = text.and_then(|text| Snapshot::decode(text).ok()) {
                    snapshots.entry(row.id).or_insert(snapshot);
                }
            }
            Raw::Node(id, data) if !nodes.contains(&id) && Node::verified(id, data).is_ok() => {
                found.push((id, data.to_vec()));
            }
            _ => {}
        });
        self.add(nodes, found)
    }

    /// Finds out which trees are whole, drops what none of them needs, and records their blobs.
    fn trees(
        &mut self,
        snapshots: &[(SnapshotId, Snapshot)],
        nodes: HashSet<NodeId>,
        now: i64,
    ) -> Result<(), ReindexError> {
        let mut kept: HashSet<SnapshotId> = HashSet::new();
        for found in self.new.refs()? {
            if let Target::Snapshot(id) = found.target {
                if !snapshots.iter().any(|(known, _)| *known == id) {
                    self.report.lost.push(format!("ref {}: its snapshot {id} is lost", found.name));
                }
                kept.insert(id);
            }
        }
        kept.extend(self.new.pins()?.into_iter().map(|pin| pin.snapshot));
        let mut known = HashMap::new();
        let mut collected = Vec::new();
        let mut tops = Vec::new();
        for (id, snapshot) in snapshots {
            if self.is_whole(snapshot.root.id, &mut known)? {
                self.report.whole += 1;
            } else if kept.contains(id) {
                self.report.lost.push(format!("snapshot {id}: a part of its tree is lost"));
            } else {
                collected.push(*id);
                continue;
            }
            tops.push(snapshot.root.id);
        }
        self.new.restore_collected(&collected, now)?;
        let (needed, blobs) = self.reachable(tops)?;
        let useless: Vec<NodeId> = nodes.into_iter().filter(|id| !needed.contains(id)).collect();
        useless.chunks(BATCH).try_for_each(|batch| self.new.forget_nodes(batch))?;
        self.report.nodes = needed.len() as u64;
        self.blobs(blobs)
    }

    /// Whether a node is there with everything below it.
    fn is_whole(&self, id: NodeId, known: &mut HashMap<NodeId, bool>) -> Result<bool, ReindexError> {
        if let Some(known) = known.get(&id) {
            return Ok(*known);
        }
        let mut whole = true;
        match self.new.node(id) {
            Ok(node) => {
                for below in node.nodes() {
                    whole &= self.is_whole(below, known)?;
                }
            }
            Err(NodeError::Missing { .. }) => whole = false,
            Err(error) => return Err(error.into()),
        }
        known.insert(id, whole);
        Ok(whole)
    }

    fn reachable(&self, tops: Vec<NodeId>) -> Result<Reachable, ReindexError> {
        let (mut seen, mut blobs, mut open) = (HashSet::new(), Vec::new(), tops);
        while let Some(id) = open.pop() {
            if seen.contains(&id) {
                continue;
            }
            match self.new.node(id) {
                Ok(node) => {
                    blobs.extend(node.blobs());
                    open.extend(node.nodes());
                    seen.insert(id);
                }
                Err(NodeError::Missing { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        blobs.sort_unstable();
        blobs.dedup();
        Ok((seen, blobs))
    }

    fn blobs(&mut self, mut blobs: Vec<(BlobId, u64)>) -> Result<(), ReindexError> {
        let all = blobs.len();
        blobs.retain(|(id, size_bytes)| self.store.has_blob(*id, *size_bytes));
        if blobs.len() < all {
            self.report.lost.push(format!("{} blobs are not in the store", all - blobs.len()));
        }
        self.report.blobs = blobs.len() as u64;
        for batch in blobs.chunks(BATCH * 5) {
            self.new.record_blobs(batch.iter().map(|(id, size_bytes)| (*id, *size_bytes, &[][..])))?;
        }
        Ok(())
    }
}

/// Those snapshots that were committed: the reflog names them, or one that it names came from them.
fn committed(history: &[Link], mut all: HashMap<SnapshotId, Snapshot>) -> HashMap<SnapshotId, Snapshot> {
    if history.is_empty() {
        return all;
    }
    let named = history.iter().flat_map(|link| {
        let new = match link.entry.new {
            Some(Target::Snapshot(id)) => Some(id),
            _ => None,
        };
        [new, link.entry.old]
    });
    let mut open: Vec<SnapshotId> = named.flatten().collect();
    let mut committed = HashMap::new();
    while let Some(id) = open.pop() {
        if let Some(snapshot) = all.remove(&id) {
            open.extend(&snapshot.parents);
            committed.insert(id, snapshot);
        }
    }
    committed
}
