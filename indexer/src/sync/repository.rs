//! One repository on its way into the store: what its upstream says, and what that asks for.
//!
//! Always true: nothing is known of a repository but from its own documents, and nothing of it is believed
//! before the signature of its metadata was checked, where keys were given.

use std::io::BufReader;

use cfs_fs::digest::BlobId;
use cfs_fs::tree::{Item, Kind};

use super::documents::{self, Documents};
use super::fetch::Fetcher;
use super::gather::Gathering;
use super::plan::{self, Wanted};
use super::{Request, SyncError, item_at, policy};
use crate::catalogue::Upstream;
use crate::depot::Depot;
use crate::openpgp::Fingerprint;
use crate::repodata::primary::Packages;
use crate::repodata::repomd::{self, Repomd};
use crate::repodata::{RepodataError, compression, restamp};
use crate::revision::RefPath;

/// A repository whose metadata list is known.
#[derive(Debug)]
pub(super) struct Repository<'a> {
    pub(super) request: &'a Request,
    pub(super) documents: Documents,
    pub(super) repomd: Repomd,
    /// The key that signed the metadata.
    pub(super) key: Option<Fingerprint>,
    /// The time of what has none.
    pub(super) time: i64,
    /// A tree that is probably much the same.
    pub(super) old: Option<Item>,
    /// Whether the packages of `old` passed the checks that are asked for.
    pub(super) old_is_checked: bool,
    pub(super) metadata: Vec<Wanted>,
    pub(super) packages: Vec<Wanted>,
    /// What identifies packages of which there are several that differ.
    pub(super) duplicates: Vec<String>,
}

/// What the upstream has.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// The same as last time.
    Same {
        tree: Item,
        /// Whether it stands at the target.
        in_place: bool,
    },
    /// Something that is to be gathered.
    New(Box<Repository<'a>>),
}

/// Asks the upstream what it has.
pub(super) fn find<'a>(
    depot: &Depot,
    fetcher: &Fetcher,
    request: &'a Request,
    now: i64,
) -> Result<Found<'a>, SyncError> {
    let documents = Documents::fetch(fetcher, request)?;
    let before = before(depot, request)?;
    if let Some(Before { tree, repomd: Some(repomd), in_place }) = &before
        && *repomd == documents.repomd_blob()
        && documents.are_in(depot, tree)?
    {
        return Ok(Found::Same { tree: tree.clone(), in_place: *in_place });
    }
    let key = documents.check_signature(request, now)?;
    let repomd = documents.parse(request)?;
    refuse_older(depot, request, &repomd)?;
    let old_is_checked = before.as_ref().is_some_and(|before| before.repomd.is_some());
    let old = before.map(|before| before.tree);
    let time = documents.time(&repomd, depot, old.as_ref(), now)?;
    let metadata = plan::metadata(request, &repomd, time)?;
    let packages = Vec::new();
    Ok(Found::New(Box::new(Repository {
        request,
        documents,
        repomd,
        key,
        time,
        old,
        old_is_checked,
        metadata,
        packages,
        duplicates: Vec::new(),
    })))
}

/// Refuses what is older than what was synced last from the same address, to the target or to its like.
fn refuse_older(depot: &Depot, request: &Request, offered: &Repomd) -> Result<(), SyncError> {
    if request.options.older {
        return Ok(());
    }
    for place in [Some(&request.target), request.like.as_ref()].into_iter().flatten() {
        let Some(last) = depot.catalogue.upstream(place)? else { continue };
        if last.url != request.address.to_string() {
            continue;
        }
        let Some(synced) = synced(depot, place, &last)? else { continue };
        if restamp::is_older(offered, &synced) {
            return Err(SyncError::Older {
                url: request.address.describe(&documents::path(documents::PATHS[0])),
                offered: restamp::age(offered),
                synced: restamp::age(&synced),
            });
        }
    }
    Ok(())
}

/// What the upstream said that was synced last. What was collected since tells nothing; where something was put
/// into its metadata, the list of packages is still the upstream's.
fn synced(depot: &Depot, place: &RefPath, last: &Upstream) -> Result<Option<Repomd>, SyncError> {
    let bytes = depot.store.read_blob(last.repomd).unwrap_or_default();
    if let Ok(synced) = repomd::parse(&bytes[..]) {
        return Ok(Some(synced));
    }
    let current = depot.catalogue.current(&place.name)?;
    let Some(Item { kind: Kind::Dir(dir), .. }) = item_at(depot, current.as_ref(), &place.path)? else {
        return Ok(None);
    };
    let Some(Ok(mut own)) = crate::repository::repomd(depot, &depot.catalogue, dir)? else { return Ok(None) };
    own.revision = None;
    own.records.retain(|record| record.kind == "primary");
    Ok(Some(own).filter(|_| dir.id == last.tree))
}

/// A tree that an earlier sync may have made.
struct Before {
    tree: Item,
    /// The repomd.xml of the complete sync that made it, when no less was demanded of that one.
    repomd: Option<BlobId>,
    /// Whether it stands at the target.
    in_place: bool,
}

/// What stands at the target; or else, for a new one, where the request says that its like is.
fn before(depot: &Depot, request: &Request) -> Result<Option<Before>, SyncError> {
    let places = [(Some(&request.target), true), (request.like.as_ref(), false)];
    for (place, in_place) in places {
        let Some(place) = place else { continue };
        let current = depot.catalogue.current(&place.name)?;
        let Some(tree) = item_at(depot, current.as_ref(), &place.path)? else { continue };
        let last = match tree.kind {
            Kind::Dir(dir) => depot.catalogue.upstream(place)?.filter(|last| last.tree == dir.id),
            _ => None,
        };
        let last = last.filter(|last| last.policy == policy(request));
        return Ok(Some(Before { tree, repomd: last.map(|last| last.repomd), in_place }));
    }
    Ok(None)
}

impl Repository<'_> {
    /// Reads the packages that the gathered primary metadata lists.
    pub(super) fn list_packages(&mut self, gathering: &Gathering<'_>) -> Result<(), SyncError> {
        let address = &self.request.address;
        let url = || address.describe(&documents::path(documents::PATHS[0]));
        let record = self.repomd.record("primary").ok_or_else(|| SyncError::NoPrimary { url: url() })?;
        let (blob, _) =
            gathering.blob_of(&record.checksum).ok_or_else(|| SyncError::NoPrimary { url: url() })?;
        let cap_bytes = self.request.options.metadata_cap_bytes;
        let limit_bytes = record.open_size_bytes.map_or(cap_bytes, |declared| declared.min(cap_bytes));
        let file = BufReader::with_capacity(1 << 16, gathering.depot.store.open_blob(blob)?);
        let plain = compression::reader(file, limit_bytes).map_err(|error| SyncError::Metadata {
            url: address.describe(&record.location),
            source: RepodataError::Read(error),
        })?;
        let listed = plan::packages(self.request, &record.location, Packages::new(plain), self.time)?;
        (self.packages, self.duplicates) = listed;
        plan::check_paths(self.request, self.files())
    }

    /// All its files but the documents.
    pub(super) fn files(&self) -> impl Iterator<Item = &Wanted> {
        self.metadata.iter().chain(&self.packages)
    }
}
