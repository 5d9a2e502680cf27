//! What is left of deleted objects: digests, nodes in commit files, commits that were never made, downloads that
//! nobody goes on with.

use std::time::{Duration, SystemTime};

use cfs_fs::digest::SnapshotId;
use cfs_fs::store::StoreError;
use cfs_fs::store::lease::{Gate, Lease};
use cfs_fs::sweep;

use super::roots::Watch;
use super::survey::Survey;
use super::{GcError, OnProgress, PARTIAL_SECONDS, Phase, Report, step};
use crate::catalogue::Condemned;
use crate::commitfile;
use crate::depot::Depot;

/// Digests that are looked at in one transaction.
const DIGESTS: usize = 10_000;

/// Deletes it.
pub(super) fn delete(
    depot: &Depot,
    watch: &Watch,
    survey: &Survey,
    report: &mut Report,
    progress: &mut OnProgress<'_>,
) -> Result<(), GcError> {
    if report.deleted.blobs > 0 {
        let mut next = Some((0, Vec::new()));
        while let Some(after) = next {
            step(progress, Phase::Remains, 0, None)?;
            next = depot.catalogue.delete_stale_digests(&after, DIGESTS)?;
        }
    }
    // While nothing is deleted, nothing in a commit file becomes useless.
    if report.deleted.nodes > 0 || report.deleted.snapshots > 0 {
        for id in depot.catalogue.collected_with_nodes()? {
            step(progress, Phase::Remains, report.deleted.files, None)?;
            trim(depot, id, report)?;
        }
    }
    uncommitted(depot, watch, survey, report)?;
    partials(depot, watch, report)
}

/// Takes the nodes that are gone out of the commit file of a collected snapshot. Those that are there stay in it:
/// snapshots that came later may have them from there only.
fn trim(depot: &Depot, id: SnapshotId, report: &mut Report) -> Result<(), GcError> {
    let path = depot.store.commit_path(id);
    let bytes = match std::fs::read(&path) {
        // Without it there is nothing to trim.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(depot.catalogue.set_nodes_left(id, 0)?);
        }
        read => read.map_err(|source| StoreError::Io { verb: "read", path, source })?,
    };
    let file = commitfile::decode(id, &bytes)?;
    let mut left = Vec::new();
    for (node, bytes) in &file.nodes {
        if depot.catalogue.has_node(*node)? {
            left.push((*node, *bytes));
        }
    }
    if left.len() < file.nodes.len() {
        let new = commitfile::encode(&file.snapshot, &left);
        depot.store.write_commit(&Lease::take(&depot.store)?, &id.to_string(), &new)?;
        report.deleted.files += 1;
        report.deleted.file_bytes += (bytes.len() - new.len()) as u64;
    }
    Ok(depot.catalogue.set_nodes_left(id, left.len() as u64)?)
}

/// Removes commit files that an earlier collection condemned and whose snapshots nobody can be about to commit.
fn uncommitted(depot: &Depot, watch: &Watch, survey: &Survey, report: &mut Report) -> Result<(), GcError> {
    let condemned = depot.catalogue.condemned()?;
    let old = condemned.iter().filter_map(|(what, (collection, _))| match what {
        Condemned::Commit(id) if Some(*collection) != watch.collection => Some(*id),
        _ => None,
    });
    for id in old.collect::<Vec<_>>() {
        let gate = Gate::close(&depot.store)?;
        if gate.living()?.iter().any(|living| living.past_seconds.is_none()) {
            return Ok(());
        }
        let gone = depot.catalogue.hold_still("delete a commit file", |moment| {
            let gone = !moment.is_committed(id)? && sweep::remove_commit(&depot.store, id)?;
            moment.free(Condemned::Commit(id))?;
            Ok::<_, GcError>(gone)
        })?;
        if gone {
            report.deleted.files += 1;
            report.deleted.file_bytes += survey.unneeded(Condemned::Commit(id)).unwrap_or(0);
        }
    }
    Ok(())
}

fn partials(depot: &Depot, watch: &Watch, report: &mut Report) -> Result<(), GcError> {
    let old = watch.options.now.saturating_sub(PARTIAL_SECONDS);
    let Ok(old) = u64::try_from(old) else { return Ok(()) };
    let before = SystemTime::UNIX_EPOCH + Duration::from_secs(old);
    for (dir, bytes) in sweep::partials(&depot.store, before)? {
        if sweep::remove_partial(&dir)? {
            report.deleted.files += 1;
            report.deleted.file_bytes += bytes;
        }
    }
    Ok(())
}
