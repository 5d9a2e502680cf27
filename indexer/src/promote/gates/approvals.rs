//! The gate `approvals`: enough of those who may have approved of every snapshot that is promoted.
//!
//! An approval is of one snapshot, so whatever comes to a source afterwards is not approved. Each approver counts once,
//! by the name that the allowed signers give to his key, or by his user where signatures are not asked for; who promotes
//! does not count. It cannot be overruled.

use std::collections::BTreeSet;
use std::path::Path;

use cfs_fs::digest::SnapshotId;

use super::{Check, Gate, PromoteError, Scene};
use crate::approve::{counted, user_of};
use crate::catalogue::Signer;

/// Runs the gate.
pub(super) fn check(scene: &Scene<'_>, signer: &Signer) -> Result<Check, PromoteError> {
    let mut check = Check::new(Gate::Approvals);
    let change = scene.change;
    let Some(needed) = change.policy.approvals.filter(|_| change.is_some()) else { return Ok(check) };
    let promoter = user_of(&signer.actor);
    let mut snapshots: BTreeSet<SnapshotId> = BTreeSet::new();
    for arrival in &change.arrivals {
        match arrival.snapshot {
            Some(id) => drop(snapshots.insert(id)),
            None => {
                check.find(format!("{}: is made by this promotion, so nobody has seen it", arrival.source));
            }
        }
    }
    if change.arrivals.is_empty() {
        check.find("only links move, and nobody can approve of that alone: promote a snapshot with them");
    }
    let signers = change.policy.signers.as_deref();
    let mut said = Vec::new();
    for id in snapshots {
        let found = approvers(scene, id, signers, promoter)?;
        let count = u32::try_from(found.len()).unwrap_or(u32::MAX);
        let names = if found.is_empty() { String::new() } else { format!(" ({})", found.join(", ")) };
        said.push(format!("{} of {needed} of {}{names}", count, id.short()));
        if count < needed {
            check.find(format!("snapshot {} has {count} of {needed} approvals{names}", id.short()));
        }
    }
    check.said = Some(said.join("; "));
    Ok(check)
}

/// Who approved of a snapshot and counts.
fn approvers(
    scene: &Scene<'_>,
    id: SnapshotId,
    signers: Option<&Path>,
    promoter: &str,
) -> Result<Vec<String>, PromoteError> {
    let said = scene.depot.catalogue.approvals(&scene.change.name, Some(id))?;
    let mut names = BTreeSet::new();
    for approval in said.iter().filter(|approval| approval.given && approval.user != promoter) {
        if let Ok(name) = counted(approval, signers)
            && name != promoter
        {
            names.insert(name);
        }
    }
    Ok(names.into_iter().collect())
}
