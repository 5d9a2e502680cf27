//! `gc`: deletes what nobody needs, while everybody goes on working.
//!
//! A collection marks what its roots show, condemns what is not marked, and deletes what an earlier one condemned
//! and nobody came for since. Before each step changes anything it looks again, in the same transaction, at what
//! has come to be needed meanwhile. Always true: what is reachable from a root is never deleted; a snapshot that
//! is not collected is whole; garbage goes from the top down, so a node that is there has everything below it
//! there; whatever ends a collection, the next one goes on.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::PathBuf;

use cfs_fs::digest::{BlobId, SnapshotId};
use cfs_fs::store::{Store, StoreError};
use cfs_fs::tree::NodeError;
use rustix::fs::{FlockOperation, flock};

use crate::catalogue::{CatalogueError, Condemned};
use crate::commitfile::CommitFileError;
use crate::depot::Depot;
use crate::workspace::WorkspaceError;

mod delete;
mod marks;
mod remains;
mod roots;
mod survey;

pub use roots::Roots;

use delete::Doomed;
use roots::Watch;
use survey::Survey;

/// Days after which a broken-off download is given up.
const PARTIAL_SECONDS: i64 = 7 * 24 * 3600;
/// A share of all blobs or nodes that nobody wants to lose in one go by mistake.
const LIMIT_PERCENT: u64 = 10;
/// So many nodes are no loss to speak of. Each commit leaves some that it needed on its way only.
const FEW_NODES: u64 = 100;

/// How a collection goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Seconds since 1970.
    pub now: i64,
    /// What a ref named in so many seconds before stays.
    pub keep_seconds: i64,
    /// So many generations of each ref stay, however old.
    pub keep_generations: u64,
    /// Seconds from being condemned to being deleted.
    pub grace_seconds: i64,
    /// Only look.
    pub dry_run: bool,
    /// Delete even more than a tenth of all blobs or nodes.
    pub confirmed: bool,
    /// Objects that are deleted in one transaction, for which writers wait.
    pub batch: usize,
    /// A rule that is broken, to see that tests notice.
    #[doc(hidden)]
    pub broken: Option<Broken>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            now: 0,
            keep_seconds: 90 * 24 * 3600,
            keep_generations: 10,
            grace_seconds: 24 * 3600,
            dry_run: false,
            confirmed: false,
            batch: 500,
            broken: None,
        }
    }
}

/// Rules that a collection must not break.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Nothing is looked at again before it is deleted.
    SecondLook,
    /// What was freed since it was condemned is deleted.
    Revival,
    /// What running processes may have found in the store is deleted.
    Leases,
    /// Snapshots that running processes show are deleted.
    Holds,
    /// A file is removed although its blob is live again.
    Unlinking,
    /// Garbage goes from the bottom up.
    Order,
}

/// Which part of a collection is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading what roots show.
    Marking,
    /// Comparing with what is there.
    Looking,
    /// Condemning.
    Condemning,
    /// Giving up snapshots.
    Collecting,
    /// Deleting nodes.
    Nodes,
    /// Deleting blobs.
    Blobs,
    /// Deleting what refers to deleted objects.
    Remains,
}

/// How far a collection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The part.
    pub phase: Phase,
    /// Objects done in it.
    pub done: u64,
    /// All of them, where that is known.
    pub total: Option<u64>,
}

/// Called often, always between two transactions; `Break` ends the collection, and the next one goes on.
pub type OnProgress<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// Some objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Snapshots.
    pub snapshots: u64,
    /// Nodes.
    pub nodes: u64,
    /// Bytes of the nodes; the catalogue uses their room again.
    pub node_bytes: u64,
    /// Blobs.
    pub blobs: u64,
    /// Bytes of the blobs.
    pub blob_bytes: u64,
    /// Other files: commits that were never made or shrank, downloads that nobody goes on with.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
}

impl Amount {
    /// Bytes of all.
    pub fn bytes(&self) -> u64 {
        self.node_bytes + self.blob_bytes + self.file_bytes
    }
}

