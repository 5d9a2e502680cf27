//! The packages of a tree, and what is known of each.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;

use cfs_fs::digest::BlobId;
use cfs_fs::store::StoreError;
use cfs_fs::tree::{Dir, Kind, NodeError, Nodes};
use cfs_fs::walk::walk;

use super::{Broken, CreaterepoError, OnProgress, Progress};
use crate::catalogue::{CatalogueError, Fragments, Learnt};
use crate::checksum::{Algorithm, Checksum, Hasher};
use crate::depot::Depot;
use crate::openpgp::package::claimed_signer;
use crate::repodata::fragment::Fragment;
use crate::repodata::href;
use crate::revision::RevPath;
use crate::rpm::{Headers, Package};
use crate::spread::spread;

/// Packages that are kept in one transaction.
const BATCH: usize = 500;
/// Headers are read in pieces of this size; most fit into one.
const PIECE_BYTES: usize = 32 << 10;

/// A package of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: String,
    pub(super) blob: BlobId,
    pub(super) size_bytes: u64,
    pub(super) mtime: i64,
}

impl Found {
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// A package that can be published.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) found: Found,
    /// Of its fragment.
    pub(super) number: i64,
    pub(super) checksum: Checksum,
}

/// All packages of a tree.
#[derive(Debug)]
pub(super) struct Packages {
    pub(super) entries: Vec<Entry>,
    pub(super) broken: Vec<Broken>,
    pub(super) duplicates: Vec<String>,
    /// How many had to be read.
    pub(super) read: u64,
    pub(super) fragments: Fragments,
}

/// The packages below `dir` in the order of their file names, as `createrepo_c` has them. Symlinks are left out.
pub(super) fn list(nodes: &impl Nodes, dir: Dir) -> Result<Vec<Found>, NodeError> {
    let mut all = Vec::new();
    walk(nodes, dir, "", &mut |path, item| {
        if let Kind::File { blob, size_bytes, .. } = item.kind
            && path.rsplit_once('.').is_some_and(|(_, ending)| ending == "rpm")
            && !path.starts_with("repodata/")
        {
            all.push(Found { path: path.to_owned(), blob, size_bytes, mtime: item.mtime });
        }
        Ok::<(), NodeError>(())
    })?;
    all.sort_by(|a, b| a.name().cmp(b.name()).then_with(|| a.path.cmp(&b.path)));
    Ok(all)
}

/// What is known of `all`, after reading what was not.
pub(super) fn learn(
    depot: &Depot,
    place: &RevPath,
    all: Vec<Found>,
    algorithm: Algorithm,
    progress: &mut OnProgress<'_>,
) -> Result<Packages, CreaterepoError> {
    let fragments = depot.fragments()?;
    let blobs: Vec<BlobId> = all.iter().map(|found| found.blob).collect();
    let mut known = fragments.known(&blobs, Fragment::FORMAT, algorithm)?;
    let unknown: BTreeSet<BlobId> = blobs
        .iter()
        .zip(&known)
        .filter(|(_, known)| known.as_ref().is_none_or(|known| known.checksum.is_none()))
        .map(|(blob, _)| *blob)
        .collect();
    let read = unknown.len() as u64;
    let mut reasons = BTreeMap::new();
    if !unknown.is_empty() {
        reasons = read_all(depot, place, &fragments, unknown, algorithm, progress)?;
        known = fragments.known(&blobs, Fragment::FORMAT, algorithm)?;
    }
    let (mut entries, mut broken) = (Vec::with_capacity(all.len()), Vec::new());
    let mut names: BTreeMap<String, BTreeSet<Checksum>> = BTreeMap::new();
    for (found, known) in all.into_iter().zip(known) {
        let reason = match href::location(&found.path) {
            Err(error) => Some(error.to_string()),
            Ok(_) => reasons.get(&found.blob).cloned(),
        };
        match known.and_then(|known| Some((known.number, known.nevra, known.checksum?))) {
            Some((number, nevra, checksum)) if reason.is_none() => {
                names.entry(nevra).or_default().insert(checksum);
                entries.push(Entry { found, number, checksum });
            }
            _ => {
                let reason = reason.unwrap_or_else(|| "could not be kept in cache.db".to_owned());
                broken.push(Broken { path: found.path, reason });
            }
        }
    }
    let twice = names.into_iter().filter(|(_, checksums)| checksums.len() > 1);
    let duplicates = twice.map(|(nevra, _)| nevra).collect();
    Ok(Packages { entries, broken, duplicates, read, fragments })
}

