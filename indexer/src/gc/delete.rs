//! Deleting, from the top down: snapshots, nodes, blobs.

use std::collections::{HashMap, HashSet};

use cfs_fs::digest::{BlobId, NodeId, SnapshotId};
use cfs_fs::store::lease::Gate;
use cfs_fs::sweep;
use cfs_fs::tree::{NodeError, Nodes};

use super::roots::Watch;
use super::survey::Survey;
use super::{Amount, Broken, GcError, OnProgress, Options, Phase, Report, split, step};
use crate::catalogue::Condemned;
use crate::depot::Depot;

/// What is to be deleted.
#[derive(Debug)]
pub(super) struct Doomed {
    snapshots: Vec<SnapshotId>,
    /// No node stands before one that names it.
    nodes: Vec<NodeId>,
    node_bytes: u64,
    blobs: Vec<(BlobId, u64)>,
}

impl Doomed {
    /// Leaves out what a snapshot needs that is condemned and not to be deleted yet, and adds the nodes.
    pub(super) fn prepare(
        depot: &Depot,
        watch: &mut Watch,
        survey: &Survey,
        doomed: Vec<Condemned>,
        progress: &mut OnProgress<'_>,
    ) -> Result<Self, GcError> {
        let (snapshots, blobs) = split(doomed);
        let gone: HashSet<SnapshotId> = snapshots.iter().copied().collect();
        for id in depot.catalogue.whole_snapshots()?.into_iter().filter(|id| !gone.contains(id)) {
            if !watch.snapshots.contains(&id) {
                watch.mark_snapshot(&depot.catalogue, id, progress)?;
            }
        }
        let (nodes, node_bytes) = garbage_nodes(depot, watch, progress)?;
        let blobs = blobs
            .into_iter()
            .filter(|id| !watch.marks.has_blob(*id))
            .map(|id| (id, survey.unneeded(Condemned::Blob(id)).unwrap_or(0)))
            .collect();
        Ok(Self { snapshots, nodes, node_bytes, blobs })
    }

    /// How much it is.
    pub(super) fn amount(&self) -> Amount {
        Amount {
            snapshots: self.snapshots.len() as u64,
            nodes: self.nodes.len() as u64,
            node_bytes: self.node_bytes,
            blobs: self.blobs.len() as u64,
            blob_bytes: self.blobs.iter().map(|(_, bytes)| bytes).sum(),
            ..Amount::default()
        }
    }

    /// Deletes it, but for what somebody has come to need.
    pub(super) fn delete(
        mut self,
        depot: &Depot,
        watch: &mut Watch,
        report: &mut Report,
        progress: &mut OnProgress<'_>,
    ) -> Result<(), GcError> {
        if watch.options.broken == Some(Broken::Order) {
            self.nodes.reverse();
        }
        self.collect(depot, watch, report, progress)?;
        self.nodes(depot, watch, report, progress)?;
        self.blobs(depot, watch, report, progress)
    }

    /// Gives up the snapshots. From then on nobody can come to need them.
    fn collect(
        &self,
        depot: &Depot,
        watch: &mut Watch,
        report: &mut Report,
        progress: &mut OnProgress<'_>,
    ) -> Result<(), GcError> {
        let total = Some(self.snapshots.len() as u64);
        for batch in self.snapshots.chunks(watch.options.batch) {
            step(progress, Phase::Collecting, report.deleted.snapshots, total)?;
            // Nobody comes to hold one of them until it is known to be collected.
            let gate = Gate::close(&depot.store)?;
            depot.catalogue.hold_still("give up snapshots", |moment| {
                watch.look_everywhere(depot, &gate, moment)?;
                let second_look = watch.options.broken != Some(Broken::SecondLook);
                for id in batch {
                    let needed = watch.snapshots.contains(id);
                    if !needed && (!second_look || moment.is_condemned(Condemned::Snapshot(*id))?) {
                        moment.collect(*id, watch.options.now)?;
                        report.deleted.snapshots += 1;
                    } else if let Some(snapshot) = moment.snapshot(*id)? {
                        watch.marks.mark(moment, snapshot.root.id, &mut || Ok::<_, GcError>(()))?;
                    }
                }
                Ok::<_, GcError>(())
            })?;
        }
        Ok(())
    }

    fn nodes(
        &self,
        depot: &Depot,
        watch: &mut Watch,
        report: &mut Report,
        progress: &mut OnProgress<'_>,
    ) -> Result<(), GcError> {
        let total = Some(self.nodes.len() as u64);
        for batch in self.nodes.chunks(watch.options.batch) {
            step(progress, Phase::Nodes, report.deleted.nodes, total)?;
            depot.catalogue.hold_still("delete nodes", |moment| {
                watch.look_again(moment)?;
                for id in batch.iter().filter(|id| !watch.marks.has_node(**id)) {
                    report.deleted.node_bytes += moment.delete_node(*id)?;
                    report.deleted.nodes += 1;
                }
                Ok::<_, GcError>(())
            })?;
        }
        Ok(())
    }

