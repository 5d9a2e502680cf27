//! Bringing the files of a plan into the store, from wherever they are had cheapest.
//!
//! In this order: a file whose checksum the catalogue knows is there already; one that the old tree has at
//! the same path with the same size is hashed; the rest is downloaded. Always true: a failure leaves what was
//! gathered in the store and recorded, so that the next run finds it.

use std::collections::{HashMap, HashSet};
use std::io::{BufReader, Read};
use std::ops::ControlFlow;

use cfs_fs::digest::BlobId;
use cfs_fs::store::StoreError;
use cfs_fs::store::publish::{Publisher, Ready};
use cfs_fs::tree::{Item, Kind, resolve};

use super::fetch::{Event, Fetcher, Order};
use super::partial::PartialDir;
use super::plan::{self, Wanted};
use super::{Failure, OnProgress, Phase, Progress, Request, SyncError, documents, reason};
use crate::catalogue::CatalogueError;
use crate::checksum::{Checksum, Hasher};
use crate::depot::Depot;
use crate::repodata::primary::Packages;
use crate::repodata::repomd::Repomd;
use crate::repodata::{RepodataError, compression};
use crate::spread::spread;

/// What has been gathered so far.
#[derive(Debug)]
pub(super) struct Gathering<'a> {
    pub(super) depot: &'a Depot,
    pub(super) request: &'a Request,
    fetcher: &'a Fetcher,
    /// What stands at the target now.
    old: Option<&'a Item>,
    blobs: HashMap<Checksum, (BlobId, u64)>,
    failures: Vec<Failure>,
    /// Files that were downloaded.
    pub(super) fetched_files: u64,
    /// Bytes that were received for them.
    pub(super) fetched_bytes: u64,
}

impl<'a> Gathering<'a> {
    /// Nothing yet.
    pub(super) fn new(
        depot: &'a Depot,
        request: &'a Request,
        fetcher: &'a Fetcher,
        old: Option<&'a Item>,
    ) -> Self {
        let (blobs, failures) = (HashMap::new(), Vec::new());
        Self { depot, request, fetcher, old, blobs, failures, fetched_files: 0, fetched_bytes: 0 }
    }

    /// The blob of a gathered file.
    pub(super) fn blob(&self, wanted: &Wanted) -> Option<(BlobId, u64)> {
        self.blobs.get(&wanted.checksum).copied()
    }

    /// A gathered file as it stands in a tree.
    pub(super) fn item(&self, wanted: &Wanted) -> Result<Item, SyncError> {
        let lost = || CatalogueError::Damaged { what: format!("{} was not gathered", wanted.path) };
        let (blob, size_bytes) = self.blob(wanted).ok_or_else(lost)?;
        Ok(Item { mtime: wanted.mtime, kind: Kind::File { blob, size_bytes, executable: false } })
    }

    /// Fails when files failed.
    pub(super) fn check_failures(&mut self) -> Result<(), SyncError> {
        if self.failures.is_empty() {
            return Ok(());
        }
        let mut failures = std::mem::take(&mut self.failures);
        failures.sort_unstable_by(|a, b| a.url.cmp(&b.url));
        Err(SyncError::Failed { address: self.request.address.to_string(), failures })
    }

    /// Gathers `wanted`. Files that cannot be had are kept in mind for [`Gathering::check_failures`].
    pub(super) fn gather(
        &mut self,
        phase: Phase,
        wanted: &[Wanted],
        progress: &mut OnProgress<'_>,
    ) -> Result<(), SyncError> {
        let mut missing: Vec<&Wanted> = Vec::new();
        let mut seen = HashSet::new();
        for wanted in wanted {
            if seen.insert(wanted.checksum) && !self.find_known(wanted)? {
                missing.push(wanted);
            }
        }
        self.hash_old(&missing, progress)?;
        missing.retain(|wanted| !self.blobs.contains_key(&wanted.checksum));
        if missing.is_empty() { Ok(()) } else { self.fetch(phase, missing, progress) }
    }

