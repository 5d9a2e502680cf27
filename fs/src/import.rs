//! From a host directory to a tree.
//!
//! Three steps: `scan` lists the directory without reading a file, `read_files` hashes what is not known yet
//! into the store with several threads, and the tree is built from the results.
//!
//! Always true: a tree comes out only when everything in the directory could be taken; a file that changes
//! while it is read is read again; the host directory is never written to.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::BlobId;
use crate::store::publish::Record;
use crate::store::{Store, StoreError};
use crate::tree::{Entry, Item, Kind, NodeMap, Stage};

pub(crate) mod read;
pub(crate) mod scan;

pub use scan::symlink_target;
use scan::{HostDir, HostItem};

/// What tells that a host file is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Device number of its file system.
    pub device: u64,
    /// Inode number there.
    pub inode: u64,
    /// Length.
    pub size_bytes: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Status change time, nanoseconds since 1970.
    pub ctime_ns: i64,
}

/// Remembers the content of files read before.
pub trait Recall {
    /// Returns for each stamp the content of the file that looked exactly so, if there was one.
    fn recall(&self, stamps: &[Stamp]) -> Vec<Option<BlobId>>;
}

/// Remembers nothing.
impl Recall for () {
    fn recall(&self, stamps: &[Stamp]) -> Vec<Option<BlobId>> {
        vec![None; stamps.len()]
    }
}

/// How an import goes about it.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Threads that read and hash.
    pub threads: usize,
    /// When the import began, nanoseconds since 1970: files changed shortly before it are not remembered,
    /// since a further change might leave the same times.
    pub started_ns: i64,
}

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Files in the directory.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files whose content is known by now.
    pub files_done: u64,
    /// Their bytes.
    pub bytes_done: u64,
    /// Files that were read; the others looked as they did before, or are another's hard link.
    pub files_read: u64,
    /// Bytes that were new to the store.
    pub bytes_new: u64,
}

/// A finished import.
#[derive(Debug)]
pub struct Imported {
    /// The top directory.
    pub root: Item,
    /// The nodes of the tree.
    pub nodes: NodeMap,
    /// What was done.
    pub progress: Progress,
}

/// Something in the host directory that cannot enter a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Where it is.
    pub path: PathBuf,
    /// Why it cannot.
    pub reason: String,
}

/// Why an import failed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The directory holds what a tree cannot.
    #[error("{dir}: {} entries cannot enter a tree", refusals.len())]
    Refused {
        /// The imported directory.
        dir: PathBuf,
        /// All of them.
        refusals: Vec<Refusal>,
    },
    /// A host file or directory cannot be read.
    #[error("{path}: cannot {verb}")]
    Io {
        /// What was being done.
        verb: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A file did not hold still.
    #[error("{path}: changes while it is being read")]
    Changing {
        /// The file.
        path: PathBuf,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes the directory `dir` into `store` and returns its tree. What `recall` knows is not read, nor is it looked
/// for in the store: whoever commits the tree checks that its blobs are there. `record` is told of durable blobs, with the
/// stamps to remember them by; `progress` is called now and then.
pub fn import(
    store: &Store,
    dir: &Path,
    options: Options,
    recall: &dyn Recall,
    record: Box<Record<'_, Option<Stamp>>>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Imported, ImportError> {
    let mut scan = scan::scan(dir, options.threads)?;
    let progress = read::read_files(store, &mut scan.files, options, recall, record, progress)?;
    let nothing = NodeMap::new();
    let mut stage = Stage::new(&nothing);
    let root = write_dir(&mut stage, scan.root, &scan.files);
    Ok(Imported { root, nodes: stage.into_new_nodes(), progress })
}

fn write_dir(stage: &mut Stage<'_>, dir: HostDir, files: &[scan::HostFile]) -> Item {
    let entries: Vec<Entry> = dir
        .entries
        .into_iter()
        .map(|(name, item)| {
            let item = match item {
                HostItem::File(index) => files[index].item(),
                HostItem::Symlink { mtime, target } => Item { mtime, kind: Kind::Symlink { target } },
                HostItem::Dir(below) => write_dir(stage, below, files),
            };
            Entry { name, item }
        })
        .collect();
    Item { mtime: dir.mtime, kind: Kind::Dir(stage.write_dir(&entries)) }
}

#[cfg(test)]
mod tests;
