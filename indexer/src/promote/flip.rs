//! A flip: new states of one or more views, on their way from planned to committed.
//!
//! Always true: what [`commit`] commits is what its gates let through and its hooks agreed to, made of exactly the
//! states that the views have when they move; [`plan`] goes the same way as far as it changes nothing.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use cfs_fs::diff::{self, Summary, diff};
use cfs_fs::digest::{NodeId, SnapshotId};
use cfs_fs::edit::empty_dir;
use cfs_fs::name::TreePath;
use cfs_fs::tree::{Dir, Item, Kind, Link, Node, NodeError, NodeMap, Nodes, Stage, for_each_link};

use super::gates::{self, Check, Wishes};
use super::{PromoteError, ask, derive, rules, times};
use crate::catalogue::{Catalogue, CatalogueError, Current, Draft, Planned, RefUpdate, Signer, Taken};
use crate::config::{Config, Gate, View};
use crate::depot::Depot;
use crate::hooks;
use crate::refname::RefName;
use crate::revision::RevPath;
pub use crate::snapshot::{Rule, Rules};
use crate::sshsig::{self, Statement};

/// New states of views.
#[derive(Debug)]
pub struct Flip {
    /// One for each view.
    pub changes: Vec<Change>,
    /// The nodes of the new trees that may be new.
    pub nodes: NodeMap,
    /// What will differ in all views, once it was counted.
    summary: Option<Summary>,
}

/// The nodes that exist and those of a flip.
#[derive(Debug)]
pub struct FlipNodes<'a> {
    catalogue: &'a Catalogue,
    new: &'a NodeMap,
}

