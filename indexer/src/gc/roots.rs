//! Roots: what keeps everything that it shows.
//!
//! Refs, what they named lately, pins, workspaces, and what running mounts and exports show. Always true: a root
//! that comes while a collection runs is found by [`Watch::look_again`] before anything is deleted.

use std::collections::{BTreeMap, HashSet};

use cfs_fs::digest::{NodeId, SnapshotId};
use cfs_fs::store::lease::{Gate, Living};

use super::marks::Marks;
use super::{Broken, GcError, OnProgress, Options, Phase, step};
use crate::catalogue::{Catalogue, Moment, Retention};
use crate::depot::Depot;
use crate::workspace;

/// What keeps everything that it shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roots {
    /// Snapshots.
    pub snapshots: Vec<SnapshotId>,
    /// Trees that belong to no snapshot any more.
    pub nodes: Vec<NodeId>,
}

/// What is needed, kept up to date while a collection runs.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) options: Options,
    pub(super) marks: Marks,
    /// The roots that are known.
    pub(super) snapshots: HashSet<SnapshotId>,
    /// How many roots there were of each kind.
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// This collection's number, once it has condemned something.
    pub(super) collection: Option<u64>,
    nodes: Vec<NodeId>,
    /// The last move that is known.
    last: u64,
}

impl Watch {
    /// Finds the roots of now.
    pub(super) fn begin(depot: &Depot, options: Options) -> Result<Self, GcError> {
        let living = living(depot)?;
        // Who shows what refs named a while ago must find it.
        let past = living.iter().filter_map(|living| living.past_seconds).max().unwrap_or(0);
        let keep = options.keep_seconds.max(i64::try_from(past).unwrap_or(i64::MAX));
        // What ended so long ago is over.
        let since = options.now.saturating_sub(keep).saturating_add(1);
        let retention = Retention { since, generations: options.keep_generations };
        let (kept, last) = depot.catalogue.kept_snapshots(retention)?;
        let held = holds(&living, options);
        let worked = workspaces(depot)?;
        let counts = BTreeMap::from([
            ("refs, reflog and pins", kept.len() as u64),
            ("workspaces", worked.snapshots.len() as u64),
            ("mounts and exports", held.len() as u64),
        ]);
        let snapshots = kept.into_iter().chain(held).chain(worked.snapshots).collect();
        let marks = Marks::default();
        Ok(Self { options, marks, snapshots, counts, collection: None, nodes: worked.nodes, last })
    }

    /// Marks what the roots show.
    pub(super) fn mark(&mut self, depot: &Depot, progress: &mut OnProgress<'_>) -> Result<(), GcError> {
        step(progress, Phase::Marking, 0, None)?;
        let snapshots: Vec<SnapshotId> = self.snapshots.iter().copied().collect();
        for id in snapshots {
            self.mark_snapshot(&depot.catalogue, id, progress)?;
        }
        for id in std::mem::take(&mut self.nodes) {
            self.marks.mark(&depot.catalogue, id, &mut || Ok::<_, GcError>(()))?;
        }
        Ok(())
    }

    /// Marks what a snapshot shows, which need not be a root.
    pub(super) fn mark_snapshot(
        &mut self,
        catalogue: &Catalogue,
        id: SnapshotId,
        progress: &mut OnProgress<'_>,
    ) -> Result<(), GcError> {
        // One that was collected before somebody came to want it keeps nothing.
        let Some(snapshot) = catalogue.snapshot(id)? else { return Ok(()) };
        let mut done = self.marks.nodes();
        self.marks.mark(catalogue, snapshot.root.id, &mut || {
            done += 1;
            if done.is_multiple_of(1024) { step(progress, Phase::Marking, done, None) } else { Ok(()) }
        })
    }

    /// Marks what has come to be needed since; nobody can change the catalogue meanwhile.
    pub(super) fn look_again(&mut self, moment: &Moment<'_>) -> Result<(), GcError> {
        if self.options.broken == Some(Broken::SecondLook) {
            return Ok(());
        }
        let (found, last) = moment.arrivals(self.last)?;
        self.last = last;
        self.add(moment, found)
    }

    /// As [`Watch::look_again`], and what processes have come to hold; `gate` keeps them from holding more.
    pub(super) fn look_everywhere(
        &mut self,
        depot: &Depot,
        gate: &Gate,
        moment: &Moment<'_>,
    ) -> Result<(), GcError> {
        self.look_again(moment)?;
        if self.options.broken == Some(Broken::SecondLook) {
            return Ok(());
        }
        let worked = workspaces(depot)?;
        self.add(moment, holds(&gate.living()?, self.options))?;
        self.add(moment, worked.snapshots)?;
        for id in worked.nodes {
            self.marks.mark(moment, id, &mut || Ok::<_, GcError>(()))?;
        }
        Ok(())
    }

    fn add(&mut self, moment: &Moment<'_>, found: Vec<SnapshotId>) -> Result<(), GcError> {
        for id in found {
            if self.snapshots.insert(id)
                && let Some(snapshot) = moment.snapshot(id)?
            {
                self.marks.mark(moment, snapshot.root.id, &mut || Ok::<_, GcError>(()))?;
            }
        }
        Ok(())
    }
}

/// What workspaces were opened on and have committed.
fn workspaces(depot: &Depot) -> Result<Roots, GcError> {
    let mut roots = Roots::default();
    for record in workspace::list(depot)? {
        roots.snapshots.push(record.snapshot);
        // A commit that was interrupted may have committed nothing.
        let trees = record.committed.iter().chain(&record.committing).map(|kept| kept.id);
        for id in trees {
            if depot.catalogue.has_node(id)? {
                roots.nodes.push(id);
            }
        }
    }
    Ok(roots)
}

fn holds(living: &[Living], options: Options) -> Vec<SnapshotId> {
    if options.broken == Some(Broken::Holds) {
        return Vec::new();
    }
    living.iter().flat_map(|living| living.holds.iter().copied()).collect()
}

fn living(depot: &Depot) -> Result<Vec<Living>, GcError> {
    Ok(Gate::close(&depot.store)?.living()?)
}

/// The leases that live now of processes that may bring something into the store.
pub(super) fn lease_names(depot: &Depot) -> Result<Vec<String>, GcError> {
    let living = living(depot)?.into_iter();
    Ok(living.filter(|living| living.past_seconds.is_none()).map(|living| living.name).collect())
}
