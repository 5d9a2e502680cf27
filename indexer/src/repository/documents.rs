//! All repositories at and below a place in a tree, and what their metadata files hold.
//!
//! Always true: a repository is a directory with `repodata/repomd.xml`; nothing is looked for below one; which
//! file is which, only repomd.xml says.

use std::io::{BufRead, BufReader};

use cfs_fs::digest::BlobId;
use cfs_fs::store::StoreError;
use cfs_fs::tree::{Dir, Item, Kind, NodeError, Nodes, lookup, read_dir, resolve};

use super::{REPOMD, REPOMD_BYTES_MAX};
use crate::depot::Depot;
use crate::repodata::repomd::{self, Record, Repomd};
use crate::repodata::{RepodataError, compression};

/// Bytes of a metadata file uncompressed; Fedora's largest has about 1 GB.
const DOCUMENT_BYTES_MAX: u64 = 8 << 30;

/// A repository.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Where it is below the place that was searched; empty when it is the place itself.
    pub path: String,
    /// Its directory.
    pub dir: Dir,
    /// Its metadata files.
    pub repomd: Repomd,
}

/// Why a repository cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// A metadata file is missing, is no file, or too large.
    #[error("{path}: {reason}")]
    File {
        /// Below the place that was searched.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A metadata file cannot be understood.
    #[error("{path}")]
    Document {
        /// Below the place that was searched.
        path: String,
        /// What is wrong with it.
        source: Box<RepodataError>,
    },
    /// A directory cannot be read.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Content cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The repositories at and below a directory, sorted by path.
pub fn find(depot: &Depot, nodes: &impl Nodes, top: Dir) -> Result<Vec<Repository>, RepositoryError> {
    let mut found = Vec::new();
    search(depot, nodes, top, "", &mut found)?;
    Ok(found)
}

fn search(
    depot: &Depot,
    nodes: &impl Nodes,
    dir: Dir,
    path: &str,
    found: &mut Vec<Repository>,
) -> Result<(), RepositoryError> {
    if let Some(repository) = open(depot, nodes, dir, path)? {
        found.push(repository);
        return Ok(());
    }
    for entry in read_dir(nodes, dir.id)? {
        if let Kind::Dir(below) = entry.item.kind {
            search(depot, nodes, below, &join(path, entry.name.as_str()), found)?;
        }
    }
    Ok(())
}

/// The repository in a directory, which stands at `path`; `None` when it is none.
pub fn open(
    depot: &Depot,
    nodes: &impl Nodes,
    dir: Dir,
    path: &str,
) -> Result<Option<Repository>, RepositoryError> {
    let Some(Item { kind: Kind::Dir(repodata), .. }) = lookup(nodes, dir.id, "repodata")? else {
        return Ok(None);
    };
    let Some(item) = lookup(nodes, repodata.id, "repomd.xml")? else { return Ok(None) };
    let name = join(path, REPOMD);
    let refused = |reason| RepositoryError::File { path: name.clone(), reason };
    let Kind::File { blob, size_bytes, .. } = item.kind else { return Err(refused("is not a file")) };
    if size_bytes > REPOMD_BYTES_MAX {
        return Err(refused("is larger than any repomd.xml"));
    }
    let bytes = depot.store.read_blob(blob)?;
    let repomd = repomd::parse(&bytes[..])
        .map_err(|source| RepositoryError::Document { path: name.clone(), source: Box::new(source) })?;
    Ok(Some(Repository { path: path.to_owned(), dir, repomd }))
}

impl Repository {
    /// The metadata file of type `kind`, if repomd.xml lists one.
    pub fn document<'r>(
        &'r self,
        nodes: &impl Nodes,
        kind: &str,
    ) -> Result<Option<Document<'r>>, RepositoryError> {
        let Some(record) = self.repomd.record(kind) else { return Ok(None) };
        let path = join(&self.path, record.location.as_str());
        let top = Item { mtime: 0, kind: Kind::Dir(self.dir) };
        match resolve(nodes, &top, &record.location)?.map(|item| item.kind) {
            Some(Kind::File { blob, .. }) => Ok(Some(Document { record, blob, path })),
            _ => Err(RepositoryError::File { path, reason: "is missing" }),
        }
    }

    /// The list of packages, which every repository has.
    pub fn primary<'r>(&'r self, nodes: &impl Nodes) -> Result<Document<'r>, RepositoryError> {
        let missing =
            || RepositoryError::File { path: join(&self.path, REPOMD), reason: "lists no primary metadata" };
        self.document(nodes, "primary")?.ok_or_else(missing)
    }
}

/// A metadata file of a repository.
#[derive(Debug, Clone)]
pub struct Document<'r> {
    record: &'r Record,
    /// Its content.
    pub blob: BlobId,
    /// Where it is, below the place that was searched.
    pub path: String,
}

impl Document<'_> {
    /// Lets `read` have the document uncompressed.
    pub fn read<T>(
        &self,
        depot: &Depot,
        read: impl FnOnce(&mut (dyn BufRead + Send)) -> Result<T, RepodataError>,
    ) -> Result<T, RepositoryError> {
        let file = BufReader::with_capacity(1 << 16, depot.store.open_blob(self.blob)?);
        let limit_bytes = self.record.open_size_bytes.unwrap_or(DOCUMENT_BYTES_MAX).min(DOCUMENT_BYTES_MAX);
        let plain = compression::reader(file, limit_bytes).map_err(RepodataError::Read);
        plain
            .and_then(|mut plain| read(&mut plain))
            .map_err(|source| RepositoryError::Document { path: self.path.clone(), source: Box::new(source) })
    }
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}
