//! `promote`: a tree of one ref becomes a path of another, in one compare-and-swap.
//!
//! Always true: [`plan`] changes nothing and [`apply`] does what a plan made of the same states says; a
//! promotion moves pointers, so its cost follows the difference and never the size.

use std::collections::BTreeMap;

use cfs_fs::diff::{Change, Summary, diff};
use cfs_fs::digest::SnapshotId;
use cfs_fs::edit::{EditError, overlay};
use cfs_fs::tree::{Dir, Item, Kind, NodeError, NodeMap, Stage, resolve};

use crate::catalogue::{CatalogueError, Current, Draft, RefUpdate, Signer};
use crate::depot::{Depot, place};
use crate::revision::{RefPath, RevPath};

/// What is to be promoted where.
#[derive(Debug, Clone)]
pub struct Request {
    /// The tree.
    pub source: RevPath,
    /// The place that becomes it.
    pub target: RefPath,
    /// What the place has and the source lacks stays.
    pub keep: bool,
    /// Why, in the user's words.
    pub message: String,
}

/// Why a promotion is not made.
#[derive(Debug, thiserror::Error)]
pub enum PromoteError {
    /// The source has nothing at the path.
    #[error("{source_path}: there is nothing to promote")]
    NoSource {
        /// What was to be promoted.
        source_path: RevPath,
    },
    /// A file cannot become the top of a ref.
    #[error("{source_path}: is not a directory, and the top of {} must be one", target.name)]
    NotADirectory {
        /// What was to be promoted.
        source_path: RevPath,
        /// Where it was to go.
        target: RefPath,
    },
    /// It cannot be put at its path.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

impl From<NodeError> for PromoteError {
    fn from(error: NodeError) -> Self {
        Self::Edit(error.into())
    }
}

/// A promotion that could be applied.
#[derive(Debug)]
pub struct Plan {
    /// The snapshot that the source names.
    pub source: SnapshotId,
    /// What the target's path is now.
    pub old: Option<Item>,
    /// What it will be.
    pub new: Item,
    /// The nodes of `new` that may be new.
    nodes: NodeMap,
}

impl Plan {
    /// Calls `visit` with every path below the target's that will differ.
    pub fn changes(
        &self,
        depot: &Depot,
        visit: &mut impl FnMut(&str, Change<'_>) -> Result<(), NodeError>,
    ) -> Result<(), NodeError> {
        let mut stage = Stage::new(&depot.catalogue);
        let empty = stage.write_dir(&[]);
        stage.adopt(self.nodes.clone());
        let dir = |item: Option<&Item>| match item.map(|item| &item.kind) {
            Some(Kind::Dir(dir)) => *dir,
            _ => empty,
        };
        let (old, new): (Dir, Dir) = (dir(self.old.as_ref()), dir(Some(&self.new)));
        diff(&stage, old, new, visit)
    }

    /// Counts what will differ.
    pub fn summary(&self, depot: &Depot) -> Result<Summary, NodeError> {
        let mut summary = Summary::default();
        self.changes(depot, &mut |_, change| {
            summary.add(&change);
            Ok(())
        })?;
        Ok(summary)
    }
}

/// Plans a promotion of the present states; changes nothing. `now` (seconds) becomes the time of directories
/// that a merge makes new.
pub fn plan(depot: &Depot, request: &Request, now: i64) -> Result<Plan, PromoteError> {
    let current = depot.catalogue.current(&request.target.name)?;
    plan_on(depot, request, current.as_ref(), now)
}

/// Applies a promotion. Returns the plan that was carried out, and the ref's move unless nothing changed.
pub fn apply(
    depot: &Depot,
    request: &Request,
    signer: &Signer,
) -> Result<(Plan, Option<RefUpdate>), PromoteError> {
    let mut done = None;
    let update = depot.catalogue.update_ref(&depot.store, &request.target.name, signer, |current| {
        let plan = plan_on(depot, request, current, signer.now)?;
        let placed = place(
            &depot.catalogue,
            current,
            &request.target.path,
            &plan.new,
            plan.nodes.clone(),
            signer.now,
        )?;
        let draft = placed.map(|(root, nodes)| Draft {
            root,
            nodes,
            parents: vec![plan.source],
            meta: BTreeMap::from([("promote.source".into(), request.source.to_string())]),
            message: request.message.clone(),
            reason: format!("promote {} ({})", request.source, plan.source.short()),
        });
        done = Some(plan);
        Ok::<_, PromoteError>(draft)
    })?;
    let plan = match done {
        Some(plan) => plan,
        None => plan(depot, request, signer.now)?,
    };
    Ok((plan, update))
}

fn plan_on(
    depot: &Depot,
    request: &Request,
    current: Option<&Current>,
    now: i64,
) -> Result<Plan, PromoteError> {
    let nodes = &depot.catalogue;
    let (source, snapshot) = depot.catalogue.resolve(&request.source.revision)?;
    let found = resolve(nodes, &snapshot.root_item(), &request.source.path)?;
    let item = found.ok_or_else(|| PromoteError::NoSource { source_path: request.source.clone() })?;
    if request.target.path.is_root() && !matches!(item.kind, Kind::Dir(_)) {
        let (source_path, target) = (request.source.clone(), request.target.clone());
        return Err(PromoteError::NotADirectory { source_path, target });
    }
    let old = match current {
        Some(current) => resolve(nodes, &current.snapshot.root_item(), &request.target.path)?,
        None => None,
    };
    let mut stage = Stage::new(nodes);
    let new = match &old {
        Some(old) if request.keep => overlay(&mut stage, old, &item, now)?,
        _ => item,
    };
    Ok(Plan { source, old, new, nodes: stage.into_new_nodes() })
}
