//! What a repository consists of, from its metadata. Pure.
//!
//! Always true of a plan: every file has a checksum that may be trusted under the request's options and a
//! size within its limits; no two files have one path unless they are the same, and none lies inside another.

use std::collections::{BTreeSet, HashMap};

use cfs_fs::name::TreePath;

use super::{Request, SyncError, documents};
use crate::checksum::Checksum;
use crate::repodata::RepodataError;
use crate::repodata::primary::Package;
use crate::repodata::repomd::Repomd;

/// A file of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Where it is, below the base.
    pub(super) path: TreePath,
    /// What its bytes hash to.
    pub(super) checksum: Checksum,
    /// Its size; old metadata does not say.
    pub(super) size_bytes: Option<u64>,
    /// The most bytes it may have in any case.
    pub(super) cap_bytes: u64,
    /// Its modification time in seconds since 1970.
    pub(super) mtime: i64,
}

/// The metadata files. One whose time is not known gets `time`.
pub(super) fn metadata(request: &Request, repomd: &Repomd, time: i64) -> Result<Vec<Wanted>, SyncError> {
    let wanted = repomd.records.iter().map(|record| Wanted {
        path: record.location.clone(),
        checksum: record.checksum,
        size_bytes: record.size_bytes,
        cap_bytes: request.options.metadata_cap_bytes,
        mtime: record.timestamp.unwrap_or(time),
    });
    wanted.map(|wanted| checked(request, wanted)).collect()
}

/// The packages that `source` lists, each file once, and what identifies those of which it has several that differ.
/// One whose time is not known gets `time`.
pub(super) fn packages(
    request: &Request,
    source: &TreePath,
    packages: impl Iterator<Item = Result<Package, RepodataError>>,
    time: i64,
) -> Result<(Vec<Wanted>, Vec<String>), SyncError> {
    let broken = |error| SyncError::Metadata { url: request.address.describe(source), source: error };
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut numbers: HashMap<TreePath, usize> = HashMap::new();
    let (files_max, bytes_max) = (request.options.files_max, request.options.bytes_max);
    let over = |what, limit| SyncError::Budget { url: request.address.describe(source), what, limit };
    let mut bytes = 0_u64;
    let mut names: HashMap<String, Checksum> = HashMap::new();
    let mut twice = BTreeSet::new();
    for package in packages {
        let package = package.map_err(broken)?;
        let Package { name, epoch, version, release, arch, .. } = &package;
        let name = format!("{name}-{epoch}:{version}-{release}.{arch}");
        if names.get(&name).is_some_and(|other| *other != package.checksum) {
            twice.insert(name.clone());
        }
        names.insert(name, package.checksum);
        let new = Wanted {
            path: package.location,
            checksum: package.checksum,
            size_bytes: Some(package.size_bytes),
            cap_bytes: request.options.package_cap_bytes,
            mtime: package.file_time.or(package.build_time).unwrap_or(time),
        };
        match numbers.get(&new.path).map(|number| &wanted[*number]) {
            None => {
                let new = checked(request, new)?;
                bytes = bytes.saturating_add(package.size_bytes);
                if wanted.len() as u64 >= files_max {
                    return Err(over("files", files_max));
                }
                if bytes > bytes_max {
                    return Err(over("bytes", bytes_max));
                }
                numbers.insert(new.path.clone(), wanted.len());
                wanted.push(new);
            }
            Some(old) if (old.checksum, old.size_bytes) == (new.checksum, new.size_bytes) => {}
            Some(_) => return Err(broken(RepodataError::Conflict { location: new.path })),
        }
    }
    Ok((wanted, twice.into_iter().collect()))
}

fn checked(request: &Request, wanted: Wanted) -> Result<Wanted, SyncError> {
    let url = || request.address.describe(&wanted.path);
    let algorithm = wanted.checksum.algorithm();
    if !algorithm.is_strong() && !request.options.weak_checksums {
        return Err(SyncError::WeakChecksum { url: url(), algorithm });
    }
    let limit_bytes = wanted.cap_bytes;
    match wanted.size_bytes.filter(|size| *size > limit_bytes) {
        Some(size_bytes) => Err(SyncError::Oversize { url: url(), size_bytes, limit_bytes }),
        None => Ok(wanted),
    }
}

/// Checks that all files can stand in one tree, beside the documents.
pub(super) fn check_paths<'a>(
    request: &Request,
    wanted: impl Iterator<Item = &'a Wanted>,
) -> Result<(), SyncError> {
    let mut paths: Vec<TreePath> = wanted.map(|wanted| wanted.path.clone()).collect();
    paths.extend(documents::PATHS.map(documents::path));
    paths.extend(request.options.taken.iter().cloned());
    // Whatever lies inside a file stands right behind it.
    paths.sort_unstable();
    for pair in paths.windows(2) {
        let (outer, inner) = (&pair[0], &pair[1]);
        if inner.components().zip(outer.components()).filter(|(a, b)| a == b).count()
            == outer.components().count()
        {
            return Err(SyncError::Overlap {
                url: request.address.describe(&documents::path(documents::PATHS[0])),
                path: outer.clone(),
            });
        }
    }
    Ok(())
}
