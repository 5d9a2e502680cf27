//! Getting single blobs again from the repositories that they came from.
//!
//! Always true: what comes into the store has the bytes that its name says, whatever the upstream has made of the
//! path since.

use std::collections::HashMap;
use std::io::Write;
use std::ops::ControlFlow;

use cfs_fs::digest::BlobId;
use cfs_fs::name::TreePath;
use cfs_fs::store::StoreError;
use cfs_fs::store::lease::Lease;
use cfs_fs::store::publish::{Publisher, Ready};
use cfs_fs::tree::{Dir, Kind, Sums};
use cfs_fs::walk::walk;

use super::fetch::{Event, Fetcher, Options, Order, Source};
use super::partial::PartialDir;
use crate::address::Address;
use crate::catalogue::{CatalogueError, Upstream};
use crate::checksum::Checksum;
use crate::depot::Depot;

/// The most bytes of a file of which no digest is known.
const DOCUMENT_BYTES_MAX: u64 = 64 << 20;

/// What is looked for: blobs with their sizes and, where one is known, a digest that upstreams use.
pub type Wanted = HashMap<BlobId, (u64, Option<Checksum>)>;

/// Looks for blobs where the catalogue says that they came from; those that were found are durable when it returns,
/// and are no more in `wanted`. An upstream that does not answer is passed over.
pub fn refetch(depot: &Depot, options: &Options, wanted: &mut Wanted) -> Result<(), CatalogueError> {
    let Ok(fetcher) = Fetcher::new(options.clone()) else { return Ok(()) };
    for upstream in depot.catalogue.upstreams()? {
        if wanted.is_empty() {
            return Ok(());
        }
        let Ok(address) = upstream.url.parse::<Address>() else { continue };
        let places = places(depot, &upstream, wanted);
        if !places.is_empty() {
            from(depot, &fetcher, address, places, wanted)?;
        }
    }
    Ok(())
}

/// Where the upstream had them.
fn places(depot: &Depot, upstream: &Upstream, wanted: &Wanted) -> Vec<(TreePath, BlobId)> {
    let mut found = HashMap::new();
    let top = Dir { id: upstream.tree, sums: Sums::default() };
    // What lies behind a node that is missing is not found.
    let _ = walk(&depot.catalogue, top, "", &mut |path, item| {
        if let Kind::File { blob, .. } = item.kind
            && wanted.contains_key(&blob)
            && let Ok(path) = TreePath::new(path)
        {
            found.entry(blob).or_insert(path);
        }
        Ok::<(), cfs_fs::tree::NodeError>(())
    });
    found.into_iter().map(|(blob, path)| (path, blob)).collect()
}

fn from(
    depot: &Depot,
    fetcher: &Fetcher,
    address: Address,
    places: Vec<(TreePath, BlobId)>,
    wanted: &mut Wanted,
) -> Result<(), CatalogueError> {
    let lease = Lease::take(&depot.store)?;
    let mut publisher = Publisher::new(&depot.store, Box::new(|_| Ok(())))?;
    let mut orders = Vec::new();
    for (path, blob) in places {
        let Some((size_bytes, checksum)) = wanted.get(&blob).copied() else { continue };
        match checksum {
            Some(checksum) => orders.push(Order {
                source: 0,
                path,
                checksum,
                size_bytes: Some(size_bytes),
                cap_bytes: size_bytes,
            }),
            None if size_bytes <= DOCUMENT_BYTES_MAX => {
                let found = fetcher.document(&address, &path, size_bytes.max(1));
                let Ok(Some(document)) = found else { continue };
                if BlobId::of(&document.bytes) != blob {
                    continue;
                }
                let (mut file, temporary) = lease.temporary()?;
                let written = file.write_all(&document.bytes);
                written.map_err(|source| StoreError::Io {
                    verb: "write",
                    path: temporary.clone(),
                    source,
                })?;
                publisher.add(Ready { id: blob, size_bytes, tag: (), file: Some(temporary) })?;
                wanted.remove(&blob);
            }
            None => {}
        }
    }
    if !orders.is_empty() {
        let partials = PartialDir::lock(&depot.store, &address, &mut || ())?;
        let mut failed = Ok(());
        let sources = fetcher.files(vec![Source { address, partials }], orders, &mut |event| {
            let Event::Done(_, Ok(arrived)) = event else { return ControlFlow::Continue(()) };
            let (id, size_bytes) = (arrived.hashed.blob, arrived.hashed.size_bytes);
            if wanted.remove(&id).is_some() {
                failed = publisher.add(Ready { id, size_bytes, tag: (), file: Some(arrived.file) });
            }
            if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        failed?;
        publisher.finish()?;
        sources.into_iter().for_each(|source| source.partials.remove());
        return Ok(());
    }
    Ok(publisher.finish()?)
}
