//! The level `quick`: refs lead to snapshots, these to trees, and the reflog is as it was written. It reads nothing
//! that grows with the number of files.

use cfs_fs::digest::SnapshotId;
use cfs_fs::tree::{NodeError, Nodes};
use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Finding, Kind, Object};
use super::{Check, FsckError, Phase};
use crate::catalogue::{CatalogueError, CopyFault, Raw, SnapshotRow, Target};
use crate::snapshot::Snapshot;

/// Checks it; returns the snapshots whose trees should be whole.
pub(super) fn check(check: &mut Check<'_, '_>) -> Result<BTreeMap<SnapshotId, Snapshot>, FsckError> {
    check.step(Phase::Quick, 0, None)?;
    let catalogue = &check.depot.catalogue;
    if let Some(faults) = check.try_read(|| catalogue.schema_faults())? {
        check.add_all(Kind::CatalogueSchema, &Object::Catalogue, faults);
    }
    if let Some(faults) = check.try_read(|| catalogue.structure_faults(false))? {
        check.add_all(Kind::CatalogueStructure, &Object::Catalogue, faults);
    }
    if let Some(faults) = check.try_read(|| catalogue.seal_faults())? {
        check.add_all(Kind::CatalogueRow, &Object::Catalogue, faults);
    }
    // Where nobody can write, nothing was lost while writing.
    if let Ok(fault) = catalogue.log_faults() {
        check.add_all(Kind::CatalogueLog, &Object::Catalogue, fault.into_iter().collect());
    }
    if let Some(chain) = check.try_read(|| catalogue.verify_chain())? {
        check.checked.moves = chain.length;
        for fault in chain.faults {
            check.add(Finding::new(Kind::Reflog, Object::Reflog(fault.object), fault.what));
        }
    }
    for fault in check.try_read(|| catalogue.copy_faults())?.unwrap_or_default() {
        let (kind, what) = match fault {
            CopyFault::Behind(what) => (Kind::ReflogBehind, what),
            CopyFault::Ahead(what) => (Kind::ReflogAhead, what),
            CopyFault::Damaged(what) => (Kind::ReflogCopy, what),
        };
        check.add(Finding::new(kind, Object::Reflog("reflog".to_owned()), what));
    }
    let mut known = BTreeSet::new();
    let mut whole = BTreeMap::new();
    let mut findings = Vec::new();
    check.try_read(|| {
        catalogue.for_each_snapshot_row(&mut |raw| match raw {
            Raw::Snapshot(row) => {
                known.insert(row.id);
                match snapshot(&row) {
                    Ok(snapshot) if !row.collected => {
                        whole.insert(row.id, snapshot);
                    }
                    Ok(_) => {}
                    Err(finding) => findings.push(finding),
                }
            }
            Raw::Broken(table, number) => findings.push(broken(table, number)),
            Raw::Node(..) => {}
        })
    })?;
    check.findings.extend(findings);
    check.checked.snapshots = known.len() as u64;
    named(check, &known, &whole)?;
    roots(check, &whole)?;
    Ok(whole)
}

/// A row that is none.
pub(super) fn broken(table: &str, number: i64) -> Finding {
    let what = format!("row {number} of {table} cannot be read");
    Finding::new(Kind::CatalogueUnreadable, Object::Catalogue, what)
}

/// A row's snapshot, if it is what the row says.
fn snapshot(row: &SnapshotRow) -> Result<Snapshot, Finding> {
    let damaged = |what: &str| Finding::new(Kind::SnapshotDamaged, Object::Snapshot(row.id), what);
    if SnapshotId::of(&row.record) != row.id {
        return Err(damaged("its record hashes to another name"));
    }
    let text = std::str::from_utf8(&row.record).map_err(|_| damaged("its record is no text"))?;
    let snapshot = Snapshot::decode(text).map_err(|error| damaged(&error.to_string()))?;
    if (snapshot.root.id, snapshot.created) != (row.root, row.created) {
        return Err(damaged("its row says something else than its record"));
    }
    Ok(snapshot)
}

/// What refs and pins name is there and whole.
fn named(
    check: &mut Check<'_, '_>,
    known: &BTreeSet<SnapshotId>,
    whole: &BTreeMap<SnapshotId, Snapshot>,
) -> Result<(), FsckError> {
    let catalogue = &check.depot.catalogue;
    let mut named = Vec::new();
    for found in check.try_read(|| catalogue.refs())?.unwrap_or_default() {
        check.checked.refs += 1;
        if let Target::Snapshot(id) = found.target {
            named.push((format!("ref {}", found.name), id));
        }
    }
    for pin in check.try_read(|| catalogue.pins())?.unwrap_or_default() {
        named.push(("a pin".to_owned(), pin.snapshot));
    }
    for (who, id) in named {
        let mut collected = || check.try_read(|| catalogue.collected_at(id)).map(Option::flatten);
        let what = if !known.contains(&id) {
            "is not there"
        } else if whole.contains_key(&id) || collected()?.is_none() {
            continue;
        } else {
            "was collected as garbage"
        };
        check.add(Finding::new(
            Kind::SnapshotMissing,
            Object::Snapshot(id),
            format!("{who} names it; it {what}"),
        ));
    }
    Ok(())
}

/// The top node of every tree is there.
fn roots(check: &mut Check<'_, '_>, whole: &BTreeMap<SnapshotId, Snapshot>) -> Result<(), FsckError> {
    let tops: BTreeMap<_, _> = whole.iter().map(|(id, snapshot)| (snapshot.root.id, *id)).collect();
    for (top, snapshot) in tops {
        let (kind, what) = match check.depot.catalogue.node(top) {
            Ok(_) => continue,
            Err(NodeError::Missing { .. }) => (Kind::NodeMissing, "is not there".to_owned()),
            Err(error @ NodeError::Damaged { .. }) => (Kind::NodeDamaged, error.to_string()),
            Err(error) => {
                let error = CatalogueError::from(error);
                check.try_read(|| Err::<(), _>(error))?;
                continue;
            }
        };
        let what = format!("{what}; it is the top of snapshot {snapshot}");
        check.add(Finding::new(kind, Object::Node(top), what));
    }
    Ok(())
}
