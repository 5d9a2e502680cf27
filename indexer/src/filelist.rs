//! File lists: what mirrors read instead of walking a tree (`docs/format.md`, "File lists").
//!
//! A directory of a view has a `fullfiletimelist-<name>` with a line for everything below it, a
//! `fullfilelist` and an `imagelist-<name>`; they are files of the snapshot that they describe. [`published`]
//! puts them there, [`history`] tells a list of any snapshot.
//!
//! Always true: the bytes of a list are a function of two trees, their modes, the list before and one time; lines stand
//! in byte order of their paths, so a list is its own index; making a list from the one before it costs what
//! changed, and copying what did not.

use cfs_fs::store::StoreError;
use cfs_fs::tree::{Item, Kind, NodeError};

use crate::catalogue::CatalogueError;

mod change;
pub mod history;
mod line;
pub mod modes;
pub mod probe;
pub mod published;
mod scan;
mod splice;
mod symlink;
mod write;

pub use modes::Modes;
pub use write::Format;

/// Why a list cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum FilelistError {
    /// A list that is there already is not as cfs writes lists.
    #[error("file list {name}: {reason}")]
    Damaged {
        /// The list.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A list cannot be read or written.
    #[error("file list {name}: cannot {verb}")]
    Io {
        /// What was being done.
        verb: &'static str,
        /// The list.
        name: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A node of a tree cannot be had.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A blob cannot be had, or cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// One state of a snapshot: its top directory, and the modes that are not as usual.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// The top directory.
    pub root: &'a Item,
    /// Permissions.
    pub modes: &'a Modes,
}

/// Names that no list shows, at any depth: what rsync and NFS leave about.
fn is_skipped(name: &str) -> bool {
    name == ".~tmp~" || name.starts_with(".nfs")
}

/// Whether mirrors want a checksum of the file at `path`.
fn is_repomd(path: &str, item: &Item) -> bool {
    matches!(item.kind, Kind::File { .. }) && (path == "repomd.xml" || path.ends_with("/repomd.xml"))
}

#[cfg(test)]
mod tests;
