//! A store with its catalogue: what every verb works on.

use std::io::{self, BufReader, Write};
use std::path::Path;

use cfs_fs::digest::BlobId;
use cfs_fs::edit::{EditError, empty_dir, graft};
use cfs_fs::import::{Recall, Stamp};
use cfs_fs::name::TreePath;
use cfs_fs::store::lease::Lease;
use cfs_fs::store::publish::{Publisher, Ready, Record};
use cfs_fs::store::{Store, StoreError};
use cfs_fs::sweep;
use cfs_fs::tree::{Item, NodeMap, Stage};

use crate::catalogue::{Catalogue, CatalogueError, Checked, Current, Fragments, HostFiles};
use crate::checksum::{Algorithm, Checksum, Hashed, Hasher};

/// An open store and its open catalogue.
#[derive(Debug)]
pub struct Depot {
    /// The blobs.
    pub store: Store,
    /// What is known of them.
    pub catalogue: Catalogue,
}

impl Depot {
    /// Makes a new store with an empty catalogue in the directory `root`, absent or empty before.
    pub fn create(root: &Path) -> Result<Self, CatalogueError> {
        let catalogue = root.join("catalogue.db");
        let store = Store::create_with(root, |_| Catalogue::create(&catalogue).map(drop))?;
        Ok(Self { store, catalogue: Catalogue::open(&catalogue)? })
    }

    /// Opens the store in the directory `root`.
    pub fn open(root: &Path) -> Result<Self, CatalogueError> {
        let store = Store::open(root)?;
        let path = root.join("catalogue.db");
        if !path.exists() && !sweep::commits(&store)?.is_empty() {
            return Err(CatalogueError::Lost { path });
        }
        if !path.exists() {
            return Err(StoreError::NotAStore { path: root.to_owned() }.into());
        }
        Ok(Self { store, catalogue: Catalogue::open(&path)? })
    }

    /// Opens the cache of imported host files.
    pub fn host_files(&self) -> Result<HostFiles, CatalogueError> {
        HostFiles::open(&self.store.root().join("cache.db"))
    }

    /// Opens the cache of what was read out of packages.
    pub fn fragments(&self) -> Result<Fragments, CatalogueError> {
        Fragments::open(&self.store.root().join("cache.db"))
    }

    /// What an import asks of files that were read before, and tells of those that it has read: what it finds in
    /// the store is not collected as garbage before it is committed.
    pub fn reader<'a>(&'a self, files: &'a HostFiles) -> Reader<'a> {
        Reader { depot: self, files }
    }

    /// Removes from the cache what it says of blobs that are not there any more.
    pub fn forget_collected(&self) -> u64 {
        self.catalogue.forget_collected(&self.store.root().join("cache.db"))
    }

    /// Opens the memory of what has passed checks.
    pub fn checked(&self) -> Checked {
        Checked::open(&self.store.root().join("cache.db"))
    }
}

impl Depot {
    /// A checksum of a blob, computed from its bytes, which are those that its name says; a damaged blob is an error.
    pub(crate) fn compute_checksum(&self, id: BlobId, algorithm: Algorithm) -> Result<Checksum, StoreError> {
        let mut hasher = Hasher::new(algorithm);
        let failed = |source| StoreError::Io { verb: "read", path: self.store.blob_path(id), source };
        let mut file = BufReader::with_capacity(1 << 18, self.store.open_blob(id)?);
        io::copy(&mut file, &mut hasher).map_err(failed)?;
        let Hashed { blob: found, checksum, .. } = hasher.finish();
        if found == id { Ok(checksum) } else { Err(StoreError::Damaged { id, found }) }
    }

    /// Adds `bytes` to the store, durable when it returns; their blob and size.
    pub fn add_blob(&self, bytes: &[u8]) -> Result<(BlobId, u64), StoreError> {
        Ok(self.add_blobs(&[bytes])?[0])
    }

    /// Adds all of these to the store, durable when it returns; the blob and the size of each.
    pub fn add_blobs(&self, all: &[&[u8]]) -> Result<Vec<(BlobId, u64)>, StoreError> {
        let added: Vec<(BlobId, u64)> =
            all.iter().map(|bytes| (BlobId::of(bytes), bytes.len() as u64)).collect();
        let mut new: Vec<(BlobId, &[u8])> =
            added.iter().map(|(id, _)| *id).zip(all.iter().copied()).collect();
        new.sort_unstable_by_key(|(id, _)| *id);
        new.dedup_by_key(|(id, _)| *id);
        let ids: Vec<BlobId> = new.iter().map(|(id, _)| *id).collect();
        self.catalogue.revive(&self.store, &ids).map_err(|error| StoreError::Record(Box::new(error)))?;
        new.retain(|(id, bytes)| !self.store.has_blob(*id, bytes.len() as u64));
        if new.is_empty() {
            return Ok(added);
        }
        let lease = Lease::take(&self.store)?;
        let mut publisher = Publisher::new(&self.store, Box::new(|_| Ok(())))?;
        for (id, bytes) in new {
            let (mut file, path) = lease.temporary()?;
            let written = file.write_all(bytes);
            written.map_err(|source| StoreError::Io { verb: "write", path: path.clone(), source })?;
            publisher.add(Ready { id, size_bytes: bytes.len() as u64, tag: (), file: Some(path) })?;
        }
        publisher.finish()?;
        Ok(added)
    }
}

/// The cache of host files for one import into one store. Whoever uses it has a lease all the while.
#[derive(Debug)]
pub struct Reader<'a> {
    depot: &'a Depot,
    files: &'a HostFiles,
}

impl<'a> Reader<'a> {
    /// What an import tells of durable blobs.
    pub fn recorder(&self) -> Box<Record<'a, Option<Stamp>>> {
        let Self { depot, files } = *self;
        let mut remember = files.recorder();
        Box::new(move |batch: Vec<Ready<Option<Stamp>>>| {
            let blobs: Vec<BlobId> = batch.iter().map(|ready| ready.id).collect();
            depot.catalogue.revive(&depot.store, &blobs)?;
            remember(batch)
        })
    }
}

impl Recall for Reader<'_> {
    fn recall(&self, stamps: &[Stamp]) -> Vec<Option<BlobId>> {
        let recalled = self.files.recall(stamps);
        let blobs: Vec<BlobId> = recalled.iter().flatten().copied().collect();
        match self.depot.catalogue.revive(&self.depot.store, &blobs) {
            Ok(()) => recalled,
            // What may be gone soon is read again.
            Err(_) => vec![None; stamps.len()],
        }
    }
}

/// A new top directory with the nodes that may be new.
pub type Placed = (Item, NodeMap);

/// Puts `item` at `path` of what a ref names now (an empty directory for a new ref) and returns the new top
/// with the nodes that may be new; `nodes` are those of the item. `None` when nothing changes. `now` is in
/// seconds.
pub fn place(
    catalogue: &Catalogue,
    current: Option<&Current>,
    path: &TreePath,
    item: &Item,
    nodes: NodeMap,
    now: i64,
) -> Result<Option<Placed>, EditError> {
    let mut stage = Stage::new(catalogue);
    stage.adopt(nodes);
    let old = current.map(|current| current.snapshot.root_item());
    let base = match &old {
        Some(root) => root.clone(),
        None => empty_dir(&mut stage, now),
    };
    let new = graft(&mut stage, &base, path, item.clone(), now)?;
    Ok((old.as_ref() != Some(&new)).then(|| (new, stage.into_new_nodes())))
}