    /// First the rows of a batch, then its files: whoever finds a row finds the file.
    fn blobs(
        &self,
        depot: &Depot,
        watch: &mut Watch,
        report: &mut Report,
        progress: &mut OnProgress<'_>,
    ) -> Result<(), GcError> {
        let total = Some(self.blobs.len() as u64);
        for batch in self.blobs.chunks(watch.options.batch) {
            step(progress, Phase::Blobs, report.deleted.blobs, total)?;
            let going = depot.catalogue.hold_still("delete blobs", |moment| {
                watch.look_again(moment)?;
                let mut going = Vec::new();
                for (id, bytes) in batch.iter().filter(|(id, _)| !watch.marks.has_blob(*id)) {
                    let blind = watch.options.broken == Some(Broken::Revival);
                    if blind || moment.is_condemned(Condemned::Blob(*id))? {
                        moment.begin_deleting(*id)?;
                        going.push((*id, *bytes));
                    }
                }
                Ok::<_, GcError>(going)
            })?;
            step(progress, Phase::Blobs, report.deleted.blobs, total)?;
            let gone = unlink(depot, &watch.options, going.iter().map(|(id, _)| *id))?;
            report.deleted.blobs += gone.len() as u64;
            report.deleted.blob_bytes +=
                going.iter().filter(|(id, _)| gone.contains(id)).map(|(_, bytes)| bytes).sum::<u64>();
        }
        Ok(())
    }
}

/// Deletes the files of blobs that an earlier collection began to delete.
pub(super) fn finish(depot: &Depot, options: &Options, progress: &mut OnProgress<'_>) -> Result<(), GcError> {
    let condemned = depot.catalogue.condemned()?;
    let begun: Vec<BlobId> = condemned
        .iter()
        .filter_map(|(what, (_, deleting))| match what {
            Condemned::Blob(id) if *deleting => Some(*id),
            _ => None,
        })
        .collect();
    for batch in begun.chunks(options.batch) {
        step(progress, Phase::Blobs, 0, None)?;
        unlink(depot, options, batch.iter().copied())?;
    }
    Ok(())
}

/// Deletes the files of blobs without rows, while nobody can make one live again. Returns which were deleted.
fn unlink(
    depot: &Depot,
    options: &Options,
    blobs: impl Iterator<Item = BlobId>,
) -> Result<HashSet<BlobId>, GcError> {
    depot.catalogue.hold_still("delete blobs", |moment| {
        let mut gone = HashSet::new();
        for id in blobs {
            if options.broken == Some(Broken::Unlinking) || moment.is_deleting(id)? {
                sweep::remove_blob(&depot.store, id)?;
                gone.insert(id);
            }
            moment.free(Condemned::Blob(id))?;
        }
        Ok(gone)
    })
}

/// The nodes that are not marked, those that name others before these, and their bytes.
fn garbage_nodes(
    depot: &Depot,
    watch: &Watch,
    progress: &mut OnProgress<'_>,
) -> Result<(Vec<NodeId>, u64), GcError> {
    let mut named: HashMap<NodeId, (usize, Vec<NodeId>)> = HashMap::new();
    depot.catalogue.node_ids(&mut |id| {
        if !watch.marks.has_node(id) {
            named.insert(id, (0, Vec::new()));
        }
    })?;
    let all: Vec<NodeId> = named.keys().copied().collect();
    let mut bytes = 0;
    for (number, id) in all.iter().enumerate() {
        if number.is_multiple_of(1024) {
            step(progress, Phase::Looking, number as u64, Some(all.len() as u64))?;
        }
        let node = match depot.catalogue.node(*id) {
            Ok(node) => node,
            // Nobody needs what it named, nor can it be known.
            Err(NodeError::Damaged { .. } | NodeError::Missing { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        bytes += depot.catalogue.node_bytes(*id)?;
        let below: HashSet<NodeId> = node.nodes().filter(|below| named.contains_key(below)).collect();
        for id in &below {
            if let Some((above, _)) = named.get_mut(id) {
                *above += 1;
            }
        }
        if let Some((_, known)) = named.get_mut(id) {
            known.extend(below);
        }
    }
    let mut open: Vec<NodeId> = all.into_iter().filter(|id| named[id].0 == 0).collect();
    let mut ordered = Vec::with_capacity(named.len());
    while let Some(id) = open.pop() {
        ordered.push(id);
        let below = named.get_mut(&id).map(|(_, below)| std::mem::take(below)).unwrap_or_default();
        for id in below {
            if let Some((above, _)) = named.get_mut(&id) {
                *above -= 1;
                if *above == 0 {
                    open.push(id);
                }
            }
        }
    }
    Ok((ordered, bytes))
}