/// What a collection did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// What keeps what: `refs and reflog`, `workspaces`, `mounts and exports` …, with the number of roots.
    pub roots: BTreeMap<&'static str, u64>,
    /// What is there and needed.
    pub kept: Amount,
    /// What was condemned now.
    pub condemned: Amount,
    /// What is condemned and stays for now.
    pub waiting: Amount,
    /// When the first of that may be deleted, seconds since 1970.
    pub next: Option<i64>,
    /// Leases that keep some of it longer.
    pub leases: Vec<String>,
    /// What was deleted.
    pub deleted: Amount,
}

/// Why a collection was not made or not finished.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// Another one is at work, or something that must not meet one.
    #[error("{path}: another collection, a check or a backup is at work")]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// It was told to end.
    #[error("the collection was stopped")]
    Stopped,
    /// A large part of the store would be deleted.
    #[error(
        "{} nodes and {} of {blobs} blobs would be deleted ({} bytes), more than {LIMIT_PERCENT} %",
        amount.nodes, amount.blobs, amount.bytes()
    )]
    TooMuch {
        /// What would be deleted.
        amount: Amount,
        /// How many blobs there are.
        blobs: u64,
    },
    /// A workspace cannot be read, so nobody knows what it needs.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// A commit file cannot be read.
    #[error(transparent)]
    CommitFile(#[from] CommitFileError),
    /// The catalogue or the store failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

impl From<NodeError> for GcError {
    fn from(error: NodeError) -> Self {
        Self::Catalogue(error.into())
    }
}

impl From<StoreError> for GcError {
    fn from(error: StoreError) -> Self {
        Self::Catalogue(error.into())
    }
}

/// Collects garbage once. A node that is missing below a root ends it before anything is deleted.
pub fn collect(depot: &Depot, options: &Options, progress: &mut OnProgress<'_>) -> Result<Report, GcError> {
    let _alone = if options.dry_run { None } else { Some(lock(&depot.store)?) };
    if !options.dry_run {
        delete::finish(depot, options, progress)?;
        close_collections(depot)?;
    }
    let mut watch = Watch::begin(depot, *options)?;
    watch.mark(depot, progress)?;
    let survey = Survey::make(depot, &watch, progress)?;
    let mut report = Report { roots: watch.counts.clone(), kept: survey.kept, ..Report::default() };
    if options.dry_run {
        survey.count_new(&mut report);
    } else {
        survey.condemn(depot, &mut watch, &mut report, progress)?;
    }
    let condemned = depot.catalogue.condemned()?;
    let doomed = choose(depot, &mut watch, &survey, &condemned, &mut report)?;
    let doomed = Doomed::prepare(depot, &mut watch, &survey, doomed, progress)?;
    let amount = doomed.amount();
    if options.dry_run {
        report.deleted = amount;
        return Ok(report);
    }
    let blobs = survey.blobs_there();
    let too_much = |part: u64, all: u64| part * 100 > all * LIMIT_PERCENT;
    let few = amount.nodes <= FEW_NODES;
    if !options.confirmed
        && (too_much(amount.blobs, blobs) || !few && too_much(amount.nodes, amount.nodes + survey.kept.nodes))
    {
        return Err(GcError::TooMuch { amount, blobs });
    }
    doomed.delete(depot, &mut watch, &mut report, progress)?;
    remains::delete(depot, &watch, &survey, &mut report, progress)?;
    depot.catalogue.forget_collections()?;
    if report.deleted.blobs > 0 {
        depot.forget_collected();
    }
    // Whoever reads meanwhile keeps the log; the next commit brings it home.
    let _ = depot.catalogue.checkpoint();
    Ok(report)
}

/// Keeps collections away as long as the result lives; [`GcError::Busy`] while one is at work. `None` where the store
/// cannot be written, and so not collected either.
pub fn pause(store: &Store) -> Result<Option<File>, GcError> {
    match lock_file(store, FlockOperation::NonBlockingLockShared) {
        Err(GcError::Catalogue(CatalogueError::Store(StoreError::Io { source, .. })))
            if [ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied].contains(&source.kind()) =>
        {
            Ok(None)
        }
        locked => locked.map(Some),
    }
}

/// Two collections at once would only get in each other's way.
pub(crate) fn lock(store: &Store) -> Result<File, GcError> {
    lock_file(store, FlockOperation::NonBlockingLockExclusive)
}

fn lock_file(store: &Store, operation: FlockOperation) -> Result<File, GcError> {
    let path = store.root().join("tmp/gc");
    let failed = |source: std::io::Error| StoreError::Io { verb: "lock", path: path.clone(), source };
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match flock(&file, operation) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(GcError::Busy { path }),
        locked => locked.map(|()| file).map_err(|error| failed(error.into()).into()),
    }
}

