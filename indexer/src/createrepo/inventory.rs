//! What is known of all packages below a directory, metadata or not.

use cfs_fs::digest::BlobId;
use cfs_fs::tree::{Item, Kind, resolve};

use super::packages::{self, Entry};
use super::{Broken, CreaterepoError, OnProgress};
use crate::catalogue::CatalogueError;
use crate::checksum::{Algorithm, Checksum};
use crate::depot::Depot;
use crate::repodata::fragment::{Decoder, Fragment};
use crate::revision::RevPath;
use crate::rpm::Nevra;

/// All packages below a directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// Those that can be read, in the order of their file names.
    pub members: Vec<Member>,
    /// The others.
    pub broken: Vec<Broken>,
}

/// A package, as documents of composes speak of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Where it is, below the directory.
    pub path: String,
    /// Its content.
    pub blob: BlobId,
    /// Its size.
    pub size_bytes: u64,
    /// Its digest.
    pub checksum: Checksum,
    /// What identifies it.
    pub nevra: Nevra,
    /// The file name of its source package; empty for a source package.
    pub source_rpm: String,
    /// The id of the key that is said to have signed it; empty where nobody has.
    pub signer: String,
}

/// What is known of the packages at `place`, after reading those that were not known.
pub fn inventory(
    depot: &Depot,
    place: &RevPath,
    algorithm: Algorithm,
    progress: &mut OnProgress<'_>,
) -> Result<Inventory, CreaterepoError> {
    let (_, snapshot) = depot.catalogue.resolve(&place.revision)?;
    let found = resolve(&depot.catalogue, &snapshot.root_item(), &place.path)?;
    let Some(Item { kind: Kind::Dir(dir), .. }) = found else {
        return Err(CreaterepoError::NotADirectory { place: place.clone() });
    };
    let all = packages::list(&depot.catalogue, dir)?;
    let known = packages::learn(depot, place, all, algorithm, progress)?;
    let numbers: Vec<i64> = known.entries.iter().map(|entry| entry.number).collect();
    let mut decoder = Decoder::default();
    let mut members = Vec::with_capacity(numbers.len());
    known.fragments.visit::<CreaterepoError>(&numbers, &mut |at, bytes| {
        let Entry { found, checksum, .. } = &known.entries[at];
        let damaged =
            || CatalogueError::Damaged { what: format!("cache.db: the fragment of {}", found.path) };
        let Fragment { nevra, source_rpm, signer, .. } = decoder.decode(bytes).ok_or_else(damaged)?;
        members.push(Member {
            path: found.path.clone(),
            blob: found.blob,
            size_bytes: found.size_bytes,
            checksum: *checksum,
            nevra,
            source_rpm,
            signer,
        });
        Ok(())
    })?;
    Ok(Inventory { members, broken: known.broken })
}
