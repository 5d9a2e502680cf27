//! `fsck`: whether a store is what it says, as far as one cares to look.
//!
//! Each level is a file of this room and includes those before it; [`repair`] makes good what a check found, and
//! [`scrub`] reads blobs in the background. Always true: a check changes nothing but what it
//! remembers of itself; what it finds is data of a stable kind; a database that cannot be read is a finding and not
//! an error; it says what it did not look at.

use std::collections::HashSet;
use std::fs::File;
use std::ops::ControlFlow;
use std::time::Duration;

use cfs_fs::digest::BlobId;
use cfs_fs::store::StoreError;
use cfs_fs::tree::NodeError;

use crate::catalogue::CatalogueError;
use crate::depot::Depot;
use crate::gc::{self, GcError};

mod cursor;
mod data;
mod finding;
mod places;
mod quick;
mod repair;
pub mod scrub;
mod tree;
mod upstream;

pub use finding::{Finding, Kind, Object};
pub use repair::{RepairError, Repaired, Sources, repair};

/// How often it is looked whether a collection has ended.
const PATIENCE: Duration = Duration::from_millis(100);

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Refs, snapshots, the tops of trees, the reflog.
    Quick,
    /// Every node, every commit file, every blob's file.
    Tree,
    /// The same, and every byte of every blob.
    Data,
    /// As `Tree`, and whether repositories are what their metadata says.
    Upstream,
}

impl Level {
    /// What a check of this level does not look at.
    pub fn unchecked(self) -> Vec<&'static str> {
        let mut list = match self {
            Self::Quick => vec!["nodes below the tops of trees", "commit files", "blobs"],
            Self::Tree | Self::Upstream => vec!["the bytes of blobs"],
            Self::Data => Vec::new(),
        };
        if self != Self::Upstream {
            list.push("whether repositories are what their metadata says");
        }
        list.push("the cache, workspaces, unfinished downloads");
        list
    }
}

/// How to go about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How closely to look.
    pub level: Level,
    /// Seconds since 1970.
    pub now: i64,
    /// Bytes of blobs that are read in a second at most.
    pub rate_bytes: Option<u64>,
    /// Begin the reading of blobs anew instead of going on where the last one ended.
    pub restart: bool,
}

/// Which part is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for a collection of garbage.
    Waiting,
    /// The level `quick`.
    Quick,
    /// SQLite's own structures.
    Structure,
    /// Nodes.
    Nodes,
    /// Commit files.
    Commits,
    /// Blobs' files, of 256 parts.
    Files,
    /// Blobs' bytes.
    Data,
    /// Repositories.
    Repositories,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The part.
    pub phase: Phase,
    /// What is done of it.
    pub done: u64,
    /// All of it, where that is known.
    pub total: Option<u64>,
}

/// Called often; `Break` ends the check, and the next reading of blobs goes on.
pub type OnProgress<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checked {
    /// Refs.
    pub refs: u64,
    /// Entries of the reflog.
    pub moves: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Whole nodes.
    pub nodes: u64,
    /// Commit files.
    pub commits: u64,
    /// Blobs, by their files.
    pub blobs: u64,
    /// Their bytes, which need not have been read.
    pub blob_bytes: u64,
    /// Blobs that were read.
    pub read_blobs: u64,
    /// Bytes that were read.
    pub read_bytes: u64,
    /// Repositories.
    pub repositories: u64,
}

/// Where a reading went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// After which blob.
    pub after: BlobId,
    /// When the reading began, seconds since 1970.
    pub began: i64,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// All of it.
    pub findings: Vec<Finding>,
    /// What was looked at.
    pub checked: Checked,
    /// Where the reading of blobs went on, if it did not begin anew.
    pub resumed: Option<Resumed>,
    /// What was not looked at.
    pub unchecked: Vec<&'static str>,
}

impl Report {
    /// Whether anything is damaged.
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.kind.is_damage())
    }
}

/// Why a check did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    /// It was told to end.
    #[error("the check was stopped")]
    Stopped,
    /// Another process reads all blobs.
    #[error("another process reads all blobs of this store")]
    Reading,
    /// The catalogue or the store failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

impl From<StoreError> for FsckError {
    fn from(error: StoreError) -> Self {
        Self::Catalogue(error.into())
    }
}

/// A check under way.
struct Check<'a, 'p> {
    depot: &'a Depot,
    options: Options,
    findings: Vec<Finding>,
    known: HashSet<(Kind, Object, String)>,
    checked: Checked,
    resumed: Option<Resumed>,
    progress: &'a mut OnProgress<'p>,
}

