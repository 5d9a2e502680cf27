//! Bringing files into the store, from wherever they are had cheapest.
//!
//! In this order: a file whose checksum the catalogue knows is there already; one that an old tree has at the
//! same path with the same size is hashed; the rest is downloaded, each distinct file once, from the next
//! upstream that has it when the first one fails. Always true: a failure leaves what was gathered in the store
//! and recorded, so that the next run finds it.

use std::collections::{BTreeMap, HashMap};

use cfs_fs::digest::BlobId;
use cfs_fs::store::StoreError;
use cfs_fs::store::publish::{Publisher, Ready};
use cfs_fs::tree::{Item, Kind, resolve};

use super::fetch::{Event, Fetcher, Order, Source};
use super::harvest::go_on;
use super::partial::PartialDir;
use super::plan::Wanted;
use super::{Failure, OnProgress, Phase, Progress, Request, SyncError};
use crate::address::Address;
use crate::catalogue::CatalogueError;
use crate::checksum::Checksum;
use crate::depot::Depot;
use crate::repository::with_causes;
use crate::spread::spread;

/// A file that a repository wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'r> {
    pub(super) request: &'r Request,
    /// A tree that may have it at the same path.
    pub(super) old: Option<&'r Item>,
    pub(super) wanted: &'r Wanted,
}

/// Everybody who wants a file of one checksum.
type Wanters<'r> = Vec<Piece<'r>>;

/// What has been gathered so far.
#[derive(Debug)]
pub(super) struct Gathering<'a> {
    pub(super) depot: &'a Depot,
    fetcher: &'a Fetcher,
    blobs: HashMap<Checksum, (BlobId, u64)>,
    /// Why files could not be had.
    failures: HashMap<Checksum, String>,
    /// Files that were downloaded.
    pub(super) fetched_files: u64,
    /// Bytes that were received for them.
    pub(super) fetched_bytes: u64,
}

impl<'a> Gathering<'a> {
    /// Nothing yet.
    pub(super) fn new(depot: &'a Depot, fetcher: &'a Fetcher) -> Self {
        let (blobs, failures) = (HashMap::new(), HashMap::new());
        Self { depot, fetcher, blobs, failures, fetched_files: 0, fetched_bytes: 0 }
    }

    /// The blob of a gathered file, and its size.
    pub(super) fn blob_of(&self, checksum: &Checksum) -> Option<(BlobId, u64)> {
        self.blobs.get(checksum).copied()
    }

    /// A gathered file as it stands in a tree.
    pub(super) fn item(&self, wanted: &Wanted) -> Result<Item, SyncError> {
        let lost = || CatalogueError::Damaged { what: format!("{} was not gathered", wanted.path) };
        let (blob, size_bytes) = self.blob_of(&wanted.checksum).ok_or_else(lost)?;
        Ok(Item { mtime: wanted.mtime, kind: Kind::File { blob, size_bytes, executable: false } })
    }