/// Reads packages and keeps what was found out. Returns what is wrong with those that cannot be published.
fn read_all(
    depot: &Depot,
    place: &RevPath,
    fragments: &Fragments,
    unknown: BTreeSet<BlobId>,
    algorithm: Algorithm,
    progress: &mut OnProgress<'_>,
) -> Result<BTreeMap<BlobId, String>, CreaterepoError> {
    let wanted: HashSet<BlobId> = unknown.iter().copied().collect();
    let digests = depot.catalogue.checksums_of(&wanted, algorithm)?;
    let unknown: Vec<BlobId> = unknown.into_iter().collect();
    let mut state = Progress { packages: unknown.len() as u64, packages_done: 0 };
    let mut reasons = BTreeMap::new();
    let (mut batch, mut hashed) = (Vec::new(), Vec::new());
    let mut failed: Option<CreaterepoError> = None;
    let mut stopped = false;
    let work = |blob: &BlobId| read_one(depot, *blob, algorithm, digests.get(blob).copied());
    spread(&unknown, work, &mut |number, outcome| {
        match outcome {
            Ok(Ok((learnt, size_bytes))) => {
                if let Some(size_bytes) = size_bytes {
                    hashed.push((learnt.blob, size_bytes, learnt.checksum));
                }
                batch.push(learnt);
                if batch.len() >= BATCH {
                    failed = keep(depot, fragments, &mut batch, &mut hashed).err().map(Into::into);
                }
            }
            Ok(Err(reason)) => {
                reasons.insert(unknown[number], reason);
            }
            Err(error) => failed = Some(error.into()),
        }
        state.packages_done += 1;
        stopped = progress(&state).is_break();
        if stopped || failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    // What was read before a failure is read for good.
    keep(depot, fragments, &mut batch, &mut hashed)?;
    match failed {
        Some(error) => Err(error),
        None if stopped => Err(CreaterepoError::Stopped { place: place.clone() }),
        None => Ok(reasons),
    }
}

fn keep(
    depot: &Depot,
    fragments: &Fragments,
    batch: &mut Vec<Learnt>,
    hashed: &mut Vec<(BlobId, u64, Checksum)>,
) -> Result<(), CatalogueError> {
    if !hashed.is_empty() {
        let rows = hashed.iter().map(|(blob, size, checksum)| (*blob, *size, std::slice::from_ref(checksum)));
        depot.catalogue.record_stored(&depot.store, rows)?;
        hashed.clear();
    }
    fragments.keep(Fragment::FORMAT, batch)?;
    batch.clear();
    Ok(())
}

/// What was found out about a package, with its size when all of it was read; or why it cannot be published.
type Read1 = Result<(Learnt, Option<u64>), String>;

/// Reads a package: its headers, and the rest only for its digest where that is not known.
fn read_one(
    depot: &Depot,
    blob: BlobId,
    algorithm: Algorithm,
    checksum: Option<Checksum>,
) -> Result<Read1, StoreError> {
    let file = depot.store.open_blob(blob)?;
    let (fragment, checksum, size_bytes) = if let Some(checksum) = checksum {
        (fragment(&mut BufReader::with_capacity(PIECE_BYTES, file)), checksum, None)
    } else {
        let mut file = Hashed { file, hasher: Hasher::new(algorithm) };
        let fragment = fragment(&mut BufReader::with_capacity(PIECE_BYTES, &mut file));
        let path = depot.store.blob_path(blob);
        let read = io::copy(&mut file, &mut io::sink());
        read.map_err(|source| StoreError::Io { verb: "read", path, source })?;
        let found = file.hasher.finish();
        if found.blob != blob {
            return Err(StoreError::Damaged { id: blob, found: found.blob });
        }
        (fragment, found.checksum, Some(found.size_bytes))
    };
    Ok(fragment.map(|fragment| {
        let (nevra, fragment) = (fragment.nevra.to_string(), fragment.encode());
        (Learnt { blob, nevra, fragment, checksum }, size_bytes)
    }))
}

fn fragment(input: &mut impl Read) -> Result<Fragment, String> {
    let headers = Headers::read(input).map_err(|error| error.to_string())?;
    if headers.is_intact().map_err(|error| error.to_string())? == Some(false) {
        return Err("the header is not the one whose digest the package gives".to_owned());
    }
    let package = Package::of(&headers).map_err(|error| error.to_string())?;
    let mut fragment = Fragment::of(&package).map_err(|error| error.to_string())?;
    fragment.signer = claimed_signer(&headers).unwrap_or_default();
    Ok(fragment)
}

/// A file that is hashed while it is read.
struct Hashed {
    file: File,
    hasher: Hasher,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
