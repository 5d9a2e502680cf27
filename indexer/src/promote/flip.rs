//! A flip: new states of one or more views, on their way from planned to committed.
//!
//! Always true: what [`commit`] commits is what [`settle`] settled and its gates let through, made of exactly
//! the states that the views have when they move.

use std::collections::BTreeMap;

use cfs_fs::diff::{self, Summary, diff};
use cfs_fs::digest::{NodeId, SnapshotId};
use cfs_fs::edit::empty_dir;
use cfs_fs::name::TreePath;
use cfs_fs::tree::{Dir, Item, Kind, Node, NodeError, NodeMap, Stage};

use super::gates::{self, Check, Wishes};
use super::{PromoteError, derive, rules, times};
use crate::catalogue::{CatalogueError, Current, Draft, RefUpdate, Signer};
use crate::config::{Config, Gate, View};
use crate::depot::Depot;
use crate::refname::RefName;
use crate::revision::RevPath;
pub use crate::snapshot::{Rule, Rules};

/// New states of views.
#[derive(Debug)]
pub struct Flip {
    /// One for each view.
    pub changes: Vec<Change>,
    /// The nodes of the new trees that may be new.
    pub nodes: NodeMap,
}

/// The new state of one view.
#[derive(Debug)]
pub struct Change {
    /// The view.
    pub name: RefName,
    /// What holds for it.
    pub policy: View,
    /// What it is now; `None` for a new one.
    pub current: Option<Current>,
    /// Its tree now: an empty directory for a new one.
    pub old: Item,
    /// Its tree after the flip.
    pub new: Item,
    /// Who may read what now.
    pub old_access: Rules,
    /// Who may read what after the flip.
    pub access: Rules,
    /// What came from where.
    pub arrivals: Vec<Arrival>,
    /// Other snapshots that it comes from.
    pub parents: Vec<SnapshotId>,
    /// What the gates found.
    pub checks: Vec<Check>,
    /// Paths whose times were moved on, so that mirrors see that they changed.
    pub bumped: Vec<String>,
    /// See [`crate::snapshot::Snapshot::meta`]; what the gates found comes to it.
    pub meta: BTreeMap<String, String>,
    /// Why, in the user's words.
    pub message: String,
    /// What the reflog says.
    pub reason: String,
}

/// A tree that became part of a view.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// What was named.
    pub source: RevPath,
    /// The snapshot that it named; `None` for one that the same flip makes.
    pub snapshot: Option<SnapshotId>,
    /// The path in the view.
    pub target: TreePath,
}

impl Change {
    /// Whether the view will be another.
    pub fn is_some(&self) -> bool {
        self.current.is_none() || self.old != self.new || self.old_access != self.access
    }

    /// The trees before and after.
    pub fn dirs(&self) -> Option<(Dir, Dir)> {
        match (&self.old.kind, &self.new.kind) {
            (Kind::Dir(old), Kind::Dir(new)) => Some((*old, *new)),
            _ => None,
        }
    }
}

impl Flip {
    /// A flip of `names`, which are what `current` says, that changes nothing yet.
    pub fn begin(
        depot: &Depot,
        config: &Config,
        names: &[RefName],
        current: &[Option<Current>],
        signer: &Signer,
    ) -> Self {
        let mut stage = Stage::new(&depot.catalogue);
        let empty = empty_dir(&mut stage, signer.now);
        let change = |(name, current): (&RefName, &Option<Current>)| {
            let old = current.as_ref().map_or_else(|| empty.clone(), |current| current.snapshot.root_item());
            let old_access =
                current.as_ref().map(|current| current.snapshot.access.clone()).unwrap_or_default();
            let policy = config.view(name);
            Change {
                name: name.clone(),
                access: rules(&old_access, policy.owner, policy.group),
                policy,
                current: current.clone(),
                new: old.clone(),
                old,
                old_access,
                arrivals: Vec::new(),
                parents: Vec::new(),
                checks: Vec::new(),
                bumped: Vec::new(),
                meta: BTreeMap::new(),
                message: String::new(),
                reason: String::new(),
            }
        };
        let changes = names.iter().zip(current).map(change).collect();
        Self { changes, nodes: stage.into_new_nodes() }
    }