impl Nodes for FlipNodes<'_> {
    fn node(&self, id: NodeId) -> Result<Arc<Node>, NodeError> {
        if self.new.contains_key(&id) { self.new.node(id) } else { self.catalogue.node(id) }
    }
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
    /// The same before lists are made: what the plan tells, and what is told of what was done.
    pub planned: Item,
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
    /// What was taken over from nodes of the catalogue where times were moved on.
    pub taken: Taken,
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
    /// A flip of no view.
    fn nothing() -> Self {
        Self { changes: Vec::new(), nodes: NodeMap::new(), summary: None }
    }

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
                planned: old.clone(),
                old,
                old_access,
                arrivals: Vec::new(),
                parents: Vec::new(),
                checks: Vec::new(),
                bumped: Vec::new(),
                taken: Taken::default(),
                meta: BTreeMap::new(),
                message: String::new(),
                reason: String::new(),
            }
        };
        let changes = names.iter().zip(current).map(change).collect();
        Self { changes, nodes: stage.into_new_nodes(), summary: None }
    }

    /// The nodes that exist and those of the flip.
    pub fn nodes<'a>(&'a self, depot: &'a Depot) -> FlipNodes<'a> {
        FlipNodes { catalogue: &depot.catalogue, new: &self.nodes }
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

    /// Calls `visit` with every path of the view `number` that will differ, lists aside.
    pub fn differences<E: From<NodeError>>(
        &self,
        depot: &Depot,
        number: usize,
        visit: &mut impl FnMut(&str, diff::Change<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(change) = self.changes.get(number) else { return Ok(()) };
        match (&change.old.kind, &change.planned.kind) {
            (Kind::Dir(old), Kind::Dir(new)) => diff(&self.nodes(depot), *old, *new, visit),
            _ => Ok(()),
        }
    }

    /// Counts what will differ in all views.
    pub fn summary(&self, depot: &Depot) -> Result<Summary, NodeError> {
        if let Some(summary) = self.summary {
            return Ok(summary);
        }
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
            // They were made by this process: none of them is damaged.
            let _ = for_each_link(id, bytes, &mut |link| {
                if let Link::Node(below) = link {
                    open.push(below);
                }
            });
            found.insert(id, bytes.clone());
        }
        found
    }

    /// What is to be committed: a draft for each view that changes.
    fn drafts(&self) -> Vec<Option<Draft>> {
        let draft = |change: &Change| Draft {
            root: change.new.clone(),
            nodes: self.nodes_of(&change.new),
            taken: change.taken.clone(),
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

/// Takes a flip from its new trees to what could be committed: times, gates. A flip that gates refuse is an error
/// that holds it.
pub fn plan(depot: &Depot, flip: &mut Flip, wishes: &Wishes, signer: &Signer) -> Result<(), PromoteError> {
    settle(depot, flip, wishes)?;
    let checks = gates::check(depot, flip, wishes, signer)?;
    judge(flip, checks)
}

/// Commits the flip whose new trees `shape` makes of what `names` are now, all views in one transaction. `shape` is
/// called again when one of them moved meanwhile. Returns the flip and the moves of the views that changed.
pub fn commit<E: From<CatalogueError> + From<PromoteError>>(
    depot: &Depot,
    config: &Config,
    names: &[RefName],
    signer: &Signer,
    mut shape: impl FnMut(&[Option<Current>]) -> Result<(Flip, Wishes), E>,
) -> Result<(Flip, Vec<RefUpdate>), E> {
    hooks::begin(depot, config)?;
    let mut done = None;
    let draft = |current: &[Option<Current>]| {
        let (mut flip, wishes) = shape(current)?;
        prepare(depot, config, &mut flip, &wishes, signer)?;
        let drafts = flip.drafts();
        done = Some(flip);
        Ok::<_, E>(drafts)
    };
    let mut seal = |planned: &Planned| Ok(sign(config, planned, signer)?);
    let updates = depot.catalogue.update_refs_sealed(&depot.store, names, signer, draft, &mut seal)?;
    let flip = match done {
        Some(flip) => flip,
        None => Flip::nothing(),
    };
    Ok((flip, updates.into_iter().flatten().collect()))
}

/// Signs a move, where there is a key, or where the view demands it.
fn sign(config: &Config, planned: &Planned, signer: &Signer) -> Result<Option<String>, PromoteError> {
    let policy = config.view(&planned.name);
    let name = || planned.name.clone();
    let Some(signers) = &policy.signers else { return Ok(None) };
    let Some(key) = &config.signing_key else {
        return if policy.signed_moves { Err(PromoteError::Unsigned { name: name() }) } else { Ok(None) };
    };
    let Planned { name: view, old, new, generation } = planned;
    let statement = Statement::of_move(view, *old, *new, *generation);
    let failed = |source| PromoteError::Signature { name: name(), source };
    let signature = sshsig::sign(key, &statement).map_err(failed)?;
    // What would not count later is refused now.
    sshsig::verify(signers, &statement, &signature, signer.now).map_err(failed)?;
    Ok(Some(signature))
}

/// Takes a flip all the way: times; gates, and what is derived from the trees; hooks; the store.
fn prepare(
    depot: &Depot,
    config: &Config,
    flip: &mut Flip,
    wishes: &Wishes,
    signer: &Signer,
) -> Result<(), PromoteError> {
    settle(depot, flip, wishes)?;
    let shared = &*flip;
    // Gates, lists and whoever counts look at the same trees, and none needs the others.
    let (checks, derived, summary) = thread::scope(|scope| {
        let summary = scope.spawn(|| shared.summary(depot));
        let derived = scope.spawn(|| derive::derive(depot, shared, signer));
        let checks = gates::check(depot, shared, wishes, signer);
        (checks, joined(derived), joined(summary))
    });
    flip.summary = Some(summary.map_err(CatalogueError::from)?);
    judge(flip, checks?)?;
    let written = derive::enter(flip, derived?);
    ask::ask(depot, config, flip, signer)?;
    Ok(written.publish(depot)?)
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Gives the new trees what follows from the old ones: lists, for now, and times.
fn settle(depot: &Depot, flip: &mut Flip, wishes: &Wishes) -> Result<(), PromoteError> {
    let mut stage = flip.take_stage(depot);
    for change in &mut flip.changes {
        derive::carry(&mut stage, change)?;
        if gates::wanted(change, wishes).contains(&Gate::Mtime) {
            times::settle(&mut stage, change)?;
        }
        change.planned = change.new.clone();
    }
    flip.put_back(stage);
    Ok(())
}

/// Records what the gates found; an error that holds the plan, when one of them says no.
fn judge(flip: &mut Flip, checks: Vec<Vec<Check>>) -> Result<(), PromoteError> {
    for (change, checks) in flip.changes.iter_mut().zip(checks) {
        change.checks = checks;
        gates::record(change);
    }
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
    let plan = Box::new(std::mem::replace(flip, Flip::nothing()));
    Err(PromoteError::Refused { names, gates, plan })
}