/// Checks a store.
pub fn check(depot: &Depot, options: &Options, progress: &mut OnProgress<'_>) -> Result<Report, FsckError> {
    let mut check = Check::begin(depot, options, progress);
    let whole = quick::check(&mut check)?;
    if options.level >= Level::Tree {
        // What is deleted between two looks would seem to be missing. Reading all bytes may take days, and looks twice.
        let pause = check.pause()?;
        tree::check(&mut check, &whole)?;
        if options.level == Level::Upstream {
            upstream::check(&mut check)?;
        }
        drop(pause);
    }
    if options.level == Level::Data {
        data::check(&mut check)?;
    }
    Ok(check.end())
}

/// Reads all blobs, and looks at nothing else.
pub fn read_blobs(
    depot: &Depot,
    options: &Options,
    progress: &mut OnProgress<'_>,
) -> Result<Report, FsckError> {
    let mut check = Check::begin(depot, options, progress);
    data::check(&mut check)?;
    Ok(check.end())
}

/// What is wrong with a catalogue that cannot even be opened; `None` for an error that is none of it.
pub fn unreadable(error: &CatalogueError) -> Option<Finding> {
    let what = || crate::repository::with_causes(error);
    error.is_corruption().then(|| Finding::new(Kind::CatalogueUnreadable, Object::Catalogue, what()))
}

impl<'a, 'p> Check<'a, 'p> {
    fn begin(depot: &'a Depot, options: &Options, progress: &'a mut OnProgress<'p>) -> Self {
        Self {
            depot,
            options: *options,
            findings: Vec::new(),
            known: HashSet::new(),
            checked: Checked::default(),
            resumed: None,
            progress,
        }
    }

    fn end(self) -> Report {
        let Self { depot, options, mut findings, checked, resumed, .. } = self;
        places::name(depot, &mut findings);
        findings.sort_by(|a, b| (a.kind, &a.object).cmp(&(b.kind, &b.object)));
        Report { findings, checked, resumed, unchecked: options.level.unchecked() }
    }

    fn step(&mut self, phase: Phase, done: u64, total: Option<u64>) -> Result<(), FsckError> {
        match (self.progress)(Progress { phase, done, total }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(FsckError::Stopped),
        }
    }

    fn add(&mut self, finding: Finding) {
        let key = (finding.kind, finding.object.clone(), finding.what.clone());
        if self.known.insert(key) {
            self.findings.push(finding);
        }
    }

    fn add_all(&mut self, kind: Kind, object: &Object, texts: Vec<String>) {
        texts.into_iter().for_each(|what| self.add(Finding::new(kind, object.clone(), what)));
    }

    /// Adds what was found about blobs that are still needed; returns these.
    fn add_bad(&mut self, found: Vec<Finding>) -> Vec<BlobId> {
        let mut bad = Vec::new();
        for finding in found {
            let Object::Blob(id) = finding.object else { continue };
            // Garbage that was collected since it was listed is not missing.
            let gone =
                finding.kind == Kind::BlobMissing && matches!(self.depot.catalogue.live_bytes(id), Ok(None));
            if !gone {
                bad.push(id);
                self.add(finding);
            }
        }
        bad
    }

    /// Makes damage that keeps something from being read a finding; other errors end the check.
    fn try_read<T>(
        &mut self,
        read: impl FnOnce() -> Result<T, CatalogueError>,
    ) -> Result<Option<T>, FsckError> {
        let error = match read() {
            Ok(found) => return Ok(Some(found)),
            Err(error) => error,
        };
        let (kind, object) = match &error {
            CatalogueError::Store(StoreError::Damaged { id, .. }) => (Kind::BlobDamaged, Object::Blob(*id)),
            CatalogueError::Store(StoreError::Missing { id }) | CatalogueError::MissingBlob { id } => {
                (Kind::BlobMissing, Object::Blob(*id))
            }
            CatalogueError::Node(NodeError::Missing { id }) => (Kind::NodeMissing, Object::Node(*id)),
            CatalogueError::Node(NodeError::Damaged { id, .. }) => (Kind::NodeDamaged, Object::Node(*id)),
            error if error.is_corruption() => (Kind::CatalogueUnreadable, Object::Catalogue),
            _ => return Err(error.into()),
        };
        // What the level below has said of it says more.
        if !self.findings.iter().any(|finding| (finding.kind, &finding.object) == (kind, &object)) {
            self.add(Finding::new(kind, object, crate::repository::with_causes(&error)));
        }
        Ok(None)
    }

    /// Keeps collections of garbage away; waits for one that is at work.
    fn pause(&mut self) -> Result<Option<File>, FsckError> {
        loop {
            match gc::pause(&self.depot.store) {
                Ok(lock) => return Ok(lock),
                Err(GcError::Busy { .. }) => {
                    self.step(Phase::Waiting, 0, None)?;
                    std::thread::sleep(PATIENCE);
                }
                Err(GcError::Catalogue(error)) => return Err(error.into()),
                // Nothing else can come of a lock.
                Err(_) => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests;