    /// The nodes that exist and those of the flip, and a place for more; to be given back with
    /// [`Flip::put_back`].
    pub fn take_stage<'a>(&mut self, depot: &'a Depot) -> Stage<'a> {
        let mut stage = Stage::new(&depot.catalogue);
        stage.adopt(std::mem::take(&mut self.nodes));
        stage
    }

    /// Gives back what [`Flip::take_stage`] gave.
    pub fn put_back(&mut self, stage: Stage<'_>) {
        self.nodes = stage.into_new_nodes();
    }

    /// Calls `visit` with every path of the view `number` that will differ.
    pub fn differences<E: From<NodeError>>(
        &self,
        depot: &Depot,
        number: usize,
        visit: &mut impl FnMut(&str, diff::Change<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut stage = Stage::new(&depot.catalogue);
        stage.adopt(self.nodes.clone());
        let Some((old, new)) = self.changes.get(number).and_then(Change::dirs) else { return Ok(()) };
        diff(&stage, old, new, visit)
    }

    /// Counts what will differ in all views.
    pub fn summary(&self, depot: &Depot) -> Result<Summary, NodeError> {
        let mut summary = Summary::default();
        for number in 0..self.changes.len() {
            self.differences(depot, number, &mut |_, change| {
                summary.add(&change);
                Ok::<(), NodeError>(())
            })?;
        }
        Ok(summary)
    }

    /// Those of the new nodes that a tree is made of.
    fn nodes_of(&self, top: &Item) -> NodeMap {
        let mut found = NodeMap::new();
        let mut open: Vec<NodeId> = Vec::new();
        let dir = |item: &Item| match item.kind {
            Kind::Dir(dir) => Some(dir.id),
            _ => None,
        };
        open.extend(dir(top));
        while let Some(id) = open.pop() {
            // What is not among them was there before, with everything below it.
            let Some(bytes) = self.nodes.get(&id).filter(|_| !found.contains_key(&id)) else { continue };
            match Node::verified(id, bytes) {
                Ok(Node::Leaf(entries)) => open.extend(entries.iter().filter_map(|entry| dir(&entry.item))),
                Ok(Node::Index(chunks)) => open.extend(chunks.iter().map(|chunk| chunk.id)),
                // They were made by this process.
                Err(_) => {}
            }
            found.insert(id, bytes.clone());
        }
        found
    }

    /// What is to be committed: a draft for each view that changes.
    fn drafts(&self) -> Vec<Option<Draft>> {
        let draft = |change: &Change| Draft {
            root: change.new.clone(),
            nodes: self.nodes_of(&change.new),
            parents: change
                .arrivals
                .iter()
                .filter_map(|arrival| arrival.snapshot)
                .chain(change.parents.iter().copied())
                .collect(),
            access: Some(change.access.clone()),
            meta: change.meta.clone(),
            message: change.message.clone(),
            reason: change.reason.clone(),
        };
        self.changes.iter().map(|change| change.is_some().then(|| draft(change))).collect()
    }
}

/// Takes a flip from its new trees to what can be committed: times, gates.
pub fn settle(depot: &Depot, flip: &mut Flip, wishes: &Wishes, signer: &Signer) -> Result<(), PromoteError> {
    let mut stage = flip.take_stage(depot);
    for change in &mut flip.changes {
        derive::carry(&mut stage, change)?;
        if gates::wanted(change, wishes).contains(&Gate::Mtime) {
            times::settle(&mut stage, change)?;
        }
    }
    flip.put_back(stage);
    gates::check(depot, flip, wishes, signer)?;
    flip.changes.iter_mut().for_each(gates::record);
    refuse(flip)
}

/// An error that holds the plan, when gates say no.
fn refuse(flip: &mut Flip) -> Result<(), PromoteError> {
    let refusing = |change: &Change| change.checks.iter().any(Check::refuses);
    if !flip.changes.iter().any(refusing) {
        return Ok(());
    }
    let names =
        flip.changes.iter().filter(|change| refusing(change)).map(|change| change.name.to_string()).collect();
    let mut gates: Vec<Gate> = flip
        .changes
        .iter()
        .flat_map(|change| change.checks.iter().filter(|check| check.refuses()).map(|check| check.gate))
        .collect();
    gates.sort_unstable();
    gates.dedup();
    let plan = Flip { changes: std::mem::take(&mut flip.changes), nodes: std::mem::take(&mut flip.nodes) };
    Err(PromoteError::Refused { names, gates, plan: Box::new(plan) })
}

/// Commits the flip that `plan` makes of what `names` are now, all views in one transaction. `plan` is called
/// again when one of them moved meanwhile. Returns the flip and the moves of the views that changed.
pub fn commit<E: From<CatalogueError> + From<PromoteError>>(
    depot: &Depot,
    names: &[RefName],
    signer: &Signer,
    mut plan: impl FnMut(&[Option<Current>]) -> Result<Flip, E>,
) -> Result<(Flip, Vec<RefUpdate>), E> {
    let mut done = None;
    let updates = depot.catalogue.update_refs(&depot.store, names, signer, |current| {
        let mut flip = plan(current)?;
        derive::derive(depot, &mut flip, signer)?;
        let drafts = flip.drafts();
        done = Some(flip);
        Ok::<_, E>(drafts)
    })?;
    let flip = match done {
        Some(flip) => flip,
        None => Flip { changes: Vec::new(), nodes: NodeMap::new() },
    };
    Ok((flip, updates.into_iter().flatten().collect()))
}
