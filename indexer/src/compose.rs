//! `compose`: a whole release, gathered from its upstream repositories into one snapshot.
//!
//! A compose is a ref such as `compose/9/Rocky-9.7-20251124.0`; `compose/9/latest-Rocky-9` is a symbolic ref to
//! the newest one that is whole. Always true: a compose becomes the latest only when every one of its trees is
//! there and no newer one is; a full run that failed or was killed stays marked as unfinished, so that no gate lets it
//! pass; an update that failed changed nothing; a compose that is finished never changes.

mod checksums;
mod closed;
mod contents;
mod disc;
mod documents;
mod finalize;
mod groups;
mod hashed;
mod hold;
mod images;
mod locations;
mod prune;
mod recipe;
mod rpms;
mod series;
mod sync;
mod volume;

pub use closed::{Closed, closed};
pub use disc::{Disc, DiscError, Wish, disc};
pub use finalize::{Finished, finalize};
pub use groups::{Grouped, Groups};
pub use prune::{Judged, Verdict, judge, prune};
pub use recipe::{Recipe, RecipeError, Selection, Tree, TreeKind};
pub use series::{Made, latest, made};
pub use sync::{Options, Outcome, Planned, PlannedTree, Report, Run, TreeReport, plan, sync};

use cfs_fs::edit::EditError;
use cfs_fs::store::StoreError;
use cfs_fs::tree::NodeError;

use crate::catalogue::CatalogueError;
use crate::createrepo::CreaterepoError;
use crate::depot::Depot;
use crate::refname::RefName;
use crate::sync::SyncError;

/// Why a compose was not made.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// There is nothing to bring up to date.
    #[error("{latest}: there is no compose yet")]
    NoLatest {
        /// The symbolic ref to the latest.
        latest: RefName,
    },
    /// There is nothing to go on with.
    #[error("{latest}: no full run is unfinished")]
    NothingUnfinished {
        /// The symbolic ref to the latest.
        latest: RefName,
    },
    /// Somebody else is at work on it.
    #[error("{name}: another run gathers or finishes it just now")]
    Busy {
        /// The compose.
        name: RefName,
    },
    /// The compose never changes again.
    #[error("{name}: is {status} and never changes")]
    Sealed {
        /// The compose.
        name: RefName,
        /// Its status.
        status: crate::productmd::status::Status,
    },
    /// Its packages stand elsewhere than they would be put now.
    #[error("{place}: was gathered {} hashed directories", if *is_hashed { "with" } else { "without" })]
    Hashed {
        /// The tree.
        place: crate::revision::RefPath,
        /// How it was gathered.
        is_hashed: bool,
    },
    /// Something of it failed and was not made good since.
    #[error("{place}: is not whole: {reason}")]
    NotWhole {
        /// What failed.
        place: crate::revision::RefPath,
        /// Why.
        reason: String,
    },
    /// A package or an image is not what its name says.
    #[error("{path}: {reason}")]
    Package {
        /// Where it is, below `compose/`.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of checksums says what is not so, or says it in no form that such files have.
    #[error("{path}: line {line}: {reason}")]
    Checksum {
        /// The file, from the top of the compose.
        path: String,
        /// Which of its lines.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A file from outside cannot be had.
    #[error("{url}: cannot be had: {reason}")]
    ExtraFile {
        /// Where it should be.
        url: String,
        /// Why not.
        reason: String,
    },
    /// What packages say cannot be read, or the groups of some cannot be put into metadata.
    #[error(transparent)]
    Packages(#[from] CreaterepoError),
    /// Gathering failed as a whole.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// A tree cannot be put at its path.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

impl From<NodeError> for ComposeError {
    fn from(error: NodeError) -> Self {
        Self::Catalogue(error.into())
    }
}

impl From<StoreError> for ComposeError {
    fn from(error: StoreError) -> Self {
        Self::Catalogue(error.into())
    }
}
