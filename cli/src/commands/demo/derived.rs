//! The update of a repository that is not ours to change: the same repository without one package.
//!
//! Always true: the original is not touched; every file is one of the first compose but the package lists,
//! which are written anew.

use std::fs;
use std::path::Path;

use cfs_fs::checkout::{How, checkout};
use cfs_fs::tree::{Item, Kind};
use cfs_indexer::depot::Depot;
use rpmrepo_metadata::{MetadataError, Repository, RepositoryReader};

use crate::context::Context;
use crate::report::{self, CommandError};

use super::repodata;

/// Records of the package lists, which are written anew.
const WRITTEN: [&str; 3] = ["primary", "filelists", "other"];

/// Makes the directory `dir` the repository `original` without one package, its metadata as of `time` (seconds
/// since 1970). Returns the file that is missing.
pub fn derive(
    depot: &Depot,
    original: &Item,
    dir: &Path,
    how: How,
    time: u32,
) -> Result<String, CommandError> {
    if let Kind::Dir(top) = original.kind {
        let root = (top, original.mtime);
        checkout(&depot.catalogue, &depot.store, root, dir, how, Context::threads(), &|_, _| ())?;
    }
    let mut repository = read(dir)?;
    let failed = |reason: &str| CommandError::new(report::Kind::Failed, reason.to_owned());
    let Some(dropped) = repository.packages_mut().pop().map(|(_, package)| package) else {
        return Err(failed(
            "the upstream holds no packages, so there is nothing that an update could change",
        ));
    };
    // What may be a link is the store's: it may be removed here, but nothing written to it.
    let place = dir.join("repodata");
    let named = repository.repomd().records().iter().map(|record| dir.join(&record.location_href));
    let named: Vec<_> = named.collect();
    for entry in fs::read_dir(&place).map_err(|e| CommandError::io("list", &place, e))? {
        let path = entry.map_err(|e| CommandError::io("list", &place, e))?.path();
        if !named.contains(&path) {
            fs::remove_file(&path).map_err(|e| CommandError::io("remove", &path, e))?;
        }
    }
    let gone = dir.join(dropped.location_href());
    fs::remove_file(&gone).map_err(|e| CommandError::io("remove", &gone, e))?;
    repodata::write(dir, &mut repository, time)?;
    Ok(dropped.location_href().to_owned())
}

/// The packages of the repository in `dir`, with the records of other metadata than the package lists.
fn read(dir: &Path) -> Result<Repository, CommandError> {
    let failed = |error: MetadataError| {
        let text = format!("{}: its metadata cannot be rewritten: {error}", dir.display());
        CommandError::new(report::Kind::Failed, text)
    };
    let reader = RepositoryReader::new_from_directory(dir).map_err(failed)?;
    if let Some(kind) = WRITTEN.iter().find(|kind| reader.repomd().get_record(kind).is_none()) {
        let text = format!("{}: has no {kind} metadata, so no update can be derived from it", dir.display());
        return Err(CommandError::new(report::Kind::Failed, text));
    }
    let mut repository = Repository::new();
    for record in reader.repomd().records() {
        let stem = record.metadata_name.trim_end_matches("_db").trim_end_matches("_zck");
        if !WRITTEN.contains(&stem) {
            repository.repomd_mut().add_record(record.clone());
        }
    }
    for package in reader.iter_packages().map_err(failed)? {
        repository.add_package(package.map_err(failed)?);
    }
    Ok(repository)
}
