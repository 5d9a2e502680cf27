//! Signatures of all packages of repositories.

use std::fs::File;

use cfs_fs::tree::{Item, Kind, resolve};

use super::gather::Gathering;
use super::harvest::go_on;
use super::plan::Wanted;
use super::repository::Repository;
use super::{Failure, OnProgress, Phase, Progress, SyncError};
use crate::openpgp::package::{Cover, PackageError};
use crate::openpgp::{Keyring, Policy};
use crate::repository::with_causes;
use crate::spread::spread;

/// A package that was not checked before.
struct Unchecked<'a> {
    /// Which of the repositories it is of.
    repository: usize,
    /// The keys that may have signed it.
    keys: &'a Keyring,
    wanted: &'a Wanted,
}

/// Checks every package that was not checked before; one verdict for each repository, with all packages that
/// are not good. `now` is in seconds since 1970.
pub(super) fn packages(
    gathering: &Gathering<'_>,
    repositories: &[&Repository<'_>],
    now: i64,
    progress: &mut OnProgress<'_>,
) -> Result<Vec<Result<(), SyncError>>, SyncError> {
    let mut unchecked = Vec::new();
    for (number, repository) in repositories.iter().enumerate() {
        let keys = repository.request.keys.as_ref();
        let Some(keys) = keys.filter(|_| !repository.request.options.unsigned_packages) else { continue };
        let trusted = repository.old.as_ref().filter(|_| repository.old_is_checked);
        for wanted in &repository.packages {
            if !is_trusted(gathering, trusted, wanted)? {
                unchecked.push(Unchecked { repository: number, keys, wanted });
            }
        }
    }
    let (files, mut files_done) = (unchecked.len() as u64, 0);
    let mut state = Progress { phase: Phase::Signatures, files, files_done, bytes: 0, bytes_done: 0 };
    let mut failures: Vec<Vec<Failure>> = repositories.iter().map(|_| Vec::new()).collect();
    let mut stopped = None;
    let work = |one: &Unchecked<'_>| package(gathering, repositories[one.repository], one, now);
    spread(&unchecked, work, &mut |number, outcome| {
        let Unchecked { repository, wanted, .. } = unchecked[number];
        let address = &repositories[repository].request.address;
        if let Err(why) = outcome {
            failures[repository].push(Failure { url: address.describe(&wanted.path), reason: why });
        }
        files_done += 1;
        state.files_done = files_done;
        stopped = progress(&state).is_break().then_some(address);
        go_on(stopped.is_some())
    });
    if let Some(address) = stopped {
        return Err(SyncError::Stopped { address: address.to_string() });
    }
    let verdicts = repositories.iter().zip(failures).map(|(repository, mut failures)| {
        failures.sort_unstable_by(|a, b| a.url.cmp(&b.url));
        let address = repository.request.address.to_string();
        if failures.is_empty() { Ok(()) } else { Err(SyncError::Failed { address, failures }) }
    });
    Ok(verdicts.collect())
}

/// Whether the trusted tree has the same package at the same path.
fn is_trusted(gathering: &Gathering<'_>, trusted: Option<&Item>, wanted: &Wanted) -> Result<bool, SyncError> {
    let Some(trusted) = trusted else { return Ok(false) };
    let found = resolve(&gathering.depot.catalogue, trusted, &wanted.path)?;
    let Kind::File { blob, .. } = gathering.item(wanted)?.kind else { return Ok(false) };
    Ok(matches!(found, Some(Item { kind: Kind::File { blob: old, .. }, .. }) if old == blob))
}

fn package(
    gathering: &Gathering<'_>,
    repository: &Repository<'_>,
    one: &Unchecked<'_>,
    now: i64,
) -> Result<(), String> {
    let (blob, _) = gathering.blob_of(&one.wanted.checksum).ok_or("is not in the store")?;
    let mut file: File = gathering.depot.store.open_blob(blob).map_err(|error| with_causes(&error))?;
    let weak_hashes = repository.request.options.weak_checksums;
    let policy = Policy { now, weak_hashes, expired_since: true };
    // The metadata's checksums, when it is signed, vouch for what a package's own signature leaves out.
    match one.keys.verify_package(&mut file, &policy) {
        Ok((_, Cover::Whole)) => Ok(()),
        Ok((_, Cover::Header)) if repository.key.is_some() => Ok(()),
        Ok((_, Cover::Header)) => Err("is signed only in its header, and the metadata is not signed".into()),
        Err(error @ PackageError::Signature(_)) => Err(format!("the package {}", with_causes(&error))),
        Err(error) => Err(with_causes(&error)),
    }
}
