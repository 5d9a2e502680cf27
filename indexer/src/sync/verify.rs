//! Signatures of all packages of a repository.

use std::fs::File;
use std::ops::ControlFlow;

use cfs_fs::tree::{Item, Kind, resolve};

use super::gather::Gathering;
use super::plan::Wanted;
use super::{Failure, OnProgress, Phase, Progress, SyncError, reason};
use crate::openpgp::package::{Cover, PackageError};
use crate::openpgp::{Keyring, Policy};
use crate::spread::spread;

/// What is demanded of the packages.
pub(super) struct Check<'a> {
    /// The keys that may have signed them.
    pub(super) keys: &'a Keyring,
    /// A tree whose packages passed the same check before.
    pub(super) trusted: Option<&'a Item>,
    /// Whether the metadata was signed: its checksums vouch for what a package's own signature leaves out.
    pub(super) metadata_signed: bool,
    /// The present, seconds since 1970.
    pub(super) now: i64,
}

/// Checks every package that was not checked before; fails with all those that are not good.
pub(super) fn packages(
    gathering: &Gathering<'_>,
    check: &Check<'_>,
    packages: &[Wanted],
    progress: &mut OnProgress<'_>,
) -> Result<(), SyncError> {
    let mut unchecked = Vec::new();
    for wanted in packages {
        if !is_trusted(gathering, check.trusted, wanted)? {
            unchecked.push(wanted);
        }
    }
    let (files, mut files_done) = (unchecked.len() as u64, 0);
    let mut state = Progress { phase: Phase::Signatures, files, files_done, bytes: 0, bytes_done: 0 };
    let (mut failures, mut stopped) = (Vec::new(), false);
    let work = |wanted: &&Wanted| package(gathering, check, wanted);
    spread(&unchecked, work, &mut |number, outcome| {
        if let Err(why) = outcome {
            let url = gathering.request.address.describe(&unchecked[number].path);
            failures.push(Failure { url, reason: why });
        }
        files_done += 1;
        state.files_done = files_done;
        stopped = progress(&state).is_break();
        if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let address = gathering.request.address.to_string();
    if stopped {
        return Err(SyncError::Stopped { address });
    }
    failures.sort_unstable_by(|a, b| a.url.cmp(&b.url));
    if failures.is_empty() { Ok(()) } else { Err(SyncError::Failed { address, failures }) }
}

/// Whether the trusted tree has the same package at the same path.
fn is_trusted(gathering: &Gathering<'_>, trusted: Option<&Item>, wanted: &Wanted) -> Result<bool, SyncError> {
    let Some(trusted) = trusted else { return Ok(false) };
    let found = resolve(&gathering.depot.catalogue, trusted, &wanted.path)?;
    let Kind::File { blob, .. } = gathering.item(wanted)?.kind else { return Ok(false) };
    Ok(matches!(found, Some(Item { kind: Kind::File { blob: old, .. }, .. }) if old == blob))
}

fn package(gathering: &Gathering<'_>, check: &Check<'_>, wanted: &Wanted) -> Result<(), String> {
    let (blob, _) = gathering.blob(wanted).ok_or("is not in the store")?;
    let mut file: File = gathering.depot.store.open_blob(blob).map_err(|error| reason(&error))?;
    let weak_hashes = gathering.request.options.weak_checksums;
    let policy = Policy { now: check.now, weak_hashes, expired_since: true };
    match check.keys.verify_package(&mut file, &policy) {
        Ok((_, Cover::Whole)) => Ok(()),
        Ok((_, Cover::Header)) if check.metadata_signed => Ok(()),
        Ok((_, Cover::Header)) => Err("is signed only in its header, and the metadata is not signed".into()),
        Err(error @ PackageError::Signature(_)) => Err(format!("the package {}", reason(&error))),
        Err(error) => Err(reason(&error)),
    }
}
