//! What stands in a repository, compared with what its metadata says of it.
//!
//! Checksums are looked up in the catalogue; content whose checksum nobody has computed yet is read once, and
//! remembered.

use std::ops::ControlFlow;

use cfs_fs::digest::BlobId;
use cfs_fs::tree::{Dir, Item, Kind, Nodes, resolve};

use super::{Line, path_of};
use crate::catalogue::CatalogueError;
use crate::checksum::Checksum;
use crate::depot::Depot;
use crate::repodata::repomd::Repomd;
use crate::spread::spread;

/// Files that should be there, compared with what is.
pub(crate) struct Contents<'a> {
    depot: &'a Depot,
    nodes: &'a dyn Nodes,
    /// The directory that they are in.
    dir: Dir,
    /// What is not so.
    pub(crate) findings: Vec<String>,
    /// Files whose checksum nobody has computed yet.
    unread: Vec<(String, BlobId, u64, Checksum)>,
}

impl<'a> Contents<'a> {
    /// Those of a directory.
    pub(crate) fn new(depot: &'a Depot, nodes: &'a dyn Nodes, dir: Dir) -> Self {
        Self { depot, nodes, dir, findings: Vec::new(), unread: Vec::new() }
    }

    /// Compares what a repomd.xml lists.
    pub(crate) fn listed(&mut self, repomd: &Repomd) -> Result<(), CatalogueError> {
        let mut records = repomd.records.iter();
        records
            .try_for_each(|record| self.file(record.location.as_str(), record.size_bytes, &record.checksum))
    }

    /// Compares a package that primary metadata lists.
    pub(crate) fn package(&mut self, line: &Line<'_>) -> Result<(), CatalogueError> {
        match line.checksum.parse() {
            Ok(checksum) => self.file(line.location, Some(line.size_bytes), &checksum),
            Err(_) => Ok(()),
        }
    }

    /// Compares one file with what is said of it.
    pub(crate) fn file(
        &mut self,
        path: &str,
        size_bytes: Option<u64>,
        checksum: &Checksum,
    ) -> Result<(), CatalogueError> {
        let top = Item { mtime: 0, kind: Kind::Dir(self.dir) };
        let found = match path_of(path) {
            Some(path) => resolve(self.nodes, &top, &path)?,
            None => None,
        };
        let Some(Item { kind: Kind::File { blob, size_bytes: has_bytes, .. }, .. }) = found else {
            self.findings.push(format!("{path}: is missing"));
            return Ok(());
        };
        if let Some(size_bytes) = size_bytes.filter(|size_bytes| *size_bytes != has_bytes) {
            self.findings.push(format!("{path}: has {has_bytes} bytes, not {size_bytes}"));
            return Ok(());
        }
        match self.depot.catalogue.blob_by_checksum(checksum)? {
            Some((known, _)) if known == blob => {}
            Some(_) => self.findings.push(format!("{path}: has another content than {checksum}")),
            None => self.unread.push((path.to_owned(), blob, has_bytes, *checksum)),
        }
        Ok(())
    }

    /// Computes the checksums that nobody has computed yet, and remembers them.
    pub(crate) fn read_the_unread(&mut self) -> Result<(), CatalogueError> {
        let work = |(_, blob, _, wanted): &(String, BlobId, u64, Checksum)| {
            self.depot.compute_checksum(*blob, wanted.algorithm())
        };
        let mut found = Vec::new();
        let mut failed = None;
        spread(&self.unread, work, &mut |number, outcome| match outcome {
            Ok(checksum) => {
                found.push((number, checksum));
                ControlFlow::Continue(())
            }
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        found.sort_unstable_by_key(|(number, _)| *number);
        for (number, checksum) in &found {
            let (path, _, _, wanted) = &self.unread[*number];
            if checksum != wanted {
                self.findings.push(format!("{path}: has another content than {wanted}"));
            }
        }
        let strong = found.iter().filter(|(_, checksum)| checksum.algorithm().is_strong());
        let rows = strong.map(|(number, checksum)| {
            let (_, blob, size_bytes, _) = &self.unread[*number];
            (*blob, *size_bytes, std::slice::from_ref(checksum))
        });
        self.depot.catalogue.record_stored(&self.depot.store, rows)?;
        self.unread.clear();
        Ok(())
    }
}