/// Gives collections that ended too early the leases of now: whoever came since knew what was condemned.
fn close_collections(depot: &Depot) -> Result<(), GcError> {
    for collection in depot.catalogue.collections()?.iter().filter(|found| found.leases.is_none()) {
        depot.catalogue.set_leases(collection.number, &roots::lease_names(depot)?)?;
    }
    Ok(())
}

/// What is to be deleted of what is condemned: nobody needs it, its grace is over, and whoever may have found it
/// before it was condemned has ended.
fn choose(
    depot: &Depot,
    watch: &mut Watch,
    survey: &Survey,
    condemned: &BTreeMap<Condemned, (u64, bool)>,
    report: &mut Report,
) -> Result<Vec<Condemned>, GcError> {
    let options = watch.options;
    let living = roots::lease_names(depot)?;
    let mut ripe = BTreeMap::new();
    for collection in depot.catalogue.collections()? {
        let due = collection.at.saturating_add(options.grace_seconds);
        let keepers: Vec<String> = match &collection.leases {
            Some(leases) => leases.iter().filter(|name| living.contains(name)).cloned().collect(),
            None => living.clone(),
        };
        let waits = !keepers.is_empty() && options.broken != Some(Broken::Leases);
        let is_ripe = due <= options.now && !waits && Some(collection.number) != watch.collection;
        ripe.insert(collection.number, (is_ripe, due, keepers));
    }
    let mut doomed = Vec::new();
    for (what, (collection, _)) in condemned {
        let Some(bytes) = survey.unneeded(*what) else { continue };
        match ripe.get(collection) {
            Some((true, ..)) => doomed.push(*what),
            waiting => {
                add(&mut report.waiting, *what, bytes);
                let Some((_, due, keepers)) = waiting else { continue };
                report.next = Some(report.next.map_or(*due, |next| next.min(*due)));
                report.leases.extend(keepers.iter().filter(|_| *due <= options.now).cloned());
            }
        }
    }
    report.leases.sort_unstable();
    report.leases.dedup();
    Ok(doomed)
}

fn add(amount: &mut Amount, what: Condemned, bytes: u64) {
    match what {
        Condemned::Snapshot(_) => amount.snapshots += 1,
        Condemned::Blob(_) => {
            amount.blobs += 1;
            amount.blob_bytes += bytes;
        }
        Condemned::Commit(_) => {
            amount.files += 1;
            amount.file_bytes += bytes;
        }
    }
}

/// Splits what is condemned by its kind.
fn split(condemned: Vec<Condemned>) -> (Vec<SnapshotId>, Vec<BlobId>) {
    let (mut snapshots, mut blobs) = (Vec::new(), Vec::new());
    for what in condemned {
        match what {
            Condemned::Snapshot(id) => snapshots.push(id),
            Condemned::Blob(id) => blobs.push(id),
            Condemned::Commit(_) => {}
        }
    }
    (snapshots, blobs)
}

/// An error when told to end.
fn step(progress: &mut OnProgress<'_>, phase: Phase, done: u64, total: Option<u64>) -> Result<(), GcError> {
    match progress(Progress { phase, done, total }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(GcError::Stopped),
    }
}

#[cfg(test)]
mod tests;