    /// Fails when files of a repository could not be had.
    pub(super) fn check<'w>(
        &self,
        request: &Request,
        files: impl Iterator<Item = &'w Wanted>,
    ) -> Result<(), SyncError> {
        let missing = files.filter(|wanted| !self.blobs.contains_key(&wanted.checksum));
        let failure = |wanted: &Wanted| Failure {
            url: request.address.describe(&wanted.path),
            reason: self.failures.get(&wanted.checksum).cloned().unwrap_or_else(|| "was not tried".into()),
        };
        let mut failures: Vec<Failure> = missing.map(failure).collect();
        failures.sort_unstable_by(|a, b| a.url.cmp(&b.url));
        let address = request.address.to_string();
        if failures.is_empty() { Ok(()) } else { Err(SyncError::Failed { address, failures }) }
    }

    /// Gathers all `pieces`. Files that cannot be had are kept in mind for [`Gathering::check`].
    pub(super) fn gather(
        &mut self,
        phase: Phase,
        pieces: &[Piece<'_>],
        progress: &mut OnProgress<'_>,
    ) -> Result<(), SyncError> {
        let mut missing: Vec<Wanters<'_>> = Vec::new();
        let mut numbers: HashMap<Checksum, Option<usize>> = HashMap::new();
        for piece in pieces {
            let checksum = piece.wanted.checksum;
            match numbers.get(&checksum) {
                Some(None) => {}
                Some(Some(number)) => missing[*number].push(*piece),
                None if self.find_known(piece.wanted)? => drop(numbers.insert(checksum, None)),
                None => {
                    numbers.insert(checksum, Some(missing.len()));
                    missing.push(vec![*piece]);
                }
            }
        }
        self.hash_old(&missing, progress)?;
        for attempt in 0.. {
            missing.retain(|wanters| {
                attempt < wanters.len() && !self.blobs.contains_key(&wanters[0].wanted.checksum)
            });
            if missing.is_empty() {
                break;
            }
            let pieces: Vec<Piece<'_>> = missing.iter().map(|wanters| wanters[attempt]).collect();
            self.fetch(phase, pieces, progress)?;
        }
        Ok(())
    }

    /// Looks for a file in the catalogue. A checksum that can be forged finds nothing.
    pub(super) fn find_known(&mut self, wanted: &Wanted) -> Result<bool, SyncError> {
        if !wanted.checksum.algorithm().is_strong() {
            return Ok(false);
        }
        let found = self.depot.catalogue.blob_by_checksum(&wanted.checksum)?;
        let found = found.filter(|(blob, size)| {
            // A blob that somebody removed is brought again.
            wanted.size_bytes.is_none_or(|declared| declared == *size)
                && self.depot.store.has_blob(*blob, *size)
        });
        if let Some(found) = found {
            self.blobs.insert(wanted.checksum, found);
        }
        Ok(found.is_some())
    }

    /// Hashes what an old tree has at the path of a wanted file with its size: an imported tree, say.
    fn hash_old(&mut self, missing: &[Wanters<'_>], progress: &mut OnProgress<'_>) -> Result<(), SyncError> {
        let mut candidates = Vec::new();
        for Piece { old, wanted, .. } in missing.iter().flatten() {
            let Some(old) = old.filter(|_| wanted.checksum.algorithm().is_strong()) else { continue };
            let found = resolve(&self.depot.catalogue, old, &wanted.path)?;
            if let Some(Item { kind: Kind::File { blob, size_bytes, .. }, .. }) = found
                && Some(size_bytes) == wanted.size_bytes
            {
                candidates.push((wanted.checksum, blob, size_bytes));
            }
        }
        let mut state = Progress {
            phase: Phase::Hashing,
            files: candidates.len() as u64,
            files_done: 0,
            bytes: candidates.iter().map(|(.., size)| *size).sum(),
            bytes_done: 0,
        };
        let (mut same, mut failed, mut stopped) = (Vec::new(), None, false);
        let work = |(checksum, blob, _): &(Checksum, BlobId, u64)| self.has_checksum(*blob, checksum);
        spread(&candidates, work, &mut |number, outcome| {
            match outcome {
                Ok(true) => same.push(candidates[number]),
                Ok(false) => {}
                Err(error) => failed = Some(error),
            }
            state.files_done += 1;
            state.bytes_done += candidates[number].2;
            stopped = progress(&state).is_break();
            go_on(stopped || failed.is_some())
        });
        let rows = same.iter().map(|(checksum, blob, size)| (*blob, *size, std::slice::from_ref(checksum)));
        self.depot.catalogue.record_stored(&self.depot.store, rows)?;
        self.blobs.extend(same.iter().map(|(checksum, blob, size)| (*checksum, (*blob, *size))));
        match failed {
            Some(error) => Err(error.into()),
            None if stopped => Err(stopped_at(missing.iter().flatten())),
            None => Ok(()),
        }
    }

    /// Whether a blob's bytes have this checksum; a damaged or a lost blob has none, and is brought again.
    fn has_checksum(&self, blob: BlobId, checksum: &Checksum) -> Result<bool, StoreError> {
        match self.depot.compute_checksum(blob, checksum.algorithm()) {
            Err(StoreError::Missing { .. } | StoreError::Damaged { .. }) => Ok(false),
            computed => Ok(computed? == *checksum),
        }
    }

    /// Leaves those of `pieces` that the catalogue does not know.
    fn drop_known(&mut self, pieces: &mut Vec<Piece<'_>>) -> Result<(), SyncError> {
        let mut failed = Ok(());
        pieces.retain(|piece| match self.find_known(piece.wanted) {
            Ok(known) => !known,
            Err(error) => {
                failed = Err(error);
                false
            }
        });
        failed
    }

    /// Downloads `pieces`, which have different checksums.
    fn fetch(
        &mut self,
        phase: Phase,
        mut pieces: Vec<Piece<'_>>,
        progress: &mut OnProgress<'_>,
    ) -> Result<(), SyncError> {
        let depot = self.depot;
        let nothing = Progress { phase: Phase::Waiting, files: 0, files_done: 0, bytes: 0, bytes_done: 0 };
        let sources = lock_sources(depot, &pieces, &mut || {
            // It cannot be stopped while it waits in the kernel.
            let _ = progress(&nothing);
        })?;
        // Whoever held a lock may have brought some.
        self.drop_known(&mut pieces)?;
        let numbers = sources.keys().enumerate().map(|(number, name)| (name.as_str(), number)).collect();
        let orders: Vec<Order> = pieces.iter().map(|piece| order(piece, &numbers)).collect();
        let mut state = Progress {
            phase,
            files: orders.len() as u64,
            bytes: orders.iter().filter_map(|order| order.size_bytes).sum(),
            ..nothing
        };
        let record = Box::new(|batch: Vec<Ready<Checksum>>| {
            let rows = batch.iter().map(|ready| {
                let strong = ready.tag.algorithm().is_strong();
                let digests = if strong { std::slice::from_ref(&ready.tag) } else { &[] };
                (ready.id, ready.size_bytes, digests)
            });
            depot.catalogue.record_stored(&depot.store, rows)?;
            Ok(())
        });
        let mut publisher = Publisher::with_floor(&depot.store, record)?.keeping_names();
        let (mut store_failed, mut stopped) = (None, false);
        let left = self.fetcher.files(sources.into_values().collect(), orders, &mut |event| {
            match event {
                Event::Bytes(bytes) => state.bytes_done = bytes,
                Event::Done(number, Ok(arrived)) => {
                    let (id, size_bytes) = (arrived.hashed.blob, arrived.hashed.size_bytes);
                    let tag = arrived.hashed.checksum;
                    debug_assert_eq!(tag, pieces[number].wanted.checksum);
                    self.blobs.insert(tag, (id, size_bytes));
                    self.fetched_files += 1;
                    self.fetched_bytes += size_bytes;
                    store_failed =
                        publisher.add(Ready { id, size_bytes, tag, file: Some(arrived.file) }).err();
                    state.files_done += 1;
                }
                Event::Done(number, Err(error)) => {
                    self.failures.insert(pieces[number].wanted.checksum, with_causes(&error));
                    state.files_done += 1;
                }
            }
            stopped = progress(&state).is_break();
            go_on(stopped || store_failed.is_some())
        });
        if let Some(error) = store_failed {
            return Err(error.into());
        }
        publisher.finish()?;
        if stopped {
            return Err(stopped_at(pieces.iter()));
        }
        for source in left {
            let failed = |piece: &&Piece<'_>| !self.blobs.contains_key(&piece.wanted.checksum);
            if !pieces.iter().filter(failed).any(|piece| piece.request.address == source.address) {
                source.partials.remove();
            }
        }
        Ok(())
    }
}

/// The upstreams of `pieces`, each with its directory of unfinished downloads. They are locked in one order by
/// everybody, so that nobody waits for somebody who waits.
fn lock_sources(
    depot: &Depot,
    pieces: &[Piece<'_>],
    wait: &mut dyn FnMut(),
) -> Result<BTreeMap<String, Source>, StoreError> {
    let named = |piece: &Piece<'_>| (piece.request.address.to_string(), piece.request.address.clone());
    let addresses: BTreeMap<String, Address> = pieces.iter().map(named).collect();
    let mut sources = BTreeMap::new();
    for (name, address) in addresses {
        let partials = PartialDir::lock(&depot.store, &address, wait)?;
        sources.insert(name, Source { address, partials });
    }
    Ok(sources)
}

fn order(piece: &Piece<'_>, numbers: &HashMap<&str, usize>) -> Order {
    let Piece { request, wanted, .. } = piece;
    Order {
        source: numbers.get(request.address.to_string().as_str()).copied().unwrap_or(0),
        path: wanted.path.clone(),
        checksum: wanted.checksum,
        size_bytes: wanted.size_bytes,
        cap_bytes: wanted.cap_bytes,
    }
}

fn stopped_at<'p, 'r: 'p>(mut pieces: impl Iterator<Item = &'p Piece<'r>>) -> SyncError {
    SyncError::Stopped {
        address: pieces.next().map_or_else(String::new, |piece| piece.request.address.to_string()),
    }
}
