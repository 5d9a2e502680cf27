//! `repodata build` and `repodata inject`: the metadata of a repository from what is known of its packages; and
//! `packages`: what that is.
//!
//! Always true: a package is read once, its headers only where its digest is known, and never again; the same
//! packages at the same paths with the same options give the same bytes, and what is as it should be moves no
//! ref; no clock is looked at by a build. What stands at the path is replaced in one flip: nobody sees packages
//! without metadata.

use std::io;
use std::ops::ControlFlow;

use cfs_fs::edit::EditError;
use cfs_fs::store::StoreError;
use cfs_fs::tree::NodeError;

use crate::catalogue::{CatalogueError, RefUpdate};
use crate::hooks::HookError;
use crate::promote::PromoteError;
use crate::repodata::RepodataError;
use crate::revision::RevPath;

mod amend;
mod build;
mod documents;
mod extra;
mod inject;
mod inventory;
mod packages;
mod place;

pub use amend::Amendment;
pub use build::{Options, Request, build, plan};
pub use extra::{Extra, KINDS};
pub use inject::{Injection, inject, plan as plan_injection};
pub use inventory::{Inventory, Member, inventory};
pub use place::Signature;

/// Why metadata is not made. The ref is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CreaterepoError {
    /// There is no directory at the place.
    #[error("{place}: there is no such directory")]
    NotADirectory {
        /// The place.
        place: RevPath,
    },
    /// There is no metadata to change.
    #[error("{place}: there is no repodata/repomd.xml")]
    NoRepomd {
        /// The place.
        place: RevPath,
    },
    /// The present repomd.xml cannot be used.
    #[error("{place}: repodata/repomd.xml cannot be used")]
    Repomd {
        /// The place.
        place: RevPath,
        /// What is wrong with it.
        source: RepodataError,
    },
    /// The present repomd.xml says what would be lost.
    #[error("{place}: repodata/repomd.xml holds elements that would be lost: {}", names.join(", "))]
    Unknown {
        /// The place.
        place: RevPath,
        /// Their names.
        names: Vec<String>,
    },
    /// Packages cannot be published.
    #[error("{place}: {} packages cannot be published", broken.len())]
    Broken {
        /// The place.
        place: RevPath,
        /// All of them.
        broken: Vec<Broken>,
    },
    /// A file that was given is something else.
    #[error("{name}: is no {kind} metadata: {reason}")]
    NotThat {
        /// The file.
        name: String,
        /// What it should be.
        kind: String,
        /// Why it is not.
        reason: String,
    },
    /// Compressing failed.
    #[error("{document}: cannot be compressed")]
    Compress {
        /// The document.
        document: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A repomd.xml cannot be signed.
    #[error("{place}: repodata/repomd.xml cannot be signed")]
    Sign {
        /// The place.
        place: RevPath,
        /// Why not.
        source: HookError,
    },
    /// It was stopped.
    #[error("{place}: was stopped")]
    Stopped {
        /// The place.
        place: RevPath,
    },
    /// The view cannot get its new state.
    #[error(transparent)]
    Promote(#[from] PromoteError),
}

impl From<CatalogueError> for CreaterepoError {
    fn from(error: CatalogueError) -> Self {
        Self::Promote(error.into())
    }
}

impl From<NodeError> for CreaterepoError {
    fn from(error: NodeError) -> Self {
        Self::Promote(error.into())
    }
}

impl From<StoreError> for CreaterepoError {
    fn from(error: StoreError) -> Self {
        Self::Promote(error.into())
    }
}

impl From<EditError> for CreaterepoError {
    fn from(error: EditError) -> Self {
        Self::Promote(error.into())
    }
}

/// A package that cannot be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Where it is below the repository.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// How far a build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Packages that must be read.
    pub packages: u64,
    /// Packages that were read.
    pub packages_done: u64,
}

/// Is told how far a build is, and stops it by breaking: what was read by then is kept.
pub type OnProgress<'a> = dyn FnMut(&Progress) -> ControlFlow<()> + 'a;

/// A metadata file of the new repomd.xml.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The type of its record.
    pub kind: String,
    /// Where it is below the repository.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its size uncompressed, where it is known.
    pub open_size_bytes: Option<u64>,
}

/// What was done.
#[derive(Debug)]
pub struct Report {
    /// Packages that the metadata lists.
    pub packages: u64,
    /// Packages that had to be read.
    pub packages_read: u64,
    /// Packages that were left out.
    pub broken: Vec<Broken>,
    /// Packages of which there are several files under one name, version, release and architecture.
    pub duplicates: Vec<String>,
    /// The metadata files.
    pub files: Vec<Listed>,
    /// Types of records that were taken over from the metadata before.
    pub carried: Vec<String>,
    /// The revision of the new repomd.xml.
    pub revision: String,
    /// What became of the signature.
    pub signature: Signature,
    /// Whether anything is another than before.
    pub changed: bool,
    /// The ref's move; `None` when nothing changed, and for a plan.
    pub update: Option<RefUpdate>,
}
