//! The files of a repository that nothing declares: `repomd.xml`, its signature, and the key that some
//! repositories put beside it.

use std::io::Write;

use cfs_fs::digest::BlobId;
use cfs_fs::name::TreePath;
use cfs_fs::store::StoreError;
use cfs_fs::store::lease::Lease;
use cfs_fs::store::publish::{Publisher, Ready};
use cfs_fs::tree::{Item, Kind, NodeError, resolve};

use super::fetch::{Document, FetchError, Fetcher};
use super::{Request, SyncError};
use crate::depot::Depot;
use crate::openpgp::{Fingerprint, Policy};
use crate::repodata::repomd::{self, Repomd};

const REPOMD: &str = "repodata/repomd.xml";
const SIGNATURE: &str = "repodata/repomd.xml.asc";
const KEY: &str = "repodata/repomd.xml.key";
/// All of them; a repository without the first is none.
pub(super) const PATHS: [&str; 3] = [REPOMD, SIGNATURE, KEY];
/// The most bytes that each may have.
const BYTES_MAX: u64 = 16 << 20;

/// The documents that a repository has.
#[derive(Debug)]
pub(super) struct Documents {
    repomd: Document,
    signature: Option<Document>,
    key: Option<Document>,
}

/// One of [`PATHS`] as a path.
pub(super) fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap_or_default()
}

impl Documents {
    /// Downloads what there is of them.
    pub(super) fn fetch(fetcher: &Fetcher, request: &Request) -> Result<Self, SyncError> {
        let address = &request.address;
        let get = |text: &str| {
            let found = fetcher.document(address, &path(text), BYTES_MAX);
            found.map_err(|source| SyncError::Document { url: address.describe(&path(text)), source })
        };
        // Object stores that let nobody list them answer 403 for what is not there.
        let get_unless_forbidden = |text: &str| match get(text) {
            Err(SyncError::Document { source: FetchError::Forbidden(_), .. }) => Ok(None),
            found => found,
        };
        let must_be_signed = request.keys.is_some() && !request.options.unsigned_metadata;
        let no_repository = || SyncError::NoRepository { url: address.describe(&path(REPOMD)) };
        Ok(Self {
            repomd: get(REPOMD)?.ok_or_else(no_repository)?,
            signature: if must_be_signed { get(SIGNATURE)? } else { get_unless_forbidden(SIGNATURE)? },
            key: get_unless_forbidden(KEY)?,
        })
    }

    /// What the repository's state hangs on.
    pub(super) fn repomd_blob(&self) -> BlobId {
        BlobId::of(&self.repomd.bytes)
    }

    fn all(&self) -> [(&'static str, Option<&Document>); 3] {
        [(REPOMD, Some(&self.repomd)), (SIGNATURE, self.signature.as_ref()), (KEY, self.key.as_ref())]
    }

    /// Whether the tree `old`, which was made of a repository with this repomd.xml, holds exactly these documents.
    /// Where something was put into its metadata when it was made, its repomd.xml and the signature are its own.
    pub(super) fn are_in(&self, depot: &Depot, old: &Item) -> Result<bool, NodeError> {
        let repomd = blob_at(depot, Some(old), REPOMD)?.map(|(blob, _)| blob);
        let is_its_own = |text: &str| text != KEY && repomd.is_some_and(|blob| blob != self.repomd_blob());
        for (text, document) in self.all().into_iter().filter(|(text, _)| !is_its_own(text)) {
            let found = blob_at(depot, Some(old), text)?.map(|(blob, _)| blob);
            if found != document.map(|document| BlobId::of(&document.bytes)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Checks the signature, when keys were given; returns the key that made it.
    pub(super) fn check_signature(
        &self,
        request: &Request,
        now: i64,
    ) -> Result<Option<Fingerprint>, SyncError> {
        let Some(keys) = &request.keys else { return Ok(None) };
        let Some(signature) = &self.signature else {
            let url = request.address.describe(&path(SIGNATURE));
            return if request.options.unsigned_metadata {
                Ok(None)
            } else {
                Err(SyncError::UnsignedMetadata { url })
            };
        };
        let policy = Policy { now, weak_hashes: request.options.weak_checksums, expired_since: false };
        match keys.verify_detached(&signature.bytes, &self.repomd.bytes, &policy) {
            Ok(key) => Ok(Some(key)),
            Err(source) => {
                Err(SyncError::MetadataSignature { url: request.address.describe(&path(REPOMD)), source })
            }
        }
    }

    /// Reads the list of metadata files.
    pub(super) fn parse(&self, request: &Request) -> Result<Repomd, SyncError> {
        repomd::parse(&self.repomd.bytes[..])
            .map_err(|source| SyncError::Metadata { url: request.address.describe(&path(REPOMD)), source })
    }

    /// The time of repomd.xml: as the server says, or as the repository itself does, or as it was in the old
    /// tree, or the present.
    pub(super) fn time(
        &self,
        repomd: &Repomd,
        depot: &Depot,
        old: Option<&Item>,
        now: i64,
    ) -> Result<i64, NodeError> {
        if let Some(time) = self.repomd.modified.or_else(|| repomd.revision_time()) {
            return Ok(time);
        }
        let before = blob_at(depot, old, REPOMD)?.filter(|(blob, _)| *blob == self.repomd_blob());
        Ok(before.map_or(now, |(_, mtime)| mtime))
    }

    /// Hands the documents to `publisher`; returns where they stand. One whose time is not known gets `time`.
    pub(super) fn publish(
        &self,
        lease: &Lease,
        publisher: &mut Publisher<'_, ()>,
        time: i64,
    ) -> Result<Vec<(TreePath, Item)>, StoreError> {
        let mut items = Vec::new();
        for (text, document) in self.all() {
            let Some(document) = document else { continue };
            let (mut file, temporary) = lease.temporary()?;
            file.write_all(&document.bytes).map_err(|source| StoreError::Io {
                verb: "write",
                path: temporary.clone(),
                source,
            })?;
            let (blob, size_bytes) = (BlobId::of(&document.bytes), document.bytes.len() as u64);
            publisher.add(Ready { id: blob, size_bytes, tag: (), file: Some(temporary) })?;
            let kind = Kind::File { blob, size_bytes, executable: false };
            items.push((path(text), Item { mtime: document.modified.unwrap_or(time), kind }));
        }
        Ok(items)
    }
}

/// The blob of the file at `text` in a tree, and its time.
fn blob_at(depot: &Depot, tree: Option<&Item>, text: &str) -> Result<Option<(BlobId, i64)>, NodeError> {
    let Some(tree) = tree else { return Ok(None) };
    match resolve(&depot.catalogue, tree, &path(text))? {
        Some(Item { mtime, kind: Kind::File { blob, .. } }) => Ok(Some((blob, mtime))),
        _ => Ok(None),
    }
}