    /// Looks for a file in the catalogue. A checksum that can be forged finds nothing.
    fn find_known(&mut self, wanted: &Wanted) -> Result<bool, SyncError> {
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

    /// Hashes what the old tree has at the path of a wanted file with its size: an imported tree, say.
    fn hash_old(&mut self, missing: &[&Wanted], progress: &mut OnProgress<'_>) -> Result<(), SyncError> {
        let Some(old) = self.old else { return Ok(()) };
        let mut candidates = Vec::new();
        for wanted in missing.iter().filter(|wanted| wanted.checksum.algorithm().is_strong()) {
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
            if stopped || failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let rows = same.iter().map(|(checksum, blob, size)| (*blob, *size, std::slice::from_ref(checksum)));
        self.depot.catalogue.record_blobs(rows)?;
        self.blobs.extend(same.iter().map(|(checksum, blob, size)| (*checksum, (*blob, *size))));
        match failed {
            Some(error) => Err(error.into()),
            None if stopped => Err(self.stopped()),
            None => Ok(()),
        }
    }

    /// Whether a blob's bytes have this checksum; a damaged or a lost blob has none, and is brought again.
    fn has_checksum(&self, blob: BlobId, checksum: &Checksum) -> Result<bool, StoreError> {
        let mut file = match self.depot.store.open_blob(blob) {
            Err(StoreError::Missing { .. }) => return Ok(false),
            opened => opened?,
        };
        let mut hasher = Hasher::new(checksum.algorithm());
        let mut buffer = vec![0; 1 << 18];
        loop {
            let read = file.read(&mut buffer).map_err(|source| StoreError::Io {
                verb: "read",
                path: self.depot.store.blob_path(blob),
                source,
            })?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
        }
        let found = hasher.finish();
        Ok(found.checksum == *checksum && found.blob == blob)
    }

    /// Downloads what is missing.
    fn fetch(
        &mut self,
        phase: Phase,
        mut missing: Vec<&Wanted>,
        progress: &mut OnProgress<'_>,
    ) -> Result<(), SyncError> {
        let (depot, request) = (self.depot, self.request);
        let nothing = Progress { phase: Phase::Waiting, files: 0, files_done: 0, bytes: 0, bytes_done: 0 };
        let mut wait = || {
            // It cannot be stopped while it waits in the kernel.
            let _ = progress(&nothing);
        };
        let partials = PartialDir::lock(&depot.store, &request.address, &mut wait)?;
        // Whoever held the lock may have brought some.
        let mut still = Vec::new();
        for wanted in missing.drain(..) {
            if !self.find_known(wanted)? {
                still.push(wanted);
            }
        }
        let orders: Vec<Order> = still.iter().map(|wanted| order(wanted)).collect();
        let mut state = Progress {
            phase,
            files: orders.len() as u64,
            bytes: orders.iter().filter_map(|order| order.size_bytes).sum(),
            ..nothing
        };
        let record = Box::new(|batch: Vec<Ready<Checksum>>| {
            depot.catalogue.record_blobs(batch.iter().map(|ready| {
                let strong = ready.tag.algorithm().is_strong();
                let digests = if strong { std::slice::from_ref(&ready.tag) } else { &[] };
                (ready.id, ready.size_bytes, digests)
            }))?;
            Ok(())
        });
        let mut publisher = Publisher::new(&depot.store, record)?;
        let (mut store_failed, mut stopped, failures_before) = (None, false, self.failures.len());
        let left = self.fetcher.files(&request.address, partials, orders, &mut |event| {
            match event {
                Event::Bytes(bytes) => state.bytes_done = bytes,
                Event::Done(number, Ok(arrived)) => {
                    let (id, size_bytes) = (arrived.hashed.blob, arrived.hashed.size_bytes);
                    let tag = arrived.hashed.checksum;
                    self.blobs.insert(tag, (id, size_bytes));
                    self.fetched_files += 1;
                    self.fetched_bytes += size_bytes;
                    debug_assert_eq!(tag, still[number].checksum);
                    store_failed =
                        publisher.add(Ready { id, size_bytes, tag, file: Some(arrived.file) }).err();
                    state.files_done += 1;
                }
                Event::Done(number, Err(error)) => {
                    let url = request.address.describe(&still[number].path);
                    self.failures.push(Failure { url, reason: reason(&error) });
                    state.files_done += 1;
                }
            }
            stopped = progress(&state).is_break();
            if stopped || store_failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let Some(error) = store_failed {
            return Err(error.into());
        }
        publisher.finish()?;
        if stopped {
            return Err(self.stopped());
        }
        if self.failures.len() == failures_before
            && let Some(partials) = left
        {
            partials.remove();
        }
        Ok(())
    }

    fn stopped(&self) -> SyncError {
        SyncError::Stopped { address: self.request.address.to_string() }
    }

    /// Reads the packages that the gathered primary metadata lists.
    pub(super) fn list_packages(&mut self, repomd: &Repomd, time: i64) -> Result<Vec<Wanted>, SyncError> {
        let address = &self.request.address;
        let url = || address.describe(&documents::path(documents::PATHS[0]));
        let record = repomd.record("primary").ok_or_else(|| SyncError::NoPrimary { url: url() })?;
        let Some((blob, _)) = self.blobs.get(&record.checksum).copied() else {
            self.check_failures()?;
            return Err(SyncError::NoPrimary { url: url() });
        };
        let cap_bytes = self.request.options.metadata_cap_bytes;
        let limit_bytes = record.open_size_bytes.map_or(cap_bytes, |declared| declared.min(cap_bytes));
        let file = BufReader::with_capacity(1 << 16, self.depot.store.open_blob(blob)?);
        let plain = compression::reader(file, limit_bytes).map_err(|error| SyncError::Metadata {
            url: address.describe(&record.location),
            source: RepodataError::Read(error),
        })?;
        plan::packages(self.request, &record.location, Packages::new(plain), time)
    }
}

fn order(wanted: &Wanted) -> Order {
    Order {
        path: wanted.path.clone(),
        checksum: wanted.checksum,
        size_bytes: wanted.size_bytes,
        cap_bytes: wanted.cap_bytes,
    }
}
